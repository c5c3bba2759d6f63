//! The agent: does it run, is it this version, does it work by this config, and what does
//! it say itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{Report, files};
use crate::agent::CONFIG_READ;
use crate::agent::network::is_this_machine;
use crate::cli::context::Context;
use crate::cli::process::Process;
use crate::cli::service::{self, Standing};
use crate::config::Config;
use crate::ipc::answer::Replicas;
use crate::ipc::{Client, ClientError, method};
use crate::model::settings::Replica;
use crate::model::status::{ReplicaStatus, State, Status};

/// An agent that is well answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers with how the replicas stand, where an agent says so.
pub fn examine(
    config: &Config,
    environment: &[(String, String)],
    context: &Context,
    report: &mut Report,
) -> Option<Status> {
    let socket = context.named_socket.clone().unwrap_or_else(|| files::socket(config, environment));
    let service = service::own_standing();
    if let Some(standing) = &service {
        supervised(standing, report);
    }
    let mut client = match Client::connect(&socket, Duration::ZERO) {
        Ok(client) => client,
        Err(error) => {
            no_agent(&error, &socket, config, environment, service.as_ref(), report);
            return None;
        }
    };
    let process = Process::of(client.agent_pid());
    let status: Status = match client.call_within(method::ReplicaStatus { replica: None }, PATIENCE) {
        Ok(status) => status,
        Err(ClientError::TimedOut { .. }) if process.is_some() => {
            let (why, mend) = process.as_ref().map(Process::silence).unwrap_or_default();
            report.wrong("agent", None, format!("the agent at {} does not answer: {why}", socket.display()), mend);
            return None;
        }
        Err(error) => {
            let evidence = format!("the agent at {} does not answer as it should: {error}", socket.display());
            report.wrong("agent", None, evidence, restart(service.as_ref()));
            return None;
        }
    };
    report.well("agent", None, format!("the agent at {} answers", socket.display()));
    match status.version == env!("CARGO_PKG_VERSION") {
        true => report.well("agent_version", None, format!("agent and command are of version {}", status.version)),
        false => report.warning(
            "agent_version",
            None,
            format!("the agent is version {}, this command {}", status.version, env!("CARGO_PKG_VERSION")),
            restart(service.as_ref()),
        ),
    }
    if let Some(process) = process {
        look_at(&process, config, service.as_ref(), report);
    }
    if let Ok(served) = client.call::<Replicas>(method::ReplicaList {}) {
        config_in_force(config, &served, report);
        config_is_read(config, environment, report);
    }
    Some(status)
}

/// The agent's process beside what was configured, and beside this shell.
fn look_at(process: &Process, config: &Config, service: Option<&Standing>, report: &mut Report) {
    match process.replaced() {
        Some(program) => {
            let evidence = format!("{program} was replaced since the agent was started: it goes on as it was");
            report.warning("agent_program", None, evidence, restart(service));
        }
        None => report.well("agent_program", None, "the agent's program is the one on the disk"),
    }
    if let Some((open, most)) = process.files() {
        match open * 5 > most * 4 {
            true => report.warning(
                "agent_files",
                None,
                format!("the agent has {open} files open and may have {most}"),
                "give it more: `LimitNOFILE=` in its unit, or `ulimit -n 4096` before it is started",
            ),
            false => report.well("agent_files", None, format!("the agent may open {} more files", most - open)),
        }
    }
    let direct = |replica: &Replica| replica.remote.proxy.is_none() && !is_this_machine(&replica.remote.url);
    let away = config.replicas.iter().any(direct);
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].into_iter().filter(|_| away) {
        let set = |read: &dyn Fn(&str) -> Option<String>| {
            read(name).or_else(|| read(&name.to_lowercase())).filter(|value| !value.is_empty())
        };
        let (here, there) = (set(&|name| std::env::var(name).ok()), set(&|name| process.variable(name)));
        if here != there {
            // A proxy's address may hold a password: it is not shown.
            let (has, lacks) = if here.is_some() { ("here", "for the agent") } else { ("for the agent", "here") };
            let evidence = match (&here, &there) {
                (Some(_), Some(_)) => format!("`{name}` is another here than for the agent"),
                _ => format!("`{name}` is set {has} and not {lacks}"),
            };
            let mend =
                "say it in the config, with `remote.proxy`; or `systemctl --user edit homing` sets it for the agent";
            report.warning("agent_proxy", None, evidence, mend);
        }
    }
}

/// What the agent itself says of each replica, where nothing above has said it.
pub fn examine_standing(status: &Status, report: &mut Report) {
    for replica in &status.replicas {
        let name = Some(replica.name.as_str());
        let known = report.is_wrong(&replica.name);
        match (&replica.reason, replica.state) {
            (_, State::Paused) => report.warning(
                "paused",
                name,
                "syncing was paused by a person",
                format!("`homing resume {}`", replica.name),
            ),
            (_, State::Detached) => report.warning(
                "detached",
                name,
                "the replica was detached by a person",
                format!("`homing attach {}`", replica.name),
            ),
            (Some(reason), State::Halted | State::SignedOut | State::Offline | State::BackingOff) if !known => {
                report.wrong("standing", name, reason.text.clone(), or_status(&reason.next));
            }
            _ if !known => report.well("standing", name, "the agent has nothing to complain of"),
            _ => {}
        }
        notes(replica, report);
    }
}

fn notes(replica: &ReplicaStatus, report: &mut Report) {
    let told = replica.notes.iter().any(|note| note.contains("clock"));
    if let (Some(skew), false) = (replica.link.skew_ms, told) {
        let evidence = format!("this device's clock and the remote's are {} ms apart", skew.abs());
        report.well("clock_offset", Some(&replica.name), evidence);
    }
    for note in replica.notes.iter().filter(|note| note.contains("clock")) {
        let mend = "set the clocks of both: `timedatectl set-ntp true`";
        report.warning("clock_offset", Some(&replica.name), note.clone(), mend);
    }
}

fn or_status(next: &str) -> String {
    if next.is_empty() { "`homing status` says more".to_owned() } else { next.to_owned() }
}

fn supervised(standing: &Standing, report: &mut Report) {
    if !standing.installed {
        return;
    }
    match standing.current {
        true => report.well("service", None, "the service's unit is this program's"),
        false => report.warning(
            "service",
            None,
            "the service was installed for another program or version",
            "`homing service install` renews it",
        ),
    }
    if !standing.enabled {
        let evidence = "the service does not start by itself";
        report.warning("service_enabled", None, evidence, "`homing service install` enables it");
    }
    if standing.restarts > 3 {
        let evidence = format!("the service was started anew {} times", standing.restarts);
        report.warning("service_restarts", None, evidence, "`journalctl --user -u homing` has its last words");
    }
}

fn no_agent(
    error: &ClientError,
    socket: &Path,
    config: &Config,
    environment: &[(String, String)],
    service: Option<&Standing>,
    report: &mut Report,
) {
    let elsewhere = files::state_dir(config, environment).is_some_and(|folder| is_locked(&folder));
    if elsewhere {
        let evidence = format!("an agent runs with this state directory, and does not listen on {}", socket.display());
        let mend = "name its socket with --socket or HOMING_SOCKET, or stop it and start it with this config";
        return report.wrong("agent", None, evidence, mend);
    }
    let stale = socket.symlink_metadata().is_ok();
    let evidence = match (error, stale) {
        (ClientError::NotAllowed { .. }, _) => format!("the agent at {} is not for this user", socket.display()),
        (_, true) => format!("nobody listens on {}: the agent that made it is gone", socket.display()),
        _ => format!("no agent listens on {}", socket.display()),
    };
    report.wrong("agent", None, evidence, restart(service));
}

fn restart(service: Option<&Standing>) -> String {
    match service {
        Some(standing) if standing.installed && cfg!(target_os = "linux") => {
            "`systemctl --user restart homing`".to_owned()
        }
        _ => "`homing service install`, or `homing agent` in a terminal".to_owned(),
    }
}

/// True while an agent holds the lock of this state directory.
fn is_locked(folder: &Path) -> bool {
    let Ok(file) = std::fs::File::open(folder.join("agent.lock")) else { return false };
    // Shared: two doctors do not take each other for an agent.
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

/// The config's file against the moment the agent last took it in.
fn config_is_read(config: &Config, environment: &[(String, String)], report: &mut Report) {
    let Some(folder) = files::state_dir(config, environment) else { return };
    let read = folder.join(CONFIG_READ);
    let same = std::fs::read_to_string(&read).ok().map(PathBuf::from) == config.file;
    let changed_at = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let times = config.file.as_deref().and_then(changed_at).zip(changed_at(&read));
    match times {
        Some((changed, taken_in)) if same && changed > taken_in => report.warning(
            "config_read",
            None,
            "the config was changed after the agent last took it in",
            "`homing validate`, then `systemctl --user reload homing`, or start the agent anew",
        ),
        Some(_) if same => report.well("config_read", None, "the agent has taken in the config as it is"),
        _ => {}
    }
}

/// The config on disk against what the agent works by.
fn config_in_force(config: &Config, served: &Replicas, report: &mut Report) {
    let wanted: Vec<_> = config
        .replicas
        .iter()
        .map(|replica| json!([replica.name, replica.database.display().to_string(), replica.remote.url]))
        .collect();
    let have: Vec<_> =
        served.replicas.iter().map(|replica| json!([replica.name, replica.database, replica.remote])).collect();
    let differs =
        wanted.iter().any(|replica| !have.contains(replica)) || have.iter().any(|replica| !wanted.contains(replica));
    match differs {
        false => report.well("config_in_force", None, "the agent works by this config"),
        true => {
            let names: Vec<&str> = served.replicas.iter().map(|replica| replica.name.as_str()).collect();
            let evidence = format!("the agent works by another config than this: it serves {}", names.join(", "));
            report.warning(
                "config_in_force",
                None,
                evidence,
                "`systemctl --user reload homing`, or start the agent anew",
            );
        }
    }
}
