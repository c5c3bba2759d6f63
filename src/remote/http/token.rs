//! Where the token comes from, and when it is fetched anew.
//!
//! A file or a variable is read at every call, so a token put there takes effect at
//! once. A command's token is kept until shortly before it ends. A refused token is
//! replaced at most once in half a minute, however many calls fail. Token bytes never
//! get into a message, a log or a `Debug`.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use reqwest::header::HeaderValue;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::fault::KEPT;
use crate::model::settings::TokenSource;
use crate::model::{Fault, FaultKind, ReasonCode};

const TOKEN_BYTES_MAX: u64 = 16 << 10;
const COMMAND_MAX: Duration = Duration::from_secs(30);
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);
/// A token that ends sooner than this (or than a tenth of its life) is replaced.
const REMAINS_MIN: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

impl Token {
    /// `None` for what no header could carry.
    fn parse(bytes: &[u8]) -> Option<Token> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| Token(text.to_owned()))
    }

    pub fn bearer(&self) -> HeaderValue {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", self.0)).expect("BUG: a token is printable characters");
        value.set_sensitive(true);
        value
    }

    /// What it says of itself, if it is a JWT. Its signature is the remote's business.
    pub fn claims(&self) -> Option<serde_json::Value> {
        let payload = self.0.split('.').nth(1)?;
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&payload).ok()
    }

    /// When to replace it, if it is a JWT that says when it ends.
    fn renew_at(&self) -> Option<SystemTime> {
        let claims = self.claims()?;
        let ends = claims.get("exp")?.as_f64()?;
        let life = claims.get("iat").and_then(serde_json::Value::as_f64).map(|begun| ends - begun);
        let remains = life.map_or(REMAINS_MIN.as_secs_f64(), |life| (life / 10.0).min(REMAINS_MIN.as_secs_f64()));
        let at = Duration::try_from_secs_f64((ends - remains.max(0.0)).max(0.0)).ok()?;
        UNIX_EPOCH.checked_add(at)
    }
}

pub struct Tokens {
    source: TokenSource,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the command last printed.
    held: Option<Token>,
    /// When a token was last fetched because another would not do.
    renewed_at: Option<Instant>,
}

impl State {
    /// Notes a renewal, if enough time has gone by since the last.
    fn may_renew(&mut self) -> bool {
        let now = Instant::now();
        if self.renewed_at.is_some_and(|last| now.duration_since(last) < RENEWAL_PAUSE) {
            return false;
        }
        self.renewed_at = Some(now);
        true
    }
}

impl Tokens {
    pub fn new(source: TokenSource) -> Tokens {
        Tokens { source, state: Mutex::default() }
    }

    /// The token to send; `None` where none is configured.
    pub async fn current(&self) -> Result<Option<Token>, Fault> {
        let TokenSource::Command(command) = &self.source else {
            return self.read().await;
        };
        let mut state = self.state.lock().await;
        let Some(held) = state.held.clone() else {
            let token = run(command).await?;
            state.held = Some(token.clone());
            return Ok(Some(token));
        };
        let ending = held.renew_at().is_some_and(|at| at <= SystemTime::now());
        if !ending || !state.may_renew() {
            return Ok(Some(held));
        }
        // While the old one may still be good, a command that fails is no reason to stop.
        let token = run(command).await.unwrap_or(held);
        state.held = Some(token.clone());
        Ok(Some(token))
    }

    /// Another token than the one that was refused; `None` when there is none to be had.
    pub async fn renewed(&self, refused: &Token) -> Result<Option<Token>, Fault> {
        let mut state = self.state.lock().await;
        if let Some(held) = &state.held
            && held != refused
        {
            return Ok(Some(held.clone()));
        }
        if !state.may_renew() {
            return Ok(None);
        }
        let token = match &self.source {
            TokenSource::Command(command) => {
                let token = run(command).await?;
                state.held = Some(token.clone());
                Some(token)
            }
            _ => self.read().await?,
        };
        Ok(token.filter(|token| token != refused))
    }

    async fn read(&self) -> Result<Option<Token>, Fault> {
        let (bytes, place) = match &self.source {
            TokenSource::None => return Ok(None),
            TokenSource::File(path) => {
                let place = format!("the token file {}", path.display());
                let bytes = read_small(path, TOKEN_BYTES_MAX).map_err(|why| missing(&place, &why))?;
                (bytes, place)
            }
            TokenSource::Environment(name) => {
                let place = format!("the environment variable {name}");
                let value = std::env::var_os(name).ok_or_else(|| missing(&place, "is not set"))?;
                (value.into_encoded_bytes(), place)
            }
            TokenSource::Command(_) => unreachable!("BUG: a command is run, not read"),
        };
        accept(&bytes, &place).map(Some)
    }
}

/// A regular file, whole, if it is not larger than `bytes_max`. Never waits on a pipe.
pub fn read_small(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|error| why_not(&error))?;
    if !meta.is_file() {
        return Err("is not a file".to_owned());
    }
    if meta.len() > bytes_max {
        return Err(format!("is larger than {} KiB", bytes_max >> 10));
    }
    std::fs::read(path).map_err(|error| why_not(&error))
}

fn why_not(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("cannot be read ({error})"),
    }
}

fn accept(bytes: &[u8], place: &str) -> Result<Token, Fault> {
    match Token::parse(bytes) {
        Some(Token(text)) if text.is_empty() => Err(missing(place, "is empty")),
        Some(token) => Ok(token),
        None => Err(missing(place, "holds something that is not a token")),
    }
}

fn missing(place: &str, why: &str) -> Fault {
    let text = format!("there is no token: {place} {why}; {KEPT}");
    let next = "put a token there; it is looked at again at every try";
    Fault::new(FaultKind::SignedOut, ReasonCode::AuthMissing, text, next)
}

/// What a shell command prints. Its stderr is the agent's.
async fn run(command: &str) -> Result<Token, Fault> {
    let place = "the token command";
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| missing(place, &format!("could not be started ({error})")))?;
    let mut group = Group(child.id());
    let output = child.stdout.take().expect("BUG: stdout was asked for");
    let finish = async {
        let mut bytes = Vec::new();
        output.take(TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 > TOKEN_BYTES_MAX {
            return Ok((None, bytes));
        }
        Ok::<_, std::io::Error>((Some(child.wait().await?), bytes))
    };
    match timeout(COMMAND_MAX, finish).await {
        Err(_) => Err(missing(place, &format!("did not finish within {} s", COMMAND_MAX.as_secs()))),
        Ok(Err(error)) => Err(missing(place, &format!("failed ({error})"))),
        Ok(Ok((None, _))) => Err(missing(place, "printed more than a token")),
        Ok(Ok((Some(status), bytes))) => {
            group.0 = None;
            if !status.success() {
                return Err(missing(place, &format!("failed ({status})")));
            }
            accept(&bytes, place)
        }
    }
}

/// Ends a command with all it started, unless it ended by itself.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(leader) = leader {
            // An error says that it is gone already.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> Token {
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
        Token(format!("e30.{payload}.x"))
    }

    fn counting(dir: &Path, prints: &str) -> (Tokens, impl Fn() -> usize + use<>) {
        let log = dir.join("runs");
        let command = format!("echo run >> '{}'; {prints}", log.display());
        let runs = move || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
        (Tokens::new(TokenSource::Command(command)), runs)
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::parse(b" s3cret\n").unwrap();
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert!(!format!("{:?}", token.bearer()).contains("s3cret"));
    }

    #[test]
    fn a_token_is_replaced_shortly_before_its_end() {
        let at = |claims: &str| jwt(claims).renew_at().map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(at(r#"{"exp": 10000}"#), Some(9_940));
        assert_eq!(at(r#"{"exp": 10000, "iat": 1000}"#), Some(9_940));
        assert_eq!(at(r#"{"exp": 10000, "iat": 9900}"#), Some(9_990));
        assert_eq!(at(r#"{"exp": -1}"#), Some(0));
        assert_eq!(at(r#"{"exp": 1e300}"#), None);
        assert_eq!(at(r#"{}"#), None);
        assert_eq!(Token("opaque".to_owned()).renew_at(), None);
    }

    #[tokio::test]
    async fn a_file_is_read_at_every_call_and_its_faults_name_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let tokens = Tokens::new(TokenSource::File(path.clone()));
        for (content, words) in [(None, "is not there"), (Some(" \n"), "is empty"), (Some("a\nb"), "not a token")] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let fault = tokens.current().await.unwrap_err();
            assert_eq!((fault.kind, fault.reason.code), (FaultKind::SignedOut, ReasonCode::AuthMissing));
            assert!(fault.reason.text.contains(words) && fault.reason.text.contains("token"), "{}", fault.reason.text);
            assert!(fault.reason.text.contains(&path.display().to_string()), "{}", fault.reason.text);
        }
        for content in ["one", "two"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(tokens.current().await.unwrap(), Token::parse(content.as_bytes()));
        }
    }

    #[tokio::test]
    async fn a_commands_token_is_kept_until_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (tokens, runs) = counting(dir.path(), "echo opaque");
        for _ in 0..3 {
            tokens.current().await.unwrap();
        }
        assert_eq!(runs(), 1);
        let refused = tokens.current().await.unwrap().unwrap();
        for _ in 0..50 {
            assert_eq!(tokens.renewed(&refused).await.unwrap(), None);
        }
        assert_eq!(runs(), 2, "one renewal in half a minute, however often it is refused");
    }

    #[tokio::test]
    async fn a_commands_token_that_ends_is_fetched_anew_once() {
        let dir = tempfile::tempdir().unwrap();
        let ended = jwt(r#"{"exp": 1000}"#);
        let (tokens, runs) = counting(dir.path(), &format!("echo {}", ended.0));
        for _ in 0..5 {
            tokens.current().await.unwrap();
        }
        assert_eq!(runs(), 2, "fetched, found to have ended, fetched again, and then not for half a minute");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_so_and_not_what_it_printed() {
        for (command, words) in [
            ("echo s3cret; exit 3", "failed (exit status: 3)"),
            ("true", "is empty"),
            ("head -c 100000 /dev/zero", "more than a token"),
            ("echo s3cret line; echo s3cret", "not a token"),
        ] {
            let fault = Tokens::new(TokenSource::Command(command.to_owned())).current().await.unwrap_err();
            assert!(fault.reason.text.contains(words), "{command}: {}", fault.reason.text);
            assert!(!format!("{fault:?}").contains("s3cret"), "{command}");
        }
    }
}
