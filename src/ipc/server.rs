//! Accepts clients, and lets in who may.
//!
//! The socket's mode keeps others out; the peer's uid is checked all the same, since a
//! mode can be changed and an open descriptor passed on. Whom `role` gives no role is turned
//! away with an error, before a word of theirs is read.

use std::sync::Arc;
use std::time::Duration;

use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::StreamCommon;
use interprocess::local_socket::traits::tokio::Listener as _;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{self, Shared};
use super::envelope::{self, Id};
use super::feed::Feed;
use super::role::role_of;
use super::service::{CallError, Peer, Role, Service};
use crate::model::ReasonCode;

/// What one client may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub connections_max: usize,
    /// Requests under way, for each connection.
    pub requests_max: usize,
    pub line_bytes_max: usize,
    pub depth_max: usize,
    pub answer_bytes_max: usize,
    /// For one line, however long.
    pub write_timeout: Duration,
    /// Events kept for a subscriber that does not read.
    pub backlog_events_max: usize,
    pub backlog_bytes_max: usize,
    /// For requests under way when the server is told to stop.
    pub drain_timeout: Duration,
    /// What users may do that the socket is shared with; `None`: they are turned away.
    pub guests: Option<Role>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 256,
            requests_max: 32,
            line_bytes_max: 1 << 20,
            depth_max: 64,
            answer_bytes_max: 8 << 20,
            write_timeout: Duration::from_secs(5),
            backlog_events_max: 256,
            backlog_bytes_max: 1 << 20,
            drain_timeout: Duration::from_secs(2),
            guests: None,
        }
    }
}

/// Serves until `stop` says true or is dropped; then ends what is under way and returns.
/// The socket's file goes with `listener`.
pub async fn serve<S: Service>(listener: Listener, service: Arc<S>, limits: Limits, stop: watch::Receiver<bool>) {
    let events = service.events();
    let shared = Arc::new(Shared { service, feed: Feed::new(), limits });
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let accepted = listener.accept().await;
            while connections.try_join_next().is_some() {} // those that left make room
            match accepted {
                Ok(stream) => admit(stream, &shared, &mut connections, &stop),
                Err(error) => {
                    // Out of descriptors, most likely: those of clients that leave help.
                    tracing::warn!(%error, "cannot accept a client on the socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    let mut stopping = stop.clone();
    tokio::select! {
        () = accepting => {}
        () = async { shared.feed.run(events).await; std::future::pending().await } => {}
        () = connection::stopped(&mut stopping) => {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(shared.limits.drain_timeout, drained).await;
}

fn admit<S: Service>(
    stream: Stream,
    shared: &Arc<Shared<S>>,
    connections: &mut JoinSet<()>,
    stop: &watch::Receiver<bool>,
) {
    let own = rustix::process::geteuid().as_raw();
    let creds = stream.peer_creds().ok().and_then(|creds| Some((creds.euid()?, creds.pid())));
    let role = creds.and_then(|(uid, _)| role_of(own, uid, shared.limits.guests));
    let Stream::UdSocket(stream) = stream;
    let stream = UnixStream::from(stream);
    match creds.zip(role) {
        None => {
            tracing::warn!(uid = creds.map(|(uid, _)| uid), "turned a client of another user away");
            turn_away(stream, not_allowed(), connections, shared.limits.write_timeout);
        }
        Some(_) if connections.len() >= shared.limits.connections_max => {
            // Not counted as a connection: written if it can be written at once.
            let _ = stream.try_write(&refusal(too_many(shared.limits.connections_max)));
        }
        Some(((uid, pid), role)) => {
            let peer = Peer { uid, pid, role };
            connections.spawn(connection::run(stream, peer, shared.clone(), stop.clone()));
        }
    }
}

fn turn_away(mut stream: UnixStream, error: CallError, connections: &mut JoinSet<()>, timeout: Duration) {
    connections.spawn(async move {
        let _ = tokio::time::timeout(timeout, stream.write_all(&refusal(error))).await;
    });
}

fn refusal(error: CallError) -> bytes::Bytes {
    envelope::answer(&Id::unknown(), &Err(error), usize::MAX)
}

fn not_allowed() -> CallError {
    CallError::new(
        ReasonCode::NotAllowed,
        "this agent answers its own user and root only",
        "run the command as the user whose agent this is",
    )
}

fn too_many(connections_max: usize) -> CallError {
    CallError::new(
        ReasonCode::RateLimited,
        format!("{connections_max} clients are connected, and no more fit"),
        "close connections that are not used, and try again",
    )
    .retryable(None)
}
