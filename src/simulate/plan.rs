//! A run, written down: what happens, in which order.
//!
//! Every step carries its own number for chance, so that a step may be taken out of a
//! plan without changing what the others do.

use serde::{Deserialize, Serialize};

use crate::engine::Chance;
use crate::model::Strategy;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    pub devices: usize,
    /// One a table, in the order of `schema::TABLES`.
    pub strategies: Vec<Strategy>,
    /// Devices whose app enforces foreign keys.
    pub enforcing: Vec<bool>,
    /// Files in WAL mode, else with a rollback journal.
    pub wal: Vec<bool>,
    /// Apps that run on with the file open; the others open it for each write.
    pub stays: Vec<bool>,
    /// Refusals and mass deletions soon wait for a person, and a person comes by.
    pub person: bool,
    pub batch_rows_max: usize,
    pub slice_rows_max: usize,
    /// What a network call may suffer, in thousandths.
    pub faults: Faults,
    pub steps: Vec<Step>,
}

/// Chances in thousandths, by kind of trouble. A seed has each kind or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    pub lost: u64,
    pub answer_lost: u64,
    pub twice: u64,
    pub late: u64,
    pub server_error: u64,
    pub too_large: u64,
    /// The app holds the file's write lock.
    pub locked: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub what: What,
    pub device: usize,
    pub chance: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The app runs a transaction.
    Write,
    /// The device's agent takes some steps.
    Drive,
    /// Time passes.
    Wait,
    /// Somebody asks for a sync.
    Command,
    /// The agent dies and is started again.
    Crash,
    /// The machine loses power: the file goes back a little, the agent starts again.
    PowerCut,
    /// The file is restored from an older copy; the state directory is not.
    RestoreFile,
    /// File and state directory are restored together.
    RestoreMachine,
    /// A copy of the file is kept for later.
    KeepCopy,
    ClockJump,
    /// The device's network goes, or comes back.
    Network,
    HubRestart,
    HubKeepCopy,
    HubRestore,
    /// Somebody writes to the hub's tables with plain SQL.
    HubWrite,
    /// The app changes its schema.
    Migrate,
    /// The app folds its file, or rebuilds it.
    Vacuum,
    /// The hub forgets old tombstones; a long time has passed.
    Prune,
    /// The app writes with its triggers off.
    Unseen,
    /// A person says of all that waits for one: try it again.
    Approve,
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let mut chance = Chance::new(seed);
        let devices = 2 + chance.below(3) as usize;
        let strategies = Strategy::ALL;
        let sometimes = |chance: &mut Chance, most: u64| if chance.below(2) == 0 { 0 } else { chance.below(most) };
        let faults = Faults {
            lost: sometimes(&mut chance, 200),
            answer_lost: sometimes(&mut chance, 200),
            twice: sometimes(&mut chance, 150),
            late: sometimes(&mut chance, 100),
            server_error: sometimes(&mut chance, 100),
            too_large: sometimes(&mut chance, 60),
            locked: sometimes(&mut chance, 60),
        };
        // Each seed has some rare events and lacks others, so that they meet in all
        // combinations and none hides another.
        let rare: Vec<What> = RARE.iter().copied().filter(|_| chance.below(3) == 0).collect();
        let count = 40 + chance.below(140) as usize;
        let mut steps = Vec::with_capacity(count);
        for _ in 0..count {
            let what = match chance.below(100) {
                0..30 => What::Write,
                30..70 => What::Drive,
                70..78 => What::Wait,
                78..86 => What::Command,
                _ if rare.is_empty() => What::Drive,
                _ => *chance.pick(&rare),
            };
            steps.push(Step { what, device: chance.below(devices as u64) as usize, chance: chance.next_u64() });
        }
        Plan {
            seed,
            devices,
            strategies: super::schema::TABLES.iter().map(|_| *chance.pick(&strategies)).collect(),
            enforcing: (0..devices).map(|_| chance.below(2) == 0).collect(),
            wal: (0..devices).map(|_| chance.below(3) > 0).collect(),
            stays: (0..devices).map(|_| chance.below(4) > 0).collect(),
            person: chance.below(4) == 0,
            batch_rows_max: *chance.pick(&[1, 2, 5, 50, 1000]),
            slice_rows_max: *chance.pick(&[1, 3, 10, 1000]),
            faults,
            steps,
        }
    }

    /// The plan's beginning, up to and with step `done`.
    pub fn up_to(&self, done: usize) -> Plan {
        Plan { steps: self.steps.iter().take(done).cloned().collect(), ..self.clone() }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("BUG: a plan is JSON")
    }
}

const RARE: [What; 16] = [
    What::Crash,
    What::PowerCut,
    What::RestoreFile,
    What::RestoreMachine,
    What::KeepCopy,
    What::ClockJump,
    What::Network,
    What::HubRestart,
    What::HubKeepCopy,
    What::HubRestore,
    What::HubWrite,
    What::Migrate,
    What::Vacuum,
    What::Prune,
    What::Unseen,
    What::Approve,
];
