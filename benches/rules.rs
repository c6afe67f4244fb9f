//! What rules cost: the router's own matching over 10 to 100,000 rules beside reading the event, `when`, rendering, loading.
//! Each figure is printed with its limit; the best of several rounds on one thread.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tripline::event::Event;
use tripline::fault::SourceText;
use tripline::rules::{Known, RenderInput, RuleSet};
use tripline::time::Timestamp;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(80);
/// Distinct events whose matches are compared with asking every rule.
const CHECKED: usize = 1_000;
/// Rules in the set that is checked: asking each of them for each event takes a while.
const CHECKED_RULES: usize = 1_000;
const FILES: usize = 100;

fn main() {
    let events: Vec<Event> = (0..CHECKED).map(event).collect();
    let texts: Vec<Vec<u8>> = events.iter().map(|event| event.data().to_string().into_bytes()).collect();
    let bytes = texts.iter().map(Vec::len).sum::<usize>() / texts.len();
    let parse = best(&texts, |text| {
        black_box(serde_json::from_slice::<Value>(text).is_ok());
    });
    println!("events of {bytes} bytes; bare serde_json {}", figure(parse));
    check(&events);

    println!("\nmatching, on the parsed event (RuleSet::matching)");
    for (count, limit) in [(10, 1e6), (10_000, 0.5e6)] {
        let set = load(count, mixed);
        let one = matching(&set, &events);
        println!("  {count:>7} mixed rules {:>22}   limit {:.0}k/s", figure(one), limit / 1e3);
        let both = best(&texts.iter().zip(&events).collect::<Vec<_>>(), |(text, event)| {
            black_box(serde_json::from_slice::<Value>(text).is_ok());
            black_box(set.matching(event, now()).len());
        });
        println!("  {:>7} parse included: {:.2} x parsing alone   limit 1.15 x", "", both.as_secs_f64() / parse.as_secs_f64());
    }
    let exact: Vec<(usize, Duration)> = [10, 1_000, 10_000, 100_000].map(|count| (count, matching(&load(count, exact), &events))).into();
    for (count, one) in &exact {
        println!("  {count:>7} exact three-field rules {:>14}", figure(*one));
    }
    let (low, high) = exact.iter().fold((Duration::MAX, Duration::ZERO), |(low, high), (_, one)| (low.min(*one), high.max(*one)));
    println!("  slowest to fastest {:.2} x   limit 2 x", high.as_secs_f64() / low.as_secs_f64());

    println!("\nexpressions");
    let plain = matching(&load_text(&[RULE.replace("WHEN", "")]), &events);
    let with = matching(&load_text(&[RULE.replace("WHEN", WHEN)]), &events);
    println!("  `when` of three terms {:?}   limit 2 µs", with.saturating_sub(plain));
    let set = load_text(&[RULE.replace("WHEN", "")]);
    let rule = &set.rules()[0];
    let (steps, vars) = (json!({}), json!({}));
    let render = best(&events, |event| {
        black_box(rule.render(0, &RenderInput { event, steps: &steps, vars: &vars, run: None, now: now() }).is_ok());
    });
    println!("  an enqueue of five fields rendered {render:?}   limit 5 µs");

    println!("\nloading");
    let files = sources(10_000, mixed);
    let before = resident();
    let begin = Instant::now();
    let set = from_sources(&files);
    let took = begin.elapsed();
    println!("  10,000 rules from {FILES} files {took:.2?}   limit 1 s");
    let grown = resident().saturating_sub(before);
    println!("  about {} bytes of memory a rule", grown / set.rules().len() as u64);
}

/// The rules that are found are those that are found by asking every rule.
fn check(events: &[Event]) {
    let set = load(CHECKED_RULES, mixed);
    let mut hits = 0;
    for event in events {
        let found: Vec<_> = set.matching(event, now()).into_iter().map(|met| met.rule.name.clone()).collect();
        let plain: Vec<_> = set.explain(event, now()).into_iter().filter(|one| one.matched).map(|one| one.rule).collect();
        assert_eq!(found, plain, "the index finds what asking every rule finds");
        hits += found.len();
    }
    println!("{} events against {CHECKED_RULES} rules one by one: the same, {hits} matches", events.len());
}

fn matching(set: &RuleSet, events: &[Event]) -> Duration {
    best(events, |event| {
        black_box(set.matching(event, now()).len());
    })
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
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

/// Resident memory in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn sources(count: usize, rule: fn(usize) -> String) -> Vec<Arc<SourceText>> {
    let per_file = count.div_ceil(FILES);
    let all: Vec<String> = (0..count).map(rule).collect();
    all.chunks(per_file)
        .enumerate()
        .map(|(n, rules)| Arc::new(SourceText { path: PathBuf::from(format!("rules/{n:03}.yaml")), text: rules.join("---\n") }))
        .collect()
}

fn from_sources(files: &[Arc<SourceText>]) -> RuleSet {
    let known = Known { vars: json!({}), orchestrators: vec!["prod".into()], ..Known::default() };
    let (set, faults) = RuleSet::load(files, &known, &|_| Err("no samples".to_owned()));
    set.unwrap_or_else(|| panic!("{:?}", faults.iter().next()))
}

fn load(count: usize, rule: fn(usize) -> String) -> RuleSet {
    from_sources(&sources(count, rule))
}

fn load_text(rules: &[String]) -> RuleSet {
    from_sources(&[Arc::new(SourceText { path: "rules/one.yaml".into(), text: rules.join("---\n") })])
}

const WHEN: &str = "when: content.Amount > -1 && item.RetryNumber >= 0 && item.Priority == 'High'\n";

/// Meets every event.
const RULE: &str = "rule: all\nevents: queueItem.transactionFailed\nWHENsteps:\n  - enqueue: {queue: Review, reference: 'r-${item.Reference}', content: {Customer: '${content.Customer}', Amount: '${content.Amount}', Reason: '${item.ProcessingException.Reason}', Robot: '${item.Robot.Name}', Currency: '${content.Currency}'}}\n";

/// A failed transaction as Orchestrator sends it.
fn event(n: usize) -> Event {
    let data = json!({
        "Queue": {"Id": 40_014 + n, "Name": format!("Queue-{n}"), "MaxNumberOfRetries": 2},
        "QueueItem": {
            "Id": 436_141_352 + n, "Key": format!("0e7fd9f2-5063-4ab4-a43e-{n:012}"), "Reference": format!("INV-2026-{n:05}"),
            "QueueDefinitionId": 40_014 + n, "Status": "Failed", "ReviewStatus": "None", "Priority": "High",
            "ProcessingException": {"Reason": "No such customer in the ledger", "Type": "BusinessException", "Details": "at Ledger.Find(String customer) in Ledger.cs:line 812, called by Invoices.Pay(Invoice invoice) in Pay.cs:line 77; the robot had tried two times before and was not signed out"},
            "CreationTime": "2026-11-22T14:14:31.1963476Z", "StartProcessing": "2026-11-22T14:15:02.19Z",
            "EndProcessing": "2026-11-22T14:16:31.7942218Z", "SecondsInPreviousAttempts": 0, "RetryNumber": n % 4,
            "Robot": {"Id": 4778, "Name": "Finance-07", "MachineName": "VM-FIN-07", "Type": "Unattended"},
            "SpecificContent": {"Customer": format!("C-{}", n % 10), "Amount": 125.5 * n as f64, "Currency": "EUR", "Lines": n}
        },
        "UserId": 4947
    });
    Event::from_json(&json!({"type": "queueItem.transactionFailed", "source": "hook", "data": data})).expect("an event")
}

fn with_pattern(n: usize, pattern: &str) -> String {
    let events = ["queueItem.transactionFailed", "queueItem.*", "'*'"][n % 3];
    format!("rule: r{n}\nevents: {events}\nmatch: {pattern}\nsteps: [{{emit: {{type: bench.seen}}}}]\n")
}

/// Three exact fields; one rule in a thousand or so meets an event.
fn exact(n: usize) -> String {
    with_pattern(n, &format!("{{Queue: {{Name: [Queue-{n}]}}, QueueItem: {{Status: [Failed], Priority: [High]}}}}"))
}

/// Rules as people write them: mostly exact values, each in another way.
fn mixed(n: usize) -> String {
    let pattern = match n % 8 {
        0 => format!("{{Queue: {{Name: [Queue-{n}]}}}}"),
        1 => format!("{{Queue: {{Name: [Queue-{n}, Other-{n}]}}, QueueItem: {{ProcessingException: {{Type: [BusinessException]}}}}}}"),
        2 => format!("{{QueueItem: {{SpecificContent: {{Customer: [C-{n}]}}, Status: [Failed]}}}}"),
        3 => format!("{{QueueItem: {{Reference: [{{prefix: 'INV-2026-{:05}'}}], RetryNumber: [{{numeric: ['>=', 2]}}]}}}}", n * 7),
        4 => format!("{{QueueItem: {{Reference: [{{suffix: '-{n}'}}], ReviewStatus: [{{anything-but: InReview}}]}}}}"),
        5 => format!("{{QueueItem: {{SpecificContent: {{Amount: [{{numeric: ['>', {n}, '<', {}]}}]}}}}, Queue: {{Name: [Q{n}]}}}}", n + 1),
        6 => format!("{{QueueItem: {{Robot: {{Name: [{{equals-ignore-case: finance-{n}}}]}}, Priority: [High]}}}}"),
        _ => format!("{{$or: [{{Queue: {{Id: [{n}]}}}}, {{QueueItem: {{Key: [{{wildcard: '{n}-*-x'}}]}}}}]}}"),
    };
    with_pattern(n, &pattern)
}
