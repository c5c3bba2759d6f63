//! A config as a tree of values, each with the place it was written at.
//!
//! The file makes the tree, the environment is laid over it, and the sections read it.
//! Nothing here knows what a key means.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
    /// Where the key stands; the value's own place for a member of a list.
    pub(super) key: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Real(f64),
    Flag(bool),
    /// TOML's dates and times, which no key takes.
    Time,
    List(Vec<Node>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Node>;

impl Value {
    /// What it is, for people: `a text`, `a number` …
    pub(super) fn what(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) | Value::Real(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::Time => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a section",
        }
    }
}

/// The tree of a TOML text, or everything that keeps the text from being TOML.
pub(super) fn parse(text: &str) -> Result<Table, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let places = Places::new(text);
    if errors.is_empty() {
        let mut problems = Vec::new();
        let table = convert_table(document.get_ref(), &places, &mut problems);
        return if problems.is_empty() { Ok(table) } else { Err(problems) };
    }
    let problem = |error: &toml::de::Error| {
        let place = error.span().map_or(Place::Nowhere, |span| places.at(span.start));
        Problem::new(&place, format!("this is not TOML: {}", error.message()), "")
    };
    Err(errors.iter().map(problem).collect())
}

/// The value of one TOML expression, all of it at `place`.
pub(super) fn parse_value(text: &str, place: &Place) -> Option<Value> {
    let (value, errors) = DeValue::parse_recoverable(text);
    let mut problems = Vec::new();
    let node = convert(&value, None, &Places::fixed(place), &mut problems);
    (errors.is_empty() && problems.is_empty()).then_some(node.value)
}

fn convert_table(table: &DeTable, places: &Places, problems: &mut Vec<Problem>) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            let node = convert(value, Some(places.at(key.span().start)), places, problems);
            (key.get_ref().to_string(), node)
        })
        .collect()
}

fn convert(value: &Spanned<DeValue>, key: Option<Place>, places: &Places, problems: &mut Vec<Problem>) -> Node {
    let place = places.at(value.span().start);
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
                problems.push(Problem::new(&place, "the number is too large", ""));
                0
            }))
        }
        DeValue::Float(number) => Value::Real(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Time,
        DeValue::Array(list) => {
            Value::List(list.iter().map(|member| convert(member, None, places, problems)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, places, problems)),
    };
    Node { value: converted, key: key.unwrap_or_else(|| place.clone()), place }
}

/// Lines and columns of byte offsets.
enum Places<'a> {
    Text { text: &'a str, lines: Vec<usize> },
    Fixed(&'a Place),
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Places<'a> {
        let lines = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Places::Text { text, lines }
    }

    fn fixed(place: &'a Place) -> Places<'a> {
        Places::Fixed(place)
    }

    fn at(&self, offset: usize) -> Place {
        match self {
            Places::Fixed(place) => (*place).clone(),
            Places::Text { text, lines } => {
                let line = lines.partition_point(|start| *start <= offset);
                let before = text.get(lines[line - 1]..offset).unwrap_or_default();
                Place::File { line, column: before.chars().count() + 1 }
            }
        }
    }
}
