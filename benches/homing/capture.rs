//! What capture costs the app: its own inserts, updates and deletes with Homing's
//! triggers in the file, against the same file without them.

use std::time::Instant;

use homing::model::{Strategy, Value};
use rusqlite::{Connection, params_from_iter};

use super::Scale;
use super::data::{ORDERS, Shape, TASKS, TASKS_ROLLBACK, shuffle};
use super::rig;
use super::table::Row;

const BULK_ROWS: usize = 100_000;
const BULK_TRANSACTION_ROWS: usize = 1_000;

/// Rows a second.
#[derive(Clone, Copy, Default)]
struct Rates {
    insert: f64,
    update: f64,
    delete: f64,
}

pub fn run(scale: &Scale) -> Vec<Row> {
    let bulk = bulk(scale);
    let (plain, by_field) = (Strategy::default(), Strategy::FieldLevel);
    [
        compare(scale, &TASKS, plain, scale.singles, 1, [0.75, 0.62, 0.75]),
        compare(scale, &TASKS, plain, bulk, BULK_TRANSACTION_ROWS, [0.82, 0.62, 0.85]),
        compare(scale, &ORDERS, by_field, scale.singles, 1, [0.0; 3]),
        compare(scale, &ORDERS, by_field, bulk / 2, BULK_TRANSACTION_ROWS, [0.80, 0.70, 0.0]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// With the app's file on a rollback journal: each commit syncs to the disk, and a row a
/// transaction measures little else.
pub fn rollback(scale: &Scale) -> Vec<Row> {
    let plain = Strategy::default();
    [
        compare(scale, &TASKS_ROLLBACK, plain, scale.singles / 20, 1, [0.75, 0.62, 0.75]),
        compare(scale, &TASKS_ROLLBACK, plain, bulk(scale) / 2, BULK_TRANSACTION_ROWS, [0.82, 0.62, 0.85]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn bulk(scale: &Scale) -> usize {
    if scale.short { BULK_ROWS / 2 } else { BULK_ROWS }
}

/// `bars` of insert, update and delete; 0 for none.
fn compare(
    scale: &Scale,
    shape: &Shape,
    strategy: Strategy,
    rows: usize,
    transaction_rows: usize,
    bars: [f64; 3],
) -> Vec<Row> {
    let rows = shape.rows(7, rows);
    let (mut bare, mut captured) = (Rates::default(), Rates::default());
    for _ in 0..scale.rounds {
        // In turn, so that a disturbance from outside meets both alike.
        bare = bare.best(round(shape, strategy, &rows, transaction_rows, false));
        captured = captured.best(round(shape, strategy, &rows, transaction_rows, true));
    }
    let kinds = [
        ("insert", bare.insert, captured.insert),
        ("update of one column", bare.update, captured.update),
        ("delete", bare.delete, captured.delete),
    ];
    let line = |((kind, bare, captured), bar)| {
        let what = format!("capture, {}, {transaction_rows} a transaction: {kind}", shape.name());
        let row = Row::rates(what, bare, captured, "rows/s");
        if bar > 0.0 { row.at_least(bar) } else { row }
    };
    kinds.into_iter().zip(bars).map(line).collect()
}

fn round(shape: &Shape, strategy: Strategy, rows: &[Vec<Value>], transaction_rows: usize, captured: bool) -> Rates {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("app.db");
    let db = shape.create(&path);
    shape.fill_parents(&db);
    if captured {
        rig::attach(&rig::replica(&path, "http://127.0.0.1:1", &path, strategy));
    }
    let insert = timed(&db, &shape.insert(), rows, transaction_rows);
    let mut keys: Vec<Vec<Value>> =
        rows.iter().map(|row| vec![Value::Text("closed".to_owned()), row[0].clone()]).collect();
    shuffle(&mut keys, 11);
    let update = timed(&db, shape.update, &keys, transaction_rows);
    let mut keys: Vec<Vec<Value>> = rows.iter().map(|row| vec![row[0].clone()]).collect();
    shuffle(&mut keys, 13);
    let delete = timed(&db, &format!("DELETE FROM {} WHERE id = ?", shape.table), &keys, transaction_rows);
    if captured {
        let logged: usize =
            db.query_row("SELECT count(*) FROM _homing_log", [], |row| row.get::<_, i64>(0)).expect("a log") as usize;
        assert!(logged >= rows.len() * 3, "{logged} entries for {} writes", rows.len() * 3);
    }
    Rates { insert, update, delete }
}

/// Runs one statement for each set of parameters; how many a second.
fn timed(db: &Connection, sql: &str, parameters: &[Vec<Value>], transaction_rows: usize) -> f64 {
    let mut statement = db.prepare(sql).expect("the statement");
    let start = Instant::now();
    for chunk in parameters.chunks(transaction_rows) {
        if transaction_rows > 1 {
            db.execute_batch("BEGIN").expect("a transaction");
        }
        for row in chunk {
            statement.execute(params_from_iter(row)).expect("a write");
        }
        if transaction_rows > 1 {
            db.execute_batch("COMMIT").expect("a commit");
        }
    }
    parameters.len() as f64 / start.elapsed().as_secs_f64()
}

impl Rates {
    fn best(self, other: Rates) -> Rates {
        Rates {
            insert: self.insert.max(other.insert),
            update: self.update.max(other.update),
            delete: self.delete.max(other.delete),
        }
    }
}
