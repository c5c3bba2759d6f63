//! Opening the app's file, politely.
//!
//! Never creates a file, never changes its journal mode, never asks for more than a
//! PASSIVE checkpoint. Triggers are off on this connection: what Homing writes is
//! not captured.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::kept::Place;
use super::{Outbox, Result, Store, meta};
use crate::model::settings::Replica;
use crate::model::{Fault, FaultKind, ReasonCode};

/// How to behave on the app's file.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// How long to wait for a lock that the app holds.
    pub busy_timeout: Duration,
    /// Off only in simulations, whose crashes are their own.
    pub durable: bool,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners { busy_timeout: Duration::from_secs(2), durable: true }
    }
}

impl Store {
    /// Opens the file of `replica`. `attach` comes next, before anything else.
    pub fn open(replica: &Replica, device: &str, manners: Manners) -> Result<Store> {
        Store::over(connect(&replica.database, manners)?, replica, device)
    }

    /// The same of a file that is open.
    pub fn over(File { db, place }: File, replica: &Replica, device: &str) -> Result<Store> {
        let mut store = Store {
            db,
            place,
            replica: replica.clone(),
            tables: BTreeMap::new(),
            era: 1,
            outbox: Outbox::default(),
            device: device.to_owned(),
            terms: Default::default(),
            doubts: Default::default(),
            reading: Default::default(),
        };
        if store.is_attached()? {
            store.era = meta::get(&store.db, "era")?.unwrap_or(1);
        }
        Ok(store)
    }

    /// True when Homing's tables are in the file.
    pub fn is_attached(&self) -> Result<bool> {
        has_layout(&self.db)
    }

    /// Closes the file. Where no app has it open, SQLite folds the WAL into it.
    pub fn close(self) {
        self.leave().close();
    }

    /// Puts the file back as it was opened.
    pub fn leave(self) -> File {
        File { db: self.db, place: self.place }
    }

    /// Folds what fits of a long WAL without making anybody wait.
    pub fn fold(&self) {
        let _ = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
}

pub(crate) fn has_layout(db: &Connection) -> Result<bool> {
    let found = "SELECT count(*) FROM sqlite_schema WHERE name = '_homing_meta'";
    Ok(db.query_row(found, [], |row| row.get::<_, i64>(0))? > 0)
}

/// A file that was opened as a `Store` opens it.
pub struct File {
    pub(crate) db: Connection,
    /// Where it was when it was opened; `None` where it should not be kept.
    pub(crate) place: Option<Place>,
}

impl File {
    /// See `Store::close`.
    pub fn close(self) {
        let _ = self.db.close();
    }
}

pub(crate) fn connect(path: &Path, manners: Manners) -> Result<File> {
    inspect(path)?;
    let before = Place::of(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(manners.busy_timeout)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.set_prepared_statement_cache_capacity(256);
    // The first statement that reads the file is where "not a database" shows.
    let journal: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    let synchronous = match (manners.durable, journal == "wal") {
        (false, _) => "OFF",
        (true, true) => "NORMAL",
        (true, false) => "FULL",
    };
    db.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = OFF; PRAGMA recursive_triggers = OFF;
         PRAGMA wal_autocheckpoint = 0; PRAGMA mmap_size = 0; PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY;"
    ))?;
    if db.is_readonly("main")? {
        return Err(read_only(path));
    }
    let place =
        Place::of(path).filter(|place| journal == "wal" && before.is_some_and(|before| before.same_file(place)));
    Ok(File { db, place })
}

fn inspect(path: &Path) -> Result<()> {
    let fault = |code, text: String, next: &str| Err(Fault::new(FaultKind::File, code, text, next));
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => fault(
            ReasonCode::DatabaseNotSqlite,
            format!("{} is not a file", path.display()),
            "check the path in the config",
        ),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fault(
            ReasonCode::DatabaseMissing,
            format!("{} is not there", path.display()),
            "Homing never makes a database: start the app once, or check the path in the config",
        ),
        Err(error) => fault(
            ReasonCode::DatabaseMissing,
            format!("{} cannot be reached: {error}", path.display()),
            "let the agent's user into the folder, or check the path in the config",
        ),
    }
}

fn read_only(path: &Path) -> Fault {
    Fault::new(
        FaultKind::File,
        ReasonCode::DatabaseReadOnly,
        format!("{} cannot be written by this user", path.display()),
        "run the agent as the owner of the file, or let its user write the file and its folder",
    )
}
