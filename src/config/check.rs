//! A replica's settings against the tables its database has.
//!
//! A config can be read without the database; names that are not there are found here.

use std::collections::BTreeMap;

use super::problem::{Place, Problem, did_you_mean};
use crate::model::settings::Replica;
use crate::model::{ColumnRule, Policy, Table};

/// Names in `include`, `exclude`, `after` and table sections that are no table of
/// `tables`, which are those that can sync.
pub fn check_against(replica: &Replica, tables: &[Table]) -> Vec<Problem> {
    let section = format!("replica.{}", replica.name);
    let include = replica.include.iter().flatten().map(|name| (format!("`{section}.include` names"), name));
    let exclude = replica.exclude.iter().map(|name| (format!("`{section}.exclude` names"), name));
    let rules = replica.tables.keys().map(|name| (format!("[{section}.tables.{name}] is about"), name));
    let after = replica.tables.iter().flat_map(|(table, rule)| {
        rule.after.iter().map(|name| (format!("`{section}.tables.{table}.after` names"), name)).collect::<Vec<_>>()
    });

    let known = |name: &str| tables.iter().any(|table| table.name.eq_ignore_ascii_case(name));
    let problem = |(who, name): (String, &String)| {
        let hint = did_you_mean(name, tables.iter().map(|table| table.name.as_str()));
        let text = format!("{who} `{name}`, and the database has no such table that can sync");
        Problem::new(&Place::Nowhere, text, hint)
    };
    include.chain(exclude).chain(rules).chain(after).filter(|(_, name)| !known(name)).map(problem).collect()
}

/// Columns that a strategy names and that its table does not have, or that cannot follow
/// the rule; with the places that `sources` knows them by.
pub fn check_columns(replica: &Replica, tables: &[Table], sources: &BTreeMap<String, Place>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, rule) in &replica.tables {
        let Some(table) = tables.iter().find(|table| table.name.eq_ignore_ascii_case(name)) else { continue };
        let section = format!("replica.{}.tables.{name}.strategy", replica.name);
        for (key, column, rule) in named(&rule.policy) {
            let path = format!("{section}.{key}");
            // What the defaults say has its place there.
            let place = sources.get(&path).unwrap_or(&Place::Nowhere);
            problems
                .extend(check_column(table, &path, column, rule).map(|(text, hint)| Problem::new(place, text, hint)));
        }
    }
    problems
}

/// What a policy names: the key within the section, the column, and its rule.
fn named(policy: &Policy) -> Vec<(String, &str, Option<ColumnRule>)> {
    let times = &policy.times;
    let single = [
        ("revision", times.revision.as_deref()),
        ("milliseconds", times.milliseconds.as_deref()),
        ("iso", times.iso.as_deref()),
        ("deleted", policy.deleted.as_ref().map(|soft| soft.column.as_str())),
        ("mark", policy.mark.as_deref()),
    ];
    let columns = policy.columns.iter().map(|(name, rule)| (format!("columns.{name}"), name.as_str(), Some(*rule)));
    let single = single.into_iter().filter_map(|(key, column)| Some((key.to_owned(), column?, None)));
    columns.chain(single).collect()
}

fn check_column(table: &Table, path: &str, name: &str, rule: Option<ColumnRule>) -> Option<(String, String)> {
    let Some(at) = table.position(name) else {
        let hint = did_you_mean(name, table.columns.iter().map(|column| column.name.as_str()));
        return Some((format!("`{path}`: {} has no column `{name}`", table.name), hint));
    };
    let column = &table.columns[at];
    if table.key.iter().any(|key| key.eq_ignore_ascii_case(name)) {
        let text = format!("`{path}`: `{name}` is part of the key, which is the same on both sides");
        return Some((text, "leave it out".to_owned()));
    }
    let declared = column.declared.to_ascii_uppercase();
    let is = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    let unfit = match rule {
        Some(ColumnRule::Counter) => is(&["CHAR", "CLOB", "TEXT", "BLOB"]),
        Some(ColumnRule::Set | ColumnRule::Object | ColumnRule::Append) => is(&["INT", "REAL", "FLOA", "DOUB", "BLOB"]),
        _ => false,
    };
    let takes = if rule == Some(ColumnRule::Counter) { "numbers" } else { "text" };
    let rule = rule.map_or("", ColumnRule::word);
    unfit.then(|| {
        let text = format!("`{path}`: {rule} takes {takes}, and `{name}` is declared {}", column.declared);
        (text, "choose another rule for it".to_owned())
    })
}
