//! What `homing top` knows: the newest status, the last cycles, what waits, and a log of
//! what happened. Pure: events come in, and numbers for a picture come out.

use std::collections::VecDeque;

use crate::cli::words;
use crate::ipc::{Event, Topic};
use crate::model::status::{ConflictEntry, HistoryEntry, Progress, QueueEntry, ReplicaStatus, State, Status};
use crate::model::text::printable;

/// Cycles that a graph may be made of.
pub const CYCLES_MAX: usize = 5_000;
const LOG_MAX: usize = 200;

/// How far back the graph goes, with its name.
const WINDOWS: [(i64, &str); 4] =
    [(300_000, "5 min"), (3_600_000, "1 hour"), (86_400_000, "1 day"), (7 * 86_400_000, "7 days")];

pub struct Scene {
    pub status: Status,
    pub queue: Vec<QueueEntry>,
    pub conflicts: Vec<ConflictEntry>,
    /// Newest first.
    pub log: VecDeque<Line>,
    /// Only this replica.
    pub only: Option<String>,
    cycles: VecDeque<HistoryEntry>,
    window: usize,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub at: i64,
    pub replica: String,
    pub text: String,
    pub tone: Tone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Bad,
}

impl Scene {
    /// `cycles` newest first, as the agent lists them.
    pub fn new(status: Status, cycles: Vec<HistoryEntry>, only: Option<String>) -> Scene {
        let log = cycles.iter().take(LOG_MAX).map(of_cycle).collect();
        let cycles = cycles.into();
        Scene { status, queue: Vec::new(), conflicts: Vec::new(), log, only, cycles, window: 0 }
    }

    pub fn take(&mut self, event: Event) {
        let name = event.data.get("replica").or_else(|| event.data.get("name")).and_then(|name| name.as_str());
        if self.only.as_deref().is_some_and(|only| name != Some(only)) {
            return;
        }
        match event.topic {
            Topic::Status => {
                let Ok(new) = serde_json::from_value::<ReplicaStatus>(event.data) else { return };
                let known = self.status.replicas.iter_mut().find(|old| old.name == new.name);
                if known.as_ref().is_none_or(|old| is_news(old, &new)) {
                    self.note(of_status(&new, event.time));
                }
                match self.status.replicas.iter_mut().find(|old| old.name == new.name) {
                    Some(old) => *old = new,
                    None => self.status.replicas.push(new),
                }
            }
            Topic::Progress => {
                let about = |replica: &&mut ReplicaStatus| Some(replica.name.as_str()) == name;
                if let Some(replica) = self.status.replicas.iter_mut().find(about) {
                    replica.progress = serde_json::from_value::<Progress>(event.data).ok();
                }
            }
            Topic::Cycle => {
                let Ok(cycle) = serde_json::from_value::<HistoryEntry>(event.data) else { return };
                self.note(of_cycle(&cycle));
                self.cycles.push_front(cycle);
                self.cycles.truncate(CYCLES_MAX);
            }
            Topic::Conflict => {
                let Ok(conflict) = serde_json::from_value::<ConflictEntry>(event.data) else { return };
                let ConflictEntry { id, table, key, .. } = &conflict;
                let text = format!("conflict {id} on {table} {key}: {}", conflict.outcome());
                self.note(Line { at: event.time, replica: conflict.replica.clone(), text, tone: Tone::Bad });
            }
            Topic::SetAside => {
                let Ok(change) = serde_json::from_value::<QueueEntry>(event.data) else { return };
                let why = change.reason.map(|reason| reason.text).unwrap_or_default();
                let text = format!("{} {} set aside: {why}", change.table, change.key);
                self.note(Line { at: event.time, replica: change.replica, text, tone: Tone::Bad });
            }
            Topic::Changed => {}
        }
    }

    pub fn next_window(&mut self) {
        self.window = (self.window + 1) % WINDOWS.len();
    }

    pub fn window(&self) -> &'static str {
        WINDOWS[self.window].1
    }

    /// Rows sent and received in each of `columns` equal parts of the window, oldest
    /// first. A long cycle counts in all the parts it ran through.
    pub fn throughput(&self, columns: usize, now: i64) -> (Vec<u64>, Vec<u64>) {
        let (window, _) = WINDOWS[self.window];
        let begin = now - window;
        let (mut sent, mut received) = (vec![0.0; columns], vec![0.0; columns]);
        let part = |at: i64| (at - begin) as f64 / window as f64 * columns as f64;
        for entry in &self.cycles {
            let (from, to) = (part(entry.at), part(entry.at + entry.cycle.milliseconds as i64));
            if to < 0.0 || from >= columns as f64 {
                continue;
            }
            let (first, last) = (from.floor() as i64, to.floor() as i64);
            let share = 1.0 / (last - first + 1) as f64;
            for at in first.max(0)..=last.min(columns as i64 - 1) {
                sent[at as usize] += entry.cycle.pushed as f64 * share;
                received[at as usize] += entry.cycle.pulled as f64 * share;
            }
        }
        let whole = |sums: Vec<f64>| sums.into_iter().map(|sum| sum.ceil() as u64).collect();
        (whole(sent), whole(received))
    }

    fn note(&mut self, line: Line) {
        self.log.push_front(line);
        self.log.truncate(LOG_MAX);
    }
}

/// A state that a person would call another; syncing comes and goes.
fn is_news(old: &ReplicaStatus, new: &ReplicaStatus) -> bool {
    let code = |status: &ReplicaStatus| status.reason.as_ref().map(|reason| reason.code);
    let quiet = |state| matches!(state, State::Syncing | State::InStep | State::Pending);
    let passing = quiet(old.state) && quiet(new.state);
    (old.state != new.state || code(old) != code(new)) && !passing
}

fn of_status(status: &ReplicaStatus, at: i64) -> Line {
    let word = status.state.word().replace('_', " ");
    let text = match &status.reason {
        Some(reason) => format!("{word}: {}", printable(&reason.text)),
        None => word,
    };
    let tone = match &status.reason {
        Some(reason) if reason.code.is_saving() => Tone::Plain,
        Some(_) => Tone::Bad,
        None => Tone::Good,
    };
    Line { at, replica: status.name.clone(), text, tone }
}

fn of_cycle(entry: &HistoryEntry) -> Line {
    let cycle = &entry.cycle;
    let took = words::span(cycle.milliseconds as i64);
    let moved = format!(
        "{} sent, {} received in {took} ({})",
        words::thousands(cycle.pushed),
        words::thousands(cycle.pulled),
        entry.cause.replace('_', " ")
    );
    let (text, tone) = match &entry.reason {
        Some(reason) => (printable(&reason.text), Tone::Bad),
        None => (moved, Tone::Plain),
    };
    Line { at: entry.at + cycle.milliseconds as i64, replica: entry.replica.clone(), text, tone }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::{Cycle, Detail};
    use serde_json::json;

    fn cycle(at: i64, milliseconds: u64, pushed: u64) -> HistoryEntry {
        let cycle = Cycle { pushed, pulled: pushed / 2, milliseconds, ..Cycle::default() };
        HistoryEntry {
            replica: "notes".into(),
            at,
            cause: "write".into(),
            cycle,
            detail: Detail::default(),
            reason: None,
        }
    }

    fn scene(cycles: Vec<HistoryEntry>) -> Scene {
        let status = Status { schema: String::new(), version: String::new(), replicas: Vec::new() };
        Scene::new(status, cycles, None)
    }

    #[test]
    fn throughput_is_counted_where_it_happened() {
        let scene = scene(vec![cycle(290_000, 0, 4), cycle(60_000, 120_000, 90), cycle(-50_000, 10, 1_000)]);
        let (sent, received) = scene.throughput(5, 300_000);
        assert_eq!(sent, [0, 30, 30, 30, 4]);
        assert_eq!(received, [0, 15, 15, 15, 2]);
    }

    #[test]
    fn the_log_says_what_a_person_would_call_news() {
        let mut scene = scene(Vec::new());
        let status = |state: &str, reason: serde_json::Value| Event {
            seq: 1,
            topic: Topic::Status,
            time: 7,
            data: json!({"name": "notes", "database": "", "state": state, "reason": reason, "pending": 0,
                "set_aside": 0, "conflicts": 0, "parked": 0, "online": true,
                "link": {"latency_ms": null, "failures": 0}}),
        };
        let down = json!({"code": "offline_hub_down", "text": "the hub is away", "next": ""});
        for (state, reason) in [
            ("in_step", json!(null)),
            ("syncing", json!(null)),
            ("in_step", json!(null)),
            ("offline", down.clone()),
            ("offline", down),
            ("in_step", json!(null)),
        ] {
            scene.take(status(state, reason));
        }
        let said: Vec<&str> = scene.log.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(said, ["in step", "offline: the hub is away", "in step"]);
    }
}
