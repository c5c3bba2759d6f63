//! The service under launchd: the property list of `launchd/` with this program's path.
//!
//! For the person who is logged in. A daemon of the machine would have to run as the
//! databases' owner and has no home to log to; that one is refused rather than guessed.

use std::path::{Path, PathBuf};

use super::super::exit::Exit;
use super::{Failure, Place, Plan, Service, Standing, output, words};

const OWN: &str = include_str!("../../../launchd/com.homing.agent.plist");
const LABEL: &str = "com.homing.agent";

pub fn install(place: &Place, service: &Service, config: Option<&Path>) -> Result<Plan, Failure> {
    if *service != Service::Own {
        return Err(Failure::new(
            Exit::Failed,
            "on macOS the service is installed for the person who is logged in",
            "leave --system out; `launchd/com.homing.hub.plist` has a hub's list to copy",
        ));
    }
    let path = list(place);
    let shown = path.display().to_string();
    Ok(Plan {
        // One that is there already would be in the way.
        before: vec![words(&format!("launchctl bootout {}", target(place)))],
        after: vec![vec!["launchctl".into(), "bootstrap".into(), format!("gui/{}", place.uid), shown]],
        write: vec![(path, text(place, config))],
        ..Plan::default()
    })
}

pub fn uninstall(place: &Place) -> Plan {
    Plan {
        before: vec![words(&format!("launchctl bootout {}", target(place)))],
        remove: vec![list(place)],
        ..Plan::default()
    }
}

pub fn standing(place: &Place) -> Result<Standing, Failure> {
    let printed = output(&words(&format!("launchctl print {}", target(place))))?;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let running = printed.lines().any(|line| line.trim() == "state = running");
    let written = std::fs::read_to_string(list(place)).ok();
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

fn text(place: &Place, config: Option<&Path>) -> String {
    let mut start = format!("exec {} agent", quoted(&place.program));
    if let Some(config) = config {
        start.push_str(&format!(" --config {}", quoted(config)));
    }
    OWN.replace("exec homing agent", &xml(&start))
}

fn list(place: &Place) -> PathBuf {
    place.home.join("Library/LaunchAgents").join(format!("{LABEL}.plist"))
}

fn target(place: &Place) -> String {
    format!("gui/{}/{LABEL}", place.uid)
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
        assert_eq!(uninstall(&place).remove, std::slice::from_ref(path));
    }
}
