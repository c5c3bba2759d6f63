//! `homing conformance` against servers that are right, and against the same with one
//! fault each of those that people build in.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::rig::{Backend, Hub, has, homing, token};

const SCHEMA: &str = "
    CREATE TABLE lists(id TEXT PRIMARY KEY, name TEXT, size INTEGER, weight REAL, done INTEGER NOT NULL);
    CREATE TABLE items(id TEXT PRIMARY KEY, list TEXT NOT NULL REFERENCES lists(id), name TEXT);";

const CONFIG: &str = "
    [replica.plain]
    database = \"app.db\"
    [replica.plain.remote]
    kind = \"watermelon\"
    url = \"https://set.on.the.command.line\"
    pull_path = \"pull\"
    push_path = \"push\"
    token_file = \"token\"
    [replica.plain.defaults]
    forms = { done = \"boolean\" }";

/// Two accounts' tokens, and a place for a config.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(ada: &str, eve: &str) -> Scratch {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), ada).unwrap();
        std::fs::write(home.path().join("other"), eve).unwrap();
        std::fs::write(home.path().join("homing.toml"), CONFIG).unwrap();
        std::fs::write(home.path().join("schema.sql"), SCHEMA).unwrap();
        Scratch(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit code and report. `apart`: the accounts' rows are kept apart there.
    #[track_caller]
    fn test(&self, url: &str, config: Option<&Path>, apart: bool, rows: usize) -> (i32, Json) {
        let mut command = homing(self.0.path());
        command.args(["conformance", url, "--json", "--rows", &rows.to_string()]);
        command.arg("--token-file").arg(self.path("token"));
        if apart {
            command.arg("--other-token-file").arg(self.path("other"));
        }
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        (output.status.code().unwrap(), report)
    }
}

fn strangers() -> Scratch {
    Scratch::new(&token("ada"), &token("eve"))
}

fn failed(report: &Json) -> Vec<String> {
    let lines = report["checks"].as_array().unwrap().iter().filter(|line| line["state"] == "failed");
    lines.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

/// What was found, for a test that fails.
fn told(report: &Json) -> String {
    let lines = report["checks"].as_array().unwrap().iter().filter(|line| line["state"] == "failed");
    lines.map(|line| format!("{}: {}\n", line["name"], line["text"])).collect()
}

#[test]
fn servers_that_are_right_pass_every_check_and_nothing_is_left_behind() {
    if !has("python3") {
        return;
    }
    let scratch = strangers();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    // The last three keep the rows of one farm or company, and not of accounts.
    let right = [
        ("plain", &[][..], "", true),
        ("plain", &["names_what_it_rejects"], "", true),
        ("harvest", &["100"], "", true),
        ("weave", &[], "/functions/v1", true),
        ("insight", &[], "", false),
        ("egglogu", &[], "", false),
        ("rockhound", &[], "", false),
    ];
    let test = &|(name, args, path, apart): (&str, &[&str], &str, bool)| {
        let backend = Backend::start(name, args);
        let config = match name {
            "plain" => scratch.path("homing.toml"),
            _ => examples.join(name).join("homing.toml"),
        };
        let url = format!("{}{path}", backend.url());
        let (code, report) = scratch.test(&url, Some(&config), apart, 350);
        assert_eq!(code, 0, "{name}:\n{}", told(&report));
        assert_eq!(report["left_behind"], 0, "{name}");
        assert!(report["passed"].as_i64().unwrap() >= 8, "{name}: {report}");
    };
    std::thread::scope(|scope| right.into_iter().for_each(|one| drop(scope.spawn(move || test(one)))));
}

#[test]
fn a_homing_hub_passes_every_check_without_a_config() {
    let hub = Hub::start();
    let scratch = Scratch::new(&hub.token(&["--account", "ada"]), &hub.token(&["--account", "eve"]));
    let (code, report) = scratch.test(&hub.url(), None, true, 1500);
    assert_eq!(code, 0, "{}", told(&report));
    assert_eq!((&report["failed"], &report["left_behind"]), (&Json::from(0), &Json::from(0)));
}

/// The fault, and the check that must find it.
const PLANTED: &[(&str, &str)] = &[
    ("table_missing", "answers"),
    ("column_dropped", "round_trip"),
    ("text_trimmed", "text"),
    ("text_normalised", "text"),
    ("text_cut", "long_text"),
    ("null_becomes_empty", "null_and_empty"),
    ("numbers_as_floats32", "whole_numbers"),
    ("reals_rounded", "reals"),
    ("update_not_stamped", "update"),
    ("update_replaces", "update"),
    ("deletes_forgotten", "delete"),
    ("deleted_comes_back", "deleted_stays_deleted"),
    ("delete_must_exist", "delete_of_nothing"),
    ("deletion_is_final", "made_again"),
    ("doubles", "replay"),
    ("created_must_be_new", "created_exists"),
    ("updated_must_exist", "updated_missing"),
    ("last_write_wins", "newer_is_not_overwritten"),
    ("half_a_push", "all_or_nothing"),
    ("pages_by_time", "many_rows"),
    ("one_page_only", "many_rows"),
    ("pages_for_ever", "many_rows"),
    ("offset_pages", "pages_under_writes"),
    ("everything_again", "nothing_new"),
    ("stamped_before_commit", "late_commits"),
    ("no_token_needed", "token_needed"),
    ("bad_token_is_500", "token_needed"),
    ("everybody_sees_all", "strangers_see_nothing"),
    ("anybody_writes", "strangers_change_nothing"),
];

#[test]
fn each_planted_fault_is_found_and_what_breaks_is_said() {
    if !has("python3") {
        return;
    }
    let scratch = strangers();
    let config = scratch.path("homing.toml");
    // Most of the time goes by in waiting: several at once.
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (scratch, config) = (&scratch, &config);
            scope.spawn(move || {
                for (fault, check) in PLANTED.iter().skip(part).step_by(4) {
                    let backend = Backend::start("plain", &[fault]);
                    let (code, report) = scratch.test(&backend.url(), Some(config), true, 250);
                    assert_eq!(code, 1, "{fault} is not found");
                    assert!(failed(&report).iter().any(|name| name == check), "{fault}:\n{}", told(&report));
                    let lines = report["checks"].as_array().unwrap();
                    let line = lines.iter().find(|line| line["name"] == *check).unwrap();
                    assert!(!line["breaks"].as_str().unwrap().is_empty(), "{fault}: {line}");
                }
            });
        }
    });
}

#[test]
fn an_endpoint_that_is_not_there_and_tables_that_do_not_fit_are_said_in_words() {
    let scratch = strangers();
    let config = scratch.path("homing.toml");
    let (code, report) = scratch.test("http://127.0.0.1:1", Some(&config), true, 10);
    assert_eq!((code, failed(&report)), (1, vec!["answers".to_owned()]));
    std::fs::write(scratch.path("schema.sql"), "CREATE TABLE numbers(id INTEGER PRIMARY KEY, n INTEGER)").unwrap();
    let mut command = homing(scratch.0.path());
    let output = command.args(["conformance", "http://127.0.0.1:1", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none of the tables"), "{output:?}");
}
