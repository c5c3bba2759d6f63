//! The kind `watermelon`: WatermelonDB's sync protocol, as its backends speak it.
//!
//! A pull brings `changes`, a list of created, updated and deleted for each table, and a
//! timestamp; some backends bring it in pages. A push sends the same shape with the time
//! of the last pull, and is taken or refused whole. What was created and what was updated
//! is one to this side: a backend need not be able to tell.

use serde_json::Value as Json;

use super::flaw::Flaw;
use super::names::{Said, Usual};
use super::ordered::Ordered;
use super::place::{Asking, Place};
use super::shape::{Headers, Shape, millis_in};
use super::{Heard, Kind, Question, Speech, Told};
use crate::model::{Operation, Outcome, RefusalCode, RemoteRow, Stamp};
use crate::remote::{Abilities, Batch};

pub struct Watermelon;

impl Kind for Watermelon {
    fn abilities(&self) -> Abilities {
        Abilities {
            finds_conflicts: false,
            outcome_each: false,
            remembers_batches: false,
            live: false,
            numbers_versions: false,
            takes_columns: false,
            pulls: true,
            takes_actions: false,
        }
    }

    fn usual(&self) -> Usual {
        &[
            ("lastPulledAt", "lastPulledAt"),
            ("schemaVersion", "schemaVersion"),
            ("migration", "migration"),
            ("cursor", "cursor"),
            ("changes", "changes"),
            ("timestamp", "timestamp"),
            ("hasMore", "hasMore"),
            ("nextCursor", "nextCursor"),
            ("created", "created"),
            ("updated", "updated"),
            ("deleted", "deleted"),
            ("rejected", "experimentalRejectedIds"),
        ]
    }

    fn ask(&self, speech: &Speech, asking: &Asking) -> Question {
        let names = &speech.names;
        let mut said = Said::new();
        said.say(names, "lastPulledAt", asking.since.clone().unwrap_or_default());
        said.say(names, "schemaVersion", speech.backend.schema_version);
        said.say(names, "migration", Json::Null);
        if let Some(page) = &asking.page {
            said.say(names, "cursor", page.clone());
        }
        speech.pull_question("sync-pull", "POST", said)
    }

    fn read(&self, speech: &Speech, answer: &Json, headers: &mut Headers) -> Result<Heard, Flaw> {
        let names = &speech.names;
        let told = names.find(answer, "timestamp").filter(|told| !told.is_null()).cloned();
        if let Some(odd) = told.as_ref().filter(|told| millis_in(told).is_none()) {
            return Err(Flaw::new(names.of("timestamp"), "a time", Some(odd), "remote.names"));
        }
        let page = match names.find(answer, "hasMore") {
            Some(Json::Bool(true)) => Some(next_page(speech, answer)?),
            _ => None,
        };
        if told.is_none() && page.is_none() {
            return Err(Flaw::new(names.of("timestamp"), "a time", told.as_ref(), "remote.names"));
        }
        let changes = names.find(answer, "changes");
        let Some(Json::Object(_)) = changes else {
            return Err(Flaw::new(names.of("changes"), "an object of tables", changes, "remote.names"));
        };
        let changes = changes.expect("BUG: asked just before");
        let stamp = Stamp::from_millis(told.as_ref().and_then(millis_in).unwrap_or(speech.now));
        let mut rows = Vec::new();
        for shape in &speech.shapes {
            let at = || format!("{}.{}", names.of("changes"), shape.collection);
            if let Some(table) = found(changes, &shape.collection) {
                read_table(speech, shape, table, stamp, headers, &mut rows).map_err(|flaw| flaw.within(&at()))?;
            }
        }
        let known = |name: &String| speech.shapes.iter().any(|shape| shape.collection.split('.').next() == Some(name));
        let strays = changes.as_object().into_iter().flatten().map(|(name, _)| name);
        Ok(Heard { rows, told, page, strays: strays.filter(|name| !known(name)).cloned().collect() })
    }

    fn tell(&self, speech: &Speech, batch: &Batch, place: Option<&Place>) -> Question {
        let names = &speech.names;
        let mut changes = Ordered::object();
        for change in &batch.changes {
            let Some(shape) = speech.shape(&change.table) else { continue };
            let table = changes.at(&shape.collection);
            if *table == Ordered::Leaf(Json::Null) {
                // Always all three, in the order in which they are to be taken.
                ["created", "updated", "deleted"]
                    .into_iter()
                    .for_each(|list| table.put(names.of(list), Ordered::List(Vec::new())));
            }
            let list = match change.operation {
                Operation::Delete => "deleted",
                _ if shape.marks_deleted(change) => "deleted",
                Operation::Insert => "created",
                Operation::Update => "updated",
            };
            match list {
                "deleted" => table.push(names.of(list), shape.id(&change.key)),
                _ => table.push(names.of(list), Json::Object(speech.stamped(shape.record(change)))),
            }
        }
        let mut said = Said::new();
        said.say(names, "changes", changes);
        let since = place.and_then(|place| place.since.clone());
        said.say(names, "lastPulledAt", since.unwrap_or_default());
        speech.push_question("sync-push", said)
    }

    fn outcomes(&self, speech: &Speech, told: &Told, answer: &Json) -> Result<Vec<Outcome>, Flaw> {
        let rejected = speech.names.find(answer, "rejected");
        let is_rejected = |(table, key): &(String, crate::model::Key)| {
            let Some(shape) = speech.shape(table) else { return false };
            let ids = rejected.and_then(|rejected| found(rejected, &shape.collection)).and_then(Json::as_array);
            ids.is_some_and(|ids| ids.contains(&shape.id(key)))
        };
        let outcome = |(at, change)| match is_rejected(change) {
            true => {
                Outcome::Refused { code: RefusalCode::Constraint, text: "the backend rejected this row".to_owned() }
            }
            false => Outcome::Applied(told.applied(at)),
        };
        Ok(told.changes.iter().enumerate().map(outcome).collect())
    }
}

fn next_page(speech: &Speech, answer: &Json) -> Result<Json, Flaw> {
    match speech.names.find(answer, "nextCursor") {
        Some(next) if !next.is_null() => Ok(next.clone()),
        other => Err(Flaw::new(speech.names.of("nextCursor"), "a cursor, as there is more", other, "remote.names")),
    }
}

/// A collection, which may lie within objects.
fn found<'a>(json: &'a Json, path: &str) -> Option<&'a Json> {
    json.get(path).or_else(|| path.split('.').try_fold(json, |json, part| json.get(part)))
}

fn read_table(
    speech: &Speech,
    shape: &Shape,
    table: &Json,
    stamp: Stamp,
    headers: &mut Headers,
    rows: &mut Vec<RemoteRow>,
) -> Result<(), Flaw> {
    if !table.is_object() {
        return Err(Flaw::new("", "an object of created, updated and deleted", Some(table), "remote.names"));
    }
    let list = |field: &'static str| match speech.names.find(table, field) {
        None | Some(Json::Null) => Ok([].as_slice()),
        Some(Json::Array(list)) => Ok(list.as_slice()),
        other => Err(Flaw::new(speech.names.of(field), "a list", other, "remote.names")),
    };
    let first = rows.len();
    for field in ["created", "updated"] {
        for (at, record) in list(field)?.iter().enumerate() {
            let within = |flaw: Flaw| flaw.within(&format!("{}[{at}]", speech.names.of(field)));
            rows.push(shape.row(record, stamp, headers).map_err(within)?);
        }
    }
    let standing: std::collections::HashSet<_> =
        rows[first..].iter().filter(|row| row.row.is_some()).map(|row| row.key.clone()).collect();
    for (at, id) in list("deleted")?.iter().enumerate() {
        let within = |flaw: Flaw| flaw.within(&format!("{}[{at}]", speech.names.of("deleted")));
        let key = shape.key(id).map_err(within)?;
        // Deleted, and made again since: the row is what counts.
        if !standing.contains(&key) {
            rows.push(shape.tombstone(key, stamp));
        }
    }
    Ok(())
}
