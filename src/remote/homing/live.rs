//! A hub's live channel: `event: hint` says that there is more.

use reqwest::Response;
use reqwest::header::ACCEPT;

use crate::model::Revision;
use crate::remote::http::live::Door;
use crate::remote::http::{Connection, Event};
use crate::remote::{Hint, RemoteError, Result};

pub struct HubDoor;

impl Door for HubDoor {
    async fn knock(&self, connection: &Connection) -> Result<Response> {
        let client = connection.client()?;
        let request = || {
            let mut place = connection.place("live");
            place.query_pairs_mut().append_pair("device", connection.device());
            client.get(place).header(ACCEPT, "text/event-stream")
        };
        connection.signed_in(request, 0, connection.timeout()).await
    }

    async fn refusal(&self, connection: &Connection, response: Response) -> RemoteError {
        connection.refusal(response).await
    }

    fn hint(&self, event: &Event) -> Option<Hint> {
        (event.name == "hint").then(|| Hint::More(event.data.parse().ok().map(Revision)))
    }
}
