//! A push, made ready: its groups planned, its changes in order.
//!
//! Refuses what can be refused without a look at the row, and hands the rest to `put`.

use std::sync::Arc;

use rusqlite::Connection;

use super::plan::{Plan, Source, Table, plan};
use super::put::Job;
use super::schema::{Schema, Shape};
use super::writing::{Known, Writing, known};
use super::{aside, look};
use crate::hub::error::Result;
use crate::hub::settings::Settings;
use crate::hub::store::Who;
use crate::model::{Key, RefusalCode, Revision, Row, Value};
use crate::protocol::{ConflictWord, Push, WireChange, WireConflict, WireOther, WireOutcome, WireRefusal};

/// A push, made ready to be carried out.
pub(super) struct Batch<'a> {
    pub schema: &'a Schema,
    pub settings: &'a Settings,
    /// What the account column is filled with.
    pub account: Value,
    pub role: &'a str,
    pub may_write: bool,
    /// `_hub_device.id` of who pushes.
    pub device: i64,
    /// What the sender had pulled: changes of others up to here were known to it.
    pub seen: i64,
    pub plans: Vec<Plan>,
    /// Group and row of each change.
    pub changes: Vec<(usize, &'a WireChange)>,
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
    pub fn new(schema: &'a Schema, settings: &'a Settings, who: &'a Who, device: i64, push: &'a Push) -> Batch<'a> {
        let plans = push.groups.iter().map(|group| plan(schema, group)).collect();
        let rows = push.groups.iter().enumerate();
        let changes = rows.flat_map(|(at, group)| group.rows.iter().map(move |row| (at, row))).collect();
        let (account, seen) = (Value::Text(who.account.clone()), push.seen.0);
        Batch { schema, settings, account, role: &who.role, may_write: who.may_write, device, seen, plans, changes }
    }

    /// Whether this push tries to put a row with this key, or, without a key, any row
    /// of that table.
    pub fn tries_to_put(&self, shape: i64, key: &[Value]) -> bool {
        self.changes.iter().any(|(group, change)| {
            let table = self.plans[*group].table.as_ref().filter(|table| table.shape.id == shape && !table.delete);
            table.is_some_and(|table| key.is_empty() || table.key(change).0[..] == *key)
        })
    }

    /// Table and key of the row that the change at `at` deletes.
    pub fn deletes(&self, at: usize) -> Option<(i64, Key)> {
        let (group, change) = self.changes[at];
        let table = self.plans[group].table.as_ref().filter(|table| table.delete)?;
        Some((table.shape.id, table.key(change)))
    }

    /// Whether somebody else changed a row after the sender last looked.
    pub fn is_news(&self, known: &super::writing::Known) -> bool {
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
        let mut job = Job { batch: self, writing, table, change, at, key, bytes, before: None };
        if change.base == Revision::NONE
            && table.whole
            && !table.delete
            // Its index does not know such a row again.
            && !job.key.0.iter().any(Value::is_null)
            && let Some(step) = job.insert_new(touched)?
        {
            return Ok(step);
        }
        job.before = known(writing.db(), table.shape.id, &job.bytes)?;
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
        let others = aside::holders(db, &table.shape, &key, &wanted)?;
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

    pub fn source<'b>(&'b self, table: &Table, change: &'b WireChange, column: usize) -> Option<&'b Value> {
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

pub(super) fn refused(code: RefusalCode, text: impl Into<String>) -> Step {
    Step::Done(WireOutcome::Refused(WireRefusal { refused: code, text: text.into() }))
}
