//! Kinds whose changes are records, and whose deletions are records with a mark:
//! `pull-push` (tables by name, conflicts in the answer to a push) and `delta` (a list of
//! collections, rejections in the answer).
//!
//! A push tells the time of the last pull, or the time of each record's change, and the
//! backend finds what is newer there. What it found is settled by a pull before anything
//! is sent again.

use std::sync::Arc;

use serde_json::Value as Json;

use super::flaw::Flaw;
use super::names::{Said, Usual};
use super::ordered::Ordered;
use super::place::{Asking, Place};
use super::shape::{Headers, Record, Shape, millis_in};
use super::sieve::{self, Step};
use super::{Frame, Kind, Listed, Question, Rest, Speech, Told};
use crate::model::{ConflictKind, Key, Operation, Outcome, RefusalCode, Stamp};
use crate::remote::{Abilities, Batch, Marks};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    PullPush,
    Delta,
}

impl Kind for Records {
    fn abilities(&self) -> Abilities {
        Abilities {
            finds_conflicts: false,
            last_wins: *self == Records::Delta,
            outcome_each: true,
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
        match self {
            Records::PullPush => &[
                ("device", "device_id"),
                ("since", "last_sync_timestamp"),
                ("tables", "tables"),
                ("cursor", "cursor"),
                ("limit", ""),
                ("hasMore", "hasMore"),
                ("nextCursor", "nextCursor"),
                ("pushedAt", "timestamp"),
                ("changes", "changes"),
                ("timestamp", "timestamp"),
                ("conflicts", "conflicts"),
                ("table", "table"),
                ("id", "record_id"),
                ("theirs", "server_data"),
            ],
            Records::Delta => &[
                ("since", "since"),
                ("cursor", "cursor"),
                ("limit", ""),
                ("hasMore", "hasMore"),
                ("nextCursor", "nextCursor"),
                ("push", "."),
                ("collection", "collection"),
                ("records", "records"),
                ("deltas", "deltas"),
                ("timestamp", "synced_at"),
                ("rejected", "rejected"),
                ("id", "id"),
                ("reason", "reason"),
            ],
        }
    }

    fn ask(&self, speech: &Speech, asking: &Asking) -> Question {
        let names = &speech.names;
        let since = asking.since.clone().unwrap_or_default();
        let mut said = Said::new();
        if let Some(page) = &asking.page {
            said.say(names, "cursor", page.clone());
        }
        said.say(names, "limit", speech.backend.page_rows);
        match self {
            Records::PullPush => {
                said.say(names, "device", speech.device.clone());
                said.say(names, "since", since);
                let tables: Vec<Json> =
                    speech.shapes.iter().map(|shape| Json::from(shape.collection.clone())).collect();
                said.say(names, "tables", tables);
                speech.pull_question("sync/pull", "POST", said)
            }
            Records::Delta => {
                said.say(names, "since", since);
                speech.pull_question("sync/delta", "GET", said)
            }
        }
    }

    fn list(&self, speech: &Speech, path: &[Step], within: Option<&Record>) -> Listed {
        let names = &speech.names;
        let known = |name: String| speech.place(&name).map_or(Listed::Stray(name), Listed::Records);
        match self {
            Records::PullPush => {
                let Some(below) = sieve::below(path, names.of("changes")) else { return Listed::Frame };
                sieve::joined(below).filter(|name| !name.is_empty()).map_or(Listed::Ignored, known)
            }
            Records::Delta => {
                let Some([Step::At(_), below @ ..]) = sieve::below(path, names.of("deltas")) else {
                    return Listed::Frame;
                };
                if sieve::joined(below).as_deref() != Some(names.of("records")) {
                    return Listed::Ignored;
                }
                match within.and_then(|group| group.get(names.of("collection"))).and_then(Json::as_str) {
                    Some(name) => known(name.to_owned()),
                    // Its name comes behind its records: these are looked at when it has come.
                    None => Listed::Frame,
                }
            }
        }
    }

    fn frame(&self, speech: &Speech, answer: &Json) -> Result<Frame, Flaw> {
        let names = &speech.names;
        let told = names.find(answer, "timestamp");
        if told.and_then(millis_in).is_none() {
            return Err(Flaw::new(names.of("timestamp"), "a time", told, "remote.names"));
        }
        let rest = self.rest(speech, answer)?;
        let page = match names.find(answer, "hasMore") {
            Some(Json::Bool(true)) => match names.find(answer, "nextCursor") {
                Some(next) if !next.is_null() => Some(next.clone()),
                other => {
                    let expected = "a cursor, as there is more";
                    return Err(Flaw::new(names.of("nextCursor"), expected, other, "remote.names"));
                }
            },
            _ => None,
        };
        Ok(Frame { told: told.cloned(), page, replaces: false, rest })
    }

    fn tell(&self, speech: &Speech, batch: &Batch, place: Option<&Place>) -> Question {
        let names = &speech.names;
        let since = place.and_then(|place| place.since.clone()).unwrap_or_default();
        let mut said = Said::new();
        let mut groups: Vec<(&Shape, Vec<Ordered>)> = Vec::new();
        for change in &batch.changes {
            let Some(shape) = speech.shape(&change.table) else { continue };
            let mut record: Record = shape.record(change);
            // Others ask for what changed since they last asked: a time before that, though
            // the edit was made then, would hide it from them.
            let stamp = change.stamp.max(Stamp::from_millis(speech.now));
            shape.put_modified(&mut record, stamp);
            match change.operation {
                Operation::Delete => shape.put_deleted(&mut record, stamp),
                // Its key may have been deleted before: what is merged there would stay so.
                Operation::Insert => shape.put_standing(&mut record),
                Operation::Update => {}
            }
            let record = Ordered::Leaf(Json::Object(speech.stamped(record)));
            match groups.iter_mut().find(|(known, _)| known.collection == shape.collection) {
                Some((_, records)) => records.push(record),
                None => groups.push((shape, vec![record])),
            }
        }
        match self {
            Records::PullPush => {
                let mut changes = Ordered::object();
                for (shape, records) in groups {
                    changes.put(&shape.collection, Ordered::List(records));
                }
                said.say(names, "device", speech.device.clone());
                said.say(names, "pushedAt", since);
                said.say(names, "changes", changes);
                speech.push_question("sync/push", said)
            }
            Records::Delta => {
                let group = |(shape, records): (&Shape, Vec<Ordered>)| {
                    let mut group = Ordered::object();
                    group.put(names.of("collection"), shape.collection.clone());
                    group.put(names.of("records"), Ordered::List(records));
                    group
                };
                said.say(names, "push", Ordered::List(groups.into_iter().map(group).collect()));
                speech.push_question("sync/delta", said)
            }
        }
    }

    fn outcomes(&self, speech: &Speech, told: &Told, answer: &Json) -> Result<Vec<Outcome>, Flaw> {
        let mut outcomes: Vec<Outcome> = (0..told.changes.len()).map(|at| Outcome::Applied(told.applied(at))).collect();
        let (list, table) = match self {
            Records::PullPush => ("conflicts", "table"),
            Records::Delta => ("rejected", "collection"),
        };
        let found = match speech.names.find(answer, list) {
            None | Some(Json::Null) => return Ok(outcomes),
            Some(Json::Array(found)) => found,
            other => return Err(Flaw::new(speech.names.of(list), "a list", other, "remote.names")),
        };
        for (at, entry) in found.iter().enumerate() {
            let within = |flaw: Flaw| flaw.within(&format!("{}[{at}]", speech.names.of(list)));
            let name = speech.names.find(entry, table);
            let shape =
                speech.shapes.iter().find(|shape| Some(shape.collection.as_str()) == name.and_then(Json::as_str));
            let Some(shape) = shape else {
                let flaw = Flaw::new(speech.names.of(table), "a table that was sent", name, "remote.names");
                return Err(within(flaw));
            };
            let key = shape.key(speech.names.find(entry, "id").unwrap_or(&Json::Null)).map_err(within)?;
            let sent = |(sent, sent_key): &(Arc<str>, Key)| sent.eq_ignore_ascii_case(&shape.table) && *sent_key == key;
            let Some(place) = told.changes.iter().position(sent) else { continue };
            outcomes[place] = self.trouble(speech, shape, entry, told, place).map_err(within)?;
        }
        Ok(outcomes)
    }

    fn refuses(&self, speech: &Speech, answer: &Json) -> bool {
        // With conflicts, what went wrong is told row by row.
        let explained = *self == Records::PullPush
            && speech.names.find(answer, "conflicts").and_then(Json::as_array).is_some_and(|list| !list.is_empty());
        !explained && answer.get("success") == Some(&Json::Bool(false))
    }
}

impl Records {
    /// What is left when the records have been taken, checked.
    fn rest(&self, speech: &Speech, answer: &Json) -> Result<Vec<Rest>, Flaw> {
        let names = &speech.names;
        match self {
            Records::PullPush => {
                let changes = names.find(answer, "changes");
                let Some(Json::Object(tables)) = changes else {
                    return Err(Flaw::new(names.of("changes"), "an object of tables", changes, "remote.names"));
                };
                let known = |name: &str| speech.shapes.iter().any(|shape| shape.collection == name);
                match tables.iter().find(|(name, records)| known(name) && !records.is_array()) {
                    Some((name, odd)) => {
                        let place = format!("{}.{name}", names.of("changes"));
                        Err(Flaw::new(place, "a list of records", Some(odd), "remote.names"))
                    }
                    None => Ok(Vec::new()),
                }
            }
            Records::Delta => {
                let deltas = names.find(answer, "deltas");
                let Some(Json::Array(list)) = deltas else {
                    return Err(Flaw::new(names.of("deltas"), "a list of collections", deltas, "remote.names"));
                };
                let mut rest = Vec::new();
                for (at, group) in list.iter().enumerate() {
                    let place = format!("{}[{at}]", names.of("deltas"));
                    let (name, records) = (names.find(group, "collection"), names.find(group, "records"));
                    let (Some(Json::String(name)), Some(Json::Array(records))) = (name, records) else {
                        return Err(Flaw::new(place, "a collection and its records", Some(group), "remote.names"));
                    };
                    if let Some(shape) = speech.place(name).filter(|_| !records.is_empty()) {
                        rest.push((shape, format!("{place}.{}", names.of("records")), records.clone()));
                    }
                }
                Ok(rest)
            }
        }
    }

    /// What the backend says of one change that it did not take.
    fn trouble(&self, speech: &Speech, shape: &Shape, entry: &Json, told: &Told, at: usize) -> Result<Outcome, Flaw> {
        let names = &speech.names;
        match self {
            Records::PullPush => {
                let theirs = names.find(entry, "theirs").filter(|theirs| !theirs.is_null());
                let stamp = Stamp::from_millis(speech.now);
                let mut remote = match theirs {
                    Some(theirs) => shape.row(theirs, stamp, &mut Headers::default()),
                    None => Ok(shape.tombstone(told.changes[at].1.clone(), stamp)),
                }
                .map_err(|flaw| flaw.within(names.of("theirs")))?;
                remote.key = told.changes[at].1.clone();
                Ok(Outcome::Conflict {
                    kind: ConflictKind::UpdateUpdate,
                    remote: Some(remote),
                    columns: Vec::new(),
                    others: Vec::new(),
                })
            }
            Records::Delta => {
                let reason = names.find(entry, "reason").and_then(Json::as_str).unwrap_or("rejected");
                let code = match reason {
                    "future" => RefusalCode::StampFuture,
                    "stale" => RefusalCode::StampOld,
                    _ => RefusalCode::Constraint,
                };
                Ok(Outcome::Refused {
                    code,
                    text: format!("the backend rejected this record ({code})", code = code.word()),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::settings::{Backend, Wire};
    use crate::model::{Change, Column, Incarnation, Revision, Seq, Table, Value};

    fn speech(kind: Records) -> Speech {
        let column = |name: &str| Column { name: name.into(), declared: "TEXT".into(), ..Column::default() };
        let table = Table {
            name: "notes".into(),
            columns: vec![column("id"), column("body")],
            key: vec!["id".into()],
            ..Table::default()
        };
        let wire = Wire {
            collection: Some("feed.notes".into()),
            modified_field: Some("_updatedAt".into()),
            deleted_field: Some("_deletedAt".into()),
            ..Wire::default()
        };
        Speech {
            names: super::super::names::Names::new(kind.usual(), &Default::default()).unwrap(),
            backend: Backend::default(),
            device: "desk".into(),
            priorities: Default::default(),
            shapes: vec![Shape::new(&table, &wire)],
            claims: None,
            now: 5_000,
        }
    }

    fn change(id: &str, operation: Operation) -> Change {
        let columns = if operation == Operation::Delete { vec![] } else { vec!["id".to_owned(), "body".to_owned()] };
        Change {
            table: "notes".into(),
            key: Key::from(vec![Value::Text(id.into())]),
            operation,
            values: columns.iter().map(|_| Value::Text(id.into())).collect(),
            columns: columns.into(),
            base_revision: Revision(1),
            stamp: Stamp(1_000_000),
            seq: Seq(1),
        }
    }

    fn batch() -> Batch {
        Batch {
            device: "desk".into(),
            incarnation: Incarnation("i".into()),
            number: 1,
            epoch: String::new(),
            seen: Revision(1),
            cursor: None,
            changes: vec![change("a", Operation::Update), change("b", Operation::Delete)],
        }
    }

    #[test]
    fn changes_go_as_records_and_deletions_as_records_with_a_mark() {
        let time = "1970-01-01T00:00:05.000Z";
        let records = json!([
            {"id": "a", "body": "a", "_updatedAt": time},
            {"id": "b", "_updatedAt": time, "_deletedAt": time},
        ]);
        let delta = Records::Delta.tell(&speech(Records::Delta), &batch(), None);
        let body: Json = serde_json::from_str(&delta.body).unwrap();
        assert_eq!(body, json!([{"collection": "feed.notes", "records": records}]));
        let push = Records::PullPush.tell(&speech(Records::PullPush), &batch(), None);
        let body: Json = serde_json::from_str(&push.body).unwrap();
        assert_eq!(body, json!({"device_id": "desk", "timestamp": null, "changes": {"feed": {"notes": records}}}));
    }

    #[test]
    fn what_was_not_taken_is_matched_by_table_and_key() {
        let changes = [("notes".into(), change("a", Operation::Update).key)];
        let told = Told { changes: &changes, bases: &[1], ids: &[] };
        let theirs = json!({"id": "a", "body": "theirs"});
        let entry = json!({"table": "feed.notes", "record_id": "a", "server_data": theirs});
        let answer = json!({"success": false, "conflicts": [entry]});
        let outcomes = Records::PullPush.outcomes(&speech(Records::PullPush), &told, &answer).unwrap();
        assert!(
            matches!(&outcomes[0], Outcome::Conflict { remote: Some(row), .. } if row.row.is_some()),
            "{outcomes:?}"
        );
        assert!(!Records::PullPush.refuses(&speech(Records::PullPush), &answer));
        assert!(Records::PullPush.refuses(&speech(Records::PullPush), &json!({"success": false, "conflicts": null})));

        for (reason, code) in [("future", RefusalCode::StampFuture), ("stale", RefusalCode::StampOld)] {
            let answer = json!({"rejected": [{"collection": "feed.notes", "id": "a", "reason": reason}]});
            let outcomes = Records::Delta.outcomes(&speech(Records::Delta), &told, &answer).unwrap();
            assert!(matches!(&outcomes[0], Outcome::Refused { code: told, .. } if *told == code), "{outcomes:?}");
        }
        let odd =
            Records::PullPush.outcomes(&speech(Records::PullPush), &told, &json!({"conflicts": [{"table": "x"}]}));
        assert_eq!(odd.unwrap_err().sentence(), "`conflicts[0].table` should be a table that was sent and is a text");
    }
}
