//! `homing simulate`: the simulator; a failure prints the seed that replays it.

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// How many seeds to run.
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// The first seed; alone, the only one.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

pub fn run(args: Args, _context: &Context) -> Result<Exit, Failure> {
    let _ = (args.seeds, args.seed);
    Err(Failure::new(Exit::Failed, "this build has no simulator", ""))
}
