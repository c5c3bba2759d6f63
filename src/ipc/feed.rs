//! Events from the agent to the subscribers: each is written out once and shared.
//!
//! The newest `RECENT_MAX` are kept, so that a client that reconnects can go on from
//! where it was (`since`). A subscriber that lags loses events, never memory of ours.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::broadcast;

use super::envelope;
use super::service::{Event, Topic};

const RECENT_MAX: usize = 1_000;
const RECENT_BYTES_MAX: usize = 8 << 20;

/// One event, ready to be written.
#[derive(Debug)]
pub struct Entry {
    pub seq: u64,
    pub topic: Topic,
    /// Which replica it is about; empty when it does not say.
    pub replica: String,
    pub line: Bytes,
}

pub struct Feed {
    recent: Mutex<Recent>,
    sender: broadcast::Sender<Arc<Entry>>,
}

#[derive(Default)]
struct Recent {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    /// The newest event seen, kept or not.
    head: u64,
}

/// What a new subscriber gets: what it missed, and everything from `head` on.
pub struct Joined {
    pub head: u64,
    pub replay: Vec<Arc<Entry>>,
    /// `None`: `since` is not a place in this agent's life.
    pub missed: Option<u64>,
    pub receiver: broadcast::Receiver<Arc<Entry>>,
}

impl Feed {
    pub fn new() -> Feed {
        Feed { recent: Mutex::default(), sender: broadcast::channel(256).0 }
    }

    /// Passes events on until the agent has no more.
    pub async fn run(&self, mut events: broadcast::Receiver<Arc<Event>>) {
        loop {
            match events.recv().await {
                Ok(event) => self.publish(&event),
                Err(broadcast::error::RecvError::Lagged(_)) => {} // the gap shows in `seq`
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    pub fn publish(&self, event: &Event) {
        let about = event.data.get("replica").or_else(|| event.data.get("name"));
        let params = serde_json::to_value(event).expect("BUG: an event is always JSON");
        let entry = Arc::new(Entry {
            seq: event.seq,
            topic: event.topic,
            replica: about.and_then(|name| name.as_str()).unwrap_or_default().to_owned(),
            line: envelope::notification("event", &params),
        });
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.keep(entry.clone());
        let _ = self.sender.send(entry); // nobody may be listening
    }

    pub fn join(&self, since: Option<u64>) -> Joined {
        // Held over both steps: an event is either in the replay or still to come.
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        let since = since.filter(|since| *since <= recent.head);
        let replay: Vec<Arc<Entry>> = match since {
            Some(since) => recent.entries.iter().filter(|entry| entry.seq > since).cloned().collect(),
            None => Vec::new(),
        };
        let missed = since.map(|since| recent.head - since - replay.len() as u64);
        Joined { head: recent.head, replay, missed, receiver }
    }
}

impl Recent {
    fn keep(&mut self, entry: Arc<Entry>) {
        self.head = entry.seq;
        self.bytes += entry.line.len();
        self.entries.push_back(entry);
        while self.entries.len() > RECENT_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.line.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(seq: u64) -> Event {
        Event { seq, topic: Topic::Status, time: 0, data: json!({"name": "notes"}) }
    }

    #[test]
    fn a_client_that_comes_back_goes_on_from_where_it_was() {
        let feed = Feed::new();
        (1..=5).for_each(|seq| feed.publish(&event(seq)));
        let joined = feed.join(Some(3));
        assert_eq!(joined.replay.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!((joined.head, joined.missed), (5, Some(0)));
        assert_eq!(joined.replay[0].replica, "notes");
    }

    #[test]
    fn what_is_no_longer_kept_is_counted_and_another_life_is_not_mixed_up() {
        let feed = Feed::new();
        (1..=1500).for_each(|seq| feed.publish(&event(seq)));
        let joined = feed.join(Some(100));
        assert_eq!((joined.replay.len(), joined.missed), (RECENT_MAX, Some(400)));
        assert_eq!(feed.join(Some(9999)).missed, None);
        assert_eq!(feed.join(None).missed, None);
    }
}
