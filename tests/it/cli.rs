//! The command line as the real binary, against an agent that says what a test wants.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use homing::ipc::CallError;
use homing::model::ReasonCode;
use serde_json::{Value as Json, json};

use super::ipc::Agent;

fn homing(socket: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_homing"))
        .args(line.split_whitespace())
        .env("HOMING_SOCKET", socket)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn status(state: &str) -> Json {
    json!({
        "schema": "homing.status/1", "version": "0.1.0",
        "replicas": [{
            "name": "notes", "database": "/n.db", "state": state, "reason": null, "pending": 0, "set_aside": 0,
            "conflicts": 0, "parked": 0, "last_sync_at": null, "next_sync_at": null, "oldest_pending_seconds": null,
            "online": true, "link": {"latency_ms": null, "failures": 0}, "last_cycle": null,
        }],
    })
}

fn waited(in_step: bool, set_aside: u64, reason: Json) -> Json {
    json!({"schema": "homing.sync/1", "replicas": [
        {"replica": "notes", "in_step": in_step, "set_aside": set_aside, "conflicts": 0, "reason": reason},
    ]})
}

#[test]
fn without_an_agent_a_command_says_so_and_ends_with_69() {
    let nowhere = Path::new("/nonexistent/agent.sock");
    let output = homing(nowhere, "status");
    assert_eq!(output.status.code(), Some(69));
    let told = text(&output.stderr);
    assert!(told.starts_with("error: no agent listens on /nonexistent/agent.sock\n kept: "), "{told}");
    assert!(told.contains("\n next: "), "{told}");
    assert!(output.stdout.is_empty());

    let output = homing(nowhere, "status --json");
    let told: Json = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&told["schema"], &told["exit"]), (&json!("homing.error/1"), &json!(69)));
}

#[test]
fn status_is_text_for_people_and_a_document_for_programs() {
    let agent = Agent::start();
    agent.service.answers("replica.status", Ok(status("in_step")));
    let output = homing(&agent.socket, "status");
    assert_eq!(text(&output.stdout), "✓ notes  in step · never synced\n");
    assert_eq!(output.status.code(), Some(0));
    let output = homing(&agent.socket, "status --color always");
    assert!(text(&output.stdout).contains("\u{1b}[32m✓\u{1b}[0m"));
    let output = homing(&agent.socket, "status --json");
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["schema"], "homing.status/1");
    assert_eq!(document["replicas"][0]["state"], "in_step");
}

#[test]
fn sync_wait_ends_with_what_a_script_needs_to_know() {
    let agent = Agent::start();
    let reason = |code: &str| json!({"code": code, "text": "why not", "next": "do this"});
    for (answer, code) in [
        (waited(true, 0, Json::Null), 0),
        (waited(true, 2, Json::Null), 3),
        (waited(false, 0, reason("offline_hub_down")), 69),
        (waited(false, 0, reason("timed_out")), 75),
        (waited(false, 0, reason("auth_expired")), 77),
    ] {
        agent.service.answers("sync.wait", Ok(answer));
        agent.service.open_gate(1);
        let output = homing(&agent.socket, "sync notes --wait");
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
    }
}

#[test]
fn a_refusal_keeps_its_reason_and_its_next_step() {
    let agent = Agent::start();
    let unsent = CallError::new(ReasonCode::Unsent, "3 changes of notes are unsent", "run `homing sync --wait` first");
    agent.service.answers("replica.detach", Err(unsent));
    let output = homing(&agent.socket, "detach notes");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output.stderr), "error: 3 changes of notes are unsent\n next: run `homing sync --wait` first\n");
    let cannot = CallError::new(ReasonCode::NotAllowed, "this version cannot settle a conflict yet", "");
    agent.service.answers("conflicts.resolve", Err(cannot));
    assert_eq!(homing(&agent.socket, "conflicts resolve 1 --take local").status.code(), Some(1));
}

#[test]
fn what_the_app_stored_cannot_draw_on_the_terminal() {
    let agent = Agent::start();
    let change = json!({"replica": "notes", "table": "t\u{1b}[2J", "key": "[\"\u{7}\"]", "operation": "insert",
        "columns": [], "state": "pending", "priority": 2, "tries": 0, "next_try_at": null, "reason": null, "since": null});
    agent.service.answers("queue.list", Ok(json!({"schema": "homing.queue/1", "changes": [change]})));
    let output = homing(&agent.socket, "queue list");
    assert!(!text(&output.stdout).contains(['\u{1b}', '\u{7}']), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("t\\u{1b}[2J"));
}

#[test]
fn usage_help_and_version_end_as_they_should() {
    let nowhere = Path::new("/nonexistent");
    for (line, code) in [
        ("--version", 0),
        ("--help", 0),
        ("queue --help", 0),
        ("completions bash", 0),
        ("man queue list", 0),
        ("", 2),
        ("burn", 2),
        ("sync --timeout 5s", 2),
        ("queue retry notes", 2),
        ("man nothing", 2),
    ] {
        assert_eq!(homing(nowhere, line).status.code(), Some(code), "homing {line}");
    }
    assert!(text(&homing(nowhere, "man queue list").stdout).contains("homing-queue-list"));
}

#[test]
fn whoever_has_read_enough_is_no_error() {
    let agent = Agent::start();
    let cycle = json!({"replica": "notes", "at": 0, "cause": "timer", "pushed": 0, "pulled": 0, "conflicts": 0,
        "bytes_up": 0, "bytes_down": 0, "milliseconds": 0, "reason": null});
    agent.service.answers("history.list", Ok(json!({"schema": "homing.history/1", "cycles": vec![cycle; 20_000]})));
    let mut child = Command::new(env!("CARGO_BIN_EXE_homing"))
        .args(["history", "--socket", agent.socket.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn an_interrupted_wait_ends_with_130_and_is_forgotten_by_the_agent() {
    let agent = Agent::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_homing"))
        .args(["sync", "--wait", "--socket", agent.socket.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    agent.service.wait_for_start();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    agent.service.wait_for_end();
}

#[test]
fn watching_prints_each_change_and_ends_with_the_agent() {
    let mut agent = Agent::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_homing"))
        .args(["status", "--watch", "--json", "--socket", agent.socket.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<Json>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["replicas"], json!([]));
    agent.publish(homing::ipc::Topic::Status, status("paused")["replicas"][0].clone());
    assert_eq!(next()["replicas"][0]["state"], "paused");
    agent.stop();
    assert_eq!(child.wait().unwrap().code(), Some(69));
}

fn init(directory: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_homing"))
        .args(["init", "--hub", "https://hub.example.org"])
        .args(line.split_whitespace())
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
fn init_writes_a_config_and_leaves_the_database_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (name, journal) in [("wal.db", "wal"), ("plain.db", "delete")] {
        let db = rusqlite::Connection::open(at(name)).unwrap();
        db.pragma_update(None, "journal_mode", journal).unwrap();
        db.execute_batch("CREATE TABLE tasks(id TEXT PRIMARY KEY, title); INSERT INTO tasks VALUES('a', 'b')").unwrap();
    }
    let before = (fs::read(at("wal.db")).unwrap(), fs::read(at("plain.db")).unwrap());
    for name in ["wal.db", "plain.db"] {
        let output = init(directory.path(), &format!("{name} --output {name}.toml"));
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("1  tasks  id      1"), "{}", text(&output.stdout));
    }
    assert_eq!((fs::read(at("wal.db")).unwrap(), fs::read(at("plain.db")).unwrap()), before);
    let mut left: Vec<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["plain.db", "plain.db.toml", "wal.db", "wal.db.toml"]);

    let again = init(directory.path(), "wal.db --output wal.db.toml");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    assert!(init(directory.path(), "wal.db --output wal.db.toml --force").status.success());
    let printed = init(directory.path(), "wal.db --output -");
    assert_eq!(text(&printed.stdout), fs::read_to_string(at("wal.db.toml")).unwrap());
    let document: Json = serde_json::from_slice(&init(directory.path(), "wal.db --output - --json").stdout).unwrap();
    assert_eq!(document["tables"][0]["rows"], 1);
}

/// A row that is only in the WAL of a running app counts, too.
#[test]
fn init_sees_what_a_running_app_has_written() {
    let directory = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(directory.path().join("app.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch("CREATE TABLE tasks(id TEXT PRIMARY KEY); INSERT INTO tasks VALUES('a'), ('b')").unwrap();
    let output = init(directory.path(), "app.db");
    assert!(text(&output.stdout).contains("1  tasks  id      2"), "{}", text(&output.stdout));
}

#[test]
fn init_says_what_is_wrong_with_a_database_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("empty.db"), "").unwrap();
    fs::write(at("text.db"), "dear diary ".repeat(100)).unwrap();
    fs::write(
        at("encrypted.db"),
        (0..8192_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
    )
    .unwrap();
    fs::create_dir(at("directory.db")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe.db")).status().unwrap().success());
    let mut torn = fs::read(make_database(&at("whole.db"))).unwrap();
    torn[100..].fill(0xa5);
    fs::write(at("torn.db"), torn).unwrap();
    for (name, part) in [
        ("missing.db", "there is no file missing.db"),
        ("empty.db", "is empty"),
        ("text.db", "another format, or encrypted"),
        ("encrypted.db", "another format, or encrypted"),
        ("directory.db", "it is not a file"),
        ("pipe.db", "it is not a file"),
        ("torn.db", "is damaged"),
    ] {
        let output = init(directory.path(), name);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {told}");
        assert!(told.contains(part) && told.contains(" next: "), "{name}: {told}");
        assert!(!at("homing.toml").exists(), "{name}");
    }
    assert!(!at("missing.db").exists());

    let writer = rusqlite::Connection::open(at("whole.db")).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let output = init(directory.path(), "whole.db");
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
}

fn make_database(path: &Path) -> &Path {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch("CREATE TABLE tasks(id TEXT PRIMARY KEY); INSERT INTO tasks VALUES('a')").unwrap();
    path
}

/// The numbers that scripts hold on to, each by a command that ends so.
#[test]
fn how_a_command_ends_is_told_by_its_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let bad = file("bad.toml", "[replica.notes]\ndatabsae = \"x\"\n");
    let good = file("good.toml", "[replica.notes]\ndatabase = \"notes.db\"\nremote.url = \"http://127.0.0.1:1\"\n");
    for (line, code) in [
        ("--version", 0),
        ("help", 0),
        ("sync --help", 0),
        ("validate --config good.toml", 0),
        ("man queue list", 0),
        ("completions zsh", 0),
        ("", 2),
        ("burn", 2),
        ("sync --timeout soon", 2),
        ("man burn", 2),
        ("service install --system --account ../x", 2),
        ("doctor --offline --config good.toml", 3),
        ("status", 69),
        ("sync --wait", 69),
        ("metrics", 69),
        ("validate --config bad.toml", 78),
        ("agent --config bad.toml", 78),
        ("doctor --config bad.toml", 78),
        ("service install --config bad.toml", 78),
    ] {
        let line = line.replace("good.toml", &good).replace("bad.toml", &bad);
        let output = super::rig::homing(home.path()).args(line.split_whitespace()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "homing {line}: {said}");
        if code > 3 {
            let told = said.contains("next:") || line.starts_with("doctor") || line.starts_with("validate");
            assert!(told, "homing {line} does not say what to do next: {said}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let home = tempfile::tempdir().unwrap();
    let told = super::rig::homing(home.path()).args(["man", "--output", "man1"]).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    for page in ["homing.1", "homing-status.1", "homing-queue-list.1", "homing-service-install.1"] {
        let text = std::fs::read_to_string(home.path().join("man1").join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
        assert!(page == "homing.1" || text.contains("Examples:"), "{page}");
    }
}
