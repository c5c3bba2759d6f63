//! How long the app waits for its own writes while 100,000 rows come in beside it:
//! single statements and IMMEDIATE transactions, busy_timeout 250 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use homing::engine::Chance;
use homing::model::{Strategy, Value};
use rusqlite::{Connection, params_from_iter};

use super::Scale;
use super::data::{TASKS, connect};
use super::rig::{self, Rig};
use super::table::{Row, percentile};

/// Between two writes of the app.
const PAUSE: Duration = Duration::from_millis(2);

pub fn run(scale: &Scale) -> Vec<Row> {
    let rig = Rig::start();
    let rows = TASKS.rows(23, scale.rows);
    let sender = rig.replica(&rig.path("sender.db"), Strategy::default());
    rig::captured(&TASKS, &sender, &rows);
    rig.device("sender", Strategy::default()).cycle();

    drop(TASKS.create(&rig.path("receiver.db")));
    let ended = Arc::new(AtomicBool::new(false));
    let app = {
        let (path, ended) = (rig.path("receiver.db"), ended.clone());
        std::thread::spawn(move || write_until(&connect(&path), &ended))
    };
    let pulled = rig.device("receiver", Strategy::default()).cycle();
    ended.store(true, Ordering::Relaxed);
    let mut app = app.join().expect("the app's thread");
    assert!(pulled.pulled as usize >= rows.len());

    let mut quiet = Waits::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let alone = TASKS.create(&folder.path().join("alone.db"));
    write_some(&alone, &mut quiet, app.milliseconds.len());
    let what = |what: &str| format!("the app's own writes during a pull: {what}");
    let row = |name: &str, share: f64, app: &mut Waits, quiet: &mut Waits| {
        let bare = percentile(&mut quiet.milliseconds, share);
        Row::figure(what(name), percentile(&mut app.milliseconds, share), "ms").beside(bare)
    };
    vec![
        row("p50", 0.50, &mut app, &mut quiet),
        row("p99", 0.99, &mut app, &mut quiet).at_most(25.0),
        row("worst", 1.0, &mut app, &mut quiet).at_most(150.0),
        Row::figure(what("SQLITE_BUSY"), f64::from(app.busy), "").at_most(0.0),
    ]
}

#[derive(Default)]
struct Waits {
    milliseconds: Vec<f64>,
    busy: u32,
}

fn write_until(db: &Connection, ended: &AtomicBool) -> Waits {
    let mut waits = Waits::default();
    let mut chance = Chance::new(29);
    while !ended.load(Ordering::Relaxed) {
        write(db, &mut chance, &mut waits);
        std::thread::sleep(PAUSE);
    }
    waits
}

fn write_some(db: &Connection, waits: &mut Waits, count: usize) {
    let mut chance = Chance::new(29);
    (0..count).for_each(|_| write(db, &mut chance, waits));
}

/// One write: every other time a single statement, else an IMMEDIATE transaction of two.
fn write(db: &Connection, chance: &mut Chance, waits: &mut Waits) {
    let seed = chance.next_u64();
    let rows: Vec<Vec<Value>> = TASKS.rows(seed, 2);
    let insert = TASKS.insert();
    let start = Instant::now();
    let done = if seed.is_multiple_of(2) {
        db.prepare_cached(&insert).and_then(|mut insert| insert.execute(params_from_iter(&rows[0]))).map(drop)
    } else {
        db.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            for row in &rows {
                db.prepare_cached(&insert)?.execute(params_from_iter(row))?;
            }
            db.execute_batch("COMMIT")
        })
    };
    waits.milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    match done {
        Ok(()) => {}
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            waits.busy += 1;
            if !db.is_autocommit() {
                db.execute_batch("ROLLBACK").expect("a rollback");
            }
        }
        Err(error) => panic!("the app's write: {error}"),
    }
}
