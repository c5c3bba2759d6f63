//! A device whose clock is wrong, and the app on it too: it wins by when it wrote and not
//! by what its clock said, and how far it is off is told.

use std::process::Command;
use std::time::Duration;

use super::rig::Pair;

/// What a program gets from the system, an hour later.
const AHEAD: &str = "#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, id, now);
    if (done == 0 && id == CLOCK_REALTIME) now->tv_sec += 3600;
    return done;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int done = clock_gettime(CLOCK_REALTIME, &exact);
    (void) zone;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return done;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
";

#[test]
#[cfg(target_os = "linux")]
fn a_device_an_hour_ahead_wins_by_when_it_wrote_and_is_told_of_its_clock() {
    let mut pair = Pair::new("CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)");
    let (source, library) = (pair.b.home().join("ahead.c"), pair.b.home().join("ahead.so"));
    std::fs::write(&source, AHEAD).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    let library = library.to_str().unwrap().to_owned();
    pair.b.variable("LD_PRELOAD", &library);
    pair.a.sql("INSERT INTO notes VALUES (1, 'old'), (2, 'old')");
    let mut pair = pair.start();
    pair.settle();
    pair.b.kill();
    let ahead = |sql: &str, database: &std::path::Path| {
        let done = Command::new("sqlite3").env("LD_PRELOAD", &library).arg(database).arg(sql).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    let hours = ahead("SELECT strftime('%s', 'now')", &pair.b.database).parse::<i64>().unwrap()
        - pair.a.sql("SELECT strftime('%s', 'now')").parse::<i64>().unwrap();
    assert!((3_500..3_700).contains(&hours), "the app's clock is {hours} s ahead");

    // Each writes one row first and the other last; by B's own clock it was always last.
    // A clock is measured over a way that takes its time, on a busy machine many
    // milliseconds: "last" is later by more than that.
    let a_while = || std::thread::sleep(Duration::from_secs(2));
    ahead("UPDATE notes SET body = 'b, first' WHERE id = 1", &pair.b.database);
    a_while();
    pair.a.sql("UPDATE notes SET body = 'a, last' WHERE id = 1; UPDATE notes SET body = 'a, first' WHERE id = 2");
    a_while();
    ahead("UPDATE notes SET body = 'b, last' WHERE id = 2", &pair.b.database);
    pair.a.sync();
    pair.b.start();
    pair.settle();
    assert_eq!(pair.a.sql("SELECT body FROM notes"), "a, last\nb, last");
    let future = "SELECT count(*) FROM _hub_row WHERE stamp / 1000 > (strftime('%s', 'now') + 30) * 1000";
    assert_eq!(super::rig::sqlite3(&pair.hub.scope("ada"), future), "0", "nothing at the hub is from the future");
    // What A writes now is later than anything B wrote.
    pair.a.sql("UPDATE notes SET body = 'a, later' WHERE id = 2");
    pair.settle();
    assert_eq!(pair.b.sql("SELECT body FROM notes WHERE id = 2"), "a, later");

    let status = pair.b.status();
    let skew = status["link"]["skew_ms"].as_i64().unwrap();
    assert!((3_590_000..3_610_000).contains(&skew), "{status:#}");
    assert!(status["notes"].to_string().contains("s ahead of the remote's; stamps are corrected"), "{status:#}");
    assert!(pair.a.status()["link"]["skew_ms"].as_i64().unwrap().abs() < 30_000);
    let config = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let told = pair.b.homing(&["doctor", "--config", &config(&pair.b.config)]);
    assert!(told.out.contains("ahead of the remote's") && told.out.contains("timedatectl"), "{told:?}");
    let told = pair.a.homing(&["doctor", "--config", &config(&pair.a.config), "--json"]);
    assert!(told.out.contains("ms apart"), "{told:?}");
}
