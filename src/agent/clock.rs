//! The wall clock, so that a simulation can have its own.

use std::time::{SystemTime, UNIX_EPOCH};

pub trait Clock: Send {
    /// Milliseconds since 1970. May jump, both ways.
    fn millis(&self) -> i64;
}

pub struct SystemClock;

impl Clock for SystemClock {
    fn millis(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        }
    }
}
