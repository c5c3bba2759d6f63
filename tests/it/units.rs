//! The files that start Homing on a system are read by what will read them there:
//! systemd's own checker, and Python's reader of property lists. Where a machine lacks
//! one of these, its test says so and passes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Unit, is it a user's, and the worst exposure allowed in tenths (systemd's own scale,
/// 0 is best): the price of what each must be able to do.
const UNITS: &[(&str, bool, u32)] =
    &[("homing.service", true, 65), ("homing@.service", false, 20), ("homing-hub.service", false, 12)];

#[test]
fn systemd_takes_the_units_without_a_word() {
    for (unit, user, exposure) in UNITS {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(root().join("systemd").join(unit)).unwrap();
        let program = format!("ExecStart={} ", env!("CARGO_BIN_EXE_homing"));
        assert_eq!(text.matches("\nExecStart=homing ").count(), 1, "{unit}");
        // A template is looked at as one of its instances.
        let path = dir.path().join(unit.replace("@", "@daemon"));
        std::fs::write(&path, text.replace("\nExecStart=homing ", &format!("\n{program}"))).unwrap();
        let analyze = |arguments: &[&str]| {
            let mut command = Command::new("systemd-analyze");
            command.args(user.then_some("--user")).args(arguments).arg(&path).env("XDG_RUNTIME_DIR", dir.path());
            run(&mut command)
        };
        let Some(verified) = analyze(&["verify", "--man=no", "--recursive-errors=no"]) else { return };
        assert!(verified.status.success() && verified.stderr.is_empty(), "{unit}: {}", said(&verified));
        let threshold = format!("--threshold={exposure}");
        let scored = analyze(&["security", "--offline=yes", "--no-pager", &threshold]).unwrap();
        assert!(scored.status.success(), "{unit} is more exposed than {exposure}: {}", said(&scored));
    }
}

/// The socket unit beside the service it starts.
#[test]
fn systemd_takes_the_socket_too() {
    let dir = tempfile::tempdir().unwrap();
    for unit in ["homing.service", "homing.socket"] {
        let text = std::fs::read_to_string(root().join("systemd").join(unit)).unwrap();
        let program = format!("ExecStart={} ", env!("CARGO_BIN_EXE_homing"));
        std::fs::write(dir.path().join(unit), text.replace("ExecStart=homing ", &program)).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["--user", "verify", "--man=no", "--recursive-errors=no"]).arg(dir.path().join("homing.socket"));
    let Some(verified) = run(command.env("XDG_RUNTIME_DIR", dir.path()).env("HOME", dir.path())) else { return };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", said(&verified));
}

#[test]
fn launchd_would_start_what_the_property_lists_say() {
    for (label, words) in [
        ("com.homing.agent", "agent"),
        ("com.homing.daemon.ACCOUNT", "agent"),
        ("com.homing.hub", "hub --data HOME/Library/Application Support/Homing/hub --listen 127.0.0.1:4747"),
    ] {
        let path = root().join("launchd").join(format!("{}.plist", label.trim_end_matches(".ACCOUNT")));
        let script = "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&path);
        let Some(read) = run(&mut command) else { return };
        assert!(read.status.success(), "{label}: {}", said(&read));
        let list: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
        assert_eq!(list["Label"], label);
        assert_eq!(list["RunAtLoad"], true, "{label}");
        assert_eq!(list["KeepAlive"]["SuccessfulExit"], false, "{label}");
        assert_eq!(list["Umask"], 0o077, "{label}");

        // A home with a `homing` that only says how it was called.
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join(".cargo/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(home.path().join("Library/Logs")).unwrap();
        let stub = bin.join("homing");
        std::fs::write(&stub, "#!/bin/sh\necho \"$@\" > \"$HOME/called\"\n").unwrap();
        std::fs::set_permissions(&stub, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program: Vec<&str> =
            list["ProgramArguments"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let mut command = Command::new(program[0]);
        // An account that there is none of has this home.
        let at_home = |word: &&str| word.replace("~ACCOUNT", home.path().to_str().unwrap());
        command
            .args(program[1..].iter().map(at_home))
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin");
        let started = run(&mut command).unwrap();
        assert!(started.status.success(), "{label}: {}", said(&started));
        let called = std::fs::read_to_string(home.path().join("called")).unwrap();
        assert_eq!(called.trim().replace(home.path().to_str().unwrap(), "HOME"), words);
    }
}

/// `None`, and a word about it, when this machine has no such program.
fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {} is not on this machine", Path::new(command.get_program()).display());
            None
        }
        output => Some(output.unwrap()),
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
