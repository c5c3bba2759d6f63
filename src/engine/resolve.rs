//! What a conflict comes to: one remote version of a row meets an unacknowledged local one.
//!
//! Pure and symmetric where it must be: with `latest_timestamp` and `field_level` two
//! devices that see the same two versions choose the same one, so that everyone ends
//! up equal. Says for each verdict whether a version loses; such a version goes into
//! the ledger before anything is overwritten. Never invents a value: every value of a
//! verdict stood in one of the two versions.
//!
//! `docs/conflicts.md` has the matrix of all pairs; a test holds it to this code.

use std::cmp::Ordering;

pub use crate::model::conflict::{Meeting, Resolution, Verdict};
use crate::model::{ConflictKind, Row, Settler, Strategy, Value};

pub fn resolve(strategy: Strategy, meeting: &Meeting) -> Resolution {
    let settle = |verdict, record, note: String| Resolution {
        kind: kind(meeting),
        verdict,
        record,
        settled_by: Some(Settler::Rule),
        note,
    };
    if meeting.local == meeting.remote {
        return settle(Verdict::TakeRemote, false, "Both sides are equal.".into());
    }
    if meeting.base_known && meeting.local == meeting.base {
        return settle(Verdict::TakeRemote, false, "Only the remote changed the row.".into());
    }
    if meeting.base_known && meeting.remote == meeting.base {
        return settle(Verdict::KeepLocal, false, "Only this device changed the row.".into());
    }
    match strategy {
        Strategy::ServerWins => settle(Verdict::TakeRemote, true, "server_wins: the remote's version stands.".into()),
        Strategy::ClientWins => settle(Verdict::KeepLocal, true, "client_wins: this device's version stands.".into()),
        Strategy::LatestTimestamp => {
            let (side, note) = later(meeting);
            settle(side, true, format!("latest_timestamp: {note}."))
        }
        Strategy::FieldLevel | Strategy::Merge => match (meeting.base, meeting.local, meeting.remote) {
            (Some(base), Some(local), Some(remote)) if meeting.base_known => {
                let Merged { verdict, lost, note } = merge(meeting, base, local, remote);
                settle(verdict, lost, format!("{}: {note}.", strategy.word()))
            }
            _ => {
                let (side, note) = later(meeting);
                settle(side, true, format!("{}: there is no common row to compare with; {note}.", strategy.word()))
            }
        },
        Strategy::Manual | Strategy::NeedsReview => Resolution {
            settled_by: None,
            ..settle(
                Verdict::TakeRemote,
                true,
                format!(
                    "{}: the remote's version stands here until a person decides; this device's is kept.",
                    strategy.word()
                ),
            )
        },
    }
}

fn kind(meeting: &Meeting) -> ConflictKind {
    match (meeting.local, meeting.remote) {
        (Some(_), Some(_)) if meeting.base_known && meeting.base.is_none() => ConflictKind::InsertInsert,
        (Some(_), Some(_)) => ConflictKind::UpdateUpdate,
        (Some(_), None) => ConflictKind::UpdateDelete,
        (None, _) => ConflictKind::DeleteUpdate,
    }
}

/// The later version. Equal stamps fall to the greater device name and then to the
/// greater content, which mean nothing but are the same on every device.
fn later(meeting: &Meeting) -> (Verdict, String) {
    let by_device = || meeting.local_device.cmp(meeting.remote_device);
    let order = meeting.local_stamp.cmp(&meeting.remote_stamp);
    let tie = order == Ordering::Equal;
    let local_wins = order.then_with(by_device).then_with(|| meeting.local.cmp(&meeting.remote)).is_gt();
    let verdict = if local_wins { Verdict::KeepLocal } else { Verdict::TakeRemote };
    let whose = if local_wins { "this device's version" } else { "the remote's version" };
    let note = match tie {
        true => format!("both were written at the same time; {whose} stands by the order of device names"),
        false => format!("{whose} is the later one and stands"),
    };
    (verdict, note)
}

struct Merged {
    verdict: Verdict,
    /// A column was changed on both sides, and one of the two values is gone.
    lost: bool,
    note: String,
}

fn merge(meeting: &Meeting, base: &Row, local: &Row, remote: &Row) -> Merged {
    let (winner, which) = later(meeting);
    let local_wins = winner == Verdict::KeepLocal;
    let mut contested = Vec::new();
    let pick = |at: usize| -> Value {
        let (base, local, remote) = (&base[at], &local[at], &remote[at]);
        let both = local != remote && local != base && remote != base;
        if both {
            contested.push(meeting.columns[at].as_str());
        }
        let take_local = if both { local_wins } else { remote == base };
        if take_local { local.clone() } else { remote.clone() }
    };
    let row: Row = (0..meeting.columns.len()).map(pick).collect();
    let note = match contested.as_slice() {
        [] => "the two sides changed different columns, and both changes stand".to_owned(),
        columns => format!("both sides changed {}; there {which}", columns.join(", ")),
    };
    Merged {
        lost: !contested.is_empty(),
        note,
        verdict: match row {
            row if row == *remote => Verdict::TakeRemote,
            row if row == *local => Verdict::KeepLocal,
            row => Verdict::Merge(row),
        },
    }
}
