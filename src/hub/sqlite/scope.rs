//! `Scope`: one open file, and the store's calls on it.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::schema::{Schema, Shape};
use super::writing::Writing;
use super::{device, digest, hello, layout, look, outside, prune, pull, push, tables, watermelon};
use crate::hub::error::Result;
use crate::hub::settings::Settings;
use crate::hub::store::{Store, Who};
use crate::hub::watermelon::{Asked, Sent};
use crate::model::Revision;
use crate::protocol::{Digest, DigestRequest, Hello, Pull, Pulled, RowAnswer, RowRequest, ScopeStatus, Welcome};

/// The WAL is folded, when nobody waits, after so many changes.
const FOLD_ROWS: i64 = 5_000;

/// What a scope needs to be opened, beside its path.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub settings: Settings,
    /// The name of the epoch that begins if one must: a new file, or a restored one.
    /// Never used before.
    pub epoch: String,
    /// How far this scope had come, as noted outside its file.
    pub high_water: Option<HighWater>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HighWater {
    pub epoch: String,
    pub head: Revision,
}

pub struct Scope {
    pub(super) db: Connection,
    pub(super) settings: Settings,
    pub(super) schema: Arc<Schema>,
    /// When each device was last here, for those not written down yet.
    pub(super) seen: HashMap<i64, i64>,
    pub(super) epoch: String,
    /// The name of the next epoch, if one must begin while the file is open.
    spare_epoch: Option<String>,
    pub(super) head: Revision,
    data_version: i64,
    /// Revisions since the WAL was last folded into the file.
    folded_at: Revision,
}

impl Scope {
    /// Opens or makes the file. A copy of a scope (`hub backup`), or one that is behind
    /// its high-water mark, begins a new epoch: its log is not the one devices know.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Scope> {
        let db = Connection::open(path)?;
        configure(&db)?;
        let tx = Transaction::new_unchecked(&db, TransactionBehavior::Immediate)?;
        layout::ready(&tx, &options.epoch)?;
        let (epoch, head) = (layout::text(&tx, "epoch")?, layout::number(&tx, "head")?);
        let behind = options.high_water.is_some_and(|mark| mark.epoch != epoch || mark.head.0 > head);
        if behind || layout::number(&tx, "copied")? != 0 {
            layout::set(&tx, "epoch", &options.epoch)?;
            layout::set(&tx, "copied", 0)?;
        }
        let epoch = layout::text(&tx, "epoch")?;
        let spare_epoch = (epoch != options.epoch).then_some(options.epoch);
        tx.commit()?;
        Ok(Scope {
            db,
            settings: options.settings,
            schema: Arc::default(),
            seen: HashMap::new(),
            epoch,
            spare_epoch,
            head: Revision(head),
            data_version: -1,
            folded_at: Revision(head),
        })
    }

    /// Marks a closed copy of a scope file, so that it begins a new epoch when opened.
    pub fn mark_as_copy(db: &Connection) -> Result<()> {
        layout::set(db, "copied", 1)
    }

    /// Gives revisions to what others wrote to the file, and reads its schema again
    /// where that changed.
    pub(super) fn settle(&mut self, now: i64) -> Result<()> {
        loop {
            let writing = Writing::begin(&self.db, now)?;
            let (schema, more) = outside::take_in(&writing, &self.schema, &self.settings)?;
            device::note_seen(writing.db(), &mut self.seen)?;
            self.head = Revision(writing.commit()?);
            self.schema = schema;
            if !more {
                return Ok(());
            }
        }
    }

    /// Somebody has seen revisions that are not here: the file is older than it was, and
    /// those numbers must never be given out again under the same epoch.
    pub(super) fn begin_epoch(&mut self) -> Result<()> {
        if let Some(epoch) = self.spare_epoch.take() {
            layout::set(&self.db, "epoch", &epoch)?;
            self.epoch = epoch;
        }
        Ok(())
    }

    /// Compares a table with what is known of it, row by row: finds what was written past
    /// the triggers.
    pub(super) fn audit(&mut self, shape: &Shape, now: i64) -> Result<()> {
        let writing = Writing::begin(&self.db, now)?;
        tables::compare(&writing, shape, Some(&shape.names))?;
        self.head = Revision(writing.commit()?);
        Ok(())
    }

    /// Settles where there is something to settle, without the write lock where there
    /// is not. After it, `Scope::db` may be read; writes of others that come between
    /// are seen early, and get their revision next time.
    pub(super) fn settle_if_needed(&mut self, now: i64) -> Result<()> {
        if outside::is_waiting(&self.db, &self.schema)? { self.settle(now) } else { Ok(()) }
    }
}

impl Store for Scope {
    fn hello(&mut self, who: &Who, request: &Hello, now: i64) -> Result<Welcome> {
        hello::hello(self, who, request, now)
    }

    fn push(&mut self, who: &Who, body: &[u8], now: i64) -> Result<Vec<u8>> {
        push::push(self, who, body, now)
    }

    fn pull(&mut self, who: &Who, request: &Pull, now: i64) -> Result<Pulled> {
        pull::pull(self, who, request, now)
    }

    fn watermelon_pull(&mut self, who: &Who, asked: &Asked, now: i64, out: &mut dyn Write) -> Result<()> {
        watermelon::pull(self, who, asked, now, out)
    }

    fn watermelon_push(&mut self, who: &Who, sent: &Sent, now: i64) -> Result<Vec<u8>> {
        watermelon::push(self, who, sent, now)
    }

    fn digest(&mut self, request: &DigestRequest, now: i64) -> Result<Digest> {
        digest::digest(self, request, now)
    }

    fn row(&mut self, request: &RowRequest, now: i64) -> Result<RowAnswer> {
        look::row(self, request, now)
    }

    fn status(&mut self, listening: &[String], now: i64) -> Result<ScopeStatus> {
        device::status(self, listening, now)
    }

    fn prune(&mut self, now: i64) -> Result<()> {
        prune::prune(self, now)
    }

    fn look_around(&mut self, now: i64) -> Result<Revision> {
        let version: i64 = self.db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version != self.data_version {
            self.settle_if_needed(now)?;
            self.data_version = version;
        }
        Ok(self.head)
    }

    fn wants_rest(&self) -> bool {
        self.head.0 - self.folded_at.0 >= FOLD_ROWS
    }

    /// Folds the WAL before a commit has to.
    fn rest(&mut self) -> Result<()> {
        self.folded_at = self.head;
        self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn leave(&mut self, now: i64) -> Result<()> {
        if !self.seen.is_empty() {
            self.settle(now)?;
        }
        // An empty WAL leaves no trace when the file is closed. Nobody is waited for.
        self.db.busy_timeout(std::time::Duration::ZERO)?;
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn head(&self) -> Revision {
        self.head
    }
}

/// Full sync: what was answered survives a power cut. No triggers, no foreign key
/// actions: what a push changes is what it says, and nothing else.
fn configure(db: &Connection) -> Result<()> {
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.set_prepared_statement_cache_capacity(512);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // A snapshot in the order of keys meets rows in no order, and more of them than a cache
    // of ours holds: their pages are read where the system has them.
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16000; PRAGMA mmap_size = 1073741824; PRAGMA temp_store = MEMORY",
    )?;
    Ok(())
}
