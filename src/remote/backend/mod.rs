//! A team's own backend: one remote for all of them, and a small kind for each protocol.
//!
//! A kind turns what is to be asked or told into a question, and an answer into rows and
//! outcomes: pure functions over JSON. All else is here, once: shapes of tables, places,
//! requests, and what a refusal means. Nothing of an answer is taken before all of it was
//! understood, nor is it held in memory; what cannot be understood names its place in the answer and the line of
//! the config. Rows of tables that were not asked for are never handed on.
//!
//! Keeps no fact that must survive: a place is the agent's cursor, a batch its bytes.

mod call;
mod errand;
mod fetch;
mod flaw;
mod form;
mod hear;
mod live;
mod names;
mod operations;
mod ordered;
mod place;
mod records;
mod shape;
mod sieve;
mod staged;
mod time;
mod watermelon;
mod whole;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::runtime::Handle;

use self::call::Purpose;
use self::fetch::Handing;
use self::flaw::Flaw;
use self::hear::Listed;
use self::names::{Names, Said, Usual};
use self::place::{Asking, Place};
use self::shape::{Headers, Record, Shape};
use self::sieve::Step;
use self::whole::{Unpacked, Whole};
use super::http::{self, Connection, Line, fault};
use super::mqtt::{self, Broker};
use super::{
    Abilities, Answer, Ask, Batch, Digest, Greeted, Greeting, Hint, Listening, Marks, Remembered, Remote, RemoteError,
    Result, Rows,
};
use crate::model::settings::{Backend, Replica};
use crate::model::{Action, Fault, FaultKind, Key, Operation, Outcome, Page, ReasonCode, Revision, Table};

/// The largest answer to a push that is read, after decompression.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a protocol is, beside what all have in common.
trait Kind: Send {
    fn abilities(&self) -> Abilities;

    /// Its fields, with the names they usually have.
    fn usual(&self) -> Usual;

    fn ask(&self, speech: &Speech, asking: &Asking) -> Question;

    /// What the list at a path of an answer to a pull is; `within`: what its object has
    /// said so far.
    fn list(&self, speech: &Speech, path: &[Step], within: Option<&Record>) -> Listed;

    /// What an answer says beside its records: they left it as they came.
    fn frame(&self, speech: &Speech, answer: &Json) -> std::result::Result<Frame, Flaw>;

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

/// Table (its place among the shapes), place in the answer, records.
type Rest = (usize, String, Vec<Json>);

/// What a pull brought beside rows.
#[derive(Debug, Default)]
struct Frame {
    /// The time that the backend told.
    told: Option<Json>,
    /// The page to go on with, where there is more.
    page: Option<Json>,
    /// The answer is everything there is, whatever was asked for.
    replaces: bool,
    /// Records that came before it was said whose they are.
    rest: Vec<Rest>,
}

/// What is known of a batch when its answer comes.
struct Told<'a> {
    changes: &'a [(Arc<str>, Key)],
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
    /// When it was made, by the backend's clock.
    #[serde(default)]
    at: i64,
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

    /// The place among the shapes of the table that a collection stands for.
    fn place(&self, collection: &str) -> Option<usize> {
        self.shapes.iter().position(|shape| shape.collection == collection)
    }

    /// Whether a record says that it is somebody else's, where the config says whose
    /// records are to be.
    fn is_others(&self, record: &Json) -> bool {
        !self.backend.takes_others
            && self.backend.claims.iter().any(|(field, claim)| {
                let theirs = record.get(field).filter(|theirs| !theirs.is_null());
                let ours = self.claims.as_ref().and_then(|claims| claims.get(claim));
                matches!((theirs, ours), (Some(theirs), Some(ours)) if plain_text(theirs) != plain_text(ours))
            })
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
    /// What a person should know of this backend, and that stops nothing.
    notes: BTreeMap<&'static str, String>,
    /// Of the shapes: parents lower.
    ranks: Vec<usize>,
    handing: Option<Handing>,
    /// The whole set, ready to be sent.
    packed: Option<Whole>,
    /// How many pages are gathered next.
    stride: usize,
    /// Answers that were handed on in parts so far.
    handings: u64,
    /// The pages that this pull has asked for, by hash.
    visited: HashSet<u64>,
}

impl BackendRemote {
    /// Fails only on what a change of the config alone can mend. Sends nothing.
    pub fn new(
        replica: &Replica,
        device: String,
        runtime: Handle,
        line: Line,
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
            connection: Arc::new(Connection::new(replica.remote.clone(), device.clone(), line, &[])?),
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
            notes: whole_note(replica),
            ranks: Vec::new(),
            handing: None,
            packed: None,
            stride: 1,
            handings: 0,
            visited: HashSet::new(),
        })
    }

    /// A batch whose key the backend no longer knows would be a new one there: what became
    /// of it is read first.
    fn is_forgotten(&self, parcel: &Parcel) -> bool {
        let kept = self.speech.backend.keys_kept;
        self.pulls() && kept.is_some_and(|kept| self.speech.now - parcel.at > kept)
    }

    fn pulls(&self) -> bool {
        self.abilities().pulls()
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
        let (backend, kind) = (&self.speech.backend, self.kind.abilities());
        // One that takes everything at once may have nothing to pull from.
        let mute = backend.whole_set && backend.pull_path.is_none();
        Abilities {
            live: backend.live_path.is_some() || self.broker.is_some(),
            marks: if mute { Marks::Nothing } else { kind.marks },
            takes_actions: self.errands.is_some(),
            takes_everything: backend.whole_set,
            ..kind
        }
    }

    /// Sends nothing: a backend has no word for it.
    fn greet(&mut self, greeting: &Greeting) -> Result<Greeted> {
        let shape = |table| Shape::new(table, &self.replica.rule(&table.name).wire);
        let shapes: Vec<Shape> = greeting.tables.iter().map(shape).collect();
        self.ranks = ranks(&greeting.tables, &self.replica);
        self.speech.shapes = shapes;
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
        let mut question = match self.speech.backend.whole_set {
            true => self.speech.push_question("sync", Said::new()),
            false => self.kind.tell(&self.speech, batch, place.as_ref()),
        };
        if let Some(header) = &self.speech.backend.idempotency_header {
            question.headers.push((header.clone(), batch_key(batch)));
        }
        let bases = batch.changes.iter().map(|change| change.base_revision.0).collect();
        let ids = (0..batch.changes.len()).map(|at| operation_key(batch, at)).collect();
        serde_json::to_vec(&Parcel { question, bases, ids, at: self.speech.now }).expect("BUG: a parcel is always JSON")
    }

    fn push(&mut self, body: &[u8], changes: &[(Arc<str>, Key)]) -> Result<Answer> {
        // A batch of another kind, from before the config changed, is planned anew.
        let Ok(parcel) = serde_json::from_slice::<Parcel>(body) else { return Err(RemoteError::Behind) };
        if self.is_forgotten(&parcel) {
            return Err(RemoteError::Behind);
        }
        let whole = self.packed.take();
        let answer = self.runtime.block_on(self.connection.call(
            &parcel.question,
            whole.as_ref(),
            Purpose::Push,
            ANSWER_BYTES_MAX,
        ))?;
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

    fn pack(&mut self, rows: &mut Rows) -> Result<()> {
        self.packed = match whole::pack(&self.speech, rows) {
            Ok(whole) => Some(whole),
            Err(Unpacked::Rows(fault)) => return Err(fault.into()),
            Err(Unpacked::Disk(error)) => return Err(no_room(&error).into()),
        };
        Ok(())
    }

    fn pull(&mut self, ask: &Ask) -> Result<Page> {
        self.fetch(ask)
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

    fn notes(&self) -> Vec<String> {
        self.notes.values().cloned().collect()
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

/// Parents lower than their children, by their keys and by the config; those in a circle
/// as they come.
fn ranks(tables: &[Table], replica: &Replica) -> Vec<usize> {
    let place = |name: &String| tables.iter().position(|table| table.name.eq_ignore_ascii_case(name));
    let before = |table: &Table| -> Vec<usize> {
        let parents = table.foreign_keys.iter().map(|foreign| &foreign.parent);
        parents.chain(&replica.rule(&table.name).after).filter_map(place).collect()
    };
    let before: Vec<Vec<usize>> = tables.iter().map(before).collect();
    let mut ranks = vec![0; tables.len()];
    // A chain has no more links than there are tables.
    for _ in 0..tables.len() {
        for at in 0..tables.len() {
            let above = before[at].iter().filter(|parent| **parent != at).map(|parent| ranks[*parent] + 1).max();
            ranks[at] = above.unwrap_or(0).min(tables.len());
        }
    }
    ranks
}

/// What such a backend cannot promise.
fn whole_note(replica: &Replica) -> BTreeMap<&'static str, String> {
    let backend = &replica.remote.backend;
    let comes = match backend.pull_path {
        Some(_) => "",
        None => ", and nothing of what others wrote comes here",
    };
    let note = format!(
        "this backend takes the whole set at once: the last device to send overwrites what the others sent, unseen{comes}"
    );
    backend.whole_set.then_some(("whole", note)).into_iter().collect()
}

/// A scalar as text: an owner may be 7 there and "7" in the token.
fn plain_text(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

fn no_room(error: &std::io::Error) -> Fault {
    let text = format!("the answer could not be kept while it was read: {error}; nothing of it was taken");
    let next = "make room where temporary files lie, or name another folder in TMPDIR";
    Fault::new(FaultKind::DiskFull, ReasonCode::DiskFull, text, next)
}

fn wrong(text: &str, next: &str) -> Fault {
    Fault::new(FaultKind::Protocol, ReasonCode::BadRequest, format!("{text}; {}", fault::KEPT), next)
}

/// This device's clock.
fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
