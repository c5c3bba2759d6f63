//! The daemon: listens, serves, and stops within seconds when it is told to.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::rate::Rate;
use super::{calls, tls};
use crate::hub::data::DataDir;
use crate::hub::error::{HubError, Result};
use crate::hub::registry::Registry;
use crate::hub::scopes::Scopes;
use crate::hub::settings::{Options, Settings};
use crate::hub::token::Keys;

/// For headers to come, also those of the next request on an open connection.
const HEADERS_MAX: Duration = Duration::from_secs(60);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const HEADER_COUNT_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Requests that are worked on at once; each holds a thread.
const TURNS_MAX: usize = 16;
const STOP_MAX: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REVOKED_EVERY: u64 = 5;

/// What every request needs.
pub(super) struct Hub {
    pub settings: Settings,
    pub keys: Keys,
    pub registry: Arc<Registry>,
    pub scopes: Scopes,
    pub rate: Mutex<Rate>,
    pub turns: Arc<Semaphore>,
    /// Counts up when the list of revoked tokens changed.
    pub revocations: watch::Sender<u64>,
    pub stopping: watch::Sender<bool>,
    /// The next live channel's number.
    pub channels: AtomicU64,
}

/// A hub that serves.
pub struct Running {
    address: SocketAddr,
    scheme: &'static str,
    hub: Arc<Hub>,
    task: JoinHandle<()>,
    _lock: std::fs::File,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Lets running requests end, and returns when nothing of the hub is left.
    pub async fn stop(self) {
        self.hub.stopping.send_replace(true);
        if self.task.await.is_err() {
            tracing::error!("the hub's loop broke an invariant");
        }
    }
}

/// Serves until SIGTERM or SIGINT. Says on stdout where it listens, once it does.
pub async fn serve(options: Options) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let trouble = |error: std::io::Error| HubError::set_up(format!("cannot wait for signals: {error}"), "");
    let mut terminate = signal(SignalKind::terminate()).map_err(trouble)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(trouble)?;
    raise_open_files();
    let running = start(options).await?;
    // Somebody who started us may have gone: that is no reason to stop.
    let _ = writeln!(std::io::stdout(), "listening on {}", running.url());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    running.stop().await;
    Ok(())
}

/// Each connection takes a file descriptor, each open scope three: as many as the system
/// lets this process have, where a shell's 1,024 would end it long before `connections_max`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the hub keeps its limit of open files");
    }
}

/// Starts serving and returns; needs a tokio runtime with time and network.
pub async fn start(options: Options) -> Result<Running> {
    let data = DataDir::open(&options.data)?;
    let lock = data.lock()?;
    let keys = Keys::new(&data.key()?);
    let registry = Arc::new(Registry::open(&data)?);
    let acceptor = options.tls.as_ref().map(tls::acceptor).transpose()?;
    let trouble = |error: std::io::Error| {
        HubError::set_up(
            format!("cannot listen on {}: {error}", options.listen),
            "name a free address with --listen ADDR:PORT; port 0 picks one",
        )
    };
    let listener = TcpListener::bind(&options.listen).await.map_err(trouble)?;
    let address = listener.local_addr().map_err(trouble)?;
    let settings = options.settings;
    let hub = Arc::new(Hub {
        keys,
        scopes: Scopes::new(data, settings.clone(), registry.clone()),
        registry,
        rate: Mutex::new(Rate::new(settings.requests_per_second_max, settings.requests_burst_max)),
        turns: Arc::new(Semaphore::new(TURNS_MAX)),
        revocations: watch::Sender::new(0),
        stopping: watch::Sender::new(false),
        channels: AtomicU64::new(0),
        settings,
    });
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    tracing::info!(%address, scheme, data = %options.data.display(), "listening");
    let task = tokio::spawn(run(hub.clone(), listener, acceptor));
    Ok(Running { address, scheme, hub, task, _lock: lock })
}

async fn run(hub: Arc<Hub>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    let keeper = tokio::spawn(keep(hub.clone()));
    let room = Arc::new(Semaphore::new(hub.settings.connections_max));
    let router = calls::router(hub.clone());
    let mut stopping = hub.stopping.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = told(&mut stopping) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let (stream, permit) = accepted;
        let (router, acceptor, stopping) = (router.clone(), acceptor.clone(), hub.stopping.subscribe());
        connections.spawn(async move {
            let _permit = permit;
            match acceptor {
                None => connection(stream, router, stopping).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                        connection(stream, router, stopping).await;
                    }
                }
            }
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_MAX, ended).await.is_err() {
        tracing::warn!(left = connections.len(), "connections that would not end are cut");
        connections.shutdown().await;
    }
    if let Err(error) = keeper.await {
        tracing::error!(%error, "the keeper broke an invariant");
    }
}

/// Returns when the hub is told to stop.
pub(super) async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let permit = room.clone().acquire_owned().await.expect("BUG: the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return (stream, permit);
            }
            Err(error) => {
                // Out of file descriptors, most likely: it passes when others close.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    mut stopping: watch::Receiver<bool>,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .max_headers(HEADER_COUNT_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = told(&mut stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// What happens without a request: looking for writes by SQL where somebody listens,
/// noting how far scopes came, closing idle ones, hearing of revocations.
async fn keep(hub: Arc<Hub>) {
    let mut stopping = hub.stopping.subscribe();
    for second in 0u64.. {
        let stop = tokio::time::timeout(LOOK_EVERY, told(&mut stopping)).await.is_ok();
        let keeping = hub.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let now = crate::hub::now();
            keeping.scopes.look_around(now);
            keeping.scopes.tidy(now)?;
            if second.is_multiple_of(REVOKED_EVERY) && keeping.registry.refresh()? {
                keeping.revocations.send_modify(|count| *count += 1);
            }
            Ok::<_, HubError>(())
        });
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "house-keeping will be tried again"),
            Err(error) => tracing::error!(%error, "house-keeping broke an invariant"),
        }
        if stop {
            return;
        }
    }
}
