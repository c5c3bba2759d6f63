//! Rows of a page that stand in each other's way by unique values: two that swapped them.
//!
//! All that can be are taken out of the table under a savepoint and put back as they
//! shall be. It helps all of them, or everything is as before.

use std::collections::HashSet;

use super::apply::Applied;
use super::{Result, Writer, row};
use crate::model::{Key, ReasonCode, RemoteRow};

impl Writer<'_> {
    /// Rows that block each other by UNIQUE values (two rows that swapped them): all that
    /// can be are taken out of the table under a savepoint and put back as they shall be.
    /// True when that helped; else everything is as before.
    pub(super) fn untangle(
        &mut self,
        blocked: &mut Vec<(RemoteRow, ReasonCode, String)>,
        applied: &mut Applied,
    ) -> Result<bool> {
        let is_unique =
            |(row, code, _): &(RemoteRow, ReasonCode, String)| *code == ReasonCode::ConflictManual && row.row.is_some();
        let tangled: Vec<RemoteRow> =
            blocked.iter().filter(|entry| is_unique(entry)).map(|(row, ..)| row.clone()).collect();
        if tangled.len() < 2 {
            return Ok(false);
        }
        let mut tangled = tangled;
        while tangled.len() > 1 {
            self.db.execute_batch("SAVEPOINT _homing_untangle")?;
            let helped = self.swap(&tangled)?;
            if helped.len() == tangled.len() {
                self.db.execute_batch("RELEASE _homing_untangle")?;
                let done: HashSet<(&str, &Key)> = tangled.iter().map(|row| (row.table.as_str(), &row.key)).collect();
                blocked.retain(|(row, ..)| !done.contains(&(row.table.as_str(), &row.key)));
                tangled.iter().for_each(|row| applied.note(row));
                return Ok(true);
            }
            self.db.execute_batch("ROLLBACK TO _homing_untangle; RELEASE _homing_untangle")?;
            // Once more without those that still failed.
            tangled = helped.into_iter().map(|at| tangled[at].clone()).collect();
        }
        Ok(false)
    }

    /// Removes the clean ones among these rows and writes the remote's versions.
    /// Returns the places that worked.
    fn swap(&mut self, rows: &[RemoteRow]) -> Result<Vec<usize>> {
        let tables = self.tables;
        let mut clean = Vec::new();
        for (at, remote) in rows.iter().enumerate() {
            let Some(synced) = tables.values().find(|synced| synced.name().eq_ignore_ascii_case(&remote.table)) else {
                continue;
            };
            if !self.is_unsent(synced, &remote.key)? {
                clean.push((at, synced));
            }
        }
        let mut kept = Vec::new();
        for (at, synced) in &clean {
            let remote = &rows[*at];
            let rowid = row::rowid(self.db, synced, &remote.key)?;
            let local = row::read(self.db, synced, &remote.key)?.row();
            row::delete(self.db, synced, &remote.key)?;
            kept.push((rowid, local));
        }
        let mut worked = Vec::new();
        for ((at, synced), (rowid, local)) in clean.iter().zip(kept) {
            if self.put_back(synced, &rows[*at], rowid, local)? {
                worked.push(*at);
            }
        }
        Ok(worked)
    }
}
