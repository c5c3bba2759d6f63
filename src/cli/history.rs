//! `homing history`: past cycles, newest first.

use super::context::{Context, Paint, now};
use super::exit::Exit;
use super::failure::Failure;
use super::table::{Table, wrap};
use super::words;
use crate::ipc::answer::History;
use crate::ipc::method;
use crate::model::status::HistoryEntry;
use crate::model::text::printable;

/// Terminals from here on have room for what a transfer weighed, and for conflicts.
const WIDE: usize = 100;
const MEDIUM: usize = 60;

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
    let columns = columns(history, width);
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut table = Table::new(&headings);
    for entry in &history.cycles {
        table.row(columns.iter().map(|(_, cell)| cell(entry, now)).collect());
    }
    let text = chart(history, paint, width) + &table.render(paint, width);
    if width == usize::MAX { text } else { with_reasons(&text, history, paint, width) }
}

type Cell = fn(&HistoryEntry, i64) -> String;

/// What fits. Whoever reads a file gets everything, on one line; on a terminal the reasons
/// stand below their cycles.
fn columns(history: &History, width: usize) -> Vec<(&'static str, Cell)> {
    let several = history.cycles.iter().any(|entry| entry.replica != history.cycles[0].replica);
    let all: [(&'static str, bool, Cell); 10] = [
        ("when", true, |entry, now| words::moment(entry.at, now)),
        ("replica", several || width >= WIDE, |entry, _| entry.replica.clone()),
        ("why", true, |entry, _| entry.cause.replace('_', " ")),
        (">sent", true, |entry, _| words::thousands(entry.cycle.pushed)),
        (">received", true, |entry, _| words::thousands(entry.cycle.pulled)),
        (">conflicts", width >= MEDIUM, |entry, _| words::thousands(entry.cycle.conflicts)),
        (">up", width >= WIDE, |entry, _| words::size(entry.cycle.bytes_up)),
        (">down", width >= WIDE, |entry, _| words::size(entry.cycle.bytes_down)),
        (">took", width >= MEDIUM, |entry, _| words::span(entry.cycle.milliseconds as i64)),
        if width == usize::MAX { ("outcome", true, outcome) } else { ("", true, mark) },
    ];
    all.into_iter().filter(|(_, fits, _)| *fits).map(|(heading, _, cell)| (heading, cell)).collect()
}

fn outcome(entry: &HistoryEntry, _: i64) -> String {
    entry.reason.as_ref().map_or_else(|| "well".to_owned(), |reason| reason.text.clone())
}

fn mark(entry: &HistoryEntry, _: i64) -> String {
    if entry.reason.is_some() { "✗" } else { "✓" }.to_owned()
}

/// Puts the reason of each cycle that failed below its line.
fn with_reasons(text: &str, history: &History, paint: &Paint, width: usize) -> String {
    let mut failed = history.cycles.iter();
    let mut out = String::new();
    for line in text.lines() {
        let Some(plain) = line.strip_suffix(['✓', '✗']) else {
            out.push_str(&format!("{line}\n"));
            continue;
        };
        match failed.next().and_then(|entry| entry.reason.as_ref()) {
            None => out.push_str(&format!("{plain}{}\n", paint.good("✓"))),
            Some(reason) => {
                out.push_str(&format!("{plain}{}\n", paint.bad("✗")));
                out.push_str(&wrap(&printable(&reason.text), 4, width));
            }
        }
    }
    out
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
    use crate::model::{Reason, ReasonCode};

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

    #[test]
    fn on_a_narrow_terminal_a_reason_is_never_cut() {
        let entry = |at, reason: Option<&str>| HistoryEntry {
            replica: "notes".into(),
            at,
            cause: "write".into(),
            cycle: Cycle { pushed: 1200, milliseconds: 240, ..Cycle::default() },
            detail: Detail::default(),
            reason: reason.map(|text| Reason {
                code: ReasonCode::OfflineHubDown,
                text: text.into(),
                next: String::new(),
            }),
        };
        let why = "nobody takes connections at hub.example.org:4747: refused, and so it has been for a while";
        let history =
            History { schema: answer::HISTORY.into(), cycles: vec![entry(11_000, Some(why)), entry(0, None)] };
        let told = |width| render(&history, &Paint::plain(), width, 12_000);
        assert_eq!(
            told(80),
            "when      why     sent  received  conflicts    took\n\
             1 s ago   write  1,200         0          0  240 ms  ✗\n    \
                 nobody takes connections at hub.example.org:4747: refused, and so it has\n    \
                 been for a while\n\
             12 s ago  write  1,200         0          0  240 ms  ✓\n"
        );
        for width in [40, 60, 80, 100, 160] {
            let text = told(width);
            assert!(text.lines().all(|line| super::super::table::width(line) <= width), "{text}");
            assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(why), "{text}");
        }
        assert!(told(usize::MAX).lines().any(|line| line.ends_with(why)));
    }
}
