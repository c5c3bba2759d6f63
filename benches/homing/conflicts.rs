//! A pull in which every row meets an unsent edit of the same column, against the same
//! pull into a replica where nobody wrote.

use std::time::Instant;

use homing::model::Strategy;

use super::Scale;
use super::data::{Shape, TASKS, connect};
use super::rig::{self, Rig};
use super::table::Row;

const SHARE_MIN: f64 = 0.25;

pub fn run(scale: &Scale) -> Vec<Row> {
    [Strategy::LatestTimestamp, Strategy::FieldLevel].map(|strategy| pull(scale, &TASKS, strategy)).into()
}

fn pull(scale: &Scale, shape: &Shape, strategy: Strategy) -> Row {
    let rows = shape.rows(23, scale.rows);
    let rig = Rig::start();
    rig::captured(shape, &rig.replica(&rig.path("sender.db"), strategy), &rows);
    let mut sender = rig.device("sender", strategy);
    sender.cycle();
    let mut receivers = ["quiet", "writing"].map(|name| {
        drop(shape.create(&rig.path(&format!("{name}.db"))));
        let mut device = rig.device(name, strategy);
        device.cycle();
        device
    });
    let edit = |name: &str| {
        let sql = format!("UPDATE {} SET status = ?", shape.table);
        connect(&rig.path(&format!("{name}.db"))).execute(&sql, [name]).expect("an edit of every row");
    };
    edit("writing");
    edit("sender");
    sender.cycle();
    let rates = receivers.each_mut().map(|device| {
        let start = Instant::now();
        let pulled = device.pull();
        assert_eq!(pulled as usize, rows.len(), "every row comes");
        pulled as f64 / start.elapsed().as_secs_f64()
    });
    let count =
        |sql: &str| -> i64 { connect(&rig.path("writing.db")).query_row(sql, [], |row| row.get(0)).expect("a count") };
    assert_eq!(count("SELECT count(*) FROM _homing_conflict"), rows.len() as i64, "every row is a conflict");
    assert_eq!(count("SELECT count(*) FROM tasks WHERE status <> 'sender'"), 0, "the later side stands");
    let what = format!("pull, {}, {} rows that all conflict, {}", shape.table, rows.len(), strategy.word());
    Row::rates(format!("{what} (beside it: none does)"), rates[0], rates[1], "rows/s").at_least(SHARE_MIN)
}
