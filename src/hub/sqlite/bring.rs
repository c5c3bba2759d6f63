//! Tables and columns a replica brings: made here as they are there, as far as that
//! is harmless.
//!
//! Nothing of a replica's schema is trusted. Names are quoted, and those that belong
//! to SQLite or Homing are refused; a type is letters and digits, a default a plain
//! literal, a collation one of SQLite's own. CHECKs, expressions and generated columns
//! do not come along. Nothing that is here is ever dropped or changed.

use rusqlite::Connection;

use super::schema::{Schema, Shape};
use crate::hub::error::Result;
use crate::model::{Column, ForeignKey, Table};
use crate::protocol::RefusedTable;
use crate::sqlite::{ident, idents};

const COLUMNS_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 200;
const RESERVED: [&str; 3] = ["sqlite_", "_hub_", "_homing_"];
const COLLATIONS: [&str; 3] = ["BINARY", "NOCASE", "RTRIM"];

/// Takes what it may of `tables`; what it would not, and why.
pub(super) fn bring(
    db: &Connection,
    schema: &Schema,
    tables: &[Table],
    may_bring: bool,
    tables_max: usize,
) -> Result<Vec<RefusedTable>> {
    let mut refused = Vec::new();
    let mut refuse = |table: &str, column: &str, text: &str| {
        refused.push(RefusedTable { table: table.into(), column: column.into(), text: text.into() });
    };
    let mut room = tables_max.saturating_sub(schema.shapes.len());
    for table in tables {
        match schema.named(&table.name) {
            Some(shape) if !same_key(shape, table) => {
                let text = format!("the hub's table has another primary key ({})", shape.key_names().join(", "));
                refuse(&table.name, "", &text);
            }
            Some(shape) => {
                for column in table.columns.iter().filter(|column| shape.table.position(&column.name).is_none()) {
                    if !may_bring {
                        refuse(
                            &table.name,
                            &column.name,
                            "the hub has no such column, and this token may not bring one",
                        );
                    } else if let Err(why) = add_column(db, shape, column)? {
                        refuse(&table.name, &column.name, &why);
                    }
                }
            }
            None if !may_bring => {
                refuse(&table.name, "", "the hub has no such table, and this token may not bring one")
            }
            None if room == 0 => refuse(&table.name, "", "the hub has as many tables as it takes"),
            None => match create(db, schema, tables, table)? {
                Ok(()) => room -= 1,
                Err(why) => refuse(&table.name, "", &why),
            },
        }
    }
    Ok(refused)
}

fn same_key(shape: &Shape, table: &Table) -> bool {
    shape.key_names().len() == table.key.len()
        && shape.key_names().iter().zip(&table.key).all(|(own, theirs)| own.eq_ignore_ascii_case(theirs))
}

/// What a replica is told, or that it is done.
type Verdict = std::result::Result<(), String>;

fn create(db: &Connection, schema: &Schema, tables: &[Table], table: &Table) -> Result<Verdict> {
    if let Err(why) = sound(table) {
        return Ok(Err(why));
    }
    let mut parts: Vec<String> = table.columns.iter().map(|column| definition(column, true)).collect();
    parts.push(format!("PRIMARY KEY({})", idents(&table.key)));
    parts.extend(
        table
            .unique
            .iter()
            .filter(|unique| unique.constraint)
            .map(|unique| format!("UNIQUE({})", idents(&unique.columns))),
    );
    parts.extend(table.foreign_keys.iter().filter(|key| has_parent(schema, tables, key)).map(foreign_key));
    let options: Vec<&str> = [(table.without_rowid, "WITHOUT ROWID"), (table.strict, "STRICT")]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| *word)
        .collect();
    let mut sql = format!("CREATE TABLE {}({}) {};", ident(&table.name), parts.join(", "), options.join(", "));
    for (at, unique) in table.unique.iter().enumerate().filter(|(_, unique)| !unique.constraint) {
        let name = ident(&format!("_hub_unique_{}_{at}", table.name));
        sql.push_str(&format!("CREATE UNIQUE INDEX {name} ON {}({});", ident(&table.name), idents(&unique.columns)));
    }
    attempt(db, &sql)
}

fn add_column(db: &Connection, shape: &Shape, column: &Column) -> Result<Verdict> {
    if shape.names.len() >= COLUMNS_MAX {
        return Ok(Err("the hub's table has as many columns as it takes".to_owned()));
    }
    if let Err(why) = sound_column(column) {
        return Ok(Err(why));
    }
    let sql = format!("ALTER TABLE {} ADD COLUMN {}", ident(&shape.table.name), definition(column, false));
    attempt(db, &sql)
}

/// Runs the SQL or nothing of it. What SQLite says against it is for the replica.
fn attempt(db: &Connection, sql: &str) -> Result<Verdict> {
    db.execute_batch("SAVEPOINT bring")?;
    let done = db.execute_batch(sql);
    if done.is_err() {
        db.execute_batch("ROLLBACK TO bring")?;
    }
    db.execute_batch("RELEASE bring")?;
    match done {
        Ok(()) => Ok(Ok(())),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn sound(table: &Table) -> Verdict {
    sound_name(&table.name)?;
    if table.columns.is_empty() || table.columns.len() > COLUMNS_MAX {
        return Err(format!("a table has 1 to {COLUMNS_MAX} columns"));
    }
    if table.key.is_empty() {
        return Err("it has no primary key".to_owned());
    }
    table.columns.iter().try_for_each(sound_column)?;
    let unknown = |names: &[String]| names.iter().find(|name| table.position(name).is_none()).cloned();
    let sets = table.unique.iter().map(|unique| &unique.columns);
    let sets = sets.chain(table.foreign_keys.iter().map(|key| &key.columns)).chain([&table.key]);
    for names in sets {
        if names.is_empty() {
            return Err("a constraint over no columns".to_owned());
        }
        if let Some(name) = unknown(names) {
            return Err(format!("a constraint names {name:?}, which is no column of it"));
        }
    }
    Ok(())
}

fn sound_column(column: &Column) -> Verdict {
    sound_name(&column.name)?;
    match &column.collation {
        Some(name) if !COLLATIONS.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
            Err(format!("column {:?} compares by {name:?}, a collation the hub does not have", column.name))
        }
        _ => Ok(()),
    }
}

fn sound_name(name: &str) -> Verdict {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes and no NUL"));
    }
    match RESERVED.iter().find(|prefix| lower.starts_with(**prefix)) {
        Some(prefix) => Err(format!("names that begin with {prefix} are not for tables that sync")),
        None => Ok(()),
    }
}

/// A column as SQL. `new_table`: within CREATE TABLE, where more is allowed than to a
/// column that is added to rows.
fn definition(column: &Column, new_table: bool) -> String {
    let mut sql = ident(&column.name);
    if is_type(&column.declared) {
        sql.push(' ');
        sql.push_str(&column.declared);
    }
    let default = column.default.as_deref().and_then(literal);
    let default = default.filter(|text| new_table || !text.starts_with("CURRENT_"));
    if column.not_null && (new_table || default.as_ref().is_some_and(|text| text != "NULL")) {
        sql.push_str(" NOT NULL");
    }
    if let Some(text) = default {
        sql.push_str(&format!(" DEFAULT {text}"));
    }
    if let Some(name) = &column.collation {
        sql.push_str(&format!(" COLLATE {name}"));
    }
    sql
}

/// Words that begin a column constraint: a type that holds one is more than a type.
const CONSTRAINTS: &[&str] = &[
    "AS",
    "CHECK",
    "COLLATE",
    "CONSTRAINT",
    "DEFAULT",
    "DEFERRABLE",
    "GENERATED",
    "NOT",
    "NULL",
    "ON",
    "PRIMARY",
    "REFERENCES",
    "UNIQUE",
];

/// `VARCHAR(20)` and the like: plain words, and at most one pair of parentheses with
/// numbers in it.
fn is_type(declared: &str) -> bool {
    let mut words = declared.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    if !declared.chars().all(|c| c.is_ascii_alphanumeric() || " (),_".contains(c))
        || words.any(|word| CONSTRAINTS.contains(&word.to_ascii_uppercase().as_str()))
    {
        return false;
    }
    let (mut open, mut closed) = (0, 0);
    for character in declared.chars() {
        match character {
            '(' => open += 1,
            ')' => closed += 1,
            ',' if open == 0 => return false,
            _ => continue,
        }
        if closed > open || open > 1 {
            return false;
        }
    }
    let inner = declared.split(['(', ')']).nth(1).unwrap_or_default();
    open == closed && inner.chars().all(|c| c.is_ascii_digit() || c == ',' || c == ' ')
}

/// The default if it is one plain literal, as SQL to be written again.
fn literal(text: &str) -> Option<String> {
    let text = text.trim();
    let text = match text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => inner.trim(),
        None => text,
    };
    let upper = text.to_ascii_uppercase();
    if ["NULL", "TRUE", "FALSE", "CURRENT_TIME", "CURRENT_DATE", "CURRENT_TIMESTAMP"].contains(&upper.as_str()) {
        return Some(upper);
    }
    let quoted = |text: &str| -> bool {
        let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        inner.is_some_and(|inner| !inner.replace("''", "").contains(['\'', '\0']))
    };
    if quoted(text) {
        return Some(text.to_owned());
    }
    if let Some(blob) = upper.strip_prefix('X')
        && quoted(blob)
        && crate::model::text::unhex(&blob[1..blob.len() - 1]).is_some()
    {
        return Some(text.to_owned());
    }
    let number = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start();
    let plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (plain && number.parse::<f64>().is_ok()).then(|| text.to_owned())
}

/// A foreign key to a table that does not sync would only stop SQL clients.
fn has_parent(schema: &Schema, tables: &[Table], key: &ForeignKey) -> bool {
    let coming = tables.iter().find(|table| table.name.eq_ignore_ascii_case(&key.parent));
    let Some(parent) = schema.named(&key.parent).map(|shape| &shape.table).or(coming) else { return false };
    key.columns.len() == key.parent_columns.len()
        && key.parent_columns.iter().all(|name| parent.position(name).is_some())
}

fn foreign_key(key: &ForeignKey) -> String {
    let action = |word: &str, action: &str| {
        let upper = action.to_ascii_uppercase();
        match ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT"].contains(&upper.as_str()) {
            true => format!(" ON {word} {upper}"),
            false => String::new(),
        }
    };
    format!(
        "FOREIGN KEY({}) REFERENCES {}({}){}{}",
        idents(&key.columns),
        ident(&key.parent),
        idents(&key.parent_columns),
        action("DELETE", &key.on_delete),
        action("UPDATE", &key.on_update),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_a_plain_literal_or_left_out() {
        for kept in ["1", "-1.5", "'it''s'", "x'00ff'", "NULL", "(1)", "CURRENT_TIMESTAMP", "1e3", "''"] {
            assert!(literal(kept).is_some(), "{kept}");
        }
        for left_out in [
            "random()",
            "1); DROP TABLE t; --",
            "'a' || 'b'",
            "'a'b'",
            "\"word\"",
            "x'0'",
            "(1)+(2)",
            "inf",
            "",
            "- -1",
        ] {
            assert_eq!(literal(left_out), None, "{left_out}");
        }
    }

    #[test]
    fn a_type_that_is_more_than_a_type_is_left_out() {
        let column = |declared: &str| Column { name: "c".into(), declared: declared.into(), ..Column::default() };
        assert_eq!(definition(&column("VARCHAR(20)"), true), "\"c\" VARCHAR(20)");
        assert_eq!(definition(&column("DECIMAL(10, 2)"), true), "\"c\" DECIMAL(10, 2)");
        for bad in [
            "INT); DROP TABLE t; --",
            "INT, evil TEXT",
            "INT CHECK (1)",
            "INT (a, b) (c)",
            "TEXT UNIQUE",
            "TEXT GENERATED ALWAYS AS (1)",
            "INT DEFAULT (abs(1))",
        ] {
            assert!(!definition(&column(bad), true).contains(bad), "{bad}");
        }
    }
}
