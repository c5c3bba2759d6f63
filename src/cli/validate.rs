//! `homing validate`: checks a config; line, column, "did you mean".

use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::config::{self, Config, ConfigError, Place};
use crate::engine::resolve;
use crate::model::settings::Replica;
use crate::model::{Table, Value};
use crate::sqlite::{ident, schema, value};

#[derive(clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let environment = environment();
    let config = match config::load(args.config.as_deref(), &environment) {
        Ok(config) => config,
        Err(error) if context.json => {
            context.show(&told(&error), |_| String::new())?;
            return Ok(Exit::BadConfig);
        }
        Err(error) => return Err(bad(&error)),
    };
    let mut problems = Vec::new();
    for replica in &config.replicas {
        problems.extend(against_database(&config, replica).into_iter().map(|text| format!("{}: {text}", replica.name)));
    }
    let document = json!({
        "schema": "homing.validation/1",
        "valid": problems.is_empty(),
        "replicas": config.replicas.iter().map(|replica| &replica.name).collect::<Vec<_>>(),
        "problems": problems,
    });
    context.show(&document, |_| {
        let file = config.file.as_ref().map_or_else(|| "the environment".to_owned(), |file| file.display().to_string());
        let mut out = String::new();
        for problem in &problems {
            out += &format!("{} {problem}\n", context.paint.bad("✗"));
        }
        if problems.is_empty() {
            let names: Vec<&str> = config.replicas.iter().map(|replica| replica.name.as_str()).collect();
            out += &format!("{} {file} is good: {}\n", context.paint.good("✓"), names.join(", "));
        }
        out
    })?;
    Ok(if problems.is_empty() { Exit::Done } else { Exit::BadConfig })
}

/// The environment as pairs; what is not UTF-8 cannot be meant for us.
pub fn environment() -> Vec<(String, String)> {
    let pairs = std::env::vars_os();
    pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

pub fn load(path: Option<&Path>, environment: &[(String, String)]) -> Result<Config, Failure> {
    config::load(path, environment).map_err(|error| bad(&error))
}

pub fn bad(error: &ConfigError) -> Failure {
    let what = if error.problems.len() == 1 { "the config has a problem" } else { "the config has problems" };
    let hint = "correct it; docs/config.md names every key";
    Failure::new(Exit::BadConfig, format!("{what}:\n  {}", error.to_string().replace('\n', "\n  ")), hint)
}

fn told(error: &ConfigError) -> serde_json::Value {
    let problems: Vec<_> = error
        .problems
        .iter()
        .map(|problem| {
            let (line, column, variable) = match &problem.place {
                Place::File { line, column } => (Some(*line), Some(*column), None),
                Place::Environment(name) => (None, None, Some(name.clone())),
                Place::Nowhere => (None, None, None),
            };
            json!({"line": line, "column": column, "variable": variable, "text": problem.text, "hint": problem.hint})
        })
        .collect();
    json!({"schema": "homing.validation/1", "valid": false, "file": error.file, "problems": problems})
}

/// What only the database can tell: tables and columns that the config names and that are
/// not there, and values that a column's rule could not merge.
fn against_database(config: &Config, replica: &Replica) -> Vec<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = rusqlite::Connection::open_with_flags(&replica.database, flags);
    let found = opened.and_then(|db| schema::syncing(&db).map(|tables| (db, tables)));
    // A database that is not there yet is the agent's to wait for.
    let Ok((db, tables)) = found else { return Vec::new() };
    let names = config::check_against(replica, &tables);
    let columns = config::check_columns(replica, &tables, &config.sources);
    let values = if columns.is_empty() { unfit_values(&db, replica, &tables) } else { Vec::new() };
    names.iter().chain(&columns).map(ToString::to_string).chain(values).collect()
}

/// Values, among the first of each column with a rule that merges, that it cannot merge.
fn unfit_values(db: &rusqlite::Connection, replica: &Replica, tables: &[Table]) -> Vec<String> {
    const ROWS_MAX: usize = 1_000;
    let mut problems = Vec::new();
    for table in tables {
        for (column, rule) in &replica.rule(&table.name).policy.columns {
            let sql = format!("SELECT {} FROM {} LIMIT {ROWS_MAX}", ident(column), ident(&table.name));
            let values = db.prepare(&sql).and_then(|mut statement| {
                let rows = statement.query_map([], |row| row.get_ref(0).map(value::read))?;
                rows.collect::<rusqlite::Result<Vec<Value>>>()
            });
            let misfit = values.unwrap_or_default().iter().find_map(|value| resolve::fits(*rule, value).err());
            problems
                .extend(misfit.map(|why| {
                    format!("{}.{column} has a value that {} cannot merge: {why}", table.name, rule.word())
                }));
        }
    }
    problems
}
