//! `homing attach`: puts capture into a replica's database, after a `detach`.

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::pause;
use crate::ipc::answer::{self, Replicas};
use crate::ipc::method;

#[derive(clap::Args)]
pub struct Args {
    /// The replica; all that are detached when left out.
    name: Option<String>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let mut client = context.connect()?;
    let names = match args.name {
        Some(name) => vec![name],
        None => {
            let listed: Replicas = client.call(method::ReplicaList {})?;
            listed.replicas.into_iter().filter(|replica| !replica.attached).map(|replica| replica.name).collect()
        }
    };
    let mut attached = Replicas { schema: answer::REPLICAS.to_owned(), replicas: Vec::new() };
    for replica in names {
        attached.replicas.extend(client.call::<Replicas>(method::ReplicaAttach { replica })?.replicas);
    }
    context.show(&attached, |attached| match attached.replicas.is_empty() {
        true => "nothing to do: every replica is attached\n".to_owned(),
        false => pause::render(attached, "attached; what apps write from now on is captured"),
    })?;
    Ok(Exit::Done)
}
