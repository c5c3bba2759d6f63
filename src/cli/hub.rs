//! `homing hub`: the server, its tokens and its backups.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::words;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Args)]
pub struct Serve {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the hub keeps its databases; with this alone it needs no set-up.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Print a token for one account.
    Token(Token),
    /// End a token, or all of an account's.
    Revoke(Revoke),
    /// Copy a running hub.
    Backup(Backup),
}

#[derive(clap::Args)]
pub struct Token {
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Whose token it is.
    #[arg(long, value_name = "NAME")]
    pub account: String,
    /// A scope it may reach beside the account's own; may be given again.
    #[arg(long, value_name = "TEAM")]
    pub scope: Vec<String>,
    /// What the account is, for rules that ask; may be given again.
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<String>,
    /// How long it is good for, such as 30d.
    #[arg(long, value_parser = words::parse_duration, default_value = "30d")]
    pub ttl: Duration,
}

#[derive(clap::Args)]
pub struct Revoke {
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The token, or its id.
    #[arg(required_unless_present = "account")]
    pub token: Option<String>,
    /// All of this account's tokens.
    #[arg(long, value_name = "NAME", conflicts_with = "token")]
    pub account: Option<String>,
}

#[derive(clap::Args)]
pub struct Backup {
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// An empty or new directory for the copy.
    pub to: PathBuf,
}

pub fn run(args: Args, _context: &Context) -> Result<Exit, Failure> {
    match args.command {
        None => serve(args.serve),
        Some(Command::Token(args)) => token(args),
        Some(Command::Revoke(args)) => revoke(args),
        Some(Command::Backup(args)) => backup(args),
    }
}

fn serve(args: Serve) -> Result<Exit, Failure> {
    let _ = (args.config, args.data, args.listen);
    Err(no_hub())
}

fn token(args: Token) -> Result<Exit, Failure> {
    let _ = (args.data, args.account, args.scope, args.role, args.ttl);
    Err(no_hub())
}

fn revoke(args: Revoke) -> Result<Exit, Failure> {
    let _ = (args.data, args.token, args.account);
    Err(no_hub())
}

fn backup(args: Backup) -> Result<Exit, Failure> {
    let _ = (args.data, args.to);
    Err(no_hub())
}

fn no_hub() -> Failure {
    Failure::new(Exit::Failed, "this build has no hub", "")
}
