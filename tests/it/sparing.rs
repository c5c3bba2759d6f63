//! On a network that is paid for by what goes over it: what the schedule says to save is
//! saved, a person's word goes before it, and what waited is made up for. The system's
//! `busctl` is one that says what the test wrote down.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::rig::{Device, Hub};

struct Machine {
    hub: Hub,
    device: Device,
    price: PathBuf,
}

impl Machine {
    fn start(on_metered: &str, tables: &str) -> Machine {
        let hub = Hub::start();
        let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
        device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY); CREATE TABLE alarms(id TEXT PRIMARY KEY)");
        device.configure(&format!("on_metered = \"{on_metered}\"\n{tables}"));
        let bin = device.home().join("bin");
        let price = device.home().join("price");
        std::fs::create_dir(&bin).unwrap();
        std::fs::write(bin.join("busctl"), format!("#!/bin/sh\ncat {}\n", price.display())).unwrap();
        std::fs::set_permissions(bin.join("busctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(&price, "u 1\n").unwrap();
        let path = format!("{}:/usr/bin:/bin", bin.display());
        device.variable("PATH", &path);
        device.start();
        Machine { hub, device, price }
    }

    /// Another price, and a reload: that asks anew, as a minute's passing does.
    fn costs(&self, said: &str) {
        std::fs::write(&self.price, said).unwrap();
        self.device.reload();
    }

    fn at_the_hub(&self, table: &str) -> usize {
        super::rig::dump(&self.hub.scope("ada")).get(table).map_or(0, Vec::len)
    }
}

#[test]
fn a_replica_that_waits_on_a_metered_network_captures_and_syncs_for_a_person_alone() {
    let machine = Machine::start("wait", "");
    let device = &machine.device;
    // The file was looked at, and no more.
    let status = device.await_status("attached", |status| !status["last_cycle"].is_null());
    assert_eq!(status["last_sync_at"], serde_json::Value::Null, "{status:#}");
    device.sql("INSERT INTO tasks VALUES ('1')");
    let status = device.await_status("captured", |status| status["pending"] == 1);
    assert_eq!((&status["state"], &status["reason"]["code"]), (&"pending".into(), &"on_metered".into()), "{status:#}");
    let told = device.homing(&["status"]);
    assert!(
        told.out.contains("the network is metered: nothing goes out or comes in (`on_metered = \"wait\"`)"),
        "{told:?}"
    );
    assert!(!machine.hub.scope("ada").exists());

    device.sync();
    assert_eq!(machine.at_the_hub("tasks"), 1);
    device.sql("INSERT INTO tasks VALUES ('2')");
    device.await_status("captured", |status| status["pending"] == 1);
    machine.costs("u 4\n");
    device.await_status("in step", |status| status["state"] == "in_step" && status["reason"].is_null());
    assert_eq!(machine.at_the_hub("tasks"), 2);
    let cycles = device.json(&["history"]);
    assert_eq!(cycles["cycles"][0]["cause"], "supply", "{cycles:#}");
}

#[test]
fn a_replica_that_saves_syncs_for_what_is_urgent_and_takes_the_rest_along() {
    let machine = Machine::start("save", "[replica.notes.tables.alarms]\npriority = \"high\"\n");
    let device = &machine.device;
    device.await_reason("on_metered");
    device.sync();
    device.sql("INSERT INTO tasks VALUES ('1')");
    device.await_status("captured", |status| status["pending"] == 1 && status["reason"]["code"] == "on_metered");
    device.sql("INSERT INTO alarms VALUES ('1')");
    device.await_status("sent", |status| status["pending"] == 0 && status["state"] == "in_step");
    assert_eq!((machine.at_the_hub("alarms"), machine.at_the_hub("tasks")), (1, 1));
    let network = device.homing(&["history", "--limit", "1", "--json"]).json();
    assert_eq!(network["cycles"][0]["cause"], "write", "{network:#}");
}
