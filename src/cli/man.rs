//! `homing man`: the manual page of `homing`, or of one of its commands; or all of them as
//! files, for a package.

use std::path::{Path, PathBuf};

use clap::Command;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;

#[derive(clap::Args)]
pub struct Args {
    /// A command, such as `queue list`; all of Homing when left out.
    command: Vec<String>,
    /// Write every page into this directory, as homing.1, homing-queue-list.1 and so on.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let mut whole = super::command();
    whole.build(); // so that a command's page carries its full name
    if let Some(folder) = args.output {
        std::fs::create_dir_all(&folder).map_err(|error| cannot(&folder, &error))?;
        let pages = write(&whole, "homing", &folder)?;
        context.say(&format!("wrote {pages} pages to {}\n", folder.display()));
        return Ok(Exit::Done);
    }
    let mut command = &whole;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no command `{name}`"), "`homing help` lists them")
        })?;
    }
    context.print(&String::from_utf8_lossy(&page(command)?))?;
    Ok(Exit::Done)
}

/// The pages of a command and of those within it; how many.
fn write(command: &Command, name: &str, folder: &Path) -> Result<usize, Failure> {
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, page(command)?).map_err(|error| cannot(&file, &error))?;
    let mut pages = 1;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        pages += write(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(pages)
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write the page: {error}"), "make room, or name another folder")
    })?;
    Ok(page)
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    let text = format!("{} cannot be written: {error}", path.display());
    Failure::new(Exit::Failed, text, "name a directory that this user may write")
}
