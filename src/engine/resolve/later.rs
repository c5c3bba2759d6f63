//! Which of two versions was written later.
//!
//! By the app's own columns where the config names some: a revision, milliseconds, an
//! ISO time, the first that both sides have and that differ; else by the hybrid clock.
//! The answer is the same on every device. A column's time that lies in the future is
//! not believed: a device whose clock runs ahead would win for ever.

use std::cmp::Ordering;

use crate::model::conflict::{Meeting, Verdict};
use crate::model::{Policy, Value};

/// How far ahead a time may be: clocks are never quite equal.
const AHEAD_MILLIS_MAX: i64 = 60_000;

/// The side that is later, and a clause that says so.
pub(super) fn later(policy: &Policy, meeting: &Meeting) -> (Verdict, String) {
    let (order, by) = by_columns(policy, meeting).unwrap_or_else(|| {
        let order = meeting.local_stamp.cmp(&meeting.remote_stamp);
        (order, String::new())
    });
    let by_device = || meeting.local_device.cmp(meeting.remote_device);
    // Without meaning, but the same on every device.
    let local_wins = order.then_with(by_device).then_with(|| meeting.local.cmp(&meeting.remote)).is_gt();
    let verdict = if local_wins { Verdict::KeepLocal } else { Verdict::TakeRemote };
    let whose = if local_wins { "this device's version" } else { "the remote's version" };
    let note = match order {
        Ordering::Equal => {
            format!("both were written at the same time; {whose} stands by the order of device names")
        }
        _ => format!("{whose} is the later one{by} and stands"),
    };
    (verdict, note)
}

/// The order by the first of the configured columns that has one.
fn by_columns(policy: &Policy, meeting: &Meeting) -> Option<(Ordering, String)> {
    let (local, remote) = (meeting.local?, meeting.remote?);
    let millis_max = meeting.now.millis().saturating_add(AHEAD_MILLIS_MAX);
    type Read = fn(&Value, i64) -> Option<i64>;
    let times = &policy.times;
    let columns: [(&Option<String>, Read); 3] =
        [(&times.revision, revision), (&times.milliseconds, milliseconds), (&times.iso, iso)];
    columns.into_iter().find_map(|(name, read)| {
        let name = name.as_ref()?;
        let at = super::place(meeting, name)?;
        let order = read(&local[at], millis_max)?.cmp(&read(&remote[at], millis_max)?);
        (order != Ordering::Equal).then(|| (order, format!(" by {name}")))
    })
}

fn revision(value: &Value, _: i64) -> Option<i64> {
    if let Value::Integer(number) = value { Some(*number) } else { None }
}

fn milliseconds(value: &Value, millis_max: i64) -> Option<i64> {
    revision(value, millis_max).filter(|millis| *millis <= millis_max)
}

/// Microseconds since 1970.
fn iso(value: &Value, millis_max: i64) -> Option<i64> {
    let Value::Text(text) = value else { return None };
    parse_iso(text).filter(|micros| micros.div_euclid(1_000) <= millis_max)
}

/// `2026-03-01T14:05:09.123456+01:00` in microseconds since 1970. Seconds, their parts
/// and the zone may be left out; no zone is UTC.
fn parse_iso(text: &str) -> Option<i64> {
    let text = text.trim();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let mark = |at: usize, marks: &str| text.get(at..at + 1).filter(|found| marks.contains(*found));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    mark(4, "-").and(mark(7, "-"))?;
    let days = days_since_1970(year, month, day)?;
    if text.len() == 10 {
        return Some(days * 86_400_000_000);
    }
    mark(10, "Tt ").and(mark(13, ":"))?;
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    let mut at = 16;
    let mut second = 0;
    if mark(at, ":").is_some() {
        second = number(17, 19)?;
        at = 19;
    }
    let mut micros = 0;
    if mark(at, ".,").is_some() {
        let digits = text.get(at + 1..)?.bytes().take_while(u8::is_ascii_digit).count();
        let counted = digits.min(6);
        micros = number(at + 1, at + 1 + counted)? * 10_i64.pow(6 - counted as u32);
        at += 1 + digits;
    }
    let zone = match text.get(at..)? {
        "" | "Z" | "z" => 0,
        zone => {
            let sign = match zone.as_bytes()[0] {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let hours = number(at + 1, at + 3)?;
            let minutes = match zone.len() {
                3 => 0,
                5 => number(at + 3, at + 5)?,
                6 => mark(at + 3, ":").and_then(|_| number(at + 4, at + 6))?,
                _ => return None,
            };
            sign * (hours * 60 + minutes)
        }
    };
    if hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = hour * 60 + minute - zone;
    Some(((days * 1_440 + minutes) * 60 + second) * 1_000_000 + micros)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Counting from 1 March puts the leap day at the end of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::parse_iso;

    #[test]
    fn iso_times_are_read_as_they_are_written() {
        for (text, micros) in [
            ("1970-01-01", Some(0)),
            ("1970-01-01T00:00Z", Some(0)),
            ("1970-01-01 00:00:01", Some(1_000_000)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("1970-01-01T00:00:00.5-0030", Some(1_800_500_000)),
            ("1970-01-01T00:00:00.123456789Z", Some(123_456)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000_000)),
            ("2026-11-21T11:05:00.000Z", Some(1_795_259_100_000_000)),
            ("1969-12-31T23:59:59Z", Some(-1_000_000)),
            ("2026-13-01", None),
            ("2026-1-1", None),
            ("yesterday", None),
            ("2026-01-01T1:00", None),
            ("2026-01-01T10:00x", None),
            ("é026-01-01T10:00", None),
            ("", None),
        ] {
            assert_eq!(parse_iso(text), micros, "{text}");
        }
    }
}
