//! ISO 8601 times, as backends write them, to milliseconds since 1970 and back.
//!
//! What is written ends in `Z` and has milliseconds. What is read may have any number of
//! digits after the second, an offset, or none (then it is UTC), `T` or a space. No
//! other calendar, no leap seconds.

/// `2025-12-18T10:30:00.000Z`.
pub fn format(millis: i64) -> String {
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = date(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1_000 % 60, of_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Milliseconds since 1970; finer digits are cut off. `None` for what is no such time.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let date_part = text.get(..10)?;
    let mut parts = date_part.split('-');
    let mut number = |len: usize| parts.next().filter(|part| part.len() == len).and_then(digits);
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let midnight = days(year, month, day) * 86_400_000;
    let rest = &text[10..];
    let Some(clock) = rest.strip_prefix(['T', 't', ' ']) else { return rest.is_empty().then_some(midnight) };
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    Some(midnight + time_of_day(clock)? - offset(zone)?)
}

fn time_of_day(clock: &str) -> Option<i64> {
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = whole.split(':');
    let mut number = || parts.next().filter(|part| part.len() == 2).and_then(digits);
    let (hour, minute) = (number()?, number()?);
    let second = if whole.len() > 5 { number()? } else { 0 };
    if hour > 24 || minute > 59 || second > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(((hour * 60 + minute) * 60 + second) * 1_000 + digits(&padded)?)
}

fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None | Some(b'Z' | b'z') => return (zone.len() <= 1).then_some(0),
        Some(b'-') => -1,
        _ => 1,
    };
    let bare: String = zone[1..].chars().filter(|mark| *mark != ':').collect();
    let (hours, minutes) = match bare.len() {
        2 => (digits(&bare)?, 0),
        4 => (digits(&bare[..2])?, digits(&bare[2..])?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes) * 60_000)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Days since 1970 of a date of the Gregorian calendar: years begin in March, so that a
/// leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_backends_write_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2025-12-18T10:30:00Z", Some(1_766_053_800_000)),
            ("2025-12-18T10:30:00.5Z", Some(1_766_053_800_500)),
            ("2025-12-18T10:30:00.123456+00:00", Some(1_766_053_800_123)),
            ("2025-12-18T12:30:00+0200", Some(1_766_053_800_000)),
            ("2025-12-18T05:00-05:30", Some(1_766_053_800_000)),
            ("2025-12-18 10:30:00", Some(1_766_053_800_000)),
            ("2024-02-29", Some(1_709_164_800_000)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("", None),
            ("soon", None),
            ("2025-13-01", None),
            ("2025-12-18T10", None),
            ("2025-12-18X10:30", None),
            ("2025-12-18T10:30:00Zed", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for millis in [0, -1, 1, 951_782_400_000, 951_868_799_999, 1_766_053_800_123, 4_102_444_800_000] {
            assert_eq!(parse(&format(millis)), Some(millis), "{}", format(millis));
        }
        assert_eq!(format(951_782_400_000), "2000-02-29T00:00:00.000Z");
    }
}
