//! Reading and writing rows of the app's tables, by exact key.
//!
//! Every write names its row by key and says how many rows it touched; anything but
//! one is a defect or an obstacle, never a silence. Nothing here uses REPLACE.

use rusqlite::{Connection, OptionalExtension, Statement, params_from_iter};

use super::Result;
use super::error::Obstacle;
use super::table::{Synced, insert_sql};
use crate::model::{Key, Row, Value};
use crate::sqlite::{ident, value};

/// What a key names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    Nothing,
    One(Row),
    /// Several rows answer to it (NULLs in a key): nobody can say which is meant.
    Several,
}

impl Found {
    pub(crate) fn row(self) -> Option<Row> {
        if let Found::One(row) = self { Some(row) } else { None }
    }
}

pub(crate) fn read(db: &Connection, synced: &Synced, key: &Key) -> Result<Found> {
    read_with(&mut *db.prepare_cached(&synced.read_sql)?, synced, key)
}

/// `read`, with the statement of `read_sql` at hand.
pub(crate) fn read_with(statement: &mut Statement, synced: &Synced, key: &Key) -> Result<Found> {
    let mut rows = statement.query(params_from_iter(key.0.iter()))?;
    let mut found = Found::Nothing;
    while let Some(row) = rows.next()? {
        let row = value::read_row(row, 0, synced.columns.len())?;
        if !has_key(synced, &row, key) {
            continue;
        }
        match found {
            Found::Nothing => found = Found::One(row),
            _ => return Ok(Found::Several),
        }
    }
    Ok(found)
}

/// By bytes and storage class, whatever the key's collation calls equal.
pub(crate) fn has_key(synced: &Synced, row: &Row, key: &Key) -> bool {
    synced.key_at.iter().zip(key.0.iter()).all(|(at, value)| row[*at] == *value)
}

/// Inserts a row with these columns; the others get their defaults.
pub(crate) fn insert(db: &Connection, synced: &Synced, columns: &[usize], row: &Row) -> Result<Option<Obstacle>> {
    if columns.len() == synced.columns.len() {
        return execute(db, &synced.insert_sql, row.iter());
    }
    let names: Vec<&String> = columns.iter().map(|at| &synced.columns[*at]).collect();
    execute(db, &insert_sql(synced.name(), &names), columns.iter().map(|at| &row[*at]))
}

/// `insert`, under a given rowid where the table has one to give.
pub(crate) fn insert_at(
    db: &Connection,
    synced: &Synced,
    rowid: Option<i64>,
    columns: &[usize],
    row: &Row,
) -> Result<Option<Obstacle>> {
    let (Some(rowid), Some(alias)) = (rowid, rowid_name(synced)) else { return insert(db, synced, columns, row) };
    let names: Vec<String> = columns.iter().map(|at| ident(&synced.columns[*at])).collect();
    let marks: Vec<String> = (2..columns.len() + 2).map(|at| format!("?{at}")).collect();
    let sql = format!(
        "INSERT OR ABORT INTO {}({alias}, {}) VALUES(?1, {})",
        ident(synced.name()),
        names.join(", "),
        marks.join(", ")
    );
    let first = Value::Integer(rowid);
    execute(db, &sql, std::iter::once(&first).chain(columns.iter().map(|at| &row[*at])))
}

/// The row's rowid, where it has one that is not its key.
pub(crate) fn rowid(db: &Connection, synced: &Synced, key: &Key) -> Result<Option<i64>> {
    let Some(alias) = rowid_name(synced) else { return Ok(None) };
    let sql = format!("SELECT {alias} FROM {} WHERE {}", ident(synced.name()), synced.key_is);
    Ok(db.prepare_cached(&sql)?.query_row(params_from_iter(key.0.iter()), |row| row.get(0)).optional()?)
}

/// A name for the rowid that no column takes; none for WITHOUT ROWID tables, and for
/// those whose key is the rowid.
pub(crate) fn rowid_name(synced: &Synced) -> Option<&'static str> {
    let key = &synced.table.key;
    let alias = key.len() == 1
        && synced
            .table
            .position(&key[0])
            .is_some_and(|at| synced.table.columns[at].declared.eq_ignore_ascii_case("INTEGER"));
    if synced.table.without_rowid || alias {
        return None;
    }
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| synced.table.position(name).is_none())
}

/// Sets these columns of the row with `key`.
pub(crate) fn update(
    db: &Connection,
    synced: &Synced,
    key: &Key,
    columns: &[usize],
    row: &Row,
) -> Result<Option<Obstacle>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let width = synced.key_at.len();
    let sets: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(place, at)| format!("{} = ?{}", ident(&synced.columns[*at]), width + place + 1))
        .collect();
    let sql = format!("UPDATE OR ABORT {} SET {} WHERE {}", ident(synced.name()), sets.join(", "), synced.key_is);
    execute(db, &sql, key.0.iter().chain(columns.iter().map(|at| &row[*at])))
}

pub(crate) fn delete(db: &Connection, synced: &Synced, key: &Key) -> Result<Option<Obstacle>> {
    execute(db, &synced.delete_sql, key.0.iter())
}

fn execute<'a>(db: &Connection, sql: &str, values: impl Iterator<Item = &'a Value>) -> Result<Option<Obstacle>> {
    match db.prepare_cached(sql)?.execute(params_from_iter(values)) {
        Ok(1) => Ok(None),
        Ok(count) => Ok(Some(Obstacle::Rule(format!("{count} rows answered to one key")))),
        Err(error) => match Obstacle::of(&error) {
            Some(obstacle) => Ok(Some(obstacle)),
            None => Err(error.into()),
        },
    }
}

/// True when a row of `synced` has these values in these columns. NULLs match nothing,
/// as in a foreign key.
pub(crate) fn exists(db: &Connection, synced: &Synced, columns: &[String], values: &[Value]) -> Result<bool> {
    Ok(keys_where(db, synced, columns, values, 1)?.into_iter().next().is_some())
}

/// Keys of rows with these values in these columns, at most `rows_max`.
pub(crate) fn keys_where(
    db: &Connection,
    synced: &Synced,
    columns: &[String],
    values: &[Value],
    rows_max: usize,
) -> Result<Vec<Key>> {
    let tests: Vec<String> =
        columns.iter().enumerate().map(|(at, name)| format!("{} = ?{}", ident(name), at + 1)).collect();
    let keys: Vec<String> = synced.table.key.iter().map(|name| ident(name)).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {} LIMIT {rows_max}",
        keys.join(", "),
        ident(synced.name()),
        tests.join(" AND ")
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Key::from(value::read_row(row, 0, keys.len())?));
    }
    Ok(found)
}

/// Keys of other rows that hold a value `row` needs for itself alone.
pub(crate) fn holders(db: &Connection, synced: &Synced, row: &Row) -> Result<Vec<Key>> {
    let own = synced.key_of(row);
    let sets = synced.table.unique.iter().map(|unique| &unique.columns).chain(std::iter::once(&synced.table.key));
    let mut found = Vec::new();
    for columns in sets {
        let value = |name: &String| synced.table.position(name).map(|at| row[at].clone());
        let Some(values) = columns.iter().map(value).collect::<Option<Row>>() else { continue };
        let keys = keys_where(db, synced, columns, &values, 20)?;
        found.extend(keys.into_iter().filter(|key| *key != own));
    }
    Ok(found)
}
