//! The one table that is printed: a line a figure, columns aligned.
//!
//! A ratio is Homing's rate over bare SQLite's. A bar is a ratio to reach or
//! not to pass, or a figure not to pass; a line without one is there to be known.

pub struct Row {
    what: String,
    bare: Option<f64>,
    homing: f64,
    unit: &'static str,
    bar: Bar,
}

enum Bar {
    None,
    /// The ratio must reach this.
    Ratio(f64),
    /// The ratio must not pass this.
    Within(f64),
    /// The figure must not pass this.
    Most(f64),
}

impl Row {
    /// Two rates of one kind, in `unit` a second.
    pub fn rates(what: impl Into<String>, bare: f64, homing: f64, unit: &'static str) -> Row {
        Row { what: what.into(), bare: Some(bare), homing, unit, bar: Bar::None }
    }

    pub fn figure(what: impl Into<String>, homing: f64, unit: &'static str) -> Row {
        Row { what: what.into(), bare: None, homing, unit, bar: Bar::None }
    }

    /// What bare SQLite has for the same figure.
    pub fn beside(self, bare: f64) -> Row {
        Row { bare: Some(bare), ..self }
    }

    pub fn at_least(self, ratio: f64) -> Row {
        Row { bar: Bar::Ratio(ratio), ..self }
    }

    pub fn within(self, ratio: f64) -> Row {
        Row { bar: Bar::Within(ratio), ..self }
    }

    pub fn at_most(self, figure: f64) -> Row {
        Row { bar: Bar::Most(figure), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        self.bare.map(|bare| self.homing / bare)
    }

    fn cells(&self) -> [String; 6] {
        let ratio = self.ratio();
        let (bar, met) = match self.bar {
            Bar::None => (String::new(), None),
            Bar::Ratio(least) => (format!("≥ {least:.2}"), ratio.map(|ratio| ratio >= least)),
            Bar::Within(most) => (format!("≤ {most:.2}"), ratio.map(|ratio| ratio <= most)),
            Bar::Most(most) => (format!("≤ {} {}", number(most), self.unit), Some(self.homing <= most)),
        };
        [
            self.what.clone(),
            self.bare.map_or_else(|| "–".to_owned(), |bare| format!("{} {}", number(bare), self.unit)),
            format!("{} {}", number(self.homing), self.unit),
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            bar,
            met.map_or("", |met| if met { "met" } else { "missed" }).to_owned(),
        ]
    }
}

pub fn render(rows: &[Row]) -> String {
    let head = ["what", "bare", "Homing", "ratio", "bar", ""].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
            1..=3 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Three digits that mean something, thousands apart.
fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
    }
}

/// The value that `share` of all samples do not pass.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = ((samples.len() as f64 * share).ceil() as usize).clamp(1, samples.len().max(1));
    samples.get(at - 1).copied().unwrap_or(f64::NAN)
}
