//! The nouns every other module speaks in.
//!
//! Floor 0: no IO, no clock, no log, no async. Everything here is data with a
//! meaning written down once; `docs/architecture.md` has the glossary.

pub mod change;
pub mod conflict;
pub mod fault;
pub mod id;
pub mod key;
pub mod outcome;
pub mod page;
pub mod reason;
pub mod schema;
pub mod settings;
pub mod status;
pub mod strategy;
pub mod supply;
pub mod text;
pub mod value;

pub use change::{Change, Operation};
pub use conflict::{Conflict, ConflictKind, Settler};
pub use fault::{Fault, FaultKind, Verdict};
pub use id::{Incarnation, Revision, Seq, Stamp};
pub use key::Key;
pub use outcome::{Outcome, RefusalCode};
pub use page::{Cursor, Page, RemoteRow};
pub use reason::{Reason, ReasonCode};
pub use schema::{Column, ForeignKey, Table, Unique};
pub use strategy::{ColumnRule, DeleteRule, Policy, SideRule, SoftDelete, Strategy, Times};
pub use supply::{Saving, Supply};
pub use value::Value;

/// A row: one value a column, in the order of the column list it travels with.
pub type Row = Vec<Value>;
