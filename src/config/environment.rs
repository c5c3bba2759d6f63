//! The environment, laid over the file: `HOMING__REPLICA__NOTES__LIMITS__TRIES_MAX=3`
//! is `[replica.notes.limits] tries_max = 3`.
//!
//! Names are taken whatever their case, `__` separates, and a `-` or `.` in a name of the
//! file is a `_` here. A name that the file has is found; any other makes a new section,
//! in lower case. An empty variable is one that is not set.

use super::keys::Part;
use super::problem::Place;
use super::tree::{Node, Table, Value};

const PREFIX: &str = "HOMING__";

pub(super) fn lay_over(file: &mut Table, env: &[(String, String)]) {
    let mut variables: Vec<&(String, String)> = env
        .iter()
        .filter(|(name, value)| {
            name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) && !value.is_empty()
        })
        .collect();
    variables.sort();
    for (name, value) in variables {
        let words: Vec<&str> = name[PREFIX.len()..].split("__").collect();
        let place = Place::Environment(name.clone());
        set(file, Part::Top, &words, value, &place);
    }
}

fn set(table: &mut Table, part: Part, words: &[&str], value: &str, place: &Place) {
    let word = words[0].to_ascii_lowercase();
    if words.len() == 1 {
        let value = part.key(&word).map_or(Value::Text(value.to_owned()), |key| key.kind.take_variable(value, place));
        table.insert(word, Node { value, place: place.clone(), key: place.clone() });
        return;
    }
    if word == "strategy" {
        unfold(table, &word);
    }
    let Some(section) = section(table, &word, place) else { return };
    match (part, word.as_str()) {
        (Part::Top, "replica") if words.len() > 2 => {
            if let Some(replica) = named(section, words[1], place) {
                set(replica, Part::Replica, &words[2..], value, place);
            }
        }
        (Part::Replica, "tables") if words.len() > 2 => {
            // The name of a table may hold `__` itself.
            let last = words.len() - 1;
            let strategy = (2..last).rfind(|at| words[*at].eq_ignore_ascii_case("strategy"));
            let (name, rest) = words[1..].split_at(strategy.unwrap_or(last) - 1);
            if let Some(table) = named(section, &name.join("__"), place) {
                set(table, Part::Table, rest, value, place);
            }
        }
        (Part::Defaults | Part::Table, "strategy") => set(section, Part::Strategy, &words[1..], value, place),
        (Part::Strategy, "columns") => {
            let column = words[1..].join("__");
            let known = section.keys().find(|known| known.eq_ignore_ascii_case(&column)).cloned();
            let value = Value::Text(value.to_owned());
            let name = known.unwrap_or_else(|| column.to_ascii_lowercase());
            section.insert(name, Node { value, place: place.clone(), key: place.clone() });
        }
        (Part::Replica, "remote") => set(section, Part::Remote, &words[1..], value, place),
        (Part::Replica, "schedule") => set(section, Part::Schedule, &words[1..], value, place),
        (Part::Replica, "limits") => set(section, Part::Limits, &words[1..], value, place),
        (Part::Replica, "defaults") => set(section, Part::Defaults, &words[1..], value, place),
        // Not a section: whoever reads the tree complains about its name.
        _ => set(section, part, &words[1..2], value, place),
    }
}

/// `strategy = "merge"` becomes a section with that rule.
fn unfold(table: &mut Table, name: &str) {
    if let Some(node) = table.get_mut(name)
        && let Value::Text(_) = node.value
    {
        let rule = Node { value: node.value.clone(), place: node.place.clone(), key: node.key.clone() };
        node.value = Value::Table(Table::from_iter([("rule".to_owned(), rule)]));
    }
}

/// The section of that name, whose spelling may differ.
fn named<'a>(table: &'a mut Table, name: &str, place: &Place) -> Option<&'a mut Table> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let found = table.keys().find(|known| plain(known) == plain(name)).cloned();
    section(table, &found.unwrap_or_else(|| name.to_ascii_lowercase()), place)
}

/// `None` where the file has something else there, which is a problem of the file.
fn section<'a>(table: &'a mut Table, name: &str, place: &Place) -> Option<&'a mut Table> {
    let node = table.entry(name.to_owned()).or_insert_with(|| Node {
        value: Value::Table(Table::new()),
        place: place.clone(),
        key: place.clone(),
    });
    match &mut node.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}
