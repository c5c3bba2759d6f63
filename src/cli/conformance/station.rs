//! A device as an endpoint sees one: it pulls, remembers what it was told, and pushes.
//!
//! It speaks through the very remote that the agent uses, so what passes here is what the
//! agent relies on. It resolves nothing: what it was told last is what it knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::model::settings::Replica;
use crate::model::{
    Change, Cursor, Fault, Incarnation, Key, Operation, Outcome, RemoteRow, Revision, Seq, Stamp, Table, Value,
};
use crate::remote::{self, Abilities, Ask, Batch, Greeted, Greeting, Remote, RemoteError};

/// Pages of one pull at most.
const PAGES_MAX: usize = 20_000;
/// Rounds of pulling and pushing again after a refusal because rows are newer.
const ROUNDS_MAX: usize = 8;

/// What every station of a test run needs.
#[derive(Clone)]
pub struct Ground {
    pub replica: Replica,
    pub tables: Vec<Table>,
    pub runtime: Handle,
    pub stop: watch::Receiver<bool>,
}

/// A row as it was last told.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub values: BTreeMap<String, Value>,
    pub revision: Revision,
    pub stamp: Stamp,
}

pub struct Station {
    ground: Ground,
    remote: Box<dyn Remote>,
    device: String,
    incarnation: Incarnation,
    greeted: Greeted,
    number: i64,
    head: Revision,
    cursor: Option<Cursor>,
    pub rows: BTreeMap<(String, Key), Known>,
    /// The bytes of the last push, and what was in them.
    pub sent: (Vec<u8>, Vec<(Arc<str>, Key)>),
    /// Pages of the last pull.
    pages: usize,
}

impl Station {
    pub fn new(ground: &Ground) -> Result<Station, RemoteError> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (device, incarnation) = (format!("conformance-{}", &name[..8]), Incarnation(name));
        let (handle, stop) = (&ground.runtime, ground.stop.clone());
        let mut remote = remote::open(&ground.replica, &device, handle, stop)?;
        let greeting = Greeting {
            device: device.clone(),
            incarnation: incarnation.clone(),
            batch: 0,
            tables: ground.tables.clone(),
        };
        let greeted = remote.greet(&greeting)?;
        Ok(Station {
            ground: ground.clone(),
            remote,
            device,
            incarnation,
            greeted,
            number: 0,
            head: Revision::NONE,
            cursor: None,
            rows: BTreeMap::new(),
            sent: (Vec::new(), Vec::new()),
            pages: 0,
        })
    }

    /// All there is, from where the last pull ended; the rows as they came.
    pub fn pull(&mut self) -> Result<Vec<RemoteRow>, RemoteError> {
        let mut came = Vec::new();
        self.pages = 0;
        loop {
            let more = self.page(&mut came)?;
            if !more {
                return Ok(came);
            }
            if self.pages > PAGES_MAX {
                return Err(self.broken("its pages do not come to an end"));
            }
        }
    }

    /// The next page alone; true while there is more.
    pub fn page(&mut self, came: &mut Vec<RemoteRow>) -> Result<bool, RemoteError> {
        let ask = Ask {
            device: self.device.clone(),
            incarnation: self.incarnation.clone(),
            cursor: self.cursor.clone(),
            compares: false,
            rows_max: self.ground.replica.limits.batch_rows_max,
            bytes_max: 1 << 20,
        };
        let page = self.remote.pull(&ask)?;
        self.pages += 1;
        (self.cursor, self.head) = (Some(page.cursor), page.head);
        for row in page.rows {
            let name = (row.table.clone(), row.key.clone());
            match &row.row {
                None => drop(self.rows.remove(&name)),
                Some(values) => {
                    let told = row.columns.iter().cloned().zip(values.iter().cloned());
                    let known = self.rows.entry(name).or_insert_with(|| Known {
                        values: BTreeMap::new(),
                        revision: row.revision,
                        stamp: row.stamp,
                    });
                    known.values.extend(told);
                    (known.revision, known.stamp) = (row.revision, row.stamp);
                }
            }
            came.push(row);
        }
        Ok(page.more)
    }

    /// One push, as the agent makes it.
    pub fn push(&mut self, changes: Vec<Change>) -> Result<Vec<Outcome>, RemoteError> {
        self.number += 1;
        let batch = Batch {
            device: self.device.clone(),
            incarnation: self.incarnation.clone(),
            number: self.number,
            epoch: self.greeted.epoch.clone(),
            seen: self.head,
            cursor: self.cursor.clone(),
            changes,
        };
        let key_names = |name: &str| {
            let table = self.ground.tables.iter().find(|table| table.name == name);
            table.map(|table| table.key.clone()).unwrap_or_default()
        };
        let body = self.remote.encode(&batch, &key_names);
        let changes: Vec<(Arc<str>, Key)> =
            batch.changes.iter().map(|change| (change.table.clone(), change.key.clone())).collect();
        self.sent = (body, changes);
        let outcomes = self.again()?;
        for (change, outcome) in batch.changes.iter().zip(&outcomes) {
            if let Outcome::Applied(revision) = outcome {
                self.note(change, *revision);
            }
        }
        Ok(outcomes)
    }

    /// Sends the bytes of the last push once more.
    pub fn again(&mut self) -> Result<Vec<Outcome>, RemoteError> {
        let answer = self.remote.push(&self.sent.0, &self.sent.1)?;
        match answer.outcomes.len() == self.sent.1.len() {
            true => Ok(answer.outcomes),
            false => Err(self.broken("it does not answer for each change")),
        }
    }

    /// Pulls and pushes, and again where rows were newer; every change must be taken.
    pub fn put(&mut self, changes: impl Fn(&Station) -> Vec<Change>) -> Result<(), RemoteError> {
        for _ in 0..ROUNDS_MAX {
            self.pull()?;
            let made = changes(self);
            if made.is_empty() {
                return Ok(());
            }
            match self.push(made) {
                Err(RemoteError::Behind) => continue,
                Err(other) => return Err(other),
                Ok(outcomes) => return self.all_taken(&outcomes),
            }
        }
        Err(RemoteError::Behind)
    }

    fn all_taken(&self, outcomes: &[Outcome]) -> Result<(), RemoteError> {
        match outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Applied(_))) {
            None => Ok(()),
            Some(Outcome::Refused { text, .. }) => Err(RemoteError::Refused(format!("a row was refused: {text}"))),
            Some(_) => Err(RemoteError::Refused("a row was called a conflict, and nobody else had touched it".into())),
        }
    }

    pub fn abilities(&self) -> Abilities {
        self.remote.abilities()
    }

    pub fn insert(&self, table: &str, key: Key, values: Vec<(String, Value)>) -> Change {
        let (columns, values) = values.into_iter().unzip();
        self.change(table, key, Operation::Insert, columns, values)
    }

    /// Sets columns of a row that this station knows; whole, where the remote wants that.
    pub fn update(&self, table: &str, key: &Key, set: &[(&str, Value)]) -> Change {
        let known = self.rows.get(&(table.to_owned(), key.clone()));
        let mut values: BTreeMap<String, Value> = match known {
            Some(known) if !self.remote.abilities().takes_columns => known.values.clone(),
            _ => BTreeMap::new(),
        };
        values.extend(set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let (columns, values) = values.into_iter().unzip();
        self.change(table, key.clone(), Operation::Update, columns, values)
    }

    pub fn delete(&self, table: &str, key: &Key) -> Change {
        self.change(table, key.clone(), Operation::Delete, Vec::new(), Vec::new())
    }

    fn change(&self, table: &str, key: Key, operation: Operation, columns: Vec<String>, values: Vec<Value>) -> Change {
        let known = self.rows.get(&(table.to_owned(), key.clone()));
        let now = Stamp::from_millis(clock());
        Change {
            table: table.into(),
            operation,
            columns: columns.into(),
            values,
            base_revision: known.map_or(Revision::NONE, |known| known.revision),
            stamp: known.map_or(now, |known| now.after(known.stamp)),
            seq: Seq(1),
            key,
        }
    }

    fn note(&mut self, change: &Change, revision: Revision) {
        let name = (change.table.to_string(), change.key.clone());
        if change.operation == Operation::Delete {
            self.rows.remove(&name);
            return;
        }
        let known =
            self.rows.entry(name).or_insert_with(|| Known { values: BTreeMap::new(), revision, stamp: change.stamp });
        known.values.extend(change.columns.iter().cloned().zip(change.values.iter().cloned()));
        (known.revision, known.stamp) = (revision, change.stamp);
    }

    fn broken(&self, what: &str) -> RemoteError {
        use crate::model::{FaultKind, ReasonCode};
        RemoteError::Fault(Fault::new(
            FaultKind::Protocol,
            ReasonCode::ProtocolError,
            what,
            "the protocol says what an answer holds",
        ))
    }
}

/// Milliseconds since 1970.
fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A refusal in words.
pub fn words(error: &RemoteError) -> String {
    match error {
        RemoteError::Fault(fault) => fault.reason.text.clone(),
        RemoteError::Refused(said) => said.clone(),
        RemoteError::Behind => "it says that rows are newer there, whatever is pulled before".to_owned(),
        RemoteError::TooLarge => "it says that the batch is too large".to_owned(),
        RemoteError::CursorOver => "it says that the place of the last pull is over".to_owned(),
        RemoteError::EpochOver => "it says that it began a new log".to_owned(),
        RemoteError::IncarnationOver => "it says that this device is an older copy of itself".to_owned(),
    }
}
