//! Names and literals inside SQL text.

use crate::model::{Value, text};

/// A name as SQL: `"my ""table"""`.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names with commas between them.
pub fn idents<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| ident(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A value as an SQL literal that SQLite reads back as the same value.
pub fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(i64::MIN) => "(-9223372036854775807-1)".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) if number.is_infinite() => if *number > 0.0 { "9e999" } else { "-9e999" }.to_owned(),
        Value::Real(number) => format!("{number:e}"),
        Value::Text(content) if !content.contains('\0') => format!("'{}'", content.replace('\'', "''")),
        Value::Text(content) => format!("CAST(x'{}' AS TEXT)", text::hex(content.as_bytes())),
        Value::Malformed(bytes) => format!("CAST(x'{}' AS TEXT)", text::hex(bytes)),
        Value::Blob(bytes) => format!("x'{}'", text::hex(bytes)),
    }
}
