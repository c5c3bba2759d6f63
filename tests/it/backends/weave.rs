//! `watermelon-sync-plan.md`, with the config of `examples/weave`.

use serde_json::json;

use super::super::rig::{Backend, Device, eventually, has, token};
use super::{Fields, all_equal};

const FIELDS: &Fields = &[
    ("friends", &["name", "tier", "weave_score", "updated_at"]),
    ("interactions", &["activity", "note"]),
    ("interaction_friends", &["interaction_id", "friend_id"]),
    ("life_events", &["friend_id", "kind"]),
    ("user_progress", &["streak"]),
    ("journal_entries", &["title", "content"]),
];

struct Stage {
    backend: Backend,
    a: Device,
    b: Device,
}

impl Stage {
    fn new() -> Stage {
        let backend = Backend::start("weave", &[]);
        let url = format!("{}/functions/v1", backend.url());
        let device = |name: &str| Device::preset(name, "weave", &url, &token("ada"));
        let (mut a, mut b) = (device("a"), device("b"));
        a.start();
        b.start();
        Stage { a, b, backend }
    }

    #[track_caller]
    fn settle(&self) {
        for device in [&self.a, &self.b, &self.a, &self.b] {
            device.sync();
        }
        all_equal(&self.backend, &[&self.a, &self.b], FIELDS);
    }
}

/// The three device tests of the document.
#[test]
fn a_friend_made_edited_and_deleted_on_one_device_is_so_on_the_other() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql(
        "BEGIN;
         INSERT INTO friends(id, name, weave_score, is_dormant) VALUES ('f1', 'Bo', 5, 0), ('f2', 'Cy', 1.5, 1);
         INSERT INTO interactions(id, activity) VALUES ('x1', 'walk');
         INSERT INTO interaction_friends(id, interaction_id, friend_id) VALUES ('j1', 'x1', 'f1');
         COMMIT",
    );
    stage.settle();
    assert_eq!(stage.backend.state()["tables"]["friends"]["f2"]["is_dormant"], true);
    assert_eq!(stage.b.sql("SELECT name, weave_score, is_dormant FROM friends ORDER BY id"), "Bo|5.0|0\nCy|1.5|1");
    stage.b.sql("UPDATE friends SET name = 'Bea' WHERE id = 'f1'");
    stage.settle();
    assert_eq!(stage.a.sql("SELECT name FROM friends WHERE id = 'f1'"), "Bea");
    stage.a.sql("DELETE FROM interaction_friends; DELETE FROM friends WHERE id = 'f1'");
    stage.settle();
    assert_eq!(stage.b.sql("SELECT group_concat(id) FROM friends"), "f2");
    // One request for all tables.
    let first = &stage.backend.requests()[..];
    let push = first.iter().find(|request| request[1] == "/functions/v1/sync-push").unwrap();
    assert_eq!(push[2]["changes"].as_object().unwrap().len(), 3);
}

/// W5: the answer to the first try is lost, so that the second meets its own rows as newer.
#[test]
fn a_push_that_meets_newer_rows_pulls_resolves_and_goes_again() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql("INSERT INTO friends(id, name, updated_at) VALUES ('f1', 'one', 1), ('f2', 'one', 1)");
    stage.settle();
    stage.backend.fault("/sync-push", "after");
    stage.a.sql("UPDATE friends SET name = 'two', updated_at = 2");
    eventually("the first try arrives", || stage.backend.state()["tables"]["friends"]["f1"]["name"] == "two");
    stage.a.sql("UPDATE friends SET name = 'three', updated_at = 3 WHERE id = 'f1'");
    stage.settle();
    assert_eq!(stage.b.sql("SELECT name FROM friends ORDER BY id"), "three\ntwo");
    assert_eq!(stage.a.json(&["conflicts", "list"])["conflicts"], json!([]), "its own push is nobody else's");

    // Another device is quicker: the backend refuses, and the later edit stands.
    stage.backend.call("put", json!(["friends", {"id": "f1", "name": "theirs", "user_id": "ada", "updated_at": 1}]));
    stage.a.sql("UPDATE friends SET tier = 'inner', updated_at = 5 WHERE id = 'f1'");
    stage.settle();
    assert_eq!(stage.b.sql("SELECT name, tier FROM friends WHERE id = 'f1'"), "three|inner");
    let conflicts = stage.a.json(&["conflicts", "list"])["conflicts"].clone();
    assert_eq!(conflicts[0]["remote"]["name"], "theirs", "{conflicts}");
}

#[test]
fn a_row_that_commits_late_is_not_missed() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.settle();
    let row =
        json!({"id": "late", "name": "Late", "user_id": "ada", "tier": null, "weave_score": null, "updated_at": null});
    stage.backend.call("begin_late", json!(["friends", row]));
    stage.a.sync();
    stage.backend.call("commit_late", json!([]));
    stage.settle();
    assert_eq!(stage.a.sql("SELECT name FROM friends"), "Late");
}

/// W3: away for longer than tombstones are kept.
#[test]
fn a_device_that_was_away_too_long_becomes_a_true_copy_and_keeps_its_own_edits() {
    if !has("python3") {
        return;
    }
    let mut stage = Stage::new();
    stage.a.sql("INSERT INTO friends(id, name) VALUES ('f1', 'one'), ('f2', 'two'), ('f3', 'three')");
    stage.settle();
    stage.b.kill();
    stage
        .b
        .sql("UPDATE friends SET name = 'edited' WHERE id = 'f2'; INSERT INTO friends(id, name) VALUES ('f4', 'new')");
    stage.a.sql("DELETE FROM friends WHERE id = 'f1'");
    stage.a.sync();
    stage.backend.call("purge_tombstones", json!([]));
    stage.b.set("REPLICA__WEAVE__REMOTE__TOMBSTONES_KEPT", "1s");
    eventually("a second has gone by", || {
        stage.b.sql("SELECT unixepoch('now') * 1000 > (SELECT json_extract(value, '$.since') FROM _homing_meta WHERE name = 'cursor') + 1000") == "1"
    });
    stage.b.start();
    stage.settle();
    assert_eq!(stage.a.sql("SELECT id, name FROM friends ORDER BY id"), "f2|edited\nf3|three\nf4|new");
}

/// W1: after an upgrade of the app, what it could not hold before is brought whole.
#[test]
fn a_new_column_and_a_new_table_bring_what_was_written_before_they_were_there() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.b.sql("DROP TABLE journal_entries");
    stage.a.sql(
        "ALTER TABLE friends ADD COLUMN nickname TEXT; INSERT INTO friends(id, name, nickname) VALUES ('f1', 'Boris', 'Bo');
         INSERT INTO journal_entries(id, title) VALUES ('j1', 'before')",
    );
    for device in [&stage.a, &stage.b, &stage.a, &stage.b] {
        device.sync();
    }
    assert_eq!(stage.b.sql("SELECT name FROM friends"), "Boris", "the older app goes on");
    stage.b.sql(
        "ALTER TABLE friends ADD COLUMN nickname TEXT;
         CREATE TABLE journal_entries(id TEXT PRIMARY KEY, title TEXT, content TEXT, created_at INTEGER, updated_at INTEGER)",
    );
    stage.settle();
    assert_eq!(stage.b.sql("SELECT nickname FROM friends"), "Bo");
    assert_eq!(stage.b.sql("SELECT title FROM journal_entries"), "before");
    assert_eq!(stage.a.json(&["conflicts", "list"])["conflicts"], json!([]));
}

#[test]
fn a_row_that_breaks_a_rule_of_the_app_waits_and_every_other_edit_goes_on() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql("INSERT INTO friends(id, name) VALUES ('f1', 'one'), ('f2', 'two')");
    stage.settle();
    stage.backend.call("put", json!(["friends", {"id": "f1", "name": null, "user_id": "ada", "updated_at": 9}]));
    let told = stage.a.homing(&["sync", "--wait"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert_eq!(stage.a.sql("SELECT name FROM friends WHERE id = 'f1'"), "one");
    let tier = |id: &str| stage.backend.state()["tables"]["friends"][id]["tier"].clone();
    for round in ["inner", "close", "far"] {
        stage.a.sql(&format!("UPDATE friends SET tier = '{round}' WHERE id = 'f2'"));
        let told = stage.a.homing(&["sync", "--wait"]);
        assert_eq!(told.code, 3, "{told:?}");
        assert_eq!(tier("f2"), round, "it is there when `sync --wait` has come back");
    }
}
