//! The capture triggers and the log they fill, as SQL.
//!
//! They run inside the app's own SQLite, whatever its version and settings: nothing
//! here needs more than SQLite 3.24, an extension or a trusted schema. A trigger
//! appends (table, operation, key, time) and names key columns only, so that the app
//! may add, rename and drop the others. The exception are the eviction triggers, which
//! name columns of UNIQUE constraints: SQLite lets nobody drop those.

use super::ident;
use crate::model::Table;

/// What a log entry says. `MaybeEvicted` is a row that an `INSERT OR REPLACE` may be
/// about to evict: whoever reads the log looks whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOp {
    Insert = 1,
    Update = 2,
    Delete = 3,
    MaybeEvicted = 4,
}

/// Milliseconds since 1970 from a log entry's `at`, a Julian day.
pub fn millis(julian_day: f64) -> i64 {
    ((julian_day - 2_440_587.5) * 86_400_000.0).round() as i64
}

const NOW: &str = "julianday('now')";

/// The log's table: `seq`, `tab`, `op`, `at`, and the key's values in `k0`, `k1` …
/// Key columns have no affinity, so that values keep their class.
pub fn log_table(log: &str, key_columns: usize) -> String {
    let keys: Vec<String> = (0..key_columns).map(|at| format!("k{at}")).collect();
    format!("CREATE TABLE {}(seq INTEGER PRIMARY KEY, tab, op, at, {})", ident(log), keys.join(", "))
}

/// The triggers of one table: (name, SQL). `prefix` begins every name; `id` stands for
/// the table in the log.
pub fn triggers(prefix: &str, log: &str, table: &Table, id: i64) -> Vec<(String, String)> {
    let keys: Vec<String> = (0..table.key.len()).map(|at| format!("k{at}")).collect();
    let into = format!("INSERT INTO {}(tab, op, at, {})", ident(log), keys.join(", "));
    let values = |op: LogOp, source: &str| {
        let key: Vec<String> = table.key.iter().map(|name| format!("{source}{}", ident(name))).collect();
        format!("{id}, {}, {NOW}, {}", op as i64, key.join(", "))
    };
    let on = ident(&table.name);
    let mut out = Vec::new();
    let mut add = |what: &str, moment: &str, body: String| {
        let name = format!("{prefix}{id}_{what}");
        let sql = format!("CREATE TRIGGER {} {moment} ON {on} BEGIN {body} END", ident(&name));
        out.push((name, sql));
    };
    add("insert", "AFTER INSERT", format!("{into} VALUES({});", values(LogOp::Insert, "NEW.")));
    add(
        "update",
        "AFTER UPDATE",
        format!(
            "{into} SELECT {} WHERE {}; {into} VALUES({});",
            values(LogOp::Delete, "OLD."),
            key_differs(table),
            values(LogOp::Update, "NEW."),
        ),
    );
    add("delete", "AFTER DELETE", format!("{into} VALUES({});", values(LogOp::Delete, "OLD.")));
    for (at, columns) in evicting(table).into_iter().enumerate() {
        let same: Vec<String> = columns.iter().map(|name| format!("{on}.{0} = NEW.{0}", ident(name))).collect();
        let other: Vec<String> = table.key.iter().map(|name| format!("{on}.{0} IS OLD.{0}", ident(name))).collect();
        let candidates = format!(
            "{into} SELECT {} FROM {on} WHERE {}",
            values(LogOp::MaybeEvicted, &format!("{on}.")),
            same.join(" AND ")
        );
        add(&format!("evict_{at}_insert"), "BEFORE INSERT", format!("{candidates};"));
        let moment = format!("BEFORE UPDATE OF {}", super::idents(&columns));
        add(&format!("evict_{at}_update"), &moment, format!("{candidates} AND NOT ({});", other.join(" AND ")));
    }
    out
}

/// Whether OLD and NEW have different keys, byte for byte and class for class.
fn key_differs(table: &Table) -> String {
    let differs = |name: &String| {
        let name = ident(name);
        format!("OLD.{name} COLLATE BINARY IS NOT NEW.{name} OR typeof(OLD.{name}) <> typeof(NEW.{name})")
    };
    table.key.iter().map(differs).collect::<Vec<_>>().join(" OR ")
}

/// The sets of columns through which a REPLACE can evict a row with other key bytes.
fn evicting(table: &Table) -> Vec<Vec<String>> {
    let constraints = table.unique.iter().filter(|unique| unique.constraint);
    let mut sets: Vec<Vec<String>> = constraints.map(|unique| unique.columns.clone()).collect();
    let folds = |name: &String| table.position(name).is_some_and(|at| table.columns[at].collation.is_some());
    if table.key.iter().any(folds) {
        sets.push(table.key.clone());
    }
    sets
}
