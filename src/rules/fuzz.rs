//! Any rule file, any pattern over any data.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::pattern::Pattern;
use super::tests::{event, failed, known, now};
use super::*;
use crate::event::fuzz::{near_text, over_inputs};
use crate::fault::{Faults, SourceText};
use crate::yaml::fuzz::places_are_inside;

const RULES: &[&str] = &[
    "rule: escalate\nevents: queueItem.transactionFailed\nqueues: [Invoices]\nmatch:\n  QueueItem:\n    ProcessingException: {Type: [ApplicationException]}\n    RetryNumber: [{numeric: ['>=', 2]}]\nwhen: content.Amount > 1000\nsteps:\n  - id: item\n    enqueue:\n      queue: ${vars.review_queue}\n      reference: review-${item.Reference}\n      defer: 10m\n      content: {Invoice: '${content.InvoiceId}', Amount: '${content.Amount}'}\n  - http: {method: POST, url: 'https://example.com/${item.Reference}', body: {id: '${steps.item.Id}'}}\n",
    "rule: emit\nevents: '*'\nmode: shadow\nsteps:\n  - if: has(item.Reference)\n    emit: {type: my.event, data: {a: '${item.Reference}'}}\n  - start_job: {process: P, input: {x: 1}}\n",
    "rule: tested\nevents: [queueItem.added]\nsteps:\n  - get_item: {id: '${item.Id}'}\ntests:\n  - name: t\n    event: {type: queueItem.added, data: {QueueItem: {Id: 7}}}\n    expect: {matched: true}\n",
];

#[test]
fn any_rule_file_loads_or_is_refused_and_what_loads_runs() {
    let event = event(failed());
    over_inputs!(|input: &[u8]| {
        let file = Arc::new(SourceText { path: PathBuf::from("r.yaml"), text: near_text(RULES, input) });
        let (set, faults) = RuleSet::load(&[file], &known(), &|_| Err("no such file".to_owned()));
        assert_eq!(set.is_none(), faults.any_error());
        places_are_inside(&faults);
        let Some(set) = set else { return };
        // A condition that cannot be judged gives a run that is dead at once, and is explained as one that does not hold.
        let met: Vec<_> =
            set.matching(&event, now()).into_iter().filter(|met| met.fault.is_none()).map(|met| met.rule.name.clone()).collect();
        for explained in set.explain(&event, now()) {
            assert_eq!(explained.matched, met.contains(&explained.rule), "explain and the router say the same of `{}`", explained.rule);
        }
        drop(set.test(&[], &known().vars, now()));
    });
}

const PATTERNS: &[&str] = &[
    r#"{"Queue":{"Name":["Invoices",{"prefix":"In"},{"suffix":"es"},{"wildcard":"I*v*s"},{"equals-ignore-case":"invoices"}]},"QueueItem":{"RetryNumber":[{"numeric":[">=",2,"<",10.5]}]}}"#,
    r#"{"$or":[{"a":[{"exists":false}]},{"b":[{"anything-but":["x",5]}]},{"c":{"d":[{"cidr":"10.0.0.0/8"},null,true]}}]}"#,
    r#"{"a":{"b":[{"anything-but":{"prefix":"x"}},{"anything-but":{"wildcard":"*y*"}}],"c":[1,"1",1.0]}}"#,
];

const DATA: &[&str] = &[
    r#"{"Queue":{"Name":"Invoices"},"QueueItem":{"RetryNumber":3,"Tags":["a",{"b":[1,2]}]}}"#,
    r#"{"a":[{"b":1,"c":2},{"b":"xy","c":"10.0.0.1"}],"c":{"d":"10.1.2.3"}}"#,
    r#"{"a":{"b":["x","y"],"c":1e0},"b":5}"#,
];

#[test]
fn patterns_and_their_explanations_agree_over_any_data() {
    over_inputs!(|input: &[u8]| {
        let (left, right) = input.split_at(input.len() / 2);
        let file = Arc::new(SourceText { path: PathBuf::from("p.yaml"), text: near_text(PATTERNS, left) });
        let Ok(nodes) = crate::yaml::parse(&file) else { return };
        let Some(node) = nodes.first() else { return };
        let mut faults = Faults::new();
        let pattern = Pattern::compile(node, &mut faults);
        assert_eq!(pattern.is_none(), faults.any_error());
        places_are_inside(&faults);
        let Some(pattern) = pattern else { return };
        let data: Value = serde_json::from_str(&near_text(DATA, right)).unwrap_or(json!({"a": 1}));
        assert_eq!(pattern.matches(&data), pattern.explain(&data).is_none(), "{} on {data}", file.text);
        assert_eq!(pattern.matches(&data), pattern.and(&pattern).matches(&data));
    });
}
