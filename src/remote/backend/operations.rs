//! The kind `operations`: one endpoint that takes a batch of operations and answers with
//! an outcome for each.
//!
//! An operation carries its own key, so that a replay changes nothing, the version it was
//! made from, its priority, and only what changed. The backend finds conflicts by version
//! and tells its own row. There is nothing to pull: what others wrote comes as conflicts.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::flaw::Flaw;
use super::names::{Said, Usual};
use super::ordered::Ordered;
use super::place::{Asking, Place};
use super::shape::{Headers, Shape};
use super::{Heard, Kind, Question, Speech, Told, operation_key};
use crate::model::{ConflictKind, Operation, Outcome, RefusalCode, RemoteRow, Revision, Stamp, text};
use crate::remote::{Abilities, Batch};

pub struct Operations;

impl Kind for Operations {
    fn abilities(&self) -> Abilities {
        Abilities {
            finds_conflicts: true,
            outcome_each: true,
            remembers_batches: true,
            live: false,
            numbers_versions: false,
            takes_columns: true,
            pulls: false,
            takes_actions: false,
        }
    }

    fn usual(&self) -> Usual {
        &[
            ("device", "device_id"),
            ("checksum", "checksum"),
            ("operations", "operations"),
            ("id", "id"),
            ("key", "idempotency_key"),
            ("table", "entity_type"),
            ("row", "entity_id"),
            ("operation", "operation"),
            ("priority", "priority"),
            ("base", "base_version"),
            ("data", "data"),
            ("results", "results"),
            ("resultOf", "operation_id"),
            ("status", "status"),
            ("version", "version"),
            ("theirs", "server_data"),
            ("error", "error"),
        ]
    }

    fn ask(&self, _: &Speech, _: &Asking) -> Question {
        unreachable!("BUG: this kind has nothing to ask for")
    }

    fn read(&self, _: &Speech, _: &Json, _: &mut Headers) -> Result<Heard, Flaw> {
        unreachable!("BUG: this kind has nothing to ask for")
    }

    fn tell(&self, speech: &Speech, batch: &Batch, _: Option<&Place>) -> Question {
        let names = &speech.names;
        let mut operations = Vec::new();
        for (at, change) in batch.changes.iter().enumerate() {
            let Some(shape) = speech.shape(&change.table) else { continue };
            let key = operation_key(batch, at);
            let word = match change.operation {
                Operation::Insert => "create",
                Operation::Update => "update",
                Operation::Delete => "delete",
            };
            let mut one = Ordered::object();
            one.put(names.of("id"), key.clone());
            one.put(names.of("key"), key);
            one.put(names.of("table"), shape.collection.clone());
            one.put(names.of("row"), shape.id(&change.key));
            one.put(names.of("operation"), word);
            one.put(names.of("priority"), speech.priority(&change.table, change.operation));
            one.put(names.of("base"), change.base_revision.0);
            if change.operation != Operation::Delete {
                one.put(names.of("data"), Json::Object(speech.stamped(shape.record(change))));
            }
            operations.push(one);
        }
        let operations = Ordered::List(operations);
        let bytes = serde_json::to_vec(&operations).expect("BUG: operations are always JSON");
        let mut said = Said::new();
        said.say(names, "device", speech.device.clone());
        said.say(names, "checksum", text::hex(&Sha256::digest(bytes)));
        said.say(names, "operations", operations);
        speech.push_question("sync/batch", said)
    }

    fn outcomes(&self, speech: &Speech, told: &Told, answer: &Json) -> Result<Vec<Outcome>, Flaw> {
        let names = &speech.names;
        let found = names.find(answer, "results");
        let Some(Json::Array(results)) = found else {
            return Err(Flaw::new(names.of("results"), "a list of results", found, "remote.names"));
        };
        let mut outcomes: Vec<Option<Outcome>> = vec![None; told.changes.len()];
        for (at, result) in results.iter().enumerate() {
            // By its name where it has one, else by its place.
            let place = match names.find(result, "resultOf").and_then(Json::as_str) {
                Some(id) => told.ids.iter().position(|known| known == id),
                None => Some(at),
            };
            let Some(slot) = place.and_then(|place| outcomes.get_mut(place)) else { continue };
            let place = place.expect("BUG: a slot has a place");
            let within = |flaw: Flaw| flaw.within(&format!("{}[{at}]", names.of("results")));
            *slot = Some(outcome(speech, told, place, result).map_err(within)?);
        }
        let lost = outcomes.iter().position(Option::is_none);
        match lost {
            Some(_) => Err(Flaw::new(names.of("results"), "a result for each operation", found, "remote.names")),
            None => Ok(outcomes.into_iter().flatten().collect()),
        }
    }
}

fn outcome(speech: &Speech, told: &Told, at: usize, result: &Json) -> Result<Outcome, Flaw> {
    let names = &speech.names;
    let version = names.find(result, "version").and_then(Json::as_i64).filter(|version| *version > 0);
    match names.find(result, "status").and_then(Json::as_str) {
        Some("success" | "applied" | "duplicate") => {
            Ok(Outcome::Applied(version.map_or_else(|| told.applied(at), Revision)))
        }
        Some("conflict") => {
            let (table, key) = &told.changes[at];
            let Some(shape) = speech.shape(table) else {
                return Err(Flaw::new("", "a table that is still here", None, "include"));
            };
            let stamp = Stamp::from_millis(speech.now);
            let theirs = names.find(result, "theirs").filter(|theirs| !theirs.is_null());
            let mut row = match theirs {
                Some(theirs) => record(shape, theirs, stamp).map_err(|flaw| flaw.within(names.of("theirs")))?,
                None => shape.tombstone(key.clone(), stamp),
            };
            row.key = key.clone();
            row.revision = version.map_or(row.revision, Revision);
            Ok(conflict(row))
        }
        Some("error" | "rejected") => {
            let error = names.find(result, "error");
            let code = error.and_then(|error| error.get("code")).and_then(Json::as_str);
            if code == Some("not_found")
                && let Some(shape) = speech.shape(&told.changes[at].0)
            {
                // Gone there, and nobody knows since when: what was edited here is later.
                return Ok(conflict(shape.tombstone(told.changes[at].1.clone(), Stamp::default())));
            }
            let said =
                error.and_then(|error| error.get("message").unwrap_or(error).as_str()).unwrap_or("no reason given");
            let said: String = said.chars().take(200).collect();
            let text = format!("the backend refused it: {}", text::printable(&said));
            Ok(Outcome::Refused { code: RefusalCode::Constraint, text })
        }
        _ => {
            let expected = "success, conflict or error";
            Err(Flaw::new(names.of("status"), expected, names.find(result, "status"), "remote.names"))
        }
    }
}

fn conflict(row: RemoteRow) -> Outcome {
    Outcome::Conflict { kind: ConflictKind::UpdateUpdate, remote: Some(row), columns: Vec::new(), others: Vec::new() }
}

fn record(shape: &Shape, theirs: &Json, stamp: Stamp) -> Result<RemoteRow, Flaw> {
    shape.row(theirs, stamp, &mut Headers::default())
}
