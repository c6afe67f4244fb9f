//! `tripline test`: runs the tests inside rule files. Nothing is called.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::output::{BAD, GOOD, Out, Stop, clean, paint};
use super::{connector, junit, setup};
use crate::clock::Clock;
use crate::fault::nearest;
use crate::rules::pattern::Wildcard;
use crate::rules::{RuleSet, TestReport};

/// What is asked of the command.
pub(super) struct Asked<'a> {
    /// Names of rules, perhaps with `*`; none means all.
    pub(super) only: &'a [String],
    /// Where a report for CI goes.
    pub(super) junit: Option<&'a Path>,
    /// One JSON object.
    pub(super) json: bool,
    /// A rule file without tests fails.
    pub(super) require_tests: bool,
}

pub(super) fn run(config: Option<&Path>, asked: &Asked<'_>, out: &mut Out) -> Result<u8, Stop> {
    let (config, rules, connectors) = setup::project_with_connectors(config)?;
    let only = chosen(&rules, asked.only)?;
    let mut reports = rules.test(&only, &config.vars, Clock::system().now());
    if asked.require_tests {
        reports.extend(untested(&rules, &only));
    }
    if let Some(path) = asked.junit {
        let report = junit::report(&reports, |rule| rules.get(rule).map(|rule| rule.place.clone()));
        let failed = |error: std::io::Error| Stop::unknown(format!("cannot write `{}`: {error}", path.display()));
        std::fs::write(path, report).map_err(failed)?;
    }
    // Who names rules wants their tests alone.
    let now = Clock::system().now();
    let of_connectors: Vec<_> = connectors.of_files().filter(|_| asked.only.is_empty()).flat_map(|connector| connector.test(now)).collect();
    let results = || reports.iter().map(|report| report.passed).chain(of_connectors.iter().map(|report| report.passed));
    let failed = results().filter(|passed| !passed).count();
    let passed = results().count() - failed;
    if asked.json {
        out.json(&json!({ "passed": passed, "failed": failed, "tests": reports.iter().map(|r| json!(r)).chain(of_connectors.iter().map(|r| json!(r))).collect::<Vec<_>>() }))?;
    } else {
        for report in &reports {
            show_result(&report.rule, &report.name, report.passed, report.why.as_deref(), out)?;
        }
        for report in &of_connectors {
            connector::test::show(report, out)?;
        }
        let style = if failed > 0 { BAD } else { GOOD };
        if out.verbosity() >= 0 || failed > 0 {
            out.line(&paint(style, &format!("{passed} passed, {failed} failed")))?;
        }
    }
    Ok(if failed > 0 { super::NO } else { super::YES })
}

/// A test of a file and what came of it.
pub(in crate::cli) fn show_result(of: &str, name: &str, passed: bool, why: Option<&str>, out: &mut Out) -> Result<(), Stop> {
    let name = format!("{} > {}", clean(of), clean(name));
    if passed {
        return if out.verbosity() < 0 { Ok(()) } else { out.line(&format!("{}   {name}", paint(GOOD, "ok"))) };
    }
    out.line(&format!("{} {name}", paint(BAD, "FAIL")))?;
    for line in why.unwrap_or_default().lines() {
        out.line(&format!("       {}", clean(line)))?;
    }
    Ok(())
}

/// The rules that are asked for by name or with `*`; each must mean at least one.
fn chosen(rules: &RuleSet, asked: &[String]) -> Result<Vec<String>, Stop> {
    let mut only = Vec::new();
    for name in asked {
        if rules.get(name).is_some() {
            only.push(name.clone());
            continue;
        }
        let names = || rules.rules().iter().map(|rule| &*rule.name);
        if name.contains('*') {
            let glob = Wildcard::parse(name).map_err(|message| Stop::unknown(format!("`{}`: {message}", clean(name))))?;
            let before = only.len();
            only.extend(names().filter(|rule| glob.fits(rule)).map(str::to_owned));
            if only.len() == before {
                return Err(Stop::no(format!("no rule is named like `{}`", clean(name))));
            }
            continue;
        }
        let near = nearest(name, names()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(Stop::no(format!("there is no rule `{}`{near}", clean(name))));
    }
    Ok(only)
}

/// A failure for each rule file without any test.
fn untested(rules: &RuleSet, only: &[String]) -> Vec<TestReport> {
    let mut files: BTreeMap<&str, (Arc<str>, usize)> = BTreeMap::new();
    for rule in rules.rules() {
        if only.is_empty() || only.iter().any(|name| **name == *rule.name) {
            // `place` is `file:line`.
            let file = rule.place.rsplit_once(':').map_or(rule.place.as_str(), |(file, _)| file);
            files.entry(file).or_insert_with(|| (Arc::clone(&rule.name), 0)).1 += rule.tests.len();
        }
    }
    files
        .into_iter()
        .filter(|(_, (_, tests))| *tests == 0)
        .map(|(file, (rule, _))| TestReport {
            rule,
            name: "has tests".to_owned(),
            passed: false,
            why: Some(format!("`{file}` has no tests, and --require-tests asks for them")),
        })
        .collect()
}
