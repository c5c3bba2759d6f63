//! Choosing the next batch while one is on its way.
//!
//! What is chosen is not written down until the batch before it was settled, and is
//! dropped unless the remote took all of that: then nothing that was assumed here turned
//! out otherwise. A crash knows nothing of it.

use super::Performer;
use super::send::{candidates, window};
use crate::engine::plan;
use crate::model::Fault;
use crate::store::flight::Flight;
use crate::store::stage::Gathered;

/// The next batch, as it will go if the one under way is taken whole.
pub(super) struct Ahead {
    flight: Flight,
    /// What the look found beside the batch.
    gathered: Gathered,
    more: bool,
}

impl Performer {
    /// Trouble is no trouble yet: staging meets it again, and tells.
    pub(super) fn look_ahead(&mut self) {
        self.ahead = if self.more { self.next_batch().ok().flatten() } else { None };
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
        let flight = self.board(&mut gathered, &plan, number)?;
        Ok(Some(Ahead { flight, gathered, more }))
    }

    /// The batch before it was taken: now it is the one that will be sent.
    pub(super) fn depart(&mut self, ahead: Ahead) -> Result<(), Fault> {
        let Ahead { flight, gathered, more } = ahead;
        let store = self.store_mut();
        store.tidy(&gathered, &[])?;
        store.launch(&flight)?;
        self.flight = Some(flight);
        self.more = more;
        Ok(())
    }
}
