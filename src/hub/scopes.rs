//! The scopes that are open: one store and one lock each, opened when first asked for.
//!
//! A store is used by one request at a time; requests of different scopes never wait
//! for each other. What an idle scope holds (memory, files) is given back, and so is what
//! the one holds that rested longest, when too many are open. Whether somebody wrote to a
//! closed scope by SQL shows from outside.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::data::{DataDir, ScopeName};
use super::error::Result;
use super::registry::Registry;
use super::settings::Settings;
use super::sqlite::{HighWater, OpenOptions, Scope};
use super::store::Store;
use crate::sqlite::print::Print;

/// A scope nobody asked for in this time is closed.
const IDLE_MS: i64 = 10 * 60_000;
const PRUNE_EVERY_MS: i64 = 6 * 3_600_000;

pub struct Scopes {
    data: DataDir,
    settings: Settings,
    registry: Arc<Registry>,
    all: Mutex<HashMap<ScopeName, Arc<OpenScope>>>,
}

pub struct OpenScope {
    name: ScopeName,
    /// Taken before a thread is: whoever waits for this scope blocks no other.
    pub(super) turn: Arc<Semaphore>,
    inner: Mutex<Inner>,
    /// The store has housekeeping for when nobody waits.
    wants_rest: AtomicBool,
    /// The newest revision, for those who listen.
    heads: watch::Sender<i64>,
    /// Incarnations that listen, by the number of their channel.
    listening: Mutex<HashMap<u64, String>>,
}

#[derive(Default)]
struct Inner {
    store: Option<Box<dyn Store>>,
    used_at: i64,
    pruned_at: i64,
    noted: Option<HighWater>,
    /// How the file looked when the store was closed with all in it known; `None` where
    /// somebody may have written since.
    left: Option<Print>,
}

impl Scopes {
    pub fn new(data: DataDir, settings: Settings, registry: Arc<Registry>) -> Scopes {
        Scopes { data, settings, registry, all: Mutex::default() }
    }

    pub fn get(&self, name: &ScopeName) -> Arc<OpenScope> {
        let mut all = lock(&self.all);
        let made = || {
            Arc::new(OpenScope {
                name: name.clone(),
                turn: Arc::new(Semaphore::new(1)),
                inner: Mutex::default(),
                wants_rest: AtomicBool::new(false),
                heads: watch::Sender::new(0),
                listening: Mutex::default(),
            })
        };
        all.entry(name.clone()).or_insert_with(made).clone()
    }

    /// Does `work` with the scope's store, and lets listeners know if the head moved.
    /// Blocks while another request is at it.
    pub fn with<T>(&self, scope: &OpenScope, now: i64, work: impl FnOnce(&mut dyn Store) -> Result<T>) -> Result<T> {
        let mut inner = scope.taken();
        inner.used_at = now;
        self.within(scope, &mut inner, now, work)
    }

    fn within<T>(
        &self,
        scope: &OpenScope,
        inner: &mut Inner,
        now: i64,
        work: impl FnOnce(&mut dyn Store) -> Result<T>,
    ) -> Result<T> {
        if inner.store.is_none() {
            let stem = scope.name.stem();
            let options = OpenOptions {
                settings: self.settings.clone(),
                epoch: uuid::Uuid::new_v4().simple().to_string(),
                high_water: self.registry.high_water(&stem)?,
            };
            inner.store = Some(Box::new(Scope::open(&self.data.scope(&scope.name), options)?));
            inner.left = None;
            self.make_room(now);
        }
        let due = now - inner.pruned_at > PRUNE_EVERY_MS;
        if due {
            inner.pruned_at = now;
        }
        let store = inner.store.as_deref_mut().expect("BUG: the store was just opened");
        if due {
            store.prune(now)?;
        }
        let done = work(store)?;
        scope.wants_rest.store(store.wants_rest(), Ordering::Relaxed);
        let head = store.head().0;
        scope.heads.send_if_modified(|known| std::mem::replace(known, head) != head);
        Ok(done)
    }

    /// Closes those that rested longest, until no more are open than may be. Those in use
    /// stay, and so does the one whose lock the caller holds.
    fn make_room(&self, now: i64) {
        let all = self.all();
        let open = |scope: &&Arc<OpenScope>| scope.inner.try_lock().map_or(true, |inner| inner.store.is_some());
        let over = all.iter().filter(open).count().saturating_sub(self.settings.scopes_open_max);
        for _ in 0..over {
            let rested = |scope: &&Arc<OpenScope>| {
                let inner = scope.inner.try_lock().ok()?;
                inner.store.as_ref().map(|_| inner.used_at)
            };
            let rested = all.iter().filter_map(|scope| Some((rested(&scope)?, scope)));
            let Some((_, scope)) = rested.min_by_key(|(used_at, _)| *used_at) else { return };
            if let Ok(mut inner) = scope.inner.try_lock() {
                self.close(scope, &mut inner, now);
            }
        }
    }

    fn close(&self, scope: &OpenScope, inner: &mut Inner, now: i64) {
        let left = self.leave(scope, inner, now);
        inner.store = None;
        if let Err(error) = left {
            tracing::warn!(scope = scope.name.stem(), %error, "closed without a last look");
        }
    }

    /// What must be known of a store that is about to be closed.
    fn leave(&self, scope: &OpenScope, inner: &mut Inner, now: i64) -> Result<()> {
        let Some(store) = inner.store.as_deref_mut() else { return Ok(()) };
        store.leave(now)?;
        let print = Print::of(&self.data.scope(&scope.name));
        // What is written from here on, the print does not have.
        let head = store.look_around(now)?;
        let mark = HighWater { epoch: store.epoch().to_owned(), head };
        scope.heads.send_if_modified(|known| std::mem::replace(known, head.0) != head.0);
        inner.left = (!print.is_fresh()).then_some(print);
        if inner.noted.as_ref() != Some(&mark) {
            self.registry.raise(&[(scope.name.stem(), mark.clone())])?;
            inner.noted = Some(mark);
        }
        Ok(())
    }

    /// Takes in what SQL clients wrote, where somebody listens. Skips a scope that is in
    /// use: whoever uses it takes it in. Nobody used it by this.
    pub fn look_around(&self, now: i64) {
        for scope in self.listened() {
            let Ok(mut inner) = scope.inner.try_lock() else { continue };
            if let Err(error) = self.look(&scope, &mut inner, now) {
                tracing::warn!(scope = scope.name.stem(), %error, "could not look for writes by SQL");
            }
        }
    }

    /// The newest revision, with what SQL clients wrote. Blocks while a request is at it.
    pub fn head(&self, scope: &OpenScope, now: i64) -> Result<i64> {
        self.look(scope, &mut scope.taken(), now)
    }

    fn look(&self, scope: &OpenScope, inner: &mut Inner, now: i64) -> Result<i64> {
        let is_as_left = |left: &Print| *left == Print::of(&self.data.scope(&scope.name));
        if inner.store.is_none() && inner.left.as_ref().is_some_and(is_as_left) {
            return Ok(*scope.heads.borrow());
        }
        Ok(self.within(scope, inner, now, |store| store.look_around(now))?.0)
    }

    fn listened(&self) -> Vec<Arc<OpenScope>> {
        lock(&self.all).values().filter(|scope| scope.heads.receiver_count() > 0).cloned().collect()
    }

    fn all(&self) -> Vec<Arc<OpenScope>> {
        lock(&self.all).values().cloned().collect()
    }

    /// Notes how far each open scope has come, and closes the idle ones.
    pub fn tidy(&self, now: i64) -> Result<()> {
        let mut marks = Vec::new();
        for scope in &self.all() {
            let Ok(mut inner) = scope.inner.try_lock() else { continue };
            let Some(store) = &inner.store else { continue };
            let mark = HighWater { epoch: store.epoch().to_owned(), head: store.head() };
            if inner.noted.as_ref() != Some(&mark) {
                marks.push((scope.name.stem(), mark.clone()));
                inner.noted = Some(mark);
            }
            if now - inner.used_at > IDLE_MS {
                self.close(scope, &mut inner, now);
            }
        }
        if marks.is_empty() { Ok(()) } else { self.registry.raise(&marks) }
    }
}

impl OpenScope {
    fn taken(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            // A request panicked at it: its transaction is rolled back, its memory is not
            // to be trusted.
            self.inner.clear_poison();
            let mut inner = poisoned.into_inner();
            inner.store = None;
            inner.left = None;
            inner
        })
    }

    pub(super) fn wants_rest(&self) -> bool {
        self.wants_rest.load(Ordering::Relaxed)
    }

    /// Registers a channel; `incarnation` may be empty. The guard ends it.
    pub fn listen(self: &Arc<Self>, number: u64, incarnation: &str) -> (watch::Receiver<i64>, Listening) {
        lock(&self.listening).insert(number, incarnation.to_owned());
        (self.heads.subscribe(), Listening { scope: self.clone(), number })
    }

    pub fn listening(&self) -> Vec<String> {
        lock(&self.listening).values().filter(|name| !name.is_empty()).cloned().collect()
    }
}

/// A channel that is open.
pub struct Listening {
    scope: Arc<OpenScope>,
    number: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.scope.listening).remove(&self.number);
    }
}

/// What these locks guard stays whole through a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::store::Who;
    use crate::model::Incarnation;
    use crate::protocol::{Hello, VERSION};
    use crate::sqlite::schema;

    const NOTES: &str = "CREATE TABLE notes(id TEXT PRIMARY KEY, body)";

    struct Rig {
        scopes: Scopes,
        now: i64,
        _dir: tempfile::TempDir,
    }

    impl Rig {
        fn new(scopes_open_max: usize) -> Rig {
            let dir = tempfile::tempdir().unwrap();
            let data = DataDir::open(dir.path()).unwrap();
            let registry = Arc::new(Registry::open(&data).unwrap());
            let settings = Settings { scopes_open_max, ..Settings::default() };
            Rig { scopes: Scopes::new(data, settings, registry), now: 1_704_067_200_000, _dir: dir }
        }

        /// A scope to which a device brings its table.
        fn scope(&mut self, name: &str) -> Arc<OpenScope> {
            self.now += 1;
            let scope = self.scopes.get(&ScopeName::Own(name.to_owned()));
            let db = rusqlite::Connection::open_in_memory().unwrap();
            db.execute_batch(NOTES).unwrap();
            let hello = Hello {
                protocol: VERSION,
                device: "laptop".into(),
                incarnation: Incarnation(name.into()),
                batch: 0,
                tables: schema::syncing(&db).unwrap(),
            };
            let now = self.now;
            self.scopes.with(&scope, now, |store| store.hello(&Who::owner(name), &hello, now)).unwrap();
            scope
        }

        /// Until the next write to its file leaves another print.
        fn let_age(&self, scope: &OpenScope) {
            while Print::of(&self.scopes.data.scope(&scope.name)).is_fresh() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }

        fn sql(&self, scope: &OpenScope, sql: &str) {
            rusqlite::Connection::open(self.scopes.data.scope(&scope.name)).unwrap().execute_batch(sql).unwrap();
        }

        fn head(&self, scope: &OpenScope) -> i64 {
            self.scopes.head(scope, self.now).unwrap()
        }
    }

    fn is_open(scope: &OpenScope) -> bool {
        scope.inner.try_lock().unwrap().store.is_some()
    }

    #[test]
    fn the_scope_that_rested_longest_is_closed_for_the_next_and_its_mark_is_kept() {
        let mut rig = Rig::new(2);
        let scopes = ["a", "b", "c"].map(|name| rig.scope(name));
        assert_eq!(scopes.each_ref().map(|scope| is_open(scope)), [false, true, true]);
        let mark = rig.scopes.registry.high_water(&scopes[0].name.stem()).unwrap();
        assert_eq!(mark, scopes[0].taken().noted);
        assert!(mark.is_some());
        rig.scope("a");
        assert_eq!(scopes.each_ref().map(|scope| is_open(scope)), [true, false, true]);
    }

    #[test]
    fn what_sql_clients_write_to_a_closed_scope_is_heard() {
        let mut rig = Rig::new(1);
        let scope = rig.scope("a");
        let (mut heads, _listening) = scope.listen(1, "");
        rig.sql(&scope, "INSERT INTO notes VALUES ('x', '1')");
        rig.scopes.look_around(rig.now);
        assert_eq!(*heads.borrow_and_update(), 1);
        rig.scope("b");
        assert!(!is_open(&scope));
        // The file was written as it was closed: one look more.
        rig.scopes.look_around(rig.now);
        assert!(is_open(&scope));
        rig.let_age(&scope);
        rig.scope("b");
        rig.scopes.look_around(rig.now);
        assert_eq!((is_open(&scope), rig.head(&scope), heads.has_changed().unwrap()), (false, 1, false));
        rig.sql(&scope, "INSERT INTO notes VALUES ('y', '2')");
        rig.scopes.look_around(rig.now);
        assert_eq!(*heads.borrow_and_update(), 2);
        assert_eq!(rig.head(&scope), 2);
    }

    #[test]
    fn a_scope_to_which_somebody_listens_is_closed_too_when_nobody_uses_it() {
        let mut rig = Rig::new(9);
        let scope = rig.scope("a");
        let _listening = scope.listen(1, "");
        rig.now += IDLE_MS + 1;
        rig.scopes.look_around(rig.now);
        rig.scopes.tidy(rig.now).unwrap();
        assert!(!is_open(&scope));
    }
}
