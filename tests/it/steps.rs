//! Steps that wait, lists, order and limits with the real binary, which is killed in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Daemon, Endpoint, Folder, Manner, failed_item, until_within};

/// A breaker that opened several times probes within half a minute.
const RECOVERY: Duration = Duration::from_secs(120);
const FINE: Manner = Manner::Answer(200, "", "");

async fn deliver(daemon: &Daemon, id: u64, reference: &str) {
    let mut item = failed_item(id);
    item["QueueItem"]["Reference"] = reference.into();
    assert_eq!(daemon.deliver(&item).await.expect("an answer").0, 202);
}

/// Awaits that so many runs are in a state.
async fn runs(daemon: &Daemon, state: &str, count: usize) -> Vec<Value> {
    until_within(RECOVERY, state, async || Some(daemon.runs(state).await).filter(|runs| runs.len() == count)).await
}

fn bodies(target: &Endpoint) -> BTreeMap<String, Instant> {
    target.answered()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_with_one_key_go_one_after_another_over_a_kill() {
    let target = Endpoint::start(Manner::Answer(503, "", "")).await;
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule(
        "follow",
        &format!(
            "rule: follow\nevents: queueItem.transactionFailed\nordered_by: ${{item.Reference}}\nretry: {{first_wait: 100ms, max_wait: 500ms}}\nsteps:\n  - http: {{method: POST, url: \"http://{}/x\", body: {{id: \"${{item.Id}}\"}}}}\n",
            target.address
        ),
    );
    let daemon = Daemon::start(&folder).await;
    for id in 0..10 {
        deliver(&daemon, id, if id % 2 == 0 { "A" } else { "B" }).await;
    }
    let blocked = runs(&daemon, "blocked", 8).await;
    assert!(blocked.iter().all(|run| run["cause"] == "ordered" && run["next_at"].is_null()), "{blocked:?}");
    assert!(blocked.iter().filter(|run| run["ordered_by"] == "A").count() == 4);
    // One that waits is put aside by a person: the others do not notice.
    let aside = blocked.iter().find(|run| run["ordered_by"] == "B").expect("one").clone();
    let (status, answer) = daemon.post(&format!("/api/v1/runs/{}/discard", aside["id"].as_str().expect("an id"))).await;
    assert_eq!(status, 200, "{answer}");
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    runs(&daemon, "blocked", 7).await;
    assert!(bodies(&target).is_empty());
    target.now(FINE);
    runs(&daemon, "succeeded", 9).await;
    let answered = bodies(&target);
    assert_eq!(answered.len(), 9);
    for key in 0..2 {
        let order: Vec<_> = (0..10).filter(|id| id % 2 == key).filter_map(|id| answered.get(&format!("{{\"id\":{id}}}"))).collect();
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
    }
    // A key is free again, and one that dies frees it too.
    target.now(Manner::Answer(400, "", "no"));
    deliver(&daemon, 100, "A").await;
    deliver(&daemon, 102, "A").await;
    runs(&daemon, "dead", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_older_than_one_that_was_handled_is_dropped_also_after_a_kill() {
    let target = Endpoint::start(FINE).await;
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule(
        "newest",
        &format!(
            "rule: newest\nevents: queueItem.transactionFailed\nordered_by: ${{item.Reference}}\nskip_if_newer: true\nsteps:\n  - http: {{method: POST, url: \"http://{}/x\", body: {{id: \"${{item.Id}}\"}}}}\n",
            target.address
        ),
    );
    let mut daemon = Daemon::start(&folder).await;
    let happened = async |daemon: &Daemon, id: u64, reference: &str, hour: u32| {
        let mut item = failed_item(id);
        item["Timestamp"] = format!("2026-11-22T{hour:02}:00:00Z").into();
        item["QueueItem"]["EndProcessing"] = item["Timestamp"].clone();
        item["QueueItem"]["Reference"] = reference.into();
        assert_eq!(daemon.deliver(&item).await.expect("an answer").0, 202);
    };
    happened(&daemon, 1, "A", 12).await;
    runs(&daemon, "succeeded", 1).await;
    daemon.kill9();
    daemon = Daemon::start(&folder).await;
    // Older, of another key, newer, older than that.
    happened(&daemon, 2, "A", 11).await;
    happened(&daemon, 3, "B", 11).await;
    happened(&daemon, 4, "A", 13).await;
    runs(&daemon, "succeeded", 3).await;
    happened(&daemon, 5, "A", 12).await;
    let dropped = runs(&daemon, "discarded", 2).await;
    assert!(dropped.iter().all(|run| run["cause"] == "older" && run["attempts"] == 0), "{dropped:?}");
    assert_eq!(bodies(&target).into_keys().collect::<Vec<_>>(), ["{\"id\":1}", "{\"id\":3}", "{\"id\":4}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_sends_no_more_than_its_limits() {
    let target = Endpoint::start(Manner::Hang).await;
    let folder = Folder::new("http://127.0.0.1:9");
    let rule = |name: &str, limits: &str| {
        format!(
            "rule: {name}\nevents: queueItem.transactionFailed\nlimits: {limits}\nretry: {{first_wait: 100ms, max_wait: 500ms}}\nsteps:\n  - http: {{method: POST, url: \"http://{}/{name}\", body: {{{name}: \"${{item.Id}}\"}}}}\n    timeout: 2s\n",
            target.address
        )
    };
    folder.rule("one", &rule("one", "{concurrency: 1}"));
    let daemon = Daemon::start(&folder).await;
    for id in 0..6 {
        deliver(&daemon, id, "A").await;
    }
    until_within(RECOVERY, "the first one is out", async || (target.requests() == 1).then_some(())).await;
    // As many are planned as were delivered, and none of the others has left.
    until_within(RECOVERY, "all are planned", async || (daemon.list("/api/v1/runs").await.len() == 6).then_some(())).await;
    assert_eq!(target.requests(), 1);
    target.now(FINE);
    runs(&daemon, "succeeded", 6).await;
    // Half a second apart, also over a kill.
    folder.rule("one", &rule("even", "{rate: 120/min}"));
    until_within(RECOVERY, "the rules are in force", async || daemon.get("/api/v1/rules").await.to_string().contains("even").then_some(()))
        .await;
    for id in 100..106 {
        deliver(&daemon, id, "A").await;
    }
    until_within(RECOVERY, "one is over the limit", async || {
        daemon.runs("pending").await.iter().any(|run| run["cause"] == "limits").then_some(())
    })
    .await;
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    runs(&daemon, "succeeded", 12).await;
    let times: Vec<Instant> = bodies(&target).into_iter().filter(|(body, _)| body.contains("even")).map(|(_, at)| at).collect();
    let (first, last) = (times.iter().min().expect("some"), times.iter().max().expect("some"));
    assert_eq!(times.len(), 6);
    // A rate of more than one a second may send those of one second at once, once more behind a start.
    assert!(last.duration_since(*first) >= Duration::from_millis(500), "{:?}", last.duration_since(*first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_waits_go_on_where_they_were_after_each_kill() {
    let target = Endpoint::start(Manner::Answer(503, "", "")).await;
    let folder = Folder::new("http://127.0.0.1:9");
    let post = |path: &str, body: &str| format!("http: {{method: POST, url: \"http://{}/{path}\", body: {body}}}", target.address);
    folder.rule(
        "lists",
        &format!(
            "rule: lists\nevents: queueItem.transactionFailed\nretry: {{first_wait: 100ms, max_wait: 300ms}}\nsteps:\n  - for_each: \"[1, 2, 3, 4]\"\n    as: n\n    parallel: 2\n    steps:\n      - {}\n  - wait: 3s\n  - {}\n",
            post("each", "{line: \"${item.Id}-${n}\"}"),
            post("end", "{end: \"${item.Id}\"}"),
        ),
    );
    let mut daemon = Daemon::start(&folder).await;
    deliver(&daemon, 7, "A").await;
    until_within(RECOVERY, "elements are tried", async || (target.requests() >= 2).then_some(())).await;
    daemon.kill9();
    daemon = Daemon::start(&folder).await;
    target.now(FINE);
    let is_waiting = |run: &Value| run["state"] == "waiting" && run["steps"].as_array().is_some_and(|steps| steps.len() == 2);
    until_within(RECOVERY, "it waits", async || daemon.runs("waiting").await.iter().any(is_waiting).then_some(())).await;
    let before = target.requests();
    daemon.kill9();
    daemon = Daemon::start(&folder).await;
    runs(&daemon, "succeeded", 1).await;
    let answered = bodies(&target);
    let expected = ["{\"end\":7}", "{\"line\":\"7-1\"}", "{\"line\":\"7-2\"}", "{\"line\":\"7-3\"}", "{\"line\":\"7-4\"}"];
    assert_eq!(answered.keys().collect::<Vec<_>>(), expected);
    assert_eq!(target.requests(), before + 1, "what was done is not done again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_given_up_says_so_also_after_a_kill() {
    let (target, alerts) =
        (Endpoint::start(Manner::Answer(400, "", "no such thing")).await, Endpoint::start(Manner::Answer(503, "", "")).await);
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule(
        "given-up",
        &format!(
            "rule: given-up\nevents: queueItem.transactionFailed\nretry: {{first_wait: 100ms, max_wait: 300ms}}\nsteps:\n  - http: {{method: POST, url: \"http://{}/x\", body: {{id: \"${{item.Id}}\"}}}}\non_give_up:\n  - http: {{method: POST, url: \"http://{}/alert\", body: {{why: \"${{error.code}}\"}}}}\n",
            target.address, alerts.address
        ),
    );
    let daemon = Daemon::start(&folder).await;
    deliver(&daemon, 7, "A").await;
    until_within(RECOVERY, "the alert is tried", async || (alerts.requests() >= 1).then_some(())).await;
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    alerts.now(FINE);
    let dead = runs(&daemon, "dead", 1).await;
    assert_eq!((dead[0]["cause"].as_str(), dead[0]["side"].as_str()), (Some("refused"), Some("target refused")), "{dead:?}");
    assert_eq!(bodies(&alerts).into_keys().collect::<Vec<_>>(), ["{\"why\":\"refused\"}"]);
    assert_eq!(target.requests(), 1, "what failed for good is not tried again");
    let shown = folder.output(&["runs", "show", dead[0]["id"].as_str().expect("an id")]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("on_give_up succeeded") && shown.contains("/alert"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_records_shows_what_it_sent_and_got_but_no_secret_and_others_show_nothing() {
    let target = Endpoint::start(Manner::Answer(
        200,
        "X-Answer: of-the-target\r\nSet-Cookie: id=canary-cookie\r\n",
        "{\"token\": \"canary-answer\", \"n\": 7}",
    ))
    .await;
    let folder = Folder::new("http://127.0.0.1:9");
    let rule = |name: &str, extra: &str| {
        format!(
            "rule: {name}\nevents: queueItem.transactionFailed\n{extra}steps:\n  - http: {{method: POST, url: \"http://{}/x\", headers: {{Authorization: \"Bearer canary-bearer\", X-Own: mine}}, body: {{id: \"${{item.Id}}\", password: canary-body}}}}\n",
            target.address
        )
    };
    folder.rule("records", &rule("records", "record: true\n"));
    folder.rule("others", &rule("others", ""));
    let daemon = Daemon::start(&folder).await;
    deliver(&daemon, 7, "A").await;
    runs(&daemon, "succeeded", 2).await;
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    for run in runs(&daemon, "succeeded", 2).await {
        let id = run["id"].as_str().expect("an id");
        let shown = daemon.get(&format!("/api/v1/runs/{id}")).await;
        let recorded = &shown["steps"][0]["attempts"][0]["recorded"];
        assert!(!recorded.to_string().contains("canary"), "{recorded}");
        assert!(run["steps"][0]["attempts"][0]["recorded"].is_null(), "lists are without");
        let printed = folder.output(&["runs", "show", id]);
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        if run["rule"] == "others" {
            assert!(recorded.is_null() && !printed.contains("x-own"), "{shown}");
            continue;
        }
        let header = |message: &str, name: &str| {
            let headers = recorded[message]["headers"].as_array().expect("headers");
            headers.iter().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().expect("text").to_owned())
        };
        assert_eq!((header("request", "authorization").as_deref(), header("request", "x-own").as_deref()), (Some("***"), Some("mine")));
        assert_eq!(
            (header("response", "set-cookie").as_deref(), header("response", "x-answer").as_deref()),
            (Some("***"), Some("of-the-target"))
        );
        assert!(header("request", "idempotency-key").is_some_and(|key| key.starts_with(id)));
        let body = |message: &str| serde_json::from_str::<Value>(recorded[message]["body"].as_str().expect("a body")).expect("json");
        assert_eq!(body("request"), serde_json::json!({"id": 7, "password": "***"}));
        assert_eq!(body("response"), serde_json::json!({"token": "***", "n": 7}));
        assert!(printed.contains("sent x-own: mine") && printed.contains("got  x-answer: of-the-target"), "{printed}");
    }
}
