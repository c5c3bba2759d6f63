//! One change of a push, judged and carried out.
//!
//! The rules stand in `docs/protocol.md`, "What a hub says to a change". Trouble with
//! one change is its outcome and never an error of the push; the only `Err` here is
//! storage that fails.

use std::sync::Arc;

use rusqlite::Connection;

use super::layout::{DELETE, INSERT, UPDATE};
use super::schema::{Schema, Shape, hash, marks};
use super::writing::{Entry, Known, Writing, changed_since, known};
use super::{look, writing};
use crate::hub::error::{HubError, Result};
use crate::hub::settings::Settings;
use crate::model::{Key, RefusalCode, Revision, Row, Stamp, Value};
use crate::protocol::{ChangeGroup, ConflictWord, Push, WireChange, WireConflict, WireOther, WireOutcome, WireRefusal};
use crate::sqlite::{ident, idents};

/// A push, made ready to be carried out.
pub(super) struct Batch<'a> {
    pub schema: &'a Schema,
    pub settings: &'a Settings,
    /// What the account column is filled with.
    pub account: Value,
    pub may_write: bool,
    /// `_hub_device.id` of who pushes.
    pub device: i64,
    /// What the sender had pulled: changes of others up to here were known to it.
    pub seen: i64,
    pub plans: Vec<Plan>,
    /// Group and row of each change.
    pub changes: Vec<(usize, &'a WireChange)>,
}

/// How the changes of one group are carried out, or why none of them can be.
pub(super) struct Plan {
    table: Option<Table>,
    refusal: Option<WireRefusal>,
}

struct Table {
    shape: Arc<Shape>,
    delete: bool,
    key_len: usize,
    /// The position each column of the group has in the table.
    cells: Vec<usize>,
    /// Where each column of the table gets its value from.
    sources: Vec<Option<Source>>,
    /// Every column of the table has a source: the row is whole.
    whole: bool,
    /// Positions an insert sets, and an update sets.
    insert_at: Vec<usize>,
    update_at: Vec<usize>,
    insert_sql: String,
    update_sql: String,
}

#[derive(Clone, Copy)]
enum Source {
    Key(usize),
    Cell(usize),
    Account,
}

/// What a change did to a row that foreign keys may care about.
pub(super) struct Touched {
    /// The change's place in the push.
    pub at: usize,
    pub shape: Arc<Shape>,
    pub key: Key,
    pub is_put: bool,
    /// The row was not there before.
    pub was_new: bool,
    /// Links, and the values by which children may have named this row until now.
    pub given_up: Vec<(usize, Row)>,
}

/// A change's end, or that a UNIQUE value it wants is taken for now.
pub(super) enum Step {
    Done(WireOutcome),
    Blocked,
}

impl<'a> Batch<'a> {
    pub fn new(
        schema: &'a Schema,
        settings: &'a Settings,
        account: &str,
        may_write: bool,
        device: i64,
        push: &'a Push,
    ) -> Batch<'a> {
        let plans = push.groups.iter().map(|group| plan(schema, group)).collect();
        let rows = push.groups.iter().enumerate();
        let changes = rows.flat_map(|(at, group)| group.rows.iter().map(move |row| (at, row))).collect();
        let (account, seen) = (Value::Text(account.to_owned()), push.seen.0);
        Batch { schema, settings, account, may_write, device, seen, plans, changes }
    }

    /// Whether this push tries to put a row with this key, or, without a key, any row
    /// of that table.
    pub fn tries_to_put(&self, shape: i64, key: &[Value]) -> bool {
        self.changes.iter().any(|(group, change)| {
            let table = self.plans[*group].table.as_ref().filter(|table| table.shape.id == shape && !table.delete);
            table.is_some_and(|table| key.is_empty() || table.key(change).0 == key)
        })
    }

    /// Whether somebody else changed a row after the sender last looked.
    pub fn is_news(&self, known: &writing::Known) -> bool {
        known.rev > self.seen && known.origin != self.device
    }

    /// Does the change at `at`.
    pub fn step(&self, writing: &Writing, at: usize, touched: &mut Vec<Touched>) -> Result<Step> {
        let (group, change) = self.changes[at];
        if !self.may_write {
            return Ok(refused(RefusalCode::NotAllowed, "this token may read here, not write"));
        }
        let plan = &self.plans[group];
        let Some(table) = &plan.table else {
            let refusal = plan.refusal.clone().expect("BUG: a group without a plan has a reason");
            return Ok(Step::Done(WireOutcome::Refused(refusal)));
        };
        if let Some(step) = self.unfit(writing.now, table, change) {
            return Ok(step);
        }
        let key = table.key(change);
        let bytes = key.encode();
        let before = writing::known(writing.db(), table.shape.id, &bytes)?;
        let job = Job { batch: self, writing, table, change, at, key, bytes, before };
        if table.delete { job.delete(touched) } else { job.put(touched) }
    }

    /// Whether the change at `at` updates a row that is there: what `aside` can move.
    pub fn moves(&self, writing: &Writing, at: usize) -> Result<Option<Moved<'_>>> {
        let (group, change) = self.changes[at];
        let Some(table) = &self.plans[group].table else { return Ok(None) };
        let key = table.key(change);
        let before = known(writing.db(), table.shape.id, &key.encode())?;
        let (Some(before), Some(old)) = (before, table.shape.read(writing.db(), &key)?) else { return Ok(None) };
        let mut new = old.clone();
        for column in &table.update_at {
            new[*column] = self.source(table, change, *column).expect("BUG: a set column has a source").clone();
        }
        Ok(Some(Moved { table, change, at, key, before, old, new }))
    }

    /// Writes down a row that `aside` has set.
    pub fn settled(&self, writing: &Writing, moved: Moved, touched: &mut Vec<Touched>) -> Result<WireOutcome> {
        let Moved { table, change, at, key, before, old, .. } = moved;
        let bytes = key.encode();
        let job = Job { batch: self, writing, table, change, at, key, bytes, before: Some(before) };
        job.updated(old, touched)
    }

    /// The conflict of a change whose UNIQUE values others hold.
    pub fn unique_conflict(&self, db: &Connection, at: usize) -> Result<WireOutcome> {
        let (group, change) = self.changes[at];
        let table = self.plans[group].table.as_ref().expect("BUG: only a planned change can be blocked");
        let key = table.key(change);
        let row = look::wire_row(db, &table.shape, &key)?;
        let old = table.shape.read(db, &key)?;
        let wanted: Row = (0..table.shape.names.len())
            .map(|column| match (self.source(table, change, column), &old) {
                (Some(value), _) => value.clone(),
                (None, Some(old)) => old[column].clone(),
                (None, None) => Value::Null,
            })
            .collect();
        let others = holders(db, &table.shape, &key, &wanted)?;
        Ok(WireOutcome::Conflict(WireConflict { conflict: ConflictWord::Unique, row, columns: Vec::new(), others }))
    }

    /// The conflict of a change that foreign keys do not let stand.
    pub fn link_conflict(&self, db: &Connection, at: usize, others: Vec<WireOther>) -> Result<WireOutcome> {
        let (group, change) = self.changes[at];
        let table = self.plans[group].table.as_ref().expect("BUG: only a planned change can have touched a row");
        let row = look::wire_row(db, &table.shape, &table.key(change))?;
        Ok(WireOutcome::Conflict(WireConflict { conflict: ConflictWord::ForeignKey, row, columns: Vec::new(), others }))
    }

    /// Whether the put of `touched` set any of `columns`.
    pub fn sets_any(&self, touched: &Touched, columns: &[usize]) -> bool {
        let table = self.plans[self.changes[touched.at].0].table.as_ref();
        table.is_some_and(|table| {
            let set = if touched.was_new { &table.insert_at } else { &table.update_at };
            columns.iter().any(|column| set.contains(column))
        })
    }

    /// The values the put of `touched` gave `columns`, if it gave them all.
    pub fn values_of(&self, touched: &Touched, columns: &[usize]) -> Option<Row> {
        let (group, change) = self.changes[touched.at];
        let table = self.plans[group].table.as_ref()?;
        columns.iter().map(|column| self.source(table, change, *column).cloned()).collect()
    }

    fn source<'b>(&'b self, table: &Table, change: &'b WireChange, column: usize) -> Option<&'b Value> {
        table.sources[column].map(|source| match source {
            Source::Key(at) => &change.values[at],
            Source::Cell(at) => &change.values[table.key_len + at],
            Source::Account => &self.account,
        })
    }

    /// Why a change can be refused without a look at the row.
    fn unfit(&self, now: i64, table: &Table, change: &WireChange) -> Option<Step> {
        let width = table.key_len + table.cells.len();
        if change.values.len() != width {
            let text = format!("{} values where the group's header asks for {width}", change.values.len());
            return Some(refused(RefusalCode::Malformed, text));
        }
        let weight = change.values.iter().map(Value::weight).sum::<usize>();
        if weight > self.settings.row_bytes_max {
            let text = format!("about {weight} bytes; a row may have {}", self.settings.row_bytes_max);
            return Some(refused(RefusalCode::RowTooLarge, text));
        }
        let ahead = change.stamp.millis() - now;
        if ahead > self.settings.stamp_ahead_max {
            let text = format!("stamped {} s ahead of the hub's clock", ahead / 1000);
            return Some(refused(RefusalCode::StampFuture, text));
        }
        let shape = &table.shape;
        for (place, column) in shape.key_at.iter().enumerate() {
            let value = &change.values[place];
            if !shape.keeps(*column, value) || (shape.rowid_key && !matches!(value, Value::Integer(_))) {
                let name = &shape.names[*column];
                return Some(refused(RefusalCode::Constraint, format!("the hub's {name} cannot hold this key")));
            }
            if shape.account_key == Some(place) && *value != self.account {
                return Some(refused(RefusalCode::NotAllowed, "a row of another account"));
            }
            let again = table.cells.iter().position(|cell| cell == column);
            if again.is_some_and(|cell| change.values[table.key_len + cell] != *value) {
                return Some(refused(RefusalCode::Malformed, "the key and its column differ"));
            }
        }
        None
    }
}

/// A row to be set once others are out of its way.
pub(super) struct Moved<'a> {
    table: &'a Table,
    change: &'a WireChange,
    pub at: usize,
    pub key: Key,
    before: Known,
    pub old: Row,
    pub new: Row,
}

impl Moved<'_> {
    pub fn shape(&self) -> &Shape {
        &self.table.shape
    }
}

/// One change on its way.
struct Job<'a> {
    batch: &'a Batch<'a>,
    writing: &'a Writing<'a>,
    table: &'a Table,
    change: &'a WireChange,
    at: usize,
    key: Key,
    bytes: Vec<u8>,
    before: Option<Known>,
}

impl Job<'_> {
    fn put(self, touched: &mut Vec<Touched>) -> Result<Step> {
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
    fn put_over(self, known: Known, touched: &mut Vec<Touched>) -> Result<Step> {
        let db = self.writing.db();
        let Some(old) = self.table.shape.read(db, &self.key)? else {
            return Err(HubError::Damaged(format!(
                "{} {} is in _hub_row alone",
                self.table.shape.table.name, self.key
            )));
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

    fn insert(self, touched: &mut Vec<Touched>) -> Result<Step> {
        let table = self.table;
        let value =
            |column: &usize| self.batch.source(table, self.change, *column).expect("BUG: a set column has a source");
        let done = {
            let mut statement = self.writing.db().prepare_cached(&table.insert_sql)?;
            statement.execute(rusqlite::params_from_iter(table.insert_at.iter().map(value)))
        };
        if let Err(error) = done {
            return trouble(error);
        }
        let kept = table.insert_at.iter().all(|column| table.shape.keeps(*column, value(column)));
        let (hash, echo) = if kept && table.insert_at.len() == table.shape.names.len() {
            (hash(table.insert_at.iter().map(value)), self.account_differs(None))
        } else {
            let row = self.stored()?;
            (hash(&row), self.differs(&row) || self.account_differs(None))
        };
        let revision = self.record(INSERT, echo, hash, None)?;
        if self.has_links() {
            touched.push(self.touch(true, true, Vec::new()));
        }
        Ok(applied(revision))
    }

    fn update(self, old: Row, touched: &mut Vec<Touched>) -> Result<Step> {
        let table = self.table;
        let value =
            |column: &usize| self.batch.source(table, self.change, *column).expect("BUG: a set column has a source");
        let done = {
            let mut statement = self.writing.db().prepare_cached(&table.update_sql)?;
            statement.execute(rusqlite::params_from_iter(table.update_at.iter().map(value).chain(&self.key.0)))
        };
        if let Err(error) = done {
            return trouble(error);
        }
        Ok(Step::Done(self.updated(old, touched)?))
    }

    /// Writes down an update that is done.
    fn updated(self, old: Row, touched: &mut Vec<Touched>) -> Result<WireOutcome> {
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

    fn delete(self, touched: &mut Vec<Touched>) -> Result<Step> {
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
        let (tab, key, origin) = (self.table.shape.id, &self.bytes[..], self.batch.device);
        self.writing.record(self.before.as_ref(), Entry { tab, key, op, stamp, origin, echo, hash, columns })
    }

    fn has_links(&self) -> bool {
        let id = self.table.shape.id;
        self.batch.schema.links.iter().any(|link| link.child.id == id || link.parent.id == id)
    }

    fn touch(self, is_put: bool, was_new: bool, given_up: Vec<(usize, Row)>) -> Touched {
        Touched { at: self.at, shape: self.table.shape.clone(), key: self.key, is_put, was_new, given_up }
    }
}

impl Table {
    fn key(&self, change: &WireChange) -> Key {
        Key(change.values[..self.key_len].to_vec())
    }
}

fn plan(schema: &Schema, group: &ChangeGroup) -> Plan {
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

fn applied(revision: i64) -> Step {
    Step::Done(WireOutcome::Applied(Revision(revision)))
}

fn refused(code: RefusalCode, text: impl Into<String>) -> Step {
    Step::Done(WireOutcome::Refused(WireRefusal { refused: code, text: text.into() }))
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

/// Keys of other rows that hold values `wanted` needs for itself.
fn holders(db: &Connection, shape: &Shape, key: &Key, wanted: &Row) -> Result<Vec<WireOther>> {
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
            let holder = crate::sqlite::value::read_row(row, 0, shape.key_at.len())?;
            let other = WireOther { table: shape.table.name.clone(), key: holder };
            if other.key != key.0 && !found.contains(&other) {
                found.push(other);
            }
        }
    }
    Ok(found)
}
