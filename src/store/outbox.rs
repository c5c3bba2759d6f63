//! The outbox: where in the log the unsent rows are noted.
//!
//! Held in memory as lists of log places a table, read as far as is needed, once a cycle,
//! and kept in step with every removal; the log itself is the record. Removing never takes the highest
//! entry away: it stays as a mark, so that no place in the log is given out twice.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};

use super::{Result, Writer};
use crate::model::Key;
use crate::sqlite::capture::{self, LogOp};
use crate::sqlite::value;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) tab: i64,
    pub(crate) op: i64,
    /// Milliseconds since 1970, this device's clock.
    pub(crate) at: i64,
    pub(crate) key: Key,
}

#[derive(Debug, Default)]
pub struct Outbox {
    /// Entries up to here are in the lists.
    seen: i64,
    /// Beyond there were none.
    whole: bool,
    /// Places of unsent entries, by table and by whether they say "deleted".
    lists: BTreeMap<(i64, bool), Places>,
    /// Marks that a newer mark made needless.
    spent: Vec<i64>,
    /// When each row was last written, for comparing with the remote's stamps.
    times: Option<HashMap<(i64, Vec<u8>), i64>>,
}

impl Outbox {
    pub(crate) fn forget(&mut self) {
        *self = Outbox::default();
    }

    /// Takes in what was logged since the last look.
    pub(crate) fn refresh(&mut self, db: &Connection) -> Result<()> {
        self.read_on(db, usize::MAX, |_| true)
    }

    /// Takes in no more than is needed to know of `rows` entries of such tables, the oldest
    /// first: a long outbox is read as it is sent.
    pub(crate) fn refresh_head(&mut self, db: &Connection, rows: usize, syncs: impl Fn(i64) -> bool) -> Result<()> {
        let known = self.lists().filter(|(tab, ..)| syncs(*tab)).map(|(.., list)| list.len()).sum::<usize>();
        if known < rows { self.read_on(db, rows - known, syncs) } else { Ok(()) }
    }

    /// Every entry of the log was taken in, when it was last looked at.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    fn read_on(&mut self, db: &Connection, mut rows: usize, syncs: impl Fn(i64) -> bool) -> Result<()> {
        let mut statement = db.prepare_cached("SELECT seq, tab, op FROM _homing_log WHERE seq > ? ORDER BY seq")?;
        let mut entries = statement.query([self.seen])?;
        let mut grew = false;
        self.whole = true;
        while let Some(row) = entries.next()? {
            if rows == 0 {
                self.whole = false;
                break;
            }
            let (seq, tab, op): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            match tab {
                0 => self.spent.push(seq),
                _ => self.lists.entry((tab, op == LogOp::Delete as i64)).or_default().push(seq),
            }
            rows -= usize::from(tab != 0 && syncs(tab));
            self.seen = seq;
            grew = true;
        }
        if grew {
            self.times = None;
        }
        Ok(())
    }

    pub(crate) fn lists(&self) -> impl Iterator<Item = (i64, bool, &Places)> {
        self.lists.iter().map(|((tab, deletes), list)| (*tab, *deletes, list))
    }

    /// Milliseconds since 1970 of the newest logged write of a row.
    pub(crate) fn written_at(
        &mut self,
        db: &Connection,
        widths: &BTreeMap<i64, usize>,
        tab: i64,
        key: &[u8],
    ) -> Result<Option<i64>> {
        if self.times.is_none() {
            let mut times = HashMap::new();
            read_entries(db, widths, 0, i64::MAX, |entry| {
                times.insert((entry.tab, entry.key.encode()), entry.at);
            })?;
            self.times = Some(times);
        }
        let times = self.times.as_ref().expect("BUG: just filled");
        Ok(times.get(&(tab, key.to_vec())).copied())
    }
}

/// Places in the log, rising. A place that was removed stays as a negative number until
/// half of them are: removing costs a search, not a copy.
#[derive(Debug, Default)]
pub(crate) struct Places {
    seqs: Vec<i64>,
    gone: usize,
}

impl Places {
    fn push(&mut self, seq: i64) {
        self.seqs.push(seq);
    }

    pub(crate) fn len(&self) -> usize {
        self.seqs.len() - self.gone
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> {
        self.seqs.iter().copied().filter(|seq| *seq > 0)
    }

    /// `seqs` rise.
    fn remove(&mut self, seqs: &[i64]) {
        let mut from = 0;
        for seq in seqs {
            // Neighbours mostly: the next is near.
            let stretch = if self.seqs.get(from).is_some_and(|known| known.abs() >= *seq) { 1 } else { usize::MAX };
            let rest = &self.seqs[from..self.seqs.len().min(from.saturating_add(stretch))];
            match rest.binary_search_by_key(seq, |known| known.abs()) {
                Ok(at) => {
                    let place = &mut self.seqs[from + at];
                    self.gone += usize::from(*place > 0);
                    *place = -*seq;
                    from += at + 1;
                }
                Err(at) => from += at,
            }
        }
        if self.gone * 2 > self.seqs.len() {
            self.seqs.retain(|seq| *seq > 0);
            self.gone = 0;
        }
    }
}

/// Reads one entry; `None` when it is gone, or its table is.
pub(crate) fn read_entry(db: &Connection, widths: &BTreeMap<i64, usize>, seq: i64) -> Result<Option<Entry>> {
    let mut found = None;
    read_entries(db, widths, seq, seq, |entry| found = Some(entry))?;
    Ok(found)
}

/// Reads the entries from one place to another, rising. Those that are gone, or whose
/// table is, are left out.
pub(crate) fn read_entries(
    db: &Connection,
    widths: &BTreeMap<i64, usize>,
    from: i64,
    to: i64,
    mut take: impl FnMut(Entry),
) -> Result<()> {
    let mut statement = db.prepare_cached("SELECT * FROM _homing_log WHERE seq BETWEEN ? AND ? ORDER BY seq")?;
    let mut rows = statement.query([from, to])?;
    while let Some(row) = rows.next()? {
        let tab: i64 = row.get(1)?;
        let Some(width) = widths.get(&tab) else { continue };
        take(Entry {
            seq: row.get(0)?,
            tab,
            op: row.get(2)?,
            at: capture::millis(row.get::<_, Option<f64>>(3)?.unwrap_or(2_440_587.5)),
            key: Key::from(value::read_row(row, 4, *width)?),
        });
    }
    Ok(())
}

impl Writer<'_> {
    /// Takes entries out of the log, for good: acknowledged, or never worth sending.
    pub(crate) fn drop_entries(&mut self, seqs: &[i64]) -> Result<()> {
        if seqs.is_empty() {
            return Ok(());
        }
        let newest: i64 = self.db.query_row("SELECT coalesce(max(seq), 0) FROM _homing_log", [], |row| row.get(0))?;
        let mut places = std::mem::take(&mut self.outbox.spent);
        places.extend(seqs);
        places.sort_unstable();
        places.dedup();
        let mut remove = self.db.prepare_cached("DELETE FROM _homing_log WHERE seq BETWEEN ? AND ?")?;
        let older = &places[..places.partition_point(|seq| *seq < newest)];
        for run in older.chunk_by(|seq, next| seq + 1 == *next) {
            remove.execute([run[0], run[run.len() - 1]])?;
        }
        for seq in &places[older.len()..] {
            self.db.execute("UPDATE _homing_log SET tab = 0, op = 0, k0 = NULL WHERE seq = ?", [seq])?;
            self.outbox.spent.push(*seq);
        }
        let mut seqs = seqs.to_vec();
        seqs.sort_unstable();
        self.outbox.lists.values_mut().for_each(|list| list.remove(&seqs));
        Ok(())
    }

    /// Notes in the log that a row may differ from its base. Homing's own entry, for
    /// what no trigger saw.
    pub(crate) fn note_row(&mut self, tab: i64, op: LogOp, at: i64, key: &Key) -> Result<()> {
        let columns: Vec<String> = (0..key.0.len()).map(|at| format!("k{at}")).collect();
        let marks: Vec<String> = (0..key.0.len()).map(|at| format!("?{}", at + 4)).collect();
        let sql = format!(
            "INSERT INTO _homing_log(tab, op, at, {}) VALUES(?1, ?2, ?3 / 86400000.0 + 2440587.5, {})",
            columns.join(", "),
            marks.join(", ")
        );
        let head = params![tab, op as i64, at];
        let values: Vec<&dyn rusqlite::ToSql> =
            head.iter().copied().chain(key.0.iter().map(|value| value as &dyn rusqlite::ToSql)).collect();
        self.db.prepare_cached(&sql)?.execute(values.as_slice())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_removed_wherever_they_stand() {
        for step in [1, 2, 3, 7, 100] {
            let mut places = Places::default();
            (1..=100).for_each(|seq| places.push(seq * 3));
            let gone: Vec<i64> = (0..=310).step_by(step).collect();
            places.remove(&gone);
            places.remove(&gone);
            let left: Vec<i64> = (1..=100).map(|seq| seq * 3).filter(|seq| !gone.contains(seq)).collect();
            assert_eq!(places.iter().collect::<Vec<_>>(), left, "every {step}");
            assert_eq!(places.len(), left.len(), "every {step}");
        }
    }
}
