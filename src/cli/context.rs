//! What every command is given: where the agent is, and how to print.
//!
//! Decided once, at the start: colour, width and the time that "12 s ago" counts from.
//! Renderers get these as arguments and stay pure.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::Color;
use super::exit::Exit;
use super::failure::Failure;
use super::versions;
use crate::config::paths;
use crate::ipc::{Client, ClientError};
use crate::model::ReasonCode;

pub struct Context {
    pub socket: PathBuf,
    /// The socket that the command line or the environment named.
    pub named_socket: Option<PathBuf>,
    pub json: bool,
    /// For stdout.
    pub paint: Paint,
    errors: Paint,
    /// Columns that fit on stdout; `usize::MAX` when it is not a terminal.
    pub width: usize,
    pub terminal: bool,
}

impl Context {
    pub fn new(socket: Option<PathBuf>, json: bool, color: Color) -> Context {
        let paint = |auto: anstream::ColorChoice| {
            let on = match color {
                Color::Auto => auto != anstream::ColorChoice::Never,
                Color::Always => true,
                Color::Never => false,
            };
            Paint { on }
        };
        let terminal = io::stdout().is_terminal();
        Context {
            named_socket: socket.clone(),
            socket: socket.unwrap_or_else(find_socket),
            json,
            // `choice` knows NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM and terminals.
            paint: paint(anstream::AutoStream::choice(&io::stdout())),
            errors: paint(anstream::AutoStream::choice(&io::stderr())),
            width: if terminal { terminal_width() } else { usize::MAX },
            terminal,
        }
    }

    /// The agent may be of another version: what both know works, and a line says how to
    /// mend that.
    pub fn connect(&self) -> Result<Client, Failure> {
        let mut client = Client::connect(&self.socket, Duration::ZERO)?;
        match client.agent_version() {
            Ok(version) => {
                if let Some(line) = versions::differ(&version, env!("CARGO_PKG_VERSION")) {
                    self.say(&format!("{} {line}\n", self.errors.waiting("note:")));
                }
                Ok(client)
            }
            // An agent that cannot say who it is may answer all the same.
            Err(ClientError::Refused(error)) if error.reason != ReasonCode::NotAllowed => Ok(client),
            Err(error) => Err(error.into()),
        }
    }

    /// Text for stdout.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::nobody_reads(),
            _ => Failure::new(
                Exit::Failed,
                format!("cannot write to stdout: {error}"),
                "see where the output goes, and whether there is room",
            ),
        })
    }

    /// The document itself with `--json`, else its text.
    pub fn show<T: Serialize>(&self, document: &T, render: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if !self.json {
            return self.print(&render(document));
        }
        let text = serde_json::to_string_pretty(document).expect("BUG: a document is always JSON");
        self.print(&format!("{text}\n"))
    }

    /// The same for what does not name its own schema.
    pub fn show_as<T: Serialize>(
        &self,
        schema: &str,
        content: &T,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Document<'a, T> {
            schema: &'a str,
            #[serde(flatten)]
            content: &'a T,
        }
        self.show(&Document { schema, content }, |document| render(document.content))
    }

    /// Talk: for people, on stderr, and not with `--json`.
    pub fn say(&self, text: &str) {
        if !self.json {
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }

    pub fn complain(&self, failure: &Failure) {
        if failure.text.is_empty() {
            return;
        }
        let text = if self.json { format!("{}\n", failure.to_json()) } else { failure.render(&self.errors) };
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The user's own agent's socket, or the system's when only that one is there.
fn find_socket() -> PathBuf {
    let own = paths::socket(&super::validate::environment(), rustix::process::geteuid().is_root());
    let system = Path::new("/run/homing/agent.sock");
    if !own.exists() && system.exists() { system.to_owned() } else { own }
}

fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns >= 20).unwrap_or(80)
}

/// Colours by meaning. Nothing is said by colour alone.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    #[cfg(test)]
    pub fn plain() -> Paint {
        Paint { on: false }
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn good(&self, text: &str) -> String {
        self.styled(text, AnsiColor::Green.on_default())
    }

    pub fn waiting(&self, text: &str) -> String {
        self.styled(text, AnsiColor::Yellow.on_default())
    }

    pub fn busy(&self, text: &str) -> String {
        self.styled(text, AnsiColor::Cyan.on_default())
    }

    pub fn bad(&self, text: &str) -> String {
        self.styled(text, AnsiColor::Red.on_default().bold())
    }

    pub fn strong(&self, text: &str) -> String {
        self.styled(text, Style::new().bold())
    }

    pub fn dim(&self, text: &str) -> String {
        self.styled(text, Style::new().dimmed())
    }

    fn styled(&self, text: &str, style: Style) -> String {
        if self.on && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
