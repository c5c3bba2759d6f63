//! Performing one step of a cycle.
//!
//! Holds what lies between two steps (an open store, a batch, a page) and nothing that
//! matters after a crash. Each step is a few calls of store and remote; what to do next
//! is the session's to say.

mod act;
mod ahead;
mod courtesy;
mod nod;
mod receive;
mod send;

use self::ahead::Following;
pub use self::send::{candidates, staying, window};

use std::collections::BTreeMap;
use std::time::Duration;

use self::courtesy::Courtesy;
use self::nod::Welcome;
use super::clock::Clock;
use super::memory::Memory;
use super::rules::Rules;
use super::watch::{Print, Sight};
use crate::engine::Growth;
use crate::engine::incarnation::{self, Judgement, Known, Mark};
use crate::engine::session::{Report, Step};
use crate::engine::skew;
use crate::model::settings::Replica;
use crate::model::status::{Cycle, Progress};
use crate::model::{Action, Fault, FaultKind, Incarnation, Key, ReasonCode};
use crate::remote::{Answer, Greeted, Greeting, Remote, RemoteError};
use crate::store::actions::{Due, Folding};
use crate::store::attach::{Attached, Reading};
use crate::store::audit::Auditing;
use crate::store::flight::Flight;
use crate::store::open::Manners;
use crate::store::peek;
use crate::store::receive::Incoming;
use crate::store::report::Counts;
use crate::store::settle::Settling;
use crate::store::thin::Thinning;
use crate::store::{Judge, Now, Slice, Store, Terms};

/// Rows an audit compares in one read transaction.
const AUDIT_ROWS: usize = 2_000;
/// The WAL is folded in passing after this many rows; sooner while an app writes, whose
/// own commits would fold it once it is longer than 1,000 pages.
const FOLD_ROWS: u64 = 20_000;
const FOLD_ROWS_IN_COMPANY: u64 = 2_000;

/// What a cycle has to tell when it has ended, and meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub cycle: Cycle,
    /// Rows that changed here, by table.
    pub changed: BTreeMap<String, Vec<Key>>,
    pub counts: Counts,
    pub progress: Option<Progress>,
    pub set_aside: u64,
    /// Actions that are over, one way or the other.
    pub actions: Vec<Outgone>,
    /// Changes the remote refused, by its code.
    pub refused: BTreeMap<String, u64>,
    /// Changes that still wait, by table.
    pub queued: BTreeMap<String, u64>,
    /// Milliseconds the last answer took.
    pub latency: Option<u64>,
    /// How far this device's clock is ahead of the remote's, milliseconds.
    pub skew: Option<i64>,
}

/// An action that is over: done, or set aside for a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgone {
    pub action: Action,
    /// What the backend said to it; `Err`: why it was refused.
    pub said: std::result::Result<String, String>,
}

/// The world a performer lives in.
pub struct World {
    pub clock: Box<dyn Clock>,
    pub memory: Box<dyn Memory>,
    /// A name that nobody has had before.
    pub fresh_name: Box<dyn FnMut() -> String + Send>,
    pub manners: Manners,
    pub slice: Slice,
    /// After a good cycle the file is left open in `Performer::left`.
    pub leaves_open: bool,
}

pub struct Performer {
    replica: Replica,
    device: String,
    remote: Box<dyn Remote>,
    world: World,
    store: Option<Store>,
    /// The file's tables as the last cycle read them.
    reading: Option<Reading>,
    /// The file as somebody opened it who found that this cycle is due.
    lent: Option<peek::File>,
    rules: Option<Rules>,
    known: Known,
    /// What the state directory holds.
    remembered: Option<Known>,
    greeted: Option<Greeted>,
    /// How all was here when the remote was greeted, and after each good cycle since.
    welcome: Option<Welcome>,
    /// This cycle began with a nod.
    nodded: bool,
    /// What to add to this device's clock to read the remote's, milliseconds.
    offset: i64,
    /// Batches are held this small after the remote found one too large.
    rows_max: Option<usize>,
    growth: Growth,
    /// The outbox holds more than the batch under way.
    more: bool,
    following: Option<Following>,
    /// The batch was set off before it was staged.
    went_before: bool,
    auditing: Auditing,
    flight: Option<Flight>,
    answer: Option<Answer>,
    settling: Settling,
    /// The remote has newer rows than the batch knew of.
    behind: bool,
    incoming: Option<Incoming>,
    courtesy: Courtesy,
    /// Actions up to here may go: the rows that were written before them have gone.
    actions_upto: i64,
    folding: Folding,
    /// An action that got no answer of its own, until the next answer tells whether
    /// anything would have.
    stumbled: Option<(Due, Fault)>,
    /// This device's clock before the last request whose answer says the remote's.
    asked_at: i64,
    unfolded: u64,
    thinning: Thinning,
    /// What a person should know that stops nothing.
    notes: BTreeMap<&'static str, String>,
    pub tally: Tally,
    /// The newest place of the log that was seen between two cycles.
    pub newest: i64,
    /// What the file looked like at the end of a cycle, before it was closed.
    pub sight: Option<Sight>,
    /// The file after a good cycle, where whoever drives this takes it.
    pub left: Option<peek::File>,
}

impl Performer {
    pub fn new(replica: Replica, device: String, remote: Box<dyn Remote>, world: World) -> Performer {
        Performer {
            replica,
            device,
            remote,
            world,
            store: None,
            reading: None,
            lent: None,
            rules: None,
            known: Known::default(),
            remembered: None,
            greeted: None,
            welcome: None,
            nodded: false,
            offset: 0,
            rows_max: None,
            growth: Growth::default(),
            more: false,
            following: None,
            went_before: false,
            courtesy: Courtesy::default(),
            auditing: Auditing::default(),
            flight: None,
            answer: None,
            settling: Settling::default(),
            behind: false,
            incoming: None,
            actions_upto: 0,
            folding: Folding::default(),
            stumbled: None,
            asked_at: 0,
            unfolded: 0,
            thinning: Thinning::default(),
            notes: BTreeMap::new(),
            tally: Tally::default(),
            newest: 0,
            sight: None,
            left: None,
        }
    }

    /// The file is open already, as `Store::open` would open it. For the cycle that begins now.
    pub fn lend(&mut self, file: peek::File) {
        self.lent = Some(file);
    }

    pub fn perform(&mut self, step: Step) -> Result<Report, Fault> {
        match step {
            Step::Begin => self.begin(),
            Step::Greet => self.greet(),
            Step::Nod { age } => self.nod(age),
            Step::Audit => self.audit(),
            Step::Stage => self.stage(),
            Step::Send => self.send(),
            Step::Settle => self.settle(),
            Step::Act => self.act(),
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
        let lent = self.lent.take();
        self.forget();
        self.tally = Tally { counts: self.tally.counts.clone(), ..Tally::default() };
        let mut store = match lent {
            Some(file) => Store::over(file, &self.replica, &self.device)?,
            None => Store::open(&self.replica, &self.device, self.world.manners)?,
        };
        let days = self.world.clock.millis() as f64 / 86_400_000.0 + 2_440_587.5;
        store.recall(self.reading.take());
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
        self.welcome = None;
        self.nodded = false;
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
        self.welcome = Some(Welcome {
            at: self.world.clock.millis(),
            tables: greeting.tables,
            epoch: greeted.epoch.clone(),
            left: None,
        });
        self.greeted = Some(greeted);
        self.introduced(identity.flight.is_some())
    }

    /// What the session must know once the remote knows who is here.
    fn introduced(&mut self, in_flight: bool) -> Result<Report, Fault> {
        let now = self.world.clock.millis();
        // Who does not find conflicts there must know what is there before sending.
        let pulls_first = !self.remote.abilities().finds_conflicts;
        let store = self.store_mut();
        Ok(Report::Greeted {
            pull_first: pulls_first || store.checkpoint()?.is_none(),
            audit_due: store.audit_due(now)?,
            in_flight,
        })
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

    fn end(&mut self) -> Result<Report, Fault> {
        self.count_traffic();
        self.sight = None;
        let Some(mut store) = self.store.take() else { return Ok(Report::Ended { retry_in: None }) };
        let remembered = self.remember();
        let now = self.world.clock.millis();
        let closed = (|| {
            if self.tally.cycle.pushed + self.tally.cycle.pulled > 0 {
                store.note("last_sync_at", &now.to_string())?;
            }
            store.trim_ledger(now)?;
            // A log that cannot be thinned now is as good a record.
            let _ = store.thin(&mut self.thinning);
            self.tally.counts = store.counts()?;
            self.tally.queued = store.queued_by_table()?;
            let retry_in = store.next_try_in(now)?;
            // In this order: what is written between the two shows as a difference.
            let print = Print::of(&self.replica.database);
            let fresh = print.is_fresh();
            self.sight = Some(Sight { print, fresh, glance: store.glance(self.newest)? });
            Ok::<_, Fault>(retry_in)
        })();
        self.reading = Some(store.reading());
        let file = store.leave();
        self.forget();
        match self.world.leaves_open && closed.is_ok() {
            true => self.left = Some(file),
            false => file.close(),
        }
        remembered?;
        let retry_in = closed?;
        if let Some(welcome) = &mut self.welcome {
            welcome.left = Some(self.known.clone());
        }
        Ok(Report::Ended { retry_in })
    }

    /// What a remote's "that is over" leads to; all else is a fault.
    fn over(&mut self, error: RemoteError) -> Result<Report, Fault> {
        self.count_traffic();
        match error {
            RemoteError::Fault(fault) => return Err(fault),
            // What the greeting that was spared finds is what this comes from: a remote
            // that lost batches refuses the next one just as it does an older file's.
            RemoteError::IncarnationOver if self.nodded => {}
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

    /// A long transfer must not leave a long WAL behind.
    fn fold(&mut self, rows: u64) {
        self.unfolded += rows;
        let rows_max = if self.courtesy.has_company() { FOLD_ROWS_IN_COMPANY } else { FOLD_ROWS };
        if self.unfolded > rows_max {
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
        self.lent = None;
        self.behind = false;
        self.flight = None;
        self.more = false;
        self.following = None;
        self.went_before = false;
        self.answer = None;
        self.incoming = None;
        self.courtesy = Courtesy::default();
        self.folding = Folding::default();
        self.stumbled = None;
        self.auditing = Auditing::default();
    }
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

/// How long one transaction may keep the app's write lock, as a slice.
pub fn slice_of(replica: &Replica) -> Slice {
    Slice { rows_max: 1_000, time_max: Some(Duration::from_millis(replica.limits.lock_max.max(1) as u64)) }
}

/// A judge for readers that decide nothing.
pub fn rules_for(store: &Store, replica: &Replica) -> impl Judge {
    Rules::new(replica, &store.schema())
}
