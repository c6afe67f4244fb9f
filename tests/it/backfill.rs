//! `tripline backfill` over processes: past changes are brought once, behind a crash it goes on, and rules see them where that
//! is asked for.

use std::time::Duration;

use serde_json::{Value, json};
use tripline::clock::Clock;
use tripline::sandbox::Options;

use crate::support::{Daemon, Folder, Sandbox, start_sandbox_as, until};

/// Items that lived before anybody looked: their changes are read in several groups.
const PAST: usize = 130;

/// A sandbox in which they lived an hour ago, and one item of now, from which on the source reads by itself.
async fn with_past() -> Sandbox {
    let now = Clock::system().now();
    let clock = Clock::manual(now.minus(Duration::from_secs(3600)));
    let sandbox = start_sandbox_as(Options { clock: clock.clone(), ..Options::default() }).await;
    let (status, answer) = sandbox.post("/sandbox/fill", &json!({"queue": "Open", "count": PAST, "done": true})).await;
    assert_eq!(status, 201, "{answer}");
    clock.set(now);
    let (status, answer) = sandbox.post("/sandbox/fill", &json!({"queue": "Open", "count": 1})).await;
    assert_eq!(status, 201, "{answer}");
    sandbox
}

fn folder(sandbox: &Sandbox) -> Folder {
    let folder = Folder::new(&sandbox.url);
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let poll = "{orchestrator: prod, kind: queue_items, every: 1s, look_back: 0s, reconciles: hook}";
    folder.write("tripline.yaml", &format!("{config}  queues:\n    poll: {poll}\n"));
    let told = format!("{}/sandbox/sink/told", sandbox.url);
    folder.rule(
        "tell",
        &format!("rule: tell\nevents: queueItem.transactionCompleted\nsteps:\n  - http: {{method: POST, url: \"{told}\", body: {{item: \"${{item.Id}}\"}}}}\n"),
    );
    folder
}

/// Starts the daemon; the source has read what is its own.
async fn start(folder: &Folder) -> Daemon {
    let daemon = Daemon::start(folder).await;
    until("the source was read", async || daemon.get("/api/v1/sources").await["items"][0]["folders"][0]["known_until"].as_str().map(drop))
        .await;
    daemon
}

async fn standing(daemon: &Daemon) -> Value {
    daemon.get("/api/v1/sources/queues/backfill").await
}

async fn until_done(daemon: &Daemon) -> Value {
    until("the backfill is done", async || Some(standing(daemon).await).filter(|standing| standing["state"] == "done")).await
}

/// A backfill that is killed in the middle, and goes on by itself at the next start.
async fn killed_in_the_middle(sandbox: &Sandbox, folder: &Folder, asked: &Value) -> (Daemon, Value) {
    let daemon = start(folder).await;
    // Slowly enough that the middle is found.
    sandbox.fault(json!({"kind": "slow", "match": {"path": "/odata/QueueItems"}, "times": 0, "millis": 200})).await;
    let (status, answer) = daemon.post_json("/api/v1/sources/queues/backfill", asked).await;
    assert!(status < 300, "{answer}");
    let middle = until("it is under way", async || Some(standing(&daemon).await).filter(|one| one["found"].as_u64() > Some(0))).await;
    assert_eq!(middle["state"], "running", "{middle}");
    daemon.kill9();
    sandbox.clear_faults().await;
    let daemon = start(folder).await;
    let done = until_done(&daemon).await;
    (daemon, done)
}

/// Events of the past by the source; each change once, and nothing else.
async fn brought(daemon: &Daemon) -> Vec<Value> {
    let events = daemon.list("/api/v1/events?source=queues").await;
    let (past, own): (Vec<Value>, Vec<Value>) = events.into_iter().partition(|event| event["via"] == "backfill");
    assert_eq!(own.len(), 1, "what the source itself brought");
    let mut keys: Vec<(i64, &str)> =
        past.iter().filter_map(|event| Some((event["data"]["QueueItem"]["Id"].as_i64()?, event["type"].as_str()?))).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), past.len()), (3 * PAST, 3 * PAST), "each change once");
    past
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_brought_once_over_a_kill_and_no_rule_runs() {
    let sandbox = with_past().await;
    let folder = folder(&sandbox);
    let daemon = start(&folder).await;
    let run = |arguments: &[&str]| {
        let output = folder.output(&[&["backfill", "queues", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("json")
    };
    let counted = run(&["--since", "2h", "--dry-run"]);
    assert_eq!((&counted["state"], &counted["found"], &counted["brought"]), (&json!("done"), &json!(3 * PAST), &json!(0)), "{counted}");
    // Of a time in which nothing happened there is nothing.
    let empty = run(&["--since", "2h", "--until", "70m", "--dry-run"]);
    assert_eq!(empty["found"], 0, "{empty}");
    assert_eq!(daemon.list("/api/v1/events?source=queues").await.len(), 1, "a dry run keeps nothing");
    daemon.kill9();

    let (daemon, done) = killed_in_the_middle(&sandbox, &folder, &json!({"since": "2h"})).await;
    assert_eq!((&done["found"], &done["failure"], &done["share"]), (&json!(3 * PAST), &Value::Null, &json!(1.0)), "{done}");
    let past = brought(&daemon).await;
    assert!(past.iter().all(|event| event["late"] == true), "no rule sees them");
    let again = run(&["--since", "2h", "--run-rules"]);
    assert_eq!((&again["found"], &again["brought"]), (&json!(3 * PAST), &json!(0)), "all of it is known: {again}");
    brought(&daemon).await;
    assert_eq!((daemon.list("/api/v1/runs").await.len(), sandbox.sink("told").await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_see_the_past_where_that_is_asked_for_once_over_a_kill() {
    let sandbox = with_past().await;
    let folder = folder(&sandbox);
    let (daemon, done) = killed_in_the_middle(&sandbox, &folder, &json!({"since": "2h", "run_rules": true})).await;
    assert_eq!((&done["found"], &done["run_rules"]), (&json!(3 * PAST), &json!(true)), "{done}");
    let past = brought(&daemon).await;
    assert!(past.iter().all(|event| event["late"] != true));
    let runs = until("every run is done", async || {
        Some(daemon.list("/api/v1/runs").await).filter(|runs| runs.len() == PAST && runs.iter().all(|run| run["state"] == "succeeded"))
    })
    .await;
    assert_eq!(runs.len(), PAST);
    let mut told: Vec<String> = sandbox.sink("told").await.iter().map(|one| one["body"]["item"].to_string()).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), PAST, "one for each item that was completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_can_be_stopped_and_watched() {
    let sandbox = with_past().await;
    let folder = folder(&sandbox);
    let daemon = start(&folder).await;
    sandbox.fault(json!({"kind": "503", "match": {"path": "/odata/QueueItems"}, "times": 0, "retry_after": 1})).await;
    let (status, answer) = daemon.post_json("/api/v1/sources/queues/backfill", &json!({"since": "2h"})).await;
    assert!(status < 300, "{answer}");
    let failing = until("its failure is shown", async || standing(&daemon).await["failure"].as_str().map(str::to_owned)).await;
    assert!(failing.contains("503"), "{failing}");
    let output = folder.output(&["backfill", "queues", "--since", "3h"]);
    assert_eq!(output.status.code(), Some(1), "another one is under way");
    assert!(String::from_utf8_lossy(&output.stderr).contains("under way"), "{}", String::from_utf8_lossy(&output.stderr));
    let output = folder.output(&["backfill", "queues", "--stop", "--json"]);
    let stopped: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    sandbox.clear_faults().await;
    let output = folder.output(&["backfill", "queues", "--watch", "--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(shown["state"], "stopped", "{shown}");
    assert_eq!(daemon.list("/api/v1/events?source=queues").await.len(), 1, "nothing of it was kept");
    assert_eq!(folder.output(&["backfill", "queues", "--stop"]).status.code(), Some(1), "none is under way");
}
