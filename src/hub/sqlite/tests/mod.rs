//! A scope, spoken to as devices speak to it, without network or clock.
//!
//! `Rig` is a scope in a file of its own; `Rig::sql` is somebody else's SQL client.

mod outside;
mod pulling;
mod pushing;
mod random;
mod restoring;
mod schemas;
mod watermelon;

use std::path::PathBuf;

use rusqlite::Connection;

use super::{OpenOptions, Scope};
use crate::hub::error::Result;
use crate::hub::settings::Settings;
use crate::hub::store::{Store, Who};
use crate::model::{Incarnation, Key, Revision, Stamp, Table, Value};
use crate::protocol::{
    ChangeGroup, ConflictWord, Hello, Pull, Pulled, Push, Pushed, RowRequest, VERSION, Welcome, WireChange,
    WireConflict, WireOutcome,
};
use crate::sqlite::schema;

/// A clock that stands still: 2024.
pub const NOW: i64 = 1_704_067_200_000;

pub struct Rig {
    pub scope: Scope,
    pub path: PathBuf,
    pub now: i64,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// A scope that a device has brought the tables of `sql` to.
    pub fn new(sql: &str) -> Rig {
        Rig::with(sql, Settings::default())
    }

    pub fn with(sql: &str, settings: Settings) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scope.db");
        let options = OpenOptions { settings, epoch: "epoch-1".into(), high_water: None };
        let mut rig = Rig { scope: Scope::open(&path, options).unwrap(), path, now: NOW, _dir: dir };
        let welcome = rig.hello("ada", "setup", sql);
        assert_eq!(welcome.refused, []);
        rig
    }

    pub fn hello(&mut self, account: &str, incarnation: &str, sql: &str) -> Welcome {
        self.hello_as(&Who::owner(account), incarnation, tables(sql))
    }

    pub fn hello_as(&mut self, who: &Who, incarnation: &str, tables: Vec<Table>) -> Welcome {
        let hello = Hello {
            protocol: VERSION,
            device: format!("{incarnation}'s laptop"),
            incarnation: Incarnation(incarnation.into()),
            batch: 0,
            tables,
        };
        self.scope.hello(who, &hello, self.now).unwrap()
    }

    pub fn device(&self, name: &str) -> Device {
        Device { who: Who::owner("ada"), name: name.to_owned(), batch: 0, seen: Revision::NONE, groups: Vec::new() }
    }

    /// Another client of the same file.
    pub fn sql(&self, sql: &str) {
        let db = Connection::open(&self.path).unwrap();
        db.execute_batch(sql).unwrap();
    }

    /// One column of text for each row of the query, by another client.
    pub fn ask(&self, sql: &str) -> Vec<String> {
        let db = Connection::open(&self.path).unwrap();
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|row| row.unwrap()).collect()
    }

    pub fn pull(&mut self, device: &str, cursor: Option<&str>) -> Pulled {
        self.page(device, cursor, 1000, 1 << 20).unwrap()
    }

    pub fn page(&mut self, device: &str, cursor: Option<&str>, rows_max: usize, bytes_max: usize) -> Result<Pulled> {
        let pull = Pull {
            protocol: VERSION,
            device: device.into(),
            incarnation: Incarnation(device.into()),
            cursor: cursor.map(str::to_owned),
            rows_max,
            bytes_max,
        };
        self.scope.pull(&Who::owner("ada"), &pull, self.now)
    }

    pub fn trail(&mut self, table: &str, key: Key) -> Vec<String> {
        let request = RowRequest { protocol: VERSION, table: table.into(), key: key.0.to_vec() };
        let answer = self.scope.row(&request, self.now).unwrap();
        let line = |entry: &crate::protocol::AuditEntry| {
            format!("{} {} {} {}", entry.revision.0, entry.operation, entry.account, entry.columns.join(","))
        };
        answer.audit.iter().map(line).collect()
    }
}

/// A device that gathers changes and pushes them.
pub struct Device {
    pub who: Who,
    name: String,
    batch: i64,
    /// What it has pulled.
    pub seen: Revision,
    groups: Vec<ChangeGroup>,
}

impl Device {
    /// A put of `columns` (the key's too, when it is to be a whole row).
    pub fn put(&mut self, table: &str, key: &str, id: impl Into<V>, base: i64, columns: &[(&str, V)]) -> &mut Self {
        self.put_at(table, key, id, base, NOW, columns)
    }

    pub fn put_at(
        &mut self,
        table: &str,
        key: &str,
        id: impl Into<V>,
        base: i64,
        at: i64,
        columns: &[(&str, V)],
    ) -> &mut Self {
        let mut values = vec![id.into().0];
        values.extend(columns.iter().map(|(_, value)| value.0.clone()));
        self.groups.push(ChangeGroup {
            table: table.into(),
            key: vec![key.into()],
            columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            delete: false,
            rows: vec![WireChange { base: Revision(base), stamp: Stamp::from_millis(at), values }],
        });
        self
    }

    pub fn delete(&mut self, table: &str, key: &str, id: impl Into<V>, base: i64) -> &mut Self {
        self.groups.push(ChangeGroup {
            table: table.into(),
            key: vec![key.into()],
            columns: Vec::new(),
            delete: true,
            rows: vec![WireChange { base: Revision(base), stamp: Stamp::from_millis(NOW), values: vec![id.into().0] }],
        });
        self
    }

    pub fn group(&mut self, group: ChangeGroup) -> &mut Self {
        self.groups.push(group);
        self
    }

    /// The next batch, as bytes.
    pub fn body(&mut self, epoch: &str) -> Vec<u8> {
        self.batch += 1;
        let push = Push {
            protocol: VERSION,
            device: format!("{}'s laptop", self.name),
            incarnation: Incarnation(self.name.clone()),
            batch: self.batch,
            epoch: epoch.into(),
            seen: self.seen,
            groups: std::mem::take(&mut self.groups),
        };
        serde_json::to_vec(&push).unwrap()
    }

    pub fn push(&mut self, rig: &mut Rig) -> Vec<WireOutcome> {
        let body = self.body("epoch-1");
        let answer = rig.scope.push(&self.who, &body, rig.now).unwrap();
        serde_json::from_slice::<Pushed>(&answer).unwrap().outcomes
    }

    /// Outcomes as words: a revision, or what is the matter and who is in the way.
    pub fn told(&mut self, rig: &mut Rig) -> Vec<String> {
        self.push(rig).into_iter().map(told).collect()
    }
}

pub fn told(outcome: WireOutcome) -> String {
    match outcome {
        WireOutcome::Applied(revision) => revision.0.to_string(),
        WireOutcome::Refused(refusal) => refusal.refused.word().to_owned(),
        WireOutcome::Conflict(conflict) => {
            let word = match conflict.conflict {
                ConflictWord::MovedOn => "moved_on",
                ConflictWord::Unique => "unique",
                ConflictWord::ForeignKey => "foreign_key",
            };
            let others =
                conflict.others.iter().map(|other| format!(" {}{}", other.table, Key::from(other.key.clone())));
            format!("{word}{}", others.collect::<String>())
        }
    }
}

pub fn conflict(outcome: &WireOutcome) -> &WireConflict {
    match outcome {
        WireOutcome::Conflict(conflict) => conflict,
        other => panic!("not a conflict: {other:?}"),
    }
}

/// A value as a test writes it.
#[derive(Clone, Debug)]
pub struct V(pub Value);

impl From<i64> for V {
    fn from(number: i64) -> V {
        V(Value::Integer(number))
    }
}

impl From<f64> for V {
    fn from(number: f64) -> V {
        V(Value::Real(number))
    }
}

impl From<&str> for V {
    fn from(text: &str) -> V {
        V(Value::Text(text.to_owned()))
    }
}

impl From<Value> for V {
    fn from(value: Value) -> V {
        V(value)
    }
}

pub fn v(value: impl Into<V>) -> V {
    value.into()
}

pub const NULL: V = V(Value::Null);

/// The tables of an SQL schema, as a replica would name them.
pub fn tables(sql: &str) -> Vec<Table> {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(sql).unwrap();
    schema::syncing(&db).unwrap()
}

/// The rows of a page as `table [values]`, tombstones as `-table [key]`.
pub fn rows(page: &Pulled) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &page.groups {
        for row in &group.rows {
            let sign = if group.delete { "-" } else { "" };
            lines.push(format!("{sign}{} {}", group.table, Key::from(row.values.clone())));
        }
    }
    lines
}

pub fn code<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().answer().1.error.code
}
