//! An action on its way to a backend: one request to `action_path`, under its own key.
//!
//! The same action always makes the same request, so that a try whose answer was lost is
//! the same try again. A refusal that is about the action (most of the 4xx) is told apart
//! from trouble that any request may meet. Of a good answer only a little text is kept;
//! it need not be JSON, and may be empty.

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value as Json;
use serde_json::json;

use super::names::{Names, Said, Usual};
use super::ordered::Ordered;
use super::{Question, time};
use crate::model::settings::Backend;
use crate::model::{Action, Fault, FaultKind};
use crate::remote::http::{Connection, Limit, fault, named_time};
use crate::remote::{RemoteError, Result};

/// Of an answer, good or bad, no more is read.
const ANSWER_BYTES_MAX: usize = 256 << 10;

impl Connection {
    /// Asks for an action; what was answered.
    pub(super) async fn act(&self, question: &Question) -> Result<String> {
        let mut line = self.line();
        tokio::select! {
            biased;
            fault = line.cut(self.host()) => Err(fault.into()),
            answer = self.ask_for(question) => answer,
        }
    }

    async fn ask_for(&self, question: &Question) -> Result<String> {
        let response = self.signed_question(question, None, "application/json").await?;
        let (status, retry_after) = (response.status(), named_time(response.headers()));
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let html = kind.starts_with("text/html");
        let body = match self.body(response, Limit(ANSWER_BYTES_MAX)).await {
            Ok(body) => body,
            // Too long, or packed in a strange way: the status has been read, and counts.
            Err(RemoteError::Fault(fault)) if fault.kind == FaultKind::Protocol => Vec::new(),
            // It broke off: nobody knows whether it was done.
            Err(error) if status.is_success() => return Err(error),
            Err(_) => Vec::new(),
        };
        if status.is_success() {
            return answered(self.host(), status, html, &body);
        }
        Err(refused(self.host(), status, serde_json::from_slice(&body).ok().as_ref(), retry_after))
    }
}

/// An action's fields; those without a name are left out.
const USUAL: Usual = &[("action", "action"), ("payload", "payload"), ("key", ""), ("at", ""), ("device", "")];

/// The header that carries the key, unless the config names another.
const KEY_HEADER: &str = "Idempotency-Key";

/// How a backend wants to be asked.
pub struct Form {
    path: String,
    method: &'static str,
    names: Names,
    key_header: String,
}

impl Form {
    /// `None` where the config names no path. `Err`: a name for a field that no action has.
    pub fn of(backend: &Backend) -> std::result::Result<Option<Form>, String> {
        let Some(path) = &backend.action_path else { return Ok(None) };
        Ok(Some(Form {
            path: path.clone(),
            method: match backend.action_method.as_deref() {
                Some("PUT") => "PUT",
                Some("PATCH") => "PATCH",
                _ => "POST",
            },
            names: Names::new(USUAL, &backend.action_names)?,
            key_header: backend.idempotency_header.clone().unwrap_or_else(|| KEY_HEADER.to_owned()),
        }))
    }

    pub fn question(&self, action: &Action, device: &str, backend: &Backend) -> Question {
        let mut said = Said::new();
        let at = time::format(action.at);
        for (field, value) in [("key", json!(action.key)), ("at", json!(at)), ("device", json!(device))] {
            self.say(&mut said, field, Ordered::Leaf(value));
        }
        self.say(&mut said, "action", Ordered::Leaf(json!(action.name)));
        // Last: where it is the whole body, it is so alone.
        self.say(&mut said, "payload", Ordered::Raw(action.payload.clone()));
        let mut headers: Vec<(String, String)> = backend.headers.clone().into_iter().collect();
        headers.push((self.key_header.clone(), action.key.clone()));
        Question {
            method: self.method,
            path: self.path.replace("{action}", &escaped(&action.name)).replace("{key}", &escaped(&action.key)),
            query: said.query,
            headers,
            body: serde_json::to_string(&said.body).expect("BUG: a payload was read as JSON before"),
            gzip: backend.gzip,
        }
    }

    fn say(&self, said: &mut Said, field: &str, value: Ordered) {
        if !self.names.of(field).is_empty() {
            said.say(&self.names, field, value);
        }
    }
}

/// As a part of a path. Names and keys begin with a letter or digit, so that none is `..`;
/// a colon could be taken for the end of a scheme.
fn escaped(name: &str) -> String {
    name.replace(':', "%3A")
}

/// What a refusal means for the action.
fn refused(host: &str, status: StatusCode, said: Option<&Json>, retry_after: Option<i64>) -> RemoteError {
    let told = fault::told(status, said);
    match status.as_u16() {
        401 | 408 | 425 | 429 | 500..=599 => fault::refused_plainly(host, status, &told, retry_after),
        300..=399 | 407 => RemoteError::Fault(Fault { retry_after, ..fault::not_the_hub(host, status) }),
        413 => RemoteError::TooLarge,
        404 | 405 => RemoteError::Refused(format!("{host} takes no such action ({told})")),
        _ => RemoteError::Refused(format!("{host} refused it: {told}")),
    }
}

/// What a good status says, with what came under it. `html`: it calls itself a page.
fn answered(host: &str, status: StatusCode, html: bool, body: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(body);
    // Somebody stands between; though frameworks call a bare word a page as well.
    if html && text.trim_start().starts_with('<') {
        return Err(fault::not_the_hub(host, status).into());
    }
    match serde_json::from_str::<Json>(&text) {
        Ok(said) if said.get("success") == Some(&Json::Bool(false)) => {
            Err(RemoteError::Refused(format!("{host} refused it: {}", fault::told(status, Some(&said)))))
        }
        _ => Ok(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ReasonCode;

    fn action() -> Action {
        Action { id: 7, name: "send:invite".into(), key: "k-1".into(), payload: r#"{"n":1.10}"#.into(), at: 0 }
    }

    fn asked(path: &str, names: &[(&str, &str)]) -> Question {
        let backend = Backend {
            action_path: Some(path.to_owned()),
            action_names: names.iter().map(|(field, name)| ((*field).to_owned(), (*name).to_owned())).collect(),
            ..Backend::default()
        };
        Form::of(&backend).unwrap().unwrap().question(&action(), "desk", &backend)
    }

    #[test]
    fn an_action_is_said_in_the_backends_words_and_its_payload_as_it_was_written() {
        let plain = asked("actions", &[]);
        assert_eq!(plain.body, r#"{"action":"send:invite","payload":{"n":1.10}}"#);
        assert_eq!(plain.headers, [("Idempotency-Key".to_owned(), "k-1".to_owned())]);
        let bare = asked("do/{action}/{key}", &[("payload", "."), ("device", "?from")]);
        assert_eq!((bare.body.as_str(), bare.path.as_str()), (r#"{"n":1.10}"#, "do/send%3Ainvite/k-1"));
        assert_eq!(bare.query, [("from".to_owned(), "desk".to_owned())]);
        let named = asked("x", &[("action", "op.type"), ("payload", "op.data"), ("key", "id"), ("at", "when")]);
        assert_eq!(
            named.body,
            r#"{"id":"k-1","when":"1970-01-01T00:00:00.000Z","op":{"type":"send:invite","data":{"n":1.10}}}"#
        );
        let stray = Backend {
            action_path: Some("x".into()),
            action_names: [("payoad".to_owned(), "x".to_owned())].into(),
            ..Backend::default()
        };
        assert_eq!(Form::of(&stray).err().as_deref(), Some("payoad"));
    }

    #[test]
    fn what_is_about_the_action_is_told_apart_from_trouble_on_the_way() {
        let said = |status: u16| refused("h", StatusCode::from_u16(status).unwrap(), None, Some(7));
        for status in [400, 402, 403, 404, 405, 406, 409, 410, 415, 418, 422, 451] {
            assert!(matches!(said(status), RemoteError::Refused(_)), "{status}: {:?}", said(status));
        }
        assert_eq!(said(413), RemoteError::TooLarge);
        for (status, kind, reason) in [
            (401, FaultKind::SignedOut, ReasonCode::AuthRefused),
            (408, FaultKind::Timeout, ReasonCode::OfflineTimeout),
            (429, FaultKind::Throttled, ReasonCode::RateLimited),
            (302, FaultKind::Network, ReasonCode::OfflineNotTheHub),
            (500, FaultKind::Server, ReasonCode::RemoteTrouble),
            (502, FaultKind::Server, ReasonCode::RemoteTrouble),
            (503, FaultKind::Throttled, ReasonCode::RemoteTrouble),
        ] {
            let RemoteError::Fault(fault) = said(status) else { panic!("{status} is a fault") };
            assert_eq!((fault.kind, fault.reason.code, fault.retry_after), (kind, reason, Some(7)), "{status}");
        }
    }

    #[test]
    fn a_good_status_is_enough_unless_a_page_or_its_own_words_say_otherwise() {
        let said = |html, body: &str| answered("h", StatusCode::OK, html, body.as_bytes());
        for (html, body) in [(false, ""), (false, "ok"), (true, "ok"), (false, r#"{"id":3}"#), (false, "[]")] {
            assert_eq!(said(html, body).as_deref(), Ok(body));
        }
        assert!(matches!(said(true, " <html>Please log in</html>"), Err(RemoteError::Fault(_))));
        let no = said(false, r#"{"success":false,"error":"no seats"}"#);
        assert_eq!(no, Err(RemoteError::Refused("h refused it: no seats".to_owned())));
    }
}
