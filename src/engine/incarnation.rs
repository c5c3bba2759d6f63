//! Is this file the one we know?
//!
//! Three memories are compared at the start of every cycle: the file's own, the state
//! directory's, and the remote's high-water mark. A file that was restored, cloned or
//! taken back by a power cut is behind one of them; it then begins a new incarnation,
//! and nothing it believes to have sent counts as sent.

use crate::model::Incarnation;

/// What one memory holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub incarnation: Incarnation,
    /// The last batch that was answered.
    pub batch: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Same,
    /// Nobody remembers anything of it: its first life.
    First,
    /// It knows nothing of the life that the state directory remembers here.
    New,
    /// Another life of a file: cloned from elsewhere, or put in the place of ours.
    Stranger,
    /// Ours, as it was some time ago.
    Older,
}

/// The file against the state directory.
pub fn compare(file: &Known, remembered: Option<&Known>) -> Judgement {
    match remembered {
        None if file.incarnation.0.is_empty() => Judgement::First,
        Some(_) if file.incarnation.0.is_empty() => Judgement::New,
        None => Judgement::Stranger,
        Some(remembered) if remembered.incarnation != file.incarnation => Judgement::Stranger,
        Some(remembered) if remembered.batch > file.batch => Judgement::Older,
        Some(_) => Judgement::Same,
    }
}

/// What the remote's last batch of this incarnation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Agrees,
    /// The remote has batches that the file knows nothing of: the file is older.
    FileBehind,
    /// The remote has lost batches that it answered: it is older.
    RemoteBehind,
}

/// `flight`: the batch that was sent, or was about to be, and never answered.
pub fn compare_mark(file: &Known, flight: Option<i64>, remote_batch: i64) -> Mark {
    match remote_batch {
        at if at == file.batch => Mark::Agrees,
        at if Some(at) == flight && at == file.batch + 1 => Mark::Agrees,
        at if at > file.batch => Mark::FileBehind,
        _ => Mark::RemoteBehind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str, batch: i64) -> Known {
        Known { incarnation: Incarnation(name.to_owned()), batch }
    }

    /// Traps 21 and 28.
    #[test]
    fn a_file_behind_any_memory_is_not_the_one_we_know() {
        assert_eq!(compare(&known("", 0), None), Judgement::First);
        assert_eq!(compare(&known("", 0), Some(&known("a", 3))), Judgement::New);
        assert_eq!(compare(&known("a", 3), None), Judgement::Stranger);
        assert_eq!(compare(&known("a", 3), Some(&known("b", 3))), Judgement::Stranger);
        assert_eq!(compare(&known("a", 3), Some(&known("a", 4))), Judgement::Older);
        assert_eq!(compare(&known("a", 3), Some(&known("a", 3))), Judgement::Same);
        // The state directory is written after the file: behind it is no alarm.
        assert_eq!(compare(&known("a", 3), Some(&known("a", 2))), Judgement::Same);
        assert_eq!(compare_mark(&known("a", 3), None, 3), Mark::Agrees);
        assert_eq!(compare_mark(&known("a", 3), Some(4), 4), Mark::Agrees);
        assert_eq!(compare_mark(&known("a", 3), Some(4), 3), Mark::Agrees);
        assert_eq!(compare_mark(&known("a", 3), None, 4), Mark::FileBehind);
        assert_eq!(compare_mark(&known("a", 3), Some(4), 5), Mark::FileBehind);
        assert_eq!(compare_mark(&known("a", 3), None, 2), Mark::RemoteBehind);
    }
}
