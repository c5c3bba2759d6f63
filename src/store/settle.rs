//! Settling a batch: what the remote said about each change becomes local fact.
//!
//! In slices, each one transaction; the flight goes with the last. A crash in between
//! sends the same bytes again, gets the same answer, and finds the first part done.

use std::collections::HashSet;
use std::time::Instant;

use super::aside::{Aside, Standing};
use super::base;
use super::flight::{Flight, FlightRow};
use super::row::{self, Found};
use super::take::{Manner, Taken};
use super::{Judge, Now, Result, Slice, Store, Synced, Writer, meta};
use crate::model::conflict::Conflict;
use crate::model::{ConflictKind, Key, Operation, Outcome, ReasonCode, RefusalCode, RemoteRow, Revision, Settler};
use crate::sqlite::capture::LogOp;

/// What settling did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    pub applied: u64,
    pub conflicts: u64,
    pub refused: u64,
    pub set_aside: u64,
    /// Rows that changed here, because a conflict was lost or merged.
    pub changed: std::collections::BTreeMap<String, Vec<Key>>,
    /// The remote says our stamps lie in its future.
    pub clock_ahead: bool,
}

/// Settling under way: the order in which a flight's rows are settled, and a place in it.
#[derive(Debug, Default)]
pub struct Settling {
    order: Option<Vec<usize>>,
    next: usize,
}

impl Settling {
    /// What was taken comes first, in the order of its keys: bases lie in that order, and
    /// a slice then writes to few of their pages. The others as they were sent.
    fn order(flight: &Flight, outcomes: &[Outcome]) -> Vec<usize> {
        let applied = |at: &usize| matches!(outcomes[*at], Outcome::Applied(_));
        let (mut taken, others): (Vec<usize>, Vec<usize>) = (0..flight.rows.len()).partition(applied);
        taken.sort_by_cached_key(|at| base::place(flight.rows[*at].tab, &flight.rows[*at].encoded));
        taken.extend(others);
        taken
    }
}

impl Store {
    /// Settles the next slice of a flight. `None`: there is more to do.
    pub fn settle(
        &mut self,
        flight: &Flight,
        outcomes: &[Outcome],
        settling: &mut Settling,
        judge: &dyn Judge,
        now: Now,
        slice: Slice,
    ) -> Result<(Settled, bool)> {
        let order = settling.order.get_or_insert_with(|| Settling::order(flight, outcomes));
        let from = settling.next;
        let most = (from + slice.rows_max).min(flight.rows.len());
        let company = HashSet::new();
        let troubled: HashSet<(String, Key)> = flight
            .rows
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| !matches!(outcome, Outcome::Applied(_)))
            .map(|(row, _)| (row.table.to_ascii_lowercase(), row.key.clone()))
            .collect();
        let (settled, to) = self.write(|writer| {
            let began = Instant::now();
            let mut settled = Settled::default();
            let mut to = from;
            let manner = Manner { judge, now, company: &company, caught_up: false, parked: false };
            for at in &order[from..most] {
                if to > from && slice.time_max.is_some_and(|time_max| began.elapsed() > time_max) {
                    break;
                }
                to += 1;
                let (row, outcome) = (&flight.rows[*at], &outcomes[*at]);
                let tables = writer.tables;
                let Some(synced) = tables.get(&row.tab) else { continue };
                match outcome {
                    Outcome::Applied(revision) => {
                        writer.acknowledge(synced, row, *revision)?;
                        settled.applied += 1;
                    }
                    Outcome::Conflict { kind, remote, others, .. } => {
                        settled.conflicts += 1;
                        let met = Met { synced, row, remote: remote.as_ref(), others, troubled: &troubled };
                        writer.conflict(*kind, met, manner, &mut settled)?;
                    }
                    Outcome::Refused { code, text } => {
                        settled.refused += 1;
                        settled.clock_ahead |= *code == RefusalCode::StampFuture;
                        writer.refused(synced, row, *code, text, now, &mut settled)?;
                    }
                }
            }
            if settled.applied > 0 {
                writer.wake_children()?;
            }
            if to == flight.rows.len() {
                // Together, for they are neighbours in the log; until then they say nothing
                // that is not so.
                let taken = flight.rows.iter().zip(outcomes);
                let taken = taken.filter(|(row, outcome)| {
                    matches!(outcome, Outcome::Applied(_)) && writer.tables.contains_key(&row.tab)
                });
                let spent: Vec<i64> = taken.flat_map(|(row, _)| row.seqs.iter().copied()).collect();
                writer.drop_entries(&spent)?;
                writer.land(flight.batch)?;
                meta::set(writer.db, "batch", flight.batch)?;
            }
            Ok((settled, to))
        })?;
        settling.next = to;
        Ok((settled, to == flight.rows.len()))
    }
}

impl Store {
    /// Takes apart a batch of one row that is too large for the remote, which took
    /// nothing of it; the row waits for a person.
    pub fn refuse_large(&mut self, flight: &Flight, text: &str, now: Now) -> Result<()> {
        self.write(|writer| {
            writer.land(flight.batch)?;
            for row in &flight.rows {
                let tables = writer.tables;
                if let Some(synced) = tables.get(&row.tab) {
                    writer.wait(synced, row, Standing::SetAside, ReasonCode::RowTooLarge.word(), text, 1, None, now)?;
                }
            }
            Ok(())
        })
    }

    /// The same for a batch whose one row the remote will not have as it is: tried again
    /// later, and a few times. Returns how many now wait for a person.
    pub fn refuse(&mut self, flight: &Flight, text: &str, now: Now) -> Result<u64> {
        self.write(|writer| {
            writer.land(flight.batch)?;
            let mut settled = Settled::default();
            for row in &flight.rows {
                let tables = writer.tables;
                if let Some(synced) = tables.get(&row.tab) {
                    writer.again(synced, row, ReasonCode::RowRefused.word(), text, now, &mut settled)?;
                }
            }
            Ok(settled.set_aside)
        })
    }
}

/// One change that met something at the remote.
pub(super) struct Met<'a> {
    pub(super) synced: &'a Synced,
    pub(super) row: &'a FlightRow,
    pub(super) remote: Option<&'a RemoteRow>,
    pub(super) others: &'a [(String, Key)],
    /// Rows of the same batch that did not get through either.
    pub(super) troubled: &'a HashSet<(String, Key)>,
}

impl Writer<'_> {
    /// The remote has it: the base becomes what was sent. An edit made since is a difference
    /// from the new base, and what is in the log of it stays there.
    fn acknowledge(&self, synced: &Synced, row: &FlightRow, revision: Revision) -> Result<()> {
        let key = &row.encoded;
        match self.parked_revision(synced, key)? {
            // Only the columns that were sent are known to be as they are here: what else
            // the version that waits has must come again, as what it is now.
            Some(waits) if row.operation == Operation::Update => {
                self.set_base_under(row.shape, synced, key, waits, row.stamp, &row.base)?;
                meta::set(self.db, "cursor", rusqlite::types::Null)?;
            }
            _ => self.raise_base(synced, row, key, revision)?,
        }
        // A version that waited here to be written was overwritten there.
        self.unpark(synced, key)?;
        self.clear_aside(synced, key)
    }

    fn conflict(&mut self, kind: ConflictKind, met: Met, manner: Manner, settled: &mut Settled) -> Result<()> {
        match (kind, met.remote) {
            (ConflictKind::Unique, _) => self.collision(&met, manner, settled),
            (ConflictKind::ForeignKey, _) if met.row.operation == Operation::Delete => {
                self.kept_parent(&met, manner, settled)
            }
            (ConflictKind::ForeignKey, _) => self.lost_parent(&met, manner, settled),
            (_, Some(remote)) => {
                let mut taken = self.take(remote, manner)?;
                if matches!(taken, Taken::Blocked(ReasonCode::ConflictManual, _)) {
                    taken = self.squeeze_in(met.synced, remote, manner, settled)?;
                }
                if let Taken::Blocked(code, text) = taken {
                    return self.again(met.synced, met.row, code.word(), &text, manner.now, settled);
                }
                if taken == Taken::Written || matches!(taken, Taken::Conflict { .. }) {
                    settled.changed.entry(met.row.table.to_string()).or_default().push(met.row.key.clone());
                }
                self.clear_aside(met.synced, &remote.key.encode())?;
                if !self.is_unsent(met.synced, &met.row.key)? {
                    self.drop_entries(&met.row.seqs)?;
                }
                Ok(())
            }
            (_, None) => self.again(
                met.synced,
                met.row,
                "whole_row_needed",
                "the remote does not have the row",
                manner.now,
                settled,
            ),
        }
    }

    /// A delete met children at the remote: the parent comes back, unless those children
    /// are about to be deleted from here too.
    fn kept_parent(&mut self, met: &Met, manner: Manner, settled: &mut Settled) -> Result<()> {
        let tables = self.tables;
        for (table, key) in met.others {
            let Some(child) = tables.values().find(|synced| synced.name().eq_ignore_ascii_case(table)) else {
                continue;
            };
            let gone_here =
                row::read(self.db, child, key)? == Found::Nothing && self.base(child, &key.encode())?.is_some();
            // A child whose deletion lost comes back as soon as its parent does.
            let waits_for_it =
                self.aside(child, &key.encode())?.is_some_and(|aside| aside.code == ReasonCode::ParkedParent.word());
            if gone_here && !waits_for_it {
                let text = format!("{table} {key} at the remote still refers to it; its deletion goes first");
                return self.again(met.synced, met.row, "pending_child", &text, manner.now, settled);
            }
        }
        let Some(remote) = met.remote else {
            return self.again(
                met.synced,
                met.row,
                "foreign_key",
                "rows at the remote refer to it",
                manner.now,
                settled,
            );
        };
        let key = remote.key.encode();
        let found = row::read(self.db, met.synced, &remote.key)?;
        if found == Found::Nothing {
            // Nothing is known to be equal until the row is back; where it cannot come
            // back yet, its deletion is still a change to a row that was known.
            self.db.execute_batch("SAVEPOINT _homing_kept")?;
            self.drop_base(met.synced, &key)?;
            let taken = self.take(remote, Manner { caught_up: true, ..manner })?;
            if let Taken::Blocked(code, text) = taken {
                self.db.execute_batch("ROLLBACK TO _homing_kept; RELEASE _homing_kept")?;
                return self.again(met.synced, met.row, code.word(), &text, manner.now, settled);
            }
            self.db.execute_batch("RELEASE _homing_kept")?;
        }
        let result = row::read(self.db, met.synced, &remote.key)?.row();
        settled.changed.entry(met.row.table.to_string()).or_default().push(met.row.key.clone());
        let child = met.others.first().map_or_else(String::new, |(table, key)| format!(" ({table} {key})"));
        self.record(&Conflict {
            id: 0,
            table: met.row.table.to_string(),
            key: met.row.key.clone(),
            kind: ConflictKind::ForeignKey,
            strategy: met.synced.rule.strategy,
            columns: met.synced.columns.to_vec(),
            base: None,
            local: None,
            remote: result.clone(),
            result,
            settled_by: Some(Settler::Rule),
            at: manner.now.millis,
            remote_device: remote.device.clone(),
            note: format!("deleted here while rows there refer to it{child}: it was brought back"),
        })?;
        self.clear_aside(met.synced, &key)?;
        self.drop_entries(&met.row.seqs)
    }

    /// A row's parent is not at the remote. Where it was refused there, the row waits with
    /// it; where it was deleted there and still stands here, it is sent again, with the row.
    fn lost_parent(&mut self, met: &Met, manner: Manner, settled: &mut Settled) -> Result<()> {
        let tables = self.tables;
        let mut back = false;
        for (table, key) in met.others {
            let Some(parent) = tables.values().find(|synced| synced.name().eq_ignore_ascii_case(table)) else {
                continue;
            };
            if let Some(known) = self.aside(parent, &key.encode())? {
                // Refused itself: sent again for its child's sake it would be refused again.
                let code = match known.standing {
                    Standing::SetAside => ReasonCode::ParentSetAside,
                    Standing::Retry | Standing::WaitingForParent => ReasonCode::PendingParent,
                };
                let text = format!("{table} {key}, to which it refers, did not get through");
                let standing = Standing::WaitingForParent;
                return self.wait(met.synced, met.row, standing, code.word(), &text, 0, None, manner.now);
            }
            if let Some(here) = row::read(self.db, parent, key)?.row() {
                let base = self.base(parent, &key.encode())?;
                self.drop_base(parent, &key.encode())?;
                self.note_row(parent.id, LogOp::Insert, manner.now.millis, key)?;
                back = true;
                if base.is_some_and(|base| base.revision != Revision::NONE) {
                    self.record(&Conflict {
                        id: 0,
                        table: parent.name().to_owned(),
                        key: key.clone(),
                        kind: ConflictKind::ForeignKey,
                        strategy: parent.rule.strategy,
                        columns: parent.columns.to_vec(),
                        base: None,
                        local: Some(here.clone()),
                        remote: None,
                        result: Some(here),
                        settled_by: Some(Settler::Rule),
                        at: manner.now.millis,
                        remote_device: String::new(),
                        note: format!(
                            "deleted there while {} {} here, not sent yet, refers to it: it was kept and sent again",
                            met.row.table, met.row.key
                        ),
                    })?;
                }
            }
        }
        if back {
            return Ok(()); // still in the log, and its parent now goes first
        }
        let parent = met.others.first().map_or_else(String::new, |(table, key)| format!("{table} {key}"));
        let text = format!("it refers to {parent}, which is neither here nor at the remote");
        self.again(met.synced, met.row, "row_refused", &text, manner.now, settled)
    }

    fn refused(
        &mut self,
        synced: &Synced,
        row: &FlightRow,
        code: RefusalCode,
        text: &str,
        now: Now,
        settled: &mut Settled,
    ) -> Result<()> {
        match code {
            RefusalCode::RowTooLarge => {
                settled.set_aside += 1;
                self.wait(synced, row, Standing::SetAside, ReasonCode::RowTooLarge.word(), text, 1, None, now)
            }
            RefusalCode::WholeRowNeeded | RefusalCode::StampOld => {
                self.again(synced, row, "whole_row_needed", text, now, settled)
            }
            _ => self.again(synced, row, code.word(), text, now, settled),
        }
    }

    /// Tried again later and later; after `tries_max` refusals it waits for a person.
    pub(super) fn again(
        &mut self,
        synced: &Synced,
        row: &FlightRow,
        code: &str,
        text: &str,
        now: Now,
        settled: &mut Settled,
    ) -> Result<()> {
        let known = self.aside(synced, &row.key.encode())?;
        let tries = known.map_or(0, |known| known.tries) + 1;
        if tries >= self.replica.limits.tries_max {
            settled.set_aside += 1;
            return self.wait(synced, row, Standing::SetAside, code, text, tries, None, now);
        }
        let delay = match code {
            "whole_row_needed" | "stamp_future" => 0,
            _ => super::aside::delay(tries),
        };
        self.wait(synced, row, Standing::Retry, code, text, tries, Some(now.millis + delay), now)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn wait(
        &mut self,
        synced: &Synced,
        row: &FlightRow,
        standing: Standing,
        code: &str,
        text: &str,
        tries: u32,
        next_try_at: Option<i64>,
        now: Now,
    ) -> Result<()> {
        self.put_aside(
            synced,
            &row.key,
            &Aside {
                operation: row.operation,
                standing,
                code: code.to_owned(),
                reason: text.to_owned(),
                tries,
                next_try_at,
                since: Some(now.millis),
            },
        )?;
        self.drop_entries(&row.seqs)
    }
}

#[cfg(test)]
mod tests;
