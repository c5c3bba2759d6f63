//! News of what the machine runs on: a battery, and a network that is paid for by what
//! goes over it.
//!
//! Asked for where a replica's schedule says to be sparing, and nowhere else: once a
//! minute, and at each change of the network before anybody hears of that. What the system
//! does not say is not guessed at. On Linux power is read from sysfs and the network's price
//! asked of NetworkManager, by the system's own `busctl`; on macOS `pmset` tells of power,
//! and nobody of the network's price.

#[cfg(any(target_os = "linux", test))]
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::crew::Crew;
use crate::model::Supply;
use crate::model::settings::{Replica, Thrift};

const ASK_EVERY: Duration = Duration::from_secs(60);

/// Asks until dropped.
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `None` where no replica is ever sparing.
pub fn watch(crew: &Arc<Crew>) -> Option<Watch> {
    crew.posts().iter().any(|(replica, _)| is_sparing(replica)).then(|| {
        let asked = crew.clone();
        Watch(crew.runtime.spawn(async move {
            loop {
                tokio::time::sleep(ASK_EVERY).await;
                let asked = asked.clone();
                let _ = tokio::task::spawn_blocking(move || ask(&asked)).await;
            }
        }))
    })
}

/// Asks now, and tells the crew.
pub fn ask(crew: &Crew) {
    let replicas: Vec<Replica> = crew.posts().into_iter().map(|(replica, _)| replica).collect();
    crew.supplied(read(&replicas));
}

/// What these replicas want to know.
pub fn read(replicas: &[Replica]) -> Supply {
    let wanted = |thrift: fn(&Replica) -> Thrift| replicas.iter().any(|replica| thrift(replica) != Thrift::Sync);
    Supply {
        on_battery: if wanted(|replica| replica.schedule.on_battery) { on_battery() } else { None },
        metered: if wanted(|replica| replica.schedule.on_metered) { metered() } else { None },
    }
}

fn is_sparing(replica: &Replica) -> bool {
    replica.schedule.on_battery.max(replica.schedule.on_metered) != Thrift::Sync
}

#[cfg(target_os = "linux")]
fn on_battery() -> Option<bool> {
    drains(Path::new("/sys/class/power_supply"))
}

#[cfg(target_os = "linux")]
fn metered() -> Option<bool> {
    const NAME: &str = "org.freedesktop.NetworkManager";
    const PLACE: &str = "/org/freedesktop/NetworkManager";
    let said =
        said("busctl", &["--system", "--timeout=2", "--auto-start=no", "get-property", NAME, PLACE, NAME, "Metered"])?;
    is_metered(&said)
}

#[cfg(not(target_os = "linux"))]
fn on_battery() -> Option<bool> {
    said("pmset", &["-g", "batt"]).map(|said| said.contains("'Battery Power'"))
}

#[cfg(not(target_os = "linux"))]
fn metered() -> Option<bool> {
    None
}

/// What a program of the system prints; `None` where it is not there or fails.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A battery of the machine drains, and nothing feeds it. A mouse has a battery too, of
/// the scope `Device`.
#[cfg(any(target_os = "linux", test))]
fn drains(folder: &Path) -> Option<bool> {
    let mut known = None;
    let mut fed = false;
    for device in std::fs::read_dir(folder).ok()?.flatten() {
        let read = |name: &str| {
            std::fs::read_to_string(device.path().join(name)).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        match read("type").as_str() {
            _ if read("scope") == "Device" => {}
            "Battery" => known = Some(known == Some(true) || read("status") == "Discharging"),
            "Mains" | "USB" | "Wireless" => fed |= read("online") == "1",
            _ => {}
        }
    }
    known.map(|drains| drains && !fed)
}

/// NetworkManager's NMMetered, as `busctl` writes it: yes, no, and what it guesses.
#[cfg(any(target_os = "linux", test))]
fn is_metered(said: &str) -> Option<bool> {
    match said.trim().strip_prefix("u ")? {
        "1" | "3" => Some(true),
        "2" | "4" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices as sysfs has them: a name, and what its files say.
    fn machine(devices: &[(&str, &[(&str, &str)])]) -> Option<bool> {
        let folder = tempfile::tempdir().unwrap();
        for (name, files) in devices {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            for (file, text) in *files {
                std::fs::write(folder.path().join(name).join(file), format!("{text}\n")).unwrap();
            }
        }
        drains(folder.path())
    }

    #[test]
    fn a_machine_is_on_battery_where_its_own_battery_drains_and_nothing_feeds_it() {
        let draining: (&str, &[_]) = ("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        let full: (&str, &[_]) = ("BAT1", &[("type", "Battery"), ("status", "Full")]);
        let mouse: (&str, &[_]) = ("hid-1", &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging")]);
        let unplugged: (&str, &[_]) = ("AC", &[("type", "Mains"), ("online", "0")]);
        let plugged: (&str, &[_]) = ("AC", &[("type", "Mains"), ("online", "1")]);
        let usb: (&str, &[_]) = ("ucsi", &[("type", "USB"), ("online", "1")]);
        for (devices, expected) in [
            (&[][..], None),
            (&[mouse, plugged], None),
            (&[draining], Some(true)),
            (&[draining, unplugged], Some(true)),
            (&[full, draining, unplugged], Some(true)),
            (&[draining, plugged], Some(false)),
            (&[draining, unplugged, usb], Some(false)),
            (&[full, unplugged, mouse], Some(false)),
        ] {
            assert_eq!(machine(devices), expected, "{devices:?}");
        }
        assert_eq!(drains(Path::new("/nowhere")), None);
    }

    #[test]
    fn network_manager_says_whether_the_network_is_metered_or_guesses() {
        for (said, expected) in [
            ("u 0\n", None),
            ("u 1\n", Some(true)),
            ("u 2\n", Some(false)),
            ("u 3\n", Some(true)),
            ("u 4\n", Some(false)),
            ("", None),
        ] {
            assert_eq!(is_metered(said), expected, "{said:?}");
        }
    }
}
