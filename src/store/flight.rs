//! The flight: the batch under way, kept until its answer is local fact.
//!
//! Written before anything is sent, so that an answer lost after the remote committed
//! can be asked for again with the same bytes under the same number, though the rows
//! were edited since. Beside the bytes it keeps, for each change, what the base becomes
//! when the remote says yes, and which log entries are then spent.
//!
//! One more may be behind it: where the remote took a batch whole, that answer is kept
//! with it, and the next batch goes before the first is settled. A remote remembers its
//! answer to the last batch alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Store, Synced, Writer};
use crate::model::{Key, Operation, Revision, Seq, Stamp};

#[derive(Clone, Debug, PartialEq)]
pub struct Flight {
    pub batch: i64,
    /// What travels.
    pub body: Vec<u8>,
    pub rows: Vec<FlightRow>,
    /// The revisions of its rows, where the remote is known to have taken them all.
    pub taken: Option<Vec<Revision>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FlightRow {
    pub table: Arc<str>,
    pub key: Key,
    /// `key.encode()`.
    pub(crate) encoded: Vec<u8>,
    pub operation: Operation,
    pub stamp: Stamp,
    /// The newest log entry it covers.
    pub seq: Seq,
    pub(crate) tab: i64,
    pub(crate) shape: i64,
    /// The base's contents once acknowledged; empty for a delete.
    pub(crate) base: Vec<u8>,
    pub(crate) seqs: Vec<i64>,
}

impl FlightRow {
    /// A row that is named without having been sent.
    pub(crate) fn standing_for(synced: &Synced, key: &Key) -> FlightRow {
        FlightRow {
            table: synced.label.clone(),
            key: key.clone(),
            encoded: key.encode(),
            operation: Operation::Update,
            stamp: Stamp::default(),
            seq: Seq(0),
            tab: synced.id,
            shape: synced.shape,
            base: Vec::new(),
            seqs: Vec::new(),
        }
    }
}

/// What a batch held of which nobody can say whether the remote took it, by table and
/// encoded key.
pub type Doubts = HashMap<(i64, Vec<u8>), FlightRow>;

impl Store {
    /// From now on a pulled version that is as `flight` sent it counts as its answer.
    /// Until `scrap`, or until the file is closed.
    pub fn doubt_flight(&mut self, flight: &Flight) {
        self.doubts = flight.rows.iter().map(|row| ((row.tab, row.encoded.clone()), row.clone())).collect();
    }

    /// The first batch that was sent, or was about to be, and is not settled.
    pub fn flight(&self) -> Result<Option<Flight>> {
        let found = self
            .db
            .query_row(
                "SELECT batch, body, rows, revisions FROM _homing_flight LEFT JOIN _homing_answer USING(batch)
                 ORDER BY batch LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?, row.get::<_, Option<Vec<u8>>>(3)?)),
            )
            .optional()?;
        let Some((batch, body, rows, answer)) = found else { return Ok(None) };
        let mut rows = read_rows(&rows);
        for row in &mut rows {
            if let Some(synced) = self.tables.get(&row.tab) {
                row.table = synced.label.clone();
            }
        }
        let taken = answer.map(|bytes| read_answer(&bytes).expect("BUG: an answer is what launch_behind wrote"));
        Ok(Some(Flight { batch, body, rows, taken }))
    }

    /// The rows of all batches under way, by table and key.
    pub(crate) fn in_flight(&self) -> Result<HashSet<(i64, Key)>> {
        let rows = under_way(&self.db)?;
        Ok(rows.into_iter().map(|row| (row.tab, row.key)).collect())
    }

    pub fn has_flight(&self) -> Result<bool> {
        Ok(self.db.prepare_cached("SELECT 1 FROM _homing_flight")?.exists([])?)
    }

    /// Saves the batch; from now on it is the one that will be sent, whatever happens.
    pub fn launch(&mut self, flight: &Flight) -> Result<()> {
        let rows = put_rows(flight);
        self.write(|writer| writer.launch(flight, &rows))
    }

    /// Saves `flight` behind `before`, which the remote took whole at these revisions, and
    /// which can be settled from now on without asking again.
    pub fn launch_behind(&mut self, before: &Flight, taken: &[Revision], flight: &Flight) -> Result<()> {
        let rows = put_rows(flight);
        let revisions: Vec<u8> = taken.iter().flat_map(|revision| revision.0.to_le_bytes()).collect();
        self.write(|writer| {
            writer
                .db
                .prepare_cached("INSERT INTO _homing_answer(batch, revisions) VALUES(?, ?)")?
                .execute(params![before.batch, revisions])?;
            writer.launch(flight, &rows)
        })
    }

    pub fn has_doubts(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// Takes apart what the remote did not take; its rows are in the log.
    pub fn scrap(&mut self) -> Result<()> {
        self.doubts.clear();
        self.write(|writer| writer.strand_flight())
    }
}

impl Writer<'_> {
    fn launch(&self, flight: &Flight, rows: &[u8]) -> Result<()> {
        self.db.prepare_cached("INSERT INTO _homing_flight(batch, body, rows) VALUES(?, ?, ?)")?.execute(params![
            flight.batch,
            flight.body,
            rows
        ])?;
        Ok(())
    }

    /// Gives up what is under way without its answer. A new row of it may stand at the
    /// remote all the same: it counts as once equal there, so that a deletion made since is not
    /// mistaken for a row that never was.
    pub(crate) fn strand_flight(&mut self) -> Result<()> {
        for row in under_way(self.db)? {
            let tables = self.tables;
            let Some(synced) = tables.get(&row.tab) else { continue };
            if row.operation != Operation::Delete && self.base(synced, &row.encoded)?.is_none() {
                let under = Synced { shape: row.shape, ..synced.clone() };
                // Not its stamp: the remote may have refused just that.
                self.set_base(&under, &row.encoded, Revision::NONE, Stamp::default(), &row.base)?;
            }
        }
        self.db.execute_batch("DELETE FROM _homing_flight; DELETE FROM _homing_answer")?;
        Ok(())
    }

    /// Batch `batch` is local fact, or will never be.
    pub(super) fn land(&self, batch: i64) -> Result<()> {
        for table in ["_homing_flight", "_homing_answer"] {
            self.db.prepare_cached(&format!("DELETE FROM {table} WHERE batch = ?"))?.execute([batch])?;
        }
        Ok(())
    }
}

/// The rows of all batches, without the names of their tables.
fn under_way(db: &Connection) -> Result<Vec<FlightRow>> {
    let mut statement = db.prepare_cached("SELECT rows FROM _homing_flight")?;
    let bodies = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
    Ok(bodies.iter().flat_map(|rows| read_rows(rows)).collect())
}

fn put_rows(flight: &Flight) -> Vec<u8> {
    let mut rows = Vec::new();
    flight.rows.iter().for_each(|row| put_row(&mut rows, row));
    rows
}

fn put_row(out: &mut Vec<u8>, row: &FlightRow) {
    out.extend(row.tab.to_le_bytes());
    out.extend(row.shape.to_le_bytes());
    out.extend(row.stamp.0.to_le_bytes());
    out.extend(row.seq.0.to_le_bytes());
    out.push(match row.operation {
        Operation::Insert => 1,
        Operation::Update => 2,
        Operation::Delete => 3,
    });
    for bytes in [&row.encoded, &row.base] {
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
    }
    out.extend((row.seqs.len() as u32).to_le_bytes());
    row.seqs.iter().for_each(|seq| out.extend(seq.to_le_bytes()));
}

fn read_rows(mut bytes: &[u8]) -> Vec<FlightRow> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        rows.push(read_row(&mut bytes).expect("BUG: a flight is what launch wrote"));
    }
    rows
}

fn read_row(bytes: &mut &[u8]) -> Option<FlightRow> {
    let tab = take_i64(bytes)?;
    let shape = take_i64(bytes)?;
    let stamp = Stamp(take_i64(bytes)?);
    let seq = Seq(take_i64(bytes)?);
    let (operation, rest) = bytes.split_first()?;
    *bytes = rest;
    let encoded = take_bytes(bytes)?;
    let key = Key::decode(&encoded)?;
    let base = take_bytes(bytes)?;
    let count = take_u32(bytes)?;
    let seqs = (0..count).map(|_| take_i64(bytes)).collect::<Option<Vec<i64>>>()?;
    let operation = match operation {
        1 => Operation::Insert,
        2 => Operation::Update,
        _ => Operation::Delete,
    };
    Some(FlightRow { table: Arc::default(), key, encoded, operation, stamp, seq, tab, shape, base, seqs })
}

fn read_answer(mut bytes: &[u8]) -> Option<Vec<Revision>> {
    let mut taken = Vec::with_capacity(bytes.len() / 8);
    while !bytes.is_empty() {
        taken.push(Revision(take_i64(&mut bytes)?));
    }
    Some(taken)
}

fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(i64::from_le_bytes(*head))
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*head))
}

fn take_bytes(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let length = take_u32(bytes)? as usize;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head.to_vec())
}
