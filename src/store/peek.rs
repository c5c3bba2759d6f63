//! A glance at the file between cycles: is there anything new?

use std::path::Path;

use rusqlite::Connection;

pub use super::open::File;
use super::open::{Manners, connect, has_layout};
use super::{Result, Store, meta};

/// What a glance shows. Two equal glances: nothing to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Glance {
    pub attached: bool,
    /// The newest place in the log.
    pub newest: i64,
    /// Entries in the log; bounded work even for a long one.
    pub unsent: bool,
    /// The newest action that waits; 0 for none.
    pub action: i64,
    pub schema_version: i64,
    pub incarnation: String,
    /// A written table whose rows do not wait for the debounce.
    pub tables: Vec<String>,
}

/// Looks into the file, which is opened unless it is at hand. `after`: the newest place
/// that was known before.
pub fn glance(path: &Path, file: Option<File>, after: i64) -> Result<(Glance, File)> {
    let file = match file {
        Some(file) => file,
        None => connect(path, Manners::default())?,
    };
    Ok((look(&file.db, after)?, file))
}

impl Store {
    /// The same at the end of a cycle.
    pub fn glance(&self, after: i64) -> Result<Glance> {
        look(&self.db, after)
    }
}

fn look(db: &Connection, after: i64) -> Result<Glance> {
    if !has_layout(db)? {
        return Ok(Glance::default());
    }
    let newest = db.query_row("SELECT coalesce(max(seq), 0) FROM _homing_log", [], |row| row.get(0))?;
    let unsent = db.prepare("SELECT 1 FROM _homing_log WHERE tab <> 0 LIMIT 1")?.exists([])?;
    let mut written = db.prepare(
        "SELECT DISTINCT name FROM (SELECT tab FROM _homing_log WHERE seq > ? AND tab <> 0 LIMIT 10000) JOIN _homing_table USING(tab)",
    )?;
    let tables = written.query_map([after], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    drop(written);
    // A file of an older format has none.
    let has_actions = "SELECT 1 FROM sqlite_schema WHERE name = '_homing_actions'";
    let action = match db.prepare(has_actions)?.exists([])? {
        true => {
            let sql = "SELECT coalesce(max(id), 0) FROM _homing_actions WHERE state = 'pending'";
            db.query_row(sql, [], |row| row.get(0))?
        }
        false => 0,
    };
    Ok(Glance {
        attached: true,
        newest,
        unsent,
        action,
        schema_version: db.query_row("PRAGMA schema_version", [], |row| row.get(0))?,
        incarnation: meta::get(db, "incarnation")?.unwrap_or_default(),
        tables,
    })
}
