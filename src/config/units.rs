//! How quantities are written: durations, sizes, URLs.
//!
//! Durations carry their unit (`250ms`, `3s`, `5m`, `1h30m`, `7d`): a bare number is
//! somebody's seconds and somebody else's milliseconds. Sizes may carry one: `1MB` is
//! 1,000,000 bytes, `1MiB` is 1,048,576.

use super::kind::Wrong;
use crate::model::settings::Millis;

const SECOND: Millis = 1_000;
const DAY: Millis = 86_400 * SECOND;

/// Milliseconds of `250ms`, `3s`, `5m`, `2h`, `7d` and sums of them like `1h30m`.
pub(super) fn duration(text: &str) -> Option<Millis> {
    const UNITS: [(&str, Millis); 5] =
        [("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND), ("d", DAY)];
    let mut rest = text.trim();
    let mut sum: Millis = 0;
    let mut unit_before = Millis::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|mark: char| !mark.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|mark: char| !mark.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if *unit >= unit_before {
            return None;
        }
        sum = sum.checked_add(number.parse::<Millis>().ok()?.checked_mul(*unit)?)?;
        unit_before = *unit;
        rest = after.trim_start();
    }
    (unit_before != Millis::MAX).then_some(sum)
}

/// The shortest way to write a duration.
pub(super) fn in_units(millis: Millis) -> String {
    [(DAY, "d"), (3_600 * SECOND, "h"), (60 * SECOND, "m"), (SECOND, "s")]
        .into_iter()
        .find(|(unit, _)| millis >= *unit && millis % unit == 0)
        .map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

/// Bytes of `1000`, `10kB`, `1MB`, `1MiB` …
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|mark: char| !mark.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A size in the largest unit that says it exactly.
pub(super) fn in_bytes(bytes: u64) -> String {
    [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// A URL as requests take it, without a slash at its end.
pub(super) fn url(text: &str) -> Result<String, Wrong> {
    let example = || "write it like \"https://hub.example.org\"".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(|| ("it is not a URL".to_owned(), example()))?;
    if !["http", "https"].contains(&scheme) {
        return Err((
            format!("a remote is not reached by `{scheme}`"),
            "write https://, or http:// on this machine".into(),
        ));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(("a URL in a config holds no name and no password".into(), "use token_file".into()));
    }
    if host.is_empty() || host.starts_with(':') || text.contains(|mark: char| mark.is_whitespace() || mark.is_control())
    {
        return Err(("it is not a URL".into(), example()));
    }
    if rest.contains(['?', '#']) {
        return Err(("it ends in a query or a fragment".into(), "leave out what begins with `?` or `#`".into()));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("3s", 3_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1d 12h", 129_600_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(millis), "{text}");
        }
        for text in
            ["", "5", "m", "5 m", "5min", "-3s", "1.5s", "3s3s", "30m1h", "99999999999999999999d", "9999999999999d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_shortest_duration_is_told_in_units_that_can_be_written_back() {
        for text in ["1ms", "250ms", "1s", "90s", "2m", "3h", "7d"] {
            assert_eq!(in_units(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_bytes_or_carry_a_unit() {
        for (text, bytes) in
            [("1000", 1_000), ("10kB", 10_000), ("1MB", 1_000_000), ("1MiB", 1_048_576), ("2 gib", 2_147_483_648)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["1000", "1KiB", "3MiB", "2GiB"] {
            assert_eq!(in_bytes(size(text).unwrap()), text);
        }
        for text in ["", "MB", "1TB", "-1", "1.5MB", "99999999999GB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn a_url_is_http_without_name_password_query_or_fragment() {
        for text in ["https://hub.example.org", "http://127.0.0.1:8080", "https://[::1]:8443/homing"] {
            assert_eq!(url(text).as_deref(), Ok(text));
        }
        assert_eq!(url("https://hub.example.org/").as_deref(), Ok("https://hub.example.org"));
        for text in [
            "hub.example.org",
            "ftp://hub",
            "file:///etc/passwd",
            "https://",
            "https://:80",
            "https://a b",
            "https://name:hush@hub",
            "https://hub?x=1",
            "https://hub#x",
            "https://hub\n",
        ] {
            let (text, hint) = url(text).expect_err(text);
            assert!(!text.contains("hush") && !hint.contains("hush"), "the password is not repeated");
        }
    }
}
