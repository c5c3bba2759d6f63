//! A hub in a process of its own, on a directory that outlives it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Process, homing, run};

pub struct Hub {
    pub data: PathBuf,
    config: Option<PathBuf>,
    address: String,
    process: Option<Process>,
    home: TempDir,
}

impl Hub {
    pub fn start() -> Hub {
        Hub::with("")
    }

    /// With settings, as the hub's config file has them.
    pub fn with(settings: &str) -> Hub {
        let home = tempfile::tempdir().unwrap();
        let config = (!settings.is_empty()).then(|| home.path().join("hub.toml"));
        if let Some(path) = &config {
            std::fs::write(path, settings).unwrap();
        }
        let data = home.path().join("hub");
        let mut hub = Hub { data, config, address: "127.0.0.1:0".to_owned(), process: None, home };
        hub.start_again();
        hub
    }

    /// On the address it had before.
    pub fn start_again(&mut self) {
        let mut command = homing(self.home.path());
        command.arg("hub").arg("--data").arg(&self.data).arg("--listen").arg(&self.address).stdout(Stdio::piped());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let mut process = Process::start("the hub", &mut command, &self.home.path().join("hub.log"));
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.process = Some(process);
        let address = line.trim().strip_prefix("listening on http://");
        self.address = address.unwrap_or_else(|| panic!("the hub says {line:?}")).to_owned();
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        self.process.take().expect("the hub runs").terminate()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn token(&self, args: &[&str]) -> String {
        self.run(&[&["hub", "token", "--data", self.data.to_str().unwrap()], args].concat())
    }

    /// The file of an account's own scope.
    pub fn scope(&self, account: &str) -> PathBuf {
        self.data.join(format!("scopes/own-{account}.db"))
    }

    /// A command that must succeed; what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = run(homing(self.home.path()).args(args), b"");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }
}
