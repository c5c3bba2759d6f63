//! `harvest-workflow-sync.md`, with the config of `examples/harvest`.

use serde_json::json;

use super::super::rig::{Backend, Device, eventually, has, token};
use super::{Fields, all_equal};

const FIELDS: &Fields = &[
    ("series", &["title", "rrule", "deleted_at"]),
    ("tasks", &["series_id", "title", "due_at"]),
    ("occurrence_overrides", &["series_id", "occurs_on"]),
    ("harvests", &["plant_id", "stage", "wet_weight_g", "notes", "server_revision", "server_updated_at_ms"]),
    ("inventory", &["harvest_id", "final_weight_g", "harvest_date"]),
    ("harvest_audits", &["harvest_id", "operation_type", "reason"]),
];

const HARVEST: &str = "INSERT INTO harvests(id, plant_id, stage, wet_weight_g, stage_started_at, photos)
    VALUES ('h1', 'p1', 'harvest', 500, 1766053800000, '[\"a.jpg\"]')";

struct Stage {
    backend: Backend,
    a: Device,
    b: Device,
}

impl Stage {
    fn new(page_rows: &str) -> Stage {
        let backend = Backend::start("harvest", &[page_rows]);
        let device = |name: &str| Device::preset(name, "harvest", &backend.url(), &token("ada"));
        let (mut a, mut b) = (device("a"), device("b"));
        a.start();
        b.start();
        Stage { a, b, backend }
    }

    /// By itself, and its device has heard of it.
    #[track_caller]
    fn arrives(&self, id: &str, title: &str) {
        eventually("it arrives", || self.backend.state()["tables"]["series"][id]["title"] == title);
        self.a.await_status("heard of", |status| status["state"] == "in_step" && status["pending"] == 0);
    }

    #[track_caller]
    fn settle(&self) {
        for device in [&self.a, &self.b, &self.a, &self.b] {
            device.sync();
        }
        all_equal(&self.backend, &[&self.a, &self.b], FIELDS);
    }
}

/// Flight mode, and rows that were written together.
#[test]
fn what_was_harvested_offline_arrives_whole_when_the_network_is_back() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("500");
    stage.a.sync();
    stage.a.sql(HARVEST);
    stage.a.sync();
    let sent = stage.backend.state()["tables"]["harvests"]["h1"].clone();
    assert_eq!(sent["user_id"], "ada", "stamped from the token");
    assert_eq!((&sent["photos"], &sent["stage_started_at"]), (&json!(["a.jpg"]), &json!("2025-12-18T10:30:00.000Z")));

    for _ in 0..3 {
        stage.backend.fault("/push", "before");
    }
    stage.a.sql(
        "BEGIN; UPDATE harvests SET stage = 'inventory', dry_weight_g = 120 WHERE id = 'h1';
         INSERT INTO inventory(id, plant_id, harvest_id, final_weight_g, harvest_date, total_duration_days)
         VALUES ('i1', 'p1', 'h1', 120, '2025-12-18', 30);
         INSERT INTO harvest_audits(id, harvest_id, operation_type, performed_at) VALUES ('u1', 'h1', 'stage_advance', 1);
         COMMIT",
    );
    // Nobody asks: it goes by itself when the way is free.
    eventually("it arrives", || stage.backend.state()["tables"]["inventory"]["i1"] != json!(null));
    let pushes: Vec<_> = stage.backend.requests().into_iter().filter(|request| request[1] == "/sync/push").collect();
    let last = &pushes.last().unwrap()[2]["changes"];
    assert!(last["harvests"]["updated"][0]["id"] == "h1" && last["inventory"]["created"][0]["id"] == "i1", "{last}");
    stage.settle();
    assert_eq!(stage.b.sql("SELECT final_weight_g FROM inventory"), "120");
}

/// Trap 10: the same key and the same bytes, though the row was edited since.
#[test]
fn a_lost_answer_is_asked_for_again_and_the_later_edit_follows() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("500");
    stage.a.sync();
    for kind in ["after", "half", "html", "before"] {
        stage.backend.fault("/push", kind);
        stage.a.sql(&format!("INSERT INTO series(id, title) VALUES ('{kind}', 'first')"));
        stage.arrives(kind, "first");
        stage.backend.fault("/push", kind);
        stage.a.sql(&format!("UPDATE series SET title = 'second' WHERE id = '{kind}'"));
        stage.arrives(kind, "second");
    }
    assert_eq!(stage.backend.state()["replays"], 4, "two kinds of lost answer, twice each");
    stage.settle();
    assert_eq!(stage.b.sql("SELECT count(*) FROM series WHERE title = 'second'"), "4");
    assert_eq!(stage.a.json(&["conflicts", "list"])["conflicts"], json!([]), "its own push is nobody else's");
}

#[test]
fn a_harvest_edited_on_two_devices_waits_for_review_with_nothing_lost() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("500");
    stage.a.sql(HARVEST);
    stage.settle();
    stage.b.sql("UPDATE harvests SET wet_weight_g = 510, notes = 'from b' WHERE id = 'h1'");
    stage.b.sync();
    stage.a.sql("UPDATE harvests SET wet_weight_g = 505 WHERE id = 'h1'");
    assert_eq!(stage.a.homing(&["sync", "--wait"]).code, 3, "it waits for a person");
    stage.b.sync();
    all_equal(&stage.backend, &[&stage.a, &stage.b], FIELDS);
    assert_eq!(stage.a.sql("SELECT wet_weight_g FROM harvests"), "510", "meanwhile the server's stands");
    let conflicts = stage.a.json(&["conflicts", "list"])["conflicts"].clone();
    let others = stage.b.json(&["conflicts", "list"])["conflicts"].clone();
    let all: Vec<_> = conflicts.as_array().unwrap().iter().chain(others.as_array().unwrap()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((&all[0]["strategy"], &all[0]["settled_by"]), (&json!("needs_review"), &json!(null)));
    let weights = [&all[0]["local"]["wet_weight_g"], &all[0]["remote"]["wet_weight_g"]];
    assert!(weights.contains(&&json!(505)) && weights.contains(&&json!(510)), "{weights:?}");
    let id = all[0]["id"].to_string();
    assert_eq!(stage.a.homing(&["conflicts", "resolve", &id, "--take", "local"]).code, 0);
    stage.settle();
    assert_eq!(stage.b.sql("SELECT wet_weight_g FROM harvests"), "505");
}

/// Marked rows go as ids and leave the other device.
#[test]
fn a_row_that_the_app_marks_as_deleted_is_deleted_everywhere() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("500");
    stage.a.sql("INSERT INTO series(id, title) VALUES ('s1', 'kept'), ('s2', 'marked'), ('s3', 'removed')");
    stage.settle();
    stage.a.sql("UPDATE series SET deleted_at = 1 WHERE id = 's2'; DELETE FROM series WHERE id = 's3'");
    stage.settle();
    assert_eq!(stage.b.sql("SELECT group_concat(id) FROM series"), "s1");
    assert_eq!(stage.a.sql("SELECT group_concat(id) FROM series"), "s1");
}

#[test]
fn more_than_a_thousand_records_go_in_chunks_and_come_in_pages_that_break() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("300");
    stage.a.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         INSERT INTO harvests(id, plant_id, stage, stage_started_at) SELECT 'h' || i, 'p', 'drying', i FROM n",
    );
    stage.a.sync();
    let pushes = stage.backend.requests().into_iter().filter(|request| request[1] == "/sync/push").count();
    assert_eq!(pushes, 3, "a thousand a request");
    for kind in ["half", "html", "before", "half"] {
        stage.backend.fault("/pull", kind);
    }
    stage.b.sync();
    assert_eq!(stage.b.sql("SELECT count(*) FROM harvests"), "2500");
    stage.settle();
}

#[test]
fn one_row_that_the_backend_will_not_have_holds_up_nothing_else() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("500");
    stage.a.sync();
    stage.a.sql(
        "INSERT INTO harvests(id, plant_id, stage, stage_started_at, notes)
         VALUES ('good', 'p', 'drying', 1, ''), ('bad', 'p', 'drying', 1, 'poison'), ('fine', 'p', 'drying', 1, '')",
    );
    eventually("the others arrive", || stage.backend.rows("harvests", &[]).len() == 2);
    let queue = || stage.a.json(&["queue", "list"])["changes"].clone();
    eventually("it alone waits", || queue().as_array().unwrap().len() == 1 && queue()[0]["key"] == "[\"bad\"]");
    let queue = queue();
    assert!(queue[0]["reason"].to_string().contains("a row breaks a rule"), "{queue}");
    stage.a.sql("UPDATE harvests SET notes = 'better' WHERE id = 'bad'");
    stage.settle();
    assert_eq!(stage.backend.rows("harvests", &[]).len(), 3);
}

#[test]
fn nobody_sees_anothers_rows() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("500");
    stage.a.sql(HARVEST);
    stage.settle();
    let mut other = Device::preset("c", "harvest", &stage.backend.url(), &token("eve"));
    other.start();
    other.sync();
    assert_eq!(other.sql("SELECT count(*) FROM harvests"), "0");
}

/// Only the last half year comes (what the document plans); what is here stays and syncs.
#[test]
fn a_new_device_gets_recent_rows_alone() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("500");
    stage.a.sql(
        "INSERT INTO harvests(id, plant_id, stage, stage_started_at) VALUES
         ('old', 'p', 'drying', unixepoch('now', '-200 days') * 1000), ('new', 'p', 'drying', unixepoch('now', '-100 days') * 1000)",
    );
    stage.settle();
    let mut third = Device::preset("c", "harvest", &stage.backend.url(), &token("ada"));
    third.set("REPLICA__HARVEST__TABLES__HARVESTS__RECENT_COLUMN", "stage_started_at");
    third.set("REPLICA__HARVEST__TABLES__HARVESTS__RECENT_WITHIN", "180d");
    third.sql(
        "INSERT INTO harvests(id, plant_id, stage, stage_started_at) VALUES ('mine', 'p', 'drying', unixepoch('now', '-300 days') * 1000)",
    );
    third.start();
    third.sync();
    stage.a.sync();
    stage.a.sql("UPDATE harvests SET notes = 'edited'");
    stage.a.sync();
    third.sync();
    let rows = "SELECT group_concat(id || ' ' || coalesce(notes, '-')) FROM (SELECT * FROM harvests ORDER BY id)";
    assert_eq!(third.sql(rows), "mine edited,new edited");
    assert_eq!(third.status()["parked"], 0);
    stage.settle();
}

/// A key that the backend has forgotten would be a new batch: what became of it is read
/// before anything is sent again.
#[test]
fn a_batch_older_than_the_backends_memory_is_read_before_it_is_sent_again() {
    if !has("python3") {
        return;
    }
    let mut stage = Stage::new("500");
    stage.a.stop();
    stage.a.set("REPLICA__HARVEST__REMOTE__KEYS_KEPT", "1s");
    stage.a.start();
    stage.a.sync();
    stage.backend.fault("/push", "after");
    for _ in 0..500 {
        stage.backend.fault("/push", "before");
    }
    stage.a.sql("INSERT INTO series(id, title) VALUES ('s1', 'once')");
    eventually("it arrives", || stage.backend.rows("series", &[]).len() == 1);
    let sent = stage.backend.call("now", json!([])).as_i64().unwrap();
    stage.a.kill();
    stage.backend.call("forget_keys", json!([]));
    stage.backend.call("forget_faults", json!([]));
    eventually("its key is forgotten", || stage.backend.call("now", json!([])).as_i64().unwrap() > sent + 1_500);
    let pushes = || stage.backend.requests().into_iter().filter(|request| request[1] == "/sync/push").count();
    let before = pushes();
    stage.a.start();
    stage.a.sync();
    assert_eq!(pushes(), before, "a pull has shown that it was taken");
    assert_eq!(stage.a.json(&["conflicts", "list"])["conflicts"], json!([]));
    stage.settle();
}

/// H10: a table taken out of sync and put back.
#[test]
fn a_table_that_was_out_of_sync_for_a_while_has_lost_nothing_of_either_side() {
    if !has("python3") {
        return;
    }
    let mut stage = Stage::new("500");
    stage.a.sql("INSERT INTO tasks(id, title) VALUES ('t1', 'one'), ('t2', 'two'), ('t3', 'three'), ('t4', 'four'), ('t5', 'five')");
    stage.settle();
    stage.a.stop();
    stage.a.set("REPLICA__HARVEST__EXCLUDE", "tasks");
    stage.a.start();
    stage.a.sync();
    stage.a.sql(
        "UPDATE tasks SET title = 'one, here' WHERE id = 't1'; DELETE FROM tasks WHERE id = 't2';
         INSERT INTO tasks(id, title) VALUES ('t6', 'six, here'); INSERT INTO series(id, title) VALUES ('s1', 'meanwhile')",
    );
    stage.b.sql(
        "UPDATE tasks SET title = 'three, there' WHERE id = 't3'; DELETE FROM tasks WHERE id = 't4';
         INSERT INTO tasks(id, title) VALUES ('t7', 'seven, there')",
    );
    stage.b.sync();
    stage.a.sync();
    stage.b.sync();
    let titles = "SELECT group_concat(title) FROM (SELECT title FROM tasks ORDER BY id)";
    assert_eq!(stage.a.sql(titles), "one, here,three,four,five,six, here", "out of sync");
    assert_eq!(stage.b.sql("SELECT title FROM series"), "meanwhile", "the rest goes on");
    assert_eq!(stage.a.status()["pending"], 0);

    stage.a.stop();
    stage.a.set("REPLICA__HARVEST__EXCLUDE", "[]");
    stage.a.start();
    stage.settle();
    assert_eq!(stage.b.sql(titles), "one, here,three, there,five,six, here,seven, there");
    assert_eq!(stage.a.json(&["conflicts", "list"])["conflicts"], json!([]));
}
