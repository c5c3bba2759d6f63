//! Homing's own hub, over HTTP: the agent's side of `docs/protocol.md`.
//!
//! Every call is one request with one answer, bounded in time and in bytes, and ends
//! at once when the agent stops. An answer is believed only when it carries the
//! protocol's header and keeps the protocol's rules; whatever else comes back is a
//! fault that changes nothing. This module never tries a request again on its own, but
//! for one case: a token that was refused and could be renewed. It keeps no fact that
//! must survive.
//!
//! While a page is applied the next one is on its way: whoever gets a page that has more
//! after it will ask for just that. So will whoever heard a hint. It is used for that
//! question alone, and not once something was pushed, or the hub was greeted, in between.
//! The runtime's thread reads and understands it, and before it does, asks for the one
//! after (`ahead`).

mod ahead;
mod exchange;
mod live;

use std::sync::{Arc, Mutex};

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use self::ahead::{Ahead, Paged};
use self::exchange::Parcel;
use super::http::{self, Connection, Line, fault};
use super::{
    Abilities, Answer, Ask, Batch, Digest, Greeted, Greeting, Hint, Listening, Marks, Remembered, Remote, RemoteError,
    Result,
};
use crate::model::{Fault, Key, Page, Revision, settings, text};
use crate::protocol::{self, body};

/// The largest answer that is read, after decompression: a page, or a row.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One replica's way to one scope of a hub.
pub struct HomingRemote {
    connection: Arc<Connection>,
    runtime: Handle,
    /// The hub's epoch as this caller last heard it. Another one in an answer means that
    /// the hub began a new log in between.
    epoch: Mutex<Option<String>>,
    /// Everything up to there was pulled, within that epoch.
    pulled: Option<Revision>,
    /// What to ask next, after the last page there was.
    next: Option<protocol::Pull>,
    ahead: Option<Ahead>,
    under_way: Option<UnderWay>,
}

/// A push whose answer nobody has asked for yet.
struct UnderWay {
    body: Vec<u8>,
    answer: JoinHandle<Result<protocol::Pushed>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

impl HomingRemote {
    /// Fails only on what a change of the config alone can mend. Sends nothing.
    ///
    /// The calls block, so they must not be made on a thread of `runtime`; they end with
    /// `FaultKind::Interrupted` once `line` is told to stop.
    pub fn new(
        settings: settings::Remote,
        device: String,
        runtime: Handle,
        line: impl Into<Line>,
    ) -> std::result::Result<HomingRemote, Fault> {
        let scope = settings.scope.clone().unwrap_or_else(|| "@me".to_owned());
        let connection = Connection::new(settings, device, line.into(), &["v1", "scopes", &scope])?;
        Ok(HomingRemote {
            connection: Arc::new(connection),
            runtime,
            epoch: Mutex::new(None),
            ahead: None,
            under_way: None,
            pulled: None,
            next: None,
        })
    }

    fn ask<Question: Serialize, Reply: DeserializeOwned>(&self, place: &str, question: &Question) -> Result<Reply> {
        self.runtime.block_on(exchanged(&self.connection, place, Parcel::of(json(question))))
    }

    fn spawn<Reply: DeserializeOwned + Send + 'static>(
        &self,
        place: &'static str,
        question: Parcel,
    ) -> JoinHandle<Result<Reply>> {
        let connection = self.connection.clone();
        self.runtime.spawn(async move { exchanged(&connection, place, question).await })
    }

    /// The page that was asked for ahead, if it is this one; else it is asked for now.
    fn page(&mut self, question: &protocol::Pull) -> Result<Page> {
        let ahead = self.ahead.take().filter(|ahead| ahead.answers(question));
        let ahead = ahead.unwrap_or_else(|| Ahead::new(&self.runtime, &self.connection, question.clone()));
        let Paged { page, next } = self.runtime.block_on(ahead.page())?;
        self.ahead = next.map(|next| Ahead::of(&self.runtime, &self.connection, next));
        Ok(page)
    }

    fn rubbish(&self, what: &str) -> RemoteError {
        fault::rubbish(self.connection.host(), what).into()
    }

    fn same_epoch(&self, answered: &str) -> Result<()> {
        let epoch = self.epoch.lock().expect("BUG: the epoch's lock is never held across a panic");
        match epoch.as_deref() {
            Some(known) if known != answered => Err(RemoteError::EpochOver),
            _ => Ok(()),
        }
    }
}

impl Remote for HomingRemote {
    fn abilities(&self) -> Abilities {
        Abilities {
            finds_conflicts: true,
            last_wins: false,
            outcome_each: true,
            live: true,
            marks: Marks::Cursor,
            pages: true,
            numbers_versions: true,
            takes_columns: true,
            takes_actions: false,
            takes_everything: false,
        }
    }

    fn greet(&mut self, greeting: &Greeting) -> Result<Greeted> {
        // A new cycle sees the hub as it is now.
        self.ahead = None;
        self.under_way = None;
        let welcome: protocol::Welcome = self.ask(
            "hello",
            &protocol::Hello {
                protocol: protocol::VERSION,
                device: greeting.device.clone(),
                incarnation: greeting.incarnation.clone(),
                batch: greeting.batch,
                tables: greeting.tables.clone(),
            },
        )?;
        let limits = &welcome.limits;
        if welcome.epoch.is_empty() || welcome.head < Revision::NONE || welcome.batch < 0 {
            return Err(self.rubbish("a welcome with an empty epoch or a negative number"));
        }
        if limits.batch_rows_max == 0 || limits.body_bytes_max == 0 || limits.row_bytes_max == 0 {
            return Err(self.rubbish("a welcome with a limit of 0"));
        }
        let epoch = self.epoch.get_mut().expect("BUG: the epoch's lock is never held across a panic");
        if epoch.replace(welcome.epoch.clone()).as_ref() != Some(&welcome.epoch) {
            (self.pulled, self.next) = (None, None);
        }
        Ok(Greeted {
            epoch: welcome.epoch,
            head: welcome.head,
            time: welcome.time,
            role: welcome.role,
            batch: welcome.batch,
            tables: welcome.tables,
            refused: welcome.refused.into_iter().map(|no| (no.table, no.column, no.text)).collect(),
            batch_rows_max: limits.batch_rows_max,
            // A change weighs its values; as JSON, escapes and hexadecimal blobs make
            // it up to about twice that.
            batch_bytes_max: (limits.body_bytes_max / 2).max(1),
            row_bytes_max: limits.row_bytes_max,
        })
    }

    fn encode(&self, batch: &Batch, key_names: &dyn Fn(&str) -> Vec<String>) -> Vec<u8> {
        let push = body::push(
            &batch.device,
            &batch.incarnation,
            batch.number,
            &batch.epoch,
            batch.seen,
            &batch.changes,
            key_names,
        );
        Parcel::of(push).into_bytes()
    }

    fn set_off(&mut self, body: &[u8]) -> bool {
        if self.under_way.as_ref().is_some_and(|under_way| under_way.body == body) {
            return true;
        }
        // A page from before this batch would not have its rows.
        self.ahead = None;
        let answer = self.spawn("push", Parcel::again(body));
        self.under_way = Some(UnderWay { body: body.to_vec(), answer });
        true
    }

    fn push(&mut self, body: &[u8], changes: &[(Arc<str>, Key)]) -> Result<Answer> {
        self.set_off(body);
        let mut under_way = self.under_way.take().expect("BUG: it was just set off");
        let pushed = heard(self.runtime.block_on(&mut under_way.answer))?;
        self.same_epoch(&pushed.epoch)?;
        let (head, time) = (pushed.head, pushed.time);
        if let Some(flaw) = pushed.outcomes.iter().find_map(|outcome| flaw_of(outcome, head)) {
            return Err(self.rubbish(flaw));
        }
        let outcomes = body::outcomes(pushed, changes).map_err(|flaw| self.rubbish(&flaw))?;
        Ok(Answer { outcomes, head, time })
    }

    fn pull(&mut self, ask: &Ask) -> Result<Page> {
        let question = protocol::Pull {
            protocol: protocol::VERSION,
            device: ask.device.clone(),
            incarnation: ask.incarnation.clone(),
            cursor: ask.cursor.as_ref().map(|cursor| cursor.0.clone()),
            rows_max: ask.rows_max,
            bytes_max: ask.bytes_max,
        };
        let page = self.page(&question)?;
        self.same_epoch(&page.epoch)?;
        // Without this, a hub could keep us pulling the same place for ever.
        if page.more && question.cursor.as_deref() == Some(page.cursor.0.as_str()) {
            self.ahead = None;
            return Err(self.rubbish("a page that says there is more and moves nowhere"));
        }
        if !page.more {
            let next = protocol::Pull { cursor: Some(page.cursor.0.clone()), ..question };
            (self.pulled, self.next) = (Some(page.head), Some(next));
        }
        Ok(page)
    }

    fn digest(&mut self, table: &str, columns: &[String], after: Option<&[u8]>, rows_max: usize) -> Result<Digest> {
        let digest: protocol::Digest = self.ask(
            "digest",
            &protocol::DigestRequest {
                protocol: protocol::VERSION,
                table: table.to_owned(),
                columns: columns.to_vec(),
                after: after.map(text::hex),
                rows_max,
            },
        )?;
        decode_digest(digest, after).ok_or_else(|| self.rubbish("a digest out of order or not hexadecimal"))
    }

    fn row(&mut self, table: &str, key: &Key) -> Result<Remembered> {
        let answer: protocol::RowAnswer = self.ask(
            "row",
            &protocol::RowRequest { protocol: protocol::VERSION, table: table.to_owned(), key: key.0.to_vec() },
        )?;
        if answer.row.as_ref().is_some_and(|row| !whole(row)) {
            return Err(self.rubbish("a row that is not as wide as its header"));
        }
        Ok(Remembered {
            row: answer.row.map(|row| (row.revision, row.stamp, row.device, row.columns, row.values)),
            trail: answer
                .audit
                .into_iter()
                .map(|entry| (entry.revision, entry.at, entry.operation, entry.account, entry.device, entry.columns))
                .collect(),
        })
    }

    fn listen(&self, hear: Box<dyn Fn(Hint) + Send + Sync>) -> Option<Listening> {
        Some(http::live::listen(live::HubDoor, self.connection.clone(), &self.runtime, hear))
    }

    fn hurry(&mut self) {
        if let (Some(next), None) = (&self.next, &self.ahead) {
            self.ahead = Some(Ahead::new(&self.runtime, &self.connection, next.clone()));
        }
    }

    fn has_pulled(&self, head: Revision) -> bool {
        self.pulled.is_some_and(|pulled| head <= pulled)
    }

    /// Counts bodies, as they travel.
    fn traffic(&mut self) -> (u64, u64) {
        self.connection.traffic()
    }
}

/// One question and its answer, understood.
async fn exchanged<Reply: DeserializeOwned>(connection: &Connection, place: &str, question: Parcel) -> Result<Reply> {
    understood(connection, &connection.post(place, question, ANSWER_BYTES_MAX).await?)
}

fn understood<Reply: DeserializeOwned>(connection: &Connection, reply: &[u8]) -> Result<Reply> {
    serde_json::from_slice(reply).map_err(|error| match error.is_eof() {
        true => fault::broken_off(connection.host(), reply.len()).into(),
        // The error's own text could quote a row; only its place is safe to print.
        false => {
            let text = format!("unreadable at line {}, column {}", error.line(), error.column());
            fault::rubbish(connection.host(), &text).into()
        }
    })
}

/// What came of a question that was asked from another task; one that broke off is asked
/// again later.
fn heard<Reply>(answered: std::result::Result<Result<Reply>, JoinError>) -> Result<Reply> {
    answered.unwrap_or_else(|_| Err(fault::interrupted().into()))
}

fn json<Message: Serialize>(message: &Message) -> Vec<u8> {
    serde_json::to_vec(message).expect("BUG: a message is always JSON")
}

/// What is wrong with one outcome of a push, before it is believed.
fn flaw_of(outcome: &protocol::WireOutcome, head: Revision) -> Option<&'static str> {
    match outcome {
        protocol::WireOutcome::Applied(revision) if *revision <= Revision::NONE || *revision > head => {
            Some("a change applied at a revision that cannot be")
        }
        protocol::WireOutcome::Conflict(conflict) if conflict.row.as_ref().is_some_and(|row| !whole(row)) => {
            Some("a conflict's row that is not as wide as its header")
        }
        _ => None,
    }
}

fn whole(row: &protocol::WireRow) -> bool {
    row.revision > Revision::NONE && row.values.as_ref().is_none_or(|values| values.len() == row.columns.len())
}

/// `None` when a number is not one, or the keys do not rise from `after`.
fn decode_digest(wire: protocol::Digest, after: Option<&[u8]>) -> Option<Digest> {
    let number = |digits: &str| match digits.len() {
        16 => u64::from_str_radix(digits, 16).ok(),
        _ => None,
    };
    let mut entries: Vec<(Vec<u8>, u64)> = Vec::with_capacity(wire.entries.len());
    for (key, hash) in &wire.entries {
        let key = text::unhex(key)?;
        let before = entries.last().map_or(after.unwrap_or_default(), |(key, _)| key);
        if key.as_slice() <= before {
            return None;
        }
        entries.push((key, number(hash)?));
    }
    if wire.more && entries.is_empty() {
        return None;
    }
    Some(Digest { rows: wire.rows, digest: number(&wire.digest)?, entries, more: wire.more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(entries: &[(&str, &str)], more: bool) -> protocol::Digest {
        protocol::Digest {
            protocol: 1,
            head: Revision(1),
            rows: 2,
            digest: "00000000000000ff".to_owned(),
            entries: entries.iter().map(|(key, hash)| (key.to_string(), hash.to_string())).collect(),
            more,
        }
    }

    #[test]
    fn a_digest_is_believed_only_when_its_keys_rise() {
        let hash = "0000000000000001";
        let good = decode_digest(wire(&[("01", hash), ("02", hash)], true), Some(&[])).unwrap();
        assert_eq!((good.digest, good.entries.len(), good.more), (255, 2, true));
        for (entries, after) in [
            (vec![("02", hash), ("01", hash)], &[][..]),
            (vec![("01", hash), ("01", hash)], &[][..]),
            (vec![("01", hash)], &[1][..]),
            (vec![("0g", hash)], &[][..]),
            (vec![("01", "1")], &[][..]),
        ] {
            assert_eq!(decode_digest(wire(&entries, false), Some(after)), None, "{entries:?} after {after:?}");
        }
    }

    #[test]
    fn a_digest_that_has_more_and_brings_nothing_is_refused() {
        assert_eq!(decode_digest(wire(&[], true), Some(&[1])), None);
    }
}
