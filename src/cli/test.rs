//! `homing test`: the rule cases beside a config, tried on the resolver that ships.
//!
//! Touches no database and no agent.

use std::path::PathBuf;

use serde::Serialize;

use super::context::{Context, Paint};
use super::exit::Exit;
use super::failure::Failure;
use super::validate;
use crate::config::Config;
use crate::config::cases::{self, Case, Columns, Expected};
use crate::config::{ConfigError, Place};
use crate::engine::resolve::{self, Meeting, Verdict};
use crate::model::settings::Replica;
use crate::model::{Row, Stamp, Value};

#[derive(clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file with the cases; beside `homing.toml` that is `homing.cases.toml`.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    file: PathBuf,
    passed: usize,
    failed: usize,
    cases: Vec<Tried>,
}

#[derive(Serialize)]
struct Tried {
    name: String,
    line: usize,
    passed: bool,
    /// What differs; empty when it passed.
    differs: Vec<String>,
    /// What the rule said.
    rule: String,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let config = validate::load(args.config.as_deref(), &validate::environment())?;
    let file = match (args.cases, &config.file) {
        (Some(file), _) => file,
        (None, Some(config)) => cases::file_beside(config),
        (None, None) => {
            return Err(Failure::new(Exit::Usage, "the config comes from the environment", "name a file with --cases"));
        }
    };
    let cases = cases::load(&file).map_err(|error| malformed(&error))?;
    let tried: Vec<Tried> = cases.iter().map(|case| try_case(&config, case)).collect();
    let failed = tried.iter().filter(|tried| !tried.passed).count();
    let report = Report { schema: "homing.test/1", file, passed: tried.len() - failed, failed, cases: tried };
    context.show(&report, |report| render(report, &context.paint))?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

fn malformed(error: &ConfigError) -> Failure {
    let text = format!("the cases cannot be read:\n  {}", error.to_string().replace('\n', "\n  "));
    Failure::new(Exit::BadConfig, text, "docs/conflicts.md has an example")
}

fn try_case(config: &Config, case: &Case) -> Tried {
    let line = if let Place::File { line, .. } = case.place { line } else { 0 };
    let tried = |differs: Vec<String>, rule: String| Tried {
        name: case.name.clone(),
        line,
        passed: differs.is_empty(),
        differs,
        rule,
    };
    let replica = match (&case.replica, config.replicas.as_slice()) {
        (None, [only]) => only,
        (None, _) => {
            return tried(vec!["the config has several replicas: the case must name one".into()], String::new());
        }
        (Some(name), all) => match all.iter().find(|replica| replica.name == *name) {
            Some(replica) => replica,
            None => return tried(vec![format!("the config has no replica {name}")], String::new()),
        },
    };
    let (differs, rule) = settle(replica, case);
    tried(differs, rule)
}

fn settle(replica: &Replica, case: &Case) -> (Vec<String>, String) {
    let mut names: Vec<String> = Vec::new();
    for columns in [&case.base, &case.local, &case.remote].into_iter().flatten() {
        names.extend(columns.keys().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    }
    let row = |columns: &Columns| -> Row {
        let before = |name: &String| case.base.as_ref().and_then(|base| base.get(name)).cloned();
        names.iter().map(|name| columns.get(name).cloned().or_else(|| before(name)).unwrap_or_default()).collect()
    };
    let [base, local, remote] = [&case.base, &case.local, &case.remote].map(|side| side.as_ref().map(row));
    let (early, late) = (Stamp::from_millis(1_000), Stamp::from_millis(2_000));
    let rule = replica.rule(&case.table);
    let resolution = resolve::resolve(
        rule.strategy,
        &rule.policy,
        &Meeting {
            table: &case.table,
            columns: &names,
            base: base.as_ref(),
            base_known: true,
            local: local.as_ref(),
            remote: remote.as_ref(),
            local_stamp: if case.local_later { late } else { early },
            remote_stamp: if case.local_later { early } else { late },
            local_device: "local",
            remote_device: "remote",
            local_role: &case.local_role,
            remote_role: &case.remote_role,
            defaults: &[],
            // Times of the app's own are taken as they are written.
            now: Stamp(i64::MAX),
        },
    );
    let stands = match resolution.verdict {
        Verdict::KeepLocal => local.clone(),
        Verdict::TakeRemote => remote.clone(),
        Verdict::Merge(row) => Some(row),
    };
    let mut differs = match &case.expected {
        Expected::Local => compare(&names, local.as_ref(), stands.as_ref()),
        Expected::Remote => compare(&names, remote.as_ref(), stands.as_ref()),
        Expected::Deleted => compare(&names, None, stands.as_ref()),
        Expected::Columns(columns) => {
            let listed: Vec<String> = columns.keys().cloned().collect();
            let stands: Option<Row> = stands.as_ref().map(|row| {
                let place = |name: &String| names.iter().position(|known| known == name);
                listed.iter().map(|name| place(name).map_or(Value::Null, |at| row[at].clone())).collect()
            });
            compare(&listed, Some(&columns.values().cloned().collect()), stands.as_ref())
        }
    };
    let waits = resolution.settled_by.is_none();
    if case.waits.is_some_and(|expected| expected != waits) {
        let told = |waits| if waits { "it waits for a person" } else { "the rule settles it" };
        differs.push(format!("expected that {}, and {}", told(!waits), told(waits)));
    }
    (differs, resolution.note)
}

fn compare(names: &[String], expected: Option<&Row>, found: Option<&Row>) -> Vec<String> {
    let shown = |value: &Value| serde_json::to_string(value).expect("BUG: a value is JSON");
    match (expected, found) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec!["expected that the row is deleted, and it stands".to_owned()],
        (Some(_), None) => vec!["expected a row, and it is deleted".to_owned()],
        (Some(expected), Some(found)) => names
            .iter()
            .zip(expected.iter().zip(found))
            .filter(|(_, (expected, found))| expected != found)
            .map(|(name, (expected, found))| format!("{name}: expected {}, found {}", shown(expected), shown(found)))
            .collect(),
    }
}

fn render(report: &Report, paint: &Paint) -> String {
    let mut out = String::new();
    for case in &report.cases {
        let mark = if case.passed { paint.good("✓") } else { paint.bad("✗") };
        out += &format!("{mark} {}\n", crate::model::text::printable(&case.name));
        if !case.passed {
            out += &format!("    {}:{}\n", report.file.display(), case.line);
            case.differs.iter().for_each(|text| out += &format!("    {}\n", crate::model::text::printable(text)));
            if !case.rule.is_empty() {
                out += &format!("    the rule says: {}\n", crate::model::text::printable(&case.rule));
            }
        }
    }
    let failed = match report.failed {
        0 => String::new(),
        failed => format!(", {}", paint.bad(&format!("{failed} failed"))),
    };
    out + &format!("{} passed{failed}\n", report.passed)
}
