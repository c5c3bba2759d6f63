//! The scopes that are open: one store and one lock each, opened when first asked for.
//!
//! A store is used by one request at a time; requests of different scopes never wait
//! for each other. What an idle scope holds (memory, files) is given back.

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

/// An open scope nobody asked for in this time is closed.
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
        let mut inner = match scope.inner.lock() {
            Ok(inner) => inner,
            Err(poisoned) => {
                // A request panicked at it: its transaction is rolled back, its memory
                // is not to be trusted.
                scope.inner.clear_poison();
                let mut inner = poisoned.into_inner();
                inner.store = None;
                inner
            }
        };
        if inner.store.is_none() {
            let stem = scope.name.stem();
            let options = OpenOptions {
                settings: self.settings.clone(),
                epoch: uuid::Uuid::new_v4().simple().to_string(),
                high_water: self.registry.high_water(&stem)?,
            };
            inner.store = Some(Box::new(Scope::open(&self.data.scope(&scope.name), options)?));
        }
        inner.used_at = now;
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

    /// Takes in what SQL clients wrote, where somebody listens. Skips a scope that is in
    /// use: whoever uses it takes it in.
    pub fn look_around(&self, now: i64) {
        for scope in self.listened() {
            if scope.inner.try_lock().is_err() {
                continue;
            }
            if let Err(error) = self.with(&scope, now, |store| store.look_around(now)) {
                tracing::warn!(scope = scope.name.stem(), %error, "could not look for writes by SQL");
            }
        }
    }

    fn listened(&self) -> Vec<Arc<OpenScope>> {
        lock(&self.all).values().filter(|scope| scope.heads.receiver_count() > 0).cloned().collect()
    }

    /// Notes how far each open scope has come, and closes the idle ones.
    pub fn tidy(&self, now: i64) -> Result<()> {
        let all: Vec<Arc<OpenScope>> = lock(&self.all).values().cloned().collect();
        let mut marks = Vec::new();
        for scope in &all {
            let Ok(mut inner) = scope.inner.try_lock() else { continue };
            let Some(store) = &inner.store else { continue };
            let mark = HighWater { epoch: store.epoch().to_owned(), head: store.head() };
            if inner.noted.as_ref() != Some(&mark) {
                marks.push((scope.name.stem(), mark.clone()));
                inner.noted = Some(mark);
            }
            if now - inner.used_at > IDLE_MS && scope.heads.receiver_count() == 0 {
                inner.store = None;
            }
        }
        if marks.is_empty() { Ok(()) } else { self.registry.raise(&marks) }
    }
}

impl OpenScope {
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
