//! The simulator's own ledger of writes: each value the apps write names itself.
//!
//! A token lives in the row that an app last put it into. It is accounted for once an
//! app saw it there and wrote over it, or deleted the row: from then on nobody misses
//! it. Every other token must be found somewhere. Where an app moves a row away and puts
//! it back as it stood, nothing was written: who wrote over it meanwhile, elsewhere, had
//! seen it there.

use std::collections::{BTreeMap, BTreeSet};

use super::look::{Look, Place};
use crate::model::{Row, Value};

#[derive(Debug, Default)]
pub(super) struct Tokens {
    next: u64,
    /// Tokens that must be somewhere.
    alive: BTreeMap<String, Home>,
    /// Where apps wrote over a token that another had moved away: on these devices.
    over: BTreeMap<(String, Place), BTreeSet<usize>>,
}

#[derive(Debug)]
struct Home {
    place: Place,
    /// Who wrote it.
    by: String,
}

impl Tokens {
    pub(super) fn fresh(&mut self, device: usize) -> String {
        self.next += 1;
        format!("t{}-{device}", self.next)
    }

    /// A transaction was committed, on this device or at the hub; values may have moved
    /// from row to row.
    pub(super) fn wrote(&mut self, device: Option<usize>, before: &Look, after: &Look, by: &str) {
        let changed = before.changed(after);
        let mut came: Vec<(String, Place)> = Vec::new();
        for place in &changed {
            let (old, new) = (of(before.rows.get(*place)), of(after.rows.get(*place)));
            for token in old.difference(&new) {
                match (self.alive.get(token), device) {
                    (Some(home), _) if home.place == **place => drop(self.alive.remove(token)),
                    (Some(_), Some(device)) if !after.has(token) => {
                        self.over.entry((token.clone(), (*place).clone())).or_default().insert(device);
                    }
                    _ => {}
                }
            }
            came.extend(new.difference(&old).map(|token| (token.clone(), (*place).clone())));
        }
        for (token, place) in came {
            self.alive.insert(token, Home { place, by: by.to_owned() });
        }
    }

    /// An app put a row back as it stood.
    pub(super) fn put_back(&mut self, device: usize, place: &Place, row: Option<&Row>) {
        for token in of(row) {
            let over = self.over.get(&(token.clone(), place.clone()));
            let elsewhere = over.is_some_and(|devices| devices.iter().any(|other| *other != device));
            if elsewhere && self.alive.get(&token).is_some_and(|home| home.place == *place) {
                self.alive.remove(&token);
            }
        }
    }

    /// These went in a way that is nobody's fault.
    pub(super) fn excuse<'a>(&mut self, tokens: impl IntoIterator<Item = &'a String>) {
        tokens.into_iter().for_each(|token| drop(self.alive.remove(token)));
    }

    /// A side went back to an older state: what only `gone` had in its place went with it.
    pub(super) fn went_with(&mut self, gone: &Look, left: &[&Look]) {
        self.alive.retain(|token, home| {
            let stands = |look: &&Look| look.keeps(token) || of(look.rows.get(&home.place)).contains(token);
            !gone.has(token) || left.iter().any(stands)
        });
    }

    /// Every token that must be somewhere, and who wrote it.
    pub(super) fn alive(&self) -> impl Iterator<Item = (&String, &String)> {
        self.alive.iter().map(|(token, home)| (token, &home.by))
    }
}

/// The tokens in a row.
pub(super) fn of(row: Option<&Row>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for value in row.into_iter().flatten() {
        if let Value::Text(text) = value {
            find(text, &mut found);
        }
    }
    found
}

/// All tokens in a text.
pub(super) fn find(text: &str, into: &mut BTreeSet<String>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let fresh = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        if fresh && bytes[at] == b't' {
            let rest = &text[at + 1..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let tail = &rest[digits..];
            if digits > 0 && tail.starts_with('-') {
                let device = tail[1..].bytes().take_while(u8::is_ascii_digit).count();
                if device > 0 {
                    let end = at + 1 + digits + 1 + device;
                    into.insert(text[at..end].to_owned());
                    at = end;
                    continue;
                }
            }
        }
        at += 1;
    }
}
