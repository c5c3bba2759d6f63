//! A change: one row's newest state, or its tombstone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Key, Revision, Row, Seq, Stamp};

/// What happened to a row. `Insert` and `Update` differ only in whether the remote
/// is known to have the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

impl Operation {
    pub fn word(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }
}

/// One folded change of the outbox, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub table: Arc<str>,
    pub key: Key,
    pub operation: Operation,
    /// The columns that travel: all of them for an insert, those that differ from
    /// the base for an update, none for a delete. Names of the local table.
    pub columns: Arc<[String]>,
    /// One value for each of `columns`.
    pub values: Row,
    /// The revision the local row was based on; `Revision::NONE` when the remote
    /// never had it as far as this replica knows.
    pub base_revision: Revision,
    pub stamp: Stamp,
    /// The newest log entry this change covers.
    pub seq: Seq,
}

impl Change {
    /// Bytes on the wire before compression, roughly.
    pub fn weight(&self) -> usize {
        32 + self.key.0.iter().chain(&self.values).map(super::Value::weight).sum::<usize>()
    }
}
