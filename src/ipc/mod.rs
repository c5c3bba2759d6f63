//! The agent's door for local programs: JSON-RPC 2.0, one object a line, over a
//! Unix socket; and HTTP on the same socket, for curl.
//!
//! `method` is the closed list of what can be asked, `answer` what comes back,
//! `service` the seam the agent fills, `server` and `client` the two ends of the
//! socket. A request never blocks a cycle, an unknown member is refused before
//! anything happens, and whatever a peer sends or does not read, memory stays
//! bounded and the others are served. `docs/ipc.md` is the same for people.

pub mod answer;
pub mod client;
mod connection;
mod discover;
mod envelope;
mod feed;
mod http;
mod line;
pub mod method;
#[cfg(test)]
mod published;
mod role;
pub mod server;
pub mod service;
pub mod socket;
mod writer;

pub use client::{Client, ClientError};
pub use method::Request;
pub use server::{Limits, serve};
pub use service::{CallError, Event, Peer, Role, Service, Topic};
pub use socket::{Audience, bind, bind_for};
