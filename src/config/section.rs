//! One section of the tree, read key by key.
//!
//! Notes every problem and goes on with the default, so that one reading finds them
//! all. What comes out counts only when no problem was noted.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::keys::{Key, Part, SECRETS};
use super::kind::{Kind, Setting};
use super::problem::{Place, Problem, did_you_mean, nearest};
use super::tree::{Node, Table, Value};
use crate::model::settings::{Millis, Priority};

pub(super) type Problems = RefCell<Vec<Problem>>;

pub(super) struct Section<'a> {
    part: Part,
    /// As in the file's heading: `replica.notes.remote`.
    pub(super) name: String,
    pub(super) place: Place,
    table: Option<&'a Table>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn top(table: &'a Table, problems: &'a Problems) -> Section<'a> {
        let section =
            Section { part: Part::Top, name: String::new(), place: Place::Nowhere, table: Some(table), problems };
        section.refuse_unknown();
        section
    }

    /// The section within this one; an empty one where it is not written.
    pub(super) fn section(&self, name: &str, part: Part) -> Section<'a> {
        self.open(part, name, self.node(name))
    }

    /// The sections that a section of names holds: `tables.*`, `replica.*`.
    pub(super) fn sections(&self, name: &str, part: Part) -> Vec<(String, Section<'a>)> {
        let Some(node) = self.node(name) else { return Vec::new() };
        let path = self.path(name);
        let members = self.as_table(&path, &format!("{path}.NAME"), node).into_iter().flatten();
        members
            .map(|(member, node)| (member.clone(), self.open(part, &format!("{name}.{member}"), Some(node))))
            .collect()
    }

    /// True where a key that takes a word has a section instead.
    pub(super) fn has_section(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| matches!(node.value, Value::Table(_)))
    }

    /// A section of free names, each with one value of `kind`.
    pub(super) fn words(&self, name: &str, kind: Kind) -> Vec<(String, String)> {
        let path = self.path(name);
        let members = self.node(name).and_then(|node| self.as_table(&path, &path, node)).into_iter().flatten();
        let read = |(member, node): (&String, &Node)| match kind.read(&node.value) {
            Ok(Setting::Text(word)) => Some((member.clone(), word)),
            Ok(other) => panic!("BUG: {path}.{member} is read as a word and is {other:?}"),
            Err((text, hint)) => {
                self.note(&node.place, format!("`{path}.{member}`: {text}"), hint);
                None
            }
        };
        members.filter_map(read).collect()
    }

    pub(super) fn note(&self, place: &Place, text: impl Into<String>, hint: impl Into<String>) {
        self.problems.borrow_mut().push(Problem::new(place, text, hint));
    }

    /// Where a key is written; the section's own place where it is not.
    pub(super) fn place_of(&self, key: &str) -> &Place {
        self.node(key).map_or(&self.place, |node| &node.place)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.node(key).is_some()
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.read(key)? {
            Setting::Text(text) => Some(text),
            other => panic!("BUG: {key} is read as a text and is {other:?}"),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.read(key)? {
            Setting::Flag(flag) => Some(flag),
            other => panic!("BUG: {key} is read as a flag and is {other:?}"),
        }
    }

    /// `Some(None)` is `off`.
    pub(super) fn number_or_off(&self, key: &str) -> Option<Option<i64>> {
        match self.read(key)? {
            Setting::Number(number) => Some(number),
            other => panic!("BUG: {key} is read as a number and is {other:?}"),
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.number_or_off(key).flatten()
    }

    pub(super) fn millis(&self, key: &str) -> Option<Millis> {
        self.number(key)
    }

    pub(super) fn share(&self, key: &str) -> Option<f64> {
        match self.read(key)? {
            Setting::Share(share) => Some(share),
            other => panic!("BUG: {key} is read as a share and is {other:?}"),
        }
    }

    pub(super) fn priority(&self, key: &str) -> Option<Priority> {
        match self.read(key)? {
            Setting::Priority(priority) => Some(priority),
            other => panic!("BUG: {key} is read as a priority and is {other:?}"),
        }
    }

    pub(super) fn list(&self, key: &str) -> Option<Vec<String>> {
        match self.read(key)? {
            Setting::List(list) => Some(list),
            other => panic!("BUG: {key} is read as a list and is {other:?}"),
        }
    }

    pub(super) fn map(&self, key: &str) -> Option<BTreeMap<String, String>> {
        match self.read(key)? {
            Setting::Map(map) => Some(map),
            other => panic!("BUG: {key} is read as a map and is {other:?}"),
        }
    }

    fn read(&self, name: &str) -> Option<Setting> {
        let key = self.part.key(name).unwrap_or_else(|| panic!("BUG: {name} is no key of {:?}", self.part));
        let node = self.node(name)?;
        let read = key.kind.read(&node.value);
        read.map_err(|(text, hint)| self.note(&node.place, format!("`{}`: {text}", self.path(name)), hint)).ok()
    }

    fn node(&self, key: &str) -> Option<&'a Node> {
        self.table?.get(key)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn open(&self, part: Part, name: &str, node: Option<&'a Node>) -> Section<'a> {
        let path = self.path(name);
        let table = node.and_then(|node| self.as_table(&path, &path, node));
        let place = node.map_or(&self.place, |node| &node.key).clone();
        let section = Section { part, name: path, place, table, problems: self.problems };
        // What is no section was noted, and has no keys to miss.
        if table.is_some() || node.is_none() && self.table.is_some() {
            section.refuse_unknown();
            section.require();
        }
        section
    }

    fn as_table(&self, path: &str, heading: &str, node: &'a Node) -> Option<&'a Table> {
        match &node.value {
            Value::Table(table) => Some(table),
            other => {
                let text = format!("`{path}` is {} and should be a section", other.what());
                self.note(&node.key, text, format!("write [{heading}] and its keys below"));
                None
            }
        }
    }

    fn refuse_unknown(&self) {
        for (name, node) in self.table.into_iter().flatten() {
            if self.part.key(name).is_some() || self.part.sections().contains(&name.as_str()) {
                continue;
            }
            let within = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            self.note(&node.key, format!("unknown key `{name}`{within}"), self.advise(name));
        }
    }

    /// What was probably meant by an unknown key.
    fn advise(&self, name: &str) -> String {
        if SECRETS.contains(&name.to_ascii_lowercase().as_str()) {
            return "a config holds no secrets: put the token into a file and write token_file = \"…\"".to_owned();
        }
        let here = self.part.keys().iter().map(|key| key.name).chain(self.part.sections().iter().copied());
        if let Some(near) = nearest(name, here) {
            return format!("did you mean `{near}`?");
        }
        let elsewhere = Part::ALL.into_iter().filter(|part| *part != self.part).find(|part| part.key(name).is_some());
        if let Some(part) = elsewhere {
            return match part {
                Part::Top => "it belongs at the top of the file".to_owned(),
                part => format!("it belongs into [{}]", part.heading()),
            };
        }
        did_you_mean(name, Part::ALL.into_iter().flat_map(Part::keys).map(|key| key.name))
    }

    fn require(&self) {
        let missing = |key: &&Key| key.required && !self.has(key.name);
        for key in self.part.keys().iter().filter(missing) {
            let write = match self.part {
                Part::Replica => format!("write {} = {}", key.name, key.example),
                _ => format!("write {} = {} under [{}]", key.name, key.example, self.name),
            };
            self.note(&self.place, format!("[{}] has no `{}`", self.name, key.name), write);
        }
    }
}
