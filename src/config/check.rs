//! A replica's settings against the tables its database has.
//!
//! A config can be read without the database; names that are not there are found here.

use super::problem::{Place, Problem, did_you_mean};
use crate::model::Table;
use crate::model::settings::Replica;

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
