//! The command line as the real binary, against an agent that says what a test wants.

use std::path::Path;
use std::process::{Command, Output};

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
        ("doctor", 2),
        ("sync --timeout 5s", 2),
        ("queue retry notes", 2),
        ("man nothing", 2),
    ] {
        assert_eq!(homing(nowhere, line).status.code(), Some(code), "homing {line}");
    }
    assert!(text(&homing(nowhere, "man queue list").stdout).contains("homing-queue-list"));
}
