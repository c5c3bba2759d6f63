//! Noticing that an app wrote to its file: file events where they arrive, else a look
//! now and then. An event is only a reason to look; what was written is in the log.

use std::ffi::OsString;
use std::path::Path;

use notify::{RecursiveMode, Watcher as _};

use crate::sqlite::print::with_suffix;
pub use crate::sqlite::print::{Print, TICK_MAX};
use crate::store::peek::Glance;

/// Watches one database until dropped.
pub struct Watcher {
    _watcher: Option<notify::RecommendedWatcher>,
    /// Why the file must be looked at by the clock; `None` where events arrive.
    pub polls: Option<String>,
}

impl Watcher {
    /// Calls `look` from another thread after something touched the database.
    pub fn new(database: &Path, look: impl Fn() + Send + 'static) -> Watcher {
        if let Some(kind) = network_mount(database) {
            return Watcher::polling(format!(
                "the file is on {kind}, where file events do not arrive: it is looked at by the clock"
            ));
        }
        match Watcher::events(database, look) {
            Ok(watcher) => Watcher { _watcher: Some(watcher), polls: None },
            Err(error) => {
                Watcher::polling(format!("file events cannot be had ({error}): the file is looked at by the clock"))
            }
        }
    }

    fn polling(why: String) -> Watcher {
        Watcher { _watcher: None, polls: Some(why) }
    }

    fn events(database: &Path, look: impl Fn() + Send + 'static) -> notify::Result<notify::RecommendedWatcher> {
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let names: Vec<OsString> = ["", "-wal", "-journal"]
            .iter()
            .map(|suffix| with_suffix(database, suffix))
            .filter_map(|path| path.file_name().map(ToOwned::to_owned))
            .collect();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
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
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
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
