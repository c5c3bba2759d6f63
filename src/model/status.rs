//! How a replica stands: the shape behind `homing status --json`, IPC and the CLI.
//!
//! State is computed from facts each time it is asked for, never stored beside them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Reason;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    InStep,
    Pending,
    Syncing,
    Offline,
    BackingOff,
    SignedOut,
    Paused,
    Halted,
    Detached,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::InStep => "in_step",
            State::Pending => "pending",
            State::Syncing => "syncing",
            State::Offline => "offline",
            State::BackingOff => "backing_off",
            State::SignedOut => "signed_out",
            State::Paused => "paused",
            State::Halted => "halted",
            State::Detached => "detached",
        }
    }
}

/// One replica in `homing.status/1`. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaStatus {
    pub name: String,
    pub database: String,
    pub state: State,
    pub reason: Option<Reason>,
    pub pending: u64,
    pub set_aside: u64,
    /// Conflicts that wait for a person.
    pub conflicts: u64,
    /// Pulled rows that wait.
    pub parked: u64,
    pub last_sync_at: Option<i64>,
    pub next_sync_at: Option<i64>,
    pub oldest_pending_seconds: Option<u64>,
    pub online: bool,
    pub link: Link,
    pub last_cycle: Option<Cycle>,
    /// Things a person should know that do not stop anything: tables left out, a file
    /// on a network mount, a clock that is off.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Set while a long transfer runs.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// True once a person should be told: five failed cycles in a row.
    #[serde(default)]
    pub lasting: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    pub latency_ms: Option<u64>,
    /// Failed cycles in a row.
    pub failures: u32,
    /// How far this device's clock is ahead of the remote's, as last measured; negative
    /// where it is behind. Stamps are corrected by it.
    #[serde(default)]
    pub skew_ms: Option<i64>,
}

/// What one cycle did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cycle {
    pub pushed: u64,
    pub pulled: u64,
    pub conflicts: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub milliseconds: u64,
}

/// What its history says of a cycle beside that. An entry of an older version lacks it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Detail {
    /// Choosing, sending and settling.
    pub push_milliseconds: u64,
    /// Waiting for pages.
    pub pull_milliseconds: u64,
    pub apply_milliseconds: u64,
    /// How long ago, when it began, everything was last in step; null when it never was.
    pub checkpoint_age_seconds: Option<u64>,
    /// Changes that still wait when it ended, by table.
    pub queued: BTreeMap<String, u64>,
    /// Changes that the remote refused, by its code.
    pub refused: BTreeMap<String, u64>,
    /// Conflicts found, by what came of them: `local`, `remote`, `merged`, or `open`
    /// where a person is to settle it.
    pub resolved: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// "sending" or "receiving".
    pub what: String,
    pub done: u64,
    pub total: Option<u64>,
}

/// `homing.status/1`, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub schema: String,
    pub version: String,
    pub replicas: Vec<ReplicaStatus>,
}

/// One change in `homing.queue/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Change")]
pub struct QueueEntry {
    pub replica: String,
    pub table: String,
    /// The key as a JSON array, in text.
    pub key: String,
    pub operation: String,
    /// Columns that differ from the base; empty for a delete.
    pub columns: Vec<String>,
    /// `pending`, `in_flight`, `waiting_for_parent` or `set_aside`.
    pub state: String,
    /// 0 (critical) to 4 (background).
    pub priority: u8,
    pub tries: u32,
    pub next_try_at: Option<i64>,
    pub reason: Option<Reason>,
    /// When the oldest unsent write of this row was made.
    pub since: Option<i64>,
    /// Which action it is, where it is one; the table is then `_homing_actions`.
    #[serde(default)]
    pub action: Option<String>,
}

/// One conflict in `homing.conflicts/1`. Sides are objects by column, or null where
/// the row is not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Conflict")]
pub struct ConflictEntry {
    pub id: i64,
    pub replica: String,
    pub table: String,
    pub key: String,
    pub kind: String,
    pub strategy: String,
    #[schemars(with = "Option<BTreeMap<String, Json>>")]
    pub base: Option<Json>,
    #[schemars(with = "Option<BTreeMap<String, Json>>")]
    pub local: Option<Json>,
    #[schemars(with = "Option<BTreeMap<String, Json>>")]
    pub remote: Option<Json>,
    #[schemars(with = "Option<BTreeMap<String, Json>>")]
    pub result: Option<Json>,
    /// `rule`, `person`, or null while it waits.
    pub settled_by: Option<String>,
    pub at: i64,
    #[serde(default)]
    pub remote_device: String,
    /// When the remote's version was written, by its stamp.
    #[serde(default)]
    pub remote_at: Option<i64>,
    #[serde(default)]
    pub local_device: String,
    /// When this device's version was written.
    #[serde(default)]
    pub local_at: Option<i64>,
    /// When a person settled it.
    #[serde(default)]
    pub settled_at: Option<i64>,
    #[serde(default)]
    pub note: String,
}

impl ConflictEntry {
    /// What came of it, in a word: which side stands, `merged`, or `open` while it waits.
    pub fn outcome(&self) -> &'static str {
        match &self.result {
            _ if self.settled_by.is_none() => "open",
            result if *result == self.local => "local",
            result if *result == self.remote => "remote",
            _ => "merged",
        }
    }
}

/// One past cycle in `homing.history/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    pub replica: String,
    /// When it began.
    pub at: i64,
    /// Why it ran: `start`, `timer`, `write`, `command` …
    pub cause: String,
    #[serde(flatten)]
    pub cycle: Cycle,
    #[serde(flatten)]
    pub detail: Detail,
    /// Null when it went well.
    pub reason: Option<Reason>,
}

/// One table of `homing.verify/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TableCheck {
    pub table: String,
    pub rows_here: u64,
    pub rows_there: u64,
    /// Keys that differ, as JSON arrays in text, with what is the matter:
    /// `differs`, `missing_here`, `missing_there`. At most 1,000 are named.
    pub differing: Vec<(String, String)>,
}

/// `homing.explain/1`: the life of one row, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub schema: String,
    pub replica: String,
    pub table: String,
    pub key: String,
    /// One sentence: where this row stands now.
    pub verdict: String,
    pub lines: Vec<ExplanationLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplanationLine {
    pub at: Option<i64>,
    /// A short word: `here`, `outbox`, `base`, `sent`, `conflict`, `set_aside`, `parked`, `hub`.
    pub what: String,
    pub text: String,
}

/// `homing.plan/1`: what the next cycle would send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Plan")]
pub struct PlanReport {
    pub schema: String,
    pub replica: String,
    pub batches: Vec<PlanBatch>,
    /// Changes that would stay, and why.
    pub staying: Vec<QueueEntry>,
    /// True when there was more than the plan shows.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanBatch {
    pub bytes: u64,
    pub changes: Vec<PlanChange>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanChange {
    pub table: String,
    pub key: String,
    pub operation: String,
    pub priority: u8,
    /// Why it stands here: `priority high`, `before tasks ["7"] that refers to it` …
    pub because: String,
}
