//! `homing hub backup`: a copy of a hub that may be running meanwhile.
//!
//! Each file is copied by SQLite itself, as of one moment; writers are not kept
//! waiting. Every scope in the copy is marked, so that a hub started on it begins new
//! epochs: devices may have gone further than the copy, and will find out and send
//! again what it lacks.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::data::DataDir;
use super::error::{HubError, Result};
use super::sqlite::Scope;

/// What was copied.
#[derive(Clone, Debug, PartialEq)]
pub struct Copied {
    pub scopes: usize,
    pub bytes: u64,
}

/// Copies the hub in `data` to `target`, which must be empty or not there.
pub fn backup(data: &Path, target: &Path) -> Result<Copied> {
    let from = DataDir::existing(data)?;
    let trouble = |error: std::io::Error| {
        HubError::set_up(
            format!("cannot back up to {}: {error}; the hub itself is untouched", target.display()),
            "free space or choose another target, remove what is there and run it again",
        )
    };
    if fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(HubError::set_up(format!("{} is not empty", target.display()), "name a new directory"));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(target).map_err(trouble)?;
    let to = DataDir::open(target)?;
    let mut copied = Copied { scopes: 0, bytes: 0 };
    for entry in fs::read_dir(from.scopes()).map_err(trouble)? {
        let path = entry.map_err(trouble)?.path();
        let (Some(name), true) = (path.file_name(), path.extension().is_some_and(|ending| ending == "db")) else {
            continue;
        };
        let copy = to.scopes().join(name);
        copy_database(&path, &copy, true)?;
        copied.scopes += 1;
        copied.bytes += fs::metadata(&copy).map_err(trouble)?.len();
    }
    if from.registry().exists() {
        copy_database(&from.registry(), &to.registry(), false)?;
    }
    // The key last: without it the copy is not a hub's directory.
    let key = fs::read(from.key_file()).map_err(trouble)?;
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to.key_file()).map_err(trouble)?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(trouble)?;
    Ok(copied)
}

fn copy_database(from: &Path, to: &Path, is_scope: bool) -> Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(std::time::Duration::from_secs(5))?;
    let mut copy = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut copy)?;
        // All pages in one step: as of one moment.
        while backup.step(-1)? != StepResult::Done {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    if is_scope {
        Scope::mark_as_copy(&copy)?;
    }
    // One plain file to carry away.
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    Ok(())
}
