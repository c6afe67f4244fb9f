//! Whatever the service answers: it is said, nothing is skipped, nothing comes twice.

use super::*;

const LIFE: [&str; 3] = ["added", "transactionStarted", "transactionCompleted"];

async fn lists_without_feed() -> Bench {
    Bench::start(sandbox::Options { feed: false, ..options() }).await
}

#[tokio::test]
async fn each_fault_is_named_and_skips_nothing() {
    let forbidden = json!({"message": "You are not authorized!", "errorCode": 0});
    let date = "Fri, 01 Jan 2100 00:00:00 GMT";
    for (fault, said) in [
        (json!({"kind": "401"}), "401"),
        (json!({"kind": "429", "retry_after": 7}), "429"),
        (json!({"kind": "429", "retry_after": date}), "429"),
        (json!({"kind": "500"}), "500"),
        (json!({"kind": "503", "retry_after": 3}), "503"),
        (json!({"kind": "html"}), "content type"),
        (json!({"kind": "truncated"}), "cut off"),
        (json!({"kind": "empty"}), "no list"),
        (json!({"kind": "reset"}), "gave no answer"),
        (json!({"kind": "redirect"}), "redirect"),
        (json!({"kind": "403", "body": forbidden}), "Transactions.View"),
        (json!({"kind": "400", "code": 1100}), "Finance"),
    ] {
        for path in ["QueueItemEvents", "QueueItems"] {
            let bench = Bench::start(options()).await;
            let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
            let mut reader = Reader::new(&poll, &source);
            good(&mut reader).await;
            let ids = [bench.live("Open", "a").await, bench.live("Payments", "b").await];
            let mut spec = fault.clone();
            spec["match"] = json!({"path": path});
            spec["times"] = json!(1);
            bench.fault(spec).await;
            let pass = reader.pass().await;
            if path == "QueueItems" && ["truncated", "empty"].iter().any(|kind| fault["kind"] == *kind) {
                // Items that cannot be read together are asked for in halves, at once.
                assert_eq!(pass.failure, None);
                assert!(ids.iter().all(|id| bench.told()[id] == LIFE), "{fault}");
                continue;
            }
            let failure = pass.failure.unwrap_or_else(|| panic!("{fault} {path}"));
            assert!(failure.message.contains(said), "{fault} {path}: {}", failure.message);
            if fault["kind"] == "429" {
                assert!(failure.retry_after.is_some_and(|wait| wait >= Duration::from_secs(7)), "{failure:?}");
            }
            assert_eq!(pass.folders[0].1.ledger.failing.as_deref(), Some(failure.message.as_str()));
            bench.pass_time(600);
            let pass = good(&mut reader).await;
            let told = bench.told();
            for id in ids {
                assert_eq!(told[&id], LIFE, "{fault} {path}");
            }
            let gaps = &pass.folders[0].1.ledger.gaps;
            assert_eq!((gaps.len(), gaps[0].cause.as_str(), gaps[0].lost), (1, failure.message.as_str(), false), "{fault}");
        }
    }
}

#[tokio::test]
async fn lists_and_jobs_go_on_after_each_fault() {
    for kind in ["401", "429", "500", "html", "truncated", "empty", "reset", "expired_tokens"] {
        for path in ["QueueItems", "RetrieveQueuesProcessingStatus", "QueueDefinitions"] {
            let bench = lists_without_feed().await;
            let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
            let mut reader = Reader::new(&poll, &source);
            good(&mut reader).await;
            let id = bench.live("Open", "a").await;
            for after in [0, 1, 2] {
                bench.fault(json!({"kind": kind, "match": {"path": path}, "times": 1, "after": after})).await;
                drop(reader.pass().await);
                bench.call("DELETE", "/sandbox/faults", &Value::Null).await;
                bench.pass_time(400);
            }
            bench.fault(json!({"kind": kind, "match": {"path": "no such path"}, "times": 1})).await;
            drop(reader.pass().await);
            good(&mut reader).await;
            assert_eq!(bench.told()[&id], LIFE, "{kind} {path}");
        }
    }
}

#[tokio::test]
async fn rows_that_are_committed_late_are_told_once() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    bench.post("/sandbox/feed", json!({"hide": 2})).await;
    let late = bench.live("Open", "late").await;
    let early = bench.live("Open", "early").await;
    good(&mut reader).await;
    bench.pass_time(100);
    bench.post("/sandbox/feed", json!({"show": true})).await;
    good(&mut reader).await;
    bench.pass_time(300);
    good(&mut reader).await;
    let told = bench.told();
    let mut late = told[&late].clone();
    late.sort();
    let mut whole = LIFE;
    whole.sort_unstable();
    assert_eq!(late, whole, "in whatever order");
    assert_eq!(told[&early], LIFE);
}

#[tokio::test]
async fn ids_that_begin_again_after_a_restore_are_followed_and_said() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    bench.live("Open", "before").await;
    good(&mut reader).await;
    bench.pass_time(300);
    good(&mut reader).await;
    bench.post("/sandbox/feed", json!({"restart": true})).await;
    let after = bench.live("Open", "after").await;
    for _ in 0..70 {
        bench.pass_time(10);
        good(&mut reader).await;
    }
    assert_eq!(bench.told()[&after], LIFE);
    let gaps = good(&mut reader).await.folders.remove(0).1.ledger.gaps;
    assert!(gaps.iter().any(|gap| gap.lost && gap.cause.contains("restored")), "{gaps:?}");
}

#[tokio::test]
async fn what_orchestrator_no_longer_has_is_a_gap_with_its_cause() {
    let mut bench = Bench::start(options()).await;
    let source = bench.source(PollKind::QueueItems);
    {
        let poll = bench.poll();
        let mut reader = Reader::new(&poll, &source);
        bench.live("Open", "before").await;
        good(&mut reader).await;
        bench.pass_time(300);
        good(&mut reader).await;
    }
    // Down for two days, of which Orchestrator keeps the end.
    bench.pass_time(80_000);
    let gone = bench.live("Open", "gone").await;
    bench.pass_time(80_000);
    let kept = bench.live("Open", "kept").await;
    bench.post("/sandbox/feed", json!({"keep": 3})).await;
    bench.open();
    let poll = bench.poll();
    let pass = good(&mut Reader::new(&poll, &source)).await;
    let told = bench.told();
    assert_eq!(told[&kept], LIFE);
    assert!(!told.contains_key(&gone));
    let gaps = &pass.folders[0].1.ledger.gaps;
    assert!(gaps.iter().any(|gap| gap.lost && gap.cause.contains("no longer has")), "{gaps:?}");
    assert!(gaps.iter().any(|gap| !gap.lost && gap.cause.contains("not running") && gap.brought == 3), "{gaps:?}");
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_changes_nothing() {
    for (ours, feed) in [(-3600_i64, true), (3600, true), (-3600, false), (3600, false)] {
        let bench = Bench::start(sandbox::Options { feed, ..options() }).await;
        let early = bench.live("Open", "early").await;
        let mut poll = bench.poll();
        poll.clock = Clock::manual(Timestamp::from_millis(bench.clock.now().as_millis() + ours * 1000));
        let source = bench.source(PollKind::QueueItems);
        let mut reader = Reader::new(&poll, &source);
        for n in 0..5 {
            bench.pass_time(30);
            poll.clock.set(poll.clock.now().plus(Duration::from_secs(30)));
            bench.live("Open", &format!("n-{n}")).await;
            good(&mut reader).await;
        }
        let told = bench.told();
        assert_eq!(told.len(), 6, "{ours} {feed}");
        assert!(told.values().all(|types| *types == LIFE), "{told:?}");
        assert_eq!(told[&early], LIFE);
    }
}

#[tokio::test]
async fn queues_may_be_renamed_shared_and_removed() {
    let bench = Bench::start(options()).await;
    let poll = bench.poll();
    let mut source = bench.source(PollKind::QueueItems);
    source.config.folders = Chosen::All;
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    let queue = bench.post("/sandbox/queues", json!({"name": "Old", "folders": ["Finance"]})).await["Id"].clone();
    let first = bench.live("Old", "first").await;
    good(&mut reader).await;
    bench.post(&format!("/sandbox/queues/{queue}"), json!({"name": "Renamed", "folders": ["Finance", "Shared"]})).await;
    bench.pass_time(400);
    let shared = bench.live("Renamed", "shared").await;
    good(&mut reader).await;
    let name = |id: i64| {
        let events = bench.events();
        events.iter().find(|event| event.data()["QueueItem"]["Id"] == id).map(|event| event.data()["Queue"]["Name"].clone())
    };
    assert_eq!((name(first), name(shared)), (Some("Old".into()), Some("Renamed".into())));
    let gone = bench.live("Renamed", "gone").await;
    let (status, _) = bench.call("DELETE", &format!("/sandbox/queues/{queue}"), &Value::Null).await;
    assert_eq!(status, 204);
    let other = bench.live("Open", "other").await;
    good(&mut reader).await;
    let told = bench.told();
    assert_eq!(
        (&told[&first][..], &told[&shared][..], &told[&other][..]),
        (&LIFE.map(str::to_owned)[..], &LIFE.map(str::to_owned)[..], &LIFE.map(str::to_owned)[..])
    );
    assert!(!told.contains_key(&gone), "rows of a queue that is gone are not shown by the service");
}

#[tokio::test]
async fn a_folder_whose_access_is_revoked_does_not_keep_the_others_waiting() {
    let bench = Bench::start(options()).await;
    let poll = bench.poll();
    let mut source = bench.source(PollKind::QueueItems);
    source.config.folders = Chosen::These(vec![FolderRef::Path("Audit".into()), FolderRef::Path("Finance".into())]);
    let mut reader = Reader::new(&poll, &source);
    let failure = reader.pass().await.failure.expect("there is no such folder");
    assert!(failure.message.contains("Audit"), "{}", failure.message);
    let id = bench.live("Open", "a").await;
    assert!(reader.pass().await.failure.is_some());
    assert_eq!(bench.told()[&id], LIFE);
    bench.post("/sandbox/folders", json!({"path": "Audit"})).await;
    good(&mut reader).await;
}

#[tokio::test]
async fn items_that_are_too_long_for_one_answer_are_fetched_in_parts() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    let text = "x".repeat(250_000);
    let rows: Vec<Value> = (0..60).map(|n| json!({"Reference": format!("r-{n}"), "SpecificContent": {"T": text}})).collect();
    let bulk = json!({"queueName": "Open", "commitType": "AllOrNothing", "queueItems": rows});
    bench.post("/odata/Queues/UiPathODataSvc.BulkAddQueueItems", bulk).await;
    assert_eq!(good(&mut reader).await.brought, 60);
}
