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
    chart(history, paint, width) + &table.render(paint, width)
}

/// Changes a cycle, oldest first, as a line of blocks; none where there is no history to
/// speak of.
fn chart(history: &History, paint: &Paint, width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const CYCLES_MAX: usize = 60;
    let shown = CYCLES_MAX.min(width.saturating_sub(30)).min(history.cycles.len());
    let moved: Vec<u64> = history.cycles[..shown].iter().rev().map(|it| it.cycle.pushed + it.cycle.pulled).collect();
    let most = moved.iter().copied().max().unwrap_or(0);
    if shown < 3 || most == 0 {
        return String::new();
    }
    let block = |(at, count): (usize, &u64)| {
        // Small next to a large one is still seen.
        let height = (*count as f64 / most as f64 * 8.0).ceil() as usize;
        let block = if height == 0 { "·".to_owned() } else { BLOCKS[height - 1].to_string() };
        let entry = &history.cycles[shown - 1 - at];
        if entry.reason.is_some() { paint.bad(&block) } else { paint.good(&block) }
    };
    let blocks: String = moved.iter().enumerate().map(block).collect();
    format!("{blocks}  {} at most\n\n", words::count(most, "change"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use crate::model::status::{Cycle, Detail, HistoryEntry};

    #[test]
    fn more_than_a_few_cycles_have_a_chart_oldest_first() {
        let entry = |pushed| {
            let cycle = Cycle { pushed, ..Cycle::default() };
            HistoryEntry {
                replica: "notes".into(),
                at: 0,
                cause: "write".into(),
                cycle,
                detail: Detail::default(),
                reason: None,
            }
        };
        let history = |counts: &[u64]| {
            let cycles = counts.iter().rev().map(|count| entry(*count)).collect();
            History { schema: answer::HISTORY.into(), cycles }
        };
        let drawn = |counts: &[u64], width| chart(&history(counts), &Paint::plain(), width);
        assert_eq!(drawn(&[0, 1, 50, 100], usize::MAX), "·▁▄█  100 changes at most\n\n");
        assert_eq!(drawn(&[5, 1, 50, 100], 33), "▁▄█  100 changes at most\n\n");
        assert_eq!(drawn(&[1, 2], usize::MAX) + &drawn(&[0, 0, 0, 0], usize::MAX), "");
    }

    #[test]
    fn cycles_are_a_table() {
        let cycle =
            Cycle { pushed: 1200, pulled: 3, conflicts: 0, bytes_up: 34_000, bytes_down: 900, milliseconds: 240 };
        let entry = HistoryEntry {
            replica: "notes".into(),
            at: 0,
            cause: "timer".into(),
            cycle,
            detail: Detail::default(),
            reason: None,
        };
        let history = History { schema: answer::HISTORY.into(), cycles: vec![entry] };
        assert_eq!(
            render(&history, &Paint::plain(), usize::MAX, 12_000),
            "when      replica  why     sent  received  conflicts     up   down    took  outcome\n\
             12 s ago  notes    timer  1,200         3          0  34 kB  900 B  240 ms  well\n"
        );
    }
}
