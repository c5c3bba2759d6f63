//! What a database's files look like from outside: whether anybody wrote, without opening
//! them.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The coarsest tick of a file system's clock that is reckoned with: two writes within
/// one tick can leave the same size and time.
pub const TICK_MAX: Duration = Duration::from_millis(12);

/// What a database's files look like from outside: equal prints, nothing written, but
/// for what a tick of the clock hides (`is_fresh`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Print(Vec<Option<(u64, SystemTime)>>);

impl Print {
    pub fn of(database: &Path) -> Print {
        Print(
            ["", "-wal"]
                .iter()
                .map(|suffix| {
                    let found = std::fs::metadata(with_suffix(database, suffix)).ok()?;
                    // SQLite makes and removes an empty WAL whenever somebody looks.
                    (found.len() > 0).then(|| (found.len(), found.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
                })
                .collect(),
        )
    }

    /// Written so short a time ago that the next write could leave the same print.
    pub fn is_fresh(&self) -> bool {
        let now = SystemTime::now();
        self.0.iter().flatten().any(|(_, at)| now.duration_since(*at).is_ok_and(|age| age < TICK_MAX))
    }
}

/// A file of SQLite's beside the database.
pub fn with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
