//! Runs that await something are woken by events. The clock stands still: without an event nobody looks again.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::runs::StepState;
use crate::time::Timestamp;

/// The event that an item or job came to its end.
async fn tell(bench: &Bench, kind: &str, id: &str, event_type: &str) {
    let url = bench.targets.load().orchestrators["prod"].tenant_url();
    let now = bench.clock.now();
    let change = Change {
        time: Some(now),
        data: Arc::new(json!({})),
        ..Change::told(Key::exact(format!("{url}|{kind}|{id}|{event_type}|")), event_type)
    };
    let delivery = Delivery {
        source: "prod-hook".into(),
        via: Via::Webhook,
        orchestrator: Some("prod".into()),
        verified: Verified::Yes,
        received: now,
        body: Bytes::from_static(b"{}"),
        delivery_id: None,
        changes: vec![change],
    };
    // No rule meets it.
    bench.journal.accept_unmet(delivery, 1).await.unwrap();
}

fn bench(rule: &str, peer: &Peer) -> Bench {
    let targets = Targets { orchestrators: BTreeMap::from([(Arc::from("prod"), orchestrator(peer))]), ..Targets::default() };
    Bench::with(rule, targets, Clock::manual(Timestamp::from_millis(1_700_000_000_000)), tempfile::tempdir().unwrap())
}

/// Whether it awaits something that an event can tell the end of.
fn awaits(run: &Run) -> bool {
    run.state == RunState::Waiting && run.awaited().next().is_some()
}

#[tokio::test]
async fn an_item_is_looked_at_when_an_event_tells_its_end_and_so_is_its_next_attempt() {
    let (failed, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_failed, is_over) = (failed.clone(), over.clone());
    let peer = Peer::start(move |heard, _| {
        let last = heard.path().ends_with("GetItemLastRetry");
        let status = match (is_failed.load(Ordering::SeqCst), last, is_over.load(Ordering::SeqCst)) {
            (false, ..) => "InProgress",
            (true, false, _) => "Retried",
            (true, true, false) => "New",
            (true, true, true) => "Successful",
        };
        says(200, &json!({"Id": if last { 8 } else { 7 }, "Status": status}))
    })
    .await;
    let mut bench = bench("rule: r\nevents: queueItem.added\nsteps:\n  - id: end\n    await_item: {id: 7}\n", &peer);
    let id = bench.plan("r", 1).await;
    bench.until(id, awaits).await;
    failed.store(true, Ordering::SeqCst);
    tell(&bench, "queueItem", "6", "queueItem.transactionFailed").await;
    tell(&bench, "queueItem", "7", "queueItem.transactionFailed").await;
    let run = bench.until(id, |run| run.awaited().any(|awaited| awaited.0.ends_with("|8"))).await;
    assert_eq!((run.state, peer.heard().len()), (RunState::Waiting, 3), "nobody looked for the end of another item");
    over.store(true, Ordering::SeqCst);
    // The event of the next attempt comes while nobody is there.
    bench.stop().await;
    tell(&bench, "queueItem", "8", "queueItem.transactionCompleted").await;
    bench.start(Duration::from_secs(5));
    let run = bench.settled(id).await;
    assert_eq!((run.state, &run.steps[0].value["Status"]), (RunState::Succeeded, &json!("Successful")), "{run:#?}");
    assert_eq!(peer.heard().len(), 5);
}

#[tokio::test]
async fn an_answer_that_lags_behind_the_event_is_asked_for_again_soon() {
    let peer = Peer::start(|_, _| says(200, &json!({"Id": 5, "Key": "0A-B", "State": "Running"}))).await;
    let bench = bench("rule: r\nevents: queueItem.added\nsteps:\n  - await_job: {id: 5}\n", &peer);
    let id = bench.plan("r", 1).await;
    bench.until(id, awaits).await;
    bench.clock.set(bench.clock.now().plus(Duration::from_secs(3)));
    let told = bench.clock.now();
    tell(&bench, "job", "0a-b", "job.completed").await;
    let run = bench.until(id, |run| awaits(run) && run.updated == told).await;
    let next = run.next_at.expect("it goes on").since(told);
    assert!(next <= Duration::from_millis(6_250), "{next:?}");
}

#[tokio::test]
async fn an_element_is_woken_while_another_one_is_worked_on() {
    let over = Arc::new(AtomicBool::new(false));
    let is_over = over.clone();
    let peer = Peer::start(move |heard, _| {
        if heard.path().ends_with("QueueItems(2)") {
            return Say::Silence;
        }
        let status = if is_over.load(Ordering::SeqCst) { "Successful" } else { "InProgress" };
        says(200, &json!({"Id": 1, "Status": status}))
    })
    .await;
    let rule = "rule: r\nevents: queueItem.added\nsteps:\n  - for_each: \"[1, 2]\"\n    as: n\n    parallel: 2\n    steps:\n      - await_item: {id: \"${n}\"}\n";
    let bench = bench(rule, &peer);
    let id = bench.plan("r", 1).await;
    bench.until(id, |run| run.awaited().next().is_some()).await;
    while peer.count("QueueItems(2)") == 0 {
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::SeqCst);
    tell(&bench, "queueItem", "1", "queueItem.transactionCompleted").await;
    let run = bench
        .until(id, |run| {
            let list = run.steps.first().and_then(|step| step.list.as_ref());
            list.is_some_and(|list| list.lanes().all(|(index, _)| index == 1))
        })
        .await;
    assert_eq!(run.steps[0].state, StepState::Running);
}
