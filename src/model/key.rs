//! A row's identity: the values of its primary key, in key order.
//!
//! Three forms. `Key` itself; `encode`, bytes whose order is the same everywhere
//! (used for bases, tombstones and snapshot ranges); `to_text`, the JSON array that
//! people, views and commands see.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Value, text};

/// Shared by all that name the row: a copy costs nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub Arc<[Value]>);

impl From<Vec<Value>> for Key {
    fn from(values: Vec<Value>) -> Key {
        Key(values.into())
    }
}

impl From<&[Value]> for Key {
    fn from(values: &[Value]) -> Key {
        Key(values.into())
    }
}

impl Default for Key {
    fn default() -> Key {
        Key(Arc::new([]))
    }
}

const NULL: u8 = 1;
const INTEGER: u8 = 2;
const REAL: u8 = 3;
const TEXT: u8 = 4;
const BLOB: u8 = 5;

/// Bytes that come after those of any key.
pub const AFTER_ALL: &[u8] = &[255];

impl Key {
    /// Bytes that compare as (class, content) value by value: NULL < integer < real
    /// < text < blob; integers and reals by size, text and blobs byte by byte.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 40);
        self.0.iter().for_each(|value| put(&mut out, value));
        out
    }

    /// The key that `encode` gave; `None` for bytes it never gives.
    pub fn decode(bytes: &[u8]) -> Option<Key> {
        take_all(bytes).map(Key::from)
    }

    /// The key as a JSON array, blobs as `{"blob": "hex"}`: `["7f3a"]`, `[12,"de"]`.
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.0).expect("BUG: a key is always JSON")
    }

    /// A key as a person types it: a JSON array, or one bare value (`7f3a`, `12`).
    pub fn parse(typed: &str) -> Key {
        if let Ok(values) = serde_json::from_str::<Vec<Value>>(typed) {
            return Key::from(values);
        }
        Key::from(vec![match typed.parse::<i64>() {
            Ok(number) if number.to_string() == typed => Value::Integer(number),
            _ => Value::Text(typed.to_owned()),
        }])
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.to_text())
    }
}

/// The values of `bytes`, as `put` wrote them one after another.
pub fn take_all(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(take(&mut bytes)?);
    }
    Some(values)
}

/// The next value of `bytes`, as `put` wrote it; `None` for bytes it never writes.
pub fn take(bytes: &mut &[u8]) -> Option<Value> {
    let (tag, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(match *tag {
        NULL => Value::Null,
        INTEGER => Value::Integer((take_u64(bytes)? ^ (1 << 63)) as i64),
        REAL => {
            let ordered = take_u64(bytes)?;
            let bits = if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered };
            Value::Real(f64::from_bits(bits))
        }
        TEXT => text::from_bytes(take_bytes(bytes)?),
        BLOB => Value::Blob(take_bytes(bytes)?),
        _ => return None,
    })
}

/// One value as `Key::encode` writes it.
pub fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NULL),
        Value::Integer(number) => {
            out.push(INTEGER);
            out.extend(((*number as u64) ^ (1 << 63)).to_be_bytes());
        }
        Value::Real(number) => {
            out.push(REAL);
            let bits = number.to_bits();
            let ordered = if bits >> 63 == 1 { !bits } else { bits | (1 << 63) };
            out.extend(ordered.to_be_bytes());
        }
        Value::Text(content) => put_bytes(out, TEXT, content.as_bytes()),
        Value::Malformed(content) => put_bytes(out, TEXT, content),
        Value::Blob(content) => put_bytes(out, BLOB, content),
    }
}

/// Content with each 0 written as 0 255, ended by 0 0, so that a prefix sorts first.
fn put_bytes(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.reserve(content.len() + 3);
    out.push(tag);
    let mut pieces = content.split(|byte| *byte == 0);
    out.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.extend([0, 255]);
        out.extend_from_slice(piece);
    }
    out.extend([0, 0]);
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*head))
}

fn take_bytes(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        out.extend_from_slice(&bytes[..zero]);
        let mark = *bytes.get(zero + 1)?;
        *bytes = &bytes[zero + 2..];
        match mark {
            0 => return Some(out),
            255 => out.push(0),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Value> {
        vec![
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(-1),
            Value::Integer(0),
            Value::Integer(i64::MAX),
            Value::Real(f64::NEG_INFINITY),
            Value::Real(-1.5),
            Value::Real(-0.0),
            Value::Real(0.0),
            Value::Real(2.5),
            Value::Text(String::new()),
            Value::Text("a".into()),
            Value::Text("a\0".into()),
            Value::Text("a\0b".into()),
            Value::Text("ab".into()),
            Value::Malformed(vec![b'a', 0xff]),
            Value::Blob(vec![]),
            Value::Blob(vec![0]),
            Value::Blob(vec![0, 0]),
            Value::Blob(vec![255]),
        ]
    }

    #[test]
    fn encoded_keys_decode_to_themselves_and_keep_their_order() {
        let keys: Vec<Key> =
            samples().iter().flat_map(|a| samples().into_iter().map(|b| Key::from(vec![a.clone(), b]))).collect();
        for pair in keys.windows(2) {
            assert!(pair[0].encode() < pair[1].encode(), "{} before {}", pair[0], pair[1]);
        }
        for key in keys {
            assert_eq!(Key::decode(&key.encode()).unwrap(), key);
        }
    }

    #[test]
    fn a_typed_key_is_an_array_or_a_bare_value() {
        assert_eq!(Key::parse("12"), Key::from(vec![Value::Integer(12)]));
        assert_eq!(Key::parse("012"), Key::from(vec![Value::Text("012".into())]));
        assert_eq!(Key::parse("[1,\"a\"]"), Key::from(vec![Value::Integer(1), Value::Text("a".into())]));
        assert_eq!(Key::parse("[\"12\"]"), Key::from(vec![Value::Text("12".into())]));
    }
}
