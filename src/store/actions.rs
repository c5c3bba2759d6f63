//! Actions: what an app asks of its backend beside its rows, in a table of its own file.
//!
//! An app inserts into `_homing_actions` in its own transaction; the agent does the same
//! for those who ask over its socket. One leaves `pending` only when the backend answered,
//! when it is folded into an earlier one that still waits, when it is set aside, or when a
//! person discards it. They go in the order of their ids, the first one alone: while it
//! waits for its next try, those behind it wait too.
//!
//! What is over stays for a while, without its payload where it was done, so that apps can
//! look at the answer, and so that no id is ever given out twice.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use xxhash_rust::xxh3::xxh3_128;

use super::{Result, Store, Writer, aside};
use crate::model::action::{ANSWER_CHARS_MAX, Action, PAYLOAD_BYTES_MAX, TABLE, compact, is_name};
use crate::model::status::{ExplanationLine, QueueEntry};
use crate::model::{Key, Reason, ReasonCode, Value};
use crate::sqlite::capture;

/// Actions that are over and stay to be looked at.
const OVER_ROWS_MAX: i64 = 100;
/// Waiting actions that are compared with each other at once.
const FOLD_ROWS_MAX: i64 = 10_000;
/// Actions that twins are looked for of; more than these go unfolded.
const FOLDING_MAX: usize = 200_000;
/// Actions that may wait before no more are taken over the socket.
const WAITING_ROWS_MAX: i64 = 100_000;

/// The action to be sent now.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    pub action: Action,
    pub tries: u32,
    /// Tries that got no answer, or none that was about the action.
    pub stumbles: u32,
    uuid: String,
    /// The payload as the app wrote it.
    written: Vec<u8>,
}

/// What became of one that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueued {
    pub id: i64,
    pub key: String,
    /// It is the same as one that waits already.
    pub folded: bool,
}

/// What waits, by what makes two of them the same. Kept for one cycle.
#[derive(Debug, Default)]
pub struct Folding {
    seen: i64,
    first: HashMap<u128, i64>,
}

/// How many there are, for the status.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) pending: u64,
    pub(crate) held: u64,
    pub(crate) set_aside: u64,
    pub(crate) set_aside_for: Option<String>,
    pub(crate) oldest: Option<i64>,
}

/// An action's id, when it is to be tried again, and when that was noted.
type Times = (i64, Option<i64>, Option<i64>);

/// One row of the table.
struct Found {
    id: i64,
    name: String,
    key: Option<String>,
    uuid: String,
    at: i64,
    state: String,
    tries: u32,
    stumbles: u32,
    next_try_at: Option<i64>,
    code: Option<String>,
    reason: Option<String>,
    /// When it was put off, or was over.
    noted_at: Option<i64>,
    answer: Option<String>,
    /// `None`: too large to be read.
    payload: Option<Vec<u8>>,
}

const FOUND: &str = "SELECT id, action, key, uuid, CAST(at AS REAL), state, tries, stumbles, next_try_at, code, reason,
    noted_at, answer, CASE WHEN octet_length(payload) > ?1 THEN NULL ELSE CAST(coalesce(payload, 'null') AS BLOB) END
    FROM _homing_actions";

impl Store {
    /// Appends one, or finds the one that waits and is the same. `payload`: JSON. `None` when too many wait.
    pub fn enqueue(&mut self, name: &str, payload: &str, key: Option<&str>) -> Result<Option<Enqueued>> {
        let payload = compact(payload);
        self.write(|writer| {
            let sql = "SELECT id FROM _homing_actions WHERE state = 'pending' AND action = ?1 AND key IS ?2
                       AND (?2 IS NOT NULL OR coalesce(payload, 'null') = ?3) ORDER BY id LIMIT 1";
            let twin = writer.db.query_row(sql, params![name, key, payload], |row| row.get(0)).optional()?;
            let folded = twin.is_some();
            let id = match twin {
                Some(id) => id,
                None => {
                    let sql = "SELECT count(*) FROM _homing_actions WHERE state = 'pending'";
                    if writer.db.query_row(sql, [], |row| row.get::<_, i64>(0))? >= WAITING_ROWS_MAX {
                        return Ok(None);
                    }
                    let sql = "INSERT INTO _homing_actions(action, key, payload) VALUES(?, ?, ?)";
                    writer.db.execute(sql, params![name, key, payload])?;
                    writer.db.last_insert_rowid()
                }
            };
            let known = one(writer.db, id)?.expect("BUG: found or made in this transaction");
            Ok(Some(Enqueued { id, key: travelling_key(&known), folded }))
        })
    }

    /// The newest action that there is; 0 for none.
    pub fn newest_action(&self) -> Result<i64> {
        Ok(self.db.query_row("SELECT coalesce(max(id), 0) FROM _homing_actions", [], |row| row.get(0))?)
    }

    /// Whether any action up to `upto` is to be sent now.
    pub fn has_due_action(&self, upto: i64, now: i64) -> Result<bool> {
        Ok(self.first_action()?.is_some_and(|(id, next, noted)| id <= upto && !is_early(next, noted, now)))
    }

    /// How long until the first one is to be tried again.
    pub(crate) fn next_action_in(&self, now: i64) -> Result<Option<i64>> {
        let Some((_, Some(next), noted)) = self.first_action()? else { return Ok(None) };
        Ok(Some(if is_early(Some(next), noted, now) { next - now } else { 0 }))
    }

    /// The first that waits.
    fn first_action(&self) -> Result<Option<Times>> {
        let sql = "SELECT id, next_try_at, noted_at FROM _homing_actions WHERE state = 'pending' ORDER BY id LIMIT 1";
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?)
    }

    /// Folds what came since the last look into what waits already.
    pub fn fold_actions(&mut self, folding: &mut Folding, now: i64) -> Result<()> {
        while self.newest_action()? > folding.seen {
            let twins = fill(&self.db, folding, FOLD_ROWS_MAX)?;
            if twins.is_empty() {
                continue;
            }
            self.write(|writer| {
                for (twin, first) in twins {
                    writer
                        .db
                        .prepare_cached(
                            "UPDATE _homing_actions SET state = 'folded', reason = 'the same as action ' || ?2,
                                    noted_at = ?3, payload = NULL WHERE id = ?1 AND state = 'pending'",
                        )?
                        .execute(params![twin, first, now])?;
                }
                writer.forget_old_actions()
            })?;
        }
        Ok(())
    }

    /// The first that waits, if it is due and not newer than `upto`. What cannot be sent as
    /// it is, or is older than `age_max`, is set aside on the way; how many were.
    pub fn due_action(&mut self, upto: i64, now: i64, age_max: Option<i64>) -> Result<(Option<Due>, u64)> {
        let mut aside = 0;
        loop {
            let sql = format!("{FOUND} WHERE state = 'pending' AND id <= ?2 ORDER BY id LIMIT 1");
            let first =
                self.db.prepare_cached(&sql)?.query_row(params![PAYLOAD_BYTES_MAX as i64, upto], read).optional()?;
            let Some(found) = first else { return Ok((None, aside)) };
            if is_early(found.next_try_at, found.noted_at, now) {
                return Ok((None, aside));
            }
            let (code, text) = match departing(&found, now, age_max) {
                Ok(action) => {
                    let Found { tries, stumbles, uuid, payload, .. } = found;
                    let written = payload.unwrap_or_default();
                    return Ok((Some(Due { action, tries, stumbles, uuid, written }), aside));
                }
                Err(why) => why,
            };
            self.write(|writer| writer.set_action_aside(found.id, &found.uuid, found.tries, code, &text))?;
            aside += 1;
        }
    }

    /// The backend took it. An edit of the row since then is an action of its own.
    pub fn finish_action(&mut self, due: &Due, folding: &mut Folding, answer: &str, now: i64) -> Result<()> {
        folding.first.retain(|_, id| *id != due.action.id);
        let answer: String = answer.chars().take(ANSWER_CHARS_MAX).collect();
        self.write(|writer| {
            let done = writer
                .db
                .prepare_cached(
                    "UPDATE _homing_actions SET state = 'done', answer = ?3, noted_at = ?4, next_try_at = NULL, code = NULL,
                            reason = NULL, payload = NULL
                     WHERE id = ?1 AND uuid = ?2 AND CAST(coalesce(payload, 'null') AS BLOB) = ?5",
                )?
                .execute(params![due.action.id, due.uuid, answer, now, due.written])?;
            if done == 0 {
                let sql = "UPDATE _homing_actions SET uuid = lower(hex(randomblob(16))), tries = 0, stumbles = 0,
                           next_try_at = NULL WHERE id = ?1 AND uuid = ?2 AND state = 'pending'";
                writer.db.execute(sql, params![due.action.id, due.uuid])?;
            }
            writer.forget_old_actions()
        })
    }

    /// The backend refused it: once more later, or aside after `tries_max`. True when aside.
    pub fn refuse_action(&mut self, due: &Due, text: &str, tries_max: u32, now: i64) -> Result<bool> {
        let tries = due.tries.saturating_add(1);
        if tries >= tries_max {
            self.set_action_aside(due, tries, ReasonCode::ActionRefused, text)?;
            return Ok(true);
        }
        self.put_action_off(due, tries, 0, (now, aside::delay(tries)), ReasonCode::PendingRetry, text)?;
        Ok(false)
    }

    /// It waits for a person.
    pub fn set_action_aside(&mut self, due: &Due, tries: u32, code: ReasonCode, text: &str) -> Result<()> {
        self.write(|writer| writer.set_action_aside(due.action.id, &due.uuid, tries, code, text))
    }

    /// There was no answer that was about it: it is tried again after `wait`, for ever.
    pub fn delay_action(&mut self, due: &Due, reason: &Reason, wait: i64, now: i64) -> Result<()> {
        let stumbles = due.stumbles.saturating_add(1);
        self.put_action_off(due, due.tries, stumbles, (now, wait), reason.code, &reason.text)
    }

    fn put_action_off(
        &mut self,
        due: &Due,
        tries: u32,
        stumbles: u32,
        (now, wait): (i64, i64),
        code: ReasonCode,
        text: &str,
    ) -> Result<()> {
        self.write(|writer| {
            writer
                .db
                .prepare_cached(
                    "UPDATE _homing_actions SET tries = ?3, stumbles = ?4, noted_at = ?5, next_try_at = ?6, code = ?7,
                            reason = ?8 WHERE id = ?1 AND uuid = ?2",
                )?
                .execute(params![
                    due.action.id,
                    due.uuid,
                    tries,
                    stumbles,
                    now,
                    now.saturating_add(wait),
                    code.word(),
                    text
                ])?;
            Ok(())
        })
    }

    /// The remote takes no actions: all that wait are set aside. How many.
    pub fn refuse_all_actions(&mut self, text: &str) -> Result<u64> {
        if !self.db.prepare_cached("SELECT 1 FROM _homing_actions WHERE state = 'pending'")?.exists([])? {
            return Ok(0);
        }
        self.write(|writer| {
            let sql = "UPDATE _homing_actions SET state = 'set_aside', code = ?1, reason = ?2, next_try_at = NULL
                       WHERE state = 'pending'";
            Ok(writer.db.execute(sql, params![ReasonCode::NoActions.word(), text])? as u64)
        })
    }

    /// The remote takes actions again: those go that were set aside for that alone.
    pub fn readmit_actions(&mut self) -> Result<()> {
        let code = ReasonCode::NoActions.word();
        let sql = "SELECT 1 FROM _homing_actions WHERE state = 'set_aside' AND code = ?";
        if self.db.prepare_cached(sql)?.exists([code])? {
            let sql = "UPDATE _homing_actions SET state = 'pending', code = NULL, reason = NULL
                       WHERE state = 'set_aside' AND code = ?";
            self.write(|writer| Ok(writer.db.execute(sql, [code]).map(|_| ())?))?;
        }
        Ok(())
    }

    /// A person says: try it again. `None`: all that wait or are set aside.
    pub fn retry_action(&mut self, key: Option<&Key>) -> Result<u64> {
        let id = key.map(|key| id_of(key).unwrap_or(-1));
        let sql =
            "UPDATE _homing_actions SET state = 'pending', tries = 0, stumbles = 0, next_try_at = NULL, code = NULL,
                   reason = NULL WHERE (state = 'set_aside' OR (state = 'pending' AND next_try_at IS NOT NULL))
                   AND (?1 IS NULL OR id = ?1)";
        self.write(|writer| Ok(writer.db.execute(sql, [id])? as u64))
    }

    /// A person gives it up. It stays for a while, with its payload. False when there is
    /// none that waits.
    pub fn discard_action(&mut self, key: &Key, now: i64) -> Result<bool> {
        let Some(id) = id_of(key) else { return Ok(false) };
        self.write(|writer| {
            let sql = "UPDATE _homing_actions SET state = 'discarded', noted_at = ?2, next_try_at = NULL
                       WHERE id = ?1 AND state IN ('pending', 'set_aside')";
            let done = writer.db.execute(sql, params![id, now])? > 0;
            writer.forget_old_actions()?;
            Ok(done)
        })
    }

    pub(crate) fn count_actions(&self) -> Result<Counts> {
        let sql = "SELECT count(*) FILTER (WHERE state = 'pending'),
                count(*) FILTER (WHERE state = 'pending' AND next_try_at IS NOT NULL),
                count(*) FILTER (WHERE state = 'set_aside'),
                CASE WHEN min(code) FILTER (WHERE state = 'set_aside') = max(code) FILTER (WHERE state = 'set_aside')
                     THEN min(code) FILTER (WHERE state = 'set_aside') END,
                min(CAST(at AS REAL)) FROM _homing_actions WHERE state IN ('pending', 'set_aside')";
        Ok(self.db.prepare_cached(sql)?.query_row([], |row| {
            Ok(Counts {
                pending: row.get::<_, i64>(0)? as u64,
                held: row.get::<_, i64>(1)? as u64,
                set_aside: row.get::<_, i64>(2)? as u64,
                set_aside_for: row.get(3)?,
                oldest: row.get::<_, Option<f64>>(4)?.map(capture::millis),
            })
        })?)
    }

    /// Those that wait, in order.
    pub(crate) fn queued_actions(&self, rows_max: usize) -> Result<Vec<QueueEntry>> {
        let sql = format!("{FOUND} WHERE state IN ('pending', 'set_aside') ORDER BY id LIMIT ?2");
        let mut statement = self.db.prepare_cached(&sql)?;
        // Of the payload nothing is shown, so none is read.
        let rows = statement.query_map(params![-1, rows_max as i64], read)?;
        rows.map(|found| Ok(self.action_entry(&found?))).collect()
    }

    fn action_entry(&self, found: &Found) -> QueueEntry {
        let (replica, id) = (&self.replica.name, found.id);
        let next = match found.state.as_str() {
            "set_aside" => format!("`homing queue retry {replica} {TABLE} {id}`, or discard it"),
            _ => "it is tried again by itself".to_owned(),
        };
        let code = found.code.as_deref().and_then(ReasonCode::parse);
        QueueEntry {
            replica: replica.clone(),
            table: TABLE.to_owned(),
            key: Key::from(vec![Value::Integer(id)]).to_text(),
            operation: "insert".to_owned(),
            columns: Vec::new(),
            state: found.state.clone(),
            priority: crate::model::settings::Priority::default().0,
            tries: found.tries,
            next_try_at: found.next_try_at,
            reason: code.map(|code| Reason { code, text: found.reason.clone().unwrap_or_default(), next }),
            since: Some(found.at),
            action: Some(found.name.clone()),
        }
    }

    /// The life of one action, and where it stands; `None` where there is none, or none
    /// any more.
    pub fn explain_action(&self, key: &Key) -> Result<Option<(String, Vec<ExplanationLine>)>> {
        let Some(found) = id_of(key).map(|id| one(&self.db, id)).transpose()?.flatten() else { return Ok(None) };
        let mut lines = vec![ExplanationLine {
            at: Some(found.at),
            what: "outbox".to_owned(),
            text: format!("{} asked for here; it travels under the key {}", found.name, travelling_key(&found)),
        }];
        let reason = found.reason.clone().unwrap_or_default();
        if found.tries + found.stumbles > 0 {
            let text = format!("refused {} times, without an answer {} times: {reason}", found.tries, found.stumbles);
            lines.push(ExplanationLine { at: None, what: "outbox".to_owned(), text });
        }
        let verdict = match found.state.as_str() {
            "pending" if found.next_try_at.is_some() => format!("not done yet, it is tried again: {reason}"),
            "pending" => "not sent yet".to_owned(),
            "set_aside" => format!("not done, it waits for a person: {reason}"),
            "folded" => format!("not sent: {reason}"),
            "discarded" => "given up by a person".to_owned(),
            _ => "done: the backend took it".to_owned(),
        };
        if !matches!(found.state.as_str(), "pending" | "set_aside") {
            let said = found.answer.filter(|answer| !answer.is_empty());
            let text = said.map_or_else(|| verdict.clone(), |said| format!("the backend answered {said}"));
            lines.push(ExplanationLine { at: found.noted_at, what: "sent".to_owned(), text });
        }
        Ok(Some((verdict, lines)))
    }
}

impl Writer<'_> {
    fn set_action_aside(&self, id: i64, uuid: &str, tries: u32, code: ReasonCode, text: &str) -> Result<()> {
        let sql =
            "UPDATE _homing_actions SET state = 'set_aside', tries = ?3, code = ?4, reason = ?5, next_try_at = NULL
                   WHERE id = ?1 AND uuid = ?2 AND state = 'pending'";
        self.db.prepare_cached(sql)?.execute(params![id, uuid, tries, code.word(), text])?;
        Ok(())
    }

    /// The newest stays whatever it is: its id would be given out again.
    fn forget_old_actions(&self) -> Result<()> {
        const OVER: &str = "SELECT id FROM _homing_actions WHERE state NOT IN ('pending', 'set_aside')";
        let sql = format!(
            "DELETE FROM _homing_actions WHERE id IN ({OVER} ORDER BY id DESC LIMIT -1 OFFSET {OVER_ROWS_MAX})
             AND id < (SELECT max(id) FROM _homing_actions)"
        );
        self.db.prepare_cached(&sql)?.execute([])?;
        Ok(())
    }
}

/// Takes up to `rows_max` further ones in; returns twins, each with the first of its kind.
fn fill(db: &Connection, folding: &mut Folding, rows_max: i64) -> Result<Vec<(i64, i64)>> {
    let sql = format!("{FOUND} WHERE state = 'pending' AND id > ?2 ORDER BY id LIMIT ?3");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params![PAYLOAD_BYTES_MAX as i64, folding.seen, rows_max])?;
    let (mut twins, mut count) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let found = read(row)?;
        count += 1;
        folding.seen = found.id;
        let Some(payload) = found.payload.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            continue;
        };
        let same = sameness(&found.name, found.key.as_deref(), payload);
        match folding.first.get(&same) {
            Some(first) => twins.push((found.id, *first)),
            None if folding.first.len() < FOLDING_MAX => {
                folding.first.insert(same, found.id);
            }
            None => {}
        }
    }
    drop(rows);
    if count < rows_max {
        folding.seen = db.query_row("SELECT coalesce(max(id), 0) FROM _homing_actions", [], |row| row.get(0))?;
    }
    Ok(twins)
}

/// What makes two actions the same: the key that the app gave them, else what they say.
fn sameness(name: &str, key: Option<&str>, payload: &str) -> u128 {
    let text = match key {
        Some(key) => format!("{name}\0key\0{key}"),
        None => format!("{name}\0payload\0{}", compact(payload)),
    };
    xxh3_128(text.as_bytes())
}

/// The action as it will travel, or why it cannot.
fn departing(found: &Found, now: i64, age_max: Option<i64>) -> std::result::Result<Action, (ReasonCode, String)> {
    if age_max.is_some_and(|most| now.saturating_sub(found.at) > most) {
        return Err((ReasonCode::TooOld, "it was not sent within pending_age_max".to_owned()));
    }
    let bad = |text: String| (ReasonCode::BadRequest, text);
    let rule = "letters, digits, `_`, `-`, `.` and `:`, a letter or digit first, 128 at most";
    if !is_name(&found.name) {
        return Err(bad(format!("its name cannot be sent: use {rule}")));
    }
    if found.key.as_deref().is_some_and(|key| !is_name(key)) {
        return Err(bad(format!("its key cannot be sent: use {rule}")));
    }
    let Some(payload) = &found.payload else {
        return Err((ReasonCode::RowTooLarge, format!("its payload is larger than {PAYLOAD_BYTES_MAX} bytes")));
    };
    let text = std::str::from_utf8(payload).ok();
    let json = text.filter(|text| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok());
    let Some(json) = json else { return Err(bad("its payload is not JSON".to_owned())) };
    Ok(Action {
        id: found.id,
        name: found.name.clone(),
        key: travelling_key(found),
        payload: compact(json),
        at: found.at,
    })
}

/// The app's own key, else one made of the row's random number: the same at every try, in
/// every copy of the file, and for no other action.
fn travelling_key(found: &Found) -> String {
    found.key.clone().unwrap_or_else(|| {
        let bytes = match uuid::Uuid::try_parse(&found.uuid) {
            Ok(random) => random.into_bytes(),
            Err(_) => xxh3_128(found.uuid.as_bytes()).to_be_bytes(),
        };
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    })
}

/// What was put off later than now was so under a clock that has been set back since: it
/// is due.
fn is_early(next_try_at: Option<i64>, noted_at: Option<i64>, now: i64) -> bool {
    next_try_at.is_some_and(|at| at > now) && noted_at.is_none_or(|noted| noted <= now)
}

fn id_of(key: &Key) -> Option<i64> {
    match key.0[..] {
        [Value::Integer(id)] => Some(id),
        _ => None,
    }
}

fn one(db: &Connection, id: i64) -> Result<Option<Found>> {
    let sql = format!("{FOUND} WHERE id = ?2");
    Ok(db.prepare_cached(&sql)?.query_row(params![PAYLOAD_BYTES_MAX as i64, id], read).optional()?)
}

/// The file's owner may have written anything into any column.
fn read(row: &rusqlite::Row) -> rusqlite::Result<Found> {
    let text = |at: usize| -> rusqlite::Result<Option<String>> {
        Ok(match row.get_ref(at)? {
            ValueRef::Null => None,
            ValueRef::Integer(number) => Some(number.to_string()),
            ValueRef::Real(number) => Some(number.to_string()),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        })
    };
    let number = |at: usize| -> rusqlite::Result<Option<i64>> {
        Ok(if let ValueRef::Integer(number) = row.get_ref(at)? { Some(number) } else { None })
    };
    let count = |at: usize| -> rusqlite::Result<u32> { Ok(u32::try_from(number(at)?.unwrap_or(0)).unwrap_or(0)) };
    Ok(Found {
        id: row.get(0)?,
        name: text(1)?.unwrap_or_default(),
        key: text(2)?,
        uuid: text(3)?.unwrap_or_default(),
        at: capture::millis(row.get::<_, Option<f64>>(4)?.unwrap_or_default()),
        state: text(5)?.unwrap_or_default(),
        tries: count(6)?,
        stumbles: count(7)?,
        next_try_at: number(8)?,
        code: text(9)?,
        reason: text(10)?,
        noted_at: number(11)?,
        answer: text(12)?,
        payload: row.get(13)?,
    })
}
