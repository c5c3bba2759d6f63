//! A table's rule for conflicts.

use serde::{Deserialize, Serialize};

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
