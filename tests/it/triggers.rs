//! Triggers of connectors as sources: polled from a service that misbehaves, delivered by one that signs, with the real daemon.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tripline::time::Timestamp;

use crate::support::{Daemon, Folder, http, listen, sign, until};

const TOKEN: &str = "rt_canary-trigger-token";
const SECRET: &str = "canary-desk-secret-0123456789";

/// What goes wrong with an answer.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Status(u16),
    Closed,
    Truncated,
    Html,
}

/// Rows of the service, and how its next answers go wrong.
#[derive(Debug, Default)]
struct Shared {
    rows: Vec<Value>,
    wrong: VecDeque<Wrong>,
    heads: Vec<String>,
}

/// A service that lists contacts, three a page, oldest change first.
struct Crm {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _task: JoinSet<()>,
}

const PAGE: usize = 3;

impl Crm {
    async fn start() -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let served = Arc::clone(&shared);
        let (address, task) = listen(move |stream| serve(stream, Arc::clone(&served))).await;
        Self { address, shared, _task: task }
    }

    fn put(&self, row: Value) {
        let mut shared = self.shared.lock().expect("whole");
        shared.rows.retain(|other| other["id"] != row["id"]);
        shared.rows.push(row);
    }

    fn go_wrong(&self, wrong: &[Wrong]) {
        self.shared.lock().expect("whole").wrong.extend(wrong);
    }

    fn heads(&self) -> Vec<String> {
        self.shared.lock().expect("whole").heads.clone()
    }

    fn is_sound(&self) -> bool {
        self.shared.lock().expect("whole").wrong.is_empty()
    }
}

/// The value of a parameter of the request line.
fn parameter(head: &str, name: &str) -> Option<String> {
    let query = head.split(' ').nth(1)?.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

fn page(shared: &Shared, head: &str) -> String {
    let stamp = |row: &Value| row["updated"].as_str().and_then(Timestamp::parse_lenient);
    let since = parameter(head, "since").and_then(|text| Timestamp::parse_lenient(&text));
    let mut rows: Vec<&Value> = shared.rows.iter().filter(|row| stamp(row).is_none() || stamp(row) >= since).collect();
    rows.sort_by_key(|row| stamp(row));
    let number: usize = parameter(head, "page").map_or(1, |text| text.parse().expect("a number"));
    let rows: Vec<&Value> = rows.into_iter().skip((number - 1) * PAGE).take(PAGE).collect();
    json!({ "contacts": rows }).to_string()
}

async fn serve(stream: TcpStream, shared: Arc<Mutex<Shared>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let (wrong, text) = {
            let mut shared = shared.lock().expect("whole");
            let text = page(&shared, &head);
            shared.heads.push(head);
            (shared.wrong.pop_front(), text)
        };
        let (status, media, text) = match wrong {
            None => (200, "application/json", text),
            Some(Wrong::Status(status)) => (status, "application/json", "{\"message\": \"not now\"}".to_owned()),
            Some(Wrong::Html) => (200, "text/html", "<html>maintenance</html>".to_owned()),
            Some(Wrong::Truncated) => {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", text.len(), &text[..text.len() / 2]);
                return stream.write_all(answer.as_bytes()).await;
            }
            Some(Wrong::Closed) => return Ok(()),
        };
        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// The time of this machine, moved by some milliseconds.
fn stamp(moved: i64) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    Timestamp::from_millis(i64::try_from(now).expect("small") + moved).to_string()
}

/// A contact that was made and changed so many milliseconds ago.
fn contact(id: u64, made: i64, changed: i64) -> Value {
    json!({"id": id, "name": format!("contact {id}"), "created": stamp(-made), "updated": stamp(-changed)})
}

fn connector() -> String {
    format!(
        r#"
connector: crm
base_url: ${{config.host}}/v1
config: {{host: {{}}}}
auth: {{bearer: "{TOKEN}"}}
operations:
  list:
    method: GET
    path: /contacts
    input: {{since: {{type: date-time}}}}
    query: {{since: "${{input.since}}"}}
    paginate: {{page: {{param: page, size: {PAGE}}}}}
    output: {{root: contacts}}
triggers:
  contact:
    poll: {{operation: list, with: {{since: "${{cursor}}"}}, cursor: entry.updated, id: entry.id, created: entry.created}}
  told:
    webhook: {{scheme: custom, header: X-Crm-Signature, encoding: base64, type: body.what, id: headers.x-crm-id, time: body.at}}
  spoken:
    webhook: {{scheme: slack}}
"#
    )
}

fn folder(address: SocketAddr, sources: &str) -> Folder {
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    let connectors = format!("connectors: {{files: connectors/, config: {{crm: {{host: \"http://{address}\"}}}}}}\n");
    folder.write("tripline.yaml", &format!("{config}{sources}{connectors}"));
    std::fs::create_dir(folder.path("connectors")).expect("a folder");
    folder.write("connectors/crm.yaml", &connector());
    folder
}

const POLL: &str = "  crm: {poll: {connector: crm, trigger: contact, every: 1s}}\n";

/// What is shown of the source `crm`.
async fn shown(daemon: &Daemon) -> Value {
    let sources = daemon.get("/api/v1/sources").await;
    let items = sources["items"].as_array().expect("a list");
    items.iter().find(|item| item["source"] == "crm").cloned().unwrap_or_default()
}

/// Awaits that the source was read without a failure after now.
async fn until_read(daemon: &Daemon) {
    let before = shown(daemon).await["known_until"].clone();
    until("the source is read", async || {
        let shown = shown(daemon).await;
        (shown["failure"].is_null() && shown["known_until"] != before && !shown["known_until"].is_null()).then_some(())
    })
    .await;
}

/// How often each change was told: type and id.
async fn told(daemon: &Daemon) -> BTreeMap<(String, u64), usize> {
    let mut told = BTreeMap::new();
    for event in daemon.list("/api/v1/events?source=crm").await {
        let kind = event["type"].as_str().expect("a type").to_owned();
        *told.entry((kind, event["data"]["id"].as_u64().expect("an id"))).or_default() += 1;
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_comes_once_whatever_kills_and_faults_come_between() {
    let crm = Crm::start().await;
    let folder = folder(crm.address, POLL);
    folder.rule("greet", "rule: greet\nevents: crm.created\nsteps: [{emit: {type: acme.greeted, data: {id: \"${data.id}\"}}}]\n");
    // What was there before the first start brings no events.
    for id in 1..=7 {
        crm.put(contact(id, 60_000, 50_000));
    }
    let mut daemon = Daemon::start(&folder).await;
    until_read(&daemon).await;
    assert_eq!(told(&daemon).await, BTreeMap::new());
    let wrongs = [Wrong::Status(503), Wrong::Closed, Wrong::Truncated, Wrong::Html, Wrong::Status(502), Wrong::Status(500)];
    let mut expected = BTreeMap::new();
    for round in 0..6_u64 {
        for id in (100 + round * 10)..(100 + round * 10 + 8) {
            crm.put(contact(id, 0, 0));
            expected.insert(("crm.created".to_owned(), id), 1);
        }
        // One that was there long ago is changed.
        crm.put(contact(1 + round, 3_600_000, 0));
        expected.insert(("crm.updated".to_owned(), 1 + round), 1);
        // In the middle of the pages, as the round has it.
        let position = usize::try_from(round).expect("small");
        crm.go_wrong(&[wrongs[position], wrongs[(position + 2) % wrongs.len()]]);
        if round % 2 == 0 {
            let seen = crm.heads().len();
            until("the next pass has begun", async || (crm.heads().len() > seen + position % 3).then_some(())).await;
            daemon.kill9();
            daemon = Daemon::start(&folder).await;
        }
        until("the service has gone wrong", async || crm.is_sound().then_some(())).await;
        until("all is told", async || (told(&daemon).await.len() == expected.len()).then_some(())).await;
    }
    until_read(&daemon).await;
    assert_eq!(told(&daemon).await, expected, "each once");
    let created = expected.keys().filter(|(kind, _)| kind == "crm.created").count();
    until("the rule has seen each", async || (daemon.list("/api/v1/events?type=acme.greeted").await.len() == created).then_some(())).await;
    let event = &daemon.list("/api/v1/events?type=crm.updated").await[0];
    assert_eq!((&event["via"], &event["key"].as_str().expect("a key")[..17]), (&json!("poll"), "source:crm|row|1|"));
    let heads = crm.heads();
    assert!(heads.iter().all(|head| head.to_ascii_lowercase().contains(&format!("authorization: bearer {TOKEN}").to_ascii_lowercase())));
    assert!(heads.iter().any(|head| parameter(head, "page").as_deref() == Some("3")), "pages are read to their end");
    assert!(heads.last().and_then(|head| parameter(head, "since")).is_some(), "only what is new is asked for");
    let metrics = daemon.get("/metrics").await;
    let metrics = metrics.as_str().expect("text");
    for line in ["tripline_poll_requests_total{source=\"crm\",endpoint=\"list\"}", "tripline_poll_cursor_age_seconds{source=\"crm\"}"] {
        assert!(metrics.contains(line), "{line}");
    }
    assert!(!daemon.log().contains(TOKEN) && !shown(&daemon).await.to_string().contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_without_what_it_needs_stops_its_source_and_nothing_is_passed_over() {
    let crm = Crm::start().await;
    let folder = folder(crm.address, POLL);
    let daemon = Daemon::start(&folder).await;
    until_read(&daemon).await;
    crm.put(json!({"id": 2, "name": "no time", "created": stamp(0)}));
    crm.put(contact(1, 0, 0));
    let failure = until("it is told", async || shown(&daemon).await["failure"].as_str().map(str::to_owned)).await;
    assert!(failure.contains("`cursor` (`entry.updated`)"), "{failure}");
    assert!(told(&daemon).await.is_empty(), "nothing of the pass is taken");
    let gap = "tripline_coverage_gap_seconds{source=\"crm\"} 0\n";
    until("the gap grows", async || (!daemon.get("/metrics").await.as_str().expect("text").contains(gap)).then_some(())).await;
    crm.put(contact(2, 0, 0));
    until("both are told", async || (told(&daemon).await.len() == 2).then_some(())).await;
    until("it is read well again", async || shown(&daemon).await["failure"].is_null().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_begins_ends_and_goes_on_with_triggers() {
    let crm = Crm::start().await;
    let folder = folder(crm.address, POLL);
    crm.put(contact(1, 0, 0));
    let daemon = Daemon::start(&folder).await;
    until_read(&daemon).await;
    let with = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &with.replace(POLL, ""));
    assert_eq!(daemon.post("/api/v1/reload").await.0, 200);
    until("it is read no more", async || shown(&daemon).await.is_null().then_some(())).await;
    // What comes meanwhile is brought when the source is there again.
    crm.put(contact(2, 0, 0));
    folder.write("tripline.yaml", &with.replace("every: 1s", "every: 2s"));
    assert_eq!(daemon.post("/api/v1/reload").await.0, 200);
    until("it is told", async || told(&daemon).await.contains_key(&("crm.created".to_owned(), 2)).then_some(())).await;
    until("it is shown as it is now", async || (shown(&daemon).await["every"] == "2s").then_some(())).await;
    assert!(!told(&daemon).await.contains_key(&("crm.created".to_owned(), 1)));
    // A connector's file that loses the trigger is refused, and the old one stays.
    folder.write("connectors/crm.yaml", &connector().replace("  contact:\n", "  person:\n"));
    let (status, answer) = daemon.post("/api/v1/reload").await;
    assert!(status == 422 || status == 400 || status == 409, "{status} {answer}");
    assert!(answer.to_string().contains("no trigger `contact`"), "{answer}");
    crm.put(contact(3, 0, 0));
    until("it is told", async || told(&daemon).await.contains_key(&("crm.created".to_owned(), 3)).then_some(())).await;
}

async fn post(daemon: &Daemon, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut request = http().post(format!("http://{}{path}", daemon.ingress)).timeout(Duration::from_secs(20)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

fn slack_headers(body: &str, secret: &str) -> [(&'static str, String); 2] {
    let time = (std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()).to_string();
    let mac = STANDARD.decode(sign(format!("v0:{time}:{body}").as_bytes(), secret)).expect("base64");
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    [("X-Slack-Request-Timestamp", time), ("X-Slack-Signature", format!("v0={hex}"))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_of_a_connector_is_taken_when_it_is_signed_as_the_connector_says() {
    let sources = format!(
        "  desk: {{webhook: {{connector: crm, trigger: told, secrets: [\"{SECRET}\"]}}}}\n  chat: {{webhook: {{connector: crm, trigger: spoken, secrets: [\"{SECRET}\"], path: /in/chat}}}}\n"
    );
    let folder = folder("127.0.0.1:9".parse().expect("an address"), &sources);
    folder.rule("act", "rule: act\nevents: desk.ticket.made\nsteps: [{emit: {type: acme.acted, data: {n: \"${data.n}\"}}}]\n");
    folder.write("ticket.json", "{\"what\": \"ticket.made\", \"n\": 8}");
    let daemon = Daemon::start(&folder).await;
    let body = json!({"what": "ticket.made", "n": 7, "at": "2026-01-02T03:04:05Z"}).to_string();
    let (good, bad) = (sign(body.as_bytes(), SECRET), sign(body.as_bytes(), "another secret of the desk"));
    assert_eq!(post(&daemon, "/hooks/desk", &[("X-Crm-Signature", &bad), ("X-Crm-Id", "t7")], &body).await.0, 401);
    assert_eq!(post(&daemon, "/hooks/desk", &[("X-Crm-Id", "t7")], &body).await.0, 401);
    // Nor as Orchestrator would sign it.
    assert_eq!(post(&daemon, "/hooks/desk", &[("X-UiPath-Signature", &good), ("X-Crm-Id", "t7")], &body).await.0, 401);
    assert_eq!(daemon.list("/api/v1/events?source=desk").await.len(), 0);
    let signed = [("X-Crm-Signature", good.as_str()), ("X-Crm-Id", "t7")];
    let (status, answer) = post(&daemon, "/hooks/desk", &signed, &body).await;
    assert_eq!((status, answer["folded"].as_u64()), (202, Some(0)), "{answer}");
    assert_eq!(post(&daemon, "/hooks/desk", &signed, &body).await, (202, json!({"events": [], "folded": 1})));
    let event = daemon.get(&format!("/api/v1/events/{}", answer["events"][0].as_str().expect("an id"))).await;
    assert_eq!(
        (&event["type"], &event["key"], &event["time"]),
        (&json!("desk.ticket.made"), &json!("source:desk|event|t7||"), &json!("2026-01-02T03:04:05Z"))
    );
    until("the rule has seen it", async || {
        daemon.list("/api/v1/events?type=acme.acted").await.first().map(|event| assert_eq!(event["data"], json!({"n": 7})))
    })
    .await;
    // A CloudEvent comes through it too.
    let signature = sign(b"{\"n\":9}", SECRET);
    let cloud = [
        ("X-Crm-Signature", signature.as_str()),
        ("ce-specversion", "1.0"),
        ("ce-id", "c1"),
        ("ce-source", "/desk"),
        ("ce-type", "ticket.closed"),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(post(&daemon, "/hooks/desk", &cloud, "{\"n\":9}").await.0, 202);
    assert_eq!(daemon.list("/api/v1/events?type=desk.ticket.closed").await.len(), 1);
    // Slack's question is answered where the connector says that it is Slack.
    let question = json!({"type": "url_verification", "challenge": "canary-challenge"}).to_string();
    let headers = slack_headers(&question, SECRET);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(post(&daemon, "/in/chat", &headers, &question).await, (200, json!({"challenge": "canary-challenge"})));
    assert_eq!(post(&daemon, "/in/chat", &headers, &question.replace("canary", "other")).await.0, 401);
    // `send` and `explain` know them as well.
    let run = |arguments: &[&str]| {
        let output = folder.output(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, text) = run(&["send", "--source", "desk", "ticket.json"]);
    assert!(code == Some(0) && text.contains("202"), "{text}");
    let (code, text) = run(&["explain", "--source", "desk", "-H", "X-Crm-Id: t8", "ticket.json"]);
    assert!(code == Some(0) && text.contains("desk.ticket.made") && text.contains("matched"), "{text}");
    let (code, text) = run(&["check"]);
    assert!(code == Some(0) && text.contains("3 sources"), "{text}");
    // What the connector says of its deliveries is read anew with its file.
    folder.write("connectors/crm.yaml", &connector().replace("X-Crm-Signature", "X-New-Signature"));
    assert_eq!(daemon.post("/api/v1/reload").await.0, 200);
    assert_eq!(post(&daemon, "/hooks/desk", &signed, &body).await.0, 401);
    let signed = [("X-New-Signature", good.as_str()), ("X-Crm-Id", "t7")];
    assert_eq!(post(&daemon, "/hooks/desk", &signed, &body).await, (202, json!({"events": [], "folded": 1})));
    assert!(!daemon.log().contains(SECRET));
}
