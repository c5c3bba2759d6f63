//! What becomes of an action that was asked for and did not go well.
//!
//! As with rows: a refusal that is about the action is tried a few times and then waits
//! for a person; trouble on the way is no refusal, and is tried for ever. Trouble that is
//! the action's own (its answer alone does not come) keeps nothing else back.

use super::Chance;
use super::backoff;
use crate::model::FaultKind;
use crate::model::settings::{Millis, Schedule};

/// What a fault on the way says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The cycle is over: nothing else would go either.
    Everything,
    /// Perhaps only this action: the cycle goes on, and what follows will tell.
    Perhaps,
}

/// `pulls`: the remote will be asked for something else in the same cycle.
pub fn trouble(kind: FaultKind, pulls: bool) -> Trouble {
    use FaultKind::*;
    match kind {
        // The remote answered, and not for want of a way there.
        Throttled | Server | Protocol => Trouble::Perhaps,
        Network | Timeout if pulls => Trouble::Perhaps,
        Network | Timeout => Trouble::Everything,
        SignedOut | Permission | Version | Locked | File | DiskFull | NewerFormat | Interrupted => Trouble::Everything,
    }
}

/// The wait after `stumbles` tries without an answer that was about the action. `seed`
/// spreads the waits of many devices.
pub fn wait(stumbles: u32, schedule: &Schedule, retry_after: Option<Millis>, seed: u64) -> Millis {
    let mut chance = Chance::new(seed.wrapping_add(u64::from(stumbles)));
    backoff::delay(stumbles, schedule.backoff_first, schedule.backoff_max, retry_after, &mut chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_that_may_be_the_actions_own_does_not_end_the_cycle() {
        use FaultKind::*;
        for kind in [Throttled, Server, Protocol] {
            assert_eq!([trouble(kind, true), trouble(kind, false)], [Trouble::Perhaps; 2], "{kind:?}");
        }
        for kind in [Network, Timeout] {
            assert_eq!(
                [trouble(kind, true), trouble(kind, false)],
                [Trouble::Perhaps, Trouble::Everything],
                "{kind:?}"
            );
        }
        for kind in [SignedOut, Permission, Version, Locked, File, DiskFull, NewerFormat, Interrupted] {
            assert_eq!([trouble(kind, true), trouble(kind, false)], [Trouble::Everything; 2], "{kind:?}");
        }
    }

    #[test]
    fn the_wait_grows_and_is_never_shorter_than_what_was_asked_for() {
        let schedule = Schedule::default();
        let waits: Vec<Millis> = (1..8).map(|stumbles| wait(stumbles, &schedule, None, 7) / 1_000).collect();
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1] || pair[1] > 40), "{waits:?}");
        assert!(wait(1, &schedule, Some(90_000), 7) >= 90_000);
        assert_ne!(wait(3, &schedule, None, 7), wait(3, &schedule, None, 8));
    }
}
