//! Example rules over the real binary, where their tests in the file cannot show what they promise.

use serde_json::json;

use crate::support::{Daemon, Folder, SECRET, Sandbox, start_sandbox, until};

/// The ids of the jobs that were started.
async fn jobs(sandbox: &Sandbox) -> Vec<i64> {
    let list = sandbox.get("/odata/Jobs?$filter=ReleaseName%20eq%20%27InvoiceProcessing%27").await;
    list["value"].as_array().unwrap_or_else(|| panic!("no list: {list}")).iter().filter_map(|job| job["Id"].as_i64()).collect()
}

async fn add(sandbox: &Sandbox, reference: &str) {
    let item = json!({"itemData": {"Name": "Payments", "Reference": reference, "SpecificContent": {"A": 1}}});
    assert_eq!(sandbox.post("/odata/Queues/UiPathODataSvc.AddQueueItem", &item).await.0, 201);
}

async fn work(sandbox: &Sandbox, reference: &str) {
    let start = json!({"transactionData": {"Name": "Payments", "Reference": reference, "ReferenceFilterOption": "Equals"}});
    let (status, started) = sandbox.post("/odata/Queues/UiPathODataSvc.StartTransaction", &start).await;
    assert_eq!(status, 200, "{started}");
    let result = json!({"transactionResult": {"IsSuccessful": true}});
    assert_eq!(sandbox.post(&format!("/odata/Queues({})/UiPathODataSvc.SetTransactionResult", started["Id"]), &result).await.0, 200);
}

/// Awaits that so many runs have come to their end, which is a good one.
async fn succeeded(daemon: &Daemon, count: usize) {
    until(&format!("{count} runs have succeeded"), async || {
        (daemon.list("/api/v1/runs?state=succeeded").await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drained_queue_starts_one_job_each_time() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let shipped = include_str!("../../rules/close-after-queue-drained.yaml").split("\ntests:").next().expect("a rule");
    let quick = shipped.replace("[Orders]", "[Payments]").replace("Close orders", "InvoiceProcessing").replace("1m", "2s");
    folder.rule("close", &quick);
    let daemon = Daemon::start(&folder).await;
    let url = format!("http://{}/hooks/hook", daemon.ingress);
    let webhook = json!({"Name": "tripline", "Url": url, "Secret": SECRET, "Enabled": true, "SubscribeToAllEvents": true});
    assert_eq!(sandbox.post("/odata/Webhooks", &webhook).await.0, 201);
    add(&sandbox, "A").await;
    add(&sandbox, "B").await;
    work(&sandbox, "A").await;
    succeeded(&daemon, 1).await;
    assert!(jobs(&sandbox).await.is_empty(), "B waits");
    work(&sandbox, "B").await;
    until("the job is started", async || (jobs(&sandbox).await.len() == 1).then_some(())).await;
    succeeded(&daemon, 2).await;
    // The end of an item that the job came after is told late.
    let late = json!({
        "Type": "queueItem.transactionFailed", "EventId": "late", "Timestamp": "2020-01-01T10:00:00Z", "TenantId": 1, "OrganizationUnitId": 2,
        "Queue": {"Id": queue_id(&sandbox).await, "Name": "Payments"},
        "QueueItem": {"Id": 999_999, "Status": "Failed", "EndProcessing": "2020-01-01T10:00:00Z"}
    });
    assert_eq!(daemon.deliver(&late).await.expect("an answer").0, 202);
    succeeded(&daemon, 3).await;
    assert_eq!(jobs(&sandbox).await.len(), 1, "once for each time that the queue is drained");
    add(&sandbox, "C").await;
    work(&sandbox, "C").await;
    until("the next job is started", async || (jobs(&sandbox).await.len() == 2).then_some(())).await;
}

async fn queue_id(sandbox: &Sandbox) -> i64 {
    let list = sandbox.get("/odata/QueueDefinitions?$filter=Name%20eq%20%27Payments%27").await;
    list["value"][0]["Id"].as_i64().unwrap_or_else(|| panic!("no queue: {list}"))
}
