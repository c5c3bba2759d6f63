//! Reading a database's tables: what can sync, and what cannot and why.

use rusqlite::{Connection, Result, params};

use super::ident;
use crate::model::{Column, ForeignKey, Table, Unique};

/// What a look at one table found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Syncs(Table),
    /// Left out without a word: virtual, shadow, migration and Homing's own tables.
    LeftOut {
        name: String,
        why: &'static str,
    },
    /// It holds data and cannot sync: a person should know.
    Refused {
        name: String,
        why: String,
    },
}

impl Found {
    pub fn name(&self) -> &str {
        match self {
            Found::Syncs(table) => &table.name,
            Found::LeftOut { name, .. } | Found::Refused { name, .. } => name,
        }
    }
}

/// Book-keeping tables of migration tools and platforms: each device has its own.
const MIGRATIONS: &[&str] = &[
    "__diesel_schema_migrations",
    "__drizzle_migrations",
    "__efmigrationshistory",
    "__efmigrationslock",
    "_cf_kv",
    "_cf_metadata",
    "_prisma_migrations",
    "_sqlx_migrations",
    "alembic_version",
    "android_metadata",
    "ar_internal_metadata",
    "d1_migrations",
    "databasechangelog",
    "databasechangeloglock",
    "django_migrations",
    "drizzle_migrations",
    "flyway_schema_history",
    "goose_db_version",
    "grdb_migrations",
    "kysely_migration",
    "kysely_migration_lock",
    "knex_migrations",
    "knex_migrations_lock",
    "local_storage",
    "mikro_orm_migrations",
    "phinxlog",
    "refinery_schema_history",
    "room_master_table",
    "schema_migrations",
    "sequelizemeta",
    "typeorm_metadata",
    "yoyo_migration",
];

/// Every table of the main database, in the order of their names.
pub fn tables(db: &Connection) -> Result<Vec<Found>> {
    let mut list = db.prepare(
        "SELECT name, type, wr, strict FROM pragma_table_list \
         WHERE schema = 'main' AND type IN ('table', 'virtual', 'shadow') ORDER BY name",
    )?;
    let rows = list.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?, row.get::<_, bool>(3)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (name, kind, without_rowid, strict) = row?;
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("sqlite_") || lower.starts_with("_homing_") || lower.starts_with("_hub_") {
            continue;
        }
        found.push(match kind.as_str() {
            "virtual" => Found::LeftOut { name, why: "virtual table" },
            "shadow" => Found::LeftOut { name, why: "shadow table of a virtual one" },
            _ if MIGRATIONS.contains(&lower.as_str()) => Found::LeftOut { name, why: "migration table" },
            _ => table(db, name, without_rowid, strict)?,
        });
    }
    Ok(found)
}

/// The tables that can sync, of `tables`.
pub fn syncing(db: &Connection) -> Result<Vec<Table>> {
    let found = tables(db)?.into_iter();
    Ok(found.filter_map(|found| if let Found::Syncs(table) = found { Some(table) } else { None }).collect())
}

fn table(db: &Connection, name: String, without_rowid: bool, strict: bool) -> Result<Found> {
    // hidden: 0 ordinary, 1 hidden, 2 and 3 generated.
    let mut info = db.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid",
    )?;
    let mut columns = Vec::new();
    let mut key: Vec<(i64, String)> = Vec::new();
    let mut rows = info.query([&name])?;
    while let Some(row) = rows.next()? {
        let column: String = row.get(0)?;
        let place: i64 = row.get(4)?;
        if row.get::<_, i64>(5)? != 0 {
            continue;
        }
        if place > 0 {
            key.push((place, column.clone()));
        }
        columns.push(Column {
            name: column,
            declared: row.get(1)?,
            not_null: row.get(2)?,
            default: row.get(3)?,
            collation: None,
        });
    }
    drop(rows);
    if key.is_empty() {
        return Ok(Found::Refused {
            name,
            why: "it has no primary key, so its rows cannot be told apart; give it one to sync it".to_owned(),
        });
    }
    key.sort();
    let mut table = Table {
        name,
        columns,
        key: key.into_iter().map(|(_, column)| column).collect(),
        foreign_keys: Vec::new(),
        unique: Vec::new(),
        without_rowid,
        strict,
    };
    read_indexes(db, &mut table)?;
    table.foreign_keys = foreign_keys(db, &table.name)?;
    Ok(Found::Syncs(table))
}

/// Unique indexes, and the collations that the key's and the unique columns compare by.
fn read_indexes(db: &Connection, table: &mut Table) -> Result<()> {
    let mut list = db.prepare_cached(
        "SELECT name, origin FROM pragma_index_list(?) WHERE \"unique\" AND NOT partial ORDER BY name",
    )?;
    let indexes = list
        .query_map([&table.name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?
        .collect::<Result<Vec<_>>>()?;
    for (index, origin) in indexes {
        let mut info = db.prepare_cached("SELECT name, coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno")?;
        let parts = info
            .query_map([&index], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?)))?
            .collect::<Result<Vec<_>>>()?;
        let Some(names) = parts.iter().map(|(name, _)| name.clone()).collect::<Option<Vec<String>>>() else {
            continue; // over an expression
        };
        if names.iter().any(|name| table.position(name).is_none()) {
            continue; // over a generated column: it follows from the others
        }
        for (name, collation) in &parts {
            let at = name.as_deref().and_then(|name| table.position(name));
            if let (Some(at), Some(collation)) = (at, collation)
                && collation != "BINARY"
            {
                table.columns[at].collation = Some(collation.clone());
            }
        }
        if origin != "pk" {
            table.unique.push(Unique { columns: names, constraint: origin == "u" });
        }
    }
    Ok(())
}

fn foreign_keys(db: &Connection, table: &str) -> Result<Vec<ForeignKey>> {
    let mut list = db.prepare_cached(
        "SELECT id, \"table\", \"from\", \"to\", on_delete, on_update FROM pragma_foreign_key_list(?) ORDER BY id, seq",
    )?;
    let mut keys: Vec<(i64, ForeignKey, Vec<Option<String>>)> = Vec::new();
    let mut rows = list.query(params![table])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        if keys.last().is_none_or(|(last, ..)| *last != id) {
            let key = ForeignKey {
                columns: Vec::new(),
                parent: row.get(1)?,
                parent_columns: Vec::new(),
                on_delete: row.get(4)?,
                on_update: row.get(5)?,
            };
            keys.push((id, key, Vec::new()));
        }
        let (_, key, to) = keys.last_mut().expect("BUG: a foreign key was just pushed");
        key.columns.push(row.get(2)?);
        to.push(row.get(3)?);
    }
    drop(rows);
    let mut out = Vec::new();
    for (_, mut key, to) in keys {
        key.parent_columns = match to.into_iter().collect::<Option<Vec<String>>>() {
            Some(named) => named,
            None => primary_key(db, &key.parent)?,
        };
        if key.parent_columns.len() == key.columns.len() {
            out.push(key);
        }
    }
    out.reverse(); // SQLite lists the last declared first
    Ok(out)
}

fn primary_key(db: &Connection, table: &str) -> Result<Vec<String>> {
    db.prepare_cached("SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// `WHERE` for one key: `"a" IS ?1 AND "b" IS ?2`, parameters from `first` on.
pub fn key_is(key: &[String], first: usize) -> String {
    let parts = key.iter().enumerate();
    parts.map(|(at, name)| format!("{} IS ?{}", ident(name), first + at)).collect::<Vec<_>>().join(" AND ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_without_a_key_are_refused_by_name_and_bookkeeping_is_left_out() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE notes(id TEXT PRIMARY KEY COLLATE NOCASE, body, mail TEXT UNIQUE,
                 up TEXT REFERENCES notes, size AS (length(body)));
             CREATE UNIQUE INDEX one ON notes(body, mail); CREATE UNIQUE INDEX some ON notes(up) WHERE up > 1;
             CREATE TABLE pairs(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID;
             CREATE TABLE scratch(x); CREATE TABLE schema_migrations(version PRIMARY KEY);
             CREATE VIRTUAL TABLE search USING fts5(body);",
        )
        .unwrap();
        let found = tables(&db).unwrap();
        let of = |name: &str| found.iter().find(|found| found.name() == name).unwrap().clone();
        assert!(matches!(of("scratch"), Found::Refused { .. }));
        assert!(matches!(of("schema_migrations"), Found::LeftOut { .. }));
        assert!(matches!(of("search"), Found::LeftOut { .. }));
        assert!(matches!(of("search_data"), Found::LeftOut { .. }));
        let Found::Syncs(notes) = of("notes") else { panic!("notes syncs") };
        assert_eq!(notes.column_names(), ["id", "body", "mail", "up"]);
        assert_eq!(notes.columns[0].collation.as_deref(), Some("NOCASE"));
        assert_eq!(notes.unique.len(), 2);
        assert_eq!(notes.foreign_keys[0].parent_columns, ["id"]);
        let Found::Syncs(pairs) = of("pairs") else { panic!("pairs syncs") };
        assert_eq!(pairs.key, ["b", "a"]);
    }
}
