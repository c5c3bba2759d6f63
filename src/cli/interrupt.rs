//! Ctrl-C while a command waits: it ends with 130, by its own exit and not by a signal.

use std::sync::mpsc;

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;

/// From the return of this on. Only for commands that hold nothing that would have to be
/// put back.
pub fn ends_the_command() {
    let (heard_from_now_on, wait) = mpsc::channel::<()>();
    std::thread::spawn(|| {
        // Without a runtime the signal ends the process by itself, as it did before.
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return };
            drop(heard_from_now_on);
            interrupt.recv().await;
            std::process::exit(i32::from(Exit::Interrupted.code()));
        });
    });
    let _ = wait.recv(); // ends when the sender is dropped
}
