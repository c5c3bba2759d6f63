//! A backend that takes a push and names the rows in it that it rejected, as
//! WatermelonDB's protocol lets it.

use serde_json::json;

use super::super::rig::{Backend, eventually, has};
use super::plain;

fn pulls(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| request[1] == "/pull").count()
}

#[test]
fn rows_that_a_push_names_as_rejected_are_pulled_settled_and_sent_again() {
    if !has("python3") {
        return;
    }
    let backend = Backend::start("plain", &["names_what_it_rejects"]);
    let a = plain("a", &backend.url(), &[], "");
    a.sql("INSERT INTO lists VALUES ('own', 'one'), ('both', 'one')");
    a.sync();

    // The answer is lost, and its own row is newer there at the second try.
    backend.fault("/push", "after");
    a.sql("UPDATE lists SET name = 'two' WHERE id = 'own'");
    a.sync();
    assert_eq!(backend.state()["tables"]["lists"]["own"]["data"]["name"], "two");
    assert_eq!(a.json(&["conflicts", "list"])["conflicts"], json!([]), "its own push is nobody else's");

    // Another device writes between the pull and the push.
    let before = pulls(&backend);
    backend.fault("/pull", "hold");
    a.sql("BEGIN; UPDATE lists SET name = 'mine' WHERE id = 'both'; INSERT INTO lists VALUES ('beside', 'b'); COMMIT");
    eventually("it pulls", || pulls(&backend) > before);
    backend.call("put_list", json!(["both"]));
    backend.call("release", json!([]));
    a.sync();
    let there = backend.state()["tables"]["lists"]["both"]["data"]["name"].clone();
    assert_eq!(a.sql("SELECT name FROM lists WHERE id = 'both'"), there.as_str().unwrap());
    let conflict = &a.json(&["conflicts", "list"])["conflicts"][0];
    assert_eq!((&conflict["local"]["name"], &conflict["remote"]["name"]), (&json!("mine"), &json!("both")));
    assert_eq!(backend.rows("lists", &[]).len(), 3);
    assert_eq!(backend.state()["rejections"], json!(["own", "both"]));
    let status = a.status();
    assert_eq!((&status["pending"], &status["set_aside"]), (&json!(0), &json!(0)), "{status:#}");
}
