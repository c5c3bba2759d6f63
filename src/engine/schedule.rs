//! When the next cycle runs: the timer, the debounce, and rows whose next try is due.
//!
//! Pure: every time is an argument, milliseconds on one clock that never steps back.

use crate::model::settings::{Millis, Schedule};

/// The moments that a replica waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agenda {
    /// The next round of the timer.
    timer: Option<Millis>,
    /// First and last write since the last cycle began.
    writes: Option<(Millis, Millis)>,
    /// A row that was refused is tried again.
    retry: Option<Millis>,
}

impl Agenda {
    /// The app wrote.
    pub fn written(&mut self, now: Millis) {
        let first = self.writes.map_or(now, |(first, _)| first);
        self.writes = Some((first, now));
    }

    pub fn has_writes(&self) -> bool {
        self.writes.is_some()
    }

    /// A cycle begins: what was written so far goes with it.
    pub fn begin(&mut self) {
        self.writes = None;
        self.retry = None;
    }

    /// A cycle ended: the timer starts over.
    pub fn end(&mut self, now: Millis, schedule: &Schedule, retry: Option<Millis>) {
        self.timer = schedule.every.map(|every| now.saturating_add(every));
        self.retry = retry;
    }

    /// When the debounce runs out: `debounce` after the last write, and not later than
    /// `debounce_max` after the first, so that a busy app still syncs.
    pub fn debounced(&self, schedule: &Schedule) -> Option<Millis> {
        let (first, last) = self.writes?;
        Some((last + schedule.debounce).min(first + schedule.debounce_max.max(schedule.debounce)))
    }

    /// The earliest of all.
    pub fn next(&self, schedule: &Schedule) -> Option<Millis> {
        [self.timer, self.debounced(schedule), self.retry].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_app_still_syncs_after_debounce_max() {
        let schedule = Schedule { debounce: 3_000, debounce_max: 10_000, every: None, ..Schedule::default() };
        let mut agenda = Agenda::default();
        assert_eq!(agenda.next(&schedule), None);
        agenda.written(0);
        assert_eq!(agenda.next(&schedule), Some(3_000));
        for at in (0..9_000).step_by(1_000) {
            agenda.written(at);
        }
        assert_eq!(agenda.next(&schedule), Some(10_000));
        agenda.begin();
        assert_eq!(agenda.next(&schedule), None);
    }
}
