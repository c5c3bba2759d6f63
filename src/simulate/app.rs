//! The simulated app: random transactions of plain SQL on its own file.
//!
//! Knows nothing of Homing but that the time its writes are logged at is the virtual
//! one. Every value it writes is a token that names itself.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use super::schema::TABLES;
use super::tokens::Tokens;
use crate::engine::Chance;

/// Runs one transaction. Answers what it did, for the story; an error of SQLite's
/// (a constraint, a lock) means that it did nothing.
pub(super) fn write(
    db: &Connection,
    device: usize,
    manner: Manner,
    chance: &mut Chance,
    tokens: &mut Tokens,
) -> rusqlite::Result<String> {
    manner.prepare(db)?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    let newest = newest(db);
    let mut story = Vec::new();
    for _ in 0..1 + chance.below(3) {
        let table = *chance.pick(&TABLES);
        let told = match chance.below(12) {
            0 => undone(db, table, device, chance, tokens),
            _ => one(db, table, device, chance, tokens),
        };
        story.push(told.unwrap_or_else(|error| format!("({error})")));
    }
    if chance.below(6) == 0 {
        let told = ask(db, &tokens.fresh(device), manner.millis);
        story.push(told.unwrap_or_else(|error| format!("({error})")));
    }
    // The triggers ask the machine's clock; here time is virtual.
    if let Some(newest) = newest {
        db.execute("UPDATE _homing_log SET at = ? WHERE seq > ?", params![day(manner.millis), newest])?;
    }
    commit(db)?;
    Ok(story.join("; "))
}

/// How the app's connection is set up for one transaction.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// It enforces foreign keys.
    pub(super) enforcing: bool,
    /// Its triggers fire.
    pub(super) seen: bool,
    /// The device's clock.
    pub(super) millis: i64,
}

impl Manner {
    fn prepare(self, db: &Connection) -> rusqlite::Result<()> {
        db.execute_batch(if self.enforcing { "PRAGMA foreign_keys = ON" } else { "PRAGMA foreign_keys = OFF" })?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, self.seen)?;
        Ok(())
    }
}

/// Changes the schema as apps do when they are upgraded. Answers the SQL.
pub(super) fn migrate(db: &Connection, chance: &mut Chance) -> rusqlite::Result<String> {
    let columns: i64 = db.query_row("SELECT count(*) FROM pragma_table_info('note')", [], |row| row.get(0))?;
    let sql = match chance.below(5) {
        0 if columns < 8 => format!("ALTER TABLE note ADD COLUMN extra{columns} TEXT DEFAULT 'none'"),
        1 => "DROP TABLE IF EXISTS fresh; CREATE TABLE fresh(id TEXT PRIMARY KEY, up TEXT REFERENCES tree(id), body TEXT);
              INSERT INTO fresh SELECT * FROM tree; DROP TABLE tree; ALTER TABLE fresh RENAME TO tree"
            .to_owned(),
        2 => "CREATE INDEX IF NOT EXISTS by_title ON note(title)".to_owned(),
        3 if columns > 4 => format!("ALTER TABLE note DROP COLUMN extra{}", columns - 1),
        _ => "DROP TABLE IF EXISTS fresh; CREATE TABLE fresh(x TEXT COLLATE NOCASE, y INTEGER, v, PRIMARY KEY(x, y)) WITHOUT ROWID;
              INSERT INTO fresh SELECT * FROM pair; DROP TABLE pair; ALTER TABLE fresh RENAME TO pair"
            .to_owned(),
    };
    db.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; BEGIN IMMEDIATE")?;
    if let Err(error) = db.execute_batch(&sql) {
        let _ = db.execute_batch("ROLLBACK");
        return Err(error);
    }
    commit(db)?;
    Ok(sql)
}

fn commit(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("COMMIT").inspect_err(|_| {
        let _ = db.execute_batch("ROLLBACK");
    })
}

/// Asks for an action, under a key that names itself.
fn ask(db: &Connection, token: &str, millis: i64) -> rusqlite::Result<String> {
    let sql = "INSERT INTO _homing_actions(action, key, payload, at) VALUES('do', ?1, '\"' || ?1 || '\"', ?2)";
    db.execute(sql, params![token, day(millis)])?;
    Ok(format!("asks for {token}"))
}

/// As SQLite counts days.
fn day(millis: i64) -> f64 {
    millis as f64 / 86_400_000.0 + 2_440_587.5
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
