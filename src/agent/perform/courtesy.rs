//! Leaving the write lock to the app while many rows are applied.
//!
//! Who finds SQLite's lock taken does not queue: it asks again after 1, 3, 8, 18, 33, 53,
//! 78 … milliseconds. So it is the share of time in which the lock is free, and how long it
//! is kept at a stretch, that decide how long an app waits. While nobody else writes, the
//! lock is kept for half of `lock_max` and then free for a fifth of the time: with
//! 20 ms, the first writer to come finds it free within about 80 ms whenever it asks.
//! Once somebody has written, it is kept for short whiles and free for most of the time.
//!
//! How long a slice's commit takes is known only afterwards: the next slice is made so
//! much smaller. On virtual time none of this happens, for only counted things are
//! repeatable.

use std::time::{Duration, Instant};

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
    /// Since when the lock is free, and how long it must stay so.
    freed: Option<(Instant, Duration)>,
    /// How many times longer than its rows a slice kept the lock, mostly by its commit.
    overhead: f64,
}

impl Courtesy {
    /// Looks whether somebody else has written since the last look.
    pub fn look(&mut self, store: &Store) -> Result<()> {
        let version = store.data_version()?;
        if self.version.is_some_and(|known| known != version) {
            self.met_at = Some(Instant::now());
        }
        self.version = Some(version);
        Ok(())
    }

    fn has_company(&self) -> bool {
        self.met_at.is_some_and(|at| at.elapsed() < MEMORY)
    }

    /// How much the next slice may take.
    pub fn slice(&mut self, slice: Slice, store: &Store) -> Result<Slice> {
        let Some(lock_max) = slice.time_max else { return Ok(slice) };
        self.look(store)?;
        let kept = if self.has_company() { lock_max / 7 } else { lock_max / 2 };
        Ok(Slice {
            rows_max: slice.rows_max * ROWS_FACTOR,
            time_max: Some(kept.div_f64(self.overhead.clamp(1.0, 4.0))),
        })
    }

    /// Waits until the lock has been free for long enough.
    pub fn wait(&self) {
        if let Some((since, pause)) = self.freed {
            std::thread::sleep(pause.saturating_sub(since.elapsed()));
        }
    }

    /// A slice kept the lock since `began`.
    pub fn freed(&mut self, slice: Slice, began: Instant) {
        let Some(asked) = slice.time_max else { return };
        let kept = began.elapsed();
        let overhead = kept.as_secs_f64() / asked.as_secs_f64().max(1e-6);
        // A slice that was done early says nothing of what a full one would take.
        if kept > asked {
            self.overhead = if self.overhead == 0.0 { overhead } else { (self.overhead * 3.0 + overhead) / 4.0 };
        }
        let pause = if self.has_company() { kept.mul_f64(1.7) } else { kept / 4 };
        // Whoever kept us waiting for the lock, or the machine, is not waited for in turn.
        self.freed = Some((Instant::now(), pause.min(2 * asked)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK_MAX: Duration = Duration::from_millis(20);

    #[test]
    fn on_virtual_time_nothing_is_cut_or_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, store) = crate::store::apply::tests::opened(folder.path());
        let slice = Slice { rows_max: 3, time_max: None };
        let mut courtesy = Courtesy { met_at: Some(Instant::now()), ..Courtesy::default() };
        let given = courtesy.slice(slice, &store).unwrap();
        courtesy.freed(given, Instant::now());
        assert_eq!((given.rows_max, given.time_max, courtesy.freed), (3, None, None));
    }

    #[test]
    fn once_somebody_else_wrote_slices_are_short_and_pauses_longer_than_they() {
        let folder = tempfile::tempdir().unwrap();
        let (app, store) = crate::store::apply::tests::opened(folder.path());
        let slice = Slice { rows_max: 1_000, time_max: Some(LOCK_MAX) };
        let mut courtesy = Courtesy::default();
        let alone = courtesy.slice(slice, &store).unwrap();
        assert_eq!(alone.time_max, Some(LOCK_MAX / 2));
        app.execute_batch("INSERT INTO task VALUES(1, 'a')").unwrap();
        let beside = courtesy.slice(slice, &store).unwrap();
        assert!(beside.time_max.unwrap() < LOCK_MAX / 6, "{beside:?}");
        let began = Instant::now() - beside.time_max.unwrap();
        courtesy.freed(beside, began);
        let (_, pause) = courtesy.freed.unwrap();
        assert!(pause > beside.time_max.unwrap() * 3 / 2, "{pause:?}");
    }

    #[test]
    fn a_slow_commit_makes_the_next_slice_smaller() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, store) = crate::store::apply::tests::opened(folder.path());
        let slice = Slice { rows_max: 1_000, time_max: Some(LOCK_MAX) };
        let mut courtesy = Courtesy::default();
        let first = courtesy.slice(slice, &store).unwrap();
        courtesy.freed(first, Instant::now() - LOCK_MAX);
        let next = courtesy.slice(slice, &store).unwrap();
        assert!(next.time_max.unwrap() <= LOCK_MAX / 4, "{next:?}");
        let (_, pause) = courtesy.freed.unwrap();
        assert!(pause >= LOCK_MAX / 4, "a fifth of the time is free: {pause:?}");
    }
}
