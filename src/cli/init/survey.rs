//! What a database holds, as far as sync is concerned, and what will need care.

use std::collections::BTreeSet;

use rusqlite::{Connection, Result};
use serde::Serialize;

use super::triggers;
use crate::model::Table;
use crate::sqlite::ident;
use crate::sqlite::schema::{self, Found};

pub struct Survey {
    /// Parents before what refers to them.
    pub tables: Vec<Surveyed>,
    pub left_out: Vec<(String, &'static str)>,
    /// What holds data and cannot sync, and why.
    pub refused: Vec<(String, String)>,
    pub warnings: Vec<Warning>,
}

pub struct Surveyed {
    pub table: Table,
    pub rows: u64,
    /// Tables that go first.
    pub after: Vec<String>,
}

/// Something that does not keep a table from syncing, and that a person should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    pub code: &'static str,
    pub tables: Vec<String>,
    pub text: String,
    pub advice: String,
}

pub fn survey(db: &mut Connection) -> Result<Survey> {
    let mut syncing = Vec::new();
    let (mut left_out, mut refused, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for found in schema::tables(db)? {
        match found {
            Found::Syncs(table) => syncing.push(table),
            Found::LeftOut { name, why } => left_out.push((name, why)),
            Found::Refused { name, why } => refused.push((name, why)),
        }
    }
    warnings.extend(integer_keys(&syncing));
    for table in &syncing {
        warnings.extend(null_keys(db, table)?);
        warnings.extend(parents_that_stay(table, &syncing));
    }
    warnings.extend(unique_indexes(&syncing));
    warnings.extend(trigger_warnings(db, &syncing)?);
    let (ordered, circle) = parents_first(syncing);
    warnings.extend(circle);
    let tables = ordered
        .into_iter()
        .map(|(table, after)| Ok(Surveyed { rows: count(db, &table.name)?, table, after }))
        .collect::<Result<_>>()?;
    Ok(Survey { tables, left_out, refused, warnings })
}

fn count(db: &Connection, table: &str) -> Result<u64> {
    db.query_row(&format!("SELECT count(*) FROM {}", ident(table)), [], |row| row.get::<_, i64>(0))
        .map(|rows| rows as u64)
}

/// Tables after those they refer to, by name where nothing else decides.
fn parents_first(mut left: Vec<Table>) -> (Vec<(Table, Vec<String>)>, Option<Warning>) {
    let mut ordered: Vec<(Table, Vec<String>)> = Vec::new();
    let mut circular = Vec::new();
    while !left.is_empty() {
        let free = left.iter().position(|table| parents(table, &left).is_empty());
        let at = free.unwrap_or_else(|| {
            circular.push(left[0].name.clone());
            0
        });
        let table = left.remove(at);
        let done: Vec<&Table> = ordered.iter().map(|(table, _)| table).collect();
        let after = parents(&table, done);
        ordered.push((table, after));
    }
    let circle = (!circular.is_empty()).then(|| Warning {
        code: "reference_circle",
        text: "refers to tables that refer back to it, so neither can always go first".to_owned(),
        advice: "nothing to do; rows that need each other are sent together while they fit in one batch".to_owned(),
        tables: circular,
    });
    (ordered, circle)
}

/// Those of `among` that `table` refers to, itself apart.
fn parents<'a>(table: &Table, among: impl IntoIterator<Item = &'a Table>) -> Vec<String> {
    let refers = |other: &&Table| {
        !other.name.eq_ignore_ascii_case(&table.name)
            && table.foreign_keys.iter().any(|key| key.parent.eq_ignore_ascii_case(&other.name))
    };
    among.into_iter().filter(refers).map(|other| other.name.clone()).collect()
}

/// Trap 27: integer keys made on two devices.
fn integer_keys(tables: &[Table]) -> Option<Warning> {
    let made_by_sqlite = |table: &&Table| {
        let [key] = table.key.as_slice() else { return false };
        let declared = table.position(key).map(|at| table.columns[at].declared.as_str());
        !table.without_rowid && declared.is_some_and(|declared| declared.eq_ignore_ascii_case("INTEGER"))
    };
    let named: Vec<String> = tables.iter().filter(made_by_sqlite).map(|table| table.name.clone()).collect();
    (!named.is_empty()).then(|| Warning {
        code: "integer_key",
        tables: named,
        text: "SQLite numbers the rows (INTEGER PRIMARY KEY): two devices that insert while apart give different \
               rows the same number, and each such pair is a conflict"
            .to_owned(),
        advice: "let the app fill a TEXT key with a UUID, or insert on one device only".to_owned(),
    })
}

fn null_keys(db: &Connection, table: &Table) -> Result<Option<Warning>> {
    let may_be_null = |name: &&String| {
        table.position(name).is_some_and(|at| {
            let column = &table.columns[at];
            let is_rowid = table.key.len() == 1 && column.declared.eq_ignore_ascii_case("INTEGER");
            !column.not_null && !is_rowid
        })
    };
    let tests: Vec<String> =
        table.key.iter().filter(may_be_null).map(|name| format!("{} IS NULL", ident(name))).collect();
    if tests.is_empty() || table.without_rowid {
        return Ok(None);
    }
    let sql = format!("SELECT count(*) FROM {} WHERE {}", ident(&table.name), tests.join(" OR "));
    let rows: i64 = db.query_row(&sql, [], |row| row.get(0))?;
    Ok((rows > 0).then(|| Warning {
        code: "null_key",
        tables: vec![table.name.clone()],
        text: format!("{rows} of its rows have NULL in the primary key, and cannot be told apart for certain"),
        advice: "give these rows a key; until then they are set aside".to_owned(),
    }))
}

fn parents_that_stay(table: &Table, syncing: &[Table]) -> Option<Warning> {
    let stays = |parent: &&str| !syncing.iter().any(|other| other.name.eq_ignore_ascii_case(parent));
    let parents: BTreeSet<&str> = table.foreign_keys.iter().map(|key| key.parent.as_str()).filter(stays).collect();
    (!parents.is_empty()).then(|| Warning {
        code: "parent_stays",
        tables: vec![table.name.clone()],
        text: format!("refers to {}, which does not sync", Vec::from_iter(parents).join(", ")),
        advice: "rows that arrive without their parent wait, parked; exclude this table, or let the other sync too"
            .to_owned(),
    })
}

/// Trap 17, as far as triggers cannot see it.
fn unique_indexes(tables: &[Table]) -> Option<Warning> {
    let has_one = |table: &&Table| table.unique.iter().any(|unique| !unique.constraint);
    let named: Vec<String> = tables.iter().filter(has_one).map(|table| table.name.clone()).collect();
    (!named.is_empty()).then(|| Warning {
        code: "unique_index",
        tables: named,
        text: "has a CREATE UNIQUE INDEX: rows that an INSERT OR REPLACE evicts through it fire no trigger, and are \
               found by the next audit instead of at once"
            .to_owned(),
        advice: "use UPSERT (ON CONFLICT DO UPDATE), or a UNIQUE constraint in CREATE TABLE".to_owned(),
    })
}

/// Trap 9: the app's own triggers, when Homing applies what it pulled.
fn trigger_warnings(db: &mut Connection, tables: &[Table]) -> Result<Vec<Warning>> {
    let found = triggers::look(db, &tables.iter().collect::<Vec<_>>())?;
    let syncs = |name: &str| tables.iter().any(|table| table.name.eq_ignore_ascii_case(name));
    let writing = found.writes.into_iter().filter(|writes| syncs(&writes.table));
    let mut out: Vec<Warning> = writing
        .map(|writes| Warning {
            code: "trigger_writes",
            text: format!(
                "the app's trigger {} writes it: for rows that arrive the trigger is not fired, since what it wrote \
                 arrives as well",
                writes.trigger
            ),
            advice: "nothing to do where every device runs the same app".to_owned(),
            tables: vec![writes.table],
        })
        .collect();
    out.extend(found.opaque.into_iter().map(|(table, why)| Warning {
        code: "trigger_opaque",
        tables: vec![table],
        text: format!("its triggers cannot be looked into: {why}"),
        advice: "they are not fired for rows that arrive; check that the app can do without".to_owned(),
    }));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Survey {
        let mut db = Connection::open_in_memory().unwrap();
        db.pragma_update(None, "foreign_keys", false).unwrap();
        db.execute_batch(sql).unwrap();
        survey(&mut db).unwrap()
    }

    fn codes(survey: &Survey) -> Vec<(&'static str, String)> {
        survey.warnings.iter().map(|warning| (warning.code, warning.tables.join(","))).collect()
    }

    #[test]
    fn parents_come_before_what_refers_to_them() {
        let survey = of("CREATE TABLE a(id TEXT PRIMARY KEY, b REFERENCES b, up REFERENCES a);
             CREATE TABLE b(id TEXT PRIMARY KEY, c REFERENCES C);
             CREATE TABLE c(id TEXT PRIMARY KEY);
             INSERT INTO c VALUES('x'), ('y');");
        let order: Vec<(&str, u64, String)> =
            survey.tables.iter().map(|one| (one.table.name.as_str(), one.rows, one.after.join(","))).collect();
        assert_eq!(order, [("c", 2, "".into()), ("b", 0, "c".into()), ("a", 0, "b".into())]);
        assert_eq!(codes(&survey), []);
    }

    #[test]
    fn a_circle_of_references_is_said_and_ends() {
        let survey = of("CREATE TABLE a(id TEXT PRIMARY KEY, b REFERENCES b);
             CREATE TABLE b(id TEXT PRIMARY KEY, a REFERENCES a);");
        assert_eq!(survey.tables.len(), 2);
        assert_eq!(codes(&survey), [("reference_circle", "a".into())]);
    }

    #[test]
    fn what_needs_care_is_named() {
        let survey = of("CREATE TABLE bare(x); CREATE TABLE schema_migrations(version PRIMARY KEY);
             CREATE TABLE items(id INTEGER PRIMARY KEY, code); CREATE UNIQUE INDEX by_code ON items(code);
             CREATE TABLE loose(a, b, bare REFERENCES bare(x), PRIMARY KEY(a, b));
             INSERT INTO loose(a) VALUES(1);
             CREATE TRIGGER t AFTER INSERT ON items BEGIN UPDATE loose SET bare = 1; END;");
        assert_eq!(
            codes(&survey),
            [
                ("integer_key", "items".into()),
                ("null_key", "loose".into()),
                ("parent_stays", "loose".into()),
                ("unique_index", "items".into()),
                ("trigger_writes", "loose".into()),
            ]
        );
        assert_eq!(survey.refused[0].0, "bare");
        assert_eq!(survey.left_out, [("schema_migrations".to_owned(), "migration table")]);
    }

    #[test]
    fn keys_that_the_app_makes_are_no_worry() {
        let survey = of("CREATE TABLE a(id TEXT PRIMARY KEY); CREATE TABLE b(id INTEGER PRIMARY KEY) WITHOUT ROWID;
             CREATE TABLE c(x INTEGER, y INTEGER, PRIMARY KEY(x, y)); CREATE TABLE d(id INT PRIMARY KEY);");
        assert_eq!(codes(&survey), []);
    }
}
