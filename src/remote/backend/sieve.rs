//! Reads an answer of any size and holds only its frame.
//!
//! An answer is a frame (times, cursors, names of tables) around long lists of records.
//! The records are handed on one by one as they come, and what is left, with empty lists
//! where they stood, is returned at the end. Lists that nobody wants are passed over.
//! Neither the frame nor one record may have more values than an honest one could.

use std::io::Read;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

/// Values in the frame, and in one record.
const VALUES_MAX: usize = 250_000;
const READ_BYTES: usize = 64 << 10;

/// One step on the way into an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Name(String),
    At(usize),
}

/// What becomes of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lot {
    /// Part of the frame.
    Frame,
    /// Its elements are handed on, with this number.
    Each(usize),
    /// Nobody wants it.
    Skip,
}

/// Who is handed the records.
pub trait Catch {
    /// A list begins at `path`; `within` is what came before it in its object.
    fn list(&mut self, path: &[Step], within: Option<&Map<String, Json>>) -> Lot;

    /// Element number `at` of a list. False: nothing more is wanted.
    fn take(&mut self, lot: usize, at: usize, element: Json) -> bool;
}

/// Reads to the end, and returns the frame.
pub fn read(reader: impl Read, catch: &mut impl Catch) -> serde_json::Result<Json> {
    let mut answer = serde_json::Deserializer::from_reader(std::io::BufReader::with_capacity(READ_BYTES, reader));
    let (mut path, mut left) = (Vec::new(), VALUES_MAX);
    let frame =
        Node { catch, path: &mut path, within: None, left: &mut left, watches: true }.deserialize(&mut answer)?;
    answer.end()?;
    Ok(frame)
}

/// What of a path lies below a name such as `data.changes`; `.` is the answer itself.
pub fn below<'a>(path: &'a [Step], name: &str) -> Option<&'a [Step]> {
    if name == "." {
        return Some(path);
    }
    name.split('.').try_fold(path, |path, part| match path.split_first() {
        Some((Step::Name(step), rest)) if step == part => Some(rest),
        _ => None,
    })
}

/// Names alone, as a collection is called: `feed.purchases`.
pub fn joined(path: &[Step]) -> Option<String> {
    let names: Option<Vec<&str>> =
        path.iter().map(|step| if let Step::Name(name) = step { Some(name.as_str()) } else { None }).collect();
    names.map(|names| names.join("."))
}

/// For people: `deltas[3].records`.
pub fn place(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::At(at) => out.push_str(&format!("[{at}]")),
            Step::Name(name) if out.is_empty() => out.push_str(name),
            Step::Name(name) => out.push_str(&format!(".{name}")),
        }
    }
    out
}

struct Node<'a, C> {
    catch: &'a mut C,
    path: &'a mut Vec<Step>,
    within: Option<&'a Map<String, Json>>,
    left: &'a mut usize,
    /// In the frame: lists are asked about.
    watches: bool,
}

impl<C: Catch> Node<'_, C> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("more values than an answer has"))?;
        Ok(())
    }

    fn inner<'b>(&'b mut self, within: Option<&'b Map<String, Json>>) -> Node<'b, C> {
        Node { catch: self.catch, path: self.path, within, left: self.left, watches: self.watches }
    }
}

impl<'de, C: Catch> DeserializeSeed<'de> for Node<'_, C> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(mut self, deserializer: D) -> Result<Json, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de, C: Catch> Visitor<'de> for Node<'_, C> {
    type Value = Json;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::from(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Json, A::Error> {
        let lot = if self.watches { self.catch.list(self.path, self.within) } else { Lot::Frame };
        let mut kept = Vec::new();
        match lot {
            Lot::Frame => loop {
                self.path.push(Step::At(kept.len()));
                let element = list.next_element_seed(self.inner(None))?;
                self.path.pop();
                match element {
                    Some(element) => kept.push(element),
                    None => break,
                }
            },
            Lot::Each(lot) => {
                for at in 0.. {
                    let mut left = VALUES_MAX;
                    let seed =
                        Node { catch: self.catch, path: self.path, within: None, left: &mut left, watches: false };
                    let Some(element) = list.next_element_seed(seed)? else { break };
                    if !self.catch.take(lot, at, element) {
                        return Err(A::Error::custom("nothing more is wanted"));
                    }
                }
            }
            Lot::Skip => while list.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(Json::Array(kept))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if self.watches {
                self.path.push(Step::Name(name.clone()));
            }
            let value = members.next_value_seed(self.inner(Some(&object)))?;
            if self.watches {
                self.path.pop();
            }
            object.insert(name, value);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Takes what stands under `rows`, and passes over `junk`.
    #[derive(Default)]
    struct Rows(Vec<Json>, usize);

    impl Catch for Rows {
        fn list(&mut self, path: &[Step], _: Option<&Map<String, Json>>) -> Lot {
            match path.last() {
                Some(Step::Name(name)) if name == "rows" => Lot::Each(path.len()),
                Some(Step::Name(name)) if name == "junk" => Lot::Skip,
                _ => Lot::Frame,
            }
        }

        fn take(&mut self, lot: usize, at: usize, element: Json) -> bool {
            self.0.push(json!([lot, at, element]));
            self.1 == 0 || self.0.len() < self.1
        }
    }

    fn sieved(text: &str) -> serde_json::Result<(Json, Vec<Json>)> {
        let mut rows = Rows::default();
        read(text.as_bytes(), &mut rows).map(|frame| (frame, rows.0))
    }

    #[test]
    fn records_are_handed_on_and_the_frame_stays() {
        let text = r#"{"a": {"rows": [{"rows": [1]}, 2.5], "n": -1}, "junk": [[[]], {"x": 1}], "l": [null, {"rows": []}, "s"], "t": true}"#;
        let (frame, rows) = sieved(text).unwrap();
        assert_eq!(frame, json!({"a": {"rows": [], "n": -1}, "junk": [], "l": [null, {"rows": []}, "s"], "t": true}));
        assert_eq!(rows, [json!([2, 0, {"rows": [1]}]), json!([2, 1, 2.5])]);
        for broken in ["", "{", r#"{"rows": [1"#, r#"{"a": 1} x"#, "<html>"] {
            assert!(sieved(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn neither_frame_nor_record_may_be_without_end() {
        let long = format!("[{}0]", "0,".repeat(VALUES_MAX));
        assert!(sieved(&long).is_err());
        assert!(sieved(&format!(r#"{{"rows": [{long}]}}"#)).is_err());
        assert!(sieved(&format!(r#"{{"rows": {long}}}"#)).is_ok(), "so many small records are fine");
        assert!(sieved(&format!(r#"{{"junk": {long}}}"#)).is_ok());
        let mut rows = Rows(Vec::new(), 3);
        assert!(read(r#"{"rows": [1, 2, 3, 4, 5]}"#.as_bytes(), &mut rows).is_err());
        assert_eq!(rows.0.len(), 3, "it ends where nothing more is wanted");
    }

    #[test]
    fn a_path_is_told_from_a_name_in_the_config() {
        let path = [Step::Name("data".into()), Step::Name("feed".into()), Step::At(2), Step::Name("rows".into())];
        assert_eq!(below(&path, "data.feed"), Some(&path[2..]));
        assert_eq!(below(&path, "."), Some(&path[..]));
        assert_eq!(below(&path, "feed"), None);
        assert_eq!((joined(&path[..2]).as_deref(), joined(&path)), (Some("data.feed"), None));
        assert_eq!(place(&path), "data.feed[2].rows");
    }
}
