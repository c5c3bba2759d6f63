//! Numbers and names that must never be mixed up.

use serde::{Deserialize, Serialize};

/// A place in a replica's outbox: the log's own counter, from 1. Never reused
/// within one incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub i64);

/// The hub's order within a scope, from 1; 0 is "never on the hub".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub i64);

impl Revision {
    pub const NONE: Revision = Revision(0);
}

/// A hybrid logical clock reading: milliseconds since 1970 × 1,000, plus a counter
/// below 1,000 that orders what happened within one millisecond. Stays under 2^53
/// until the year 2255, so that every JSON reader keeps it exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub i64);

impl Stamp {
    pub fn from_millis(millis: i64) -> Stamp {
        Stamp(millis.saturating_mul(1000))
    }

    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The later of `self` and just after `seen`: a change is always newer than
    /// the version it was made from, whatever the clock said.
    pub fn after(self, seen: Stamp) -> Stamp {
        self.max(Stamp(seen.0.saturating_add(1)))
    }
}

/// One life of a database file on one device: a random name, new whenever the file
/// was restored, cloned or replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub String);

impl std::fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}
