//! The simulated app: random transactions of plain SQL on its own file.
//!
//! Knows nothing of Homing but that the time its writes are logged at is the virtual
//! one. Every value it writes is a token that names itself.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, params};

use super::schema::{TABLES, token_column};
use super::tokens::{self, Tokens};
use crate::engine::Chance;

/// Runs one transaction. Answers what it did, for the story; an error of SQLite's
/// (a constraint, a lock) means that it did nothing.
pub(super) fn write(
    path: &Path,
    device: usize,
    enforcing: bool,
    seen: bool,
    millis: i64,
    chance: &mut Chance,
    tokens: &mut Tokens,
) -> Result<String, String> {
    let db = open(path, enforcing, seen)?;
    let fail = |error: rusqlite::Error| error.to_string();
    let before = all_tokens(&db)?;
    db.execute_batch("BEGIN IMMEDIATE").map_err(fail)?;
    let newest = newest(&db);
    let mut story = Vec::new();
    for _ in 0..1 + chance.below(3) {
        let table = *chance.pick(&TABLES);
        let told = match chance.below(12) {
            0 => undone(&db, table, device, chance, tokens),
            _ => one(&db, table, device, chance, tokens),
        };
        match told {
            Ok(told) => story.push(told),
            Err(error) => story.push(format!("({error})")),
        }
    }
    // The triggers ask the machine's clock; here time is virtual.
    if let Some(newest) = newest {
        let day = millis as f64 / 86_400_000.0 + 2_440_587.5;
        db.execute("UPDATE _homing_log SET at = ? WHERE seq > ?", params![day, newest]).map_err(fail)?;
    }
    db.execute_batch("COMMIT").map_err(|error| {
        let _ = db.execute_batch("ROLLBACK");
        error.to_string()
    })?;
    let after = all_tokens(&db)?;
    let replaced: BTreeSet<String> = before.difference(&after).cloned().collect();
    tokens.replaced(&replaced);
    for token in after.difference(&before) {
        tokens.written(token, format!("device {device}: {}", story.join("; ")));
    }
    Ok(story.join("; "))
}

/// Changes the schema as apps do when they are upgraded.
pub(super) fn migrate(path: &Path, chance: &mut Chance) -> Result<String, String> {
    let db = open(path, false, true)?;
    let columns: i64 = db
        .query_row("SELECT count(*) FROM pragma_table_info('note')", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    let sql = match chance.below(4) {
        0 if columns < 8 => format!("ALTER TABLE note ADD COLUMN extra{columns} TEXT DEFAULT 'none'"),
        1 => "DROP TABLE IF EXISTS fresh; CREATE TABLE fresh(id TEXT PRIMARY KEY, up TEXT REFERENCES tree(id), body TEXT);
              INSERT INTO fresh SELECT * FROM tree; DROP TABLE tree; ALTER TABLE fresh RENAME TO tree"
            .to_owned(),
        2 => "CREATE INDEX IF NOT EXISTS by_title ON note(title)".to_owned(),
        _ => "DROP TABLE IF EXISTS fresh; CREATE TABLE fresh(x TEXT COLLATE NOCASE, y INTEGER, v, PRIMARY KEY(x, y)) WITHOUT ROWID;
              INSERT INTO fresh SELECT * FROM pair; DROP TABLE pair; ALTER TABLE fresh RENAME TO pair"
            .to_owned(),
    };
    db.execute_batch("PRAGMA legacy_alter_table = ON").map_err(|error| error.to_string())?;
    db.execute_batch(&format!("BEGIN IMMEDIATE; {sql}; COMMIT")).map_err(|error| {
        let _ = db.execute_batch("ROLLBACK");
        error.to_string()
    })?;
    Ok(sql)
}

pub(super) fn open(path: &Path, enforcing: bool, seen: bool) -> Result<Connection, String> {
    let fail = |error: rusqlite::Error| error.to_string();
    let db = Connection::open(path).map_err(fail)?;
    db.busy_timeout(std::time::Duration::ZERO).map_err(fail)?;
    db.execute_batch("PRAGMA synchronous = OFF").map_err(fail)?;
    db.execute_batch(if enforcing { "PRAGMA foreign_keys = ON" } else { "PRAGMA foreign_keys = OFF" }).map_err(fail)?;
    if !seen {
        let off = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
        db.set_db_config(off, false).map_err(fail)?;
    }
    Ok(db)
}

/// Every token in the app's own tables.
pub(super) fn all_tokens(db: &Connection) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    for table in TABLES {
        let sql = format!("SELECT {} FROM {table}", token_column(table));
        let mut statement = db.prepare(&sql).map_err(|error| error.to_string())?;
        let mut rows = statement.query([]).map_err(|error| error.to_string())?;
        while let Some(row) = rows.next().map_err(|error| error.to_string())? {
            if let Ok(Some(text)) = row.get::<_, Option<String>>(0) {
                tokens::find(&text, &mut found);
            }
        }
    }
    Ok(found)
}

fn newest(db: &Connection) -> Option<i64> {
    db.query_row("SELECT coalesce(max(seq), 0) FROM _homing_log", [], |row| row.get(0)).ok()
}

/// Something done and taken back within the transaction.
fn undone(
    db: &Connection,
    table: &str,
    device: usize,
    chance: &mut Chance,
    tokens: &mut Tokens,
) -> rusqlite::Result<String> {
    db.execute_batch("SAVEPOINT undone")?;
    let told = one(db, table, device, chance, tokens);
    db.execute_batch("ROLLBACK TO undone; RELEASE undone")?;
    told.map(|told| format!("undone: {told}"))
}

/// One statement on one table, chosen so that devices meet on few rows.
fn one(
    db: &Connection,
    table: &str,
    device: usize,
    chance: &mut Chance,
    tokens: &mut Tokens,
) -> rusqlite::Result<String> {
    let token = tokens.fresh(device);
    let id = |chance: &mut Chance| chance.below(6);
    let (a, b) = (id(chance), id(chance));
    let case = if chance.below(2) == 0 { "k" } else { "K" };
    let sql = match (table, chance.below(10)) {
        ("note", 0..2) => format!("INSERT INTO note(id, title) VALUES('n{a}', '{token}') ON CONFLICT(id) DO UPDATE SET title = excluded.title"),
        ("note", 2) => format!("INSERT OR REPLACE INTO note(id, title, body) VALUES('n{a}', '{token}', 'x')"),
        ("note", 3..5) => format!("UPDATE note SET title = '{token}' WHERE id = 'n{a}'"),
        ("note", 5) => format!("UPDATE note SET stars = stars + 1 WHERE id = 'n{a}'"),
        ("note", 6) => format!("UPDATE note SET body = 'b{b}' WHERE id = 'n{a}'"),
        ("note", 7) => format!("DELETE FROM note WHERE id = 'n{a}'"),
        ("note", 8) => format!("UPDATE OR IGNORE note SET id = 'n{b}', title = '{token}' WHERE id = 'n{a}'"),
        ("note", _) => format!(
            "UPDATE note SET id = 'swap' WHERE id = 'n{a}'; UPDATE note SET id = 'n{a}' WHERE id = 'n{b}';
             UPDATE note SET id = 'n{b}' WHERE id = 'swap'"
        ),
        ("item", 0..4) => format!("INSERT OR IGNORE INTO item(id, note_id, label, n) VALUES({a}, 'n{b}', '{token}', {a}.5)"),
        ("item", 4..7) => format!("UPDATE item SET label = '{token}', note_id = 'n{b}' WHERE id = {a}"),
        ("item", 7) => format!("UPDATE item SET note_id = NULL WHERE id = {a}"),
        ("item", 8) => format!("UPDATE item SET n = -0.0 WHERE id = {a}"),
        ("item", _) => format!("DELETE FROM item WHERE id = {a}"),
        ("pair", 0..4) => format!("INSERT OR REPLACE INTO pair VALUES('{case}{a}', {b}, '{token}')"),
        ("pair", 4..6) => format!("UPDATE pair SET v = '{token}' WHERE x = '{case}{a}'"),
        ("pair", 6) => format!("UPDATE OR IGNORE pair SET x = '{case}{a}', v = '{token}' WHERE x = 'k{a}'"),
        ("pair", 7) => format!("UPDATE OR REPLACE pair SET x = '{case}{b}' WHERE x = '{case}{a}'"),
        ("pair", _) => format!("DELETE FROM pair WHERE x = '{case}{a}' AND y = {b}"),
        ("person", 0..3) => format!("INSERT OR IGNORE INTO person(name, mail, body) VALUES('p{a}', 'mail{b}', '{token}')"),
        ("person", 3) => format!("INSERT OR REPLACE INTO person(name, mail, body) VALUES('p{a}', 'mail{b}', '{token}')"),
        ("person", 4..6) => format!("UPDATE person SET body = '{token}' WHERE name = 'p{a}'"),
        ("person", 6) => format!("UPDATE OR IGNORE person SET mail = 'mail{b}', body = '{token}' WHERE name = 'p{a}'"),
        ("person", 7) => format!(
            "UPDATE person SET mail = 'swap' WHERE mail = 'mail{a}'; UPDATE person SET mail = 'mail{a}' WHERE mail = 'mail{b}';
             UPDATE person SET mail = 'mail{b}' WHERE mail = 'swap'"
        ),
        ("person", _) => format!("DELETE FROM person WHERE name = 'p{a}'"),
        ("tree", 0..4) => format!("INSERT OR IGNORE INTO tree(id, up, body) VALUES('r{a}', CASE WHEN {b} = 0 THEN NULL ELSE 'r{b}' END, '{token}')"),
        ("tree", 4..7) => format!("UPDATE tree SET body = '{token}' WHERE id = 'r{a}'"),
        ("tree", 7) => format!("UPDATE tree SET up = 'r{b}', body = '{token}' WHERE id = 'r{a}'"),
        ("tree", _) => format!("DELETE FROM tree WHERE id = 'r{a}'"),
        ("odd", 0..4) => format!("INSERT OR REPLACE INTO odd(rowid, k, v) VALUES('o{a}', CASE WHEN {b} = 0 THEN NULL WHEN {b} = 1 THEN 1 ELSE 1.5 END, '{token}')"),
        ("odd", 4..7) => format!("UPDATE odd SET v = '{token}' WHERE rowid = 'o{a}' AND k IS NOT NULL"),
        ("odd", _) => format!("DELETE FROM odd WHERE rowid = 'o{a}'"),
        ("real_key", 0..4) => format!("INSERT OR REPLACE INTO real_key VALUES({a}.25, '{token}')"),
        ("real_key", 4..7) => format!("UPDATE real_key SET v = '{token}' WHERE k = {a}.25"),
        ("real_key", 7) => format!("UPDATE OR IGNORE real_key SET k = {b}.25 WHERE k = {a}.25"),
        _ => format!("DELETE FROM real_key WHERE k = {a}.25"),
    };
    if sql.starts_with("INSERT OR REPLACE INTO odd") && sql.contains("WHEN 0 = 0 THEN NULL") {
        // A NULL in a key is not unique: a second one would have no usable key, and
        // waits for a person by design.
        let there: i64 =
            db.query_row(&format!("SELECT count(*) FROM odd WHERE rowid = 'o{a}' AND k IS NULL"), [], |row| {
                row.get(0)
            })?;
        if there > 0 {
            return Ok("nothing".to_owned());
        }
    }
    db.execute_batch(&sql)?;
    Ok(sql.split_whitespace().collect::<Vec<_>>().join(" "))
}
