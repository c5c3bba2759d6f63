//! What stands in for a hub, answering as a test says, and the client under test.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use homing::model::settings::{Remote as Settings, TokenSource};
use homing::model::{Change, Cursor, Fault, Incarnation, Key, Operation, Revision, Stamp, Value};
use homing::remote::homing::HomingRemote;
use homing::remote::{Ask, Batch, Greeting, Hint, Remote, RemoteError};
use tokio::sync::watch;

use super::{EMPTY_PAGE, LONG};

pub(super) const HEAD: &str = "HTTP/1.1 200 OK\r\nhoming-protocol: 1\r\nconnection: close\r\n";
pub(super) const EXPIRED: &str = r#"{"error":{"code":"token_expired","message":"it ended"}}"#;

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn read(stream: &mut impl BufRead) -> Option<Request> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let mut request = Request { line: lines[0].clone(), headers, body: Vec::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body).ok()?;
        Some(request)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Answers one request a connection, with whatever bytes a test writes.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) requests: Arc<Mutex<Vec<Request>>>,
    pub(super) came: Mutex<mpsc::Receiver<()>>,
    pub(super) over: Arc<AtomicBool>,
}

impl Server {
    pub(super) fn answering(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, came) = mpsc::channel();
        let (kept, ended, answer) = (requests.clone(), over.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (mut stream, kept, seen, answer) = (stream.unwrap(), kept.clone(), seen.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    if let Some(request) = Request::read(&mut reader) {
                        kept.lock().unwrap().push(request.clone());
                        let _ = seen.send(());
                        answer(&request, &mut stream);
                        // Else bytes not read would reset what was just written.
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                    }
                });
            }
        });
        Server { address, requests, came: Mutex::new(came), over }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn only_request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }

    pub(super) fn wait_for_requests(&self, count: usize) {
        let came = self.came.lock().unwrap();
        for _ in 0..count {
            came.recv_timeout(LONG).unwrap();
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client_with(|_| {})
    }

    pub(super) fn client_with(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = settings(&format!("http://{}", self.address));
        change(&mut settings);
        Client::new(settings)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

pub(super) struct Client {
    pub(super) remote: HomingRemote,
    pub(super) stop: watch::Sender<bool>,
}

impl Client {
    pub(super) fn new(settings: Settings) -> Client {
        let (stop, stopped) = watch::channel(false);
        let remote = HomingRemote::new(settings, "desk & lamp".to_owned(), runtime(), stopped).unwrap();
        Client { remote, stop }
    }

    pub(super) fn listen(&self) -> (homing::remote::Listening, mpsc::Receiver<Hint>) {
        let (said, heard) = mpsc::channel();
        let said = Mutex::new(said);
        let hear = move |hint| {
            let _ = said.lock().unwrap().send(hint);
        };
        (self.remote.listen(Box::new(hear)).unwrap(), heard)
    }
}

pub(super) fn runtime() -> tokio::runtime::Handle {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let make = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    RUNTIME.get_or_init(make).handle().clone()
}

/// A hub behind TLS that answers every request with an empty page.
pub fn tls_server(name: &str) -> SocketAddr {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let certificate = CertificateDer::from_pem_file(pem(&format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(pem(&format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4_096]).await;
                let answer = format!("{HEAD}content-length: {}\r\n\r\n{EMPTY_PAGE}", EMPTY_PAGE.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

pub(super) fn pem(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name)
}

pub(super) fn hub(out: &mut TcpStream, status: &str, headers: &str, body: &str) {
    hub_bytes(out, status, headers, body.as_bytes());
}

pub(super) fn hub_bytes(out: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let fixed = "homing-protocol: 1\r\nconnection: close\r\n";
    let head = format!("HTTP/1.1 {status}\r\n{fixed}{headers}content-length: {}\r\n\r\n", body.len());
    let _ = out.write_all(head.as_bytes()).and_then(|()| out.write_all(body));
}

pub(super) fn settings(url: &str) -> Settings {
    static TOKEN: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = TOKEN.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "s3cret\n").unwrap();
        dir
    });
    Settings {
        kind: "homing".to_owned(),
        url: url.to_owned(),
        scope: None,
        token: TokenSource::File(dir.path().join("token")),
        allow_plain_http: false,
        ca_file: None,
        proxy: None,
        timeout: 15_000,
        backend: Default::default(),
    }
}

pub(super) fn ask(cursor: Option<&str>) -> Ask {
    Ask {
        device: "desk & lamp".to_owned(),
        incarnation: Incarnation("i".to_owned()),
        compares: false,
        cursor: cursor.map(|cursor| Cursor(cursor.to_owned())),
        rows_max: 10,
        bytes_max: 1_000,
    }
}

pub(super) fn greeting() -> Greeting {
    Greeting { device: "desk".to_owned(), incarnation: Incarnation("i".to_owned()), batch: 0, tables: Vec::new() }
}

pub(super) fn batch() -> Batch {
    let change = |id: i64| Change {
        table: "t".into(),
        key: Key::from(vec![Value::Integer(id)]),
        operation: Operation::Delete,
        columns: [].into(),
        values: Vec::new(),
        base_revision: Revision::NONE,
        stamp: Stamp(1),
        seq: homing::model::Seq(id),
    };
    Batch {
        device: "desk".to_owned(),
        incarnation: Incarnation("i".to_owned()),
        number: 1,
        epoch: "e".to_owned(),
        seen: homing::model::Revision::NONE,
        cursor: None,
        changes: vec![change(1), change(2)],
    }
}

/// The fault a pull ends in. One that would not end is stopped, which is another fault.
pub(super) fn pull_fault(client: &mut Client) -> Fault {
    let (ended, has_ended) = mpsc::channel::<()>();
    let stop = client.stop.clone();
    std::thread::spawn(move || {
        if has_ended.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = stop.send(true);
        }
    });
    let error = client.remote.pull(&ask(None)).unwrap_err();
    drop(ended);
    fault_of(error)
}

pub(super) fn fault_of(error: RemoteError) -> Fault {
    match error {
        RemoteError::Fault(fault) => fault,
        other => panic!("a fault was due, not {other:?}"),
    }
}
