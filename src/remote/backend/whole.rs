//! The whole set as one body, for a backend that takes everything at once or nothing.
//!
//! Written row by row to a file without a name, and sent from there: however large the
//! set is, one row of it is in memory. Collections whose names lead into one object stand
//! in one object; a single object stands as itself.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use serde_json::Value as Json;

use super::Speech;
use super::shape::Shape;
use crate::model::{Change, Fault};
use crate::protocol::scratch::nameless;
use crate::remote::Rows;

/// A body that is ready to be sent, as often as need be.
pub struct Whole {
    file: File,
    pub bytes: u64,
}

/// Why there is none.
pub enum Unpacked {
    /// The rows could not be read.
    Rows(Fault),
    Disk(io::Error),
}

impl Whole {
    /// A reader of its own, from the beginning.
    pub fn reader(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

/// Packs every row of every table that `speech` knows.
pub fn pack(speech: &Speech, rows: &mut Rows) -> Result<Whole, Unpacked> {
    let mut file = BufWriter::with_capacity(64 << 10, nameless().map_err(Unpacked::Disk)?);
    let root = match speech.backend.whole_field.as_deref() {
        None | Some(".") => Vec::new(),
        Some(name) => name.split('.').collect(),
    };
    let way = |shape: &'_ Shape| -> Vec<String> {
        root.iter().copied().chain(shape.collection.split('.')).map(str::to_owned).collect()
    };
    let mut shapes: Vec<(Vec<String>, &Shape)> = speech.shapes.iter().map(|shape| (way(shape), shape)).collect();
    // Those that lead into one object follow each other.
    shapes.sort_by(|one, other| one.0.cmp(&other.0));
    let mut open: Vec<String> = Vec::new();
    file.write_all(b"{").map_err(Unpacked::Disk)?;
    let mut first = true;
    for (way, shape) in shapes {
        let (name, objects) = way.split_last().expect("BUG: a collection has a name");
        let shared = open.iter().zip(objects).take_while(|(one, other)| one == other).count();
        let closed = "}".repeat(open.len() - shared);
        let mut between = || -> io::Result<()> {
            file.write_all(closed.as_bytes())?;
            if !first {
                file.write_all(b",")?;
            }
            for object in &objects[shared..] {
                write!(file, "{}:{{", Json::from(object.as_str()))?;
            }
            write!(file, "{}:", Json::from(name.as_str()))
        };
        between().map_err(Unpacked::Disk)?;
        first = false;
        open = objects.to_vec();
        put_table(speech, shape, rows, &mut file)?;
    }
    let end = "}".repeat(open.len() + 1);
    let finish = || -> io::Result<Whole> {
        file.write_all(end.as_bytes())?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let bytes = file.metadata()?.len();
        Ok(Whole { file, bytes })
    };
    finish().map_err(Unpacked::Disk)
}

/// A list of records; of a single object, its record or null.
fn put_table(speech: &Speech, shape: &Shape, rows: &mut Rows, file: &mut impl Write) -> Result<(), Unpacked> {
    let single = shape.is_single();
    let mut count = 0;
    let mut disk = if single { Ok(()) } else { file.write_all(b"[") };
    let told = rows(&shape.table, &mut |change: &Change| {
        if disk.is_err() || single && count > 0 {
            return;
        }
        let mut record = shape.record(change);
        shape.put_modified(&mut record, change.stamp);
        let record = Json::Object(speech.stamped(record));
        disk = if count > 0 { write!(file, ",{record}") } else { write!(file, "{record}") };
        count += 1;
    });
    told.map_err(Unpacked::Rows)?;
    disk.map_err(Unpacked::Disk)?;
    let end = match single {
        true if count == 0 => "null",
        true => "",
        false => "]",
    };
    file.write_all(end.as_bytes()).map_err(Unpacked::Disk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    use crate::model::settings::{Backend, Wire};
    use crate::model::{Column, Key, Operation, Revision, Seq, Stamp, Table, Value};
    use serde_json::json;

    fn shape(table: &str, collection: &str, singleton: bool) -> Shape {
        let column = |name: &str| Column { name: name.into(), declared: "TEXT".into(), ..Column::default() };
        let table = Table {
            name: table.into(),
            columns: vec![column("id"), column("body")],
            key: vec!["id".into()],
            ..Table::default()
        };
        let singleton = singleton.then(|| "1".to_owned());
        Shape::new(&table, &Wire { collection: Some(collection.into()), singleton, ..Wire::default() })
    }

    fn row(table: &str, id: &str) -> Change {
        let text = Value::Text(id.to_owned());
        Change {
            table: table.into(),
            key: Key::from(vec![text.clone()]),
            operation: Operation::Insert,
            columns: ["id".to_owned(), "body".to_owned()].into(),
            values: vec![text.clone(), text],
            base_revision: Revision(1),
            stamp: Stamp(0),
            seq: Seq(0),
        }
    }

    #[test]
    fn the_set_is_one_object_of_collections_that_may_share_objects() {
        let shapes = vec![
            shape("log", "z", false),
            shape("bought", "feed.purchases", false),
            shape("farm", "farm", true),
            shape("used", "feed.used", false),
            shape("none", "single", true),
        ];
        for (field, within) in [(None, ""), (Some("data.all"), "/data/all")] {
            let speech = Speech {
                names: super::super::names::Names::default(),
                backend: Backend { whole_field: field.map(str::to_owned), ..Backend::default() },
                device: "desk".into(),
                priorities: Default::default(),
                shapes: shapes.clone(),
                claims: None,
                now: 0,
            };
            let mut rows = |table: &str, put: &mut dyn FnMut(&Change)| {
                let ids: &[&str] = match table {
                    "bought" => &["a", "b"],
                    "farm" => &["1"],
                    "log" => &["x"],
                    _ => &[],
                };
                ids.iter().for_each(|id| put(&row(table, id)));
                Ok(())
            };
            let Ok(whole) = pack(&speech, &mut rows) else { panic!("it packs") };
            let mut text = String::new();
            whole.reader().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, whole.bytes);
            let body: Json = serde_json::from_str(&text).unwrap();
            let record = |id: &str| json!({"id": id, "body": id});
            let expected = json!({
                "feed": {"purchases": [record("a"), record("b")], "used": []},
                "farm": {"body": "1"}, "single": null, "z": [record("x")],
            });
            assert_eq!(body.pointer(within), Some(&expected), "{text}");
        }
    }
}
