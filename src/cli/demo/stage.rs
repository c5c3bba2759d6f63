//! The demo's machines: a hub and two devices, as real processes of this very program.
//!
//! Whatever happens, none of them outlives the demo.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::hub::token::{self, Grant};
use crate::ipc::Client;

pub(super) struct Hub {
    pub(super) data: PathBuf,
    pub(super) url: String,
    address: String,
    process: Process,
}

impl Hub {
    pub(super) fn start(folder: &Path) -> Result<Hub, Failure> {
        let data = folder.join("hub");
        let (process, url) = listen(&data, "127.0.0.1:0", folder)?;
        let address = url.trim_start_matches("http://").to_owned();
        Ok(Hub { data, url, address, process })
    }

    pub(super) fn stop(&mut self) {
        self.process.end();
    }

    pub(super) fn start_again(&mut self, folder: &Path) -> Result<(), Failure> {
        let (process, _) = listen(&self.data, &self.address, folder)?;
        self.process = process;
        Ok(())
    }

    /// A token for everything of one account, in a file.
    pub(super) fn token(&self, file: &Path) -> Result<(), Failure> {
        let grant = Grant {
            account: "ada".to_owned(),
            scopes: Vec::new(),
            role: "member".to_owned(),
            ttl_seconds: 86_400,
            may_bring_tables: true,
        };
        let token =
            token::issue(&self.data, &grant).map_err(|error| failed(format!("no token could be made: {error:?}")))?;
        write(file, &token)
    }

    /// The hub's own tables: one SQLite file for the account.
    pub(super) fn tables(&self) -> PathBuf {
        self.data.join("scopes").join("own-ada.db")
    }
}

fn listen(data: &Path, address: &str, folder: &Path) -> Result<(Process, String), Failure> {
    let mut command = program()?;
    command.args(["hub", "--listen", address, "--data"]).arg(data);
    let mut process = Process::start(command, &folder.join("hub.log"))?;
    let out = process.child.stdout.take().expect("BUG: stdout was asked for");
    for line in BufReader::new(out).lines() {
        if let Ok(line) = line
            && let Some(url) = line.strip_prefix("listening on ")
        {
            return Ok((process, url.to_owned()));
        }
    }
    Err(failed("the hub did not start"))
}

pub(super) struct Device {
    pub(super) name: &'static str,
    pub(super) database: PathBuf,
    pub(super) socket: PathBuf,
    _process: Process,
}

impl Device {
    /// Starts an agent on a database that is there already.
    pub(super) fn start(
        name: &'static str,
        folder: &Path,
        sockets: &Path,
        hub: &Hub,
        token: &Path,
    ) -> Result<Device, Failure> {
        let home = folder.join(name);
        let database = home.join("flights.db");
        let socket = sockets.join(format!("{name}.sock"));
        let config = home.join("homing.toml");
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        write(
            &config,
            &format!(
                "device = \"{name}\"\nsocket = {}\nstate_dir = {}\n\n[replica.flights]\ndatabase = {}\npreset = \"development\"\n\n\
                 [replica.flights.remote]\nkind = \"homing\"\nurl = \"{}\"\ntoken_file = {}\n",
                quoted(&socket),
                quoted(&home.join("state")),
                quoted(&database),
                hub.url,
                quoted(token),
            ),
        )?;
        let mut command = program()?;
        command.args(["agent", "--config"]).arg(&config);
        let process = Process::start(command, &home.join("agent.log"))?;
        let device = Device { name, database, socket, _process: process };
        device.ask()?;
        Ok(device)
    }

    pub(super) fn ask(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.socket, Duration::from_secs(10))?)
    }
}

struct Process {
    child: Child,
}

impl Process {
    fn start(mut command: Command, log: &Path) -> Result<Process, Failure> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|error| failed(format!("{} cannot be written: {error}", log.display())))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(format!("this program could not be started again: {error}")))?;
        Ok(Process { child })
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn program() -> Result<Command, Failure> {
    std::env::current_exe().map(Command::new).map_err(|error| failed(format!("this program cannot be found: {error}")))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| failed(format!("{} cannot be written: {error}", path.display())))
}

pub(super) fn failed(text: impl Into<String>) -> Failure {
    Failure::new(Exit::Failed, text, "run it again with --keep DIR and look at the logs there")
}
