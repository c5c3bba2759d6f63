//! `homing sync`: a cycle now; with `--wait`, until everything written before the call is
//! at the remote and everything that was there is here.
//!
//! On a terminal a bar on stderr shows how far a long transfer is. The exit code says
//! whether a script may go on: 0 only when every replica is in step and clean.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::context::{Context, Paint};
use super::exit::Exit;
use super::failure::Failure;
use super::{interrupt, pause, words};
use crate::ipc::answer::{Replicas, Sync, SyncOutcome};
use crate::ipc::client::{Client, Heard};
use crate::ipc::{Topic, method};
use crate::model::status::Progress;
use crate::model::text::printable;

#[derive(clap::Args)]
pub struct Args {
    /// Only this replica.
    name: Option<String>,
    /// Wait until it is in step.
    #[arg(long)]
    wait: bool,
    /// How long to wait, such as 60s or 5m.
    #[arg(long, value_parser = words::parse_duration, default_value = "60s", requires = "wait")]
    timeout: Duration,
}

/// Beyond the agent's own limit, for its answer to arrive.
const GRACE: Duration = Duration::from_secs(10);

/// How long an agent may take to open its socket.
const STARTING: Duration = Duration::from_secs(3);

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    // Who waits for a sync also waits for an agent that is just starting.
    let patience = if args.wait { STARTING } else { Duration::ZERO };
    let mut client = Client::connect(&context.socket, patience)?;
    if !args.wait {
        let asked: Replicas = client.call(method::SyncNow { replica: args.name })?;
        context.show(&asked, |asked| pause::render(asked, "syncing now"))?;
        return Ok(Exit::Done);
    }
    interrupt::ends_the_command();
    let bar = Bar::start(context, args.name.clone());
    let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    let request = method::SyncWait { replica: args.name, timeout_ms: Some(timeout_ms) };
    let waited = client.call_within::<Sync>(request, args.timeout.saturating_add(GRACE));
    bar.stop();
    let sync = waited?;
    context.show(&sync, |sync| render(sync, &context.paint))?;
    Ok(sync.replicas.iter().map(exit).fold(Exit::Done, Exit::worse))
}

fn exit(outcome: &SyncOutcome) -> Exit {
    match &outcome.reason {
        _ if outcome.in_step && outcome.set_aside + outcome.conflicts + outcome.parked == 0 => Exit::Done,
        _ if outcome.in_step => Exit::NotClean,
        Some(reason) => Exit::of(reason.code),
        None => Exit::TryLater,
    }
}

fn render(sync: &Sync, paint: &Paint) -> String {
    if sync.replicas.is_empty() {
        return "no replica is configured\n".to_owned();
    }
    sync.replicas.iter().map(|outcome| outcome_lines(outcome, paint)).collect()
}

fn outcome_lines(outcome: &SyncOutcome, paint: &Paint) -> String {
    let name = printable(&outcome.replica);
    let mut out = match exit(outcome) {
        Exit::Done => format!("{} {name}: in step\n", paint.good("✓")),
        Exit::NotClean if outcome.in_step => format!("{} {name}: in step, but not clean\n", paint.waiting("•")),
        _ => format!("{} {name}: not in step\n", paint.bad("✗")),
    };
    if outcome.set_aside > 0 {
        let what = words::count(outcome.set_aside, "change");
        out.push_str(&format!("    {what} set aside; see `homing queue list {name}`\n"));
    }
    if outcome.conflicts > 0 {
        let (what, verb) =
            (words::count(outcome.conflicts, "conflict"), if outcome.conflicts == 1 { "waits" } else { "wait" });
        out.push_str(&format!("    {what} {verb} for you; see `homing conflicts list {name} --open`\n"));
    }
    if outcome.parked > 0 {
        let what = words::count(outcome.parked, "row");
        out.push_str(&format!(
            "    {what} from the remote cannot be written here yet; see `homing explain {name} TABLE KEY`\n"
        ));
    }
    if let Some(reason) = outcome.reason.as_ref().filter(|_| !outcome.in_step) {
        out.push_str(&format!("    {}\n", printable(&reason.text)));
        if !reason.next.is_empty() {
            out.push_str(&format!("    {} {}\n", paint.dim("next:"), printable(&reason.next)));
        }
    }
    out
}

/// A line on stderr that is drawn over and over. It listens on a connection of its own,
/// and whatever goes wrong with it is no reason to fail.
struct Bar {
    /// What is drawn now; `None` once nothing may be drawn any more.
    drawn: Arc<Mutex<Option<bool>>>,
}

impl Bar {
    fn start(context: &Context, only: Option<String>) -> Bar {
        let drawn = Arc::new(Mutex::new(Some(false)));
        if context.json || !std::io::stderr().is_terminal() {
            return Bar { drawn };
        }
        let (socket, shared) = (context.socket.clone(), drawn.clone());
        std::thread::spawn(move || {
            let Ok(client) = Client::connect(&socket, Duration::ZERO) else { return };
            let Ok((_, events)) = client.subscribe(&[Topic::Progress]) else { return };
            for heard in events {
                let Ok(Heard::Event(event)) = heard else { continue };
                let replica = event.data["replica"].as_str().unwrap_or_default().to_owned();
                let Ok(progress) = serde_json::from_value::<Progress>(event.data) else { continue };
                let mut drawn = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if drawn.is_none() {
                    return;
                }
                if only.as_ref().is_none_or(|only| *only == replica) {
                    let _ = write!(std::io::stderr(), "\r\x1b[K{}", bar(&replica, &progress));
                    *drawn = Some(true);
                }
            }
        });
        Bar { drawn }
    }

    fn stop(self) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.take() == Some(true) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// `notes  receiving  ████████░░░░░░░░░░░░  120,000 of 336,776`
fn bar(replica: &str, progress: &Progress) -> String {
    const WIDTH: u64 = 20;
    let done = words::thousands(progress.done);
    let (picture, amount) = match progress.total {
        Some(total) if total > 0 => {
            let full = (progress.done.min(total) as u128 * u128::from(WIDTH) / u128::from(total)) as usize;
            let picture = format!("  {}{}", "█".repeat(full), "░".repeat(WIDTH as usize - full));
            (picture, format!("{done} of {}", words::thousands(total)))
        }
        _ => (String::new(), done),
    };
    format!("{}  {}{picture}  {amount}", printable(replica), printable(&progress.what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, ReasonCode};

    fn outcome(in_step: bool, set_aside: u64, conflicts: u64, code: Option<ReasonCode>) -> SyncOutcome {
        let reason = code.map(|code| Reason { code, text: "why".into(), next: "do this".into() });
        SyncOutcome { replica: "notes".into(), in_step, set_aside, conflicts, parked: 0, reason }
    }

    #[test]
    fn the_exit_code_says_whether_a_script_may_go_on() {
        assert_eq!(exit(&outcome(true, 0, 0, None)), Exit::Done);
        assert_eq!(exit(&outcome(true, 1, 0, Some(ReasonCode::RowRefused))), Exit::NotClean);
        assert_eq!(exit(&outcome(true, 0, 1, None)), Exit::NotClean);
        assert_eq!(exit(&SyncOutcome { parked: 1, ..outcome(true, 0, 0, None) }), Exit::NotClean);
        assert_eq!(exit(&outcome(false, 1, 0, Some(ReasonCode::OfflineHubDown))), Exit::Unavailable);
        assert_eq!(exit(&outcome(false, 0, 0, Some(ReasonCode::TimedOut))), Exit::TryLater);
        assert_eq!(exit(&outcome(false, 0, 0, None)), Exit::TryLater);
    }

    #[test]
    fn outcomes_are_told_in_words() {
        let text = outcome_lines(&outcome(true, 2, 1, None), &Paint::plain());
        assert_eq!(
            text,
            "• notes: in step, but not clean\n    2 changes set aside; see `homing queue list notes`\n    \
             1 conflict waits for you; see `homing conflicts list notes --open`\n"
        );
        let text = outcome_lines(&outcome(false, 0, 0, Some(ReasonCode::OfflineHubDown)), &Paint::plain());
        assert_eq!(text, "✗ notes: not in step\n    why\n    next: do this\n");
    }

    #[test]
    fn a_bar_shows_how_far_it_is() {
        let of = |done, total| bar("notes", &Progress { what: "receiving".into(), done, total });
        assert_eq!(of(5_000, Some(10_000)), "notes  receiving  ██████████░░░░░░░░░░  5,000 of 10,000");
        assert_eq!(of(7, None), "notes  receiving  7");
        assert!(of(11, Some(10)).contains(&"█".repeat(20)));
    }
}
