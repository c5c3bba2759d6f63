//! `homing doctor`, on machines with one fault each: it is found, with what was seen and
//! what mends it; and on a good machine nothing is.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use super::rig::{Device, Hub, Mode, Road, eventually, http};

/// A machine on which all is well, but for its agent, which does not run.
fn good(hub: &Hub) -> Device {
    let device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("PRAGMA journal_mode = WAL; CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    mode(&device.token_file, 0o600);
    mode(&device.config, 0o600);
    device
}

fn running(hub: &Hub) -> Device {
    let mut device = good(hub);
    device.start();
    device.sync();
    device
}

/// What the doctor has to say, beside what is well.
fn findings(device: &Device) -> Vec<Json> {
    let told = device.homing(&["doctor", "--json", "--config", device.config.to_str().unwrap()]);
    assert!([0, 3, 78].contains(&told.code), "{told:?}");
    let document = told.json();
    assert_eq!(document["schema"], "homing.doctor/1");
    let all = document["findings"].as_array().unwrap();
    // Where the tests' own folder is kept in memory, that is told, and no fault.
    let in_memory = rustix::fs::statfs(std::env::temp_dir()).is_ok_and(|found| found.f_type == 0x0102_1994);
    let is_told = |finding: &&Json| finding["verdict"] != "well" && !(in_memory && finding["check"] == "storage");
    let told: Vec<Json> = all.iter().filter(is_told).cloned().collect();
    assert_eq!(document["well"], told.is_empty());
    told
}

/// `check` is told, with a way out that says `mend`; and nothing is wrong besides, but for
/// what `also` names.
#[track_caller]
fn finds(device: &Device, check: &str, mend: &str, also: &[&str]) {
    let told = findings(device);
    let found = told.iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} is not told, but {told:#?}"));
    assert!(found["mend"].as_str().unwrap().contains(mend), "{found:#}");
    assert!(!found["evidence"].as_str().unwrap().is_empty());
    let other = told.iter().map(|finding| finding["check"].as_str().unwrap());
    let other: Vec<&str> = other.filter(|other| *other != check && !also.contains(other)).collect();
    assert!(other.is_empty(), "beside {check}: {told:#?}");
}

/// Writes the config as it was, and dates it back: the agent has read it since.
fn restore(device: &Device, config: &str) {
    std::fs::write(&device.config, config).unwrap();
    let file = std::fs::File::options().write(true).open(&device.config).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3_600)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn on_a_good_machine_there_is_nothing_to_tell() {
    let hub = Hub::start();
    let device = running(&hub);
    device.sql("INSERT INTO tasks VALUES ('1', 'a')");
    device.sync();
    assert_eq!(findings(&device), Vec::<Json>::new());
    let told = device.homing(&["doctor", "--config", device.config.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.starts_with("all is well: "), "{told:?}");
}

#[test]
fn what_is_wrong_around_the_agent_is_found() {
    let hub = Hub::start();
    let mut device = running(&hub);
    let config = std::fs::read_to_string(&device.config).unwrap();

    std::fs::write(&device.config, config.replace("database =", "databsae =")).unwrap();
    finds(&device, "config", "database", &[]);
    restore(&device, &config);
    mode(&device.config, 0o666);
    finds(&device, "config_mode", "chmod go-w", &[]);
    mode(&device.config, 0o600);

    mode(&device.state_dir(), 0o777);
    finds(&device, "state_dir", "chmod 700", &[]);
    mode(&device.state_dir(), 0o500);
    finds(&device, "state_dir", "chmod 700", &[]);
    mode(&device.state_dir(), 0o700);
    let memory = device.state_dir().join("replica-notes.json");
    mode(&memory, 0o000);
    finds(&device, "state_files", "chmod", &[]);
    mode(&memory, 0o600);

    mode(device.home(), 0o777);
    finds(&device, "socket_folder", "chmod go-w", &[]);
    mode(device.home(), 0o700);
    mode(&device.socket, 0o666);
    finds(&device, "socket_kind", "chmod 600", &[]);
    mode(&device.socket, 0o600);

    // A config that the agent has not read yet.
    std::fs::write(&device.config, config.replace("http://127.0.0.1", "http://localhost")).unwrap();
    finds(&device, "config_in_force", "reload", &["config_read"]);
    std::fs::write(&device.config, config.replace("50ms", "60ms")).unwrap();
    finds(&device, "config_read", "reload", &[]);
    restore(&device, &config);

    device.homing(&["pause"]);
    finds(&device, "paused", "homing resume notes", &[]);
    device.homing(&["resume"]);
    device.sync();
    assert_eq!(device.homing(&["detach", "notes"]).code, 0);
    finds(&device, "detached", "homing attach notes", &["capture"]);
    assert_eq!(device.homing(&["attach", "notes"]).code, 0);
    device.sync();

    // The agent is there, and its socket is not.
    std::fs::rename(&device.socket, device.home().join("elsewhere")).unwrap();
    finds(&device, "agent", "--socket", &[]);
    device.kill();
    std::fs::rename(device.home().join("elsewhere"), &device.socket).unwrap();
    finds(&device, "agent", "homing agent", &[]);
    std::fs::remove_file(&device.socket).unwrap();
    finds(&device, "agent", "homing agent", &[]);
    std::fs::write(&device.socket, "not a socket").unwrap();
    finds(&device, "socket_kind", "mv ", &["agent"]);
    std::fs::remove_file(&device.socket).unwrap();
    symlink("/nowhere", &device.socket).unwrap();
    finds(&device, "socket_kind", "rm ", &["agent"]);
    std::fs::remove_file(&device.socket).unwrap();
    let long = format!("socket = \"{}/{}.sock\"", device.home().display(), "x".repeat(100));
    let socket = format!("socket = \"{}\"", device.socket.display());
    std::fs::write(&device.config, config.replace(&socket, &long)).unwrap();
    finds(&device, "socket_path", "shorter", &["agent"]);
}

#[test]
fn what_is_wrong_with_a_database_is_found() {
    let hub = Hub::start();
    let device = running(&hub);
    let database = &device.database.clone();

    // An agent at work puts it back of its own accord, within a moment.
    device.homing(&["pause"]);
    device.sql("DROP TRIGGER _homing_1_insert");
    finds(&device, "triggers", "homing sync notes", &["paused"]);
    device.homing(&["resume"]);
    device.sync();
    device.sql("CREATE TABLE loose(note TEXT)");
    device.sync();
    finds(&device, "table_refused", "PRIMARY KEY", &[]);
    device.sql("DROP TABLE loose");
    device.sync();
    device.sql("CREATE TABLE keyed(id TEXT PRIMARY KEY); INSERT INTO keyed VALUES (NULL)");
    device.homing(&["sync", "--wait"]);
    finds(&device, "null_keys", "key", &["set_aside"]);
    device.sql("DROP TABLE keyed");
    device.homing(&["sync", "--wait"]);
    device.sql("CREATE TABLE parts(id TEXT PRIMARY KEY, of TEXT REFERENCES tasks(id))");
    device.sync();
    device.homing(&["pause"]);
    device.sql("PRAGMA foreign_keys = OFF; INSERT INTO parts VALUES ('p', 'nowhere')");
    finds(&device, "orphans", "foreign_key_check", &["paused"]);
    device.sql("DELETE FROM parts");
    device.homing(&["resume"]);
    device.sync();

    let mut device = device;
    device.stop();
    let agent = &["agent"];
    device.sql("PRAGMA journal_mode = DELETE");
    finds(&device, "journal_mode", "WAL", agent);
    device.sql("PRAGMA journal_mode = WAL");
    device.sql("UPDATE _homing_meta SET value = 99 WHERE name = 'format'");
    finds(&device, "format", "upgrade", agent);
    device.sql("UPDATE _homing_meta SET value = 1 WHERE name = 'format'");
    device.sql("INSERT INTO _homing_log(tab, op, at, k0) VALUES (1, 1, julianday('now') - 3, 'x')");
    finds(&device, "pending_age", "homing status", agent);
    device.sql("DELETE FROM _homing_log WHERE k0 = 'x'");

    mode(database, 0o400);
    finds(&device, "database_mode", "chmod u+rw", agent);
    mode(database, 0o600);
    mode(database.parent().unwrap(), 0o500);
    finds(&device, "folder_mode", "chmod u+rwx", agent);
    mode(database.parent().unwrap(), 0o700);
    let wal = database.with_extension("db-wal");
    std::fs::write(&wal, "").unwrap();
    mode(&wal, 0o000);
    finds(&device, "beside", "chown", agent);
    std::fs::remove_file(&wal).unwrap();

    let config = std::fs::read_to_string(&device.config).unwrap();
    std::fs::write(&device.config, format!("{config}\n[replica.notes.tables.taks]\npriority = \"high\"\n")).unwrap();
    finds(&device, "table_named", "tasks", agent);
    restore(&device, &config);
    std::fs::hard_link(database, device.home().join("twin.db")).unwrap();
    let twin = format!(
        "{config}\n[replica.twin]\ndatabase = \"{}\"\nremote.url = \"{}\"\nremote.token_file = \"{}\"\n",
        device.home().join("twin.db").display(),
        hub.url(),
        device.token_file.display()
    );
    std::fs::write(&device.config, twin).unwrap();
    finds(&device, "twin", "remove one", agent);
    restore(&device, &config);

    device.sql("PRAGMA journal_mode = DELETE");
    let whole = std::fs::read(database).unwrap();
    std::fs::write(database, &whole[..whole.len() - 4096]).unwrap();
    finds(&device, "database", "recover", agent);
    std::fs::write(database, b"this is no database, whatever its name says".repeat(100)).unwrap();
    finds(&device, "database", "encrypted", agent);
    std::fs::remove_file(database).unwrap();
    finds(&device, "database_there", "start the app once", agent);
    std::fs::create_dir(database).unwrap();
    finds(&device, "database_there", "correct `database`", agent);
}

#[test]
fn a_database_without_anything_to_sync_is_found_and_one_that_is_kept_locked() {
    let hub = Hub::start();
    let device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    mode(&device.token_file, 0o600);
    device.sql("PRAGMA journal_mode = WAL; CREATE TABLE loose(note TEXT)");
    finds(&device, "tables", "PRIMARY KEY", &["agent", "capture", "table_refused"]);
    let mut holder = std::process::Command::new("sqlite3")
        .arg(&device.database)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::{BufRead, Write};
    let hold = b"PRAGMA locking_mode = EXCLUSIVE;\nBEGIN EXCLUSIVE;\nSELECT 'held';\n";
    holder.stdin.as_mut().unwrap().write_all(hold).unwrap();
    let mut lines = std::io::BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    finds(&device, "database", "fuser", &["agent"]);
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn what_is_wrong_on_the_way_to_the_hub_is_found() {
    let mut hub = Hub::start();
    let device = good(&hub);
    let agent = &["agent", "capture"];
    let config = std::fs::read_to_string(&device.config).unwrap();
    let at = |url: &str| std::fs::write(&device.config, config.replace(&hub.url(), url)).unwrap();
    at("http://no-such-machine.invalid:4747");
    finds(&device, "name", "getent", agent);
    at("http://127.0.0.1:1");
    finds(&device, "door", "homing hub", agent);
    let road = Road::to(&hub.address());
    road.set(Mode::Answer(http("200 OK", "Content-Type: text/html\r\n", "<h1>Please log in</h1>")));
    at(&road.url());
    finds(&device, "remote", "", agent);
    // A certificate of nobody whom this machine trusts, or whom the config names.
    at(&format!("https://{}", super::remote::tls_server("stranger")));
    finds(&device, "remote", "ca_file", agent);
    at(&hub.url());

    mode(&device.token_file, 0o644);
    finds(&device, "token_mode", "chmod 600", agent);
    mode(&device.token_file, 0o600);
    let token = std::fs::read_to_string(&device.token_file).unwrap();
    device.sign_in("nonsense");
    finds(&device, "remote", "token", agent);
    device.sign_in(&format!("{}\nand a second line", token));
    finds(&device, "remote", "token", agent);
    // A newline at its end is no fault.
    device.sign_in(&format!("{}\n", token.trim()));
    finds(&device, "agent", "homing agent", &["capture"]);
    device.sign_in("");
    finds(&device, "token", "homing hub token", agent);
    device.sign_in(&hub.token(&["--account", "ada", "--ttl", "1h"]));
    finds(&device, "token_expiry", "homing hub token", agent);
    std::fs::remove_file(&device.token_file).unwrap();
    finds(&device, "token", "homing hub token", agent);
    device.sign_in(&token);
    mode(&device.token_file, 0o600);
    hub.run(&["hub", "revoke", "--data", hub.data.to_str().unwrap(), "--account", "ada"]);
    hub.stop();
    hub.start_again();
    finds(&device, "remote", "token", agent);
}

/// What the system says of the agent's process.
#[test]
#[cfg(target_os = "linux")]
fn what_is_wrong_with_the_agents_process_is_found() {
    let hub = Hub::start();
    let device = good(&hub);
    let program = device.home().join("homing");
    std::fs::copy(env!("CARGO_BIN_EXE_homing"), &program).unwrap();
    let agent = device.spawn("agent.log", |command| {
        let mut copy = Command::new(&program);
        copy.args(command.get_args()).env_clear().stdout(std::process::Stdio::null());
        copy.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        *command = copy;
    });
    let pid = agent.child.id();
    eventually("it answers", || device.homing(&["sync", "--wait"]).code == 0);
    assert_eq!(findings(&device), Vec::<Json>::new());

    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
    signal("-STOP");
    // Where it was at work, the file's locks stand still with it.
    finds(&device, "agent", &format!("kill -CONT {pid}"), &["database"]);
    let told = device.homing(&["status"]);
    assert_eq!(told.code, 75, "{told:?}");
    assert!(
        told.err.contains("was stopped by a signal") && told.err.contains(&format!("kill -CONT {pid}")),
        "{told:?}"
    );
    signal("-CONT");

    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = |most: usize| {
        let set = format!("--nofile={most}:4096");
        assert!(Command::new("prlimit").args(["--pid", &pid.to_string(), &set]).status().unwrap().success());
    };
    // What it held open while it stood still goes first.
    eventually("few files are left to it", || {
        limit(open() * 6 / 5);
        findings(&device).iter().any(|finding| finding["check"] == "agent_files")
    });
    finds(&device, "agent_files", "LimitNOFILE", &[]);
    limit(4096);

    // An upgrade puts another file in its place.
    std::fs::rename(&program, device.home().join("old")).unwrap();
    std::fs::copy(device.home().join("old"), &program).unwrap();
    std::fs::remove_file(device.home().join("old")).unwrap();
    finds(&device, "agent_program", "homing agent", &[]);

    let config = std::fs::read_to_string(&device.config).unwrap();
    std::fs::write(&device.config, config.replace(&hub.url(), "http://hub.example.org")).unwrap();
    let shell = super::rig::homing(device.home())
        .args(["doctor", "--offline", "--config"])
        .arg(&device.config)
        .envs([("HTTPS_PROXY", "http://ada:secret@proxy.example.org:3128")])
        .output()
        .unwrap();
    let told = String::from_utf8(shell.stdout).unwrap();
    assert!(
        told.contains("`HTTPS_PROXY` is set here and not for the agent") && told.contains("remote.proxy"),
        "{told}"
    );
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn a_second_agent_on_the_database_is_found() {
    let hub = Hub::start();
    let first = running(&hub);
    let mut second = good(&hub);
    second.database = first.database.clone();
    second.write_config();
    mode(&second.config, 0o600);
    second.start();
    second.await_reason("database_taken");
    finds(&second, "standing", "stop one of the two", &[]);
}

#[test]
fn what_is_wrong_with_the_disk_is_found() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can mount a disk");
    }
    let hub = Hub::start();
    let device = good(&hub);
    let agent = &["agent", "capture", "storage"];
    // A log that a reader kept from being folded.
    let wal = device.database.with_extension("db-wal");
    let reader = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM tasks').fetchone()
db.execute('BEGIN'); db.execute('SELECT count(*) FROM tasks').fetchone()
print('reads', flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", reader])
        .arg(&device.database)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut said).unwrap();
    device.sql(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 70)
        INSERT INTO tasks SELECT i, randomblob(1000000) FROM n",
    );
    assert!(wal.metadata().unwrap().len() > 64 << 20);
    finds(&device, "wal_length", "fuser", agent);
    holder.kill().unwrap();
    holder.wait().unwrap();

    let folder = device.database.parent().unwrap().to_str().unwrap().to_owned();
    let mount = |args: &[&str]| Command::new("mount").args(args).arg(&folder).output().unwrap().status.success();
    if !mount(&["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"]) {
        return eprintln!("skipped: nothing can be mounted here");
    }
    struct Mounted(String);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").args(["-l", &self.0]).output();
        }
    }
    let _mounted = Mounted(folder.clone());
    device.sql("PRAGMA journal_mode = WAL; CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    finds(&device, "storage", "move it to a disk", &["agent", "capture", "database_room"]);
    finds(&device, "database_room", "make room", agent);
    assert!(mount(&["-o", "remount,ro"]));
    finds(&device, "storage", "remount,rw", &["agent"]);
}
