//! The command line: a file per command, each `run(args, context)`.
//!
//! Data goes to stdout, talk to stderr; `--json` makes every document one JSON object.
//! Nothing here asks a question, so that scripts never hang. Commands that are about a
//! running agent know it through `ipc::client` alone. How a command ends is an `Exit` or
//! a `Failure`, and `exit` is the one place that knows what numbers those are.

mod agent;
mod attach;
mod completions;
mod conflicts;
mod conformance;
mod context;
mod demo;
mod detach;
mod doctor;
mod examples;
mod exit;
mod explain;
mod failure;
mod history;
mod hub;
mod init;
mod interrupt;
mod log;
mod man;
mod metrics;
mod pause;
mod plan;
mod process;
mod queue;
mod service;
mod simulate;
mod status;
mod sync;
mod table;
mod telemetry;
mod test;
mod top;
mod validate;
mod verify;
mod versions;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use context::Context;
use exit::Exit;
use failure::Failure;

/// Keeps the SQLite databases of ordinary apps in step with a server.
#[derive(Parser)]
#[command(name = "homing", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 failed; 2 usage; 3 finished but not clean; 69 agent or hub not there; \
                        75 try later; 77 no permission; 78 bad configuration; 130 interrupted.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct Global {
    /// The agent's socket.
    #[arg(long, global = true, env = "HOMING_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Colour the output.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent in the foreground: what systemd and launchd start.
    Agent(agent::Args),
    /// Run the server, or look after its tokens and backups.
    Hub(hub::Args),
    /// Look at a database and write a config for it.
    Init(init::Args),
    /// Put capture into a replica's database again.
    Attach(attach::Args),
    /// Take every trace of Homing out of a replica's database.
    Detach(detach::Args),
    /// How every replica stands: in step, or why not.
    Status(status::Args),
    /// Sync now.
    Sync(sync::Args),
    /// Stop syncing until resumed; what apps write is kept.
    Pause(pause::Args),
    /// Go on after a pause.
    Resume(pause::Args),
    /// What is pending or set aside.
    Queue(queue::Args),
    /// The ledger of conflicts.
    Conflicts(conflicts::Args),
    /// Past cycles.
    History(history::Args),
    /// The life of one row.
    Explain(explain::Args),
    /// What the next cycle would send, in which order, and why.
    Plan(plan::Args),
    /// Compare a replica and its hub by hashes.
    Verify(verify::Args),
    /// A live view: replicas, throughput, queue, conflicts, log.
    Top(top::Args),
    /// Counters for Prometheus.
    Metrics(metrics::Args),
    /// What would be sent about how syncing goes; off until agreed to.
    Telemetry(telemetry::Args),
    /// Find what is wrong with the set-up, and the command that mends it.
    Doctor(doctor::Args),
    /// Run the agent as a service of systemd or launchd.
    Service(service::Args),
    /// Check a config file.
    Validate(validate::Args),
    /// Try the rule cases written beside a config.
    Test(test::Args),
    /// Test somebody's sync endpoint, with a scratch account.
    Conformance(conformance::Args),
    /// Show the whole of it on sample data, in under a minute.
    Demo(demo::Args),
    /// Run the simulator.
    Simulate(simulate::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Print a manual page.
    Man(man::Args),
}

/// Runs one command line, the program's name first.
pub fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let parsed = command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(told) => {
            let exit = if told.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = told.print(); // nobody may be reading
            return exit.into();
        }
    };
    let context = Context::new(cli.global.socket, cli.global.json, cli.global.color);
    match dispatch(cli.command, &context) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            context.complain(&failure);
            failure.exit.into()
        }
    }
}

/// The one definition: what is parsed, completed, and made into pages.
fn command() -> clap::Command {
    examples::put_under(Cli::command())
}

fn dispatch(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Agent(args) => agent::run(args, context),
        Command::Hub(args) => hub::run(args, context),
        Command::Init(args) => init::run(args, context),
        Command::Attach(args) => attach::run(args, context),
        Command::Detach(args) => detach::run(args, context),
        Command::Status(args) => status::run(args, context),
        Command::Sync(args) => sync::run(args, context),
        Command::Pause(args) => pause::pause(args, context),
        Command::Resume(args) => pause::resume(args, context),
        Command::Queue(args) => queue::run(args, context),
        Command::Conflicts(args) => conflicts::run(args, context),
        Command::History(args) => history::run(args, context),
        Command::Explain(args) => explain::run(args, context),
        Command::Plan(args) => plan::run(args, context),
        Command::Verify(args) => verify::run(args, context),
        Command::Top(args) => top::run(args, context),
        Command::Metrics(args) => metrics::run(args, context),
        Command::Telemetry(args) => telemetry::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Service(args) => service::run(args, context),
        Command::Validate(args) => validate::run(args, context),
        Command::Test(args) => test::run(args, context),
        Command::Conformance(args) => conformance::run(args, context),
        Command::Demo(args) => demo::run(args, context),
        Command::Simulate(args) => simulate::run(args, context),
        Command::Completions(args) => completions::run(args, context),
        Command::Man(args) => man::run(args, context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    /// The contract's commands of this version, and none of the later ones.
    #[test]
    fn the_commands_are_those_of_the_contract() {
        let command = Cli::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(
            names,
            [
                "agent",
                "hub",
                "init",
                "attach",
                "detach",
                "status",
                "sync",
                "pause",
                "resume",
                "queue",
                "conflicts",
                "history",
                "explain",
                "plan",
                "verify",
                "top",
                "metrics",
                "telemetry",
                "doctor",
                "service",
                "validate",
                "test",
                "conformance",
                "demo",
                "simulate",
                "completions",
                "man",
            ]
        );
        for line in ["homing burn", "homing", "homing sync --timeout soon", "homing queue discard notes"] {
            let Err(told) = Cli::try_parse_from(line.split(' ')) else { panic!("{line} parses") };
            assert!(told.use_stderr() || line == "homing", "{line}");
        }
    }
}
