//! What a key takes: how its value is written, and what is wrong with one that is not.
//!
//! One table for the file and the environment: a variable's text is first turned into
//! the value that a file would hold, and then read like one.

use std::collections::BTreeMap;

use super::problem::{Place, did_you_mean};
use super::tree::{Node, Value, parse_value};
use super::units::{duration, in_units, size, url};
use crate::model::settings::{Millis, Priority};

/// Longer than anybody waits, and far from where milliseconds overflow.
const DURATION_MAX: Millis = 3_650 * 86_400_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    /// Relative to the file's folder; `~/` is the home directory.
    Path,
    Url,
    Flag,
    Duration {
        min: Millis,
        off: bool,
    },
    Count {
        min: u64,
        max: u64,
        off: bool,
    },
    Size {
        min: u64,
    },
    /// A part of a whole, from 0 to 1.
    Share,
    Priority,
    /// One of the first list; those of the second are for a later version.
    Word(&'static [&'static str], &'static [&'static str]),
    /// Names.
    List,
    /// Texts by name.
    Map,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    Text(String),
    Flag(bool),
    /// Milliseconds, a count, or bytes; `None` is `off`.
    Number(Option<i64>),
    Share(f64),
    Priority(Priority),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// What is wrong, and what to write.
pub(super) type Wrong = (String, String);

impl Kind {
    pub(super) fn read(self, value: &Value) -> Result<Setting, Wrong> {
        match (self, value) {
            (Kind::Text | Kind::Path, Value::Text(text)) if text.trim().is_empty() => {
                Err(("it is empty".into(), "leave the key out, or give it a value".into()))
            }
            (Kind::Text | Kind::Path, Value::Text(text)) if text.contains('\0') => {
                Err(("it contains a NUL character".into(), String::new()))
            }
            (Kind::Text | Kind::Path, Value::Text(text)) => Ok(Setting::Text(text.clone())),
            (Kind::Url, Value::Text(text)) => url(text).map(Setting::Text),
            (Kind::Flag, Value::Flag(flag)) => Ok(Setting::Flag(*flag)),
            (Kind::Duration { off, .. } | Kind::Count { off, .. }, Value::Text(text)) if text == "off" => match off {
                true => Ok(Setting::Number(None)),
                false => Err(("it cannot be off".into(), self.example())),
            },
            (Kind::Duration { min, .. }, Value::Text(text)) => {
                let millis = duration(text).ok_or_else(|| (format!("`{text}` is not a duration"), self.example()))?;
                match millis {
                    short if short < min => Err((format!("{text} is shorter than {}", in_units(min)), String::new())),
                    long if long > DURATION_MAX => Err((format!("{text} is longer than ten years"), String::new())),
                    millis => Ok(Setting::Number(Some(millis))),
                }
            }
            (Kind::Duration { off: true, .. }, Value::Flag(false)) => {
                Err(("it is not true or false".into(), "write \"off\"".into()))
            }
            (Kind::Duration { .. }, Value::Integer(number)) => {
                Err(("a duration carries its unit".into(), format!("write \"{number}s\" for {number} seconds")))
            }
            (Kind::Count { min, max, .. }, Value::Integer(number)) => match u64::try_from(*number) {
                Ok(count) if (min..=max).contains(&count) => Ok(Setting::Number(Some(*number))),
                _ => Err((format!("{number} is not from {min} to {max}"), String::new())),
            },
            (Kind::Count { .. }, Value::Text(text)) if text.parse::<i64>().is_ok() => {
                Err(("it is a number".into(), format!("write {text} without quotes")))
            }
            (Kind::Size { min }, Value::Integer(_) | Value::Text(_)) => {
                let bytes = match value {
                    Value::Integer(number) => u64::try_from(*number).ok(),
                    Value::Text(text) => size(text),
                    _ => None,
                };
                let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok());
                match bytes.ok_or_else(|| ("it is not a size".to_owned(), self.example()))? {
                    small if (small as u64) < min => Err((format!("it is less than {min} bytes"), String::new())),
                    bytes => Ok(Setting::Number(Some(bytes))),
                }
            }
            (Kind::Share, Value::Integer(_) | Value::Real(_) | Value::Text(_)) => {
                let share = match value {
                    Value::Integer(number) => Some(*number as f64),
                    Value::Real(number) => Some(*number),
                    Value::Text(text) => text
                        .strip_suffix('%')
                        .and_then(|text| text.trim().parse::<f64>().ok())
                        .map(|share| share / 100.0),
                    _ => None,
                };
                let share = share.filter(|share| (0.0..=1.0).contains(share));
                share.map(Setting::Share).ok_or_else(|| ("it is not a share from 0 to 1".into(), self.example()))
            }
            (Kind::Priority, Value::Text(_) | Value::Integer(_)) => {
                let text = match value {
                    Value::Text(text) => text.clone(),
                    Value::Integer(number) => number.to_string(),
                    _ => String::new(),
                };
                Priority::parse(&text).map(Setting::Priority).ok_or_else(|| {
                    let hint = did_you_mean(&text, Priority::WORDS);
                    (format!("`{text}` is no priority"), if hint.is_empty() { self.example() } else { hint })
                })
            }
            (Kind::Word(words, _), Value::Text(text)) if words.contains(&text.as_str()) => {
                Ok(Setting::Text(text.clone()))
            }
            (Kind::Word(words, later), Value::Text(text)) if later.contains(&text.as_str()) => {
                Err((format!("`{text}` is not in this version yet"), format!("use {}", alternatives(words))))
            }
            (Kind::Word(words, _), Value::Text(text)) => {
                let hint = did_you_mean(text, words.iter().copied());
                let all = format!("it takes {}", alternatives(words));
                Err((format!("`{text}` is not known"), if hint.is_empty() { all } else { hint }))
            }
            (Kind::List, Value::List(members)) => {
                let name = |member: &Node| match &member.value {
                    Value::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
                    Value::Text(_) => Err(("a name in the list is empty".to_owned(), String::new())),
                    other => Err((format!("the list holds {}", other.what()), self.example())),
                };
                members.iter().map(name).collect::<Result<_, _>>().map(Setting::List)
            }
            (Kind::Map, Value::Table(table)) => {
                let pair = |(name, node): (&String, &Node)| match &node.value {
                    Value::Text(text) if !text.trim().is_empty() => Ok((name.clone(), text.clone())),
                    Value::Text(_) => {
                        Err((format!("`{name}` is empty"), "leave it out, or give it a value".to_owned()))
                    }
                    other => Err((format!("`{name}` is {}", other.what()), self.example())),
                };
                table.iter().map(pair).collect::<Result<_, _>>().map(Setting::Map)
            }
            (Kind::List, Value::Text(text)) => Err(("it is a list".into(), format!("write [\"{text}\"]"))),
            (kind, other) => Err((format!("it is {} and takes {}", other.what(), kind.what()), kind.example())),
        }
    }

    /// A variable's text as the value that a file would hold. What cannot be one stays
    /// text, and is refused where it is read.
    pub(super) fn take_variable(self, text: &str, place: &Place) -> Value {
        let as_text = || Value::Text(text.to_owned());
        match self {
            Kind::Text | Kind::Path | Kind::Url | Kind::Word(..) | Kind::Duration { .. } | Kind::Priority => as_text(),
            Kind::Flag => text.parse().map_or_else(|_| as_text(), Value::Flag),
            Kind::Count { .. } | Kind::Size { .. } => text.parse().map_or_else(|_| as_text(), Value::Integer),
            Kind::Share => text.parse().map_or_else(|_| as_text(), Value::Real),
            Kind::Map => parse_value(text, place).unwrap_or_else(as_text),
            Kind::List if text.trim_start().starts_with('[') => parse_value(text, place).unwrap_or_else(as_text),
            Kind::List => {
                let member = |name: &str| Node {
                    value: Value::Text(name.trim().to_owned()),
                    place: place.clone(),
                    key: place.clone(),
                };
                Value::List(text.split(',').map(member).collect())
            }
        }
    }

    pub(super) fn what(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Path => "a path",
            Kind::Url => "a URL",
            Kind::Flag => "true or false",
            Kind::Duration { off: false, .. } => "a duration",
            Kind::Duration { off: true, .. } => "a duration or \"off\"",
            Kind::Count { off: false, .. } => "a number",
            Kind::Count { off: true, .. } => "a number or \"off\"",
            Kind::Size { .. } => "a size",
            Kind::Share => "a share",
            Kind::Priority => "a priority",
            Kind::Word(..) => "a word",
            Kind::List => "a list of names",
            Kind::Map => "names with texts",
        }
    }

    fn example(self) -> String {
        match self {
            Kind::Text | Kind::Path => "write it in quotes".to_owned(),
            Kind::Url => "write it like \"https://hub.example.org\"".to_owned(),
            Kind::Flag => "write true or false, without quotes".to_owned(),
            Kind::Duration { off: false, .. } => {
                "write it like \"250ms\", \"3s\", \"5m\", \"1h30m\" or \"7d\"".to_owned()
            }
            Kind::Duration { off: true, .. } => "write it like \"3s\", \"5m\" or \"7d\", or \"off\"".to_owned(),
            Kind::Count { off: false, .. } => "write it like 1000".to_owned(),
            Kind::Count { off: true, .. } => "write it like 1000, or \"off\"".to_owned(),
            Kind::Size { .. } => "write it like 1000000, \"1MB\" or \"1MiB\"".to_owned(),
            Kind::Share => "write it like 0.5 or \"50%\"".to_owned(),
            Kind::Priority => format!("it takes {}, or 0 to 4", alternatives(&Priority::WORDS)),
            Kind::Word(words, _) => format!("it takes {}", alternatives(words)),
            Kind::List => "write it like [\"projects\", \"tasks\"]".to_owned(),
            Kind::Map => "write it like { name = \"text\" }".to_owned(),
        }
    }
}

/// `a, b or c`.
pub(super) fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
