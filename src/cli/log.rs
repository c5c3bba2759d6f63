//! Where the agent and the hub log: stderr, one line an event.
//!
//! `HOMING_LOG` sets what is told, as in `HOMING_LOG=debug` or `homing::remote=trace`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub fn start() {
    let filter = EnvFilter::try_from_env("HOMING_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // The journal keeps times itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let builder = builder.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let _ = if journal { builder.without_time().try_init() } else { builder.try_init() };
}
