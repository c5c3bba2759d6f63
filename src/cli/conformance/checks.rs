//! The list of checks, in their order: what each looks at, and what breaks for users
//! where it fails.
//!
//! The order matters only in that the first must pass for the others to say anything.

use super::bench::{Bench, Checked};
use super::{guarding, pulling, pushing, values};

pub struct Check {
    pub name: &'static str,
    /// What is relied on.
    pub relied_on: &'static str,
    /// What becomes of an app's users otherwise.
    pub breaks: &'static str,
    pub run: fn(&mut Bench) -> Checked,
}

/// Without this one nothing else can be said.
pub const FIRST: &str = "answers";

pub const CHECKS: &[Check] = &[
    Check {
        name: FIRST,
        relied_on: "a pull from nothing is answered in the shape that the config says",
        breaks: "nothing syncs at all",
        run: pulling::answers,
    },
    Check {
        name: "round_trip",
        relied_on: "a row that one device pushes comes to another with every column it had",
        breaks: "rows, or columns of them, never reach the other devices",
        run: values::round_trip,
    },
    Check {
        name: "text",
        relied_on: "text comes back as it went: spaces, quotes, accents, any script",
        breaks: "what people write is changed on its way, and the change spreads to all devices",
        run: values::text,
    },
    Check {
        name: "long_text",
        relied_on: "a text of 100,000 characters comes back whole",
        breaks: "long notes are cut off, or stay unsent for ever",
        run: values::long_text,
    },
    Check {
        name: "null_and_empty",
        relied_on: "nothing and an empty text stay two things",
        breaks: "devices never agree on such rows: each sees a change where there is none",
        run: values::null_and_empty,
    },
    Check {
        name: "whole_numbers",
        relied_on: "whole numbers up to 2^53 keep every digit",
        breaks: "counters, amounts and times in milliseconds are altered without a word",
        run: values::whole_numbers,
    },
    Check {
        name: "reals",
        relied_on: "numbers with a fraction keep their last digit",
        breaks: "weights and prices drift, and devices never agree on them",
        run: values::reals,
    },
    Check {
        name: "update",
        relied_on: "an edit comes to those who have the row, and leaves its other columns as they were",
        breaks: "other devices keep showing what was before the edit, or lose what else the row held",
        run: pushing::update,
    },
    Check {
        name: "delete",
        relied_on: "a deletion comes to those who have the row",
        breaks: "what people delete stays on their other devices, and comes back from there",
        run: pushing::delete,
    },
    Check {
        name: "deleted_stays_deleted",
        relied_on: "a new device is not told rows that were deleted",
        breaks: "a reinstalled app shows what was deleted long ago",
        run: pulling::deleted_stays_deleted,
    },
    Check {
        name: "delete_of_nothing",
        relied_on: "deleting a row that is not there is no error",
        breaks: "two devices that delete the same row: one of them can never sync again",
        run: pushing::delete_of_nothing,
    },
    Check {
        name: "made_again",
        relied_on: "a row that was deleted can be made again under its key",
        breaks: "an undone deletion is lost",
        run: pushing::made_again,
    },
    Check {
        name: "replay",
        relied_on: "the same push sent twice, as when the answer was lost, has the effect of one",
        breaks: "after a break of the network rows are there twice, edits of others are undone, or the device is stuck",
        run: pushing::replay,
    },
    Check {
        name: "created_exists",
        relied_on: "a new row whose key is there already is taken as an edit of it",
        breaks: "after a lost answer the device is stuck: its new row is refused for ever",
        run: pushing::created_exists,
    },
    Check {
        name: "updated_missing",
        relied_on: "an edit of a row that is not there is no failure",
        breaks: "an edit of a row that somebody deleted for good blocks everything behind it",
        run: pushing::updated_missing,
    },
    Check {
        name: "newer_is_not_overwritten",
        relied_on: "an edit made on an older version than the backend's is not taken blindly",
        breaks: "of two people who edit one row, the first loses the edit, and nobody is told",
        run: pushing::newer_is_not_overwritten,
    },
    Check {
        name: "all_or_nothing",
        relied_on: "a push that is refused whole leaves nothing behind, and what is refused alone leaves the rest",
        breaks: "rows that belong together arrive torn apart",
        run: pushing::all_or_nothing,
    },
    Check {
        name: "parent_and_child",
        relied_on: "a row and another that refers to it can come in one push",
        breaks: "new lists with new items in them cannot be synced",
        run: pushing::parent_and_child,
    },
    Check {
        name: "many_rows",
        relied_on: "every one of many rows comes, though they were written in the same moment and fill several pages",
        breaks: "part of the data is missing on new devices, for good and unseen",
        run: pulling::many_rows,
    },
    Check {
        name: "pages_under_writes",
        relied_on: "a pull in pages misses no row when rows are written and deleted meanwhile",
        breaks: "rows are missing on a device that first synced while others worked",
        run: pulling::pages_under_writes,
    },
    Check {
        name: "nothing_new",
        relied_on: "a pull brings what is new, and not everything again",
        breaks: "each sync costs as much time, battery and volume as the first",
        run: pulling::nothing_new,
    },
    Check {
        name: "late_commits",
        relied_on: "a row written while others pull is brought by a later pull, whenever it was committed",
        breaks: "now and then a row never reaches a device, and nobody can say why",
        run: pulling::late_commits,
    },
    Check {
        name: "copies_agree",
        relied_on: "a device that followed step by step has what a new one is told at once",
        breaks: "devices drift apart and stay apart",
        run: pulling::copies_agree,
    },
    Check {
        name: "token_needed",
        relied_on: "without a token, or with a wrong one, the answer is 401",
        breaks: "anybody can read the data; or an app whose token ended says \"no network\" for ever",
        run: guarding::token_needed,
    },
    Check {
        name: "strangers_see_nothing",
        relied_on: "another account is told none of this one's rows",
        breaks: "people see each other's data",
        run: guarding::strangers_see_nothing,
    },
    Check {
        name: "strangers_change_nothing",
        relied_on: "another account can neither change nor delete this one's rows, though it knows their keys",
        breaks: "people can destroy each other's data",
        run: guarding::strangers_change_nothing,
    },
];
