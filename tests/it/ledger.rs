//! The ledger as it grows and as it ages: what is settled goes by size, oldest first, what
//! waits for a person never; and what an older Homing left in files is taken over.

use serde_json::{Value as Json, json};

use super::rig::{Device, Pair, sqlite3};

const TABLES: &str =
    "CREATE TABLE plain(id INTEGER PRIMARY KEY, body TEXT); CREATE TABLE asked(id INTEGER PRIMARY KEY, body TEXT)";
const RULES: &str =
    "[replica.notes.tables.plain]\nstrategy = 'server_wins'\n[replica.notes.tables.asked]\nstrategy = 'manual'\n";

fn ledger(device: &Device) -> Vec<Json> {
    device.json(&["conflicts", "list", "--limit", "1000"])["conflicts"].as_array().unwrap().clone()
}

/// Both edit `rows` of each table while apart; B, which comes second, has the conflicts.
fn meet(pair: &mut Pair, rows: std::ops::Range<usize>) {
    pair.b.kill();
    let edit = |who: &str| {
        let (from, to, long) = (rows.start, rows.end - 1, who.repeat(100));
        format!(
            "UPDATE plain SET body = '{long}' WHERE id BETWEEN {from} AND {to};
             UPDATE asked SET body = '{long}' WHERE id BETWEEN {from} AND {to}"
        )
    };
    pair.b.sql(&edit("b"));
    pair.a.sql(&edit("a"));
    pair.a.sync();
    pair.b.start();
    assert_eq!(pair.b.homing(&["sync", "--wait"]).code, 3, "some of it waits for a person");
}

fn begin(limits: &str) -> Pair {
    let mut pair = Pair::new(TABLES);
    for device in [&mut pair.a, &mut pair.b] {
        device.configure(&format!("{RULES}{limits}"));
    }
    let rows: Vec<String> = (1..=40).map(|id| format!("({id}, 'old')")).collect();
    let rows = rows.join(", ");
    pair.a.sql(&format!("INSERT INTO plain VALUES {rows}; INSERT INTO asked VALUES {rows}"));
    let pair = pair.start();
    pair.settle();
    pair
}

#[test]
fn what_is_settled_is_kept_to_its_size_and_what_waits_is_never_dropped() {
    let mut pair = begin("[replica.notes.limits]\nledger_bytes_max = '8KiB'\n");
    meet(&mut pair, 1..21);
    meet(&mut pair, 21..41);
    let entries = ledger(&pair.b);
    let (open, settled): (Vec<&Json>, Vec<&Json>) = entries.iter().partition(|entry| entry["settled_by"].is_null());
    assert_eq!(open.len(), 40, "all that waits for a person is there");
    assert!((2..20).contains(&settled.len()), "{} settled entries are kept of 40", settled.len());
    let bytes = pair.b.sql(
        "SELECT sum(length(local) + length(remote) + length(result)) FROM _homing_conflict
         WHERE settled_by IS NOT NULL",
    );
    assert!(bytes.parse::<u64>().unwrap() <= 8 << 10, "{bytes} bytes are kept");
    // The newest are those that are kept.
    let dropped = settled.iter().filter(|entry| entry["table"] != "plain" || entry["key"] == "[1]").count();
    assert_eq!(dropped, 0, "{settled:#?}");
    // Once a person settled it, it is as good as any other.
    for entry in &open {
        assert_eq!(pair.b.homing(&["conflicts", "resolve", &entry["id"].to_string(), "--take", "local"]).code, 0);
    }
    pair.settle();
    assert_eq!(pair.a.sql("SELECT DISTINCT substr(body, 1, 1) FROM asked"), "b");
}

#[test]
fn a_ledger_and_a_hub_of_the_first_formats_are_taken_over_and_settled() {
    let mut pair = begin("");
    meet(&mut pair, 1..3);
    // As the first formats had it.
    pair.b.stop();
    let later = ["local_device", "local_at", "remote_at", "settled_at", "before", "before_by"];
    let mut sql = "DROP VIEW homing_status; DROP VIEW homing_pending; DROP TABLE _homing_actions;\
                   CREATE VIEW homing_status AS SELECT 1; CREATE VIEW homing_pending AS SELECT 1;\
                   DROP TABLE _homing_answer;\
                   UPDATE _homing_meta SET value = 1 WHERE name = 'format';\
                   DELETE FROM _homing_meta WHERE name = 'ledger_bytes';"
        .to_owned();
    later.iter().for_each(|column| sql += &format!("ALTER TABLE _homing_conflict DROP COLUMN \"{column}\";"));
    pair.b.sql(&sql);
    pair.hub.stop();
    sqlite3(
        &pair.hub.scope("ada"),
        "UPDATE _hub_meta SET value = 1 WHERE name = 'format'; ALTER TABLE _hub_row DROP COLUMN role",
    );
    pair.hub.start_again();
    pair.b.start();
    let entries = ledger(&pair.b);
    assert_eq!(entries.len(), 4);
    for entry in &entries {
        let sides = json!([entry["local"]["body"], entry["remote"]["body"]]);
        assert_eq!(sides, json!(["b".repeat(100), "a".repeat(100)]), "{entry:#}");
        assert_eq!(json!([entry["local_at"], entry["local_device"]]), json!([null, ""]), "{entry:#}");
        let id = entry["id"].to_string();
        let shown = pair.b.homing(&["conflicts", "show", &id]);
        assert_eq!(shown.code, 0, "{shown:?}");
        let told = match entry["settled_by"].is_null() {
            true => pair.b.homing(&["conflicts", "resolve", &id, "--take", "local"]),
            false => pair.b.homing(&["conflicts", "undo", &id]),
        };
        assert_eq!(told.code, 0, "{told:?}");
    }
    pair.settle();
    assert_eq!(pair.a.sql("SELECT count(*) FROM plain WHERE body LIKE 'b%'"), "2");
    assert_eq!(pair.a.sql("SELECT count(*) FROM asked WHERE body LIKE 'b%'"), "2");
    assert_eq!(pair.b.sql("SELECT value FROM _homing_meta WHERE name = 'format'"), "4");
    meet(&mut pair, 5..6);
    assert_eq!(ledger(&pair.b).len(), 6);
}
