//! SIGKILL, in the middle of things, of everything that runs.

use rusqlite::Connection;

use super::rig::{Device, LONG, Pair, eventually, has};

const ROWS: u64 = 20_000;

fn rows(database: &std::path::Path, table: &str) -> u64 {
    let Ok(db) = Connection::open(database) else { return 0 };
    db.busy_timeout(LONG).unwrap();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap_or(0) as u64
}

#[test]
fn agents_and_hub_killed_ten_times_during_a_transfer_lose_and_double_nothing() {
    if !has("python3") {
        return;
    }
    let mut pair = Pair::new(
        "CREATE TABLE stations(id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE readings(station INTEGER NOT NULL REFERENCES stations(id), at INTEGER NOT NULL, value REAL, note TEXT,
             PRIMARY KEY(station, at))",
    );
    pair.a.python(&format!(
        "db.executemany('INSERT INTO stations VALUES (?, ?)', [(s, 'station %d' % s) for s in range(20)])\n\
         db.executemany('INSERT INTO readings VALUES (?, ?, ?, ?)',\n\
             [(i % 20, 1700000000 + i, i / 7, 'note %d' % i if i % 3 else None) for i in range({ROWS})])"
    ));
    // Small steps, so that kills fall between and within many of them.
    let limits = "[replica.notes.limits]\nbatch_rows_max = 500\nlock_max = \"5ms\"";
    pair.a.configure(limits);
    pair.b.configure(limits);
    pair.a.start();
    pair.b.start();
    // First while rows go up, then while they come down.
    for round in 1..=5 {
        eventually("rows go up", || rows(&pair.hub.scope("ada"), "readings") >= round * ROWS / 8);
        match round % 2 {
            0 => again(&mut pair.a),
            _ => {
                pair.hub.kill();
                pair.hub.start_again();
            }
        }
    }
    for round in 1..=5 {
        eventually("rows come down", || rows(&pair.b.database, "readings") >= round * ROWS / 8);
        match round % 2 {
            0 => {
                pair.hub.kill();
                pair.hub.start_again();
            }
            _ => again(&mut pair.b),
        }
    }
    eventually("all rows arrive by themselves", || rows(&pair.b.database, "readings") == ROWS);
    pair.settle();
    for device in [&pair.a, &pair.b] {
        assert_eq!(device.json(&["conflicts", "list"])["conflicts"].as_array().unwrap().len(), 0, "{}", device.name);
        assert_eq!(device.sql("PRAGMA integrity_check"), "ok");
        assert_eq!(device.sql("PRAGMA foreign_key_check"), "");
    }
    // Each row was written once at the hub: as many revisions as rows, none twice.
    let hub = Connection::open(pair.hub.scope("ada")).unwrap();
    let written: i64 = hub.query_row("SELECT count(*) FROM _hub_row", [], |row| row.get(0)).unwrap();
    let head: i64 = hub.query_row("SELECT value FROM _hub_meta WHERE name = 'head'", [], |row| row.get(0)).unwrap();
    assert_eq!((written, head), (ROWS as i64 + 20, ROWS as i64 + 20));
}

/// The hub answered one batch, and has or has not the next; neither is local fact.
#[test]
fn a_kill_with_an_answer_unsettled_and_the_next_batch_on_its_way_keeps_both() {
    let mut pair = Pair::new("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)");
    pair.a.configure("[replica.notes.limits]\nbatch_rows_max = 100\nlock_max = \"1ms\"");
    pair.a.start();
    pair.a.sync();
    let life = "SELECT value FROM _homing_meta WHERE name = 'incarnation'";
    let (before, mut sent) = (pair.a.sql(life), 0);
    let found = (0..100).any(|_| {
        let base = sent;
        pair.a.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO notes SELECT {base} + i, 'new' FROM n"
        ));
        sent += 2_000;
        eventually("rows go up", || rows(&pair.hub.scope("ada"), "notes") > base);
        pair.a.kill();
        let found = pair.a.sql("SELECT count(*) FROM _homing_answer") == "1";
        if !found {
            pair.a.start();
            eventually("all have gone", || rows(&pair.hub.scope("ada"), "notes") == sent);
        }
        found
    });
    assert!(found, "no kill fell between an answer and its settling");
    assert_eq!(pair.a.sql("SELECT count(*) FROM _homing_flight"), "2");
    pair.a.sql("UPDATE notes SET body = 'edited' WHERE id % 10 = 0");
    pair.a.start();
    pair.a.sync();
    assert_eq!(pair.a.sql(life), before, "the hub was not behind, and the file was not older");
    pair.b.start();
    pair.settle();
    let all = "SELECT count(*), sum(body = 'edited') FROM notes";
    assert_eq!(pair.b.sql(all), format!("{sent}|{}", sent / 10));
    assert_eq!(pair.a.sql("SELECT count(*) FROM _homing_conflict"), "0");
}

fn again(device: &mut Device) {
    device.kill();
    device.start();
}

#[test]
fn a_kill_between_any_two_writes_of_both_sides_keeps_each_write_of_the_app() {
    let mut pair = Pair::new("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)").start();
    for round in 0..10 {
        pair.a.sql(&format!("INSERT INTO notes VALUES ({}, 'a'); UPDATE notes SET body = body || 'a'", round * 2));
        pair.b.sql(&format!("INSERT INTO notes VALUES ({}, 'b')", round * 2 + 1));
        match round % 3 {
            0 => again(&mut pair.a),
            1 => again(&mut pair.b),
            _ => {
                pair.hub.kill();
                pair.hub.start_again();
            }
        }
    }
    pair.settle();
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "20");
}
