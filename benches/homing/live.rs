//! From the commit on one device to the row on another: two agents and a hub, each a
//! process, live, without debounce.

use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, params_from_iter};

use super::Scale;
use super::data::{TASKS, connect};
use super::rig::Rig;
use super::table::{Row, percentile};

const GAP: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(scale: &Scale) -> Vec<Row> {
    let rig = Rig::start();
    for name in ["here", "there"] {
        drop(TASKS.create(&rig.path(&format!("{name}.db"))));
    }
    let _agents = [rig.agent("here"), rig.agent("there")];
    let (here, there) = (connect(&rig.path("here.db")), connect(&rig.path("there.db")));
    let rows = TASKS.rows(31, scale.live_samples + 10);
    let mut look = there.prepare("SELECT 1 FROM tasks WHERE id = ?").expect("the look");
    let mut milliseconds = Vec::new();
    for row in &rows {
        here.prepare_cached(&TASKS.insert()).expect("the insert").execute(params_from_iter(row)).expect("a write");
        let start = Instant::now();
        while look.query_row([&row[0]], |_| Ok(())).optional().expect("a look").is_none() {
            assert!(start.elapsed() < PATIENCE, "row {} did not arrive", milliseconds.len());
            std::thread::sleep(Duration::from_micros(100));
        }
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(GAP);
    }
    // The first find everything cold.
    let mut milliseconds = milliseconds.split_off(10);
    let what = |what: &str| format!("live, commit here to visible there: {what}");
    vec![
        Row::figure(what("p50"), percentile(&mut milliseconds, 0.50), "ms").at_most(4.0),
        Row::figure(what("p99"), percentile(&mut milliseconds, 0.99), "ms").at_most(12.0),
    ]
}
