//! Performing one step of a cycle.
//!
//! Holds what lies between two steps (an open store, a batch, a page) and nothing that
//! matters after a crash. Each step is a few calls of store and remote; what to do next
//! is the session's to say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::memory::Memory;
use super::rules::Rules;
use crate::engine::incarnation::{self, Judgement, Known, Mark};
use crate::engine::plan::{self, Candidate, Limits, Plan};
use crate::engine::session::{Report, Step};
use crate::engine::skew;
use crate::model::settings::Replica;
use crate::model::status::{Cycle, Progress};
use crate::model::{Fault, FaultKind, Incarnation, Key, Outcome, ReasonCode};
use crate::remote::{Answer, Ask, Batch, Greeted, Greeting, Remote, RemoteError};
use crate::store::attach::Attached;
use crate::store::audit::Auditing;
use crate::store::flight::Flight;
use crate::store::open::Manners;
use crate::store::receive::Incoming;
use crate::store::report::Counts;
use crate::store::settle::Settling;
use crate::store::stage::Gathered;
use crate::store::{Judge, Now, Slice, Store, Terms};

/// Rows of the outbox that a plan looks at beside a batch: room to keep linked rows
/// together. At most this, and at most as many again.
const ROOM_ROWS: usize = 250;
/// Rows an audit compares in one read transaction.
const AUDIT_ROWS: usize = 2_000;
/// The largest page that is asked for.
const PAGE_ROWS_MAX: usize = 5_000;
const PAGE_BYTES_MAX: usize = 4 << 20;
/// The WAL is folded in passing after this many rows.
const FOLD_ROWS: u64 = 20_000;

/// What a cycle has to tell when it has ended, and meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub cycle: Cycle,
    /// Rows that changed here, by table.
    pub changed: BTreeMap<String, Vec<Key>>,
    pub counts: Counts,
    pub progress: Option<Progress>,
    pub set_aside: u64,
    /// Changes the remote refused, by its code.
    pub refused: BTreeMap<String, u64>,
    /// Changes that still wait, by table.
    pub queued: BTreeMap<String, u64>,
    /// Milliseconds the last answer took.
    pub latency: Option<u64>,
    /// How far this device's clock is ahead of the remote's, milliseconds.
    pub skew: Option<i64>,
}

/// The world a performer lives in.
pub struct World {
    pub clock: Box<dyn Clock>,
    pub memory: Box<dyn Memory>,
    /// A name that nobody has had before.
    pub fresh_name: Box<dyn FnMut() -> String + Send>,
    pub manners: Manners,
    pub slice: Slice,
}

pub struct Performer {
    replica: Replica,
    device: String,
    remote: Box<dyn Remote>,
    world: World,
    store: Option<Store>,
    rules: Option<Rules>,
    known: Known,
    /// What the state directory holds.
    remembered: Option<Known>,
    greeted: Option<Greeted>,
    /// What to add to this device's clock to read the remote's, milliseconds.
    offset: i64,
    /// Batches are held this small after the remote found one too large.
    rows_max: Option<usize>,
    auditing: Auditing,
    flight: Option<Flight>,
    answer: Option<Answer>,
    settling: Settling,
    /// The remote has newer rows than the batch knew of.
    behind: bool,
    incoming: Option<Incoming>,
    /// This device's clock before the last request whose answer says the remote's.
    asked_at: i64,
    unfolded: u64,
    /// What a person should know that stops nothing.
    notes: BTreeMap<&'static str, String>,
    pub tally: Tally,
}

impl Performer {
    pub fn new(replica: Replica, device: String, remote: Box<dyn Remote>, world: World) -> Performer {
        Performer {
            replica,
            device,
            remote,
            world,
            store: None,
            rules: None,
            known: Known::default(),
            remembered: None,
            greeted: None,
            offset: 0,
            rows_max: None,
            auditing: Auditing::default(),
            flight: None,
            answer: None,
            settling: Settling::default(),
            behind: false,
            incoming: None,
            asked_at: 0,
            unfolded: 0,
            notes: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    pub fn perform(&mut self, step: Step) -> Result<Report, Fault> {
        match step {
            Step::Begin => self.begin(),
            Step::Greet => self.greet(),
            Step::Audit => self.audit(),
            Step::Stage => self.stage(),
            Step::Send => self.send(),
            Step::Settle => self.settle(),
            Step::Fetch => self.fetch(),
            Step::Apply => self.apply(),
            Step::End => self.end(),
        }
    }

    pub fn notes(&self) -> Vec<String> {
        self.notes.values().cloned().chain(self.remote.notes()).collect()
    }

    pub fn remote(&mut self) -> &mut dyn Remote {
        &mut *self.remote
    }

    /// What to add to this device's clock to read the remote's, as last measured.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    fn now(&self) -> Now {
        Now { millis: self.world.clock.millis(), offset: self.offset }
    }

    fn begin(&mut self) -> Result<Report, Fault> {
        self.forget();
        self.tally = Tally { counts: self.tally.counts.clone(), ..Tally::default() };
        let mut store = Store::open(&self.replica, &self.device, self.world.manners)?;
        let days = self.world.clock.millis() as f64 / 86_400_000.0 + 2_440_587.5;
        let attached = store.attach(days)?;
        self.remark(&attached);
        self.rules = Some(Rules::new(&self.replica, &store.schema()));
        let abilities = self.remote.abilities();
        store.terms = Terms { by_content: !abilities.numbers_versions, whole_rows: !abilities.takes_columns };
        let identity = store.identity()?;
        self.known = Known { incarnation: identity.incarnation, batch: identity.batch };
        self.store = Some(store);
        self.remembered = self.world.memory.load()?;
        match incarnation::compare(&self.known, self.remembered.as_ref()) {
            Judgement::Same => {}
            Judgement::First => {
                let incarnation = Incarnation((self.world.fresh_name)());
                self.store_mut().incarnate(&incarnation)?;
                self.known = Known { incarnation, batch: 0 };
                self.remember()?;
            }
            Judgement::New => self.reincarnate(None)?,
            Judgement::Stranger => {
                self.reincarnate(Some(
                    "this file came from another device or from a backup; it began a new life here",
                ))?;
            }
            Judgement::Older => {
                self.reincarnate(Some("this file was restored from an older copy; it began a new life"))?;
            }
        }
        Ok(Report::Began)
    }

    fn greet(&mut self) -> Result<Report, Fault> {
        let store = self.store.as_ref().expect("BUG: greeting comes after beginning");
        let identity = store.identity()?;
        let greeting = Greeting {
            device: self.device.clone(),
            incarnation: identity.incarnation.clone(),
            batch: identity.batch,
            tables: store.schema(),
        };
        self.asked_at = self.world.clock.millis();
        let greeted = match self.remote.greet(&greeting) {
            Ok(greeted) => greeted,
            Err(error) => return self.over(error),
        };
        self.measure(greeted.time);
        self.remark_refusals(&greeted);
        if let Some(rules) = &mut self.rules {
            rules.role.clone_from(&greeted.role);
        }
        let store = self.store.as_mut().expect("BUG: greeting comes after beginning");
        if identity.epoch.is_empty() {
            store.note("epoch", &greeted.epoch)?;
        } else if identity.epoch != greeted.epoch {
            store.begin_epoch(&greeted.epoch)?;
            self.known.batch = 0;
            self.notes.insert("epoch", "the remote began a new log; what it had lost is sent again".to_owned());
            self.reincarnate(None)?;
            return Ok(Report::Renewed);
        }
        self.known = Known { incarnation: identity.incarnation, batch: identity.batch };
        match incarnation::compare_mark(&self.known, identity.flight, greeted.batch) {
            Mark::Agrees => {}
            Mark::FileBehind => {
                self.reincarnate(Some("this file is older than what it sent; it began a new life"))?;
                return Ok(Report::Renewed);
            }
            Mark::RemoteBehind => {
                let epoch = greeted.epoch.clone();
                self.store_mut().begin_epoch(&epoch)?;
                self.reincarnate(Some("the remote has lost what it once had; it is sent again"))?;
                return Ok(Report::Renewed);
            }
        }
        self.remember()?;
        let now = self.world.clock.millis();
        // Who does not find conflicts there must know what is there before sending.
        let pulls_first = !self.remote.abilities().finds_conflicts;
        let store = self.store_mut();
        let report = Report::Greeted {
            pull_first: pulls_first || store.checkpoint()?.is_none(),
            audit_due: store.audit_due(now)?,
            in_flight: identity.flight.is_some(),
        };
        self.greeted = Some(greeted);
        Ok(report)
    }

    fn audit(&mut self) -> Result<Report, Fault> {
        let now = self.world.clock.millis();
        let store = self.store.as_mut().expect("BUG: an audit is within a cycle");
        let done = store.audit(&mut self.auditing, now, AUDIT_ROWS)?;
        if done {
            self.auditing = Auditing::default();
        }
        Ok(Report::Audited { done })
    }

    fn stage(&mut self) -> Result<Report, Fault> {
        self.clear_doubts()?;
        loop {
            if let Some(flight) = self.store_mut().flight()? {
                self.flight = Some(flight);
                return Ok(Report::Staged { something: true });
            }
            let limits = self.limits();
            let now = self.now();
            let (Some(store), Some(rules)) = (&mut self.store, &self.rules) else {
                unreachable!("BUG: staging is within a cycle")
            };
            let gathered = store.gather(now, limits.rows_max + limits.rows_max.min(ROOM_ROWS), rules)?;
            let plan = plan::plan(&candidates(&gathered), &rules.order, &limits);
            let staying = staying(&gathered, &plan);
            self.tally.set_aside += staying
                .iter()
                .filter(|(_, code, _)| !matches!(code, ReasonCode::PendingRetry | ReasonCode::PendingParent))
                .count() as u64;
            store.tidy(&gathered, &staying)?;
            if !plan.order.is_empty() {
                self.launch(gathered, &plan)?;
                return Ok(Report::Staged { something: true });
            }
            if !gathered.more || (gathered.is_quiet() && staying.is_empty()) {
                return Ok(Report::Staged { something: false });
            }
        }
    }

    fn launch(&mut self, gathered: Gathered, plan: &Plan) -> Result<(), Fault> {
        let (changes, rows) = gathered.depart(&plan.order);
        let batch = Batch {
            device: self.device.clone(),
            incarnation: self.known.incarnation.clone(),
            number: self.known.batch + 1,
            epoch: self.greeted.as_ref().map(|greeted| greeted.epoch.clone()).unwrap_or_default(),
            seen: self.store_mut().seen()?,
            cursor: self.store_mut().checkpoint()?,
            changes,
        };
        let store = self.store.as_mut().expect("BUG: staging is within a cycle");
        let keys = |table: &str| store.find(table).map(|synced| synced.table.key.clone()).unwrap_or_default();
        let body = self.remote.encode(&batch, &keys);
        let flight = Flight { batch: batch.number, body, rows };
        store.launch(&flight)?;
        self.flight = Some(flight);
        Ok(())
    }

    fn send(&mut self) -> Result<Report, Fault> {
        let flight = self.flight.as_ref().expect("BUG: sending comes after staging");
        let changes: Vec<(String, Key)> = flight.rows.iter().map(|row| (row.table.clone(), row.key.clone())).collect();
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
        self.asked_at = self.world.clock.millis();
        match self.remote.push(&flight.body, &changes) {
            Ok(answer) => {
                self.tally.latency = u64::try_from(self.world.clock.millis() - self.asked_at).ok();
                for outcome in &answer.outcomes {
                    if let Outcome::Refused { code, .. } = outcome {
                        *self.tally.refused.entry(code.word().to_owned()).or_default() += 1;
                    }
                }
                self.answer = Some(answer);
                self.settling = Settling::default();
                self.count_traffic();
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
            return Ok(Report::Settled { done: true, progress: true });
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
        Ok(Report::Settled { done: true, progress: true })
    }

    /// What was refused because the remote was ahead is planned anew after the pull.
    fn clear_doubts(&mut self) -> Result<(), Fault> {
        let store = self.store_mut();
        if store.has_doubts() { store.scrap() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<Report, Fault> {
        let now = self.now();
        let slice = self.world.slice;
        let (Some(flight), Some(answer)) = (&self.flight, &self.answer) else {
            unreachable!("BUG: settling comes after sending")
        };
        let (Some(store), Some(rules)) = (&mut self.store, &self.rules) else {
            unreachable!("BUG: settling is within a cycle")
        };
        let began = Instant::now();
        let (settled, done) = store.settle(flight, &answer.outcomes, &mut self.settling, rules, now, slice)?;
        if !done {
            give_way(slice, began);
        }
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
        Ok(Report::Settled { done, progress })
    }

    fn fetch(&mut self) -> Result<Report, Fault> {
        let store = self.store.as_ref().expect("BUG: fetching is within a cycle");
        let cursor = store.checkpoint()?;
        let ask = Ask {
            device: self.device.clone(),
            incarnation: self.known.incarnation.clone(),
            compares: cursor.is_none() && store.knows_rows()?,
            cursor,
            rows_max: PAGE_ROWS_MAX,
            bytes_max: PAGE_BYTES_MAX,
        };
        let start = self.world.clock.millis();
        let page = match self.remote.pull(&ask) {
            Ok(page) => page,
            Err(error) => return self.over(error),
        };
        // A snapshot is asked for without a cursor that would tell: its revisions must be
        // those of the log that was greeted.
        if self.greeted.as_ref().is_some_and(|greeted| !page.epoch.is_empty() && page.epoch != greeted.epoch) {
            return self.over(RemoteError::EpochOver);
        }
        self.tally.latency = u64::try_from(self.world.clock.millis() - start).ok();
        self.count_traffic();
        let (Some(store), Some(rules)) = (&self.store, &self.rules) else {
            unreachable!("BUG: fetching is within a cycle")
        };
        self.incoming = Some(store.receive(page, rules)?);
        Ok(Report::Fetched)
    }

    fn apply(&mut self) -> Result<Report, Fault> {
        let now = self.now();
        let slice = self.world.slice;
        let incoming = self.incoming.as_mut().expect("BUG: applying comes after fetching");
        let (Some(store), Some(rules)) = (&mut self.store, &self.rules) else {
            unreachable!("BUG: applying is within a cycle")
        };
        let began = Instant::now();
        let applied = store.apply(incoming, rules, now, slice)?;
        if !applied.done {
            give_way(slice, began);
        }
        self.tally.cycle.pulled += applied.rows;
        self.tally.cycle.conflicts += applied.conflicts;
        let (more, left) = (incoming.more(), incoming.rows_left());
        note_changed(&mut self.tally.changed, applied.changed);
        self.fold(applied.rows);
        if more || left.is_some() || self.tally.progress.is_some() {
            let done = self.tally.cycle.pulled;
            let total = left.map(|left| done + left);
            self.tally.progress = Some(Progress { what: "receiving".to_owned(), done, total });
        }
        if applied.done {
            self.incoming = None;
        }
        Ok(Report::Applied { done: applied.done, more, pending: applied.pending })
    }

    fn end(&mut self) -> Result<Report, Fault> {
        self.count_traffic();
        let Some(mut store) = self.store.take() else { return Ok(Report::Ended { retry_in: None }) };
        let remembered = self.remember();
        let now = self.world.clock.millis();
        let closed = (|| {
            if self.tally.cycle.pushed + self.tally.cycle.pulled > 0 {
                store.note("last_sync_at", &now.to_string())?;
            }
            store.trim_ledger(now)?;
            self.tally.counts = store.counts()?;
            self.tally.queued = store.queued_by_table()?;
            store.next_try_in(now)
        })();
        store.close();
        self.forget();
        remembered?;
        Ok(Report::Ended { retry_in: closed? })
    }

    /// What a remote's "that is over" leads to; all else is a fault.
    fn over(&mut self, error: RemoteError) -> Result<Report, Fault> {
        self.count_traffic();
        match error {
            RemoteError::Fault(fault) => return Err(fault),
            RemoteError::IncarnationOver => {
                self.reincarnate(Some("the remote has seen later changes of this file; it began a new life"))?;
            }
            // Greeting again brings the new epoch's name.
            RemoteError::EpochOver => {}
            RemoteError::CursorOver => self.store_mut().forget_cursor()?,
            RemoteError::TooLarge | RemoteError::Behind | RemoteError::Refused(_) => {
                return Err(Fault::new(
                    FaultKind::Protocol,
                    ReasonCode::ProtocolError,
                    "the remote refused a question as if it were a batch",
                    "nothing was lost; it is tried again later",
                ));
            }
        }
        self.flight = None;
        self.answer = None;
        self.incoming = None;
        Ok(Report::Renewed)
    }

    fn reincarnate(&mut self, note: Option<&str>) -> Result<(), Fault> {
        let incarnation = Incarnation((self.world.fresh_name)());
        self.store_mut().reincarnate(&incarnation)?;
        self.known = Known { incarnation, batch: 0 };
        self.remember()?;
        if let Some(note) = note {
            self.notes.insert("incarnation", note.to_owned());
        }
        Ok(())
    }

    /// Brings the state directory up to date. Once a cycle is enough: until then it is
    /// behind the file, which says nothing against the file, and the remote's mark is
    /// compared before anything is sent. A sync of the disk a batch would be dear.
    fn remember(&mut self) -> Result<(), Fault> {
        if self.remembered.as_ref() != Some(&self.known) {
            self.world.memory.save(&self.known)?;
            self.remembered = Some(self.known.clone());
        }
        Ok(())
    }

    /// Takes the remote's clock as the one that stamps are read on.
    fn measure(&mut self, remote_time: i64) {
        self.offset = skew::offset(self.asked_at, self.world.clock.millis(), remote_time);
        self.tally.skew = Some(-self.offset);
        match self.offset.abs() > 60_000 {
            true => {
                let seconds = self.offset.abs() / 1000;
                let side = if self.offset < 0 { "ahead of" } else { "behind" };
                self.notes.insert(
                    "clock",
                    format!("this device's clock is {seconds} s {side} the remote's; stamps are corrected"),
                );
            }
            false => {
                self.notes.remove("clock");
            }
        }
    }

    fn remark(&mut self, attached: &Attached) {
        match attached.refused.is_empty() {
            true => self.notes.remove("tables"),
            false => {
                let list: Vec<String> =
                    attached.refused.iter().map(|(name, why)| format!("{name} does not sync: {why}")).collect();
                self.notes.insert("tables", list.join("; "))
            }
        };
        if !attached.removed.is_empty() {
            let list = attached.removed.join(", ");
            self.notes.insert("removed", format!("no longer synced, since it is gone here or left out: {list}"));
        }
    }

    fn remark_refusals(&mut self, greeted: &Greeted) {
        match greeted.refused.is_empty() {
            true => self.notes.remove("refused"),
            false => {
                let list: Vec<String> = greeted
                    .refused
                    .iter()
                    .map(|(table, column, why)| match column.as_str() {
                        "" => format!("the remote does not take {table}: {why}"),
                        _ => format!("the remote does not take {table}.{column}: {why}"),
                    })
                    .collect();
                self.notes.insert("refused", list.join("; "))
            }
        };
    }

    fn limits(&self) -> Limits {
        let limits = &self.replica.limits;
        let greeted = self.greeted.as_ref();
        let rows = greeted.map_or(usize::MAX, |greeted| greeted.batch_rows_max);
        let bytes = greeted.map_or(usize::MAX, |greeted| greeted.batch_bytes_max);
        Limits {
            rows_max: limits.batch_rows_max.min(rows).min(self.rows_max.unwrap_or(usize::MAX)).max(1),
            bytes_max: limits.batch_bytes_max.min(bytes),
            row_bytes_max: greeted.map_or(usize::MAX, |greeted| greeted.row_bytes_max),
        }
    }

    /// A long transfer must not leave a long WAL behind.
    fn fold(&mut self, rows: u64) {
        self.unfolded += rows;
        if self.unfolded > FOLD_ROWS {
            self.store_mut().fold();
            self.unfolded = 0;
        }
    }

    fn count_traffic(&mut self) {
        let (up, down) = self.remote.traffic();
        self.tally.cycle.bytes_up += up;
        self.tally.cycle.bytes_down += down;
    }

    fn store_mut(&mut self) -> &mut Store {
        self.store.as_mut().expect("BUG: this step is within a cycle")
    }

    fn forget(&mut self) {
        self.store = None;
        self.behind = false;
        self.flight = None;
        self.answer = None;
        self.incoming = None;
        self.auditing = Auditing::default();
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

fn note_changed(known: &mut BTreeMap<String, Vec<Key>>, more: BTreeMap<String, Vec<Key>>) {
    /// Keys an event names at most, a table.
    const KEYS_MAX: usize = 1_000;
    for (table, keys) in more {
        let list = known.entry(table).or_default();
        let room = KEYS_MAX.saturating_sub(list.len());
        list.extend(keys.into_iter().take(room));
    }
}

/// Leaves the write lock free between two slices. An app that waits for it asks now and
/// then, and would never find it free where one slice follows another at once. Not on
/// virtual time.
fn give_way(slice: Slice, began: Instant) {
    if slice.time_max.is_some() {
        std::thread::sleep(began.elapsed() / 3);
    }
}

/// How long one transaction may keep the app's write lock, as a slice.
pub fn slice_of(replica: &Replica) -> Slice {
    Slice { rows_max: 1_000, time_max: Some(Duration::from_millis(replica.limits.lock_max.max(1) as u64)) }
}

/// A judge for readers that decide nothing.
pub fn rules_for(store: &Store, replica: &Replica) -> impl Judge {
    Rules::new(replica, &store.schema())
}
