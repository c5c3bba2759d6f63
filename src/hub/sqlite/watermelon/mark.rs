//! Marks: the times given out to WatermelonDB clients, and what each stands for.

use rusqlite::{Connection, OptionalExtension, params};

use crate::hub::error::Result;
use crate::hub::sqlite::layout;
use crate::model::Incarnation;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mark {
    /// Everything up to here was told.
    pub rev: i64,
    /// The time of the client's first pull: names it.
    pub client: i64,
    /// The client has been given no other since. Else it lost that answer, or it is an
    /// older copy of itself, and may lack what it pushed.
    pub is_newest: bool,
}

impl Mark {
    /// `None` where it cannot be gone on from.
    pub fn find(db: &Connection, time: i64) -> Result<Option<Mark>> {
        let sql = "SELECT rev, client, NOT EXISTS(SELECT 1 FROM _hub_mark AS later \
                       WHERE later.client = _hub_mark.client AND later.time > _hub_mark.time) \
                   FROM _hub_mark WHERE time = ?";
        let read = |row: &rusqlite::Row| Ok(Mark { rev: row.get(0)?, client: row.get(1)?, is_newest: row.get(2)? });
        let found = db.prepare_cached(sql)?.query_row([time], read).optional()?;
        let pruned = layout::number(db, "pruned")?;
        Ok(found.filter(|mark| mark.rev >= pruned))
    }

    pub fn incarnation(&self) -> Incarnation {
        Incarnation(format!("watermelon-{}", self.client))
    }
}

/// A new mark at `rev`; `client: None` for a client that was not here before.
pub(super) fn give(db: &Connection, rev: i64, client: Option<i64>, now: i64) -> Result<i64> {
    let last: Option<i64> = db.prepare_cached("SELECT max(time) FROM _hub_mark")?.query_row([], |row| row.get(0))?;
    let time = last.map_or(now, |last| now.max(last + 1));
    let sql = "INSERT INTO _hub_mark(time, rev, client) VALUES (?, ?, ?)";
    db.prepare_cached(sql)?.execute(params![time, rev, client.unwrap_or(time)])?;
    Ok(time)
}
