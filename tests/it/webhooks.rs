//! Webhooks in Orchestrator: planned, registered, tried.

use serde_json::{Value, json};

use tripline::sandbox::Options;

use crate::support::{Daemon, Folder, SECRET, Sandbox, start_sandbox, start_sandbox_as, until};

/// Says where Orchestrator reaches the daemon, and what else a test wants of the webhook.
fn public(folder: &Folder, daemon: &Daemon, more: &str) {
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let config = config.replace(&format!("secrets: [\"{SECRET}\"]\n"), &format!("secrets: [\"{SECRET}\"]\n{more}"));
    folder.write("tripline.yaml", &format!("public_url: http://{}\n{config}", daemon.ingress));
}

/// Runs `tripline webhooks …`; exit code and the JSON lines that it printed.
async fn webhooks(folder: &Folder, arguments: &[&str]) -> (i32, Vec<Value>) {
    let command = [&["webhooks"], arguments, &["--json", "-c", "tripline.yaml"]].concat();
    let mut command = tokio::process::Command::from(folder.command(&command));
    let output = command.output().await.expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains(SECRET) && !String::from_utf8_lossy(&output.stderr).contains(SECRET), "a secret is printed: {text}");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    (output.status.code().expect("a code"), lines)
}

fn differing(line: &Value) -> Vec<&str> {
    line["differences"].as_array().expect("a list").iter().filter_map(|one| one["what"].as_str()).collect()
}

async fn registered(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.get("/odata/Webhooks").await["value"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_webhook_is_planned_registered_and_tried_and_nothing_is_done_twice() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("r", "rule: r\nevents: [queueItem.transactionFailed, job.*]\nsteps: [{emit: {type: acme.seen}}]\n");
    folder.rule("off", "rule: off\nmode: off\nevents: robot.status\nsteps: [{emit: {type: acme.seen}}]\n");
    folder.rule("ours", "rule: ours\nevents: acme.seen\nsteps: [{emit: {type: acme.again}}]\n");
    let daemon = Daemon::start(&folder).await;
    let (code, _) = webhooks(&folder, &["plan"]).await;
    assert_eq!(code, 2, "without a public_url nothing can be told");
    public(&folder, &daemon, "");
    let (code, lines) = webhooks(&folder, &["plan"]).await;
    assert_eq!((code, differing(&lines[0]), &lines[0]["applied"]), (1, vec!["webhook"], &json!(false)));
    assert!(registered(&sandbox).await.is_empty(), "a plan does nothing");
    let (code, _) = webhooks(&folder, &["ping"]).await;
    assert_eq!(code, 2, "nothing to ping");
    let (code, lines) = webhooks(&folder, &["apply"]).await;
    assert_eq!((code, &lines[0]["applied"]), (0, &json!(true)));
    let there = registered(&sandbox).await;
    assert_eq!(there.len(), 1);
    assert_eq!((&there[0]["Url"], &there[0]["Enabled"]), (&json!(format!("http://{}/hooks/hook", daemon.ingress)), &json!(true)));
    let events: Vec<&str> = there[0]["Events"].as_array().expect("a list").iter().filter_map(|one| one["EventType"].as_str()).collect();
    let jobs = ["job.completed", "job.created", "job.faulted", "job.resumed", "job.started", "job.stopped", "job.suspended"];
    assert_eq!(events, [&jobs[..], &["queueItem.transactionFailed"]].concat(), "the types that rules name, wildcards written out");
    // What a person changes is seen, and put right; the rest stays.
    let path = format!("/odata/Webhooks({})", there[0]["Id"]);
    sandbox.put(&path, &json!({"Enabled": false, "Name": "Mine", "Events": [{"EventType": "job.faulted"}]})).await;
    let (code, lines) = webhooks(&folder, &["plan"]).await;
    assert_eq!((code, differing(&lines[0])), (1, vec!["enabled", "events"]));
    for round in 0..2 {
        let (code, lines) = webhooks(&folder, &["apply", "hook"]).await;
        assert_eq!((code, &lines[0]["applied"]), (0, &json!(round == 0)));
    }
    let after = registered(&sandbox).await;
    assert_eq!((after.len(), &after[0]["Id"], &after[0]["Name"], &after[0]["Enabled"]), (1, &there[0]["Id"], &json!("Mine"), &json!(true)));
    let (code, lines) = webhooks(&folder, &["ping"]).await;
    assert_eq!((code, &lines[0]["came"]), (0, &json!(true)), "{lines:?}");
    // Another secret in the first place: the old one still verifies, so that nothing is lost on the way.
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &config.replace("secrets: [", "secrets: [\"another-secret-0123456789\", "));
    let (code, lines) = webhooks(&folder, &["plan"]).await;
    assert_eq!((code, differing(&lines[0])), (1, vec!["secret"]));
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(webhooks(&folder, &["apply"]).await.0, 0);
    assert_eq!(webhooks(&folder, &["plan"]).await.0, 0);
    let (code, lines) = webhooks(&folder, &["ping"]).await;
    assert_eq!((code, &lines[0]["came"]), (0, &json!(true)), "{lines:?}");
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_an_old_api_gets_no_names() {
    let sandbox = start_sandbox_as(Options { api_version: "11.0".to_owned(), ..Options::default() }).await;
    let folder = Folder::new(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    public(&folder, &daemon, "      subscribe: all\n");
    assert_eq!(webhooks(&folder, &["apply"]).await.0, 0);
    let there = registered(&sandbox).await;
    assert_eq!((&there[0]["Name"], &there[0]["SubscribeToAllEvents"]), (&Value::Null, &json!(true)));
    assert_eq!(webhooks(&folder, &["plan"]).await.0, 0);
    let (code, lines) = webhooks(&folder, &["apply", "--secret"]).await;
    assert_eq!((code, &lines[0]["applied"]), (0, &json!(true)));
    sandbox.fault(json!({"kind": "403", "match": {"path": "Webhooks"}, "times": 1})).await;
    let (code, lines) = webhooks(&folder, &["plan"]).await;
    let error = lines[0]["error"].as_str().expect("an error");
    assert!(code == 2 && error.contains("OR.Webhooks") && error.contains("Webhooks.View"), "{error}");
    let (code, _) = webhooks(&folder, &["plan", "hok"]).await;
    assert_eq!(code, 1, "there is no such source");
}

/// A folder whose webhook is kept registered and whose poll reconciles it.
fn registering(orchestrator: &str) -> Folder {
    let folder = Folder::new(orchestrator);
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port();
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let config = config.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1) + "      register: true\n";
    let poll = "  queues:\n    poll: {orchestrator: prod, kind: queue_items, every: 1s, reconciles: hook, webhook_within: 1s}\n";
    folder.write("tripline.yaml", &format!("public_url: http://127.0.0.1:{port}\n{config}{poll}"));
    folder.rule("items", "rule: items\nevents: queueItem.*\nsteps: [{emit: {type: acme.item}}]\n");
    let alarm = "rule: alarm\nevents: [tripline.webhook.blind, tripline.webhook.healed]\nsources: [hook]\nsteps: [{emit: {type: acme.alarm, data: {types: \"${data}\"}}}]\n";
    folder.rule("alarm", alarm);
    folder
}

async fn add(sandbox: &Sandbox, reference: &str) {
    let item = json!({"itemData": {"Name": "Open", "Reference": reference}});
    let (status, added) = sandbox.post("/odata/Queues/UiPathODataSvc.AddQueueItem", &item).await;
    assert_eq!(status, 201, "{added}");
}

async fn hook_row(daemon: &Daemon) -> Value {
    let sources = daemon.get("/api/v1/sources").await;
    let rows = sources["items"].as_array().expect("a list");
    rows.iter().find(|row| row["source"] == "hook").cloned().unwrap_or_default()
}

async fn how_many(daemon: &Daemon, event_type: &str) -> usize {
    daemon.list(&format!("/api/v1/events?type={event_type}")).await.len()
}

#[tokio::test]
async fn a_webhook_that_goes_blind_is_told_enabled_again_and_healed_once_also_over_a_kill() {
    let sandbox = start_sandbox().await;
    let folder = registering(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    until("the daemon registers it", async || hook_row(&daemon).await["registered"]["id"].as_i64()).await;
    assert_eq!(registered(&sandbox).await.len(), 1);
    add(&sandbox, "seen").await;
    until("its ping and the item come", async || {
        (how_many(&daemon, "ping").await > 0 && how_many(&daemon, "queueItem.added").await == 1).then_some(())
    })
    .await;
    // Somebody switches it off.
    let path = format!("/odata/Webhooks({})", registered(&sandbox).await[0]["Id"]);
    sandbox.put(&path, &json!({"Enabled": false})).await;
    sandbox.fault(json!({"kind": "403", "match": {"path": "Webhooks"}, "times": 0})).await;
    for n in 0..3 {
        add(&sandbox, &format!("unseen-{n}")).await;
    }
    until("it is blind", async || (how_many(&daemon, "tripline.webhook.blind").await == 1).then_some(())).await;
    let blind = &daemon.list("/api/v1/events?type=tripline.webhook.blind").await[0];
    assert_eq!((&blind["via"], &blind["source"], &blind["orchestrator"]), (&json!("internal"), &json!("hook"), &json!("prod")));
    assert_eq!((&blind["data"]["types"], &blind["data"]["missed"]), (&json!(["queueItem.added"]), &json!(3)));
    until("a rule acted", async || (how_many(&daemon, "acme.alarm").await == 1).then_some(())).await;
    let failure = until("why it is not enabled is shown", async || hook_row(&daemon).await["failure"].as_str().map(str::to_owned)).await;
    assert!(failure.contains("OR.Webhooks"), "{failure}");
    let metrics = daemon.get("/metrics").await;
    let metrics = metrics.as_str().expect("text");
    assert!(
        metrics.contains("tripline_webhook_blind{source=\"hook\"} 1")
            && metrics.contains("tripline_webhook_missed_total{source=\"hook\"} 3")
    );
    daemon.kill9();
    sandbox.clear_faults().await;
    let daemon = Daemon::start(&folder).await;
    let row = until("it is still known", async || Some(hook_row(&daemon).await).filter(|row| !row["blind"].is_null())).await;
    assert_eq!(row["missed"], json!(3));
    until("it is enabled again", async || (registered(&sandbox).await[0]["Enabled"] == true).then_some(())).await;
    add(&sandbox, "seen again").await;
    until("it is healed", async || (how_many(&daemon, "tripline.webhook.healed").await == 1).then_some(())).await;
    assert!(hook_row(&daemon).await["blind"].is_null());
    assert_eq!((how_many(&daemon, "tripline.webhook.blind").await, how_many(&daemon, "queueItem.added").await), (1, 5));
}
