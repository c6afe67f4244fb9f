//! Dispatch with the real journal, client and sockets, against a scripted peer.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::config::{AuthConfig, Edition, Egress, OrchestratorConfig, SecretFrom, SecretRef};
use crate::event::{Change, EventId, Key, RunId, Verified, Via};
use crate::fault::{Place, SourceText};
use crate::http::client::tests::peer::{Heard, Peer, Say, answer, json as says};
use crate::journal::{Delivery, Options, Plan};
use crate::rules::Known;
use crate::runs::{Class, Fact, NewRun, Run, RunState};
use crate::secret::Secret;

/// Long enough for a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// Generations from 1 on.
struct Numbered(Vec<Arc<RuleSet>>);

impl Generations for Numbered {
    fn generation(&self, number: u64) -> Option<(Arc<RuleSet>, Arc<Value>)> {
        let set = self.0.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some((set.clone(), Arc::new(json!({}))))
    }
}

pub(super) fn rules(text: &str) -> Arc<RuleSet> {
    let source = Arc::new(SourceText { path: "rules/x.yaml".into(), text: text.to_owned() });
    let known = Known { orchestrators: vec!["prod".into()], sources: Vec::new(), vars: json!({}), ..Known::default() };
    let (set, faults) = RuleSet::load(&[source], &known, &|_| Err("no samples".to_owned()));
    Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")))
}

fn orchestrator(peer: &Peer) -> Orchestrator {
    let source = Arc::new(SourceText { path: "tripline.yaml".into(), text: String::new() });
    let secret = SecretRef { from: SecretFrom::Env("X".into()), place: Place { source, line: 1, column: 1, length: 0 } };
    let config = OrchestratorConfig {
        name: "prod".into(),
        url: format!("{}/acme/Prod/orchestrator_", peer.url),
        edition: Edition::Cloud,
        tenant: None,
        auth: AuthConfig::Token(secret),
        folder: Some(crate::rules::FolderRef::Id(7)),
        list_rate: None,
    };
    let client = Client::new(&Egress::default()).unwrap();
    Orchestrator::new(config, Secret::new("a token of sixteen".into()), client, Clock::system())
}

/// A journal with dispatch at work on it.
struct Bench {
    journal: Journal,
    stop: CancellationToken,
    task: JoinSet<Result<(), AppendError>>,
    sets: Vec<Arc<RuleSet>>,
    targets: Arc<ArcSwap<Targets>>,
    board: Arc<Board>,
    clock: Clock,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    fn new(rule: &str, peer: &Peer) -> Self {
        let targets = Targets {
            orchestrators: BTreeMap::from([(Arc::from("prod"), orchestrator(peer))]),
            http: Some(Client::new(&Egress::default()).unwrap()),
            ..Targets::default()
        };
        Self::with(rule, targets, Clock::system(), tempfile::tempdir().unwrap())
    }

    fn with(rule: &str, targets: Targets, clock: Clock, dir: tempfile::TempDir) -> Self {
        let options = Options { segment_bytes: 4 << 20, clock: clock.clone(), boot_id: "boot".to_owned() };
        let (journal, _) = Journal::open(dir.path(), options).unwrap();
        Self::of(journal, rule, targets, clock, Some(dir))
    }

    fn of(journal: Journal, rule: &str, targets: Targets, clock: Clock, dir: Option<tempfile::TempDir>) -> Self {
        let board = Board::open(journal.clone(), clock.clone()).unwrap();
        let mut bench = Self {
            board,
            clock,
            journal,
            stop: CancellationToken::new(),
            task: JoinSet::new(),
            sets: vec![rules(rule)],
            targets: Arc::new(ArcSwap::from_pointee(targets)),
            _dir: dir,
        };
        bench.start(Duration::from_secs(5));
        bench
    }

    fn start(&mut self, grace: Duration) {
        self.stop = CancellationToken::new();
        let dispatch = Dispatch {
            journal: self.journal.clone(),
            generations: Arc::new(Numbered(self.sets.clone())),
            targets: self.targets.clone(),
            board: self.board.clone(),
            clock: self.clock.clone(),
            grace,
        };
        self.task.spawn(run(dispatch, self.stop.clone()));
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LONG, self.task.join_next()).await.expect("dispatch ends");
        ended.expect("a task").expect("no panic").expect("the journal lives");
    }

    /// Accepts one event and plans a run of `rule` for it.
    async fn plan(&self, rule: &str, number: u64) -> RunId {
        self.plan_with(rule, number, 1).await
    }

    async fn plan_with(&self, rule: &str, number: u64, generation: u64) -> RunId {
        let data = json!({"Queue": {"Name": "Invoices"}, "QueueItem": {"Id": number, "Reference": format!("A-{number}")}});
        let now = self.clock.now();
        let change = Change {
            time: Some(now),
            data: Arc::new(data.clone()),
            ..Change::told(Key::exact(format!("test|{number}")), "queueItem.added")
        };
        let delivery = Delivery {
            source: "prod-hook".into(),
            via: Via::Internal,
            orchestrator: Some("prod".into()),
            verified: Verified::Yes,
            received: now,
            body: Bytes::from(data.to_string()),
            delivery_id: None,
            changes: vec![change],
        };
        let event = self.journal.accept(delivery).await.unwrap().events[0];
        let id = RunId::of(event, rule);
        let planned = NewRun { generation, ..NewRun::plain(event, rule, now) };
        self.journal.plan(Plan { through: event, runs: vec![planned] }).await.unwrap();
        id
    }

    /// The run as soon as it is as wanted.
    async fn until(&self, id: RunId, wanted: impl Fn(&Run) -> bool) -> Run {
        let mut changed = self.journal.due_changed();
        let wait = async {
            loop {
                changed.borrow_and_update();
                if let Some(run) = self.journal.run(id).unwrap().filter(|run| wanted(run)) {
                    return run;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(LONG, wait).await {
            Ok(run) => run,
            Err(_) => panic!("{:#?}", self.journal.run(id)),
        }
    }

    async fn settled(&self, id: RunId) -> Run {
        self.until(id, |run| run.state.is_settled()).await
    }
}

fn item(id: u64, heard: &Heard) -> Value {
    let sent = &heard.json()["itemData"];
    json!({"Id": id, "Reference": sent["Reference"], "ParentOperationId": sent["ParentOperationId"], "Status": "New"})
}

const ENQUEUE: &str = r#"
rule: follow
events: queueItem.added
retry: {first_wait: 100ms, max_wait: 1s}
steps:
  - id: item
    enqueue: {queue: Review, reference: "review-${item.Reference}", content: {From: "${item.Reference}"}}
"#;

#[tokio::test]
async fn an_item_is_added_once_and_the_run_succeeds() {
    let peer = Peer::start(|heard, _| says(201, &item(99, heard))).await;
    let bench = Bench::new(ENQUEUE, &peer);
    let id = bench.plan("follow", 1).await;
    let run = bench.settled(id).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    assert_eq!(run.steps[0].value["Id"], json!(99));
    assert_eq!(peer.count("AddQueueItem"), 1);
    let sent = peer.heard().last().unwrap().json();
    assert_eq!(sent["itemData"]["Reference"], json!("review-A-1"));
    assert_eq!(sent["itemData"]["ParentOperationId"], json!(format!("tl:{id}:item:1")));
    let attempt = &run.steps[0].attempts[0];
    assert_eq!((attempt.number, attempt.status, attempt.class), (1, Some(201), None));
    assert!(attempt.request.starts_with("POST http://") && attempt.request.ends_with("AddQueueItem"), "{}", attempt.request);
}

const TWO_STEPS: &str = r#"
rule: follow
events: queueItem.added
retry: {first_wait: 100ms, max_wait: 1s}
steps:
  - id: item
    enqueue: {queue: Review}
  - http: {method: POST, url: "PEER/alert?token=s3cret", body: {item: "${steps.item.Id}"}}
"#;

#[tokio::test]
async fn later_steps_see_values_and_every_attempt_carries_the_same_idempotency_key() {
    let tries = AtomicUsize::new(0);
    let peer = Peer::start(move |heard, _| match heard.path() {
        "/alert" if tries.fetch_add(1, Ordering::SeqCst) < 2 => answer(503, &[], "busy"),
        "/alert" => says(200, &json!({"ok": true})),
        _ => says(201, &item(99, heard)),
    })
    .await;
    let bench = Bench::new(&TWO_STEPS.replace("PEER", &peer.url), &peer);
    let id = bench.plan("follow", 1).await;
    let run = bench.settled(id).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    assert_eq!(run.steps[1].value, json!({"ok": true}));
    let statuses: Vec<_> = run.steps[1].attempts.iter().map(|a| a.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(200)]);
    let alerts: Vec<_> = peer.heard().into_iter().filter(|h| h.path() == "/alert").collect();
    for alert in &alerts {
        assert_eq!(alert.header("idempotency-key"), Some(format!("{id}:2").as_str()));
        assert_eq!(alert.header("content-type"), Some("application/json"));
        assert!(alert.header("user-agent").is_some_and(|agent| agent.starts_with("tripline/")));
        assert_eq!(alert.json(), json!({"item": 99}));
    }
    assert_eq!(peer.count("AddQueueItem"), 1, "a finished step is not repeated");
    assert!(!run.to_json().to_string().contains("s3cret"), "a query string is never recorded");
}

#[tokio::test]
async fn a_retry_after_is_obeyed_up_to_max_wait() {
    for status in [429, 503] {
        let peer =
            Peer::start(move |_, number| if number == 0 { answer(status, &[("retry-after", "3600")], "") } else { answer(204, &[], "") })
                .await;
        let text = "rule: r\nevents: queueItem.added\nretry: {first_wait: 100ms, max_wait: 200ms}\nsteps:\n  - http: {method: POST, url: 'PEER/x'}\n";
        let bench = Bench::new(&text.replace("PEER", &peer.url), &peer);
        let run = bench.settled(bench.plan("r", 1).await).await;
        assert_eq!((run.state, run.steps[0].attempts.len()), (RunState::Succeeded, 2), "{run:#?}");
    }
}

#[tokio::test]
async fn a_slow_target_does_not_hold_the_others() {
    let slow = Peer::start(|_, _| Say::Silence).await;
    let quick = Peer::start(|_, _| answer(204, &[], "")).await;
    let text = format!(
        "rule: slow\nevents: queueItem.added\nsteps:\n  - http: {{method: POST, url: '{}/x'}}\n---\nrule: quick\nevents: queueItem.added\nsteps:\n  - http: {{method: POST, url: '{}/x'}}\n",
        slow.url, quick.url
    );
    let mut bench = Bench::new(&text, &quick);
    for n in 0..40 {
        bench.plan("slow", n).await;
    }
    let id = bench.plan("quick", 100).await;
    assert_eq!(bench.settled(id).await.state, RunState::Succeeded);
    assert!(slow.heard().len() <= gates::PER_TARGET, "{}", slow.heard().len());
    bench.stop.cancel();
    bench.task.shutdown().await;
}

#[tokio::test]
async fn a_configuration_refusal_opens_the_breaker_and_runs_wait() {
    let peer = Peer::start(|_, _| says(404, &json!({"message": "Review does not exist.", "errorCode": 1002}))).await;
    let bench = Bench::new(ENQUEUE, &peer);
    let first = bench.plan("follow", 1).await;
    let run = bench.until(first, |run| run.state == RunState::Waiting).await;
    // With little jitter it has met the open breaker by now.
    assert_eq!(run.steps[0].attempts[0].class, Some(Class::Configuration), "{run:#?}");
    let second = bench.plan("follow", 2).await;
    let run = bench.until(second, |run| run.state == RunState::Waiting).await;
    assert_eq!(run.cause.as_ref().map(|c| c.code.as_str()), Some("breaker_open"), "{run:#?}");
    assert!(run.cause.is_some_and(|cause| cause.message.contains("Review")));
    assert_eq!(peer.count("AddQueueItem"), 1);
}

#[tokio::test]
async fn an_unknown_outcome_on_a_queue_with_unique_references_is_simply_repeated() {
    // No answer, and a success that does not tell of an item.
    for lost in [Say::Close(Vec::new()), says(200, &json!({}))] {
        let adds = AtomicUsize::new(0);
        let peer = Peer::start(move |heard, _| {
            let path = heard.path();
            if path.ends_with("AddQueueItem") {
                return match adds.fetch_add(1, Ordering::SeqCst) {
                    0 => lost.clone(),
                    _ => says(409, &json!({"message": "Error creating Transaction. Duplicate Reference.", "errorCode": 1016})),
                };
            }
            if path.ends_with("QueueDefinitions") {
                return says(200, &json!({"value": [{"Id": 3, "Name": "Review", "EnforceUniqueReference": true}]}));
            }
            says(200, &json!({"value": [{"Id": 99, "Reference": "review-A-1"}]}))
        })
        .await;
        let bench = Bench::new(ENQUEUE, &peer);
        let id = bench.plan("follow", 1).await;
        let run = bench.settled(id).await;
        assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
        assert_eq!((run.steps[0].value["Id"].clone(), run.steps[0].maybe_twice), (json!(99), false));
        assert_eq!(peer.count("AddQueueItem"), 2);
    }
}

#[tokio::test]
async fn an_unknown_outcome_elsewhere_is_looked_up_and_found_without_a_second_item() {
    let peer = Peer::start(move |heard, _| {
        let path = heard.path();
        if path.ends_with("AddQueueItem") {
            return says(503, &json!({"message": "Service Unavailable"}));
        }
        if path.ends_with("QueueDefinitions") {
            return says(200, &json!({"value": [{"Id": 3, "Name": "Review", "EnforceUniqueReference": false}]}));
        }
        says(200, &json!({"value": [{"Id": 99, "Reference": "review-A-1"}]}))
    })
    .await;
    let bench = Bench::new(ENQUEUE, &peer);
    let id = bench.plan("follow", 1).await;
    let run = bench.settled(id).await;
    assert_eq!((run.state, run.steps[0].value["Id"].clone()), (RunState::Succeeded, json!(99)), "{run:#?}");
    assert_eq!(peer.count("AddQueueItem"), 1);
}

#[tokio::test]
async fn an_intent_that_a_crash_left_open_is_looked_up_first() {
    let peer = Peer::start(move |heard, _| {
        if heard.path().ends_with("QueueDefinitions") {
            return says(200, &json!({"value": [{"Id": 3, "Name": "Review", "EnforceUniqueReference": false}]}));
        }
        says(200, &json!({"value": [{"Id": 99, "Reference": "review-A-1"}]}))
    })
    .await;
    let mut bench = Bench::new(ENQUEUE, &peer);
    bench.stop().await;
    let id = bench.plan("follow", 1).await;
    let intent = crate::runs::Intent { step: 0, attempt: 1, at: Clock::system().now(), lookups: 0, next_lookup: None };
    let intended = Fact::Intended { id: Some("item".to_owned()), kind: "enqueue".to_owned(), intent };
    bench.journal.record(id, vec![intended]).await.unwrap();
    bench.start(Duration::from_secs(5));
    let run = bench.settled(id).await;
    assert_eq!((run.state, run.attempts()), (RunState::Succeeded, 1), "{run:#?}");
    assert_eq!(peer.count("AddQueueItem"), 0);
}

#[tokio::test]
async fn a_target_that_hangs_is_cut_at_the_end_of_the_grace_period_and_its_run_stays_due() {
    let silent = Arc::new(AtomicUsize::new(1));
    let hangs = silent.clone();
    let peer = Peer::start(move |_, _| if hangs.load(Ordering::SeqCst) == 1 { Say::Silence } else { answer(204, &[], "") }).await;
    let text = format!(
        "rule: follow\nevents: queueItem.added\nretry: {{first_wait: 100ms}}\nsteps:\n  - http: {{method: POST, url: '{}/x'}}\n",
        peer.url
    );
    let mut bench = Bench::new(&text, &peer);
    bench.stop().await;
    bench.start(Duration::from_millis(50));
    let id = bench.plan("follow", 1).await;
    bench.until(id, |run| run.intent.is_some()).await;
    while peer.heard().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.stop().await;
    let run = bench.journal.run(id).unwrap().unwrap();
    assert_eq!((run.state, run.attempts()), (RunState::Retrying, 1), "{run:#?}");
    let attempt = &run.steps[0].attempts[0];
    assert!(attempt.error.as_ref().is_some_and(|error| error.contains("cut off")));
    assert_eq!(attempt.request, format!("POST {}/x", peer.url));
    silent.store(0, Ordering::SeqCst);
    bench.start(Duration::from_secs(5));
    assert_eq!(bench.settled(id).await.state, RunState::Succeeded);
    let keys: Vec<_> = peer.heard().iter().map(|h| h.header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_attempt_in_flight_finishes_within_the_grace_period() {
    let (entered, leave) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (seen, gate) = (entered.clone(), leave.clone());
    let peer = Peer::start(move |_, _| {
        seen.notify_one();
        while gate.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        answer(204, &[], "")
    })
    .await;
    let text = format!("rule: follow\nevents: queueItem.added\nsteps:\n  - http: {{method: POST, url: '{}/x'}}\n", peer.url);
    let mut bench = Bench::new(&text, &peer);
    let id = bench.plan("follow", 1).await;
    tokio::time::timeout(LONG, entered.notified()).await.expect("the request came");
    bench.stop.cancel();
    leave.store(1, Ordering::SeqCst);
    bench.stop().await;
    let run = bench.journal.run(id).unwrap().unwrap();
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
}

#[tokio::test]
async fn an_emitted_event_is_kept_once_with_its_origin() {
    let peer = Peer::start(|_, _| answer(204, &[], "")).await;
    let text =
        "rule: follow\nevents: queueItem.added\nsteps:\n  - id: tell\n    emit: {type: order.late, data: {Ref: \"${item.Reference}\"}}\n";
    let bench = Bench::new(text, &peer);
    let id = bench.plan("follow", 1).await;
    let run = bench.settled(id).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    let emitted: EventId = run.steps[0].value["id"].as_str().unwrap().parse().unwrap();
    let event = bench.journal.event(emitted).unwrap().unwrap();
    assert_eq!((event.event_type(), event.via, event.hops()), ("order.late", Via::Emit, 1));
    assert_eq!(event.data(), &json!({"Ref": "A-1"}));
    let origin = event.change.origin.clone().unwrap();
    assert_eq!((origin.run, origin.step.as_str()), (id.to_string(), "tell"));
    assert_eq!(event.orchestrator.as_deref(), Some("prod"));
}

#[tokio::test]
async fn a_run_whose_rule_is_gone_is_dead_and_says_so() {
    let peer = Peer::start(|_, _| answer(204, &[], "")).await;
    let bench = Bench::new(ENQUEUE, &peer);
    for (rule, generation) in [("follow", 2), ("another", 1)] {
        let id = bench.plan_with(rule, generation, generation).await;
        let run = bench.settled(id).await;
        assert_eq!((run.state, run.cause.map(|c| c.code)), (RunState::Dead, Some("rule_removed".to_owned())));
    }
    assert!(peer.heard().is_empty());
}

#[tokio::test]
async fn a_run_keeps_the_rules_it_was_planned_with() {
    let peer = Peer::start(|_, _| answer(204, &[], "")).await;
    let rule =
        |path: &str| format!("rule: follow\nevents: queueItem.added\nsteps:\n  - http: {{method: POST, url: '{}/{path}'}}\n", peer.url);
    let mut bench = Bench::new(&rule("old"), &peer);
    bench.stop().await;
    bench.sets.push(rules(&rule("new")));
    let (old, new) = (bench.plan_with("follow", 1, 1).await, bench.plan_with("follow", 2, 2).await);
    bench.start(Duration::from_secs(5));
    bench.settled(old).await;
    bench.settled(new).await;
    for (id, path) in [(old, "/old"), (new, "/new")] {
        let key = format!("{id}:1");
        let paths: Vec<_> =
            peer.heard().iter().filter(|h| h.header("idempotency-key") == Some(&key)).map(|h| h.path().to_owned()).collect();
        assert_eq!(paths, [path]);
    }
}

#[tokio::test]
async fn a_refusal_is_death_at_once_with_what_was_said() {
    let peer = Peer::start(|_, _| answer(422, &[], "amount is missing")).await;
    let text = format!("rule: follow\nevents: queueItem.added\nsteps:\n  - http: {{method: POST, url: '{}/x'}}\n", peer.url);
    let bench = Bench::new(&text, &peer);
    let id = bench.plan("follow", 1).await;
    let run = bench.settled(id).await;
    let cause = run.cause.expect("a cause");
    assert_eq!((run.state, cause.code.as_str()), (RunState::Dead, "refused"));
    assert!(cause.message.contains("422") && cause.message.contains("amount is missing"), "{}", cause.message);
    assert_eq!(peer.heard().len(), 1);
}

#[tokio::test]
async fn an_orchestrator_that_is_gone_is_a_refusal_with_a_remedy() {
    let peer = Peer::start(|_, _| answer(204, &[], "")).await;
    let bench = Bench::new(ENQUEUE, &peer);
    bench.targets.store(Arc::new(Targets::default()));
    let id = bench.plan("follow", 1).await;
    let run = bench.settled(id).await;
    assert_eq!(run.state, RunState::Dead, "{run:#?}");
    assert!(run.cause.is_some_and(|cause| cause.message.contains("`orchestrators`")));
}

#[tokio::test]
async fn a_dead_run_that_is_tried_again_goes_on_where_it_stood() {
    let fixed = Arc::new(AtomicUsize::new(0));
    let now_fine = fixed.clone();
    let peer = Peer::start(move |heard, _| match heard.path() {
        "/alert" if now_fine.load(Ordering::SeqCst) == 0 => answer(400, &[], "no"),
        "/alert" => answer(204, &[], ""),
        _ => says(201, &item(99, heard)),
    })
    .await;
    let bench = Bench::new(&TWO_STEPS.replace("PEER", &peer.url), &peer);
    let id = bench.plan("follow", 1).await;
    assert_eq!(bench.settled(id).await.state, RunState::Dead);
    fixed.store(1, Ordering::SeqCst);
    bench.journal.record(id, vec![Fact::Retried { at: Clock::system().now(), due: None }]).await.unwrap();
    let run = bench.until(id, |run| run.state == RunState::Succeeded).await;
    assert_eq!((peer.count("AddQueueItem"), run.attempts()), (1, 3), "{run:#?}");
}

mod model;
#[path = "tests/together.rs"]
mod together;
mod waking;

#[path = "tests/hour.rs"]
mod hour;
