//! Leaving the write lock to the app while many rows are written.
//!
//! Who finds SQLite's lock taken does not queue: it asks again after 1, 3, 8, 18, 33, 53,
//! 78, 103, 128 … milliseconds, up to its timeout. So it is when the lock is free, and how
//! long it is kept at a stretch, that decide how long an app waits.
//!
//! While nobody else writes, slices follow each other for as long as the lock may be kept,
//! and then it is free for 10 ms: whoever comes in the first 10 of 18 ms has it when it
//! asks after 18, whoever comes later when it asks after 8. Many small pauses of the same
//! sum would be met by chance alone. Once somebody has written, the lock is kept for short
//! whiles and free for two thirds of the time.
//!
//! How long a slice's commit takes is known only afterwards: the next slice is made so
//! much smaller. On virtual time none of this happens, for only counted things are
//! repeatable.

use std::time::{Duration, Instant};

use crate::store::{Result, Slice, Store};

/// Somebody who wrote this recently may write again.
const MEMORY: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(10);
/// A slice that is cut by time may take this many times the rows of one that is not.
const ROWS_FACTOR: usize = 4;

#[derive(Debug, Default)]
pub struct Courtesy {
    /// What moves when another connection commits.
    version: Option<i64>,
    met_at: Option<Instant>,
    free_since: Option<Instant>,
    /// How long the lock must be free before it is taken again.
    pause: Duration,
    /// When the lock was last taken after a rest.
    rested_at: Option<Instant>,
    /// How many times longer than its rows a slice kept the lock, mostly by its commit.
    overhead: f64,
}

impl Courtesy {
    /// How much the next slice may take.
    pub fn slice(&mut self, slice: Slice, store: &Store) -> Result<Slice> {
        let Some(lock_max) = slice.time_max else { return Ok(slice) };
        let version = store.data_version()?;
        if self.version.is_some_and(|known| known != version) {
            self.met_at = Some(Instant::now());
        }
        self.version = Some(version);
        let target = if self.has_company() { lock_max / 7 } else { stretch(lock_max) };
        let time_max = Some(target.div_f64(self.overhead.clamp(1.0, 4.0)));
        Ok(Slice { rows_max: slice.rows_max * ROWS_FACTOR, time_max })
    }

    /// Somebody else has written lately.
    pub fn has_company(&self) -> bool {
        self.met_at.is_some_and(|at| at.elapsed() < MEMORY)
    }

    /// Waits until the lock has been free for long enough, and takes it as taken.
    pub fn wait(&mut self, slice: Slice) {
        if slice.time_max.is_none() {
            return;
        }
        let free = || self.free_since.map_or(REST, |since| since.elapsed());
        std::thread::sleep(self.pause.saturating_sub(free()));
        if free() >= REST {
            self.rested_at = Some(Instant::now());
        }
    }

    /// A slice kept the lock since `began`; `lock_max` is as long as one ever may.
    pub fn freed(&mut self, slice: Slice, lock_max: Option<Duration>, began: Instant) {
        let (Some(asked), Some(lock_max)) = (slice.time_max, lock_max) else { return };
        let kept = began.elapsed();
        // A slice that was done early says nothing of what a full one would take.
        if kept > asked {
            let overhead = kept.as_secs_f64() / asked.as_secs_f64().max(1e-6);
            self.overhead = if self.overhead == 0.0 { overhead } else { (self.overhead * 3.0 + overhead) / 4.0 };
        }
        let stretch = stretch(lock_max);
        let gone = self.rested_at.map_or(stretch, |at| at.elapsed());
        self.pause = match self.has_company() {
            // Who kept us waiting, the lock's holder or the machine, is not waited for in turn.
            true => kept.mul_f64(2.2).min(lock_max),
            // The next slice would end after the stretch.
            false if gone + kept > stretch => REST,
            false => Duration::ZERO,
        };
        self.free_since = Some(Instant::now());
    }
}

/// For how long slices may follow each other before the lock rests.
fn stretch(lock_max: Duration) -> Duration {
    lock_max * 9 / 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::apply::tests::opened;

    const LOCK_MAX: Duration = Duration::from_millis(20);
    const SLICE: Slice = Slice { rows_max: 1_000, time_max: Some(LOCK_MAX) };

    /// Asks for a slice and says how long it kept the lock.
    fn keep(courtesy: &mut Courtesy, store: &Store, kept: Duration) -> Slice {
        let given = courtesy.slice(SLICE, store).unwrap();
        courtesy.freed(given, SLICE.time_max, Instant::now() - kept);
        given
    }

    #[test]
    fn on_virtual_time_nothing_is_cut_or_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, store) = opened(folder.path());
        let slice = Slice { rows_max: 3, time_max: None };
        let mut courtesy = Courtesy { met_at: Some(Instant::now()), ..Courtesy::default() };
        let given = courtesy.slice(slice, &store).unwrap();
        courtesy.freed(given, slice.time_max, Instant::now());
        assert_eq!((given.rows_max, given.time_max, courtesy.pause), (3, None, Duration::ZERO));
    }

    #[test]
    fn while_nobody_writes_the_lock_rests_before_a_stretch_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, store) = opened(folder.path());
        let mut courtesy = Courtesy::default();
        courtesy.wait(SLICE);
        let given = keep(&mut courtesy, &store, LOCK_MAX / 4);
        assert_eq!((given.time_max, courtesy.pause), (Some(LOCK_MAX * 9 / 10), Duration::ZERO));
        courtesy.rested_at = Some(Instant::now() - LOCK_MAX / 2);
        keep(&mut courtesy, &store, LOCK_MAX / 2);
        assert_eq!(courtesy.pause, REST);
        let began = Instant::now();
        courtesy.wait(SLICE);
        assert!(began.elapsed() > REST * 9 / 10);
        keep(&mut courtesy, &store, LOCK_MAX / 4);
        assert_eq!(courtesy.pause, Duration::ZERO, "a new stretch begins");
    }

    /// Whenever somebody comes: the first question at which the lock is free is one of the
    /// first four, 18 ms at the latest.
    #[test]
    fn whoever_comes_first_has_the_lock_within_lock_max() {
        let (busy, free) = (stretch(LOCK_MAX).as_micros(), REST.as_micros());
        for came in (0..busy).step_by(10) {
            let asked = [1_000, 3_000, 8_000, 18_000].into_iter().find(|after| (came + after) % (busy + free) >= busy);
            assert!(asked.is_some(), "who came {came} µs after the lock was taken waits for too long");
        }
    }

    #[test]
    fn once_somebody_else_wrote_slices_are_short_and_pauses_longer_than_they() {
        let folder = tempfile::tempdir().unwrap();
        let (app, store) = opened(folder.path());
        let mut courtesy = Courtesy::default();
        keep(&mut courtesy, &store, LOCK_MAX / 2);
        app.execute_batch("INSERT INTO task VALUES(1, 'a')").unwrap();
        let beside = keep(&mut courtesy, &store, LOCK_MAX / 5);
        assert!(beside.time_max.unwrap() < LOCK_MAX / 5, "{beside:?}");
        assert!(courtesy.pause >= LOCK_MAX * 2 / 5 && courtesy.pause <= LOCK_MAX, "{:?}", courtesy.pause);
    }

    #[test]
    fn a_slow_commit_makes_the_next_slice_smaller() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, store) = opened(folder.path());
        let mut courtesy = Courtesy::default();
        keep(&mut courtesy, &store, LOCK_MAX * 3 / 2);
        let next = courtesy.slice(SLICE, &store).unwrap();
        assert!(next.time_max.unwrap() <= LOCK_MAX * 5 / 9, "{next:?}");
    }
}
