//! Forgetting: tombstones past their horizon, and old entries of the audit trail.
//!
//! The newest revision pruned is remembered: a log cursor before it is over, because
//! what it would miss is no longer known.

use rusqlite::OptionalExtension;

use super::layout;
use super::scope::Scope;
use super::writing::Writing;
use crate::hub::error::Result;

pub(super) fn prune(scope: &mut Scope, now: i64) -> Result<()> {
    scope.settle_if_needed(now)?;
    let writing = Writing::begin(&scope.db, now)?;
    let db = writing.db();
    let before = now - scope.settings.tombstone_age_max;
    let newest: Option<i64> = db
        .query_row("SELECT max(rev) FROM _hub_row WHERE op = 3 AND at < ?", [before], |row| row.get(0))
        .optional()?
        .flatten();
    if let Some(newest) = newest {
        db.execute("DELETE FROM _hub_row WHERE op = 3 AND at < ?", [before])?;
        layout::set(db, "pruned", newest.max(layout::number(db, "pruned")?))?;
    }
    db.execute("DELETE FROM _hub_mark WHERE time < ?", [before])?;
    db.execute("DELETE FROM _hub_audit WHERE at < ?", [now - scope.settings.audit_age_max])?;
    super::device::note_seen(db, &mut scope.seen)?;
    writing.commit()?;
    Ok(())
}
