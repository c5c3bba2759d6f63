//! Writing the remote's version into a table, and the base that goes with it.
//!
//! Row and base move together, in the caller's transaction. What the remote does not
//! speak of keeps its local value; an obstacle leaves the row as it was and is handed
//! back.

use super::error::Obstacle;
use super::fit::fit;
use super::row;
use super::take::{Sides, Taken};
use super::{Now, Result, Synced, Writer, base};
use crate::model::{Key, ReasonCode, RemoteRow, Row};
use crate::sqlite::capture::LogOp;

impl Writer<'_> {
    /// Both sides have the same row: remember that.
    pub(super) fn agree(&self, synced: &Synced, remote: &RemoteRow, sides: &Sides) -> Result<()> {
        self.unpark(synced, &sides.key)?;
        self.clear_aside(synced, &sides.key)?;
        match &sides.local {
            Some(row) => self.set_base(synced, &sides.key, remote.revision, remote.stamp, &base::body(synced, row)),
            None => self.drop_base(synced, &sides.key),
        }
    }

    /// The local row holds what the remote has: the base follows.
    pub(super) fn rest(&self, synced: &Synced, remote: &RemoteRow, sides: &Sides) -> Result<()> {
        self.unpark(synced, &sides.key)?;
        if remote.row.is_none() {
            return self.drop_base(synced, &sides.key);
        }
        let whole = sides.spoken.len() == synced.columns.len();
        let body = match (&sides.remote, whole) {
            (Some(row), true) => base::body(synced, row),
            _ => {
                let stored = row::read(self.db, synced, &remote.key)?.row();
                base::body(synced, &stored.expect("BUG: the row was just written"))
            }
        };
        self.set_base(synced, &sides.key, remote.revision, remote.stamp, &body)
    }

    /// The local row goes on differing: the base is the remote's version, and the log
    /// says that there is something to send.
    pub(super) fn stand(&mut self, synced: &Synced, remote: &RemoteRow, sides: &Sides, now: Now) -> Result<()> {
        self.unpark(synced, &sides.key)?;
        match &sides.remote {
            Some(row) => {
                self.set_base(synced, &sides.key, remote.revision, remote.stamp, &base::body(synced, row))?;
            }
            None => self.drop_base(synced, &sides.key)?,
        }
        self.note_unsent(synced, remote, sides, now)
    }

    /// The log says that there is something to send of a row.
    pub(super) fn note_unsent(&mut self, synced: &Synced, remote: &RemoteRow, sides: &Sides, now: Now) -> Result<()> {
        let widths = self.widths();
        let written = self.outbox.written_at(self.db, &widths, synced.id, &sides.key)?;
        self.note_row(synced.id, LogOp::Update, written.unwrap_or(now.millis), &remote.key)
    }

    pub(super) fn put(
        &self,
        synced: &Synced,
        key: &Key,
        local: Option<&Row>,
        wanted: Option<&Row>,
        spoken: &[usize],
    ) -> Result<Option<Obstacle>> {
        match (local, wanted) {
            (None, None) => Ok(None),
            (None, Some(row)) => row::insert(self.db, synced, spoken, row),
            (Some(_), None) => row::delete(self.db, synced, key),
            (Some(old), Some(row)) => {
                let changed: Vec<usize> = spoken.iter().copied().filter(|at| old[*at] != row[*at]).collect();
                row::update(self.db, synced, key, &changed, row)
            }
        }
    }

    /// Writes the remote's version of a clean row that was taken out of its table a
    /// moment ago, under its old rowid. False when something else is in the way.
    pub(crate) fn put_back(
        &self,
        synced: &Synced,
        remote: &RemoteRow,
        rowid: Option<i64>,
        local: Option<Row>,
    ) -> Result<bool> {
        let (fitted, spoken) = fit(synced, remote, local.as_ref());
        let all: Vec<usize> = if local.is_some() { (0..synced.columns.len()).collect() } else { spoken.clone() };
        let row = fitted.as_ref().expect("BUG: only rows are put back, not tombstones");
        if row::insert_at(self.db, synced, rowid, &all, row)?.is_some() {
            return Ok(false);
        }
        let sides = Sides { key: remote.key.encode(), base: None, local, remote: fitted, spoken };
        self.rest(synced, remote, &sides)?;
        Ok(true)
    }

    /// The remote's version under the local columns; `None` for a tombstone.
    pub(crate) fn fitted(&self, synced: &Synced, remote: &RemoteRow) -> Option<Row> {
        fit(synced, remote, None).0
    }

    /// Writes the remote's version over the local row, whatever that is, and takes it
    /// as the base.
    pub(crate) fn restore(&mut self, synced: &Synced, remote: &RemoteRow, local: &Row) -> Result<Option<Obstacle>> {
        let (fitted, spoken) = fit(synced, remote, Some(local));
        let obstacle = self.put(synced, &remote.key, Some(local), fitted.as_ref(), &spoken)?;
        if obstacle.is_none() {
            let sides =
                Sides { key: remote.key.encode(), base: None, local: Some(local.clone()), remote: fitted, spoken };
            self.rest(synced, remote, &sides)?;
        }
        Ok(obstacle)
    }
}

pub(super) fn obstructed(obstacle: Obstacle) -> Taken {
    match obstacle {
        Obstacle::Unique(text) => Taken::Blocked(ReasonCode::ConflictManual, text),
        Obstacle::Rule(text) => Taken::Blocked(ReasonCode::ParkedConstraint, text),
    }
}
