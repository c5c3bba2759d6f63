//! One conflict, side by side: base, mine and theirs, a line a column, and what stands.
//!
//! Only what differs is drawn. Changed values have a `*`, changed words within them
//! colour, or `«»` without colour: nothing depends on it. Fits the terminal it is on;
//! long values are broken into lines, and of very long ones the rest is counted.
//!
//! ```text
//!            base        mine            theirs (phone)
//! title      Buy milk  * Buy «bread»   * Buy «eggs»
//! = theirs
//! ```

use serde_json::Value as Json;

use super::diff::{self, Part};
use super::{kind_words, settled_words};
use crate::cli::context::Paint;
use crate::cli::table::{self, cut, wrap};
use crate::cli::words;
use crate::model::status::ConflictEntry;
use crate::model::text::printable;

/// Where nothing says how wide it may be.
const WIDTH: usize = 120;
const WIDTH_MIN: usize = 48;
const LABEL_MAX: usize = 20;
const LINES_MAX: usize = 16;
const GAP: usize = 2;

pub fn sides(conflict: &ConflictEntry, paint: &Paint, width: usize, now: i64) -> String {
    let width = if width == usize::MAX { WIDTH } else { width.max(WIDTH_MIN) };
    let mut out = head(conflict, paint, width, now);
    let mut same = Vec::new();
    let mut drawn = Vec::new();
    for column in columns(conflict) {
        let value = |side: &Option<Json>| side.as_ref().and_then(|side| side.get(&column)).cloned();
        let [base, local, remote, result] =
            [&conflict.base, &conflict.local, &conflict.remote, &conflict.result].map(value);
        let present: Vec<&Json> = [&base, &local, &remote].into_iter().flatten().collect();
        let whole = conflict.local.is_some() && conflict.remote.is_some();
        if whole && present.windows(2).all(|pair| pair[0] == pair[1]) && result.as_ref() == present.first().copied() {
            same.push(printable(&column));
        } else {
            drawn.push(Line { column, base, local, remote, result });
        }
    }
    out.push('\n');
    out.push_str(&grid(conflict, &drawn, paint, width));
    if !same.is_empty() {
        out.push('\n');
        out.push_str(&paint.dim(&wrap(&format!("the same everywhere: {}", same.join(", ")), 0, width)));
    }
    out
}

struct Line {
    column: String,
    base: Option<Json>,
    local: Option<Json>,
    remote: Option<Json>,
    result: Option<Json>,
}

fn head(conflict: &ConflictEntry, paint: &Paint, width: usize, now: i64) -> String {
    let mut out = format!(
        "conflict {} in {}: {} {}, {}, {}\n{}\n",
        conflict.id,
        printable(&conflict.replica),
        paint.strong(&printable(&conflict.table)),
        paint.strong(&printable(&conflict.key)),
        kind_words(&conflict.kind),
        words::moment(conflict.at, now),
        settled_words(conflict),
    );
    let mut say = |text: &str| out.push_str(&wrap(&printable(text), 0, width));
    match conflict.settled_by.as_deref() {
        _ if conflict.note.is_empty() => {}
        // The note says what the rule did; a person has decided since.
        Some("person") => say(&format!("Before that: {}", conflict.note)),
        _ => say(&conflict.note),
    }
    let wrote = |at: Option<i64>| at.map(|at| format!(", written {}", words::moment(at, now))).unwrap_or_default();
    if conflict.local_at.is_some() || conflict.remote_at.is_some() {
        say(&format!("mine{}; theirs{}", wrote(conflict.local_at), wrote(conflict.remote_at)));
    }
    if conflict.base.is_none() {
        say("base: not known");
    }
    let deleted = |side: &Option<Json>| side.is_none();
    if deleted(&conflict.local) {
        say("mine: the row is deleted");
    }
    if deleted(&conflict.remote) {
        say("theirs: the row is deleted");
    }
    if conflict.settled_by.is_none() {
        let id = conflict.id;
        let question = match (deleted(&conflict.local), deleted(&conflict.remote)) {
            (false, true) => "You changed this row and the other side deleted it. Keep yours, or accept the deletion?",
            (true, false) => "You deleted this row and the other side changed it. Keep it deleted, or take theirs?",
            _ => "Which is to stand?",
        };
        say(question);
        out.push_str(&format!(
            "  homing conflicts resolve {id} --take mine\n  homing conflicts resolve {id} --take theirs\n"
        ));
    }
    out
}

fn grid(conflict: &ConflictEntry, lines: &[Line], paint: &Paint, width: usize) -> String {
    let longest = lines.iter().map(|line| table::width(&printable(&line.column))).max().unwrap_or(0);
    let label = longest.max("= theirs".len()).min(LABEL_MAX.min(width / 5));
    let cell = ((width - label) / 3).saturating_sub(GAP + 2).max(8);
    let theirs = match conflict.remote_device.as_str() {
        "" => "theirs".to_owned(),
        device => format!("theirs ({})", printable(device)),
    };
    let mut out = String::new();
    let head = ["base".to_owned(), "mine".to_owned(), theirs];
    let named: Vec<String> = head.iter().map(|name| pad(&cut(name, cell), cell)).collect();
    let line = format!("{}    {}", " ".repeat(label), named.join("    "));
    out.push_str(&format!("{}\n", paint.dim(line.trim_end())));
    for line in lines {
        let before = line.base.as_ref().map(text);
        let beside = |own: &Option<Json>, other: &Option<Json>| -> Vec<Shown> {
            let Some(own) = own else { return Vec::new() };
            // Without a base the two sides are compared with each other.
            let known = before.clone().or_else(|| other.as_ref().map(text));
            let parts = match &known {
                Some(known) => diff::parts(known, &text(own)),
                None => vec![Part { text: text(own), news: false }],
            };
            broken(&parts, cell, paint)
        };
        let changed = |own: &Option<Json>, other: &Option<Json>| match (&line.base, own) {
            (Some(base), Some(own)) => base != own,
            (None, Some(_)) => own != other,
            (_, None) => false,
        };
        let plain = before.iter().flat_map(|text| broken(&[Part { text: text.clone(), news: false }], cell, paint));
        let cells = [
            (false, plain.collect::<Vec<_>>()),
            (changed(&line.local, &line.remote), beside(&line.local, &line.remote)),
            (changed(&line.remote, &line.local), beside(&line.remote, &line.local)),
        ];
        let (stands, value) = stands(conflict, line);
        let height = cells.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0).max(2);
        for at in 0..height {
            let name = match at {
                0 => paint.strong(&pad(&cut(&printable(&line.column), label), label)),
                1 => paint.dim(&pad(stands, label)),
                _ => " ".repeat(label),
            };
            let mut drawn = name;
            for (changed, lines) in &cells {
                let star = if *changed && at == 0 { "*" } else { " " };
                let (text, used) = lines.get(at).map_or(("", 0), |shown| (shown.text.as_str(), shown.width));
                drawn.push_str(&format!("  {star} {text}{}", " ".repeat(cell.saturating_sub(used))));
            }
            out.push_str(drawn.trim_end());
            out.push('\n');
        }
        for text in value {
            let indent = label + GAP + 2;
            out.push_str(&wrap(&text, indent, width));
        }
    }
    out
}

/// Whose value stands, and the value where it is nobody's.
fn stands(conflict: &ConflictEntry, line: &Line) -> (&'static str, Vec<String>) {
    if conflict.result.is_none() {
        return ("= deleted", Vec::new());
    }
    match &line.result {
        result if *result == line.local && *result == line.remote => ("= both", Vec::new()),
        result if *result == line.remote => ("= theirs", Vec::new()),
        result if *result == line.local => ("= mine", Vec::new()),
        result if *result == line.base && result.is_some() => ("= base", Vec::new()),
        Some(result) => ("=", vec![format!("= {}", text(result).replace('\n', " "))]),
        None => ("", Vec::new()),
    }
}

/// A line of a cell: what is printed, and the columns it takes.
struct Shown {
    text: String,
    width: usize,
}

/// Parts in lines of at most `width` columns.
fn broken(parts: &[Part], width: usize, paint: &Paint) -> Vec<Shown> {
    let marks = if paint.is_on() { ("", "") } else { ("«", "»") };
    let mut lines: Vec<Shown> = vec![Shown { text: String::new(), width: 0 }];
    let mut left_out = 0;
    for part in parts {
        let pieces = part.text.split('\n').enumerate();
        for (at, piece) in pieces {
            if at > 0 {
                lines.push(Shown { text: String::new(), width: 0 });
            }
            let mut rest = printable(piece);
            while !rest.is_empty() {
                let marked = if part.news { table::width(marks.0) + table::width(marks.1) } else { 0 };
                let line = lines.last_mut().expect("BUG: there is always a line");
                let room = width.saturating_sub(line.width + marked);
                let (head, tail) = split(&rest, room, line.width == 0);
                if head.is_empty() {
                    lines.push(Shown { text: String::new(), width: 0 });
                    continue;
                }
                line.width += table::width(&head) + marked;
                line.text.push_str(&match part.news {
                    true => paint.waiting(&format!("{}{head}{}", marks.0, marks.1)),
                    false => head,
                });
                rest = tail;
            }
        }
    }
    if lines.len() > LINES_MAX {
        left_out += lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        let told = cut(&format!("… {left_out} more lines"), width);
        lines.push(Shown { width: table::width(&told), text: paint.dim(&told) });
    }
    lines
}

/// As much as fits, broken after a space where there is one. An empty line takes at
/// least one character.
fn split(text: &str, room: usize, empty: bool) -> (String, String) {
    if table::width(text) <= room {
        return (text.to_owned(), String::new());
    }
    let mut used = 0;
    let mut end = 0;
    let mut space = None;
    for (at, mark) in text.char_indices() {
        used += table::width(mark.encode_utf8(&mut [0; 4]));
        if used > room && !(empty && end == 0) {
            break;
        }
        end = at + mark.len_utf8();
        if mark == ' ' {
            space = Some(end);
        }
    }
    let end = match space {
        Some(space) => space,
        None if !empty => 0,
        None => end,
    };
    (text[..end].to_owned(), text[end..].to_owned())
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(table::width(text))))
}

/// Every column that any side has, in the order the sides list them.
fn columns(conflict: &ConflictEntry) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for side in [&conflict.base, &conflict.local, &conflict.remote, &conflict.result].into_iter().flatten() {
        for name in side.as_object().into_iter().flat_map(|object| object.keys()) {
            if !out.contains(name) {
                out.push(name.clone());
            }
        }
    }
    out
}

/// A value for people: text without its quotes, JSON in lines where it is long, of a
/// blob its length and its first bytes.
fn text(value: &Json) -> String {
    const BLOB_SHOWN: usize = 32;
    const JSON_LINE_MAX: usize = 40;
    match value {
        Json::String(text) if text.len() > JSON_LINE_MAX && text.trim_start().starts_with(['{', '[']) => spread(text),
        Json::String(text) => text.clone(),
        Json::Null => "(none)".to_owned(),
        Json::Object(tagged) => match tagged.get("blob").and_then(Json::as_str) {
            Some(hex) if hex.len() > BLOB_SHOWN => {
                format!("{} bytes: {}…", hex.len() / 2, &hex[..BLOB_SHOWN])
            }
            Some(hex) => format!("{} bytes: {hex}", hex.len() / 2),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// JSON with a line for each member, every digit as it is written. What is no JSON is
/// left as it is.
fn spread(json: &str) -> String {
    if serde_json::from_str::<serde::de::IgnoredAny>(json).is_err() {
        return json.to_owned();
    }
    let mut out = String::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for mark in json.chars() {
        if quoted {
            out.push(mark);
            quoted = escaped || mark != '"';
            escaped = !escaped && mark == '\\';
            continue;
        }
        let line = |out: &mut String, depth: usize| {
            out.push('\n');
            out.push_str(&" ".repeat(depth));
        };
        match mark {
            '{' | '[' => {
                depth += 1;
                out.push(mark);
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(mark);
            }
            ',' => {
                out.push(mark);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                quoted = true;
                out.push(mark);
            }
            mark if mark.is_whitespace() => {}
            mark => out.push(mark),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::conflict;
    use super::*;

    #[test]
    fn a_conflict_is_drawn_side_by_side_on_eighty_columns() {
        let text = sides(&conflict(), &Paint::plain(), 80, 180_000);
        let expected = "\
conflict 12 in notes: tasks [\"7\"], changed on both sides, 3 min ago
settled by latest_timestamp

            base                    mine                    theirs (ada-phone)
done        0                       0                     * «1»
= theirs
title       Buy milk              * Buy «bread»           * Buy «eggs»
= theirs

the same everywhere: id
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn every_line_fits_whatever_the_width() {
        let long = "All the words of a long text that goes on and on, ".repeat(12);
        let mut wide = conflict();
        wide.base = Some(
            json!({"id": "7", "body": long, "meta": "{\"a\":12345678901234567890,\"b\":[1,2,{\"c\":\"d,e\"}],\"long\":true}"}),
        );
        wide.local = Some(json!({"id": "7", "body": long.replace("goes", "went"), "meta": "{}"}));
        wide.remote = Some(json!({"id": "7", "body": "日本語".repeat(40), "meta": {"blob": "00ff".repeat(40)}}));
        wide.result = Some(json!({"id": "7", "body": "neither of them", "meta": null}));
        for width in [48, 80, 160] {
            let text = sides(&wide, &Paint::plain(), width, 0);
            let grid = text.split_once("\n\n").unwrap().1;
            let wider = grid.lines().find(|line| table::width(line) > width);
            assert_eq!(wider, None, "{width}\n{text}");
            assert!(grid.contains("«went»"), "{text}");
            assert!(text.contains("= neither of them"), "{text}");
        }
        let text = sides(&wide, &Paint::plain(), 160, 0);
        assert!(text.contains("\"a\": 12345678901234567890,") && text.contains("«80 bytes»"), "{text}");
    }

    #[test]
    fn a_delete_against_an_edit_is_asked_in_words() {
        let gone = ConflictEntry { remote: None, result: None, settled_by: None, ..conflict() };
        let text = sides(&ConflictEntry { kind: "update_delete".into(), ..gone }, &Paint::plain(), 80, 0);
        assert!(text.contains("changed here, deleted there") && text.contains("waits for you"), "{text}");
        assert!(text.contains("theirs: the row is deleted\nYou changed this row and the other side deleted it. Keep yours, or accept the"), "{text}");
        assert!(text.contains("homing conflicts resolve 12 --take mine") && text.contains("= deleted"), "{text}");
    }

    #[test]
    fn without_a_base_the_sides_are_compared_with_each_other() {
        let text = sides(&ConflictEntry { base: None, ..conflict() }, &Paint::plain(), 80, 0);
        assert!(text.contains("base: not known\n") && text.ends_with("\nthe same everywhere: id\n"), "{text}");
        assert!(text.contains("* Buy «bread»") && text.contains("* Buy «eggs»"), "{text}");
    }
}
