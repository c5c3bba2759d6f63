//! The protocol over HTTP.
//!
//! Nothing of a request's body is read before its token is good. Everything has a
//! bound: connections, headers, bodies before and after unpacking, time for each part,
//! requests an account, work at once. Every answer says by its header that it is a
//! hub's.

mod answer;
mod calls;
mod live;
mod origins;
mod rate;
pub mod server;
mod tls;
mod watermelon;
