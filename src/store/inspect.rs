//! Comparing with the remote by hashes, and a person's orders about single rows.

use std::collections::{BTreeMap, HashSet};

use super::take::Manner;
use super::{Judge, Now, Result, Store, Synced, base, meta, row};
use crate::model::conflict::Conflict;
use crate::model::{Change, ConflictKind, Fault, Key, Operation, RemoteRow, Revision, Seq, Settler};
use crate::sqlite::capture::LogOp;
use crate::sqlite::{digest, ident, value};

/// Tells every row of a table.
pub type EachRow<'a> = dyn FnMut(&str, &mut dyn FnMut(&Change)) -> std::result::Result<(), Fault> + 'a;

impl Store {
    /// How many rows a table has, and the XOR of their hashes over all its columns.
    pub fn digest(&self, synced: &Synced) -> Result<(u64, u64)> {
        let mut statement = self.db.prepare(&synced.select)?;
        let mut rows = statement.query([])?;
        let (mut count, mut all) = (0, 0);
        while let Some(found) = rows.next()? {
            let found = value::read_row(found, 0, synced.columns.len())?;
            count += 1;
            all ^= digest::row(&found);
        }
        Ok((count, all))
    }

    /// Lends a reader of all rows of any table, as they are at one moment: for a remote
    /// that takes nothing less. A row's stamp is that of its last equality, or now.
    pub fn every_row<T>(&self, now: Now, read: impl FnOnce(&mut EachRow) -> T) -> Result<T> {
        let transaction = self.db.unchecked_transaction()?;
        let out = read(&mut |table, put| self.each_row(table, now, put));
        transaction.finish()?;
        Ok(out)
    }

    fn each_row(&self, table: &str, now: Now, put: &mut dyn FnMut(&Change)) -> Result<()> {
        let Some(synced) = self.find(table) else { return Ok(()) };
        let sql = format!("SELECT {} FROM {}", crate::sqlite::idents(&synced.columns), ident(synced.name()));
        let mut statement = self.db.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(found) = rows.next()? {
            let values = value::read_row(found, 0, synced.columns.len())?;
            let key = synced.key_of(&values);
            let base = base::read(&self.db, self.era, synced, &key.encode())?;
            put(&Change {
                table: synced.label.clone(),
                operation: Operation::Insert,
                columns: synced.columns.clone(),
                values,
                base_revision: base.as_ref().map_or(Revision::NONE, |base| base.revision),
                stamp: base.map_or(now.stamp(now.millis), |base| base.stamp),
                key,
                seq: Seq(0),
            });
        }
        Ok(())
    }

    /// Every row's hash, by its encoded key.
    pub fn row_hashes(&self, synced: &Synced) -> Result<BTreeMap<Vec<u8>, u64>> {
        let mut statement = self.db.prepare(&format!(
            "SELECT {} FROM {}",
            crate::sqlite::idents(&synced.columns),
            ident(synced.name())
        ))?;
        let mut rows = statement.query([])?;
        let mut out = BTreeMap::new();
        while let Some(found) = rows.next()? {
            let found = value::read_row(found, 0, synced.columns.len())?;
            out.insert(synced.key_of(&found).encode(), digest::row(&found));
        }
        Ok(out)
    }

    /// Forgets that these rows were ever equal on both sides, so that both sides'
    /// versions meet again; what is missing here comes with a snapshot.
    pub fn doubt(&mut self, synced: &Synced, keys: &[Key], now: i64) -> Result<()> {
        self.write(|writer| {
            for key in keys {
                writer.drop_base(synced, &key.encode())?;
                writer.note_row(synced.id, LogOp::Update, now, key)?;
            }
            // A cycle may be under way, and would save its own cursor over ours.
            Ok(meta::set(writer.db, "pull_again", 1)?)
        })
    }

    /// Gives up a row's unsent change for the remote's version. False when there was none.
    pub fn discard(
        &mut self,
        synced: &Synced,
        key: &Key,
        theirs: Option<&RemoteRow>,
        judge: &dyn Judge,
        now: Now,
    ) -> Result<bool> {
        let company = HashSet::new();
        self.write(|writer| {
            let encoded = key.encode();
            if !writer.is_unsent(synced, key)? {
                return Ok(false);
            }
            let local = row::read(writer.db, synced, key)?.row();
            let base = writer.base(synced, &encoded)?;
            match (&local, theirs.filter(|theirs| theirs.row.is_some())) {
                (Some(local), Some(theirs)) => {
                    writer.restore(synced, theirs, local)?;
                }
                (Some(_), None) => {
                    row::delete(writer.db, synced, key)?;
                    writer.drop_base(synced, &encoded)?;
                }
                (None, Some(theirs)) => {
                    writer.drop_base(synced, &encoded)?;
                    let manner = Manner { judge, now, company: &company, caught_up: true, parked: false };
                    writer.take(theirs, manner)?;
                }
                (None, None) => writer.drop_base(synced, &encoded)?,
            }
            writer.clear_aside(synced, &encoded)?;
            writer.record(&Conflict {
                id: 0,
                table: synced.name().to_owned(),
                key: key.clone(),
                kind: if local.is_some() { ConflictKind::UpdateUpdate } else { ConflictKind::DeleteUpdate },
                strategy: synced.rule.strategy,
                columns: synced.columns.to_vec(),
                base: base.as_ref().and_then(|base| base.row_under(synced)),
                local,
                remote: theirs.and_then(|theirs| writer.fitted(synced, theirs)),
                result: row::read(writer.db, synced, key)?.row(),
                settled_by: Some(Settler::Person),
                at: now.millis,
                remote_device: theirs.map(|theirs| theirs.device.clone()).unwrap_or_default(),
                note: "a person discarded the unsent change".to_owned(),
            })?;
            Ok(true)
        })
    }
}
