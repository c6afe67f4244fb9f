//! What is wrong with something a person wrote: where, what, and how to mend it.
//!
//! Faults are collected, never thrown one by one: a reader of a bad file sees all of them at once.
//! How a fault looks on a terminal is the business of `cli`.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is refused.
    Warning,
    /// The file is refused.
    Error,
}

/// One text that was read, kept so that a report can show the line.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// As the user wrote it, for messages.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// A place in a text: both count from 1; 0 means "the file as a whole". Columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text it is in.
    pub source: Arc<SourceText>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// How many characters are meant; 0 where only the beginning is known.
    pub length: u32,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// A stable name, `kebab-case`, for machines and documentation: `unknown-key`, `cel-syntax`, …
    pub code: &'static str,
    /// Where; `None` when it is not in a file (an environment variable, a missing folder).
    pub place: Option<Place>,
    /// What is wrong: lower case, no full stop, values in backticks.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Fault {
    /// An error at a place.
    #[must_use]
    pub fn error(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, place: Some(place), message: message.into(), help: None }
    }

    /// A warning at a place.
    #[must_use]
    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    /// An error without a place in a file.
    #[must_use]
    pub fn general(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, place: None, message: message.into(), help: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `file:line:col: message; help` on one line, for logs and plain output.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut text = String::new();
        if let Some(place) = &self.place {
            text.push_str(&place.source.path.display().to_string());
            if place.line > 0 {
                text.push_str(&format!(":{}:{}", place.line, place.column.max(1)));
            }
            text.push_str(": ");
        }
        text.push_str(&self.message);
        if let Some(help) = &self.help {
            text.push_str("; ");
            text.push_str(help);
        }
        text
    }
}

/// All faults found so far, in the order found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Adds an error.
    pub fn error(&mut self, code: &'static str, place: &Place, message: impl Into<String>) {
        self.push(Fault::error(code, place.clone(), message));
    }

    /// Adds an error with its remedy.
    pub fn error_help(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(Fault::error(code, place.clone(), message).help(help));
    }

    /// Adds a warning with its remedy.
    pub fn warning(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(Fault::warning(code, place.clone(), message).help(help));
    }

    /// Adds those of another collection.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether any of them refuses.
    #[must_use]
    pub fn any_error(&self) -> bool {
        self.0.iter().any(|f| f.severity == Severity::Error)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// As a person reads them: file by file in the order met, each from its top, what is said of a file as a whole after that; what has no file comes first.
    #[must_use]
    pub fn in_order(&self) -> Vec<&Fault> {
        let mut files: Vec<&std::path::Path> = Vec::new();
        let mut keyed: Vec<(usize, bool, u32, u32, &Fault)> = Vec::with_capacity(self.0.len());
        for fault in &self.0 {
            let Some(place) = &fault.place else {
                keyed.push((0, false, 0, 0, fault));
                continue;
            };
            let path = place.source.path.as_path();
            // Faults of one file come together, so the newest is the one looked for.
            let at = files.iter().rposition(|file| *file == path).unwrap_or_else(|| {
                files.push(path);
                files.len() - 1
            });
            keyed.push((at + 1, place.line == 0, place.line, place.column, fault));
        }
        keyed.sort_by_key(|(file, whole, line, column, _)| (*file, *whole, *line, *column));
        keyed.into_iter().map(|(.., fault)| fault).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The known name nearest to `name`, when it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            // What was begun and not finished (`que`) is nearer than another word of the same length (`due`).
            if lower.chars().count() >= ABBREVIATION_MIN && other.starts_with(&lower) {
                return Some((usize::from(other != lower), candidate));
            }
            let distance = strsim::damerau_levenshtein(&lower, &other);
            (distance <= (other.chars().count() / 3).max(1)).then_some((distance + 1, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// From how many characters on the beginning of a word is taken for the word.
const ABBREVIATION_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name() {
        assert_eq!(nearest("whne", ["name", "when", "match"]), Some("when"));
        assert_eq!(nearest("colour", ["name", "when", "match"]), None);
    }

    #[test]
    fn faults_are_shown_file_by_file_from_the_top() {
        let file = |name: &str| Arc::new(SourceText { path: name.into(), text: String::new() });
        let (config, rules) = (file("tripline.yaml"), file("rules/a.yaml"));
        let at = |source: &Arc<SourceText>, line, column| Place { source: Arc::clone(source), line, column, length: 0 };
        let mut faults = Faults::new();
        for place in [at(&config, 9, 3), at(&config, 0, 0), at(&rules, 2, 1), at(&config, 7, 70), at(&rules, 1, 5), at(&config, 7, 2)] {
            faults.push(Fault::error("x", place, "wrong"));
        }
        faults.push(Fault::general("y", "nothing is there"));
        let shown: Vec<String> = faults.in_order().into_iter().map(Fault::one_line).collect();
        let expected = [
            "nothing is there",
            "tripline.yaml:7:2: wrong",
            "tripline.yaml:7:70: wrong",
            "tripline.yaml:9:3: wrong",
            "tripline.yaml: wrong",
            "rules/a.yaml:1:5: wrong",
            "rules/a.yaml:2:1: wrong",
        ];
        assert_eq!(shown, expected);
    }
}
