//! One replica's file: whose it is, whether it is a good database, whether what apps write
//! to it is captured, and what waits in it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Report, files};
use crate::agent::watch::Watcher;
use crate::cli::words;
use crate::config;
use crate::model::Table;
use crate::model::settings::Replica;
use crate::sqlite::ident;
use crate::sqlite::schema::{self, Found};
use crate::store::health::{self, Health};

/// Files up to this size are read through.
const CHECKED_BYTES_MAX: u64 = 64 << 20;
/// A WAL longer than this is one that nobody could fold.
const WAL_BYTES_MAX: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(1);
const STALE_SECONDS: u64 = 24 * 3600;

pub fn examine(replica: &Replica, report: &mut Report) {
    let name = Some(replica.name.as_str());
    let path = &replica.database;
    if !the_file(replica, report) {
        return;
    }
    files::room("database_room", name, folder(path), report);
    let watcher = Watcher::new(path, || {});
    if let Some(why) = watcher.polls {
        let mend = "keep the file on a local disk, or raise `fs.inotify.max_user_watches` with sysctl";
        report.warning("file_events", name, why, mend);
    } else {
        report.well("file_events", name, "what apps write is noticed at once");
    }
    let db = match open(path) {
        Ok(db) => db,
        Err(error) => return cannot_read(replica, &error, report),
    };
    report.well("database", name, format!("{} is a database", path.display()));
    write_ahead(replica, &db, report);
    integrity(replica, &db, report);
    tables(replica, &db, report);
    match health::look(&db, replica) {
        Ok(health) => captured(replica, &health, report),
        Err(error) => report.wrong(
            "capture",
            name,
            format!("Homing's tables in it cannot be read: {error}"),
            "`homing agent` puts them right, or `homing detach` takes them out",
        ),
    }
}

/// Two names for one file would answer each other for ever.
pub fn examine_twins(replicas: &[Replica], report: &mut Report) {
    let mut seen: BTreeMap<(u64, u64), &str> = BTreeMap::new();
    for replica in replicas {
        let Ok(found) = replica.database.metadata() else { continue };
        if let Some(other) = seen.insert((found.dev(), found.ino()), &replica.name) {
            let evidence = format!("the file is also the replica {other}'s, under another name");
            report.wrong("twin", Some(&replica.name), evidence, "remove one of the two from the config");
        }
    }
}

/// True when it can be opened at all.
fn the_file(replica: &Replica, report: &mut Report) -> bool {
    let (name, path) = (Some(replica.name.as_str()), &replica.database);
    let shown = path.display();
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.wrong(
                "database_there",
                name,
                format!("{shown} is not there"),
                "start the app once, or correct `database` in the config",
            );
            return false;
        }
        Err(error) => {
            report.wrong(
                "database_there",
                name,
                format!("{shown} cannot be reached: {error}"),
                format!("let this user into its folders: `namei -l {shown}`"),
            );
            return false;
        }
    };
    if !found.is_file() {
        report.wrong("database_there", name, format!("{shown} is not a file"), "correct `database` in the config");
        return false;
    }
    let me = rustix::process::geteuid().as_raw();
    if !files::storage(name, path, report) {
        return false;
    }
    if found.uid() != me {
        let mend = format!(
            "run the agent as the owner: `homing service install --system --account \"$(stat -c %U {shown})\"`"
        );
        report.wrong(
            "owner",
            name,
            format!(
                "{shown} belongs to user {}, and this is user {me}: files made beside it would shut the app out",
                found.uid()
            ),
            mend,
        );
        return false;
    }
    let may = |path: &Path, mode: u32| {
        found_mode(path) & mode == mode && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
    };
    if !may(path, 0o600) {
        report.wrong(
            "database_mode",
            name,
            format!("{shown} cannot be read and written by this user (mode {:o})", found.mode() & 0o777),
            format!("`chmod u+rw {shown}`"),
        );
        return false;
    }
    let folder = folder(path);
    if !may(folder, 0o300) {
        report.wrong(
            "folder_mode",
            name,
            format!("{} cannot be written, and SQLite makes files there", folder.display()),
            format!("`chmod u+rwx {}`", folder.display()),
        );
        return false;
    }
    report.well("database_mode", name, "its owner may read and write it");
    beside(replica, report)
}

/// The files that SQLite keeps beside a database.
fn beside(replica: &Replica, report: &mut Report) -> bool {
    let me = rustix::process::geteuid().as_raw();
    for suffix in ["-wal", "-shm", "-journal"] {
        let path = with_suffix(&replica.database, suffix);
        let Ok(found) = path.symlink_metadata() else { continue };
        let shown = path.display();
        if found.uid() != me || found.mode() & 0o600 != 0o600 {
            let mend = format!("stop who uses it, and `sudo chown \"$(id -un)\" {shown}; chmod u+rw {shown}`");
            let evidence = format!(
                "{shown} belongs to user {} with mode {:o}, and shuts the app and Homing out",
                found.uid(),
                found.mode() & 0o777
            );
            report.wrong("beside", Some(&replica.name), evidence, mend);
            return false;
        }
    }
    let future =
        |found: std::fs::Metadata| found.modified().is_ok_and(|at| at > SystemTime::now() + Duration::from_secs(600));
    if replica.database.metadata().is_ok_and(future) {
        let evidence = "the file was written in the future: a clock was, or is, wrong";
        report.warning("file_time", Some(&replica.name), evidence, "set the clock: `timedatectl set-ntp true`");
    }
    true
}

fn cannot_read(replica: &Replica, error: &rusqlite::Error, report: &mut Report) {
    let (name, shown) = (Some(replica.name.as_str()), replica.database.display());
    let (evidence, mend) = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => (
            format!("{shown} is not an SQLite database, or is encrypted"),
            "correct `database` in the config; an encrypted file cannot sync".to_owned(),
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            format!("another program keeps {shown} locked, for reading too"),
            format!("`fuser -v {shown}` shows who; an app with `locking_mode = EXCLUSIVE` keeps everybody out"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            format!("{shown} is damaged: {error}"),
            format!("keep a copy, and recover it: `sqlite3 {shown} .recover | sqlite3 recovered.db`"),
        ),
        _ => {
            (format!("{shown} cannot be read: {error}"), format!("try `sqlite3 {shown} 'SELECT 1 FROM sqlite_schema'`"))
        }
    };
    report.wrong("database", name, evidence, mend);
}

fn write_ahead(replica: &Replica, db: &Connection, report: &mut Report) {
    let (name, shown) = (Some(replica.name.as_str()), replica.database.display());
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap_or_default();
    match mode.as_str() {
        "wal" => report.well("journal_mode", name, "readers and writers do not wait for each other (WAL)"),
        other => report.warning(
            "journal_mode",
            name,
            format!("the file is in journal mode {other}: app and agent wait for each other"),
            format!("`sqlite3 {shown} 'PRAGMA journal_mode = WAL'`, once, while the app is closed"),
        ),
    }
    let length = with_suffix(&replica.database, "-wal").metadata().map_or(0, |found| found.len());
    if length > WAL_BYTES_MAX {
        let evidence =
            format!("the write-ahead log is {} long: some program keeps a read transaction open", words::size(length));
        report.warning(
            "wal_length",
            name,
            evidence,
            format!("`fuser -v {shown}` shows who has it open; close it once"),
        );
    }
}

fn integrity(replica: &Replica, db: &Connection, report: &mut Report) {
    let name = Some(replica.name.as_str());
    let shown = replica.database.display();
    if replica.database.metadata().map_or(u64::MAX, |found| found.len()) > CHECKED_BYTES_MAX {
        return;
    }
    let said: Result<String, _> = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match said {
        Ok(said) if said == "ok" => report.well("integrity", name, "SQLite finds nothing wrong with it"),
        Ok(said) => report.wrong(
            "integrity",
            name,
            format!("SQLite finds damage: {said}"),
            format!("keep a copy, and recover it: `sqlite3 {shown} .recover | sqlite3 recovered.db`"),
        ),
        Err(error) => return cannot_read(replica, &error, report),
    }
    let orphan: Result<String, _> = db.query_row("PRAGMA foreign_key_check", [], |row| row.get(0));
    if let Ok(table) = orphan {
        let evidence = format!("rows of {table} refer to rows that are not there");
        report.warning(
            "orphans",
            name,
            evidence,
            format!("`sqlite3 {shown} 'PRAGMA foreign_key_check'` lists them; mend or delete them"),
        );
    }
}

fn tables(replica: &Replica, db: &Connection, report: &mut Report) {
    let name = Some(replica.name.as_str());
    let Ok(found) = schema::tables(db) else { return };
    let syncing: Vec<Table> = found
        .iter()
        .filter_map(|found| if let Found::Syncs(table) = found { Some(table.clone()) } else { None })
        .collect();
    let wanted = syncing.iter().filter(|table| replica.syncs(&table.name)).count();
    match wanted {
        0 => report.wrong(
            "tables",
            name,
            "no table of it can sync",
            "give a table a PRIMARY KEY, or look at `include` and `exclude` in the config",
        ),
        count => report.well("tables", name, format!("{} sync", words::count(count as u64, "table"))),
    }
    for found in &found {
        if let Found::Refused { name: table, why } = found
            && replica.syncs(table)
        {
            report.warning(
                "table_refused",
                name,
                format!("{table} does not sync: {why}"),
                format!("give it a PRIMARY KEY, or say so with `exclude = [{table:?}]`"),
            );
        }
    }
    for problem in config::check_against(replica, &syncing) {
        report.wrong("table_named", name, problem.text.clone(), problem.hint.clone());
    }
    for table in syncing.iter().filter(|table| replica.syncs(&table.name)) {
        let nulls: Vec<String> = table.key.iter().map(|column| format!("{} IS NULL", ident(column))).collect();
        let sql = format!("SELECT EXISTS(SELECT 1 FROM {} WHERE {})", ident(&table.name), nulls.join(" OR "));
        if db.query_row(&sql, [], |row| row.get::<_, bool>(0)).unwrap_or(false) {
            let evidence =
                format!("{} has rows whose key is NULL: they cannot be told apart, and do not sync", table.name);
            report.warning("null_keys", name, evidence, "give those rows a key");
        }
    }
}

fn captured(replica: &Replica, health: &Health, report: &mut Report) {
    let (name, own) = (Some(replica.name.as_str()), &replica.name);
    if !health.attached {
        report.warning(
            "capture",
            name,
            "nothing that apps write is captured",
            format!("start the agent; after a detach, `homing attach {own}`"),
        );
        return;
    }
    if health.newer {
        report.wrong(
            "format",
            name,
            "the file was attached by a newer Homing",
            "upgrade this one, and restart its agent",
        );
        return;
    }
    let named = |tables: &[String]| tables.join(", ");
    if !health.broken.is_empty() {
        let evidence =
            format!("the triggers on {} are gone or were changed: writes there are not noted", named(&health.broken));
        report.wrong(
            "triggers",
            name,
            evidence,
            format!("`homing sync {own}` puts them back and looks for what was missed"),
        );
    }
    if !health.uncaptured.is_empty() {
        let evidence = format!("{} should sync, and is not captured yet", named(&health.uncaptured));
        report.warning("triggers", name, evidence, format!("`homing sync {own}` takes it in"));
    }
    if health.broken.is_empty() && health.uncaptured.is_empty() {
        report.well("triggers", name, "what apps write is captured");
    }
    for (check, count, what, mend) in [
        ("set_aside", health.set_aside, "set aside", format!("`homing queue list {own}` says why")),
        (
            "conflicts",
            health.conflicts,
            "in conflict until a person decides",
            format!("`homing conflicts list {own} --open`"),
        ),
        (
            "parked",
            health.parked,
            "pulled and cannot be written here yet",
            format!("`homing explain {own} TABLE KEY` says why"),
        ),
    ] {
        if count > 0 {
            report.warning(check, name, format!("{} {what}", words::count(count, "row")), mend);
        }
    }
    if let Some(seconds) = health.oldest_seconds.filter(|seconds| *seconds > STALE_SECONDS) {
        let evidence = format!("a write has waited for {} to be sent", words::span(seconds as i64 * 1000));
        report.warning(
            "pending_age",
            name,
            evidence,
            "`homing status` says why; `homing sync --wait` tries now".to_owned(),
        );
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(PATIENCE)?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(db)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn found_mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |found| found.mode())
}

fn with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
