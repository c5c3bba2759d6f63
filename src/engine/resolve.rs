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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Chance;
    use crate::model::Stamp;

    const DID: [&str; 4] = ["insert", "update", "delete", "none"];

    fn row(numbers: &[i64]) -> Option<Row> {
        Some(numbers.iter().map(|number| Value::Integer(*number)).collect())
    }

    fn columns(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("c{at}")).collect()
    }

    /// The version of a side that did this to the row. Updates touch a column of their
    /// own and one that both touch.
    fn version(did: &str, base: &Option<Row>, own: i64) -> Option<Row> {
        match did {
            "delete" => None,
            "none" => base.clone(),
            _ if own == 1 => row(&[0, 1, 0, 1]),
            _ => row(&[0, 0, 2, 2]),
        }
    }

    /// The matrix of `docs/conflicts.md`, as the code has it.
    fn matrix() -> String {
        let mut out = String::from("| here | there | kind |");
        Strategy::ALL.iter().for_each(|strategy| out += &format!(" {} |", strategy.word()));
        out += "\n|---|---|---|---|---|---|---|---|---|---|\n";
        for here in DID {
            for there in DID {
                // Whoever updates or deletes a row had it; whoever inserts it had not.
                let had = if here == "none" { there != "insert" } else { here != "insert" };
                let base = if had { row(&[0, 0, 0, 0]) } else { None };
                let (local, remote) = (version(here, &base, 1), version(there, &base, 2));
                let cell = |strategy| {
                    let outcome = |local_stamp, remote_stamp| {
                        resolve(
                            strategy,
                            &Meeting {
                                table: "t",
                                columns: &columns(4),
                                base: base.as_ref(),
                                base_known: true,
                                local: local.as_ref(),
                                remote: remote.as_ref(),
                                local_stamp: Stamp(local_stamp),
                                remote_stamp: Stamp(remote_stamp),
                                local_device: "a",
                                remote_device: "b",
                            },
                        )
                    };
                    (outcome(2, 1), outcome(1, 2))
                };
                let kind = cell(Strategy::ServerWins).0;
                let kind = if kind.record { kind.kind.word() } else { "" };
                out += &format!("| {here} | {there} | {kind} |");
                for strategy in Strategy::ALL {
                    let (early, late) = cell(strategy);
                    assert_eq!(early.record, late.record);
                    let winner = match (&early.verdict, &late.verdict) {
                        (Verdict::KeepLocal, Verdict::KeepLocal) => "local",
                        (Verdict::TakeRemote, Verdict::TakeRemote) => "remote",
                        (Verdict::KeepLocal, Verdict::TakeRemote) => "later",
                        (Verdict::Merge(a), Verdict::Merge(b)) => {
                            assert_eq!((a, b), (&row(&[0, 1, 2, 1]).unwrap(), &row(&[0, 1, 2, 2]).unwrap()));
                            "by column"
                        }
                        other => panic!("{here} and {there} under {strategy:?}: {other:?}"),
                    };
                    let loses = match (early.record, early.settled_by) {
                        (false, _) => "",
                        (true, Some(_)) => " *",
                        (true, None) => " ?",
                    };
                    out += &format!(" {winner}{loses} |");
                }
                out += "\n";
            }
        }
        out
    }

    #[test]
    fn the_published_matrix_is_what_the_code_does() {
        let document = include_str!("../../docs/conflicts.md");
        let matrix = matrix();
        assert!(document.contains(&matrix), "docs/conflicts.md does not have this matrix:\n{matrix}");
    }

    fn meet<'a>(
        columns: &'a [String],
        base: &'a Option<Row>,
        local: &'a Option<Row>,
        remote: &'a Option<Row>,
    ) -> Meeting<'a> {
        Meeting {
            table: "t",
            columns,
            base: base.as_ref(),
            base_known: true,
            local: local.as_ref(),
            remote: remote.as_ref(),
            local_stamp: Stamp(2),
            remote_stamp: Stamp(1),
            local_device: "a",
            remote_device: "b",
        }
    }

    #[test]
    fn columns_changed_on_one_side_merge_without_a_loser() {
        let (names, base) = (columns(3), row(&[1, 2, 3]));
        let (local, remote) = (row(&[1, 20, 3]), row(&[1, 2, 30]));
        let resolution = resolve(Strategy::FieldLevel, &meet(&names, &base, &local, &remote));
        assert_eq!(resolution.verdict, Verdict::Merge(row(&[1, 20, 30]).unwrap()));
        assert!(!resolution.record);
        assert_eq!(resolution.kind, ConflictKind::UpdateUpdate);

        // The same change on both sides is nobody's loss.
        let remote = row(&[1, 20, 30]);
        let resolution = resolve(Strategy::FieldLevel, &meet(&names, &base, &local, &remote));
        assert_eq!((resolution.verdict, resolution.record), (Verdict::TakeRemote, false));
    }

    #[test]
    fn a_column_changed_on_both_sides_falls_to_the_later_and_is_recorded() {
        let (names, base) = (columns(3), row(&[1, 2, 3]));
        let (local, remote) = (row(&[1, 20, 3]), row(&[1, 21, 30]));
        let mut meeting = meet(&names, &base, &local, &remote);
        let resolution = resolve(Strategy::FieldLevel, &meeting);
        assert_eq!(resolution.verdict, Verdict::Merge(row(&[1, 20, 30]).unwrap()));
        assert!(resolution.record);
        assert_eq!(
            resolution.note,
            "field_level: both sides changed c1; there this device's version is the later one and stands."
        );
        meeting.remote_stamp = Stamp(3);
        assert_eq!(resolve(Strategy::FieldLevel, &meeting).verdict, Verdict::TakeRemote);
    }

    #[test]
    fn equality_is_identity_of_class_and_bytes() {
        let names = columns(1);
        let base = Some(vec![Value::Text("abc".into())]);
        let local = Some(vec![Value::Text("ABC".into())]);
        let resolution = resolve(Strategy::ServerWins, &meet(&names, &base, &local, &base));
        assert_eq!(resolution.verdict, Verdict::KeepLocal, "ABC is a change of abc");
        let (one, real) = (row(&[1]), Some(vec![Value::Real(1.0)]));
        assert!(resolve(Strategy::ServerWins, &meet(&names, &base, &one, &real)).record, "1 is not 1.0");
    }

    #[test]
    fn without_the_base_row_the_later_version_stands_whole() {
        let (names, none) = (columns(2), None);
        let (local, remote) = (row(&[1, 20]), row(&[10, 2]));
        let meeting = Meeting { base_known: false, ..meet(&names, &none, &local, &remote) };
        let resolution = resolve(Strategy::FieldLevel, &meeting);
        assert_eq!((resolution.verdict, resolution.record), (Verdict::KeepLocal, true));
        assert_eq!(resolution.kind, ConflictKind::UpdateUpdate);
        let meeting = Meeting { base_known: true, ..meeting };
        assert_eq!(resolve(Strategy::FieldLevel, &meeting).kind, ConflictKind::InsertInsert);
    }

    #[test]
    fn of_equal_times_the_greater_device_wins_and_then_the_greater_row() {
        let (names, base) = (columns(1), row(&[0]));
        let (local, remote) = (row(&[2]), row(&[1]));
        let mut meeting = meet(&names, &base, &local, &remote);
        meeting.remote_stamp = meeting.local_stamp;
        assert_eq!(resolve(Strategy::LatestTimestamp, &meeting).verdict, Verdict::TakeRemote, "b is greater than a");
        meeting.remote_device = "a";
        assert_eq!(resolve(Strategy::LatestTimestamp, &meeting).verdict, Verdict::KeepLocal, "2 is greater than 1");
    }

    /// One of the small rows that a column of 0 to 2 can make, or none.
    fn any_version(chance: &mut Chance, columns: usize) -> Option<Row> {
        (chance.below(5) > 0).then(|| (0..columns).map(|_| Value::Integer(chance.below(3) as i64)).collect())
    }

    #[test]
    fn nothing_that_was_written_is_lost_without_a_record() {
        for seed in 0..20_000 {
            let mut chance = Chance::new(seed);
            let names = columns(3);
            let [base, local, remote] = [(); 3].map(|()| any_version(&mut chance, 3));
            let mut meeting = meet(&names, &base, &local, &remote);
            meeting.base_known = chance.below(4) > 0;
            if !meeting.base_known {
                meeting.base = None;
            }
            meeting.remote_stamp = Stamp(1 + chance.below(3) as i64);
            meeting.remote_device = *chance.pick(&["", "a", "b"]);
            let strategy = *chance.pick(&Strategy::ALL);
            let resolution = resolve(strategy, &meeting);
            let merged;
            let stands = match &resolution.verdict {
                Verdict::TakeRemote => meeting.remote,
                Verdict::KeepLocal => meeting.local,
                Verdict::Merge(row) => {
                    merged = row.clone();
                    Some(&merged)
                }
            };
            let kept = |side: Option<&Row>| {
                side == stands
                    || meeting.base_known && side == meeting.base
                    || match (side, stands, meeting.base) {
                        (Some(side), Some(stands), Some(base)) => side
                            .iter()
                            .zip(stands)
                            .zip(base)
                            .all(|((side, stands), base)| side == stands || side == base),
                        _ => false,
                    }
            };
            assert!(
                resolution.record || kept(meeting.local) && kept(meeting.remote),
                "seed {seed}: {strategy:?} {meeting:?} {resolution:?}"
            );
            assert!(
                resolution.record || resolution.settled_by == Some(Settler::Rule),
                "only a loss waits for a person"
            );
        }
    }

    #[test]
    fn both_devices_choose_the_same_row() {
        for seed in 0..20_000 {
            let mut chance = Chance::new(seed);
            let names = columns(3);
            let [base, one, other] = [(); 3].map(|()| any_version(&mut chance, 3));
            let stamps = [Stamp(chance.below(2) as i64), Stamp(chance.below(2) as i64)];
            let devices = [*chance.pick(&["a", "b"]), *chance.pick(&["a", "b"])];
            for strategy in [Strategy::LatestTimestamp, Strategy::FieldLevel] {
                let stands = |local: usize| {
                    let sides = [&one, &other];
                    let meeting = Meeting {
                        local_stamp: stamps[local],
                        remote_stamp: stamps[1 - local],
                        local_device: devices[local],
                        remote_device: devices[1 - local],
                        ..meet(&names, &base, sides[local], sides[1 - local])
                    };
                    match resolve(strategy, &meeting).verdict {
                        Verdict::TakeRemote => sides[1 - local].clone(),
                        Verdict::KeepLocal => sides[local].clone(),
                        Verdict::Merge(row) => Some(row),
                    }
                };
                assert_eq!(stands(0), stands(1), "seed {seed}: {strategy:?}");
            }
        }
    }
}
