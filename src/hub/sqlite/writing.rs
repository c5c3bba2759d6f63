//! One write transaction of a scope, and the revisions it gives out.
//!
//! Begun IMMEDIATE: from here to the commit nobody else writes the file, so the next
//! revision is ours alone and becomes visible together with its row. Dropped without
//! `commit`, nothing of it happened.

use std::cell::Cell;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::layout;
use crate::hub::error::{HubError, Result};
use crate::model::{Key, Stamp};

pub(super) struct Writing<'a> {
    tx: Transaction<'a>,
    head: Cell<i64>,
    head_before: i64,
    pub now: i64,
}

/// What `_hub_row` says of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub rev: i64,
    pub op: i64,
    pub stamp: Stamp,
    pub origin: i64,
    pub hash: i64,
    pub columns: Option<String>,
    pub role: String,
}

impl Known {
    pub fn gone(&self) -> bool {
        self.op == layout::DELETE
    }
}

/// A change to write down.
pub(super) struct Entry<'a> {
    pub tab: i64,
    pub key: &'a [u8],
    pub op: i64,
    pub stamp: Stamp,
    pub origin: i64,
    pub echo: bool,
    pub hash: i64,
    /// A JSON array of names; `None` where it is not known.
    pub columns: Option<&'a str>,
    /// What the writer's token says; empty for nothing.
    pub role: &'a str,
}

impl<'a> Writing<'a> {
    pub fn begin(db: &'a Connection, now: i64) -> Result<Writing<'a>> {
        let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let head = layout::number(&tx, "head")?;
        Ok(Writing { tx, head: Cell::new(head), head_before: head, now })
    }

    pub fn db(&self) -> &Connection {
        &self.tx
    }

    pub fn head(&self) -> i64 {
        self.head.get()
    }

    /// Gives a row that was never here its revision; `None` where it was.
    pub fn record_new(&self, entry: Entry) -> Result<Option<i64>> {
        let revision = self.head.get() + 1;
        let sql = "INSERT INTO _hub_row(tab, key, rev, op, stamp, origin, echo, at, hash, columns, role) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, '')) ON CONFLICT(tab, key) DO NOTHING";
        let written = self.tx.prepare_cached(sql)?.execute(params![
            entry.tab,
            entry.key,
            revision,
            entry.op,
            entry.stamp.0,
            entry.origin,
            entry.echo,
            self.now,
            entry.hash,
            entry.columns,
            entry.role
        ])?;
        if written == 0 {
            return Ok(None);
        }
        self.head.set(revision);
        Ok(Some(revision))
    }

    /// Gives the change a revision.
    pub fn record(&self, known: Option<&Known>, entry: Entry) -> Result<i64> {
        let revision = self.head.get() + 1;
        match known {
            None => {
                let written = self.record_new(entry)?;
                return written.ok_or_else(|| HubError::Damaged("a row in _hub_row that was not found".to_owned()));
            }
            Some(_) => {
                let keep = "INSERT INTO _hub_audit(tab, key, rev, op, origin, at, columns) \
                            SELECT tab, key, rev, op, origin, at, columns FROM _hub_row WHERE tab = ? AND key = ?";
                self.tx.prepare_cached(keep)?.execute(params![entry.tab, entry.key])?;
                let sql = "UPDATE _hub_row SET rev = ?3, op = ?4, stamp = ?5, origin = ?6, echo = ?7, at = ?8, \
                           hash = ?9, columns = ?10, role = nullif(?11, '') WHERE tab = ?1 AND key = ?2";
                self.tx.prepare_cached(sql)?.execute(params![
                    entry.tab,
                    entry.key,
                    revision,
                    entry.op,
                    entry.stamp.0,
                    entry.origin,
                    entry.echo,
                    self.now,
                    entry.hash,
                    entry.columns,
                    entry.role
                ])?;
            }
        }
        self.head.set(revision);
        Ok(revision)
    }

    /// Goes back to a savepoint with nothing of what came after it, revisions included.
    pub fn rewind(&self, savepoint: &str, head: i64) -> Result<()> {
        self.tx.execute_batch(&format!("ROLLBACK TO {savepoint}"))?;
        self.head.set(head);
        Ok(())
    }

    pub fn commit(self) -> Result<i64> {
        let head = self.head.get();
        if head != self.head_before {
            layout::set(&self.tx, "head", head)?;
        }
        self.tx.commit()?;
        Ok(head)
    }
}

pub(super) fn known(db: &Connection, tab: i64, key: &[u8]) -> Result<Option<Known>> {
    let sql = "SELECT rev, op, stamp, origin, hash, columns, ifnull(role, '') FROM _hub_row WHERE tab = ? AND key = ?";
    let read = |row: &rusqlite::Row| {
        Ok(Known {
            rev: row.get(0)?,
            op: row.get(1)?,
            stamp: Stamp(row.get(2)?),
            origin: row.get(3)?,
            hash: row.get(4)?,
            columns: row.get(5)?,
            role: row.get(6)?,
        })
    };
    Ok(db.prepare_cached(sql)?.query_row(params![tab, key], read).optional()?)
}

/// The columns of a row that changed after `base`, by name; empty when that is not
/// known exactly.
pub(super) fn changed_since(db: &Connection, tab: i64, key: &Key, base: i64) -> Result<Vec<String>> {
    let sql = "SELECT op, columns FROM _hub_row WHERE tab = ?1 AND key = ?2 AND rev > ?3 \
               UNION ALL SELECT op, columns FROM _hub_audit WHERE tab = ?1 AND key = ?2 AND rev > ?3";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![tab, key.encode(), base])?;
    let mut names: Vec<String> = Vec::new();
    while let Some(row) = rows.next()? {
        let listed: Option<String> = row.get(1)?;
        let listed = listed.and_then(|json| serde_json::from_str::<Vec<String>>(&json).ok());
        let (layout::UPDATE, Some(listed)) = (row.get::<_, i64>(0)?, listed) else {
            return Ok(Vec::new());
        };
        for name in listed {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}
