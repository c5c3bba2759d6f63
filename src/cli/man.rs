//! `homing man`: the manual page of `homing`, or of one of its commands.

use clap::CommandFactory;

use super::Cli;
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// A command, such as `queue list`; all of Homing when left out.
    command: Vec<String>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let mut whole = Cli::command();
    whole.build(); // so that a command's page carries its full name
    let mut command = &whole;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no command `{name}`"), "`homing help` lists them")
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write the page: {error}"), ""))?;
    context.print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
