//! What is wrong with a config: where, what, and what to write instead.
//!
//! All problems of a config are told at once. No problem ever quotes a value that
//! could be a secret.

use std::path::PathBuf;

use crate::model::text::printable;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Counted from 1; columns in characters.
    File { line: usize, column: usize },
    /// The name of the variable.
    Environment(String),
    /// It is not written anywhere, and that may be the problem.
    Nowhere,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    pub text: String,
    /// What to do. Empty when the text says it all.
    pub hint: String,
}

impl Problem {
    pub fn new(place: &Place, text: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem { place: place.clone(), text: text.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        match &self.place {
            Place::File { line, column } => write!(formatter, "line {line}, column {column}: ")?,
            Place::Environment(name) => write!(formatter, "{name}: ")?,
            Place::Nowhere => {}
        }
        // A key of the file may hold anything, also what a terminal would obey.
        formatter.write_str(&printable(&self.text))?;
        if !self.hint.is_empty() {
            write!(formatter, "; {}", printable(&self.hint))?;
        }
        Ok(())
    }
}

/// Why there is no config: every problem, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    /// `None` when all of it comes from the environment.
    pub file: Option<PathBuf>,
    pub problems: Vec<Problem>,
}

/// One problem a line: `homing.toml:12:3: unknown key `databse` …`, as compilers print
/// them and editors read them.
impl std::fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                formatter.write_str("\n")?;
            }
            match (&problem.place, &self.file) {
                (Place::File { line, column }, Some(file)) => {
                    let bare = Problem { place: Place::Nowhere, ..problem.clone() };
                    write!(formatter, "{}:{line}:{column}: {bare}", file.display())?;
                }
                (Place::Nowhere, Some(file)) => write!(formatter, "{}: {problem}", file.display())?,
                _ => write!(formatter, "{problem}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The candidate that was probably meant.
pub(super) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let typed = plain(typed);
    let near = |candidate: &&str| {
        let distance = strsim::damerau_levenshtein(&typed, &plain(candidate));
        distance <= 1.max(typed.chars().count().min(candidate.chars().count()) / 3)
    };
    let likeness = |candidate: &str| strsim::jaro_winkler(&typed, &plain(candidate));
    candidates.into_iter().filter(near).max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

/// `did you mean …?`, or nothing.
pub fn did_you_mean<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, candidates).map_or_else(String::new, |name| format!("did you mean `{name}`?"))
}
