//! `homing demo`: the whole of it on sample data, in under a minute.
//!
//! A hub and two devices run as real processes; the demo plays the apps, with plain SQL
//! on their own files, and tells what happens. Nothing it says is not checked.

mod stage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use self::stage::{Device, Hub, failed};
use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::ipc::{Topic, answer, method};
use crate::model::status::{State, Status};
use crate::model::{Row, Value};
use crate::sqlite::{idents, literal, value};

const SAMPLE: &str = include_str!("flights.sql");
const TABLES: [&str; 4] = ["airline", "airport", "flight", "note"];

#[derive(clap::Args)]
pub struct Args {
    /// Keep everything in this directory for a look.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let start = Instant::now();
    let scratch = std::env::temp_dir().join(format!("homing-demo-{}", std::process::id()));
    let folder = args.keep.clone().unwrap_or_else(|| scratch.clone());
    if args.keep.is_some() && std::fs::read_dir(&folder).is_ok_and(|mut found| found.next().is_some()) {
        return Err(Failure::new(Exit::Failed, format!("{} is not empty", folder.display()), "name a new directory"));
    }
    let _clean = Clean { scratch: &scratch };
    for place in [&folder, &scratch] {
        std::fs::create_dir_all(place)
            .map_err(|error| failed(format!("{} cannot be made: {error}", place.display())))?;
    }
    let story = Story { context, folder: &folder, start };
    let told = story.tell(&scratch)?;
    let document = json!({
        "schema": "homing.demo/1",
        "equal": true,
        "rows": told.rows,
        "conflicts": told.conflicts,
        "seconds": start.elapsed().as_secs_f64(),
        "folder": args.keep,
    });
    context.show(&document, |_| match &args.keep {
        Some(folder) => told.farewell(folder),
        None => "\nThe files were temporary and are gone; `homing demo --keep DIR` keeps them for a look.\n".to_owned(),
    })?;
    Ok(Exit::Done)
}

/// Takes the temporary files away, whatever happened.
struct Clean<'a> {
    scratch: &'a Path,
}

impl Drop for Clean<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.scratch);
    }
}

struct Story<'a> {
    context: &'a Context,
    folder: &'a Path,
    start: Instant,
}

struct Told {
    rows: usize,
    conflicts: usize,
}

impl Told {
    fn farewell(&self, folder: &Path) -> String {
        let at = folder.display();
        format!(
            "\nEverything is in {at}:\n  gate/flights.db, tower/flights.db   the two apps' databases\n  \
             hub/scopes/own-ada.db                the hub's, real tables too\n  \
             gate/homing.toml                     what was configured\n  *.log                                what the processes logged\n\
             Try: sqlite3 {at}/gate/flights.db 'SELECT * FROM homing_conflicts'\n"
        )
    }
}

impl Story<'_> {
    fn tell(&self, sockets: &Path) -> Result<Told, Failure> {
        self.say("A hub starts, and two devices: the gate and the tower of an airport. Each has an app with")?;
        self.say("a database of its own: 240 real flights out of New York, their airlines and airports.\n")?;
        let mut hub = Hub::start(self.folder)?;
        let token = self.folder.join("token");
        hub.token(&token)?;
        for name in ["gate", "tower"] {
            let home = self.folder.join(name);
            std::fs::create_dir_all(&home)
                .map_err(|error| failed(format!("{} cannot be made: {error}", home.display())))?;
            self.make_database(&home.join("flights.db"), name == "gate")?;
        }
        let gate = Device::start("gate", self.folder, sockets, &hub, &token)?;
        self.sync(&gate)?;
        self.done(&format!("the gate's {} rows are at the hub", thousand(self.count(&gate.database)?)))?;
        let tower = Device::start("tower", self.folder, sockets, &hub, &token)?;
        self.sync(&tower)?;
        self.done(&format!("the tower began empty and has {} rows", thousand(self.count(&tower.database)?)))?;

        self.say("\nThe network goes. Both apps go on writing, as if nothing had happened.\n")?;
        hub.stop();
        let flight = "carrier = 'UA' AND number = 1545 AND origin = 'EWR'";
        self.app(&gate, &[
            &format!("UPDATE flight SET delay = 35, gate = 'C71' WHERE {flight}"),
            "UPDATE flight SET gate = 'B' || (number % 40) WHERE carrier = 'B6'",
            "INSERT INTO note SELECT 'gate-1', time_hour, carrier, number, origin, 'Wheelchair at the door' FROM flight WHERE carrier = 'DL' LIMIT 1",
        ])?;
        self.app(&tower, &[
            &format!("UPDATE flight SET delay = 50 WHERE {flight}"),
            "DELETE FROM flight WHERE carrier = 'F9'",
            "INSERT INTO note SELECT 'tower-1', time_hour, carrier, number, origin, 'Crew change in Chicago' FROM flight WHERE dest = 'ORD' LIMIT 1",
        ])?;
        for device in [&gate, &tower] {
            self.tell_offline(device)?;
        }

        self.say("\nThe network is back. Both devices come home by themselves; here they are told to hurry.\n")?;
        hub.start_again(self.folder)?;
        for device in [&gate, &tower, &gate] {
            self.sync(device)?;
        }
        self.done("everything written offline is at the hub, and on the other device")?;
        let conflicts = self.conflicts(&[&gate, &tower])?;
        self.compare(&hub, &[&gate, &tower])?;
        let rows = self.count(&gate.database)?;
        self.say(&format!(
            "\n{} The gate, the tower and the hub hold the same {} rows, byte for byte. ({:.1} s)",
            self.context.paint.good("✓"),
            thousand(rows),
            self.start.elapsed().as_secs_f64()
        ))?;
        Ok(Told { rows, conflicts })
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.context.json { Ok(()) } else { self.context.print(&format!("{text}\n")) }
    }

    fn done(&self, text: &str) -> Result<(), Failure> {
        self.say(&format!("  {} {text}", self.context.paint.good("✓")))
    }

    /// The app's own doing: SQLite, its schema, and on one device its rows.
    fn make_database(&self, path: &Path, with_rows: bool) -> Result<(), Failure> {
        let db = Connection::open(path).map_err(sql)?;
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(sql)?;
        let (schema, rows) = SAMPLE.split_once("INSERT INTO").expect("BUG: the sample has rows");
        db.execute_batch(schema).map_err(sql)?;
        if with_rows {
            db.execute_batch(&format!("BEGIN; INSERT INTO{rows}; COMMIT")).map_err(sql)?;
        }
        Ok(())
    }

    fn app(&self, device: &Device, statements: &[&str]) -> Result<(), Failure> {
        let db = Connection::open(&device.database).map_err(sql)?;
        db.busy_timeout(Duration::from_secs(5)).map_err(sql)?;
        for statement in statements {
            let rows = db.execute(statement, []).map_err(sql)?;
            let verb = statement.split(' ').next().unwrap_or_default();
            let shown: String = statement.chars().take(64).collect();
            let dots = if shown.len() < statement.len() { "…" } else { "" };
            self.say(&format!(
                "  {}: {shown}{dots}  {}",
                device.name,
                self.context.paint.dim(&format!("({verb} of {rows})"))
            ))?;
        }
        Ok(())
    }

    fn sync(&self, device: &Device) -> Result<(), Failure> {
        let mut client = device.ask()?;
        let wait = method::SyncWait { replica: None, timeout_ms: Some(30_000) };
        let done: answer::Sync = client.call_within(wait, Duration::from_secs(40))?;
        match done.replicas.iter().find_map(|replica| replica.reason.clone().filter(|_| !replica.in_step)) {
            None => Ok(()),
            Some(reason) => Err(failed(format!("{}: {}", device.name, reason.text))),
        }
    }

    /// Says how a device stands once it noticed that the hub is away.
    fn tell_offline(&self, device: &Device) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(15);
        let mut client = device.ask()?;
        let (_, mut events) = device.ask()?.subscribe(&[Topic::Status])?;
        loop {
            let status: Status = client.call(method::ReplicaStatus { replica: None })?;
            let replica = &status.replicas[0];
            if replica.state == State::Offline && replica.pending > 0 {
                let reason = replica.reason.as_ref().map_or("", |reason| reason.text.as_str());
                let text = format!(
                    "{} is {}: {} changes wait in its outbox ({reason})",
                    device.name, "offline", replica.pending
                );
                return self.say(&format!("  {} {text}", self.context.paint.waiting("○")));
            }
            if Instant::now() > deadline {
                return Err(failed(format!("{} did not notice that the hub is away", device.name)));
            }
            let _ = events.next();
        }
    }

    fn conflicts(&self, devices: &[&Device]) -> Result<usize, Failure> {
        let mut count = 0;
        for device in devices {
            let mut client = device.ask()?;
            let asked = method::ConflictsList { replica: None, open: None, limit: None };
            let list: answer::Conflicts = client.call(asked)?;
            for conflict in &list.conflicts {
                count += 1;
                self.say(&format!(
                    "\n  One conflict, found by the {}: {} {}",
                    device.name, conflict.table, conflict.key
                ))?;
                for (who, side) in [("here", &conflict.local), ("there", &conflict.remote), ("kept", &conflict.result)]
                {
                    let cell = |column: &str| side.as_ref().map_or("deleted".to_owned(), |row| row[column].to_string());
                    self.say(&format!("    {who:<6} delay {:<5} gate {}", cell("delay"), cell("gate")))?;
                }
                self.say(&format!("    {}", conflict.note))?;
                self.say(&format!(
                    "    {}",
                    self.context.paint.dim("what lost is kept in the ledger: `homing conflicts show`")
                ))?;
            }
        }
        if count == 0 {
            return Err(failed("the two edits of one flight did not show as a conflict"));
        }
        Ok(count)
    }

    fn compare(&self, hub: &Hub, devices: &[&Device]) -> Result<(), Failure> {
        for table in TABLES {
            let theirs = contents(&hub.tables(), table)?;
            for device in devices {
                if contents(&device.database, table)? != theirs {
                    return Err(failed(format!("{table} differs between {} and the hub", device.name)));
                }
            }
        }
        Ok(())
    }

    fn count(&self, path: &Path) -> Result<usize, Failure> {
        TABLES.iter().map(|table| contents(path, table).map(|rows| rows.len())).sum()
    }
}

/// A table's rows as text, exact to the storage class.
fn contents(path: &Path, table: &str) -> Result<BTreeSet<String>, Failure> {
    let db = Connection::open(path).map_err(sql)?;
    let names: Vec<String> = db
        .prepare("SELECT name FROM pragma_table_info(?) ORDER BY name")
        .and_then(|mut list| list.query_map([table], |row| row.get(0))?.collect())
        .map_err(sql)?;
    let mut statement = db.prepare(&format!("SELECT {} FROM {table}", idents(&names))).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    let mut out = BTreeSet::new();
    while let Some(row) = rows.next().map_err(sql)? {
        let row: Row = value::read_row(row, 0, names.len()).map_err(sql)?;
        out.insert(row.iter().map(|value: &Value| literal(value)).collect::<Vec<_>>().join(", "));
    }
    Ok(out)
}

fn thousand(number: usize) -> String {
    super::words::thousands(number as u64)
}

fn sql(error: rusqlite::Error) -> Failure {
    failed(format!("SQLite would not: {error}"))
}
