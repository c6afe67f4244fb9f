//! The admin API on real sockets, with a real journal in a temporary folder.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::event::{EventId, RunId, Verified, Via};
use crate::fault::{Fault, Faults};
use crate::journal::{Delivery, Options, PAGE_BYTES_MAX, Plan};
use crate::normalize::{SourceView, orchestrator};
use crate::runs::{Cause, Fact, Intent, NewRun, RunState};
use crate::time::Timestamp;

/// What any await in these tests may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that reloads to generation 7, or refuses when it is told to.
struct Fake {
    broken: bool,
}

impl Control for Fake {
    fn sources(&self) -> Value {
        json!({"items": [], "next": null})
    }

    fn reload(&self) -> futures_reload::Reload<'_> {
        let broken = self.broken;
        Box::pin(async move {
            if !broken {
                return Ok(7);
            }
            let mut faults = Faults::new();
            faults.push(Fault::general("unknown-key", "unknown key `whne`").help("did you mean `when`?"));
            Err(faults)
        })
    }

    fn metrics(&self) -> String {
        "# TYPE tripline_build_info gauge\ntripline_build_info 1\n".to_owned()
    }
}

struct Api {
    address: SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
    open: watch::Sender<Option<Journal>>,
    rules: watch::Sender<bool>,
    folder: tempfile::TempDir,
}

impl Api {
    fn start() -> Self {
        Self::with(Fake { broken: false }, None)
    }

    #[expect(clippy::disallowed_methods, reason = "the test owns the task through its handle")]
    fn with(control: Fake, token: Option<&str>) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = listener.local_addr().expect("TCP");
        let (open, journal) = watch::channel(None);
        let (rules, ready) = watch::channel(true);
        let admin = Admin {
            journal,
            control: Arc::new(control),
            address: AdminAddress::Tcp(address),
            token: token.map(|t| Secret::new(t.to_owned())),
            ready,
            clock: Clock::system(),
        };
        let stop = CancellationToken::new();
        let ended = tokio::spawn(run(admin, listener, stop.clone()));
        Self { address, stop, ended, open, rules, folder: tempfile::tempdir().expect("a folder") }
    }

    fn open(&self) -> Journal {
        let options = Options { segment_bytes: 1 << 20, clock: Clock::system(), boot_id: "boot".to_owned() };
        let (journal, _) = Journal::open(self.folder.path(), options).expect("opens");
        self.open.send_replace(Some(journal.clone()));
        journal
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let host = if lines.contains("Host: ") { String::new() } else { format!("Host: {}\r\n", self.address) };
        self.say(format!("{method} {path} HTTP/1.1\r\n{host}{lines}Connection: close\r\n\r\n").as_bytes()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[]).await
    }

    async fn post(&self, path: &str, body: &str) -> Reply {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", self.address);
        self.say(format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).as_bytes()).await
    }

    async fn say(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        stream.write_all(bytes).await.ok();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time").ok();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

async fn accept(journal: &Journal, number: u64) -> EventId {
    accept_item(journal, number, json!({"Id": number})).await
}

async fn accept_item(journal: &Journal, number: u64, item: Value) -> EventId {
    let body =
        json!({"Type": "queueItem.added", "EventId": format!("e{number}"), "Queue": {"Id": 5, "Name": "Invoices"}, "QueueItems": [item]});
    let body = Bytes::from(body.to_string());
    let view = SourceView { name: "hook".into(), tenant_url: Some("https://orchestrator.test".into()) };
    let received = Clock::system().now();
    let content = orchestrator(&body, &view, received);
    let delivery = Delivery {
        source: "hook".into(),
        via: Via::Webhook,
        orchestrator: None,
        verified: Verified::Yes,
        received,
        body,
        delivery_id: content.delivery_id,
        changes: content.changes,
    };
    journal.accept(delivery).await.expect("kept").events[0]
}

async fn plan(journal: &Journal, event: EventId, rule: &str, dead: Option<Cause>) -> RunId {
    let id = RunId::of(event, rule);
    let created = Clock::system().now();
    let run = NewRun { dead, ..NewRun::plain(event, rule, created) };
    journal.plan(Plan { through: event, runs: vec![run] }).await.expect("planned");
    id
}

#[tokio::test]
async fn health_and_metrics_are_answered_whatever_the_store_does() {
    let api = Api::start();
    assert_eq!(api.get("/livez").await.json(), json!({"live": true}));
    let recovering = api.get("/readyz").await;
    assert_eq!((recovering.status, &recovering.json()["reasons"][0]["code"]), (503, &json!("recovering")));
    assert_eq!(api.get("/api/v1/events").await.status, 503);
    let _journal = api.open();
    assert_eq!(api.get("/readyz").await.json(), json!({"ready": true, "reasons": []}));
    api.rules.send_replace(false);
    assert_eq!(api.get("/readyz").await.status, 503);
    let metrics = api.get("/metrics").await;
    assert!(metrics.status == 200 && metrics.head.contains("text/plain; version=0.0.4"), "{metrics:?}");
    assert!(metrics.body.contains("tripline_build_info 1"));
    for header in
        ["x-content-type-options: nosniff", "cache-control: no-store", "referrer-policy: no-referrer", "content-security-policy: "]
    {
        assert!(metrics.head.contains(header), "{header}: {metrics:?}");
    }
}

#[tokio::test]
async fn requests_that_are_not_for_us_are_refused() {
    let api = Api::with(Fake { broken: false }, Some("the right token"));
    let own = format!("http://{}", api.address);
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], u16);
    let table: &[Row<'_>] = &[
        ("no such path", "GET", "/api/v2/events", &[], 404),
        ("no file", "GET", "/../etc/passwd", &[], 404),
        ("a wrong method", "DELETE", "/api/v1/events", &[], 405),
        ("a wrong method", "GET", "/api/v1/reload", &[], 405),
        ("TRACE", "TRACE", "/livez", &[], 405),
        ("another host", "GET", "/livez", &[("Host", "evil.test")], 421),
        ("another origin", "POST", "/api/v1/reload", &[("Origin", "https://evil.test")], 403),
        ("our own origin", "POST", "/api/v1/reload", &[("Origin", &own)], 200),
        ("a wrong token", "POST", "/api/v1/reload", &[("Authorization", "Bearer wrong")], 401),
        ("the right token", "POST", "/api/v1/reload", &[("Authorization", "Bearer the right token")], 200),
        ("a token in the URL", "GET", "/api/v1/events?token=x", &[], 400),
        ("a large body", "POST", "/api/v1/reload", &[("Content-Length", "10485760")], 413),
        ("an id that is none", "GET", "/api/v1/events/x", &[], 404),
        ("a run id that is none", "POST", "/api/v1/runs/x/retry", &[], 404),
    ];
    for (name, method, path, headers, status) in table {
        let reply = api.ask(method, path, headers).await;
        assert_eq!(reply.status, *status, "{name}: {reply:?}");
        assert!(reply.head.contains("nosniff"), "{name}: {reply:?}");
        if *status >= 400 {
            assert!(reply.head.contains("application/problem+json"), "{name}: {reply:?}");
            assert_eq!(reply.json()["status"], *status, "{name}");
            assert!(reply.json()["request_id"].is_string(), "{name}");
        }
        if *status == 405 {
            assert!(reply.head.contains("allow: "), "{name}: {reply:?}");
        }
    }
    // A body without a declared length is read only as far as the limit.
    let piece = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    let head = format!("POST /api/v1/reload HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", api.address);
    assert_eq!(api.say(format!("{head}{}", piece.repeat(17)).as_bytes()).await.status, 413);
}

#[tokio::test]
async fn a_reload_answers_the_generation_or_all_faults() {
    let good = Api::start().ask("POST", "/api/v1/reload", &[]).await;
    assert_eq!((good.status, good.json()), (200, json!({"generation": 7})));
    let bad = Api::with(Fake { broken: true }, None).ask("POST", "/api/v1/reload", &[]).await;
    assert_eq!(bad.status, 422);
    assert_eq!(bad.json()["faults"][0]["message"], "unknown key `whne`");
    assert_eq!(bad.json()["faults"][0]["help"], "did you mean `when`?");
}

#[tokio::test]
async fn events_are_listed_page_by_page_and_one_by_one() {
    let api = Api::start();
    let journal = api.open();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(accept(&journal, number).await);
    }
    let names = |reply: &Reply| -> Vec<String> {
        reply.json()["items"].as_array().expect("a list").iter().map(|e| e["id"].as_str().expect("an id").to_owned()).collect()
    };
    let expected = |range: std::ops::Range<usize>| ids[range].iter().map(EventId::to_string).collect::<Vec<_>>();
    let newest = api.get("/api/v1/events?limit=2").await;
    assert_eq!(names(&newest), expected(3..5));
    let cursor = newest.json()["next"].as_str().expect("a cursor").to_owned();
    let older = api.get(&format!("/api/v1/events?limit=10&cursor={cursor}")).await;
    assert_eq!(names(&older), expected(0..3));
    assert_eq!(older.json()["next"], Value::Null);
    assert_eq!(names(&api.get("/api/v1/events?type=job.*").await), expected(0..0));
    assert_eq!(names(&api.get("/api/v1/events?type=QUEUEITEM.added&source=hook&since=1h").await), expected(0..5));
    let one = api.get(&format!("/api/v1/events/{}", ids[1])).await;
    assert_eq!((one.status, &one.json()["data"]["QueueItem"]["Id"]), (200, &json!(1)));
    assert_eq!(api.get("/api/v1/events/01JD8Z3V6Q4K3W5T9M2N7P8R1S").await.status, 404);
    let bad = api.get("/api/v1/events?limit=none").await;
    assert_eq!((bad.status, &bad.json()["parameter"]), (400, &json!("limit")));
}

#[tokio::test]
async fn runs_are_listed_and_dead_ones_are_tried_again() {
    let api = Api::start();
    let journal = api.open();
    let event = accept(&journal, 1).await;
    let cause = Cause { code: "expression".to_owned(), message: "no such field".to_owned() };
    let dead = plan(&journal, event, "broken", Some(cause)).await;
    let live = plan(&journal, event, "fine", None).await;
    let list = api.get("/api/v1/runs?state=dead").await.json();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["items"][0]["id"], dead.to_string());
    assert_eq!(api.get(&format!("/api/v1/runs?event={event}")).await.json()["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(api.get(&format!("/api/v1/runs/{dead}")).await.json()["state"], "dead");

    let refused = api.ask("POST", &format!("/api/v1/runs/{live}/retry"), &[]).await;
    assert_eq!((refused.status, &refused.json()["state"]), (409, &json!("pending")), "{refused:?}");
    let again = api.ask("POST", &format!("/api/v1/runs/{dead}/retry"), &[]).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_ne!(again.json()["state"], "dead");
    assert_ne!(journal.run(dead).expect("readable").expect("there").state, RunState::Dead);
    let other = RunId::of(event, "none");
    assert_eq!(api.ask("POST", &format!("/api/v1/runs/{other}/retry"), &[]).await.status, 404);
    // Facts recorded by others show at once.
    let at = Timestamp::from_millis(1_800_000_000_000);
    let settled = Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at };
    journal.record(live, vec![settled]).await.expect("recorded");
    assert_eq!(api.get(&format!("/api/v1/runs/{live}")).await.json()["state"], "succeeded");
}

/// Makes a run of `rule` that stands at a started job whose outcome nobody knows.
async fn ambiguous(journal: &Journal, event: EventId, rule: &str) -> RunId {
    let id = plan(journal, event, rule, None).await;
    let at = Timestamp::from_millis(1_800_000_000_000);
    let intent = Intent { step: 0, attempt: 1, at, lookups: 2, next_lookup: None };
    let cause = Cause { code: "unknown_outcome".to_owned(), message: "two look-ups found nothing".to_owned() };
    let facts = vec![
        Fact::Intended { id: Some("job".to_owned()), kind: "start_job".to_owned(), intent },
        Fact::Settled { state: RunState::Ambiguous, cause: Some(cause), would: Vec::new(), at },
    ];
    journal.record(id, facts).await.expect("recorded");
    id
}

#[tokio::test]
async fn people_settle_what_nobody_knows() {
    let api = Api::start();
    let journal = api.open();
    let event = accept(&journal, 1).await;
    let (one, two, three) =
        (ambiguous(&journal, event, "a").await, ambiguous(&journal, event, "b").await, ambiguous(&journal, event, "c").await);

    let accepted = api.post(&format!("/api/v1/runs/{one}/accept"), r#"{"value": {"Id": 7}, "reason": "it is in Orchestrator"}"#).await;
    assert_eq!((accepted.status, &accepted.json()["state"]), (200, &json!("running")), "{accepted:?}");
    assert_eq!(accepted.json()["steps"][0]["value"], json!({"Id": 7}));
    assert_eq!(accepted.json()["notes"][0]["reason"], "it is in Orchestrator");
    assert_eq!(api.post(&format!("/api/v1/runs/{one}/accept"), "").await.status, 409, "there is nothing more to accept");

    let again = api.post(&format!("/api/v1/runs/{two}/retry"), "").await;
    assert_eq!((again.status, &again.json()["state"]), (200, &json!("pending")), "{again:?}");

    let aside = api.post(&format!("/api/v1/runs/{three}/discard"), r#"{"reason": "not needed"}"#).await;
    assert_eq!((aside.status, &aside.json()["state"], &aside.json()["cause"]), (200, &json!("discarded"), &json!("discarded")));
    for verb in ["retry", "accept", "discard"] {
        let refused = api.post(&format!("/api/v1/runs/{three}/{verb}"), "").await;
        assert_eq!((refused.status, &refused.json()["state"]), (409, &json!("discarded")), "{verb}: {refused:?}");
    }

    for (path, body, word) in
        [("accept", r#"{"values": 1}"#, "unknown field"), ("accept", "no json", "the body"), ("discard", r#"{"value": 1}"#, "`value`")]
    {
        let refused = api.post(&format!("/api/v1/runs/{two}/{path}"), body).await;
        assert!(refused.status == 400 && refused.body.contains(word), "{refused:?}");
    }
    let long = format!(r#"{{"value": "{}"}}"#, "x".repeat(17 << 10));
    assert_eq!(api.post(&format!("/api/v1/runs/{two}/accept"), &long).await.status, 400);
}

#[tokio::test]
async fn many_runs_are_tried_again_by_what_they_have_in_common() {
    let api = Api::start();
    let journal = api.open();
    let mut ids = Vec::new();
    for number in 0..5 {
        let event = accept(&journal, number).await;
        let message = if number < 3 { format!("item {number} has no amount") } else { "no such field".to_owned() };
        let cause = Cause { code: "expression".to_owned(), message };
        ids.push(plan(&journal, event, "broken", Some(cause)).await);
    }
    let print = api.get(&format!("/api/v1/runs/{}", ids[0])).await.json()["fingerprint"].as_str().expect("a fingerprint").to_owned();
    let count = api.post("/api/v1/runs/retry", &format!(r#"{{"cause": "{print}", "dry_run": true}}"#)).await.json();
    assert_eq!((&count["matched"], &count["retried"]), (&json!(3), &json!(0)), "{count}");
    let done = api.post("/api/v1/runs/retry", &format!(r#"{{"cause": "{print}", "rate": "1/min"}}"#)).await.json();
    assert_eq!((&done["matched"], &done["retried"], &done["next"]), (&json!(3), &json!(3), &Value::Null), "{done}");
    let mut turns = Vec::new();
    for id in &ids[..3] {
        let run = journal.run(*id).expect("readable").expect("there");
        assert_eq!(run.state, RunState::Pending);
        turns.push(run.next_at.expect("a turn").as_millis());
    }
    assert_eq!((turns[1] - turns[0], turns[2] - turns[1]), (60_000, 60_000), "the oldest first, a minute apart");
    assert!(done["until"].is_string());
    assert_eq!(journal.run(ids[3]).expect("readable").expect("there").state, RunState::Dead);

    // Those that die again and again are named and left out, unless that is forced.
    for id in &ids[3..] {
        for _ in 0..2 {
            let at = Timestamp::from_millis(1_800_000_000_000);
            let cause = Cause { code: "expression".to_owned(), message: "no such field".to_owned() };
            let dead = Fact::Settled { state: RunState::Dead, cause: Some(cause), would: Vec::new(), at };
            journal.record(*id, vec![Fact::Retried { at, due: None }, dead]).await.expect("recorded");
        }
    }
    let left = api.post("/api/v1/runs/retry", r#"{"rule": "broken"}"#).await.json();
    assert_eq!((&left["matched"], &left["retried"], &left["poison"]), (&json!(2), &json!(0), &json!(2)), "{left}");
    assert_eq!(left["left_out"][0]["deaths"], 3);
    let forced = api.post("/api/v1/runs/retry", r#"{"rule": "broken", "force": true}"#).await.json();
    assert_eq!(forced["retried"], 2, "{forced}");

    for (body, word) in [
        (r#"{"state": "succeeded"}"#, "`dead` or `ambiguous`"),
        (r#"{"rate": "fast"}"#, "`rate`"),
        (r#"{"since": "yesterday"}"#, "`since`"),
        (r#"{"cuase": "x"}"#, "unknown field"),
        (r#"{"cursor": "x"}"#, "the body"),
    ] {
        let refused = api.post("/api/v1/runs/retry", body).await;
        assert!(refused.status == 400 && refused.body.contains(word), "{body}: {refused:?}");
    }
}

/// A client of the stream.
struct Listening(BufReader<TcpStream>);

impl Listening {
    async fn to(api: &Api, path: &str, more: &str) -> Self {
        let mut stream = TcpStream::connect(api.address).await.expect("connects");
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", api.address);
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut listening = Self(BufReader::new(stream));
        assert!(listening.line_with("HTTP/1.1 ").await.contains("200"));
        listening.line_with("content-type: text/event-stream").await;
        listening.line_with("retry: ").await;
        listening
    }

    /// The next line that begins so.
    async fn line_with(&mut self, beginning: &str) -> String {
        let read = async {
            loop {
                let mut line = String::new();
                assert!(self.0.read_line(&mut line).await.expect("readable") > 0, "the stream ended before `{beginning}`");
                if let Some(rest) = line.trim_end().strip_prefix(beginning) {
                    return rest.to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("in time")
    }
}

#[tokio::test]
async fn a_stream_follows_from_now_or_from_where_the_client_was() {
    let api = Api::start();
    let journal = api.open();
    let old = accept(&journal, 1).await;
    let missed = accept(&journal, 2).await;
    let mut fresh = Listening::to(&api, "/api/v1/events/stream?type=queueItem.*&source=hook", "").await;
    let mut back = Listening::to(&api, "/api/v1/events/stream", &format!("Last-Event-ID: {old}\r\n")).await;
    let mut deaf = Listening::to(&api, "/api/v1/events/stream?type=job.*", "").await;
    assert_eq!(back.line_with("id: ").await, missed.to_string());
    let new = accept(&journal, 3).await;
    for stream in [&mut fresh, &mut back] {
        assert_eq!(stream.line_with("id: ").await, new.to_string());
        let data: Value = serde_json::from_str(&stream.line_with("data: ").await).expect("JSON");
        assert_eq!(data["data"]["QueueItem"]["Id"], 3);
    }
    let bad = api.ask("GET", "/api/v1/events/stream", &[("Last-Event-ID", "yesterday")]).await;
    assert_eq!(bad.status, 400);
    // Streams do not hold the daemon up when it stops.
    api.stop.cancel();
    let mut rest = String::new();
    tokio::time::timeout(PATIENCE, deaf.0.read_to_string(&mut rest)).await.expect("in time").expect("text");
    assert!(!rest.contains("id: "), "{rest}");
    tokio::time::timeout(PATIENCE, api.ended).await.expect("in time").expect("ends");
}

#[tokio::test]
async fn a_stream_far_behind_says_what_it_left_out() {
    let api = Api::start();
    let journal = api.open();
    let first = accept(&journal, 0).await;
    let mut last = first;
    for number in 1..=(stream::BEHIND_MAX as u64 + 200) {
        last = accept(&journal, number).await;
    }
    let mut stream = Listening::to(&api, "/api/v1/events/stream", &format!("Last-Event-ID: {first}\r\n")).await;
    assert_eq!(stream.line_with("event: ").await, "gap");
    let gap: Value = serde_json::from_str(&stream.line_with("data: ").await).expect("JSON");
    assert_eq!(gap["after"], first.to_string());
    assert_eq!(stream.line_with("id: ").await, gap["before"].as_str().expect("an id"));
    let mut id = String::new();
    while id != last.to_string() {
        id = stream.line_with("id: ").await;
    }
}

#[tokio::test]
async fn a_stream_behind_long_events_says_what_it_left_out() {
    let api = Api::start();
    let journal = api.open();
    let first = accept(&journal, 0).await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        let item = json!({"Id": number, "SpecificContent": {"Text": "x".repeat(PAGE_BYTES_MAX / 2 + 1)}});
        ids.push(accept_item(&journal, number, item).await.to_string());
    }
    let mut stream = Listening::to(&api, "/api/v1/events/stream", &format!("Last-Event-ID: {first}\r\n")).await;
    assert_eq!(stream.line_with("event: ").await, "gap");
    let gap: Value = serde_json::from_str(&stream.line_with("data: ").await).expect("JSON");
    assert_eq!(gap, json!({"after": first, "before": ids[1]}));
    assert_eq!([stream.line_with("id: ").await, stream.line_with("id: ").await], ids[1..]);
}
