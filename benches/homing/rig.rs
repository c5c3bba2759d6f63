//! A hub in a process of its own, and devices: in this process, or as agents.
//!
//! A device in this process is the session and the performer that ship, driven without
//! a schedule; it speaks to the hub over HTTP on the loopback.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use homing::agent::clock::SystemClock;
use homing::agent::memory::FileMemory;
use homing::agent::perform::{self, Performer, World};
use homing::engine::Chance;
use homing::engine::session::{Action, Event, Report, Session, Step, Wake};
use homing::hub::token::{self, Grant};
use homing::model::settings::{Limits, Remote, Replica, Schedule, TableRule, TokenSource};
use homing::model::status::Cycle;
use homing::model::{Strategy, Supply};
use homing::store::Store;
use homing::store::open::Manners;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::data::Shape;
use super::process::{self, Process};

/// A folder, and a hub in it.
pub struct Rig {
    pub hub: Process,
    pub url: String,
    /// Of the account `ada`.
    pub token: PathBuf,
    folder: tempfile::TempDir,
}

impl Rig {
    pub fn start() -> Rig {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (hub, url) = process::hub(&folder.path().join("hub"));
        let rig = Rig { hub, url, token: folder.path().join("ada.token"), folder };
        rig.account("ada");
        rig
    }

    /// A token of this account, in a file.
    pub fn account(&self, name: &str) -> PathBuf {
        let grant = Grant {
            account: name.to_owned(),
            scopes: Vec::new(),
            role: String::new(),
            ttl_seconds: 86_400,
            may_bring_tables: true,
        };
        let token = token::issue(&self.path("hub"), &grant).expect("a token");
        let path = self.path(&format!("{name}.token"));
        std::fs::write(&path, token).expect("a token file");
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn replica(&self, database: &Path, strategy: Strategy) -> Replica {
        replica(database, &self.url, &self.token, strategy)
    }

    /// A device whose cycles run in this process.
    pub fn device(&self, name: &str, strategy: Strategy) -> Device {
        self.device_of(&self.token, name, strategy)
    }

    /// The same of another account.
    pub fn device_of(&self, token: &Path, name: &str, strategy: Strategy) -> Device {
        let database = self.path(&format!("{name}.db"));
        let state = self.path(&format!("{name}.state"));
        std::fs::create_dir_all(&state).expect("a state folder");
        Device::new(name, replica(&database, &self.url, token, strategy), &state)
    }

    /// Writes an agent's config: live, no debounce.
    pub fn config(&self, name: &str, url: &str) -> PathBuf {
        let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
        let text = format!(
            "device = {name:?}\nsocket = {}\nstate_dir = {}\n[replica.bench]\ndatabase = {}\n\
             [replica.bench.remote]\nkind = \"homing\"\nurl = {url:?}\ntoken_file = {}\n\
             [replica.bench.schedule]\ndebounce = \"0ms\"\nlive = true\n",
            quoted(&self.socket(name)),
            quoted(&self.path(&format!("{name}.state"))),
            quoted(&self.path(&format!("{name}.db"))),
            quoted(&self.token),
        );
        let path = self.path(&format!("{name}.toml"));
        std::fs::write(&path, text).expect("a config");
        path
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.sock"))
    }

    /// Starts an agent on `NAME.db` and waits until it is in step.
    pub fn agent(&self, name: &str) -> Process {
        let config = self.config(name, &self.url);
        let agent = process::agent(&config);
        self.wait_for_socket(name);
        process::run(process::homing().args(["sync", "--wait", "--timeout", "60s", "--socket"]).arg(self.socket(name)));
        agent
    }

    pub fn wait_for_socket(&self, name: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(self.socket(name)).is_err() {
            assert!(std::time::Instant::now() < deadline, "the agent of {name} does not listen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

pub fn replica(database: &Path, url: &str, token: &Path, strategy: Strategy) -> Replica {
    Replica {
        name: "bench".to_owned(),
        database: database.to_owned(),
        remote: Remote {
            kind: "homing".to_owned(),
            url: url.to_owned(),
            scope: None,
            token: TokenSource::File(token.to_owned()),
            allow_plain_http: false,
            ca_file: None,
            proxy: None,
            timeout: 30_000,
            backend: Default::default(),
        },
        schedule: Schedule::default(),
        limits: Limits::default(),
        include: None,
        exclude: Vec::new(),
        tables: Default::default(),
        default_rule: TableRule { strategy, ..TableRule::default() },
    }
}

/// Puts capture into a file, as the first cycle does.
pub fn attach(replica: &Replica) {
    let mut store = Store::open(replica, "bench", Manners::default()).expect("the store opens");
    store.attach(today()).expect("capture is put in");
    store.close();
}

pub fn today() -> f64 {
    use homing::agent::clock::Clock;
    SystemClock.millis() as f64 / 86_400_000.0 + 2_440_587.5
}

/// A file of `shape` with capture in it and `rows` unsent.
pub fn captured(shape: &Shape, replica: &Replica, rows: &[Vec<homing::model::Value>]) {
    let mut db = shape.create(&replica.database);
    attach(replica);
    shape.fill_parents(&db);
    shape.insert_all(&mut db, rows, 10_000);
}

pub struct Device {
    session: Session,
    performer: Performer,
    _runtime: Runtime,
    _stop: watch::Sender<bool>,
    start: Instant,
}

/// Where a cycle's time went, by step.
type Spent = BTreeMap<String, Duration>;

impl Device {
    fn new(name: &str, replica: Replica, state: &Path) -> Device {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (stop, stopped) = watch::channel(false);
        let remote =
            homing::remote::open(&replica, name, runtime.handle(), stopped).expect("a remote that can be asked");
        let world = World {
            clock: Box::new(SystemClock),
            memory: Box::new(FileMemory::new(state, &replica.name)),
            fresh_name: Box::new(|| uuid::Uuid::new_v4().to_string()),
            manners: Manners::default(),
            slice: perform::slice_of(&replica),
            leaves_open: false,
        };
        let session = Session::new(replica.schedule.clone(), Chance::new(1), Supply::default());
        let performer = Performer::new(replica, name.to_owned(), remote, world);
        Device { session, performer, _runtime: runtime, _stop: stop, start: Instant::now() }
    }

    /// One whole cycle; a fault ends the benchmark. Says on stderr where the time went.
    pub fn cycle(&mut self) -> Cycle {
        let spent = self.run(Event::Wake(Wake::Command));
        let spent: Vec<String> =
            spent.iter().map(|(step, time)| format!("{step} {:.2} s", time.as_secs_f64())).collect();
        eprintln!("  {}", spent.join(", "));
        self.performer.tally.cycle.clone()
    }

    /// The cycle that a write of the app begins. Says nothing.
    pub fn follow(&mut self) -> Cycle {
        self.run(Event::Written { immediate: true, urgent: false });
        self.performer.tally.cycle.clone()
    }

    fn run(&mut self, cause: Event) -> Spent {
        let mut spent = Spent::new();
        let mut next = step_of(self.session.handle(self.now(), cause));
        assert!(next.is_some(), "a cycle begins");
        while let Some(step) = next.take() {
            let start = Instant::now();
            let done = self.performer.perform(step).unwrap_or_else(|fault| panic!("{step:?}: {fault:?}"));
            *spent.entry(format!("{step:?}").to_lowercase()).or_default() += start.elapsed();
            next = step_of(self.session.handle(self.now(), Event::Done(done)));
            if step == Step::End {
                break;
            }
        }
        spent
    }

    /// Milliseconds on the session's clock.
    fn now(&self) -> i64 {
        self.start.elapsed().as_millis() as i64
    }
}

impl Device {
    /// A pull alone, whatever is unsent; how many rows came.
    pub fn pull(&mut self) -> u64 {
        let mut step = Step::Begin;
        loop {
            let done = self.performer.perform(step).unwrap_or_else(|fault| panic!("{step:?}: {fault:?}"));
            step = match (step, done) {
                (Step::Begin, _) => Step::Greet,
                (Step::Greet, _) => Step::Fetch,
                (Step::Fetch, _) | (_, Report::Applied { done: false, .. }) => Step::Apply,
                (_, Report::Applied { more: true, .. }) => Step::Fetch,
                (Step::End, _) => return self.performer.tally.cycle.pulled,
                _ => Step::End,
            };
        }
    }
}

fn step_of(actions: Vec<Action>) -> Option<Step> {
    actions.into_iter().find_map(|action| if let Action::Do(step) = action { Some(step) } else { None })
}
