//! The scope as a WatermelonDB backend, by that project's published rules for backends.

use serde_json::{Value as Json, json};

use super::{NOW, Rig, code, rows, v};
use crate::hub::error::Result;
use crate::hub::settings::Settings;
use crate::hub::store::{Store, Who};
use crate::hub::watermelon::{Asked, Sent};

const SCHEMA: &str = "
    CREATE TABLE projects(id TEXT PRIMARY KEY, name TEXT);
    CREATE TABLE tasks(id TEXT PRIMARY KEY, project TEXT REFERENCES projects(id), title TEXT, done INTEGER, _status TEXT);
    CREATE TABLE counters(id INTEGER PRIMARY KEY, n);
    CREATE TABLE joins(a, b, PRIMARY KEY(a, b))";

fn rig() -> Rig {
    Rig::new(SCHEMA)
}

impl Rig {
    fn wm_pull(&mut self, asked: Json) -> Json {
        let asked = Asked::parse(asked.to_string().as_bytes()).unwrap();
        let mut answer = Vec::new();
        self.scope.watermelon_pull(&Who::owner("ada"), &asked, self.now, &mut answer).unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    fn since(&mut self, time: i64) -> Json {
        self.wm_pull(json!({"lastPulledAt": time}))
    }

    fn wm_push(&mut self, since: i64, changes: Json) -> Result<Json> {
        let sent = Sent::parse(json!({"lastPulledAt": since, "changes": changes}).to_string().as_bytes()).unwrap();
        let answer = self.scope.watermelon_push(&Who::owner("ada"), &sent, self.now)?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// What a device that speaks the protocol writes: a row, whole.
    fn device_puts(&mut self, device: &str, id: &str, base: i64, title: &str) -> Vec<String> {
        let mut device = self.device(device);
        let whole = [("id", v(id)), ("title", v(title)), ("project", super::NULL), ("done", v(0)), ("_status", v("x"))];
        device.put("tasks", "id", id, base, &whole).told(self)
    }
}

fn time(answer: &Json) -> i64 {
    answer["timestamp"].as_i64().unwrap()
}

/// `created a b, updated c, deleted d` of one table; nothing for nothing.
fn told(answer: &Json, table: &str) -> String {
    let list = |field: &str| -> Option<String> {
        let list = answer["changes"][table][field].as_array().unwrap();
        let ids: Vec<&str> = list.iter().map(|one| one["id"].as_str().or(one.as_str()).unwrap()).collect();
        (!ids.is_empty()).then(|| format!("{field} {}", ids.join(" ")))
    };
    ["created", "updated", "deleted"].into_iter().filter_map(list).collect::<Vec<_>>().join(", ")
}

fn task(id: &str, title: &str) -> Json {
    json!({"id": id, "title": title, "project": null, "done": false, "_status": "created", "_changed": ""})
}

fn created(table: &str, records: Json) -> Json {
    json!({table: {"created": records, "updated": [], "deleted": []}})
}

#[test]
fn a_first_pull_brings_every_row_and_only_tables_and_columns_that_watermelon_can_hold() {
    let mut rig = rig();
    rig.sql(
        "INSERT INTO projects VALUES ('p', 'Garden'); INSERT INTO tasks VALUES ('a', 'p', 'Water', 1, 'secret');
         INSERT INTO tasks(id) VALUES ('b'''); DELETE FROM projects WHERE 0; INSERT INTO counters VALUES (1, 1)",
    );
    for asked in [json!({}), json!({"lastPulledAt": null}), json!({"lastPulledAt": 0, "migration": null})] {
        let answer = rig.wm_pull(asked);
        assert_eq!(
            answer["changes"],
            json!({
                "projects": {"created": [{"id": "p", "name": "Garden"}], "updated": [], "deleted": []},
                "tasks": {"created": [{"id": "a", "project": "p", "title": "Water", "done": 1}], "updated": [], "deleted": []},
            })
        );
        assert_eq!(answer.get("experimentalStrategy"), None);
        assert!(time(&answer) >= NOW);
    }
}

#[test]
fn a_pull_tells_created_updated_and_deleted_apart_and_no_id_twice() {
    let mut rig = rig();
    rig.sql("INSERT INTO tasks(id) VALUES ('kept'), ('edited'), ('gone'), ('again')");
    let first = rig.wm_pull(json!({}));
    rig.sql(
        "UPDATE tasks SET title = 'x' WHERE id = 'edited'; DELETE FROM tasks WHERE id IN ('gone', 'again');
         INSERT INTO tasks(id) VALUES ('new'), ('brief'); DELETE FROM tasks WHERE id = 'brief'",
    );
    rig.scope.look_around(NOW).unwrap();
    rig.sql("INSERT INTO tasks(id) VALUES ('again'); UPDATE tasks SET title = 'y' WHERE id = 'new'");
    let second = rig.since(time(&first));
    let mut parts: Vec<String> = told(&second, "tasks").split(", ").map(str::to_owned).collect();
    parts.sort();
    assert_eq!(parts, ["created new", "deleted gone", "updated edited again"].map(str::to_owned));
    let third = rig.since(time(&second));
    assert_eq!(told(&third, "tasks"), "");
    assert!(time(&third) > time(&second), "each pull is given a time of its own");
}

#[test]
fn what_a_client_pushed_does_not_come_back_to_it_and_reaches_everybody_else() {
    let mut rig = rig();
    let (one, other) = (rig.wm_pull(json!({})), rig.wm_pull(json!({})));
    let cursor = rig.pull("laptop", None).cursor;
    let done = rig.wm_push(time(&one), created("tasks", json!([task("a", "mine")]))).unwrap();
    assert_eq!(done, json!({"success": true, "stats": {"created": 1, "updated": 0, "deleted": 0}}));
    let next = rig.since(time(&one));
    assert_eq!(told(&next, "tasks"), "");
    assert_eq!(told(&rig.since(time(&other)), "tasks"), "created a");
    let page = rig.pull("laptop", Some(&cursor));
    assert_eq!(rows(&page), [r#"tasks ["a",null,"mine",0,null]"#]);
    // A device edits the row: to its author that is an update, though it was created since.
    let revision = page.groups[0].rows[0].revision.0;
    rig.device_puts("laptop", "a", revision, "theirs");
    assert_eq!(told(&rig.since(time(&one)), "tasks"), "created a", "an older copy of the client may lack it");
    assert_eq!(told(&rig.since(time(&next)), "tasks"), "updated a");
}

#[test]
fn a_push_is_refused_whole_when_a_row_of_it_is_newer_and_taken_after_a_pull() {
    let mut rig = rig();
    rig.device_puts("laptop", "a", 0, "first");
    let pulled = rig.wm_pull(json!({}));
    rig.device_puts("phone", "a", 99, "second");
    let changes = json!({"tasks": {
        "created": [task("b", "new")], "updated": [{"id": "a", "title": "mine"}], "deleted": []}});
    let refused = rig.wm_push(time(&pulled), changes.clone());
    assert_eq!(code(refused), "behind");
    assert_eq!(rig.ask("SELECT id || ' ' || title FROM tasks"), ["a second"], "nothing of it was taken");
    let again = rig.since(time(&pulled));
    assert_eq!(told(&again, "tasks"), "updated a");
    rig.wm_push(time(&again), changes).unwrap();
    assert_eq!(rig.ask("SELECT id || ' ' || title FROM tasks ORDER BY id"), ["a mine", "b new"]);
}

#[test]
fn a_push_whose_answer_was_lost_is_taken_again_after_the_pull_that_precedes_it() {
    let mut rig = rig();
    let pulled = rig.wm_pull(json!({}));
    rig.wm_push(time(&pulled), created("tasks", json!([task("a", "mine")]))).unwrap();
    let head = rig.scope.head();
    let again = rig.since(time(&pulled));
    rig.wm_push(time(&again), created("tasks", json!([task("a", "mine")]))).unwrap();
    assert_eq!(rig.scope.head(), head, "the same row again is no change");
    rig.wm_push(time(&again), created("tasks", json!([task("a", "edited since")]))).unwrap();
    assert_eq!(rig.ask("SELECT title FROM tasks"), ["edited since"]);
}

#[test]
fn created_that_exists_is_updated_and_updated_that_does_not_is_created_and_gone_is_gone() {
    let mut rig = rig();
    rig.device_puts("laptop", "a", 0, "first");
    rig.device_puts("phone", "old", 0, "old");
    rig.sql("DELETE FROM tasks WHERE id = 'old'");
    let pulled = rig.wm_pull(json!({}));
    let changes = json!({"tasks": {
        "created": [task("a", "second")],
        "updated": [{"id": "b", "title": "out of nowhere"}, {"id": "old", "title": "back"}],
        "deleted": ["never", "old-too"]}});
    rig.wm_push(time(&pulled), changes).unwrap();
    assert_eq!(
        rig.ask("SELECT id || ' ' || title FROM tasks ORDER BY id"),
        ["a second", "b out of nowhere", "old back"]
    );
    // A row that went after the client last looked: it must hear of that first.
    rig.sql("DELETE FROM tasks WHERE id = 'b'");
    let late = rig.wm_push(time(&pulled), json!({"tasks": {"updated": [{"id": "b", "title": "mine"}]}}));
    assert_eq!(code(late), "behind");
}

#[test]
fn private_and_unknown_columns_are_left_out_and_what_cannot_be_stored_refuses_the_push_by_name() {
    let mut rig = rig();
    rig.sql("INSERT INTO tasks VALUES ('a', NULL, 'kept', 1, 'theirs')");
    let pulled = time(&rig.wm_pull(json!({})));
    let odd = json!({"id": "a", "title": "set", "unheard": {"of": 1}, "_status": "updated", "_changed": "done"});
    rig.wm_push(pulled, json!({"tasks": {"updated": [odd]}})).unwrap();
    assert_eq!(rig.ask("SELECT title || ' ' || done || ' ' || _status FROM tasks"), ["set 1 theirs"]);
    for (changes, expected, words) in [
        (json!({"notes": {"created": [task("n", "x")]}}), "unfit", "changes.notes"),
        (json!({"counters": {"created": [{"id": "1", "n": 1}]}}), "unfit", "changes.counters"),
        (json!({"tasks": {"created": [{"id": "b", "title": [1]}]}}), "malformed", "changes.tasks.created[0].title"),
        (json!({"tasks": {"created": [{"title": "x"}]}}), "malformed", "changes.tasks.created[0].id"),
        (json!({"tasks": {"deleted": [7]}}), "malformed", "changes.tasks.deleted[0]"),
        (json!({"tasks": {"updated": {}}}), "malformed", "changes.tasks.updated"),
        (json!({"tasks": []}), "malformed", "changes.tasks"),
        (json!({"tasks": {"created": [{"id": "it's"}]}}), "malformed", "changes.tasks.created[0].id"),
    ] {
        let error = rig.wm_push(pulled, changes.clone()).unwrap_err();
        assert_eq!(error.answer().1.error.code, expected, "{changes}");
        assert!(error.to_string().contains(words), "{changes}: {error}");
    }
    let empty = json!({"notes": {"created": [], "updated": [], "deleted": []}});
    rig.wm_push(pulled, empty).unwrap();
    assert_eq!(rig.ask("SELECT id FROM tasks"), ["a"]);
}

#[test]
fn a_migration_brings_new_tables_whole_and_every_row_of_those_with_new_columns() {
    let mut rig = rig();
    rig.sql("INSERT INTO projects VALUES ('p', 'Garden'), ('q', 'House'); INSERT INTO tasks(id) VALUES ('a'), ('b')");
    let pulled = time(&rig.wm_pull(json!({})));
    rig.sql("DELETE FROM projects WHERE id = 'q'; DELETE FROM tasks WHERE id = 'b'");
    let migration = json!({"from": 1, "tables": ["projects"], "columns": [{"table": "tasks", "columns": ["done"]}]});
    let answer = rig.wm_pull(json!({"lastPulledAt": pulled, "schemaVersion": 2, "migration": migration}));
    assert_eq!(told(&answer, "projects"), "created p");
    assert_eq!(told(&answer, "tasks"), "updated a, deleted b");
}

#[test]
fn a_client_that_was_away_too_long_or_knows_another_life_of_the_hub_replaces_everything() {
    let mut rig = Rig::with(SCHEMA, Settings::default());
    rig.sql("INSERT INTO tasks(id) VALUES ('a'), ('b')");
    let pulled = time(&rig.wm_pull(json!({})));
    rig.sql("DELETE FROM tasks WHERE id = 'b'");
    rig.scope.look_around(NOW).unwrap();
    rig.now += 31 * 86_400_000;
    let now = rig.now;
    rig.scope.prune(now).unwrap();
    for unknown in [pulled, pulled + 1_000_000] {
        assert_eq!(code(rig.wm_push(unknown, json!({}))), "behind");
        let answer = rig.since(unknown);
        assert_eq!(answer["experimentalStrategy"], "replacement");
        assert_eq!(told(&answer, "tasks"), "updated a", "so that its own unsent deletions stay in force");
        assert_eq!(rig.since(time(&answer)).get("experimentalStrategy"), None);
    }
}

#[test]
fn a_unique_value_that_is_taken_and_a_parent_that_went_refuse_the_push() {
    let mut rig = Rig::new(
        "CREATE TABLE projects(id TEXT PRIMARY KEY, code TEXT UNIQUE);
         CREATE TABLE tasks(id TEXT PRIMARY KEY, project TEXT REFERENCES projects(id))",
    );
    rig.sql("INSERT INTO projects VALUES ('p', 'x'), ('q', 'y')");
    let pulled = time(&rig.wm_pull(json!({})));
    rig.sql("DELETE FROM projects WHERE id = 'q'");
    let taken = rig.wm_push(pulled, created("projects", json!([{"id": "r", "code": "x"}]))).unwrap_err();
    assert!(
        taken.to_string().contains(r#"projects ["r"]"#) && taken.to_string().contains(r#"projects ["p"]"#),
        "{taken}"
    );
    let orphan = created("tasks", json!([{"id": "t", "project": "q"}]));
    assert_eq!(code(rig.wm_push(pulled, orphan.clone())), "behind");
    let again = time(&rig.since(pulled));
    rig.wm_push(again, orphan).unwrap();
}
