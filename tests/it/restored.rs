//! Files and hubs that go back in time, and files that are in two places at once.

use std::path::Path;

use super::rig::{Device, Pair, assert_same, dump, eventually, sqlite3};

const NOTES: &str = "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT)";

fn copy(from: &Path, to: &Path) {
    // As `cp` would of a file that its app has closed.
    for ending in ["-wal", "-shm", "-journal"] {
        let beside = std::path::PathBuf::from(format!("{}{ending}", to.display()));
        let _ = std::fs::remove_file(beside);
    }
    let fresh = to.with_extension("copy");
    std::fs::copy(from, &fresh).unwrap();
    std::fs::rename(fresh, to).unwrap();
}

fn noted(device: &Device, word: &str) {
    let status = device.status();
    let notes = status["notes"].to_string();
    assert!(notes.contains(word), "{word} in {notes}");
    assert!(device.homing(&["status"]).out.contains("note: "), "{notes}");
}

#[test]
fn a_file_put_back_from_an_older_copy_begins_a_new_life_and_all_sides_end_equal() {
    let pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'old'), (2, 'old'), (3, 'old')");
    pair.settle();
    let backup = pair.a.home().join("backup.db");
    sqlite3(&pair.a.database, &format!("VACUUM INTO '{}'", backup.display()));
    pair.a.sql("UPDATE notes SET body = 'newer' WHERE id = 1; DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (4, 'newer')");
    pair.settle();
    // Under the running agent.
    copy(&backup, &pair.a.database);
    pair.a.sql("INSERT INTO notes VALUES (5, 'after the restore')");
    eventually("what came after the restore arrives", || pair.b.sql("SELECT count(*) FROM notes WHERE id = 5") == "1");
    pair.settle();
    noted(&pair.a, "older copy");
    assert_eq!(pair.b.sql("SELECT group_concat(id || body) FROM notes"), "1newer,3old,4newer,5after the restore");
}

#[test]
fn a_file_put_back_while_the_agent_was_away_does_the_same() {
    let mut pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'old')");
    pair.settle();
    pair.a.kill();
    let backup = pair.a.home().join("backup.db");
    copy(&pair.a.database, &backup);
    pair.a.start();
    pair.a.sql("UPDATE notes SET body = 'newer'; INSERT INTO notes VALUES (2, 'newer')");
    pair.settle();
    pair.a.kill();
    copy(&backup, &pair.a.database);
    pair.a.sql("INSERT INTO notes VALUES (3, 'after')");
    pair.a.start();
    pair.settle();
    noted(&pair.a, "older copy");
    assert_eq!(pair.b.sql("SELECT group_concat(id || body) FROM notes"), "1newer,2newer,3after");
}

#[test]
fn a_file_copied_to_another_device_is_a_replica_of_its_own_there() {
    let mut pair = Pair::new(NOTES);
    pair.a.start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'one'), (2, 'two')");
    pair.a.sync();
    // With an unsent write in it, which both will send.
    pair.hub.kill();
    pair.a.sql("INSERT INTO notes VALUES (3, 'unsent in both')");
    pair.a.await_status("captured", |status| status["pending"] == 1);
    pair.a.kill();
    copy(&pair.a.database, &pair.b.database);
    pair.hub.start_again();
    pair.a.start();
    pair.b.start();
    pair.b.sql("UPDATE notes SET body = 'by the clone' WHERE id = 1");
    pair.a.sql("UPDATE notes SET body = 'by the first' WHERE id = 2");
    pair.settle();
    noted(&pair.b, "another device");
    assert_eq!(pair.a.sql("SELECT group_concat(id || body) FROM notes"), "1by the clone,2by the first,3unsent in both");
}

#[test]
fn a_hub_put_back_from_its_backup_gets_again_what_it_lost() {
    let mut pair = Pair::new(NOTES).start();
    pair.a.sql("INSERT INTO notes VALUES (1, 'before'), (2, 'before'), (3, 'before')");
    pair.settle();
    let backup = pair.hub.home().join("backup");
    pair.hub.run(&["hub", "backup", "--data", pair.hub.data.to_str().unwrap(), backup.to_str().unwrap()]);
    pair.a.sql("INSERT INTO notes VALUES (4, 'after'); UPDATE notes SET body = 'after' WHERE id = 1");
    pair.b.sql("DELETE FROM notes WHERE id = 2; INSERT INTO notes VALUES (5, 'after, too')");
    pair.settle();
    let mut expected = dump(&pair.a.database);
    pair.hub.kill();
    std::fs::remove_dir_all(&pair.hub.data).unwrap();
    std::fs::rename(&backup, &pair.hub.data).unwrap();
    pair.hub.start_again();
    pair.a.sync();
    pair.b.sync();
    pair.settle();
    noted(&pair.a, "new log");
    // The backup's row 2 is back: its deletion was acknowledged, and nobody keeps those.
    // What was written comes again in full.
    let mut now = dump(&pair.a.database);
    now.get_mut("notes").unwrap().retain(|row| !row.ends_with("id=i2"));
    expected.get_mut("notes").unwrap().retain(|row| !row.ends_with("id=i2"));
    assert_same(&expected, &now, "before and after the restore");
}
