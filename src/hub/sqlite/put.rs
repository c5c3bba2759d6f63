//! One change of a push, judged and carried out.
//!
//! The rules stand in `docs/protocol.md`, "What a hub says to a change". Trouble with
//! one change is its outcome and never an error of the push; the only `Err` here is
//! storage that fails.

use super::batch::{Batch, Step, Touched, refused};
use super::layout::{DELETE, INSERT, UPDATE};
use super::look;
use super::outside;
use super::plan::Table;
use super::schema::hash;
use super::writing::{self, Entry, Known, Writing, changed_since};
use crate::hub::error::{HubError, Result};
use crate::model::{Key, RefusalCode, Revision, Row, Stamp, Value};
use crate::protocol::{ConflictWord, WireChange, WireConflict, WireOutcome};

/// One change on its way.
pub(super) struct Job<'a> {
    pub batch: &'a Batch<'a>,
    pub writing: &'a Writing<'a>,
    pub table: &'a Table,
    pub change: &'a WireChange,
    pub at: usize,
    pub key: Key,
    pub bytes: Vec<u8>,
    pub before: Option<Known>,
}

impl Job<'_> {
    pub fn put(self, touched: &mut Vec<Touched>) -> Result<Step> {
        let base = self.change.base.0;
        match &self.before {
            Some(known) if known.gone() && base > 0 && known.rev > base => self.moved_on(),
            Some(known) if !known.gone() => {
                let known = known.clone();
                self.put_over(known, touched)
            }
            _ if base > 0 && !self.table.whole => {
                Ok(refused(RefusalCode::WholeRowNeeded, "the hub does not have this row; send it whole"))
            }
            _ => self.insert(touched),
        }
    }

    /// A put where the hub has a row.
    fn put_over(mut self, known: Known, touched: &mut Vec<Touched>) -> Result<Step> {
        let db = self.writing.db();
        let Some(old) = self.table.shape.read(db, &self.key)? else {
            // Somebody took it out past the triggers: that is a deletion like any other.
            outside::note(self.writing, self.table.shape.id, &self.bytes, self.before.take(), None)?;
            self.before = writing::known(db, self.table.shape.id, &self.bytes)?;
            return self.put(touched);
        };
        let given = self.table.cells.iter().enumerate();
        let mut given = given.filter(|(_, column)| self.table.shape.account_at != Some(**column));
        let equal = given.all(|(cell, column)| self.change.values[self.table.key_len + cell] == old[*column]);
        let current = self.change.base.0 >= known.rev;
        match (current, equal) {
            (true, true) => Ok(applied(known.rev)),
            (false, true) if self.table.whole => Ok(applied(known.rev)),
            (false, _) => self.moved_on(),
            (true, false) if self.change.stamp < known.stamp && !self.table.whole => Ok(refused(
                RefusalCode::StampOld,
                "the stamp is older than the hub's row; stamp again, or send it whole",
            )),
            (true, false) => self.update(old, touched),
        }
    }

    /// Puts a row that its sender takes for new, without a look whether the hub knows it.
    /// `None`: it does, or the row does not go in like this, and nothing was done.
    pub fn insert_new(&self, touched: &mut Vec<Touched>) -> Result<Option<Step>> {
        if let Err(error) = self.insert_row()? {
            // The common way tells what it means.
            return trouble(error).map(|_| None);
        }
        let (hash, echo) = self.inserted()?;
        let Some(revision) = self.writing.record_new(self.entry(INSERT, self.change.stamp, echo, hash, None))? else {
            self.table.shape.delete(self.writing.db(), &self.key)?;
            return Ok(None);
        };
        if self.has_links() {
            touched.push(self.touch(true, true, Vec::new()));
        }
        Ok(Some(applied(revision)))
    }

    fn insert(self, touched: &mut Vec<Touched>) -> Result<Step> {
        if let Err(error) = self.insert_row()? {
            return trouble(error);
        }
        let (hash, echo) = self.inserted()?;
        let revision = self.record(INSERT, echo, hash, None)?;
        if self.has_links() {
            touched.push(self.touch(true, true, Vec::new()));
        }
        Ok(applied(revision))
    }

    /// `Err`: what SQLite has against the row.
    fn insert_row(&self) -> Result<rusqlite::Result<usize>> {
        let table = self.table;
        let value =
            |column: &usize| self.batch.source(table, self.change, *column).expect("BUG: a set column has a source");
        let mut statement = self.writing.db().prepare_cached(&table.insert_sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(table.insert_at.iter().map(value))))
    }

    /// The hash of a row that was just inserted, and whether its author gets it back.
    fn inserted(&self) -> Result<(i64, bool)> {
        let table = self.table;
        let value =
            |column: &usize| self.batch.source(table, self.change, *column).expect("BUG: a set column has a source");
        let kept = table.insert_at.iter().all(|column| table.shape.keeps(*column, value(column)));
        Ok(if kept && table.insert_at.len() == table.shape.names.len() {
            (hash(table.insert_at.iter().map(value)), self.account_differs(None))
        } else {
            let row = self.stored()?;
            (hash(&row), self.differs(&row) || self.account_differs(None))
        })
    }

    fn update(self, old: Row, touched: &mut Vec<Touched>) -> Result<Step> {
        let table = self.table;
        let value =
            |column: &usize| self.batch.source(table, self.change, *column).expect("BUG: a set column has a source");
        let done = {
            let mut statement = self.writing.db().prepare_cached(&table.update_sql)?;
            statement.execute(rusqlite::params_from_iter(table.update_at.iter().map(value).chain(self.key.0.iter())))
        };
        if let Err(error) = done {
            return trouble(error);
        }
        Ok(Step::Done(self.updated(old, touched)?))
    }

    /// Writes down an update that is done.
    pub fn updated(self, old: Row, touched: &mut Vec<Touched>) -> Result<WireOutcome> {
        let row = self.stored()?;
        let shape = &self.table.shape;
        let changed: Vec<&String> =
            shape.names.iter().enumerate().filter(|(at, _)| row[*at] != old[*at]).map(|(_, name)| name).collect();
        let columns = serde_json::to_string(&changed).expect("BUG: names are always JSON");
        let echo = self.differs(&row) || self.account_differs(Some(&old));
        let revision = self.record(UPDATE, echo, hash(&row), Some(&columns))?;
        if self.has_links() {
            let links = self.batch.schema.links.iter().enumerate();
            let left =
                links.filter(|(_, link)| link.parent.id == shape.id && link.named_by(&old) != link.named_by(&row));
            let given_up = left.map(|(at, link)| (at, link.named_by(&old))).collect();
            touched.push(self.touch(true, false, given_up));
        }
        Ok(WireOutcome::Applied(Revision(revision)))
    }

    pub fn delete(self, touched: &mut Vec<Touched>) -> Result<Step> {
        let known = match &self.before {
            None => return Ok(applied(self.writing.head())),
            Some(known) if known.gone() => return Ok(applied(known.rev)),
            Some(known) if known.rev > self.change.base.0 => return self.moved_on(),
            Some(known) => known,
        };
        let shape = &self.table.shape;
        let mut given_up = Vec::new();
        if self.has_links()
            && let Some(old) = shape.read(self.writing.db(), &self.key)?
        {
            let links = self.batch.schema.links.iter().enumerate().filter(|(_, link)| link.parent.id == shape.id);
            given_up = links.map(|(at, link)| (at, link.named_by(&old))).collect();
        }
        shape.delete(self.writing.db(), &self.key)?;
        let stamp = self.change.stamp.max(known.stamp);
        let revision = self.record_stamped(DELETE, stamp, false, 0, None)?;
        if !given_up.is_empty() {
            touched.push(self.touch(false, false, given_up));
        }
        Ok(applied(revision))
    }

    fn moved_on(self) -> Result<Step> {
        let (db, shape) = (self.writing.db(), &self.table.shape);
        let columns = match self.change.base {
            Revision::NONE => Vec::new(),
            base => changed_since(db, shape.id, &self.key, base.0)?,
        };
        let row = look::wire_row(db, shape, &self.key)?;
        let conflict = WireConflict { conflict: ConflictWord::MovedOn, row, columns, others: Vec::new() };
        Ok(Step::Done(WireOutcome::Conflict(conflict)))
    }

    fn stored(&self) -> Result<Row> {
        let row = self.table.shape.read(self.writing.db(), &self.key)?;
        row.ok_or_else(|| {
            HubError::Damaged(format!("{} {} is not there after its put", self.table.shape.table.name, self.key))
        })
    }

    /// Whether the hub stored something else than was sent.
    fn differs(&self, row: &[Value]) -> bool {
        let cells = self.table.cells.iter().enumerate();
        let mut sent = cells.filter(|(_, column)| self.table.shape.account_at != Some(**column));
        sent.any(|(cell, column)| self.change.values[self.table.key_len + cell] != row[*column])
    }

    /// Whether the hub filled the account column with something the sender does not have.
    fn account_differs(&self, old: Option<&Row>) -> bool {
        let Some(column) = self.table.shape.account_at else { return false };
        let sent = self.table.cells.iter().position(|cell| *cell == column);
        match (sent, old) {
            (Some(cell), _) => self.change.values[self.table.key_len + cell] != self.batch.account,
            (None, Some(old)) => old[column] != self.batch.account,
            (None, None) => false,
        }
    }

    fn record(&self, op: i64, echo: bool, hash: i64, columns: Option<&str>) -> Result<i64> {
        self.record_stamped(op, self.change.stamp, echo, hash, columns)
    }

    fn record_stamped(&self, op: i64, stamp: Stamp, echo: bool, hash: i64, columns: Option<&str>) -> Result<i64> {
        self.writing.record(self.before.as_ref(), self.entry(op, stamp, echo, hash, columns))
    }

    fn entry<'b>(&'b self, op: i64, stamp: Stamp, echo: bool, hash: i64, columns: Option<&'b str>) -> Entry<'b> {
        let (tab, key, origin) = (self.table.shape.id, &self.bytes[..], self.batch.device);
        Entry { tab, key, op, stamp, origin, echo, hash, columns, role: self.batch.role }
    }

    fn has_links(&self) -> bool {
        let id = self.table.shape.id;
        self.batch.schema.links.iter().any(|link| link.child.id == id || link.parent.id == id)
    }

    fn touch(&self, is_put: bool, was_new: bool, given_up: Vec<(usize, Row)>) -> Touched {
        Touched { at: self.at, shape: self.table.shape.clone(), key: self.key.clone(), is_put, was_new, given_up }
    }
}

fn applied(revision: i64) -> Step {
    Step::Done(WireOutcome::Applied(Revision(revision)))
}

/// What SQLite's refusal of one statement means for the change.
fn trouble(error: rusqlite::Error) -> Result<Step> {
    use rusqlite::ffi;
    let Some(failure) = error.sqlite_error() else { return Err(error.into()) };
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            Ok(Step::Blocked)
        }
        ffi::SQLITE_TOOBIG => Ok(refused(RefusalCode::RowTooLarge, error.to_string())),
        code if code & 0xff == ffi::SQLITE_CONSTRAINT || code & 0xff == ffi::SQLITE_MISMATCH => {
            Ok(refused(RefusalCode::Constraint, error.to_string()))
        }
        _ => Err(error.into()),
    }
}
