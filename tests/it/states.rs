//! Every state of a run is reached by the real binary and shown wherever runs are shown; what is left to people is decided by them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, Endpoint, Folder, Manner, failed_item, until_within};

const SOON: Duration = Duration::from_secs(60);

/// All states, as they are documented.
const STATES: [&str; 11] =
    ["pending", "running", "waiting", "blocked", "paused", "retrying", "succeeded", "shadowed", "dead", "ambiguous", "discarded"];

const CONNECTOR: &str = "\
connector: chat
base_url: ${config.host}
config: {host: {}}
operations:
  post_message: {method: POST, path: /messages, body: {text: hi}, output: {fields: {id: \"${entry.id}\"}}}
";

/// A folder whose rules may call the connector `chat` at `address`.
fn with_connector(address: &str) -> Folder {
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let connectors = format!("connectors: {{files: connectors/, config: {{chat: {{host: \"http://{address}\"}}}}}}\n");
    folder.write("tripline.yaml", &format!("{config}{connectors}"));
    std::fs::create_dir(folder.path("connectors")).expect("a folder");
    folder.write("connectors/chat.yaml", CONNECTOR);
    folder
}

fn command(folder: &Folder, arguments: &[&str], code: i32) -> String {
    let output = folder.output(arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

async fn deliver(daemon: &Daemon, id: u64) {
    assert_eq!(daemon.deliver(&failed_item(id)).await.expect("an answer").0, 202);
}

async fn runs_in(daemon: &Daemon, state: &str, count: usize) -> Vec<Value> {
    until_within(SOON, state, async || Some(daemon.runs(state).await).filter(|runs| runs.len() == count)).await
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("an id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_is_reached_and_shown_in_lists_and_by_itself_with_the_daemon_and_without() {
    let fine = Endpoint::start(Manner::Answer(200, "", "")).await;
    let hangs = Endpoint::start(Manner::Hang).await;
    let refuses = Endpoint::start(Manner::Answer(422, "", "no")).await;
    let busy = Endpoint::start(Manner::Answer(503, "", "")).await;
    let closes = Endpoint::start(Manner::Bytes("")).await;
    let folder = with_connector(&closes.address.to_string());
    let post = |to: &Endpoint| format!("http: {{method: POST, url: \"http://{}/x\", body: {{id: \"${{item.Id}}\"}}}}", to.address);
    // One rule for each state, named after it; `blocked` stands behind the first run of its rule.
    let again = "retry: {first_wait: 1h, max_wait: 1h}\n";
    for (state, keys, step) in [
        ("pending", "limits: {concurrency: 1}\n", post(&hangs)),
        ("running", "", post(&hangs)),
        ("waiting", "", "wait: 1h".to_owned()),
        ("blocked", "ordered_by: one\n", post(&hangs)),
        ("paused", "", post(&fine)),
        ("retrying", again, post(&busy)),
        ("succeeded", "", post(&fine)),
        ("shadowed", "mode: shadow\n", post(&fine)),
        ("dead", "", post(&refuses)),
        ("ambiguous", "", "call: {connector: chat, operation: post_message}".to_owned()),
        ("discarded", "", post(&refuses)),
    ] {
        folder.rule(state, &format!("rule: {state}\nevents: queueItem.transactionFailed\n{keys}steps:\n  - {step}\n"));
    }
    let daemon = Daemon::start(&folder).await;
    command(&folder, &["pause", "paused", "--reason", "audit"], 0);
    deliver(&daemon, 1).await;
    deliver(&daemon, 2).await;
    let aside = until_within(SOON, "they are dead", async || {
        Some(daemon.list("/api/v1/runs?state=dead&rule=discarded").await).filter(|runs| runs.len() == 2)
    })
    .await;
    for run in &aside {
        command(&folder, &["runs", "discard", id(run)], 0);
    }
    let found = until_within(SOON, "every state has a run of its rule", async || {
        let mut found = BTreeMap::new();
        for state in STATES {
            let runs = daemon.list(&format!("/api/v1/runs?state={state}&rule={state}")).await;
            found.insert(state, runs.first().map(|run| id(run).to_owned())?);
        }
        Some(found)
    })
    .await;
    for (state, run) in &found {
        let shown = daemon.get(&format!("/api/v1/runs/{run}")).await;
        assert_eq!((&shown["state"], &shown["rule"]), (&json!(state), &json!(state)));
    }
    let shown = |when: &str| {
        for (state, run) in &found {
            let listed = command(&folder, &["runs", "list", "--state", state, "--rule", state, "--json"], 0);
            let listed: Vec<Value> = listed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            assert!(listed.iter().any(|row| id(row) == run && row["state"] == *state), "{when}: {state}: {listed:?}");
            let table = command(&folder, &["runs", "list", "--state", state, "--rule", state], 0);
            assert!(table.lines().any(|line| line.contains(run.as_str()) && line.contains(state)), "{when}: {state}: {table}");
            let one = command(&folder, &["runs", "show", run], 0);
            assert!(one.starts_with(&format!("{run} {state}")), "{when}: {state}: {one}");
        }
    };
    shown("with the daemon");
    let refused = command(&folder, &["runs", "list", "--state", "ded"], 2);
    assert!(refused.contains("did you mean `dead`"), "{refused}");
    let metrics = daemon.get("/metrics").await;
    for state in ["succeeded", "shadowed", "dead", "ambiguous", "discarded"] {
        let line = format!("tripline_runs_total{{rule=\"{state}\",state=\"{state}\"}} 2");
        assert!(metrics.as_str().expect("text").lines().any(|known| known == line), "{line}");
    }
    daemon.kill9();
    shown("without it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_done_waits_for_a_person_who_has_it_tried_again_or_accepts_it() {
    let service = Endpoint::start(Manner::Bytes("")).await;
    let folder = with_connector(&service.address.to_string());
    folder.rule(
        "tell",
        "rule: tell\nevents: queueItem.transactionFailed\nsteps:\n  - id: said\n    call: {connector: chat, operation: post_message}\n  - emit: {type: was.told, data: {message: \"${steps.said.id}\"}}\n",
    );
    let daemon = Daemon::start(&folder).await;
    for item in 1..=3 {
        deliver(&daemon, item).await;
    }
    runs_in(&daemon, "ambiguous", 3).await;
    assert_eq!(service.requests(), 3, "each was sent once");
    daemon.kill9();
    let daemon = Daemon::start(&folder).await;
    let runs = runs_in(&daemon, "ambiguous", 3).await;
    let shown = command(&folder, &["runs", "show", id(&runs[0])], 0);
    for word in ["unknown_outcome", "tripline runs retry", "tripline runs accept"] {
        assert!(shown.contains(word), "`{word}` in {shown}");
    }
    assert_eq!(service.requests(), 3, "nothing is sent again by itself, not over a kill either");
    service.now(Manner::Answer(200, "Content-Type: application/json\r\n", "{\"id\": \"m1\"}"));
    // Dead letters are tried again by default; what is ambiguous only when it is asked for.
    let counted = command(&folder, &["runs", "retry", "--rule", "tell", "--dry-run"], 1);
    assert!(counted.starts_with("0 runs"), "{counted}");
    command(&folder, &["runs", "retry", id(&runs[0])], 0);
    runs_in(&daemon, "succeeded", 1).await;
    command(&folder, &["runs", "accept", id(&runs[1]), "--value", "{\"id\": \"m0\"}", "--reason", "seen in the channel"], 0);
    runs_in(&daemon, "succeeded", 2).await;
    assert_eq!(service.requests(), 4, "what is accepted is not sent");
    command(&folder, &["runs", "discard", id(&runs[2])], 0);
    runs_in(&daemon, "discarded", 1).await;
    let told = daemon.list("/api/v1/events?type=was.told").await;
    let mut messages: Vec<_> = told.iter().map(|event| event["data"]["message"].as_str().expect("text")).collect();
    messages.sort_unstable();
    assert_eq!(messages, ["m0", "m1"], "later steps see the answer, or what the person gave");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_picked_by_cause_rule_and_time() {
    let target = Endpoint::start(Manner::Answer(422, "", "no such invoice")).await;
    let folder = Folder::new("http://127.0.0.1:9");
    let rule = |name: &str, url: &str| {
        let step = format!("http: {{method: POST, url: \"{url}\", body: {{{name}: \"${{item.Id}}\"}}}}");
        folder.rule(name, &format!("rule: {name}\nevents: queueItem.transactionFailed\nsteps:\n  - {step}\n"));
    };
    rule("first", &format!("http://{}/x", target.address));
    rule("second", &format!("http://{}/x", target.address));
    rule("third", "http://${item.?Gone.x}/x");
    let daemon = Daemon::start(&folder).await;
    for item in 1..=2 {
        deliver(&daemon, item).await;
    }
    let dead = runs_in(&daemon, "dead", 6).await;
    let groups = command(&folder, &["runs", "list", "--state", "dead", "--by", "cause", "--json"], 0);
    let groups: Vec<Value> = groups.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    let mut causes: Vec<_> = groups.iter().map(|group| (group["cause"].as_str().expect("a cause"), group["count"].clone())).collect();
    causes.sort_by_key(|(cause, _)| *cause);
    assert_eq!(causes, [("expression", json!(2)), ("refused", json!(2)), ("refused", json!(2))], "{groups:?}");
    // How many each choice takes, counted and not touched.
    let oldest = dead.iter().map(|run| run["created"].as_str().expect("a stamp")).min().expect("some");
    for (choice, count) in [
        (&["--cause", "refused"][..], 4),
        (&["--cause", "expression"], 2),
        (&["--cause", "refused", "--rule", "second"], 2),
        (&["--rule", "third"], 2),
        (&["--since", "1h"], 6),
        (&["--since", oldest], 6),
        (&["--until", oldest], 0),
        (&["--since", "1h", "--until", "2099-01-01", "--rule", "first"], 2),
        (&["--state", "ambiguous"], 0),
    ] {
        let arguments = [&["runs", "retry", "--dry-run"], choice].concat();
        let said = command(&folder, &arguments, i32::from(count == 0));
        assert!(said.starts_with(&format!("{count} runs would be tried again")), "{choice:?}: {said}");
    }
    assert_eq!(daemon.runs("dead").await.len(), 6, "a dry run changes nothing");
    target.now(Manner::Answer(200, "", ""));
    let done = command(&folder, &["runs", "retry", "--cause", "refused", "--rule", "second", "--since", "1h"], 0);
    assert!(done.contains("2 of 2"), "{done}");
    runs_in(&daemon, "succeeded", 2).await;
    let bodies: Vec<_> = target.answered().into_keys().collect();
    assert_eq!(bodies, ["{\"second\":1}", "{\"second\":2}"]);
}
