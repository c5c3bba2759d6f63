//! `homing history`: past cycles, newest first.

use super::context::{Context, Paint, now};
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use super::words;
use crate::ipc::answer::History;
use crate::ipc::method;

#[derive(clap::Args)]
pub struct Args {
    /// Only this replica.
    name: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: u64,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let request = method::HistoryList { replica: args.name, limit: Some(args.limit) };
    let history: History = context.connect()?.call(request)?;
    context.show(&history, |history| render(history, &context.paint, context.width, now()))?;
    Ok(Exit::Done)
}

fn render(history: &History, paint: &Paint, width: usize, now: i64) -> String {
    if history.cycles.is_empty() {
        return "no cycle has run yet\n".to_owned();
    }
    let mut table =
        Table::new(&["when", "replica", "why", ">sent", ">received", ">conflicts", ">up", ">down", ">took", "outcome"]);
    for entry in &history.cycles {
        let cycle = &entry.cycle;
        table.row(vec![
            words::moment(entry.at, now),
            entry.replica.clone(),
            entry.cause.replace('_', " "),
            words::thousands(cycle.pushed),
            words::thousands(cycle.pulled),
            words::thousands(cycle.conflicts),
            words::size(cycle.bytes_up),
            words::size(cycle.bytes_down),
            words::span(cycle.milliseconds as i64),
            entry.reason.as_ref().map_or_else(|| "well".to_owned(), |reason| reason.text.clone()),
        ]);
    }
    table.render(paint, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use crate::model::status::{Cycle, HistoryEntry};

    #[test]
    fn cycles_are_a_table() {
        let cycle =
            Cycle { pushed: 1200, pulled: 3, conflicts: 0, bytes_up: 34_000, bytes_down: 900, milliseconds: 240 };
        let entry = HistoryEntry { replica: "notes".into(), at: 0, cause: "timer".into(), cycle, reason: None };
        let history = History { schema: answer::HISTORY.into(), cycles: vec![entry] };
        assert_eq!(
            render(&history, &Paint::plain(), usize::MAX, 12_000),
            "when      replica  why     sent  received  conflicts     up   down    took  outcome\n\
             12 s ago  notes    timer  1,200         3          0  34 kB  900 B  240 ms  well\n"
        );
    }
}
