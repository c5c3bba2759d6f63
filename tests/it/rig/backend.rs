//! Somebody's own backend: a small Python server written from its document, in a process
//! of its own, with faults on demand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

use super::process::Process;

pub struct Backend {
    address: String,
    _process: Process,
    _home: TempDir,
}

/// A token that says who it is for, and that no server of these tests checks further.
pub fn token(user: &str) -> String {
    jwt(json!({"sub": user}))
}

/// One that says what role the user has.
pub fn token_with_role(user: &str, role: &str) -> String {
    jwt(json!({"sub": user, "role": role}))
}

/// One that says these things.
pub fn token_of(claims: Json) -> String {
    jwt(claims)
}

fn jwt(claims: Json) -> String {
    let part = |json: Json| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.x", part(json!({"alg": "none"})), part(claims))
}

impl Backend {
    pub fn start(name: &str, args: &[&str]) -> Backend {
        let home = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/backends").join(format!("{name}.py"));
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).args(args).stdout(Stdio::piped());
        let mut process = Process::start(name, &mut command, &home.path().join("log"));
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{name} says {line:?}"));
        Backend { address: address.to_owned(), _process: process, _home: home }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Plans a fault for the next request to `path`.
    pub fn fault(&self, path: &str, kind: &str) {
        self.plan(json!({"path": path, "kind": kind}));
    }

    pub fn plan(&self, fault: Json) {
        self.control("fault", Some(&fault));
    }

    /// Runs one of the backend's methods.
    pub fn call(&self, name: &str, args: Json) -> Json {
        self.control("call", Some(&json!({"name": name, "args": args})))
    }

    pub fn state(&self) -> Json {
        self.control("state", None)
    }

    /// Method, path and body of every request it understood.
    pub fn requests(&self) -> Vec<Json> {
        self.control("requests", None).as_array().unwrap().clone()
    }

    /// A table as it has it: these fields of each record, by id.
    pub fn rows(&self, table: &str, fields: &[&str]) -> BTreeMap<String, Json> {
        let state = self.state();
        let rows = state["tables"][table].as_object().unwrap_or_else(|| panic!("no {table} in {state}"));
        let pick = |row: &Json| fields.iter().map(|field| ((*field).to_owned(), row[field].clone())).collect();
        rows.iter().map(|(id, row)| (id.clone(), Json::Object(pick(row)))).collect()
    }

    fn control(&self, what: &str, body: Option<&Json>) -> Json {
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.map_or_else(String::new, Json::to_string);
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} /control/{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("control {what}: {answer:?}"));
        assert!(head.contains(" 200 "), "control {what}: {answer}");
        serde_json::from_str(body).unwrap()
    }
}

/// A local table in the form of `Backend::rows`; the key is the column `id`.
pub fn local_rows(database: &Path, table: &str, fields: &[&str]) -> BTreeMap<String, Json> {
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    db.busy_timeout(super::LONG).unwrap();
    let mut statement = db.prepare(&format!("SELECT id, {} FROM {table}", fields.join(", "))).unwrap();
    let mut found = statement.query([]).unwrap();
    let mut rows = BTreeMap::new();
    while let Some(row) = found.next().unwrap() {
        let value = |at: usize| match row.get_ref(at).unwrap() {
            ValueRef::Null => Json::Null,
            ValueRef::Integer(number) => json!(number),
            ValueRef::Real(number) => json!(number),
            ValueRef::Text(text) => json!(std::str::from_utf8(text).unwrap()),
            ValueRef::Blob(bytes) => json!(bytes),
        };
        let record: Map<String, Json> =
            fields.iter().enumerate().map(|(at, field)| ((*field).to_owned(), value(at + 1))).collect();
        let id = match value(0) {
            Json::String(id) => id,
            other => other.to_string(),
        };
        rows.insert(id, Json::Object(record));
    }
    rows
}
