//! The world: devices, a hub, a clock, and the steps of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use super::device::Device;
use super::network::Far;
use super::plan::{Faults, Plan, Step, What};
use super::schema;
use super::tokens::Tokens;
use super::{app, check};
use crate::engine::Chance;
use crate::engine::session::{Event, Wake};
use crate::hub::settings::Settings;
use crate::hub::sqlite::{OpenOptions, Scope};
use crate::hub::store::Store;

/// 2026-01-01, when every run begins.
const START: i64 = 1_767_225_600_000;
/// Virtual time in which everything must settle once it heals.
const HEAL_MAX: i64 = 600_000;
/// Steps in which it must settle.
const HEAL_STEPS: usize = 60_000;

pub(super) struct World {
    folder: PathBuf,
    /// Milliseconds since the run began; never steps back.
    now: i64,
    base: Arc<AtomicI64>,
    far: Arc<Mutex<Far>>,
    devices: Vec<Device>,
    tokens: Tokens,
    enforcing: Vec<bool>,
    epochs: u64,
    hub_copy: Option<PathBuf>,
    /// A write passed the triggers.
    unseen: bool,
    verbose: bool,
}

impl World {
    pub(super) fn new(plan: &Plan, folder: &Path, verbose: bool) -> Result<World, String> {
        let far = Arc::new(Mutex::new(Far {
            scope: None,
            now: START,
            chance: Chance::new(plan.seed ^ 0x5ea),
            faults: plan.faults.clone(),
            late: Vec::new(),
            reached: BTreeMap::new(),
        }));
        let base = Arc::new(AtomicI64::new(START));
        let mut devices = Vec::new();
        for number in 0..plan.devices {
            let device = Device::new(number, plan, folder, far.clone(), base.clone());
            let db = app::open(&device.path, false, true)?;
            let journal = if plan.wal[number] { "WAL" } else { "DELETE" };
            db.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(()))
                .map_err(|error| error.to_string())?;
            db.execute_batch(schema::SQL).map_err(|error| error.to_string())?;
            devices.push(device);
        }
        let mut world = World {
            folder: folder.to_owned(),
            now: 0,
            base,
            far,
            devices,
            tokens: Tokens::default(),
            enforcing: plan.enforcing.clone(),
            epochs: 0,
            hub_copy: None,
            unseen: false,
            verbose,
        };
        world.open_hub(false)?;
        for device in &mut world.devices {
            device.tell(0, Event::Wake(Wake::Start));
        }
        Ok(world)
    }

    /// Plays the plan, then heals the world and waits for it to settle.
    pub(super) fn play(&mut self, plan: &Plan, done: &mut usize) -> Result<(), String> {
        for step in &plan.steps {
            *done += 1;
            self.step(step).map_err(|error| self.told(error, *done))?;
            self.check().map_err(|error| self.told(error, *done))?;
        }
        self.settle().map_err(|error| self.told(error, *done))
    }

    pub(super) fn reached(&self) -> BTreeMap<&'static str, u64> {
        self.far.lock().expect("BUG: one thread a world").reached.clone()
    }

    fn told(&self, error: String, done: usize) -> String {
        format!("after step {done}, at {} ms: {error}", self.now)
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:>8} {}", self.now, text());
        }
    }

    fn reach(&self, what: &'static str) {
        self.far.lock().expect("BUG: one thread a world").reach(what);
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let mut chance = Chance::new(step.chance);
        let at = step.device;
        match step.what {
            What::Write => self.write(at, true, &mut chance),
            What::Unseen => self.unseen(at, &mut chance),
            What::Drive => self.drive(at, 1 + chance.below(8)),
            What::Wait => self.wait(1 + chance.below(30_000) as i64),
            What::Command => {
                let now = self.now;
                self.devices[at].tell(now, Event::Wake(Wake::Command));
            }
            What::Crash => {
                self.say(|| format!("device {at} crashes"));
                let now = self.now;
                self.devices[at].restart(now);
            }
            What::KeepCopy => self.keep_copy(at)?,
            What::PowerCut => self.restore(at, false, "power cut")?,
            What::RestoreFile => self.restore(at, false, "file restored")?,
            What::RestoreMachine => self.restore(at, true, "machine restored")?,
            What::ClockJump => {
                let jump = *chance.pick(&[-7_200_000, -3_600_000, -60_000, 60_000, 3_600_000, 315_360_000_000]);
                self.say(|| format!("device {at}: clock jumps by {jump} ms"));
                self.devices[at].clock.skew.store(jump, Ordering::Relaxed);
            }
            What::Network => {
                let up = chance.below(2) == 0;
                self.say(|| format!("device {at}: network {up}"));
                self.devices[at].connected.store(up, Ordering::Relaxed);
            }
            What::HubRestart => self.open_hub(false)?,
            What::HubKeepCopy => self.keep_hub()?,
            What::HubRestore => self.restore_hub()?,
            What::HubWrite => self.hub_write(&mut chance)?,
            What::Migrate => {
                let told = app::migrate(&self.devices[at].path, &mut chance);
                self.say(|| format!("device {at} migrates: {told:?}"));
            }
            What::Vacuum => {
                let sql = *chance.pick(&["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "REINDEX"]);
                if let Ok(db) = app::open(&self.devices[at].path, false, true) {
                    let _ = db.execute_batch(sql);
                }
            }
            What::Prune => {
                self.wait(40 * 86_400_000);
                let mut far = self.far.lock().expect("BUG: one thread a world");
                let now = far.now;
                if let Some(scope) = &mut far.scope {
                    scope.prune(now).map_err(|error| format!("prune: {error:?}"))?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, at: usize, seen: bool, chance: &mut Chance) {
        let now = self.now;
        let enforcing = self.enforcing[at];
        let device = &mut self.devices[at];
        let millis = crate::agent::clock::Clock::millis(&device.clock);
        let told = app::write(&device.path, at, enforcing, seen, millis, chance, &mut self.tokens);
        device.tell(now, Event::Written { immediate: chance.below(4) == 0 });
        self.say(|| format!("device {at} writes: {told:?}"));
    }

    /// The app writes past the triggers; the next audit finds it.
    fn unseen(&mut self, at: usize, chance: &mut Chance) {
        self.write(at, false, chance);
        self.unseen = true;
        self.reach("a write that no trigger saw");
    }

    fn drive(&mut self, at: usize, steps: u64) {
        for _ in 0..steps {
            let now = self.now;
            let Some((step, fault)) = self.devices[at].drive(now) else { break };
            self.say(|| format!("device {at}: {step:?} {}", fault.clone().unwrap_or_default()));
        }
    }

    fn wait(&mut self, millis: i64) {
        self.now += millis;
        self.base.fetch_add(millis, Ordering::Relaxed);
        {
            let mut far = self.far.lock().expect("BUG: one thread a world");
            far.now += millis;
            if far.chance.below(3) == 0 {
                far.deliver_late();
            }
        }
        let now = self.now;
        self.devices.iter_mut().for_each(|device| device.tick(now));
    }

    fn keep_copy(&mut self, at: usize) -> Result<(), String> {
        let copy = self.folder.join(format!("copy-{at}.db"));
        let device = &mut self.devices[at];
        copy_database(&device.path, &copy)?;
        let known = device.memory.0.lock().expect("BUG: one thread a world").clone();
        device.kept = Some((copy, known));
        Ok(())
    }

    /// Puts an older copy in the file's place. What was written since and reached nobody
    /// is gone with it, and nobody can be blamed.
    fn restore(&mut self, at: usize, with_state: bool, what: &'static str) -> Result<(), String> {
        let Some((copy, known)) = self.devices[at].kept.clone() else { return Ok(()) };
        self.say(|| format!("device {at}: {what}"));
        let before = self.local_tokens(at)?;
        let ledger = check::ledger_of(&self.devices[at].path)?;
        let now = self.now;
        let path = self.devices[at].path.clone();
        // The agent dies first: its connection must not outlive the file.
        self.devices[at].restart(now);
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        copy_database(&copy, &path)?;
        if with_state {
            *self.devices[at].memory.0.lock().expect("BUG: one thread a world") = known;
        }
        let mut kept = self.local_tokens(at)?;
        for other in 0..self.devices.len() {
            if other != at {
                kept.extend(self.local_tokens(other)?);
            }
        }
        kept.extend(self.hub_tokens()?);
        let gone: BTreeSet<String> = before.difference(&kept).cloned().collect();
        self.tokens.replaced(&gone);
        // Losers that only this file's ledger remembered went with it.
        let remembered = check::ledger_of(&self.devices[at].path)?;
        self.tokens.replaced(&ledger.difference(&remembered).cloned().collect());
        self.reach(what);
        Ok(())
    }

    fn local_tokens(&self, at: usize) -> Result<BTreeSet<String>, String> {
        check::tokens_of(&self.devices[at].path)
    }

    fn hub_tokens(&self) -> Result<BTreeSet<String>, String> {
        check::tokens_of(&self.hub_path())
    }

    fn hub_path(&self) -> PathBuf {
        self.folder.join("hub.db")
    }

    fn open_hub(&mut self, restored: bool) -> Result<(), String> {
        let path = self.hub_path();
        self.epochs += 1;
        let mut far = self.far.lock().expect("BUG: one thread a world");
        let high_water = match (&far.scope, restored) {
            (Some(scope), true) => {
                Some(crate::hub::sqlite::HighWater { epoch: scope.epoch().to_owned(), head: scope.head() })
            }
            _ => None,
        };
        far.scope = None;
        let options =
            OpenOptions { settings: Settings::default(), epoch: format!("epoch-{}", self.epochs), high_water };
        let scope = Scope::open(&path, options).map_err(|error| format!("the hub does not open: {error:?}"))?;
        far.scope = Some(scope);
        Ok(())
    }

    fn keep_hub(&mut self) -> Result<(), String> {
        let copy = self.folder.join("hub-copy.db");
        copy_database(&self.hub_path(), &copy)?;
        self.hub_copy = Some(copy);
        Ok(())
    }

    fn restore_hub(&mut self) -> Result<(), String> {
        let Some(copy) = self.hub_copy.clone() else { return Ok(()) };
        self.say(|| "the hub is restored from a copy".to_owned());
        let before = self.hub_tokens()?;
        let mark = {
            let mut far = self.far.lock().expect("BUG: one thread a world");
            let scope = far.scope.take().expect("BUG: the hub is open");
            crate::hub::sqlite::HighWater { epoch: scope.epoch().to_owned(), head: scope.head() }
        };
        let path = self.hub_path();
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
        copy_database(&copy, &path)?;
        self.epochs += 1;
        let options = OpenOptions {
            settings: Settings::default(),
            epoch: format!("epoch-{}", self.epochs),
            high_water: Some(mark),
        };
        let scope = Scope::open(&path, options).map_err(|error| format!("the hub does not open: {error:?}"))?;
        self.far.lock().expect("BUG: one thread a world").scope = Some(scope);
        // What only the hub had is gone with it.
        let mut kept = self.hub_tokens()?;
        for at in 0..self.devices.len() {
            kept.extend(self.local_tokens(at)?);
        }
        let gone: BTreeSet<String> = before.difference(&kept).cloned().collect();
        self.tokens.replaced(&gone);
        self.reach("the hub restored");
        Ok(())
    }

    fn hub_write(&mut self, chance: &mut Chance) -> Result<(), String> {
        let path = self.hub_path();
        let before = self.hub_tokens()?;
        let (a, b) = (chance.below(6), chance.below(6));
        let token = self.tokens.fresh(99);
        let sql = match chance.below(4) {
            0 => format!("INSERT OR IGNORE INTO note(id, title) VALUES('n{a}', '{token}')"),
            1 => format!("UPDATE note SET title = '{token}' WHERE id = 'n{a}'"),
            2 => format!("DELETE FROM pair WHERE y = {b}"),
            _ => format!("UPDATE real_key SET v = '{token}' WHERE k = {a}.25"),
        };
        let db = app::open(&path, true, true)?;
        let done = db.execute(&sql, []);
        drop(db);
        let after = self.hub_tokens()?;
        self.tokens.replaced(&before.difference(&after).cloned().collect());
        if after.contains(&token) {
            self.tokens.written(&token, format!("the hub: {sql}"));
        }
        self.say(|| format!("hub: {sql}: {done:?}"));
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        check::nothing_lost(&self.tokens, &self.paths(), &self.hub_path())
    }

    fn paths(&self) -> Vec<&Path> {
        self.devices.iter().map(|device| device.path.as_path()).collect()
    }

    /// Everything heals. Without a write, a restart or a person, all sides become equal.
    fn settle(&mut self) -> Result<(), String> {
        {
            let mut far = self.far.lock().expect("BUG: one thread a world");
            far.deliver_late();
            far.faults = Faults::default();
        }
        self.devices.iter_mut().for_each(Device::heal);
        self.say(|| "everything heals".to_owned());
        self.quiet_down(HEAL_MAX / 4)?;
        if self.unseen {
            // The daily audit comes round.
            for device in &self.devices {
                let db = app::open(&device.path, false, true)?;
                let _ = db.execute("UPDATE _homing_meta SET value = 'due' WHERE name = 'audit'", []);
            }
        }
        self.quiet_down(HEAL_MAX)?;
        self.paths().iter().try_for_each(|path| check::integrity(path))?;
        let hub = self.hub_path();
        check::equal(&self.paths(), &hub)?;
        self.check()
    }
}

impl World {
    /// Lets everybody do what they have to, for some virtual time.
    fn quiet_down(&mut self, millis: i64) -> Result<(), String> {
        let until = self.now + millis;
        let mut steps = 0;
        while self.now < until {
            for at in 0..self.devices.len() {
                while self.devices[at].has_step() {
                    self.drive(at, 1);
                    steps += 1;
                    if steps > HEAL_STEPS {
                        return Err(format!(
                            "promise 5: still busy after {steps} steps: {}",
                            self.devices[at].describe()
                        ));
                    }
                }
            }
            self.check()?;
            let next = self.devices.iter().filter_map(Device::alarm).min().unwrap_or(self.now + 1_000);
            self.wait((next - self.now).max(1));
        }
        Ok(())
    }
}

/// A whole copy of a database that others may have open.
fn copy_database(from: &Path, to: &Path) -> Result<(), String> {
    let fail = |error: rusqlite::Error| format!("{}: {error}", from.display());
    let _ = std::fs::remove_file(to);
    let source = rusqlite::Connection::open(from).map_err(fail)?;
    let wal: String = source.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(fail)?;
    source.execute("VACUUM INTO ?", [to.to_string_lossy()]).map_err(fail)?;
    let copy = rusqlite::Connection::open(to).map_err(fail)?;
    copy.query_row(&format!("PRAGMA journal_mode = {wal}"), [], |_| Ok(())).map_err(fail)
}
