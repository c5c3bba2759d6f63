//! Hearing an answer to a pull out: its records become rows as they come, and nothing of
//! them is anybody's before the whole answer was understood.
//!
//! Records of tables that nobody asked for, and of other people where the config says
//! whose they must be, are passed over and counted. Holds one record at a time.

use std::collections::BTreeSet;
use std::io;

use serde_json::{Map, Value as Json};

use super::flaw::Flaw;
use super::shape::Headers;
use super::sieve::{self, Catch, Lot, Step};
use super::staged::{Staged, Staging, UNTOLD};
use super::{Frame, Kind, Speech};
use crate::remote::http::{Body, Meter};

/// What a list within an answer is.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// Part of the frame.
    Frame,
    /// Records of a table, by its place among the shapes.
    Records(usize),
    /// Keys of rows that are gone.
    Ids(usize),
    /// A collection that no table here stands for.
    Stray(String),
    /// Nothing that matters.
    Ignored,
}

/// What came beside the rows.
#[derive(Debug, Default)]
pub struct Heard {
    pub frame: Frame,
    pub rows: usize,
    /// Collections that nobody asked for.
    pub strays: BTreeSet<String>,
    /// Records of other people.
    pub others: usize,
}

/// Why an answer was not heard out.
pub enum Deaf {
    Flaw(Flaw),
    Json(serde_json::Error),
    Disk(io::Error),
}

/// Reads a body to its end; its rows go to `staged`.
pub fn hear(
    kind: &dyn Kind,
    speech: &Speech,
    headers: &mut Headers,
    staged: &mut Staged,
    body: Body,
) -> Result<Heard, Deaf> {
    let meter = body.meter();
    let mut ear =
        Ear { kind, speech, headers, staged, meter, place: String::new(), heard: Heard::default(), deaf: None };
    let answer = sieve::read(body, &mut ear);
    let answer = match (ear.deaf.take(), answer) {
        (Some(deaf), _) => return Err(deaf),
        (None, answer) => answer.map_err(Deaf::Json)?,
    };
    let mut frame = kind.frame(speech, &answer).map_err(Deaf::Flaw)?;
    for (shape, place, records) in std::mem::take(&mut frame.rest) {
        ear.place = place;
        for (at, record) in records.into_iter().enumerate() {
            if !ear.take(2 * shape, at, record) {
                return Err(ear.deaf.take().expect("BUG: what is not taken has a reason"));
            }
        }
    }
    Ok(Heard { frame, ..ear.heard })
}

struct Ear<'a> {
    kind: &'a dyn Kind,
    speech: &'a Speech,
    headers: &'a mut Headers,
    staged: &'a mut Staged,
    meter: Meter,
    /// Where the list stands that is read now.
    place: String,
    heard: Heard,
    deaf: Option<Deaf>,
}

impl Catch for Ear<'_> {
    fn list(&mut self, path: &[Step], within: Option<&Map<String, Json>>) -> Lot {
        let lot = match self.kind.list(self.speech, path, within) {
            Listed::Frame => return Lot::Frame,
            Listed::Ignored => return Lot::Skip,
            Listed::Stray(name) => {
                self.heard.strays.insert(name);
                return Lot::Skip;
            }
            Listed::Records(shape) => 2 * shape,
            Listed::Ids(shape) => 2 * shape + 1,
        };
        self.place = sieve::place(path);
        Lot::Each(lot)
    }

    fn take(&mut self, lot: usize, at: usize, element: Json) -> bool {
        self.meter.set(0);
        let (place, bare) = (lot / 2, lot % 2 == 1);
        let shape = &self.speech.shapes[place];
        if self.speech.is_others(&element) {
            self.heard.others += 1;
            return true;
        }
        let row = match bare {
            true => shape.key(&element).map(|key| shape.tombstone(key, UNTOLD)),
            false => shape.row(&element, UNTOLD, self.headers),
        };
        let staged = match row {
            Ok(row) => self.staged.put(Staging { place, row, bare }).map_err(Deaf::Disk),
            Err(flaw) => Err(Deaf::Flaw(flaw.within(&format!("{}[{at}]", self.place)))),
        };
        self.heard.rows += 1;
        self.deaf = staged.err();
        self.deaf.is_none()
    }
}
