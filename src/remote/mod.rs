//! The far end, behind one small trait; a file per kind of backend.
//!
//! A `Remote` is called from the replica's own thread and blocks it. It keeps nothing
//! that matters: every fact that must survive is in the store or at the far end. It
//! never decides when to try again, and it never follows a redirect.

mod backend;
pub mod homing;
mod http;
mod mqtt;

pub use http::Line;

use std::sync::Arc;

use crate::model::settings::Replica;
use crate::model::{Action, Change, Cursor, Fault, Incarnation, Key, Outcome, Page, Revision, Row, Stamp, Table};

/// What a kind of backend can do. The planner reads it; nobody asks for the kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Abilities {
    /// The remote finds conflicts when it is pushed to; else the agent does, by pulling.
    pub finds_conflicts: bool,
    /// Takes what was written last by its writer's clock, whatever it was based on.
    pub last_wins: bool,
    /// An outcome for each change; else one for the whole batch.
    pub outcome_each: bool,
    /// Tells at once that there is more to pull.
    pub live: bool,
    /// How far a replica has pulled.
    pub marks: Marks,
    /// A pull may come in pages.
    pub pages: bool,
    /// Numbers a row's versions, and says each once; else versions are told apart by
    /// their content.
    pub numbers_versions: bool,
    /// Takes an update as the columns that changed; else as the whole row.
    pub takes_columns: bool,
    /// Takes actions beside rows.
    pub takes_actions: bool,
    /// Takes every row of every table at once, and nothing less.
    pub takes_everything: bool,
}

impl Abilities {
    /// There is something to pull.
    pub fn pulls(&self) -> bool {
        self.marks != Marks::Nothing
    }

    /// Recognises who asks by the batch's number and the cursor's epoch, and refuses what
    /// does not fit: it need not be greeted before each question.
    pub fn recognises(&self) -> bool {
        self.numbers_versions && self.marks == Marks::Cursor
    }
}

/// What a replica remembers of its last pull, to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// A place in the remote's own order, which nothing can slip behind.
    Cursor,
    /// A time the remote told: what was committed late, or at the same time, can be missed.
    Time,
    /// There is nothing to pull.
    Nothing,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq)]
pub struct Greeting {
    pub device: String,
    pub incarnation: Incarnation,
    /// The last batch that was answered; 0 for none.
    pub batch: i64,
    pub tables: Vec<Table>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Greeted {
    pub epoch: String,
    pub head: Revision,
    /// The remote's clock, milliseconds since 1970.
    pub time: i64,
    /// What the remote knows its caller as; empty where it knows no roles.
    pub role: String,
    /// The last batch the remote took from this incarnation; 0 for none.
    pub batch: i64,
    /// The remote's tables.
    pub tables: Vec<Table>,
    /// What it would not take: (table, column or empty, why).
    pub refused: Vec<(String, String, String)>,
    pub batch_rows_max: usize,
    pub batch_bytes_max: usize,
    pub row_bytes_max: usize,
}

/// One batch to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub device: String,
    pub incarnation: Incarnation,
    pub number: i64,
    pub epoch: String,
    /// The remote's revision up to which this replica knew everything.
    pub seen: Revision,
    /// The place up to which this replica has pulled.
    pub cursor: Option<Cursor>,
    pub changes: Vec<Change>,
}

/// A remote's answer to a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub outcomes: Vec<Outcome>,
    pub head: Revision,
    pub time: i64,
}

/// What a pull asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub device: String,
    pub incarnation: Incarnation,
    /// `None`: from nothing.
    pub cursor: Option<Cursor>,
    /// From nothing, though rows here are known to have been there: the answer must say
    /// which of them are gone.
    pub compares: bool,
    pub rows_max: usize,
    pub bytes_max: usize,
}

/// Revision, stamp, device, columns, values (`None` for a tombstone).
pub type RememberedRow = (Revision, Stamp, String, Vec<String>, Option<Row>);

/// Revision, milliseconds since 1970, what was done, by which account, on which
/// device, which columns.
pub type Trace = (Revision, i64, String, String, String, Vec<String>);

/// One row as the remote has it, with its trail, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    pub row: Option<RememberedRow>,
    pub trail: Vec<Trace>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    pub rows: u64,
    /// XOR of the row hashes.
    pub digest: u64,
    /// Encoded key and row hash, in `Key::encode` order, when asked row by row.
    pub entries: Vec<(Vec<u8>, u64)>,
    pub more: bool,
}

/// Why a call did not do what it was for.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteError {
    /// Trouble on the way or at the far end: nothing is known to have changed.
    Fault(Fault),
    /// The remote has seen later batches of this incarnation: this file is an older copy.
    IncarnationOver,
    /// The remote began a new log: cursors and revisions mean nothing now.
    EpochOver,
    /// The cursor is older than the remote's tombstones: start again by snapshot.
    CursorOver,
    /// The batch is larger than the remote takes.
    TooLarge,
    /// Rows of the batch moved on at the remote, which refused it whole: pull first.
    Behind,
    /// The remote took nothing of the batch, and does not say for which row; what it said.
    Refused(String),
}

impl From<Fault> for RemoteError {
    fn from(fault: Fault) -> RemoteError {
        RemoteError::Fault(fault)
    }
}

/// Tells every row of a table as it is here, as an insert of all its columns.
pub type Rows<'a> = dyn FnMut(&str, &mut dyn FnMut(&Change)) -> std::result::Result<(), Fault> + 'a;

pub type Result<T> = std::result::Result<T, RemoteError>;

/// Stops a listener when dropped.
pub struct Listening(pub Box<dyn std::any::Any + Send>);

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The channel is open: the remote can be reached.
    Open,
    /// There is more to pull; up to which of the remote's revisions, where that is said.
    More(Option<Revision>),
    /// The channel broke; it is being opened again.
    Lost,
    /// It cannot be opened, or broke, for a reason that a person should know.
    Away(String),
}

/// The remote that a replica's settings name. Sends nothing yet; its calls end when `line` is cut.
pub fn open(
    replica: &Replica,
    device: &str,
    runtime: &tokio::runtime::Handle,
    line: impl Into<Line>,
) -> std::result::Result<Box<dyn Remote>, Fault> {
    Ok(match replica.remote.kind.as_str() {
        "homing" => {
            Box::new(homing::HomingRemote::new(replica.remote.clone(), device.to_owned(), runtime.clone(), line)?)
        }
        _ => Box::new(backend::BackendRemote::new(replica, device.to_owned(), runtime.clone(), line.into())?),
    })
}

/// One call of the far end each. Every call has a deadline.
pub trait Remote: Send {
    fn abilities(&self) -> Abilities;

    fn greet(&mut self, greeting: &Greeting) -> Result<Greeted>;

    /// The bytes a batch travels as: kept by the store until the answer is in, and
    /// sent again unchanged when it was lost.
    fn encode(&self, batch: &Batch, key_names: &dyn Fn(&str) -> Vec<String>) -> Vec<u8>;

    /// Sets a push off, for whoever has something else to do before its answer: `push`
    /// with the same body then waits for that. One that is on its way is not sent again.
    /// False where it cannot.
    fn set_off(&mut self, _body: &[u8]) -> bool {
        false
    }

    /// Sends what `encode` made. `changes`: table and key of each change within.
    fn push(&mut self, body: &[u8], changes: &[(Arc<str>, Key)]) -> Result<Answer>;

    /// Makes the body of the next push, where it is the whole set: before every push, and
    /// without a word to the far end.
    fn pack(&mut self, _rows: &mut Rows) -> Result<()> {
        Ok(())
    }

    fn pull(&mut self, ask: &Ask) -> Result<Page>;

    /// Asks for an action; what the remote answered, as text. Twice under one key is once.
    /// Called where the abilities say so.
    fn act(&mut self, _action: &Action) -> Result<String> {
        unreachable!("BUG: this remote takes no actions")
    }

    /// Hashes of one table over `columns`; row by row after the encoded key `after`.
    fn digest(&mut self, table: &str, columns: &[String], after: Option<&[u8]>, rows_max: usize) -> Result<Digest>;

    fn row(&mut self, table: &str, key: &Key) -> Result<Remembered>;

    /// What a person should know of this remote, and that stops nothing.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Opens the live channel, where there is one, and calls `hear` from another thread
    /// until the answer is dropped.
    fn listen(&self, hear: Box<dyn Fn(Hint) + Send + Sync>) -> Option<Listening>;

    /// A hint began a cycle, and nothing is unsent: what it will ask for can be on its way
    /// while the file is opened.
    fn hurry(&mut self) {}

    /// Whether all there was at the remote up to this revision has been pulled: a hint that
    /// says so, of one's own push for one, is no news.
    fn has_pulled(&self, _head: Revision) -> bool {
        false
    }

    /// Bytes sent and received since the last call of this method.
    fn traffic(&mut self) -> (u64, u64);
}
