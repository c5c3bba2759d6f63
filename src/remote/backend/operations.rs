//! The kind `operations`: one endpoint that takes a batch of operations and answers with
//! an outcome for each.
//!
//! An operation carries its own key, so that a replay changes nothing, the version it was
//! made from, its priority, and only what changed. The backend finds conflicts by version
//! and tells its own row. There is nothing to pull: what others wrote comes as conflicts.

use std::collections::HashMap;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::flaw::Flaw;
use super::names::{Said, Usual};
use super::ordered::Ordered;
use super::place::{Asking, Place};
use super::shape::{Headers, Record, Shape};
use super::sieve::Step;
use super::{Frame, Kind, Listed, Question, Speech, Told, operation_key};
use crate::model::{ConflictKind, Operation, Outcome, RefusalCode, RemoteRow, Revision, Stamp, text};
use crate::remote::{Abilities, Batch, Marks};

pub struct Operations;

impl Kind for Operations {
    fn abilities(&self) -> Abilities {
        Abilities {
            finds_conflicts: true,
            last_wins: false,
            outcome_each: true,
            live: false,
            marks: Marks::Nothing,
            pages: false,
            numbers_versions: false,
            takes_columns: true,
            takes_actions: false,
            takes_everything: false,
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

    fn list(&self, _: &Speech, _: &[Step], _: Option<&Record>) -> Listed {
        unreachable!("BUG: this kind has nothing to ask for")
    }

    fn frame(&self, _: &Speech, _: &Json) -> Result<Frame, Flaw> {
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
        let named: HashMap<&str, usize> = told.ids.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
        let mut outcomes: Vec<Option<Outcome>> = vec![None; told.changes.len()];
        for (at, result) in results.iter().enumerate() {
            // By its name where it has one, else by its place.
            let place = match names.find(result, "resultOf").and_then(Json::as_str) {
                Some(id) => named.get(id).copied(),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Key;

    fn outcomes(results: Json) -> Vec<Option<Revision>> {
        let speech = Speech {
            names: super::super::names::Names::new(Operations.usual(), &Default::default()).unwrap(),
            backend: Default::default(),
            device: "desk".into(),
            priorities: Default::default(),
            shapes: Vec::new(),
            claims: None,
            now: 0,
        };
        let changes = vec![("notes".into(), Key::from(Vec::new())); 2];
        let ids = ["first".to_owned(), "second".to_owned()];
        let told = Told { changes: &changes, bases: &[4, 4], ids: &ids };
        let found = Operations.outcomes(&speech, &told, &json!({"results": results}));
        let version = |outcome| if let Outcome::Applied(revision) = outcome { Some(revision) } else { None };
        found.map_or(Vec::new(), |found| found.into_iter().map(version).collect())
    }

    #[test]
    fn results_are_matched_by_id_and_else_by_position() {
        let ok = |version: i64| json!({"status": "success", "version": version});
        let named = |id: &str, version: i64| json!({"operation_id": id, "status": "success", "version": version});
        let both = [Some(Revision(5)), Some(Revision(6))];
        assert_eq!(outcomes(json!([ok(5), ok(6)])), both);
        assert_eq!(outcomes(json!([named("second", 6), named("first", 5)])), both);
        assert_eq!(outcomes(json!([named("stranger", 9), named("second", 6), named("first", 5)])), both);
        let bad = json!({"status": "error", "error": {"message": "no"}});
        assert_eq!(outcomes(json!([bad, ok(6)])), [None, Some(Revision(6))]);
        assert!(outcomes(json!([ok(5)])).is_empty(), "one result is missing: nothing is known");
    }
}
