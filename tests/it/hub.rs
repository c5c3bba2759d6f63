//! The hub over a real socket, spoken to byte by byte: no HTTP library stands between
//! a test and what it sends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use homing::hub::settings::{Options, Settings, Tls};
use homing::hub::token::{Claims, Grant, Keys};
use homing::hub::{HubError, Revoke, Running};
use homing::model::{Column, Incarnation, Revision, Stamp, Table, Value};
use homing::protocol::body::Packing;
use homing::protocol::{
    ChangeGroup, HEADER, Hello, Pull, Pulled, Push, Pushed, Refusal, ScopeStatus, VERSION, Welcome, WireChange,
    WireOutcome,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rig::eventually;

/// A hub of its own for each test.
struct Rig {
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(Settings::default(), None)
    }

    fn with(settings: Settings, tls: Option<Tls>) -> Rig {
        Rig::on(tempfile::tempdir().unwrap(), settings, tls)
    }

    fn on(dir: tempfile::TempDir, settings: Settings, tls: Option<Tls>) -> Rig {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let data = dir.path().join("data");
        let options = Options { listen: "127.0.0.1:0".into(), tls, settings, ..Options::new(data) };
        // A child that another test starts holds all locks of this process until it becomes
        // its program: that of a hub that was stopped just now, too.
        let mut running = None;
        eventually("the folder is free", || {
            running = match runtime.block_on(homing::hub::start(options.clone())) {
                Err(HubError::SetUp { what, .. }) if what.contains("another hub runs") => None,
                started => Some(started.unwrap()),
            };
            running.is_some()
        });
        let running = running.expect("BUG: it was found");
        Rig { runtime, address: running.address(), running: Some(running), dir }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }

    fn token(&self, account: &str, scopes: &[&str]) -> String {
        let grant = Grant {
            account: account.into(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            role: "member".into(),
            ttl_seconds: 600,
            may_bring_tables: true,
        };
        homing::hub::token::issue(&self.data(), &grant).unwrap()
    }

    fn keys(&self) -> Keys {
        Keys::new(&homing::hub::data::DataDir::existing(&self.data()).unwrap().key().unwrap())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads the one answer.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A hub that refuses early may close before it took everything.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::parse(&bytes)
    }

    fn send(&self, method: &str, path: &str, token: &str, headers: &str, body: &[u8]) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.raw(&request)
    }

    fn post(&self, call: &str, token: &str, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).unwrap();
        self.send("POST", &format!("/v1/scopes/@me/{call}"), token, "", &body)
    }

    fn hello(&self, token: &str, device: &str) -> Welcome {
        self.post("hello", token, &hello(device)).json()
    }

    fn push(&self, token: &str, push: &Push) -> Pushed {
        self.post("push", token, push).json()
    }

    /// Rows of the account's own scope, as text.
    fn rows(&self, token: &str) -> Vec<String> {
        let pulled: Pulled = self.post("pull", token, &pull(None)).json();
        let rows = pulled.groups.iter().flat_map(|group| &group.rows);
        rows.map(|row| serde_json::to_string(&row.values).unwrap()).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let headers = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, headers, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of a refusal; every one is the hub's and carries no secret.
    fn refused(&self) -> (u16, String) {
        assert_eq!(self.header(HEADER), Some("1"), "{self:?}");
        let refusal: Refusal = serde_json::from_slice(&self.body).unwrap();
        (self.status, refusal.error.code)
    }
}

fn hello(device: &str) -> Hello {
    let column = |name: &str| Column { name: name.into(), declared: "TEXT".into(), ..Column::default() };
    Hello {
        protocol: VERSION,
        device: format!("{device}'s laptop"),
        incarnation: Incarnation(device.into()),
        batch: 0,
        tables: vec![Table {
            name: "notes".into(),
            columns: vec![column("id"), column("body")],
            key: vec!["id".into()],
            ..Table::default()
        }],
    }
}

fn push(device: &str, batch: i64, epoch: &str, notes: &[(&str, &str)]) -> Push {
    let text = |text: &str| Value::Text(text.to_owned());
    let rows = notes.iter().map(|(id, body)| WireChange {
        base: Revision::NONE,
        stamp: Stamp::from_millis(1_704_067_200_000),
        values: vec![text(id), text(id), text(body)],
    });
    Push {
        protocol: VERSION,
        device: format!("{device}'s laptop"),
        incarnation: Incarnation(device.into()),
        batch,
        epoch: epoch.into(),
        seen: Revision::NONE,
        groups: vec![ChangeGroup {
            table: "notes".into(),
            key: vec!["id".into()],
            columns: vec!["id".into(), "body".into()],
            delete: false,
            rows: rows.collect(),
        }],
    }
}

fn pull(cursor: Option<&str>) -> Pull {
    Pull {
        protocol: VERSION,
        device: "reader".into(),
        incarnation: Incarnation("reader".into()),
        cursor: cursor.map(str::to_owned),
        rows_max: 1000,
        bytes_max: 1 << 20,
    }
}

#[test]
fn a_row_goes_from_one_device_to_another() {
    let rig = Rig::new();
    let token = rig.token("ada", &[]);
    let welcome = rig.hello(&token, "a");
    let pushed = rig.push(&token, &push("a", 1, &welcome.epoch, &[("x", "one")]));
    assert_eq!(pushed.outcomes, [WireOutcome::Applied(Revision(1))]);
    assert_eq!(rig.rows(&token), ["[\"x\",\"one\"]"]);
    let status: ScopeStatus = rig.send("GET", "/v1/scopes/@me/status", &token, "", b"").json();
    assert_eq!((status.devices[0].device.as_str(), status.devices[0].account.as_str()), ("a's laptop", "ada"));
    let health = rig.raw(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    assert_eq!((health.status, &health.body[..]), (200, &b"ok\n"[..]));
    assert_eq!(health.header(HEADER), Some("1"));
    assert!(health.header("date").is_some());
}

#[test]
fn trap_10_a_push_replayed_over_the_wire_is_answered_byte_for_byte() {
    let mut rig = Rig::new();
    let token = rig.token("ada", &[]);
    let epoch = rig.hello(&token, "a").epoch;
    let body = push("a", 1, &epoch, &[("x", "one")]);
    let first = rig.post("push", &token, &body).body;
    assert_eq!(rig.post("push", &token, &body).body, first);
    // Also by a hub that was started anew on the same data.
    rig.stop();
    let dir = std::mem::replace(&mut rig.dir, tempfile::tempdir().unwrap());
    let again = Rig::on(dir, Settings::default(), None);
    assert_eq!(again.post("push", &token, &body).body, first);
    let other = push("a", 1, &epoch, &[("y", "two")]);
    assert_eq!(again.post("push", &token, &other).refused(), (409, "incarnation_over".into()));
    assert_eq!(again.rows(&token), ["[\"x\",\"one\"]"]);
}

#[test]
fn bodies_travel_packed_both_ways() {
    let rig = Rig::new();
    let token = rig.token("ada", &[]);
    let epoch = rig.hello(&token, "a").epoch;
    for (batch, packing) in [(1, Packing::Gzip), (2, Packing::Zstd)] {
        let body = serde_json::to_vec(&push("a", batch, &epoch, &[(packing.word(), &"long ".repeat(500))])).unwrap();
        let packed = packing.pack(&body).unwrap();
        let header = format!("content-encoding: {}\r\n", packing.word());
        assert_eq!(rig.send("POST", "/v1/scopes/@me/push", &token, &header, &packed).status, 200);
        let header = format!("accept-encoding: {}\r\n", packing.word());
        let body = serde_json::to_vec(&pull(None)).unwrap();
        let answer = rig.send("POST", "/v1/scopes/@me/pull", &token, &header, &body);
        assert_eq!(answer.header("content-encoding"), Some(packing.word()));
        let plain = packing.unpack(&answer.body, 1 << 20).unwrap();
        let pulled: Pulled = serde_json::from_slice(&plain).unwrap();
        assert_eq!(pulled.groups[0].rows.len(), batch as usize);
    }
}

/// For these tests alone: localhost, until the year 2126 or so.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBmTCCAT6gAwIBAgIUEVz6Ee0Q5w+MekrX4Dp2os/ZnE0wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTA4NDc1N1oYDzIxMjYxMDI4
MDg0NzU3WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR8s4HUPHuMzApLODh6+7+jeQkDzUnTeVk98HZDfcCq+dFepHwC9dOt
drWD3HzAF5ZE5YdkQvfjn61GmicgcBbeo2wwajAdBgNVHQ4EFgQUKKThWzGYiL9m
iyO47E7xgvXL+0IwHwYDVR0jBBgwFoAUKKThWzGYiL9miyO47E7xgvXL+0IwGgYD
VR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E
AwIDSQAwRgIhAKVm5C9/t6/kZFiAva2bmW8HjNTmB5BSS3NTuCdzYgddAiEAwd9t
R3zcUgHy5W3nP6eJaKWCxET2umKxnU8n95zhAPc=
-----END CERTIFICATE-----
";
const CERTIFICATE_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgL+bJZAZ2/SJnK2Ru
M2VDxx3cgBhtDYiug73K7M0f4aahRANCAAR8s4HUPHuMzApLODh6+7+jeQkDzUnT
eVk98HZDfcCq+dFepHwC9dOtdrWD3HzAF5ZE5YdkQvfjn61GmicgcBbe
-----END PRIVATE KEY-----
";

#[test]
fn with_its_own_certificate_the_hub_speaks_tls_and_nothing_else() {
    use rustls_pki_types::pem::PemObject;
    use std::sync::Arc;
    let dir = tempfile::tempdir().unwrap();
    let files = Tls { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.certificate, CERTIFICATE).unwrap();
    std::fs::write(&files.key, CERTIFICATE_KEY).unwrap();
    let rig = Rig::on(dir, Settings::default(), Some(files));
    assert!(rig.running.as_ref().unwrap().url().starts_with("https://127.0.0.1:"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, rig.connect());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert_eq!(Answer::parse(&bytes).status, 200);
    // Plain HTTP is no handshake: the connection ends, and the hub goes on.
    let mut plain = rig.connect();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&bytes));
}

#[test]
fn two_hubs_never_share_a_data_directory() {
    let mut rig = Rig::new();
    let second = Options { listen: "127.0.0.1:0".into(), ..Options::new(rig.data()) };
    let error = rig.runtime.block_on(homing::hub::start(second.clone())).err().unwrap().to_string();
    assert!(error.contains("another hub"), "{error}");
    rig.stop();
    let running = rig.runtime.block_on(homing::hub::start(second)).unwrap();
    rig.runtime.block_on(running.stop());
}

fn forged(header: &str, claims: &str, signature: &str) -> String {
    format!("{}.{}.{signature}", B64.encode(header), B64.encode(claims))
}

#[test]
fn bad_tokens_reach_nothing() {
    let rig = Rig::new();
    let good = rig.token("ada", &[]);
    rig.hello(&good, "a");
    let claims = rig.keys().check(&good).unwrap();
    let json = serde_json::to_string(&claims).unwrap();
    let sign = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        rig.keys().sign(&claims).unwrap()
    };
    let other_key = Keys::new(b"some other hub's key, 32 bytes..").sign(&claims).unwrap();
    let signature = good.rsplit('.').next().unwrap();
    for (what, token, code) in [
        ("alg none", forged(r#"{"alg":"none"}"#, &json, ""), "token_bad"),
        ("alg none with a signature", forged(r#"{"alg":"none"}"#, &json, signature), "token_bad"),
        ("claims changed", forged(r#"{"alg":"HS256"}"#, &json.replace("ada", "bob"), signature), "token_bad"),
        ("another key", other_key, "token_bad"),
        ("expired", sign(&|claims| claims.exp -= 100_000), "token_expired"),
        ("another audience", sign(&|claims| claims.aud = "elsewhere".into()), "token_bad"),
        ("another issuer", sign(&|claims| claims.iss = "elsewhere".into()), "token_bad"),
        ("not a token", "rubbish".into(), "token_bad"),
        ("empty", String::new(), "token_bad"),
    ] {
        let answer = rig.post("pull", &token, &pull(None));
        assert_eq!(answer.refused(), (401, code.to_owned()), "{what}");
        assert_eq!(answer.header("www-authenticate"), Some("bearer"), "{what}");
    }
    let missing = rig.raw(b"GET /v1/scopes/@me/status HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    assert_eq!(missing.refused(), (401, "token_missing".into()));
    let basic =
        b"GET /v1/scopes/@me/status HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Basic YTpi\r\n\r\n";
    assert_eq!(rig.raw(basic).refused(), (401, "token_bad".into()));
}

#[test]
fn h12_no_account_reaches_another_ones_rows() {
    let rig = Rig::new();
    let (ada, bob, eve) = (rig.token("ada", &["team"]), rig.token("bob", &["team"]), rig.token("eve", &[]));
    let epoch = rig.hello(&ada, "a").epoch;
    rig.push(&ada, &push("a", 1, &epoch, &[("x", "ada's own")]));
    // `@me` is each one's own.
    rig.hello(&eve, "e");
    assert_eq!(rig.rows(&eve), [""; 0]);
    // A cursor of another scope, a push with its epoch, an incarnation of another account.
    let pulled: Pulled = rig.post("pull", &ada, &pull(None)).json();
    assert_eq!(rig.post("pull", &eve, &pull(Some(&pulled.cursor))).refused(), (409, "epoch_over".into()));
    assert_eq!(rig.post("push", &eve, &push("a", 2, &epoch, &[("y", "")])).refused(), (409, "epoch_over".into()));
    // Scopes that are there and scopes that are not get one answer.
    let body = serde_json::to_vec(&pull(None)).unwrap();
    for scope in ["team", "nowhere", "ada", "own-ada", "@ada", "..", "%2e%2e%2fown-ada", "team%00", "%ff", "%2F"] {
        let answer = rig.send("POST", &format!("/v1/scopes/{scope}/pull"), &eve, "", &body);
        assert!([(403, "forbidden".to_owned()), (404, "not_found".to_owned())].contains(&answer.refused()), "{scope}");
    }
    // A team's members share its rows, and a team that bears an account's name is a team.
    let greeting = serde_json::to_vec(&hello("a")).unwrap();
    let welcome: Welcome = rig.send("POST", "/v1/scopes/team/hello", &ada, "", &greeting).json();
    let body = serde_json::to_vec(&push("a", 1, &welcome.epoch, &[("t", "team's")])).unwrap();
    assert_eq!(rig.send("POST", "/v1/scopes/team/push", &ada, "", &body).status, 200);
    let pulled: Pulled =
        rig.send("POST", "/v1/scopes/team/pull", &bob, "", &serde_json::to_vec(&pull(None)).unwrap()).json();
    assert_eq!(pulled.groups[0].rows.len(), 1);
    let named_ada = rig.token("eve", &["ada"]);
    let body = serde_json::to_vec(&pull(None)).unwrap();
    let pulled: Pulled = rig.send("POST", "/v1/scopes/ada/pull", &named_ada, "", &body).json();
    assert_eq!(pulled.groups.len(), 0);
    assert_eq!(rig.rows(&ada), ["[\"x\",\"ada's own\"]"]);
}

#[test]
fn bombs_giants_rubbish_and_unknown_encodings_are_refused_and_the_hub_goes_on() {
    let rig = Rig::new();
    let token = rig.token("ada", &[]);
    rig.hello(&token, "a");
    let path = "/v1/scopes/@me/push";
    let bomb = vec![b' '; 100 << 20];
    for packing in [Packing::Gzip, Packing::Zstd] {
        let packed = packing.pack(&bomb).unwrap();
        let header = format!("content-encoding: {}\r\n", packing.word());
        assert_eq!(rig.send("POST", path, &token, &header, &packed).refused(), (413, "too_large".into()));
    }
    drop(bomb);
    // Said to be large, large without saying so, and larger than any number.
    let head = |extra: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{extra}\r\n\r\n"
        )
    };
    let announced = head("content-length: 104857600");
    assert_eq!(rig.raw(announced.as_bytes()).refused(), (413, "too_large".into()));
    let mut chunked = head("transfer-encoding: chunked").into_bytes();
    for _ in 0..20 {
        chunked.extend(b"100000\r\n");
        chunked.extend(vec![b' '; 1 << 20]);
        chunked.extend(b"\r\n");
    }
    assert_eq!(rig.raw(&chunked).refused(), (413, "too_large".into()));
    for (what, headers, body) in [
        ("rubbish", "", &b"rubbish"[..]),
        ("half", "", b"{\"protocol\":1,\"device\":\"a\","),
        ("html", "", b"<html><body>sign in</body></html>"),
        ("empty", "", b""),
        ("not UTF-8", "", b"{\"device\":\"\xff\xfe\"}"),
        ("a number", "", b"1e999"),
        ("brotli", "content-encoding: br\r\n", b"{}"),
        ("gzip twice", "content-encoding: gzip, gzip\r\n", b"{}"),
        ("two encodings", "content-encoding: gzip\r\ncontent-encoding: zstd\r\n", b"{}"),
        ("gzip that is none", "content-encoding: gzip\r\n", b"{}"),
        ("zstd that is none", "content-encoding: zstd\r\n", b"{}"),
        ("zstd cut short", "content-encoding: zstd\r\n", &Packing::Zstd.pack(b"{}").unwrap()[..5]),
    ] {
        for call in ["push", "pull", "hello", "digest", "row"] {
            let answer = rig.send("POST", &format!("/v1/scopes/@me/{call}"), &token, headers, body);
            assert_eq!(answer.refused(), (400, "malformed".into()), "{what} {call}");
        }
    }
    let deep = "[".repeat(1_000_000);
    assert_eq!(rig.send("POST", path, &token, "", deep.as_bytes()).refused(), (400, "malformed".into()));
    let mut wrong = pull(None);
    wrong.protocol = 2;
    assert_eq!(rig.post("pull", &token, &wrong).refused(), (400, "version".into()));
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/scopes/@me/push"),
        ("POST", "/v1/scopes/@me/nothing"),
        ("DELETE", "/v1/scopes/@me/push"),
        ("POST", "/healthz"),
        ("GET", "/v1/scopes/@me/push/more"),
    ] {
        assert_eq!(rig.send(method, path, &token, "", b"").refused().0, 404, "{method} {path}");
    }
    let flood = "x-a: b\r\n".repeat(200);
    assert_eq!(rig.send("POST", path, &token, &flood, b"").status, 431);
    // None of it left a mark.
    let epoch = rig.hello(&token, "a").epoch;
    rig.push(&token, &push("a", 1, &epoch, &[("x", "one")]));
    assert_eq!(rig.rows(&token), ["[\"x\",\"one\"]"]);
}

#[test]
fn a_batch_with_too_many_rows_is_too_large() {
    let settings = Settings { batch_rows_max: 2, ..Settings::default() };
    let rig = Rig::with(settings, None);
    let token = rig.token("ada", &[]);
    let welcome = rig.hello(&token, "a");
    assert_eq!(welcome.limits.batch_rows_max, 2);
    let three = push("a", 1, &welcome.epoch, &[("x", ""), ("y", ""), ("z", "")]);
    assert_eq!(rig.post("push", &token, &three).refused(), (413, "too_large".into()));
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let settings = Settings { requests_per_second_max: 1, requests_burst_max: 3, ..Settings::default() };
    let rig = Rig::with(settings, None);
    let (ada, bob) = (rig.token("ada", &[]), rig.token("bob", &[]));
    let answers: Vec<Answer> = (0..8).map(|_| rig.post("pull", &ada, &pull(None))).collect();
    let late = answers.iter().find(|answer| answer.status == 429).expect("a 429 among eight");
    assert_eq!(late.refused(), (429, "rate_limited".into()));
    assert_eq!(late.header("retry-after"), Some("1"));
    assert_eq!(rig.post("pull", &bob, &pull(None)).status, 200);
}

/// Reads from a live channel until `wanted` was seen.
fn hear(stream: &mut TcpStream, wanted: &str) -> String {
    let mut heard = String::new();
    let mut bytes = [0u8; 1024];
    while !heard.contains(wanted) {
        match stream.read(&mut bytes) {
            Ok(0) => panic!("the channel ended without {wanted:?}: {heard}"),
            Ok(count) => heard.push_str(&String::from_utf8_lossy(&bytes[..count])),
            Err(error) => panic!("no {wanted:?} in time ({error}): {heard}"),
        }
    }
    heard
}

fn listen(rig: &Rig, token: &str) -> TcpStream {
    let mut stream = rig.connect();
    let request =
        format!("GET /v1/scopes/@me/live?incarnation=a HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn w9_the_live_channel_says_when_there_is_more_also_from_an_sql_client() {
    let rig = Rig::new();
    let token = rig.token("ada", &[]);
    let epoch = rig.hello(&token, "a").epoch;
    let mut stream = listen(&rig, &token);
    let opening = hear(&mut stream, "event: hint\ndata: 0\n\n");
    assert!(opening.contains("text/event-stream") && opening.contains("homing-protocol: 1"), "{opening}");
    rig.push(&token, &push("a", 1, &epoch, &[("x", "one")]));
    hear(&mut stream, "event: hint\ndata: 1\n\n");
    let scope = rig.data().join("scopes/own-ada.db");
    rusqlite::Connection::open(scope).unwrap().execute_batch("INSERT INTO notes VALUES ('y', 'by sql')").unwrap();
    hear(&mut stream, "event: hint\ndata: 2\n\n");
    let status: ScopeStatus = rig.send("GET", "/v1/scopes/@me/status", &token, "", b"").json();
    assert!(status.devices[0].active);
}

#[test]
fn a_revoked_token_is_over_within_a_minute_and_its_channel_ends() {
    let rig = Rig::new();
    let (token, other) = (rig.token("ada", &[]), rig.token("ada", &[]));
    rig.hello(&token, "a");
    let mut stream = listen(&rig, &token);
    hear(&mut stream, "data: 0");
    homing::hub::revoke(&rig.data(), &Revoke::Token(token.clone())).unwrap();
    // The channel's end (the last chunk) is the event: the hub has heard.
    hear(&mut stream, "0\r\n\r\n");
    assert_eq!(rig.post("pull", &token, &pull(None)).refused(), (401, "token_revoked".into()));
    assert_eq!(rig.post("pull", &other, &pull(None)).status, 200);
}

#[test]
fn trap_20_a_hub_started_on_a_backup_begins_new_epochs_and_keeps_rows_and_tokens() {
    let rig = Rig::new();
    let token = rig.token("ada", &[]);
    let epoch = rig.hello(&token, "a").epoch;
    rig.push(&token, &push("a", 1, &epoch, &[("x", "one")]));
    let target = tempfile::tempdir().unwrap();
    let copied = homing::hub::backup(&rig.data(), &target.path().join("data")).unwrap();
    assert_eq!(copied.scopes, 1);
    rig.push(&token, &push("a", 2, &epoch, &[("y", "after the backup")]));
    let restored = Rig::on(target, Settings::default(), None);
    let welcome = restored.hello(&token, "a");
    assert_ne!(welcome.epoch, epoch);
    assert_eq!(welcome.batch, 1, "the device sees that batch 2 is lost");
    assert_eq!(restored.post("push", &token, &push("a", 3, &epoch, &[])).refused(), (409, "epoch_over".into()));
    assert_eq!(restored.rows(&token), ["[\"x\",\"one\"]"]);
    assert_eq!(rig.rows(&token).len(), 2);
    let again = homing::hub::backup(&rig.data(), &restored.data());
    assert!(again.unwrap_err().to_string().contains("not empty"));
}

#[test]
fn trap_20_a_scope_file_put_back_by_hand_is_noticed() {
    let mut rig = Rig::new();
    let token = rig.token("ada", &[]);
    let epoch = rig.hello(&token, "a").epoch;
    rig.push(&token, &push("a", 1, &epoch, &[("x", "one")]));
    rig.stop();
    let file = rig.data().join("scopes/own-ada.db");
    let old = std::fs::read(&file).unwrap();
    let dir = std::mem::replace(&mut rig.dir, tempfile::tempdir().unwrap());
    let mut second = Rig::on(dir, Settings::default(), None);
    assert_eq!(second.hello(&token, "a").epoch, epoch, "a plain restart is not a restore");
    second.push(&token, &push("a", 2, &epoch, &[("y", "two")]));
    second.stop();
    let file = second.data().join("scopes/own-ada.db");
    std::fs::write(&file, old).unwrap();
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    let dir = std::mem::replace(&mut second.dir, tempfile::tempdir().unwrap());
    let third = Rig::on(dir, Settings::default(), None);
    assert_ne!(third.hello(&token, "a").epoch, epoch);
}

#[test]
fn a_hub_that_is_told_to_stop_does_so_in_time_whoever_listens() {
    let mut rig = Rig::new();
    let token = rig.token("ada", &[]);
    rig.hello(&token, "a");
    let mut live = listen(&rig, &token);
    hear(&mut live, "data: 0");
    let idle = rig.connect();
    let mut half = rig.connect();
    half.write_all(b"POST /v1/scopes/@me/push HTTP/1.1\r\nhost: h\r\ncontent-le").unwrap();
    let begun = std::time::Instant::now();
    rig.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop((idle, half));
    assert!(TcpStream::connect(rig.address).is_err());
}

#[test]
fn the_data_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&rig.data()), 0o700);
    assert_eq!(mode(&rig.data().join("hub.key")), 0o600);
}

#[test]
fn an_address_in_use_and_a_bad_certificate_are_said_in_words() {
    let rig = Rig::new();
    let taken = Options { listen: rig.address.to_string(), ..Options::new(rig.dir.path().join("second")) };
    let error = rig.runtime.block_on(homing::hub::start(taken)).err().unwrap().to_string();
    assert!(error.contains("cannot listen on") && error.contains("--listen"), "{error}");
    let tls = Some(Tls { certificate: rig.data().join("hub.key"), key: rig.data().join("hub.key") });
    let options = Options { listen: "127.0.0.1:0".into(), tls, ..Options::new(rig.dir.path().join("third")) };
    let error = rig.runtime.block_on(homing::hub::start(options)).err().unwrap().to_string();
    assert!(error.contains("for TLS"), "{error}");
}

/// Reads an example as the message it stands for and writes it again.
fn again<T: Serialize + DeserializeOwned>(text: &str) -> serde_json::Value {
    let message: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
    serde_json::to_value(message).unwrap()
}

#[test]
fn every_example_of_the_protocols_document_is_a_message_of_it() {
    use homing::protocol as p;
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md")).unwrap();
    let mut seen: Vec<&str> = Vec::new();
    for block in text.split("\n```json ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let example = rest.split_once("\n```").unwrap().0;
        let written = match name {
            "Hello" => again::<p::Hello>(example),
            "Welcome" => again::<p::Welcome>(example),
            "Push" => again::<p::Push>(example),
            "Pushed" => again::<p::Pushed>(example),
            "WireOutcome" => again::<p::WireOutcome>(example),
            "Pull" => again::<p::Pull>(example),
            "Pulled" => again::<p::Pulled>(example),
            "DigestRequest" => again::<p::DigestRequest>(example),
            "Digest" => again::<p::Digest>(example),
            "RowRequest" => again::<p::RowRequest>(example),
            "RowAnswer" => again::<p::RowAnswer>(example),
            "ScopeStatus" => again::<p::ScopeStatus>(example),
            "Refusal" => again::<p::Refusal>(example),
            other => panic!("an example of no message: {other}"),
        };
        let example: serde_json::Value = serde_json::from_str(example).unwrap();
        assert_eq!(written, example, "{name}");
        seen.push(name);
    }
    seen.dedup();
    assert!(seen.len() >= 13, "{seen:?}");
}
