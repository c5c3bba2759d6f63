//! The rows of one answer, or of some pages, until all of it was understood.
//!
//! Few rows stay in memory. From a bound on they lie in a file without a name, which is
//! gone when this is dropped, and are handed out in parts: rows in the order of their
//! tables, parents first, then what was deleted, in reverse. Within a table they go by
//! key, as far as that costs little: rows that lie side by side are written at a third of
//! the price. Where a row is spoken of twice, what was said last counts; a bare id among
//! the deleted gives way to a record wherever that stands in the same page. Of each row in
//! the file its identity and its place stay in memory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::model::{Key, RemoteRow, Revision, Stamp, key};
use crate::protocol::scratch::nameless;
use crate::sqlite::digest;

/// What stays in memory at most, and what one part of the rest has.
const ROWS_MAX: usize = 5_000;
const BYTES_MAX: usize = 4 << 20;
/// The stamp of a row whose record names no time; it gets that of the whole answer.
pub const UNTOLD: Stamp = Stamp(i64::MIN);

/// A row on its way: which of the tables it belongs to, and whether it is a bare id.
pub struct Staging {
    pub place: usize,
    pub row: RemoteRow,
    pub bare: bool,
}

#[derive(Default)]
pub struct Staged {
    hand: Vec<Staging>,
    /// How many rows were in hand when each further page began.
    turns: Vec<usize>,
    bytes: usize,
    pile: Option<Pile>,
}

impl Staged {
    pub fn put(&mut self, staging: Staging) -> io::Result<()> {
        if let Some(pile) = &mut self.pile {
            return pile.put(&staging);
        }
        self.bytes += weight(&staging.row);
        self.hand.push(staging);
        if self.hand.len() <= ROWS_MAX && self.bytes <= BYTES_MAX {
            return Ok(());
        }
        let mut pile = Pile::new()?;
        for (at, staging) in self.hand.drain(..).enumerate() {
            self.turns.iter().filter(|turn| **turn == at).for_each(|_| pile.turn());
            pile.put(&staging)?;
        }
        self.pile = Some(pile);
        Ok(())
    }

    /// Another page begins.
    pub fn turn(&mut self) {
        match &mut self.pile {
            Some(pile) => pile.turn(),
            None => self.turns.push(self.hand.len()),
        }
    }

    pub fn len(&self) -> usize {
        self.pile.as_ref().map_or(self.hand.len(), |pile| pile.entries.len())
    }

    /// All of it is there. `ranks`: of the tables, parents lower. `told`: the answer's time.
    pub fn finish(self, ranks: &[usize], told: Stamp) -> io::Result<Parts> {
        match self.pile {
            None => Ok(Parts { hand: newest(self.hand, &self.turns), pile: None, brought: HashSet::new(), told }),
            Some(pile) => {
                let mut sorted = pile.sorted(ranks)?;
                let brought = std::mem::take(&mut sorted.standing);
                Ok(Parts { hand: Vec::new(), pile: Some(sorted), brought, told })
            }
        }
    }
}

/// Staged rows, to be taken part by part.
pub struct Parts {
    hand: Vec<RemoteRow>,
    pile: Option<Sorted>,
    /// Identities of the rows that stand, where not all are in one part.
    brought: HashSet<u128>,
    told: Stamp,
}

impl Parts {
    /// The next part; whether it is the last is `is_done`'s to say.
    pub fn next(&mut self) -> io::Result<Vec<RemoteRow>> {
        let mut rows = match &mut self.pile {
            None => std::mem::take(&mut self.hand),
            Some(pile) => pile.next()?,
        };
        for row in rows.iter_mut().filter(|row| row.stamp == UNTOLD) {
            row.stamp = self.told;
        }
        Ok(rows)
    }

    pub fn is_done(&self) -> bool {
        self.hand.is_empty() && self.left() == 0
    }

    /// Rows that were not taken yet.
    pub fn left(&self) -> u64 {
        self.pile.as_ref().map_or(self.hand.len() as u64, Sorted::left)
    }

    /// Every row that stands, by identity; none where one part has them all.
    pub fn into_brought(self) -> HashSet<u128> {
        self.brought
    }
}

/// The last version of each row, by key; a bare id only where its page has no record.
fn newest(hand: Vec<Staging>, turns: &[usize]) -> Vec<RemoteRow> {
    let page = |at: usize| turns.partition_point(|turn| *turn <= at);
    let name = |at: usize, one: &Staging| (page(at), one.place, one.row.key.clone());
    let rows = hand.iter().enumerate();
    let standing: HashSet<_> = rows.filter(|(_, one)| one.row.row.is_some()).map(|(at, one)| name(at, one)).collect();
    let mut seen = HashSet::with_capacity(hand.len());
    let mut kept: Vec<RemoteRow> = hand
        .into_iter()
        .enumerate()
        .rev()
        .filter(|(at, one)| !(one.bare && standing.contains(&name(*at, one))))
        .filter(|(_, one)| seen.insert((one.place, one.row.key.clone())))
        .map(|(_, one)| one.row)
        .collect();
    kept.sort_by_cached_key(|row| start(&row.key.encode()));
    kept
}

/// A row in the file.
struct Entry {
    place: usize,
    gone: bool,
    /// The beginning of its key, by which rows are handed out.
    start: u64,
    at: u64,
    bytes: u32,
}

struct Pile {
    file: BufWriter<File>,
    at: u64,
    entries: Vec<Entry>,
    tables: Vec<String>,
    headers: Vec<Arc<[String]>>,
    standing: HashSet<u128>,
    /// Of them those of this page, where it is not the first.
    here: Option<HashSet<u128>>,
    gone: HashSet<u128>,
    buffer: Vec<u8>,
}

impl Pile {
    fn new() -> io::Result<Pile> {
        Ok(Pile {
            file: BufWriter::with_capacity(64 << 10, nameless()?),
            at: 0,
            entries: Vec::new(),
            tables: Vec::new(),
            headers: Vec::new(),
            standing: HashSet::new(),
            here: None,
            gone: HashSet::new(),
            buffer: Vec::new(),
        })
    }

    fn turn(&mut self) {
        self.here = Some(HashSet::new());
    }

    fn put(&mut self, Staging { place, row, bare }: &Staging) -> io::Result<()> {
        let key = row.key.encode();
        let identity = digest::identity(&row.table, &key);
        let gone = row.row.is_none();
        match gone {
            false => {
                self.standing.insert(identity);
                self.here.as_mut().map(|here| here.insert(identity));
                self.gone.remove(&identity);
            }
            true if *bare && self.here.as_ref().unwrap_or(&self.standing).contains(&identity) => return Ok(()),
            true => {
                self.standing.remove(&identity);
                self.gone.insert(identity);
            }
        }
        let header = self.header(&row.columns);
        if self.tables.len() <= *place {
            self.tables.resize(place + 1, String::new());
        }
        if self.tables[*place].is_empty() {
            self.tables[*place].clone_from(&row.table);
        }
        self.buffer.clear();
        self.buffer.extend(header.to_le_bytes());
        self.buffer.extend(row.revision.0.to_le_bytes());
        self.buffer.extend(row.stamp.0.to_le_bytes());
        self.buffer.extend((key.len() as u32).to_le_bytes());
        self.buffer.extend(&key);
        // A row is written as a key is: every value comes back as it was.
        for value in row.row.iter().flatten() {
            crate::model::key::put(&mut self.buffer, value);
        }
        let bytes = self.buffer.len() as u32;
        self.entries.push(Entry { place: *place, gone, start: start(&key), at: self.at, bytes });
        self.file.write_all(&self.buffer)?;
        self.at += u64::from(bytes);
        Ok(())
    }

    /// Rows of one kind share their list of columns.
    fn header(&mut self, columns: &Arc<[String]>) -> u32 {
        let known = self.headers.iter().rposition(|known| Arc::ptr_eq(known, columns) || known == columns);
        known.unwrap_or_else(|| {
            self.headers.push(columns.clone());
            self.headers.len() - 1
        }) as u32
    }

    /// By table and key. Rows of one key keep the order in which they were said.
    fn sorted(mut self, ranks: &[usize]) -> io::Result<Sorted> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let rank = |entry: &Entry| ranks.get(entry.place).copied().unwrap_or_default() as i64;
        self.entries.sort_by_key(|entry| {
            let rank = if entry.gone { -rank(entry) } else { rank(entry) };
            (entry.gone, rank, entry.place, entry.start)
        });
        Ok(Sorted {
            file,
            entries: self.entries,
            next: 0,
            tables: self.tables,
            headers: self.headers,
            standing: self.standing,
            gone: self.gone,
        })
    }
}

/// What follows the class of a key's first value.
fn start(key: &[u8]) -> u64 {
    let mut start = [0; 8];
    key.iter().skip(1).zip(&mut start).for_each(|(from, to)| *to = *from);
    u64::from_be_bytes(start)
}

struct Sorted {
    file: File,
    entries: Vec<Entry>,
    next: usize,
    tables: Vec<String>,
    headers: Vec<Arc<[String]>>,
    standing: HashSet<u128>,
    gone: HashSet<u128>,
}

impl Sorted {
    fn left(&self) -> u64 {
        (self.entries.len() - self.next) as u64
    }

    fn next(&mut self) -> io::Result<Vec<RemoteRow>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = self.entries.get(self.next).filter(|_| rows.len() < ROWS_MAX && bytes < BYTES_MAX) {
            self.next += 1;
            let mut content = vec![0; entry.bytes as usize];
            self.file.read_exact_at(&mut content, entry.at)?;
            bytes += content.len();
            let row = self.row(entry, &content).ok_or_else(|| io::Error::other("the file was changed"))?;
            // What was said of it last is another: only the last one counts.
            if !entry.gone || self.gone.contains(&digest::identity(&row.table, &row.key.encode())) {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn row(&self, entry: &Entry, mut content: &[u8]) -> Option<RemoteRow> {
        let header = u32::from_le_bytes(take(&mut content)?);
        let revision = i64::from_le_bytes(take(&mut content)?);
        let stamp = i64::from_le_bytes(take(&mut content)?);
        let key_bytes = u32::from_le_bytes(take(&mut content)?) as usize;
        let (key, values) = content.split_at_checked(key_bytes)?;
        Some(RemoteRow {
            table: self.tables.get(entry.place)?.clone(),
            key: Key::decode(key)?,
            revision: Revision(revision),
            stamp: Stamp(stamp),
            row: if entry.gone { None } else { Some(key::take_all(values)?) },
            columns: self.headers.get(header as usize)?.clone(),
            device: String::new(),
            role: String::new(),
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn weight(row: &RemoteRow) -> usize {
    let values = row.key.0.iter().chain(row.row.iter().flatten());
    64 + values.map(crate::model::Value::weight).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    fn row(place: usize, id: i64, body: Option<&str>) -> Staging {
        let table = ["child", "parent"][place];
        let columns: Arc<[String]> = Arc::from(["id".to_owned(), "body".to_owned()]);
        Staging {
            place,
            bare: false,
            row: RemoteRow {
                table: table.to_owned(),
                key: Key::from(vec![Value::Integer(id)]),
                revision: Revision(id + 1),
                stamp: if id == 3 { UNTOLD } else { Stamp(id) },
                row: body.map(|body| vec![Value::Integer(id), Value::Text(body.to_owned())]),
                columns: if body.is_some() { columns } else { Arc::from([]) },
                device: String::new(),
                role: String::new(),
            },
        }
    }

    fn said(parts: &mut Parts) -> Vec<(String, i64, Option<String>)> {
        let mut out = Vec::new();
        while !parts.is_done() {
            let rows = parts.next().unwrap();
            assert!(rows.len() <= ROWS_MAX);
            out.extend(rows.into_iter().map(|row| {
                let Value::Integer(id) = row.key.0[0] else { panic!() };
                assert_eq!((row.revision, row.stamp), (Revision(id + 1), if id == 3 { Stamp(77) } else { Stamp(id) }));
                let body = row.row.map(|mut row| if let Value::Text(body) = row.remove(1) { body } else { panic!() });
                (row.table, id, body)
            }));
        }
        out
    }

    /// Children first, a row twice, one deleted and made again, one made and deleted, and
    /// an id among the deleted that gives way.
    fn stage(filler: i64) -> Parts {
        let mut staged = Staged::default();
        let bare = |place, id| Staging { bare: true, ..row(place, id, None) };
        let first = [row(0, 1, Some("first")), row(0, 2, None), row(0, 3, Some("three")), bare(0, 3), bare(0, 4)];
        let then = [row(0, 2, Some("again")), row(0, 1, Some("second")), row(1, 9, Some("parent")), row(1, 8, None)];
        let last = [row(0, 5, Some("brief")), row(0, 5, None), row(0, 6, Some("brief")), row(0, 7, Some("long"))];
        for staging in first.into_iter().chain(then).chain(last) {
            staged.put(staging).unwrap();
        }
        // In a later page, an id among the deleted is news.
        staged.turn();
        staged.put(bare(0, 6)).unwrap();
        staged.put(row(0, 7, Some("longer"))).unwrap();
        staged.put(bare(0, 7)).unwrap();
        for id in 0..filler {
            staged.put(row(1, 1_000 + id, Some("filler"))).unwrap();
        }
        staged.finish(&[1, 0], Stamp(77)).unwrap()
    }

    #[test]
    fn what_was_said_last_counts_in_memory_and_on_disk() {
        let last = |parts: &mut Parts| {
            let mut last = std::collections::BTreeMap::new();
            for (table, id, body) in said(parts).into_iter().filter(|(_, id, _)| *id < 1_000) {
                last.insert((table, id), body);
            }
            last
        };
        let (mut few, mut many) = (stage(0), stage(2 * ROWS_MAX as i64));
        assert!(few.pile.is_none() && many.pile.is_some());
        let (few, many) = (last(&mut few), last(&mut many));
        assert_eq!(few, many);
        let bodies: Vec<Option<&str>> = few.values().map(Option::as_deref).collect();
        let expected =
            [Some("second"), Some("again"), Some("three"), None, None, None, Some("longer"), None, Some("parent")];
        assert_eq!(bodies, expected);
    }

    #[test]
    fn parts_from_disk_have_parents_first_and_deletions_last() {
        let mut many = stage(2 * ROWS_MAX as i64);
        let standing = many.brought.clone();
        assert_eq!(standing.len(), 2 * ROWS_MAX + 5);
        assert!(standing.contains(&digest::identity("PARENT", &Key::from(vec![Value::Integer(9)]).encode())));
        let rows = said(&mut many);
        let place = |table: &str, id: i64| rows.iter().rposition(|row| row.0 == table && row.1 == id).unwrap();
        assert!(place("parent", 9) < place("child", 1), "parents first");
        assert!(place("child", 1) < place("child", 4), "deletions after");
        assert!(place("child", 4) < place("parent", 8), "and in reverse");
        assert_eq!(many.into_brought(), standing);
    }
}
