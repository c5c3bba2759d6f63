//! The calls: who asks, what, of which scope.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, Response, header};
use axum::routing::{any, get};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{self, Packed};
use super::live;
use super::origins;
use super::server::Hub;
use super::watermelon;
use crate::hub::error::{HubError, Result};
use crate::hub::scopes::{OpenScope, lock};
use crate::hub::token::Claims;
use crate::model::text;
use crate::protocol::body::{Packer, Packing};
use crate::protocol::scratch::Scratch;

/// For one piece of a body to come, and for all of it.
const PIECE_MAX: Duration = Duration::from_secs(30);
const BODY_MAX: Duration = Duration::from_secs(300);

/// How long a request waits for its turn before it is told to come back.
const TURN_MAX: Duration = Duration::from_secs(20);

pub(super) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { answer::plain("ok\n") }))
        .route("/v1/scopes/{scope}/{call}", any(call))
        .route("/watermelon/{call}", any(watermelon))
        .fallback(async || answer::refusal(&nowhere()))
        .method_not_allowed_fallback(async || answer::refusal(&nowhere()))
        .with_state(hub)
}

pub(super) fn nowhere() -> HubError {
    HubError::NotFound("there is no such place; docs/protocol.md names them all".to_owned())
}

async fn call(
    State(hub): State<Arc<Hub>>,
    path: std::result::Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let Ok(Path((scope, call))) = path else { return answer::refusal(&nowhere()) };
    let begun = tokio::time::Instant::now();
    let done = answer(&hub, &scope, &call, request).await;
    let response = done.unwrap_or_else(|error| answer::refusal(&error));
    let (status, milliseconds) = (response.status().as_u16(), begun.elapsed().as_millis() as u64);
    tracing::debug!(scope = text::printable(&scope), call = text::printable(&call), status, milliseconds);
    response
}

async fn watermelon(
    State(hub): State<Arc<Hub>>,
    path: std::result::Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let Ok(Path(call)) = path else { return answer::refusal(&nowhere()) };
    let origin = origins::allowed(&hub.settings, request.headers());
    if let (Some(origin), &Method::OPTIONS) = (&origin, request.method()) {
        return origins::preflight(origin.clone());
    }
    let answer = watermelon::answer(&hub, &call, request).await;
    origins::opened(answer.unwrap_or_else(|error| answer::refusal(&error)), origin)
}

/// Who asks, if the token is good and has not asked too often.
pub(super) fn admit(hub: &Hub, headers: &HeaderMap) -> Result<Claims> {
    let claims = authorize(hub, headers)?;
    match lock(&hub.rate).take(&claims.sub, crate::hub::now()) {
        true => Ok(claims),
        false => Err(HubError::RateLimited),
    }
}

async fn answer(hub: &Arc<Hub>, scope: &str, call: &str, request: Request) -> Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let claims = admit(hub, &parts.headers)?;
    let name = claims.reach(scope)?;
    let scope = hub.scopes.get(&name);
    let who = claims.who();
    match (&parts.method, call) {
        (&Method::GET, "live") => {
            let incarnation = live::incarnation(parts.uri.query().unwrap_or_default());
            return live::open(hub, scope, claims, &incarnation).await;
        }
        (&Method::GET, "status") => {
            return work(hub, scope, &parts.headers, |hub, scope, now| {
                hub.scopes.with(scope, now, |store| json(&store.status(&scope.listening(), now)?))
            })
            .await;
        }
        (&Method::POST, "hello" | "push" | "pull" | "digest" | "row") => {}
        _ => return Err(nowhere()),
    }
    let call = call.to_owned();
    let packing = packing(&parts.headers)?;
    let packed = read_body(&parts.headers, body, hub.settings.body_bytes_max).await?;
    let answered = work(hub, scope.clone(), &parts.headers, move |hub, scope, now| {
        let body = &unpack(packing, packed, hub.settings.body_bytes_max)?;
        hub.scopes.with(scope, now, |store| match call.as_str() {
            "hello" => json(&store.hello(&who, &parse(body)?, now)?),
            "push" => store.push(&who, body, now),
            "pull" => json(&store.pull(&who, &parse(body)?, now)?),
            "digest" => json(&store.digest(&parse(body)?, now)?),
            _ => json(&store.row(&parse(body)?, now)?),
        })
    })
    .await;
    if scope.wants_rest() {
        tokio::spawn(rest(hub.clone(), scope));
    }
    answered
}

/// Housekeeping of a scope, while its caller reads the answer.
async fn rest(hub: Arc<Hub>, scope: Arc<OpenScope>) {
    let done = blocking(&hub, scope, |hub, scope, now| hub.scopes.with(scope, now, |store| store.rest()));
    if let Err(error) = done.await {
        tracing::debug!(%error, "a scope's housekeeping waits");
    }
}

/// Does `job` on a thread that may block, one at a time a scope, so that a busy scope
/// holds up nobody but itself.
pub(super) async fn work(
    hub: &Arc<Hub>,
    scope: Arc<OpenScope>,
    headers: &HeaderMap,
    job: impl FnOnce(&Hub, &OpenScope, i64) -> Result<Vec<u8>> + Send + 'static,
) -> Result<Response<Body>> {
    let accepted = answer::accepted(headers);
    let done = blocking(hub, scope, move |hub, scope, now| Ok(Packed::new(job(hub, scope, now)?, accepted))).await?;
    Ok(answer::ok(done))
}

/// `work` for answers that may be too large for memory.
pub(super) async fn write(
    hub: &Arc<Hub>,
    scope: Arc<OpenScope>,
    headers: &HeaderMap,
    job: impl FnOnce(&Hub, &OpenScope, i64, &mut dyn Write) -> Result<()> + Send + 'static,
) -> Result<Response<Body>> {
    let accepted = answer::accepted(headers);
    let done = blocking(hub, scope, move |hub, scope, now| {
        let no_room = |error: std::io::Error| HubError::NoRoom(error.to_string());
        let mut packer = Packer::new(accepted, Scratch::default()).map_err(no_room)?;
        job(hub, scope, now, &mut packer)?;
        packer.finish().and_then(Scratch::finish).map_err(no_room)
    });
    Ok(answer::written(done.await?, accepted))
}

pub(super) async fn blocking<T: Send + 'static>(
    hub: &Arc<Hub>,
    scope: Arc<OpenScope>,
    job: impl FnOnce(&Hub, &OpenScope, i64) -> Result<T> + Send + 'static,
) -> Result<T> {
    let turns = async { (scope.turn.clone().acquire_owned().await, hub.turns.clone().acquire_owned().await) };
    let turns = tokio::time::timeout(TURN_MAX, turns).await.map_err(|_| HubError::Busy)?;
    let hub = hub.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _turns = turns;
        job(&hub, &scope, crate::hub::now())
    });
    done.await.unwrap_or_else(|_| Err(HubError::Damaged("a request broke an invariant".to_owned())))
}

/// The token's claims, if it is good and not revoked.
fn authorize(hub: &Hub, headers: &HeaderMap) -> Result<Claims> {
    let header = headers.get(header::AUTHORIZATION).ok_or(HubError::TokenMissing)?;
    let value = header.to_str().map_err(|_| HubError::TokenBad)?;
    let (scheme, token) = value.split_once(' ').ok_or(HubError::TokenBad)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(HubError::TokenBad);
    }
    let claims = hub.keys.check(token.trim())?;
    hub.registry.check(&claims)?;
    Ok(claims)
}

pub(super) fn packing(headers: &HeaderMap) -> Result<Packing> {
    let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
    let (first, second) = (named.next(), named.next());
    let name = first.map_or(Ok(""), |value| value.to_str());
    match (name.ok().and_then(Packing::named), second) {
        (Some(packing), None) => Ok(packing),
        _ => Err(HubError::Malformed("this content encoding is not known here; use gzip or zstd".to_owned())),
    }
}

/// The body as it came, never more than `bytes_max` of it.
pub(super) async fn read_body(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Vec<u8>> {
    let too_large = || HubError::TooLarge(format!("a body may have {bytes_max} bytes"));
    let slow = |_| HubError::Malformed("the body did not come in time".to_owned());
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large());
    }
    let read = async {
        let mut body = body;
        let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(1 << 20) as usize);
        while let Some(frame) = tokio::time::timeout(PIECE_MAX, body.frame()).await.map_err(slow)? {
            let frame = frame.map_err(|_| HubError::Malformed("the body broke off".to_owned()))?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > bytes_max {
                return Err(too_large());
            }
            bytes.extend_from_slice(data);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_MAX, read).await.map_err(slow)?
}

pub(super) fn unpack(packing: Packing, packed: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>> {
    if packing == Packing::Plain {
        return Ok(packed);
    }
    packing.unpack(&packed, bytes_max).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => HubError::TooLarge(format!("a body may unpack to {bytes_max} bytes")),
        _ => HubError::Malformed(format!("the body is not {}", packing.word())),
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| HubError::Malformed(error.to_string()))
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(answer).expect("BUG: an answer is always JSON"))
}
