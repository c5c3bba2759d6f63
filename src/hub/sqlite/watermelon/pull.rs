//! A pull: everything since a mark, of one moment, in one answer.
//!
//! Rows are read in the transaction that gives out the mark. A row goes as `created`
//! where the client cannot have it, else as `updated`; no id is told twice. Where the
//! client is to replace everything, all goes as `updated`: so its own unsent deletions
//! stay in force there. However many rows there are, few of them are in memory.

use std::io::{self, Write};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value as Json;

use super::mark::{self, Mark};
use super::record::{self, columns};
use super::{is_safe_id, is_served};
use crate::hub::error::{HubError, Result};
use crate::hub::sqlite::schema::Shape;
use crate::hub::sqlite::scope::Scope;
use crate::hub::sqlite::writing::Writing;
use crate::hub::sqlite::{device, layout, outside};
use crate::hub::store::Who;
use crate::hub::watermelon::Asked;
use crate::model::{Key, Revision, Value};
use crate::protocol::scratch::Scratch;

pub(in crate::hub::sqlite) fn pull(
    scope: &mut Scope,
    who: &Who,
    asked: &Asked,
    now: i64,
    out: &mut dyn Write,
) -> Result<()> {
    scope.settle_if_needed(now)?;
    let writing = Writing::begin(&scope.db, now)?;
    let (schema, _) = outside::take_in(&writing, &scope.schema, &scope.settings)?;
    let db = writing.db();
    let named = asked.since.filter(|time| *time != 0);
    let mark = named.map(|time| Mark::find(db, time)).transpose()?.flatten();
    let me = match &mark {
        Some(mark) if mark.is_newest => device::find(db, who, &mark.incarnation())?,
        _ => None,
    };
    if let Some(id) = me {
        scope.seen.insert(id, now);
    }
    let replaces = named.is_some() && mark.is_none();
    let migration = asked.migration.clone().unwrap_or_default();
    let told = |error: io::Error| HubError::NoRoom(error.to_string());
    out.write_all(b"{\"changes\":{").map_err(told)?;
    for (at, shape) in schema.shapes.iter().filter(|shape| is_served(shape)).enumerate() {
        let name = &shape.table.name;
        let comma = if at > 0 { "," } else { "" };
        write!(out, "{comma}{}:", Json::from(name.as_str())).map_err(told)?;
        let since = match &mark {
            Some(mark) if !migration.tables.contains(name) => Some(mark.rev),
            _ => None,
        };
        let all = migration.columns.iter().any(|new| new.table == *name);
        let lists = table(db, shape, &Reach { since, me, all, replaces })?;
        lists.write(out).map_err(told)?;
    }
    let client = mark.as_ref().filter(|mark| mark.is_newest).map(|mark| mark.client);
    let time = mark::give(db, writing.head(), client, now)?;
    device::note_seen(db, &mut scope.seen)?;
    scope.head = Revision(writing.commit()?);
    scope.schema = schema;
    let strategy = if replaces { ",\"experimentalStrategy\":\"replacement\"" } else { "" };
    write!(out, "}},\"timestamp\":{time}{strategy}}}").map_err(told)
}

/// The three lists of a table, while they grow side by side.
#[derive(Default)]
struct Lists {
    created: Scratch,
    updated: Scratch,
    deleted: Scratch,
    counts: [u64; 3],
}

impl Lists {
    fn push(&mut self, list: usize, one: &Json) -> io::Result<()> {
        let file = match list {
            CREATED => &mut self.created,
            UPDATED => &mut self.updated,
            _ => &mut self.deleted,
        };
        if self.counts[list] > 0 {
            file.write_all(b",")?;
        }
        self.counts[list] += 1;
        serde_json::to_writer(file, one).map_err(io::Error::from)
    }

    fn write(self, out: &mut dyn Write) -> io::Result<()> {
        let lists =
            [("{\"created\":[", self.created), ("],\"updated\":[", self.updated), ("],\"deleted\":[", self.deleted)];
        for (head, list) in lists {
            out.write_all(head.as_bytes())?;
            io::copy(&mut list.finish()?.reader(), out)?;
        }
        out.write_all(b"]}")
    }
}

const CREATED: usize = 0;
const UPDATED: usize = 1;
const DELETED: usize = 2;

/// What of a table a client lacks.
struct Reach {
    /// `None`: it has nothing of it.
    since: Option<i64>,
    /// The client, where it has what it pushed itself.
    me: Option<i64>,
    /// Every row, as it gained columns.
    all: bool,
    /// It has nobody knows what of it.
    replaces: bool,
}

fn table(db: &Connection, shape: &Shape, reach: &Reach) -> Result<Lists> {
    let travelling = columns(shape);
    let told = |error: io::Error| HubError::NoRoom(error.to_string());
    let mut lists = Lists::default();
    // The tail of the log by revision, or the whole table by its own index.
    let sql = match reach.since {
        Some(_) if !reach.all => {
            "SELECT key, rev, op, origin FROM _hub_row WHERE +tab = ? AND rev > ? AND (origin <> ? OR echo) ORDER BY rev"
        }
        _ => "SELECT key, rev, op, origin FROM _hub_row WHERE tab = ? AND (op <> 3 OR rev > ? AND origin <> ?)",
    };
    let mut statement = db.prepare_cached(sql)?;
    let me = reach.me.unwrap_or(-1);
    let mut entries = statement.query(params![shape.id, reach.since.unwrap_or(-1), me])?;
    while let Some(entry) = entries.next()? {
        let bytes: Vec<u8> = entry.get(0)?;
        let key = Key::decode(&bytes).ok_or_else(|| HubError::Damaged("a key in _hub_row is not one".to_owned()))?;
        let Some(Value::Text(id)) = key.0.first().filter(|id| matches!(id, Value::Text(id) if is_safe_id(id))) else {
            tracing::warn!(table = shape.table.name, "a row whose id WatermelonDB cannot hold is not told to it");
            continue;
        };
        let newest = Newest { rev: entry.get(1)?, op: entry.get(2)?, origin: entry.get(3)? };
        if newest.op == layout::DELETE {
            // Who has nothing of the table need not hear what is gone.
            if reach.since.is_some() {
                lists.push(DELETED, &Json::from(id.as_str())).map_err(told)?;
            }
            continue;
        }
        let Some(row) = shape.read(db, &key)? else { continue };
        let list = if had(db, shape, &bytes, reach, &newest)? { UPDATED } else { CREATED };
        lists.push(list, &record::record(shape, &travelling, &row)).map_err(told)?;
    }
    Ok(lists)
}

/// A row's newest change.
struct Newest {
    rev: i64,
    op: i64,
    origin: i64,
}

/// Whether the client has an older version of a row that there is.
fn had(db: &Connection, shape: &Shape, key: &[u8], reach: &Reach, newest: &Newest) -> Result<bool> {
    let Some(since) = reach.since else { return Ok(reach.replaces) };
    if newest.rev <= since || Some(newest.origin) == reach.me {
        return Ok(true);
    }
    let sql = "SELECT op FROM _hub_audit WHERE tab = ? AND key = ? AND (rev <= ? OR origin = ?) \
               ORDER BY rev DESC LIMIT 1";
    let values = params![shape.id, key, since, reach.me.unwrap_or(-1)];
    let before: Option<i64> = db.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    if let Some(op) = before {
        return Ok(op != layout::DELETE);
    }
    // The trail before is forgotten, or there was none: an insert since tells which.
    let sql = "SELECT EXISTS(SELECT 1 FROM _hub_audit WHERE tab = ? AND key = ? AND rev > ? AND op = 1)";
    let inserted: bool = db.prepare_cached(sql)?.query_row(params![shape.id, key, since], |row| row.get(0))?;
    Ok(newest.op == layout::UPDATE && !inserted)
}
