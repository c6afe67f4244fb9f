//! Deliveries of other services: signed as they sign, by the real binary.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Daemon, Folder, http, sign, until};

const GITHUB: &str = "github-secret-0123456789abcdef";
const SLACK: &str = "slack-secret-0123456789abcdef00";
/// `standard-secret-one-…` and `…-two-…` behind their prefix, as the services hand them out.
const STANDARD_OLD: &str = "whsec_c3RhbmRhcmQtc2VjcmV0LW9uZS0wMTIz";
const STANDARD_NEW: &str = "whsec_c3RhbmRhcmQtc2VjcmV0LXR3by0wMTIz";

/// Sources of four services beside Orchestrator's, and a rule for one of them.
fn folder() -> Folder {
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write(
        "tripline.yaml",
        &format!(
            "{config}  github: {{webhook: {{scheme: github, secrets: [\"{GITHUB}\"]}}}}
  slack: {{webhook: {{scheme: slack, secrets: [\"{SLACK}\"]}}}}
  crm: {{webhook: {{scheme: standard-webhooks, secrets: [\"{STANDARD_OLD}\", \"{STANDARD_NEW}\"]}}}}
  own: {{webhook: {{scheme: custom, header: X-Sig, encoding: base64, secrets: [\"{GITHUB}\"], id: headers.x-id}}}}
"
        ),
    );
    folder.rule("pushed", "rule: pushed\nevents: github.push\nmatch: {ref: [{prefix: refs/heads/}]}\nsteps: [{emit: {type: acme.pushed, data: {by: \"${data.pusher.name}\"}}}]\n");
    folder
}

fn hex(base64: &str) -> String {
    STANDARD.decode(base64).expect("base64").iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time of this machine in seconds, moved by some.
fn seconds(moved: i64) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    (i64::try_from(now).expect("small") + moved).to_string()
}

async fn post(daemon: &Daemon, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut request = http().post(format!("http://{}{path}", daemon.ingress)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

async fn post_slack(daemon: &Daemon, body: &str, moved: i64, secret: &str) -> (u16, Value) {
    let time = seconds(moved);
    let signature = format!("v0={}", hex(&sign(format!("v0:{time}:{body}").as_bytes(), secret)));
    post(daemon, "/hooks/slack", &[("X-Slack-Request-Timestamp", &time), ("X-Slack-Signature", &signature)], body).await
}

async fn post_standard(daemon: &Daemon, id: &str, body: &str, moved: i64, secret: &str) -> (u16, Value) {
    let (time, key) = (seconds(moved), String::from_utf8(STANDARD.decode(&secret[6..]).expect("base64")).expect("text"));
    let signature = format!("v1,bm9uZSBvZiBvdXJzLCBub25lIG9mIG91cnMsIG5vbmU= v1,{}", sign(format!("{id}.{time}.{body}").as_bytes(), &key));
    let headers = [("webhook-id", id), ("webhook-timestamp", time.as_str()), ("webhook-signature", signature.as_str())];
    post(daemon, "/hooks/crm", &headers, body).await
}

#[tokio::test]
async fn a_push_is_taken_once_and_meets_its_rule() {
    let folder = folder();
    let daemon = Daemon::start(&folder).await;
    let body = json!({"ref": "refs/heads/main", "pusher": {"name": "anna"}}).to_string();
    let signature = format!("sha256={}", hex(&sign(body.as_bytes(), GITHUB)));
    let headers = [("X-Hub-Signature-256", signature.as_str()), ("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "72d3162e")];
    let (status, answer) = post(&daemon, "/hooks/github", &headers, &body).await;
    assert_eq!((status, answer["folded"].as_u64()), (202, Some(0)), "{answer}");
    // Delivered again, as its page at GitHub does by a click.
    let (status, again) = post(&daemon, "/hooks/github", &headers, &body).await;
    assert_eq!((status, again), (202, json!({"events": [], "folded": 1})));
    let id = answer["events"][0].as_str().expect("an id");
    let event = daemon.get(&format!("/api/v1/events/{id}")).await;
    assert_eq!((&event["type"], &event["key"]), (&json!("github.push"), &json!("source:github|event|72d3162e||")));
    assert_eq!((&event["verified"], &event["folded"]["count"], &event["event_id"]), (&json!("secret 1"), &json!(1), &json!("72d3162e")));
    assert_eq!(event["data"], serde_json::from_str::<Value>(&body).expect("json"));
    until("the rule's step", async || {
        let emitted = daemon.list("/api/v1/events?type=acme.pushed").await;
        emitted.first().map(|event| assert_eq!(event["data"], json!({"by": "anna"})))
    })
    .await;
    // Nobody else's signature, none, and that of another body.
    let other = format!("sha256={}", hex(&sign(b"{}", GITHUB)));
    let bad = [("X-Hub-Signature-256", other.as_str()), ("X-GitHub-Event", "push")];
    assert_eq!(post(&daemon, "/hooks/github", &bad, &body).await.0, 401);
    assert_eq!(post(&daemon, "/hooks/github", &[("X-GitHub-Event", "push")], &body).await.0, 401);
    // What cannot be read is kept.
    let signature = format!("sha256={}", hex(&sign(b"hello", GITHUB)));
    let (status, answer) = post(&daemon, "/hooks/github", &[("X-Hub-Signature-256", signature.as_str())], "hello").await;
    assert_eq!(status, 202);
    let event = daemon.get(&format!("/api/v1/events/{}", answer["events"][0].as_str().expect("an id"))).await;
    assert_eq!((&event["type"], &event["raw"]), (&json!("tripline.unparsed"), &json!(STANDARD.encode("hello"))));
}

#[tokio::test]
async fn slack_is_answered_only_when_it_is_slack_and_only_in_time() {
    let folder = folder();
    let daemon = Daemon::start(&folder).await;
    let question = json!({"type": "url_verification", "token": "t", "challenge": "canary-challenge"}).to_string();
    let (status, answer) = post_slack(&daemon, &question, 0, "another secret of slack").await;
    assert_eq!(status, 401);
    assert!(!answer.to_string().contains("canary"));
    assert_eq!(post_slack(&daemon, &question, 0, SLACK).await, (200, json!({"challenge": "canary-challenge"})));
    assert_eq!(daemon.list("/api/v1/events?source=slack").await.len(), 0, "a question is no event");
    let body =
        json!({"type": "event_callback", "event_id": "Ev1", "event_time": 1_700_000_000, "event": {"type": "app_mention", "text": "hi"}})
            .to_string();
    // A clock that is wrong, on either side.
    for moved in [-400, 400] {
        let (status, answer) = post_slack(&daemon, &body, moved, SLACK).await;
        assert_eq!(status, 401);
        assert!(answer["detail"].as_str().expect("why").contains("stale"), "{answer}");
    }
    assert_eq!(post_slack(&daemon, &question, -400, SLACK).await.0, 401, "nor is a recorded question answered");
    let (status, first) = post_slack(&daemon, &body, -200, SLACK).await;
    assert_eq!((status, first["folded"].as_u64()), (202, Some(0)));
    // Slack tries again with a new time and signature.
    assert_eq!(post_slack(&daemon, &body, 0, SLACK).await, (202, json!({"events": [], "folded": 1})));
    let events = daemon.list("/api/v1/events?source=slack").await;
    assert_eq!((&events[0]["type"], &events[0]["time"]), (&json!("slack.app_mention"), &json!("2023-11-14T22:13:20Z")));
    let metrics = daemon.get("/metrics").await;
    let refused = |reason: &str, count: u32| {
        let line = format!("tripline_events_rejected_total{{source=\"slack\",reason=\"{reason}\"}} {count}");
        assert!(metrics.as_str().expect("text").contains(&line), "{line}");
    };
    refused("stale", 3);
    refused("signature_bad", 1);
    assert!(!daemon.log().contains("canary-challenge") && !daemon.log().contains(SLACK));
}

#[tokio::test]
async fn a_secret_is_changed_without_losing_a_delivery() {
    let folder = folder();
    let daemon = Daemon::start(&folder).await;
    let body = json!({"type": "contact.created", "timestamp": "2026-01-01T00:00:00Z", "data": {"id": 1}}).to_string();
    for (id, secret, name) in [("m1", STANDARD_OLD, "secret 1"), ("m2", STANDARD_NEW, "secret 2")] {
        let (status, answer) = post_standard(&daemon, id, &body, 0, secret).await;
        assert_eq!(status, 202, "{answer}");
        let event = daemon.get(&format!("/api/v1/events/{}", answer["events"][0].as_str().expect("an id"))).await;
        assert_eq!(
            (&event["type"], &event["verified"], &event["time"]),
            (&json!("crm.contact.created"), &json!(name), &json!("2026-01-01T00:00:00Z"))
        );
    }
    // The same id with another body is kept and shown, and it is no second contact.
    let other = body.replace("\"id\":1", "\"id\":2");
    let (status, answer) = post_standard(&daemon, "m1", &other, 0, STANDARD_OLD).await;
    assert_eq!(status, 202);
    let event = daemon.get(&format!("/api/v1/events/{}", answer["events"][0].as_str().expect("an id"))).await;
    assert_eq!(event["conflict"], true);
    // The same id at another source is another event.
    let signature = sign(other.as_bytes(), GITHUB);
    let (status, answer) = post(&daemon, "/hooks/own", &[("X-Sig", signature.as_str()), ("X-Id", "m1")], &other).await;
    let event = daemon.get(&format!("/api/v1/events/{}", answer["events"][0].as_str().expect("an id"))).await;
    assert_eq!((status, &event["conflict"], &event["key"]), (202, &Value::Null, &json!("source:own|event|m1||")));
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &config.replace(&format!("\"{STANDARD_OLD}\", "), ""));
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(post_standard(&daemon, "m3", &body, 0, STANDARD_OLD).await.0, 401);
    assert_eq!(post_standard(&daemon, "m4", &body, 0, STANDARD_NEW).await.0, 202);
}

#[tokio::test]
async fn cloud_events_fold_whichever_way_they_come() {
    let folder = folder();
    let daemon = Daemon::start(&folder).await;
    let signed = async |headers: &[(&str, &str)], body: &str| {
        let signature = sign(body.as_bytes(), GITHUB);
        let all: Vec<(&str, &str)> = headers.iter().copied().chain([("X-Sig", signature.as_str())]).collect();
        post(&daemon, "/hooks/own", &all, body).await
    };
    let event = json!({"specversion": "1.0", "id": "e1", "source": "/shop", "type": "order.made", "subject": "o/1", "data": {"n": 1}});
    let (status, answer) = signed(&[("Content-Type", "application/cloudevents+json")], &event.to_string()).await;
    assert_eq!((status, answer["folded"].as_u64()), (202, Some(0)), "{answer}");
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.made"),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(signed(&attributes, "{\"n\":1}").await.1["folded"].as_u64(), Some(1));
    let mut second = event.clone();
    second["id"] = "e2".into();
    let media = [("Content-Type", "application/cloudevents-batch+json")];
    let (_, answer) = signed(&media, &json!([event, second]).to_string()).await;
    assert_eq!((answer["events"].as_array().map(Vec::len), answer["folded"].as_u64()), (Some(1), Some(1)));
    assert_eq!(signed(&media, "[]").await, (202, json!({"events": [], "folded": 0})));
    let events = daemon.list("/api/v1/events?source=own").await;
    let shown: Vec<_> =
        events.iter().map(|event| (event["type"].as_str(), event["subject"].as_str(), event["key"].as_str(), &event["data"])).collect();
    let row = |key| (Some("own.order.made"), Some("o/1"), Some(key), &event["data"]);
    assert_eq!(shown, [row("source:own|cloudevent|/shop|e1|"), row("source:own|cloudevent|/shop|e2|")]);
}

#[tokio::test]
async fn send_signs_as_each_service_and_events_print_as_cloud_events() {
    let folder = folder();
    folder.write("push.json", "{\"ref\": \"refs/heads/x\", \"pusher\": {\"name\": \"bo\"}}");
    folder.write("mention.json", "{\"type\": \"event_callback\", \"event_id\": \"Ev9\", \"event\": {\"type\": \"app_mention\"}}");
    folder.write("made.json", "{\"type\": \"made\"}");
    let daemon = Daemon::start(&folder).await;
    let run = |arguments: &[&str]| {
        let output = folder.output(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    for arguments in [
        &["send", "--source", "github", "--type", "push", "push.json"][..],
        &["send", "--source", "slack", "mention.json"],
        &["send", "--source", "crm", "made.json"],
        &["send", "--source", "own", "made.json"],
    ] {
        let (code, text) = run(arguments);
        assert!(code == Some(0) && text.contains("202"), "{arguments:?}: {text}");
    }
    for (arguments, why) in [
        (&["send", "--source", "github", "push.json"][..], "name the event with --type"),
        (&["send", "--source", "slack", "--type", "app_mention", "mention.json"], "leave --type out"),
        (&["send", "--source", "crm"], "give the body"),
        (&["send", "--source", "github", "-H", "nonsense", "push.json"], "is no header"),
        (&["send", "--source", "hook", "--type", "job.faulted", "push.json"], "leave --type out"),
    ] {
        let (code, text) = run(arguments);
        assert!(code == Some(2) && text.contains(why), "{arguments:?}: {text}");
    }
    let (code, text) = run(&["events", "list", "--source", "github", "--format", "cloudevents"]);
    assert_eq!(code, Some(0), "{text}");
    let cloud: Value = serde_json::from_str(text.trim()).expect("one line");
    assert_eq!(
        (&cloud["specversion"], &cloud["type"], &cloud["source"]),
        (&json!("1.0"), &json!("github.push"), &json!("tripline:github"))
    );
    assert_eq!(cloud["data"]["pusher"]["name"], "bo");
    let (_, text) = run(&["events", "show", cloud["id"].as_str().expect("an id"), "--format", "cloudevents"]);
    assert_eq!(serde_json::from_str::<Value>(&text).expect("json"), cloud);
    assert_eq!(run(&["events", "list", "--json", "--format", "text"]).0, Some(2));
    // A body of such a service is explained with the header that names its event.
    let (code, text) = run(&["explain", "--source", "github", "-H", "X-GitHub-Event: push", "push.json"]);
    assert!(code == Some(0) && text.contains("github.push") && text.contains("matched"), "{text}");
    let (_, text) = run(&["explain", "--source", "github", "push.json"]);
    assert!(text.contains("github.unknown") && text.contains("give it with --header"), "{text}");
    drop(daemon);
}
