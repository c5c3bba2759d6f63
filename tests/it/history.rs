//! What is known of past cycles: over the agent's death, and in detail.

use super::rig::{Device, Hub};

#[test]
fn history_outlives_the_agent_and_says_what_each_cycle_did() {
    let hub = Hub::start();
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    device.start();
    device.sync();
    device.sql("INSERT INTO tasks VALUES ('1', 'one'), ('2', 'two')");
    device.sync();
    let before = device.json(&["history"])["cycles"].clone();
    let wrote = before.as_array().unwrap().iter().find(|cycle| cycle["pushed"] == 2).expect("a cycle that pushed two");
    assert!(wrote["checkpoint_age_seconds"].is_u64() && wrote["bytes_up"].as_u64() > Some(0), "{wrote:#}");
    let parts: u64 =
        ["push", "pull", "apply"].iter().map(|part| wrote[format!("{part}_milliseconds")].as_u64().unwrap()).sum();
    assert!(parts <= wrote["milliseconds"].as_u64().unwrap() + 3, "{wrote:#}");

    device.kill();
    hub_is_away_for(&hub, &mut device);
    let after = device.json(&["history", "--limit", "3000"])["cycles"].clone();
    let after = after.as_array().unwrap();
    assert!(after.ends_with(before.as_array().unwrap()), "{after:#?}");
    assert!(device.status()["last_sync_at"].is_i64(), "the new agent knows when the old one was last in step");
}

/// Starts the agent anew where it cannot sync, so that all it knows is from before.
fn hub_is_away_for(hub: &Hub, device: &mut Device) {
    let gone = hub.url().replace(&hub.address(), "127.0.0.1:9");
    device.set("REPLICA__NOTES__REMOTE__URL", &gone);
    device.start();
    device.await_state("offline");
}

#[test]
fn what_still_waits_is_counted_by_table() {
    let hub = Hub::start();
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT); CREATE TABLE rooms(id TEXT PRIMARY KEY)");
    device.start();
    device.sync();
    device.kill();
    device.sql("INSERT INTO tasks VALUES ('1', 'one'), ('2', 'two'); INSERT INTO rooms VALUES ('r')");
    hub_is_away_for(&hub, &mut device);
    let newest = device.json(&["history"])["cycles"][0].clone();
    assert_eq!(newest["queued"], serde_json::json!({"rooms": 1, "tasks": 2}), "{newest:#}");
    assert_eq!(newest["reason"]["code"], "offline_hub_down");
    let metrics = device.json(&["metrics"])["replicas"][0].clone();
    assert_eq!(metrics["queued"], newest["queued"]);
}
