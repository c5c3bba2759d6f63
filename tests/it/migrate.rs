//! Apps that change their tables while an agent watches, one device before the other.

use serde_json::json;

use super::rig::{Device, Hub, Pair, dump, eventually};

const NOTES: &str = "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)";

#[test]
fn a_column_that_one_app_has_first_waits_for_the_other_and_loses_nothing() {
    let pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'one'), (2, 'two')");
    pair.settle();
    pair.a
        .sql("ALTER TABLE notes ADD COLUMN colour TEXT DEFAULT 'white'; UPDATE notes SET colour = 'red' WHERE id = 1");
    eventually("the hub has the column", || {
        dump(&pair.hub.scope("ada"))["notes"].iter().any(|row| row.contains("colour=t\"red\""))
    });
    // The older app goes on, and does not wipe what it cannot see.
    pair.b.sql("UPDATE notes SET body = 'uno' WHERE id = 1; INSERT INTO notes VALUES (3, 'three')");
    pair.b.sync();
    pair.a.sync();
    assert_eq!(pair.a.sql("SELECT body, colour FROM notes ORDER BY id"), "uno|red\ntwo|white\nthree|white");
    // It is upgraded; the column comes with what was written before.
    pair.b.sql("ALTER TABLE notes ADD COLUMN colour TEXT DEFAULT 'white'");
    pair.settle();
    assert_eq!(pair.b.sql("SELECT body, colour FROM notes ORDER BY id"), "uno|red\ntwo|white\nthree|white");
    for device in [&pair.a, &pair.b] {
        assert_eq!(device.json(&["conflicts", "list"])["conflicts"], json!([]), "{}", device.name);
    }
}

#[test]
fn an_upgrade_while_edits_are_unsent_keeps_them_and_what_the_new_column_holds_elsewhere() {
    let mut pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    pair.settle();
    pair.b.kill();
    pair.a
        .sql("ALTER TABLE notes ADD COLUMN colour TEXT DEFAULT 'white'; UPDATE notes SET colour = 'red' WHERE id < 3");
    pair.a.sync();
    // The app is used before its upgrade and after it, and its agent comes later.
    pair.b.sql("UPDATE notes SET body = 'uno' WHERE id = 1");
    pair.b.sql("ALTER TABLE notes ADD COLUMN colour TEXT DEFAULT 'white'; UPDATE notes SET body = 'tre' WHERE id = 3");
    pair.b.start();
    pair.settle();
    assert_eq!(pair.a.sql("SELECT body, colour FROM notes ORDER BY id"), "uno|red\ntwo|red\ntre|white");
}

#[test]
fn a_table_rebuilt_by_a_migration_is_captured_on_and_what_was_missed_is_found() {
    let pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'one'), (2, 'two'), (3, 'three')");
    pair.settle();
    // The way SQLite's manual has it, with edits in between that no trigger sees.
    pair.a.python(
        "db.execute('PRAGMA foreign_keys = OFF')\n\
         db.executescript(\"\"\"BEGIN;\n\
             CREATE TABLE fresh(id INTEGER PRIMARY KEY, body TEXT NOT NULL DEFAULT '', size INTEGER);\n\
             INSERT INTO fresh(id, body) SELECT id, body FROM notes;\n\
             DROP TABLE notes; ALTER TABLE fresh RENAME TO notes;\n\
             UPDATE notes SET body = 'unseen' WHERE id = 1; DELETE FROM notes WHERE id = 2;\n\
             COMMIT;\"\"\")",
    );
    eventually("what was missed arrives", || {
        pair.b.sql("SELECT group_concat(id || body) FROM notes") == "1unseen,3three"
    });
    pair.a.sql("INSERT INTO notes(id, body) VALUES (4, 'captured again'); VACUUM");
    eventually("capture goes on", || pair.b.sql("SELECT count(*) FROM notes") == "3");
    pair.b.sql("ALTER TABLE notes ADD COLUMN size INTEGER");
    pair.settle();
}

#[test]
fn tables_that_come_and_go_in_the_app_are_followed() {
    let pair = Pair::new(NOTES).start();
    pair.a.sql(
        "CREATE TABLE tags(name TEXT PRIMARY KEY, uses INTEGER) WITHOUT ROWID; INSERT INTO tags VALUES ('red', 1)",
    );
    eventually("the new table is at the hub", || {
        dump(&pair.hub.scope("ada")).get("tags").is_some_and(|rows| rows.len() == 1)
    });
    pair.b.sync();
    pair.b.sql("CREATE TABLE tags(name TEXT PRIMARY KEY, uses INTEGER) WITHOUT ROWID");
    eventually("its rows come as soon as there is a place", || pair.b.sql("SELECT count(*) FROM tags") == "1");
    pair.settle();
    // One app drops it: that is no deletion of the others' rows.
    pair.a.sql("DROP TABLE tags");
    pair.a.sync();
    pair.b.sync();
    assert_eq!(pair.b.sql("SELECT count(*) FROM tags"), "1");
    let notes = pair.a.status()["notes"].to_string();
    assert!(notes.contains("tags"), "{notes}");
    pair.a.sql("CREATE TABLE tags(name TEXT PRIMARY KEY, uses INTEGER) WITHOUT ROWID");
    pair.settle();
    assert_eq!(pair.a.sql("SELECT count(*) FROM tags"), "1");
}

#[test]
fn a_table_that_cannot_sync_is_named_and_the_others_go_on() {
    let mut pair = Pair::new(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE lines(what TEXT); INSERT INTO lines VALUES ('x')",
    );
    pair.a.start();
    pair.a.sync();
    let status = pair.a.homing(&["status"]);
    assert!(status.out.contains("note: lines does not sync: "), "{}", status.out);
}

/// The first five minutes: a person's database, a hub, and nothing else.
#[test]
fn init_writes_a_config_that_an_agent_runs_with() {
    let hub = Hub::start();
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE projects(id TEXT PRIMARY KEY, name TEXT); CREATE TABLE tasks(id TEXT PRIMARY KEY, project TEXT REFERENCES projects(id)); CREATE TABLE lines(what TEXT)");
    device.sql("INSERT INTO projects VALUES ('p', 'Garden'); INSERT INTO tasks VALUES ('t', 'p')");
    let before = std::fs::read(&device.database).unwrap();
    std::fs::remove_file(&device.config).unwrap();
    let told = device.homing(&[
        "init",
        device.database.to_str().unwrap(),
        "--hub",
        &hub.url(),
        "--token-file",
        device.token_file.to_str().unwrap(),
        "--output",
        device.config.to_str().unwrap(),
    ]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("lines") || told.err.contains("lines"), "what cannot sync is named: {told:?}");
    assert_eq!(std::fs::read(&device.database).unwrap(), before, "nothing else is written");
    assert_eq!(device.homing(&["validate", "--config", device.config.to_str().unwrap()]).code, 0);
    let text = std::fs::read_to_string(&device.config).unwrap();
    let own = format!("socket = \"{}\"\nstate_dir = \"{}\"\n", device.socket.display(), device.state_dir().display());
    std::fs::write(&device.config, own + &text).unwrap();
    device.start();
    device.sync();
    let there = dump(&hub.scope("ada"));
    assert_eq!((there["projects"].len(), there["tasks"].len(), there.get("lines")), (1, 1, None));
}
