//! Teams' own backends: for each a server written from its document alone (`*.py`), the
//! config that stands in `examples/`, and the document's own scenarios.

mod actions;
mod egglogu;
mod harvest;
mod insight;
mod live;
mod mqtt;
mod rejected;
mod rockhound;
mod suite;
mod weave;

use super::rig::{Backend, Device, local_rows, token};

/// A device in step with `plain.py`. `keys`: of `remote`, beside the paths; `extra`: sections
/// of the config.
fn plain(name: &str, url: &str, keys: &[(&str, &str)], extra: &str) -> Device {
    let mut device = Device::new(name, url, &token("ada"));
    let paths = [("KIND", "watermelon"), ("PULL_PATH", "pull"), ("PUSH_PATH", "push")];
    for (key, value) in paths.iter().chain(keys) {
        device.set(&format!("REPLICA__NOTES__REMOTE__{key}"), value);
    }
    device.configure(extra);
    device.sql("CREATE TABLE lists(id TEXT PRIMARY KEY, name TEXT)");
    device.start();
    device.sync();
    device
}

/// The fields that both sides write the same way, by table.
type Fields = [(&'static str, &'static [&'static str])];

#[track_caller]
fn all_equal(backend: &Backend, devices: &[&Device], fields: &Fields) {
    for (table, fields) in fields {
        let there = backend.rows(table, fields);
        for device in devices {
            assert_eq!(local_rows(&device.database, table, fields), there, "{table} of {}", device.name);
        }
    }
}
