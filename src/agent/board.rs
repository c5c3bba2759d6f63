//! The board: how every replica stands, where workers write and everybody reads.
//!
//! State shown here is what the session said last; nothing is decided from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value as Json, json};
use tokio::sync::{broadcast, watch};

use crate::engine::session::View;
use crate::ipc::answer::STATUS;
use crate::ipc::{Event, Topic};
use crate::model::settings::Replica;
use crate::model::status::{Cycle, HistoryEntry, Link, Progress, ReplicaStatus, State, Status};
use crate::model::{Reason, ReasonCode};
use crate::store::report::Counts;

/// Past cycles at hand, a replica; older ones are in its archive.
pub const HISTORY_MAX: usize = 500;
/// Events a slow reader may be behind before it is told that it missed some.
const EVENTS_MAX: usize = 1_024;

/// What was done since the agent started.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub cycle: Cycle,
    /// Cycles that did not go well.
    pub failed: BTreeMap<ReasonCode, u64>,
    /// Changes refused by the remote's code; conflicts by what came of them.
    pub refused: BTreeMap<String, u64>,
    pub resolved: BTreeMap<String, u64>,
    /// What waits by table, when a cycle last ended.
    pub queued: BTreeMap<String, u64>,
}

impl Totals {
    pub fn add(&mut self, entry: &HistoryEntry) {
        let HistoryEntry { cycle, detail, .. } = entry;
        let total = &mut self.cycle;
        total.pushed += cycle.pushed;
        total.pulled += cycle.pulled;
        total.conflicts += cycle.conflicts;
        total.bytes_up += cycle.bytes_up;
        total.bytes_down += cycle.bytes_down;
        total.milliseconds += cycle.milliseconds;
        if let Some(reason) = &entry.reason {
            *self.failed.entry(reason.code).or_default() += 1;
        }
        for (sums, counts) in [(&mut self.refused, &detail.refused), (&mut self.resolved, &detail.resolved)] {
            for (word, count) in counts {
                *sums.entry(word.clone()).or_default() += count;
            }
        }
        self.queued = detail.queued.clone();
    }
}

/// One replica on the board.
#[derive(Clone, Debug)]
pub struct Face {
    pub replica: Replica,
    pub view: View,
    /// Wall clock, milliseconds, of what `view.next_at` says.
    pub next_sync_at: Option<i64>,
    pub counts: Counts,
    pub last_sync_at: Option<i64>,
    pub last_cycle: Option<Cycle>,
    pub history: VecDeque<HistoryEntry>,
    pub totals: Totals,
    pub notes: Vec<String>,
    pub progress: Option<Progress>,
    pub latency: Option<u64>,
    /// Bytes a second, as last measured.
    pub rate_up: Option<u64>,
    pub rate_down: Option<u64>,
    pub skew: Option<i64>,
    /// Cycles begun and ended, and how the last one ended.
    pub begun: u64,
    pub ended: u64,
    pub outcome: Option<Reason>,
    /// The config does not name it any more; its place stays, so that others keep theirs.
    pub gone: bool,
}

impl Face {
    pub fn new(replica: Replica, view: View) -> Face {
        Face {
            replica,
            view,
            next_sync_at: None,
            counts: Counts::default(),
            last_sync_at: None,
            last_cycle: None,
            history: VecDeque::new(),
            totals: Totals::default(),
            notes: Vec::new(),
            progress: None,
            latency: None,
            rate_up: None,
            rate_down: None,
            skew: None,
            begun: 0,
            ended: 0,
            outcome: None,
            gone: false,
        }
    }

    pub fn status(&self, now: i64) -> ReplicaStatus {
        let counts = &self.counts;
        ReplicaStatus {
            name: self.replica.name.clone(),
            database: self.replica.database.display().to_string(),
            state: self.view.word,
            reason: self.view.reason.clone().or_else(|| self.unfinished(counts)),
            pending: counts.pending,
            set_aside: counts.set_aside,
            conflicts: counts.conflicts,
            parked: counts.parked,
            last_sync_at: self.last_sync_at,
            next_sync_at: self.next_sync_at,
            oldest_pending_seconds: counts.oldest.map(|at| (now.saturating_sub(at).max(0) / 1000) as u64),
            online: self.view.online,
            link: Link { latency_ms: self.latency, failures: self.view.failures, skew_ms: self.skew },
            last_cycle: self.last_cycle.clone(),
            notes: self.notes.clone(),
            progress: if self.view.word == State::Syncing { self.progress.clone() } else { None },
            lasting: self.view.lasting,
        }
    }

    /// What a person should know although nothing failed: too much waits, something waits
    /// for a decision, or for a row to come.
    pub fn unfinished(&self, counts: &Counts) -> Option<Reason> {
        let name = &self.replica.name;
        let reason = |code, text: String, next: String| Some(Reason { code, text, next });
        match counts {
            counts if self.replica.limits.pending_rows_max.is_some_and(|most| counts.pending >= most) => reason(
                ReasonCode::QueueFull,
                format!("{} changes wait, more than `pending_rows_max` expects; nothing is lost", counts.pending),
                "see that the remote can be reached: `homing status`, `homing history`".to_owned(),
            ),
            counts if counts.held_deletions > 0 => reason(
                ReasonCode::MassDeletion,
                format!(
                    "{} rows were deleted at the remote at once; they stay here until you agree",
                    counts.held_deletions
                ),
                format!("`homing queue retry {name} --all` lets them go; to keep them, write to them"),
            ),
            counts if counts.set_aside > 0 => {
                let what = changes_are(counts.set_aside);
                let (text, next) = match counts.set_aside_for {
                    Some(ReasonCode::MassDeletion) => (
                        format!("{what} held back: so many rows were deleted at once that a person is asked first"),
                        format!(
                            "`homing queue retry {name} --all` sends them, `homing queue discard` brings a row back"
                        ),
                    ),
                    _ => (
                        format!("{what} set aside and kept here; everything else goes on"),
                        format!(
                            "`homing queue list {name}` says why; edit the row, or `homing queue retry {name} --all`"
                        ),
                    ),
                };
                reason(counts.set_aside_for.unwrap_or(ReasonCode::RowRefused), text, next)
            }
            counts if counts.conflicts > 0 => reason(
                ReasonCode::ConflictManual,
                match counts.conflicts {
                    1 => "1 conflict waits for a person; both versions are kept".to_owned(),
                    many => format!("{many} conflicts wait for a person; both versions of each are kept"),
                },
                format!("`homing conflicts list {name} --open` shows what met what"),
            ),
            counts if counts.parked > 0 => reason(
                ReasonCode::ParkedConstraint,
                match counts.parked {
                    1 => "1 row from the remote cannot be written here yet; it is kept and tried again".to_owned(),
                    many => {
                        format!("{many} rows from the remote cannot be written here yet; they are kept and tried again")
                    }
                },
                format!("`homing explain {name} TABLE KEY` says why"),
            ),
            _ => None,
        }
    }
}

/// `1 change is`, `12 changes are`.
pub fn changes_are(count: u64) -> String {
    if count == 1 { "1 change is".to_owned() } else { format!("{count} changes are") }
}

pub struct Board {
    faces: Mutex<Vec<Face>>,
    sequence: Mutex<u64>,
    events: broadcast::Sender<Arc<Event>>,
    /// Changes whenever a cycle begins or ends.
    turns: watch::Sender<u64>,
}

impl Board {
    pub fn new(faces: Vec<Face>) -> Board {
        Board {
            faces: Mutex::new(faces),
            sequence: Mutex::new(0),
            events: broadcast::channel(EVENTS_MAX).0,
            turns: watch::channel(0).0,
        }
    }

    pub fn faces(&self) -> MutexGuard<'_, Vec<Face>> {
        self.faces.lock().expect("BUG: nobody panics while holding the board")
    }

    /// Gives a replica its place: the one it had, with its history, or a new one.
    pub fn enter(&self, face: Face) -> usize {
        let mut faces = self.faces();
        match faces.iter().position(|old| old.replica.name == face.replica.name) {
            Some(at) => {
                let old = &mut faces[at];
                // Cycles are counted on: whoever waits for one compares.
                *old = Face {
                    history: std::mem::take(&mut old.history),
                    totals: std::mem::take(&mut old.totals),
                    last_sync_at: old.last_sync_at,
                    last_cycle: old.last_cycle.take(),
                    begun: old.begun,
                    ended: old.begun,
                    ..face
                };
                at
            }
            None => {
                faces.push(face);
                faces.len() - 1
            }
        }
    }

    pub fn leave(&self, at: usize) {
        self.faces()[at].gone = true;
        self.turns.send_modify(|turn| *turn += 1);
    }

    /// Changes one face, and tells everybody how it looks now.
    pub fn change<T>(&self, at: usize, now: i64, change: impl FnOnce(&mut Face) -> T) -> T {
        let (done, before, after) = {
            let mut faces = self.faces();
            let face = &mut faces[at];
            let before = face.status(now);
            let done = change(face);
            (done, before, face.status(now))
        };
        if before != after {
            let topic = if only_progress(&before, &after) { Topic::Progress } else { Topic::Status };
            let data = match topic {
                Topic::Progress => {
                    let progress = after.progress.clone().unwrap_or_default();
                    json!({"replica": after.name, "what": progress.what, "done": progress.done, "total": progress.total})
                }
                _ => serde_json::to_value(&after).expect("BUG: a status is JSON"),
            };
            self.tell(topic, now, data);
        }
        self.turns.send_modify(|turn| *turn += 1);
        done
    }

    pub fn tell(&self, topic: Topic, now: i64, data: Json) {
        // Numbered and sent under one lock: receivers see no gap and no step back.
        let mut sequence = self.sequence.lock().expect("BUG: nobody panics while holding the sequence");
        *sequence += 1;
        let _ = self.events.send(Arc::new(Event { seq: *sequence, topic, time: now, data }));
    }

    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    pub fn remember(&self, at: usize, entry: HistoryEntry) {
        let mut faces = self.faces();
        let history = &mut faces[at].history;
        history.push_front(entry);
        history.truncate(HISTORY_MAX);
    }

    pub fn status(&self, now: i64, wanted: Option<&str>) -> Status {
        let faces = self.faces();
        let chosen = faces.iter().filter(|face| !face.gone && wanted.is_none_or(|name| face.replica.name == name));
        Status {
            schema: STATUS.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: chosen.map(|face| face.status(now)).collect(),
        }
    }
}

fn only_progress(before: &ReplicaStatus, after: &ReplicaStatus) -> bool {
    let quiet =
        |status: &ReplicaStatus| ReplicaStatus { progress: None, oldest_pending_seconds: None, ..status.clone() };
    after.progress.is_some() && quiet(before) == quiet(after)
}
