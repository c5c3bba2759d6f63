//! The way to one replica's remote: its name, its door, its certificate, the token, the
//! protocol; in the order in which each needs the one before.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Report;
use crate::cli::words;
use crate::model::settings::{Replica, TokenSource};
use crate::model::{Fault, ReasonCode};
use crate::remote::{self, Hint, Remote, RemoteError};

/// A table that no hub has.
const NO_TABLE: &str = "_homing_doctor";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BROKER_TIMEOUT: Duration = Duration::from_secs(15);
const SLOW: Duration = Duration::from_secs(2);
/// A token that ends within this wants a person's care.
const TOKEN_ENDS: Duration = Duration::from_secs(3 * 24 * 3600);

pub fn examine(replica: &Replica, report: &mut Report) {
    let name = Some(replica.name.as_str());
    let token_there = token(replica, report);
    let Ok(url) = reqwest::Url::parse(&replica.remote.url) else { return };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return };
    // Behind a proxy it is the proxy that looks names up.
    let direct = replica.remote.proxy.is_none() && !proxied();
    if direct && !reachable(host, port, name, report) {
        return;
    }
    if token_there {
        answers(replica, report);
    }
}

/// False where there is no token to try.
fn token(replica: &Replica, report: &mut Report) -> bool {
    let name = Some(replica.name.as_str());
    let text = match &replica.remote.token {
        TokenSource::File(path) => {
            if !token_file(path, name, report) {
                return false;
            }
            std::fs::read_to_string(path).unwrap_or_default()
        }
        TokenSource::Environment(variable) => match std::env::var(variable) {
            Ok(text) if !text.trim().is_empty() => text,
            // The agent's environment need not be this one.
            _ => {
                let evidence = format!("`{variable}`, which holds the token, is not set here; the agent may have it");
                report.warning("token", name, evidence, "set it for the service: `systemctl --user edit homing`");
                return false;
            }
        },
        TokenSource::Command(_) | TokenSource::None => return true,
    };
    if let Some(ends) = expiry(text.trim()) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = ends.saturating_sub(now);
        let renew = "make a new one at the hub (`homing hub token`), and put it in the old one's place";
        match left {
            Duration::ZERO => {
                report.wrong("token_expiry", name, "the token's time is over", renew);
                return false;
            }
            left if left < TOKEN_ENDS => {
                let evidence = format!("the token ends in {}", words::span(left.as_millis() as i64));
                report.warning("token_expiry", name, evidence, renew);
            }
            _ => report.well("token_expiry", name, "the token is good for some time"),
        }
    }
    true
}

fn token_file(path: &Path, name: Option<&str>, report: &mut Report) -> bool {
    let shown = path.display();
    let put = format!("put a token there: `homing hub token --account NAME > {shown}` at the hub");
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) => {
            report.wrong("token", name, format!("the token file {shown} cannot be read: {error}"), put);
            return false;
        }
    };
    match std::fs::read(path) {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {
            report.wrong("token", name, format!("the token file {shown} is empty"), put);
            return false;
        }
        Err(error) => {
            report.wrong(
                "token",
                name,
                format!("the token file {shown} cannot be read: {error}"),
                format!("`chmod 600 {shown}`, as its owner"),
            );
            return false;
        }
        Ok(_) => {}
    }
    match found.mode() & 0o077 {
        0 => report.well("token_mode", name, "nobody else can read the token"),
        _ => report.warning(
            "token_mode",
            name,
            format!("others may read the token in {shown} (mode {:o})", found.mode() & 0o777),
            format!("`chmod 600 {shown}`"),
        ),
    }
    true
}

/// When a JWT ends, as it says itself; nobody checks its signature here.
fn expiry(token: &str) -> Option<Duration> {
    let payload = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    claims["exp"].as_u64().map(Duration::from_secs)
}

fn proxied() -> bool {
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn reachable(host: &str, port: u16, name: Option<&str>, report: &mut Report) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<_> = match (bare, port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let mend = format!("check `url` in the config, and the network: `getent hosts {bare}`");
            report.wrong("name", name, format!("the name {bare} cannot be looked up: {error}"), mend);
            return false;
        }
    };
    report.well("name", name, format!("{bare} is known"));
    let mut last = None;
    for address in &addresses {
        match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
            Ok(_) => {
                report.well("door", name, format!("{bare}:{port} takes connections"));
                return true;
            }
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
    let mend = "see that the hub runs there (`homing hub`), and that no firewall is in between; what is written meanwhile is kept";
    report.wrong("door", name, format!("nobody takes connections at {bare}:{port}: {why}"), mend);
    false
}

/// Asks for the hashes of a table that is not there: it takes the whole way and changes
/// nothing at the far end.
fn answers(replica: &Replica, report: &mut Report) {
    let name = Some(replica.name.as_str());
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() else {
        return;
    };
    let (_going_on, stop) = tokio::sync::watch::channel(false);
    let tell = |report: &mut Report, fault: Fault| {
        let next =
            if fault.reason.next.is_empty() { "`homing status` says more".to_owned() } else { fault.reason.next };
        report.wrong("remote", name, fault.reason.text, next);
    };
    let mut remote = match remote::open(replica, "doctor", runtime.handle(), stop) {
        Ok(remote) => remote,
        Err(fault) => return tell(report, fault),
    };
    broker(replica, &*remote, report);
    let asked = Instant::now();
    match remote.digest(NO_TABLE, &[], None, 1) {
        // A backend that is no hub has no word for the question, and was not asked.
        Err(RemoteError::Fault(fault)) if fault.reason.code == ReasonCode::NotAllowed => {}
        Err(RemoteError::Fault(fault)) if is_trouble(&fault) => tell(report, fault),
        _ if asked.elapsed() > SLOW => {
            let evidence = format!("the remote took {} to answer", words::span(asked.elapsed().as_millis() as i64));
            report.warning("latency", name, evidence, "look at the network, and at what else the hub does");
        }
        _ => report.well(
            "remote",
            name,
            format!("the remote answers, in {}", words::span(asked.elapsed().as_millis() as i64)),
        ),
    }
}

/// Listens until the broker lets it, or says why not.
fn broker(replica: &Replica, remote: &dyn Remote, report: &mut Report) {
    if replica.remote.backend.mqtt.url.is_none() || !replica.schedule.live {
        return;
    }
    let name = Some(replica.name.as_str());
    let (tell, heard) = std::sync::mpsc::channel();
    let _listening = remote.listen(Box::new(move |hint| {
        let _ = tell.send(hint);
    }));
    let deadline = Instant::now() + BROKER_TIMEOUT;
    let mend = "see that it runs, and check `mqtt_url`, `mqtt_topic`, `mqtt_user` and `mqtt_password_file`";
    loop {
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Hint::Away(why)) => return report.warning("broker", name, why, mend),
            Ok(Hint::Open) => return report.well("broker", name, "the broker lets this device listen"),
            Ok(Hint::More(_) | Hint::Lost) => {}
            Err(_) => return report.warning("broker", name, "the MQTT broker does not answer", mend),
        }
    }
}

/// A remote that says that it has no such table has understood the question.
fn is_trouble(fault: &Fault) -> bool {
    fault.reason.code != ReasonCode::ScopeGone || !fault.reason.text.contains(NO_TABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_itself_when_it_ends() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000}"#);
        assert_eq!(expiry(&format!("e30.{claims}.sig")), Some(Duration::from_secs(1_700_000_000)));
        for other in ["", "opaque", "a.b.c", "e30.e30.x"] {
            assert_eq!(expiry(other), None, "{other}");
        }
    }
}
