//! Processes of the real binary, and what the system counts of them.
//!
//! Each ends with the value that stands for it, also when a benchmark panics.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A child that is killed and waited for when dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn homing() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homing"));
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end; its output must not be a failure.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A hub on a free port of the loopback; returns its address too.
pub fn hub(data: &Path) -> (Process, String) {
    let mut command = homing();
    command.args(["hub", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the hub starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("a piped stdout");
    BufReader::new(out).read_line(&mut line).expect("the hub says where it listens");
    let url = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
    (Process(child), url)
}

pub fn agent(config: &Path) -> Process {
    let mut command = homing();
    command.arg("agent").arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    Process(command.spawn().expect("the agent starts"))
}

/// What the system knows of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub resident_mib: f64,
    /// Over all threads, since the process began.
    pub voluntary_switches: u64,
    pub cpu_milliseconds: f64,
}

impl Process {
    pub fn usage(&self) -> Usage {
        let root = format!("/proc/{}", self.0.id());
        let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
        };
        let threads = std::fs::read_dir(format!("{root}/task")).expect("a process that runs");
        let switches = threads.map(|thread| {
            let path = thread.expect("a thread's folder").path().join("status");
            field(&std::fs::read_to_string(path).unwrap_or_default(), "voluntary_ctxt_switches:")
        });
        let nanoseconds: f64 =
            read(format!("{root}/schedstat")).split_whitespace().next().and_then(|run| run.parse().ok()).unwrap_or(0.0);
        let threads_nanoseconds: f64 = std::fs::read_dir(format!("{root}/task"))
            .expect("a process that runs")
            .map(|thread| {
                let path = thread.expect("a thread's folder").path().join("schedstat");
                let text = std::fs::read_to_string(path).unwrap_or_default();
                text.split_whitespace().next().and_then(|run| run.parse::<f64>().ok()).unwrap_or(0.0)
            })
            .sum();
        Usage {
            resident_mib: field(&read(format!("{root}/status")), "VmRSS:") / 1024.0,
            voluntary_switches: switches.sum::<f64>() as u64,
            cpu_milliseconds: threads_nanoseconds.max(nanoseconds) / 1e6,
        }
    }
}
