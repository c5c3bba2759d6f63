//! Fetching: page by page from the backend, part by part to the agent.
//!
//! A page that was heard out is handed on whole, or in parts where it is too large; the
//! place moves with its last part. Only a part that was taken whole leads to the next
//! one: after anything else the backend is asked again from the place that is known.
//!
//! Pages have an order of the backend's own, in which rows are dear to write. So they are
//! gathered: one, then two, then four, each time twice as many while all goes well, so
//! that a line that breaks again and again loses one page at a time.

use serde_json::Value as Json;

use super::call::Purpose;
use super::hear::{self, Deaf, Heard};
use super::place::{self, Asking, Place};
use super::shape::{self, Shape};
use super::staged::{Parts, Staged};
use super::{BackendRemote, Frame, clock, no_room};
use crate::model::page::Span;
use crate::model::{Cursor, Page, Revision, Stamp, text};
use crate::remote::http::fault;
use crate::remote::{Ask, RemoteError, Result};

/// The largest answer to a pull, and the largest record in it. It is never held whole.
const PULLED_BYTES_MAX: u64 = 16 << 30;
const RECORD_BYTES_MAX: u64 = 32 << 20;
/// Pages of one pull at most: a backend that never comes to an end is not followed.
const PAGES_MAX: u32 = 100_000;
/// A backend's time that went back this far, milliseconds, is another time.
const BACK_MAX: i64 = 60_000;
/// Pages of one comparison, which is taken at once.
const COMPARED_PAGES_MAX: u32 = 10_000;

/// Rows of pages that are gathered before any is handed on.
const GATHERED_ROWS_MAX: usize = 100_000;

/// Rows that were heard and are handed on part by part. The place moves with the last.
pub(super) struct Handing {
    parts: Parts,
    before: Place,
    after: Place,
    compared: bool,
    /// Parts handed on so far.
    handed: u64,
    /// The cursor that the next part belongs to.
    next: Cursor,
}

impl BackendRemote {
    pub(super) fn fetch(&mut self, ask: &Ask) -> Result<Page> {
        // Only a part that was taken whole leads to the next one.
        if let Some(handing) = self.handing.take().filter(|handing| ask.cursor.as_ref() == Some(&handing.next)) {
            return self.hand_on(handing);
        }
        let begun = ask.cursor.as_ref().and_then(Place::of);
        let before = Place { part: None, ..begun.clone().unwrap_or_default() };
        if !self.pulls() {
            return Ok(Page { epoch: self.epoch(), cursor: before.cursor(), head: Revision(1), ..Page::default() });
        }
        // Whatever breaks off begins with a single page again.
        let stride = std::mem::replace(&mut self.stride, 1);
        let mut asking = place::plan(begun.as_ref(), ask.compares, &self.speech.backend, self.speech.now);
        let mut staged = Staged::default();
        let (mut after, replaces) = match self.next(&before, &asking, &mut staged) {
            // It no longer knows what went: whatever it has is compared.
            Err(RemoteError::CursorOver) if asking.since.is_some() => {
                (asking, staged) = (Asking { since: None, page: None, compares: true }, Staged::default());
                self.next(&Place::default(), &asking, &mut staged)?
            }
            Err(RemoteError::CursorOver) => return Err(self.rubbish("it says that the beginning is over")),
            answered => answered?,
        };
        asking.compares |= replaces;
        let mut pages = 1;
        while let Some(page) = after.page.clone() {
            match asking.compares {
                true if after.pages > COMPARED_PAGES_MAX => {
                    return Err(self.rubbish("its pages do not come to an end"));
                }
                false if pages >= stride || staged.len() >= GATHERED_ROWS_MAX => break,
                _ => {}
            }
            staged.turn();
            (after, _) = self.next(&after, &Asking { page: Some(page), ..asking.clone() }, &mut staged)?;
            pages += 1;
        }
        if after.page.is_some() {
            self.stride = stride.saturating_mul(2);
        }
        self.hand(staged, before, after, asking.compares)
    }

    /// The next page: its rows go to `staged`. Returns the place after it, and whether it
    /// begins to say everything there is.
    fn next(&mut self, place: &Place, asking: &Asking, staged: &mut Staged) -> Result<(Place, bool)> {
        let question = self.kind.ask(&self.speech, asking);
        let body = self.connection.open(&self.runtime, &question, Purpose::Pull)?;
        let body = self
            .connection
            .reader(&self.runtime, body, PULLED_BYTES_MAX, RECORD_BYTES_MAX)
            .map_err(RemoteError::Fault)?;
        let trouble = body.trouble();
        let heard = hear::hear(&*self.kind, &self.speech, &mut self.headers, staged, body);
        let heard = heard.map_err(|deaf| match (trouble.take(), deaf) {
            (Some(fault), _) => fault.into(),
            (None, Deaf::Flaw(flaw)) => self.unreadable(&flaw),
            (None, Deaf::Disk(error)) => no_room(&error).into(),
            (None, Deaf::Json(error)) if error.is_data() => {
                self.rubbish("it has more values than an answer could have")
            }
            (None, Deaf::Json(error)) if error.is_eof() && error.column() + error.line() > 1 => {
                fault::cut_short(self.connection.host()).into()
            }
            (None, Deaf::Json(_)) => fault::not_the_hub(self.connection.host(), reqwest::StatusCode::OK).into(),
        })?;
        let Frame { told, page, .. } = &heard.frame;
        self.visit(asking, page.as_ref())?;
        if place.pages >= PAGES_MAX {
            return Err(self.rubbish("its pages do not come to an end"));
        }
        let now = told.as_ref().and_then(shape::millis_in);
        if let (Some(now), Some(since)) = (now, asking.since.as_ref().and_then(shape::millis_in))
            && now < since - BACK_MAX
        {
            let text = "the backend's time went back; everything was compared with what it has";
            self.note("time", text.to_owned());
            return Err(RemoteError::CursorOver);
        }
        if let Some(now) = now {
            self.offset = now - clock();
            self.speech.now = now;
        }
        self.remark(&heard);
        let after = place.after(asking, told.as_ref(), page.clone(), self.speech.now);
        Ok((after, heard.frame.replaces))
    }

    /// A page that leads to one that was read already is not followed.
    fn visit(&mut self, asking: &Asking, page: Option<&Json>) -> Result<()> {
        if asking.page.is_none() {
            self.visited.clear();
        }
        let hash = |page: &Json| xxhash_rust::xxh3::xxh3_64(page.to_string().as_bytes());
        self.visited.extend(asking.page.as_ref().map(hash));
        if !page.is_some_and(|next| self.visited.contains(&hash(next))) {
            return Ok(());
        }
        // The next try begins to look anew.
        self.visited.clear();
        Err(self.rubbish("it says that there is more and leads to a page that was read already"))
    }

    /// For the status, and once for the log.
    fn note(&mut self, about: &'static str, text: String) {
        if self.notes.get(about) != Some(&text) {
            tracing::warn!(replica = %self.replica.name, "{text}");
            self.notes.insert(about, text);
        }
    }

    fn remark(&mut self, heard: &Heard) {
        let host = self.connection.host().to_owned();
        if !heard.strays.is_empty() {
            let names: Vec<String> = heard.strays.iter().take(5).map(|name| text::printable(name)).collect();
            let note = format!("{host} sends collections that no table here stands for: {}", names.join(", "));
            self.note("strays", note);
        }
        if heard.others > 0 {
            let fields: Vec<&str> = self.speech.backend.claims.keys().map(String::as_str).collect();
            let note = format!(
                "{host} sent {} records that belong to others by `{}`; none of them was taken",
                heard.others,
                fields.join("`, `")
            );
            self.note("others", note);
        }
        let asked = self.speech.backend.page_rows;
        if !self.speech.names.of("limit").is_empty() && heard.rows > asked {
            let note = format!("{host} sent {} rows where {asked} were asked for", heard.rows);
            self.note("rows", note);
        }
    }

    /// Hands on what was staged, or its first part.
    fn hand(&mut self, staged: Staged, before: Place, after: Place, compared: bool) -> Result<Page> {
        let told = after.since.as_ref().and_then(shape::millis_in).unwrap_or(self.speech.now);
        let parts = staged.finish(&self.ranks, Stamp::from_millis(told)).map_err(|error| no_room(&error))?;
        self.handings += 1;
        let next = before.cursor();
        self.hand_on(Handing { parts, before, after, compared, handed: 0, next })
    }

    fn hand_on(&mut self, mut handing: Handing) -> Result<Page> {
        let rows = handing.parts.next().map_err(|error| no_room(&error))?;
        let mut page = Page { rows, epoch: self.epoch(), head: Revision(1), ..Page::default() };
        if !handing.parts.is_done() {
            handing.handed += 1;
            let part = Some(format!("{}/{}", self.handings, handing.handed));
            page.cursor = Place { part, ..handing.before.clone() }.cursor();
            page.more = true;
            page.rows_left = Some(handing.parts.left());
            handing.next.clone_from(&page.cursor);
            self.handing = Some(handing);
            return Ok(page);
        }
        page.cursor = handing.after.cursor();
        page.more = handing.after.page.is_some();
        if handing.compared {
            let whole = |shape: &Shape| Span { table: shape.table.clone(), from: None, to: None };
            page.covers = self.speech.shapes.iter().map(whole).collect();
            page.brought = handing.parts.into_brought();
        }
        Ok(page)
    }
}
