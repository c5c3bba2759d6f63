//! Which tables come before which: from foreign keys and from `after` in the config.
//!
//! Parents have the lower rank. Tables that refer to each other in a circle share one
//! rank; a table that refers to itself is such a circle of one. Parents that do not
//! sync are left out of the picture. Names compare as SQLite compares them: ASCII case
//! is ignored. The outcome does not depend on the order in which tables are given.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::Table;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// Places in the lists below, by lower-case name.
    places: HashMap<String, usize>,
    ranks: Vec<usize>,
    parents: Vec<Vec<String>>,
    descendants: Vec<Vec<String>>,
    /// Places of the parents that an `after` rule names.
    after: Vec<Vec<usize>>,
}

impl Order {
    pub fn new(tables: &[Table], after: &BTreeMap<String, Vec<String>>) -> Order {
        let names: BTreeMap<String, &str> = tables.iter().map(|table| (lower(&table.name), &*table.name)).collect();
        let places: HashMap<String, usize> = names.keys().cloned().zip(0..).collect();
        let spelled: Vec<&str> = names.values().copied().collect();

        let place = |name: &String| places.get(&lower(name)).copied();

        let mut parents = vec![BTreeSet::new(); places.len()];
        for table in tables {
            let child = places[&lower(&table.name)];
            parents[child].extend(table.foreign_keys.iter().filter_map(|key| place(&key.parent)));
        }
        let mut ruled = vec![BTreeSet::new(); places.len()];
        for (table, firsts) in after {
            if let Some(child) = place(table) {
                ruled[child].extend(firsts.iter().filter_map(place));
                parents[child].extend(&ruled[child]);
            }
        }

        let lists = |sets: Vec<BTreeSet<usize>>| -> Vec<Vec<usize>> {
            sets.into_iter().map(|set| set.into_iter().collect()).collect()
        };
        let parents = lists(parents);
        let spell = |list: &[usize]| list.iter().map(|at| spelled[*at].to_owned()).collect();
        Order {
            ranks: circles(&parents),
            descendants: descendants(&parents).iter().map(|list| spell(list)).collect(),
            parents: parents.iter().map(|list| spell(list)).collect(),
            after: lists(ruled),
            places,
        }
    }

    /// Parents lower. A table that is not known comes last.
    pub fn rank(&self, table: &str) -> usize {
        self.place(table).map_or(self.ranks.len(), |at| self.ranks[at])
    }

    /// The tables that this one refers to or comes after; itself where it refers to itself.
    pub fn parents(&self, table: &str) -> &[String] {
        self.place(table).map_or(&[], |at| &self.parents[at])
    }

    /// The tables that refer to this one or come after it, directly or through others;
    /// itself where it is part of a circle.
    pub fn descendants(&self, table: &str) -> &[String] {
        self.place(table).map_or(&[], |at| &self.descendants[at])
    }

    /// Where a table stands in lists as long as `len`.
    pub(super) fn place(&self, table: &str) -> Option<usize> {
        // Most are written in lower case, and found without a copy.
        self.places.get(table).or_else(|| self.places.get(&lower(table))).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.ranks.len()
    }

    pub(super) fn rank_at(&self, place: usize) -> usize {
        self.ranks[place]
    }

    /// Places of the tables whose rows go before all rows of this one. Where a rule
    /// runs in a circle it cannot be obeyed, and is left out.
    pub(super) fn after_at(&self, place: usize) -> impl Iterator<Item = usize> {
        self.after[place].iter().copied().filter(move |first| self.ranks[*first] < self.ranks[place])
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The circle each node belongs to (most are circles of one), numbered so that a
/// circle's number is above those of all circles it points to.
///
/// Tarjan's algorithm with its own stack: chains of rows can be longer than the
/// thread's stack is deep.
pub(super) fn circles(edges: &[Vec<usize>]) -> Vec<usize> {
    const UNSEEN: usize = usize::MAX;
    let mut circle = vec![UNSEEN; edges.len()];
    let mut found = vec![UNSEEN; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut open = Vec::new();
    let mut path: Vec<(usize, usize)> = Vec::new();
    let (mut clock, mut circles) = (0, 0);

    for root in 0..edges.len() {
        if found[root] != UNSEEN {
            continue;
        }
        path.push((root, 0));
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if *next == 0 {
                found[node] = clock;
                low[node] = clock;
                clock += 1;
                open.push(node);
            }
            if let Some(target) = edges[node].get(*next).copied() {
                *next += 1;
                if found[target] == UNSEEN {
                    path.push((target, 0));
                } else if circle[target] == UNSEEN {
                    low[node] = low[node].min(found[target]);
                }
                continue;
            }
            path.pop();
            if let Some((before, _)) = path.last() {
                low[*before] = low[*before].min(low[node]);
            }
            if low[node] == found[node] {
                while let Some(member) = open.pop() {
                    circle[member] = circles;
                    if member == node {
                        break;
                    }
                }
                circles += 1;
            }
        }
    }
    circle
}

fn descendants(parents: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); parents.len()];
    for (child, list) in parents.iter().enumerate() {
        for parent in list {
            children[*parent].push(child);
        }
    }
    let reach = |start: usize| {
        let mut seen = BTreeSet::new();
        let mut next = children[start].clone();
        while let Some(table) = next.pop() {
            if seen.insert(table) {
                next.extend(&children[table]);
            }
        }
        seen.into_iter().collect()
    };
    (0..parents.len()).map(reach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ForeignKey;

    /// `child > parent parent`, a line each; then `after child > first`.
    fn order(text: &str) -> Order {
        let mut tables = Vec::new();
        let mut after: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, parents) = line.split_once('>').unwrap_or((line, ""));
            let parents = parents.split_whitespace().map(str::to_owned);
            match name.trim().strip_prefix("after ") {
                Some(child) => after.entry(child.to_owned()).or_default().extend(parents),
                None => tables.push(Table {
                    name: name.trim().to_owned(),
                    foreign_keys: parents.map(|parent| ForeignKey { parent, ..Default::default() }).collect(),
                    ..Default::default()
                }),
            }
        }
        let order = Order::new(&tables, &after);
        tables.reverse();
        assert_eq!(order, Order::new(&tables, &after), "the order of the tables given does not matter");
        order
    }

    #[test]
    fn parents_rank_lower_whatever_their_names_and_case() {
        let order = order("tasks > PROJECTS\n comments > Tasks users\n projects > users\n Users");
        assert!(order.rank("users") < order.rank("projects"));
        assert!(order.rank("Projects") < order.rank("TASKS"));
        assert!(order.rank("tasks") < order.rank("comments"));
        assert!(order.rank("comments") < order.rank("unknown"));
        assert_eq!(order.parents("comments"), ["tasks", "Users"]);
        assert_eq!(order.descendants("users"), ["comments", "projects", "tasks"]);
        assert_eq!(order.descendants("comments"), [] as [&str; 0]);
    }

    #[test]
    fn tables_in_a_circle_share_a_rank() {
        let order = order("a > b\n b > c\n c > a root\n root\n leaf > b\n self > self");
        assert_eq!(order.rank("a"), order.rank("b"));
        assert_eq!(order.rank("b"), order.rank("c"));
        assert!(order.rank("root") < order.rank("a"));
        assert!(order.rank("a") < order.rank("leaf"));
        assert_eq!(order.descendants("a"), ["a", "b", "c", "leaf"]);
        assert_eq!(order.descendants("self"), ["self"]);
        assert_eq!(order.parents("self"), ["self"]);
    }

    #[test]
    fn parents_and_rules_that_name_no_table_are_left_out() {
        let order = order("a > gone\n b\n after b > nowhere\n after nowhere > a");
        assert_eq!(order.parents("a"), [] as [&str; 0]);
        assert_eq!(order.parents("b"), [] as [&str; 0]);
    }

    #[test]
    fn a_rule_orders_tables_that_no_key_links() {
        let order = order("notes\n tags\n photos\n after notes > TAGS\n after photos > notes");
        assert!(order.rank("tags") < order.rank("notes"));
        assert!(order.rank("notes") < order.rank("photos"));
        assert_eq!(order.descendants("tags"), ["notes", "photos"]);
    }

    #[test]
    fn a_rule_against_a_foreign_key_makes_a_circle_and_is_not_obeyed() {
        let order = order("tasks > projects\n projects\n after projects > tasks");
        assert_eq!(order.rank("tasks"), order.rank("projects"));
        let projects = order.place("projects").unwrap();
        assert_eq!(order.after_at(projects).count(), 0);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let edges: Vec<Vec<usize>> = (0..200_000usize).map(|at| at.checked_sub(1).into_iter().collect()).collect();
        let circle = circles(&edges);
        assert!(circle.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
