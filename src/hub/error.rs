//! What can go wrong in the hub, and how each is answered.
//!
//! Trouble with one change of a push is not here: that is an outcome, and data. A
//! `HubError` means that the whole request was not done and left nothing behind.

use crate::protocol::{Refusal, RefusalBody};

pub type Result<T> = std::result::Result<T, HubError>;

#[derive(Debug)]
pub enum HubError {
    /// The request is not what the protocol says.
    Malformed(String),
    /// Another version of the protocol.
    Version(u32),
    TokenMissing,
    TokenBad,
    TokenExpired,
    TokenRevoked,
    /// The token is good and does not reach this scope, or not this call.
    Forbidden,
    NotFound(String),
    IncarnationOver(String),
    EpochOver(String),
    CursorOver,
    /// Rows of a push that is taken whole or not at all moved on: pull first.
    Behind(String),
    /// A push that is taken whole or not at all holds what the hub cannot store.
    Unfit(String),
    TooLarge(String),
    RateLimited,
    /// The file is locked, or too many requests wait.
    Busy,
    /// SQLite would not; nothing of the request was kept.
    Storage(rusqlite::Error),
    /// An answer that is too large for memory found no room on the disk.
    NoRoom(String),
    /// A file of the hub does not say what it must.
    Damaged(String),
    /// Trouble at start-up or in a command: what happened, and what to do next.
    SetUp {
        what: String,
        next: String,
    },
}

impl HubError {
    pub fn set_up(what: impl Into<String>, next: impl Into<String>) -> HubError {
        HubError::SetUp { what: what.into(), next: next.into() }
    }

    /// Status, code, message and hint, as they travel. Messages of a defect stay here.
    pub fn answer(&self) -> (u16, Refusal) {
        let (status, code, message, hint) = match self {
            HubError::Malformed(what) => (400, "malformed", what.clone(), ""),
            HubError::Version(version) => (
                400,
                "version",
                format!("this hub speaks version {} of the protocol, not {version}", crate::protocol::VERSION),
                "update the older side",
            ),
            HubError::TokenMissing => (401, "token_missing", "no token came with the request".into(), "send a token"),
            HubError::TokenBad => (401, "token_bad", "the token is not one of this hub's".into(), "get a new token"),
            HubError::TokenExpired => (401, "token_expired", "the token has expired".into(), "get a new token"),
            HubError::TokenRevoked => (401, "token_revoked", "the token was revoked".into(), "ask for a new token"),
            HubError::Forbidden => (
                403,
                "forbidden",
                "the token does not reach this scope".into(),
                "use a token that reaches it, or correct the scope",
            ),
            HubError::NotFound(what) => (404, "not_found", what.clone(), ""),
            HubError::IncarnationOver(what) => {
                (409, "incarnation_over", what.clone(), "begin a new incarnation and compare with the hub")
            }
            HubError::EpochOver(what) => (409, "epoch_over", what.clone(), "say hello, then pull from nothing"),
            HubError::CursorOver => (
                410,
                "cursor_over",
                "the cursor is older than this hub keeps deletions".into(),
                "pull from nothing; unsent changes stay valid",
            ),
            HubError::Behind(what) => (409, "behind", what.clone(), "pull, then push again; nothing was taken"),
            HubError::Unfit(what) => {
                (422, "unfit", what.clone(), "correct this row or bring the table to the hub; nothing was taken")
            }
            HubError::TooLarge(what) => (413, "too_large", what.clone(), "send less at once"),
            HubError::RateLimited => (429, "rate_limited", "too many requests from this account".into(), "wait"),
            HubError::Busy => (503, "busy", "the hub is busy; nothing of this request was kept".into(), "try again"),
            HubError::Storage(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                (500, "internal", "the hub's disk is full; nothing of this request was kept".into(), "try later")
            }
            HubError::NoRoom(_) => (
                500,
                "internal",
                "the hub has no room for the answer; nothing of this request was kept".into(),
                "try later",
            ),
            HubError::Storage(_) | HubError::Damaged(_) | HubError::SetUp { .. } => {
                (500, "internal", "the hub failed; nothing of this request was kept".into(), "see the hub's log")
            }
        };
        let error = RefusalBody { code: code.to_owned(), message, hint: hint.to_owned() };
        (status, Refusal { error })
    }
}

impl std::fmt::Display for HubError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            HubError::Storage(error) => write!(formatter, "SQLite: {error}"),
            HubError::Damaged(what) | HubError::NoRoom(what) => formatter.write_str(what),
            HubError::SetUp { what, next } if next.is_empty() => formatter.write_str(what),
            HubError::SetUp { what, next } => write!(formatter, "{what}; next: {next}"),
            other => formatter.write_str(&other.answer().1.error.message),
        }
    }
}

impl std::error::Error for HubError {}

impl From<rusqlite::Error> for HubError {
    fn from(error: rusqlite::Error) -> HubError {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => HubError::Busy,
            _ => HubError::Storage(error),
        }
    }
}
