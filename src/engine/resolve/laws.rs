//! What every strategy promises, tried on random histories against an oracle that shares
//! no code with the resolver.
//!
//! 200,000 cases in an ordinary run; `HOMING_CASES=10000000`, when the tests are built, asks
//! for more. A failure
//! names its seed.

use std::collections::BTreeMap;

use super::*;
use crate::engine::Chance;
use crate::model::{Stamp, Value};

fn cases(of: u64) -> u64 {
    let asked = option_env!("HOMING_CASES").and_then(|text| text.parse().ok());
    asked.unwrap_or(200_000_u64) / of
}

const COLUMNS: [&str; 5] = ["n", "tags", "meta", "title", "status"];

fn names() -> Vec<String> {
    COLUMNS.map(str::to_owned).to_vec()
}

/// A row as the oracle sees it: no `Value`, no JSON.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    n: i64,
    tags: Vec<u8>,
    meta: BTreeMap<u8, i64>,
    title: u8,
    status: u8,
}

impl Plain {
    fn random(chance: &mut Chance) -> Plain {
        let mut tags: Vec<u8> = (0..6).filter(|_| chance.below(2) == 0).collect();
        tags.sort_unstable();
        Plain {
            n: chance.below(20) as i64,
            tags,
            meta: (0..3).filter(|_| chance.below(2) == 0).map(|key| (key, key as i64)).collect(),
            title: chance.below(3) as u8,
            status: chance.below(3) as u8,
        }
    }

    /// The row after one edit by an app.
    fn edited(&self, chance: &mut Chance) -> Plain {
        let mut row = self.clone();
        for _ in 0..1 + chance.below(3) {
            match chance.below(5) {
                0 => row.n += chance.below(7) as i64 - 3,
                1 => {
                    let tag = chance.below(6) as u8;
                    match row.tags.binary_search(&tag) {
                        Ok(at) => drop(row.tags.remove(at)),
                        Err(at) => row.tags.insert(at, tag),
                    }
                }
                2 => {
                    let key = chance.below(3) as u8;
                    if row.meta.remove(&key).is_none() || chance.below(2) == 0 {
                        row.meta.insert(key, chance.below(9) as i64);
                    }
                }
                3 => row.title = chance.below(3) as u8,
                _ => row.status = chance.below(3) as u8,
            }
        }
        row
    }

    fn row(&self) -> Row {
        let tags: Vec<String> = self.tags.iter().map(|tag| format!("\"t{tag}\"")).collect();
        let meta: Vec<String> = self.meta.iter().map(|(key, value)| format!("\"k{key}\":{value}")).collect();
        vec![
            Value::Integer(self.n),
            Value::Text(format!("[{}]", tags.join(","))),
            Value::Text(format!("{{{}}}", meta.join(","))),
            Value::Integer(i64::from(self.title)),
            Value::Integer(i64::from(self.status)),
        ]
    }

    /// The row that the resolver's values mean. Members of a set have no order.
    fn read(row: &Row) -> Plain {
        let number = |at: usize| if let Value::Integer(number) = row[at] { number } else { panic!("{row:?}") };
        let text = |at: usize| if let Value::Text(text) = &row[at] { text.as_str() } else { panic!("{row:?}") };
        let inner = |at: usize| text(at)[1..text(at).len() - 1].to_owned();
        let mut tags: Vec<u8> =
            inner(1).split(',').filter(|tag| !tag.is_empty()).map(|tag| tag.as_bytes()[2] - b'0').collect();
        tags.sort_unstable();
        let member = |member: &str| {
            let (key, value) = member.split_once(':').unwrap();
            (key.as_bytes()[2] - b'0', value.parse().unwrap())
        };
        Plain {
            n: number(0),
            tags,
            meta: inner(2).split(',').filter(|member| !member.is_empty()).map(member).collect(),
            title: number(3) as u8,
            status: number(4) as u8,
        }
    }
}

/// What the documents say of one meeting, worked out value by value.
fn oracle(base: &Plain, local: &Plain, remote: &Plain, local_later: bool) -> Plain {
    fn pick<T: PartialEq + Clone>(base: &T, local: &T, remote: &T, both: impl FnOnce() -> T) -> T {
        match (local == base, remote == base) {
            (_, true) => local.clone(),
            (true, false) => remote.clone(),
            (false, false) => both(),
        }
    }
    let tags = (0..6).filter(|tag| {
        let [was, here, there] = [base, local, remote].map(|row| row.tags.contains(tag));
        // A member is in when nobody took it out, or somebody put it in.
        if was { here && there } else { here || there }
    });
    let meta = (0..3_u8).filter_map(|key| {
        let [was, here, there] = [base, local, remote].map(|row| row.meta.get(&key).copied());
        pick(&was, &here, &there, || if local_later { here } else { there }).map(|value| (key, value))
    });
    Plain {
        n: base.n + (local.n - base.n) + (remote.n - base.n),
        tags: tags.collect(),
        meta: meta.collect(),
        title: pick(&base.title, &local.title, &remote.title, || if local_later { local.title } else { remote.title }),
        // status is server_wins
        status: pick(&base.status, &local.status, &remote.status, || remote.status),
    }
}

fn policy() -> Policy {
    let rules = [
        ("n", ColumnRule::Counter),
        ("tags", ColumnRule::Set),
        ("meta", ColumnRule::Object),
        ("status", ColumnRule::Side(SideRule::ServerWins)),
    ];
    Policy { columns: rules.map(|(name, rule)| (name.to_owned(), rule)).into(), ..Policy::default() }
}

struct Sides<'a> {
    base: Option<&'a Row>,
    local: Option<&'a Row>,
    remote: Option<&'a Row>,
    stamps: [i64; 2],
    devices: [&'a str; 2],
}

fn stands(strategy: Strategy, policy: &Policy, columns: &[String], sides: &Sides) -> Option<Row> {
    let meeting = Meeting {
        table: "t",
        columns,
        base: sides.base,
        base_known: true,
        local: sides.local,
        remote: sides.remote,
        local_stamp: Stamp(sides.stamps[0]),
        remote_stamp: Stamp(sides.stamps[1]),
        local_device: sides.devices[0],
        remote_device: sides.devices[1],
        local_role: "",
        remote_role: "",
        defaults: &[],
        now: Stamp(1_000_000),
    };
    match resolve(strategy, policy, &meeting).verdict {
        Verdict::KeepLocal => sides.local.cloned(),
        Verdict::TakeRemote => sides.remote.cloned(),
        Verdict::Merge(row) => Some(row),
    }
}

#[test]
fn a_merge_is_what_the_oracle_says() {
    let (names, policy) = (names(), policy());
    for seed in 0..cases(2) {
        let mut chance = Chance::new(seed);
        let base = Plain::random(&mut chance);
        let (local, remote) = (base.edited(&mut chance), base.edited(&mut chance));
        let stamps = [chance.below(3) as i64, chance.below(3) as i64];
        let devices = *chance.pick(&[["a", "b"], ["b", "a"]]);
        let local_later = (stamps[0], devices[0]) > (stamps[1], devices[1]);
        let rows = [base.row(), local.row(), remote.row()];
        let sides = Sides { base: Some(&rows[0]), local: Some(&rows[1]), remote: Some(&rows[2]), stamps, devices };
        let found = Plain::read(&stands(Strategy::FieldLevel, &policy, &names, &sides).unwrap());
        // Where both sides did nothing, or one of them, there is nothing to decide.
        let expected = oracle(&base, &local, &remote, local_later);
        assert_eq!(found, expected, "seed {seed}: {base:?} {local:?} {remote:?}");
    }
}

/// A hub that orders, and devices that resolve what came too late for it, as a model of
/// nothing but that. Answers every device's row in the end.
fn converge(seed: u64, strategy: Strategy, policy: &Policy, names: &[String]) -> (Vec<Option<Row>>, Option<Row>) {
    struct Device {
        row: Option<Row>,
        base: Option<Row>,
        revision: usize,
        stamp: i64,
        dirty: bool,
    }
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut chance = Chance::new(seed);
    let first = Plain::random(&mut chance).row();
    // The log: the row at each revision, who wrote it and when.
    let mut log = vec![(Some(first.clone()), 0, 0_i64)];
    let new = || Device { row: Some(first.clone()), base: Some(first.clone()), revision: 0, stamp: 0, dirty: false };
    let mut devices = [new(), new(), new()];
    let mut clock = 1;
    for round in 0..24 {
        let at = chance.below(3) as usize;
        clock += 1;
        let device = &mut devices[at];
        if round < 12 && chance.below(2) == 0 {
            // A clock of its own, a little off.
            device.stamp = clock + chance.below(5) as i64;
            device.row = match &device.row {
                Some(_) if chance.below(6) == 0 => None,
                Some(row) => Some(Plain::read(row).edited(&mut chance).row()),
                None => Some(Plain::random(&mut chance).row()),
            };
            device.dirty = device.row != device.base;
            continue;
        }
        sync(at, device, &mut log, strategy, policy, names);
    }
    // Everybody comes by until nothing is left; who comes first is chance, and some
    // come twice.
    for _ in 0..6 {
        let mut order = [0, 1, 2, 0];
        order.swap(0, chance.below(3) as usize);
        order.swap(1, 1 + chance.below(2) as usize);
        for at in order {
            sync(at, &mut devices[at], &mut log, strategy, policy, names);
        }
        for (at, device) in devices.iter_mut().enumerate() {
            sync(at, device, &mut log, strategy, policy, names);
        }
    }

    fn sync(
        at: usize,
        device: &mut Device,
        log: &mut Vec<(Option<Row>, usize, i64)>,
        strategy: Strategy,
        policy: &Policy,
        names: &[String],
    ) {
        let head = log.len() - 1;
        if device.revision < head {
            let (remote, writer, stamp) = &log[head];
            if device.dirty {
                let sides = Sides {
                    base: device.base.as_ref(),
                    local: device.row.as_ref(),
                    remote: remote.as_ref(),
                    stamps: [device.stamp, *stamp],
                    devices: [NAMES[at], NAMES[*writer]],
                };
                device.row = stands(strategy, policy, names, &sides);
            } else {
                device.row = remote.clone();
            }
            device.base = remote.clone();
            device.revision = head;
            device.stamp = device.stamp.max(stamp + 1);
            device.dirty = device.row != device.base;
        }
        if device.dirty {
            log.push((device.row.clone(), at, device.stamp));
            device.base = device.row.clone();
            device.revision = log.len() - 1;
            device.dirty = false;
        }
    }
    (devices.into_iter().map(|device| device.row).collect(), log.pop().unwrap().0)
}

#[test]
fn all_devices_end_equal_under_every_strategy_whoever_comes_first() {
    let names = names();
    for seed in 0..cases(8) {
        let mut chance = Chance::new(seed ^ 0x5eed);
        let strategy = *chance.pick(&Strategy::ALL);
        let deletes = [None, Some(DeleteRule::EditWins), Some(DeleteRule::DeleteWins)];
        let policy = Policy {
            deletes: *chance.pick(&deletes),
            contested: *chance.pick(&SideRule::ALL),
            singleton: chance.below(2) == 0,
            ..if chance.below(2) == 0 { policy() } else { Policy::default() }
        };
        let (rows, hub) = converge(seed, strategy, &policy, &names);
        assert!(rows.iter().all(|row| *row == hub), "seed {seed}: {strategy:?} {policy:?}\n{rows:#?}\n{hub:#?}");
    }
}

/// Three sets of edits, merged one after the other in each order, give one row: for
/// counters, and for sets as sets.
#[test]
fn counters_and_sets_do_not_mind_the_order_of_merging() {
    let (names, policy) = (names(), policy());
    let of = |base: &Row, local: &Row, remote: &Row| {
        let sides =
            Sides { base: Some(base), local: Some(local), remote: Some(remote), stamps: [1, 1], devices: ["a", "a"] };
        stands(Strategy::FieldLevel, &policy, &names, &sides).unwrap()
    };
    for seed in 0..cases(8) {
        let mut chance = Chance::new(seed);
        let base = Plain::random(&mut chance);
        let edited: [Row; 3] = [(); 3].map(|()| base.edited(&mut chance).row());
        let base = base.row();
        let seen = |[a, b, c]: [usize; 3]| {
            let merged = Plain::read(&of(&base, &of(&base, &edited[a], &edited[b]), &edited[c]));
            (merged.n, merged.tags)
        };
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let ends = orders.map(seen);
        assert!(ends.iter().all(|end| *end == ends[0]), "seed {seed}: {ends:?}");
        // Commutative to the byte, whoever is called local; and sets and objects idempotent.
        assert_eq!(of(&base, &edited[0], &edited[1])[..3], of(&base, &edited[1], &edited[0])[..3], "seed {seed}");
        let twice = of(&base, &edited[0], &edited[0]);
        assert_eq!(twice[1..], edited[0][1..], "seed {seed}");
    }
}
