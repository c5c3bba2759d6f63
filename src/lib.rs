//! Homing keeps the SQLite databases of ordinary apps in step with a server.
//!
//! The promises, checked by the simulator after every step:
//!
//! 1. A local write leaves the outbox only when the remote acknowledged it, when it
//!    lost a conflict and is in the ledger, or when a person discards it. At every
//!    moment each write is on the remote, in the outbox, or in the ledger.
//! 2. A pulled page applies in slices: a slice is one transaction, keeps linked rows
//!    together, saves its own place, and ends within `lock_max`. The checkpoint moves
//!    with the last slice of the page.
//! 3. A version that loses a conflict is kept.
//! 4. Nothing is applied twice, whatever is retried, replayed, duplicated or restored.
//! 5. When writing stops and the network holds, all replicas and the remote become
//!    equal, without a new write, a restart or a person.
//! 6. The app is never kept waiting for a lock longer than `lock_max`, and never sees
//!    its own data go backwards.
//!
//! Modules, in the order data flows. Each may use only those of the floors below it
//! and `model`; `tests/it/floors.rs` holds the table.

pub mod model;

pub mod config;
pub mod engine;
pub mod protocol;
pub mod sqlite;

pub mod hub;
pub mod ipc;
pub mod remote;
pub mod store;

pub mod agent;

pub mod cli;
pub mod simulate;
