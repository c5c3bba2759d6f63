//! What Homing costs and how fast it moves rows, each figure beside its baseline.
//!
//! `cargo bench` prints one table: what, bare SQLite, Homing, their ratio, and the bar
//! the project set itself. `cargo bench -- --short` takes under five minutes on two
//! cores; `cargo bench -- NAME …` runs the benchmarks whose names begin so;
//! `cargo bench -- --list` names them. Baselines run in the same process, on the same
//! disk, within the same minute, through rusqlite with one prepared statement and the
//! same schema and pragmas. Files lie in the temporary directory (`TMPDIR` moves them).
//!
//! A benchmark that finds a wrong result panics: a fast wrong answer is no figure.

mod backends;
mod broker;
mod capture;
mod conflicts;
mod crowd;
mod cycle;
mod data;
mod decide;
mod edits;
mod fleet;
mod idle;
mod live;
mod meanwhile;
mod outbox;
mod process;
mod pull;
mod rig;
mod table;
mod transfer;

use std::process::ExitCode;
use std::time::Instant;

use table::Row;

/// How much of each to do.
pub struct Scale {
    pub short: bool,
    /// Rows that are pushed and pulled.
    pub rows: usize,
    /// Transactions of one row in a round of capture.
    pub singles: usize,
    /// Rounds of capture, of which the best counts, for bare and captured alike.
    pub rounds: usize,
    /// Unsent rows when the next batch is chosen.
    pub outbox: usize,
    pub idle_seconds: u64,
    pub live_samples: usize,
}

const SHORT: Scale = Scale {
    short: true,
    rows: 100_000,
    singles: 10_000,
    rounds: 3,
    outbox: 100_000,
    idle_seconds: 10,
    live_samples: 200,
};

const LONG: Scale = Scale {
    short: false,
    rows: 100_000,
    singles: 50_000,
    rounds: 5,
    outbox: 1_000_000,
    idle_seconds: 60,
    live_samples: 1_000,
};

type Benchmark = fn(&Scale) -> Vec<Row>;

const BENCHMARKS: &[(&str, Benchmark)] = &[
    ("capture", capture::run),
    ("transfer", transfer::tasks),
    ("transfer-wide", transfer::orders),
    ("many", pull::many),
    ("behind", pull::behind),
    ("rollback-transfer", transfer::rollback),
    ("rollback-capture", capture::rollback),
    ("fleet", fleet::run),
    ("cycle", cycle::run),
    ("edits", edits::run),
    ("backends", backends::run),
    ("meanwhile", meanwhile::run),
    ("live", live::run),
    ("live-many", crowd::run),
    ("mqtt", broker::run),
    ("idle", idle::run),
    ("outbox", outbox::run),
    ("status", outbox::status),
    ("plan", decide::plan),
    ("resolve", decide::resolve),
    ("conflicts", conflicts::run),
];

fn main() -> ExitCode {
    let mut scale = LONG;
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--short" => scale = SHORT,
            // Fewer, for a profiler that is slow.
            "--rows" => match arguments.next().and_then(|rows| rows.parse().ok()) {
                Some(rows) => scale = Scale { rows, ..scale },
                None => return usage(),
            },
            "--list" => {
                BENCHMARKS.iter().for_each(|(name, _)| println!("{name}"));
                return ExitCode::SUCCESS;
            }
            // Cargo's own.
            "--bench" => {}
            flag if flag.starts_with('-') => return usage(),
            name => wanted.push(name.to_owned()),
        }
    }
    let chosen: Vec<_> = BENCHMARKS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|start| name.starts_with(start.as_str())))
        .collect();
    if chosen.is_empty() {
        eprintln!("no benchmark is called that; `cargo bench -- --list` names them");
        return ExitCode::from(2);
    }
    let mut rows = Vec::new();
    for (name, run) in chosen {
        let start = Instant::now();
        rows.extend(run(&scale));
        eprintln!("{name}: {:.0} s", start.elapsed().as_secs_f64());
    }
    print!("{}", table::render(&rows));
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo bench -- [--short] [--rows N] [--list] [NAME …]");
    ExitCode::from(2)
}
