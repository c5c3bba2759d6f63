//! The machine that runs a replica's cycles.
//!
//! `handle(now, event)` is its only entrance; what it answers is what to do next. One
//! cycle at a time; a wake during a cycle runs one more. "Busy" is nowhere stored: a
//! session that begins anew after a crash begins in `Idle`, and finds its work in the
//! outbox and the checkpoint. Trouble with the way there backs off for ever and sets
//! nothing aside; trouble with one row never comes here at all.
//!
//! A cycle: begin, greet (or nod, a moment after), settle what is under way from before,
//! (the first time: pull everything,) audit when due, then stage, send, settle until nothing
//! is left to send, then act while actions wait, then fetch, apply until nothing is left to
//! pull; again while that brought something to send; end. Each is one `Step`, and power may
//! fail between any two.

mod terms;

pub use self::terms::{Action, Event, Report, Step, Wake};
use super::backoff;
use super::chance::Chance;
use super::schedule::Agenda;
use super::thrift;
use crate::model::settings::{Millis, Schedule, Thrift};
use crate::model::status::State as Word;
use crate::model::{Fault, FaultKind, Reason, ReasonCode, Saving, Supply, Verdict};

/// Failed cycles in a row after which a person is told.
pub const LASTING: u32 = 5;

/// Rounds of push and pull in one cycle. Two devices that answer each other's changes
/// without end would show here; real conflicts settle in two.
const ROUNDS_MAX: u32 = 20;

/// Batches in a row of which nothing may be acknowledged before a pull is due.
const FRUITLESS_MAX: u32 = 10;

/// How long a remote's welcome may hold for cycles that a write or a hint began, and that
/// are to be quick. What a greeting finds out beyond what pushes and pulls do is then this
/// late at most. Whatever else wakes the session greets anew.
const WELCOME_MAX: Millis = 60_000;

/// Times a cycle may find that its incarnation, epoch or cursor is over.
const RENEWALS_MAX: u32 = 4;

#[derive(Clone, Debug, PartialEq)]
enum State {
    Idle,
    Running(Cycle),
    /// A cycle failed; the next one runs at `until`.
    Waiting {
        until: Millis,
        streak: u32,
        fault: Fault,
    },
    Paused,
    Halted(Fault),
    Detached,
}

#[derive(Clone, Debug, PartialEq)]
struct Cycle {
    step: Step,
    cause: Wake,
    /// A wake came meanwhile: one more cycle follows.
    again: Option<Wake>,
    /// What to become when the cycle has ended, other than idle.
    then: Option<Then>,
    /// A batch under way is settled before anything is pulled or compared.
    settle_first: bool,
    /// Everything is pulled before anything is sent.
    pull_first: bool,
    audit_due: bool,
    /// The round brought something that must be sent.
    pending: bool,
    round: u32,
    renewals: u32,
    /// Batches in a row of which nothing was acknowledged.
    fruitless: u32,
    /// Failed cycles before this one.
    streak: u32,
    /// Why the one before failed, until the remote has answered: a try that may fail like
    /// it is no news.
    before: Option<Fault>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Pause,
    Detach,
    /// Be idle: the file alone was to be looked at, or the rest is to wait.
    Rest,
}

/// What a session looks like from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub word: Word,
    pub reason: Option<Reason>,
    /// On the session's clock.
    pub next_at: Option<Millis>,
    /// Failed cycles in a row.
    pub failures: u32,
    /// Five of them: a person should know.
    pub lasting: bool,
    pub online: bool,
}

#[derive(Clone, Debug)]
pub struct Session {
    schedule: Schedule,
    state: State,
    agenda: Agenda,
    network: bool,
    supply: Supply,
    listening: bool,
    /// When the remote was greeted last; `None` once something happened of which a new
    /// greeting might tell more.
    welcomed: Option<Millis>,
    /// Since this session began, a cycle has gone well.
    proven: bool,
    chance: Chance,
}

impl Session {
    /// `chance` spreads the waits of many devices.
    pub fn new(schedule: Schedule, chance: Chance, supply: Supply) -> Session {
        Session {
            schedule,
            supply,
            state: State::Idle,
            agenda: Agenda::default(),
            network: true,
            listening: false,
            welcomed: None,
            proven: false,
            chance,
        }
    }

    /// The same session under a new schedule; what runs goes on.
    pub fn reschedule(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// True where the cycle under way will not have compared everything when it ends.
    pub fn is_cut_short(&self) -> bool {
        matches!(&self.state, State::Running(Cycle { then: Some(_), .. }))
    }

    /// How sparing this replica is at the moment, and what for.
    pub fn saving(&self) -> Saving {
        thrift::saving(&self.schedule, self.supply)
    }

    /// Why the cycle under way runs.
    pub fn cause(&self) -> Option<Wake> {
        if let State::Running(cycle) = &self.state { Some(cycle.cause) } else { None }
    }

    pub fn handle(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let mut actions = match event {
            Event::Wake(wake) => self.wake(now, wake),
            Event::Written { immediate, urgent } => self.written(now, immediate, urgent),
            Event::Supply(supply) => self.supplied(now, supply),
            Event::Tick => self.tick(now),
            Event::Network(up) => self.network(now, up),
            Event::Done(report) => self.done(now, report),
            Event::Failed(fault) => self.failed(now, fault),
            Event::Pause => self.leave(Then::Pause),
            Event::Detach => self.leave(Then::Detach),
            Event::Resume => self.resume(now),
        };
        if !self.is_running() {
            actions.push(Action::Alarm(self.next_at()));
        }
        actions
    }

    /// How things stand, given how much is unsent.
    pub fn view(&self, pending: u64) -> View {
        let reason = |code, text: &str, next: &str| Some(Reason { code, text: text.into(), next: next.into() });
        let (word, reason) = match &self.state {
            State::Running(Cycle { before: Some(fault), .. }) => (word_of(fault.kind), Some(fault.reason.clone())),
            State::Running(_) => (Word::Syncing, None),
            State::Paused => (
                Word::Paused,
                reason(
                    ReasonCode::PausedByPerson,
                    "paused by a person; changes are still captured",
                    "`homing resume` goes on",
                ),
            ),
            State::Detached => (
                Word::Detached,
                reason(ReasonCode::Detached, "detached: nothing is captured or synced", "`homing attach` begins again"),
            ),
            State::Halted(fault) => (Word::Halted, Some(fault.reason.clone())),
            State::Waiting { fault, .. } => (word_of(fault.kind), Some(fault.reason.clone())),
            State::Idle if !self.network => (
                Word::Offline,
                reason(ReasonCode::OfflineNoNetwork, "no network", "it syncs by itself when one is back"),
            ),
            State::Idle if self.saving() != Saving::Nothing && !self.gathers() => {
                let word = if pending > 0 || !self.proven { Word::Pending } else { Word::InStep };
                (word, thrift::reason(self.saving()))
            }
            State::Idle if pending > 0 && self.agenda.has_writes() => {
                (Word::Pending, reason(ReasonCode::PendingDebounce, "written a moment ago", "it is sent shortly"))
            }
            State::Idle if pending > 0 || !self.proven => (
                Word::Pending,
                reason(ReasonCode::PendingSchedule, "waits for the next sync", "`homing sync` runs one now"),
            ),
            State::Idle => (Word::InStep, None),
        };
        let failures = self.streak();
        let online = self.network && !matches!(word, Word::Offline);
        View { word, reason, next_at: self.next_at(), failures, lasting: failures >= LASTING, online }
    }

    fn streak(&self) -> u32 {
        match &self.state {
            State::Waiting { streak, .. } => *streak,
            State::Running(cycle) => cycle.streak,
            _ => 0,
        }
    }

    /// When something happens without anybody asking.
    fn next_at(&self) -> Option<Millis> {
        match &self.state {
            State::Waiting { until, .. } if self.network => Some(*until),
            State::Idle if self.network => self.agenda.next(&self.schedule, self.thrift()),
            _ => None,
        }
    }

    fn thrift(&self) -> Thrift {
        self.saving().thrift()
    }

    /// Something urgent was written, and is sent shortly although much is saved.
    fn gathers(&self) -> bool {
        self.agenda.is_urgent() && thrift::starts(self.thrift(), Wake::Write, true)
    }

    fn wake(&mut self, now: Millis, wake: Wake) -> Vec<Action> {
        if !wake.is_quick() {
            self.welcomed = None;
        }
        if !thrift::starts(self.thrift(), wake, self.agenda.is_urgent()) {
            return Vec::new();
        }
        match &mut self.state {
            State::Running(cycle) => {
                cycle.repeat(wake);
                Vec::new()
            }
            State::Waiting { fault, until, .. } => {
                // A person's word beats any wait; news about the way there beats all but
                // a wait that the remote asked for.
                let asked_to_wait = fault.kind == FaultKind::Throttled && *until > now;
                match wake {
                    Wake::Command | Wake::Foreground => self.begin(now, wake),
                    Wake::Network | Wake::Reachable | Wake::Live | Wake::Supply if !asked_to_wait => {
                        self.begin(now, wake)
                    }
                    _ => Vec::new(),
                }
            }
            State::Idle if self.network || wake == Wake::Command => self.begin(now, wake),
            State::Idle => Vec::new(),
            State::Halted(_) if wake == Wake::Command => self.begin(now, wake),
            State::Halted(_) | State::Paused | State::Detached => Vec::new(),
        }
    }

    fn written(&mut self, now: Millis, immediate: bool, urgent: bool) -> Vec<Action> {
        self.agenda.written(now, urgent);
        let immediate = immediate && thrift::starts(self.thrift(), Wake::Write, self.agenda.is_urgent());
        match (&mut self.state, immediate) {
            (State::Running(cycle), true) => {
                cycle.repeat(Wake::Write);
                Vec::new()
            }
            (State::Idle, true) if self.network => self.begin(now, Wake::Write),
            _ => vec![Action::Tell],
        }
    }

    fn tick(&mut self, now: Millis) -> Vec<Action> {
        let due = self.next_at().is_some_and(|at| at <= now);
        match &self.state {
            State::Waiting { .. } if due => self.begin(now, Wake::Timer),
            State::Idle if due => {
                let written = self.agenda.debounced(&self.schedule).is_some_and(|at| at <= now);
                let written = written && thrift::starts(self.thrift(), Wake::Write, self.agenda.is_urgent());
                self.begin(now, if written { Wake::Write } else { Wake::Timer })
            }
            _ => Vec::new(),
        }
    }

    fn network(&mut self, now: Millis, up: bool) -> Vec<Action> {
        let came = up && !self.network;
        self.network = up;
        if came && self.schedule.reconnect {
            let mut actions = self.wake(now, Wake::Network);
            actions.push(Action::Tell);
            return actions;
        }
        vec![Action::Tell]
    }

    /// What begins to be saved breaks off what nobody asked for; what is saved no more
    /// makes up for what waited.
    fn supplied(&mut self, now: Millis, supply: Supply) -> Vec<Action> {
        let before = self.thrift();
        self.supply = supply;
        let after = self.thrift();
        let mut actions = vec![Action::Tell];
        if after != Thrift::Sync && std::mem::take(&mut self.listening) {
            actions.push(Action::Listen(false));
        }
        if let State::Running(cycle) = &mut self.state
            && thrift::stays_here(after, cycle.cause)
        {
            cycle.then = cycle.then.or(Some(Then::Rest));
        }
        if after < before {
            actions.extend(self.wake(now, Wake::Supply));
        }
        actions
    }

    fn leave(&mut self, then: Then) -> Vec<Action> {
        self.listening = false;
        self.welcomed = None;
        if let State::Running(cycle) = &mut self.state {
            cycle.then = Some(then);
            return vec![Action::Listen(false)];
        }
        self.state = then.state();
        vec![Action::Listen(false), Action::Tell]
    }

    fn resume(&mut self, now: Millis) -> Vec<Action> {
        match &mut self.state {
            State::Paused | State::Halted(_) | State::Detached => self.begin(now, Wake::Command),
            State::Running(cycle) => {
                cycle.then = None;
                Vec::new()
            }
            State::Idle | State::Waiting { .. } => Vec::new(),
        }
    }

    fn begin(&mut self, _now: Millis, cause: Wake) -> Vec<Action> {
        let streak = self.streak();
        let before = if let State::Waiting { fault, .. } = &self.state { Some(fault.clone()) } else { None };
        let then = thrift::stays_here(self.thrift(), cause).then_some(Then::Rest);
        if then.is_none() {
            self.agenda.begin();
        }
        self.state = State::Running(Cycle {
            step: Step::Begin,
            cause,
            again: None,
            then,
            settle_first: false,
            pull_first: false,
            audit_due: false,
            pending: false,
            round: 0,
            renewals: 0,
            fruitless: 0,
            streak,
            before,
            fault: None,
        });
        vec![Action::Alarm(None), Action::Tell, Action::Do(Step::Begin)]
    }

    fn done(&mut self, now: Millis, report: Report) -> Vec<Action> {
        let State::Running(cycle) = &mut self.state else { return Vec::new() };
        if let Report::Ended { retry_in } = report {
            return self.ended(now, retry_in);
        }
        if cycle.then.is_some() {
            cycle.step = Step::End;
            return vec![Action::Do(Step::End)];
        }
        match (&report, cycle.step) {
            (Report::Greeted { .. }, Step::Greet) => self.welcomed = Some(now),
            (Report::Renewed, _) => self.welcomed = None,
            _ => {}
        }
        let answered = matches!(report, Report::Greeted { .. }) && cycle.before.take().is_some();
        let welcome = self.welcomed.map(|at| now - at).filter(|age| (0..WELCOME_MAX).contains(age));
        cycle.step = match cycle.follow(report, welcome) {
            Ok(step) => step,
            Err(fault) => {
                cycle.fault = Some(fault);
                Step::End
            }
        };
        let next = Action::Do(cycle.step);
        if answered { vec![Action::Tell, next] } else { vec![next] }
    }

    fn failed(&mut self, now: Millis, fault: Fault) -> Vec<Action> {
        let State::Running(cycle) = &mut self.state else { return Vec::new() };
        self.welcomed = None;
        // A failed end has nothing left to undo: the file is closed either way.
        let ending = cycle.step == Step::End;
        cycle.fault = cycle.fault.take().or(Some(fault));
        cycle.step = Step::End;
        if ending { self.ended(now, None) } else { vec![Action::Do(Step::End)] }
    }

    fn ended(&mut self, now: Millis, retry_in: Option<Millis>) -> Vec<Action> {
        let State::Running(cycle) = std::mem::replace(&mut self.state, State::Idle) else {
            unreachable!("BUG: only a running cycle ends");
        };
        // Rounds ran out before all was sent: go on soon, not at the next timer.
        let unfinished = cycle.pending.then_some(self.schedule.backoff_first);
        let soonest = [retry_in, unfinished].into_iter().flatten().min();
        self.agenda.end(now, &self.schedule, soonest.map(|wait| now.saturating_add(wait)));
        let mut actions = vec![Action::Tell];
        self.state = match (cycle.then, cycle.fault) {
            (Some(then @ (Then::Pause | Then::Detach)), _) => then.state(),
            (_, Some(fault)) if fault.kind.verdict() == Verdict::Halt => State::Halted(fault),
            (_, Some(fault)) => {
                // A person's own tries on the way do not make the next wait longer.
                let asked = cycle.cause == Wake::Command && cycle.streak > 0;
                let streak = if asked { cycle.streak } else { cycle.streak + 1 };
                // Whoever is sparing does not begin with short waits.
                let Schedule { backoff_first, backoff_max: max, .. } = self.schedule;
                let first = if self.thrift() == Thrift::Sync { backoff_first } else { max };
                let wait = backoff::delay(streak, first, max, fault.retry_after, &mut self.chance);
                State::Waiting { until: now.saturating_add(wait), streak, fault }
            }
            (Some(then @ Then::Rest), None) => {
                self.welcomed = None;
                then.state()
            }
            (None, None) => {
                self.proven = true;
                if self.schedule.live && !self.listening && self.thrift() == Thrift::Sync {
                    self.listening = true;
                    actions.push(Action::Listen(true));
                }
                State::Idle
            }
        };
        if let (State::Idle, Some(wake)) = (&self.state, cycle.again) {
            actions.extend(match thrift::starts(self.thrift(), wake, self.agenda.is_urgent()) {
                true => self.begin(now, wake),
                false => Vec::new(),
            });
        } else if let (State::Waiting { .. }, Some(Wake::Command | Wake::Network | Wake::Reachable)) =
            (&self.state, cycle.again)
        {
            actions.extend(self.wake(now, cycle.again.expect("BUG: matched above")));
        }
        actions
    }
}

impl Cycle {
    /// One more cycle follows this one. A person's word is not lost among other wakes.
    fn repeat(&mut self, wake: Wake) {
        self.again = Some(if wake == Wake::Command { wake } else { self.again.unwrap_or(wake) });
    }

    /// The step after the one that was just reported. `welcome`: how old the remote's is,
    /// while it holds.
    fn follow(&mut self, report: Report, welcome: Option<Millis>) -> Result<Step, Fault> {
        Ok(match report {
            Report::Began => match welcome {
                Some(age) if self.cause.is_quick() => Step::Nod { age },
                _ => Step::Greet,
            },
            Report::Greeted { pull_first, audit_due, in_flight } => {
                self.settle_first = in_flight;
                self.pull_first = pull_first;
                self.audit_due |= audit_due;
                if in_flight { Step::Stage } else { self.start() }
            }
            Report::Renewed => {
                self.renewals += 1;
                if self.renewals > RENEWALS_MAX {
                    return Err(Fault::new(
                        FaultKind::Protocol,
                        ReasonCode::ProtocolError,
                        "the remote keeps saying that this device's place is over",
                        "nothing was lost; it is tried again later",
                    ));
                }
                Step::Greet
            }
            Report::Audited { done: false } => Step::Audit,
            Report::Audited { done: true } => {
                self.audit_due = false;
                Step::Stage
            }
            Report::Staged { something: true } => Step::Send,
            Report::Staged { something: false } => {
                self.pending = false;
                Step::Fetch
            }
            Report::Acting => {
                self.pending = false;
                Step::Act
            }
            Report::Acted { more } => {
                if more {
                    Step::Act
                } else {
                    Step::Fetch
                }
            }
            Report::Sent => Step::Settle,
            Report::Behind => {
                self.settle_first = false;
                self.pending = true;
                Step::Fetch
            }
            Report::Settled { done, progress, in_flight } => {
                self.fruitless = if progress { 0 } else { self.fruitless + u32::from(done) };
                match done {
                    false => Step::Settle,
                    true if in_flight => Step::Stage,
                    true if std::mem::take(&mut self.settle_first) => self.start(),
                    // The remote answers every batch with conflicts: hear what is new there.
                    true if self.fruitless >= FRUITLESS_MAX => {
                        self.pending = true;
                        Step::Fetch
                    }
                    true => Step::Stage,
                }
            }
            Report::Fetched => Step::Apply,
            Report::Applied { done, more, pending } => {
                self.pending |= pending;
                match (done, more) {
                    (false, _) => Step::Apply,
                    (true, true) => Step::Fetch,
                    (true, false) => self.round_over(),
                }
            }
            Report::Ended { .. } => unreachable!("BUG: handled by the session"),
        })
    }

    /// Where a cycle's own work begins.
    fn start(&self) -> Step {
        match (self.pull_first, self.audit_due) {
            (true, _) => Step::Fetch,
            (false, true) => Step::Audit,
            (false, false) => Step::Stage,
        }
    }

    fn round_over(&mut self) -> Step {
        self.round += 1;
        self.fruitless = 0;
        let first = std::mem::take(&mut self.pull_first);
        match () {
            () if self.audit_due => Step::Audit,
            () if first => Step::Stage,
            () if self.pending && self.round < ROUNDS_MAX => Step::Stage,
            () => Step::End,
        }
    }
}

impl Then {
    fn state(self) -> State {
        match self {
            Then::Pause => State::Paused,
            Then::Detach => State::Detached,
            Then::Rest => State::Idle,
        }
    }
}

fn word_of(kind: FaultKind) -> Word {
    match kind {
        FaultKind::SignedOut => Word::SignedOut,
        FaultKind::Network | FaultKind::Timeout => Word::Offline,
        FaultKind::NewerFormat | FaultKind::Version => Word::Halted,
        FaultKind::Throttled
        | FaultKind::Server
        | FaultKind::Permission
        | FaultKind::Protocol
        | FaultKind::Locked
        | FaultKind::File
        | FaultKind::DiskFull
        | FaultKind::Interrupted => Word::BackingOff,
    }
}

#[cfg(test)]
mod tests;
