//! One value in the form that a backend's JSON has it, and back.
//!
//! What comes in is turned into what SQLite will store under the column's affinity, so
//! that a row that was applied is equal to the one that came. What no JSON can say (an
//! infinity, text that is not UTF-8) goes as the tagged object that Homing itself uses.
//! Never guesses: what the form does not allow is refused by name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value as Json};

use super::time;
use crate::model::{Column, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// 0 and 1 here, `true` and `false` there.
    Boolean,
    /// Text with JSON in it here, JSON itself there.
    Json,
    /// Times: milliseconds (or ISO text) here.
    Seconds,
    Milliseconds,
    Iso8601,
    /// Bytes here, text there.
    Base64,
    /// Numbers as text there.
    Text,
}

/// How SQLite converts what is stored in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    Integer,
    Real,
    Numeric,
    Text,
    None,
}

impl Form {
    /// A form by its name in the config; without one, by the column's type.
    pub fn of(name: Option<&String>, column: &Column) -> Form {
        match name.map(String::as_str) {
            Some("boolean") => Form::Boolean,
            Some("json") => Form::Json,
            Some("seconds") => Form::Seconds,
            Some("milliseconds") => Form::Milliseconds,
            Some("iso8601") => Form::Iso8601,
            Some("base64") => Form::Base64,
            Some("text") => Form::Text,
            _ if column.declared.to_ascii_uppercase().contains("BLOB") => Form::Base64,
            _ => Form::Plain,
        }
    }

    /// What it takes, for messages.
    fn takes(self) -> &'static str {
        match self {
            Form::Plain => "a value",
            Form::Boolean => "true or false",
            Form::Json => "JSON",
            Form::Seconds => "a time in seconds",
            Form::Milliseconds => "a time in milliseconds",
            Form::Iso8601 => "an ISO 8601 time",
            Form::Base64 => "base64",
            Form::Text => "a text",
        }
    }

    pub fn write(self, value: &Value) -> Json {
        match (self, value) {
            (Form::Boolean, Value::Integer(0)) => Json::Bool(false),
            (Form::Boolean, Value::Integer(1)) => Json::Bool(true),
            (Form::Json, Value::Text(text)) => serde_json::from_str(text).unwrap_or_else(|_| Json::from(text.clone())),
            (Form::Seconds, value) if millis(value).is_some() => {
                let millis = millis(value).expect("BUG: asked just before");
                match millis % 1_000 {
                    0 => Json::from(millis / 1_000),
                    _ => Json::from(millis as f64 / 1_000.0),
                }
            }
            (Form::Milliseconds, Value::Text(text)) if time::parse(text).is_some() => Json::from(time::parse(text)),
            (Form::Iso8601, Value::Integer(millis)) => Json::from(time::format(*millis)),
            (Form::Iso8601, Value::Real(millis)) if millis.is_finite() => Json::from(time::format(*millis as i64)),
            (Form::Base64, Value::Blob(bytes)) => Json::from(STANDARD.encode(bytes)),
            (Form::Text, Value::Integer(number)) => Json::from(number.to_string()),
            (Form::Text, Value::Real(number)) if number.is_finite() => Json::from(real_text(*number)),
            (_, value) => serde_json::to_value(value).expect("BUG: a value is always JSON"),
        }
    }

    /// The value as the column will hold it, or what was expected.
    pub fn read(self, affinity: Affinity, json: &Json) -> Result<Value, &'static str> {
        let value = match (self, json) {
            (_, Json::Null) => return Ok(Value::Null),
            (Form::Json, json) => Value::Text(json.to_string()),
            (Form::Boolean, Json::Bool(flag)) => Value::Integer(i64::from(*flag)),
            (Form::Boolean, Json::Number(number)) if matches!(number.as_i64(), Some(0 | 1)) => plain(number),
            (Form::Seconds, Json::Number(number)) => {
                let seconds = number.as_f64().ok_or(self.takes())?;
                moment((seconds * 1_000.0).round() as i64, affinity)
            }
            (Form::Milliseconds, Json::Number(number)) => {
                moment(number.as_i64().or(number.as_f64().map(|real| real as i64)).ok_or(self.takes())?, affinity)
            }
            (Form::Iso8601, Json::String(text)) => match affinity {
                Affinity::Text => Value::Text(text.clone()),
                _ => Value::Integer(time::parse(text).ok_or(self.takes())?),
            },
            (Form::Base64, Json::String(text)) => Value::Blob(STANDARD.decode(text).map_err(|_| self.takes())?),
            (Form::Text | Form::Plain, Json::String(text)) => Value::Text(text.clone()),
            (Form::Text | Form::Plain, Json::Number(number)) => plain(number),
            (Form::Plain, Json::Bool(flag)) => Value::Integer(i64::from(*flag)),
            (Form::Plain | Form::Base64, json @ Json::Object(_)) if tagged(json).is_some() => {
                return Ok(tagged(json).expect("BUG: asked just before"));
            }
            (Form::Plain, json @ (Json::Array(_) | Json::Object(_))) => Value::Text(json.to_string()),
            _ => return Err(self.takes()),
        };
        Ok(affinity.stored(value))
    }
}

impl Affinity {
    /// By SQLite's rules for a declared type.
    pub fn of(column: &Column, strict: bool) -> Affinity {
        let declared = column.declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        match () {
            () if strict && declared == "ANY" => Affinity::None,
            () if has(&["INT"]) => Affinity::Integer,
            () if has(&["CHAR", "CLOB", "TEXT"]) => Affinity::Text,
            () if declared.is_empty() || has(&["BLOB"]) => Affinity::None,
            () if has(&["REAL", "FLOA", "DOUB"]) => Affinity::Real,
            () => Affinity::Numeric,
        }
    }

    fn stored(self, value: Value) -> Value {
        match (self, value) {
            (Affinity::Text, Value::Integer(number)) => Value::Text(number.to_string()),
            (Affinity::Text, Value::Real(number)) => Value::Text(real_text(number)),
            (Affinity::Real, Value::Integer(number)) => Value::Real(number as f64),
            (Affinity::Integer | Affinity::Numeric, Value::Real(number)) => whole(number),
            (Affinity::Integer | Affinity::Numeric | Affinity::Real, Value::Text(text)) => match number_in(&text) {
                Some(number) => self.stored(number),
                None => Value::Text(text),
            },
            (_, value) => value,
        }
    }
}

fn millis(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(millis) => Some(*millis),
        Value::Text(text) => time::parse(text),
        _ => None,
    }
}

/// A moment as the column keeps it: text as ISO 8601, else milliseconds.
fn moment(millis: i64, affinity: Affinity) -> Value {
    match affinity {
        Affinity::Text => Value::Text(time::format(millis)),
        _ => Value::Integer(millis),
    }
}

fn plain(number: &Number) -> Value {
    match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => Value::Integer(integer),
        (None, real) => real.filter(|real| real.is_finite()).map_or(Value::Null, Value::Real),
    }
}

/// `{"blob": "hex"}` and the like: what Homing writes where JSON has no word.
fn tagged(json: &Json) -> Option<Value> {
    let has_tag = |name: &str| json.as_object().is_some_and(|object| object.len() == 1 && object.contains_key(name));
    let is_tagged = ["blob", "real", "text"].into_iter().any(has_tag);
    is_tagged.then(|| serde_json::from_value(json.clone()).ok()).flatten()
}

/// An integer where a real is one, as SQLite stores it in an integer column.
fn whole(number: f64) -> Value {
    let is_whole = number.fract() == 0.0 && number.abs() < 9.0e18 && !(number == 0.0 && number.is_sign_negative());
    if is_whole { Value::Integer(number as i64) } else { Value::Real(number) }
}

fn number_in(text: &str) -> Option<Value> {
    let trimmed = text.trim();
    let looks_right = trimmed.starts_with(|mark: char| mark.is_ascii_digit() || "+-.".contains(mark));
    if !looks_right || trimmed.bytes().any(|byte| byte.is_ascii_alphabetic() && !b"eE".contains(&byte)) {
        return None;
    }
    match trimmed.parse::<i64>() {
        Ok(integer) => Some(Value::Integer(integer)),
        Err(_) => trimmed.parse::<f64>().ok().filter(|real| real.is_finite()).map(Value::Real),
    }
}

/// As SQLite writes a real into a text column.
fn real_text(number: f64) -> String {
    let text = format!("{number}");
    if text.contains(['.', 'e', 'E']) || !number.is_finite() { text } else { text + ".0" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(declared: &str) -> Column {
        Column { name: "c".to_owned(), declared: declared.to_owned(), ..Column::default() }
    }

    fn reads(form: &str, declared: &str, json: Json) -> Result<Value, &'static str> {
        let column = column(declared);
        Form::of(Some(&form.to_owned()), &column).read(Affinity::of(&column, false), &json)
    }

    #[test]
    fn a_value_comes_in_as_its_column_will_hold_it() {
        let text = |text: &str| Ok(Value::Text(text.to_owned()));
        for (form, declared, json, expected) in [
            ("", "INTEGER", json!(5), Ok(Value::Integer(5))),
            ("", "INTEGER", json!(5.0), Ok(Value::Integer(5))),
            ("", "INTEGER", json!("5"), Ok(Value::Integer(5))),
            ("", "INTEGER", json!("five"), text("five")),
            ("", "INTEGER", json!(true), Ok(Value::Integer(1))),
            ("", "REAL", json!(5), Ok(Value::Real(5.0))),
            ("", "REAL", json!("1.5"), Ok(Value::Real(1.5))),
            ("", "TEXT", json!(5), text("5")),
            ("", "TEXT", json!(1.5), text("1.5")),
            ("", "TEXT", json!("5"), text("5")),
            ("", "TEXT", json!({"a": [1]}), text(r#"{"a":[1]}"#)),
            ("", "", json!("5"), text("5")),
            ("", "BLOB", json!("AP8="), Ok(Value::Blob(vec![0, 255]))),
            ("", "TEXT", json!(null), Ok(Value::Null)),
            ("boolean", "INTEGER", json!(true), Ok(Value::Integer(1))),
            ("boolean", "INTEGER", json!("yes"), Err("true or false")),
            ("json", "TEXT", json!(["a", 1]), text(r#"["a",1]"#)),
            ("seconds", "INTEGER", json!(1.5), Ok(Value::Integer(1500))),
            ("milliseconds", "TEXT", json!(0), text("1970-01-01T00:00:00.000Z")),
            ("iso8601", "INTEGER", json!("1970-01-01T00:00:01Z"), Ok(Value::Integer(1000))),
            ("iso8601", "TEXT", json!("1970-01-01T00:00:01Z"), text("1970-01-01T00:00:01Z")),
            ("iso8601", "INTEGER", json!("soon"), Err("an ISO 8601 time")),
            ("base64", "BLOB", json!("?"), Err("base64")),
        ] {
            assert_eq!(reads(form, declared, json.clone()), expected, "{form} {declared} {json}");
        }
    }

    #[test]
    fn what_goes_out_comes_back_as_it_was() {
        for (form, declared, value, expected) in [
            ("", "INTEGER", Value::Integer(i64::MIN), json!(i64::MIN)),
            ("", "REAL", Value::Real(5.0), json!(5.0)),
            ("", "REAL", Value::Real(f64::INFINITY), json!({"real": "inf"})),
            ("", "BLOB", Value::Blob(vec![0, 255]), json!("AP8=")),
            ("", "", Value::Blob(vec![0]), json!({"blob": "00"})),
            ("", "TEXT", Value::Malformed(vec![255]), json!({"text": "ff"})),
            ("boolean", "INTEGER", Value::Integer(1), json!(true)),
            ("boolean", "INTEGER", Value::Null, json!(null)),
            ("json", "TEXT", Value::Text("[1,{\"a\":null}]".into()), json!([1, {"a": null}])),
            ("seconds", "INTEGER", Value::Integer(1500), json!(1.5)),
            ("milliseconds", "INTEGER", Value::Integer(1500), json!(1500)),
            ("iso8601", "INTEGER", Value::Integer(0), json!("1970-01-01T00:00:00.000Z")),
            ("text", "INTEGER", Value::Integer(9_007_199_254_740_993), json!("9007199254740993")),
        ] {
            let column = column(declared);
            let made = Form::of(Some(&form.to_owned()), &column).write(&value);
            assert_eq!(made, expected, "{form} {declared}");
            assert_eq!(reads(form, declared, made), Ok(value), "{form} {declared}");
        }
    }
}
