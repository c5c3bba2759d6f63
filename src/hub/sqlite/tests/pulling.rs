//! Snapshots, the log, and cursors.

use super::*;

const NOTES: &str = "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)";

fn filled(rig: &mut Rig, count: i64) -> Device {
    let mut ada = rig.device("a");
    for id in 1..=count {
        ada.put("notes", "id", id, 0, &[("id", v(id)), ("body", v("b"))]);
    }
    ada.push(rig);
    ada
}

#[test]
fn a_snapshot_can_be_taken_up_anywhere_and_covers_every_stretch() {
    let mut rig = Rig::new(
        "CREATE TABLE children(id INTEGER PRIMARY KEY, up REFERENCES parents(id)); CREATE TABLE parents(id INTEGER PRIMARY KEY);
         CREATE TABLE empty(id PRIMARY KEY)",
    );
    let mut ada = rig.device("a");
    for id in 1..=3 {
        ada.put("children", "id", id, 0, &[("id", v(id)), ("up", v(id))]);
    }
    for id in 1..=3 {
        ada.put("parents", "id", id, 0, &[("id", v(id))]);
    }
    ada.push(&mut rig);
    let (mut cursor, mut seen, mut covers) = (None, Vec::new(), Vec::new());
    loop {
        let page = rig.page("b", cursor.as_deref(), 2, 1 << 20).unwrap();
        assert!(rows(&page).len() <= 2);
        seen.extend(rows(&page));
        covers.extend(page.covers.clone());
        cursor = Some(page.cursor);
        if !page.more {
            break;
        }
    }
    assert_eq!(
        seen,
        ["parents [1]", "parents [2]", "parents [3]", "children [1,1]", "children [2,2]", "children [3,3]"]
    );
    // Each table from its start to its end without a gap, the empty one too.
    for table in ["parents", "children", "empty"] {
        let spans: Vec<_> = covers.iter().filter(|span| span.table == table).collect();
        assert_eq!(spans.first().unwrap().from, None, "{table}");
        assert_eq!(spans.last().unwrap().to, None, "{table}");
        assert!(spans.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].to.is_some()), "{table}");
    }
    assert_eq!(cursor.unwrap(), "l.epoch-1.6");
}

#[test]
fn rows_changed_behind_a_snapshots_back_come_with_the_log_after_it() {
    let mut rig = Rig::new(NOTES);
    let mut ada = filled(&mut rig, 4);
    let first = rig.page("b", None, 2, 1 << 20).unwrap();
    assert_eq!(first.rows_left, Some(2));
    ada.put("notes", "id", 1, 1, &[("body", v("new"))]).delete("notes", "id", 2, 2).delete("notes", "id", 4, 4);
    ada.push(&mut rig);
    let second = rig.page("b", Some(&first.cursor), 10, 1 << 20).unwrap();
    assert_eq!(rows(&second), ["notes [3,\"b\"]"]);
    assert!(second.more);
    let third = rig.page("b", Some(&second.cursor), 10, 1 << 20).unwrap();
    assert_eq!(rows(&third), ["notes [1,\"new\"]", "-notes [2]", "-notes [4]"]);
    assert!(!third.more && third.covers.is_empty());
}

#[test]
fn a_table_made_during_a_snapshot_moves_nothing() {
    let mut rig = Rig::new("CREATE TABLE b(id PRIMARY KEY); CREATE TABLE c(id PRIMARY KEY)");
    rig.sql("INSERT INTO b VALUES (1), (2); INSERT INTO c VALUES (1)");
    let first = rig.page("x", None, 1, 1 << 20).unwrap();
    assert_eq!(rows(&first), ["b [1]"]);
    rig.sql("CREATE TABLE a(id PRIMARY KEY, up REFERENCES c(id)); INSERT INTO a VALUES (1, NULL)");
    let second = rig.page("x", Some(&first.cursor), 10, 1 << 20).unwrap();
    assert_eq!(rows(&second), ["b [2]", "c [1]"]);
    let third = rig.page("x", Some(&second.cursor), 10, 1 << 20).unwrap();
    assert_eq!(rows(&third), ["a [1,null]"]);
}

#[test]
fn trap_7_ones_own_push_does_not_come_back_and_the_cursor_passes_it() {
    let mut rig = Rig::new(NOTES);
    filled(&mut rig, 3);
    let mine = rig.pull("a", Some("l.epoch-1.0"));
    assert_eq!(rows(&mine), [""; 0]);
    assert_eq!((mine.cursor.as_str(), mine.more), ("l.epoch-1.3", false));
    let theirs = rig.pull("b", Some("l.epoch-1.0"));
    assert_eq!(rows(&theirs).len(), 3);
    // A new incarnation of the same device gets its own rows again.
    assert_eq!(rows(&rig.pull("a2", Some("l.epoch-1.0"))).len(), 3);
    // From nothing, everything comes.
    assert_eq!(rows(&rig.pull("a", None)).len(), 3);
}

#[test]
fn a_row_a_page_at_least_however_small_the_bounds() {
    let mut rig = Rig::new(NOTES);
    filled(&mut rig, 3);
    let page = rig.page("b", Some("l.epoch-1.0"), 0, 0).unwrap();
    assert_eq!(rows(&page), ["notes [1,\"b\"]"]);
    assert!(page.more);
    let page = rig.page("b", None, 0, 0).unwrap();
    assert_eq!(rows(&page), ["notes [1,\"b\"]"]);
}

/// Trap 4: a page that ends among rows of one push goes on at the next of them.
#[test]
fn trap_4_pages_of_one_push_neither_repeat_nor_skip() {
    let mut rig = Rig::new(NOTES);
    filled(&mut rig, 5);
    let (mut cursor, mut seen) = ("l.epoch-1.0".to_owned(), Vec::new());
    loop {
        let page = rig.page("b", Some(&cursor), 2, 1 << 20).unwrap();
        seen.extend(rows(&page));
        cursor = page.cursor;
        if !page.more {
            break;
        }
    }
    let all: Vec<String> = (1..=5).map(|id| format!("notes [{id},\"b\"]")).collect();
    assert_eq!(seen, all);
}

/// Traps 1 and 2: revisions are given out under the write lock, and head and rows are
/// read together. A reader beside a writer that is not done sees neither.
#[test]
fn traps_1_and_2_no_reader_passes_a_revision_that_commits_later() {
    let mut rig = Rig::new(NOTES);
    filled(&mut rig, 2);
    let other = Connection::open(&rig.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO notes VALUES (9, 'not yet')").unwrap();
    let page = rig.pull("b", Some("l.epoch-1.0"));
    assert_eq!((page.cursor.as_str(), rows(&page).len()), ("l.epoch-1.2", 2));
    other.execute_batch("COMMIT").unwrap();
    let page = rig.pull("b", Some(&page.cursor));
    assert_eq!(rows(&page), ["notes [9,\"not yet\"]"]);
    assert_eq!(page.cursor, "l.epoch-1.3");
}

#[test]
fn trap_12_a_cursor_older_than_the_tombstones_is_over_and_a_snapshot_brings_it_back() {
    let mut rig = Rig::new(NOTES);
    let mut ada = filled(&mut rig, 3);
    ada.delete("notes", "id", 2, 2);
    ada.push(&mut rig);
    let kept = "l.epoch-1.4";
    rig.now += 29 * 86_400_000;
    rig.scope.prune(rig.now).unwrap();
    assert_eq!(rows(&rig.pull("b", Some("l.epoch-1.3"))), ["-notes [2]"]);
    rig.now += 2 * 86_400_000;
    rig.scope.prune(rig.now).unwrap();
    assert_eq!(code(rig.page("b", Some("l.epoch-1.3"), 10, 1000)), "cursor_over");
    assert_eq!(rows(&rig.pull("b", Some(kept))), [""; 0]);
    assert_eq!(rows(&rig.pull("b", None)), ["notes [1,\"b\"]", "notes [3,\"b\"]"]);
}

#[test]
fn a_cursor_of_another_epoch_or_scope_or_of_nobody_is_never_answered_with_rows() {
    let mut rig = Rig::new(NOTES);
    filled(&mut rig, 2);
    for (cursor, expected) in [
        ("l.epoch-2.1", "epoch_over"),
        ("l.epoch-1.99", "epoch_over"),
        ("s.epoch-2.1.0.1.00", "epoch_over"),
        ("rubbish", "cursor_over"),
        ("l.epoch-1.-5", "cursor_over"),
        ("l.epoch-1.99999999999999999999", "cursor_over"),
    ] {
        assert_eq!(code(rig.page("b", Some(cursor), 10, 1000)), expected, "{cursor}");
    }
}

#[test]
fn a_digest_is_the_same_whole_or_row_by_row() {
    use crate::protocol::DigestRequest;
    let mut rig = Rig::new(NOTES);
    filled(&mut rig, 5);
    let ask = |after: Option<String>, rows_max: usize| DigestRequest {
        protocol: VERSION,
        table: "NOTES".into(),
        columns: vec!["body".into(), "id".into()],
        after,
        rows_max,
    };
    let whole = rig.scope.digest(&ask(None, 0), NOW).unwrap();
    assert_eq!(whole.rows, 5);
    let (mut after, mut all, mut count) = (String::new(), 0u64, 0);
    loop {
        let page = rig.scope.digest(&ask(Some(after.clone()), 2), NOW).unwrap();
        for (key, hash) in &page.entries {
            all ^= u64::from_str_radix(hash, 16).unwrap();
            after.clone_from(key);
            count += 1;
        }
        if !page.more {
            break;
        }
    }
    assert_eq!((format!("{all:016x}"), count), (whole.digest, 5));
    let expected = crate::sqlite::digest::row(&[v("b").0, v(1).0]);
    let first = rig.scope.digest(&ask(Some(String::new()), 1), NOW).unwrap();
    assert_eq!(first.entries[0].1, format!("{expected:016x}"));
}

#[test]
fn the_status_names_devices_and_when_each_was_last_here() {
    let mut rig = Rig::new(NOTES);
    filled(&mut rig, 1);
    rig.hello("bob", "b", NOTES);
    rig.now += 16 * 60_000;
    rig.pull("a", None);
    let status = rig.scope.status(&[], rig.now).unwrap();
    let line =
        |device: &crate::protocol::DeviceStatus| format!("{} {} {}", device.account, device.device, device.active);
    let mut lines: Vec<String> = status.devices.iter().map(line).collect();
    lines.sort();
    assert_eq!(lines, ["ada a's laptop true", "ada setup's laptop false", "bob b's laptop false"]);
    let status = rig.scope.status(&["b".into()], rig.now).unwrap();
    assert!(status.devices.iter().any(|device| device.account == "bob" && device.active));
}
