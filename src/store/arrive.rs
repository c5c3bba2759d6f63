//! Rows that are new here: neither a base nor a row of the app's has their key.
//!
//! Most rows of a snapshot are. Whether there are bases between their keys is asked once
//! a slice and table; whether there is a row, the table's own key says when the row is
//! inserted. Whatever turns out to be in the way (a row, a unique value, a rule, a parent
//! that is not here) leaves everything as it was, and the row is taken like any other.

use std::collections::HashSet;

use rusqlite::{CachedStatement, params, params_from_iter};

use super::error::Obstacle;
use super::ready::{Ready, Stretch};
use super::take::{Manner, Taken};
use super::{Result, Synced, Writer, base};
use crate::model::RemoteRow;

/// After a row that was in the way, so many are taken with a look first.
const WARY_ROWS: u32 = 32;

/// What a slice writes new rows with.
pub(super) struct Arrivals<'a> {
    /// Tables without a base between the keys of this slice's rows, when it began.
    unheard_of: HashSet<i64>,
    insert: Option<(i64, CachedStatement<'a>)>,
    base: CachedStatement<'a>,
    wary: u32,
}

impl<'a> Writer<'a> {
    pub(super) fn arrivals(&self, stretches: &[Stretch]) -> Result<Arrivals<'a>> {
        let sql = "SELECT EXISTS(SELECT 1 FROM _homing_base WHERE tab = ? AND key BETWEEN ? AND ?)";
        let mut unheard_of = HashSet::new();
        for Stretch { tab, from, to } in stretches {
            if !self.db.prepare_cached(sql)?.query_row(params![tab, from, to], |row| row.get::<_, bool>(0))? {
                unheard_of.insert(*tab);
            }
        }
        Ok(Arrivals { unheard_of, insert: None, base: self.db.prepare_cached(base::SET)?, wary: 0 })
    }

    /// Writes a row that is new here; `None` when it is not, or something is in its way.
    pub(super) fn arrive(
        &mut self,
        arrivals: &mut Arrivals<'a>,
        synced: &'a Synced,
        remote: &RemoteRow,
        ready: &Ready,
        manner: Manner,
    ) -> Result<Option<Taken>> {
        let (Some(row), Some(body)) = (&remote.row, &ready.body) else { return Ok(None) };
        if arrivals.wary > 0 {
            arrivals.wary -= 1;
            return Ok(None);
        }
        let is_new = arrivals.unheard_of.contains(&synced.id) || !self.has_base(synced, &ready.key)?;
        if !is_new || self.parents(synced, row, None, manner)?.is_some() {
            return Ok(None);
        }
        let insert = match &mut arrivals.insert {
            Some((tab, insert)) if *tab == synced.id => insert,
            other => {
                *other = Some((synced.id, self.db.prepare_cached(&synced.insert_sql)?));
                &mut other.as_mut().expect("BUG: it was just put there").1
            }
        };
        match insert.execute(params_from_iter(row)) {
            Ok(1) => {}
            Ok(count) => unreachable!("BUG: an insert without conflicts writes one row, not {count}"),
            Err(error) if Obstacle::of(&error).is_some() => {
                arrivals.wary = WARY_ROWS;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        self.unpark(synced, &ready.key)?;
        let revision = base::stored(self.era, remote.revision);
        arrivals.base.execute(params![synced.id, ready.key, revision, remote.stamp.0, synced.shape, body])?;
        Ok(Some(Taken::Written))
    }
}

#[cfg(test)]
mod tests {
    use crate::model::conflict::{Meeting, Resolution, Verdict};
    use crate::model::{ConflictKind, Settler, Value};
    use crate::store::apply::tests::{NOW, opened, opened_with, page};
    use crate::store::{Judge, Slice, Store};

    /// Whatever is here stays.
    struct Keeper;

    impl Judge for Keeper {
        fn judge(&self, _: &Meeting) -> Resolution {
            Resolution {
                kind: ConflictKind::UpdateUpdate,
                verdict: Verdict::KeepLocal,
                record: true,
                settled_by: Some(Settler::Rule),
                note: String::new(),
            }
        }

        fn rank(&self, _: &str) -> usize {
            0
        }
    }

    /// Applies a page in one slice: rows written, conflicts, rows parked.
    fn take(store: &mut Store, page: crate::model::Page) -> (u64, u64, u64) {
        let slice = Slice { rows_max: 1_000, time_max: None };
        let mut incoming = store.receive(page, &Keeper).unwrap();
        let applied = store.apply(&mut incoming, &Keeper, NOW, slice).unwrap();
        assert!(applied.done);
        (applied.rows, applied.conflicts, applied.parked)
    }

    fn titles(app: &rusqlite::Connection) -> String {
        app.query_row("SELECT group_concat(id || title, ' ') FROM (SELECT * FROM task ORDER BY id)", [], |row| {
            row.get::<_, Option<String>>(0)
        })
        .unwrap()
        .unwrap_or_default()
    }

    fn bases(app: &rusqlite::Connection) -> i64 {
        app.query_row("SELECT count(*) FROM _homing_base", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_row_that_is_here_and_was_never_sent_is_met_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        app.execute_batch("INSERT INTO task VALUES(2, 'mine')").unwrap();
        let taken = take(&mut store, page([(1, Some("a")), (2, Some("b")), (3, Some("c"))].into_iter(), 1));
        assert_eq!((taken, titles(&app).as_str(), bases(&app)), ((3, 1, 0), "1a 2mine 3c", 3));
    }

    #[test]
    fn a_row_that_was_deleted_here_and_not_yet_there_does_not_come_back_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        take(&mut store, page((1..=3).map(|number| (number, Some("a"))), 1));
        app.execute_batch("DELETE FROM task WHERE id = 2").unwrap();
        let taken = take(&mut store, page([(2, Some("b")), (4, Some("d"))].into_iter(), 10));
        assert_eq!((taken, titles(&app).as_str()), ((2, 1, 0), "1a 3a 4d"));
    }

    /// Linked rows are taken together, also where they are more than a slice.
    #[test]
    fn a_row_that_was_deleted_here_does_not_come_back_in_the_company_of_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let schema = "CREATE TABLE task(id INTEGER PRIMARY KEY, title INTEGER REFERENCES task(id))";
        let (app, mut store) = opened_with(folder.path(), schema);
        let linked = |numbers: &[i64], head: i64| {
            let mut page = page(numbers.iter().map(|number| (*number, Some(""))), head);
            page.rows.iter_mut().for_each(|row| row.row.as_mut().unwrap()[1] = Value::Integer(numbers[0]));
            page
        };
        take(&mut store, linked(&[2], 1));
        app.execute_batch("DELETE FROM task WHERE id = 2").unwrap();
        let mut incoming = store.receive(linked(&[9, 2], 10), &Keeper).unwrap();
        let applied = store.apply(&mut incoming, &Keeper, NOW, Slice { rows_max: 1, time_max: None }).unwrap();
        assert_eq!((applied.done, applied.conflicts, titles(&app).as_str()), (true, 1, "99"));
    }

    #[test]
    fn a_key_that_comes_twice_on_a_page_is_one_row_as_it_came_last() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        let taken = take(&mut store, page([(1, Some("a")), (1, Some("b")), (2, Some("c"))].into_iter(), 1));
        assert_eq!((taken, titles(&app).as_str(), bases(&app)), ((3, 0, 0), "1b 2c", 2));
    }

    #[test]
    fn after_a_row_in_the_way_the_rest_comes_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        app.execute_batch("INSERT INTO task VALUES(5, 'a'), (60, 'a')").unwrap();
        let taken = take(&mut store, page((1..=100).map(|number| (number, Some("a"))), 1));
        assert_eq!((taken, bases(&app)), ((98, 0, 0), 100), "those that are the same need no writing");
    }

    /// `ON CONFLICT REPLACE` in a schema would have a pulled row push an unsent one out.
    #[test]
    fn what_the_schema_says_of_conflicts_evicts_no_unsent_row() {
        for rule in ["REPLACE", "IGNORE"] {
            let folder = tempfile::tempdir().unwrap();
            let schema = format!(
                "CREATE TABLE task(id INTEGER PRIMARY KEY ON CONFLICT {rule}, title TEXT UNIQUE ON CONFLICT {rule})"
            );
            let (app, mut store) = opened_with(folder.path(), &schema);
            app.execute_batch("INSERT INTO task VALUES(1, 'mine'), (2, 'b')").unwrap();
            let taken = take(&mut store, page([(1, Some("a")), (3, Some("b")), (4, Some("c"))].into_iter(), 1));
            assert_eq!((taken, titles(&app).as_str()), ((2, 1, 1), "1mine 2b 4c"), "{rule}");
        }
    }
}
