//! Steps that await items and jobs, with the real binary, which is killed in between.

use serde_json::{Value, json};
use tripline::clock::Clock;
use tripline::event::RunId;
use tripline::journal::{Journal, Options};
use tripline::runs::{Awaited, Cause, Fact};

use crate::support::{Daemon, Folder, Sandbox, failed_item, start_sandbox, until, until_within};

/// Longer than two look-ups of an unknown outcome, which are a minute apart.
const SETTLED_WITHIN: std::time::Duration = std::time::Duration::from_secs(240);

/// Adds an item and begins to work on it; its id.
async fn begun(sandbox: &Sandbox, queue: &str, reference: &str) -> i64 {
    let item = json!({"itemData": {"Name": queue, "Reference": reference, "SpecificContent": {}}});
    assert_eq!(sandbox.post("/odata/Queues/UiPathODataSvc.AddQueueItem", &item).await.0, 201);
    let start = json!({"transactionData": {"Name": queue, "Reference": reference, "ReferenceFilterOption": "Equals"}});
    let (status, started) = sandbox.post("/odata/Queues/UiPathODataSvc.StartTransaction", &start).await;
    assert_eq!(status, 200, "{started}");
    started["Id"].as_i64().expect("an id")
}

async fn ends_well(sandbox: &Sandbox, id: i64) {
    let result = json!({"transactionResult": {"IsSuccessful": true, "Output": {"Total": 7}}});
    let (status, answer) = sandbox.post(&format!("/odata/Queues({id})/UiPathODataSvc.SetTransactionResult"), &result).await;
    assert_eq!(status, 200, "{answer}");
}

/// The webhook's body that an item came to its end.
fn completed(id: i64) -> Value {
    let mut body = failed_item(u64::try_from(id).expect("an id"));
    body["Type"] = "queueItem.transactionCompleted".into();
    body["EventId"] = format!("completed-{id}").into();
    body["QueueItem"]["Status"] = "Successful".into();
    body
}

/// The one run, as soon as it is as wanted.
async fn run(daemon: &Daemon, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until_within(SETTLED_WITHIN, what, async || daemon.list("/api/v1/runs").await.into_iter().next().filter(|run| wanted(run))).await
}

/// Has the one run look again in a day, unless an event wakes it.
async fn look_tomorrow(folder: &Folder, run: &Value) {
    let boot_id = tripline::daemon::boot_id();
    let options = Options { segment_bytes: tripline::daemon::SEGMENT_BYTES, clock: Clock::system(), boot_id };
    let now = options.clock.now();
    let (journal, _) = Journal::open(&folder.state(), options).expect("opens");
    let id: RunId = run["id"].as_str().expect("an id").parse().expect("an id");
    let fact = Fact::NotOver {
        awaited: Some(Awaited(run["steps"][0]["awaits"].as_str().expect("it awaits").to_owned())),
        asked: now,
        until: now.plus(std::time::Duration::from_secs(86_400)),
        cause: Cause { code: "waiting".to_owned(), message: "looked at again tomorrow".to_owned() },
        at: now,
    };
    journal.record(id, vec![fact]).await.expect("kept");
    journal.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_wakes_who_would_look_tomorrow_also_when_killed_right_behind_the_acknowledgement() {
    let sandbox = start_sandbox().await;
    let id = begun(&sandbox, "Payments", "P-1").await;
    let folder = Folder::new(&sandbox.url);
    let rule = format!(
        "rule: await\nevents: queueItem.transactionFailed\nqueues: [Invoices]\nsteps:\n  - id: payment\n    await_item: {{id: {id}}}\n  - enqueue: {{queue: Invoices-Review, reference: \"r-${{steps.payment.Status}}\"}}\n"
    );
    folder.rule("await", &rule);
    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.deliver(&failed_item(900_001)).await.expect("an answer").0, 202);
    let waiting = run(&daemon, "it awaits the item", |run| run["steps"][0]["awaits"].is_string()).await;
    assert!(waiting["steps"][0]["awaits"].as_str().is_some_and(|awaits| awaits.ends_with(&format!("|queueItem|{id}"))), "{waiting}");
    daemon.kill9();
    look_tomorrow(&folder, &waiting).await;
    let daemon = Daemon::start(&folder).await;
    ends_well(&sandbox, id).await;
    // Others' ends mean nothing to it.
    assert_eq!(daemon.deliver(&completed(id + 1)).await.expect("an answer").0, 202);
    assert_eq!(run(&daemon, "it is there", |_| true).await["cause"], "waiting");
    assert_eq!(daemon.deliver(&completed(id)).await.expect("an answer").0, 202);
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    let done = run(&daemon, "it is woken", |run| run["state"] == "succeeded").await;
    assert_eq!(done["steps"][0]["value"]["Status"], "Successful");
    assert_eq!(sandbox.references("Invoices-Review").await, ["r-Successful"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_started_once_whenever_the_daemon_is_killed_and_its_webhook_ends_the_wait() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("start", "rule: start\nevents: queueItem.transactionFailed\nsteps:\n  - id: posting\n    start_job: {process: InvoiceProcessing, wait: true}\n  - enqueue: {queue: Invoices-Review, reference: \"r-${steps.posting.State}\"}\n");
    // The job is started, and the answer comes too late for this daemon.
    sandbox.fault(json!({"kind": "slow", "millis": 20_000, "times": 1, "match": {"path": "StartJobs"}})).await;
    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.deliver(&failed_item(900_001)).await.expect("an answer").0, 202);
    let jobs = async || sandbox.get("/odata/Jobs").await["value"].as_array().cloned().unwrap_or_default();
    until("the job is started", async || (jobs().await.len() == 1).then_some(())).await;
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    let waiting = run(&daemon, "the job is found and awaited", |run| run["steps"][0]["awaits"].is_string()).await;
    daemon.kill9();
    look_tomorrow(&folder, &waiting).await;
    let job = jobs().await[0].clone();
    let (status, ended) = sandbox.post(&format!("/sandbox/jobs/{}", job["Id"]), &json!({"state": "Successful"})).await;
    assert_eq!(status, 200, "{ended}");
    let daemon = Daemon::start(&folder).await;
    let event = json!({
        "Type": "job.completed", "EventId": "job-1", "Timestamp": "2026-11-22T10:00:00Z", "TenantId": 1, "OrganizationUnitId": 2,
        "Job": {"Id": job["Id"], "Key": job["Key"], "State": "Successful", "StartTime": "2026-11-22T09:00:00Z"},
    });
    assert_eq!(daemon.deliver(&event).await.expect("an answer").0, 202);
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    run(&daemon, "it is woken", |run| run["state"] == "succeeded").await;
    assert_eq!(jobs().await.len(), 1);
    assert_eq!(sandbox.references("Invoices-Review").await, ["r-Successful"]);
}

/// Every kind of step that makes or awaits something.
const ALL: &str = "\
rule: all
events: queueItem.transactionFailed
retry: {first_wait: 100ms, max_wait: 1s}
steps:
  - id: lines
    enqueue_each: {over: [a, b, c, d], as: line, parallel: 2, queue: Invoices-Review, reference: \"${item.Reference}-${line}\"}
  - id: posting
    start_job: {process: InvoiceProcessing, wait: true}
  - await_job: {id: \"${steps.posting.Id}\"}
  - await_item: {id: \"${steps.lines[3].Id}\"}
  - enqueue: {queue: Invoices-Review, reference: \"${item.Reference}-end\"}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_request_it_is_killed_at_each_item_and_job_exists_once_in_the_end() {
    /// Kills; behind which request moves over the rounds.
    const ROUNDS: u64 = 14;
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("all", ALL);
    let total = async || sandbox.get("/sandbox/state").await["requests"].as_u64().expect("a number");
    let is_over = |runs: &[Value]| !runs.is_empty() && runs.iter().all(|run| run["state"] == "succeeded");
    // Robots end what is there, sooner or later.
    let work = async || {
        for job in sandbox.get("/odata/Jobs").await["value"].as_array().cloned().unwrap_or_default() {
            if job["State"] == "Pending" {
                sandbox.post(&format!("/sandbox/jobs/{}", job["Id"]), &json!({"state": "Successful"})).await;
            }
        }
        let start = json!({"transactionData": {"Name": "Invoices-Review", "Reference": "INV-1-d", "ReferenceFilterOption": "Equals"}});
        let (_, started) = sandbox.post("/odata/Queues/UiPathODataSvc.StartTransaction", &start).await;
        if let Some(id) = started["Id"].as_i64() {
            ends_well(&sandbox, id).await;
        }
    };
    for round in 0..ROUNDS {
        let before = total().await;
        let daemon = Daemon::start(&folder).await;
        if round == 0 {
            assert_eq!(daemon.deliver(&failed_item(1)).await.expect("an answer").0, 202);
        }
        if round % 4 == 3 {
            work().await;
        }
        // What it asks for when the job or item is awaited comes seconds apart: then it is killed while it rests.
        until_within(SETTLED_WITHIN, "further requests are made", async || {
            let runs = daemon.list("/api/v1/runs").await;
            let rests = runs.iter().any(|run| run["cause"] == "waiting" || run["cause"] == "unknown_outcome");
            (rests || total().await > before + round % 4 || is_over(&runs)).then_some(())
        })
        .await;
        daemon.kill9();
    }
    let daemon = Daemon::start(&folder).await;
    until_within(SETTLED_WITHIN, "the run succeeds", async || {
        work().await;
        // A job whose request may have left and that is not there is left to people.
        for run in daemon.runs("ambiguous").await {
            daemon.post(&format!("/api/v1/runs/{}/retry", run["id"].as_str().expect("an id"))).await;
        }
        is_over(&daemon.list("/api/v1/runs").await).then_some(())
    })
    .await;
    let mut references = sandbox.references("Invoices-Review").await;
    references.sort();
    assert_eq!(references, ["INV-1-a", "INV-1-b", "INV-1-c", "INV-1-d", "INV-1-end"]);
    assert_eq!(sandbox.get("/odata/Jobs").await["value"].as_array().map(Vec::len), Some(1), "one job");
}
