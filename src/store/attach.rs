//! Putting capture into the app's file, and keeping it there.
//!
//! Runs at the start of every cycle and is idempotent: it compares what is there with
//! what ought to be, and changes only what differs, in one transaction, so that no
//! write can fall between a trigger's removal and its return. A table whose triggers
//! were missing is compared row by row afterwards (`audit`).

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{Result, Store, Synced, Writer, layout, meta};
use crate::model::settings::Replica;
use crate::model::{Fault, FaultKind, ReasonCode, Table};
use crate::sqlite::schema::{self, Found};
use crate::sqlite::{capture, ident};

/// What a look at the file found and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attached {
    /// The file had nothing of Homing's before.
    pub first: bool,
    /// Tables that were not synced before.
    pub added: Vec<String>,
    /// Tables that were synced and are not there any more, or are no longer to be synced.
    pub removed: Vec<String>,
    /// Tables whose triggers had gone, or whose columns changed.
    pub repaired: Vec<String>,
    /// Tables with data that cannot sync, and why.
    pub refused: Vec<(String, String)>,
}

/// A file's tables as a cycle read them, for the next one: as long as no word of its schema
/// is another, they are the same.
#[derive(Default)]
pub struct Reading {
    /// A hash of the schema, and of what is registered.
    print: u128,
    tables: BTreeMap<i64, Synced>,
    refused: Vec<(String, String)>,
}

impl Store {
    /// Takes over what an earlier cycle read, where it still holds. Before `attach`.
    pub fn recall(&mut self, reading: Option<Reading>) {
        self.reading = reading.unwrap_or_default();
    }

    /// What this cycle read, for the next one. The store is of no use afterwards.
    pub fn reading(&mut self) -> Reading {
        Reading { tables: std::mem::take(&mut self.tables), ..std::mem::take(&mut self.reading) }
    }

    /// Brings capture in line with the schema and the config.
    pub fn attach(&mut self, today: f64) -> Result<Attached> {
        if self.is_attached()? {
            check_format(&self.db)?;
        }
        let settled = self.is_attached()? && self.is_in_line()?;
        let attached = if settled { self.load()? } else { self.install(today)? };
        let seen: f64 = meta::get(&self.db, "seen_day")?.unwrap_or(0.0);
        if today - seen > 1.0 || today < seen {
            self.write(|writer| Ok(meta::set(writer.db, "seen_day", today)?))?;
        }
        if meta::get::<i64>(&self.db, "log_dropped")?.is_some() {
            self.write(|writer| {
                writer.db.execute("DELETE FROM _homing_meta WHERE name = 'log_dropped'", [])?;
                Ok(meta::set(writer.db, "audit", "due")?)
            })?;
        }
        if meta::get::<i64>(&self.db, "pull_again")?.is_some() {
            self.write(|writer| {
                writer.db.execute("DELETE FROM _homing_meta WHERE name = 'pull_again'", [])?;
                Ok(meta::set(writer.db, "cursor", rusqlite::types::Null)?)
            })?;
        }
        Ok(attached)
    }

    fn is_in_line(&self) -> Result<bool> {
        let version: i64 = self.db.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        Ok(meta::get::<i64>(&self.db, "schema_version")? == Some(version)
            && meta::get::<String>(&self.db, "rules")? == Some(rules(&self.replica)))
    }

    fn install(&mut self, today: f64) -> Result<Attached> {
        let replica = self.replica.clone();
        let was_attached = self.is_attached()?;
        let attached = self.write(|writer| {
            let mut attached = Attached { first: !was_attached, ..Attached::default() };
            if was_attached {
                writer.upgrade()?;
            }
            let found = tables(writer.db, &replica)?;
            let wanted: Vec<&Table> = found
                .iter()
                .filter_map(|found| if let Found::Syncs(table) = found { Some(table) } else { None })
                .filter(|table| replica.syncs(&table.name))
                .collect();
            attached.refused = refused(&found, &replica);
            let width = wanted.iter().map(|table| table.key.len()).max().unwrap_or(1);
            match was_attached {
                false => writer.create(width)?,
                true => writer.widen(width)?,
            }
            let here = |found: &Found| if let Found::Syncs(table) = found { Some(table.name.clone()) } else { None };
            let here: Vec<String> = found.iter().filter_map(here).collect();
            writer.unregister_missing(&wanted, &here, &mut attached)?;
            for table in wanted {
                writer.register(table, &mut attached)?;
            }
            if was_attached && !(attached.added.is_empty() && attached.repaired.is_empty()) {
                // The remote may hold rows, or columns of rows, that had no place here.
                meta::set(writer.db, "cursor", rusqlite::types::Null)?;
            }
            if attached.first && writer.all_are_empty(&attached.added)? {
                // Whatever comes now, the triggers see: there is nothing to compare.
                meta::set(writer.db, "audit", capture::millis(today).to_string())?;
            } else if !(attached.added.is_empty() && attached.repaired.is_empty()) {
                meta::set(writer.db, "audit", "due")?;
            }
            meta::set(writer.db, "rules", rules(&replica))?;
            let version: i64 = writer.db.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
            meta::set(writer.db, "schema_version", version)?;
            Ok(attached)
        })?;
        self.outbox.forget();
        self.load()?;
        Ok(attached)
    }

    /// Reads the registered tables into memory.
    pub(crate) fn load(&mut self) -> Result<Attached> {
        if meta::get::<i64>(&self.db, "format")?.is_some_and(|format| format < layout::FORMAT) {
            self.write(|writer| writer.upgrade())?;
        }
        let print = self.print()?;
        if print == self.reading.print && !self.reading.tables.is_empty() {
            self.tables = std::mem::take(&mut self.reading.tables);
            return Ok(Attached { refused: self.reading.refused.clone(), ..Attached::default() });
        }
        let found = tables(&self.db, &self.replica)?;
        let mut registered = self.db.prepare("SELECT tab, name, shape FROM _homing_table")?;
        let rows = registered
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<(i64, String, i64)>>>()?;
        drop(registered);
        let mut tables = BTreeMap::new();
        for (id, name, shape) in rows {
            let table = found.iter().find_map(|found| match found {
                Found::Syncs(table) if table.name == name && self.replica.syncs(&name) => Some(table.clone()),
                _ => None,
            });
            if let Some(table) = table {
                let rule = self.replica.rule(&name).clone();
                let fires = rule.fire_triggers.unwrap_or(false);
                tables.insert(id, Synced::new(&self.db, id, shape, table, rule, fires));
            }
        }
        self.tables = tables;
        self.decide_triggers()?;
        let refused = refused(&found, &self.replica);
        self.reading = Reading { print, refused: refused.clone(), ..Reading::default() };
        Ok(Attached { refused, ..Attached::default() })
    }

    /// A hash of everything that `load` goes by, beside the settings. Far cheaper than
    /// asking for each table's columns, keys and indexes.
    fn print(&self) -> Result<u128> {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let mut add = |sql: &str, columns: usize| -> Result<()> {
            let mut statement = self.db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for at in 0..columns {
                    let text = row.get_ref(at)?.as_bytes_or_null().unwrap_or(None).unwrap_or_default();
                    hash.update(&(text.len() as u64).to_le_bytes());
                    hash.update(text);
                }
            }
            Ok(())
        };
        add("SELECT type, name, tbl_name, sql FROM sqlite_schema", 4)?;
        add("SELECT tab || '', name, shape || '' FROM _homing_table", 3)?;
        Ok(hash.digest128())
    }

    /// Which tables' own triggers fire while applying: those that write unsynced tables
    /// alone (a search index), unless the config says otherwise.
    fn decide_triggers(&mut self) -> Result<()> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name NOT LIKE '\\_homing\\_%' ESCAPE '\\' AND tbl_name = ? COLLATE NOCASE";
        let undecided: Vec<i64> =
            self.tables.values().filter(|synced| synced.rule.fire_triggers.is_none()).map(|synced| synced.id).collect();
        for id in undecided {
            let name = self.tables[&id].name().to_owned();
            let own: i64 = self.db.query_row(sql, [&name], |row| row.get(0))?;
            if own > 0 {
                let written = written_by_triggers(&mut self.db, &self.tables[&id])?;
                let harmless = !written.is_empty() && !written.iter().any(|table| self.find(table).is_some());
                self.tables.get_mut(&id).expect("BUG: listed above").fires = harmless;
            }
        }
        Ok(())
    }

    pub(crate) fn widths(&self) -> BTreeMap<i64, usize> {
        self.tables.iter().map(|(id, synced)| (*id, synced.table.key.len())).collect()
    }
}

impl Writer<'_> {
    pub(crate) fn widths(&self) -> BTreeMap<i64, usize> {
        self.tables.iter().map(|(id, synced)| (*id, synced.table.key.len())).collect()
    }

    fn all_are_empty(&self, tables: &[String]) -> Result<bool> {
        for name in tables {
            let sql = format!("SELECT EXISTS(SELECT 1 FROM {})", ident(name));
            if self.db.query_row(&sql, [], |row| row.get(0))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn create(&self, width: usize) -> Result<()> {
        self.db.execute_batch(&layout::tables())?;
        self.db.execute_batch(&layout::log(width))?;
        self.db.execute_batch(&layout::views(width))?;
        meta::set(self.db, "format", layout::FORMAT)?;
        meta::set(self.db, "era", 1)?;
        meta::set(self.db, "width", width as i64)?;
        Ok(())
    }

    /// Brings the layout of an older Homing up to this one's.
    fn upgrade(&self) -> Result<()> {
        let format: i64 = meta::get(self.db, "format")?.unwrap_or(1);
        if format >= layout::FORMAT {
            return Ok(());
        }
        for step in layout::UPGRADES.iter().skip((format - 1).max(0) as usize) {
            self.db.execute_batch(step)?;
        }
        self.db.execute_batch(layout::DROP_VIEWS)?;
        self.db.execute_batch(&layout::views(meta::get::<i64>(self.db, "width")?.unwrap_or(1) as usize))?;
        Ok(meta::set(self.db, "format", layout::FORMAT)?)
    }

    /// Makes room in the log for keys of `width` columns.
    fn widen(&self, width: usize) -> Result<()> {
        let have: i64 = meta::get(self.db, "width")?.unwrap_or(1);
        if width as i64 <= have {
            return Ok(());
        }
        for at in have..width as i64 {
            self.db.execute_batch(&format!("ALTER TABLE _homing_log ADD COLUMN k{at}"))?;
        }
        self.db.execute_batch(layout::DROP_VIEWS)?;
        self.db.execute_batch(&layout::views(width))?;
        Ok(meta::set(self.db, "width", width as i64)?)
    }

    /// Takes leave of tables that are gone, with all that was known of them, and of those
    /// that are left out: what these were when both sides were last equal stays known, so
    /// that what happens here and there meanwhile is found when they are put back.
    fn unregister_missing(&self, wanted: &[&Table], here: &[String], attached: &mut Attached) -> Result<()> {
        let rows = self
            .db
            .prepare("SELECT tab, name FROM _homing_table")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
        for (id, name) in rows {
            if wanted.iter().any(|table| table.name == name) {
                continue;
            }
            let is_here = here.contains(&name);
            if is_here && triggers(self.db, id)?.is_empty() {
                continue;
            }
            drop_triggers(self.db, id)?;
            for table in ["aside", "parked", "log"] {
                self.db.execute(&format!("DELETE FROM _homing_{table} WHERE tab = ?"), [id])?;
            }
            if !is_here {
                self.db.execute("DELETE FROM _homing_table WHERE tab = ?", [id])?;
                self.db.execute("DELETE FROM _homing_base WHERE tab = ?", [id])?;
            }
            attached.removed.push(name);
        }
        Ok(())
    }

    fn register(&self, table: &Table, attached: &mut Attached) -> Result<()> {
        let names = serde_json::to_string(&table.column_names()).expect("BUG: names are JSON");
        let known = self.db.query_row("SELECT tab, shape FROM _homing_table WHERE name = ?", [&table.name], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        let id = match known {
            Ok((id, shape)) => {
                let kept: String =
                    self.db
                        .query_row("SELECT columns FROM _homing_shape WHERE shape = ?", [shape], |row| row.get(0))?;
                if kept != names {
                    let shape = self.add_shape(id, &names)?;
                    self.db.execute(
                        "UPDATE _homing_table SET shape = ?, width = ? WHERE tab = ?",
                        params![shape, table.key.len() as i64, id],
                    )?;
                    attached.repaired.push(table.name.clone());
                }
                id
            }
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                let id: i64 = meta::get(self.db, "last_table")?.unwrap_or(0) + 1;
                meta::set(self.db, "last_table", id)?;
                let shape = self.add_shape(id, &names)?;
                self.db.execute(
                    "INSERT INTO _homing_table(tab, name, width, shape) VALUES(?, ?, ?, ?)",
                    params![id, table.name, table.key.len() as i64, shape],
                )?;
                attached.added.push(table.name.clone());
                id
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = capture::triggers(layout::PREFIX, layout::LOG, table, id);
        if triggers(self.db, id)? != wanted.iter().cloned().collect() {
            drop_triggers(self.db, id)?;
            for (_, sql) in &wanted {
                self.db.execute_batch(sql)?;
            }
            if !attached.added.contains(&table.name) && !attached.repaired.contains(&table.name) {
                attached.repaired.push(table.name.clone());
            }
        }
        Ok(())
    }

    fn add_shape(&self, id: i64, names: &str) -> Result<i64> {
        self.db.execute("INSERT INTO _homing_shape(tab, columns) VALUES(?, ?)", params![id, names])?;
        Ok(self.db.last_insert_rowid())
    }
}

fn check_format(db: &Connection) -> Result<()> {
    let format: i64 = meta::get(db, "format")?.unwrap_or(0);
    if format > layout::FORMAT {
        return Err(Fault::new(
            FaultKind::NewerFormat,
            ReasonCode::NewerFormat,
            format!("this file was last used by a newer Homing (format {format}; this one knows {})", layout::FORMAT),
            "install that version again; nothing was touched",
        ));
    }
    Ok(())
}

/// The file's tables, without the columns that are this device's own.
fn tables(db: &Connection, replica: &Replica) -> Result<Vec<Found>> {
    let mut found = schema::tables(db)?;
    for one in &mut found {
        let Found::Syncs(table) = one else { continue };
        let Some(mark) = &replica.rule(&table.name).policy.mark else { continue };
        let is_mark = |name: &String| name.eq_ignore_ascii_case(mark);
        if !table.key.iter().any(is_mark) {
            table.columns.retain(|column| !is_mark(&column.name));
            table.unique.retain(|unique| !unique.columns.iter().any(is_mark));
            table.foreign_keys.retain(|foreign| !foreign.columns.iter().any(is_mark));
        }
    }
    Ok(found)
}

fn refused(found: &[Found], replica: &Replica) -> Vec<(String, String)> {
    let named = found.iter().filter(|found| replica.syncs(found.name()));
    named
        .filter_map(|found| match found {
            Found::Refused { name, why } => Some((name.clone(), why.clone())),
            _ => None,
        })
        .collect()
}

/// What of the config decides about triggers and bases, as text to compare.
fn rules(replica: &Replica) -> String {
    let tables: Vec<String> =
        replica.tables.iter().map(|(name, rule)| format!("{name}={}", rule.strategy.word())).collect();
    format!("{:?} {:?} {} {}", replica.include, replica.exclude, replica.default_rule.strategy.word(), tables.join(","))
}

/// The capture triggers that the file has for a table: (name, SQL).
fn triggers(db: &Connection, id: i64) -> Result<std::collections::BTreeSet<(String, String)>> {
    let mut list =
        db.prepare_cached("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE ? ESCAPE '\\'")?;
    let pattern = format!("\\_homing\\_{id}\\_%");
    Ok(list.query_map([pattern], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn drop_triggers(db: &Connection, id: i64) -> Result<()> {
    for (name, _) in triggers(db, id)? {
        db.execute_batch(&format!("DROP TRIGGER {}", ident(&name)))?;
    }
    Ok(())
}

/// The tables that the app's own triggers on this table write, as SQLite's authorizer
/// sees them when the statements are prepared.
fn written_by_triggers(db: &mut Connection, synced: &Synced) -> Result<Vec<String>> {
    use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
    use std::sync::{Arc, Mutex};

    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = written.clone();
    let watch = move |context: AuthContext<'_>| {
        if let Some(accessor) = context.accessor
            && !accessor.starts_with("_homing_")
        {
            let table = match context.action {
                AuthAction::Insert { table_name } | AuthAction::Delete { table_name } => Some(table_name),
                AuthAction::Update { table_name, .. } => Some(table_name),
                _ => None,
            };
            noted.lock().expect("BUG: nobody panics here").extend(table.map(str::to_owned));
        }
        Authorization::Allow
    };
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    db.authorizer(Some(watch))?;
    let table = ident(synced.name());
    let sets: Vec<String> = synced.columns.iter().map(|name| format!("{0} = {0}", ident(name))).collect();
    let statements = [
        format!("INSERT INTO {table} DEFAULT VALUES"),
        format!("UPDATE {table} SET {}", sets.join(", ")),
        format!("DELETE FROM {table}"),
    ];
    let prepared: rusqlite::Result<Vec<()>> = statements.iter().map(|sql| db.prepare(sql).map(drop)).collect();
    db.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    if prepared.is_err() {
        // A trigger that does not even prepare is left alone.
        return Ok(vec![synced.name().to_owned()]);
    }
    let found = written.lock().expect("BUG: nobody panics here").clone();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::apply::tests::replica;
    use crate::store::open::Manners;

    /// A cycle that takes over what the one before read has the tables as they are now.
    #[test]
    fn tables_are_read_anew_once_a_word_of_the_schema_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let replica = replica(folder.path().join("app.db"));
        let app = Connection::open(&replica.database).unwrap();
        let (mut reading, mut told) = (None, Vec::new());
        for change in [
            "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE keyless(v)",
            "",
            "ALTER TABLE a ADD COLUMN w",
            "INSERT INTO a VALUES (1, 2, 3)",
            "CREATE UNIQUE INDEX once ON a(w)",
            "CREATE TABLE b(id TEXT PRIMARY KEY); DROP TABLE keyless",
            "",
        ] {
            app.execute_batch(change).unwrap();
            let mut store = Store::open(&replica, "here", Manners::default()).unwrap();
            store.recall(reading.take());
            let refused = store.attach(2_461_000.0).unwrap().refused;
            let tables: Vec<String> = store
                .tables()
                .map(|synced| format!("{}({}){}", synced.name(), synced.columns.join(","), synced.table.unique.len()))
                .collect();
            let mut fresh = Store::open(&replica, "here", Manners::default()).unwrap();
            assert_eq!(fresh.attach(2_461_000.0).unwrap().refused, refused, "{change}");
            assert_eq!(fresh.schema(), store.schema(), "{change}");
            // A second look of the same cycle finds them as well.
            store.load().unwrap();
            assert_eq!(fresh.schema(), store.schema(), "{change}");
            told.push(tables.join(" "));
            reading = Some(store.reading());
            store.close();
        }
        let expected = [
            "a(id,v)0",
            "a(id,v)0",
            "a(id,v,w)0",
            "a(id,v,w)0",
            "a(id,v,w)1",
            "a(id,v,w)1 b(id)0",
            "a(id,v,w)1 b(id)0",
        ];
        assert_eq!(told, expected);
    }
}
