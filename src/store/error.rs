//! SQLite's errors as faults: what happened, what was kept, what to do.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::model::{Fault, FaultKind, ReasonCode};

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        let text = error.to_string();
        let (kind, code, what, next) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => (
                FaultKind::Locked,
                ReasonCode::DatabaseLocked,
                "another program holds the database's lock",
                "nothing was lost; Homing tries again by itself",
            ),
            Some(ErrorCode::DiskFull) => (
                FaultKind::DiskFull,
                ReasonCode::DiskFull,
                "the disk is full",
                "free some space; nothing was lost, and Homing goes on by itself",
            ),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
                FaultKind::File,
                ReasonCode::DatabaseReadOnly,
                "the database cannot be written",
                "let the agent's user write the file and its folder",
            ),
            Some(ErrorCode::NotADatabase) => (
                FaultKind::File,
                ReasonCode::DatabaseNotSqlite,
                "the file is not an SQLite database, or it is encrypted",
                "check the path in the config",
            ),
            Some(ErrorCode::DatabaseCorrupt) => (
                FaultKind::File,
                ReasonCode::DatabaseCorrupt,
                "SQLite says that the database is damaged",
                "restore it from a backup; what is on the remote is safe",
            ),
            Some(ErrorCode::CannotOpen) => (
                FaultKind::File,
                ReasonCode::DatabaseMissing,
                "the database cannot be opened",
                "check the path in the config and the rights on the folder",
            ),
            _ => {
                (FaultKind::File, ReasonCode::Internal, "SQLite refused a step", "nothing was lost; Homing tries again")
            }
        };
        Fault::new(kind, code, format!("{what} ({text})"), next)
    }
}

/// How a row was kept out of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Obstacle {
    /// Another row holds a value that must be unique.
    Unique(String),
    /// CHECK, NOT NULL, a STRICT type, a trigger of the app.
    Rule(String),
}

impl Obstacle {
    /// `None` when the error is not about the row.
    pub(crate) fn of(error: &rusqlite::Error) -> Option<Obstacle> {
        let rusqlite::Error::SqliteFailure(failure, text) = error else { return None };
        let text = text.clone().unwrap_or_else(|| failure.to_string());
        match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
                Some(Obstacle::Unique(text))
            }
            _ if failure.code == ErrorCode::ConstraintViolation => Some(Obstacle::Rule(text)),
            _ if matches!(failure.code, ErrorCode::TypeMismatch | ErrorCode::TooBig) => Some(Obstacle::Rule(text)),
            _ => None,
        }
    }
}
