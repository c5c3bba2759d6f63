//! One row: as it is, and who changed it.

use rusqlite::{Connection, OptionalExtension, params};

use super::layout;
use super::schema::Shape;
use super::scope::Scope;
use super::writing::known;
use crate::hub::error::{HubError, Result};
use crate::model::{Key, Revision, Row};
use crate::protocol::{AuditEntry, RowAnswer, RowRequest, VERSION, WireRow};

const TRAIL_MAX: usize = 100;

/// The hub's version of a row; `None` when it has none and remembers none.
pub(super) fn wire_row(db: &Connection, shape: &Shape, key: &Key) -> Result<Option<WireRow>> {
    let Some(known) = known(db, shape.id, &key.encode())? else { return Ok(None) };
    let values: Option<Row> = if known.gone() { None } else { shape.read(db, key)? };
    let columns = if values.is_some() { shape.names.clone() } else { Vec::new() };
    let device = device_name(db, known.origin)?;
    Ok(Some(WireRow { revision: Revision(known.rev), stamp: known.stamp, values, columns, device, role: known.role }))
}

pub(super) fn device_name(db: &Connection, id: i64) -> Result<String> {
    let sql = "SELECT device FROM _hub_device WHERE id = ?";
    let name = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    Ok(name.unwrap_or_default())
}

pub(super) fn row(scope: &mut Scope, request: &RowRequest, now: i64) -> Result<RowAnswer> {
    if request.protocol != VERSION {
        return Err(HubError::Version(request.protocol));
    }
    scope.settle_if_needed(now)?;
    let shape = scope.schema.named(&request.table).cloned();
    let shape = shape.ok_or_else(|| HubError::NotFound(format!("the hub has no table {}", request.table)))?;
    if request.key.len() != shape.key_at.len() {
        return Err(HubError::Malformed(format!("the key of {} has {} values", request.table, shape.key_at.len())));
    }
    let tx = scope.db.unchecked_transaction()?;
    let key = Key::from(request.key.clone());
    Ok(RowAnswer { protocol: VERSION, row: wire_row(&tx, &shape, &key)?, audit: trail(&tx, &shape, &key)? })
}

fn trail(db: &Connection, shape: &Shape, key: &Key) -> Result<Vec<AuditEntry>> {
    let sql = format!(
        "SELECT rev, op, origin, at, columns FROM _hub_row WHERE tab = ?1 AND key = ?2 \
         UNION ALL SELECT rev, op, origin, at, columns FROM _hub_audit WHERE tab = ?1 AND key = ?2 \
         ORDER BY rev DESC LIMIT {TRAIL_MAX}"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![shape.id, key.encode()])?;
    let mut trail = Vec::new();
    while let Some(row) = rows.next()? {
        let origin: i64 = row.get(2)?;
        let who = "SELECT account, device FROM _hub_device WHERE id = ?";
        let who = db.prepare_cached(who)?.query_row([origin], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (account, device) = who.unwrap_or_default();
        let columns: Option<String> = row.get(4)?;
        trail.push(AuditEntry {
            revision: Revision(row.get(0)?),
            at: row.get(3)?,
            operation: layout::op_word(row.get(1)?).to_owned(),
            account,
            device,
            columns: columns.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
        });
    }
    Ok(trail)
}
