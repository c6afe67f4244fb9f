//! Whatever the service answers: it is said, nothing is skipped, nothing comes twice.
//!
//! | what may come | where it is tried |
//! |---|---|
//! | 401, 429 with seconds and with a date, 5xx, a page in place of JSON, an answer that is cut or is no list, a reset, a redirect, 403 with what is missing, a folder that is gone | `each_fault_is_named_and_skips_nothing`, `lists_and_jobs_go_on_after_each_fault` |
//! | the same in the middle of a walk over many pages | `a_walk_that_fails_in_its_middle_goes_on_behind_what_it_kept` |
//! | an answer longer than the client takes | `items_that_are_too_long_for_one_answer_are_fetched_in_parts`, `a_feed_whose_rows_are_long_is_read_in_smaller_pages` |
//! | pages that move, rows twice and in another order | `pages_that_move_and_rows_in_any_order_are_told_once` |
//! | Ids committed late | `rows_that_are_committed_late_are_told_once` |
//! | Ids that begin again after a restore | `ids_that_begin_again_after_a_restore_are_followed_and_said` |
//! | rows that are no longer kept | `what_orchestrator_no_longer_has_is_a_gap_with_its_cause` |
//! | clocks an hour apart | `a_clock_that_is_an_hour_off_changes_nothing` |
//! | null and `0001-01-01` for a date | tables in `normalize::feed`, `normalize::jobs` and `normalize::tests` |
//! | an item that is gone between its row and the request for it | `an_item_that_is_gone_is_told_as_far_as_it_is_known` |
//! | a queue renamed, shared, removed; access to a folder revoked | `queues_may_be_renamed_shared_and_removed`, `a_folder_whose_access_is_revoked_does_not_keep_the_others_waiting` |
//! | a permission that is missing, by the list that needs it | `each_permission_that_is_missing_is_named` |

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
            // A page of the feed that cannot be read is asked for again in three smaller sizes, at once.
            let unreadable = ["truncated", "empty"].iter().any(|kind| fault["kind"] == *kind);
            spec["times"] = json!(if unreadable && path == "QueueItemEvents" { 4 } else { 1 });
            bench.fault(spec).await;
            let pass = reader.pass().await;
            if path == "QueueItems" && unreadable {
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
            // What only closing it brought: where the items failed, nothing of the rows was kept before.
            assert_eq!(gaps[0].brought, 6, "{fault} {path}");
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
    // The newest row is gone as well: that alone is no restored database.
    let queue = bench.post("/sandbox/queues", json!({"name": "Last", "folders": ["Finance"]})).await["Id"].clone();
    bench.live("Last", "last").await;
    good(&mut reader).await;
    bench.call("DELETE", &format!("/sandbox/queues/{queue}"), &Value::Null).await;
    for _ in 0..130 {
        bench.pass_time(10);
        good(&mut reader).await;
    }
    let gaps: Vec<_> = good(&mut reader).await.folders.into_iter().flat_map(|(_, folder)| folder.ledger.gaps).collect();
    assert!(gaps.iter().all(|gap| !gap.lost), "{gaps:?}");
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

#[tokio::test]
async fn a_walk_that_fails_in_its_middle_goes_on_behind_what_it_kept() {
    for kind in ["401", "429", "503", "html", "reset", "expired_tokens"] {
        // The third page of the feed; the seventh request for items.
        for (path, after) in [("QueueItemEvents", 2), ("QueueItems", 6)] {
            let bench = Bench::start(options()).await;
            let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
            let mut reader = Reader::new(&poll, &source);
            good(&mut reader).await;
            bench.post("/sandbox/fill", json!({"queue": "Open", "count": 850, "done": true})).await;
            bench.fault(json!({"kind": kind, "match": {"path": path}, "times": 1, "after": after})).await;
            let first = reader.pass().await;
            assert!(first.failure.is_some() || kind == "expired_tokens", "{kind} {path}");
            let kept = bench.events().len();
            assert!(path == "QueueItemEvents" || kept > 0 || kind == "expired_tokens", "{kind}: what was read before is kept");
            bench.forget_requests().await;
            good(&mut reader).await;
            let told = bench.told();
            assert_eq!(told.len(), 850, "{kind} {path}");
            assert!(told.values().all(|types| *types == LIFE), "{kind} {path}");
            let asked = bench.requests().await.get("QueueItems").copied().unwrap_or(0);
            assert!(asked <= 9, "{kind} {path}: {asked} requests for items, each is asked for once");
        }
    }
}

#[tokio::test]
async fn a_feed_whose_rows_are_long_is_read_in_smaller_pages() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    bench.post("/sandbox/feed", json!({"data": 100_000})).await;
    bench.post("/sandbox/fill", json!({"queue": "Open", "count": 205})).await;
    assert_eq!(good(&mut reader).await.brought, 205);
    assert_eq!(good(&mut reader).await.brought, 0);
}

#[tokio::test]
async fn pages_that_move_and_rows_in_any_order_are_told_once() {
    let drifts = [json!({"kind": "page_drift", "shift": 3, "times": 0}), json!({"kind": "page_drift", "shift": -3, "times": 0})];
    for fault in drifts.into_iter().chain([json!({"kind": "shuffled", "times": 0})]) {
        for feed in [true, false] {
            let bench = Bench::start(sandbox::Options { feed, ..options() }).await;
            let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
            let mut reader = Reader::new(&poll, &source);
            good(&mut reader).await;
            bench.fault(fault.clone()).await;
            bench.pass_time(10);
            bench.post("/sandbox/fill", json!({"queue": "Open", "count": 430, "done": true})).await;
            for _ in 0..4 {
                good(&mut reader).await;
                bench.pass_time(310);
            }
            let told = bench.told();
            assert_eq!(told.len(), 430, "{fault} {feed}");
            assert!(told.values().all(|types| *types == LIFE), "{fault} {feed}: {:?}", told.values().find(|types| **types != LIFE));
        }
        let bench = Bench::start(options()).await;
        let (poll, source) = (bench.poll(), bench.source(PollKind::Jobs));
        let mut reader = Reader::new(&poll, &source);
        good(&mut reader).await;
        bench.fault(fault.clone()).await;
        let start = json!({"startInfo": {"ReleaseName": "InvoiceProcessing", "JobsCount": 350}});
        bench.post("/odata/Jobs/UiPath.Server.Configuration.OData.StartJobs", start).await;
        assert_eq!(good(&mut reader).await.brought, 350, "{fault}");
        assert_eq!(good(&mut reader).await.brought, 0, "{fault}");
    }
}

#[tokio::test]
async fn an_item_that_is_gone_is_told_as_far_as_it_is_known() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    let known = bench.add("Open", "known").await;
    good(&mut reader).await;
    bench.take("Open", "known").await;
    bench.end(known, json!({"IsSuccessful": true})).await;
    let unknown = bench.live("Open", "unknown").await;
    let other = bench.live("Payments", "other").await;
    for id in [known, unknown] {
        bench.post(&format!("/sandbox/items/{id}/purge"), Value::Null).await;
    }
    let pass = good(&mut reader).await;
    assert_eq!(pass.gone, 3, "of the unknown one nobody can tell which queue it was in");
    let told = bench.told();
    assert_eq!((&told[&known][..], &told[&other][..]), (&LIFE.map(str::to_owned)[..], &LIFE.map(str::to_owned)[..]));
    assert!(!told.contains_key(&unknown));
    let end = bench.events().into_iter().find(|event| event.event_type() == "queueItem.transactionCompleted").expect("its end");
    assert_eq!((&end.data()["Queue"]["Name"], &end.data()["QueueItem"]["Status"]), (&json!("Open"), &json!("Successful")));
}

#[tokio::test]
async fn each_permission_that_is_missing_is_named() {
    let refused = json!({"message": "You are not authorized!", "errorCode": 0});
    for (kind, feed, path, words) in [
        (PollKind::QueueItems, true, "QueueItemEvents", ["OR.Queues.Read", "Transactions.View"]),
        (PollKind::QueueItems, true, "QueueItems", ["OR.Queues.Read", "Transactions.View"]),
        (PollKind::QueueItems, true, "QueueDefinitions", ["OR.Queues.Read", "Queues.View"]),
        (PollKind::QueueItems, false, "QueueItems", ["OR.Queues.Read", "Transactions.View"]),
        (PollKind::QueueItems, true, "Folders", ["OR.Folders.Read", "Units.View"]),
        (PollKind::Jobs, true, "Jobs", ["OR.Jobs.Read", "Jobs.View"]),
    ] {
        let bench = Bench::start(sandbox::Options { feed, ..options() }).await;
        bench.live("Open", "a").await;
        bench.start_job().await;
        bench.fault(json!({"kind": "403", "match": {"path": format!("/odata/{path}")}, "times": 0, "body": refused})).await;
        let poll = bench.poll();
        let mut source = bench.source(kind);
        if path == "Folders" {
            source.config.folders = Chosen::All;
        }
        let mut reader = Reader::new(&poll, &source);
        let failure = reader.pass().await.failure.unwrap_or_else(|| panic!("{path}"));
        assert!(words.iter().all(|word| failure.message.contains(word)), "{path}: {}", failure.message);
        assert!(bench.events().is_empty());
        bench.call("DELETE", "/sandbox/faults", &Value::Null).await;
        bench.pass_time(10);
        good(&mut reader).await;
        assert!(!bench.events().is_empty(), "{path}: granted, nothing was passed over");
    }
}
