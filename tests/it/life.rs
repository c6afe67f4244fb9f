//! Start, reload, stop, and two at once.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Daemon, Endpoint, Folder, Manner, failed_item, http, start_sandbox, until};

const ENQUEUE: &str = "\
rule: follow-up
events: queueItem.transactionFailed
queues: [Invoices]
steps:
  - id: item
    enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\", content: {Invoice: \"${content.InvoiceId}\"}}
";

#[tokio::test]
async fn a_signed_failure_becomes_a_follow_up_item() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", ENQUEUE);
    let daemon = Daemon::start(&folder).await;
    let (status, answer) = daemon.deliver(&failed_item(1)).await.expect("an answer");
    assert_eq!((status, answer["folded"].as_u64()), (202, Some(0)), "{answer}");
    let run = until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    assert_eq!(run["rule"], "follow-up");
    assert_eq!(run["event"], answer["events"][0]);
    assert_eq!(run["steps"][0]["state"], "done");
    assert!(run["steps"][0]["value"]["Id"].is_number(), "{run}");
    assert_eq!(sandbox.references("Invoices-Review").await, ["r-INV-1"]);
    let event = daemon.get(&format!("/api/v1/events/{}", answer["events"][0].as_str().expect("an id"))).await;
    assert_eq!(event["type"], "queueItem.transactionFailed");
    assert_eq!(event["subject"], "queues/Invoices/items/1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_deliveries_of_one_event_at_once_are_one_event_and_one_action() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", ENQUEUE);
    let daemon = Arc::new(Daemon::start(&folder).await);
    let mut senders = JoinSet::new();
    for _ in 0..500 {
        let daemon = Arc::clone(&daemon);
        senders.spawn(async move { daemon.deliver(&failed_item(9)).await.expect("an answer") });
    }
    let (mut new, mut folded) = (0, 0);
    while let Some(answer) = senders.join_next().await {
        let (status, answer) = answer.expect("a sender");
        assert_eq!(status, 202);
        new += answer["events"].as_array().map_or(0, Vec::len);
        folded += answer["folded"].as_u64().unwrap_or(0);
    }
    assert_eq!((new, folded), (1, 499));
    until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    assert_eq!(sandbox.references("Invoices-Review").await.len(), 1);
    let events = daemon.get("/api/v1/events").await;
    assert_eq!(events["items"][0]["folded"]["count"], 499);
}

#[tokio::test]
async fn a_second_daemon_on_the_same_state_is_refused_and_harms_nothing() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    let second = folder.output(&["run", "-c", "tripline.yaml"]);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(78), "{text}");
    assert!(text.contains("is in use by another process (pid "), "{text}");
    let (status, _) = daemon.deliver(&failed_item(1)).await.expect("still there");
    assert_eq!(status, 202);
    // Commands still find the daemon that runs.
    assert_eq!(folder.output(&["healthcheck", "-c", "tripline.yaml"]).status.code(), Some(0));
}

#[tokio::test]
async fn a_broken_rule_is_refused_by_a_reload_and_the_old_rules_stay() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", ENQUEUE);
    let daemon = Daemon::start(&folder).await;
    folder.rule("follow-up", "rule: follow-up\nevnts: queueItem.added\nsteps: []\n");
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert_eq!(status, 422, "{answer}");
    let text = answer.to_string();
    assert!(text.contains("evnts") && text.contains("follow-up.yaml"), "{text}");

    // The same by signal: the log says it, the process lives, the old rule still acts.
    daemon.signal("HUP");
    until("the log names the fault", async || daemon.log().contains("reload refused").then_some(())).await;
    daemon.deliver(&failed_item(5)).await.expect("an answer");
    let run = until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    assert_eq!(run["generation"], 1);

    // Mended, it is in force with a new generation.
    folder.rule("follow-up", &ENQUEUE.replace("r-${", "mended-${"));
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert_eq!((status, answer["generation"].as_u64()), (200, Some(2)), "{answer}");
    daemon.deliver(&failed_item(6)).await.expect("an answer");
    until("the new rule acts", async || sandbox.references("Invoices-Review").await.contains(&"mended-INV-6".to_owned()).then_some(()))
        .await;
    let metrics = daemon.get("/metrics").await;
    assert!(metrics.as_str().expect("text").contains("tripline_rules_generation 2"));
}

#[tokio::test]
async fn limits_follow_a_reload() {
    let large = |id| {
        let mut body = failed_item(id);
        body["QueueItem"]["SpecificContent"]["Text"] = json!("x".repeat(2000));
        body
    };
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Daemon::start(&folder).await;
    let (status, _) = daemon.deliver(&large(1)).await.expect("an answer");
    assert_eq!(status, 202);
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &format!("{config}limits: {{body: 1KiB, in_flight: 1MiB}}\n"));
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert_eq!(status, 200, "{answer}");
    let status = until("the limit is in force", async || {
        let (status, _) = daemon.deliver(&large(2)).await.ok()?;
        (status != 202).then_some(status)
    })
    .await;
    assert_eq!(status, 413);
    folder.write("tripline.yaml", &config);
    assert_eq!(daemon.post("/api/v1/reload").await.0, 200);
    until("the old limit is back", async || daemon.deliver(&large(3)).await.ok().filter(|(status, _)| *status == 202)).await;
}

#[tokio::test]
async fn a_reload_never_moves_a_socket_or_the_state() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &config.replace("state: state", "state: elsewhere"));
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert_eq!(status, 422);
    assert!(answer.to_string().contains("`state` cannot be changed by a reload"), "{answer}");
    assert!(!folder.path("elsewhere").exists());
}

#[tokio::test]
async fn sigterm_with_runs_in_flight_loses_none_of_them() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let sink = format!("{}/sandbox/sink/slow", sandbox.url);
    folder.rule(
        "call",
        &format!("rule: call\nevents: queueItem.transactionFailed\nsteps:\n  - http: {{method: POST, url: \"{sink}\", body: {{id: \"${{item.Id}}\"}}}}\n"),
    );
    sandbox.fault(json!({"match": {"path": "/sandbox/sink/slow"}, "kind": "slow", "millis": 1500, "times": 20})).await;
    let daemon = Daemon::start(&folder).await;
    for id in 1..=20 {
        daemon.deliver(&failed_item(id)).await.expect("an answer");
    }
    until("attempts are in flight", async || {
        let text = daemon.get("/api/v1/runs?limit=100").await;
        (text["items"].as_array().map_or(0, Vec::len) == 20).then_some(())
    })
    .await;
    // They mean nothing, and so end nothing.
    daemon.signal("USR1");
    daemon.signal("USR2");
    daemon.signal("TERM");
    let status = daemon.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(!folder.path("state/daemon.json").exists(), "a good end removes the daemon file");

    let daemon = Daemon::start(&folder).await;
    until("every run succeeds", async || (daemon.runs("succeeded").await.len() == 20).then_some(())).await;
    let ids: std::collections::BTreeSet<_> = sandbox.sink("slow").await.iter().map(|r| r["body"]["id"].to_string()).collect();
    assert_eq!(ids.len(), 20, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_through_a_passed_socket_refuses_no_connection() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut daemon = Daemon::start_with_socket(&folder, &listener).await;
    assert_eq!(daemon.ingress, address);
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut senders = JoinSet::new();
    for sender in 0..4_u64 {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        senders.spawn(async move {
            let client = http();
            let mut acked = Vec::new();
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let id = sender * 1_000_000 + number;
                let body = serde_json::to_vec(&failed_item(id)).expect("json");
                let signature = crate::support::sign(&body, crate::support::SECRET);
                // A new connection each time, as a webhook service makes them.
                let request = client.post(format!("http://{address}/hooks/hook")).header("Connection", "close");
                let answer = request.header("X-UiPath-Signature", signature).body(body).send().await;
                assert_eq!(answer.expect("no connection is refused").status(), 202);
                acked.push(id);
                sent.fetch_add(1, Ordering::SeqCst);
            }
            acked
        });
    }
    for restart in 1..=3_u64 {
        let goal = restart * 50;
        until("deliveries flow", async || (sent.load(Ordering::SeqCst) >= goal).then_some(())).await;
        daemon.signal("TERM");
        assert_eq!(daemon.ended().await.code(), Some(0));
        daemon = Daemon::start_with_socket(&folder, &listener).await;
    }
    let goal = sent.load(Ordering::SeqCst) + 20;
    until("deliveries flow again", async || (sent.load(Ordering::SeqCst) >= goal).then_some(())).await;
    stop.store(true, Ordering::SeqCst);
    let mut acked = std::collections::BTreeSet::new();
    while let Some(ids) = senders.join_next().await {
        acked.extend(ids.expect("a sender"));
    }
    let events = daemon.list("/api/v1/events").await;
    let seen: std::collections::BTreeSet<u64> = events.iter().filter_map(|e| e["data"]["QueueItem"]["Id"].as_u64()).collect();
    assert!(acked.is_subset(&seen), "lost: {:?}", acked.difference(&seen).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_idle_daemon_stops_at_once_and_starts_again() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    assert_eq!(std::fs::metadata(daemon.state()).expect("a folder").permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(daemon.state().join("daemon.json")).expect("a file").permissions().mode() & 0o777, 0o600);
    let begin = std::time::Instant::now();
    daemon.signal("INT");
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert!(begin.elapsed() < crate::support::LIMIT);
    Daemon::start(&folder).await;
}

#[tokio::test]
async fn an_attempt_that_a_second_signal_cuts_off_is_told_while_the_daemon_is_down_and_after_its_start() {
    let target = Endpoint::start(Manner::Hang).await;
    let folder = Folder::new("http://127.0.0.1:9");
    let rule = format!(
        "rule: call\nevents: queueItem.transactionFailed\nsteps: [{{id: call, http: {{method: POST, url: \"http://{}/x\"}}}}]\n",
        target.address
    );
    folder.rule("call", &rule);
    let daemon = Daemon::start(&folder).await;
    daemon.deliver(&failed_item(1)).await.expect("an answer");
    until("the request is out", async || (target.requests() == 1).then_some(())).await;
    daemon.signal("TERM");
    until("it drains", async || daemon.log().contains("draining").then_some(())).await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(0));

    let output = folder.output(&["runs", "list", "--json"]);
    let run: Value = serde_json::from_slice(&output.stdout).expect("one run");
    assert_eq!((&run["attempts"], &run["cause"]), (&json!(1), &json!("unknown_outcome")), "{run}");
    assert!(run["message"].as_str().is_some_and(|why| why.contains("when the daemon ended")), "{run}");
    let output = folder.output(&["runs", "show", run["id"].as_str().expect("an id")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("try 1") && text.contains("cut off: the daemon ended"), "{text}");

    target.now(Manner::Answer(200, "", "{}"));
    let daemon = Daemon::start(&folder).await;
    let run = until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    let run = daemon.get(&format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"))).await;
    let attempts = run["steps"][0]["attempts"].as_array().expect("attempts");
    let ends: Vec<_> = attempts.iter().map(|attempt| (&attempt["number"], &attempt["class"])).collect();
    assert_eq!(ends, [(&json!(1), &json!("unknown")), (&json!(2), &Value::Null)], "{run}");
    assert!(attempts[0]["error"].as_str().is_some_and(|error| error.starts_with("cut off")), "{run}");
}

#[tokio::test]
async fn a_state_folder_is_not_made_where_its_disk_may_not_be_mounted() {
    let folder = Folder::new("http://127.0.0.1:9");
    let state = folder.path("mount/tripline");
    let output = folder.command(&["run", "-c", "tripline.yaml"]).env("TRIPLINE_STATE", &state).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("cannot be made: the folder it is in does not exist") && !folder.path("mount").exists(), "{text}");
}

#[tokio::test]
async fn too_few_open_files_are_refused_with_the_number_needed() {
    let folder = Folder::new("http://127.0.0.1:9");
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg("ulimit -n 64; exec \"$0\" run -c tripline.yaml")
        .arg(env!("CARGO_BIN_EXE_tripline"))
        .current_dir(folder.path("."))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("open files") && text.contains("LimitNOFILE=10256"), "{text}");
}

#[tokio::test]
async fn no_secret_is_ever_written() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", ENQUEUE);
    let daemon = Daemon::start(&folder).await;
    daemon.deliver(&failed_item(1)).await.expect("an answer");
    until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    // Refusals too: a wrong signature, a wrong token's answer, a reload that fails.
    let refused = http().post(format!("http://{}/hooks/hook", daemon.ingress)).header("X-UiPath-Signature", "canary-signature").body("{}");
    assert_eq!(refused.send().await.expect("an answer").status(), 401);
    daemon.signal("HUP");
    until("the reload is logged", async || daemon.log().contains("reloaded").then_some(())).await;
    let mut all = daemon.log();
    for path in ["/api/v1/events", "/api/v1/runs", "/metrics", "/readyz"] {
        all.push_str(&daemon.get(path).await.to_string());
    }
    for arguments in
        [&["check", "-c", "tripline.yaml"][..], &["events", "list", "-c", "tripline.yaml"], &["runs", "list", "-c", "tripline.yaml"]]
    {
        let output = folder.output(arguments);
        all.push_str(&String::from_utf8_lossy(&output.stdout));
        all.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert!(!all.contains("canary"), "{}", all.lines().find(|l| l.contains("canary")).unwrap_or_default());
}

#[tokio::test]
async fn every_metric_is_there_from_the_start_and_known_labels_begin_at_zero() {
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule("follow-up", ENQUEUE);
    folder.rule("say", "rule: say\nevents: ping\nsteps: [{emit: {type: acme.pinged, data: {}}}]\n");
    let daemon = Daemon::start(&folder).await;
    let text = async || daemon.get("/metrics").await.as_str().expect("text").to_owned();
    let begun = text().await;
    for name in [
        "events_received_total",
        "events_folded_total",
        "events_rejected_total",
        "ingest_ack_seconds",
        "journal_commit_seconds",
        "journal_batch_events",
        "runs_total",
        "run_seconds",
        "run_queue_oldest_seconds",
        "dedup_window_seconds",
        "attempts_total",
        "attempt_seconds",
        "dead_letters",
        "breaker_open",
        "rules_generation",
        "build_info",
    ] {
        for word in ["HELP", "TYPE"] {
            assert_eq!(begun.matches(&format!("# {word} tripline_{name} ")).count(), 1, "{word} {name}");
        }
    }
    for series in [
        "tripline_runs_total{rule=\"follow-up\",state=\"dead\"} 0",
        "tripline_dead_letters{rule=\"follow-up\"} 0",
        "tripline_breaker_open{target=\"prod\"} 0",
        "tripline_attempts_total{target=\"prod\",outcome=\"ok\"} 0",
        "tripline_events_folded_total{source=\"hook\"} 0",
        "tripline_events_rejected_total{source=\"hook\",reason=\"too_large\"} 0",
    ] {
        assert!(begun.lines().any(|line| line == series), "{series} in:\n{begun}");
    }
    daemon.deliver(&json!({"Type": "ping", "EventId": "p"})).await.expect("an answer");
    let emitted = "tripline_events_received_total{source=\"tripline\",via=\"emit\",type=\"acme.pinged\"} 1";
    until("the emitted event is counted", async || text().await.lines().any(|line| line == emitted).then_some(())).await;
}

#[tokio::test]
async fn rule_files_that_change_are_read_again_and_a_broken_one_changes_nothing() {
    let folder = Folder::new("http://127.0.0.1:9");
    let rule = |emits: &str| format!("rule: say\nevents: ping\nsteps: [{{emit: {{type: {emits}, data: {{}}}}}}]\n");
    folder.rule("say", &rule("acme.first"));
    let daemon = Daemon::start(&folder).await;
    let emitted = async |kind: &str| daemon.list(&format!("/api/v1/events?type={kind}")).await.len();
    daemon.deliver(&json!({"Type": "ping", "EventId": "1"})).await.expect("an answer");
    until("the first rule speaks", async || (emitted("acme.first").await == 1).then_some(())).await;

    folder.rule("say", &rule("acme.second"));
    until("the change is read", async || daemon.log().contains("\"message\":\"reloaded\"").then_some(())).await;
    daemon.deliver(&json!({"Type": "ping", "EventId": "2"})).await.expect("an answer");
    until("the second rule speaks", async || (emitted("acme.second").await == 1).then_some(())).await;

    folder.rule("broken", "rule: broken\nevnts: ping\n");
    until("the fault is told", async || daemon.log().contains("did you mean `events`?").then_some(())).await;
    daemon.deliver(&json!({"Type": "ping", "EventId": "3"})).await.expect("an answer");
    until("the second rule still speaks", async || (emitted("acme.second").await == 2).then_some(())).await;
    assert_eq!(emitted("acme.first").await, 1);
    assert_eq!(daemon.log().matches("reload refused").count(), 1, "what was refused is not tried again until it changes");
}
