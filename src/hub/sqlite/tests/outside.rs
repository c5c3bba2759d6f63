//! What other SQL clients write into a scope: noticed, numbered, logged.

use super::*;

const NOTES: &str = "CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT UNIQUE)";

#[test]
fn what_an_sql_client_writes_gets_revisions_and_the_account_sql() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    ada.put("notes", "id", "x", 0, &[("id", v("x")), ("body", v("1"))]);
    ada.put("notes", "id", "y", 0, &[("id", v("y")), ("body", v("2"))]);
    ada.push(&mut rig);
    rig.sql(
        "INSERT INTO notes VALUES ('z', '3'); UPDATE notes SET body = '1!' WHERE id = 'x';
         DELETE FROM notes WHERE id = 'y'; UPDATE notes SET body = body",
    );
    let page = rig.pull("a", Some("l.epoch-1.2"));
    assert_eq!(rows(&page), ["notes [\"z\",\"3\"]", "notes [\"x\",\"1!\"]", "-notes [\"y\"]"]);
    assert_eq!(rig.trail("notes", Key::from(vec![v("x").0])), ["4 update sql ", "1 insert ada "]);
    // A push that was based on what was there before meets it.
    ada.put("notes", "id", "x", 1, &[("body", v("mine"))]);
    let outcomes = ada.push(&mut rig);
    assert_eq!(conflict(&outcomes[0]).row.as_ref().unwrap().revision, Revision(4));
    assert_eq!(conflict(&outcomes[0]).columns, [""; 0]);
}

#[test]
fn a_key_changed_by_sql_is_a_deletion_and_an_insert() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('x', '1')");
    let page = rig.pull("a", Some("l.epoch-1.0"));
    rig.sql("UPDATE notes SET id = 'X'");
    let page = rig.pull("a", Some(&page.cursor));
    assert_eq!(rows(&page), ["-notes [\"x\"]", "notes [\"X\",\"1\"]"]);
}

#[test]
fn trap_17_a_row_evicted_by_replace_is_found() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('x', '1')");
    let page = rig.pull("a", Some("l.epoch-1.0"));
    rig.sql("INSERT OR REPLACE INTO notes VALUES ('y', '1')");
    let mut rows = rows(&rig.pull("a", Some(&page.cursor)));
    rows.sort();
    assert_eq!(rows, ["-notes [\"x\"]", "notes [\"y\",\"1\"]"]);
}

#[test]
fn trap_16_a_table_rebuilt_by_a_migration_is_watched_again_and_what_was_missed_is_found() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('same', '1'), ('changed', '2'), ('gone', '3')");
    let page = rig.pull("a", Some("l.epoch-1.0"));
    rig.sql(
        "BEGIN; CREATE TABLE new(id TEXT PRIMARY KEY, body TEXT, added INTEGER DEFAULT 7);
         INSERT INTO new(id, body) SELECT id, body FROM notes; DROP TABLE notes; ALTER TABLE new RENAME TO notes;
         COMMIT;
         UPDATE notes SET body = '2!' WHERE id = 'changed'; DELETE FROM notes WHERE id = 'gone';
         INSERT INTO notes VALUES ('fresh', '4', 8)",
    );
    let page = rig.pull("a", Some(&page.cursor));
    let mut found = rows(&page);
    found.sort();
    assert_eq!(found, ["-notes [\"gone\"]", "notes [\"changed\",\"2!\",7]", "notes [\"fresh\",\"4\",8]"]);
    // And from now on by trigger again.
    rig.sql("UPDATE notes SET body = '5' WHERE id = 'same'");
    assert_eq!(rows(&rig.pull("a", Some(&page.cursor))), ["notes [\"same\",\"5\",7]"]);
}

#[test]
fn columns_added_renamed_and_dropped_by_sql_leave_capture_whole() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('x', '1')");
    let mut cursor = rig.pull("a", Some("l.epoch-1.0")).cursor;
    for (change, expected) in [
        ("ALTER TABLE notes ADD COLUMN n; UPDATE notes SET n = 1", "notes [\"x\",\"1\",1]"),
        ("ALTER TABLE notes ADD COLUMN m DEFAULT 5; UPDATE notes SET m = 6", "notes [\"x\",\"1\",1,6]"),
        ("ALTER TABLE notes RENAME COLUMN n TO o; UPDATE notes SET o = 2", "notes [\"x\",\"1\",2,6]"),
        ("ALTER TABLE notes DROP COLUMN o; UPDATE notes SET m = 7", "notes [\"x\",\"1\",7]"),
        ("VACUUM; UPDATE notes SET m = 8", "notes [\"x\",\"1\",8]"),
    ] {
        rig.sql(change);
        let page = rig.pull("a", Some(&cursor));
        assert_eq!(rows(&page), [expected], "{change}");
        cursor = page.cursor;
        // Nothing is left that would come twice.
        assert_eq!(rows(&rig.pull("a", Some(&cursor))), [""; 0], "{change}");
    }
}

#[test]
fn a_table_made_by_sql_syncs_with_the_rows_it_has() {
    let mut rig = Rig::new(NOTES);
    rig.sql("CREATE TABLE own(a, b, c, v, PRIMARY KEY(a, b, c)); INSERT INTO own VALUES (1, 2, 3, 'x')");
    assert_eq!(rows(&rig.pull("a", Some("l.epoch-1.0"))), ["own [1,2,3,\"x\"]"]);
    rig.sql("DELETE FROM own");
    assert_eq!(rows(&rig.pull("a", Some("l.epoch-1.1"))), ["-own [1,2,3]"]);
}

#[test]
fn a_table_dropped_by_sql_is_no_mass_deletion_and_comes_back_as_it_is_then() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('x', '1'), ('y', '2')");
    let cursor = rig.pull("a", Some("l.epoch-1.0")).cursor;
    rig.sql("DROP TABLE notes");
    assert_eq!(rows(&rig.pull("a", Some(&cursor))), [""; 0]);
    assert_eq!(rows(&rig.pull("b", None)), [""; 0]);
    rig.sql("CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT UNIQUE); INSERT INTO notes VALUES ('x', '1')");
    assert_eq!(rows(&rig.pull("a", Some(&cursor))), ["-notes [\"y\"]"]);
}

#[test]
fn a_big_backlog_is_taken_in_before_anything_is_answered() {
    let mut rig = Rig::new(NOTES);
    rig.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
         INSERT INTO notes SELECT 'n' || i, i FROM n",
    );
    assert_eq!(rig.scope.look_around(NOW).unwrap(), Revision(25_000));
    assert_eq!(rig.ask("SELECT count(*) || '' FROM _hub_log"), ["0"]);
}

#[test]
fn looking_around_hears_of_an_sql_client() {
    let mut rig = Rig::new(NOTES);
    assert_eq!(rig.scope.look_around(NOW).unwrap(), Revision(0));
    rig.sql("INSERT INTO notes VALUES ('x', '1')");
    assert_eq!(rig.scope.look_around(NOW).unwrap(), Revision(1));
    assert_eq!(rig.scope.look_around(NOW).unwrap(), Revision(1));
}

#[test]
fn a_row_taken_out_past_the_triggers_is_a_deletion_to_whoever_writes_it_next() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    ada.put("notes", "id", "x", 0, &[("id", v("x")), ("body", v("1"))]);
    ada.put("notes", "id", "y", 0, &[("id", v("y")), ("body", v("2"))]);
    ada.push(&mut rig);
    past_the_triggers(&rig, "DELETE FROM notes");
    ada.put("notes", "id", "x", 1, &[("body", v("mine"))]);
    ada.put("notes", "id", "y", 2, &[("id", v("y")), ("body", v("mine"))]);
    assert_eq!(ada.told(&mut rig), ["moved_on", "moved_on"]);
    assert_eq!(rows(&rig.pull("b", Some("l.epoch-1.0"))), ["-notes [\"x\"]", "-notes [\"y\"]"]);
}

#[test]
fn what_was_written_past_the_triggers_is_found_when_somebody_compares() {
    let mut rig = Rig::new(NOTES);
    rig.sql("INSERT INTO notes VALUES ('same', '1'), ('changed', '2'), ('gone', '3')");
    let page = rig.pull("a", Some("l.epoch-1.0"));
    past_the_triggers(
        &rig,
        "UPDATE notes SET body = '2!' WHERE id = 'changed'; DELETE FROM notes WHERE id = 'gone';
         INSERT INTO notes VALUES ('fresh', '4')",
    );
    assert_eq!(rows(&rig.pull("a", Some(&page.cursor))), [""; 0]);
    let request = crate::protocol::DigestRequest {
        protocol: VERSION,
        table: "notes".into(),
        columns: vec!["id".into(), "body".into()],
        after: Some(String::new()),
        rows_max: 10,
    };
    assert_eq!(rig.scope.digest(&request, NOW).unwrap().entries.len(), 3);
    let mut found = rows(&rig.pull("a", Some(&page.cursor)));
    found.sort();
    assert_eq!(found, ["-notes [\"gone\"]", "notes [\"changed\",\"2!\"]", "notes [\"fresh\",\"4\"]"]);
}

fn past_the_triggers(rig: &Rig, sql: &str) {
    let db = Connection::open(&rig.path).unwrap();
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    db.execute_batch(sql).unwrap();
}
