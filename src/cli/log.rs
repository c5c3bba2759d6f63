//! Where the agent and the hub log: the journal where systemd gives one, else stderr, one
//! line an event.
//!
//! In the journal the facts are fields: `journalctl HOMING_REPLICA=notes`. `HOMING_LOG`
//! sets what is told, as in `HOMING_LOG=debug` or `homing::remote=trace`.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub fn start() {
    let told = std::env::var("HOMING_LOG").ok().and_then(|told| told.parse().ok());
    let told = told.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    if stderr_is_the_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal.with_field_prefix(Some("HOMING".to_owned())).with_syslog_identifier("homing".to_owned());
        let _ = tracing_subscriber::registry().with(told).with(journal).try_init();
        return;
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colour);
    let _ = tracing_subscriber::registry().with(told).with(lines).try_init();
}

/// systemd names the stream by device and inode, since a child with a stderr of its own
/// inherits the variable too.
fn stderr_is_the_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(found) = rustix::fs::fstat(std::io::stderr()) else { return false };
    named == format!("{}:{}", found.st_dev, found.st_ino)
}
