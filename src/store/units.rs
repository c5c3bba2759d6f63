//! The rows of a page in groups that belong together, in the order to apply.
//!
//! Rows that refer to each other make one group, parents first; groups follow in the
//! order of their first rows; then the deletes, each alone, children first. On most
//! pages no row refers to another, and every row is its own group.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Judge, Store, Synced, base};
use crate::model::page::Page;
use crate::model::{Key, RemoteRow, Value};

/// Places in `page.rows`: all of them, once.
#[derive(Debug, Default)]
pub(super) struct Units {
    order: Vec<u32>,
    /// Where in `order` each group ends.
    ends: Vec<u32>,
}

impl Units {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Where the group's rows stand in the order of rows.
    pub(super) fn range(&self, unit: usize) -> Range<usize> {
        self.start(unit)..self.ends[unit] as usize
    }

    /// Where the group's first row stands; where all end, when there is no such group.
    pub(super) fn start(&self, unit: usize) -> usize {
        if unit == 0 { 0 } else { self.ends[unit - 1] as usize }
    }

    /// The place in the page of the row that comes at `turn`.
    pub(super) fn place(&self, turn: usize) -> usize {
        self.order[turn] as usize
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.order.len()
    }

    pub(super) fn of(store: &Store, page: &Page, judge: &dyn Judge) -> Units {
        let mut links = linked(store, page);
        let mut ranks = Vec::with_capacity(page.rows.len());
        let mut last = ("", 0);
        for row in &page.rows {
            if last.0 != row.table {
                last = (&row.table, judge.rank(&row.table));
            }
            ranks.push(last.1);
        }
        let (mut rows, mut deletes) = (Vec::with_capacity(page.rows.len()), Vec::new());
        for (at, row) in page.rows.iter().enumerate() {
            match row.row {
                Some(_) => rows.push((ranks[at], (0, 0), at)),
                None => deletes.push((Reverse(ranks[at]), at)),
            }
        }
        if links.is_none() && page.covers.is_empty() {
            settle_down(store, page, &mut rows);
        }
        rows.sort_unstable();
        deletes.sort_unstable();
        let mut units = Units::default();
        match &mut links {
            None => rows.iter().for_each(|(.., at)| units.push(*at, true)),
            Some(links) => {
                // The first of a group in this order is what the group goes by.
                let mut heads: HashMap<usize, usize> = HashMap::new();
                for (turn, (.., at)) in rows.iter().enumerate() {
                    heads.entry(links.root(*at)).or_insert(turn);
                }
                let mut turns: Vec<(usize, usize)> = (0..rows.len()).map(|turn| (0, turn)).collect();
                turns.iter_mut().for_each(|(head, turn)| *head = heads[&links.root(rows[*turn].2)]);
                turns.sort_unstable();
                let mut before = None;
                for (head, turn) in turns {
                    units.push(rows[turn].2, before != Some(head));
                    before = Some(head);
                }
            }
        }
        deletes.iter().for_each(|(_, at)| units.push(*at, true));
        units
    }

    fn push(&mut self, at: usize, alone: bool) {
        self.order.push(at as u32);
        let end = self.order.len() as u32;
        match self.ends.last_mut() {
            Some(last) if !alone => *last = end,
            _ => self.ends.push(end),
        }
    }
}

/// Puts the rows of a log where they lie, so that a slice writes to few pages: a snapshot's
/// lie so already. Where a row may have to let go of a value first that another takes, they
/// keep the log's order.
fn settle_down(store: &Store, page: &Page, rows: &mut [(usize, (i64, u128), usize)]) {
    let mut find = finder(store);
    for (_, place, at) in rows {
        if let Some(synced) = find(&page.rows[*at])
            && synced.table.unique.is_empty()
        {
            *place = base::place(synced.id, &page.rows[*at].key.encode());
        }
    }
}

/// Finds the table of one row after the other: mostly that of the last.
pub(super) fn finder<'a>(store: &'a Store) -> impl FnMut(&RemoteRow) -> Option<&'a Synced> {
    let mut last: Option<&Synced> = None;
    move |row| {
        if last.is_none_or(|synced| synced.name() != row.table) {
            last = store.find(&row.table);
        }
        last
    }
}

/// Which rows hang together; `None` when no row can refer to another.
fn linked(store: &Store, page: &Page) -> Option<Links> {
    let mut find = finder(store);
    let here: HashSet<i64> =
        page.rows.iter().filter(|row| row.row.is_some()).filter_map(&mut find).map(|synced| synced.id).collect();
    let parents: HashSet<i64> = here
        .iter()
        .flat_map(|id| &store.tables[id].table.foreign_keys)
        .filter_map(|foreign| store.find(&foreign.parent))
        .map(|parent| parent.id)
        .filter(|id| here.contains(id))
        .collect();
    if parents.is_empty() {
        return None;
    }
    let mut places: HashMap<(i64, &Key), usize> = HashMap::new();
    for (at, row) in page.rows.iter().enumerate().filter(|(_, row)| row.row.is_some()) {
        if let Some(synced) = find(row).filter(|synced| parents.contains(&synced.id)) {
            places.insert((synced.id, &row.key), at);
        }
    }
    let mut links = Links::new(page.rows.len());
    for (at, row) in page.rows.iter().enumerate() {
        let (Some(values), Some(synced)) = (&row.row, find(row)) else { continue };
        for foreign in &synced.table.foreign_keys {
            let Some(parent) = store.find(&foreign.parent).filter(|parent| parents.contains(&parent.id)) else {
                continue;
            };
            let value = |name: &String| {
                let place = row.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
                Some(values[place].clone())
            };
            let Some(key) = foreign.columns.iter().map(value).collect::<Option<Vec<Value>>>() else { continue };
            if let Some(parent) = places.get(&(parent.id, &Key::from(key))) {
                links.join(at, *parent);
            }
        }
    }
    Some(links)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::conflict::{Meeting, Resolution};
    use crate::model::{Revision, Stamp};
    use crate::store::apply::tests::opened_with;

    /// Parents first.
    struct Ranks;

    impl Judge for Ranks {
        fn judge(&self, _: &Meeting) -> Resolution {
            unreachable!("BUG: nothing is applied here")
        }

        fn rank(&self, table: &str) -> usize {
            usize::from(table == "item")
        }
    }

    /// `list 1`, `item 7 of 1`, `gone item 7`.
    fn row(written: &str) -> RemoteRow {
        let number =
            |at: usize| Value::Integer(written.split(' ').filter_map(|word| word.parse().ok()).nth(at).unwrap());
        let gone = written.starts_with("gone");
        let is_item = written.contains("item");
        let values = if is_item && !gone { vec![number(0), number(1)] } else { vec![number(0)] };
        RemoteRow {
            table: if is_item { "item" } else { "list" }.into(),
            key: Key::from(vec![number(0)]),
            revision: Revision(1),
            stamp: Stamp(1),
            columns: if is_item {
                ["id".to_owned(), "list".to_owned()][..].into()
            } else {
                ["id".to_owned()][..].into()
            },
            row: (!gone).then_some(values),
            device: String::new(),
            role: String::new(),
        }
    }

    const SCHEMA: &str = "CREATE TABLE list(id INTEGER PRIMARY KEY);
        CREATE TABLE item(id INTEGER PRIMARY KEY, list INTEGER REFERENCES list(id))";

    fn check(rows: &[&str], expected: &[&[&str]]) {
        check_with(SCHEMA, rows, expected);
    }

    fn check_with(schema: &str, rows: &[&str], expected: &[&[&str]]) {
        let folder = tempfile::tempdir().unwrap();
        let (_app, store) = opened_with(folder.path(), schema);
        let page = Page { rows: rows.iter().map(|written| row(written)).collect(), ..Page::default() };
        let units = Units::of(&store, &page, &Ranks);
        let found: Vec<Vec<&str>> =
            (0..units.len()).map(|unit| units.range(unit).map(|turn| rows[units.place(turn)]).collect()).collect();
        assert_eq!(found, expected);
        assert_eq!((units.rows(), units.start(units.len())), (rows.len(), rows.len()));
    }

    #[test]
    fn rows_that_refer_to_each_other_stay_together_and_deletes_come_last_children_first() {
        check(&[], &[]);
        check(
            &[
                "item 7 of 1",
                "gone list 4",
                "item 8 of 2",
                "list 1",
                "gone item 9",
                "list 2",
                "item 6 of 1",
                "item 5 of 3",
            ],
            &[
                &["list 1", "item 7 of 1", "item 6 of 1"],
                &["list 2", "item 8 of 2"],
                &["item 5 of 3"],
                &["gone item 9"],
                &["gone list 4"],
            ],
        );
    }
    #[test]
    fn rows_of_a_log_go_where_they_lie_unless_a_value_must_be_free_first() {
        let rows = ["item 2 of 9", "item 1 of 9", "item 3 of 9"];
        check(&rows, &[&["item 1 of 9"], &["item 2 of 9"], &["item 3 of 9"]]);
        let unique = SCHEMA.replace("list INTEGER REFERENCES", "list INTEGER UNIQUE REFERENCES");
        check_with(&unique, &rows, &[&["item 2 of 9"], &["item 1 of 9"], &["item 3 of 9"]]);
    }
}
