//! What a file holds, read through plain SQL.
//!
//! A `Sight` remembers its last look and looks again only when SQLite says that the
//! file changed since, so that every step can be checked. Its connection is the app's.
//! Where an app does not stay open, it is closed whenever the agent opens or closes the
//! file: then the agent is the last to leave, and folds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::schema::{self, TABLES};
use super::tokens;
use crate::model::{Key, Row, Value};
use crate::sqlite::{idents, value};

/// A row's table and key.
pub(super) type Place = (&'static str, Key);

/// One look at a file.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The app's rows: the columns of `schema::columns`.
    pub(super) rows: BTreeMap<Place, Row>,
    /// Tokens in rows.
    pub(super) tokens: BTreeSet<String>,
    /// Tokens in the ledger.
    pub(super) ledger: BTreeSet<String>,
    /// Tokens among parked rows.
    pub(super) parked: BTreeSet<String>,
    /// How many conflicts the ledger has, by row.
    pub(super) conflicts: BTreeMap<(String, String), usize>,
    /// How many conflicts the ledger has, by kind.
    pub(super) kinds: BTreeMap<String, usize>,
    /// What is left to do, by Homing's table.
    pub(super) left: Vec<(&'static str, i64)>,
    /// Why rows wait for a person.
    pub(super) asks: BTreeSet<String>,
    /// Keys of actions that wait, and of those that are told to be done.
    pub(super) actions: BTreeSet<String>,
    pub(super) done: BTreeSet<String>,
}

impl Look {
    pub(super) fn has(&self, token: &str) -> bool {
        self.tokens.contains(token) || self.keeps(token)
    }

    /// Whether Homing has it beside the rows.
    pub(super) fn keeps(&self, token: &str) -> bool {
        self.ledger.contains(token) || self.parked.contains(token)
    }

    /// Where `after` has another row, or none, or one more.
    pub(super) fn changed<'a>(&'a self, after: &'a Look) -> Vec<&'a Place> {
        let places: BTreeSet<&Place> = self.rows.keys().chain(after.rows.keys()).collect();
        places.into_iter().filter(|place| self.rows.get(*place) != after.rows.get(*place)).collect()
    }

    pub(super) fn left(&self, table: &str) -> i64 {
        self.left.iter().find(|(name, _)| *name == table).map_or(0, |(_, count)| *count)
    }

    pub(super) fn conflicts_of(&self, table: &str, key: &Key) -> usize {
        self.conflicts.get(&(table.to_owned(), key.to_text())).copied().unwrap_or(0)
    }
}

/// Looks at one file again and again.
pub(super) struct Sight {
    path: PathBuf,
    /// The connection stays open between looks, as an app's does that runs on.
    stays: bool,
    db: Option<Connection>,
    version: i64,
    last: Option<Arc<Look>>,
}

impl Sight {
    pub(super) fn new(path: &Path, stays: bool) -> Sight {
        Sight { path: path.to_owned(), stays, db: None, version: 0, last: None }
    }

    /// The file as it is now. `touched`: something may have been written since the last look.
    pub(super) fn look(&mut self, touched: bool) -> Result<Arc<Look>, String> {
        if let (Some(last), false) = (&self.last, touched) {
            return Ok(last.clone());
        }
        let stayed = self.db.is_some();
        let version = self.with(data_version)?;
        if let (Some(last), true) = (&self.last, stayed && version == self.version) {
            return Ok(last.clone());
        }
        let look = Arc::new(self.with(read)?);
        self.version = version;
        self.last = Some(look.clone());
        Ok(look)
    }

    /// Works on the file over the connection that looks; a write makes the next look new.
    pub(super) fn write<T>(&mut self, work: impl FnOnce(&Connection) -> T) -> Result<T, String> {
        self.last = None;
        self.with(|db| Ok(work(db)))
    }

    /// Reads over the connection that looks.
    pub(super) fn peek<T>(&mut self, work: impl FnOnce(&Connection) -> T) -> Result<T, String> {
        self.with(|db| Ok(work(db)))
    }

    /// The app leaves the file to the agent, unless it stays.
    pub(super) fn leave(&mut self) {
        if !self.stays {
            self.db = None;
        }
    }

    /// Lets go of the file, which is about to be replaced.
    pub(super) fn close(&mut self) {
        self.db = None;
        self.last = None;
    }

    fn with<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        let told = |error: rusqlite::Error| format!("{}: {error}", self.path.display());
        if let Some(db) = &self.db {
            return work(db).map_err(told);
        }
        let db = open(&self.path).map_err(told)?;
        let done = work(&db).map_err(told);
        self.db = Some(db);
        done
    }
}

/// A connection such as an app has, that waits for nobody.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE
        | rusqlite::OpenFlags::SQLITE_OPEN_CREATE
        | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(std::time::Duration::ZERO)?;
    db.set_prepared_statement_cache_capacity(64);
    db.execute_batch("PRAGMA synchronous = OFF")?;
    Ok(db)
}

fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

fn read(db: &Connection) -> rusqlite::Result<Look> {
    let tx = db.unchecked_transaction()?;
    let mut look = Look::default();
    for table in TABLES {
        rows(db, table, &mut look)?;
    }
    let attached = db.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = '_homing_conflict'")?.exists([])?;
    if attached {
        ledger(db, &mut look)?;
    }
    tx.finish()?;
    Ok(look)
}

fn rows(db: &Connection, table: &'static str, look: &mut Look) -> rusqlite::Result<()> {
    let columns = schema::columns(table);
    let sql = format!("SELECT {} FROM {table}", idents(columns));
    let mut statement = match db.prepare_cached(&sql) {
        Ok(statement) => statement,
        // The hub has no tables before the first device brings them.
        Err(rusqlite::Error::SqliteFailure(failure, _)) if failure.extended_code == 1 => return Ok(()),
        Err(error) => return Err(error),
    };
    let token =
        columns.iter().position(|name| *name == schema::token_column(table)).expect("BUG: a token has a column");
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let row = value::read_row(row, 0, columns.len())?;
        if let Value::Text(text) = &row[token] {
            tokens::find(text, &mut look.tokens);
        }
        let key = Key::from(row[..schema::key_len(table)].to_vec());
        if look.rows.insert((table, key.clone()), row).is_some() {
            let text = format!("{table} has the key {key} twice");
            return Err(rusqlite::Error::ToSqlConversionFailure(text.into()));
        }
    }
    Ok(())
}

fn ledger(db: &Connection, look: &mut Look) -> rusqlite::Result<()> {
    let sql = "SELECT table_name, key_text, kind, coalesce(base, '') || ' ' || coalesce(local, '') || ' ' || coalesce(remote, '')
               || ' ' || coalesce(result, '') FROM _homing_conflict";
    let mut statement = db.prepare_cached(sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        *look.conflicts.entry((row.get(0)?, row.get(1)?)).or_default() += 1;
        *look.kinds.entry(row.get(2)?).or_default() += 1;
        tokens::find(row.get_ref(3)?.as_str()?, &mut look.ledger);
    }
    let mut statement = db.prepare_cached("SELECT CAST(body AS TEXT) FROM _homing_parked")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        tokens::find(row.get_ref(0)?.as_str()?, &mut look.parked);
    }
    for table in ["_homing_log", "_homing_aside", "_homing_parked", "_homing_flight", "_homing_answer"] {
        let only = if table == "_homing_log" { "WHERE tab <> 0" } else { "" };
        let count =
            db.prepare_cached(&format!("SELECT count(*) FROM {table} {only}"))?.query_row([], |row| row.get(0))?;
        look.left.push((table, count));
    }
    let mut statement = db.prepare_cached("SELECT key, state = 'done' FROM _homing_actions")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let list = if row.get(1)? { &mut look.done } else { &mut look.actions };
        list.insert(row.get(0)?);
    }
    look.left.push(("_homing_actions", look.actions.len() as i64));
    let mut statement = db.prepare_cached(
        "SELECT code FROM _homing_aside WHERE state = 'set_aside'
         UNION SELECT code FROM _homing_parked WHERE code = 'mass_deletion'",
    )?;
    look.asks = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(())
}
