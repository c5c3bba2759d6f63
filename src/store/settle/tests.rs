//! What an acknowledgement leaves of a row.

use super::*;
use crate::model::page::{Cursor, Page};
use crate::model::{Stamp, Value};
use crate::store::apply::tests::{NOW, Nobody, opened_with};
use crate::store::base;

const SLICE: Slice = Slice { rows_max: 10, time_max: None };

fn theirs(revision: i64, title: &str) -> RemoteRow {
    RemoteRow {
        table: "task".into(),
        key: Key::from(vec![Value::Integer(1)]),
        revision: Revision(revision),
        stamp: Stamp(revision),
        row: Some(vec![Value::Integer(1), Value::Text(title.into()), Value::Text("theirs".into())]),
        columns: ["id", "title", "note"].map(str::to_owned).into(),
        device: "other".into(),
        role: String::new(),
    }
}

/// The remote's version waits for a unique value; what is sent of the row meanwhile is one
/// column, and the remote has another still.
#[test]
fn what_a_parked_version_says_in_other_columns_comes_after_an_edit_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let schema = "CREATE TABLE task(id INTEGER PRIMARY KEY, title TEXT UNIQUE, note TEXT)";
    let (app, mut store) = opened_with(folder.path(), schema);
    app.execute_batch("INSERT INTO task VALUES(1, 'b', 'mine')").unwrap();
    store
        .write(|writer| {
            let synced = writer.find("task").unwrap();
            let local = row::read(writer.db, synced, &Key::from(vec![Value::Integer(1)]))?.row().unwrap();
            let waits = theirs(5, "a");
            writer.set_base(synced, &waits.key.encode(), waits.revision, waits.stamp, &base::body(synced, &local))?;
            writer.park(synced, &waits, ReasonCode::ConflictManual, "", 1)
        })
        .unwrap();
    app.execute_batch("UPDATE task SET title = 'c'").unwrap();
    let mut gathered = store.gather(NOW, 10, &Nobody).unwrap();
    let (changes, rows) = gathered.depart(&[0]);
    assert_eq!(changes[0].columns, ["title".to_owned()].into());
    let flight = Flight { batch: 1, body: vec![1], rows, taken: None };
    store.launch(&flight).unwrap();
    store.settle(&flight, &[Outcome::Applied(Revision(7))], &mut Settling::default(), &Nobody, NOW, SLICE).unwrap();

    assert_eq!(store.checkpoint().unwrap(), None, "everything is pulled again");
    let page = Page { rows: vec![theirs(7, "c")], cursor: Cursor("c".into()), head: Revision(7), ..Page::default() };
    let mut incoming = store.receive(page, &Nobody).unwrap();
    assert!(store.apply(&mut incoming, &Nobody, NOW, SLICE).unwrap().done);
    let now: String = app.query_row("SELECT title || ' ' || note FROM task", [], |row| row.get(0)).unwrap();
    assert_eq!((now.as_str(), store.counts().unwrap().parked), ("c theirs", 0));
}
