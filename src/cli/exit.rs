//! How a command ends, as a number: the one place that knows them.

use std::process::ExitCode;

use crate::model::ReasonCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    Usage,
    /// Finished, with changes set aside, conflicts that wait for a person, or rows that differ.
    NotClean,
    /// No agent, or no hub.
    Unavailable,
    TryLater,
    NoPermission,
    BadConfig,
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotClean => 3,
            Exit::Unavailable => 69,
            Exit::TryLater => 75,
            Exit::NoPermission => 77,
            Exit::BadConfig => 78,
            Exit::Interrupted => 130,
        }
    }

    /// Of two ends, the one that a script must not overlook.
    pub fn worse(self, other: Exit) -> Exit {
        if self == Exit::Done || (self == Exit::NotClean && other != Exit::Done) { other } else { self }
    }

    /// What a command that failed for this reason ends with.
    pub fn of(reason: ReasonCode) -> Exit {
        use ReasonCode::*;
        match reason {
            PendingDebounce | PendingSchedule | PendingRetry | OfflineNoNetwork | OfflineTimeout | RemoteTrouble
            | RateLimited | OnBattery | OnMetered | DatabaseLocked | DiskFull | TimedOut | AgentStopping
            | PausedByPerson => Exit::TryLater,
            OfflineHubDown | OfflineNotTheHub | OfflineTls => Exit::Unavailable,
            AuthMissing | AuthRefused | AuthExpired | AuthRevoked | AuthForbidden | AuthPlainHttp | NotAllowed
            | DatabaseReadOnly => Exit::NoPermission,
            PendingParent | RowRefused | RowTooLarge | ParentSetAside | TooOld | KeyUnusable | MassDeletion
            | ConflictManual | ParkedParent | ParkedConstraint | Unsent => Exit::NotClean,
            DatabaseTaken | HubVersion | ProtocolError | QueueFull | TableMissing | DatabaseMissing
            | DatabaseNotSqlite | DatabaseCorrupt | DatabaseReplaced | NewerFormat | Detached | ScopeGone
            | UnknownReplica | UnknownMethod | BadRequest | NotFound | ConflictSettled | RowChanged | Internal
            | Unknown => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_of_two_ends_wins() {
        assert_eq!(Exit::Done.worse(Exit::NotClean), Exit::NotClean);
        assert_eq!(Exit::NotClean.worse(Exit::Done), Exit::NotClean);
        assert_eq!(Exit::NotClean.worse(Exit::TryLater), Exit::TryLater);
        assert_eq!(Exit::TryLater.worse(Exit::NotClean), Exit::TryLater);
    }
}
