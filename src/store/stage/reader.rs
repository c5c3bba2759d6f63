//! What a survey reads with, and what it leaves alone.

use std::collections::{HashMap, HashSet};

use rusqlite::{CachedStatement, Connection};

use crate::model::{Key, Row, Value};
use crate::sqlite::{digest, value};
use crate::store::base::{self, Base};
use crate::store::flight::Flight;
use crate::store::row::{self, Found};
use crate::store::{Result, Synced};

/// Where each row stands among others, by `digest::numbered`.
pub(super) type Places = HashMap<u128, usize>;

/// Rows in a row that lie elsewhere than after the one before, until each is searched for.
const STRAYS_MAX: usize = 3;

/// The statements of a survey, made once for all of its rows.
pub(super) struct Reader<'a> {
    db: &'a Connection,
    base: CachedStatement<'a>,
    /// Of the table that was read last.
    row: Option<(i64, CachedStatement<'a>)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(db: &'a Connection) -> Result<Reader<'a>> {
        Ok(Reader { db, base: db.prepare_cached(base::READ_SQL)?, row: None })
    }

    pub(super) fn row(&mut self, synced: &Synced, key: &Key) -> Result<Found> {
        let statement = match self.row.take() {
            Some((tab, statement)) if tab == synced.id => statement,
            _ => self.db.prepare_cached(&synced.read_sql)?,
        };
        let (_, statement) = self.row.insert((synced.id, statement));
        row::read_with(statement, synced, key)
    }

    /// The rows of these keys, which are in the order in which they were written, as far as
    /// they lie in that order too: found by walking from one to the next, without a search
    /// for each. Returns the places of those that do not.
    pub(super) fn walk(&self, synced: &Synced, keys: &[&Key], mut found: impl FnMut(usize, Row)) -> Result<Vec<usize>> {
        let Some(rowid) = row::rowid_name(synced) else { return Ok((0..keys.len()).collect()) };
        let sql = format!("{} WHERE {rowid} >= ? ORDER BY {rowid}", synced.select);
        let mut statement = self.db.prepare_cached(&sql)?;
        // Of a key with NULL there may be several rows.
        let usual = |key: &Key| !key.0.iter().any(Value::is_null);
        let (mut rest, mut at, mut strays) = (Vec::new(), 0, 0);
        while at < keys.len() && strays < STRAYS_MAX {
            let Some(start) = (if usual(keys[at]) { row::rowid(self.db, synced, keys[at])? } else { None }) else {
                rest.push(at);
                at += 1;
                strays += 1;
                continue;
            };
            let from = at;
            let mut rows = statement.query([start])?;
            while let (Some(key), Some(row)) = (keys.get(at), rows.next()?) {
                let row = value::read_row(row, 0, synced.columns.len())?;
                if !usual(key) || !row::has_key(synced, &row, key) {
                    break;
                }
                found(at, row);
                at += 1;
            }
            strays = if at - from > 1 { 0 } else { strays + 1 };
        }
        rest.extend(at..keys.len());
        Ok(rest)
    }

    pub(super) fn base(&mut self, era: i64, synced: &Synced, key: &[u8]) -> Result<Option<Base>> {
        base::read_with(&mut self.base, self.db, era, synced, key)
    }
}

/// The rows of a batch that has not been answered yet. What is chosen behind it takes
/// them as they will be once the remote has taken it, and leaves them alone.
#[derive(Default)]
pub(super) struct UnderWay {
    /// By `digest::numbered`.
    rows: HashSet<u128>,
    pub(super) seqs: HashSet<i64>,
}

impl UnderWay {
    pub(super) fn new(flight: &Flight) -> UnderWay {
        UnderWay {
            rows: flight.rows.iter().map(|row| digest::numbered(row.tab, &row.encoded)).collect(),
            seqs: flight.rows.iter().flat_map(|row| row.seqs.iter().copied()).collect(),
        }
    }

    pub(super) fn has(&self, mark: u128) -> bool {
        !self.rows.is_empty() && self.rows.contains(&mark)
    }
}
