//! What `store` and `hub` share about SQLite: values, quoting, reading a schema,
//! the capture triggers, row hashes.
//!
//! Never decides anything and never opens a file.

pub mod capture;
pub mod digest;
pub mod quote;
pub mod schema;
pub mod value;

pub use quote::{ident, idents, literal};
