//! The pure core alone: planning a batch, and settling a conflict.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use homing::engine::plan::{Candidate, Limits, plan as plan_batch};
use homing::engine::{Chance, Order, resolve as resolver};
use homing::model::conflict::Meeting;
use homing::model::settings::Priority;
use homing::model::{ForeignKey, Key, Operation, Policy, Row as Values, Seq, Stamp, Strategy, Table, Value};

use super::Scale;
use super::data::{ORDERS, uuid};
use super::table::{Row, percentile};

const CANDIDATES: usize = 10_000;
const TRIES: usize = 21;

pub fn plan(_scale: &Scale) -> Vec<Row> {
    let mut out = Vec::new();
    let limits = Limits { rows_max: 1_000, bytes_max: 1 << 20, row_bytes_max: 4 << 20 };
    for (what, linked) in [("unlinked", false), ("each a child of one of the first 1,000", true)] {
        let candidates = candidates(linked);
        let order = order();
        let mut planning = Vec::new();
        let mut sorting = Vec::new();
        for _ in 0..TRIES {
            let start = Instant::now();
            let plan = plan_batch(black_box(&candidates), &order, &limits);
            planning.push(start.elapsed().as_secs_f64() * 1e3);
            assert!(!plan.order.is_empty());
            let mut places: Vec<usize> = (0..candidates.len()).collect();
            let start = Instant::now();
            places.sort_unstable_by_key(|at| (candidates[*at].priority, candidates[*at].seq));
            sorting.push(start.elapsed().as_secs_f64() * 1e3);
            black_box(places);
        }
        out.push(
            Row::figure(
                format!("planning {CANDIDATES} candidates, {what} (beside it: sorting them)"),
                percentile(&mut planning, 0.5),
                "ms",
            )
            .beside(percentile(&mut sorting, 0.5)),
        );
    }
    out
}

fn candidates(linked: bool) -> Vec<Candidate> {
    const PARENTS: usize = 1_000;
    let mut chance = Chance::new(53);
    (0..CANDIDATES)
        .map(|at| Candidate {
            table: if at < PARENTS { "projects" } else { "tasks" }.into(),
            key: Key::from(vec![Value::Text(uuid(&mut chance))]),
            operation: Operation::Insert,
            priority: Priority(chance.below(5) as u8),
            seq: Seq(at as i64 + 1),
            bytes: 300,
            needs: if linked && at >= PARENTS { vec![chance.below(PARENTS as u64) as usize] } else { Vec::new() },
            held: None,
        })
        .collect()
}

fn order() -> Order {
    let table = |name: &str, parents: &[&str]| Table {
        name: name.to_owned(),
        foreign_keys: parents
            .iter()
            .map(|parent| ForeignKey { parent: (*parent).to_owned(), ..ForeignKey::default() })
            .collect(),
        ..Table::default()
    };
    Order::new(&[table("projects", &[]), table("tasks", &["projects"])], &BTreeMap::new())
}

/// A row of 20 columns that both sides changed in three columns, one of them the same.
pub fn resolve(scale: &Scale) -> Vec<Row> {
    let count = if scale.short { 20_000 } else { 200_000 };
    let columns: Vec<String> = (0..ORDERS.columns).map(|at| format!("column_{at}")).collect();
    let bases = ORDERS.rows(59, 1_000);
    let changed = |row: &Values, places: [usize; 3], to: &str| -> Values {
        let mut row = row.clone();
        places.into_iter().for_each(|at| row[at] = Value::Text(to.to_owned()));
        row
    };
    let sides: Vec<(Values, Values, Values)> = bases
        .into_iter()
        .map(|base| (changed(&base, [4, 5, 6], "here"), changed(&base, [6, 12, 13], "there"), base))
        .collect();
    let policy = Policy::default();
    [Strategy::ServerWins, Strategy::LatestTimestamp, Strategy::FieldLevel, Strategy::Merge, Strategy::Manual]
        .into_iter()
        .map(|strategy| {
            let start = Instant::now();
            for at in 0..count {
                let (local, remote, base) = &sides[at % sides.len()];
                let resolution = resolver::resolve(
                    strategy,
                    &policy,
                    black_box(&Meeting {
                        table: "orders",
                        columns: &columns,
                        base: Some(base),
                        base_known: true,
                        local: Some(local),
                        remote: Some(remote),
                        local_stamp: Stamp(2),
                        remote_stamp: Stamp(1),
                        local_device: "here",
                        remote_device: "there",
                        local_role: "",
                        remote_role: "",
                        defaults: &[],
                        now: Stamp(3),
                    }),
                );
                black_box(resolution);
            }
            let each = start.elapsed().as_secs_f64() * 1e6 / count as f64;
            let row = Row::figure(format!("resolve() of one conflict of 20 columns, {}", strategy.word()), each, "µs");
            if strategy == Strategy::FieldLevel { row.at_most(20.0) } else { row }
        })
        .collect()
}
