//! Where the socket is, and taking it.
//!
//! The file is a socket of mode 0600 in a directory of mode 0700, from its first moment
//! on; where the config shares it, it becomes another's only when all is set. `bind` removes nothing but a socket nobody listens on, and only its caller, who
//! holds the agent's lock, may call it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use interprocess::local_socket::tokio::Listener;
use interprocess::local_socket::{ConnectOptions, GenericFilePath, ListenerOptions, ToFsName};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::tokio as uds;

/// The shortest that any supported system takes (macOS, with its final NUL).
const PATH_BYTES_MAX: usize = 103;

/// Why there is no socket: what happened, and what to do.
#[derive(Debug)]
pub struct BindError {
    pub text: String,
    pub next: String,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for BindError {}

/// Whom the file lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    #[default]
    Owner,
    /// This group, or the agent's own: a name or a number.
    Group(Option<String>),
    All,
}

/// Listens on `path`, for its owner alone.
pub fn bind(path: &Path) -> Result<Listener, BindError> {
    bind_for(path, &Audience::Owner)
}

/// Listens on `path`. Must be called within a Tokio runtime, by whoever holds the
/// agent's lock: what a dead agent left there is taken over.
pub fn bind_for(path: &Path, audience: &Audience) -> Result<Listener, BindError> {
    let shown = path.display();
    if path.as_os_str().as_bytes().len() > PATH_BYTES_MAX {
        return Err(fail(
            format!("the socket's path is longer than {PATH_BYTES_MAX} bytes: {shown}"),
            "set `socket` in the config to a shorter path",
        ));
    }
    prepare_directory(path, audience)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(fail(
                format!("{shown} is there already and is not a socket"),
                "move it away, or set `socket` in the config to another path",
            ));
        }
        Ok(_) if is_alive(path) => {
            return Err(fail(
                format!("another program listens on {shown}"),
                "stop the other agent, or give this one a `socket` of its own",
            ));
        }
        Ok(_) => fs::remove_file(path).map_err(|error| {
            fail(format!("cannot remove the old {shown}: {error}"), "check the directory's permissions")
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(fail(format!("cannot look at {shown}: {error}"), "check the directory's permissions"));
        }
    }
    let listener = listen(path).map_err(|error| {
        fail(format!("cannot listen on {shown}: {error}"), "check that its directory can be written to")
    })?;
    share(path, audience)?;
    Ok(listener)
}

/// Opens the file to others, the group first: at no moment is it another group's.
fn share(path: &Path, audience: &Audience) -> Result<(), BindError> {
    let mode = match audience {
        Audience::Owner => return Ok(()),
        Audience::Group(group) => {
            if let Some(name) = group {
                give(path, group_id(name)?, name)?;
                if let Some(directory) = path.parent() {
                    // Where it is not ours to give, it has to let them through as it is.
                    let _ = give(directory, group_id(name)?, name);
                }
            }
            0o660
        }
        Audience::All => 0o666,
    };
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|error| fail(format!("cannot share {}: {error}", path.display()), "check its directory"))
}

fn give(path: &Path, group: u32, name: &str) -> Result<(), BindError> {
    std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| {
        fail(
            format!("cannot give {} to the group {name}: {error}", path.display()),
            "the agent's user must be in the group that `socket_group` names",
        )
    })
}

fn group_id(name: &str) -> Result<u32, BindError> {
    let listed = fs::read_to_string("/etc/group").unwrap_or_default();
    let found = listed.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1).and_then(|id| id.parse().ok())).flatten()
    });
    found.or_else(|| name.parse().ok()).ok_or_else(|| {
        fail(format!("there is no group {name} on this machine"), "set `socket_group` to a group, or to its number")
    })
}

/// The socket that a supervisor opened and handed over (systemd's socket activation).
/// `None` where nobody did. Must be called within a Tokio runtime.
pub fn inherited() -> Option<Result<Listener, BindError>> {
    let mut handed = listenfd::ListenFd::from_env();
    if handed.len() == 0 {
        return None;
    }
    let taken = handed.take_unix_listener(0).and_then(|found| found.ok_or_else(|| io::ErrorKind::NotFound.into()));
    let listener =
        taken.and_then(|listener| uds::Listener::try_from(std::os::fd::OwnedFd::from(listener)).map(Listener::from));
    Some(listener.map_err(|error| {
        fail(
            format!("what the supervisor handed over is not a Unix socket to listen on: {error}"),
            "let the socket unit have one `ListenStream=` with a path",
        )
    }))
}

fn fail(text: String, next: &str) -> BindError {
    BindError { text, next: next.to_owned() }
}

/// True when something answers there. A socket of another user counts: it is not ours
/// to remove.
fn is_alive(path: &Path) -> bool {
    let Ok(name) = path.to_fs_name::<GenericFilePath>() else { return false };
    match ConnectOptions::new().name(name).connect_sync() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
    }
}

fn listen(path: &Path) -> io::Result<Listener> {
    let options = || Ok::<_, io::Error>(ListenerOptions::new().name(path.to_fs_name::<GenericFilePath>()?));
    match options()?.mode(0o600).create_tokio() {
        // Systems that cannot set a mode before binding: nobody else can reach into the
        // directory meanwhile.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let listener = options()?.create_tokio()?;
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(listener)
        }
        other => other,
    }
}

/// Makes the directory, open to nobody but those the socket is for, or checks that nobody else can put files into
/// the one that is there.
fn prepare_directory(path: &Path, audience: &Audience) -> Result<(), BindError> {
    let mode = match audience {
        Audience::Owner => 0o700,
        Audience::Group(_) => 0o710,
        Audience::All => 0o711,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let shown = directory.display();
    let made = DirBuilder::new().recursive(true).mode(mode).create(directory);
    let found = made.and_then(|()| fs::metadata(directory)).map_err(|error| BindError {
        text: format!("cannot use the socket's directory {shown}: {error}"),
        next: "make it, or set `socket` in the config to another path".to_owned(),
    })?;
    let sticky = found.mode() & 0o1000 != 0;
    let owned = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    if !owned || (found.mode() & 0o022 != 0 && !sticky) {
        return Err(BindError {
            text: format!("others may write to the socket's directory {shown}, and could put theirs in its place"),
            next: format!("make it yours and run `chmod go-w {shown}`, or set `socket` in the config to another path"),
        });
    }
    Ok(())
}
