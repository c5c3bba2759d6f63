//! The hub's directory: `hub.key`, `hub.db` and `scopes/`, for its owner's eyes only.
//!
//! A scope's file name is made from its name so that no name reaches outside the
//! directory, no two names meet in one file on any file system, and an account's own
//! scope is never a team's.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls::crypto::ring;

use super::error::{HubError, Result};

/// Account and team names: 1 to this many bytes, so that the longest file name fits.
const NAME_BYTES_MAX: usize = 64;
const KEY_BYTES: usize = 32;

/// Whose rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScopeName {
    /// An account's own: `@me` in a request.
    Own(String),
    Team(String),
}

impl ScopeName {
    /// The scope's name for files and for the registry.
    pub fn stem(&self) -> String {
        let (kind, name) = match self {
            ScopeName::Own(account) => ("own", account),
            ScopeName::Team(team) => ("team", team),
        };
        let mut stem = format!("{kind}-");
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => stem.push(char::from(byte)),
                // Capitals, too: some file systems do not tell them apart.
                other => stem.push_str(&format!("%{other:02x}")),
            }
        }
        stem
    }
}

/// Whether a name may be an account's or a team's.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('@')
        && !name.chars().any(char::is_control)
        && name.trim() == name
}

#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens the directory, and makes it with mode 0700 where it is not there.
    pub fn open(root: &Path) -> Result<DataDir> {
        let trouble = |error: std::io::Error| {
            HubError::set_up(
                format!("cannot use the data directory {}: {error}", root.display()),
                "give a directory that this user may write, with --data",
            )
        };
        let builder = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        if !root.exists() {
            builder(root).map_err(trouble)?;
        }
        builder(&root.join("scopes")).map_err(trouble)?;
        Ok(DataDir { root: root.to_owned() })
    }

    /// The same of a directory that must be there, for commands beside a hub.
    pub fn existing(root: &Path) -> Result<DataDir> {
        if root.join("hub.key").exists() {
            return Ok(DataDir { root: root.to_owned() });
        }
        Err(HubError::set_up(format!("{} is not a hub's data directory", root.display()), "check --data"))
    }

    /// Keeps every other hub off this directory while it is held.
    pub fn lock(&self) -> Result<fs::File> {
        let path = self.root.join("hub.lock");
        let taken = |what: String| HubError::set_up(what, "stop it first, or give this one a --data of its own");
        let open = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(|error| taken(format!("cannot use {}: {error}", path.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(_) => Err(taken(format!("another hub runs on {}", self.root.display()))),
        }
    }

    pub fn registry(&self) -> PathBuf {
        self.root.join("hub.db")
    }

    pub fn scopes(&self) -> PathBuf {
        self.root.join("scopes")
    }

    pub fn scope(&self, name: &ScopeName) -> PathBuf {
        self.scopes().join(format!("{}.db", name.stem()))
    }

    pub fn key_file(&self) -> PathBuf {
        self.root.join("hub.key")
    }

    /// The key that signs tokens; made when there is none yet.
    pub fn key(&self) -> Result<Vec<u8>> {
        let path = self.key_file();
        let trouble = |error: std::io::Error| {
            HubError::set_up(format!("cannot use {}: {error}", path.display()), "check the file's owner and mode")
        };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let mode = fs::metadata(&path).map_err(trouble)?.permissions().mode();
                if mode & 0o077 != 0 {
                    tracing::warn!(path = %path.display(), "others may read the hub's key; next: chmod 600 and a new key");
                }
                let key = crate::model::text::unhex(text.trim()).filter(|key| key.len() >= KEY_BYTES);
                key.ok_or_else(|| {
                    HubError::set_up(
                        format!("{} does not hold a key", path.display()),
                        "restore it from a backup; without it every token is void",
                    )
                })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_key().map_err(trouble)?;
                self.key()
            }
            Err(error) => Err(trouble(error)),
        }
    }

    /// Written whole under another name and linked in place: of two that start at once
    /// one makes the key, and nobody reads half of it.
    fn make_key(&self) -> std::io::Result<()> {
        let mut key = [0u8; KEY_BYTES];
        ring::default_provider().secure_random.fill(&mut key).map_err(|_| ErrorKind::Other)?;
        let draft = self.root.join(format!(".hub.key.{}", uuid::Uuid::new_v4().simple()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(file, "{}", crate::model::text::hex(&key))?;
        file.sync_all()?;
        let linked = fs::hard_link(&draft, self.key_file());
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_directory_or_meets_another() {
        let names = ["ada", "Ada", "../../etc/passwd", "a/b", "a%2fb", "a.b", "", "..", "é", "a b", "own-ada", "CON"];
        let mut stems: Vec<String> = Vec::new();
        for name in names {
            for scope in [ScopeName::Own(name.into()), ScopeName::Team(name.into())] {
                let stem = scope.stem();
                assert!(
                    stem.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_%0123456789".contains(&byte)),
                    "{stem}"
                );
                stems.push(stem);
            }
        }
        let count = stems.len();
        stems.sort();
        stems.dedup();
        assert_eq!(stems.len(), count);
        let longest = ScopeName::Team("É".repeat(32)).stem();
        assert!(longest.len() + "-journal.db".len() < 255);
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("new")).unwrap();
        let key = data.key().unwrap();
        assert_eq!((key.len(), data.key().unwrap()), (KEY_BYTES, key));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data.key_file()), 0o600);
        assert_eq!(mode(&dir.path().join("new")), 0o700);
        fs::write(data.key_file(), "short").unwrap();
        assert!(data.key().unwrap_err().to_string().contains("does not hold a key"));
    }
}
