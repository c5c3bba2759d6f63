//! The remote's version under the local columns, and how rows differ from a base.
//!
//! Pure: what is compared is given, and nothing is read or written here.

use super::Synced;
use super::base::Base;
use super::take::Sides;
use crate::model::{RemoteRow, Row};
use crate::sqlite::digest;

/// The remote's version under the local columns, and which of them it speaks of. What
/// it does not know keeps its local value, or its default.
pub(super) fn fit(synced: &Synced, remote: &RemoteRow, local: Option<&Row>) -> (Option<Row>, Vec<usize>) {
    let Some(values) = &remote.row else { return (None, Vec::new()) };
    if remote.columns.len() == synced.columns.len() && *remote.columns == *synced.columns {
        return (Some(values.clone()), (0..values.len()).collect());
    }
    let mut spoken = Vec::new();
    let row = synced
        .columns
        .iter()
        .enumerate()
        .map(|(at, name)| match remote.columns.iter().position(|column| column.eq_ignore_ascii_case(name)) {
            Some(place) => {
                spoken.push(at);
                values[place].clone()
            }
            None => local.map_or_else(|| synced.defaults[at].clone(), |row| row[at].clone()),
        })
        .collect();
    (Some(row), spoken)
}

/// The local row with the remote's values in columns that came after the base was taken,
/// where it has nothing but their default.
pub(super) fn grown(synced: &Synced, base: &Base, sides: &Sides) -> Option<Row> {
    let (Some(local), Some(theirs)) = (&sides.local, &sides.remote) else { return sides.local.clone() };
    let takes =
        |at: usize| sides.spoken.contains(&at) && base.lacks(&synced.columns[at]) && local[at] == synced.defaults[at];
    let both = local.iter().zip(theirs).enumerate();
    Some(both.map(|(at, (ours, theirs))| if takes(at) { theirs } else { ours }.clone()).collect())
}

/// Positions of the columns that the remote speaks of and in which it is not as the base.
pub(super) fn differing(synced: &Synced, sides: &Sides, base: &Base) -> Vec<usize> {
    let Some(row) = &sides.remote else { return Vec::new() };
    let differs = |at: &usize| base.hash_under(synced, *at) != digest::value(&row[*at]);
    sides.spoken.iter().copied().filter(differs).collect()
}

/// True when the row is as the base says, whatever epoch the base is of.
pub(super) fn is_base(synced: &Synced, row: Option<&Row>, base: &Base) -> bool {
    let Some(row) = row else { return false };
    (0..synced.columns.len()).all(|at| base.hash_under(synced, at) == digest::value(&row[at]))
}

/// Whether the row was changed here in a column of which the remote says nothing: that it
/// has all the others does not mean that it has this.
pub(super) fn unsaid(synced: &Synced, sides: &Sides, base: &Base) -> bool {
    let Some(row) = sides.local.as_ref().filter(|row| sides.spoken.len() < row.len()) else { return false };
    let mut others = (0..row.len()).filter(|at| !sides.spoken.contains(at));
    others.any(|at| base.hash_under(synced, at) != digest::value(&row[at]))
}
