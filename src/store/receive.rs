//! A pulled page made ready: in groups that belong together, in the order to apply.
//!
//! Parents before children, deletes after and in reverse. What a snapshot did not bring
//! counts as deleted, and so many deletions that a person is asked are held.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Judge, Result, Store, base};
use crate::model::page::{Page, Span};
use crate::model::{Key, RemoteRow, Revision, Value};
use crate::sqlite::digest;

/// A page on its way in.
#[derive(Debug)]
pub struct Incoming {
    pub(super) page: Page,
    /// Places in `page.rows`, in groups that belong together, in the order to apply.
    pub(super) units: Vec<Vec<usize>>,
    pub(super) next: usize,
    /// Tables of which so much was deleted at the remote that a person is asked first.
    pub(super) held: HashSet<i64>,
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
}

impl Store {
    /// Orders a page for applying: parents before children, deletes after and in
    /// reverse.
    pub fn receive(&self, mut page: Page, judge: &dyn Judge) -> Result<Incoming> {
        let mut company = HashSet::new();
        for row in page.rows.iter().filter(|row| row.row.is_some()) {
            if let Some(synced) = self.find(&row.table) {
                company.insert((synced.id, row.key.clone()));
            }
        }
        let forgotten = self.forgotten(&page)?;
        page.rows.extend(forgotten);
        let held = self.mass_deletions_there(&page)?;
        let units = self.units(&page, judge);
        Ok(Incoming { page, units, next: 0, held, company })
    }

    /// Rows the remote is known to have had within a snapshot's stretch, and that the
    /// snapshot did not bring: those with a base, and those that came and wait to be written.
    fn forgotten(&self, page: &Page) -> Result<Vec<RemoteRow>> {
        let mut out = Vec::new();
        for Span { table, from, to } in &page.covers {
            let Some(synced) = self.find(table) else { continue };
            let brought: HashSet<Vec<u8>> = page
                .rows
                .iter()
                .filter(|row| row.table.eq_ignore_ascii_case(table))
                .map(|row| row.key.encode())
                .collect();
            let mut statement = self.db.prepare_cached(
                "SELECT key, rev FROM _homing_base
                     WHERE tab = ?1 AND (?2 IS NULL OR key > ?2) AND (?3 IS NULL OR key <= ?3)
                 UNION ALL SELECT key, NULL FROM _homing_parked
                     WHERE tab = ?1 AND (?2 IS NULL OR key > ?2) AND (?3 IS NULL OR key <= ?3)
                         AND code <> 'mass_deletion'
                         AND NOT EXISTS (SELECT 1 FROM _homing_base b WHERE b.tab = ?1 AND b.key = _homing_parked.key)",
            )?;
            let mut rows = statement.query(rusqlite::params![synced.id, from, to])?;
            while let Some(row) = rows.next()? {
                let key: Vec<u8> = row.get(0)?;
                let known = row.get::<_, Option<i64>>(1)?.map(|rev| base::current(self.era, rev));
                if known == Some(Revision::NONE) || brought.contains(&key) {
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

    /// Groups of rows that refer to each other, parents first; then the deletes.
    fn units(&self, page: &Page, judge: &dyn Judge) -> Vec<Vec<usize>> {
        let mut places: HashMap<(String, &Key), usize> = HashMap::new();
        for (at, row) in page.rows.iter().enumerate().filter(|(_, row)| row.row.is_some()) {
            places.insert((row.table.to_ascii_lowercase(), &row.key), at);
        }
        let mut links = Links::new(page.rows.len());
        for (at, row) in page.rows.iter().enumerate() {
            let (Some(values), Some(synced)) = (&row.row, self.find(&row.table)) else { continue };
            for foreign in &synced.table.foreign_keys {
                let value = |name: &String| {
                    let place = row.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
                    Some(values[place].clone())
                };
                let Some(key) = foreign.columns.iter().map(value).collect::<Option<Vec<Value>>>() else { continue };
                if let Some(parent) = places.get(&(foreign.parent.to_ascii_lowercase(), &Key(key))) {
                    links.join(at, *parent);
                }
            }
        }
        let ranks: Vec<usize> = page.rows.iter().map(|row| judge.rank(&row.table)).collect();
        let mut units: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut deletes: Vec<usize> = Vec::new();
        for at in 0..page.rows.len() {
            match page.rows[at].row {
                Some(_) => units.entry(links.root(at)).or_default().push(at),
                None => deletes.push(at),
            }
        }
        let mut units: Vec<Vec<usize>> = units.into_values().collect();
        for unit in &mut units {
            unit.sort_by_key(|at| (ranks[*at], *at));
        }
        units.sort_by_key(|unit| (ranks[unit[0]], unit[0]));
        deletes.sort_by_key(|at| (std::cmp::Reverse(ranks[*at]), *at));
        units.extend(deletes.into_iter().map(|at| vec![at]));
        units
    }
}

/// Which rows of a page hang together: union by smaller root.
struct Links(Vec<usize>);

impl Links {
    fn new(count: usize) -> Links {
        Links((0..count).collect())
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.0[high] = low;
    }
}
