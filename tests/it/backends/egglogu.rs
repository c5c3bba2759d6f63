//! `egglogu-offline-sync.md`, its deltas, with the config of `examples/egglogu`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::rig::{Backend, Device, eventually, has, local_rows, token};

struct Stage {
    backend: Backend,
    a: Device,
    b: Device,
}

impl Stage {
    fn new() -> Stage {
        let backend = Backend::start("egglogu", &[]);
        let device = |name: &str| Device::preset(name, "egglogu", &backend.url(), &token("farmer"));
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
        for (table, collection, fields) in [
            ("flocks", "flocks", &["name", "count", "breed"][..]),
            ("daily_production", "dailyProduction", &["date", "eggs"]),
            ("feed_purchases", "feed.purchases", &["kind", "kilos"]),
            ("audit_log", "auditLog", &["at", "what"]),
            ("farm", "farm", &["name", "currency"]),
        ] {
            let there: Vec<Json> = self.backend.rows(collection, fields).into_values().collect();
            for device in [&self.a, &self.b] {
                let here: BTreeMap<String, Json> = local_rows(&device.database, table, fields);
                assert_eq!(here.into_values().collect::<Vec<_>>(), there, "{table} of {}", device.name);
            }
        }
    }
}

#[test]
fn nested_collections_single_objects_and_logs_end_equal_also_on_a_device_that_starts_empty() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql(
        "INSERT INTO flocks VALUES ('f1', 'Layer Group 3', 40, NULL); INSERT INTO daily_production VALUES ('d1', 'f1', '2024-06-15', 36);
         INSERT INTO feed_purchases VALUES ('p1', 'corn', 50, 12.5); INSERT INTO farm VALUES (1, 'Hill', 'EUR');
         INSERT INTO audit_log VALUES ('l1', '2024-06-15', 'made')",
    );
    stage.b.sql("INSERT INTO audit_log VALUES ('l2', '2024-06-15', 'also made')");
    stage.settle();
    assert_eq!(stage.backend.state()["tables"]["dailyProduction"]["d1"]["flockId"], "f1");
    // The one object, by field.
    stage.a.sql("UPDATE farm SET name = 'Hill Farm'");
    stage.a.sync(); // such a backend takes what comes last: not between pull and push
    stage.b.sql("UPDATE farm SET currency = 'CLP'");
    stage.settle();
    assert_eq!(stage.a.sql("SELECT name, currency FROM farm"), "Hill Farm|CLP");
    stage.b.sql("DELETE FROM daily_production");
    stage.settle();
    assert_eq!(stage.a.sql("SELECT count(*) FROM daily_production"), "0");
}

/// An edit made offline, before others last asked, still reaches them.
#[test]
fn an_edit_that_was_made_offline_long_ago_is_not_hidden_by_its_time() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql("INSERT INTO flocks VALUES ('f1', 'one', 1, NULL)");
    stage.settle();
    let made = stage.backend.state()["tables"]["flocks"]["f1"]["_updatedAt"].clone();
    stage.backend.plan(json!({"path": "/delta", "kind": "before"}));
    stage.b.sql("UPDATE flocks SET count = 2");
    stage.a.sync();
    stage.settle();
    assert!(stage.backend.state()["tables"]["flocks"]["f1"]["_updatedAt"].as_str() > made.as_str());
    assert_eq!(stage.a.sql("SELECT count FROM flocks"), "2");
}

/// Delete against edit: the later one stands, the other is kept.
#[test]
fn a_deletion_that_meets_an_edit_is_a_question_and_the_edit_can_be_kept() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql("INSERT INTO flocks VALUES ('f1', 'Layer Group 3', 40, NULL)");
    stage.settle();
    stage.backend.call("put", json!(["flocks", {"id": "f1", "_deletedAt": "2024-06-15T14:32:00.000Z"}]));
    stage.b.sql("UPDATE flocks SET count = 41");
    assert_eq!(stage.b.homing(&["sync", "--wait"]).code, 3);
    stage.a.sync();
    let conflicts = stage.b.json(&["conflicts", "list"])["conflicts"].clone();
    assert_eq!(
        (conflicts.as_array().unwrap().len(), &conflicts[0]["kind"]),
        (1, &json!("update_delete")),
        "{conflicts}"
    );
    assert_eq!((&conflicts[0]["local"]["count"], &conflicts[0]["settled_by"]), (&json!(41), &json!(null)));
    // The question of the document: keep mine.
    assert_eq!(stage.b.homing(&["conflicts", "resolve", &conflicts[0]["id"].to_string(), "--keep", "mine"]).code, 0);
    stage.settle();
    assert_eq!(stage.a.sql("SELECT count FROM flocks"), "41");
}

#[test]
fn a_record_that_the_backend_calls_stale_is_pulled_resolved_and_sent_again() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql("INSERT INTO flocks VALUES ('f1', 'one', 1, NULL), ('f2', 'two', 2, NULL)");
    stage.settle();
    for reason in ["stale", "future"] {
        let rejected = json!([{"collection": "flocks", "id": "f1", "reason": reason}]);
        let body = json!({"status": "ok", "deltas": [], "synced_at": "2024-06-15T14:32:00Z", "rejected": rejected});
        stage.backend.plan(json!({"path": "/delta", "method": "POST", "kind": "status", "status": 200, "body": body}));
        stage.a.sql(&format!("UPDATE flocks SET name = '{reason}' WHERE id = 'f1'"));
        stage.settle();
        assert_eq!(stage.b.sql("SELECT name FROM flocks WHERE id = 'f1'"), reason);
    }
}

/// A log is the union of what everybody wrote, whoever clears it up.
#[test]
fn a_log_is_the_union_and_what_one_device_removes_of_it_is_gone_there_alone() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new();
    stage.a.sql("INSERT INTO audit_log VALUES ('l1', '2024-06-15', 'by a'), ('l2', '2024-06-15', 'by a')");
    stage.b.sql("INSERT INTO audit_log VALUES ('l3', '2024-06-15', 'by b')");
    stage.settle();
    stage.a.sql("DELETE FROM audit_log WHERE id = 'l1'; UPDATE audit_log SET what = 'forged' WHERE id = 'l3'");
    stage.backend.call("put", json!(["auditLog", {"id": "l2", "_deletedAt": "2024-06-15T14:32:00.000Z"}]));
    for device in [&stage.a, &stage.b, &stage.a, &stage.b] {
        device.sync();
    }
    let log = "SELECT group_concat(id || ' ' || what) FROM (SELECT * FROM audit_log ORDER BY id)";
    assert_eq!(stage.b.sql(log), "l1 by a,l2 by a,l3 by b", "nothing that was written is unsaid");
    assert_eq!(stage.a.sql(log), "l2 by a,l3 forged", "its own file is its own affair");
    assert_eq!(stage.a.status()["pending"], 0);
    let there = stage.backend.state()["tables"]["auditLog"].clone();
    assert_eq!((&there["l1"]["what"], &there["l3"]["what"]), (&json!("by a"), &json!("by b")));
}

/// Today's way (E1), where a server only takes everything at once.
#[test]
fn the_whole_set_goes_at_once_and_the_status_says_what_that_cannot_promise() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("egglogu", &[]);
    let mut device = Device::new("a", &backend.url(), &token("farmer"));
    for (key, value) in [("KIND", "delta"), ("PUSH_PATH", "api/v1/sync"), ("WHOLE_SET", "true")] {
        device.set(&format!("REPLICA__NOTES__REMOTE__{key}"), value);
    }
    device.configure(
        "[replica.notes.defaults]\nmodified_field = \"_updatedAt\"\n[replica.notes.tables.feed_purchases]\ncollection = \"feed.purchases\"\n\
         [replica.notes.tables.farm]\nsingleton = \"1\"\n",
    );
    device.sql(
        "CREATE TABLE flocks(id TEXT PRIMARY KEY, name TEXT); CREATE TABLE farm(id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE feed_purchases(id TEXT PRIMARY KEY, kilos REAL);
         INSERT INTO flocks VALUES ('f1', 'one'), ('f2', 'two'); INSERT INTO farm VALUES (1, 'Hill');
         INSERT INTO feed_purchases VALUES ('p1', 12.5)",
    );
    device.start();
    device.sync();
    let state = backend.state()["tables"].clone();
    assert_eq!(
        (&state["farm"]["the only one"]["name"], &state["feed.purchases"]["p1"]["kilos"]),
        (&json!("Hill"), &json!(12.5))
    );
    assert!(state["flocks"]["f1"]["_updatedAt"].as_str().is_some_and(|time| time.ends_with('Z')), "{state}");
    let notes = device.status()["notes"].to_string();
    assert!(notes.contains("the last device to send overwrites what the others sent, unseen"), "{notes}");
    assert!(notes.contains("nothing of what others wrote comes here"), "{notes}");

    // A deletion is what is no longer there; a lost answer is asked for again.
    for kind in ["after", "half", "before", "html"] {
        backend.fault("/sync", kind);
    }
    device.sql("DELETE FROM flocks WHERE id = 'f1'; UPDATE flocks SET name = 'second' WHERE id = 'f2'");
    eventually("all of it arrives", || {
        backend.rows("flocks", &["name"]) == [("f2".to_owned(), json!({"name": "second"}))].into()
    });
    device.await_status("heard of", |status| status["state"] == "in_step" && status["pending"] == 0);

    // Refused: nothing is set aside, since no smaller set would be the whole.
    for _ in 0..20 {
        backend.plan(json!({"path": "/sync", "kind": "status", "status": 422, "body": {"error": "no"}}));
    }
    device.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO flocks(id, name) SELECT 'n' || i, 'many' FROM n",
    );
    let status = device.await_reason("protocol_error");
    assert!(status["reason"]["text"].as_str().unwrap().contains("does not take the whole set"), "{status}");
    assert_eq!((&status["set_aside"], &status["pending"]), (&json!(0), &json!(20_000)));
    backend.call("forget_faults", json!([]));
    device.sync();
    assert_eq!(backend.rows("flocks", &[]).len(), 20_001);
    let last = backend.requests().len();
    device.sync();
    assert_eq!(backend.requests().len(), last, "nothing new, nothing sent");
}
