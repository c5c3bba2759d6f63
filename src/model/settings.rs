//! What a replica was told to do, ready to use: every default filled in.
//!
//! `config` makes these from the file, the preset and the environment; `engine`,
//! `store` and `remote` read them and never see the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Policy, Strategy};

/// Milliseconds.
pub type Millis = i64;

#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    pub name: String,
    pub database: PathBuf,
    pub remote: Remote,
    pub schedule: Schedule,
    pub limits: Limits,
    /// `Some`: only these tables sync.
    pub include: Option<Vec<String>>,
    pub exclude: Vec<String>,
    pub tables: BTreeMap<String, TableRule>,
    /// For tables without a section of their own.
    pub default_rule: TableRule,
}

impl Replica {
    pub fn rule(&self, table: &str) -> &TableRule {
        self.tables
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(table))
            .map_or(&self.default_rule, |(_, rule)| rule)
    }

    pub fn syncs(&self, table: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case(table));
        self.include.as_deref().is_none_or(named) && !named(&self.exclude)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    pub kind: String,
    pub url: String,
    /// The scope on a Homing hub; `None` is the token's own account.
    pub scope: Option<String>,
    pub token: TokenSource,
    /// Let a token travel over plain HTTP to another machine.
    pub allow_plain_http: bool,
    /// A PEM file with certificates to trust beside the system's list.
    pub ca_file: Option<PathBuf>,
    /// `http://`, `https://` or `socks5://`; `None` reads the usual environment variables.
    pub proxy: Option<String>,
    pub timeout: Millis,
    /// How a team's own backend is spoken to.
    pub backend: Backend,
}

impl Remote {
    /// A hub stores and orders rows; it would carry nothing out.
    pub fn takes_actions(&self) -> bool {
        self.kind != "homing" && self.backend.action_path.is_some()
    }
}

/// The shape of a backend's requests, as far as it differs from its kind's. `None` and
/// absent names are the kind's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backend {
    pub pull_path: Option<String>,
    pub push_path: Option<String>,
    /// Where server-sent events tell that there is more; `None`: nowhere.
    pub live_path: Option<String>,
    /// Where a broker tells that there is more.
    pub mqtt: Mqtt,
    /// Where actions go; `None`: nowhere.
    pub action_path: Option<String>,
    /// `POST`, `PUT` or `PATCH`.
    pub action_method: Option<String>,
    /// The backend's names of an action's fields.
    pub action_names: BTreeMap<String, String>,
    /// `GET` or `POST`.
    pub pull_method: Option<String>,
    /// The kind's names of fields to the backend's.
    pub names: BTreeMap<String, String>,
    /// Sent with every request.
    pub headers: BTreeMap<String, String>,
    /// The header that carries a batch's key.
    pub idempotency_header: Option<String>,
    /// Columns of the backend that are filled from the token's claims on the way out.
    pub claims: BTreeMap<String, String>,
    /// Take records that `claims` says are other people's: only to find that there are
    /// some. No key of the config.
    pub takes_others: bool,
    pub schema_version: i64,
    /// Rows that a page is asked for, where the backend has a field for that.
    pub page_rows: usize,
    /// Pull again from this long before the last time.
    pub overlap: Millis,
    /// How long the backend remembers deletions; `None`: for ever.
    pub tombstones_kept: Option<Millis>,
    /// How long the backend remembers the keys of batches; `None`: for ever.
    pub keys_kept: Option<Millis>,
    /// A push is every row of every table.
    pub whole_set: bool,
    /// The field of a push that the whole set stands in; `None`: it is the body.
    pub whole_field: Option<String>,
    /// Compare everything this often; `None`: never.
    pub compare_every: Option<Millis>,
    /// Pack what is sent.
    pub gzip: bool,
}

/// A broker that tells of changes, beside a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// `mqtt://` or `mqtts://`; `None`: there is none.
    pub url: Option<String>,
    /// `{claim}` stands for a claim of the token.
    pub topic: String,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    /// Tell of one's own pushes.
    pub publish: bool,
}

impl Mqtt {
    pub const TOPIC: &'static str = "homing/{sub}";
}

impl Default for Mqtt {
    fn default() -> Mqtt {
        Mqtt { url: None, topic: Mqtt::TOPIC.to_owned(), user: None, password_file: None, publish: false }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum TokenSource {
    None,
    File(PathBuf),
    /// Run by the shell; what it prints is the token.
    Command(String),
    /// The name of an environment variable.
    Environment(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub startup: bool,
    /// `None`: no timer.
    pub every: Option<Millis>,
    pub debounce: Millis,
    pub debounce_max: Millis,
    pub reconnect: bool,
    pub live: bool,
    /// The first wait after a failed cycle; doubles up to `backoff_max`.
    pub backoff_first: Millis,
    pub backoff_max: Millis,
    /// How often to look at the file where events do not arrive.
    pub poll: Millis,
    pub on_battery: Thrift,
    pub on_metered: Thrift,
}

/// What a replica does by itself while power or network is dear. A person's word goes
/// before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thrift {
    /// The same as ever.
    #[default]
    Sync,
    /// Only what is urgent starts a sync.
    Save,
    /// Nothing goes out or comes in.
    Wait,
}

impl Thrift {
    pub const WORDS: [&str; 3] = ["sync", "save", "wait"];

    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    pub fn parse(word: &str) -> Option<Thrift> {
        [Thrift::Sync, Thrift::Save, Thrift::Wait].into_iter().find(|thrift| thrift.word() == word)
    }
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            startup: true,
            every: Some(300_000),
            debounce: 3_000,
            debounce_max: 30_000,
            reconnect: true,
            live: true,
            backoff_first: 1_000,
            backoff_max: 60_000,
            poll: 2_000,
            on_battery: Thrift::Sync,
            on_metered: Thrift::Sync,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub batch_rows_max: usize,
    pub batch_bytes_max: usize,
    /// While the line is quick, batches grow to what the remote says it takes. Not where
    /// somebody named a size.
    pub batches_grow: bool,
    /// Refusals by the remote before a change is set aside.
    pub tries_max: u32,
    /// `None`: off.
    pub pending_age_max: Option<Millis>,
    /// `None`: off. When reached, the status says so; nothing is lost.
    pub pending_rows_max: Option<u64>,
    /// Longest stretch of the app's write lock that Homing takes at once.
    pub lock_max: Millis,
    /// Ask a person before more than this share of a table's rows is deleted at once …
    pub delete_share_max: f64,
    /// … but never for fewer rows than this.
    pub delete_rows_min: u64,
    /// How long what a rule settled stays in the ledger.
    pub ledger_age_max: Millis,
    pub ledger_rows_max: u64,
    /// What settled conflicts may take of the file.
    pub ledger_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            batch_rows_max: 1_000,
            batch_bytes_max: 1 << 20,
            batches_grow: true,
            tries_max: 5,
            pending_age_max: None,
            pending_rows_max: None,
            lock_max: 20,
            delete_share_max: 0.5,
            delete_rows_min: 100,
            ledger_age_max: 90 * 86_400_000,
            ledger_rows_max: 100_000,
            ledger_bytes_max: 256 << 20,
        }
    }
}

/// 0 critical, 1 high, 2 normal, 3 low, 4 background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

impl Default for Priority {
    fn default() -> Priority {
        Priority(2)
    }
}

impl Priority {
    pub const HIGH: Priority = Priority(1);
    pub const WORDS: [&'static str; 5] = ["critical", "high", "normal", "low", "background"];

    pub fn word(self) -> &'static str {
        Self::WORDS[usize::from(self.0.min(4))]
    }

    /// A word, or a digit from 0 to 4.
    pub fn parse(text: &str) -> Option<Priority> {
        let at = Self::WORDS.iter().position(|word| *word == text);
        at.or_else(|| text.parse().ok().filter(|level| *level < 5)).map(|level| Priority(level as u8))
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableRule {
    pub strategy: Strategy,
    /// What refines the strategy.
    pub policy: Policy,
    pub priority: Priority,
    /// Priorities of single operations; `None` falls back to `priority`.
    pub insert_priority: Option<Priority>,
    pub update_priority: Option<Priority>,
    pub delete_priority: Option<Priority>,
    /// Tables whose rows go first, beside what foreign keys say.
    pub after: Vec<String>,
    /// Do not wait for the debounce.
    pub immediate: bool,
    /// Rows are made and never change: only inserts go and come.
    pub append_only: bool,
    /// The column whose time says how old a row is, for `recent_within`; `None`:
    /// `created_at`.
    pub recent_column: Option<String>,
    /// Older rows that are not here do not come.
    pub recent_within: Option<Millis>,
    /// Fire (`true`) or mute (`false`) the app's own triggers while applying;
    /// `None`: fire those that write unsynced tables alone.
    pub fire_triggers: Option<bool>,
    /// How its rows look at a team's own backend.
    pub wire: Wire,
}

/// A table at a team's own backend. Columns are the local table's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wire {
    /// Its name there; `None`: the table's.
    pub collection: Option<String>,
    /// Names there, by column.
    pub names: BTreeMap<String, String>,
    /// Forms there, by column: see `docs/backends.md`.
    pub forms: BTreeMap<String, String>,
    /// Columns that neither go nor come.
    pub local_columns: Vec<String>,
    /// Columns that come and never go: the backend's own.
    pub server_columns: Vec<String>,
    /// The field there with a row's version.
    pub version_field: Option<String>,
    /// The field there with the time of a row's last change.
    pub modified_field: Option<String>,
    /// The field there that is set where a row counts as deleted.
    pub deleted_field: Option<String>,
    /// The key here of the one record that the collection is, where records have none.
    pub singleton: Option<String>,
}

impl TableRule {
    /// A change of it may not wait for better times.
    pub fn is_urgent(&self) -> bool {
        let single = [self.insert_priority, self.update_priority, self.delete_priority];
        let high = |priority: Priority| priority <= Priority::HIGH;
        self.immediate || high(self.priority) || single.into_iter().flatten().any(high)
    }

    pub fn priority_of(&self, operation: super::Operation) -> Priority {
        match operation {
            super::Operation::Insert => self.insert_priority,
            super::Operation::Update => self.update_priority,
            super::Operation::Delete => self.delete_priority,
        }
        .unwrap_or(self.priority)
    }
}
