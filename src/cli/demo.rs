//! `homing demo`: the whole of it on sample data, in under a minute.

use std::path::PathBuf;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// Keep everything in this directory for a look.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub fn run(args: Args, _context: &Context) -> Result<Exit, Failure> {
    let _ = args.keep;
    Err(Failure::new(Exit::Failed, "this build has no demo", ""))
}
