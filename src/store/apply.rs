//! Applying a pulled page, slice by slice.
//!
//! A slice is one transaction: rows, bases, conflicts and parked rows, and with the
//! page's last slice the checkpoint. Rows linked by keys stay in one slice while they
//! fit. A page that was applied in part is simply applied again: what is here already
//! is recognised by its revision.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use rusqlite::config::DbConfig;

use super::take::{Manner, Taken};
use super::{Judge, Now, Result, Slice, Store, Writer, base};
use crate::model::page::{Page, Span};
use crate::model::{Key, ReasonCode, RemoteRow, Revision, Value};
use crate::sqlite::digest;

/// What a held deletion says.
const CONSENT: &str = "so many rows were deleted at the remote at once that a person is asked before they go here";

/// A page on its way in.
#[derive(Debug)]
pub struct Incoming {
    page: Page,
    /// Places in `page.rows`, in groups that belong together, in the order to apply.
    units: Vec<Vec<usize>>,
    next: usize,
    /// Tables of which so much was deleted at the remote that a person is asked first.
    held: HashSet<i64>,
    company: HashSet<(i64, Key)>,
}

/// What one slice did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// The page is done, and the checkpoint moved.
    pub done: bool,
    pub rows: u64,
    pub conflicts: u64,
    pub parked: u64,
    /// Something came out of it that must be sent.
    pub pending: bool,
    /// Rows that changed here, by table.
    pub changed: BTreeMap<String, Vec<Key>>,
}

impl Incoming {
    pub fn rows(&self) -> usize {
        self.page.rows.len()
    }

    pub fn more(&self) -> bool {
        self.page.more
    }

    pub fn rows_left(&self) -> Option<u64> {
        self.page.rows_left
    }
}

impl Store {
    /// Orders a page for applying: parents before children, deletes after and in
    /// reverse.
    pub fn receive(&self, mut page: Page, judge: &dyn Judge) -> Result<Incoming> {
        let mut company = HashSet::new();
        for row in page.rows.iter().filter(|row| row.row.is_some()) {
            if let Some(synced) = self.find(&row.table) {
                company.insert((synced.id, row.key.clone()));
            }
        }
        let forgotten = self.forgotten(&page)?;
        page.rows.extend(forgotten);
        let held = self.mass_deletions_there(&page)?;
        let units = self.units(&page, judge);
        Ok(Incoming { page, units, next: 0, held, company })
    }

    /// Applies the next slice of a page.
    pub fn apply(&mut self, incoming: &mut Incoming, judge: &dyn Judge, now: Now, slice: Slice) -> Result<Applied> {
        let fires = self.tables.values().any(|synced| synced.fires);
        if fires {
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        }
        let applied = self.write(|writer| {
            let mut applied = Applied::default();
            let from = incoming.next;
            let manner = Manner { judge, now, company: &incoming.company, caught_up: false, parked: false };
            let mut tally = Tally { applied: &mut applied, blocked: Vec::new() };
            let newest = if fires { Some(writer.newest()?) } else { None };
            let next = writer.take_units(incoming, slice, manner, &mut tally)?;
            if let Some(newest) = newest {
                writer.silence(newest, &tally)?;
            }
            let last = next == incoming.units.len();
            writer.finish_slice(tally, manner, last && !incoming.page.more)?;
            if last {
                writer.set_cursor(&incoming.page.cursor)?;
                if !incoming.page.more {
                    writer.set_seen(incoming.page.head)?;
                }
            }
            applied.done = last;
            Ok((applied, from, next))
        });
        if fires {
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        }
        let (applied, _, next) = applied?;
        incoming.next = next;
        Ok(applied)
    }

    /// Rows the remote is known to have had within a snapshot's stretch, and that the
    /// snapshot did not bring: those with a base, and those that came and wait to be written.
    fn forgotten(&self, page: &Page) -> Result<Vec<RemoteRow>> {
        let mut out = Vec::new();
        for Span { table, from, to } in &page.covers {
            let Some(synced) = self.find(table) else { continue };
            let brought: HashSet<Vec<u8>> = page
                .rows
                .iter()
                .filter(|row| row.table.eq_ignore_ascii_case(table))
                .map(|row| row.key.encode())
                .collect();
            let mut statement = self.db.prepare_cached(
                "SELECT key, rev FROM _homing_base
                     WHERE tab = ?1 AND (?2 IS NULL OR key > ?2) AND (?3 IS NULL OR key <= ?3)
                 UNION ALL SELECT key, NULL FROM _homing_parked
                     WHERE tab = ?1 AND (?2 IS NULL OR key > ?2) AND (?3 IS NULL OR key <= ?3)
                         AND code <> 'mass_deletion'
                         AND NOT EXISTS (SELECT 1 FROM _homing_base b WHERE b.tab = ?1 AND b.key = _homing_parked.key)",
            )?;
            let mut rows = statement.query(rusqlite::params![synced.id, from, to])?;
            while let Some(row) = rows.next()? {
                let key: Vec<u8> = row.get(0)?;
                let known = row.get::<_, Option<i64>>(1)?.map(|rev| base::current(self.era, rev));
                if known == Some(Revision::NONE) || brought.contains(&key) {
                    continue;
                }
                if !page.brought.is_empty() && page.brought.contains(&digest::identity(synced.name(), &key)) {
                    continue;
                }
                let after = known.map_or(0, |revision| revision.0 + 1);
                out.push(RemoteRow {
                    table: synced.name().to_owned(),
                    key: Key::decode(&key).expect("BUG: keys are stored encoded"),
                    // It went after it was last known and before the page was read.
                    revision: page.head.max(Revision(after)),
                    stamp: crate::model::Stamp::default(),
                    row: None,
                    columns: std::sync::Arc::from([]),
                    device: String::new(),
                    role: String::new(),
                });
            }
        }
        Ok(out)
    }

    /// Tables that would lose more of their rows by this page, with what waits for consent
    /// already, than a person should be surprised by.
    fn mass_deletions_there(&self, page: &Page) -> Result<HashSet<i64>> {
        let mut deleted: HashMap<i64, i64> = HashMap::new();
        for row in page.rows.iter().filter(|row| row.row.is_none()) {
            if let Some(synced) = self.find(&row.table) {
                *deleted.entry(synced.id).or_default() += 1;
            }
        }
        let limits = &self.replica.limits;
        let mut held = HashSet::new();
        for (tab, mut lost) in deleted {
            let count = |sql: &str| self.db.query_row(sql, [tab], |row| row.get::<_, i64>(0));
            lost += count("SELECT count(*) FROM _homing_parked WHERE tab = ? AND code = 'mass_deletion'")?;
            if lost < limits.delete_rows_min as i64 {
                continue;
            }
            let known = count("SELECT count(*) FROM _homing_base WHERE tab = ?")?;
            if lost as f64 > known as f64 * limits.delete_share_max {
                held.insert(tab);
            }
        }
        Ok(held)
    }

    /// Groups of rows that refer to each other, parents first; then the deletes.
    fn units(&self, page: &Page, judge: &dyn Judge) -> Vec<Vec<usize>> {
        let mut places: HashMap<(String, &Key), usize> = HashMap::new();
        for (at, row) in page.rows.iter().enumerate().filter(|(_, row)| row.row.is_some()) {
            places.insert((row.table.to_ascii_lowercase(), &row.key), at);
        }
        let mut links = Links::new(page.rows.len());
        for (at, row) in page.rows.iter().enumerate() {
            let (Some(values), Some(synced)) = (&row.row, self.find(&row.table)) else { continue };
            for foreign in &synced.table.foreign_keys {
                let value = |name: &String| {
                    let place = row.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
                    Some(values[place].clone())
                };
                let Some(key) = foreign.columns.iter().map(value).collect::<Option<Vec<Value>>>() else { continue };
                if let Some(parent) = places.get(&(foreign.parent.to_ascii_lowercase(), &Key(key))) {
                    links.join(at, *parent);
                }
            }
        }
        let ranks: Vec<usize> = page.rows.iter().map(|row| judge.rank(&row.table)).collect();
        let mut units: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut deletes: Vec<usize> = Vec::new();
        for at in 0..page.rows.len() {
            match page.rows[at].row {
                Some(_) => units.entry(links.root(at)).or_default().push(at),
                None => deletes.push(at),
            }
        }
        let mut units: Vec<Vec<usize>> = units.into_values().collect();
        for unit in &mut units {
            unit.sort_by_key(|at| (ranks[*at], *at));
        }
        units.sort_by_key(|unit| (ranks[unit[0]], unit[0]));
        deletes.sort_by_key(|at| (std::cmp::Reverse(ranks[*at]), *at));
        units.extend(deletes.into_iter().map(|at| vec![at]));
        units
    }
}

/// Counts a slice's doings; keeps what was blocked for another try.
struct Tally<'a> {
    applied: &'a mut Applied,
    blocked: Vec<(RemoteRow, ReasonCode, String)>,
}

impl Tally<'_> {
    /// True when the row found its place.
    fn count(&mut self, row: &RemoteRow, taken: Taken) -> bool {
        match taken {
            Taken::Known => return true,
            Taken::Written => self.changed(row),
            Taken::Stands => self.applied.pending = true,
            Taken::Conflict { pending } => {
                self.applied.conflicts += 1;
                self.applied.pending |= pending;
                self.changed(row);
            }
            Taken::Blocked(code, text) => {
                self.blocked.push((row.clone(), code, text));
                return false;
            }
        }
        true
    }

    fn changed(&mut self, row: &RemoteRow) {
        self.applied.rows += 1;
        self.applied.changed.entry(row.table.clone()).or_default().push(row.key.clone());
    }
}

impl Writer<'_> {
    /// Takes units until the slice is full; a unit is never split unless it alone is
    /// more than a slice. Returns where to go on.
    fn take_units(&mut self, incoming: &Incoming, slice: Slice, manner: Manner, tally: &mut Tally) -> Result<usize> {
        let start = Instant::now();
        let mut taken = 0;
        let mut next = incoming.next;
        while next < incoming.units.len() {
            let unit = &incoming.units[next];
            let late = slice.time_max.is_some_and(|time_max| start.elapsed() > time_max);
            if taken > 0 && (late || taken + unit.len() > slice.rows_max) {
                break;
            }
            for at in unit {
                let row = &incoming.page.rows[*at];
                let done = match self.waits_for_consent(row, &incoming.held)? {
                    true => Taken::Blocked(ReasonCode::MassDeletion, CONSENT.to_owned()),
                    false => self.take(row, manner)?,
                };
                tally.count(row, done);
            }
            taken += unit.len();
            next += 1;
        }
        Ok(next)
    }

    /// A deletion among so many that a person is asked first. One that was never here,
    /// or is gone already, needs nobody's consent.
    fn waits_for_consent(&self, row: &RemoteRow, held: &HashSet<i64>) -> Result<bool> {
        if row.row.is_some() || held.is_empty() {
            return Ok(false);
        }
        match self.find(&row.table) {
            Some(synced) if held.contains(&synced.id) => Ok(self.base(synced, &row.key.encode())?.is_some()),
            _ => Ok(false),
        }
    }

    fn newest(&self) -> Result<i64> {
        Ok(self.db.query_row("SELECT coalesce(max(seq), 0) FROM _homing_log", [], |row| row.get(0))?)
    }

    /// The app's triggers fired, and with them capture: what it noted of this slice's
    /// own writes leaves the log again, but for rows that must be sent.
    fn silence(&mut self, newest: i64, tally: &Tally) -> Result<()> {
        if !tally.applied.pending {
            self.db.execute("DELETE FROM _homing_log WHERE seq > ?", [newest])?;
        }
        Ok(())
    }

    /// What was blocked is tried again until nothing moves, then with its values moved
    /// aside, then parked. What was parked before gets its chance too.
    fn finish_slice(&mut self, tally: Tally, manner: Manner, caught_up: bool) -> Result<()> {
        let Tally { applied, blocked } = tally;
        let held = |(_, code, _): &(RemoteRow, ReasonCode, String)| *code == ReasonCode::MassDeletion;
        let (consent, mut blocked): (Vec<_>, Vec<_>) = blocked.into_iter().partition(held);
        let fresh: HashSet<(String, Key)> =
            blocked.iter().map(|(row, ..)| (row.table.clone(), row.key.clone())).collect();
        if applied.rows > 0 || caught_up {
            for row in self.parked()? {
                if !fresh.contains(&(row.table.clone(), row.key.clone())) {
                    blocked.push((row, ReasonCode::ParkedParent, String::new()));
                }
            }
        }
        let manner = Manner { caught_up, parked: true, ..manner };
        loop {
            let before = blocked.len();
            blocked = self.retry_blocked(blocked, manner, applied)?;
            if blocked.len() == before && !self.untangle(&mut blocked, applied)? {
                break;
            }
            if blocked.is_empty() {
                break;
            }
        }
        for (row, code, text) in blocked.into_iter().chain(consent) {
            let tables = self.tables;
            if let Some(synced) = tables.values().find(|synced| synced.name().eq_ignore_ascii_case(&row.table)) {
                self.park(synced, &row, code, &text, manner.now.millis)?;
                applied.parked += 1;
            }
        }
        if applied.rows > 0 {
            applied.pending |= self.look_again(&applied.changed)?;
        }
        Ok(())
    }

    fn retry_blocked(
        &mut self,
        blocked: Vec<(RemoteRow, ReasonCode, String)>,
        manner: Manner,
        applied: &mut Applied,
    ) -> Result<Vec<(RemoteRow, ReasonCode, String)>> {
        let mut tally = Tally { applied, blocked: Vec::new() };
        for (row, ..) in blocked {
            let taken = self.take(&row, manner)?;
            if taken == Taken::Known {
                self.unpark_row(&row)?;
            }
            tally.count(&row, taken);
        }
        Ok(tally.blocked)
    }

    fn unpark_row(&self, row: &RemoteRow) -> Result<()> {
        match self.find(&row.table) {
            Some(synced) => self.unpark(synced, &row.key.encode()),
            None => Ok(()),
        }
    }

    /// Rows that block each other by UNIQUE values (two rows that swapped them): all that
    /// can be are taken out of the table under a savepoint and put back as they shall be.
    /// True when that helped; else everything is as before.
    fn untangle(&mut self, blocked: &mut Vec<(RemoteRow, ReasonCode, String)>, applied: &mut Applied) -> Result<bool> {
        let is_unique =
            |(row, code, _): &(RemoteRow, ReasonCode, String)| *code == ReasonCode::ConflictManual && row.row.is_some();
        let tangled: Vec<RemoteRow> =
            blocked.iter().filter(|entry| is_unique(entry)).map(|(row, ..)| row.clone()).collect();
        if tangled.len() < 2 {
            return Ok(false);
        }
        let mut tangled = tangled;
        while tangled.len() > 1 {
            self.db.execute_batch("SAVEPOINT _homing_untangle")?;
            let helped = self.swap(&tangled)?;
            if helped.len() == tangled.len() {
                self.db.execute_batch("RELEASE _homing_untangle")?;
                let done: HashSet<(&str, &Key)> = tangled.iter().map(|row| (row.table.as_str(), &row.key)).collect();
                blocked.retain(|(row, ..)| !done.contains(&(row.table.as_str(), &row.key)));
                let mut tally = Tally { applied, blocked: Vec::new() };
                tangled.iter().for_each(|row| tally.changed(row));
                return Ok(true);
            }
            self.db.execute_batch("ROLLBACK TO _homing_untangle; RELEASE _homing_untangle")?;
            // Once more without those that still failed.
            tangled = helped.into_iter().map(|at| tangled[at].clone()).collect();
        }
        Ok(false)
    }

    /// Removes the clean ones among these rows and writes the remote's versions.
    /// Returns the places that worked.
    fn swap(&mut self, rows: &[RemoteRow]) -> Result<Vec<usize>> {
        let tables = self.tables;
        let mut clean = Vec::new();
        for (at, remote) in rows.iter().enumerate() {
            let Some(synced) = tables.values().find(|synced| synced.name().eq_ignore_ascii_case(&remote.table)) else {
                continue;
            };
            if !self.is_unsent(synced, &remote.key)? {
                clean.push((at, synced));
            }
        }
        let mut kept = Vec::new();
        for (at, synced) in &clean {
            let remote = &rows[*at];
            let rowid = super::row::rowid(self.db, synced, &remote.key)?;
            let local = super::row::read(self.db, synced, &remote.key)?.row();
            super::row::delete(self.db, synced, &remote.key)?;
            kept.push((rowid, local));
        }
        let mut worked = Vec::new();
        for ((at, synced), (rowid, local)) in clean.iter().zip(kept) {
            if self.put_back(synced, &rows[*at], rowid, local)? {
                worked.push(*at);
            }
        }
        Ok(worked)
    }
}

/// Which rows of a page hang together: union by smaller root.
struct Links(Vec<usize>);

impl Links {
    fn new(count: usize) -> Links {
        Links((0..count).collect())
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.0[high] = low;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::conflict::{Meeting, Resolution};
    use crate::model::page::Cursor;
    use crate::model::settings::{Limits, Remote, Replica, Schedule, TableRule, TokenSource};
    use crate::model::{Operation, Stamp};
    use crate::store::aside;
    use crate::store::open::Manners;

    struct Nobody;

    impl Judge for Nobody {
        fn judge(&self, _: &Meeting) -> Resolution {
            unreachable!("BUG: nothing conflicts here")
        }

        fn rank(&self, _: &str) -> usize {
            0
        }
    }

    fn page(rows: impl Iterator<Item = (i64, Option<&'static str>)>, head: i64) -> Page {
        let row = |(at, (number, text)): (usize, (i64, Option<&str>))| RemoteRow {
            table: "task".into(),
            key: Key(vec![Value::Integer(number)]),
            revision: Revision(head + at as i64),
            stamp: Stamp(head),
            row: text.map(|text| vec![Value::Integer(number), Value::Text(text.into())]),
            columns: ["id".to_owned(), "title".to_owned()].into(),
            device: "other".into(),
            role: String::new(),
        };
        Page {
            rows: rows.enumerate().map(row).collect(),
            cursor: Cursor("c".into()),
            head: Revision(head),
            ..Page::default()
        }
    }

    /// A store on an app's database with one table.
    fn opened(folder: &std::path::Path) -> (rusqlite::Connection, Store) {
        let path = folder.join("app.db");
        let app = rusqlite::Connection::open(&path).unwrap();
        app.execute_batch("CREATE TABLE task(id INTEGER PRIMARY KEY, title TEXT NOT NULL)").unwrap();
        let remote = Remote {
            kind: "homing".into(),
            url: String::new(),
            scope: None,
            token: TokenSource::None,
            allow_plain_http: false,
            ca_file: None,
            proxy: None,
            timeout: 1,
            backend: Default::default(),
        };
        let replica = Replica {
            name: "app".into(),
            database: path,
            remote,
            schedule: Schedule::default(),
            limits: Limits::default(),
            include: None,
            exclude: Vec::new(),
            tables: Default::default(),
            default_rule: TableRule::default(),
        };
        let mut store = Store::open(&replica, "here", Manners::default()).unwrap();
        store.attach(2_461_000.0).unwrap();
        (app, store)
    }

    const NOW: Now = Now { millis: 1, offset: 0 };

    fn take(store: &mut Store, page: Page) -> bool {
        let slice = Slice { rows_max: 64, time_max: None };
        let mut incoming = store.receive(page, &Nobody).unwrap();
        let mut pending = false;
        loop {
            let applied = store.apply(&mut incoming, &Nobody, NOW, slice).unwrap();
            pending |= applied.pending;
            if applied.done {
                return pending;
            }
        }
    }

    /// Trap 30: a mass deletion is asked about before it is applied.
    #[test]
    fn a_mass_deletion_at_the_remote_waits_for_a_person() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        let here = || app.query_row("SELECT count(*) FROM task", [], |row| row.get::<_, i64>(0)).unwrap();

        take(&mut store, page((0..200).map(|number| (number, Some("a"))), 1));
        take(&mut store, page((0..90).map(|number| (number, None)), 300));
        assert_eq!(here(), 110, "a deletion of fewer rows than the limit is nobody's question");
        take(&mut store, page((90..195).map(|number| (number, None)), 400));
        assert_eq!((here(), store.counts().unwrap().held_deletions), (110, 105));
        store.retry(Some("task"), None).unwrap();
        take(&mut store, page(std::iter::empty(), 600));
        assert_eq!((here(), store.counts().unwrap().parked), (5, 0));
    }
    #[test]
    fn a_row_that_waits_and_that_a_snapshot_does_not_bring_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, mut store) = opened(folder.path());
        let mut unwritable = page(std::iter::once((7, Some("a"))), 1);
        unwritable.rows[0].row.as_mut().unwrap()[1] = Value::Null;
        take(&mut store, unwritable);
        assert_eq!(store.counts().unwrap().parked, 1);
        let all = Span { table: "task".into(), from: None, to: None };
        take(&mut store, Page { covers: vec![all], ..page(std::iter::empty(), 9) });
        assert_eq!(store.counts().unwrap().parked, 0);
    }

    #[test]
    fn what_was_set_aside_and_has_nothing_left_to_send_is_let_go_when_the_remotes_row_comes() {
        let folder = tempfile::tempdir().unwrap();
        let (_app, mut store) = opened(folder.path());
        let waiting = aside::Aside {
            operation: Operation::Insert,
            standing: aside::Standing::WaitingForParent,
            code: aside::coded(ReasonCode::PendingParent),
            reason: String::new(),
            tries: 0,
            next_try_at: None,
            since: Some(1),
        };
        let refused = aside::Aside { standing: aside::Standing::SetAside, ..waiting.clone() };
        for (number, aside) in [(1, waiting), (2, refused)] {
            store
                .write(|writer| {
                    let synced = writer.find("task").unwrap();
                    writer.put_aside(synced, &Key(vec![Value::Integer(number)]), &aside)
                })
                .unwrap();
        }
        let pending = take(&mut store, page([(1, Some("a")), (2, Some("b"))].into_iter(), 1));
        assert!(pending, "they are looked at in this cycle");
        let gathered = store.gather(NOW, 10, &Nobody).unwrap();
        assert!(gathered.candidates.is_empty());
        store.tidy(&gathered, &[]).unwrap();
        assert_eq!(store.counts().unwrap().set_aside, 0);
        assert!(store.gather(NOW, 10, &Nobody).unwrap().is_quiet());
    }
}
