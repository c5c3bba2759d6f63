//! The seam between the socket and the agent.
//!
//! The agent implements `Service`; the server does everything else: framing, limits,
//! peers, subscriptions. An implementation never blocks: it looks at what it knows, or
//! leaves a wake and awaits its end. When a client goes away its `call` is dropped.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::broadcast;

use super::method::Request;
use crate::model::{Reason, ReasonCode};

pub trait Service: Send + Sync + 'static {
    fn call(&self, peer: &Peer, request: Request) -> impl Future<Output = Result<Json, CallError>> + Send;

    /// Every event from now on, in order and without gaps in `seq`. The receiver may lag;
    /// the server finds out by the sequence and tells its subscribers.
    fn events(&self) -> broadcast::Receiver<Arc<Event>>;

    /// `homing.status/1` of all replicas: what a subscriber gets first.
    fn snapshot(&self) -> Json;

    /// The user whose file a replica's database is; `None` where there is no such replica,
    /// or no file.
    fn owner(&self, replica: &str) -> Option<u32>;
}

/// Who is asking. The pid is for logs only: it may have been given to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub pid: Option<i32>,
    pub role: Role,
}

/// What a client may do, by the user it runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The agent's own user and root: everything.
    Full,
    /// One of the group that the socket is shared with: look at everything, and everything
    /// about databases that are its own.
    Reader,
    /// Anybody else the socket is shared with: everything about databases of its own.
    Owner,
}

/// Something happened. `seq` grows by one an event, from 1, for one life of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub seq: u64,
    pub topic: Topic,
    /// Milliseconds since 1970.
    pub time: i64,
    /// Says in `replica` (or `name`, for a status) which replica it is about.
    pub data: Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A replica's status is another: the replica's part of `homing.status/1`.
    Status,
    /// A cycle changed rows here: `{replica, tables: [{table, keys, more}]}`.
    Changed,
    /// A long transfer moves on: `{replica, what, done, total}`.
    Progress,
    /// A conflict was found or settled: an entry of `homing.conflicts/1`.
    Conflict,
    /// A change waits for a person: an entry of `homing.queue/1`.
    SetAside,
    /// A cycle ended: an entry of `homing.history/1`.
    Cycle,
    /// An action is over: `{replica, id, action, key, state, answer, reason}`, the state
    /// `done` or `set_aside`.
    Action,
}

impl Topic {
    pub const ALL: [Topic; 7] =
        [Topic::Status, Topic::Changed, Topic::Progress, Topic::Conflict, Topic::SetAside, Topic::Cycle, Topic::Action];

    pub fn word(self) -> &'static str {
        match self {
            Topic::Status => "status",
            Topic::Changed => "changed",
            Topic::Progress => "progress",
            Topic::Conflict => "conflict",
            Topic::SetAside => "set_aside",
            Topic::Cycle => "cycle",
            Topic::Action => "action",
        }
    }

    /// True where only the newest event of a replica is worth keeping for a slow reader.
    pub fn coalesces(self) -> bool {
        matches!(self, Topic::Status | Topic::Progress)
    }
}

/// Why a call was refused: a code of JSON-RPC, and the same reason and next step a
/// person would be told.
#[derive(Clone, Debug, PartialEq)]
pub struct CallError {
    pub code: i64,
    pub reason: ReasonCode,
    pub message: String,
    pub hint: String,
    pub retryable: bool,
    /// Milliseconds since 1970.
    pub retry_at: Option<i64>,
}

impl CallError {
    pub const PARSE: i64 = -32700;
    pub const INVALID_REQUEST: i64 = -32600;
    pub const METHOD_NOT_FOUND: i64 = -32601;
    pub const INVALID_PARAMS: i64 = -32602;
    pub const INTERNAL: i64 = -32603;
    /// Everything that is not about the form of the request.
    pub const REFUSED: i64 = -32000;

    /// A refusal that trying again does not mend.
    pub fn new(reason: ReasonCode, message: impl Into<String>, hint: impl Into<String>) -> CallError {
        let (message, hint) = (message.into(), hint.into());
        CallError { code: CallError::REFUSED, reason, message, hint, retryable: false, retry_at: None }
    }

    /// The same, where the same call may go well later: at `retry_at` when that is known.
    pub fn retryable(self, retry_at: Option<i64>) -> CallError {
        CallError { retryable: true, retry_at, ..self }
    }

    pub fn coded(self, code: i64) -> CallError {
        CallError { code, ..self }
    }

    /// The `error` member of an answer.
    pub fn to_json(&self) -> Json {
        serde_json::json!({
            "code": self.code,
            "message": self.message,
            "data": {
                "reason": self.reason,
                "retryable": self.retryable,
                "retry_at": self.retry_at,
                "hint": self.hint,
            },
        })
    }
}

impl From<Reason> for CallError {
    fn from(reason: Reason) -> CallError {
        CallError::new(reason.code, reason.text, reason.next)
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}
