//! A table as a backend has it: records with fields instead of rows with columns.
//!
//! Made from the local table and its section in the config. Reads records into rows and
//! writes changes as records; columns that stay here, and those that are the backend's
//! own, are left out. A field that no column stands for is ignored, a column whose field
//! does not come keeps its value.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::flaw::Flaw;
use super::form::{Affinity, Form};
use super::time;
use crate::model::settings::Wire;
use crate::model::{Change, Key, RemoteRow, Revision, Stamp, Table, Value};

/// Revisions stay below this, whatever a backend's numbers are.
const REVISION_MAX: i64 = (1 << 44) - 1;

pub type Record = Map<String, Json>;

#[derive(Clone, Debug)]
pub struct Shape {
    pub table: String,
    /// The table's name there; may lead into an object: `feed.purchases`.
    pub collection: String,
    fields: Vec<Field>,
    /// Places of the key's columns in `fields`.
    key: Vec<usize>,
    version: Option<String>,
    modified: Option<String>,
    deleted: Option<String>,
    /// Where the table here has a column for `deleted`: its place in `fields`.
    mark: Option<usize>,
    /// The key of the one row, where the records have none.
    singleton: Option<Key>,
}

#[derive(Clone, Debug)]
struct Field {
    column: String,
    name: String,
    form: Form,
    affinity: Affinity,
    goes: bool,
    comes: bool,
}

impl Shape {
    pub fn new(table: &Table, wire: &Wire) -> Shape {
        let listed = |list: &[String], column: &str| list.iter().any(|name| name.eq_ignore_ascii_case(column));
        let fields: Vec<Field> = table
            .columns
            .iter()
            .map(|column| {
                let local = listed(&wire.local_columns, &column.name);
                Field {
                    name: wire.names.get(&column.name).unwrap_or(&column.name).clone(),
                    form: Form::of(wire.forms.get(&column.name), column),
                    affinity: Affinity::of(column, table.strict),
                    goes: !local && !listed(&wire.server_columns, &column.name),
                    comes: !local,
                    column: column.name.clone(),
                }
            })
            .collect();
        let mark = wire.deleted_field.as_ref().and_then(|name| fields.iter().position(|field| field.name == *name));
        let key = table.key_positions();
        let singleton = wire.singleton.as_ref().and_then(|id| {
            let [at] = key[..] else { return None };
            let field: &Field = &fields[at];
            field.form.read(field.affinity, &Json::from(id.clone())).ok().map(|value| Key::from(vec![value]))
        });
        Shape {
            singleton,
            table: table.name.clone(),
            collection: wire.collection.clone().unwrap_or_else(|| table.name.clone()),
            key,
            fields,
            version: wire.version_field.clone(),
            modified: wire.modified_field.clone(),
            deleted: wire.deleted_field.clone(),
            mark,
        }
    }

    /// The collection is one record.
    pub fn is_single(&self) -> bool {
        self.singleton.is_some()
    }

    /// A record as a row. `otherwise`: when it changed, where it does not say.
    pub fn row(&self, record: &Json, otherwise: Stamp, known: &mut Headers) -> Result<RemoteRow, Flaw> {
        let Json::Object(record) = record else {
            return Err(Flaw::new("", "a record", Some(record), &self.setting("collection")));
        };
        let key = self.key_in(record)?;
        let (revision, stamp) = (self.revision(record)?, self.stamp(record, otherwise));
        let mark = self.deleted.as_deref().unwrap_or("deleted");
        let column = self.mark.is_some() || self.fields.iter().any(|field| field.name == mark);
        if !column && is_set(record.get(mark)) {
            return Ok(RemoteRow { revision, stamp, ..self.tombstone(key, stamp) });
        }
        let comes = |field: &&Field| field.comes && record.contains_key(&field.name);
        let fields: Vec<&Field> = self.fields.iter().filter(comes).collect();
        let columns = known.shared(&fields);
        let row = fields.iter().map(|field| self.value(field, record)).collect::<Result<_, _>>()?;
        Ok(RemoteRow { row: Some(row), columns, ..RemoteRow { revision, stamp, ..self.tombstone(key, stamp) } })
    }

    /// A row that is gone there.
    pub fn tombstone(&self, key: Key, stamp: Stamp) -> RemoteRow {
        RemoteRow {
            table: self.table.clone(),
            key,
            revision: Revision(1),
            stamp,
            row: None,
            columns: Arc::from([]),
            device: String::new(),
            role: String::new(),
        }
    }

    /// A key as it is told alone: a bare value, or a record with the key's fields.
    pub fn key(&self, id: &Json) -> Result<Key, Flaw> {
        match (id, self.key.as_slice()) {
            (Json::Object(record), _) => self.key_in(record),
            (Json::Null, _) => Err(Flaw::new("", "a key", Some(id), &self.setting("names"))),
            (id, [at]) => self.read(&self.fields[*at], id).map(|value| Key::from(vec![value])),
            _ => Err(Flaw::new("", "an object with the key's fields", Some(id), &self.setting("names"))),
        }
    }

    /// The reverse of `key`.
    pub fn id(&self, key: &Key) -> Json {
        match self.key.as_slice() {
            [at] => self.fields[*at].form.write(&key.0[0]),
            _ => Json::Object(self.key_record(key)),
        }
    }

    /// A change as a record: the key, and what of it goes.
    pub fn record(&self, change: &Change) -> Record {
        let mut record = self.key_record(&change.key);
        for (column, value) in change.columns.iter().zip(&change.values) {
            let at = self.fields.iter().position(|field| field.column.eq_ignore_ascii_case(column));
            let Some(at) = at.filter(|at| self.singleton.is_none() || !self.key.contains(at)) else { continue };
            let field = &self.fields[at];
            if field.goes {
                record.insert(field.name.clone(), field.form.write(value));
            }
        }
        record
    }

    /// True when the change marks its row as deleted, where the app marks rows.
    pub fn marks_deleted(&self, change: &Change) -> bool {
        let Some(mark) = self.mark else { return false };
        let at = change.columns.iter().position(|column| column.eq_ignore_ascii_case(&self.fields[mark].column));
        at.is_some_and(|at| !matches!(change.values[at], Value::Null | Value::Integer(0)))
    }

    /// Puts the time of the change where the table here has no column for it.
    pub fn put_modified(&self, record: &mut Record, stamp: Stamp) {
        let Some(name) = &self.modified else { return };
        if !self.fields.iter().any(|field| field.name == *name && field.goes) || !record.contains_key(name) {
            record.insert(name.clone(), Json::from(time::format(stamp.millis())));
        }
    }

    /// Marks a record as deleted.
    pub fn put_deleted(&self, record: &mut Record, stamp: Stamp) {
        match &self.deleted {
            Some(name) => record.insert(name.clone(), Json::from(time::format(stamp.millis()))),
            None => record.insert("deleted".to_owned(), Json::Bool(true)),
        };
    }

    /// Says that a record stands, where deletions have a field and the app has no column
    /// for it.
    pub fn put_standing(&self, record: &mut Record) {
        if let Some(name) = &self.deleted {
            record.entry(name.clone()).or_insert(Json::Null);
        }
    }

    fn key_record(&self, key: &Key) -> Record {
        let pair = |(at, value): (&usize, &Value)| {
            let field = &self.fields[*at];
            (field.name.clone(), field.form.write(value))
        };
        match self.singleton {
            Some(_) => Record::new(),
            None => self.key.iter().zip(key.0.iter()).map(pair).collect(),
        }
    }

    fn key_in(&self, record: &Record) -> Result<Key, Flaw> {
        if let Some(key) = &self.singleton {
            return Ok(key.clone());
        }
        let part = |at: &usize| {
            let field = &self.fields[*at];
            match record.get(&field.name) {
                None | Some(Json::Null) => {
                    Err(Flaw::new(&field.name, "a key", record.get(&field.name), &self.setting("names")))
                }
                Some(json) => self.read(field, json).map_err(|flaw| flaw.within(&field.name)),
            }
        };
        self.key.iter().map(part).collect::<Result<_, _>>().map(Key)
    }

    fn value(&self, field: &Field, record: &Record) -> Result<Value, Flaw> {
        let json = record.get(&field.name).unwrap_or(&Json::Null);
        self.read(field, json).map_err(|flaw| flaw.within(&field.name))
    }

    fn read(&self, field: &Field, json: &Json) -> Result<Value, Flaw> {
        let read = field.form.read(field.affinity, json);
        read.map_err(|expected| Flaw::new("", expected, Some(json), &self.setting("forms")))
    }

    fn revision(&self, record: &Record) -> Result<Revision, Flaw> {
        let Some(name) = &self.version else { return Ok(Revision(1)) };
        match record.get(name) {
            None | Some(Json::Null) => Ok(Revision(1)),
            Some(Json::Number(number)) if number.as_i64().is_some() => {
                Ok(Revision(number.as_i64().unwrap_or(1).clamp(1, REVISION_MAX)))
            }
            other => Err(Flaw::new(name, "a whole number", other, &self.setting("version_field"))),
        }
    }

    fn stamp(&self, record: &Record, otherwise: Stamp) -> Stamp {
        let millis = self.modified.as_ref().and_then(|name| record.get(name)).and_then(millis_in);
        millis.map_or(otherwise, Stamp::from_millis)
    }

    /// The line of the config that says what was expected.
    fn setting(&self, key: &str) -> String {
        format!("tables.{}.{key}", self.table)
    }
}

/// A moment as a backend tells it: milliseconds, or ISO text.
pub fn millis_in(json: &Json) -> Option<i64> {
    match json {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|real| real as i64)),
        Json::String(text) => time::parse(text),
        _ => None,
    }
}

fn is_set(json: Option<&Json>) -> bool {
    !matches!(json, None | Some(Json::Null | Json::Bool(false))) && json != Some(&Json::from(0))
}

/// Column lists that came up already: rows of one kind share theirs.
#[derive(Debug, Default)]
pub struct Headers(HashMap<Vec<String>, Arc<[String]>>);

impl Headers {
    fn shared(&mut self, fields: &[&Field]) -> Arc<[String]> {
        let names: Vec<String> = fields.iter().map(|field| field.column.clone()).collect();
        self.0.entry(names).or_insert_with_key(|names| names.clone().into()).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Column, Operation, Seq};
    use serde_json::json;

    fn shape(wire: Wire) -> Shape {
        let column = |(name, declared): &(&str, &str)| Column {
            name: (*name).to_owned(),
            declared: (*declared).to_owned(),
            ..Column::default()
        };
        let columns = [("id", "TEXT"), ("body", "TEXT"), ("done", "INTEGER"), ("seen", "INTEGER"), ("rev", "INTEGER")];
        let table = Table {
            name: "notes".into(),
            columns: columns.iter().map(column).collect(),
            key: vec!["id".into()],
            ..Table::default()
        };
        Shape::new(&table, &wire)
    }

    fn wire() -> Wire {
        let map = |name: &str, text: &str| [(name.to_owned(), text.to_owned())].into();
        Wire {
            names: map("body", "text"),
            forms: map("done", "boolean"),
            local_columns: vec!["seen".into()],
            server_columns: vec!["rev".into()],
            version_field: Some("rev".into()),
            modified_field: Some("at".into()),
            deleted_field: Some("gone".into()),
            ..Wire::default()
        }
    }

    #[test]
    fn a_record_becomes_a_row_of_what_it_speaks_of() {
        let (shape, mut headers) = (shape(wire()), Headers::default());
        let record = json!({"id": "a", "text": "b", "done": true, "seen": 1, "rev": 7, "at": 5, "other": []});
        let row = shape.row(&record, Stamp(9), &mut headers).unwrap();
        assert_eq!(
            (row.key, row.revision, row.stamp),
            (Key::from(vec![Value::Text("a".into())]), Revision(7), Stamp(5_000))
        );
        assert_eq!(*row.columns, ["id", "body", "done", "rev"].map(str::to_owned));
        assert_eq!(row.row.unwrap()[2], Value::Integer(1));

        let short = shape.row(&json!({"id": "a"}), Stamp(9), &mut headers).unwrap();
        assert_eq!((short.columns.len(), short.stamp, short.revision), (1, Stamp(9), Revision(1)));
        let gone = shape.row(&json!({"id": "a", "gone": "2025-01-01"}), Stamp(9), &mut headers).unwrap();
        assert_eq!(gone.row, None);
    }

    #[test]
    fn a_flaw_names_the_field_and_the_line_of_the_config() {
        for (record, at, setting) in [
            (json!([]), "", "tables.notes.collection"),
            (json!({}), "id", "tables.notes.names"),
            (json!({"id": null}), "id", "tables.notes.names"),
            (json!({"id": "a", "done": "maybe"}), "done", "tables.notes.forms"),
            (json!({"id": "a", "rev": "7"}), "rev", "tables.notes.version_field"),
        ] {
            let flaw = shape(wire()).row(&record, Stamp(9), &mut Headers::default()).unwrap_err();
            assert_eq!((flaw.at.as_str(), flaw.setting.as_str()), (at, setting), "{record}");
        }
    }

    #[test]
    fn a_change_goes_without_what_stays_here_and_what_is_theirs() {
        let mut change = Change {
            table: "notes".into(),
            key: Key::from(vec![Value::Text("a".into())]),
            operation: Operation::Update,
            columns: ["id", "body", "done", "seen", "rev"].map(str::to_owned).into(),
            values: vec![Value::Text("a".into()), Value::Null, Value::Integer(0), Value::Integer(1), Value::Integer(7)],
            base_revision: Revision(7),
            stamp: Stamp(0),
            seq: Seq(1),
        };
        let record = Json::Object(shape(wire()).record(&change));
        assert_eq!(record, json!({"id": "a", "text": null, "done": false}));
        assert_eq!(shape(wire()).id(&change.key), json!("a"));

        // An app that marks its rows.
        let marking = shape(Wire { deleted_field: Some("done".into()), ..Wire::default() });
        assert!(!marking.marks_deleted(&change));
        change.values[2] = Value::Integer(5);
        assert!(marking.marks_deleted(&change));
        let marked = marking.row(&json!({"id": "a", "done": 5}), Stamp(9), &mut Headers::default()).unwrap();
        assert!(marked.row.is_some(), "where the app marks rows, a mark is an edit");
    }
}
