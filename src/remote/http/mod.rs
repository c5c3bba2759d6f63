//! The way to a remote over HTTP, whatever it speaks: addresses, tokens, trust, proxies,
//! and what goes wrong on the way in words.
//!
//! Shared by every kind of remote. Knows no protocol: what an answer means is its
//! caller's. Never tries again on its own and never follows a redirect.

mod answer;
mod connection;
mod events;
pub mod fault;
mod line;
pub mod live;
mod reader;
mod retry_after;
mod token;

pub use answer::{Limit, named_time};
pub use connection::{Connection, Shared, is_loopback};
pub use events::Event;
pub use line::Line;
pub use reader::{Body, Meter};
pub use token::{Token, read_small};
