//! Two devices and a hub, written to by other programs, end equal to the byte.

use std::time::{Duration, Instant};

use homing::ipc::client::Heard;
use homing::ipc::{Client, Topic};
use serde_json::json;

use super::rig::{self, Device, LONG, Mode, Pair, Road, dump, eventually, has};

/// Every shape of table and key that an app may have.
const SCHEMA: &str = "
    CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT UNIQUE);
    CREATE TABLE tasks(id TEXT PRIMARY KEY, project INTEGER REFERENCES projects(id) ON DELETE CASCADE,
        up TEXT REFERENCES tasks(id), title TEXT, done INTEGER NOT NULL DEFAULT 0, raw BLOB, thing);
    CREATE TABLE members(project INTEGER NOT NULL REFERENCES projects(id), person TEXT NOT NULL COLLATE NOCASE, role,
        PRIMARY KEY(project, person)) WITHOUT ROWID;
    CREATE TABLE measures(id INTEGER PRIMARY KEY, name TEXT NOT NULL, value REAL, whole INT, raw BLOB, thing ANY) STRICT;
    CREATE TABLE prices(sku TEXT PRIMARY KEY, net REAL, vat REAL, gross REAL GENERATED ALWAYS AS (net * (1 + vat)) STORED,
        label TEXT GENERATED ALWAYS AS (sku || '!') VIRTUAL);
    CREATE TABLE odd(\"rowid\" TEXT, \"a \"\"b\", \"select\", PRIMARY KEY(\"rowid\", \"a \"\"b\"));
    CREATE TABLE bare(thing PRIMARY KEY, note);
    CREATE INDEX tasks_by_project ON tasks(project);
";

fn small(rows: &str) -> String {
    format!("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); INSERT INTO notes VALUES {rows}")
}

#[test]
fn edits_on_both_sides_by_other_programs_and_one_away_for_a_while_end_equal_to_the_byte() {
    if !has("sqlite3") || !has("python3") {
        return;
    }
    let mut pair = Pair::new(SCHEMA);
    let road = Road::to(&pair.hub.address());
    let token = std::fs::read_to_string(&pair.a.token_file).unwrap();
    pair.b = Device::new("b", &road.url(), &token);
    pair.b.sql(SCHEMA);
    pair.a.sql("PRAGMA journal_mode = WAL");
    let mut pair = pair.start();
    pair.a.sql(
        "INSERT INTO projects VALUES (1, 'Garden', 'g'), (2, 'House', 'h'), (9223372036854775807, 'last', NULL),
            (-9223372036854775808, 'first', 'f');
         INSERT INTO tasks VALUES ('t1', 1, NULL, 'Water', 0, x'00ff', 9007199254740993), ('t2', 1, 't1', NULL, 1, x'', 1e999),
            ('t3', 2, 't2', cast(x'ff00fe' AS TEXT), 0, NULL, -1e999), ('', NULL, '', 'self', 0, NULL, '');
         INSERT INTO members VALUES (1, 'Ada', NULL), (1, 'bob', x'01'), (2, 'Ada', 1.0);
         INSERT INTO measures VALUES (1, 'x', 1, 1, x'01', 1), (2, 'y', -0.0, NULL, NULL, '1'), (3, 'z', 1e308, -1, x'', x'31');
         INSERT INTO prices(sku, net, vat) VALUES ('a', 10, 0.19), ('b', NULL, 0.07)",
    );
    pair.b.python(
        r#"
db.text_factory = bytes
db.executemany('INSERT INTO odd VALUES (?, ?, ?)', [('k', None, 1), ('k', 1, 2), ('k', 1.5, float('inf')), ('k', b'\x00', 2**63 - 1), ('', '', -2**63)])
db.executemany('INSERT INTO bare VALUES (?, ?)', [(1, 'i'), ('1', 't'), (b'1', 'b'), (-0.5, 'r'), (1e300, -0.0), ('a\x00b', 'nul')])
db.execute("INSERT INTO projects VALUES (77, 'Python', 'py')")
db.execute("INSERT INTO tasks VALUES ('p1', 77, NULL, ?, 0, ?, ?)", ('\U0001f41d' * 1000, bytes(range(256)) * 40, 1.1))
"#,
    );
    pair.settle();

    // B is away; both go on.
    road.set(Mode::Cut);
    pair.b.python(
        r#"
db.execute("UPDATE tasks SET title = title || '!', thing = 1.0 WHERE id IN ('t1', 'p1')")
db.execute("DELETE FROM members WHERE person = 'BOB'")
db.execute("UPDATE projects SET code = CASE code WHEN 'g' THEN 'x1' WHEN 'py' THEN 'x2' ELSE code END")
db.execute("UPDATE projects SET code = CASE code WHEN 'x1' THEN 'py' WHEN 'x2' THEN 'g' ELSE code END")
db.execute("UPDATE odd SET \"rowid\" = 'moved' WHERE \"a \"\"b\" = 1")
db.execute("UPDATE bare SET note = NULL WHERE thing = '1'")
for i in range(200):
    db.execute('INSERT INTO measures(id, name, value) VALUES (?, ?, ?)', (1000 + i, 'm%d' % i, i / 7))
"#,
    );
    pair.b.await_status("pending while away", |status| status["pending"].as_i64() > Some(200));
    pair.a.sql(
        "UPDATE measures SET value = value * 2, thing = NULL WHERE id < 3;
         DELETE FROM members WHERE project = 2; DELETE FROM projects WHERE id = 2;
         UPDATE prices SET net = 11 WHERE sku = 'a'; DELETE FROM prices WHERE sku = 'b';
         INSERT INTO prices(sku, net, vat) VALUES ('b', 3, 0); UPDATE prices SET sku = 'B' WHERE sku = 'b';
         SAVEPOINT s; DELETE FROM bare; ROLLBACK TO s; RELEASE s",
    );
    pair.a.sync();
    pair.b.await_state("offline");
    let away = pair.b.homing(&["status"]);
    assert!(away.out.starts_with("○ notes  offline"), "{}", away.out);
    // It comes back by itself: nobody asks for a sync.
    road.set(Mode::Open(pair.hub.address()));
    pair.b.await_state("in_step");
    pair.settle();
    assert_eq!(pair.a.sql("SELECT count(*) FROM tasks WHERE project = 2"), "0");
    assert_eq!(pair.b.sql("SELECT gross, label FROM prices WHERE sku = 'a'"), "13.09|a!");
    assert_eq!(pair.b.sql("PRAGMA integrity_check"), "ok");
    for device in [&mut pair.a, &mut pair.b] {
        assert_eq!(device.json(&["conflicts", "list"])["conflicts"], json!([]), "{}", device.name);
        assert_eq!(device.json(&["verify", "notes"])["repaired"], 0);
    }
}

/// Trap 13 and 15 at once: a swap of unique values meets the end of one of the two rows.
#[test]
fn a_row_deleted_there_and_swapped_here_settles_without_a_person() {
    let schema = "CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT UNIQUE);
        CREATE TABLE tasks(id TEXT PRIMARY KEY, project INTEGER REFERENCES projects(id) ON DELETE CASCADE)";
    let mut pair = Pair::new(schema).start();
    pair.a.sql("INSERT INTO projects VALUES (1, 'Garden', 'g'), (2, 'House', 'h'); INSERT INTO tasks VALUES ('t', 2)");
    pair.settle();
    pair.b.kill();
    pair.b.sql("UPDATE projects SET code = 'x' || id; UPDATE projects SET code = CASE id WHEN 1 THEN 'h' ELSE 'g' END");
    pair.a.sql("DELETE FROM projects WHERE id = 2");
    pair.a.sync();
    pair.b.start();
    pair.b.await_state("in_step");
    pair.settle();
}

/// Both deletions meet the edit: the child's loses to it, the parent's would leave it
/// an orphan, and neither waits for the other for ever.
#[test]
fn a_parent_and_child_deleted_here_come_back_when_the_child_was_edited_there() {
    let schema = "CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT NOT NULL, code TEXT UNIQUE);
        CREATE TABLE tasks(id TEXT PRIMARY KEY, project INTEGER REFERENCES projects(id) ON DELETE CASCADE, title)";
    let mut pair = Pair::new(schema).start();
    pair.a.sql("INSERT INTO projects VALUES (1, 'Garden', 'g'); INSERT INTO tasks VALUES ('t', 1, 'Water')");
    pair.settle();
    pair.b.kill();
    pair.b.sql("DELETE FROM projects");
    // Written later than the deletion.
    pair.a.sql("UPDATE tasks SET title = 'Water and mow'");
    pair.a.sync();
    pair.b.start();
    pair.b.await_state("in_step");
    pair.settle();
    assert_eq!(
        pair.b.sql("SELECT name, title FROM projects JOIN tasks ON project = projects.id"),
        "Garden|Water and mow"
    );
}

/// The middle of a chain cannot come back before its own parent does.
#[test]
fn a_chain_deleted_here_comes_back_when_a_leaf_was_added_there() {
    let schema = "CREATE TABLE tree(id TEXT PRIMARY KEY, up TEXT REFERENCES tree(id), title TEXT)";
    let mut pair = Pair::new(schema).start();
    pair.a.sql("INSERT INTO tree VALUES ('root', NULL, 'r'), ('branch', 'root', 'b')");
    pair.settle();
    pair.b.kill();
    pair.b.sql("DELETE FROM tree");
    pair.a.sql("INSERT INTO tree VALUES ('leaf', 'branch', 'l')");
    pair.a.sync();
    pair.b.start();
    pair.b.await_state("in_step");
    pair.settle();
    assert_eq!(pair.b.sql("SELECT group_concat(title, '') FROM (SELECT title FROM tree ORDER BY id)"), "blr");
}

#[test]
fn a_write_on_one_device_shows_on_the_other_without_a_command() {
    let pair = Pair::new(&small("(1, 'one')")).start();
    for round in 0..5 {
        pair.a.python(&format!("db.execute(\"UPDATE notes SET body = 'round {round}' WHERE id = 1\")"));
        eventually("the write shows", || pair.b.sql("SELECT body FROM notes WHERE id = 1") == format!("round {round}"));
        pair.b.sql(&format!("INSERT INTO notes VALUES ({}, 'back')", round + 10));
        eventually("the answer shows", || pair.a.sql("SELECT count(*) FROM notes") == (round + 2).to_string());
    }
    pair.a.await_state("in_step");
    pair.all_equal();
}

/// The file's event comes while the cycle runs, and only once.
#[test]
fn a_write_in_the_middle_of_a_cycle_is_sent_without_a_further_one() {
    let mut pair = Pair::new(&small("(1, 'one')"));
    let road = Road::to(&pair.hub.address());
    pair.a = Device::new("a", &road.url(), &std::fs::read_to_string(&pair.b.token_file).unwrap());
    pair.a.sql(&small("(1, 'one')"));
    pair.a.configure("live = false");
    let pair = pair.start();
    for word in ["push", "pull", "hello"] {
        let before = road.held();
        road.set(Mode::Hold(pair.hub.address(), word));
        pair.a.sql(&format!("UPDATE notes SET body = 'before {word}'"));
        if word == "hello" {
            // A write a moment after a greeting needs no other; a person's word does.
            assert_eq!(pair.a.homing(&["sync"]).code, 0);
        }
        eventually("the answer is held back", || road.held() > before);
        pair.a.sql(&format!("UPDATE notes SET body = 'during {word}'"));
        road.let_go(&pair.hub.address());
        eventually("both writes arrive", || pair.b.sql("SELECT body FROM notes") == format!("during {word}"));
    }
    pair.settle();
}

/// A long cycle does not listen to the file; who waits for the next write must again.
#[test]
fn a_write_after_a_long_cycle_is_noticed_as_ever() {
    let mut pair = Pair::new(&small("(1, 'one')"));
    let road = Road::to(&pair.hub.address());
    pair.a = Device::new("a", &road.url(), &std::fs::read_to_string(&pair.b.token_file).unwrap());
    pair.a.sql(&small("(1, 'one')"));
    pair.a.configure("live = false");
    let pair = pair.start();
    let before = road.held();
    road.set(Mode::Hold(pair.hub.address(), "push"));
    pair.a.sql("UPDATE notes SET body = 'held back'");
    eventually("the answer is held back", || road.held() > before);
    let began = Instant::now();
    eventually("the cycle is a long one", || began.elapsed() > Duration::from_millis(200));
    road.let_go(&pair.hub.address());
    pair.a.await_state("in_step");
    pair.a.sql("UPDATE notes SET body = 'after it'");
    eventually("the write after it arrives", || pair.b.sql("SELECT body FROM notes") == "after it");
}

#[test]
fn a_first_sync_of_equal_rows_is_no_conflict_and_of_different_ones_is_one() {
    let rows = |mine: &str| {
        format!("{}; UPDATE notes SET body = '{mine}' WHERE id = 3", small("(1, 'same'), (2, 'too'), (3, '')"))
    };
    let mut pair = Pair::new("");
    pair.a.sql(&format!("{}; INSERT INTO notes VALUES (4, 'only a')", rows("of a")));
    pair.b.sql(&format!("{}; INSERT INTO notes VALUES (5, 'only b')", rows("of b")));
    pair.a.start();
    pair.a.sync();
    pair.b.start();
    let told = pair.b.homing(&["sync", "--wait"]);
    assert_eq!(told.code, 0, "{told:?}");
    pair.settle();
    let ledgers = [&pair.a, &pair.b].map(|device| device.json(&["conflicts", "list"])["conflicts"].take());
    let all: Vec<_> = ledgers.iter().flat_map(|ledger| ledger.as_array().unwrap()).collect();
    assert_eq!(all.len(), 1, "{ledgers:#?}");
    let conflict = all[0];
    assert_eq!((&conflict["key"], &conflict["kind"]), (&json!("[3]"), &json!("insert_insert")), "{conflict:#}");
    assert_eq!((&conflict["local"]["body"], &conflict["remote"]["body"]), (&json!("of b"), &json!("of a")));
    assert_eq!(conflict["settled_by"], "rule");
}

#[test]
fn events_name_the_tables_and_keys_that_changed_here() {
    let pair =
        Pair::new("CREATE TABLE notes(id INTEGER PRIMARY KEY, body); CREATE TABLE tags(a, b, PRIMARY KEY(a, b))")
            .start();
    let client = Client::connect(&pair.b.socket, LONG).unwrap();
    let (_, events) = client.subscribe(&[Topic::Changed, Topic::Cycle]).unwrap();
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || events.for_each(|event| drop(sender.send(event))));
    let next = |topic: Topic| {
        let deadline = Instant::now() + LONG;
        loop {
            let event = heard.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap().unwrap();
            if let Heard::Event(event) = event
                && event.topic == topic
            {
                return event.data;
            }
        }
    };
    pair.a.sql("INSERT INTO notes VALUES (1, 'x'), (2, 'y'); INSERT INTO tags VALUES ('p', 1)");
    let mut told = next(Topic::Changed);
    assert_eq!(told["replica"], "notes");
    let mut tables: Vec<_> = told["tables"].as_array_mut().unwrap().drain(..).collect();
    tables.sort_by_key(|table| table["table"].as_str().unwrap().to_owned());
    assert_eq!(
        tables,
        [
            json!({"table": "notes", "keys": ["[1]", "[2]"], "more": false}),
            json!({"table": "tags", "keys": ["[\"p\",1]"], "more": false})
        ]
    );
    pair.a.sql("DELETE FROM notes WHERE id = 1");
    assert_eq!(next(Topic::Changed)["tables"], json!([{"table": "notes", "keys": ["[1]"], "more": false}]));
    // What was written here is no news here, but its cycle is.
    pair.b.sql("INSERT INTO notes VALUES (3, 'z')");
    let cycle = next(Topic::Cycle);
    assert_eq!((&cycle["pushed"], &cycle["cause"]), (&json!(1), &json!("write")), "{cycle:#}");
}

#[test]
fn what_an_sql_client_writes_at_the_hub_arrives_on_devices() {
    let pair = Pair::new(&small("(1, 'one'), (2, 'two')")).start();
    rig::sqlite3(
        &pair.hub.scope("ada"),
        "UPDATE notes SET body = 'by sql' WHERE id = 1; DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (3, 'new')",
    );
    eventually("the devices hear of it", || dump(&pair.a.database) == dump(&pair.hub.scope("ada")));
    eventually("the other one too", || dump(&pair.b.database) == dump(&pair.hub.scope("ada")));
    pair.settle();
    assert_eq!(pair.b.sql("SELECT group_concat(id || body) FROM notes"), "1by sql,3new");
}

#[test]
fn twenty_writers_of_short_transactions_are_never_kept_waiting_for_long() {
    let pair = Pair::new(&small("(1, 'one')")).start();
    // Python's default is a deferred transaction; a busy timeout of 250 ms is the promise's.
    let slowest = pair.a.python(
        r#"
import time
db.execute('PRAGMA busy_timeout = 250')
slowest = 0
for i in range(300):
    begun = time.monotonic()
    db.execute('INSERT INTO notes(body) VALUES (?)', ('row %d' % i,))
    db.commit()
    slowest = max(slowest, time.monotonic() - begun)
print(int(slowest * 1000))
"#,
    );
    assert!(Duration::from_millis(slowest.parse().unwrap()) < Duration::from_millis(2_000), "{slowest} ms");
    pair.settle();
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "301");
}
