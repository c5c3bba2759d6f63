//! Noticing that an app wrote to its file: file events where they arrive, else a look
//! now and then. An event is only a reason to look; what was written is in the log.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use notify::{RecursiveMode, Watcher as _};

use crate::sqlite::print::with_suffix;
pub use crate::sqlite::print::{Print, TICK_MAX};
use crate::store::peek::Glance;

/// Watches one database until dropped.
pub struct Watcher {
    watcher: Option<notify::RecommendedWatcher>,
    folder: PathBuf,
    quiet: bool,
    /// Why the file must be looked at by the clock; `None` where events arrive.
    pub polls: Option<String>,
}

impl Watcher {
    /// Calls `look` from another thread after something touched the database.
    pub fn new(database: &Path, look: impl Fn() + Send + 'static) -> Watcher {
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut watcher = Watcher { watcher: None, folder: folder.to_owned(), quiet: true, polls: None };
        match network_mount(database) {
            Some(kind) => {
                let why =
                    format!("the file is on {kind}, where file events do not arrive: it is looked at by the clock");
                watcher.polls = Some(why);
            }
            None => {
                match Watcher::events(database, look) {
                    Ok(events) => watcher.watcher = Some(events),
                    Err(error) => watcher.poll(&error),
                }
                watcher.resume();
            }
        }
        watcher
    }

    fn poll(&mut self, error: &notify::Error) {
        self.watcher = None;
        self.polls = Some(format!("file events cannot be had ({error}): the file is looked at by the clock"));
    }

    /// No events from now on. Whoever writes much to the file himself learns nothing from
    /// them, and each costs him a switch to the thread that hears them.
    pub fn pause(&mut self) {
        if let (Some(watcher), false) = (&mut self.watcher, self.quiet) {
            // Those that come all the same are as good as ever.
            let _ = watcher.unwatch(&self.folder);
            self.quiet = true;
        }
    }

    /// Events again. What was written meanwhile shows in the file alone.
    pub fn resume(&mut self) {
        if let (Some(watcher), true) = (&mut self.watcher, self.quiet) {
            self.quiet = false;
            if let Err(error) = watcher.watch(&self.folder, RecursiveMode::NonRecursive) {
                self.poll(&error);
            }
        }
    }

    fn events(database: &Path, look: impl Fn() + Send + 'static) -> notify::Result<notify::RecommendedWatcher> {
        let names: Vec<OsString> = ["", "-wal", "-journal"]
            .iter()
            .map(|suffix| with_suffix(database, suffix))
            .filter_map(|path| path.file_name().map(ToOwned::to_owned))
            .collect();
        notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let touches = |event: &notify::Event| {
                !event.kind.is_access()
                    && event
                        .paths
                        .iter()
                        .any(|path| path.file_name().is_some_and(|name| names.iter().any(|known| known == name)))
            };
            // An overflow says nothing of paths: look.
            if event.as_ref().map_or(true, |event| event.need_rescan() || touches(event)) {
                look();
            }
        })
    }
}

/// A look at the files, and then into them.
pub struct Sight {
    pub print: Print,
    /// The print was fresh when it was taken.
    pub fresh: bool,
    pub glance: Glance,
}

/// The kind of network file system a file is on, where the system can tell.
#[cfg(target_os = "linux")]
fn network_mount(path: &Path) -> Option<&'static str> {
    let magic = rustix::fs::statfs(path.parent()?).ok()?.f_type as u32;
    match magic {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("a Windows share"),
        0x6573_5546 => Some("a FUSE mount"),
        0x0102_1997 => Some("a 9P mount"),
        0x5346_414f => Some("AFS"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn network_mount(_path: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    fn heard(events: &Receiver<()>, within: Duration) -> bool {
        events.recv_timeout(within).is_ok()
    }

    fn drain(events: &Receiver<()>) {
        while heard(events, Duration::from_millis(50)) {}
    }

    #[test]
    fn a_watch_that_was_paused_hears_what_is_written_after_it_and_nothing_before() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("app.db");
        std::fs::write(&database, "1").unwrap();
        let (tell, events) = channel();
        let mut watcher = Watcher::new(&database, move || tell.send(()).unwrap_or_default());
        if watcher.polls.is_some() {
            return; // no events on this file system
        }
        std::fs::write(&database, "2").unwrap();
        assert!(heard(&events, Duration::from_secs(10)));
        watcher.pause();
        watcher.pause();
        drain(&events);
        std::fs::write(&database, "3").unwrap();
        assert!(!heard(&events, Duration::from_millis(100)));
        watcher.resume();
        std::fs::write(&database, "4").unwrap();
        assert!(heard(&events, Duration::from_secs(10)));
    }
}
