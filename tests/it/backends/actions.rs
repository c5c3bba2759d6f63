//! Actions: what an app asks of its backend beside its rows.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::super::rig::{Backend, Device, Hub, Mode, Road, eventually, has, token};
use super::plain;

fn device(name: &str, url: &str, extra: &str) -> Device {
    plain(name, url, &[("ACTION_PATH", "actions")], extra)
}

/// What had an effect: (action, payload), in order.
fn effects(backend: &Backend) -> Vec<(String, Json)> {
    let state = backend.state();
    let effects = state["effects"].as_array().unwrap().iter();
    effects.map(|effect| (effect["action"].as_str().unwrap().to_owned(), effect["payload"].clone())).collect()
}

/// The keys of all tries, in order.
fn keys_tried(backend: &Backend) -> Vec<String> {
    backend
        .call("keys_tried", json!([]))
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect()
}

fn call(device: &Device, method: &str, params: Json) -> Json {
    let mut socket = UnixStream::connect(&device.socket).unwrap();
    writeln!(socket, "{}", json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).unwrap();
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// What a script prints that uses the Python client.
fn client(device: &Device, script: &str) -> String {
    let clients = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");
    let mut python = Command::new("python3");
    python.args(["-B", "-c", script]).env("PYTHONPATH", clients).env("HOMING_SOCKET", &device.socket);
    let told = python.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

fn queue(device: &Device) -> Vec<Json> {
    device.json(&["queue", "list"])["changes"].as_array().unwrap().clone()
}

/// W6.
#[test]
fn an_action_goes_after_the_row_it_was_written_with_in_order_and_once() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let a = device("a", &backend.url(), "");
    a.sql(
        "BEGIN; INSERT INTO _homing_actions(action, payload) VALUES ('announce', '{\"list\": \"l1\", \"n\": 1.10}');
         INSERT INTO lists VALUES ('l1', 'Garden'); COMMIT",
    );
    eventually("it is done", || !effects(&backend).is_empty());
    let first = backend.state()["effects"][0].clone();
    assert_eq!((&first["lists"], &first["user"]), (&json!(1), &json!("ada")), "its row was there: {first}");
    // What is rolled back was never asked for.
    a.python(
        "db.execute('PRAGMA trusted_schema = OFF')\n\
         db.execute('BEGIN'); db.execute(\"INSERT INTO _homing_actions(action) VALUES ('never')\"); db.rollback()\n\
         db.execute(\"INSERT INTO _homing_actions(action) VALUES ('second')\")\n\
         db.execute(\"INSERT INTO _homing_actions(action, payload, key) VALUES ('third', '[3]', 'order:3')\"); db.commit()",
    );
    let fourth =
        call(&a, "action.enqueue", json!({"replica": "notes", "action": "fourth", "payload": {"b": 1, "a": [2]}}));
    assert_eq!(fourth["result"]["folded"], false, "{fourth}");
    let fifth = "from homing_client import Client\n\
        print(Client().enqueue('notes', 'fifth', {'n': 2**53 + 1}, key='k5')['key'])";
    assert_eq!(client(&a, fifth), "k5");
    a.sync();
    let names: Vec<String> = effects(&backend).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["announce", "second", "third", "fourth", "fifth"]);
    assert_eq!(effects(&backend)[4].1, json!({"n": (1i64 << 53) + 1}));
    let effects = backend.state()["effects"].clone();
    assert_eq!((&effects[1]["payload"], &effects[2]["key"]), (&Json::Null, &json!("order:3")));
    assert_eq!(effects[3]["key"], fourth["result"]["key"]);
    let status = a.await_state("in_step");
    assert_eq!((&status["pending"], &status["set_aside"]), (&json!(0), &json!(0)));
    assert_eq!(queue(&a), Vec::<Json>::new());
    let id = fourth["result"]["id"].to_string();
    let life = a.homing(&["explain", "notes", "_homing_actions", &id]);
    assert!(life.out.contains("done") && life.out.contains(r#"{"number": 4}"#), "{life:?}");
    // The app may look at the answer itself.
    assert_eq!(a.sql("SELECT answer FROM _homing_actions WHERE action = 'third'"), r#"{"number": 3}"#);
}

#[test]
fn duplicates_of_one_that_waits_are_folded_and_what_the_app_keeps_apart_is_not() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let mut a = device("a", &backend.url(), "");
    a.homing(&["pause"]);
    let asked = json!({"replica": "notes", "action": "refresh", "payload": {"a": 1}});
    let first = call(&a, "action.enqueue", asked.clone())["result"].clone();
    let again = call(&a, "action.enqueue", asked)["result"].clone();
    assert_eq!((&again["id"], &again["key"], &again["folded"]), (&first["id"], &first["key"], &json!(true)));
    a.kill();
    a.sql(
        "INSERT INTO _homing_actions(action, payload) VALUES ('refresh', '{ \"a\" : 1 }'), ('refresh', '{\"a\": 2}'),
             ('count', '1'), ('refresh', '{\"a\":1}');
         INSERT INTO _homing_actions(action, payload, key) VALUES ('count', '1', 'k1'), ('count', '1', 'k2'), ('count', '2', 'k1')",
    );
    a.start();
    a.homing(&["resume"]);
    a.sync();
    let expected = [
        ("refresh", json!({"a": 1})),
        ("refresh", json!({"a": 2})),
        ("count", json!(1)),
        ("count", json!(1)),
        ("count", json!(1)),
    ];
    assert_eq!(effects(&backend), expected.map(|(name, payload)| (name.to_owned(), payload)));
    assert_eq!(a.sql("SELECT count(*) FROM _homing_actions WHERE state = 'folded'"), "3");
    // What is over is no duplicate of anything.
    a.sql("INSERT INTO _homing_actions(action, payload) VALUES ('refresh', '{\"a\":1}')");
    a.sync();
    assert_eq!(effects(&backend).len(), 6);
}

#[test]
fn an_answer_that_is_lost_on_the_way_is_asked_for_again_under_the_same_key() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let a = device("a", &backend.url(), "");
    for (at, kind) in ["before", "after", "half", "html"].into_iter().enumerate() {
        backend.fault("/actions", kind);
        a.sql(&format!("INSERT INTO _homing_actions(action, payload) VALUES ('try', '\"{kind}\"')"));
        a.sync();
        assert_eq!(effects(&backend)[at..], [("try".to_owned(), json!(kind))], "{kind}");
    }
    let keys = keys_tried(&backend);
    let different: BTreeSet<&String> = keys.iter().collect();
    assert_eq!((keys.len(), different.len()), (6, 4), "two of the faults come after the backend has seen it: {keys:?}");
}

/// The backend has done it, and the agent is killed before it could write that down.
#[test]
fn a_kill_between_the_answer_and_the_note_does_not_do_it_twice() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let mut a = device("a", &backend.url(), "");
    backend.fault("/actions", "hold");
    a.sql("INSERT INTO _homing_actions(action) VALUES ('once')");
    eventually("it is done", || effects(&backend).len() == 1);
    // An app that keeps the write lock: the answer comes and cannot be noted.
    let lock = rusqlite::Connection::open(&a.database).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    backend.call("release", json!([]));
    eventually("it is answered", || backend.call("held_answers_gone", json!([])) == 1);
    a.kill();
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(a.sql("SELECT state FROM _homing_actions WHERE action = 'once'"), "pending");
    a.start();
    a.sync();
    assert_eq!(a.sql("SELECT state FROM _homing_actions WHERE action = 'once'"), "done");
    let keys = keys_tried(&backend);
    assert_eq!((effects(&backend).len(), keys.len() > 1), (1, true), "{keys:?}");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

/// Killed while the backend has its question, while it is answered, between two of them.
#[test]
fn kills_in_the_midst_of_many_actions_leave_each_done_once_and_in_order() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let mut a = device("a", &backend.url(), "");
    a.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
         INSERT INTO _homing_actions(action, payload) SELECT 'count', i FROM n",
    );
    for done in [1, 5, 12, 20, 33, 47] {
        eventually(&format!("{done} are done"), || effects(&backend).len() >= done);
        a.kill();
        a.start();
    }
    a.sync();
    let done: Vec<i64> = effects(&backend).into_iter().map(|(_, payload)| payload.as_i64().unwrap()).collect();
    assert_eq!(done, (1..=60).collect::<Vec<i64>>());
    assert_eq!(a.sql("SELECT DISTINCT state FROM _homing_actions"), "done");
}

#[test]
fn a_refused_action_waits_for_a_person_and_the_others_and_all_rows_go_on() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let a = device("a", &backend.url(), "[replica.notes.limits]\ntries_max = 2");
    a.sql(
        "INSERT INTO _homing_actions(action, payload) VALUES ('bad', '1'), ('good', '1'), ('huge', '\"' || hex(zeroblob(9000)) || '\"'),
             ('good', '2'), ('worse than bad', '1'), ('good', 'no JSON'), ('good', '3');
         INSERT INTO lists VALUES ('l1', 'Garden')",
    );
    eventually("all others are done", || effects(&backend).len() == 3);
    assert_eq!(a.homing(&["sync", "--wait"]).code, 3);
    assert_eq!(effects(&backend), [1, 2, 3].map(|n| ("good".to_owned(), json!(n))));
    assert_eq!(backend.rows("lists", &["data"]).len(), 1);
    let waiting = queue(&a);
    let reasons: Vec<(&Json, &Json, &Json)> =
        waiting.iter().map(|one| (&one["action"], &one["state"], &one["reason"]["code"])).collect();
    let aside = json!("set_aside");
    assert_eq!(
        reasons,
        [
            (&json!("bad"), &aside, &json!("action_refused")),
            (&json!("huge"), &aside, &json!("row_too_large")),
            (&json!("worse than bad"), &aside, &json!("bad_request")),
            (&json!("good"), &aside, &json!("bad_request")),
        ]
    );
    assert_eq!((&waiting[0]["tries"], &waiting[0]["table"]), (&json!(2), &json!("_homing_actions")));
    assert!(waiting[0]["reason"]["text"].as_str().unwrap().contains("no such seat"), "{waiting:?}");
    assert_eq!(a.status()["set_aside"], 4);
    assert_eq!(
        a.sql("SELECT operation, state FROM homing_pending WHERE table_name = '_homing_actions' LIMIT 1"),
        "insert|set_aside"
    );
    // Mended by the app and sent again by a person; the others given up.
    a.sql("UPDATE _homing_actions SET action = 'good', payload = '4' WHERE action = 'bad'");
    let key = waiting[0]["key"].as_str().unwrap();
    assert_eq!(a.homing(&["queue", "retry", "notes", "_homing_actions", key]).code, 0);
    for one in &waiting[1..] {
        let told = a.homing(&["queue", "discard", "notes", "_homing_actions", one["key"].as_str().unwrap()]);
        assert_eq!(told.code, 0, "{told:?}");
    }
    a.sync();
    assert_eq!(effects(&backend)[3], ("good".to_owned(), json!(4)));
    assert_eq!(a.homing(&["queue", "discard", "notes", "_homing_actions", "[999]"]).code, 1);
}

#[test]
fn trouble_with_actions_alone_keeps_no_row_back_and_is_never_held_against_them() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let a = device("a", &backend.url(), "[replica.notes.limits]\ntries_max = 1");
    for (status, headers) in
        [(500, json!({})), (503, json!({"Retry-After": "1"})), (429, json!({"Retry-After": "1"})), (408, json!({}))]
    {
        backend.plan(json!({"path": "/actions", "kind": "status", "status": status, "headers": headers}));
    }
    backend.call("put_list", json!(["theirs"]));
    a.sql("INSERT INTO _homing_actions(action) VALUES ('one'), ('two'); INSERT INTO lists VALUES ('l1', 'Garden')");
    eventually("rows come and go meanwhile", || {
        a.sql("SELECT count(*) FROM lists") == "2" && backend.rows("lists", &["data"]).len() == 2
    });
    a.sync();
    let names: Vec<String> = effects(&backend).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(a.status()["set_aside"], 0);
    // A token that is refused is everybody's trouble.
    a.sign_in("not a token");
    a.sql("INSERT INTO _homing_actions(action) VALUES ('three')");
    a.await_state("signed_out");
    a.sign_in(&token("ada"));
    a.sync();
    assert_eq!(effects(&backend).len(), 3);
}

#[test]
fn without_a_network_actions_wait_and_go_when_it_is_back() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let address = backend.url().trim_start_matches("http://").to_owned();
    let road = Road::to(&address);
    let a = device("a", &road.url(), "");
    road.set(Mode::Cut);
    a.sql("INSERT INTO _homing_actions(action) VALUES ('one')");
    a.await_state("offline");
    assert_eq!(queue(&a)[0]["tries"], 0);
    assert_ne!(a.homing(&["detach", "notes"]).code, 0, "it is unsent");
    road.set(Mode::Open(address));
    eventually("it goes by itself", || effects(&backend).len() == 1);
    a.sync();
    assert_eq!(a.homing(&["detach", "notes"]).code, 0);
    assert_eq!(a.sql("SELECT group_concat(name) FROM sqlite_schema WHERE name LIKE '%homing%'"), "");
}

#[test]
fn a_remote_that_takes_no_actions_says_so_and_they_go_when_it_does() {
    if !has("python3") {
        return;
    }
    let hub = Hub::start();
    let mut b = Device::new("b", &hub.url(), &hub.token(&["--account", "ada"]));
    b.sql("CREATE TABLE lists(id TEXT PRIMARY KEY, name TEXT)");
    b.start();
    b.sync();
    let refused = call(&b, "action.enqueue", json!({"replica": "notes", "action": "x"}));
    assert_eq!(refused["error"]["data"]["reason"], "no_actions", "{refused}");
    b.sql("INSERT INTO _homing_actions(action) VALUES ('lost?')");
    assert_eq!(b.homing(&["sync", "--wait"]).code, 3);
    assert_eq!(b.status()["reason"]["code"], "no_actions");

    let backend = Backend::start("plain", &[]);
    let mut a = device("a", &backend.url(), "");
    a.stop();
    a.set("REPLICA__NOTES__REMOTE__ACTION_PATH", "");
    a.sql("INSERT INTO _homing_actions(action) VALUES ('early')");
    a.start();
    assert_eq!(a.homing(&["sync", "--wait"]).code, 3);
    a.stop();
    a.set("REPLICA__NOTES__REMOTE__ACTION_PATH", "actions");
    a.start();
    a.sync();
    assert_eq!(effects(&backend).len(), 1);
}

/// A file as the version before this one left it.
#[test]
fn a_file_of_the_format_before_is_upgraded_and_takes_actions() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let mut a = device("a", &backend.url(), "");
    a.stop();
    let views =
        a.sql("SELECT group_concat(sql, ';') FROM sqlite_schema WHERE type = 'view' AND name = 'homing_pending'");
    let older =
        views.split("UNION ALL").filter(|part| !part.contains("_homing_actions")).collect::<Vec<_>>().join("UNION ALL");
    a.sql(&format!(
        "DROP VIEW homing_status; DROP VIEW homing_pending; DROP TABLE _homing_actions; DROP TABLE _homing_answer; {older};
         CREATE VIEW homing_status(name, value) AS SELECT 'pending', (SELECT count(*) FROM homing_pending);
         UPDATE _homing_meta SET value = 2 WHERE name = 'format'; INSERT INTO lists VALUES ('l1', 'Garden')"
    ));
    a.start();
    a.sync();
    assert_eq!(a.sql("SELECT value FROM _homing_meta WHERE name = 'format'"), "4");
    a.sql("INSERT INTO _homing_actions(action) VALUES ('one')");
    a.sync();
    assert_eq!((effects(&backend).len(), backend.rows("lists", &["data"]).len()), (1, 1));
    assert_eq!(a.sql("SELECT value FROM homing_status WHERE name = 'set_aside'"), "0");
}

#[test]
fn who_listens_hears_what_became_of_an_action() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let a = device("a", &backend.url(), "[replica.notes.limits]\ntries_max = 1");
    let mut socket = UnixStream::connect(&a.socket).unwrap();
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": {"topics": ["action"]}});
    writeln!(socket, "{asked}").unwrap();
    let mut lines = BufReader::new(socket).lines().map(|line| serde_json::from_str::<Json>(&line.unwrap()).unwrap());
    lines.next();
    a.sql("INSERT INTO _homing_actions(action) VALUES ('good'), ('bad')");
    let mut told = || lines.next().unwrap()["params"]["data"].clone();
    let (good, bad) = (told(), told());
    assert_eq!(
        (&good["action"], &good["state"], &good["answer"]),
        (&json!("good"), &json!("done"), &json!("{\"number\": 1}"))
    );
    assert_eq!((&bad["action"], &bad["state"]), (&json!("bad"), &json!("set_aside")));
    assert!(bad["reason"].as_str().unwrap().contains("no such seat"), "{bad}");
}
