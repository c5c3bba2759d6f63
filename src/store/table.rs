//! A table that syncs, as attached: its id in the log, its columns, and the SQL that
//! reads and writes its rows.

use std::sync::Arc;

use rusqlite::Connection;

use crate::model::settings::TableRule;
use crate::model::{ForeignKey, Key, Row, Table, Value};
use crate::sqlite::{ident, idents};

#[derive(Clone, Debug)]
pub struct Synced {
    /// Stands for the table in the log and in every table of Homing's.
    pub id: i64,
    pub table: Table,
    /// Its name, shared by all that name it.
    pub label: Arc<str>,
    /// The names of `table.columns`.
    pub columns: Arc<[String]>,
    pub rule: TableRule,
    pub(crate) shape: i64,
    pub(crate) key_at: Vec<usize>,
    /// Bases are kept whole, not as hashes.
    pub(crate) keeps_rows: bool,
    /// The app's own triggers fire while applying.
    pub fires: bool,
    /// What `ALTER TABLE ADD COLUMN` gave every row that was there, a column.
    pub(crate) defaults: Row,
    /// `"a" IS ?1 AND …`, exact to the byte.
    pub(crate) key_is: String,
    pub(crate) select: String,
    /// Statements for one row, by its key: made once, not for each row.
    pub(crate) read_sql: String,
    pub(crate) delete_sql: String,
    /// With all columns.
    pub(crate) insert_sql: String,
    pub(crate) references: Vec<Reference>,
}

/// A foreign key of the table, ready to be looked up.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) parent: String,
    /// Positions of its columns.
    pub(crate) at: Vec<usize>,
    /// Finds a parent with these columns' values. NULLs match nothing.
    pub(crate) exists_sql: String,
}

impl Synced {
    pub(crate) fn new(db: &Connection, id: i64, shape: i64, table: Table, rule: TableRule, fires: bool) -> Synced {
        let columns: Arc<[String]> = table.column_names().into();
        let key_is = key_is(&table);
        let select = format!("SELECT {} FROM {}", idents(&columns), ident(&table.name));
        let read_sql = format!("{select} WHERE {key_is}");
        let delete_sql = format!("DELETE FROM {} WHERE {key_is}", ident(&table.name));
        let insert_sql = insert_sql(&table.name, &columns);
        let defaults = table.columns.iter().map(|column| default(db, column)).collect();
        let references = table.foreign_keys.iter().filter_map(|foreign| reference(&table, foreign)).collect();
        Synced {
            id,
            references,
            key_at: table.key_positions(),
            keeps_rows: rule.strategy.needs_base_row(),
            fires,
            defaults,
            key_is,
            select,
            read_sql,
            delete_sql,
            insert_sql,
            columns,
            label: table.name.as_str().into(),
            table,
            rule,
            shape,
        }
    }

    pub fn name(&self) -> &str {
        &self.table.name
    }

    /// True for a column that is the remote's own: it comes and never goes.
    pub(crate) fn is_servers(&self, at: usize) -> bool {
        self.rule.wire.server_columns.iter().any(|name| name.eq_ignore_ascii_case(&self.columns[at]))
    }

    pub(crate) fn key_of(&self, row: &Row) -> Key {
        Key(self.key_at.iter().map(|at| row[*at].clone()).collect())
    }
}

fn reference(table: &Table, foreign: &ForeignKey) -> Option<Reference> {
    let at = foreign.columns.iter().map(|name| table.position(name)).collect::<Option<_>>()?;
    let tests: Vec<String> =
        foreign.parent_columns.iter().enumerate().map(|(at, name)| format!("{} = ?{}", ident(name), at + 1)).collect();
    let exists_sql = format!("SELECT 1 FROM {} WHERE {}", ident(&foreign.parent), tests.join(" AND "));
    Some(Reference { parent: foreign.parent.clone(), at, exists_sql })
}

/// Inserts one row with these columns. Whatever the app's schema says of conflicts
/// (`ON CONFLICT REPLACE`), nothing here gives way.
pub(crate) fn insert_sql<S: AsRef<str>>(table: &str, columns: &[S]) -> String {
    format!(
        "INSERT OR ABORT INTO {}({}) VALUES({})",
        ident(table),
        idents(columns),
        vec!["?"; columns.len()].join(", ")
    )
}

/// Equality that is identity: `IS` for NULLs; where a collation or a missing affinity
/// could call different bytes equal, the bytes and the class as well.
fn key_is(table: &Table) -> String {
    let part = |(at, name): (usize, &String)| {
        let parameter = at + 1;
        let column = &table.columns[table.position(name).expect("BUG: a key column is a column")];
        let quoted = ident(name);
        let mut test = format!("{quoted} IS ?{parameter}");
        if column.collation.is_some() {
            test += &format!(" AND CAST({quoted} AS BLOB) IS CAST(?{parameter} AS BLOB)");
        }
        let declared = column.declared.to_ascii_uppercase();
        if declared.is_empty() || declared.contains("BLOB") || declared == "ANY" {
            test += &format!(" AND typeof({quoted}) = typeof(?{parameter})");
        }
        test
    };
    table.key.iter().enumerate().map(part).collect::<Vec<_>>().join(" AND ")
}

/// A constant DEFAULT as the value a row would hold; NULL for none.
fn default(db: &Connection, column: &crate::model::Column) -> Value {
    let Some(text) = &column.default else { return Value::Null };
    let value = db.query_row(&format!("SELECT {text}"), [], |row| row.get_ref(0).map(crate::sqlite::value::read));
    let declared = column.declared.to_ascii_uppercase();
    match value.unwrap_or_default() {
        // A quoted number in a numeric column is stored as the number.
        Value::Text(text) if declared.contains("INT") => match text.parse() {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Text(text),
        },
        Value::Integer(number) if ["REAL", "FLOA", "DOUB"].iter().any(|word| declared.contains(word)) => {
            Value::Real(number as f64)
        }
        Value::Integer(number) if ["TEXT", "CHAR", "CLOB"].iter().any(|word| declared.contains(word)) => {
            Value::Text(number.to_string())
        }
        other => other,
    }
}
