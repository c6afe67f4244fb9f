//! The three ways of reading a folder: the change feed, the lists, the jobs.

use super::*;

const LIFE: [&str; 3] = ["added", "transactionStarted", "transactionCompleted"];

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_busy_pass_costs_what_it_must_and_a_quiet_one_one_request() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    bench.post("/sandbox/fill", json!({"queue": "Open", "count": 2350})).await;
    for n in 0..40 {
        bench.live("Payments", &format!("p-{n}")).await;
    }
    let (changes, items) = (2350_usize + 120, 2350_usize + 40);
    bench.forget_requests().await;
    let pass = good(&mut reader).await;
    assert_eq!((pass.rows, pass.brought), (changes, changes as u64));
    let requests = bench.requests().await;
    let (feed, lists) = (requests["QueueItemEvents"], requests["QueueItems"]);
    assert_eq!((feed, lists), (changes.div_ceil(1000), items.div_ceil(100)), "{requests:?}");
    assert!(requests.values().sum::<usize>() <= 1 + changes.div_ceil(1000) + items.div_ceil(100), "{requests:?}");
    bench.pass_time(240);
    good(&mut reader).await;
    // One request an interval, for longer than anything that is looked at now and then.
    const PASSES: usize = 200;
    bench.forget_requests().await;
    for _ in 0..PASSES {
        bench.pass_time(10);
        assert_eq!(good(&mut reader).await.rows, 0);
    }
    assert_eq!(bench.requests().await.into_iter().collect::<Vec<_>>(), [("QueueItemEvents".to_owned(), PASSES)]);
}

#[tokio::test]
async fn an_item_is_fetched_once_for_all_rows_of_a_pass_however_many_stand_between_them() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    bench.post("/sandbox/fill", json!({"queue": "Open", "count": 2400})).await;
    bench.post("/sandbox/take", json!({"queue": "Open", "count": 2400})).await;
    bench.forget_requests().await;
    let pass = good(&mut reader).await;
    let asked = bench.requests().await;
    assert_eq!((pass.brought, asked["QueueItems"]), (4800, 24), "{asked:?}");
}

#[tokio::test]
async fn without_the_feed_lists_bring_what_they_can_and_a_quiet_folder_costs_one_request() {
    for (version, counters) in [("11.0", true), ("14.0", false), ("20.0", true)] {
        let bench = Bench::start(sandbox::Options { feed: false, counters, api_version: version.into(), ..options() }).await;
        // Before the first look: one within the time to look back, one that is open.
        let early = bench.live("Payments", "early").await;
        let waiting = bench.add("Open", "waiting").await;
        let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
        let mut reader = Reader::new(&poll, &source);
        let view = good(&mut reader).await.folders.remove(0).1;
        assert_eq!(view.reads, "lists");
        assert!(view.cannot.contains(&"queueItem.deferred"));
        assert_eq!(bench.told()[&early], texts(&LIFE), "{version}");
        bench.pass_time(30);
        let done = bench.live("Payments", "done").await;
        let failed = bench.add("Payments", "failed").await;
        bench.take("Payments", "failed").await;
        bench.pass_time(5);
        good(&mut reader).await;
        bench.pass_time(10);
        bench.end(failed, json!({"IsSuccessful": false, "ProcessingException": {"Reason": "boom", "Type": "ApplicationException"}})).await;
        let (status, _) = bench.call("DELETE", &format!("/odata/QueueItems({waiting})"), &Value::Null).await;
        assert_eq!(status, 204);
        let abandoned = bench.add("Open", "abandoned").await;
        bench.take("Open", "abandoned").await;
        bench.post(&format!("/sandbox/items/{abandoned}/abandon"), Value::Null).await;
        bench.pass_time(600);
        good(&mut reader).await;
        bench.pass_time(10);
        good(&mut reader).await;
        let told = bench.told();
        assert_eq!(told[&done], texts(&LIFE));
        // An automatic retry: the next attempt tells that the first was retried, which is told once.
        assert_eq!(told[&failed], texts(&["added", "transactionStarted", "transactionFailed"]), "{version}");
        let next = *told.keys().find(|id| **id > failed && **id < abandoned).expect("the next attempt");
        assert_eq!(told[&next], texts(&["added", "retried"]));
        assert_eq!(told[&waiting], texts(&["added", "deleted"]));
        assert_eq!(told[&abandoned], texts(&["added", "transactionStarted", "transactionAbandoned"]));
        bench.pass_time(10);
        let before = bench.events().len();
        bench.forget_requests().await;
        good(&mut reader).await;
        assert_eq!(bench.events().len(), before);
        if counters {
            assert_eq!(bench.requests().await.into_iter().collect::<Vec<_>>(), [("RetrieveQueuesProcessingStatus".to_owned(), 1)]);
        }
    }
}

#[tokio::test]
async fn a_feed_that_comes_with_a_new_version_is_found_and_nothing_comes_twice() {
    let bench = Bench::start(options()).await;
    let done = bench.live("Payments", "done").await;
    // As if there were none at first.
    bench.fault(json!({"kind": "404", "match": {"path": "QueueItemEvents"}, "times": 1, "code": 1002})).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    assert_eq!(good(&mut reader).await.folders.remove(0).1.reads, "lists");
    bench.pass_time(3700);
    let later = bench.live("Payments", "later").await;
    assert_eq!(good(&mut reader).await.folders.remove(0).1.reads, "feed");
    let told = bench.told();
    assert_eq!((&told[&done], &told[&later]), (&texts(&LIFE), &texts(&LIFE)));
}

#[tokio::test]
async fn pages_of_a_feed_that_does_not_answer_from_an_id_on_are_not_believed() {
    let bench = Bench::start(options()).await;
    bench.live("Payments", "done").await;
    let rows = bench.get("/odata/QueueItemEvents").await["value"].clone();
    // The newest row, and then whatever is asked for the same rows again.
    bench.fault(json!({"kind": "404", "match": {"path": "QueueItemEvents"}, "times": 0})).await;
    assert!(rows.as_array().is_some_and(|rows| !rows.is_empty()));
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    assert_eq!(good(&mut Reader::new(&poll, &source)).await.folders.remove(0).1.reads, "lists");
}

#[tokio::test]
async fn jobs_are_told_once_with_their_arguments_where_rules_want_them() {
    for (version, output) in [("20.0", true), ("11.0", false)] {
        let mut bench = Bench::start(sandbox::Options { api_version: version.into(), ..options() }).await;
        let early = bench.start_job().await;
        let poll = bench.poll();
        let mut source = bench.source(PollKind::Jobs);
        source.arguments = Arguments { input: false, output };
        let mut reader = Reader::new(&poll, &source);
        good(&mut reader).await;
        let job = bench.start_job().await;
        for (state, seconds) in [("Running", 5), ("Suspended", 60), ("Resumed", 60), ("Running", 5), ("Successful", 60)] {
            bench.pass_time(seconds);
            bench.move_job(job, state).await;
            good(&mut reader).await;
        }
        bench.pass_time(400);
        good(&mut reader).await;
        drop(reader);
        drop(poll);
        bench.open();
        let poll = bench.poll();
        good(&mut Reader::new(&poll, &source)).await;
        let told = bench.told();
        assert_eq!(told[&early], texts(&["created"]));
        let whole = ["created", "started", "suspended", "resumed", "started", "completed"];
        let without = ["created", "started", "completed"];
        let expected = if version == "11.0" { texts(&without) } else { texts(&whole) };
        let mut found = told[&job].clone();
        if version == "11.0" {
            // What leaves a stamp may still be seen while the job is looked at.
            found.retain(|name| without.contains(&name.as_str()));
            found.dedup();
        }
        assert_eq!(found, expected, "{version}");
        let events = bench.events();
        let end = events.iter().find(|event| event.event_type() == "job.completed").expect("an end");
        assert_eq!(end.data()["Job"]["OutputArguments"], if output { json!({"out": 2}) } else { Value::Null });
        assert_eq!(end.data()["Job"]["Release"]["Name"], "InvoiceProcessing");
        let asked = bench.requests().await;
        assert_eq!(asked.keys().any(|path| path.starts_with("Jobs(")), output, "{asked:?}");
    }
}

#[tokio::test]
async fn many_jobs_are_read_over_several_pages() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::Jobs));
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    bench
        .post(
            "/odata/Jobs/UiPath.Server.Configuration.OData.StartJobs",
            json!({"startInfo": {"ReleaseName": "InvoiceProcessing", "JobsCount": 450}}),
        )
        .await;
    assert_eq!(good(&mut reader).await.brought, 450);
    assert_eq!(good(&mut reader).await.brought, 0);
}

#[tokio::test]
async fn states_that_are_over_are_forgotten_and_what_comes_to_them_later_is_told_once() {
    let bench = Bench::start(options()).await;
    let (poll, source) = (bench.poll(), bench.source(PollKind::QueueItems));
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    let open = bench.add("Open", "open").await;
    let failed = bench.add("Open", "failed").await;
    bench.take("Open", "failed").await;
    bench.end(failed, json!({"IsSuccessful": false, "ProcessingException": {"Reason": "boom", "Type": "BusinessException"}})).await;
    good(&mut reader).await;
    let kept = |id: i64| poll.journal.kept(crate::journal::Space::Item, &format!("poll/{id}")).expect("reads").is_some();
    assert!(kept(open) && kept(failed));
    bench.pass_time(90_000);
    good(&mut reader).await;
    assert!(kept(open) && !kept(failed), "an open item is remembered, one that is over for a day is not");
    let review = json!({"status": "InReview", "queueItems": [{"Id": failed}]});
    bench.post("/odata/QueueItems/UiPathODataSvc.SetItemReviewStatus", review).await;
    good(&mut reader).await;
    let retry = json!({"status": "Retried", "queueItems": [{"Id": failed}]});
    bench.pass_time(60);
    bench.post("/odata/QueueItems/UiPathODataSvc.SetItemReviewStatus", retry).await;
    good(&mut reader).await;
    let told = bench.told();
    let expected = ["added", "transactionStarted", "transactionFailed", "reviewStatusChanged", "reviewStatusChanged", "retried"];
    assert_eq!(told[&failed], texts(&expected));
}

#[tokio::test]
async fn queues_that_are_not_there_are_named_and_others_cost_nothing_more() {
    let bench = Bench::start(options()).await;
    let poll = bench.poll();
    let mut source = bench.source(PollKind::QueueItems);
    source.config.queues = Chosen::These(vec!["payments".into(), "Invoizes".into()]);
    let mut reader = Reader::new(&poll, &source);
    good(&mut reader).await;
    let elsewhere = bench.add("Open", "elsewhere").await;
    let here = bench.add("Payments", "here").await;
    let view = good(&mut reader).await.folders.remove(0).1;
    assert_eq!(view.notes.len(), 1);
    assert!(view.notes[0].contains("Invoizes"), "{:?}", view.notes);
    let asked = bench.requests().await["QueueItems"];
    bench.take("Open", "elsewhere").await;
    good(&mut reader).await;
    assert_eq!(bench.requests().await["QueueItems"], asked, "an item of another queue is not fetched again");
    let told = bench.told();
    assert!(told.contains_key(&here) && !told.contains_key(&elsewhere));
}
