//! `homing validate`: checks a config file; line, column, "did you mean".

use std::path::PathBuf;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: Args, _context: &Context) -> Result<Exit, Failure> {
    let _ = args.config;
    Err(Failure::new(Exit::Failed, "this build cannot check a config", ""))
}
