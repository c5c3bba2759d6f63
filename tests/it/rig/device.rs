//! A device: a database, an agent of its own, and the commands a person types there.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::LONG;
use super::process::{Process, homing, run};

pub struct Device {
    pub name: String,
    pub database: PathBuf,
    pub config: PathBuf,
    pub socket: PathBuf,
    pub token_file: PathBuf,
    url: String,
    /// Added to the config, below `[replica.notes]`'s own keys.
    extra: String,
    /// The agent's environment, beside the config.
    env: Vec<(String, String)>,
    agent: Option<Process>,
    home: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Told {
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Device {
    /// Quick to react and to try again, and without a timer: what happens, happens for
    /// a reason.
    const SCHEDULE: &str = "every = \"off\"\ndebounce = \"50ms\"\ndebounce_max = \"500ms\"\n\
                            backoff_first = \"100ms\"\nbackoff_max = \"400ms\"\n";

    pub fn new(name: &str, url: &str, token: &str) -> Device {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir(path("data")).unwrap();
        let device = Device {
            name: name.to_owned(),
            database: path("data").join("notes.db"),
            config: path("homing.toml"),
            socket: path("agent.sock"),
            token_file: path("token"),
            url: url.to_owned(),
            extra: String::new(),
            env: Vec::new(),
            agent: None,
            home,
        };
        device.sign_in(token);
        device.write_config();
        device
    }

    /// A device on the config that stands in `examples/`, with nothing set but what its
    /// README says, and the times that tests have no patience for.
    pub fn preset(name: &str, example: &str, url: &str, token: &str) -> Device {
        let mut device = Device::new(name, url, token);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        device.config = folder.join("homing.toml");
        device.sql(&std::fs::read_to_string(folder.join("schema.sql")).unwrap());
        let replica = format!("REPLICA__{}", example.to_uppercase());
        for (key, value) in [
            ("DEVICE".to_owned(), name.to_owned()),
            ("SOCKET".to_owned(), device.socket.display().to_string()),
            ("STATE_DIR".to_owned(), device.state_dir().display().to_string()),
            (format!("{replica}__DATABASE"), device.database.display().to_string()),
            (format!("{replica}__REMOTE__URL"), url.to_owned()),
            (format!("{replica}__REMOTE__TOKEN_FILE"), device.token_file.display().to_string()),
            (format!("{replica}__SCHEDULE__DEBOUNCE"), "50ms".to_owned()),
            (format!("{replica}__SCHEDULE__BACKOFF_FIRST"), "100ms".to_owned()),
            (format!("{replica}__SCHEDULE__BACKOFF_MAX"), "400ms".to_owned()),
        ] {
            device.env.push((format!("HOMING__{key}"), value));
        }
        device
    }

    /// One more variable of the agent's: `SCHEDULE__EVERY` of the one replica, say.
    pub fn set(&mut self, key: &str, value: &str) {
        self.env.push((format!("HOMING__{key}"), value.to_owned()));
    }

    /// A variable of the agent's that is not of its config.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn sign_in(&self, token: &str) {
        std::fs::write(&self.token_file, token).unwrap();
    }

    /// Sections to add to the config; the agent reads them when it starts.
    pub fn configure(&mut self, extra: &str) {
        self.extra = extra.to_owned();
        self.write_config();
    }

    pub fn write_config(&self) {
        let text = format!(
            "device = \"{}\"\nsocket = \"{}\"\nstate_dir = \"{}\"\n\n[replica.notes]\ndatabase = \"{}\"\n\n\
             [replica.notes.remote]\nurl = \"{}\"\ntoken_file = \"{}\"\ntimeout = \"10s\"\n\n\
             [replica.notes.schedule]\n{}\n{}\n",
            self.name,
            self.socket.display(),
            self.state_dir().display(),
            self.database.display(),
            self.url,
            self.token_file.display(),
            Device::SCHEDULE,
            self.extra,
        );
        std::fs::write(&self.config, text).unwrap();
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Starts the agent and returns when it says that it is ready, as systemd hears it.
    pub fn start(&mut self) {
        let told = self.home.path().join("notify");
        let _ = std::fs::remove_file(&told);
        let notified = UnixDatagram::bind(&told).unwrap();
        notified.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        self.agent = Some(self.spawn("agent.log", |command| {
            command.env("NOTIFY_SOCKET", &told);
        }));
        let deadline = Instant::now() + LONG;
        let mut heard = [0; 64];
        while notified.recv(&mut heard).is_err() {
            let agent = self.agent.as_mut().unwrap();
            assert!(agent.is_running() && Instant::now() < deadline, "the agent of {} does not get ready", self.name);
        }
        assert!(heard.starts_with(b"READY=1"));
    }

    /// An agent on this device's config, ready or not.
    pub fn spawn(&self, log: &str, prepare: impl FnOnce(&mut std::process::Command)) -> Process {
        let mut command = homing(self.home.path());
        command.arg("agent").arg("--config").arg(&self.config).stdout(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        prepare(&mut command);
        Process::start(&format!("agent {}", self.name), &mut command, &self.home.path().join(log))
    }

    pub fn kill(&mut self) {
        self.agent = None;
    }

    /// Tells the agent to read its config again.
    pub fn reload(&self) {
        let pid = rustix::process::Pid::from_child(&self.agent.as_ref().expect("the agent runs").child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        self.agent.take().expect("the agent runs").terminate()
    }

    pub fn homing(&self, args: &[&str]) -> Told {
        let output = run(homing(self.home.path()).env("HOMING_SOCKET", &self.socket).args(args), b"");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Told { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// A command that must end well, as its document.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Json {
        self.json_of(0, args)
    }

    /// A command that ends with `code`, as its document.
    #[track_caller]
    pub fn json_of(&self, code: i32, args: &[&str]) -> Json {
        let told = self.homing(&[args, &["--json"]].concat());
        assert_eq!(told.code, code, "{args:?}: {told:?}");
        told.json()
    }

    #[track_caller]
    pub fn sync(&self) {
        let told = self.homing(&["sync", "--wait"]);
        assert_eq!(told.code, 0, "{}: {}{}\n{}", self.name, told.out, told.err, self.homing(&["status"]).out);
    }

    #[track_caller]
    pub fn status(&self) -> Json {
        self.json(&["status"])["replicas"][0].take()
    }

    /// Watches the status until it is so; returns it.
    #[track_caller]
    pub fn await_status(&self, what: &str, is_so: impl Fn(&Json) -> bool) -> Json {
        let mut command = homing(self.home.path());
        command.env("HOMING_SOCKET", &self.socket).args(["status", "--watch", "--json"]).stdout(Stdio::piped());
        let mut watch = Process::start("status --watch", &mut command, &self.home.path().join("watch.log"));
        let lines = BufReader::new(watch.child.stdout.take().unwrap()).lines();
        let (sender, heard) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let deadline = Instant::now() + LONG;
        let mut last = Json::Null;
        while let Ok(line) = heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            last = serde_json::from_str::<Json>(&line).unwrap()["replicas"][0].take();
            if is_so(&last) {
                return last;
            }
        }
        panic!("{}: {what}: the last status was {last:#}", self.name);
    }

    #[track_caller]
    pub fn await_state(&self, state: &str) -> Json {
        self.await_status(state, |status| status["state"] == state)
    }

    #[track_caller]
    pub fn await_reason(&self, code: &str) -> Json {
        self.await_status(code, |status| status["reason"]["code"] == code)
    }

    /// By the sqlite3 command line, as an app of its own; returns what it printed.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        super::sqlite3(&self.database, sql)
    }

    /// By Python's sqlite3; `db` is an open connection with foreign keys on.
    #[track_caller]
    pub fn python(&self, script: &str) -> String {
        super::python(&self.database, script)
    }
}
