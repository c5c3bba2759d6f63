//! Bad input of every kind, as a person meets it: what is said, what is kept, and that
//! it goes on by itself when the cause has gone.

use serde_json::{Value as Json, json};

use super::rig::{Device, Hub, Mode, Pair, Road, dump, eventually, has, http};

const NOTES: &str = "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)";

/// A hub, a road to it, and one device on that road with one row that was never sent.
struct Trip {
    hub: Hub,
    road: Road,
    device: Device,
}

impl Trip {
    fn new() -> Trip {
        let hub = Hub::start();
        let road = Road::to(&hub.address());
        let device = Device::new("a", &road.url(), &hub.token(&["--account", "ada"]));
        device.sql(NOTES);
        Trip { hub, road, device }
    }

    /// Everything is well again: the row is sent without a command.
    #[track_caller]
    fn heals(&self) {
        self.device.await_state("in_step");
        let both = || (dump(&self.device.database), dump(&self.hub.scope("ada")));
        eventually("the hub has all", || both().0 == both().1);
    }
}

/// Shows a person's view of trouble, and holds it to the rules: a state, a code, words
/// that say what was kept and what comes next, and an exit code.
#[track_caller]
fn told(device: &Device, state: &str, code: &str, exit: i32) -> String {
    // A cycle that begins now: what is told is not of an earlier trouble.
    let sync = device.homing(&["sync", "--wait", "--timeout", "2s"]);
    assert_eq!(sync.code, exit, "{sync:?}");
    // Tries go on meanwhile, and each may see the same trouble from another side.
    let said = |status: &Json, part: &str| {
        let text = status["reason"][part].as_str().unwrap_or_default().to_owned();
        !text.is_empty() && sync.out.contains(&text)
    };
    let status = device.await_status(&format!("{code} as in {sync:?}"), |status| {
        status["reason"]["code"] == code && said(status, "text") && said(status, "next")
    });
    assert_eq!(status["state"], state, "{status:#}");
    device.homing(&["status"]).out
}

#[test]
fn every_way_a_hub_can_fail_is_told_apart_and_ends_by_itself() {
    let mut trip = Trip::new();
    let refusal = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"no","hint":""}}}}"#);
    let hub = "homing-protocol: 1\r\n";
    trip.road.set(Mode::Cut);
    trip.device.start();
    // Its first try has failed, and the file is watched.
    trip.device.await_state("offline");
    trip.device.sql("INSERT INTO notes VALUES (0, 'unsent')");
    for (what, mode, state, code, exit) in [
        ("cut", Mode::Cut, "offline", "offline_hub_down", 69),
        ("html", Mode::Answer(http("200 OK", "content-type: text/html\r\n", "<html>log in</html>")), "offline", "offline_not_the_hub", 69),
        ("bare 401", Mode::Answer(http("401 Unauthorized", "", "")), "offline", "offline_not_the_hub", 69),
        ("401", Mode::Answer(http("401 Unauthorized", hub, &refusal("token_bad"))), "signed_out", "auth_refused", 77),
        ("413", Mode::Answer(http("413 Payload Too Large", hub, &refusal("too_large"))), "backing_off", "protocol_error", 1),
        ("429", Mode::Answer(http("429 Too Many Requests", &format!("{hub}retry-after: 1\r\n"), &refusal("rate_limited"))), "backing_off", "rate_limited", 75),
        ("500", Mode::Answer(http("500 Internal Server Error", hub, &refusal("internal"))), "backing_off", "remote_trouble", 75),
        ("half", Mode::Answer(b"HTTP/1.1 200 OK\r\nhoming-protocol: 1\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{\"protocol\":1,".to_vec()), "offline", "offline_hub_down", 69),
        ("rubbish", Mode::Answer(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "offline", "offline_not_the_hub", 69),
        ("json rubbish", Mode::Answer(http("200 OK", &format!("{hub}content-type: application/json\r\n"), "[1, 2, {]")), "backing_off", "protocol_error", 1),
    ] {
        trip.road.set(mode);
        let text = told(&trip.device, state, code, exit);
        assert!(text.contains("1 change to send"), "{what}: {text}");
        assert_eq!(trip.device.json(&["queue", "list"])["changes"][0]["state"], "pending", "{what}");
        let plan = trip.device.json(&["plan", "notes"]);
        assert_eq!(plan["batches"][0]["changes"].as_array().unwrap().len(), 1, "{what}");
        let explained = trip.device.homing(&["explain", "notes", "notes", "0"]);
        assert_eq!(explained.code, 0, "{what}: {explained:?}");
        assert!(explained.out.contains("not sent"), "{what}: {}", explained.out);
    }
    trip.road.set(Mode::Open(trip.hub.address()));
    trip.heals();
    trip.hub.kill();
    trip.device.sql("UPDATE notes SET body = 'while the hub is down'");
    told(&trip.device, "offline", "offline_hub_down", 69);
    trip.hub.start_again();
    trip.heals();
}

#[test]
fn a_token_that_is_wrong_missing_expired_or_revoked_signs_out_until_it_is_replaced() {
    let mut trip = Trip::new();
    let good = std::fs::read_to_string(&trip.device.token_file).unwrap();
    trip.device.start();
    trip.heals();
    let other = Hub::start().token(&["--account", "ada"]);
    // Good for the few seconds that clocks may differ, and not until this test ends.
    let expired = trip.hub.token(&["--account", "ada", "--ttl", "0s"]);
    for (token, code) in [("rubbish", "auth_refused"), (&other, "auth_refused"), ("", "auth_missing")] {
        trip.device.sign_in(token);
        trip.device.sql("INSERT INTO notes(body) VALUES ('unsent')");
        told(&trip.device, "signed_out", code, 77);
        trip.device.sign_in(&good);
        trip.heals();
    }
    trip.device.sign_in(&expired);
    eventually("the token has expired", || trip.device.homing(&["sync", "--wait"]).code == 77);
    trip.device.sql("INSERT INTO notes(body) VALUES ('unsent')");
    told(&trip.device, "signed_out", "auth_expired", 77);
    trip.device.sign_in(&good);
    trip.heals();
    trip.hub.run(&["hub", "revoke", "--data", trip.hub.data.to_str().unwrap(), &good]);
    trip.device.sql("INSERT INTO notes(body) VALUES ('after')");
    trip.hub.kill();
    trip.hub.start_again();
    trip.device.sql("INSERT INTO notes(body) VALUES ('later')");
    told(&trip.device, "signed_out", "auth_revoked", 77);
    trip.device.sign_in(&trip.hub.token(&["--account", "ada"]));
    trip.heals();
}

#[test]
fn a_token_of_another_account_or_scope_reaches_nothing_of_this_one() {
    let mut pair = Pair::new(NOTES);
    pair.a.start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'of ada')");
    pair.a.sync();
    pair.b.sign_in(&pair.hub.token(&["--account", "eve"]));
    pair.b.start();
    pair.b.sync();
    assert_eq!(pair.b.sql("SELECT count(*) FROM notes"), "0");
    pair.b.kill();
    // A scope that the token does not name.
    let text = std::fs::read_to_string(&pair.b.config).unwrap();
    std::fs::write(&pair.b.config, text.replace("timeout = ", "scope = \"garden\"\ntimeout = ")).unwrap();
    pair.b.start();
    told(&pair.b, "backing_off", "auth_forbidden", 77);
    pair.b.sign_in(&pair.hub.token(&["--account", "eve", "--scope", "garden"]));
    pair.b.await_state("in_step");
}

#[test]
fn a_row_the_hub_refuses_waits_aside_while_others_go_on_and_is_mended_by_an_edit() {
    let mut pair = Pair::new("");
    // The hub's tables are older and stricter than this device's.
    pair.b.sql("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT NOT NULL CHECK(length(body) < 100)) STRICT");
    pair.b.start();
    pair.b.sync();
    pair.b.kill();
    pair.a.sql(NOTES);
    pair.a.configure("[replica.notes.limits]\ntries_max = 2");
    pair.a.start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'good'), (2, NULL), (3, 'also good')");
    let status = pair.a.await_status("set aside", |status| status["set_aside"] == 1);
    assert_eq!((&status["reason"]["code"], &status["pending"]), (&json!("row_refused"), &json!(0)));
    assert_eq!(super::rig::sqlite3(&pair.hub.scope("ada"), "SELECT group_concat(id) FROM notes"), "1,3");
    let queue = pair.a.json(&["queue", "list"]);
    let change = &queue["changes"][0];
    assert_eq!(
        (&change["key"], &change["state"], &change["tries"]),
        (&json!("[2]"), &json!("set_aside"), &json!(2)),
        "{queue:#}"
    );
    assert_eq!(change["reason"]["code"], "row_refused");
    assert!(change["reason"]["text"].as_str().unwrap().contains("NOT NULL"), "{queue:#}");
    let told = pair.a.homing(&["sync", "--wait"]);
    assert_eq!(told.out, "• notes: in step, but not clean\n    1 change set aside; see `homing queue list notes`\n");
    let explained = pair.a.homing(&["explain", "notes", "notes", "2"]).out;
    assert!(explained.contains("insert not sent (set aside): NOT NULL constraint failed: notes.body"), "{explained}");
    let shown = pair.a.homing(&["queue", "show", "notes", "notes", "2"]).out;
    assert!(shown.contains("edit the row, or `homing queue retry notes notes '[2]'`"), "{shown}");
    let plan = pair.a.json(&["plan", "notes"]);
    assert_eq!((&plan["batches"], &plan["staying"][0]["key"]), (&json!([]), &json!("[2]")), "{plan:#}");
    assert_eq!(told.code, 3, "{told:?}");
    // Detaching would lose it.
    assert_eq!(pair.a.homing(&["detach", "notes"]).code, 3);
    pair.a.sql("UPDATE notes SET body = 'mended' WHERE id = 2");
    pair.a.await_state("in_step");
    pair.a.sync();
    assert_eq!(dump(&pair.a.database)["notes"], dump(&pair.hub.scope("ada"))["notes"]);
}

#[test]
fn a_child_of_a_row_that_was_set_aside_goes_when_its_parent_is_mended() {
    let schema = |name: &str| {
        format!(
            "CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT {name});
             CREATE TABLE tasks(id TEXT PRIMARY KEY, project INTEGER REFERENCES projects(id), title TEXT)"
        )
    };
    let mut pair = Pair::new("");
    pair.b.sql(&schema("NOT NULL"));
    pair.b.start();
    pair.b.await_state("in_step");
    pair.a.sql(&schema(""));
    pair.a.start();
    pair.a.sync();
    pair.a.sql("INSERT INTO projects VALUES (1, NULL); INSERT INTO tasks VALUES ('t', 1, 'waits')");
    pair.a.await_status("the parent is set aside", |status| status["set_aside"].as_u64() > Some(0));
    assert_eq!(pair.b.sql("SELECT count(*) FROM tasks"), "0");
    // Each try waits longer than the last; the child's does not start the parent's again.
    let batches: u32 =
        super::rig::sqlite3(&pair.hub.scope("ada"), "SELECT max(batch) FROM _hub_device").parse().unwrap();
    assert!(batches < 20, "{batches} batches for two rows");
    pair.a.sql("UPDATE projects SET name = 'Garden'");
    eventually("the child arrives with its parent", || pair.b.sql("SELECT count(*) FROM tasks") == "1");
    pair.a.await_status("clean", |status| status["state"] == "in_step" && status["set_aside"] == 0);
    pair.settle();
}

#[test]
fn a_row_too_large_for_the_hub_is_set_aside_by_name_and_its_table_goes_on() {
    let mut hub = Hub::with("row_bytes_max = 20000\n");
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql(NOTES);
    device.sql("INSERT INTO notes VALUES (1, 'small'), (2, hex(zeroblob(20000))), (3, 'small too')");
    device.start();
    device.await_status("set aside, the others sent", |status| status["set_aside"] == 1 && status["pending"] == 0);
    let change = device.json(&["queue", "list"])["changes"][0].take();
    assert_eq!((&change["key"], &change["reason"]["code"]), (&json!("[2]"), &json!("row_too_large")), "{change:#}");
    assert_eq!(super::rig::sqlite3(&hub.scope("ada"), "SELECT group_concat(id) FROM notes"), "1,3");
    device.sql("UPDATE notes SET body = 'shorter' WHERE id = 2");
    device.await_state("in_step");
    hub.stop();
}

#[test]
fn a_database_that_is_missing_rubbish_or_encrypted_is_waited_for() {
    let mut trip = Trip::new();
    trip.device.start();
    trip.device.sql("INSERT INTO notes VALUES (1, 'one')");
    trip.heals();
    let aside = trip.device.home().join("aside.db");
    std::fs::rename(&trip.device.database, &aside).unwrap();
    told(&trip.device, "backing_off", "database_missing", 1);
    assert!(!trip.device.database.exists(), "Homing never makes a database");
    std::fs::write(&trip.device.database, b"PK\x03\x04 this is some other file, and it is no database".repeat(100))
        .unwrap();
    told(&trip.device, "backing_off", "database_not_sqlite", 1);
    // An encrypted file is noise from its first byte.
    let noise: Vec<u8> = (0..8192u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&trip.device.database, &noise).unwrap();
    told(&trip.device, "backing_off", "database_not_sqlite", 1);
    assert_eq!(std::fs::read(&trip.device.database).unwrap(), noise, "left as it was");
    let _ = std::fs::remove_file(trip.device.database.with_extension("db-wal"));
    std::fs::rename(&aside, &trip.device.database).unwrap();
    trip.device.sql("INSERT INTO notes VALUES (2, 'two')");
    trip.heals();
}

#[test]
fn a_database_that_another_program_locks_is_waited_for_and_said() {
    if !has("python3") {
        return;
    }
    let mut trip = Trip::new();
    trip.device.start();
    trip.device.sync();
    let mut holder = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
               db.execute('BEGIN EXCLUSIVE')\ndb.execute(\"INSERT INTO notes VALUES (1, 'slow')\")\nprint('held', flush=True)\n\
               sys.stdin.read()\ndb.execute('COMMIT')\ndb.close()"])
        .arg(&trip.device.database)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line).unwrap();
    let waited = trip.device.homing(&["sync", "--wait", "--timeout", "3s"]);
    assert_eq!(waited.code, 75, "{waited:?}");
    let status = trip.device.await_reason("database_locked");
    assert_eq!(status["state"], "backing_off");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    trip.heals();
}

#[test]
fn a_full_disk_is_said_and_ends_by_itself() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can mount a small disk");
    }
    let mut trip = Trip::new();
    let folder = trip.device.database.parent().unwrap().to_owned();
    std::fs::remove_file(&trip.device.database).unwrap();
    let mount = |args: &[&str]| std::process::Command::new(args[0]).args(&args[1..]).output().unwrap().status.success();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder.to_str().unwrap()]) {
        return eprintln!("skipped: a small disk cannot be mounted here");
    }
    struct Mounted<'a>(&'a str);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").args(["-l", self.0]).output();
        }
    }
    let _mounted = Mounted(folder.to_str().unwrap());
    trip.device.sql(NOTES);
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 380 << 10]).unwrap();
    trip.device.start();
    told(&trip.device, "backing_off", "disk_full", 75);
    std::fs::remove_file(&ballast).unwrap();
    trip.device.await_state("in_step");
    trip.device.sql("INSERT INTO notes VALUES (1, 'room')");
    trip.heals();
    // Rows that come from elsewhere find no room either, and wait at the hub.
    let mut other = Device::new("b", &trip.hub.url(), &std::fs::read_to_string(&trip.device.token_file).unwrap());
    other.sql(NOTES);
    other.start();
    other.sql("INSERT INTO notes SELECT value, hex(randomblob(500)) FROM generate_series(10, 400)");
    other.sync();
    told(&trip.device, "backing_off", "disk_full", 75);
    assert_eq!(trip.device.sql("PRAGMA integrity_check"), "ok");
    // Room again.
    assert!(mount(&["mount", "-o", "remount,size=8m", folder.to_str().unwrap()]));
    trip.heals();
}

#[test]
fn a_read_only_database_is_said_as_what_it_is() {
    let mut trip = Trip::new();
    if rustix::process::geteuid().is_root() {
        // Root may write everything but what a mount forbids.
        let folder = trip.device.database.parent().unwrap().to_owned();
        let mount = |args: &[&str]| {
            std::process::Command::new("mount").args(args).arg(&folder).output().unwrap().status.success()
        };
        let name = folder.to_str().unwrap().to_owned();
        if !(mount(&["--bind", &name]) && mount(&["-o", "remount,bind,ro"])) {
            return eprintln!("skipped: nothing can be mounted read-only here");
        }
        trip.device.start();
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            told(&trip.device, "backing_off", "database_read_only", 77)
        }));
        let _ = std::process::Command::new("umount").arg("-l").arg(&folder).output();
        shown.unwrap();
    } else {
        use std::os::unix::fs::PermissionsExt;
        let database = trip.device.database.clone();
        let mode = |bits| std::fs::set_permissions(&database, std::fs::Permissions::from_mode(bits)).unwrap();
        mode(0o400);
        trip.device.start();
        told(&trip.device, "backing_off", "database_read_only", 77);
        mode(0o600);
    }
    trip.device.sql("INSERT INTO notes VALUES (1, 'now')");
    trip.heals();
}

#[test]
fn a_typo_in_the_config_is_pointed_at() {
    let trip = Trip::new();
    let text = std::fs::read_to_string(&trip.device.config).unwrap();
    std::fs::write(&trip.device.config, text.replace("debounce = ", "debonce = ").replace("database = ", "databse = "))
        .unwrap();
    let line = text.lines().position(|line| line.starts_with("debounce = ")).unwrap() + 1;
    for command in [&["validate", "--config"][..], &["agent", "--config"]] {
        let told = trip.device.homing(&[command, &[trip.device.config.to_str().unwrap()]].concat());
        assert_eq!(told.code, 78, "{told:?}");
        assert!(
            told.err.contains(&format!("{line}:1")) || told.err.contains(&format!("line {line}, column 1")),
            "{told:?}"
        );
        assert!(told.err.contains("debonce") && told.err.contains("did you mean `debounce`"), "{told:?}");
        assert!(told.err.contains("did you mean `database`"), "{told:?}");
    }
    let problems = trip.device.homing(&["validate", "--json", "--config", trip.device.config.to_str().unwrap()]).json();
    let places: Vec<&Json> = problems["problems"].as_array().unwrap().iter().map(|problem| &problem["line"]).collect();
    assert!(places.contains(&&json!(line)), "{problems:#}");
}

#[test]
fn a_row_that_cannot_be_written_here_is_parked_and_comes_when_it_can() {
    let mut pair = Pair::new("");
    pair.a.sql(NOTES);
    pair.b.sql("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT NOT NULL)");
    // The hub's table is made like A's, which comes first.
    pair.a.start();
    pair.a.sync();
    pair.b.start();
    pair.a.sql("INSERT INTO notes VALUES (1, NULL), (2, 'good')");
    eventually("the good one arrives", || pair.b.sql("SELECT count(*) FROM notes") == "1");
    let status = pair.b.await_status("parked", |status| status["parked"] == 1);
    assert_eq!(status["reason"]["code"], "parked_constraint");
    let told = pair.b.homing(&["sync", "--wait"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.out.contains("1 row from the remote cannot be written here yet"), "{told:?}");
    let explained = pair.b.homing(&["explain", "notes", "notes", "1"]).out;
    assert!(explained.contains("waits to be written here: NOT NULL constraint failed"), "{explained}");
    pair.a.sql("UPDATE notes SET body = 'better' WHERE id = 1");
    pair.b.await_status("unparked", |status| status["parked"] == 0 && status["state"] == "in_step");
    pair.settle();
}
