//! The rules in `rules/` are what people begin with: they load without a warning and pass their own tests.

use super::*;
use crate::connectors::OrchestratorSite;

#[test]
fn the_examples_pass_their_own_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| Arc::new(SourceText { path: path.clone(), text: std::fs::read_to_string(path).expect("text") });
    let files: Vec<_> = paths.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")).map(read).collect();
    let vars = json!({"review_queue": "Invoices-Review", "ledger": "https://ledger.example.com", "alerts": "https://alerts.example.com"});
    let known = Known { vars: vars.clone(), orchestrators: vec!["prod".into(), "test".into()], connectors: ready(), ..known() };
    let samples = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let (rules, faults) = RuleSet::load(&files, &known, &samples);
    assert!(faults.is_empty(), "{}", lines(&faults));
    let rules = rules.expect("no faults");
    assert!(rules.rules().iter().all(|rule| !rule.tests.is_empty()), "every example has tests");
    for report in rules.test(&[], &vars, now()) {
        assert!(report.passed, "{}: {}: {:?}", report.rule, report.name, report.why);
    }
}

/// The connectors that come with it, which examples call.
fn ready() -> crate::connectors::Connectors {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors");
    let paths = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let read = |path: PathBuf| Arc::new(SourceText { text: std::fs::read_to_string(&path).expect("text"), path });
    let files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "yaml")).map(read).collect();
    let (connectors, faults) = crate::connectors::Connectors::load(&files, None);
    assert!(faults.is_empty(), "{}", lines(&faults));
    let prod = OrchestratorSite { name: "prod".into(), url: "https://orchestrator.example.com".to_owned(), ..OrchestratorSite::default() };
    connectors.with_orchestrators(&[prod])
}
