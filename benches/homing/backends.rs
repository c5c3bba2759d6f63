//! What a team's own backend costs beside a Homing hub: CPU and peak memory of a real
//! agent that pulls and pushes the same rows over each kind. The backends are a few lines
//! here that answer from memory, so that the agent's own work is what is measured.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use homing::model::{Strategy, Value};

use super::Scale;
use super::data::{TASKS, connect};
use super::process::{self, Process};
use super::rig::{self, Rig};
use super::table::Row;

const PAGE_ROWS: usize = 5_000;
/// More CPU than the kind `homing` takes, and what a pull may hold.
const CPU_MAX: f64 = 1.5;
const PEAK_MIB_MAX: f64 = 64.0;

/// How a backend says its rows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Speech {
    WatermelonWhole,
    WatermelonPages,
    PullPush,
    Delta,
    Operations,
}

pub fn run(scale: &Scale) -> Vec<Row> {
    let total = if scale.short { 100_000 } else { 200_000 };
    let rows = TASKS.rows(23, total);
    let records: Arc<Vec<String>> = Arc::new(rows.iter().map(|row| record(row)).collect());
    let rig = Rig::start();
    let sender = rig.replica(&rig.path("hub-push.db"), Strategy::default());
    rig::captured(&TASKS, &sender, &rows);
    let (push, _) = spend(&rig, "hub-push", &rig.url, "kind = \"homing\"");
    drop(TASKS.create(&rig.path("hub-pull.db")));
    let (pull, peak) = spend(&rig, "hub-pull", &rig.url, "kind = \"homing\"");
    let mut out = vec![
        Row::figure(format!("CPU, push {total} rows, homing"), push, "s"),
        Row::figure(format!("CPU, pull {total} rows, homing"), pull, "s"),
        Row::figure("peak memory of that pull", peak, "MiB").at_most(PEAK_MIB_MAX),
    ];
    for (speech, name, keys) in [
        (Speech::WatermelonWhole, "watermelon, one answer", "kind = \"watermelon\""),
        (Speech::WatermelonPages, "watermelon, pages", "kind = \"watermelon\""),
        (Speech::PullPush, "pull-push", "kind = \"pull-push\""),
        (Speech::Delta, "delta", "kind = \"delta\""),
        (Speech::Operations, "operations", "kind = \"operations\""),
    ] {
        let file = format!("{speech:?}").to_lowercase();
        if speech != Speech::Operations {
            let full = serve(speech, records.clone());
            drop(TASKS.create(&rig.path(&format!("{file}-pull.db"))));
            let (cpu, peak) = spend(&rig, &format!("{file}-pull"), &full, keys);
            equal(&rig, &format!("{file}-pull"));
            out.push(Row::figure(format!("CPU, pull {total} rows, {name}"), cpu, "s").at_most(CPU_MAX * pull));
            out.push(Row::figure("peak memory of that pull", peak, "MiB").at_most(PEAK_MIB_MAX));
        }
        if speech == Speech::WatermelonPages {
            continue;
        }
        let empty = serve(speech, Arc::new(Vec::new()));
        let sender = rig.replica(&rig.path(&format!("{file}-push.db")), Strategy::default());
        rig::captured(&TASKS, &sender, &rows);
        let (cpu, _) = spend(&rig, &format!("{file}-push"), &empty, keys);
        out.push(Row::figure(format!("CPU, push {total} rows, {name}"), cpu, "s").at_most(CPU_MAX * push));
    }
    // Every row of every table in one body.
    let empty = serve(Speech::Delta, Arc::new(Vec::new()));
    let sender = rig.replica(&rig.path("whole-push.db"), Strategy::default());
    rig::captured(&TASKS, &sender, &rows[..total / 2]);
    let (_, peak) = spend(&rig, "whole-push", &empty, "kind = \"delta\"\nwhole_set = true");
    out.push(
        Row::figure(format!("peak memory, push of a whole set of {} rows", total / 2), peak, "MiB")
            .at_most(PEAK_MIB_MAX),
    );
    out
}

/// Runs an agent on `NAME.db` until it is in step: seconds of CPU, and MiB at the most.
fn spend(rig: &Rig, name: &str, url: &str, keys: &str) -> (f64, f64) {
    let config = rig.config(name, url);
    let text = std::fs::read_to_string(&config).expect("a config").replace("kind = \"homing\"", keys);
    std::fs::write(&config, text).expect("a config");
    let agent: Process = process::agent(&config);
    rig.wait_for_socket(name);
    let mut wait = process::homing();
    wait.args(["sync", "--wait", "--timeout", "10m", "--socket"]).arg(rig.socket(name));
    process::run(&mut wait);
    let (cpu, peak) = agent.spent();
    eprintln!("  {name}: {cpu:.2} s of CPU, {peak:.1} MiB");
    (cpu, peak)
}

fn equal(rig: &Rig, name: &str) {
    let db = connect(&rig.path(&format!("{name}.db")));
    let path = rig.path("hub-pull.db");
    db.execute("ATTACH ? AS sent", [path.to_str().expect("a path in UTF-8")]).expect("both files");
    let differing = "SELECT count(*) FROM (SELECT * FROM main.tasks EXCEPT SELECT * FROM sent.tasks)";
    let counted = "SELECT (SELECT count(*) FROM main.tasks) - (SELECT count(*) FROM sent.tasks)";
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count");
    assert_eq!((count(differing), count(counted)), (0, 0), "rows of {name}");
}

fn record(row: &[Value]) -> String {
    let names = ["id", "title", "notes", "status", "amount", "updated_at"];
    let json = |value: &Value| match value {
        Value::Integer(number) => serde_json::Value::from(*number),
        Value::Real(number) => serde_json::Value::from(*number),
        Value::Text(text) => serde_json::Value::from(text.clone()),
        _ => serde_json::Value::Null,
    };
    let record: serde_json::Map<String, serde_json::Value> =
        names.iter().zip(row).map(|(name, value)| ((*name).to_owned(), json(value))).collect();
    serde_json::Value::Object(record).to_string()
}

/// A backend that has these rows, since a time long ago, and takes all that it is sent.
fn serve(speech: Speech, records: Arc<Vec<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let records = records.clone();
            std::thread::spawn(move || {
                let _ = talk(speech, &records, stream);
            });
        }
    });
    url
}

fn talk(speech: Speech, records: &[String], stream: TcpStream) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = BufWriter::with_capacity(256 << 10, stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        let question: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut answer = Vec::new();
        let pulls = head.starts_with("GET") || head.contains("pull ");
        match pulls {
            true => pulled(speech, records, &question, &head, &mut answer)?,
            false if speech == Speech::Operations => taken(&question, &mut answer)?,
            false => answer.extend(b"{\"success\": true, \"rejected\": [], \"conflicts\": null}"),
        }
        write!(to, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len())?;
        to.write_all(&answer)?;
        to.flush()?;
    }
}

/// Each operation by its name.
fn taken(question: &serde_json::Value, to: &mut Vec<u8>) -> std::io::Result<()> {
    let operations = question["operations"].as_array().map_or(&[][..], Vec::as_slice);
    write!(to, "{{\"results\": [")?;
    for (at, operation) in operations.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        write!(to, "{comma}{{\"operation_id\": {}, \"status\": \"success\", \"version\": 1}}", operation["id"])?;
    }
    write!(to, "]}}")
}

fn pulled(
    speech: Speech,
    records: &[String],
    question: &serde_json::Value,
    head: &str,
    to: &mut Vec<u8>,
) -> std::io::Result<()> {
    const TIME: &str = "2026-01-01T00:00:00Z";
    let since = ["lastPulledAt", "last_sync_timestamp"].iter().any(|name| !question[*name].is_null());
    let fresh = if since || head.contains("since=") { &[] } else { records };
    let list = |to: &mut Vec<u8>, records: &[String]| {
        for (at, record) in records.iter().enumerate() {
            to.extend(if at > 0 { &b","[..] } else { b"" });
            to.extend(record.as_bytes());
        }
    };
    match speech {
        Speech::WatermelonWhole | Speech::WatermelonPages => {
            let begin = question["cursor"].as_u64().unwrap_or(0) as usize;
            let end = if speech == Speech::WatermelonWhole { fresh.len() } else { fresh.len().min(begin + PAGE_ROWS) };
            write!(to, "{{\"changes\": {{\"tasks\": {{\"created\": [")?;
            list(to, &fresh[begin.min(end)..end]);
            write!(to, "], \"updated\": [], \"deleted\": []}}}}, \"timestamp\": {}", 1_767_225_600_000_i64)?;
            write!(to, ", \"hasMore\": {}, \"nextCursor\": {end}}}", end < fresh.len())
        }
        Speech::PullPush => {
            write!(to, "{{\"success\": true, \"timestamp\": \"{TIME}\", \"changes\": {{\"tasks\": [")?;
            list(to, fresh);
            write!(to, "]}}}}")
        }
        Speech::Delta => {
            write!(to, "{{\"synced_at\": \"{TIME}\", \"deltas\": [{{\"collection\": \"tasks\", \"records\": [")?;
            list(to, fresh);
            write!(to, "]}}]}}")
        }
        Speech::Operations => unreachable!("BUG: there is nothing to pull"),
    }
}
