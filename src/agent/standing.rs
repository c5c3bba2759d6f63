//! A person's lasting orders for a replica: paused, detached. Kept in the state
//! directory, so that they outlive the agent.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::memory;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub paused: bool,
    pub detached: bool,
}

impl Standing {
    pub fn load(state_dir: &Path, replica: &str) -> Standing {
        let text = std::fs::read_to_string(path(state_dir, replica)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn save(self, state_dir: &Path, replica: &str) -> std::io::Result<()> {
        let text = serde_json::to_string(&self).expect("BUG: two flags are JSON");
        memory::replace(&path(state_dir, replica), text.as_bytes())
    }
}

fn path(state_dir: &Path, replica: &str) -> PathBuf {
    state_dir.join(format!("{}-standing.json", memory::file_stem(replica)))
}
