//! The shell: it performs what the engine decides, and holds handles and a loop.
//!
//! One thread a replica runs its session; everything else (file events, timers, IPC,
//! live hints) only leaves a wake there. The simulator runs `perform` too, on virtual
//! time. Nothing here decides what to send, when, or who wins.

pub mod clock;
pub mod memory;
pub mod perform;
pub mod rules;
