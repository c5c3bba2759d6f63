//! Why a command failed: what happened, what was kept, what to do next.

use serde_json::{Value as Json, json};

use super::context::Paint;
use super::exit::Exit;
use super::process::Process;
use crate::ipc::{CallError, ClientError};
use crate::model::{Reason, ReasonCode};

#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub exit: Exit,
    pub reason: Option<ReasonCode>,
    /// What happened. Empty where nobody is there to read it.
    pub text: String,
    /// What was kept; empty when nothing could have been lost.
    pub kept: String,
    /// What to do next; may be empty.
    pub next: String,
}

impl Failure {
    pub fn new(exit: Exit, text: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure { exit, reason: None, text: text.into(), kept: String::new(), next: next.into() }
    }

    pub fn kept(self, kept: impl Into<String>) -> Failure {
        Failure { kept: kept.into(), ..self }
    }

    /// Whoever reads our output has had enough of it.
    pub fn nobody_reads() -> Failure {
        Failure::new(Exit::Done, "", "")
    }

    /// `error:`, `kept:` and `next:`, each a line.
    pub fn render(&self, paint: &Paint) -> String {
        let mut out = format!("{} {}\n", paint.bad("error:"), self.text);
        for (label, text) in [("kept:", &self.kept), ("next:", &self.next)] {
            if !text.is_empty() {
                out.push_str(&format!(" {} {text}\n", paint.dim(label)));
            }
        }
        out
    }

    pub fn to_json(&self) -> Json {
        json!({
            "schema": "homing.error/1",
            "error": self.text,
            "reason": self.reason,
            "kept": self.kept,
            "next": self.next,
            "exit": self.exit.code(),
        })
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Failure {
        Failure { reason: Some(reason.code), ..Failure::new(Exit::of(reason.code), reason.text, reason.next) }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        Failure { reason: Some(error.reason), ..Failure::new(Exit::of(error.reason), error.message, error.hint) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let text = error.to_string();
        match error {
            ClientError::NoAgent { .. } => Failure::new(
                Exit::Unavailable,
                text,
                "start it with `homing agent`, or name its socket with --socket or HOMING_SOCKET",
            )
            .kept("what apps write to attached databases is captured without an agent, and sent once one runs"),
            ClientError::NotAllowed { .. } => {
                Failure::new(Exit::NoPermission, text, "run the command as the user whose agent this is")
            }
            ClientError::TimedOut { pid, .. } => match Process::of(pid) {
                Some(process) => {
                    let (why, next) = process.silence();
                    Failure::new(Exit::TryLater, format!("{text}: {why}"), next)
                }
                None => Failure::new(Exit::TryLater, text, "try again; `homing doctor` looks at what is wrong"),
            },
            ClientError::Refused(error) => error.into(),
            ClientError::Broken { .. } => {
                Failure::new(Exit::Unavailable, text, "see whether the agent still runs with `homing status`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_happened_what_was_kept_and_what_to_do() {
        let failure = Failure::new(Exit::Failed, "it broke", "mend it").kept("all of it");
        assert_eq!(failure.render(&Paint::plain()), "error: it broke\n kept: all of it\n next: mend it\n");
        let bare = Failure::new(Exit::Failed, "it broke", "");
        assert_eq!(bare.render(&Paint::plain()), "error: it broke\n");
    }

    #[test]
    fn no_agent_and_a_refusal_end_with_their_own_codes() {
        let none = Failure::from(ClientError::NoAgent { socket: "/x.sock".into() });
        assert_eq!(none.exit, Exit::Unavailable);
        let unsent = CallError::new(ReasonCode::Unsent, "3 changes are unsent", "sync first, or --discard");
        let failure = Failure::from(ClientError::Refused(unsent));
        assert_eq!((failure.exit, failure.next.as_str()), (Exit::NotClean, "sync first, or --discard"));
        assert_eq!(failure.to_json()["reason"], "unsent");
    }
}
