//! The service under systemd: the units of `systemd/` with this program's path, and what
//! `systemctl` is told and says.

use std::path::{Path, PathBuf};

use super::{Failure, Place, Plan, Service, Standing, output, words};

const OWN: &str = include_str!("../../../systemd/homing.service");
const ACCOUNT: &str = include_str!("../../../systemd/homing@.service");
const HUB: &str = include_str!("../../../systemd/homing-hub.service");

pub fn install(place: &Place, service: &Service, config: Option<&Path>) -> Plan {
    let unit = Unit::of(place, service);
    let systemctl = |line: &str| words(&format!("{} {line}", unit.systemctl));
    Plan {
        write: vec![(unit.path.clone(), unit.text(place, service, config))],
        after: vec![
            systemctl("daemon-reload"),
            systemctl(&format!("enable {}", unit.instance)),
            // Starts it, or puts the new program in the old one's place.
            systemctl(&format!("restart {}", unit.instance)),
        ],
        ..Plan::default()
    }
}

pub fn uninstall(place: &Place, service: &Service) -> Plan {
    let unit = Unit::of(place, service);
    let systemctl = |line: &str| words(&format!("{} {line}", unit.systemctl));
    Plan {
        before: vec![
            systemctl(&format!("disable --now {}", unit.instance)),
            systemctl(&format!("reset-failed {}", unit.instance)),
        ],
        // The template serves other accounts too, as long as any is enabled.
        remove: if unit.serves_others() { Vec::new() } else { vec![unit.path.clone()] },
        after: vec![systemctl("daemon-reload")],
        ..Plan::default()
    }
}

pub fn standing(place: &Place, service: &Service) -> Result<Standing, Failure> {
    let unit = Unit::of(place, service);
    let line = format!(
        "{} show {} --property=ActiveState,SubState,StatusText,UnitFileState,NRestarts,Result,ExecMainStatus,FragmentPath",
        unit.systemctl, unit.instance
    );
    let shown = output(&words(&line))?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let property = |name: &str| {
        let found = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let written = std::fs::read_to_string(&unit.path).ok();
    // A package brings units of its own, which start what the package brought.
    let packaged =
        written.is_none() && ["/usr/lib/", "/lib/"].iter().any(|at| property("FragmentPath").starts_with(at));
    let mut standing = Standing {
        installed: written.is_some() || packaged,
        current: packaged || written.as_deref().is_some_and(|text| unit.is_current(text, place, service)),
        enabled: property("UnitFileState") == "enabled",
        running: property("ActiveState") == "active" || property("ActiveState") == "reloading",
        words: property("StatusText"),
        restarts: property("NRestarts").parse().unwrap_or(0),
        notes: Vec::new(),
    };
    let install = match service {
        Service::Own => "homing service install".to_owned(),
        Service::Account(name) => format!("homing service install --system --account {name}"),
        Service::Hub => "homing service install --system --hub".to_owned(),
    };
    let scope = if *service == Service::Own { "--user " } else { "" };
    if standing.installed && !standing.current {
        standing.notes.push(format!("the unit was written for another program or version: `{install}` renews it"));
    }
    if standing.installed && !standing.enabled {
        standing.notes.push(format!("it does not start by itself: `systemctl {scope}enable {}`", unit.instance));
    }
    if standing.installed && !standing.running {
        if property("ExecMainStatus") == "78" {
            standing.notes.push("it refused its config: `homing validate` says what is wrong with it".to_owned());
        } else if property("ExecMainStatus") == "203" {
            standing.notes.push(format!("the program that its unit names cannot be run: `{install}` writes it anew"));
        } else if !["", "success"].contains(&property("Result").as_str()) {
            standing.notes.push(format!(
                "it ended with `{}`: `journalctl {scope}-u {}` has its last words",
                property("Result"),
                unit.instance
            ));
        }
        standing.notes.push(format!("`systemctl {scope}start {}` starts it", unit.instance));
    }
    if !standing.installed {
        standing.notes.push(format!("`{install}` installs it"));
    }
    Ok(standing)
}

/// What to know of a user unit: without lingering it ends with the last log-in.
pub fn stays_after_logout() -> Option<String> {
    let user = std::env::var("USER").ok()?;
    let shown = output(&words(&format!("loginctl show-user {user} --property=Linger"))).ok()?;
    let lingers = String::from_utf8_lossy(&shown.stdout).trim() == "Linger=yes";
    (!lingers).then(|| format!("it ends when you log out; `loginctl enable-linger {user}` lets it go on"))
}

struct Unit {
    path: PathBuf,
    /// What `systemctl` calls it.
    instance: String,
    systemctl: &'static str,
}

impl Unit {
    fn of(place: &Place, service: &Service) -> Unit {
        let system = |file: &str, instance: String| Unit {
            path: Path::new("/etc/systemd/system").join(file),
            instance,
            systemctl: "systemctl",
        };
        match service {
            Service::Own => Unit {
                path: place.config_home.join("systemd/user/homing.service"),
                instance: "homing.service".to_owned(),
                systemctl: "systemctl --user",
            },
            Service::Account(name) => system("homing@.service", format!("homing@{name}.service")),
            Service::Hub => system("homing-hub.service", "homing-hub.service".to_owned()),
        }
    }

    fn text(&self, place: &Place, service: &Service, config: Option<&Path>) -> String {
        let program = quoted(&place.program);
        let (text, subcommand) = match service {
            Service::Own => (OWN, "agent"),
            Service::Account(_) => (ACCOUNT, "agent --config /etc/homing/%i.toml"),
            Service::Hub => (HUB, "hub"),
        };
        let start = match (service, config) {
            (Service::Own, Some(config)) => format!("{program} agent --config {}", quoted(config)),
            (Service::Account(name), Some(config)) if config != Path::new(&format!("/etc/homing/{name}.toml")) => {
                format!("{program} agent --config {}", quoted(config))
            }
            _ => format!("{program} {subcommand}"),
        };
        text.replace(&format!("\nExecStart=homing {subcommand}"), &format!("\nExecStart={start}"))
    }

    /// Whatever config it names, the rest is what would be written now.
    fn is_current(&self, text: &str, place: &Place, service: &Service) -> bool {
        let rest = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with("ExecStart=")).map(ToOwned::to_owned).collect()
        };
        let starts = format!("\nExecStart={} ", quoted(&place.program));
        text.contains(&starts) && rest(text) == rest(&self.text(place, service, None))
    }

    fn serves_others(&self) -> bool {
        if !self.instance.contains('@') {
            return false;
        }
        let wanted = Path::new("/etc/systemd/system/multi-user.target.wants");
        let Ok(found) = std::fs::read_dir(wanted) else { return false };
        found.flatten().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("homing@") && name != self.instance
        })
    }
}

/// A path as a word of a unit's command line.
fn quoted(path: &Path) -> String {
    let text =
        path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if text.contains([' ', '\'', '"', ';', '\\']) { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(program: &str) -> Place {
        let home = PathBuf::from("/home/ada/");
        Place { program: program.into(), config_home: home.join(".config"), home, uid: 1000 }
    }

    #[test]
    fn the_unit_starts_this_program_with_its_config() {
        for (program, service, config, starts) in [
            ("/usr/bin/homing", Service::Own, None, "ExecStart=/usr/bin/homing agent"),
            (
                "/opt/a b/homing",
                Service::Own,
                Some("/c/100%.toml"),
                "ExecStart=\"/opt/a b/homing\" agent --config /c/100%%.toml",
            ),
            (
                "/usr/bin/homing",
                Service::Account("ada".into()),
                None,
                "ExecStart=/usr/bin/homing agent --config /etc/homing/%i.toml",
            ),
            (
                "/usr/bin/homing",
                Service::Account("ada".into()),
                Some("/etc/homing/ada.toml"),
                "ExecStart=/usr/bin/homing agent --config /etc/homing/%i.toml",
            ),
            (
                "/usr/bin/homing",
                Service::Hub,
                None,
                "ExecStart=/usr/bin/homing hub --data %S/homing-hub --listen ${LISTEN}",
            ),
        ] {
            let place = place(program);
            let plan = install(&place, &service, config.map(Path::new));
            let (_, text) = &plan.write[0];
            assert_eq!(text.lines().filter(|line| line.starts_with("ExecStart=")).collect::<Vec<_>>(), [starts]);
            assert!(Unit::of(&place, &service).is_current(text, &place, &service), "{starts}");
            assert!(!Unit::of(&place, &service).is_current(text, &self::place("/other"), &service));
        }
    }

    #[test]
    fn an_account_of_the_machine_has_an_instance_of_the_template() {
        let plan = install(&place("/usr/bin/homing"), &Service::Account("ada".into()), None);
        assert_eq!(plan.write[0].0, Path::new("/etc/systemd/system/homing@.service"));
        let ran: Vec<String> = plan.after.iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            ran,
            ["systemctl daemon-reload", "systemctl enable homing@ada.service", "systemctl restart homing@ada.service"]
        );
    }
}
