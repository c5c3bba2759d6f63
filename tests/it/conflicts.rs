//! Two devices edit the same rows while apart: every strategy ends as
//! `docs/conflicts.md` says, on both devices and the hub, and what lost comes back.

use serde_json::{Value as Json, json};

use super::rig::{Device, Pair};

/// A table for each way to settle: its name, and its section of the config.
const TABLES: [(&str, &str); 10] = [
    ("server", "strategy = 'server_wins'"),
    ("client", "strategy = 'client_wins'"),
    ("latest", "strategy = 'latest_timestamp'"),
    ("field", "strategy = 'field_level'"),
    ("merging", "strategy = 'merge'"),
    ("by_hand", "strategy = 'manual'"),
    ("review", "strategy = { rule = 'needs_review', mark = 'conflict_seen' }"),
    ("rules", "strategy = { columns = { n = 'counter', tags = 'set', title = 'server_wins' } }"),
    ("doubt", "strategy = { mark = 'conflict_seen', columns = { title = 'counter' } }"),
    ("revised", "strategy = { rule = 'latest_timestamp', revision = 'n' }"),
];

fn schema() -> String {
    let tables = TABLES.map(|(name, _)| {
        format!("CREATE TABLE {name}(id INTEGER PRIMARY KEY, title TEXT, n INTEGER DEFAULT 0, tags TEXT, conflict_seen INTEGER NOT NULL DEFAULT 0)")
    });
    tables.join(";")
}

fn config() -> String {
    TABLES.map(|(name, rule)| format!("[replica.notes.tables.{name}]\n{rule}\n")).concat()
}

/// Row 1 of every table, as `title|n|tags`.
fn rows(device: &Device) -> Vec<String> {
    let all = TABLES.map(|(name, _)| format!("SELECT title || '|' || n || '|' || tags FROM {name} WHERE id = 1"));
    device.sql(&all.join(" UNION ALL ")).lines().map(str::to_owned).collect()
}

fn ledger(device: &Device) -> Vec<Json> {
    device.json(&["conflicts", "list"])["conflicts"].as_array().unwrap().clone()
}

fn of<'a>(ledger: &'a [Json], table: &str) -> Option<&'a Json> {
    ledger.iter().find(|conflict| conflict["table"] == table)
}

/// Both edit row 1 of every table while apart; B, which comes second, resolves.
fn apart() -> Pair {
    let mut pair = Pair::new(&schema());
    for device in [&mut pair.a, &mut pair.b] {
        device.configure(&config());
    }
    let all = |sql: &str| TABLES.map(|(name, _)| sql.replace('@', name)).join(";");
    pair.a.sql(&all("INSERT INTO @ VALUES (1, 'base', 10, '[1,2]', 0)"));
    let mut pair = pair.start();
    pair.all_but_marks_equal();
    pair.b.kill();
    pair.b.sql(&all(r#"UPDATE @ SET title = 'mine', n = 13, tags = '[1,2,"b"]' WHERE id = 1"#));
    pair.a.sql(&all(r#"UPDATE @ SET title = 'theirs', n = 12, tags = '["a",2]' WHERE id = 1"#));
    pair.a.sync();
    pair.b.start();
    // What waits for a person does not keep the rest from going on.
    assert_eq!(pair.b.homing(&["sync", "--wait"]).code, 3);
    pair.a.homing(&["sync", "--wait"]);
    pair.all_but_marks_equal();
    pair
}

impl Pair {
    #[track_caller]
    fn all_but_marks_equal(&self) {
        self.a.homing(&["sync", "--wait"]);
        self.b.homing(&["sync", "--wait"]);
        self.a.homing(&["sync", "--wait"]);
        assert_eq!(rows(&self.a), rows(&self.b));
        let hub = TABLES.map(|(name, _)| format!("SELECT title || '|' || n || '|' || tags FROM {name} WHERE id = 1"));
        let hub = super::rig::sqlite3(&self.hub.scope("ada"), &hub.join(" UNION ALL "));
        assert_eq!(rows(&self.a), hub.lines().collect::<Vec<_>>());
    }
}

const THEIRS: &str = r#"theirs|12|["a",2]"#;
const MINE: &str = r#"mine|13|[1,2,"b"]"#;

#[test]
fn every_strategy_ends_as_it_is_published_and_what_lost_comes_back() {
    let pair = apart();
    let ended = [
        ("server", THEIRS, Some("rule")),
        ("client", MINE, Some("rule")),
        ("latest", THEIRS, Some("rule")),
        ("field", THEIRS, Some("rule")),
        ("merging", r#"theirs|12|[2,"a","b"]"#, Some("rule")),
        ("by_hand", THEIRS, None),
        ("review", THEIRS, None),
        ("rules", r#"theirs|15|[2,"a","b"]"#, Some("rule")),
        ("doubt", THEIRS, None),
        ("revised", MINE, Some("rule")),
    ];
    let conflicts = ledger(&pair.b);
    for (((table, expected, settled_by), here), there) in ended.iter().zip(rows(&pair.b)).zip(rows(&pair.a)) {
        assert_eq!((here.as_str(), there.as_str()), (*expected, *expected), "{table}");
        let conflict = of(&conflicts, table).unwrap_or_else(|| panic!("{table} is not in the ledger"));
        assert_eq!(
            json!([conflict["local"]["title"], conflict["remote"]["title"], conflict["settled_by"]]),
            json!(["mine", "theirs", settled_by]),
            "{conflict:#}"
        );
        assert_eq!((&conflict["remote_device"], &conflict["local_device"]), (&json!("a"), &json!("b")));
        assert!(conflict["local_at"].as_i64() < conflict["remote_at"].as_i64(), "{conflict:#}");
    }
    assert_eq!(ledger(&pair.a), Vec::<Json>::new());
    let noted = of(&conflicts, "doubt").unwrap()["note"].as_str().unwrap();
    assert!(noted.contains("title cannot be merged as counter: it takes a number and has another text"), "{noted}");

    // What a rule settled is taken back, and back again.
    for table in ["server", "client", "latest", "field", "merging", "rules", "revised"] {
        let id = of(&conflicts, table).unwrap()["id"].to_string();
        let told = pair.b.homing(&["conflicts", "undo", &id]);
        assert_eq!(told.code, 0, "{table}: {told:?}");
    }
    pair.all_but_marks_equal();
    let back = rows(&pair.a);
    let undone =
        [MINE, THEIRS, MINE, MINE, r#"mine|13|[2,"a","b"]"#, THEIRS, THEIRS, r#"mine|15|[2,"a","b"]"#, THEIRS, THEIRS];
    assert_eq!(back, undone);
    let id = of(&conflicts, "merging").unwrap()["id"].to_string();
    assert_eq!(pair.b.json(&["conflicts", "undo", &id])["settled_by"], "rule");
    pair.all_but_marks_equal();
    assert_eq!(rows(&pair.a)[4], r#"theirs|12|[2,"a","b"]"#);
}

#[test]
fn a_person_settles_by_side_by_column_and_by_value_and_the_app_sees_what_waits() {
    let pair = apart();
    let conflicts = ledger(&pair.b);
    let id = |table: &str| of(&conflicts, table).unwrap()["id"].to_string();
    let (by_hand, review, doubt) = (id("by_hand"), id("review"), id("doubt"));
    // The app sees which row waits, in a column of its own; no other device does.
    assert_eq!(pair.b.sql("SELECT conflict_seen FROM review; SELECT conflict_seen FROM by_hand"), "1\n0");
    assert_eq!(pair.a.sql("SELECT conflict_seen FROM review"), "0");
    assert_eq!(pair.b.sql("SELECT conflict_seen FROM doubt"), "1");
    let at_the_hub = "SELECT count(*) FROM pragma_table_info('review') WHERE name = 'conflict_seen'";
    assert_eq!(super::rig::sqlite3(&pair.hub.scope("ada"), at_the_hub), "0", "a mark is never sent");
    assert_eq!(pair.b.sql("SELECT count(*) FROM homing_conflicts WHERE settled IS NULL"), "3");
    pair.b.await_status("three wait", |status| status["conflicts"] == 3);

    // A column that both changed is not merged unasked.
    let told = pair.b.homing(&["conflicts", "resolve", &by_hand, "--take", "merged"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains("both sides changed title, n, tags"), "{told:?}");
    for refused in [["--set", "title2=x"], ["--set", "id=2"], ["--column", "title=both"]] {
        assert_ne!(pair.b.homing(&["conflicts", "resolve", &by_hand, refused[0], refused[1]]).code, 0, "{refused:?}");
    }
    let settled =
        pair.b.json(&["conflicts", "resolve", &by_hand, "--keep", "theirs", "--column", "title=mine", "--set", "n=99"]);
    assert_eq!(json!([settled["settled_by"], settled["result"]["n"]]), json!(["person", 99]), "{settled:#}");
    let told = pair.b.homing(&["conflicts", "resolve", &by_hand, "--take", "local"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains("settled by a person already") && told.err.contains("undo"), "{told:?}");
    assert!(told.err.contains("and now title is \"mine\", n is 99, tags is"), "{told:?}");
    let shown = pair.b.homing(&["conflicts", "show", &by_hand]).out;
    assert!(shown.contains("settled by a person\nBefore that: The remote's version stands here until"), "{shown}");

    // The row went on: nobody writes over it unasked.
    pair.b.sql("UPDATE review SET title = 'newer' WHERE id = 1");
    let told = pair.b.homing(&["conflicts", "resolve", &review, "--take", "local"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains("title is now \"newer\"") && told.err.contains("--anyway"), "{told:?}");
    assert_eq!(pair.b.homing(&["conflicts", "resolve", &review, "--take", "local", "--anyway"]).code, 0);
    assert_eq!(pair.b.sql("SELECT conflict_seen FROM review"), "0");
    assert_eq!(pair.b.homing(&["conflicts", "resolve", &doubt, "--take", "remote"]).code, 0);
    assert_eq!(pair.b.sql("SELECT conflict_seen FROM doubt"), "0");
    pair.b.await_status("none waits", |status| status["conflicts"] == 0);
    pair.all_but_marks_equal();
    let rows = rows(&pair.a);
    assert_eq!((rows[5].as_str(), rows[6].as_str(), rows[8].as_str()), (r#"mine|99|["a",2]"#, MINE, THEIRS));

    // Taken back, it is open again, on what stood before.
    let open = pair.b.json(&["conflicts", "undo", &review]);
    assert_eq!(open["settled_by"], Json::Null, "{open:#}");
    assert_eq!(pair.b.sql("SELECT conflict_seen FROM review"), "1");
    assert_eq!(pair.b.homing(&["conflicts", "undo", &review]).code, 3, "there is nothing to take back");
}

#[test]
fn a_delete_against_an_edit_is_a_question_and_its_answer_goes_to_all() {
    let mut pair = Pair::new("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)");
    for device in [&mut pair.a, &mut pair.b] {
        device.configure("[replica.notes.tables.notes]\nstrategy = { rule = 'field_level', deletes = 'manual' }\n");
    }
    pair.a.sql("INSERT INTO notes VALUES (1, 'kept'), (2, 'kept')");
    let mut pair = pair.start();
    pair.settle();
    pair.b.kill();
    pair.b.sql("UPDATE notes SET body = 'edited' WHERE id = 1; DELETE FROM notes WHERE id = 2");
    pair.a.sql("DELETE FROM notes WHERE id = 1; UPDATE notes SET body = 'edited' WHERE id = 2");
    pair.a.sync();
    pair.b.start();
    assert_eq!(pair.b.homing(&["sync", "--wait"]).code, 3);
    pair.all_equal();
    assert_eq!(pair.b.sql("SELECT id || body FROM notes"), "2edited");
    let conflicts = ledger(&pair.b);
    let kinds: Vec<&str> = conflicts.iter().map(|conflict| conflict["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"update_delete") && kinds.contains(&"delete_update"), "{kinds:?}");
    for conflict in &conflicts {
        assert_eq!(pair.b.homing(&["conflicts", "resolve", &conflict["id"].to_string(), "--keep", "mine"]).code, 0);
    }
    pair.settle();
    assert_eq!(pair.a.sql("SELECT id || body FROM notes"), "1edited");
    for conflict in &conflicts {
        assert_eq!(pair.b.homing(&["conflicts", "undo", &conflict["id"].to_string()]).code, 0);
    }
    pair.a.homing(&["sync", "--wait"]);
    pair.b.homing(&["sync", "--wait"]);
    pair.a.homing(&["sync", "--wait"]);
    pair.all_equal();
    assert_eq!(pair.a.sql("SELECT id || body FROM notes"), "2edited");
}

#[test]
fn rule_cases_beside_a_config_are_tried_and_a_broken_one_is_told() {
    let mut device = Device::new("a", "http://127.0.0.1:1", "token");
    device
        .configure("[replica.notes.tables.tasks]\nstrategy.columns = { votes = 'counter', status = 'server_wins' }\n");
    let config = device.config.to_str().unwrap().to_owned();
    let told = device.homing(&["test", "--config", &config]);
    assert_eq!(told.code, 78, "there are no cases yet: {told:?}");
    let cases = "
[[case]]
name = 'votes add up'
table = 'tasks'
base = { id = 1, votes = 10, title = 'x' }
local = { votes = 12 }
remote = { votes = 15, title = 'y' }
expected = { votes = 17, title = 'y' }

[[case]]
name = 'the hub has the last word on a status'
table = 'tasks'
base = { id = 1, status = 'open' }
local = { status = 'done' }
remote = { status = 'dropped' }
later = 'local'
expected = 'local'

[[case]]
name = 'a later deletion stands'
table = 'tasks'
base = { id = 1 }
local = { title = 'kept?' }
remote = 'deleted'
expected = 'deleted'
waits = false
";
    std::fs::write(device.home().join("homing.cases.toml"), cases).unwrap();
    let told = device.homing(&["test", "--config", &config]);
    assert_eq!(told.code, 1, "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!((lines[0], lines[1]), ("✓ votes add up", "✗ the hub has the last word on a status"), "{told:?}");
    assert!(lines[2].ends_with("homing.cases.toml:11"), "{told:?}");
    assert_eq!(lines[3], "    status: expected \"done\", found \"dropped\"");
    assert_eq!(lines[4], "    the rule says: Both sides changed status; server_wins decides.");
    assert_eq!(lines[6], "2 passed, 1 failed");
    std::fs::write(device.home().join("homing.cases.toml"), cases.replace("expected = 'local'", "expected = 'remote'"))
        .unwrap();
    let report = device.json(&["test", "--config", &config]);
    assert_eq!(json!([report["schema"], report["passed"], report["failed"]]), json!(["homing.test/1", 3, 0]));
}

#[test]
fn a_rule_for_a_column_that_cannot_follow_it_is_told_with_its_place() {
    let mut device = Device::new("a", "http://127.0.0.1:1", "token");
    device.sql("CREATE TABLE tasks(id INTEGER PRIMARY KEY, title TEXT, votes INTEGER, tags)");
    device.configure(
        "[replica.notes.tables.tasks.strategy]\ncolumns.vote = 'counter'\ncolumns.title = 'counter'\n\
         columns.id = 'server_wins'\niso = 'changed'\n",
    );
    let config = device.config.to_str().unwrap().to_owned();
    let told = device.homing(&["validate", "--config", &config]);
    assert_eq!(told.code, 78, "{told:?}");
    for expected in [
        ":21:16: notes: `replica.notes.tables.tasks.strategy.columns.vote`: tasks has no column `vote`; did you mean `votes`?",
        "counter takes numbers, and `title` is declared TEXT",
        "`id` is part of the key",
        "tasks has no column `changed`",
    ] {
        assert!(told.out.contains(expected), "{expected}\n{told:?}");
    }
    device.configure("[replica.notes.tables.tasks.strategy]\ncolumns.tags = 'set'\n");
    device.sql("INSERT INTO tasks VALUES (1, 'a', 0, '[1]')");
    assert_eq!(device.homing(&["validate", "--config", &config]).code, 0);
    device.sql("INSERT INTO tasks VALUES (2, 'b', 0, 'red, blue')");
    let told = device.homing(&["validate", "--config", &config]);
    assert!(told.out.contains("homing.toml:21:16: notes: tasks.tags has a value that set cannot merge"), "{told:?}");
    let problem = &device.json_of(78, &["validate", "--config", &config])["problems"][0];
    assert_eq!(json!([problem["line"], problem["column"]]), json!([21, 16]), "{problem:#}");

    // What a run would find of it: the one conflict waits, see `doubt` above.
    device.sql("DELETE FROM tasks WHERE id = 2");
    let cases = "[[case]]\nname = 'x'\ntable = 'task'\nlocal = {}\nremote = {}\nexpected = {}\n\
                 [[case]]\ntable = 'tasks'\nlocal = { vots = 1 }\nremote = 'deleted'\nexpected = 'remote'\n";
    let beside = device.home().join("homing.cases.toml");
    std::fs::write(&beside, cases).unwrap();
    let told = device.homing(&["validate", "--config", &config]);
    assert_eq!(told.code, 78, "{told:?}");
    for expected in [
        "homing.cases.toml:2:1: case `x`: the database has no table `task` that can sync; did you mean `tasks`?",
        "homing.cases.toml:8:1: case `a case of tasks`: tasks has no column `vots`; did you mean `votes`?",
    ] {
        assert!(told.out.contains(expected), "{expected}\n{told:?}");
    }
    std::fs::write(&beside, cases.replace("expected", "expects")).unwrap();
    let told = device.homing(&["validate", "--config", &config]);
    assert!(told.out.contains("cases.toml:6:1: unknown key `expects` in a case; did you mean `expected`?"), "{told:?}");
    device.configure("[replica.notes.tables.tasks]\nstrategy = 'field_lvl'\n");
    let told = device.homing(&["validate", "--config", &config]);
    assert!(told.err.contains(":21:12: ") && told.err.contains("did you mean `field_level`?"), "{told:?}");
}

#[test]
fn the_rule_cases_of_every_example_pass() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for example in ["egglogu", "harvest", "insight", "rockhound", "weave"] {
        let config = examples.join(example).join("homing.toml");
        let told = super::rig::homing(&examples).args(["test", "--config"]).arg(&config).output().unwrap();
        let out = String::from_utf8_lossy(&told.stdout);
        assert!(told.status.success() && out.contains("passed"), "{example}: {out}");
    }
}
