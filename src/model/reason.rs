//! Why something is not in step: a closed list, so that programs can match on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A code for programs, a sentence for people, and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    pub code: ReasonCode,
    pub text: String,
    /// What to do, or what will happen by itself. Empty when there is nothing to say.
    pub next: String,
}

macro_rules! reason_codes {
    ($($(#[$meta:meta])* $variant:ident => $word:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ReasonCode {
            $($(#[$meta])* #[serde(rename = $word)] $variant,)*
        }

        impl ReasonCode {
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$variant,)*];

            pub fn word(self) -> &'static str {
                match self { $(ReasonCode::$variant => $word,)* }
            }

            pub fn parse(word: &str) -> Option<ReasonCode> {
                match word { $($word => Some(ReasonCode::$variant),)* _ => None }
            }
        }
    };
}

impl ReasonCode {
    /// Nothing is wrong: the config says to be sparing for now.
    pub fn is_saving(self) -> bool {
        matches!(self, ReasonCode::OnBattery | ReasonCode::OnMetered)
    }
}

reason_codes! {
    /// Written a moment ago; the debounce runs.
    PendingDebounce => "pending_debounce",
    /// Waits for the timer or a command.
    PendingSchedule => "pending_schedule",
    /// Waits for the row it refers to.
    PendingParent => "pending_parent",
    /// Refused before; tried again later.
    PendingRetry => "pending_retry",
    /// The config says to be sparing while a battery drains.
    OnBattery => "on_battery",
    /// The same, where the network is paid for by what goes over it.
    OnMetered => "on_metered",
    OfflineNoNetwork => "offline_no_network",
    OfflineHubDown => "offline_hub_down",
    /// Something answered that does not speak the protocol.
    OfflineNotTheHub => "offline_not_the_hub",
    OfflineTimeout => "offline_timeout",
    OfflineTls => "offline_tls",
    /// The remote answers with errors.
    RemoteTrouble => "remote_trouble",
    RateLimited => "rate_limited",
    /// No token is configured, or it cannot be read.
    AuthMissing => "auth_missing",
    AuthRefused => "auth_refused",
    AuthExpired => "auth_expired",
    AuthRevoked => "auth_revoked",
    /// The token is good, and does not reach this scope.
    AuthForbidden => "auth_forbidden",
    /// A token would travel over plain HTTP to another machine.
    AuthPlainHttp => "auth_plain_http",
    HubVersion => "hub_version",
    ProtocolError => "protocol_error",
    RowRefused => "row_refused",
    RowTooLarge => "row_too_large",
    /// Depends on a change that is set aside.
    ParentSetAside => "parent_set_aside",
    TooOld => "too_old",
    KeyUnusable => "key_unusable",
    MassDeletion => "mass_deletion",
    QueueFull => "queue_full",
    ConflictManual => "conflict_manual",
    /// A conflict was settled before.
    ConflictSettled => "conflict_settled",
    /// The row is not as it was when the conflict was settled.
    RowChanged => "row_changed",
    /// A pulled row waits for its parent.
    ParkedParent => "parked_parent",
    /// A pulled row breaks a rule of the local table.
    ParkedConstraint => "parked_constraint",
    TableMissing => "table_missing",
    DatabaseMissing => "database_missing",
    DatabaseLocked => "database_locked",
    /// Another agent keeps it in step.
    DatabaseTaken => "database_taken",
    DatabaseReadOnly => "database_read_only",
    DatabaseNotSqlite => "database_not_sqlite",
    DatabaseCorrupt => "database_corrupt",
    DatabaseReplaced => "database_replaced",
    DiskFull => "disk_full",
    NewerFormat => "newer_format",
    PausedByPerson => "paused_by_person",
    Detached => "detached",
    ScopeGone => "scope_gone",
    AgentStopping => "agent_stopping",
    // What a request over IPC can be answered with, beside the above.
    UnknownReplica => "unknown_replica",
    UnknownMethod => "unknown_method",
    BadRequest => "bad_request",
    NotFound => "not_found",
    NotAllowed => "not_allowed",
    TimedOut => "timed_out",
    Unsent => "unsent",
    Internal => "internal",
    /// Said by a newer version, to one that does not know the code.
    #[serde(other)]
    Unknown => "unknown",
}
