//! What whoever started the agent is told: ready, how the replicas stand in words, and
//! that every replica's loop still turns.
//!
//! The watchdog is fed by an answer of each loop, never by a timer alone: a loop that
//! hangs, or that died, lets it run out, and systemd starts the agent anew. An idle agent
//! is woken twice an interval for it and for nothing else. Without a supervisor, nothing
//! happens here.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::broadcast::error::RecvError;

use super::board::Board;
use super::clock::{Clock, SystemClock};
use super::crew::Crew;
use crate::ipc::Topic;
use crate::model::status::{ReplicaStatus, State};
use crate::model::text::printable;

/// systemd shows one line; the rest is in `homing status`.
const STATUS_CHARS_MAX: usize = 160;

pub fn ready(words: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(words)]);
}

/// To be followed by `ready`.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping; what is not sent yet is kept")]);
}

/// Tells each change of how the replicas stand, for as long as it is polled.
pub async fn describe(board: Arc<Board>) {
    let mut events = board.events();
    let mut last = String::new();
    loop {
        let words = words(&board.status(SystemClock.millis(), None).replicas);
        if words != last {
            tell(&[NotifyState::Status(&words)]);
            last = words;
        }
        loop {
            match events.recv().await {
                Ok(event) if event.topic == Topic::Status => break,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Feeds the supervisor's watchdog, where it has one.
pub async fn keep_alive(crew: Arc<Crew>) {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| *period > Duration::ZERO) else { return };
    loop {
        let hanging = crew.hanging(period / 4).await;
        match hanging.is_empty() {
            true => tell(&[NotifyState::Watchdog]),
            false => tracing::error!(replicas = hanging.join(", "), "a replica's loop does not answer"),
        }
        tokio::time::sleep(period / 2).await;
    }
}

/// `2 in step`, `1 in step; stock offline, 12 to send`.
pub fn words(replicas: &[ReplicaStatus]) -> String {
    let (well, others): (Vec<_>, Vec<_>) = replicas.iter().partition(|replica| is_clean(replica));
    let mut parts = Vec::new();
    match (well.len(), replicas.len()) {
        (0, 0) => parts.push("no replica".to_owned()),
        (0, _) => {}
        (1, 1) => parts.push("in step".to_owned()),
        (well, _) => parts.push(format!("{well} in step")),
    }
    parts.extend(others.iter().map(|replica| standing(replica)));
    let line = parts.join("; ");
    match line.char_indices().nth(STATUS_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn is_clean(replica: &ReplicaStatus) -> bool {
    let told = replica.reason.as_ref().is_some_and(|reason| !reason.code.is_saving());
    let explained = replica.state == State::InStep && told;
    is_well(replica.state) && !explained && replica.set_aside + replica.conflicts + replica.parked == 0
}

/// A write or a cycle under way is no news: the line would change with each.
fn is_well(state: State) -> bool {
    matches!(state, State::InStep | State::Syncing | State::Pending)
}

fn standing(replica: &ReplicaStatus) -> String {
    let mut out = format!("{} {}", printable(&replica.name), replica.state.word().replace('_', " "));
    for (count, what) in [
        (if is_well(replica.state) { 0 } else { replica.pending }, "to send"),
        (replica.set_aside, "set aside"),
        (replica.conflicts, "in conflict"),
        (replica.parked, "parked"),
    ] {
        if count > 0 {
            out.push_str(&format!(", {count} {what}"));
        }
    }
    out
}

/// Fails only where nobody supervises.
fn tell(state: &[NotifyState]) {
    let _ = sd_notify::notify(state);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, ReasonCode};

    fn replica(name: &str, state: State) -> ReplicaStatus {
        let none = serde_json::json!({
            "name": name, "database": "", "state": state, "pending": 0, "set_aside": 0, "conflicts": 0, "parked": 0,
            "online": true, "link": {"latency_ms": null, "failures": 0, "skew_ms": null},
        });
        serde_json::from_value(none).unwrap()
    }

    fn troubled(name: &str, state: State, pending: u64, set_aside: u64) -> ReplicaStatus {
        let reason = Reason { code: ReasonCode::OfflineHubDown, text: String::new(), next: String::new() };
        ReplicaStatus { reason: Some(reason), pending, set_aside, ..replica(name, state) }
    }

    #[test]
    fn a_line_says_how_all_replicas_stand() {
        for (replicas, said) in [
            (vec![], "no replica"),
            (vec![replica("notes", State::InStep)], "in step"),
            (vec![replica("notes", State::InStep), replica("stock", State::Syncing)], "2 in step"),
            (
                vec![replica("notes", State::InStep), troubled("stock", State::Offline, 12, 0)],
                "1 in step; stock offline, 12 to send",
            ),
            (vec![troubled("notes", State::InStep, 3, 2)], "notes in step, 2 set aside"),
            (vec![replica("notes", State::SignedOut)], "notes signed out"),
        ] {
            assert_eq!(words(&replicas), said);
        }
        let many: Vec<_> = (0..100).map(|at| replica(&format!("ä{at}"), State::Halted)).collect();
        assert_eq!(words(&many).chars().count(), STATUS_CHARS_MAX + 1);
    }
}
