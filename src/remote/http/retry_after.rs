//! `Retry-After`: the time a remote asks to be left alone for.
//!
//! Seconds or an HTTP date. Never longer than an hour, so that a mistaken or hostile
//! answer cannot keep a replica away; what cannot be understood, or lies in the past,
//! counts as nothing said.

use std::time::{Duration, SystemTime};

const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Milliseconds to wait from `now`.
pub fn parse(value: &str, now: SystemTime) -> Option<i64> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are still a number.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).ok()?
    };
    let wait = wait.min(WAIT_MAX);
    (!wait.is_zero()).then_some(wait.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_remote_may_ask_for() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 08:00:00 GMT").unwrap();
        for (value, expected) in [
            ("7", Some(7_000)),
            (" 7 ", Some(7_000)),
            ("0", None),
            ("3600", Some(3_600_000)),
            ("1000000000", Some(3_600_000)),
            ("99999999999999999999999999", Some(3_600_000)),
            ("Sat, 21 Nov 2026 08:01:30 GMT", Some(90_000)),
            ("Sun, 21 Nov 2027 08:00:00 GMT", Some(3_600_000)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("-5", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("NaN", None),
        ] {
            assert_eq!(parse(value, now), expected, "{value:?}");
        }
    }
}
