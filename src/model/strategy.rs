//! A table's rule for conflicts: its strategy, and what refines it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Row;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    ClientWins,
    ServerWins,
    #[default]
    LatestTimestamp,
    FieldLevel,
    Merge,
    Manual,
    NeedsReview,
}

impl Strategy {
    pub const ALL: [Strategy; 7] = [
        Strategy::ClientWins,
        Strategy::ServerWins,
        Strategy::LatestTimestamp,
        Strategy::FieldLevel,
        Strategy::Merge,
        Strategy::Manual,
        Strategy::NeedsReview,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Strategy::ClientWins => "client_wins",
            Strategy::ServerWins => "server_wins",
            Strategy::LatestTimestamp => "latest_timestamp",
            Strategy::FieldLevel => "field_level",
            Strategy::Merge => "merge",
            Strategy::Manual => "manual",
            Strategy::NeedsReview => "needs_review",
        }
    }

    /// True where the resolver needs the base's values, not just a hash of them.
    pub fn needs_base_row(self) -> bool {
        matches!(self, Strategy::FieldLevel | Strategy::Merge | Strategy::Manual | Strategy::NeedsReview)
    }
}

/// One side or the other, or a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SideRule {
    ClientWins,
    ServerWins,
    #[default]
    LatestTimestamp,
    Manual,
}

impl SideRule {
    pub const ALL: [SideRule; 4] =
        [SideRule::ClientWins, SideRule::ServerWins, SideRule::LatestTimestamp, SideRule::Manual];
    pub const WORDS: [&'static str; 4] = ["client_wins", "server_wins", "latest_timestamp", "manual"];

    pub fn word(self) -> &'static str {
        match self {
            SideRule::ClientWins => "client_wins",
            SideRule::ServerWins => "server_wins",
            SideRule::LatestTimestamp => "latest_timestamp",
            SideRule::Manual => "manual",
        }
    }

    pub fn parse(word: &str) -> Option<SideRule> {
        SideRule::ALL.into_iter().find(|rule| rule.word() == word)
    }
}

/// What a column comes to that both sides changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnRule {
    Side(SideRule),
    /// What both sides added to a number is added.
    Counter,
    /// A JSON array whose order means nothing: what either side added is in, what
    /// either took out is out.
    Set,
    /// A JSON object, merged by key.
    Object,
    /// A text that only grows at its end.
    Append,
}

impl ColumnRule {
    pub const WORDS: [&'static str; 8] =
        ["client_wins", "server_wins", "latest_timestamp", "manual", "counter", "set", "object", "append"];

    pub fn word(self) -> &'static str {
        match self {
            ColumnRule::Side(side) => side.word(),
            ColumnRule::Counter => "counter",
            ColumnRule::Set => "set",
            ColumnRule::Object => "object",
            ColumnRule::Append => "append",
        }
    }

    pub fn parse(word: &str) -> Option<ColumnRule> {
        match word {
            "counter" => Some(ColumnRule::Counter),
            "set" => Some(ColumnRule::Set),
            "object" => Some(ColumnRule::Object),
            "append" => Some(ColumnRule::Append),
            word => SideRule::parse(word).map(ColumnRule::Side),
        }
    }
}

/// What a deletion comes to that meets a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeleteRule {
    Side(SideRule),
    /// The row stays, whoever deleted it.
    EditWins,
    /// The row goes, whoever changed it.
    DeleteWins,
}

impl DeleteRule {
    pub const WORDS: [&'static str; 6] =
        ["client_wins", "server_wins", "latest_timestamp", "manual", "edit_wins", "delete_wins"];

    pub fn word(self) -> &'static str {
        match self {
            DeleteRule::Side(side) => side.word(),
            DeleteRule::EditWins => "edit_wins",
            DeleteRule::DeleteWins => "delete_wins",
        }
    }

    pub fn parse(word: &str) -> Option<DeleteRule> {
        match word {
            "edit_wins" => Some(DeleteRule::EditWins),
            "delete_wins" => Some(DeleteRule::DeleteWins),
            word => SideRule::parse(word).map(DeleteRule::Side),
        }
    }
}

/// Columns of the app's that say how new a row is, the first that both sides have
/// deciding; where none does, the hybrid clock decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// A number that grows with every change.
    pub revision: Option<String>,
    /// Milliseconds since 1970.
    pub milliseconds: Option<String>,
    /// ISO 8601.
    pub iso: Option<String>,
}

/// A column that says that the app counts the row as deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SoftDelete {
    pub column: String,
    /// The text that says so; `None`: anything but NULL, 0 and the empty text.
    pub value: Option<String>,
}

/// What refines a table's strategy. The default refines nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Roles whose version stands over that of those further down, and of those that are
    /// not listed.
    pub roles: Vec<String>,
    /// Rules for single columns, names as the config has them.
    pub columns: BTreeMap<String, ColumnRule>,
    /// For a column without a rule of its own that both sides changed.
    pub contested: SideRule,
    /// For values that a column's rule cannot merge.
    pub in_doubt: SideRule,
    /// `None`: as the strategy has it.
    pub deletes: Option<DeleteRule>,
    pub times: Times,
    pub deleted: Option<SoftDelete>,
    /// One row that every device makes for itself: settled by column from the first.
    pub singleton: bool,
    /// A column of this device's own, 1 while a conflict of the row waits for a person.
    pub mark: Option<String>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            roles: Vec::new(),
            columns: BTreeMap::new(),
            contested: SideRule::LatestTimestamp,
            in_doubt: SideRule::Manual,
            deletes: None,
            times: Times::default(),
            deleted: None,
            singleton: false,
            mark: None,
        }
    }
}

impl Policy {
    /// A role's place among `roles`; the lower one stands.
    pub fn rank(&self, role: &str) -> usize {
        self.roles.iter().position(|listed| listed == role).unwrap_or(self.roles.len())
    }

    pub fn column(&self, name: &str) -> Option<ColumnRule> {
        // An exact name is the ordinary case, and a look-up.
        let exact = self.columns.get(name).copied();
        exact.or_else(|| self.columns.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, rule)| *rule))
    }

    /// Whether a counter among `columns` has another value than in `base`.
    pub fn counts(&self, columns: &[String], base: &Row, row: &Row) -> bool {
        let counter = |at: &usize| self.column(&columns[*at]) == Some(ColumnRule::Counter);
        !self.columns.is_empty() && (0..columns.len()).filter(|at| base[*at] != row[*at]).any(|at| counter(&at))
    }
}
