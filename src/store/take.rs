//! Taking one row of the remote's: the heart of apply and of settling conflicts.
//!
//! A row that is as its base says is overwritten. A row that differs meets the
//! remote's in front of the judge; never is an unsent write overwritten unseen.
//! Parents come before children and go after them; what cannot be written waits.

use std::collections::HashSet;

use super::base::{self, Base, Contents};
use super::fit::{differing, fit, grown, is_base, unsaid};
use super::put::obstructed;
use super::row::{self, Found};
use super::{Judge, Now, Result, Synced, Writer};
use crate::model::conflict::{Conflict, Meeting, Resolution, Verdict};
use crate::model::{
    ConflictKind, Key, Operation, ReasonCode, RemoteRow, Revision, Row, Settler, Stamp, Strategy, Value,
};

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Taken {
    /// Nothing to do: it is here already, or its table is not.
    Known,
    Written,
    /// It met an unsent change. `pending`: the outcome must still be sent.
    Conflict {
        pending: bool,
    },
    /// The remote has the row as it was before an unsent change, which is still to be sent.
    Stands,
    /// It cannot be written now.
    Blocked(ReasonCode, String),
}

/// How to take it.
#[derive(Clone, Copy)]
pub(crate) struct Manner<'a> {
    pub(crate) judge: &'a dyn Judge,
    pub(crate) now: Now,
    /// Rows that come with it: a parent among them is as good as there.
    pub(crate) company: &'a HashSet<(i64, Key)>,
    /// The remote has nothing more to say: references are as it says they are.
    pub(crate) caught_up: bool,
    /// It was parked: the row here may stand for a version that lost to it already.
    pub(crate) parked: bool,
}

/// A row's state on this side, and the remote's version fitted to the local columns.
pub(super) struct Sides {
    pub(super) key: Vec<u8>,
    pub(super) base: Option<Base>,
    pub(super) local: Option<Row>,
    pub(super) remote: Option<Row>,
    /// Positions of the local columns that the remote's version speaks of.
    pub(super) spoken: Vec<usize>,
}

/// What a look at a remote without revisions found.
enum Seen {
    Done(Taken),
    News(Sides),
}

impl Writer<'_> {
    pub(crate) fn take(&mut self, remote: &RemoteRow, manner: Manner) -> Result<Taken> {
        let tables = self.tables;
        let Some(synced) = tables.values().find(|synced| synced.name().eq_ignore_ascii_case(&remote.table)) else {
            return Ok(Taken::Known);
        };
        self.take_into(synced, remote, remote.key.encode(), manner)
    }

    /// `take` where the table is known, and the key encoded.
    pub(super) fn take_into(
        &mut self,
        synced: &Synced,
        remote: &RemoteRow,
        key: Vec<u8>,
        manner: Manner,
    ) -> Result<Taken> {
        let base = self.base(synced, &key)?;
        if let Some(base) = &base
            && !self.terms.by_content
            && (base.revision > remote.revision || base.revision == remote.revision && !manner.parked)
            && base.shape == synced.shape
        {
            return Ok(Taken::Known);
        }
        let local = match row::read(self.db, synced, &remote.key)? {
            Found::Nothing => None,
            Found::One(row) => Some(row),
            Found::Several => {
                return Ok(Taken::Blocked(ReasonCode::KeyUnusable, "several local rows have this key".to_owned()));
            }
        };
        let (fitted, spoken) = fit(synced, remote, local.as_ref());
        let sides = Sides { key, base, local, remote: fitted, spoken };
        if self.is_passed_over(synced, remote, &sides, manner.now)? {
            return Ok(Taken::Known);
        }
        if sides.local == sides.remote && !self.counted_apart(synced, remote, &sides, manner) {
            if let Some(base) = &sides.base
                && unsaid(synced, &sides, base)
            {
                self.touch_base(synced, &sides.key, remote.revision, remote.stamp)?;
                self.note_unsent(synced, remote, &sides, manner.now)?;
                return Ok(Taken::Stands);
            }
            self.agree(synced, remote, &sides)?;
            return Ok(Taken::Known);
        }
        let sides = match self.terms.by_content {
            true => match self.recognise(synced, remote, sides, manner)? {
                Seen::Done(taken) => return Ok(taken),
                Seen::News(sides) => sides,
            },
            false => sides,
        };
        match &sides.base {
            None if sides.local.is_none() => self.follow(synced, remote, &sides, manner),
            Some(base) if base.revision != Revision::NONE && is_base(synced, sides.local.as_ref(), base) => {
                self.follow(synced, remote, &sides, manner)
            }
            // Its news are in columns that this table does not have.
            Some(base)
                if base.revision != Revision::NONE
                    && !manner.parked
                    && remote.columns.len() > sides.spoken.len()
                    && is_base(synced, sides.remote.as_ref(), base) =>
            {
                self.stand(synced, remote, &sides, manner.now)?;
                Ok(Taken::Stands)
            }
            Some(base) if base.shape != synced.shape && !manner.parked => {
                let grown = grown(synced, base, &sides);
                self.grow(synced, remote, sides, grown, manner)
            }
            _ => self.meet(synced, remote, &sides, manner),
        }
    }

    /// Whether the table's rule leaves such news out: of rows that never change, whatever is
    /// no new row; of rows too old to come, those that are not here.
    fn is_passed_over(&self, synced: &Synced, remote: &RemoteRow, sides: &Sides, now: Now) -> Result<bool> {
        let rule = &synced.rule;
        if rule.append_only
            && (remote.row.is_none() || sides.base.as_ref().is_some_and(|base| base.revision != Revision::NONE))
        {
            return Ok(true);
        }
        let Some(within) = rule.recent_within else { return Ok(false) };
        let column = rule.recent_column.as_deref().unwrap_or("created_at");
        let known = sides.base.is_some() || sides.local.is_some();
        let at = synced.columns.iter().position(|name| name.eq_ignore_ascii_case(column));
        let value = at.zip(sides.remote.as_ref()).map(|(at, row)| &row[at]);
        let made = match value {
            Some(Value::Integer(millis)) => Some(*millis),
            Some(Value::Text(text)) => {
                let mut moment = self.db.prepare_cached("SELECT (julianday(?) - 2440587.5) * 86400000.0")?;
                moment.query_row([text], |row| row.get::<_, Option<f64>>(0))?.map(|millis| millis as i64)
            }
            _ => None,
        };
        Ok(!known && made.is_some_and(|made| now.millis.saturating_sub(made) > within))
    }

    /// Whether a remote without revisions says something new. What it said before is
    /// known by the base; what this side sent without hearing of it, by the batch.
    fn recognise(&mut self, synced: &Synced, remote: &RemoteRow, sides: Sides, manner: Manner) -> Result<Seen> {
        let mut sides = sides;
        let doubts = self.doubts;
        if let Some(sent) = doubts.get(&(synced.id, sides.key.clone()))
            && sent.operation != Operation::Delete
            && sides.remote.is_some()
        {
            let base = base::sent(self.db, synced, sent, remote.revision)?;
            if differing(synced, &sides, &base).iter().all(|at| synced.is_servers(*at)) {
                self.set_base_under(sent.shape, synced, &sides.key, remote.revision, remote.stamp, &sent.base)?;
                sides.base = Some(base);
            }
        }
        let Some(base) = sides.base.as_ref().filter(|base| base.revision != Revision::NONE) else {
            // Gone there, and this side never knew it there.
            let strange = sides.base.is_none() && sides.remote.is_none();
            return Ok(if strange { Seen::Done(Taken::Known) } else { Seen::News(sides) });
        };
        if base.shape != synced.shape || sides.remote.is_none() {
            return Ok(Seen::News(sides));
        }
        let news = differing(synced, &sides, base);
        if news.is_empty() {
            if base.revision != remote.revision {
                self.touch_base(synced, &sides.key, remote.revision, remote.stamp)?;
            }
            self.unpark(synced, &sides.key)?;
            return Ok(Seen::Done(Taken::Known));
        }
        let (Some(local), Some(theirs)) = (&sides.local, &sides.remote) else { return Ok(Seen::News(sides)) };
        if is_base(synced, Some(local), base) || !news.iter().all(|at| synced.is_servers(*at)) {
            return Ok(Seen::News(sides));
        }
        // Its news are in columns that are its own: nobody's edit is in the way.
        let mut merged = local.clone();
        news.iter().for_each(|at| merged[*at] = theirs[*at].clone());
        if let Some(obstacle) = self.put(synced, &remote.key, Some(local), Some(&merged), &news)? {
            return Ok(Seen::Done(obstructed(obstacle)));
        }
        self.stand(synced, remote, &Sides { local: Some(merged), ..sides }, manner.now)?;
        Ok(Seen::Done(Taken::Stands))
    }

    /// Both sides have the same row, and came to it each by its own counting.
    fn counted_apart(&self, synced: &Synced, remote: &RemoteRow, sides: &Sides, manner: Manner) -> bool {
        let news = |base: &&Base| base.revision != Revision::NONE && base.revision < remote.revision && !manner.parked;
        let base = sides.base.as_ref().filter(news).and_then(|base| base.row_under(synced));
        let by_column = matches!(synced.rule.strategy, Strategy::FieldLevel | Strategy::Merge);
        match (base, &sides.local) {
            (Some(base), Some(local)) if by_column && remote.device != self.device => {
                synced.rule.policy.counts(&synced.columns, &base, local)
            }
            _ => false,
        }
    }

    /// The table here has grown since the base was taken: what the remote has in columns
    /// that came is nobody's loss, and no conflict where it has no other news.
    fn grow(
        &mut self,
        synced: &Synced,
        remote: &RemoteRow,
        sides: Sides,
        grown: Option<Row>,
        manner: Manner,
    ) -> Result<Taken> {
        if sides.local != grown {
            if let Some(blocked) = self.references(synced, remote, &sides, manner)? {
                return self.yield_to(synced, remote, &sides, blocked, manner);
            }
            let all: Vec<usize> = (0..synced.columns.len()).collect();
            if let Some(obstacle) = self.put(synced, &remote.key, sides.local.as_ref(), grown.as_ref(), &all)? {
                return Ok(obstructed(obstacle));
            }
        }
        let sides = Sides { local: grown, ..sides };
        let no_news = sides.base.as_ref().is_some_and(|base| base.revision == remote.revision);
        match no_news {
            _ if sides.local == sides.remote => {
                self.agree(synced, remote, &sides)?;
                Ok(Taken::Written)
            }
            true => {
                self.stand(synced, remote, &sides, manner.now)?;
                Ok(Taken::Stands)
            }
            false => self.meet(synced, remote, &sides, manner),
        }
    }

    /// Writes the remote's version over a row that nobody changed here.
    fn follow(&mut self, synced: &Synced, remote: &RemoteRow, sides: &Sides, manner: Manner) -> Result<Taken> {
        if let Some(blocked) = self.references(synced, remote, sides, manner)? {
            return self.yield_to(synced, remote, sides, blocked, manner);
        }
        if let Some(obstacle) =
            self.put(synced, &remote.key, sides.local.as_ref(), sides.remote.as_ref(), &sides.spoken)?
        {
            return Ok(obstructed(obstacle));
        }
        self.rest(synced, remote, sides)?;
        Ok(Taken::Written)
    }

    /// Two versions that differ: the judge decides, the ledger remembers.
    fn meet(&mut self, synced: &Synced, remote: &RemoteRow, sides: &Sides, manner: Manner) -> Result<Taken> {
        let resolution = match &sides.base {
            Some(base) if base.revision == Revision::NONE => {
                if is_base(synced, sides.remote.as_ref(), base) {
                    self.stand(synced, remote, sides, manner.now)?;
                    return Ok(Taken::Stands);
                }
                match () {
                    () if remote.stamp < base.stamp => lost_there(sides),
                    () if is_base(synced, sides.local.as_ref(), base) => moved_there(),
                    () => self.judged(synced, remote, sides, manner)?,
                }
            }
            _ => self.judged(synced, remote, sides, manner)?,
        };
        let (result, pending) = match &resolution.verdict {
            Verdict::TakeRemote => {
                if let Some(blocked) = self.references(synced, remote, sides, manner)? {
                    return self.yield_to(synced, remote, sides, blocked, manner);
                }
                let obstacle =
                    self.put(synced, &remote.key, sides.local.as_ref(), sides.remote.as_ref(), &sides.spoken)?;
                if let Some(obstacle) = obstacle {
                    return Ok(obstructed(obstacle));
                }
                self.rest(synced, remote, sides)?;
                (sides.remote.clone(), false)
            }
            Verdict::KeepLocal => {
                self.stand(synced, remote, sides, manner.now)?;
                (sides.local.clone(), true)
            }
            Verdict::Merge(merged) => {
                let all: Vec<usize> = (0..synced.columns.len()).collect();
                if let Some(obstacle) = self.put(synced, &remote.key, sides.local.as_ref(), Some(merged), &all)? {
                    return Ok(obstructed(obstacle));
                }
                self.stand(synced, remote, sides, manner.now)?;
                (Some(merged.clone()), true)
            }
        };
        if resolution.record {
            let local_at = self.outbox.written_at(self.db, &self.widths(), synced.id, &sides.key)?;
            let conflict = Conflict {
                id: 0,
                table: synced.name().to_owned(),
                key: remote.key.clone(),
                kind: resolution.kind,
                strategy: synced.rule.strategy,
                columns: synced.columns.to_vec(),
                base: sides.base.as_ref().and_then(|base| base.row_under(synced)),
                local: sides.local.clone(),
                remote: sides.remote.clone(),
                result,
                settled_by: resolution.settled_by,
                at: manner.now.millis,
                remote_device: remote.device.clone(),
                note: resolution.note,
            };
            self.record_of(&conflict, local_at, Some(remote.stamp.millis()))?;
        }
        Ok(Taken::Conflict { pending })
    }

    fn judged(&mut self, synced: &Synced, remote: &RemoteRow, sides: &Sides, manner: Manner) -> Result<Resolution> {
        let widths = self.widths();
        let written = self.outbox.written_at(self.db, &widths, synced.id, &sides.key)?;
        let base_stamp = sides.base.as_ref().map_or(Stamp::default(), |base| base.stamp);
        // A base of an epoch that is over may be newer than what both sides came from.
        let common = sides.base.as_ref().filter(|base| base.revision != Revision::NONE);
        let base_row = common.and_then(|base| base.row_under(synced));
        let base_known = match &sides.base {
            None => true,
            Some(base) => base.revision != Revision::NONE && matches!(base.contents, Contents::Row(_)),
        };
        Ok(manner.judge.judge(&Meeting {
            table: synced.name(),
            columns: &synced.columns,
            base: base_row.as_ref(),
            base_known,
            local: sides.local.as_ref(),
            remote: sides.remote.as_ref(),
            local_stamp: manner.now.stamp(written.unwrap_or(manner.now.millis)).after(base_stamp),
            remote_stamp: remote.stamp,
            local_device: self.device,
            remote_device: &remote.device,
            // The judge knows this device's own.
            local_role: "",
            remote_role: &remote.role,
            defaults: &synced.defaults,
            now: manner.now.stamp(manner.now.millis),
        }))
    }

    /// A row that the remote has not seen as it is.
    pub(crate) fn is_unsent(&self, synced: &Synced, key: &Key) -> Result<bool> {
        let local = row::read(self.db, synced, key)?.row();
        let base = self.base(synced, &key.encode())?;
        Ok(base::difference(synced, local.as_ref(), base.as_ref()) != base::Difference::Same)
    }
}

/// The remote began a new log and has an older version than it once acknowledged: what
/// it lost is sent again, whatever the table's rule, and its own version is kept.
fn lost_there(sides: &Sides) -> Resolution {
    Resolution {
        kind: if sides.remote.is_some() { ConflictKind::UpdateUpdate } else { ConflictKind::UpdateDelete },
        verdict: Verdict::KeepLocal,
        record: true,
        settled_by: Some(Settler::Rule),
        note: "the remote was restored and lost this version, which it once had: it is sent again".to_owned(),
    }
}

/// The remote began a new log and has a newer version, of which nobody can say whether
/// it was made knowing this one.
fn moved_there() -> Resolution {
    Resolution {
        kind: ConflictKind::UpdateUpdate,
        verdict: Verdict::TakeRemote,
        record: true,
        settled_by: Some(Settler::Rule),
        note: "the remote was restored and has a later version, which stands; it may have lost this one".to_owned(),
    }
}
