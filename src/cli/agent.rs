//! `homing agent`: the agent in the foreground; what systemd and launchd start.

use std::path::PathBuf;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::{log, validate};
use crate::agent::{self, Options, StartErrorKind};
use crate::config;

#[derive(clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let environment = validate::environment();
    let config = validate::load(args.config.as_deref(), &environment)?;
    log::start();
    // The file that was found at the start, also when another would be found by now.
    let (file, known) = (config.file.clone(), environment.clone());
    let reread = Box::new(move || config::load(file.as_deref(), &known).map_err(|error| error.to_string()));
    let options = Options { config, reread, environment, socket: context.named_socket.clone() };
    match agent::run(options) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            let exit = match error.kind {
                StartErrorKind::Config => Exit::BadConfig,
                StartErrorKind::Taken => Exit::Failed,
                StartErrorKind::Permission => Exit::NoPermission,
                StartErrorKind::System => Exit::Unavailable,
            };
            Err(Failure::new(exit, error.text, error.next))
        }
    }
}
