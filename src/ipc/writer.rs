//! The writing half of one connection: answers, and events for a subscriber.
//!
//! What waits to be written is bounded: answers by the requests in flight, events by
//! count and bytes. While a reader is slow, status and progress keep only their newest;
//! when that is not enough, events are dropped and counted, and it is told so
//! (`lagged`). A line that cannot be written within `write_timeout` ends the connection.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, timeout_at};

use super::envelope;
use super::feed::Entry;
use super::http;
use super::server::Limits;
use super::service::Topic;

pub enum Outgoing {
    Line(Bytes),
    /// From here on this connection gets events; a second one replaces the first.
    Subscribe {
        answer: Bytes,
        subscription: Subscription,
    },
}

pub struct Subscription {
    pub topics: Vec<Topic>,
    pub replay: Vec<Arc<Entry>>,
    pub receiver: broadcast::Receiver<Arc<Entry>>,
    /// The newest event the subscriber was told of, or passed over.
    pub head: u64,
    /// Each event as a server-sent one, for a subscriber that came by HTTP.
    pub framed: bool,
}

/// Writes until `outgoing` is closed and everything is out.
pub async fn run<W: AsyncWrite + Unpin>(
    to: W,
    mut outgoing: mpsc::Receiver<Outgoing>,
    limits: &Limits,
) -> io::Result<()> {
    let mut writer = Writer { to, line: None, limits };
    let mut backlog = Backlog::new(limits);
    let mut subscription: Option<Subscription> = None;
    let mut open = true;
    loop {
        if writer.line.is_none() && outgoing.is_empty() {
            let framed = subscription.as_ref().is_some_and(|subscription| subscription.framed);
            let line = backlog.pop();
            writer.begin(if framed { line.map(|line| http::framed(&line)) } else { line });
        }
        let busy = writer.line.is_some();
        if !open && !busy {
            return Ok(());
        }
        // Not biased: neither a flood of events nor one of requests starves the other.
        tokio::select! {
            result = writer.progress(), if busy => result?,
            next = outgoing.recv(), if open && !busy => match next {
                Some(Outgoing::Line(line)) => writer.begin(Some(line)),
                Some(Outgoing::Subscribe { answer, subscription: mut new }) => {
                    writer.begin(Some(answer));
                    backlog = Backlog::new(limits);
                    new.replay.drain(..).filter(|entry| new.topics.contains(&entry.topic)).for_each(|entry| backlog.push(entry));
                    subscription = Some(new);
                }
                None => open = false,
            },
            event = next_event(&mut subscription) => match event {
                Some(Heard { gap, entry }) => {
                    backlog.missed += gap;
                    entry.into_iter().for_each(|entry| backlog.push(entry));
                }
                None => subscription = None,
            },
        }
    }
}

struct Heard {
    /// Events that went by unseen before this one.
    gap: u64,
    /// `None` for a topic this subscriber did not ask for.
    entry: Option<Arc<Entry>>,
}

/// Waits for ever without a subscription; `None` when there will be no more events.
async fn next_event(subscription: &mut Option<Subscription>) -> Option<Heard> {
    let Some(subscription) = subscription else { return std::future::pending().await };
    loop {
        match subscription.receiver.recv().await {
            Ok(entry) => {
                let gap = entry.seq.saturating_sub(subscription.head + 1);
                subscription.head = entry.seq;
                let wanted = subscription.topics.contains(&entry.topic);
                return Some(Heard { gap, entry: wanted.then_some(entry) });
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {} // the gap shows in `seq`
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

struct Writer<'a, W> {
    to: W,
    /// What is being written, what is left of it, and when it must be out.
    line: Option<(Bytes, Instant)>,
    limits: &'a Limits,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    fn begin(&mut self, line: Option<Bytes>) {
        self.line = line.map(|line| (line, Instant::now() + self.limits.write_timeout));
    }

    /// One write; may be dropped and called again.
    async fn progress(&mut self) -> io::Result<()> {
        let Some((line, deadline)) = &mut self.line else { return Ok(()) };
        let written = timeout_at(*deadline, self.to.write(line)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let _ = line.split_to(written);
        if line.is_empty() {
            self.line = None;
        }
        Ok(())
    }
}

/// Events that wait for a slow reader.
struct Backlog {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    missed: u64,
    events_max: usize,
    bytes_max: usize,
}

impl Backlog {
    fn new(limits: &Limits) -> Backlog {
        Backlog {
            entries: VecDeque::new(),
            bytes: 0,
            missed: 0,
            events_max: limits.backlog_events_max,
            bytes_max: limits.backlog_bytes_max,
        }
    }

    fn push(&mut self, entry: Arc<Entry>) {
        if entry.topic.coalesces() {
            let same = |old: &Arc<Entry>| old.topic == entry.topic && old.replica == entry.replica;
            if let Some(at) = self.entries.iter().position(same)
                && let Some(old) = self.entries.remove(at)
            {
                self.bytes -= old.line.len();
            }
        }
        // Once something was dropped the reader must hear of it first, in its place.
        if self.missed > 0 || self.entries.len() >= self.events_max || self.bytes + entry.line.len() > self.bytes_max {
            self.missed += 1;
            return;
        }
        self.bytes += entry.line.len();
        self.entries.push_back(entry);
    }

    fn pop(&mut self) -> Option<Bytes> {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.line.len();
            return Some(entry.line.clone());
        }
        let missed = std::mem::take(&mut self.missed);
        (missed > 0).then(|| envelope::notification("lagged", &json!({ "missed": missed })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, topic: Topic, replica: &str) -> Arc<Entry> {
        Arc::new(Entry { seq, topic, replica: replica.into(), line: Bytes::from(format!("{seq}\n")) })
    }

    fn drain(backlog: &mut Backlog) -> String {
        std::iter::from_fn(|| backlog.pop()).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_slow_reader_gets_the_newest_status_of_each_replica() {
        let mut backlog = Backlog::new(&Limits::default());
        backlog.push(entry(1, Topic::Status, "a"));
        backlog.push(entry(2, Topic::Cycle, "a"));
        backlog.push(entry(3, Topic::Status, "b"));
        backlog.push(entry(4, Topic::Status, "a"));
        assert_eq!(drain(&mut backlog), "2\n3\n4\n");
        assert_eq!(backlog.bytes, 0);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_before_anything_newer() {
        let mut backlog = Backlog::new(&Limits { backlog_events_max: 2, ..Limits::default() });
        (1..=5).for_each(|seq| backlog.push(entry(seq, Topic::Cycle, "a")));
        let first = backlog.pop().unwrap();
        backlog.push(entry(6, Topic::Cycle, "a"));
        assert_eq!(&first[..], b"1\n");
        let rest = drain(&mut backlog);
        assert!(rest.starts_with("2\n") && rest.contains(r#""missed":4"#), "{rest}");
        backlog.push(entry(7, Topic::Cycle, "a"));
        assert_eq!(drain(&mut backlog), "7\n");
    }

    #[test]
    fn large_events_are_bounded_in_bytes_too() {
        let mut backlog = Backlog::new(&Limits { backlog_bytes_max: 5, ..Limits::default() });
        (1..=9).for_each(|seq| backlog.push(entry(seq, Topic::Changed, "a")));
        assert_eq!(backlog.entries.len(), 2);
        assert_eq!(backlog.missed, 7);
    }
}
