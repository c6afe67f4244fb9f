//! Polling over the real binary: what a webhook missed is brought, what it brought is confirmed, and nothing comes twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Daemon, Folder, SECRET, Sandbox, start_sandbox, until};

/// Adds a polled source that reconciles the webhook.
fn with_poll(folder: &Folder, poll: &str) {
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &format!("{config}  queues:\n    poll: {{orchestrator: prod, kind: queue_items, every: 1s, {poll}}}\n"));
}

/// Adds an item and has it fail or succeed; its id.
async fn live(sandbox: &Sandbox, queue: &str, reference: &str, fails: bool) -> i64 {
    let item = json!({"itemData": {"Name": queue, "Reference": reference, "SpecificContent": {"InvoiceId": reference}}});
    let (status, added) = sandbox.post("/odata/Queues/UiPathODataSvc.AddQueueItem", &item).await;
    assert_eq!(status, 201, "{added}");
    let start = json!({"transactionData": {"Name": queue, "Reference": reference, "ReferenceFilterOption": "Equals"}});
    let (status, started) = sandbox.post("/odata/Queues/UiPathODataSvc.StartTransaction", &start).await;
    assert_eq!(status, 200, "{started}");
    let id = started["Id"].as_i64().expect("an id");
    let result = if fails {
        json!({"transactionResult": {"IsSuccessful": false, "ProcessingException": {"Reason": "boom", "Type": "BusinessException"}}})
    } else {
        json!({"transactionResult": {"IsSuccessful": true, "Output": {"Total": 7}}})
    };
    let (status, answer) = sandbox.post(&format!("/odata/Queues({id})/UiPathODataSvc.SetTransactionResult"), &result).await;
    assert_eq!(status, 200, "{answer}");
    id
}

/// Types of the events of each item, in the order of the journal.
async fn told(daemon: &Daemon) -> BTreeMap<i64, Vec<String>> {
    let mut told: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for event in daemon.list("/api/v1/events").await {
        if let Some(id) = event["data"]["QueueItem"]["Id"].as_i64() {
            told.entry(id).or_default().push(event["type"].as_str().expect("a type").to_owned());
        }
    }
    told
}

async fn until_told(daemon: &Daemon, id: i64, last: &str) {
    until(&format!("{last} of {id} is brought"), async || {
        told(daemon).await.get(&id).is_some_and(|types| types.iter().any(|one| one == last)).then_some(())
    })
    .await;
}

async fn register_webhook(sandbox: &Sandbox, daemon: &Daemon) {
    let url = format!("http://{}/hooks/hook", daemon.ingress);
    let webhook = json!({"Name": "tripline", "Url": url, "Secret": SECRET, "Enabled": true, "SubscribeToAllEvents": true});
    let (status, answer) = sandbox.post("/odata/Webhooks", &webhook).await;
    assert_eq!(status, 201, "{answer}");
}

const LIFE_FAILED: [&str; 3] = ["queueItem.added", "queueItem.transactionStarted", "queueItem.transactionFailed"];
const LIFE_DONE: [&str; 3] = ["queueItem.added", "queueItem.transactionStarted", "queueItem.transactionCompleted"];

#[tokio::test]
async fn without_a_webhook_the_poll_brings_every_change_and_rules_act() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "queues: [Invoices, Payments], reconciles: hook, look_back: 1h");
    folder.rule("review", "rule: review\nevents: queueItem.transactionFailed\nqueues: [Invoices]\nsources: [hook]\nsteps:\n  - enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\", content: {Reason: \"${item.ProcessingException.Reason}\"}}\n");
    // Before the first start: what it looks back to.
    let early = live(&sandbox, "Payments", "early", false).await;
    let daemon = Daemon::start(&folder).await;
    let failed = live(&sandbox, "Invoices", "A-1", true).await;
    let elsewhere = live(&sandbox, "Open", "O-1", true).await;
    until_told(&daemon, failed, "queueItem.transactionFailed").await;
    until_told(&daemon, early, "queueItem.transactionCompleted").await;
    until("the follow-up is there", async || sandbox.references("Invoices-Review").await.contains(&"r-A-1".to_owned()).then_some(())).await;
    let told = told(&daemon).await;
    assert_eq!((&told[&failed][..], &told[&early][..]), (&LIFE_FAILED.map(str::to_owned)[..], &LIFE_DONE.map(str::to_owned)[..]));
    assert!(!told.contains_key(&elsewhere), "a queue that is not chosen");
    let events = daemon.list("/api/v1/events?type=queueItem.transactionFailed").await;
    let event = &events[0];
    assert_eq!((&event["via"], &event["source"], &event["orchestrator"]), (&json!("poll"), &json!("queues"), &json!("prod")));
    assert_eq!((&event["folder"]["id"], &event["folder"]["path"]), (&json!(2), &json!("Finance")));
    assert_eq!(event["data"]["QueueItem"]["SpecificContent"], json!({"InvoiceId": "A-1"}));
    let sources = daemon.get("/api/v1/sources").await;
    assert_eq!((&sources["items"][0]["source"], &sources["items"][0]["failure"]), (&json!("queues"), &Value::Null));
}

#[tokio::test]
async fn a_webhook_and_a_poll_tell_one_change_once_and_the_poll_closes_the_hole() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "reconciles: hook");
    let daemon = Daemon::start(&folder).await;
    register_webhook(&sandbox, &daemon).await;
    let both = live(&sandbox, "Payments", "both", false).await;
    until("webhook and poll have both told it", async || {
        let sources = daemon.get("/api/v1/sources").await;
        let taken = |name: &str| sources["items"][0][name].as_u64().unwrap_or(0);
        (taken("brought") + taken("confirmed") >= 3).then_some(())
    })
    .await;
    // Every delivery of the next item is lost.
    sandbox.fault(json!({"kind": "webhook_loss", "times": 0})).await;
    let hole = live(&sandbox, "Payments", "hole", false).await;
    until_told(&daemon, hole, "queueItem.transactionCompleted").await;
    let told = told(&daemon).await;
    for id in [both, hole] {
        let mut types = told[&id].clone();
        types.sort();
        let mut expected = LIFE_DONE.map(str::to_owned);
        expected.sort();
        assert_eq!(types, expected, "each change once");
    }
}

#[tokio::test]
async fn kills_and_faults_of_the_api_skip_nothing_and_repeat_nothing() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "queues: all");
    let mut ids = Vec::new();
    for (round, fault) in ["429", "500", "truncated", "html", "reset", "expired_tokens"].into_iter().enumerate() {
        let daemon = Daemon::start(&folder).await;
        for path in ["QueueItemEvents", "QueueItems"] {
            sandbox.fault(json!({"kind": fault, "match": {"path": path}, "times": 1, "retry_after": 1})).await;
        }
        for n in 0..5 {
            ids.push(live(&sandbox, "Open", &format!("{round}-{n}"), n % 2 == 0).await);
        }
        if round % 2 == 0 {
            // At whatever point of its work it is.
            daemon.kill9();
            continue;
        }
        until_told(&daemon, ids[ids.len() - 1], LIFE_FAILED[2]).await;
        daemon.kill9();
    }
    let daemon = Daemon::start(&folder).await;
    for (n, id) in ids.iter().enumerate() {
        until_told(&daemon, *id, if n % 5 % 2 == 0 { LIFE_FAILED[2] } else { LIFE_DONE[2] }).await;
    }
    let told = told(&daemon).await;
    for (n, id) in ids.iter().enumerate() {
        let expected = if n % 5 % 2 == 0 { LIFE_FAILED } else { LIFE_DONE };
        assert_eq!(told[id], expected.map(str::to_owned), "item {id}");
    }
}

#[tokio::test]
async fn a_quiet_folder_costs_one_request_and_a_folder_that_is_refused_is_named() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "folders: [Finance, Nowhere]");
    let daemon = Daemon::start(&folder).await;
    let failure = until("the refusal is shown", async || {
        let sources = daemon.get("/api/v1/sources").await;
        sources["items"][0]["failure"].as_str().map(str::to_owned)
    })
    .await;
    assert!(failure.contains("Nowhere"), "{failure}");
    let known = until("the other folder is known", async || {
        let sources = daemon.get("/api/v1/sources").await;
        let folders = sources["items"][0]["folders"].as_array()?.clone();
        folders.iter().find(|one| one["folder"] == "Finance")?["known_until"].as_str().map(str::to_owned)
    })
    .await;
    assert!(!known.is_empty());
    folder.write(
        "tripline.yaml",
        &std::fs::read_to_string(folder.path("tripline.yaml")).expect("text").replace("[Finance, Nowhere]", "[Finance]"),
    );
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert_eq!(status, 200, "{answer}");
    let requests = async || sandbox.get("/sandbox/requests").await["items"].as_array().expect("a list").clone();
    until("the reload is followed", async || {
        let sources = daemon.get("/api/v1/sources").await;
        (sources["items"][0]["folders"].as_array()?.len() == 1 && sources["items"][0]["failure"].is_null()).then_some(())
    })
    .await;
    let feed =
        async || requests().await.iter().filter(|one| one["path"].as_str().is_some_and(|path| path.ends_with("/QueueItemEvents"))).count();
    let (all, of_feed) = (requests().await.len(), feed().await);
    until("three more passes", async || (feed().await >= of_feed + 3).then_some(())).await;
    let grown = requests().await.iter().skip(all).filter(|one| one["path"].as_str().is_some_and(|path| path.starts_with("/odata"))).count();
    assert!(grown <= feed().await - of_feed, "only the feed is asked while nothing happens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_is_carried_out_by_the_daemon_and_shown_by_the_command() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "look_back: 0s");
    folder.rule("tell", "rule: tell\nevents: queueItem.transactionFailed\nsteps:\n  - enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\"}\n");
    let failed = live(&sandbox, "Open", "A-1", true).await;
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let daemon = Daemon::start(&folder).await;
    until("the source was read", async || daemon.get("/api/v1/sources").await["items"][0]["folders"][0]["known_until"].as_str().map(drop))
        .await;
    assert!(config.contains("look_back"));
    let (status, answer) = daemon.post_json("/api/v1/sources/nobody/backfill", &json!({"since": "1h"})).await;
    assert_eq!(status, 404, "{answer}");
    for bad in [json!({}), json!({"since": "soon"}), json!({"since": "2100-01-01"}), json!({"sinse": "1h"})] {
        let (status, answer) = daemon.post_json("/api/v1/sources/queues/backfill", &bad).await;
        assert_eq!(status, 400, "{bad}: {answer}");
    }
    // What happened within the last two minutes is the source's own to read: nothing of it is brought as past.
    let output = folder.output(&["backfill", "queues", "--since", "1h", "--dry-run", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counted: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!((&counted["state"], &counted["found"], &counted["dry_run"]), (&json!("done"), &json!(0), &json!(true)), "{counted}");
    let output = folder.output(&["backfill", "nobody", "--since", "1h"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&daemon).await.contains_key(&failed), "the source brought it");
    assert_eq!(daemon.get("/api/v1/sources/queues/backfill").await["state"], "done");
}
