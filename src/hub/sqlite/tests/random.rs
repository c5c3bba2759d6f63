//! Random pushes and writes by SQL, and after each of them what must always hold.

use std::collections::BTreeMap;

use super::*;

const SCHEMA: &str = "CREATE TABLE rooms(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
    CREATE TABLE seats(id TEXT PRIMARY KEY COLLATE NOCASE, place INTEGER UNIQUE, room INTEGER REFERENCES rooms(id),
        next TEXT REFERENCES seats(id))";

const SEEDS: u64 = 150;
const STEPS: usize = 25;

/// A replica that only reads, by whatever pages it gets.
#[derive(Default)]
struct Reader {
    cursor: Option<String>,
    rows: BTreeMap<(String, String), String>,
    /// What it has of each table, and at which revision: what a device bases changes on.
    bases: BTreeMap<(String, String), i64>,
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn whatever_comes_the_books_match_the_tables_and_readers_end_equal() {
    for seed in 0..SEEDS {
        let mut chance = Chance(seed);
        let mut rig = Rig::new(SCHEMA);
        let mut devices = [rig.device("a"), rig.device("b")];
        let mut reader = Reader::default();
        for step in 0..STEPS {
            if chance.below(5) == 0 {
                by_sql(&rig, &mut chance);
            } else {
                let device = &mut devices[chance.below(2) as usize];
                for _ in 0..=chance.below(6) {
                    change(device, &reader, &mut chance);
                }
                device.push(&mut rig);
            }
            if chance.below(2) == 0 {
                read(&mut rig, &mut reader, &mut chance);
            }
            rig.scope.look_around(NOW).unwrap();
            books_match(&rig, &format!("seed {seed}, step {step}"));
        }
        while read(&mut rig, &mut reader, &mut chance) {}
        let mut fresh = Reader::default();
        while read(&mut rig, &mut fresh, &mut chance) {}
        assert_eq!(reader.rows, fresh.rows, "seed {seed}");
    }
}

fn id(chance: &mut Chance) -> V {
    v(["a", "A", "b", "c", "d"][chance.below(5) as usize])
}

fn change(device: &mut Device, reader: &Reader, chance: &mut Chance) {
    let room = chance.below(2) == 0;
    let (table, key) = if room { ("rooms", v(chance.below(4) as i64)) } else { ("seats", id(chance)) };
    let known = (table.to_owned(), Key::from(vec![key.0.clone()]).to_text());
    let base = match chance.below(4) {
        0 => 0,
        _ => reader.bases.get(&known).copied().unwrap_or(0),
    };
    let maybe = |value: V, chance: &mut Chance| if chance.below(3) == 0 { NULL } else { value };
    if chance.below(4) == 0 {
        device.delete(table, "id", key, base);
    } else if room {
        let code = v(["x", "y", "z"][chance.below(3) as usize]);
        device.put(table, "id", key.clone(), base, &[("id", key), ("code", code)]);
    } else {
        let place = (v(chance.below(4) as i64), v(chance.below(4) as i64), id(chance));
        let place = (maybe(place.0, chance), maybe(place.1, chance), maybe(place.2, chance));
        let all = [("id", key.clone()), ("place", place.0), ("room", place.1), ("next", place.2)];
        let count = if chance.below(2) == 0 { 4 } else { 2 };
        device.put(table, "id", key, base, &all[..count]);
    }
}

/// Somebody who keeps the rules SQLite checks; what breaks them is simply not done.
fn by_sql(rig: &Rig, chance: &mut Chance) {
    let db = Connection::open(&rig.path).unwrap();
    db.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    let number = chance.below(4);
    let sql = match chance.below(6) {
        0 => format!("INSERT INTO rooms VALUES ({number}, 'sql{number}')"),
        1 => format!("INSERT OR REPLACE INTO seats VALUES ('e', {number}, NULL, NULL)"),
        2 => format!("UPDATE seats SET place = place + {number}"),
        3 => format!("DELETE FROM rooms WHERE id = {number}"),
        4 => "UPDATE seats SET id = upper(id) WHERE id = 'e'".to_owned(),
        _ => "DELETE FROM seats WHERE id = 'a'".to_owned(),
    };
    let _ = db.execute_batch(&sql);
}

/// One page; true when there is more.
fn read(rig: &mut Rig, reader: &mut Reader, chance: &mut Chance) -> bool {
    let page = rig.page("reader", reader.cursor.as_deref(), 1 + chance.below(5) as usize, 1 << 20).unwrap();
    for group in &page.groups {
        for row in &group.rows {
            let key = if group.delete { row.values.clone() } else { vec![row.values[0].clone()] };
            let name = (group.table.clone(), Key::from(key).to_text());
            reader.bases.insert(name.clone(), row.revision.0);
            if group.delete {
                reader.rows.remove(&name);
            } else {
                reader.rows.insert(name, Key::from(row.values.clone()).to_text());
            }
        }
    }
    reader.cursor = Some(page.cursor);
    page.more
}

fn books_match(rig: &Rig, when: &str) {
    let db = Connection::open(&rig.path).unwrap();
    let text = |sql: &str| -> String {
        db.query_row(sql, [], |row| row.get::<_, Option<String>>(0)).unwrap().unwrap_or_default()
    };
    assert_eq!(text("SELECT (count(*) - count(DISTINCT rev)) || '' FROM _hub_row"), "0", "{when}: a revision twice");
    let ahead = "SELECT count(*) || '' FROM _hub_row WHERE rev > (SELECT value FROM _hub_meta WHERE name = 'head')";
    assert_eq!(text(ahead), "0", "{when}: a revision past the head");
    for shape in &rig.scope.schema.shapes {
        let mut known: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let mut statement = db.prepare("SELECT key, hash FROM _hub_row WHERE tab = ? AND op <> 3").unwrap();
        let mut rows = statement.query([shape.id]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            known.insert(row.get(0).unwrap(), row.get(1).unwrap());
        }
        let mut there: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let mut statement = db.prepare(&format!("SELECT * FROM {}", shape.table.name)).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let row = crate::sqlite::value::read_row(row, 0, shape.names.len()).unwrap();
            there.insert(shape.table.key_of(&row).encode(), super::super::schema::hash(&row));
        }
        assert_eq!(known, there, "{when}: {}", shape.table.name);
    }
}
