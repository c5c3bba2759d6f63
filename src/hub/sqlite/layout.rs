//! The hub's own tables in a scope's file, and their version.
//!
//! Names begin with `_hub_`. An older hub refuses a newer file in words and leaves it
//! as it was.

use rusqlite::{Connection, OptionalExtension, params};

use crate::hub::error::{HubError, Result};
use crate::sqlite::capture;

pub(super) const PREFIX: &str = "_hub_";
pub(super) const LOG: &str = "_hub_log";

const FORMAT: i64 = 2;

/// From each format to the next, beginning with the first.
const UPGRADES: [&str; 1] = ["ALTER TABLE _hub_row ADD COLUMN role TEXT"];

/// `_hub_row.op` and `_hub_audit.op`.
pub(super) const INSERT: i64 = 1;
pub(super) const UPDATE: i64 = 2;
pub(super) const DELETE: i64 = 3;

pub(super) fn op_word(op: i64) -> &'static str {
    match op {
        INSERT => "insert",
        DELETE => "delete",
        _ => "update",
    }
}

/// `_hub_row` holds each row's newest change; `_hub_audit` those before it. It lies in
/// the order of revisions, so that a push appends to it; what it scatters by key is the
/// small index alone (measured with random keys: a WITHOUT ROWID table by key writes
/// twice the pages). `columns`
/// is a JSON array of names, NULL where it is not known which changed (all, or an SQL
/// client wrote). `echo`: the stored row is not what its author sent, so the author
/// gets it back, too. `role`: what its author's token said, NULL for nothing. `_hub_table.hashed`: the columns that `_hub_row.hash` covers.
const TABLES: &str = "
CREATE TABLE _hub_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE _hub_table(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, key TEXT NOT NULL,
    hashed TEXT NOT NULL);
CREATE TABLE _hub_device(id INTEGER PRIMARY KEY, account TEXT NOT NULL, incarnation TEXT NOT NULL,
    device TEXT NOT NULL, batch INTEGER NOT NULL DEFAULT 0, body_hash BLOB, answer BLOB,
    seen_at INTEGER NOT NULL DEFAULT 0, pushed_at INTEGER, UNIQUE(account, incarnation));
CREATE TABLE _hub_row(rev INTEGER PRIMARY KEY, tab INTEGER NOT NULL, key BLOB NOT NULL, op INTEGER NOT NULL,
    stamp INTEGER NOT NULL, origin INTEGER NOT NULL, echo INTEGER NOT NULL, at INTEGER NOT NULL,
    hash INTEGER NOT NULL, columns TEXT, role TEXT);
CREATE UNIQUE INDEX _hub_row_key ON _hub_row(tab, key);
CREATE INDEX _hub_row_gone ON _hub_row(at) WHERE op = 3;
CREATE TABLE _hub_audit(tab INTEGER NOT NULL, key BLOB NOT NULL, rev INTEGER NOT NULL, op INTEGER NOT NULL,
    origin INTEGER NOT NULL, at INTEGER NOT NULL, columns TEXT, PRIMARY KEY(tab, key, rev)) WITHOUT ROWID;
CREATE VIEW _hub_trail AS
    SELECT rev, datetime(trail.at / 1000.0, 'unixepoch') AS at, _hub_table.name AS \"table\", hex(trail.key) AS key,
        CASE op WHEN 1 THEN 'insert' WHEN 2 THEN 'update' ELSE 'delete' END AS operation,
        _hub_device.account, _hub_device.device, trail.columns
    FROM (SELECT tab, key, rev, op, origin, at, columns FROM _hub_row
          UNION ALL SELECT tab, key, rev, op, origin, at, columns FROM _hub_audit) AS trail
    JOIN _hub_table ON _hub_table.id = trail.tab LEFT JOIN _hub_device ON _hub_device.id = trail.origin;
INSERT INTO _hub_device(id, account, incarnation, device) VALUES (0, 'sql', '', '');
INSERT INTO _hub_meta VALUES ('head', 0), ('pruned', 0), ('copied', 0);
";

/// Makes the layout in a new file; checks and upgrades it in an old one, in the caller's
/// transaction. True when it was new.
pub(super) fn ready(db: &Connection, epoch: &str) -> Result<bool> {
    let there: bool =
        db.query_row("SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = '_hub_meta')", [], |row| row.get(0))?;
    if there {
        return match number(db, "format")? {
            FORMAT => Ok(false),
            old @ 1..FORMAT => {
                UPGRADES[old as usize - 1..].iter().try_for_each(|step| db.execute_batch(step))?;
                set(db, "format", FORMAT)?;
                Ok(false)
            }
            newer => Err(HubError::set_up(
                format!("a scope file has format {newer}, and this hub knows {FORMAT}; it was left as it is"),
                "run the newer Homing that wrote it",
            )),
        };
    }
    db.execute_batch(TABLES)?;
    db.execute_batch(&capture::log_table(LOG, 1))?;
    db.execute("INSERT INTO _hub_meta VALUES ('format', ?), ('epoch', ?)", params![FORMAT, epoch])?;
    Ok(true)
}

pub(super) fn number(db: &Connection, name: &str) -> Result<i64> {
    let found = db
        .prepare_cached("SELECT value FROM _hub_meta WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| HubError::Damaged(format!("the scope file has no {name} in _hub_meta")))
}

pub(super) fn text(db: &Connection, name: &str) -> Result<String> {
    let found = db.query_row("SELECT value FROM _hub_meta WHERE name = ?", [name], |row| row.get(0)).optional()?;
    found.ok_or_else(|| HubError::Damaged(format!("the scope file has no {name} in _hub_meta")))
}

pub(super) fn set(db: &Connection, name: &str, value: impl rusqlite::ToSql) -> Result<()> {
    let sql = "INSERT INTO _hub_meta VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value";
    db.prepare_cached(sql)?.execute(params![name, value])?;
    Ok(())
}

pub(super) fn schema_version(db: &Connection) -> Result<i64> {
    Ok(db.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?)
}
