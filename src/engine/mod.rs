//! The core that decides: what to send next, what a conflict comes to, how long to wait.
//!
//! Pure: time and chance are arguments, nothing here reads a clock, opens a file,
//! awaits or logs, and nothing here can fail. What comes out is data that `agent`
//! carries out; the simulator runs the very same code on virtual time.

pub mod backoff;
pub mod chance;
pub mod courtesy;
pub mod errand;
pub mod graph;
pub mod growth;
pub mod incarnation;
pub mod plan;
pub mod resolve;
pub mod schedule;
pub mod session;
pub mod skew;
pub mod thrift;

pub use chance::Chance;
pub use graph::Order;
pub use growth::Growth;
pub use session::Session;
