//! What matching costs beside reading the event: bare `serde_json` against the index over 10 to 100,000 rules.
//!
//! Every figure is the best of several rounds in this process; the ratio says how many times the event could have been
//! parsed while it was matched.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tripline::fault::{Faults, SourceText};
use tripline::rules::index::{Index, IndexEntry, TypePattern};
use tripline::rules::pattern::Pattern;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(60);
/// How many events are checked against asking every rule.
const CHECKED: usize = 4;
const EVENT_TYPE: &str = "queueItem.transactionFailed";

fn main() {
    let events: Vec<Value> = (0..64).map(event).collect();
    let texts: Vec<Vec<u8>> = events.iter().map(|event| event.to_string().into_bytes()).collect();
    let bytes = texts.iter().map(Vec::len).sum::<usize>() / texts.len();
    let parse = best(&texts, |text| {
        black_box(serde_json::from_slice::<Value>(text).is_ok());
    });
    println!("events of {bytes} bytes; bare serde_json: {}", figure(parse));
    println!("{:>8} {:>10} {:>16} {:>9} {:>8} {:>12}", "rules", "build", "match", "/ parse", "hits", "one by one");
    for count in [10, 1_000, 10_000, 100_000] {
        let patterns: Vec<Pattern> = (0..count).map(pattern).collect();
        let types = [TypePattern::Exact(Arc::from(EVENT_TYPE)), TypePattern::Family(Arc::from("queueItem.")), TypePattern::Any];
        let entries: Vec<IndexEntry<'_>> = patterns
            .iter()
            .enumerate()
            .map(|(n, pattern)| IndexEntry { types: vec![types[n % types.len()].clone()], pattern: Some(pattern) })
            .collect();
        let begin = Instant::now();
        let index = Index::build(&entries);
        let build = begin.elapsed();
        let mut hits = 0;
        for (number, event) in events.iter().enumerate() {
            let found = index.matches(EVENT_TYPE, false, event);
            hits += found.len();
            if number >= CHECKED {
                continue;
            }
            let plain: Vec<u32> = (0_u32..).zip(&patterns).filter(|(_, pattern)| pattern.matches(event)).map(|(n, _)| n).collect();
            assert_eq!(*found, *plain, "the index finds what asking every rule finds");
        }
        let matching = best(&events, |event| {
            black_box(index.matches(EVENT_TYPE, false, black_box(event)));
        });
        let naive = best(&events[..1], |event| {
            black_box(patterns.iter().filter(|pattern| pattern.matches(event)).count());
        });
        println!(
            "{count:>8} {build:>10.1?} {:>16} {:>9.2} {:>8.2} {naive:>12.1?}",
            figure(matching),
            matching.as_secs_f64() / parse.as_secs_f64(),
            hits as f64 / events.len() as f64,
        );
    }
}

/// The best time of one call, in rounds over all inputs.
fn best<T>(inputs: &[T], mut call: impl FnMut(&T)) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let (begin, mut calls) = (Instant::now(), 0_u32);
        while begin.elapsed() < ROUND {
            for input in inputs {
                call(input);
                calls += 1;
            }
        }
        best = best.min(begin.elapsed() / calls);
    }
    best
}

fn figure(one: Duration) -> String {
    format!("{one:.2?} {:.0}k/s", 1e-3 / one.as_secs_f64())
}

/// A failed transaction as Orchestrator sends it.
fn event(n: usize) -> Value {
    json!({
        "Queue": {"Id": 40_014 + n, "Name": format!("Queue-{n}"), "Description": "What came in by mail", "MaxNumberOfRetries": 2,
                  "AcceptAutomaticallyRetry": true, "EnforceUniqueReference": n.is_multiple_of(2)},
        "QueueItem": {
            "Id": 436_141_352 + n, "Key": format!("0e7fd9f2-5063-4ab4-a43e-{n:012}"), "Reference": format!("INV-2026-{n:05}"),
            "QueueDefinitionId": 40_014 + n, "Status": "Failed", "ReviewStatus": "None", "Priority": "High",
            "ProcessingException": {"Reason": "No such customer in the ledger", "Type": "BusinessException",
                                    "Details": "at Ledger.Find(String customer) in Ledger.cs:line 812"},
            "CreationTime": "2026-11-22T14:14:31.1963476Z", "StartProcessing": "2026-11-22T14:15:02.19Z",
            "EndProcessing": "2026-11-22T14:16:31.7942218Z", "SecondsInPreviousAttempts": 0, "RetryNumber": n % 4,
            "Robot": {"Id": 4778, "Name": "Finance-07", "MachineName": "VM-FIN-07", "UserName": "ACME\\finance.robot", "Type": "Unattended"},
            "SpecificContent": {"Customer": format!("C-{}", n % 10), "Amount": 125.5 * n as f64, "Currency": "EUR", "Lines": n}
        },
        "UserId": 4947
    })
}

/// Rules as people write them: mostly exact values, each in another way; few of them hold for any one event.
fn pattern(n: usize) -> Pattern {
    let text = match n % 8 {
        0 => format!("{{Queue: {{Name: [Queue-{n}]}}}}"),
        1 => format!("{{Queue: {{Name: [Queue-{n}, Other-{n}]}}, QueueItem: {{ProcessingException: {{Type: [BusinessException]}}}}}}"),
        2 => format!("{{QueueItem: {{SpecificContent: {{Customer: [C-{n}]}}, Status: [Failed]}}}}"),
        3 => format!("{{QueueItem: {{Reference: [{{prefix: 'INV-2026-{:05}'}}], RetryNumber: [{{numeric: ['>=', 2]}}]}}}}", n * 7),
        4 => format!("{{QueueItem: {{Reference: [{{suffix: '-{n}'}}], ReviewStatus: [{{anything-but: InReview}}]}}}}"),
        5 => format!("{{QueueItem: {{SpecificContent: {{Amount: [{{numeric: ['>', {n}, '<', {}]}}]}}}}, Queue: {{Name: [Q{n}]}}}}", n + 1),
        6 => format!("{{QueueItem: {{Robot: {{Name: [{{equals-ignore-case: finance-{n}}}]}}, Priority: [High]}}}}"),
        _ => format!("{{$or: [{{Queue: {{Id: [{n}]}}}}, {{QueueItem: {{Key: [{{wildcard: '{n}-*-x'}}]}}}}]}}"),
    };
    let source = Arc::new(SourceText { path: "rule.yaml".into(), text });
    let nodes = tripline::yaml::parse(&source).expect("YAML");
    Pattern::compile(&nodes[0], &mut Faults::new()).expect("a pattern")
}
