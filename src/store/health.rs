//! How capture in a file looks from outside: a check that only reads.
//!
//! For whoever wants to know whether what apps write is noted, with no agent needed and
//! without a change to the file.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::open::has_layout;
use super::{Result, layout, meta};
use crate::model::settings::Replica;
use crate::sqlite::capture;
use crate::sqlite::schema;

/// What a look finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    pub attached: bool,
    /// The file was written by a newer Homing; nothing else is known then.
    pub newer: bool,
    /// Tables whose triggers are gone or are not what they should be.
    pub broken: Vec<String>,
    /// Tables that sync by the config and are not captured.
    pub uncaptured: Vec<String>,
    pub set_aside: u64,
    pub conflicts: u64,
    pub parked: u64,
    /// Seconds since the oldest write that was not sent.
    pub oldest_seconds: Option<u64>,
}

pub fn look(db: &Connection, replica: &Replica) -> Result<Health> {
    if !has_layout(db)? {
        return Ok(Health::default());
    }
    let format: i64 = meta::get(db, "format")?.unwrap_or(0);
    if format > layout::FORMAT {
        return Ok(Health { attached: true, newer: true, ..Health::default() });
    }
    let mut health = Health { attached: true, ..Health::default() };
    let mut registered = db.prepare("SELECT name, tab FROM _homing_table")?;
    let registered: BTreeMap<String, i64> =
        registered.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut there = db.prepare("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?")?;
    for table in schema::syncing(db)?.into_iter().filter(|table| replica.syncs(&table.name)) {
        let Some(id) = registered.get(&table.name) else {
            health.uncaptured.push(table.name);
            continue;
        };
        for (name, sql) in capture::triggers(layout::PREFIX, layout::LOG, &table, *id) {
            let found: Option<String> = there.query_row([&name], |row| row.get(0)).ok();
            if found.as_deref() != Some(sql.as_str()) {
                health.broken.push(table.name.clone());
                break;
            }
        }
    }
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|count| count.max(0) as u64);
    health.set_aside = count("SELECT count(*) FROM homing_pending WHERE state = 'set_aside'")?;
    health.conflicts = count("SELECT count(*) FROM _homing_conflict WHERE settled_by IS NULL")?;
    health.parked = count("SELECT count(*) FROM _homing_parked")?;
    let oldest = "SELECT CAST((julianday('now') - min(at)) * 86400 AS INTEGER) FROM _homing_log WHERE tab <> 0";
    let oldest: Option<i64> = db.query_row(oldest, [], |row| row.get(0))?;
    health.oldest_seconds = oldest.map(|seconds| seconds.max(0) as u64);
    Ok(health)
}
