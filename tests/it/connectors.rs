//! Connectors with the real daemon: the step `call` against a service that does as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Came, Daemon, Folder, Reply, Service, failed_item, until};

const TOKEN: &str = "rt_canary-connector-token";

/// A service that answers as its script says, and 500 behind its end; `None` closes the connection without an answer.
async fn service(script: &[Option<(u16, &'static str)>]) -> Service {
    let script = Mutex::new(VecDeque::from(script.to_vec()));
    let next = move |_: &Came| match script.lock().expect("whole").pop_front().unwrap_or(Some((500, "{}"))) {
        Some((status, text)) => Reply::json(status, text),
        None => Reply::Close,
    };
    Service::start(next).await
}

fn folder(service: &Service, rule: &str) -> Folder {
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let address = service.address;
    folder
        .write("tripline.yaml", &format!("{config}connectors: {{files: connectors/, config: {{chat: {{host: \"http://{address}\"}}}}}}\n"));
    std::fs::create_dir(folder.path("connectors")).expect("a folder");
    folder.write("connectors/chat.yaml", &connector());
    folder.rule("tell", rule);
    folder
}

fn connector() -> String {
    format!(
        r#"
connector: chat
base_url: ${{config.host}}/v1
config: {{host: {{}}}}
auth: {{bearer: "{TOKEN}"}}
retry: {{first_wait: 100ms, max_wait: 200ms}}
after: {{if: "has(response.body.ok) && !response.body.ok", fail: "chat says ${{response.body.error}}"}}
operations:
  post_message:
    method: POST
    path: /channels/${{input.channel}}/messages
    input: {{channel: {{required: true}}, text: {{required: true}}}}
    body: {{text: "${{input.text}}"}}
    before: {{headers: {{X-Run: "${{run.id}}"}}}}
    output: {{root: message, fields: {{id: "${{entry.id}}"}}}}
    errors: {{retry: [409]}}
  list_members:
    method: GET
    path: /channels/${{input.channel}}/members
    input: {{channel: {{required: true}}}}
    paginate: {{cursor: {{param: cursor, from: "response.body.?next.orValue('')"}}}}
    output: {{root: members, fields: {{name: "${{entry.name}}"}}}}
tests:
  - name: builds the request
    call: post_message
    with: {{channel: a/b, text: hi}}
    config: {{host: "https://chat.example.com"}}
    expect: {{method: POST, url: "https://chat.example.com/v1/channels/a%2Fb/messages", body: {{text: hi}}}}
"#
    )
}

const RULE: &str = r##"
rule: tell
events: queueItem.transactionFailed
steps:
  - id: said
    call: {connector: chat, operation: post_message, with: {channel: "#ops/../x", text: "item ${item.Id}"}}
  - emit: {type: told.people, data: {message: "${steps.said.id}"}}
"##;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_calls_an_operation_and_uses_its_value() {
    let service =
        service(&[Some((503, "{}")), Some((409, "{}")), Some((200, r#"{"ok": true, "message": {"id": 9007199254740993}}"#))]).await;
    let folder = folder(&service, RULE);
    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.deliver(&failed_item(7)).await.expect("an answer").0, 202);
    let run = until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    assert_eq!(run["steps"][0]["value"], json!({"id": 9_007_199_254_740_993_u64}), "{run}");
    let came = service.came();
    assert_eq!(came.len(), 3, "5xx and what the file names are tried again");
    let keys: Vec<_> = came.iter().filter_map(|came| came.header("idempotency-key")).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "one key for every attempt: {keys:?}");
    let first = &came[0];
    assert!(first.head.starts_with("POST /v1/channels/%23ops%2F..%2Fx/messages "), "{first:?}");
    assert_eq!(first.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(first.header("x-run"), run["id"].as_str());
    assert_eq!(first.body, r#"{"text":"item 7"}"#);
    let shown = daemon.get(&format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"))).await.to_string();
    assert!(!shown.contains(TOKEN) && !daemon.log().contains(TOKEN), "no secret shows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_reads_all_pages_of_a_list_where_it_says_so() {
    let pages = [
        Some((200, r#"{"members": [{"name": "Ada"}, {"name": "Bo"}], "next": "c2"}"#)),
        Some((503, "{}")),
        Some((200, r#"{"members": [{"name": "Ada"}, {"name": "Bo"}], "next": "c2"}"#)),
        Some((200, r#"{"members": [{"name": "Cy"}]}"#)),
    ];
    let service = service(&pages).await;
    let rule = RULE.replace(
        "post_message, with: {channel: \"#ops/../x\", text: \"item ${item.Id}\"}",
        "list_members, all: true, with: {channel: ops}",
    );
    let folder = folder(&service, &rule.replace("steps.said.id", "size(steps.said)"));
    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.deliver(&failed_item(7)).await.expect("an answer").0, 202);
    let run = until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    assert_eq!(run["steps"][0]["value"], json!([{"name": "Ada"}, {"name": "Bo"}, {"name": "Cy"}]), "{run}");
    let heads: Vec<_> = service.came().iter().map(|came| came.head.lines().next().unwrap_or_default().to_owned()).collect();
    let (first, next) = ("GET /v1/channels/ops/members HTTP/1.1", "GET /v1/channels/ops/members?cursor=c2 HTTP/1.1");
    assert_eq!(heads, [first, next, first, next], "a page that fails begins the list again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_knows_and_what_the_service_refuses_is_told() {
    let service = service(&[None, Some((200, r#"{"ok": false, "error": "channel_not_found"}"#))]).await;
    let folder = folder(&service, RULE);
    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.deliver(&failed_item(1)).await.expect("an answer").0, 202);
    let run = until("the run is ambiguous", async || daemon.runs("ambiguous").await.into_iter().next()).await;
    assert_eq!(run["cause"], "unknown_outcome", "{run}");
    assert_eq!(daemon.deliver(&failed_item(2)).await.expect("an answer").0, 202);
    let run = until("the run is dead", async || daemon.runs("dead").await.into_iter().next()).await;
    assert_eq!(run["cause"], "refused", "{run}");
    assert_eq!(run["steps"][0]["attempts"][0]["error"], "chat says channel_not_found", "{run}");
    assert_eq!(service.count(), 2, "neither is sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_changes_makes_a_new_generation() {
    let service = service(&[Some((200, r#"{"message": {"id": 1}}"#))]).await;
    let folder = folder(&service, RULE);
    let daemon = Daemon::start(&folder).await;
    folder.write("connectors/chat.yaml", &connector().replace("/channels/", "/rooms/"));
    until("the change is read", async || daemon.log().contains("\"generation\":2").then_some(())).await;
    assert_eq!(daemon.deliver(&failed_item(1)).await.expect("an answer").0, 202);
    until("the run succeeds", async || daemon.runs("succeeded").await.into_iter().next()).await;
    assert!(service.came()[0].head.starts_with("POST /v1/rooms/"), "{:?}", service.came());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connectors_are_listed_shown_and_tested() {
    let service = service(&[]).await;
    let folder = folder(&service, RULE);
    let run = |arguments: &[&str]| {
        let output = folder.output(arguments);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains(TOKEN), "{text}");
        (output.status.code(), text)
    };
    let json = |arguments: &[&str]| serde_json::from_str::<Value>(&run(arguments).1).expect("JSON");
    let (code, text) = run(&["check"]);
    assert!(code == Some(0) && text.contains("1 connector"), "{text}");
    let (_, listed) = run(&["connector", "list", "--json"]);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<_> = listed.iter().filter_map(|one| one["connector"].as_str()).collect();
    assert_eq!(names, ["chat", "orchestrator", "orchestrator:prod"], "those of files, and those that are always there");
    let shown = json(&["connector", "show", "chat", "--json"]);
    assert_eq!(shown["operations"][0]["input"][0]["name"], "channel", "{shown}");
    let (code, text) = run(&["connector", "show", "chta"]);
    assert!(code == Some(1) && text.contains("did you mean `chat`?"), "{text}");
    assert_eq!(json(&["connector", "test", "--json"])["passed"], 1);
    assert_eq!(json(&["test", "--json"])["tests"][0]["connector"], "chat");
    assert_eq!(run(&["connector", "test", "--file", "connectors/chat.yaml"]).0, Some(0));
    folder.write("connectors/chat.yaml", &connector().replace("text: hi}}", "text: ho}}").replace("body: {text: hi}", "body: {text: no}"));
    let (code, text) = run(&["connector", "test"]);
    assert!(code == Some(1) && text.contains("body.text: expected"), "{text}");
    folder.write("connectors/chat.yaml", &connector().replace("path: /channels", "path: ../channels"));
    let (code, text) = run(&["check"]);
    assert!(code == Some(1) && text.contains("connectors/chat.yaml:11:11"), "{text}");
    let (code, text) = run(&["schema", "connector"]);
    assert!(code == Some(0) && text.contains("base_url"), "{text}");
}

/// What people copy from the documentation passes, and editors agree.
#[test]
fn the_example_of_the_documentation_passes() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/connectors.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let begin = page.find("connector: images\n").expect("the example");
    let example = &page[begin..begin + page[begin..].find("```").expect("its end")];
    let folder = Folder::new("http://127.0.0.1:9");
    folder.write("images.yaml", example);
    let output = folder.output(&["connector", "test", "--file", "images.yaml"]);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let schema: Value = serde_json::from_slice(&folder.output(&["schema", "connector"]).stdout).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for text in [example, &connector()] {
        let source = Arc::new(tripline::fault::SourceText { path: "images.yaml".into(), text: text.to_owned() });
        let document = tripline::yaml::parse(&source).expect("YAML")[0].to_json();
        let errors: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}
