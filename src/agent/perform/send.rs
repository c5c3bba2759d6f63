//! Staging a batch, sending it, and settling what the remote said.
//!
//! A batch is in the file before it is sent, and leaves it with the last slice of its
//! answer. One that the remote does not take whole is made smaller until the row is found
//! that it is about.

use std::sync::Arc;
use std::time::Instant;

use super::{Performer, note_changed};
use crate::engine::plan::{self, Candidate, Limits, Plan};
use crate::engine::session::Report;
use crate::model::status::Progress;
use crate::model::{Fault, FaultKind, Key, Outcome, ReasonCode, Revision};
use crate::remote::{Answer, Batch, RemoteError};
use crate::store::Store;
use crate::store::flight::Flight;
use crate::store::settle::Settling;
use crate::store::stage::Gathered;

/// Rows of the outbox that a plan looks at beside a batch: room to keep linked rows
/// together. At most this, and at most as many again.
const ROOM_ROWS: usize = 250;

/// How much of the outbox is looked at to choose a batch of `rows_max`.
pub fn window(store: &Store, rows_max: usize) -> usize {
    if store.has_links() { rows_max + rows_max.min(ROOM_ROWS) } else { rows_max }
}

impl Performer {
    pub(super) fn stage(&mut self) -> Result<Report, Fault> {
        self.clear_doubts()?;
        if self.follow_on() {
            return Ok(Report::Staged { something: true });
        }
        loop {
            if let Some(flight) = self.store_mut().flight()? {
                self.flight = Some(flight);
                self.more = false;
                return Ok(Report::Staged { something: true });
            }
            let limits = self.limits();
            let now = self.now();
            // Before the rows are looked at: an app writes both in one transaction.
            self.actions_upto = self.store_mut().newest_action()?;
            let (Some(store), Some(rules)) = (&mut self.store, &self.rules) else {
                unreachable!("BUG: staging is within a cycle")
            };
            let mut gathered = store.gather(now, window(store, limits.rows_max), rules)?;
            let plan = plan::plan(&candidates(&gathered), &rules.order, &limits);
            let staying = staying(&gathered, &plan);
            self.tally.set_aside += staying
                .iter()
                .filter(|(_, code, _)| !matches!(code, ReasonCode::PendingRetry | ReasonCode::PendingParent))
                .count() as u64;
            store.tidy(&gathered, &staying)?;
            if !plan.order.is_empty() {
                self.more = gathered.more || plan.more;
                let flight = self.board(&mut gathered, plan, self.known.batch + 1)?;
                self.store_mut().launch(&flight)?;
                self.flight = Some(flight);
                return Ok(Report::Staged { something: true });
            }
            if !gathered.more || (gathered.is_quiet() && staying.is_empty()) {
                return match self.has_errand(now.millis)? {
                    true => Ok(Report::Acting),
                    false => Ok(Report::Staged { something: false }),
                };
            }
        }
    }

    /// The planned batch, with the bytes it travels as.
    pub(super) fn board(&self, gathered: &mut Gathered, plan: Plan, number: i64) -> Result<Flight, Fault> {
        let store = self.store.as_ref().expect("BUG: staging is within a cycle");
        let mut order = plan.order;
        // Others may take one row after the other, and see what was written first first.
        if self.remote.abilities().numbers_versions {
            store.lay_out(gathered, &mut order);
        }
        let (changes, rows) = gathered.depart(&order);
        let batch = Batch {
            device: self.device.clone(),
            incarnation: self.known.incarnation.clone(),
            number,
            epoch: self.greeted.as_ref().map(|greeted| greeted.epoch.clone()).unwrap_or_default(),
            seen: store.seen()?,
            cursor: store.checkpoint()?,
            changes,
        };
        let keys = |table: &str| store.find(table).map(|synced| synced.table.key.clone()).unwrap_or_default();
        let body = self.remote.encode(&batch, &keys);
        Ok(Flight { batch: number, body, rows, taken: None })
    }

    pub(super) fn send(&mut self) -> Result<Report, Fault> {
        let flight = self.flight.as_ref().expect("BUG: sending comes after staging");
        if let Some(taken) = &flight.taken {
            let outcomes = taken.iter().map(|revision| Outcome::Applied(*revision)).collect();
            self.answer = Some(Answer {
                outcomes,
                head: taken.iter().copied().max().unwrap_or(Revision::NONE),
                time: self.now().millis,
            });
            self.settling = Settling::default();
            return Ok(Report::Sent);
        }
        let changes: Vec<(Arc<str>, Key)> =
            flight.rows.iter().map(|row| (row.table.clone(), row.key.clone())).collect();
        let takes_everything = self.remote.abilities().takes_everything;
        if takes_everything {
            let now = self.now();
            let (Some(store), remote) = (&self.store, &mut self.remote) else {
                unreachable!("BUG: sending is within a cycle")
            };
            let packed = store.every_row(now, |rows| remote.pack(rows))?;
            if let Err(error) = packed {
                return self.over(error);
            }
        }
        let went_before = std::mem::take(&mut self.went_before);
        if !went_before {
            self.asked_at = self.world.clock.millis();
        }
        let ahead = if self.remote.set_off(&flight.body) { self.look_ahead() } else { None };
        let flight = self.flight.as_ref().expect("BUG: sending comes after staging");
        match self.remote.push(&flight.body, &changes) {
            Ok(answer) => {
                let took = self.world.clock.millis() - self.asked_at;
                // One that came while another was settled tells nothing of the way there.
                if !went_before {
                    self.tally.latency = u64::try_from(took).ok();
                }
                self.growth.answered(self.more, took);
                for outcome in &answer.outcomes {
                    if let Outcome::Refused { code, .. } = outcome {
                        *self.tally.refused.entry(code.word().to_owned()).or_default() += 1;
                    }
                }
                self.answer = Some(answer);
                self.settling = Settling::default();
                self.count_traffic();
                if let Some(ahead) = ahead {
                    self.follow_up(ahead);
                }
                Ok(Report::Sent)
            }
            // No smaller set would be the whole.
            Err(RemoteError::TooLarge) if takes_everything => Err(refused_whole("it is too large")),
            Err(RemoteError::Refused(text)) if takes_everything => Err(refused_whole(&text)),
            Err(RemoteError::TooLarge) => self.shrink(RemoteError::TooLarge),
            Err(RemoteError::Refused(text)) => self.shrink(RemoteError::Refused(text)),
            Err(RemoteError::Behind) => {
                self.count_traffic();
                let flight = self.flight.take().expect("BUG: only a batch can be behind");
                self.store_mut().doubt_flight(&flight);
                Ok(Report::Behind)
            }
            Err(error) => self.over(error),
        }
    }

    /// The remote found the batch too large, or something in it wrong, and took nothing
    /// of it: smaller ones find the row that it is about.
    fn shrink(&mut self, why: RemoteError) -> Result<Report, Fault> {
        self.count_traffic();
        let flight = self.flight.take().expect("BUG: only a batch can be refused whole");
        let now = self.now();
        if flight.rows.len() > 1 {
            self.store_mut().scrap()?;
            self.rows_max = Some(flight.rows.len() / 2);
            return Ok(Report::Settled { done: true, progress: true, in_flight: false });
        }
        match why {
            RemoteError::Refused(text) => {
                self.tally.set_aside += self.store_mut().refuse(&flight, &text, now)?;
                // It was this row, and not the size.
                self.rows_max = None;
            }
            _ => {
                self.store_mut().refuse_large(&flight, "the remote does not take a row this large", now)?;
                self.tally.set_aside += 1;
            }
        }
        Ok(Report::Settled { done: true, progress: true, in_flight: false })
    }

    /// What was refused because the remote was ahead is planned anew after the pull.
    fn clear_doubts(&mut self) -> Result<(), Fault> {
        let store = self.store_mut();
        if store.has_doubts() { store.scrap() } else { Ok(()) }
    }

    pub(super) fn settle(&mut self) -> Result<Report, Fault> {
        let now = self.now();
        let (Some(flight), Some(answer)) = (&self.flight, &self.answer) else {
            unreachable!("BUG: settling comes after sending")
        };
        let (Some(store), Some(rules)) = (&mut self.store, &self.rules) else {
            unreachable!("BUG: settling is within a cycle")
        };
        let slice = self.courtesy.slice(self.world.slice, store)?;
        self.courtesy.wait(slice);
        let began = Instant::now();
        let (settled, done) = store.settle(flight, &answer.outcomes, &mut self.settling, rules, now, slice)?;
        self.courtesy.freed(slice, self.world.slice.time_max, began);
        let time = answer.time;
        self.tally.cycle.pushed += settled.applied;
        self.tally.cycle.conflicts += settled.conflicts;
        self.tally.set_aside += settled.set_aside;
        if settled.clock_ahead {
            self.measure(time);
        }
        let progress = settled.applied > 0 || settled.set_aside > 0;
        self.behind |= settled.conflicts + settled.refused > 0 && !self.remote.abilities().finds_conflicts;
        note_changed(&mut self.tally.changed, settled.changed);
        self.fold(settled.applied);
        if done {
            self.known.batch = self.flight.take().map_or(self.known.batch, |flight| flight.batch);
            self.answer = None;
            let pushed = self.tally.cycle.pushed;
            self.tally.progress = Some(Progress { what: "sending".to_owned(), done: pushed, total: None });
        }
        // What is newer there is found by the time of the last pull: that must move first.
        if done && self.behind {
            self.behind = false;
            return Ok(Report::Behind);
        }
        let in_flight = done && self.store_mut().has_flight()?;
        Ok(Report::Settled { done, progress, in_flight })
    }

    pub(super) fn limits(&self) -> Limits {
        let limits = &self.replica.limits;
        let greeted = self.greeted.as_ref();
        let rows = greeted.map_or(usize::MAX, |greeted| greeted.batch_rows_max);
        let bytes = greeted.map_or(usize::MAX, |greeted| greeted.batch_bytes_max);
        // Whoever does not say what it takes gets what the settings name.
        let times = if limits.batches_grow && rows < usize::MAX { self.growth.times() } else { 1 };
        let named = limits.batch_rows_max.saturating_mul(times);
        Limits {
            rows_max: named.min(rows).min(self.rows_max.unwrap_or(usize::MAX)).max(1),
            bytes_max: limits.batch_bytes_max.saturating_mul(times).min(bytes),
            row_bytes_max: greeted.map_or(usize::MAX, |greeted| greeted.row_bytes_max),
        }
    }
}

/// What the planner sees of what the store gathered.
pub fn candidates(gathered: &Gathered) -> Vec<Candidate> {
    gathered
        .candidates
        .iter()
        .map(|candidate| Candidate {
            table: candidate.change.table.clone(),
            key: candidate.change.key.clone(),
            operation: candidate.change.operation,
            priority: candidate.priority,
            seq: candidate.change.seq,
            bytes: candidate.change.weight(),
            needs: candidate.needs.clone(),
            held: candidate.held,
        })
        .collect()
}

/// What the plan keeps back, with the sentence that people will read.
pub fn staying(gathered: &Gathered, plan: &Plan) -> Vec<(usize, ReasonCode, String)> {
    let sentence = |at: usize, code: ReasonCode| {
        let candidate = &gathered.candidates[at];
        let parent = candidate.needs.first().map(|need| &gathered.candidates[*need].change);
        let parent = parent.map_or_else(String::new, |parent| format!(" ({} {})", parent.table, parent.key));
        match code {
            ReasonCode::RowTooLarge => {
                format!("{} bytes are more than the remote takes in one row", candidate.change.weight())
            }
            ReasonCode::ParentSetAside => format!("the row it refers to{parent} is set aside"),
            ReasonCode::PendingParent => format!("it goes when the row it refers to{parent} has gone"),
            ReasonCode::MassDeletion => "so many rows were deleted at once that a person is asked first".to_owned(),
            ReasonCode::KeyUnusable => "several rows have this key (NULL in a key is not unique)".to_owned(),
            ReasonCode::TooOld => "it was not sent within pending_age_max".to_owned(),
            _ => "refused before; it is tried again".to_owned(),
        }
    };
    plan.staying.iter().map(|(at, code)| (*at, *code, sentence(*at, *code))).collect()
}

fn refused_whole(why: &str) -> Fault {
    let text = format!("the remote does not take the whole set ({why}); nothing was lost, and all changes stay queued");
    let next = "tried again later; see what the remote has against it, or leave tables out with `exclude`";
    Fault::new(FaultKind::Protocol, ReasonCode::ProtocolError, text, next)
}
