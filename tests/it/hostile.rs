//! More than forty attacks on a real agent's socket, while an honest client goes on asking
//! how things stand: it gets every answer, and soon.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::rig::{Device, Hub};

const FEW: Duration = Duration::from_secs(20);

#[test]
fn forty_attacks_and_an_honest_client_that_hears_of_none() {
    let hub = Hub::start();
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    device.start();
    device.sync();
    device.sql("INSERT INTO tasks VALUES ('1', 'kept')");
    device.sync();

    let over = Arc::new(AtomicBool::new(false));
    let honest = {
        let (socket, over) = (device.socket.clone(), over.clone());
        std::thread::spawn(move || ask_on_and_on(&socket, &over))
    };
    let mut attacks = 0;
    for bytes in lines() {
        send(&device.socket, &bytes);
        attacks += 1;
    }
    for attack in MANNERS {
        attack(&device.socket);
        attacks += 1;
    }
    assert!(attacks >= 40, "{attacks} attacks");
    over.store(true, Ordering::SeqCst);
    let mut took = honest.join().expect("the honest client was answered every time");
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    eprintln!(
        "{attacks} attacks; {} honest questions, the 99th percentile {p99:?}, the slowest {:?}",
        took.len(),
        took[took.len() - 1]
    );
    device.await_state("in_step");
    assert_eq!(device.sql("SELECT count(*) FROM tasks"), "1");
    device.sql("INSERT INTO tasks VALUES ('2', 'after it all')");
    device.sync();
}

fn ask_on_and_on(socket: &Path, over: &AtomicBool) -> Vec<Duration> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(FEW)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut took = Vec::new();
    while !over.load(Ordering::SeqCst) || took.len() < 200 {
        let asked = Instant::now();
        stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"replica.status\"}\n").unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        took.push(asked.elapsed());
        let answer: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["result"]["replicas"][0]["name"], "notes", "{answer}");
    }
    took
}

/// What may be written, however wrong; each ends in an error, or in the end of its own
/// connection.
fn lines() -> Vec<Vec<u8>> {
    let call = |method: &str, params: &str| {
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes()
    };
    let deep = |open: &str, close: &str| call("system.ping", &(open.repeat(5_000) + &close.repeat(5_000)));
    let mut all: Vec<Vec<u8>> = [
        "\n\n\n\n",
        "null\n",
        "true\n",
        "42\n",
        "\"text\"\n",
        "[]\n",
        "{}\n",
        "{{{{\n",
        "]]]]\n",
        "{\"jsonrpc\":\"2.0\"\n",
        "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"system.ping\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"system.ping\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1e400,\"method\":\"system.ping\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":[[]],\"method\":\"system.ping\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"system.ping\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"__proto__\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\u0000\\u001b[2J\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n",
        "GET / HTTP/1.1\r\n\r\n",
        "POST /rpc HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        "POST /rpc HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    all.extend([
        vec![0; 4096],
        vec![0xff; 4096],
        b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}\n".to_vec(),
        vec![b'{'; 1 << 20],
        vec![b'a'; 3 << 20],
        deep("[", "]"),
        deep("{\"a\":", "}"),
        call("replica.status", "{\"replica\":\"' OR 1=1 --\"}"),
        call("replica.status", "{\"replica\":\"../../etc/passwd\"}"),
        call("queue.list", "{\"table\":\"tasks\\\"; DROP TABLE tasks; --\",\"replica\":\"notes\"}"),
        call("queue.list", "{\"limit\":18446744073709551615}"),
        call("queue.discard", "{\"replica\":\"notes\",\"table\":\"sqlite_schema\",\"key\":\"1\"}"),
        call("row.explain", "{\"replica\":\"notes\",\"table\":\"_homing_log\",\"key\":\"[1]\"}"),
        call(
            "row.explain",
            &format!("{{\"replica\":\"notes\",\"table\":\"tasks\",\"key\":\"{}\"}}", "[".repeat(60_000)),
        ),
        call("conflicts.resolve", "{\"id\":-9223372036854775808,\"take\":\"local\"}"),
        call("conflicts.resolve", "{\"id\":1,\"set\":{\"title\":{\"blob\":\"zz\"}}}"),
        call("conflicts.undo", "{\"id\":9223372036854775807}"),
        call("history.list", "{\"limit\":9223372036854775807}"),
        call("events.subscribe", "{\"since\":18446744073709551615}"),
        call("events.subscribe", &format!("{{\"topics\":[{}\"status\"]}}", "\"status\",".repeat(50_000))),
        call("sync.wait", "{\"replica\":\"notes\",\"timeout_ms\":0}"),
        call(
            "action.enqueue",
            &format!("{{\"replica\":\"notes\",\"action\":\"x\",\"payload\":\"{}\"}}", "p".repeat(900_000)),
        ),
    ]);
    all
}

fn open(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(FEW)).unwrap();
    stream.set_write_timeout(Some(FEW)).unwrap();
    stream
}

/// Writes, says that this was all, and reads what comes.
fn send(socket: &Path, bytes: &[u8]) {
    let mut stream = open(socket);
    // It may have seen enough before all of it was sent; a subscription has no end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = [0; 4096];
    let _ = stream.read(&mut answer);
}

type Attack = fn(&Path);

/// How one may behave, whatever is written.
const MANNERS: [Attack; 8] = [
    // Comes and goes without a word, a thousand times.
    |socket| (0..1_000).for_each(|_| drop(UnixStream::connect(socket))),
    // Asks, and never reads.
    |socket| {
        let mut stream = open(socket);
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let line = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.discover\"}\n";
        while stream.write_all(line).is_ok() {}
    },
    // Leaves in the middle of an answer.
    |socket| {
        for _ in 0..100 {
            let mut stream = open(socket);
            let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.discover\"}\n");
            let _ = stream.read(&mut [0; 1]);
        }
    },
    // Sends half a line, and stays.
    |socket| {
        let halves: Vec<UnixStream> = (0..100)
            .map(|_| {
                let mut stream = open(socket);
                let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",");
                stream
            })
            .collect();
        send(socket, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}\n");
        drop(halves);
    },
    // Takes every place there is.
    |socket| {
        let all: Vec<UnixStream> = (0..300).filter_map(|_| UnixStream::connect(socket).ok()).collect();
        drop(all);
    },
    // Subscribes a hundred times over one connection.
    |socket| {
        let mut stream = open(socket);
        for _ in 0..100 {
            let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events.subscribe\"}\n");
        }
        let _ = stream.read(&mut [0; 4096]);
    },
    // Starts a thousand cycles.
    |socket| {
        let mut stream = open(socket);
        let mut reader = stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || while reader.read(&mut [0; 65_536]).is_ok_and(|count| count > 0) {});
        for _ in 0..1_000 {
            let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sync.now\"}\n");
        }
        let _ = stream.shutdown(Shutdown::Write);
        reading.join().unwrap();
    },
    // A byte at a time.
    |socket| {
        let mut stream = open(socket);
        for byte in b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}\n" {
            let _ = stream.write_all(&[*byte]);
        }
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(line.contains("pong"), "it is no attack to be slow: {line}");
    },
];
