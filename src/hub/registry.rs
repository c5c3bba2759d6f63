//! `hub.db`: what concerns the whole hub: revoked tokens, and how far each scope has
//! come.
//!
//! A revocation is on disk before the command that made it returns, and a running hub
//! finds it by looking whether the file changed. High-water marks may lag a moment
//! behind; they are never ahead.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use rusqlite::{Connection, OptionalExtension, params};

use super::data::DataDir;
use super::error::{HubError, Result};
use super::scopes::lock;
use super::sqlite::HighWater;
use super::token::{Claims, Keys};
use crate::model::Revision;

/// What is to be revoked.
#[derive(Clone, Debug)]
pub enum Revoke {
    /// One token, by itself or by its id.
    Token(String),
    Id(String),
    /// Every token of the account made until now.
    Account(String),
}

/// Ends tokens of the hub in `data`; a running hub honours it within seconds.
pub fn revoke(data: &Path, what: &Revoke) -> Result<()> {
    let data = DataDir::existing(data)?;
    let (kind, value) = match what {
        Revoke::Token(token) => ("token", Keys::new(&data.key()?).read(token.trim())?.jti),
        Revoke::Id(id) => ("token", id.clone()),
        Revoke::Account(account) => ("account", account.clone()),
    };
    Registry::open(&data)?.add(kind, &value, super::now())
}

pub struct Registry {
    db: Mutex<Connection>,
    /// Apart from the connection: a request must not wait for somebody's fsync.
    revoked: RwLock<Revoked>,
}

/// When each was revoked, milliseconds since 1970, as of `data_version`.
#[derive(Default)]
struct Revoked {
    data_version: Option<i64>,
    tokens: HashMap<String, i64>,
    accounts: HashMap<String, i64>,
}

impl Registry {
    pub fn open(data: &DataDir) -> Result<Registry> {
        let db = Connection::open(data.registry())?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        db.execute_batch(
            "PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS revoked(kind TEXT, value TEXT, at INTEGER NOT NULL, PRIMARY KEY(kind, value))
                 WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS high_water(scope TEXT PRIMARY KEY, epoch TEXT NOT NULL, head INTEGER NOT NULL)
                 WITHOUT ROWID;",
        )?;
        let registry = Registry { db: Mutex::new(db), revoked: RwLock::default() };
        registry.refresh()?;
        Ok(registry)
    }

    fn add(&self, kind: &str, value: &str, at: i64) -> Result<()> {
        let sql = "INSERT INTO revoked VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at";
        lock(&self.db).execute(sql, params![kind, value, at])?;
        Ok(())
    }

    /// Reads revocations again if the file changed; true when it had.
    pub fn refresh(&self) -> Result<bool> {
        let db = lock(&self.db);
        let version: i64 = db.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if self.revoked.read().unwrap_or_else(PoisonError::into_inner).data_version == Some(version) {
            return Ok(false);
        }
        let mut fresh = Revoked { data_version: Some(version), ..Revoked::default() };
        let mut statement = db.prepare_cached("SELECT kind, value, at FROM revoked")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let list = if kind == "account" { &mut fresh.accounts } else { &mut fresh.tokens };
            list.insert(row.get(1)?, row.get(2)?);
        }
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    pub fn check(&self, claims: &Claims) -> Result<()> {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let made_at = (claims.iat * 1000.0) as i64;
        let ended = revoked.accounts.get(&claims.sub).is_some_and(|at| made_at <= *at);
        if ended || revoked.tokens.contains_key(&claims.jti) { Err(HubError::TokenRevoked) } else { Ok(()) }
    }

    pub fn high_water(&self, scope: &str) -> Result<Option<HighWater>> {
        let sql = "SELECT epoch, head FROM high_water WHERE scope = ?";
        let read = |row: &rusqlite::Row| Ok(HighWater { epoch: row.get(0)?, head: Revision(row.get(1)?) });
        Ok(lock(&self.db).prepare_cached(sql)?.query_row([scope], read).optional()?)
    }

    /// All of them in one transaction.
    pub fn raise(&self, marks: &[(String, HighWater)]) -> Result<()> {
        let db = lock(&self.db);
        let tx = db.unchecked_transaction()?;
        for (scope, mark) in marks {
            let sql = "INSERT INTO high_water VALUES (?, ?, ?) \
                       ON CONFLICT(scope) DO UPDATE SET epoch = excluded.epoch, head = excluded.head";
            tx.prepare_cached(sql)?.execute(params![scope, mark.epoch, mark.head.0])?;
        }
        tx.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::token::{Grant, issue};

    fn grant(account: &str) -> Grant {
        Grant {
            account: account.into(),
            scopes: vec![],
            role: "member".into(),
            ttl_seconds: 60,
            may_bring_tables: true,
        }
    }

    #[test]
    fn a_revoked_token_or_account_is_over_and_a_later_token_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let tokens: Vec<String> = (0..2).map(|_| issue(dir.path(), &grant("ada")).unwrap()).collect();
        let data = DataDir::existing(dir.path()).unwrap();
        let keys = Keys::new(&data.key().unwrap());
        let registry = Registry::open(&data).unwrap();
        let good = |registry: &Registry, token: &str| registry.check(&keys.check(token).unwrap()).is_ok();
        revoke(dir.path(), &Revoke::Token(tokens[0].clone())).unwrap();
        assert!(registry.refresh().unwrap());
        assert_eq!((good(&registry, &tokens[0]), good(&registry, &tokens[1])), (false, true));
        revoke(dir.path(), &Revoke::Account("ada".into())).unwrap();
        registry.refresh().unwrap();
        assert!(!good(&registry, &tokens[1]));
        let mut later = keys.check(&tokens[1]).unwrap();
        later.jti = "later".into();
        later.iat = (crate::hub::now() + 1) as f64 / 1000.0;
        assert!(registry.check(&later).is_ok());
        assert!(!registry.refresh().unwrap());
    }
}
