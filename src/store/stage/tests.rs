//! What is chosen behind a batch that has not been answered yet.

use rusqlite::Connection;

use super::Gathered;
use crate::model::{Key, Outcome, ReasonCode, Revision, Value};
use crate::store::apply::tests::{NOW, Nobody, opened_with};
use crate::store::flight::Flight;
use crate::store::settle::Settling;
use crate::store::{Slice, Store};

fn opened(folder: &std::path::Path) -> (Connection, Store) {
    let schema = "CREATE TABLE task(id INTEGER PRIMARY KEY, under INTEGER REFERENCES task, title TEXT)";
    let (app, mut store) = opened_with(folder, schema);
    store.replica.limits.delete_rows_min = 3;
    (app, store)
}

fn keys(gathered: &Gathered) -> Vec<i64> {
    let key = |key: &Key| if let [Value::Integer(number)] = key.0[..] { number } else { unreachable!("BUG: {key}") };
    gathered.candidates.iter().map(|candidate| key(&candidate.change.key)).collect()
}

/// The first `rows` of the outbox as a batch on its way.
fn launched(store: &mut Store, batch: i64, rows: usize) -> Flight {
    let mut gathered = store.gather(NOW, rows, &Nobody).unwrap();
    let order: Vec<usize> = (0..gathered.candidates.len()).collect();
    let flight = Flight { batch, body: vec![1], rows: gathered.depart(&order).1, taken: None };
    store.launch(&flight).unwrap();
    flight
}

/// Rows 1 and 2 were taken, which is not settled; row 3 is on its way.
fn two_under_way(folder: &std::path::Path) -> (Connection, Store) {
    let (app, mut store) = opened(folder);
    app.execute_batch("INSERT INTO task(id) VALUES(1), (2), (3)").unwrap();
    let first = launched(&mut store, 1, 2);
    let mut behind = store.gather_behind(&first, NOW, 10, &Nobody).unwrap().unwrap();
    let second = Flight { batch: 2, body: vec![2], rows: behind.depart(&[0]).1, taken: None };
    store.launch_behind(&first, &[Revision(7), Revision(8)], &second).unwrap();
    (app, store)
}

fn taken(store: &mut Store, flight: &Flight) {
    let outcomes: Vec<Outcome> = (1..).map(|rev| Outcome::Applied(Revision(rev))).take(flight.rows.len()).collect();
    let slice = Slice { rows_max: 1, time_max: None };
    let mut settling = Settling::default();
    while !store.settle(flight, &outcomes, &mut settling, &Nobody, NOW, slice).unwrap().1 {}
}

#[test]
fn what_is_chosen_behind_a_batch_takes_that_as_taken_and_leaves_its_rows_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut store) = opened(folder.path());
    app.execute_batch("INSERT INTO task(id) VALUES(1), (2); INSERT INTO task(id, under) VALUES(3, 1)").unwrap();
    let flight = launched(&mut store, 1, 2);
    app.execute_batch("UPDATE task SET title = 'edited since' WHERE id = 1; INSERT INTO task(id, under) VALUES(4, 2)")
        .unwrap();

    let behind = store.gather_behind(&flight, NOW, 10, &Nobody).unwrap().unwrap();
    assert_eq!(keys(&behind), [3, 4]);
    assert!(behind.is_quiet(), "what is written of a row on its way is not noise");
    assert!(behind.candidates.iter().all(|candidate| candidate.needs.is_empty()), "their parents will be there");

    taken(&mut store, &flight);
    assert_eq!(keys(&store.gather(NOW, 10, &Nobody).unwrap()), [3, 1, 4]);
}

/// The remote took batch 1 whole, and batch 2 was set off before that was local fact.
#[test]
fn an_answer_that_is_not_settled_yet_is_kept_with_the_batch_that_went_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_app, mut store) = two_under_way(folder.path());
    let who = store.identity().unwrap();
    assert_eq!((who.batch, who.flight), (1, Some(2)), "batch 1 was answered, batch 2 is on its way");
    let found = store.flight().unwrap().unwrap();
    assert_eq!((found.batch, found.taken.as_deref()), (1, Some(&[Revision(7), Revision(8)][..])));
    taken(&mut store, &found);
    let found = store.flight().unwrap().unwrap();
    assert_eq!((found.batch, found.body, found.taken), (2, vec![2], None));
    assert_eq!(store.identity().unwrap().batch, 1);
    assert_eq!(keys(&store.gather(NOW, 10, &Nobody).unwrap()), [3], "nobody knows of it yet");
}

#[test]
fn a_new_life_takes_apart_all_that_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let (_app, mut store) = two_under_way(folder.path());
    store.reincarnate(&crate::model::Incarnation("new".into())).unwrap();
    let who = store.identity().unwrap();
    assert_eq!((who.batch, who.flight, store.has_flight().unwrap()), (0, None, false));
    assert_eq!(keys(&store.gather(NOW, 10, &Nobody).unwrap()), [1, 2, 3]);
}

#[test]
fn nothing_is_chosen_behind_a_batch_where_a_person_may_have_to_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut store) = opened(folder.path());
    app.execute_batch("INSERT INTO task(id) VALUES(1), (2), (3), (4), (5)").unwrap();
    let first = launched(&mut store, 1, 5);
    taken(&mut store, &first);
    app.execute_batch("INSERT INTO task(id) VALUES(6); DELETE FROM task WHERE id < 3").unwrap();
    let second = launched(&mut store, 2, 1);
    assert!(store.gather_behind(&second, NOW, 10, &Nobody).unwrap().is_some(), "so few are nobody's question");
    app.execute_batch("DELETE FROM task WHERE id = 3").unwrap();
    assert!(store.gather_behind(&second, NOW, 10, &Nobody).unwrap().is_none());
}

#[test]
fn of_a_long_outbox_the_head_is_read_and_deletions_are_counted_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut store) = opened(folder.path());
    app.execute_batch("INSERT INTO task(id) VALUES(1), (2), (3), (4), (5)").unwrap();
    let flight = launched(&mut store, 1, 5);
    taken(&mut store, &flight);
    app.execute_batch("UPDATE task SET title = 'edited'").unwrap();
    let gathered = store.gather(NOW, 2, &Nobody).unwrap();
    assert_eq!((keys(&gathered), gathered.more, store.outbox.is_whole()), (vec![1, 2], true, false));

    // Row 1, known by its edit at the head, is one of four that are gone further down.
    app.execute_batch("DELETE FROM task WHERE id IN (1, 3, 4, 5)").unwrap();
    let gathered = store.gather(NOW, 2, &Nobody).unwrap();
    assert!(store.outbox.is_whole());
    let held = gathered.candidates.iter().filter(|one| one.held == Some(ReasonCode::MassDeletion)).count();
    assert_eq!((keys(&gathered), held), (vec![1, 2], 1));
}

#[test]
fn entries_of_a_table_that_no_longer_syncs_hide_nothing_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let (app, mut store) = opened(folder.path());
    app.execute_batch("INSERT INTO task(id) VALUES(1), (2), (3)").unwrap();
    app.execute_batch("UPDATE _homing_log SET tab = 99 WHERE seq < 3").unwrap();
    assert_eq!(keys(&store.gather(NOW, 1, &Nobody).unwrap()), [3]);
}

/// Deleted and inserted anew, moved to another key, with NULL in a key, of another case, or
/// one table's among another's: each is found as it stands, in the order of the log.
#[test]
fn rows_are_found_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let schema = "CREATE TABLE task(id TEXT PRIMARY KEY COLLATE NOCASE, title TEXT);
                  CREATE TABLE pair(x, y, v, PRIMARY KEY(x, y));
                  CREATE TABLE flat(id TEXT PRIMARY KEY, v) WITHOUT ROWID;
                  CREATE TABLE shadow(rowid TEXT, _rowid_ TEXT PRIMARY KEY, v)";
    let (app, mut store) = opened_with(folder.path(), schema);
    store.replica.limits.delete_rows_min = 1_000;
    app.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
         INSERT INTO task SELECT char(97 + i * 7 % 26) || i, 'new' FROM n;
         INSERT INTO pair VALUES (1, 1, 'a'), (1, NULL, 'b'), (1, NULL, 'c'), (2, 2, 'd'), (2, NULL, 'e'), (3, 0.0, 'f');
         INSERT INTO flat VALUES ('z', 1), ('y', 2), ('x', 3);
         INSERT INTO shadow VALUES ('1', 'c', 1), ('3', 'b', 2), ('2', 'a', 3), ('0', '1', 4);
         DELETE FROM task WHERE title = 'new' AND rowid % 9 = 4;
         INSERT OR REPLACE INTO task SELECT id, 'again' FROM task WHERE rowid % 8 = 3;
         UPDATE task SET id = upper(id) WHERE rowid % 10 = 5;
         UPDATE task SET id = 'moved' WHERE rowid = 30",
    )
    .unwrap();
    let gathered = store.gather(NOW, 1_000, &Nobody).unwrap();
    let mut found: Vec<String> = Vec::new();
    for candidate in &gathered.candidates {
        let change = &candidate.change;
        match candidate.held {
            Some(held) => found.push(format!("{} {} {held:?}", change.table, change.key)),
            None => found.push(format!("{} {} {:?}", change.table, change.key, change.values.last())),
        }
    }
    let mut there: Vec<String> = ["pair [1,null] KeyUnusable".to_owned()].into();
    for (table, key, last) in [
        ("task", vec!["id"], "title"),
        ("pair", vec!["x", "y"], "v"),
        ("flat", vec!["id"], "v"),
        ("shadow", vec!["_rowid_"], "v"),
    ] {
        let mut statement = app.prepare(&format!("SELECT {}, {last} FROM {table}", key.join(", "))).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let mut row = crate::sqlite::value::read_row(row, 0, key.len() + 1).unwrap();
            let last = row.pop();
            let key = Key::from(row);
            if (table, key.to_string().as_str()) != ("pair", "[1,null]") {
                there.push(format!("{table} {key} {last:?}"));
            }
        }
    }
    found.sort();
    there.sort();
    assert_eq!(found, there);
}

#[test]
fn a_batch_is_laid_out_by_key_but_for_rows_that_may_have_to_wait_for_another() {
    let laid_out = |schema: &str, sql: &str| {
        let folder = tempfile::tempdir().unwrap();
        let (app, mut store) = opened_with(folder.path(), &format!("CREATE TABLE task(id TEXT PRIMARY KEY, {schema})"));
        app.execute_batch(sql).unwrap();
        let gathered = store.gather(NOW, 10, &Nobody).unwrap();
        let mut order: Vec<usize> = (0..gathered.candidates.len()).collect();
        store.lay_out(&gathered, &mut order);
        let key = |at: &usize| gathered.candidates[*at].change.key.to_string();
        order.iter().map(key).collect::<Vec<_>>().join(" ")
    };
    let sql = "INSERT INTO task(id) VALUES ('c'), ('a'), ('b')";
    assert_eq!(laid_out("title TEXT", sql), "[\"a\"] [\"b\"] [\"c\"]");
    assert_eq!(laid_out("title TEXT UNIQUE", sql), "[\"c\"] [\"a\"] [\"b\"]");
    assert_eq!(laid_out("up TEXT REFERENCES task(id)", sql), "[\"c\"] [\"a\"] [\"b\"]");
}

/// What a walk does not find is looked for; where rows lie as they were written, nothing is.
#[test]
fn a_walk_goes_from_row_to_row_and_gives_up_where_they_do_not_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (app, store) = opened_with(folder.path(), "CREATE TABLE task(id TEXT PRIMARY KEY, title TEXT)");
    app.execute_batch("INSERT INTO task(id) VALUES ('f'), ('b'), ('e'), ('a'), ('d'), ('c')").unwrap();
    let synced = store.find("task").unwrap();
    let walked = |keys: &[&str]| {
        let keys: Vec<Key> = keys.iter().map(|key| Key::from(vec![Value::Text((*key).into())])).collect();
        let mut found = Vec::new();
        let reader = super::Reader::new(&store.db).unwrap();
        let rest = reader.walk(synced, &keys.iter().collect::<Vec<_>>(), |at, _| found.push(at)).unwrap();
        (found, rest)
    };
    assert_eq!(walked(&["f", "b", "e", "a", "d", "c"]), (vec![0, 1, 2, 3, 4, 5], vec![]));
    assert_eq!(walked(&["f", "b", "gone", "a", "d"]), (vec![0, 1, 3, 4], vec![2]));
    assert_eq!(walked(&["f", "e", "d", "b", "a"]), (vec![0, 1, 2], vec![3, 4]));
}
