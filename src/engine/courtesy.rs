//! How long the app's write lock is kept, and then left free.
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

use std::time::Duration;

/// How long the lock is free after a stretch.
pub const REST: Duration = Duration::from_millis(10);

/// For how long a slice may keep the lock. `company`: somebody else has written lately.
pub fn target(company: bool, lock_max: Duration) -> Duration {
    if company { lock_max / 7 } else { stretch(lock_max) }
}

/// For how long the lock is free after a slice that kept it for `kept`. `gone`: since the
/// lock was last taken after a rest.
pub fn pause(company: bool, gone: Duration, kept: Duration, lock_max: Duration) -> Duration {
    match company {
        // Who kept us waiting, the lock's holder or the machine, is not waited for in turn.
        true => kept.mul_f64(2.2).min(lock_max),
        // The next slice would end after the stretch.
        false if gone + kept > stretch(lock_max) => REST,
        false => Duration::ZERO,
    }
}

/// For how long slices may follow each other before the lock rests.
fn stretch(lock_max: Duration) -> Duration {
    lock_max * 9 / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK_MAX: Duration = Duration::from_millis(20);

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn while_nobody_else_writes_the_lock_rests_before_a_stretch_is_over() {
        assert_eq!(target(false, LOCK_MAX), ms(18));
        assert_eq!(pause(false, ms(5), ms(5), LOCK_MAX), Duration::ZERO);
        assert_eq!(pause(false, ms(9), ms(9), LOCK_MAX), Duration::ZERO);
        assert_eq!(pause(false, ms(10), ms(9), LOCK_MAX), REST);
        assert_eq!(pause(false, ms(40), ms(40), LOCK_MAX), REST);
    }

    #[test]
    fn once_somebody_else_wrote_slices_are_short_and_pauses_longer_than_they() {
        assert!(target(true, LOCK_MAX) < ms(3));
        assert_eq!(pause(true, ms(0), ms(4), LOCK_MAX), Duration::from_micros(8_800));
        assert_eq!(pause(true, ms(0), ms(40), LOCK_MAX), LOCK_MAX);
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
}
