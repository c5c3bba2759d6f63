//! Applying a pulled page, slice by slice.
//!
//! A slice is one transaction: rows, bases, conflicts and parked rows, and with the
//! page's last slice the checkpoint. Rows linked by keys stay in one slice while they
//! fit. A page that was applied in part is simply applied again: what is here already
//! is recognised by its revision.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use rusqlite::config::DbConfig;

use super::arrive::Arrivals;
use super::ready::{Ready, stretches};
use super::receive::Incoming;
use super::take::{Manner, Taken};
use super::{Judge, Now, Result, Slice, Store, Synced, Writer};
use crate::model::{Key, ReasonCode, RemoteRow};

/// What a held deletion says.
const CONSENT: &str = "so many rows were deleted at the remote at once that a person is asked before they go here";

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

impl Store {
    /// Applies the next slice of a page.
    pub fn apply(&mut self, incoming: &mut Incoming, judge: &dyn Judge, now: Now, slice: Slice) -> Result<Applied> {
        let fires = self.tables.values().any(|synced| synced.fires);
        if fires {
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        }
        self.make_ready(incoming, slice.rows_max);
        // All of them: one unit alone may be more than a slice.
        let stretches = stretches(incoming.ready.iter());
        let applied = self.write(|writer| {
            let mut applied = Applied::default();
            let manner = Manner { judge, now, company: &incoming.company, caught_up: false, parked: false };
            let mut tally = Tally { applied: &mut applied, blocked: Vec::new() };
            let newest = if fires { Some(writer.newest()?) } else { None };
            let arrivals = writer.arrivals(&stretches)?;
            let next = writer.take_units(incoming, slice, arrivals, manner, &mut tally)?;
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
            Ok((applied, next))
        });
        if fires {
            self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        }
        let (applied, next) = applied?;
        incoming.pass(next);
        Ok(applied)
    }
}

impl Applied {
    /// The row is not as it was.
    pub(super) fn note(&mut self, row: &RemoteRow) {
        self.rows += 1;
        match self.changed.get_mut(&row.table) {
            Some(keys) => keys.push(row.key.clone()),
            None => drop(self.changed.insert(row.table.clone(), vec![row.key.clone()])),
        }
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
            Taken::Written => self.applied.note(row),
            Taken::Stands => self.applied.pending = true,
            Taken::Conflict { pending } => {
                self.applied.conflicts += 1;
                self.applied.pending |= pending;
                self.applied.note(row);
            }
            Taken::Blocked(code, text) => {
                self.blocked.push((row.clone(), code, text));
                return false;
            }
        }
        true
    }
}

impl<'a> Writer<'a> {
    /// Takes units until the slice is full; a unit is never split unless it alone is
    /// more than a slice. Returns where to go on.
    fn take_units(
        &mut self,
        incoming: &Incoming,
        slice: Slice,
        mut arrivals: Arrivals<'a>,
        manner: Manner,
        tally: &mut Tally,
    ) -> Result<usize> {
        let start = Instant::now();
        let first = incoming.units.start(incoming.next);
        let mut taken = 0;
        let mut next = incoming.next;
        while next < incoming.units.len() {
            let unit = incoming.units.range(next);
            let late = slice.time_max.is_some_and(|time_max| start.elapsed() > time_max);
            if taken > 0 && (late || taken + unit.len() > slice.rows_max) {
                break;
            }
            taken += unit.len();
            for turn in unit {
                let row = &incoming.page.rows[incoming.units.place(turn)];
                let done = self.take_ready(row, &incoming.ready[turn - first], incoming, &mut arrivals, manner)?;
                tally.count(row, done);
            }
            next += 1;
        }
        Ok(next)
    }

    fn take_ready(
        &mut self,
        row: &RemoteRow,
        ready: &Ready,
        incoming: &Incoming,
        arrivals: &mut Arrivals<'a>,
        manner: Manner,
    ) -> Result<Taken> {
        let tables = self.tables;
        let Some(synced) = ready.tab.and_then(|tab| tables.get(&tab)) else { return Ok(Taken::Known) };
        if self.waits_for_consent(row, synced, &ready.key, &incoming.held)? {
            return Ok(Taken::Blocked(ReasonCode::MassDeletion, CONSENT.to_owned()));
        }
        match self.arrive(arrivals, synced, row, ready, manner)? {
            Some(taken) => Ok(taken),
            None => self.take_into(synced, row, ready.key.clone(), manner),
        }
    }

    /// A deletion among so many that a person is asked first. One that was never here,
    /// or is gone already, needs nobody's consent.
    fn waits_for_consent(&self, row: &RemoteRow, synced: &Synced, key: &[u8], held: &HashSet<i64>) -> Result<bool> {
        Ok(row.row.is_none() && held.contains(&synced.id) && self.has_base(synced, key)?)
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
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::conflict::{Meeting, Resolution};
    use crate::model::page::{Cursor, Page, Span};
    use crate::model::settings::{Limits, Remote, Replica, Schedule, TableRule, TokenSource};
    use crate::model::{Operation, Revision, Stamp, Value};
    use crate::store::aside;
    use crate::store::open::Manners;

    pub(crate) struct Nobody;

    impl Judge for Nobody {
        fn judge(&self, _: &Meeting) -> Resolution {
            unreachable!("BUG: nothing conflicts here")
        }

        fn rank(&self, _: &str) -> usize {
            0
        }
    }

    pub(crate) fn page(rows: impl Iterator<Item = (i64, Option<&'static str>)>, head: i64) -> Page {
        let row = |(at, (number, text)): (usize, (i64, Option<&str>))| RemoteRow {
            table: "task".into(),
            key: Key::from(vec![Value::Integer(number)]),
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
    pub(crate) fn opened(folder: &std::path::Path) -> (rusqlite::Connection, Store) {
        opened_with(folder, "CREATE TABLE task(id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
    }

    /// The plainest there is, on an app's database.
    pub(crate) fn replica(path: std::path::PathBuf) -> Replica {
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
        Replica {
            name: "app".into(),
            database: path,
            remote,
            schedule: Schedule::default(),
            limits: Limits::default(),
            include: None,
            exclude: Vec::new(),
            tables: Default::default(),
            default_rule: TableRule::default(),
        }
    }

    pub(crate) fn opened_with(folder: &std::path::Path, schema: &str) -> (rusqlite::Connection, Store) {
        let path = folder.join("app.db");
        let app = rusqlite::Connection::open(&path).unwrap();
        app.execute_batch(schema).unwrap();
        let replica = replica(path);
        let mut store = Store::open(&replica, "here", Manners::default()).unwrap();
        store.attach(2_461_000.0).unwrap();
        (app, store)
    }

    pub(crate) const NOW: Now = Now { millis: 1, offset: 0 };

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
                    writer.put_aside(synced, &Key::from(vec![Value::Integer(number)]), &aside)
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

    /// A backend that has not heard of a column yet has the row without it.
    #[test]
    fn a_write_in_a_column_of_which_the_remote_says_nothing_is_still_sent() {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened(folder.path());
        store.terms.by_content = true;
        take(&mut store, page(std::iter::once((1, Some("a"))), 1));
        app.execute_batch("ALTER TABLE task ADD COLUMN note TEXT; UPDATE task SET note = 'mine'").unwrap();
        store.attach(2_461_000.0).unwrap();
        let pending = take(&mut store, page(std::iter::once((1, Some("a"))), 2));
        assert!(pending);
        let gathered = store.gather(NOW, 10, &Nobody).unwrap();
        let columns: Vec<_> = gathered.candidates.iter().map(|candidate| candidate.change.columns.clone()).collect();
        assert_eq!(columns, [["note".to_owned()].into()]);
    }
}
