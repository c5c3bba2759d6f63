//! Which tables the hub has: adopts new ones, puts missing triggers back, and finds
//! what was written while they were gone.
//!
//! Runs inside a write transaction whenever the file's schema moved, whoever moved it.
//! A table that vanishes is served no more, but its entries stay: it may be a rebuild
//! in two steps, and a dropped table must not become a mass deletion on every device.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::layout::{self, LOG, PREFIX};
use super::outside;
use super::schema::{Schema, Shape, hash};
use super::writing::{Writing, known};
use crate::hub::error::Result;
use crate::hub::settings::Settings;
use crate::model::{Key, Row, Table};
use crate::sqlite::{capture, ident, idents, schema as reader, value};

/// A row of `_hub_table`.
struct Noted {
    id: i64,
    name: String,
    key: Vec<String>,
    hashed: Vec<String>,
}

/// Brings the hub's own notes and triggers in line with the file's tables.
pub(super) fn reconcile(writing: &Writing, settings: &Settings) -> Result<Schema> {
    let noted = noted(writing.db())?;
    let mut tables: Vec<(i64, Table)> = Vec::new();
    let mut hashed: HashMap<i64, Vec<String>> = HashMap::new();
    for table in reader::syncing(writing.db())? {
        let old = noted.iter().find(|old| old.name.eq_ignore_ascii_case(&table.name));
        let id = match old {
            Some(old) if same_names(&old.key, &table.key) => {
                hashed.insert(old.id, old.hashed.clone());
                old.id
            }
            Some(old) => {
                forget(writing.db(), old.id)?;
                note(writing.db(), &table)?
            }
            None => note(writing.db(), &table)?,
        };
        tables.push((id, table));
    }
    widen_log(writing.db(), &tables)?;
    let missed = restore_triggers(writing.db(), &tables)?;
    let mut schema = Schema::new(0, tables, settings.account_column.as_deref());
    for shape in &schema.shapes {
        let old = hashed.get(&shape.id);
        if missed.contains(&shape.id) {
            compare(writing, shape, old)?;
        } else if old.is_some_and(|old| !still_hashed(shape, old)) {
            hash_again(writing.db(), shape)?;
        }
        if old.is_none_or(|old| *old != shape.names) {
            let sql = "UPDATE _hub_table SET name = ?, hashed = ? WHERE id = ?";
            writing.db().execute(sql, params![shape.table.name, json(&shape.names), shape.id])?;
        }
    }
    schema.version = layout::schema_version(writing.db())?;
    Ok(schema)
}

fn noted(db: &Connection) -> Result<Vec<Noted>> {
    let mut statement = db.prepare("SELECT id, name, key, hashed FROM _hub_table")?;
    let list = |json: String| serde_json::from_str(&json).unwrap_or_default();
    let rows = statement.query_map([], |row| {
        Ok(Noted { id: row.get(0)?, name: row.get(1)?, key: list(row.get(2)?), hashed: list(row.get(3)?) })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn same_names(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

fn json(names: &[String]) -> String {
    serde_json::to_string(names).expect("BUG: names are always JSON")
}

fn note(db: &Connection, table: &Table) -> Result<i64> {
    let sql = "INSERT INTO _hub_table(name, key, hashed) VALUES (?, ?, '[]')";
    db.execute(sql, params![table.name, json(&table.key)])?;
    Ok(db.last_insert_rowid())
}

/// A table of this name came back with another key: nothing known of its rows holds.
fn forget(db: &Connection, id: i64) -> Result<()> {
    db.execute("DELETE FROM _hub_row WHERE tab = ?", [id])?;
    db.execute("DELETE FROM _hub_audit WHERE tab = ?", [id])?;
    db.execute("DELETE FROM _hub_table WHERE id = ?", [id])?;
    Ok(())
}

fn widen_log(db: &Connection, tables: &[(i64, Table)]) -> Result<()> {
    let sql = "SELECT count(*) FROM pragma_table_info(?) WHERE name GLOB 'k[0-9]*'";
    let there: i64 = db.query_row(sql, [LOG], |row| row.get(0))?;
    let widest = tables.iter().map(|(_, table)| table.key.len()).max().unwrap_or(0);
    for at in there..widest as i64 {
        db.execute_batch(&format!("ALTER TABLE {LOG} ADD COLUMN k{at}"))?;
    }
    Ok(())
}

/// The ids of tables whose triggers were not all there as they must be.
fn restore_triggers(db: &Connection, tables: &[(i64, Table)]) -> Result<Vec<i64>> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 5) = '_hub_'";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut there: HashMap<String, String> = rows.collect::<rusqlite::Result<_>>()?;
    let mut missing: Vec<(i64, String)> = Vec::new();
    for (id, table) in tables {
        for (name, sql) in capture::triggers(PREFIX, LOG, table, *id) {
            match there.get(&name) {
                Some(old) if *old == sql => drop(there.remove(&name)),
                _ => missing.push((*id, sql)),
            }
        }
    }
    // What is left belongs to a table that was renamed or changed under it.
    for name in there.keys() {
        db.execute_batch(&format!("DROP TRIGGER {}", ident(name)))?;
    }
    for (_, sql) in &missing {
        db.execute_batch(sql)?;
    }
    let mut ids: Vec<i64> = missing.into_iter().map(|(id, _)| id).collect();
    ids.dedup();
    Ok(ids)
}

/// Only columns without a default were added: NULLs at the end change no hash.
fn still_hashed(shape: &Shape, old: &[String]) -> bool {
    let added = shape.table.columns.get(old.len()..).unwrap_or_default();
    shape.names.starts_with(old) && added.iter().all(|column| column.default.is_none())
}

/// Finds every row that differs from its entry. Rows are hashed over the columns they
/// were hashed over before; where those are gone, every row counts as changed.
pub(super) fn compare(writing: &Writing, shape: &Shape, old: Option<&Vec<String>>) -> Result<()> {
    let before: Option<Vec<usize>> =
        old.and_then(|names| names.iter().map(|name| shape.table.position(name)).collect());
    let same = before.as_ref().is_some_and(|at| at.iter().copied().eq(0..shape.names.len()));
    let mut after: Vec<u8> = Vec::new();
    let mut rehash: Vec<(Vec<u8>, i64)> = Vec::new();
    for_each_row(writing.db(), shape, |key, row| {
        let entry = known(writing.db(), shape.id, &key)?;
        let now = hash(&row);
        let then = before.as_ref().map(|at| hash(at.iter().map(|at| &row[*at])));
        if let Some(entry) = &entry
            && !entry.gone()
            && then == Some(entry.hash)
        {
            if !same && now != entry.hash {
                rehash.push((key, now));
            }
            return Ok(());
        }
        outside::note(writing, shape.id, &key, entry, Some(now))
    })?;
    for (key, now) in rehash {
        set_hash(writing.db(), shape.id, &key, now)?;
    }
    // Entries whose row is gone.
    loop {
        let sql = "SELECT key FROM _hub_row WHERE tab = ? AND key > ? AND op <> 3 ORDER BY key LIMIT 1000";
        let keys = {
            let mut statement = writing.db().prepare_cached(sql)?;
            let rows = statement.query_map(params![shape.id, after], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<Vec<Vec<u8>>>>()?
        };
        let Some(last) = keys.last() else { return Ok(()) };
        after.clone_from(last);
        for key in keys {
            if let Some(key) = Key::decode(&key)
                && shape.read(writing.db(), &key)?.is_none()
            {
                outside::judge(writing, shape, key)?;
            }
        }
    }
}

/// Hashes every row over the columns of today. A row with an entry in the log was
/// written since the last hash: it gets one that surely differs, and is judged next.
fn hash_again(db: &Connection, shape: &Shape) -> Result<()> {
    for_each_row(db, shape, |key, row| set_hash(db, shape.id, &key, hash(&row)))?;
    let keys: Vec<String> = (0..shape.key_at.len()).map(|at| format!("k{at}")).collect();
    let mut statement = db.prepare(&format!("SELECT {} FROM {LOG} WHERE tab = ?", keys.join(", ")))?;
    let mut rows = statement.query([shape.id])?;
    while let Some(row) = rows.next()? {
        let key = Key::from(value::read_row(row, 0, keys.len())?);
        if let Some(row) = shape.read(db, &key)? {
            set_hash(db, shape.id, &key.encode(), !hash(&row))?;
        }
    }
    Ok(())
}

fn set_hash(db: &Connection, tab: i64, key: &[u8], hash: i64) -> Result<()> {
    let sql = "UPDATE _hub_row SET hash = ? WHERE tab = ? AND key = ?";
    db.prepare_cached(sql)?.execute(params![hash, tab, key])?;
    Ok(())
}

/// Hands over every row of the table with its encoded key.
fn for_each_row(db: &Connection, shape: &Shape, mut each: impl FnMut(Vec<u8>, Row) -> Result<()>) -> Result<()> {
    let sql = format!("SELECT {} FROM {}", idents(&shape.names), ident(&shape.table.name));
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let row = value::read_row(row, 0, shape.names.len())?;
        each(shape.table.key_of(&row).encode(), row)?;
    }
    Ok(())
}
