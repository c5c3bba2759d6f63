//! What the checks share: the ground, two devices of the account, and the rows they made.

use std::collections::BTreeMap;

use super::sample::Sample;
use super::station::{Ground, Known, Station};
use crate::model::settings::TokenSource;
use crate::model::{Change, Key, Outcome, Value};
use crate::remote::{Abilities, RemoteError};

/// How a check ended, and what was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Passed(String),
    Failed(String),
    /// It says nothing about the endpoint: why not.
    Skipped(String),
}

pub type Checked = Result<Verdict, RemoteError>;

pub struct Bench {
    pub ground: Ground,
    pub sample: Sample,
    /// Another account's token.
    pub stranger: Option<TokenSource>,
    /// For the checks of pages.
    pub rows_many: usize,
    pub a: Station,
    pub b: Station,
    made: Vec<(String, Key)>,
}

impl Bench {
    pub fn new(
        ground: Ground,
        sample: Sample,
        stranger: Option<TokenSource>,
        rows_many: usize,
    ) -> Result<Bench, RemoteError> {
        let (a, b) = (Station::new(&ground)?, Station::new(&ground)?);
        Ok(Bench { ground, sample, stranger, rows_many, a, b, made: Vec::new() })
    }

    pub fn abilities(&self) -> Abilities {
        self.a.abilities()
    }

    pub fn pulls(&self) -> bool {
        self.abilities().pulls()
    }

    pub fn table(&self) -> &str {
        &self.sample.table.name
    }

    /// A key that is deleted when all is done.
    pub fn key(&mut self) -> Key {
        let key = self.sample.key();
        self.made.push((self.sample.table.name.clone(), key.clone()));
        key
    }

    pub fn keep_in_mind(&mut self, table: &str, key: &Key) {
        self.made.push((table.to_owned(), key.clone()));
    }

    /// A new row that `a` put there.
    pub fn row(&mut self, text: &str) -> Result<Key, RemoteError> {
        let key = self.key();
        let values = self.sample.row(&key, text);
        let table = self.sample.table.name.clone();
        self.a.put(|station| vec![station.insert(&table, key.clone(), values.clone())])?;
        Ok(key)
    }

    /// A new row that both devices know.
    pub fn shared_row(&mut self, text: &str) -> Result<Key, RemoteError> {
        let key = self.row(text)?;
        let name = (self.table().to_owned(), key.clone());
        match self.pulls() {
            true => drop(self.b.pull()?),
            // It cannot be told: as if it had been here from the start.
            false => drop(self.a.rows.get(&name).cloned().map(|known| self.b.rows.insert(name, known))),
        }
        Ok(key)
    }

    pub fn text_update(&self, station: &Station, key: &Key, text: &str) -> Change {
        station.update(self.table(), key, &[(&self.sample.text, Value::Text(text.to_owned()))])
    }

    /// A device that was never here, with everything pulled.
    pub fn fresh(&self) -> Result<Station, RemoteError> {
        let mut station = Station::new(&self.ground)?;
        station.pull()?;
        Ok(station)
    }

    pub fn known<'a>(&self, station: &'a Station, key: &Key) -> Option<&'a Known> {
        station.rows.get(&(self.table().to_owned(), key.clone()))
    }

    /// The text of a row as a station knows it; `None` where it knows no such row.
    pub fn text_at(&self, station: &Station, key: &Key) -> Option<Value> {
        self.known(station, key).map(|known| known.values.get(&self.sample.text).cloned().unwrap_or_default())
    }

    /// What a station knows of the rows made here.
    pub fn view(&self, station: &Station) -> BTreeMap<(String, Key), BTreeMap<String, Value>> {
        let made = |(name, _): &(&(String, Key), &Known)| self.made.contains(name);
        station.rows.iter().filter(made).map(|(name, known)| (name.clone(), known.values.clone())).collect()
    }

    /// Takes out what the checks put in; how many rows would not go.
    pub fn tidy(&mut self) -> usize {
        let made = std::mem::take(&mut self.made);
        if !self.pulls() {
            // What cannot be pulled is known to whoever wrote it last.
            for (name, theirs) in &self.b.rows {
                if self.a.rows.get(name).is_some_and(|mine| mine.revision < theirs.revision) {
                    self.a.rows.insert(name.clone(), theirs.clone());
                }
            }
        }
        let mut left = 0;
        // Children were made after their parents.
        let names: Vec<(String, Key)> = made.into_iter().rev().collect();
        for batch in names.chunks(self.ground.replica.limits.batch_rows_max.clamp(1, 500)) {
            let there = |station: &Station, name: &(String, Key)| station.rows.contains_key(name);
            let gone = self.a.put(|station| {
                let here = batch.iter().filter(|name| there(station, name));
                here.map(|(table, key)| station.delete(table, key)).collect()
            });
            if gone.is_err() {
                left += batch.iter().filter(|name| there(&self.a, name)).count();
            }
        }
        left
    }
}

/// What is not taken as it is: `None` where all was.
pub fn refused(outcomes: &[Outcome]) -> Option<String> {
    outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Refused { text, .. } => Some(text.clone()),
        _ => None,
    })
}
