//! A pull: one page, from nothing by snapshot and then by the log.
//!
//! Head and rows are read in one read transaction, so a page never ends past a
//! revision whose row it could not see. A snapshot goes table by table, parents first,
//! each in the order of encoded keys; the log from the revision at which it began
//! follows, and brings whatever was changed behind the snapshot's back.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::cursor::{Cursor, Snapshot};
use super::schema::{Schema, Shape};
use super::scope::Scope;
use super::{device, layout, look};
use crate::hub::error::{HubError, Result};
use crate::hub::store::Who;
use crate::model::{Key, Revision, Row, Stamp, Value, text};
use crate::protocol::{Pull, Pulled, RowGroup, VERSION, WireEntry, WireSpan};

const ROWS_MAX: usize = 20_000;
const BYTES_MAX: usize = 16 << 20;

pub(super) fn pull(scope: &mut Scope, who: &Who, request: &Pull, now: i64) -> Result<Pulled> {
    if request.protocol != VERSION {
        return Err(HubError::Version(request.protocol));
    }
    device::check_names(&request.incarnation, &request.device)?;
    scope.settle_if_needed(now)?;
    let me = device::find(&scope.db, who, &request.incarnation)?;
    if let Some(id) = me {
        scope.seen.insert(id, now);
    }
    let given = match &request.cursor {
        Some(written) => Some(Cursor::read(written).ok_or(HubError::CursorOver)?),
        None => None,
    };
    if given.as_ref().is_some_and(|cursor| cursor.epoch == scope.epoch && cursor.rev > scope.head.0) {
        scope.begin_epoch()?;
    }
    let tx = scope.db.unchecked_transaction()?;
    let head = layout::number(&tx, "head")?;
    let cursor = match given {
        Some(cursor) => checked(&tx, &scope.epoch, head, cursor)?,
        None => begin(&tx, &scope.schema, &scope.epoch, head)?,
    };
    let rows_max = request.rows_max.clamp(1, ROWS_MAX);
    let mut page =
        Page { rows_left: rows_max, bytes_left: request.bytes_max.clamp(1, BYTES_MAX), groups: Vec::new(), last: None };
    let mut covers = Vec::new();
    let next = match cursor.snapshot {
        Some(place) => snapshot(&tx, &scope.schema, cursor.rev, place, &mut page, &mut covers)?,
        None => (log(&tx, &scope.schema, me, cursor.rev, head, &mut page)?, None),
    };
    let (rev, place) = next;
    let more = place.is_some() || rev < head;
    Ok(Pulled {
        protocol: VERSION,
        epoch: scope.epoch.clone(),
        head: Revision(head),
        time: now,
        rows_left: place.as_ref().map(|place| place.left).or((!covers.is_empty()).then_some(0)),
        cursor: Cursor { epoch: scope.epoch.clone(), rev, snapshot: place }.write(),
        more,
        covers,
        groups: page.groups,
    })
}

/// A cursor must be of this epoch, not ahead of its log, and not behind its memory.
fn checked(db: &Connection, epoch: &str, head: i64, cursor: Cursor) -> Result<Cursor> {
    if cursor.epoch != epoch || cursor.rev > head {
        return Err(HubError::EpochOver("the cursor belongs to another epoch of this hub".to_owned()));
    }
    if cursor.rev < layout::number(db, "pruned")? {
        return Err(HubError::CursorOver);
    }
    Ok(cursor)
}

fn begin(db: &Connection, schema: &Schema, epoch: &str, head: i64) -> Result<Cursor> {
    let tables = schema.parents_first();
    let mut left: u64 = 0;
    for id in &tables {
        // Counted from the two indexes, which are small, and not from the rows.
        let sql = "SELECT (SELECT count(*) FROM _hub_row WHERE tab = ?1) \
                   - (SELECT count(*) FROM _hub_row WHERE op = 3 AND tab = ?1)";
        left += db.prepare_cached(sql)?.query_row([id], |row| row.get::<_, i64>(0))? as u64;
    }
    let snapshot = (!tables.is_empty()).then_some(Snapshot { left, tables, key: None });
    Ok(Cursor { epoch: epoch.to_owned(), rev: head, snapshot })
}

/// Fills the page from `place` on; where to go on, and that it is over at `None`.
fn snapshot(
    db: &Connection,
    schema: &Schema,
    rev: i64,
    mut place: Snapshot,
    page: &mut Page,
    covers: &mut Vec<WireSpan>,
) -> Result<(i64, Option<Snapshot>)> {
    while let Some(id) = place.tables.first().copied() {
        let Some(shape) = schema.numbered(id) else {
            place.tables.remove(0);
            place.key = None;
            continue;
        };
        let from = place.key.as_deref().map(text::hex);
        let ended = table(db, shape, &mut place, page)?;
        let to = if ended { None } else { place.key.as_deref().map(text::hex) };
        if ended || from != to {
            covers.push(WireSpan { table: shape.table.name.clone(), from, to });
        }
        if !ended {
            return Ok((rev, Some(place)));
        }
        place.tables.remove(0);
        place.key = None;
    }
    Ok((rev, None))
}

/// One table from `place.key` on; true when its end was reached.
fn table(db: &Connection, shape: &Shape, place: &mut Snapshot, page: &mut Page) -> Result<bool> {
    let sql = "SELECT key, rev, stamp, origin, ifnull(role, '') FROM _hub_row WHERE tab = ? AND key > ? AND op <> 3 ORDER BY key";
    let mut statement = db.prepare_cached(sql)?;
    let mut entries = statement.query(params![shape.id, place.key.clone().unwrap_or_default()])?;
    let mut reading = db.prepare_cached(&shape.read_sql)?;
    while let Some(entry) = entries.next()? {
        if page.is_full() {
            return Ok(false);
        }
        let bytes: Vec<u8> = entry.get(0)?;
        let key = Key::decode(&bytes).ok_or_else(|| HubError::Damaged("a key in _hub_row is not one".to_owned()))?;
        place.key = Some(bytes);
        place.left = place.left.saturating_sub(1);
        if let Some(row) = shape.read_with(&mut reading, &key)? {
            page.add(db, shape, false, entry.get(1)?, Stamp(entry.get(2)?), (entry.get(3)?, entry.get_ref(4)?), row)?;
        }
    }
    Ok(true)
}

/// Fills the page from the log after `rev`; the revision it reaches.
fn log(db: &Connection, schema: &Schema, me: Option<i64>, rev: i64, head: i64, page: &mut Page) -> Result<i64> {
    let sql = "SELECT tab, key, rev, op, stamp, origin, ifnull(role, '') FROM _hub_row \
               WHERE rev > ? AND (origin <> ? OR echo) ORDER BY rev";
    let mut statement = db.prepare_cached(sql)?;
    let mut entries = statement.query(params![rev, me.unwrap_or(-1)])?;
    let mut reached = rev;
    while let Some(entry) = entries.next()? {
        if page.is_full() {
            return Ok(reached);
        }
        reached = entry.get(2)?;
        let Some(shape) = schema.numbered(entry.get(0)?) else { continue };
        let key = Key::decode(&entry.get::<_, Vec<u8>>(1)?)
            .ok_or_else(|| HubError::Damaged("a key in _hub_row is not one".to_owned()))?;
        let gone = entry.get::<_, i64>(3)? == layout::DELETE;
        let row = if gone { Some(key.0.to_vec()) } else { shape.read(db, &key)? };
        if let Some(row) = row {
            page.add(db, shape, gone, reached, Stamp(entry.get(4)?), (entry.get(5)?, entry.get_ref(6)?), row)?;
        }
    }
    Ok(head)
}

/// A page as it fills: neighbouring rows of one table share a header.
struct Page {
    rows_left: usize,
    bytes_left: usize,
    groups: Vec<RowGroup>,
    /// Who wrote the last row, and where the last group names them: mostly the next
    /// one's writer too.
    last: Option<Writer>,
}

struct Writer {
    id: i64,
    role: String,
    at: i64,
}

impl Page {
    fn is_full(&self) -> bool {
        self.rows_left == 0 || self.bytes_left == 0
    }

    /// `writer` is a device and its role.
    #[allow(clippy::too_many_arguments)] // A row is that much.
    fn add(
        &mut self,
        db: &Connection,
        shape: &Shape,
        delete: bool,
        rev: i64,
        stamp: Stamp,
        writer: (i64, ValueRef),
        values: Row,
    ) -> Result<()> {
        self.rows_left -= 1;
        let weight = 32 + values.iter().map(Value::weight).sum::<usize>();
        self.bytes_left = self.bytes_left.saturating_sub(weight);
        let name = &shape.table.name;
        if self.groups.last().is_none_or(|group| group.table != *name || group.delete != delete) {
            let key = shape.key_names().to_vec();
            let columns = if delete { key.clone() } else { shape.names.clone() };
            self.last = None;
            self.groups.push(RowGroup {
                table: name.clone(),
                columns,
                key,
                delete,
                devices: Vec::new(),
                roles: Vec::new(),
                rows: Vec::new(),
            });
        }
        let group = self.groups.last_mut().expect("BUG: a group was just pushed");
        let (id, role) = (writer.0, writer.1.as_str().unwrap_or_default());
        let device = match &self.last {
            Some(last) if last.id == id && last.role == role => last.at,
            _ => {
                let at = place_of(group, look::device_name(db, id)?, role);
                self.last = Some(Writer { id, role: role.to_owned(), at });
                at
            }
        };
        group.rows.push(WireEntry { revision: Revision(rev), stamp, device, values });
        Ok(())
    }
}

/// Where a group names a device with this role; -1 for one without a name.
fn place_of(group: &mut RowGroup, device: String, role: &str) -> i64 {
    if device.is_empty() {
        return -1;
    }
    let role_at = |at: usize| group.roles.get(at).map_or("", String::as_str);
    if let Some(at) = (0..group.devices.len()).find(|at| group.devices[*at] == device && role_at(*at) == role) {
        return at as i64;
    }
    if !role.is_empty() || !group.roles.is_empty() {
        group.roles.resize(group.devices.len(), String::new());
        group.roles.push(role.to_owned());
    }
    group.devices.push(device);
    group.devices.len() as i64 - 1
}
