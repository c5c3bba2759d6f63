//! `/watermelon/pull`, `/push` and `/sync`: the hub as a WatermelonDB app's backend.
//!
//! The token decides whose rows, as everywhere; `?scope=TEAM` asks for a team's.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query as Extract, Request};
use axum::http::{Method, Response};

use super::calls;
use super::server::Hub;
use crate::hub::error::{HubError, Result};
use crate::hub::watermelon::{Asked, Query, Sent};

pub(super) async fn answer(hub: &Arc<Hub>, call: &str, request: Request) -> Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let claims = calls::admit(hub, &parts.headers)?;
    let query = Extract::<Query>::try_from_uri(&parts.uri).map_err(|error| HubError::Malformed(error.to_string()))?.0;
    let name = claims.reach(query.scope.as_deref().unwrap_or("@me"))?;
    let scope = hub.scopes.get(&name);
    let who = claims.who();
    if (&parts.method, call) == (&Method::GET, "sync") {
        let asked = Asked::from_query(&query)?;
        return calls::write(hub, scope, &parts.headers, move |hub, scope, now, out| {
            hub.scopes.with(scope, now, |store| store.watermelon_pull(&who, &asked, now, out))
        })
        .await;
    }
    if parts.method != Method::POST || !["pull", "push", "sync"].contains(&call) {
        return Err(calls::nowhere());
    }
    let call = call.to_owned();
    let packing = calls::packing(&parts.headers)?;
    let packed = calls::read_body(&parts.headers, body, hub.settings.body_bytes_max).await?;
    if call == "pull" {
        return calls::write(hub, scope, &parts.headers, move |hub, scope, now, out| {
            let asked = Asked::parse(&calls::unpack(packing, packed, hub.settings.body_bytes_max)?)?;
            hub.scopes.with(scope, now, |store| store.watermelon_pull(&who, &asked, now, out))
        })
        .await;
    }
    calls::work(hub, scope, &parts.headers, move |hub, scope, now| {
        let body = &calls::unpack(packing, packed, hub.settings.body_bytes_max)?;
        hub.scopes.with(scope, now, |store| match call.as_str() {
            "push" => store.watermelon_push(&who, &Sent::parse(body)?, now),
            _ => store.watermelon_push(&who, &Sent::from_query(&query, body)?, now),
        })
    })
    .await
}
