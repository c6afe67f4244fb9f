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
        },
        secrets: vec![secret("env:NEW", NEW_SECRET), secret("env:OLD", OLD_SECRET)],
        view: SourceView { name: name.into(), tenant_url: Some("https://orchestrator.test/acme".into()) },
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
        let intake = Intake { routes: routes(), limits, journal, clock: Clock::system() };
        let stop = CancellationToken::new();
        let server = ServerLimits { connections: intake.limits.connections, header_timeout: intake.limits.header_timeout, drain: DRAIN };
        let desk = Arc::new(Desk::new(intake, hold, stop.clone()));
        let service = move |peer, request| {
            let desk = Arc::clone(&desk);
            async move { desk.handle(peer, request).await }
        };
        let ended = tokio::spawn(serve(listener, server, service, stop.clone()));
        Self { address, stop, ended, open, folder: tempfile::tempdir().expect("a folder"), metrics, _recorder: guard }
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
            assert!(problem["request_id"].as_str().is_some_and(|id| id.len() == 16), "{name}: {problem}");
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
