//! What needs what among the candidates: parents before children, children's leaving
//! before their parents' deletes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Gathered, Named, Places, Reader, UnderWay};
use crate::model::{Key, Operation, ReasonCode, Revision, Row};
use crate::sqlite::digest;
use crate::store::aside::{self, Standing};
use crate::store::base::{Base, Difference};
use crate::store::{Now, Result, Store, Synced, row};

impl Store {
    /// Fills in what needs what. A parent that the remote never had and that is not in
    /// the window comes along.
    pub(super) fn link(
        &self,
        gathered: &mut Gathered,
        places: &mut Places,
        reader: &mut Reader,
        under_way: &UnderWay,
        now: Now,
    ) -> Result<()> {
        let mut at = 0;
        while gathered.links && at < gathered.candidates.len() {
            if gathered.candidates[at].change.operation != Operation::Delete {
                self.link_parents(at, gathered, places, reader, under_way, now)?;
            }
            at += 1;
        }
        link_deletes(&self.tables, gathered);
        Ok(())
    }

    fn link_parents(
        &self,
        at: usize,
        gathered: &mut Gathered,
        places: &mut Places,
        reader: &mut Reader,
        under_way: &UnderWay,
        now: Now,
    ) -> Result<()> {
        let synced = &self.tables[&gathered.candidates[at].tab];
        for foreign in &synced.table.foreign_keys {
            let change = &gathered.candidates[at].change;
            let place = |name: &String| change.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
            let Some(places_of) = foreign.columns.iter().map(place).collect::<Option<Vec<usize>>>() else {
                continue; // the reference did not change
            };
            let values: Row = places_of.into_iter().map(|at| change.values[at].clone()).collect();
            let Some(parent) = self.find(&foreign.parent) else { continue };
            if values.iter().any(crate::model::Value::is_null) {
                continue;
            }
            for key in self.parent_keys(parent, &foreign.parent_columns, values)? {
                let encoded = key.encode();
                let needed = match places.get(&digest::numbered(parent.id, &encoded)) {
                    Some(place) => Some(*place),
                    None if under_way.has(digest::numbered(parent.id, &encoded)) => None,
                    None => self.bring(parent, key, encoded, gathered, places, reader, now)?,
                };
                if let Some(needed) = needed
                    && gathered.candidates[needed].change.operation != Operation::Delete
                    && gathered.candidates[needed].change.base_revision == Revision::NONE
                {
                    gathered.candidates[at].needs.push(needed);
                }
            }
        }
        Ok(())
    }

    fn parent_keys(&self, parent: &Synced, columns: &[String], values: Row) -> Result<Vec<Key>> {
        let by_key = columns.len() == parent.table.key.len()
            && columns.iter().zip(&parent.table.key).all(|(a, b)| a.eq_ignore_ascii_case(b));
        if by_key { Ok(vec![Key::from(values)]) } else { row::keys_where(&self.db, parent, columns, &values, 2) }
    }

    /// A parent outside the window: a candidate too, if the remote never had it.
    #[allow(clippy::too_many_arguments)]
    fn bring(
        &self,
        parent: &Synced,
        key: Key,
        encoded: Vec<u8>,
        gathered: &mut Gathered,
        places: &mut Places,
        reader: &mut Reader,
        now: Now,
    ) -> Result<Option<usize>> {
        let base = reader.base(self.era, parent, &encoded)?;
        if base.as_ref().is_some_and(|base| base.revision != Revision::NONE) {
            return Ok(None);
        }
        let known = aside::read(&self.db, parent.id, &encoded)?;
        let since = known.as_ref().and_then(|known| known.since).unwrap_or(now.millis);
        let named = Named { tab: parent.id, key, encoded, seqs: Vec::new(), since, written: since, old: true };
        let met = (reader.row(parent, &named.key)?, base);
        let Some(place) = self.consider(named, met, now, &HashSet::new(), gathered, places)? else {
            return Ok(None);
        };
        if let Some(known) = known
            && known.standing == Standing::SetAside
        {
            gathered.candidates[place].held = ReasonCode::parse(&known.code).or(Some(ReasonCode::RowRefused));
        }
        Ok(Some(place))
    }
}

/// What a row's foreign keys were at the remote, where it is leaving them.
pub(super) fn left_parents(synced: &Synced, base: Option<&Base>, difference: &Difference) -> Vec<(String, Vec<u64>)> {
    let (Some(base), Difference::Gone | Difference::Changed(_)) = (base, difference) else { return Vec::new() };
    let foreign = synced.table.foreign_keys.iter();
    foreign
        .filter_map(|foreign| {
            let hashes = foreign.columns.iter().map(|name| {
                let at = synced.table.position(name)?;
                Some(base.hash_under(synced, at))
            });
            Some((foreign.parent.to_ascii_lowercase(), hashes.collect::<Option<Vec<u64>>>()?))
        })
        .collect()
}

/// A parent's delete needs the changes by which its children leave it; a new key needs
/// the delete of an old one that a collation calls the same.
fn link_deletes(tables: &BTreeMap<i64, Synced>, gathered: &mut Gathered) {
    let mut leaving: HashMap<(&str, &[u64]), Vec<usize>> = HashMap::new();
    let mut deletes: HashMap<(i64, String), usize> = HashMap::new();
    for (at, candidate) in gathered.candidates.iter().enumerate() {
        for (parent, hashes) in &candidate.left {
            leaving.entry((parent, hashes)).or_default().push(at);
        }
        if candidate.change.operation == Operation::Delete {
            deletes.insert((candidate.tab, folded(&candidate.change.key)), at);
        }
    }
    let mut needs: Vec<(usize, usize)> = Vec::new();
    for (at, candidate) in gathered.candidates.iter().enumerate() {
        let synced = &tables[&candidate.tab];
        if candidate.change.operation == Operation::Delete {
            let name = synced.name().to_ascii_lowercase();
            let hashes: Vec<u64> = candidate.change.key.0.iter().map(digest::value).collect();
            let children = leaving.get(&(name.as_str(), hashes.as_slice()));
            needs.extend(children.into_iter().flatten().filter(|child| **child != at).map(|child| (at, *child)));
        } else if synced.table.key.iter().any(|name| {
            synced.table.position(name).is_some_and(|column| synced.table.columns[column].collation.is_some())
        }) {
            let old = deletes.get(&(candidate.tab, folded(&candidate.change.key)));
            needs.extend(old.map(|old| (at, *old)));
        }
    }
    for (at, needed) in needs {
        gathered.candidates[at].needs.push(needed);
    }
}

fn folded(key: &Key) -> String {
    key.to_text().to_ascii_lowercase()
}
