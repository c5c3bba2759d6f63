//! Values on their way there and back.

use super::bench::{Bench, Checked, Verdict};
use crate::model::{Key, Value};
use crate::remote::RemoteError;

const TEXTS: &[&str] = &[
    "plain",
    "  spaces around  ",
    "quotes \" ' ` and \\ backslashes",
    "lines\nand\ttabs",
    "Grüße, ελληνικά, 你好, עברית",
    "\u{1f41d}\u{1f469}\u{200d}\u{1f33e}",
    // One letter in two characters: to be normalised is to be changed.
    "e\u{301}",
    "0012.50",
    "null",
    "<b>&amp;</b> %41 + ${x}",
];

pub fn round_trip(bench: &mut Bench) -> Checked {
    let key = bench.row("a first row")?;
    if !bench.pulls() {
        return Ok(Verdict::Passed("the row was taken; this kind has nothing to pull".to_owned()));
    }
    bench.b.pull()?;
    let Some(known) = bench.known(&bench.b, &key) else {
        return Ok(Verdict::Failed(format!("the new row of {} did not come", bench.table())));
    };
    for (name, sent) in bench.sample.row(&key, "a first row") {
        match known.values.get(&name) {
            Some(came) if *came == sent => {}
            Some(_) => return Ok(Verdict::Failed(format!("{}.{name} came back as another value", bench.table()))),
            None if sent.is_null() => {}
            None => return Ok(Verdict::Failed(format!("{}.{name} did not come back", bench.table()))),
        }
    }
    Ok(Verdict::Passed(format!("every column of {}", bench.table())))
}

pub fn text(bench: &mut Bench) -> Checked {
    compare(bench, TEXTS.iter().map(|text| Value::Text((*text).to_owned())).collect())
}

pub fn long_text(bench: &mut Bench) -> Checked {
    compare(bench, vec![Value::Text("long é ".repeat(100_000 / 7))])
}

pub fn null_and_empty(bench: &mut Bench) -> Checked {
    match bench.sample.may_be_null() {
        true => compare(bench, vec![Value::Null, Value::Text(String::new())]),
        false => Ok(Verdict::Skipped(format!("{}.{} may not be NULL", bench.table(), bench.sample.text))),
    }
}

pub fn whole_numbers(bench: &mut Bench) -> Checked {
    let Some(column) = bench.sample.whole.clone() else {
        return Ok(Verdict::Skipped(format!("{} has no free column of whole numbers", bench.table())));
    };
    let values = [0, 1, (1 << 31) + 5, (1 << 53) - 1].map(Value::Integer).to_vec();
    compare_in(bench, &column, values)
}

pub fn reals(bench: &mut Bench) -> Checked {
    let Some(column) = bench.sample.real.clone() else {
        return Ok(Verdict::Skipped(format!("{} has no free column of reals", bench.table())));
    };
    compare_in(bench, &column, [0.1, 1.0, 2.675, 1234567.891, 1e15 + 0.5].map(Value::Real).to_vec())
}

fn compare(bench: &mut Bench, values: Vec<Value>) -> Checked {
    let column = bench.sample.text.clone();
    compare_in(bench, &column, values)
}

/// Sends a row for each value, and sees what another device is told.
fn compare_in(bench: &mut Bench, column: &str, values: Vec<Value>) -> Checked {
    if !bench.pulls() {
        return Ok(Verdict::Skipped("this kind has nothing to pull".to_owned()));
    }
    let mut sent: Vec<(Key, &Value)> = Vec::new();
    for value in &values {
        let key = bench.key();
        let text = (bench.sample.text.as_str(), Value::Text("a value".to_owned()));
        let row = bench.sample.row_with(&key, &[(column, value.clone()), text]);
        let table = bench.table().to_owned();
        match bench.a.put(|station| vec![station.insert(&table, key.clone(), row.clone())]) {
            Ok(()) => sent.push((key, value)),
            // Loud: the app's developer hears of it, and nothing is altered.
            Err(RemoteError::Refused(said)) => {
                return Ok(Verdict::Failed(format!("{} is refused: {said}", shown(value))));
            }
            Err(other) => return Err(other),
        }
    }
    bench.b.pull()?;
    for (key, value) in &sent {
        let came = bench.known(&bench.b, key).map(|known| known.values.get(column).cloned().unwrap_or_default());
        match came {
            Some(came) if came == **value => {}
            Some(came) => return Ok(Verdict::Failed(format!("{} came back as {}", shown(value), shown(&came)))),
            None => return Ok(Verdict::Failed(format!("the row with {} did not come", shown(value)))),
        }
    }
    Ok(Verdict::Passed(format!("{} values of {}.{column}", sent.len(), bench.table())))
}

/// A value of this test's own, short enough for a line.
fn shown(value: &Value) -> String {
    let text = serde_json::to_string(value).expect("BUG: a value is always JSON");
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
        None => text,
    }
}
