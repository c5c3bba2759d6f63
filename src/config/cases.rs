//! Rule cases, written beside a config: `homing.cases.toml` beside `homing.toml`.
//!
//! ```toml
//! [[case]]
//! name = "votes add up"
//! table = "tasks"
//! base = { id = 1, votes = 10 }
//! local = { votes = 12 }
//! remote = { votes = 15 }
//! expected = { votes = 17 }
//! ```
//!
//! A column that a side leaves out is as in `base`; one that `expected` leaves out is not
//! looked at. Everything wrong is told at once, with its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::problem::{ConfigError, Place, Problem, did_you_mean};
use super::tree::{self, Node, Table, Value};
use crate::model;

#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub name: String,
    pub place: Place,
    /// Not needed where the config has one replica.
    pub replica: Option<String>,
    pub table: String,
    /// `None`: the row was not there.
    pub base: Option<Columns>,
    /// `None`: this side deleted the row.
    pub local: Option<Columns>,
    pub remote: Option<Columns>,
    /// The local side was written later; else the remote's.
    pub local_later: bool,
    pub local_role: String,
    pub remote_role: String,
    pub expected: Expected,
    /// Whether it waits for a person, where the case says so.
    pub waits: Option<bool>,
}

pub type Columns = BTreeMap<String, model::Value>;

#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    Local,
    Remote,
    Deleted,
    Columns(Columns),
}

const KEYS: [&str; 11] =
    ["name", "replica", "table", "base", "local", "remote", "later", "local_role", "remote_role", "expected", "waits"];

/// The file that a config's cases are in.
pub fn file_beside(config: &Path) -> PathBuf {
    config.with_extension("cases.toml")
}

pub fn load(file: &Path) -> Result<Vec<Case>, ConfigError> {
    let refused = |problems| ConfigError { file: Some(file.to_owned()), problems };
    let text = super::read_file(file).map_err(|problem| {
        let hint = "write cases into it, see docs/conflicts.md";
        refused(vec![Problem { hint: hint.to_owned(), ..problem }])
    })?;
    parse(&text).map_err(refused)
}

fn parse(text: &str) -> Result<Vec<Case>, Vec<Problem>> {
    let tree = tree::parse(text)?;
    let mut problems = Vec::new();
    for (name, node) in tree.iter().filter(|(name, _)| *name != "case") {
        let hint = did_you_mean(name, ["case"]);
        problems.push(Problem::new(&node.key, format!("unknown key `{name}`; a file of cases has [[case]]"), hint));
    }
    let cases = match tree.get("case").map(|node| (&node.value, &node.key)) {
        Some((Value::List(list), _)) => list.iter().filter_map(|node| read(node, &mut problems)).collect(),
        Some((_, place)) => {
            problems.push(Problem::new(place, "`case` is not a list", "write [[case]] with two brackets"));
            Vec::new()
        }
        None => Vec::new(),
    };
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

fn read(node: &Node, problems: &mut Vec<Problem>) -> Option<Case> {
    let Value::Table(table) = &node.value else {
        problems.push(Problem::new(&node.place, format!("a case is {}", node.value.what()), "write [[case]]"));
        return None;
    };
    let before = problems.len();
    for (name, node) in table.iter().filter(|(name, _)| !KEYS.contains(&name.as_str())) {
        problems.push(Problem::new(&node.key, format!("unknown key `{name}` in a case"), did_you_mean(name, KEYS)));
    }
    let place = table.values().map(|node| &node.key).min().unwrap_or(&node.place).clone();
    let mut reader = Reader { table, place: &place, problems };
    let (name, replica) = (reader.text("name"), reader.text("replica"));
    let of = reader.required("table");
    let base = reader.side("base", "none");
    let local = reader.side("local", "deleted");
    let remote = reader.side("remote", "deleted");
    let local_later = reader.text("later").is_some_and(|word| reader.one_of("later", &word, &["local", "remote"]) == 0);
    let (local_role, remote_role) = (reader.text("local_role"), reader.text("remote_role"));
    let expected = reader.expected();
    let waits = reader.flag("waits");
    (problems.len() == before).then(|| Case {
        name: name.unwrap_or_else(|| format!("a case of {}", of.as_deref().unwrap_or_default())),
        place: place.clone(),
        replica,
        table: of.unwrap_or_default(),
        base: base.flatten(),
        local: local.flatten(),
        remote: remote.flatten(),
        local_later,
        local_role: local_role.unwrap_or_default(),
        remote_role: remote_role.unwrap_or_default(),
        expected: expected.unwrap_or(Expected::Deleted),
        waits,
    })
}

struct Reader<'a> {
    table: &'a Table,
    place: &'a Place,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn note(&mut self, place: &Place, text: String, hint: &str) {
        self.problems.push(Problem::new(place, text, hint));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let node = self.table.get(key)?;
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            other => {
                let told = format!("`{key}` is {} and takes a text", other.what());
                self.note(&node.place.clone(), told, "write it in quotes");
                None
            }
        }
    }

    fn required(&mut self, key: &str) -> Option<String> {
        if !self.table.contains_key(key) {
            self.note(&self.place.clone(), format!("the case has no `{key}`"), "say which table it is about");
        }
        self.text(key)
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        let node = self.table.get(key)?;
        match &node.value {
            Value::Flag(flag) => Some(*flag),
            other => {
                let told = format!("`{key}` is {} and takes true or false", other.what());
                self.note(&node.place.clone(), told, "write true or false, without quotes");
                None
            }
        }
    }

    /// Where a word stands in `words`; the first, where it does not.
    fn one_of(&mut self, key: &str, word: &str, words: &[&str]) -> usize {
        words.iter().position(|known| *known == word).unwrap_or_else(|| {
            let place = self.table[key].place.clone();
            self.note(&place, format!("`{key}`: `{word}` is not known"), &format!("it takes {}", words.join(" or ")));
            0
        })
    }

    /// A row, or the word that says that there is none. A base may be left out.
    fn side(&mut self, key: &str, none: &str) -> Option<Option<Columns>> {
        let Some(node) = self.table.get(key) else {
            if key != "base" {
                let hint = format!("write {key} = {{ column = value }} or {key} = \"{none}\"");
                self.note(&self.place.clone(), format!("the case has no `{key}`"), &hint);
            }
            return Some(None);
        };
        match &node.value {
            Value::Table(columns) => Some(Some(self.columns(key, columns))),
            Value::Text(word) if word == none => Some(None),
            other => {
                let told = format!("`{key}` is {}", other.what());
                let hint = format!("write {key} = {{ column = value }} or {key} = \"{none}\"");
                self.note(&node.place.clone(), told, &hint);
                None
            }
        }
    }

    fn expected(&mut self) -> Option<Expected> {
        let Some(node) = self.table.get("expected") else {
            let hint = "write expected = { column = value }, \"local\", \"remote\" or \"deleted\"";
            self.note(&self.place.clone(), "the case has no `expected`".to_owned(), hint);
            return None;
        };
        match &node.value {
            Value::Table(columns) => Some(Expected::Columns(self.columns("expected", columns))),
            Value::Text(word) => {
                let at = self.one_of("expected", word, &["local", "remote", "deleted"]);
                Some([Expected::Local, Expected::Remote, Expected::Deleted][at].clone())
            }
            other => {
                let hint = "write expected = { column = value }, \"local\", \"remote\" or \"deleted\"";
                self.note(&node.place.clone(), format!("`expected` is {}", other.what()), hint);
                None
            }
        }
    }

    fn columns(&mut self, key: &str, table: &Table) -> Columns {
        let mut out = Columns::new();
        for (column, node) in table {
            let value = match &node.value {
                Value::Text(text) => model::Value::Text(text.clone()),
                Value::Integer(number) => model::Value::Integer(*number),
                Value::Real(number) => model::Value::Real(*number),
                Value::Flag(flag) => model::Value::Integer(i64::from(*flag)),
                other => {
                    let told = format!("`{key}.{column}` is {}, which SQLite has not", other.what());
                    self.note(&node.place.clone(), told, "write JSON as a text, in single quotes");
                    continue;
                }
            };
            out.insert(column.clone(), value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read_and_what_is_malformed_is_told_with_its_place() {
        let good = "[[case]]\ntable = 'tasks'\nbase = { id = 1, n = 1.5, t = 'x' }\nlocal = 'deleted'\n\
                    remote = { n = 2 }\nlater = 'local'\nexpected = 'deleted'\nwaits = false\n";
        let cases = parse(good).unwrap();
        assert_eq!(cases.len(), 1);
        assert!(cases[0].local.is_none() && cases[0].local_later && cases[0].waits == Some(false));
        assert_eq!(cases[0].place, Place::File { line: 2, column: 1 });
        let bad = "[[case]]\ntabel = 'tasks'\nlocal = { tags = ['a'] }\nremote = 'gone'\nexpected = 'mine'\nlater = 1\n\
                   [case2]\n";
        let told: Vec<String> = parse(bad).unwrap_err().iter().map(Problem::to_string).collect();
        assert_eq!(
            told,
            [
                "line 7, column 2: unknown key `case2`; a file of cases has [[case]]; did you mean `case`?",
                "line 2, column 1: unknown key `tabel` in a case; did you mean `table`?",
                "line 2, column 1: the case has no `table`; say which table it is about",
                "line 3, column 18: `local.tags` is a list, which SQLite has not; write JSON as a text, in single quotes",
                "line 4, column 10: `remote` is a text; write remote = { column = value } or remote = \"deleted\"",
                "line 6, column 9: `later` is a number and takes a text; write it in quotes",
                "line 5, column 12: `expected`: `mine` is not known; it takes local or remote or deleted",
            ]
        );
    }
}
