//! `homing explain`: the life of one row, oldest first, and where it stands now.

use super::context::{Context, Paint, now};
use super::exit::Exit;
use super::failure::Failure;
use super::words;
use crate::ipc::method;
use crate::model::status::Explanation;
use crate::model::text::printable;

#[derive(clap::Args)]
pub struct Args {
    /// The replica.
    name: String,
    table: String,
    /// A JSON array, or one bare value.
    key: String,
}

pub fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let request = method::RowExplain { replica: args.name, table: args.table, key: args.key };
    let explanation: Explanation = context.connect()?.call(request)?;
    context.show(&explanation, |explanation| render(explanation, &context.paint, now()))?;
    Ok(Exit::Done)
}

fn render(explanation: &Explanation, paint: &Paint, now: i64) -> String {
    let mut out = format!(
        "{} {} in {}\n{}\n",
        paint.strong(&printable(&explanation.table)),
        paint.strong(&printable(&explanation.key)),
        printable(&explanation.replica),
        printable(&explanation.verdict),
    );
    let whens: Vec<String> =
        explanation.lines.iter().map(|line| line.at.map_or_else(String::new, |at| words::moment(at, now))).collect();
    let when_width = whens.iter().map(|when| super::table::width(when)).max().unwrap_or(0);
    let what_width = explanation.lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
    for (line, when) in explanation.lines.iter().zip(&whens) {
        let what = paint.dim(&format!("{:what_width$}", line.what.replace('_', " ")));
        out.push_str(&format!("  {when:>when_width$}  {what}  {}\n", printable(&line.text)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::answer;
    use crate::model::status::ExplanationLine;

    #[test]
    fn a_life_is_a_timeline() {
        let line = |at, what: &str, text: &str| ExplanationLine { at, what: what.into(), text: text.into() };
        let explanation = Explanation {
            schema: answer::EXPLAIN.into(),
            replica: "notes".into(),
            table: "tasks".into(),
            key: r#"["7"]"#.into(),
            verdict: "Waits to be sent: the hub is down.".into(),
            lines: vec![line(Some(0), "sent", "revision 12"), line(None, "set_aside", "title\nchanged")],
        };
        assert_eq!(
            render(&explanation, &Paint::plain(), 180_000),
            "tasks [\"7\"] in notes\nWaits to be sent: the hub is down.\n  \
             3 min ago  sent       revision 12\n             set aside  title\\nchanged\n"
        );
    }
}
