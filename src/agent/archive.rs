//! Past cycles, kept in the state directory: one JSON object a line, oldest first, so
//! that history outlives the agent.
//!
//! Only ever added to, and now and then written anew without what is older than
//! `history_age_max` or beyond `ENTRIES_MAX`. It is for people: a line that was torn by a
//! power cut is left out, and a disk that is full costs an entry, never a cycle.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::memory;
use crate::model::settings::Millis;
use crate::model::status::HistoryEntry;

/// Kept a replica, whatever their age.
const ENTRIES_MAX: usize = 20_000;
/// Lines beyond that before the file is written anew.
const SLACK: usize = 2_000;

pub struct Archive {
    path: PathBuf,
    age_max: Millis,
    lines: usize,
}

impl Archive {
    /// Opens a replica's, and trims it.
    pub fn open(state_dir: &Path, replica: &str, age_max: Millis, now: i64) -> Archive {
        let mut archive = Archive { path: path(state_dir, replica), age_max, lines: 0 };
        archive.trim(now);
        archive
    }

    pub fn add(&mut self, entry: &HistoryEntry, now: i64) {
        if self.lines >= ENTRIES_MAX + SLACK {
            self.trim(now);
        }
        let line = serde_json::to_string(entry).expect("BUG: history is JSON") + "\n";
        let opened = std::fs::File::options().create(true).append(true).mode(0o600).open(&self.path);
        match opened.and_then(|mut file| file.write_all(line.as_bytes())) {
            Ok(()) => self.lines += 1,
            Err(error) => tracing::debug!("{} was not added to: {error}", self.path.display()),
        }
    }

    fn trim(&mut self, now: i64) {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let oldest = now.saturating_sub(self.age_max);
        // A clock that was ahead for a while leaves entries in the future: they stay.
        let kept: Vec<&str> = text.lines().filter(|line| parse(line).is_some_and(|entry| entry.at >= oldest)).collect();
        let kept = &kept[kept.len().saturating_sub(ENTRIES_MAX)..];
        self.lines = kept.len();
        if kept.len() == text.lines().count() && (text.is_empty() || text.ends_with('\n')) {
            return;
        }
        let whole: String = kept.iter().map(|line| format!("{line}\n")).collect();
        if let Err(error) = memory::replace(&self.path, whole.as_bytes()) {
            tracing::debug!("{} was not trimmed: {error}", self.path.display());
        }
    }
}

/// The newest `most` entries, newest first.
pub fn read(state_dir: &Path, replica: &str, most: usize) -> Vec<HistoryEntry> {
    let text = std::fs::read_to_string(path(state_dir, replica)).unwrap_or_default();
    text.lines().rev().filter_map(parse).take(most).collect()
}

fn parse(line: &str) -> Option<HistoryEntry> {
    serde_json::from_str(line).ok()
}

fn path(state_dir: &Path, replica: &str) -> PathBuf {
    state_dir.join(format!("{}-history.jsonl", memory::file_stem(replica)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::{Cycle, Detail};

    fn entry(at: i64) -> HistoryEntry {
        let (cycle, detail) = (Cycle { pushed: 3, ..Cycle::default() }, Detail::default());
        HistoryEntry { replica: "notes".into(), at, cause: "write".into(), cycle, detail, reason: None }
    }

    fn times(folder: &Path) -> Vec<i64> {
        read(folder, "notes", 100).iter().map(|entry| entry.at).collect()
    }

    #[test]
    fn entries_outlive_the_agent_and_go_when_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(folder.path(), "notes", 1_000, 0);
        (1..=5).for_each(|at| archive.add(&entry(at * 100), at * 100));
        assert_eq!(read(folder.path(), "notes", 1), [entry(500)]);
        assert_eq!(times(folder.path()), [500, 400, 300, 200, 100]);
        Archive::open(folder.path(), "notes", 1_000, 1_350).add(&entry(1_350), 1_350);
        assert_eq!(times(folder.path()), [1_350, 500, 400]);
        assert_eq!(times(&folder.path().join("elsewhere")), [0; 0]);
    }

    #[test]
    fn a_line_torn_by_a_power_cut_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        Archive::open(folder.path(), "notes", 1_000, 0).add(&entry(7), 7);
        let torn = std::fs::read_to_string(path(folder.path(), "notes")).unwrap() + "{\"replica\":\"no";
        std::fs::write(path(folder.path(), "notes"), torn).unwrap();
        Archive::open(folder.path(), "notes", 1_000, 8).add(&entry(8), 8);
        assert_eq!(times(folder.path()), [8, 7]);
    }
}
