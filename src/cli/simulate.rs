//! `homing simulate`: the simulator; a failure prints the seed and the plan that replay it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use super::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use crate::simulate::{Options, Outcome, Plan};

#[derive(clap::Args)]
pub struct Args {
    /// How many seeds to run.
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// The first seed; without --seeds, the only one, told step by step.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Replay a plan that a failure printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "seed"])]
    plan: Option<PathBuf>,
    /// Seeds that run at the same time; default: one a processor.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    let alone = plan.is_some() || (args.seed.is_some() && args.seeds == 100);
    let options = Options {
        first_seed: plan.as_ref().map_or(args.seed.unwrap_or(0), |plan| plan.seed),
        seeds: if alone { 1 } else { args.seeds },
        threads: args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        verbose: alone && !context.json,
        plan,
        canary: None,
    };
    let start = Instant::now();
    let terminal = std::io::stderr().is_terminal() && !context.json;
    let total = options.seeds;
    let outcome = crate::simulate::run(&options, &|done, failed| {
        if terminal && (done % 50 == 0 || done == total) {
            eprint!("\r{done} of {total} seeds, {failed} failed ");
        }
    });
    if terminal {
        eprintln!();
    }
    let seconds = start.elapsed().as_secs_f64();
    context.show(&document(&outcome, seconds), |_| text(&outcome, seconds))?;
    Ok(if outcome.failures.is_empty() { Exit::Done } else { Exit::Failed })
}

fn read_plan(path: &std::path::Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("{} cannot be read: {error}", path.display()),
            "name a plan that an earlier run wrote",
        )
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("{} is not a plan: {error}", path.display()),
            "name a plan that an earlier run wrote",
        )
    })
}

fn document(outcome: &Outcome, seconds: f64) -> serde_json::Value {
    let failures = outcome.failures.iter().map(|failure| {
        let plan: serde_json::Value = serde_json::from_str(&failure.plan).unwrap_or_default();
        serde_json::json!({"seed": failure.seed, "text": failure.text, "plan": plan})
    });
    serde_json::json!({
        "schema": "homing.simulation/1",
        "seeds": outcome.seeds,
        "steps": outcome.steps,
        "seconds": seconds,
        "reached": outcome.reached,
        "failures": failures.collect::<Vec<_>>(),
    })
}

fn text(outcome: &Outcome, seconds: f64) -> String {
    let mut out = String::new();
    for failure in &outcome.failures {
        out += &format!("seed {} failed: {}\n", failure.seed, failure.text);
        out += &format!("  again: homing simulate --seed {}\n  plan: {}\n", failure.seed, failure.plan);
    }
    for (what, count) in &outcome.reached {
        out += &format!("{count:>8} × {what}\n");
    }
    let rate = outcome.seeds as f64 / seconds.max(0.001) * 60.0;
    out += &format!(
        "{} seeds, {} steps, {} failed, in {seconds:.1} s ({rate:.0} seeds a minute)\n",
        outcome.seeds,
        outcome.steps,
        outcome.failures.len()
    );
    out
}
