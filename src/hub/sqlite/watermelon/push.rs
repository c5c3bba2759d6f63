//! A push: all of it or nothing.
//!
//! A row that somebody else changed after the client's mark refuses the whole push, so
//! that the client pulls, resolves and pushes again. What was created and is there is an
//! update; what was updated and is not there is created; what is to go and is gone is
//! done. Columns that the hub does not have are left out. A table that it does not have,
//! or a row that it cannot store, refuses the push in words: ignored, the client would
//! count it as sent.

use serde_json::{Map, Value as Json, json};

use super::mark::Mark;
use super::record::{columns, stored};
use super::{is_safe_id, is_served};
use crate::hub::error::{HubError, Result};
use crate::hub::sqlite::batch::Batch;
use crate::hub::sqlite::schema::{Schema, Shape};
use crate::hub::sqlite::scope::Scope;
use crate::hub::sqlite::writing::{Writing, known};
use crate::hub::sqlite::{device, links, outside, push as protocol_push};
use crate::hub::store::Who;
use crate::hub::watermelon::Sent;
use crate::model::{Incarnation, Key, Revision, Row, Stamp, Value};
use crate::protocol::{ChangeGroup, ConflictWord, Push, VERSION, WireChange, WireOutcome};

/// How the client is named where people look.
const DEVICE: &str = "WatermelonDB";

pub(in crate::hub::sqlite) fn push(scope: &mut Scope, who: &Who, sent: &Sent, now: i64) -> Result<Vec<u8>> {
    if !who.may_write {
        return Err(HubError::Forbidden);
    }
    scope.settle_if_needed(now)?;
    let writing = Writing::begin(&scope.db, now)?;
    let (schema, _) = outside::take_in(&writing, &scope.schema, &scope.settings)?;
    let unknown = || HubError::Behind("this hub does not know that time: pull, then push again".to_owned());
    let mark = Mark::find(writing.db(), sent.since)?.ok_or_else(unknown)?;
    let sender = device::arrive(writing.db(), who, &mark.incarnation(), DEVICE, now)?;
    let mut reading =
        Reading { writing: &writing, schema: &schema, since: mark.rev, groups: Vec::new(), counts: [0; 3] };
    reading.read(&sent.changes)?;
    let (groups, [created, updated, deleted]) = (reading.groups, reading.counts);
    let push = Push {
        protocol: VERSION,
        device: DEVICE.to_owned(),
        incarnation: Incarnation::default(),
        batch: 0,
        epoch: String::new(),
        seen: Revision(mark.rev),
        groups,
    };
    let batch = Batch::new(&schema, &scope.settings, who, sender.id, &push);
    let none = links::Offenders::new();
    let (outcomes, touched) = protocol_push::run(&batch, &writing, &none)?;
    for (at, outcome) in outcomes.iter().enumerate() {
        judge(&batch, at, outcome)?;
    }
    if scope.settings.check_foreign_keys
        && let Some(at) = links::offenders(writing.db(), &batch, &touched, &none)?.keys().min()
    {
        let what = format!("{} meets what others did to rows linked with it", name(&batch, *at));
        return Err(HubError::Behind(what));
    }
    device::pushed(writing.db(), sender.id, now)?;
    device::note_seen(writing.db(), &mut scope.seen)?;
    scope.head = Revision(writing.commit()?);
    scope.schema = schema;
    let stats = json!({"created": created, "updated": updated, "deleted": deleted});
    Ok(serde_json::to_vec(&json!({"success": true, "stats": stats})).expect("BUG: an answer is always JSON"))
}

/// An outcome that is none of success refuses the push.
fn judge(batch: &Batch, at: usize, outcome: &WireOutcome) -> Result<()> {
    match outcome {
        WireOutcome::Applied(_) => Ok(()),
        WireOutcome::Conflict(conflict) if conflict.conflict == ConflictWord::MovedOn => {
            Err(HubError::Behind(format!("{} was changed by others since", name(batch, at))))
        }
        WireOutcome::Conflict(conflict) => {
            let others =
                conflict.others.iter().map(|other| format!("{} {}", other.table, Key::from(other.key.clone())));
            let others = others.collect::<Vec<_>>().join(", ");
            Err(HubError::Unfit(format!(
                "{} wants a value that must be unique and is that of {others}",
                name(batch, at)
            )))
        }
        WireOutcome::Refused(refusal) => {
            Err(HubError::Unfit(format!("{}: {} ({})", name(batch, at), refusal.text, refusal.refused.word())))
        }
    }
}

fn name(batch: &Batch, at: usize) -> String {
    let (group, change) = batch.changes[at];
    let table = batch.plans[group].table.as_ref();
    let table_name = table.map_or("", |table| &table.shape.table.name);
    format!("{table_name} {}", Key::from(change.values[..1].to_vec()))
}

/// A push on its way from JSON to changes.
struct Reading<'a> {
    writing: &'a Writing<'a>,
    schema: &'a Schema,
    /// The revision the client knew.
    since: i64,
    groups: Vec<ChangeGroup>,
    counts: [usize; 3],
}

impl Reading<'_> {
    fn read(&mut self, changes: &Map<String, Json>) -> Result<()> {
        for (table, lists) in changes {
            let at = format!("changes.{table}");
            let lists = lists.as_object().ok_or_else(|| misshapen(&at, "an object of created, updated, deleted"))?;
            let list = |field: &str| match lists.get(field) {
                None | Some(Json::Null) => Ok([].as_slice()),
                Some(Json::Array(list)) => Ok(list.as_slice()),
                Some(_) => Err(misshapen(&format!("{at}.{field}"), "a list")),
            };
            let (created, updated, deleted) = (list("created")?, list("updated")?, list("deleted")?);
            if created.is_empty() && updated.is_empty() && deleted.is_empty() {
                continue;
            }
            let shape = self.schema.named(table).filter(|shape| is_served(shape) && shape.table.name == *table);
            let shape =
                shape.ok_or_else(|| HubError::Unfit(format!("{at}: the hub has no such table with a key id")))?;
            for (field, records) in [("created", created), ("updated", updated)] {
                for (place, record) in records.iter().enumerate() {
                    self.put(shape, record, &format!("{at}.{field}[{place}]"))?;
                }
            }
            for (place, id) in deleted.iter().enumerate() {
                self.delete(shape, id, &format!("{at}.deleted[{place}]"))?;
            }
            for (count, list) in self.counts.iter_mut().zip([created, updated, deleted]) {
                *count += list.len();
            }
        }
        Ok(())
    }

    fn put(&mut self, shape: &Shape, record: &Json, at: &str) -> Result<()> {
        let record = record.as_object().ok_or_else(|| misshapen(at, "a record"))?;
        let key = key(record.get("id"), &format!("{at}.id"))?;
        let (base, stamp, row) = self.meet(shape, &key)?;
        let given = |at: &usize| record.contains_key(&shape.names[*at]);
        let cells: Vec<usize> = columns(shape).into_iter().filter(given).collect();
        let mut values = key.0.to_vec();
        for cell in &cells {
            let name = &shape.names[*cell];
            let value = stored(&record[name], row.as_ref().map(|row| &row[*cell]));
            values
                .push(value.ok_or_else(|| misshapen(&format!("{at}.{name}"), "text, a number, true, false or null"))?);
        }
        let names = cells.iter().map(|cell| shape.names[*cell].clone()).collect();
        self.add(shape, false, names, WireChange { base, stamp, values });
        Ok(())
    }

    fn delete(&mut self, shape: &Shape, id: &Json, at: &str) -> Result<()> {
        let key = key(Some(id), at)?;
        let (base, stamp, _) = self.meet(shape, &key)?;
        self.add(shape, true, Vec::new(), WireChange { base, stamp, values: key.0.to_vec() });
        Ok(())
    }

    /// What the change is based on, its stamp, and the row as it is.
    fn meet(&self, shape: &Shape, key: &Key) -> Result<(Revision, Stamp, Option<Row>)> {
        let db = self.writing.db();
        let known = known(db, shape.id, &key.encode())?;
        // A deletion that the client was told of is no reason to keep a new row out.
        let base = match &known {
            Some(known) if !known.gone() || known.rev > self.since => self.since,
            _ => 0,
        };
        let now = Stamp::from_millis(self.writing.now);
        let stamp = known.as_ref().map_or(now, |known| now.after(known.stamp));
        Ok((Revision(base), stamp, shape.read(db, key)?))
    }

    fn add(&mut self, shape: &Shape, delete: bool, columns: Vec<String>, change: WireChange) {
        let table = &shape.table.name;
        let fits =
            |group: &&mut ChangeGroup| group.table == *table && group.delete == delete && group.columns == columns;
        if let Some(group) = self.groups.last_mut().filter(fits) {
            return group.rows.push(change);
        }
        let key = shape.key_names().to_vec();
        self.groups.push(ChangeGroup { table: table.clone(), key, columns, delete, rows: vec![change] });
    }
}

fn key(id: Option<&Json>, at: &str) -> Result<Key> {
    match id {
        Some(Json::String(id)) if is_safe_id(id) => Ok(Key::from(vec![Value::Text(id.clone())])),
        _ => Err(misshapen(at, "an id: text without quotes, slashes or $")),
    }
}

/// Never quotes what came: it could be somebody's row.
fn misshapen(at: &str, expected: &str) -> HubError {
    HubError::Malformed(format!("{at} is not {expected}"))
}
