//! The audit: every row against its base, to find what no trigger saw.
//!
//! A table rebuilt by a migration, a row evicted through a unique index, a file that
//! was restored, rows that were there before Homing came. Runs in slices; each reads a
//! stretch, then notes what differs in the log, from where it is sent like any write.

use rusqlite::{OptionalExtension, params};

use super::base::{self, Difference};
use super::row;
use super::{Result, Store, Synced, meta};
use crate::model::{Key, Row, Value};
use crate::sqlite::capture::LogOp;
use crate::sqlite::{ident, value};

/// A place in an audit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auditing {
    /// Tables still to do, the current one last.
    tables: Option<Vec<i64>>,
    place: Place,
    /// Rows found to differ.
    pub found: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Place {
    #[default]
    Start,
    /// Reading the table, after this rowid or key.
    Rows(Vec<Value>),
    /// Reading the bases, after this key.
    Bases(Vec<u8>),
}

/// Where to go on, and what was found to differ.
type Stretch = (Option<Place>, Vec<(LogOp, Key)>);

impl Store {
    /// Whether rows are to be compared one by one: after something that triggers cannot
    /// see, and once a day.
    pub fn audit_due(&self, now: i64) -> Result<bool> {
        Ok(match meta::get::<String>(&self.db, "audit")?.as_deref() {
            Some("due") => true,
            Some(at) => at.parse::<i64>().map_or(true, |at| now - at > 86_400_000 || now < at),
            None => true,
        })
    }

    /// Compares the next `rows_max` rows. True when all is done.
    pub fn audit(&mut self, auditing: &mut Auditing, now: i64, rows_max: usize) -> Result<bool> {
        let tables = auditing.tables.get_or_insert_with(|| self.tables.keys().rev().copied().collect());
        let Some(tab) = tables.last().copied() else {
            self.write(|writer| Ok(meta::set(writer.db, "audit", now.to_string())?))?;
            return Ok(true);
        };
        let synced = self.tables[&tab].clone();
        let (place, differing) = match &auditing.place {
            Place::Start => self.audit_rows(&synced, None, rows_max)?,
            Place::Rows(after) => self.audit_rows(&synced, Some(after), rows_max)?,
            Place::Bases(after) => self.audit_bases(&synced, after, rows_max)?,
        };
        match place {
            Some(place) => auditing.place = place,
            None => {
                tables.pop();
                auditing.place = Place::Start;
            }
        }
        auditing.found += differing.len() as u64;
        if !differing.is_empty() {
            self.write(|writer| {
                for (op, key) in &differing {
                    writer.note_row(tab, *op, now, key)?;
                }
                Ok(())
            })?;
        }
        Ok(false)
    }

    fn audit_rows(&self, synced: &Synced, after: Option<&Vec<Value>>, rows_max: usize) -> Result<Stretch> {
        let walk = Walk::of(synced);
        let transaction = self.db.unchecked_transaction()?;
        let mut differing = Vec::new();
        let mut last = None;
        let mut count = 0;
        {
            let mut statement = transaction.prepare_cached(&walk.sql(synced, after.is_some(), rows_max))?;
            let mut rows = match after {
                Some(after) => statement.query(rusqlite::params_from_iter(after))?,
                None => statement.query([])?,
            };
            while let Some(found) = rows.next()? {
                count += 1;
                last = Some(value::read_row(found, 0, walk.order.len())?);
                let local: Row = value::read_row(found, walk.order.len(), synced.columns.len())?;
                let key = synced.key_of(&local);
                let base = base::read(&self.db, self.era, synced, &key.encode())?;
                match base::difference(synced, Some(&local), base.as_ref()) {
                    Difference::Same => {}
                    Difference::New => differing.push((LogOp::Insert, key)),
                    _ => differing.push((LogOp::Update, key)),
                }
            }
        }
        transaction.finish()?;
        let place = match last {
            Some(last) if count == rows_max => Place::Rows(last),
            _ => Place::Bases(Vec::new()),
        };
        Ok((Some(place), differing))
    }

    fn audit_bases(&self, synced: &Synced, after: &[u8], rows_max: usize) -> Result<Stretch> {
        let transaction = self.db.unchecked_transaction()?;
        let keys = transaction
            .prepare_cached("SELECT key FROM _homing_base WHERE tab = ? AND key > ? ORDER BY key LIMIT ?")?
            .query_map(params![synced.id, after, rows_max as i64], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
        let mut differing = Vec::new();
        for encoded in &keys {
            let key = Key::decode(encoded).expect("BUG: keys are stored encoded");
            if row::read(&self.db, synced, &key)? == row::Found::Nothing {
                differing.push((LogOp::Delete, key));
            }
        }
        transaction.finish()?;
        let place = if keys.len() == rows_max { keys.last().map(|last| Place::Bases(last.clone())) } else { None };
        Ok((place, differing))
    }

    /// True when the table has any row the audit would look at.
    pub fn has_rows(&self) -> Result<bool> {
        for synced in self.tables.values() {
            let sql = format!("SELECT 1 FROM {} LIMIT 1", ident(synced.name()));
            if self.db.query_row(&sql, [], |_| Ok(())).optional()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The order to walk a table in: by rowid, or by key where there is none.
struct Walk {
    order: Vec<String>,
}

impl Walk {
    fn of(synced: &Synced) -> Walk {
        let order = match row::rowid_name(synced) {
            Some(alias) => vec![alias.to_owned()],
            None => synced.table.key.iter().map(|name| ident(name)).collect(),
        };
        Walk { order }
    }

    fn sql(&self, synced: &Synced, resumes: bool, rows_max: usize) -> String {
        let order = self.order.join(", ");
        let marks: Vec<String> = (1..=self.order.len()).map(|at| format!("?{at}")).collect();
        let after = if resumes { format!("WHERE ({order}) > ({})", marks.join(", ")) } else { String::new() };
        let columns = crate::sqlite::idents(&synced.columns);
        format!("SELECT {order}, {columns} FROM {} {after} ORDER BY {order} LIMIT {rows_max}", ident(synced.name()))
    }
}
