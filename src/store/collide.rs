//! Unique values: two rows cannot both have what only one may.
//!
//! The remote decides, since all meet there: whose value it has keeps it. The other row
//! goes back to the remote's version, or out of its table where the remote has none,
//! and its own version waits in the ledger for a person. A row whose rival is about to
//! change from here waits for that, but not for ever. What cannot be written back yet,
//! since other rows here are still in its way, is parked like a pulled row; its loss is
//! in the ledger already. Nothing is ever replaced unseen.

use super::aside::Standing;
use super::base;
use super::row::{self, Found};
use super::settle::{Met, Settled};
use super::take::{Manner, Taken};
use super::{Result, Synced, Writer};
use crate::model::conflict::Conflict;
use crate::model::{ConflictKind, Key, ReasonCode, RemoteRow, Row, Settler};

/// Refusals in a row after which a rival's change here is waited for no longer: rivals
/// that wait for each other would never end.
const PATIENCE: u32 = 3;

/// What a row does about a unique value that another has at the remote.
enum Answer {
    /// The rival is about to change from here.
    Waits(String),
    /// A person holds the rival's change.
    WaitsForPerson(String),
    GoesBack,
}

impl Writer<'_> {
    /// Another row at the remote holds a value that must be unique.
    pub(super) fn collision(&mut self, met: &Met, manner: Manner, settled: &mut Settled) -> Result<()> {
        match self.answer(met)? {
            Answer::Waits(text) => return self.again(met.synced, met.row, "unique", &text, manner.now, settled),
            Answer::WaitsForPerson(text) => {
                let standing = Standing::WaitingForParent;
                return self.wait(met.synced, met.row, standing, "parent_set_aside", &text, 0, None, manner.now);
            }
            Answer::GoesBack => {}
        }
        let holder = met.others.first().map_or_else(String::new, |(table, key)| format!("{table} {key}"));
        let note =
            format!("{holder} at the remote holds a value that must be unique; this row waits here for a person");
        self.revert(met.synced, &met.row.key, met.remote, ConflictKind::Unique, &note, manner, settled)?;
        self.clear_aside(met.synced, &met.row.key.encode())?;
        self.drop_entries(&met.row.seqs)
    }

    fn answer(&self, met: &Met) -> Result<Answer> {
        let tries = self.aside(met.synced, &met.row.key.encode())?.map_or(0, |known| known.tries);
        let patient = tries < PATIENCE.min(self.replica.limits.tries_max.saturating_sub(1));
        for (table, key) in met.others {
            let Some(holder) = self.find(table) else { continue };
            if (holder.id, key) == (met.synced.id, &met.row.key) {
                continue;
            }
            let text = format!("{table} {key} holds the same unique value at the remote");
            if self.is_unsent(holder, key)? {
                let held = self.aside(holder, &key.encode())?;
                match held.is_some_and(|held| held.standing == Standing::SetAside) {
                    true => return Ok(Answer::WaitsForPerson(text)),
                    false if patient => return Ok(Answer::Waits(text)),
                    false => {}
                }
            } else if patient && met.troubled.contains(&(table.to_ascii_lowercase(), key.clone())) {
                return Ok(Answer::Waits(text));
            }
        }
        Ok(Answer::GoesBack)
    }

    /// The remote's version of a row won and cannot be written, since rows here hold its
    /// unique values. Those that the remote never had give way; else it is parked.
    pub(super) fn squeeze_in(
        &mut self,
        synced: &Synced,
        remote: &RemoteRow,
        manner: Manner,
        settled: &mut Settled,
    ) -> Result<Taken> {
        if let Some(row) = self.fitted(synced, remote)
            && self.make_room(synced, &remote.key, &row, manner, settled)?
        {
            let taken = self.take(remote, manner)?;
            if !matches!(taken, Taken::Blocked(ReasonCode::ConflictManual, _)) {
                return Ok(taken);
            }
        }
        let local = row::read(self.db, synced, &remote.key)?.row();
        let note = "the remote's version stands; rows here hold its unique values, and it is written when they move";
        let kind = if local.is_some() { ConflictKind::UpdateUpdate } else { ConflictKind::DeleteUpdate };
        self.give_up(synced, remote, local, kind, Some(Settler::Rule), note, manner)?;
        Ok(Taken::Conflict { pending: false })
    }

    /// Takes rows out that the remote never had and that hold a value of `row`'s. True
    /// when any did; the others have their own turn at the remote.
    fn make_room(
        &mut self,
        synced: &Synced,
        key: &Key,
        row: &Row,
        manner: Manner,
        settled: &mut Settled,
    ) -> Result<bool> {
        let mut made = false;
        for holder in row::holders(self.db, synced, row)? {
            if self.never_there(synced, &holder)? {
                let note = format!("{} {key} at the remote holds a value that must be unique", synced.name());
                self.revert(synced, &holder, None, ConflictKind::Unique, &note, manner, settled)?;
                self.clear_aside(synced, &holder.encode())?;
                made = true;
            }
        }
        Ok(made)
    }

    /// Brings a row back to the remote's version, or takes it out where the remote has
    /// none, with unsent rows that refer to it; all versions go to the ledger.
    #[allow(clippy::too_many_arguments)]
    fn revert(
        &mut self,
        synced: &Synced,
        key: &Key,
        remote: Option<&RemoteRow>,
        kind: ConflictKind,
        note: &str,
        manner: Manner,
        settled: &mut Settled,
    ) -> Result<()> {
        let Found::One(local) = row::read(self.db, synced, key)? else { return Ok(()) };
        settled.changed.entry(synced.name().to_owned()).or_default().push(key.clone());
        if let Some(remote) = remote.filter(|remote| remote.row.is_some()) {
            let base = self.base(synced, &key.encode())?;
            let mut obstacle = self.restore(synced, remote, &local)?;
            if obstacle.is_some()
                && let Some(row) = self.fitted(synced, remote)
                && self.make_room(synced, key, &row, manner, settled)?
            {
                obstacle = self.restore(synced, remote, &local)?;
            }
            return match obstacle {
                Some(_) => self.give_up(synced, remote, Some(local), kind, None, note, manner),
                None => self.lose(synced, key, base, Some(remote), Some(local), kind, None, note, manner),
            };
        }
        self.revert_children(synced, key, &local, manner, settled)?;
        let base = self.base(synced, &key.encode())?;
        if let Some(obstacle) = row::delete(self.db, synced, key)? {
            // A rule of the app's own forbids it: the row stays, and is offered again.
            let text = format!("it could not be taken out ({obstacle:?})");
            let row = super::flight::FlightRow::standing_for(synced, key);
            return self.again(synced, &row, "unique", &text, manner.now, settled);
        }
        self.drop_base(synced, &key.encode())?;
        self.lose(synced, key, base, remote, Some(local), kind, None, note, manner)
    }

    /// New rows that refer to one that goes out go with it.
    fn revert_children(
        &mut self,
        synced: &Synced,
        key: &Key,
        local: &Row,
        manner: Manner,
        settled: &mut Settled,
    ) -> Result<()> {
        let tables = self.tables;
        for child in tables.values() {
            for foreign in &child.table.foreign_keys {
                if !foreign.parent.eq_ignore_ascii_case(synced.name()) {
                    continue;
                }
                let place = |name: &String| synced.table.position(name).map(|at| local[at].clone());
                let Some(values) = foreign.parent_columns.iter().map(place).collect::<Option<Vec<_>>>() else {
                    continue;
                };
                for child_key in row::keys_where(self.db, child, &foreign.columns, &values, usize::MAX >> 1)? {
                    if (child.id, &child_key) != (synced.id, key) && self.never_there(child, &child_key)? {
                        let note = format!("it refers to {} {key}, which could not stay", synced.name());
                        self.revert(child, &child_key, None, ConflictKind::ForeignKey, &note, manner, settled)?;
                        self.clear_aside(child, &child_key.encode())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The local version has lost, and the remote's cannot be written yet: from now on
    /// the row counts as unchanged, and the remote's version waits among the parked.
    #[allow(clippy::too_many_arguments)]
    fn give_up(
        &mut self,
        synced: &Synced,
        remote: &RemoteRow,
        local: Option<Row>,
        kind: ConflictKind,
        settled_by: Option<Settler>,
        note: &str,
        manner: Manner,
    ) -> Result<()> {
        let key = remote.key.encode();
        let base = self.base(synced, &key)?;
        match &local {
            Some(row) => self.set_base(synced, &key, remote.revision, remote.stamp, &base::body(synced, row))?,
            None => self.drop_base(synced, &key)?,
        }
        self.park(synced, remote, ReasonCode::ConflictManual, note, manner.now.millis)?;
        self.lose(synced, &remote.key, base, Some(remote), local, kind, settled_by, note, manner)
    }

    /// Keeps a version that lost.
    #[allow(clippy::too_many_arguments)]
    fn lose(
        &mut self,
        synced: &Synced,
        key: &Key,
        base: Option<base::Base>,
        remote: Option<&RemoteRow>,
        local: Option<Row>,
        kind: ConflictKind,
        settled_by: Option<Settler>,
        note: &str,
        manner: Manner,
    ) -> Result<()> {
        let theirs = remote.and_then(|remote| self.fitted(synced, remote));
        self.record(&Conflict {
            id: 0,
            table: synced.name().to_owned(),
            key: key.clone(),
            kind,
            strategy: synced.rule.strategy,
            columns: synced.columns.to_vec(),
            base: base.as_ref().and_then(|base| base.row_under(synced)),
            local,
            remote: theirs.clone(),
            result: theirs,
            settled_by,
            at: manner.now.millis,
            remote_device: remote.map(|remote| remote.device.clone()).unwrap_or_default(),
            note: note.to_owned(),
        })?;
        Ok(())
    }
}
