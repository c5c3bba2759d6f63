//! The lossy way between a device and the hub: a `Remote` that calls the hub's own
//! storage, and may lose, repeat, delay or refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::Xxh3;

use super::plan::{Faults, Plan};
use super::{Canary, Options};
use crate::engine::Chance;
use crate::hub::error::HubError;
use crate::hub::sqlite::Scope;
use crate::hub::store::{Store, Who};
use crate::model::{Action, Fault, FaultKind, Key, Outcome, Page, ReasonCode, Revision, text};
use crate::protocol::{self, body};
use crate::remote::{
    Abilities, Answer, Ask, Batch, Digest, Greeted, Greeting, Hint, Listening, Marks, Remembered, Remote, RemoteError,
    Result,
};

/// What all devices share: the hub, and time.
pub(super) struct Far {
    pub(super) scope: Option<Scope>,
    /// The hub's clock, milliseconds since 1970.
    pub(super) now: i64,
    pub(super) chance: Chance,
    pub(super) faults: Faults,
    /// Pushes that the network kept back, to be delivered later.
    pub(super) late: Vec<(usize, Vec<u8>)>,
    pub(super) reached: BTreeMap<&'static str, u64>,
    /// Somebody called the hub since the world last looked at it.
    pub(super) touched: bool,
    /// How often the hub's rows changed.
    pub(super) changes: u64,
    /// `changes` when each device last heard that there is no more.
    pub(super) in_step: BTreeMap<usize, u64>,
    /// Rows of pushes that each device never heard an answer to.
    pub(super) unanswered: BTreeMap<usize, Vec<(Arc<str>, Key)>>,
    /// Snapshots begun.
    pub(super) snapshots: u64,
    /// Actions that were done, by key, with how often each was asked for.
    pub(super) done: BTreeMap<String, usize>,
    /// The newest that was done, for each device.
    last_done: BTreeMap<usize, u64>,
    /// All that travelled, for comparing two runs.
    pub(super) trace: Xxh3,
    pub(super) canary: Option<Canary>,
    /// Tell what travels.
    verbose: bool,
}

impl Far {
    pub(super) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    pub(super) fn new(plan: &Plan, now: i64, options: &Options) -> Far {
        Far {
            scope: None,
            now,
            chance: Chance::new(plan.seed ^ 0x5ea),
            faults: plan.faults.clone(),
            late: Vec::new(),
            reached: BTreeMap::new(),
            touched: false,
            changes: 0,
            in_step: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            snapshots: 0,
            done: BTreeMap::new(),
            last_done: BTreeMap::new(),
            trace: Xxh3::new(),
            canary: options.canary,
            verbose: options.verbose,
        }
    }

    /// Notes what travelled.
    fn trace(&mut self, device: usize, what: &str, text: &[u8]) {
        self.trace.update(text);
        if self.verbose {
            eprintln!("         device {device} {what}: {}", String::from_utf8_lossy(text));
        }
    }

    fn scope(&mut self) -> Result<&mut Scope> {
        self.touched = true;
        self.scope.as_mut().ok_or_else(|| RemoteError::Fault(down("the hub is restarting")))
    }

    fn happens(&mut self, thousandths: u64) -> bool {
        self.chance.below(1000) < thousandths
    }

    /// Does what is asked for, once for a key.
    fn act(&mut self, device: usize, action: &Action) {
        assert_eq!(action.payload, format!("\"{}\"", action.key), "an action travels as it was asked for");
        if let Some(times) = self.done.get_mut(&action.key) {
            *times += 1;
            self.reach("an action was asked for again");
            return;
        }
        // The tokens of a device are counted up.
        let number = action.key.trim_start_matches('t').split('-').next().and_then(|number| number.parse().ok());
        let number: u64 = number.expect("BUG: the app's keys are tokens");
        let last = self.last_done.insert(device, number).unwrap_or(0);
        assert!(last < number, "actions go in order: t{last} went before {}", action.key);
        self.done.insert(action.key.clone(), 1);
        self.reach("an action was done");
    }

    /// Delivers what the network had kept back.
    pub(super) fn deliver_late(&mut self) {
        for (device, body) in std::mem::take(&mut self.late) {
            self.reach("an old push arrived late");
            let now = self.now;
            if let Ok(scope) = self.scope() {
                let _ = scope.push(&who(device), &body, now);
            }
        }
    }
}

pub(super) struct SimRemote {
    pub(super) far: Arc<Mutex<Far>>,
    pub(super) device: usize,
    /// Shared with the world: whether this device has a network.
    pub(super) connected: Arc<std::sync::atomic::AtomicBool>,
    /// A push that was set off, and what came of it though nobody has asked yet.
    pub(super) under_way: Option<(Vec<u8>, Result<Vec<u8>>)>,
}

fn who(device: usize) -> Who {
    Who { token_id: format!("device-{device}"), ..Who::owner("account") }
}

fn down(text: &str) -> Fault {
    Fault::new(FaultKind::Network, ReasonCode::OfflineHubDown, text, "it is tried again")
}

impl SimRemote {
    /// A push, there and back.
    fn carry(&self, body: &[u8]) -> Result<Vec<u8>> {
        let device = self.device;
        self.far.lock().expect("BUG: one thread a world").trace(device, "pushes", body);
        self.call(|far| {
            let now = far.now;
            let faults = far.faults.clone();
            if far.happens(faults.too_large) && rows_of(body) > 1 {
                return Err(RemoteError::TooLarge);
            }
            if far.happens(faults.late) {
                far.late.push((device, body.to_vec()));
            }
            let answer = far.scope()?.push(&who(device), body, now).map_err(refused)?;
            if far.happens(faults.twice) {
                far.reach("a push arrived twice");
                let again = far.scope()?.push(&who(device), body, now).map_err(refused)?;
                assert_eq!(answer, again, "a repeated push is answered as before");
            }
            Ok(answer)
        })
    }

    /// One call: trouble on the way there, the hub's own doing, trouble on the way back.
    fn call<T>(&self, work: impl FnOnce(&mut Far) -> Result<T>) -> Result<T> {
        let mut far = self.far.lock().expect("BUG: one thread a world");
        let faults = far.faults.clone();
        if !self.connected.load(std::sync::atomic::Ordering::Relaxed) || far.happens(faults.lost) {
            return Err(down("lost on the way").into());
        }
        if far.happens(faults.server_error) {
            let kind =
                *far.chance.pick(&[FaultKind::Server, FaultKind::SignedOut, FaultKind::Throttled, FaultKind::Protocol]);
            let fault = Fault::new(kind, ReasonCode::RemoteTrouble, "the hub is in trouble", "wait");
            return Err(Fault { retry_after: (kind == FaultKind::Throttled).then_some(5_000), ..fault }.into());
        }
        let answer = work(&mut far)?;
        if far.happens(faults.answer_lost) {
            far.reach("an answer was lost after commit");
            return Err(down("the answer was lost").into());
        }
        Ok(answer)
    }
}

fn rows_of(body: &[u8]) -> usize {
    let push: protocol::Push = serde_json::from_slice(body).expect("BUG: what a device encoded");
    push.groups.iter().map(|group| group.rows.len()).sum()
}

fn refused(error: HubError) -> RemoteError {
    match error {
        HubError::IncarnationOver(_) => RemoteError::IncarnationOver,
        HubError::EpochOver(_) => RemoteError::EpochOver,
        HubError::CursorOver => RemoteError::CursorOver,
        HubError::TooLarge(_) => RemoteError::TooLarge,
        other => RemoteError::Fault(Fault::new(
            FaultKind::Server,
            ReasonCode::RemoteTrouble,
            format!("hub: {other:?}"),
            "this must not happen in a simulation",
        )),
    }
}

impl Remote for SimRemote {
    fn abilities(&self) -> Abilities {
        Abilities {
            finds_conflicts: true,
            last_wins: false,
            outcome_each: true,
            live: false,
            marks: Marks::Cursor,
            pages: true,
            numbers_versions: true,
            takes_columns: true,
            takes_actions: true,
            takes_everything: false,
        }
    }

    fn greet(&mut self, greeting: &Greeting) -> Result<Greeted> {
        self.under_way = None;
        let hello = protocol::Hello {
            protocol: protocol::VERSION,
            device: greeting.device.clone(),
            incarnation: greeting.incarnation.clone(),
            batch: greeting.batch,
            tables: greeting.tables.clone(),
        };
        let device = self.device;
        let welcome = self.call(|far| {
            let now = far.now;
            far.scope()?.hello(&who(device), &hello, now).map_err(refused)
        })?;
        Ok(Greeted {
            epoch: welcome.epoch,
            head: welcome.head,
            time: welcome.time,
            role: welcome.role,
            batch: welcome.batch,
            tables: welcome.tables,
            refused: welcome.refused.into_iter().map(|no| (no.table, no.column, no.text)).collect(),
            batch_rows_max: welcome.limits.batch_rows_max,
            batch_bytes_max: welcome.limits.body_bytes_max / 2,
            row_bytes_max: welcome.limits.row_bytes_max,
        })
    }

    fn encode(&self, batch: &Batch, key_names: &dyn Fn(&str) -> Vec<String>) -> Vec<u8> {
        body::push(&batch.device, &batch.incarnation, batch.number, &batch.epoch, batch.seen, &batch.changes, key_names)
    }

    /// Half of them are there before anybody waits for them.
    fn set_off(&mut self, body: &[u8]) -> bool {
        let set_off = self.under_way.as_ref().is_some_and(|(known, _)| known == body);
        let mut far = self.far.lock().expect("BUG: one thread a world");
        let goes = !set_off && far.canary != Some(Canary::DropsPushes) && far.happens(500);
        drop(far);
        if goes {
            self.under_way = Some((body.to_vec(), self.carry(body)));
        }
        true
    }

    fn push(&mut self, body: &[u8], changes: &[(Arc<str>, Key)]) -> Result<Answer> {
        let device = self.device;
        {
            let mut far = self.far.lock().expect("BUG: one thread a world");
            far.unanswered.insert(device, changes.to_vec());
            if far.canary == Some(Canary::DropsPushes) && far.happens(200) {
                let (head, time) = (Revision(far.changes as i64 + 1), far.now);
                return Ok(Answer { outcomes: vec![Outcome::Applied(head); changes.len()], head, time });
            }
        }
        let answer = match self.under_way.take() {
            Some((known, answer)) if known == body => answer?,
            _ => self.carry(body)?,
        };
        let pushed: protocol::Pushed = serde_json::from_slice(&answer).expect("BUG: the hub answers in its protocol");
        {
            let mut far = self.far.lock().expect("BUG: one thread a world");
            far.trace(device, "hears", &answer);
            far.unanswered.remove(&device);
        }
        let (head, time) = (pushed.head, pushed.time);
        let outcomes = body::outcomes(pushed, changes).expect("BUG: an outcome for each change");
        Ok(Answer { outcomes, head, time })
    }

    fn pull(&mut self, ask: &Ask) -> Result<Page> {
        let pull = protocol::Pull {
            protocol: protocol::VERSION,
            device: ask.device.clone(),
            incarnation: ask.incarnation.clone(),
            cursor: ask.cursor.as_ref().map(|cursor| cursor.0.clone()),
            rows_max: ask.rows_max,
            bytes_max: ask.bytes_max,
        };
        let device = self.device;
        let pulled = self.call(|far| {
            let now = far.now;
            // Small pages now and then, so that things come apart at their edges.
            let rows_max = if far.happens(400) { 1 + far.chance.below(4) as usize } else { pull.rows_max };
            far.snapshots += u64::from(pull.cursor.is_none());
            match far.scope()?.pull(&who(device), &protocol::Pull { rows_max, ..pull }, now) {
                Ok(pulled) => {
                    let changes = (!pulled.more).then_some(far.changes);
                    changes.map(|changes| far.in_step.insert(device, changes));
                    Ok(pulled)
                }
                Err(error) => {
                    if matches!(error, HubError::CursorOver) {
                        far.reach("a cursor older than the hub's memory");
                    }
                    Err(refused(error))
                }
            }
        })?;
        // Through its text form, as on a real wire.
        let text = serde_json::to_vec(&pulled).expect("BUG: a page is JSON");
        let pulled = serde_json::from_slice(&text).expect("BUG: a page reads back");
        let mut page = body::page(pulled).expect("BUG: the hub keeps its protocol");
        let mut far = self.far.lock().expect("BUG: one thread a world");
        far.trace(device, "pulls", &text);
        if far.canary == Some(Canary::LosesRows) && far.happens(50) {
            page.rows.pop();
        }
        Ok(page)
    }

    fn act(&mut self, action: &Action) -> Result<String> {
        let device = self.device;
        self.call(|far| {
            far.trace(device, "asks for", action.key.as_bytes());
            if far.canary != Some(Canary::DropsActions) || !far.happens(200) {
                far.act(device, action);
            }
            Ok(String::new())
        })
    }

    fn digest(&mut self, table: &str, columns: &[String], after: Option<&[u8]>, rows_max: usize) -> Result<Digest> {
        let request = protocol::DigestRequest {
            protocol: protocol::VERSION,
            table: table.to_owned(),
            columns: columns.to_vec(),
            after: after.map(text::hex),
            rows_max,
        };
        let digest = self.call(|far| {
            let now = far.now;
            far.scope()?.digest(&request, now).map_err(refused)
        })?;
        Ok(Digest {
            rows: digest.rows,
            digest: u64::from_str_radix(&digest.digest, 16).unwrap_or_default(),
            entries: Vec::new(),
            more: digest.more,
        })
    }

    fn row(&mut self, _table: &str, _key: &Key) -> Result<Remembered> {
        Ok(Remembered { row: None, trail: Vec::new() })
    }

    fn listen(&self, _hear: Box<dyn Fn(Hint) + Send + Sync>) -> Option<Listening> {
        None
    }

    fn traffic(&mut self) -> (u64, u64) {
        (0, 0)
    }
}
