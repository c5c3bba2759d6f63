//! The agent's door, over a real socket: what a local program may send, however wrong,
//! and what it may fail to read. An honest client is served meanwhile, every time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homing::ipc::answer::Replicas;
use homing::ipc::client::Heard;
use homing::ipc::method::{self, Builtin, Method};
use homing::ipc::{CallError, Client, ClientError, Event, Limits, Peer, Request, Service, Topic, bind, serve};
use homing::model::ReasonCode;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

/// An agent as far as the socket can tell.
pub struct Agent {
    pub socket: PathBuf,
    pub service: Arc<Fake>,
    directory: TempDir,
    runtime: Option<Runtime>,
    serving: Option<tokio::task::JoinHandle<()>>,
    stop: watch::Sender<bool>,
    last_seq: AtomicU64,
}

/// Answers as a test tells it to. `sync.wait` waits for `open_gate`.
pub struct Fake {
    pub answers: Mutex<Vec<(&'static str, Result<Json, CallError>)>>,
    calls: AtomicUsize,
    running: AtomicUsize,
    running_most: AtomicUsize,
    gate: Semaphore,
    started: mpsc::UnboundedSender<()>,
    ended: mpsc::UnboundedSender<()>,
    watched: Mutex<(mpsc::UnboundedReceiver<()>, mpsc::UnboundedReceiver<()>)>,
    events: broadcast::Sender<Arc<Event>>,
}

impl Fake {
    fn new() -> Fake {
        let (started, started_watch) = mpsc::unbounded_channel();
        let (ended, ended_watch) = mpsc::unbounded_channel();
        Fake {
            answers: Mutex::default(),
            calls: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            running_most: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            started,
            ended,
            watched: Mutex::new((started_watch, ended_watch)),
            events: broadcast::channel(16_384).0,
        }
    }

    /// From now on `method` is answered with this.
    pub fn answers(&self, method: &'static str, answer: Result<Json, CallError>) {
        self.answers.lock().unwrap().push((method, answer));
    }

    pub fn wait_for_start(&self) {
        self.watched.lock().unwrap().0.blocking_recv().unwrap();
    }

    pub fn wait_for_end(&self) {
        self.watched.lock().unwrap().1.blocking_recv().unwrap();
    }

    pub fn open_gate(&self, calls: usize) {
        self.gate.add_permits(calls);
    }
}

/// Counts calls under way, also those that are dropped.
struct Running<'a>(&'a Fake);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        let _ = self.0.ended.send(());
    }
}

impl Service for Fake {
    async fn call(&self, _: &Peer, request: Request) -> Result<Json, CallError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_most.fetch_max(now, Ordering::SeqCst);
        let _running = Running(self);
        let method = request.method();
        if let Request::SyncWait(_) = request {
            let _ = self.started.send(());
            self.gate.acquire().await.unwrap().forget();
        }
        if let Request::MetricsGet(_) = request {
            panic!("metrics are broken");
        }
        let answers = self.answers.lock().unwrap();
        match answers.iter().rev().find(|(name, _)| *name == method) {
            Some((_, answer)) => answer.clone(),
            None => Ok(json!({ "method": method, "params": request })),
        }
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    fn owner(&self, _: &str) -> Option<u32> {
        None
    }

    fn snapshot(&self) -> Json {
        json!({ "schema": "homing.status/1", "version": "0", "replicas": [] })
    }
}

impl Agent {
    pub fn start() -> Agent {
        Agent::start_with(Limits::default())
    }

    fn start_with(limits: Limits) -> Agent {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("homing/agent.sock");
        let runtime = Runtime::new().unwrap();
        let service = Arc::new(Fake::new());
        let (stop, stopping) = watch::channel(false);
        let entered = runtime.enter();
        let listener = bind(&socket).unwrap();
        let serving = runtime.spawn(serve(listener, service.clone(), limits, stopping));
        drop(entered);
        // Its first answer says that it listens for events, too.
        let agent = Agent {
            socket,
            service,
            directory,
            runtime: Some(runtime),
            serving: Some(serving),
            stop,
            last_seq: AtomicU64::new(0),
        };
        agent.wire().ping();
        agent
    }

    pub fn wire(&self) -> Wire {
        Wire::connect(&self.socket)
    }

    /// Connects until there is room: connections that were closed may be on their way out.
    fn wire_with_room(&self) -> Wire {
        loop {
            let mut wire = self.wire();
            let ping = br#"{"jsonrpc":"2.0","id":1,"method":"system.ping"}"#;
            let sent = wire.0.get_mut().write_all(&[&ping[..], b"\n"].concat());
            if sent.is_ok() && wire.receive().is_some_and(|answer| answer["result"]["pong"] == true) {
                return wire;
            }
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket, Duration::ZERO).unwrap()
    }

    pub fn publish(&self, topic: Topic, data: Json) -> u64 {
        let seq = self.last_seq.fetch_add(1, Ordering::SeqCst) + 1;
        self.service.events.send(Arc::new(Event { seq, topic, time: 1_000, data })).unwrap();
        seq
    }

    pub fn stop(&mut self) {
        self.stop.send(true).unwrap();
        let serving = self.serving.take().unwrap();
        self.runtime.as_ref().unwrap().block_on(serving).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// A client that sends bytes.
pub struct Wire(BufReader<UnixStream>);

impl Wire {
    fn connect(socket: &Path) -> Wire {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Wire(BufReader::new(stream))
    }

    fn send(&mut self, line: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(line.as_ref()).unwrap();
        self.0.get_mut().write_all(b"\n").unwrap();
    }

    /// The next line; `None` when the agent closed the connection.
    fn receive(&mut self) -> Option<Json> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line from the agent: {error}"),
        }
    }

    fn ask(&mut self, line: impl AsRef<[u8]>) -> Json {
        self.send(line);
        self.receive().expect("an answer")
    }

    fn call(&mut self, method: &str, params: Json) -> Json {
        self.ask(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
    }

    pub fn ping(&mut self) {
        assert_eq!(self.call("system.ping", json!({}))["result"]["pong"], true);
    }

    fn subscribe(&mut self, params: Json) -> Json {
        self.call("events.subscribe", params)["result"].clone()
    }
}

#[test]
fn the_socket_is_for_its_owner_only() {
    let agent = Agent::start();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&agent.socket), 0o600);
    assert_eq!(mode(agent.socket.parent().unwrap()), 0o700);
}

#[test]
fn only_a_socket_nobody_listens_on_is_taken_over() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let refused = |path: &Path| bind(path).map(drop).expect_err("refused").text;

    std::fs::write(at("file"), "precious").unwrap();
    assert!(refused(&at("file")).contains("is not a socket"));
    assert_eq!(std::fs::read_to_string(at("file")).unwrap(), "precious");
    symlink(at("elsewhere"), at("link")).unwrap();
    assert!(refused(&at("link")).contains("is not a socket"));
    std::fs::create_dir(at("directory")).unwrap();
    assert!(refused(&at("directory")).contains("is not a socket"));
    assert!(refused(&at(&"x".repeat(200))).contains("longer than"));
    std::fs::create_dir(at("open")).unwrap();
    std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&at("open/agent.sock")).contains("others may write"));

    let living = UnixListener::bind(at("living")).unwrap();
    assert!(refused(&at("living")).contains("another program listens"));
    drop(living);
    let taken = bind(&at("living")).unwrap(); // the file outlived its listener
    drop(taken);
    assert!(!at("living").exists(), "the socket goes with its listener");
}

#[test]
fn every_wrong_line_gets_an_error_and_harms_nobody() {
    let agent = Agent::start();
    let mut honest = agent.wire();
    let mut wrong = agent.wire();
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"replica.list","params":{}"#, r#"{"a":"#.repeat(100_000));
    let huge_id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"replica.list"}}"#, "9".repeat(100_000));
    let lines: &[&[u8]] = &[
        b"\x00\x01\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"%s%n%x",
        b"{",
        b"[[[[[[[[",
        br#"[{"jsonrpc":"2.0","id":1,"method":"replica.list"}]"#,
        br#"{"jsonrpc":"2.0","id":null,"method":"replica.list"}"#,
        br#"{"jsonrpc":"2.0","id":{"a":1},"method":"replica.list"}"#,
        br#"{"jsonrpc":"2.0","method":"replica.list"}"#,
        br#"{"jsonrpc":"2.0","id":1,"id":1,"method":"replica.list"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"replica.burn"}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"replica.list","params":["notes"]}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"replica.status","params":{"replica":7}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"replica.status","params":{"replica":"a","replica":"b"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"replica.status","params":{"repilca":"notes"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"replica.detach","params":{"replica":"notes","discard":true,"force":1}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"queue.list","params":{"limit":1e400}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"events.subscribe","params":{"topics":["everything"]}}"#,
        deep.as_bytes(),
        huge_id.as_bytes(),
    ];
    for line in lines {
        let answer = wrong.ask(line);
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert!(answer["error"]["code"].is_i64(), "{shown}: {answer}");
        let reason = answer["error"]["data"]["reason"].as_str().unwrap();
        assert!(ReasonCode::parse(reason).is_some(), "{shown}: {answer}");
        assert!(!answer["error"]["data"]["hint"].as_str().unwrap().is_empty(), "{shown}: {answer}");
        honest.ping();
    }
    wrong.ping();
    let calls_seen = agent.service.calls.load(Ordering::SeqCst);
    assert_eq!(calls_seen, 0, "a line that is wrong has no effect");
}

#[test]
fn random_bytes_never_stop_the_server() {
    let agent = Agent::start();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let sample = br#"{"jsonrpc":"2.0","id":1,"method":"queue.list","params":{"replica":"notes","limit":3}}"#;
    let mut wire = agent.wire();
    for _ in 0..3_000 {
        let mut line = sample.to_vec();
        for _ in 0..=next() % 6 {
            let at = next() as usize % line.len();
            match next() % 3 {
                0 => line[at] = next() as u8,
                1 => drop(line.remove(at)),
                _ => line.insert(at, next() as u8),
            }
        }
        line.retain(|byte| !matches!(byte, b'\n'));
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = wire.ask(&line);
        assert!(answer["result"].is_object() || answer["error"].is_object(), "{answer}");
    }
}

#[test]
fn a_hundred_megabytes_without_a_newline_are_cut_off_with_an_error() {
    let agent = Agent::start();
    let mut honest = agent.wire();
    let mut flood = agent.wire();
    let chunk = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while sent < 100 << 20 && flood.0.get_mut().write_all(&chunk).is_ok() {
        sent += chunk.len();
        if sent.is_multiple_of(512 << 10) {
            honest.ping();
        }
    }
    assert!(sent < 4 << 20, "{sent} bytes were taken");
    let answer = flood.receive().expect("an error before the end");
    assert!(answer["error"]["message"].as_str().unwrap().contains("longer than"), "{answer}");
    assert_eq!(flood.receive(), None);
    honest.ping();
}

#[test]
fn requests_run_side_by_side_and_an_answer_names_its_request() {
    let agent = Agent::start();
    let mut wire = agent.wire();
    wire.send(r#"{"jsonrpc":"2.0","id":"slow","method":"sync.wait"}"#);
    agent.service.wait_for_start();
    wire.ping();
    agent.service.open_gate(1);
    assert_eq!(wire.receive().unwrap()["id"], "slow");
}

#[test]
fn a_connection_has_a_limit_of_requests_under_way_and_none_is_lost() {
    let agent = Agent::start_with(Limits { requests_max: 3, ..Limits::default() });
    let mut wire = agent.wire();
    for id in 0..10 {
        wire.send(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"sync.wait"}}"#));
    }
    (0..3).for_each(|_| agent.service.wait_for_start());
    agent.wire().ping();
    agent.service.open_gate(10);
    let mut ids: Vec<i64> = (0..10).map(|_| wire.receive().unwrap()["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
    assert_eq!(agent.service.running_most.load(Ordering::SeqCst), 3);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answers() {
    let agent = Agent::start();
    let mut wire = agent.wire();
    // No newline at the end, as `printf` in a script would send it.
    wire.0.get_mut().write_all(br#"{"jsonrpc":"2.0","id":1,"method":"sync.wait"}"#).unwrap();
    wire.0.get_mut().shutdown(Shutdown::Write).unwrap();
    agent.service.wait_for_start();
    agent.service.open_gate(1);
    assert_eq!(wire.receive().unwrap()["id"], 1);
    assert_eq!(wire.receive(), None);
}

#[test]
fn a_client_that_is_gone_has_its_calls_dropped() {
    let agent = Agent::start();
    let mut wire = agent.wire();
    wire.send(r#"{"jsonrpc":"2.0","id":1,"method":"sync.wait"}"#);
    agent.service.wait_for_start();
    drop(wire);
    agent.service.wait_for_end(); // although nobody opens the gate
    agent.wire().ping();
}

#[test]
fn clients_that_leave_in_mid_reply_leave_nothing_behind() {
    let agent = Agent::start_with(Limits { connections_max: 8, ..Limits::default() });
    agent.service.answers("replica.list", Ok(json!({ "replicas": "x".repeat(4 << 20) })));
    for _ in 0..50 {
        let mut wire = agent.wire();
        wire.send(r#"{"jsonrpc":"2.0","id":1,"method":"replica.list"}"#);
        let mut some = [0; 1000];
        wire.0.get_mut().read_exact(&mut some).unwrap_or_default();
    }
    // Only when those before are gone there is room for eight at once.
    let wires: Vec<Wire> = (0..8).map(|_| agent.wire_with_room()).collect();
    drop(wires);
}

#[test]
fn a_call_that_panics_is_an_error_and_nothing_else() {
    let agent = Agent::start();
    let mut wire = agent.wire();
    let answer = wire.call("metrics.get", json!({}));
    assert_eq!(answer["error"]["data"]["reason"], "internal");
    assert_eq!(answer["error"]["code"], -32603);
    wire.ping();
}

#[test]
fn one_client_too_many_is_told_so() {
    let agent = Agent::start_with(Limits { connections_max: 2, ..Limits::default() });
    let (mut one, mut two) = (agent.wire_with_room(), agent.wire_with_room());
    let answer = agent.wire().receive().unwrap();
    assert_eq!(answer["error"]["data"]["retryable"], true, "{answer}");
    one.ping();
    two.ping();
}

#[test]
fn hello_says_what_is_spoken_and_refuses_what_is_not() {
    let agent = Agent::start();
    let mut wire = agent.wire();
    let hello = wire.call("system.hello", json!({"client": "test\n\u{1b}[31m", "api": [1, 2]}))["result"].clone();
    assert_eq!(hello["api"], 1);
    assert_eq!(hello["daemon"], env!("CARGO_PKG_VERSION"));
    assert_eq!(wire.call("system.hello", json!({"api": [2]}))["error"]["data"]["reason"], "bad_request");
    assert!(wire.call("rpc.discover", json!({}))["result"]["methods"].as_array().unwrap().len() > 20);
}

#[test]
fn a_subscriber_gets_the_whole_state_and_then_every_event_it_asked_for() {
    let agent = Agent::start();
    agent.publish(Topic::Cycle, json!({"replica": "notes"}));
    let mut early = agent.wire();
    while early.subscribe(json!({}))["seq"] != 1 {} // until the first event has arrived
    let mut wire = agent.wire();
    let subscribed = wire.subscribe(json!({"topics": ["cycle", "changed"]}));
    assert_eq!(subscribed["snapshot"]["schema"], "homing.status/1");
    assert_eq!(subscribed["seq"], 1);
    agent.publish(Topic::Status, json!({"name": "notes"}));
    let changed = json!({"replica": "notes", "tables": [{"table": "tasks", "keys": ["[7]"], "more": false}]});
    let seq = agent.publish(Topic::Changed, changed.clone());
    let event = wire.receive().unwrap();
    assert_eq!(event["method"], "event");
    assert_eq!(event["params"], json!({"seq": seq, "topic": "changed", "time": 1000, "data": changed}));
    wire.ping();

    // One that comes back goes on from where it was.
    let mut again = agent.wire();
    assert_eq!(again.subscribe(json!({"since": 1}))["missed"], 0);
    assert_eq!(again.receive().unwrap()["params"]["seq"], 2);
    assert_eq!(again.receive().unwrap()["params"]["seq"], 3);
    assert_eq!(again.subscribe(json!({"since": 99}))["missed"], Json::Null);
}

#[test]
fn a_subscriber_may_shut_its_side_down_and_listen() {
    let agent = Agent::start();
    let mut wire = agent.wire();
    wire.subscribe(json!({}));
    wire.0.get_mut().shutdown(Shutdown::Write).unwrap();
    let seq = agent.publish(Topic::Cycle, json!({}));
    assert_eq!(wire.receive().unwrap()["params"]["seq"], seq);
}

#[test]
fn a_slow_subscriber_is_told_how_much_it_missed() {
    const EVENTS: u64 = 2_000;
    let agent = Agent::start_with(Limits { write_timeout: Duration::from_secs(60), ..Limits::default() });
    let (mut honest, mut slow) = (agent.wire(), agent.wire());
    honest.subscribe(json!({"topics": ["cycle"]}));
    slow.subscribe(json!({"topics": ["cycle"]}));
    for _ in 0..EVENTS {
        let seq = agent.publish(Topic::Cycle, json!({"replica": "notes", "text": "x".repeat(10_000)}));
        assert_eq!(honest.receive().unwrap()["params"]["seq"], seq);
    }
    let (mut heard, mut missed, mut last) = (0, 0, 0);
    while heard + missed < EVENTS {
        let line = slow.receive().unwrap();
        match line["method"].as_str().unwrap() {
            "lagged" => missed += line["params"]["missed"].as_u64().unwrap(),
            _ => {
                heard += 1;
                assert!(line["params"]["seq"].as_u64().unwrap() > last);
                last = line["params"]["seq"].as_u64().unwrap();
            }
        }
    }
    assert_eq!(heard + missed, EVENTS);
    assert!(missed > EVENTS / 2, "only {missed} of {EVENTS} were dropped: memory is not bounded");
    let seq = agent.publish(Topic::Cycle, json!({}));
    assert_eq!(slow.receive().unwrap()["params"]["seq"], seq, "it is heard again");
}

#[test]
fn a_reader_that_never_reads_is_dropped_and_the_others_are_not() {
    let agent = Agent::start_with(Limits { write_timeout: Duration::from_millis(100), ..Limits::default() });
    let (mut honest, mut silent) = (agent.wire(), agent.wire());
    honest.subscribe(json!({}));
    silent.send(r#"{"jsonrpc":"2.0","id":1,"method":"events.subscribe"}"#);
    // Writing to a connection that was dropped fails: that is how it shows from outside.
    loop {
        let seq = agent.publish(Topic::Cycle, json!({"text": "x".repeat(100_000)}));
        assert_eq!(honest.receive().unwrap()["params"]["seq"], seq);
        if silent.0.get_mut().write_all(b"\n").is_err() {
            break;
        }
    }
    honest.ping();
}

#[test]
fn a_client_that_asks_and_never_reads_is_dropped() {
    let agent = Agent::start_with(Limits { write_timeout: Duration::from_millis(100), ..Limits::default() });
    let mut silent = agent.wire();
    let line = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.discover\"}\n";
    while silent.0.get_mut().write_all(line).is_ok() {}
    agent.wire().ping();
}

#[test]
fn told_to_stop_it_answers_what_is_under_way_and_removes_its_socket() {
    let mut agent = Agent::start();
    let mut wire = agent.wire();
    wire.send(r#"{"jsonrpc":"2.0","id":1,"method":"sync.wait"}"#);
    agent.service.wait_for_start();
    agent.service.open_gate(1);
    agent.stop();
    assert_eq!(wire.receive().unwrap()["id"], 1);
    assert_eq!(wire.receive(), None);
    assert!(!agent.socket.exists());
    assert!(agent.directory.path().exists());
}

#[test]
fn told_to_stop_it_waits_for_nobody_for_long() {
    let mut agent = Agent::start_with(Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() });
    let mut wire = agent.wire();
    wire.send(r#"{"jsonrpc":"2.0","id":1,"method":"sync.wait"}"#);
    agent.service.wait_for_start();
    agent.stop();
    assert_eq!(wire.receive(), None);
}

#[test]
fn the_client_tells_its_troubles_apart() {
    let nowhere = TempDir::new().unwrap();
    let none = Client::connect(&nowhere.path().join("x.sock"), Duration::ZERO).err().unwrap();
    assert!(matches!(none, ClientError::NoAgent { .. }), "{none}");

    let agent = Agent::start();
    let refusal = CallError::new(ReasonCode::Unsent, "3 changes are unsent", "sync first").retryable(Some(5));
    agent.service.answers("replica.detach", Err(refusal.clone()));
    let mut client = agent.client();
    let detach = method::ReplicaDetach { replica: "notes".into(), discard: false };
    match client.call::<Replicas>(detach) {
        Err(ClientError::Refused(error)) => assert_eq!(error, refusal),
        other => panic!("{other:?}"),
    }
    let wait = method::SyncWait::default();
    let late = client.call_within::<Json>(wait, Duration::from_millis(20)).err().unwrap();
    assert!(matches!(late, ClientError::TimedOut { .. }), "{late}");
    let odd = agent.client().call::<Replicas>(method::ReplicaList {}).err().unwrap();
    assert!(matches!(odd, ClientError::Broken { .. }), "{odd}");
}

#[test]
fn the_client_waits_for_an_agent_that_is_just_starting() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("agent.sock");
    let path = socket.clone();
    let (connecting, began) = std::sync::mpsc::channel();
    let client = std::thread::spawn(move || {
        connecting.send(()).unwrap();
        Client::connect(&path, Duration::from_secs(20)).map(drop)
    });
    began.recv().unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    drop(listener.accept().unwrap());
    client.join().unwrap().unwrap();
}

#[test]
fn the_client_hears_events() {
    let agent = Agent::start();
    let (subscribed, mut events) = agent.client().subscribe(&[Topic::Status]).unwrap();
    assert_eq!(subscribed.topics, [Topic::Status]);
    let seq = agent.publish(Topic::Status, json!({"name": "notes"}));
    match events.next().unwrap().unwrap() {
        Heard::Event(event) => assert_eq!((event.seq, event.topic), (seq, Topic::Status)),
        other => panic!("{other:?}"),
    }
}

/// `docs/ipc.md` is what other programs are written from: it names every method with its
/// parameters, every topic and every reason.
#[test]
fn the_document_names_everything_there_is() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ipc.md")).unwrap();
    let row = |name: &str| {
        let start = format!("| `{name}` |");
        let found = document.lines().find(|line| line.starts_with(&start));
        found.unwrap_or_else(|| panic!("docs/ipc.md has no row for `{name}`"))
    };
    let methods: Vec<&Method> = Builtin::METHODS.iter().chain(Request::METHODS).collect();
    for method in &methods {
        let row = row(method.name);
        for param in method.params {
            let mark = if param.required { "" } else { "?" };
            assert!(
                row.contains(&format!("`{}{mark}`", param.name)),
                "{}: {} is not in: {row}",
                method.name,
                param.name
            );
        }
        assert!(row.contains(method.result), "{}: result {} is not in: {row}", method.name, method.result);
    }
    for topic in Topic::ALL {
        row(topic.word());
    }
    for reason in ReasonCode::ALL {
        row(reason.word());
    }
    let known = |name: &str| {
        methods.iter().any(|method| method.name == name)
            || ReasonCode::parse(name).is_some()
            || Topic::ALL.iter().any(|topic| topic.word() == name)
    };
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let name = line.split('`').nth(1).unwrap();
        assert!(known(name) || !name.contains(['.', '_']), "docs/ipc.md has a row for `{name}`, which is not there");
    }
}

/// Only root can be several users, so elsewhere this shows nothing.
#[test]
fn a_shared_socket_gives_each_user_its_role() {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    const STRANGER: u32 = 61_234;
    const GROUP: u32 = 61_235;
    let hub = super::rig::Hub::start();
    let mut device = super::rig::Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    // What the stranger runs must be in its reach; only the socket is to stand in its way.
    std::fs::set_permissions(device.home(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = device.home().join("homing");
    std::fs::copy(env!("CARGO_BIN_EXE_homing"), &program).unwrap();
    let try_all = |device: &super::rig::Device| -> Vec<i32> {
        let asked = [
            vec!["status"],
            vec!["history"],
            vec!["sync", "notes"],
            vec!["metrics"],
            vec!["pause"],
            vec!["status", "notes"],
            vec!["resume", "notes"],
        ];
        let codes = asked.iter().map(|args| {
            let mut command = std::process::Command::new(&program);
            command.args(args).env_clear().env("HOMING_SOCKET", &device.socket).current_dir("/");
            let output = command.uid(STRANGER).gid(GROUP).output().unwrap();
            output.status.code().unwrap()
        });
        codes.collect()
    };
    let refused = 77;
    device.start();
    assert_eq!(try_all(&device), [refused; 7], "by default");

    for (access, owned, expected) in [
        ("group", false, [0, 0, refused, 0, refused, 0, refused]),
        ("group", true, [0, 0, 0, 0, refused, 0, 0]),
        ("all", false, [refused; 7]),
        ("all", true, [refused, refused, 0, refused, refused, 0, 0]),
    ] {
        device.kill();
        let mut text = std::fs::read_to_string(&device.config).unwrap();
        text = text.split_once("device =").map(|(_, rest)| format!("device ={rest}")).unwrap();
        let shared = format!("socket_access = \"{access}\"\nsocket_group = \"{GROUP}\"\n{text}");
        std::fs::write(&device.config, shared).unwrap();
        let owner = if owned { STRANGER } else { 0 };
        std::os::unix::fs::chown(&device.database, Some(owner), None).unwrap();
        device.start();
        assert_eq!(try_all(&device), expected, "{access}, owned: {owned}");
    }
}
