//! The simulated app's tables: every shape of key, and every way rows depend on each
//! other.

pub(super) const TABLES: [&str; 7] = ["note", "item", "pair", "person", "tree", "odd", "real_key"];

pub(super) const SQL: &str = "
    CREATE TABLE note(id TEXT PRIMARY KEY, title TEXT, body, stars INTEGER DEFAULT 0);
    CREATE TABLE item(id INTEGER PRIMARY KEY, note_id TEXT REFERENCES note(id) ON DELETE CASCADE, label TEXT, n REAL);
    CREATE TABLE pair(x TEXT COLLATE NOCASE, y INTEGER, v, PRIMARY KEY(x, y)) WITHOUT ROWID;
    CREATE TABLE person(name TEXT PRIMARY KEY, mail TEXT UNIQUE, body TEXT, size AS (length(body)));
    CREATE TABLE tree(id TEXT PRIMARY KEY, up TEXT REFERENCES tree(id), body TEXT);
    CREATE TABLE odd(rowid TEXT, k, v, PRIMARY KEY(rowid, k));
    CREATE TABLE real_key(k REAL PRIMARY KEY, v BLOB);
    CREATE TABLE log_of_app(line);
    CREATE TABLE schema_migrations(version TEXT PRIMARY KEY);
";

/// The column of each table whose values name the write they come from.
pub(super) fn token_column(table: &str) -> &'static str {
    match table {
        "note" => "title",
        "item" => "label",
        "person" | "tree" => "body",
        _ => "v",
    }
}

/// The columns that all sides have, key first. One that an app added is its own until
/// the others are upgraded too.
pub(super) fn columns(table: &str) -> &'static [&'static str] {
    match table {
        "note" => &["id", "title", "body", "stars"],
        "item" => &["id", "note_id", "label", "n"],
        "pair" => &["x", "y", "v"],
        "person" => &["name", "mail", "body"],
        "tree" => &["id", "up", "body"],
        "odd" => &["rowid", "k", "v"],
        _ => &["k", "v"],
    }
}

/// How many of `columns` are the key.
pub(super) fn key_len(table: &str) -> usize {
    if matches!(table, "pair" | "odd") { 2 } else { 1 }
}
