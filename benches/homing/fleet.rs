//! Fifty devices of as many accounts at one hub, each with rows to push and as many to
//! pull, all at once. Beside them one device alone, with as many rows as all of them
//! have, and with as many as each of them has.
//!
//! Devices and hub share the machine's cores in both.

use std::sync::Barrier;
use std::time::Instant;

use homing::model::{Strategy, Value};

use super::Scale;
use super::data::{TASKS, connect};
use super::rig::{self, Device, Rig};
use super::table::{Row, percentile};

const DEVICES: usize = 50;
/// Devices that take turns to show what one of them does alone.
const ALONE: usize = 5;

pub fn run(scale: &Scale) -> Vec<Row> {
    let each = scale.rows / 100;
    let rows = TASKS.rows(53, each * DEVICES * 2);
    let rig = Rig::start();
    let fleet: Vec<Member> =
        (0..DEVICES).map(|at| Member::new(&rig, &format!("fleet-{at}"), &rows[at * each * 2..][..each * 2])).collect();
    let fleet = rate(&rig, fleet);
    let one = rate(&rig, vec![Member::new(&rig, "one", &rows)]);
    let mut alone: Vec<f64> = (0..ALONE)
        .map(|at| rate(&rig, vec![Member::new(&rig, &format!("alone-{at}"), &rows[at * each * 2..][..each * 2])]))
        .collect();
    let what = |beside: &str| {
        format!("{DEVICES} devices of as many accounts, {each} rows up and {each} down each (beside it: {beside})")
    };
    vec![
        Row::rates(what("one device with all the rows"), one, fleet, "rows/s").at_least(0.7),
        Row::rates(what("one of them alone"), percentile(&mut alone, 0.5), fleet, "rows/s").at_least(0.7),
    ]
}

/// A device with rows unsent, in an account whose other device has pushed as many.
struct Member {
    name: String,
    device: Device,
    /// Up, and down.
    each: usize,
}

impl Member {
    fn new(rig: &Rig, name: &str, rows: &[Vec<Value>]) -> Member {
        let token = rig.account(name);
        let file = |name: &str| rig::replica(&rig.path(&format!("{name}.db")), &rig.url, &token, Strategy::default());
        let (there, here) = rows.split_at(rows.len() / 2);
        let other = format!("{name}-other");
        rig::captured(&TASKS, &file(&other), there);
        let pushed = rig.device_of(&token, &other, Strategy::default()).follow();
        assert_eq!(pushed.pushed as usize, there.len(), "{name} has something to pull");
        rig::captured(&TASKS, &file(name), here);
        Member { name: name.to_owned(), device: rig.device_of(&token, name, Strategy::default()), each: here.len() }
    }
}

/// Rows a second, up and down, of one cycle of all of them at once.
fn rate(rig: &Rig, mut members: Vec<Member>) -> f64 {
    let start = Barrier::new(members.len() + 1);
    let start = &start;
    let seconds = std::thread::scope(|scope| {
        let cycles: Vec<_> = members
            .iter_mut()
            .map(|member| {
                scope.spawn(move || {
                    start.wait();
                    let cycle = member.device.follow();
                    let moved = (cycle.pushed as usize, cycle.pulled as usize);
                    assert_eq!(moved, (member.each, member.each), "{}", member.name);
                })
            })
            .collect();
        start.wait();
        let start = Instant::now();
        cycles.into_iter().for_each(|cycle| cycle.join().expect("a cycle without a fault"));
        start.elapsed().as_secs_f64()
    });
    for member in &members {
        let db = connect(&rig.path(&format!("{}.db", member.name)));
        let count: i64 = db.query_row("SELECT count(*) FROM tasks", [], |row| row.get(0)).expect("a count");
        assert_eq!(count as usize, member.each * 2, "{} has all of its account's rows", member.name);
    }
    members.iter().map(|member| member.each * 2).sum::<usize>() as f64 / seconds
}
