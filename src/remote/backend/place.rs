//! How far a replica has pulled from a backend: what the agent keeps as its cursor.
//!
//! A backend knows only a time, so a place is that time as the backend told it, and
//! while a pull has pages, the page to go on with. The time of a pull with pages is the
//! earliest that any of them told: what changed between two pages is pulled again. The
//! time moves only with the last page.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::shape::millis_in;
use super::time;
use crate::model::Cursor;
use crate::model::settings::{Backend, Millis};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// What is older was pulled; as the backend told it.
    pub since: Option<Json>,
    /// The page to go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Json>,
    /// The earliest time that the pages so far told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Json>,
    /// Pages so far.
    #[serde(default)]
    pub pages: u32,
    /// When everything was last compared, milliseconds since 1970.
    #[serde(default)]
    pub compared: Millis,
    /// Of the answer that follows, this part was taken: another one would be asked for
    /// from where this place is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

/// What a pull asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// From here on; `None`: everything there is.
    pub since: Option<Json>,
    pub page: Option<Json>,
    /// The answer is everything: what is known here and does not come is gone.
    pub compares: bool,
}

impl Place {
    pub fn of(cursor: &Cursor) -> Option<Place> {
        serde_json::from_str(&cursor.0).ok()
    }

    pub fn cursor(&self) -> Cursor {
        Cursor(serde_json::to_string(self).expect("BUG: a place is JSON"))
    }

    /// The place after an answer that told `told` and leads on to `page`.
    pub fn after(&self, asking: &Asking, told: Option<&Json>, page: Option<Json>, now: Millis) -> Place {
        let earliest = earlier(self.earliest.as_ref(), told);
        let compared = if asking.since.is_none() && self.page.is_none() { now } else { self.compared };
        match page {
            Some(page) => Place {
                since: self.since.clone(),
                page: Some(page),
                earliest,
                pages: self.pages.saturating_add(1),
                compared,
                part: None,
            },
            None => Place { since: earliest.or_else(|| self.since.clone()), compared, ..Place::default() },
        }
    }
}

/// Decides what to ask for next. `compares`: rows here are known to have been there, and
/// nobody remembers up to when.
pub fn plan(place: Option<&Place>, compares: bool, backend: &Backend, now: Millis) -> Asking {
    let Some(place) = place else { return Asking { since: None, page: None, compares } };
    if place.page.is_some() {
        return Asking { since: overlapped(place.since.as_ref(), backend.overlap), page: place.page.clone(), compares };
    }
    let since = place.since.as_ref();
    if since.is_none() {
        // Everything was asked for and only a part of it was taken: what has gone since
        // nobody will say.
        return Asking { since: None, page: None, compares: true };
    }
    let age = since.and_then(millis_in).map(|at| now - at);
    let forgotten = backend.tombstones_kept.is_some_and(|kept| age.is_some_and(|age| age > kept));
    let due = backend.compare_every.is_some_and(|every| now - place.compared > every);
    match forgotten || due {
        true => Asking { since: None, page: None, compares: true },
        false => Asking { since: overlapped(since, backend.overlap), page: None, compares },
    }
}

/// The time a little before, in the form that the backend told it.
fn overlapped(since: Option<&Json>, overlap: Millis) -> Option<Json> {
    let since = since?;
    Some(match (overlap, since) {
        (0, since) => since.clone(),
        (_, Json::Number(number)) => match number.as_i64() {
            Some(millis) => Json::from(millis - overlap),
            None => Json::from(number.as_f64()? - overlap as f64),
        },
        (_, Json::String(text)) => time::parse(text).map_or(since.clone(), |at| Json::from(time::format(at - overlap))),
        (_, other) => other.clone(),
    })
}

/// The earlier of two times; the first one known where only one can be read.
fn earlier(known: Option<&Json>, told: Option<&Json>) -> Option<Json> {
    match (known, told) {
        (Some(known), Some(told)) if millis_in(told) < millis_in(known) => Some(told.clone()),
        (known, told) => known.or(told).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DAY: Millis = 86_400_000;

    fn at(since: Json) -> Place {
        Place { since: Some(since), compared: 50 * DAY, ..Place::default() }
    }

    fn since(place: &Place, backend: &Backend) -> Asking {
        plan(Some(place), false, backend, 60 * DAY)
    }

    #[test]
    fn a_pull_begins_a_little_before_the_last_in_the_backends_own_form() {
        let backend = Backend { overlap: 1_500, ..Backend::default() };
        for (told, asked) in [
            (json!(10_000), json!(8_500)),
            (json!(10_000.5), json!(8_500.5)),
            (json!("1970-01-01T00:00:10Z"), json!("1970-01-01T00:00:08.500Z")),
            (json!("opaque"), json!("opaque")),
        ] {
            assert_eq!(since(&at(told.clone()), &backend).since, Some(asked), "{told}");
        }
        // Without an overlap, to the letter: it may say more than milliseconds.
        let exact = json!("1970-01-01T00:00:10.123456+00:00");
        assert_eq!(since(&at(exact.clone()), &Backend::default()).since, Some(exact));
    }

    #[test]
    fn everything_is_compared_when_deletions_may_have_been_forgotten() {
        let kept = Backend { tombstones_kept: Some(30 * DAY), ..Backend::default() };
        let asked = |days: i64, backend: &Backend| since(&at(json!(days * DAY)), backend).compares;
        assert_eq!((asked(31, &kept), asked(29, &kept)), (false, true));
        let every = |days| Backend { compare_every: Some(days * DAY), ..Backend::default() };
        assert_eq!((asked(59, &every(9)), asked(59, &every(11))), (true, false));
        assert_eq!(plan(None, true, &kept, 0), Asking { since: None, page: None, compares: true });
        let broken = Place { part: Some("1/1".into()), ..Place::default() };
        assert!(since(&broken, &Backend::default()).compares, "a first pull of which a part was taken");
    }

    #[test]
    fn the_time_moves_with_the_last_page_to_the_earliest_that_was_told() {
        let begun = at(json!(100));
        let asking = since(&begun, &Backend::default());
        let first = begun.after(&asking, Some(&json!(200)), Some(json!("p2")), 0);
        assert_eq!((&first.since, &first.page), (&Some(json!(100)), &Some(json!("p2"))));
        let second = first.after(&asking, Some(&json!(150)), Some(json!("p3")), 0);
        assert_eq!(second.pages, 2);
        let done = second.after(&asking, Some(&json!(300)), None, 0);
        assert_eq!((done.since, done.page, done.earliest), (Some(json!(150)), None, None));
        assert_eq!(Place::of(&first.cursor()), Some(first));
    }
}
