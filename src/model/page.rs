//! What a pull brings: rows of the remote, in its order.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Key, Revision, Row, Stamp};

/// A place in the remote's log. Opaque to the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// The remote's version of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteRow {
    pub table: String,
    pub key: Key,
    pub revision: Revision,
    pub stamp: Stamp,
    /// `None`: a tombstone. Else one value for each of `columns`.
    pub row: Option<Row>,
    /// The names of the row's columns, as the remote knows them. Shared by all rows
    /// of one group on the wire.
    pub columns: std::sync::Arc<[String]>,
    /// Who wrote it, for people: a device name; empty when unknown.
    pub device: String,
    /// The role of who wrote it, as the remote vouches for it; empty when it has none.
    pub role: String,
}

/// One answer to a pull.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Page {
    pub rows: Vec<RemoteRow>,
    /// The life of the remote's log that the page's revisions belong to; empty where a
    /// remote has none.
    pub epoch: String,
    /// Where to go on; saved with the page's last slice.
    pub cursor: Cursor,
    /// The remote's newest revision when it answered.
    pub head: Revision,
    /// True while the remote has more for us now.
    pub more: bool,
    /// In a snapshot: the ranges of keys this page speaks for, in `Key::encode` order.
    /// A clean local row within a range that the page does not bring is gone.
    pub covers: Vec<Span>,
    /// Rows within those ranges that earlier pages brought, as `sqlite::digest::identity`
    /// knows them: they are not gone either.
    pub brought: HashSet<u128>,
    /// Rows the whole snapshot or log still holds, as far as the remote knows: for progress.
    pub rows_left: Option<u64>,
}

/// A stretch of one table in `Key::encode` order: after `from` (all from the start
/// when `None`), up to and including `to` (to the end when `None`).
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub table: String,
    pub from: Option<Vec<u8>>,
    pub to: Option<Vec<u8>>,
}
