//! Rows from one device to an empty hub, from there to an empty device, and what
//! travels: against a bare insert of the same rows in transactions of 10,000.

use std::time::Instant;

use homing::model::{Strategy, Value};

use super::Scale;
use super::data::{ORDERS, Shape, TASKS, TASKS_ROLLBACK, connect, shuffle};
use super::rig::{self, Rig};
use super::table::Row;

const EDITS: usize = 10_000;

pub fn tasks(scale: &Scale) -> Vec<Row> {
    transfer(scale, &TASKS, Strategy::default(), [0.40, 0.50], true)
}

pub fn orders(scale: &Scale) -> Vec<Row> {
    transfer(scale, &ORDERS, Strategy::FieldLevel, [0.35, 0.40], false)
}

/// With the app's file on a rollback journal, bare likewise.
pub fn rollback(scale: &Scale) -> Vec<Row> {
    transfer(scale, &TASKS_ROLLBACK, Strategy::default(), [0.40, 0.50], true)
}

fn transfer(scale: &Scale, shape: &Shape, strategy: Strategy, bars: [f64; 2], bytes: bool) -> Vec<Row> {
    let rows = shape.rows(17, scale.rows);
    let bare = bare(shape, &rows);
    let rig = Rig::start();

    let sender = rig.replica(&rig.path("sender.db"), strategy);
    rig::captured(shape, &sender, &rows);
    let mut device = rig.device("sender", strategy);
    let start = Instant::now();
    let pushed = device.cycle();
    let push = pushed.pushed as f64 / start.elapsed().as_secs_f64();
    assert!(pushed.pushed as usize >= rows.len(), "{} of {} rows were pushed", pushed.pushed, rows.len());

    drop(shape.create(&rig.path("receiver.db")));
    let mut receiver = rig.device("receiver", strategy);
    let start = Instant::now();
    let pulled = receiver.cycle();
    let pull = pulled.pulled as f64 / start.elapsed().as_secs_f64();
    equal(&rig, shape);

    let count = rows.len();
    let mut out = vec![
        Row::rates(format!("push, {}, {count} captured rows to an empty hub", shape.name()), bare, push, "rows/s")
            .at_least(bars[0]),
        Row::rates(format!("pull, {}, {count} rows into an empty replica", shape.name()), bare, pull, "rows/s")
            .at_least(bars[1]),
    ];
    let up = pushed.bytes_up as f64 / pushed.pushed as f64;
    let down = pulled.bytes_down as f64 / pulled.pulled as f64;
    let up = Row::figure(format!("bytes up, {}, a row", shape.name()), up, "B");
    out.push(if bytes { up.at_most(160.0) } else { up });
    out.push(Row::figure(format!("bytes down, {}, a row", shape.name()), down, "B"));
    let edited = edit(&rig, shape, &rows);
    let sent = device.cycle();
    assert_eq!(sent.pushed as usize, edited, "every edit is pushed, and nothing else");
    let each = Row::figure(
        format!("bytes up, {}, an edit of one column", shape.name()),
        sent.bytes_up as f64 / edited as f64,
        "B",
    );
    out.push(if bytes { each.at_most(48.0) } else { each });
    out
}

/// Rows a second of the same rows inserted into a file of their own.
pub fn bare(shape: &Shape, rows: &[Vec<Value>]) -> f64 {
    let once = || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut db = shape.create(&folder.path().join("bare.db"));
        shape.fill_parents(&db);
        let start = Instant::now();
        shape.insert_all(&mut db, rows, 10_000);
        rows.len() as f64 / start.elapsed().as_secs_f64()
    };
    once().max(once())
}

fn edit(rig: &Rig, shape: &Shape, rows: &[Vec<Value>]) -> usize {
    let mut keys: Vec<&Value> = rows.iter().map(|row| &row[0]).collect();
    shuffle(&mut keys, 19);
    keys.truncate(EDITS);
    let mut db = connect(&rig.path("sender.db"));
    let transaction = db.transaction().expect("a transaction");
    for key in &keys {
        transaction
            .prepare_cached(shape.update)
            .expect("the update")
            .execute(rusqlite::params!["archived", key])
            .expect("an edit");
    }
    transaction.commit().expect("a commit");
    keys.len()
}

/// Both devices hold the same rows.
fn equal(rig: &Rig, shape: &Shape) {
    let db = connect(&rig.path("receiver.db"));
    let path = rig.path("sender.db");
    db.execute("ATTACH ? AS sender", [path.to_str().expect("a path in UTF-8")]).expect("both files");
    let differing = format!(
        "SELECT count(*) FROM (SELECT * FROM main.{0} EXCEPT SELECT * FROM sender.{0}
             UNION ALL SELECT * FROM sender.{0} EXCEPT SELECT * FROM main.{0})",
        shape.table
    );
    let count: i64 = db.query_row(&differing, [], |row| row.get(0)).expect("a comparison");
    assert_eq!(count, 0, "rows of {} that differ", shape.table);
}
