//! The Homing hub over HTTP.
