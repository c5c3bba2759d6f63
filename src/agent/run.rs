//! The agent's process: its lock, its socket, a thread a replica, and its end.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::board::{Board, Face};
use super::clock::SystemClock;
use super::desk::Desk;
use super::memory::{self, FileMemory};
use super::network::Network;
use super::perform::{self, Performer, World};
use super::worker::{Order, Worker};
use crate::config::{Config, paths};
use crate::engine::{Chance, Session};
use crate::ipc;
use crate::model::settings::Replica;
use crate::remote;
use crate::store::open::Manners;

/// How long a stop may take before the process ends anyway.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How long to wait for the lock of an agent that is ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

pub struct Options {
    pub config: Config,
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
        .or_else(|| options.config.socket.clone())
        .unwrap_or_else(|| paths::socket(&options.environment, root));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()
        .map_err(|error| system(format!("no threads could be started: {error}")))?;
    let (stop, stopped) = watch::channel(false);
    let listener = {
        let _inside = runtime.enter();
        ipc::bind(&socket).map_err(|error| StartError {
            text: error.text,
            next: error.next,
            kind: StartErrorKind::System,
        })?
    };
    let (board, workers, threads) = start(&options.config.replicas, &device, &state_dir, &runtime, &stopped)?;
    let _network = Network::watch(&options.config.replicas, &workers);
    let desk = Desk {
        board,
        workers: workers.clone(),
        device: device.clone(),
        state_dir: state_dir.clone(),
        runtime: runtime.handle().clone(),
    };
    let served = runtime.spawn(ipc::serve(listener, Arc::new(desk), ipc::Limits::default(), stopped));
    tracing::info!(device, socket = %socket.display(), replicas = workers.len(), "ready");
    // Fails only where nobody supervises.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let end = runtime.block_on(ended());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(signal = end, "stopping");
    let deadline = Instant::now() + STOP_MAX;
    let _ = stop.send(true);
    for worker in &workers {
        let _ = worker.send(Order::Stop);
    }
    for thread in threads {
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let _ = runtime.block_on(async { tokio::time::timeout(left, served).await });
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

type Started = (Arc<Board>, Vec<Sender<Order>>, Vec<std::thread::JoinHandle<()>>);

fn start(
    replicas: &[Replica],
    device: &str,
    state_dir: &Path,
    runtime: &tokio::runtime::Runtime,
    stopped: &watch::Receiver<bool>,
) -> Result<Started, StartError> {
    let mut faces = Vec::new();
    let mut parts = Vec::new();
    for replica in replicas {
        let remote = remote::open(replica, device, runtime.handle(), stopped.clone()).map_err(|fault| StartError {
            text: format!("replica {}: {}", replica.name, fault.reason.text),
            next: fault.reason.next,
            kind: StartErrorKind::Config,
        })?;
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let session = Session::new(replica.schedule.clone(), Chance::new(seed));
        let world = World {
            clock: Box::new(SystemClock),
            memory: Box::new(FileMemory::new(state_dir, &replica.name)),
            fresh_name: Box::new(|| uuid::Uuid::new_v4().to_string()),
            manners: Manners::default(),
            slice: perform::slice_of(replica),
        };
        let performer = Performer::new(replica.clone(), device.to_owned(), remote, world);
        faces.push(Face::new(replica.clone(), session.view(0)));
        parts.push((replica.clone(), session, performer));
    }
    let board = Arc::new(Board::new(faces));
    let (mut workers, mut threads) = (Vec::new(), Vec::new());
    for (at, (replica, session, performer)) in parts.into_iter().enumerate() {
        let (post, orders) = mpsc::channel();
        let worker = Worker {
            at,
            device: device.to_owned(),
            state_dir: state_dir.to_owned(),
            session,
            performer,
            board: board.clone(),
            orders,
            post: post.clone(),
            replica,
        };
        let name = format!("replica {}", worker.replica.name);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker.run())
            .map_err(|error| system(format!("a thread could not be started: {error}")))?;
        workers.push(post);
        threads.push(thread);
    }
    Ok((board, workers, threads))
}

async fn ended() -> &'static str {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Without signals there is nobody to say stop.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

fn private_folder(folder: &Path) -> Result<(), StartError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| StartError {
        text: format!("the state directory {} cannot be made: {error}", folder.display()),
        next: "let the agent's user make it, or set `state_dir` in the config".to_owned(),
        kind: StartErrorKind::System,
    })
}

/// One agent a state directory. Held for as long as the file is open.
fn lock(state_dir: &Path) -> Result<File, StartError> {
    let path = state_dir.join("agent.lock");
    let file = File::options()
        .create(true)
        .append(true)
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
