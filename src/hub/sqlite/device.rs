//! Devices: one entry an account and incarnation, with the last batch taken from it.
//!
//! An incarnation is known by account and name together: nobody can use up the batch
//! numbers of another account's device.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::scope::Scope;
use crate::hub::error::{HubError, Result};
use crate::hub::store::Who;
use crate::model::{Incarnation, text};
use crate::protocol::body::Packing;
use crate::protocol::{DeviceStatus, ScopeStatus, VERSION};

const NAME_BYTES_MAX: usize = 200;

/// Answers larger than this when unpacked are nobody's.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// A device that was here within this time counts as active.
const ACTIVE_MS: i64 = 15 * 60_000;

pub(super) struct Device {
    pub id: i64,
    /// The last batch taken; 0 for none.
    pub batch: i64,
    pub body_hash: Option<Vec<u8>>,
    pub answer: Option<Vec<u8>>,
}

/// Incarnation and device name as a request carries them.
pub(super) fn check_names(incarnation: &Incarnation, device: &str) -> Result<()> {
    if incarnation.0.is_empty() || incarnation.0.len() > NAME_BYTES_MAX || device.len() > NAME_BYTES_MAX {
        let what = format!("incarnation and device name must be given, in at most {NAME_BYTES_MAX} bytes each");
        return Err(HubError::Malformed(what));
    }
    Ok(())
}

pub(super) fn find(db: &Connection, who: &Who, incarnation: &Incarnation) -> Result<Option<i64>> {
    let sql = "SELECT id FROM _hub_device WHERE account = ? AND incarnation = ?";
    Ok(db.prepare_cached(sql)?.query_row(params![who.account, incarnation.0], |row| row.get(0)).optional()?)
}

/// Finds the device, or makes its entry.
pub(super) fn arrive(db: &Connection, who: &Who, incarnation: &Incarnation, name: &str, now: i64) -> Result<Device> {
    let sql = "INSERT INTO _hub_device(account, incarnation, device, seen_at) VALUES (?, ?, ?, ?) \
               ON CONFLICT(account, incarnation) DO UPDATE SET device = excluded.device, seen_at = excluded.seen_at \
               RETURNING id, batch, body_hash, answer";
    let values = params![who.account, incarnation.0, text::printable(name), now];
    let read = |row: &rusqlite::Row| {
        Ok(Device { id: row.get(0)?, batch: row.get(1)?, body_hash: row.get(2)?, answer: row.get(3)? })
    };
    Ok(db.prepare_cached(sql)?.query_row(values, read)?)
}

pub(super) fn answered(db: &Connection, id: i64, batch: i64, body_hash: &[u8], answer: &[u8], now: i64) -> Result<()> {
    let packed = Packing::Zstd.pack(answer).map_err(|error| HubError::Damaged(error.to_string()))?;
    let sql = "UPDATE _hub_device SET batch = ?, body_hash = ?, answer = ?, pushed_at = ? WHERE id = ?";
    db.prepare_cached(sql)?.execute(params![batch, body_hash, packed, now, id])?;
    Ok(())
}

/// A push that is not numbered.
pub(super) fn pushed(db: &Connection, id: i64, now: i64) -> Result<()> {
    db.prepare_cached("UPDATE _hub_device SET pushed_at = ? WHERE id = ?")?.execute([now, id])?;
    Ok(())
}

pub(super) fn unpack(answer: &[u8]) -> Result<Vec<u8>> {
    Packing::Zstd.unpack(answer, ANSWER_BYTES_MAX).map_err(|error| HubError::Damaged(error.to_string()))
}

/// Writes down who was here, with a transaction that happens anyway.
pub(super) fn note_seen(db: &Connection, seen: &mut HashMap<i64, i64>) -> Result<()> {
    for (id, at) in seen.drain() {
        let sql = "UPDATE _hub_device SET seen_at = max(seen_at, ?) WHERE id = ?";
        db.prepare_cached(sql)?.execute([at, id])?;
    }
    Ok(())
}

pub(super) fn status(scope: &mut Scope, listening: &[String], now: i64) -> Result<ScopeStatus> {
    scope.settle_if_needed(now)?;
    let sql = "SELECT id, incarnation, device, account, seen_at, pushed_at FROM _hub_device WHERE id > 0 \
               ORDER BY seen_at DESC, id LIMIT 10000";
    let mut statement = scope.db.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, incarnation): (i64, String) = (row.get(0)?, row.get(1)?);
        let last_seen_at = row.get::<_, i64>(4)?.max(scope.seen.get(&id).copied().unwrap_or(0));
        devices.push(DeviceStatus {
            device: row.get(2)?,
            account: row.get(3)?,
            last_seen_at,
            last_push_at: row.get(5)?,
            active: now - last_seen_at <= ACTIVE_MS || listening.contains(&incarnation),
        });
    }
    Ok(ScopeStatus { protocol: VERSION, epoch: scope.epoch.clone(), head: scope.head, time: now, devices })
}
