//! `tripline connector test`: runs the tests inside connector files. Nothing is sent.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::list;
use crate::cli::output::{BAD, GOOD, Out, Stop, paint};
use crate::cli::test::show_result;
use crate::cli::{NO, YES, setup};
use crate::clock::Clock;
use crate::connectors::{ConnectorTestReport, Connectors};
use crate::fault::SourceText;

/// What is asked of the command.
pub(in crate::cli) struct Asked<'a> {
    /// Names of connectors; none means all.
    pub(in crate::cli) names: &'a [String],
    /// A file in place of those of the configuration.
    pub(in crate::cli) file: Option<&'a Path>,
    /// A connector without tests fails.
    pub(in crate::cli) require_tests: bool,
    /// One JSON object.
    pub(in crate::cli) json: bool,
}

pub(in crate::cli) fn run(config: Option<&Path>, asked: &Asked<'_>, out: &mut Out) -> Result<u8, Stop> {
    let connectors = match asked.file {
        None => list::connectors(config)?,
        Some(path) => of_file(path)?,
    };
    for name in asked.names {
        list::named(&connectors, name)?;
    }
    let chosen =
        connectors.of_files().filter(|connector| asked.names.is_empty() || asked.names.iter().any(|name| **name == *connector.name));
    let now = Clock::system().now();
    let mut reports = Vec::new();
    for connector in chosen {
        if connector.tests.is_empty() && asked.require_tests {
            let why = "it has no tests, and --require-tests asks for them".to_owned();
            let name = "has tests".to_owned();
            reports.push(ConnectorTestReport { connector: connector.name.clone(), name, passed: false, why: Some(why) });
        }
        reports.extend(connector.test(now));
    }
    let failed = reports.iter().filter(|report| !report.passed).count();
    let passed = reports.len() - failed;
    if asked.json {
        out.json(&json!({ "passed": passed, "failed": failed, "tests": reports }))?;
    } else {
        for report in &reports {
            show(report, out)?;
        }
        if out.verbosity() >= 0 || failed > 0 {
            out.line(&paint(if failed > 0 { BAD } else { GOOD }, &format!("{passed} passed, {failed} failed")))?;
        }
    }
    Ok(if failed > 0 { NO } else { YES })
}

/// The connectors of one file.
fn of_file(path: &Path) -> Result<Connectors, Stop> {
    let failed = |error: std::io::Error| Stop::unknown(format!("cannot read `{}`: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let (connectors, faults) = Connectors::load(&[Arc::new(SourceText { path: path.to_owned(), text })], None);
    if faults.any_error() { Err(setup::refused(&faults)) } else { Ok(connectors) }
}

/// A test and what came of it.
pub(in crate::cli) fn show(report: &ConnectorTestReport, out: &mut Out) -> Result<(), Stop> {
    show_result(&report.connector, &report.name, report.passed, report.why.as_deref(), out)
}
