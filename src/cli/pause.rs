//! `homing pause` and `homing resume`.

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::ipc::answer::Replicas;
use crate::ipc::method;
use crate::model::text::printable;

#[derive(clap::Args)]
pub struct Args {
    /// Only this replica.
    name: Option<String>,
}

pub fn pause(args: Args, context: &Context) -> Result<Exit, Failure> {
    let paused: Replicas = context.connect()?.call(method::SyncPause { replica: args.name })?;
    context.show(&paused, |paused| render(paused, "paused; what apps write is kept until `homing resume`"))?;
    Ok(Exit::Done)
}

pub fn resume(args: Args, context: &Context) -> Result<Exit, Failure> {
    let resumed: Replicas = context.connect()?.call(method::SyncResume { replica: args.name })?;
    context.show(&resumed, |resumed| render(resumed, "resumed"))?;
    Ok(Exit::Done)
}

/// A line a replica.
pub fn render(replicas: &Replicas, what: &str) -> String {
    if replicas.replicas.is_empty() {
        return "no replica is configured\n".to_owned();
    }
    replicas.replicas.iter().map(|replica| format!("{}: {what}\n", printable(&replica.name))).collect()
}
