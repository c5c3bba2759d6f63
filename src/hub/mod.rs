//! The hub: Homing's own remote. It orders and stores; replicas resolve.
//!
//! What it keeps true: a push is one transaction, on disk before it is answered, and
//! the same push sent again is answered as before; revisions are given out so that no
//! reader can pass one that commits later; nobody reaches a scope that the token does
//! not name; the account in every record is the token's, whatever a client says.
//!
//! It never resolves a conflict, never drops a version it has answered for without
//! keeping the newest, and never trusts a name, a type or a number that came over the
//! wire.
//!
//! `sqlite::Scope` is the whole logic of one scope, without network or clock; `http`
//! carries it; `serve` is the daemon.

pub mod backup;
pub mod data;
pub mod error;
pub mod http;
pub mod registry;
pub mod scopes;
pub mod settings;
pub mod sqlite;
pub mod store;
pub mod token;
pub mod watermelon;

pub use backup::backup;
pub use error::HubError;
pub use http::server::{Running, serve, start};
pub use registry::{Revoke, revoke};
pub use settings::{Options, Settings, Tls};
pub use store::{Store, Who};

/// The only clock of the hub: milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
