//! Apps that carry a SQLite of 2018: the triggers and views in their files are read,
//! fired and understood by a library as old as 3.24, the first with UPSERT.
//!
//! `tests/run` builds the program (`tests/rigs/old-sqlite`) and names it in
//! `HOMING_OLD_SQLITE`; without it these tests say that they were skipped.

use std::path::PathBuf;

use super::rig::{Device, Pair, program_on};

fn old_sqlite() -> Option<PathBuf> {
    let program = std::env::var_os("HOMING_OLD_SQLITE").map(PathBuf::from);
    if program.is_none() {
        eprintln!("skipped: HOMING_OLD_SQLITE names no program (tests/run builds it)");
    }
    program
}

const SCHEMA: &str = "
    CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT UNIQUE);
    CREATE TABLE tasks(id TEXT PRIMARY KEY, project INTEGER REFERENCES projects(id) ON DELETE CASCADE, title, done REAL);
    CREATE TABLE members(project INTEGER, person TEXT COLLATE NOCASE, role, PRIMARY KEY(project, person)) WITHOUT ROWID;
    CREATE TABLE odd(rowid TEXT, k, v, PRIMARY KEY(rowid, k))";

#[test]
fn writes_of_an_app_with_sqlite_3_24_are_captured_and_those_of_others_reach_it() {
    let Some(program) = old_sqlite() else { return };
    let pair = Pair::new(SCHEMA).start();
    let old = |device: &Device, sql: &str| program_on(&program, &device.database, sql);
    assert_eq!(old(&pair.a, "SELECT sqlite_version()"), "3.24.0");
    pair.a.sync();
    pair.b.sync();
    for sql in [
        "BEGIN;\n INSERT INTO projects VALUES (1, 'Garden', 'g'), (2, 'House', 'h');\n
         INSERT INTO tasks VALUES ('t1', 1, 'Water', 0.5), ('t2', 2, x'00ff', NULL), ('t3', 2, 9007199254740993, 1);\n
         INSERT INTO members VALUES (1, 'Ada', NULL), (1, 'bob', 1);\n
         INSERT INTO odd VALUES ('o', NULL, 1), ('o', 1, 2), ('o', 1.5, 3);\n COMMIT",
        "INSERT INTO projects VALUES (1, 'Yard', 'y') ON CONFLICT(id) DO UPDATE SET name = excluded.name",
        "INSERT OR REPLACE INTO members VALUES (1, 'ADA', 'lead')",
        "UPDATE tasks SET id = 't9', title = 'moved' WHERE id = 't1'",
        "BEGIN;\n UPDATE projects SET code = 'x' WHERE id = 1;\n UPDATE projects SET code = 'g' WHERE id = 2;\n
         UPDATE projects SET code = 'h' WHERE id = 1;\n COMMIT",
        "DELETE FROM projects WHERE id = 2",
        "SAVEPOINT s;\n DELETE FROM tasks;\n ROLLBACK TO s;\n RELEASE s",
        "ALTER TABLE tasks ADD COLUMN note TEXT DEFAULT 'none'",
        "UPDATE tasks SET note = 'seen' WHERE id = 't9'",
        "DELETE FROM odd WHERE k IS NULL",
    ] {
        old(&pair.a, sql);
    }
    pair.b.sql("ALTER TABLE tasks ADD COLUMN note TEXT DEFAULT 'none'");
    pair.settle();
    assert_eq!(pair.b.sql("SELECT * FROM tasks"), "t9|1|moved|0.5|seen");
    assert_eq!(pair.b.sql("SELECT * FROM members"), "1|ADA|lead\n1|bob|1");
    pair.b.sql("INSERT INTO tasks VALUES ('t4', 1, 'from the new one', 2, NULL)");
    pair.settle();
    assert_eq!(old(&pair.a, "SELECT title FROM tasks WHERE id = 't4'"), "from the new one");
    // What it asks for beside rows has a key of its own each time.
    let asked = "BEGIN;\n INSERT INTO _homing_actions(action, payload) VALUES ('one', '{}'), ('two', NULL);\n
                 SELECT count(DISTINCT uuid), min(length(uuid)), min(at) > 2460000, max(state) FROM _homing_actions;\n ROLLBACK";
    assert_eq!(old(&pair.a, asked), "2|32|1|pending");
}

#[test]
fn the_views_for_apps_are_understood_by_sqlite_3_24() {
    let Some(program) = old_sqlite() else { return };
    let mut pair = Pair::new(SCHEMA);
    pair.a.start();
    pair.a.sync();
    pair.hub.kill();
    program_on(&program, &pair.a.database, "INSERT INTO projects VALUES (7, 'Shed', NULL)");
    let pending = "SELECT table_name, key, operation FROM homing_pending";
    assert_eq!(program_on(&program, &pair.a.database, pending), "projects|[7]|insert");
    assert_eq!(program_on(&program, &pair.a.database, "SELECT count(*) FROM homing_conflicts"), "0");
    program_on(&program, &pair.a.database, "SELECT name, value FROM homing_status");
    assert_eq!(program_on(&program, &pair.a.database, "PRAGMA integrity_check"), "ok");
}
