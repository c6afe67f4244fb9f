//! Items of one queue that go out together.

use std::collections::BTreeMap;

use super::*;
use crate::runs::Class;

const RUNS: u64 = 300;

/// The items of a request, one or many.
fn items(heard: &Heard) -> Vec<Value> {
    let body = heard.json();
    match body["queueItems"].as_array() {
        Some(many) => many.clone(),
        None => vec![body["itemData"].clone()],
    }
}

fn references(heard: &[Heard]) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for one in heard.iter().filter(|heard| heard.path().contains("AddQueueItem")).flat_map(items) {
        *all.entry(one["Reference"].as_str().expect("a reference").to_owned()).or_default() += 1;
    }
    all
}

fn is_bulk(heard: &Heard) -> bool {
    heard.path().contains("BulkAddQueueItems")
}

fn success() -> Value {
    json!({"Success": true, "Message": "", "FailedItems": []})
}

/// Plans runs while their target is paused, so that they wait together, and lets them go.
async fn together(bench: &Bench, rule: &str, count: u64) -> Vec<RunId> {
    bench.board.pause(crate::runs::Paused::All, None).await.expect("paused");
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(bench.plan(rule, n).await);
    }
    for id in &ids {
        bench.until(*id, |run| run.state == RunState::Paused).await;
    }
    assert!(bench.board.resume(&crate::runs::Paused::All).await.expect("resumed"));
    ids
}

#[tokio::test]
async fn many_items_for_one_queue_take_few_requests_and_each_is_sent_once() {
    let peer = Peer::start(|heard, _| if is_bulk(heard) { says(200, &success()) } else { says(201, &item(99, heard)) }).await;
    let bench = Bench::new(ENQUEUE, &peer);
    for id in together(&bench, "follow", RUNS).await {
        let run = bench.settled(id).await;
        assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
        assert!(run.steps[0].value["Reference"].as_str().is_some_and(|reference| reference.starts_with("review-A-")));
    }
    let heard = peer.heard();
    let references = references(&heard);
    assert_eq!((references.len() as u64, references.values().max()), (RUNS, Some(&1)));
    assert!(heard.len() <= 12, "{} requests", heard.len());
    let bulk = heard.iter().find(|heard| is_bulk(heard)).expect("one that carries many").json();
    assert_eq!((&bulk["queueName"], &bulk["commitType"]), (&json!("Review"), &json!("ProcessAllIndependently")));
    assert!(bulk["queueItems"].as_array().is_some_and(|items| items.len() <= 100));
    let first = &bulk["queueItems"][0];
    assert!(first.get("Name").is_none() && first["ParentOperationId"].as_str().is_some_and(|id| id.starts_with("tl:")), "{first}");
}

#[tokio::test]
async fn a_failure_of_one_item_touches_only_its_run() {
    let peer = Peer::start(|heard, _| {
        if !is_bulk(heard) {
            return says(201, &item(99, heard));
        }
        let all = items(heard);
        let failed = all.iter().enumerate().filter_map(|(n, item)| match item["Reference"].as_str() {
            Some("review-A-7") => Some(json!({"Ordinal": n + 1, "ErrorCode": "QueueItemContentSizeExceeded", "ErrorMessage": "too long"})),
            Some("review-A-9") => Some(json!({"Ordinal": n + 1, "ErrorCode": "DuplicateReference", "ErrorMessage": "again"})),
            _ => None,
        });
        let failed: Vec<Value> = failed.collect();
        says(200, &json!({"Success": failed.is_empty(), "FailedItems": failed}))
    })
    .await;
    let bench = Bench::new(ENQUEUE, &peer);
    let ids = together(&bench, "follow", 40).await;
    let mut states = BTreeMap::new();
    for (n, id) in ids.iter().enumerate() {
        let run = bench.settled(*id).await;
        *states.entry(run.state).or_insert(0) += 1;
        let message = run.cause.as_ref().map(|cause| cause.message.clone()).unwrap_or_default();
        match (n, run.state) {
            (7, RunState::Dead) => assert!(message.contains("too long"), "{message}"),
            (7, state) => {
                // It went alone: the first of a quiet queue.
                assert_eq!(state, RunState::Succeeded);
            }
            (9, state) => assert_eq!(state, RunState::Succeeded, "there already is success: {message}"),
            (_, state) => assert_eq!(state, RunState::Succeeded, "{n}: {message}"),
        }
    }
    assert!(states[&RunState::Succeeded] >= 39, "{states:?}");
    assert!(peer.heard().iter().any(is_bulk));
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_goes_item_by_item() {
    let peer = Peer::start(|heard, _| match items(heard).first().and_then(|item| item["Reference"].as_str().map(str::to_owned)) {
        _ if is_bulk(heard) => says(400, &json!({"message": "one of them is wrong", "errorCode": 1000})),
        Some(reference) if reference == "review-A-3" => says(400, &json!({"message": "this one is wrong", "errorCode": 1000})),
        _ => says(201, &item(99, heard)),
    })
    .await;
    let bench = Bench::new(ENQUEUE, &peer);
    let ids = together(&bench, "follow", 12).await;
    for (n, id) in ids.iter().enumerate() {
        let run = bench.settled(*id).await;
        let expected = if n == 3 { RunState::Dead } else { RunState::Succeeded };
        assert_eq!(run.state, expected, "{n}: {run:#?}");
    }
    assert!(peer.heard().iter().any(is_bulk));
}

#[tokio::test]
async fn a_failure_without_a_place_is_looked_up_and_no_item_is_added_twice() {
    // The queue enforces unique references: what is unknown is sent again, alone, and refused where it is there already.
    let peer = Peer::start(|heard, _| match heard.path() {
        path if path.contains("QueueDefinitions") => {
            says(200, &json!({"value": [{"Id": 5, "Name": "Review", "EnforceUniqueReference": true}]}))
        }
        _ if is_bulk(heard) => {
            says(200, &json!({"Success": false, "FailedItems": [{"Ordinal": null, "ErrorCode": "X", "ErrorMessage": "who?"}]}))
        }
        path if path.contains("AddQueueItem") && items(heard)[0]["Reference"] == "review-A-4" => {
            says(409, &json!({"message": "Duplicate Reference", "errorCode": 1016}))
        }
        path if path.contains("AddQueueItem") => says(201, &item(99, heard)),
        _ => says(200, &json!({"value": []})),
    })
    .await;
    let bench = Bench::new(ENQUEUE, &peer);
    for id in together(&bench, "follow", 8).await {
        let run = bench.settled(id).await;
        assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
        let unknown = run.steps[0].attempts.iter().filter(|attempt| attempt.class == Some(Class::Unknown)).count();
        assert!(unknown <= 1, "after a batch whose end is unknown it goes alone: {run:#?}");
    }
    assert!(peer.heard().iter().any(is_bulk));
}

#[tokio::test]
async fn ids_are_looked_up_only_where_a_later_step_reads_them() {
    let peer = Peer::start(|heard, _| match heard.path() {
        "/alert" => answer(204, &[], ""),
        path if path.contains("QueueDefinitions") => says(200, &json!({"value": [{"Id": 5, "Name": "Review"}]})),
        path if path.contains("QueueItems") && heard.method == "GET" => {
            let query = &heard.target;
            let rows = (0..20)
                .filter(|n| query.contains(&format!("review-A-{n}%27")))
                .map(|n| json!({"Id": 700 + n, "Reference": format!("review-A-{n}")}));
            says(200, &json!({"value": rows.collect::<Vec<_>>()}))
        }
        _ if is_bulk(heard) => says(200, &success()),
        _ => says(201, &json!({"Id": 700, "Reference": "review-A-0"})),
    })
    .await;
    let rule = TWO_STEPS.replace("PEER", &peer.url).replace("queue: Review", "queue: Review, reference: \"review-${item.Reference}\"");
    let bench = Bench::new(&rule, &peer);
    for (n, id) in together(&bench, "follow", 20).await.into_iter().enumerate() {
        let run = bench.settled(id).await;
        assert_eq!((run.state, &run.steps[0].value["Id"]), (RunState::Succeeded, &json!(700 + n)), "{run:#?}");
    }
    let heard = peer.heard();
    let looked_up = heard.iter().filter(|heard| heard.method == "GET" && heard.path().ends_with("QueueItems")).count();
    assert!((1..=4).contains(&looked_up), "{looked_up} look-ups");
    assert!(heard.iter().any(is_bulk));
}
