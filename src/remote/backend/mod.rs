//! A team's own backend: one remote for all of them, and a small kind for each protocol.
//!
//! A kind turns what is to be asked or told into a question, and an answer into rows and
//! outcomes: pure functions over JSON. All else is here, once: shapes of tables, places,
//! requests, and what a refusal means. Nothing of an answer is taken before all of it was
//! understood; what cannot be understood names its place in the answer and the line of
//! the config. Rows of tables that were not asked for are never handed on.
//!
//! Keeps no fact that must survive: a place is the agent's cursor, a batch its bytes.

mod call;
mod errand;
mod flaw;
mod form;
mod live;
mod names;
mod operations;
mod ordered;
mod place;
mod records;
mod shape;
mod time;
mod watermelon;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::call::Purpose;
use self::flaw::Flaw;
use self::names::{Names, Said, Usual};
use self::place::{Asking, Place};
use self::shape::{Headers, Record, Shape};
use super::http::{self, Connection, fault};
use super::mqtt::{self, Broker};
use super::{
    Abilities, Answer, Ask, Batch, Digest, Greeted, Greeting, Hint, Listening, Remembered, Remote, RemoteError, Result,
};
use crate::model::page::Span;
use crate::model::settings::{Backend, Replica};
use crate::model::{Action, Fault, FaultKind, Key, Operation, Outcome, Page, ReasonCode, RemoteRow, Revision};

/// The largest answer that is read, after decompression.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Pages of one pull at most: a backend that never comes to an end is not followed.
const PAGES_MAX: u32 = 100_000;
/// Pages of one comparison, which is taken at once.
const COMPARED_PAGES_MAX: u32 = 10_000;

/// What a protocol is, beside what all have in common.
trait Kind: Send {
    fn abilities(&self) -> Abilities;

    /// Its fields, with the names they usually have.
    fn usual(&self) -> Usual;

    fn ask(&self, speech: &Speech, asking: &Asking) -> Question;

    fn read(&self, speech: &Speech, answer: &Json, headers: &mut Headers) -> std::result::Result<Heard, Flaw>;

    /// `place`: up to where this replica has pulled.
    fn tell(&self, speech: &Speech, batch: &Batch, place: Option<&Place>) -> Question;

    /// What a good answer to a push says of each change.
    fn outcomes(&self, speech: &Speech, told: &Told, answer: &Json) -> std::result::Result<Vec<Outcome>, Flaw>;

    /// Whether an answer with a good status says that nothing was taken.
    fn refuses(&self, _speech: &Speech, answer: &Json) -> bool {
        answer.get("success") == Some(&Json::Bool(false))
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Question {
    #[serde(skip, default = "post")]
    method: &'static str,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: String,
    gzip: bool,
}

fn post() -> &'static str {
    "POST"
}

/// What a pull brought.
struct Heard {
    rows: Vec<RemoteRow>,
    /// The time that the backend told.
    told: Option<Json>,
    /// The page to go on with, where there is more.
    page: Option<Json>,
    /// Tables that nobody asked for.
    strays: Vec<String>,
}

/// What is known of a batch when its answer comes.
struct Told<'a> {
    changes: &'a [(String, Key)],
    /// The revisions the changes were based on.
    bases: &'a [i64],
    /// What each change was called when it was sent.
    ids: &'a [String],
}

impl Told<'_> {
    /// A revision for a change whose answer names none.
    fn applied(&self, at: usize) -> Revision {
        Revision(self.bases.get(at).map_or(1, |base| base + 1))
    }
}

/// A batch as the store keeps it: the question, and what its answer will need.
#[derive(Serialize, Deserialize)]
struct Parcel {
    question: Question,
    bases: Vec<i64>,
    ids: Vec<String>,
}

/// What every question and answer is spoken in.
struct Speech {
    backend: Backend,
    names: Names,
    device: String,
    /// Of inserts, updates and deletes, by table.
    priorities: BTreeMap<String, [u8; 3]>,
    shapes: Vec<Shape>,
    claims: Option<Json>,
    /// The backend's clock as far as it is known, milliseconds since 1970.
    now: i64,
}

impl Speech {
    fn shape(&self, table: &str) -> Option<&Shape> {
        self.shapes.iter().find(|shape| shape.table.eq_ignore_ascii_case(table))
    }

    fn priority(&self, table: &str, operation: Operation) -> u8 {
        let [insert, update, delete] = self.priorities.get(table).copied().unwrap_or([2; 3]);
        match operation {
            Operation::Insert => insert,
            Operation::Update => update,
            Operation::Delete => delete,
        }
    }

    /// A record with what the token says of its owner.
    fn stamped(&self, mut record: Record) -> Record {
        for (field, claim) in &self.backend.claims {
            if let Some(value) = self.claims.as_ref().and_then(|claims| claims.get(claim)) {
                record.insert(field.clone(), value.clone());
            }
        }
        record
    }

    fn pull_question(&self, path: &str, method: &'static str, said: Said) -> Question {
        let method = match self.backend.pull_method.as_deref() {
            Some("GET") => "GET",
            Some(_) => "POST",
            None => method,
        };
        let said = if method == "GET" { said.all_in_query() } else { said };
        self.question(method, self.backend.pull_path.as_deref().unwrap_or(path), said)
    }

    fn push_question(&self, path: &str, said: Said) -> Question {
        self.question("POST", self.backend.push_path.as_deref().unwrap_or(path), said)
    }

    fn question(&self, method: &'static str, path: &str, said: Said) -> Question {
        Question {
            method,
            path: path.to_owned(),
            query: said.query,
            headers: self.backend.headers.clone().into_iter().collect(),
            body: serde_json::to_string(&said.body).expect("BUG: a question is always JSON"),
            gzip: self.backend.gzip,
        }
    }
}

/// One replica's way to one backend.
pub struct BackendRemote {
    connection: Arc<Connection>,
    runtime: Handle,
    replica: Replica,
    kind: Box<dyn Kind>,
    speech: Speech,
    broker: Option<Arc<Broker>>,
    /// How actions are asked for; `None`: not at all.
    errands: Option<errand::Form>,
    headers: Headers,
    /// What to add to this device's clock to read the backend's, milliseconds.
    offset: i64,
    /// Tables that came without being asked for, and were told of.
    strays: BTreeSet<String>,
}

impl BackendRemote {
    /// Fails only on what a change of the config alone can mend. Sends nothing.
    pub fn new(
        replica: &Replica,
        device: String,
        runtime: Handle,
        stop: watch::Receiver<bool>,
    ) -> std::result::Result<BackendRemote, Fault> {
        let backend = replica.remote.backend.clone();
        let kind: Box<dyn Kind> = match replica.remote.kind.as_str() {
            "pull-push" => Box::new(records::Records::PullPush),
            "delta" => Box::new(records::Records::Delta),
            "operations" => Box::new(operations::Operations),
            _ => Box::new(watermelon::Watermelon),
        };
        let names = Names::new(kind.usual(), &backend.names).map_err(|stray| {
            let known: Vec<&str> = kind.usual().iter().map(|(field, _)| *field).collect();
            wrong(
                &format!("`remote.names` names `{stray}`, which the kind {} does not have", replica.remote.kind),
                &format!("it has {}", known.join(", ")),
            )
        })?;
        let errands = errand::Form::of(&backend).map_err(|stray| {
            wrong(
                &format!("`remote.action_names` names `{stray}`, which an action does not have"),
                "it has action, payload, key, at and device",
            )
        })?;
        check_headers(&backend)?;
        Ok(BackendRemote {
            broker: Broker::of(&replica.remote)?,
            errands,
            connection: Arc::new(Connection::new(replica.remote.clone(), device.clone(), stop, &[])?),
            runtime,
            replica: replica.clone(),
            kind,
            speech: Speech {
                backend,
                names,
                device,
                priorities: BTreeMap::new(),
                shapes: Vec::new(),
                claims: None,
                now: 0,
            },
            headers: Headers::default(),
            offset: 0,
            strays: BTreeSet::new(),
        })
    }

    fn call(&self, question: &Question, purpose: Purpose) -> Result<Json> {
        self.runtime.block_on(self.connection.call(question, purpose, ANSWER_BYTES_MAX))
    }

    /// The next page, and the place after it.
    fn next(&mut self, place: &Place, asking: &Asking) -> Result<(Heard, Place)> {
        let question = self.kind.ask(&self.speech, asking);
        let answer = self.call(&question, Purpose::Pull)?;
        let heard = self.kind.read(&self.speech, &answer, &mut self.headers);
        let heard = heard.map_err(|flaw| self.unreadable(&flaw))?;
        if heard.page.is_some() && heard.page == asking.page {
            return Err(self.rubbish("it says that there is more and leads to the same page again"));
        }
        if place.pages >= PAGES_MAX {
            return Err(self.rubbish("its pages do not come to an end"));
        }
        if let Some(told) = heard.told.as_ref().and_then(shape::millis_in) {
            self.offset = told - clock();
            self.speech.now = told;
        }
        for stray in &heard.strays {
            if self.strays.insert(stray.clone()) {
                tracing::warn!(replica = %self.replica.name, collection = %stray, "the backend sends a collection that no table here stands for; it is ignored");
            }
        }
        let after = place.after(asking, heard.told.as_ref(), heard.page.clone(), self.speech.now);
        Ok((heard, after))
    }

    fn page(&self, rows: Vec<RemoteRow>, place: &Place, compared: bool) -> Page {
        let whole = |shape: &Shape| Span { table: shape.table.clone(), from: None, to: None };
        Page {
            rows,
            epoch: self.epoch(),
            cursor: place.cursor(),
            head: Revision(1),
            more: place.page.is_some(),
            covers: if compared { self.speech.shapes.iter().map(whole).collect() } else { Vec::new() },
            rows_left: None,
        }
    }

    /// One backend for ever: it has no log that could begin anew.
    fn epoch(&self) -> String {
        format!("{} {}", self.replica.remote.kind, self.replica.remote.url)
    }

    fn unreadable(&self, flaw: &Flaw) -> RemoteError {
        let host = self.connection.host();
        let text = format!(
            "the answer of {host} cannot be used: {}; nothing of it was taken, and {}",
            flaw.sentence(),
            fault::KEPT
        );
        let next = match flaw.setting.as_str() {
            "" => "correct the backend, or the config where it says otherwise".to_owned(),
            setting => {
                format!("correct the backend, or `{setting}` under [replica.{}] in the config", self.replica.name)
            }
        };
        Fault::new(FaultKind::Protocol, ReasonCode::ProtocolError, text, next).into()
    }

    fn rubbish(&self, what: &str) -> RemoteError {
        fault::rubbish(self.connection.host(), what).into()
    }

    fn unable(&self, what: &str) -> RemoteError {
        let text = format!("a backend of the kind {} cannot {what}", self.replica.remote.kind);
        let next = "`compare_every` has everything compared now and then";
        Fault::new(FaultKind::Interrupted, ReasonCode::NotAllowed, text, next).into()
    }
}

impl Remote for BackendRemote {
    fn abilities(&self) -> Abilities {
        let live = self.speech.backend.live_path.is_some() || self.broker.is_some();
        Abilities { live, takes_actions: self.errands.is_some(), ..self.kind.abilities() }
    }

    /// Sends nothing: a backend has no word for it.
    fn greet(&mut self, greeting: &Greeting) -> Result<Greeted> {
        let shape = |table| Shape::new(table, &self.replica.rule(&table.name).wire);
        self.speech.shapes = greeting.tables.iter().map(shape).collect();
        let rule = |name: &str| {
            let rule = self.replica.rule(name);
            [Operation::Insert, Operation::Update, Operation::Delete].map(|operation| rule.priority_of(operation).0)
        };
        self.speech.priorities = greeting.tables.iter().map(|table| (table.name.clone(), rule(&table.name))).collect();
        self.speech.now = clock() + self.offset;
        let mut role = String::new();
        let ranks = |name: &str| !self.replica.rule(name).policy.roles.is_empty();
        if greeting.tables.iter().any(|table| ranks(&table.name)) {
            let token = self.runtime.block_on(self.connection.tokens.current())?;
            let claims = token.and_then(|token| token.claims());
            role = claims.and_then(|all| Some(all.get("role")?.as_str()?.to_owned())).unwrap_or_default();
        }
        if !self.speech.backend.claims.is_empty() {
            let token = self.runtime.block_on(self.connection.tokens.current())?;
            self.speech.claims = token.and_then(|token| token.claims());
            let claims = self.speech.claims.as_ref();
            if let Some(lost) =
                self.speech.backend.claims.values().find(|name| claims.and_then(|all| all.get(name)).is_none())
            {
                let text = format!("the token has no claim `{lost}`, which `remote.claims` names; {}", fault::KEPT);
                let next = "use a token (a JWT) that has it, or take it out of `remote.claims`";
                return Err(Fault::new(FaultKind::SignedOut, ReasonCode::AuthMissing, text, next).into());
            }
        }
        Ok(Greeted {
            // Another address is another backend: what this one has counts for nothing there.
            epoch: self.epoch(),
            head: Revision::NONE,
            time: self.speech.now,
            role,
            batch: greeting.batch,
            tables: Vec::new(),
            refused: Vec::new(),
            batch_rows_max: usize::MAX,
            batch_bytes_max: usize::MAX,
            row_bytes_max: usize::MAX,
        })
    }

    fn encode(&self, batch: &Batch, _: &dyn Fn(&str) -> Vec<String>) -> Vec<u8> {
        let place = batch.cursor.as_ref().and_then(Place::of);
        let mut question = self.kind.tell(&self.speech, batch, place.as_ref());
        if let Some(header) = &self.speech.backend.idempotency_header {
            question.headers.push((header.clone(), batch_key(batch)));
        }
        let bases = batch.changes.iter().map(|change| change.base_revision.0).collect();
        let ids = (0..batch.changes.len()).map(|at| operation_key(batch, at)).collect();
        serde_json::to_vec(&Parcel { question, bases, ids }).expect("BUG: a parcel is always JSON")
    }

    fn push(&mut self, body: &[u8], changes: &[(String, Key)]) -> Result<Answer> {
        // A batch of another kind, from before the config changed, is planned anew.
        let Ok(parcel) = serde_json::from_slice::<Parcel>(body) else { return Err(RemoteError::Behind) };
        let answer = self.call(&parcel.question, Purpose::Push)?;
        if self.kind.refuses(&self.speech, &answer) {
            let said = fault::told(reqwest::StatusCode::OK, Some(&answer));
            return Err(RemoteError::Refused(format!("{} refused it: {said}", self.connection.host())));
        }
        let told = Told { changes, bases: &parcel.bases, ids: &parcel.ids };
        let outcomes = self.kind.outcomes(&self.speech, &told, &answer).map_err(|flaw| self.unreadable(&flaw))?;
        let took_some = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Applied(_)));
        if let Some(broker) = self.broker.as_ref().filter(|_| took_some) {
            broker.ring();
        }
        Ok(Answer { outcomes, head: Revision(1), time: clock() + self.offset })
    }

    fn pull(&mut self, ask: &Ask) -> Result<Page> {
        let mut place = ask.cursor.as_ref().and_then(Place::of).unwrap_or_default();
        if !self.kind.abilities().pulls {
            return Ok(self.page(Vec::new(), &place, false));
        }
        let begun = ask.cursor.as_ref().map(|_| &place);
        let mut asking = place::plan(begun, ask.compares, &self.speech.backend, self.speech.now);
        let answered = self.next(&place, &asking);
        let (heard, after) = match answered {
            // It no longer knows what went: whatever it has is compared.
            Err(RemoteError::CursorOver) if asking.since.is_some() => {
                (place, asking) = (Place::default(), Asking { since: None, page: None, compares: true });
                self.next(&place, &asking)?
            }
            Err(RemoteError::CursorOver) => return Err(self.rubbish("it says that the beginning is over")),
            answered => answered?,
        };
        let mut rows = heard.rows;
        place = after;
        if !asking.compares {
            return Ok(self.page(rows, &place, false));
        }
        while let Some(page) = place.page.clone() {
            if place.pages > COMPARED_PAGES_MAX {
                return Err(self.rubbish("its pages do not come to an end"));
            }
            let (heard, after) = self.next(&place, &Asking { page: Some(page), ..asking.clone() })?;
            rows.extend(heard.rows);
            place = after;
        }
        Ok(self.page(rows, &place, true))
    }

    fn act(&mut self, action: &Action) -> Result<String> {
        let errands = self.errands.as_ref().expect("BUG: the abilities say so");
        let question = errands.question(action, &self.speech.device, &self.speech.backend);
        self.runtime.block_on(self.connection.act(&question))
    }

    fn digest(&mut self, _: &str, _: &[String], _: Option<&[u8]>, _: usize) -> Result<Digest> {
        Err(self.unable("be asked for hashes"))
    }

    fn row(&mut self, _: &str, _: &Key) -> Result<Remembered> {
        Err(self.unable("be asked for one row"))
    }

    fn listen(&self, hear: Box<dyn Fn(Hint) + Send + Sync>) -> Option<Listening> {
        let hear: Arc<dyn Fn(Hint) + Send + Sync> = hear.into();
        let again = || {
            let hear = hear.clone();
            Box::new(move |hint| hear(hint))
        };
        let events = self.speech.backend.live_path.as_deref().map(|path| {
            let door = live::BackendDoor(self.speech.question("GET", path, Said::new().all_in_query()));
            http::live::listen(door, self.connection.clone(), &self.runtime, again())
        });
        let broker = self.broker.clone();
        let messages = broker.map(|broker| mqtt::listen(broker, self.connection.clone(), &self.runtime, again()));
        match (events, messages) {
            (None, None) => None,
            both => Some(Listening(Box::new(both))),
        }
    }

    fn traffic(&mut self) -> (u64, u64) {
        self.connection.traffic()
    }
}

/// A UUID for a batch, the same at every retry.
fn batch_key(batch: &Batch) -> String {
    key_of(&format!("{}/{}", batch.incarnation.0, batch.number))
}

/// A UUID for one change of a batch, the same at every retry.
fn operation_key(batch: &Batch, at: usize) -> String {
    key_of(&format!("{}/{}/{at}", batch.incarnation.0, batch.number))
}

fn key_of(name: &str) -> String {
    uuid::Builder::from_custom_bytes(xxhash_rust::xxh3::xxh3_128(name.as_bytes()).to_be_bytes()).into_uuid().to_string()
}

fn check_headers(backend: &Backend) -> std::result::Result<(), Fault> {
    let named = backend.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in named.chain(backend.idempotency_header.as_deref().map(|name| (name, ""))) {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            return Err(wrong(
                &format!("the header `{name}` cannot be sent"),
                "use letters, digits and `-` in its name",
            ));
        }
    }
    Ok(())
}

fn wrong(text: &str, next: &str) -> Fault {
    Fault::new(FaultKind::Protocol, ReasonCode::BadRequest, format!("{text}; {}", fault::KEPT), next)
}

/// This device's clock.
fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
