//! Every key there is: its section, what it takes, its default, and what it is for.
//!
//! The one list that the reader, the "did you mean", `docs/config.md` and
//! `docs/homing.schema.json` come from.

use super::kind::Kind;
use super::preset;
use crate::model::settings::Thrift;
use crate::model::{ColumnRule, DeleteRule, SideRule};

pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What holds when it is not written; empty where there is nothing or it is said
    /// in `about`.
    pub(super) default: &'static str,
    pub(super) example: &'static str,
    pub(super) about: &'static str,
    pub(super) required: bool,
}

/// The kinds of section, from the top of the file down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Top,
    Replica,
    Remote,
    Schedule,
    Limits,
    Defaults,
    Table,
    Strategy,
}

impl Part {
    pub(super) const ALL: [Part; 8] = [
        Part::Top,
        Part::Replica,
        Part::Remote,
        Part::Schedule,
        Part::Limits,
        Part::Defaults,
        Part::Table,
        Part::Strategy,
    ];

    pub(super) fn keys(self) -> &'static [Key] {
        match self {
            Part::Top => TOP,
            Part::Replica => REPLICA,
            Part::Remote => REMOTE,
            Part::Schedule => SCHEDULE,
            Part::Limits => LIMITS,
            // A rule about the order of two tables needs a table to be about.
            Part::Defaults => &TABLE[1..],
            Part::Table => TABLE,
            Part::Strategy => STRATEGY,
        }
    }

    /// The sections within it.
    pub(super) fn sections(self) -> &'static [&'static str] {
        match self {
            Part::Top => &["replica"],
            Part::Replica => &["remote", "schedule", "limits", "defaults", "tables"],
            // A word, or a section that refines it.
            Part::Defaults | Part::Table => &["strategy"],
            Part::Strategy => &["columns"],
            _ => &[],
        }
    }

    /// Its heading in the file, `NAME` and `TABLE` standing for names.
    pub(super) fn heading(self) -> &'static str {
        match self {
            Part::Top => "",
            Part::Replica => "replica.NAME",
            Part::Remote => "replica.NAME.remote",
            Part::Schedule => "replica.NAME.schedule",
            Part::Limits => "replica.NAME.limits",
            Part::Defaults => "replica.NAME.defaults",
            Part::Table => "replica.NAME.tables.TABLE",
            Part::Strategy => "replica.NAME.tables.TABLE.strategy",
        }
    }

    pub(super) fn key(self, name: &str) -> Option<&'static Key> {
        self.keys().iter().find(|key| key.name == name)
    }
}

/// Names of what would be a secret, and has no place in a file.
pub(super) const SECRETS: &[&str] =
    &["token", "password", "secret", "api_key", "apikey", "bearer", "access_token", "credentials"];

const fn key(name: &'static str, kind: Kind, default: &'static str, example: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, example, about, required: false }
}

const fn required(name: &'static str, kind: Kind, example: &'static str, about: &'static str) -> Key {
    Key { name, kind, default: "", example, about, required: true }
}

const fn duration(min: i64) -> Kind {
    Kind::Duration { min, off: false }
}

const fn duration_or_off(min: i64) -> Kind {
    Kind::Duration { min, off: true }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max, off: false }
}

pub(super) const KINDS: Kind = Kind::Word(&["homing", "watermelon", "operations", "delta", "pull-push"], &[]);

pub(super) const STRATEGIES: Kind = Kind::Word(
    &["client_wins", "server_wins", "latest_timestamp", "field_level", "merge", "manual", "needs_review"],
    &[],
);

/// What stands in `strategy.columns`.
pub(super) const COLUMN_RULES: Kind = Kind::Word(&ColumnRule::WORDS, &[]);

const TOP: &[Key] = &[
    key(
        "device",
        Kind::Text,
        "",
        "\"ada-laptop\"",
        "The name the remote sees. Default: the host name and a random part, made once and kept.",
    ),
    key(
        "socket",
        Kind::Path,
        "",
        "\"/run/homing/agent.sock\"",
        "Where the agent answers. Default: by platform, see below.",
    ),
    key(
        "socket_access",
        Kind::Word(&["owner", "group", "all"], &[]),
        "\"owner\"",
        "\"group\"",
        "Who may ask the agent beside its own user and root, see [the socket](ipc.md#who-may-ask).",
    ),
    key("socket_group", Kind::Text, "", "\"staff\"", "With `group`: which one. Default: the agent's own."),
    key(
        "state_dir",
        Kind::Path,
        "",
        "\"/var/lib/homing\"",
        "Where the agent keeps its identity and notes. Default: by platform, see below.",
    ),
    key(
        "telemetry_url",
        Kind::Url,
        "",
        "\"https://telemetry.example.org/homing\"",
        "Where telemetry is sent once a day, after `homing telemetry on`. Default: nowhere.",
    ),
    key("history_age_max", duration(60_000), "\"30d\"", "\"7d\"", "How long past cycles stay in `homing history`."),
];

const REPLICA: &[Key] = &[
    required("database", Kind::Path, "\"/home/ada/notes/notes.db\"", "The SQLite file."),
    key(
        "preset",
        Kind::Word(&preset::NAMES, &[]),
        "\"production\"",
        "\"offline-heavy\"",
        "The values that the keys below start from, see Presets.",
    ),
    key(
        "include",
        Kind::List,
        "",
        "[\"projects\", \"tasks\"]",
        "Only these tables sync. Default: every table with a primary key, but virtual, shadow and migration tables.",
    ),
    key("exclude", Kind::List, "[]", "[\"drafts\"]", "These tables do not sync."),
];

const REMOTE: &[Key] = &[
    key("kind", KINDS, "\"homing\"", "\"homing\"", "What answers there."),
    required("url", Kind::Url, "\"https://hub.example.org\"", "Where the remote is."),
    key("scope", Kind::Text, "", "\"team-garden\"", "The scope on the hub. Default: the token's own account."),
    key(
        "token_file",
        Kind::Path,
        "",
        "\"~/.config/homing/token\"",
        "A file that holds the token and nothing else; read again when it changes.",
    ),
    key("token_command", Kind::Text, "", "\"pass show homing\"", "A command, run by the shell, that prints the token."),
    key("token_env", Kind::Text, "", "\"HOMING_TOKEN\"", "The name of an environment variable that holds the token."),
    key("allow_plain_http", Kind::Flag, "false", "true", "Let the token travel over plain HTTP to another machine."),
    key(
        "ca_file",
        Kind::Path,
        "",
        "\"/etc/ssl/company.pem\"",
        "A PEM file with certificates to trust beside those the system trusts.",
    ),
    key(
        "proxy",
        Kind::Text,
        "",
        "\"socks5://localhost:1080\"",
        "`http://`, `https://` or `socks5://`. Default: what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.",
    ),
    key("timeout", duration(1_000), "\"30s\"", "\"1m\"", "How long one request may take."),
    key("pull_path", Kind::Text, "", "\"sync-pull\"", "Where to pull, below `url`. Default: the kind's."),
    key("push_path", Kind::Text, "", "\"sync-push\"", "Where to push, below `url`. Default: the kind's."),
    key(
        "live_path",
        Kind::Text,
        "",
        "\"live\"",
        "Where server-sent events tell that there is more, below `url`. Without it, the timer alone.",
    ),
    key(
        "mqtt_url",
        Kind::Text,
        "",
        "\"mqtts://broker.example.org:8883\"",
        "A broker (MQTT 3.1.1) whose messages tell that there is more. Without it, the timer alone.",
    ),
    key(
        "mqtt_topic",
        Kind::Text,
        "\"homing/{sub}\"",
        "\"egglogu/{farm_id}/sync\"",
        "The topic to listen to; `{claim}` stands for a claim of the token.",
    ),
    key("mqtt_user", Kind::Text, "", "\"farm7\"", "Who the broker knows this device as."),
    key(
        "mqtt_password_file",
        Kind::Path,
        "",
        "\"~/.config/homing/mqtt\"",
        "A file that holds the broker's password and nothing else; read again at each connection.",
    ),
    key("mqtt_publish", Kind::Flag, "false", "true", "Publish on the topic after one's own pushes."),
    key(
        "action_path",
        Kind::Text,
        "",
        "\"actions/{action}\"",
        "Where actions go, below `url`, see [actions](actions.md). Without it, none are taken.",
    ),
    key(
        "action_method",
        Kind::Word(&["POST", "PUT", "PATCH"], &[]),
        "",
        "\"PUT\"",
        "How actions are sent. Default: `POST`.",
    ),
    key(
        "action_names",
        Kind::Map,
        "{}",
        "{ payload = \".\" }",
        "The backend's names for an action's fields: `action`, `payload`, `key`, `at`, `device`.",
    ),
    key(
        "pull_method",
        Kind::Word(&["GET", "POST"], &[]),
        "",
        "\"GET\"",
        "With `GET`, what a pull asks for travels in the query. Default: the kind's.",
    ),
    key(
        "names",
        Kind::Map,
        "{}",
        "{ lastPulledAt = \"last_pulled_at\" }",
        "The backend's names for the kind's fields, see [backends](backends.md).",
    ),
    key("headers", Kind::Map, "{}", "{ X-App = \"notes\" }", "Headers of every request. No secrets: they have files."),
    key(
        "idempotency_header",
        Kind::Text,
        "",
        "\"Idempotency-Key\"",
        "The header that carries a batch's key, the same at every retry.",
    ),
    key(
        "claims",
        Kind::Map,
        "{}",
        "{ user_id = \"sub\" }",
        "Fields of every record that goes out, filled from the token's claims.",
    ),
    key("schema_version", count(1, i64::MAX as u64), "1", "15", "The app's schema version, as the backend counts it."),
    key(
        "page_rows",
        count(1, 100_000),
        "1000",
        "500",
        "How many rows a page is asked for, where `names` gives the field `limit` a name.",
    ),
    key(
        "overlap",
        duration(0),
        "\"0s\"",
        "\"10s\"",
        "Pull again from this long before the last pull: rows that commit late.",
    ),
    key(
        "tombstones_kept",
        duration_or_off(1_000),
        "\"off\"",
        "\"30d\"",
        "How long the backend remembers deletions. Away for longer, everything is compared.",
    ),
    key(
        "compare_every",
        duration_or_off(1_000),
        "\"off\"",
        "\"7d\"",
        "Compare everything this often: finds what the backend forgot to say.",
    ),
    key(
        "keys_kept",
        duration_or_off(1_000),
        "\"off\"",
        "\"7d\"",
        "How long the backend remembers a batch's key. An older batch is sent again only after a pull has shown what became of it.",
    ),
    key(
        "whole_set",
        Kind::Flag,
        "false",
        "true",
        "For a backend that only takes everything at once: a push is every row of every table, see [backends](backends.md).",
    ),
    key(
        "whole_field",
        Kind::Text,
        "",
        "\"data\"",
        "The field of such a push that the collections stand in. Default: they are the body.",
    ),
    key("gzip", Kind::Flag, "false", "true", "Pack what is sent. Packed answers are always welcome."),
];

const SCHEDULE: &[Key] = &[
    key("startup", Kind::Flag, "true", "false", "Sync when the agent starts."),
    key("every", duration_or_off(1_000), "\"5m\"", "\"15m\"", "Sync when this long has passed since the last time."),
    key("debounce", duration(0), "\"3s\"", "\"5s\"", "Sync when nothing was written for this long …"),
    key("debounce_max", duration(0), "\"30s\"", "\"1m\"", "… but no later than this after the first write."),
    key("reconnect", Kind::Flag, "true", "false", "Sync when the network is back."),
    key("live", Kind::Flag, "true", "false", "Listen for the remote's hints that there is something new."),
    key(
        "poll",
        duration(100),
        "\"2s\"",
        "\"10s\"",
        "How often to look at the file where the system sends no file events.",
    ),
    key(
        "on_battery",
        Kind::Word(&Thrift::WORDS, &[]),
        "\"sync\"",
        "\"save\"",
        "While a battery drains: `sync` as ever; `save` where only a start, a reconnect, an app in front and a change of `immediate` or of priority `high` or `critical` start a sync, which takes everything along; `wait` where nothing goes out or comes in. `homing sync` always syncs.",
    ),
    key(
        "on_metered",
        Kind::Word(&Thrift::WORDS, &[]),
        "\"sync\"",
        "\"wait\"",
        "The same while the network is metered. Where both hold, the more sparing one.",
    ),
    key("backoff_first", duration(10), "\"1s\"", "\"500ms\"", "The wait after a failed cycle; doubles five times …"),
    key("backoff_max", duration(10), "\"1m\"", "\"5m\"", "… and then rests at this."),
];

const LIMITS: &[Key] = &[
    key("batch_rows_max", count(1, 100_000), "1000", "50", "Rows in one push."),
    key(
        "batch_bytes_max",
        Kind::Size { min: 1_024 },
        "\"1MiB\"",
        "\"256KiB\"",
        "Bytes in one push, before compression.",
    ),
    key(
        "batches_grow",
        Kind::Flag,
        "true",
        "false",
        "While the line is quick, pushes to a hub grow beyond these two, to what the hub says it takes. Where another size is named, `false`.",
    ),
    key(
        "tries_max",
        count(1, 1_000),
        "5",
        "3",
        "Refusals by the remote before a change is set aside for a person. Trouble on the way there does not count.",
    ),
    key(
        "pending_age_max",
        duration_or_off(60_000),
        "\"off\"",
        "\"7d\"",
        "A change that was not sent for this long is set aside. Nothing is dropped.",
    ),
    key(
        "pending_rows_max",
        Kind::Count { min: 1, max: i64::MAX as u64, off: true },
        "\"off\"",
        "10000",
        "When this many changes wait, the status says so. Nothing is lost.",
    ),
    key(
        "lock_max",
        Kind::Duration { min: 1, off: false },
        "\"20ms\"",
        "\"10ms\"",
        "The longest stretch of the app's write lock taken at once.",
    ),
    key(
        "delete_share_max",
        Kind::Share,
        "0.5",
        "0.2",
        "Ask a person before more than this share of a table's rows is deleted at once …",
    ),
    key("delete_rows_min", count(0, i64::MAX as u64), "100", "1000", "… but never for fewer rows than this."),
    key(
        "ledger_age_max",
        duration(60_000),
        "\"90d\"",
        "\"30d\"",
        "How long what a rule settled stays in the ledger of conflicts.",
    ),
    key(
        "ledger_rows_max",
        count(1, i64::MAX as u64),
        "100000",
        "10000",
        "How many settled conflicts stay in the ledger.",
    ),
    key(
        "ledger_bytes_max",
        Kind::Size { min: 1_024 },
        "\"256MiB\"",
        "\"16MiB\"",
        "How much of the app's file settled conflicts may take; the oldest go first.",
    ),
];

const TABLE: &[Key] = &[
    key("after", Kind::List, "[]", "[\"projects\"]", "Tables whose rows go first, beside what foreign keys say."),
    key(
        "strategy",
        STRATEGIES,
        "\"latest_timestamp\"",
        "\"field_level\"",
        "What a conflict comes to, see [conflicts](conflicts.md); or a section that refines it, see below.",
    ),
    key(
        "priority",
        Kind::Priority,
        "\"normal\"",
        "\"high\"",
        "What goes first when not everything fits into one push; what it needs goes before it.",
    ),
    key("insert_priority", Kind::Priority, "", "\"low\"", "The priority of inserts. Default: `priority`."),
    key("update_priority", Kind::Priority, "", "\"low\"", "The priority of updates. Default: `priority`."),
    key("delete_priority", Kind::Priority, "", "\"critical\"", "The priority of deletes. Default: `priority`."),
    key("immediate", Kind::Flag, "false", "true", "Do not wait for the debounce."),
    key(
        "append_only",
        Kind::Flag,
        "false",
        "true",
        "Rows are made and never change: only inserts go and come. What a device deletes of them is gone there alone.",
    ),
    key(
        "recent_column",
        Kind::Text,
        "",
        "\"created_at\"",
        "The column that says how old a row is: milliseconds since 1970, or an ISO 8601 time. Default: `created_at`.",
    ),
    key(
        "recent_within",
        duration_or_off(60_000),
        "\"off\"",
        "\"180d\"",
        "Rows older than this by `recent_column` do not come where they are not here yet. What is here stays and syncs.",
    ),
    key(
        "fire_triggers",
        Kind::Flag,
        "",
        "true",
        "Fire the app's own triggers while applying what was pulled, or mute them. Default: those fire that write unsynced tables alone.",
    ),
    key("collection", Kind::Text, "", "\"feed.purchases\"", "Its name at a team's own backend. Default: the table's."),
    key("names", Kind::Map, "{}", "{ body = \"text\" }", "The backend's names of columns."),
    key(
        "forms",
        Kind::Map,
        "{}",
        "{ done = \"boolean\" }",
        "The forms that columns have at the backend: `boolean`, `json`, `seconds`, `milliseconds`, `iso8601`, `base64`, `text`.",
    ),
    key("local_columns", Kind::List, "[]", "[\"_status\"]", "Columns that neither go nor come."),
    key("server_columns", Kind::List, "[]", "[\"server_revision\"]", "Columns that come and never go."),
    key("version_field", Kind::Text, "", "\"server_revision\"", "The backend's field with a row's version."),
    key(
        "modified_field",
        Kind::Text,
        "",
        "\"updated_at\"",
        "The backend's field with the time of a row's last change.",
    ),
    key(
        "deleted_field",
        Kind::Text,
        "",
        "\"deleted_at\"",
        "The backend's field that is set where a row counts as deleted.",
    ),
    key("singleton", Kind::Text, "", "\"1\"", "The key here of a collection that is one record without a key."),
];

const STRATEGY: &[Key] = &[
    key(
        "rule",
        STRATEGIES,
        "\"latest_timestamp\"",
        "\"merge\"",
        "The strategy itself. Where there are rules for columns and none is named, `field_level`.",
    ),
    key(
        "contested",
        Kind::Word(&SideRule::WORDS, &[]),
        "\"latest_timestamp\"",
        "\"manual\"",
        "What a column without a rule of its own comes to that both sides changed.",
    ),
    key(
        "roles",
        Kind::List,
        "[]",
        "[\"manager\"]",
        "Roles of tokens whose version stands over that of those further down, and of those not listed, before the rule is asked.",
    ),
    key(
        "in_doubt",
        Kind::Word(&SideRule::WORDS, &[]),
        "\"manual\"",
        "\"server_wins\"",
        "What values come to that a column's rule cannot merge.",
    ),
    key(
        "deletes",
        Kind::Word(&DeleteRule::WORDS, &[]),
        "",
        "\"manual\"",
        "What a deletion comes to that meets a change. Default: as the strategy has it.",
    ),
    key(
        "revision",
        Kind::Text,
        "",
        "\"server_revision\"",
        "A column with a number that grows: the greater one is the later version.",
    ),
    key(
        "milliseconds",
        Kind::Text,
        "",
        "\"updated_at_ms\"",
        "A column with milliseconds since 1970, asked where `revision` says nothing.",
    ),
    key(
        "iso",
        Kind::Text,
        "",
        "\"updated_at\"",
        "A column with an ISO 8601 time, asked where the two above say nothing; then the hybrid clock.",
    ),
    key(
        "deleted",
        Kind::Text,
        "",
        "\"deleted_at\"",
        "A column that says that the app counts the row as deleted: anything but NULL, 0 and the empty text does.",
    ),
    key("deleted_value", Kind::Text, "", "\"archived\"", "The one value of `deleted` that says so."),
    key(
        "singleton",
        Kind::Flag,
        "false",
        "true",
        "One row that every device makes for itself, such as its settings: settled by column from the first.",
    ),
    key(
        "mark",
        Kind::Text,
        "",
        "\"conflict_seen\"",
        "A column of this device's own, never sent: 1 while a conflict of the row waits for a person, then 0.",
    ),
];
