//! What ends a call before its answer: the agent stops, or an address of this machine is
//! gone, with which the call may have begun. Nobody would ever answer to it there, and
//! only a timeout would tell.

use tokio::sync::watch;

use super::fault;
use crate::model::Fault;

/// What every call hangs on.
#[derive(Clone)]
pub struct Line {
    stop: watch::Receiver<bool>,
    /// Counts addresses that went; `None` where no network lies between.
    moved: Option<watch::Receiver<u64>>,
}

/// One that no change of the network cuts.
impl From<watch::Receiver<bool>> for Line {
    fn from(stop: watch::Receiver<bool>) -> Line {
        Line { stop, moved: None }
    }
}

impl Line {
    pub fn new(stop: watch::Receiver<bool>, moved: watch::Receiver<u64>) -> Line {
        Line { stop, moved: Some(moved) }
    }

    /// For a call that begins now: what went before does not cut it.
    pub(super) fn begun(&self) -> Line {
        let mut line = self.clone();
        if let Some(moved) = &mut line.moved {
            moved.mark_unchanged();
        }
        line
    }

    /// How many addresses have gone so far.
    pub(super) fn moves(&self) -> u64 {
        self.moved.as_ref().map_or(0, |moved| *moved.borrow())
    }

    /// Returns when the agent is told to stop. Never, if it cannot be told any more.
    pub(super) async fn stopped(&self) {
        if self.stop.clone().wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the call must end, and why. `host`: who was asked.
    pub async fn cut(&mut self, host: &str) -> Fault {
        let Line { stop, moved } = self;
        let stopped = Line::from(stop.clone());
        let moved = async {
            let changed = match moved {
                Some(moved) => moved.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stopped.stopped() => fault::interrupted(),
            () = moved => fault::moved(host),
        }
    }
}
