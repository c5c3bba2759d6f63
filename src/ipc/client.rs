//! The other end of the socket, for commands: blocking, with a time limit on everything.
//!
//! A call's parameters and method come from `Request`, so that a command cannot ask for
//! what is not there. Nothing is ever sent twice: a connection that breaks in mid-call is
//! an error, and whoever called decides.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use interprocess::ConnectWaitMode;
use interprocess::local_socket::traits::{Stream as _, StreamCommon as _};
use interprocess::local_socket::{ConnectOptions, GenericFilePath, Stream, ToFsName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::answer::{self, Subscribed};
use super::method::{Builtin, Hello, Request, Subscribe};
use super::service::{CallError, Event, Topic};
use crate::model::ReasonCode;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Answered by the server itself, whatever its replicas do.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const LINE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens there.
    NoAgent { socket: PathBuf },
    /// The socket, or the agent behind it, is not for this user.
    NotAllowed { socket: PathBuf },
    TimedOut {
        after: Duration,
        /// Whose process listens there, where the system says so.
        pid: Option<i32>,
    },
    /// The agent answered, and said no.
    Refused(CallError),
    /// The agent went away in the middle, or what came is not an answer.
    Broken { text: String },
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            ClientError::NoAgent { socket } => write!(formatter, "no agent listens on {}", socket.display()),
            ClientError::NotAllowed { socket } => {
                write!(formatter, "the agent at {} is not for this user", socket.display())
            }
            ClientError::TimedOut { after, .. } => {
                write!(formatter, "the agent gave no answer within {after:?}")
            }
            ClientError::Refused(error) => error.fmt(formatter),
            ClientError::Broken { text } => formatter.write_str(text),
        }
    }
}

impl std::error::Error for ClientError {}

pub struct Client {
    stream: BufReader<Stream>,
    last_id: u64,
}

impl Client {
    /// Connects; while nobody is there, tries again for `patience`, since an agent may
    /// just be starting.
    pub fn connect(socket: &Path, patience: Duration) -> Result<Client, ClientError> {
        let deadline = Instant::now() + patience;
        loop {
            match open(socket) {
                Ok(stream) => return Ok(Client { stream: BufReader::new(stream), last_id: 0 }),
                Err(error) => match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        return Err(ClientError::NotAllowed { socket: socket.to_owned() });
                    }
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(25));
                    }
                    _ => return Err(ClientError::NoAgent { socket: socket.to_owned() }),
                },
            }
        }
    }

    pub fn call<T: DeserializeOwned>(&mut self, request: impl Into<Request>) -> Result<T, ClientError> {
        self.call_within(request, CALL_TIMEOUT)
    }

    /// For calls that take as long as they take.
    pub fn call_within<T: DeserializeOwned>(
        &mut self,
        request: impl Into<Request>,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let request = request.into();
        self.ask(request.method(), &json!(request), timeout)
    }

    /// Whose process listens at the other end, where the system says so.
    pub fn agent_pid(&self) -> Option<i32> {
        self.stream.get_ref().peer_creds().ok().and_then(|creds| creds.pid())
    }

    /// The agent's version.
    pub fn agent_version(&mut self) -> Result<String, ClientError> {
        let asked = Builtin::from(Hello { client: None, api: None });
        let hello: answer::Hello = self.ask(asked.method(), &json!(asked), HELLO_TIMEOUT)?;
        Ok(hello.daemon)
    }

    /// Turns the connection into a stream of events, after a snapshot.
    pub fn subscribe(mut self, topics: &[Topic]) -> Result<(Subscribed, Events), ClientError> {
        let params = Builtin::from(Subscribe { topics: Some(topics.to_vec()), since: None });
        let subscribed = self.ask(params.method(), &json!(params), CALL_TIMEOUT)?;
        self.stream.get_ref().set_recv_timeout(None).map_err(broken)?;
        Ok((subscribed, Events { client: self }))
    }

    fn ask<T: DeserializeOwned>(&mut self, method: &str, params: &Json, timeout: Duration) -> Result<T, ClientError> {
        self.last_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        let stream = self.stream.get_mut();
        stream.set_send_timeout(Some(CALL_TIMEOUT)).map_err(broken)?;
        stream.set_recv_timeout(Some(timeout)).map_err(broken)?;
        // A server that turns us away may have closed already; its reason can still be read.
        let sent = stream.write_all(format!("{request}\n").as_bytes());
        let line = match (self.read_line(timeout), sent) {
            (Ok(line), _) => line,
            (Err(_), Err(error)) => return Err(broken(error)),
            (Err(error), Ok(())) => return Err(error),
        };
        let Some(line) = line else {
            return Err(ClientError::Broken { text: "the agent closed the connection without an answer".to_owned() });
        };
        let answer: Answer = serde_json::from_str(&line).map_err(not_an_answer)?;
        match answer {
            Answer { error: Some(error), .. } => Err(ClientError::Refused(error.into())),
            Answer { result, id, .. } if id == json!(self.last_id) => {
                serde_json::from_value(result.unwrap_or_default()).map_err(not_an_answer)
            }
            Answer { .. } => Err(ClientError::Broken { text: "the agent answered another question".to_owned() }),
        }
    }

    /// `None` when the agent closed the connection.
    fn read_line(&mut self, timeout: Duration) -> Result<Option<String>, ClientError> {
        let mut line = Vec::new();
        match (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) if line.last() != Some(&b'\n') => {
                Err(ClientError::Broken { text: "the agent's answer broke off".to_owned() })
            }
            Ok(_) => String::from_utf8(line).map(Some).map_err(not_an_answer),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(ClientError::TimedOut { after: timeout, pid: self.agent_pid() })
            }
            Err(error) => Err(broken(error)),
        }
    }
}

/// What a subscriber hears.
#[derive(Debug)]
pub enum Heard {
    Event(Event),
    /// This many events went by unheard: ask again for the whole state.
    Lagged(u64),
}

/// Ends when the agent closes the connection.
pub struct Events {
    client: Client,
}

impl Iterator for Events {
    type Item = Result<Heard, ClientError>;

    fn next(&mut self) -> Option<Result<Heard, ClientError>> {
        let line = match self.client.read_line(Duration::ZERO) {
            Ok(line) => line?,
            Err(error) => return Some(Err(error)),
        };
        Some(match serde_json::from_str(&line).map_err(not_an_answer) {
            Ok(Notification::Event(event)) => Ok(Heard::Event(event)),
            Ok(Notification::Lagged { missed }) => Ok(Heard::Lagged(missed)),
            Err(error) => Err(error),
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
enum Notification {
    Event(Event),
    Lagged { missed: u64 },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Json,
    result: Option<Json>,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    code: i64,
    message: String,
    #[serde(default)]
    data: WireData,
}

/// Lenient: a newer agent may name reasons that this client does not know.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireData {
    reason: String,
    retryable: bool,
    retry_at: Option<i64>,
    hint: String,
}

impl From<WireError> for CallError {
    fn from(error: WireError) -> CallError {
        CallError {
            code: error.code,
            reason: ReasonCode::parse(&error.data.reason).unwrap_or(ReasonCode::Internal),
            message: error.message,
            hint: error.data.hint,
            retryable: error.data.retryable,
            retry_at: error.data.retry_at,
        }
    }
}

fn open(socket: &Path) -> io::Result<Stream> {
    let name = socket.to_fs_name::<GenericFilePath>()?;
    ConnectOptions::new().name(name).wait_mode(ConnectWaitMode::Timeout(CONNECT_TIMEOUT)).connect_sync()
}

fn broken(error: io::Error) -> ClientError {
    ClientError::Broken { text: format!("the connection to the agent broke: {error}") }
}

fn not_an_answer(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken { text: format!("what the agent answered cannot be understood: {error}") }
}
