//! `homing telemetry`: what would be sent about how syncing goes, and whether it may be.
//!
//! Off until a person says `on`. `show` prints every record that is kept, as it would be
//! sent and nothing else; `off` removes them before it returns.

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::words;
use crate::ipc::answer::Telemetry;
use crate::ipc::method;
use crate::model::text::printable;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print exactly what would be sent.
    Show,
    /// Agree to it.
    On,
    /// Take that back, and remove what was kept.
    Off,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let mut agent = context.connect()?;
    let telemetry: Telemetry = match args.command.unwrap_or(Command::Show) {
        Command::Show => agent.call(method::TelemetryGet {})?,
        Command::On => agent.call(method::TelemetryOn {})?,
        Command::Off => agent.call(method::TelemetryOff {})?,
    };
    context.show(&telemetry, render)?;
    Ok(Exit::Done)
}

fn render(telemetry: &Telemetry) -> String {
    if !telemetry.consent {
        return "off: nothing is kept and nothing is sent; `homing telemetry on` agrees to it\n".to_owned();
    }
    let place = match &telemetry.url {
        Some(url) => format!("once a day to {}", printable(url)),
        None => "nowhere: the config has no `telemetry_url`".to_owned(),
    };
    let count = words::count(telemetry.events.len() as u64, "record");
    let mut out = format!("on: sent {place}; {count} kept, for 90 days at most; `homing telemetry off` removes them\n");
    for event in &telemetry.events {
        let line = serde_json::to_string(event).expect("BUG: a record is JSON");
        out.push_str(&format!("{}\n", printable(&line)));
    }
    out
}
