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
    add("update", "AFTER UPDATE", format!("{into} VALUES({});", values(LogOp::Update, "NEW.")));
    // Apart, and for statements that name the key: most do not, and pay nothing for it.
    add(
        "rekey",
        &format!("AFTER UPDATE OF {}", key_names(table)),
        format!("{into} SELECT {} WHERE {};", values(LogOp::Delete, "OLD."), key_differs(table)),
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

/// By what an UPDATE may name the key: its columns, and where the rowid may be the key,
/// the rowid's own names.
fn key_names(table: &Table) -> String {
    let rowid = !table.without_rowid && table.key.len() == 1;
    super::idents(&table.key) + if rowid { ", rowid, oid, _rowid_" } else { "" }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    /// What the log has after `change`, as `op key`, without the entries of `before`.
    fn logged(schema_sql: &str, before: &str, change: &str) -> Vec<String> {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(&format!("PRAGMA foreign_keys = ON; {schema_sql}")).unwrap();
        db.execute_batch(&log_table("log", 1)).unwrap();
        for (id, table) in schema::syncing(&db).unwrap().iter().filter(|table| table.name != "log").enumerate() {
            for (_, sql) in triggers("_homing_", "log", table, id as i64 + 1) {
                db.execute_batch(&sql).unwrap();
            }
        }
        db.execute_batch(before).unwrap();
        db.execute_batch("DELETE FROM log").unwrap();
        db.execute_batch(change).unwrap();
        let mut entries = db.prepare("SELECT op || ' ' || quote(k0) FROM log ORDER BY op DESC, quote(k0)").unwrap();
        entries.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn every_way_to_change_a_key_logs_the_old_one_and_the_new_one() {
        let numbered = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
        let named = "CREATE TABLE t(id TEXT COLLATE NOCASE PRIMARY KEY, v)";
        let family = "CREATE TABLE p(id INTEGER PRIMARY KEY);
            CREATE TABLE t(id INTEGER PRIMARY KEY REFERENCES p(id) ON UPDATE CASCADE, v)";
        let odd = "CREATE TABLE t(\"rowid\" TEXT PRIMARY KEY, v) WITHOUT ROWID";
        for (schema, before, change, expected) in [
            (numbered, "INSERT INTO t VALUES (1, 'a')", "UPDATE t SET id = 2", vec!["3 1", "2 2"]),
            (numbered, "INSERT INTO t VALUES (1, 'a')", "UPDATE t SET rowid = 2", vec!["3 1", "2 2"]),
            (numbered, "INSERT INTO t VALUES (1, 'a')", "UPDATE t SET OID = 2", vec!["3 1", "2 2"]),
            (numbered, "INSERT INTO t VALUES (1, 'a')", "UPDATE t SET _rowid_ = 2", vec!["3 1", "2 2"]),
            (numbered, "INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", vec!["2 1"]),
            (
                numbered,
                "INSERT INTO t VALUES (1, 'a')",
                "INSERT INTO t VALUES (1, 'b') ON CONFLICT(id) DO UPDATE SET id = 3",
                vec!["3 1", "2 3"],
            ),
            (named, "INSERT INTO t VALUES ('a', 1)", "UPDATE t SET ID = 'A'", vec!["3 'a'", "2 'A'"]),
            (family, "INSERT INTO p VALUES (1); INSERT INTO t VALUES (1, 'a')", "UPDATE p SET id = 2", {
                vec!["3 1", "3 1", "2 2", "2 2"]
            }),
            (odd, "INSERT INTO t VALUES ('a', 1)", "UPDATE t SET rowid = 'b'", vec!["3 'a'", "2 'b'"]),
        ] {
            // An eviction may be suspected beside it.
            let entries: Vec<String> =
                logged(schema, before, change).into_iter().filter(|entry| !entry.starts_with('4')).collect();
            assert_eq!(entries, expected, "{change} on {schema}");
        }
    }

    #[test]
    fn the_app_renames_and_drops_columns_with_the_triggers_in_place() {
        let change = "ALTER TABLE t RENAME COLUMN v TO w; ALTER TABLE t RENAME COLUMN id TO key;
            ALTER TABLE t DROP COLUMN w; UPDATE t SET key = 5";
        let entries = logged("CREATE TABLE t(id INTEGER PRIMARY KEY, v, z)", "INSERT INTO t VALUES (1, 2, 3)", change);
        assert_eq!(entries, ["3 1", "2 5"]);
    }
}
