//! How the changes of one group are carried out: worked out once, used for each row.
//!
//! Names from the wire are looked up here and nowhere else; from here on a column is a
//! position.

use std::sync::Arc;

use super::schema::{Schema, Shape, marks};
use crate::model::{Key, RefusalCode};
use crate::protocol::{ChangeGroup, WireChange, WireRefusal};
use crate::sqlite::{ident, idents};

/// How the changes of one group are carried out, or why none of them can be.
pub(super) struct Plan {
    pub table: Option<Table>,
    pub refusal: Option<WireRefusal>,
}

pub(super) struct Table {
    pub shape: Arc<Shape>,
    pub delete: bool,
    pub key_len: usize,
    /// The position each column of the group has in the table.
    pub cells: Vec<usize>,
    /// Where each column of the table gets its value from.
    pub sources: Vec<Option<Source>>,
    /// Every column of the table has a source: the row is whole.
    pub whole: bool,
    /// Positions an insert sets, and an update sets.
    pub insert_at: Vec<usize>,
    pub update_at: Vec<usize>,
    pub insert_sql: String,
    pub update_sql: String,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    Key(usize),
    Cell(usize),
    Account,
}

impl Table {
    /// The key of one of the rows.
    pub fn key(&self, change: &WireChange) -> Key {
        Key::from(&change.values[..self.key_len])
    }
}

pub(super) fn plan(schema: &Schema, group: &ChangeGroup) -> Plan {
    match table(schema, group) {
        Ok(table) => Plan { table: Some(table), refusal: None },
        Err((refused, text)) => Plan { table: None, refusal: Some(WireRefusal { refused, text }) },
    }
}

fn table(schema: &Schema, group: &ChangeGroup) -> std::result::Result<Table, (RefusalCode, String)> {
    let shape = schema.named(&group.table).cloned();
    let shape = shape.ok_or_else(|| (RefusalCode::UnknownTable, format!("the hub has no table {}", group.table)))?;
    let same = |(given, own): (&String, &String)| given.eq_ignore_ascii_case(own);
    if group.key.len() != shape.key_at.len() || !group.key.iter().zip(shape.key_names()).all(same) {
        let text = format!("the hub's key of {} is {}", shape.table.name, shape.key_names().join(", "));
        return Err((RefusalCode::Malformed, text));
    }
    let mut cells = Vec::with_capacity(group.columns.len());
    for name in &group.columns {
        let unknown = || (RefusalCode::UnknownColumn, format!("the hub's {} has no column {name}", shape.table.name));
        let column = shape.table.position(name).ok_or_else(unknown)?;
        if cells.contains(&column) {
            return Err((RefusalCode::Malformed, format!("column {name} twice in one group")));
        }
        cells.push(column);
    }
    if group.delete && !cells.is_empty() {
        return Err((RefusalCode::Malformed, "a delete carries no columns".to_owned()));
    }
    let sources: Vec<Option<Source>> = (0..shape.names.len())
        .map(|column| match () {
            () if shape.account_at == Some(column) => Some(Source::Account),
            () if shape.key_at.contains(&column) => shape.key_at.iter().position(|at| *at == column).map(Source::Key),
            () => cells.iter().position(|cell| *cell == column).map(Source::Cell),
        })
        .collect();
    let set = |column: &usize| sources[*column].is_some();
    let insert_at: Vec<usize> = (0..shape.names.len()).filter(set).collect();
    let update_at: Vec<usize> = insert_at.iter().copied().filter(|column| !shape.key_at.contains(column)).collect();
    let on = ident(&shape.table.name);
    let names: Vec<&String> = insert_at.iter().map(|column| &shape.names[*column]).collect();
    let insert_sql = format!("INSERT INTO {on}({}) VALUES ({})", idents(&names), marks(names.len()));
    let sets =
        update_at.iter().enumerate().map(|(at, column)| format!("{} = ?{}", ident(&shape.names[*column]), at + 1));
    let sets = sets.collect::<Vec<_>>().join(", ");
    let update_sql = format!("UPDATE {on} SET {sets} WHERE {}", shape.key_is("", update_at.len() + 1));
    Ok(Table {
        delete: group.delete,
        key_len: group.key.len(),
        whole: insert_at.len() == shape.names.len(),
        cells,
        sources,
        insert_at,
        update_at,
        insert_sql,
        update_sql,
        shape,
    })
}
