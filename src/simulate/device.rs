//! One device: an app's file, the agent beside it, and what survives of both.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::network::{Far, SimRemote};
use super::plan::Plan;
use super::schema;
use crate::agent::clock::Clock;
use crate::agent::memory::Memory;
use crate::agent::perform::{Performer, World};
use crate::engine::Chance;
use crate::engine::incarnation::Known;
use crate::engine::session::{Action, Event, Session, Step, View, Wake};
use crate::model::settings::{Limits, Priority, Remote, Replica, Schedule, TableRule, TokenSource};
use crate::model::status::State;
use crate::model::{Fault, FaultKind, ReasonCode, Supply};
use crate::store::open::Manners;
use crate::store::{Slice, Store, kept};

/// A device's clock: the world's, and how far it is off.
#[derive(Clone, Default)]
pub(super) struct SimClock {
    pub(super) base: Arc<AtomicI64>,
    pub(super) skew: Arc<AtomicI64>,
}

impl Clock for SimClock {
    fn millis(&self) -> i64 {
        self.base.load(Ordering::Relaxed) + self.skew.load(Ordering::Relaxed)
    }
}

/// The state directory: survives crashes, may be restored.
#[derive(Clone, Default)]
pub(super) struct SimMemory(pub(super) Arc<Mutex<Option<Known>>>);

impl Memory for SimMemory {
    fn load(&self) -> Result<Option<Known>, Fault> {
        Ok(self.0.lock().expect("BUG: one thread a world").clone())
    }

    fn save(&mut self, known: &Known) -> Result<(), Fault> {
        *self.0.lock().expect("BUG: one thread a world") = Some(known.clone());
        Ok(())
    }
}

pub(super) struct Device {
    pub(super) number: usize,
    pub(super) path: PathBuf,
    pub(super) clock: SimClock,
    pub(super) memory: SimMemory,
    pub(super) connected: Arc<AtomicBool>,
    pub(super) replica: Replica,
    pub(super) kept: Option<Kept>,
    /// Every change of schema that the app made, from the first.
    pub(super) ddl: Vec<String>,
    far: Arc<Mutex<Far>>,
    plan_chance: u64,
    lives: u64,
    slice_rows_max: usize,
    /// The app's file, as the last cycle left it open.
    left: Option<kept::Kept>,
    session: Session,
    performer: Performer,
    next: Option<Step>,
    alarm: Option<i64>,
    locked: u64,
    chance: Chance,
}

/// What a backup has: the file, the state directory, and the schema of then.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) file: PathBuf,
    pub(super) known: Option<Known>,
    pub(super) ddl: Vec<String>,
}

impl Device {
    pub(super) fn new(number: usize, plan: &Plan, folder: &Path, far: Arc<Mutex<Far>>, base: Arc<AtomicI64>) -> Device {
        let path = folder.join(format!("app-{number}.db"));
        let replica = replica(plan, &path);
        let clock = SimClock { base, skew: Arc::default() };
        let memory = SimMemory::default();
        let connected = Arc::new(AtomicBool::new(true));
        let seed = plan.seed.wrapping_mul(31).wrapping_add(number as u64);
        let (session, performer) =
            born(&replica, number, seed, 0, plan.slice_rows_max, &far, &clock, &memory, &connected);
        Device {
            number,
            path,
            clock,
            memory,
            connected,
            replica,
            kept: None,
            ddl: vec![schema::SQL.to_owned()],
            far,
            plan_chance: seed,
            lives: 0,
            slice_rows_max: plan.slice_rows_max,
            left: None,
            session,
            performer,
            next: None,
            alarm: None,
            locked: plan.faults.locked,
            chance: Chance::new(seed ^ 0xa11c),
        }
    }

    /// The agent dies where it stands, and is started again.
    pub(super) fn restart(&mut self, now: i64) {
        self.lives += 1;
        self.left = None;
        let (session, performer) = born(
            &self.replica,
            self.number,
            self.plan_chance,
            self.lives,
            self.slice_rows_max,
            &self.far,
            &self.clock,
            &self.memory,
            &self.connected,
        );
        self.session = session;
        self.performer = performer;
        self.next = None;
        self.alarm = None;
        self.tell(now, Event::Wake(Wake::Start));
    }

    pub(super) fn tell(&mut self, now: i64, event: Event) {
        for action in self.session.handle(now, event) {
            match action {
                Action::Do(step) => self.next = Some(step),
                Action::Alarm(at) => self.alarm = at,
                Action::Listen(_) | Action::Tell => {}
            }
        }
    }

    /// Rings the alarm if it is due.
    pub(super) fn tick(&mut self, now: i64) {
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.tell(now, Event::Tick);
        }
    }

    pub(super) fn alarm(&self) -> Option<i64> {
        self.alarm
    }

    /// Takes the next step of a cycle. False when there is none to take.
    pub(super) fn drive(&mut self, now: i64) -> Option<(Step, Option<String>)> {
        let step = self.next.take()?;
        let held = self.chance.below(1000) < self.locked && step != Step::End;
        let done = match held {
            true => Err(Fault::new(FaultKind::Locked, ReasonCode::DatabaseLocked, "the app holds the lock", "wait")),
            false => {
                if let Some(file) = self.left.take_if(|_| step == Step::Begin).and_then(kept::Kept::again) {
                    self.performer.lend(file);
                }
                self.performer.perform(step)
            }
        };
        if let Some(file) = self.performer.left.take() {
            self.left = kept::Kept::new(file, &self.path, Instant::now() + kept::KEEP);
        }
        let told = done.as_ref().err().map(|fault| fault.reason.text.clone());
        self.tell(now, done.map_or_else(Event::Failed, Event::Done));
        Some((step, told))
    }

    pub(super) fn heal(&mut self) {
        self.locked = 0;
        self.connected.store(true, Ordering::Relaxed);
        self.clock.skew.store(0, Ordering::Relaxed);
    }

    pub(super) fn next_step(&self) -> Option<Step> {
        self.next
    }

    pub(super) fn describe(&self) -> String {
        format!("{:?}", self.view())
    }

    /// What `homing status` would say.
    pub(super) fn view(&self) -> View {
        self.session.view(self.performer.tally.counts.pending)
    }

    /// The status has nothing to report: in step, and nothing waits for anything.
    pub(super) fn claims_to_be_equal(&self) -> bool {
        let counts = &self.performer.tally.counts;
        let waiting = counts.pending + counts.set_aside + counts.parked;
        self.view().word == State::InStep && waiting == 0
    }

    /// A person says of all that waits for one: try it again.
    pub(super) fn approve(&mut self, now: i64) -> Result<(), Fault> {
        let mut store = self.store()?;
        store.retry(None, None)?;
        store.close();
        self.tell(now, Event::Wake(Wake::Command));
        Ok(())
    }

    /// Takes every trace of Homing out of the file; nothing may be unsent.
    pub(super) fn detach(&mut self) -> Result<(), Fault> {
        self.left = None;
        let mut store = self.store()?;
        store.detach(false)?;
        store.close();
        Ok(())
    }

    fn store(&self) -> Result<Store, Fault> {
        let mut store = Store::open(&self.replica, &format!("device-{}", self.number), MANNERS)?;
        store.attach(self.clock.millis() as f64 / 86_400_000.0 + 2_440_587.5)?;
        Ok(store)
    }
}

const MANNERS: Manners = Manners { busy_timeout: std::time::Duration::ZERO, durable: false };

#[allow(clippy::too_many_arguments)]
fn born(
    replica: &Replica,
    number: usize,
    seed: u64,
    life: u64,
    slice_rows_max: usize,
    far: &Arc<Mutex<Far>>,
    clock: &SimClock,
    memory: &SimMemory,
    connected: &Arc<AtomicBool>,
) -> (Session, Performer) {
    let mut names = Chance::new(seed.wrapping_add(life << 32));
    let session = Session::new(replica.schedule.clone(), Chance::new(names.next_u64()), Supply::default());
    let remote = SimRemote { far: far.clone(), device: number, connected: connected.clone(), under_way: None };
    let world = World {
        clock: Box::new(clock.clone()),
        memory: Box::new(memory.clone()),
        fresh_name: Box::new(move || format!("{number}-{:016x}", names.next_u64())),
        manners: MANNERS,
        slice: Slice { rows_max: slice_rows_max, time_max: None },
        // One opens its file for each cycle, the next keeps it.
        leaves_open: number.is_multiple_of(2),
    };
    (session, Performer::new(replica.clone(), format!("device-{number}"), Box::new(remote), world))
}

fn replica(plan: &Plan, path: &Path) -> Replica {
    let tables = schema::TABLES.iter().zip(&plan.strategies).enumerate();
    Replica {
        name: "app".to_owned(),
        database: path.to_owned(),
        remote: Remote {
            kind: "homing".to_owned(),
            url: String::new(),
            scope: None,
            token: TokenSource::None,
            allow_plain_http: false,
            ca_file: None,
            proxy: None,
            timeout: 30_000,
            backend: Default::default(),
        },
        schedule: Schedule { every: Some(60_000), debounce: 1_000, ..Schedule::default() },
        limits: Limits {
            batch_rows_max: plan.batch_rows_max,
            // Where nobody comes by, nothing the simulator does may be set aside for good.
            tries_max: if plan.person { 3 } else { 1_000 },
            delete_rows_min: if plan.person { 2 } else { 100 },
            // Longer than any run, though time jumps by months.
            ledger_age_max: i64::MAX / 4,
            ..Limits::default()
        },
        include: None,
        exclude: Vec::new(),
        tables: tables
            .map(|(at, (name, strategy))| {
                let priority = Priority((at % 5) as u8);
                ((*name).to_owned(), TableRule { strategy: *strategy, priority, ..TableRule::default() })
            })
            .collect(),
        default_rule: TableRule::default(),
    }
}
