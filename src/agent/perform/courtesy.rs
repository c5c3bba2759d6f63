//! Leaving the write lock to the app while many rows are written: the clock, and who else
//! writes, for what `engine::courtesy` decides.
//!
//! How long a slice's commit takes is known only afterwards: the next slice is made so
//! much smaller. On virtual time none of this happens, for only counted things are
//! repeatable.

use std::time::{Duration, Instant};

use crate::engine::courtesy::{self, REST};
use crate::store::{Result, Slice, Store};

/// Somebody who wrote this recently may write again.
const MEMORY: Duration = Duration::from_secs(5);
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
        let target = courtesy::target(self.has_company(), lock_max);
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
        let gone = self.rested_at.map_or(lock_max, |at| at.elapsed());
        self.pause = courtesy::pause(self.has_company(), gone, kept, lock_max);
        self.free_since = Some(Instant::now());
    }
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
    fn somebody_elses_write_is_noticed_and_slices_are_short_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let (app, store) = opened(folder.path());
        let mut courtesy = Courtesy::default();
        keep(&mut courtesy, &store, LOCK_MAX / 2);
        app.execute_batch("INSERT INTO task VALUES(1, 'a')").unwrap();
        let beside = keep(&mut courtesy, &store, LOCK_MAX / 5);
        assert!(beside.time_max.unwrap() < LOCK_MAX / 5, "{beside:?}");
        assert!(courtesy.has_company());
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
