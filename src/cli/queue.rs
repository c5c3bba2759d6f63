//! `homing queue`: what is pending or set aside, and what to do about it.

use clap::Subcommand;

use super::context::{Context, Paint, now};
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use super::words;
use crate::ipc::answer::{Count, Queue};
use crate::ipc::method;
use crate::model::settings::Priority;
use crate::model::status::QueueEntry;
use crate::model::text::printable;
use crate::model::{Key, Value};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One line a change, in the order they are kept.
    List {
        /// Only this replica.
        name: Option<String>,
        /// Only this table.
        #[arg(long)]
        table: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// All about one row's change.
    Show(Row),
    /// Send again what was set aside: one row's change, a table's, or all.
    Retry {
        /// The replica.
        name: String,
        table: Option<String>,
        /// A JSON array, or one bare value.
        key: Option<String>,
        /// Everything that is set aside.
        #[arg(long, conflicts_with = "table")]
        all: bool,
    },
    /// Give up one row's unsent change and take the remote's version.
    Discard(Row),
}

#[derive(clap::Args)]
struct Row {
    /// The replica.
    name: String,
    table: String,
    /// A JSON array, or one bare value.
    key: String,
}

/// How many changes a command was about.
const COUNT: &str = "homing.count/1";

/// Enough to find one row among the changes of its table.
const SHOW_MAX: u64 = 10_000;

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        Command::List { name, table, limit } => {
            let request = method::QueueList { replica: name, table, limit: Some(limit) };
            let queue: Queue = context.connect()?.call(request)?;
            context.show(&queue, |queue| render(queue, &context.paint, context.width, now()))?;
        }
        Command::Show(row) => show(row, context)?,
        Command::Retry { name, table, key, all } => {
            if table.is_none() && !all {
                return Err(Failure::new(
                    Exit::Usage,
                    "which changes to send again is not said",
                    "name a table, a table and a key, or say --all",
                ));
            }
            let count: Count = context.connect()?.call(method::QueueRetry { replica: name, table, key, all })?;
            context.show_as(COUNT, &count, |count| {
                format!("{} will be sent again\n", words::count(count.changes, "change"))
            })?;
        }
        Command::Discard(row) => {
            let request = method::QueueDiscard { replica: row.name, table: row.table, key: row.key };
            let count: Count = context.connect()?.call(request)?;
            context.show_as(COUNT, &count, |count| {
                format!("{} given up; what it said is in the ledger\n", words::count(count.changes, "change"))
            })?;
        }
    }
    Ok(Exit::Done)
}

fn show(row: Row, context: &Context) -> Result<(), Failure> {
    // A bare value may be meant as text: only the table knows.
    let typed = [Key::parse(&row.key), Key::from(vec![Value::Text(row.key.clone())])].map(|key| key.to_text());
    let request =
        method::QueueList { replica: Some(row.name.clone()), table: Some(row.table.clone()), limit: Some(SHOW_MAX) };
    let mut queue: Queue = context.connect()?.call(request)?;
    queue.changes.retain(|change| typed.contains(&change.key));
    queue.more = false;
    let Some(change) = queue.changes.first() else {
        return Err(Failure::new(
            Exit::Failed,
            format!("nothing is queued for {} {}", printable(&row.table), printable(&row.key)),
            format!("`homing explain {} {} '{}'` tells the life of the row", row.name, row.table, row.key),
        ));
    };
    context.show(&queue, |_| details(change, &context.paint, now()))
}

fn render(queue: &Queue, paint: &Paint, width: usize, now: i64) -> String {
    if queue.changes.is_empty() {
        return "nothing is queued\n".to_owned();
    }
    let mut table =
        Table::new(&["replica", "table", "key", "operation", "state", "priority", ">tries", "next try", "reason"]);
    for change in &queue.changes {
        table.row(vec![
            change.replica.clone(),
            change.table.clone(),
            change.key.clone(),
            change.action.clone().unwrap_or_else(|| change.operation.clone()),
            change.state.replace('_', " "),
            Priority(change.priority).word().to_owned(),
            change.tries.to_string(),
            change.next_try_at.map_or_else(|| "–".to_owned(), |then| words::until(then, now)),
            change.reason.as_ref().map_or_else(String::new, |reason| reason.text.clone()),
        ]);
    }
    let mut out = table.render(paint, width);
    if queue.more {
        out.push_str("there are more; see them with a larger --limit\n");
    }
    out
}

fn details(change: &QueueEntry, paint: &Paint, now: i64) -> String {
    let mut out = format!(
        "{} of {} {} in {}\n",
        change
            .action
            .as_deref()
            .map_or_else(|| printable(&change.operation), |name| format!("action {}", printable(name))),
        paint.strong(&printable(&change.table)),
        paint.strong(&printable(&change.key)),
        printable(&change.replica),
    );
    let mut line =
        |label: &str, text: String| out.push_str(&format!("  {} {text}\n", paint.dim(&format!("{label:9}"))));
    line("state", change.state.replace('_', " "));
    line("priority", Priority(change.priority).word().to_owned());
    if !change.columns.is_empty() {
        line("columns", printable(&change.columns.join(", ")));
    }
    if let Some(since) = change.since {
        line("written", words::ago(since, now));
    }
    line("tries", change.tries.to_string());
    if let Some(then) = change.next_try_at {
        line("next try", words::until(then, now));
    }
    if let Some(reason) = &change.reason {
        line("reason", format!("{} ({})", printable(&reason.text), reason.code.word()));
        line("next", printable(&reason.next));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use crate::model::{Reason, ReasonCode};

    fn change() -> QueueEntry {
        QueueEntry {
            replica: "notes".into(),
            table: "tasks".into(),
            key: r#"["7"]"#.into(),
            operation: "update".into(),
            columns: vec!["title".into()],
            state: "set_aside".into(),
            priority: 1,
            tries: 5,
            next_try_at: None,
            reason: Some(Reason {
                code: ReasonCode::RowRefused,
                text: "the hub refuses it".into(),
                next: "mend the row".into(),
            }),
            since: Some(0),
            action: None,
        }
    }

    #[test]
    fn a_queue_is_a_table() {
        let queue = Queue { schema: answer::QUEUE.into(), changes: vec![change()], more: true };
        assert_eq!(
            render(&queue, &Paint::plain(), usize::MAX, 0),
            "replica  table  key    operation  state      priority  tries  next try  reason\n\
             notes    tasks  [\"7\"]  update     set aside  high          5  –         the hub refuses it\n\
             there are more; see them with a larger --limit\n"
        );
        let narrow = render(&queue, &Paint::plain(), 60, 0);
        assert!(narrow.lines().take(2).all(|line| super::super::table::width(line) <= 70), "{narrow}");
    }

    #[test]
    fn one_change_is_told_in_full() {
        assert_eq!(
            details(&change(), &Paint::plain(), 60_000),
            "update of tasks [\"7\"] in notes\n  state     set aside\n  priority  high\n  columns   title\n  \
             written   1 min ago\n  tries     5\n  reason    the hub refuses it (row_refused)\n  next      mend the row\n"
        );
    }
}
