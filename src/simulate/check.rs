//! The promises, looked at from outside: through plain SQL on the files, and the
//! simulator's own list of what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

use super::schema::TABLES;
use super::tokens::{self, Tokens};
use crate::model::{Row, Value};
use crate::sqlite::{literal, value};

/// Promise 1: every write that nobody replaced is on some side, or in a ledger.
pub(super) fn nothing_lost(tokens: &Tokens, files: &[&Path], hub: &Path) -> Result<(), String> {
    let mut found = tokens_of(hub)?;
    for path in files {
        found.extend(tokens_of(path)?);
    }
    let missing: Vec<String> = tokens.missing(&found).map(|(token, by)| format!("{token} ({by})")).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("promise 1: lost: {}", missing.join(", "))),
    }
}

/// Every token in a file: in the app's tables, in the ledger, among parked rows.
pub(super) fn tokens_of(path: &Path) -> Result<BTreeSet<String>, String> {
    let db = look(path)?;
    let mut found = BTreeSet::new();
    for table in TABLES {
        texts(&db, table, &format!("\"{}\"", super::schema::token_column(table)), &mut found)?;
    }
    texts(&db, "_homing_conflict", SIDES, &mut found)?;
    texts(&db, "_homing_parked", "CAST(body AS TEXT)", &mut found)?;
    Ok(found)
}

/// Every token in a file's ledger.
pub(super) fn ledger_of(path: &Path) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    texts(&look(path)?, "_homing_conflict", SIDES, &mut found)?;
    Ok(found)
}

const SIDES: &str =
    "coalesce(base, '') || ' ' || coalesce(local, '') || ' ' || coalesce(remote, '') || ' ' || coalesce(result, '')";

/// The file is whole, whatever happened around it.
pub(super) fn integrity(path: &Path) -> Result<(), String> {
    let db = look(path)?;
    let verdict: String =
        db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|error| error.to_string())?;
    if verdict == "ok" { Ok(()) } else { Err(format!("{} is damaged: {verdict}", path.display())) }
}

/// Promise 5: all sides are equal, and nothing is left to do.
pub(super) fn equal(files: &[&Path], hub: &Path) -> Result<(), String> {
    let remote = contents(hub)?;
    for path in files {
        let local = contents(path)?;
        for table in TABLES {
            let empty = BTreeSet::new();
            let (here, there) = (local.get(table).unwrap_or(&empty), remote.get(table).unwrap_or(&empty));
            if here != there {
                let only_here: Vec<&String> = here.difference(there).collect();
                let only_there: Vec<&String> = there.difference(here).collect();
                return Err(format!(
                    "promise 5: {table} of {} differs: only here {only_here:?}, only at the hub {only_there:?}",
                    name(path)
                ));
            }
        }
        let db = look(path)?;
        for table in ["_homing_log WHERE tab <> 0", "_homing_aside", "_homing_parked", "_homing_flight"] {
            let left: i64 = db
                .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
                .map_err(|error| error.to_string())?;
            if left > 0 {
                return Err(format!("promise 5: {left} left in {table} of {}", name(path)));
            }
        }
    }
    Ok(())
}

fn contents(path: &Path) -> Result<BTreeMap<&'static str, BTreeSet<String>>, String> {
    let db = look(path)?;
    let mut out = BTreeMap::new();
    for table in TABLES {
        if has_table(&db, table)? {
            out.insert(table, rows(&db, table)?);
        }
    }
    Ok(out)
}

/// A table's rows as text, columns by name, exact to the storage class.
fn rows(db: &Connection, table: &str) -> Result<BTreeSet<String>, String> {
    let fail = |error: rusqlite::Error| error.to_string();
    let mut names: Vec<String> = db
        .prepare("SELECT name FROM pragma_table_info(?)")
        .and_then(|mut list| list.query_map([table], |row| row.get(0))?.collect())
        .map_err(fail)?;
    // A column that one side added is its own until the app there is upgraded too.
    names.retain(|name| !name.starts_with("extra"));
    names.sort();
    let sql = format!("SELECT {} FROM {table}", crate::sqlite::idents(&names));
    let mut statement = db.prepare(&sql).map_err(fail)?;
    let mut found = statement.query([]).map_err(fail)?;
    let mut out = BTreeSet::new();
    while let Some(row) = found.next().map_err(fail)? {
        let row: Row = value::read_row(row, 0, names.len()).map_err(fail)?;
        let text: Vec<String> =
            names.iter().zip(&row).map(|(name, value): (_, &Value)| format!("{name}={}", literal(value))).collect();
        if !out.insert(text.join(" ")) {
            return Err(format!("{table} has a row twice: {}", text.join(" ")));
        }
    }
    Ok(out)
}

fn texts(db: &Connection, table: &str, columns: &str, found: &mut BTreeSet<String>) -> Result<(), String> {
    let Ok(mut statement) = db.prepare(&format!("SELECT {columns} FROM {table}")) else { return Ok(()) };
    let mut rows = statement.query([]).map_err(|error| error.to_string())?;
    while let Some(row) = rows.next().map_err(|error| error.to_string())? {
        if let Ok(Some(text)) = row.get::<_, Option<String>>(0) {
            tokens::find(&text, found);
        }
    }
    Ok(())
}

fn has_table(db: &Connection, table: &str) -> Result<bool, String> {
    db.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", [table], |row| {
        row.get::<_, i64>(0)
    })
    .map(|count| count > 0)
    .map_err(|error| error.to_string())
}

fn look(path: &Path) -> Result<Connection, String> {
    Connection::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
