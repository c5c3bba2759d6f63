//! Decides the next batch: which changes go, in which order, and why.
//!
//! What a change needs goes before it or with it, whatever the priorities say. Then
//! the more urgent goes first, then the older. Rows linked by needs are not split over
//! two batches while they fit into one. A change that stays keeps back what needs it
//! and nothing else. A batch stays within its bounds unless its first row alone is
//! larger. Planning what is left again and again comes to an end.
//!
//! Within the batch: puts, parents' tables first; then deletes, in reverse; where a
//! need says otherwise (a delete that frees a value for a put), the need wins. Rows
//! that need each other stand together, and the remote checks keys at the end.
//!
//! Never sends, never looks at rows: the caller finds the needs and what is held.

mod links;
#[cfg(test)]
mod tests;
mod urgency;

use std::sync::Arc;

use self::links::Links;
use self::urgency::Urgencies;
use super::Order;
use crate::model::settings::Priority;
use crate::model::{Key, Operation, ReasonCode, Seq};

/// One folded change of the outbox, as far as planning is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub table: Arc<str>,
    pub key: Key,
    pub operation: Operation,
    pub priority: Priority,
    /// The oldest unsent write of the row.
    pub seq: Seq,
    pub bytes: usize,
    /// Candidates that must be on the remote before this one or with it: the parents
    /// of a put, the children's deletes and moves of a delete.
    pub needs: Vec<usize>,
    /// Set aside, not due yet, a deletion to be asked about: it stays.
    pub held: Option<ReasonCode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub rows_max: usize,
    pub bytes_max: usize,
    /// A larger row is set aside by name.
    pub row_bytes_max: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The batch: places in the list of candidates, in the order they are sent.
    pub order: Vec<usize>,
    /// For each of `order`, why it is in this batch.
    pub why: Vec<Why>,
    /// What stays: held, too large, or in need of one that stays.
    pub staying: Vec<(usize, ReasonCode)>,
    /// True when a later batch has something to send.
    pub more: bool,
}

/// Why a change is in the batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// By its priority, and by its age among equals.
    Priority(Priority),
    /// By its age alone: everything has the same priority.
    Oldest,
    /// A more urgent change needs it.
    NeededBy { table: Arc<str>, key: Key },
    /// The rule `after` of a table with more urgent changes names this table.
    BeforeTable { table: Arc<str> },
    /// Linked to a more urgent change, and not split from it.
    Together { table: Arc<str>, key: Key },
}

impl Why {
    /// For people: `homing plan` prints it behind the change.
    pub fn sentence(&self) -> String {
        match self {
            Why::Priority(priority) => format!("priority {}", priority.word()),
            Why::Oldest => "oldest first".to_owned(),
            Why::NeededBy { table, key } => format!("before {table} {key}, which needs it"),
            Why::BeforeTable { table } => format!("before the changes of {table}, which come after it by rule"),
            Why::Together { table, key } => format!("together with {table} {key}, which it is linked to"),
        }
    }
}

pub fn plan(candidates: &[Candidate], order: &Order, limits: &Limits) -> Plan {
    let stays = staying(candidates, limits);
    let links = Links::new(candidates, &stays);
    let urgency = Urgencies::new(candidates, order, &stays, &links);
    let taken = fill(candidates, limits, &links, &urgency);
    let order = sequence(candidates, order, &links, &taken);
    Plan {
        why: order.iter().map(|at| urgency.why(*at, candidates, &links)).collect(),
        more: order.len() < stays.iter().filter(|stay| stay.is_none()).count(),
        staying: stays.iter().enumerate().filter_map(|(at, stay)| stay.map(|code| (at, code))).collect(),
        order,
    }
}

/// What stays and why. A change that needs one that waits for a person waits for a
/// person too; one that needs a change that is not due yet waits for that.
fn staying(candidates: &[Candidate], limits: &Limits) -> Vec<Option<ReasonCode>> {
    let mut dependants = vec![Vec::new(); candidates.len()];
    for (at, candidate) in candidates.iter().enumerate() {
        for need in &candidate.needs {
            dependants[*need].push(at);
        }
    }
    let too_large = |candidate: &Candidate| (candidate.bytes > limits.row_bytes_max).then_some(ReasonCode::RowTooLarge);
    let own: Vec<Option<ReasonCode>> =
        candidates.iter().map(|candidate| candidate.held.or(too_large(candidate))).collect();

    let mut stays = own.clone();
    for (persons, code) in [(true, ReasonCode::ParentSetAside), (false, ReasonCode::PendingParent)] {
        let root = |at: &usize| own[*at].is_some_and(|code| waits_for_a_person(code) == persons);
        let mut next: Vec<usize> = (0..candidates.len()).filter(root).collect();
        let mut seen = vec![false; candidates.len()];
        while let Some(at) = next.pop() {
            for dependant in &dependants[at] {
                if !std::mem::replace(&mut seen[*dependant], true) {
                    stays[*dependant].get_or_insert(code);
                    next.push(*dependant);
                }
            }
        }
    }
    stays
}

fn waits_for_a_person(code: ReasonCode) -> bool {
    !matches!(
        code,
        ReasonCode::PendingDebounce
            | ReasonCode::PendingSchedule
            | ReasonCode::PendingParent
            | ReasonCode::PendingRetry
    )
}

/// The batch, in no order yet.
fn fill(candidates: &[Candidate], limits: &Limits, links: &Links, urgency: &Urgencies) -> Vec<usize> {
    let mut batch = Batch { candidates, limits, taken: Vec::new(), bytes: 0 };
    for unit in urgency.units() {
        let groups = links.groups_of(unit);
        let members: Vec<usize> = groups.iter().flat_map(|group| links.members(*group)).copied().collect();
        if batch.take(&members) {
            continue;
        }
        // What comes later could still fit; letting it by would make a large unit wait
        // for ever behind a stream of small ones.
        if batch.would_hold(&members) {
            break;
        }
        // Too large for any batch: cut where its needs allow.
        for group in links.walk(groups, |group| urgency.of_group(group)) {
            let mut members = links.members(group).to_vec();
            if batch.take(&members) {
                continue;
            }
            members.sort_unstable_by_key(|at| (candidates[*at].priority, candidates[*at].seq));
            if batch.would_hold(&members) || !members.iter().all(|at| batch.take(&[*at])) {
                return batch.taken;
            }
        }
    }
    batch.taken
}

struct Batch<'a> {
    candidates: &'a [Candidate],
    limits: &'a Limits,
    taken: Vec<usize>,
    bytes: usize,
}

impl Batch<'_> {
    /// Takes all of `members` or none. The first row always gets in: no row waits for ever.
    fn take(&mut self, members: &[usize]) -> bool {
        let bytes = self.bytes.saturating_add(self.weigh(members));
        let rows = self.taken.len() + members.len();
        let fits = rows <= self.limits.rows_max && bytes <= self.limits.bytes_max || rows == 1;
        if fits {
            self.taken.extend(members);
            self.bytes = bytes;
        }
        fits
    }

    /// True when `members` fit into a batch of their own.
    fn would_hold(&self, members: &[usize]) -> bool {
        members.len() <= self.limits.rows_max && self.weigh(members) <= self.limits.bytes_max
    }

    fn weigh(&self, members: &[usize]) -> usize {
        members.iter().fold(0, |sum, at| sum.saturating_add(self.candidates[*at].bytes))
    }
}

/// The order within the batch.
fn sequence(candidates: &[Candidate], order: &Order, links: &Links, taken: &[usize]) -> Vec<usize> {
    let rank = |at: usize| {
        let Candidate { table, operation, priority, seq, .. } = &candidates[at];
        (place(order, table, *operation), *priority, *seq, at)
    };
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut sorted = taken.to_vec();
    sorted.sort_unstable_by_key(|at| (links.group(*at), rank(*at)));
    for at in sorted {
        match groups.last_mut() {
            Some((group, members)) if *group == links.group(at) => members.push(at),
            _ => groups.push((links.group(at), vec![at])),
        }
    }
    let numbers: Vec<usize> = groups.iter().map(|(group, _)| *group).collect();
    let members = |group: usize| {
        let at = numbers.binary_search(&group).expect("BUG: the walk stays within its groups");
        &groups[at].1
    };
    links.walk(&numbers, |group| rank(members(group)[0])).into_iter().flat_map(members).copied().collect()
}

/// Where a change stands by its table: puts before deletes, parents' puts first,
/// parents' deletes last.
fn place(order: &Order, table: &str, operation: Operation) -> usize {
    let rank = order.rank(table);
    match operation {
        Operation::Insert | Operation::Update => rank,
        Operation::Delete => order.len() * 2 + 1 - rank,
    }
}
