//! `homing metrics`: the agent's counters as Prometheus reads them.
//!
//! For node_exporter's textfile collector, or whatever else takes that format:
//!
//! ```text
//! # HELP homing_pending_changes Changes that the remote has not acknowledged.
//! # TYPE homing_pending_changes gauge
//! homing_pending_changes{replica="notes"} 3
//! ```
//!
//! No value of a row, no key and no path is among them.

use std::collections::BTreeMap;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::ipc::answer::{Metrics, ReplicaMetrics};
use crate::ipc::method;
use crate::model::status::State;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_: Args, context: &Context) -> Result<Exit, Failure> {
    let metrics: Metrics = context.connect()?.call(method::MetricsGet {})?;
    context.show(&metrics, render)?;
    Ok(Exit::Done)
}

type Reading = fn(&ReplicaMetrics) -> Option<f64>;

const STATES: [State; 9] = [
    State::InStep,
    State::Pending,
    State::Syncing,
    State::Offline,
    State::BackingOff,
    State::SignedOut,
    State::Paused,
    State::Halted,
    State::Detached,
];

/// Name, kind, what it is, and its value for a replica; without one there is no line.
const FAMILIES: &[(&str, &str, &str, Reading)] = &[
    ("homing_cycles_total", "counter", "Cycles that ended.", |it| Some(it.cycles as f64)),
    ("homing_cycle_seconds_total", "counter", "Time spent in cycles.", |it| Some(it.milliseconds as f64 / 1000.0)),
    ("homing_changes_pushed_total", "counter", "Changes that the remote took.", |it| Some(it.pushed as f64)),
    ("homing_changes_pulled_total", "counter", "Changes that came from the remote.", |it| Some(it.pulled as f64)),
    ("homing_conflicts_total", "counter", "Conflicts that were found.", |it| Some(it.conflicts as f64)),
    ("homing_sent_bytes_total", "counter", "Bytes sent to the remote.", |it| Some(it.bytes_up as f64)),
    ("homing_received_bytes_total", "counter", "Bytes received from the remote.", |it| Some(it.bytes_down as f64)),
    ("homing_pending_changes", "gauge", "Changes that the remote has not acknowledged.", |it| Some(it.pending as f64)),
    ("homing_set_aside_changes", "gauge", "Changes that wait for a person.", |it| Some(it.set_aside as f64)),
    ("homing_open_conflicts", "gauge", "Conflicts that wait for a person.", |it| Some(it.open_conflicts as f64)),
    ("homing_parked_rows", "gauge", "Pulled rows that cannot be written yet.", |it| Some(it.parked as f64)),
    ("homing_oldest_pending_seconds", "gauge", "How long the oldest unsent write has waited.", |it| {
        Some(it.oldest_pending_seconds.unwrap_or(0) as f64)
    }),
    ("homing_last_sync_timestamp_seconds", "gauge", "When it was last in step.", |it| {
        it.last_sync_at.map(|at| at as f64 / 1000.0)
    }),
    ("homing_link_latency_seconds", "gauge", "How long the remote took to answer.", |it| {
        it.latency_ms.map(|millis| millis as f64 / 1000.0)
    }),
];

type Counts = fn(&ReplicaMetrics) -> &BTreeMap<String, u64>;

/// The same for what is counted by a word, and the label that the word is.
const COUNTED: &[(&str, &str, &str, &str, Counts)] = &[
    ("homing_cycle_failures_total", "counter", "Cycles that did not go well, by reason.", "reason", |it| &it.failed),
    ("homing_refusals_total", "counter", "Changes that the remote refused, by its code.", "code", |it| &it.refused),
    ("homing_conflict_outcomes_total", "counter", "Conflicts, by what came of them.", "outcome", |it| &it.resolved),
    ("homing_queued_changes", "gauge", "Changes that waited when a cycle ended, by table.", "table", |it| &it.queued),
];

fn render(metrics: &Metrics) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{}", lines.concat()));
        }
    };
    let version = format!("homing_agent_info{{version={}}} 1\n", quoted(&metrics.version));
    family("homing_agent_info", "gauge", "The agent's version.", vec![version]);
    for (name, kind, help, reading) in FAMILIES {
        let line = |it: &ReplicaMetrics| Some(format!("{name}{{replica={}}} {}\n", quoted(&it.replica), reading(it)?));
        family(name, kind, help, metrics.replicas.iter().filter_map(line).collect());
    }
    for (name, kind, help, label, counts) in COUNTED {
        let lines = metrics.replicas.iter().flat_map(|it| {
            let line = |(word, count): (&String, &u64)| {
                format!("{name}{{replica={},{label}={}}} {count}\n", quoted(&it.replica), quoted(word))
            };
            counts(it).iter().map(line).collect::<Vec<_>>()
        });
        family(name, kind, help, lines.collect());
    }
    let name = "homing_replica_state";
    let states = metrics.replicas.iter().flat_map(|it| {
        STATES.iter().map(|state| {
            let is = u8::from(it.state == *state);
            format!("{name}{{replica={},state={}}} {is}\n", quoted(&it.replica), quoted(state.word()))
        })
    });
    family(name, "gauge", "1 for the state the replica is in.", states.collect());
    out
}

fn quoted(label: &str) -> String {
    format!("\"{}\"", label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_lines_that_prometheus_reads() {
        let metrics: Metrics = serde_json::from_value(serde_json::json!({
            "schema": "homing.metrics/1", "version": "1.2.3", "replicas": [{
                "replica": "a\"b", "state": "offline", "cycles": 7, "failed": {"offline_hub_down": 2}, "pushed": 3,
                "pulled": 0, "conflicts": 0, "bytes_up": 10, "bytes_down": 0, "milliseconds": 1500, "pending": 1,
                "set_aside": 0, "open_conflicts": 0, "parked": 0, "oldest_pending_seconds": 5,
                "last_sync_at": null, "latency_ms": null, "refused": {"constraint": 4}, "queued": {"tasks": 1},
            }],
        }))
        .unwrap();
        let text = render(&metrics);
        for line in [
            "homing_agent_info{version=\"1.2.3\"} 1",
            "# TYPE homing_cycles_total counter",
            "homing_cycles_total{replica=\"a\\\"b\"} 7",
            "homing_cycle_seconds_total{replica=\"a\\\"b\"} 1.5",
            "homing_cycle_failures_total{replica=\"a\\\"b\",reason=\"offline_hub_down\"} 2",
            "homing_refusals_total{replica=\"a\\\"b\",code=\"constraint\"} 4",
            "homing_queued_changes{replica=\"a\\\"b\",table=\"tasks\"} 1",
            "homing_replica_state{replica=\"a\\\"b\",state=\"offline\"} 1",
            "homing_replica_state{replica=\"a\\\"b\",state=\"in_step\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("homing_last_sync"), "what is not known has no line");
    }
}
