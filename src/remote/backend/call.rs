//! One request to a backend and what came of it.
//!
//! An answer counts only as JSON: a page of HTML with status 200, from whatever stands
//! between, is a fault of the network and changes nothing. What a status means is decided
//! in one table. A refused token is renewed once.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, RequestBuilder, Response, StatusCode};
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Question;
use super::whole::Whole;
use crate::model::{Fault, FaultKind, ReasonCode};
use crate::protocol::body::Packing;
use crate::remote::http::{Connection, Limit, Token, fault, named_time};
use crate::remote::{RemoteError, Result};

/// Bodies up to this size travel as they are.
const PLAIN_BYTES_MAX: usize = 1 << 10;
/// The slowest line that is still waited for.
const UP_BYTES_PER_SECOND_MIN: u64 = 16 << 10;
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// What a question is for: the same refusal means another thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Pull,
    Push,
}

impl Connection {
    /// Sends a question and returns the JSON of its answer; null for an empty one. `whole`:
    /// its body, where that lies in a file.
    pub(super) async fn call(
        &self,
        question: &Question,
        whole: Option<&Whole>,
        purpose: Purpose,
        answer_bytes_max: usize,
    ) -> Result<Json> {
        let mut line = self.line();
        tokio::select! {
            biased;
            fault = line.cut(self.host()) => Err(fault.into()),
            answer = self.talk(question, whole, purpose, answer_bytes_max) => answer,
        }
    }

    /// Sends a question and returns its good answer, to be read as it comes.
    pub(super) fn open(&self, runtime: &Handle, question: &Question, purpose: Purpose) -> Result<Response> {
        runtime.block_on(async {
            let mut line = self.line();
            tokio::select! {
                biased;
                fault = line.cut(self.host()) => Err(fault.into()),
                answer = self.good(question, None, purpose) => answer,
            }
        })
    }

    async fn good(&self, question: &Question, whole: Option<&Whole>, purpose: Purpose) -> Result<Response> {
        let response = self.signed_question(question, whole, "application/json").await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refused_question(response, purpose).await),
        }
    }

    async fn talk(
        &self,
        question: &Question,
        whole: Option<&Whole>,
        purpose: Purpose,
        answer_bytes_max: usize,
    ) -> Result<Json> {
        let response = self.good(question, whole, purpose).await?;
        let status = response.status();
        let body = self.body(response, Limit(answer_bytes_max)).await?;
        if body.is_empty() && purpose == Purpose::Push {
            return Ok(Json::Null);
        }
        serde_json::from_slice(&body).map_err(|error| match error.is_eof() && !body.is_empty() {
            true => fault::broken_off(self.host(), body.len()).into(),
            false => fault::not_the_hub(self.host(), status).into(),
        })
    }

    /// Sends a question with the token, and once more with another where the first was
    /// refused and another is to be had. The answer's head may still be a refusal.
    pub(super) async fn signed_question(
        &self,
        question: &Question,
        whole: Option<&Whole>,
        accept: &str,
    ) -> Result<Response> {
        let token = self.tokens.current().await?;
        let response = self.send_question(question, whole, accept, token.as_ref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(refused) = &token
            && let Some(renewed) = self.tokens.renewed(refused).await?
        {
            return self.send_question(question, whole, accept, Some(&renewed)).await;
        }
        Ok(response)
    }

    pub(super) async fn refused_question(&self, response: Response, purpose: Purpose) -> RemoteError {
        let status = response.status();
        let retry_after = named_time(response.headers());
        let said = match self.body(response, Limit(REFUSAL_BYTES_MAX)).await {
            Ok(body) => serde_json::from_slice(&body).ok(),
            Err(_) => None,
        };
        refused(self.host(), status, said.as_ref(), purpose, retry_after)
    }

    async fn send_question(
        &self,
        question: &Question,
        whole: Option<&Whole>,
        accept: &str,
        token: Option<&Token>,
    ) -> Result<Response> {
        let mut url = self.place(question.path.trim_start_matches('/'));
        if !question.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&question.query);
        }
        let client = self.client()?;
        let mut request = match question.method {
            "GET" => client.get(url),
            "PUT" => client.put(url),
            "PATCH" => client.patch(url),
            _ => client.post(url),
        };
        request = request.header(ACCEPT, accept);
        if accept == "application/json" {
            // Events are told as they come, not packed.
            request = request.header(ACCEPT_ENCODING, "gzip, zstd");
        }
        for (name, value) in &question.headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.bearer());
        }
        let (request, body_bytes) = match whole {
            Some(whole) => with_file(request, whole)?,
            None => with_body(request, question),
        };
        self.count(body_bytes, 0);
        let patience = self.timeout() + Duration::from_secs(body_bytes as u64 / UP_BYTES_PER_SECOND_MIN);
        match timeout(patience, request.send()).await {
            Err(_) => Err(fault::timeout(self.host(), patience, "did not answer").into()),
            Ok(answer) => answer.map_err(|error| fault::unreachable(self.host(), &error).into()),
        }
    }
}

/// Bytes of a file that are in memory at once.
const PIECE_BYTES: usize = 64 << 10;

/// A body as it lies in a file, read as it goes.
fn with_file(request: RequestBuilder, whole: &Whole) -> Result<(RequestBuilder, usize)> {
    let file = whole.reader().map_err(|error| super::no_room(&error))?;
    let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let count = file.read(&mut piece)?;
        piece.truncate(count);
        Ok::<_, std::io::Error>((count > 0).then(|| (Bytes::from(piece), file)))
    });
    let request = request.header(CONTENT_TYPE, "application/json").header(CONTENT_LENGTH, whole.bytes);
    Ok((request.body(Body::wrap_stream(pieces)), whole.bytes as usize))
}

fn with_body(request: RequestBuilder, question: &Question) -> (RequestBuilder, usize) {
    if question.method == "GET" {
        return (request, 0);
    }
    let body = question.body.as_bytes();
    let packed = (question.gzip && body.len() > PLAIN_BYTES_MAX).then(|| Packing::Gzip.pack(body).ok()).flatten();
    let request = request.header(CONTENT_TYPE, "application/json");
    match packed {
        Some(packed) => {
            let bytes = packed.len();
            (request.header(CONTENT_ENCODING, Packing::Gzip.word()).body(Bytes::from(packed)), bytes)
        }
        None => (request.body(question.body.clone()), body.len()),
    }
}

/// What a status other than a good one means.
fn refused(
    host: &str,
    status: StatusCode,
    said: Option<&Json>,
    purpose: Purpose,
    retry_after: Option<i64>,
) -> RemoteError {
    let told = fault::told(status, said);
    match (status.as_u16(), purpose) {
        (409, Purpose::Push) => RemoteError::Behind,
        (413, _) => RemoteError::TooLarge,
        (410, Purpose::Pull) => RemoteError::CursorOver,
        (400 | 422, Purpose::Push) => RemoteError::Refused(format!("{host} refused it: {told}")),
        (404, _) => {
            let text = format!("{host} has nothing at this path ({told}); {}", fault::KEPT);
            let next = "check `url`, `pull_path` and `push_path` in the config";
            Fault::new(FaultKind::Permission, ReasonCode::OfflineNotTheHub, text, next).into()
        }
        (300..=399 | 405 | 407 | 502 | 504 | 511, _) => {
            RemoteError::Fault(Fault { retry_after, ..fault::not_the_hub(host, status) })
        }
        _ => fault::refused_plainly(host, status, &told, retry_after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_means_what_its_purpose_says() {
        let say = |status: u16, purpose| {
            refused("h", StatusCode::from_u16(status).unwrap(), Some(&json!({"error": "no"})), purpose, Some(7))
        };
        assert_eq!(say(409, Purpose::Push), RemoteError::Behind);
        assert_eq!(say(410, Purpose::Pull), RemoteError::CursorOver);
        assert_eq!(say(413, Purpose::Push), RemoteError::TooLarge);
        assert_eq!(say(422, Purpose::Push), RemoteError::Refused("h refused it: no".to_owned()));
        for (status, purpose, kind, reason) in [
            (400, Purpose::Pull, FaultKind::Protocol, ReasonCode::ProtocolError),
            (409, Purpose::Pull, FaultKind::Protocol, ReasonCode::ProtocolError),
            (401, Purpose::Push, FaultKind::SignedOut, ReasonCode::AuthRefused),
            (403, Purpose::Push, FaultKind::Permission, ReasonCode::AuthForbidden),
            (404, Purpose::Pull, FaultKind::Permission, ReasonCode::OfflineNotTheHub),
            (302, Purpose::Pull, FaultKind::Network, ReasonCode::OfflineNotTheHub),
            (408, Purpose::Pull, FaultKind::Timeout, ReasonCode::OfflineTimeout),
            (429, Purpose::Push, FaultKind::Throttled, ReasonCode::RateLimited),
            (500, Purpose::Push, FaultKind::Server, ReasonCode::RemoteTrouble),
            (503, Purpose::Push, FaultKind::Throttled, ReasonCode::RemoteTrouble),
        ] {
            let RemoteError::Fault(fault) = say(status, purpose) else { panic!("{status} is a fault") };
            assert_eq!((fault.kind, fault.reason.code), (kind, reason), "{status}");
            assert!(fault.reason.text.contains(fault::KEPT), "{status}: {}", fault.reason.text);
        }
    }
}
