//! Others where the agent alone should be: a second agent on the same database, somebody who
//! may write its state, something in its socket's place, a disk that others filled, a command
//! of another version. Each is said, with its exit code, and nothing is lost.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::rig::{Device, Hub, eventually, homing};

fn device(hub: &Hub) -> Device {
    let device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY)");
    device
}

/// An agent that ends by itself: its exit code and its words.
fn refused(device: &Device) -> (i32, String) {
    let code = device.spawn("refused.log", |_| {}).ended().code().unwrap();
    let log = device.home().join("refused.log");
    let said = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    (code, said)
}

fn rows(hub: &Hub) -> usize {
    super::rig::dump(&hub.scope("ada")).get("tasks").map_or(0, Vec::len)
}

#[test]
fn a_second_agent_on_the_same_database_leaves_it_alone_until_the_first_has_gone() {
    let hub = Hub::start();
    let mut first = device(&hub);
    first.start();
    first.sync();
    let mut second = Device::new("b", &hub.url(), &hub.token(&["--account", "ada"]));
    second.database = first.database.clone();
    second.write_config();
    second.start();
    let status = second.await_reason("database_taken");
    assert_eq!(status["state"], "backing_off", "{status:#}");
    let told = second.homing(&["sync", "--wait"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("another agent (process ") && told.out.contains("stop one of the two"), "{told:?}");
    first.sql("INSERT INTO tasks VALUES ('1')");
    first.sync();
    let notes = first.status()["notes"].clone();
    assert_eq!(notes, serde_json::json!([]), "the first noticed nothing");
    first.stop();
    second.await_state("in_step");
    second.sql("INSERT INTO tasks VALUES ('2')");
    second.sync();
    assert_eq!(rows(&hub), 2);
}

#[test]
fn a_state_directory_that_others_may_write_to_is_refused() {
    let hub = Hub::start();
    let mut device = device(&hub);
    device.start();
    device.sync();
    device.stop();
    let before = device.sql("SELECT * FROM sqlite_schema");
    let mode = |mode| std::fs::set_permissions(device.state_dir(), PermissionsExt::from_mode(mode)).unwrap();
    for wide in [0o770, 0o702] {
        mode(wide);
        let (code, said) = refused(&device);
        assert_eq!(code, 77, "{said}");
        assert!(said.contains("others may write to the state directory") && said.contains("`chmod 700 "), "{said}");
    }
    mode(0o700);
    if rustix::process::geteuid().is_root() {
        let owner = |uid| std::os::unix::fs::chown(device.state_dir(), Some(uid), None).unwrap();
        owner(61_234);
        let (code, said) = refused(&device);
        assert_eq!(code, 77, "{said}");
        assert!(said.contains("belongs to user 61234") && said.contains("next:"), "{said}");
        owner(0);
    }
    assert_eq!(device.sql("SELECT * FROM sqlite_schema"), before);
    device.start();
    device.sync();
}

#[test]
fn what_lies_in_the_sockets_place_is_not_touched() {
    let hub = Hub::start();
    let mut device = device(&hub);
    let kept = device.home().join("kept");
    std::fs::write(&kept, "precious").unwrap();
    symlink(&kept, &device.socket).unwrap();
    let (code, said) = refused(&device);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("is not a socket") && said.contains("move it away"), "{said}");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "precious");
    assert!(device.socket.is_symlink());
    std::fs::remove_file(&device.socket).unwrap();
    // One that nobody listens on any more is taken over.
    drop(UnixListener::bind(&device.socket).unwrap());
    device.start();
    device.sync();
}

#[test]
fn a_full_disk_under_the_state_directory_is_said_and_ends_by_itself() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can mount a small disk");
    }
    let hub = Hub::start();
    let mut device = device(&hub);
    let folder = device.state_dir();
    std::fs::create_dir(&folder).unwrap();
    let mount = |args: &[&str]| std::process::Command::new(args[0]).args(&args[1..]).output().unwrap().status.success();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", folder.to_str().unwrap()]) {
        return eprintln!("skipped: a small disk cannot be mounted here");
    }
    struct Mounted(String);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").args(["-l", &self.0]).output();
        }
    }
    let _mounted = Mounted(folder.display().to_string());
    let ballast = folder.join("ballast");
    let fill = || {
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    fill();
    device.start();
    let status = device.await_reason("disk_full");
    let next = status["reason"]["next"].as_str().unwrap();
    assert!(next.contains("state directory") && next.contains("nothing was lost"), "{status:#}");
    device.sql("INSERT INTO tasks VALUES ('1')");
    assert_eq!(device.homing(&["sync", "--wait", "--timeout", "1s"]).code, 75);
    std::fs::remove_file(&ballast).unwrap();
    eventually("the row is at the hub", || hub.scope("ada").exists() && rows(&hub) == 1);
    // Full again, with work under way.
    fill();
    device.sql("INSERT INTO tasks VALUES ('2')");
    device.homing(&["sync", "--wait", "--timeout", "1s"]);
    std::fs::remove_file(&ballast).unwrap();
    device.sync();
    assert_eq!(rows(&hub), 2);
}

/// An agent of a newer version, with a reason that this one has not heard of.
#[test]
fn a_command_of_an_older_version_works_and_says_what_mends_that() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                let asked: serde_json::Value = serde_json::from_str(&line).unwrap();
                let result = match asked["method"].as_str().unwrap() {
                    "system.hello" => serde_json::json!({"api": 1, "minor": 9, "daemon": "99.0.0", "capabilities": []}),
                    _ => serde_json::json!({"schema": "homing.status/1", "version": "99.0.0", "more": 1, "replicas": [{
                        "name": "notes", "database": "/n.db", "state": "offline", "pending": 3, "set_aside": 0,
                        "reason": {"code": "moon_in_the_way", "text": "the moon is in the way", "next": "wait", "new": 1},
                        "conflicts": 0, "parked": 0, "last_sync_at": null, "next_sync_at": null, "mood": "good",
                        "oldest_pending_seconds": null, "online": true, "link": {"latency_ms": null, "failures": 0},
                        "last_cycle": null,
                    }]}),
                };
                let answer = serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
                let _ = writeln!(stream, "{answer}");
            }
        }
    });
    let output = homing(home.path()).env("HOMING_SOCKET", &socket).arg("status").output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(out.contains("the moon is in the way"), "{out}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("the agent is version 99.0.0") && err.contains("type -a homing"), "{err}");
}
