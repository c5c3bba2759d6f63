//! What lies around the databases: the config's own file, the state directory, the
//! socket's place, room on the disk, the clock.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Report;
use crate::cli::words;
use crate::config::{Config, paths};

/// Room on a disk below which it is soon full, and below which nothing can be written.
const ROOM_LOW: u64 = 64 << 20;
const ROOM_NONE: u64 = 1 << 20;
const SOCKET_BYTES_MAX: usize = 103;
/// 2024-01-01, in seconds since 1970: before this program was written.
const LONG_AGO: u64 = 1_704_067_200;

pub fn examine(config: &Config, environment: &[(String, String)], report: &mut Report) {
    clock(report);
    if let Some(file) = &config.file {
        config_file(file, report);
    }
    match state_dir(config, environment) {
        Some(folder) => state(&folder, report),
        None => report.wrong(
            "state_dir",
            None,
            "there is no home directory to keep the agent's state in",
            "set `state_dir` in the config",
        ),
    }
    socket_place(&socket(config, environment), report);
}

pub fn state_dir(config: &Config, environment: &[(String, String)]) -> Option<PathBuf> {
    config.state_dir.clone().or_else(|| paths::state_dir(environment, is_root()))
}

pub fn socket(config: &Config, environment: &[(String, String)]) -> PathBuf {
    config.socket.clone().unwrap_or_else(|| paths::socket(environment, is_root()))
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How much can still be written where `folder` lies.
pub fn room(check: &'static str, replica: Option<&str>, folder: &Path, report: &mut Report) {
    let Ok(found) = rustix::fs::statvfs(folder) else { return };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let shown = folder.display();
    let mend = format!("make room there: `du -xh {shown} | sort -h | tail` shows what is large");
    if found.f_files > 0 && found.f_favail == 0 && !is_root() {
        report.wrong(check, replica, format!("no more files can be made in {shown} (no free inodes)"), mend);
    } else if free < ROOM_NONE {
        report.wrong(check, replica, format!("the disk that {shown} is on is full: {} left", words::size(free)), mend);
    } else if free < ROOM_LOW {
        let evidence = format!("the disk that {shown} is on is nearly full: {} left", words::size(free));
        report.warning(check, replica, evidence, mend);
    } else {
        report.well(check, replica, format!("{shown} has {} left", words::size(free)));
    }
}

/// False where nothing can be written to what the file is on.
pub fn storage(replica: Option<&str>, file: &Path, report: &mut Report) -> bool {
    let shown = file.display();
    let mount = format!("\"$(findmnt --noheadings --output TARGET --target {shown})\"");
    let Ok(found) = rustix::fs::statvfs(file) else { return true };
    if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let evidence = format!("what {shown} is on can only be read: it is mounted so, or the disk is failing");
        let mend = format!("`sudo mount -o remount,rw {mount}`; `dmesg` says why a disk was made read-only");
        report.wrong("storage", replica, evidence, mend);
        return false;
    }
    match is_in_memory(file) {
        true => report.warning(
            "storage",
            replica,
            format!("{shown} is kept in memory, and is gone when the machine restarts"),
            "move it to a disk, and correct `database` in the config",
        ),
        false => report.well("storage", replica, "it is on a disk that can be written"),
    }
    true
}

#[cfg(target_os = "linux")]
fn is_in_memory(file: &Path) -> bool {
    // tmpfs and ramfs, by the kernel's numbers.
    rustix::fs::statfs(file).is_ok_and(|found| [0x0102_1994, 0x8584_58f6].contains(&found.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &Path) -> bool {
    false
}

fn clock(report: &mut Report) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match now < LONG_AGO {
        true => report.wrong(
            "clock",
            None,
            "this machine's clock is years behind: tokens and certificates look as if they were not good yet",
            "set it: `timedatectl set-ntp true`",
        ),
        false => report.well("clock", None, "the clock is plausible"),
    }
}

fn config_file(file: &Path, report: &mut Report) {
    let Ok(found) = file.metadata() else { return };
    let shown = file.display();
    if found.mode() & 0o022 != 0 {
        // It may name a command to run.
        let evidence = format!("others may write {shown}, and it may name a command to run");
        report.wrong("config_mode", None, evidence, format!("`chmod go-w {shown}`"));
    } else if ![0, rustix::process::geteuid().as_raw()].contains(&found.uid()) {
        let evidence = format!("{shown} belongs to another user, who may name a command to run");
        report.warning("config_mode", None, evidence, format!("`chown \"$(id -un)\" {shown}`"));
    } else {
        report.well("config_mode", None, "nobody else may write the config");
    }
}

fn state(folder: &Path, report: &mut Report) {
    let shown = folder.display();
    let found = match folder.metadata() {
        Ok(found) => found,
        // The agent makes it when it starts.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return report.well("state_dir", None, format!("{shown} is made when the agent starts"));
        }
        Err(error) => {
            let mend = format!("let this user into it: `ls -ld {shown}`");
            return report.wrong("state_dir", None, format!("{shown} cannot be used: {error}"), mend);
        }
    };
    let me = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        report.wrong(
            "state_dir",
            None,
            format!("{shown} is not a directory"),
            format!("move it away: `mv {shown} {shown}.old`"),
        );
    } else if found.uid() != me {
        let mend = format!("run Homing as that user, or `chown -R \"$(id -un)\" {shown}`");
        report.wrong(
            "state_dir",
            None,
            format!("{shown} belongs to user {}, and this is user {me}", found.uid()),
            mend,
        );
    } else if found.mode() & 0o022 != 0 {
        let evidence = format!("others may write to {shown}, and could make this device look like another");
        report.wrong("state_dir", None, evidence, format!("`chmod 700 {shown}`"));
    } else if found.mode() & 0o300 != 0o300 || rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
        report.wrong("state_dir", None, format!("{shown} cannot be written"), format!("`chmod 700 {shown}`"));
    } else {
        report.well("state_dir", None, format!("{shown} is the agent's own"));
        unreadable_state(folder, report);
    }
    room("state_room", None, folder, report);
}

/// Files in the state directory that the agent could not read or replace.
fn unreadable_state(folder: &Path, report: &mut Report) {
    let me = rustix::process::geteuid().as_raw();
    let Ok(entries) = folder.read_dir() else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Ok(found) = path.symlink_metadata() else { continue };
        if found.is_file() && (found.uid() != me || found.mode() & 0o400 == 0) {
            let shown = path.display();
            let mend = format!("`sudo chown \"$(id -un)\" {shown}; chmod u+rw {shown}`");
            report.wrong(
                "state_files",
                None,
                format!("{shown} is not the agent's to read (user {})", found.uid()),
                mend,
            );
        }
    }
}

fn socket_place(socket: &Path, report: &mut Report) {
    let shown = socket.display();
    if socket.as_os_str().as_bytes().len() > SOCKET_BYTES_MAX {
        let evidence = format!("the socket's path is longer than {SOCKET_BYTES_MAX} bytes: {shown}");
        report.wrong("socket_path", None, evidence, "set `socket` in the config to a shorter path");
    } else {
        report.well("socket_path", None, format!("the socket is {shown}"));
    }
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(found) = folder.metadata() {
        let sticky = found.mode() & 0o1000 != 0;
        let owned = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
        match !owned || (found.mode() & 0o022 != 0 && !sticky) {
            true => report.wrong(
                "socket_folder",
                None,
                format!("others may write to {}, and could put a socket of their own there", folder.display()),
                format!("`chmod go-w {0}`, or `chown \"$(id -un)\" {0}`", folder.display()),
            ),
            false => report.well("socket_folder", None, "nobody else can put a socket in the agent's place"),
        }
    }
    match socket.symlink_metadata() {
        Ok(found) if found.file_type().is_symlink() => {
            report.wrong(
                "socket_kind",
                None,
                format!("{shown} is a symbolic link"),
                format!("`rm {shown}`, then start the agent"),
            );
        }
        Ok(found) if !found.file_type().is_socket() => {
            report.wrong(
                "socket_kind",
                None,
                format!("{shown} is not a socket"),
                format!("`mv {shown} {shown}.old`, then start the agent"),
            );
        }
        Ok(found) if found.mode() & 0o077 != 0 => {
            report.warning(
                "socket_kind",
                None,
                format!("other users may connect to {shown} (mode {:o})", found.mode() & 0o777),
                format!("`chmod 600 {shown}`"),
            );
        }
        _ => {}
    }
}
