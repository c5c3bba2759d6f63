//! Waiting for a cycle that began after one was asked for.
//!
//! What the way to the remote does to it is waited out for a little; what a person must
//! mend is told at once.

use std::time::{Duration, Instant};

use super::{Answer, Desk, show};
use crate::agent::worker::Order;
use crate::engine::session::{Event as Happening, Wake};
use crate::ipc::answer::*;
use crate::ipc::service::CallError;
use crate::model::status::State;
use crate::model::{Reason, ReasonCode};

/// How long `sync.wait` goes on after the way to the remote failed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Desk {
    /// Waits for a cycle that began after this call. What the way there does to it is
    /// waited out for a little; what a person must mend is told at once.
    pub(super) async fn wait(&self, replica: Option<String>, timeout_ms: u64) -> Answer {
        let start = Instant::now();
        let deadline = start + Duration::from_millis(timeout_ms);
        let mut outcomes = Vec::new();
        for at in self.chosen(replica.as_deref())? {
            let reason = self.wait_for(at, start, deadline).await?;
            let counts = self.ask(at, |inquiry| inquiry.counts()).await.ok();
            let faces = self.board.faces();
            let counts = counts.unwrap_or_else(|| faces[at].counts.clone());
            let left = counts.parked + counts.set_aside + counts.conflicts > 0;
            let unclean = || faces[at].unfinished(&counts).filter(|_| left);
            outcomes.push(SyncOutcome {
                replica: faces[at].replica.name.clone(),
                in_step: reason.is_none(),
                set_aside: counts.set_aside,
                conflicts: counts.conflicts,
                parked: counts.parked,
                reason: reason.or_else(unclean),
            });
        }
        show(&Sync { schema: SYNC.to_owned(), replicas: outcomes })
    }

    async fn wait_for(&self, at: usize, start: Instant, deadline: Instant) -> Result<Option<Reason>, CallError> {
        let mut turns = self.board.turns();
        let mut target = self.board.faces()[at].begun + 1;
        self.send(at, Order::Event(Happening::Wake(Wake::Command)))?;
        loop {
            let (ended, outcome, view, held) = {
                let faces = self.board.faces();
                let face = &faces[at];
                (face.ended, face.outcome.clone(), face.view.clone(), face.counts.held)
            };
            if matches!(view.word, State::Paused | State::Detached) {
                return Ok(view.reason);
            }
            if ended >= target {
                match outcome {
                    // Refused, and not for the last time: the next try comes by itself.
                    None if held > 0 => target = ended + 1,
                    None => return Ok(None),
                    Some(reason) if start.elapsed() > PATIENCE || !passes(reason.code) => return Ok(Some(reason)),
                    Some(_) => {
                        // A moment later it may be there: a hub that restarts, a lock.
                        target = ended + 1;
                        let pause = Duration::from_millis(500).min(deadline.saturating_duration_since(Instant::now()));
                        tokio::time::sleep(pause).await;
                        self.send(at, Order::Event(Happening::Wake(Wake::Command)))?;
                    }
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || tokio::time::timeout(left, turns.changed()).await.is_err() {
                let in_time = match held {
                    0 => Reason {
                        code: ReasonCode::TimedOut,
                        text: "it was not done in time; it goes on".to_owned(),
                        next: "wait longer with --timeout, or look at `homing status`".to_owned(),
                    },
                    held => Reason {
                        code: ReasonCode::PendingRetry,
                        text: format!("{} refused so far and tried again", crate::agent::board::changes_are(held)),
                        next: "`homing queue list` says why; wait longer with --timeout".to_owned(),
                    },
                };
                let reason = outcome.unwrap_or(in_time);
                return Ok(Some(reason));
            }
        }
    }
}

/// Trouble that may be over in a moment.
fn passes(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::OfflineHubDown
            | ReasonCode::OfflineTimeout
            | ReasonCode::RemoteTrouble
            | ReasonCode::DatabaseLocked
            | ReasonCode::OfflineNoNetwork
    )
}
