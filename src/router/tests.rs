//! The router with the real journal.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::event::{Change, Key, Origin, Verified, Via};
use crate::fault::SourceText;
use crate::journal::{Delivery, Options};
use crate::rules::{Known, Mode, RuleSet};
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
    let known = Known { orchestrators: Vec::new(), sources: Vec::new(), vars: json!({}), ingress: None };
    let (set, faults) = RuleSet::load(&[source], &known, &|_| Err("no samples".to_owned()));
    RulesInForce { set: Arc::new(set.unwrap_or_else(|| panic!("{faults:?}"))), generation }
}

struct Bench {
    journal: Journal,
    rules: Arc<ArcSwap<RulesInForce>>,
    stop: CancellationToken,
    task: JoinSet<Result<(), AppendError>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 4 << 20, clock: Clock::system(), boot_id: "boot".to_owned() };
        let (journal, _) = Journal::open(dir.path(), options).unwrap();
        let rules = Arc::new(ArcSwap::from_pointee(rules(RULES, 1)));
        Self { journal, rules, stop: CancellationToken::new(), task: JoinSet::new(), _dir: dir }
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
            key: Key::exact(format!("test|{number}")),
            event_type: "order.placed".into(),
            time: None,
            observed: None,
            tenant: None,
            folder: None,
            subject: None,
            service_id: None,
            element: 0,
            data: Arc::new(data.clone()),
            problem: None,
            origin: (hops > 0).then(|| Origin { run: before, step: "1".to_owned(), hops }),
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
