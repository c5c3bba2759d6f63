//! What went wrong on the way or at the hub, in the model's terms and in words.
//!
//! Each sentence names the hub's host and what was kept. Text that came from outside is
//! cut short and made printable; a token or a row never gets into one.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use reqwest::StatusCode;

use crate::model::{Fault, FaultKind, ReasonCode, text};
use crate::protocol::{self, RefusalBody};
use crate::remote::RemoteError;

/// True of every fault here: nothing leaves the outbox without an answer.
pub const KEPT: &str = "all changes stay in the outbox";

const RETRIED: &str = "nothing to do: this is tried again by itself";
const QUOTED_CHARS_MAX: usize = 200;

/// No connection, or one that broke before an answer began.
pub fn unreachable(host: &str, error: &reqwest::Error) -> Fault {
    let network =
        |code, text: String, next: &str| Fault::new(FaultKind::Network, code, format!("{text}; {KEPT}"), next);
    if error.is_dns() {
        let text = format!("the name {host} could not be looked up");
        let next = "tried again by itself; check the network, and the host's name in `url`";
        return network(ReasonCode::OfflineNoNetwork, text, next);
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return network(ReasonCode::OfflineTls, format!("{host} {}", tls_flaw(tls)), tls_way_out(tls));
    }
    if error.is_timeout() {
        let text = format!("{host} could not be reached in time; {KEPT}");
        return Fault::new(FaultKind::Timeout, ReasonCode::OfflineTimeout, text, RETRIED);
    }
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        let text = format!("something that does not speak HTTP answered for {host}");
        return network(ReasonCode::OfflineNotTheHub, text, "check the port and the scheme in `url`");
    }
    if any_hyper(error, |error| error.is_incomplete_message() || error.is_canceled()) {
        return network(ReasonCode::OfflineHubDown, format!("the connection to {host} was cut"), RETRIED);
    }
    match find::<std::io::Error>(error).map(std::io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => network(
            ReasonCode::OfflineHubDown,
            format!("{host} refused the connection"),
            "tried again by itself; if it lasts, see that the hub runs, and check the port in `url`",
        ),
        Some(
            ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::HostUnreachable
            | ErrorKind::AddrNotAvailable,
        ) => network(ReasonCode::OfflineNoNetwork, format!("there is no way to {host}: no network"), RETRIED),
        Some(
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof,
        ) => network(ReasonCode::OfflineHubDown, format!("the connection to {host} was cut"), RETRIED),
        _ => {
            let text = format!("the connection to {host} failed: {}", quoted(&innermost(error)));
            network(ReasonCode::OfflineHubDown, text, RETRIED)
        }
    }
}

/// `how`: "did not answer", "fell silent".
pub fn timeout(host: &str, waited: Duration, how: &str) -> Fault {
    let text = format!("{host} {how} for {} s; {KEPT}", waited.as_secs_f32().ceil());
    Fault::new(FaultKind::Timeout, ReasonCode::OfflineTimeout, text, RETRIED)
}

/// The way the call had begun on is no more.
pub fn moved(host: &str) -> Fault {
    let text = format!("an address of this machine went while {host} was asked; {KEPT}");
    Fault::new(FaultKind::Network, ReasonCode::OfflineNoNetwork, text, RETRIED)
}

pub fn interrupted() -> Fault {
    let text = format!("stopped before the hub had answered; {KEPT}");
    Fault::new(FaultKind::Interrupted, ReasonCode::AgentStopping, text, "nothing to do: the next start goes on here")
}

/// An answer, but not a hub's.
pub fn not_the_hub(host: &str, status: StatusCode) -> Fault {
    let (what, next) = match status.as_u16() {
        300..=399 => ("a redirect, which is never followed", "if the hub moved, set `url` to its new address"),
        407 => ("a proxy asking for credentials", "put them into `proxy`: http://name:password@host:port"),
        511 => ("a network asking for a login", "open a web page and log in to this network"),
        502..=504 => {
            ("a proxy that does not reach the hub", "tried again by itself; if it lasts, see that the hub runs")
        }
        404 | 405 => ("a web server that is not a hub", "check `url`: perhaps a part of its path is missing"),
        _ => (
            "something that is not a hub",
            "tried again by itself; a public network may want a login, else check `url`",
        ),
    };
    let text = format!("{host} answered as {what} (HTTP {}); {KEPT}", status.as_u16());
    Fault::new(FaultKind::Network, ReasonCode::OfflineNotTheHub, text, next)
}

/// The hub speaks `theirs`, where that is known.
pub fn version(host: &str, theirs: Option<u32>) -> Fault {
    let theirs = theirs.map_or_else(|| "another version".to_owned(), |version| format!("version {version}"));
    let text = format!("{host} speaks {theirs} of the protocol, this agent version {}; {KEPT}", protocol::VERSION);
    Fault::new(FaultKind::Version, ReasonCode::HubVersion, text, "upgrade whichever of the two is older")
}

/// A 200 that breaks the protocol. `what`: "unreadable at line 1, column 4".
pub fn rubbish(host: &str, what: &str) -> Fault {
    let text = format!("the answer of {host} cannot be used: {what}; nothing of it was taken, and {KEPT}");
    let next =
        "tried again by itself; if it lasts, the hub or something before it has a defect: report it with this text";
    Fault::new(FaultKind::Protocol, ReasonCode::ProtocolError, text, next)
}

/// An answer that ended before its end.
pub fn broken_off(host: &str, bytes: usize) -> Fault {
    let text = format!("the answer of {host} broke off after {bytes} bytes; nothing of it was taken, and {KEPT}");
    Fault::new(FaultKind::Network, ReasonCode::OfflineHubDown, text, RETRIED)
}

/// An answer that ended within its JSON.
pub fn cut_short(host: &str) -> Fault {
    let text = format!("the answer of {host} ended before its end; nothing of it was taken, and {KEPT}");
    Fault::new(FaultKind::Network, ReasonCode::OfflineHubDown, text, RETRIED)
}

/// A hub's own refusal.
pub fn refused(host: &str, status: StatusCode, told: &RefusalBody, retry_after: Option<i64>) -> RemoteError {
    let said = match told.message.is_empty() {
        true => format!("HTTP {}", status.as_u16()),
        false => quoted(&told.message),
    };
    let next = |usual: &str| match told.hint.is_empty() {
        true => usual.to_owned(),
        false => quoted(&told.hint),
    };
    let fault = |kind, code, text: String, usual: &str| {
        RemoteError::Fault(Fault { retry_after, ..Fault::new(kind, code, format!("{text}; {KEPT}"), next(usual)) })
    };
    match (status.as_u16(), told.code.as_str()) {
        (426, _) | (_, "version") => RemoteError::Fault(version(host, None)),
        (401, code) => {
            let (code, what) = match code {
                "token_missing" => (ReasonCode::AuthMissing, "wants a token and none is configured"),
                "token_expired" => (ReasonCode::AuthExpired, "says that the token has expired"),
                "token_revoked" => (ReasonCode::AuthRevoked, "says that the token was revoked"),
                _ => (ReasonCode::AuthRefused, "refused the token"),
            };
            let next = "put a new token where the config says: `token_file`, `token_command` or `token_env`";
            let text = format!("{host} {what} ({said}); {KEPT}");
            RemoteError::Fault(Fault { retry_after, ..Fault::new(FaultKind::SignedOut, code, text, next) })
        }
        (403, _) => fault(
            FaultKind::Permission,
            ReasonCode::AuthForbidden,
            format!("{host} does not let this token in here ({said})"),
            "use a token that reaches this scope, or correct `scope`",
        ),
        (404, _) => fault(
            FaultKind::Permission,
            ReasonCode::ScopeGone,
            format!("{host} has no such scope ({said})"),
            "correct `scope` or `url`, or have the scope made again on the hub",
        ),
        (409, "incarnation_over") => RemoteError::IncarnationOver,
        (409, "epoch_over") => RemoteError::EpochOver,
        (410, _) => RemoteError::CursorOver,
        (413, _) => RemoteError::TooLarge,
        (408, _) => fault(
            FaultKind::Timeout,
            ReasonCode::OfflineTimeout,
            format!("{host} waited too long for the request ({said})"),
            RETRIED,
        ),
        (429, _) => fault(
            FaultKind::Throttled,
            ReasonCode::RateLimited,
            format!("{host} asks for fewer requests ({said})"),
            RETRIED,
        ),
        (503, _) => fault(FaultKind::Throttled, ReasonCode::RemoteTrouble, format!("{host} is busy ({said})"), RETRIED),
        (500..=599, _) => fault(
            FaultKind::Server,
            ReasonCode::RemoteTrouble,
            format!("{host} is in trouble ({said})"),
            "tried again by itself; if it lasts, the hub's log says why",
        ),
        (200..=299, _) => RemoteError::Fault(rubbish(host, &format!("HTTP {} where 200 is due", status.as_u16()))),
        _ => fault(
            FaultKind::Protocol,
            ReasonCode::ProtocolError,
            format!("{host} did not understand the request ({said})"),
            "tried again by itself; if it lasts, agent or hub has a defect: report it with this text",
        ),
    }
}

/// What a stranger's refusal says for itself, as far as it is shown.
pub fn told(status: StatusCode, body: Option<&serde_json::Value>) -> String {
    let said = body.and_then(|body| {
        let place = body.get("error").unwrap_or(body);
        ["message", "detail", "error"].iter().find_map(|name| place.get(name)).unwrap_or(place).as_str()
    });
    said.map_or_else(|| format!("HTTP {}", status.as_u16()), quoted)
}

/// A refusal by a backend that is not a hub.
pub fn refused_plainly(host: &str, status: StatusCode, told: &str, retry_after: Option<i64>) -> RemoteError {
    let status = match status.as_u16() {
        // Words that only a hub's refusal has.
        400 | 404..=406 | 409..=426 => StatusCode::BAD_REQUEST,
        _ => status,
    };
    let body = RefusalBody { code: String::new(), message: told.to_owned(), hint: String::new() };
    refused(host, status, &body, retry_after)
}

/// The text of the first cause of an error.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// Foreign text, as far as it is shown.
fn quoted(foreign: &str) -> String {
    let short: String = foreign.chars().take(QUOTED_CHARS_MAX).collect();
    text::printable(short.trim())
}

/// Whether any of hyper's errors in the chain is of a kind: one may wrap another.
fn any_hyper(error: &(dyn std::error::Error + 'static), is: impl Fn(&hyper::Error) -> bool) -> bool {
    let mut link = Some(error);
    while let Some(one) = link {
        if one.downcast_ref::<hyper::Error>().is_some_and(&is) {
            return true;
        }
        link = one.source();
    }
    false
}

/// The first `Wanted` among an error's causes. An `io::Error` hides what it wraps from
/// `source`, so it is looked into as well.
fn find<'a, Wanted: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a Wanted> {
    if let Some(found) = error.downcast_ref::<Wanted>() {
        return Some(found);
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let wrapped = wrapped.and_then(|inner| find::<Wanted>(inner));
    wrapped.or_else(|| error.source().and_then(find::<Wanted>))
}

fn tls_flaw(error: &rustls::Error) -> String {
    use rustls::CertificateError as Flaw;
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(Flaw::UnknownIssuer) => "shows a certificate of an unknown authority".to_owned(),
        InvalidCertificate(Flaw::Expired | Flaw::ExpiredContext { .. }) => "shows an expired certificate".to_owned(),
        InvalidCertificate(Flaw::NotValidYet | Flaw::NotValidYetContext { .. }) => {
            "shows a certificate that is not valid yet".to_owned()
        }
        InvalidCertificate(Flaw::NotValidForName | Flaw::NotValidForNameContext { .. }) => {
            "shows a certificate made for another name".to_owned()
        }
        InvalidMessage(_) => "does not speak TLS".to_owned(),
        other => format!("failed the TLS handshake ({})", quoted(&other.to_string())),
    }
}

fn tls_way_out(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Flaw;
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(Flaw::UnknownIssuer) => "if the hub has a private authority, name its PEM file in `ca_file`",
        InvalidCertificate(Flaw::NotValidYet | Flaw::NotValidYetContext { .. }) => "check this machine's clock",
        InvalidCertificate(_) => "have the hub's certificate renewed or corrected; check this machine's clock",
        InvalidMessage(_) => "check the port and the scheme in `url`",
        _ => "tried again by itself; something on the way may be opening connections",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: &str) -> RefusalBody {
        RefusalBody { code: code.to_owned(), message: "no\u{1b}[31m".to_owned(), hint: String::new() }
    }

    #[test]
    fn each_refusal_has_its_meaning() {
        use FaultKind::*;
        for (status, code, kind, reason) in [
            (400, "malformed", Protocol, ReasonCode::ProtocolError),
            (401, "token_missing", SignedOut, ReasonCode::AuthMissing),
            (401, "token_bad", SignedOut, ReasonCode::AuthRefused),
            (401, "token_expired", SignedOut, ReasonCode::AuthExpired),
            (401, "token_revoked", SignedOut, ReasonCode::AuthRevoked),
            (401, "", SignedOut, ReasonCode::AuthRefused),
            (403, "forbidden", Permission, ReasonCode::AuthForbidden),
            (404, "not_found", Permission, ReasonCode::ScopeGone),
            (408, "", Timeout, ReasonCode::OfflineTimeout),
            (409, "", Protocol, ReasonCode::ProtocolError),
            (426, "", Version, ReasonCode::HubVersion),
            (400, "version", Version, ReasonCode::HubVersion),
            (429, "rate_limited", Throttled, ReasonCode::RateLimited),
            (500, "internal", Server, ReasonCode::RemoteTrouble),
            (503, "busy", Throttled, ReasonCode::RemoteTrouble),
            (599, "", Server, ReasonCode::RemoteTrouble),
            (204, "", Protocol, ReasonCode::ProtocolError),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let RemoteError::Fault(fault) = refused("hub", status, &told(code), None) else {
                panic!("{status} {code} is a fault");
            };
            assert_eq!((fault.kind, fault.reason.code), (kind, reason), "{status} {code}");
            assert!(fault.reason.text.contains(KEPT), "{status} {code}: {}", fault.reason.text);
            assert!(!fault.reason.text.contains('\u{1b}'), "{status} {code}");
        }
    }

    #[test]
    fn what_is_no_fault_but_a_fact_keeps_its_own_name() {
        for (status, code, expected) in [
            (409, "incarnation_over", RemoteError::IncarnationOver),
            (409, "epoch_over", RemoteError::EpochOver),
            (410, "cursor_over", RemoteError::CursorOver),
            (413, "too_large", RemoteError::TooLarge),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refused("hub", status, &told(code), None), expected);
        }
    }
}
