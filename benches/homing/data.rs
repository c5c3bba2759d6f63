//! The tables of measure and their rows: the same on every machine and in every run.
//!
//! `tasks` is the plain one: random UUID keys, titles of 20 and notes of 200 bytes of
//! words drawn from 64. `orders` is the hard one: 20 columns, two foreign keys, a UNIQUE
//! constraint and two indexes.

use std::path::Path;

use homing::engine::Chance;
use homing::model::Value;
use rusqlite::{Connection, params_from_iter};

/// A table of measure.
pub struct Shape {
    pub table: &'static str,
    /// The app's journal mode.
    pub journal: &'static str,
    pub schema: &'static str,
    pub columns: usize,
    /// One column is set, and the key is the second parameter.
    pub update: &'static str,
    row: fn(&mut Chance, usize) -> Vec<Value>,
    parents: fn(&Connection),
}

pub const TASKS: Shape = Shape {
    table: "tasks",
    journal: "WAL",
    schema: "CREATE TABLE tasks(id TEXT PRIMARY KEY, title, notes, status, amount, updated_at)",
    columns: 6,
    update: "UPDATE tasks SET status = ?1 WHERE id = ?2",
    row: task,
    parents: |_| {},
};

/// The same with a rollback journal.
pub const TASKS_ROLLBACK: Shape = Shape { journal: "DELETE", ..TASKS };

pub const ORDERS: Shape = Shape {
    table: "orders",
    journal: "WAL",
    schema: "CREATE TABLE accounts(id TEXT PRIMARY KEY, name TEXT NOT NULL);
        CREATE TABLE projects(id TEXT PRIMARY KEY, name TEXT NOT NULL);
        CREATE TABLE orders(id TEXT PRIMARY KEY, number TEXT NOT NULL UNIQUE,
            account_id TEXT NOT NULL REFERENCES accounts(id), project_id TEXT REFERENCES projects(id),
            title TEXT, notes TEXT, status TEXT, priority INTEGER, quantity INTEGER, price REAL, discount REAL,
            currency TEXT, country TEXT, city TEXT, street TEXT, phone TEXT, flags INTEGER, rating REAL,
            created_at INTEGER, updated_at INTEGER);
        CREATE INDEX orders_account ON orders(account_id);
        CREATE INDEX orders_project ON orders(project_id)",
    columns: 20,
    update: "UPDATE orders SET status = ?1 WHERE id = ?2",
    row: order,
    parents,
};

const PARENTS: usize = 1_000;

const WORDS: [&str; 64] = [
    "amber", "anchor", "apple", "arrow", "autumn", "basket", "beach", "bread", "bridge", "button", "candle", "canvas",
    "castle", "cedar", "chair", "cloud", "copper", "corner", "cotton", "desert", "dinner", "door", "engine", "falcon",
    "feather", "field", "flint", "forest", "garden", "glass", "gravel", "hammer", "harbor", "honey", "island", "ivory",
    "jacket", "kettle", "ladder", "lantern", "linen", "marble", "meadow", "mirror", "morning", "nail", "needle",
    "ocean", "orchard", "paper", "pebble", "pillow", "pocket", "quarry", "river", "saddle", "silver", "spring",
    "stone", "table", "thread", "valley", "window", "winter",
];

impl Shape {
    /// `count` rows, the same for the same seed; the key comes first in each.
    pub fn rows(&self, seed: u64, count: usize) -> Vec<Vec<Value>> {
        let mut chance = Chance::new(seed);
        (0..count).map(|at| (self.row)(&mut chance, at)).collect()
    }

    /// A new file with this schema, as an app makes it.
    pub fn create(&self, path: &Path) -> Connection {
        let db = connect(path);
        let journal: String = db
            .query_row(&format!("PRAGMA journal_mode = {}", self.journal), [], |row| row.get(0))
            .expect("a journal mode");
        assert!(journal.eq_ignore_ascii_case(self.journal), "{journal}");
        db.execute_batch(self.schema).expect("the schema");
        db
    }

    /// What rows refer to, where they do.
    pub fn fill_parents(&self, db: &Connection) {
        (self.parents)(db);
    }

    /// What the table's lines call it.
    pub fn name(&self) -> String {
        match self.journal {
            "WAL" => self.table.to_owned(),
            _ => format!("{} on a rollback journal", self.table),
        }
    }

    pub fn insert(&self) -> String {
        let marks = vec!["?"; self.columns].join(", ");
        format!("INSERT INTO {} VALUES ({marks})", self.table)
    }

    pub fn insert_all(&self, db: &mut Connection, rows: &[Vec<Value>], transaction_rows: usize) {
        for chunk in rows.chunks(transaction_rows) {
            let transaction = db.transaction().expect("a transaction");
            {
                let mut insert = transaction.prepare_cached(&self.insert()).expect("the insert");
                for row in chunk {
                    insert.execute(params_from_iter(row)).expect("a row");
                }
            }
            transaction.commit().expect("a commit");
        }
    }
}

/// The app's connection, in this benchmark's words: the same for bare and captured.
pub fn connect(path: &Path) -> Connection {
    let db = Connection::open(path).expect("a database file");
    db.busy_timeout(std::time::Duration::from_millis(250)).expect("a timeout");
    db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON").expect("pragmas");
    db
}

/// Puts them into an order that has nothing to do with the one they came in.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut chance = Chance::new(seed);
    for at in (1..items.len()).rev() {
        items.swap(at, chance.below(at as u64 + 1) as usize);
    }
}

pub fn uuid(chance: &mut Chance) -> String {
    let (high, low) = (chance.next_u64(), chance.next_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        (low >> 48) & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

fn task(chance: &mut Chance, at: usize) -> Vec<Value> {
    vec![
        Value::Text(uuid(chance)),
        Value::Text(words(chance, 20)),
        Value::Text(words(chance, 200)),
        Value::Text(chance.pick(&["open", "done", "waiting"]).to_string()),
        Value::Real(chance.below(1_000_000) as f64 / 100.0),
        Value::Integer(1_700_000_000_000 + at as i64),
    ]
}

fn order(chance: &mut Chance, at: usize) -> Vec<Value> {
    let text = |text: String| Value::Text(text);
    vec![
        text(uuid(chance)),
        text(format!("N-{:012x}-{at}", chance.next_u64() >> 16)),
        text(parent("account", chance.below(PARENTS as u64) as usize)),
        text(parent("project", chance.below(PARENTS as u64) as usize)),
        text(words(chance, 20)),
        text(words(chance, 100)),
        text(chance.pick(&["open", "done", "waiting"]).to_string()),
        Value::Integer(chance.below(5) as i64),
        Value::Integer(chance.below(100) as i64),
        Value::Real(chance.below(1_000_000) as f64 / 100.0),
        Value::Real(chance.below(100) as f64 / 100.0),
        text(chance.pick(&["EUR", "USD", "GBP"]).to_string()),
        text(chance.pick(&WORDS).to_string()),
        text(chance.pick(&WORDS).to_string()),
        text(words(chance, 16)),
        text(format!("+{}", chance.below(10_000_000_000))),
        Value::Integer(chance.below(256) as i64),
        Value::Real(chance.below(50) as f64 / 10.0),
        Value::Integer(1_600_000_000_000 + chance.below(1_000_000_000) as i64),
        Value::Integer(1_700_000_000_000 + at as i64),
    ]
}

fn parents(db: &Connection) {
    db.execute_batch("BEGIN").expect("a transaction");
    for (table, kind) in [("accounts", "account"), ("projects", "project")] {
        let mut insert = db.prepare(&format!("INSERT INTO {table} VALUES (?, ?)")).expect("the insert");
        for at in 0..PARENTS {
            insert.execute([parent(kind, at), format!("{kind} {at}")]).expect("a parent");
        }
    }
    db.execute_batch("COMMIT").expect("a commit");
}

fn parent(kind: &str, at: usize) -> String {
    let mut chance = Chance::new((at as u64) << 8 | u64::from(kind.as_bytes()[0]));
    uuid(&mut chance)
}

/// Words with spaces between them, `bytes` long to the byte.
fn words(chance: &mut Chance, bytes: usize) -> String {
    let mut out = String::with_capacity(bytes + 8);
    while out.len() < bytes {
        if !out.is_empty() {
            out.push(' ');
        }
        let word: &&str = chance.pick(&WORDS);
        out.push_str(word);
    }
    out.truncate(bytes);
    out
}
