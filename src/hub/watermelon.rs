//! What a WatermelonDB app asks of its backend, as its protocol has it.
//!
//! `POST /watermelon/pull` and `/push` carry everything in the body; `/watermelon/sync`
//! takes both as WatermelonDB's own example sends them, with the time in the query and
//! the changes as the whole body. Names are read in both spellings. What an app says
//! beside these fields is ignored.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::error::{HubError, Result};

/// What a pull asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Asked {
    /// What a pull before gave as `timestamp`; null or 0 for a first one.
    #[serde(default, rename = "lastPulledAt", alias = "last_pulled_at")]
    pub since: Option<i64>,
    #[serde(default)]
    pub migration: Option<Migration>,
}

/// What the app's own schema gained since its last pull.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Migration {
    #[serde(default)]
    pub tables: Vec<String>,
    #[serde(default)]
    pub columns: Vec<NewColumns>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NewColumns {
    pub table: String,
}

/// A push: for each table what was created, updated and deleted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Sent {
    #[serde(rename = "lastPulledAt", alias = "last_pulled_at")]
    pub since: i64,
    /// As JSON: a shape that does not fit is named by its path.
    pub changes: Map<String, Json>,
}

/// The query of `/watermelon/sync`.
#[derive(Debug, Default, Deserialize)]
pub struct Query {
    last_pulled_at: Option<String>,
    migration: Option<String>,
    pub scope: Option<String>,
}

impl Asked {
    pub fn parse(body: &[u8]) -> Result<Asked> {
        match body.is_empty() {
            true => Ok(Asked::default()),
            false => serde_json::from_slice(body).map_err(|error| HubError::Malformed(error.to_string())),
        }
    }

    pub fn from_query(query: &Query) -> Result<Asked> {
        let migration = query.migration.as_deref().unwrap_or("null");
        Ok(Asked {
            since: query.since()?,
            migration: serde_json::from_str(migration).map_err(|error| HubError::Malformed(error.to_string()))?,
        })
    }
}

impl Sent {
    pub fn parse(body: &[u8]) -> Result<Sent> {
        serde_json::from_slice(body).map_err(|error| HubError::Malformed(error.to_string()))
    }

    /// The body is the changes alone.
    pub fn from_query(query: &Query, body: &[u8]) -> Result<Sent> {
        let since = query.since()?.ok_or_else(|| HubError::Malformed("last_pulled_at is missing".to_owned()))?;
        let changes = serde_json::from_slice(body).map_err(|error| HubError::Malformed(error.to_string()))?;
        Ok(Sent { since, changes })
    }
}

impl Query {
    /// JavaScript writes a time that is not there as `null` or `undefined`.
    fn since(&self) -> Result<Option<i64>> {
        match self.last_pulled_at.as_deref() {
            None | Some("" | "null" | "undefined") => Ok(None),
            Some(text) => match text.parse() {
                Ok(time) => Ok(Some(time)),
                Err(_) => Err(HubError::Malformed("last_pulled_at is not a number".to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_the_querys_form_are_read_and_nothing_else_matters() {
        let asked = |body: &str| Asked::parse(body.as_bytes()).map_err(|_| ());
        let migration = Migration { tables: vec!["tags".into()], columns: vec![NewColumns { table: "tasks".into() }] };
        for (body, since, expected) in [
            ("", None, None),
            ("{}", None, None),
            (r#"{"lastPulledAt": null, "schemaVersion": 3, "migration": null}"#, None, None),
            (r#"{"last_pulled_at": 7}"#, Some(7), None),
            (
                r#"{"lastPulledAt": 7, "migration": {"from": 1, "tables": ["tags"], "columns": [{"table": "tasks", "columns": ["x"]}]}}"#,
                Some(7),
                Some(migration.clone()),
            ),
        ] {
            assert_eq!(asked(body), Ok(Asked { since, migration: expected }), "{body}");
        }
        assert!(asked(r#"{"lastPulledAt": "soon"}"#).is_err());
        let query = |since: &str, migration: &str| Query {
            last_pulled_at: Some(since.to_owned()),
            migration: Some(migration.to_owned()),
            scope: None,
        };
        assert_eq!(Asked::from_query(&query("null", "null")).unwrap(), Asked::default());
        let told = Asked::from_query(&query("7", r#"{"tables": ["tags"], "columns": [{"table": "tasks"}]}"#)).unwrap();
        assert_eq!(told, Asked { since: Some(7), migration: Some(migration) });
        assert!(Sent::from_query(&query("null", ""), b"{}").is_err(), "a push must say what it was made on");
        assert_eq!(Sent::from_query(&query("7", ""), b"{}").unwrap(), Sent { since: 7, changes: Map::new() });
    }
}
