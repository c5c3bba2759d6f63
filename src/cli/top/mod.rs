//! `homing top`: a live view of the agent on a terminal.
//!
//! Replicas, throughput over time, what waits, open conflicts, and what happened, on one
//! screen. `scene` is what is known, `paint` draws it; here is the loop between the
//! agent's events, the keyboard and the screen. It only looks: its one order is `s`.
//! `--once` prints a single picture as text, for scripts and bug reports.

mod paint;
mod scene;

use std::io::IsTerminal;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, Terminal};

use super::context::{Context, now};
use super::exit::Exit;
use super::failure::Failure;
use crate::ipc::answer::{Conflicts, History, Queue};
use crate::ipc::client::Heard;
use crate::ipc::{Client, ClientError, Topic, method};
use crate::model::status::Status;
use scene::Scene;

/// Rows of the queue and of the conflicts that fit on any screen.
const ROWS_MAX: u64 = 100;
/// How long a key may wait for an answer, and a screen for a change.
const TURN: Duration = Duration::from_millis(200);
/// Lists are asked for no more often than this, however busy the agent is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Lines of a picture that is printed.
const ONCE_LINES: u16 = 40;

/// For terminals that are not up to it.
const PLAINER: &str = "`homing status --watch` needs less of a terminal";

#[derive(clap::Args)]
pub struct Args {
    /// Only this replica.
    name: Option<String>,
    /// Print one picture as text, and end.
    #[arg(long)]
    once: bool,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    if context.json {
        return Err(Failure::new(Exit::Usage, "a picture has no JSON", "`homing status --watch --json` has the facts"));
    }
    let on_a_terminal = context.terminal && std::io::stdin().is_terminal();
    if !args.once && !on_a_terminal {
        return Err(Failure::new(
            Exit::Usage,
            "`homing top` needs a terminal",
            "`homing top --once` prints one picture; `homing status --watch` prints each change",
        ));
    }
    let (mut scene, heard) = open(&args, context)?;
    if args.once {
        context.print(&text_of(&draw_once(&scene, context)))?;
        return Ok(Exit::Done);
    }
    let mut terminal = ratatui::try_init()
        .map_err(|error| Failure::new(Exit::Failed, format!("the terminal cannot be drawn on: {error}"), PLAINER))?;
    let ended = watch(&mut terminal, &mut scene, &heard, &args, context);
    ratatui::restore();
    ended
}

/// Everything there is to know, and the events from there on.
fn open(args: &Args, context: &Context) -> Result<(Scene, Receiver<Result<Heard, ClientError>>), Failure> {
    let topics = [Topic::Status, Topic::Progress, Topic::Cycle, Topic::Conflict, Topic::SetAside];
    let (_, events) = context.connect()?.subscribe(&topics)?;
    let mut asking = context.connect()?;
    let status: Status = asking.call(method::ReplicaStatus { replica: args.name.clone() })?;
    let history: History =
        asking.call(method::HistoryList { replica: args.name.clone(), limit: Some(scene::CYCLES_MAX as u64) })?;
    let mut scene = Scene::new(status, history.cycles, args.name.clone());
    ask_lists(&mut asking, &mut scene)?;
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || events.map(|event| sender.send(event)).take_while(Result::is_ok).for_each(drop));
    Ok((scene, heard))
}

fn ask_lists(asking: &mut Client, scene: &mut Scene) -> Result<(), ClientError> {
    let replica = scene.only.clone();
    let queue: Queue =
        asking.call(method::QueueList { replica: replica.clone(), table: None, limit: Some(ROWS_MAX) })?;
    let conflicts: Conflicts =
        asking.call(method::ConflictsList { replica, open: Some(true), limit: Some(ROWS_MAX) })?;
    scene.queue = queue.changes;
    scene.conflicts = conflicts.conflicts;
    Ok(())
}

fn watch(
    terminal: &mut DefaultTerminal,
    scene: &mut Scene,
    heard: &Receiver<Result<Heard, ClientError>>,
    args: &Args,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut asking = context.connect()?;
    let mut asked = Instant::now();
    let mut stale = false;
    loop {
        terminal
            .draw(|frame| paint::draw(scene, frame.area(), frame.buffer_mut(), context.paint.is_on(), now()))
            .map_err(|error| {
                Failure::new(Exit::Failed, format!("the terminal cannot be drawn on: {error}"), PLAINER)
            })?;
        if pressed(scene, &mut asking)? {
            return Ok(Exit::Done);
        }
        loop {
            match heard.try_recv() {
                Ok(event) => match event? {
                    Heard::Event(event) => {
                        stale |= event.topic != Topic::Progress;
                        scene.take(event);
                    }
                    Heard::Lagged(_) => {
                        scene.status = asking.call(method::ReplicaStatus { replica: args.name.clone() })?;
                        stale = true;
                    }
                },
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::new(
                        Exit::Unavailable,
                        "the agent has stopped",
                        "start it with `homing agent`",
                    ));
                }
            }
        }
        if stale && asked.elapsed() >= ASK_EVERY {
            ask_lists(&mut asking, scene)?;
            (asked, stale) = (Instant::now(), false);
        }
    }
}

/// Waits a turn for a key. True: the person wants to leave.
fn pressed(scene: &mut Scene, asking: &mut Client) -> Result<bool, Failure> {
    let broken = |error| Failure::new(Exit::Failed, format!("the keyboard cannot be read: {error}"), PLAINER);
    if !event::poll(TURN).map_err(broken)? {
        return Ok(false);
    }
    let event::Event::Key(key) = event::read().map_err(broken)? else { return Ok(false) };
    if key.kind == KeyEventKind::Release {
        return Ok(false);
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(true),
        KeyCode::Char('w') => scene.next_window(),
        KeyCode::Char('s') => {
            let _: serde_json::Value = asking.call(method::SyncNow { replica: scene.only.clone() })?;
        }
        _ => {}
    }
    Ok(false)
}

fn draw_once(scene: &Scene, context: &Context) -> Buffer {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = if context.terminal { Some(context.width) } else { columns };
    let area = Rect::new(0, 0, columns.unwrap_or(80).clamp(20, 500) as u16, ONCE_LINES);
    let mut terminal = Terminal::new(TestBackend::new(area.width, area.height)).expect("BUG: memory can be drawn on");
    let drawn = terminal.draw(|frame| paint::draw(scene, frame.area(), frame.buffer_mut(), false, now()));
    drawn.expect("BUG: memory can be drawn on").buffer.clone()
}

fn text_of(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let mut out = String::new();
    for cells in buffer.content.chunks(width) {
        let mut line = String::new();
        let mut covered = 0;
        for cell in cells {
            // What a wide character covers is a cell of its own, and no character.
            if covered == 0 {
                line.push_str(cell.symbol());
            }
            covered = if covered > 0 { covered - 1 } else { super::table::width(cell.symbol()).saturating_sub(1) };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
