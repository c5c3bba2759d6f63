//! HTTP on the agent's socket: what curl would send, and what it should not.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use homing::ipc::Topic;
use serde_json::{Value as Json, json};

use super::ipc::Agent;

/// Sends bytes as they are and reads until the agent closes: status and body.
fn ask(agent: &Agent, request: &str) -> (u16, Json) {
    let mut stream = UnixStream::connect(&agent.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request:?}: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    (status, serde_json::from_str(body).unwrap())
}

fn post(body: &str) -> String {
    format!("POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_status_and_every_method_are_one_request_away() {
    let agent = Agent::start();
    let (status, document) = ask(&agent, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((status, &document["method"]), (200, &json!("replica.status")));
    let (status, answer) = ask(&agent, &post(r#"{"jsonrpc":"2.0","id":7,"method":"queue.list","params":{"limit":3}}"#));
    assert_eq!(status, 200);
    assert_eq!((&answer["id"], &answer["result"]["params"]), (&json!(7), &json!({"limit": 3})));
    let (_, answer) = ask(&agent, &post(r#"{"jsonrpc":"2.0","id":1,"method":"system.ping"}"#));
    assert_eq!(answer["result"]["pong"], true);
    let (_, answer) = ask(&agent, &post(r#"{"jsonrpc":"2.0","id":1,"method":"events.subscribe"}"#));
    assert_eq!(answer["error"]["data"]["reason"], "bad_request");
    let (status, answer) = ask(&agent, &post("no JSON"));
    assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32700)));
}

#[test]
fn events_are_a_stream_that_begins_with_the_whole_state() {
    let agent = Agent::start();
    let mut stream = UnixStream::connect(&agent.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /v1/events?topics=cycle HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = move || -> Json {
        let line = lines.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()
    };
    let first = next();
    assert_eq!(
        (&first["method"], &first["params"]["snapshot"]["schema"]),
        (&json!("subscribed"), &json!("homing.status/1"))
    );
    agent.publish(Topic::Status, json!({"name": "notes"}));
    agent.publish(Topic::Cycle, json!({"replica": "notes"}));
    let event = next();
    assert_eq!((&event["method"], &event["params"]["topic"]), (&json!("event"), &json!("cycle")));
}

/// Each attack ends its own connection; an honest client is served meanwhile, and soon.
#[test]
fn hostile_requests_harm_nobody_and_an_honest_client_is_served_meanwhile() {
    let agent = Agent::start();
    let mut honest = agent.wire();
    let mut took = Vec::new();
    let many = format!("GET /v1/status HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let deep = post(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
    let hostile: Vec<String> = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET /v1/status HTTP/9.9\r\n\r\n",
        "GET /../../etc/passwd HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "CONNECT hub:443 HTTP/1.1\r\n\r\n",
        "TRACE /rpc HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /v1/status HTTP/1.1\r\n: no name\r\n\r\n",
        "GET /v1/status HTTP/1.1\r\n folded\r\n\r\n",
        "GET /v1/status HTTP/1.1\r\n\0: \0\r\n\r\n",
        "GET /v1/status?x=%00 HTTP/1.1\r\n\r\nGET /v1/status HTTP/1.1\r\n\r\n",
        "GET /v1/events?topics= HTTP/1.1\r\n\r\n",
        "GET /v1/events?topics=status,status,nothing HTTP/1.1\r\n\r\n",
        "GET /v1/events?since=99999999999999999999 HTTP/1.1\r\n\r\n",
        "POST /rpc HTTP/1.1\r\n\r\n",
        "POST /rpc HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /rpc HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n",
        "POST /rpc HTTP/1.1\r\nContent-Length: 0x10\r\n\r\n",
        "POST /rpc HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST /rpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "POST /rpc HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        &many,
        &long,
        &deep,
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    for request in &hostile {
        let mut stream = UnixStream::connect(&agent.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // It may have seen enough before all of it was sent.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let shown: String = request.chars().take(60).collect();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 ") || answer.contains("\"error\""),
            "{shown:?}: {answer}"
        );
        let asked = Instant::now();
        honest.ping();
        took.push(asked.elapsed());
    }
    // Half a request, kept open, holds up nobody.
    let halves: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = UnixStream::connect(&agent.socket).unwrap();
            stream.write_all(b"POST /rpc HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{").unwrap();
            let asked = Instant::now();
            honest.ping();
            took.push(asked.elapsed());
            stream
        })
        .collect();
    took.sort();
    eprintln!("the slowest answer to the honest client: {:?}", took.last().unwrap());
    drop(halves);
    honest.ping();
}
