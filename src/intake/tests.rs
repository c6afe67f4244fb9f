//! The ingress on real sockets, with a real journal in a temporary folder.

use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::event::{EventId, TYPE_UNPARSED};
use crate::journal::{EventQuery, Options};
use crate::secret::Secret;
use crate::signature::sign_orchestrator;

/// What any await in these tests may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);
const NEW_SECRET: &str = "a new secret of some length";
const OLD_SECRET: &str = "the old secret of some length";

struct Ingress {
    address: SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
    open: watch::Sender<Option<Journal>>,
    routes: Arc<Routes>,
    folder: tempfile::TempDir,
    metrics: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

fn source(name: &str) -> ReadySource {
    let secret = |name: &str, value: &str| NamedSecret { name: name.into(), value: Secret::new(value.to_owned()) };
    ReadySource {
        config: WebhookSource {
            name: name.into(),
            orchestrator: Some("prod".into()),
            path: format!("/hooks/{name}"),
            secrets: Vec::new(),
            allow_from: Vec::new(),
            trusted_proxies: 0,
            insecure_unsigned: false,
            registration: crate::config::Registration::default(),
            scheme: crate::signature::Scheme::Orchestrator,
            service: None,
            trigger: None,
        },
        secrets: vec![secret("env:NEW", NEW_SECRET), secret("env:OLD", OLD_SECRET)],
        view: SourceView { name: name.into(), tenant_url: Some("https://orchestrator.test/acme".into()) },
        eye: Arc::default(),
    }
}

/// `prod` as people have it, `fenced` behind one proxy with a list, `open` without signatures, `other` with a secret of its own.
fn routes() -> Arc<Routes> {
    let mut fenced = source("fenced");
    fenced.config.allow_from = vec!["20.0.0.0/8".parse().expect("a net")];
    fenced.config.trusted_proxies = 1;
    let mut open = source("open");
    open.config.insecure_unsigned = true;
    open.config.orchestrator = None;
    open.view.tenant_url = None;
    open.secrets.clear();
    let mut other = source("other");
    other.secrets = vec![NamedSecret { name: "env:OTHER".into(), value: Secret::new("the secret of another".to_owned()) }];
    let all = [source("prod"), fenced, open, other].map(|source| (source.config.path.clone(), Arc::new(source)));
    Arc::new(ArcSwap::from_pointee(BTreeMap::from(all)))
}

fn limits() -> Limits {
    Limits { body: 2048, body_timeout: Duration::from_secs(5), ..Limits::default() }
}

impl Ingress {
    /// Without a journal: it is "being opened".
    fn start(limits: Limits) -> Self {
        Self::start_holding(limits, HOLD_MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "the test owns the task through its handle")]
    fn start_holding(limits: Limits, hold: Duration) -> Self {
        // The runtime of a test has one thread, so that this recorder sees all of its metrics and no others.
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let metrics = recorder.handle();
        let guard = metrics::set_default_local_recorder(recorder);
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = listener.local_addr().expect("TCP");
        let (open, journal) = watch::channel(None);
        let routes = routes();
        let server =
            ServerLimits { connections: limits.connections, header_timeout: limits.header_timeout, drain: DRAIN, answers: Answers::Short };
        let limits = watch::channel(limits).1;
        let rules = Arc::new(ArcSwap::from_pointee(RulesInForce { set: Arc::default(), generation: 1 }));
        let intake = Intake { routes: Arc::clone(&routes), limits, journal, rules, clock: Clock::system() };
        let stop = CancellationToken::new();
        let desk = Arc::new(Desk::new(intake, hold, stop.clone()));
        let service = move |peer, request, patience| Arc::clone(&desk).handle(peer, request, patience);
        let ended = tokio::spawn(serve(listener, watch::channel(server).1, service, stop.clone()));
        Self { address, stop, ended, open, routes, folder: tempfile::tempdir().expect("a folder"), metrics, _recorder: guard }
    }

    /// Opens the journal.
    fn open(&self) -> Journal {
        let options = Options { segment_bytes: 1 << 20, clock: Clock::system(), boot_id: "boot".to_owned() };
        let (journal, _) = Journal::open(self.folder.path(), options).expect("opens");
        self.open.send_replace(Some(journal.clone()));
        journal
    }

    fn count(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|l| l.starts_with(name) && labels.iter().all(|label| l.contains(label)));
        lines.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn rejected(&self, reason: &str) -> u64 {
        self.count(crate::metric::EVENTS_REJECTED, &[&format!("reason=\"{reason}\"")])
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.say(&request("POST", path, headers, body)).await
    }

    async fn deliver(&self, body: &[u8]) -> Reply {
        let signature = sign(body);
        self.post("/hooks/prod", &[("X-UiPath-Signature", &signature)], body).await
    }

    /// Sends raw bytes, reads until the end of one answer.
    async fn say(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.expect("connects");
        // A peer that refuses early may close while we still write.
        stream.write_all(bytes).await.ok();
        Reply::read(&mut stream).await
    }
}

fn sign(body: &[u8]) -> String {
    sign_orchestrator(body, &Secret::new(NEW_SECRET.to_owned()))
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{lines}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn item(id: u64) -> Vec<u8> {
    json!({
        "Type": "queueItem.added", "EventId": format!("event-{id}"), "Timestamp": "2026-11-20T10:00:00.1234567Z",
        "TenantId": 7, "OrganizationUnitId": 3, "Queue": {"Id": 5, "Name": "Invoices"},
        "QueueItems": [{"Id": id, "Status": "New", "Reference": format!("r{id}"), "SpecificContent": {"n": id}}],
    })
    .to_string()
    .into_bytes()
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let all = async {
            loop {
                let mut chunk = [0; 1024];
                let count = stream.read(&mut chunk).await.unwrap_or(0);
                bytes.extend_from_slice(&chunk[..count]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
                    head.contains(" 100 Continue") || body.len() >= length.unwrap_or(0)
                });
                if whole || count == 0 {
                    return text;
                }
            }
        };
        let text = tokio::time::timeout(PATIENCE, all).await.expect("an answer in time");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

/// Awaits a condition under a limit.
async fn eventually(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}

#[tokio::test]
async fn heads_that_are_not_taken_get_their_answer_before_a_body_is_asked_for() {
    let ingress = Ingress::start(limits());
    let signed = ("X-UiPath-Signature", "K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=");
    let chunked = ("Transfer-Encoding", "chunked");
    type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str);
    let table: &[Row<'_>] = &[
        ("H8 a huge length", "POST", "/hooks/prod", &[signed, ("Content-Length", "1073741824")], 413, "too_large"),
        ("H8 the same without a signature", "POST", "/hooks/prod", &[("Content-Length", "1073741824")], 413, "too_large"),
        ("H9 one byte over the limit", "POST", "/hooks/prod", &[signed, ("Content-Length", "2049")], 413, "too_large"),
        ("H22 compressed", "POST", "/hooks/prod", &[signed, ("Content-Encoding", "gzip"), chunked], 415, "encoding"),
        ("H28 another expectation", "POST", "/hooks/prod", &[signed, ("Expect", "banana"), chunked], 417, "malformed"),
        ("H29 GET", "GET", "/hooks/prod", &[], 405, "method"),
        ("H29 HEAD", "HEAD", "/hooks/prod", &[], 405, "method"),
        ("H30 post", "post", "/hooks/prod", &[signed, chunked], 405, "method"),
        ("H31 OPTIONS", "OPTIONS", "/hooks/prod", &[], 405, "method"),
        ("H31 TRACE", "TRACE", "/hooks/prod", &[], 405, "method"),
        ("H31 OPTIONS of everything", "OPTIONS", "*", &[], 405, "malformed"),
        ("H31 CONNECT", "CONNECT", "evil.test:443", &[], 405, "malformed"),
        ("H32 unknown path", "POST", "/hooks/prodd", &[signed], 404, "unknown_path"),
        ("H32 another folder", "GET", "/", &[], 404, "unknown_path"),
        ("H33 dots", "POST", "/hooks/../hooks/prod", &[signed], 404, "unknown_path"),
        ("H33 two slashes", "POST", "/hooks//prod", &[signed], 404, "unknown_path"),
        ("H33 a slash behind", "POST", "/hooks/prod/", &[signed], 404, "unknown_path"),
        ("H33 encoded dots", "POST", "/hooks/%2e%2e/hooks/prod", &[signed], 404, "unknown_path"),
        ("H33 an encoded NUL", "POST", "/hooks/prod%00", &[signed], 404, "unknown_path"),
        ("H33 encoded letters", "POST", "/hooks/pro%64", &[signed], 404, "unknown_path"),
        ("H33 case", "POST", "/Hooks/prod", &[signed], 404, "unknown_path"),
        ("H34 absolute form", "POST", "http://evil.test/x", &[signed], 400, "malformed"),
        ("H34 absolute form of a path of ours", "POST", "http://evil.test/hooks/prod", &[signed], 400, "malformed"),
        ("G1 no signature", "POST", "/hooks/prod", &[chunked], 401, "signature_missing"),
        ("G2 an empty signature", "POST", "/hooks/prod", &[("X-UiPath-Signature", "  "), chunked], 401, "signature_missing"),
        ("G11 two signatures", "POST", "/hooks/prod", &[signed, signed, chunked], 401, "signature_twice"),
        ("H25 a signature that is no text", "POST", "/hooks/prod", &[("X-UiPath-Signature", "\u{e9}"), chunked], 400, "signature_bad"),
        ("allow_from: a stranger", "POST", "/hooks/fenced", &[signed, ("X-Forwarded-For", "30.1.1.1"), chunked], 403, "not_allowed"),
        ("allow_from: nobody known", "POST", "/hooks/fenced", &[signed, chunked], 403, "not_allowed"),
        ("allow_from: before anything else", "GET", "/hooks/fenced", &[], 403, "not_allowed"),
        (
            "H49 one's own word counts not",
            "POST",
            "/hooks/fenced",
            &[("X-Forwarded-For", "20.1.1.1, 30.1.1.1"), chunked],
            403,
            "not_allowed",
        ),
        (
            "allow_from: a guest without a signature",
            "POST",
            "/hooks/fenced",
            &[("X-Forwarded-For", "20.1.1.1"), chunked],
            401,
            "signature_missing",
        ),
    ];
    for (name, method, path, headers, status, reason) in table {
        let before = ingress.rejected(reason);
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let reply = ingress.say(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").as_bytes()).await;
        assert_eq!(reply.status, *status, "{name}: {reply:?}");
        assert!(reply.closes(), "{name}: {reply:?}");
        assert_eq!(ingress.rejected(reason), before + 1, "{name}: {}", ingress.metrics.render());
        if *method == "HEAD" {
            assert_eq!(reply.body, "", "{name}");
        } else {
            let problem = reply.json();
            assert_eq!(problem["status"], *status, "{name}");
            let id = problem["request_id"].as_str().expect("an id");
            assert!(id.len() == 16 && reply.head.contains(&format!("x-request-id: {id}")), "{name}: {reply:?}");
            assert!(reply.head.contains("application/problem+json"), "{name}: {reply:?}");
            assert!(!reply.body.contains("evil") && !reply.body.contains("prodd"), "{name} echoes: {reply:?}");
        }
        match status {
            405 if *reason == "method" => assert!(reply.head.contains("allow: POST"), "{name}: {reply:?}"),
            415 => assert!(reply.head.contains("accept-encoding: identity"), "{name}: {reply:?}"),
            _ => {}
        }
    }
    let hint = ingress.say(&request("GET", "/hooks/prod", &[], b"")).await;
    assert!(hint.body.contains("webhook deliveries by POST"), "{hint:?}");
}

#[tokio::test]
async fn answers_for_unknown_paths_do_not_differ() {
    let ingress = Ingress::start(limits());
    let mut bodies = Vec::new();
    for path in ["/hooks/x", "/admin", "/hooks/prod/../x"] {
        let mut problem = ingress.say(&request("POST", path, &[], b"")).await.json();
        problem["request_id"].take();
        bodies.push(problem);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
}

#[tokio::test]
async fn signatures_that_do_not_fit_are_refused_and_say_nothing_of_the_secret() {
    let ingress = Ingress::start(limits());
    let body = item(1);
    let right = sign(&body);
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &right).expect("base64");
    let encode = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let other = sign_orchestrator(&body, &Secret::new("the secret of another".to_owned()));
    let cases: &[(&str, String)] = &[
        ("G3 no base64", "???".to_owned()),
        ("G4 31 bytes", encode(&bytes[..31])),
        ("G4 33 bytes", encode(&[&bytes[..], &[0]].concat())),
        ("G5 of another spelling", sign(&serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&body).expect("JSON")).expect("JSON"))),
        ("G6 of other bytes", sign(&[&body[..], b" "].concat())),
        ("G8 of nothing", sign(b"")),
        ("G9 of another source", other),
        ("G13 very many", vec!["v1,AAAA"; 1000].join(" ")),
        ("G14 another version", "v2,xxx".to_owned()),
        ("G16 of a secret that is gone", sign_orchestrator(&body, &Secret::new("a secret that is gone".to_owned()))),
    ];
    for (name, signature) in cases {
        let reply = ingress.post("/hooks/prod", &[("X-UiPath-Signature", signature)], &body).await;
        assert_eq!(reply.status, 401, "{name}: {reply:?}");
        assert_eq!(reply.json()["detail"], "the signature is bad", "{name}");
        assert!(!reply.head.to_lowercase().contains("www-authenticate"), "{name}");
    }
    let missing = ingress.post("/hooks/prod", &[], &body).await;
    assert!(missing.json()["detail"].as_str().is_some_and(|d| d.starts_with("the signature is missing")), "{missing:?}");
    assert_eq!(ingress.rejected("signature_bad"), cases.len() as u64);
    let large = vec![b' '; LARGE_BODY + 1];
    let roomy = Ingress::start(Limits { body: 1 << 20, ..limits() });
    assert_eq!(roomy.post("/hooks/prod", &[("X-UiPath-Signature", &right)], &large).await.status, 401);
}

#[tokio::test]
async fn a_guessing_peer_is_told_to_stop() {
    let ingress = Ingress::start(limits());
    for _ in 0..guesses::BAD_PER_MINUTE {
        assert_eq!(ingress.post("/hooks/prod", &[("X-UiPath-Signature", "x")], b"{}").await.status, 401);
    }
    let reply = ingress.post("/hooks/prod", &[("X-UiPath-Signature", "x")], b"{}").await;
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("retry-after: 60"), "{reply:?}");
    // A missing signature is no guess, whoever sends it.
    assert_eq!(ingress.post("/hooks/prod", &[], b"{}").await.status, 401);
}

#[tokio::test]
async fn bodies_that_break_off_drip_or_grow_are_ended() {
    let ingress = Ingress::start(Limits { body_timeout: Duration::from_millis(400), ..limits() });
    let signature = sign(b"{}");
    let head = |framing: &str| format!("POST /hooks/prod HTTP/1.1\r\nHost: a\r\nX-UiPath-Signature: {signature}\r\n{framing}\r\n\r\n");
    let lengthy = head("Content-Length: 10");
    let chunked = head("Transfer-Encoding: chunked");

    // H11: the client closes its side in the middle.
    let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
    stream.write_all(format!("{lengthy}{{}}").as_bytes()).await.expect("written");
    stream.shutdown().await.expect("half closed");
    assert_eq!(Reply::read(&mut stream).await.status, 400);
    assert_eq!(ingress.rejected("body_incomplete"), 1);

    // H12: silence.
    let reply = ingress.say(format!("{lengthy}{{}}").as_bytes()).await;
    assert!(reply.status == 408 && reply.closes(), "{reply:?}");

    // H13: each byte comes in time, all of them do not.
    let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
    stream.write_all(head("Content-Length: 1000").as_bytes()).await.expect("written");
    let (mut reading, mut writing) = stream.split();
    let mut answer = vec![0; 12];
    tokio::select! {
        read = reading.read_exact(&mut answer) => { read.expect("an answer"); }
        () = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                tick.tick().await;
                writing.write_all(b"x").await.ok();
            }
        } => {}
    }
    assert_eq!(answer, b"HTTP/1.1 408");
    assert_eq!(ingress.rejected("body_timeout"), 2);

    // H10: chunks that pass the limit.
    let piece = format!("{:x}\r\n{}\r\n", 1024, "x".repeat(1024));
    let reply = ingress.say(format!("{chunked}{piece}{piece}1\r\nx\r\n").as_bytes()).await;
    assert!(reply.status == 413 && reply.closes(), "{reply:?}");
    assert_eq!(ingress.rejected("too_large"), 1);

    // H21: chunks that are none.
    let trailers = format!("0\r\n{}\r\n", "T: x\r\n".repeat(2000));
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(20 << 10));
    for broken in ["zz\r\n", "0x2\r\n{}\r\n", "11111111111111111\r\n", &extension, &trailers] {
        let reply = ingress.say(format!("{chunked}{broken}").as_bytes()).await;
        assert!(reply.status == 400 || reply.status == 401, "{broken:.20}: {reply:?}");
    }
}

#[tokio::test]
async fn continue_is_said_only_to_those_who_may() {
    let ingress = Ingress::start(limits());
    let body = item(1);
    let ask = |path: &str, length: usize, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n{more}\r\n")
    };
    let signed = format!("X-UiPath-Signature: {}\r\n", sign(b"something else"));
    for (path, length, more, status) in
        [("/hooks/prod", 4096, &*signed, 413), ("/hooks/none", 10, &signed, 404), ("/hooks/prod", 10, "", 401)]
    {
        assert_eq!(ingress.say(ask(path, length, more).as_bytes()).await.status, status);
    }
    let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
    stream.write_all(ask("/hooks/prod", body.len(), &signed).as_bytes()).await.expect("written");
    assert_eq!(Reply::read(&mut stream).await.status, 100);
    stream.write_all(&body).await.expect("written");
    assert_eq!(Reply::read(&mut stream).await.status, 401);
}

#[tokio::test]
async fn a_genuine_delivery_is_answered_with_its_ids_once_it_is_kept() {
    let ingress = Ingress::start(limits());
    let journal = ingress.open();
    let body = item(1);
    let reply = ingress.deliver(&body).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let receipt = reply.json();
    assert_eq!(receipt["folded"], 0);
    let id: EventId = receipt["events"][0].as_str().expect("an id").parse().expect("an id");
    let event = journal.event(id).expect("readable").expect("there");
    assert_eq!(event.event_type(), "queueItem.added");
    assert_eq!(event.verified, Verified::Secret("env:NEW".into()));
    assert_eq!(&*event.source, "prod");
    assert_eq!(event.orchestrator.as_deref(), Some("prod"));

    // The same again is a copy, through whichever secret and spelling (G3, G10, G15, G26).
    let old = sign_orchestrator(&body, &Secret::new(OLD_SECRET.to_owned()));
    for signature in [old.clone(), format!("sha256={old}"), old.trim_end_matches('=').replace('+', "-").replace('/', "_")] {
        let reply = ingress.post("/hooks/prod", &[("X-UiPath-Signature", &signature)], &body).await;
        assert_eq!((reply.status, reply.json()), (202, json!({"events": [], "folded": 1})));
    }
    assert_eq!(ingress.count(crate::metric::EVENTS_RECEIVED, &["type=\"queueItem.added\"", "via=\"webhook\"", "source=\"prod\""]), 1);
    assert_eq!(ingress.count(crate::metric::EVENTS_FOLDED, &["source=\"prod\""]), 3);
    assert_eq!(ingress.count(crate::metric::SIGNATURES, &["secret=\"env:NEW\""]), 1);
    assert_eq!(ingress.count(crate::metric::SIGNATURES, &["secret=\"env:OLD\""]), 3);
    assert_eq!(ingress.count("tripline_ingest_ack_seconds_count", &[]), 4);
}

#[tokio::test]
async fn how_a_body_is_framed_and_described_does_not_matter() {
    let ingress = Ingress::start(limits());
    let journal = ingress.open();
    let exact = {
        let mut body = item(9);
        body.resize(2048, b' ');
        body
    };
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).expect("text");
    let signature = |body: &[u8]| format!("X-UiPath-Signature: {}\r\n", sign(body));
    let cut = |body: &[u8]| format!("5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", text(&body[..5]), body.len() - 5, text(&body[5..]));
    let plain = |id: u64, path: &str, more: &str| {
        let body = item(id);
        format!("POST {path} HTTP/1.1\r\nHost: a\r\n{}{more}Content-Length: {}\r\n\r\n{}", signature(&body), body.len(), text(&body))
    };
    let length = |id: u64| format!("Content-Length: {}\r\n", item(id).len());
    let cases = [
        ("H36 no type", plain(1, "/hooks/prod", "")),
        ("H36 text", plain(2, "/hooks/prod", "Content-Type: text/plain\r\n")),
        ("H37 a charset that it is not", plain(3, "/hooks/prod", "Content-Type: application/json; charset=utf-16\r\n")),
        ("H35 a query", plain(4, "/hooks/prod?code=secret", "")),
        ("H6 two equal lengths", plain(5, "/hooks/prod", &length(5))),
        ("H22 no coding, said", plain(6, "/hooks/prod", "Content-Encoding: identity\r\n")),
        ("H25 other headers that are no text", plain(7, "/hooks/prod", "X-Other: \u{e9}\r\n")),
        ("H49 one's own word of an address", plain(8, "/hooks/prod", "X-Forwarded-For: 1.2.3.4\r\n")),
        ("H9 exactly at the limit", {
            let body = text(&exact);
            format!("POST /hooks/prod HTTP/1.1\r\nHost: a\r\n{}Content-Length: 2048\r\n\r\n{body}", signature(&exact))
        }),
        ("chunks", {
            let body = item(10);
            format!("POST /hooks/prod HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n{}", signature(&body), cut(&body))
        }),
        ("H26 bare line feeds", {
            let body = item(11);
            format!(
                "POST /hooks/prod HTTP/1.1\nHost: a\nX-UiPath-Signature: {}\nContent-Length: {}\n\n{}",
                sign(&body),
                body.len(),
                text(&body)
            )
        }),
        ("HTTP/1.0", {
            let body = item(12);
            format!("POST /hooks/prod HTTP/1.0\r\n{}Content-Length: {}\r\n\r\n{}", signature(&body), body.len(), text(&body))
        }),
    ];
    for (name, request) in &cases {
        let reply = ingress.say(request.as_bytes()).await;
        assert_eq!(reply.status, 202, "{name}: {reply:?}");
        assert_eq!(reply.json()["events"].as_array().map(Vec::len), Some(1), "{name}: {reply:?}");
    }
    let kept = journal.events(&EventQuery { limit: 100, ..EventQuery::default() }).expect("readable");
    assert_eq!(kept.items.len(), cases.len());
}

#[tokio::test]
async fn continue_is_said_before_a_genuine_body() {
    let ingress = Ingress::start(limits());
    ingress.open();
    let body = item(1);
    let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
    let head = format!(
        "POST /hooks/prod HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nX-UiPath-Signature: {}\r\nContent-Length: {}\r\n\r\n",
        sign(&body),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    assert_eq!(Reply::read(&mut stream).await.status, 100);
    stream.write_all(&body).await.expect("written");
    assert_eq!(Reply::read(&mut stream).await.status, 202);
}

#[tokio::test]
async fn genuine_deliveries_are_never_refused_for_their_content() {
    let ingress = Ingress::start(Limits { body: 4 << 20, ..limits() });
    let journal = ingress.open();
    let large = format!("{{\"Type\":\"queueItem.added\",\"EventId\":\"large\",\"x\":\"{}\"}}", "x".repeat(3 << 20));
    for (body, unparsed) in [
        (&b""[..], true),
        (b"no json", true),
        (b"[1,2]", true),
        (b"{\"Type\":\"a\",\"Type\":\"b\"}", true),
        (b"\xff\xfe\x00", true),
        (b"{}", false),
        (b"{\"Type\":\"new.thing\",\"EventId\":\"1\"}", false),
        (large.as_bytes(), false),
    ] {
        let reply = ingress.deliver(body).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        let id: EventId = reply.json()["events"][0].as_str().expect("an id").parse().expect("an id");
        let event = journal.event(id).expect("readable").expect("there");
        if unparsed {
            assert_eq!(event.event_type(), TYPE_UNPARSED);
        }
    }
}

#[tokio::test]
async fn sources_without_signatures_and_behind_proxies_take_deliveries() {
    let ingress = Ingress::start(limits());
    let journal = ingress.open();
    let reply = ingress.post("/hooks/open", &[], &item(1)).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let id: EventId = reply.json()["events"][0].as_str().expect("an id").parse().expect("an id");
    assert_eq!(journal.event(id).expect("readable").expect("there").verified, Verified::No);
    let body = item(2);
    let signature = sign(&body);
    let headers = [("X-UiPath-Signature", &*signature), ("X-Forwarded-For", "6.6.6.6, 20.1.1.1")];
    assert_eq!(ingress.post("/hooks/fenced", &headers, &body).await.status, 202);
}

#[tokio::test]
async fn many_copies_at_once_are_one_event() {
    let ingress = Ingress::start(limits());
    let journal = ingress.open();
    let body = item(1);
    let signature = sign(&body);
    let headers = [("X-UiPath-Signature", &*signature)];
    let mut all: Vec<_> = (0..500).map(|_| Box::pin(ingress.post("/hooks/prod", &headers, &body))).collect();
    let mut replies = Vec::new();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(reply) => {
                replies.push(reply);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    let new: usize = replies.iter().map(|r| r.json()["events"].as_array().map_or(0, Vec::len)).sum();
    assert!(replies.iter().all(|r| r.status == 202));
    assert_eq!(new, 1);
    assert_eq!(journal.events(&EventQuery { limit: 10, ..EventQuery::default() }).expect("readable").items.len(), 1);
}

#[tokio::test]
async fn the_same_event_id_with_another_body_is_kept_as_a_conflict() {
    let ingress = Ingress::start(limits());
    let journal = ingress.open();
    let first = json!({"Type": "queueItem.added", "EventId": "one", "Queue": {"Id": 1}, "QueueItems": [{"Id": 1}]}).to_string();
    let second = json!({"Type": "queueItem.added", "EventId": "one", "Queue": {"Id": 1}, "QueueItems": [{"Id": 2}]}).to_string();
    assert_eq!(ingress.deliver(first.as_bytes()).await.status, 202);
    let reply = ingress.deliver(second.as_bytes()).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let id: EventId = reply.json()["events"][0].as_str().expect("an id").parse().expect("an id");
    assert!(journal.event(id).expect("readable").expect("there").conflict);
    assert_eq!(ingress.count(crate::metric::EVENTS_CONFLICT, &["source=\"prod\""]), 1);
}

#[tokio::test]
async fn a_genuine_delivery_is_taken_from_the_address_of_a_guesser() {
    let ingress = Ingress::start(limits());
    ingress.open();
    for _ in 0..guesses::BAD_PER_MINUTE {
        ingress.post("/hooks/prod", &[("X-UiPath-Signature", "x")], b"{}").await;
    }
    assert_eq!(ingress.post("/hooks/prod", &[("X-UiPath-Signature", "x")], b"{}").await.status, 429);
    assert_eq!(ingress.deliver(&item(1)).await.status, 202);
}

#[tokio::test]
async fn deliveries_wait_for_the_journal_to_open() {
    let ingress = Ingress::start(limits());
    let body = item(1);
    let delivery = ingress.deliver(&body);
    tokio::pin!(delivery);
    tokio::select! {
        biased;
        reply = &mut delivery => panic!("answered before the journal is open: {reply:?}"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    ingress.open();
    assert_eq!(delivery.await.status, 202);
}

#[tokio::test]
async fn waiting_has_an_end() {
    // No journal.
    let ingress = Ingress::start_holding(limits(), Duration::from_millis(100));
    let reply = ingress.deliver(&item(1)).await;
    assert!(reply.status == 503 && reply.head.contains("retry-after: 5"), "{reply:?}");
    assert_eq!(ingress.rejected("recovering"), 1);

    // No memory: of three bodies that are arriving one has it, one goes over, one waits.
    let ingress = Ingress::start_holding(Limits { in_flight: 2048, ..limits() }, Duration::from_millis(200));
    let head = "POST /hooks/open HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n";
    let mut arriving = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("written");
        assert_eq!(Reply::read(&mut stream).await.status, 100);
        stream.write_all(b"x").await.expect("written");
        arriving.push(stream);
    }
    let [a, b, c] = &mut arriving[..] else { unreachable!("three") };
    let reply = tokio::select! {
        reply = Reply::read(a) => reply,
        reply = Reply::read(b) => reply,
        reply = Reply::read(c) => reply,
    };
    assert!(reply.status == 503 && reply.head.contains("retry-after: 5"), "{reply:?}");
    assert_eq!(ingress.rejected("busy"), 1);
    // Those who leave give it back.
    arriving.clear();
    eventually(|| ingress.rejected("body_incomplete") == 2).await;
    assert_eq!(ingress.deliver(&item(3)).await.status, 503);
    assert_eq!((ingress.rejected("busy"), ingress.rejected("recovering")), (1, 1));
}

#[tokio::test]
async fn announced_bodies_that_do_not_come_hold_nobody_up() {
    let limits = Limits { body: 1 << 20, in_flight: 1 << 20, body_timeout: Duration::from_secs(3600), ..limits() };
    let ingress = Ingress::start(limits);
    ingress.open();
    let mut announced = Vec::new();
    for framing in ["Content-Length: 1048576", "Content-Length: 1048576", "Transfer-Encoding: chunked"] {
        for begun in ["", "1\r\nx"] {
            let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
            let head =
                format!("POST /hooks/prod HTTP/1.1\r\nHost: a\r\nX-UiPath-Signature: x\r\n{framing}\r\nExpect: 100-continue\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("written");
            assert_eq!(Reply::read(&mut stream).await.status, 100);
            stream.write_all(begun.as_bytes()).await.expect("written");
            announced.push(stream);
        }
    }
    assert_eq!(ingress.deliver(&item(1)).await.status, 202);
}

#[tokio::test]
async fn who_filled_the_memory_and_stops_sending_does_not_end_deliveries() {
    let limits = Limits { body: 64 << 10, in_flight: 64 << 10, body_timeout: Duration::from_secs(3600), ..limits() };
    let ingress = Ingress::start(limits);
    ingress.open();
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
        let head = "POST /hooks/prod HTTP/1.1\r\nHost: a\r\nX-UiPath-Signature: x\r\nContent-Length: 65536\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("written");
        stream.write_all(&[b'x'; 65_535]).await.expect("written");
        stalled.push(stream);
    }
    for id in 0..20 {
        assert_eq!(ingress.deliver(&item(id)).await.status, 202);
    }
}

#[tokio::test]
async fn memory_that_comes_free_goes_to_those_who_wait() {
    let ingress = Ingress::start(Limits { body: 1024, in_flight: 1024, ..limits() });
    let (one, two) = (item(1), item(2));
    let both = async { tokio::join!(ingress.deliver(&one), ingress.deliver(&two)) };
    let opened = async { ingress.open() };
    let ((a, b), _journal) = tokio::join!(both, opened);
    assert_eq!((a.status, b.status), (202, 202));
}

#[tokio::test]
async fn a_journal_that_ended_or_never_opens_is_503() {
    let ingress = Ingress::start(limits());
    let journal = ingress.open();
    assert_eq!(ingress.deliver(&item(1)).await.status, 202);
    journal.close();
    let reply = ingress.deliver(&item(2)).await;
    assert!(reply.status == 503 && reply.head.contains("retry-after"), "{reply:?}");
    assert_eq!(ingress.rejected("ended"), 1);

    let ingress = Ingress::start(limits());
    let body = item(3);
    let delivery = ingress.deliver(&body);
    tokio::pin!(delivery);
    tokio::select! {
        biased;
        reply = &mut delivery => panic!("{reply:?}"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    ingress.stop.cancel();
    let reply = delivery.await;
    assert!(reply.status == 503 && reply.closes(), "{reply:?}");
    eventually(|| ingress.ended.is_finished()).await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_its_delivery_back() {
    let ingress = Ingress::start(limits());
    let body = item(1);
    let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
    stream.write_all(&request("POST", "/hooks/prod", &[("X-UiPath-Signature", &sign(&body))], &body)).await.expect("written");
    stream.shutdown().await.expect("closed");
    drop(stream);
    let journal = ingress.open();
    eventually(|| journal.events(&EventQuery { limit: 1, ..EventQuery::default() }).is_ok_and(|page| page.items.len() == 1)).await;
    // Its repetition is a copy.
    assert_eq!(ingress.deliver(&body).await.json(), json!({"events": [], "folded": 1}));
}

#[tokio::test]
async fn pipelined_deliveries_are_answered_in_order() {
    let ingress = Ingress::start(limits());
    ingress.open();
    let mut bytes = Vec::new();
    for id in [1, 2] {
        let body = item(id);
        bytes.extend(request("POST", "/hooks/prod", &[("X-UiPath-Signature", &sign(&body))], &body));
    }
    bytes.extend(request("POST", "/hooks/prod", &[("X-UiPath-Signature", "x"), ("Connection", "close")], b"{}"));
    let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
    stream.write_all(&bytes).await.expect("written");
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("in time").expect("text");
    let statuses: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["202", "202", "401"]);
}

#[tokio::test]
async fn types_beyond_the_limit_are_counted_as_other() {
    let ingress = Ingress::start(limits());
    ingress.open();
    for number in 0..=crate::metric::TYPES_MAX {
        let body = json!({"Type": format!("made.up{number}"), "EventId": number.to_string()}).to_string();
        assert_eq!(ingress.post("/hooks/open", &[], body.as_bytes()).await.status, 202);
    }
    assert_eq!(ingress.count(crate::metric::EVENTS_RECEIVED, &["type=\"other\""]), 1);
}

#[tokio::test]
async fn a_reload_changes_the_sources_of_the_next_request() {
    let ingress = Ingress::start(limits());
    ingress.open();
    let body = item(1);
    let mut stream = TcpStream::connect(ingress.address).await.expect("connects");
    stream.write_all(&request("POST", "/hooks/prod", &[("X-UiPath-Signature", &sign(&body))], &body)).await.expect("written");
    assert_eq!(Reply::read(&mut stream).await.status, 202);
    ingress.routes.store(Arc::new(BTreeMap::new()));
    stream.write_all(&request("POST", "/hooks/prod", &[("X-UiPath-Signature", &sign(&body))], &body)).await.expect("written");
    assert_eq!(Reply::read(&mut stream).await.status, 404);
}
