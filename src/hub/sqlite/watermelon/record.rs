//! Between rows and WatermelonDB's raw records: strings, numbers, booleans and null.
//!
//! What JavaScript cannot hold (a blob, an integer over 2^53, an infinity) is said as
//! near as it goes. A client sends back what it was told, so a value that is still what
//! the hub would say is left as it is stored: reading a row there never wears it down.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value as Json};

use super::{PRIVATE, is_safe_name};
use crate::hub::sqlite::schema::Shape;
use crate::model::Value;

/// Positions of the columns that travel, the key's among them.
pub(super) fn columns(shape: &Shape) -> Vec<usize> {
    let travels = |name: &String| is_safe_name(name) && !PRIVATE.contains(&name.as_str());
    (0..shape.names.len()).filter(|at| travels(&shape.names[*at])).collect()
}

/// A row as a raw record.
pub(super) fn record(shape: &Shape, columns: &[usize], row: &[Value]) -> Json {
    Json::Object(columns.iter().map(|at| (shape.names[*at].clone(), said(&row[*at]))).collect::<Map<_, _>>())
}

pub(super) fn said(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => Json::from(*number),
        // Null for an infinity.
        Value::Real(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Malformed(bytes) => Json::from(String::from_utf8_lossy(bytes).into_owned()),
        Value::Blob(bytes) => Json::from(BASE64_STANDARD.encode(bytes)),
    }
}

/// The value to store for what a client sent; `None` for what no record may hold.
pub(super) fn stored(sent: &Json, now: Option<&Value>) -> Option<Value> {
    if let Some(now) = now.filter(|now| alike(sent, &said(now))) {
        return Some(now.clone());
    }
    Some(match sent {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Integer(i64::from(*flag)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Integer(whole),
            None => Value::Real(number.as_f64()?),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) | Json::Object(_) => return None,
    })
}

/// Equal once JavaScript has read both, where a boolean column holds 0 or 1.
fn alike(one: &Json, other: &Json) -> bool {
    let number = |json: &Json| match json {
        Json::Bool(flag) => Some(f64::from(u8::from(*flag))),
        other => other.as_f64(),
    };
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_client_sends_back_unchanged_changes_nothing() {
        for kept in [
            Value::Null,
            Value::Integer(1),
            Value::Integer((1 << 53) + 1),
            Value::Real(1.0),
            Value::Real(f64::INFINITY),
            Value::Text("1".into()),
            Value::Malformed(vec![0xff]),
            Value::Blob(vec![0, 255]),
        ] {
            // As JavaScript would write it again: every number is a double there.
            let back = match said(&kept) {
                Json::Number(number) if number.as_f64().unwrap().fract() == 0.0 => {
                    json!(number.as_f64().unwrap() as i64)
                }
                other => other,
            };
            assert_eq!(stored(&back, Some(&kept)), Some(kept.clone()), "{kept:?}");
        }
        assert_eq!(stored(&json!(true), Some(&Value::Integer(1))), Some(Value::Integer(1)));
    }

    #[test]
    fn what_a_client_wrote_is_stored_as_what_it_is() {
        let one = Value::Integer(1);
        for (sent, expected) in [
            (json!(false), Some(Value::Integer(0))),
            (json!(2), Some(Value::Integer(2))),
            (json!(0.5), Some(Value::Real(0.5))),
            (json!("1"), Some(Value::Text("1".into()))),
            (json!(null), Some(Value::Null)),
            (json!([]), None),
            (json!({"blob": "00"}), None),
        ] {
            assert_eq!(stored(&sent, Some(&one)), expected, "{sent}");
            assert_eq!(stored(&sent, None), expected, "{sent}");
        }
    }
}
