//! The live channel: server-sent events that say "there is more", never what.
//!
//! `event: hint` with the head revision as data: once when the channel opens, then
//! whenever the head moved. A comment every minute keeps the way open. The channel ends
//! when the token does, or the hub stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer;
use super::calls;
use super::server::{Hub, told};
use crate::hub::error::Result;
use crate::hub::scopes::{Listening, OpenScope};
use crate::hub::token::Claims;

const BEAT: Duration = Duration::from_secs(60);

struct Channel {
    hub: Arc<Hub>,
    claims: Claims,
    heads: watch::Receiver<i64>,
    revocations: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    expires: Instant,
    /// The head to say next, if it was not said yet.
    first: Option<i64>,
    _listening: Listening,
}

pub(super) async fn open(
    hub: &Arc<Hub>,
    scope: Arc<OpenScope>,
    claims: Claims,
    incarnation: &str,
) -> Result<Response<Body>> {
    let number = hub.channels.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (mut heads, listening) = scope.listen(number, incarnation);
    let head = calls::blocking(hub, scope, |hub, scope, now| hub.scopes.head(scope, now)).await?;
    heads.mark_unchanged();
    let left = (claims.exp * 1000 - crate::hub::now()).max(0) as u64;
    let channel = Channel {
        claims,
        heads,
        revocations: hub.revocations.subscribe(),
        stopping: hub.stopping.subscribe(),
        expires: Instant::now() + Duration::from_millis(left),
        first: Some(head),
        _listening: listening,
        hub: hub.clone(),
    };
    let events = stream::unfold(channel, |mut channel| async {
        let event = channel.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), channel))
    });
    Ok(answer::events(Body::from_stream(events)))
}

impl Channel {
    /// The next event; `None` ends the channel.
    async fn next(&mut self) -> Option<String> {
        if let Some(head) = self.first.take() {
            return Some(hint(head));
        }
        let beat = Instant::now() + BEAT;
        loop {
            tokio::select! {
                moved = self.heads.changed() => {
                    moved.ok()?;
                    return Some(hint(*self.heads.borrow_and_update()));
                }
                changed = self.revocations.changed() => {
                    changed.ok()?;
                    self.hub.registry.check(&self.claims).ok()?;
                }
                () = told(&mut self.stopping) => return None,
                () = tokio::time::sleep_until(beat.min(self.expires)) => {
                    return (Instant::now() < self.expires).then(|| ": beat\n\n".to_owned());
                }
            }
        }
    }
}

fn hint(head: i64) -> String {
    format!("event: hint\ndata: {head}\n\n")
}

/// `incarnation=…` of a query: lets the status name who listens. Not needed for more.
pub(super) fn incarnation(query: &str) -> String {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("incarnation="));
    given.filter(|name| name.len() <= 200).unwrap_or_default().to_owned()
}
