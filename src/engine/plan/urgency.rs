//! How urgent each change is, once it is known who waits for it.
//!
//! A change is as urgent as the most urgent one that needs it, and rows of a table
//! that `after` names are as urgent as the most urgent row behind them. So a sort by
//! urgency never has to be corrected for dependencies, and each change can say which
//! other one brought it forward.

use std::sync::Arc;

use super::{Candidate, Links, Why, place};
use crate::engine::Order;
use crate::model::settings::Priority;
use crate::model::{Operation, ReasonCode, Seq};

/// Lower is more urgent. The place decides between a row and those that come after it
/// by rule, which share their priority and age with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency {
    priority: Priority,
    seq: Seq,
    place: usize,
}

/// An urgency, and the candidate it was first the urgency of.
type Traced = (Urgency, usize);

pub(super) struct Urgencies {
    /// For each group that goes.
    groups: Vec<Option<Traced>>,
    /// For each unit that goes, that of its most urgent group.
    units: Vec<Option<Traced>>,
    /// For each candidate, the table whose rows made it more urgent by rule.
    ruled: Vec<Option<Arc<str>>>,
    /// True when all that goes has one priority.
    uniform: bool,
}

impl Urgencies {
    pub(super) fn new(
        candidates: &[Candidate],
        order: &Order,
        stays: &[Option<ReasonCode>],
        links: &Links,
    ) -> Urgencies {
        let goes: Vec<usize> = (0..candidates.len()).filter(|at| stays[*at].is_none()).collect();
        let mut ruled = vec![None; candidates.len()];
        let mut groups: Vec<Option<Traced>> = vec![None; links.group_count()];
        let rules = Rules::new(candidates, order, &goes);
        for at in goes.iter().copied() {
            let candidate = &candidates[at];
            let mut own = Urgency {
                priority: candidate.priority,
                seq: candidate.seq,
                place: place(order, &candidate.table, candidate.operation),
            };
            if let Some((priority, seq, table)) = rules.ahead(candidate, order)
                && (priority, seq) < (own.priority, own.seq)
            {
                own = Urgency { priority, seq, ..own };
                ruled[at] = Some(table.clone());
            }
            better(&mut groups[links.group(at)], (own, at));
        }
        // Numbers fall along needs, so those who need a group have been heard before it.
        for group in (0..links.group_count()).rev() {
            if let Some(urgency) = groups[group] {
                links.needs(group).iter().for_each(|need| better(&mut groups[*need], urgency));
            }
        }
        let mut units = vec![None; links.unit_count()];
        for (group, urgency) in groups.iter().enumerate() {
            if let Some(urgency) = urgency {
                better(&mut units[links.unit(group)], *urgency);
            }
        }
        let uniform = goes.windows(2).all(|pair| candidates[pair[0]].priority == candidates[pair[1]].priority);
        Urgencies { groups, units, ruled, uniform }
    }

    /// The units that go, most urgent first.
    pub(super) fn units(&self) -> Vec<usize> {
        let mut units: Vec<usize> = (0..self.units.len()).filter(|unit| self.units[*unit].is_some()).collect();
        units.sort_unstable_by_key(|unit| self.units[*unit]);
        units
    }

    pub(super) fn of_group(&self, group: usize) -> Urgency {
        self.groups[group].expect("BUG: a group in the plan goes").0
    }

    pub(super) fn why(&self, at: usize, candidates: &[Candidate], links: &Links) -> Why {
        let group = links.group(at);
        let priority = candidates[at].priority;
        let (urgency, source) = self.groups[group].expect("BUG: a change in the plan goes");
        let (unit, lead) = self.units[links.unit(group)].expect("BUG: a unit in the plan goes");
        let name = |at: usize| (candidates[at].table.clone(), candidates[at].key.clone());
        if let Some(table) = self.ruled[at].as_ref().filter(|_| source == at) {
            Why::BeforeTable { table: table.clone() }
        } else if (urgency.priority, urgency.seq) < (priority, candidates[at].seq) {
            let (table, key) = name(source);
            let circle = links.group(source) == group;
            if circle { Why::Together { table, key } } else { Why::NeededBy { table, key } }
        } else if unit.priority < priority {
            let (table, key) = name(lead);
            Why::Together { table, key }
        } else if self.uniform {
            Why::Oldest
        } else {
            Why::Priority(priority)
        }
    }
}

/// Keeps the more urgent of the two.
fn better(kept: &mut Option<Traced>, other: Traced) {
    *kept = Some(kept.map_or(other, |kept| kept.min(other)));
}

/// What `after` rules ask for: all puts of a table before all puts of those that come
/// after it, and its deletes after theirs.
struct Rules {
    /// By place of a table: the most urgent put behind its puts, and of which table.
    puts: Vec<Option<(Priority, Seq, Arc<str>)>>,
    /// The same for its deletes.
    deletes: Vec<Option<(Priority, Seq, Arc<str>)>>,
}

impl Rules {
    fn new(candidates: &[Candidate], order: &Order, goes: &[usize]) -> Rules {
        let mut rules = Rules { puts: vec![None; order.len()], deletes: vec![None; order.len()] };
        let mut tables: Vec<usize> = (0..order.len()).filter(|table| order.after_at(*table).next().is_some()).collect();
        if tables.is_empty() {
            return rules;
        }
        let mut own = [vec![None; order.len()], vec![None; order.len()]];
        for candidate in goes.iter().map(|at| &candidates[*at]) {
            if let Some(table) = order.place(&candidate.table) {
                let best = &mut own[usize::from(candidate.operation == Operation::Delete)][table];
                let urgency = (candidate.priority, candidate.seq, candidate.table.clone());
                if best.as_ref().is_none_or(|best| urgency < *best) {
                    *best = Some(urgency);
                }
            }
        }
        // Handed on through tables that have nothing to send.
        let hand = |from: Option<&(Priority, Seq, Arc<str>)>, to: &mut Option<(Priority, Seq, Arc<str>)>| {
            if let Some(from) = from
                && to.as_ref().is_none_or(|to| from < to)
            {
                *to = Some(from.clone());
            }
        };
        tables.sort_unstable_by_key(|table| order.rank_at(*table));
        for table in tables.iter().rev() {
            for first in order.after_at(*table) {
                let behind =
                    [own[0][*table].as_ref(), rules.puts[*table].as_ref()].into_iter().flatten().min().cloned();
                hand(behind.as_ref(), &mut rules.puts[first]);
            }
        }
        for table in &tables {
            for first in order.after_at(*table) {
                let behind =
                    [own[1][first].as_ref(), rules.deletes[first].as_ref()].into_iter().flatten().min().cloned();
                hand(behind.as_ref(), &mut rules.deletes[*table]);
            }
        }
        rules
    }

    fn ahead(&self, candidate: &Candidate, order: &Order) -> Option<(Priority, Seq, &Arc<str>)> {
        let rules = if candidate.operation == Operation::Delete { &self.deletes } else { &self.puts };
        let (priority, seq, table) = rules[order.place(&candidate.table)?].as_ref()?;
        Some((*priority, *seq, table))
    }
}
