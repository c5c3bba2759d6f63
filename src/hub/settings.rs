//! What a hub is told: the command line's part (`Options`) and the file's (`Settings`).
//!
//! The file is TOML, every key has a default, an unknown key is an error with its line:
//!
//! ```toml
//! stamp_ahead_max = "60s"
//! account_column = "user_id"
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::error::{HubError, Result};
use crate::protocol::HubLimits;

/// What one run of the hub needs.
#[derive(Clone, Debug)]
pub struct Options {
    pub data: PathBuf,
    /// `ADDR:PORT`; port 0 picks a free one.
    pub listen: String,
    pub tls: Option<Tls>,
    pub settings: Settings,
}

impl Options {
    pub const LISTEN: &'static str = "127.0.0.1:4747";

    pub fn new(data: impl Into<PathBuf>) -> Options {
        Options { data: data.into(), listen: Self::LISTEN.into(), tls: None, settings: Settings::default() }
    }
}

/// PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How a hub behaves. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// For `homing hub --config` alone; the command line goes before.
    pub data: Option<PathBuf>,
    pub listen: Option<String>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// A stamp further ahead of the hub's clock is refused.
    #[serde(deserialize_with = "duration")]
    pub stamp_ahead_max: i64,
    /// How long a deletion is remembered; a device away longer starts by snapshot.
    #[serde(deserialize_with = "duration")]
    pub tombstone_age_max: i64,
    /// How long it is remembered who changed what, beyond each row's newest change.
    #[serde(deserialize_with = "duration")]
    pub audit_age_max: i64,
    /// A column that the hub fills with the token's account on every put.
    pub account_column: Option<String>,
    /// Origins of web apps (`https://app.example.org`) whose browsers may call
    /// `/watermelon`; `*` for any.
    pub allow_origins: Vec<String>,
    /// False: tables and columns come from the hub's own side only.
    pub bring_tables: bool,
    /// False: a row may name a parent that is not there.
    pub check_foreign_keys: bool,
    pub tables_max: usize,
    pub batch_rows_max: usize,
    pub body_bytes_max: usize,
    pub row_bytes_max: usize,
    pub connections_max: usize,
    /// Scopes that are held open; the one that rested longest is closed for the next.
    pub scopes_open_max: usize,
    /// A token bucket an account: refill a second, and size.
    pub requests_per_second_max: u32,
    pub requests_burst_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        let limits = HubLimits::default();
        Settings {
            data: None,
            listen: None,
            tls_certificate: None,
            tls_key: None,
            stamp_ahead_max: 60_000,
            tombstone_age_max: 30 * 86_400_000,
            audit_age_max: 365 * 86_400_000,
            account_column: None,
            allow_origins: Vec::new(),
            bring_tables: true,
            check_foreign_keys: true,
            tables_max: 1_000,
            batch_rows_max: limits.batch_rows_max,
            body_bytes_max: limits.body_bytes_max,
            row_bytes_max: limits.row_bytes_max,
            connections_max: 4_096,
            scopes_open_max: 256,
            requests_per_second_max: 200,
            requests_burst_max: 1_000,
        }
    }
}

impl Settings {
    pub fn read(file: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            HubError::set_up(format!("cannot read {}: {error}", file.display()), "check the path and its mode")
        })?;
        Settings::parse(&text).map_err(|what| {
            HubError::set_up(format!("{}: {what}", file.display()), "correct the file; docs/hub.md names every key")
        })
    }

    /// The error is for people, with line and column.
    pub fn parse(text: &str) -> std::result::Result<Settings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    pub fn limits(&self) -> HubLimits {
        HubLimits {
            batch_rows_max: self.batch_rows_max,
            body_bytes_max: self.body_bytes_max,
            row_bytes_max: self.row_bytes_max,
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!("{text:?} is not a time; write a number and ms, s, m, h or d, as in \"30d\""))
    })
}

/// `250ms`, `60s`, `5m`, `12h`, `30d` in milliseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_file_has_defaults_times_and_no_unknown_keys() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        let settings = Settings::parse("tombstone_age_max = \"7d\"\naccount_column = \"user_id\"").unwrap();
        assert_eq!(settings.tombstone_age_max, 7 * 86_400_000);
        assert_eq!(settings.account_column.as_deref(), Some("user_id"));
        let error = Settings::parse("bring_tabels = true").unwrap_err();
        assert!(error.contains("line 1") && error.contains("bring_tabels"), "{error}");
        assert!(Settings::parse("stamp_ahead_max = \"soon\"").unwrap_err().contains("not a time"));
    }
}
