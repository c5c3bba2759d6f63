//! One agent a database: a lock that every agent of one user knows where to find.
//!
//! Two agents with state directories of their own would each take the other's work for a
//! restored backup, for ever. The lock is neither in the app's file nor beside it: it lies
//! in a folder of this user's under /tmp, by the database's whole path, and ends with the
//! process. It guards against a mistake, not an attack: where the folder cannot be made,
//! everything goes on without it.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::{Fault, FaultKind, ReasonCode};

/// Held until dropped.
pub struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// `None` where no lock can be made; a fault where another agent has it.
    pub fn take(database: &Path) -> Result<Option<Claim>, Fault> {
        let Some(folder) = own_folder() else { return Ok(None) };
        let path = folder.join(format!("{:016x}.lock", name_of(database)));
        loop {
            let opened = File::options().read(true).append(true).create(true).mode(0o600).open(&path);
            let Ok(mut file) = opened else { return Ok(None) };
            match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Err(taken(database, &mut file)),
                Err(std::fs::TryLockError::Error(_)) => return Ok(None),
            }
            // Who had it may have removed it meanwhile: a lock on what is gone is none.
            if is_at(&file, &path) {
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                return Ok(Some(Claim { file, path }));
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn taken(database: &Path, file: &mut File) -> Fault {
    let mut process = String::new();
    let _ = file.read_to_string(&mut process);
    let who = if process.is_empty() { String::new() } else { format!(" (process {process})") };
    Fault::new(
        FaultKind::Locked,
        ReasonCode::DatabaseTaken,
        format!("another agent{who} keeps {} in step", database.display()),
        "stop one of the two, or take the database out of its config; nothing was touched",
    )
}

/// Of this user alone; `None` where somebody else has put something in its place.
fn own_folder() -> Option<PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let folder = PathBuf::from(format!("/tmp/homing-{me}"));
    let _ = DirBuilder::new().mode(0o700).create(&folder);
    let found = folder.symlink_metadata().ok()?;
    (found.is_dir() && found.uid() == me && found.mode() & 0o022 == 0).then_some(folder)
}

/// By the path without its links; the file itself may be there only later, or be replaced.
fn name_of(database: &Path) -> u64 {
    let folder = database.parent().and_then(|folder| folder.canonicalize().ok());
    let plain = || Some(folder?.join(database.file_name()?));
    let whole = database.canonicalize().ok().or_else(plain).unwrap_or_else(|| database.to_owned());
    xxhash_rust::xxh3::xxh3_64(whole.as_os_str().as_bytes())
}

fn is_at(file: &File, path: &Path) -> bool {
    let same =
        |held: std::fs::Metadata, found: std::fs::Metadata| (held.dev(), held.ino()) == (found.dev(), found.ino());
    file.metadata().and_then(|held| Ok(same(held, path.symlink_metadata()?))).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_one_agent_at_a_time_by_whichever_path_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("notes.db");
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&database, &link).unwrap();
        std::fs::write(&database, "").unwrap();
        let claim = Claim::take(&database).unwrap().expect("a lock can be made here");
        let fault = Claim::take(&link).err().expect("taken");
        assert_eq!(fault.reason.code, ReasonCode::DatabaseTaken);
        assert!(fault.reason.text.contains(&format!("(process {})", std::process::id())), "{}", fault.reason.text);
        assert!(Claim::take(&folder.path().join("other.db")).unwrap().is_some());
        let path = claim.path.clone();
        drop(claim);
        assert!(!path.exists(), "nothing stays behind");
        assert!(Claim::take(&link).unwrap().is_some());
    }
}
