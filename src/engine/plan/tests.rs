//! Tables in text, then properties over many random outboxes.
//!
//! A change is a line: name, table, operation, priority, age, then what differs from
//! the ordinary: `10b` its bytes, `needs a,b`, `held reason_code`. The plan is a line
//! for each change sent, `- name reason_code` for each that stays, and `…` for more.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::engine::Chance;
use crate::model::{ForeignKey, Table, Value};

/// users < projects < tasks; pages refer to pages; beds and rows refer to each other;
/// notes come after tags, and photos after notes, by rule.
fn order() -> Order {
    let table = |name: &str, parents: &[&str]| Table {
        name: name.to_owned(),
        foreign_keys: parents
            .iter()
            .map(|parent| ForeignKey { parent: parent.to_string(), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    let tables = [
        table("users", &[]),
        table("projects", &["users"]),
        table("tasks", &["projects"]),
        table("pages", &["pages"]),
        table("beds", &["rows"]),
        table("rows", &["beds"]),
        table("tags", &[]),
        table("notes", &[]),
        table("photos", &[]),
    ];
    let after = [("notes", "tags"), ("photos", "notes")];
    Order::new(&tables, &after.into_iter().map(|(table, first)| (table.to_owned(), vec![first.to_owned()])).collect())
}

const ROOMY: Limits = Limits { rows_max: 100, bytes_max: 10_000, row_bytes_max: 1_000 };

fn parse(outbox: &str) -> (Vec<&str>, Vec<Candidate>) {
    let lines: Vec<Vec<&str>> = outbox
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|line: &Vec<&str>| !line.is_empty())
        .collect();
    let names: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    let place = |name: &str| names.iter().position(|other| *other == name).expect(name);
    let candidate = |line: &Vec<&str>| {
        let mut candidate = Candidate {
            table: line[1].into(),
            key: Key::from(vec![Value::Text(line[0].to_owned())]),
            operation: match line[2] {
                "insert" => Operation::Insert,
                "update" => Operation::Update,
                "delete" => Operation::Delete,
                other => panic!("{other}"),
            },
            priority: Priority::parse(line[3]).expect(line[3]),
            seq: Seq(line[4].parse().expect(line[4])),
            bytes: 10,
            needs: Vec::new(),
            held: None,
        };
        let mut rest = line[5..].iter();
        while let Some(word) = rest.next() {
            match *word {
                "needs" => candidate.needs = rest.next().unwrap().split(',').map(place).collect(),
                "held" => candidate.held = ReasonCode::parse(rest.next().unwrap()),
                bytes => candidate.bytes = bytes.trim_end_matches('b').parse().expect(bytes),
            }
        }
        candidate
    };
    let candidates = lines.iter().map(candidate).collect();
    (names, candidates)
}

fn check(limits: Limits, outbox: &str, expected: &str) {
    let (names, candidates) = parse(outbox);
    let plan = plan(&candidates, &order(), &limits);
    let mut told = String::new();
    for (at, why) in plan.order.iter().zip(&plan.why) {
        told += &format!("{}  {}\n", names[*at], why.sentence());
    }
    for (at, code) in &plan.staying {
        told += &format!("- {}  {}\n", names[*at], code.word());
    }
    if plan.more {
        told += "…\n";
    }
    let expected: String =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    assert_eq!(told, expected, "\n{outbox}");
}

#[test]
fn an_empty_outbox_has_no_batch() {
    check(ROOMY, "", "");
}

#[test]
fn equals_go_oldest_first() {
    check(
        ROOMY,
        "b users update normal 2
         a users update normal 1
         c users update normal 3",
        "a  oldest first
         b  oldest first
         c  oldest first",
    );
}

#[test]
fn the_more_urgent_goes_first_whatever_its_age() {
    check(
        Limits { rows_max: 2, ..ROOMY },
        "a users update background 1
         b users update high 3
         c users update critical 4
         d users update high 5",
        "c  priority critical
         b  priority high
         …",
    );
}

#[test]
fn within_a_batch_puts_go_parents_first_and_deletes_children_first() {
    check(
        ROOMY,
        "t tasks insert critical 1
         x users delete critical 2
         p projects update low 3
         y tasks delete low 4
         z projects delete normal 5
         u users insert low 6",
        "u  priority low
         p  priority low
         t  priority critical
         y  priority low
         z  priority normal
         x  priority critical",
    );
}

#[test]
fn a_needed_parent_is_pulled_in_before_more_urgent_rows() {
    check(
        Limits { rows_max: 3, ..ROOMY },
        "u users insert background 9
         p projects insert low 8 needs u
         t tasks insert critical 7 needs p
         o tasks update high 1",
        "u  before tasks [\"t\"], which needs it
         p  before tasks [\"t\"], which needs it
         t  priority critical
         …",
    );
}

#[test]
fn linked_rows_ride_along_and_are_not_split() {
    check(
        Limits { rows_max: 3, ..ROOMY },
        "a users update high 1
         p projects insert critical 2
         t tasks insert low 3 needs p
         o users update normal 4",
        "a  priority high
         p  priority critical
         t  together with projects [\"p\"], which it is linked to
         …",
    );
    // There is room for p, not for p and t: the batch closes before them.
    check(
        Limits { rows_max: 2, ..ROOMY },
        "a users update normal 1
         p projects insert normal 2
         t tasks insert normal 3 needs p
         b users update normal 4",
        "a  oldest first
         …",
    );
}

#[test]
fn what_fits_no_batch_is_cut_where_its_needs_allow() {
    check(
        Limits { rows_max: 3, ..ROOMY },
        "t1 tasks insert low 1 needs p
         t2 tasks insert low 2 needs p
         t3 tasks insert high 3 needs p
         p projects insert background 4 needs u
         u users insert background 5",
        "u  before tasks [\"t3\"], which needs it
         p  before tasks [\"t3\"], which needs it
         t3  priority high
         …",
    );
    // The same by bytes, in the room that another row left.
    check(
        Limits { bytes_max: 100, ..ROOMY },
        "a users update critical 1 30b
         p projects insert normal 2 50b
         t tasks insert normal 3 60b needs p",
        "a  priority critical
         p  priority normal
         …",
    );
}

#[test]
fn a_row_over_the_batch_bound_goes_alone_and_one_over_the_row_bound_stays() {
    check(
        Limits { bytes_max: 100, ..ROOMY },
        "a users update normal 1 500b
         b users update normal 2",
        "a  oldest first
         …",
    );
    check(
        Limits { bytes_max: 100, ..ROOMY },
        "b users update normal 1
         a users update normal 2 500b",
        "b  oldest first
         …",
    );
    check(
        ROOMY,
        "u users update normal 1
         p projects insert normal 2 1001b needs u
         t tasks insert critical 3 needs p
         o tasks update normal 4 1000b",
        "u  oldest first
         o  oldest first
         - p  row_too_large
         - t  parent_set_aside",
    );
}

#[test]
fn what_stays_keeps_back_its_dependants_and_nothing_else() {
    check(
        ROOMY,
        "u users insert normal 1 held row_refused
         p projects insert normal 2 needs u
         t tasks insert normal 3 needs p,q
         q projects update normal 4 held pending_retry
         s tasks update normal 5 needs q
         o projects insert normal 6
         v tasks insert normal 7 needs o
         r projects update normal 8 needs u held pending_retry
         w tasks insert normal 9 needs r",
        "o  oldest first
         v  oldest first
         - u  row_refused
         - p  parent_set_aside
         - t  parent_set_aside
         - q  pending_retry
         - s  pending_parent
         - r  pending_retry
         - w  parent_set_aside",
    );
}

#[test]
fn deletes_wait_for_the_childrens_deletes_and_moves() {
    check(
        ROOMY,
        "p projects delete critical 1 needs t,m
         t tasks delete low 2
         m tasks update low 3
         u users delete normal 4 needs p",
        "m  before projects [\"p\"], which needs it
         t  before projects [\"p\"], which needs it
         p  priority critical
         u  together with projects [\"p\"], which it is linked to",
    );
}

#[test]
fn a_put_waits_for_the_delete_that_frees_its_value() {
    check(
        ROOMY,
        "n users insert normal 2 needs d
         d users delete normal 1
         o users update normal 3",
        "o  oldest first
         d  oldest first
         n  oldest first",
    );
}

#[test]
fn rows_that_need_each_other_stand_together() {
    check(
        ROOMY,
        "a beds insert normal 3 needs b
         b rows insert normal 2 needs a
         c beds insert normal 1
         d pages insert normal 4 needs d
         e pages insert normal 5 needs d",
        "c  oldest first
         b  oldest first
         a  together with rows [\"b\"], which it is linked to
         d  oldest first
         e  oldest first",
    );
    // A circle that fits no batch is cut anywhere.
    check(
        Limits { rows_max: 2, ..ROOMY },
        "a pages insert normal 3 needs b
         b pages insert normal 2 needs c
         c pages insert normal 1 needs a",
        "c  oldest first
         b  together with pages [\"c\"], which it is linked to
         …",
    );
    // A circle of which one row is refused stays whole.
    check(
        ROOMY,
        "a beds insert normal 3 needs b
         b rows insert normal 2 needs a held row_refused",
        "- a  parent_set_aside
         - b  row_refused",
    );
}

#[test]
fn a_rule_sends_whole_tables_ahead() {
    let outbox = "f photos insert critical 5
                  o users update high 1
                  n notes insert low 4
                  t1 tags insert background 2
                  t2 tags insert background 3
                  x tags delete background 6";
    check(
        Limits { rows_max: 3, ..ROOMY },
        outbox,
        "t1  before the changes of photos, which come after it by rule
         t2  before the changes of photos, which come after it by rule
         n  before the changes of photos, which come after it by rule
         …",
    );
    check(
        Limits { rows_max: 2, ..ROOMY },
        "n notes insert critical 1
         t tags insert low 2 held row_refused",
        "n  oldest first
         - t  row_refused",
    );
    check(
        Limits { rows_max: 1, ..ROOMY },
        "t tags delete critical 1
         f photos delete low 2",
        "f  before the changes of tags, which come after it by rule
         …",
    );
}

/// A random outbox with links of all kinds, circles among them.
fn random_outbox(chance: &mut Chance) -> Vec<Candidate> {
    const TABLES: [&str; 10] =
        ["users", "projects", "tasks", "pages", "beds", "rows", "tags", "notes", "photos", "unknown"];
    let count = chance.below(28) as usize;
    let dense = chance.below(4);
    let codes = [ReasonCode::RowRefused, ReasonCode::PendingRetry, ReasonCode::MassDeletion];
    (0..count)
        .map(|at| Candidate {
            table: (*chance.pick(&TABLES)).into(),
            key: Key::from(vec![Value::Integer(at as i64)]),
            operation: *chance.pick(&[Operation::Insert, Operation::Update, Operation::Delete]),
            priority: Priority(chance.below(5) as u8),
            seq: Seq(chance.below(40) as i64),
            bytes: chance.below(30) as usize,
            needs: (0..chance.below(1 + dense)).map(|_| chance.below(count as u64) as usize).collect(),
            held: (chance.below(12) == 0).then(|| *chance.pick(&codes)),
        })
        .collect()
}

/// Everything that can be come to by following `edges` from each place.
fn reach(edges: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    (0..edges.len())
        .map(|start| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<usize> = edges[start].iter().copied().collect();
            while let Some(at) = next.pop() {
                if seen.insert(at) {
                    next.extend(&edges[at]);
                }
            }
            seen
        })
        .collect()
}

fn fits(candidates: &[Candidate], rows: &BTreeSet<usize>, limits: &Limits) -> bool {
    rows.len() <= limits.rows_max && rows.iter().map(|at| candidates[*at].bytes).sum::<usize>() <= limits.bytes_max
}

#[track_caller]
fn check_plan(candidates: &[Candidate], limits: &Limits, plan: &Plan, seed: u64) {
    let sent: BTreeSet<usize> = plan.order.iter().copied().collect();
    let staying: BTreeMap<usize, ReasonCode> = plan.staying.iter().copied().collect();
    let going: BTreeSet<usize> = (0..candidates.len()).filter(|at| !staying.contains_key(at)).collect();
    assert_eq!(sent.len(), plan.order.len(), "seed {seed}: nothing is sent twice");
    assert_eq!(plan.why.len(), plan.order.len());
    assert!(sent.is_subset(&going), "seed {seed}: what stays is not sent");
    assert_eq!(plan.more, sent.len() < going.len());
    assert_eq!(sent.is_empty(), going.is_empty(), "seed {seed}: a plan with something to send sends something");
    assert!(sent.len() == 1 || fits(candidates, &sent, limits), "seed {seed}: the bounds hold");

    let needs: Vec<BTreeSet<usize>> =
        candidates.iter().map(|candidate| candidate.needs.iter().copied().collect()).collect();
    let reached = reach(&needs);
    for (at, reached) in reached.iter().enumerate() {
        let root = |at: &usize| candidates[*at].held.is_some() || candidates[*at].bytes > limits.row_bytes_max;
        let stays = root(&at) || reached.iter().any(root);
        assert_eq!(
            staying.contains_key(&at),
            stays,
            "seed {seed}: {at} stays exactly when it or what it needs is held"
        );
    }

    let links: Vec<BTreeSet<usize>> = (0..candidates.len())
        .map(|at| {
            going
                .iter()
                .copied()
                .filter(|to| going.contains(&at) && (needs[at].contains(to) || needs[*to].contains(&at)))
                .collect()
        })
        .collect();
    let linked = reach(&links);
    let place: BTreeMap<usize, usize> = plan.order.iter().copied().zip(0..).collect();
    for at in plan.order.iter().copied() {
        let circle: BTreeSet<usize> = reached[at].iter().copied().filter(|to| reached[*to].contains(&at)).collect();
        for need in needs[at].iter().filter(|need| **need != at) {
            let before = place.get(need).is_some_and(|other| *other < place[&at]);
            let together = circle.contains(need) && (sent.contains(need) || !fits(candidates, &circle, limits));
            assert!(before || together, "seed {seed}: {at} goes before {need}, which it needs");
        }
        let unit: BTreeSet<usize> = linked[at].iter().copied().chain([at]).collect();
        if fits(candidates, &unit, limits) {
            assert!(unit.is_subset(&sent), "seed {seed}: {at} is split from {unit:?}");
        }
        let by_rank = matches!(plan.why[place[&at]], Why::Priority(_) | Why::Oldest);
        for left in going.difference(&sent).filter(|_| by_rank) {
            assert!(
                candidates[at].priority <= candidates[*left].priority,
                "seed {seed}: {at} overtakes {left} and does not say why"
            );
        }
    }
}

#[test]
fn every_plan_keeps_its_promises_and_the_outbox_empties() {
    let order = order();
    for seed in 0..4_000 {
        let mut chance = Chance::new(seed);
        let mut candidates = random_outbox(&mut chance);
        let limits = Limits {
            rows_max: 1 + chance.below(9) as usize,
            bytes_max: 10 + chance.below(120) as usize,
            row_bytes_max: 25 + chance.below(10) as usize,
        };
        let mut batches = candidates.len() + 1;
        loop {
            let plan = plan(&candidates, &order, &limits);
            check_plan(&candidates, &limits, &plan, seed);
            assert_eq!(plan, super::plan(&candidates, &order, &limits), "the same outbox has the same plan");
            batches = batches.checked_sub(1).unwrap_or_else(|| panic!("seed {seed}: the outbox never empties"));
            if plan.order.is_empty() {
                break;
            }
            candidates = without(candidates, &plan.order);
        }
    }
}

/// The outbox after a batch was acknowledged.
fn without(candidates: Vec<Candidate>, sent: &[usize]) -> Vec<Candidate> {
    let left: Vec<usize> = (0..candidates.len()).filter(|at| !sent.contains(at)).collect();
    left.iter()
        .map(|at| {
            let needs = candidates[*at].needs.iter().filter_map(|need| left.binary_search(need).ok()).collect();
            Candidate { needs, ..candidates[*at].clone() }
        })
        .collect()
}

#[test]
fn no_row_overtakes_a_table_that_its_rule_puts_first() {
    let order = order();
    for seed in 0..2_000 {
        let mut chance = Chance::new(seed);
        let mut candidates = random_outbox(&mut chance);
        candidates.iter_mut().for_each(|candidate| candidate.needs.clear());
        let limits = Limits { rows_max: 1 + chance.below(6) as usize, ..ROOMY };
        let mut sent = Vec::new();
        while !candidates.is_empty() {
            let plan = plan(&candidates, &order, &limits);
            if plan.order.is_empty() {
                break;
            }
            sent.extend(plan.order.iter().map(|at| candidates[*at].clone()));
            candidates = without(candidates, &plan.order);
        }
        let last = |table: &str, deletes: bool| {
            sent.iter().rposition(|row| *row.table == *table && (row.operation == Operation::Delete) == deletes)
        };
        let first = |table: &str, deletes: bool| {
            sent.iter().position(|row| *row.table == *table && (row.operation == Operation::Delete) == deletes)
        };
        for (table, ahead) in [("notes", "tags"), ("photos", "notes"), ("photos", "tags")] {
            if let (Some(last), Some(first)) = (last(ahead, false), first(table, false)) {
                assert!(last < first, "seed {seed}: a put of {table} goes before one of {ahead}");
            }
            if let (Some(last), Some(first)) = (last(table, true), first(ahead, true)) {
                assert!(last < first, "seed {seed}: a delete of {ahead} goes before one of {table}");
            }
        }
    }
}

#[test]
fn a_chain_of_ten_thousand_rows_is_planned_in_its_order() {
    let chain: Vec<Candidate> = (0..10_000)
        .map(|at: usize| Candidate {
            table: "pages".into(),
            key: Key::from(vec![Value::Integer(at as i64)]),
            operation: Operation::Insert,
            priority: Priority(2),
            // The child was written first.
            seq: Seq(10_000 - at as i64),
            bytes: 10,
            needs: at.checked_sub(1).into_iter().collect(),
            held: None,
        })
        .collect();
    let plan = plan(&chain, &order(), &Limits { rows_max: 1_000, bytes_max: 1 << 20, row_bytes_max: 1 << 20 });
    assert_eq!(plan.order, (0..1_000).collect::<Vec<_>>());
    assert!(plan.more);
}
