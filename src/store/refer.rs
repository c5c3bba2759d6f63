//! Whether the rows that a row refers to, and those that refer to it, allow it to be
//! written.
//!
//! Parents come before children and go after them. A parent that came on the same page
//! is as good as there; a deletion yields to children here that were never sent. This
//! module looks, and writes nothing but what a deletion that yields leaves behind.

use rusqlite::params_from_iter;

use super::take::{Manner, Sides, Taken};
use super::{Result, Synced, Writer, row};
use crate::model::conflict::Conflict;
use crate::model::{ConflictKind, Key, ReasonCode, RemoteRow, Revision, Row, Settler, Value};

impl Writer<'_> {
    /// Whether the row's references allow it to be written: `None` when they do.
    pub(super) fn references(
        &self,
        synced: &Synced,
        remote: &RemoteRow,
        sides: &Sides,
        manner: Manner,
    ) -> Result<Option<Taken>> {
        match &sides.remote {
            Some(row) => self.parents(synced, row, sides.local.as_ref(), manner),
            None => self.children(synced, remote, sides, manner),
        }
    }

    /// `local`: the row as it is here, which refers to nothing new where it says the same.
    pub(super) fn parents(
        &self,
        synced: &Synced,
        row: &Row,
        local: Option<&Row>,
        manner: Manner,
    ) -> Result<Option<Taken>> {
        for reference in &synced.references {
            let Some(parent) = self.find(&reference.parent) else { continue };
            let values = || reference.at.iter().map(|at| &row[*at]);
            let same = |local: &Row| reference.at.iter().all(|at| local[*at] == row[*at]);
            if values().any(Value::is_null) || local.is_some_and(same) {
                continue;
            }
            if self.db.prepare_cached(&reference.exists_sql)?.exists(params_from_iter(values()))? {
                continue;
            }
            let by_key = Key(values().cloned().collect());
            if manner.company.contains(&(parent.id, by_key.clone())) || itself(synced, parent, row, &by_key) {
                continue;
            }
            // Deleted here and not yet sent: the remote will say what becomes of it.
            let deleted_here = !self.never_there(parent, &by_key)?;
            if manner.caught_up && !deleted_here {
                continue;
            }
            return Ok(Some(Taken::Blocked(
                ReasonCode::ParkedParent,
                format!("it refers to {} {}, which is not here", parent.name(), by_key),
            )));
        }
        Ok(None)
    }

    fn children(&self, synced: &Synced, remote: &RemoteRow, sides: &Sides, manner: Manner) -> Result<Option<Taken>> {
        let Some(local) = &sides.local else { return Ok(None) };
        let mut waits = None;
        for child in self.tables.values() {
            for foreign in &child.table.foreign_keys {
                if !foreign.parent.eq_ignore_ascii_case(synced.name()) {
                    continue;
                }
                let Some(values) = values_of(synced, local, &foreign.parent_columns) else { continue };
                for key in row::keys_where(self.db, child, &foreign.columns, &values, 20)? {
                    if child.id == synced.id && key == remote.key {
                        continue;
                    }
                    if self.is_unsent(child, &key)? {
                        return Ok(Some(Taken::Conflict { pending: true }));
                    }
                    waits = Some(format!("{} {} still refers to it", child.name(), key));
                }
            }
        }
        Ok(waits.filter(|_| !manner.caught_up).map(|text| Taken::Blocked(ReasonCode::ParkedParent, text)))
    }

    /// A deletion met children that were never sent: the row stays, and is sent again.
    /// What merely waits is handed back.
    pub(super) fn yield_to(
        &mut self,
        synced: &Synced,
        remote: &RemoteRow,
        sides: &Sides,
        blocked: Taken,
        manner: Manner,
    ) -> Result<Taken> {
        if !matches!(blocked, Taken::Conflict { .. }) {
            return Ok(blocked);
        }
        self.stand(synced, remote, sides, manner.now)?;
        self.record(&Conflict {
            id: 0,
            table: synced.name().to_owned(),
            key: remote.key.clone(),
            kind: ConflictKind::ForeignKey,
            strategy: synced.rule.strategy,
            columns: synced.columns.to_vec(),
            base: sides.base.as_ref().and_then(|base| base.row_under(synced)),
            local: sides.local.clone(),
            remote: None,
            result: sides.local.clone(),
            settled_by: Some(Settler::Rule),
            at: manner.now.millis,
            remote_device: remote.device.clone(),
            note: "deleted there while rows here that were not sent yet refer to it: it was kept and sent again"
                .to_owned(),
        })?;
        Ok(Taken::Conflict { pending: true })
    }

    /// The remote, in this epoch, has never had the row as far as this side knows.
    pub(crate) fn never_there(&self, synced: &Synced, key: &Key) -> Result<bool> {
        Ok(self.base(synced, &key.encode())?.is_none_or(|base| base.revision == Revision::NONE))
    }
}

fn values_of(synced: &Synced, row: &Row, columns: &[String]) -> Option<Vec<Value>> {
    columns.iter().map(|name| synced.table.position(name).map(|at| row[at].clone())).collect()
}

/// A row that refers to itself.
fn itself(synced: &Synced, parent: &Synced, row: &Row, key: &Key) -> bool {
    synced.id == parent.id && synced.key_of(row) == *key
}
