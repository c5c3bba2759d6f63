//! Opens a database for a look: nothing is made, written, or left behind.
//!
//! SQLite makes `-wal` and `-shm` files even for a reader of a WAL database. So where no
//! `-wal` is there (nobody has it open), the file is read as immutable.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Where the header says which journal readers must know: 2 is WAL.
const READ_VERSION: usize = 19;

/// The database's full path, and a connection that can only read.
pub fn read_only(path: &Path) -> Result<(PathBuf, Connection), Failure> {
    let cannot = |error: io::Error| unreadable(path, &error);
    let path = fs::canonicalize(path).map_err(cannot)?;
    let about = fs::metadata(&path).map_err(cannot)?;
    // Before opening: a pipe would keep us waiting for ever.
    if !about.is_file() {
        return Err(not_sqlite(&path, "it is not a file"));
    }
    let mut header = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(100).read_to_end(&mut header));
    read.map_err(cannot)?;
    if header.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} is empty", path.display()),
            "start the app once, so that it makes its tables",
        ));
    }
    if !header.starts_with(MAGIC) || header.len() < 100 {
        return Err(not_sqlite(&path, "it is in another format, or encrypted"));
    }
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if header[READ_VERSION] == 2 && !Path::new(&wal).exists() {
        uri.push_str("?immutable=1");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(uri, flags).map_err(|error| failure(&path, &error))?;
    db.busy_timeout(Duration::from_secs(2)).map_err(|error| failure(&path, &error))?;
    // The first read is where an encrypted or broken file shows.
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(|error| failure(&path, &error))?;
    Ok((path, db))
}

/// SQLite's trouble with a database, in words.
pub fn failure(path: &Path, error: &rusqlite::Error) -> Failure {
    let shown = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => not_sqlite(path, "it is in another format, or encrypted"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::new(
            Exit::TryLater,
            format!("another program keeps {shown} locked"),
            "try again when it is idle; an app that locks its file for good cannot be synced",
        ),
        Some(ErrorCode::DatabaseCorrupt) => Failure::new(
            Exit::Failed,
            format!("{shown} is damaged: {error}"),
            "restore it from a backup, or save what can be read with `sqlite3 FILE .recover`",
        ),
        Some(ErrorCode::PermissionDenied) => {
            Failure::new(Exit::NoPermission, format!("{shown} may not be read: {error}"), "run as the file's owner")
        }
        _ => Failure::new(
            Exit::Failed,
            format!("{shown} cannot be read: {error}"),
            "where a crash left a journal beside it, start the app once, so that it cleans up",
        ),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Exit::Failed,
            format!("there is no file {shown}"),
            "check the path; Homing never makes a database",
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            Exit::NoPermission,
            format!("{shown} may not be read by this user"),
            "run as the file's owner: the agent will have to, too",
        ),
        _ => Failure::new(
            Exit::Failed,
            format!("{shown} cannot be read: {error}"),
            "see that this user may read it, and that it is whole",
        ),
    }
}

fn not_sqlite(path: &Path, why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("{} is not an SQLite database: {why}", path.display()),
        "name the app's database file; an encrypted one (SQLCipher, say) cannot be synced",
    )
}
