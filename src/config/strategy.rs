//! `strategy` as a section: the rule, and what refines it.
//!
//! What cannot have an effect is refused, so that nobody trusts a rule that never runs:
//! rules for columns under a strategy that takes whole rows, a value for a column that
//! is not named.

use super::keys::COLUMN_RULES;
use super::section::Section;
use crate::model::{ColumnRule, DeleteRule, Policy, SideRule, SoftDelete, Strategy, Times};

pub(super) fn named(word: String) -> Option<Strategy> {
    Strategy::ALL.into_iter().find(|strategy| strategy.word() == word)
}

/// The strategy and its refinement; `base` for what the section does not say.
pub(super) fn read(section: &Section, base: Strategy, policy: Policy) -> (Strategy, Policy) {
    let by_column = |strategy| matches!(strategy, Strategy::FieldLevel | Strategy::Merge);
    let wants_columns = section.has("columns") || section.has("contested") || section.flag("singleton") == Some(true);
    let rule = section.text("rule").and_then(named);
    let strategy = rule.unwrap_or(if wants_columns && !by_column(base) { Strategy::FieldLevel } else { base });
    for key in ["columns", "contested", "in_doubt", "singleton"] {
        if section.has(key) && !by_column(strategy) {
            section.note(
                section.place_of(key),
                format!("`{}.{key}` has no effect with {}, which takes whole rows", section.name, strategy.word()),
                "write rule = \"field_level\" or \"merge\"",
            );
        }
    }
    let side = |key: &str, base| section.text(key).and_then(|word| SideRule::parse(&word)).unwrap_or(base);
    let times = Times {
        revision: section.text("revision").or(policy.times.revision),
        milliseconds: section.text("milliseconds").or(policy.times.milliseconds),
        iso: section.text("iso").or(policy.times.iso),
    };
    let mut columns = policy.columns;
    for (column, word) in section.words("columns", COLUMN_RULES) {
        if let Some(rule) = ColumnRule::parse(&word) {
            columns.insert(column, rule);
        }
    }
    let policy = Policy {
        roles: section.list("roles").unwrap_or(policy.roles),
        columns,
        contested: side("contested", policy.contested),
        in_doubt: side("in_doubt", policy.in_doubt),
        deletes: section.text("deletes").and_then(|word| DeleteRule::parse(&word)).or(policy.deletes),
        times,
        deleted: read_deleted(section, policy.deleted),
        singleton: section.flag("singleton").unwrap_or(policy.singleton),
        mark: section.text("mark").or(policy.mark),
    };
    (strategy, policy)
}

fn read_deleted(section: &Section, base: Option<SoftDelete>) -> Option<SoftDelete> {
    let (column, value) = (section.text("deleted"), section.text("deleted_value"));
    if column.is_none() && base.is_none() && value.is_some() {
        section.note(
            section.place_of("deleted_value"),
            format!("`{}.deleted_value` is there and `deleted` is not", section.name),
            "name the column with `deleted`",
        );
    }
    match column {
        Some(column) => Some(SoftDelete { column, value }),
        None => base.map(|base| SoftDelete { value: value.or(base.value), ..base }),
    }
}
