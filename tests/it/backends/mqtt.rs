//! Hints by MQTT, over a real Mosquitto that wants a user and a password.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};

use serde_json::{Value as Json, json};

use super::super::rig::{Backend, Broker, Device, eventually, has, token, token_of};

const FLOCK: &str = "INSERT INTO flocks VALUES";

/// A device of the preset, whose timer will not ring in this test.
fn device(name: &str, backend: &Backend, url: &str) -> Device {
    device_with(name, backend, url, &[])
}

fn device_with(name: &str, backend: &Backend, url: &str, keys: &[(&str, &str)]) -> Device {
    let token = token_of(json!({"sub": "farmer", "farm_id": "f7"}));
    let mut device = Device::preset(name, "egglogu", &backend.url(), &token);
    let password = device.home().join("password");
    std::fs::write(&password, format!("{}\n", Broker::PASSWORD)).unwrap();
    for (key, value) in [
        ("SCHEDULE__EVERY", "1h"),
        ("REMOTE__MQTT_URL", url),
        ("REMOTE__MQTT_USER", Broker::USER),
        ("REMOTE__MQTT_PASSWORD_FILE", password.to_str().unwrap()),
    ] {
        device.set(&format!("REPLICA__EGGLOGU__{key}"), value);
    }
    for (key, value) in keys {
        device.set(&format!("REPLICA__EGGLOGU__REMOTE__{key}"), value);
    }
    device.start();
    device.sync();
    device
}

fn names(device: &Device) -> String {
    device.sql("SELECT group_concat(name) FROM (SELECT name FROM flocks ORDER BY id)")
}

fn await_note(device: &Device, words: &str) {
    let says = |status: &Json| status["notes"].to_string().contains(words);
    device.await_status(words, says);
}

fn await_no_note(device: &Device) {
    device.await_status("no word of the broker", |status| !status["notes"].to_string().contains("broker"));
}

/// E8, W9.
#[test]
fn a_save_on_one_device_is_on_the_other_at_once_and_a_broker_that_was_killed_is_found_again() {
    if !has("python3") {
        return;
    }
    let Some(mut broker) = Broker::start() else { return };
    let backend = Backend::start("egglogu", &[]);
    let (a, b) = (device("a", &backend, &broker.url()), device("b", &backend, &broker.url()));
    eventually("both listen", || broker.said("egglogu/f7/sync (QoS 0)") >= 2);
    a.sql(&format!("{FLOCK} ('f1', 'one', 1, NULL)"));
    eventually("it comes by itself", || names(&b) == "one");
    b.sql(&format!("{FLOCK} ('f2', 'two', 2, NULL)"));
    eventually("and the other way", || names(&a) == "one,two");

    broker.kill();
    for device in [&a, &b] {
        await_note(device, "the MQTT broker 127.0.0.1:");
    }
    a.sql(&format!("{FLOCK} ('f3', 'three', 3, NULL)"));
    a.sync();
    assert_eq!((names(&b).as_str(), &b.status()["online"]), ("one,two", &json!(true)));
    b.sync();
    assert_eq!(names(&b), "one,two,three", "without a broker, pulling goes on");
    a.sql(&format!("{FLOCK} ('f4', 'four', 4, NULL)"));
    a.sync();

    broker.start_again();
    eventually("what was missed comes when it is back", || names(&b) == "one,two,three,four");
    for device in [&a, &b] {
        await_no_note(device);
    }
    b.sql("DELETE FROM flocks WHERE id < 'f4'");
    eventually("and hints are heard as before", || names(&a) == "four");
}

#[test]
fn a_broker_that_refuses_the_password_is_told_of_and_heard_once_it_is_right() {
    if !has("python3") {
        return;
    }
    let Some(broker) = Broker::start() else { return };
    let backend = Backend::start("egglogu", &[]);
    let (a, b) = (device("a", &backend, &broker.url()), device("b", &backend, &broker.url()));
    let mut c = device("c", &backend, &broker.url());
    std::fs::write(c.home().join("password"), "wrong").unwrap();
    c.kill();
    c.start();
    await_note(&c, "it refuses the user or the password");
    assert!(!c.status().to_string().contains("wrong"), "no secret is told");
    let told = c.doctor();
    assert!(told.out.contains("broker") && told.out.contains("it refuses the user"), "{told:?}");
    std::fs::write(c.home().join("password"), Broker::PASSWORD).unwrap();
    await_no_note(&c);
    a.sql(&format!("{FLOCK} ('f1', 'one', 1, NULL)"));
    eventually("all three have it", || names(&b) == "one" && names(&c) == "one");
    let told = c.doctor();
    assert!(!told.out.contains("broker"), "{told:?}");
}

/// The broker's certificate is held to the authority that the config names.
#[test]
fn a_broker_behind_tls_is_trusted_by_its_certificate_alone() {
    if !has("python3") {
        return;
    }
    let Some(broker) = Broker::start_tls("hub") else { return };
    let Some(stranger) = Broker::start_tls("stranger") else { return };
    let backend = Backend::start("egglogu", &[]);
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/authority.pem");
    let trusting = |name: &str, broker: &Broker| device_with(name, &backend, &broker.url(), &[("CA_FILE", authority)]);
    let (a, b) = (trusting("a", &broker), trusting("b", &broker));
    eventually("both listen", || broker.said("egglogu/f7/sync (QoS 0)") >= 2);
    a.sql(&format!("{FLOCK} ('f1', 'one', 1, NULL)"));
    eventually("it comes by itself", || names(&b) == "one");

    // Of another name, or of an authority that nobody named: not a word is said to it.
    for device in [trusting("c", &stranger), device("d", &backend, &broker.url())] {
        await_note(&device, "certificate");
        assert_eq!(names(&device), "one", "pulling goes on");
    }
    assert_eq!(stranger.said("egglogu/f7/sync"), 0);
}

/// Whatever answers in the broker's place, rows come and go, and the status says it.
#[test]
fn what_only_pretends_to_be_a_broker_harms_nothing() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("egglogu", &[]);
    let accepted = b"\x20\x02\x00\x00\x90\x03\x00\x01\x00".to_vec();
    let then = |more: &[u8]| [&accepted, more].concat();
    for (at, (answer, words)) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not speak MQTT"),
        (b"\x20\x02\x00\x03".to_vec(), "it says that it is not available"),
        (b"\x20\x02\x00\x00\x90\x03\x00\x01\x80".to_vec(), "it does not let `egglogu/f7/sync` be listened to"),
        (Vec::new(), "it closed the connection"),
        (then(b"\x30\x80\x80\x80\x32"), "it sends a message of 104857600 bytes"),
        (then(&b"\x30\x05\x00\x01tno".repeat(100_000)), "it closed the connection"),
        (then(&[0xff; 9_000]), "does not speak MQTT"),
    ]
    .into_iter()
    .enumerate()
    {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtt://{}", door.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut guest in door.incoming().map_while(Result::ok) {
                // What it says is heard first: a reset would take the answer along.
                let _ = guest.read(&mut [0; 512]);
                let _ = guest.write_all(&answer);
                let _ = guest.shutdown(Shutdown::Write);
                let _ = guest.read_to_end(&mut Vec::new());
            }
        });
        let name = format!("d{at}");
        let device = device(&name, &backend, &url);
        await_note(&device, words);
        device.sql(&format!("{FLOCK} ('{name}', '{name}', 1, NULL)"));
        device.sync();
        assert_eq!(device.status()["pending"], 0);
    }
}

#[test]
fn a_password_goes_readable_to_no_other_machine() {
    let mut device = Device::preset("a", "egglogu", "http://127.0.0.1:1", &token("farmer"));
    for (key, value) in [("MQTT_URL", "mqtt://broker.example.org"), ("MQTT_USER", "farm"), ("MQTT_PASSWORD_FILE", "x")]
    {
        device.set(&format!("REPLICA__EGGLOGU__REMOTE__{key}"), value);
    }
    let mut agent = device.spawn("refused.log", |_| {});
    assert!(!agent.ended().success());
    let log = std::fs::read_to_string(device.home().join("refused.log")).unwrap();
    assert!(log.contains("would travel readable to broker.example.org"), "{log}");
}
