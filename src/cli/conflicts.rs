//! `homing conflicts`: the ledger, one conflict by column, and settling one.
//!
//! `show` draws one side by side.

mod diff;
mod show;

use std::collections::BTreeMap;

use clap::{Subcommand, ValueEnum};
use serde_json::Value as Json;

use self::show::sides;
use super::context::{Context, Paint, now};
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use super::words;
use crate::ipc::answer::Conflicts;
use crate::ipc::{ClientError, Request, method};
use crate::model::ReasonCode;
use crate::model::status::ConflictEntry;
use crate::model::text::printable;

/// One entry of `homing.conflicts/1` as a document of its own.
const CONFLICT: &str = "homing.conflict/1";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The ledger, newest first.
    List {
        /// Only this replica.
        name: Option<String>,
        /// Only what waits for a person.
        #[arg(long)]
        open: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// One conflict, column by column.
    Show {
        id: i64,
        /// The replica, where several have a conflict of this number.
        #[arg(long, value_name = "NAME")]
        replica: Option<String>,
    },
    /// Settle a conflict.
    Resolve {
        id: i64,
        #[arg(long, value_name = "NAME")]
        replica: Option<String>,
        /// Which version to keep: this device's, the remote's, or what each alone changed.
        #[arg(long, visible_alias = "keep", required_unless_present_any = ["set", "column"])]
        take: Option<Take>,
        /// One column from one side.
        #[arg(long, value_name = "COLUMN=SIDE", value_parser = column_side)]
        column: Vec<(String, method::Side)>,
        /// A column's value, as JSON or as plain text.
        #[arg(long, value_name = "COLUMN=VALUE", value_parser = column_value)]
        set: Vec<(String, Json)>,
        /// Also when the row was changed since the conflict.
        #[arg(long)]
        anyway: bool,
    },
    /// Take a settled conflict back: what lost stands again, on all devices.
    Undo {
        id: i64,
        #[arg(long, value_name = "NAME")]
        replica: Option<String>,
        /// Also when the row was changed since.
        #[arg(long)]
        anyway: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Take {
    #[value(alias = "mine")]
    Local,
    #[value(alias = "theirs")]
    Remote,
    Merged,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        Command::List { name, open, limit } => {
            let request = method::ConflictsList { replica: name, open: open.then_some(true), limit: Some(limit) };
            let conflicts: Conflicts = context.connect()?.call(request)?;
            context.show(&conflicts, |conflicts| render(conflicts, &context.paint, context.width, now()))?;
        }
        Command::Show { id, replica } => {
            let conflict: ConflictEntry = context.connect()?.call(method::ConflictsGet { id, replica })?;
            context.show_as(CONFLICT, &conflict, |conflict| sides(conflict, &context.paint, context.width, now()))?;
        }
        Command::Resolve { id, replica, take, column, set, anyway } => {
            let take = take.map(|take| match take {
                Take::Local => method::Side::Local,
                Take::Remote => method::Side::Remote,
                Take::Merged => method::Side::Merged,
            });
            let set = (!set.is_empty()).then(|| set.into_iter().collect::<BTreeMap<_, _>>());
            let columns = (!column.is_empty()).then(|| column.into_iter().collect::<BTreeMap<_, _>>());
            settle(method::ConflictsResolve { id, replica, take, columns, set, force: anyway }.into(), context)?;
        }
        Command::Undo { id, replica, anyway } => {
            settle(method::ConflictsUndo { id, replica, force: anyway }.into(), context)?;
        }
    }
    Ok(Exit::Done)
}

fn settle(request: Request, context: &Context) -> Result<(), Failure> {
    match context.connect()?.call::<ConflictEntry>(request) {
        Ok(conflict) => {
            context.show_as(CONFLICT, &conflict, |conflict| sides(conflict, &context.paint, context.width, now()))
        }
        // Not a matter of permissions: this agent cannot do it.
        Err(ClientError::Refused(error)) if error.reason == ReasonCode::NotAllowed => {
            let failure = Failure::from(ClientError::Refused(error));
            Err(Failure { exit: Exit::Failed, ..failure }.kept("every side of the conflict is in the ledger"))
        }
        Err(error) => Err(error.into()),
    }
}

fn column_side(typed: &str) -> Result<(String, method::Side), String> {
    let (column, side) = typed.split_once('=').ok_or("expected COLUMN=SIDE")?;
    let side = match side {
        "local" | "mine" => method::Side::Local,
        "remote" | "theirs" => method::Side::Remote,
        _ => return Err("the side is local or remote".to_owned()),
    };
    Ok((column.to_owned(), side))
}

fn column_value(typed: &str) -> Result<(String, Json), String> {
    let (column, value) = typed.split_once('=').ok_or("expected COLUMN=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Json::String(value.to_owned()));
    Ok((column.to_owned(), value))
}

fn render(conflicts: &Conflicts, paint: &Paint, width: usize, now: i64) -> String {
    if conflicts.conflicts.is_empty() {
        return "no conflicts\n".to_owned();
    }
    let mut table = Table::new(&[">id", "replica", "table", "key", "here / there", "settled by", "when"]);
    for conflict in &conflicts.conflicts {
        table.row(vec![
            conflict.id.to_string(),
            conflict.replica.clone(),
            conflict.table.clone(),
            conflict.key.clone(),
            kind_in_short(&conflict.kind).to_owned(),
            match conflict.settled_by.as_deref() {
                Some("rule") => printable(&conflict.strategy),
                Some("person") => "a person".to_owned(),
                _ => "waits for you".to_owned(),
            },
            words::moment(conflict.at, now),
        ]);
    }
    let mut out = table.render(paint, width);
    if conflicts.more {
        out.push_str("there are more; see them with a larger --limit\n");
    }
    out
}

fn kind_words(kind: &str) -> &str {
    match kind {
        "update_update" => "changed on both sides",
        "update_delete" => "changed here, deleted there",
        "delete_update" => "deleted here, changed there",
        "insert_insert" => "made on both sides",
        "key_change" => "the key was changed",
        "unique" => "a value that must be unique is taken",
        "foreign_key" => "refers to a row that is gone",
        other => other,
    }
}

/// For a line among others.
fn kind_in_short(kind: &str) -> &str {
    match kind {
        "update_update" => "changed / changed",
        "update_delete" => "changed / deleted",
        "delete_update" => "deleted / changed",
        "insert_insert" => "made / made",
        "key_change" => "key changed",
        "unique" => "value taken",
        "foreign_key" => "parent gone",
        other => other,
    }
}

fn settled_words(conflict: &ConflictEntry) -> String {
    match conflict.settled_by.as_deref() {
        Some("rule") => format!("settled by {}", printable(&conflict.strategy)),
        Some("person") => "settled by a person".to_owned(),
        _ => "waits for you".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use serde_json::json;

    pub(super) fn conflict() -> ConflictEntry {
        ConflictEntry {
            id: 12,
            replica: "notes".into(),
            table: "tasks".into(),
            key: r#"["7"]"#.into(),
            kind: "update_update".into(),
            strategy: "latest_timestamp".into(),
            base: Some(json!({"id": "7", "title": "Buy milk", "done": 0})),
            local: Some(json!({"id": "7", "title": "Buy bread", "done": 0})),
            remote: Some(json!({"id": "7", "title": "Buy eggs", "done": 1})),
            result: Some(json!({"id": "7", "title": "Buy eggs", "done": 1})),
            settled_by: Some("rule".into()),
            at: 0,
            remote_device: "ada-phone".into(),
            remote_at: None,
            local_device: String::new(),
            local_at: None,
            settled_at: None,
            note: String::new(),
        }
    }

    #[test]
    fn the_ledger_is_a_table() {
        let ledger = Conflicts { schema: answer::CONFLICTS.into(), conflicts: vec![conflict()], more: false };
        let text = render(&ledger, &Paint::plain(), usize::MAX, 180_000);
        assert_eq!(
            text.lines().nth(1),
            Some("12  notes    tasks  [\"7\"]  changed / changed  latest_timestamp  3 min ago")
        );
    }

    #[test]
    fn a_typed_value_is_json_or_text() {
        assert_eq!(column_value("done=1"), Ok(("done".into(), json!(1))));
        assert_eq!(column_value("title=a=b"), Ok(("title".into(), json!("a=b"))));
        assert!(column_value("title").is_err());
    }
}
