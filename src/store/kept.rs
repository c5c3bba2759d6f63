//! The app's file, kept open for a moment after a cycle.
//!
//! Whoever opens an SQLite file reads its schema, which takes longer than to carry a row.
//! Where one edit follows another, or one hint, the next cycle finds the file open.
//!
//! Only a moment, for an open file is in the way of an app that wants it for itself; and
//! only in WAL mode, where SQLite says for certain whether its pages are still the file's.
//! It says so by the WAL: where somebody put another file or WAL in place, or took the WAL
//! away, what was kept is let go as it is. Folding its WAL would write pages of the file
//! that was into the one that is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;

use super::open::File;
use crate::sqlite::print::with_suffix;

/// How long the file stays open when nothing happens.
pub const KEEP: Duration = Duration::from_millis(300);

/// Device and inode of a database, its WAL, and the WAL's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place([Option<(u64, u64)>; 3]);

impl Place {
    /// `None` where there is no database.
    pub(crate) fn of(path: &Path) -> Option<Place> {
        let place = ["", "-wal", "-shm"].map(|suffix| {
            let found = std::fs::metadata(with_suffix(path, suffix)).ok()?;
            Some((found.dev(), found.ino()))
        });
        place[0].map(|_| Place(place))
    }

    /// Whether the databases are one, whatever lies beside them.
    pub(crate) fn same_file(&self, other: &Place) -> bool {
        self.0[0] == other.0[0]
    }

    fn is_whole(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

/// A file that is open though no cycle runs.
pub struct Kept {
    file: File,
    place: Place,
    path: PathBuf,
    /// When it is closed, unless somebody comes.
    pub until: Instant,
}

impl Kept {
    /// Keeps the file at `path`, or closes it, where it is not one to keep.
    pub fn new(file: File, path: &Path, until: Instant) -> Option<Kept> {
        match file.place.filter(|place| place.is_whole() && file.db.is_autocommit()) {
            Some(place) => Some(Kept { file, place, path: path.to_owned(), until }),
            None => {
                file.close();
                None
            }
        }
    }

    /// The file, if it still is the one at its path.
    pub fn again(self) -> Option<File> {
        if self.stands() {
            return Some(self.file);
        }
        self.close();
        None
    }

    pub fn close(self) {
        if !self.stands() {
            let _ = self.file.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        self.file.close();
    }

    fn stands(&self) -> bool {
        Place::of(&self.path) == Some(self.place)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::open::{Manners, connect};

    fn app(path: &Path, mode: &str) -> Connection {
        let db = Connection::open(path).unwrap();
        db.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
        db.execute_batch("CREATE TABLE IF NOT EXISTS t(v); INSERT INTO t VALUES (1)").unwrap();
        db
    }

    fn rows(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_kept_file_sees_what_was_written_since() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let app = app(&path, "wal");
        let kept = Kept::new(connect(&path, Manners::default()).unwrap(), &path, Instant::now()).unwrap();
        app.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(rows(&kept.again().unwrap().db), 2);
    }

    #[test]
    fn a_file_with_a_rollback_journal_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let _app = app(&path, "delete");
        assert!(Kept::new(connect(&path, Manners::default()).unwrap(), &path, Instant::now()).is_none());
    }

    #[test]
    fn a_file_that_was_replaced_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("app.db"), folder.path().join("other.db"));
        drop(app(&path, "wal"));
        let kept = Kept::new(connect(&path, Manners::default()).unwrap(), &path, Instant::now()).unwrap();
        drop(app(&other, "wal"));
        std::fs::rename(&other, &path).unwrap();
        assert!(kept.again().is_none());
    }

    /// Who restores a backup by copying it over the file, and takes the WAL away, has the
    /// backup, whole, whatever was in the WAL.
    #[test]
    fn what_was_copied_over_a_kept_file_stays_as_it_was_copied() {
        for closes in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let (path, backup) = (folder.path().join("app.db"), folder.path().join("backup.db"));
            drop(app(&path, "wal"));
            std::fs::copy(&path, &backup).unwrap();
            let file = connect(&path, Manners::default()).unwrap();
            let wal = "CREATE TABLE more(v); INSERT INTO more SELECT randomblob(5000) FROM t; DELETE FROM t";
            file.db.execute_batch(wal).unwrap();
            let kept = Kept::new(file, &path, Instant::now()).unwrap();
            std::fs::write(&path, std::fs::read(&backup).unwrap()).unwrap();
            for suffix in ["app.db-wal", "app.db-shm"] {
                std::fs::remove_file(folder.path().join(suffix)).unwrap();
            }
            match closes {
                true => kept.close(),
                false => assert!(kept.again().is_none()),
            }
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&backup).unwrap());
            assert_eq!(rows(&Connection::open(&path).unwrap()), 1);
        }
    }
}
