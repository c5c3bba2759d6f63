//! The closed list of methods, each with its parameters and the name of its result.
//!
//! One table makes the parameter types, the `Request` the agent answers, the decoder
//! and what `rpc.discover` says of them, so that none can drift from the others.
//! Parameters are named, and an unknown one is an error: nothing has happened by then.
//! Adding a method or an optional parameter is compatible; taking one away is not.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::answer;
use super::service::Topic;
pub use crate::model::conflict::Side;
use crate::model::status;

/// One method, as `rpc.discover` describes it.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    pub name: &'static str,
    pub summary: &'static str,
    pub params: &'static [Param],
    /// The result's type in `docs/ipc.md`.
    pub result: &'static str,
    /// An object with a property for each parameter.
    pub params_schema: fn(&mut SchemaGenerator) -> Schema,
    pub result_schema: fn(&mut SchemaGenerator) -> Schema,
}

#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    /// The JSON type: `string`, `integer`, `boolean`, `array`, `object`, `any`.
    pub shape: &'static str,
    pub required: bool,
}

/// Why a request could not be decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodeError {
    UnknownMethod,
    /// What is wrong with the parameters, in words.
    Params(String),
}

macro_rules! methods {
    (
        $(#[$enum_doc:meta])*
        $enum:ident;
        $(
            $name:literal $variant:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* } -> $result:literal $answer:ty, $summary:literal;
        )*
    ) => {
        $(
            #[doc = $summary]
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
            #[serde(deny_unknown_fields)]
            pub struct $variant {
                $($(#[$meta])* #[serde(skip_serializing_if = "Shape::is_absent")] pub $field: $type,)*
            }

            impl From<$variant> for $enum {
                fn from(params: $variant) -> $enum {
                    $enum::$variant(params)
                }
            }
        )*

        $(#[$enum_doc])*
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum $enum {
            $(#[doc = $summary] $variant($variant),)*
        }

        impl $enum {
            pub const METHODS: &'static [Method] = &[$(Method {
                name: $name,
                summary: $summary,
                params: &[$(Param {
                    name: stringify!($field),
                    shape: <$type as Shape>::SHAPE,
                    required: <$type as Shape>::REQUIRED,
                },)*],
                result: $result,
                params_schema: |generator| $variant::json_schema(generator),
                result_schema: |generator| generator.subschema_for::<$answer>(),
            },)*];

            pub fn method(&self) -> &'static str {
                match self { $($enum::$variant(_) => $name,)* }
            }

            pub fn decode(method: &str, params: &RawValue) -> Result<$enum, DecodeError> {
                match method {
                    $($name => serde_json::from_str::<$variant>(params.get())
                        .map($enum::$variant)
                        .map_err(|error| DecodeError::Params(error.to_string())),)*
                    _ => Err(DecodeError::UnknownMethod),
                }
            }
        }
    };
}

methods! {
    /// What the server answers itself, without the agent.
    Builtin;
    "system.hello" Hello { client: Option<String>, api: Option<Vec<u32>> } -> "Hello" answer::Hello,
        "Says which version of this interface is spoken, and what it can do.";
    "system.ping" Ping {} -> "Pong" answer::Pong, "Answers at once.";
    "rpc.discover" Discover {} -> "OpenRPC" Json, "Describes every method in the OpenRPC format.";
    "events.subscribe" Subscribe { topics: Option<Vec<Topic>>, since: Option<u64> } -> "Subscribed" answer::Subscribed,
        "A full snapshot in the answer, then events as notifications on this connection.";
}

methods! {
    /// What the agent answers: one variant a method, its parameters inside.
    Request;
    "replica.list" ReplicaList {} -> "Replicas" answer::Replicas, "The replicas this agent serves.";
    "replica.status" ReplicaStatus { replica: Option<String> } -> "Status" status::Status, "How one replica stands, or all.";
    "replica.attach" ReplicaAttach { replica: String } -> "Replicas" answer::Replicas,
        "Puts capture into a replica's database, and keeps it there.";
    "replica.detach" ReplicaDetach { replica: String, #[serde(default)] discard: bool } -> "Replicas" answer::Replicas,
        "Takes every trace out of a replica's database; refused while changes are unsent, unless told to discard them.";
    "sync.now" SyncNow { replica: Option<String> } -> "Replicas" answer::Replicas, "Starts a cycle and returns at once.";
    "sync.wait" SyncWait { replica: Option<String>, timeout_ms: Option<u64> } -> "Sync" answer::Sync,
        "Runs a cycle; answers when what was written before the call is at the remote, and what was there is here.";
    "sync.pause" SyncPause { replica: Option<String> } -> "Replicas" answer::Replicas, "Stops syncing until resumed; capture goes on.";
    "sync.resume" SyncResume { replica: Option<String> } -> "Replicas" answer::Replicas, "Ends a pause, or a halt that a person looked into.";
    "queue.list" QueueList { replica: Option<String>, table: Option<String>, limit: Option<u64> } -> "Queue" answer::Queue,
        "Changes that are pending, in flight or set aside.";
    "queue.retry" QueueRetry { replica: String, table: Option<String>, key: Option<String>, #[serde(default)] all: bool }
        -> "Count" answer::Count, "Sends changes that were set aside again: one row's, a table's, or all.";
    "queue.discard" QueueDiscard { replica: String, table: String, key: String } -> "Count" answer::Count,
        "Gives up one row's unsent change and takes the remote's version; it stays in the ledger.";
    "row.explain" RowExplain { replica: String, table: String, key: String } -> "Explanation" status::Explanation, "The life of one row.";
    "plan.get" PlanGet { replica: String } -> "Plan" status::PlanReport, "What the next cycle would send, in which order, and why.";
    "conflicts.list" ConflictsList { replica: Option<String>, open: Option<bool>, limit: Option<u64> } -> "Conflicts" answer::Conflicts,
        "The ledger, newest first; only what waits for a person with `open`.";
    "conflicts.get" ConflictsGet { id: i64, replica: Option<String> } -> "Conflict" status::ConflictEntry, "One conflict with all its sides.";
    "conflicts.resolve" ConflictsResolve {
        id: i64, replica: Option<String>, take: Option<Side>, columns: Option<BTreeMap<String, Side>>,
        set: Option<BTreeMap<String, Json>>, #[serde(default)] force: bool
    } -> "Conflict" status::ConflictEntry, "Settles a conflict: one side, then single columns from a side, then values.";
    "conflicts.undo" ConflictsUndo { id: i64, replica: Option<String>, #[serde(default)] force: bool } -> "Conflict" status::ConflictEntry,
        "Takes a settled conflict back: what lost stands, and goes to all devices.";
    "history.list" HistoryList { replica: Option<String>, limit: Option<u64> } -> "History" answer::History, "Past cycles, newest first.";
    "verify.run" VerifyRun { replica: String, #[serde(default)] repair: bool } -> "Verification" answer::Verification,
        "Compares replica and hub by hashes and names the rows that differ.";
    "metrics.get" MetricsGet {} -> "Metrics" answer::Metrics, "Counters since the agent started.";
    "action.enqueue" ActionEnqueue { replica: String, action: String, payload: Option<Json>, key: Option<String> }
        -> "Enqueued" answer::Enqueued, "Queues an action beside the rows; the same as one that waits is that one.";
    "network.status" NetworkStatus {} -> "Network" answer::Network, "Whether the remotes can be reached.";
    "telemetry.get" TelemetryGet {} -> "Telemetry" answer::Telemetry, "Exactly what is kept to be sent, and whether it may be.";
    "telemetry.on" TelemetryOn {} -> "Telemetry" answer::Telemetry, "Agrees to telemetry.";
    "telemetry.off" TelemetryOff {} -> "Telemetry" answer::Telemetry,
        "Takes that back, and removes what was kept before it answers.";
    "app.foreground" AppForeground { replica: Option<String> } -> "Replicas" answer::Replicas,
        "An app came to the front: a good moment to sync.";
}

impl Request {
    /// The one replica it is about; `None` for all of them.
    pub fn replica(&self) -> Option<String> {
        let params = serde_json::to_value(self).expect("BUG: parameters are JSON");
        params.get("replica").and_then(|name| name.as_str()).map(str::to_owned)
    }

    /// True where it changes nothing, here or at the remote.
    pub fn only_looks(&self) -> bool {
        match self {
            Request::ReplicaList(_)
            | Request::ReplicaStatus(_)
            | Request::QueueList(_)
            | Request::RowExplain(_)
            | Request::PlanGet(_)
            | Request::ConflictsList(_)
            | Request::ConflictsGet(_)
            | Request::HistoryList(_)
            | Request::MetricsGet(_)
            | Request::TelemetryGet(_)
            | Request::NetworkStatus(_) => true,
            Request::ReplicaAttach(_)
            | Request::ReplicaDetach(_)
            | Request::SyncNow(_)
            | Request::SyncWait(_)
            | Request::SyncPause(_)
            | Request::SyncResume(_)
            | Request::QueueRetry(_)
            | Request::QueueDiscard(_)
            | Request::ConflictsResolve(_)
            | Request::ConflictsUndo(_)
            | Request::VerifyRun(_)
            | Request::ActionEnqueue(_)
            | Request::TelemetryOn(_)
            | Request::TelemetryOff(_)
            | Request::AppForeground(_) => false,
        }
    }
}

/// How a parameter's type looks from outside.
trait Shape {
    const SHAPE: &'static str;
    const REQUIRED: bool = true;

    fn is_absent(&self) -> bool {
        false
    }
}

impl Shape for String {
    const SHAPE: &'static str = "string";
}

impl Shape for Side {
    const SHAPE: &'static str = "string";
}

impl Shape for i64 {
    const SHAPE: &'static str = "integer";
}

impl Shape for u64 {
    const SHAPE: &'static str = "integer";
}

impl Shape for Json {
    const SHAPE: &'static str = "any";
}

impl<T> Shape for Vec<T> {
    const SHAPE: &'static str = "array";
}

impl<K, V> Shape for BTreeMap<K, V> {
    const SHAPE: &'static str = "object";
}

/// A flag that is left out is false.
impl Shape for bool {
    const SHAPE: &'static str = "boolean";
    const REQUIRED: bool = false;

    fn is_absent(&self) -> bool {
        !self
    }
}

impl<T: Shape> Shape for Option<T> {
    const SHAPE: &'static str = T::SHAPE;
    const REQUIRED: bool = false;

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

#[cfg(test)]
impl Method {
    /// Parameters in JSON that the method takes, of those to be kept.
    pub(super) fn sample(&self, keep: impl Fn(&Param) -> bool) -> String {
        let member = |param: &Param| {
            let value = match param.shape {
                "string" if param.name == "take" => r#""local""#,
                "string" => r#""x""#,
                "integer" => "1",
                "boolean" => "true",
                "object" => "{}",
                _ => "[]",
            };
            format!("{:?}:{value}", param.name)
        };
        let members: Vec<String> = self.params.iter().filter(|param| keep(param)).map(member).collect();
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(method: &str, params: &str) -> Result<Request, DecodeError> {
        Request::decode(method, &RawValue::from_string(params.to_owned()).unwrap())
    }

    #[test]
    fn parameters_are_named_typed_and_closed() {
        let list = QueueList { table: Some("tasks".into()), ..QueueList::default() };
        assert_eq!(decode("queue.list", r#"{"table":"tasks"}"#), Ok(list.into()));
        let refused = |method, params| matches!(decode(method, params), Err(DecodeError::Params(_)));
        assert!(refused("queue.list", r#"{"tabel":"tasks"}"#));
        assert!(refused("queue.list", r#"{"table":1}"#));
        assert!(refused("queue.list", r#"{"table":"a","table":"b"}"#));
        assert!(refused("queue.list", r#"{"limit":-1}"#));
        assert!(refused("queue.discard", r#"{"replica":"notes","table":"tasks"}"#));
        assert!(refused("conflicts.resolve", r#"{"id":1,"take":"theirs"}"#));
        assert_eq!(decode("queue.burn", "{}"), Err(DecodeError::UnknownMethod));
    }

    /// What `rpc.discover` calls required is exactly what the decoder insists on.
    #[test]
    fn a_parameter_is_required_where_the_description_says_so() {
        for method in Request::METHODS {
            let given = |keep: &dyn Fn(&Param) -> bool| decode(method.name, &method.sample(keep));
            assert!(given(&|_| true).is_ok(), "{}: {:?}", method.name, given(&|_| true));
            assert!(given(&|param| param.required).is_ok(), "{}", method.name);
            for left_out in method.params.iter().filter(|param| param.required) {
                assert!(given(&|param| param.name != left_out.name).is_err(), "{} {}", method.name, left_out.name);
            }
        }
    }

    #[test]
    fn what_a_client_encodes_is_what_the_server_decodes() {
        let request = Request::from(QueueRetry { replica: "notes".into(), all: true, ..QueueRetry::default() });
        let params = serde_json::to_string(&request).unwrap();
        assert_eq!(params, r#"{"replica":"notes","all":true}"#);
        assert_eq!(decode(request.method(), &params), Ok(request));
    }
}
