//! A real Mosquitto that knows one user, killed when dropped.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::Process;
use super::{eventually, has};

pub struct Broker {
    scheme: &'static str,
    port: u16,
    process: Option<Process>,
    home: TempDir,
}

impl Broker {
    pub const USER: &str = "farm";
    pub const PASSWORD: &str = "correct horse";

    /// `None`, in words, where there is no Mosquitto (tests/run installs it).
    pub fn start() -> Option<Broker> {
        Broker::prepared("mqtt", "")
    }

    /// Behind TLS, with one of the certificates in `tests/it/tls`.
    pub fn start_tls(certificate: &str) -> Option<Broker> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls");
        let file = |end: &str| folder.join(format!("{certificate}.{end}")).display().to_string();
        Broker::prepared("mqtts", &format!("certfile {}\nkeyfile {}\n", file("pem"), file("key")))
    }

    fn prepared(scheme: &'static str, lines: &str) -> Option<Broker> {
        if !has("mosquitto_passwd") {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        // Nobody else takes it: ports of outgoing connections are others.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let passwords = home.path().join("passwords");
        let mut make = Command::new("mosquitto_passwd");
        make.arg("-b").arg("-c").arg(&passwords).args([Broker::USER, Broker::PASSWORD]).stderr(Stdio::null());
        let made = make.status().unwrap();
        assert!(made.success());
        let config = format!(
            "listener {port} 127.0.0.1\n{lines}allow_anonymous false\npassword_file {}\nuser root\nlog_type all\n",
            passwords.display()
        );
        std::fs::write(home.path().join("mosquitto.conf"), config).unwrap();
        let mut broker = Broker { scheme, port, process: None, home };
        broker.start_again();
        Some(broker)
    }

    pub fn start_again(&mut self) {
        let mut command = Command::new(program());
        command.arg("-c").arg(self.home.path().join("mosquitto.conf")).stdout(Stdio::null());
        self.process = Some(Process::start("mosquitto", &mut command, &self.log()));
        eventually("mosquitto listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Lines of its log that say this, since the first start.
    pub fn said(&self, what: &str) -> usize {
        std::fs::read_to_string(self.log()).unwrap().lines().filter(|line| line.contains(what)).count()
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }
}

/// Debian keeps it where only root's path leads.
fn program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/mosquitto");
    if usual.is_file() { usual } else { PathBuf::from("mosquitto") }
}
