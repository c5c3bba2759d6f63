//! A pulled page made ready: in groups that belong together, in the order to apply.
//!
//! Parents before children, deletes after and in reverse. What a snapshot did not bring
//! counts as deleted, and so many deletions that a person is asked are held.

use std::collections::{HashMap, HashSet, VecDeque};

use super::ready::Ready;
use super::units::{Units, finder};
use super::{Judge, Result, Store, base};
use crate::model::page::{Page, Span};
use crate::model::{Key, RemoteRow, Revision, key};
use crate::sqlite::digest;

/// What is known of a table's rows with keys above ?2, up to ?3: by bases of this epoch,
/// which are stored above ?4, and by versions that wait where there is none.
const KNOWN_WITHIN: &str = "SELECT key, rev FROM _homing_base WHERE tab = ?1 AND key > ?2 AND key <= ?3 AND rev > ?4
    UNION ALL SELECT key, NULL FROM _homing_parked
        WHERE tab = ?1 AND key > ?2 AND key <= ?3 AND code <> 'mass_deletion'
            AND NOT EXISTS (SELECT 1 FROM _homing_base b WHERE b.tab = ?1 AND b.key = _homing_parked.key AND b.rev > ?4)";

/// A page on its way in.
#[derive(Debug)]
pub struct Incoming {
    pub(super) page: Page,
    pub(super) units: Units,
    pub(super) next: usize,
    /// The next rows, prepared; the first of them is the first of unit `next`.
    pub(super) ready: VecDeque<Ready>,
    /// Tables of which so much was deleted at the remote that a person is asked first.
    pub(super) held: HashSet<i64>,
    /// Rows that others may refer to and that come with this page.
    pub(super) company: HashSet<(i64, Key)>,
}

impl Incoming {
    pub fn rows(&self) -> usize {
        self.page.rows.len()
    }

    pub fn more(&self) -> bool {
        self.page.more
    }

    pub fn rows_left(&self) -> Option<u64> {
        self.page.rows_left
    }

    /// The units before `next` are applied.
    pub(super) fn pass(&mut self, next: usize) {
        self.ready.drain(..self.units.start(next) - self.units.start(self.next));
        self.next = next;
    }
}

impl Store {
    /// Orders a page for applying: parents before children, deletes after and in
    /// reverse.
    pub fn receive(&self, mut page: Page, judge: &dyn Judge) -> Result<Incoming> {
        let company = self.company(&page);
        let forgotten = self.forgotten(&page)?;
        page.rows.extend(forgotten);
        let held = self.mass_deletions_there(&page)?;
        let units = Units::of(self, &page, judge);
        Ok(Incoming { page, units, next: 0, ready: VecDeque::new(), held, company })
    }

    /// Rows of the page in tables that others refer to.
    fn company(&self, page: &Page) -> HashSet<(i64, Key)> {
        let foreign = self.tables.values().flat_map(|synced| &synced.table.foreign_keys);
        let parents: HashSet<i64> =
            foreign.filter_map(|foreign| self.find(&foreign.parent)).map(|parent| parent.id).collect();
        if parents.is_empty() {
            return HashSet::new();
        }
        let mut find = finder(self);
        let rows = page.rows.iter().filter(|row| row.row.is_some());
        let known = rows.filter_map(|row| Some((find(row)?.id, row)));
        known.filter(|(tab, _)| parents.contains(tab)).map(|(tab, row)| (tab, row.key.clone())).collect()
    }

    /// Rows the remote is known to have had within a snapshot's stretch, and that the
    /// snapshot did not bring: those with a base, and those that came and wait to be written.
    fn forgotten(&self, page: &Page) -> Result<Vec<RemoteRow>> {
        let mut out = Vec::new();
        for Span { table, from, to } in &page.covers {
            let Some(synced) = self.find(table) else { continue };
            // Into an empty replica nothing can be forgotten, and nobody asks.
            let brought = std::cell::OnceCell::new();
            let brought = || -> &HashSet<Vec<u8>> {
                brought.get_or_init(|| {
                    let rows = page.rows.iter().filter(|row| row.table.eq_ignore_ascii_case(table));
                    rows.map(|row| row.key.encode()).collect()
                })
            };
            let from = from.as_deref().unwrap_or_default();
            let to = to.as_deref().unwrap_or(key::AFTER_ALL);
            let mut statement = self.db.prepare_cached(KNOWN_WITHIN)?;
            let unknown = base::stored(self.era, Revision::NONE);
            let mut rows = statement.query(rusqlite::params![synced.id, from, to, unknown])?;
            while let Some(row) = rows.next()? {
                let key: Vec<u8> = row.get(0)?;
                let known = row.get::<_, Option<i64>>(1)?.map(|rev| base::current(self.era, rev));
                if brought().contains(&key) {
                    continue;
                }
                if !page.brought.is_empty() && page.brought.contains(&digest::identity(synced.name(), &key)) {
                    continue;
                }
                let after = known.map_or(0, |revision| revision.0 + 1);
                out.push(RemoteRow {
                    table: synced.name().to_owned(),
                    key: Key::decode(&key).expect("BUG: keys are stored encoded"),
                    // It went after it was last known and before the page was read.
                    revision: page.head.max(Revision(after)),
                    stamp: crate::model::Stamp::default(),
                    row: None,
                    columns: std::sync::Arc::from([]),
                    device: String::new(),
                    role: String::new(),
                });
            }
        }
        Ok(out)
    }

    /// Tables that would lose more of their rows by this page, with what waits for consent
    /// already, than a person should be surprised by.
    fn mass_deletions_there(&self, page: &Page) -> Result<HashSet<i64>> {
        let mut deleted: HashMap<i64, i64> = HashMap::new();
        for row in page.rows.iter().filter(|row| row.row.is_none()) {
            if let Some(synced) = self.find(&row.table) {
                *deleted.entry(synced.id).or_default() += 1;
            }
        }
        let limits = &self.replica.limits;
        let mut held = HashSet::new();
        for (tab, mut lost) in deleted {
            let count = |sql: &str| self.db.query_row(sql, [tab], |row| row.get::<_, i64>(0));
            lost += count("SELECT count(*) FROM _homing_parked WHERE tab = ? AND code = 'mass_deletion'")?;
            if lost < limits.delete_rows_min as i64 {
                continue;
            }
            let known = count("SELECT count(*) FROM _homing_base WHERE tab = ?")?;
            if lost as f64 > known as f64 * limits.delete_share_max {
                held.insert(tab);
            }
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ReasonCode, Stamp, Value};
    use crate::store::apply::tests::{NOW, Nobody, opened, opened_with};
    use crate::store::{Slice, Writer};

    /// The row was sent, nobody knows whether it arrived; the remote's version of it came and
    /// waits for its parent. By the next snapshot it is gone there.
    #[test]
    fn a_version_that_waits_goes_with_a_snapshot_that_lacks_it_though_its_base_is_in_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let schema = "CREATE TABLE list(id INTEGER PRIMARY KEY);
                      CREATE TABLE task(id INTEGER PRIMARY KEY, list INTEGER REFERENCES list(id))";
        let (app, mut store) = opened_with(folder.path(), schema);
        let key = Key::from(vec![Value::Integer(5)]);
        let waits = RemoteRow {
            table: "task".to_owned(),
            key: key.clone(),
            revision: Revision(3),
            stamp: Stamp(3),
            row: Some(vec![Value::Integer(5), Value::Integer(9)]),
            columns: ["id".to_owned(), "list".to_owned()].into(),
            device: "other".to_owned(),
            role: String::new(),
        };
        let park = |writer: &mut Writer| {
            let synced = writer.find("task").expect("the table syncs");
            let row = vec![Value::Integer(5), Value::Null];
            writer.set_base(synced, &key.encode(), Revision::NONE, Stamp::default(), &base::body(synced, &row))?;
            writer.park(synced, &waits, ReasonCode::ParkedParent, "", 1)
        };
        store.write(park).unwrap();
        let covers = vec![Span { table: "task".to_owned(), from: None, to: None }];
        let page = Page { covers, head: Revision(18), ..Page::default() };
        let mut incoming = store.receive(page, &Nobody).unwrap();
        let slice = Slice { rows_max: 64, time_max: None };
        assert!(store.apply(&mut incoming, &Nobody, NOW, slice).unwrap().done);
        assert_eq!(store.counts().unwrap().parked, 0, "else it comes back when its parent does");
        assert_eq!(app.query_row("SELECT count(*) FROM task", [], |row| row.get::<_, i64>(0)), Ok(0));
    }

    /// Else each page of a snapshot costs more than the one before it.
    #[test]
    fn what_a_page_covers_is_looked_for_where_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, store) = opened(folder.path());
        let mut plan = store.db.prepare(&format!("EXPLAIN QUERY PLAN {KNOWN_WITHIN}")).unwrap();
        let steps = plan.query_map([1, 2, 3, 4], |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.map(std::result::Result::unwrap).collect();
        let narrow = |table: &str| {
            let search = format!("SEARCH {table}");
            steps.iter().any(|step| step.starts_with(&search) && step.contains("tab=? AND key>? AND key<?"))
        };
        assert!(narrow("_homing_base") && narrow("_homing_parked"), "{steps:#?}");
    }
}
