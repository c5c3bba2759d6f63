//! What the methods answer, beside the shapes in `model::status`.
//!
//! Every answer that a command prints as a document says which in `schema`. Answers may
//! grow; a client ignores what it does not know. These are what goes over the socket and
//! nothing else: the agent fills them, the commands read them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::model::Reason;
use crate::model::status::{ConflictEntry, HistoryEntry, QueueEntry, State, Status, TableCheck};

pub const API: u32 = 1;
/// Grows by one with each addition.
pub const API_MINOR: u32 = 4;

pub const STATUS: &str = "homing.status/1";
pub const QUEUE: &str = "homing.queue/1";
pub const CONFLICTS: &str = "homing.conflicts/1";
pub const HISTORY: &str = "homing.history/1";
pub const EXPLAIN: &str = "homing.explain/1";
pub const PLAN: &str = "homing.plan/1";
pub const SYNC: &str = "homing.sync/1";
pub const VERIFY: &str = "homing.verify/1";
pub const METRICS: &str = "homing.metrics/1";
pub const TELEMETRY: &str = "homing.telemetry/1";
pub const REPLICAS: &str = "homing.replicas/1";

/// `system.hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    pub api: u32,
    pub minor: u32,
    /// The agent's version.
    pub daemon: String,
    pub capabilities: Vec<String>,
}

/// `system.ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    pub pong: bool,
}

/// `events.subscribe`. Events follow as notifications, from `seq` + 1 on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// The newest event the snapshot covers.
    pub seq: u64,
    pub topics: Vec<super::Topic>,
    /// How many events between `since` and now are no longer kept; null where `since`
    /// is not known here, or was not asked for.
    pub missed: Option<u64>,
    #[schemars(with = "Status")]
    pub snapshot: Json,
}

/// `homing.replicas/1`: which replicas a call was about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Replicas {
    pub schema: String,
    pub replicas: Vec<ReplicaEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaEntry {
    pub name: String,
    pub database: String,
    /// The remote's URL; never a token.
    pub remote: String,
    pub attached: bool,
}

/// `homing.sync/1`: how each replica ended up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sync {
    pub schema: String,
    pub replicas: Vec<SyncOutcome>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SyncOutcome {
    pub replica: String,
    /// Everything written before the call is at the remote, and what was there is here,
    /// but for what is counted below.
    pub in_step: bool,
    pub set_aside: u64,
    /// Conflicts that wait for a person.
    pub conflicts: u64,
    /// Pulled rows that cannot be written here yet.
    #[serde(default)]
    pub parked: u64,
    /// Why it is not in step, or not clean.
    pub reason: Option<Reason>,
}

/// `homing.queue/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    pub schema: String,
    pub changes: Vec<QueueEntry>,
    /// True when there are more than `limit` let through.
    #[serde(default)]
    pub more: bool,
}

/// `homing.conflicts/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conflicts {
    pub schema: String,
    pub conflicts: Vec<ConflictEntry>,
    #[serde(default)]
    pub more: bool,
}

/// `homing.history/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    pub schema: String,
    pub cycles: Vec<HistoryEntry>,
}

/// `homing.verify/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    pub schema: String,
    pub replica: String,
    pub tables: Vec<TableCheck>,
    /// Rows put right; 0 where nothing was asked to be repaired.
    #[serde(default)]
    pub repaired: u64,
}

/// How many changes a call was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    pub changes: u64,
}

/// `homing.telemetry/1`: what a person agreed to send, all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Telemetry {
    pub schema: String,
    pub consent: bool,
    /// Where it is sent; null: nowhere.
    pub url: Option<String>,
    pub events: Vec<TelemetryEvent>,
}

/// One record: what happened, in which hour, and counts, times and codes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TelemetryEvent {
    pub event: String,
    /// Milliseconds since 1970 at which the hour begins.
    pub hour: i64,
    pub facts: serde_json::Map<String, Json>,
}

/// `network.status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// False where this machine has no network at all.
    pub online: bool,
    /// True while a battery drains, and where the network is paid for by what goes over it;
    /// null where the system does not say, or no replica's schedule asks.
    #[serde(default)]
    pub on_battery: Option<bool>,
    #[serde(default)]
    pub metered: Option<bool>,
    pub replicas: Vec<NetworkReplica>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkReplica {
    pub name: String,
    pub online: bool,
    /// `sync`, or `save` or `wait` where its schedule says so for that.
    #[serde(default)]
    pub saving: String,
    pub latency_ms: Option<u64>,
    /// Failed cycles in a row.
    pub failures: u32,
    /// As last measured in passing, on a transfer large enough to tell; null until then.
    pub bytes_up_per_second: Option<u64>,
    pub bytes_down_per_second: Option<u64>,
    /// Cycles since the agent started, and those of them that the way there made fail.
    pub cycles: u64,
    pub failed: u64,
}

/// `homing.metrics/1`. What counts something counts from the agent's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    pub schema: String,
    pub version: String,
    pub replicas: Vec<ReplicaMetrics>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaMetrics {
    pub replica: String,
    pub state: State,
    pub cycles: u64,
    /// Cycles that did not go well, by reason.
    pub failed: BTreeMap<String, u64>,
    pub pushed: u64,
    pub pulled: u64,
    pub conflicts: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// Spent in cycles.
    pub milliseconds: u64,
    /// Changes the remote refused, by its code.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// Conflicts found, by what came of them.
    #[serde(default)]
    pub resolved: BTreeMap<String, u64>,
    /// Changes that waited when a cycle last ended, by table.
    #[serde(default)]
    pub queued: BTreeMap<String, u64>,
    pub pending: u64,
    pub set_aside: u64,
    /// Conflicts that wait for a person.
    pub open_conflicts: u64,
    pub parked: u64,
    pub oldest_pending_seconds: Option<u64>,
    /// Milliseconds since 1970.
    pub last_sync_at: Option<i64>,
    pub latency_ms: Option<u64>,
}
