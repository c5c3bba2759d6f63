//! Reading the body of an answer.
//!
//! Bounded on every side: no silence may last longer than the timeout, a trickle is cut
//! off, and no more is held than the caller allows, packed or unpacked.

use std::time::Instant;

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio::time::timeout;

use super::{Connection, fault, retry_after};
use crate::model::Fault;
use crate::protocol::body::Packing;
use crate::remote::Result;

/// The slowest line that is still waited for.
const DOWN_BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// Bytes of an answer at most, packed or unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub usize);

impl Connection {
    /// The whole of it, unpacked.
    pub async fn body(&self, mut response: Response, Limit(bytes_max): Limit) -> Result<Vec<u8>> {
        let packing = self.packing(&response)?;
        let too_large = || fault::rubbish(self.host(), &format!("larger than {} KiB", bytes_max >> 10));
        if response.content_length().is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large().into());
        }
        let mut packed = Vec::new();
        let began = Instant::now();
        while let Some(piece) = self.piece(&mut response, packed.len()).await? {
            self.count(0, piece.len());
            if packed.len() + piece.len() > bytes_max {
                return Err(too_large().into());
            }
            packed.extend_from_slice(&piece);
            let elapsed = began.elapsed();
            if elapsed > self.timeout() && (packed.len() as u64) < elapsed.as_secs() * DOWN_BYTES_PER_SECOND_MIN {
                return Err(fault::timeout(self.host(), elapsed, "only trickled").into());
            }
        }
        if packing == Packing::Plain {
            return Ok(packed);
        }
        packing.unpack(&packed, bytes_max).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => fault::broken_off(self.host(), packed.len()).into(),
            std::io::ErrorKind::FileTooLarge => too_large().into(),
            _ => fault::rubbish(self.host(), "packed wrongly").into(),
        })
    }

    pub(super) fn packing(&self, response: &Response) -> std::result::Result<Packing, Fault> {
        let encoding = response.headers().get(CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
        Packing::named(encoding).ok_or_else(|| fault::rubbish(self.host(), "packed in a way nobody asked for"))
    }

    pub(super) async fn piece(
        &self,
        response: &mut Response,
        received: usize,
    ) -> std::result::Result<Option<Bytes>, Fault> {
        match timeout(self.timeout(), response.chunk()).await {
            Err(_) => Err(fault::timeout(self.host(), self.timeout(), "fell silent")),
            Ok(piece) => piece.map_err(|_| fault::broken_off(self.host(), received)),
        }
    }
}

/// How long the answer asks to be left alone for, in milliseconds.
pub fn named_time(headers: &HeaderMap) -> Option<i64> {
    let value = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    retry_after::parse(value, std::time::SystemTime::now())
}
