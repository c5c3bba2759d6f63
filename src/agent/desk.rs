//! The front desk: answers what local programs ask over the socket.
//!
//! Never blocks a cycle: what the board shows is read there, what is in a file is
//! looked up through a connection of its own, and everything else is an order left
//! with the replica's worker.

mod wait;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;
use tokio::sync::{broadcast, oneshot};

use super::archive;
use super::board::{Board, HISTORY_MAX};
use super::clock::{Clock, SystemClock};
use super::crew::Crew;
use super::inquire::Inquiry;
use super::standing::Standing;
use super::worker::Order;
use crate::engine::session::{Event as Happening, Wake};
use crate::engine::thrift;
use crate::ipc::Request;
use crate::ipc::Topic;
use crate::ipc::answer::*;
use crate::ipc::method::ActionEnqueue;
use crate::ipc::service::{CallError, Event, Peer, Service};
use crate::model::conflict::{Decision, Side};
use crate::model::settings::Replica;
use crate::model::status::{ConflictEntry, HistoryEntry, State};
use crate::model::{Fault, FaultKind, Reason, ReasonCode, action};
use crate::store::Store;
use crate::store::report::Counts;

/// How long an answer waits for an order to be in force.
const ORDER_PATIENCE: Duration = Duration::from_millis(500);

pub struct Desk {
    pub board: Arc<Board>,
    pub crew: Arc<Crew>,
    pub telemetry_url: Option<String>,
}

type Answer = Result<Json, CallError>;

impl Service for Desk {
    async fn call(&self, _peer: &Peer, request: Request) -> Answer {
        match request {
            Request::ReplicaList(_) => self.replicas(None),
            Request::ReplicaStatus(asked) => self.status(asked.replica).await,
            Request::ReplicaAttach(asked) => self.order(Some(asked.replica), Happening::Resume).await,
            Request::ReplicaDetach(asked) => self.detach(&asked.replica, asked.discard).await,
            Request::SyncNow(asked) => self.order(asked.replica, Happening::Wake(Wake::Command)).await,
            Request::SyncWait(asked) => self.wait(asked.replica, asked.timeout_ms.unwrap_or(60_000)).await,
            Request::SyncPause(asked) => self.order(asked.replica, Happening::Pause).await,
            Request::SyncResume(asked) => self.order(asked.replica, Happening::Resume).await,
            Request::AppForeground(asked) => self.order(asked.replica, Happening::Wake(Wake::Foreground)).await,
            Request::QueueList(asked) => {
                let limit = asked.limit.unwrap_or(1_000) as usize;
                let table = asked.table;
                let lists = self.each(asked.replica, move |inquiry| inquiry.queue(table.as_deref(), limit)).await?;
                let mut changes: Vec<_> = lists.into_iter().flatten().collect();
                let more = changes.len() > limit;
                changes.truncate(limit);
                show(&Queue { schema: QUEUE.to_owned(), changes, more })
            }
            Request::QueueRetry(asked) => {
                let at = self.find(&asked.replica)?;
                let (table, key) = (asked.table, asked.key);
                if table.is_none() && !asked.all {
                    return Err(CallError::new(
                        ReasonCode::BadRequest,
                        "neither a table nor `all` was named",
                        "name a table, a table and a key, or all",
                    ));
                }
                let changes = self.ask(at, move |inquiry| inquiry.retry(table.as_deref(), key.as_deref())).await?;
                self.crew.send(at, Order::Event(Happening::Wake(Wake::Command)));
                show(&Count { changes })
            }
            Request::QueueDiscard(asked) => {
                let at = self.find(&asked.replica)?;
                let changes = self.ask(at, move |inquiry| inquiry.discard(&asked.table, &asked.key)).await?;
                self.crew.send(at, Order::Event(Happening::Wake(Wake::Command)));
                show(&Count { changes })
            }
            Request::RowExplain(asked) => {
                let at = self.find(&asked.replica)?;
                show(&self.ask(at, move |inquiry| inquiry.explain(&asked.table, &asked.key)).await?)
            }
            Request::PlanGet(asked) => {
                let at = self.find(&asked.replica)?;
                show(&self.ask(at, |inquiry| inquiry.plan()).await?)
            }
            Request::ConflictsList(asked) => {
                let limit = asked.limit.unwrap_or(1_000) as usize;
                let open = asked.open.unwrap_or(false);
                let lists = self.each(asked.replica, move |inquiry| inquiry.conflicts(open, limit + 1)).await?;
                let mut conflicts: Vec<_> = lists.into_iter().flatten().collect();
                let more = conflicts.len() > limit;
                conflicts.truncate(limit);
                show(&Conflicts { schema: CONFLICTS.to_owned(), conflicts, more })
            }
            Request::ConflictsGet(asked) => {
                let id = asked.id;
                let lists = self.each(asked.replica, move |inquiry| inquiry.conflict(id)).await?;
                match lists.into_iter().flatten().next() {
                    Some(conflict) => show(&conflict),
                    None => Err(CallError::new(
                        ReasonCode::NotFound,
                        format!("there is no conflict {id}"),
                        "`homing conflicts list` shows those there are",
                    )),
                }
            }
            Request::ConflictsResolve(asked) => {
                let id = asked.id;
                let decision = decision(asked.take, asked.columns, asked.set, asked.force)?;
                self.decide(asked.replica, id, move |inquiry| inquiry.resolve(id, &decision)).await
            }
            Request::ConflictsUndo(asked) => {
                let (id, force) = (asked.id, asked.force);
                self.decide(asked.replica, id, move |inquiry| inquiry.undo(id, force)).await
            }
            Request::HistoryList(asked) => {
                let limit = asked.limit.unwrap_or(100) as usize;
                self.history(asked.replica, limit).await
            }
            Request::VerifyRun(asked) => {
                let at = self.find(&asked.replica)?;
                let checked = self.ask(at, move |inquiry| inquiry.verify(asked.repair)).await?;
                if checked.repaired > 0 {
                    self.crew.send(at, Order::Event(Happening::Wake(Wake::Command)));
                }
                show(&checked)
            }
            Request::MetricsGet(_) => self.metrics(),
            Request::ActionEnqueue(asked) => self.enqueue(asked).await,
            Request::NetworkStatus(_) => self.network(),
            Request::TelemetryGet(_) => self.telemetry(),
            Request::TelemetryOn(_) => self.agree(true),
            Request::TelemetryOff(_) => self.agree(false),
        }
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.board.events()
    }

    fn owner(&self, replica: &str) -> Option<u32> {
        let at = self.find(replica).ok()?;
        let database = self.board.faces()[at].replica.database.clone();
        std::fs::metadata(database).ok().map(|file| file.uid())
    }

    fn snapshot(&self) -> Json {
        serde_json::to_value(self.board.status(SystemClock.millis(), None)).expect("BUG: a status is JSON")
    }
}

impl Desk {
    fn find(&self, name: &str) -> Result<usize, CallError> {
        let faces = self.board.faces();
        faces.iter().position(|face| !face.gone && face.replica.name == name).ok_or_else(|| {
            let names: Vec<&str> =
                faces.iter().filter(|face| !face.gone).map(|face| face.replica.name.as_str()).collect();
            CallError::new(
                ReasonCode::UnknownReplica,
                format!("there is no replica {name}"),
                format!("this agent serves: {}", names.join(", ")),
            )
        })
    }

    fn chosen(&self, name: Option<&str>) -> Result<Vec<usize>, CallError> {
        match name {
            Some(name) => Ok(vec![self.find(name)?]),
            None => {
                let faces = self.board.faces();
                Ok((0..faces.len()).filter(|at| !faces[*at].gone).collect())
            }
        }
    }

    fn replicas(&self, chosen: Option<&[usize]>) -> Answer {
        let faces = self.board.faces();
        let listed = faces.iter().enumerate().filter(|(_, face)| !face.gone);
        let entries = listed.filter(|(at, _)| chosen.is_none_or(|chosen| chosen.contains(at)));
        show(&Replicas {
            schema: REPLICAS.to_owned(),
            replicas: entries
                .map(|(_, face)| ReplicaEntry {
                    name: face.replica.name.clone(),
                    database: face.replica.database.display().to_string(),
                    remote: face.replica.remote.url.clone(),
                    attached: face.view.word != State::Detached,
                })
                .collect(),
        })
    }

    /// Settles a conflict or takes it back, tells who listens, and sends what came of it.
    async fn decide(
        &self,
        replica: Option<String>,
        id: i64,
        decide: impl FnOnce(Inquiry) -> Result<(ConflictEntry, Counts), Fault> + Send + 'static,
    ) -> Answer {
        let mut having = Vec::new();
        for at in self.chosen(replica.as_deref())? {
            match self.ask(at, move |inquiry| inquiry.conflict(id)).await {
                Ok(Some(_)) => having.push(at),
                Ok(None) => {}
                Err(error) if replica.is_some() => return Err(error),
                // One file in trouble does not hide the others.
                Err(_) => {}
            }
        }
        let at = match having[..] {
            [at] => at,
            [] => {
                return Err(CallError::new(
                    ReasonCode::NotFound,
                    format!("there is no conflict {id}"),
                    "`homing conflicts list` shows those there are",
                ));
            }
            _ => {
                return Err(CallError::new(
                    ReasonCode::BadRequest,
                    format!("several replicas have a conflict {id}; nothing was changed"),
                    "name the replica with `--replica NAME`",
                ));
            }
        };
        let (entry, counts) = self.ask(at, decide).await?;
        let now = SystemClock.millis();
        self.board.change(at, now, |face| face.counts = counts);
        let entry = serde_json::to_value(&entry).expect("BUG: a conflict is JSON");
        self.board.tell(Topic::Conflict, now, entry.clone());
        self.crew.send(at, Order::Event(Happening::Wake(Wake::Command)));
        Ok(entry)
    }

    /// Appends an action. It goes like a change: after the debounce, and after the rows.
    async fn enqueue(&self, asked: ActionEnqueue) -> Answer {
        let at = self.find(&asked.replica)?;
        let refused = |code, text: String, hint: &str| Err(CallError::new(code, text, hint));
        if !self.board.faces()[at].replica.remote.takes_actions() {
            return refused(
                ReasonCode::NoActions,
                format!("the remote of {} takes no actions; nothing was queued", asked.replica),
                "name a backend's `action_path` in the config, or write a row to a synced table instead",
            );
        }
        for (what, text) in [("action", Some(&asked.action)), ("key", asked.key.as_ref())] {
            if text.is_some_and(|text| !action::is_name(text)) {
                let hint = "use letters, digits, `_`, `-`, `.` and `:`, a letter or digit first, 128 at most";
                return refused(ReasonCode::BadRequest, format!("`{what}` is no name; nothing was queued"), hint);
            }
        }
        let payload = asked.payload.unwrap_or_default().to_string();
        if payload.len() > action::PAYLOAD_BYTES_MAX {
            let text = format!("`payload` is larger than {} bytes; nothing was queued", action::PAYLOAD_BYTES_MAX);
            return refused(ReasonCode::RowTooLarge, text, "send a reference to what is large");
        }
        let (name, key) = (asked.action, asked.key);
        match self.ask(at, move |inquiry| inquiry.enqueue(&name, &payload, key.as_deref())).await? {
            Some((done, counts)) => {
                self.board.change(at, SystemClock.millis(), |face| face.counts = counts);
                // Where no file events arrive, the worker hears of it here.
                self.crew.send(at, Order::Look);
                show(&Enqueued { id: done.id, key: done.key, folded: done.folded })
            }
            None => {
                let text = "too many actions wait; nothing was queued".to_owned();
                let error = CallError::new(ReasonCode::QueueFull, text, "see why they wait: `homing queue list`");
                Err(error.retryable(None))
            }
        }
    }

    async fn history(&self, replica: Option<String>, limit: usize) -> Answer {
        let chosen = self.chosen(replica.as_deref())?;
        let mut cycles: Vec<HistoryEntry> = match limit > HISTORY_MAX {
            false => {
                let faces = self.board.faces();
                chosen.iter().flat_map(|at| faces[*at].history.iter().take(limit).cloned()).collect()
            }
            true => {
                let names: Vec<String> = chosen.iter().map(|at| self.board.faces()[*at].replica.name.clone()).collect();
                let state_dir = self.crew.state_dir.clone();
                let reading = move || names.iter().flat_map(|name| archive::read(&state_dir, name, limit)).collect();
                tokio::task::spawn_blocking(reading).await.unwrap_or_default()
            }
        };
        cycles.sort_by_key(|cycle| std::cmp::Reverse(cycle.at));
        cycles.truncate(limit);
        show(&History { schema: HISTORY.to_owned(), cycles })
    }

    /// Counts what is unsent afresh, so that a write of a moment ago shows.
    async fn status(&self, replica: Option<String>) -> Answer {
        for at in self.chosen(replica.as_deref())? {
            let counted = self.ask(at, |inquiry| inquiry.counts()).await;
            if let Ok(counts) = counted {
                let now = SystemClock.millis();
                self.board.change(at, now, |face| {
                    let waits = matches!(face.view.word, State::InStep | State::Pending);
                    if waits && counts.pending > 0 && face.view.word == State::InStep {
                        face.view.word = State::Pending;
                        face.view.reason.get_or_insert_with(|| Reason {
                            code: ReasonCode::PendingDebounce,
                            text: "written a moment ago".to_owned(),
                            next: "it is sent shortly".to_owned(),
                        });
                    }
                    face.counts = counts;
                });
            }
        }
        show(&self.board.status(SystemClock.millis(), replica.as_deref()))
    }

    async fn order(&self, replica: Option<String>, happening: Happening) -> Answer {
        let chosen = self.chosen(replica.as_deref())?;
        let mut heard = Vec::new();
        for at in &chosen {
            self.remember(*at, &happening)?;
            self.send(*at, Order::Event(happening.clone()))?;
            if matches!(happening, Happening::Pause | Happening::Resume) {
                let (answer, answered) = oneshot::channel();
                self.send(*at, Order::Probe(answer))?;
                heard.push(answered);
            }
        }
        // What is asked next finds a pause, or its end, in force; but for a worker in a long step, which
        // takes the order in when the step is done.
        for answered in heard {
            let _ = tokio::time::timeout(ORDER_PATIENCE, answered).await;
        }
        self.replicas(Some(&chosen))
    }

    /// A pause and its end outlive the agent; written down before anybody is told.
    fn remember(&self, at: usize, happening: &Happening) -> Result<(), CallError> {
        let standing = match happening {
            Happening::Pause => Standing { paused: true, detached: false },
            Happening::Resume => Standing::default(),
            _ => return Ok(()),
        };
        let name = self.board.faces()[at].replica.name.clone();
        standing.save(&self.crew.state_dir, &name).map_err(|error| {
            CallError::new(
                ReasonCode::Internal,
                format!("this cannot be written down: {error}; nothing was changed"),
                "let the agent's user write its state directory",
            )
        })
    }

    fn send(&self, at: usize, order: Order) -> Result<(), CallError> {
        if self.crew.send(at, order) {
            return Ok(());
        }
        let error =
            CallError::new(ReasonCode::AgentStopping, "the replica is stopping", "ask again when it has started");
        Err(error.retryable(None))
    }

    async fn detach(&self, name: &str, discard: bool) -> Answer {
        let at = self.find(name)?;
        let (answer, wait) = std::sync::mpsc::channel();
        self.send(at, Order::Detach { discard, answer })?;
        let done = tokio::task::spawn_blocking(move || wait.recv_timeout(Duration::from_secs(60))).await;
        match done {
            Ok(Ok(Ok(()))) => self.replicas(Some(&[at])),
            Ok(Ok(Err(fault))) => Err(fault.reason.into()),
            _ => Err(CallError::new(
                ReasonCode::TimedOut,
                "the replica is busy and did not detach within a minute",
                "try again; nothing was taken out",
            )
            .retryable(None)),
        }
    }

    async fn each<T: Send + 'static>(
        &self,
        replica: Option<String>,
        question: impl Fn(Inquiry) -> Result<T, Fault> + Clone + Send + 'static,
    ) -> Result<Vec<T>, CallError> {
        let mut answers = Vec::new();
        let named = replica.is_some();
        for at in self.chosen(replica.as_deref())? {
            match self.ask(at, question.clone()).await {
                Ok(answer) => answers.push(answer),
                // One file in trouble does not hide the others.
                Err(_) if !named => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    /// Asks one replica's file, away from the runtime's threads.
    async fn ask<T: Send + 'static>(
        &self,
        at: usize,
        question: impl FnOnce(Inquiry) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, CallError> {
        let replica: Replica = self.board.faces()[at].replica.clone();
        let (device, runtime) = (self.crew.device.clone(), self.crew.runtime.clone());
        let done = tokio::task::spawn_blocking(move || {
            let store = Store::look(&replica, &device)?;
            question(Inquiry { replica, device, store, runtime })
        })
        .await;
        match done {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(called(fault)),
            Err(_) => Err(CallError::new(
                ReasonCode::Internal,
                "the agent failed to answer; nothing was changed",
                "the agent's log says more",
            )),
        }
    }

    fn metrics(&self) -> Answer {
        let now = SystemClock.millis();
        let faces = self.board.faces();
        let replicas = faces.iter().filter(|face| !face.gone).map(|face| {
            let (status, totals) = (face.status(now), &face.totals);
            ReplicaMetrics {
                replica: status.name,
                state: status.state,
                cycles: face.ended,
                failed: totals.failed.iter().map(|(code, count)| (code.word().to_owned(), *count)).collect(),
                pushed: totals.cycle.pushed,
                pulled: totals.cycle.pulled,
                conflicts: totals.cycle.conflicts,
                bytes_up: totals.cycle.bytes_up,
                bytes_down: totals.cycle.bytes_down,
                milliseconds: totals.cycle.milliseconds,
                refused: totals.refused.clone(),
                resolved: totals.resolved.clone(),
                queued: totals.queued.clone(),
                pending: status.pending,
                set_aside: status.set_aside,
                open_conflicts: status.conflicts,
                parked: status.parked,
                oldest_pending_seconds: status.oldest_pending_seconds,
                last_sync_at: status.last_sync_at,
                latency_ms: status.link.latency_ms,
            }
        });
        show(&Metrics {
            schema: METRICS.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: replicas.collect(),
        })
    }

    fn agree(&self, consent: bool) -> Answer {
        self.crew.telemetry.agree(consent).map_err(|error| {
            CallError::new(
                ReasonCode::Internal,
                format!("this cannot be written down: {error}; nothing was changed"),
                "let the agent's user write its state directory",
            )
        })?;
        self.telemetry()
    }

    fn telemetry(&self) -> Answer {
        show(&Telemetry {
            schema: TELEMETRY.to_owned(),
            consent: self.crew.telemetry.consent(),
            url: self.telemetry_url.clone(),
            events: self.crew.telemetry.events(),
        })
    }

    fn network(&self) -> Answer {
        let supply = self.crew.supply();
        let faces = self.board.faces();
        let replicas: Vec<NetworkReplica> = faces
            .iter()
            .filter(|face| !face.gone)
            .map(|face| NetworkReplica {
                name: face.replica.name.clone(),
                online: face.view.online,
                saving: thrift::saving(&face.replica.schedule, supply).thrift().word().to_owned(),
                latency_ms: face.latency,
                failures: face.view.failures,
                bytes_up_per_second: face.rate_up,
                bytes_down_per_second: face.rate_down,
                cycles: face.ended,
                failed: face
                    .totals
                    .failed
                    .iter()
                    .filter(|(code, _)| is_on_the_way(**code))
                    .map(|(_, count)| count)
                    .sum(),
            })
            .collect();
        let offline = |face: &super::board::Face| {
            face.view.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::OfflineNoNetwork)
        };
        show(&Network {
            online: !faces.iter().any(offline),
            on_battery: supply.on_battery,
            metered: supply.metered,
            replicas,
        })
    }
}

/// What a person asked for, with values as SQLite has them.
fn decision(
    take: Option<Side>,
    columns: Option<BTreeMap<String, Side>>,
    set: Option<BTreeMap<String, Json>>,
    force: bool,
) -> Result<Decision, CallError> {
    let refused = |text: String| CallError::new(ReasonCode::BadRequest, text, "nothing was changed");
    let mut values = BTreeMap::new();
    for (column, json) in set.into_iter().flatten() {
        let value = serde_json::from_value(json)
            .map_err(|error| refused(format!("the value for {column} is none that SQLite has: {error}")))?;
        values.insert(column, value);
    }
    let decision = Decision { take, columns: columns.unwrap_or_default(), set: values, force };
    if decision.take.is_none() && decision.columns.is_empty() && decision.set.is_empty() {
        return Err(refused("it was not said what to keep".to_owned()));
    }
    Ok(decision)
}

/// Trouble with the way to the remote.
fn is_on_the_way(code: ReasonCode) -> bool {
    use ReasonCode::*;
    matches!(code, OfflineNoNetwork | OfflineHubDown | OfflineNotTheHub | OfflineTimeout | OfflineTls | RemoteTrouble)
}

fn called(fault: Fault) -> CallError {
    let retryable = fault.kind == FaultKind::Locked;
    let error: CallError = fault.reason.into();
    if retryable { error.retryable(None) } else { error }
}

fn show<T: Serialize>(answer: &T) -> Answer {
    Ok(serde_json::to_value(answer).expect("BUG: an answer is JSON"))
}
