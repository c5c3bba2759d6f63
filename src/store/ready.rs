//! The next rows of a page, prepared before the app's lock is taken.
//!
//! Whatever needs only the row itself is worked out here: its table, its encoded key,
//! the body of its base. Only as many rows as a slice may take are prepared ahead, so
//! that a large page is not held twice.

use super::receive::Incoming;
use super::units::finder;
use super::{Store, Synced, base};
use crate::model::RemoteRow;

/// One row, prepared.
#[derive(Debug)]
pub(super) struct Ready {
    /// `None`: its table does not sync here.
    pub(super) tab: Option<i64>,
    pub(super) key: Vec<u8>,
    /// The body of its base, where it may be written as it came once it turns out that
    /// nothing here goes by its key.
    pub(super) body: Option<Vec<u8>>,
}

/// The keys of one table's prepared rows lie between these, both included.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) tab: i64,
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
}

impl Store {
    /// Prepares rows until there are enough for a slice of `rows_max`.
    pub fn make_ready(&self, incoming: &mut Incoming, rows_max: usize) {
        let Incoming { page, units, next, ready, .. } = incoming;
        if *next == units.len() {
            return;
        }
        let unit = units.range(*next);
        let end = units.rows().min(unit.end.max(unit.start + rows_max));
        let mut find = finder(self);
        for turn in unit.start + ready.len()..end {
            let row = &page.rows[units.place(turn)];
            let synced = find(row);
            ready.push_back(Ready {
                tab: synced.map(|synced| synced.id),
                key: row.key.encode(),
                body: synced.filter(|synced| self.may_arrive(synced, row)).and_then(|synced| {
                    let values = row.row.as_ref()?;
                    Some(base::body(synced, values))
                }),
            });
        }
    }

    /// Whether a row whose key nobody here has ever heard of is simply written: all its
    /// columns are here and no others, and no rule of its table asks for more.
    fn may_arrive(&self, synced: &Synced, remote: &RemoteRow) -> bool {
        !synced.fires
            && synced.rule.recent_within.is_none()
            && *remote.columns == *synced.columns
            // NULLs in a key are as many rows as you like to its index.
            && !remote.key.0.iter().any(crate::model::Value::is_null)
            && (!self.terms.by_content || self.doubts.is_empty())
    }
}

/// Between which keys the prepared rows lie, a table.
pub(super) fn stretches<'a>(ready: impl Iterator<Item = &'a Ready>) -> Vec<Stretch> {
    let mut out: Vec<(i64, &[u8], &[u8])> = Vec::new();
    for Ready { tab, key, body } in ready {
        let (Some(tab), Some(_)) = (tab, body) else { continue };
        match out.iter_mut().find(|(known, ..)| known == tab) {
            Some((_, from, to)) => (*from, *to) = ((*from).min(key), (*to).max(key)),
            None => out.push((*tab, key, key)),
        }
    }
    out.into_iter().map(|(tab, from, to)| Stretch { tab, from: from.to_vec(), to: to.to_vec() }).collect()
}
