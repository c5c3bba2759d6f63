//! Writes that came past the protocol: any SQL client may change the tables.
//!
//! Triggers note the key; here each noted key is judged by what is there now against
//! the hash of what was there, and gets a revision if they differ. A table that lost
//! its triggers is compared row by row (`tables`). Their author is the account `sql`.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::Connection;

use super::layout::{self, DELETE, INSERT, UPDATE};
use super::schema::{Schema, Shape, hash};
use super::tables;
use super::writing::{Entry, Known, Writing, known};
use crate::hub::error::Result;
use crate::hub::settings::Settings;
use crate::model::{Key, Row, Stamp};
use crate::sqlite::value;

/// Log entries taken in by one transaction: keeps the write lock short.
const ENTRIES_MAX: usize = 10_000;

/// The account of those who write by SQL: `_hub_device` row 0.
const SQL: i64 = 0;

/// True when `take_in` has something to do.
pub(super) fn is_waiting(db: &Connection, schema: &Schema) -> Result<bool> {
    if layout::schema_version(db)? != schema.version {
        return Ok(true);
    }
    Ok(db.prepare_cached("SELECT EXISTS(SELECT 1 FROM _hub_log)")?.query_row([], |row| row.get(0))?)
}

/// One helping; true when the log holds more.
pub(super) fn take_in(writing: &Writing, schema: &Arc<Schema>, settings: &Settings) -> Result<(Arc<Schema>, bool)> {
    let schema = match layout::schema_version(writing.db())? == schema.version {
        true => schema.clone(),
        false => Arc::new(tables::reconcile(writing, settings)?),
    };
    let more = take_log(writing, &schema)?;
    Ok((schema, more))
}

fn take_log(writing: &Writing, schema: &Schema) -> Result<bool> {
    let widest = schema.shapes.iter().map(|shape| shape.key_at.len()).max().unwrap_or(0);
    let keys: String = (0..widest).map(|at| format!(", k{at}")).collect();
    let mut noted: Vec<(i64, Row)> = Vec::new();
    let mut last = 0;
    {
        let sql = format!("SELECT seq, tab{keys} FROM _hub_log ORDER BY seq LIMIT {ENTRIES_MAX}");
        let mut statement = writing.db().prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut seen: HashSet<(i64, Row)> = HashSet::new();
        let mut count = 0;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            count += 1;
            let tab: i64 = row.get(1)?;
            let Some(shape) = schema.numbered(tab) else { continue };
            let key = value::read_row(row, 2, shape.key_at.len())?;
            if seen.insert((tab, key.clone())) {
                noted.push((tab, key));
            }
        }
        if count == 0 {
            return Ok(false);
        }
    }
    for (tab, key) in noted {
        let shape = schema.numbered(tab).expect("BUG: only known tables were noted");
        judge(writing, shape, Key::from(key))?;
    }
    writing.db().prepare_cached("DELETE FROM _hub_log WHERE seq <= ?")?.execute([last])?;
    Ok(writing.db().prepare_cached("SELECT EXISTS(SELECT 1 FROM _hub_log)")?.query_row([], |row| row.get(0))?)
}

/// Compares one row with what is known of it, and writes down the difference.
pub(super) fn judge(writing: &Writing, shape: &Shape, key: Key) -> Result<()> {
    let bytes = key.encode();
    let before = known(writing.db(), shape.id, &bytes)?;
    let now = shape.read(writing.db(), &key)?;
    note(writing, shape.id, &bytes, before, now.map(|row| hash(&row)))
}

/// `there`: the hash of the row as it is now.
pub(super) fn note(writing: &Writing, tab: i64, key: &[u8], before: Option<Known>, there: Option<i64>) -> Result<()> {
    let op = match (&before, there) {
        (Some(known), Some(_)) if known.gone() => INSERT,
        (Some(known), Some(hash)) if known.hash == hash => return Ok(()),
        (Some(_), Some(_)) => UPDATE,
        (None, Some(_)) => INSERT,
        (Some(known), None) if !known.gone() => DELETE,
        (_, None) => return Ok(()),
    };
    let stamp = Stamp::from_millis(writing.now);
    let stamp = before.as_ref().map_or(stamp, |known| stamp.after(known.stamp));
    let hash = there.unwrap_or(0);
    let entry = Entry { tab, key, op, stamp, origin: SQL, echo: false, hash, columns: None, role: "" };
    writing.record(before.as_ref(), entry)?;
    Ok(())
}
