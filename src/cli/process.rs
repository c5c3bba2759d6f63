//! What the system says of the agent's process, where it says anything: Linux's /proc.
//!
//! For whoever has to find out why an agent does not answer, or not as its program would.

use std::path::{Path, PathBuf};

pub struct Process {
    pid: i32,
    place: PathBuf,
}

impl Process {
    /// `None` where the system says nothing of it, or where it is no agent: the socket may
    /// be a supervisor's.
    pub fn of(pid: Option<i32>) -> Option<Process> {
        let pid = pid?;
        let place = Path::new("/proc").join(pid.to_string());
        let name = std::fs::read_to_string(place.join("comm")).ok()?;
        (name.trim() == "homing").then_some(Process { pid, place })
    }

    /// Why it does not answer, and what to do about that.
    pub fn silence(&self) -> (String, String) {
        let pid = self.pid;
        match self.said("status", "State:").as_deref().and_then(|state| state.chars().next()) {
            Some('T' | 't') => (
                format!("its process {pid} was stopped by a signal or a debugger"),
                format!("`kill -CONT {pid}` lets it go on"),
            ),
            Some('D') => (
                format!("its process {pid} waits for a disk or a network mount that does not answer"),
                format!("`cat /proc/{pid}/stack` (as root) shows what for; `dmesg` may say why"),
            ),
            Some('Z') => (format!("its process {pid} has died"), "start it anew: `homing agent`".to_owned()),
            _ => (
                format!("its process {pid} runs, and says nothing"),
                format!("`kill {pid}` ends it, and nothing is lost by that; then start it anew"),
            ),
        }
    }

    /// Its program's path, where that was replaced or removed since it started.
    pub fn replaced(&self) -> Option<String> {
        let program = std::fs::read_link(self.place.join("exe")).ok()?;
        program.to_str()?.strip_suffix(" (deleted)").map(ToOwned::to_owned)
    }

    /// Open files, and how many it may have.
    pub fn files(&self) -> Option<(u64, u64)> {
        let open = std::fs::read_dir(self.place.join("fd")).ok()?.count() as u64;
        let most = self.said("limits", "Max open files")?.split_whitespace().next()?.parse().ok()?;
        Some((open, most))
    }

    /// A variable of the environment that it was started with.
    pub fn variable(&self, name: &str) -> Option<String> {
        let bytes = std::fs::read(self.place.join("environ")).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split('\0').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned))
    }

    fn said(&self, file: &str, heading: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.place.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(heading)).map(|rest| rest.trim().to_owned())
    }
}
