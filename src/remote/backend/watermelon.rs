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
use super::shape::{Record, millis_in};
use super::sieve::{self, Step};
use super::{Frame, Kind, Listed, Question, Speech, Told};
use crate::model::{Operation, Outcome, RefusalCode};
use crate::remote::{Abilities, Batch, Marks};

pub struct Watermelon;

impl Kind for Watermelon {
    fn abilities(&self) -> Abilities {
        Abilities {
            finds_conflicts: false,
            last_wins: false,
            outcome_each: false,
            live: false,
            marks: Marks::Time,
            pages: true,
            numbers_versions: false,
            takes_columns: false,
            takes_actions: false,
            takes_everything: false,
        }
    }

    fn usual(&self) -> Usual {
        &[
            ("lastPulledAt", "lastPulledAt"),
            ("schemaVersion", "schemaVersion"),
            ("migration", "migration"),
            ("cursor", "cursor"),
            ("limit", ""),
            ("changes", "changes"),
            ("pushed", ""),
            ("timestamp", "timestamp"),
            ("strategy", "experimentalStrategy"),
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
        said.say(names, "limit", speech.backend.page_rows);
        speech.pull_question("sync-pull", "POST", said)
    }

    fn list(&self, speech: &Speech, path: &[Step], _: Option<&Record>) -> Listed {
        let names = &speech.names;
        let Some(below) = sieve::below(path, names.of("changes")) else { return Listed::Frame };
        let Some((Step::Name(list), way)) = below.split_last() else { return Listed::Ignored };
        let Some(name) = sieve::joined(way).filter(|name| !name.is_empty()) else { return Listed::Ignored };
        match speech.place(&name) {
            None => Listed::Stray(name),
            Some(place) if ["created", "updated"].iter().any(|field| list == names.of(field)) => Listed::Records(place),
            Some(place) if list == names.of("deleted") => Listed::Ids(place),
            Some(_) => Listed::Ignored,
        }
    }

    fn frame(&self, speech: &Speech, answer: &Json) -> Result<Frame, Flaw> {
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
        for shape in &speech.shapes {
            let at = || format!("{}.{}", names.of("changes"), shape.collection);
            if let Some(table) = found(changes, &shape.collection) {
                check_table(speech, table).map_err(|flaw| flaw.within(&at()))?;
            }
        }
        let replaces = names.find(answer, "strategy").and_then(Json::as_str) == Some("replacement");
        Ok(Frame { told, page, replaces, rest: Vec::new() })
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
        // Under the name that pulls have for them, or one of its own: some take them bare.
        said.say(names, if names.of("pushed").is_empty() { "changes" } else { "pushed" }, changes);
        let since = place.and_then(|place| place.since.clone());
        said.say(names, "lastPulledAt", since.unwrap_or_default());
        speech.push_question("sync-push", said)
    }

    fn outcomes(&self, speech: &Speech, told: &Told, answer: &Json) -> Result<Vec<Outcome>, Flaw> {
        let rejected = speech.names.find(answer, "rejected");
        let is_rejected = |(table, key): &(std::sync::Arc<str>, crate::model::Key)| {
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

/// What is left of a table when its records have been taken: three empty lists.
fn check_table(speech: &Speech, table: &Json) -> Result<(), Flaw> {
    if !table.is_object() {
        return Err(Flaw::new("", "an object of created, updated and deleted", Some(table), "remote.names"));
    }
    for field in ["created", "updated", "deleted"] {
        match speech.names.find(table, field) {
            None | Some(Json::Null | Json::Array(_)) => {}
            other => return Err(Flaw::new(speech.names.of(field), "a list", other, "remote.names")),
        }
    }
    Ok(())
}
