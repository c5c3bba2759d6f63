//! Merging two values of one column: counters, sets, objects, texts that grow.
//!
//! Three-way: from the base, what each side did is done again. Each of them gives the
//! same result whichever side is called local. Values that are not of the rule's kind
//! are unfit, and left to what is in doubt. JSON is compared by meaning (spaces and the
//! order of keys aside) and numbers by their spelling, so that none loses a digit; a
//! result that means the same as one side's text is that text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use crate::model::{ColumnRule, Value};

/// Deeper JSON is not looked into.
const DEPTH_MAX: usize = 64;

pub(super) struct Combined {
    pub(super) value: Value,
    /// A part was changed differently on both sides, and one of the two is gone.
    pub(super) lost: bool,
}

/// Why values cannot be merged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unfit(pub(super) String);

/// A value that a column's rule cannot merge, in words.
pub type Misfit = String;

/// Whether a value is of the kind that a column's rule merges.
pub fn fits(rule: ColumnRule, value: &Value) -> Result<(), Misfit> {
    let told = |Unfit(why): Unfit| why;
    match rule {
        ColumnRule::Side(_) => Ok(()),
        ColumnRule::Counter => number(value).map(drop).map_err(told),
        ColumnRule::Set => members(value).map(drop).map_err(told),
        ColumnRule::Object => object(value).map(drop).map_err(told),
        ColumnRule::Append => text(value).map(drop).map_err(told),
    }
}

/// The kind of merge that values ask for by themselves: JSON arrays and objects. A
/// number may be a price or a reference, and is never added unasked.
pub(super) fn inferred(base: &Value, local: &Value, remote: &Value) -> Option<ColumnRule> {
    let all = |rule| [base, local, remote].into_iter().all(|value| fits(rule, value).is_ok());
    let begins = |mark| {
        [local, remote].iter().all(|value| matches!(value, Value::Text(text) if text.trim_start().starts_with(mark)))
    };
    [('[', ColumnRule::Set), ('{', ColumnRule::Object)]
        .into_iter()
        .find_map(|(mark, rule)| (begins(mark) && all(rule)).then_some(rule))
}

pub(super) fn combine(
    rule: ColumnRule,
    base: &Value,
    local: &Value,
    remote: &Value,
    local_later: impl Fn() -> bool,
) -> Result<Combined, Unfit> {
    match rule {
        ColumnRule::Side(_) => unreachable!("BUG: a side is chosen, not merged"),
        ColumnRule::Counter => add(base, local, remote),
        ColumnRule::Set => unite(base, local, remote),
        ColumnRule::Object => by_key(base, local, remote, local_later()),
        ColumnRule::Append => append(base, local, remote, local_later()),
    }
}

enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    fn real(&self) -> f64 {
        match self {
            Number::Whole(number) => *number as f64,
            Number::Real(number) => *number,
        }
    }
}

/// NULL counts as nothing counted yet.
fn number(value: &Value) -> Result<Number, Unfit> {
    match value {
        Value::Null => Ok(Number::Whole(0)),
        Value::Integer(number) => Ok(Number::Whole(*number)),
        Value::Real(number) if number.is_finite() => Ok(Number::Real(*number)),
        other => Err(unlike("a number", other)),
    }
}

fn add(base: &Value, local: &Value, remote: &Value) -> Result<Combined, Unfit> {
    let (base, local, remote) = (number(base)?, number(local)?, number(remote)?);
    let value = match (&base, &local, &remote) {
        (Number::Whole(base), Number::Whole(local), Number::Whole(remote)) => {
            let sum = i128::from(*local) + i128::from(*remote) - i128::from(*base);
            Value::Integer(i64::try_from(sum).map_err(|_| Unfit("the sum does not fit into 64 bits".to_owned()))?)
        }
        _ => {
            let base = base.real();
            // What both added first: the same whichever side is called local.
            let sum = base + ((local.real() - base) + (remote.real() - base));
            if !sum.is_finite() {
                return Err(Unfit("the sum is too large".to_owned()));
            }
            Value::Real(sum)
        }
    };
    Ok(Combined { value, lost: false })
}

/// A JSON value as it is written, and as it compares.
#[derive(Clone)]
struct Part {
    written: String,
    meant: String,
}

impl Part {
    fn of(raw: &RawValue) -> Result<Part, Unfit> {
        Ok(Part { written: raw.get().to_owned(), meant: meaning(raw.get(), DEPTH_MAX)? })
    }
}

/// The text of a JSON value without what has no meaning.
fn meaning(written: &str, depth: usize) -> Result<String, Unfit> {
    let written = written.trim();
    let depth = depth.checked_sub(1).ok_or_else(|| Unfit(format!("it is nested more than {DEPTH_MAX} deep")))?;
    match written.as_bytes().first() {
        Some(b'[') => {
            let members: Vec<&RawValue> = parsed(written)?;
            let meant: Vec<String> =
                members.iter().map(|member| meaning(member.get(), depth)).collect::<Result<_, _>>()?;
            Ok(format!("[{}]", meant.join(",")))
        }
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = parsed(written)?;
            let meant: Vec<String> = members
                .iter()
                .map(|(key, member)| Ok(format!("{}:{}", quoted(key), meaning(member.get(), depth)?)))
                .collect::<Result<_, Unfit>>()?;
            Ok(format!("{{{}}}", meant.join(",")))
        }
        Some(b'"') => Ok(quoted(&parsed::<String>(written)?)),
        _ => Ok(written.to_owned()),
    }
}

fn parsed<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Unfit> {
    serde_json::from_str(text).map_err(|error| Unfit(format!("it is not JSON of that shape ({error})")))
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("BUG: a text is always JSON")
}

fn members(value: &Value) -> Result<Vec<Part>, Unfit> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Text(text) if text.trim_start().starts_with('[') => {
            parsed::<Vec<&RawValue>>(text)?.into_iter().map(Part::of).collect()
        }
        other => Err(unlike("a JSON array", other)),
    }
}

fn unite(base: &Value, local: &Value, remote: &Value) -> Result<Combined, Unfit> {
    let (before, ours, theirs) = (members(base)?, members(local)?, members(remote)?);
    let meanings = |list: &[Part]| list.iter().map(|part| part.meant.clone()).collect::<BTreeSet<String>>();
    let (had, here, there) = (meanings(&before), meanings(&ours), meanings(&theirs));
    let mut seen = BTreeSet::new();
    let kept = before
        .iter()
        .filter(|part| here.contains(&part.meant) && there.contains(&part.meant) && seen.insert(part.meant.as_str()));
    // In an order of their own, so that it does not matter who is called local.
    let news: BTreeSet<&str> =
        ours.iter().chain(&theirs).map(|part| part.meant.as_str()).filter(|meant| !had.contains(*meant)).collect();
    let meant: Vec<&str> = kept.map(|part| part.meant.as_str()).chain(news).collect();
    let result: BTreeSet<String> = meant.iter().map(|part| (*part).to_owned()).collect();
    let text = format!("[{}]", meant.join(","));
    Ok(Combined { value: as_written(local, here == result, remote, there == result, text), lost: false })
}

/// The side's own text where that means the same as the result; of two the greater, so
/// that it does not matter who is called local.
fn as_written(local: &Value, is_local: bool, remote: &Value, is_remote: bool, text: String) -> Value {
    match (is_local, is_remote) {
        (true, true) => local.max(remote).clone(),
        (true, false) => local.clone(),
        (false, true) => remote.clone(),
        (false, false) => Value::Text(text),
    }
}

type Object = BTreeMap<String, Part>;

fn object(value: &Value) -> Result<Object, Unfit> {
    match value {
        Value::Null => Ok(Object::new()),
        Value::Text(text) if text.trim_start().starts_with('{') => members_of(text),
        other => Err(unlike("a JSON object", other)),
    }
}

fn members_of(text: &str) -> Result<Object, Unfit> {
    let members: BTreeMap<String, &RawValue> = parsed(text)?;
    members.into_iter().map(|(key, raw)| Ok((key, Part::of(raw)?))).collect()
}

fn by_key(base: &Value, local: &Value, remote: &Value, local_later: bool) -> Result<Combined, Unfit> {
    let mut lost = false;
    let merged = merge_objects(&object(base)?, &object(local)?, &object(remote)?, local_later, &mut lost)?;
    let written = written(&merged);
    let meant = meaning(&written, DEPTH_MAX)?;
    let same =
        |side: &Value| matches!(side, Value::Text(text) if meaning(text, DEPTH_MAX).is_ok_and(|side| side == meant));
    let (is_local, is_remote) = (same(local), same(remote));
    Ok(Combined { value: as_written(local, is_local, remote, is_remote, meant), lost })
}

fn written(object: &Object) -> String {
    let members: Vec<String> = object.iter().map(|(key, part)| format!("{}:{}", quoted(key), part.written)).collect();
    format!("{{{}}}", members.join(","))
}

fn merge_objects(
    base: &Object,
    local: &Object,
    remote: &Object,
    local_later: bool,
    lost: &mut bool,
) -> Result<Object, Unfit> {
    let keys: BTreeSet<&String> = base.keys().chain(local.keys()).chain(remote.keys()).collect();
    let mut out = Object::new();
    for key in keys {
        let (before, ours, theirs) = (base.get(key), local.get(key), remote.get(key));
        let meant = |part: Option<&Part>| part.map(|part| part.meant.clone());
        let chosen = match () {
            () if meant(ours) == meant(before) => theirs.cloned(),
            () if meant(theirs) == meant(before) || meant(ours) == meant(theirs) => ours.cloned(),
            () => match deeper(before, ours, theirs) {
                Some((before, ours, theirs)) => {
                    let merged = merge_objects(&before?, &ours?, &theirs?, local_later, lost)?;
                    let written = written(&merged);
                    Some(Part { meant: meaning(&written, DEPTH_MAX)?, written })
                }
                None => {
                    *lost = true;
                    if local_later { ours.cloned() } else { theirs.cloned() }
                }
            },
        };
        if let Some(part) = chosen {
            out.insert(key.clone(), part);
        }
    }
    Ok(out)
}

type Parsed = Result<Object, Unfit>;

/// Both sides' objects under one key, where both have one.
fn deeper(before: Option<&Part>, ours: Option<&Part>, theirs: Option<&Part>) -> Option<(Parsed, Parsed, Parsed)> {
    let is_object = |part: &&Part| part.meant.starts_with('{');
    let (ours, theirs) = (ours.filter(is_object)?, theirs.filter(is_object)?);
    let before = before.filter(is_object).map_or(Ok(Object::new()), |part| members_of(&part.written));
    Some((before, members_of(&ours.written), members_of(&theirs.written)))
}

fn text(value: &Value) -> Result<&str, Unfit> {
    match value {
        Value::Null => Ok(""),
        Value::Text(text) => Ok(text),
        other => Err(unlike("a text", other)),
    }
}

fn append(base: &Value, local: &Value, remote: &Value, local_later: bool) -> Result<Combined, Unfit> {
    let (base, local, remote) = (text(base)?, text(local)?, text(remote)?);
    let tail = |side: &'_ str, whose: &str| match side.strip_prefix(base) {
        Some(tail) => Ok(tail.to_owned()),
        None => Err(Unfit(format!("{whose} changed what was there already"))),
    };
    let (ours, theirs) = (tail(local, "this device")?, tail(remote, "the remote")?);
    let (first, second) = if local_later { (theirs, ours) } else { (ours, theirs) };
    Ok(Combined { value: Value::Text(format!("{base}{first}{second}")), lost: false })
}

fn unlike(wanted: &str, value: &Value) -> Unfit {
    let found = match value {
        Value::Null => "NULL",
        Value::Integer(_) => "an integer",
        Value::Real(_) => "a real number",
        Value::Text(_) => "another text",
        Value::Malformed(_) => "a text that is not UTF-8",
        Value::Blob(_) => "a blob",
    };
    Unfit(format!("it takes {wanted} and has {found}"))
}
