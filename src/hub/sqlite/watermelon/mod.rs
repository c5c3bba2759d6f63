//! The scope as the backend of WatermelonDB apps, beside the devices that speak the
//! protocol: one log, one set of tables.
//!
//! A time that a pull gives out is a **mark**: it is given once, and stands for the
//! revision that the pull reached and for the client that made it. So the hub's clock
//! decides nothing, and a client's own rows do not come back to it. A mark that this
//! file does not know (the hub was restored, or the client was away for longer than
//! deletions are remembered) means that everything is replaced.
//!
//! Served are tables whose key is one column `id` that is no rowid; of their columns
//! never those that WatermelonDB keeps for itself.

mod mark;
mod pull;
mod push;
mod record;

pub(super) use pull::pull;
pub(super) use push::push;

use super::schema::Shape;

/// Columns that are WatermelonDB's own at each client.
const PRIVATE: [&str; 2] = ["_status", "_changed"];

/// Whether WatermelonDB can hold this table: its records have an `id` that is text.
fn is_served(shape: &Shape) -> bool {
    shape.key_names() == ["id"] && !shape.rowid_key && is_safe_name(&shape.table.name)
}

/// Names become members of JavaScript objects there.
fn is_safe_name(name: &str) -> bool {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !name.is_empty() && name.chars().all(word) && !["__proto__", "constructor", "prototype"].contains(&name)
}

/// Identifiers go into SQL and JavaScript there as they are.
fn is_safe_id(id: &str) -> bool {
    !id.is_empty() && !id.chars().any(|character| character.is_control() || "'\"\\/$".contains(character))
}
