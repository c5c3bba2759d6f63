//! One process of the binary under test, killed when dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::LONG;

pub struct Process {
    pub child: Child,
    name: String,
    log: PathBuf,
}

/// The binary with an environment of its own: nothing of the tester's home or agent.
pub fn homing(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homing"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home).env("XDG_STATE_HOME", home).env("XDG_CONFIG_HOME", home);
    command.env("HOMING_LOG", "debug").env("NO_COLOR", "1").current_dir(home);
    command
}

impl Process {
    /// Starts `command` with its talk kept in `log`, which goes on where it ended.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Process {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command.stdin(Stdio::null()).stderr(file).spawn().unwrap();
        Process { child, name: name.to_owned(), log: log.to_owned() }
    }

    /// As a power cut would, but for the disk: SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end; says how it did and how long it took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        (self.ended(), begun.elapsed())
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("---- the last lines of {} ----", self.name);
            tail.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Runs a program to its end, within `LONG`.
pub fn run(command: &mut Command, input: &[u8]) -> std::process::Output {
    use std::io::Write;
    let program = command.get_program().to_owned();
    let shown = || OsStr::to_string_lossy(&program).into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", shown()));
    let _ = child.stdin.take().unwrap().write_all(input);
    let pid = rustix::process::Pid::from_child(&child);
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        // Twice the time: whatever ran has its own limits, and this is the last one.
        let late = is_done.recv_timeout(LONG * 2) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        late
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(!guard.join().unwrap(), "{} did not end", shown());
    output
}
