//! Modes, `dedupe` and `expires`, and why a rule did or did not run, asked of stored events: the real binary.

use serde_json::{Value, json};

use crate::support::{Daemon, Folder, failed_item, start_sandbox, until};

const RULES: &str = "\
rule: once
events: queueItem.transactionFailed
dedupe: {key: '${content.Amount}', window: 1h}
steps:
  - enqueue: {queue: Invoices-Review, reference: \"once-${item.Reference}\"}
---
rule: fresh
events: queueItem.transactionFailed
expires: 1h
steps:
  - enqueue: {queue: Invoices-Review, reference: \"fresh-${item.Reference}\"}
---
rule: would
events: queueItem.transactionFailed
mode: shadow
steps:
  - enqueue: {queue: Invoices-Review, reference: \"would-${item.Reference}\"}
---
rule: never
events: queueItem.transactionFailed
mode: off
steps:
  - enqueue: {queue: Invoices-Review, reference: \"never-${item.Reference}\"}
---
rule: small
events: queueItem.transactionFailed
when: content.Amount < 10
steps:
  - enqueue: {queue: Invoices-Review, reference: \"small-${item.Reference}\"}
";

fn explained(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// (rule, path of the condition that failed or "ran")
fn summary(explained: &Value) -> Vec<(&str, &str)> {
    let rules = explained["rules"].as_array().expect("rules");
    rules.iter().map(|rule| (rule["rule"].as_str().expect("a name"), rule["because"]["path"].as_str().unwrap_or("ran"))).collect()
}

#[tokio::test]
async fn rules_are_held_back_and_stored_events_say_why() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("rules", RULES);
    let daemon = Daemon::start(&folder).await;
    let mut ids = Vec::new();
    for number in [1, 2] {
        let (_, answer) = daemon.deliver(&failed_item(number)).await.expect("an answer");
        ids.push(answer["events"][0].as_str().expect("an id").to_owned());
    }
    // The bodies say when it happened: long ago.
    let run = until("the first runs", async || daemon.runs("succeeded").await.into_iter().next()).await;
    assert_eq!((&run["rule"], &run["event"]), (&json!("once"), &json!(ids[0])));
    let shadowed = until("both are shadowed", async || Some(daemon.runs("shadowed").await).filter(|runs| runs.len() == 2)).await;
    assert_eq!(shadowed[0]["would"][0]["enqueue"]["reference"], "would-INV-1", "{}", shadowed[0]);
    assert_eq!(sandbox.references("Invoices-Review").await, ["once-INV-1"]);

    let second = daemon.get(&format!("/api/v1/events/{}?explain=true", ids[1])).await;
    let expected = [("once", "dedupe"), ("fresh", "expires"), ("would", "ran"), ("never", "mode"), ("small", "when")];
    assert_eq!(summary(&second), expected);
    assert_eq!(second["rules"][0]["because"]["found"]["event"], json!(ids[0]));
    assert_eq!((&second["generation"], &second["event"]["generation"], &second["note"]), (&json!(1), &json!(1), &Value::Null));
    assert_eq!(second["rules"][2]["run"], shadowed[1]["id"]);
    assert_eq!(daemon.get("/api/v1/events").await["items"][1]["generation"], 1);
    let metrics = daemon.get("/metrics").await;
    assert!(metrics.as_str().expect("text").contains("tripline_held_total{rule=\"once\",reason=\"dedupe\"} 1"), "{metrics}");

    // The rules of today say something else; what was explained stays as it was, and names its generation.
    folder.rule("rules", "rule: other\nevents: queueItem.transactionFailed\nsteps: [{emit: {type: acme.seen}}]\n");
    let (status, _) = daemon.post("/api/v1/reload").await;
    assert_eq!(status, 200);
    let (_, answer) = daemon.deliver(&failed_item(3)).await.expect("an answer");
    let third = answer["events"][0].as_str().expect("an id").to_owned();
    until("it is routed", async || (daemon.get(&format!("/api/v1/events/{third}")).await["generation"] == 2).then_some(())).await;
    let by_command = explained(&folder.output(&["events", "show", &ids[1], "--explain", "--json"]));
    assert_eq!(by_command, second);
    assert_eq!(summary(&daemon.get(&format!("/api/v1/events/{third}/explain")).await), [("other", "ran")]);
    let text = String::from_utf8(folder.output(&["events", "show", &ids[1], "--explain"]).stdout).expect("text");
    assert!(text.contains("dedupe") && text.contains("once") && text.contains("rules of generation 1"), "{text}");

    // Without the daemon the journal says the same; a restart keeps what ran for a key.
    daemon.kill9();
    assert_eq!(explained(&folder.output(&["events", "show", &ids[1], "--explain", "--json"])), second);
    let list = String::from_utf8(folder.output(&["events", "list", "--json", "--source", "hook"]).stdout).expect("text");
    let generations: Vec<Value> =
        list.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["generation"].clone()).collect();
    assert_eq!(generations, [1, 1, 2]);
    folder.rule("rules", RULES);
    let daemon = Daemon::start(&folder).await;
    let (_, answer) = daemon.deliver(&failed_item(4)).await.expect("an answer");
    let fourth = answer["events"][0].as_str().expect("an id").to_owned();
    until("it is routed", async || (daemon.get(&format!("/api/v1/events/{fourth}")).await["generation"] == 3).then_some(())).await;
    let fourth = daemon.get(&format!("/api/v1/events/{fourth}/explain")).await;
    assert_eq!(summary(&fourth), expected);
    assert_eq!(fourth["rules"][0]["because"]["found"]["event"], json!(ids[0]));
}
