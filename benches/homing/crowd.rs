//! Two thousand live devices at one hub, each a connection of its own: what the hub
//! holds in memory for them, and how soon a push reaches all of its account's.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use homing::model::Strategy;
use rusqlite::params_from_iter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Scale;
use super::data::{TASKS, connect};
use super::rig::{Device, Rig};
use super::table::{Row, percentile};

const DEVICES: usize = 2_000;
/// The same account's, and one an account.
const ACCOUNTS: [usize; 2] = [20, DEVICES];
/// Accounts that push, and how often each.
const WRITERS: usize = 20;
const PUSHES: usize = 5;
const RESIDENT_MIB_MAX: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(_: &Scale) -> Vec<Row> {
    ACCOUNTS.into_iter().flat_map(crowd).collect()
}

fn crowd(accounts: usize) -> Vec<Row> {
    let rig = Rig::start();
    // Not before: the hub sees to its own.
    raise_open_files();
    let tokens: Vec<String> = (0..accounts)
        .map(|at| std::fs::read_to_string(rig.account(&format!("crowd-{at}"))).expect("a token").trim().to_owned())
        .collect();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|account| Writer::new(&rig, account)).collect();
    let before = rig.hub.usage().resident_mib;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (tell, heard) = mpsc::channel();
    let address: SocketAddr = rig.url.strip_prefix("http://").and_then(|url| url.parse().ok()).expect("an address");
    for at in 0..DEVICES {
        let account = at % accounts;
        runtime.spawn(listen(address, tokens[account].clone(), account, tell.clone()));
    }
    let hints = hear(&heard, DEVICES);
    for writer in &mut writers {
        writer.head = hints.iter().find(|hint| hint.account == writer.account).expect("a device of each").head;
    }

    let mut milliseconds = Vec::new();
    for _ in 0..PUSHES {
        for writer in &mut writers {
            let start = writer.push();
            for hint in hear(&heard, DEVICES / accounts) {
                assert_eq!(
                    (hint.account, hint.head),
                    (writer.account, writer.head),
                    "its account's devices, and no others"
                );
                milliseconds.push((hint.at - start).as_secs_f64() * 1e3);
            }
        }
    }
    assert!(heard.try_recv().is_err(), "one hint for each push");
    let (_, peak) = rig.hub.spent();
    let what = |what: &str| format!("{DEVICES} live devices of {accounts} accounts: {what}");
    vec![
        Row::figure(what("the hub's memory at the most (beside it: before them)"), peak, "MiB")
            .beside(before)
            .at_most(RESIDENT_MIB_MAX),
        Row::figure(what("commit to hint at each of the account, p50"), percentile(&mut milliseconds, 0.50), "ms"),
        Row::figure(what("commit to hint at each of the account, p99"), percentile(&mut milliseconds, 0.99), "ms"),
    ]
}

/// A device that writes, and the head its account has by then.
struct Writer {
    account: usize,
    device: Device,
    db: rusqlite::Connection,
    rows: Vec<Vec<homing::model::Value>>,
    head: i64,
}

impl Writer {
    fn new(rig: &Rig, account: usize) -> Writer {
        let name = format!("crowd-{account}");
        let path = rig.path(&format!("{name}.db"));
        drop(TASKS.create(&path));
        let mut device = rig.device_of(&rig.path(&format!("{name}.token")), &name, Strategy::default());
        device.follow();
        Writer { account, device, db: connect(&path), rows: TASKS.rows(59 + account as u64, PUSHES), head: 0 }
    }

    /// When the row was committed that is pushed then.
    fn push(&mut self) -> Instant {
        let row = self.rows.pop().expect("a row for each push");
        self.db.prepare_cached(&TASKS.insert()).expect("the insert").execute(params_from_iter(row)).expect("a row");
        let start = Instant::now();
        assert_eq!(self.device.follow().pushed, 1);
        self.head += 1;
        start
    }
}

struct Hint {
    account: usize,
    head: i64,
    at: Instant,
}

/// So many hints as they come.
fn hear(heard: &Receiver<Hint>, count: usize) -> Vec<Hint> {
    let hear = |at| heard.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{at} of {count} hints: {error}"));
    (0..count).map(hear).collect()
}

/// A live channel, from its request on, until the hub ends it.
async fn listen(hub: SocketAddr, token: String, account: usize, tell: Sender<Hint>) {
    let mut stream = TcpStream::connect(hub).await.expect("a connection");
    let request = format!(
        "GET /v1/scopes/@me/live HTTP/1.1\r\nhost: {hub}\r\nauthorization: Bearer {token}\r\n\
         accept: text/event-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("a request");
    let (mut text, mut piece) = (String::new(), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
        assert!(text.starts_with("HTTP/1.1 200") || !text.starts_with("HTTP"), "{text}");
        while let Some((head, rest)) = text.split_once("data: ").and_then(|(_, data)| data.split_once("\n\n")) {
            let head = head.parse().expect("a head");
            let _ = tell.send(Hint { account, head, at: Instant::now() });
            text = rest.to_owned();
        }
    }
}

/// As many connections as the system lets this process have.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more open files");
}
