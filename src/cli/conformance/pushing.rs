//! What becomes of what is pushed.

use super::bench::{Bench, Checked, Verdict, refused};
use super::station::words;
use crate::model::{Outcome, Value};
use crate::remote::RemoteError;

pub fn update(bench: &mut Bench) -> Checked {
    let key = bench.shared_row("before")?;
    let before = bench.known(&bench.b, &key).map(|known| known.values.clone()).unwrap_or_default();
    let (table, column) = (bench.table().to_owned(), bench.sample.text.clone());
    let text = Value::Text("after".to_owned());
    bench.a.put(|station| vec![station.update(&table, &key, &[(&column, text.clone())])])?;
    if !bench.pulls() {
        return Ok(Verdict::Passed("the edit was taken".to_owned()));
    }
    bench.b.pull()?;
    let Some(known) = bench.known(&bench.b, &key) else {
        return Ok(Verdict::Failed("the row is gone from who had it".to_owned()));
    };
    if known.values.get(&column) != Some(&text) {
        return Ok(Verdict::Failed("the edit did not come".to_owned()));
    }
    let goes = bench.sample.row(&key, "");
    let kept = |(name, _): &&(String, Value)| *name != column && known.values.get(name) != before.get(name);
    match goes.iter().find(kept) {
        Some((name, _)) => Ok(Verdict::Failed(format!("{table}.{name} changed with it"))),
        None => Ok(Verdict::Passed("the edit came, and nothing else changed".to_owned())),
    }
}

pub fn delete(bench: &mut Bench) -> Checked {
    let key = bench.shared_row("to be deleted")?;
    let table = bench.table().to_owned();
    bench.a.put(|station| vec![station.delete(&table, &key)])?;
    if !bench.pulls() {
        return Ok(Verdict::Passed("the deletion was taken".to_owned()));
    }
    bench.b.pull()?;
    Ok(match bench.known(&bench.b, &key) {
        None => Verdict::Passed("who had the row is told".to_owned()),
        Some(_) => Verdict::Failed("who had the row is not told that it is gone".to_owned()),
    })
}

pub fn delete_of_nothing(bench: &mut Bench) -> Checked {
    let (key, table) = (bench.sample.key(), bench.table().to_owned());
    if bench.pulls() {
        bench.a.pull()?;
    }
    let change = bench.a.delete(&table, &key);
    Ok(match bench.a.push(vec![change]) {
        Ok(outcomes) => match refused(&outcomes) {
            None => Verdict::Passed("it is done".to_owned()),
            Some(said) => Verdict::Failed(format!("it is refused: {said}")),
        },
        Err(error) => Verdict::Failed(words(&error)),
    })
}

pub fn made_again(bench: &mut Bench) -> Checked {
    let key = bench.shared_row("once")?;
    let table = bench.table().to_owned();
    bench.a.put(|station| vec![station.delete(&table, &key)])?;
    let row = bench.sample.row(&key, "twice");
    bench.a.put(|station| vec![station.insert(&table, key.clone(), row.clone())])?;
    if !bench.pulls() {
        return Ok(Verdict::Passed("it was taken".to_owned()));
    }
    bench.b.pull()?;
    let fresh = bench.fresh()?;
    for (who, station) in [("who had the row before", &bench.b), ("a new device", &fresh)] {
        if bench.text_at(station, &key) != Some(Value::Text("twice".to_owned())) {
            return Ok(Verdict::Failed(format!("{who} is not told the new row")));
        }
    }
    Ok(Verdict::Passed("the new row stands".to_owned()))
}

pub fn replay(bench: &mut Bench) -> Checked {
    let key = bench.row("sent twice")?;
    let before = bench.known(&bench.a, &key).map(|known| known.revision);
    let again = bench.a.again();
    match &again {
        Ok(outcomes) => {
            // Who finds conflicts by pulling pulls when a row was refused, and finds its own.
            if let Some(said) = refused(outcomes).filter(|_| bench.abilities().finds_conflicts) {
                return Ok(Verdict::Failed(format!("the same push again is refused: {said}")));
            }
            let revision = outcomes.iter().find_map(|outcome| match outcome {
                Outcome::Applied(revision) => Some(*revision),
                _ => None,
            });
            // A version that moved: the operation was carried out a second time.
            if !bench.pulls() && revision.is_some() && revision != before {
                return Ok(Verdict::Failed("the same operation again has made another version".to_owned()));
            }
        }
        // It remembers no batches, and says that the rows are newer: a pull settles that.
        Err(RemoteError::Behind) => {}
        Err(error) => return Ok(Verdict::Failed(format!("the same push again fails: {}", words(error)))),
    }
    if !bench.pulls() {
        return Ok(Verdict::Passed("the answer was the same".to_owned()));
    }
    let fresh = {
        let mut fresh = super::station::Station::new(&bench.ground)?;
        let came = fresh.pull()?;
        let twice = came.iter().filter(|row| row.key == key && row.row.is_some()).count();
        let sent = Value::Text("sent twice".to_owned());
        let copies = came.iter().filter(|row| {
            let at = row.columns.iter().position(|name| *name == bench.sample.text);
            at.is_some_and(|at| row.row.as_ref().is_some_and(|values| values[at] == sent))
        });
        if twice > 1 || copies.count() > twice.max(1) {
            return Ok(Verdict::Failed("the row is there twice".to_owned()));
        }
        fresh
    };
    match bench.text_at(&fresh, &key) {
        None => return Ok(Verdict::Failed("after the same push again the row is gone".to_owned())),
        Some(text) if text != Value::Text("sent twice".to_owned()) => {
            return Ok(Verdict::Failed("the row is altered by it".to_owned()));
        }
        Some(_) => {}
    }
    // Once another device has edited the row, the late repetition must not undo that.
    bench.b.pull()?;
    let first = bench.a.sent.clone();
    let (table, column) = (bench.table().to_owned(), bench.sample.text.clone());
    let edit = Value::Text("edited by another".to_owned());
    bench.b.put(|station| vec![station.update(&table, &key, &[(&column, edit.clone())])])?;
    bench.a.sent = first;
    let _ = bench.a.again();
    let fresh = bench.fresh()?;
    match bench.text_at(&fresh, &key) {
        Some(text) if text == edit => Ok(Verdict::Passed("once is once".to_owned())),
        _ if bench.abilities().last_wins => {
            Ok(Verdict::Passed("once is once; a late repetition wins over an edit, as this kind has it".to_owned()))
        }
        _ => Ok(Verdict::Failed("the same push again undoes what another device wrote since".to_owned())),
    }
}

pub fn created_exists(bench: &mut Bench) -> Checked {
    if !bench.pulls() {
        return Ok(Verdict::Skipped("operations carry a key each: see `replay`".to_owned()));
    }
    let key = bench.shared_row("there already")?;
    let table = bench.table().to_owned();
    let row = bench.sample.row(&key, "made once more");
    // As after a lost answer: the pull that comes first tells the row, and it stays new here.
    bench.a.pull()?;
    let change = bench.a.insert(&table, key.clone(), row);
    Ok(match bench.a.push(vec![change]) {
        Ok(outcomes) => match refused(&outcomes) {
            None => Verdict::Passed("it is an edit".to_owned()),
            Some(said) => Verdict::Failed(format!("it is refused: {said}")),
        },
        Err(error) => Verdict::Failed(words(&error)),
    })
}

pub fn updated_missing(bench: &mut Bench) -> Checked {
    let key = bench.key();
    let table = bench.table().to_owned();
    if bench.pulls() {
        bench.a.pull()?;
    }
    let set: Vec<(String, Value)> = bench.sample.row(&key, "an edit of nothing");
    let set: Vec<(&str, Value)> = set.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let change = bench.a.update(&table, &key, &set);
    Ok(match bench.a.push(vec![change]) {
        Ok(outcomes) => match refused(&outcomes) {
            None => Verdict::Passed("it is taken as a new row, or told as a conflict".to_owned()),
            Some(said) => Verdict::Failed(format!("it is refused: {said}")),
        },
        // It forces a pull, and tells that the row is gone.
        Err(RemoteError::Behind) => Verdict::Passed("it asks for a pull first".to_owned()),
        Err(error) => Verdict::Failed(words(&error)),
    })
}

pub fn newer_is_not_overwritten(bench: &mut Bench) -> Checked {
    if bench.abilities().last_wins {
        return Ok(Verdict::Skipped("this kind goes by the time of the writing alone".to_owned()));
    }
    let key = bench.shared_row("of both")?;
    let change = bench.text_update(&bench.b, &key, "of the first");
    bench.b.push(vec![change])?;
    let change = bench.text_update(&bench.a, &key, "of the second, who has not pulled");
    match bench.a.push(vec![change]) {
        Err(RemoteError::Behind) => {}
        Err(error) => {
            return Ok(Verdict::Failed(format!("the refusal is none that can be acted upon: {}", words(&error))));
        }
        Ok(outcomes) => match outcomes.first() {
            Some(Outcome::Conflict { .. }) => {}
            // The row was named, and a pull tells what is newer.
            Some(Outcome::Refused { .. }) if !bench.abilities().finds_conflicts => {}
            _ => return Ok(Verdict::Failed("the second edit is taken, and the first is gone".to_owned())),
        },
    }
    if bench.pulls() {
        let fresh = bench.fresh()?;
        if bench.text_at(&fresh, &key) != Some(Value::Text("of the first".to_owned())) {
            return Ok(Verdict::Failed("it is refused, and stored all the same".to_owned()));
        }
    }
    Ok(Verdict::Passed("the second edit is refused until it was pulled".to_owned()))
}

pub fn all_or_nothing(bench: &mut Bench) -> Checked {
    if !bench.pulls() || bench.abilities().last_wins {
        return Ok(Verdict::Skipped("a push of this kind is never refused whole".to_owned()));
    }
    let key = bench.shared_row("of both")?;
    let change = bench.text_update(&bench.b, &key, "of the first");
    bench.b.push(vec![change])?;
    let (new, table) = (bench.key(), bench.table().to_owned());
    let row = bench.sample.row(&new, "beside it");
    let insert = bench.a.insert(&table, new.clone(), row);
    let change = bench.text_update(&bench.a, &key, "of the second");
    let answer = bench.a.push(vec![insert, change]);
    let fresh = bench.fresh()?;
    let is_there = bench.known(&fresh, &new).is_some();
    Ok(match (answer, is_there) {
        (Err(_), false) if bench.abilities().outcome_each => {
            Verdict::Passed("it was refused whole, not row by row, and nothing was left behind".to_owned())
        }
        (Err(_), false) => Verdict::Passed("nothing was left behind".to_owned()),
        (Err(_), true) => Verdict::Failed("the push was refused, and part of it was stored".to_owned()),
        (Ok(outcomes), is_there) => match (outcomes.first(), is_there) {
            (Some(Outcome::Applied(_)), true) | (Some(Outcome::Conflict { .. } | Outcome::Refused { .. }), false) => {
                Verdict::Passed("each row is as its outcome says".to_owned())
            }
            (_, true) => Verdict::Failed("a row that was said to be refused was stored".to_owned()),
            (_, false) => Verdict::Failed("a row that was said to be taken is not there".to_owned()),
        },
    })
}

pub fn parent_and_child(bench: &mut Bench) -> Checked {
    let Some((child, column)) = bench.sample.child(&bench.ground.replica, &bench.ground.tables) else {
        return Ok(Verdict::Skipped(format!("no table that stands alone otherwise refers to {}", bench.table())));
    };
    let (key, table) = (bench.key(), bench.table().to_owned());
    let row = bench.sample.row(&key, "a parent");
    let (child_key, child_table) = (child.key(), child.table.name.clone());
    bench.keep_in_mind(&child_table, &child_key);
    let link = [(child.text.as_str(), Value::Text("a child".to_owned())), (column.as_str(), key.0[0].clone())];
    let child_row = child.row_with(&child_key, &link);
    bench.a.put(|station| {
        let parent = station.insert(&table, key.clone(), row.clone());
        vec![parent, station.insert(&child_table, child_key.clone(), child_row.clone())]
    })?;
    if bench.pulls() {
        bench.b.pull()?;
        let missing = bench.known(&bench.b, &key).is_none()
            || !bench.b.rows.contains_key(&(child_table.clone(), child_key.clone()));
        if missing {
            return Ok(Verdict::Failed("one of the two did not come".to_owned()));
        }
    }
    Ok(Verdict::Passed(format!("{table} and {child_table}")))
}
