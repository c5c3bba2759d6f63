//! Pulls of another size and kind: 1,000,000 rows into an empty replica of a real agent,
//! with what it held in memory at the most, and a device that is 100,000 changes behind.

use std::time::Instant;

use homing::model::Strategy;

use super::Scale;
use super::data::{TASKS, connect};
use super::process;
use super::rig::{self, Rig};
use super::table::Row;
use super::transfer::bare;

const MANY_ROWS: usize = 1_000_000;
const PEAK_MIB_MAX: f64 = 64.0;

/// In the long form only: the rows must be pushed first.
pub fn many(scale: &Scale) -> Vec<Row> {
    if scale.short {
        return Vec::new();
    }
    let rows = TASKS.rows(31, MANY_ROWS);
    let bare = bare(&TASKS, &rows);
    let rig = Rig::start();
    rig::captured(&TASKS, &rig.replica(&rig.path("sender.db"), Strategy::default()), &rows);
    drop(rows);
    rig.device("sender", Strategy::default()).cycle();
    drop(TASKS.create(&rig.path("receiver.db")));
    let config = rig.config("receiver", &rig.url);
    let start = Instant::now();
    let agent = process::agent(&config);
    rig.wait_for_socket("receiver");
    let mut wait = process::homing();
    wait.args(["sync", "--wait", "--timeout", "30m", "--socket"]).arg(rig.socket("receiver"));
    process::run(&mut wait);
    let rate = MANY_ROWS as f64 / start.elapsed().as_secs_f64();
    let (cpu, peak) = agent.spent();
    eprintln!("  {cpu:.2} s of the agent's CPU");
    let count = |name: &str| -> i64 {
        connect(&rig.path(name)).query_row("SELECT count(*) FROM tasks", [], |row| row.get(0)).expect("a count")
    };
    assert_eq!(count("receiver.db"), MANY_ROWS as i64, "every row comes");
    vec![
        Row::rates(format!("pull, tasks, {MANY_ROWS} rows into an empty replica"), bare, rate, "rows/s").at_least(1.2),
        Row::figure("peak memory of that pull", peak, "MiB").at_most(PEAK_MIB_MAX),
    ]
}

/// Beside it: the same updates by key, in transactions of 10,000.
pub fn behind(scale: &Scale) -> Vec<Row> {
    let rows = TASKS.rows(37, scale.rows);
    let rig = Rig::start();
    rig::captured(&TASKS, &rig.replica(&rig.path("sender.db"), Strategy::default()), &rows);
    let mut sender = rig.device("sender", Strategy::default());
    sender.cycle();
    drop(TASKS.create(&rig.path("receiver.db")));
    let mut receiver = rig.device("receiver", Strategy::default());
    receiver.cycle();
    connect(&rig.path("sender.db")).execute("UPDATE tasks SET status = 'later'", []).expect("an edit of every row");
    sender.cycle();
    let start = Instant::now();
    let pulled = receiver.cycle();
    let rate = pulled.pulled as f64 / start.elapsed().as_secs_f64();
    assert_eq!(pulled.pulled as usize, rows.len(), "every change comes");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut db = TASKS.create(&folder.path().join("bare.db"));
    TASKS.insert_all(&mut db, &rows, 10_000);
    let start = Instant::now();
    for chunk in rows.chunks(10_000) {
        let transaction = db.transaction().expect("a transaction");
        for row in chunk {
            let mut update = transaction.prepare_cached(TASKS.update).expect("the update");
            update.execute(rusqlite::params!["later", row[0]]).expect("an update");
        }
        transaction.commit().expect("a commit");
    }
    let bare = rows.len() as f64 / start.elapsed().as_secs_f64();
    vec![Row::rates(format!("pull, tasks, a device {} changes behind", rows.len()), bare, rate, "rows/s")]
}
