//! What every kind of backend is held to, whatever it speaks: faults in every exchange,
//! answers of another shape, and answers that say more or other things than they should.

use serde_json::{Value as Json, json};

use super::super::rig::{Backend, Device, Mode, Road, eventually, has, token, token_of};

/// One of the examples, with a table whose rows have an id and a text.
struct Example {
    name: &'static str,
    /// Below the backend's address.
    path: &'static str,
    /// Method and path of a pull; rockhound has none.
    pull: Option<(&'static str, &'static str)>,
    push: &'static str,
    table: &'static str,
    collection: &'static str,
    /// Inserts the row `ID`.
    insert: &'static str,
}

const EXAMPLES: [Example; 5] = [
    Example {
        name: "harvest",
        path: "",
        pull: Some(("POST", "/sync/pull")),
        push: "/sync/push",
        table: "series",
        collection: "series",
        insert: "INSERT INTO series(id, title) VALUES ('ID', 'x')",
    },
    Example {
        name: "weave",
        path: "/functions/v1",
        pull: Some(("POST", "/sync-pull")),
        push: "/sync-push",
        table: "friends",
        collection: "friends",
        insert: "INSERT INTO friends(id, name) VALUES ('ID', 'x')",
    },
    Example {
        name: "rockhound",
        path: "",
        pull: None,
        push: "/batch",
        table: "tag",
        collection: "tag",
        insert: "INSERT INTO tag(id, name) VALUES ('ID', 'x')",
    },
    Example {
        name: "egglogu",
        path: "",
        pull: Some(("GET", "/delta")),
        push: "/delta",
        table: "flocks",
        collection: "flocks",
        insert: "INSERT INTO flocks(id, name) VALUES ('ID', 'x')",
    },
    Example {
        name: "insight",
        path: "",
        pull: Some(("POST", "/pull")),
        push: "/push",
        table: "forms",
        collection: "forms",
        insert: "INSERT INTO forms(id, title) VALUES ('ID', 'x')",
    },
];

fn example(name: &str) -> &'static Example {
    EXAMPLES.iter().find(|example| example.name == name).unwrap()
}

/// The example's backend and two devices.
struct Stage {
    example: &'static Example,
    backend: Backend,
    a: Device,
    b: Device,
}

impl Stage {
    fn new(name: &str) -> Stage {
        Stage::prepared(name, &[])
    }

    fn prepared(name: &str, keys: &[(&str, &str)]) -> Stage {
        let example = example(name);
        let backend = Backend::start(name, &[]);
        let url = format!("{}{}", backend.url(), example.path);
        let device = |who: &str| {
            let mut device = Device::preset(who, name, &url, &token_of(json!({"sub": "ada", "device": who})));
            for (key, value) in keys {
                device.set(&format!("REPLICA__{}__{key}", name.to_uppercase()), value);
            }
            device.start();
            device.sync();
            device
        };
        Stage { a: device("a"), b: device("b"), backend, example }
    }

    fn write(&self, device: &Device, id: &str) {
        device.sql(&self.example.insert.replace("ID", id));
    }

    fn there(&self) -> usize {
        self.backend.rows(self.example.collection, &[]).len()
    }

    fn ids(&self, device: &Device) -> String {
        device.sql(&format!("SELECT group_concat(id) FROM (SELECT id FROM {} ORDER BY id)", self.example.table))
    }

    /// All that the backend has is on both devices, where it can be pulled.
    #[track_caller]
    fn settle(&self) {
        for device in [&self.a, &self.b, &self.a, &self.b] {
            device.sync();
        }
        let there: Vec<String> = self.backend.rows(self.example.collection, &[]).into_keys().collect();
        if self.example.pull.is_some() {
            assert_eq!(
                (self.ids(&self.a), self.ids(&self.b)),
                (there.join(","), there.join(",")),
                "{}",
                self.example.name
            );
        }
        for device in [&self.a, &self.b] {
            let conflicts = device.json(&["conflicts", "list"])["conflicts"].clone();
            assert_eq!(conflicts, json!([]), "{}: what came twice is no conflict", self.example.name);
        }
    }

    /// The exchange's method and path, as a fault names them.
    fn exchange(&self, pulls: bool) -> Json {
        let (method, path) = if pulls { self.example.pull.unwrap() } else { ("POST", self.example.push) };
        json!({"method": method, "path": path})
    }

    fn plan(&self, pulls: bool, fault: &Json) {
        let mut plan = self.exchange(pulls);
        plan.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
        self.backend.plan(plan);
    }

    /// What the device `a` is answered next; `b` may have a cycle of its own just then.
    fn answer(&self, pulls: bool, body: &Json) {
        self.answers(pulls, std::slice::from_ref(body));
    }

    /// The next answers to `a`, planned at once, so that no cycle meets a part of them.
    fn answers(&self, pulls: bool, bodies: &[Json]) {
        let plan = |body| {
            let mut plan = self.exchange(pulls);
            let fault = json!({"device": "a", "kind": "status", "status": 200, "body": body});
            plan.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
            plan
        };
        self.backend.plan(bodies.iter().map(plan).collect());
    }
}

/// Trap 25: in every exchange of the kind.
fn faults(name: &str) {
    if !has("python3") {
        return;
    }
    let stage = Stage::new(name);
    let status = |status: u16, headers: Json| json!({"kind": "status", "status": status, "headers": headers, "body": {"error": "no"}});
    let mut faults: Vec<Json> = ["before", "after", "half", "html"].iter().map(|kind| json!({"kind": kind})).collect();
    faults.extend([401, 403, 404, 408, 500, 502, 504].map(|code| status(code, json!({}))));
    faults.push(status(302, json!({"Location": "/elsewhere"})));
    faults.push(status(429, json!({"Retry-After": "1"})));
    faults.push(status(503, json!({"Retry-After": "1"})));
    let mut rows = 0;
    for (at, fault) in faults.iter().enumerate() {
        for pulls in [true, false].into_iter().filter(|pulls| !pulls || stage.example.pull.is_some()) {
            stage.plan(pulls, fault);
            stage.write(&stage.a, &format!("{at:02}{}", if pulls { "pull" } else { "push" }));
            rows += 1;
            eventually(&format!("{name}: {fault} is over"), || stage.there() == rows);
        }
    }
    for (pulls, code) in [(false, 409), (false, 413), (true, 410)] {
        if pulls && stage.example.pull.is_none() {
            continue;
        }
        stage.plan(pulls, &status(code, json!({})));
        // Two at once: a batch that is too large is halved, one row alone would wait for a
        // person.
        let both = ["x", "y"].map(|row| stage.example.insert.replace("ID", &format!("{row}{code}"))).join(";");
        stage.b.sql(&format!("BEGIN; {both}; COMMIT"));
        rows += 2;
        eventually(&format!("{name}: {code} is over"), || stage.there() == rows);
    }
    stage.settle();
}

#[test]
fn faults_in_every_exchange_of_harvest_lose_nothing_and_apply_nothing_twice() {
    faults("harvest");
}

#[test]
fn faults_in_every_exchange_of_weave_lose_nothing_and_apply_nothing_twice() {
    faults("weave");
}

#[test]
fn faults_in_every_exchange_of_rockhound_lose_nothing_and_apply_nothing_twice() {
    faults("rockhound");
}

#[test]
fn faults_in_every_exchange_of_egglogu_lose_nothing_and_apply_nothing_twice() {
    faults("egglogu");
}

#[test]
fn faults_in_every_exchange_of_insight_lose_nothing_and_apply_nothing_twice() {
    faults("insight");
}

/// What an exchange answers, the words for what is wrong with it, and the line of the
/// config to look at.
type Odd = (bool, Json, &'static str, &'static str);

const PULL: bool = true;
const PUSH: bool = false;

#[track_caller]
fn odd_answers(name: &str, answers: &[Odd]) {
    if !has("python3") {
        return;
    }
    let stage = Stage::new(name);
    stage.write(&stage.a, "first");
    stage.settle();
    for (at, (pulls, answer, words, line)) in answers.iter().enumerate() {
        stage.answers(*pulls, &vec![answer.clone(); 40]);
        stage.write(&stage.a, &format!("row{at}"));
        let told = stage.a.homing(&["sync", "--wait", "--timeout", "2s"]);
        assert_ne!(told.code, 0, "{name}, {answer}: {told:?}");
        let status = stage.a.await_status(words, |status| {
            status["reason"]["code"] == "protocol_error" && status["reason"]["text"].as_str().unwrap().contains(words)
        });
        let reason = &status["reason"];
        let said = format!("{reason}{}{}", told.out, told.err);
        assert!(!said.contains("s3cret"), "{said}");
        assert!(reason["next"].as_str().unwrap().contains(line), "{name}, {answer}: {reason}");
        stage.backend.call("forget_faults", json!([]));
    }
    stage.settle();
    assert_eq!(stage.there(), answers.len() + 1, "nothing was lost, and nothing of it was taken");
}

#[test]
fn an_answer_of_another_shape_is_named_in_watermelon() {
    let friends = |lists: Json| json!({"timestamp": 1, "changes": {"friends": lists}});
    let names = "`remote.names` under [replica.weave]";
    odd_answers(
        "weave",
        &[
            (PULL, json!({"changes": {}}), "`timestamp` should be a time and is nothing", names),
            (PULL, json!({"timestamp": "s3cret", "changes": {}}), "`timestamp` should be a time and is a text", names),
            (
                PULL,
                json!({"timestamp": 1, "changes": ["s3cret"]}),
                "`changes` should be an object of tables and is a list",
                names,
            ),
            (PULL, json!(["s3cret"]), "`timestamp` should be a time and is nothing", names),
            (
                PULL,
                friends(json!(["s3cret"])),
                "`changes.friends` should be an object of created, updated and deleted and is a list",
                names,
            ),
            (
                PULL,
                friends(json!({"created": "s3cret"})),
                "`changes.friends.created` should be a list and is a text",
                names,
            ),
            (
                PULL,
                friends(json!({"created": [{"id": "x", "name": "s3cret"}, {"id": null}]})),
                "`changes.friends.created[1].id` should be a key and is null",
                "`tables.friends.names`",
            ),
            (
                PULL,
                friends(json!({"updated": [{"id": "x", "is_dormant": "s3cret"}]})),
                "`changes.friends.updated[0].is_dormant` should be true or false and is a text",
                "`tables.friends.forms`",
            ),
            (
                PULL,
                friends(json!({"updated": ["s3cret"]})),
                "`changes.friends.updated[0]` should be a record and is a text",
                "`tables.friends.collection`",
            ),
            (
                PULL,
                friends(json!({"deleted": [null]})),
                "`changes.friends.deleted[0]` should be a key and is null",
                "`tables.friends.names`",
            ),
            (
                PULL,
                json!({"timestamp": 1, "changes": {}, "hasMore": true}),
                "`nextCursor` should be a cursor, as there is more and is nothing",
                names,
            ),
            (
                PULL,
                json!({"timestamp": 1, "changes": {}, "hasMore": true, "nextCursor": "x"}),
                "leads to a page that was read already",
                "report it",
            ),
        ],
    );
}

#[test]
fn an_answer_of_another_shape_is_named_in_pull_push() {
    let time = "2024-01-01T00:00:00Z";
    let forms = |records: Json| json!({"timestamp": time, "changes": {"forms": records}});
    let names = "`remote.names` under [replica.insight]";
    odd_answers(
        "insight",
        &[
            (PULL, json!({"changes": {}}), "`timestamp` should be a time and is nothing", names),
            (PULL, json!({"timestamp": "s3cret", "changes": {}}), "`timestamp` should be a time and is a text", names),
            (
                PULL,
                json!({"timestamp": time, "changes": []}),
                "`changes` should be an object of tables and is a list",
                names,
            ),
            (PULL, forms(json!({"s3cret": 1})), "`changes.forms` should be a list of records and is an object", names),
            (
                PULL,
                forms(json!([{"id": "x", "title": "s3cret"}, {"title": "s3cret"}])),
                "`changes.forms[1].id` should be a key and is nothing",
                "`tables.forms.names`",
            ),
            (
                PULL,
                forms(json!([{"id": "x", "active": "s3cret"}])),
                "`changes.forms[0].active` should be true or false and is a text",
                "`tables.forms.forms`",
            ),
            (
                PULL,
                forms(json!([["s3cret"]])),
                "`changes.forms[0]` should be a record and is a list",
                "`tables.forms.collection`",
            ),
            (
                PUSH,
                json!({"success": true, "conflicts": {"s3cret": 1}}),
                "`conflicts` should be a list and is an object",
                names,
            ),
            (
                PUSH,
                json!({"success": true, "conflicts": [{"table": "s3cret"}]}),
                "`conflicts[0].table` should be a table that was sent and is a text",
                names,
            ),
        ],
    );
}

#[test]
fn an_answer_of_another_shape_is_named_in_delta() {
    let time = "2024-01-01T00:00:00Z";
    let flocks = |group: Json| json!({"synced_at": time, "deltas": [group]});
    let names = "`remote.names` under [replica.egglogu]";
    odd_answers(
        "egglogu",
        &[
            (PULL, json!({"deltas": []}), "`synced_at` should be a time and is nothing", names),
            (
                PULL,
                json!({"synced_at": time, "deltas": {"s3cret": 1}}),
                "`deltas` should be a list of collections and is an object",
                names,
            ),
            (
                PULL,
                flocks(json!({"collection": "flocks"})),
                "`deltas[0]` should be a collection and its records and is an object",
                names,
            ),
            (
                PULL,
                flocks(json!({"collection": "flocks", "records": [{"id": "x"}, {"name": "s3cret"}]})),
                "`deltas[0].records[1].id` should be a key and is nothing",
                "`tables.flocks.names`",
            ),
            (PULL, flocks(json!("s3cret")), "`deltas[0]` should be a collection and its records and is a text", names),
            (PUSH, json!({"synced_at": time, "rejected": 5}), "`rejected` should be a list and is a number", names),
            (
                PUSH,
                json!({"synced_at": time, "rejected": [{"collection": "s3cret"}]}),
                "`rejected[0].collection` should be a table that was sent and is a text",
                names,
            ),
        ],
    );
}

#[test]
fn an_answer_of_another_shape_is_named_in_operations() {
    let names = "`remote.names` under [replica.rockhound]";
    odd_answers(
        "rockhound",
        &[
            (PUSH, json!({"results": {"s3cret": 1}}), "`results` should be a list of results and is an object", names),
            (PUSH, json!({"results": []}), "`results` should be a result for each operation and is a list", names),
            (
                PUSH,
                json!({"results": ["s3cret"]}),
                "`results[0].status` should be success, conflict or error and is nothing",
                names,
            ),
            (
                PUSH,
                json!({"results": [{"status": "s3cret"}]}),
                "`results[0].status` should be success, conflict or error and is a text",
                names,
            ),
            (
                PUSH,
                json!({"results": [{"status": "conflict", "server_data": "s3cret"}]}),
                "should be a record and is a text",
                "`tables.tag.collection`",
            ),
        ],
    );
}

/// Whatever else an answer says: what was asked for is taken, and a person is told.
#[test]
fn what_nobody_asked_for_is_passed_over_and_told_of() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("harvest");
    stage.write(&stage.a, "mine");
    stage.settle();
    let record = |id: &str, user: &str| json!({"id": id, "title": "t", "user_id": user, "server_revision": 1});
    let answer = |changes: Json| json!({"serverTimestamp": stage.backend.call("now", json!([])), "changes": changes, "hasMore": false});
    let noted = |words: &str| {
        stage.a.await_status(words, |status| status["notes"].to_string().contains(words));
    };

    stage.answer(
        PULL,
        &answer(json!({"spies": {"created": [{"id": "s"}], "updated": [], "deleted": []}, "series": {"created": []}})),
    );
    stage.a.homing(&["sync", "--wait"]);
    noted("collections that no table here stands for: spies");

    stage.answer(PULL, &answer(json!({"series": {"created": [record("eves", "eve"), record("adas", "ada")]}})));
    stage.a.homing(&["sync", "--wait"]);
    noted("1 records that belong to others by `user_id`; none of them was taken");
    assert_eq!(stage.ids(&stage.a), "adas,mine");

    // Numbers as text are what the column makes of them.
    stage.answer(PULL, &answer(json!({"harvests": {"created": [{"id": "h", "plant_id": 7, "stage": "drying", "wet_weight_g": "500", "stage_started_at": "2025-12-18T10:30:00Z"}]}})));
    stage.a.homing(&["sync", "--wait"]);
    assert_eq!(
        stage.a.sql("SELECT wet_weight_g + 1, typeof(wet_weight_g), typeof(plant_id) FROM harvests"),
        "501|integer|text"
    );
}

#[test]
fn a_time_that_went_back_is_told_of_and_everything_compared() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("weave");
    stage.write(&stage.a, "kept");
    stage.write(&stage.a, "gone");
    stage.settle();
    // Restored from a backup: a row is gone without a word, and its clock says another time.
    stage.backend.call("remove", json!(["friends", "gone"]));
    stage.backend.call("purge_tombstones", json!([]));
    stage.answer(PULL, &json!({"timestamp": 1, "changes": {}}));
    stage.a.sync();
    assert_eq!(stage.ids(&stage.a), "kept");
    assert!(stage.a.status()["notes"].to_string().contains("time went back"), "{}", stage.a.status());
}

/// The backend remembers nothing of this client, and tells all that it has.
#[test]
fn an_answer_that_says_replacement_takes_the_place_of_what_was_here_but_for_unsent_edits() {
    if !has("python3") {
        return;
    }
    let stage = Stage::new("weave");
    stage.write(&stage.a, "kept");
    stage.write(&stage.a, "gone");
    stage.settle();
    stage.backend.call("remove", json!(["friends", "gone"]));
    stage.backend.call("purge_tombstones", json!([]));
    let kept = json!({"id": "kept", "name": "x"});
    let answer = json!({
        "timestamp": stage.backend.call("now", json!([])), "experimentalStrategy": "replacement",
        "changes": {"friends": {"created": [], "updated": [kept], "deleted": []}},
    });
    stage.answer(PULL, &answer);
    stage.write(&stage.a, "mine");
    stage.a.sync();
    assert_eq!(stage.ids(&stage.a), "kept,mine");
    assert_eq!(stage.there(), 2);
}

/// More than was asked for, and more than is held in memory: from a file, part by part.
#[test]
fn one_answer_of_many_rows_is_taken_whole_and_compared_whole() {
    if !has("python3") {
        return;
    }
    let stage =
        Stage::prepared("weave", &[("REMOTE__NAMES", "{ limit = \"limit\" }"), ("REMOTE__COMPARE_EVERY", "1s")]);
    stage.a.sql(
        "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001)
         INSERT INTO friends(id, name) SELECT 'f' || i, 'friend' FROM n;
         INSERT INTO life_events(id, friend_id) SELECT 'e' || id, id FROM friends WHERE id LIKE 'f1%'; COMMIT",
    );
    stage.a.sync();
    // What broke off left nothing behind.
    stage.plan(PULL, &json!({"kind": "half", "device": "b"}));
    stage.b.sync();
    let count = "SELECT (SELECT count(*) FROM friends), (SELECT count(*) FROM life_events)";
    assert_eq!(stage.b.sql(count), stage.a.sql(count));
    assert!(stage.b.status()["notes"].to_string().contains("rows where 1000 were asked for"), "{}", stage.b.status());
    assert_eq!(stage.b.status()["parked"], 0);

    // Gone there without a word, among thousands that are not; and one edited here.
    stage.backend.call("remove", json!(["friends", "f7777"]));
    stage.backend.call("purge_tombstones", json!([]));
    stage.b.sql("UPDATE friends SET name = 'edited' WHERE id = 'f7778'");
    eventually("it is compared", || {
        stage.b.sync();
        stage.b.sql("SELECT count(*) FROM friends") == "10000"
    });
    assert_eq!(stage.b.sql("SELECT count(*) FROM friends WHERE id = 'f7777'"), "0");
    assert_eq!(stage.backend.rows("friends", &["name"])["f7778"]["name"], "edited");
}

/// Pages, also in a kind whose document has none.
#[test]
fn records_of_tables_come_in_pages_where_the_answer_says_that_there_is_more() {
    if !has("python3") {
        return;
    }
    for (name, records) in [
        ("insight", (|records| json!({"changes": {"forms": records}})) as fn(Json) -> Json),
        ("egglogu", |records| json!({"deltas": [{"records": records, "collection": "flocks"}]})),
    ] {
        let stage = Stage::new(name);
        let time = ["timestamp", "synced_at"][usize::from(name == "egglogu")];
        let told = stage.backend.call("now", json!([])).as_i64().unwrap();
        let pages = [0, 1, 2].map(|at| {
            let mut answer = records(json!([{"id": format!("p{at}"), "title": "t", "name": "t"}]));
            let more = json!({time: told, "hasMore": true, "nextCursor": {"page": at + 1}});
            answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            answer
        });
        stage.answers(PULL, &pages);
        stage.a.sync();
        assert_eq!(stage.ids(&stage.a), "p0,p1,p2", "{name}");
        // What travels in a query is not in the list of requests.
        let asked = stage.backend.requests();
        let went_on = asked.iter().any(|request| request[2]["cursor"] == json!({"page": 3}));
        assert!(name == "egglogu" || went_on, "{asked:?}");
    }
}

/// Offline on both devices, and both back at once.
fn offline_and_back(name: &str) {
    if !has("python3") {
        return;
    }
    let example = example(name);
    let backend = Backend::start(name, &[]);
    let address = backend.url().trim_start_matches("http://").to_owned();
    let road = Road::to(&address);
    let device = |who: &str| {
        let mut device = Device::preset(who, name, &format!("{}{}", road.url(), example.path), &token("ada"));
        device.start();
        device.sync();
        device
    };
    let stage = Stage { a: device("a"), b: device("b"), backend, example };
    stage.write(&stage.a, "before");
    stage.settle();
    road.set(Mode::Cut);
    for at in 0..120 {
        stage.write(&stage.a, &format!("a{at:03}"));
        stage.write(&stage.b, &format!("b{at:03}"));
    }
    stage.a.sql(&format!("DELETE FROM {} WHERE id = 'a007'", example.table));
    for device in [&stage.a, &stage.b] {
        device.await_state("offline");
    }
    assert_eq!(stage.there(), 1);
    road.set(Mode::Open(address));
    // Both at once, and by themselves.
    eventually("all of it arrives", || stage.there() == 240);
    stage.settle();
}

#[test]
fn two_devices_of_harvest_that_were_offline_come_back_at_once() {
    offline_and_back("harvest");
}

#[test]
fn two_devices_of_weave_that_were_offline_come_back_at_once() {
    offline_and_back("weave");
}

#[test]
fn two_devices_of_rockhound_that_were_offline_come_back_at_once() {
    offline_and_back("rockhound");
}

#[test]
fn two_devices_of_egglogu_that_were_offline_come_back_at_once() {
    offline_and_back("egglogu");
}

#[test]
fn two_devices_of_insight_that_were_offline_come_back_at_once() {
    offline_and_back("insight");
}
