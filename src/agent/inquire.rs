//! Questions about one replica's file, asked beside its cycles: the queue, a row's
//! life, the plan, a comparison with the remote; and the decisions a person makes about
//! single rows.

use std::collections::BTreeMap;

use super::clock::{Clock, SystemClock};
use super::perform;
use super::rules::Rules;
use crate::engine::plan::{self, Limits};
use crate::ipc::answer::{EXPLAIN, PLAN, VERIFY, Verification};
use crate::model::conflict::Decision;
use crate::model::settings::Replica;
use crate::model::status::{
    ConflictEntry, Explanation, ExplanationLine, PlanBatch, PlanChange, PlanReport, QueueEntry, TableCheck,
};
use crate::model::{Fault, FaultKind, Key, ReasonCode, RemoteRow, Value, action};
use crate::remote::{self, Remote, RemoteError};
use crate::store::actions::Enqueued;
use crate::store::report::Counts;
use crate::store::{Now, Store, Synced};

/// Rows asked for at once when comparing.
const DIGEST_ROWS: usize = 20_000;
/// Actions that a plan names.
const ERRANDS_MAX: usize = 100;
/// Differing keys named a table.
const DIFFERING_MAX: usize = 1_000;

pub struct Inquiry {
    pub replica: Replica,
    pub device: String,
    pub store: Store,
    pub runtime: tokio::runtime::Handle,
}

impl Inquiry {
    pub fn counts(self) -> Result<Counts, Fault> {
        self.store.counts()
    }

    pub fn queue(self, table: Option<&str>, limit: usize) -> Result<Vec<QueueEntry>, Fault> {
        if let Some(table) = table.filter(|table| *table != action::TABLE) {
            self.table(table)?;
        }
        self.store.queue(table, limit.saturating_add(1))
    }

    pub fn conflicts(self, open: bool, limit: usize) -> Result<Vec<ConflictEntry>, Fault> {
        self.store.conflicts(open, limit)
    }

    pub fn conflict(self, id: i64) -> Result<Option<ConflictEntry>, Fault> {
        self.store.conflict(id)
    }

    pub fn resolve(mut self, id: i64, decision: &Decision) -> Result<(ConflictEntry, Counts), Fault> {
        let settled = self.store.resolve(id, decision, SystemClock.millis())?;
        Ok((settled, self.store.counts()?))
    }

    pub fn undo(mut self, id: i64, force: bool) -> Result<(ConflictEntry, Counts), Fault> {
        let back = self.store.undo(id, force, SystemClock.millis())?;
        Ok((back, self.store.counts()?))
    }

    pub fn retry(mut self, table: Option<&str>, key: Option<&str>) -> Result<u64, Fault> {
        let key = match table {
            Some(action::TABLE) => key.map(Key::parse),
            Some(table) => {
                let synced = self.table(table)?;
                key.map(|typed| Self::key(synced, typed))
            }
            None => None,
        };
        self.store.retry(table, key.as_ref())
    }

    /// Appends an action; `None` when too many wait.
    pub fn enqueue(
        mut self,
        name: &str,
        payload: &str,
        key: Option<&str>,
    ) -> Result<Option<(Enqueued, Counts)>, Fault> {
        let done = self.store.enqueue(name, payload, key)?;
        done.map(|done| Ok((done, self.store.counts()?))).transpose()
    }

    /// Gives up one row's unsent change: the remote's version stands, ours is kept in
    /// the ledger. Or an action.
    pub fn discard(mut self, table: &str, key: &str) -> Result<u64, Fault> {
        if table == action::TABLE {
            return match self.store.discard_action(&Key::parse(key), SystemClock.millis())? {
                true => Ok(1),
                false => Err(not_found(format!("no action {key} waits"))),
            };
        }
        let synced = self.table(table)?.clone();
        let key = Self::key(&synced, key);
        let remembered = told(self.remote()?.row(synced.name(), &key))?;
        let theirs = remembered.row.map(|(revision, stamp, device, columns, row)| RemoteRow {
            table: synced.name().to_owned(),
            key: key.clone(),
            revision,
            stamp,
            row,
            columns: columns.into(),
            device,
            role: String::new(),
        });
        let now = Now { millis: SystemClock.millis(), offset: 0 };
        let rules = Rules::new(&self.replica, &self.store.schema());
        let done = self.store.discard(&synced, &key, theirs.as_ref(), &rules, now)?;
        match done {
            true => Ok(1),
            false => Err(not_found(format!("{table} {key} has no unsent change"))),
        }
    }

    pub fn explain(self, table: &str, key: &str) -> Result<Explanation, Fault> {
        if table == action::TABLE {
            return self.explain_action(&Key::parse(key));
        }
        let synced = self.table(table)?.clone();
        let key = Self::key(&synced, key);
        let (verdict, mut lines) = self.store.explain(&synced, &key)?;
        match self.remote().and_then(|mut remote| told(remote.row(synced.name(), &key))) {
            Ok(remembered) => lines.extend(remote_lines(&remembered)),
            Err(fault) => lines.push(ExplanationLine {
                at: None,
                what: "hub".to_owned(),
                text: format!("the remote could not be asked: {}", fault.reason.text),
            }),
        }
        // What has no time of its own stays where it is said: at the end.
        lines.sort_by_key(|line| line.at.unwrap_or(i64::MAX));
        Ok(Explanation {
            schema: EXPLAIN.to_owned(),
            replica: self.replica.name,
            table: synced.name().to_owned(),
            key: key.to_text(),
            verdict,
            lines,
        })
    }

    fn explain_action(self, key: &Key) -> Result<Explanation, Fault> {
        let Some((verdict, lines)) = self.store.explain_action(key)? else {
            return Err(not_found(format!("there is no action {key}, or it has long been over")));
        };
        Ok(Explanation {
            schema: EXPLAIN.to_owned(),
            replica: self.replica.name,
            table: action::TABLE.to_owned(),
            key: key.to_text(),
            verdict,
            lines,
        })
    }

    /// What the next cycle would send first, without doing it.
    pub fn plan(mut self) -> Result<PlanReport, Fault> {
        let rules = Rules::new(&self.replica, &self.store.schema());
        let limits = Limits {
            rows_max: self.replica.limits.batch_rows_max.max(1),
            bytes_max: self.replica.limits.batch_bytes_max,
            row_bytes_max: usize::MAX,
        };
        let now = Now { millis: SystemClock.millis(), offset: 0 };
        let gathered = self.store.gather(now, limits.rows_max * 4, &rules)?;
        let planned = plan::plan(&perform::candidates(&gathered), &rules.order, &limits);
        let chosen = planned.order.iter().zip(&planned.why).map(|(at, why)| (&gathered.candidates[*at], why));
        let changes: Vec<PlanChange> = chosen
            .map(|(candidate, why)| PlanChange {
                table: candidate.change.table.to_string(),
                key: candidate.change.key.to_text(),
                operation: candidate.change.operation.word().to_owned(),
                priority: candidate.priority.0,
                because: why.sentence(),
            })
            .collect();
        let bytes = planned.order.iter().map(|at| gathered.candidates[*at].change.weight() as u64).sum();
        let mut staying = Vec::new();
        for (at, code, text) in perform::staying(&gathered, &planned) {
            let change = &gathered.candidates[at].change;
            let synced = self.table(&change.table)?;
            if let Some(mut entry) = self.store.queued(synced, &change.key, Some(gathered.candidates[at].since))? {
                entry.reason.get_or_insert(crate::model::Reason { code, text, next: String::new() });
                staying.push(entry);
            }
        }
        staying.extend(self.store.queue(None, DIFFERING_MAX)?.into_iter().filter(|entry| entry.state == "set_aside"));
        let mut batches = if changes.is_empty() { Vec::new() } else { vec![PlanBatch { bytes, changes }] };
        if self.store.has_due_action(i64::MAX, now.millis)? {
            let actions = self.store.queue(Some(action::TABLE), ERRANDS_MAX)?;
            batches.extend(actions.into_iter().filter(|entry| entry.state == "pending").map(errand));
        }
        Ok(PlanReport {
            schema: PLAN.to_owned(),
            replica: self.replica.name.clone(),
            batches,
            staying,
            more: planned.more || gathered.more,
        })
    }

    /// Compares every table with the remote's, by hashes; names what differs.
    pub fn verify(mut self, repair: bool) -> Result<Verification, Fault> {
        let mut remote = self.remote()?;
        let synced: Vec<Synced> = self.store.tables().cloned().collect();
        let mut tables = Vec::new();
        let mut repaired = 0;
        for one in &synced {
            let (rows_here, digest) = self.store.digest(one)?;
            let theirs = told(remote.digest(one.name(), &one.columns, None, 0))?;
            let mut check =
                TableCheck { table: one.name().to_owned(), rows_here, rows_there: theirs.rows, differing: Vec::new() };
            if (rows_here, digest) != (theirs.rows, theirs.digest) {
                let differing = self.compare(one, &mut *remote)?;
                if repair {
                    let keys: Vec<Key> = differing.iter().map(|(key, _)| key.clone()).collect();
                    repaired += keys.len() as u64;
                    self.store.doubt(one, &keys, SystemClock.millis())?;
                }
                let named = differing.into_iter().take(DIFFERING_MAX);
                check.differing = named.map(|(key, what)| (key.to_text(), what.to_owned())).collect();
            }
            tables.push(check);
        }
        Ok(Verification { schema: VERIFY.to_owned(), replica: self.replica.name, tables, repaired })
    }

    fn compare(&self, synced: &Synced, remote: &mut dyn Remote) -> Result<Vec<(Key, &'static str)>, Fault> {
        let mut here = self.store.row_hashes(synced)?;
        let mut differing: BTreeMap<Vec<u8>, &'static str> = BTreeMap::new();
        let mut after = Vec::new();
        loop {
            let page = told(remote.digest(synced.name(), &synced.columns, Some(&after), DIGEST_ROWS))?;
            for (key, hash) in &page.entries {
                match here.remove(key) {
                    Some(ours) if ours == *hash => {}
                    Some(_) => {
                        differing.insert(key.clone(), "differs");
                    }
                    None => {
                        differing.insert(key.clone(), "missing_here");
                    }
                }
            }
            match page.entries.last() {
                Some((last, _)) if page.more => after = last.clone(),
                _ => break,
            }
        }
        differing.extend(here.into_keys().map(|key| (key, "missing_there")));
        Ok(differing.into_iter().filter_map(|(key, what)| Key::decode(&key).map(|key| (key, what))).collect())
    }

    /// A key as a person types it. A bare value is text where the key's column says so:
    /// `3` names the row `'3'` of a table with text keys.
    fn key(synced: &Synced, typed: &str) -> Key {
        let first = synced.table.key.first().and_then(|name| synced.table.position(name));
        let declared = first.map(|at| synced.table.columns[at].declared.to_ascii_uppercase()).unwrap_or_default();
        let is_text = ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word));
        match Key::parse(typed) {
            key if typed.trim_start().starts_with('[') || !is_text => key,
            _ => Key::from(vec![Value::Text(typed.to_owned())]),
        }
    }

    fn table(&self, name: &str) -> Result<&Synced, Fault> {
        self.store.find(name).ok_or_else(|| not_found(format!("{} has no synced table {name}", self.replica.name)))
    }

    /// A connection of this question's own. Nobody stops it but its deadline.
    fn remote(&self) -> Result<Box<dyn Remote>, Fault> {
        let (_, stop) = tokio::sync::watch::channel(false);
        remote::open(&self.replica, &self.device, &self.runtime, stop)
    }
}

/// A request of its own.
fn errand(entry: QueueEntry) -> PlanBatch {
    let because = format!("action {}, after the rows and in order", entry.action.unwrap_or_default());
    let QueueEntry { table, key, operation, priority, .. } = entry;
    PlanBatch { bytes: 0, changes: vec![PlanChange { table, key, operation, priority, because }] }
}

fn remote_lines(remembered: &remote::Remembered) -> Vec<ExplanationLine> {
    let mut lines: Vec<ExplanationLine> = remembered
        .trail
        .iter()
        .map(|(revision, at, operation, account, device, columns)| ExplanationLine {
            at: Some(*at),
            what: "hub".to_owned(),
            text: format!(
                "{operation} at the remote as revision {}, by {account}{}{}",
                revision.0,
                if device.is_empty() { String::new() } else { format!(" on {device}") },
                if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) },
            ),
        })
        .collect();
    if remembered.row.is_none() && lines.is_empty() {
        let text = "the remote has never had this row".to_owned();
        lines.push(ExplanationLine { at: None, what: "hub".to_owned(), text });
    }
    lines
}

fn not_found(text: String) -> Fault {
    Fault::new(
        FaultKind::Interrupted,
        ReasonCode::NotFound,
        text,
        "`homing queue list` and `homing status` name what there is",
    )
}

fn told<T>(answer: remote::Result<T>) -> Result<T, Fault> {
    answer.map_err(|error| match error {
        RemoteError::Fault(fault) => fault,
        _ => Fault::new(
            FaultKind::Protocol,
            ReasonCode::ProtocolError,
            "the remote would not answer this question now",
            "run `homing sync`, then ask again",
        ),
    })
}
