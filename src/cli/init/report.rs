//! What `init` found, for people and as `homing.init/1`.

use std::path::Path;

use serde_json::json;

use super::survey::Survey;
use super::template::Plan;
use crate::cli::context::Paint;
use crate::cli::table::{Table, wrap};
use crate::cli::words;
use crate::model::text::printable;

pub fn render(plan: &Plan, survey: &Survey, written: Option<&Path>, paint: &Paint, width: usize) -> String {
    let syncing = words::count(survey.tables.len() as u64, "table");
    let mut out = format!("{}: {syncing} to sync\n", paint.strong(&printable(plan.database)));
    if !survey.tables.is_empty() {
        let mut table = Table::new(&[">", "table", "key", ">rows", "after"]);
        for (at, one) in survey.tables.iter().enumerate() {
            table.row(vec![
                (at + 1).to_string(),
                one.table.name.clone(),
                one.table.key.join(", "),
                words::thousands(one.rows),
                one.after.join(", "),
            ]);
        }
        out.push_str(&format!("\n{}", table.render(paint, width)));
    }
    if !survey.refused.is_empty() {
        out.push_str(&format!("\n{}\n", paint.bad("cannot sync")));
        for (name, why) in &survey.refused {
            out.push_str(&wrap(&format!("{}: {}", printable(name), printable(why)), 2, width));
        }
    }
    if !survey.left_out.is_empty() {
        let named: Vec<String> =
            survey.left_out.iter().map(|(name, why)| format!("{} ({why})", printable(name))).collect();
        out.push_str(&format!("\n{}", wrap(&format!("left out: {}", named.join(", ")), 0, width)));
    }
    if !survey.warnings.is_empty() {
        out.push_str(&format!("\n{}\n", paint.waiting("take care")));
    }
    for warning in &survey.warnings {
        let text = format!("{}: {}", printable(&warning.tables.join(", ")), printable(&warning.text));
        out.push_str(&wrap(&text, 2, width));
        out.push_str(&wrap(&format!("advice: {}", warning.advice), 4, width));
    }
    if plan.hub.starts_with("http://") && !is_here(plan.hub) {
        out.push_str("\nthe hub is reached over plain HTTP: Homing sends no token that way unless told to\n");
    }
    if let Some(path) = written {
        let shown = path.display();
        out.push_str(&format!("\nwrote {shown}; next: `homing agent --config {shown}`\n"));
        if plan.token_file.is_none() {
            out.push_str("the hub's token is not set yet: put it into a file, and its name as token_file there\n");
        }
    }
    out
}

pub fn document(plan: &Plan, survey: &Survey, config: &str, written: Option<&Path>) -> String {
    let tables = survey
        .tables
        .iter()
        .map(|one| json!({ "name": one.table.name, "key": one.table.key, "rows": one.rows, "after": one.after }));
    let named = |name: &str, why: &str| json!({ "name": name, "why": why });
    let document = json!({
        "schema": "homing.init/1",
        "replica": plan.name,
        "database": plan.database,
        "tables": tables.collect::<Vec<_>>(),
        "refused": survey.refused.iter().map(|(name, why)| named(name, why)).collect::<Vec<_>>(),
        "left_out": survey.left_out.iter().map(|(name, why)| named(name, why)).collect::<Vec<_>>(),
        "warnings": survey.warnings,
        "written": written,
        "config": config,
    });
    format!("{document:#}\n")
}

/// Whether a URL names this machine.
fn is_here(url: &str) -> bool {
    let rest = url.trim_start_matches("http://");
    ["127.", "localhost", "[::1]"].iter().any(|host| rest.starts_with(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::survey::survey;

    #[test]
    fn a_report_names_tables_and_what_cannot_sync() {
        let mut db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE tasks(id TEXT PRIMARY KEY, project REFERENCES projects);
             CREATE TABLE projects(id INTEGER PRIMARY KEY); CREATE TABLE scratch(x);
             CREATE VIRTUAL TABLE search USING fts5(x);",
        )
        .unwrap();
        let plan = Plan { name: "n", database: "/n.db", hub: "http://10.0.0.1", token_file: None };
        let text =
            render(&plan, &survey(&mut db).unwrap(), Some(Path::new("homing.toml")), &Paint::plain(), usize::MAX);
        assert!(text.starts_with(
            "/n.db: 2 tables to sync\n\n   table     key  rows  after\n1  projects  id      0\n2  tasks     id      0  projects\n"
        ), "{text}");
        for part in [
            "\ncannot sync\n  scratch: it has no primary key",
            "\nleft out: search (virtual table), search_",
            "\ntake care\n  projects: SQLite numbers the rows",
            "\nthe hub is reached over plain HTTP",
            "\nwrote homing.toml; next: `homing agent --config homing.toml`\n",
            "token is not set yet",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
