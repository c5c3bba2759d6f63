//! Rows that swap UNIQUE values: moved aside, then set.
//!
//! SQLite checks UNIQUE row by row, so two rows that trade values block each other in
//! any order. Those that are left blocked after everything else went through are taken
//! out together and put back with their new values, each under its old rowid. Never
//! `INSERT OR REPLACE`: a value that an outsider holds is a conflict, not his end.

use rusqlite::Connection;

use super::batch::{Batch, Moved, Step, Touched};
use super::schema::Shape;
use super::writing::Writing;
use crate::hub::error::Result;
use crate::model::{Key, Row, Value};
use crate::protocol::{WireOther, WireOutcome};
use crate::sqlite::{ident, idents, value};

/// Plain sweeps over what is blocked before rows are moved aside.
const SWEEPS_MAX: usize = 4;

/// Attempts at moving aside, each without those that still failed in the last.
const ATTEMPTS_MAX: usize = 8;

/// Carries out the changes in `blocked` as far as may be; the rest become conflicts.
pub(super) fn unblock(
    batch: &Batch,
    writing: &Writing,
    mut blocked: Vec<usize>,
    outcomes: &mut [Option<WireOutcome>],
    touched: &mut Vec<Touched>,
) -> Result<()> {
    sweep(batch, writing, &mut blocked, outcomes, touched)?;
    if blocked.len() > 1 {
        move_aside(batch, writing, &mut blocked, outcomes, touched)?;
        sweep(batch, writing, &mut blocked, outcomes, touched)?;
    }
    for at in blocked {
        outcomes[at] = Some(batch.unique_conflict(writing.db(), at)?);
    }
    Ok(())
}

/// Tries again, to and fro, while that helps: a chain needs one sweep in its direction.
fn sweep(
    batch: &Batch,
    writing: &Writing,
    blocked: &mut Vec<usize>,
    outcomes: &mut [Option<WireOutcome>],
    touched: &mut Vec<Touched>,
) -> Result<()> {
    for _ in 0..SWEEPS_MAX {
        blocked.reverse();
        let before = blocked.len();
        let mut still = Vec::new();
        for at in blocked.drain(..) {
            match batch.step(writing, at, touched)? {
                Step::Done(outcome) => outcomes[at] = Some(outcome),
                Step::Blocked => still.push(at),
            }
        }
        *blocked = still;
        if blocked.is_empty() || blocked.len() == before {
            break;
        }
    }
    blocked.sort_unstable();
    Ok(())
}

fn move_aside(
    batch: &Batch,
    writing: &Writing,
    blocked: &mut Vec<usize>,
    outcomes: &mut [Option<WireOutcome>],
    touched: &mut Vec<Touched>,
) -> Result<()> {
    let mut movers = blocked.clone();
    for _ in 0..ATTEMPTS_MAX {
        writing.db().execute_batch("SAVEPOINT aside")?;
        let mut out: Vec<(Moved, Option<i64>)> = Vec::new();
        for at in &movers {
            if let Some(moved) = batch.moves(writing, *at)? {
                let rowid = rowid(writing, &moved)?;
                moved.shape().delete(writing.db(), &moved.key)?;
                out.push((moved, rowid));
            }
        }
        let mut failed = Vec::new();
        for (moved, rowid) in &out {
            if !put_back(writing, moved, *rowid)? {
                failed.push(moved.at);
            }
        }
        if out.len() < 2 || !failed.is_empty() {
            writing.rewind("aside", writing.head())?;
            writing.db().execute_batch("RELEASE aside")?;
            movers = out.iter().map(|(moved, _)| moved.at).filter(|at| !failed.contains(at)).collect();
            if movers.len() < 2 {
                return Ok(());
            }
            continue;
        }
        writing.db().execute_batch("RELEASE aside")?;
        for (moved, _) in out {
            let at = moved.at;
            outcomes[at] = Some(batch.settled(writing, moved, touched)?);
        }
        blocked.retain(|at| outcomes[*at].is_none());
        return Ok(());
    }
    Ok(())
}

fn rowid(writing: &Writing, moved: &Moved) -> Result<Option<i64>> {
    let shape = moved.shape();
    let Some(name) = shape.rowid else { return Ok(None) };
    let sql = format!("SELECT {name} FROM {} WHERE {}", ident(&shape.table.name), shape.key_is("", 1));
    let read = |row: &rusqlite::Row| row.get(0);
    Ok(Some(writing.db().prepare_cached(&sql)?.query_row(rusqlite::params_from_iter(moved.key.0.iter()), read)?))
}

/// False when another row holds one of the values.
fn put_back(writing: &Writing, moved: &Moved, rowid: Option<i64>) -> Result<bool> {
    let rowid = rowid.map(Value::Integer);
    let values = rowid.iter().chain(&moved.new);
    let mut statement = writing.db().prepare_cached(&moved.shape().put_back_sql)?;
    match statement.execute(rusqlite::params_from_iter(values)) {
        Ok(_) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Keys of other rows that hold values `wanted` needs for itself.
pub(super) fn holders(db: &Connection, shape: &Shape, key: &Key, wanted: &Row) -> Result<Vec<WireOther>> {
    let mut found: Vec<WireOther> = Vec::new();
    let sets = shape.table.unique.iter().map(|unique| &unique.columns).chain([&shape.table.key]);
    for columns in sets {
        let Some(at) = columns.iter().map(|name| shape.table.position(name)).collect::<Option<Vec<usize>>>() else {
            continue;
        };
        let equal: Vec<String> = columns.iter().map(|name| format!("{} = ?", ident(name))).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} LIMIT 5",
            idents(shape.key_names()),
            ident(&shape.table.name),
            equal.join(" AND ")
        );
        let mut statement = db.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(at.iter().map(|at| &wanted[*at])))?;
        while let Some(row) = rows.next()? {
            let holder = value::read_row(row, 0, shape.key_at.len())?;
            let other = WireOther { table: shape.table.name.clone(), key: holder };
            if other.key[..] != key.0[..] && !found.contains(&other) {
                found.push(other);
            }
        }
    }
    Ok(found)
}
