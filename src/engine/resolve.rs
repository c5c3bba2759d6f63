//! What a conflict comes to: one remote version of a row meets an unacknowledged local one.
//!
//! Pure and symmetric where it must be: with `latest_timestamp`, `field_level` and
//! `merge` two devices that see the same two versions choose the same row, so that
//! everyone ends up equal. Says for each verdict whether a version loses; such a version
//! goes into the ledger before anything is overwritten. A value that stood in neither
//! version comes from a column's rule alone, such as a counter's sum; values that the
//! rule cannot merge are never guessed at, but fall to what is `in_doubt`.
//!
//! `docs/conflicts.md` has the matrix of all pairs; a test holds it to this code.

mod combine;
mod later;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

pub use self::combine::{Misfit, fits};
use self::combine::{Unfit, combine, inferred};
use self::later::later;
pub use crate::model::conflict::{Meeting, Resolution, Verdict};
use crate::model::{ColumnRule, ConflictKind, DeleteRule, Policy, Row, Settler, SideRule, SoftDelete, Strategy, Value};

pub fn resolve(strategy: Strategy, policy: &Policy, meeting: &Meeting) -> Resolution {
    let lives = Lives::of(policy, meeting);
    let settle = |verdict, record, note: String| Resolution {
        kind: lives.kind(meeting),
        verdict,
        record,
        settled_by: Some(Settler::Rule),
        note,
    };
    if meeting.local == meeting.remote && !counted_apart(strategy, policy, meeting) {
        return settle(Verdict::TakeRemote, false, "Both sides are equal.".into());
    }
    if meeting.base_known && meeting.local == meeting.base {
        return settle(Verdict::TakeRemote, false, "Only the remote changed the row.".into());
    }
    if meeting.base_known && meeting.remote == meeting.base {
        return settle(Verdict::KeepLocal, false, "Only this device changed the row.".into());
    }
    let Settled { verdict, record, open, note } = match (meeting.local, meeting.remote) {
        (Some(local), Some(remote)) if lives.alike() => rows(strategy, policy, meeting, local, remote),
        _ => deletion(strategy, policy, meeting, &lives),
    };
    Resolution { settled_by: (!open).then_some(Settler::Rule), ..settle(verdict, record, sentence(&note)) }
}

fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// True for equal rows in which both sides counted: two that each add one to ten have
/// counted two, though both have eleven.
fn counted_apart(strategy: Strategy, policy: &Policy, meeting: &Meeting) -> bool {
    let (Some(base), Some(local), true) = (meeting.base, meeting.local, meeting.base_known) else { return false };
    let by_column = matches!(strategy, Strategy::FieldLevel | Strategy::Merge);
    by_column && policy.counts(meeting.columns, base, local)
}

/// What a rule made of it.
struct Settled {
    verdict: Verdict,
    record: bool,
    /// It waits for a person.
    open: bool,
    note: String,
}

impl Settled {
    fn whole(verdict: Verdict, note: impl Into<String>) -> Settled {
        Settled { verdict, record: true, open: false, note: note.into() }
    }
}

/// Which sides have the row, as the app sees it.
struct Lives {
    local: bool,
    remote: bool,
}

impl Lives {
    fn of(policy: &Policy, meeting: &Meeting) -> Lives {
        let lives = |side: Option<&Row>| {
            side.is_some_and(|row| !policy.deleted.as_ref().is_some_and(|soft| is_deleted(soft, meeting, row)))
        };
        Lives { local: lives(meeting.local), remote: lives(meeting.remote) }
    }

    fn alike(&self) -> bool {
        self.local == self.remote
    }

    fn kind(&self, meeting: &Meeting) -> ConflictKind {
        match (self.local, self.remote) {
            (true, false) => return ConflictKind::UpdateDelete,
            (false, true) => return ConflictKind::DeleteUpdate,
            _ => {}
        }
        match (meeting.local, meeting.remote) {
            (Some(_), Some(_)) if meeting.base_known && meeting.base.is_none() => ConflictKind::InsertInsert,
            (Some(_), Some(_)) => ConflictKind::UpdateUpdate,
            (Some(_), None) => ConflictKind::UpdateDelete,
            (None, _) => ConflictKind::DeleteUpdate,
        }
    }
}

/// True when the app counts the row as deleted.
fn is_deleted(soft: &SoftDelete, meeting: &Meeting, row: &Row) -> bool {
    let Some(at) = place(meeting, &soft.column) else { return false };
    match (&soft.value, &row[at]) {
        (Some(wanted), Value::Text(text)) => wanted == text,
        (Some(wanted), Value::Integer(number)) => *wanted == number.to_string(),
        (Some(_), _) | (None, Value::Null | Value::Integer(0)) => false,
        (None, Value::Text(text)) => !text.is_empty(),
        (None, _) => true,
    }
}

fn place(meeting: &Meeting, name: &str) -> Option<usize> {
    meeting.columns.iter().position(|column| column.eq_ignore_ascii_case(name))
}

/// The rule for a deletion that meets a change, where the config has none: the strategy's.
fn deletes(strategy: Strategy, policy: &Policy) -> DeleteRule {
    policy.deletes.unwrap_or(DeleteRule::Side(match strategy {
        Strategy::ClientWins => SideRule::ClientWins,
        Strategy::ServerWins => SideRule::ServerWins,
        Strategy::LatestTimestamp | Strategy::FieldLevel | Strategy::Merge => SideRule::LatestTimestamp,
        Strategy::Manual | Strategy::NeedsReview => SideRule::Manual,
    }))
}

fn deletion(strategy: Strategy, policy: &Policy, meeting: &Meeting, lives: &Lives) -> Settled {
    let living = |wins: bool| if lives.local == wins { Verdict::KeepLocal } else { Verdict::TakeRemote };
    match deletes(strategy, policy) {
        DeleteRule::EditWins if !lives.alike() => Settled::whole(living(true), "the row stays, whoever deleted it"),
        DeleteRule::DeleteWins if !lives.alike() => Settled::whole(living(false), "the row goes, whoever changed it"),
        // Both are gone, one of them by a mark of the app's.
        DeleteRule::EditWins | DeleteRule::DeleteWins => whole(SideRule::LatestTimestamp, policy, meeting),
        DeleteRule::Side(side) => whole(side, policy, meeting),
    }
}

/// Whose role stands over the other's, and a clause that says so.
fn by_role(policy: &Policy, meeting: &Meeting) -> Option<(Verdict, String)> {
    let (ours, theirs) = (policy.rank(meeting.local_role), policy.rank(meeting.remote_role));
    let (verdict, whose, role) = match ours.cmp(&theirs) {
        Ordering::Equal => return None,
        Ordering::Less => (Verdict::KeepLocal, "this device", meeting.local_role),
        Ordering::Greater => (Verdict::TakeRemote, "the remote", meeting.remote_role),
    };
    Some((verdict, format!("{whose} has the version of the role {role}, which stands")))
}

/// One of the two versions, whole.
fn whole(side: SideRule, policy: &Policy, meeting: &Meeting) -> Settled {
    if let Some((verdict, note)) = by_role(policy, meeting) {
        return Settled::whole(verdict, note);
    }
    match side {
        SideRule::ServerWins => Settled::whole(Verdict::TakeRemote, "the remote's version stands"),
        SideRule::ClientWins => Settled::whole(Verdict::KeepLocal, "this device's version stands"),
        SideRule::LatestTimestamp => {
            let (verdict, note) = later(policy, meeting);
            Settled::whole(verdict, note)
        }
        SideRule::Manual => Settled {
            open: true,
            ..Settled::whole(
                Verdict::TakeRemote,
                "the remote's version stands here until a person decides; this device's is kept",
            )
        },
    }
}

/// Two rows that differ, and neither is a deletion.
fn rows(strategy: Strategy, policy: &Policy, meeting: &Meeting, local: &Row, remote: &Row) -> Settled {
    match strategy {
        Strategy::ServerWins => whole(SideRule::ServerWins, policy, meeting),
        Strategy::ClientWins => whole(SideRule::ClientWins, policy, meeting),
        Strategy::LatestTimestamp => whole(SideRule::LatestTimestamp, policy, meeting),
        Strategy::Manual | Strategy::NeedsReview => whole(SideRule::Manual, policy, meeting),
        Strategy::FieldLevel | Strategy::Merge => match meeting.base {
            Some(base) if meeting.base_known => by_column(strategy, policy, meeting, base, local, remote),
            None if meeting.base_known && (strategy == Strategy::Merge || policy.singleton) => {
                // Made on both sides: each began with the columns' defaults.
                let mut blank = meeting.defaults.to_vec();
                blank.resize(meeting.columns.len(), Value::Null);
                by_column(strategy, policy, meeting, &blank, local, remote)
            }
            _ => {
                let settled = whole(SideRule::LatestTimestamp, policy, meeting);
                Settled { note: format!("there is no common row to compare with; {}", settled.note), ..settled }
            }
        },
    }
}

/// Column by column: what one side changed is that side's; what both changed falls to
/// the column's rule.
fn by_column(strategy: Strategy, policy: &Policy, meeting: &Meeting, base: &Row, local: &Row, remote: &Row) -> Settled {
    let mut told = Told::default();
    let mut row = Row::with_capacity(local.len());
    for at in 0..meeting.columns.len() {
        let (base, local, remote) = (&base[at], &local[at], &remote[at]);
        let counts = || policy.column(&meeting.columns[at]) == Some(ColumnRule::Counter);
        let both = local != base && remote != base && (local != remote || counts());
        row.push(match both {
            true => contested(strategy, policy, meeting, at, [base, local, remote], &mut told),
            false if remote == base => local.clone(),
            false => remote.clone(),
        });
    }
    Settled {
        record: told.loses(),
        open: told.open,
        note: told.sentence(),
        verdict: match row {
            row if row == *remote => Verdict::TakeRemote,
            row if row == *local => Verdict::KeepLocal,
            row => Verdict::Merge(row),
        },
    }
}

/// What a column comes to that both sides changed.
fn contested(
    strategy: Strategy,
    policy: &Policy,
    meeting: &Meeting,
    at: usize,
    [base, local, remote]: [&Value; 3],
    told: &mut Told,
) -> Value {
    let name = meeting.columns[at].as_str();
    let guess = || if strategy == Strategy::Merge { inferred(base, local, remote) } else { None };
    let own = policy.column(name).or_else(guess);
    if let (None, Some((verdict, note))) = (own, by_role(policy, meeting)) {
        told.lost.push(format!("both sides changed {name}; {note}"));
        return if verdict == Verdict::KeepLocal { local.clone() } else { remote.clone() };
    }
    let rule = own.unwrap_or(ColumnRule::Side(policy.contested));
    let side = match rule {
        ColumnRule::Side(side) => side,
        kind => {
            let local_later = || later(policy, meeting).0 == Verdict::KeepLocal;
            match combine(kind, base, local, remote, local_later) {
                Ok(combined) => {
                    told.merged.push(name.to_owned());
                    if combined.lost {
                        told.lost.push(format!("parts of {name} that both changed are the later side's"));
                    }
                    return combined.value;
                }
                Err(Unfit(why)) => {
                    let stands = match policy.in_doubt {
                        SideRule::Manual => String::new(),
                        side => format!(" ({} decides)", side.word()),
                    };
                    told.lost.push(format!("{name} cannot be merged as {}: {why}{stands}", kind.word()));
                    policy.in_doubt
                }
            }
        }
    };
    let verdict = match side {
        SideRule::ClientWins => Verdict::KeepLocal,
        SideRule::ServerWins => Verdict::TakeRemote,
        SideRule::LatestTimestamp => {
            let (verdict, note) = later(policy, meeting);
            told.by_time.push(name.to_owned());
            told.later = note;
            verdict
        }
        SideRule::Manual => {
            told.open = true;
            Verdict::TakeRemote
        }
    };
    match side {
        SideRule::LatestTimestamp => {}
        SideRule::Manual => told.lost.push(format!("{name} waits for a person, and has the remote's value until then")),
        side => told.lost.push(format!("both sides changed {name}; {} decides", side.word())),
    }
    if verdict == Verdict::KeepLocal { local.clone() } else { remote.clone() }
}

/// What there is to say of a row that was settled by column.
#[derive(Default)]
struct Told {
    open: bool,
    merged: Vec<String>,
    by_time: Vec<String>,
    later: String,
    lost: Vec<String>,
}

impl Told {
    fn loses(&self) -> bool {
        !self.by_time.is_empty() || !self.lost.is_empty()
    }

    fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if !self.merged.is_empty() {
            parts.push(format!("{} merged", self.merged.join(", ")));
        }
        if !self.by_time.is_empty() {
            parts.push(format!("both sides changed {}; there {}", self.by_time.join(", "), self.later));
        }
        parts.extend(self.lost.iter().cloned());
        if parts.is_empty() {
            return "the two sides changed different columns, and both changes stand".to_owned();
        }
        parts.join("; ")
    }
}
