//! Watches over the real binary: each thing that did not happen is told once, also over a kill.

use serde_json::{Value, json};

use crate::support::{Daemon, Folder, failed_item, until};

fn item(event_type: &str, id: u64, queue: &str, status: &str) -> Value {
    let mut body = failed_item(id);
    body["Type"] = json!(event_type);
    body["EventId"] = json!(format!("{event_type}-{id}"));
    body["Timestamp"] = json!(jiff_now());
    body["Queue"] = json!({"Id": 7, "Name": queue});
    body["QueueItem"]["Status"] = json!(status);
    body["QueueItem"]["StartProcessing"] = json!(jiff_now());
    body
}

fn jiff_now() -> String {
    tripline::clock::Clock::system().now().to_string()
}

async fn stuck(daemon: &Daemon) -> Vec<u64> {
    let events = daemon.list("/api/v1/events?type=tripline.item.stuck").await;
    let mut ids: Vec<u64> = events.iter().filter_map(|event| event["data"]["QueueItem"]["Id"].as_u64()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn items_that_are_stuck_and_events_that_are_absent_are_told_once() {
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let watches = "  stuck:\n    watch: {stuck: {queue: Invoices, longer_than: 2s}}\n  silent:\n    watch: {absent: {events: job.completed, match: {Job: {Release: {Name: [Nightly]}}}, within: 2s}}\n";
    folder.write("tripline.yaml", &format!("{config}{watches}"));
    // Nothing but the watches wants these events, and still they are seen.
    folder.rule("alarm", "rule: alarm\nevents: [tripline.item.stuck, tripline.absent]\nsteps: [{emit: {type: acme.alarm, data: {of: \"${event.source}\"}}}]\n");
    let daemon = Daemon::start(&folder).await;
    for (event_type, id, queue, status) in [
        ("queueItem.transactionStarted", 1, "Invoices", "InProgress"),
        ("queueItem.transactionStarted", 2, "Invoices", "InProgress"),
        ("queueItem.transactionStarted", 3, "Payments", "InProgress"),
        ("queueItem.transactionCompleted", 2, "Invoices", "Successful"),
        // The end was faster than the beginning.
        ("queueItem.transactionCompleted", 4, "Invoices", "Successful"),
        ("queueItem.transactionStarted", 4, "Invoices", "InProgress"),
    ] {
        let (status, answer) = daemon.deliver(&item(event_type, id, queue, status)).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
    }
    until("item 1 is stuck", async || (stuck(&daemon).await == [1]).then_some(())).await;
    let event = &daemon.list("/api/v1/events?type=tripline.item.stuck").await[0];
    assert_eq!((&event["via"], &event["source"], &event["orchestrator"]), (&json!("internal"), &json!("stuck"), &json!("prod")));
    assert_eq!((&event["subject"], &event["folder"]["id"]), (&json!("queues/Invoices/items/1"), &json!(2)));
    let data = &event["data"];
    assert_eq!((&data["Queue"]["Name"], &data["QueueItem"]["SpecificContent"]["InvoiceId"]), (&json!("Invoices"), &json!("A-1")));
    assert_eq!((&data["stuck"]["status"], &data["stuck"]["longer_than"]), (&json!("InProgress"), &json!("2s")));
    until("the silence is told", async || (daemon.list("/api/v1/events?type=tripline.absent").await.len() == 1).then_some(())).await;
    let absent = &daemon.list("/api/v1/events?type=tripline.absent").await[0];
    assert_eq!((&absent["data"]["watch"], &absent["data"]["last"]), (&json!("silent"), &Value::Null));
    until("rules acted on both", async || (daemon.list("/api/v1/events?type=acme.alarm").await.len() == 2).then_some(())).await;
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    // Another item becomes stuck, and something breaks the silence: by then the old ones would have been told again.
    daemon.deliver(&item("queueItem.transactionStarted", 5, "Invoices", "InProgress")).await.expect("an answer");
    let job = json!({"Type": "job.completed", "EventId": "j1", "Timestamp": jiff_now(), "Job": {"Id": 9, "Key": "k", "State": "Successful", "Release": {"Id": 1, "Name": "Nightly"}}, "TenantId": 1});
    daemon.deliver(&job).await.expect("an answer");
    until("item 5 is stuck", async || (stuck(&daemon).await == [1, 5]).then_some(())).await;
    until("the next silence is told", async || (daemon.list("/api/v1/events?type=tripline.absent").await.len() == 2).then_some(())).await;
    let absent = &daemon.list("/api/v1/events?type=tripline.absent").await[1];
    assert!(absent["data"]["last"].is_string(), "{absent}");
    assert_eq!(stuck(&daemon).await, [1, 5]);
    daemon.kill9();
}
