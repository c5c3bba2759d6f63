//! `homing conformance URL`: whether a sync endpoint keeps what the agent relies on.
//!
//! It speaks as the agent does, through the same remote and by the same config, with a
//! scratch account: rows of its own are written, edited and deleted, and taken out at the
//! end. Nothing of the app's database is sent; it is read for its tables alone. For each
//! thing relied on it says whether it holds, and what breaks for users where it does not.

mod bench;
mod checks;
mod guarding;
mod pulling;
mod pushing;
mod sample;
mod station;
mod values;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use self::bench::{Bench, Checked, Verdict};
use self::checks::{CHECKS, FIRST};
use self::sample::Sample;
use self::station::{Ground, words};
use super::context::{Context, Paint};
use super::exit::Exit;
use super::failure::Failure;
use super::{init, validate};
use crate::config::Config;
use crate::model::settings::{Replica, TokenSource};
use crate::model::{Table, text};
use crate::remote::RemoteError;
use crate::sqlite::schema;

/// What a hub is tested with where no config says otherwise.
const SCHEMA: &str = "
    CREATE TABLE conformance_lists(id TEXT PRIMARY KEY, name TEXT, size INTEGER, weight REAL);
    CREATE TABLE conformance_items(id TEXT PRIMARY KEY, list TEXT REFERENCES conformance_lists(id), name TEXT)";

#[derive(clap::Args)]
pub struct Args {
    /// The endpoint, in place of the config's `url`.
    url: String,
    /// The config that an agent would have; without one, the URL is a Homing hub's.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which of the config's replicas.
    #[arg(long, value_name = "NAME")]
    replica: Option<String>,
    /// SQL that makes the app's tables. Else the config's database, or `schema.sql` beside the config.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// The scratch account's token, in place of the config's.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Another account's token, to see that the two are kept apart.
    #[arg(long, value_name = "FILE")]
    other_token_file: Option<PathBuf>,
    /// How many rows to fill pages with.
    #[arg(long, value_name = "COUNT", default_value_t = 1200)]
    rows: usize,
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    url: String,
    kind: String,
    table: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    checks: Vec<Line>,
    /// Rows of the test that could not be taken out again.
    left_behind: usize,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    /// `passed`, `failed` or `skipped`.
    state: &'static str,
    relied_on: &'static str,
    /// What was seen.
    text: String,
    /// What becomes of users; empty where it holds.
    breaks: &'static str,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let (config, mut replica) = replica(&args)?;
    replica.remote.url.clone_from(&args.url);
    // What an agent passes over is what is looked for here.
    replica.remote.backend.takes_others = true;
    if let Some(file) = &args.token_file {
        replica.remote.token = TokenSource::File(file.clone());
    }
    let tables = tables(&args, config.as_ref(), &replica)?;
    let Some(sample) = Sample::choose(&replica, &tables) else {
        let next = "a table that refers to no other by a column that must be filled, with a TEXT column, is needed";
        return Err(Failure::new(Exit::Failed, "none of the tables can be tested with", next));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("cannot start threads: {error}"),
            "look at what the system allows: `ulimit -a`",
        )
    })?;
    let (_going_on, stop) = tokio::sync::watch::channel(false);
    let ground = Ground { replica, tables, runtime: runtime.handle().clone(), stop };
    let stranger = args.other_token_file.clone().map(TokenSource::File);
    let (kind, table) = (ground.replica.remote.kind.clone(), sample.table.name.clone());
    let bench = Bench::new(ground, sample, stranger, args.rows.max(1));
    let mut bench = bench.map_err(|error| out_of_reach(&error))?;
    let checks = go_through(&mut bench, context);
    let left_behind = bench.tidy();
    let count = |state: &str| checks.iter().filter(|line| line.state == state).count();
    let report = Report {
        schema: "homing.conformance/1",
        url: args.url,
        kind,
        table,
        passed: count("passed"),
        failed: count("failed"),
        skipped: count("skipped"),
        checks,
        left_behind,
    };
    context.show(&report, |report| render(report, &context.paint))?;
    Ok(if report.failed == 0 { Exit::Done } else { Exit::Failed })
}

fn go_through(bench: &mut Bench, context: &Context) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for check in CHECKS {
        let deaf = lines.iter().any(|line| line.name == FIRST && line.state == "failed");
        let checked = match deaf {
            true => Ok(Verdict::Skipped("it does not answer".to_owned())),
            false => {
                if context.terminal {
                    context.say(&format!("{} …\n", check.name));
                }
                (check.run)(bench)
            }
        };
        lines.push(line(check, checked));
    }
    lines
}

fn line(check: &'static checks::Check, checked: Checked) -> Line {
    let (state, text, breaks) = match checked {
        Ok(Verdict::Passed(text)) => ("passed", text, ""),
        Ok(Verdict::Skipped(text)) => ("skipped", text, ""),
        Ok(Verdict::Failed(text)) => ("failed", text, check.breaks),
        Err(error) => ("failed", words(&error), check.breaks),
    };
    Line { name: check.name, state, relied_on: check.relied_on, text: text::printable(&text), breaks }
}

/// The config's replica, or a plain one of a hub's.
fn replica(args: &Args) -> Result<(Option<Config>, Replica), Failure> {
    let environment = validate::environment();
    let Some(file) = &args.config else {
        let mut settings = environment;
        for (key, value) in [("DATABASE", "conformance.db"), ("REMOTE__KIND", "homing"), ("REMOTE__URL", &args.url)] {
            settings.push((format!("HOMING__REPLICA__CONFORMANCE__{key}"), value.to_owned()));
        }
        let plain = crate::config::parse("", Path::new(""), &settings).map_err(|error| validate::bad(&error))?;
        let found = plain.replicas.into_iter().find(|replica| replica.name == "conformance");
        return Ok((None, found.expect("BUG: the replica that was just named")));
    };
    let config = validate::load(Some(file), &environment)?;
    let replica = match (&args.replica, config.replicas.as_slice()) {
        (None, [only]) => only.clone(),
        (name, all) => match all.iter().find(|replica| Some(&replica.name) == name.as_ref()) {
            Some(replica) => replica.clone(),
            None => {
                let names: Vec<&str> = all.iter().map(|replica| replica.name.as_str()).collect();
                let next = format!("name one with --replica: {}", names.join(", "));
                return Err(Failure::new(Exit::Usage, "the config has several replicas, or none of that name", next));
            }
        },
    };
    Ok((Some(config), replica))
}

/// The app's tables that sync, with their shapes.
fn tables(args: &Args, config: Option<&Config>, replica: &Replica) -> Result<Vec<Table>, Failure> {
    let beside = config.and_then(|config| config.file.as_ref()).map(|file| file.with_file_name("schema.sql"));
    let from_sql = |sql: &str, whence: &str| -> Result<Connection, Failure> {
        let made = Connection::open_in_memory().and_then(|db| db.execute_batch(sql).map(|()| db));
        made.map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{whence} is no SQL that makes tables: {error}"),
                "write CREATE TABLE statements",
            )
        })
    };
    let read = |file: &Path| {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{shown} cannot be read: {error}"),
                "see that it is there, and that this user may read it",
            )
        })?;
        from_sql(&text, &shown.to_string())
    };
    let db = match (&args.schema, beside.filter(|file| file.exists())) {
        (Some(file), _) => read(file)?,
        (None, _) if config.is_none() => from_sql(SCHEMA, "the schema of the test")?,
        (None, Some(file)) if !replica.database.exists() => read(&file)?,
        (None, _) => init::read_only(&replica.database)?.1,
    };
    let tables = schema::syncing(&db);
    let tables = tables.map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the tables cannot be read: {error}"),
            "see that the database is whole: `homing doctor`",
        )
    })?;
    Ok(tables.into_iter().filter(|table| replica.syncs(&table.name)).collect())
}

fn out_of_reach(error: &RemoteError) -> Failure {
    match error {
        RemoteError::Fault(fault) => fault.reason.clone().into(),
        other => {
            Failure::new(Exit::Failed, words(other), "see that the config is for this endpoint: kind, paths, names")
        }
    }
}

fn render(report: &Report, paint: &Paint) -> String {
    let mut out = String::new();
    for line in &report.checks {
        let mark = match line.state {
            "passed" => paint.good("✓"),
            "failed" => paint.bad("✗"),
            _ => paint.dim("–"),
        };
        out += &format!("{mark} {}: {}\n", line.name, line.relied_on);
        if line.state != "passed" {
            out += &format!("    {}\n", line.text);
        }
        if line.state == "failed" {
            out += &format!("    what breaks: {}\n", line.breaks);
        }
    }
    let left = match report.left_behind {
        0 => String::new(),
        rows => format!("; {rows} rows of the test could not be taken out again"),
    };
    let failed = if report.failed == 0 { "0".to_owned() } else { paint.bad(&report.failed.to_string()) };
    out + &format!(
        "{} passed, {failed} failed, {} skipped, with rows of {}{left}\n",
        report.passed, report.skipped, report.table
    )
}
