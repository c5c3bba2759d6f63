//! The crew: one worker a replica, hired, let go and replaced while the agent runs.
//!
//! A replica keeps its place on the board for as long as the agent lives, so that its
//! history outlives a change of its settings. The old worker of a replica has ended
//! before the new one begins: two never touch one file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::archive::{self, Archive};
use super::board::{Board, Face, HISTORY_MAX};
use super::clock::{Clock, SystemClock};
use super::memory::FileMemory;
use super::network::is_this_machine;
use super::perform::{self, Performer, World};
use super::telemetry::Telemetry;
use super::worker::{Order, Worker};
use crate::engine::session::Event;
use crate::engine::{Chance, Session};
use crate::model::settings::Replica;
use crate::model::{Fault, FaultKind, ReasonCode, Supply};
use crate::remote::{self, Line};
use crate::store::open::Manners;

/// Longer than any one step of a cycle takes: comparing all rows of a big file, say. A
/// worker that is in a step for longer hangs.
const STEP_MAX: Duration = Duration::from_secs(30 * 60);

pub struct Crew {
    pub board: Arc<Board>,
    pub device: String,
    pub state_dir: PathBuf,
    /// How long past cycles stay in the history, milliseconds.
    pub history_age_max: AtomicI64,
    pub runtime: tokio::runtime::Handle,
    pub telemetry: Arc<Telemetry>,
    /// Counts addresses of this machine that went.
    moves: watch::Sender<u64>,
    /// What the machine runs on, as last heard.
    supply: Mutex<Supply>,
    /// By place on the board; `None` where the config has no such replica any more.
    members: Mutex<Vec<Option<Member>>>,
}

struct Member {
    replica: Replica,
    post: Sender<Order>,
    thread: JoinHandle<()>,
    pulse: Arc<Pulse>,
    /// Ends what the worker waits for from its remote.
    end: watch::Sender<bool>,
}

/// How many replicas a new config changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: usize,
    pub changed: usize,
    pub removed: usize,
}

impl Crew {
    pub fn new(device: String, state_dir: PathBuf, runtime: tokio::runtime::Handle) -> Crew {
        let board = Arc::new(Board::new(Vec::new()));
        let history_age_max = AtomicI64::new(i64::MAX);
        let telemetry = Arc::new(Telemetry::open(state_dir.clone()));
        Crew {
            board,
            device,
            state_dir,
            history_age_max,
            runtime,
            telemetry,
            moves: watch::Sender::new(0),
            supply: Mutex::default(),
            members: Mutex::default(),
        }
    }

    /// Brings the crew in line with the config. What is wrong with one replica's settings
    /// is found before anybody is let go. Waits for those who go: a slice at most.
    pub fn bring_in_line(&self, replicas: &[Replica]) -> Result<Changes, Fault> {
        let mut changes = Changes::default();
        let mut coming = Vec::new();
        for replica in replicas {
            if self.settings(&replica.name).as_ref() != Some(replica) {
                coming.push(self.prepare(replica)?);
            }
        }
        let names: Vec<String> = self.members().iter().flatten().map(|member| member.replica.name.clone()).collect();
        for name in names {
            if !replicas.iter().any(|replica| replica.name == name) {
                self.let_go(&name);
                changes.removed += 1;
            }
        }
        for ready in coming {
            match self.let_go(&ready.replica.name) {
                true => changes.changed += 1,
                false => changes.added += 1,
            }
            self.hire(ready)?;
        }
        Ok(changes)
    }

    /// An address of this machine went: calls that may have begun there end at once.
    pub fn moved(&self) {
        self.moves.send_modify(|moves| *moves += 1);
    }

    pub fn size(&self) -> usize {
        self.members().iter().flatten().count()
    }

    /// False where nobody is there to take the order.
    pub fn send(&self, at: usize, order: Order) -> bool {
        match self.members().get(at) {
            Some(Some(member)) => member.post.send(order).is_ok(),
            _ => false,
        }
    }

    /// What the machine runs on; told to everybody where that is news.
    pub fn supplied(&self, supply: Supply) {
        let before = std::mem::replace(&mut *self.known_supply(), supply);
        if before == supply {
            return;
        }
        tracing::info!(on_battery = ?supply.on_battery, metered = ?supply.metered, "the machine runs on something else");
        for member in self.members().iter().flatten() {
            let _ = member.post.send(Order::Event(Event::Supply(supply)));
        }
    }

    pub fn supply(&self) -> Supply {
        *self.known_supply()
    }

    fn known_supply(&self) -> MutexGuard<'_, Supply> {
        self.supply.lock().expect("BUG: nobody panics while holding what the machine runs on")
    }

    /// Each replica with a way to its worker.
    pub fn posts(&self) -> Vec<(Replica, Sender<Order>)> {
        let members = self.members();
        members.iter().flatten().map(|member| (member.replica.clone(), member.post.clone())).collect()
    }

    /// Which replicas' loops do not turn: each is asked, and has `patience` to answer;
    /// one in the middle of a step is given that step's time.
    pub async fn hanging(&self, patience: Duration) -> Vec<String> {
        let asked: Vec<_> = {
            let members = self.members();
            let ask = |member: &Member| {
                let (answer, answered) = oneshot::channel();
                let sent = member.post.send(Order::Probe(answer)).is_ok();
                (member.replica.name.clone(), member.pulse.clone(), sent.then_some(answered))
            };
            members.iter().flatten().map(ask).collect()
        };
        let deadline = tokio::time::Instant::now() + patience;
        let mut hanging = Vec::new();
        for (name, pulse, answered) in asked {
            let alive = match answered {
                Some(answered) => match tokio::time::timeout_at(deadline, answered).await {
                    Ok(answer) => answer.is_ok(),
                    Err(_) => pulse.in_step().is_some_and(|since| since < STEP_MAX),
                },
                None => false,
            };
            if !alive {
                hanging.push(name);
            }
        }
        hanging
    }

    /// Tells everybody to stop, and waits for them until `deadline`.
    pub fn dismiss(&self, deadline: Instant) {
        let mut members = self.members();
        for member in members.iter().flatten() {
            member.stop();
        }
        for member in members.iter_mut().filter_map(Option::take) {
            while !member.thread.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
    }

    fn settings(&self, name: &str) -> Option<Replica> {
        self.members().iter().flatten().find(|member| member.replica.name == name).map(|member| member.replica.clone())
    }

    fn members(&self) -> MutexGuard<'_, Vec<Option<Member>>> {
        self.members.lock().expect("BUG: nobody panics while holding the crew")
    }

    /// True when there was somebody of this name.
    fn let_go(&self, name: &str) -> bool {
        let found = {
            let mut members = self.members();
            let at =
                members.iter().position(|member| member.as_ref().is_some_and(|member| member.replica.name == name));
            at.and_then(|at| Some((at, members[at].take()?)))
        };
        let Some((at, member)) = found else { return false };
        member.stop();
        let _ = member.thread.join();
        self.board.leave(at);
        true
    }

    fn prepare(&self, replica: &Replica) -> Result<Ready, Fault> {
        let (end, ended) = watch::channel(false);
        let line = match is_this_machine(&replica.remote.url) {
            true => Line::from(ended),
            false => Line::new(ended, self.moves.subscribe()),
        };
        let remote = remote::open(replica, &self.device, &self.runtime, line).map_err(|mut fault| {
            fault.reason.text = format!("replica {}: {}", replica.name, fault.reason.text);
            fault
        })?;
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let session = Session::new(replica.schedule.clone(), Chance::new(seed), self.supply());
        let world = World {
            clock: Box::new(SystemClock),
            memory: Box::new(FileMemory::new(&self.state_dir, &replica.name)),
            fresh_name: Box::new(|| uuid::Uuid::new_v4().to_string()),
            manners: Manners::default(),
            slice: perform::slice_of(replica),
            leaves_open: true,
        };
        let performer = Performer::new(replica.clone(), self.device.clone(), remote, world);
        Ok(Ready { replica: replica.clone(), session, performer, end })
    }

    /// Opens the replica's history, and puts what an agent before this one did on the board.
    fn recall(&self, at: usize, replica: &str) -> Archive {
        let age_max = self.history_age_max.load(Ordering::Relaxed);
        let archive = Archive::open(&self.state_dir, replica, age_max, SystemClock.millis());
        let mut faces = self.board.faces();
        let face = &mut faces[at];
        if face.history.is_empty() {
            face.history = archive::read(&self.state_dir, replica, HISTORY_MAX).into();
            let well = face.history.iter().find(|entry| entry.reason.is_none());
            face.last_sync_at = well.map(|entry| entry.at + entry.cycle.milliseconds as i64);
        }
        archive
    }

    fn hire(&self, ready: Ready) -> Result<(), Fault> {
        let Ready { replica, session, performer, end } = ready;
        let at = self.board.enter(Face::new(replica.clone(), session.view(0)));
        let archive = self.recall(at, &replica.name);
        let (post, orders) = mpsc::channel();
        let pulse = Arc::new(Pulse::default());
        let worker = Worker {
            archive,
            telemetry: self.telemetry.clone(),
            at,
            device: self.device.clone(),
            state_dir: self.state_dir.clone(),
            session,
            performer,
            board: self.board.clone(),
            orders,
            post: post.clone(),
            pulse: pulse.clone(),
            replica: replica.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("replica {}", replica.name))
            .spawn(move || worker.run())
            .map_err(|error| {
                let text = format!("a thread could not be started: {error}");
                Fault::new(FaultKind::File, ReasonCode::Internal, text, "look at the system's limits")
            })?;
        let mut members = self.members();
        if members.len() <= at {
            members.resize_with(at + 1, || None);
        }
        members[at] = Some(Member { replica, post, thread, pulse, end });
        Ok(())
    }
}

/// Settings that can be used, before anybody works by them.
struct Ready {
    replica: Replica,
    session: Session,
    performer: Performer,
    end: watch::Sender<bool>,
}

impl Member {
    fn stop(&self) {
        let _ = self.post.send(Order::Stop);
        let _ = self.end.send(true);
    }
}

/// Since when a worker is in a step, for whoever asks from outside.
pub struct Pulse {
    start: Instant,
    /// Milliseconds since `start`; negative between steps.
    since: AtomicI64,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse { start: Instant::now(), since: AtomicI64::new(-1) }
    }
}

impl Pulse {
    pub fn step_begins(&self) {
        self.since.store(self.start.elapsed().as_millis() as i64, Ordering::Relaxed);
    }

    pub fn step_ends(&self) {
        self.since.store(-1, Ordering::Relaxed);
    }

    fn in_step(&self) -> Option<Duration> {
        let since = u64::try_from(self.since.load(Ordering::Relaxed)).ok()?;
        Some(self.start.elapsed().saturating_sub(Duration::from_millis(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// A member whose loop is what the test makes of it.
    fn member(crew: &Crew, name: &str, run: impl FnOnce(mpsc::Receiver<Order>) + Send + 'static) -> Arc<Pulse> {
        let text = format!("[replica.{name}]\ndatabase = \"/{name}.db\"\nremote.url = \"http://127.0.0.1:1\"\n");
        let replica = config::parse(&text, "homing.toml".as_ref(), &[]).unwrap().replicas.remove(0);
        let (post, orders) = mpsc::channel();
        let pulse = Arc::new(Pulse::default());
        let thread = std::thread::spawn(move || run(orders));
        let end = watch::channel(false).0;
        crew.members().push(Some(Member { replica, post, thread, pulse: pulse.clone(), end }));
        pulse
    }

    fn answer(orders: mpsc::Receiver<Order>) {
        for order in orders {
            match order {
                Order::Probe(answer) => answer.send(()).unwrap(),
                Order::Stop => return,
                _ => {}
            }
        }
    }

    fn keep_silent(orders: mpsc::Receiver<Order>) {
        let kept: Vec<Order> = orders.iter().take_while(|order| !matches!(order, Order::Stop)).collect();
        drop(kept);
    }

    #[tokio::test]
    async fn a_loop_that_hangs_or_died_is_found_and_one_in_a_step_is_given_time() {
        let folder = tempfile::tempdir().unwrap();
        let crew = Crew::new("a".into(), folder.path().into(), tokio::runtime::Handle::current());
        let patience = Duration::from_millis(200);
        member(&crew, "turns", answer);
        assert_eq!(crew.hanging(patience).await, Vec::<String>::new());
        let pulse = member(&crew, "works", keep_silent);
        pulse.step_begins();
        assert_eq!(crew.hanging(patience).await, Vec::<String>::new());
        pulse.step_ends();
        assert_eq!(crew.hanging(patience).await, ["works"]);
        let died = member(&crew, "died", drop);
        died.step_begins();
        while !crew.members()[2].as_ref().unwrap().thread.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(crew.hanging(patience).await, ["works", "died"]);
        crew.dismiss(Instant::now() + Duration::from_secs(5));
    }
}
