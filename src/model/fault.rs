//! Trouble, sorted by what helps against it.

use super::{Reason, ReasonCode};

/// What to do about a fault. One bit more than a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Try again, later and later, for ever.
    Retry,
    /// This one change waits for a person; everything else goes on.
    SetAside,
    /// The whole replica waits for a person.
    Halt,
}

/// The classes of fault, as the schedule tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No way there: refused, reset, DNS, TLS, or an answer that is not the protocol.
    Network,
    Timeout,
    /// 429 or 503: come back at the time it named.
    Throttled,
    /// 5xx: the remote is in trouble.
    Server,
    /// 401, also after the token was renewed.
    SignedOut,
    /// 403: the token is good and does not reach this.
    Permission,
    /// The remote speaks another version of the protocol.
    Version,
    /// The remote will not take what we sent, as a whole: a defect, here or there.
    Protocol,
    /// The app's file is busy.
    Locked,
    /// The app's file cannot be used: missing, not SQLite, encrypted, read-only, corrupt.
    File,
    /// No room on the disk.
    DiskFull,
    /// The file was written by a newer Homing.
    NewerFormat,
    /// Stopped on purpose: pause, shutdown.
    Interrupted,
}

impl FaultKind {
    pub fn verdict(self) -> Verdict {
        match self {
            FaultKind::NewerFormat | FaultKind::Version => Verdict::Halt,
            _ => Verdict::Retry,
        }
    }
}

/// One failed step: what happened, what was kept, what to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    pub reason: Reason,
    /// Milliseconds to wait at least, when the remote named a time.
    pub retry_after: Option<i64>,
}

impl Fault {
    pub fn new(kind: FaultKind, code: ReasonCode, text: impl Into<String>, next: impl Into<String>) -> Fault {
        Fault { kind, reason: Reason { code, text: text.into(), next: next.into() }, retry_after: None }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.reason.text)
    }
}

impl std::error::Error for Fault {}
