//! Gathering what could be sent next, in one short read transaction.
//!
//! Looks at a window of the outbox in the order of priorities, folds it by row, takes
//! the values from the tables, and compares with the bases. What turns out not to
//! differ is noise and leaves the log. Which of the candidates go, and in what order,
//! is not decided here.

mod links;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use self::links::left_parents;
use self::reader::{Places, Reader, UnderWay};
use super::aside::{self, Standing};
use super::base::{self, Base, Difference};
use super::flight::{Flight, FlightRow};
use super::outbox::{Entry, read_entries};
use super::row::Found;
use super::{Judge, Now, Result, Store};
use crate::model::settings::Priority;
use crate::model::{Change, Key, Operation, ReasonCode, Revision, Seq, Stamp};
use crate::sqlite::capture::LogOp;
use crate::sqlite::digest;

/// A look at the head of the outbox.
#[derive(Default)]
pub struct Gathered {
    pub candidates: Vec<Gathering>,
    /// Log entries that say nothing new.
    pub(crate) noise: Vec<i64>,
    /// Rows in `_homing_aside` that no longer differ from their base.
    pub(crate) idle: Vec<(i64, Key)>,
    /// The window did not reach the end of the outbox.
    pub more: bool,
    /// Without any, no row need look for itself there.
    some_aside: bool,
    /// See `Store::has_links`.
    links: bool,
}

/// One candidate for the next batch.
#[derive(Debug, Clone)]
pub struct Gathering {
    pub change: Change,
    pub priority: Priority,
    /// Positions in `Gathered::candidates` of what must be at the remote first, or
    /// come along.
    pub needs: Vec<usize>,
    /// Why it stays, whatever the plan.
    pub held: Option<ReasonCode>,
    /// When its oldest unsent write was made, milliseconds since 1970.
    pub since: i64,
    pub(crate) tab: i64,
    pub(crate) shape: i64,
    pub(crate) encoded: Vec<u8>,
    pub(crate) base: Vec<u8>,
    pub(crate) seqs: Vec<i64>,
    /// Hashes of what the remote knows the row's foreign keys to be, by parent table
    /// and columns: for ordering deletes.
    left: Vec<(String, Vec<u64>)>,
}

impl Gathered {
    /// True when there is nothing to write down about it.
    pub fn is_quiet(&self) -> bool {
        self.noise.is_empty() && self.idle.is_empty()
    }

    /// Takes the batch out: these places of `candidates`, in this order. The other
    /// candidates are let go.
    pub fn depart(&mut self, order: &[usize]) -> (Vec<Change>, Vec<FlightRow>) {
        let candidates = std::mem::take(&mut self.candidates);
        let mut candidates: Vec<Option<Gathering>> = candidates.into_iter().map(Some).collect();
        let chosen = order.iter().map(|at| candidates[*at].take().expect("BUG: a plan names a place once"));
        chosen.map(Gathering::depart).unzip()
    }
}

impl Gathering {
    /// The candidate as part of a batch: what travels, and what stays with its bytes.
    fn depart(self) -> (Change, FlightRow) {
        let row = FlightRow {
            table: self.change.table.clone(),
            key: self.change.key.clone(),
            encoded: self.encoded,
            operation: self.change.operation,
            stamp: self.change.stamp,
            seq: self.change.seq,
            tab: self.tab,
            shape: self.shape,
            base: self.base,
            seqs: self.seqs,
        };
        (self.change, row)
    }
}

/// A row as it stands here, and its base.
type Met = (Found, Option<Base>);

/// A row that the log or `_homing_aside` names.
struct Named {
    tab: i64,
    key: Key,
    /// The key's bytes.
    encoded: Vec<u8>,
    seqs: Vec<i64>,
    since: i64,
    written: i64,
    /// Noted by the agent or set aside before: no new write of the app.
    old: bool,
}

impl Store {
    /// The head of the outbox, at most `rows_max` rows of it.
    pub fn gather(&mut self, now: Now, rows_max: usize, judge: &dyn Judge) -> Result<Gathered> {
        let gathered = self.choose(now, rows_max, judge, None)?;
        Ok(gathered.expect("BUG: only what is under way stands against choosing"))
    }

    /// The head of the outbox behind a batch that is on its way, as it will be when the
    /// remote has taken all of that. `None` where that cannot be said: deletions of which
    /// a person may have to be asked are counted when nothing is under way.
    pub fn gather_behind(
        &mut self,
        flight: &Flight,
        now: Now,
        rows_max: usize,
        judge: &dyn Judge,
    ) -> Result<Option<Gathered>> {
        self.choose(now, rows_max, judge, Some(flight))
    }

    fn choose(
        &mut self,
        now: Now,
        rows_max: usize,
        judge: &dyn Judge,
        flight: Option<&Flight>,
    ) -> Result<Option<Gathered>> {
        let under_way = flight.map(UnderWay::new).unwrap_or_default();
        self.read_outbox(rows_max + under_way.seqs.len())?;
        loop {
            let many = self.replica.limits.delete_rows_min;
            let asks = self.outbox.lists().any(|(_, gone, list)| gone && list.len() as u64 >= many);
            if asks && flight.is_some() {
                return Ok(None);
            }
            let gathered = self.survey(now, rows_max, judge, &under_way)?;
            let deletes = gathered.candidates.iter().any(|one| one.change.operation == Operation::Delete);
            if self.outbox.is_whole() || !deletes {
                return Ok(Some(gathered));
            }
            // How many there are decides whether a person is asked.
            self.outbox.refresh(&self.db)?;
        }
    }

    /// Reads as much of the outbox as has to be known: where nothing has precedence its
    /// head is enough. Deletes are counted, and go in an order of their own.
    fn read_outbox(&mut self, rows: usize) -> Result<()> {
        let priorities = self.tables.values().flat_map(|synced| {
            [Operation::Insert, Operation::Update, Operation::Delete].map(|one| synced.rule.priority_of(one))
        });
        let (low, high) = (priorities.clone().min(), priorities.max());
        if low == high {
            let tables = &self.tables;
            self.outbox.refresh_head(&self.db, rows, |tab| tables.contains_key(&tab))?;
            if !self.outbox.lists().any(|(_, gone, list)| gone && list.len() > 0) {
                return Ok(());
            }
        }
        self.outbox.refresh(&self.db)
    }

    fn survey(&self, now: Now, rows_max: usize, judge: &dyn Judge, under_way: &UnderWay) -> Result<Gathered> {
        let transaction = self.db.unchecked_transaction()?;
        let (seqs, more) = self.window(rows_max, judge, under_way);
        let mut gathered = Gathered { more, ..Gathered::default() };
        let named = self.named(seqs, now, rows_max, under_way, &mut gathered)?;
        let masses = self.mass_deletions()?;
        gathered.some_aside = self.db.prepare_cached("SELECT 1 FROM _homing_aside")?.exists([])?;
        gathered.links = self.has_links();
        let mut places: Places = HashMap::new();
        let mut reader = Reader::new(&self.db)?;
        let met = self.look_up(&named, &mut reader)?;
        for (named, met) in named.into_iter().zip(met) {
            self.consider(named, met, now, &masses, &mut gathered, &mut places)?;
        }
        self.link(&mut gathered, &mut places, &mut reader, under_way, now)?;
        drop(reader);
        transaction.finish()?;
        Ok(gathered)
    }

    /// Puts a batch that is taken as a whole, these places of `candidates`, in the order in
    /// which its rows lie: it then touches few pages of each table. Not where a row may
    /// refer to another, or take a value or a key (of another case, say) that another has
    /// to let go of first.
    pub fn lay_out(&self, gathered: &Gathered, order: &mut [usize]) {
        if gathered.links {
            return;
        }
        let candidate = |at: &usize| &gathered.candidates[*at];
        let kind = |at: &usize| (candidate(at).tab, candidate(at).change.operation);
        for run in order.chunk_by_mut(|a, b| kind(a) == kind(b)) {
            let (tab, _) = kind(&run[0]);
            if self.tables[&tab].table.unique.is_empty() {
                run.sort_by_cached_key(|at| base::place(tab, &candidate(at).encoded));
            }
        }
    }

    /// Writes what a look and its plan decided beside the batch: noise leaves the log,
    /// what stays goes aside. `staying`: place in `candidates`, and why.
    pub fn tidy(&mut self, gathered: &Gathered, staying: &[(usize, ReasonCode, String)]) -> Result<()> {
        if gathered.noise.is_empty() && gathered.idle.is_empty() && staying.is_empty() {
            return Ok(());
        }
        self.write(|writer| {
            writer.drop_entries(&gathered.noise)?;
            for (tab, key) in &gathered.idle {
                let synced = &writer.tables[tab];
                writer.clear_aside(synced, &key.encode())?;
            }
            for (place, code, text) in staying {
                let candidate = &gathered.candidates[*place];
                let synced = &writer.tables[&candidate.tab];
                let known = writer.aside(synced, &candidate.encoded)?;
                let standing = match code {
                    ReasonCode::PendingParent | ReasonCode::ParentSetAside => Standing::WaitingForParent,
                    ReasonCode::PendingRetry => Standing::Retry,
                    _ => Standing::SetAside,
                };
                let next_try_at = known.as_ref().and_then(|known| known.next_try_at);
                writer.put_aside(
                    synced,
                    &candidate.change.key,
                    &aside::Aside {
                        operation: candidate.change.operation,
                        standing,
                        code: aside::coded(*code),
                        reason: text.clone(),
                        tries: known.map_or(0, |known| known.tries),
                        next_try_at: if standing == Standing::Retry { next_try_at } else { None },
                        since: Some(candidate.since),
                    },
                )?;
                writer.drop_entries(&candidate.seqs)?;
            }
            Ok(())
        })
    }

    /// Log places to look at: by priority, then oldest first. The deletes of tables
    /// further down the order of dependencies come along with those of their parents.
    fn window(&self, rows_max: usize, judge: &dyn Judge, under_way: &UnderWay) -> (Vec<i64>, bool) {
        let mut levels: BTreeMap<Priority, Vec<i64>> = BTreeMap::new();
        let mut total = 0;
        let mut deletes: Vec<(usize, Vec<i64>)> = Vec::new();
        for (tab, gone, list) in self.outbox.lists() {
            let Some(synced) = self.tables.get(&tab) else { continue };
            let rule = &synced.rule;
            let priority = match gone {
                true => rule.priority_of(Operation::Delete),
                false => rule.priority_of(Operation::Insert).min(rule.priority_of(Operation::Update)),
            };
            total += list.len();
            let waits = |seq: &i64| under_way.seqs.is_empty() || !under_way.seqs.contains(seq);
            let head: Vec<i64> = list.iter().filter(waits).take(rows_max).collect();
            levels.entry(priority).or_default().extend(&head);
            if gone {
                deletes.push((judge.rank(synced.name()), head));
            }
        }
        let mut seqs = Vec::new();
        for mut level in levels.into_values() {
            level.sort_unstable();
            let room = rows_max.saturating_sub(seqs.len());
            seqs.extend(level.into_iter().take(room));
        }
        let taken: HashSet<i64> = seqs.iter().copied().collect();
        let chosen = deletes.iter().filter(|(_, head)| head.iter().any(|seq| taken.contains(seq)));
        if let Some(first) = chosen.map(|(rank, _)| *rank).min() {
            for (_, head) in deletes.iter().filter(|(rank, _)| *rank > first) {
                seqs.extend(head.iter().filter(|seq| !taken.contains(seq)));
            }
        }
        let more = !self.outbox.is_whole() || seqs.len() + under_way.seqs.len() < total;
        (seqs, more)
    }

    /// The window folded by row, with the rows whose next try is due.
    fn named(
        &self,
        seqs: Vec<i64>,
        now: Now,
        rows_max: usize,
        under_way: &UnderWay,
        gathered: &mut Gathered,
    ) -> Result<Vec<Named>> {
        let widths = self.widths();
        let mut named: Vec<Named> = Vec::new();
        let mut places: Places = HashMap::new();
        for run in seqs.chunk_by(|seq, next| seq + 1 == *next) {
            let mut entries = Vec::with_capacity(run.len());
            read_entries(&self.db, &widths, run[0], run[run.len() - 1], |entry| entries.push(entry))?;
            let mut entries = entries.into_iter().peekable();
            for seq in run {
                let Some(Entry { tab, key, at, .. }) = entries.next_if(|entry| entry.seq == *seq) else {
                    gathered.noise.push(*seq);
                    continue;
                };
                let encoded = key.encode();
                let mark = digest::numbered(tab, &encoded);
                if under_way.has(mark) {
                    continue;
                }
                let place = *places.entry(mark).or_insert_with(|| {
                    named.push(Named { tab, key, encoded, seqs: Vec::new(), since: at, written: at, old: false });
                    named.len() - 1
                });
                named[place].seqs.push(*seq);
                named[place].since = named[place].since.min(at);
                named[place].written = named[place].written.max(at);
            }
        }
        for (tab, key, since) in self.due(now.millis, rows_max)? {
            let encoded = key.encode();
            let mark = digest::numbered(tab, &encoded);
            let is_new = !places.contains_key(&mark) && !under_way.has(mark);
            if self.tables.contains_key(&tab) && is_new {
                let since = since.unwrap_or(now.millis);
                named.push(Named { tab, key, encoded, seqs: Vec::new(), since, written: since, old: true });
            }
        }
        Ok(named)
    }

    /// Each named row as it stands here, and its base: rows in the order in which they were
    /// written, where they lie so, and else in the order of their keys, as bases lie.
    fn look_up(&self, named: &[Named], reader: &mut Reader) -> Result<Vec<Met>> {
        let mut met: Vec<Met> = std::iter::repeat_with(|| (Found::Nothing, None)).take(named.len()).collect();
        let mut by_table: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (at, named) in named.iter().enumerate() {
            by_table.entry(named.tab).or_default().push(at);
        }
        for (tab, mut places) in by_table {
            let synced = &self.tables[&tab];
            let keys: Vec<&Key> = places.iter().map(|at| &named[*at].key).collect();
            let rest = reader.walk(synced, &keys, |at, row| met[places[at]].0 = Found::One(row))?;
            let mut rest: Vec<usize> = rest.into_iter().map(|at| places[at]).collect();
            let place = |at: &usize| base::place(tab, &named[*at].encoded);
            rest.sort_by_cached_key(place);
            for at in rest {
                met[at].0 = reader.row(synced, &named[at].key)?;
            }
            places.sort_by_cached_key(place);
            for at in places {
                met[at].1 = reader.base(self.era, synced, &named[at].encoded)?;
            }
        }
        Ok(met)
    }

    /// Turns one named row into a candidate, or finds that it is noise.
    fn consider(
        &self,
        named: Named,
        (found, base): Met,
        now: Now,
        masses: &HashSet<i64>,
        gathered: &mut Gathered,
        places: &mut Places,
    ) -> Result<Option<usize>> {
        let synced = &self.tables[&named.tab];
        let encoded = &named.encoded;
        let (local, several) = match found {
            Found::Nothing => (None, false),
            Found::One(row) => (Some(row), false),
            Found::Several => (None, true),
        };
        let difference = base::difference(synced, local.as_ref(), base.as_ref());
        let known = match gathered.some_aside {
            true => aside::read(&self.db, named.tab, encoded)?,
            false => None,
        };
        if !several && difference == Difference::Same {
            gathered.noise.extend(named.seqs);
            if known.is_some() {
                gathered.idle.push((named.tab, named.key));
            }
            return Ok(None);
        }
        let base_stamp = base.as_ref().map_or(Stamp::default(), |base| base.stamp);
        let base_revision = base.as_ref().map_or(Revision::NONE, |base| base.revision);
        let whole = self.terms.whole_rows || known.as_ref().is_some_and(|known| known.code == "whole_row_needed");
        let (operation, columns) = match (&difference, whole) {
            (Difference::Gone, _) => (Operation::Delete, Vec::new()),
            (Difference::New, _) => (Operation::Insert, (0..synced.columns.len()).collect()),
            (Difference::Changed(_), true) => (Operation::Update, (0..synced.columns.len()).collect()),
            (Difference::Changed(at), false) => (Operation::Update, at.clone()),
            (Difference::Same, _) => (Operation::Update, Vec::new()),
        };
        // Of rows that never change, only new ones go.
        let unsaid = synced.rule.append_only && operation != Operation::Insert;
        if unsaid || operation == Operation::Delete && base_revision == Revision::NONE {
            // Gone here, and the remote of this epoch never had it.
            gathered.noise.extend(named.seqs);
            gathered.idle.push((named.tab, named.key));
            return Ok(None);
        }
        let held = self.held(&named, several, operation, now, masses, known.as_ref());
        let body = local.as_ref().map_or(Vec::new(), |row| base::body(synced, row));
        let row = local.unwrap_or_default();
        let (columns, values) = match columns.len() == synced.columns.len() {
            true => (synced.columns.clone(), row),
            false => (
                columns.iter().map(|at| synced.columns[*at].clone()).collect(),
                columns.iter().map(|at| row[*at].clone()).collect(),
            ),
        };
        let left = left_parents(synced, base.as_ref(), &difference);
        let seq = Seq(named.seqs.iter().copied().max().unwrap_or(0));
        let mark = gathered.links.then(|| digest::numbered(named.tab, &named.encoded));
        let candidate = Gathering {
            change: Change {
                table: synced.label.clone(),
                key: named.key,
                operation,
                columns,
                values,
                base_revision,
                stamp: now.stamp(named.written).after(base_stamp),
                seq,
            },
            priority: synced.rule.priority_of(operation),
            needs: Vec::new(),
            held,
            since: named.since,
            tab: named.tab,
            shape: synced.shape,
            encoded: named.encoded,
            base: body,
            seqs: named.seqs,
            left,
        };
        let place = gathered.candidates.len();
        gathered.candidates.push(candidate);
        if let Some(mark) = mark {
            places.insert(mark, place);
        }
        Ok(Some(place))
    }

    fn held(
        &self,
        named: &Named,
        several: bool,
        operation: Operation,
        now: Now,
        masses: &HashSet<i64>,
        known: Option<&aside::Aside>,
    ) -> Option<ReasonCode> {
        if several {
            return Some(ReasonCode::KeyUnusable);
        }
        if let Some(age) = self.replica.limits.pending_age_max
            && now.millis.saturating_sub(named.since) > age
        {
            return Some(ReasonCode::TooOld);
        }
        let approved = known.is_some_and(|known| known.code == aside::APPROVED);
        if operation == Operation::Delete && masses.contains(&named.tab) && !approved {
            return Some(ReasonCode::MassDeletion);
        }
        // An edit made since a refusal is a new try; without one, the wait goes on.
        let waits =
            |known: &aside::Aside| known.standing == Standing::Retry && aside::is_early(known.next_try_at, now.millis);
        (named.old && known.is_some_and(waits)).then_some(ReasonCode::PendingRetry)
    }

    /// Tables that lost more of their rows than a person should be surprised by.
    fn mass_deletions(&self) -> Result<HashSet<i64>> {
        let mut found = HashSet::new();
        for (tab, gone, list) in self.outbox.lists() {
            let limits = &self.replica.limits;
            if !gone || (list.len() as u64) < limits.delete_rows_min {
                continue;
            }
            let Some(synced) = self.tables.get(&tab) else { continue };
            let count = |sql: &str| self.db.query_row(sql, [], |row| row.get::<_, i64>(0));
            let here = count(&format!("SELECT count(*) FROM {}", crate::sqlite::ident(synced.name())))?;
            let known = count(&format!(
                "SELECT count(*) FROM _homing_base WHERE tab = {tab} AND rev > {}",
                base::stored(self.era, Revision::NONE)
            ))?;
            let lost = known - here;
            if lost >= limits.delete_rows_min as i64 && lost as f64 > known as f64 * limits.delete_share_max {
                found.insert(tab);
            }
        }
        Ok(found)
    }
}

/// What a log entry's `op` means, for people.
pub(crate) fn operation_of(op: i64) -> Operation {
    match op {
        _ if op == LogOp::Insert as i64 => Operation::Insert,
        _ if op == LogOp::Delete as i64 => Operation::Delete,
        _ => Operation::Update,
    }
}
