//! A backend that tells by server-sent events that there is more.

use super::super::rig::{Backend, Device, Mode, Road, eventually, has};
use super::plain;

/// A device with no timer: what comes, comes by a hint.
fn device(name: &str, url: &str) -> Device {
    plain(name, url, &[("LIVE_PATH", "live")], "")
}

#[test]
fn a_change_on_one_device_appears_on_the_other_by_a_hint_and_a_channel_that_was_lost_is_opened_again() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &[]);
    let address = backend.url().trim_start_matches("http://").to_owned();
    let road = Road::to(&address);
    let (a, b) = (device("a", &backend.url()), device("b", &road.url()));
    eventually("both listen", || backend.state()["listeners"] == 2);
    a.sql("INSERT INTO lists VALUES ('l1', 'Garden')");
    eventually("it comes by itself", || b.sql("SELECT name FROM lists WHERE id = 'l1'") == "Garden");

    road.set(Mode::Cut);
    eventually("the channel is lost", || backend.state()["listeners"] == 1);
    a.sql("UPDATE lists SET name = 'Yard' WHERE id = 'l1'");
    a.sync();
    assert_eq!(b.sql("SELECT name FROM lists"), "Garden");
    road.set(Mode::Open(address));
    eventually("what was missed comes when it is open again", || b.sql("SELECT name FROM lists") == "Yard");
    b.sql("DELETE FROM lists");
    eventually("and hints are heard as before", || a.sql("SELECT count(*) FROM lists") == "0");
}
