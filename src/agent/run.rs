//! The agent's process: its lock, its socket, its crew, a reload, and its end.
//!
//! A reload changes what differs and nothing else: connections stay, and a replica whose
//! settings are the same notices nothing.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::clock::{Clock, SystemClock};
use super::crew::{Changes, Crew};
use super::desk::Desk;
use super::memory;
use super::network::Network;
use super::supervisor;
use super::{sleep, supply, telemetry};
use crate::config::{Config, paths};
use crate::ipc::{self, Audience, Role};

/// How long a stop may take before the process ends anyway.
const STOP_MAX: Duration = Duration::from_secs(5);

/// In the state directory: the config's path, written whenever it has been taken in.
pub const CONFIG_READ: &str = "config-read";

/// How long to wait for the lock of an agent that is ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

pub struct Options {
    pub config: Config,
    /// Reads the config again, for a reload; says in words what is wrong with it.
    pub reread: Box<dyn Fn() -> Result<Config, String> + Send + Sync>,
    pub environment: Vec<(String, String)>,
    /// From the command line; goes before the config's.
    pub socket: Option<PathBuf>,
}

/// Why the agent did not start.
#[derive(Debug)]
pub struct StartError {
    pub text: String,
    pub next: String,
    pub kind: StartErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartErrorKind {
    /// The config cannot be used.
    Config,
    /// Another agent is running.
    Taken,
    /// Others may write where the agent keeps what it knows.
    Permission,
    /// The system would not.
    System,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(options: Options) -> Result<(), StartError> {
    let root = rustix::process::geteuid().is_root();
    let state_dir = match &options.config.state_dir {
        Some(folder) => folder.clone(),
        None => paths::state_dir(&options.environment, root).ok_or_else(|| StartError {
            text: "there is no home directory to keep the agent's state in".to_owned(),
            next: "set `state_dir` in the config".to_owned(),
            kind: StartErrorKind::Config,
        })?,
    };
    private_folder(&state_dir)?;
    let _lock = lock(&state_dir)?;
    let device = device(&options.config, &state_dir)?;
    let socket = options
        .socket
        .clone()
        .or_else(|| options.config.socket.clone())
        .unwrap_or_else(|| paths::socket(&options.environment, root));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()
        .map_err(|error| system(format!("no threads could be started: {error}")))?;
    let (audience, guests) = shared_with(&options.config);
    let limits = ipc::Limits { guests, ..ipc::Limits::default() };
    let (stop, stopped) = watch::channel(false);
    let listener =
        {
            let _inside = runtime.enter();
            ipc::socket::inherited()
                .unwrap_or_else(|| ipc::bind_for(&socket, &audience))
                .map_err(|error| StartError { text: error.text, next: error.next, kind: StartErrorKind::System })?
        };
    // Before anybody may send one: untaken, a hangup ends the process.
    let signals = {
        let _inside = runtime.enter();
        Signals::take().map_err(|error| system(format!("signals cannot be taken: {error}")))?
    };
    note_config_read(&state_dir, &options.config);
    let crew = Arc::new(Crew::new(device.clone(), state_dir, runtime.handle().clone()));
    crew.history_age_max.store(options.config.history_age_max, Ordering::Relaxed);
    crew.supplied(supply::read(&options.config.replicas));
    crew.bring_in_line(&options.config.replicas).map_err(|fault| StartError {
        text: fault.reason.text,
        next: fault.reason.next,
        kind: StartErrorKind::Config,
    })?;
    let telemetry_url = options.config.telemetry_url.clone();
    let desk = Desk { board: crew.board.clone(), crew: crew.clone(), telemetry_url: telemetry_url.clone() };
    let served = runtime.spawn(ipc::serve(listener, Arc::new(desk), limits, stopped));
    let watches = (Network::watch(&crew), supply::watch(&crew));
    tracing::info!(device, socket = %socket.display(), replicas = crew.size(), "ready");
    supervisor::ready(&standing(&crew));
    runtime.spawn(supervisor::describe(crew.board.clone()));
    runtime.spawn(supervisor::keep_alive(crew.clone()));
    if let Some(url) = telemetry_url {
        runtime.spawn(telemetry::send(crew.telemetry.clone(), url));
    }
    sleep::watch(crew.clone());
    let end = runtime.block_on(serve_until_told_to_stop(&crew, Arc::new(options), signals, watches));
    supervisor::stopping();
    tracing::info!(signal = end, "stopping");
    let deadline = Instant::now() + STOP_MAX;
    let _ = stop.send(true);
    crew.dismiss(deadline);
    let left = deadline.saturating_duration_since(Instant::now());
    let _ = runtime.block_on(async { tokio::time::timeout(left, served).await });
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

/// Reloads at each SIGHUP; returns at SIGTERM or SIGINT, also in the middle of a reload.
async fn serve_until_told_to_stop(
    crew: &Arc<Crew>,
    options: Arc<Options>,
    signals: Signals,
    mut watches: (Option<Network>, Option<supply::Watch>),
) -> &'static str {
    let Signals { mut hangup, terminate, interrupt } = signals;
    let mut end = std::pin::pin!(ended(terminate, interrupt));
    loop {
        tokio::select! {
            end = &mut end => return end,
            _ = hangup.recv() => {}
        }
        let (reloading, asked) = (crew.clone(), options.clone());
        let reload = tokio::task::spawn_blocking(move || reload(&reloading, &asked));
        tokio::select! {
            end = &mut end => return end,
            _ = reload => {}
        }
        drop(watches);
        watches = (Network::watch(crew), supply::watch(crew));
    }
}

/// Works by the config as it is now. One that is wrong changes nothing.
fn reload(crew: &Crew, options: &Options) {
    supervisor::reloading();
    let changed = (options.reread)().and_then(|config| {
        tell_what_needs_a_restart(&options.config, &config);
        crew.history_age_max.store(config.history_age_max, Ordering::Relaxed);
        crew.supplied(supply::read(&config.replicas));
        let changes = crew.bring_in_line(&config.replicas).map_err(|fault| fault.reason.text)?;
        note_config_read(&crew.state_dir, &config);
        Ok(changes)
    });
    match changed {
        Ok(Changes { added, changed, removed }) => {
            tracing::info!(added, changed, removed, "reloaded");
            supervisor::ready(&standing(crew));
        }
        Err(problem) => {
            tracing::error!("the config was not reloaded, and the one before stays in force: {problem}");
            let line = problem.split_whitespace().collect::<Vec<_>>().join(" ");
            supervisor::ready(&format!("{}; config not reloaded: {line}", standing(crew)));
        }
    }
}

/// Says when the config was last taken in: `doctor` compares that with the file.
fn note_config_read(state_dir: &Path, config: &Config) {
    let file = config.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
    let written = memory::replace(&state_dir.join(CONFIG_READ), file.as_bytes());
    if let Err(error) = written {
        tracing::debug!("when the config was read was not noted: {error}");
    }
}

fn tell_what_needs_a_restart(was: &Config, is: &Config) {
    let changed = [
        ("device", was.device != is.device),
        ("socket", was.socket != is.socket),
        ("state_dir", was.state_dir != is.state_dir),
        ("socket_access", was.socket_access != is.socket_access),
        ("telemetry_url", was.telemetry_url != is.telemetry_url),
        ("socket_group", was.socket_group != is.socket_group),
    ];
    for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!("`{key}` takes a restart of the agent; until then it stays as it was");
    }
}

fn standing(crew: &Crew) -> String {
    supervisor::words(&crew.board.status(SystemClock.millis(), None).replicas)
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

async fn ended(mut terminate: Signal, mut interrupt: Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Whom the socket lets in, and what they may do.
fn shared_with(config: &Config) -> (Audience, Option<Role>) {
    match config.socket_access.as_str() {
        "group" => (Audience::Group(config.socket_group.clone()), Some(Role::Reader)),
        "all" => (Audience::All, Some(Role::Owner)),
        _ => (Audience::Owner, None),
    }
}

/// Makes the state directory, or checks that nobody else can write to the one there is: what
/// lies in it says who this device is, and what a person ordered.
fn private_folder(folder: &Path) -> Result<(), StartError> {
    let shown = folder.display();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let found = made.and_then(|()| std::fs::metadata(folder)).map_err(|error| StartError {
        text: format!("the state directory {shown} cannot be made: {error}"),
        next: "let the agent's user make it, or set `state_dir` in the config".to_owned(),
        kind: StartErrorKind::System,
    })?;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() == me && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let (text, next) = match found.uid() == me {
        true => (
            format!("others may write to the state directory {shown} (mode {:o})", found.mode() & 0o777),
            format!("see that what lies there is yours, then `chmod 700 {shown}`"),
        ),
        false => (
            format!("the state directory {shown} belongs to user {}, and this is user {me}", found.uid()),
            "run the agent as that user, or set `state_dir` in the config".to_owned(),
        ),
    };
    Err(StartError { text, next, kind: StartErrorKind::Permission })
}

/// One agent a state directory. Held for as long as the file is open.
fn lock(state_dir: &Path) -> Result<File, StartError> {
    let path = state_dir.join("agent.lock");
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| system(format!("{} cannot be opened: {error}", path.display())))?;
    // An agent that was just killed holds it a moment longer.
    let deadline = Instant::now() + LOCK_PATIENCE;
    let taken = loop {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            taken => break taken,
        }
    };
    match taken {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError {
            text: format!("another agent is running with the state directory {}", state_dir.display()),
            next: "stop it first, or give this one a `state_dir` and a `socket` of its own".to_owned(),
            kind: StartErrorKind::Taken,
        }),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(system(format!("{} cannot be locked: {error}", path.display())))
        }
    }
}

/// The name the remote sees: the config's, or the host's name and a random part, kept.
fn device(config: &Config, state_dir: &Path) -> Result<String, StartError> {
    if let Some(name) = &config.device {
        return Ok(name.clone());
    }
    let path = state_dir.join("device");
    if let Ok(kept) = std::fs::read_to_string(&path)
        && !kept.trim().is_empty()
    {
        return Ok(kept.trim().to_owned());
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let random = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("{}-{}", if host.is_empty() { "device" } else { &host }, &random[..6]);
    memory::replace(&path, name.as_bytes())
        .map_err(|error| system(format!("{} cannot be written: {error}", path.display())))?;
    Ok(name)
}

fn system(text: String) -> StartError {
    StartError {
        text,
        next: "look at the system's limits and the folder's rights".to_owned(),
        kind: StartErrorKind::System,
    }
}
