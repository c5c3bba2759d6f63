//! The base: a row as it was last equal on both sides.
//!
//! Kept whole for tables whose strategy needs it, and as a hash a column for the
//! others: enough to say exactly which columns changed. A base remembers the column
//! list it was taken under (its shape), so that it survives the app's migrations.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::flight::FlightRow;
use super::{Result, Synced, Writer};
use crate::model::{Operation, Revision, Row, Stamp, Value, key};
use crate::sqlite::digest;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Base {
    /// `Revision::NONE`: last equal under an epoch that is over.
    pub(crate) revision: Revision,
    pub(crate) stamp: Stamp,
    pub(crate) shape: i64,
    /// The names the contents go by.
    pub(crate) columns: Arc<[String]>,
    pub(crate) contents: Contents,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Contents {
    Hashes(Vec<u64>),
    Row(Row),
}

/// What became of a row since its base.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Difference {
    Same,
    /// The remote does not have it.
    New,
    /// Positions of the local columns that differ.
    Changed(Vec<usize>),
    Gone,
}

/// Sets a base, whatever it was.
pub(super) const SET: &str =
    "INSERT INTO _homing_base(tab, key, rev, stamp, shape, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT(tab, key) DO UPDATE SET rev = ?3, stamp = ?4, shape = ?5, body = ?6";

const HASHES: u8 = 0;
const ROW: u8 = 1;
/// Revisions are stored with their era above this many bits.
const ERA_BITS: u32 = 44;

pub(crate) fn stored(era: i64, revision: Revision) -> i64 {
    (era << ERA_BITS) | revision.0
}

pub(crate) fn current(era: i64, stored: i64) -> Revision {
    if stored >> ERA_BITS == era { Revision(stored & ((1 << ERA_BITS) - 1)) } else { Revision::NONE }
}

impl Base {
    /// The row's content under `columns`, where it was kept whole.
    pub(crate) fn row_under(&self, synced: &Synced) -> Option<Row> {
        let Contents::Row(row) = &self.contents else { return None };
        Some(
            synced
                .columns
                .iter()
                .enumerate()
                .map(|(at, name)| match self.place(at, name) {
                    Some(place) => row[place].clone(),
                    None => synced.defaults[at].clone(),
                })
                .collect(),
        )
    }

    pub(crate) fn hash_under(&self, synced: &Synced, at: usize) -> u64 {
        match (self.place(at, &synced.columns[at]), &self.contents) {
            (Some(place), Contents::Hashes(hashes)) => hashes[place],
            (Some(place), Contents::Row(row)) => digest::value(&row[place]),
            // The column came after the base was taken: every row had its default.
            (None, _) => digest::value(&synced.defaults[at]),
        }
    }

    /// Whether a column came after the base was taken.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        !self.columns.iter().any(|column| column.eq_ignore_ascii_case(name))
    }

    fn place(&self, at: usize, name: &str) -> Option<usize> {
        match self.columns.get(at) {
            Some(same) if same.eq_ignore_ascii_case(name) => Some(at),
            _ => self.columns.iter().position(|column| column.eq_ignore_ascii_case(name)),
        }
    }
}

/// Where a base lies among the others, so nearly that neighbours share their pages.
pub(crate) fn place(tab: i64, key: &[u8]) -> (i64, u128) {
    let mut head = [0; 16];
    let length = key.len().min(16);
    head[..length].copy_from_slice(&key[..length]);
    (tab, u128::from_be_bytes(head))
}

/// The bytes of a base of which nothing is known but that there may be one: no row is
/// ever equal to it.
pub(crate) fn unknown_body(synced: &Synced) -> Vec<u8> {
    let mut out = vec![HASHES];
    out.resize(1 + synced.columns.len() * 8, 0);
    out
}

/// Compares a row with its base: by bytes and storage class, never by collation.
pub(crate) fn difference(synced: &Synced, local: Option<&Row>, base: Option<&Base>) -> Difference {
    match (local, base) {
        (None, None) => Difference::Same,
        (None, Some(_)) => Difference::Gone,
        (Some(_), None) => Difference::New,
        (Some(row), Some(base)) => {
            let differs = |at: &usize| match &base.contents {
                Contents::Row(kept) if base.shape == synced.shape => kept[*at] != row[*at],
                _ => base.hash_under(synced, *at) != digest::value(&row[*at]),
            };
            let changed: Vec<usize> = (0..synced.columns.len()).filter(differs).collect();
            match changed.is_empty() {
                true if base.revision == Revision::NONE => Difference::New,
                true => Difference::Same,
                false if base.revision == Revision::NONE => Difference::New,
                false => Difference::Changed(changed),
            }
        }
    }
}

/// The bytes of a base for `row`, a row of the local table.
pub(crate) fn body(synced: &Synced, row: &Row) -> Vec<u8> {
    if synced.keeps_rows {
        let mut out = vec![ROW];
        row.iter().for_each(|value| put_value(&mut out, value));
        out
    } else {
        let mut out = Vec::with_capacity(1 + row.len() * 8);
        out.push(HASHES);
        row.iter().for_each(|value| out.extend(digest::value(value).to_le_bytes()));
        out
    }
}

pub(crate) const READ_SQL: &str = "SELECT rev, stamp, shape, body FROM _homing_base WHERE tab = ? AND key = ?";

pub(crate) fn read(db: &Connection, era: i64, synced: &Synced, key: &[u8]) -> Result<Option<Base>> {
    read_with(&mut *db.prepare_cached(READ_SQL)?, db, era, synced, key)
}

/// `read`, with the statement of `READ_SQL` at hand.
pub(crate) fn read_with(
    statement: &mut Statement,
    db: &Connection,
    era: i64,
    synced: &Synced,
    key: &[u8],
) -> Result<Option<Base>> {
    let found = statement
        .query_row(params![synced.id, key], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
        })
        .optional()?;
    let Some((revision, stamp, shape, body)) = found else { return Ok(None) };
    let columns = if shape == synced.shape { synced.columns.clone() } else { shape_columns(db, shape)? };
    Ok(Some(Base { revision: current(era, revision), stamp: Stamp(stamp), shape, contents: contents(&body), columns }))
}

/// What a base would be with these contents.
pub(crate) fn sent(db: &Connection, synced: &Synced, row: &FlightRow, revision: Revision) -> Result<Base> {
    let columns = if row.shape == synced.shape { synced.columns.clone() } else { shape_columns(db, row.shape)? };
    Ok(Base { revision, stamp: row.stamp, shape: row.shape, columns, contents: contents(&row.base) })
}

impl Writer<'_> {
    /// The base becomes what the remote took, where it is not newer already.
    pub(crate) fn raise_base(&self, synced: &Synced, row: &FlightRow, key: &[u8], revision: Revision) -> Result<()> {
        let revision = stored(self.era, revision);
        match row.operation {
            Operation::Delete => self
                .db
                .prepare_cached("DELETE FROM _homing_base WHERE tab = ? AND key = ? AND rev < ?")?
                .execute(params![synced.id, key, revision])?,
            _ => self
                .db
                .prepare_cached(
                    "INSERT INTO _homing_base(tab, key, rev, stamp, shape, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT(tab, key) DO UPDATE SET rev = ?3, stamp = ?4, shape = ?5, body = ?6 WHERE rev < ?3",
                )?
                .execute(params![synced.id, key, revision, row.stamp.0, row.shape, row.base])?,
        };
        Ok(())
    }

    pub(crate) fn base(&self, synced: &Synced, key: &[u8]) -> Result<Option<Base>> {
        read(self.db, self.era, synced, key)
    }

    pub(crate) fn has_base(&self, synced: &Synced, key: &[u8]) -> Result<bool> {
        let mut statement = self.db.prepare_cached("SELECT 1 FROM _homing_base WHERE tab = ? AND key = ?")?;
        Ok(statement.exists(params![synced.id, key])?)
    }

    pub(crate) fn set_base(
        &self,
        synced: &Synced,
        key: &[u8],
        revision: Revision,
        stamp: Stamp,
        body: &[u8],
    ) -> Result<()> {
        self.set_base_under(synced.shape, synced, key, revision, stamp, body)
    }

    /// `set_base` for contents taken under another shape than today's.
    pub(crate) fn set_base_under(
        &self,
        shape: i64,
        synced: &Synced,
        key: &[u8],
        revision: Revision,
        stamp: Stamp,
        body: &[u8],
    ) -> Result<()> {
        self.db.prepare_cached(SET)?.execute(params![
            synced.id,
            key,
            stored(self.era, revision),
            stamp.0,
            shape,
            body
        ])?;
        Ok(())
    }

    /// The same contents under another revision.
    pub(crate) fn touch_base(&self, synced: &Synced, key: &[u8], revision: Revision, stamp: Stamp) -> Result<()> {
        self.db
            .prepare_cached("UPDATE _homing_base SET rev = ?3, stamp = ?4 WHERE tab = ?1 AND key = ?2")?
            .execute(params![synced.id, key, stored(self.era, revision), stamp.0])?;
        Ok(())
    }

    pub(crate) fn drop_base(&self, synced: &Synced, key: &[u8]) -> Result<()> {
        self.db
            .prepare_cached("DELETE FROM _homing_base WHERE tab = ? AND key = ?")?
            .execute(params![synced.id, key])?;
        Ok(())
    }
}

pub(crate) fn shape_columns(db: &Connection, shape: i64) -> Result<Arc<[String]>> {
    let names: Option<String> = db
        .prepare_cached("SELECT columns FROM _homing_shape WHERE shape = ?")?
        .query_row([shape], |row| row.get(0))
        .optional()?;
    let names = names.expect("BUG: a base names a shape that was never written");
    let columns: Vec<String> = serde_json::from_str(&names).expect("BUG: a shape is a JSON array of names");
    Ok(columns.into())
}

fn contents(body: &[u8]) -> Contents {
    match body.split_first() {
        Some((&HASHES, hashes)) => {
            let read = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("BUG: chunks of eight"));
            Contents::Hashes(hashes.chunks_exact(8).map(read).collect())
        }
        Some((&ROW, mut rest)) => {
            let mut row = Row::new();
            while !rest.is_empty() {
                row.push(take_value(&mut rest).expect("BUG: a base is what body wrote"));
            }
            Contents::Row(row)
        }
        _ => unreachable!("BUG: a base of unknown kind"),
    }
}

/// A value as tag, then length and bytes: compact, and exact.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    let start = out.len();
    out.extend([0; 4]);
    key::put(out, value);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

pub(crate) fn take_value(bytes: &mut &[u8]) -> Option<Value> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (encoded, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    key::take(&mut { encoded })
}
