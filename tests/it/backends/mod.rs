//! Teams' own backends: for each a server written from its document alone (`*.py`), the
//! config that stands in `examples/`, and the document's own scenarios.

mod actions;
mod egglogu;
mod harvest;
mod insight;
mod live;
mod mqtt;
mod rockhound;
mod suite;
mod weave;

use super::rig::{Backend, Device, local_rows};

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
