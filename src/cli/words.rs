//! Times, sizes and counts as people say them, and durations as people type them.

use std::time::Duration;

const UNITS: [(&str, i64); 4] = [("day", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];

/// A stretch of milliseconds in its largest unit: `240 ms`, `12 s`, `3 min`, `2 days`.
pub fn span(millis: i64) -> String {
    let millis = millis.max(0);
    match UNITS.iter().find(|(_, unit)| millis >= *unit) {
        Some(("day", unit)) => count((millis / unit) as u64, "day"),
        Some((name, unit)) => format!("{} {name}", millis / unit),
        None => format!("{millis} ms"),
    }
}

/// How long ago a time was; what lies in the future by a wrong clock is "just now".
pub fn ago(then: i64, now: i64) -> String {
    if now - then < 1_000 { "just now".to_owned() } else { format!("{} ago", span(now - then)) }
}

/// A time in the past: how long ago within a day, else the date.
pub fn moment(then: i64, now: i64) -> String {
    if now - then < 86_400_000 { ago(then, now) } else { utc(then) }
}

pub fn until(then: i64, now: i64) -> String {
    if then - now < 1_000 { "now".to_owned() } else { format!("in {}", span(then - now)) }
}

/// `812 B`, `1.2 kB`, `34 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    if unit == 0 || amount >= 9.95 {
        format!("{amount:.0} {}", UNITS[unit])
    } else {
        format!("{amount:.1} {}", UNITS[unit])
    }
}

/// `1 change`, `336,776 changes`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(number), if number == 1 { "" } else { "s" })
}

pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The time of day, `14:05:09Z`.
pub fn clock(millis: i64) -> String {
    utc(millis).split_off(11)
}

/// Milliseconds since 1970 as `2026-03-01 14:05:09Z`.
fn utc(millis: i64) -> String {
    let seconds = millis.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Counting from 1 March of the year 0 puts the leap day at the end of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// A duration as it is typed: `500ms`, `60s`, `5m`, `1h`, `30d`; a bare number is seconds.
pub fn parse_duration(typed: &str) -> Result<Duration, String> {
    let digits = typed.len() - typed.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, unit) = typed.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected a number and ms, s, m, h or d, such as 60s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number first, such as 60s".to_owned())?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "longer than time itself".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_largest_unit() {
        for (millis, said) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (12_999, "12 s"),
            (60_000, "1 min"),
            (7_300_000, "2 h"),
            (86_400_000, "1 day"),
            (200_000_000, "2 days"),
        ] {
            assert_eq!(span(millis), said);
        }
        assert_eq!(ago(1_000, 13_000), "12 s ago");
        assert_eq!(ago(13_000, 1_000), "just now");
        assert_eq!(moment(0, 7_200_000), "2 h ago");
        assert_eq!(moment(0, 86_400_000), "1970-01-01 00:00:00Z");
        assert_eq!(clock(86_400_000 + 3_661_000), "01:01:01Z");
        assert_eq!(until(13_000, 1_000), "in 12 s");
    }

    #[test]
    fn sizes_and_counts_are_short() {
        for (bytes, said) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_250_000, "1.2 MB"),
            (34_000_000, "34 MB"),
            (999_600, "1.0 MB"),
        ] {
            assert_eq!(size(bytes), said);
        }
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(336_776, "row"), "336,776 rows");
        assert_eq!(thousands(1_000), "1,000");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_827_696_000), "2000-02-29 12:34:56Z");
        assert_eq!(utc(1_772_323_200_000), "2026-03-01 00:00:00Z");
        assert_eq!(utc(-1_000), "1969-12-31 23:59:59Z");
    }

    #[test]
    fn durations_are_read_as_typed() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("60"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
