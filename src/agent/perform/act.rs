//! Asking for one action, and noting what came of it.
//!
//! Goes when no row is left to send. Trouble that may be the action's own is told from a
//! lost way by the next answer to anything else: until then it is not counted against it.

use super::{Outgone, Performer};
use crate::engine::errand::{self, Trouble};
use crate::engine::session::Report;
use crate::model::{Action, Fault, ReasonCode};
use crate::remote::RemoteError;

impl Performer {
    /// Whether an action is to be sent now.
    pub(super) fn has_errand(&mut self, now: i64) -> Result<bool, Fault> {
        let upto = self.actions_upto;
        if self.remote.abilities().takes_actions {
            self.store_mut().readmit_actions()?;
            return Ok(self.stumbled.is_none() && self.store_mut().has_due_action(upto, now)?);
        }
        let refused = self
            .store_mut()
            .refuse_all_actions("this remote takes no actions: it is a hub, or the config names no `action_path`")?;
        self.tally.set_aside += refused;
        Ok(false)
    }

    pub(super) fn act(&mut self) -> Result<Report, Fault> {
        let now = self.world.clock.millis();
        let limits = self.replica.limits.clone();
        let store = self.store.as_mut().expect("BUG: acting is within a cycle");
        store.fold_actions(&mut self.folding, now)?;
        let (due, unfit) = store.due_action(self.actions_upto, now, limits.pending_age_max)?;
        self.tally.set_aside += unfit;
        let Some(due) = due else { return Ok(Report::Acted { more: false }) };
        let answered = self.remote.act(&due.action);
        self.count_traffic();
        let now = self.world.clock.millis();
        let refusal = match answered {
            Ok(said) => {
                let store = self.store.as_mut().expect("BUG: acting is within a cycle");
                store.finish_action(&due, &mut self.folding, &said, now)?;
                self.tally.cycle.pushed += 1;
                self.note_outgone(due.action, Ok(said));
                return Ok(Report::Acted { more: true });
            }
            Err(RemoteError::Fault(fault)) => {
                let pulls = self.remote.abilities().pulls();
                if errand::trouble(fault.kind, pulls) == Trouble::Everything {
                    return Err(fault);
                }
                self.stumbled = Some((due, fault));
                if !pulls {
                    self.put_off()?;
                }
                return Ok(Report::Acted { more: false });
            }
            Err(RemoteError::TooLarge) => {
                let text = "the remote does not take an action this large";
                self.store_mut().set_action_aside(&due, due.tries + 1, ReasonCode::RowTooLarge, text)?;
                self.tally.set_aside += 1;
                self.note_outgone(due.action, Err(text.to_owned()));
                return Ok(Report::Acted { more: true });
            }
            Err(RemoteError::Refused(text)) => text,
            Err(other) => format!("the remote answered {other:?} to an action"),
        };
        *self.tally.refused.entry(ReasonCode::ActionRefused.word().to_owned()).or_default() += 1;
        let aside = self.store_mut().refuse_action(&due, &refusal, limits.tries_max, now)?;
        if aside {
            self.tally.set_aside += 1;
            self.note_outgone(due.action, Err(refusal));
        }
        Ok(Report::Acted { more: aside })
    }

    /// Something else was answered since: it is this action that has to wait.
    pub(super) fn put_off(&mut self) -> Result<(), Fault> {
        let Some((due, fault)) = self.stumbled.take() else { return Ok(()) };
        let seed = due.action.id.unsigned_abs() ^ self.known.incarnation.0.bytes().map(u64::from).sum::<u64>();
        let wait = errand::wait(due.stumbles + 1, &self.replica.schedule, fault.retry_after, seed);
        let now = self.world.clock.millis();
        self.store_mut().delay_action(&due, &fault.reason, wait, now)
    }

    fn note_outgone(&mut self, action: Action, said: std::result::Result<String, String>) {
        /// Actions that are told of at most, a cycle.
        const TOLD_MAX: usize = 1_000;
        if self.tally.actions.len() < TOLD_MAX {
            self.tally.actions.push(Outgone { action, said });
        }
    }
}
