//! `insight-sync-architecture.md`, with the config of `examples/insight`: its scenarios
//! and its worked examples.

use serde_json::json;

use super::super::rig::{Backend, Device, eventually, has, token, token_with_role};
use super::{Fields, all_equal};

const FIELDS: &Fields = &[
    ("forms", &["title", "updated_at"]),
    ("submissions", &["form_id", "status", "updated_at"]),
    ("submission_answers", &["submission_id", "answer"]),
    ("team", &["name", "role"]),
    ("kpi_data", &["name", "value"]),
];

struct Stage {
    backend: Backend,
    manager: Device,
    store: Device,
}

impl Stage {
    fn new() -> Stage {
        let backend = Backend::start("insight", &[]);
        let device = |name: &str, token: &str| Device::preset(name, "insight", &backend.url(), token);
        let mut manager = device("manager", &token_with_role("shop", "manager"));
        let mut store = device("store", &token("shop"));
        manager.start();
        store.start();
        Stage { manager, store, backend }
    }

    #[track_caller]
    fn settle(&self) {
        for device in [&self.manager, &self.store, &self.manager, &self.store] {
            device.sync();
        }
        all_equal(&self.backend, &[&self.manager, &self.store], FIELDS);
    }
}

/// Its three worked examples, one after the other.
#[test]
fn a_form_is_made_filled_in_and_filled_in_offline() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.manager.sql("INSERT INTO forms(id, title) VALUES ('f1', 'Opening')");
    stage.settle();
    assert_eq!(stage.backend.state()["tables"]["forms"]["f1"]["active"], true);
    // Submitted: it goes at once, and by itself.
    stage.store.sql(
        "BEGIN; INSERT INTO submissions(id, form_id, status) VALUES ('s1', 'f1', 'completed');
         INSERT INTO submission_answers(id, submission_id, answer) VALUES ('a1', 's1', 'yes'); COMMIT",
    );
    eventually("it arrives", || stage.backend.rows("submission_answers", &[]).len() == 1);
    stage.manager.sync();
    assert_eq!(stage.manager.sql("SELECT status FROM submissions"), "completed");
    // Offline, with more forms queued.
    for kind in ["before", "after", "half"] {
        stage.backend.fault("/push", kind);
    }
    for at in 2..6 {
        stage.store.sql(&format!("INSERT INTO submissions(id, form_id, status) VALUES ('s{at}', 'f1', 'completed')"));
    }
    eventually("all arrive", || stage.backend.rows("submissions", &[]).len() == 5);
    stage.settle();
    assert_eq!(stage.backend.state()["devices"].as_object().unwrap().len(), 2);
}

/// A push that is answered with a conflict: the manager wins forms, the server the team.
#[test]
fn a_conflict_in_the_answer_is_settled_by_the_tables_rule() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage
        .manager
        .sql("INSERT INTO forms(id, title) VALUES ('f1', 'one'); INSERT INTO team(id, name) VALUES ('t1', 'one')");
    stage.settle();
    for round in 0..3 {
        stage
            .manager
            .sql(&format!("UPDATE forms SET title = 'manager {round}'; UPDATE team SET name = 'manager {round}'"));
        stage.backend.call("put", json!(["forms", {"id": "f1", "title": format!("server {round}")}]));
        stage.backend.call("put", json!(["team", {"id": "t1", "name": format!("server {round}")}]));
        stage.settle();
    }
    assert_eq!(stage.store.sql("SELECT title FROM forms"), "manager 2");
    assert_eq!(stage.store.sql("SELECT name FROM team"), "server 2");
}

/// Between the pull and the push another device was quicker.
#[test]
fn a_conflict_found_by_the_push_itself_loses_neither_version() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.manager.sql("INSERT INTO forms(id, title) VALUES ('f1', 'one')");
    stage.settle();
    let answer = stage.backend.state()["tables"]["forms"]["f1"].clone();
    let theirs = json!({"id": "f1", "title": "theirs", "active": true, "updated_at": answer["updated_at"]});
    let conflict = json!({"table": "forms", "record_id": "f1", "client_data": {}, "server_data": theirs});
    let told = json!({"success": true, "timestamp": "2030-01-01T00:00:00Z", "applied": {}, "conflicts": [conflict]});
    stage.backend.plan(json!({"path": "/push", "kind": "status", "status": 200, "body": told}));
    stage.backend.call("put", json!(["forms", {"id": "f1", "title": "theirs"}]));
    stage.manager.sql("UPDATE forms SET title = 'mine'");
    stage.settle();
    assert_eq!(stage.store.sql("SELECT title FROM forms"), "mine");
    let conflicts = stage.manager.json(&["conflicts", "list"])["conflicts"].clone();
    assert_eq!((conflicts.as_array().unwrap().len(), &conflicts[0]["remote"]["title"]), (1, &json!("theirs")));
}

#[test]
fn large_sets_devices_at_once_deletions_and_a_new_device_end_equal() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.manager.sql(
        "INSERT INTO forms(id, title) VALUES ('f1', 'one'), ('f2', 'two');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO kpi_data(id, name, value) SELECT 'k' || i, 'kpi', i FROM n",
    );
    stage.store.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO team(id, name) SELECT 't' || i, 'person' FROM n",
    );
    stage.settle();
    stage.store.sql("DELETE FROM forms WHERE id = 'f2'; DELETE FROM team WHERE id = 't7'");
    stage.settle();
    assert_eq!(stage.manager.sql("SELECT (SELECT count(*) FROM forms), (SELECT count(*) FROM team)"), "1|1499");
    let mut third = Device::preset("third", "insight", &stage.backend.url(), &token("shop"));
    third.start();
    third.sync();
    all_equal(&stage.backend, &[&third], FIELDS);
}
