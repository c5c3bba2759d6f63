//! `homing detach`: takes every trace of Homing out of a replica's database.
//!
//! Refused while changes are unsent, with exit code 3, unless told to discard them.

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::pause;
use crate::ipc::answer::Replicas;
use crate::ipc::method;

#[derive(clap::Args)]
pub struct Args {
    /// The replica.
    name: String,
    /// Detach although changes are unsent; they are not sent any more.
    #[arg(long)]
    discard: bool,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let request = method::ReplicaDetach { replica: args.name, discard: args.discard };
    let detached: Replicas = context.connect()?.call(request)?;
    context.show(&detached, |detached| {
        pause::render(detached, "detached; its rows stay as they are, and nothing of Homing is left in the file")
    })?;
    Ok(Exit::Done)
}
