//! The client packages in `clients/` and the short clients of `docs/ipc.md`, against a real
//! agent and a real hub.

use std::path::PathBuf;
use std::process::Command;

use super::rig::{Device, Hub, Pair};

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
try:
    homing.enqueue("notes", "announce", {"n": 1})
    raise SystemExit("a hub takes no actions")
except HomingError as error:
    assert error.reason == "no_actions", error

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

const NODE: &str = r#"
import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { Homing, HomingError, NoAgent, keyOf } from "./index.js";

const homing = new Homing();
assert.deepEqual((await homing.statuses()).map((one) => one.name), ["notes"]);

// Somebody who listens hears what a cycle did, after the state as it was.
const heard = [];
const cycle = new Promise((resolve) => {
  const stop = homing.watch(["cycle"], (event) => {
    heard.push(event);
    if (event.topic === "cycle") resolve(stop());
  });
});
const [outcome] = await homing.syncAndWait("notes", { timeoutMs: 30000 });
assert.equal(outcome.in_step, true);
await cycle;
assert.equal(heard[0].topic, "snapshot");
assert.equal(heard[0].data.schema, "homing.status/1");

assert.equal((await homing.status("notes")).state, "in_step");
assert.equal(await homing.rowState("notes", "tasks", keyOf("1")), "synced");
assert.equal((await homing.explain("notes", "tasks", keyOf("1"))).table, "tasks");
assert.equal((await homing.history({ limit: 1 }))[0].replica, "notes");
assert.equal((await homing.metrics())[0].pushed, 1);
assert.equal((await homing.network()).online, true);
assert.deepEqual(await homing.conflicts({ open: true }), []);

await homing.pause("notes");
execFileSync("sqlite3", ["-cmd", ".timeout 5000", process.env.DATABASE, "INSERT INTO tasks VALUES ('2', 'while paused')"]);
assert.equal(await homing.rowState("notes", "tasks", keyOf("2")), "pending");
assert.deepEqual((await homing.queue({ replica: "notes" })).map((change) => change.key), ['["2"]']);
await homing.resume("notes");
assert.equal((await homing.syncAndWait("notes"))[0].in_step, true);
await homing.sync();
await homing.foreground("notes");
const noActions = await homing.enqueue("notes", "announce", { n: 1 }).catch((error) => error);
assert.equal(noActions.reason, "no_actions");

await assert.rejects(homing.status("nobody"), (error) => error instanceof HomingError && error.reason === "unknown_replica" && error.hint !== "");
await assert.rejects(new Homing({ path: "/nowhere/agent.sock" }).statuses(), NoAgent);
assert.equal(keyOf(1, "ü", new Uint8Array([0, 255]), null), '[1,"ü",{"blob":"00ff"},null]');

// Calls run side by side on one connection, and a stream can be read like any other.
const answers = await Promise.all(Array.from({ length: 50 }, () => homing.statuses()));
assert.equal(answers.length, 50);
for await (const event of homing.events(["status"])) {
  assert.equal(event.topic, "snapshot");
  break;
}
homing.close();
console.log("well");
"#;

#[test]
fn the_node_client_does_what_it_says_against_a_real_agent() {
    let (_hub, device) = device("of node");
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/typescript");
    let mut node = Command::new("node");
    node.args(["--input-type=module", "-e", NODE]).current_dir(package);
    assert_eq!(said(node.env("DATABASE", &device.database), &device), "well\n");
}

/// Each short client of `docs/ipc.md`, exactly as it stands there.
#[test]
fn the_short_clients_of_the_page_work_as_they_stand() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ipc.md")).unwrap();
    let part = page.split("## A client in ten lines").nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    let code = |language: &str| {
        let begin = format!("```{language}\n");
        part.split(&begin).nth(1).unwrap_or_else(|| panic!("no {language}")).split("```").next().unwrap().to_owned()
    };
    let (_hub, device) = device("of a page");
    let in_step = |language: &str, told: &str| {
        let told =
            told.replace(' ', "").replace('\'', "\"").replace("True", "true").replace("in_step:", "\"in_step\":");
        assert!(told.contains("\"in_step\":true"), "{language}: {told}");
    };
    let mut python = Command::new("python3");
    in_step("python", &said(python.args(["-B", "-c", &code("python")]), &device));
    let mut node = Command::new("node");
    in_step(
        "js",
        &said(
            node.args(["-e", &code("js").replace("console.log(result", "console.log(JSON.stringify(result)")]),
            &device,
        ),
    );
    let mut shell = Command::new("sh");
    let told = said(shell.args(["-c", &code("sh")]), &device);
    in_step("sh", &told);
    assert!(told.contains("homing.status/1"), "{told}");
    let source = device.home().join("client.c");
    std::fs::write(&source, code("c")).unwrap();
    let program = device.home().join("client");
    let built = Command::new("cc").arg("-Wall").arg("-Werror").arg("-o").arg(&program).arg(&source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    in_step("c", &said(&mut Command::new(program), &device));
}

fn device(title: &str) -> (Hub, Device) {
    let hub = Hub::start();
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    device.start();
    device.sync();
    device.sql(&format!("INSERT INTO tasks VALUES ('1', '{title}')"));
    (hub, device)
}

fn said(command: &mut Command, device: &Device) -> String {
    let output = command.env("HOMING_SOCKET", &device.socket).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const SETTLING: &str = r#"
from homing_client import Client, HomingError, key_of

homing = Client()
assert homing.sync_and_wait("notes", timeout=30)[0]["conflicts"] == 1
(open_one,) = homing.conflicts("notes", open_only=True)
whole = homing.conflict(open_one["id"])
assert (whole["local"]["title"], whole["remote"]["title"]) == ("mine", "theirs"), whole
settled = homing.resolve(open_one["id"], take="remote", columns={"note": "local"}, values={"title": "both"})
assert settled["settled_by"] == "person" and settled["result"]["title"] == "both", settled
assert homing.conflicts("notes", open_only=True) == []
try:
    homing.resolve(open_one["id"], take="local")
    raise SystemExit("it was settled twice")
except HomingError as error:
    assert error.reason == "conflict_settled", error.reason
homing.undo(open_one["id"])
assert len(homing.conflicts("notes", open_only=True)) == 1
homing.resolve(open_one["id"], take="local")
assert homing.sync_and_wait("notes", timeout=30)[0]["in_step"]
print("well")
"#;

#[test]
fn the_python_client_settles_a_conflict_and_takes_it_back() {
    let mut pair = Pair::new("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT, note TEXT)");
    let manual = "[replica.notes.tables.tasks]\nstrategy = \"manual\"";
    pair.a.configure(manual);
    pair.b.configure(manual);
    let pair = pair.start();
    pair.a.sql("INSERT INTO tasks VALUES ('1', 'base', 'n')");
    pair.settle();
    pair.a.homing(&["pause"]);
    pair.a.sql("UPDATE tasks SET title = 'mine'");
    pair.b.sql("UPDATE tasks SET title = 'theirs'");
    pair.b.sync();
    pair.a.homing(&["resume"]);
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    let mut python = Command::new("python3");
    python.args(["-B", "-c", SETTLING]).env("PYTHONPATH", package);
    assert_eq!(said(&mut python, &pair.a), "well\n");
}
