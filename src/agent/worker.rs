//! One replica's thread: its session, its performer, and the loop between them.
//!
//! Everything that happens comes in as an `Order`; nobody else touches the session.
//! Between two steps of a cycle waiting orders are taken in, so that a pause, a stop or
//! a wake never waits for a whole cycle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;

use super::archive::Archive;
use super::board::Board;
use super::claim::Claim;
use super::clock::{Clock, SystemClock};
use super::crew::Pulse;
use super::perform::{Outgone, Performer};
use super::standing::Standing;
use super::telemetry::Telemetry;
use super::watch::{Print, Sight, TICK_MAX, Watcher};
use crate::engine::session::{Action, Event, LASTING, Session, Step, Wake};
use crate::ipc::Topic;
use crate::model::settings::{Replica, TableRule};
use crate::model::status::{Cycle, Detail, HistoryEntry};
use crate::model::{Fault, ReasonCode, Revision, Saving, action};
use crate::remote::{Hint, Listening};
use crate::store::Store;
use crate::store::kept::{KEEP, Kept};
use crate::store::peek::{self, Glance};

/// Keys an event names at most, a table.
const KEYS_MAX: usize = 100;

/// A cycle that takes longer than this does not listen to the file any more: most of what
/// it would hear is itself.
const LONG: Duration = Duration::from_millis(100);

pub enum Order {
    Event(Event),
    /// Something may have been written to the file.
    Look,
    /// Take every trace out of the file; the answer says how it went.
    Detach {
        discard: bool,
        answer: Sender<Result<(), Fault>>,
    },
    /// The remote says that it has more; up to which revision, where it says that.
    Hint(Option<Revision>),
    /// The live channel is away, and why; `None`: it is there.
    Away(Option<String>),
    /// Answered between two steps: the loop turns.
    Probe(oneshot::Sender<()>),
    Stop,
}

pub struct Worker {
    pub at: usize,
    pub replica: Replica,
    pub device: String,
    pub state_dir: PathBuf,
    pub session: Session,
    pub performer: Performer,
    pub archive: Archive,
    pub telemetry: Arc<Telemetry>,
    pub board: Arc<Board>,
    pub orders: Receiver<Order>,
    /// A way to itself, for the watcher and the live channel.
    pub post: Sender<Order>,
    pub pulse: Arc<Pulse>,
}

/// What a worker keeps between orders.
struct Desk {
    start: Instant,
    alarm: Option<i64>,
    next: Option<Step>,
    listening: Option<Listening>,
    /// The files as they were just before our own last glance.
    print: Print,
    /// A write could hide behind the last print until then: look once more.
    recheck: Option<Instant>,
    glance: Glance,
    /// The file, for a moment after a cycle.
    kept: Option<Kept>,
    watcher: Watcher,
    /// The newest revision that the remote hinted at while a cycle ran.
    hinted: Option<Revision>,
    /// Why the live channel is away.
    away: Option<String>,
    began_at: i64,
    cause: Wake,
    fault: Option<Fault>,
    /// What failed last, and how many times in a row.
    trouble: Option<(ReasonCode, u32)>,
    cycle_start: Instant,
    spent: Spent,
    checkpoint_age_seconds: Option<u64>,
    /// From the first step on; within, `None` where no lock can be made.
    claim: Option<Option<Claim>>,
    stopping: bool,
}

impl Worker {
    pub fn run(mut self) {
        let post = self.post.clone();
        let watcher = Watcher::new(&self.replica.database, move || {
            let _ = post.send(Order::Look);
        });
        let mut desk = Desk {
            start: Instant::now(),
            alarm: None,
            next: None,
            listening: None,
            print: Print::default(),
            recheck: None,
            glance: Glance::default(),
            kept: None,
            watcher,
            hinted: None,
            away: None,
            began_at: 0,
            cause: Wake::Start,
            fault: None,
            trouble: None,
            cycle_start: Instant::now(),
            spent: Spent::default(),
            checkpoint_age_seconds: None,
            claim: None,
            stopping: false,
        };
        let standing = Standing::load(&self.state_dir, &self.replica.name);
        match standing {
            Standing { detached: true, .. } => self.handle(&mut desk, Event::Detach),
            Standing { paused: true, .. } => self.handle(&mut desk, Event::Pause),
            _ if self.replica.schedule.startup => self.handle(&mut desk, Event::Wake(Wake::Start)),
            _ => self.handle(&mut desk, Event::Tick),
        }
        while !desk.stopping {
            match desk.next.take() {
                Some(step) => {
                    self.step(&mut desk, step);
                    while let Ok(order) = self.orders.try_recv() {
                        self.obey(&mut desk, order);
                    }
                }
                None => self.rest(&mut desk),
            }
        }
        if let Some(kept) = desk.kept.take() {
            kept.close();
        }
    }

    /// Waits for an order or the alarm, whichever comes first.
    fn rest(&mut self, desk: &mut Desk) {
        let now = desk.now();
        let alarm = desk.alarm.map(|at| Duration::from_millis((at - now).max(0) as u64));
        let poll =
            desk.watcher.polls.as_ref().map(|_| Duration::from_millis(self.replica.schedule.poll.max(100) as u64));
        let recheck = desk.recheck.map(|at| at.saturating_duration_since(Instant::now()));
        let kept = desk.kept.as_ref().map(|kept| kept.until.saturating_duration_since(Instant::now()));
        let wait = alarm.into_iter().chain(poll).chain(recheck).chain(kept).min();
        let order = match wait {
            Some(wait) => match self.orders.recv_timeout(wait) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Order::Stop),
            },
            None => Some(self.orders.recv().unwrap_or(Order::Stop)),
        };
        match order {
            Some(order) => self.obey(desk, order),
            None => {
                if let Some(kept) = desk.kept.take_if(|kept| kept.until <= Instant::now()) {
                    kept.close();
                }
                if desk.recheck.is_some_and(|at| at <= Instant::now()) {
                    self.look_closely(desk);
                } else if poll.is_some() {
                    self.look(desk);
                }
                self.ring(desk);
            }
        }
    }

    /// Rings the alarm, if it is due.
    fn ring(&mut self, desk: &mut Desk) {
        if desk.alarm.is_some_and(|at| at <= desk.now()) {
            desk.alarm = None;
            self.handle(desk, Event::Tick);
        }
    }

    fn obey(&mut self, desk: &mut Desk, order: Order) {
        match order {
            Order::Event(event) => {
                self.handle(desk, event);
            }
            Order::Look if self.session.is_running() => {}
            Order::Look => self.look(desk),
            Order::Detach { discard, answer } => {
                let _ = answer.send(self.detach(desk, discard));
            }
            // Until the cycle is over nobody can say whether that is news.
            Order::Hint(head) if self.session.is_running() => desk.hinted = desk.hinted.max(Some(newest(head))),
            Order::Hint(head) => self.hinted(desk, newest(head)),
            Order::Away(why) => {
                if why.is_some() != desk.away.is_some() {
                    let replica = self.replica.name.as_str();
                    match &why {
                        Some(why) => tracing::warn!(replica, "{why}"),
                        None => tracing::info!(replica, "the live channel is there again"),
                    }
                }
                desk.away = why;
                let notes = self.notes(desk);
                self.board.change(self.at, SystemClock.millis(), |face| face.notes = notes);
            }
            Order::Probe(answer) => {
                let _ = answer.send(());
            }
            Order::Stop => desk.stopping = true,
        }
    }

    fn handle(&mut self, desk: &mut Desk, event: Event) {
        let actions = self.session.handle(desk.now(), event);
        for action in actions {
            match action {
                Action::Do(step) => {
                    if step == Step::Begin {
                        self.begin(desk);
                    }
                    desk.next = Some(step);
                }
                Action::Alarm(at) => desk.alarm = at,
                Action::Listen(true) => desk.listening = self.listen(),
                Action::Listen(false) => {
                    desk.listening = None;
                    desk.away = None;
                }
                Action::Tell => {}
            }
        }
        self.publish(desk);
    }

    fn begin(&mut self, desk: &mut Desk) {
        desk.began_at = SystemClock.millis();
        desk.cause = self.session.cause().unwrap_or(Wake::Command);
        desk.fault = None;
        desk.cycle_start = Instant::now();
        let before = self.board.change(self.at, desk.began_at, |face| {
            face.begun += 1;
            face.last_sync_at
        });
        desk.checkpoint_age_seconds = before.map(|at| (desk.began_at.saturating_sub(at).max(0) / 1000) as u64);
        desk.spent = Spent::default();
    }

    fn step(&mut self, desk: &mut Desk, step: Step) {
        match step {
            // Before it looks at the file: what is written after that is heard.
            Step::End => desk.watcher.resume(),
            _ if desk.cycle_start.elapsed() > LONG => desk.watcher.pause(),
            _ => {}
        }
        self.pulse.step_begins();
        self.performer.newest = desk.glance.newest;
        let began = Instant::now();
        let done = self.claim(desk).and_then(|()| {
            if let Some(file) = desk.kept.take_if(|_| step == Step::Begin).and_then(Kept::again) {
                self.performer.lend(file);
            }
            self.performer.perform(step)
        });
        self.pulse.step_ends();
        desk.spent.count(step, began.elapsed());
        match &done {
            Ok(_) => tracing::debug!(replica = %self.replica.name, ?step, "done"),
            Err(fault) => {
                tracing::debug!(replica = %self.replica.name, ?step, code = fault.reason.code.word(), "{}", fault.reason.text);
                desk.fault.get_or_insert_with(|| fault.clone());
            }
        }
        if step == Step::End {
            let left = self.performer.left.take().filter(|_| desk.fault.is_none());
            desk.kept = left.and_then(|file| Kept::new(file, &self.replica.database, Instant::now() + KEEP));
            desk.recheck = None;
            self.ended(desk);
            if let Some(head) = desk.hinted.take() {
                self.hinted(desk, head);
            }
        }
        self.handle(desk, done.map_or_else(Event::Failed, Event::Done));
        if step == Step::End {
            // What was written while the cycle ran was not looked at: the files alone
            // do not say whether the cycle or the app wrote last.
            match self.performer.sight.take() {
                Some(sight) if !self.session.is_running() => self.saw(desk, sight),
                _ => self.look_closely(desk),
            }
        }
    }

    /// The remote has revisions up to `head`: a reason to pull, unless they are here.
    fn hinted(&mut self, desk: &mut Desk, head: Revision) {
        if self.performer.remote().has_pulled(head) {
            return;
        }
        let idle = !self.session.is_running();
        self.handle(desk, Event::Wake(Wake::Live));
        if idle && self.session.is_running() && !desk.glance.unsent {
            self.performer.remote().hurry();
        }
    }

    /// Nobody else's agent may touch the file meanwhile.
    fn claim(&self, desk: &mut Desk) -> Result<(), Fault> {
        if desk.claim.is_none() {
            desk.claim = Some(Claim::take(&self.replica.database)?);
        }
        Ok(())
    }

    /// The cycle is over: history, events, and what the files look like now.
    fn ended(&mut self, desk: &mut Desk) {
        let now = SystemClock.millis();
        let tally = &mut self.performer.tally;
        tally.cycle.milliseconds = desk.cycle_start.elapsed().as_millis() as u64;
        let tally = tally.clone();
        let resolved = match tally.cycle.conflicts {
            0 => BTreeMap::new(),
            count => self.resolved(count, desk.began_at),
        };
        let reason = desk.fault.as_ref().map(|fault| fault.reason.clone());
        let entry = HistoryEntry {
            replica: self.replica.name.clone(),
            at: desk.began_at,
            cause: desk.cause.word().to_owned(),
            cycle: tally.cycle.clone(),
            detail: Detail {
                push_milliseconds: desk.spent.push.as_millis() as u64,
                pull_milliseconds: desk.spent.pull.as_millis() as u64,
                apply_milliseconds: desk.spent.apply.as_millis() as u64,
                checkpoint_age_seconds: desk.checkpoint_age_seconds,
                queued: tally.queued.clone(),
                refused: tally.refused.clone(),
                resolved,
            },
            reason: reason.clone(),
        };
        let whole = !self.session.is_cut_short();
        let moved = tally.cycle.pushed + tally.cycle.pulled + tally.cycle.conflicts > 0;
        self.log(desk, &tally.cycle, moved);
        let notes = self.notes(desk);
        let counts = tally.counts.clone();
        self.board.change(self.at, now, |face| {
            // One that a detach broke off ended without coming here.
            face.ended = face.begun;
            face.outcome = reason.clone();
            face.totals.add(&entry);
            face.counts = counts;
            face.notes = notes;
            face.progress = None;
            face.latency = tally.latency.or(face.latency);
            face.rate_up = rate(tally.cycle.bytes_up, desk.spent.push).or(face.rate_up);
            face.rate_down = rate(tally.cycle.bytes_down, desk.spent.pull).or(face.rate_down);
            face.skew = tally.skew.or(face.skew);
            if reason.is_none() && whole {
                face.last_sync_at = Some(now);
            }
            if moved || reason.is_some() || face.last_cycle.is_none() {
                face.last_cycle = Some(tally.cycle.clone());
            }
        });
        if moved || reason.is_some() || desk.cause == Wake::Command {
            self.archive.add(&entry, now);
            self.telemetry.note(&entry);
            self.board.remember(self.at, entry.clone());
            self.board.tell(Topic::Cycle, now, serde_json::to_value(&entry).expect("BUG: history is JSON"));
        }
        if !tally.changed.is_empty() {
            let tables: Vec<_> = tally
                .changed
                .iter()
                .map(|(table, keys)| {
                    let named: Vec<String> = keys.iter().take(KEYS_MAX).map(ToString::to_string).collect();
                    json!({"table": table, "keys": named, "more": keys.len() > KEYS_MAX})
                })
                .collect();
            self.board.tell(Topic::Changed, now, json!({"replica": self.replica.name, "tables": tables}));
        }
        for Outgone { action, said } in &tally.actions {
            let (state, answer, reason) = match said {
                Ok(answer) => ("done", Some(answer.chars().take(action::ANSWER_CHARS_MAX).collect::<String>()), None),
                Err(reason) => ("set_aside", None, Some(reason)),
            };
            let data = json!({"replica": self.replica.name, "id": action.id, "action": action.name, "key": action.key,
                "state": state, "answer": answer, "reason": reason});
            self.board.tell(Topic::Action, now, data);
        }
        if tally.cycle.conflicts > 0 || tally.set_aside > 0 {
            self.tell_troubles(now, tally.cycle.conflicts, tally.set_aside);
        }
    }

    /// One line when trouble begins, one when it lasts, one when it is over; and one for
    /// each cycle that moved something.
    fn log(&self, desk: &mut Desk, cycle: &Cycle, moved: bool) {
        let replica = self.replica.name.as_str();
        let number = self.board.faces()[self.at].begun;
        let Some(fault) = &desk.fault else {
            if let Some((_, tries)) = desk.trouble.take() {
                tracing::info!(replica, cycle = number, tries, "the trouble is over");
            }
            if moved {
                let Cycle { pushed, pulled, conflicts, milliseconds, .. } = cycle;
                tracing::info!(replica, cycle = number, pushed, pulled, conflicts, milliseconds, "synced");
            }
            return;
        };
        let code = fault.reason.code;
        let tries = desk.trouble.filter(|(known, _)| *known == code).map_or(1, |(_, tries)| tries + 1);
        desk.trouble = Some((code, tries));
        match tries {
            1 => tracing::warn!(replica, cycle = number, code = code.word(), "{}", fault.reason.text),
            LASTING => {
                tracing::error!(replica, cycle = number, code = code.word(), tries, "it lasts: {}", fault.reason.text)
            }
            _ => tracing::debug!(replica, cycle = number, code = code.word(), tries, "{}", fault.reason.text),
        }
    }

    /// What came of the conflicts of a cycle that began at `since`.
    fn resolved(&self, count: u64, since: i64) -> BTreeMap<String, u64> {
        let mut outcomes = BTreeMap::new();
        let Ok(store) = Store::look(&self.replica, &self.device) else { return outcomes };
        let newest = store.conflicts(false, count as usize).unwrap_or_default();
        for entry in newest.iter().filter(|entry| entry.at >= since) {
            *outcomes.entry(entry.outcome().to_owned()).or_default() += 1;
        }
        store.close();
        outcomes
    }

    fn tell_troubles(&self, now: i64, conflicts: u64, set_aside: u64) {
        let Ok(store) = Store::look(&self.replica, &self.device) else { return };
        if conflicts > 0 {
            let newest = store.conflicts(false, (conflicts as usize).min(KEYS_MAX)).unwrap_or_default();
            for entry in newest.iter().filter(|entry| entry.at >= now - 60_000) {
                self.board.tell(Topic::Conflict, now, serde_json::to_value(entry).expect("BUG: a conflict is JSON"));
            }
        }
        if set_aside > 0 {
            let queue = store.queue(None, 1_000).unwrap_or_default();
            for entry in queue.iter().filter(|entry| entry.state == "set_aside").take(KEYS_MAX) {
                self.board.tell(Topic::SetAside, now, serde_json::to_value(entry).expect("BUG: a change is JSON"));
            }
        }
        store.close();
    }

    /// Was anything written since the last look? Costs two `stat` when not.
    fn look(&mut self, desk: &mut Desk) {
        if !self.session.is_running() && Print::of(&self.replica.database) != desk.print {
            self.look_closely(desk);
        }
    }

    /// The print is taken before the glance: what is written between the two shows as a
    /// difference the next time.
    fn look_closely(&mut self, desk: &mut Desk) {
        desk.recheck = None;
        if self.session.is_running() {
            return;
        }
        let print = Print::of(&self.replica.database);
        let fresh = print.is_fresh();
        let until = desk.kept.as_ref().map(|kept| kept.until);
        let kept = desk.kept.take().and_then(Kept::again);
        match peek::glance(&self.replica.database, kept, desk.glance.newest) {
            Ok((glance, file)) => {
                self.saw(desk, Sight { print, fresh, glance });
                // What a cycle needs first is at hand.
                match (self.session.is_running() && self.claim(desk).is_ok(), until) {
                    (true, _) => self.performer.lend(file),
                    (false, Some(until)) => {
                        desk.kept = Kept::new(file, &self.replica.database, until);
                    }
                    (false, None) => file.close(),
                }
            }
            // Busy for long: look again when it may be over.
            Err(fault) if fault.reason.code == ReasonCode::DatabaseLocked => {
                desk.recheck = Some(Instant::now() + TICK_MAX);
            }
            // Gone: the next cycle says so in words.
            Err(_) => {
                desk.print = print;
                self.handle(desk, Event::Written { immediate: false, urgent: false });
            }
        }
    }

    /// Was anything written since the last glance?
    fn saw(&mut self, desk: &mut Desk, Sight { print, fresh, glance }: Sight) {
        let renamed = glance.incarnation != desk.glance.incarnation;
        let asked = glance.action > 0 && (glance.action > desk.glance.action || renamed);
        let written = asked || glance.unsent && (glance.newest != desk.glance.newest || renamed);
        let replaced = desk.glance.attached && (renamed || !glance.attached);
        let migrated = glance.schema_version != desk.glance.schema_version && desk.glance.attached;
        let added = if renamed { 0 } else { (glance.newest - desk.glance.newest).max(0) as u64 };
        let rules = || glance.tables.iter().map(|table| self.replica.rule(table));
        let immediate = rules().any(|rule| rule.immediate);
        let urgent = rules().any(TableRule::is_urgent);
        desk.glance = glance;
        desk.recheck = fresh.then(|| Instant::now() + TICK_MAX);
        desk.print = print;
        if !(written || replaced || migrated) {
            return;
        }
        // A guess, as long as nobody wrote a row twice: the cycle counts.
        self.board.change(self.at, SystemClock.millis(), |face| face.counts.pending += added);
        self.handle(desk, Event::Written { immediate: immediate || replaced, urgent });
        self.ring(desk);
        if !self.session.is_running() {
            self.recount(desk);
            self.publish(desk);
        }
        // Whatever is saved, what apps write next is to be captured.
        if (replaced || migrated) && self.session.saving() != Saving::Nothing {
            self.handle(desk, Event::Wake(Wake::Start));
        }
    }

    fn recount(&mut self, _desk: &mut Desk) {
        let Ok(store) = Store::look(&self.replica, &self.device) else { return };
        if let Ok(counts) = store.counts() {
            self.board.change(self.at, SystemClock.millis(), |face| face.counts = counts);
        }
        store.close();
    }

    fn listen(&mut self) -> Option<Listening> {
        if !self.performer.remote().abilities().live {
            return None;
        }
        let post = self.post.clone();
        self.performer.remote().listen(Box::new(move |hint| {
            let _ = match hint {
                Hint::Open => {
                    post.send(Order::Away(None)).and_then(|()| post.send(Order::Event(Event::Wake(Wake::Reachable))))
                }
                Hint::More(head) => post.send(Order::Hint(head)),
                Hint::Lost => Ok(()),
                Hint::Away(why) => post.send(Order::Away(Some(why))),
            };
        }))
    }

    fn detach(&mut self, desk: &mut Desk, discard: bool) -> Result<(), Fault> {
        // The cycle under way, if any, is dropped: nothing half done was committed.
        desk.next = None;
        if self.session.is_running() {
            desk.watcher.resume();
            let _ = self.performer.perform(Step::End);
            self.performer.left = None;
            self.handle(desk, Event::Failed(stopped()));
            desk.next = None;
            self.handle(desk, Event::Done(crate::engine::session::Report::Ended { retry_in: None }));
        }
        self.claim(desk)?;
        if let Some(kept) = desk.kept.take() {
            kept.close();
        }
        let manners = crate::store::open::Manners::default();
        let mut store = Store::open(&self.replica, &self.device, manners)?;
        store.detach(discard)?;
        store.close();
        self.handle(desk, Event::Detach);
        desk.claim = None;
        self.save(Standing { detached: true, paused: false })
    }

    fn save(&self, standing: Standing) -> Result<(), Fault> {
        standing.save(&self.state_dir, &self.replica.name).map_err(|error| {
            Fault::new(
                crate::model::FaultKind::File,
                ReasonCode::Internal,
                format!("this will not be remembered after a restart: {error}"),
                "let the agent write its state directory",
            )
        })
    }

    fn notes(&self, desk: &Desk) -> Vec<String> {
        self.performer.notes().into_iter().chain(desk.watcher.polls.clone()).chain(desk.away.clone()).collect()
    }

    fn publish(&self, desk: &Desk) {
        let now = SystemClock.millis();
        let counts = self.performer.tally.counts.clone();
        let monotonic = desk.now();
        let progress = self.performer.tally.progress.clone();
        self.board.change(self.at, now, |face| {
            let pending = face.counts.pending.max(if self.session.is_running() { counts.pending } else { 0 });
            face.view = self.session.view(pending);
            face.next_sync_at = face.view.next_at.map(|at| now + (at - monotonic).max(0));
            if self.session.is_running() {
                face.progress = progress;
            }
        });
    }
}

/// Where a cycle's time went.
#[derive(Default)]
struct Spent {
    push: Duration,
    pull: Duration,
    apply: Duration,
}

impl Spent {
    fn count(&mut self, step: Step, time: Duration) {
        match step {
            Step::Stage | Step::Send | Step::Settle | Step::Act => self.push += time,
            Step::Fetch => self.pull += time,
            Step::Apply => self.apply += time,
            Step::Begin | Step::Greet | Step::Nod { .. } | Step::Audit | Step::End => {}
        }
    }
}

impl Desk {
    /// Milliseconds on a clock that never steps back.
    fn now(&self) -> i64 {
        self.start.elapsed().as_millis() as i64
    }
}

/// A hint that names no revision is always news.
fn newest(head: Option<Revision>) -> Revision {
    head.unwrap_or(Revision(i64::MAX))
}

/// Bytes a second, where enough went by to tell.
fn rate(bytes: u64, time: Duration) -> Option<u64> {
    const BYTES_MIN: u64 = 64 << 10;
    (bytes >= BYTES_MIN && !time.is_zero()).then(|| (bytes as f64 / time.as_secs_f64()) as u64)
}

fn stopped() -> Fault {
    Fault::new(
        crate::model::FaultKind::Interrupted,
        ReasonCode::AgentStopping,
        "stopped on purpose",
        "nothing was lost",
    )
}
