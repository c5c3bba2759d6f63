//! A push: one batch, one transaction, an outcome for each change.
//!
//! The batch's number, a hash of its bytes and its answer are kept in the transaction
//! that applies it. The same batch again is answered as before and applied no second
//! time; another batch under a number that was used means that the sender is an older
//! copy of itself.

use super::aside;
use super::batch::{Batch, Step, Touched};
use super::device::{self, Device};
use super::links::{self, Offenders};
use super::outside;
use super::scope::Scope;
use super::writing::Writing;
use crate::hub::error::{HubError, Result};
use crate::hub::settings::Settings;
use crate::hub::store::Who;
use crate::model::Revision;
use crate::protocol::{Push, Pushed, VERSION, WireOutcome};

/// Rounds of taking back what foreign keys do not let stand. Chains of new rows take
/// one; what needs more trades unique values and parents at once, many times over.
const ROUNDS_MAX: usize = 32;

pub(super) fn push(scope: &mut Scope, who: &Who, body: &[u8], now: i64) -> Result<Vec<u8>> {
    let push: Push = serde_json::from_slice(body).map_err(|error| HubError::Malformed(error.to_string()))?;
    check(&push, &scope.settings)?;
    if push.epoch != scope.epoch {
        return Err(HubError::EpochOver("the batch was made for another epoch of this hub".to_owned()));
    }
    let body_hash = blake3::hash(body);
    scope.settle_if_needed(now)?;
    let mut stopped = Offenders::new();
    for round in 0.. {
        // A round that foreign keys stop is rolled back whole, by dropping `writing`.
        let writing = Writing::begin(&scope.db, now)?;
        let (schema, _) = outside::take_in(&writing, &scope.schema, &scope.settings)?;
        let sender = device::arrive(writing.db(), who, &push.incarnation, &push.device, now)?;
        if let Some(answer) = seen_before(&sender, push.batch, body_hash.as_bytes())? {
            return Ok(answer);
        }
        let batch = Batch::new(&schema, &scope.settings, who, sender.id, &push);
        let (outcomes, touched) = run(&batch, &writing, &stopped)?;
        let found = match scope.settings.check_foreign_keys && round < ROUNDS_MAX {
            true => links::offenders(writing.db(), &batch, &touched, &stopped)?,
            false => Offenders::new(),
        };
        if !found.is_empty() {
            stopped.extend(found);
            if round + 1 == ROUNDS_MAX {
                stopped.extend(touched.iter().map(|one| (one.at, Vec::new())));
            }
            continue;
        }
        let answer = Pushed {
            protocol: VERSION,
            epoch: push.epoch.clone(),
            head: Revision(writing.head()),
            time: now,
            outcomes,
        };
        let answer = serde_json::to_vec(&answer).expect("BUG: an answer is always JSON");
        device::answered(writing.db(), sender.id, push.batch, body_hash.as_bytes(), &answer, now)?;
        device::note_seen(writing.db(), &mut scope.seen)?;
        scope.head = Revision(writing.commit()?);
        scope.schema = schema;
        return Ok(answer);
    }
    unreachable!("BUG: the last round stops every change that was touched")
}

fn check(push: &Push, settings: &Settings) -> Result<()> {
    if push.protocol != VERSION {
        return Err(HubError::Version(push.protocol));
    }
    device::check_names(&push.incarnation, &push.device)?;
    if push.batch < 1 {
        return Err(HubError::Malformed("batches are numbered from 1".to_owned()));
    }
    let rows: usize = push.groups.iter().map(|group| group.rows.len()).sum();
    if rows > settings.batch_rows_max {
        return Err(HubError::TooLarge(format!("{rows} changes; a batch may have {}", settings.batch_rows_max)));
    }
    Ok(())
}

/// The answer to a batch that was taken before; an error when the numbers do not fit.
fn seen_before(sender: &Device, batch: i64, body_hash: &[u8]) -> Result<Option<Vec<u8>>> {
    let over = |what: String| Err(HubError::IncarnationOver(what));
    match batch {
        same if same == sender.batch => match &sender.answer {
            Some(answer) if sender.body_hash.as_deref() == Some(body_hash) => device::unpack(answer).map(Some),
            _ => over(format!("batch {batch} was taken with other content")),
        },
        next if next == sender.batch + 1 => Ok(None),
        _ => over(format!("batch {batch} came, and the last one taken was {}", sender.batch)),
    }
}

/// Every change in order, then those that had to wait for others.
fn run(batch: &Batch, writing: &Writing, stopped: &Offenders) -> Result<(Vec<WireOutcome>, Vec<Touched>)> {
    let mut outcomes: Vec<Option<WireOutcome>> = vec![None; batch.changes.len()];
    let mut touched = Vec::new();
    let mut blocked = Vec::new();
    for (at, outcome) in outcomes.iter_mut().enumerate() {
        if let Some(others) = stopped.get(&at) {
            *outcome = Some(batch.link_conflict(writing.db(), at, others.clone())?);
            continue;
        }
        match batch.step(writing, at, &mut touched)? {
            Step::Done(done) => *outcome = Some(done),
            Step::Blocked => blocked.push(at),
        }
    }
    if !blocked.is_empty() {
        aside::unblock(batch, writing, blocked, &mut outcomes, &mut touched)?;
    }
    let outcomes = outcomes.into_iter().map(|outcome| outcome.expect("BUG: a change without an outcome")).collect();
    Ok((outcomes, touched))
}
