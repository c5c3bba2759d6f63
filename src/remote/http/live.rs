//! The live channel: one long answer of server-sent events, a word for each "there is
//! more". How it is opened, and which events are hints, is its caller's (`Door`).
//!
//! A hint never says what changed, and one that is missed costs nothing but time: the
//! schedule pulls at its own pace as well, and a channel that opens again is itself a
//! reason to pull. Hints are heard at most one in `HINT_PAUSE`, however many are sent.
//! A channel without a sign of life for two beats is taken for dead. An idle channel
//! costs a wake a minute.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::events::{Event, Events};
use super::{Connection, Shared, fault};
use crate::model::Fault;
use crate::remote::{Hint, Listening, RemoteError};

/// A hub sends a beat every 60 s; this leaves room for two and a slow line.
const BEAT_MAX: Duration = Duration::from_secs(150);
const HINT_PAUSE: Duration = Duration::from_millis(20);
const DELAY_FIRST: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(60);
/// A channel that held this long was a good one: the next delay is the first again.
pub const GOOD_AFTER: Duration = Duration::from_secs(30);

type Hear = Box<dyn Fn(Hint) + Send + Sync>;

/// What differs between one remote's channel and another's.
pub trait Door: Send + Sync + 'static {
    /// Asks for the channel; the answer may still be a refusal.
    fn knock(&self, connection: &Connection) -> impl Future<Output = Result<Response, RemoteError>> + Send;

    /// What a refusal means.
    fn refusal(&self, connection: &Connection, response: Response) -> impl Future<Output = RemoteError> + Send;

    /// What the event tells, if it is one of this remote's.
    fn hint(&self, event: &Event) -> Option<Hint>;
}

/// Listens until the answer is dropped, or the agent stops.
pub fn listen(door: impl Door, connection: Shared, runtime: &Handle, hear: Hear) -> Listening {
    let channel = connection.clone();
    attend(connection, runtime, async move { keep_open(&door, &channel, &hear).await })
}

/// Does `work` until the answer is dropped, or the agent stops.
pub fn attend(connection: Shared, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) -> Listening {
    let task = runtime.spawn(async move {
        tokio::select! {
            biased;
            () = connection.stopped() => {}
            () = work => {}
        }
    });
    Listening(Box::new(AbortOnDrop(task)))
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep_open(door: &impl Door, connection: &Connection, hear: &Hear) {
    let mut failures = 0u32;
    loop {
        let began = Instant::now();
        let (opened, fault) = match open(door, connection).await {
            Ok(response) => {
                hear(Hint::Open);
                let fault = follow(door, connection, response, hear).await;
                hear(Hint::Lost);
                (true, fault)
            }
            Err(error) => (false, as_fault(connection, error)),
        };
        failures = if opened && began.elapsed() >= GOOD_AFTER { 0 } else { failures.saturating_add(1) };
        let named = fault.retry_after.map_or(Duration::ZERO, |millis| Duration::from_millis(millis.max(0) as u64));
        let delay = delay(failures, chance()).max(named);
        tracing::debug!(reason = fault.reason.text, ?delay, "the live channel is down");
        sleep(delay).await;
    }
}

/// `Ok` once the remote has begun to tell events.
async fn open(door: &impl Door, connection: &Connection) -> Result<Response, RemoteError> {
    let response = door.knock(connection).await?;
    if response.status() != StatusCode::OK {
        return Err(door.refusal(connection, response).await);
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Err(fault::rubbish(connection.host(), "no event stream where one is due").into());
    }
    Ok(response)
}

/// Hears hints until the channel breaks; says how it broke.
async fn follow(door: &impl Door, connection: &Connection, mut response: Response, hear: &Hear) -> Fault {
    let mut events = Events::default();
    let mut line = connection.line();
    loop {
        let heard = tokio::select! {
            biased;
            fault = line.cut(connection.host()) => return fault,
            heard = timeout(BEAT_MAX, response.chunk()) => heard,
        };
        let piece = match heard {
            Err(_) => return fault::timeout(connection.host(), BEAT_MAX, "fell silent"),
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None) | Err(_)) => return fault::broken_off(connection.host(), 0),
        };
        connection.count(0, piece.len());
        let Ok(events) = events.feed(&piece) else {
            return fault::rubbish(connection.host(), "an event that does not end");
        };
        // The last one says the most.
        if let Some(hint) = events.iter().rev().find_map(|event| door.hint(event)) {
            hear(hint);
            // What comes in meanwhile waits in the socket, and is one hint when read.
            sleep(HINT_PAUSE).await;
        }
    }
}

fn as_fault(connection: &Connection, error: RemoteError) -> Fault {
    match error {
        RemoteError::Fault(fault) => fault,
        other => fault::rubbish(connection.host(), &format!("{other:?} as the answer to listening")),
    }
}

/// The wait before try number `failures`, doubled each time, spread by a quarter either
/// way so that a thousand devices do not come back in one moment.
pub fn delay(failures: u32, chance: f64) -> Duration {
    let doubled = DELAY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(DELAY_MAX);
    doubled.mul_f64(0.75 + chance / 2.0)
}

/// A number from 0 up to 1. Every `RandomState` has keys of its own.
pub fn chance() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_minute_and_is_spread() {
        let seconds = |failures| delay(failures, 0.5).as_secs();
        assert_eq!((0..=9).map(seconds).collect::<Vec<_>>(), [1, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(delay(u32::MAX, 0.0), Duration::from_secs(45));
        assert_eq!(delay(u32::MAX, 1.0), Duration::from_secs(75));
        let spread: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(spread.iter().all(|chance| (0.0..1.0).contains(chance)));
        assert!(spread.iter().any(|chance| *chance < 0.5) && spread.iter().any(|chance| *chance > 0.5));
    }
}
