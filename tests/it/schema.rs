//! The JSON Schemas for editors: they take every example, and they say no to nothing that the parser takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Value, json};
use tripline::config::{self, RealWorld};
use tripline::fault::{Faults, Severity, SourceText};
use tripline::rules::{Known, KnownSource, RuleSet};

use crate::docs::{Block, blocks};
use crate::support::Folder;

const PAGES: &[&str] =
    &["README.md", "docs/rules.md", "docs/steps.md", "docs/setup.md", "docs/sandbox.md", "docs/operating.md", "docs/security.md"];

/// What the binary prints.
fn printed(of: &str) -> Value {
    let folder = Folder::new("http://127.0.0.1:9");
    let output = folder.command(&["schema", of]).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::meta::validate(schema).unwrap_or_else(|error| panic!("no JSON Schema: {error}"));
    jsonschema::validator_for(schema).expect("a schema")
}

/// The documents of a YAML text as JSON, each with a name for messages.
fn documents(name: &str, text: &str) -> Vec<(String, Value)> {
    let source = Arc::new(SourceText { path: PathBuf::from(name), text: text.to_owned() });
    let nodes = tripline::yaml::parse(&source).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
    nodes.iter().map(|node| (format!("{name}:{}", node.place.line), node.to_json())).collect()
}

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "yaml") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).expect("text")));
        }
    }
    found
}

/// All rules that we show: shipped ones, those of `init`, those of the documentation.
fn rules() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, text) in files("rules").into_iter().chain(files("src/cli/init").into_iter().filter(|(name, _)| name.ends_with("rule.yaml")))
    {
        all.extend(documents(&name, &text));
    }
    for page in PAGES {
        for (line, block) in blocks(page) {
            if let Block::Rules(text) | Block::Fragment(text) = block {
                all.extend(documents(&format!("{page}:{line}"), &text));
            }
        }
    }
    assert!(all.len() > 10, "there are examples");
    all
}

fn configurations() -> Vec<(String, Value)> {
    let mut all: Vec<_> = files("src/cli/init")
        .iter()
        .filter(|(name, _)| name.ends_with("tripline.yaml"))
        .flat_map(|(name, text)| documents(name, text))
        .collect();
    for page in PAGES {
        for (line, block) in blocks(page) {
            if let Block::Config(text) = block {
                all.extend(documents(&format!("{page}:{line}"), &text));
            }
        }
    }
    assert!(all.len() > 3, "there are examples");
    all
}

/// Errors of the rule parser. JSON is YAML.
fn rule_faults(rule: &Value) -> Faults {
    let known = Known {
        orchestrators: vec!["prod".into()],
        sources: vec![KnownSource { name: "prod-hook".into(), unsigned: false, reconciles: None, orchestrator: Some("prod".into()) }],
        vars: json!({"review_queue": "R", "alerts": "https://a.example", "ledger": "https://l.example"}),
        ..Known::default()
    };
    let source = Arc::new(SourceText { path: "rule.yaml".into(), text: rule.to_string() });
    let sample = |_: &Path| Ok(r#"{"type": "job.faulted", "data": {}}"#.to_owned());
    RuleSet::load(&[source], &known, &sample).1
}

fn config_faults(config: &Value) -> Faults {
    let folder = Folder::new("http://127.0.0.1:9");
    folder.write("tripline.yaml", &config.to_string());
    config::load(&folder.path("tripline.yaml"), &RealWorld).1
}

fn refused(faults: &Faults) -> bool {
    faults.iter().any(|fault| fault.severity == Severity::Error)
}

/// The pointers of all mappings in a value.
fn mappings(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.push(at.to_owned());
            for (name, inner) in map {
                mappings(inner, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, inner)| mappings(inner, &format!("{at}/{n}"), found)),
        _ => {}
    }
}

/// Small changes of a document: a key that nobody knows, a key less, a value of another type.
fn changed(document: &Value) -> Vec<(String, Value)> {
    let mut places = Vec::new();
    mappings(document, "", &mut places);
    let mut all = Vec::new();
    for place in places {
        let names: Vec<String> = document.pointer(&place).and_then(Value::as_object).expect("a mapping").keys().cloned().collect();
        let mut with = |what: String, change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut copy = document.clone();
            change(copy.pointer_mut(&place).and_then(Value::as_object_mut).expect("a mapping"));
            all.push((format!("{place}: {what}"), copy));
        };
        with(format!("with {UNKNOWN}"), &|map| drop(map.insert(UNKNOWN.to_owned(), json!(1))));
        for name in names {
            with(format!("without {name}"), &|map| drop(map.shift_remove(&name)));
            for other in [json!(7), json!({}), json!("text"), json!([{"a": 1}])] {
                with(format!("{name} is {other}"), &|map| drop(map.insert(name.clone(), other.clone())));
            }
        }
    }
    all
}

const UNKNOWN: &str = "qqqqqqqqqqqq";

/// Each example is valid; whatever the schema refuses of its changes, the parser refuses; and a key that the parser does
/// not know, the schema does not know either.
fn agree(validator: &Validator, examples: &[(String, Value)], faults: &dyn Fn(&Value) -> Faults) {
    let (mut refusals, mut unknown) = (0, 0);
    for (name, example) in examples {
        let errors: Vec<String> = validator.iter_errors(example).map(|error| format!("{} at {}", error, error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        for (what, document) in changed(example) {
            let valid = validator.is_valid(&document);
            let is_new_key = what.ends_with(UNKNOWN);
            if valid && !is_new_key {
                continue;
            }
            let found = faults(&document);
            if !valid {
                refusals += 1;
                assert!(refused(&found), "{name}: {what}: the schema refuses what the parser takes: {document}");
            }
            if found.iter().any(|fault| fault.message.contains(&format!("unknown key `{UNKNOWN}`"))) {
                unknown += 1;
                assert!(!valid, "{name}: {what}: the parser refuses the key, the schema takes it");
            }
        }
    }
    assert!(refusals > 100 && unknown > 10, "{refusals} {unknown}");
}

#[test]
fn the_schema_of_rules_and_their_parser_agree() {
    let mut seen = std::collections::BTreeSet::new();
    // Examples of one shape teach the same: one of each is changed, all are validated.
    let validator = validator(&printed("rule"));
    let (mut few, all) = (Vec::new(), rules());
    for (name, rule) in all {
        assert!(validator.is_valid(&rule), "{name}: {:?}", validator.iter_errors(&rule).map(|e| e.to_string()).collect::<Vec<_>>());
        let mut places = Vec::new();
        mappings(&rule, "", &mut places);
        let digits = |place: String| place.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let new = places.into_iter().map(digits).filter(|place| seen.insert(place.clone())).count();
        if new > 3 {
            few.push((name, rule));
        }
    }
    agree(&validator, &few, &rule_faults);
}

#[test]
fn the_schema_of_the_configuration_and_its_parser_agree() {
    agree(&validator(&printed("config")), &configurations(), &config_faults);
}

/// The keys that a refusal lists are those of the schema, at every mapping that has a table.
#[test]
fn refusals_list_the_keys_of_the_schema() {
    let schema = printed("rule");
    let rule = json!({
        "rule": "r", "events": "job.faulted", "retry": {}, "folders": [{}],
        "steps": [
            {"enqueue": {"queue": "Q", "folder": {}}}, {"start_job": {"process": "P"}}, {"get_item": {}},
            {"http": {"url": "https://a.example"}}, {"emit": {"type": "a.b"}}
        ],
        "tests": [{"name": "t", "event": {}, "expect": {}}, {"name": "u", "event": {}, "expect": [{"enqueue": {}}, {"http": {}}]}]
    });
    for (place, name) in [
        ("", None),
        ("/retry", Some("retry")),
        ("/folders/0", Some("folder-of-event")),
        ("/steps/0", Some("step")),
        ("/steps/0/enqueue", Some("enqueue")),
        ("/steps/0/enqueue/folder", Some("folder-of-step")),
        ("/steps/1/start_job", Some("start_job")),
        ("/steps/2/get_item", Some("get_item")),
        ("/steps/3/http", Some("http")),
        ("/steps/4/emit", Some("emit")),
        ("/tests/0", Some("test")),
        ("/tests/0/event", Some("test-event")),
        ("/tests/0/expect", Some("expected-match")),
        ("/tests/1/expect/0", Some("expected-step")),
        ("/tests/1/expect/0/enqueue", Some("expected-enqueue")),
        ("/tests/1/expect/1/http", Some("expected-http")),
    ] {
        let mut document = rule.clone();
        document.pointer_mut(place).and_then(Value::as_object_mut).expect(place).insert(UNKNOWN.to_owned(), json!(1));
        let faults = rule_faults(&document);
        let help = faults
            .iter()
            .find(|f| f.message.contains(UNKNOWN))
            .and_then(|f| f.help.as_deref())
            .unwrap_or_else(|| panic!("{place}: {faults:?}"));
        let mut listed: Vec<&str> = help.trim_start_matches("known are: ").split(", ").filter(|name| *name != "on").collect();
        let shape = name.map_or(&schema, |name| &schema["definitions"][name]);
        let mut known: Vec<&str> = shape["properties"].as_object().expect(place).keys().map(String::as_str).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known, "{place}");
    }
}
