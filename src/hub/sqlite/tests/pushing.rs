//! What a hub says to each change of a push.

use super::*;

const NOTES: &str = "CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT, done INTEGER)";

fn note(device: &mut Device, id: &str, base: i64, body: &str) {
    device.put("notes", "id", id, base, &[("id", v(id)), ("body", v(body)), ("done", v(0))]);
}

#[test]
fn a_put_is_an_insert_or_an_update_by_what_the_hub_has() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    note(&mut ada, "x", 0, "one");
    assert_eq!(ada.told(&mut rig), ["1"]);
    ada.put("notes", "id", "x", 1, &[("body", v("two"))]);
    assert_eq!(ada.told(&mut rig), ["2"]);
    assert_eq!(rig.ask("SELECT id || body || done FROM notes"), ["xtwo0"]);
    assert_eq!(rig.trail("notes", Key::from(vec![v("x").0])), ["2 update ada body", "1 insert ada "]);
}

#[test]
fn a_row_that_moved_on_is_a_conflict_with_the_row_and_the_columns_that_changed() {
    let mut rig = Rig::new(NOTES);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    note(&mut ada, "x", 0, "one");
    ada.push(&mut rig);
    ada.put("notes", "id", "x", 1, &[("done", v(1))]).put("notes", "id", "x", 2, &[("body", v("two"))]);
    assert_eq!(ada.told(&mut rig), ["2", "3"]);
    bob.put("notes", "id", "x", 1, &[("body", v("bob's"))]);
    let outcomes = bob.push(&mut rig);
    let conflict = conflict(&outcomes[0]);
    assert_eq!(conflict.columns, ["body", "done"]);
    let row = conflict.row.as_ref().unwrap();
    assert_eq!(row.revision, Revision(3));
    assert_eq!(row.values, Some(vec![v("x").0, v("two").0, v(1).0]));
    assert_eq!(row.device, "a's laptop");
    assert_eq!(rig.ask("SELECT body FROM notes"), ["two"]);
}

#[test]
fn the_same_row_made_on_two_devices_is_no_conflict_and_a_different_one_is() {
    let mut rig = Rig::new(NOTES);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    note(&mut ada, "x", 0, "same");
    note(&mut ada, "y", 0, "ada's");
    ada.push(&mut rig);
    note(&mut bob, "x", 0, "same");
    note(&mut bob, "y", 0, "bob's");
    assert_eq!(bob.told(&mut rig), ["1", "moved_on"]);
}

#[test]
fn trap_13_update_meets_delete_both_ways() {
    let mut rig = Rig::new(NOTES);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    note(&mut ada, "x", 0, "1");
    note(&mut ada, "y", 0, "1");
    ada.push(&mut rig);
    // Deleted there, updated here.
    ada.delete("notes", "id", "x", 1);
    assert_eq!(ada.told(&mut rig), ["3"]);
    bob.put("notes", "id", "x", 1, &[("body", v("2"))]);
    let outcomes = bob.push(&mut rig);
    assert_eq!(conflict(&outcomes[0]).row.as_ref().unwrap().values, None);
    assert_eq!(conflict(&outcomes[0]).row.as_ref().unwrap().revision, Revision(3));
    // Updated there, deleted here.
    ada.put("notes", "id", "y", 2, &[("body", v("2"))]);
    ada.push(&mut rig);
    bob.delete("notes", "id", "y", 2);
    assert_eq!(bob.told(&mut rig), ["moved_on"]);
    // Deleted on both; deleted without ever having been there.
    bob.delete("notes", "id", "x", 1).delete("notes", "id", "never", 0);
    assert_eq!(bob.told(&mut rig), ["3", "4"]);
    // Made again after the deletion was seen, or by someone who never saw the row.
    note(&mut bob, "x", 3, "again");
    assert_eq!(bob.told(&mut rig), ["5"]);
    assert_eq!(rig.ask("SELECT body FROM notes WHERE id = 'x'"), ["again"]);
}

/// To an index, NULL is never the NULL of another row.
#[test]
fn a_row_with_null_in_its_key_that_comes_again_as_new_is_the_same_row() {
    let mut rig = Rig::new("CREATE TABLE odd(a TEXT, b INTEGER, body TEXT, PRIMARY KEY(a, b))");
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    let put = |device: &mut Device, body: &str| {
        let values = vec![v("x").0, NULL.0, v("x").0, NULL.0, v(body).0];
        device.group(ChangeGroup {
            table: "odd".into(),
            key: vec!["a".into(), "b".into()],
            columns: ["a", "b", "body"].map(str::to_owned).to_vec(),
            delete: false,
            rows: vec![WireChange { base: Revision::NONE, stamp: Stamp::from_millis(NOW), values }],
        });
    };
    put(&mut ada, "ada's");
    assert_eq!(ada.told(&mut rig), ["1"]);
    put(&mut bob, "bob's");
    assert_eq!(bob.told(&mut rig), ["moved_on"]);
    assert_eq!(rig.ask("SELECT body FROM odd"), ["ada's"]);
}

#[test]
fn an_update_to_a_row_the_hub_does_not_know_asks_for_the_whole_row() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    ada.put("notes", "id", "x", 7, &[("body", v("part"))]);
    assert_eq!(ada.told(&mut rig), ["whole_row_needed"]);
    note(&mut ada, "x", 7, "whole");
    assert_eq!(ada.told(&mut rig), ["1"]);
}

#[test]
fn trap_10_a_batch_sent_again_is_answered_as_before_and_applied_once() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    note(&mut ada, "x", 0, "one");
    let body = ada.body("epoch-1");
    let first = rig.scope.push(&ada.who, &body, NOW).unwrap();
    rig.sql("UPDATE notes SET body = 'by sql'");
    let again = rig.scope.push(&ada.who, &body, NOW + 5_000).unwrap();
    assert_eq!(first, again);
    assert_eq!(rig.ask("SELECT body FROM notes"), ["by sql"]);
    assert_eq!(rig.hello("ada", "a", NOTES).batch, 1);
}

#[test]
fn trap_21_other_content_under_a_used_number_or_a_gap_ends_the_incarnation() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    note(&mut ada, "x", 0, "one");
    ada.push(&mut rig);
    note(&mut ada, "y", 0, "two");
    ada.push(&mut rig);
    for batch in [1, 2, 4] {
        let mut copy = rig.device("a");
        copy.batch = batch - 1;
        note(&mut copy, "z", 0, "a copy's");
        let body = copy.body("epoch-1");
        assert_eq!(code(rig.scope.push(&copy.who, &body, NOW)), "incarnation_over", "batch {batch}");
    }
    assert_eq!(rig.ask("SELECT id FROM notes ORDER BY id"), ["x", "y"]);
}

#[test]
fn another_account_cannot_use_up_an_incarnations_batch_numbers() {
    let mut rig = Rig::new(NOTES);
    let mut eve = rig.device("a");
    eve.who = Who::owner("eve");
    note(&mut eve, "e", 0, "eve's");
    assert_eq!(eve.told(&mut rig), ["1"]);
    let mut ada = rig.device("a");
    note(&mut ada, "x", 0, "ada's");
    assert_eq!(ada.told(&mut rig), ["2"]);
    assert_eq!(rig.trail("notes", Key::from(vec![v("e").0])), ["1 insert eve "]);
}

#[test]
fn trap_15_values_swapped_between_rows_are_set_and_rowids_stay() {
    let mut rig = Rig::new("CREATE TABLE seats(id TEXT PRIMARY KEY, place INTEGER NOT NULL UNIQUE)");
    let mut ada = rig.device("a");
    for (id, place) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        ada.put("seats", "id", id, 0, &[("id", v(id)), ("place", v(place))]);
    }
    ada.push(&mut rig);
    let rowids = rig.ask("SELECT group_concat(rowid || id) FROM (SELECT rowid, id FROM seats ORDER BY id)");
    // A ring of three, and a newcomer who takes what the ring left.
    ada.put("seats", "id", "a", 1, &[("place", v(2))]);
    ada.put("seats", "id", "b", 2, &[("place", v(3))]);
    ada.put("seats", "id", "c", 3, &[("place", v(1))]);
    assert_eq!(ada.told(&mut rig), ["5", "6", "7"]);
    assert_eq!(rig.ask("SELECT group_concat(id) FROM (SELECT id FROM seats ORDER BY place)"), ["c,a,b,d"]);
    assert_eq!(rig.ask("SELECT group_concat(rowid || id) FROM (SELECT rowid, id FROM seats ORDER BY id)"), rowids);
    // A chain in the wrong order, ended by a deletion.
    ada.put("seats", "id", "c", 7, &[("place", v(2))]);
    ada.put("seats", "id", "a", 5, &[("place", v(3))]);
    ada.put("seats", "id", "b", 6, &[("place", v(4))]);
    ada.delete("seats", "id", "d", 4);
    assert_eq!(ada.told(&mut rig).iter().filter(|told| told.parse::<i64>().is_ok()).count(), 4);
    assert_eq!(rig.ask("SELECT group_concat(id) FROM (SELECT id FROM seats ORDER BY place)"), ["c,a,b"]);
}

#[test]
fn trap_15_a_true_collision_is_a_conflict_that_names_the_holder_and_undoes_only_itself() {
    let mut rig = Rig::new("CREATE TABLE people(id INTEGER PRIMARY KEY, mail TEXT COLLATE NOCASE UNIQUE, name TEXT)");
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    ada.put("people", "id", 1, 0, &[("id", v(1)), ("mail", v("a@x")), ("name", v("Ada"))]);
    ada.put("people", "id", 2, 0, &[("id", v(2)), ("mail", v("b@x")), ("name", v("Bob"))]);
    ada.push(&mut rig);
    bob.put("people", "id", 3, 0, &[("id", v(3)), ("mail", v("A@X")), ("name", v("Again"))]);
    bob.put("people", "id", 2, 2, &[("mail", v("a@X"))]);
    bob.put("people", "id", 4, 0, &[("id", v(4)), ("mail", v("d@x")), ("name", v("Dan"))]);
    let outcomes = bob.push(&mut rig);
    assert_eq!(conflict(&outcomes[0]).row, None);
    assert_eq!(conflict(&outcomes[1]).row.as_ref().unwrap().revision, Revision(2));
    let told: Vec<String> = outcomes.into_iter().map(super::told).collect();
    assert_eq!(told, ["unique people[1]", "unique people[1]", "3"]);
    assert_eq!(rig.ask("SELECT group_concat(mail) FROM (SELECT mail FROM people ORDER BY id)"), ["a@x,b@x,d@x"]);
}

#[test]
fn trap_29_keys_that_are_equal_and_not_identical_collide() {
    let mut rig =
        Rig::new("CREATE TABLE words(word TEXT PRIMARY KEY COLLATE NOCASE, n); CREATE TABLE bare(id PRIMARY KEY, n)");
    let mut ada = rig.device("a");
    ada.put("words", "word", "abc", 0, &[("word", v("abc")), ("n", v(1))]);
    ada.put("bare", "id", 1, 0, &[("id", v(1)), ("n", v(1))]);
    ada.put("words", "word", "ABC", 0, &[("word", v("ABC")), ("n", v(2))]);
    ada.put("bare", "id", 1.0, 0, &[("id", v(1.0)), ("n", v(2))]);
    assert_eq!(ada.told(&mut rig), ["1", "2", "unique words[\"abc\"]", "unique bare[1]"]);
    // A row that is renamed by case alone: the old key goes, the new one comes.
    ada.delete("words", "word", "abc", 1).put("words", "word", "ABC", 0, &[("word", v("ABC")), ("n", v(1))]);
    assert_eq!(ada.told(&mut rig), ["3", "4"]);
    // The deletion of one is never the deletion of the other.
    ada.delete("words", "word", "aBc", 9).put("words", "word", "Abc", 9, &[("n", v(3))]);
    assert_eq!(ada.told(&mut rig), ["4", "unique words[\"ABC\"]"]);
    assert_eq!(rig.ask("SELECT word || n FROM words"), ["ABC1"]);
}

#[test]
fn rows_that_collide_through_a_mover_stay_as_they_were() {
    let mut rig = Rig::new("CREATE TABLE seats(id TEXT PRIMARY KEY, place INTEGER UNIQUE)");
    let mut ada = rig.device("a");
    for (id, place) in [("a", 1), ("b", 2), ("c", 3)] {
        ada.put("seats", "id", id, 0, &[("id", v(id)), ("place", v(place))]);
    }
    ada.push(&mut rig);
    // b wants a's place, a wants c's, c stays: nobody can move.
    ada.put("seats", "id", "b", 2, &[("place", v(1))]).put("seats", "id", "a", 1, &[("place", v(3))]);
    assert_eq!(ada.told(&mut rig), ["unique seats[\"a\"]", "unique seats[\"c\"]"]);
    assert_eq!(rig.ask("SELECT group_concat(id || place) FROM (SELECT * FROM seats ORDER BY id)"), ["a1,b2,c3"]);
}

const FAMILY: &str = "CREATE TABLE projects(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
    CREATE TABLE tasks(id INTEGER PRIMARY KEY, project INTEGER REFERENCES projects(id) ON DELETE CASCADE,
        up INTEGER REFERENCES tasks(id), code TEXT REFERENCES projects(code), note TEXT)";

fn task(device: &mut Device, id: i64, project: V, up: V) {
    device.put(
        "tasks",
        "id",
        id,
        0,
        &[("id", v(id)), ("project", project), ("up", up), ("code", NULL), ("note", NULL)],
    );
}

fn project(device: &mut Device, id: i64, code: &str) {
    device.put("projects", "id", id, 0, &[("id", v(id)), ("code", v(code))]);
}

#[test]
fn a_child_without_its_parent_is_a_conflict_with_all_that_hangs_on_it() {
    let mut rig = Rig::new(FAMILY);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    project(&mut bob, 9, "gone");
    bob.delete("projects", "id", 9, 1);
    assert_eq!(bob.told(&mut rig), ["1", "2"]);
    project(&mut ada, 1, "p");
    task(&mut ada, 1, v(1), NULL); // fine
    task(&mut ada, 2, v(9), NULL); // another device took that project away
    task(&mut ada, 3, v(1), v(2)); // hangs on 2
    task(&mut ada, 4, NULL, v(3)); // hangs on 3
    task(&mut ada, 5, NULL, NULL); // hangs on nothing
    assert_eq!(
        ada.told(&mut rig),
        ["3", "4", "foreign_key projects[9]", "foreign_key tasks[2]", "foreign_key tasks[3]", "5"]
    );
    assert_eq!(rig.ask("SELECT group_concat(id) FROM (SELECT id FROM tasks ORDER BY id)"), ["1,5"]);
}

#[test]
fn a_reference_to_nothing_that_the_sender_knew_of_is_its_own_business() {
    let mut rig = Rig::new(FAMILY);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    project(&mut bob, 9, "gone");
    bob.delete("projects", "id", 9, 1);
    bob.push(&mut rig);
    task(&mut ada, 1, v(8), NULL); // a project that never was
    ada.seen = Revision(2);
    task(&mut ada, 2, v(9), NULL); // one whose end it has pulled
    assert_eq!(ada.told(&mut rig), ["3", "4"]);
    project(&mut ada, 7, "mine");
    ada.push(&mut rig);
    // One's own parent may go while one's own child is left dangling.
    task(&mut ada, 3, v(7), NULL);
    ada.delete("projects", "id", 7, 5);
    assert_eq!(ada.told(&mut rig), ["6", "7"]);
}

#[test]
fn a_parent_that_comes_in_the_same_push_and_does_not_get_in_takes_its_children_with_it() {
    let mut rig = Rig::new(
        "CREATE TABLE projects(id INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;
        CREATE TABLE tasks(id INTEGER PRIMARY KEY, project INTEGER REFERENCES projects(id))",
    );
    let mut ada = rig.device("a");
    ada.put("projects", "id", 1, 0, &[("id", v(1)), ("n", v("none"))]);
    ada.put("tasks", "id", 1, 0, &[("id", v(1)), ("project", v(1))]);
    assert_eq!(ada.told(&mut rig), ["constraint", "foreign_key projects[1]"]);
}

#[test]
fn a_child_may_come_before_its_parent_in_the_same_push() {
    let mut rig = Rig::new(FAMILY);
    let mut ada = rig.device("a");
    task(&mut ada, 1, v(1), v(2));
    task(&mut ada, 2, v(1), v(1));
    project(&mut ada, 1, "p");
    assert_eq!(ada.told(&mut rig), ["1", "2", "3"]);
}

#[test]
fn a_parent_with_children_is_not_deleted_and_nothing_cascades() {
    let mut rig = Rig::new(FAMILY);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    project(&mut ada, 1, "p");
    task(&mut ada, 1, v(1), NULL);
    task(&mut ada, 2, v(1), NULL);
    ada.push(&mut rig);
    bob.delete("projects", "id", 1, 1).delete("tasks", "id", 1, 2);
    assert_eq!(bob.told(&mut rig), ["foreign_key tasks[2]", "4"]);
    assert_eq!(
        rig.ask("SELECT 'project ' || id FROM projects UNION ALL SELECT 'task ' || id FROM tasks"),
        ["project 1", "task 2"]
    );
    // With its last child it may go, in either order.
    bob.delete("projects", "id", 1, 1).delete("tasks", "id", 2, 3);
    assert_eq!(bob.told(&mut rig), ["5", "6"]);
}

#[test]
fn a_parent_stays_with_its_child_whose_deletion_is_stopped() {
    let mut rig = Rig::new(FAMILY);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    project(&mut ada, 1, "p");
    task(&mut ada, 1, v(1), NULL);
    ada.push(&mut rig);
    task(&mut bob, 2, NULL, v(1)); // hangs on task 1, and ada does not know of it
    bob.push(&mut rig);
    ada.delete("tasks", "id", 1, 2).delete("projects", "id", 1, 1);
    assert_eq!(ada.told(&mut rig), ["foreign_key tasks[2]", "foreign_key tasks[1]"]);
}

#[test]
fn a_parent_renamed_under_its_children_is_a_conflict() {
    let mut rig = Rig::new(FAMILY);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    project(&mut ada, 1, "p");
    ada.put("tasks", "id", 1, 0, &[("id", v(1)), ("project", NULL), ("up", NULL), ("code", v("p")), ("note", NULL)]);
    ada.push(&mut rig);
    bob.put("projects", "id", 1, 1, &[("code", v("q"))]);
    assert_eq!(bob.told(&mut rig), ["foreign_key tasks[1]"]);
    bob.put("projects", "id", 1, 1, &[("code", v("q"))]).put("tasks", "id", 1, 2, &[("code", v("q"))]);
    assert_eq!(bob.told(&mut rig), ["3", "4"]);
}

#[test]
fn a_child_that_was_put_is_to_blame_and_not_the_parents_deletion() {
    let mut rig = Rig::new(FAMILY);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    project(&mut ada, 1, "p");
    ada.push(&mut rig);
    bob.delete("projects", "id", 1, 1);
    assert_eq!(bob.told(&mut rig), ["2"]);
    task(&mut ada, 1, v(1), NULL);
    assert_eq!(ada.told(&mut rig), ["foreign_key projects[1]"]);
}

#[test]
fn a_reference_that_dangled_before_binds_nobody_who_does_not_touch_it() {
    let mut rig = Rig::new(FAMILY);
    rig.sql("PRAGMA foreign_keys = OFF; INSERT INTO tasks(id, project) VALUES (1, 77)");
    let mut ada = rig.device("a");
    ada.put("tasks", "id", 1, 1, &[("note", v("still here"))]);
    assert_eq!(ada.told(&mut rig), ["2"]);
}

#[test]
fn a_chain_of_a_thousand_rows_on_a_missing_parent_ends_in_good_time() {
    let mut rig = Rig::new(FAMILY);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    task(&mut bob, 0, NULL, NULL);
    bob.delete("tasks", "id", 0, 1);
    bob.push(&mut rig);
    for id in 1..=1000 {
        task(&mut ada, id, NULL, v(id - 1));
    }
    let told = ada.told(&mut rig);
    assert_eq!(told[0], "foreign_key tasks[0]");
    assert_eq!(told[999], "foreign_key tasks[999]");
    assert_eq!(rig.ask("SELECT count(*) || '' FROM tasks"), ["0"]);
}

#[test]
fn stamps_from_the_future_and_stamps_older_than_the_row_are_refused() {
    let mut rig = Rig::new(NOTES);
    let mut ada = rig.device("a");
    note(&mut ada, "x", 0, "one");
    ada.put_at("notes", "id", "y", 0, NOW + 60_001, &[("id", v("y")), ("body", NULL), ("done", NULL)]);
    ada.put_at("notes", "id", "z", 0, NOW + 60_000, &[("id", v("z")), ("body", NULL), ("done", NULL)]);
    assert_eq!(ada.told(&mut rig), ["1", "stamp_future", "2"]);
    ada.put_at("notes", "id", "x", 1, NOW - 1, &[("body", v("older"))]);
    assert_eq!(ada.told(&mut rig), ["stamp_old"]);
    let whole = [("id", v("x")), ("body", v("older")), ("done", v(0))];
    ada.put_at("notes", "id", "x", 1, NOW - 1, &whole);
    assert_eq!(ada.told(&mut rig), ["3"]);
}

#[test]
fn trap_19_trouble_with_one_change_never_stops_the_others() {
    let settings = Settings { row_bytes_max: 1_000, ..Settings::default() };
    let mut rig = Rig::with(
        "CREATE TABLE strict_ones(id INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;
         CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT)",
        settings,
    );
    let mut ada = rig.device("a");
    ada.put("strict_ones", "id", 1, 0, &[("id", v(1)), ("n", NULL)]);
    ada.put("strict_ones", "id", 2, 0, &[("id", v(2)), ("n", v("two"))]);
    ada.put("strict_ones", "id", "three", 0, &[("id", v("three")), ("n", v(3))]);
    ada.put("nowhere", "id", 1, 0, &[("id", v(1))]);
    ada.put("_hub_meta", "name", "head", 0, &[("name", v("head")), ("value", v(99))]);
    ada.put("notes", "id", "a", 0, &[("id", v("a")), ("colour", v("red"))]);
    ada.put("notes", "id", "b", 0, &[("id", v("b")), ("body", v("x".repeat(1000).as_str()))]);
    ada.put("notes", "id", "c", 0, &[("id", v("other")), ("body", NULL)]);
    ada.put("notes", "body", "d", 0, &[("id", v("d"))]);
    ada.put("notes", "id", "e", 0, &[("body", v("1")), ("BODY", v("2"))]);
    ada.group(ChangeGroup {
        table: "notes".into(),
        key: vec!["id".into()],
        columns: vec!["body".into()],
        delete: false,
        rows: vec![WireChange { base: Revision(0), stamp: Stamp(0), values: vec![v("f").0] }],
    });
    ada.put("notes", "id", "g", 0, &[("id", v("g")), ("body", v("fine"))]);
    assert_eq!(
        ada.told(&mut rig),
        [
            "constraint",
            "constraint",
            "constraint",
            "unknown_table",
            "unknown_table",
            "unknown_column",
            "row_too_large",
            "malformed",
            "malformed",
            "malformed",
            "malformed",
            "1"
        ]
    );
}

#[test]
fn a_token_that_may_only_read_is_told_so_for_each_change() {
    let mut rig = Rig::new(NOTES);
    let mut reader = rig.device("r");
    reader.who.may_write = false;
    note(&mut reader, "x", 0, "one");
    assert_eq!(reader.told(&mut rig), ["not_allowed"]);
}

#[test]
fn the_account_column_says_the_tokens_account_whatever_the_client_says() {
    let settings = Settings { account_column: Some("user_id".into()), ..Settings::default() };
    let mut rig = Rig::with("CREATE TABLE notes(id TEXT PRIMARY KEY, body TEXT, user_id TEXT)", settings);
    let (mut ada, mut bob) = (rig.device("a"), rig.device("b"));
    bob.who = Who::owner("bob");
    ada.put("notes", "id", "x", 0, &[("id", v("x")), ("body", v("1")), ("user_id", v("eve"))]);
    ada.put("notes", "id", "y", 0, &[("id", v("y")), ("body", v("1")), ("user_id", v("ada"))]);
    assert_eq!(ada.told(&mut rig), ["1", "2"]);
    assert_eq!(rig.ask("SELECT user_id FROM notes"), ["ada", "ada"]);
    // What the hub changed comes back to its author; what it took as sent does not.
    let page = rig.pull("a", Some("l.epoch-1.0"));
    assert_eq!(rows(&page), ["notes [\"x\",\"1\",\"ada\"]"]);
    bob.put("notes", "id", "y", 2, &[("body", v("2"))]);
    bob.push(&mut rig);
    assert_eq!(rig.ask("SELECT user_id FROM notes ORDER BY id"), ["ada", "bob"]);
    let request = Pull {
        protocol: VERSION,
        device: "b".into(),
        incarnation: Incarnation("b".into()),
        cursor: Some("l.epoch-1.2".into()),
        rows_max: 10,
        bytes_max: 1000,
    };
    let page = rig.scope.pull(&bob.who, &request, NOW).unwrap();
    assert_eq!(rows(&page), ["notes [\"y\",\"2\",\"bob\"]"]);
}

#[test]
fn what_the_hubs_column_types_change_comes_back_to_its_author() {
    let mut rig = Rig::new("CREATE TABLE t(id TEXT PRIMARY KEY, n INTEGER)");
    let mut ada = rig.device("a");
    ada.put("t", "id", "x", 0, &[("id", v("x")), ("n", v("12"))]);
    ada.put("t", "id", "y", 0, &[("id", v("y")), ("n", v("twelve"))]);
    ada.push(&mut rig);
    assert_eq!(rows(&rig.pull("a", Some("l.epoch-1.0"))), ["t [\"x\",12]"]);
}

#[test]
fn trap_26_every_storage_class_and_key_shape_comes_back_exactly() {
    let mut rig = Rig::new(
        "CREATE TABLE any(a, b, rowid TEXT, v, PRIMARY KEY(b, a)) ; CREATE TABLE w(id PRIMARY KEY, v) WITHOUT ROWID",
    );
    let values = [
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Integer((1 << 53) + 1),
        Value::Real(f64::INFINITY),
        Value::Real(1.0),
        Value::Text("é\0x".into()),
        Value::Malformed(vec![0xff, 0]),
        Value::Blob(vec![0, 1]),
    ];
    let mut ada = rig.device("a");
    for (at, value) in values.iter().enumerate() {
        let (at, value) = (v(at as i64).0, value.clone());
        ada.group(ChangeGroup {
            table: "any".into(),
            key: vec!["b".into(), "a".into()],
            columns: vec!["a".into(), "b".into(), "rowid".into(), "v".into()],
            delete: false,
            rows: vec![WireChange {
                base: Revision(0),
                stamp: Stamp(0),
                values: vec![at.clone(), value.clone(), value.clone(), at, Value::Text("r".into()), value],
            }],
        });
    }
    for value in values.iter().filter(|value| !value.is_null()) {
        ada.put("w", "id", value.clone(), 0, &[("id", V(value.clone())), ("v", NULL)]);
    }
    assert_eq!(ada.told(&mut rig).iter().filter(|told| told.parse::<i64>().is_err()).count(), 0);
    let page = rig.pull("b", None);
    let back: Vec<&Value> = page.groups[0].rows.iter().map(|row| &row.values[3]).collect();
    assert_eq!(back, values.iter().collect::<Vec<_>>());
    assert_eq!(page.groups[1].rows.len(), values.len() - 1);
}
