use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::{Fields, Tree};
use crate::fault::{Faults, SourceText};
use crate::rules::pattern::tests::{any_event, any_pattern};

fn compile(yaml: &str) -> Pattern {
    let source = Arc::new(SourceText { path: PathBuf::from("rule.yaml"), text: yaml.to_owned() });
    let nodes = crate::yaml::parse(&source).unwrap_or_else(|faults| panic!("{yaml}: {faults:?}"));
    let mut faults = Faults::new();
    Pattern::compile(&nodes[0], &mut faults).unwrap_or_else(|| panic!("{yaml}: {faults:?}"))
}

fn types(names: &[&str]) -> Vec<TypePattern> {
    names.iter().map(|name| TypePattern::parse(name).expect(name)).collect()
}

fn matches(index: &Index, event_type: &str, ours: bool, data: &Value) -> Vec<usize> {
    let found = index.matches(event_type, ours, data);
    // What is read at intake borrows from the body; it must meet the same.
    assert_eq!(index.matches(event_type, ours, &borrow(data)), found, "{data}");
    found.into_iter().map(|entry| entry as usize).collect()
}

fn borrow(value: &Value) -> Tree<'_> {
    match value {
        Value::Null => Tree::Null,
        Value::Bool(b) => Tree::Bool(*b),
        Value::Number(number) => Tree::Number(number.clone()),
        Value::String(text) => Tree::Text(text.as_str().into()),
        Value::Array(items) => Tree::List(items.iter().map(borrow).collect()),
        Value::Object(map) => {
            let mut fields = Fields::default();
            map.iter().for_each(|(name, value)| fields.push(name.as_str().into(), borrow(value)));
            Tree::Object(fields)
        }
    }
}

#[test]
fn types_are_named_in_full_by_family_or_all() {
    for (written, event_type, ours, expected) in [
        ("*", "job.faulted", false, true),
        ("*", "job.faulted", true, false),
        ("*", "tripline.unparsed", false, false),
        ("queueItem.*", "queueItem.added", false, true),
        ("queueItem.*", "queue.created", false, false),
        ("queueItem.*", "queueItem.added", true, false),
        ("tripline.*", "tripline.unparsed", false, false),
        ("tripline.unparsed", "tripline.unparsed", true, true),
        ("billing.done", "billing.done", true, true),
        ("a.b.*", "a.b.c", false, true),
        ("a.*", "a.b.c", false, true),
    ] {
        let pattern = TypePattern::parse(written).expect(written);
        assert_eq!(pattern.matches(event_type, ours), expected, "{written} on {event_type}");
        let index = Index::build(&[IndexEntry { types: vec![pattern], pattern: None }]);
        assert_eq!(matches(&index, event_type, ours, &json!({})).len(), usize::from(expected), "{written} on {event_type}");
    }
    for bad in ["", " ", "queue*", "*.added", "a.*.b", "**", ".*"] {
        assert!(TypePattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_entry_is_named_once_and_in_order() {
    let (low, high) = (compile("{n: [{numeric: ['<', 5]}]}"), compile("{n: [{numeric: ['>', 1]}]}"));
    let or = compile("{$or: [{n: [3]}, {s: [x]}]}");
    let index = Index::build(&[
        IndexEntry { types: types(&["a.b", "a.*", "*"]), pattern: Some(&or) },
        IndexEntry { types: types(&["a.b"]), pattern: None },
        IndexEntry { types: types(&["*"]), pattern: Some(&high) },
        IndexEntry { types: types(&["a.b"]), pattern: Some(&low) },
        IndexEntry { types: types(&["c.d"]), pattern: Some(&low) },
    ]);
    assert_eq!(matches(&index, "a.b", false, &json!({"n": 3, "s": "x"})), [0, 1, 2, 3]);
    assert_eq!(matches(&index, "a.b", true, &json!({"n": 9})), [1]);
    assert_eq!(matches(&index, "x.y", false, &json!({"n": 9})), [2]);
    assert_eq!(matches(&index, "c.d", false, &json!(null)), [0_usize; 0]);
}

#[test]
fn what_has_nothing_to_index_is_named() {
    let patterns =
        ["{a: [1]}", "{a: [{exists: false}]}", "{a: [{anything-but: x}]}", "{a: [{anything-but: x}], b: [x]}", "{a: [{wildcard: '*x*'}]}"];
    let compiled: Vec<_> = patterns.iter().map(|yaml| compile(yaml)).collect();
    let entries: Vec<_> = compiled.iter().map(|pattern| IndexEntry { types: types(&["*"]), pattern: Some(pattern) }).collect();
    assert_eq!(Index::build(&entries).residual(), [1, 2, 4]);
}

#[test]
fn a_rare_condition_leads_to_a_branch() {
    let patterns: Vec<_> = (0..1000).map(|n| compile(&format!("{{Queue: {{Name: [Invoices]}}, Id: [{n}]}}"))).collect();
    let entries: Vec<_> = patterns.iter().map(|pattern| IndexEntry { types: types(&["*"]), pattern: Some(pattern) }).collect();
    let index = Index::build(&entries);
    let data = json!({"Queue": {"Name": "Invoices"}, "Id": 7});
    let walked = Walked::over(&data, &index.paths);
    let mut candidates = Candidates::new();
    for found in walked.found() {
        if let Some(probes) = &index.probes[found.path as usize] {
            probes.collect(found.value, &index.parts.active("x", false), &mut candidates);
        }
    }
    assert_eq!(candidates.as_slice(), [7], "only one of a thousand is verified");
    assert_eq!(matches(&index, "x", false, &data), [7]);
}

#[test]
fn a_value_that_leads_to_a_branch_may_still_fail_its_condition() {
    for (yaml, value) in [
        // The long s is upper case S, and still no s in another case.
        ("{a: [{equals-ignore-case: s}]}", "\u{17f}"),
        ("{a: [{prefix: {equals-ignore-case: s}}]}", "\u{17f}x"),
        ("{a: [{suffix: {equals-ignore-case: s}}]}", "x\u{17f}"),
        ("{a: [{wildcard: 'ab*ba'}]}", "aba"),
        ("{a: [{cidr: 10.0.0.0/8}]}", "11.0.0.1"),
        ("{a: [{anything-but: x}]}", "x"),
    ] {
        let pattern = compile(yaml);
        let index = Index::build(&[IndexEntry { types: types(&["*"]), pattern: Some(&pattern) }]);
        assert_eq!(matches(&index, "x", false, &json!({"a": value})), [0_usize; 0], "{yaml} on {value}");
    }
}

#[test]
fn a_condition_that_leads_to_a_branch_still_binds_the_element_it_was_met_in() {
    let pattern = compile("{Jobs: {Key: [rare], State: [Faulted]}}");
    let common: Vec<_> = (0..3).map(|n| compile(&format!("{{Jobs: {{Key: [other-{n}], State: [Faulted]}}}}"))).collect();
    let entries: Vec<_> =
        std::iter::once(&pattern).chain(&common).map(|pattern| IndexEntry { types: types(&["*"]), pattern: Some(pattern) }).collect();
    let index = Index::build(&entries);
    let (apart, together) = (
        json!({"Jobs": [{"Key": "rare", "State": "Running"}, {"Key": "x", "State": "Faulted"}]}),
        json!({"Jobs": [{"Key": "rare", "State": "Faulted"}]}),
    );
    assert_eq!(matches(&index, "x", false, &apart), [0_usize; 0]);
    assert_eq!(matches(&index, "x", false, &together), [0]);
}

fn any_types() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(prop::sample::select(vec!["*", "a.*", "a.x", "b.y", "tripline.z"]), 1..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn the_index_finds_what_asking_every_rule_finds(
        rules in proptest::collection::vec((any_types(), proptest::option::weighted(0.9, any_pattern())), 0..25),
        events in proptest::collection::vec((prop::sample::select(vec!["a.x", "a.q", "b.y", "c", "tripline.z"]), any::<bool>(), any_event()), 1..6),
    ) {
        let compiled: Vec<_> = rules.iter().map(|(names, yaml)| (types(names), yaml.as_deref().map(compile))).collect();
        let entries: Vec<_> =
            compiled.iter().map(|(types, pattern)| IndexEntry { types: types.clone(), pattern: pattern.as_ref() }).collect();
        let index = Index::build(&entries);
        for (event_type, ours, data) in &events {
            let naive: Vec<usize> = entries
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.types.iter().any(|pattern| pattern.matches(event_type, *ours)))
                .filter(|(_, entry)| entry.pattern.is_none_or(|pattern| pattern.matches(data)))
                .map(|(number, _)| number)
                .collect();
            prop_assert_eq!(matches(&index, event_type, *ours, data), naive, "{} {} {}", event_type, ours, data);
        }
    }

    #[test]
    fn ranges_find_every_range_that_holds_a_number(
        ends in proptest::collection::vec((proptest::option::of(-5..5_i32), proptest::option::of(-5..5_i32), any::<bool>()), 0..40),
        number in -6..6_i32,
    ) {
        use crate::rules::pattern::Range;
        let mut ranges = ranges::Ranges::default();
        let all: Vec<_> = ends
            .iter()
            .map(|(low, high, closed)| Range { low: low.map(|n| (f64::from(n), *closed)), high: high.map(|n| (f64::from(n), *closed)) })
            .collect();
        for (id, range) in all.iter().enumerate() {
            ranges.push(*range, 0, u32::try_from(id).expect("small"));
        }
        ranges.finish();
        let mut found = Candidates::new();
        ranges.collect(f64::from(number), &[0], &mut found);
        found.sort_unstable();
        let plain: Vec<u32> = (0_u32..).zip(&all).filter(|(_, range)| range.contains(f64::from(number))).map(|(id, _)| id).collect();
        prop_assert_eq!(found.into_vec(), plain);
    }
}
