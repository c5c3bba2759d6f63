//! `homing plan`: what the next cycle would send, in which order, and why.

use super::context::{Context, Paint};
use super::exit::Exit;
use super::failure::Failure;
use super::table::Table;
use super::words;
use crate::ipc::method;
use crate::model::settings::Priority;
use crate::model::status::PlanReport;

#[derive(clap::Args)]
pub struct Args {
    /// The replica.
    name: String,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let plan: PlanReport = context.connect()?.call(method::PlanGet { replica: args.name })?;
    context.show(&plan, |plan| render(plan, &context.paint, context.width))?;
    Ok(Exit::Done)
}

fn render(plan: &PlanReport, paint: &Paint, width: usize) -> String {
    let mut out = String::new();
    if plan.batches.is_empty() {
        out.push_str("the next cycle would send nothing\n");
    }
    for (at, batch) in plan.batches.iter().enumerate() {
        let changes = words::count(batch.changes.len() as u64, "change");
        out.push_str(&format!(
            "{}: {changes}, {}\n",
            paint.strong(&format!("batch {}", at + 1)),
            words::size(batch.bytes)
        ));
        let mut table = Table::new(&[">", "table", "key", "operation", "priority", "because"]);
        for (place, change) in batch.changes.iter().enumerate() {
            table.row(vec![
                (place + 1).to_string(),
                change.table.clone(),
                change.key.clone(),
                change.operation.clone(),
                Priority(change.priority).word().to_owned(),
                change.because.clone(),
            ]);
        }
        out.push_str(&table.render(paint, width));
    }
    if plan.more {
        out.push_str("and more, after these\n");
    }
    if !plan.staying.is_empty() {
        out.push_str(&format!("{}\n", paint.strong("would stay:")));
        let mut table = Table::new(&["table", "key", "operation", "state", "reason"]);
        for change in &plan.staying {
            table.row(vec![
                change.table.clone(),
                change.key.clone(),
                change.operation.clone(),
                change.state.replace('_', " "),
                change.reason.as_ref().map_or_else(String::new, |reason| reason.text.clone()),
            ]);
        }
        out.push_str(&table.render(paint, width));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use crate::model::status::{PlanBatch, PlanChange};

    #[test]
    fn a_plan_lists_its_batches_in_order() {
        let change = |table: &str, because: &str| PlanChange {
            table: table.into(),
            key: "[1]".into(),
            operation: "insert".into(),
            priority: 2,
            because: because.into(),
        };
        let changes = vec![change("projects", "before tasks [1] that refers to it"), change("tasks", "oldest first")];
        let batches = vec![PlanBatch { bytes: 512, changes }];
        let plan = PlanReport {
            schema: answer::PLAN.into(),
            replica: "notes".into(),
            batches,
            staying: Vec::new(),
            more: false,
        };
        assert_eq!(
            render(&plan, &Paint::plain(), usize::MAX),
            "batch 1: 2 changes, 512 B\n   table     key  operation  priority  because\n\
             1  projects  [1]  insert     normal    before tasks [1] that refers to it\n\
             2  tasks     [1]  insert     normal    oldest first\n"
        );
        let empty = PlanReport { batches: Vec::new(), ..plan };
        assert_eq!(render(&empty, &Paint::plain(), 80), "the next cycle would send nothing\n");
    }
}
