use serde_json::{Value, json};

use crate::support::{Daemon, Folder, Sandbox, failed_item, start_sandbox, until};

const ALERT: &str = "\
rule: alert
events: queueItem.transactionFailed
retry: {first_wait: 100ms, max_wait: 1s}
steps:
  - http: {method: POST, url: \"SANDBOX/sandbox/sink/alerts\", body: {item: \"${item.Reference}\"}}
  - http: {method: POST, url: \"SANDBOX/sandbox/sink/second\", body: {item: \"${item.Reference}\"}}
";

/// A daemon whose rule posts to two sinks of the sandbox.
async fn alerting(sandbox: &Sandbox) -> (Folder, Daemon) {
    let folder = Folder::new(&sandbox.url);
    folder.rule("alert", &ALERT.replace("SANDBOX", &sandbox.url));
    let daemon = Daemon::start(&folder).await;
    (folder, daemon)
}

/// The runs in a state, as soon as there are so many.
async fn runs_in(daemon: &Daemon, state: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} runs are {state}"), async || {
        let runs = daemon.runs(state).await;
        (runs.len() == count).then_some(runs)
    })
    .await
}

fn command(folder: &Folder, arguments: &[&str], code: i32) -> String {
    let output = folder.output(arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

#[tokio::test]
async fn dead_letters_are_seen_by_cause_and_tried_again_together() {
    let sandbox = start_sandbox().await;
    sandbox.fault(json!({"kind": "422", "match": {"path": "/sandbox/sink/alerts"}, "times": 3})).await;
    let (folder, daemon) = alerting(&sandbox).await;
    for id in 1..=3 {
        daemon.deliver(&failed_item(id)).await.expect("an answer");
    }
    let dead = runs_in(&daemon, "dead", 3).await;
    let print = dead[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
    assert!(dead.iter().all(|run| run["fingerprint"] == print.as_str()), "one cause, one fingerprint: {dead:?}");
    let groups = command(&folder, &["runs", "list", "--state", "dead", "--by", "cause", "--json"], 0);
    let group: Value = serde_json::from_str(groups.trim()).unwrap_or_else(|e| panic!("one group: {e} {groups}"));
    assert_eq!((&group["count"], &group["fingerprint"], &group["rule"]), (&json!(3), &json!(print), &json!("alert")));

    let counted = command(&folder, &["runs", "retry", "--cause", &print, "--dry-run"], 0);
    assert!(counted.contains("3 runs would be tried again"), "{counted}");
    assert_eq!(daemon.runs("dead").await.len(), 3, "a dry run changes nothing");
    command(&folder, &["runs", "retry", "--cause", "ffffffffffff"], 1);
    let done = command(&folder, &["runs", "retry", "--cause", &print, "--since", "1h", "--rate", "100/s"], 0);
    assert!(done.contains("3 of 3"), "{done}");
    runs_in(&daemon, "succeeded", 3).await;
    assert_eq!((sandbox.sink("alerts").await.len(), sandbox.sink("second").await.len()), (3, 3));
}

#[tokio::test]
async fn a_step_done_by_hand_is_accepted_and_another_run_is_put_aside() {
    let sandbox = start_sandbox().await;
    sandbox.fault(json!({"kind": "422", "match": {"path": "/sandbox/sink/alerts"}, "times": 2})).await;
    let (folder, daemon) = alerting(&sandbox).await;
    for id in 1..=2 {
        daemon.deliver(&failed_item(id)).await.expect("an answer");
    }
    let dead = runs_in(&daemon, "dead", 2).await;
    let id = |n: usize| dead[n]["id"].as_str().expect("an id").to_owned();
    command(&folder, &["runs", "accept", &id(0), "--value", "{\"by\": \"hand\"}", "--reason", "posted by hand"], 0);
    let run = runs_in(&daemon, "succeeded", 1).await.remove(0);
    assert_eq!((&run["steps"][0]["value"], &run["steps"][0]["state"]), (&json!({"by": "hand"}), &json!("done")));
    assert_eq!((sandbox.sink("alerts").await.len(), sandbox.sink("second").await.len()), (0, 1), "the first step is not done again");
    command(&folder, &["runs", "discard", &id(1), "--reason", "a test item"], 0);
    let aside = runs_in(&daemon, "discarded", 1).await.remove(0);
    assert!(aside["message"].as_str().expect("a message").contains("a test item"), "{aside}");
    let refused = command(&folder, &["runs", "retry", &id(1)], 1);
    assert!(refused.contains("discarded"), "{refused}");
    // It is still so after a restart.
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    assert_eq!((daemon.runs("discarded").await.len(), daemon.runs("succeeded").await.len()), (1, 1));
    let shown = command(&folder, &["runs", "show", &id(1)], 0);
    assert!(shown.contains("a test item") && shown.contains("by a person"), "{shown}");
}
