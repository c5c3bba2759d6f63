//! A long outbox: choosing the next batch out of it, and asking for the status.

use std::time::Instant;

use homing::agent::clock::{Clock, SystemClock};
use homing::agent::perform;
use homing::agent::rules::Rules;
use homing::engine::plan::{self, Limits};
use homing::model::Strategy;
use homing::model::settings::Replica;
use homing::store::open::Manners;
use homing::store::{Now, Store};

use super::Scale;
use super::data::{TASKS, connect};
use super::rig::{self, Rig};
use super::table::{Row, percentile};
use super::{data, process};

const BATCH_ROWS: usize = 1_000;
const LIMITS: Limits = Limits { rows_max: BATCH_ROWS, bytes_max: 1 << 20, row_bytes_max: 4 << 20 };
const TRIES: usize = 9;

pub fn run(scale: &Scale) -> Vec<Row> {
    let rig = Rig::start();
    let mut out = Vec::new();
    for count in [scale.outbox / 10, scale.outbox] {
        let replica = rig.replica(&rig.path(&format!("outbox-{count}.db")), Strategy::default());
        rig::captured(&TASKS, &replica, &TASKS.rows(41, count));
        let (mut closed, mut open, mut under_way) = (Vec::new(), Vec::new(), Vec::new());
        let extra = TASKS.rows(43, TRIES);
        for row in extra.chunks(1) {
            let start = Instant::now();
            let mut store = Store::open(&replica, "bench", Manners::default()).expect("the store opens");
            store.attach(rig::today()).expect("capture is there");
            let rules = Rules::new(&replica, &store.schema());
            choose(&mut store, &rules);
            closed.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            choose(&mut store, &rules);
            under_way.push(start.elapsed().as_secs_f64() * 1e3);
            TASKS.insert_all(&mut connect(&replica.database), row, 1);
            let start = Instant::now();
            choose(&mut store, &rules);
            open.push(start.elapsed().as_secs_f64() * 1e3);
            store.close();
        }
        let what = |what: &str| format!("next batch of {BATCH_ROWS} out of {count}, {what}");
        out.push(Row::figure(what("file closed"), percentile(&mut closed, 0.5), "ms").at_most(5.0));
        out.push(Row::figure(what("just written to"), percentile(&mut open, 0.5), "ms").at_most(5.0));
        out.push(Row::figure(what("cycle under way"), percentile(&mut under_way, 0.5), "ms").at_most(5.0));
    }
    out
}

fn choose(store: &mut Store, rules: &Rules) {
    let now = Now { millis: SystemClock.millis(), offset: 0 };
    let gathered = store.gather(now, perform::window(store, BATCH_ROWS), rules).expect("a look at the outbox");
    let plan = plan::plan(&perform::candidates(&gathered), &rules.order, &LIMITS);
    assert_eq!(plan.order.len(), BATCH_ROWS);
}

/// A real agent that cannot reach its hub, and the command a person types.
pub fn status(scale: &Scale) -> Vec<Row> {
    let rig = Rig::start();
    let database = rig.path("status.db");
    let nowhere = "http://127.0.0.1:1";
    let replica: Replica = rig::replica(&database, nowhere, &rig.token, Strategy::default());
    rig::captured(&TASKS, &replica, &data::TASKS.rows(47, scale.outbox));
    let _agent = process::agent(&rig.config("status", nowhere));
    rig.wait_for_socket("status");
    let socket = rig.socket("status");
    let ask = || process::run(process::homing().args(["status", "--json", "--socket"]).arg(&socket));
    ask();
    let mut milliseconds = Vec::new();
    for _ in 0..TRIES * 3 {
        let start = Instant::now();
        let answer = ask();
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        let document: serde_json::Value = serde_json::from_slice(&answer.stdout).expect("JSON");
        assert!(document["replicas"][0]["pending"].as_u64() >= Some(scale.outbox as u64), "{document}");
    }
    let mut help = Vec::new();
    for _ in 0..TRIES {
        let start = Instant::now();
        process::run(process::homing().arg("--version"));
        help.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let what = |what: &str| format!("`homing status` with {} unsent: {what}", scale.outbox);
    vec![
        Row::figure(what("p50 (beside it: `--version`)"), percentile(&mut milliseconds, 0.5), "ms")
            .beside(percentile(&mut help, 0.5))
            .at_most(30.0),
        Row::figure(what("worst"), percentile(&mut milliseconds, 1.0), "ms"),
    ]
}
