//! What an onlooker knows of each row: who wrote it, what the hub has ever had for it.
//!
//! Compares what an app finds after each step of its agent with what it wrote itself,
//! and in the end each row that only one device ever touched with what that device
//! wrote last. Knows nothing of revisions, bases or logs.

use std::collections::{BTreeMap, BTreeSet};

use super::look::{Look, Place};
use crate::model::Row;

#[derive(Default)]
pub(super) struct Witness {
    /// Rows as their apps left them, where just one device ever wrote them.
    owned: BTreeMap<Place, Owned>,
    /// What each device's app wrote and the hub has not had yet.
    unsent: Vec<BTreeMap<Place, Unsent>>,
    /// Every version the hub had, in its order; a row begins as absent.
    versions: BTreeMap<Place, Vec<Option<Row>>>,
    /// How far along `versions` each device is known to be.
    reached: Vec<BTreeMap<Place, usize>>,
    /// What stood in a row before a write that is not unsent, as the hub says the same
    /// already or nobody knows what a restored copy had: put back, that is no write at all,
    /// and may go when the hub's is heard.
    stood: Vec<BTreeMap<Place, Option<Row>>>,
    /// Which of `versions` each device was told while it had an unsent write. To have
    /// written the same is to have nothing unsent.
    told: Vec<BTreeMap<Place, BTreeSet<usize>>>,
    /// Which of `versions` stood at the hub when a device last asked, until that is its own.
    heard: Vec<BTreeMap<Place, usize>>,
}

struct Owned {
    device: usize,
    last: Option<Row>,
    /// Somebody else wrote it too, or a copy took it back.
    shared: bool,
}

struct Unsent {
    now: Option<Row>,
    /// As it was before the first unsent write.
    before: Option<Row>,
    /// What the app wrote on the way to `now`: the hub may get it late.
    between: Vec<Option<Row>>,
}

impl Witness {
    pub(super) fn new(devices: usize) -> Witness {
        Witness {
            unsent: (0..devices).map(|_| BTreeMap::new()).collect(),
            reached: vec![BTreeMap::new(); devices],
            stood: vec![BTreeMap::new(); devices],
            told: vec![BTreeMap::new(); devices],
            heard: vec![BTreeMap::new(); devices],
            ..Witness::default()
        }
    }

    /// An app committed a transaction. Returns the rows that it put back as they stood.
    pub(super) fn app_wrote(&mut self, device: usize, before: &Look, after: &Look) -> Vec<Place> {
        let mut put_back = Vec::new();
        for place in before.changed(after) {
            let (old, new) = (before.rows.get(place).cloned(), after.rows.get(place).cloned());
            let owned = self.owned.entry(place.clone()).or_insert(Owned { device, last: None, shared: false });
            owned.shared |= owned.device != device;
            owned.last = new.clone();
            // A restored copy has rows of which nobody can say what they came from; one
            // that is deleted before the hub was heard leaves nothing to compare.
            let strange = match &old {
                Some(_) if new.is_none() => !self.reached[device].contains_key(place),
                Some(_) => !self.versions.get(place).is_some_and(|list| list.contains(&old)),
                None => false,
            };
            if strange && !self.unsent[device].contains_key(place) {
                self.stood[device].insert(place.clone(), old);
                continue;
            }
            if self.stood[device].remove(place).is_some_and(|stood| stood == new) {
                put_back.push(place.clone());
                continue;
            }
            if !self.unsent[device].contains_key(place) {
                // Written while a page that says the same was on its way to the row.
                let heard = self.heard[device].get(place).map(|at| BTreeSet::from([*at]));
                self.told[device].insert(place.clone(), heard.unwrap_or_default());
            }
            let first = Unsent { now: old.clone(), before: old, between: Vec::new() };
            let unsent = self.unsent[device].entry(place.clone()).or_insert(first);
            unsent.between.push(unsent.now.take());
            unsent.now = new;
            let at_hub = self.versions.get(place).and_then(|list| list.last().cloned()).flatten();
            if unsent.now == unsent.before || unsent.now == at_hub {
                let unsent = self.unsent[device].remove(place).expect("BUG: it is there");
                if unsent.now == unsent.before {
                    put_back.push(place.clone());
                }
                self.stood[device].insert(place.clone(), unsent.before);
            }
        }
        put_back
    }

    /// Somebody wrote to the hub with SQL.
    pub(super) fn hub_wrote(&mut self, before: &Look, after: &Look) {
        for place in before.changed(after) {
            self.owned.entry(place.clone()).or_insert(Owned { device: 0, last: None, shared: true }).shared = true;
        }
    }

    /// The hub is as `after` now, taken from an older copy or not; notes every version it
    /// has not had in this order.
    pub(super) fn hub_is(&mut self, before: &Look, after: &Look, restored: bool) {
        for place in before.changed(after) {
            let now = after.rows.get(place).cloned();
            let versions = self.versions.entry(place.clone()).or_insert_with(|| vec![None]);
            for (device, (unsent, reached)) in self.unsent.iter_mut().zip(&mut self.reached).enumerate() {
                match unsent.get_mut(place) {
                    Some(unsent) if unsent.between.contains(&now) && unsent.now != now => unsent.before = now.clone(),
                    Some(mine) if mine.now == now => {
                        let sent = unsent.remove(place).expect("BUG: it is there");
                        if restored {
                            self.stood[device].insert(place.clone(), sent.before);
                        }
                        self.heard[device].remove(place);
                        // Another's value that two devices moved alike: nobody can say whose it is.
                        let own =
                            super::tokens::of(now.as_ref()).iter().all(|token| token.ends_with(&format!("-{device}")));
                        match own {
                            true => drop(reached.insert(place.clone(), versions.len())),
                            false => drop(reached.remove(place)),
                        }
                    }
                    _ => {}
                }
            }
            versions.push(now);
        }
    }

    /// Tokens in rows that a device's app wrote and the hub has not had. A row that was
    /// moved to another key may have been deleted at the hub already.
    pub(super) fn unsent_tokens(&self, device: usize) -> BTreeSet<String> {
        self.unsent[device].values().flat_map(|unsent| super::tokens::of(unsent.now.as_ref())).collect()
    }

    /// A device's file is an older copy now: what its app wrote since is nobody's.
    pub(super) fn device_restored(&mut self, device: usize) {
        self.unsent[device].clear();
        self.reached[device].clear();
        self.stood[device].clear();
        self.told[device].clear();
        self.heard[device].clear();
        self.owned.values_mut().filter(|owned| owned.device == device).for_each(|owned| owned.shared = true);
    }

    pub(super) fn hub_restored(&mut self) {
        self.owned.values_mut().for_each(|owned| owned.shared = true);
    }

    /// A device has been told how the hub's rows are now.
    pub(super) fn fetched(&mut self, device: usize) {
        self.heard[device] = self.versions.iter().map(|(place, list)| (place.clone(), list.len() - 1)).collect();
        for place in self.unsent[device].keys() {
            let last = self.versions.get(place).map_or(0, |list| list.len() - 1);
            self.told[device].entry(place.clone()).or_default().insert(last);
        }
    }

    /// Promise 6: an agent's step took nothing back that its own app wrote, unless the
    /// ledger says so; and moved no row back to an older version of the hub's.
    pub(super) fn agent_stepped(&mut self, device: usize, before: &Look, after: &Look) -> Result<(), String> {
        // What lost is in the ledger from now on, though the row may stand a while longer.
        self.unsent[device].retain(|(table, key), _| after.conflicts_of(table, key) <= before.conflicts_of(table, key));
        for place in before.changed(after) {
            self.stood[device].remove(place);
            self.heard[device].remove(place);
            let told_before = self.told[device].remove(place).unwrap_or_default();
            let (old, new) = (before.rows.get(place), after.rows.get(place));
            let sentence = || format!("{} {} of device {device} went from {old:?} to {new:?}", place.0, place.1);
            let recorded = after.conflicts_of(place.0, &place.1) > before.conflicts_of(place.0, &place.1);
            let unsent = self.unsent[device].get_mut(place).filter(|unsent| unsent.now.as_ref() == old);
            let versions = self.versions.get(place).map_or(&[][..], Vec::as_slice);
            let same = |unsent: &Unsent| told_before.iter().any(|at| versions.get(*at) == Some(&unsent.now));
            match unsent {
                Some(unsent) if !unsent.survives(new) && same(unsent) => drop(self.unsent[device].remove(place)),
                Some(unsent) if !unsent.survives(new) => {
                    return Err(format!("promise 6: {}: it was not sent, and no ledger has it", sentence()));
                }
                Some(unsent) => {
                    unsent.merged_with(new);
                    // Merged into what the hub has already: nothing of it is unsent.
                    if self.versions.get(place).and_then(|list| list.last()) == Some(&unsent.now) {
                        self.unsent[device].remove(place);
                    }
                }
                None => {}
            }
            let versions = self.versions.get(place).map_or(&[][..], Vec::as_slice);
            let reached = self.reached[device].entry(place.clone()).or_default();
            match versions.iter().skip(*reached).position(|version| version.as_ref() == new) {
                Some(further) => *reached += further,
                None if !recorded && versions.iter().any(|version| version.as_ref() == new) => {
                    return Err(format!("promise 6: {}: an older version of the hub's", sentence()));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// In the end, each row of one device's own is as that device's app left it.
    pub(super) fn own_rows_hold(&self, hub: &Look, files: &[std::sync::Arc<Look>]) -> Result<usize, String> {
        let mut held = 0;
        for (place, owned) in self.owned.iter().filter(|(_, owned)| !owned.shared) {
            if files.iter().any(|file| file.conflicts_of(place.0, &place.1) > 0) {
                continue;
            }
            let there = hub.rows.get(place);
            if there != owned.last.as_ref() {
                return Err(format!(
                    "{} {}: only device {} ever wrote it, last as {:?}, and the hub has {there:?}",
                    place.0, place.1, owned.device, owned.last
                ));
            }
            held += 1;
        }
        Ok(held)
    }
}

impl Unsent {
    /// The other side's columns came in: they are nothing that the app wrote.
    fn merged_with(&mut self, new: Option<&Row>) {
        if let (Some(before), Some(now), Some(new)) = (&mut self.before, &self.now, new) {
            let came = (0..now.len()).filter(|at| new[*at] != now[*at]);
            came.for_each(|at| before[at] = new[at].clone());
        }
        self.now = new.cloned();
    }

    /// Whether `new` still has all that the app wrote: a merge may bring the other
    /// side's columns, and nothing else.
    fn survives(&self, new: Option<&Row>) -> bool {
        match (&self.before, &self.now, new) {
            (Some(before), Some(now), Some(new)) => {
                (0..now.len()).all(|at| now[at] == before[at] || new[at] == now[at])
            }
            (_, now, new) => now.as_ref() == new,
        }
    }
}
