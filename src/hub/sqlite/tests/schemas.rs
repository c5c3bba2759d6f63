//! The tables a hub makes from what replicas bring, and how they grow.

use super::*;
use crate::model::{Column, ForeignKey, Unique};

#[test]
fn tables_are_made_as_the_replica_has_them() {
    let sql = "CREATE TABLE parents(id INTEGER PRIMARY KEY, code TEXT NOT NULL DEFAULT 'x' UNIQUE);
        CREATE TABLE kids(a TEXT COLLATE NOCASE, b REAL NOT NULL, up INTEGER REFERENCES parents(id) ON DELETE SET NULL,
            made TEXT DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY(b, a)) WITHOUT ROWID;
        CREATE TABLE exact(id INT PRIMARY KEY, v ANY) STRICT; CREATE UNIQUE INDEX one ON kids(up, made)";
    let mut rig = Rig::new(sql);
    let welcome = rig.hello("ada", "b", "");
    assert_eq!(welcome.tables, tables(sql));
}

#[test]
fn columns_added_later_come_along_and_shorter_replicas_go_on() {
    let mut rig = Rig::new("CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT)");
    let mut old = rig.device("old");
    old.put("notes", "id", "x", 0, &[("id", v("x")), ("body", v("1"))]);
    old.push(&mut rig);
    let grown =
        "CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT, stars INTEGER NOT NULL DEFAULT 3, tag TEXT NOT NULL)";
    let welcome = rig.hello("ada", "new", grown);
    assert_eq!(welcome.refused, []);
    assert_eq!(welcome.tables[0].column_names(), ["id", "body", "stars", "tag"]);
    // A row that nobody touched is not sent again for it.
    assert_eq!(rows(&rig.pull("b", Some("l.epoch-1.1"))), [""; 0]);
    let mut new = rig.device("new");
    new.put("notes", "id", "x", 1, &[("stars", v(5)), ("tag", v("t"))]);
    assert_eq!(new.told(&mut rig), ["2"]);
    old.put("notes", "id", "y", 0, &[("id", v("y")), ("body", v("2"))]);
    assert_eq!(old.told(&mut rig), ["3"]);
    let page = rig.pull("b", Some("l.epoch-1.0"));
    assert_eq!(rows(&page), ["notes [\"x\",\"1\",5,\"t\"]", "notes [\"y\",\"2\",3,null]"]);
}

#[test]
fn a_token_that_may_not_bring_tables_is_told_what_is_missing() {
    let mut rig = Rig::new("CREATE TABLE notes(id TEXT PRIMARY KEY)");
    let mut who = Who::owner("bob");
    who.may_bring_tables = false;
    let sql = "CREATE TABLE notes(id TEXT PRIMARY KEY, more); CREATE TABLE other(id PRIMARY KEY)";
    let welcome = rig.hello_as(&who, "b", tables(sql));
    let refused: Vec<_> = welcome.refused.iter().map(|one| format!("{}.{}", one.table, one.column)).collect();
    assert_eq!(refused, ["notes.more", "other."]);
    assert_eq!(rig.ask("SELECT name FROM pragma_table_info('notes')"), ["id"]);
}

#[test]
fn another_primary_key_is_refused_with_the_hubs_own() {
    let mut rig = Rig::new("CREATE TABLE notes(id TEXT PRIMARY KEY, n)");
    let welcome = rig.hello("ada", "b", "CREATE TABLE notes(id TEXT, n PRIMARY KEY)");
    assert!(welcome.refused[0].text.contains("(id)"), "{}", welcome.refused[0].text);
}

#[test]
fn hostile_schemas_are_refused_or_made_harmless() {
    let mut rig = Rig::new("CREATE TABLE notes(id TEXT PRIMARY KEY)");
    let column = |name: &str| Column { name: name.into(), ..Column::default() };
    let plain = |name: &str| Table {
        name: name.into(),
        columns: vec![column("id")],
        key: vec!["id".into()],
        ..Table::default()
    };
    let mut hostile = vec![
        plain(""),
        plain("sqlite_x"),
        plain("_HUB_row"),
        plain("_homing_x"),
        plain("nul\0"),
        plain(&"x".repeat(201)),
        Table { key: vec![], ..plain("no_key") },
        Table { key: vec!["nowhere".into()], ..plain("bad_key") },
        Table { columns: vec![], ..plain("no_columns") },
        Table { columns: vec![column("id"), column("ID")], ..plain("twice") },
        Table { columns: vec![Column { collation: Some("x; DROP".into()), ..column("id") }], ..plain("collated") },
        Table { unique: vec![Unique { columns: vec!["q".into()], constraint: true }], ..plain("bad_unique") },
        Table {
            columns: vec![Column { declared: "DATETIME".into(), ..column("id") }],
            strict: true,
            ..plain("odd_strict")
        },
    ];
    let count = hostile.len();
    hostile.push(Table {
        columns: vec![
            column("id"),
            Column {
                declared: "TEXT); DROP TABLE notes; --".into(),
                default: Some("(SELECT 1); DROP TABLE notes".into()),
                not_null: true,
                ..column("a\"); DROP TABLE notes; --")
            },
        ],
        foreign_keys: vec![ForeignKey {
            columns: vec!["id".into()],
            parent: "notes".into(),
            parent_columns: vec!["id".into()],
            on_delete: "CASCADE; DROP TABLE notes".into(),
            on_update: String::new(),
        }],
        ..plain("x\"; DROP TABLE notes; --")
    });
    let welcome = rig.hello_as(&Who::owner("eve"), "e", hostile);
    assert_eq!(welcome.refused.len(), count, "{:#?}", welcome.refused);
    let names: Vec<_> = welcome.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["notes", "x\"; DROP TABLE notes; --"]);
    assert_eq!(welcome.tables[1].columns[1].declared, "");
    assert_eq!(welcome.tables[1].columns[1].default, None);
    // And a row of the oddly named table makes the round trip.
    let mut eve = rig.device("e");
    let name = "x\"; DROP TABLE notes; --";
    eve.put(name, "id", "1", 0, &[("id", v("1")), ("a\"); DROP TABLE notes; --", v("y"))]);
    eve.put("notes", "id", "1", 0, &[("id", v("1"))]);
    assert_eq!(eve.told(&mut rig), ["1", "2"]);
    assert_eq!(rows(&rig.pull("b", None)), ["notes [\"1\"]".to_owned(), format!("{name} [\"1\",\"y\"]")]);
}

#[test]
fn a_foreign_key_to_a_table_that_does_not_sync_stays_behind() {
    let mut rig = Rig::new("");
    let mut with_parent = tables("CREATE TABLE a(id PRIMARY KEY); CREATE TABLE b(id PRIMARY KEY, up REFERENCES a(id))");
    with_parent.retain(|table| table.name == "b");
    let welcome = rig.hello_as(&Who::owner("ada"), "a", with_parent);
    assert_eq!(welcome.tables[0].foreign_keys, []);
    let mut ada = rig.device("a");
    ada.put("b", "id", 1, 0, &[("id", v(1)), ("up", v(9))]);
    assert_eq!(ada.told(&mut rig), ["1"]);
}

#[test]
fn hello_twice_changes_nothing() {
    let sql = "CREATE TABLE notes(id TEXT PRIMARY KEY COLLATE NOCASE, body UNIQUE)";
    let mut rig = Rig::new(sql);
    let before = rig.ask("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY 1");
    rig.hello("ada", "a", sql);
    assert_eq!(rig.ask("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY 1"), before);
}
