//! When the next cycle runs: the timer, the debounce, and rows whose next try is due.
//!
//! Pure: every time is an argument, milliseconds on one clock that never steps back.

use crate::model::settings::{Millis, Schedule, Thrift};

/// The moments that a replica waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agenda {
    /// The next round of the timer.
    timer: Option<Millis>,
    /// First and last write since the last cycle began.
    writes: Option<(Millis, Millis)>,
    /// One of them is urgent.
    urgent: bool,
    /// A row that was refused is tried again.
    retry: Option<Millis>,
}

impl Agenda {
    /// The app wrote; `urgent` where that may not wait for better times.
    pub fn written(&mut self, now: Millis, urgent: bool) {
        let first = self.writes.map_or(now, |(first, _)| first);
        self.writes = Some((first, now));
        self.urgent |= urgent;
    }

    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    pub fn has_writes(&self) -> bool {
        self.writes.is_some()
    }

    /// A cycle begins: what was written so far goes with it.
    pub fn begin(&mut self) {
        self.writes = None;
        self.urgent = false;
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

    /// The earliest of all. Whoever is sparing has no timer, and lets urgent writes alone
    /// gather, for as long as they may.
    pub fn next(&self, schedule: &Schedule, thrift: Thrift) -> Option<Millis> {
        let moments = match thrift {
            Thrift::Sync => [self.timer, self.debounced(schedule), self.retry],
            Thrift::Save => {
                let gathered = self.writes.map(|(first, _)| first + schedule.debounce_max.max(schedule.debounce));
                [None, gathered.filter(|_| self.urgent), self.retry]
            }
            Thrift::Wait => [None; 3],
        };
        moments.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_app_still_syncs_after_debounce_max() {
        let schedule = Schedule { debounce: 3_000, debounce_max: 10_000, every: None, ..Schedule::default() };
        let mut agenda = Agenda::default();
        assert_eq!(agenda.next(&schedule, Thrift::Sync), None);
        agenda.written(0, false);
        assert_eq!(agenda.next(&schedule, Thrift::Sync), Some(3_000));
        for at in (0..9_000).step_by(1_000) {
            agenda.written(at, false);
        }
        assert_eq!(agenda.next(&schedule, Thrift::Sync), Some(10_000));
        agenda.begin();
        assert_eq!(agenda.next(&schedule, Thrift::Sync), None);
    }

    #[test]
    fn whoever_is_sparing_lets_urgent_writes_gather_and_others_wait() {
        let schedule = Schedule { debounce: 3_000, debounce_max: 10_000, every: Some(60_000), ..Schedule::default() };
        let mut agenda = Agenda::default();
        agenda.end(0, &schedule, Some(50_000));
        agenda.written(1_000, false);
        let next = |agenda: &Agenda| [Thrift::Sync, Thrift::Save, Thrift::Wait].map(|how| agenda.next(&schedule, how));
        assert_eq!(next(&agenda), [Some(4_000), Some(50_000), None]);
        agenda.written(2_000, true);
        agenda.written(3_000, false);
        assert_eq!(next(&agenda), [Some(6_000), Some(11_000), None]);
        agenda.begin();
        assert_eq!(next(&agenda), [Some(60_000), None, None]);
    }
}
