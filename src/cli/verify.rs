//! `homing verify`: compares a replica and its hub by hashes, and names what differs.

use std::time::Duration;

use super::context::{Context, Paint};
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use super::words;
use crate::ipc::answer::Verification;
use crate::ipc::method;

#[derive(clap::Args)]
pub struct Args {
    /// The replica.
    name: String,
    /// Bring rows that differ back in step.
    #[arg(long)]
    repair: bool,
}

/// Large tables take their time; an agent that is gone is noticed at once all the same.
const TIMEOUT: Duration = Duration::from_secs(3600);

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let request = method::VerifyRun { replica: args.name, repair: args.repair };
    let found: Verification = context.connect()?.call_within(request, TIMEOUT)?;
    context.show(&found, |found| render(found, &context.paint, context.width))?;
    Ok(if differing(found.tables.iter().map(|table| table.differing.len())) <= found.repaired {
        Exit::Done
    } else {
        Exit::NotClean
    })
}

fn differing(counts: impl Iterator<Item = usize>) -> u64 {
    counts.sum::<usize>() as u64
}

fn render(found: &Verification, paint: &Paint, width: usize) -> String {
    let mut table = Table::new(&["table", ">rows here", ">rows there", "verdict"]);
    for check in &found.tables {
        table.row(vec![
            check.table.clone(),
            words::thousands(check.rows_here),
            words::thousands(check.rows_there),
            match check.differing.len() as u64 {
                0 if check.rows_here == check.rows_there => "equal".to_owned(),
                0 => "differs".to_owned(),
                rows => format!("{} differ", words::count(rows, "row")),
            },
        ]);
    }
    let mut out = table.render(paint, width);
    if found.tables.iter().any(|check| !check.differing.is_empty()) {
        let mut rows = Table::new(&["table", "key", "what"]);
        for check in &found.tables {
            for (key, what) in &check.differing {
                rows.row(vec![check.table.clone(), key.clone(), difference_words(what).to_owned()]);
            }
        }
        out.push_str(&format!("\n{}", rows.render(paint, width)));
    }
    if found.repaired > 0 {
        out.push_str(&format!("{} put right\n", words::count(found.repaired, "row")));
    }
    out
}

fn difference_words(what: &str) -> &str {
    match what {
        "missing_here" => "only at the hub",
        "missing_there" => "only here",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use crate::model::status::TableCheck;

    #[test]
    fn tables_that_differ_name_their_rows() {
        let check = |table: &str, differing: Vec<(String, String)>| TableCheck {
            table: table.into(),
            rows_here: 12,
            rows_there: 12,
            differing,
        };
        let found = Verification {
            schema: answer::VERIFY.into(),
            replica: "notes".into(),
            tables: vec![
                check("projects", vec![]),
                check("tasks", vec![("[7]".into(), "differs".into()), ("[8]".into(), "missing_here".into())]),
            ],
            repaired: 0,
        };
        assert_eq!(
            render(&found, &Paint::plain(), usize::MAX),
            "table     rows here  rows there  verdict\n\
             projects         12          12  equal\n\
             tasks            12          12  2 rows differ\n\
             \n\
             table  key  what\n\
             tasks  [7]  differs\n\
             tasks  [8]  only at the hub\n"
        );
    }
}
