//! What a survey reads with, and what it leaves alone.

use std::collections::{HashMap, HashSet};

use rusqlite::{CachedStatement, Connection};

use crate::model::Key;
use crate::sqlite::digest;
use crate::store::base::{self, Base};
use crate::store::flight::Flight;
use crate::store::row::{self, Found};
use crate::store::{Result, Synced};

/// Where each row stands among others, by `digest::numbered`.
pub(super) type Places = HashMap<u128, usize>;

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
