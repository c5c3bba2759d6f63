//! `homing service`, with a `systemctl` that writes down what it is told: what is written,
//! in which order the supervisor hears of it, and that nothing stays behind.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::rig::{Device, homing};

const SYSTEMCTL: &str = "#!/bin/sh
echo \"$*\" >> \"$HOME/told\"
case \"$*\" in
*show*) cat \"$HOME/shown\" ;;
esac
";

struct Machine {
    device: Device,
    unit: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let device = Device::new("a", "http://127.0.0.1:9", "token");
        let bin = device.home().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::write(bin.join("systemctl"), SYSTEMCTL).unwrap();
        std::fs::set_permissions(bin.join("systemctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let unit = device.home().join("systemd/user/homing.service");
        Machine { device, unit }
    }

    fn shows(&self, properties: &str) {
        std::fs::write(self.device.home().join("shown"), properties).unwrap();
    }

    fn service(&self, args: &[&str]) -> (i32, String, String) {
        let path = format!("{}:/usr/bin:/bin", self.device.home().join("bin").display());
        let output = homing(self.device.home()).env("PATH", path).arg("service").args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn told(&self) -> Vec<String> {
        let path = self.device.home().join("told");
        let told = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        told.lines().map(ToOwned::to_owned).collect()
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_service_is_installed_by_one_command_and_taken_away_without_a_trace() {
    let machine = Machine::new();
    let config = machine.device.config.display().to_string();
    let before = files(&machine);
    let (code, out, err) = machine.service(&["install", "--config", &config]);
    assert_eq!(code, 0, "{out}{err}");
    let unit = std::fs::read_to_string(&machine.unit).unwrap();
    assert!(
        unit.contains(&format!("\nExecStart={} agent --config {config}\n", env!("CARGO_BIN_EXE_homing"))),
        "{unit}"
    );
    assert_eq!(
        machine.told(),
        ["--user daemon-reload", "--user enable homing.service", "--user restart homing.service"]
    );

    machine.shows("ActiveState=active\nUnitFileState=enabled\nStatusText=in step\nNRestarts=0\n");
    let (code, out, _) = machine.service(&["status"]);
    assert_eq!((code, out.as_str()), (0, "✓ running · in step\n"));

    machine.told();
    let (code, out, err) = machine.service(&["uninstall"]);
    assert_eq!(code, 0, "{out}{err}");
    let told = machine.told();
    assert_eq!(told[0], "--user disable --now homing.service");
    assert_eq!(told.last().unwrap(), "--user daemon-reload");
    std::fs::remove_file(machine.device.home().join("shown")).unwrap();
    assert_eq!(files(&machine), before);
    assert_eq!(machine.service(&["uninstall"]).0, 0, "a second time there is nothing to do");
}

#[test]
#[cfg(target_os = "linux")]
fn a_unit_that_a_package_brought_counts_as_installed() {
    let machine = Machine::new();
    let fragment = "FragmentPath=/usr/lib/systemd/user/homing.service\n";
    machine.shows(&format!("ActiveState=active\nUnitFileState=enabled\nStatusText=in step\n{fragment}"));
    assert_eq!(machine.service(&["status"]), (0, "✓ running · in step\n".to_owned(), String::new()));
    machine.shows(&format!("ActiveState=inactive\nUnitFileState=disabled\nResult=success\n{fragment}"));
    let (code, out, _) = machine.service(&["status"]);
    assert_eq!(code, 69);
    assert!(out.starts_with("✗ installed, and does not run") && out.contains("--user enable"), "{out}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_service_that_does_not_run_says_why_and_what_to_do() {
    let machine = Machine::new();
    machine.shows("ActiveState=inactive\nUnitFileState=\n");
    let (code, out, _) = machine.service(&["status"]);
    assert_eq!(code, 69);
    assert!(out.contains("not installed") && out.contains("`homing service install`"), "{out}");

    let config = machine.device.config.display().to_string();
    assert_eq!(machine.service(&["install", "--config", &config]).0, 0);
    machine.shows("ActiveState=failed\nResult=exit-code\nExecMainStatus=78\nUnitFileState=enabled\n");
    let (code, out, _) = machine.service(&["status"]);
    assert_eq!(code, 69);
    assert!(out.contains("homing validate"), "{out}");
    machine.shows("ActiveState=failed\nResult=exit-code\nExecMainStatus=203\nUnitFileState=enabled\n");
    let (code, out, _) = machine.service(&["status"]);
    assert_eq!(code, 69);
    assert!(out.contains("cannot be run: `homing service install`"), "{out}");
    std::fs::write(&machine.unit, "[Service]\nExecStart=/elsewhere/homing agent\n").unwrap();
    let (_, out, _) = machine.service(&["status"]);
    assert!(out.contains("another program or version"), "{out}");
}

#[test]
fn a_config_that_is_wrong_is_never_installed() {
    let machine = Machine::new();
    std::fs::write(&machine.device.config, "[replica.notes]\ndatabsae = \"x\"\n").unwrap();
    let config = machine.device.config.display().to_string();
    let (code, _, err) = machine.service(&["install", "--config", &config]);
    assert_eq!(code, 78, "{err}");
    assert!(!machine.unit.exists());
    assert_eq!(machine.told(), Vec::<String>::new());
    let (code, _, err) = machine.service(&["install", "--system", "--account", "../ada"]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn a_dry_run_shows_everything_and_does_nothing() {
    let machine = Machine::new();
    let config = machine.device.config.display().to_string();
    let before = files(&machine);
    let (code, out, err) = machine.service(&["install", "--dry-run", "--config", &config]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("agent --config") && out.contains("\n$ "), "{out}");
    assert_eq!(files(&machine), before);
}

/// Every file below the home, without the folders.
fn files(machine: &Machine) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![machine.device.home().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}
