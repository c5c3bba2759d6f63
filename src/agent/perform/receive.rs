//! Fetching a page and applying it, slice by slice.

use std::time::Instant;

use super::{Performer, note_changed};
use crate::engine::session::Report;
use crate::model::Fault;
use crate::model::status::Progress;
use crate::remote::{Ask, RemoteError};

/// The largest page that is asked for.
const PAGE_ROWS_MAX: usize = 5_000;
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Performer {
    pub(super) fn fetch(&mut self) -> Result<Report, Fault> {
        let store = self.store.as_ref().expect("BUG: fetching is within a cycle");
        let cursor = store.checkpoint()?;
        let ask = Ask {
            device: self.device.clone(),
            incarnation: self.known.incarnation.clone(),
            compares: cursor.is_none() && store.knows_rows()?,
            cursor,
            rows_max: PAGE_ROWS_MAX,
            bytes_max: PAGE_BYTES_MAX,
        };
        let start = self.world.clock.millis();
        let page = match self.remote.pull(&ask) {
            Ok(page) => page,
            Err(error) => return self.over(error),
        };
        self.put_off()?;
        // A snapshot is asked for without a cursor that would tell: its revisions must be
        // those of the log that was greeted.
        if self.greeted.as_ref().is_some_and(|greeted| !page.epoch.is_empty() && page.epoch != greeted.epoch) {
            return self.over(RemoteError::EpochOver);
        }
        self.tally.latency = u64::try_from(self.world.clock.millis() - start).ok();
        self.count_traffic();
        let (Some(store), Some(rules)) = (&self.store, &self.rules) else {
            unreachable!("BUG: fetching is within a cycle")
        };
        self.incoming = Some(store.receive(page, rules)?);
        Ok(Report::Fetched)
    }

    pub(super) fn apply(&mut self) -> Result<Report, Fault> {
        let now = self.now();
        let incoming = self.incoming.as_mut().expect("BUG: applying comes after fetching");
        let (Some(store), Some(rules)) = (&mut self.store, &self.rules) else {
            unreachable!("BUG: applying is within a cycle")
        };
        let slice = self.courtesy.slice(self.world.slice, store)?;
        store.make_ready(incoming, slice.rows_max);
        self.courtesy.wait(slice);
        let began = Instant::now();
        let applied = store.apply(incoming, rules, now, slice)?;
        self.courtesy.freed(slice, self.world.slice.time_max, began);
        self.tally.cycle.pulled += applied.rows;
        self.tally.cycle.conflicts += applied.conflicts;
        let (more, left) = (incoming.more(), incoming.rows_left());
        note_changed(&mut self.tally.changed, applied.changed);
        self.fold(applied.rows);
        if more || left.is_some() || self.tally.progress.is_some() {
            let done = self.tally.cycle.pulled;
            let total = left.map(|left| done + left);
            self.tally.progress = Some(Progress { what: "receiving".to_owned(), done, total });
        }
        if applied.done {
            self.incoming = None;
        }
        Ok(Report::Applied { done: applied.done, more, pending: applied.pending })
    }
}
