//! What a session is told and what it orders: wakes, events, steps and how they went.

use crate::model::settings::Millis;
use crate::model::{Fault, Supply};

/// Why a cycle runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    Start,
    Timer,
    Write,
    /// A link came up, or an address changed.
    Network,
    /// The remote can be reached again.
    Reachable,
    /// The remote says that there is more.
    Live,
    /// An app came to the front.
    Foreground,
    /// The machine was plugged in, or has a network again that costs nothing.
    Supply,
    /// Somebody asked for it.
    Command,
}

impl Wake {
    /// Tells of rows alone, and is to be quick: nothing suggests that the remote is another.
    pub(super) fn is_quick(self) -> bool {
        matches!(self, Wake::Write | Wake::Live)
    }

    pub fn word(self) -> &'static str {
        match self {
            Wake::Start => "start",
            Wake::Timer => "timer",
            Wake::Write => "write",
            Wake::Network => "network",
            Wake::Reachable => "reachable",
            Wake::Live => "live",
            Wake::Foreground => "foreground",
            Wake::Supply => "supply",
            Wake::Command => "command",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Wake(Wake),
    /// The app wrote; `immediate` where a table's rule says not to wait, `urgent` where it
    /// says not to wait for better times either.
    Written {
        immediate: bool,
        urgent: bool,
    },
    /// What the machine runs on is another.
    Supply(Supply),
    /// The alarm rang.
    Tick,
    /// A network is there, or none.
    Network(bool),
    /// The step that was ordered last is done.
    Done(Report),
    /// It failed.
    Failed(Fault),
    Pause,
    Resume,
    Detach,
}

/// One step of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open the file, bring capture in line, find out who this file is.
    Begin,
    /// Introduce ourselves to the remote; compare incarnations and epochs.
    Greet,
    /// Instead of greeting: the remote was greeted `age` ago, and where all here is as it
    /// was then, its welcome still holds.
    Nod { age: Millis },
    /// Compare a stretch of rows with their bases.
    Audit,
    /// Choose the next batch and save it.
    Stage,
    /// Send it.
    Send,
    /// Make the answer local fact.
    Settle,
    /// Ask for the next action, and note what came of it.
    Act,
    /// Ask for the next page.
    Fetch,
    /// Apply a slice of it.
    Apply,
    /// Close the file.
    End,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Began,
    /// `pull_first`: there is no checkpoint, or the remote finds no conflicts when it is
    /// pushed to; everything is pulled before anything is sent, so that rows both sides
    /// have are recognised. `in_flight`: a batch is not settled; until it is, nobody can
    /// say what the remote has from here.
    Greeted {
        pull_first: bool,
        audit_due: bool,
        in_flight: bool,
    },
    /// An incarnation, an epoch or a cursor was over and has been begun anew.
    Renewed,
    Audited {
        done: bool,
    },
    /// `false`: there is nothing to send.
    Staged {
        something: bool,
    },
    /// There is nothing to send, and actions wait that may refer to what was sent.
    Acting,
    /// `more`: another may go at once.
    Acted {
        more: bool,
    },
    Sent,
    /// The remote refused the batch because its rows moved on: pull before it is planned
    /// anew.
    Behind,
    /// `progress`: something was acknowledged or set aside. `in_flight`: another batch was
    /// set off behind it.
    Settled {
        done: bool,
        progress: bool,
        in_flight: bool,
    },
    Fetched,
    /// `done`: with the page. `more`: the remote has another. `pending`: something came
    /// of it that must be sent.
    Applied {
        done: bool,
        more: bool,
        pending: bool,
    },
    /// `retry_in`: how long until the next try of a row that was refused. Not a time of
    /// day: the device's clock may be set meanwhile, the session's is not.
    Ended {
        retry_in: Option<Millis>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Do(Step),
    /// Ring at this time, and not at any that was set before.
    Alarm(Option<Millis>),
    /// Open or close the live channel.
    Listen(bool),
    /// The state is another.
    Tell,
}
