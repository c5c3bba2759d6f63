//! Changes that are not sent now: refused and tried again later, waiting for their
//! parent, or set aside for a person. Still part of the outbox: a row in here differs
//! from its base, and leaves when the remote has it or a person discards it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Store, Synced, Writer};
use crate::model::{Key, Operation, ReasonCode, action};

/// Where such a change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Refused; tried again at a time.
    Retry,
    WaitingForParent,
    SetAside,
}

impl Standing {
    pub fn word(self) -> &'static str {
        match self {
            Standing::Retry => "pending",
            Standing::WaitingForParent => "waiting_for_parent",
            Standing::SetAside => "set_aside",
        }
    }

    fn parse(word: &str) -> Standing {
        match word {
            "waiting_for_parent" => Standing::WaitingForParent,
            "set_aside" => Standing::SetAside,
            _ => Standing::Retry,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aside {
    pub(crate) operation: Operation,
    pub(crate) standing: Standing,
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) tries: u32,
    pub(crate) next_try_at: Option<i64>,
    /// When the oldest unsent write of the row was made.
    pub(crate) since: Option<i64>,
}

/// The longest wait between two tries. A row that seems to wait longer was refused under
/// a clock that has been set back since: it is due.
const DELAY_MAX: i64 = 32_000;

/// The wait after this many refusals.
pub(crate) fn delay(tries: u32) -> i64 {
    (1_000_i64 << tries.saturating_sub(1).min(5)).min(DELAY_MAX)
}

/// Whether a row whose next try is at this time has to wait for it.
pub(crate) fn is_early(next_try_at: Option<i64>, now: i64) -> bool {
    next_try_at.is_some_and(|at| at > now && at <= now + DELAY_MAX)
}

/// A mass deletion that a person said yes to.
pub(crate) const APPROVED: &str = "approved";

pub(crate) fn read(db: &Connection, tab: i64, key: &[u8]) -> Result<Option<Aside>> {
    Ok(db
        .prepare_cached(
            "SELECT operation, state, code, reason, tries, next_try_at, since FROM _homing_aside WHERE tab = ? AND key = ?",
        )?
        .query_row(params![tab, key], |row| {
            Ok(Aside {
                operation: match row.get::<_, String>(0)?.as_str() {
                    "insert" => Operation::Insert,
                    "delete" => Operation::Delete,
                    _ => Operation::Update,
                },
                standing: Standing::parse(&row.get::<_, String>(1)?),
                code: row.get(2)?,
                reason: row.get(3)?,
                tries: row.get(4)?,
                next_try_at: row.get(5)?,
                since: row.get(6)?,
            })
        })
        .optional()?)
}

impl Store {
    /// Rows whose next try is due: (table, key, since).
    pub(crate) fn due(&self, now: i64, rows_max: usize) -> Result<Vec<(i64, Key, Option<i64>)>> {
        let mut statement = self.db.prepare_cached(
            "SELECT tab, key, since FROM _homing_aside WHERE state = 'pending' AND (next_try_at <= ?1 OR next_try_at > ?1 + ?2)
             ORDER BY since, tab, key LIMIT ?3",
        )?;
        let rows = statement
            .query_map(params![now, DELAY_MAX, rows_max as i64], |row| {
                Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(rows
            .into_iter()
            .map(|(tab, key, since)| (tab, Key::decode(&key).expect("BUG: keys are stored encoded"), since))
            .collect())
    }

    /// How long until something set back is to be tried again.
    pub fn next_try_in(&self, now: i64) -> Result<Option<i64>> {
        let sql = "SELECT min(CASE WHEN next_try_at > ?1 + ?2 THEN ?1 ELSE next_try_at END) FROM _homing_aside
                   WHERE state = 'pending'";
        let at: Option<i64> = self.db.query_row(sql, params![now, DELAY_MAX], |row| row.get(0))?;
        let rows = at.map(|at| at.saturating_sub(now).max(0));
        Ok([rows, self.next_action_in(now)?].into_iter().flatten().min())
    }

    /// A person says: try these again. Returns how many. A mass deletion that was held
    /// counts as approved.
    pub fn retry(&mut self, table: Option<&str>, key: Option<&Key>) -> Result<u64> {
        match table {
            Some(action::TABLE) => self.retry_action(key),
            Some(_) => self.retry_rows(table, key),
            None => Ok(self.retry_rows(None, None)? + self.retry_action(None)?),
        }
    }

    fn retry_rows(&mut self, table: Option<&str>, key: Option<&Key>) -> Result<u64> {
        let tab = table.map(|name| self.find(name).map_or(-1, |synced| synced.id));
        let key = key.map(Key::encode);
        self.write(|writer| {
            let count = writer.db.execute(
                "UPDATE _homing_aside SET state = 'pending', tries = 0, next_try_at = 0,
                        code = CASE WHEN code = 'mass_deletion' THEN 'approved' ELSE code END
                 WHERE (?1 IS NULL OR tab = ?1) AND (?2 IS NULL OR key = ?2)",
                params![tab, key],
            )?;
            let consented = writer.db.execute(
                "UPDATE _homing_parked SET code = 'approved' WHERE code = 'mass_deletion'
                 AND (?1 IS NULL OR tab = ?1) AND (?2 IS NULL OR key = ?2)",
                params![tab, key],
            )?;
            Ok((count + consented) as u64)
        })
    }
}

impl Writer<'_> {
    pub(crate) fn put_aside(&self, synced: &Synced, key: &Key, aside: &Aside) -> Result<()> {
        self.waiting.aside();
        self.db
            .prepare_cached(
                "INSERT INTO _homing_aside(tab, key, key_text, operation, state, code, reason, tries, next_try_at, since)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT(tab, key) DO UPDATE SET operation = ?4, state = ?5, code = ?6, reason = ?7, tries = ?8,
                     next_try_at = ?9, since = coalesce(since, ?10)",
            )?
            .execute(params![
                synced.id,
                key.encode(),
                key.to_text(),
                aside.operation.word(),
                aside.standing.word(),
                aside.code,
                aside.reason,
                aside.tries,
                aside.next_try_at,
                aside.since,
            ])?;
        Ok(())
    }

    pub(crate) fn aside(&self, synced: &Synced, key: &[u8]) -> Result<Option<Aside>> {
        if !self.some_aside()? {
            return Ok(None);
        }
        read(self.db, synced.id, key)
    }

    pub(crate) fn clear_aside(&self, synced: &Synced, key: &[u8]) -> Result<()> {
        if !self.some_aside()? {
            return Ok(());
        }
        self.db
            .prepare_cached("DELETE FROM _homing_aside WHERE tab = ? AND key = ?")?
            .execute(params![synced.id, key])?;
        Ok(())
    }

    /// These rows came from the remote: what was set aside of them may have nothing left
    /// to send, and children that wait may have their parent now. True when there is
    /// something to look at.
    pub(crate) fn look_again(&self, changed: &BTreeMap<String, Vec<Key>>) -> Result<bool> {
        if !self.some_aside()? {
            return Ok(false);
        }
        let mut again = self.wake_children()?;
        let sql = "UPDATE _homing_aside SET state = 'pending', next_try_at = 0 WHERE tab = ? AND key = ?";
        let mut wake = self.db.prepare_cached(sql)?;
        for (table, keys) in changed {
            let Some(synced) = self.find(table) else { continue };
            for key in keys {
                again += wake.execute(params![synced.id, key.encode()])?;
            }
        }
        Ok(again > 0)
    }

    /// Something reached the remote: whatever waited for a parent is looked at again.
    pub(crate) fn wake_children(&self) -> Result<usize> {
        Ok(self
            .db
            .prepare_cached(
                "UPDATE _homing_aside SET state = 'pending', next_try_at = 0 WHERE state = 'waiting_for_parent'",
            )?
            .execute([])?)
    }
}

/// The code of a reason, and its sentence, as they are stored.
pub(crate) fn coded(code: ReasonCode) -> String {
    code.word().to_owned()
}
