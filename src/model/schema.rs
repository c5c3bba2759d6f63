//! What a table looks like, as far as sync is concerned. Also the wire form: a
//! replica tells the hub its tables with these.

use serde::{Deserialize, Serialize};

/// A table that syncs: it has a primary key, and its generated columns are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub name: String,
    /// The columns that travel, in the table's own order.
    pub columns: Vec<Column>,
    /// Names of the primary key's columns, in key order; never empty.
    pub key: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKey>,
    /// UNIQUE constraints and unique indexes beside the key; partial ones and those
    /// over expressions are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<Unique>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_rowid: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// The declared type as written, empty when there is none.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub declared: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_null: bool,
    /// The DEFAULT clause as SQL text, as `pragma table_xinfo` gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The column's collation when it is not BINARY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    pub columns: Vec<String>,
    pub parent: String,
    /// The parent's columns, always filled in (the parent's key when SQL leaves them out).
    pub parent_columns: Vec<String>,
    /// `NO ACTION`, `CASCADE`, `SET NULL` …, as SQL says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub on_delete: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub on_update: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unique {
    pub columns: Vec<String>,
    /// True for a constraint in CREATE TABLE, false for CREATE UNIQUE INDEX.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub constraint: bool,
}

impl Table {
    pub fn column_names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Where a column stands in `columns`. Names compare as SQLite compares them:
    /// ASCII case is ignored.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Positions of the key's columns within `columns`, in key order.
    pub fn key_positions(&self) -> Vec<usize> {
        self.key.iter().map(|name| self.position(name).expect("BUG: a key column is a column")).collect()
    }

    /// The key of a full row of this table.
    pub fn key_of(&self, row: &[super::Value]) -> super::Key {
        super::Key(self.key_positions().into_iter().map(|at| row[at].clone()).collect())
    }
}
