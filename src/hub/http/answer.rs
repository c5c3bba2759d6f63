//! Answers: bytes, packed as the other side asked, or a refusal in words.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::hub::error::HubError;
use crate::protocol::body::Packing;
use crate::protocol::scratch::Written;
use crate::protocol::{HEADER, VERSION};

/// Below this packing costs more than it saves.
const PACK_BYTES_MIN: usize = 512;

/// A body of JSON with the packing it goes out with.
pub(super) struct Packed {
    bytes: Vec<u8>,
    packing: Packing,
}

impl Packed {
    pub fn new(json: Vec<u8>, accepted: Packing) -> Packed {
        if json.len() >= PACK_BYTES_MIN
            && accepted != Packing::Plain
            && let Ok(bytes) = accepted.pack(&json)
        {
            return Packed { bytes, packing: accepted };
        }
        Packed { bytes: json, packing: Packing::Plain }
    }
}

/// The packing a request asks its answer in.
pub(super) fn accepted(headers: &HeaderMap) -> Packing {
    let header = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    Packing::accepted(header.unwrap_or_default())
}

/// A packed body that may lie in a file, read as it goes.
pub(super) fn written(body: Written, packing: Packing) -> Response<Body> {
    /// Bytes of the file that are in memory at once.
    const PIECE_BYTES: usize = 64 << 10;
    let body = match body {
        Written::Memory(bytes) => Body::from(bytes),
        Written::File(file) => Body::from_stream(futures_util::stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE_BYTES];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, std::io::Error>((count > 0).then_some((piece, file)))
        })),
    };
    let mut response = with(StatusCode::OK, "application/json", body);
    if packing != Packing::Plain {
        let word = HeaderValue::from_static(packing.word());
        response.headers_mut().insert(header::CONTENT_ENCODING, word);
    }
    response
}

pub(super) fn ok(packed: Packed) -> Response<Body> {
    let mut response = json(StatusCode::OK, packed.bytes);
    if packed.packing != Packing::Plain {
        let word = HeaderValue::from_static(packed.packing.word());
        response.headers_mut().insert(header::CONTENT_ENCODING, word);
    }
    response
}

pub(super) fn refusal(error: &HubError) -> Response<Body> {
    let (status, refusal) = error.answer();
    match error {
        HubError::Storage(_) | HubError::NoRoom(_) | HubError::Damaged(_) | HubError::SetUp { .. } => {
            tracing::error!(%error, "a request failed; nothing of it was kept");
        }
        other => tracing::debug!(error = %other, status, "refused"),
    }
    let status = StatusCode::from_u16(status).expect("BUG: a status that is none");
    let mut response = json(status, serde_json::to_vec(&refusal).expect("BUG: a refusal is always JSON"));
    let headers = response.headers_mut();
    match error {
        HubError::TokenMissing | HubError::TokenBad | HubError::TokenExpired | HubError::TokenRevoked => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        HubError::RateLimited | HubError::Busy => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// Plain text, for those who look whether the hub is there.
pub(super) fn plain(text: &'static str) -> Response<Body> {
    with(StatusCode::OK, "text/plain; charset=utf-8", Body::from(text))
}

pub(super) fn events(body: Body) -> Response<Body> {
    let mut response = with(StatusCode::OK, "text/event-stream", body);
    // Proxies that gather would hold hints back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn json(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    with(status, "application/json", Body::from(bytes))
}

fn with(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HEADER, HeaderValue::from(VERSION));
    response
}
