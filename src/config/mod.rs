//! The config: one TOML file and the environment, made into settings ready to use.
//!
//! Everything that is wrong is told at once, with line, column and a suggestion. What
//! comes out is whole: defaults and presets filled in, paths absolute where the file's
//! own is, no two settings in contradiction. It never holds a secret, only where to
//! find one, and reading it never touches a database or the network.
//!
//! `docs/config.md` and `docs/homing.schema.json` are made from `keys`, and a test
//! holds them to it.

pub mod cases;
mod check;
mod environment;
mod keys;
mod kind;
pub mod paths;
mod preset;
mod problem;
pub mod published;
mod replica;
mod section;
mod strategy;
#[cfg(test)]
mod tests;
mod tree;
mod units;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use self::check::{check_against, check_columns};
pub use self::problem::{ConfigError, Place, Problem, did_you_mean};
use self::replica::Folders;
use self::section::{Problems, Section};
use self::tree::{Node, Table, Value};
use crate::model::settings::{Millis, Replica};

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; `None` when all of it comes from the environment.
    pub file: Option<PathBuf>,
    pub device: Option<String>,
    pub socket: Option<PathBuf>,
    /// `owner`, `group` or `all`.
    pub socket_access: String,
    pub socket_group: Option<String>,
    pub state_dir: Option<PathBuf>,
    /// How long past cycles stay in the history.
    pub history_age_max: Millis,
    /// Where telemetry goes that a person agreed to.
    pub telemetry_url: Option<String>,
    pub replicas: Vec<Replica>,
    /// Where each value was set, by its full name: `replica.notes.database`.
    pub sources: BTreeMap<String, Place>,
}

/// More than any config is, and less than would hurt to read.
const FILE_BYTES_MAX: u64 = 1 << 20;

const DAY: Millis = 86_400_000;

/// Reads the config at `path`, or the one found where configs are kept. Without any,
/// the environment alone may name replicas.
pub fn load(path: Option<&Path>, env: &[(String, String)]) -> Result<Config, ConfigError> {
    let named = path.map(Path::to_owned).or_else(|| env_file(env));
    let Some(file) = named.or_else(|| paths::config_files(env).into_iter().find(|file| file.exists())) else {
        let config = parse_tree(Table::new(), None, env)?;
        return if config.replicas.is_empty() { Err(nothing_found(env)) } else { Ok(config) };
    };
    let text = read_file(&file).map_err(|problem| ConfigError { file: Some(file.clone()), problems: vec![problem] })?;
    // Relative paths begin at the file's folder, whatever the current one is later.
    let file = std::path::absolute(&file).unwrap_or(file);
    let config = parse(&text, &file, env)?;
    let found = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match twins(&config.replicas, found) {
        None => Ok(config),
        Some(problem) => Err(ConfigError { file: Some(file), problems: vec![problem] }),
    }
}

/// The config that `text`, the content of the file `origin`, and the environment make.
pub fn parse(text: &str, origin: &Path, env: &[(String, String)]) -> Result<Config, ConfigError> {
    // Editors of one system put it there, and TOML has no place for it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match tree::parse(text) {
        Ok(tree) => parse_tree(tree, Some(origin), env),
        Err(problems) => Err(ConfigError { file: Some(origin.to_owned()), problems }),
    }
}

fn parse_tree(mut tree: Table, origin: Option<&Path>, env: &[(String, String)]) -> Result<Config, ConfigError> {
    environment::lay_over(&mut tree, env);
    let problems = Problems::default();
    let top = Section::top(&tree, &problems);
    let folders = Folders { config: origin.and_then(Path::parent).unwrap_or(Path::new("")), home: paths::home(env) };
    let sections = top.sections("replica", keys::Part::Replica);
    let config = Config {
        file: origin.map(Path::to_owned),
        device: top.text("device"),
        socket: replica::read_path(&top, "socket", &folders),
        socket_access: top.text("socket_access").unwrap_or_else(|| "owner".to_owned()),
        socket_group: top.text("socket_group"),
        state_dir: replica::read_path(&top, "state_dir", &folders),
        history_age_max: top.millis("history_age_max").unwrap_or(30 * DAY),
        telemetry_url: top.text("telemetry_url"),
        replicas: sections.iter().map(|(name, section)| replica::read(name, section, &folders)).collect(),
        sources: sources(&tree),
    };
    refuse_twin_names(&sections);
    let mut problems = problems.into_inner();
    problems.extend(twins(&config.replicas, Path::to_owned));
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort();
    problems.dedup();
    Err(ConfigError { file: config.file, problems })
}

/// Names are parts of file names, and some systems take those for the same.
fn refuse_twin_names(sections: &[(String, Section)]) {
    for (at, (name, section)) in sections.iter().enumerate() {
        if let Some((other, _)) = sections[..at].iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            section.note(
                &section.place,
                format!("the replicas `{other}` and `{name}` differ only in case"),
                "give one another name",
            );
        }
    }
}

/// Two replicas of one database would answer each other for ever.
fn twins(replicas: &[Replica], identity: impl Fn(&Path) -> PathBuf) -> Option<Problem> {
    let mut seen: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let named = replicas.iter().filter(|replica| !replica.database.as_os_str().is_empty());
    for replica in named {
        if let Some(other) = seen.insert(identity(&replica.database), &replica.name) {
            let text = format!(
                "the replicas `{other}` and `{}` have the same database, {}",
                replica.name,
                replica.database.display()
            );
            return Some(Problem::new(
                &Place::Nowhere,
                text,
                "a database file belongs to one replica: keep one of them",
            ));
        }
    }
    None
}

fn sources(tree: &Table) -> BTreeMap<String, Place> {
    fn collect(table: &Table, path: &str, found: &mut BTreeMap<String, Place>) {
        for (name, Node { value, place, .. }) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                Value::Table(table) => collect(table, &path, found),
                _ => {
                    found.insert(path, place.clone());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(tree, "", &mut found);
    found
}

fn env_file(env: &[(String, String)]) -> Option<PathBuf> {
    env.iter()
        .any(|(name, value)| name == "HOMING_CONFIG" && !value.is_empty())
        .then(|| paths::config_files(env).remove(0))
}

fn read_file(file: &Path) -> Result<String, Problem> {
    let fail = |text: String, hint: &str| Problem::new(&Place::Nowhere, text, hint);
    let found = std::fs::metadata(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            fail("there is no such file".into(), "`homing init APP.db --hub URL` writes a config")
        }
        _ => fail(format!("cannot be read: {error}"), "check the path and its permissions"),
    })?;
    if !found.is_file() {
        return Err(fail("is not a file".into(), "give the path of a TOML file"));
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    opened
        .and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(format!("cannot be read: {error}"), "check its permissions"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(format!("is larger than {FILE_BYTES_MAX} bytes"), "give the path of a TOML file"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        fail(format!("line {line} is not UTF-8"), "save it as UTF-8")
    })
}

fn nothing_found(env: &[(String, String)]) -> ConfigError {
    let looked: Vec<String> = paths::config_files(env).iter().map(|file| file.display().to_string()).collect();
    let hint = match Path::new("homing.toml").is_file() {
        true => "there is one in this folder: say so with `--config homing.toml`",
        false => "`homing init APP.db --hub URL` writes one",
    };
    let text = format!("there is no config; looked for {}", looked.join(" and "));
    ConfigError { file: None, problems: vec![Problem::new(&Place::Nowhere, text, hint)] }
}
