//! Faults for people: one line that editors understand, the excerpt with a caret, the remedy.

use std::collections::BTreeSet;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::output::{BAD, DIM, STRONG, WARN, clean, count, cut, paint};
use super::remedies::told;
use crate::config::World;
use crate::fault::{Fault, Faults, Place, Severity};

/// How many faults are shown in full; the rest is counted.
pub(super) const FAULTS_SHOWN_MAX: usize = 200;

/// The longest line of a file that is shown, in characters.
const LINE_MAX: usize = 400;

/// All faults, errors and warnings file by file from the top, and how many there are.
pub(super) fn text(faults: &Faults, world: &dyn World) -> String {
    let mut text = String::new();
    for fault in faults.in_order().into_iter().take(FAULTS_SHOWN_MAX) {
        text.push_str(&one(fault, world));
    }
    if faults.len() > FAULTS_SHOWN_MAX {
        text.push_str(&format!("… and {} more\n", faults.len() - FAULTS_SHOWN_MAX));
    }
    text.push_str(&paint(STRONG, &summary(faults)));
    text.push('\n');
    text
}

/// `2 errors, 1 warning in 3 files`.
pub(super) fn summary(faults: &Faults) -> String {
    let errors = faults.iter().filter(|fault| fault.severity == Severity::Error).count();
    let files: BTreeSet<&Path> = faults.iter().filter_map(|fault| fault.place.as_ref()).map(|p| p.source.path.as_path()).collect();
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(count(errors, "error"));
    }
    if faults.len() > errors {
        parts.push(count(faults.len() - errors, "warning"));
    }
    let files = if files.is_empty() { String::new() } else { format!(" in {}", count(files.len(), "file")) };
    format!("{}{files}", parts.join(", "))
}

/// `{"faults": [{file, line, column, severity, code, message, help}]}`.
pub(super) fn json(faults: &Faults, world: &dyn World) -> Value {
    let list: Vec<Value> = faults
        .in_order()
        .into_iter()
        .map(|fault| {
            let place = fault.place.as_ref();
            let (message, help) = told(fault);
            let position = |number: u32| if number == 0 { Value::Null } else { json!(number) };
            json!({
                "file": place.map(|p| shown_path(&p.source.path, world)),
                "line": place.map_or(Value::Null, |p| position(p.line)),
                "column": place.map_or(Value::Null, |p| position(p.column)),
                "severity": fault.severity,
                "code": fault.code,
                "message": message,
                "help": help,
            })
        })
        .collect();
    json!({ "faults": list })
}

/// A path as a person would type it: relative below the current folder.
pub(super) fn shown_path(path: &Path, world: &dyn World) -> String {
    let relative = path.strip_prefix(world.current_dir()).ok().filter(|relative| !relative.as_os_str().is_empty());
    relative.unwrap_or(path).display().to_string()
}

fn one(fault: &Fault, world: &dyn World) -> String {
    let (word, style) = match fault.severity {
        Severity::Error => ("error", BAD),
        Severity::Warning => ("warning", WARN),
    };
    let (message, help) = told(fault);
    let mut text = String::new();
    if let Some(place) = &fault.place {
        text.push_str(&clean(&shown_path(&place.source.path, world)));
        if place.line > 0 {
            text.push_str(&format!(":{}:{}", place.line, place.column.max(1)));
        }
        text.push_str(": ");
    }
    text.push_str(&format!("{}: {}\n", paint(style, &format!("{word}[{}]", fault.code)), clean(message)));
    if let Some(excerpt) = fault.place.as_ref().and_then(|place| excerpt(place, fault.severity)) {
        text.push_str(&excerpt);
        text.push('\n');
    }
    if let Some(help) = help {
        text.push_str(&format!("  {} {}\n", paint(DIM, "= help:"), clean(help)));
    }
    text
}

/// The line with a caret under what is meant.
fn excerpt(place: &Place, severity: Severity) -> Option<String> {
    let line = place.source.text.lines().nth((place.line as usize).checked_sub(1)?)?;
    let line = line.strip_prefix('\u{feff}').unwrap_or(line);
    if line.trim().is_empty() {
        return None;
    }
    let column = (place.column as usize).saturating_sub(1);
    // A very long line is shown from a little before the place on.
    let skipped = if column > LINE_MAX / 2 { column - LINE_MAX / 4 } else { 0 };
    let shown: String = cut(&line.chars().skip(skipped).collect::<String>(), LINE_MAX);
    let at = |characters: usize| shown.char_indices().nth(characters).map_or(shown.len(), |(byte, _)| byte);
    let start = at(column - skipped);
    let end = at(column - skipped + (place.length as usize).max(1)).max(start);
    let level = match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let snippet = Snippet::source(shown.as_str())
        .line_start(place.line as usize)
        .annotation(AnnotationKind::Primary.span(start..end.max((start + 1).min(shown.len()))));
    let group = Group::with_level(level).element(snippet);
    Some(Renderer::styled().render(&[group]))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::config::FakeWorld;
    use crate::fault::SourceText;

    fn place(text: &str, line: u32, column: u32, length: u32) -> Place {
        let source = SourceText { path: PathBuf::from("/home/ops/rules/a.yaml"), text: text.to_owned() };
        Place { source: Arc::new(source), line, column, length }
    }

    fn plain(fault: Fault) -> String {
        let mut faults = Faults::new();
        faults.push(fault);
        anstream::adapter::strip_str(&text(&faults, &FakeWorld::new())).to_string()
    }

    #[test]
    fn a_fault_has_its_line_its_caret_and_its_remedy() {
        let fault = Fault::error("unknown-key", place("rule: x\nwhne: y\n", 2, 1, 4), "unknown key `whne`").help("did you mean `when`?");
        let text = plain(fault);
        assert!(text.starts_with("rules/a.yaml:2:1: error[unknown-key]: unknown key `whne`\n"), "{text}");
        assert!(text.contains("2 | whne: y\n") && text.contains("| ^^^^"), "{text}");
        assert!(text.contains("= help: did you mean `when`?"), "{text}");
        assert!(text.ends_with("1 error in 1 file\n"), "{text}");
    }

    #[test]
    fn odd_places_are_shown_without_a_panic() {
        for (source, line, column, length) in [
            ("", 1, 1, 0),
            ("abc", 9, 9, 9),
            ("äöü: ß\n", 1, 6, 1),
            ("\u{feff}a: 1\r\n", 1, 1, 1),
            ("a", 0, 0, 0),
            ("ab\n", 1, 3, 5),
            ("x: \u{1b}[31m\n", 1, 4, 2),
        ] {
            plain(Fault::warning("x", place(source, line, column, length), "m"));
        }
        let long = format!("key: {}here\n", "x".repeat(100_000));
        assert!(plain(Fault::error("x", place(&long, 1, 100_006, 4), "m")).len() < 3_000);
    }

    #[test]
    fn as_json_a_fault_without_a_place_has_nulls() {
        let mut faults = Faults::new();
        faults.push(Fault::general("file-unreadable", "gone"));
        let value = json(&faults, &FakeWorld::new());
        assert_eq!(value["faults"][0]["file"], Value::Null);
        assert_eq!(value["faults"][0]["severity"], "error");
        assert_eq!(value["faults"][0]["line"], Value::Null);
    }
}
