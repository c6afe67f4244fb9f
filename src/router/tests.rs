//! The router with the real journal.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::event::{Change, Key, Origin, Verified, Via};
use crate::fault::SourceText;
use crate::journal::{Delivery, MetBy, Options};
use crate::rules::{Known, Mode, Ran, RuleSet};
use crate::runs::{Run, RunState};

/// Long enough for a busy machine.
const LONG: Duration = Duration::from_secs(30);

const RULES: &str = r#"
rule: large
events: order.placed
when: data.Amount > 100
steps:
  - http: {method: POST, url: 'https://host/x'}
---
rule: watch
events: order.placed
mode: shadow
steps:
  - http: {method: POST, url: 'https://host/x'}
"#;

fn rules(text: &str, generation: u64) -> RulesInForce {
    let source = Arc::new(SourceText { path: "rules/x.yaml".into(), text: text.to_owned() });
    let known = Known { orchestrators: Vec::new(), sources: Vec::new(), vars: json!({}), ..Known::default() };
    let (set, faults) = RuleSet::load(&[source], &known, &|_| Err("no samples".to_owned()));
    RulesInForce { set: Arc::new(set.unwrap_or_else(|| panic!("{faults:?}"))), generation }
}

struct Bench {
    journal: Journal,
    rules: Arc<ArcSwap<RulesInForce>>,
    stop: CancellationToken,
    task: JoinSet<Result<(), AppendError>>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 4 << 20, clock: Clock::system(), boot_id: "boot".to_owned() };
        let (journal, _) = Journal::open(dir.path(), options).unwrap();
        let rules = Arc::new(ArcSwap::from_pointee(rules(RULES, 1)));
        Self { journal, rules, stop: CancellationToken::new(), task: JoinSet::new(), dir }
    }

    fn start(&mut self) {
        self.stop = CancellationToken::new();
        self.task.spawn(run(self.journal.clone(), self.rules.clone(), Clock::system(), self.stop.clone()));
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LONG, self.task.join_next()).await.expect("the router ends");
        ended.expect("a task").expect("no panic").expect("the journal lives");
    }

    async fn accept(&self, number: u64, amount: Value, hops: u8) -> EventId {
        self.accept_unmet(number, amount, hops, 0).await
    }

    async fn accept_unmet(&self, number: u64, amount: Value, hops: u8, generation: u64) -> EventId {
        let data = json!({"Id": number, "Amount": amount});
        let before = RunId::of(EventId(7), "before").to_string();
        let change = Change {
            data: Arc::new(data.clone()),
            origin: (hops > 0).then(|| Origin { run: before, step: "1".to_owned(), hops }),
            ..Change::told(Key::exact(format!("test|{number}")), "order.placed")
        };
        let delivery = Delivery {
            source: "shop".into(),
            via: Via::Internal,
            orchestrator: None,
            verified: Verified::Yes,
            received: Clock::system().now(),
            body: Bytes::from(data.to_string()),
            delivery_id: None,
            changes: vec![change],
        };
        self.journal.accept_unmet(delivery, generation).await.unwrap().events[0]
    }

    async fn planned(&self, event: EventId, rule: &str) -> Run {
        let mut changed = self.journal.due_changed();
        let wait = async {
            loop {
                changed.borrow_and_update();
                if let Some(run) = self.journal.run(RunId::of(event, rule)).unwrap() {
                    return run;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("a run is planned")
    }
}

#[tokio::test]
async fn events_become_runs_of_the_rules_they_meet() {
    let mut bench = Bench::new();
    bench.start();
    let (small, large) = (bench.accept(1, json!(5), 0).await, bench.accept(2, json!(500), 0).await);
    let run = bench.planned(large, "large").await;
    assert_eq!((run.state, run.planned.mode, run.planned.generation), (RunState::Pending, Mode::Live, 1));
    assert_eq!(bench.planned(large, "watch").await.planned.mode, Mode::Shadow);
    assert_eq!(bench.journal.run(RunId::of(small, "large")).unwrap(), None);
}

#[tokio::test]
async fn a_condition_with_a_type_error_is_a_run_that_is_dead_at_once() {
    let mut bench = Bench::new();
    bench.start();
    let event = bench.accept(1, json!("many"), 0).await;
    let run = bench.planned(event, "large").await;
    assert_eq!((run.state, run.cause.map(|c| c.code)), (RunState::Dead, Some("expression".to_owned())));
}

#[tokio::test]
async fn a_chain_of_events_that_is_too_long_ends_with_the_chain_shown() {
    let mut bench = Bench::new();
    bench.start();
    let (last, over) = (bench.accept(1, json!(500), HOPS_MAX).await, bench.accept(2, json!(500), HOPS_MAX + 1).await);
    let run = bench.planned(last, "large").await;
    assert_eq!((run.state, run.planned.hops), (RunState::Pending, HOPS_MAX));
    let cause = bench.planned(over, "large").await.cause.expect("a cause");
    assert_eq!(cause.code, "loop");
    assert!(cause.message.contains(&over.to_string()) && cause.message.contains("step `1` of run"), "{}", cause.message);
}

#[tokio::test]
async fn an_event_is_routed_once_and_by_the_rules_in_force_then() {
    const EVENTS: u64 = 3 * BATCH_MAX as u64;
    let mut bench = Bench::new();
    let mut before = Vec::new();
    for number in 0..EVENTS {
        before.push(bench.accept(number, json!(500), 0).await);
    }
    bench.start();
    for event in &before {
        assert_eq!(bench.planned(*event, "large").await.planned.generation, 1);
    }
    bench.stop().await;
    bench.rules.store(Arc::new(rules(RULES, 2)));
    let after = bench.accept(EVENTS, json!(500), 0).await;
    bench.start();
    assert_eq!(bench.planned(after, "large").await.planned.generation, 2);
    assert_eq!(bench.planned(before[0], "large").await.planned.generation, 1, "what was routed stays as it was");
    assert!(bench.journal.unrouted(10, 0).unwrap().events.is_empty());
}

#[tokio::test]
async fn what_a_generation_cannot_meet_is_passed_over_by_that_generation_only() {
    let mut bench = Bench::new();
    let passed = bench.accept_unmet(1, json!(500), 0, 1).await;
    let met = bench.accept(2, json!(500), 0).await;
    bench.start();
    bench.planned(met, "large").await;
    assert_eq!(bench.journal.run(RunId::of(passed, "large")).unwrap(), None, "generation 1 had been asked");
    bench.stop().await;
    let again = bench.accept_unmet(3, json!(500), 0, 1).await;
    bench.rules.store(Arc::new(rules(RULES, 2)));
    bench.start();
    assert_eq!(bench.planned(again, "large").await.planned.generation, 2, "generation 2 had not");
}

#[tokio::test]
async fn what_is_passed_over_is_recorded_together_and_never_forgotten() {
    let now = Instant::now();
    let table = [(None, None), (Some(now), Some(now + PASS_EVERY)), (Some(now - PASS_EVERY), None)];
    assert!(table.into_iter().all(|(recorded, until)| may_wait(recorded, now) == until));
    let mut bench = Bench::new();
    bench.start();
    for number in 1..20 {
        bench.accept_unmet(number, json!(500), 0, 1).await;
    }
    let last = bench.accept_unmet(20, json!(500), 0, 1).await;
    // Nothing comes after it that could wake the router.
    let routed = async {
        while !bench.journal.routing(last).unwrap().routed {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, routed).await.expect("it is recorded");
    // What a rule wants does not wait for company.
    let met = bench.accept(21, json!(500), 0).await;
    bench.planned(met, "large").await;
}

const ONCE: &str = "
rule: once
events: order.placed
dedupe: {key: '${data.Amount}', window: 1h}
steps:
  - http: {method: POST, url: 'https://host/x'}
---
rule: any
events: order.placed
steps:
  - http: {method: POST, url: 'https://host/x'}
";

/// The rules that held an event back, as explained from the journal.
fn held(bench: &Bench, event: EventId) -> Vec<(String, String, Value)> {
    let routing = bench.journal.routing(event).unwrap();
    assert!(routing.routed);
    let MetBy::Rules(held) = routing.met else { panic!("it was routed") };
    held.into_iter().map(|held| (held.rule.to_string(), held.because.path, held.because.found["event"].clone())).collect()
}

#[tokio::test]
async fn a_second_event_of_a_key_is_held_back_also_after_a_restart() {
    let mut bench = Bench::new();
    bench.rules.store(Arc::new(rules(ONCE, 1)));
    let (first, copy) = (bench.accept(1, json!(5), 0).await, bench.accept(2, json!(5), 0).await);
    bench.start();
    assert_eq!(bench.planned(first, "once").await.state, RunState::Pending);
    bench.planned(copy, "any").await;
    assert_eq!(bench.journal.run(RunId::of(copy, "once")).unwrap(), None);
    assert_eq!(held(&bench, copy), [("once".to_owned(), "dedupe".to_owned(), json!(first))]);
    assert_eq!(held(&bench, first), []);
    bench.stop().await;
    // Another router on the same journal knows it too.
    bench.start();
    let (later, other) = (bench.accept(3, json!(5), 0).await, bench.accept(4, json!(6), 0).await);
    bench.planned(other, "once").await;
    assert_eq!(bench.journal.run(RunId::of(later, "once")).unwrap(), None);
    assert_eq!(held(&bench, later), [("once".to_owned(), "dedupe".to_owned(), json!(first))]);
    // What the journal says without the daemon is the same.
    let reader = crate::journal::Reader::new(bench.dir.path());
    let (online, offline) = (bench.journal.routing(later).unwrap(), reader.routing(later).unwrap());
    assert_eq!((online.met, online.generation), (offline.met, offline.generation));
}

#[tokio::test]
async fn keys_whose_window_has_ended_are_forgotten_in_passing() {
    const EVENTS: u64 = 40;
    let mut bench = Bench::new();
    let over = Ran { event: EventId(1), at: Timestamp::EPOCH, until: Timestamp::EPOCH };
    let old = |n: u64| Kept { space: Space::Dedupe, key: format!("{n:020}"), value: Some(Bytes::from(json!(over).to_string())) };
    bench.journal.keep((0..100).map(old).collect()).await.unwrap();
    bench.rules.store(Arc::new(rules(ONCE, 1)));
    bench.start();
    for number in 0..EVENTS {
        let event = bench.accept(number, json!(number), 0).await;
        bench.planned(event, "once").await;
    }
    let left = bench.journal.kept_after(Space::Dedupe, "", None, 1000).unwrap();
    assert_eq!(left.len() as u64, EVENTS, "only what is needed is left");
}

#[tokio::test]
async fn a_key_without_a_value_is_a_run_that_is_dead_at_once() {
    let mut bench = Bench::new();
    bench.rules.store(Arc::new(rules(&ONCE.replace("data.Amount", "data.Other"), 1)));
    bench.start();
    let event = bench.accept(1, json!(5), 0).await;
    let run = bench.planned(event, "once").await;
    assert_eq!((run.state, run.cause.map(|c| c.code)), (RunState::Dead, Some("expression".to_owned())));
}

#[tokio::test]
async fn events_know_the_generation_that_routed_them() {
    let mut bench = Bench::new();
    let mut seen = Vec::new();
    for generation in [1, 2, 2, 5] {
        bench.rules.store(Arc::new(rules(RULES, generation)));
        bench.start();
        for _ in 0..2 {
            let event = bench.accept(seen.len() as u64, json!(500), 0).await;
            bench.planned(event, "large").await;
            seen.push((event, generation));
        }
        bench.stop().await;
    }
    let unrouted = bench.accept(99, json!(1), 0).await;
    let (routings, reader) = (bench.journal.routings().unwrap(), crate::journal::Reader::new(bench.dir.path()));
    assert_eq!(routings, reader.routings().unwrap());
    for (event, generation) in &seen {
        assert_eq!(routings.of(*event), Some(*generation));
    }
    assert_eq!(routings.of(unrouted), None);
    assert!(!bench.journal.routing(unrouted).unwrap().routed);
    assert_eq!(bench.journal.kept_after(Space::Routed, "", None, 10).unwrap().len(), 3, "noted where it changed only");
}
