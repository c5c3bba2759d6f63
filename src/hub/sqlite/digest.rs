//! Hashes of a table, to compare a replica with.

use rusqlite::params;

use super::scope::Scope;
use crate::hub::error::{HubError, Result};
use crate::model::{Key, text};
use crate::protocol::{Digest, DigestRequest, VERSION};
use crate::sqlite::{digest, ident, idents, value};

const ENTRIES_MAX: usize = 10_000;

pub(super) fn digest(scope: &mut Scope, request: &DigestRequest, now: i64) -> Result<Digest> {
    if request.protocol != VERSION {
        return Err(HubError::Version(request.protocol));
    }
    scope.settle_if_needed(now)?;
    let shape = scope.schema.named(&request.table).cloned();
    let shape = shape.ok_or_else(|| HubError::NotFound(format!("the hub has no table {}", request.table)))?;
    let mut columns: Vec<usize> = Vec::new();
    for name in &request.columns {
        let unknown = || HubError::NotFound(format!("the hub's {} has no column {name}", request.table));
        columns.push(shape.table.position(name).ok_or_else(unknown)?);
    }
    // Whoever asks for the rows' own hashes found the table's to differ.
    if request.after.as_deref() == Some("") {
        scope.audit(&shape, now)?;
    }
    let tx = scope.db.unchecked_transaction()?;
    let mut answer = Digest {
        protocol: VERSION,
        head: scope.head,
        rows: 0,
        digest: String::new(),
        entries: Vec::new(),
        more: false,
    };
    let mut all: u64 = 0;
    let Some(after) = &request.after else {
        let names: Vec<&String> = columns.iter().map(|at| &shape.names[*at]).collect();
        let names = if names.is_empty() { "NULL".to_owned() } else { idents(&names) };
        let mut statement = tx.prepare_cached(&format!("SELECT {names} FROM {}", ident(&shape.table.name)))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            all ^= digest::row(&value::read_row(row, 0, columns.len())?);
            answer.rows += 1;
        }
        answer.digest = format!("{all:016x}");
        return Ok(answer);
    };
    let after = text::unhex(after).ok_or_else(|| HubError::Malformed("`after` is not hexadecimal".to_owned()))?;
    let sql = "SELECT key FROM _hub_row WHERE tab = ? AND key > ? AND op <> 3 ORDER BY key";
    let mut statement = tx.prepare_cached(sql)?;
    let mut keys = statement.query(params![shape.id, after])?;
    while let Some(entry) = keys.next()? {
        if answer.entries.len() == request.rows_max.clamp(1, ENTRIES_MAX) {
            answer.more = true;
            break;
        }
        let bytes: Vec<u8> = entry.get(0)?;
        let key = Key::decode(&bytes).ok_or_else(|| HubError::Damaged("a key in _hub_row is not one".to_owned()))?;
        if let Some(row) = shape.read(&tx, &key)? {
            let hash = digest::row(columns.iter().map(|at| &row[*at]));
            all ^= hash;
            answer.rows += 1;
            answer.entries.push((text::hex(&bytes), format!("{hash:016x}")));
        }
    }
    answer.digest = format!("{all:016x}");
    Ok(answer)
}
