//! Draws the scene: a fixed order of panels, each with as many lines as the screen has to
//! give. Below 100 columns what stands side by side goes one under the other.
//!
//! A mark says with its shape what it says with its colour; without colour nothing is lost.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, Widget};

use super::scene::{Scene, Tone};
use crate::cli::table::{self, cut};
use crate::cli::words;
use crate::model::status::{Progress, ReplicaStatus, State};
use crate::model::text::printable;

/// From here on two lists fit side by side.
const WIDE: u16 = 100;
/// Below this only what matters most is told.
const NARROW: u16 = 60;

pub fn draw(scene: &Scene, area: Rect, buffer: &mut Buffer, color: bool, now: i64) {
    let brush = Brush { color };
    let wide = area.width >= WIDE;
    let replicas = scene.status.replicas.len().clamp(1, usize::from(area.height / 4).max(1)) as u16 + 3;
    let [head, list, graph, waits, log] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(replicas),
        Constraint::Length(if area.height >= 30 { 8 } else { 4 }),
        Constraint::Fill(if wide { 1 } else { 2 }),
        Constraint::Fill(1),
    ])
    .areas(area);
    header(scene, &brush, now, area.width).render(head, buffer);
    table(scene, &brush, now, area.width).render(list, buffer);
    throughput(scene, &brush, now, graph, buffer);
    let halves = match wide {
        true => Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]),
        // A list with little in it leaves its lines to the other.
        false => Layout::vertical([
            Constraint::Fill(1),
            Constraint::Length((scene.conflicts.len() as u16 + 1).min(waits.height / 2)),
        ]),
    };
    let [queue, conflicts] = halves.areas(waits);
    waiting(scene, &brush, now, queue.width).render(queue, buffer);
    open_conflicts(scene, &brush, now, conflicts.width).render(conflicts, buffer);
    happened(scene, &brush, now, log.width).render(log, buffer);
}

fn header<'a>(scene: &Scene, brush: &Brush, now: i64, width: u16) -> Paragraph<'a> {
    let count = words::count(scene.status.replicas.len() as u64, "replica");
    let troubled = scene.status.replicas.iter().filter(|replica| is_troubled(replica)).count();
    let mut spans = vec![
        Span::styled("homing ", brush.strong()),
        Span::raw(if width < NARROW { count } else { format!("{} · {count}", scene.status.version) }),
        match troubled {
            0 => Span::styled(" · all well", brush.good()),
            some => Span::styled(format!(" · {some} not in step"), brush.bad()),
        },
    ];
    let keys = if width >= WIDE { "   q quit · s sync now · w window" } else { "  q quit" };
    if width >= NARROW {
        spans.push(Span::styled(format!("  {}{keys}", words::clock(now)), brush.dim()));
    }
    Paragraph::new(Text::from(spans))
}

fn table<'a>(scene: &Scene, brush: &Brush, now: i64, width: u16) -> Table<'a> {
    let (wide, narrow) = (width >= WIDE, width < NARROW);
    let longest = scene.status.replicas.iter().map(|replica| table::width(&printable(&replica.name))).max();
    let name = longest.unwrap_or(0).clamp("replica".len(), if narrow { 12 } else { 20 }) as u16;
    let mut head = vec!["", "replica", "state", "send"];
    let mut fixed = vec![1, name, 7];
    if !narrow {
        head.extend(["aside", "conf"]);
        fixed.extend([5, 4]);
    }
    head.push("synced");
    fixed.push(10);
    if wide {
        head.extend(["answers in", "last cycle"]);
        fixed.extend([10, 24]);
    }
    // Two borders, and a space between columns; the state has what is left.
    let left = width.saturating_sub(2 + fixed.iter().sum::<u16>() + fixed.len() as u16);
    fixed.insert(2, left);
    let widths = fixed.into_iter().map(Constraint::Length);
    let rows = scene.status.replicas.iter().map(|replica| {
        let mut cells = vec![
            Cell::from(Span::styled(mark(replica.state), brush.of_state(replica.state))),
            Cell::from(Span::styled(cut(&printable(&replica.name), usize::from(name)), brush.strong())),
            Cell::from(Span::styled(cut(&state(replica), usize::from(left)), brush.of_state(replica.state))),
            number(replica.pending, brush.waiting()),
        ];
        if !narrow {
            cells.extend([number(replica.set_aside, brush.bad()), number(replica.conflicts, brush.bad())]);
        }
        cells.push(Cell::from(replica.last_sync_at.map_or("never".to_owned(), |then| words::ago(then, now))));
        if wide {
            let latency = replica.link.latency_ms.map_or(String::new(), |millis| words::span(millis as i64));
            let cycle = replica.last_cycle.as_ref().map_or(String::new(), |cycle| {
                format!("{} up, {} down", words::size(cycle.bytes_up), words::size(cycle.bytes_down))
            });
            cells.extend([Cell::from(latency), Cell::from(cycle)]);
        }
        Row::new(cells)
    });
    Table::new(rows, widths).header(Row::new(head).style(brush.dim())).block(panel("replicas", brush))
}

fn is_troubled(replica: &ReplicaStatus) -> bool {
    replica.reason.as_ref().is_some_and(|reason| !reason.code.is_saving())
}

fn number<'a>(count: u64, style: Style) -> Cell<'a> {
    match count {
        0 => Cell::from("0"),
        count => Cell::from(Span::styled(words::thousands(count), style)),
    }
}

fn throughput(scene: &Scene, brush: &Brush, now: i64, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width.saturating_sub(2));
    let (sent, received) = scene.throughput(columns, now);
    let sum = |counts: &[u64]| words::thousands(counts.iter().sum());
    let what = if area.width < NARROW { "" } else { "changes, " };
    let heading = format!("{what}last {}: {} sent, {} received", scene.window(), sum(&sent), sum(&received));
    let block = panel(&heading, brush);
    let inner = block.inner(area);
    block.render(area, buffer);
    let [up, down] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(inner);
    for (counts, area, style) in [(sent, up, brush.good()), (received, down, brush.busy())] {
        // Small next to a large one is still seen.
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let floor = most.div_ceil(u64::from(area.height.max(1)) * 8);
        let seen = counts.iter().map(|count| if *count > 0 { (*count).max(floor) } else { 0 });
        Sparkline::default().data(seen).max(most).style(style).render(area, buffer);
    }
}

fn waiting<'a>(scene: &Scene, brush: &Brush, now: i64, width: u16) -> Table<'a> {
    // Which row, how it stands, since when; and why, where there is room.
    let room = usize::from(width.saturating_sub(2 + 18 + 10 + 3));
    let (row, reason) = if width < NARROW { (usize::from(width) - 21, 0) } else { (room * 2 / 5, room - room * 2 / 5) };
    let rows = scene.queue.iter().map(|change| {
        let style = if change.state == "set_aside" { brush.bad() } else { Style::new() };
        let why = change.reason.as_ref().map_or(String::new(), |reason| printable(&reason.text));
        let since = change.since.map_or(String::new(), |then| words::ago(then, now));
        Row::new(vec![
            Cell::from(cut(&printable(&format!("{} {}", change.table, change.key)), row)),
            Cell::from(Span::styled(change.state.replace('_', " "), style)),
            Cell::from(since),
            Cell::from(cut(&why, reason)),
        ])
    });
    let since = if width < NARROW { 0 } else { 10 };
    let widths = [row as u16, 18, since, reason as u16].map(Constraint::Length);
    Table::new(rows, widths).block(panel(&format!("queue ({})", counted(scene.queue.len())), brush))
}

fn open_conflicts<'a>(scene: &Scene, brush: &Brush, now: i64, width: u16) -> Table<'a> {
    let row = usize::from(width.saturating_sub(2 + 5 + 13 + 10 + 3));
    let rows = scene.conflicts.iter().map(|conflict| {
        Row::new(vec![
            Cell::from(Span::styled(conflict.id.to_string(), brush.bad())),
            Cell::from(cut(&printable(&format!("{} {}", conflict.table, conflict.key)), row)),
            Cell::from(conflict.kind.replace('_', "/")),
            Cell::from(words::ago(conflict.at, now)),
        ])
    });
    let widths = [Constraint::Length(5), Constraint::Fill(1), Constraint::Length(13), Constraint::Length(10)];
    Table::new(rows, widths).block(panel(&format!("conflicts for you ({})", counted(scene.conflicts.len())), brush))
}

fn happened<'a>(scene: &Scene, brush: &Brush, now: i64, width: u16) -> Paragraph<'a> {
    let names = scene.status.replicas.iter().map(|replica| table::width(&printable(&replica.name)));
    let longest = if scene.status.replicas.len() > 1 { names.max().unwrap_or(0).min(20) } else { 0 };
    let left = usize::from(width).saturating_sub(2 + 12 + if longest > 0 { longest + 2 } else { 0 });
    let lines = scene.log.iter().map(|line| {
        let style = match line.tone {
            Tone::Plain => Style::new(),
            Tone::Good => brush.good(),
            Tone::Bad => brush.bad(),
        };
        let name = cut(&printable(&line.replica), longest);
        let who = match longest {
            0 => String::new(),
            longest => format!("{name}{}  ", " ".repeat(longest.saturating_sub(table::width(&name)))),
        };
        let when = Span::styled(format!("{:>10}  ", words::ago(line.at, now)), brush.dim());
        Text::from(vec![when, Span::raw(who), Span::styled(cut(&line.text, left), style)])
    });
    Paragraph::new(lines.collect::<Vec<_>>()).block(panel("log", brush))
}

/// The list's length; a hundred are no more counted.
fn counted(length: usize) -> String {
    if length >= 100 { "100 and more".to_owned() } else { length.to_string() }
}

fn panel<'a>(title: &str, brush: &Brush) -> Block<'a> {
    let block = Block::new().borders(Borders::TOP | Borders::LEFT | Borders::RIGHT).border_style(brush.dim());
    block.title(Span::styled(format!(" {title} "), brush.strong())).title_alignment(Alignment::Left)
}

fn mark(state: State) -> &'static str {
    match state {
        State::InStep => "✓",
        State::Pending => "•",
        State::Syncing => "↻",
        State::Offline | State::BackingOff => "○",
        State::SignedOut => "!",
        State::Paused => "‖",
        State::Halted => "✗",
        State::Detached => "–",
    }
}

fn state(replica: &ReplicaStatus) -> String {
    let word = replica.state.word().replace('_', " ");
    match (&replica.reason, &replica.progress) {
        (_, Some(Progress { what, done, total })) if replica.state == State::Syncing => {
            let total = total.map_or(String::new(), |total| format!(" of {}", words::thousands(total)));
            format!("{word}, {} {}{total}", printable(what), words::thousands(*done))
        }
        (Some(reason), _) => format!("{word}: {}", printable(&reason.text)),
        _ => word,
    }
}

struct Brush {
    color: bool,
}

impl Brush {
    fn of_state(&self, state: State) -> Style {
        match state {
            State::InStep => self.good(),
            State::Syncing => self.busy(),
            State::Pending | State::Offline | State::BackingOff | State::Paused => self.waiting(),
            State::SignedOut | State::Halted => self.bad(),
            State::Detached => self.dim(),
        }
    }

    fn good(&self) -> Style {
        self.in_color(Color::Green)
    }

    fn busy(&self) -> Style {
        self.in_color(Color::Cyan)
    }

    fn waiting(&self) -> Style {
        self.in_color(Color::Yellow)
    }

    fn bad(&self) -> Style {
        self.in_color(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn dim(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn in_color(&self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }
}
