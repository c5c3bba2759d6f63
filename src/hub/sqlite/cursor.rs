//! A place in the log, or in a snapshot on the way to one; opaque to replicas.
//!
//! `l.EPOCH.REV`, or `s.EPOCH.REV.LEFT.TABLES.KEY`: the revision at which the snapshot
//! began, the rows it still holds, the ids of the tables to go, and the last key of the
//! first of them. The tables are named in it so that one made meanwhile moves nothing:
//! its rows come with the log.

use crate::model::text;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cursor {
    pub epoch: String,
    /// The log from here on is still to come.
    pub rev: i64,
    pub snapshot: Option<Snapshot>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    pub left: u64,
    /// Never empty.
    pub tables: Vec<i64>,
    /// `None`: from the table's start.
    pub key: Option<Vec<u8>>,
}

impl Cursor {
    pub fn write(&self) -> String {
        let Some(snapshot) = &self.snapshot else { return format!("l.{}.{}", self.epoch, self.rev) };
        let tables: Vec<String> = snapshot.tables.iter().map(i64::to_string).collect();
        let key = snapshot.key.as_deref().map(text::hex).unwrap_or_default();
        format!("s.{}.{}.{}.{}.{key}", self.epoch, self.rev, snapshot.left, tables.join("-"))
    }

    /// `None` for what this hub never wrote.
    pub fn read(written: &str) -> Option<Cursor> {
        let parts: Vec<&str> = written.split('.').collect();
        let rev = |text: &str| text.parse::<i64>().ok().filter(|rev| *rev >= 0);
        match parts[..] {
            ["l", epoch, at] => Some(Cursor { epoch: epoch.to_owned(), rev: rev(at)?, snapshot: None }),
            ["s", epoch, at, left, tables, key] => {
                let tables = tables.split('-').map(|id| id.parse().ok()).collect::<Option<Vec<i64>>>()?;
                let key = if key.is_empty() { None } else { Some(text::unhex(key)?) };
                let snapshot = Snapshot { left: left.parse().ok()?, tables, key };
                Some(Cursor { epoch: epoch.to_owned(), rev: rev(at)?, snapshot: Some(snapshot) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_written_and_rubbish_is_none() {
        let log = Cursor { epoch: "e-1".into(), rev: 7, snapshot: None };
        let tables = vec![3, 12];
        let started =
            Cursor { snapshot: Some(Snapshot { left: 9, tables, key: Some(vec![4, 0, 255]) }), ..log.clone() };
        let fresh = Snapshot { left: 0, tables: vec![1], key: None };
        for cursor in [log.clone(), started, Cursor { snapshot: Some(fresh), ..log }] {
            assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        }
        for rubbish in ["", "l.e", "l.e.-1", "l.e.1.2", "s.e.1.2..00", "s.e.1.2.x.00", "s.e.1.2.3.0g", "é", "...."] {
            assert_eq!(Cursor::read(rubbish), None, "{rubbish}");
        }
    }
}
