//! How the changes that go hang together.
//!
//! A *group* is a set of changes that need each other in a circle (mostly one change
//! alone); a *unit* is a set of groups linked by needs in any direction. The groups
//! form no circles, so walking them always comes to an end and meets every need first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Candidate;
use crate::engine::graph::circles;
use crate::model::ReasonCode;

pub(super) struct Links {
    /// For each candidate, its group.
    group: Vec<usize>,
    /// For each group, the members that go, in the order of candidates.
    members: Vec<Vec<usize>>,
    /// For each group, the groups it needs. Their numbers are lower.
    needs: Vec<Vec<usize>>,
    /// For each group, its unit.
    unit: Vec<usize>,
    /// For each unit, its groups, lowest number first.
    units: Vec<Vec<usize>>,
}

impl Links {
    pub(super) fn new(candidates: &[Candidate], stays: &[Option<ReasonCode>]) -> Links {
        let goes = |at: &usize| stays[*at].is_none();
        let edges: Vec<Vec<usize>> =
            (0..candidates.len()).map(|at| if goes(&at) { candidates[at].needs.clone() } else { Vec::new() }).collect();
        let group = circles(&edges);
        let groups = group.iter().max().map_or(0, |last| last + 1);

        let mut members = vec![Vec::new(); groups];
        let mut needs = vec![Vec::new(); groups];
        for at in (0..candidates.len()).filter(goes) {
            members[group[at]].push(at);
            let others = edges[at].iter().map(|need| group[*need]).filter(|need| *need != group[at]);
            needs[group[at]].extend(others);
        }
        for list in &mut needs {
            list.sort_unstable();
            list.dedup();
        }
        let (unit, units) = unite(&needs);
        Links { group, members, needs, unit, units }
    }

    pub(super) fn group(&self, candidate: usize) -> usize {
        self.group[candidate]
    }

    pub(super) fn unit(&self, group: usize) -> usize {
        self.unit[group]
    }

    pub(super) fn unit_count(&self) -> usize {
        self.units.len()
    }

    pub(super) fn group_count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self, group: usize) -> &[usize] {
        &self.members[group]
    }

    pub(super) fn needs(&self, group: usize) -> &[usize] {
        &self.needs[group]
    }

    pub(super) fn groups_of(&self, unit: usize) -> &[usize] {
        &self.units[unit]
    }

    /// `groups` so that each comes after those it needs; among those that may come
    /// next, the one with the lowest key. Needs outside `groups` are not looked at.
    pub(super) fn walk<K: Ord>(&self, groups: &[usize], key: impl Fn(usize) -> K) -> Vec<usize> {
        let mut within = vec![false; self.members.len()];
        for group in groups {
            within[*group] = true;
        }
        let mut missing = vec![0; self.members.len()];
        let mut dependants = vec![Vec::new(); self.members.len()];
        for group in groups {
            for need in self.needs[*group].iter().filter(|need| within[**need]) {
                missing[*group] += 1;
                dependants[*need].push(*group);
            }
        }

        let ready = groups.iter().copied().filter(|group| missing[*group] == 0);
        let mut ready: BinaryHeap<_> = ready.map(|group| Reverse((key(group), group))).collect();
        let mut walked = Vec::with_capacity(groups.len());
        while let Some(Reverse((_, group))) = ready.pop() {
            walked.push(group);
            for dependant in &dependants[group] {
                missing[*dependant] -= 1;
                if missing[*dependant] == 0 {
                    ready.push(Reverse((key(*dependant), *dependant)));
                }
            }
        }
        walked
    }
}

/// The unit of each group, and the groups of each unit.
fn unite(needs: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut root: Vec<usize> = (0..needs.len()).collect();
    for (group, list) in needs.iter().enumerate() {
        for need in list {
            let (one, other) = (find(&mut root, group), find(&mut root, *need));
            root[one.max(other)] = one.min(other);
        }
    }
    let mut unit = vec![0; needs.len()];
    let mut units: Vec<Vec<usize>> = Vec::new();
    for group in 0..needs.len() {
        let first = find(&mut root, group);
        if first == group {
            units.push(Vec::new());
        }
        unit[group] = if first == group { units.len() - 1 } else { unit[first] };
        units[unit[group]].push(group);
    }
    (unit, units)
}

/// The lowest group of a set, halving the path to it on the way.
fn find(root: &mut [usize], mut at: usize) -> usize {
    while root[at] != at {
        root[at] = root[root[at]];
        at = root[at];
    }
    at
}
