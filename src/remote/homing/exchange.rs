//! One request and its whole answer.
//!
//! Bounded on every side: the head must come within the timeout (and what the body
//! needs on a slow line), no silence may last longer than the timeout, a trickle is cut
//! off, and an answer is never held beyond its bounds, packed or unpacked. An answer
//! without the protocol's header is nobody's answer, whatever its status says.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::time::timeout;

use crate::protocol::body::Packing;
use crate::protocol::{self, Refusal, RefusalBody};
use crate::remote::http::{Connection, Limit, Token, fault, named_time};
use crate::remote::{RemoteError, Result};

/// Bodies up to this size travel as they are.
const PLAIN_BYTES_MAX: usize = 1 << 10;
/// How a zstd frame begins (RFC 8878, 3.1.1); no JSON does.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The slowest line that is still waited for.
const UP_BYTES_PER_SECOND_MIN: u64 = 16 << 10;
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A body as it travels.
pub struct Parcel {
    packing: Packing,
    body: Bytes,
}

impl Parcel {
    pub fn of(json: Vec<u8>) -> Parcel {
        if json.len() > PLAIN_BYTES_MAX
            && let Ok(packed) = Packing::Zstd.pack(&json)
        {
            return Parcel { packing: Packing::Zstd, body: packed.into() };
        }
        // Packing is thrift, not meaning: unpacked is as right.
        Parcel { packing: Packing::Plain, body: json.into() }
    }

    /// What `into_bytes` gave, or JSON that was kept unpacked.
    pub fn again(bytes: &[u8]) -> Parcel {
        match bytes.starts_with(&ZSTD_MAGIC) {
            true => Parcel { packing: Packing::Zstd, body: Bytes::copy_from_slice(bytes) },
            false => Parcel::of(bytes.to_vec()),
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.body.into()
    }
}

impl Connection {
    /// Posts a JSON body and returns the JSON of a 200.
    pub async fn post(&self, place: &str, question: Parcel, answer_bytes_max: usize) -> Result<Vec<u8>> {
        let mut line = self.line();
        tokio::select! {
            biased;
            fault = line.cut(self.host()) => Err(fault.into()),
            answer = self.exchange(place, question, answer_bytes_max) => answer,
        }
    }

    async fn exchange(&self, place: &str, question: Parcel, answer_bytes_max: usize) -> Result<Vec<u8>> {
        let Parcel { packing, body } = question;
        let patience = self.timeout() + Duration::from_secs(body.len() as u64 / UP_BYTES_PER_SECOND_MIN);
        let client = self.client()?;
        let request = || {
            let request = client
                .post(self.place(place))
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT_ENCODING, "zstd, gzip")
                .body(body.clone());
            match packing {
                Packing::Plain => request,
                _ => request.header(CONTENT_ENCODING, packing.word()),
            }
        };
        let response = self.signed_in(request, body.len(), patience).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        self.body(response, Limit(answer_bytes_max)).await
    }

    /// Sends a request with the token, and once more with another where the first was
    /// refused and another is to be had. The answer's head may still be a refusal.
    pub async fn signed_in(
        &self,
        request: impl Fn() -> RequestBuilder,
        body_bytes: usize,
        patience: Duration,
    ) -> Result<Response> {
        let token = self.tokens.current().await?;
        let response = self.head(signed(request(), token.as_ref()), body_bytes, patience).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(refused) = &token
            && let Some(renewed) = self.tokens.renewed(refused).await?
        {
            return self.head(signed(request(), Some(&renewed)), body_bytes, patience).await;
        }
        Ok(response)
    }

    /// Waits for the head of a hub's answer; anybody else's is a fault.
    async fn head(&self, request: RequestBuilder, body_bytes: usize, patience: Duration) -> Result<Response> {
        self.count(body_bytes, 0);
        let response = match timeout(patience, request.send()).await {
            Err(_) => return Err(fault::timeout(self.host(), patience, "did not answer").into()),
            Ok(answer) => answer.map_err(|error| fault::unreachable(self.host(), &error))?,
        };
        let version = response.headers().get(protocol::HEADER).and_then(|value| value.to_str().ok());
        match version.and_then(|value| value.trim().parse::<u32>().ok()) {
            Some(protocol::VERSION) if !response.status().is_redirection() => Ok(response),
            Some(other) if other != protocol::VERSION => Err(fault::version(self.host(), Some(other)).into()),
            _ => {
                let mut stranger = fault::not_the_hub(self.host(), response.status());
                // A proxy in front of a hub that is down may still name a time.
                stranger.retry_after = named_time(response.headers());
                Err(stranger.into())
            }
        }
    }

    /// What an answer other than 200 means.
    pub async fn refusal(&self, response: Response) -> RemoteError {
        let status = response.status();
        let named = named_time(response.headers());
        let told = match self.body(response, Limit(REFUSAL_BYTES_MAX)).await {
            Ok(body) => serde_json::from_slice::<Refusal>(&body).ok().map(|refusal| refusal.error),
            Err(_) => None,
        };
        let told =
            told.unwrap_or_else(|| RefusalBody { code: String::new(), message: String::new(), hint: String::new() });
        fault::refused(self.host(), status, &told, named)
    }
}

/// The request with what every request to a hub carries.
fn signed(request: RequestBuilder, token: Option<&Token>) -> RequestBuilder {
    let request = request.header(protocol::HEADER, protocol::VERSION);
    match token {
        Some(token) => request.header(AUTHORIZATION, token.bearer()),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_was_kept_packed_or_plain_travels_as_what_it_says() {
        let (short, long) = (b"{}".to_vec(), format!("[{}1]", "1,".repeat(5_000)).into_bytes());
        for json in [short, long] {
            let first = Parcel::of(json.clone());
            let (packing, bytes) = (first.packing, first.into_bytes());
            assert_eq!(packing.unpack(&bytes, 1 << 20).unwrap(), json);
            let again = Parcel::again(&bytes);
            assert_eq!((again.packing, &again.body[..]), (packing, &bytes[..]), "byte for byte");
            let kept_by_an_older_version = Parcel::again(&json);
            assert_eq!(kept_by_an_older_version.packing.unpack(&kept_by_an_older_version.body, 1 << 20).unwrap(), json);
        }
    }
}
