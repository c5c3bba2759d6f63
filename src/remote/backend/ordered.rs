//! JSON whose objects keep the order in which their members were put: a backend that
//! walks through what it was sent finds parents before children, and what was made
//! before what was deleted.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;
use serde_json::value::RawValue;

#[derive(Clone, Debug, PartialEq)]
pub enum Ordered {
    Leaf(Json),
    /// JSON as somebody wrote it: its numbers keep all their digits.
    Raw(String),
    List(Vec<Ordered>),
    Object(Vec<(String, Ordered)>),
}

impl Ordered {
    pub fn object() -> Ordered {
        Ordered::Object(Vec::new())
    }

    /// The member at a path, an object on the way and null at its end where there was
    /// none.
    pub fn at(&mut self, path: &str) -> &mut Ordered {
        path.split('.').fold(self, |place, part| place.member(part))
    }

    pub fn put(&mut self, path: &str, value: impl Into<Ordered>) {
        *self.at(path) = value.into();
    }

    /// Appends to the list at a path.
    pub fn push(&mut self, path: &str, value: impl Into<Ordered>) {
        let place = self.at(path);
        if !matches!(place, Ordered::List(_)) {
            *place = Ordered::List(Vec::new());
        }
        if let Ordered::List(list) = place {
            list.push(value.into());
        }
    }

    fn member(&mut self, name: &str) -> &mut Ordered {
        if !matches!(self, Ordered::Object(_)) {
            *self = Ordered::object();
        }
        let Ordered::Object(members) = self else { unreachable!("BUG: made one just before") };
        let at = members.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            members.push((name.to_owned(), Ordered::Leaf(Json::Null)));
            members.len() - 1
        });
        &mut members[at].1
    }
}

impl<T: Into<Json>> From<T> for Ordered {
    fn from(json: T) -> Ordered {
        Ordered::Leaf(json.into())
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Ordered::Leaf(json) => json.serialize(serializer),
            Ordered::Raw(text) => {
                let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Ordered::List(list) => serializer.collect_seq(list),
            Ordered::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_where_they_were_put() {
        let mut body = Ordered::object();
        body.push("z.updated", 1);
        body.push("z.updated", "two");
        body.put("a", Json::Null);
        body.put("z.created", Ordered::List(Vec::new()));
        assert_eq!(serde_json::to_string(&body).unwrap(), r#"{"z":{"updated":[1,"two"],"created":[]},"a":null}"#);
    }
}
