//! The simulator: the session, store, capture and hub that ship, on virtual time.
//!
//! Real SQLite files, a network that loses, repeats and delays, devices that crash,
//! lose power, are restored from older copies, and whose clocks jump. After every step
//! the promises are checked (`check`); in the end everything heals and all sides must
//! become equal without anybody's help.
//!
//! One seed, one run: whatever happens follows from it. A failure prints the seed and
//! the plan that led there. What it cannot see: real fsync, other SQLite builds, the
//! kernel, real sockets; `tests/it` has those.

mod app;
mod check;
mod device;
mod look;
mod network;
mod plan;
mod schema;
#[cfg(test)]
mod tests;
mod tokens;
mod witness;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use plan::Plan;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub first_seed: u64,
    pub seeds: u64,
    /// Seeds that run at the same time.
    pub threads: usize,
    /// Tell every step.
    pub verbose: bool,
    /// A plan to replay in place of the seed's own.
    pub plan: Option<Plan>,
    /// A defect to put in, to see whether it is found.
    pub canary: Option<Canary>,
}

/// Defects that the simulator must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Some pushes are acknowledged and never reach the hub.
    DropsPushes,
    /// Some pages come without their last row.
    LosesRows,
    /// Ledgers are emptied now and then.
    EmptiesLedgers,
    /// An agent sets a row back to an older version now and then.
    SetsBack,
    /// Some actions are acknowledged and never done.
    DropsActions,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub seeds: u64,
    pub steps: u64,
    pub failures: Vec<Failure>,
    /// How often each situation worth seeing was reached.
    pub reached: std::collections::BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub text: String,
    /// The steps up to the failure, as JSON for `--plan`.
    pub plan: String,
}

/// Runs the seeds; stops giving out new ones after the first few failures.
pub fn run(options: &Options, progress: &(dyn Fn(u64, u64) + Sync)) -> Outcome {
    const FAILURES_MAX: usize = 5;
    let next = AtomicU64::new(0);
    let total = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            let (next, total) = (&next, &total);
            scope.spawn(move || {
                let folder = scratch();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let failed = total.lock().expect("BUG: no panic holds this").failures.len();
                    if at >= options.seeds || failed >= FAILURES_MAX {
                        break;
                    }
                    let seed = options.first_seed.wrapping_add(at);
                    let one = one(seed, options, &folder);
                    let one = repeated(one, seed, options, &folder);
                    let mut total = total.lock().expect("BUG: no panic holds this");
                    total.seeds += 1;
                    total.steps += one.steps;
                    total.failures.extend(one.failure);
                    for (name, count) in one.reached {
                        *total.reached.entry(name).or_default() += count;
                    }
                    progress(total.seeds, total.failures.len() as u64);
                }
                if options.verbose {
                    eprintln!("files: {}", folder.display());
                } else {
                    let _ = std::fs::remove_dir_all(&folder);
                }
            });
        }
    });
    total.into_inner().expect("BUG: no panic holds this")
}

struct One {
    steps: u64,
    failure: Option<Failure>,
    reached: std::collections::BTreeMap<&'static str, u64>,
    /// A hash of all that happened.
    trace: u64,
}

/// Every so many seeds are run twice: the same seed must be the same run.
const REPEATED: u64 = 16;

fn repeated(mut first: One, seed: u64, options: &Options, folder: &Path) -> One {
    if first.failure.is_none() && seed.is_multiple_of(REPEATED) && !options.verbose {
        let second = one(seed, options, folder);
        if second.trace != first.trace {
            let text = "the same seed ran in two ways: something in it depends on more than the seed".to_owned();
            first.failure = Some(Failure { seed, text, plan: Plan::of(seed).to_json() });
        }
    }
    first
}

fn one(seed: u64, options: &Options, folder: &Path) -> One {
    let plan = options.plan.clone().unwrap_or_else(|| Plan::of(seed));
    let mut one = One { steps: 0, failure: None, reached: Default::default(), trace: 0 };
    let _ = std::fs::remove_dir_all(folder);
    if let Err(error) = std::fs::create_dir_all(folder) {
        let text = format!("the scratch folder {} cannot be made: {error}", folder.display());
        one.failure = Some(Failure { seed, text, plan: String::new() });
        return one;
    }
    let mut done = 0;
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut world = world::World::new(&plan, folder, options)?;
        let result = world.play(&plan, &mut done);
        (one.reached, one.trace) = world.account();
        result
    }));
    let text = match played {
        Ok(Ok(())) => None,
        Ok(Err(text)) => Some(text),
        Err(panic) => Some(format!("a panic: {}", panic_text(&*panic))),
    };
    one.failure = text.map(|text| Failure { seed, text, plan: plan.up_to(done).to_json() });
    one.steps = done as u64;
    one
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// A folder of one thread's own, in memory where the system has such a place.
fn scratch() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    root.join(format!("homing-simulate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}
