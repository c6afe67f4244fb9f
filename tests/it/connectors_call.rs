//! `tripline connector call` with the real binary: one request, pages, tests saved, Orchestrator as a connector.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Came, Endpoint, Folder, Manner, Reply, Service, start_sandbox};

const TOKEN: &str = "rt_canary-connector-token";

/// What a command gave: its code, stdout, stderr. No secret is in it.
async fn run(folder: &Folder, arguments: &[&str]) -> (i32, String, String) {
    let mut command = folder.command(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends");
    let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(!out.contains("canary") && !err.contains("canary"), "{out}{err}");
    (output.status.code().unwrap_or(-1), out, err)
}

fn with_connector(address: SocketAddr) -> Folder {
    let folder = Folder::new("http://127.0.0.1:9");
    let text = format!(
        "connector: shop # ours\nbase_url: http://{address}/v1\nconfig: {{region: eu}}\nauth: {{bearer: \"{TOKEN}\"}}\noperations:\n  order:\n    \
         method: POST\n    path: /orders\n    input: {{item: {{required: true}}, count: {{type: integer, default: 1}}}}\n    \
         body: {{item: \"${{input.item}}\", count: \"${{input.count}}\", region: \"${{config.region}}\"}}\n    \
         output: {{fields: {{id: \"${{entry.id}}\"}}}}\n    errors: {{message: \"${{response.body.why}}\"}}\n  list:\n    method: GET\n    \
         path: /orders\n    output: {{root: rows}}\n    paginate: {{page: {{param: page, size_param: size, size: 3}}, max: 9}}\n\n# the end\n"
    );
    folder.write("shop.yaml", &text);
    folder
}

#[tokio::test]
async fn a_call_shows_what_goes_and_what_comes_and_no_secret() {
    let endpoint = Endpoint::start(Manner::Answer(
        201,
        "Content-Type: application/json\r\nSet-Cookie: session=rt_canary\r\n",
        r#"{"id": 9007199254740993, "echo": "Bearer rt_canary-connector-token", "password": "p"}"#,
    ))
    .await;
    let folder = with_connector(endpoint.address);
    let call = ["connector", "call", "shop", "order", "--file", "shop.yaml", "--with", "item=pen"];
    let (code, out, _) = run(&folder, &[&call[..], &["--dry-run"]].concat()).await;
    assert!(code == 0 && out.contains("/v1/orders") && out.contains("authorization: Bearer ***") && out.contains("\"pen\""), "{out}");
    assert_eq!(endpoint.requests(), 0, "nothing is sent");
    let (code, out, err) = run(&folder, &call).await;
    assert!(code == 0 && out.contains("201 in") && out.contains("\"id\": 9007199254740993"), "{out}{err}");
    assert!(out.contains("set-cookie: ***") && out.contains("Bearer ***"), "{out}");
    let (code, out, _) = run(&folder, &[&call[..], &["--with", "count=3", "--json"]].concat()).await;
    let said: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!(code, 0);
    assert_eq!(said["request"]["body"], json!({"item": "pen", "count": 3, "region": "eu"}));
    assert_eq!((&said["output"], &said["response"]["status"]), (&json!({"id": 9_007_199_254_740_993_u64}), &json!(201)));
    // Saved as a test, with the comments where they were; the file's own tests pass.
    let (code, _, err) = run(&folder, &[&call[..], &["--save-test", "orders a pen"]].concat()).await;
    assert!(code == 0 && err.contains("saved"), "{err}");
    let text = std::fs::read_to_string(folder.path("shop.yaml")).expect("text");
    assert!(text.contains("connector: shop # ours") && text.contains("# the end") && text.contains("orders a pen"), "{text}");
    assert!(!text.replace(TOKEN, "").contains("canary") && text.contains("\"password\":\"***\""), "{text}");
    let (code, out, err) = run(&folder, &["connector", "test", "--file", "shop.yaml"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = run(&folder, &[&call[..], &["--save-test", "orders a pen"]].concat()).await;
    assert!(code == 1 && err.contains("already"), "{err}");
    // What goes wrong has its code and its reason.
    endpoint.now(Manner::Answer(422, "Content-Type: application/json\r\n", r#"{"why": "sold out"}"#));
    let (code, out, _) = run(&folder, &call).await;
    assert!(code == 1 && out.contains("sold out"), "{out}");
    for (more, expected, says) in [
        (vec!["connector", "call", "shop", "ordr", "--file", "shop.yaml"], 1, "did you mean `order`?"),
        (vec!["connector", "call", "shop", "order", "--file", "shop.yaml"], 1, "item"),
        (vec!["connector", "call", "shop", "order", "--file", "shop.yaml", "--with", "itm=x"], 1, "did you mean `item`?"),
        (vec!["connector", "call", "shop", "order", "--file", "shop.yaml", "--with", "count=many"], 2, "integer"),
        (vec!["connector", "call", "shop", "order", "--file", "none.yaml"], 2, "none.yaml"),
        (vec!["connector", "call", "nothing", "order"], 1, "nothing"),
    ] {
        let (code, out, err) = run(&folder, &more).await;
        assert!(code == expected && format!("{out}{err}").contains(says), "{more:?}: {code} {out}{err}");
    }
    let nobody = with_connector("127.0.0.1:9".parse().expect("an address"));
    let (code, out, err) = run(&nobody, &call).await;
    assert!(code == 2 && format!("{out}{err}").contains("cannot connect"), "{code} {out}{err}");
}

/// Answers `page=N` with three rows, the third with one; the second once with 429.
async fn pages() -> Service {
    let throttled = std::sync::atomic::AtomicBool::new(false);
    let answer = move |came: &Came| {
        let page = came.head.split("page=").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        let page: u64 = page.and_then(|page| page.parse().ok()).unwrap_or(0);
        let rows: Vec<Value> = (0..if page < 3 { 3 } else { 1 }).map(|n| json!({"id": page * 10 + n})).collect();
        if page == 2 && !throttled.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return Reply::Answer(429, "Retry-After: 1\r\n", String::new());
        }
        Reply::json(200, json!({ "rows": rows }).to_string())
    };
    Service::start(answer).await
}

#[tokio::test]
async fn all_pages_are_read_into_a_file_also_when_the_service_is_busy() {
    let service = pages().await;
    let folder = with_connector(service.address);
    let call = ["connector", "call", "shop", "list", "--file", "shop.yaml", "--all", "--out", "rows.ndjson"];
    let (code, out, err) = run(&folder, &call).await;
    assert!(code == 0 && err.contains("7 rows of 3 pages"), "{out}{err}");
    let rows = std::fs::read_to_string(folder.path("rows.ndjson")).expect("rows");
    let ids: Vec<Value> = rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row")["id"].clone()).collect();
    assert_eq!(ids, [10, 11, 12, 20, 21, 22, 30].map(Value::from));
    let (code, _, err) = run(&folder, &call).await;
    assert!(code == 1 && err.contains("--force"), "{err}");
    let (code, out, err) = run(&folder, &[&call[..8], &["-"]].concat()).await;
    assert!(code == 0 && out.lines().count() == 7, "{out}{err}");
}

#[tokio::test]
async fn orchestrator_is_a_connector_that_is_always_there() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    let text = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &text.replace("token: \"rt_canary-orchestrator-token\"", "token: sandbox-pat"));
    let add = [
        "connector",
        "call",
        "orchestrator",
        "add_queue_item",
        "--with",
        "queueName=Invoices",
        "--with",
        "specificContent={\"Amount\": 5}",
    ];
    let (code, out, err) = run(&folder, &[&add[..], &["--with", "reference=from-a-call", "--json"]].concat()).await;
    let said: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!((code, &said["output"]["status"]), (0, &json!("New")), "{out}{err}");
    assert!(!out.contains("sandbox-pat") && said["request"]["headers"]["authorization"] == "Bearer ***", "{out}");
    assert!(sandbox.references("Invoices").await.contains(&"from-a-call".to_owned()));
    let id = format!("itemId={}", said["output"]["itemId"]);
    let (code, out, err) =
        run(&folder, &["connector", "call", "orchestrator:prod", "get_queue_item_result_by_id", "--with", &id, "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!(
        (code, &said["output"]["itemStatus"], &said["output"]["reference"]),
        (0, &json!("New"), &json!("from-a-call")),
        "{out}{err}"
    );
    let (code, out, err) =
        run(&folder, &["connector", "call", "orchestrator", "request", "--with", "path=/odata/QueueDefinitions", "--json"]).await;
    assert!(code == 0 && out.contains("Invoices"), "{out}{err}");
    let (code, _, err) = run(&folder, &["connector", "call", "orchestrator", "request", "--with", "path=/../../x"]).await;
    assert!(code == 1 && err.contains("leave"), "{err}");
}
