//! Named values in `_homing_meta`: identity, checkpoint, and what was done when.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, ToSql};

use super::outbox::{Entry, read_entry};
use super::{Result, Store, Writer, base, row};
use crate::model::{Cursor, Incarnation, Revision, Stamp};
use crate::sqlite::capture::LogOp;

pub(crate) fn get<T: FromSql>(db: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    db.prepare_cached("SELECT value FROM _homing_meta WHERE name = ?")?
        .query_row([name], |row| row.get::<_, Option<T>>(0))
        .optional()
        .map(Option::flatten)
}

pub(crate) fn set(db: &Connection, name: &str, value: impl ToSql) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO _homing_meta(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = ?2",
    )?
    .execute(rusqlite::params![name, value])
    .map(|_| ())
}

/// Who this file is, and how far it has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    pub incarnation: Incarnation,
    /// The last batch that was answered; it may not be settled yet.
    pub batch: i64,
    /// The last batch under way, when there is one.
    pub flight: Option<i64>,
    pub epoch: String,
    /// `None`: nothing pulled yet, or everything is to be pulled again.
    pub cursor: Option<Cursor>,
}

impl Store {
    pub fn identity(&self) -> Result<Identity> {
        let db = &self.db;
        let newest = |sql| db.query_row::<Option<i64>, _, _>(sql, [], |row| row.get(0));
        let taken = newest("SELECT max(batch) FROM _homing_answer")?;
        Ok(Identity {
            incarnation: Incarnation(get(db, "incarnation")?.unwrap_or_default()),
            batch: get(db, "batch")?.unwrap_or(0).max(taken.unwrap_or(0)),
            flight: newest("SELECT max(batch) FROM _homing_flight")?,
            epoch: get(db, "epoch")?.unwrap_or_default(),
            cursor: get(db, "cursor")?.map(Cursor),
        })
    }

    /// Begins the file's first life. Only rows that are gone by now may be known to a
    /// remote all the same, should the file be a copy; those that stand here are met
    /// when they are pulled.
    pub fn incarnate(&mut self, incarnation: &Incarnation) -> Result<()> {
        self.outbox.refresh(&self.db)?;
        self.write(|writer| {
            writer.doubt_new_rows(|gone| gone)?;
            set(writer.db, "incarnation", &incarnation.0)?;
            Ok(set(writer.db, "batch", 0)?)
        })
    }

    /// Begins a new life: nothing this file believes to have sent counts as sent under
    /// its old name. The batch under way is taken apart; its rows are still in the log.
    pub fn reincarnate(&mut self, incarnation: &Incarnation) -> Result<()> {
        self.outbox.forget();
        self.outbox.refresh(&self.db)?;
        self.write(|writer| {
            writer.doubt_new_rows(|_| true)?;
            set(writer.db, "incarnation", &incarnation.0)?;
            set(writer.db, "batch", 0)?;
            set(writer.db, "audit", "due")?;
            writer.strand_flight()?;
            Ok(())
        })
    }

    /// The remote began a new log: no stored revision or cursor means anything there.
    /// Bases stay as what was last equal; `Era` arithmetic makes their revisions 0.
    pub fn begin_epoch(&mut self, epoch: &str) -> Result<()> {
        self.outbox.forget();
        let era = self.era + 1;
        self.write(|writer| {
            set(writer.db, "epoch", epoch)?;
            set(writer.db, "era", era)?;
            set(writer.db, "batch", 0)?;
            set(writer.db, "cursor", rusqlite::types::Null)?;
            set(writer.db, "audit", "due")?;
            writer.strand_flight()?;
            writer.db.execute("DELETE FROM _homing_parked", [])?;
            Ok(())
        })?;
        self.era = era;
        Ok(())
    }

    /// Everything is to be pulled again, by snapshot; revisions still hold.
    pub fn forget_cursor(&mut self) -> Result<()> {
        self.write(|writer| Ok(set(writer.db, "cursor", rusqlite::types::Null)?))
    }

    /// Remembers a fact for `homing_status` and for the next start.
    pub fn note(&mut self, name: &str, value: &str) -> Result<()> {
        self.write(|writer| Ok(set(writer.db, name, value)?))
    }

    pub fn noted(&self, name: &str) -> Result<Option<String>> {
        Ok(get(&self.db, name)?)
    }

    /// The remote's revision up to which everything is known and stands here: a parked
    /// row does not.
    pub fn seen(&self) -> Result<Revision> {
        let parked: Option<i64> = self.db.query_row("SELECT min(rev) FROM _homing_parked", [], |row| row.get(0))?;
        let seen = super::base::current(self.era, get(&self.db, "seen")?.unwrap_or(0));
        Ok(parked.map_or(seen, |parked| seen.min(Revision(parked - 1))))
    }

    /// Whether the remote is known to have had any row of this file.
    pub fn knows_rows(&self) -> Result<bool> {
        Ok(self.db.query_row("SELECT EXISTS (SELECT 1 FROM _homing_base)", [], |row| row.get(0))?)
    }

    pub fn checkpoint(&self) -> Result<Option<Cursor>> {
        Ok(get(&self.db, "cursor")?.map(Cursor))
    }
}

impl Writer<'_> {
    /// An earlier life may have sent any new row of the log, though this file does not
    /// know: each counts as once equal there, so that a deletion is not taken for a row
    /// that never was. `looks_at`: whether to look at deletions, or at the other writes.
    fn doubt_new_rows(&mut self, looks_at: impl Fn(bool) -> bool) -> Result<()> {
        let widths = self.widths();
        let lists = self.outbox.lists().filter(|(_, gone, _)| looks_at(*gone));
        let places: Vec<i64> = lists.flat_map(|(_, _, list)| list.iter()).collect();
        for seq in places {
            let Some(Entry { tab, key, op, .. }) = read_entry(self.db, &widths, seq)? else { continue };
            let tables = self.tables;
            let synced = &tables[&tab];
            let encoded = key.encode();
            if op == LogOp::MaybeEvicted as i64 || self.base(synced, &encoded)?.is_some() {
                continue;
            }
            let body = match row::read(self.db, synced, &key)?.row() {
                Some(row) => base::body(synced, &row),
                None => base::unknown_body(synced),
            };
            self.set_base(synced, &encoded, Revision::NONE, Stamp::default(), &body)?;
        }
        Ok(())
    }

    pub(crate) fn set_cursor(&self, cursor: &Cursor) -> Result<()> {
        Ok(set(self.db, "cursor", &cursor.0)?)
    }

    pub(crate) fn set_seen(&self, head: Revision) -> Result<()> {
        Ok(set(self.db, "seen", super::base::stored(self.era, head))?)
    }
}
