//! Looking at the store for people: counts, the queue, one row's life.

use std::collections::BTreeMap;

use rusqlite::params;

use super::aside::{self};
use super::base::{self, Difference};
use super::outbox::read_entry;
use super::row::{self, Found};
use super::{Result, Store, Synced};
use crate::model::status::{ExplanationLine, QueueEntry};
use crate::model::{Key, Reason, ReasonCode, action};
use crate::sqlite::capture;

/// How many of each, for the status line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Rows not yet at the remote, without those set aside. Past 20,000 log entries it
    /// counts entries, which is more than rows where rows were written repeatedly.
    pub pending: u64,
    /// Of these: refused before and tried again later, or waiting for a parent.
    pub held: u64,
    pub set_aside: u64,
    /// Why, when it is the same for all that is set aside.
    pub set_aside_for: Option<ReasonCode>,
    /// Conflicts that wait for a person.
    pub conflicts: u64,
    pub parked: u64,
    /// Of those, deletions that wait for a person's consent.
    pub held_deletions: u64,
    /// When the oldest unsent write was made, milliseconds since 1970.
    pub oldest: Option<i64>,
}

impl Store {
    pub fn counts(&self) -> Result<Counts> {
        let db = &self.db;
        let count = |sql: &str| -> Result<u64> { Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))? as u64) };
        let entries = count("SELECT count(*) FROM _homing_log WHERE tab <> 0")?;
        let logged = match entries {
            0 => 0,
            1..=20_000 => {
                let keys: Vec<String> = (0..self.width()?).map(|at| format!("k{at}, typeof(k{at})")).collect();
                count(&format!(
                    "SELECT count(*) FROM (SELECT DISTINCT tab, {} FROM _homing_log WHERE tab <> 0)",
                    keys.join(", ")
                ))?
            }
            _ => entries,
        };
        let oldest: Option<f64> =
            db.query_row("SELECT (SELECT at FROM _homing_log WHERE tab <> 0 ORDER BY seq LIMIT 1)", [], |row| {
                row.get(0)
            })?;
        let held = count("SELECT count(*) FROM _homing_aside WHERE state <> 'set_aside'")?;
        let (first, last): (Option<String>, Option<String>) =
            db.query_row("SELECT min(code), max(code) FROM _homing_aside WHERE state = 'set_aside'", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let waiting: Option<i64> = db.query_row("SELECT min(since) FROM _homing_aside", [], |row| row.get(0))?;
        let set_aside = count("SELECT count(*) FROM _homing_aside WHERE state = 'set_aside'")?;
        let actions = self.count_actions()?;
        let set_aside_for = match (first, actions.set_aside) {
            (first, 0) => first.filter(|first| last.as_ref() == Some(first)),
            (None, _) => actions.set_aside_for,
            (Some(_), _) => None,
        };
        Ok(Counts {
            pending: logged + held + actions.pending,
            held: held + actions.held,
            set_aside: set_aside + actions.set_aside,
            set_aside_for: set_aside_for.and_then(|code| ReasonCode::parse(&code)),
            conflicts: count("SELECT count(*) FROM _homing_conflict WHERE settled_by IS NULL")?,
            parked: count("SELECT count(*) FROM _homing_parked")?,
            held_deletions: count("SELECT count(*) FROM _homing_parked WHERE code = 'mass_deletion'")?,
            oldest: [oldest.map(capture::millis), waiting, actions.oldest].into_iter().flatten().min(),
        })
    }

    /// Changes that are not at the remote, by table: log entries, which are more than rows
    /// where rows were written repeatedly, and what waits.
    pub fn queued_by_table(&self) -> Result<BTreeMap<String, u64>> {
        let sql = "SELECT tab, count(*) FROM (SELECT tab FROM _homing_log WHERE tab <> 0
                       UNION ALL SELECT tab FROM _homing_aside) GROUP BY tab";
        let mut statement = self.db.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let mut queued = BTreeMap::new();
        for row in rows {
            let (tab, count) = row?;
            if let Some(synced) = self.tables.get(&tab) {
                queued.insert(synced.name().to_owned(), count as u64);
            }
        }
        let actions = self.count_actions()?;
        if actions.pending + actions.set_aside > 0 {
            queued.insert(action::TABLE.to_owned(), actions.pending + actions.set_aside);
        }
        Ok(queued)
    }

    fn width(&self) -> Result<i64> {
        Ok(super::meta::get(&self.db, "width")?.unwrap_or(1))
    }

    /// The outbox for people: what is pending in the order of the log, then what waits,
    /// then actions.
    pub fn queue(&self, table: Option<&str>, rows_max: usize) -> Result<Vec<QueueEntry>> {
        let mut out = match table {
            Some(action::TABLE) => return self.queued_actions(rows_max),
            _ => Vec::new(),
        };
        let widths = self.widths();
        let in_flight = self.in_flight()?;
        let mut seen = std::collections::HashSet::new();
        let wanted = table.map(|name| self.find(name).map_or(-1, |synced| synced.id));
        let mut seqs = self
            .db
            .prepare_cached("SELECT seq FROM _homing_log WHERE tab <> 0 AND (?1 IS NULL OR tab = ?1) ORDER BY seq")?;
        let mut rows = seqs.query([wanted])?;
        while let Some(found) = rows.next()? {
            if out.len() >= rows_max {
                break;
            }
            let Some(entry) = read_entry(&self.db, &widths, found.get(0)?)? else { continue };
            let synced = &self.tables[&entry.tab];
            if !seen.insert((entry.tab, entry.key.clone())) {
                continue;
            }
            if let Some(mut queued) = self.queued(synced, &entry.key, Some(entry.at))? {
                if in_flight.contains(&(entry.tab, entry.key.clone())) {
                    queued.state = "in_flight".to_owned();
                }
                out.push(queued);
            }
        }
        drop(rows);
        let mut waiting = self.db.prepare_cached(
            "SELECT tab, key FROM _homing_aside WHERE ?1 IS NULL OR tab = ?1 ORDER BY since, tab, key LIMIT ?2",
        )?;
        let mut rows = waiting.query(params![wanted, rows_max.saturating_sub(out.len()) as i64])?;
        while let Some(found) = rows.next()? {
            let Some(synced) = self.tables.get(&found.get(0)?) else { continue };
            let key = Key::decode(&found.get::<_, Vec<u8>>(1)?).expect("BUG: keys are stored encoded");
            if seen.insert((synced.id, key.clone())) {
                out.extend(self.queued(synced, &key, None)?);
            }
        }
        if table.is_none() {
            out.extend(self.queued_actions(rows_max.saturating_sub(out.len()))?);
        }
        Ok(out)
    }

    /// One row of the outbox; `None` when it does not differ from its base.
    pub fn queued(&self, synced: &Synced, key: &Key, logged_at: Option<i64>) -> Result<Option<QueueEntry>> {
        let found = row::read(&self.db, synced, key)?;
        let several = found == Found::Several;
        let local = found.row();
        let base = base::read(&self.db, self.era, synced, &key.encode())?;
        let (operation, columns) = match base::difference(synced, local.as_ref(), base.as_ref()) {
            Difference::Same if several => ("update", Vec::new()),
            Difference::Same => return Ok(None),
            Difference::New => ("insert", synced.columns.to_vec()),
            Difference::Gone => ("delete", Vec::new()),
            Difference::Changed(at) => ("update", at.iter().map(|at| synced.columns[*at].clone()).collect()),
        };
        let known = aside::read(&self.db, synced.id, &key.encode())?;
        let priority = synced.rule.priority_of(match operation {
            "insert" => crate::model::Operation::Insert,
            "delete" => crate::model::Operation::Delete,
            _ => crate::model::Operation::Update,
        });
        Ok(Some(QueueEntry {
            replica: self.replica.name.clone(),
            table: synced.name().to_owned(),
            key: key.to_text(),
            operation: operation.to_owned(),
            columns,
            state: match (&known, logged_at) {
                (Some(known), _) => known.standing.word().to_owned(),
                (None, _) => "pending".to_owned(),
            },
            priority: priority.0,
            tries: known.as_ref().map_or(0, |known| known.tries),
            next_try_at: known.as_ref().and_then(|known| known.next_try_at).filter(|at| *at > 0),
            since: logged_at.or(known.as_ref().and_then(|known| known.since)),
            action: None,
            reason: known.map(|known| Reason {
                code: ReasonCode::parse(&known.code).unwrap_or(ReasonCode::RowRefused),
                text: known.reason,
                next: match known.standing {
                    aside::Standing::SetAside => {
                        format!(
                            "edit the row, or `homing queue retry {} {} '{}'`",
                            self.replica.name,
                            synced.name(),
                            key
                        )
                    }
                    aside::Standing::WaitingForParent => "it goes when its parent has gone".to_owned(),
                    aside::Standing::Retry => "it is tried again by itself".to_owned(),
                },
            }),
        }))
    }

    /// What this side knows of one row, oldest first, and where it stands.
    pub fn explain(&self, synced: &Synced, key: &Key) -> Result<(String, Vec<ExplanationLine>)> {
        let mut lines = Vec::new();
        let mut line = |at: Option<i64>, what: &str, text: String| {
            lines.push(ExplanationLine { at, what: what.to_owned(), text });
        };
        let encoded = key.encode();
        let base = base::read(&self.db, self.era, synced, &encoded)?;
        if let Some(base) = &base {
            let text = match base.revision.0 {
                0 => "was equal on both sides before the remote began a new log".to_owned(),
                revision => format!("was last equal on both sides at the remote's revision {revision}"),
            };
            line(Some(base.stamp.millis()), "base", text);
        }
        let widths = self.widths();
        let mut statement = self.db.prepare("SELECT seq FROM _homing_log WHERE tab = ? ORDER BY seq")?;
        let seqs = statement.query_map([synced.id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        for seq in seqs {
            if let Some(entry) = read_entry(&self.db, &widths, seq)?
                && entry.key == *key
            {
                let word = super::stage::operation_of(entry.op).word();
                line(Some(entry.at), "outbox", format!("{word} captured here, number {seq} in the outbox"));
            }
        }
        for conflict in self.conflicts(false, 10_000)?.into_iter().rev() {
            if conflict.table.eq_ignore_ascii_case(synced.name()) && conflict.key == key.to_text() {
                let settled =
                    conflict.settled_by.map_or("waits for a person".to_owned(), |by| format!("settled by a {by}"));
                line(
                    Some(conflict.at),
                    "conflict",
                    format!("conflict {} ({}), {settled}: {}", conflict.id, conflict.kind, conflict.note),
                );
            }
        }
        let queued = self.queued(synced, key, None)?;
        let parked =
            self.parked_rows(10_000)?.into_iter().find(|parked| parked.table == synced.name() && parked.key == *key);
        let here = row::read(&self.db, synced, key)?;
        let verdict = match (&queued, &parked, &here, &base) {
            (_, Some(parked), ..) => format!("a version from the remote waits to be written here: {}", parked.reason),
            (Some(queued), ..) => match &queued.reason {
                Some(reason) => {
                    format!("{} not sent ({}): {}", queued.operation, queued.state.replace('_', " "), reason.text)
                }
                None => format!("{} here, not sent yet", past(&queued.operation)),
            },
            (None, None, Found::Nothing, None) => {
                "not here, and never was at the remote as far as this side knows".to_owned()
            }
            (None, None, ..) => "in step: the same here and at the remote, as of the last sync".to_owned(),
        };
        if let Some(Queued { reason, tries, since }) = queued.as_ref().and_then(Queued::of) {
            line(since, "set_aside", format!("refused {tries} times: {reason}"));
        }
        if let Some(parked) = parked {
            line(Some(parked.since), "parked", parked.reason);
        }
        Ok((verdict, lines))
    }
}

struct Queued {
    reason: String,
    tries: u32,
    since: Option<i64>,
}

impl Queued {
    fn of(entry: &QueueEntry) -> Option<Queued> {
        let reason = entry.reason.as_ref()?;
        (entry.tries > 0).then(|| Queued { reason: reason.text.clone(), tries: entry.tries, since: entry.since })
    }
}

fn past(operation: &str) -> &'static str {
    match operation {
        "insert" => "inserted",
        "delete" => "deleted",
        _ => "updated",
    }
}
