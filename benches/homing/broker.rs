//! From the commit on one device to the row on another, where a hint by MQTT is all that
//! tells it: two agents on the preset of egglogu with a timer of an hour, a backend in
//! Python written from its document, and a Mosquitto.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::OptionalExtension;

use super::Scale;
use super::data::connect;
use super::process::{self, Process};
use super::table::{Row, percentile};

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the pause between two hints.
const ALONE: Duration = Duration::from_millis(300);

pub fn run(scale: &Scale) -> Vec<Row> {
    let Some(broker) = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().find(|path| Path::new(path).is_file())
    else {
        eprintln!("  no mosquitto here: nothing was measured");
        return Vec::new();
    };
    let home = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| -> PathBuf {
        std::fs::write(home.path().join(name), text).expect("a file");
        home.path().join(name)
    };
    let port = TcpListener::bind("127.0.0.1:0").and_then(|door| door.local_addr()).expect("a port").port();
    let config = file("mosquitto.conf", &format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n"));
    let mut command = Command::new(broker);
    let _broker = Process::start(command.arg("-c").arg(config).stdout(Stdio::null()).stderr(Stdio::null())).0;
    await_it("the broker", || TcpStream::connect(("127.0.0.1", port)).is_ok());

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command.arg("-B").arg(root.join("tests/it/backends/egglogu.py")).stdout(Stdio::piped());
    let (_backend, mut out) = Process::start(&mut command);
    let mut line = String::new();
    BufReader::new(out.take().expect("a piped stdout")).read_line(&mut line).expect("it says where it listens");
    let url = line.trim().replace("listening on ", "http://");

    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let token = format!("{}.{}.x", part(r#"{"alg":"none"}"#), part(r#"{"sub":"farmer","farm_id":"f1"}"#));
    let token = file("token", &token);
    let schema = std::fs::read_to_string(root.join("examples/egglogu/schema.sql")).expect("a schema");
    let mut agents = Vec::new();
    for name in ["here", "there"] {
        let database = home.path().join(format!("{name}.db"));
        connect(&database).execute_batch(&schema).expect("tables");
        let socket = home.path().join(format!("{name}.sock"));
        let mut command = process::homing();
        command.arg("agent").arg("--config").arg(root.join("examples/egglogu/homing.toml"));
        for (key, value) in [
            ("DEVICE", name.into()),
            ("SOCKET", socket.clone().into_os_string()),
            ("STATE_DIR", home.path().join(format!("{name}.state")).into_os_string()),
            ("REPLICA__EGGLOGU__DATABASE", database.into_os_string()),
            ("REPLICA__EGGLOGU__REMOTE__URL", (&url).into()),
            ("REPLICA__EGGLOGU__REMOTE__TOKEN_FILE", (&token).into()),
            ("REPLICA__EGGLOGU__REMOTE__MQTT_URL", format!("mqtt://127.0.0.1:{port}").into()),
            ("REPLICA__EGGLOGU__SCHEDULE__EVERY", "1h".into()),
            ("REPLICA__EGGLOGU__SCHEDULE__DEBOUNCE", "0ms".into()),
        ] {
            command.env(format!("HOMING__{key}"), value);
        }
        agents.push(Process::start(command.stdout(Stdio::null()).stderr(Stdio::null())).0);
        await_it("the socket", || socket.exists());
        process::run(process::homing().args(["sync", "--wait", "--timeout", "60s", "--socket"]).arg(socket));
    }

    let (here, there) = (connect(&home.path().join("here.db")), connect(&home.path().join("there.db")));
    let mut look = there.prepare("SELECT 1 FROM flocks WHERE id = ?").expect("the look");
    let mut at = 0;
    let mut samples = |count: usize, gap: Duration| {
        let mut milliseconds = Vec::new();
        for _ in 0..count {
            std::thread::sleep(gap);
            at += 1;
            let id = format!("f{at}");
            here.execute("INSERT INTO flocks(id, name) VALUES (?, 'x')", [&id]).expect("a write");
            let start = Instant::now();
            while look.query_row([&id], |_| Ok(())).optional().expect("a look").is_none() {
                assert!(start.elapsed() < PATIENCE, "row {id} did not arrive");
                std::thread::sleep(Duration::from_micros(200));
            }
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
        milliseconds
    };
    // The first may come before both listen, and find everything cold.
    drop(samples(5, Duration::ZERO));
    let count = scale.live_samples / 4;
    let mut out = Vec::new();
    for (how, gap) in [("an edit alone", ALONE), ("one edit after another", Duration::ZERO)] {
        let mut milliseconds = samples(count, gap);
        let what = |what: &str| format!("hints by MQTT, commit here to visible there, {how}: {what}");
        out.push(Row::figure(what("p50"), percentile(&mut milliseconds, 0.50), "ms"));
        out.push(Row::figure(what("worst"), percentile(&mut milliseconds, 1.0), "ms").at_most(1_000.0));
    }
    out
}

fn await_it(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
