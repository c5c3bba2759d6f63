//! Which of the app's own triggers write which tables.
//!
//! Asked of SQLite itself: statements that would fire them are compiled, never run, and
//! an authorizer hears what each trigger would touch.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, Result};

use crate::model::Table;
use crate::sqlite::{ident, idents};

/// A trigger on a table that syncs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writes {
    pub trigger: String,
    /// What it writes.
    pub table: String,
}

#[derive(Debug, Default, PartialEq)]
pub struct Found {
    pub writes: BTreeSet<Writes>,
    /// Tables whose triggers cannot be compiled here, and why: they call functions that
    /// only the app has.
    pub opaque: Vec<(String, String)>,
}

pub fn look(db: &mut Connection, tables: &[&Table]) -> Result<Found> {
    // Else what foreign keys do on their own would count as triggers.
    db.pragma_update(None, "foreign_keys", false)?;
    let heard = Arc::new(Mutex::new(BTreeSet::new()));
    let listener = heard.clone();
    db.authorizer(Some(move |asked: AuthContext<'_>| {
        let written = match asked.action {
            AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => Some(table_name),
            _ => None,
        };
        if let (Some(table), Some(trigger)) = (written, asked.accessor)
            && !trigger.starts_with("_homing_")
        {
            let writes = Writes { trigger: trigger.to_owned(), table: table.to_owned() };
            listener.lock().unwrap_or_else(PoisonError::into_inner).insert(writes);
        }
        Authorization::Allow
    }))?;
    let mut opaque = Vec::new();
    for table in tables.iter().filter(|table| has_triggers(db, &table.name).unwrap_or(true)) {
        let name = ident(&table.name);
        let columns: Vec<String> = table.columns.iter().map(|column| ident(&column.name)).collect();
        let same: Vec<String> = columns.iter().map(|column| format!("{column} = {column}")).collect();
        let insert =
            format!("INSERT INTO {name}({}) SELECT {} FROM {name}", idents(&table.column_names()), columns.join(", "));
        let statements = [insert, format!("UPDATE {name} SET {}", same.join(", ")), format!("DELETE FROM {name}")];
        if let Some(error) = statements.iter().find_map(|statement| db.prepare(statement).err()) {
            opaque.push((table.name.clone(), error.to_string()));
        }
    }
    db.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    let writes = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Found { writes, opaque })
}

fn has_triggers(db: &Connection, table: &str) -> Result<bool> {
    db.query_row(
        "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE)",
        [table],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    #[test]
    fn what_a_trigger_writes_is_found_and_nothing_is_run() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE notes(id TEXT PRIMARY KEY, body, size AS (length(body)));
             CREATE TABLE tally(id TEXT PRIMARY KEY, n);
             CREATE TABLE plain(id TEXT PRIMARY KEY);
             CREATE TABLE odd(id TEXT PRIMARY KEY);
             INSERT INTO notes(id) VALUES('a');
             CREATE TRIGGER count_them AFTER INSERT ON notes BEGIN UPDATE tally SET n = n + 1; END;
             CREATE TRIGGER then_more AFTER UPDATE ON tally BEGIN DELETE FROM plain; END;
             CREATE TRIGGER own AFTER INSERT ON odd BEGIN INSERT INTO odd VALUES(only_the_app_has_this(NEW.id)); END;",
        )
        .unwrap();
        let tables = schema::syncing(&db).unwrap();
        let found = look(&mut db, &tables.iter().collect::<Vec<_>>()).unwrap();
        let of = |trigger: &str, table: &str| Writes { trigger: trigger.into(), table: table.into() };
        assert_eq!(
            Vec::from_iter(found.writes),
            [of("count_them", "tally"), of("own", "odd"), of("then_more", "plain")]
        );
        assert_eq!(found.opaque.len(), 1);
        assert!(found.opaque[0].1.contains("only_the_app_has_this"), "{:?}", found.opaque);
        assert_eq!(db.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0)), Ok(1));
    }
}
