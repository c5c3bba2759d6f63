//! Pulled rows that cannot stand in the local tables yet: their parent is to come, or
//! the table's own rules refuse them. Kept whole, shown, and tried again; the rest of
//! the page goes on.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Result, Store, Synced, Writer};
use crate::model::{Key, ReasonCode, RemoteRow, Revision, Stamp, Value};

#[derive(Serialize, Deserialize)]
struct Body {
    stamp: Stamp,
    columns: Vec<String>,
    values: Option<Vec<Value>>,
    device: String,
    #[serde(default)]
    role: String,
}

/// A parked row, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedRow {
    pub table: String,
    pub key: Key,
    pub code: String,
    pub reason: String,
    pub since: i64,
}

impl Writer<'_> {
    pub(crate) fn park(
        &self,
        synced: &Synced,
        remote: &RemoteRow,
        code: ReasonCode,
        reason: &str,
        now: i64,
    ) -> Result<()> {
        self.waiting.parked();
        let body = Body {
            stamp: remote.stamp,
            columns: remote.columns.to_vec(),
            values: remote.row.clone(),
            device: remote.device.clone(),
            role: remote.role.clone(),
        };
        self.db
            .prepare_cached(
                "INSERT INTO _homing_parked(tab, key, rev, body, code, reason, since) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT(tab, key) DO UPDATE SET rev = ?3, body = ?4, code = ?5, reason = ?6",
            )?
            .execute(params![
                synced.id,
                remote.key.encode(),
                remote.revision.0,
                serde_json::to_vec(&body).expect("BUG: a row is JSON"),
                code.word(),
                reason,
                now,
            ])?;
        Ok(())
    }

    /// Of the remote's version that waits for its place here, where one does.
    pub(crate) fn parked_revision(&self, synced: &Synced, key: &[u8]) -> Result<Option<Revision>> {
        if !self.some_parked()? {
            return Ok(None);
        }
        let mut statement = self.db.prepare_cached("SELECT rev FROM _homing_parked WHERE tab = ? AND key = ?")?;
        Ok(statement.query_row(params![synced.id, key], |row| row.get(0)).optional()?.map(Revision))
    }

    pub(crate) fn unpark(&self, synced: &Synced, key: &[u8]) -> Result<()> {
        if !self.some_parked()? {
            return Ok(());
        }
        self.db
            .prepare_cached("DELETE FROM _homing_parked WHERE tab = ? AND key = ?")?
            .execute(params![synced.id, key])?;
        Ok(())
    }

    /// Everything parked, as it came, but for what waits for a person's consent.
    pub(crate) fn parked(&self) -> Result<Vec<RemoteRow>> {
        let mut statement = self.db.prepare_cached(
            "SELECT tab, key, rev, body FROM _homing_parked WHERE code <> 'mass_deletion' ORDER BY rev",
        )?;
        let mut rows = statement.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(synced) = self.tables.get(&row.get(0)?) else { continue };
            let key = Key::decode(&row.get::<_, Vec<u8>>(1)?).expect("BUG: keys are stored encoded");
            let body: Body =
                serde_json::from_slice(&row.get::<_, Vec<u8>>(3)?).expect("BUG: a parked body is what park wrote");
            out.push(RemoteRow {
                table: synced.name().to_owned(),
                key,
                revision: Revision(row.get(2)?),
                stamp: body.stamp,
                row: body.values,
                columns: body.columns.into(),
                device: body.device,
                role: body.role,
            });
        }
        Ok(out)
    }
}

impl Store {
    pub fn parked_rows(&self, rows_max: usize) -> Result<Vec<ParkedRow>> {
        let mut statement = self
            .db
            .prepare_cached("SELECT tab, key, code, reason, since FROM _homing_parked ORDER BY since LIMIT ?")?;
        let mut rows = statement.query([rows_max as i64])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(synced) = self.tables.get(&row.get(0)?) else { continue };
            out.push(ParkedRow {
                table: synced.name().to_owned(),
                key: Key::decode(&row.get::<_, Vec<u8>>(1)?).expect("BUG: keys are stored encoded"),
                code: row.get(2)?,
                reason: row.get(3)?,
                since: row.get(4)?,
            });
        }
        Ok(out)
    }
}
