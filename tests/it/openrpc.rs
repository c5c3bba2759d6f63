//! What `rpc.discover` says of results, held against what a real agent answers.

use serde_json::{Value as Json, json};

use super::rig::Pair;

const ASK: &str = r#"
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
lines = s.makefile("rw", encoding="utf-8", newline="\n")
for number, line in enumerate(sys.stdin.read().splitlines()):
    method, params = line.split(" ", 1)
    lines.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": json.loads(params)}) + "\n")
    lines.flush()
    while True:
        answer = json.loads(lines.readline())
        if answer.get("id") == number:
            break
    print(json.dumps(answer))
"#;

fn ask(pair: &Pair, requests: &[(&str, Json)]) -> Vec<Json> {
    use std::io::Write;
    let mut child = std::process::Command::new("python3")
        .args(["-B", "-c", ASK])
        .arg(&pair.a.socket)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for (method, params) in requests {
        writeln!(input, "{method} {params}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_answer_of_a_real_agent_is_of_the_type_that_is_published() {
    let mut pair = Pair::new("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    pair.a.configure("[replica.notes.tables.tasks]\nstrategy = \"manual\"");
    let pair = pair.start();
    pair.a.sql("INSERT INTO tasks VALUES ('1', 'base')");
    pair.settle();
    pair.a.homing(&["pause"]);
    pair.a.sql("UPDATE tasks SET title = 'mine'");
    pair.b.sql("UPDATE tasks SET title = 'theirs'");
    pair.b.sync();
    pair.a.homing(&["resume"]);
    pair.a.homing(&["sync", "--wait"]);
    pair.a.homing(&["pause"]);
    pair.a.sql("INSERT INTO tasks VALUES ('2', 'it waits')");

    let row = json!({"replica": "notes", "table": "tasks", "key": "[\"1\"]"});
    let notes = json!({"replica": "notes"});
    let requests = [
        ("rpc.discover", json!({})),
        ("system.hello", json!({"client": "a test", "api": [1]})),
        ("system.ping", json!({})),
        ("replica.list", json!({})),
        ("replica.status", notes.clone()),
        ("queue.list", notes.clone()),
        ("row.explain", row),
        ("plan.get", notes.clone()),
        ("conflicts.list", json!({"open": true})),
        ("conflicts.get", json!({"id": 1})),
        ("history.list", json!({})),
        ("metrics.get", json!({})),
        ("network.status", json!({})),
        ("queue.retry", json!({"replica": "notes", "all": true})),
        ("conflicts.resolve", json!({"id": 1, "take": "local"})),
        ("conflicts.undo", json!({"id": 1})),
        ("sync.resume", notes.clone()),
        ("sync.now", notes.clone()),
        ("sync.wait", json!({"replica": "notes", "timeout_ms": 30_000})),
        ("verify.run", notes.clone()),
        ("app.foreground", notes.clone()),
        ("queue.discard", json!({"replica": "notes", "table": "tasks", "key": "[\"2\"]"})),
        ("events.subscribe", json!({"topics": ["cycle"]})),
        ("telemetry.on", json!({})),
        ("telemetry.get", json!({})),
        ("telemetry.off", json!({})),
        ("sync.pause", notes.clone()),
        ("replica.detach", json!({"replica": "notes", "discard": true})),
        ("replica.attach", notes.clone()),
        ("action.enqueue", json!({"replica": "notes", "action": "x"})),
    ];
    let answers = ask(&pair, &requests);
    let document = answers[0]["result"].clone();
    let methods = document["methods"].as_array().unwrap();
    let refused = ["action.enqueue", "queue.discard"];
    for ((name, _), answer) in requests.iter().zip(&answers) {
        let method = methods.iter().find(|method| method["name"] == *name).unwrap();
        match answer.get("result") {
            Some(result) => {
                let schema = &method["result"]["schema"];
                if let Err(why) = fits(result, schema, &document) {
                    panic!("{name}: {why}\n{result:#}");
                }
            }
            None => assert!(refused.contains(name), "{name}: {answer:#}"),
        }
    }
    let missed: Vec<&Json> = methods
        .iter()
        .map(|method| &method["name"])
        .filter(|name| !requests.iter().any(|(asked, _)| name == asked))
        .collect();
    assert!(missed.is_empty(), "not tried: {missed:?}");
}

/// As JSON Schema has it, and stricter: a member that the schema does not name is wrong.
fn fits(value: &Json, schema: &Json, document: &Json) -> Result<(), String> {
    if schema == &json!(true)
        || schema.as_object().is_some_and(|all| all.keys().all(|key| key == "description" || key == "default"))
    {
        return Ok(());
    }
    if let Some(path) = schema["$ref"].as_str() {
        return fits(value, document.pointer(path.trim_start_matches('#')).ok_or(path)?, document);
    }
    if let Some(list) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Json::as_array) {
        let wrong: Vec<String> = list.iter().map_while(|one| fits(value, one, document).err()).collect();
        return if wrong.len() < list.len() { Ok(()) } else { Err(wrong.join(" / ")) };
    }
    if let Some(constant) = schema.get("const") {
        return if constant == value { Ok(()) } else { Err(format!("{value} is not {constant}")) };
    }
    if let Some(list) = schema["enum"].as_array() {
        return if list.contains(value) { Ok(()) } else { Err(format!("{value} is not listed")) };
    }
    let kinds = match &schema["type"] {
        Json::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let is = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    if !kinds.iter().any(|kind| kind == is || (kind == "number" && is == "integer")) {
        return Err(format!("{value} is not one of {kinds:?}"));
    }
    match value {
        Json::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| {
            let listed = schema["prefixItems"].as_array().and_then(|list| list.get(at));
            fits(item, listed.unwrap_or(&schema["items"]), document)
        }),
        Json::Object(members) => {
            for required in schema["required"].as_array().into_iter().flatten() {
                members.get(required.as_str().unwrap()).ok_or(format!("{required} is missing"))?;
            }
            members.iter().try_for_each(|(name, member)| {
                let named = schema["properties"].get(name).or(schema.get("additionalProperties"));
                let schema = named.ok_or(format!("{name} is not described"))?;
                fits(member, schema, document).map_err(|why| format!("{name}: {why}"))
            })
        }
        _ => Ok(()),
    }
}
