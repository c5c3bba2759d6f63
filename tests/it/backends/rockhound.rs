//! `rockhound-sync-engine.md`, with the config of `examples/rockhound`.

use serde_json::json;

use super::super::rig::{Backend, Device, eventually, has, token};
use super::{Fields, all_equal};

const FIELDS: &Fields = &[
    ("field_session", &["place", "notes"]),
    ("find_log", &["session_id", "latitude", "notes"]),
    ("specimen", &["find_log_id", "name", "mass_g", "notes"]),
    ("tag", &["name"]),
];

const CHAIN: &str = "BEGIN;
    INSERT INTO tag(id, name) VALUES ('t1', 'blue');
    INSERT INTO field_session(id, place) VALUES ('f1', 'quarry');
    INSERT INTO find_log(id, session_id, latitude) VALUES ('l1', 'f1', 47.5);
    INSERT INTO capture_session(id, session_id) VALUES ('c1', 'f1');
    INSERT INTO raw_capture(id, capture_session_id) VALUES ('r1', 'c1');
    INSERT INTO processed_capture(id, raw_capture_id) VALUES ('p1', 'r1');
    INSERT INTO specimen(id, find_log_id, processed_capture_id, name, mass_g) VALUES ('s1', 'l1', 'p1', 'azurite', 12.5);
    COMMIT";

fn stage() -> (Backend, Device) {
    let backend = Backend::start("rockhound", &[]);
    let mut device = Device::preset("a", "rockhound", &backend.url(), &token("ada"));
    device.start();
    device.sync();
    (backend, device)
}

#[test]
fn a_chain_goes_parents_first_under_mixed_priorities_and_only_differences_follow() {
    if !has("python3") {
        return;
    }
    let (backend, device) = stage();
    device.sql(CHAIN);
    device.sync();
    let state = backend.state();
    let order: Vec<&str> = state["order"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap()).collect();
    let place = |name: &str| order.iter().position(|one| *one == name).unwrap();
    for pair in [["field_session", "find_log"], ["raw_capture", "processed_capture"], ["processed_capture", "specimen"]]
    {
        assert!(place(pair[0]) < place(pair[1]), "{order:?}");
    }
    device.sql("UPDATE specimen SET mass_g = 13 WHERE id = 's1'; DELETE FROM tag");
    device.sync();
    let state = backend.state();
    let last = &state["order"].as_array().unwrap()[7..];
    assert!(last.contains(&json!(["specimen", "s1", "update", 2, ["id", "mass_g"]])), "{last:?}");
    assert!(last.contains(&json!(["tag", "t1", "delete", 0, []])), "{last:?}");
    all_equal(&backend, &[&device], FIELDS);
}

/// Trap 10, an operation at a time.
#[test]
fn a_replay_changes_nothing_and_a_thousand_operations_go_fifty_a_batch() {
    if !has("python3") {
        return;
    }
    let (backend, device) = stage();
    for kind in ["after", "half", "html", "before"] {
        backend.fault("/batch", kind);
    }
    device.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO tag(id, name) SELECT 't' || i, 'tag' FROM n",
    );
    eventually("all arrive", || backend.rows("tag", &[]).len() == 1000);
    device.await_status("heard of", |status| status["state"] == "in_step" && status["pending"] == 0);
    assert_eq!(backend.state()["replays"], 100, "two answers of fifty were lost");
    let batches = backend.requests().iter().filter(|request| request[1] == "/api/sync/batch").count();
    assert_eq!(batches, 22);
    all_equal(&backend, &[&device], FIELDS);
}

#[test]
fn a_conflict_by_version_merges_by_field_and_keeps_what_lost() {
    if !has("python3") {
        return;
    }
    let (backend, device) = stage();
    device.sql(CHAIN);
    device.sync();
    backend.call("put", json!(["specimen", {"id": "s1", "name": "malachite", "updated_at": 1}]));
    device.sql("UPDATE specimen SET notes = 'heavy' WHERE id = 's1'");
    device.sync();
    assert_eq!(device.sql("SELECT name, notes FROM specimen"), "malachite|heavy");
    all_equal(&backend, &[&device], FIELDS);
    assert_eq!(device.json(&["conflicts", "list"])["conflicts"], json!([]), "both changes stand");

    backend.call("put", json!(["specimen", {"id": "s1", "name": "theirs", "updated_at": 2}]));
    device.sql("UPDATE specimen SET name = 'mine' WHERE id = 's1'");
    device.sync();
    all_equal(&backend, &[&device], FIELDS);
    assert_eq!(device.sql("SELECT name FROM specimen"), "mine");
    let conflicts = device.json(&["conflicts", "list"])["conflicts"].clone();
    assert_eq!((conflicts.as_array().unwrap().len(), &conflicts[0]["remote"]["name"]), (1, &json!("theirs")));

    // Gone there without a word: the edit meets a deletion, and stands.
    backend.call("drop", json!(["specimen", "s1"]));
    device.sql("UPDATE specimen SET mass_g = 1 WHERE id = 's1'");
    eventually("it is there again", || backend.rows("specimen", &["name"]).contains_key("s1"));
}

#[test]
fn five_refusals_set_a_row_aside_with_what_depends_on_it_and_nothing_else() {
    if !has("python3") {
        return;
    }
    let (backend, mut device) = stage();
    device.stop();
    device.set("REPLICA__ROCKHOUND__LIMITS__TRIES_MAX", "1");
    device.start();
    device.sql(
        "BEGIN; INSERT INTO field_session(id, notes) VALUES ('bad', 'poison'), ('good', 'fine');
         INSERT INTO find_log(id, session_id) VALUES ('l1', 'bad'), ('l2', 'good'); COMMIT",
    );
    eventually("the others arrive", || backend.rows("find_log", &[]).contains_key("l2"));
    device.await_status("set aside", |status| status["set_aside"] == 2);
    assert_eq!(backend.rows("find_log", &[]).len(), 1);
    device.sql("UPDATE field_session SET notes = 'better' WHERE id = 'bad'");
    eventually("the mended row goes", || backend.rows("field_session", &[]).contains_key("bad"));
}
