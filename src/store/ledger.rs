//! The ledger: every version that lost a conflict, with what beat it and why.
//!
//! What was settled is kept for the configured age, number and size; what waits for a person
//! is never dropped. Where the app has a column for it, a row of which a conflict waits
//! is marked. Settling and taking back is `decide`.

use rusqlite::{OptionalExtension, params};
use serde_json::{Map, Value as Json};

use super::{Result, Store, Synced, Writer, meta};
use crate::model::conflict::Conflict;
use crate::model::status::ConflictEntry;
use crate::model::{Key, Row, Settler};
use crate::sqlite::ident;

const COLUMNS: &str = "id, table_name, key_text, kind, strategy, base, local, remote, result, settled_by, at, \
     remote_device, note, local_device, local_at, remote_at, settled_at";

/// What an entry takes beside its versions, roughly.
const ENTRY_BYTES: i64 = 200;

impl Writer<'_> {
    pub(crate) fn record(&self, conflict: &Conflict) -> Result<i64> {
        self.record_of(conflict, None, None)
    }

    /// `record`, with the times at which the two versions were written.
    pub(crate) fn record_of(&self, conflict: &Conflict, local_at: Option<i64>, remote_at: Option<i64>) -> Result<i64> {
        let side = |row: &Option<Row>| row.as_ref().map(|row| object(&conflict.columns, row).to_string());
        let sides = [&conflict.base, &conflict.local, &conflict.remote, &conflict.result].map(side);
        let bytes = ENTRY_BYTES + sides.iter().flatten().map(String::len).sum::<usize>() as i64;
        self.db
            .prepare_cached("UPDATE _homing_meta SET value = value + ? WHERE name = 'ledger_bytes'")?
            .execute([bytes])?;
        let [base, local, remote, result] = sides;
        self.db
            .prepare_cached(
                "INSERT INTO _homing_conflict(table_name, key_text, kind, strategy, columns, base, local, remote, result,
                     settled_by, at, remote_device, note, local_device, local_at, remote_at)
                 VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                conflict.table,
                conflict.key.to_text(),
                conflict.kind.word(),
                conflict.strategy.word(),
                serde_json::to_string(&conflict.columns).expect("BUG: names are JSON"),
                base,
                local,
                remote,
                result,
                conflict.settled_by.map(|by| match by {
                    Settler::Rule => "rule",
                    Settler::Person => "person",
                }),
                conflict.at,
                conflict.remote_device,
                conflict.note,
                self.device,
                local_at,
                remote_at,
            ])?;
        let id = self.db.last_insert_rowid();
        if conflict.settled_by.is_none()
            && let Some(synced) = self.find(&conflict.table)
        {
            self.mark(synced, &conflict.key)?;
        }
        Ok(id)
    }

    /// Says in the app's own column whether a conflict of the row waits for a person. A
    /// table that has no such column goes without.
    pub(crate) fn mark(&self, synced: &Synced, key: &Key) -> Result<()> {
        let Some(mark) = &synced.rule.policy.mark else { return Ok(()) };
        let has = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2 COLLATE NOCASE";
        if synced.table.position(mark).is_some() || !self.db.prepare_cached(has)?.exists([synced.name(), mark])? {
            return Ok(());
        }
        let waits = "SELECT 1 FROM _homing_conflict WHERE settled_by IS NULL AND table_name = ?1 AND key_text = ?2";
        let waits = self.db.prepare_cached(waits)?.exists([synced.name(), &key.to_text()])?;
        let sql = format!(
            "UPDATE {} SET {} = {} WHERE {}",
            ident(synced.name()),
            ident(mark),
            i64::from(waits),
            synced.key_is
        );
        // A mark that the app's own rules forbid is no reason to stop.
        let _ = self.db.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(key.0.iter()));
        Ok(())
    }

    pub(crate) fn entry(&self, id: i64) -> Result<Option<ConflictEntry>> {
        let sql = format!("SELECT {COLUMNS} FROM _homing_conflict WHERE id = ?");
        let name = &self.replica.name;
        Ok(self.db.prepare_cached(&sql)?.query_row([id], |row| entry(name, row)).optional()?)
    }
}

impl Store {
    /// The ledger, newest first.
    pub fn conflicts(&self, open_only: bool, rows_max: usize) -> Result<Vec<ConflictEntry>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM _homing_conflict {} ORDER BY id DESC LIMIT ?",
            if open_only { "WHERE settled_by IS NULL" } else { "" }
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let name = self.replica.name.clone();
        let rows = statement.query_map([rows_max as i64], |row| entry(&name, row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn conflict(&self, id: i64) -> Result<Option<ConflictEntry>> {
        let sql = format!("SELECT {COLUMNS} FROM _homing_conflict WHERE id = ?");
        let name = &self.replica.name;
        Ok(self.db.prepare_cached(&sql)?.query_row([id], |row| entry(name, row)).optional()?)
    }

    /// Drops what is settled and older, or further back, than the config keeps.
    pub fn trim_ledger(&mut self, now: i64) -> Result<()> {
        let limits = self.replica.limits.clone();
        let sql = "SELECT 1 FROM _homing_conflict WHERE settled_by IS NOT NULL AND (at < ?1 OR id <= (SELECT max(id) FROM _homing_conflict) - ?2) LIMIT 1";
        let bounds = params![now.saturating_sub(limits.ledger_age_max), limits.ledger_rows_max as i64];
        let due = self.db.prepare_cached(sql)?.exists(bounds)?;
        if due {
            self.write(|writer| {
                writer.db.execute(
                    "DELETE FROM _homing_conflict WHERE settled_by IS NOT NULL
                     AND (at < ?1 OR id <= (SELECT max(id) FROM _homing_conflict) - ?2)",
                    params![now.saturating_sub(limits.ledger_age_max), limits.ledger_rows_max as i64],
                )?;
                Ok(())
            })?;
        }
        self.trim_to_size(i64::try_from(limits.ledger_bytes_max).unwrap_or(i64::MAX))
    }

    /// Drops the oldest of what is settled, down to nine tenths, so that it is not
    /// weighed anew at each conflict. `ledger_bytes` is what settled entries weighed
    /// then, and all that came since.
    fn trim_to_size(&mut self, bytes_max: i64) -> Result<()> {
        if meta::get::<i64>(&self.db, "ledger_bytes")?.is_some_and(|bytes| bytes <= bytes_max) {
            return Ok(());
        }
        self.write(|writer| {
            let sum = |order: &str| {
                format!(
                    "SELECT id, sum({ENTRY_BYTES} + ifnull(length(CAST(base AS BLOB)), 0) + ifnull(length(CAST(local AS BLOB)), 0)
                         + ifnull(length(CAST(remote AS BLOB)), 0) + ifnull(length(CAST(result AS BLOB)), 0)
                         + ifnull(length(CAST(before AS BLOB)), 0)) OVER ({order}) AS bytes
                     FROM _homing_conflict WHERE settled_by IS NOT NULL"
                )
            };
            let total = format!("SELECT ifnull(max(bytes), 0) FROM ({})", sum(""));
            let mut bytes: i64 = writer.db.query_row(&total, [], |row| row.get(0))?;
            if bytes > bytes_max {
                let oldest = sum("ORDER BY id DESC");
                let drop = format!("DELETE FROM _homing_conflict WHERE id IN (SELECT id FROM ({oldest}) WHERE bytes > ?)");
                writer.db.execute(&drop, [bytes_max - bytes_max / 10])?;
                bytes = writer.db.query_row(&total, [], |row| row.get(0))?;
            }
            meta::set(writer.db, "ledger_bytes", bytes)?;
            Ok(())
        })
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
        local_device: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
        local_at: row.get(14)?,
        remote_at: row.get(15)?,
        settled_at: row.get(16)?,
    })
}

/// A row as a JSON object by column.
pub(crate) fn object(columns: &[String], row: &Row) -> Json {
    let pairs = columns.iter().zip(row);
    let value = |value| serde_json::to_value(value).expect("BUG: a value is JSON");
    Json::Object(pairs.map(|(name, content)| (name.clone(), value(content))).collect::<Map<_, _>>())
}
