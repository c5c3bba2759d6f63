//! Runs the SQL it is given on a database, through SQLite 3.24.
//!
//! `old-sqlite DATABASE < SQL` prints each row of each statement, columns parted by `|`,
//! as the sqlite3 command line does.

use std::io::Read;

use rusqlite::types::Value;

fn main() {
    let path = std::env::args().nth(1).expect("usage: old-sqlite DATABASE < SQL");
    let mut sql = String::new();
    std::io::stdin().read_to_string(&mut sql).expect("SQL is text");
    if let Err(error) = run(&path, &sql) {
        eprintln!("{}", error);
        std::process::exit(1);
    }
}

fn run(path: &str, sql: &str) -> rusqlite::Result<()> {
    let db = rusqlite::Connection::open(path)?;
    db.execute_batch("PRAGMA busy_timeout = 10000; PRAGMA foreign_keys = ON;").or_else(|error| match error {
        // The pragma answers a row, which this version of the library takes for trouble.
        rusqlite::Error::ExecuteReturnedResults => Ok(()),
        error => Err(error),
    })?;
    for statement in sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
        let mut statement = db.prepare(statement)?;
        let count = statement.column_count();
        let mut rows = statement.query(&[])?;
        while let Some(row) = rows.next() {
            let row = row?;
            let texts: Vec<String> = (0..count).map(|at| text(row.get(at))).collect();
            println!("{}", texts.join("|"));
        }
    }
    Ok(())
}

fn text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    }
}
