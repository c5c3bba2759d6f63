//! `homing service`: puts the agent under the machine's own supervisor, and takes it away
//! without a trace.
//!
//! What is to be done is a `Plan` first, files and commands, which `--dry-run` shows; then
//! it is carried out. Only files of its own names are written or removed, the config is
//! checked before anything is, and databases are never touched.

pub mod launchd;
pub mod systemd;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::validate;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start the agent now and at each login (or at each boot, with --system).
    Install(Install),
    /// Stop it, and remove what install wrote. Databases and config stay.
    Uninstall(Whose),
    /// Whether it is installed and runs, as its supervisor says.
    Status(Whose),
}

#[derive(clap::Args)]
struct Install {
    #[command(flatten)]
    whose: Whose,
    /// The config file; the one found where configs are kept when left out.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show what would be written and run, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub struct Whose {
    /// Your own agent (the default).
    #[arg(long, conflicts_with = "system")]
    pub user: bool,
    /// An agent of the machine, for the account that owns the databases.
    #[arg(long)]
    pub system: bool,
    /// With --system: that account; who called sudo when left out.
    #[arg(long, value_name = "ACCOUNT", requires = "system")]
    pub account: Option<String>,
    /// With --system: the hub instead of an agent.
    #[arg(long, requires = "system", conflicts_with = "account")]
    pub hub: bool,
}

/// What is looked after, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    Own,
    Account(String),
    Hub,
}

/// What is to be done: in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Run first; may fail where there is nothing to stop.
    pub before: Vec<Vec<String>>,
    pub write: Vec<(PathBuf, String)>,
    pub remove: Vec<PathBuf>,
    /// Run last; must go well.
    pub after: Vec<Vec<String>>,
}

/// How a service stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    pub installed: bool,
    /// What was written is what this version would write.
    pub current: bool,
    pub enabled: bool,
    pub running: bool,
    /// The supervisor's own words.
    pub words: String,
    pub restarts: u64,
    pub notes: Vec<String>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        Verb::Install(args) => install(args, context),
        Verb::Uninstall(whose) => uninstall(&whose, context),
        Verb::Status(whose) => status(&whose, context),
    }
}

fn install(args: Install, context: &Context) -> Result<Exit, Failure> {
    let service = service(&args.whose)?;
    let place = Place::here()?;
    let config = match &service {
        Service::Hub => None,
        Service::Own => check_config(args.config.as_deref())?,
        Service::Account(name) => {
            let file = args.config.clone().unwrap_or_else(|| PathBuf::from(format!("/etc/homing/{name}.toml")));
            check_config(Some(&file))?
        }
    };
    let plan = place.install(&service, config.as_deref())?;
    if args.dry_run {
        context.show(&plan.to_json(), |_| plan.to_text())?;
        return Ok(Exit::Done);
    }
    plan.carry_out()?;
    let document = json!({"schema": "homing.service/1", "installed": true, "files": plan.files()});
    context.show(&document, |_| {
        let files: Vec<String> = plan.write.iter().map(|(path, _)| format!("wrote {}\n", path.display())).collect();
        format!("{}installed and started; `homing service status` tells how it is\n", files.concat())
    })?;
    if service == Service::Own
        && let Some(note) = place.stays_after_logout()
    {
        context.say(&format!("{note}\n"));
    }
    Ok(Exit::Done)
}

fn uninstall(whose: &Whose, context: &Context) -> Result<Exit, Failure> {
    let service = service(whose)?;
    let place = Place::here()?;
    let plan = place.uninstall(&service);
    // Nothing to remove: the template stays for other accounts, and this one ends.
    let there = plan.remove.is_empty() || plan.remove.iter().any(|path| path.exists());
    if there {
        plan.carry_out()?;
    }
    let document = json!({"schema": "homing.service/1", "installed": false, "removed": plan.remove});
    context.show(&document, |_| match there {
        true => "stopped and removed; databases and config are as they were\n".to_owned(),
        false => "nothing to do: it is not installed\n".to_owned(),
    })?;
    if there && service != Service::Hub {
        context.say("what apps write is still captured; `homing detach` takes that out, with an agent that runs\n");
    }
    Ok(Exit::Done)
}

fn status(whose: &Whose, context: &Context) -> Result<Exit, Failure> {
    let standing = Place::here()?.standing(&service(whose)?)?;
    let document = json!({
        "schema": "homing.service/1",
        "installed": standing.installed,
        "current": standing.current,
        "enabled": standing.enabled,
        "running": standing.running,
        "status": standing.words,
        "restarts": standing.restarts,
        "notes": standing.notes,
    });
    context.show(&document, |_| {
        let paint = &context.paint;
        let mark = if standing.running { paint.good("✓") } else { paint.bad("✗") };
        let mut line = match (standing.installed, standing.running) {
            (false, false) => "not installed".to_owned(),
            (_, true) => "running".to_owned(),
            (true, false) => "installed, and does not run".to_owned(),
        };
        if !standing.words.is_empty() {
            line.push_str(&format!(" · {}", standing.words));
        }
        let notes: Vec<String> = standing.notes.iter().map(|note| format!("    {note}\n")).collect();
        format!("{mark} {line}\n{}", notes.concat())
    })?;
    Ok(if standing.running { Exit::Done } else { Exit::Unavailable })
}

/// How the own agent's service stands; `None` where nobody can tell.
pub fn own_standing() -> Option<Standing> {
    Place::here().ok()?.standing(&Service::Own).ok()
}

fn service(whose: &Whose) -> Result<Service, Failure> {
    if !whose.system {
        return Ok(Service::Own);
    }
    if whose.hub {
        return Ok(Service::Hub);
    }
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty() && name != "root");
    let Some(name) = whose.account.clone().or(sudo) else {
        return Err(Failure::new(
            Exit::Usage,
            "whose databases the system's agent is to keep was not said",
            "name the account that owns them: --system --account NAME",
        ));
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(['-', '.']) {
        return Err(Failure::new(
            Exit::Usage,
            format!("{name:?} is not the name of an account"),
            "`getent passwd` lists those there are",
        ));
    }
    Ok(Service::Account(name))
}

/// A service that starts only to refuse its config would be no favour. Answers with the
/// file's whole path, where there is a file.
fn check_config(file: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let config = validate::load(file, &validate::environment())?;
    Ok(config.file.filter(|_| file.is_some()))
}

/// What the supervisor of this machine needs to know of it.
pub struct Place {
    pub program: PathBuf,
    pub home: PathBuf,
    pub config_home: PathBuf,
    pub uid: u32,
}

impl Place {
    fn here() -> Result<Place, Failure> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let unknown =
            |what: &str| Failure::new(Exit::Failed, format!("{what} is not known"), "set HOME, and try again");
        let home = set("HOME").ok_or_else(|| unknown("the home directory"))?;
        let program = std::env::current_exe().map_err(|_| unknown("where this program lies"))?;
        let config_home = set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        Ok(Place { program, config_home, home, uid: rustix::process::geteuid().as_raw() })
    }

    fn install(&self, service: &Service, config: Option<&Path>) -> Result<Plan, Failure> {
        if cfg!(target_os = "macos") {
            launchd::install(self, service, config)
        } else {
            Ok(systemd::install(self, service, config))
        }
    }

    fn uninstall(&self, service: &Service) -> Plan {
        if cfg!(target_os = "macos") { launchd::uninstall(self, service) } else { systemd::uninstall(self, service) }
    }

    fn standing(&self, service: &Service) -> Result<Standing, Failure> {
        if cfg!(target_os = "macos") { launchd::standing(self, service) } else { systemd::standing(self, service) }
    }

    fn stays_after_logout(&self) -> Option<String> {
        if cfg!(target_os = "macos") { None } else { systemd::stays_after_logout() }
    }
}

impl Plan {
    fn carry_out(&self) -> Result<(), Failure> {
        for words in &self.before {
            let _ = output(words);
        }
        for (path, text) in &self.write {
            let folder = path.parent().unwrap_or(Path::new("/"));
            let written =
                std::fs::create_dir_all(folder).and_then(|()| std::fs::File::create(path)?.write_all(text.as_bytes()));
            written.map_err(|error| cannot("written", path, &error))?;
        }
        for path in &self.remove {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(cannot("removed", path, &error));
                }
                _ => {}
            }
        }
        for words in &self.after {
            let ran = output(words)?;
            if !ran.status.success() {
                let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
                let next = "look at what it says; what was written stays, and the same command can be given again";
                return Err(Failure::new(Exit::Failed, format!("`{}` failed: {said}", words.join(" ")), next));
            }
        }
        Ok(())
    }

    fn files(&self) -> Vec<String> {
        self.write.iter().map(|(path, _)| path.display().to_string()).collect()
    }

    fn to_json(&self) -> Json {
        let write: Vec<Json> = self.write.iter().map(|(path, text)| json!({"path": path, "text": text})).collect();
        let commands: Vec<&Vec<String>> = self.before.iter().chain(&self.after).collect();
        json!({"schema": "homing.service_plan/1", "write": write, "run": commands})
    }

    fn to_text(&self) -> String {
        let files = self.write.iter().map(|(path, text)| format!("# {}\n{text}\n", path.display()));
        let commands = self.before.iter().chain(&self.after).map(|words| format!("$ {}\n", words.join(" ")));
        files.chain(commands).collect()
    }
}

/// Runs a supervisor's tool to its end.
fn output(words: &[String]) -> Result<std::process::Output, Failure> {
    Command::new(&words[0]).args(&words[1..]).output().map_err(|error| {
        let text = format!("`{}` cannot be run: {error}", words[0]);
        let next = "start `homing agent` by whatever starts programs on this machine";
        Failure::new(Exit::Unavailable, text, next)
    })
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(ToOwned::to_owned).collect()
}

fn cannot(done: &str, path: &Path, error: &std::io::Error) -> Failure {
    let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
    let (exit, next) = match denied {
        true => (Exit::NoPermission, "run it with sudo, or without --system for yourself alone"),
        false => (Exit::Failed, "make room or correct the folder, and try again"),
    };
    Failure::new(exit, format!("{} cannot be {done}: {error}", path.display()), next)
}
