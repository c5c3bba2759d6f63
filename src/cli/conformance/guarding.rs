//! Who may see and change what.

use super::bench::{Bench, Checked, Verdict};
use super::station::{Ground, Station, words};
use crate::model::settings::TokenSource;
use crate::model::{FaultKind, Value};
use crate::remote::RemoteError;

pub fn token_needed(bench: &mut Bench) -> Checked {
    if bench.ground.replica.remote.token == TokenSource::None {
        return Ok(Verdict::Skipped("the config names no token".to_owned()));
    }
    // What a token claims is not there to be sent without one.
    let mut ground = bench.ground.clone();
    ground.replica.remote.backend.claims.clear();
    let wrong = "printf not-a-token-of-yours".to_owned();
    for (what, token) in [("without a token", TokenSource::None), ("with a wrong token", TokenSource::Command(wrong))] {
        ground.replica.remote.token = token;
        match knock(bench, &ground) {
            Err(RemoteError::Fault(fault)) if fault.kind == FaultKind::SignedOut => {}
            Err(error) => {
                return Ok(Verdict::Failed(format!("{what} it is refused, but not with 401: {}", words(&error))));
            }
            Ok(()) => return Ok(Verdict::Failed(format!("{what} it answers all the same"))),
        }
    }
    Ok(Verdict::Passed("401 without a token, and with a wrong one".to_owned()))
}

fn knock(bench: &mut Bench, ground: &Ground) -> Result<(), RemoteError> {
    let mut station = Station::new(ground)?;
    if bench.pulls() {
        return station.pull().map(drop);
    }
    let (key, table) = (bench.key(), bench.table().to_owned());
    let change = station.insert(&table, key.clone(), bench.sample.row(&key, "of nobody"));
    station.push(vec![change]).map(drop)
}

pub fn strangers_see_nothing(bench: &mut Bench) -> Checked {
    let Some(mut stranger) = stranger(bench)? else { return Ok(nobody()) };
    if !bench.pulls() {
        return Ok(Verdict::Skipped("this kind has nothing to pull".to_owned()));
    }
    bench.row("of the first account")?;
    stranger.pull()?;
    Ok(match bench.view(&stranger).len() {
        0 => Verdict::Passed("another account is told none of the rows".to_owned()),
        seen => Verdict::Failed(format!("another account is told {seen} of this one's rows")),
    })
}

pub fn strangers_change_nothing(bench: &mut Bench) -> Checked {
    let Some(mut stranger) = stranger(bench)? else { return Ok(nobody()) };
    let table = bench.table().to_owned();
    let text = |text: &str| Value::Text(text.to_owned());
    for deletes in [false, true] {
        let key = bench.row("of the first account")?;
        if bench.pulls() {
            stranger.pull()?;
        } else {
            let name = (table.clone(), key.clone());
            stranger.rows.extend(bench.a.rows.get(&name).cloned().map(|known| (name, known)));
        }
        let change = match deletes {
            true => stranger.delete(&table, &key),
            false => stranger.insert(&table, key.clone(), bench.sample.row(&key, "of the stranger")),
        };
        // Refused, or kept apart: either is right, as long as the row stands.
        let answer = stranger.push(vec![change]);
        let stands = match bench.pulls() {
            true => bench.text_at(&bench.fresh()?, &key) == Some(text("of the first account")),
            false => {
                answer.is_err() || {
                    let change = bench.text_update(&bench.a, &key, "still mine");
                    matches!(bench.a.push(vec![change])?.first(), Some(crate::model::Outcome::Applied(_)))
                }
            }
        };
        if !stands {
            let what = if deletes { "deleted" } else { "overwrote" };
            return Ok(Verdict::Failed(format!("another account {what} a row of this one's by its key")));
        }
    }
    Ok(Verdict::Passed("another account can neither change nor delete a row whose key it knows".to_owned()))
}

fn stranger(bench: &Bench) -> Result<Option<Station>, RemoteError> {
    let Some(token) = bench.stranger.clone() else { return Ok(None) };
    let mut ground = bench.ground.clone();
    ground.replica.remote.token = token;
    Station::new(&ground).map(Some)
}

fn nobody() -> Verdict {
    Verdict::Skipped("name another account's token with --other-token-file".to_owned())
}
