//! One line in, one request out, or the error that says what is wrong with it.
//!
//! Refused before anything happens: what is not JSON, arrays (no batches), nesting over
//! `depth_max`, ids that are not strings or integers, unknown or repeated members,
//! positional parameters, and requests without an id, which nobody could be answered for.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::method::{Builtin, DecodeError, Request};
use super::service::CallError;
use crate::model::{ReasonCode, text};

const ID_BYTES_MAX: usize = 256;

/// A request's id, given back as it came: a string or an integer, as JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Id(String);

impl Id {
    /// For errors about a line whose id could not be read.
    pub fn unknown() -> Id {
        Id("null".to_owned())
    }
}

#[derive(Debug, PartialEq)]
pub enum Asked {
    Builtin(Builtin),
    Service(Request),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    jsonrpc: String,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

pub fn decode(line: &[u8], depth_max: usize) -> Result<(Id, Asked), (Id, CallError)> {
    let refuse = |message: &str, hint: &str| Err((Id::unknown(), bad(message, hint)));
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(_) => return refuse("the line is not UTF-8", "send JSON as UTF-8"),
    };
    if depth(text) > depth_max {
        return refuse("the JSON is nested too deeply", "no method needs more than a few levels");
    }
    if text.trim_start().starts_with('[') {
        return refuse("batches are not taken", "send one request a line; they run side by side anyway");
    }
    let envelope: Envelope = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => {
            return refuse(&format!("not a JSON-RPC request: {error}"), EXAMPLE);
        }
        Err(error) => {
            let error = bad(&format!("not JSON: {error}"), EXAMPLE);
            return Err((Id::unknown(), error.coded(CallError::PARSE)));
        }
    };
    let Some(id) = envelope.id.and_then(|id| read_id(id.get())) else {
        return refuse("the request has no id that is a string or an integer", EXAMPLE);
    };
    match read_method(&envelope) {
        Ok(asked) => Ok((id, asked)),
        Err(error) => Err((id, error)),
    }
}

/// `{"jsonrpc":"2.0","id":…,"result":…}`, with its newline.
pub fn answer(id: &Id, result: &Result<Json, CallError>, answer_bytes_max: usize) -> Bytes {
    let (member, content) = match result {
        Ok(content) => ("result", content.to_string()),
        Err(error) => ("error", error.to_json().to_string()),
    };
    if content.len() > answer_bytes_max {
        let error = CallError::new(
            ReasonCode::BadRequest,
            "the answer is too large to send",
            "ask for less with limit, table or replica",
        );
        return answer(id, &Err(error), usize::MAX);
    }
    Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"{member}\":{content}}}\n", id.0))
}

/// A notification, with its newline.
pub fn notification(method: &str, params: &Json) -> Bytes {
    Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}\n"))
}

const EXAMPLE: &str = r#"send {"jsonrpc":"2.0","id":1,"method":"replica.status","params":{}} on one line"#;

fn bad(message: &str, hint: &str) -> CallError {
    CallError::new(ReasonCode::BadRequest, message, hint).coded(CallError::INVALID_REQUEST)
}

fn read_method(envelope: &Envelope) -> Result<Asked, CallError> {
    if envelope.jsonrpc != "2.0" {
        return Err(bad("jsonrpc is not \"2.0\"", EXAMPLE));
    }
    let no_params = RawValue::from_string("{}".to_owned()).expect("BUG: an empty object is JSON");
    let params = envelope.params.unwrap_or(&no_params);
    if !params.get().starts_with('{') {
        return Err(bad("params is not an object", "parameters are named; leave params out when there are none")
            .coded(CallError::INVALID_PARAMS));
    }
    let decoded = match Builtin::decode(&envelope.method, params) {
        Err(DecodeError::UnknownMethod) => Request::decode(&envelope.method, params).map(Asked::Service),
        builtin => builtin.map(Asked::Builtin),
    };
    decoded.map_err(|error| match error {
        DecodeError::UnknownMethod => {
            let name: String = envelope.method.chars().take(80).collect();
            CallError::new(
                ReasonCode::UnknownMethod,
                format!("there is no method \"{}\"", text::printable(&name)),
                "rpc.discover lists the methods",
            )
            .coded(CallError::METHOD_NOT_FOUND)
        }
        DecodeError::Params(what) => CallError::new(
            ReasonCode::BadRequest,
            format!("{}: {}", envelope.method, text::printable(&what)),
            "rpc.discover lists the parameters; nothing was done",
        )
        .coded(CallError::INVALID_PARAMS),
    })
}

fn read_id(raw: &str) -> Option<Id> {
    let plain = match serde_json::from_str(raw).ok()? {
        Json::String(_) => true,
        Json::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    (plain && raw.len() <= ID_BYTES_MAX).then(|| Id(raw.to_owned()))
}

/// How deep brackets nest outside of strings. Also right about text that is not JSON,
/// in that it never says less than the parser would meet.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (String, i64, String) {
        let (id, error) = decode(line.as_bytes(), 64).expect_err(line);
        (id.0, error.code, error.message)
    }

    #[test]
    fn a_good_line_is_a_request_with_its_id() {
        let (id, asked) = decode(br#"{"jsonrpc":"2.0","id":"a\u0041","method":"replica.list"}"#, 64).unwrap();
        assert_eq!(id.0, r#""a\u0041""#);
        assert_eq!(asked, Asked::Service(super::super::method::ReplicaList {}.into()));
        assert!(decode(br#"{"jsonrpc":"2.0","id":1,"method":"system.ping","params":null}"#, 64).is_ok());
        let (id, asked) = decode(br#" {"id":-7,"params":{},"method":"system.ping","jsonrpc":"2.0"} "#, 64).unwrap();
        assert_eq!(id.0, "-7");
        assert_eq!(asked, Asked::Builtin(super::super::method::Ping {}.into()));
    }

    #[test]
    fn every_wrong_line_is_refused_with_its_code() {
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"system.ping"}}"#, "x".repeat(300));
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"system.ping","params":{}{}}}"#,
            "[".repeat(99),
            "]".repeat(99)
        );
        for (line, id, code) in [
            ("", "null", -32700),
            ("hello", "null", -32700),
            (r#"{"jsonrpc":"2.0","id":1,"method":"system.ping""#, "null", -32700),
            ("[]", "null", -32600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"system.ping"}]"#, "null", -32600),
            (r#""system.ping""#, "null", -32600),
            (r#"{"id":1,"method":"system.ping"}"#, "null", -32600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"system.ping"}"#, "1", -32600),
            (r#"{"jsonrpc":"2.0","method":"system.ping"}"#, "null", -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"system.ping"}"#, "null", -32600),
            (r#"{"jsonrpc":"2.0","id":{},"method":"system.ping"}"#, "null", -32600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"system.ping"}"#, "null", -32600),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"system.ping"}"#, "null", -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "null", -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"system.ping","extra":1}"#, "null", -32600),
            (long.as_str(), "null", -32600),
            (deep.as_str(), "null", -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"system.ping","params":[]}"#, "1", -32602),
            (r#"{"jsonrpc":"2.0","id":1,"method":"system.ping","params":{"x":1}}"#, "1", -32602),
            (r#"{"jsonrpc":"2.0","id":1,"method":"replica.burn"}"#, "1", -32601),
        ] {
            let (got_id, got_code, message) = refused(line);
            assert_eq!((got_id.as_str(), got_code), (id, code), "{line}: {message}");
        }
        assert!(decode(&[b'{', 0xff], 64).is_err());
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(r#"{"a":["[[[\"[[",{}]}"#), 3);
        assert_eq!(depth("[[["), 3);
        assert_eq!(depth("\"[[["), 0);
    }

    #[test]
    fn what_a_peer_named_cannot_forge_a_line_of_a_log() {
        let (.., message) = refused(r#"{"jsonrpc":"2.0","id":1,"method":"a\n\u001b[31m"}"#);
        assert_eq!(message, r#"there is no method "a\n\u{1b}[31m""#);
    }

    #[test]
    fn an_answer_over_the_limit_is_an_error_in_its_place() {
        let id = Id("1".into());
        let long = answer(&id, &Ok(Json::String("x".repeat(100))), 50);
        assert!(std::str::from_utf8(&long).unwrap().contains("too large"), "{long:?}");
        assert_eq!(&answer(&id, &Ok(Json::Null), 50)[..], b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}\n");
    }
}
