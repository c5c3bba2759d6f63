//! A real WatermelonDB app and Homing devices on one hub.
//!
//! `tests/run` installs the npm package `@nozbe/watermelondb` and names its folder in
//! `HOMING_WATERMELON`; without it these tests say that they were skipped. The app is
//! `tests/rigs/watermelon/app.js`.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value as Json, json};

use super::rig::{Device, Hub, has};

const SCHEMA: &str = "
    CREATE TABLE projects(id TEXT PRIMARY KEY, name TEXT);
    CREATE TABLE tasks(id TEXT PRIMARY KEY, project_id TEXT REFERENCES projects(id), title TEXT, note TEXT,
        is_done INTEGER, effort REAL, here_alone BLOB);
    CREATE TABLE unheard(id INTEGER PRIMARY KEY, x)";

/// The app, and what it is told.
struct App {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl App {
    fn start(modules: &Path, hub: &Hub, token: &str) -> App {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rigs/watermelon/app.js");
        let mut command = Command::new("node");
        command.arg(script).env("NODE_PATH", modules).env("HOMING_URL", hub.url()).env("HOMING_TOKEN", token);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        App { child, orders, answers }
    }

    fn say(&mut self, order: Json) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn hear(&mut self) -> Json {
        serde_json::from_str(&self.answers.next().expect("the app answers").unwrap()).unwrap()
    }

    /// An order that must end well, and without a complaint of WatermelonDB's.
    #[track_caller]
    fn order(&mut self, order: Json) -> Json {
        self.say(order.clone());
        let answer = self.hear();
        assert!(answer.get("error").is_none() && answer["complaints"] == json!([]), "{order}: {answer}");
        answer
    }

    #[track_caller]
    fn write(&mut self, verb: &str, table: &str, row: Json) {
        self.order(json!({"do": verb, "table": table, "row": row}));
    }

    #[track_caller]
    fn sync(&mut self) -> Json {
        self.order(json!({"do": "sync"}))
    }

    /// `id|project_id|title|note|is_done|effort` of every task, with what waits marked.
    fn tasks(&mut self) -> String {
        let answer = self.order(json!({"do": "rows", "table": "tasks"}));
        let text = |value: &Json| match value {
            Json::Null => String::new(),
            Json::String(text) => text.clone(),
            Json::Bool(flag) => u8::from(*flag).to_string(),
            other => format!("{:?}", other.as_f64().unwrap()),
        };
        let line = |row: &Json| {
            let cells = ["id", "project_id", "title", "note", "is_done", "effort"].map(|name| text(&row[name]));
            let unsent = if row["_status"] == "synced" { "" } else { " unsent" };
            cells.join("|") + unsent
        };
        answer["rows"].as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TASKS: &str = "SELECT id, project_id, title, note, is_done, effort FROM tasks ORDER BY id";

/// A hub, a device with the tables, and the app; `None` where there is no Node.
fn rig() -> Option<(Hub, Device, App)> {
    let Some(modules) = std::env::var_os("HOMING_WATERMELON").map(PathBuf::from) else {
        eprintln!("skipped: HOMING_WATERMELON names no folder (tests/run installs it)");
        return None;
    };
    if !has("sqlite3") || !has("node") {
        return None;
    }
    let hub = Hub::start();
    let token = hub.token(&["--account", "ada"]);
    let mut device = Device::new("laptop", &hub.url(), &token);
    device.sql(SCHEMA);
    device.start();
    device.sync();
    let app = App::start(&modules, &hub, &token);
    Some((hub, device, app))
}

#[test]
fn an_app_and_a_device_edit_the_same_rows_delete_and_disagree_and_end_equal() {
    let Some((hub, device, mut app)) = rig() else { return };
    device.sql(
        "INSERT INTO projects VALUES ('p', 'Garden');
         INSERT INTO tasks VALUES ('a', 'p', 'Water', NULL, 0, 0.5, x'00ff'), ('b', 'p', 'Dig', 'deep', 1, 3, NULL),
            ('c', 'p', 'Sow', NULL, NULL, NULL, NULL)",
    );
    device.sync();
    app.sync();
    assert_eq!(app.tasks(), "a|p|Water||0|0.5\nb|p|Dig|deep|1|3.0\nc|p|Sow|||");

    // Each makes, edits and deletes rows of its own and of the other's.
    app.write("create", "tasks", json!({"id": "d", "project_id": "p", "title": "Mow", "is_done": true, "effort": 2}));
    app.write("update", "tasks", json!({"id": "a", "note": "from the app"}));
    app.write("delete", "tasks", json!({"id": "c"}));
    app.sync();
    device.sync();
    assert_eq!(device.sql(TASKS), "a|p|Water|from the app|0|0.5\nb|p|Dig|deep|1|3.0\nd|p|Mow||1|2.0");
    assert_eq!(device.sql("SELECT hex(here_alone) FROM tasks WHERE id = 'a'"), "00FF", "a column the app has not");
    device.sql("UPDATE tasks SET title = 'Mow it' WHERE id = 'd'; DELETE FROM tasks WHERE id = 'b'");
    device.sync();
    app.sync();
    assert_eq!(app.tasks(), "a|p|Water|from the app|0|0.5\nd|p|Mow it||1|2.0");

    // Both edit one row while apart: the app's columns go on top of the device's.
    app.write("update", "tasks", json!({"id": "a", "title": "Water twice"}));
    device.sql("UPDATE tasks SET effort = 9, note = 'from the laptop' WHERE id = 'a'");
    device.sync();
    app.sync();
    device.sync();
    assert_eq!(device.sql(TASKS), "a|p|Water twice|from the laptop|0|9.0\nd|p|Mow it||1|2.0");
    assert_eq!(app.tasks(), device.sql(TASKS));
    assert_eq!(super::rig::sqlite3(&hub.scope("ada"), TASKS), device.sql(TASKS));
}

#[test]
fn a_push_that_a_newer_row_refuses_leaves_nothing_and_the_next_sync_puts_it_right() {
    let Some((hub, device, mut app)) = rig() else { return };
    device.sql("INSERT INTO tasks(id, title) VALUES ('a', 'first')");
    device.sync();
    app.sync();
    app.write("update", "tasks", json!({"id": "a", "title": "of the app"}));
    app.write("create", "tasks", json!({"id": "b", "title": "new"}));
    // Between the app's pull and its push the device is quicker.
    app.say(json!({"do": "sync", "stop": "before-push"}));
    assert_eq!(app.hear()["waits"], "before-push");
    device.sql("UPDATE tasks SET note = 'of the laptop' WHERE id = 'a'");
    device.sync();
    app.say(json!("go on"));
    let refused = app.hear();
    assert!(refused["error"].as_str().unwrap().contains("push 409"), "{refused}");
    assert_eq!(super::rig::sqlite3(&hub.scope("ada"), "SELECT count(*) FROM tasks"), "1", "nothing of it was taken");
    app.sync();
    device.sync();
    assert_eq!(device.sql(TASKS), "a||of the app|of the laptop||\nb||new|||");
    assert_eq!(app.tasks(), device.sql(TASKS));
}

#[test]
fn a_push_whose_answer_the_app_never_heard_is_sent_again_and_counts_once() {
    let Some((hub, device, mut app)) = rig() else { return };
    app.sync();
    app.write("create", "tasks", json!({"id": "a", "title": "new"}));
    app.say(json!({"do": "sync", "stop": "answer-lost"}));
    assert!(app.hear()["error"].as_str().unwrap().contains("lost"));
    app.write("update", "tasks", json!({"id": "a", "note": "edited since"}));
    app.sync();
    assert_eq!(app.tasks(), "a||new|edited since||");
    device.sync();
    assert_eq!(device.sql(TASKS), app.tasks());
    let trail = "SELECT group_concat(operation, ' ') FROM (SELECT * FROM _hub_trail ORDER BY rev)";
    assert_eq!(super::rig::sqlite3(&hub.scope("ada"), trail), "insert update");
}

#[test]
fn an_app_that_was_away_longer_than_deletions_are_kept_becomes_a_true_copy_with_its_own_edits() {
    let Some((mut hub, device, mut app)) = rig() else { return };
    device.sql(
        "INSERT INTO tasks(id, title) VALUES ('a', 'kept'), ('b', 'to go'), ('c', 'kept until the app deletes it')",
    );
    device.sync();
    app.sync();
    app.write("create", "tasks", json!({"id": "d", "title": "made while away"}));
    app.write("update", "tasks", json!({"id": "a", "note": "while away"}));
    app.write("delete", "tasks", json!({"id": "c"}));
    device.sql("DELETE FROM tasks WHERE id = 'b'");
    device.sync();
    // The hub forgets every time it gave out, as after a month.
    hub.kill();
    super::rig::sqlite3(&hub.scope("ada"), "DELETE FROM _hub_mark");
    hub.start_again();
    assert_eq!(app.sync()["strategy"], "replacement");
    device.sync();
    assert_eq!(device.sql(TASKS), "a||kept|while away||\nd||made while away|||");
    assert_eq!(app.tasks(), device.sql(TASKS));
}

/// A web app on another origin: its browser asks first.
#[test]
fn browsers_are_let_in_from_the_origins_that_the_settings_name_and_from_no_other() {
    let hub = Hub::with("allow_origins = [\"https://app.example.org\"]");
    let token = hub.token(&["--account", "ada"]);
    let ask = |method: &str, origin: &str, headers: &str| {
        let mut stream = std::net::TcpStream::connect(hub.address()).unwrap();
        let request = format!(
            "{method} /watermelon/sync HTTP/1.1\r\nhost: hub\r\norigin: {origin}\r\n{headers}connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.to_ascii_lowercase()
    };
    let (app, other) = ("https://app.example.org", "https://evil.example.org");
    let asked = "access-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n";
    let answer = ask("OPTIONS", app, asked);
    assert!(answer.starts_with("http/1.1 204"), "{answer}");
    for header in ["allow-origin: https://app.example.org", "allow-methods: get, post", "allow-headers: authorization"]
    {
        assert!(answer.contains(&format!("access-control-{header}")), "{header}: {answer}");
    }
    assert!(!ask("OPTIONS", other, asked).contains("access-control"), "others are not told");

    let signed = format!("authorization: Bearer {token}\r\n");
    let answer = ask("GET", app, &signed);
    assert!(
        answer.starts_with("http/1.1 200") && answer.contains("access-control-allow-origin: https://app"),
        "{answer}"
    );
    assert!(!ask("GET", other, &signed).contains("access-control"));
    // The app is to read why it was refused.
    let answer = ask("GET", app, "");
    assert!(answer.starts_with("http/1.1 401") && answer.contains("access-control-allow-origin"), "{answer}");
}

/// The agent's kind `watermelon` against the hub, in the form of WatermelonDB's own example:
/// what is asked in the query, and the changes as the whole body.
#[test]
fn a_device_that_speaks_as_an_app_does_shares_the_rows_of_one_that_does_not() {
    let hub = Hub::start();
    let token = hub.token(&["--account", "ada"]);
    let mut a = Device::new("a", &hub.url(), &token);
    let mut b = Device::new("b", &format!("{}/watermelon", hub.url()), &token);
    let names = "{ lastPulledAt = \"?last_pulled_at\", schemaVersion = \"?schema_version\", migration = \"?migration\", pushed = \".\" }";
    for (key, value) in
        [("KIND", "watermelon"), ("PULL_PATH", "sync"), ("PUSH_PATH", "sync"), ("PULL_METHOD", "GET"), ("NAMES", names)]
    {
        b.set(&format!("REPLICA__NOTES__REMOTE__{key}"), value);
    }
    for device in [&mut a, &mut b] {
        device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT, effort REAL, is_done INTEGER)");
        device.start();
    }
    a.sql("INSERT INTO tasks VALUES ('t1', 'one', 0.5, 0), ('t2', 'two', NULL, 1), ('t3', 'three', 3, 0)");
    let settle = || [&a, &b, &a, &b].into_iter().for_each(Device::sync);
    settle();
    b.sql("UPDATE tasks SET title = 'one by b' WHERE id = 't1'; DELETE FROM tasks WHERE id = 't2'; INSERT INTO tasks VALUES ('t4', 'four', 4.25, 1)");
    settle();
    let rows = "SELECT group_concat(id || ' ' || title || ' ' || effort, ', ') FROM (SELECT * FROM tasks ORDER BY id)";
    assert_eq!(a.sql(rows), "t1 one by b 0.5, t3 three 3.0, t4 four 4.25");
    // Both at once: such a remote tells no times of rows, and its version counts as later.
    a.sql("UPDATE tasks SET title = 'by a' WHERE id = 't3'");
    a.sync();
    b.sql("UPDATE tasks SET title = 'by b' WHERE id = 't3'");
    settle();
    assert_eq!((a.sql(rows), a.sql("SELECT title FROM tasks WHERE id = 't3'")), (b.sql(rows), "by a".to_owned()));
    assert_eq!(b.json(&["conflicts", "list"])["conflicts"][0]["local"]["title"], "by b", "what lost is kept");
}
