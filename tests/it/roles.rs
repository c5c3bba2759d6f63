//! The manager wins: a token carries a role, the hub puts it on every change, and a table's
//! `roles` say whose version stands, whoever wrote later and whoever came first.

use super::rig::Pair;

const TABLES: &str = "CREATE TABLE settings(id INTEGER PRIMARY KEY, colour TEXT, size INTEGER);
    CREATE TABLE forms(id INTEGER PRIMARY KEY, title TEXT, pages INTEGER, note TEXT);
    CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT);";

const RULES: &str = "[replica.notes.tables.settings]
strategy = { rule = 'latest_timestamp', roles = ['manager'] }
[replica.notes.tables.forms]
strategy = { rule = 'field_level', roles = ['owner', 'manager'] }
";

#[test]
fn the_managers_version_stands_whoever_wrote_later_and_whoever_came_first() {
    let mut pair = Pair::new(TABLES);
    pair.a.sign_in(&pair.hub.token(&["--account", "ada", "--role", "manager"]));
    pair.b.sign_in(&pair.hub.token(&["--account", "ada", "--role", "worker"]));
    for device in [&mut pair.a, &mut pair.b] {
        device.configure(RULES);
    }
    pair.b.sql(
        "INSERT INTO settings VALUES (1, 'red', 1), (2, 'red', 1), (3, 'red', 1);
         INSERT INTO forms VALUES (1, 'old', 1, ''), (2, 'old', 1, ''); INSERT INTO notes VALUES (1, 'old'), (2, 'old')",
    );
    let mut pair = pair.start();
    pair.settle();

    let manager = |id: u8| {
        format!(
            "UPDATE settings SET colour = 'manager' WHERE id = {id}; UPDATE notes SET body = 'manager' WHERE id = {id};
             UPDATE forms SET title = 'manager', pages = 2 WHERE id = {id}"
        )
    };
    let worker = |id: u8| {
        format!(
            "UPDATE settings SET colour = 'worker' WHERE id = {id}; UPDATE notes SET body = 'worker' WHERE id = {id};
             UPDATE forms SET title = 'worker', note = 'seen' WHERE id = {id}"
        )
    };
    // The manager comes first; the worker, who wrote later, resolves.
    pair.b.kill();
    pair.a.sql(&format!("{}; UPDATE settings SET size = 2 WHERE id = 3", manager(1)));
    pair.a.sync();
    pair.b.sql(&format!("{}; DELETE FROM settings WHERE id = 3", worker(1)));
    pair.b.start();
    pair.settle();
    // The worker comes first and wrote later; the manager resolves.
    pair.a.kill();
    pair.a.sql(&manager(2));
    pair.b.sql(&worker(2));
    pair.b.sync();
    pair.a.start();
    pair.settle();
    assert_eq!(pair.a.sql("SELECT * FROM settings"), "1|manager|1\n2|manager|1\n3|red|2");
    assert_eq!(pair.b.sql("SELECT * FROM forms"), "1|manager|2|seen\n2|manager|2|seen");
    // A table without the rule goes by time.
    assert_eq!(pair.b.sql("SELECT * FROM notes"), "1|worker\n2|worker");
    let note = &pair.b.json(&["conflicts", "list"])["conflicts"];
    let told = note.as_array().unwrap().iter().find(|conflict| conflict["table"] == "settings").unwrap();
    assert_eq!(told["note"], "The remote has the version of the role manager, which stands.", "{told:#}");
}
