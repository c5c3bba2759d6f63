//! The client packages in `clients/`, against a real agent and a real hub.

use std::path::PathBuf;
use std::process::Command;

use super::rig::{Device, Hub};

const SCRIPT: &str = r#"
import threading
from homing_client import Client, HomingError, NoAgent, key_of

homing = Client()
assert [replica["name"] for replica in homing.statuses()] == ["notes"]

# Somebody who listens hears what a cycle did.
heard, ready = [], threading.Event()
def listen():
    for event in Client().events(["cycle"]):
        heard.append(event)
        ready.set()
        if event["topic"] == "cycle":
            return
listener = threading.Thread(target=listen)
listener.start()
ready.wait()

outcome = homing.sync_and_wait("notes", timeout=30)
assert outcome[0]["in_step"], outcome
listener.join()
assert heard[0]["topic"] == "snapshot" and heard[0]["data"]["schema"] == "homing.status/1", heard

status = homing.status("notes")
assert status["state"] == "in_step" and status["pending"] == 0, status
assert homing.row_state("notes", "tasks", key_of("1")) == "synced"
assert "tasks" in homing.explain("notes", "tasks", key_of("1"))["table"]
assert homing.history(limit=1)[0]["replica"] == "notes"
assert homing.metrics()[0]["pushed"] == 1, homing.metrics()
assert homing.network()["online"] is True
assert homing.conflicts() == []

homing.pause("notes")
import os, sqlite3
db = sqlite3.connect(os.environ["DATABASE"])
db.execute("INSERT INTO tasks VALUES ('2', 'while paused')")
db.commit()
db.close()
assert homing.row_state("notes", "tasks", key_of("2")) == "pending"
assert [change["key"] for change in homing.queue("notes")] == ['["2"]']
assert homing.status("notes")["state"] == "paused"
homing.resume("notes")
assert homing.sync_and_wait("notes", timeout=30)[0]["in_step"]
homing.foreground()

for refused in [lambda: homing.status("nobody"), lambda: homing.call("replica.burn")]:
    try:
        refused()
        raise SystemExit("it was not refused")
    except HomingError as error:
        assert error.reason in ("unknown_replica", "unknown_method") and error.hint, error
try:
    Client("/nowhere/agent.sock")
    raise SystemExit("it was there")
except NoAgent:
    pass
assert key_of(1, "ü", b"\x00\xff", None) == '[1,"ü",{"blob":"00ff"},null]'
print("well")
"#;

#[test]
fn the_python_client_does_what_it_says_against_a_real_agent() {
    let hub = Hub::start();
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    device.start();
    device.sync();
    device.sql("INSERT INTO tasks VALUES ('1', 'of python')");
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    let output = Command::new("python3")
        .args(["-B", "-c", SCRIPT])
        .env("PYTHONPATH", package)
        .env("HOMING_SOCKET", &device.socket)
        .env("DATABASE", &device.database)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "well\n");
}
