//! What a pull brings, and what it must not miss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bench::{Bench, Checked, Verdict};
use super::station::{Station, words};
use crate::model::{Key, Value};
use crate::remote::{Marks, RemoteError};

/// The longest overlap that is waited for.
const OVERLAP_MAX: Duration = Duration::from_secs(15);
/// Devices that write at once, and what each writes.
const WRITERS: usize = 3;
const WRITES: usize = 8;
/// Rows of a batch that takes long to commit, as far as the config allows it.
const LARGE_BATCH: usize = 200;
/// How often the late are looked for.
const ROUNDS: usize = 3;

const NO_PULL: &str = "this kind has nothing to pull";

pub fn answers(bench: &mut Bench) -> Checked {
    if !bench.pulls() {
        return Ok(Verdict::Skipped(NO_PULL.to_owned()));
    }
    let came = bench.a.pull()?;
    bench.b.pull()?;
    Ok(Verdict::Passed(format!("{} rows", came.len())))
}

pub fn deleted_stays_deleted(bench: &mut Bench) -> Checked {
    if !bench.pulls() {
        return Ok(Verdict::Skipped(NO_PULL.to_owned()));
    }
    let key = bench.row("to be deleted")?;
    let table = bench.table().to_owned();
    bench.a.put(|station| vec![station.delete(&table, &key)])?;
    let fresh = bench.fresh()?;
    Ok(match bench.known(&fresh, &key) {
        None => Verdict::Passed("a new device does not hear of it".to_owned()),
        Some(_) => Verdict::Failed("a new device is told the deleted row".to_owned()),
    })
}

pub fn many_rows(bench: &mut Bench) -> Checked {
    let batch_rows = bench.ground.replica.limits.batch_rows_max.clamp(1, bench.rows_many.max(1));
    let count = if bench.pulls() { bench.rows_many } else { batch_rows };
    let table = bench.table().to_owned();
    bench.a.pull()?;
    let mut keys: Vec<Key> = Vec::new();
    while keys.len() < count {
        let rows: Vec<(Key, Vec<(String, Value)>)> = (0..batch_rows.min(count - keys.len()))
            .map(|at| {
                let key = bench.key();
                let row = bench.sample.row(&key, &format!("one of many, {at}"));
                (key, row)
            })
            .collect();
        keys.extend(rows.iter().map(|(key, _)| key.clone()));
        let made = |station: &Station| {
            rows.iter().map(|(key, row)| station.insert(&table, key.clone(), row.clone())).collect()
        };
        if let Err(error) = bench.a.put(made) {
            return Ok(Verdict::Failed(format!("a push of {} rows fails: {}", rows.len(), words(&error))));
        }
    }
    if !bench.pulls() {
        return Ok(Verdict::Passed(format!("a push of {count} operations")));
    }
    bench.b.pull()?;
    let fresh = bench.fresh()?;
    for (who, station) in [("a new device", &fresh), ("one that followed", &bench.b)] {
        let missing = keys.iter().filter(|key| bench.known(station, key).is_none()).count();
        if missing > 0 {
            return Ok(Verdict::Failed(format!("{who} misses {missing} of {count} rows")));
        }
    }
    Ok(Verdict::Passed(format!("{count} rows, written at once")))
}

pub fn pages_under_writes(bench: &mut Bench) -> Checked {
    if !bench.abilities().pages {
        return Ok(Verdict::Skipped("this kind has no pages to pull".to_owned()));
    }
    let mut slow = Station::new(&bench.ground)?;
    let mut came = Vec::new();
    if !slow.page(&mut came)? {
        return Ok(Verdict::Skipped("everything comes in one page".to_owned()));
    }
    let table = bench.table().to_owned();
    bench.a.pull()?;
    // Whatever the order of the pages, some of these come early and some late.
    let first: Vec<Key> =
        came.iter().filter(|row| row.table == table && row.row.is_some()).map(|row| row.key.clone()).collect();
    let mine = bench.view(&bench.a);
    let mut early: Vec<Key> =
        first.into_iter().filter(|key| mine.contains_key(&(table.clone(), key.clone()))).collect();
    early.truncate(6);
    let text = (bench.sample.text.clone(), Value::Text("moved while others pulled".to_owned()));
    for (at, key) in early.iter().enumerate() {
        bench.a.put(|station| match at % 2 {
            0 => vec![station.update(&table, key, &[(&text.0, text.1.clone())])],
            _ => vec![station.delete(&table, key)],
        })?;
    }
    bench.row("made while others pulled")?;
    while slow.page(&mut came)? {}
    slow.pull()?;
    let fresh = bench.fresh()?;
    let (expected, found) = (bench.view(&fresh), bench.view(&slow));
    let missing = expected.keys().filter(|name| !found.contains_key(name)).count();
    let stale = expected.iter().filter(|(name, row)| found.get(name).is_some_and(|other| other != *row)).count();
    let ghosts = found.keys().filter(|name| !expected.contains_key(name)).count();
    Ok(match (missing, stale, ghosts) {
        (0, 0, 0) => Verdict::Passed(format!("{} rows, {} of them touched meanwhile", expected.len(), early.len())),
        _ => Verdict::Failed(format!(
            "it misses {missing} rows, has {stale} as they were before, and {ghosts} that are deleted"
        )),
    })
}

pub fn nothing_new(bench: &mut Bench) -> Checked {
    if !bench.pulls() {
        return Ok(Verdict::Skipped(NO_PULL.to_owned()));
    }
    let overlap = Duration::from_millis(bench.ground.replica.remote.backend.overlap.max(0) as u64);
    if overlap > OVERLAP_MAX {
        return Ok(Verdict::Skipped(format!("`overlap` is longer than {} s", OVERLAP_MAX.as_secs())));
    }
    bench.row("before a quiet time")?;
    std::thread::sleep(overlap + Duration::from_millis(50));
    bench.b.pull()?;
    std::thread::sleep(overlap + Duration::from_millis(50));
    bench.b.pull()?;
    let again = bench.b.pull()?.len();
    Ok(match again {
        0 => Verdict::Passed("a quiet time costs nothing".to_owned()),
        again => Verdict::Failed(format!("nobody wrote, and {again} rows come again and again")),
    })
}

/// Chance is part of it: a fault of this kind shows only where a pull falls between a
/// row's time and its commit. So some write large batches, which take long to commit,
/// others small ones, which move the clock on meanwhile, and it is done again and again.
pub fn late_commits(bench: &mut Bench) -> Checked {
    if !bench.pulls() {
        return Ok(Verdict::Skipped(NO_PULL.to_owned()));
    }
    let mut written = 0;
    for round in 1..=ROUNDS {
        let (rows, missing) = write_while_reading(bench)?;
        written += rows;
        if missing > 0 {
            // A cursor has no time from which to begin a little earlier.
            let mend = match bench.abilities().marks {
                Marks::Time => "; where the backend cannot be mended, `overlap` in the config may be longer",
                _ => "",
            };
            return Ok(Verdict::Failed(format!(
                "in round {round}, of {rows} rows that {WRITERS} devices wrote at once, one that pulled meanwhile \
                 never hears of {missing}{mend}"
            )));
        }
    }
    Ok(Verdict::Passed(format!(
        "{written} rows by {WRITERS} devices at once in {ROUNDS} rounds, none missed; rarer than that could not be seen \
         from outside"
    )))
}

/// Rows that were written, and how many of them the reader never heard of.
fn write_while_reading(bench: &mut Bench) -> Result<(usize, usize), RemoteError> {
    let table = bench.table().to_owned();
    let large = bench.ground.replica.limits.batch_rows_max.clamp(1, LARGE_BATCH);
    let mut work = [const { Vec::new() }; WRITERS];
    for (at, rows) in work.iter_mut().enumerate() {
        for _ in 0..if writes_at_once(at) { large } else { WRITES } {
            let key = bench.key();
            let row = bench.sample.row(&key, "written while others pull");
            rows.push((key, row));
        }
    }
    let keys: Vec<Key> = work.iter().flatten().map(|(key, _)| key.clone()).collect();
    bench.b.pull()?;
    let writing = AtomicBool::new(true);
    let ground = &bench.ground;
    let reader = &mut bench.b;
    let done: Result<(), RemoteError> = std::thread::scope(|scope| {
        let writers: Vec<_> = work
            .into_iter()
            .enumerate()
            .map(|(at, rows)| {
                let table = &table;
                scope.spawn(move || -> Result<(), RemoteError> {
                    let mut station = Station::new(ground)?;
                    station.pull()?;
                    for rows in rows.chunks(if writes_at_once(at) { large } else { 1 }) {
                        station.put(|station| {
                            rows.iter().map(|(key, row)| station.insert(table, key.clone(), row.clone())).collect()
                        })?;
                    }
                    Ok(())
                })
            })
            .collect();
        let reading = scope.spawn(|| -> Result<(), RemoteError> {
            while writing.load(Ordering::Relaxed) {
                reader.pull()?;
            }
            Ok(())
        });
        let wrote: Vec<_> = writers.into_iter().map(|writer| writer.join().expect("BUG: a writer panicked")).collect();
        writing.store(false, Ordering::Relaxed);
        reading.join().expect("BUG: the reader panicked")?;
        wrote.into_iter().collect()
    });
    done?;
    bench.b.pull()?;
    let missing = keys.iter().filter(|key| bench.known(&bench.b, key).is_none()).count();
    Ok((keys.len(), missing))
}

/// Of the writers, who sends all its rows in one batch.
fn writes_at_once(writer: usize) -> bool {
    writer % 2 == 1
}

pub fn copies_agree(bench: &mut Bench) -> Checked {
    if !bench.pulls() {
        return Ok(Verdict::Skipped(NO_PULL.to_owned()));
    }
    // One last deletion, so that there is something to forget.
    let key = bench.shared_row("the last")?;
    let table = bench.table().to_owned();
    bench.a.put(|station| vec![station.delete(&table, &key)])?;
    bench.b.pull()?;
    let fresh = bench.fresh()?;
    let (expected, found) = (bench.view(&fresh), bench.view(&bench.b));
    let differ = expected.iter().filter(|(name, row)| found.get(name) != Some(row)).count()
        + found.keys().filter(|name| !expected.contains_key(name)).count();
    Ok(match differ {
        0 => Verdict::Passed(format!("{} rows are the same", expected.len())),
        differ => Verdict::Failed(format!("{differ} of {} rows differ", expected.len().max(found.len()))),
    })
}
