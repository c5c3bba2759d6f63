//! A replica's own book-keeping, inside the app's database file.
//!
//! The truth about what is unsent is a comparison: a row of the app's table against its
//! base, the row as last equal on both sides. The log that the triggers fill says where
//! to look; losing an entry of it loses no write, since the audit compares everything.
//! Rows, bases, conflicts and the checkpoint move in one transaction.
//!
//! A `Store` is open for one cycle and then closed: no connection to the app's file
//! while idle. It never talks to a network, never decides about conflicts (a `Judge`
//! does), and never keeps the app's write lock longer than a slice.

pub mod actions;
pub mod apply;
pub mod arrive;
pub mod aside;
pub mod attach;
pub mod audit;
pub mod base;
pub mod collide;
pub mod decide;
pub mod detach;
pub mod error;
pub mod fit;
pub mod flight;
pub mod health;
pub mod inspect;
pub mod kept;
pub mod layout;
pub mod ledger;
pub mod look;
pub mod meta;
pub mod open;
pub mod outbox;
pub mod parked;
pub mod peek;
pub mod put;
pub mod ready;
pub mod receive;
pub mod refer;
pub mod report;
pub mod row;
pub mod settle;
pub mod stage;
pub mod table;
pub mod take;
pub mod thin;
pub mod units;
pub mod untangle;

use std::cell::Cell;
use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior};

use crate::model::conflict::{Meeting, Resolution};
use crate::model::settings::Replica;
use crate::model::{Fault, Stamp, Table};

pub use flight::Doubts;
pub use outbox::Outbox;
pub use table::Synced;

pub type Result<T> = std::result::Result<T, Fault>;

/// Decides conflicts. The agent gives the engine's resolver.
pub trait Judge {
    fn judge(&self, meeting: &Meeting) -> Resolution;
    /// A table's place in the order of dependencies: parents lower.
    fn rank(&self, table: &str) -> usize;
}

/// Time, as the caller sees it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since 1970 on this device's clock.
    pub millis: i64,
    /// What to add to this device's clock to read the remote's.
    pub offset: i64,
}

impl Now {
    /// A moment of this device's clock as a stamp on the remote's. What was noted under a
    /// clock that ran ahead, and has been set back since, counts as of now.
    pub fn stamp(&self, local_millis: i64) -> Stamp {
        Stamp::from_millis(local_millis.min(self.millis).saturating_add(self.offset))
    }
}

/// How much of a page one transaction may take.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pub rows_max: usize,
    /// End the transaction when it has lasted this long. `None` in simulations, where
    /// only counted things are repeatable.
    pub time_max: Option<std::time::Duration>,
}

/// What the store must know of the remote's kind. The default is Homing's own hub.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The remote says again what it said before, and its versions of a row are told
    /// apart by their content, not by their revisions.
    pub by_content: bool,
    /// An update travels as the whole row.
    pub whole_rows: bool,
}

/// One replica's open file.
pub struct Store {
    pub(crate) db: Connection,
    /// Where the file was when it was opened; see `File`.
    pub(crate) place: Option<kept::Place>,
    pub(crate) replica: Replica,
    /// The tables that sync, as attached.
    pub(crate) tables: BTreeMap<i64, Synced>,
    /// Which epoch of the remote the stored revisions belong to, counted from 1.
    pub(crate) era: i64,
    pub(crate) outbox: Outbox,
    /// This device's name, for the ledger and for ties.
    pub(crate) device: String,
    pub terms: Terms,
    pub(crate) doubts: Doubts,
    /// What `tables` were read from.
    pub(crate) reading: attach::Reading,
}

impl Store {
    pub fn tables(&self) -> impl Iterator<Item = &Synced> {
        self.tables.values()
    }

    /// Whether some table refers to another, or to itself.
    pub fn has_links(&self) -> bool {
        self.tables().any(|synced| !synced.table.foreign_keys.is_empty())
    }

    /// The synced tables as the remote is told of them.
    pub fn schema(&self) -> Vec<Table> {
        self.tables.values().map(|synced| synced.table.clone()).collect()
    }

    pub fn find(&self, name: &str) -> Option<&Synced> {
        self.tables.values().find(|synced| synced.table.name.eq_ignore_ascii_case(name))
    }

    /// A number that moves when another connection commits to the file.
    pub fn data_version(&self) -> Result<i64> {
        Ok(self.db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
    }

    /// Runs `work` in one transaction that holds the write lock from its start.
    pub(crate) fn write<T>(&mut self, work: impl FnOnce(&mut Writer) -> Result<T>) -> Result<T> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = Writer {
            db: &transaction,
            tables: &self.tables,
            era: self.era,
            outbox: &mut self.outbox,
            device: &self.device,
            replica: &self.replica,
            terms: self.terms,
            doubts: &self.doubts,
            waiting: Waiting::default(),
        };
        let done = work(&mut writer)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// What a write transaction works with.
pub(crate) struct Writer<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) tables: &'a BTreeMap<i64, Synced>,
    pub(crate) era: i64,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) device: &'a str,
    pub(crate) replica: &'a Replica,
    pub(crate) terms: Terms,
    pub(crate) doubts: &'a Doubts,
    pub(crate) waiting: Waiting,
}

/// Whether there may be rows aside, and parked ones. Asked once a transaction: most rows
/// of a batch or a page have nothing there, and need not each look.
#[derive(Default)]
pub(crate) struct Waiting {
    aside: Cell<Option<bool>>,
    parked: Cell<Option<bool>>,
}

impl Waiting {
    /// A row is put there.
    pub(crate) fn aside(&self) {
        self.aside.set(Some(true));
    }

    pub(crate) fn parked(&self) {
        self.parked.set(Some(true));
    }
}

impl Writer<'_> {
    pub(crate) fn some_aside(&self) -> Result<bool> {
        known(&self.waiting.aside, self.db, "SELECT EXISTS(SELECT 1 FROM _homing_aside)")
    }

    pub(crate) fn some_parked(&self) -> Result<bool> {
        known(&self.waiting.parked, self.db, "SELECT EXISTS(SELECT 1 FROM _homing_parked)")
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Synced> {
        self.tables.values().find(|synced| synced.table.name.eq_ignore_ascii_case(name))
    }
}

fn known(memory: &Cell<Option<bool>>, db: &Connection, sql: &str) -> Result<bool> {
    if memory.get().is_none() {
        memory.set(Some(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?));
    }
    Ok(memory.get() == Some(true))
}
