//! Requests and answers, as JSON.
//!
//! | request | what |
//! |---|---|
//! | `POST /v1/scopes/{scope}/hello` | `Hello` → `Welcome`: who I am, which tables I have |
//! | `POST /v1/scopes/{scope}/push` | `Push` → `Pushed`: one batch, an outcome each |
//! | `POST /v1/scopes/{scope}/pull` | `Pull` → `Pulled`: one page |
//! | `POST /v1/scopes/{scope}/digest` | `DigestRequest` → `Digest`: hashes, to compare |
//! | `POST /v1/scopes/{scope}/row` | `RowRequest` → `RowAnswer`: one row and who wrote it |
//! | `GET /v1/scopes/{scope}/live` | server-sent events: `event: hint`, data is the head revision |
//! | `GET /v1/scopes/{scope}/status` | `ScopeStatus`: devices and when each was last here |
//! | `GET /healthz` | `ok` |
//!
//! `{scope}` is `@me` for the token's own account. A failed request is answered with
//! `Refusal` and a status: 400 malformed, 401 no or bad token, 403 out of reach, 404 no
//! such place, 409 this incarnation or epoch is over, 413 too large, 429 too often,
//! 500 a defect, 503 busy.

use serde::{Deserialize, Serialize};

use crate::model::{Incarnation, RefusalCode, Revision, Stamp, Table, Value};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    /// The device's name, for people.
    pub device: String,
    pub incarnation: Incarnation,
    /// The number of the last batch this incarnation had answered; 0 for none.
    pub batch: i64,
    pub tables: Vec<Table>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    pub protocol: u32,
    /// Names this life of the hub's log. When it changed, cursors and revisions of
    /// the old one mean nothing.
    pub epoch: String,
    /// The scope's newest revision.
    pub head: Revision,
    /// The hub's clock, milliseconds since 1970.
    pub time: i64,
    /// The role that the token says; it goes with every change its bearer makes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The number of the last batch the hub took from this incarnation; 0 for none.
    pub batch: i64,
    /// The tables the hub has, after it took what it may from `Hello::tables`.
    pub tables: Vec<Table>,
    /// Tables or columns it would not take, and why.
    pub refused: Vec<RefusedTable>,
    pub limits: HubLimits,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedTable {
    pub table: String,
    /// Empty: the whole table.
    #[serde(default)]
    pub column: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HubLimits {
    pub batch_rows_max: usize,
    /// The largest request body after decompression, in bytes.
    pub body_bytes_max: usize,
    /// The largest row, in bytes of `model::Change::weight`.
    pub row_bytes_max: usize,
}

impl Default for HubLimits {
    fn default() -> HubLimits {
        HubLimits { batch_rows_max: 10_000, body_bytes_max: 16 << 20, row_bytes_max: 4 << 20 }
    }
}

/// One batch: one transaction on the hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    pub protocol: u32,
    pub device: String,
    pub incarnation: Incarnation,
    /// From 1, one more each time. The same number with the same bytes is answered as
    /// before; an older number, or other bytes, is 409 `incarnation_over`.
    pub batch: i64,
    pub epoch: String,
    /// The `Pulled::head` of the last page the sender applied with nothing more to
    /// come: what others did up to there was known when these changes were made. A
    /// reference whose parent went, or a child that came, after it is a conflict.
    #[serde(default)]
    pub seen: Revision,
    /// In the order to apply.
    pub groups: Vec<ChangeGroup>,
}

/// Neighbouring changes of one table with the same columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeGroup {
    pub table: String,
    /// The key's columns, in key order.
    pub key: Vec<String>,
    /// The columns that follow in each row: for an update those that changed, for a
    /// put of a whole row all of them (the key's again among them). Empty in deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
    /// Each `[base revision, stamp, key …, column …]`.
    pub rows: Vec<WireChange>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WireChange {
    pub base: Revision,
    pub stamp: Stamp,
    /// The key's values, then the columns' values.
    pub values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pushed {
    pub protocol: u32,
    pub epoch: String,
    pub head: Revision,
    pub time: i64,
    /// One for each change, in the order of the push.
    pub outcomes: Vec<WireOutcome>,
}

/// A bare integer: applied, at this revision. Else an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WireOutcome {
    Applied(Revision),
    Conflict(WireConflict),
    Refused(WireRefusal),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireConflict {
    /// `moved_on`: the hub's row is newer than the base. `unique`: another row holds a
    /// value that must be unique. `foreign_key`: a parent is gone, or a child is there.
    pub conflict: ConflictWord,
    /// The hub's row; null when it has none and never had.
    pub row: Option<WireRow>,
    /// Columns that changed on the hub since the base; empty when unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The rows that stand in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<WireOther>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictWord {
    MovedOn,
    Unique,
    ForeignKey,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireOther {
    pub table: String,
    pub key: Vec<Value>,
}

/// One row of the hub, alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireRow {
    pub revision: Revision,
    pub stamp: Stamp,
    /// Null for a tombstone.
    pub values: Option<Vec<Value>>,
    pub columns: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// The role of who wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireRefusal {
    pub refused: RefusalCode,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    pub protocol: u32,
    pub device: String,
    pub incarnation: Incarnation,
    /// Null: from nothing, by snapshot.
    pub cursor: Option<String>,
    pub rows_max: usize,
    /// The page ends after the row that passes this many bytes.
    pub bytes_max: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    pub protocol: u32,
    pub epoch: String,
    pub head: Revision,
    pub time: i64,
    pub cursor: String,
    pub more: bool,
    /// Present in a snapshot: the stretches of keys this page speaks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covers: Vec<WireSpan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_left: Option<u64>,
    pub groups: Vec<RowGroup>,
}

/// `from` and `to` are hexadecimal `Key::encode`; null is the start, or the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireSpan {
    pub table: String,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// Neighbouring rows of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowGroup {
    pub table: String,
    /// For rows: every column the hub has. For tombstones: the key's columns.
    pub columns: Vec<String>,
    /// The key's columns, in key order.
    pub key: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete: bool,
    /// Names of devices, which the rows point into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// The role of each of `devices`: one that wrote under two roles is listed twice.
    /// Empty where nobody has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    pub rows: Vec<WireEntry>,
}

/// `[revision, stamp, device index or -1, value …]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WireEntry {
    pub revision: Revision,
    pub stamp: Stamp,
    pub device: i64,
    pub values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DigestRequest {
    pub protocol: u32,
    pub table: String,
    /// The columns to hash, in this order.
    pub columns: Vec<String>,
    /// Null: one digest of the whole table. Else hashes row by row, after this key
    /// (hexadecimal `Key::encode`, empty for the start).
    pub after: Option<String>,
    pub rows_max: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    pub protocol: u32,
    pub head: Revision,
    pub rows: u64,
    /// The XOR of all row hashes (`sqlite::digest::row`), 16 hexadecimal digits.
    pub digest: String,
    /// `[hexadecimal key, row hash]`, when asked row by row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<(String, String)>,
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowRequest {
    pub protocol: u32,
    pub table: String,
    pub key: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowAnswer {
    pub protocol: u32,
    pub row: Option<WireRow>,
    /// The audit trail, newest first, at most 100.
    pub audit: Vec<AuditEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub revision: Revision,
    /// Milliseconds since 1970, the hub's clock.
    pub at: i64,
    pub operation: String,
    pub account: String,
    pub device: String,
    pub columns: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopeStatus {
    pub protocol: u32,
    pub epoch: String,
    pub head: Revision,
    pub time: i64,
    pub devices: Vec<DeviceStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    pub device: String,
    pub account: String,
    /// Milliseconds since 1970.
    pub last_seen_at: i64,
    pub last_push_at: Option<i64>,
    /// Seen within the last fifteen minutes, or listening now.
    pub active: bool,
}

/// The body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub error: RefusalBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// `malformed`, `token_missing`, `token_bad`, `token_expired`, `token_revoked`,
    /// `forbidden`, `not_found`, `incarnation_over`, `epoch_over`, `cursor_over`,
    /// `too_large`, `rate_limited`, `version`, `busy`, `internal`.
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub hint: String,
}
