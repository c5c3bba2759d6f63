//! The simulator itself is put to the test: it must be able to fail.

use super::{Canary, Options, run};

fn seeds(count: u64, canary: Option<Canary>) -> super::Outcome {
    let options = Options { first_seed: 0, seeds: count, threads: 1, verbose: false, plan: None, canary };
    run(&options, &|_, _| {})
}

#[test]
fn a_few_seeds_go_well() {
    let outcome = seeds(10, None);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures.first().map(|failure| &failure.text));
}

/// Each defect is found within fifty seeds, and by a check that is about it.
#[test]
fn defects_put_in_on_purpose_are_found() {
    for (canary, told) in [
        (Canary::DropsPushes, "says that it is in step"),
        (Canary::LosesRows, "says that it is in step"),
        (Canary::EmptiesLedgers, "promise 1"),
        (Canary::SetsBack, "promise 6"),
        (Canary::DropsActions, "promise 1: the action"),
    ] {
        let outcome = seeds(50, Some(canary));
        let found = outcome.failures.iter().any(|failure| failure.text.contains(told));
        assert!(found, "{canary:?} was not found: {:?}", outcome.failures.iter().map(|f| &f.text).collect::<Vec<_>>());
    }
}
