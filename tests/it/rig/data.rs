//! Databases as other programs write them, and what is in them to the byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::process::run;

/// Rows by table, each value with its storage class and bytes, in a fixed order.
pub type Data = BTreeMap<String, Vec<String>>;

/// Everything in a database but what Homing, the hub and SQLite keep there for
/// themselves. Generated columns are left out: they follow from the others.
pub fn dump(path: &Path) -> Data {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    db.busy_timeout(super::LONG).unwrap();
    let text = |sql: &str| -> Vec<String> {
        let mut statement = db.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let tables = text(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
         AND name NOT LIKE '\\_homing\\_%' ESCAPE '\\' AND name NOT LIKE '\\_hub\\_%' ESCAPE '\\'
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    );
    let mut data = Data::new();
    for table in tables {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut names = text(&format!("SELECT name FROM pragma_table_info({})", quoted(&table)));
        names.sort();
        let columns: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        let mut statement = db.prepare(&format!("SELECT {} FROM {}", columns.join(", "), quoted(&table))).unwrap();
        let mut found = statement.query([]).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = found.next().unwrap() {
            let cells = names.iter().enumerate().map(|(at, name)| format!("{name}={}", cell(row.get_ref(at).unwrap())));
            rows.push(cells.collect::<Vec<_>>().join(" "));
        }
        rows.sort();
        data.insert(table, rows);
    }
    data
}

fn cell(value: ValueRef) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => format!("i{number}"),
        ValueRef::Real(number) => format!("r{:016x}({number})", number.to_bits()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= 40 => format!("t{text:?}"),
            _ => format!("t{}", hex(bytes)),
        },
        ValueRef::Blob(bytes) => format!("b{}", hex(bytes)),
    }
}

#[track_caller]
pub fn sqlite3(database: &Path, sql: &str) -> String {
    let mut command = Command::new("sqlite3");
    command.args(["-batch", "-bail"]).arg(database).env("HOME", "/nonexistent");
    let output = run(&mut command, format!(".timeout 20000\nPRAGMA foreign_keys = ON;\n{sql};\n").as_bytes());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "sqlite3: {error} in {sql}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// By a program that takes the database as its argument and the SQL on its input.
#[track_caller]
pub fn program_on(program: &Path, database: &Path, sql: &str) -> String {
    let output = run(Command::new(program).arg(database), sql.as_bytes());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{}: {error} in {sql}", program.display());
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[track_caller]
pub fn python(database: &Path, script: &str) -> String {
    let program = format!(
        "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=20)\ndb.execute('PRAGMA foreign_keys = ON')\n\
         {script}\ndb.commit()\ndb.close()\n"
    );
    let output = run(Command::new("python3").arg("-c").arg(program).arg(database), b"");
    assert!(output.status.success(), "python3: {} in {script}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Whether a program that only some machines have is here; says so when it is not.
pub fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: {program} is not installed (tests/run installs it)");
    }
    there
}
