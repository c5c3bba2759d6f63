//! Hubs and devices as people run them: the real binary, real sockets, real files.
//!
//! Everything is awaited by an event (a line, a notification, a status) with a deadline,
//! never by a guess of time, and nothing outlives its test: what is dropped is killed,
//! and says what it logged when the test failed.

mod backend;
mod broker;
mod data;
mod device;
mod hub;
mod process;
mod road;

use std::time::{Duration, Instant};

pub use backend::{Backend, local_rows, token, token_of, token_with_role};
pub use broker::Broker;
pub use data::{Data, dump, has, program_on, python, sqlite3};
pub use device::Device;
pub use hub::Hub;
pub use process::{Process, homing};
pub use road::{Mode, Road, http};

/// Longer than anything takes on the busiest machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Looks at something that sends no events, such as a file's rows, until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A hub and two devices of one account, with the same `schema` and nothing in it.
pub struct Pair {
    pub hub: Hub,
    pub a: Device,
    pub b: Device,
}

impl Pair {
    pub fn new(schema: &str) -> Pair {
        let hub = Hub::start();
        let token = hub.token(&["--account", "ada"]);
        let device = |name: &str| {
            let device = Device::new(name, &hub.url(), &token);
            device.sql(schema);
            device
        };
        let (a, b) = (device("a"), device("b"));
        Pair { hub, a, b }
    }

    pub fn start(mut self) -> Pair {
        self.a.start();
        self.b.start();
        self.a.sync();
        self.b.sync();
        self
    }

    /// Syncs both until neither has anything the other lacks, and compares all three.
    #[track_caller]
    pub fn settle(&self) {
        self.a.sync();
        self.b.sync();
        self.a.sync();
        self.all_equal();
    }

    #[track_caller]
    pub fn all_equal(&self) {
        let a = dump(&self.a.database);
        assert_same(&a, &dump(&self.b.database), "the two devices");
        assert_same(&a, &dump(&self.hub.scope("ada")), "device and hub");
    }
}

/// Compares two dumps and names the first rows that differ.
#[track_caller]
pub fn assert_same(left: &Data, right: &Data, who: &str) {
    for (table, rows) in left {
        let none = Vec::new();
        let others = right.get(table).unwrap_or(&none);
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|row| !those.contains(row)).take(5).cloned().collect()
        };
        if rows != others {
            panic!(
                "{who} differ in {table} ({} and {} rows)\n only left: {:#?}\n only right: {:#?}",
                rows.len(),
                others.len(),
                only(rows, others),
                only(others, rows)
            );
        }
    }
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{who} have the same tables");
}
