//! `homing validate`: checks a config and the rule cases beside it; line, column, "did you
//! mean". Reads the databases it names, and writes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::config::cases::{self, Case, Expected};
use crate::config::{self, Config, ConfigError, Place, Problem, did_you_mean};
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
    let mut found = Vec::new();
    for replica in &config.replicas {
        let problems = against_database(&config, replica).into_iter();
        found
            .extend(problems.map(|problem| Problem { text: format!("{}: {}", replica.name, problem.text), ..problem }));
    }
    let mut errors = vec![ConfigError { file: config.file.clone(), problems: found }];
    errors.extend(cases_beside(&config));
    errors.retain(|error| !error.problems.is_empty());
    let document = json!({
        "schema": "homing.validation/1",
        "valid": errors.is_empty(),
        "file": config.file,
        "replicas": config.replicas.iter().map(|replica| &replica.name).collect::<Vec<_>>(),
        "problems": errors.iter().flat_map(problems_of).collect::<Vec<_>>(),
    });
    context.show(&document, |_| {
        let file = config.file.as_ref().map_or_else(|| "the environment".to_owned(), |file| file.display().to_string());
        let mut out = String::new();
        for line in errors.iter().flat_map(|error| error.to_string().lines().map(str::to_owned).collect::<Vec<_>>()) {
            out += &format!("{} {line}\n", context.paint.bad("✗"));
        }
        if errors.is_empty() {
            let names: Vec<&str> = config.replicas.iter().map(|replica| replica.name.as_str()).collect();
            out += &format!("{} {file} is good: {}\n", context.paint.good("✓"), names.join(", "));
        }
        out
    })?;
    Ok(if errors.is_empty() { Exit::Done } else { Exit::BadConfig })
}

/// The environment as pairs; what is not UTF-8 cannot be meant for us.
pub fn environment() -> Vec<(String, String)> {
    let pairs = std::env::vars_os();
    pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

pub fn load(path: Option<&Path>, environment: &[(String, String)]) -> Result<Config, Failure> {
    config::load(path, environment).map_err(|error| bad(&error))
}

fn bad(error: &ConfigError) -> Failure {
    let what = if error.problems.len() == 1 { "the config has a problem" } else { "the config has problems" };
    let hint = "correct it; docs/config.md names every key";
    Failure::new(Exit::BadConfig, format!("{what}:\n  {}", error.to_string().replace('\n', "\n  ")), hint)
}

fn told(error: &ConfigError) -> serde_json::Value {
    let problems: Vec<_> = problems_of(error).collect();
    json!({"schema": "homing.validation/1", "valid": false, "file": error.file, "problems": problems})
}

fn problems_of(error: &ConfigError) -> impl Iterator<Item = serde_json::Value> {
    error.problems.iter().map(|problem| {
        let (line, column, variable) = match &problem.place {
            Place::File { line, column } => (Some(*line), Some(*column), None),
            Place::Environment(name) => (None, None, Some(name.clone())),
            Place::Nowhere => (None, None, None),
        };
        let (text, hint) = (&problem.text, &problem.hint);
        json!({"file": error.file, "line": line, "column": column, "variable": variable, "text": text, "hint": hint})
    })
}

/// What only the database can tell: tables and columns that the config names and that are
/// not there, and values that a column's rule could not merge.
fn against_database(config: &Config, replica: &Replica) -> Vec<Problem> {
    let Some((db, tables)) = read_database(replica) else { return Vec::new() };
    let mut problems = config::check_against(replica, &tables);
    let columns = config::check_columns(replica, &tables, &config.sources);
    if columns.is_empty() {
        problems.extend(unfit_values(&db, config, replica, &tables));
    }
    problems.extend(columns);
    problems
}

/// `None` where it is not there yet, which is the agent's to wait for.
fn read_database(replica: &Replica) -> Option<(rusqlite::Connection, Vec<Table>)> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = rusqlite::Connection::open_with_flags(&replica.database, flags).ok()?;
    let tables = schema::syncing(&db).ok()?;
    Some((db, tables))
}

/// Values, among the first of each column with a rule that merges, that it cannot merge.
fn unfit_values(db: &rusqlite::Connection, config: &Config, replica: &Replica, tables: &[Table]) -> Vec<Problem> {
    const ROWS_MAX: usize = 1_000;
    let mut problems = Vec::new();
    for table in tables {
        for (column, rule) in &replica.rule(&table.name).policy.columns {
            if table.position(column).is_none() {
                continue;
            }
            let sql = format!("SELECT {} FROM {} LIMIT {ROWS_MAX}", ident(column), ident(&table.name));
            let values = db.prepare(&sql).and_then(|mut statement| {
                let rows = statement.query_map([], |row| row.get_ref(0).map(value::read))?;
                rows.collect::<rusqlite::Result<Vec<Value>>>()
            });
            let misfit = values.unwrap_or_default().iter().find_map(|value| resolve::fits(*rule, value).err());
            problems.extend(misfit.map(|why| {
                let text = format!("{}.{column} has a value that {} cannot merge: {why}", table.name, rule.word());
                let hint = "mend the value, or choose another rule; a conflict with it goes to `in_doubt`";
                Problem::new(place_of(config, replica, &table.name, column), text, hint)
            }));
        }
    }
    problems
}

/// Where a column's rule is written: at its table, or among the defaults.
fn place_of<'a>(config: &'a Config, replica: &Replica, table: &str, column: &str) -> &'a Place {
    let section = replica.tables.keys().find(|name| name.eq_ignore_ascii_case(table));
    let own = section.map(|name| format!("replica.{}.tables.{name}.strategy.columns.{column}", replica.name));
    let shared = format!("replica.{}.defaults.strategy.columns.{column}", replica.name);
    let found = own.and_then(|path| config.sources.get(&path)).or_else(|| config.sources.get(&shared));
    found.unwrap_or(&Place::Nowhere)
}

/// The rule cases beside the config, where there are any: malformed ones, and those about
/// a replica, table or column that is not there.
fn cases_beside(config: &Config) -> Option<ConfigError> {
    let file = cases::file_beside(config.file.as_ref()?);
    if !file.exists() {
        return None;
    }
    let cases = match cases::load(&file) {
        Ok(cases) => cases,
        Err(error) => return Some(error),
    };
    let databases: Vec<Option<Vec<Table>>> =
        config.replicas.iter().map(|replica| read_database(replica).map(|(_, tables)| tables)).collect();
    let problems = cases.iter().flat_map(|case| strangers(config, &databases, case)).collect();
    Some(ConfigError { file: Some(file), problems })
}

fn strangers(config: &Config, databases: &[Option<Vec<Table>>], case: &Case) -> Vec<Problem> {
    let problem = |text: String, hint: String| Problem::new(&case.place, format!("case `{}`: {text}", case.name), hint);
    let names = || config.replicas.iter().map(|replica| replica.name.as_str());
    let at = match &case.replica {
        Some(name) => match names().position(|known| known == name) {
            Some(at) => at,
            None => return vec![problem(format!("there is no replica `{name}`"), did_you_mean(name, names()))],
        },
        None if config.replicas.len() == 1 => 0,
        None => return vec![problem("the config has several replicas".into(), "say which with `replica`".into())],
    };
    let Some(tables) = &databases[at] else { return Vec::new() };
    let Some(table) = tables.iter().find(|table| table.name.eq_ignore_ascii_case(&case.table)) else {
        let hint = did_you_mean(&case.table, tables.iter().map(|table| table.name.as_str()));
        return vec![problem(format!("the database has no table `{}` that can sync", case.table), hint)];
    };
    let expected = if let Expected::Columns(columns) = &case.expected { Some(columns) } else { None };
    let sides = [case.base.as_ref(), case.local.as_ref(), case.remote.as_ref(), expected];
    let columns: BTreeSet<&String> = sides.into_iter().flatten().flat_map(|columns| columns.keys()).collect();
    let unknown = columns.into_iter().filter(|column| table.position(column).is_none());
    unknown
        .map(|column| {
            let hint = did_you_mean(column, table.columns.iter().map(|known| known.name.as_str()));
            problem(format!("{} has no column `{column}`", table.name), hint)
        })
        .collect()
}
