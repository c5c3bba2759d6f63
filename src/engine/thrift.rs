//! What starts a cycle while a battery drains or the network is paid for by the byte.
//!
//! Pure: how the machine is supplied comes as an argument. A person's word always goes
//! through; and a file is looked at whatever is saved, so that what apps write is captured.

use super::session::Wake;
use crate::model::settings::{Schedule, Thrift};
use crate::model::{Reason, ReasonCode, Saving, Supply};

/// What the schedule says for a supply; where both hold, the more sparing one.
pub fn saving(schedule: &Schedule, supply: Supply) -> Saving {
    let held = |holds: Option<bool>, thrift| if holds == Some(true) { thrift } else { Thrift::Sync };
    let battery = held(supply.on_battery, schedule.on_battery);
    let network = held(supply.metered, schedule.on_metered);
    match battery.max(network) {
        Thrift::Sync => Saving::Nothing,
        thrift if thrift == battery => Saving::Battery(thrift),
        thrift => Saving::Network(thrift),
    }
}

/// Whether a wake starts a cycle. `urgent`: something waits that a table's rule says is.
pub fn starts(thrift: Thrift, wake: Wake, urgent: bool) -> bool {
    match (thrift, wake) {
        (Thrift::Sync, _) | (_, Wake::Command | Wake::Start) => true,
        (Thrift::Save, Wake::Write) => urgent,
        (Thrift::Save, Wake::Timer | Wake::Live) => false,
        (Thrift::Save, Wake::Network | Wake::Reachable | Wake::Foreground | Wake::Supply) => true,
        (
            Thrift::Wait,
            Wake::Timer | Wake::Write | Wake::Network | Wake::Reachable | Wake::Live | Wake::Foreground | Wake::Supply,
        ) => false,
    }
}

/// True for a cycle that brings capture in line and does not go to the remote.
pub fn stays_here(thrift: Thrift, cause: Wake) -> bool {
    thrift == Thrift::Wait && cause != Wake::Command
}

/// Why nothing happens, as a person is told; `None` where nothing is saved.
pub fn reason(saving: Saving) -> Option<Reason> {
    let (code, what, key, next) = match saving {
        Saving::Nothing => return None,
        Saving::Battery(_) => (ReasonCode::OnBattery, "on battery", "on_battery", "when it is plugged in"),
        Saving::Network(_) => (ReasonCode::OnMetered, "the network is metered", "on_metered", "on another network"),
    };
    let word = saving.thrift().word();
    let does = match saving.thrift() {
        Thrift::Wait => "nothing goes out or comes in",
        _ => "only what is urgent starts a sync",
    };
    Some(Reason {
        code,
        text: format!("{what}: {does} (`{key} = \"{word}\"`)"),
        next: format!("`homing sync` runs one now; it goes on by itself {next}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_sparing_rule_that_holds_is_in_force() {
        use Thrift::*;
        let (yes, no) = (Some(true), Some(false));
        for (on_battery, on_metered, battery, metered, expected) in [
            (Sync, Sync, yes, yes, Saving::Nothing),
            (Save, Wait, no, no, Saving::Nothing),
            (Save, Wait, None, None, Saving::Nothing),
            (Save, Wait, yes, no, Saving::Battery(Save)),
            (Save, Wait, no, yes, Saving::Network(Wait)),
            (Save, Wait, yes, yes, Saving::Network(Wait)),
            (Wait, Save, yes, yes, Saving::Battery(Wait)),
            (Save, Save, yes, yes, Saving::Battery(Save)),
            (Sync, Save, yes, None, Saving::Nothing),
        ] {
            let schedule = Schedule { on_battery, on_metered, ..Schedule::default() };
            let supply = Supply { on_battery: battery, metered };
            assert_eq!(saving(&schedule, supply), expected, "{on_battery:?} {on_metered:?} {supply:?}");
        }
    }

    #[test]
    fn each_wake_starts_a_cycle_where_it_is_written() {
        use Thrift::*;
        // Under `save`; under `save` with something urgent; under `wait`; and whether the
        // cycle under `wait` goes to the remote.
        for (wake, save, urgent, wait, remote) in [
            (Wake::Start, true, true, true, false),
            (Wake::Timer, false, false, false, false),
            (Wake::Write, false, true, false, false),
            (Wake::Network, true, true, false, false),
            (Wake::Reachable, true, true, false, false),
            (Wake::Live, false, false, false, false),
            (Wake::Foreground, true, true, false, false),
            (Wake::Supply, true, true, false, false),
            (Wake::Command, true, true, true, true),
        ] {
            assert!(starts(Sync, wake, false) && !stays_here(Sync, wake) && !stays_here(Save, wake), "{wake:?}");
            let got = (starts(Save, wake, false), starts(Save, wake, true), starts(Wait, wake, true));
            assert_eq!(got, (save, urgent, wait), "{wake:?}");
            assert_eq!(!stays_here(Wait, wake), remote, "{wake:?}");
        }
    }

    #[test]
    fn a_person_is_told_what_is_saved_and_what_goes_on() {
        let told = reason(Saving::Network(Thrift::Wait)).unwrap();
        assert_eq!(told.text, "the network is metered: nothing goes out or comes in (`on_metered = \"wait\"`)");
        let told = reason(Saving::Battery(Thrift::Save)).unwrap();
        assert_eq!(told.text, "on battery: only what is urgent starts a sync (`on_battery = \"save\"`)");
        assert_eq!(told.next, "`homing sync` runs one now; it goes on by itself when it is plugged in");
        assert_eq!(reason(Saving::Nothing), None);
    }
}
