//! Taking every trace of Homing out of the app's file.

use super::{Result, Store};
use crate::model::{Fault, FaultKind, ReasonCode};

impl Store {
    /// Removes all tables, triggers and views of Homing's, and leaves `sqlite_schema`
    /// with the rows it had before. While writes are unsent it refuses, unless told to
    /// discard what Homing knows of them (the app's rows stay as they are).
    pub fn detach(&mut self, discard: bool) -> Result<()> {
        if !self.is_attached()? {
            return Ok(());
        }
        let unsent = self.counts()?;
        let waiting = unsent.pending + unsent.set_aside;
        if waiting > 0 && !discard {
            return Err(Fault::new(
                FaultKind::Interrupted,
                ReasonCode::Unsent,
                match waiting {
                    1 => format!("1 change of {} is not sent yet; everything was left as it is", self.replica.name),
                    _ => format!(
                        "{waiting} changes of {} are not sent yet; everything was left as it is",
                        self.replica.name
                    ),
                },
                format!(
                    "run `homing sync {0} --wait` first, or `homing detach {0} --discard` to leave them unsent",
                    self.replica.name
                ),
            ));
        }
        self.write(|writer| {
            let names = |kind: &str| -> Result<Vec<String>> {
                let sql = "SELECT name FROM sqlite_schema WHERE type = ? AND (name LIKE '\\_homing\\_%' ESCAPE '\\'
                           OR (type = 'view' AND name IN ('homing_status', 'homing_pending', 'homing_conflicts')))";
                Ok(writer.db.prepare(sql)?.query_map([kind], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
            };
            for kind in ["trigger", "view", "table"] {
                for name in names(kind)? {
                    writer.db.execute_batch(&format!("DROP {kind} IF EXISTS {}", crate::sqlite::ident(&name)))?;
                }
            }
            let statistics: i64 =
                writer.db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'", [], |row| {
                    row.get(0)
                })?;
            if statistics > 0 {
                writer.db.execute("DELETE FROM sqlite_stat1 WHERE tbl LIKE '\\_homing\\_%' ESCAPE '\\'", [])?;
            }
            Ok(())
        })?;
        self.outbox.forget();
        self.tables.clear();
        Ok(())
    }
}
