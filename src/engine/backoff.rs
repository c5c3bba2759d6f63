//! How long to wait after a failed cycle.
//!
//! Doubles five times from the first wait and then rests at the longest one: 1, 2, 4,
//! 8, 16, 60, 60 … seconds, each ±25 % so that many devices do not come back in step.
//! A remote's `Retry-After` is a floor, never a ceiling, and is believed up to an hour.
//! Never gives up: the way there may come back at any time.

use super::Chance;
use crate::model::settings::Millis;

/// The longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Millis = 3_600_000;

/// Failures after which the wait stops doubling.
const DOUBLINGS: u32 = 5;

/// The wait after `streak` failed cycles in a row, the one that just failed counted.
pub fn delay(streak: u32, first: Millis, max: Millis, retry_after: Option<Millis>, chance: &mut Chance) -> Millis {
    let first = first.max(1);
    let max = max.max(first);
    let middle = match streak.saturating_sub(1) {
        doublings if doublings < DOUBLINGS => first.saturating_mul(1 << doublings).min(max),
        _ => max,
    };
    let jittered = (middle as f64 * (0.75 + 0.5 * chance.unit())).round() as Millis;
    match retry_after.map(|wait| wait.min(RETRY_AFTER_MAX)) {
        // Everyone was told the same moment: spread out behind it.
        Some(floor) if floor > jittered => floor + (middle as f64 * 0.25 * chance.unit()) as Millis,
        _ => jittered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(streak: u32, first: Millis, max: Millis, retry_after: Option<Millis>) -> (Millis, Millis) {
        let mut chance = Chance::new(u64::from(streak));
        let waits: Vec<Millis> = (0..2_000).map(|_| delay(streak, first, max, retry_after, &mut chance)).collect();
        (*waits.iter().min().unwrap(), *waits.iter().max().unwrap())
    }

    #[test]
    fn waits_double_to_sixteen_seconds_and_then_rest_at_sixty() {
        for (streak, middle) in [
            (0, 1_000),
            (1, 1_000),
            (2, 2_000),
            (3, 4_000),
            (4, 8_000),
            (5, 16_000),
            (6, 60_000),
            (7, 60_000),
            (u32::MAX, 60_000),
        ] {
            let (least, most) = range(streak, 1_000, 60_000, None);
            assert!(least >= middle * 3 / 4 && most <= middle * 5 / 4, "{streak}: {least} to {most}");
            // The jitter really uses its room.
            assert!(least < middle * 8 / 10 && most > middle * 12 / 10, "{streak}: {least} to {most}");
        }
    }

    #[test]
    fn retry_after_is_a_floor_up_to_an_hour() {
        for (retry_after, floor, ceiling) in [
            (0, 750, 1_250),
            (-5_000, 750, 1_250),
            (Millis::MIN, 750, 1_250),
            (10_000, 10_000, 10_250),
            (3_600_000, 3_600_000, 3_600_250),
            (1_000_000_000_000, 3_600_000, 3_600_250),
            (Millis::MAX, 3_600_000, 3_600_250),
        ] {
            let (least, most) = range(1, 1_000, 60_000, Some(retry_after));
            assert!(least >= floor && most <= ceiling, "{retry_after}: {least} to {most}");
        }
    }

    #[test]
    fn odd_settings_still_give_a_wait() {
        for (first, max) in [(0, 0), (-1, -1), (5_000, 10), (Millis::MAX, Millis::MAX), (1, Millis::MAX)] {
            for streak in 0..10 {
                assert!(delay(streak, first, max, None, &mut Chance::new(3)) >= 1, "{streak} {first} {max}");
            }
        }
        let (least, most) = range(4, 1_000, 3_000, None);
        assert!(least >= 2_250 && most <= 3_750, "a longest wait below the doubling holds: {least} to {most}");
    }
}
