//! The promises, looked at from outside: through plain SQL on the files, and the
//! simulator's own list of what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::look::{self, Look, Place};
use super::schema::{self, TABLES};
use super::tokens::Tokens;
use crate::model::{Key, Row};
use crate::sqlite::value;

/// Promise 1: every write that nobody replaced is on some side, or in a ledger.
pub(super) fn nothing_lost(tokens: &Tokens, files: &[Arc<Look>], hub: &Look) -> Result<(), String> {
    let missing: Vec<String> = tokens
        .alive()
        .filter(|(token, _)| !hub.has(token) && !files.iter().any(|file| file.has(token)))
        .map(|(token, by)| format!("{token} ({by})"))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("promise 1: lost: {}", missing.join(", "))),
    }
}

/// Promise 1, of actions: what an agent's step took from those that wait was done, and
/// nothing is told to be done that was not.
pub(super) fn no_action_lost(before: &Look, after: &Look, done: &BTreeMap<String, usize>) -> Result<(), String> {
    let gone = before.actions.difference(&after.actions);
    match gone.chain(&after.done).find(|key| !done.contains_key(*key)) {
        Some(key) => Err(format!("promise 1: the action {key} was never done, and waits no more")),
        None => Ok(()),
    }
}

/// The file is whole, whatever happened around it.
pub(super) fn integrity(db: &Connection) -> Result<(), String> {
    let verdict: String =
        db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(|error| error.to_string())?;
    if verdict == "ok" { Ok(()) } else { Err(format!("a file is damaged: {verdict}")) }
}

/// Two sides have the same rows, to the byte and the storage class.
pub(super) fn same_rows(name: &str, local: &Look, hub: &Look) -> Result<(), String> {
    if local.rows == hub.rows {
        return Ok(());
    }
    let only = |here: &Look, there: &Look| -> Vec<String> {
        let differing = here.rows.iter().filter(|(place, row)| there.rows.get(*place) != Some(*row));
        differing.map(|((table, _), row)| format!("{table} {row:?}")).take(5).collect()
    };
    let (here, there) = (only(local, hub), only(hub, local));
    Err(format!("{name} differs: only here {here:?}, only at the hub {there:?}"))
}

/// Promise 5: all sides are equal, and nothing is left to do.
pub(super) fn settled(files: &[Arc<Look>], hub: &Look) -> Result<(), String> {
    for (number, file) in files.iter().enumerate() {
        same_rows(&format!("promise 5: device {number}"), file, hub)?;
        if let Some((table, left)) = file.left.iter().find(|(_, left)| *left > 0) {
            return Err(format!("promise 5: {left} left in {table} of device {number}"));
        }
    }
    Ok(())
}

/// The hub's notes say what its tables hold: a live entry for each row and no other,
/// no revision twice, none beyond the head. Asked only where nobody wrote past the hub.
pub(super) fn hub_notes(db: &Connection, hub: &Look) -> Result<(), String> {
    let fail = |error: rusqlite::Error| error.to_string();
    if db.prepare_cached("SELECT 1 FROM _hub_log").and_then(|mut log| log.exists([])).map_err(fail)? {
        return Ok(());
    }
    let sql = "SELECT name, r.key, r.rev, r.op, (SELECT value FROM _hub_meta WHERE name = 'head')
               FROM _hub_row r JOIN _hub_table t ON t.id = r.tab";
    let mut statement = db.prepare_cached(sql).map_err(fail)?;
    let mut found = statement.query([]).map_err(fail)?;
    let (mut live, mut revisions) = (BTreeSet::new(), BTreeSet::new());
    while let Some(row) = found.next().map_err(fail)? {
        let (name, key, rev, op, head) = read_note(row).map_err(fail)?;
        let key = Key::decode(&key).ok_or("the hub's notes have a key that is none")?;
        if rev > head || !revisions.insert(rev) {
            return Err(format!("the hub's notes give {name} {key} revision {rev}, head {head}"));
        }
        if op != 3 {
            let table = TABLES.iter().find(|table| **table == name).ok_or("the hub notes a strange table")?;
            live.insert((*table, key));
        }
    }
    let rows: BTreeSet<_> = hub.rows.keys().cloned().collect();
    match live == rows {
        true => Ok(()),
        false => Err(format!(
            "the hub's notes and tables differ: {:?}",
            live.symmetric_difference(&rows).take(5).collect::<Vec<_>>()
        )),
    }
}

type Note = (String, Vec<u8>, i64, i64, i64);

fn read_note(row: &rusqlite::Row) -> rusqlite::Result<Note> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

/// A detached file has the schema of one that never had Homing, and its rows.
pub(super) fn left_as_found(path: &Path, ddl: &[String], rows: &BTreeMap<Place, Row>) -> Result<(), String> {
    let fail = |error: rusqlite::Error| error.to_string();
    let never = Connection::open_in_memory().map_err(fail)?;
    never.execute_batch("PRAGMA legacy_alter_table = ON").map_err(fail)?;
    for sql in ddl {
        never.execute_batch(sql).map_err(fail)?;
    }
    let db = look::open(path).map_err(fail)?;
    let (here, there) = (schema_of(&db).map_err(fail)?, schema_of(&never).map_err(fail)?);
    if here != there {
        return Err(format!(
            "detached, and the schema differs: {:?}",
            here.iter()
                .filter(|entry| !there.contains(entry))
                .chain(there.iter().filter(|entry| !here.contains(entry)))
                .collect::<Vec<_>>()
        ));
    }
    for table in TABLES {
        let sql = format!("SELECT {} FROM {table}", crate::sqlite::idents(schema::columns(table)));
        let mut statement = db.prepare(&sql).map_err(fail)?;
        let mut found = statement.query([]).map_err(fail)?;
        let mut count = 0;
        while let Some(row) = found.next().map_err(fail)? {
            let row = value::read_row(row, 0, schema::columns(table).len()).map_err(fail)?;
            let key = Key::from(row[..schema::key_len(table)].to_vec());
            if rows.get(&(table, key)) != Some(&row) {
                return Err(format!("detaching changed {table} {row:?}"));
            }
            count += 1;
        }
        if count != rows.keys().filter(|(name, _)| *name == table).count() {
            return Err(format!("detaching took rows of {table} away"));
        }
    }
    Ok(())
}

type SchemaRow = (String, String, String, Option<String>);

fn schema_of(db: &Connection) -> rusqlite::Result<Vec<SchemaRow>> {
    db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2, 3, 4")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect()
}
