//! `homing agent`: the agent in the foreground; what systemd and launchd start.

use std::path::PathBuf;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::{log, validate};
use crate::agent::{self, Options, StartErrorKind};

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
    let options = Options { config, environment, socket: context.named_socket.clone() };
    match agent::run(options) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            let exit = match error.kind {
                StartErrorKind::Config => Exit::BadConfig,
                StartErrorKind::Taken => Exit::Failed,
                StartErrorKind::System => Exit::Unavailable,
            };
            Err(Failure::new(exit, error.text, error.next))
        }
    }
}
