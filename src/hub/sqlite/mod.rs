//! A scope in one SQLite file: real tables, and beside them what the hub knows of them.
//!
//! Invariants: `_hub_row` has one entry for every row there is and every tombstone not
//! yet pruned, at its newest revision; a revision is given out inside the write
//! transaction that uses it, under SQLite's write lock, so that no reader can see a
//! later one first; `_hub_meta.head` is never behind any entry.
//!
//! Any SQL client may write the tables: triggers note it in `_hub_log`, and before the
//! hub answers anything it gives those writes revisions (`outside`). The hub's own
//! connection runs with triggers and foreign key actions off.
//!
//! A `Scope` never reads the clock and has no randomness: both come in as arguments.

mod aside;
mod batch;
mod bring;
mod cursor;
mod device;
mod digest;
mod hello;
mod layout;
mod links;
mod look;
mod outside;
mod plan;
mod prune;
mod pull;
mod push;
mod put;
mod schema;
mod scope;
mod tables;
mod watermelon;
mod writing;

#[cfg(test)]
mod tests;

pub use scope::{HighWater, OpenOptions, Scope};
