//! The simulator's own ledger of writes: each value the apps write names itself.
//!
//! A token is accounted for once an app saw it and wrote over it, or deleted its row:
//! from then on nobody misses it. Every other token must be found somewhere.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Tokens {
    next: u64,
    /// Tokens that must be somewhere, and who wrote them where.
    alive: BTreeMap<String, String>,
}

impl Tokens {
    pub(super) fn fresh(&mut self, device: usize) -> String {
        self.next += 1;
        format!("t{}-{device}", self.next)
    }

    pub(super) fn written(&mut self, token: &str, by: String) {
        self.alive.insert(token.to_owned(), by);
    }

    /// The app saw these and replaced them, or lost them in a way that is its own.
    pub(super) fn replaced<'a>(&mut self, tokens: impl IntoIterator<Item = &'a String>) {
        tokens.into_iter().for_each(|token| drop(self.alive.remove(token)));
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (&String, &String)> {
        self.alive.iter()
    }
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
