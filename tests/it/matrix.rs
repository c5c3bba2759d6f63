//! The matrix of `docs/conflicts.md`, held to two real agents and a hub: every pair of
//! what was done here and there while apart, under every strategy, with this device's
//! version written first and written last. All sides end equal and as published, every
//! version that lost is in the ledger, and every one of them comes back.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::rig::{Device, Pair};

const DID: [&str; 5] = ["insert", "update", "delete", "key change", "none"];

const BASE: &str = "0|0|0|0";
/// Each side writes a column of its own and one that both write.
const MINE: &str = "0|1|0|1";
const THEIRS: &str = "0|0|2|2";

/// One table for each strategy and order of writing.
struct Table {
    name: String,
    strategy: String,
    local_later: bool,
}

/// One cell of the published matrix.
struct Cell {
    here: &'static str,
    there: &'static str,
    kind: String,
    /// `local`, `remote`, `later` or `by column`.
    stands: String,
    /// `*` settled by the rule, `?` waiting for a person, empty: no conflict.
    mark: String,
}

impl Cell {
    fn key(&self) -> String {
        format!("{}/{}", self.here, self.there)
    }

    /// Whoever inserts a row had none.
    fn had(&self) -> bool {
        if self.here == "none" { self.there != "insert" } else { self.here != "insert" }
    }

    fn mine(&self) -> Option<&'static str> {
        version(self.here, self.had(), MINE)
    }

    fn theirs(&self) -> Option<&'static str> {
        version(self.there, self.had(), THEIRS)
    }

    /// The row that the document says will stand.
    fn ends(&self, local_later: bool) -> Option<&'static str> {
        match (self.stands.as_str(), local_later) {
            ("local", _) | ("later", true) => self.mine(),
            ("remote", _) | ("later", false) => self.theirs(),
            ("by column", true) => Some("0|1|2|1"),
            ("by column", false) => Some("0|1|2|2"),
            (other, _) => panic!("the matrix says {other}"),
        }
    }

    /// The row once a person took back what the rule did, or took the version that waits.
    fn taken_back(&self, local_later: bool) -> Option<&'static str> {
        match (self.stands.as_str(), local_later) {
            // Only the values that lost come back; the others lost nothing.
            ("by column", true) => Some("0|1|2|2"),
            ("by column", false) => Some("0|1|2|1"),
            _ if self.ends(local_later) == self.mine() => self.theirs(),
            _ => self.mine(),
        }
    }
}

fn version(did: &str, had: bool, written: &'static str) -> Option<&'static str> {
    match did {
        "delete" | "key change" => None,
        "none" => had.then_some(BASE),
        _ => Some(written),
    }
}

/// The published matrix, by strategy.
fn published() -> BTreeMap<String, Vec<Cell>> {
    let document = include_str!("../../docs/conflicts.md");
    let mut lines = document.lines().skip_while(|line| !line.starts_with("| here | there |"));
    let cells =
        |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    let strategies = cells(lines.next().expect("there is a matrix")).split_off(3);
    let mut matrix: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let row = cells(line);
        let word = |at: usize| DID.into_iter().find(|did| *did == row[at]).expect("a known word");
        for (strategy, cell) in strategies.iter().zip(&row[3..]) {
            let (stands, mark) = match cell.strip_suffix(['*', '?']) {
                Some(stands) => (stands.trim_end(), &cell[cell.len() - 1..]),
                None => (cell.as_str(), ""),
            };
            let (here, there, kind) = (word(0), word(1), row[2].clone());
            let (stands, mark) = (stands.to_owned(), mark.to_owned());
            matrix.entry(strategy.clone()).or_default().push(Cell { here, there, kind, stands, mark });
        }
    }
    matrix
}

/// What a side does to a row, as statements between which it may sync: whoever inserts a
/// row where the other had one takes that out first.
fn acts(did: &str, cell: &Cell, written: &str, side: &str) -> [String; 2] {
    let (key, values) = (cell.key(), written.replace('|', ", "));
    let insert = format!("INSERT INTO @ VALUES ('{key}', {values})");
    let update = match side {
        "here" => format!("UPDATE @ SET c1 = 1, c3 = 1 WHERE id = '{key}'"),
        _ => format!("UPDATE @ SET c2 = 2, c3 = 2 WHERE id = '{key}'"),
    };
    let delete = format!("DELETE FROM @ WHERE id = '{key}'");
    let rename = format!("UPDATE @ SET id = '{key} {side}' WHERE id = '{key}'");
    match (did, side == "there" && cell.here == "insert", cell.had()) {
        ("none", _, _) => [String::new(), String::new()],
        ("insert", _, true) => [delete, insert],
        ("insert", _, false) => [insert, String::new()],
        // The other device made the row itself before it went on with it.
        ("update", true, _) => [insert.replace(&values, "0, 0, 0, 0"), update],
        ("delete", true, _) => [insert, delete],
        ("key change", true, _) => [insert, rename],
        ("update", ..) => [update, String::new()],
        ("delete", ..) => [delete, String::new()],
        ("key change", ..) => [rename, String::new()],
        other => panic!("{other:?}"),
    }
}

/// All rows by table and key, renamed ones left out: they are only their own.
fn rows(read: impl Fn(&str) -> String, tables: &[Table]) -> BTreeMap<(String, String), String> {
    let select = |table: &Table| {
        let name = &table.name;
        format!("SELECT '{name}', id, c0 || '|' || c1 || '|' || c2 || '|' || c3 FROM {name} WHERE id NOT LIKE '%here'")
    };
    let all: Vec<String> = tables.iter().map(select).collect();
    let line = |line: &str| {
        let (table, rest) = line.split_once('|').unwrap();
        let (key, values) = rest.split_once('|').unwrap();
        ((table.to_owned(), key.to_owned()), values.to_owned())
    };
    read(&all.join(" UNION ALL ")).lines().map(line).filter(|((_, key), _)| !key.ends_with("there")).collect()
}

struct Whole<'a> {
    pair: &'a Pair,
    tables: &'a [Table],
}

impl Whole<'_> {
    /// Lets everything arrive; the row of a table and key, the same on both and the hub.
    #[track_caller]
    fn equal(&self) -> BTreeMap<(String, String), String> {
        for device in [&self.pair.a, &self.pair.b, &self.pair.a] {
            device.homing(&["sync", "--wait"]);
        }
        self.pair.all_equal();
        rows(|sql| self.pair.a.sql(sql), self.tables)
    }
}

fn ledger(device: &Device) -> BTreeMap<(String, String), Json> {
    let listed = device.json(&["conflicts", "list", "--limit", "1000"]);
    let entry = |conflict: &Json| {
        let key: Vec<String> = serde_json::from_str(conflict["key"].as_str().unwrap()).unwrap();
        ((conflict["table"].as_str().unwrap().to_owned(), key[0].clone()), conflict.clone())
    };
    listed["conflicts"].as_array().unwrap().iter().map(entry).collect()
}

/// A side of an entry, in the form of this file.
fn side(conflict: &Json, name: &str) -> Option<String> {
    let side = conflict[name].as_object()?;
    Some(["c0", "c1", "c2", "c3"].map(|column| side[column].to_string()).join("|"))
}

#[test]
fn two_agents_end_as_the_published_matrix_says_and_all_that_lost_comes_back() {
    let matrix = published();
    assert_eq!(matrix.len(), 7);
    assert!(matrix.values().all(|cells| cells.len() == 25));
    let orders = [("first", false), ("last", true)];
    let tables: Vec<Table> = matrix
        .keys()
        .flat_map(|strategy| orders.map(|order| (strategy, order)))
        .map(|(strategy, (word, local_later))| Table {
            name: format!("{strategy}_{word}"),
            strategy: strategy.clone(),
            local_later,
        })
        .collect();
    let column = "INTEGER NOT NULL DEFAULT 0";
    let schema = tables.iter().map(|table| {
        format!("CREATE TABLE {}(id TEXT PRIMARY KEY, c0 {column}, c1 {column}, c2 {column}, c3 {column})", table.name)
    });
    let mut pair = Pair::new(&schema.collect::<Vec<_>>().join(";"));
    let sections =
        tables.iter().map(|table| format!("[replica.notes.tables.{}]\nstrategy = '{}'\n", table.name, table.strategy));
    // Half of all rows go: nobody is to be asked about that here.
    let config = format!("[replica.notes.limits]\ndelete_share_max = 1.0\n{}", sections.collect::<String>());
    for device in [&mut pair.a, &mut pair.b] {
        device.configure(&config);
    }
    let each = |wanted: Option<bool>, act: &dyn Fn(&Cell) -> String| -> String {
        let mut sql = String::from("BEGIN;");
        for table in tables.iter().filter(|table| wanted.is_none_or(|later| later == table.local_later)) {
            let acts = matrix[&table.strategy].iter().map(act).filter(|act| !act.is_empty());
            acts.for_each(|act| sql += &format!("{};", act.replace('@', &table.name)));
        }
        sql + "COMMIT"
    };
    let begin = |cell: &Cell| match cell.had() {
        true => format!("INSERT INTO @ VALUES ('{}', 0, 0, 0, 0)", cell.key()),
        false => String::new(),
    };
    pair.a.sql(&each(None, &begin));
    let mut pair = pair.start();
    pair.settle();

    // Here, on B, nothing comes and goes; where it writes last, it waits for A.
    pair.b.kill();
    let here = |part: usize| move |cell: &Cell| acts(cell.here, cell, MINE, "here")[part].clone();
    let there = |part: usize| move |cell: &Cell| acts(cell.there, cell, THEIRS, "there")[part].clone();
    for part in [0, 1] {
        pair.b.sql(&each(Some(false), &here(part)));
    }
    for part in [0, 1] {
        pair.a.sql(&each(None, &there(part)));
        pair.a.sync();
    }
    for part in [0, 1] {
        pair.b.sql(&each(Some(true), &here(part)));
    }
    pair.b.start();
    let whole = Whole { pair: &pair, tables: &tables };
    let ended = whole.equal();
    let entries = ledger(&pair.b);
    assert_eq!(ledger(&pair.a).len(), 0, "A came first, and met nothing");

    let mut wrong = Vec::new();
    for table in &tables {
        for cell in &matrix[&table.strategy] {
            let place = (table.name.clone(), cell.key());
            let (stands, expected) = (ended.get(&place).map(String::as_str), cell.ends(table.local_later));
            if stands != expected {
                wrong.push(format!("{place:?} is {stands:?} and should be {expected:?}"));
            }
            let entry = entries.get(&place);
            let said = entry.map_or(String::new(), |entry| {
                format!("{} {} by {}", entry["kind"], entry["strategy"], entry["settled_by"])
            });
            let should = match cell.mark.as_str() {
                "" => String::new(),
                mark => {
                    let by = if mark == "*" { "\"rule\"" } else { "null" };
                    format!("\"{}\" \"{}\" by {by}", cell.kind, table.strategy)
                }
            };
            if said != should {
                wrong.push(format!("{place:?}: the ledger says {said:?} and should say {should:?}"));
            }
            let Some(entry) = entry else { continue };
            for (name, version) in [("local", cell.mine()), ("remote", cell.theirs()), ("result", expected)] {
                if side(entry, name).as_deref() != version {
                    wrong.push(format!("{place:?}: {name} in the ledger is {} and was {version:?}", entry[name]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // All that lost comes back, and what a person said goes to everybody.
    for entry in entries.values() {
        let id = entry["id"].to_string();
        let told = match entry["settled_by"].is_null() {
            true => pair.b.homing(&["conflicts", "resolve", &id, "--take", "local"]),
            false => pair.b.homing(&["conflicts", "undo", &id]),
        };
        assert_eq!(told.code, 0, "{entry:#}: {told:?}");
    }
    let back = whole.equal();
    for table in &tables {
        for cell in matrix[&table.strategy].iter().filter(|cell| !cell.mark.is_empty()) {
            let found = back.get(&(table.name.clone(), cell.key())).map(String::as_str);
            assert_eq!(found, cell.taken_back(table.local_later), "{} {}", table.name, cell.key());
        }
    }
}
