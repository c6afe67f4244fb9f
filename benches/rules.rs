//! What rules cost: what intake and the router ask of them, over 10 to 100,000 rules, beside reading the event; `when`,
//! rendering, loading, memory. One thread; the best of several rounds; each figure with its limit.
//!
//! Before anything is measured, the rules found for 1,000 distinct events are compared with asking every rule.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tripline::event::Event;
use tripline::fault::SourceText;
use tripline::normalize::{SourceView, project, reading};
use tripline::rules::{Known, RenderInput, RuleSet, RulesInForce};
use tripline::time::Timestamp;

use support::figure;

const ROUNDS: usize = 100;
/// Inputs that are timed together.
const TOGETHER: usize = 50;
/// Distinct events.
const EVENTS: usize = 1_000;
/// Rules in the set that is compared with asking each of them.
const CHECKED_RULES: usize = 1_000;
const FILES: usize = 100;
const TYPE: &str = "queueItem.transactionFailed";

fn main() {
    // `cargo test --benches` starts it too; only `cargo bench` asks for figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let bodies: Vec<Vec<u8>> = (0..EVENTS).map(|n| body(n).to_string().into_bytes()).collect();
    let events: Vec<Event> = bodies.iter().map(|body| event(body)).collect();
    let bytes = bodies.iter().map(Vec::len).sum::<usize>() / bodies.len();
    let view = SourceView { name: "hook".into(), tenant_url: Some("http://127.0.0.1:9".into()) };
    // First: memory is told by what the process grows.
    loading();
    println!("{EVENTS} distinct events of {bytes} bytes");
    check(&bodies, &events, &view);

    println!("on the parsed event (the router: RuleSet::matching)");
    let mut sets = Vec::new();
    for (count, least) in [(10, 1e6), (10_000, 0.5e6)] {
        let set = load(count, mixed);
        let one = matching(&set, &events);
        let rate = 1.0 / one.as_secs_f64();
        figure(&format!("{count} mixed rules, {}", met(&set, &events)), per_second(one), &per_second_text(least), rate >= least);
        sets.push((count, set));
    }
    exact_rules(&events);

    println!("parse included");
    for (count, set) in sets {
        parse_included(count, set, &bodies, &view);
    }

    println!("expressions");
    let plain = load_text(&[RULE.replace("WHEN", "")]);
    let with = load_text(&[RULE.replace("WHEN", WHEN)]);
    assert!(events.iter().all(|event| plain.matching(event, now()).len() == 1 && with.matching(event, now()).len() == 1));
    let when = matching(&with, &events).saturating_sub(matching(&plain, &events));
    figure("`when` of three terms on a candidate", format!("{when:.2?}"), "2 µs", when <= Duration::from_micros(2));
    let rule = &plain.rules()[0];
    let (steps, vars) = (json!({}), json!({}));
    let rendered = |event: &Event| rule.render(0, &RenderInput { event, steps: &steps, vars: &vars, run: None, now: now() });
    assert!(format!("{:?}", rendered(&events[0])).contains("C-0"), "{:?}", rendered(&events[0]));
    let render = best(&events, |event| {
        black_box(rendered(event).is_ok());
    });
    figure("an enqueue of five fields rendered", format!("{render:.2?}"), "5 µs", render <= Duration::from_micros(5));
}

/// Loading, and what a second set takes beside a first one: by then the process has the room that loading needs for a while.
fn loading() {
    let files = sources(10_000, mixed);
    let first = from_sources(&files);
    let before = resident();
    let begin = Instant::now();
    let second = from_sources(&files);
    let mut took = begin.elapsed();
    let grown = resident().saturating_sub(before);
    for _ in 0..2 {
        let begin = Instant::now();
        black_box(from_sources(&files));
        took = took.min(begin.elapsed());
    }
    println!("loading");
    figure(&format!("10,000 rules from {FILES} files"), format!("{took:.2?}"), "1 s", took < Duration::from_secs(1));
    println!("  memory of a rule: about {} bytes", grown / second.rules().len() as u64);
    black_box(first);
}

/// Exact rules of three fields: the slowest count beside the fastest.
fn exact_rules(events: &[Event]) {
    let mut times = Vec::new();
    for count in [10, 1_000, 10_000, 100_000] {
        let set = load(count, exact);
        let one = matching(&set, events);
        println!("  {count} exact rules of three fields, {}: {} ({one:.0?})", met(&set, events), per_second(one));
        times.push(one.as_secs_f64());
    }
    let (low, high) = times.iter().fold((f64::MAX, 0_f64), |(low, high), one| (low.min(*one), high.max(*one)));
    figure("10 to 100,000 exact rules: slowest / fastest", format!("{:.2}", high / low), "2", high / low <= 2.0);
}

/// What intake does with a body, reading it and asking the rules, beside bare `serde_json` and beside the reading alone.
/// They take turns, so that a change of the machine's pace meets all.
fn parse_included(count: usize, set: RuleSet, bodies: &[Vec<u8>], view: &SourceView) {
    let rules = RulesInForce { set: Arc::new(set), generation: 1 };
    let both = |body: &Vec<u8>| {
        let read = reading(body, view, now());
        black_box(rules.unmet(read.changes.iter().map(|(change, data)| (&*change.event_type, data))));
    };
    let (bare, whole) = in_turn(
        bodies,
        |body| {
            black_box(serde_json::from_slice::<Value>(body).is_ok());
        },
        both,
    );
    let ratio = whole.as_secs_f64() / bare.as_secs_f64();
    figure(&format!("{count} rules, beside bare serde_json ({bare:.2?})"), format!("{whole:.2?} {ratio:.2}"), "1.15", ratio <= 1.15);
    let (alone, whole) = in_turn(
        bodies,
        |body| {
            black_box(reading(body, view, now()).changes.len());
        },
        both,
    );
    println!("  {count} rules, beside intake's reading alone ({alone:.2?}): {:.2}", whole.as_secs_f64() / alone.as_secs_f64());
}

/// The rules that are found are those that are found by asking every rule; and where intake's look finds none, there is none.
fn check(bodies: &[Vec<u8>], events: &[Event], view: &SourceView) {
    let rules = RulesInForce { set: Arc::new(load(CHECKED_RULES, mixed)), generation: 1 };
    let (mut hits, mut unmet) = (0, 0);
    for (body, event) in bodies.iter().zip(events) {
        let found: Vec<_> = rules.set.matching(event, now()).into_iter().map(|met| met.rule.name.clone()).collect();
        let plain: Vec<_> = rules.set.explain(event, now()).into_iter().filter(|one| one.matched).map(|one| one.rule).collect();
        assert_eq!(found, plain, "the index finds what asking every rule finds");
        let read = reading(body, view, now());
        let none = rules.unmet(read.changes.iter().map(|(change, data)| (&*change.event_type, data))) == 1;
        // These rules have nothing but their patterns: no other condition takes a match away.
        assert_eq!(none, plain.is_empty(), "intake's look agrees");
        hits += found.len();
        unmet += usize::from(none);
    }
    assert!(hits > 0 && unmet > 0, "both ways are taken");
    println!("compared with asking each of {CHECKED_RULES} rules: the same, {hits} matches, {unmet} events without one");
}

fn matching(set: &RuleSet, events: &[Event]) -> Duration {
    best(events, |event| {
        black_box(set.matching(event, now()).len());
    })
}

/// How many rules an event meets.
fn met(set: &RuleSet, events: &[Event]) -> String {
    let met: usize = events.iter().map(|event| set.matching(event, now()).len()).sum();
    format!("{:.2} met", met as f64 / events.len() as f64)
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

/// The best time of one call: that of each few inputs over all rounds, so that a pause of the thread does not count.
fn best<T>(inputs: &[T], mut call: impl FnMut(&T)) -> Duration {
    let mut least = vec![Duration::MAX; inputs.len().div_ceil(TOGETHER)];
    for _ in 0..ROUNDS {
        round(inputs, &mut call, &mut least);
    }
    each(inputs, &least)
}

/// The best times of two calls whose rounds take turns.
fn in_turn<T>(inputs: &[T], mut one: impl FnMut(&T), mut other: impl FnMut(&T)) -> (Duration, Duration) {
    let mut least = vec![Duration::MAX; inputs.len().div_ceil(TOGETHER)];
    let mut others = least.clone();
    for _ in 0..ROUNDS {
        round(inputs, &mut one, &mut least);
        round(inputs, &mut other, &mut others);
    }
    (each(inputs, &least), each(inputs, &others))
}

fn round<T>(inputs: &[T], call: &mut impl FnMut(&T), least: &mut [Duration]) {
    for (inputs, least) in inputs.chunks(TOGETHER).zip(least) {
        let begin = Instant::now();
        inputs.iter().for_each(&mut *call);
        *least = begin.elapsed().min(*least);
    }
}

fn each<T>(inputs: &[T], least: &[Duration]) -> Duration {
    Duration::from_secs_f64(least.iter().sum::<Duration>().as_secs_f64() / inputs.len() as f64)
}

fn per_second(one: Duration) -> String {
    per_second_text(1.0 / one.as_secs_f64())
}

fn per_second_text(rate: f64) -> String {
    format!("{:.2} M/s", rate / 1e6)
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
fn body(n: usize) -> Value {
    json!({
        "Type": TYPE, "EventId": format!("e-{n}"), "Timestamp": "2026-11-22T14:16:31.8Z", "TenantId": 1, "OrganizationUnitId": 3,
        "Queue": {"Id": 40_014 + n, "Name": format!("Queue-{n}"), "MaxNumberOfRetries": 2},
        "QueueItems": [{
            "Id": 436_141_352 + n, "Key": format!("0e7fd9f2-5063-4ab4-a43e-{n:012}"), "Reference": format!("INV-2026-{n:05}"),
            "QueueDefinitionId": 40_014 + n, "Status": "Failed", "ReviewStatus": "None", "Priority": "High",
            "ProcessingException": {"Reason": "No such customer", "Type": "BusinessException", "Details": "at Ledger.Find(String customer) in Ledger.cs:line 812"},
            "CreationTime": "2026-11-22T14:14:31.1963476Z", "StartProcessing": "2026-11-22T14:15:02.19Z",
            "EndProcessing": "2026-11-22T14:16:31.7942218Z", "RetryNumber": n % 4,
            "Robot": {"Id": 4778, "Name": "Finance-07", "MachineName": "VM-FIN-07", "UserName": "ACME\\finance.robot", "Type": "Unattended"},
            "SpecificContent": {"Customer": format!("C-{}", n % 10), "Amount": 125.5 * n as f64, "Currency": "EUR", "Lines": n}
        }]
    })
}

/// The event that the body becomes.
fn event(body: &[u8]) -> Event {
    let data = project(body, TYPE, 0);
    Event::from_json(&json!({"type": TYPE, "source": "hook", "data": data})).unwrap()
}

fn with_pattern(n: usize, pattern: &str) -> String {
    let events = ["queueItem.transactionFailed", "queueItem.*", "'*'"][n % 3];
    format!("rule: r{n}\nevents: {events}\nmatch: {pattern}\nsteps: [{{emit: {{type: bench.seen}}}}]\n")
}

/// Three exact fields: each event meets at most one.
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
