//! What is wrong with an answer: where in it, what was expected there, what came, and
//! which line of the config says so.
//!
//! Never quotes what came: it could be somebody's row.

use serde_json::Value as Json;

#[derive(Clone, Debug, PartialEq)]
pub struct Flaw {
    /// The path within the JSON: `changes.tasks.created[3].id`; empty for the whole.
    pub at: String,
    pub expected: String,
    pub came: &'static str,
    /// Where in the config to look.
    pub setting: String,
}

impl Flaw {
    pub fn new(at: impl Into<String>, expected: impl Into<String>, came: Option<&Json>, setting: &str) -> Flaw {
        Flaw { at: at.into(), expected: expected.into(), came: came.map_or("nothing", what), setting: setting.into() }
    }

    /// The same flaw, seen from one level further out.
    pub fn within(mut self, outer: &str) -> Flaw {
        self.at = match self.at.as_str() {
            "" => outer.to_owned(),
            inner if inner.starts_with('[') => format!("{outer}{inner}"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }

    pub fn sentence(&self) -> String {
        let place = if self.at.is_empty() { "the answer itself".to_owned() } else { format!("`{}`", self.at) };
        format!("{place} should be {} and is {}", self.expected, self.came)
    }
}

/// What a JSON value is, for people.
fn what(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flaw_names_its_place_and_quotes_nothing() {
        let flaw = Flaw::new("id", "a key", Some(&json!("s3cret")), "tables.tasks.names");
        let flaw = flaw.within("[3]").within("created").within("changes.tasks");
        assert_eq!(flaw.sentence(), "`changes.tasks.created[3].id` should be a key and is a text");
        assert_eq!(
            Flaw::new("", "an object", None, "").sentence(),
            "the answer itself should be an object and is nothing"
        );
    }
}
