//! Between SQLite's values and ours, exactly.

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::model::{Row, Value, text};

pub fn read(value: ValueRef) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(content) => Value::Text(content.to_owned()),
            Err(_) => text::from_bytes(bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// `count` values of a result row, from column `first` on.
pub fn read_row(row: &rusqlite::Row, first: usize, count: usize) -> rusqlite::Result<Row> {
    (first..first + count).map(|at| row.get_ref(at).map(read)).collect()
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(content) => ValueRef::Text(content.as_bytes()),
            Value::Malformed(bytes) => ValueRef::Text(bytes),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::literal;

    /// requirements: trap 26, the five storage classes make the round trip exactly.
    #[test]
    fn values_come_back_from_sqlite_as_they_went_bound_or_as_literals() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Real(-0.0),
            Value::Real(5e-324),
            Value::Real(1.0),
            Value::Real(f64::INFINITY),
            Value::Real(f64::NEG_INFINITY),
            Value::Text("it's \0 é".into()),
            Value::Malformed(vec![0xff, 0x41]),
            Value::Blob(vec![0, 1, 255]),
            Value::Blob(vec![]),
        ] {
            let bound = db.query_row("SELECT ?", [&value], |row| row.get_ref(0).map(read)).unwrap();
            assert_eq!(bound, value);
            let sql = format!("SELECT {}", literal(&value));
            let spelled = db.query_row(&sql, [], |row| row.get_ref(0).map(read)).unwrap();
            assert_eq!(spelled, value, "{sql}");
        }
    }
}
