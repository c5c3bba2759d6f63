//! A cycle that carries one row, in a file of few rows and in one of many: it must not
//! notice the difference.

use std::time::Instant;

use homing::model::{Strategy, Value};
use rusqlite::Connection;

use super::Scale;
use super::data::{TASKS, connect, shuffle};
use super::rig::{self, Device, Rig};
use super::table::{Row, percentile};

const FEW_ROWS: usize = 10_000;
const RATIO_MAX: f64 = 1.2;

pub fn run(scale: &Scale) -> Vec<Row> {
    let (many, cycles) = if scale.short { (200_000, 400) } else { (1_000_000, 2_000) };
    let rig = Rig::start();
    let mut few = File::new(&rig, FEW_ROWS, cycles);
    let mut many = File::new(&rig, many, cycles);
    for _ in 0..cycles {
        // In turn, so that a disturbance from outside meets both alike.
        few.cycle();
        many.cycle();
    }
    let what = |what: &str| format!("a cycle of one row of {} (beside it: of {FEW_ROWS}): {what}", many.rows);
    let row = |name: &str, share: f64, few: &mut Vec<f64>, many: &mut Vec<f64>| {
        Row::figure(what(name), percentile(many, share), "ms").beside(percentile(few, share))
    };
    vec![
        row("p50", 0.50, &mut few.milliseconds, &mut many.milliseconds).within(RATIO_MAX),
        row("p90", 0.90, &mut few.milliseconds, &mut many.milliseconds),
    ]
}

/// An app's file in step with the hub, in an account of its own.
struct File {
    rows: usize,
    device: Device,
    db: Connection,
    /// What is to be edited, in no order.
    keys: Vec<Value>,
    milliseconds: Vec<f64>,
}

impl File {
    fn new(rig: &Rig, rows: usize, cycles: usize) -> File {
        let name = format!("of-{rows}");
        let token = rig.account(&name);
        let path = rig.path(&format!("{name}.db"));
        let values = TASKS.rows(67, rows);
        rig::captured(&TASKS, &rig::replica(&path, &rig.url, &token, Strategy::default()), &values);
        let mut device = rig.device_of(&token, &name, Strategy::default());
        assert_eq!(device.cycle().pushed as usize, rows, "all is in step");
        let mut keys: Vec<Value> = values.into_iter().map(|mut row| row.swap_remove(0)).collect();
        shuffle(&mut keys, 71);
        keys.truncate(cycles);
        File { rows, device, db: connect(&path), keys, milliseconds: Vec::new() }
    }

    fn cycle(&mut self) {
        let key = self.keys.pop().expect("a key for each cycle");
        self.db
            .prepare_cached(TASKS.update)
            .expect("the update")
            .execute([&Value::Text("edited".to_owned()), &key])
            .expect("an edit");
        let start = Instant::now();
        let cycle = self.device.follow();
        self.milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        assert_eq!(cycle.pushed, 1, "the edit, and nothing else");
    }
}
