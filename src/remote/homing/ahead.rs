//! Pages asked for before their turn.
//!
//! While one page is applied, the next is on its way or understood already, and the one
//! after that is asked for as soon as the next has come: where it begins is read first,
//! and all the rest while the hub is at work again. So there are three pages at most, the
//! last of them as it came. Whatever is dropped is no longer waited for.

use std::sync::Arc;

use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::exchange::Parcel;
use super::{ANSWER_BYTES_MAX, json, understood};
use crate::model::Page;
use crate::protocol::{self, body};
use crate::remote::Result;
use crate::remote::http::{Connection, fault};

/// A page on its way, to be understood once it is here.
pub(super) struct Ahead {
    question: protocol::Pull,
    answer: Task<Paged>,
}

/// A page, and the one after it, where there is more.
pub(super) struct Paged {
    pub page: Page,
    pub next: Option<Asked>,
}

/// A page on its way, as it comes.
pub(super) struct Asked {
    question: protocol::Pull,
    reply: Task<Vec<u8>>,
}

/// A task of the runtime that ends with the value that stands for it.
struct Task<T>(JoinHandle<Result<T>>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Task<T> {
    async fn done(mut self) -> Result<T> {
        (&mut self.0).await.unwrap_or_else(|_| Err(fault::interrupted().into()))
    }
}

/// Where a page ends. It stands before the rows, and is read without them.
#[derive(Deserialize)]
struct Place {
    cursor: String,
    more: bool,
}

impl Ahead {
    pub fn new(runtime: &Handle, connection: &Arc<Connection>, question: protocol::Pull) -> Ahead {
        Ahead::of(runtime, connection, Asked::new(runtime, connection, question))
    }

    pub fn of(runtime: &Handle, connection: &Arc<Connection>, Asked { question, reply }: Asked) -> Ahead {
        let (again, connection, runtime_too) = (question.clone(), connection.clone(), runtime.clone());
        let answer = runtime.spawn(async move {
            let reply = reply.done().await?;
            let place = serde_json::from_slice::<Place>(&reply).ok();
            // One that moves nowhere is no page, and not asked for again.
            let next = place.filter(|place| place.more && again.cursor.as_deref() != Some(place.cursor.as_str()));
            let next = next.map(|place| {
                let question = protocol::Pull { cursor: Some(place.cursor), ..again };
                Asked::new(&runtime_too, &connection, question)
            });
            let pulled: protocol::Pulled = understood(&connection, &reply)?;
            drop(reply);
            let page = body::page(pulled).map_err(|flaw| fault::rubbish(connection.host(), &flaw))?;
            Ok(Paged { page, next })
        });
        Ahead { question, answer: Task(answer) }
    }

    /// Whether it is the answer to this question.
    pub fn answers(&self, question: &protocol::Pull) -> bool {
        self.question == *question
    }

    pub async fn page(self) -> Result<Paged> {
        self.answer.done().await
    }
}

impl Asked {
    fn new(runtime: &Handle, connection: &Arc<Connection>, question: protocol::Pull) -> Asked {
        let (connection, parcel) = (connection.clone(), Parcel::of(json(&question)));
        let reply = runtime.spawn(async move { connection.post("pull", parcel, ANSWER_BYTES_MAX).await });
        Asked { question, reply: Task(reply) }
    }
}
