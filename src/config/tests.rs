//! The whole reader: a file and an environment in, settings or problems out, as text.

use std::path::{Path, PathBuf};

use super::keys::{Key, Part};
use super::*;
use crate::model::settings::{Limits, Priority, Schedule, TokenSource};
use crate::model::{ColumnRule, DeleteRule, Operation, SideRule, SoftDelete, Strategy, Table as Schema};

const SMALLEST: &str = "[replica.notes]
database = 'notes.db'
[replica.notes.remote]
url = 'https://hub.example.org'
";

/// A machine that runs Homing has one, and `load` would rightly find it.
fn has_system_config() -> bool {
    paths::config_files(&[]).iter().any(|file| file.exists())
}

/// `NAME=value`, one a line.
fn env(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| line.trim().split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

fn read(text: &str, variables: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("/home/ada/sync/homing.toml"), &env(variables))
}

#[track_caller]
fn good(text: &str, variables: &str) -> Replica {
    let config = read(text, variables).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.replicas.len(), 1);
    config.replicas.into_iter().next().unwrap()
}

#[track_caller]
fn bad(text: &str, variables: &str, expected: &str) {
    let told = read(text, variables).expect_err("this config has problems").to_string();
    let told: Vec<&str> = told.lines().map(|line| line.trim_start_matches("/home/ada/sync/homing.toml")).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(told.join("\n"), expected.join("\n"));
}

#[test]
fn the_smallest_config_has_every_default() {
    let replica = good(SMALLEST, "");
    assert_eq!(replica.database, Path::new("/home/ada/sync/notes.db"));
    assert_eq!((replica.schedule, replica.limits), (Schedule::default(), Limits::default()));
    assert_eq!(replica.remote.kind, "homing");
    assert_eq!((replica.remote.token, replica.remote.timeout), (TokenSource::None, 30_000));
    assert_eq!(replica.default_rule, Default::default());
}

#[test]
fn the_example_of_the_contract_is_read_as_it_means() {
    let config = read(
        r#"
        device = "ada-laptop"
        socket = "~/run/agent.sock"
        [replica.notes]
        database = "/home/ada/notes/notes.db"
        preset = "production"
        [replica.notes.remote]
        kind = "homing"
        url = "https://hub.example.org/"
        token_file = "~/token"
        [replica.notes.schedule]
        startup = true
        every = "off"
        debounce = "3s"
        [replica.notes.limits]
        batch_rows_max = 50
        batch_bytes_max = "256KiB"
        pending_age_max = "7d"
        delete_share_max = "20%"
        [replica.notes.defaults]
        delete_priority = "critical"
        strategy = "server_wins"
        [replica.notes.tables.Tasks]
        strategy = "field_level"
        priority = "high"
        after = ["projects"]
        immediate = true
        [replica.notes.tables.photos]
        priority = 4
        fire_triggers = false
        "#,
        "HOME=/home/ada/",
    )
    .unwrap();
    assert_eq!(config.device.as_deref(), Some("ada-laptop"));
    assert_eq!(config.socket.as_deref(), Some(Path::new("/home/ada/run/agent.sock")));
    assert_eq!(config.sources["replica.notes.limits.batch_rows_max"], Place::File { line: 16, column: 26 });
    let replica = &config.replicas[0];
    assert_eq!(replica.remote.url, "https://hub.example.org");
    assert_eq!(replica.remote.token, TokenSource::File("/home/ada/token".into()));
    assert_eq!(replica.schedule.every, None);
    assert_eq!((replica.limits.batch_rows_max, replica.limits.batch_bytes_max), (50, 262_144));
    assert!(!replica.limits.batches_grow, "a size that is named is kept to");
    assert_eq!(replica.limits.pending_age_max, Some(604_800_000));
    assert_eq!(replica.limits.delete_share_max, 0.2);
    let tasks = replica.rule("tasks");
    assert_eq!((tasks.strategy, tasks.priority, tasks.immediate), (Strategy::FieldLevel, Priority(1), true));
    assert_eq!(tasks.after, ["projects"]);
    assert_eq!(tasks.priority_of(Operation::Delete), Priority(0), "the defaults hold where the table is silent");
    let photos = replica.rule("PHOTOS");
    assert_eq!(
        (photos.strategy, photos.priority, photos.fire_triggers),
        (Strategy::ServerWins, Priority(4), Some(false))
    );
    assert_eq!(replica.rule("other").strategy, Strategy::ServerWins);
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    bad(
        r#"
        devise = "x"
        [replica.notes]
        databse = "notes.db"
        url = "https://hub.example.org"
        preset = "prodution"
        [replica.notes.remote]
        kind = "operation"
        url = "hub.example.org"
        token = "abc"
        timeout = 30
        [replica.notes.schedule]
        every = "5 minutes"
        debounce = "off"
        startup = "yes"
        [replica.notes.limits]
        batch_rows_max = "1000"
        tries_max = 0
        batch_bytes_max = "1 MBit"
        delete_share_max = 2
        [replica.notes.defaults]
        after = ["projects"]
        [replica.notes.tables.tasks]
        strategy = "manul"
        priority = "hihg"
        after = "projects"
        immediate = 2024-01-01
        [replica.notes.table.tags]
        "#,
        "",
        r#"
        :2:9: unknown key `devise`; did you mean `device`?
        :3:18: [replica.notes] has no `database`; write database = "/home/ada/notes/notes.db"
        :4:9: unknown key `databse` in [replica.notes]; did you mean `database`?
        :5:9: unknown key `url` in [replica.notes]; it belongs into [replica.NAME.remote]
        :6:18: `replica.notes.preset`: `prodution` is not known; did you mean `production`?
        :8:16: `replica.notes.remote.kind`: `operation` is not known; did you mean `operations`?
        :9:15: `replica.notes.remote.url`: it is not a URL; write it like "https://hub.example.org"
        :10:9: unknown key `token` in [replica.notes.remote]; a config holds no secrets: put the token into a file and write token_file = "…"
        :11:19: `replica.notes.remote.timeout`: a duration carries its unit; write "30s" for 30 seconds
        :13:17: `replica.notes.schedule.every`: `5 minutes` is not a duration; write it like "3s", "5m" or "7d", or "off"
        :14:20: `replica.notes.schedule.debounce`: it cannot be off; write it like "250ms", "3s", "5m", "1h30m" or "7d"
        :15:19: `replica.notes.schedule.startup`: it is a text and takes true or false; write true or false, without quotes
        :17:26: `replica.notes.limits.batch_rows_max`: it is a number; write 1000 without quotes
        :18:21: `replica.notes.limits.tries_max`: 0 is not from 1 to 1000
        :19:27: `replica.notes.limits.batch_bytes_max`: it is not a size; write it like 1000000, "1MB" or "1MiB"
        :20:28: `replica.notes.limits.delete_share_max`: it is not a share from 0 to 1; write it like 0.5 or "50%"
        :22:9: unknown key `after` in [replica.notes.defaults]; it belongs into [replica.NAME.tables.TABLE]
        :24:20: `replica.notes.tables.tasks.strategy`: `manul` is not known; did you mean `manual`?
        :25:20: `replica.notes.tables.tasks.priority`: `hihg` is no priority; did you mean `high`?
        :26:17: `replica.notes.tables.tasks.after`: it is a list; write ["projects"]
        :27:21: `replica.notes.tables.tasks.immediate`: it is a date or time and takes true or false; write true or false, without quotes
        :28:24: unknown key `table` in [replica.notes]; did you mean `tables`?
        "#,
    );
}

#[test]
fn a_strategy_is_a_word_or_a_section_that_refines_it() {
    let config = good(
        r#"
        [replica.notes]
        database = "notes.db"
        remote.url = "https://hub.example.org"
        [replica.notes.defaults]
        strategy = { rule = "server_wins", deletes = "manual" }
        [replica.notes.tables.tasks]
        strategy.columns.votes = "counter"
        strategy.columns.Status = "server_wins"
        strategy.iso = "updated_at"
        [replica.notes.tables.forms]
        strategy = "merge"
        [replica.notes.tables.settings.strategy]
        rule = "merge"
        singleton = true
        contested = "manual"
        deleted = "state"
        deleted_value = "gone"
        mark = "conflict_seen"
        "#,
        "",
    );
    let tasks = config.rule("tasks");
    assert_eq!(tasks.strategy, Strategy::FieldLevel, "rules for columns need a strategy that asks them");
    assert_eq!(tasks.policy.column("VOTES"), Some(ColumnRule::Counter));
    assert_eq!(tasks.policy.column("status"), Some(ColumnRule::Side(SideRule::ServerWins)));
    assert_eq!(tasks.policy.times.iso.as_deref(), Some("updated_at"));
    assert_eq!(tasks.policy.deletes, Some(DeleteRule::Side(SideRule::Manual)), "the defaults' rule holds");
    assert_eq!(config.rule("forms").strategy, Strategy::Merge);
    let settings = config.rule("settings");
    assert!(settings.policy.singleton && settings.policy.mark.as_deref() == Some("conflict_seen"));
    assert_eq!(settings.policy.contested, SideRule::Manual);
    let soft = SoftDelete { column: "state".into(), value: Some("gone".into()) };
    assert_eq!(settings.policy.deleted, Some(soft));
    assert_eq!(config.rule("other").strategy, Strategy::ServerWins);
}

#[test]
fn a_refinement_that_cannot_work_is_told_with_its_place() {
    bad(
        r#"
        [replica.notes]
        database = "notes.db"
        remote.url = "https://hub.example.org"
        [replica.notes.tables.tasks.strategy]
        rule = "feild_level"
        columns.votes = "countr"
        colums.x = "set"
        deletes = "edit_win"
        [replica.notes.tables.forms.strategy]
        rule = "server_wins"
        columns.a = "set"
        deleted_value = "gone"
        "#,
        "",
        r#"
        :6:16: `replica.notes.tables.tasks.strategy.rule`: `feild_level` is not known; did you mean `field_level`?
        :7:25: `replica.notes.tables.tasks.strategy.columns.votes`: `countr` is not known; did you mean `counter`?
        :8:9: unknown key `colums` in [replica.notes.tables.tasks.strategy]; did you mean `columns`?
        :9:19: `replica.notes.tables.tasks.strategy.deletes`: `edit_win` is not known; did you mean `edit_wins`?
        :12:9: `replica.notes.tables.forms.strategy.columns` has no effect with server_wins, which takes whole rows; write rule = "field_level" or "merge"
        :13:25: `replica.notes.tables.forms.strategy.deleted_value` is there and `deleted` is not; name the column with `deleted`
        "#,
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let error = read("device = \"x\"\ndevice = \"y\"\nsocket = oops\n[replica.\n", "").unwrap_err();
    let lines: Vec<_> = error.problems.iter().map(|problem| problem.place.clone()).collect();
    assert!(lines.len() >= 3, "every one of them: {error}");
    assert_eq!(lines[0], Place::File { line: 2, column: 1 });
    assert!(error.to_string().starts_with("/home/ada/sync/homing.toml:2:1: this is not TOML: "), "{error}");
}

#[test]
fn no_text_that_a_typo_makes_ends_the_reader() {
    let text = include_str!("../../docs/config.md").split("```toml\n").nth(2).unwrap().split("```").next().unwrap();
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let mut refused = 0;
    for at in places {
        let (before, after) = text.split_at(at);
        let rest = &after[after.chars().next().map_or(0, char::len_utf8)..];
        for typo in
            [before.to_owned(), format!("{before}{rest}"), format!("{before}={after}"), format!("{before}]{rest}")]
        {
            if let Err(error) = read(&typo, "HOME=/home/ada/") {
                assert!(!error.problems.is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 500, "most typos are found: {refused}");
}

#[test]
fn a_key_cannot_write_to_the_terminal() {
    bad("\"\\u001b[2Jx\\n\" = 1", "", ":1:1: unknown key `\\u{1b}[2Jx\\n`");
}

#[test]
fn a_value_where_a_section_belongs_is_told() {
    bad(
        "replica = 3",
        "",
        ":1:1: `replica` is a number and should be a section; write [replica.NAME] and its keys below",
    );
    bad(
        "[[replica]]\ndatabase = 'x'",
        "",
        ":1:3: `replica` is a list and should be a section; write [replica.NAME] and its keys below",
    );
    bad(
        "[replica]\nnotes = 'x'",
        "",
        ":2:1: `replica.notes` is a text and should be a section; write [replica.notes] and its keys below",
    );
    bad(
        "[replica.notes]\ndatabase = 'x'\nremote = 'https://hub'",
        "",
        ":3:1: `replica.notes.remote` is a text and should be a section; write [replica.notes.remote] and its keys below",
    );
}

#[test]
fn settings_in_contradiction_are_told() {
    bad(
        "[replica.notes]
         database = './/notes.db'
         [replica.notes.remote]
         url = 'https://hub.example.org'
         token_file = 'a'
         token_env = 'B'
         proxy = 'socks5://ada:word@localhost'
         [replica.notes.schedule]
         debounce = '10s'
         debounce_max = '5s'
         backoff_max = '100ms'
         [replica.notes.tables.tasks]
         after = ['TASKS']
         [replica.notes.tables.Tasks]
         [replica.Notes]
         database = './b.db'
         remote.url = 'https://hub.example.org'
         [replica.'my notes']
         database = '/home/ada/sync/notes.db'
         remote.url = 'https://hub.example.org'
         [replica.home]
         database = '~/x.db'
         remote.url = 'https://hub.example.org'",
        "",
        ":1:10: the replicas `Notes` and `notes` differ only in case; give one another name
         :6:22: [replica.notes.remote] has both `token_file` and `token_env`; keep one of them
         :7:18: `replica.notes.remote.proxy` holds a name or a password, which have no place in a file; leave it out and set HTTPS_PROXY
         :10:25: `replica.notes.schedule.debounce_max` is shorter than `debounce`; make it as long as `debounce`, or longer
         :11:24: `replica.notes.schedule.backoff_max` is shorter than `backoff_first`; make it as long as `backoff_first`, or longer
         :12:32: [replica.notes.tables.tasks] is about the same table as `Tasks`; keep one
         :13:18: `tasks` cannot come after itself; take it out of `after`
         :18:19: `my notes` cannot be the name of a replica; use letters, digits, `-`, `_` and `.`, a letter or digit first, 64 at most
         :22:21: `replica.home.database` begins with `~`, and HOME is not set; write the whole path
         : the replicas `my notes` and `notes` have the same database, /home/ada/sync/notes.db; a database file belongs to one replica: keep one of them",
    );
}

#[test]
fn a_value_alone_takes_the_presets_bound_with_it() {
    let replica = good(&format!("{SMALLEST}[replica.notes.schedule]\ndebounce = '45s'\nbackoff_first = '2m'"), "");
    assert_eq!((replica.schedule.debounce, replica.schedule.debounce_max), (45_000, 45_000));
    assert_eq!((replica.schedule.backoff_first, replica.schedule.backoff_max), (120_000, 120_000));
}

#[test]
fn the_environment_sets_any_value_with_its_type() {
    let replica = good(
        "[replica.my-notes]
         database = 'notes.db'
         remote.url = 'https://hub.example.org'
         remote.token_file = 'token'
         [replica.my-notes.tables.user__roles]",
        "HOMING__REPLICA__MY_NOTES__DATABASE=/var/lib/app/2024
         homing__replica__my_notes__remote__token_env=APP_TOKEN
         HOMING__REPLICA__MY_NOTES__SCHEDULE__EVERY=off
         HOMING__REPLICA__MY_NOTES__SCHEDULE__LIVE=false
         HOMING__REPLICA__MY_NOTES__LIMITS__BATCH_ROWS_MAX=50
         HOMING__REPLICA__MY_NOTES__LIMITS__BATCH_BYTES_MAX=1MB
         HOMING__REPLICA__MY_NOTES__LIMITS__DELETE_SHARE_MAX=0.25
         HOMING__REPLICA__MY_NOTES__INCLUDE=user__roles, users
         HOMING__REPLICA__MY_NOTES__EXCLUDE=[\"a,b\"]
         HOMING__REPLICA__MY_NOTES__TABLES__USER__ROLES__PRIORITY=0
         HOMING__REPLICA__MY_NOTES__TABLES__USERS__IMMEDIATE=true
         HOMING__REPLICA__MY_NOTES__TABLES__USER__ROLES__STRATEGY__RULE=merge
         HOMING__REPLICA__MY_NOTES__TABLES__USER__ROLES__STRATEGY__COLUMNS__TIMES__SEEN=counter
         HOMING__REPLICA__MY_NOTES__TABLES__STRATEGY__STRATEGY=manual
         HOMING__REPLICA__MY_NOTES__TABLES__FORMS__STRATEGY__ROLES=owner, manager
         HOMING__REPLICA__MY_NOTES__DEFAULTS__STRATEGY__CONTESTED=server_wins
         HOMING__REPLICA__MY_NOTES__PRESET=
         HOMING_SOCKET=elsewhere
         HOMINGX__Y=z",
    );
    assert_eq!((replica.name.as_str(), replica.database.to_str()), ("my-notes", Some("/var/lib/app/2024")));
    assert_eq!(replica.remote.token, TokenSource::Environment("APP_TOKEN".into()));
    assert_eq!((replica.schedule.every, replica.schedule.live), (None, false));
    assert_eq!((replica.limits.batch_rows_max, replica.limits.batch_bytes_max), (50, 1_000_000));
    assert_eq!(replica.limits.delete_share_max, 0.25);
    assert_eq!(replica.include, Some(vec!["user__roles".to_owned(), "users".to_owned()]));
    assert_eq!(replica.exclude, ["a,b"]);
    assert_eq!(replica.rule("user__roles").priority, Priority(0));
    assert!(replica.rule("users").immediate);
    let roles = replica.rule("user__roles");
    assert_eq!((roles.strategy, roles.policy.column("times__seen")), (Strategy::Merge, Some(ColumnRule::Counter)));
    assert_eq!(replica.rule("strategy").strategy, Strategy::Manual);
    assert_eq!(replica.rule("forms").policy.roles, ["owner", "manager"]);
    assert_eq!(replica.rule("forms").policy.contested, SideRule::ServerWins);
}

#[test]
fn the_environment_refines_a_strategy_that_the_file_has_as_a_word() {
    let tables = "[replica.notes]
         database = 'notes.db'
         remote.url = 'https://hub.example.org'
         remote.token_file = 'token'
         tables.tasks.strategy = 'merge'";
    let replica = good(tables, "HOMING__REPLICA__NOTES__TABLES__TASKS__STRATEGY__COLUMNS__Votes=counter");
    let rule = replica.rule("tasks");
    assert_eq!((rule.strategy, rule.policy.column("votes")), (Strategy::Merge, Some(ColumnRule::Counter)));
    let variable = "HOMING__REPLICA__NOTES__TABLES__TASKS__STRATEGY__COLUMNS__VOTES=countr";
    bad(
        tables,
        variable,
        "HOMING__REPLICA__NOTES__TABLES__TASKS__STRATEGY__COLUMNS__VOTES: `replica.notes.tables.tasks.strategy.columns.votes`: `countr` is not known; did you mean `counter`?",
    );
}

#[test]
fn a_replica_can_come_from_the_environment_alone() {
    let variables = env("HOMING__REPLICA__NOTES__DATABASE=/data/notes.db
        HOMING__REPLICA__NOTES__REMOTE__URL=https://hub.example.org
        HOMING__DEVICE=box");
    let config = parse("", Path::new("/etc/homing/homing.toml"), &variables).unwrap();
    assert_eq!(config.device.as_deref(), Some("box"));
    assert_eq!(config.replicas[0].database, Path::new("/data/notes.db"));
    assert_eq!(
        config.sources["replica.notes.database"],
        Place::Environment("HOMING__REPLICA__NOTES__DATABASE".to_owned())
    );
    if has_system_config() {
        return;
    }
    let config = load(None, &variables).unwrap();
    assert_eq!((config.file, config.replicas.len()), (None, 1));
}

#[test]
fn a_bad_variable_is_told_by_its_name() {
    bad(
        SMALLEST,
        "HOMING__REPLICA__NOTES__DATABSE=x
         HOMING__REPLICA__NOTES__LIMITS__TRIES_MAX=many
         HOMING__REPLICA__NOTES__SCHEDULE__LIVE=yes
         HOMING__REPLICAS__NOTES__DATABASE=x
         HOMING__REPLICA__NOTES__REMOTE__TOKEN=hush
         HOMING__SOCKET__X=y",
        "HOMING__REPLICAS__NOTES__DATABASE: unknown key `replicas`; did you mean `replica`?
         HOMING__REPLICA__NOTES__DATABSE: unknown key `databse` in [replica.notes]; did you mean `database`?
         HOMING__REPLICA__NOTES__LIMITS__TRIES_MAX: `replica.notes.limits.tries_max`: it is a text and takes a number; write it like 1000
         HOMING__REPLICA__NOTES__REMOTE__TOKEN: unknown key `token` in [replica.notes.remote]; a config holds no secrets: put the token into a file and write token_file = \"…\"
         HOMING__REPLICA__NOTES__SCHEDULE__LIVE: `replica.notes.schedule.live`: it is a text and takes true or false; write true or false, without quotes
         HOMING__SOCKET__X: `socket`: it is a section and takes a path; write it in quotes",
    );
    bad(
        "",
        "HOMING__REPLICA__NOTES=x",
        "HOMING__REPLICA__NOTES: `replica.notes` is a text and should be a section; write [replica.notes] and its keys below",
    );
}

/// What must be there for a key to be taken.
fn needed(part: Part, key: &Key) -> &'static str {
    match key.name {
        "contested" | "in_doubt" | "singleton" if part == Part::Strategy => "rule = \"merge\"\n",
        "deleted_value" => "deleted = \"state\"\n",
        _ => "",
    }
}

/// Every key of every part, with a config that sets it to `value`.
fn with_each_key(value: impl Fn(&Key) -> &str) -> Vec<(Part, &'static Key, String)> {
    let mut configs = Vec::new();
    for part in Part::ALL {
        for key in part.keys().iter().filter(|key| !key.required && !value(key).is_empty()) {
            let line = format!("{}{} = {}\n", needed(part, key), key.name, value(key));
            let heading = format!("[{}]\n", part.heading().replace("NAME", "notes").replace("TABLE", "tasks"));
            let text = match part {
                Part::Top => format!("{line}{SMALLEST}"),
                Part::Replica | Part::Remote => SMALLEST.replace(&heading, &format!("{heading}{line}")),
                _ => format!("{SMALLEST}{heading}{line}"),
            };
            configs.push((part, key, text));
        }
    }
    configs
}

#[test]
fn every_key_does_something_and_every_default_is_the_one_that_is_told() {
    let plain = |text: &str| {
        let config = read(text, "HOME=/home/ada/").unwrap_or_else(|error| panic!("{text}\n{error}"));
        Config { sources: Default::default(), ..config }
    };
    let smallest = plain(SMALLEST);
    let with_table = plain(&format!("{SMALLEST}[replica.notes.tables.tasks]\n"));
    let without = |part: Part, key: &Key| match part {
        Part::Table => with_table.clone(),
        Part::Strategy => plain(&format!("{SMALLEST}[replica.notes.tables.tasks.strategy]\n{}", needed(part, key))),
        _ => smallest.clone(),
    };
    let examples = with_each_key(|key| key.example);
    assert!(examples.len() > 40);
    for (part, key, text) in examples.iter().filter(|(_, key, _)| key.example != key.default) {
        assert!(plain(text) != without(*part, key), "{} of {part:?} changes nothing", key.name);
    }
    for (part, key, text) in with_each_key(|key| key.default) {
        assert_eq!(plain(&text), without(part, key), "the default of {} in {part:?}", key.name);
    }
}

#[test]
fn names_that_are_no_table_are_found_against_the_database() {
    let replica = good(
        &format!(
            "{}[replica.notes.tables.taks]\nafter = ['Projects', 'peple']",
            SMALLEST.replace("'notes.db'", "'notes.db'\ninclude = ['tasks', 'tag']\nexclude = ['drafts']")
        ),
        "",
    );
    let table = |name: &str| Schema { name: name.to_owned(), ..Default::default() };
    let tables = ["projects", "tasks", "tags", "people"].map(table);
    let told: Vec<String> = check_against(&replica, &tables).iter().map(Problem::to_string).collect();
    let missing = "and the database has no such table that can sync";
    assert_eq!(
        told,
        [
            format!("`replica.notes.include` names `tag`, {missing}; did you mean `tags`?"),
            format!("`replica.notes.exclude` names `drafts`, {missing}"),
            format!("[replica.notes.tables.taks] is about `taks`, {missing}; did you mean `tasks`?"),
            format!("`replica.notes.tables.taks.after` names `peple`, {missing}; did you mean `people`?"),
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let told = |path: &Path| {
        let error = load(Some(path), &[]).expect_err("this cannot be read").to_string();
        error.strip_prefix(&format!("{}: ", path.display())).unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    assert_eq!(
        told(&folder.path().join("nowhere.toml")),
        "there is no such file; `homing init APP.db --hub URL` writes a config"
    );
    assert_eq!(told(folder.path()), "is not a file; give the path of a TOML file");
    assert_eq!(told(&file("latin", b"a = 1\nb = '\xe9'\n")), "line 2 is not UTF-8; save it as UTF-8");
    assert!(told(&file("large", &vec![b'#'; 1 << 21])).starts_with("is larger than 1048576 bytes; "));

    let marked = file("marked.toml", format!("\u{feff}{SMALLEST}").as_bytes());
    let config = load(Some(&marked), &[]).unwrap();
    assert_eq!(config.replicas[0].database, folder.path().join("notes.db"), "relative to the file");
    let from_variable = load(None, &env(&format!("HOMING_CONFIG={}", marked.display()))).unwrap();
    assert_eq!(from_variable.file.as_deref(), Some(marked.as_path()));
}

#[cfg(unix)]
#[test]
fn one_database_by_two_names_is_still_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("notes.db"), b"").unwrap();
    std::os::unix::fs::symlink(at("notes.db"), at("link.db")).unwrap();
    let twin =
        SMALLEST.replace("notes]", "other]").replace("notes.remote", "other.remote").replace("notes.db", "link.db");
    std::fs::write(at("homing.toml"), format!("{SMALLEST}{twin}")).unwrap();
    let error = load(Some(&at("homing.toml")), &[]).unwrap_err();
    assert!(error.to_string().contains("the replicas `notes` and `other` have the same database"), "{error}");
}

#[test]
fn without_any_config_the_places_that_were_looked_at_are_told() {
    if has_system_config() {
        return;
    }
    let home: PathBuf = "/nonexistent/ada".into();
    let error = load(None, &env(&format!("HOME={}", home.display()))).unwrap_err();
    #[cfg(not(target_os = "macos"))]
    assert!(error.to_string().contains("/nonexistent/ada/.config/homing/homing.toml"), "{error}");
    assert!(error.to_string().contains("homing init"), "{error}");
}
