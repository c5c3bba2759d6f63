//! One client: its requests side by side, its answers as they are ready.
//!
//! At most `requests_max` of its requests are under way; further ones stay unread in
//! the socket. A client that has sent everything and shut its side down still gets its
//! answers; one that is gone has its calls dropped. Whatever it sends, the worst that
//! happens is the end of this one connection.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::answer::{API, API_MINOR, Hello, Pong, Subscribed};
use super::envelope::{self, Asked, Id};
use super::feed::{Feed, Joined};
use super::http;
use super::line::{LineError, Lines};
use super::method::{self, Builtin};
use super::role::{may_call, may_listen};
use super::server::Limits;
use super::service::{CallError, Peer, Service, Topic};
use super::writer::{self, Outgoing, Subscription};
use super::{discover, method::Request};
use crate::model::ReasonCode;

/// What all connections of one server share.
pub struct Shared<S> {
    pub service: Arc<S>,
    pub feed: Feed,
    pub limits: Limits,
}

pub async fn run<S: Service>(stream: UnixStream, peer: Peer, shared: Arc<Shared<S>>, stop: watch::Receiver<bool>) {
    let (from, to) = stream.into_split();
    let (replies, outgoing) = mpsc::channel(shared.limits.requests_max);
    let lines = Lines::new(from, shared.limits.line_bytes_max);
    let reader =
        Reader { lines, peer, shared: shared.clone(), replies, tasks: JoinSet::new(), subscribed: false, first: true };
    let writing = writer::run(to, outgoing, &shared.limits);
    tokio::pin!(writing);
    tokio::select! {
        _ = &mut writing => {} // it does not read, or is gone: its requests are dropped
        () = reader.run(stop) => {
            let _ = writing.await;
        }
    }
}

struct Reader<S> {
    lines: Lines<OwnedReadHalf>,
    peer: Peer,
    shared: Arc<Shared<S>>,
    replies: mpsc::Sender<Outgoing>,
    tasks: JoinSet<()>,
    subscribed: bool,
    first: bool,
}

impl<S: Service> Reader<S> {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ended = false;
        let mut stopping = false;
        let mut look = tokio::time::interval(Duration::from_secs(1));
        while !ended || !self.tasks.is_empty() || (self.subscribed && !stopping) {
            let reading = !ended && self.tasks.len() < self.shared.limits.requests_max;
            tokio::select! {
                line = self.lines.next(), if reading => match line {
                    Ok(Some(line)) if std::mem::take(&mut self.first) && http::begins(&line) => {
                        self.take_http(&line).await;
                        ended = true;
                    }
                    Ok(Some(line)) => self.take(&line).await,
                    Ok(None) => ended = true,
                    Err(LineError::TooLong) => {
                        let error = CallError::new(
                            ReasonCode::BadRequest,
                            format!("a line is longer than {} bytes; the connection is closed", self.shared.limits.line_bytes_max),
                            "end each request with a newline",
                        );
                        self.refuse(&Id::unknown(), error.coded(CallError::INVALID_REQUEST)).await;
                        return;
                    }
                    Err(LineError::Io) => return,
                },
                Some(_) = self.tasks.join_next() => {}
                _ = look.tick(), if !reading => if self.hung_up() { return },
                () = stopped(&mut stop), if !stopping => (ended, stopping) = (true, true),
            }
        }
    }

    /// True when the client closed both directions; what it shut down may be just its own.
    fn hung_up(&self) -> bool {
        let ready = self.lines.from.ready(Interest::READABLE | Interest::WRITABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_write_closed()))
    }

    async fn take(&mut self, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match envelope::decode(line, self.shared.limits.depth_max) {
            Err((id, error)) => self.refuse(&id, error).await,
            Ok((id, Asked::Builtin(Builtin::Subscribe(params)))) => match may_listen(&self.peer) {
                Ok(()) => self.subscribe(&id, params).await,
                Err(error) => self.refuse(&id, error).await,
            },
            Ok((id, Asked::Builtin(builtin))) => self.answer(&id, &builtin_answer(&builtin)).await,
            Ok((id, Asked::Service(request))) => self.start(id, request),
        }
    }

    /// The one request of a connection that speaks HTTP.
    async fn take_http(&mut self, line: &[u8]) {
        let limits = &self.shared.limits;
        let reading = http::read(line, &mut self.lines, limits.line_bytes_max);
        // Its head and body are one line's worth, and get one line's time.
        let asked = match tokio::time::timeout(limits.write_timeout, reading).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(refused)) => return self.send(http::refusal(&refused)).await,
            Err(_) => return,
        };
        match asked {
            http::Asked::Status => {
                let request = Request::from(method::ReplicaStatus { replica: None });
                self.call(request, |result, _| http::result(result));
            }
            http::Asked::Events { topics, since } => {
                if let Err(error) = may_listen(&self.peer) {
                    return self.send(http::refusal(&http::Refused(403, error))).await;
                }
                let (subscribed, subscription) = self.join(topics, since, true);
                let _ = self
                    .replies
                    .send(Outgoing::Subscribe { answer: http::stream(&json!(subscribed)), subscription })
                    .await;
            }
            http::Asked::Rpc(body) => match envelope::decode(&body, self.shared.limits.depth_max) {
                Err((id, error)) => self.send(http::answer(200, &self.line(&id, &Err(error)))).await,
                Ok((id, Asked::Builtin(Builtin::Subscribe(_)))) => {
                    let error = CallError::new(
                        ReasonCode::BadRequest,
                        "events do not fit in one answer",
                        "GET /v1/events, or speak JSON-RPC over the socket itself",
                    );
                    self.send(http::answer(200, &self.line(&id, &Err(error)))).await;
                }
                Ok((id, Asked::Builtin(builtin))) => {
                    self.send(http::answer(200, &self.line(&id, &builtin_answer(&builtin)))).await;
                }
                Ok((id, Asked::Service(request))) => {
                    self.call(request, move |result, bytes_max| {
                        http::answer(200, &envelope::answer(&id, result, bytes_max))
                    });
                }
            },
        }
    }

    fn start(&mut self, id: Id, request: Request) {
        self.call(request, move |result, bytes_max| envelope::answer(&id, result, bytes_max));
    }

    fn call(
        &mut self,
        request: Request,
        write: impl FnOnce(&Result<Json, CallError>, usize) -> Bytes + Send + 'static,
    ) {
        let (shared, replies, peer) = (self.shared.clone(), self.replies.clone(), self.peer);
        self.tasks.spawn(async move {
            let method = request.method();
            let result = match may_call(&peer, &request, |replica| shared.service.owner(replica)) {
                Ok(()) => {
                    let calling = AssertUnwindSafe(shared.service.call(&peer, request)).catch_unwind();
                    calling.await.unwrap_or_else(|_| Err(panicked(method)))
                }
                Err(error) => Err(error),
            };
            let line = write(&result, shared.limits.answer_bytes_max);
            let _ = replies.send(Outgoing::Line(line)).await;
        });
    }

    async fn subscribe(&mut self, id: &Id, params: method::Subscribe) {
        let topics = params.topics.unwrap_or_else(|| Topic::ALL.to_vec());
        let (subscribed, subscription) = self.join(topics, params.since, false);
        let answer = self.line(id, &Ok(json!(subscribed)));
        let _ = self.replies.send(Outgoing::Subscribe { answer, subscription }).await;
    }

    fn join(&mut self, topics: Vec<Topic>, since: Option<u64>, framed: bool) -> (Subscribed, Subscription) {
        let joined = self.shared.feed.join(since);
        let subscribed = Subscribed {
            seq: joined.head,
            topics: topics.clone(),
            missed: joined.missed,
            // After joining: what happens from here on is in the snapshot, in an event, or both.
            snapshot: self.shared.service.snapshot(),
        };
        self.subscribed = true;
        let Joined { head, replay, receiver, .. } = joined;
        (subscribed, Subscription { topics, replay, receiver, head, framed })
    }

    async fn send(&self, bytes: Bytes) {
        let _ = self.replies.send(Outgoing::Line(bytes)).await;
    }

    async fn refuse(&self, id: &Id, error: CallError) {
        self.answer(id, &Err(error)).await;
    }

    async fn answer(&self, id: &Id, result: &Result<Json, CallError>) {
        let _ = self.replies.send(Outgoing::Line(self.line(id, result))).await;
    }

    fn line(&self, id: &Id, result: &Result<Json, CallError>) -> Bytes {
        envelope::answer(id, result, self.shared.limits.answer_bytes_max)
    }
}

/// Resolves once the server is told to stop.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // a sender that is gone means the same
}

fn builtin_answer(builtin: &Builtin) -> Result<Json, CallError> {
    match builtin {
        Builtin::Hello(params) if params.api.as_ref().is_some_and(|versions| !versions.contains(&API)) => {
            Err(CallError::new(
                ReasonCode::BadRequest,
                format!("this agent speaks version {API} of the interface, which the client does not"),
                format!("use a client for version {API}, or upgrade the older of the two"),
            ))
        }
        Builtin::Hello(params) => {
            tracing::debug!(client = ?params.client, "a client said hello");
            Ok(json!(Hello {
                api: API,
                minor: API_MINOR,
                daemon: env!("CARGO_PKG_VERSION").to_owned(),
                capabilities: Topic::ALL.iter().map(|topic| format!("events.{}", topic.word())).collect(),
            }))
        }
        Builtin::Ping(_) => Ok(json!(Pong { pong: true })),
        Builtin::Discover(_) => Ok(discover::document()),
        Builtin::Subscribe(_) => unreachable!("BUG: a subscription is answered by its connection"),
    }
}

fn panicked(method: &str) -> CallError {
    tracing::error!(method, "a call over IPC panicked");
    CallError::new(
        ReasonCode::Internal,
        format!("{method} failed inside the agent"),
        "see the agent's log; nothing that was captured is lost",
    )
    .coded(CallError::INTERNAL)
}
