//! The session against written stories: what it says to each event, in order.

use super::*;

fn session() -> Session {
    Session::new(Schedule { every: Some(300_000), ..Schedule::default() }, Chance::new(7), Supply::default())
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, ReasonCode::OfflineHubDown, "down", "wait")
}

/// Plays reports from the first step on and returns the steps that were ordered.
fn run(session: &mut Session, reports: &[Report]) -> Vec<Step> {
    let mut steps = Vec::new();
    for report in reports {
        for action in session.handle(0, Event::Done(report.clone())) {
            if let Action::Do(step) = action {
                steps.push(step);
            }
        }
    }
    steps
}

const QUIET: [Report; 6] = [
    Report::Began,
    Report::Greeted { pull_first: false, audit_due: false, in_flight: false },
    Report::Staged { something: false },
    Report::Fetched,
    Report::Applied { done: true, more: false, pending: false },
    Report::Ended { retry_in: None },
];

#[test]
fn a_quiet_cycle_takes_each_step_once() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    assert_eq!(run(&mut session, &QUIET), [Step::Greet, Step::Stage, Step::Fetch, Step::Apply, Step::End]);
    assert_eq!(session.view(0).word, Word::InStep);
    assert_eq!(session.view(1).word, Word::Pending);
}

#[test]
fn the_first_cycle_pulls_before_it_compares_and_sends() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    let steps = run(
        &mut session,
        &[
            Report::Began,
            Report::Greeted { pull_first: true, audit_due: true, in_flight: false },
            Report::Fetched,
            Report::Applied { done: true, more: true, pending: false },
            Report::Fetched,
            Report::Applied { done: true, more: false, pending: false },
            Report::Audited { done: false },
            Report::Audited { done: true },
            Report::Staged { something: true },
            Report::Sent,
            Report::Settled { done: true, progress: true, in_flight: false },
        ],
    );
    use Step::*;
    assert_eq!(steps, [Greet, Fetch, Apply, Fetch, Apply, Audit, Audit, Stage, Send, Settle, Stage]);
}

/// What an action is about may be among the rows: they go first, and what it changed
/// there is pulled after it.
#[test]
fn actions_go_when_no_row_is_left_to_send_and_before_the_pull() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    let reports = [
        Report::Began,
        Report::Greeted { pull_first: false, audit_due: false, in_flight: false },
        Report::Staged { something: true },
        Report::Sent,
        Report::Settled { done: true, progress: true, in_flight: false },
        Report::Acting,
        Report::Acted { more: true },
        Report::Acted { more: false },
        Report::Fetched,
        Report::Applied { done: true, more: false, pending: false },
    ];
    use Step::*;
    assert_eq!(run(&mut session, &reports), [Greet, Stage, Send, Settle, Stage, Act, Act, Fetch, Apply, End]);
}

/// Trap 10: rows of a batch that may have arrived are neither pulled as strangers' nor
/// compared with bases that its answer will bring.
#[test]
fn a_batch_that_was_never_answered_is_settled_before_all_else() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    let steps = run(
        &mut session,
        &[
            Report::Began,
            Report::Greeted { pull_first: true, audit_due: true, in_flight: true },
            Report::Staged { something: true },
            Report::Sent,
            Report::Settled { done: false, progress: true, in_flight: false },
            Report::Settled { done: true, progress: true, in_flight: false },
            Report::Fetched,
            Report::Applied { done: true, more: false, pending: false },
            Report::Audited { done: true },
            Report::Staged { something: true },
            Report::Sent,
            Report::Settled { done: true, progress: true, in_flight: false },
        ],
    );
    use Step::*;
    assert_eq!(steps, [Greet, Stage, Send, Settle, Settle, Fetch, Apply, Audit, Stage, Send, Settle, Stage]);
}

/// One that was answered may be unsettled when the next one has gone already.
#[test]
fn all_batches_under_way_are_settled_before_anything_else() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    let steps = run(
        &mut session,
        &[
            Report::Began,
            Report::Greeted { pull_first: true, audit_due: true, in_flight: true },
            Report::Staged { something: true },
            Report::Sent,
            Report::Settled { done: true, progress: true, in_flight: true },
            Report::Staged { something: true },
            Report::Sent,
            Report::Settled { done: true, progress: true, in_flight: false },
            Report::Fetched,
        ],
    );
    use Step::*;
    assert_eq!(steps, [Greet, Stage, Send, Settle, Stage, Send, Settle, Fetch, Apply]);
}

#[test]
fn a_batch_that_the_remote_is_ahead_of_is_planned_anew_after_a_pull() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    let steps = run(
        &mut session,
        &[
            Report::Began,
            Report::Greeted { pull_first: true, audit_due: false, in_flight: true },
            Report::Staged { something: true },
            Report::Behind,
            Report::Fetched,
            Report::Applied { done: true, more: false, pending: false },
            Report::Staged { something: true },
            Report::Behind,
            Report::Fetched,
            Report::Applied { done: true, more: false, pending: false },
            Report::Staged { something: true },
            Report::Sent,
            Report::Settled { done: true, progress: true, in_flight: false },
            Report::Staged { something: false },
            Report::Fetched,
            Report::Applied { done: true, more: false, pending: false },
        ],
    );
    use Step::*;
    let round = [Fetch, Apply, Stage, Send];
    assert_eq!(steps, [&[Greet, Stage, Send][..], &round, &round, &[Settle, Stage, Fetch, Apply, End]].concat());
}

/// Trap 23: a wake during a cycle is not forgotten.
#[test]
fn a_wake_during_a_cycle_runs_one_more_and_a_hundred_run_one() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    for _ in 0..100 {
        assert!(session.handle(0, Event::Wake(Wake::Live)).is_empty());
    }
    let steps = run(&mut session, &QUIET);
    assert_eq!(steps.last(), Some(&Step::Begin));
    let steps = run(&mut session, &QUIET);
    assert_eq!(steps.last(), Some(&Step::End));
    assert!(!session.is_running());
}

#[test]
fn trouble_on_the_way_backs_off_for_ever_and_a_command_does_not_wait() {
    let mut session = session();
    let mut now = 0;
    for streak in 1..=40u32 {
        if streak == 1 {
            session.handle(now, Event::Wake(Wake::Start));
        }
        assert!(session.is_running());
        session.handle(now, Event::Failed(fault(FaultKind::Network)));
        session.handle(now, Event::Done(Report::Ended { retry_in: None }));
        let view = session.view(3);
        assert_eq!((view.word, view.failures, view.lasting), (Word::Offline, streak, streak >= 5));
        let next = view.next_at.unwrap();
        assert!(next - now >= 750 && next - now <= 75_000, "{streak}: {}", next - now);
        // Neither a write nor an early alarm shortens the wait.
        session.handle(now, Event::Written { immediate: true, urgent: false });
        session.handle(next - 1, Event::Tick);
        assert!(!session.is_running());
        now = next;
        session.handle(now, Event::Tick);
    }
    session.handle(now, Event::Failed(fault(FaultKind::Network)));
    session.handle(now, Event::Done(Report::Ended { retry_in: None }));
    session.handle(now + 1, Event::Wake(Wake::Command));
    assert!(session.is_running());
    run(&mut session, &QUIET);
    assert_eq!(session.view(0).failures, 0);
}

#[test]
fn a_new_try_shows_the_trouble_until_the_remote_answers() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    assert_eq!(session.view(1).word, Word::Syncing);
    session.handle(0, Event::Failed(fault(FaultKind::Network)));
    session.handle(0, Event::Done(Report::Ended { retry_in: None }));
    session.handle(1, Event::Wake(Wake::Command));
    run(&mut session, &QUIET[..1]);
    let view = session.view(1);
    assert_eq!((view.word, view.reason), (Word::Offline, Some(fault(FaultKind::Network).reason)));
    let actions = session.handle(1, Event::Done(QUIET[1].clone()));
    assert!(actions.contains(&Action::Tell));
    assert_eq!(session.view(1).word, Word::Syncing);
}

#[test]
fn a_person_who_tries_again_and_again_makes_no_wait_longer() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    for _ in 0..20 {
        session.handle(0, Event::Failed(fault(FaultKind::Network)));
        session.handle(0, Event::Done(Report::Ended { retry_in: None }));
        let view = session.view(1);
        assert_eq!((view.failures, view.lasting), (1, false));
        assert!(view.next_at.unwrap() <= 1_250);
        session.handle(0, Event::Wake(Wake::Command));
    }
}

#[test]
fn retry_after_is_obeyed_by_all_but_a_person() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    session.handle(0, Event::Failed(Fault { retry_after: Some(120_000), ..fault(FaultKind::Throttled) }));
    session.handle(0, Event::Done(Report::Ended { retry_in: None }));
    assert!(session.view(0).next_at.unwrap() >= 120_000);
    for wake in [Wake::Live, Wake::Network, Wake::Reachable, Wake::Timer, Wake::Write] {
        session.handle(1, Event::Wake(wake));
        assert!(!session.is_running(), "{wake:?}");
    }
    session.handle(1, Event::Wake(Wake::Command));
    assert!(session.is_running());
}

#[test]
fn without_a_network_nothing_is_tried_until_it_is_back() {
    let mut session = session();
    session.handle(0, Event::Network(false));
    for event in [
        Event::Wake(Wake::Timer),
        Event::Written { immediate: true, urgent: false },
        Event::Tick,
        Event::Wake(Wake::Live),
    ] {
        session.handle(10_000_000, event);
        assert!(!session.is_running());
    }
    assert_eq!(session.view(1).word, Word::Offline);
    session.handle(10_000_001, Event::Network(true));
    assert_eq!(session.cause(), Some(Wake::Network));
}

/// Trap 3: the waits of refused rows run on the session's clock, whatever the device's says.
#[test]
fn a_refused_row_is_tried_again_after_its_wait() {
    let mut session = session();
    session.handle(1_000, Event::Wake(Wake::Start));
    session.handle(1_000, Event::Failed(fault(FaultKind::Network)));
    session.handle(1_000, Event::Done(Report::Ended { retry_in: None }));
    session.handle(2_000, Event::Wake(Wake::Command));
    session.handle(2_000, Event::Done(Report::Ended { retry_in: Some(4_000) }));
    assert_eq!(session.view(1).next_at, Some(6_000));
    session.handle(6_000, Event::Tick);
    assert!(session.is_running());
}

#[test]
fn a_pause_lets_the_step_end_and_closes_the_file() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    session.handle(0, Event::Pause);
    assert_eq!(run(&mut session, &[Report::Began, Report::Ended { retry_in: None }]), [Step::End]);
    assert_eq!(session.view(0).word, Word::Paused);
    session.handle(0, Event::Wake(Wake::Command));
    assert!(!session.is_running());
    session.handle(0, Event::Resume);
    assert!(session.is_running());
}

#[test]
fn a_file_of_a_newer_homing_halts_until_a_person_says_go() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    session.handle(0, Event::Failed(fault(FaultKind::NewerFormat)));
    session.handle(0, Event::Done(Report::Ended { retry_in: None }));
    assert_eq!(session.view(0).word, Word::Halted);
    assert_eq!(session.view(0).next_at, None);
    session.handle(1, Event::Resume);
    assert!(session.is_running());
}

#[test]
fn changes_that_answer_each_other_do_not_keep_a_cycle_for_ever() {
    let mut session = session();
    session.handle(0, Event::Wake(Wake::Start));
    run(&mut session, &QUIET[..2]);
    let mut rounds = 0;
    loop {
        let steps = run(
            &mut session,
            &[
                Report::Staged { something: false },
                Report::Fetched,
                Report::Applied { done: true, more: false, pending: true },
            ],
        );
        rounds += 1;
        if steps.last() == Some(&Step::End) {
            break;
        }
    }
    assert_eq!(rounds, ROUNDS_MAX);
}

fn sparing(on_battery: Thrift) -> Session {
    let schedule = Schedule { every: Some(300_000), on_battery, ..Schedule::default() };
    Session::new(schedule, Chance::new(7), BATTERY)
}

const BATTERY: Supply = Supply { on_battery: Some(true), metered: None };
const MAINS: Supply = Supply { on_battery: Some(false), metered: None };

fn code(session: &Session, pending: u64) -> Option<ReasonCode> {
    session.view(pending).reason.map(|reason| reason.code)
}

#[test]
fn whoever_waits_looks_at_the_file_and_goes_to_the_remote_for_a_person_alone() {
    let mut session = sparing(Thrift::Wait);
    session.handle(0, Event::Wake(Wake::Start));
    assert!(session.is_cut_short());
    assert_eq!(run(&mut session, &[Report::Began, Report::Ended { retry_in: None }]), [Step::End]);
    assert_eq!((session.view(0).word, code(&session, 0)), (Word::Pending, Some(ReasonCode::OnBattery)));
    for wake in [Wake::Timer, Wake::Live, Wake::Network, Wake::Foreground] {
        session.handle(1, Event::Wake(wake));
        assert!(!session.is_running(), "{wake:?}");
    }
    session.handle(1, Event::Written { immediate: true, urgent: true });
    assert_eq!((session.is_running(), session.view(1).next_at), (false, None));
    session.handle(2, Event::Wake(Wake::Command));
    assert!(!session.is_cut_short());
    run(&mut session, &QUIET);
    assert_eq!((session.view(0).word, code(&session, 0)), (Word::InStep, Some(ReasonCode::OnBattery)));
}

#[test]
fn what_is_saved_no_more_is_made_up_for_at_once() {
    let mut session = sparing(Thrift::Wait);
    session.handle(0, Event::Supply(MAINS));
    assert_eq!(session.cause(), Some(Wake::Supply));
    // Back to the battery in the middle of it: broken off, and a person's word is not.
    assert_eq!(run(&mut session, &QUIET[..2]), [Step::Greet, Step::Stage]);
    session.handle(0, Event::Wake(Wake::Live));
    session.handle(0, Event::Supply(BATTERY));
    session.handle(0, Event::Wake(Wake::Command));
    let reports = [Report::Staged { something: false }, Report::Ended { retry_in: None }];
    assert_eq!(run(&mut session, &reports), [Step::End, Step::Begin]);
    assert_eq!((session.cause(), session.is_cut_short()), (Some(Wake::Command), false));
}

#[test]
fn whoever_saves_syncs_for_what_is_urgent_and_takes_the_rest_along() {
    let mut session = sparing(Thrift::Save);
    session.handle(0, Event::Wake(Wake::Start));
    run(&mut session, &QUIET);
    session.handle(10, Event::Written { immediate: false, urgent: false });
    assert_eq!((session.view(1).next_at, code(&session, 1)), (None, Some(ReasonCode::OnBattery)));
    session.handle(20, Event::Written { immediate: false, urgent: true });
    assert_eq!((session.view(1).next_at, code(&session, 1)), (Some(30_010), Some(ReasonCode::PendingDebounce)));
    session.handle(30_010, Event::Tick);
    assert_eq!(session.cause(), Some(Wake::Write));
    run(&mut session, &QUIET);
    session.handle(40_000, Event::Written { immediate: true, urgent: true });
    assert!(session.is_running());
}

#[test]
fn the_live_channel_is_closed_while_much_is_saved() {
    let mut session = sparing(Thrift::Save);
    session.handle(0, Event::Wake(Wake::Start));
    let mut heard = Vec::new();
    let mut play = |session: &mut Session, event| {
        let actions = session.handle(0, event);
        heard.extend(actions.into_iter().filter(|action| matches!(action, Action::Listen(_))));
    };
    QUIET.into_iter().for_each(|report| play(&mut session, Event::Done(report)));
    play(&mut session, Event::Supply(MAINS));
    QUIET.into_iter().for_each(|report| play(&mut session, Event::Done(report)));
    play(&mut session, Event::Supply(BATTERY));
    assert_eq!(heard, [Action::Listen(true), Action::Listen(false)]);
}

#[test]
fn a_fault_of_the_file_is_tried_again_while_everything_waits() {
    let mut session = sparing(Thrift::Wait);
    session.handle(0, Event::Wake(Wake::Start));
    session.handle(0, Event::Failed(fault(FaultKind::File)));
    session.handle(0, Event::Done(Report::Ended { retry_in: None }));
    let next = session.view(0).next_at.unwrap();
    session.handle(next, Event::Tick);
    assert!(session.is_running() && session.is_cut_short());
}

/// The first step after `wake`, and the cycle to its end.
fn first_step(session: &mut Session, now: Millis, wake: Wake, reports: &[Report]) -> Step {
    session.handle(now, Event::Wake(wake));
    let mut first = None;
    for report in reports {
        for action in session.handle(now, Event::Done(report.clone())) {
            if let Action::Do(step) = action {
                first = first.or(Some(step));
            }
        }
    }
    first.expect("a step after the beginning")
}

/// A write or a hint a moment after a greeting needs no other; whatever else wakes the
/// session, or went wrong, is a reason to greet.
#[test]
fn a_quick_cycle_a_moment_after_a_greeting_nods_and_no_other_does() {
    let mut session = session();
    let mut step = |now, wake| first_step(&mut session, now, wake, &QUIET);
    assert_eq!(step(0, Wake::Start), Step::Greet);
    assert_eq!(step(10, Wake::Live), Step::Nod { age: 10 });
    assert_eq!(step(59_999, Wake::Write), Step::Nod { age: 59_999 });
    // Nodding does not make the greeting any younger.
    assert_eq!(step(60_000, Wake::Live), Step::Greet);
    assert_eq!(step(60_001, Wake::Live), Step::Nod { age: 1 });
    for wake in [Wake::Timer, Wake::Reachable, Wake::Network, Wake::Foreground, Wake::Supply, Wake::Command] {
        assert_eq!(step(60_002, wake), Step::Greet, "{wake:?}");
    }
}

#[test]
fn after_trouble_a_greeting_comes_first() {
    let mut session = session();
    first_step(&mut session, 0, Wake::Start, &QUIET);
    // The remote finds that this device's place is over: it is greeted within the cycle.
    session.handle(1, Event::Wake(Wake::Live));
    assert_eq!(session.handle(1, Event::Done(Report::Began)), [Action::Do(Step::Nod { age: 1 })]);
    assert_eq!(session.handle(1, Event::Done(Report::Renewed)), [Action::Do(Step::Greet)]);
    session.handle(2, Event::Failed(fault(FaultKind::Network)));
    session.handle(2, Event::Done(Report::Ended { retry_in: None }));
    assert_eq!(first_step(&mut session, 3, Wake::Reachable, &QUIET), Step::Greet);
    // One that is heard while a quick cycle runs is not lost among quick ones.
    session.handle(4, Event::Wake(Wake::Live));
    assert_eq!(session.handle(4, Event::Done(Report::Began)), [Action::Do(Step::Nod { age: 1 })]);
    session.handle(4, Event::Wake(Wake::Live));
    session.handle(4, Event::Wake(Wake::Reachable));
    run(&mut session, &QUIET[1..]);
    assert_eq!(session.handle(4, Event::Done(Report::Began)), [Action::Do(Step::Greet)]);
}
