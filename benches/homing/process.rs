//! Processes of the real binary, and what the system counts of them.
//!
//! Each ends with the value that stands for it, also when a benchmark panics.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

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

impl Process {
    /// Starts anything; its output, where that is piped, comes along.
    pub fn start(command: &mut Command) -> (Process, Option<ChildStdout>) {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = child.stdout.take();
        (Process(child), out)
    }
}

/// What the system knows of a process at one moment.
pub struct Usage {
    pub resident_mib: f64,
    threads: HashMap<String, Thread>,
}

#[derive(Clone, Copy, Default)]
struct Thread {
    voluntary_switches: f64,
    cpu_milliseconds: f64,
}

impl Process {
    /// Seconds of CPU so far, ended threads included, and MiB it held at the most.
    pub fn spent(&self) -> (f64, f64) {
        /// `/proc` counts in hundredths of a second wherever Linux runs.
        const TICKS: f64 = 100.0;
        let root = format!("/proc/{}", self.0.id());
        let stat = std::fs::read_to_string(format!("{root}/stat")).unwrap_or_default();
        // After the name, which may hold anything: the state is the first field.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        let status = std::fs::read_to_string(format!("{root}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: f64 = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
        (ticks / TICKS, kib / 1024.0)
    }

    pub fn usage(&self) -> Usage {
        let root = format!("/proc/{}", self.0.id());
        let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
        };
        let threads = std::fs::read_dir(format!("{root}/task")).expect("a process that runs").map(|thread| {
            let id = thread.expect("a thread's folder").file_name().to_string_lossy().into_owned();
            let status = read(format!("{root}/task/{id}/status"));
            let times = read(format!("{root}/task/{id}/schedstat"));
            let thread = Thread {
                voluntary_switches: field(&status, "voluntary_ctxt_switches:"),
                cpu_milliseconds: field(&times, "") / 1e6,
            };
            (id, thread)
        });
        Usage { threads: threads.collect(), resident_mib: field(&read(format!("{root}/status")), "VmRSS:") / 1024.0 }
    }
}

impl Usage {
    /// Voluntary switches and milliseconds of CPU since `before`, over the threads that
    /// are there now: one that ended meanwhile takes its counts along.
    pub fn since(&self, before: &Usage) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for (id, now) in &self.threads {
            let then = before.threads.get(id).copied().unwrap_or_default();
            sum.0 += now.voluntary_switches - then.voluntary_switches;
            sum.1 += now.cpu_milliseconds - then.cpu_milliseconds;
        }
        sum
    }
}
