//! The ledger: every version that lost a conflict, with what beat it and why.
//!
//! What a rule settled is kept for the configured age and number; what waits for a
//! person is never dropped.

use rusqlite::params;
use serde_json::{Map, Value as Json};

use super::{Result, Store, Writer};
use crate::model::conflict::Conflict;
use crate::model::status::ConflictEntry;
use crate::model::{Row, Settler};

impl Writer<'_> {
    pub(crate) fn record(&self, conflict: &Conflict) -> Result<i64> {
        let side = |row: &Option<Row>| row.as_ref().map(|row| object(&conflict.columns, row).to_string());
        self.db
            .prepare_cached(
                "INSERT INTO _homing_conflict(table_name, key_text, kind, strategy, columns, base, local, remote, result,
                     settled_by, at, remote_device, note) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                conflict.table,
                conflict.key.to_text(),
                conflict.kind.word(),
                conflict.strategy.word(),
                serde_json::to_string(&conflict.columns).expect("BUG: names are JSON"),
                side(&conflict.base),
                side(&conflict.local),
                side(&conflict.remote),
                side(&conflict.result),
                conflict.settled_by.map(|by| match by {
                    Settler::Rule => "rule",
                    Settler::Person => "person",
                }),
                conflict.at,
                conflict.remote_device,
                conflict.note,
            ])?;
        Ok(self.db.last_insert_rowid())
    }
}

impl Store {
    /// The ledger, newest first.
    pub fn conflicts(&self, open_only: bool, rows_max: usize) -> Result<Vec<ConflictEntry>> {
        let sql = format!(
            "SELECT id, table_name, key_text, kind, strategy, base, local, remote, result, settled_by, at, remote_device, note
             FROM _homing_conflict {} ORDER BY id DESC LIMIT ?",
            if open_only { "WHERE settled_by IS NULL" } else { "" }
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let name = self.replica.name.clone();
        let rows = statement.query_map([rows_max as i64], |row| entry(&name, row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn conflict(&self, id: i64) -> Result<Option<ConflictEntry>> {
        Ok(self.conflicts(false, usize::MAX >> 1)?.into_iter().find(|entry| entry.id == id))
    }

    /// Drops what a rule settled and is older, or further back, than the config keeps.
    pub fn trim_ledger(&mut self, now: i64) -> Result<()> {
        let limits = self.replica.limits.clone();
        let sql = "SELECT 1 FROM _homing_conflict WHERE settled_by = 'rule' AND (at < ?1 OR id <= (SELECT max(id) FROM _homing_conflict) - ?2) LIMIT 1";
        let bounds = params![now.saturating_sub(limits.ledger_age_max), limits.ledger_rows_max as i64];
        let due = self.db.prepare_cached(sql)?.exists(bounds)?;
        if due {
            self.write(|writer| {
                writer.db.execute(
                    "DELETE FROM _homing_conflict WHERE settled_by = 'rule'
                     AND (at < ?1 OR id <= (SELECT max(id) FROM _homing_conflict) - ?2)",
                    params![now.saturating_sub(limits.ledger_age_max), limits.ledger_rows_max as i64],
                )?;
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn entry(replica: &str, row: &rusqlite::Row) -> rusqlite::Result<ConflictEntry> {
    let side = |at: usize| -> rusqlite::Result<Option<Json>> {
        Ok(row.get::<_, Option<String>>(at)?.and_then(|text| serde_json::from_str(&text).ok()))
    };
    Ok(ConflictEntry {
        id: row.get(0)?,
        replica: replica.to_owned(),
        table: row.get(1)?,
        key: row.get(2)?,
        kind: row.get(3)?,
        strategy: row.get(4)?,
        base: side(5)?,
        local: side(6)?,
        remote: side(7)?,
        result: side(8)?,
        settled_by: row.get(9)?,
        at: row.get(10)?,
        remote_device: row.get(11)?,
        note: row.get(12)?,
    })
}

/// A row as a JSON object by column.
pub(crate) fn object(columns: &[String], row: &Row) -> Json {
    let pairs = columns.iter().zip(row);
    let value = |value| serde_json::to_value(value).expect("BUG: a value is JSON");
    Json::Object(pairs.map(|(name, content)| (name.clone(), value(content))).collect::<Map<_, _>>())
}
