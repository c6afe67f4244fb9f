//! The accept loop on real sockets.

use std::net::SocketAddr;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;

/// What any await in these tests may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
    /// Lets requests to `/held` go on.
    release: Arc<Notify>,
    /// Told when a request to `/held` has begun.
    held: Arc<Notify>,
}

fn limits() -> ServerLimits {
    ServerLimits { connections: 100, header_timeout: Duration::from_secs(5), drain: Duration::from_secs(5), answers: Answers::Short }
}

#[expect(clippy::disallowed_methods, reason = "the test owns the task through its handle")]
fn start(limits: ServerLimits) -> Server {
    let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = listener.local_addr().expect("TCP");
    let (release, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = {
        let (release, held) = (Arc::clone(&release), Arc::clone(&held));
        move |_: Peer, request: Request<Incoming>, patience: Patience| {
            let (release, held) = (Arc::clone(&release), Arc::clone(&held));
            async move {
                let (head, body) = request.into_parts();
                if let Err(problem) = check_head(&head) {
                    return problem.answer(RequestId::fresh());
                }
                match head.uri.path() {
                    "/held" => {
                        held.notify_one();
                        release.notified().await;
                        json(StatusCode::OK, "\"held\"")
                    }
                    "/patient" => match patience.until(Instant::now() + Duration::from_millis(20), std::future::pending::<()>()).await {
                        Some(()) => json(StatusCode::OK, "\"never\""),
                        // Once more, with something that comes in time.
                        None => match patience.until(Instant::now() + PATIENCE, std::pin::pin!(tokio::task::yield_now())).await {
                            Some(()) => json(StatusCode::OK, "\"waited\""),
                            None => json(StatusCode::OK, "\"late\""),
                        },
                    },
                    "/panic" => panic!("as asked"),
                    "/refuse" => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too much").close().answer(RequestId::fresh()),
                    _ => match http_body_util::BodyExt::collect(body).await {
                        Ok(body) => json(StatusCode::OK, body.to_bytes()),
                        Err(_) => json(StatusCode::BAD_REQUEST, "\"incomplete\""),
                    },
                }
            }
        }
    };
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, watch::channel(limits).1, service, stop.clone()));
    Server { address, stop, ended, release, held }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("did not end in time")
}

/// Sends raw bytes and reads until the connection ends.
async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(bytes).await.expect("written");
    until_closed(&mut stream).await
}

async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer counts as an end as well.
    within(stream.read_to_end(&mut answer)).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer with a Content-Length and leaves the connection open.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    within(async {
        loop {
            text.push(stream.read_u8().await.expect("an answer"));
            let shown = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = shown.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok()));
                if body.len() >= length.unwrap_or(0) {
                    return shown;
                }
            }
        }
    })
    .await
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_connection_ends() {
    let server = start(limits());
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-H: 1\r\n".repeat(65));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-H: {}\r\n\r\n", "x".repeat(20 << 10));
    let far = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20 << 10));
    let uri = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9 << 10));
    let table: &[(&str, &str, u16)] = &[
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nab", 400),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab", 400),
        ("a negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nab", 400),
        ("a huge length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nab", 400),
        ("an unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        ("a coding not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
        ("a coding of ours not", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("a coding on 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("a NUL in a value", "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
        ("another expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: banana\r\n\r\n", 417),
        ("a proxy request", "GET http://evil.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("a tunnel", "CONNECT evil.test:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("a bad method", "P@ST / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("65 headers", &many, 431),
        ("a long header", &long, 431),
        ("a long target", &far, 431),
        ("a target over its own limit", &uri, 414),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03 and so on\r\n\r\n", 400),
    ];
    for (name, request, expected) in table {
        let answer = say(server.address, request.as_bytes()).await;
        assert_eq!(status(&answer), *expected, "{name}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{name}: {answer}");
    }
    // HTTP/2 is not spoken: the connection ends.
    let preface = say(server.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!preface.starts_with("HTTP/1.1 2"), "{preface}");
}

#[tokio::test]
async fn length_and_chunks_together_end_the_connection_after_one_answer() {
    let server = start(limits());
    let smuggle = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /held HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = say(server.address, smuggle.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn two_equal_lengths_and_bare_line_feeds_are_accepted() {
    let server = start(limits());
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n12").await.expect("written");
    assert!(one_answer(&mut stream).await.ends_with("\r\n\r\n12"));
    stream.write_all(b"POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\n34").await.expect("written");
    assert!(one_answer(&mut stream).await.ends_with("\r\n\r\n34"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(limits());
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let two = "GET /held HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2";
    stream.write_all(two.as_bytes()).await.expect("written");
    within(server.held.notified()).await;
    server.release.notify_one();
    assert!(one_answer(&mut stream).await.contains("held"));
    assert!(one_answer(&mut stream).await.ends_with("2"));
}

#[tokio::test]
async fn a_client_that_closes_its_side_still_gets_its_answer() {
    let server = start(limits());
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    stream.shutdown().await.expect("half closed");
    within(server.held.notified()).await;
    server.release.notify_one();
    assert_eq!(status(&until_closed(&mut stream).await), 200);
}

#[tokio::test]
async fn silent_and_slow_heads_end_after_the_header_time_without_an_answer() {
    let server = start(ServerLimits { header_timeout: Duration::from_millis(300), ..limits() });
    let begun = std::time::Instant::now();
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nHost: a\r\nX-"] {
        assert_eq!(say(server.address, bytes).await, "");
    }
    // The head's time is a total: bytes that drip in do not lengthen it.
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let drip = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while stream.write_all(b"G").await.is_ok() {
            tick.tick().await;
        }
    };
    within(drip).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_second_head_on_a_kept_connection_has_the_header_time_too() {
    let server = start(ServerLimits { header_timeout: Duration::from_millis(300), ..limits() });
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    assert_eq!(status(&one_answer(&mut stream).await), 200);
    stream.write_all(b"GET / HT").await.expect("written");
    assert_eq!(until_closed(&mut stream).await, "");
}

#[tokio::test]
async fn a_body_that_was_refused_does_not_swallow_the_refusal() {
    let server = start(limits());
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let head = "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    // The client is rude: it sends everything before it looks.
    within(stream.write_all(&vec![b'x'; 4_000_000])).await.expect("the rest is read");
    let answer = until_closed(&mut stream).await;
    assert_eq!(status(&answer), 413, "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("request_id"), "{answer}");
}

#[tokio::test]
async fn the_patience_of_a_request_ends_and_its_connection_goes_on() {
    let server = start(limits());
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    for _ in 0..2 {
        stream.write_all(b"GET /patient HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        assert!(within(one_answer(&mut stream)).await.contains("waited"));
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let server = start(limits());
    let mut other = TcpStream::connect(server.address).await.expect("connects");
    other.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    within(server.held.notified()).await;
    assert_eq!(say(server.address, b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    server.release.notify_one();
    assert!(one_answer(&mut other).await.contains("held"));
}

#[tokio::test]
async fn connections_over_the_cap_wait_in_the_backlog() {
    let server = start(ServerLimits { connections: 1, ..limits() });
    let mut first = TcpStream::connect(server.address).await.expect("connects");
    first.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    within(server.held.notified()).await;
    let mut second = TcpStream::connect(server.address).await.expect("connects");
    second.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n2").await.expect("written");
    server.release.notify_one();
    assert!(one_answer(&mut first).await.contains("held"));
    drop(first);
    assert!(one_answer(&mut second).await.ends_with('2'));
}

#[tokio::test]
async fn draining_ends_idle_connections_and_finishes_open_requests() {
    let server = start(limits());
    let mut idle = TcpStream::connect(server.address).await.expect("connects");
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    one_answer(&mut idle).await;
    let mut open = TcpStream::connect(server.address).await.expect("connects");
    open.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    within(server.held.notified()).await;
    server.stop.cancel();
    assert_eq!(until_closed(&mut idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody is accepted any more");
    server.release.notify_one();
    let answer = until_closed(&mut open).await;
    assert!(answer.contains("held") && answer.to_lowercase().contains("connection: close"), "{answer}");
    within(server.ended).await.expect("serve ends");
}

#[tokio::test]
async fn a_request_that_arrives_while_draining_begins_is_still_answered() {
    let server = start(limits());
    let mut late = TcpStream::connect(server.address).await.expect("connects");
    late.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    one_answer(&mut late).await;
    server.stop.cancel();
    late.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n7").await.expect("written");
    let answer = until_closed(&mut late).await;
    assert!(answer.ends_with('7'), "{answer}");
    within(server.ended).await.expect("serve ends");
}

#[tokio::test]
async fn draining_cuts_what_takes_longer_than_its_limit() {
    let server = start(ServerLimits { drain: Duration::from_millis(200), ..limits() });
    let mut open = TcpStream::connect(server.address).await.expect("connects");
    open.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
    within(server.held.notified()).await;
    server.stop.cancel();
    within(server.ended).await.expect("serve ends");
    assert_eq!(until_closed(&mut open).await, "");
}

#[tokio::test]
async fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let live = Listener::bind_unix(&path).expect("bound");
    assert!(Listener::bind_unix(&path).expect_err("in use").to_string().contains("another process"));
    drop(live);
    Listener::bind_unix(&path).expect("the stale socket is replaced");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("written");
    assert!(Listener::bind_unix(&file).expect_err("no socket").to_string().contains("is no socket"));
}

/// Log lines of a test.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tls_on_the_plain_port_is_said_once() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = start(limits());
    for _ in 0..3 {
        let answer = say(server.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n").await;
        assert_eq!(status(&answer), 400, "{answer}");
    }
    let text = String::from_utf8(lines.0.lock().expect("whole").clone()).expect("text");
    assert_eq!(text.matches("TLS on a plain port").count(), 1, "{text}");
}

#[tokio::test]
async fn a_thousand_silent_connections_do_not_hold_a_good_request_up() {
    let server = start(ServerLimits { connections: 2000, ..limits() });
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(server.address).await.expect("connects"));
    }
    let answer = within(say(server.address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(status(&answer), 200, "{answer}");
}
