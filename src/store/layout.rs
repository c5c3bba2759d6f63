//! The tables and views that Homing keeps in the app's file, as SQL.
//!
//! All names begin with `_homing_`, but for the three views that apps read. Whatever
//! runs in the app's own SQLite (views, triggers) needs nothing newer than 3.24. A
//! change here is a new `FORMAT`, and `attach` learns to upgrade the old one.

use crate::sqlite::capture;

/// The version of this layout, in `_homing_meta`.
pub(crate) const FORMAT: i64 = 4;

pub(crate) const PREFIX: &str = "_homing_";
pub(crate) const LOG: &str = "_homing_log";

/// Entries the log may hold while no agent has come by for `ABSENCE_DAYS`; past that it
/// is dropped, and the agent compares every row when it is back.
const ABSENT_ENTRIES: i64 = 100_000;
const ABSENCE_DAYS: i64 = 30;

pub(crate) fn tables() -> String {
    [TABLES, ACTIONS, ANSWER].concat()
}

const TABLES: &str =
    "CREATE TABLE _homing_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
     CREATE TABLE _homing_table(tab INTEGER PRIMARY KEY, name TEXT NOT NULL, width INTEGER NOT NULL, shape INTEGER NOT NULL);
     CREATE TABLE _homing_shape(shape INTEGER PRIMARY KEY, tab INTEGER NOT NULL, columns TEXT NOT NULL);
     CREATE TABLE _homing_base(tab INTEGER, key BLOB, rev INTEGER NOT NULL, stamp INTEGER NOT NULL,
         shape INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY(tab, key)) WITHOUT ROWID;
     CREATE TABLE _homing_flight(batch INTEGER PRIMARY KEY, body BLOB NOT NULL, rows BLOB NOT NULL);
     CREATE TABLE _homing_aside(tab INTEGER, key BLOB, key_text TEXT NOT NULL, operation TEXT NOT NULL, state TEXT NOT NULL,
         code TEXT NOT NULL, reason TEXT NOT NULL, tries INTEGER NOT NULL, next_try_at INTEGER, since INTEGER,
         PRIMARY KEY(tab, key)) WITHOUT ROWID;
     CREATE TABLE _homing_parked(tab INTEGER, key BLOB, rev INTEGER NOT NULL, body BLOB NOT NULL,
         code TEXT NOT NULL, reason TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY(tab, key)) WITHOUT ROWID;
     CREATE TABLE _homing_conflict(id INTEGER PRIMARY KEY, table_name TEXT NOT NULL, key_text TEXT NOT NULL,
         kind TEXT NOT NULL, strategy TEXT NOT NULL, columns TEXT NOT NULL, base TEXT, local TEXT, remote TEXT,
         result TEXT, settled_by TEXT, at INTEGER NOT NULL, remote_device TEXT NOT NULL, note TEXT NOT NULL,
         local_device TEXT, local_at INTEGER, remote_at INTEGER, settled_at INTEGER, before TEXT, before_by TEXT);";

/// What an app writes itself: `action`, `payload` as JSON and, where it has one, a `key`.
/// All else has defaults that any SQLite can fill in. What is large stands last, so that
/// a look at a state does not read it.
const ACTIONS: &str = "
     CREATE TABLE _homing_actions(id INTEGER PRIMARY KEY, action TEXT NOT NULL, key TEXT,
         uuid TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))), at REAL NOT NULL DEFAULT (julianday('now')),
         state TEXT NOT NULL DEFAULT 'pending', tries INTEGER NOT NULL DEFAULT 0, stumbles INTEGER NOT NULL DEFAULT 0,
         next_try_at INTEGER, code TEXT, reason TEXT, noted_at INTEGER, answer TEXT, payload TEXT);";

/// Beside the flight that it answers, and not in it: to change a row is to write all of it
/// anew.
const ANSWER: &str = "
     CREATE TABLE _homing_answer(batch INTEGER PRIMARY KEY, revisions BLOB NOT NULL);";

pub(crate) const DROP_VIEWS: &str = "DROP VIEW homing_status; DROP VIEW homing_pending; DROP VIEW homing_conflicts";

/// From each format to the next, beginning with the first. The views are made anew after
/// the last.
pub(crate) const UPGRADES: [&str; 3] = [
    "ALTER TABLE _homing_conflict ADD COLUMN local_device TEXT;
     ALTER TABLE _homing_conflict ADD COLUMN local_at INTEGER;
     ALTER TABLE _homing_conflict ADD COLUMN remote_at INTEGER;
     ALTER TABLE _homing_conflict ADD COLUMN settled_at INTEGER;
     ALTER TABLE _homing_conflict ADD COLUMN before TEXT;
     ALTER TABLE _homing_conflict ADD COLUMN before_by TEXT;",
    ACTIONS,
    ANSWER,
];

/// The log, and the trigger that keeps it from growing without end when the agent was
/// removed without `detach`.
pub(crate) fn log(key_columns: usize) -> String {
    format!(
        "{};
         CREATE TRIGGER _homing_log_bound AFTER INSERT ON _homing_log WHEN NEW.seq % {ABSENT_ENTRIES} = 0
         AND (SELECT value FROM _homing_meta WHERE name = 'seen_day') < julianday('now') - {ABSENCE_DAYS}
         BEGIN
             INSERT OR REPLACE INTO _homing_meta(name, value) VALUES('log_dropped', 1);
             DELETE FROM _homing_log WHERE seq < NEW.seq;
         END;",
        capture::log_table(LOG, key_columns)
    )
}

pub(crate) fn views(key_columns: usize) -> String {
    let keys: Vec<String> = (0..key_columns).map(|at| format!("l.k{at}")).collect();
    let texts: Vec<String> = (0..key_columns)
        .map(|at| match at {
            0 => json_text("l.k0"),
            // Tables with fewer key columns leave the rest out; `width` tells how many.
            _ => format!("CASE WHEN t.width > {at} THEN ',' || {} ELSE '' END", json_text(&format!("l.k{at}"))),
        })
        .collect();
    format!(
        "CREATE VIEW homing_pending(table_name, \"key\", operation, state, since) AS
         SELECT p.name, p.\"key\",
             CASE WHEN p.last_op = 3 THEN 'delete' WHEN p.first_op = 1 THEN 'insert' ELSE 'update' END,
             'pending', strftime('%Y-%m-%dT%H:%M:%fZ', p.since)
         FROM (SELECT t.name AS name, '[' || {texts} || ']' AS \"key\", max(l.seq) AS seq, l.op AS last_op,
                      min(CASE WHEN l.op = 4 THEN 2 ELSE l.op END) AS first_op, min(l.at) AS since
               FROM _homing_log l JOIN _homing_table t ON t.tab = l.tab
               GROUP BY l.tab, {keys}) p
         UNION ALL
         SELECT t.name, a.key_text, a.operation, a.state, strftime('%Y-%m-%dT%H:%M:%fZ', a.since / 86400000.0 + 2440587.5)
         FROM _homing_aside a JOIN _homing_table t ON t.tab = a.tab
         UNION ALL
         SELECT '_homing_actions', '[' || id || ']', 'insert', state, strftime('%Y-%m-%dT%H:%M:%fZ', at)
         FROM _homing_actions WHERE state IN ('pending', 'set_aside');
         CREATE VIEW homing_conflicts(id, table_name, \"key\", kind, strategy, local, remote, settled, at) AS
         SELECT id, table_name, key_text, kind, strategy, local, remote, settled_by,
                strftime('%Y-%m-%dT%H:%M:%fZ', at / 86400000.0 + 2440587.5)
         FROM _homing_conflict;
         CREATE VIEW homing_status(name, value) AS
         SELECT 'pending', (SELECT count(*) FROM homing_pending WHERE state <> 'set_aside')
         UNION ALL SELECT 'set_aside', (SELECT count(*) FROM homing_pending WHERE state = 'set_aside')
         UNION ALL SELECT 'conflicts', (SELECT count(*) FROM _homing_conflict WHERE settled_by IS NULL)
         UNION ALL SELECT 'parked', (SELECT count(*) FROM _homing_parked)
         UNION ALL SELECT name, value FROM _homing_meta WHERE name IN ('last_sync_at', 'device', 'remote');",
        texts = texts.join(" || "),
        keys = keys.join(", "),
    )
}

/// One value as JSON text, in plain SQL: SQLite 3.24 may have been built without JSON,
/// and parses expressions only to a modest depth. Control characters, which are rare in
/// a key, are spelled one letter at a time.
fn json_text(column: &str) -> String {
    const TEXT: &str = r#"CASE typeof(@)
        WHEN 'text' THEN '"' || CASE WHEN @ GLOB '*[' || char(1) || '-' || char(31) || ']*'
            THEN (WITH RECURSIVE spelled(place, text) AS (SELECT 1, '' UNION ALL
                SELECT place + 1, text || CASE unicode(substr(@, place, 1))
                    WHEN 8 THEN '\b' WHEN 9 THEN '\t' WHEN 10 THEN '\n' WHEN 12 THEN '\f' WHEN 13 THEN '\r'
                    WHEN 34 THEN '\"' WHEN 92 THEN '\\'
                    ELSE CASE WHEN unicode(substr(@, place, 1)) < 32 THEN printf('\u%04x', unicode(substr(@, place, 1)))
                        ELSE substr(@, place, 1) END END
                FROM spelled WHERE place <= length(@))
                SELECT text FROM spelled ORDER BY place DESC LIMIT 1)
            ELSE replace(replace(@, '\', '\\'), '"', '\"') END || '"'
        WHEN 'blob' THEN '{"blob":"' || lower(hex(@)) || '"}'
        WHEN 'null' THEN 'null'
        ELSE CAST(@ AS TEXT) END"#;
    TEXT.replace('@', column)
}
