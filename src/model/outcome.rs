//! What the remote said about one change of a push.

use serde::{Deserialize, Serialize};

use super::{ConflictKind, Key, RemoteRow, Revision};

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The remote has it, at this revision.
    Applied(Revision),
    /// The remote's row moved on, or another row stands in the way.
    Conflict {
        kind: ConflictKind,
        /// The remote's version of the same row; `None` when it has none and never had.
        remote: Option<RemoteRow>,
        /// Columns the remote changed since the base; empty when unknown.
        columns: Vec<String>,
        /// For `unique` and `foreign_key`: the rows that stand in the way.
        others: Vec<(String, Key)>,
    },
    /// The remote will not take it as it is.
    Refused { code: RefusalCode, text: String },
}

/// Why a remote refuses one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// The remote has no such table, and this token may not bring one.
    UnknownTable,
    /// The remote has no such column.
    UnknownColumn,
    /// The row is larger than the remote takes.
    RowTooLarge,
    /// A CHECK, NOT NULL or type rule of the remote's table.
    Constraint,
    /// This token may not write here.
    NotAllowed,
    /// An update to a row that the remote does not have: send the row whole.
    WholeRowNeeded,
    /// The stamp lies in the remote's future: correct the clock and stamp again.
    StampFuture,
    /// The stamp is older than the remote's row although the base is current.
    StampOld,
    /// The change could not be understood.
    Malformed,
}

impl RefusalCode {
    pub fn word(self) -> &'static str {
        match self {
            RefusalCode::UnknownTable => "unknown_table",
            RefusalCode::UnknownColumn => "unknown_column",
            RefusalCode::RowTooLarge => "row_too_large",
            RefusalCode::Constraint => "constraint",
            RefusalCode::NotAllowed => "not_allowed",
            RefusalCode::WholeRowNeeded => "whole_row_needed",
            RefusalCode::StampFuture => "stamp_future",
            RefusalCode::StampOld => "stamp_old",
            RefusalCode::Malformed => "malformed",
        }
    }
}
