//! The resolver against tables: the published matrix, and each strategy's own cases.

use super::*;
use crate::engine::Chance;
use crate::model::{Stamp, Times};

const DID: [&str; 5] = ["insert", "update", "delete", "key change", "none"];

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
        // A row under a new key is gone from its old one.
        "delete" | "key change" => None,
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
                        &Policy::default(),
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
                            local_role: "",
                            remote_role: "",
                            defaults: &row(&[0, 0, 0, 0]).unwrap(),
                            now: Stamp(0),
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
    let document = include_str!("../../../docs/conflicts.md");
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
        local_role: "",
        remote_role: "",
        defaults: &[],
        now: Stamp(0),
    }
}

#[test]
fn columns_changed_on_one_side_merge_without_a_loser() {
    let (names, base) = (columns(3), row(&[1, 2, 3]));
    let (local, remote) = (row(&[1, 20, 3]), row(&[1, 2, 30]));
    let resolution = resolve(Strategy::FieldLevel, &Policy::default(), &meet(&names, &base, &local, &remote));
    assert_eq!(resolution.verdict, Verdict::Merge(row(&[1, 20, 30]).unwrap()));
    assert!(!resolution.record);
    assert_eq!(resolution.kind, ConflictKind::UpdateUpdate);

    // The same change on both sides is nobody's loss.
    let remote = row(&[1, 20, 30]);
    let resolution = resolve(Strategy::FieldLevel, &Policy::default(), &meet(&names, &base, &local, &remote));
    assert_eq!((resolution.verdict, resolution.record), (Verdict::TakeRemote, false));
}

#[test]
fn a_column_changed_on_both_sides_falls_to_the_later_and_is_recorded() {
    let (names, base) = (columns(3), row(&[1, 2, 3]));
    let (local, remote) = (row(&[1, 20, 3]), row(&[1, 21, 30]));
    let mut meeting = meet(&names, &base, &local, &remote);
    let resolution = resolve(Strategy::FieldLevel, &Policy::default(), &meeting);
    assert_eq!(resolution.verdict, Verdict::Merge(row(&[1, 20, 30]).unwrap()));
    assert!(resolution.record);
    assert_eq!(resolution.note, "Both sides changed c1; there this device's version is the later one and stands.");
    meeting.remote_stamp = Stamp(3);
    assert_eq!(resolve(Strategy::FieldLevel, &Policy::default(), &meeting).verdict, Verdict::TakeRemote);
}

#[test]
fn equality_is_identity_of_class_and_bytes() {
    let names = columns(1);
    let base = Some(vec![Value::Text("abc".into())]);
    let local = Some(vec![Value::Text("ABC".into())]);
    let resolution = resolve(Strategy::ServerWins, &Policy::default(), &meet(&names, &base, &local, &base));
    assert_eq!(resolution.verdict, Verdict::KeepLocal, "ABC is a change of abc");
    let (one, real) = (row(&[1]), Some(vec![Value::Real(1.0)]));
    assert!(
        resolve(Strategy::ServerWins, &Policy::default(), &meet(&names, &base, &one, &real)).record,
        "1 is not 1.0"
    );
}

#[test]
fn without_the_base_row_the_later_version_stands_whole() {
    let (names, none) = (columns(2), None);
    let (local, remote) = (row(&[1, 20]), row(&[10, 2]));
    let meeting = Meeting { base_known: false, ..meet(&names, &none, &local, &remote) };
    let resolution = resolve(Strategy::FieldLevel, &Policy::default(), &meeting);
    assert_eq!((resolution.verdict, resolution.record), (Verdict::KeepLocal, true));
    assert_eq!(resolution.kind, ConflictKind::UpdateUpdate);
    let meeting = Meeting { base_known: true, ..meeting };
    assert_eq!(resolve(Strategy::FieldLevel, &Policy::default(), &meeting).kind, ConflictKind::InsertInsert);
}

#[test]
fn of_equal_times_the_greater_device_wins_and_then_the_greater_row() {
    let (names, base) = (columns(1), row(&[0]));
    let (local, remote) = (row(&[2]), row(&[1]));
    let mut meeting = meet(&names, &base, &local, &remote);
    meeting.remote_stamp = meeting.local_stamp;
    assert_eq!(
        resolve(Strategy::LatestTimestamp, &Policy::default(), &meeting).verdict,
        Verdict::TakeRemote,
        "b is greater than a"
    );
    meeting.remote_device = "a";
    assert_eq!(
        resolve(Strategy::LatestTimestamp, &Policy::default(), &meeting).verdict,
        Verdict::KeepLocal,
        "2 is greater than 1"
    );
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
        let resolution = resolve(strategy, &Policy::default(), &meeting);
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
                    (Some(side), Some(stands), Some(base)) => {
                        side.iter().zip(stands).zip(base).all(|((side, stands), base)| side == stands || side == base)
                    }
                    _ => false,
                }
        };
        assert!(
            resolution.record || kept(meeting.local) && kept(meeting.remote),
            "seed {seed}: {strategy:?} {meeting:?} {resolution:?}"
        );
        assert!(resolution.record || resolution.settled_by == Some(Settler::Rule), "only a loss waits for a person");
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
                match resolve(strategy, &Policy::default(), &meeting).verdict {
                    Verdict::TakeRemote => sides[1 - local].clone(),
                    Verdict::KeepLocal => sides[local].clone(),
                    Verdict::Merge(row) => Some(row),
                }
            };
            assert_eq!(stands(0), stands(1), "seed {seed}: {strategy:?}");
        }
    }
}

/// One meeting of rows, written as JSON arrays of values; `-` is a row that is not there.
/// Answers what stands, and how: `*` a version loses, `?` it waits for a person.
fn check(strategy: Strategy, policy: &Policy, base: &str, local: &str, remote: &str, expected: &str) {
    let read =
        |text: &str| -> Option<Row> { if text == "-" { None } else { Some(serde_json::from_str(text).unwrap()) } };
    let (base, local, remote) = (read(base), read(local), read(remote));
    let width = [&base, &local, &remote].into_iter().flatten().map(Vec::len).max().unwrap();
    let names = columns(width);
    // Local is the later side, and the present is a second after both.
    let meeting = Meeting {
        local_stamp: Stamp::from_millis(2_000),
        remote_stamp: Stamp::from_millis(1_000),
        now: Stamp::from_millis(3_000),
        ..meet(&names, &base, &local, &remote)
    };
    let resolution = resolve(strategy, policy, &meeting);
    let stands = match &resolution.verdict {
        Verdict::KeepLocal => local.clone(),
        Verdict::TakeRemote => remote.clone(),
        Verdict::Merge(row) => Some(row.clone()),
    };
    let shown = stands.map_or("-".to_owned(), |row| serde_json::to_string(&row).unwrap());
    let mark = match (resolution.record, resolution.settled_by) {
        (_, None) => " ?",
        (true, _) => " *",
        (false, _) => "",
    };
    assert_eq!(format!("{shown}{mark}"), expected, "{}", resolution.note);
}

fn with(column: &str, rule: ColumnRule) -> Policy {
    Policy { columns: [(column.to_owned(), rule)].into(), ..Policy::default() }
}

#[test]
fn a_counter_adds_what_both_sides_added() {
    let policy = with("c1", ColumnRule::Counter);
    let check = |base, local, remote, expected| check(Strategy::FieldLevel, &policy, base, local, remote, expected);
    check("[1, 10]", "[1, 12]", "[1, 15]", "[1,17]");
    check("[1, 10]", "[1, 8]", "[1, 15]", "[1,13]");
    check("[1, null]", "[1, 2]", "[1, 3]", "[1,5]");
    check("[1, 1.5]", "[1, 2.5]", "[1, 4]", "[1,5.0]");
    // Both added the same: each of them counts, though the values are equal.
    check("[1, 10]", "[1, 12]", "[1, 12]", "[1,14]");
    check("[1, 10]", "[1, \"many\"]", "[1, 15]", "[1,15] ?");
    check("[1, 0]", "[1, 9223372036854775807]", "[1, 1]", "[1,1] ?");
}

#[test]
fn a_set_has_what_either_added_and_lacks_what_either_took_out() {
    let policy = with("c0", ColumnRule::Set);
    let check = |base, local, remote, expected| check(Strategy::FieldLevel, &policy, base, local, remote, expected);
    check(r#"["[1,2,3]"]"#, r#"["[2,3,5]"]"#, r#"["[1,2,3,4]"]"#, r#"["[2,3,4,5]"]"#);
    check(r#"["[]"]"#, r#"["[\"b\"]"]"#, r#"["[\"a\"]"]"#, r#"["[\"a\",\"b\"]"]"#);
    check(r#"[null]"#, r#"["[\"b\"]"]"#, r#"["[ \"b\" ]"]"#, r#"["[\"b\"]"]"#);
    check(r#"["[1]"]"#, r#"["[1, {\"a\": 1}]"]"#, r#"["[1,{\"a\":1}, 2]"]"#, r#"["[1,{\"a\":1}, 2]"]"#);
    // Every digit is kept, and 1 is not 1.0.
    check(r#"["[]"]"#, r#"["[12345678901234567890123]"]"#, r#"["[1.0, 1]"]"#, r#"["[1,1.0,12345678901234567890123]"]"#);
    check(r#"["[]"]"#, r#"["{}"]"#, r#"["[1]"]"#, r#"["[1]"] ?"#);
    check(r#"["[]"]"#, r#"["[1"]"#, r#"["[2]"]"#, r#"["[2]"] ?"#);
}

#[test]
fn an_object_merges_by_key_and_the_later_side_has_what_both_changed() {
    let policy = with("c0", ColumnRule::Object);
    let check = |base: &str, local: &str, remote: &str, expected: &str| {
        let cell = |json: &str| serde_json::to_string(&[json]).unwrap();
        let (stands, mark) = expected.split_once(' ').unwrap_or((expected, ""));
        let expected = format!("{} {mark}", cell(stands));
        check(Strategy::FieldLevel, &policy, &cell(base), &cell(local), &cell(remote), expected.trim_end());
    };
    check(r#"{"a":1,"b":2}"#, r#"{"a":9,"b":2}"#, r#"{"a":1,"b":3,"c":4}"#, r#"{"a":9,"b":3,"c":4}"#);
    check(r#"{"a":1,"b":2}"#, r#"{"b":2,"n":0}"#, r#"{"a":1}"#, r#"{"n":0}"#);
    check(r#"{"a":{"x":1,"y":1}}"#, r#"{"a":{"x":2,"y":1}}"#, r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"x":2,"y":2}}"#);
    check(r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3,"b":1}"#, r#"{"a":2,"b":1} *"#);
    check(r#"{"a":1}"#, r#"{}"#, r#"{"a":3,"b":1}"#, r#"{"b":1} *"#);
}

#[test]
fn a_text_that_grows_has_both_ends_the_earlier_first() {
    let policy = with("c0", ColumnRule::Append);
    let check = |base, local, remote, expected| check(Strategy::FieldLevel, &policy, base, local, remote, expected);
    check(r#"["log:"]"#, r#"["log: b"]"#, r#"["log: a"]"#, r#"["log: a b"]"#);
    check(r#"["log:"]"#, r#"["lag: b"]"#, r#"["log: a"]"#, r#"["log: a"] ?"#);
}

#[test]
fn merge_unites_json_by_itself_and_never_adds_numbers_unasked() {
    let plain = Policy::default();
    let check = |base, local, remote, expected| check(Strategy::Merge, &plain, base, local, remote, expected);
    check(r#"["[1]", 5]"#, r#"["[1,2]", 5]"#, r#"["[1,3]", 6]"#, r#"["[1,2,3]",6]"#);
    check(r#"["{}", 5]"#, r#"["{\"a\":1}", 5]"#, r#"["{\"b\":1}", 5]"#, r#"["{\"a\":1,\"b\":1}",5]"#);
    check("[5]", "[7]", "[6]", "[7] *");
    // Made on both sides, each from nothing.
    check("-", r#"["[1]", 5]"#, r#"["[2]", null]"#, r#"["[1,2]",5]"#);
}

#[test]
fn a_columns_rule_decides_where_both_changed_it_and_nowhere_else() {
    let server = with("c0", ColumnRule::Side(SideRule::ServerWins));
    check(Strategy::FieldLevel, &server, "[1, 1]", "[2, 2]", "[3, 1]", "[3,2] *");
    check(Strategy::FieldLevel, &server, "[1, 1]", "[2, 1]", "[1, 3]", "[2,3]");
    let client = with("C0", ColumnRule::Side(SideRule::ClientWins));
    check(Strategy::FieldLevel, &client, "[1, 1]", "[2, 1]", "[3, 3]", "[2,3] *");
    let person = with("c0", ColumnRule::Side(SideRule::Manual));
    check(Strategy::FieldLevel, &person, "[1, 1]", "[2, 2]", "[3, 1]", "[3,2] ?");
    let contested = Policy { contested: SideRule::Manual, ..Policy::default() };
    check(Strategy::FieldLevel, &contested, "[1, 1]", "[2, 2]", "[3, 1]", "[3,2] ?");
    let sure = Policy { in_doubt: SideRule::LatestTimestamp, ..with("c0", ColumnRule::Counter) };
    check(Strategy::FieldLevel, &sure, "[1]", r#"["x"]"#, "[3]", r#"["x"] *"#);
}

#[test]
fn a_singleton_is_settled_by_column_from_the_first() {
    let policy = Policy { singleton: true, ..Policy::default() };
    check(Strategy::FieldLevel, &policy, "-", r#"[1, "dark", null]"#, r#"[1, null, "de"]"#, r#"[1,"dark","de"]"#);
    check(Strategy::FieldLevel, &policy, "-", r#"[1, "dark"]"#, r#"[1, "light"]"#, r#"[1,"dark"] *"#);
    check(Strategy::FieldLevel, &Policy::default(), "-", "[1, 2, null]", "[1, null, 3]", "[1,2,null] *");
}

#[test]
fn a_deletion_that_meets_a_change_follows_its_own_rule() {
    for (rule, expected) in [
        (DeleteRule::EditWins, "[2] *"),
        (DeleteRule::DeleteWins, "- *"),
        (DeleteRule::Side(SideRule::ServerWins), "- *"),
        (DeleteRule::Side(SideRule::ClientWins), "[2] *"),
        (DeleteRule::Side(SideRule::Manual), "- ?"),
    ] {
        let policy = Policy { deletes: Some(rule), ..Policy::default() };
        check(Strategy::ServerWins, &policy, "[1]", "[2]", "-", expected);
    }
    let stays = Policy { deletes: Some(DeleteRule::EditWins), ..Policy::default() };
    check(Strategy::Merge, &stays, "[1]", "-", "[2]", "[2] *");
    check(Strategy::ServerWins, &stays, "[1]", "[2]", "[3]", "[3] *");
}

#[test]
fn a_soft_deletion_is_a_deletion() {
    let deleted = |value: Option<&str>| SoftDelete { column: "c1".into(), value: value.map(str::to_owned) };
    let policy = Policy { deleted: Some(deleted(None)), deletes: Some(DeleteRule::EditWins), ..Policy::default() };
    let check = |policy: &Policy, local, remote, expected| {
        check(Strategy::FieldLevel, policy, r#"["a", null]"#, local, remote, expected);
    };
    // Not the text of one side in the grave of the other.
    check(&policy, r#"["b", null]"#, r#"["a", "2026-01-01"]"#, r#"["b",null] *"#);
    check(&policy, r#"["a", 1]"#, r#"["b", null]"#, r#"["b",null] *"#);
    check(&policy, r#"["b", 0]"#, r#"["c", ""]"#, r#"["b",0] *"#);
    let policy = Policy { deleted: Some(deleted(Some("gone"))), ..policy };
    check(&policy, r#"["b", "here"]"#, r#"["a", "gone"]"#, r#"["b","here"] *"#);
    check(&policy, r#"["b", null]"#, r#"["a", "here"]"#, r#"["b","here"]"#);
}

#[test]
fn a_role_stands_over_those_below_it_before_the_rule_is_asked() {
    let (names, base) = (columns(3), row(&[0, 0, 0]));
    let (local, remote) = (row(&[1, 1, 0]), row(&[2, 0, 2]));
    let ours = row(&[1, 1, 2]).unwrap();
    let theirs = row(&[2, 1, 2]).unwrap();
    let roles = ["owner", "manager"].map(str::to_owned).to_vec();
    for (strategy, roles_of, expected) in [
        (Strategy::ServerWins, ["manager", "worker"], Verdict::KeepLocal),
        (Strategy::ServerWins, ["manager", "owner"], Verdict::TakeRemote),
        (Strategy::ClientWins, ["worker", "manager"], Verdict::TakeRemote),
        (Strategy::LatestTimestamp, ["", "manager"], Verdict::TakeRemote),
        (Strategy::Manual, ["owner", "manager"], Verdict::KeepLocal),
        // Columns of one side merge whatever the roles.
        (Strategy::FieldLevel, ["manager", "worker"], Verdict::Merge(ours)),
        (Strategy::Merge, ["worker", "owner"], Verdict::Merge(theirs)),
        // Of equals, and of two that nobody listed, the rule decides.
        (Strategy::ServerWins, ["manager", "manager"], Verdict::TakeRemote),
        (Strategy::LatestTimestamp, ["worker", "guest"], Verdict::KeepLocal),
    ] {
        let policy = Policy { roles: roles.clone(), ..Policy::default() };
        let [local_role, remote_role] = roles_of;
        let meeting = Meeting { local_role, remote_role, ..meet(&names, &base, &local, &remote) };
        let found = resolve(strategy, &policy, &meeting);
        assert_eq!(found.verdict, expected, "{strategy:?} {roles_of:?}");
        assert!(found.record && found.settled_by.is_some(), "{strategy:?} {roles_of:?}");
        // A deletion is a version like any other.
        let meeting = Meeting { local: None, local_role, remote_role, ..meet(&names, &base, &local, &remote) };
        let stands = resolve(strategy, &policy, &meeting).verdict == Verdict::KeepLocal;
        let (above, below) = (policy.rank(local_role), policy.rank(remote_role));
        assert!(above == below || stands == (above < below), "{strategy:?} {roles_of:?}");
    }
}

#[test]
fn the_later_version_is_told_by_the_apps_own_columns_where_it_can_be() {
    let times = Times { revision: Some("c1".into()), milliseconds: Some("c2".into()), iso: Some("c3".into()) };
    let policy = Policy { times, ..Policy::default() };
    let check = |local: &str, remote: &str, local_stands: bool| {
        let stands = if local_stands { local } else { remote };
        check(Strategy::LatestTimestamp, &policy, "[0, 0, 0, 0]", local, remote, &format!("{stands} *"));
    };
    // By the hybrid clock local is the later one.
    check(r#"[1,7,1000,"1970-01-01"]"#, r#"[2,8,1,"1970-01-01"]"#, false);
    check(r#"[1,7,1000,"1970-01-01"]"#, r#"[2,7,2000,"1970-01-01"]"#, false);
    check(r#"[1,7,1000,"1970-01-01T00:00:01Z"]"#, r#"[2,null,1000,"1970-01-01T00:00:02Z"]"#, false);
    check(r#"[1,null,null,null]"#, r#"[2,9,9,"1970-01-01"]"#, true);
    // A time from the future is not believed, in whatever column.
    check(r#"[1,7,1000,null]"#, r#"[2,7,99000000,null]"#, true);
    check(r#"[1,7,1,"1970-01-01"]"#, r#"[2,7,1,"2970-01-01"]"#, true);
}
