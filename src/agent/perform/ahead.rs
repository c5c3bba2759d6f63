//! Choosing the next batch while one is on its way, and sending it as soon as that one is
//! answered.
//!
//! What is chosen is dropped unless the remote took all of the batch before: then nothing
//! that was assumed here turned out otherwise. It goes at once, and the answer is made
//! local fact while the remote works on it. Until it goes it is written down nowhere, and
//! a crash knows nothing of it; it goes with the answer before it, in one transaction.

use super::Performer;
use super::send::{candidates, window};
use crate::engine::plan;
use crate::model::{Fault, Outcome, Revision};
use crate::store::flight::Flight;
use crate::store::stage::Gathered;

/// The next batch, as it will go if the one under way is taken whole.
pub(super) struct Ahead {
    flight: Flight,
    /// What the look found beside the batch.
    gathered: Gathered,
    more: bool,
}

/// The next batch, on its way while the one before it is settled.
pub(super) struct Following {
    flight: Flight,
    more: bool,
}

impl Performer {
    /// Trouble is no trouble yet: staging meets it again, and tells.
    pub(super) fn look_ahead(&mut self) -> Option<Ahead> {
        if self.more { self.next_batch().ok().flatten() } else { None }
    }

    fn next_batch(&mut self) -> Result<Option<Ahead>, Fault> {
        let (limits, now) = (self.limits(), self.now());
        let (Some(store), Some(rules), Some(flight)) = (&mut self.store, &self.rules, &self.flight) else {
            unreachable!("BUG: a batch is on its way")
        };
        let number = flight.batch + 1;
        let rows_max = window(store, limits.rows_max);
        let Some(mut gathered) = store.gather_behind(flight, now, rows_max, rules)? else { return Ok(None) };
        let plan = plan::plan(&candidates(&gathered), &rules.order, &limits);
        if plan.order.is_empty() || !plan.staying.is_empty() {
            return Ok(None);
        }
        let more = gathered.more || plan.more;
        let flight = self.board(&mut gathered, plan, number)?;
        Ok(Some(Ahead { flight, gathered, more }))
    }

    /// Where the remote took the batch whole, the one behind it goes now. Trouble is none:
    /// the batch is settled as ever, and the next one is staged anew.
    pub(super) fn follow_up(&mut self, ahead: Ahead) {
        let Some(answer) = &self.answer else { unreachable!("BUG: a batch was just answered") };
        let revision =
            |outcome: &Outcome| if let Outcome::Applied(revision) = outcome { Some(*revision) } else { None };
        let Some(taken) = answer.outcomes.iter().map(revision).collect::<Option<Vec<Revision>>>() else { return };
        let (Some(store), Some(before)) = (&mut self.store, &self.flight) else {
            unreachable!("BUG: a batch was just answered")
        };
        let Ahead { flight, gathered, more } = ahead;
        let kept = store.tidy(&gathered, &[]).and_then(|()| store.launch_behind(before, &taken, &flight));
        if kept.is_ok() {
            self.known.batch = before.batch;
            self.asked_at = self.world.clock.millis();
            self.remote.set_off(&flight.body);
            self.following = Some(Following { flight, more });
        }
    }

    /// The batch that went while the one before it was settled becomes the one under way.
    /// False where there is none.
    pub(super) fn follow_on(&mut self) -> bool {
        let Some(Following { flight, more }) = self.following.take() else { return false };
        self.flight = Some(flight);
        self.more = more;
        self.went_before = true;
        true
    }
}
