//! One `[replica.NAME]` as the settings that everyone else reads: every default filled
//! in, every path whole, nothing in contradiction to something else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys::Part;
use super::kind::alternatives;
use super::preset::{Preset, preset};
use super::problem::Place;
use super::section::Section;
use super::strategy;
use crate::model::settings::{Backend, Limits, Mqtt, Remote, Replica, Schedule, TableRule, Thrift, TokenSource, Wire};

/// What relative paths and `~/` are relative to.
pub(super) struct Folders<'a> {
    pub(super) config: &'a Path,
    pub(super) home: Option<PathBuf>,
}

/// The forms a column may have at a backend.
const FORMS: [&str; 7] = ["boolean", "json", "seconds", "milliseconds", "iso8601", "base64", "text"];

/// Where a name comes to be part of file names and of variables.
const NAME_BYTES_MAX: usize = 64;

pub(super) fn read(name: &str, section: &Section, folders: &Folders) -> Replica {
    let starts_well = name.starts_with(|mark: char| mark.is_ascii_alphanumeric());
    let plain = name.chars().all(|mark| mark.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&mark));
    if !starts_well || !plain || name.len() > NAME_BYTES_MAX {
        section.note(
            &section.place,
            format!("`{name}` cannot be the name of a replica"),
            format!("use letters, digits, `-`, `_` and `.`, a letter or digit first, {NAME_BYTES_MAX} at most"),
        );
    }
    let preset = preset(&section.text("preset").unwrap_or_default());
    let default_rule = read_rule(&section.section("defaults", Part::Defaults), TableRule::default());
    let tables = section.sections("tables", Part::Table);
    refuse_twins(&tables);
    Replica {
        name: name.to_owned(),
        database: read_path(section, "database", folders).unwrap_or_default(),
        remote: read_remote(&section.section("remote", Part::Remote), &preset, folders),
        schedule: read_schedule(&section.section("schedule", Part::Schedule), preset.schedule),
        limits: read_limits(&section.section("limits", Part::Limits), preset.limits),
        include: section.list("include"),
        exclude: section.list("exclude").unwrap_or_default(),
        tables: tables
            .iter()
            .map(|(table, section)| (table.clone(), read_table(table, section, &default_rule)))
            .collect::<BTreeMap<String, TableRule>>(),
        default_rule,
    }
}

/// A path made whole: `~/` is the home directory, a relative one begins at the
/// config's folder.
pub(super) fn read_path(section: &Section, key: &str, folders: &Folders) -> Option<PathBuf> {
    let text = section.text(key)?;
    let path = match (text.strip_prefix('~'), &folders.home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        (Some(rest), None) if rest.is_empty() || rest.starts_with('/') => {
            section.note(
                section.place_of(key),
                format!("`{}.{key}` begins with `~`, and HOME is not set", section.name),
                "write the whole path",
            );
            return None;
        }
        (Some(_), _) => {
            section.note(
                section.place_of(key),
                format!("`{}.{key}` names another user's home directory", section.name),
                "write the whole path",
            );
            return None;
        }
        (None, _) => folders.config.join(&text),
    };
    // Without `.` and doubled slashes; what `..` means, only the file system knows.
    Some(path.components().collect())
}

fn read_remote(section: &Section, preset: &Preset, folders: &Folders) -> Remote {
    let proxy = section.text("proxy").inspect(|proxy| check_proxy(section, proxy));
    Remote {
        kind: section.text("kind").unwrap_or_else(|| "homing".to_owned()),
        url: section.text("url").unwrap_or_default(),
        scope: section.text("scope"),
        token: read_token(section, folders),
        allow_plain_http: section.flag("allow_plain_http").unwrap_or(false),
        ca_file: read_path(section, "ca_file", folders),
        proxy,
        timeout: section.millis("timeout").unwrap_or(preset.timeout),
        backend: Backend { mqtt: read_mqtt(section, folders), ..read_backend(section) },
    }
}

fn read_backend(section: &Section) -> Backend {
    Backend {
        pull_path: section.text("pull_path"),
        push_path: section.text("push_path"),
        live_path: section.text("live_path"),
        mqtt: Mqtt::default(),
        action_path: section.text("action_path"),
        action_method: section.text("action_method"),
        action_names: section.map("action_names").unwrap_or_default(),
        pull_method: section.text("pull_method"),
        names: section.map("names").unwrap_or_default(),
        headers: section.map("headers").unwrap_or_default(),
        idempotency_header: section.text("idempotency_header"),
        claims: section.map("claims").unwrap_or_default(),
        takes_others: false,
        schema_version: section.number("schema_version").unwrap_or(1),
        page_rows: section.number("page_rows").and_then(|rows| usize::try_from(rows).ok()).unwrap_or(1_000),
        overlap: section.millis("overlap").unwrap_or(0),
        tombstones_kept: section.number_or_off("tombstones_kept").flatten(),
        keys_kept: section.number_or_off("keys_kept").flatten(),
        whole_set: section.flag("whole_set").unwrap_or(false),
        whole_field: section.text("whole_field"),
        compare_every: section.number_or_off("compare_every").flatten(),
        gzip: section.flag("gzip").unwrap_or(false),
    }
}

fn read_mqtt(section: &Section, folders: &Folders) -> Mqtt {
    let url = section.text("mqtt_url").inspect(|url| {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        if !["mqtt", "mqtts"].contains(&scheme) || rest.is_empty() || rest.contains('@') {
            section.note(
                section.place_of("mqtt_url"),
                format!("`{}.mqtt_url` is not a broker's URL", section.name),
                "write it like \"mqtts://broker.example.org:8883\", without a name or password",
            );
        }
    });
    Mqtt {
        url,
        topic: section.text("mqtt_topic").unwrap_or_else(|| Mqtt::TOPIC.to_owned()),
        user: section.text("mqtt_user"),
        password_file: read_path(section, "mqtt_password_file", folders),
        publish: section.flag("mqtt_publish").unwrap_or(false),
    }
}

fn read_token(section: &Section, folders: &Folders) -> TokenSource {
    let mut sources: Vec<&str> =
        ["token_file", "token_command", "token_env"].into_iter().filter(|key| section.has(key)).collect();
    // A source that the environment names takes the place of what the file says.
    let from_environment = |key: &&str| matches!(section.place_of(key), Place::Environment(_));
    if sources.iter().any(from_environment) {
        sources.retain(from_environment);
    }
    if let [first, .., last] = sources[..] {
        section.note(
            section.place_of(last),
            format!("[{}] has both `{first}` and `{last}`", section.name),
            "keep one of them",
        );
    }
    let read = |key: &&str| match *key {
        "token_file" => read_path(section, key, folders).map(TokenSource::File),
        "token_command" => section.text(key).map(TokenSource::Command),
        _ => section.text(key).map(TokenSource::Environment),
    };
    sources.first().and_then(read).unwrap_or(TokenSource::None)
}

fn check_proxy(section: &Section, proxy: &str) {
    let place = section.place_of("proxy");
    let (scheme, rest) = proxy.split_once("://").unwrap_or_default();
    if !["http", "https", "socks5", "socks5h"].contains(&scheme) || rest.is_empty() {
        section.note(
            place,
            format!("`{}.proxy` is not a proxy's URL", section.name),
            "write it like \"socks5://localhost:1080\"",
        );
    } else if rest.contains('@') && matches!(place, Place::File { .. }) {
        section.note(
            place,
            format!("`{}.proxy` holds a name or a password, which have no place in a file", section.name),
            "leave it out and set HTTPS_PROXY",
        );
    }
}

fn read_schedule(section: &Section, base: Schedule) -> Schedule {
    let schedule = Schedule {
        startup: section.flag("startup").unwrap_or(base.startup),
        every: section.number_or_off("every").unwrap_or(base.every),
        debounce: section.millis("debounce").unwrap_or(base.debounce),
        debounce_max: section.millis("debounce_max").unwrap_or(base.debounce_max),
        reconnect: section.flag("reconnect").unwrap_or(base.reconnect),
        live: section.flag("live").unwrap_or(base.live),
        backoff_first: section.millis("backoff_first").unwrap_or(base.backoff_first),
        backoff_max: section.millis("backoff_max").unwrap_or(base.backoff_max),
        poll: section.millis("poll").unwrap_or(base.poll),
        on_battery: section.text("on_battery").and_then(|word| Thrift::parse(&word)).unwrap_or(base.on_battery),
        on_metered: section.text("on_metered").and_then(|word| Thrift::parse(&word)).unwrap_or(base.on_metered),
    };
    let mut debounce_max = schedule.debounce_max;
    let mut backoff_max = schedule.backoff_max;
    for (low, low_value, high, high_value) in [
        ("debounce", schedule.debounce, "debounce_max", &mut debounce_max),
        ("backoff_first", schedule.backoff_first, "backoff_max", &mut backoff_max),
    ] {
        match (section.has(low), section.has(high)) {
            // The other value is a preset's: it gives way.
            _ if low_value <= *high_value => {}
            (true, false) => *high_value = low_value,
            _ => section.note(
                section.place_of(high),
                format!("`{}.{high}` is shorter than `{low}`", section.name),
                format!("make it as long as `{low}`, or longer"),
            ),
        }
    }
    Schedule { debounce_max, backoff_max, ..schedule }
}

fn read_limits(section: &Section, base: Limits) -> Limits {
    let size =
        |key, base: usize| section.number(key).map_or(base, |number| usize::try_from(number).unwrap_or(usize::MAX));
    let count = |key, base: u64| section.number(key).map_or(base, |number| number.unsigned_abs());
    let counted = |number: i64| number.unsigned_abs();
    let batch_rows_max = size("batch_rows_max", base.batch_rows_max);
    let batch_bytes_max = size("batch_bytes_max", base.batch_bytes_max);
    let as_told = (batch_rows_max, batch_bytes_max) == (base.batch_rows_max, base.batch_bytes_max);
    Limits {
        batch_rows_max,
        batch_bytes_max,
        batches_grow: section.flag("batches_grow").unwrap_or(base.batches_grow && as_told),
        tries_max: section.number("tries_max").and_then(|number| u32::try_from(number).ok()).unwrap_or(base.tries_max),
        pending_age_max: section.number_or_off("pending_age_max").unwrap_or(base.pending_age_max),
        pending_rows_max: section
            .number_or_off("pending_rows_max")
            .map_or(base.pending_rows_max, |number| number.map(counted)),
        lock_max: section.millis("lock_max").unwrap_or(base.lock_max),
        delete_share_max: section.share("delete_share_max").unwrap_or(base.delete_share_max),
        delete_rows_min: count("delete_rows_min", base.delete_rows_min),
        ledger_age_max: section.millis("ledger_age_max").unwrap_or(base.ledger_age_max),
        ledger_rows_max: count("ledger_rows_max", base.ledger_rows_max),
        ledger_bytes_max: count("ledger_bytes_max", base.ledger_bytes_max),
    }
}

fn read_table(table: &str, section: &Section, defaults: &TableRule) -> TableRule {
    let after = section.list("after").unwrap_or_default();
    if after.iter().any(|first| first.eq_ignore_ascii_case(table)) {
        section.note(
            section.place_of("after"),
            format!("`{table}` cannot come after itself"),
            "take it out of `after`",
        );
    }
    TableRule { after, ..read_rule(section, defaults.clone()) }
}

/// What a section says, and `base` for what it does not.
fn read_rule(section: &Section, base: TableRule) -> TableRule {
    let (strategy, policy) = match section.has_section("strategy") {
        true => strategy::read(&section.section("strategy", Part::Strategy), base.strategy, base.policy),
        false => (section.text("strategy").and_then(strategy::named).unwrap_or(base.strategy), base.policy),
    };
    TableRule {
        strategy,
        policy,
        priority: section.priority("priority").unwrap_or(base.priority),
        insert_priority: section.priority("insert_priority").or(base.insert_priority),
        update_priority: section.priority("update_priority").or(base.update_priority),
        delete_priority: section.priority("delete_priority").or(base.delete_priority),
        after: base.after,
        immediate: section.flag("immediate").unwrap_or(base.immediate),
        append_only: section.flag("append_only").unwrap_or(base.append_only),
        recent_column: section.text("recent_column").or(base.recent_column),
        recent_within: section.number_or_off("recent_within").unwrap_or(base.recent_within),
        fire_triggers: section.flag("fire_triggers").or(base.fire_triggers),
        wire: read_wire(section, base.wire),
    }
}

fn read_wire(section: &Section, base: Wire) -> Wire {
    let forms = section.map("forms");
    for (column, form) in forms.iter().flatten().filter(|(_, form)| !FORMS.contains(&form.as_str())) {
        section.note(
            section.place_of("forms"),
            format!("`{form}` is no form for `{column}`"),
            format!("it takes {}", alternatives(&FORMS)),
        );
    }
    Wire {
        collection: section.text("collection").or(base.collection),
        names: section.map("names").unwrap_or(base.names),
        forms: forms.unwrap_or(base.forms),
        local_columns: section.list("local_columns").unwrap_or(base.local_columns),
        server_columns: section.list("server_columns").unwrap_or(base.server_columns),
        version_field: section.text("version_field").or(base.version_field),
        modified_field: section.text("modified_field").or(base.modified_field),
        deleted_field: section.text("deleted_field").or(base.deleted_field),
        singleton: section.text("singleton").or(base.singleton),
    }
}

/// SQLite knows one table by both names.
fn refuse_twins(tables: &[(String, Section)]) {
    for (at, (table, section)) in tables.iter().enumerate() {
        if let Some((other, _)) = tables[..at].iter().find(|(other, _)| other.eq_ignore_ascii_case(table)) {
            section.note(
                &section.place,
                format!("[{}] is about the same table as `{other}`", section.name),
                "keep one",
            );
        }
    }
}
