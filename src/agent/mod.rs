//! The shell: it performs what the engine decides, and holds handles and a loop.
//!
//! One thread a replica runs its session; everything else (file events, timers, IPC,
//! live hints) only leaves a wake there. The simulator runs `perform` too, on virtual
//! time. Nothing here decides what to send, when, or who wins.

pub mod archive;
mod board;
mod claim;
pub mod clock;
pub mod crew;
pub mod desk;
pub mod inquire;
pub mod memory;
pub mod network;
pub mod perform;
pub mod rules;
pub mod run;
pub mod sleep;
pub mod standing;
pub mod supervisor;
mod supply;
pub mod telemetry;
pub mod watch;
pub mod worker;

pub use run::{CONFIG_READ, Options, StartError, StartErrorKind, run};
