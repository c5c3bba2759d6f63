//! The hub's tables as this connection last read them, with the SQL that each needs.
//!
//! Rebuilt whenever `PRAGMA schema_version` moved; shared by reference while in use, so
//! that a call never sees it change under way.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Statement};

use super::links::{self, Link};
use crate::hub::error::Result;
use crate::model::{Key, Row, Table, Value};
use crate::sqlite::{digest, ident, idents, value};

#[derive(Debug, Default)]
pub(super) struct Schema {
    /// `PRAGMA schema_version` when it was read.
    pub version: i64,
    pub shapes: Vec<Arc<Shape>>,
    /// Every foreign key whose parent is here.
    pub links: Vec<Link>,
    by_name: HashMap<String, usize>,
    by_id: HashMap<i64, usize>,
}

impl Schema {
    /// `tables` with their ids.
    pub fn new(version: i64, tables: Vec<(i64, Table)>, account_column: Option<&str>) -> Schema {
        let shapes: Vec<Arc<Shape>> =
            tables.into_iter().map(|(id, table)| Arc::new(Shape::new(id, table, account_column))).collect();
        let at = |(at, shape): (usize, &Arc<Shape>)| (shape.table.name.to_ascii_lowercase(), at);
        let by_name = shapes.iter().enumerate().map(at).collect();
        let by_id = shapes.iter().enumerate().map(|(at, shape)| (shape.id, at)).collect();
        let links = links::of(&shapes);
        Schema { version, shapes, links, by_name, by_id }
    }

    pub fn named(&self, name: &str) -> Option<&Arc<Shape>> {
        self.by_name.get(&name.to_ascii_lowercase()).map(|at| &self.shapes[*at])
    }

    pub fn numbered(&self, id: i64) -> Option<&Arc<Shape>> {
        self.by_id.get(&id).map(|at| &self.shapes[*at])
    }

    /// Ids with every parent before its children; tables in a cycle by id.
    pub fn parents_first(&self) -> Vec<i64> {
        let mut left: Vec<i64> = self.shapes.iter().map(|shape| shape.id).collect();
        left.sort_unstable();
        let mut out = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let waits = |id: i64| {
                let mut parents = self.links.iter().filter(|link| link.child.id == id && link.parent.id != id);
                parents.any(|link| left.contains(&link.parent.id))
            };
            let at = left.iter().position(|id| !waits(*id)).unwrap_or(0);
            out.push(left.remove(at));
        }
        out
    }
}

/// One table and its statements.
#[derive(Debug)]
pub(super) struct Shape {
    pub id: i64,
    pub table: Table,
    pub names: Vec<String>,
    /// Positions of the key's columns, in key order.
    pub key_at: Vec<usize>,
    pub affinities: Vec<Affinity>,
    /// The column the hub fills with the account, when the table has it.
    pub account_at: Option<usize>,
    /// The same where it is part of the key, by its place there: it must be the account.
    pub account_key: Option<usize>,
    /// The key is SQLite's rowid itself: NULL would become a number.
    pub rowid_key: bool,
    /// A name the rowid goes by, where it must be kept apart from the key.
    pub rowid: Option<&'static str>,
    pub read_sql: String,
    pub delete_sql: String,
    /// All columns in table order, with the rowid first where there is one to keep.
    pub put_back_sql: String,
}

impl Shape {
    fn new(id: i64, table: Table, account_column: Option<&str>) -> Shape {
        let names = table.column_names();
        let key_at = table.key_positions();
        let affinities: Vec<Affinity> =
            table.columns.iter().map(|column| Affinity::of(&column.declared, table.strict)).collect();
        let rowid_key = !table.without_rowid
            && key_at.len() == 1
            && table.columns[key_at[0]].declared.eq_ignore_ascii_case("integer");
        let free = |name: &&&str| table.position(name).is_none();
        let rowid = match table.without_rowid || rowid_key {
            true => None,
            false => ["rowid", "_rowid_", "oid"].iter().find(free).copied(),
        };
        let account = account_column.and_then(|name| table.position(name));
        let account_key = key_at.iter().position(|at| Some(*at) == account);
        let mut shape = Shape {
            id,
            names,
            key_at,
            affinities,
            account_at: if account_key.is_some() { None } else { account },
            account_key,
            rowid_key,
            rowid,
            read_sql: String::new(),
            delete_sql: String::new(),
            put_back_sql: String::new(),
            table,
        };
        let on = ident(&shape.table.name);
        shape.read_sql = format!("SELECT {} FROM {on} WHERE {}", idents(&shape.names), shape.key_is("", 1));
        shape.delete_sql = format!("DELETE FROM {on} WHERE {}", shape.key_is("", 1));
        let extra: Vec<&str> = rowid.into_iter().collect();
        let count = extra.len() + shape.names.len();
        let into = extra.into_iter().map(str::to_owned).chain([idents(&shape.names)]).collect::<Vec<_>>().join(", ");
        shape.put_back_sql = format!("INSERT INTO {on}({into}) VALUES ({})", marks(count));
        shape
    }

    /// `WHERE` for one key, byte for byte and class for class, parameters from `first`.
    /// `IS` alone would find `'ABC'` for `'abc'` under NOCASE, and 1.0 for 1.
    pub fn key_is(&self, prefix: &str, first: usize) -> String {
        let mut parts = Vec::new();
        for (at, column) in self.key_at.iter().enumerate() {
            let (name, mark) = (format!("{prefix}{}", ident(&self.names[*column])), first + at);
            parts.push(format!("{name} IS ?{mark}"));
            if self.table.columns[*column].collation.is_some() {
                parts.push(format!("{name} COLLATE BINARY IS ?{mark}"));
            }
            if self.affinities[*column] == Affinity::None {
                parts.push(format!("typeof({name}) = typeof(?{mark})"));
            }
        }
        parts.join(" AND ")
    }

    pub fn key_names(&self) -> &[String] {
        &self.table.key
    }

    pub fn read(&self, db: &Connection, key: &Key) -> Result<Option<Row>> {
        self.read_with(&mut *db.prepare_cached(&self.read_sql)?, key)
    }

    /// `read`, by a statement of `read_sql` that is at hand.
    pub fn read_with(&self, statement: &mut Statement, key: &Key) -> Result<Option<Row>> {
        let mut rows = statement.query(rusqlite::params_from_iter(key.0.iter()))?;
        Ok(match rows.next()? {
            Some(row) => Some(value::read_row(row, 0, self.names.len())?),
            None => None,
        })
    }

    /// Removes the row; nothing when it is not there.
    pub fn delete(&self, db: &Connection, key: &Key) -> Result<()> {
        db.prepare_cached(&self.delete_sql)?.execute(rusqlite::params_from_iter(key.0.iter()))?;
        Ok(())
    }

    /// True when SQLite stores `value` in column `at` as it is.
    pub fn keeps(&self, at: usize, value: &Value) -> bool {
        self.affinities[at].keeps(value)
    }
}

/// A row's hash as `_hub_row` keeps it. NULLs at the end do not count, so that a new
/// column without a default changes no hash.
pub(super) fn hash<'a>(row: impl IntoIterator<Item = &'a Value>) -> i64 {
    let mut values: Vec<&Value> = row.into_iter().collect();
    while values.last().is_some_and(|value| value.is_null()) {
        values.pop();
    }
    digest::row(values) as i64
}

pub(super) fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// What SQLite may turn a value into when it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Text,
    None,
    Real,
    Numeric,
}

impl Affinity {
    fn of(declared: &str, strict: bool) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        match () {
            () if strict && declared == "ANY" => Affinity::None,
            () if has("INT") => Affinity::Integer,
            () if has("CHAR") || has("CLOB") || has("TEXT") => Affinity::Text,
            () if has("BLOB") || declared.is_empty() => Affinity::None,
            () if has("REAL") || has("FLOA") || has("DOUB") => Affinity::Real,
            () => Affinity::Numeric,
        }
    }

    /// True when a value is surely stored as it is; false sends the caller to look.
    fn keeps(self, value: &Value) -> bool {
        match (self, value) {
            (Affinity::None, _) | (_, Value::Null | Value::Blob(_)) => true,
            (Affinity::Text, Value::Text(_) | Value::Malformed(_)) => true,
            (Affinity::Text, _) => false,
            (Affinity::Real, Value::Real(number)) => *number != 0.0 || number.is_sign_positive(),
            (Affinity::Real, Value::Integer(_)) => false,
            (_, Value::Integer(_)) => true,
            // One that an integer can hold becomes it.
            (_, Value::Real(number)) => number.fract() != 0.0 || number.abs() > 9.3e18,
            (_, Value::Text(text)) => !looks_numeric(text),
            (_, Value::Malformed(_)) => true,
        }
    }
}

/// Whatever SQLite would take for a number, and a little more.
fn looks_numeric(text: &str) -> bool {
    let trimmed = text.trim_matches(|character: char| character.is_ascii_whitespace() || character == '\u{b}');
    trimmed.parse::<f64>().is_ok()
}
