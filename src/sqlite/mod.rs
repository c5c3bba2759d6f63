//! What `store` and `hub` share about SQLite: values, quoting, reading a schema,
//! the capture triggers, row hashes, a file's looks from outside.
//!
//! Never decides anything and never opens a file.

pub mod capture;
pub mod digest;
pub mod print;
pub mod quote;
pub mod schema;
pub mod value;

pub use quote::{ident, idents, literal};
