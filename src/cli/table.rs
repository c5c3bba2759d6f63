//! Text in columns that line up, and fit the terminal.
//!
//! Cells are data: control characters are shown, not obeyed. When the columns are wider
//! than the terminal the widest are cut, with `…`; off-terminal nothing is ever cut.
//!
//! ```text
//! table     key    state
//! projects  ["p"]  pending
//! ```

use super::context::Paint;
use crate::model::text::printable;

const GAP: usize = 2;
const NARROWEST: usize = 6;

pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A heading that begins with `>` is for a column of numbers, set to the right.
    pub fn new(header: &[&'static str]) -> Table {
        Table { header: header.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    pub fn render(&self, paint: &Paint, width_max: usize) -> String {
        let names: Vec<String> = self.header.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        if self.narrowest(&names) > width_max {
            return self.blocks(&names, paint);
        }
        let columns = 0..names.len();
        let widest = |at: usize| self.rows.iter().chain([&names]).map(|row| width(&row[at])).max().unwrap_or(0);
        let widths = fit(columns.map(widest).collect(), width_max);
        let mut out = format!("{}\n", paint.dim(&self.line(&names, &widths)));
        for row in &self.rows {
            out.push_str(&self.line(row, &widths));
            out.push('\n');
        }
        out
    }

    /// Columns that the table needs at the very least.
    fn narrowest(&self, names: &[String]) -> usize {
        let widest =
            |at: usize| self.rows.iter().map(|row| width(&row[at])).chain([width(&names[at])]).max().unwrap_or(0);
        (0..names.len()).map(|at| widest(at).min(NARROWEST)).sum::<usize>() + GAP * names.len().saturating_sub(1)
    }

    /// For terminals too narrow for columns: a line a cell, and an empty line after each row.
    fn blocks(&self, names: &[String], paint: &Paint) -> String {
        let label = names.iter().map(|name| width(name)).max().unwrap_or(0);
        let mut out = String::new();
        for row in &self.rows {
            for (name, cell) in names.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
                let space = " ".repeat(label - width(name));
                out.push_str(&format!("{}{space}  {cell}\n", paint.dim(name)));
            }
            out.push('\n');
        }
        out
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut out = String::new();
        for (at, (cell, max)) in cells.iter().zip(widths).enumerate() {
            let cell = cut(cell, *max);
            let space = " ".repeat(max - width(&cell));
            let gap = if at == 0 { "" } else { "  " };
            let numbers = self.header[at].starts_with('>');
            out.push_str(gap);
            out.push_str(&if numbers { space + &cell } else { cell + &space });
        }
        out.truncate(out.trim_end().len());
        out
    }
}

/// Takes from the widest column, again and again, until all fit or none can give more.
fn fit(mut widths: Vec<usize>, width_max: usize) -> Vec<usize> {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>().saturating_add(gaps) > width_max {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// Text in lines that fit, broken at spaces, each after `indent` spaces. A word that is
/// wider than the terminal stays whole.
pub fn wrap(text: &str, indent: usize, width_max: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(line).saturating_add(1 + width(word)) <= width_max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(" ".repeat(indent) + word),
        }
    }
    lines.join("\n") + "\n"
}

/// The text, or as much of it as fits before `…`.
pub fn cut(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += cells(character);
        if used > max {
            break;
        }
        out.push(character);
    }
    out + "…"
}

/// Columns on a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// East Asian wide characters and emoji take two; marks that combine take none.
fn cells(character: char) -> usize {
    match character as u32 {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["table", ">tries", "why"]);
        table.row(vec!["tasks".into(), "3".into(), "the hub refuses it: amount must be positive".into()]);
        table.row(vec!["日本".into(), "12".into(), "a\nb\u{1b}[31m".into()]);
        table
    }

    #[test]
    fn columns_line_up_and_control_characters_are_shown() {
        assert_eq!(
            sample().render(&Paint::plain(), usize::MAX),
            "table  tries  why\n\
             tasks      3  the hub refuses it: amount must be positive\n\
             日本      12  a\\nb\\u{1b}[31m\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        let text = sample().render(&Paint::plain(), 30);
        assert_eq!(text.lines().nth(1), Some("tasks      3  the hub refuses…"));
        assert!(text.lines().all(|line| width(line) <= 30));
    }

    #[test]
    fn a_terminal_too_narrow_for_columns_gets_blocks() {
        let text = sample().render(&Paint::plain(), 12);
        assert!(text.starts_with("table  tasks\ntries  3\nwhy    the hub"), "{text}");
    }

    #[test]
    fn long_text_is_broken_at_spaces() {
        assert_eq!(wrap("one two three four", 2, 10), "  one two\n  three\n  four\n");
        assert_eq!(wrap("one two", 4, usize::MAX), "    one two\n");
        assert_eq!(wrap("extraordinarily long", 2, 8), "  extraordinarily\n  long\n");
    }

    #[test]
    fn cutting_never_splits_a_character() {
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
