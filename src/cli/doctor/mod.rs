//! `homing doctor`: looks at everything that sync needs, and says of each thing that is
//! wrong what was seen and which command mends it.
//!
//! It only looks: no file is changed and no agent disturbed. It needs no agent, since that
//! may be what is wrong. What it cannot look at for lack of something else is passed over:
//! one fault is told once, where it begins.

mod database;
mod files;
mod remote;
mod running;

use std::path::PathBuf;

use serde::Serialize;

use super::context::{Context, Paint};
use super::exit::Exit;
use super::failure::Failure;
use super::table::wrap;
use super::validate;
use crate::config::{self, Config, ConfigError};
use crate::model::text::printable;

#[derive(clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Tell what is well too.
    #[arg(long)]
    all: bool,
    /// Send nothing to any remote.
    #[arg(long)]
    offline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Well,
    /// It works, and will not for long, or not as it should.
    Warning,
    /// Something does not sync.
    Wrong,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// A stable name for programs.
    pub check: &'static str,
    pub verdict: Verdict,
    pub replica: Option<String>,
    /// What was seen.
    pub evidence: String,
    /// What mends it, with the command where there is one; empty where all is well.
    pub mend: String,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    version: &'static str,
    well: bool,
    findings: Vec<Finding>,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let environment = validate::environment();
    let (findings, bad_config) = match config::load(args.config.as_deref(), &environment) {
        Ok(config) => (examine(&config, &environment, &args, context), false),
        Err(error) => (config_problems(&error), true),
    };
    let worst = findings.iter().any(|finding| finding.verdict != Verdict::Well);
    let document = Document { schema: "homing.doctor/1", version: env!("CARGO_PKG_VERSION"), well: !worst, findings };
    context.show(&document, |document| render(&document.findings, args.all, &context.paint, context.width))?;
    Ok(match (bad_config, worst) {
        (true, _) => Exit::BadConfig,
        (false, true) => Exit::NotClean,
        (false, false) => Exit::Done,
    })
}

fn examine(config: &Config, environment: &[(String, String)], args: &Args, context: &Context) -> Vec<Finding> {
    let mut report = Report::default();
    report.well("config", None, "the config is good");
    files::examine(config, environment, &mut report);
    let agent = running::examine(config, environment, context, &mut report);
    for replica in &config.replicas {
        database::examine(replica, &mut report);
        if !args.offline {
            remote::examine(replica, &mut report);
        }
    }
    database::examine_twins(&config.replicas, &mut report);
    if let Some(status) = agent {
        running::examine_standing(&status, &mut report);
    }
    report.findings
}

fn config_problems(error: &ConfigError) -> Vec<Finding> {
    let file = error.file.as_ref().map_or_else(String::new, |file| format!("{}: ", file.display()));
    let mut report = Report::default();
    for problem in &error.problems {
        let mend = format!("{}; `homing validate` checks it again", problem.hint);
        report.wrong("config", None, format!("{file}{problem}"), mend);
    }
    report.findings
}

/// Where checks put what they found.
#[derive(Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub fn well(&mut self, check: &'static str, replica: Option<&str>, evidence: impl Into<String>) {
        self.add(check, Verdict::Well, replica, evidence.into(), String::new());
    }

    pub fn warning(
        &mut self,
        check: &'static str,
        replica: Option<&str>,
        evidence: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(check, Verdict::Warning, replica, evidence.into(), mend.into());
    }

    pub fn wrong(
        &mut self,
        check: &'static str,
        replica: Option<&str>,
        evidence: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(check, Verdict::Wrong, replica, evidence.into(), mend.into());
    }

    /// True where something of this replica, or of all, is wrong already.
    pub fn is_wrong(&self, replica: &str) -> bool {
        let about = |finding: &&Finding| finding.replica.as_deref() == Some(replica);
        self.findings.iter().filter(about).any(|finding| finding.verdict == Verdict::Wrong)
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, replica: Option<&str>, evidence: String, mend: String) {
        self.findings.push(Finding { check, verdict, replica: replica.map(ToOwned::to_owned), evidence, mend });
    }
}

fn render(findings: &[Finding], all: bool, paint: &Paint, width: usize) -> String {
    let mut out = String::new();
    let well = findings.iter().filter(|finding| finding.verdict == Verdict::Well).count();
    let mut seen: Vec<&Finding> = Vec::new();
    for finding in findings.iter().filter(|finding| all || finding.verdict != Verdict::Well) {
        // A hub that is down is one fault, however many replicas it is the remote of.
        let same = |other: &&Finding| {
            (other.check, &other.evidence, &other.mend) == (finding.check, &finding.evidence, &finding.mend)
        };
        if seen.iter().any(same) {
            continue;
        }
        seen.push(finding);
        let names: Vec<String> =
            findings.iter().filter(same).filter_map(|other| other.replica.as_deref().map(printable)).collect();
        let mark = match finding.verdict {
            Verdict::Well => paint.good("✓"),
            Verdict::Warning => paint.waiting("!"),
            Verdict::Wrong => paint.bad("✗"),
        };
        let about = if names.is_empty() { String::new() } else { format!("{}: ", names.join(", ")) };
        let text = wrap(&format!("{about}{}", printable(&finding.evidence)), 2, width);
        out.push_str(&format!("{mark} {}", text.trim_start()));
        if !finding.mend.is_empty() {
            let next = wrap(&format!("next: {}", printable(&finding.mend)), 4, width);
            out.push_str(&next.replacen("next:", &paint.dim("next:"), 1));
        }
    }
    let things = seen.iter().filter(|finding| finding.verdict != Verdict::Well).count();
    let summary = match things {
        0 => format!("all is well: {well} checks"),
        1 => format!("1 thing to look at; {well} checks are well"),
        many => format!("{many} things to look at; {well} checks are well"),
    };
    out.push_str(&format!("{summary}\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_way_out_and_what_is_well_is_counted() {
        let mut report = Report::default();
        report.well("config", None, "the config is good");
        report.wrong("database", Some("notes"), "it is not there", "start the app once");
        for name in ["notes", "stock"] {
            report.wrong("door", Some(name), "the hub is down", "start it");
        }
        assert_eq!(
            render(&report.findings, false, &Paint::plain(), usize::MAX),
            "✗ notes: it is not there\n    next: start the app once\n\
             ✗ notes, stock: the hub is down\n    next: start it\n\
             2 things to look at; 1 checks are well\n"
        );
        let all = render(&report.findings[..1], true, &Paint::plain(), usize::MAX);
        assert_eq!(all, "✓ the config is good\nall is well: 1 checks\n");
    }
}
