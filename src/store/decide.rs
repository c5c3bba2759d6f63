//! A person settles a conflict, or takes back what was settled.
//!
//! Both are a change like any other: the row is written as an app would write it, noted
//! in the outbox, and goes to all devices. Never over a row that changed since, unless
//! told to; never a second time; and nothing is changed when anything is refused. What
//! stood before is kept, so that taking back can itself be taken back.

use std::collections::BTreeMap;

use rusqlite::config::DbConfig;
use rusqlite::params;
use serde_json::Value as Json;

use super::error::Obstacle;
use super::row::{self, Found};
use super::{Result, Store, Synced, Writer, ledger};
use crate::model::conflict::{Decision, Side};
use crate::model::status::ConflictEntry;
use crate::model::{ConflictKind, Fault, FaultKind, Key, ReasonCode, Row, Value};
use crate::sqlite::capture::LogOp;

impl Store {
    /// Settles a conflict that waits. Answers the entry as it is then.
    pub fn resolve(&mut self, id: i64, decision: &Decision, now: i64) -> Result<ConflictEntry> {
        self.decide(id, |writer, entry| {
            if let Some(by) = &entry.settled_by {
                let stands = writer.place(&entry, true)?.stands(&entry);
                return Err(refusal(
                    ReasonCode::ConflictSettled,
                    format!("conflict {id} was settled by a {by} already, and now {stands}; nothing was changed"),
                    format!("`homing conflicts undo {id}` takes it back"),
                ));
            }
            let place = writer.place(&entry, decision.force)?;
            let wanted = place.decided(&entry, decision)?;
            let before = entry.result.clone();
            let settled = Settled { by: Some("person".to_owned()), before, before_by: None, now: Some(now) };
            writer.put_decided(id, &place, wanted, settled, now)
        })
    }

    /// Takes a settled conflict back: what lost stands, or what was before a person
    /// decided.
    pub fn undo(&mut self, id: i64, force: bool, now: i64) -> Result<ConflictEntry> {
        self.decide(id, |writer, entry| {
            let place = writer.place(&entry, force)?;
            let (wanted, settled) = match entry.settled_by.as_deref() {
                None => {
                    return Err(refusal(
                        ReasonCode::ConflictManual,
                        format!("conflict {id} waits for a person: there is nothing to take back yet"),
                        format!("`homing conflicts resolve {id} --take local` or `--take remote` settles it"),
                    ));
                }
                Some("person") if entry.settled_at.is_some() => {
                    let (before, by) = writer.before(id)?;
                    (place.row(before.as_ref()), Settled { by, before: None, before_by: None, now: None })
                }
                // A rule did, or a person who gave up an unsent change.
                Some(by) => {
                    let (before, before_by) = (entry.result.clone(), Some(by.to_owned()));
                    let settled = Settled { by: Some("person".to_owned()), before, before_by, now: Some(now) };
                    (place.row(loser(&entry, place.synced).as_ref()), settled)
                }
            };
            writer.put_decided(id, &place, wanted, settled, now)
        })
    }

    /// One transaction about one entry. Where the app's own triggers fire on what comes
    /// in, they fire on this as well.
    fn decide(
        &mut self,
        id: i64,
        decide: impl FnOnce(&mut Writer, ConflictEntry) -> Result<()>,
    ) -> Result<ConflictEntry> {
        let entry = self.conflict(id)?.ok_or_else(|| missing(id))?;
        let fires = self.find(&entry.table).is_some_and(|synced| synced.fires);
        if fires {
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        }
        let done = self.write(|writer| {
            let entry = writer.entry(id)?.ok_or_else(|| missing(id))?;
            decide(writer, entry)?;
            writer.entry(id)?.ok_or_else(|| missing(id))
        });
        if fires {
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        }
        done
    }
}

/// What the ledger will say of an entry.
struct Settled {
    by: Option<String>,
    before: Option<Json>,
    before_by: Option<String>,
    now: Option<i64>,
}

/// The row that a conflict is about, as it is now.
struct Place<'a> {
    synced: &'a Synced,
    key: Key,
    now: Option<Row>,
}

impl<'a> Writer<'a> {
    fn place(&self, entry: &ConflictEntry, force: bool) -> Result<Place<'a>> {
        let tables = self.tables;
        let named = tables.values().find(|synced| synced.name().eq_ignore_ascii_case(&entry.table));
        let Some(synced) = named else {
            return Err(refusal(
                ReasonCode::TableMissing,
                format!("{} does not sync any more; nothing was changed", entry.table),
                "write the row in the app".to_owned(),
            ));
        };
        let key = Key::parse(&entry.key);
        let now = match row::read(self.db, synced, &key)? {
            Found::Nothing => None,
            Found::One(row) => Some(row),
            Found::Several => {
                let text = format!("several rows of {} have the key {key}; nothing was changed", entry.table);
                return Err(refusal(ReasonCode::KeyUnusable, text, "settle it in the app".to_owned()));
            }
        };
        let place = Place { synced, key, now };
        let stood = place.row(entry.result.as_ref());
        if stood != place.now && !force {
            let text = format!("the row was changed since this conflict: {}; nothing was changed", place.news(&stood));
            let hint = "look at the row as it is now; `--anyway` settles over it".to_owned();
            return Err(refusal(ReasonCode::RowChanged, text, hint));
        }
        Ok(place)
    }

    /// What stood before a person decided, and who had settled it.
    fn before(&self, id: i64) -> Result<(Option<Json>, Option<String>)> {
        let sql = "SELECT before, before_by FROM _homing_conflict WHERE id = ?";
        let (text, by): (Option<String>, Option<String>) =
            self.db.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((text.and_then(|text| serde_json::from_str(&text).ok()), by))
    }

    fn put_decided(&mut self, id: i64, place: &Place, wanted: Option<Row>, settled: Settled, now: i64) -> Result<()> {
        let Place { synced, key, .. } = place;
        if wanted != place.now {
            self.check_references(place, wanted.as_ref())?;
            let all: Vec<usize> = (0..synced.columns.len()).collect();
            let (obstacle, op) = match (&place.now, &wanted) {
                (None, None) => (None, LogOp::Update),
                (None, Some(row)) => (row::insert(self.db, synced, &all, row)?, LogOp::Insert),
                (Some(_), None) => (row::delete(self.db, synced, key)?, LogOp::Delete),
                (Some(_), Some(row)) => (row::update(self.db, synced, key, &all, row)?, LogOp::Update),
            };
            if let Some(obstacle) = obstacle {
                let text = match obstacle {
                    Obstacle::Unique(text) | Obstacle::Rule(text) => text,
                };
                return Err(refusal(
                    ReasonCode::RowRefused,
                    format!("the database does not take the row: {text}; nothing was changed"),
                    "choose another value with `--set COLUMN=VALUE`".to_owned(),
                ));
            }
            self.note_row(synced.id, op, now, key)?;
        }
        // As stored: a column's type may have changed a value's form.
        let stored = row::read(self.db, synced, key)?.row();
        let side = |row: Option<Row>| row.map(|row| ledger::object(&synced.columns, &row).to_string());
        self.db.execute(
            "UPDATE _homing_conflict SET result = ?2, settled_by = ?3, settled_at = ?4, before = ?5, before_by = ?6
             WHERE id = ?1",
            params![
                id,
                side(stored),
                settled.by,
                settled.now,
                settled.before.map(|before| before.to_string()),
                settled.before_by
            ],
        )?;
        self.mark(synced, key)
    }

    /// Foreign keys are not enforced on this connection: a reference to nothing is
    /// refused here.
    fn check_references(&self, place: &Place, wanted: Option<&Row>) -> Result<()> {
        let dangling = |text: String| {
            Err(refusal(
                ReasonCode::RowRefused,
                format!("{text}; nothing was changed"),
                "settle that row first".to_owned(),
            ))
        };
        let Some(row) = wanted else {
            let Some(now) = &place.now else { return Ok(()) };
            for child in self.tables.values() {
                for foreign in &child.table.foreign_keys {
                    if !foreign.parent.eq_ignore_ascii_case(place.synced.name()) {
                        continue;
                    }
                    let Some(values) = values_of(place.synced, now, &foreign.parent_columns) else { continue };
                    let children = row::keys_where(self.db, child, &foreign.columns, &values, 2)?;
                    let other = children.iter().find(|key| (child.id, *key) != (place.synced.id, &place.key));
                    if let Some(key) = other {
                        return dangling(format!("{} {key} refers to the row", child.name()));
                    }
                }
            }
            return Ok(());
        };
        for foreign in &place.synced.table.foreign_keys {
            let Some(parent) = self.find(&foreign.parent) else { continue };
            let Some(values) = values_of(place.synced, row, &foreign.columns) else { continue };
            let itself = parent.id == place.synced.id && Key::from(values.clone()) == place.key;
            if !values.iter().any(Value::is_null)
                && !itself
                && !row::exists(self.db, parent, &foreign.parent_columns, &values)?
            {
                return dangling(format!(
                    "the row would refer to {} {}, which is not here",
                    parent.name(),
                    Key::from(values)
                ));
            }
        }
        Ok(())
    }
}

fn values_of(synced: &Synced, row: &Row, columns: &[String]) -> Option<Vec<Value>> {
    columns.iter().map(|name| synced.table.position(name).map(|at| row[at].clone())).collect()
}

impl Place<'_> {
    /// A version of the ledger's under today's columns; what it does not know is as it
    /// is now.
    fn row(&self, version: Option<&Json>) -> Option<Row> {
        let object = version?.as_object()?;
        let value = |(at, name): (usize, &String)| {
            let found = object.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let kept = || self.now.as_ref().map_or_else(|| self.synced.defaults[at].clone(), |now| now[at].clone());
            found.and_then(|(_, json)| serde_json::from_value(json.clone()).ok()).unwrap_or_else(kept)
        };
        Some(self.synced.columns.iter().enumerate().map(value).collect())
    }

    /// What a person's decision makes of the row.
    fn decided(&self, entry: &ConflictEntry, decision: &Decision) -> Result<Option<Row>> {
        let (local, remote) = (self.row(entry.local.as_ref()), self.row(entry.remote.as_ref()));
        let named: Vec<&String> = decision.columns.keys().chain(decision.set.keys()).collect();
        let mut wanted = match decision.take {
            None => self.now.clone(),
            Some(Side::Local) => local.clone(),
            Some(Side::Remote) => remote.clone(),
            Some(Side::Merged) => Some(self.merged(entry, local.as_ref(), remote.as_ref(), &named)?),
        };
        let Some(row) = &mut wanted else {
            return match named.first() {
                None => Ok(None),
                Some(_) => Err(unfit("the row is deleted on that side, and has no columns to choose".to_owned())),
            };
        };
        for (name, side) in &decision.columns {
            let at = self.column(name)?;
            let (version, word) = match side {
                Side::Local => (&local, "local"),
                Side::Remote => (&remote, "remote"),
                Side::Merged => return Err(unfit("a column is taken from local or from remote".to_owned())),
            };
            let Some(version) = version else {
                return Err(unfit(format!("the {word} side deleted the row, and has no {name}")));
            };
            row[at] = version[at].clone();
        }
        for (name, value) in &decision.set {
            let at = self.column(name)?;
            row[at] = value.clone();
        }
        Ok(wanted)
    }

    /// What each side alone changed; a column that both changed must be named.
    fn merged(
        &self,
        entry: &ConflictEntry,
        local: Option<&Row>,
        remote: Option<&Row>,
        named: &[&String],
    ) -> Result<Row> {
        let (Some(local), Some(remote)) = (local, remote) else {
            return Err(unfit("one side deleted the row: there is nothing to merge".to_owned()));
        };
        let base = self.row(entry.base.as_ref()).or_else(|| made_twice(entry).then(|| self.synced.defaults.clone()));
        let mut both = Vec::new();
        let mut out = remote.clone();
        for (at, name) in self.synced.columns.iter().enumerate() {
            let before = base.as_ref().map(|base| &base[at]);
            if before == Some(&remote[at]) {
                out[at] = local[at].clone();
            } else if local[at] != remote[at] && before != Some(&local[at]) {
                both.push(name.as_str());
            }
        }
        both.retain(|column| !named.iter().any(|name| name.eq_ignore_ascii_case(column)));
        match both.is_empty() {
            true => Ok(out),
            false => Err(unfit(format!("both sides changed {}: say which, column by column", both.join(", ")))),
        }
    }

    fn column(&self, name: &str) -> Result<usize> {
        let at = self.synced.table.position(name);
        let at = at.ok_or_else(|| unfit(format!("{} has no column {name}", self.synced.name())))?;
        match self.synced.key_at.contains(&at) {
            true => Err(unfit(format!("{name} is part of the key, which names the row"))),
            false => Ok(at),
        }
    }

    /// The row as it is now, where the two sides differed, in words.
    fn stands(&self, entry: &ConflictEntry) -> String {
        let Some(now) = &self.now else { return "the row is deleted".to_owned() };
        let side = |side: &Option<Json>, name: &str| side.as_ref().and_then(|side| side.get(name)).cloned();
        let differs = |name: &str| side(&entry.local, name) != side(&entry.remote, name);
        let columns = self.synced.columns.iter().zip(now).filter(|(name, _)| differs(name));
        let told: Vec<String> = columns.map(|(name, value)| format!("{name} is {}", shown(value))).collect();
        if told.is_empty() { "both sides are equal".to_owned() } else { told.join(", ") }
    }

    /// How the row differs from what stood after the conflict, in words.
    fn news(&self, stood: &Option<Row>) -> String {
        match (&self.now, stood) {
            (None, _) => "it is deleted now".to_owned(),
            (Some(_), None) => "it is there again".to_owned(),
            (Some(now), Some(stood)) => {
                let differs = (0..now.len()).filter(|at| now[*at] != stood[*at]);
                let told: Vec<String> =
                    differs.map(|at| format!("{} is now {}", self.synced.columns[at], shown(&now[at]))).collect();
                told.join(", ")
            }
        }
    }
}

/// A value as JSON, cut where it is long: the row itself has the rest.
fn shown(value: &Value) -> String {
    const LETTERS_MAX: usize = 60;
    let text = serde_json::to_string(value).expect("BUG: a value is JSON");
    match text.char_indices().nth(LETTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What a rule's decision took away: the other version, or the other values of the
/// columns that both sides changed.
fn loser(entry: &ConflictEntry, synced: &Synced) -> Option<Json> {
    if entry.result == entry.remote {
        return entry.local.clone();
    }
    if entry.result == entry.local {
        return entry.remote.clone();
    }
    let sides = [&entry.result, &entry.local, &entry.remote].map(|side| side.as_ref().and_then(Json::as_object));
    let [Some(result), Some(local), Some(remote)] = sides else { return entry.local.clone() };
    let blank = ledger::object(&synced.columns, &synced.defaults);
    let base = entry.base.as_ref().or(made_twice(entry).then_some(&blank)).and_then(Json::as_object);
    let back = result.iter().map(|(name, stands)| {
        let before = base.and_then(|base| base.get(name));
        let (ours, theirs) = (local.get(name), remote.get(name));
        let both = ours != theirs && before != ours && before != theirs;
        let value = match both {
            true if Some(stands) == ours => theirs,
            true if Some(stands) == theirs => ours,
            // What was merged lost nothing.
            _ => Some(stands),
        };
        (name.clone(), value.unwrap_or(stands).clone())
    });
    Some(Json::Object(back.collect::<BTreeMap<_, _>>().into_iter().collect()))
}

/// A row that both sides made: each began with the columns' defaults.
fn made_twice(entry: &ConflictEntry) -> bool {
    entry.kind == ConflictKind::InsertInsert.word()
}

fn missing(id: i64) -> Fault {
    refusal(
        ReasonCode::NotFound,
        format!("there is no conflict {id}"),
        "`homing conflicts list` shows those there are".to_owned(),
    )
}

fn unfit(text: String) -> Fault {
    let hint = "`homing conflicts show` has every side".to_owned();
    refusal(ReasonCode::BadRequest, format!("{text}; nothing was changed"), hint)
}

fn refusal(code: ReasonCode, text: String, hint: String) -> Fault {
    Fault::new(FaultKind::Interrupted, code, text, hint)
}
