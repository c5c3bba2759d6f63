//! `homing status`: one line a replica, and what is the matter below it.
//!
//! ```text
//! ✓ notes  in step · last in step 12 s ago
//! ○ stock  offline · 12 changes to send, the oldest 3 min old · last in step 4 min ago
//!     the hub at https://hub.example.org does not answer
//!     next: tries again in 8 s
//! ```
//!
//! A mark says with its shape what it says with its colour.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::json;

use super::context::{Context, Paint, now};
use super::exit::Exit;
use super::failure::Failure;
use super::table::{self, wrap};
use super::{interrupt, words};
use crate::ipc::client::Heard;
use crate::ipc::{Event, Topic, method};
use crate::model::ReasonCode;
use crate::model::status::{Progress, ReplicaStatus, State, Status};
use crate::model::text::printable;

#[derive(clap::Args)]
pub struct Args {
    /// Only this replica.
    name: Option<String>,
    /// Keep watching: redraw on a terminal, else print at each change (one object a line with --json).
    #[arg(long)]
    watch: bool,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    if args.watch {
        return watch(args, context);
    }
    let status: Status = context.connect()?.call(method::ReplicaStatus { replica: args.name })?;
    context.show(&status, |status| render(status, &context.paint, context.width, now()))?;
    Ok(Exit::Done)
}

/// Ends when the agent does, or the person.
fn watch(args: Args, context: &Context) -> Result<Exit, Failure> {
    let (subscribed, events) = context.connect()?.subscribe(&[Topic::Status, Topic::Progress])?;
    let mut status: Status = serde_json::from_value(subscribed.snapshot).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the agent's status cannot be read: {error}"),
            "see that command and agent are of one version: `homing doctor`",
        )
    })?;
    let wanted = |name: &str| args.name.as_deref().is_none_or(|only| only == name);
    status.replicas.retain(|replica| wanted(&replica.name));
    if let (Some(name), true) = (&args.name, status.replicas.is_empty()) {
        // The agent knows best how to say that there is no such replica.
        status = context.connect()?.call(method::ReplicaStatus { replica: Some(name.clone()) })?;
    }
    interrupt::ends_the_command();
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || events.map(|event| sender.send(event)).take_while(Result::is_ok).for_each(drop));
    draw(&status, context)?;
    loop {
        match heard.recv_timeout(Duration::from_secs(1)) {
            Ok(event) => match event? {
                Heard::Event(event) => take(&mut status, event, &wanted),
                Heard::Lagged(_) => {
                    status = context.connect()?.call(method::ReplicaStatus { replica: args.name.clone() })?;
                }
            },
            // "12 s ago" goes on by itself, where it is drawn in place.
            Err(RecvTimeoutError::Timeout) if context.terminal && !context.json => {}
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(Exit::Unavailable, "the agent has stopped", "start it with `homing agent`"));
            }
        }
        draw(&status, context)?;
    }
}

fn take(status: &mut Status, event: Event, wanted: &dyn Fn(&str) -> bool) {
    match event.topic {
        Topic::Status => {
            let Ok(new) = serde_json::from_value::<ReplicaStatus>(event.data) else { return };
            match status.replicas.iter_mut().find(|old| old.name == new.name) {
                Some(old) => *old = new,
                None if wanted(&new.name) => status.replicas.push(new),
                None => {}
            }
        }
        Topic::Progress => {
            let about = |replica: &&mut ReplicaStatus| event.data["replica"] == replica.name.as_str();
            if let Some(replica) = status.replicas.iter_mut().find(about) {
                replica.progress = serde_json::from_value::<Progress>(event.data).ok();
            }
        }
        _ => {}
    }
}

fn draw(status: &Status, context: &Context) -> Result<(), Failure> {
    if context.json {
        return context.print(&format!("{}\n", json!(status)));
    }
    let text = render(status, &context.paint, context.width, now());
    if !context.terminal {
        return context.print(&text);
    }
    // Home; each line to its end; then the rest of the screen.
    let lines = text.replace('\n', "\x1b[K\n");
    context.print(&format!("\x1b[H{lines}\x1b[J"))
}

fn render(status: &Status, paint: &Paint, width: usize, now: i64) -> String {
    if status.replicas.is_empty() {
        return "no replica is configured; `homing init APP.db --hub URL` writes a config\n".to_owned();
    }
    let widest = status.replicas.iter().map(|replica| table::width(&printable(&replica.name))).max().unwrap_or(0);
    status.replicas.iter().map(|replica| replica_lines(replica, widest, paint, width, now)).collect()
}

fn replica_lines(replica: &ReplicaStatus, widest: usize, paint: &Paint, width: usize, now: i64) -> String {
    let name = printable(&replica.name);
    let space = " ".repeat(widest - table::width(&name));
    let mut parts = vec![state_words(replica, paint)];
    parts.extend(counts(replica));
    parts.push(match replica.last_sync_at {
        Some(then) => format!("last in step {}", words::ago(then, now)),
        None => "never synced".to_owned(),
    });
    let head = format!("{} {}{space}  ", mark(replica.state, paint), paint.strong(&name));
    let mut out = head + &joined(&parts, widest + 4, width);
    if let Some(reason) = &replica.reason {
        out.push_str(&wrap(&printable(&reason.text), 4, width));
        if is_about_the_file(reason.code) && !reason.text.contains(&replica.database) {
            out.push_str(&labelled("file:", &replica.database, paint, width));
        }
        if !reason.next.is_empty() {
            out.push_str(&labelled("next:", &reason.next, paint, width));
        }
    }
    if let Some(then) = replica.next_sync_at.filter(|_| waits(replica.state)) {
        out.push_str(&format!("    {}\n", paint.dim(&format!("tries again {}", words::until(then, now)))));
    }
    for note in &replica.notes {
        out.push_str(&labelled("note:", note, paint, width));
    }
    out
}

/// The parts on one line, or on as many as it takes; the first begins at `column`.
fn joined(parts: &[String], column: usize, width: usize) -> String {
    let mut out = String::new();
    let mut used = column;
    for (at, part) in parts.iter().enumerate() {
        let columns = table::width(&anstream::adapter::strip_str(part).to_string());
        if at > 0 && used.saturating_add(3 + columns) > width {
            out.push_str("\n    ");
            used = 4;
        } else if at > 0 {
            out.push_str(" · ");
            used += 3;
        }
        out.push_str(part);
        used += columns;
    }
    out + "\n"
}

fn labelled(label: &str, text: &str, paint: &Paint, width: usize) -> String {
    wrap(&format!("{label} {}", printable(text)), 4, width).replacen(label, &paint.dim(label), 1)
}

fn mark(state: State, paint: &Paint) -> String {
    match state {
        State::InStep => paint.good("✓"),
        State::Pending => paint.waiting("•"),
        State::Syncing => paint.busy("↻"),
        State::Offline | State::BackingOff => paint.waiting("○"),
        State::SignedOut => paint.bad("!"),
        State::Paused => paint.waiting("‖"),
        State::Halted => paint.bad("✗"),
        State::Detached => paint.dim("–"),
    }
}

fn state_words(replica: &ReplicaStatus, paint: &Paint) -> String {
    let lasting = if replica.lasting { format!(", {} tries failed", replica.link.failures) } else { String::new() };
    match replica.state {
        State::InStep => paint.good("in step"),
        State::Pending => paint.waiting("not sent yet"),
        State::Syncing => paint.busy(&format!("syncing{}", transfer(replica))),
        State::Offline => paint.waiting(&format!("offline{lasting}")),
        State::BackingOff => paint.waiting(&format!("waits to try again{lasting}")),
        State::SignedOut => paint.bad("signed out"),
        State::Paused => paint.waiting("paused"),
        State::Halted => paint.bad("halted"),
        State::Detached => "detached".to_owned(),
    }
}

fn transfer(replica: &ReplicaStatus) -> String {
    match &replica.progress {
        Some(Progress { what, done, total: Some(total) }) => {
            format!(", {} {} of {}", printable(what), words::thousands(*done), words::thousands(*total))
        }
        Some(Progress { what, done, total: None }) => format!(", {} {}", printable(what), words::thousands(*done)),
        None => String::new(),
    }
}

fn counts(replica: &ReplicaStatus) -> Vec<String> {
    let mut out = Vec::new();
    if replica.pending > 0 {
        let oldest = match replica.oldest_pending_seconds {
            Some(seconds) if seconds > 0 => format!(", the oldest {} old", words::span(seconds as i64 * 1000)),
            _ => String::new(),
        };
        out.push(format!("{} to send{oldest}", words::count(replica.pending, "change")));
    }
    for (number, what) in [
        (replica.set_aside, "set aside"),
        (replica.conflicts, if replica.conflicts == 1 { "conflict for you" } else { "conflicts for you" }),
        (replica.parked, "parked"),
    ] {
        if number > 0 {
            out.push(format!("{} {what}", words::thousands(number)));
        }
    }
    out
}

/// Reasons that only help who knows which file is meant.
fn is_about_the_file(code: ReasonCode) -> bool {
    use ReasonCode::*;
    matches!(
        code,
        DatabaseMissing
            | DatabaseLocked
            | DatabaseReadOnly
            | DatabaseNotSqlite
            | DatabaseCorrupt
            | DatabaseReplaced
            | DiskFull
            | NewerFormat
    )
}

/// States in which the time of the next try is news.
fn waits(state: State) -> bool {
    matches!(state, State::Offline | State::BackingOff | State::SignedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use crate::model::Reason;
    use crate::model::status::Link;

    fn replica(name: &str, state: State) -> ReplicaStatus {
        ReplicaStatus {
            name: name.into(),
            database: "/x.db".into(),
            state,
            reason: None,
            pending: 0,
            set_aside: 0,
            conflicts: 0,
            parked: 0,
            last_sync_at: Some(88_000),
            next_sync_at: None,
            oldest_pending_seconds: None,
            online: true,
            link: Link::default(),
            last_cycle: None,
            notes: Vec::new(),
            progress: None,
            lasting: false,
        }
    }

    fn document(replicas: Vec<ReplicaStatus>) -> Status {
        Status { schema: answer::STATUS.to_owned(), version: "0".to_owned(), replicas }
    }

    fn shown(replicas: Vec<ReplicaStatus>) -> String {
        render(&document(replicas), &Paint::plain(), usize::MAX, 100_000)
    }

    #[test]
    fn a_replica_in_step_is_one_line() {
        assert_eq!(shown(vec![replica("notes", State::InStep)]), "✓ notes  in step · last in step 12 s ago\n");
    }

    #[test]
    fn one_that_is_not_says_why_and_what_comes_next() {
        let stock = ReplicaStatus {
            pending: 1200,
            oldest_pending_seconds: Some(180),
            set_aside: 1,
            conflicts: 2,
            next_sync_at: Some(108_000),
            lasting: true,
            link: Link { latency_ms: None, failures: 6, skew_ms: None },
            reason: Some(Reason {
                code: ReasonCode::OfflineHubDown,
                text: "the hub does not answer".into(),
                next: "nothing to do; it goes on by itself".into(),
            }),
            ..replica("stock", State::Offline)
        };
        let notes = ReplicaStatus { last_sync_at: None, ..replica("n", State::Halted) };
        assert_eq!(
            shown(vec![stock, notes]),
            "○ stock  offline, 6 tries failed · 1,200 changes to send, the oldest 3 min old · 1 set aside · \
             2 conflicts for you · last in step 12 s ago\n    \
                 the hub does not answer\n    \
                 next: nothing to do; it goes on by itself\n    \
                 tries again in 8 s\n\
             ✗ n      halted · never synced\n"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_more_lines_and_loses_no_word() {
        let stock = ReplicaStatus {
            pending: 1200,
            oldest_pending_seconds: Some(180),
            set_aside: 1,
            ..replica("stock", State::Offline)
        };
        let text = render(&document(vec![stock.clone()]), &Paint::plain(), 40, 100_000);
        assert_eq!(
            text,
            "○ stock  offline\n    1,200 changes to send, the oldest 3 min old\n    1 set aside · last in step 12 s ago\n"
        );
        let text = render(&document(vec![stock]), &Paint::plain(), 80, 100_000);
        assert_eq!(
            text,
            "○ stock  offline · 1,200 changes to send, the oldest 3 min old · 1 set aside\n    last in step 12 s ago\n"
        );
    }

    #[test]
    fn trouble_with_the_file_names_it_once() {
        let with = |code, text: &str| {
            let reason = Some(Reason { code, text: text.into(), next: String::new() });
            shown(vec![ReplicaStatus { reason, ..replica("notes", State::BackingOff) }])
        };
        assert!(with(ReasonCode::DiskFull, "the disk is full").contains("    file: /x.db\n"));
        assert!(!with(ReasonCode::DatabaseMissing, "/x.db is not there").contains("file:"));
        assert!(!with(ReasonCode::OfflineHubDown, "the hub is down").contains("file:"));
    }

    #[test]
    fn events_bring_the_picture_up_to_date() {
        let mut status = document(vec![replica("notes", State::InStep)]);
        let event = |topic, data| Event { seq: 1, topic, time: 0, data };
        let all = |_: &str| true;
        take(&mut status, event(Topic::Status, json!(replica("notes", State::Syncing))), &all);
        let progress = json!({"replica": "notes", "what": "receiving", "done": 1000, "total": 5000});
        take(&mut status, event(Topic::Progress, progress), &all);
        take(&mut status, event(Topic::Status, json!(replica("new", State::Paused))), &all);
        let text = render(&status, &Paint::plain(), usize::MAX, 100_000);
        assert!(text.contains("↻ notes  syncing, receiving 1,000 of 5,000"), "{text}");
        assert!(text.contains("‖ new    paused"), "{text}");
    }
}
