//! An agent with nothing to do, its live channel open: what it holds and how often it
//! wakes.

use std::time::Duration;

use super::Scale;
use super::data::TASKS;
use super::rig::Rig;
use super::table::Row;

/// For the work after a start to be over, and its threads with it.
const SETTLE: Duration = Duration::from_secs(12);

pub fn run(scale: &Scale) -> Vec<Row> {
    let rig = Rig::start();
    let mut db = TASKS.create(&rig.path("idle.db"));
    TASKS.insert_all(&mut db, &TASKS.rows(37, 1_000), 1_000);
    drop(db);
    let agent = rig.agent("idle");
    std::thread::sleep(SETTLE);
    let before = agent.usage();
    std::thread::sleep(Duration::from_secs(scale.idle_seconds));
    let after = agent.usage();
    let (switches, cpu) = after.since(&before);
    let minutes = scale.idle_seconds as f64 / 60.0;
    let what = |what: &str| format!("idle over {} s: {what}", scale.idle_seconds);
    vec![
        Row::figure(what("resident"), after.resident_mib, "MiB").at_most(12.0),
        Row::figure(what("voluntary switches a minute"), switches / minutes, "").at_most(3.0),
        Row::figure(what("CPU"), cpu, "ms").at_most(0.0),
    ]
}
