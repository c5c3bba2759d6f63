//! The world: devices, a hub, a clock, and the steps of a plan.
//!
//! After each step of anybody's it looks at the files that could have changed and has
//! the promises checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::app::{self, Manner};
use super::check;
use super::device::{Device, Kept};
use super::look::{self, Look, Place, Sight};
use super::network::Far;
use super::plan::{Faults, Plan, Step, What};
use super::schema;
use super::tokens::Tokens;
use super::witness::Witness;
use super::{Canary, Options};
use crate::agent::clock::Clock;
use crate::engine::Chance;
use crate::engine::session::{self, Event, Wake};
use crate::hub::settings::Settings;
use crate::hub::sqlite::{HighWater, OpenOptions, Scope};
use crate::hub::store::Store;
use crate::model::status::State;

/// 2026-01-01, when every run begins.
const START: i64 = 1_767_225_600_000;
/// Virtual time in which everything must settle once it heals.
const HEAL_MAX: i64 = 600_000;
/// How long it must then stay so: every timer rings once.
const STILL: i64 = 61_000;
/// Steps in which it must settle.
const HEAL_STEPS: usize = 60_000;

pub(super) struct World {
    folder: PathBuf,
    /// Milliseconds since the run began; never steps back.
    now: i64,
    base: Arc<AtomicI64>,
    far: Arc<Mutex<Far>>,
    devices: Vec<Device>,
    sights: Vec<Sight>,
    looks: Vec<Arc<Look>>,
    hub_sight: Sight,
    hub_look: Arc<Look>,
    tokens: Tokens,
    witness: Witness,
    enforcing: Vec<bool>,
    /// Rows that an app moved to another key.
    rekeyed: BTreeSet<Place>,
    epochs: u64,
    hub_copy: Option<PathBuf>,
    /// Devices with a write that passed the triggers.
    unseen: Vec<bool>,
    /// Devices whose app wrote since their cycle began.
    written: Vec<bool>,
    person: bool,
    verbose: bool,
    canary: Option<(Canary, Chance)>,
}

impl World {
    pub(super) fn new(plan: &Plan, folder: &Path, options: &Options) -> Result<World, String> {
        let far = Arc::new(Mutex::new(Far::new(plan, START, options)));
        let base = Arc::new(AtomicI64::new(START));
        let hub_path = folder.join("hub.db");
        let mut world = World {
            folder: folder.to_owned(),
            now: 0,
            base: base.clone(),
            far: far.clone(),
            devices: Vec::new(),
            sights: Vec::new(),
            looks: Vec::new(),
            hub_sight: Sight::new(&hub_path, true),
            hub_look: Arc::default(),
            tokens: Tokens::default(),
            witness: Witness::new(plan.devices),
            enforcing: plan.enforcing.clone(),
            rekeyed: BTreeSet::new(),
            epochs: 0,
            hub_copy: None,
            unseen: vec![false; plan.devices],
            written: vec![false; plan.devices],
            person: plan.person,
            verbose: options.verbose,
            canary: options.canary.map(|canary| (canary, Chance::new(plan.seed ^ 0xca11))),
        };
        for number in 0..plan.devices {
            let device = Device::new(number, plan, folder, far.clone(), base.clone());
            let mut sight = Sight::new(&device.path, plan.stays[number]);
            let journal = if plan.wal[number] { "WAL" } else { "DELETE" };
            sight
                .write(|db| {
                    db.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(()))?;
                    db.execute_batch(schema::SQL)
                })?
                .map_err(|error| error.to_string())?;
            world.looks.push(sight.look(true)?);
            world.sights.push(sight);
            world.devices.push(device);
        }
        world.open_hub(None)?;
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

    /// Situations reached, and a hash of all that happened.
    pub(super) fn account(&self) -> (BTreeMap<&'static str, u64>, u64) {
        let far = self.far();
        (far.reached.clone(), far.trace.digest())
    }

    fn far(&self) -> MutexGuard<'_, Far> {
        self.far.lock().expect("BUG: one thread a world")
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
        self.far().reach(what);
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let mut chance = Chance::new(step.chance);
        let at = step.device;
        match step.what {
            What::Write => self.write(at, true, &mut chance)?,
            What::Unseen => {
                self.unseen[at] = true;
                self.reach("a write that no trigger saw");
                self.write(at, false, &mut chance)?;
            }
            What::Drive => self.drive(at, 1 + chance.below(8))?,
            What::Wait => self.wait(1 + chance.below(30_000) as i64)?,
            What::Command => {
                let now = self.now;
                let wake = if chance.below(3) == 0 { Wake::Live } else { Wake::Command };
                self.devices[at].tell(now, Event::Wake(wake));
            }
            What::Crash => {
                self.say(|| format!("device {at} crashes"));
                if self.looks[at].left("_homing_flight") > 1 {
                    self.reach("a crash with an answer unsettled and the next batch on its way");
                }
                let now = self.now;
                self.devices[at].restart(now);
            }
            What::KeepCopy => self.keep_copy(at)?,
            What::PowerCut => self.restore(at, false, "power cut")?,
            What::RestoreFile => self.restore(at, false, "file restored")?,
            What::RestoreMachine => self.restore(at, true, "machine restored")?,
            What::ClockJump => self.jump(at, &mut chance),
            What::Network => {
                let up = chance.below(2) == 0;
                self.say(|| format!("device {at}: network {up}"));
                self.devices[at].connected.store(up, Ordering::Relaxed);
            }
            What::HubRestart => self.open_hub(None)?,
            What::HubKeepCopy => self.keep_hub()?,
            What::HubRestore => self.restore_hub()?,
            What::HubWrite => self.hub_write(&mut chance)?,
            What::Migrate => self.migrate(at, &mut chance)?,
            What::Vacuum => {
                let sql = *chance.pick(&["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "REINDEX"]);
                let _ = self.sights[at].write(|db| db.execute_batch(sql))?;
                self.looks[at] = self.sights[at].look(true)?;
            }
            What::Prune => {
                self.wait(40 * 86_400_000)?;
                let mut far = self.far();
                let now = far.now;
                if let Some(scope) = &mut far.scope {
                    scope.prune(now).map_err(|error| format!("prune: {error:?}"))?;
                }
            }
            What::Approve if self.person => self.approve(at)?,
            What::Approve => {}
        }
        self.see_hub()
    }

    fn write(&mut self, at: usize, seen: bool, chance: &mut Chance) -> Result<(), String> {
        let before = self.sights[at].look(true)?;
        let manner = Manner { enforcing: self.enforcing[at], seen, millis: self.devices[at].clock.millis() };
        let tokens = &mut self.tokens;
        let told = self.sights[at].write(|db| app::write(db, at, manner, chance, tokens))?;
        let after = self.sights[at].look(true)?;
        self.tokens.wrote(Some(at), &before, &after, &format!("device {at}: {told:?}"));
        self.notice_write(at, &before, &after, told.as_deref().unwrap_or_default());
        for place in self.witness.app_wrote(at, &before, &after) {
            self.tokens.put_back(at, &place, after.rows.get(&place));
        }
        self.looks[at] = after;
        self.written[at] = true;
        let now = self.now;
        self.devices[at].tell(now, Event::Written { immediate: chance.below(4) == 0, urgent: false });
        self.say(|| format!("device {at} writes: {told:?}"));
        Ok(())
    }

    /// Counts the rarer situations that a transaction of an app brought about.
    fn notice_write(&mut self, at: usize, before: &Look, after: &Look, story: &str) {
        let changed: Vec<Place> = before.changed(after).into_iter().cloned().collect();
        let mut reached = Vec::new();
        let unanswered = self.far().unanswered.get(&at).cloned().unwrap_or_default();
        if changed.iter().any(|(table, key)| unanswered.iter().any(|(name, sent)| **name == **table && sent == key)) {
            reached.push("a row edited between a lost answer and the retry");
        }
        if story.contains("= 'swap'") && changed.iter().filter(|place| after.rows.contains_key(*place)).count() > 1 {
            reached.push("keys or unique values swapped in one transaction");
        }
        if changed.iter().any(|(_, key)| key.0.iter().any(crate::model::Value::is_null)) {
            reached.push("NULL in a composite key");
        }
        if story.contains("SET id = 'n") || story.contains("SET x = '") || story.contains("SET k = ") {
            self.rekeyed.extend(changed);
        }
        reached.into_iter().for_each(|what| self.reach(what));
    }

    fn drive(&mut self, at: usize, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            let now = self.now;
            let before = self.looks[at].clone();
            let snapshots = self.far().snapshots;
            if matches!(self.devices[at].next_step(), Some(session::Step::Begin | session::Step::End)) {
                self.sights[at].leave();
            }
            let Some((step, fault)) = self.devices[at].drive(now) else { break };
            self.say(|| format!("device {at}: {step:?} {}", fault.clone().unwrap_or_default()));
            self.bite(at)?;
            let after = self.sights[at].look(true)?;
            self.looks[at] = after.clone();
            self.far().trace.update(format!("{at} {step:?} {fault:?}").as_bytes());
            self.see_hub()?;
            if step == session::Step::Fetch && fault.is_none() {
                self.witness.fetched(at);
            }
            if !Arc::ptr_eq(&before, &after) {
                self.witness.agent_stepped(at, &before, &after)?;
                check::no_action_lost(&before, &after, &self.far().done)?;
                self.notice_step(&before, &after);
            }
            match step {
                session::Step::Begin => self.written[at] = false,
                session::Step::Fetch if self.far().snapshots > snapshots && before.left("_homing_log") > 0 => {
                    self.reach("a snapshot while the outbox is not empty");
                }
                session::Step::Nod { .. } if fault.is_none() => self.reach("a greeting spared"),
                session::Step::End if fault.is_none() => self.is_honest(at)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts the rarer situations that an agent's step brought about.
    fn notice_step(&self, before: &Look, after: &Look) {
        let mut reached = Vec::new();
        for (kind, count) in &after.kinds {
            if before.kinds.get(kind).is_none_or(|known| known < count) {
                reached.push(match kind.as_str() {
                    "update_update" => "update against update",
                    "update_delete" => "update here against delete there",
                    "delete_update" => "delete here against update there",
                    "insert_insert" => "insert against insert",
                    "unique" => "a unique value taken twice",
                    _ => "a foreign key in a conflict",
                });
            }
        }
        if before.left("_homing_parked") < after.left("_homing_parked") {
            reached.push("a pulled row had to wait (a parent after its child, say)");
        }
        if self.rekeyed.iter().any(|(table, key)| after.conflicts_of(table, key) > before.conflicts_of(table, key)) {
            reached.push("a changed key in a conflict");
        }
        for code in after.asks.difference(&before.asks) {
            reached.push(if code == "mass_deletion" { "a mass deletion held" } else { "a row set aside" });
        }
        reached.into_iter().for_each(|what| self.reach(what));
    }

    /// Where a device says that it is in step and nothing waits, and nobody did anything
    /// since it last asked, it has what the hub has.
    fn is_honest(&mut self, at: usize) -> Result<(), String> {
        let heard = {
            let far = self.far();
            far.in_step.get(&at) == Some(&far.changes)
        };
        if !heard || self.written[at] || self.unseen[at] || !self.devices[at].claims_to_be_equal() {
            return Ok(());
        }
        let claim = format!("device {at} says that it is in step, and");
        check::same_rows(&claim, &self.looks[at], &self.hub_look)
    }

    fn wait(&mut self, millis: i64) -> Result<(), String> {
        self.now += millis;
        self.base.fetch_add(millis, Ordering::Relaxed);
        {
            let mut far = self.far();
            far.now += millis;
            if far.chance.below(3) == 0 {
                far.deliver_late();
            }
        }
        let now = self.now;
        self.devices.iter_mut().for_each(|device| device.tick(now));
        self.see_hub()
    }

    fn jump(&mut self, at: usize, chance: &mut Chance) {
        let jump = *chance.pick(&[-7_200_000, -3_600_000, -60_000, 60_000, 3_600_000, 315_360_000_000]);
        self.say(|| format!("device {at}: clock jumps by {jump} ms"));
        let before = self.devices[at].clock.skew.swap(jump, Ordering::Relaxed);
        if jump < before && matches!(self.devices[at].view().word, State::Offline | State::BackingOff) {
            self.reach("the clock stepped back during a backoff");
        }
    }

    fn migrate(&mut self, at: usize, chance: &mut Chance) -> Result<(), String> {
        let told = self.sights[at].write(|db| app::migrate(db, chance))?;
        self.looks[at] = self.sights[at].look(true)?;
        self.say(|| format!("device {at} migrates: {told:?}"));
        if let Ok(sql) = told {
            self.reach(if sql.starts_with("DROP") { "a table rebuilt by a migration" } else { "a migration" });
            self.devices[at].ddl.push(sql);
        }
        Ok(())
    }

    fn approve(&mut self, at: usize) -> Result<(), String> {
        if self.looks[at].asks.contains("mass_deletion") {
            self.reach("a mass deletion approved");
        }
        let now = self.now;
        self.say(|| format!("device {at}: a person says to try all again"));
        self.devices[at].restart(now); // one agent a file: the command goes through it
        self.devices[at].approve(now).map_err(|fault| fault.reason.text)?;
        self.looks[at] = self.sights[at].look(true)?;
        Ok(())
    }

    fn keep_copy(&mut self, at: usize) -> Result<(), String> {
        let file = self.folder.join(format!("copy-{at}.db"));
        copy_database(&self.devices[at].path, &file)?;
        let device = &mut self.devices[at];
        let known = device.memory.0.lock().expect("BUG: one thread a world").clone();
        device.kept = Some(Kept { file, known, ddl: device.ddl.clone() });
        Ok(())
    }

    /// Puts an older copy in the file's place. What was written since and reached nobody
    /// is gone with it, and nobody can be blamed.
    fn restore(&mut self, at: usize, with_state: bool, what: &'static str) -> Result<(), String> {
        let Some(kept) = self.devices[at].kept.clone() else { return Ok(()) };
        self.say(|| format!("device {at}: {what}"));
        let before = self.looks[at].clone();
        let now = self.now;
        let path = self.devices[at].path.clone();
        // Agent and app end first: no connection may outlive the file.
        self.devices[at].restart(now);
        self.sights[at].close();
        remove_database(&path);
        copy_database(&kept.file, &path)?;
        self.devices[at].ddl = kept.ddl;
        if with_state {
            *self.devices[at].memory.0.lock().expect("BUG: one thread a world") = kept.known;
        }
        self.looks[at] = self.sights[at].look(true)?;
        self.excuse(&before);
        let unsent: Vec<String> = self.witness.unsent_tokens(at).into_iter().collect();
        self.tokens.excuse(&unsent);
        // Losers that only this file's ledger remembered went with it, though others may
        // still show them until they hear who won, and so may a parked row of the copy.
        let forgotten: Vec<String> = before.ledger.difference(&self.looks[at].ledger).cloned().collect();
        self.tokens.excuse(&forgotten);
        self.witness.device_restored(at);
        self.reach(what);
        Ok(())
    }

    /// Tokens that only `gone` had went with it.
    fn excuse(&mut self, gone: &Look) {
        let left: Vec<&Look> = self.looks.iter().chain([&self.hub_look]).map(|look| &**look).collect();
        self.tokens.went_with(gone, &left);
    }

    fn open_hub(&mut self, behind: Option<HighWater>) -> Result<(), String> {
        self.epochs += 1;
        let epoch = format!("epoch-{}", self.epochs);
        let options = OpenOptions { settings: Settings::default(), epoch, high_water: behind };
        let mut far = self.far();
        far.touched = true;
        far.scope = None;
        let scope = Scope::open(&self.folder.join("hub.db"), options);
        far.scope = Some(scope.map_err(|error| format!("the hub does not open: {error:?}"))?);
        Ok(())
    }

    fn keep_hub(&mut self) -> Result<(), String> {
        let copy = self.folder.join("hub-copy.db");
        copy_database(&self.folder.join("hub.db"), &copy)?;
        self.hub_copy = Some(copy);
        Ok(())
    }

    fn restore_hub(&mut self) -> Result<(), String> {
        let Some(copy) = self.hub_copy.clone() else { return Ok(()) };
        self.say(|| "the hub is restored from a copy".to_owned());
        let before = self.hub_look.clone();
        let mark = {
            let scope = self.far().scope.take().expect("BUG: the hub is open");
            HighWater { epoch: scope.epoch().to_owned(), head: scope.head() }
        };
        self.hub_sight.close();
        let path = self.folder.join("hub.db");
        remove_database(&path);
        copy_database(&copy, &path)?;
        self.open_hub(Some(mark))?;
        self.see_hub_as(true)?;
        self.excuse(&before);
        self.witness.hub_restored();
        self.reach("the hub restored");
        Ok(())
    }

    fn hub_write(&mut self, chance: &mut Chance) -> Result<(), String> {
        let before = self.hub_look.clone();
        let (a, b) = (chance.below(6), chance.below(6));
        let token = self.tokens.fresh(99);
        let sql = match chance.below(4) {
            0 => format!("INSERT OR IGNORE INTO note(id, title) VALUES('n{a}', '{token}')"),
            1 => format!("UPDATE note SET title = '{token}' WHERE id = 'n{a}'"),
            2 => format!("DELETE FROM pair WHERE y = {b}"),
            _ => format!("UPDATE real_key SET v = '{token}' WHERE k = {a}.25"),
        };
        let done = self.hub_sight.write(|db| db.execute(&sql, []))?;
        self.far().touched = true;
        self.see_hub()?;
        let after = self.hub_look.clone();
        self.witness.hub_wrote(&before, &after);
        self.tokens.wrote(None, &before, &after, &format!("the hub: {sql}"));
        self.say(|| format!("hub: {sql}: {done:?}"));
        Ok(())
    }

    /// Looks at the hub, if anybody could have changed it.
    fn see_hub(&mut self) -> Result<(), String> {
        self.see_hub_as(false)
    }

    fn see_hub_as(&mut self, restored: bool) -> Result<(), String> {
        if !std::mem::take(&mut self.far().touched) {
            return Ok(());
        }
        let after = self.hub_sight.look(true)?;
        if !Arc::ptr_eq(&after, &self.hub_look) {
            self.far().changes += 1;
            self.witness.hub_is(&self.hub_look, &after, restored);
            self.hub_look = after;
            let hub = self.hub_look.clone();
            self.hub_sight.peek(|db| check::hub_notes(db, &hub))??;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        check::nothing_lost(&self.tokens, &self.looks, &self.hub_look)
    }

    /// The defect that is to be found, where one is.
    fn bite(&mut self, at: usize) -> Result<(), String> {
        let Some((canary, chance)) = &mut self.canary else { return Ok(()) };
        let sql = match canary {
            Canary::EmptiesLedgers => "DELETE FROM _homing_conflict",
            Canary::SetsBack => "UPDATE note SET title = 'nothing' WHERE id = 'n0'",
            Canary::DropsPushes | Canary::LosesRows | Canary::DropsActions => return Ok(()),
        };
        if chance.below(30) == 0 {
            let _ = self.sights[at].write(|db| db.execute(sql, []))?;
        }
        Ok(())
    }
}

/// The end of a run.
impl World {
    /// Everything heals. Without a write, a restart or a person (but where a plan has
    /// one), all sides become equal; then Homing leaves, and nobody can tell it was there.
    fn settle(&mut self) -> Result<(), String> {
        {
            let mut far = self.far();
            far.deliver_late();
            far.faults = Faults::default();
        }
        self.see_hub()?;
        self.devices.iter_mut().for_each(Device::heal);
        self.say(|| "everything heals".to_owned());
        let mut steps = 0;
        self.run_out(&mut steps)?;
        for at in 0..self.devices.len() {
            if self.unseen[at] {
                // The daily audit comes round; one under way may have passed the row already.
                let due = "UPDATE _homing_meta SET value = 'due' WHERE name = 'audit'";
                let _ = self.sights[at].write(|db| db.execute(due, []))?;
                let now = self.now;
                self.devices[at].tell(now, Event::Wake(Wake::Command));
            }
        }
        self.quiet_down()?;
        for sight in self.sights.iter_mut().chain([&mut self.hub_sight]) {
            sight.peek(check::integrity)??;
        }
        self.check()?;
        let held = self.witness.own_rows_hold(&self.hub_look, &self.looks)?;
        self.far().trace.update(format!("{held} {:?}", self.hub_look.rows).as_bytes());
        for at in 0..self.devices.len() {
            let look = self.looks[at].clone();
            self.devices[at].detach().map_err(|fault| format!("detach: {}", fault.reason.text))?;
            self.sights[at].close();
            check::left_as_found(&self.devices[at].path, &self.devices[at].ddl, &look.rows)?;
        }
        Ok(())
    }

    /// Lets everybody finish what they are at.
    fn run_out(&mut self, steps: &mut usize) -> Result<(), String> {
        for at in 0..self.devices.len() {
            while self.devices[at].next_step().is_some() {
                self.drive(at, 1)?;
                *steps += 1;
                if *steps > HEAL_STEPS {
                    let view = self.devices[at].describe();
                    return Err(format!("promise 5: still busy after {steps} steps: {view}"));
                }
            }
        }
        Ok(())
    }

    /// Lets everybody do what they have to, until all are equal and stay so.
    fn quiet_down(&mut self) -> Result<(), String> {
        let until = self.now + HEAL_MAX;
        let mut steps = 0;
        let mut still_since = None;
        loop {
            self.run_out(&mut steps)?;
            self.check()?;
            let settled = check::settled(&self.looks, &self.hub_look);
            match settled {
                Ok(()) if self.now - *still_since.get_or_insert(self.now) >= STILL => return Ok(()),
                Ok(()) => {}
                Err(error) if self.now >= until => return Err(error),
                Err(_) => still_since = None,
            }
            for at in 0..self.devices.len() {
                if self.person && !self.looks[at].asks.is_empty() {
                    self.approve(at)?;
                }
            }
            let next = self.devices.iter().filter_map(Device::alarm).min().unwrap_or(self.now + 1_000);
            self.wait((next - self.now).max(1))?;
        }
    }
}

/// A whole copy of a database that others may have open.
fn copy_database(from: &Path, to: &Path) -> Result<(), String> {
    let fail = |error: rusqlite::Error| format!("{}: {error}", from.display());
    remove_database(to);
    let source = look::open(from).map_err(fail)?;
    let journal: String = source.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(fail)?;
    source.execute("VACUUM INTO ?", [to.to_string_lossy()]).map_err(fail)?;
    let copy = look::open(to).map_err(fail)?;
    copy.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(())).map_err(fail)
}

fn remove_database(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}
