//! The native protocol, version 1: the messages, and nothing else.
//!
//! `docs/protocol.md` is normative. Wire shapes are their own structs; they become
//! model values at the edge (`encode`, `decode`), so the model can change freely.
//! This module never does IO, but for bodies too large for memory (`scratch`).

pub mod body;
pub mod message;
pub mod rows;
pub mod scratch;

pub use message::*;

/// The version in every request and answer.
pub const VERSION: u32 = 1;

/// Every answer of a hub carries this header with `VERSION`; an answer without it is
/// not a hub's, whatever its status says.
pub const HEADER: &str = "homing-protocol";
