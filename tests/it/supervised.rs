//! The agent as a supervisor sees it: what it is told over the notify socket, a reload
//! that keeps connections, a watchdog that is fed, a socket that was open before it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::rig::{Device, Hub, LONG, Process, homing};

/// An agent with a supervisor's ear.
struct Supervised {
    agent: Process,
    device: Device,
    ear: UnixDatagram,
}

impl Supervised {
    fn start(device: Device, prepare: impl FnOnce(&mut Command)) -> Supervised {
        let path = device.home().join("supervisor");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_read_timeout(Some(LONG)).unwrap();
        let agent = device.spawn("agent.log", |command| {
            command.env("NOTIFY_SOCKET", &path);
            prepare(command);
        });
        let supervised = Supervised { agent, device, ear };
        supervised.hears("ready", |told| told.contains("READY=1"));
        supervised
    }

    /// The next message that is so; those before it are passed over.
    #[track_caller]
    fn hears(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 4096];
        let deadline = Instant::now() + LONG;
        let mut heard = Vec::new();
        while Instant::now() < deadline {
            let Ok(length) = self.ear.recv(&mut buffer) else { break };
            let told = String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned();
            if is_so(&told) {
                return told;
            }
            heard.push(told);
        }
        panic!("the supervisor was never told: {what}; it was told {heard:#?}");
    }

    fn reload(&self) {
        let pid = rustix::process::Pid::from_child(&self.agent.child);
        rustix::process::kill_process(pid, Signal::HUP).unwrap();
        let told = self.hears("reloading", |told| told.contains("RELOADING=1"));
        assert!(told.contains("MONOTONIC_USEC="), "{told}");
    }
}

/// One connection that is kept, as an app keeps it.
struct Line(BufReader<UnixStream>);

impl Line {
    fn open(socket: &std::path::Path) -> Line {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Line(BufReader::new(stream))
    }

    fn replicas(&mut self) -> Vec<String> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "replica.list"});
        self.0.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        let answer: Json = serde_json::from_str(&answer).unwrap();
        let listed = answer["result"]["replicas"].as_array().unwrap();
        listed.iter().map(|replica| replica["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn device(hub: &Hub) -> Device {
    let device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    device
}

#[test]
fn a_supervisor_is_told_in_words_how_the_replicas_stand() {
    let mut hub = Hub::start();
    let agent = Supervised::start(device(&hub), |_| {});
    agent.device.sync();
    hub.kill();
    agent.device.sql("INSERT INTO tasks VALUES ('1', 'offline')");
    agent.hears("that the hub is away", |told| told == "STATUS=notes offline, 1 to send");
    hub.start_again();
    agent.hears("that it is back", |told| told == "STATUS=in step");
    let mut agent = agent;
    let (ended, took) = agent.agent.terminate();
    assert!(ended.success() && took < Duration::from_secs(5), "{ended} after {took:?}");
    agent.hears("stopping", |told| told.contains("STOPPING=1"));
}

#[test]
fn a_reload_takes_in_the_config_and_keeps_every_connection() {
    let hub = Hub::start();
    let agent = Supervised::start(device(&hub), |_| {});
    let mut line = Line::open(&agent.device.socket);
    assert_eq!(line.replicas(), ["notes"]);
    let config = agent.device.config.clone();
    let one = std::fs::read_to_string(&config).unwrap();

    let second = agent.device.home().join("second.db");
    super::rig::sqlite3(&second, "CREATE TABLE parts(id TEXT PRIMARY KEY, name TEXT)");
    let two = format!(
        "{one}\n[replica.stock]\ndatabase = \"{}\"\nremote.url = \"{}\"\nremote.token_file = \"{}\"\n",
        second.display(),
        hub.url(),
        agent.device.token_file.display(),
    );
    std::fs::write(&config, &two).unwrap();
    agent.reload();
    agent.hears("ready again", |told| told.contains("READY=1"));
    assert_eq!(line.replicas(), ["notes", "stock"]);
    super::rig::sqlite3(&second, "INSERT INTO parts VALUES ('p', 'a part of the second')");
    let told = agent.device.homing(&["sync", "stock", "--wait"]);
    assert_eq!(told.code, 0, "{told:?}");

    // A config that is wrong changes nothing, and the supervisor is told why.
    std::fs::write(&config, two.replace("[replica.stock]", "[replica.stock]\ndatabsae = \"x\"")).unwrap();
    agent.reload();
    let told = agent.hears("ready again", |told| told.contains("READY=1"));
    assert!(told.contains("config not reloaded") && told.contains("databsae"), "{told}");
    assert_eq!(line.replicas(), ["notes", "stock"]);

    // One gone, and one changed: what it had is still known.
    std::fs::write(&config, one.replace("debounce = \"50ms\"", "debounce = \"60ms\"")).unwrap();
    agent.reload();
    agent.hears("ready again", |told| told.contains("READY=1"));
    assert_eq!(line.replicas(), ["notes"]);
    assert_eq!(agent.device.homing(&["status", "stock"]).code, 1);
    agent.device.sql("INSERT INTO tasks VALUES ('2', 'after the reload')");
    agent.device.sync();
}

#[test]
fn the_watchdog_is_fed_while_the_loops_turn_and_not_while_the_process_hangs() {
    let hub = Hub::start();
    let agent = Supervised::start(device(&hub), |command| {
        command.env("WATCHDOG_USEC", "400000");
    });
    for _ in 0..3 {
        agent.hears("that it is alive", |told| told == "WATCHDOG=1");
    }
    let pid = rustix::process::Pid::from_child(&agent.agent.child);
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    agent.ear.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    // What was on its way when it stopped is still heard; then nothing.
    let mut buffer = [0; 4096];
    let mut after = 0;
    while agent.ear.recv(&mut buffer).is_ok() {
        after += 1;
    }
    assert!(after <= 3, "{after} messages of a stopped process");
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    agent.ear.set_read_timeout(Some(LONG)).unwrap();
    agent.hears("that it is alive again", |told| told == "WATCHDOG=1");
}

/// The first program that asks starts the agent, and gets its answer.
#[test]
fn a_socket_that_a_supervisor_opened_is_answered() {
    let hub = Hub::start();
    let device = device(&hub);
    let socket: PathBuf = device.home().join("activated.sock");
    let mut command = homing(device.home());
    let environment: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    command.arg("agent");
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg("-l").arg(&socket).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for name in environment.iter().filter_map(|name| name.to_str()) {
        let value = command.get_envs().find(|(known, _)| *known == name).and_then(|(_, value)| value);
        activate.arg(format!("--setenv={name}={}", value.unwrap_or_default().to_string_lossy()));
    }
    activate.arg(command.get_program()).arg("agent").arg("--config").arg(&device.config);
    activate.stdin(Stdio::null()).stdout(Stdio::null());
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        eprintln!("skipped: systemd-socket-activate is not on this machine");
        return;
    }
    let _activated = Process::start("socket-activate", &mut activate, &device.home().join("activate.log"));
    // It is there a moment before anybody listens on it.
    super::rig::eventually("the socket listens", || UnixStream::connect(&socket).is_ok());
    assert_eq!(Line::open(&socket).replicas(), ["notes"]);
}
