//! The connectors that come with it: their files pass the check and their own tests, and what rules call with them goes out as
//! the vendors document it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use serde_json::json;
use tripline::connectors::{Connectors, Test, Tested};
use tripline::fault::SourceText;
use tripline::time::Timestamp;

use crate::support::{Came, Daemon, Folder, Reply, Service, failed_item, until};

/// The files in `connectors/`.
fn files() -> Vec<Arc<SourceText>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors");
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| Arc::new(SourceText { text: std::fs::read_to_string(&path).expect("text"), path });
    paths.into_iter().map(read).collect()
}

#[test]
fn their_files_have_no_fault_and_their_tests_pass() {
    let (connectors, faults) = Connectors::load(&files(), None);
    let lines: Vec<String> = faults.iter().map(tripline::fault::Fault::one_line).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    let names: Vec<&str> = connectors.iter().map(|connector| &*connector.name).collect();
    assert_eq!(names, ["camunda", "dalle", "github", "jira", "pagerduty", "servicenow", "slack", "teams"]);
    let now = Timestamp::parse_lenient("2026-02-03T04:05:06Z").expect("a moment");
    let mut failed = Vec::new();
    for connector in connectors.iter() {
        for report in connector.test(now).into_iter().filter(|report| !report.passed) {
            failed.push(format!("{}: {}: {}", report.connector, report.name, report.why.unwrap_or_default()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn each_has_operations_a_word_on_errors_and_tests_of_them() {
    let (connectors, _) = Connectors::load(&files(), None);
    for connector in connectors.iter() {
        let name = &connector.name;
        assert!(connector.operations.len() >= 3, "{name}");
        let mapped = connector.errors.message.is_some() || !connector.after.is_empty();
        assert!(mapped, "{name} says nothing of the service's errors");
        assert!(connector.vendor_docs.as_deref().is_some_and(|docs| docs.starts_with("https://")), "{name}");
        let tested: BTreeSet<&str> = connector.tests.iter().filter_map(call_of).collect();
        assert!(tested.len() >= 3, "{name}: tests of {tested:?} only");
        let refused = connector.tests.iter().any(|test| test.expect.get("error").is_some());
        assert!(refused, "{name} has no test of an error");
        // What writes has a title, so that lists can be read.
        for operation in connector.operations.values() {
            assert!(operation.title.is_some(), "{name}.{}", operation.name);
        }
    }
}

/// The operation that a test is of.
fn call_of(test: &Test) -> Option<&str> {
    if let Tested::Call(call, _) = &test.what { Some(call) } else { None }
}

/// The trigger that a test is of.
fn trigger_of(test: &Test) -> Option<&str> {
    match &test.what {
        Tested::Call(..) => None,
        Tested::Poll(trigger, _) | Tested::Delivery(trigger, _) => Some(trigger),
    }
}

#[test]
fn each_trigger_has_a_test_and_a_word_on_what_it_is() {
    let (connectors, _) = Connectors::load(&files(), None);
    let mut with = Vec::new();
    for connector in connectors.iter() {
        for trigger in connector.triggers.values() {
            let name = format!("{}.{}", connector.name, trigger.name);
            assert!(connector.tests.iter().any(|test| trigger_of(test) == Some(&trigger.name)), "{name} has no test");
            assert!(trigger.description.is_some(), "{name}");
            with.push(name);
        }
    }
    assert_eq!(
        with,
        [
            "github.events",
            "github.issue_changed",
            "jira.events",
            "jira.issue_changed",
            "pagerduty.events",
            "servicenow.incident_changed",
            "slack.events"
        ]
    );
}

#[test]
fn the_sources_of_the_documentation_find_their_triggers() {
    for (page, begin) in [
        ("docs/connectors.md", "# tripline.yaml\nconnectors:\n  files: connectors/\n  config: {servicenow"),
        ("connectors/README.md", "sources:\n"),
    ] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page");
        let begin = text.find(begin).unwrap_or_else(|| panic!("{page} has no such example"));
        let example = &text[begin..begin + text[begin..].find("```").expect("its end")];
        let folder = Folder::new("http://127.0.0.1:9");
        let rest = "connectors: {files: connectors/, config: {servicenow: {url: \"https://acme.service-now.com\"}}}\n";
        let text = if example.contains("connectors:\n") { example.to_owned() } else { format!("{example}{rest}") };
        folder.write("tripline.yaml", &text);
        std::fs::create_dir(folder.path("connectors")).expect("a folder");
        for name in ["servicenow.yaml", "pagerduty.yaml"] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors").join(name);
            std::fs::copy(file, folder.path("connectors").join(name)).expect("copied");
        }
        folder.rule("any", "rule: any\nevents: incidents.updated\nsteps: [{emit: {type: acme.seen}}]\n");
        let output = folder.output(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("2 sources"), "{page}: {said}");
    }
}

#[test]
fn the_list_of_them_is_complete() {
    let page = include_str!("../../connectors/README.md");
    let (connectors, _) = Connectors::load(&files(), None);
    for connector in connectors.iter() {
        for operation in connector.operations.keys() {
            assert!(page.contains(&**operation), "connectors/README.md does not name {}.{operation}", connector.name);
        }
        for trigger in connector.triggers.keys() {
            assert!(page.contains(&**trigger), "connectors/README.md does not name {}.{trigger}", connector.name);
        }
    }
    for file in files() {
        let name = file.path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(page.contains(&format!("]({name})")), "connectors/README.md does not name {name}");
    }
}

/// All services in one server: what each answers to the beginning of a request line, as its vendor documents it.
const ANSWERS: &[(&str, u16, &str)] = &[
    ("POST /slack/chat.postMessage", 200, r#"{"ok": true, "channel": "C1", "ts": "1503435956.000247", "message": {"text": "x"}}"#),
    ("POST /slack/reactions.add", 200, r#"{"ok": false, "error": "channel_not_found"}"#),
    ("POST /teams/triggers/manual/paths/invoke?", 202, ""),
    (
        "POST /servicenow/api/now/table/incident?",
        201,
        r#"{"result": {"sys_id": "9d38", "number": "INC0010023", "state": "New", "active": "true"}}"#,
    ),
    ("POST /jira/rest/api/3/issue ", 201, r#"{"id": "10000", "key": "FIN-24", "self": "http://jira/rest/api/3/issue/10000"}"#),
    (
        "POST /github/repos/acme/robots/issues ",
        201,
        r#"{"id": 1, "number": 1347, "html_url": "http://github/acme/robots/issues/1347", "state": "open"}"#,
    ),
    ("POST /pagerduty/enqueue ", 202, r#"{"status": "success", "message": "Event processed", "dedup_key": "item-7"}"#),
    (
        "POST /openai/images/generations ",
        200,
        r#"{"created": 1, "data": [{"url": "http://images/1.png", "revised_prompt": "a kind robot"}]}"#,
    ),
    ("POST /login/token ", 200, r#"{"access_token": "camunda-access-token", "token_type": "Bearer", "expires_in": 300}"#),
    ("POST /camunda/v2/messages/publication ", 200, r#"{"tenantId": "<default>", "messageKey": "2251799813685249"}"#),
];

/// The vendors, until they are dropped.
async fn vendors() -> Service {
    let answer = |came: &Came| {
        let (_, status, text) = ANSWERS.iter().find(|(line, _, _)| came.head.starts_with(line)).unwrap_or(&("", 404, "{}"));
        Reply::json(*status, *text)
    };
    Service::start(answer).await
}

/// Each secret is its own name, so that one that goes astray tells where it comes from.
const SECRETS: &[&str] = &[
    "SLACK_BOT_TOKEN",
    "TEAMS_WORKFLOW_SIG",
    "SERVICENOW_USERNAME",
    "SERVICENOW_PASSWORD",
    "JIRA_EMAIL",
    "JIRA_API_TOKEN",
    "GITHUB_TOKEN",
    "PAGERDUTY_ROUTING_KEY",
    "OPENAI_API_KEY",
    "CAMUNDA_CLIENT_ID",
    "CAMUNDA_CLIENT_SECRET",
];

const RULES: &str = r##"
rule: tell-all
events: queueItem.transactionFailed
steps:
  - id: slack
    call: {connector: slack, operation: post_message, with: {channel: "#ops", text: "item ${item.Id}"}}
  - call: {connector: teams, operation: post_alert, with: {title: "item ${item.Id}", facts: {Queue: "${queue.Name}"}}}
  - id: servicenow
    call: {connector: servicenow, operation: create_incident, with: {short_description: failed, correlation_id: "${item.Reference}"}}
  - id: jira
    call: {connector: jira, operation: create_issue, with: {project: FIN, summary: failed, label: "${item.Reference}", description: boom}}
  - id: github
    call: {connector: github, operation: create_issue, with: {owner: acme, repo: robots, title: failed, labels: [rpa]}}
  - id: pagerduty
    call: {connector: pagerduty, operation: trigger_alert, with: {summary: failed, dedup_key: "item-${item.Id}"}}
  - id: dalle
    call: {connector: dalle, operation: generate_image, with: {prompt: a robot}}
  - id: camunda
    call: {connector: camunda, operation: publish_message, with: {name: item-failed, correlation_key: "${item.Reference}", message_id: "${event.id}"}}
---
rule: react
events: queueItem.transactionFailed
steps:
  - call: {connector: slack, operation: add_reaction, with: {channel: C1, ts: "1.2", name: eyes}}
"##;

fn folder(vendors: &Service) -> Folder {
    let folder = Folder::new("http://127.0.0.1:9");
    std::fs::create_dir(folder.path("connectors")).expect("a folder");
    for file in files() {
        let name = file.path.file_name().expect("a name").to_string_lossy().into_owned();
        folder.write(&format!("connectors/{name}"), &file.text);
    }
    let at = format!("http://{}", vendors.address);
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let connectors = format!(
        "connectors:\n  files: connectors/\n  config:\n    slack: {{url: \"{at}/slack\"}}\n    teams: {{url: \"{at}/teams\"}}\n    servicenow: {{url: \"{at}/servicenow\"}}\n    jira: {{url: \"{at}/jira\"}}\n    github: {{url: \"{at}/github\"}}\n    pagerduty: {{url: \"{at}/pagerduty\"}}\n    dalle: {{url: \"{at}/openai\"}}\n    camunda: {{url: \"{at}/camunda\", token_url: \"{at}/login/token\"}}\n"
    );
    folder.write("tripline.yaml", &format!("{config}{connectors}"));
    folder.rule("tell", RULES);
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rules_call_goes_out_as_each_vendor_documents_it() {
    let vendors = vendors().await;
    let folder = folder(&vendors);
    let secrets: Vec<String> = SECRETS.iter().map(|name| format!("export {name}=secret-{name}")).collect();
    let daemon = Daemon::start_after(&folder, &secrets.join("; ")).await;
    assert_eq!(daemon.deliver(&failed_item(7)).await.expect("an answer").0, 202);
    let run = until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().find(|run| run["rule"] == "tell-all")).await;
    let value = |id: &str| {
        let steps = run["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["id"] == id).map(|step| step["value"].clone()).unwrap_or_default()
    };
    assert_eq!(value("slack"), json!({"channel": "C1", "ts": "1503435956.000247"}));
    assert_eq!(value("servicenow"), json!({"sys_id": "9d38", "number": "INC0010023", "state": "New"}));
    assert_eq!(value("jira"), json!({"id": "10000", "key": "FIN-24"}));
    assert_eq!(value("github"), json!({"number": 1347, "url": "http://github/acme/robots/issues/1347", "state": "open"}));
    assert_eq!(value("pagerduty"), json!({"dedup_key": "item-7", "status": "success"}));
    assert_eq!(value("dalle"), json!([{"url": "http://images/1.png", "revised_prompt": "a kind robot"}]));
    assert_eq!(value("camunda"), json!({"key": "2251799813685249"}));

    let bearer = |came: &Came| came.header("authorization").map(str::to_owned);
    let slack = vendors.only("POST /slack/chat.postMessage ");
    assert_eq!(slack.json(), json!({"channel": "#ops", "text": "item 7"}), "what is not said is not sent");
    assert_eq!(bearer(&slack).as_deref(), Some("Bearer secret-SLACK_BOT_TOKEN"));
    let teams = vendors.only("POST /teams/");
    assert!(teams.head.starts_with("POST /teams/triggers/manual/paths/invoke?"), "{}", teams.head);
    for part in ["api-version=1", "sp=%2Ftriggers%2Fmanual%2Frun", "sv=1.0", "sig=secret-TEAMS_WORKFLOW_SIG"] {
        assert!(teams.head.lines().next().is_some_and(|line| line.contains(part)), "{part} in {}", teams.head);
    }
    let card = &teams.json()["attachments"][0]["content"];
    assert_eq!((&card["type"], &card["body"][1]["facts"][0]["value"]), (&json!("AdaptiveCard"), &json!("Invoices")));
    let basic = |came: &Came| {
        let encoded = came.header("authorization").and_then(|value| value.strip_prefix("Basic ")).expect("basic").to_owned();
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64")).expect("text")
    };
    let incident = vendors.only("POST /servicenow/api/now/table/incident?");
    assert_eq!(basic(&incident), "secret-SERVICENOW_USERNAME:secret-SERVICENOW_PASSWORD");
    assert_eq!(incident.json()["correlation_id"], "INV-7");
    let issue = vendors.only("POST /jira/rest/api/3/issue ");
    assert_eq!(basic(&issue), "secret-JIRA_EMAIL:secret-JIRA_API_TOKEN");
    assert_eq!(issue.json()["fields"]["description"]["content"][0]["content"][0]["text"], "boom");
    assert_eq!(issue.json()["fields"].get("priority"), None);
    let github = vendors.only("POST /github/repos/acme/robots/issues ");
    assert_eq!((github.header("accept"), github.header("x-github-api-version")), (Some("application/vnd.github+json"), Some("2022-11-28")));
    assert!(github.header("user-agent").is_some(), "GitHub refuses requests without one");
    let alert = vendors.only("POST /pagerduty/enqueue ");
    assert_eq!((&alert.json()["routing_key"], alert.header("authorization")), (&json!("secret-PAGERDUTY_ROUTING_KEY"), None));
    assert_eq!(vendors.only("POST /openai/images/generations ").json()["model"], "dall-e-3");
    let login = vendors.only("POST /login/token ");
    for part in ["grant_type=client_credentials", "audience=zeebe.camunda.io", "client_id=secret-CAMUNDA_CLIENT_ID"] {
        assert!(login.body.contains(part), "{part} in {}", login.body);
    }
    let message = vendors.only("POST /camunda/v2/messages/publication ");
    assert_eq!(bearer(&message).as_deref(), Some("Bearer camunda-access-token"));
    assert_eq!(message.json()["timeToLive"], 3_600_000);

    // A 200 that is an error ends the run with what the service said.
    let dead = until("the other run is dead", async || daemon.runs("dead").await.into_iter().next()).await;
    assert!(dead.to_string().contains("invite the app to the channel"), "{dead}");
    let shown = format!("{run}{dead}{}{}", daemon.get("/api/v1/runs").await, daemon.log());
    for name in SECRETS.iter().filter(|name| !name.ends_with("USERNAME") && !name.ends_with("EMAIL") && !name.ends_with("CLIENT_ID")) {
        assert!(!shown.contains(&format!("secret-{name}")), "{name} shows");
    }
}
