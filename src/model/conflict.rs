//! A conflict: a remote change that meets an unacknowledged local one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Key, Row, Stamp, Strategy, Value};

/// What met what: the local side first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    UpdateUpdate,
    /// Updated here, deleted there.
    UpdateDelete,
    /// Deleted here, updated there.
    DeleteUpdate,
    InsertInsert,
    KeyChange,
    /// Another row holds a value that must be unique.
    Unique,
    /// A parent that is gone, or a child that is still there.
    ForeignKey,
}

impl ConflictKind {
    pub fn word(self) -> &'static str {
        match self {
            ConflictKind::UpdateUpdate => "update_update",
            ConflictKind::UpdateDelete => "update_delete",
            ConflictKind::DeleteUpdate => "delete_update",
            ConflictKind::InsertInsert => "insert_insert",
            ConflictKind::KeyChange => "key_change",
            ConflictKind::Unique => "unique",
            ConflictKind::ForeignKey => "foreign_key",
        }
    }

    pub fn parse(word: &str) -> Option<ConflictKind> {
        [
            ConflictKind::UpdateUpdate,
            ConflictKind::UpdateDelete,
            ConflictKind::DeleteUpdate,
            ConflictKind::InsertInsert,
            ConflictKind::KeyChange,
            ConflictKind::Unique,
            ConflictKind::ForeignKey,
        ]
        .into_iter()
        .find(|kind| kind.word() == word)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settler {
    Rule,
    Person,
}

/// A version of a conflict, or what is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Local,
    Remote,
    /// What each side alone changed.
    Merged,
}

impl Side {
    pub fn word(self) -> &'static str {
        match self {
            Side::Local => "local",
            Side::Remote => "remote",
            Side::Merged => "merged",
        }
    }
}

/// How a person settles a conflict: a side to begin with, then single columns from a
/// side, then values of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// `None`: the row as it is now.
    pub take: Option<Side>,
    pub columns: BTreeMap<String, Side>,
    pub set: BTreeMap<String, Value>,
    /// Also when the row changed since the conflict.
    pub force: bool,
}

/// One entry of the ledger. `None` on a side means that the row is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// 0 until the ledger gives it one.
    pub id: i64,
    pub table: String,
    pub key: Key,
    pub kind: ConflictKind,
    pub strategy: Strategy,
    /// The names `base`, `local`, `remote` and `result` go by.
    pub columns: Vec<String>,
    pub base: Option<Row>,
    pub local: Option<Row>,
    pub remote: Option<Row>,
    pub result: Option<Row>,
    /// `None` while it waits for a person.
    pub settled_by: Option<Settler>,
    /// Milliseconds since 1970.
    pub at: i64,
    /// Who wrote the remote side, when known.
    pub remote_device: String,
    /// One sentence: what the rule saw and decided.
    pub note: String,
}

/// What the resolver is shown: the two versions of one row. `None` on a side: the row is
/// not there.
#[derive(Clone, Copy, Debug)]
pub struct Meeting<'a> {
    pub table: &'a str,
    /// What `base`, `local` and `remote` have their values for.
    pub columns: &'a [String],
    /// The row as last equal on both sides; `None` when it was not there then, and when
    /// `base_known` is false.
    pub base: Option<&'a Row>,
    /// False when only a hash of the base was kept.
    pub base_known: bool,
    pub local: Option<&'a Row>,
    pub remote: Option<&'a Row>,
    pub local_stamp: Stamp,
    pub remote_stamp: Stamp,
    pub local_device: &'a str,
    pub remote_device: &'a str,
    /// The roles of who wrote the two versions; empty where there is none.
    pub local_role: &'a str,
    pub remote_role: &'a str,
    /// What a row holds where nobody wrote anything; empty when unknown.
    pub defaults: &'a [Value],
    /// The present on the remote's clock: a time after it is not believed.
    pub now: Stamp,
}

/// What becomes of the row.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The remote's version stands here; the local one is done with.
    TakeRemote,
    /// The local version stands and is sent again, based on the remote's revision.
    KeepLocal,
    /// This row stands here and is sent, based on the remote's revision.
    Merge(Row),
}

/// A strategy's verdict on one meeting.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// Without meaning where the two sides did not disagree.
    pub kind: ConflictKind,
    pub verdict: Verdict,
    /// A version, or a value of one, loses: the meeting goes into the ledger.
    pub record: bool,
    /// `None` while it waits for a person.
    pub settled_by: Option<Settler>,
    /// One sentence: what the rule saw and decided.
    pub note: String,
}
