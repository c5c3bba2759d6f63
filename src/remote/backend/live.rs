//! A backend's live channel, where the config names one: server-sent events at
//! `live_path`, each of which says that there is more. What an event says is never read,
//! so that any backend's will do; a beat (`ping` and the like) is none.

use reqwest::Response;

use super::Question;
use super::call::Purpose;
use crate::remote::http::live::Door;
use crate::remote::http::{Connection, Event};
use crate::remote::{Hint, RemoteError, Result};

/// Names that are given to events which only keep the way open.
const BEATS: [&str; 4] = ["ping", "beat", "heartbeat", "keepalive"];

pub struct BackendDoor(pub Question);

impl Door for BackendDoor {
    async fn knock(&self, connection: &Connection) -> Result<Response> {
        connection.signed_question(&self.0, None, "text/event-stream").await
    }

    async fn refusal(&self, connection: &Connection, response: Response) -> RemoteError {
        connection.refused_question(response, Purpose::Pull).await
    }

    fn hint(&self, event: &Event) -> Option<Hint> {
        (!BEATS.contains(&event.name.as_str())).then_some(Hint::More(None))
    }
}
