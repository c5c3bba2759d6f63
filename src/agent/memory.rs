//! What is known of a replica's file outside of that file: a small JSON document in
//! the state directory, replaced whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::incarnation::Known;
use crate::model::{Fault, FaultKind, Incarnation, ReasonCode};

/// Where the state directory's memory of one file is kept.
pub trait Memory: Send {
    fn load(&self) -> Result<Option<Known>, Fault>;
    fn save(&mut self, known: &Known) -> Result<(), Fault>;
}

pub struct FileMemory {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document {
    incarnation: String,
    batch: i64,
}

impl FileMemory {
    pub fn new(state_dir: &Path, replica: &str) -> FileMemory {
        FileMemory { path: state_dir.join(format!("{}.json", file_stem(replica))) }
    }
}

impl Memory for FileMemory {
    fn load(&self) -> Result<Option<Known>, Fault> {
        match std::fs::read_to_string(&self.path) {
            // Unreadable is as good as lost: the file then counts as a stranger.
            Ok(text) => Ok(serde_json::from_str::<Document>(&text)
                .ok()
                .map(|document| Known { incarnation: Incarnation(document.incarnation), batch: document.batch })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(trouble(&self.path, &error)),
        }
    }

    fn save(&mut self, known: &Known) -> Result<(), Fault> {
        let document = Document { incarnation: known.incarnation.0.clone(), batch: known.batch };
        let text = serde_json::to_string(&document).expect("BUG: plain fields are JSON");
        replace(&self.path, text.as_bytes()).map_err(|error| trouble(&self.path, &error))
    }
}

/// A replica's name as part of a file's: no name can leave the folder, or be another's.
pub(crate) fn file_stem(replica: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let letters =
        replica.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") });
    format!("replica-{}", letters.collect::<String>())
}

/// Writes a file so that a reader sees the old or the new one, and a crash leaves one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

fn trouble(path: &Path, error: &std::io::Error) -> Fault {
    let kind = if error.kind() == std::io::ErrorKind::StorageFull { FaultKind::DiskFull } else { FaultKind::File };
    let code = if kind == FaultKind::DiskFull { ReasonCode::DiskFull } else { ReasonCode::Internal };
    let next = match kind {
        FaultKind::DiskFull => "make room on the disk of the agent's state directory; nothing was lost",
        _ => "let the agent's user read and write its state directory; nothing was lost",
    };
    Fault::new(kind, code, format!("the state file {} cannot be used: {error}", path.display()), next)
}
