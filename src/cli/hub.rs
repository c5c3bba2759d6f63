//! `homing hub`: the server, its tokens and its backups.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::{log, words};
use crate::hub::token::Grant;
use crate::hub::{self, HubError, Options, Settings, Tls};

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
    /// A PEM file with the certificate, for https.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's key.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
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
    /// What the account is; `reader` may not write.
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// The token may not bring tables or columns that the hub does not have.
    #[arg(long)]
    pub no_tables: bool,
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

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        None => serve(args.serve),
        Some(Command::Token(args)) => token(args, context),
        Some(Command::Revoke(args)) => revoke(args, context),
        Some(Command::Backup(args)) => backup(args, context),
    }
}

fn serve(args: Serve) -> Result<Exit, Failure> {
    let settings = match &args.config {
        Some(file) => Settings::read(file).map_err(|error| failed(error, Exit::BadConfig))?,
        None => Settings::default(),
    };
    let Some(data) = args.data.or_else(|| settings.data.clone()) else {
        return Err(Failure::new(
            Exit::BadConfig,
            "no place to keep the hub's data was named",
            "run `homing hub --data DIR`, or set `data` in the hub's config",
        ));
    };
    let listen = args.listen.map(|address| address.to_string()).or_else(|| settings.listen.clone());
    let certificate = args.tls_cert.or_else(|| settings.tls_certificate.clone());
    let key = args.tls_key.or_else(|| settings.tls_key.clone());
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        _ => {
            let next = "name both with --tls-cert and --tls-key, or neither";
            return Err(Failure::new(
                Exit::BadConfig,
                "a certificate without its key, or a key without its certificate",
                next,
            ));
        }
    };
    log::start();
    let options = Options { data, listen: listen.unwrap_or_else(|| Options::LISTEN.to_owned()), tls, settings };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("no threads could be started: {error}"),
            "look at what the system allows: `ulimit -a`",
        )
    })?;
    runtime.block_on(hub::serve(options)).map_err(|error| failed(error, Exit::Unavailable))?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(Exit::Done)
}

fn token(args: Token, context: &Context) -> Result<Exit, Failure> {
    let grant = Grant {
        account: args.account,
        scopes: args.scope,
        role: args.role.unwrap_or_default(),
        ttl_seconds: i64::try_from(args.ttl.as_secs()).unwrap_or(i64::MAX / 2),
        may_bring_tables: !args.no_tables,
    };
    let token = hub::token::issue(&args.data, &grant).map_err(|error| failed(error, Exit::Failed))?;
    let document = serde_json::json!({"schema": "homing.token/1", "account": grant.account, "scopes": grant.scopes, "token": token});
    context.show(&document, |_| format!("{token}\n"))?;
    Ok(Exit::Done)
}

fn revoke(args: Revoke, context: &Context) -> Result<Exit, Failure> {
    let what = match (args.token, args.account) {
        (Some(token), _) if token.contains('.') => hub::Revoke::Token(token),
        (Some(id), _) => hub::Revoke::Id(id),
        (None, Some(account)) => hub::Revoke::Account(account),
        (None, None) => {
            return Err(Failure::new(Exit::Usage, "nothing to revoke was named", "name a token, or --account NAME"));
        }
    };
    hub::revoke(&args.data, &what).map_err(|error| failed(error, Exit::Failed))?;
    let document = serde_json::json!({"schema": "homing.revocation/1", "revoked": true});
    context.show(&document, |_| "revoked; a running hub honours it within a minute\n".to_owned())?;
    Ok(Exit::Done)
}

fn backup(args: Backup, context: &Context) -> Result<Exit, Failure> {
    let copied = hub::backup(&args.data, &args.to).map_err(|error| failed(error, Exit::Failed))?;
    let document = serde_json::json!({"schema": "homing.backup/1", "scopes": copied.scopes, "bytes": copied.bytes});
    context.show(&document, |_| {
        format!("copied {} scopes, {}, to {}\n", copied.scopes, words::size(copied.bytes), args.to.display())
    })?;
    Ok(Exit::Done)
}

fn failed(error: HubError, exit: Exit) -> Failure {
    match error {
        HubError::SetUp { what, next } => Failure::new(exit, what, next),
        other => {
            let (_, refusal) = other.answer();
            Failure::new(exit, refusal.error.message, refusal.error.hint)
        }
    }
}
