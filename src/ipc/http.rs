//! HTTP on the agent's socket, so that `curl --unix-socket` works: the same methods, the
//! same limits, one request a connection.
//!
//! `GET /v1/status`, `GET /v1/events` (server-sent events) and `POST /rpc`. A connection
//! whose first line is not a request line of HTTP never comes here. No browser can open a
//! Unix socket, so there is no origin to check.

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::io::AsyncRead;

use super::line::{LineError, Lines};
use super::service::{CallError, Topic};
use crate::model::ReasonCode;

const HEADERS_MAX: usize = 100;
/// For the whole head; a line alone may be as long as a JSON line.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What is asked.
#[derive(Debug, PartialEq)]
pub enum Asked {
    Status,
    Events {
        topics: Vec<Topic>,
        since: Option<u64>,
    },
    /// A JSON-RPC request, as it came.
    Rpc(Vec<u8>),
}

/// Why it is not answered: the status, and the reason in the same words as elsewhere.
#[derive(Debug)]
pub struct Refused(pub u16, pub CallError);

/// True for the first line of an HTTP request, whatever it asks for.
pub fn begins(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words.as_slice(), [method, _, version]
        if !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) && version.starts_with("HTTP/1."))
}

/// Reads the rest of the request that `line` begins.
pub async fn read<R: AsyncRead + Unpin>(
    line: &[u8],
    lines: &mut Lines<R>,
    body_bytes_max: usize,
) -> Result<Asked, Refused> {
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let length = read_head(lines).await?;
    match (method, path) {
        ("GET", "/v1/status") => Ok(Asked::Status),
        ("GET", "/v1/events") => events(query),
        ("POST", "/rpc") => match length {
            Some(length) if length > body_bytes_max => {
                Err(refused(413, &format!("a body is longer than {body_bytes_max} bytes"), "send less at once"))
            }
            Some(length) => lines.exactly(length).await.map(Asked::Rpc).map_err(|_| broken()),
            None => Err(refused(411, "the body's length is not said", "send a Content-Length")),
        },
        (_, "/v1/status" | "/v1/events" | "/rpc") => {
            Err(refused(405, &format!("{path} is not asked for with {method}"), "GET what is under /v1, POST to /rpc"))
        }
        _ => Err(refused(404, "there is nothing under this path", "GET /v1/status, GET /v1/events or POST /rpc")),
    }
}

/// The headers, of which the body's length alone matters.
async fn read_head<R: AsyncRead + Unpin>(lines: &mut Lines<R>) -> Result<Option<usize>, Refused> {
    let (mut length, mut bytes) = (None, 0);
    for _ in 0..HEADERS_MAX {
        let header = match lines.next().await {
            Ok(Some(header)) => header,
            Ok(None) | Err(LineError::Io) => return Err(broken()),
            Err(LineError::TooLong) => return Err(too_large()),
        };
        if header.is_empty() {
            return Ok(length);
        }
        bytes += header.len();
        if bytes > HEAD_BYTES_MAX {
            return Err(too_large());
        }
        let header = String::from_utf8_lossy(&header).into_owned();
        let Some((name, value)) = header.split_once(':') else {
            return Err(refused(400, "a header has no colon", "send HTTP/1.1"));
        };
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(refused(411, "chunked bodies are not taken", "send a Content-Length"));
        }
        if name.eq_ignore_ascii_case("content-length") {
            let said = value.trim().parse().map_err(|_| refused(400, "the body's length is not a number", ""))?;
            if length.is_some_and(|known| known != said) {
                return Err(refused(400, "two lengths are said of one body", "send one Content-Length"));
            }
            length = Some(said);
        }
    }
    Err(too_large())
}

fn events(query: &str) -> Result<Asked, Refused> {
    let (mut topics, mut since) = (Topic::ALL.to_vec(), None);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "topics" => {
                let named = value.split(',').map(|word| Topic::ALL.into_iter().find(|topic| topic.word() == word));
                topics = named
                    .collect::<Option<Vec<Topic>>>()
                    .ok_or_else(|| refused(400, "there is no such topic", "docs/ipc.md lists the topics"))?;
            }
            "since" => {
                since =
                    Some(value.parse().map_err(|_| refused(400, "`since` is not a number", "give an event's seq"))?);
            }
            _ => return Err(refused(400, "there is no such parameter", "topics and since are all there are")),
        }
    }
    Ok(Asked::Events { topics, since })
}

/// A whole answer; the connection is closed after it.
pub fn answer(status: u16, body: &[u8]) -> Bytes {
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        phrase(status),
        body.len()
    );
    Bytes::from([head.as_bytes(), body].concat())
}

/// The beginning of a stream of events, with the snapshot as the first.
pub fn stream(subscribed: &Json) -> Bytes {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
    let first = json!({"jsonrpc": "2.0", "method": "subscribed", "params": subscribed});
    Bytes::from(format!("{head}data: {first}\n\n"))
}

/// A notification's line as one server-sent event.
pub fn framed(line: &[u8]) -> Bytes {
    Bytes::from([b"data: ", line, b"\n"].concat())
}

pub fn refusal(refused: &Refused) -> Bytes {
    answer(refused.0, format!("{}\n", json!({"error": refused.1.to_json()})).as_bytes())
}

/// What the result of a call is answered with.
pub fn result(result: &Result<Json, CallError>) -> Bytes {
    match result {
        Ok(document) => answer(200, format!("{document}\n").as_bytes()),
        Err(error) => {
            let status = if error.retryable { 503 } else { 400 };
            refusal(&Refused(status, error.clone()))
        }
    }
}

fn refused(status: u16, message: &str, hint: &str) -> Refused {
    Refused(status, CallError::new(ReasonCode::BadRequest, message, hint).coded(CallError::INVALID_REQUEST))
}

fn broken() -> Refused {
    refused(400, "the request broke off", "")
}

fn too_large() -> Refused {
    refused(431, "the headers are too long", "no header but Content-Length is needed")
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(request: &str) -> Result<Asked, u16> {
        let mut lines = Lines::new(request.as_bytes(), 1 << 20);
        let first = lines.next().await.unwrap().unwrap();
        assert!(begins(&first), "{request}");
        read(&first, &mut lines, 100).await.map_err(|refused| refused.0)
    }

    #[tokio::test]
    async fn requests_are_read_and_the_wrong_ones_refused_with_their_status() {
        assert_eq!(asked("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").await, Ok(Asked::Status));
        assert_eq!(asked("POST /rpc HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}").await, Ok(Asked::Rpc(b"{}".to_vec())));
        let some = Asked::Events { topics: vec![Topic::Cycle, Topic::Status], since: Some(7) };
        assert_eq!(asked("GET /v1/events?topics=cycle,status&since=7 HTTP/1.0\n\n").await, Ok(some));
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 404),
            ("PUT /rpc HTTP/1.1\r\n\r\n", 405),
            ("POST /v1/status HTTP/1.1\r\n\r\n", 405),
            ("POST /rpc HTTP/1.1\r\n\r\n{}", 411),
            ("POST /rpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
            ("POST /rpc HTTP/1.1\r\nContent-Length: -1\r\n\r\n{}", 400),
            ("POST /rpc HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
            ("POST /rpc HTTP/1.1\r\nContent-Length: 101\r\n\r\n{}", 413),
            ("POST /rpc HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}", 400),
            ("GET /v1/status HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET /v1/status HTTP/1.1\r\n", 400),
            ("GET /v1/events?topics=weather HTTP/1.1\r\n\r\n", 400),
            ("GET /v1/events?since=now HTTP/1.1\r\n\r\n", 400),
            ("GET /v1/events?x=1 HTTP/1.1\r\n\r\n", 400),
        ] {
            assert_eq!(asked(request).await, Err(status), "{request}");
        }
        let many = format!("GET /v1/status HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(asked(&many).await, Err(431));
        let long = format!("GET /v1/status HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(HEAD_BYTES_MAX));
        assert_eq!(asked(&long).await, Err(431));
    }

    #[test]
    fn what_is_no_request_line_is_left_to_json() {
        for line in ["hello", "{}", "GET /", "get / HTTP/1.1", " / HTTP/1.1", "GET  / HTTP/1.1", "GET / SMTP"] {
            assert!(!begins(line.as_bytes()), "{line}");
        }
    }
}
