use serde_json::{Value, json};

use crate::support::{Daemon, Folder, Sandbox, failed_item, failed_item_of, http, start_sandbox, until};

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
    // The refused ones are on record there too.
    assert_eq!((sandbox.sink("alerts").await.len(), sandbox.sink("second").await.len()), (6, 3));
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
    assert_eq!((sandbox.sink("alerts").await.len(), sandbox.sink("second").await.len()), (2, 1), "the first step is not done again");
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

#[tokio::test]
async fn a_paused_rule_holds_its_runs_over_a_restart_until_it_goes_on() {
    let sandbox = start_sandbox().await;
    let (folder, daemon) = alerting(&sandbox).await;
    command(&folder, &["pause", "alret"], 1);
    let done = command(&folder, &["pause", "alert", "--reason", "audit"], 0);
    assert!(done.contains("rule alert is paused"), "{done}");
    assert!(command(&folder, &["pause", "alert"], 0).contains("already"));
    for id in 1..=3 {
        daemon.deliver(&failed_item(id)).await.expect("an answer");
    }
    let paused = runs_in(&daemon, "paused", 3).await;
    assert!(paused[0]["message"].as_str().expect("a message").contains("audit"), "{paused:?}");
    assert!(daemon.get("/metrics").await.as_str().expect("text").contains("tripline_paused{what=\"rule:alert\"} 1"));
    daemon.kill9();

    let daemon = Daemon::start(&folder).await;
    daemon.deliver(&failed_item(4)).await.expect("an answer");
    runs_in(&daemon, "paused", 4).await;
    assert_eq!(sandbox.sink("alerts").await.len(), 0, "nothing was sent");
    assert!(command(&folder, &["pause"], 0).contains("audit"));
    command(&folder, &["resume", "alert"], 0);
    runs_in(&daemon, "succeeded", 4).await;
    assert_eq!((daemon.runs("paused").await.len(), sandbox.sink("second").await.len()), (0, 4));
    command(&folder, &["resume", "alert"], 1);
}

#[tokio::test]
async fn a_paused_target_or_all_holds_what_goes_there() {
    let sandbox = start_sandbox().await;
    let (folder, daemon) = alerting(&sandbox).await;
    let host = sandbox.url.strip_prefix("http://").expect("a URL").to_owned();
    for what in [host.as_str(), "all"] {
        command(&folder, &["pause", what], 0);
        daemon.deliver(&failed_item(if what == "all" { 2 } else { 1 })).await.expect("an answer");
        let waiting = runs_in(&daemon, "paused", 1).await;
        assert_eq!(waiting[0]["cause"], "paused", "{what}");
        command(&folder, &["resume", what], 0);
        runs_in(&daemon, "succeeded", if what == "all" { 2 } else { 1 }).await;
    }
    let (status, answer) = daemon.post_json("/api/v1/pause", &json!({"name": "a", "rule": "b"})).await;
    assert_eq!(status, 400, "{answer}");
}

#[tokio::test]
async fn a_replay_appends_no_event_and_does_again_only_what_did_not_succeed() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder
        .rule("follow", "rule: follow\nevents: queueItem.transactionFailed\nsteps:\n  - id: item\n    enqueue: {queue: Invoices-Review}\n");
    folder.rule("alert", &ALERT.replace("SANDBOX", &sandbox.url));
    sandbox.fault(json!({"kind": "422", "match": {"path": "/sandbox/sink/alerts"}, "times": 1})).await;
    let daemon = Daemon::start(&folder).await;
    let (_, answer) = daemon.deliver(&failed_item(1)).await.expect("an answer");
    let event = answer["events"][0].as_str().expect("an id").to_owned();
    runs_in(&daemon, "succeeded", 1).await;
    runs_in(&daemon, "dead", 1).await;
    let first = sandbox.references("Invoices-Review").await;

    let counted = command(&folder, &["replay", "--since", "1h", "--dry-run", "--json"], 0);
    let counted: Value = serde_json::from_str(counted.trim()).expect("json");
    assert_eq!((&counted["planned"], &counted["skipped"]["succeeded"]), (&json!(1), &json!(1)), "{counted}");
    let done = command(&folder, &["replay", &event], 0);
    assert!(done.contains("1 event, 1 rule runs again") && done.contains("1 that succeeded"), "{done}");
    let again = runs_in(&daemon, "succeeded", 2).await.into_iter().find(|run| run["rule"] == "alert").expect("the alert");
    assert!(again["id"].as_str().expect("an id").ends_with(".r1"), "{again}");
    assert_eq!(again["replay"], json!({"number": 1, "forced": false, "reason": null}));
    assert_eq!(sandbox.references("Invoices-Review").await, first, "nothing is enqueued twice");
    command(&folder, &["replay", "--type", "queueItem.*", "--rule", "follow"], 1);
    for list in [&["events", "list"][..], &["runs", "list"], &["replay"], &["runs", "retry"], &["backtest"]] {
        let said = command(&folder, &[list, &["--since", "1h", "--until", "2h"]].concat(), 2);
        assert!(said.contains("`--since`") && said.contains("exchange the two"), "{list:?}: {said}");
    }
    assert!(command(&folder, &["replay", "--since", "1h", "--rule", "folow"], 1).starts_with("error: there is no rule `folow`; "));
    for unknown in [["runs", "show", "nope"], ["events", "show", "nope"], ["runs", "retry", "nope"]] {
        assert!(command(&folder, &unknown, 1).contains("`nope` is no "), "{unknown:?}");
    }

    // By force it is done again, under a reference of its own.
    command(&folder, &["replay", &event, "--rule", "follow", "--force"], 2);
    command(&folder, &["replay", &event, "--rule", "follow", "--force", "--reason", "the first item was deleted"], 0);
    runs_in(&daemon, "succeeded", 3).await;
    let both = sandbox.references("Invoices-Review").await;
    assert!(both.len() == 2 && both[1].ends_with(".r1") && both[0] == first[0], "{both:?}");
    assert_eq!(daemon.get("/api/v1/events").await["items"].as_array().map(Vec::len), Some(1), "no event is appended");

    let (status, answer) = daemon.post_json("/api/v1/replay", &json!({})).await;
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = daemon.post_json("/api/v1/replay", &json!({"rule": "follw"})).await;
    assert!(status == 404 && answer["detail"].as_str().expect("text").contains("`follow`"), "{answer}");
    command(&folder, &["replay", "01JD8Z3V6Q4K3W5T9M2N7P8R1S"], 1);
    let pinged = daemon.deliver(&json!({"Type": "ping", "EventId": "p"})).await.expect("an answer").1;
    let pinged = pinged["events"][0].as_str().expect("an id").to_owned();
    assert!(command(&folder, &["replay", &pinged], 1).contains("nothing: no rule that is meant meets the 1 event"));
}

#[tokio::test]
async fn an_open_breaker_is_seen_and_survives_a_kill() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow", "rule: follow\nevents: queueItem.transactionFailed\nsteps:\n  - enqueue: {queue: Nowhere}\n");
    let daemon = Daemon::start(&folder).await;
    daemon.deliver(&failed_item(1)).await.expect("an answer");
    let open = |daemon: &Daemon| {
        let url = format!("http://{}/api/v1/breakers", daemon.admin);
        async move {
            until("a breaker is open", async || {
                let answer: Value = http().get(&url).send().await.ok()?.json().await.ok()?;
                answer["items"].get(0).cloned()
            })
            .await
        }
    };
    let before = open(&daemon).await;
    assert_eq!((&before["target"], &before["state"], &before["cause"]), (&json!("prod"), &json!("open"), &json!("configuration")));
    assert!(before["part"].as_str().expect("a part").contains("Nowhere") && before["message"].as_str().expect("why").contains("Nowhere"));
    until("the breaker is kept", async || daemon.log().contains("the breaker of a target opens").then_some(())).await;
    runs_in(&daemon, "waiting", 1).await;
    daemon.kill9();

    let daemon = Daemon::start(&folder).await;
    let after = open(&daemon).await;
    assert_eq!((&after["until"], &after["message"]), (&before["until"], &before["message"]));
    daemon.deliver(&failed_item(2)).await.expect("an answer");
    runs_in(&daemon, "waiting", 2).await;
    let metrics = daemon.get("/metrics").await;
    assert!(metrics.as_str().expect("text").contains("tripline_breaker_open{target=\"prod\"} 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_items_for_one_queue_take_at_most_150_requests() {
    const ITEMS: usize = 10_000;
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule(
        "follow",
        "rule: follow\nevents: queueItem.added\nqueues: [Invoices]\nsteps:\n  - id: item\n    enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\"}\n",
    );
    let daemon = Daemon::start(&folder).await;
    let count = |name: &'static str| {
        let sandbox = &sandbox;
        async move { sandbox.get(&format!("/sandbox/requests?path={name}&limit=1000")).await["items"].as_array().map_or(0, Vec::len) }
    };
    for body in 0..100 {
        let items: Vec<Value> = (0..ITEMS / 100)
            .map(|n| {
                let id = body * 100 + n + 1;
                json!({"Id": id, "QueueDefinitionId": 7, "Status": "New", "Reference": format!("INV-{id}"), "SpecificContent": {"A": id}})
            })
            .collect();
        let body = json!({
            "Type": "queueItem.added", "EventId": format!("ev-{body}"), "Timestamp": "2026-11-22T10:00:00Z",
            "Queue": {"Id": 7, "Name": "Invoices"}, "QueueItems": items, "TenantId": 1, "OrganizationUnitId": 2,
        });
        let (status, answer) = daemon.deliver(&body).await.expect("an answer");
        assert_eq!((status, answer["events"].as_array().map(Vec::len)), (202, Some(100)), "{answer}");
    }
    crate::support::until_within(std::time::Duration::from_secs(180), "all runs are over", async || {
        let metrics = daemon.get("/metrics").await;
        let text = metrics.as_str().expect("text").to_owned();
        text.contains(&format!("tripline_runs_total{{rule=\"follow\",state=\"succeeded\"}} {ITEMS}")).then_some(())
    })
    .await;
    let mut references = sandbox.references("Invoices-Review").await;
    references.sort();
    references.dedup();
    assert_eq!(references.len(), ITEMS);
    let adds = count("AddQueueItem").await;
    assert!(adds <= 150, "{adds} requests");
}

/// Bytes of memory of the daemon, as `/proc/<pid>/status` names them.
fn memory(daemon: &Daemon, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("is there");
    line.split_whitespace().next().and_then(|number| number.parse::<usize>().ok()).expect("a number") << 10
}

#[tokio::test]
async fn a_long_page_takes_little_more_memory_than_its_text() {
    const EVENTS: u64 = 1000;
    const TEXT_BYTES: usize = 4000;
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let daemon = Daemon::start(&folder).await;
    for id in 1..=EVENTS {
        let (status, answer) = daemon.deliver(&failed_item_of(id, TEXT_BYTES)).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
    }
    let ask = async |limit: u64| {
        let url = format!("http://{}/api/v1/events?limit={limit}", daemon.admin);
        http().get(url).send().await.expect("an answer").text().await.expect("text")
    };
    // The code that answers is in memory from now on, too.
    ask(20).await;
    let before = memory(&daemon, "VmRSS:");
    std::fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").expect("the peak is forgotten");
    let page = ask(EVENTS).await;
    let more = memory(&daemon, "VmHWM:").saturating_sub(before);
    assert!(page.len() > EVENTS as usize * TEXT_BYTES, "{}", page.len());
    assert!(more < 4 * page.len(), "{more} bytes for a page of {}", page.len());
}
