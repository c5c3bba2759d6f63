//! Where things are when nobody says where: config, state, socket.
//!
//! From the environment that the caller passes, and from whether it is root; nothing
//! here looks at the machine. A config is never taken from the current folder: it may
//! name a command to run, and the folder may be a stranger's.

use std::path::{Path, PathBuf};

/// Config files in the order they are looked for; the first that is there counts.
/// `HOMING_CONFIG` names the only one.
pub fn config_files(env: &[(String, String)]) -> Vec<PathBuf> {
    if let Some(path) = variable(env, "HOMING_CONFIG") {
        return vec![path];
    }
    let home = home(env);
    let own = match absolute(env, "XDG_CONFIG_HOME") {
        Some(folder) => Some(folder.join("homing")),
        None if MAC => home.map(|home| home.join(APPLICATION_SUPPORT)),
        None => home.map(|home| home.join(".config/homing")),
    };
    let system = Path::new("/etc/homing");
    own.into_iter().chain([system.to_owned()]).map(|folder| folder.join("homing.toml")).collect()
}

/// Where the agent keeps its identity and notes. `None` when there is no home
/// directory to put it in: the config has to say.
pub fn state_dir(env: &[(String, String)], root: bool) -> Option<PathBuf> {
    // systemd separates several by colons.
    let unit = variable(env, "STATE_DIRECTORY");
    let unit = unit.and_then(|list| list.to_str()?.split(':').next().map(PathBuf::from));
    if unit.is_some() {
        return unit;
    }
    if root {
        return Some(PathBuf::from(if MAC { SYSTEM_SUPPORT } else { "/var/lib/homing" }));
    }
    match absolute(env, "XDG_STATE_HOME") {
        Some(folder) => Some(folder.join("homing")),
        None if MAC => home(env).map(|home| home.join(APPLICATION_SUPPORT)),
        None => home(env).map(|home| home.join(".local/state/homing")),
    }
}

/// Where the agent answers.
pub fn socket(env: &[(String, String)], root: bool) -> PathBuf {
    let system = Path::new(if MAC { "/var/run/homing" } else { "/run/homing" });
    let folder = match variable(env, "RUNTIME_DIRECTORY").or_else(|| variable(env, "XDG_RUNTIME_DIR")) {
        _ if root => system.to_owned(),
        _ if MAC => home(env).map_or_else(|| system.to_owned(), |home| home.join(APPLICATION_SUPPORT)),
        Some(folder) if variable(env, "RUNTIME_DIRECTORY").is_some() => folder,
        Some(folder) => folder.join("homing"),
        None => system.to_owned(),
    };
    folder.join("agent.sock")
}

/// The home directory, when there is one.
pub fn home(env: &[(String, String)]) -> Option<PathBuf> {
    absolute(env, "HOME")
}

const MAC: bool = cfg!(target_os = "macos");
const APPLICATION_SUPPORT: &str = "Library/Application Support/Homing";
const SYSTEM_SUPPORT: &str = "/Library/Application Support/Homing";

/// An empty variable is one that is not set.
fn variable(env: &[(String, String)], name: &str) -> Option<PathBuf> {
    let found = env.iter().rev().find(|(known, _)| known == name)?;
    (!found.1.is_empty()).then(|| PathBuf::from(&found.1))
}

/// The XDG rules: a relative path counts as not set.
fn absolute(env: &[(String, String)], name: &str) -> Option<PathBuf> {
    variable(env, name).filter(|path| path.is_absolute())
}

#[cfg(all(test, not(target_os = "macos")))]
mod tests {
    use super::*;

    fn env(text: &str) -> Vec<(String, String)> {
        let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.split_whitespace().filter_map(pair).collect()
    }

    #[test]
    fn config_files_are_looked_for_by_variable_then_by_user_then_by_system() {
        for (variables, files) in [
            ("", "/etc/homing/homing.toml"),
            ("HOME=/home/ada/", "/home/ada/.config/homing/homing.toml /etc/homing/homing.toml"),
            ("HOME=/home/ada/ XDG_CONFIG_HOME=/c", "/c/homing/homing.toml /etc/homing/homing.toml"),
            ("HOME=/home/ada/ XDG_CONFIG_HOME=c", "/home/ada/.config/homing/homing.toml /etc/homing/homing.toml"),
            ("HOME=/home/ada/ HOMING_CONFIG=my.toml", "my.toml"),
            (
                "HOME=/home/ada/ HOMING_CONFIG= XDG_CONFIG_HOME=",
                "/home/ada/.config/homing/homing.toml /etc/homing/homing.toml",
            ),
        ] {
            let found: Vec<String> =
                config_files(&env(variables)).iter().map(|path| path.display().to_string()).collect();
            assert_eq!(found.join(" "), files, "{variables}");
        }
    }

    #[test]
    fn state_is_kept_by_unit_by_user_or_by_system() {
        for (variables, root, folder) in [
            ("HOME=/home/ada/", false, "/home/ada/.local/state/homing"),
            ("HOME=/home/ada/ XDG_STATE_HOME=/s", false, "/s/homing"),
            ("HOME=/home/ada/", true, "/var/lib/homing"),
            ("HOME=/home/ada/ STATE_DIRECTORY=/var/lib/homing/a:/var/lib/b", false, "/var/lib/homing/a"),
        ] {
            assert_eq!(state_dir(&env(variables), root), Some(PathBuf::from(folder)), "{variables}");
        }
        assert_eq!(state_dir(&[], false), None);
    }

    #[test]
    fn the_socket_is_where_the_user_or_the_unit_has_its_runtime_files() {
        for (variables, root, path) in [
            ("XDG_RUNTIME_DIR=/run/user/1000", false, "/run/user/1000/homing/agent.sock"),
            ("XDG_RUNTIME_DIR=/run/user/0", true, "/run/homing/agent.sock"),
            ("RUNTIME_DIRECTORY=/run/homing XDG_RUNTIME_DIR=/run/user/7", false, "/run/homing/agent.sock"),
            ("", false, "/run/homing/agent.sock"),
        ] {
            assert_eq!(socket(&env(variables), root), PathBuf::from(path), "{variables}");
        }
    }
}
