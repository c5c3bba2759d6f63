//! The service under launchd: the property list of `launchd/` with this program's path.
//!
//! An agent of the person who is logged in, or a daemon of the machine that runs as the
//! account that owns the databases. A hub's place for its data is nobody's to guess: its
//! list is there to be copied.

use std::path::{Path, PathBuf};

use super::super::exit::Exit;
use super::{Failure, Place, Plan, Service, Standing, output, words};

const OWN: &str = include_str!("../../../launchd/com.homing.agent.plist");
const ACCOUNT: &str = include_str!("../../../launchd/com.homing.daemon.plist");

pub fn install(place: &Place, service: &Service, config: Option<&Path>) -> Result<Plan, Failure> {
    if *service == Service::Hub {
        return Err(Failure::new(
            Exit::Failed,
            "on macOS a hub is not installed by this command",
            "`launchd/com.homing.hub.plist` has its list to copy",
        ));
    }
    let list = List::of(place, service);
    let shown = list.path.display().to_string();
    Ok(Plan {
        // One that is there already would be in the way.
        before: vec![words(&format!("launchctl bootout {}", list.target()))],
        after: vec![vec!["launchctl".into(), "bootstrap".into(), list.domain.clone(), shown]],
        write: vec![(list.path.clone(), list.text(place, config))],
        ..Plan::default()
    })
}

pub fn uninstall(place: &Place, service: &Service) -> Plan {
    let list = List::of(place, service);
    Plan {
        before: vec![words(&format!("launchctl bootout {}", list.target()))],
        remove: vec![list.path],
        ..Plan::default()
    }
}

pub fn standing(place: &Place, service: &Service) -> Result<Standing, Failure> {
    let list = List::of(place, service);
    let printed = output(&words(&format!("launchctl print {}", list.target())))?;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let running = printed.lines().any(|line| line.trim() == "state = running");
    let written = std::fs::read_to_string(&list.path).ok();
    let mut standing = Standing {
        installed: written.is_some(),
        current: written.is_some_and(|written| written.contains(&xml(&quoted(&place.program)))),
        enabled: !printed.is_empty(),
        running,
        ..Standing::default()
    };
    if !standing.running || !standing.current {
        standing.notes.push("`homing service install` installs and starts it".to_owned());
    }
    Ok(standing)
}

/// One property list: where it lies, and in which of launchd's domains it is loaded.
struct List {
    label: String,
    domain: String,
    path: PathBuf,
    account: Option<String>,
}

impl List {
    fn of(place: &Place, service: &Service) -> List {
        match service {
            Service::Account(name) => {
                let label = format!("com.homing.daemon.{name}");
                let path = Path::new("/Library/LaunchDaemons").join(format!("{label}.plist"));
                List { label, domain: "system".to_owned(), path, account: Some(name.clone()) }
            }
            Service::Own | Service::Hub => {
                let label = "com.homing.agent".to_owned();
                let path = place.home.join("Library/LaunchAgents").join(format!("{label}.plist"));
                List { label, domain: format!("gui/{}", place.uid), path, account: None }
            }
        }
    }

    fn target(&self) -> String {
        format!("{}/{}", self.domain, self.label)
    }

    fn text(&self, place: &Place, config: Option<&Path>) -> String {
        let mut start = format!("exec {} agent", quoted(&place.program));
        if let Some(config) = config {
            start.push_str(&format!(" --config {}", quoted(config)));
        }
        let text = match &self.account {
            Some(name) => ACCOUNT.replace("ACCOUNT", name),
            None => OWN.to_owned(),
        };
        text.replace("exec homing agent", &xml(&start))
    }
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_starts_this_program_and_is_loaded_for_this_person() {
        let home = PathBuf::from("/Volumes/h");
        let program = PathBuf::from("/Applications/A & B/homing");
        let place = Place { program, config_home: home.join(".config"), home, uid: 501 };
        let plan = install(&place, &Service::Own, Some(Path::new("/c.toml"))).unwrap();
        let (path, text) = &plan.write[0];
        assert_eq!(path, Path::new("/Volumes/h/Library/LaunchAgents/com.homing.agent.plist"));
        assert!(
            text.contains("exec '/Applications/A &amp; B/homing' agent --config '/c.toml' 2&gt;&gt;")
                || text.contains("exec '/Applications/A &amp; B/homing' agent --config '/c.toml' 2>>"),
            "{text}"
        );
        assert_eq!(plan.after[0].join(" "), format!("launchctl bootstrap gui/501 {}", path.display()));
        assert!(install(&place, &Service::Hub, None).is_err());
        assert_eq!(uninstall(&place, &Service::Own).remove, std::slice::from_ref(path));

        let account = Service::Account("ada".to_owned());
        let plan = install(&place, &account, Some(Path::new("/etc/homing/ada.toml"))).unwrap();
        let (path, text) = &plan.write[0];
        assert_eq!(path, Path::new("/Library/LaunchDaemons/com.homing.daemon.ada.plist"));
        assert!(text.contains("<string>ada</string>") && text.contains("HOME=~ada; "), "{text}");
        assert!(text.contains("agent --config '/etc/homing/ada.toml'") && !text.contains("ACCOUNT"), "{text}");
        assert_eq!(plan.after[0].join(" "), format!("launchctl bootstrap system {}", path.display()));
        assert_eq!(uninstall(&place, &account).before[0].join(" "), "launchctl bootout system/com.homing.daemon.ada");
    }
}
