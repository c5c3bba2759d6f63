//! Ten thousand edits of one row while the hub is out of reach, by an app beside a real
//! agent: what the log holds then, what it weighs in the app's file, and what travels once
//! the hub is there again.

use std::time::{Duration, Instant};

use homing::model::{Strategy, Value};
use rusqlite::Connection;

use super::Scale;
use super::data::{TASKS, connect};
use super::process;
use super::rig::{self, Rig};
use super::table::Row;

const EDITS: usize = 10_000;
const ROWS: usize = 100;
/// What the log may hold of one row when an agent that is out of reach has come by.
const ENTRIES_MAX: i64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(_: &Scale) -> Vec<Row> {
    let rig = Rig::start();
    let rows = TASKS.rows(61, ROWS);
    let database = rig.path("here.db");
    rig::captured(&TASKS, &rig.replica(&database, Strategy::default()), &rows);
    rig.device("here", Strategy::default()).cycle();
    drop(TASKS.create(&rig.path("there.db")));
    let mut there = rig.device("there", Strategy::default());
    there.cycle();

    let db = connect(&database);
    let before = bytes(&db);
    let agent = process::agent(&rig.config("here", "http://127.0.0.1:1"));
    rig.wait_for_socket("here");
    let mut edit = db.prepare(TASKS.update).expect("the update");
    for at in 0..EDITS {
        edit.execute([&Value::Text(format!("edit {at}")), &rows[0][0]]).expect("an edit");
    }
    let deadline = Instant::now() + PATIENCE;
    while entries(&db) > ENTRIES_MAX && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(agent);
    let logged = entries(&db);
    let grown = bytes(&db) - before;

    let start = Instant::now();
    let sent = rig.device("here", Strategy::default()).cycle();
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    there.cycle();
    let last = format!("edit {}", EDITS - 1);
    let there = connect(&rig.path("there.db"));
    let came: String =
        there.query_row("SELECT status FROM tasks WHERE id = ?", [&rows[0][0]], |row| row.get(0)).expect("the row");
    assert_eq!(came, last, "the last edit is what came");
    assert_eq!(entries(&db), 0, "nothing is unsent");
    let what = |what: &str| format!("{EDITS} edits of one row out of reach: {what}");
    vec![
        Row::figure(what("entries in the log"), logged as f64, "").at_most(ENTRIES_MAX as f64),
        Row::figure(what("the app's file holds more by"), grown / 1024.0, "KiB").at_most(64.0),
        Row::figure(what("rows sent"), sent.pushed as f64, "").at_most(1.0),
        Row::figure(what("bytes up"), sent.bytes_up as f64, "B").at_most(2_048.0),
        Row::figure(what("the cycle that sends them"), milliseconds, "ms"),
    ]
}

/// Of rows that are unsent.
fn entries(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM _homing_log WHERE tab <> 0", [], |row| row.get(0)).expect("a log")
}

/// What the file holds, without the pages that wait to be used again.
fn bytes(db: &Connection) -> f64 {
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, f64>(0)).expect("a number");
    (number("PRAGMA page_count") - number("PRAGMA freelist_count")) * number("PRAGMA page_size")
}
