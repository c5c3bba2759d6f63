//! Thinning the log of a replica that cannot send: of the notes of a row that was written
//! over and over, two say all that is ever asked.
//!
//! The first says since when the row waits and where it stands in the outbox; the last,
//! what came of it, and that no place in the log is given out twice. So the log is bounded
//! by the rows that wait, not by how often they were written.

use std::collections::HashMap;

use super::outbox::read_entries;
use super::{Result, Store};
use crate::sqlite::digest;

/// A shorter log is left alone.
const ENTRIES_MIN: usize = 1_000;
/// Notes that are compared with each other: what is held in memory. What is left of them
/// is compared with what follows the next time.
const WINDOW: usize = 20_000;
/// Notes that leave in one transaction.
const SLICE: usize = 2_000;

/// How long the log was when it was last thinned. That costs a look at each note, and is
/// done again when the log is twice as long.
#[derive(Debug, Default)]
pub struct Thinning {
    left: usize,
}

impl Store {
    /// Thins the log where it has grown long.
    pub fn thin(&mut self, thinning: &mut Thinning) -> Result<()> {
        if !self.logs_more_than(ENTRIES_MIN)? {
            thinning.left = 0;
            return Ok(());
        }
        if !self.logs_more_than(thinning.left * 2)? {
            return Ok(());
        }
        let (mut after, mut left) = (0, 0);
        while let Some(to) = self.end_of_window(after)? {
            let (needless, kept) = self.needless(after + 1, to)?;
            for slice in needless.chunks(SLICE) {
                self.write(|writer| writer.drop_entries(slice))?;
            }
            left += kept;
            after = to;
        }
        thinning.left = left;
        Ok(())
    }

    fn logs_more_than(&self, entries: usize) -> Result<bool> {
        let sql = "SELECT 1 FROM _homing_log LIMIT 1 OFFSET ?";
        Ok(self.db.prepare_cached(sql)?.exists([entries as i64])?)
    }

    fn end_of_window(&self, after: i64) -> Result<Option<i64>> {
        let sql = "SELECT max(seq) FROM (SELECT seq FROM _homing_log WHERE seq > ? ORDER BY seq LIMIT ?)";
        Ok(self.db.prepare_cached(sql)?.query_row([after, WINDOW as i64], |row| row.get(0))?)
    }

    /// Notes that are neither the first nor the last of their row, rising; and how many are.
    fn needless(&self, from: i64, to: i64) -> Result<(Vec<i64>, usize)> {
        let mut needless = Vec::new();
        let mut total = 0;
        // The last note of each row so far, once it has two.
        let mut last: HashMap<u128, Option<i64>> = HashMap::new();
        read_entries(&self.db, &self.widths(), from, to, |entry| {
            total += 1;
            let row = digest::numbered(entry.tab, &entry.key.encode());
            match last.get_mut(&row) {
                None => drop(last.insert(row, None)),
                Some(last) => needless.extend(last.replace(entry.seq)),
            }
        })?;
        needless.sort_unstable();
        let kept = total - needless.len();
        Ok((needless, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::apply::tests::{NOW, Nobody, opened};

    fn entries(store: &Store) -> (i64, i64) {
        let sql = "SELECT count(*), max(seq) FROM _homing_log";
        store.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[test]
    fn a_thinned_log_says_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        app.execute_batch("INSERT INTO task VALUES(1, ''), (2, ''), (3, '')").unwrap();
        for at in 0..2_000 {
            let here = "DELETE FROM task WHERE id = 3; INSERT INTO task VALUES(3, 'again')";
            app.execute_batch(&format!("UPDATE task SET title = '{at}' WHERE id = 1 + {at} % 2; {here}")).unwrap();
        }
        app.execute_batch("DELETE FROM task WHERE id = 2").unwrap();
        let said = |store: &mut Store| {
            let gathered = store.gather(NOW, 10_000, &Nobody).unwrap();
            let said = |one: &crate::store::stage::Gathering| (one.change.clone(), one.since);
            gathered.candidates.iter().map(said).collect::<Vec<_>>()
        };
        let (before, newest) = (said(&mut store), entries(&store).1);
        let mut thinning = Thinning::default();
        store.thin(&mut thinning).unwrap();
        assert_eq!((entries(&store), thinning.left), ((6, newest), 6));
        assert_eq!(said(&mut store), before);
        store.outbox.forget();
        assert_eq!(said(&mut store), before);
    }

    #[test]
    fn a_log_of_many_rows_is_left_as_it_is_until_it_is_twice_as_long() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        let more = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 1500)
            INSERT INTO task SELECT id, '' FROM n WHERE true ON CONFLICT(id) DO UPDATE SET title = title || 'x'";
        let mut thinning = Thinning::default();
        for expected in [1_500, 3_000, 3_000, 4_500] {
            app.execute_batch(more).unwrap();
            store.thin(&mut thinning).unwrap();
            assert_eq!(entries(&store).0, expected);
        }
    }
}
