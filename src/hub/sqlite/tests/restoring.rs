//! A scope that is older than it was: epochs and high-water marks.

use super::*;
use crate::hub::sqlite::HighWater;

const NOTES: &str = "CREATE TABLE notes(id TEXT PRIMARY KEY)";

fn open(rig: &Rig, high_water: Option<HighWater>) -> Scope {
    let options = OpenOptions { settings: Settings::default(), epoch: "epoch-2".into(), high_water };
    Scope::open(&rig.path, options).unwrap()
}

fn mark(epoch: &str, head: i64) -> Option<HighWater> {
    Some(HighWater { epoch: epoch.into(), head: Revision(head) })
}

#[test]
fn trap_20_a_restored_hub_begins_a_new_epoch_and_cursors_of_the_old_are_over() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('x')");
    let cursor = rig.pull("a", None).cursor;
    // Reopened as it was left: the same epoch.
    assert_eq!(open(&rig, mark("epoch-1", 1)).epoch(), "epoch-1");
    assert_eq!(open(&rig, None).epoch(), "epoch-1");
    // Behind what was noted outside: restored.
    rig.scope = open(&rig, mark("epoch-1", 2));
    assert_eq!(rig.scope.epoch(), "epoch-2");
    assert_eq!(code(rig.page("a", Some(&cursor), 10, 1000)), "epoch_over");
    let mut ada = rig.device("a");
    ada.put("notes", "id", "y", 0, &[("id", v("y"))]);
    let body = ada.body("epoch-1");
    assert_eq!(code(rig.scope.push(&ada.who, &body, NOW)), "epoch_over");
    // The rows are there, and a snapshot brings them.
    assert_eq!(rows(&rig.pull("a", None)), ["notes [\"x\"]"]);
}

#[test]
fn trap_20_a_copy_begins_a_new_epoch_once() {
    let rig = Rig::new(NOTES);
    Scope::mark_as_copy(&Connection::open(&rig.path).unwrap()).unwrap();
    assert_eq!(open(&rig, None).epoch(), "epoch-2");
    let again = OpenOptions { settings: Settings::default(), epoch: "epoch-3".into(), high_water: None };
    assert_eq!(Scope::open(&rig.path, again).unwrap().epoch(), "epoch-2");
}

#[test]
fn a_push_of_which_nothing_was_answered_left_nothing() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    ada.put("notes", "id", "x", 0, &[("id", v("x"))]);
    let body = ada.body("epoch-1");
    for cut in [0, 1, body.len() / 2, body.len() - 1] {
        assert_eq!(code(rig.scope.push(&ada.who, &body[..cut], NOW)), "malformed");
    }
    assert_eq!(rig.scope.head(), Revision(0));
    assert!(rig.scope.push(&ada.who, &body, NOW).is_ok());
}

#[test]
fn a_file_of_a_newer_hub_is_refused_in_words_and_left_as_it_is() {
    let rig = Rig::new(NOTES);
    rig.sql("UPDATE _hub_meta SET value = 9 WHERE name = 'format'");
    let options = OpenOptions { settings: Settings::default(), epoch: "e".into(), high_water: None };
    let error = Scope::open(&rig.path, options).err().unwrap().to_string();
    assert!(error.contains("format 9") && error.contains("newer Homing"), "{error}");
}

#[test]
fn trap_20_a_cursor_ahead_of_the_log_shows_a_restore_that_left_no_other_sign() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('x')");
    let behind = rig.pull("b", None).cursor;
    rig.scope = open(&rig, None);
    assert_eq!(code(rig.page("a", Some("l.epoch-1.9"), 10, 1000)), "epoch_over");
    assert_eq!(rig.scope.epoch(), "epoch-2");
    // Whoever was not ahead hears of it, too: their revisions may mean other rows soon.
    assert_eq!(code(rig.page("b", Some(&behind), 10, 1000)), "epoch_over");
    assert_eq!(rows(&rig.pull("b", None)), ["notes [\"x\"]"]);
}
