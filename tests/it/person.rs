//! What a person tells a replica, and what is shown when asked: pause, detach, the
//! queue, the ledger, verify, in the shapes that programs hold on to.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::rig::{Device, Pair, eventually, sqlite3};

const NOTES: &str = "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)";

/// The names in an object, sorted.
fn names(object: &Json) -> Vec<&str> {
    object.as_object().unwrap_or_else(|| panic!("{object} is no object")).keys().map(String::as_str).collect()
}

fn schema(device: &Device) -> String {
    device.sql("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid")
}

#[test]
fn a_pause_outlives_the_agent_and_keeps_what_is_written() {
    let mut pair = Pair::new(NOTES).start();
    assert_eq!(pair.a.homing(&["pause", "notes"]).code, 0);
    pair.a.sql("INSERT INTO notes VALUES (1, 'while paused')");
    pair.a.kill();
    pair.a.start();
    let status = pair.a.status();
    assert_eq!((&status["state"], &status["pending"]), (&json!("paused"), &json!(1)), "{status:#}");
    assert_eq!(status["reason"]["code"], "paused_by_person");
    assert_eq!(pair.a.homing(&["sync", "--wait"]).code, 75);
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "0");
    assert_eq!(pair.a.homing(&["resume"]).code, 0);
    pair.a.await_state("in_step");
    eventually("it arrives", || pair.b.sql("SELECT count(*) FROM notes") == "1");
    pair.a.kill();
    pair.a.start();
    pair.a.await_state("in_step");
}

#[test]
fn detach_refuses_while_unsent_and_leaves_nothing_behind_until_attach() {
    let mut pair = Pair::new(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX by_body ON notes(body);
         CREATE VIEW short AS SELECT id FROM notes; CREATE TABLE log(what TEXT);
         CREATE TRIGGER noted AFTER INSERT ON notes BEGIN INSERT INTO log VALUES ('new'); END",
    );
    let before = schema(&pair.a);
    pair.b.start();
    pair.a.start();
    pair.a.sync();
    assert_ne!(schema(&pair.a), before);
    pair.hub.kill();
    pair.a.sql("INSERT INTO notes VALUES (1, 'unsent')");
    let told = pair.a.homing(&["detach", "notes"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.err.contains("1 change of notes is not sent yet") && told.err.contains("--discard"), "{told:?}");
    // Refused whole: it is captured and sent as before.
    pair.hub.start_again();
    pair.a.await_state("in_step");
    pair.hub.kill();
    pair.a.sql("INSERT INTO notes VALUES (2, 'to be discarded')");
    assert_eq!(pair.a.homing(&["detach", "notes", "--discard"]).code, 0);
    assert_eq!(schema(&pair.a), before);
    assert_eq!(pair.a.sql("SELECT count(*) FROM notes"), "2");
    assert_eq!(pair.a.status()["state"], "detached");
    pair.hub.start_again();
    pair.a.kill();
    pair.a.start();
    assert_eq!(pair.a.status()["state"], "detached");
    let told = pair.a.homing(&["sync", "--wait"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("homing attach"), "{told:?}");
    assert_eq!(schema(&pair.a), before);
    pair.b.sync();
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "1");
    // Attached again, it sends what it has and the hub lacks.
    assert_eq!(pair.a.homing(&["attach", "notes"]).code, 0);
    pair.a.await_state("in_step");
    pair.b.sync();
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "2");
    assert_eq!(pair.a.json(&["conflicts", "list"])["conflicts"], json!([]));
    assert_eq!(pair.a.homing(&["detach", "notes"]).code, 0);
    assert_eq!(schema(&pair.a), before);
}

#[test]
fn the_documents_have_the_shapes_of_the_contract() {
    let mut pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'one'), (2, 'two')");
    pair.settle();
    let status = pair.a.json(&["status"]);
    assert_eq!(names(&status), ["replicas", "schema", "version"]);
    assert_eq!(status["schema"], "homing.status/1");
    let replica = &status["replicas"][0];
    for name in [
        "name",
        "database",
        "state",
        "reason",
        "pending",
        "set_aside",
        "conflicts",
        "parked",
        "last_sync_at",
        "next_sync_at",
        "oldest_pending_seconds",
        "online",
        "link",
        "last_cycle",
    ] {
        assert!(names(replica).contains(&name), "{name} in {replica:#}");
    }
    assert_eq!(names(&replica["link"]), ["failures", "latency_ms", "skew_ms"]);
    assert_eq!(
        names(&replica["last_cycle"]),
        ["bytes_down", "bytes_up", "conflicts", "milliseconds", "pulled", "pushed"]
    );
    let history = pair.a.json(&["history", "notes"]);
    assert_eq!(history["schema"], "homing.history/1");
    let pushed: Vec<&Json> =
        history["cycles"].as_array().unwrap().iter().filter(|cycle| cycle["pushed"] == 2).collect();
    assert_eq!((pushed.len(), &pushed[0]["reason"]), (1, &Json::Null), "{history:#}");

    pair.hub.kill();
    pair.a.sql("UPDATE notes SET body = 'uno' WHERE id = 1; DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (3, 'three')");
    pair.a.await_state("offline");
    let queue = pair.a.json(&["queue", "list"]);
    assert_eq!(queue["schema"], "homing.queue/1");
    for name in
        ["replica", "table", "key", "operation", "columns", "state", "priority", "tries", "next_try_at", "reason"]
    {
        assert!(names(&queue["changes"][0]).contains(&name), "{name} in {queue:#}");
    }
    let found: Vec<Json> = queue["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            json!([change["key"], change["operation"], change["columns"], change["state"], change["priority"]])
        })
        .collect();
    let mut sorted = found.clone();
    sorted.sort_by_key(ToString::to_string);
    assert_eq!(
        sorted,
        [
            json!(["[1]", "update", ["body"], sorted[0][3], 2]),
            json!(["[2]", "delete", [], sorted[1][3], 2]),
            json!(["[3]", "insert", ["id", "body"], sorted[2][3], 2]),
        ]
    );
    assert!(found.iter().all(|change| change[3] == "pending" || change[3] == "in_flight"), "{queue:#}");
    let plan = pair.a.json(&["plan", "notes"]);
    assert_eq!((&plan["schema"], &plan["replica"]), (&json!("homing.plan/1"), &json!("notes")));
    let explained = pair.a.json(&["explain", "notes", "notes", "1"]);
    assert_eq!((&explained["schema"], &explained["key"]), (&json!("homing.explain/1"), &json!("[1]")));
    assert_eq!(explained["verdict"], "updated here, not sent yet");

    // Meanwhile, elsewhere: a conflict.
    pair.b.kill();
    pair.hub.start_again();
    pair.a.sync();
    pair.hub.kill();
    pair.b.start();
    pair.b.sql("UPDATE notes SET body = 'een' WHERE id = 1");
    pair.hub.start_again();
    pair.settle();
    let mut ledger = Vec::new();
    for device in [&pair.a, &pair.b] {
        let list = device.json(&["conflicts", "list"]);
        assert_eq!(list["schema"], "homing.conflicts/1");
        ledger.extend(list["conflicts"].as_array().unwrap().iter().map(|conflict| (device, conflict.clone())));
    }
    assert_eq!(ledger.len(), 1, "{:#?}", ledger.iter().map(|(_, conflict)| conflict).collect::<Vec<_>>());
    let (device, conflict) = &ledger[0];
    for name in
        ["id", "replica", "table", "key", "kind", "strategy", "base", "local", "remote", "result", "settled_by", "at"]
    {
        assert!(names(conflict).contains(&name), "{name} in {conflict:#}");
    }
    assert_eq!(
        json!([conflict["kind"], conflict["local"]["body"], conflict["remote"]["body"], conflict["settled_by"]]),
        json!(["update_update", "een", "uno", "rule"])
    );
    let id = conflict["id"].to_string();
    let shown = device.homing(&["conflicts", "show", &id]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.out.contains("een") && shown.out.contains("uno"), "{}", shown.out);
    let refused = device.homing(&["conflicts", "show", "99999"]);
    assert_eq!(refused.code, 1, "{refused:?}");

    // What is not there is said so, each with a way on.
    for line in [
        &["sync", "nothing", "--wait"][..],
        &["queue", "show", "notes", "nothing", "1"],
        &["explain", "notes", "nothing", "1"],
        &["plan", "nothing"],
        &["verify", "nothing"],
        &["detach", "nothing"],
    ] {
        let told = pair.a.homing(line);
        assert_eq!(told.code, 1, "{line:?}: {told:?}");
        assert!(told.err.contains("error:") && told.err.contains("next:"), "{line:?}: {told:?}");
    }
}

#[test]
fn a_change_given_up_goes_back_to_the_remotes_version_and_into_the_ledger() {
    let mut pair = Pair::new("");
    pair.b.sql("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT NOT NULL)");
    pair.a.sql(NOTES);
    pair.a.configure("[replica.notes.limits]\ntries_max = 1");
    pair.b.start();
    pair.b.sync();
    pair.a.start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'good'), (2, 'good')");
    pair.a.sync();
    pair.a.sql("UPDATE notes SET body = NULL");
    pair.a.await_status("set aside", |status| status["set_aside"] == 2);
    // One is given up.
    let told = pair.a.homing(&["queue", "discard", "notes", "notes", "1"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(pair.a.sql("SELECT coalesce(body, 'null') FROM notes ORDER BY id"), "good\nnull");
    let kept = pair.a.json(&["conflicts", "list"])["conflicts"][0].take();
    assert_eq!(
        json!([kept["local"]["body"], kept["result"]["body"], kept["settled_by"]]),
        json!([null, "good", "person"])
    );
    assert_eq!(pair.a.homing(&["queue", "discard", "notes", "notes", "1"]).code, 1, "nothing is left to give up");
    // The other is sent again as it is, and again refused.
    let told = pair.a.homing(&["queue", "retry", "notes", "notes", "2"]);
    assert_eq!(told.code, 0, "{told:?}");
    let told = pair.a.homing(&["sync", "--wait"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert_eq!(pair.a.json(&["queue", "list"])["changes"][0]["tries"], 1);
    pair.a.sql("UPDATE notes SET body = 'better' WHERE id = 2");
    pair.a.await_state("in_step");
    pair.settle();
    assert_eq!(pair.b.sql("SELECT body FROM notes ORDER BY id"), "good\nbetter");
}

#[test]
fn verify_names_what_differs_and_repair_brings_it_back() {
    let pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four')");
    pair.settle();
    let clean = pair.a.homing(&["verify", "notes"]);
    assert_eq!(clean.code, 0, "{clean:?}");
    // Past all capture, here: a row changed, one gone, one more.
    pair.a.python(
        "for (name, sql) in db.execute(\"SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'\").fetchall():\n    \
             db.execute('DROP TRIGGER \"%s\"' % name)\n\
         db.execute(\"UPDATE notes SET body = 'tampered' WHERE id = 1\")\n\
         db.execute('DELETE FROM notes WHERE id = 2')\n\
         db.execute(\"INSERT INTO notes VALUES (9, 'smuggled')\")",
    );
    // Noticed by the missing triggers, compared and sent: nothing of it is lost.
    eventually("the audit finds it", || {
        pair.b.sql("SELECT group_concat(id || body) FROM notes") == "1tampered,3three,4four,9smuggled"
    });
    pair.settle();
    // With triggers off nothing can notice, here or at the hub; comparing does.
    let past = |sql: &str| format!(".dbconfig enable_trigger off\n{sql}");
    pair.b.sql(&past("UPDATE notes SET body = 'past b' WHERE id = 1; DELETE FROM notes WHERE id = 9"));
    sqlite3(
        &pair.hub.scope("ada"),
        &past(
            "UPDATE notes SET body = 'past the hub' WHERE id = 3; DELETE FROM notes WHERE id = 4; INSERT INTO notes VALUES (8, 'past the hub')",
        ),
    );
    let told = pair.b.homing(&["verify", "notes", "--json"]);
    let mut found = told.json();
    assert_eq!(
        (told.code, &found["schema"], &found["tables"][0]["table"]),
        (3, &json!("homing.verify/1"), &json!("notes"))
    );
    let mut differing = found["tables"][0]["differing"].take().as_array().unwrap().clone();
    differing.sort_by_key(ToString::to_string);
    assert_eq!(
        differing,
        [
            json!(["[1]", "differs"]),
            json!(["[3]", "differs"]),
            json!(["[4]", "missing_there"]),
            json!(["[8]", "missing_here"]),
            json!(["[9]", "missing_here"]),
        ]
    );
    let repaired = pair.b.homing(&["verify", "notes", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    pair.settle();
    for device in [&pair.a, &pair.b] {
        assert_eq!(device.homing(&["verify", "notes"]).code, 0, "{}", device.name);
    }
    assert_eq!(pair.a.sql("SELECT count(*) FROM notes WHERE id IN (3, 8, 9)"), "3");
}

#[test]
fn an_emptied_table_is_asked_about_before_it_is_sent_and_before_it_is_applied() {
    let pair = Pair::new(NOTES).start();
    pair.a.python("db.executemany('INSERT INTO notes VALUES (?, ?)', [(i, 'row %d' % i) for i in range(300)])");
    pair.settle();
    pair.a.sql("DELETE FROM notes");
    let status = pair.a.await_reason("mass_deletion");
    assert_eq!((&status["set_aside"], &status["pending"]), (&json!(300), &json!(0)), "{status:#}");
    assert!(status["reason"]["next"].as_str().unwrap().contains("homing queue retry notes --all"), "{status:#}");
    pair.b.sync();
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "300");
    assert_eq!(pair.a.homing(&["sync", "--wait"]).code, 3);
    assert_eq!(pair.a.homing(&["queue", "retry", "notes", "--all"]).code, 0);
    pair.a.await_state("in_step");
    let status = pair.b.await_reason("mass_deletion");
    assert_eq!(status["parked"], json!(300), "{status:#}");
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "300");
    assert_eq!(pair.b.homing(&["queue", "retry", "notes", "--all"]).code, 0);
    pair.settle();
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "0");
}

#[test]
fn trouble_of_one_replica_leaves_the_others_alone() {
    let mut pair = Pair::new(NOTES);
    let text = std::fs::read_to_string(&pair.a.config).unwrap();
    let (top, replica) = text.split_at(text.find("[replica.notes]").unwrap());
    let other = replica.replace("replica.notes", "replica.stock").replace("notes.db", "stock.db");
    std::fs::write(&pair.a.config, format!("{top}{replica}{other}")).unwrap();
    pair.a.start();
    pair.b.start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'goes on')");
    eventually("the good one syncs", || pair.b.sql("SELECT count(*) FROM notes") == "1");
    // Each goes on with its own cycles meanwhile: the lines are true together sooner or later.
    eventually("both lines are told", || {
        let told = pair.a.homing(&["status"]).out;
        told.contains("notes  in step")
            && told.contains("stock  waits to try again")
            && told.contains("stock.db is not there")
    });
    assert_eq!(pair.a.homing(&["sync", "notes", "--wait"]).code, 0);
    assert_eq!(pair.a.homing(&["sync", "--wait"]).code, 1);
    // The app is started at last.
    sqlite3(&pair.a.database.with_file_name("stock.db"), "CREATE TABLE stock(sku TEXT PRIMARY KEY, n INTEGER)");
    eventually("the other one too", || pair.a.homing(&["sync", "--wait"]).code == 0);
}

#[test]
fn a_second_agent_is_refused_and_a_stop_is_quick_and_leaves_no_socket() {
    let mut pair = Pair::new(NOTES).start();
    let mut second = pair.a.spawn("second.log", |_| {});
    assert_eq!(second.ended().code(), Some(1));
    let said = std::fs::read_to_string(pair.a.home().join("second.log")).unwrap();
    assert!(said.contains("another agent is running") && said.contains("next:"), "{said}");
    // Also on another socket: the state directory is what must not be shared.
    let mut third = pair.a.spawn("third.log", |command| {
        command.arg("--socket").arg(pair.a.home().join("other.sock"));
    });
    assert_eq!(third.ended().code(), Some(1));
    pair.a.sync();
    let (status, took) = pair.a.stop();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
    assert!(!pair.a.socket.exists());
    assert_eq!(pair.a.homing(&["status"]).code, 69);
    // No connection was left open: the app's file is whole and alone.
    let left: Vec<_> =
        std::fs::read_dir(pair.a.database.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.db"]);
    let (status, took) = pair.hub.stop();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
    let (status, took) = pair.b.stop();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
    // A killed agent's socket and lock are no hindrance.
    pair.hub.start_again();
    pair.a.start();
    pair.a.kill();
    pair.a.start();
    pair.a.sync();
}
