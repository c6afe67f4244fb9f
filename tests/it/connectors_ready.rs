//! The connectors that come with it: their files pass the check, and their own tests.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tripline::connectors::Connectors;
use tripline::fault::SourceText;
use tripline::time::Timestamp;

/// The files in `connectors/`.
fn files() -> Vec<Arc<SourceText>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors");
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| Arc::new(SourceText { text: std::fs::read_to_string(&path).expect("text"), path });
    paths.into_iter().map(read).collect()
}

#[test]
fn their_files_have_no_fault_and_their_tests_pass() {
    let (connectors, faults) = Connectors::load(&files(), None);
    let lines: Vec<String> = faults.iter().map(tripline::fault::Fault::one_line).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    let names: Vec<&str> = connectors.iter().map(|connector| &*connector.name).collect();
    assert_eq!(names, ["camunda", "dalle", "github", "jira", "pagerduty", "servicenow", "slack", "teams"]);
    let now = Timestamp::parse_lenient("2026-02-03T04:05:06Z").expect("a moment");
    let mut failed = Vec::new();
    for connector in connectors.iter() {
        for report in connector.test(now).into_iter().filter(|report| !report.passed) {
            failed.push(format!("{}: {}: {}", report.connector, report.name, report.why.unwrap_or_default()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn each_has_operations_a_word_on_errors_and_tests_of_them() {
    let (connectors, _) = Connectors::load(&files(), None);
    for connector in connectors.iter() {
        let name = &connector.name;
        assert!(connector.operations.len() >= 3, "{name}");
        let mapped = connector.errors.message.is_some() || !connector.after.is_empty();
        assert!(mapped, "{name} says nothing of the service's errors");
        assert!(connector.vendor_docs.as_deref().is_some_and(|docs| docs.starts_with("https://")), "{name}");
        let tested: BTreeSet<&str> = connector.tests.iter().map(|test| &*test.call).collect();
        assert!(tested.len() >= 3, "{name}: tests of {tested:?} only");
        let refused = connector.tests.iter().any(|test| test.expect.get("error").is_some());
        assert!(refused, "{name} has no test of an error");
        // What writes has a title, so that lists can be read.
        for operation in connector.operations.values() {
            assert!(operation.title.is_some(), "{name}.{}", operation.name);
        }
    }
}

#[test]
fn the_list_of_them_is_complete() {
    let page = include_str!("../../connectors/README.md");
    let (connectors, _) = Connectors::load(&files(), None);
    for connector in connectors.iter() {
        for operation in connector.operations.keys() {
            assert!(page.contains(&**operation), "connectors/README.md does not name {}.{operation}", connector.name);
        }
    }
    for file in files() {
        let name = file.path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(page.contains(&format!("]({name})")), "connectors/README.md does not name {name}");
    }
}
