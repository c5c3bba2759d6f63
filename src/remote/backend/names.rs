//! The names that a backend has for a kind's fields.
//!
//! Each kind lists its fields with the names they usually have; `names` in the config
//! replaces them. A name may lead into an object (`data.changes`); one that begins with
//! `?` travels in the query; `.` is the whole body; one that is usually empty is not said
//! unless the config names it. A name for a field that the kind
//! does not have is refused before anything is sent.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::ordered::Ordered;

/// A kind's fields, with what they are called unless the config says otherwise.
pub type Usual = &'static [(&'static str, &'static str)];

#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<&'static str, String>);

impl Names {
    /// `Err`: a name that is no field of the kind.
    pub fn new(usual: Usual, configured: &BTreeMap<String, String>) -> Result<Names, String> {
        if let Some(stray) = configured.keys().find(|name| usual.iter().all(|(field, _)| field != name)) {
            return Err(stray.clone());
        }
        let name = |field: &'static str, usual: &str| {
            (field, configured.get(field).cloned().unwrap_or_else(|| usual.to_owned()))
        };
        Ok(Names(usual.iter().map(|(field, usual)| name(field, usual)).collect()))
    }

    pub fn of(&self, field: &str) -> &str {
        self.0.get(field).unwrap_or_else(|| panic!("BUG: {field} is no field of this kind"))
    }

    /// The field's value in an answer.
    pub fn find<'a>(&self, answer: &'a Json, field: &str) -> Option<&'a Json> {
        let name = self.of(field);
        if name == "." {
            return Some(answer);
        }
        name.split('.').try_fold(answer, |json, part| json.get(part))
    }
}

/// What a question says, field by field, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub query: Vec<(String, String)>,
    pub body: Ordered,
}

impl Said {
    pub fn new() -> Said {
        Said { query: Vec::new(), body: Ordered::object() }
    }

    pub fn say(&mut self, names: &Names, field: &str, value: impl Into<Ordered>) {
        let (name, value) = (names.of(field), value.into());
        if name.is_empty() {
            // A field that only some backends have.
            return;
        }
        if let Some(parameter) = name.strip_prefix('?') {
            self.query.push((parameter.to_owned(), in_query(&value)));
        } else if name == "." {
            self.body = value;
        } else {
            self.body.put(name, value);
        }
    }

    /// Everything in the query, as a GET has no body; what is null is left out.
    pub fn all_in_query(mut self) -> Said {
        if let Ordered::Object(members) = std::mem::replace(&mut self.body, Ordered::object()) {
            let told = members.into_iter().filter(|(_, value)| *value != Ordered::Leaf(Json::Null));
            self.query.extend(told.map(|(name, value)| (name, in_query(&value))));
        }
        self
    }
}

fn in_query(value: &Ordered) -> String {
    match value {
        Ordered::Leaf(Json::String(text)) => text.clone(),
        other => serde_json::to_string(other).expect("BUG: JSON is always JSON"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const USUAL: Usual = &[("since", "lastPulledAt"), ("changes", "changes")];

    fn names(pairs: &[(&str, &str)]) -> Result<Names, String> {
        let configured = pairs.iter().map(|(field, name)| ((*field).to_owned(), (*name).to_owned())).collect();
        Names::new(USUAL, &configured)
    }

    #[test]
    fn a_name_leads_into_an_object_into_the_query_or_is_the_body() {
        let mut said = Said::new();
        let nested = names(&[("since", "at.last")]).unwrap();
        said.say(&nested, "since", json!(5));
        assert_eq!(serde_json::to_value(&said.body).unwrap(), json!({"at": {"last": 5}}));
        assert_eq!(nested.find(&json!({"at": {"last": 7}}), "since"), Some(&json!(7)));
        assert_eq!(nested.find(&json!({"at": 7}), "since"), None);

        let mut said = Said::new();
        let bare = names(&[("since", "?last_pulled_at"), ("changes", ".")]).unwrap();
        said.say(&bare, "since", json!(null));
        said.say(&bare, "changes", json!([1]));
        assert_eq!(said.query, [("last_pulled_at".to_owned(), "null".to_owned())]);
        assert_eq!(serde_json::to_value(&said.body).unwrap(), json!([1]));
        assert_eq!(names(&[("sinse", "x")]).unwrap_err(), "sinse");
    }
}
