//! Presets: sets of values to start from, by how a replica is used.
//!
//! A key in the file or the environment always wins over the preset.

use crate::model::settings::{Limits, Millis, Schedule};

pub(super) const NAMES: [&str; 3] = ["development", "production", "offline-heavy"];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Preset {
    pub(super) schedule: Schedule,
    pub(super) limits: Limits,
    pub(super) timeout: Millis,
}

const SECOND: Millis = 1_000;
const DAY: Millis = 86_400 * SECOND;

/// One of `NAMES`; anything else is production.
pub(super) fn preset(name: &str) -> Preset {
    let production = Preset { schedule: Schedule::default(), limits: Limits::default(), timeout: 30 * SECOND };
    match name {
        // Quick to react and quick to complain, in batches small enough to see.
        "development" => Preset {
            schedule: Schedule {
                every: Some(30 * SECOND),
                debounce: 500,
                debounce_max: 2 * SECOND,
                backoff_first: 500,
                backoff_max: 10 * SECOND,
                poll: 500,
                ..production.schedule
            },
            limits: Limits {
                batch_rows_max: 100,
                batch_bytes_max: 256 << 10,
                batches_grow: false,
                tries_max: 3,
                ledger_age_max: 7 * DAY,
                ..production.limits
            },
            timeout: 10 * SECOND,
        },
        // Long away and then shortly there: what a short spell of network carried stays
        // carried, the battery is spared, and old changes are looked at by a person.
        "offline-heavy" => Preset {
            schedule: Schedule {
                every: Some(900 * SECOND),
                debounce: 10 * SECOND,
                debounce_max: 120 * SECOND,
                backoff_max: 300 * SECOND,
                poll: 5 * SECOND,
                ..production.schedule
            },
            limits: Limits {
                batch_rows_max: 500,
                batch_bytes_max: 256 << 10,
                batches_grow: false,
                pending_age_max: Some(14 * DAY),
                pending_rows_max: Some(100_000),
                ledger_age_max: 180 * DAY,
                ..production.limits
            },
            timeout: 60 * SECOND,
        },
        _ => production,
    }
}
