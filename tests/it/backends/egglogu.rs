//! `egglogu-offline-sync.md`, its deltas, with the config of `examples/egglogu`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::super::rig::{Backend, Device, has, local_rows, token};

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
