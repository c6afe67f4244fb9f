//! The client against a scripted peer over loopback.

pub mod peer;
mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant as Moment;

use super::resolve::Looking;
use super::*;
use peer::{Peer, Say, answer};

/// Long enough for a busy machine.
const LONG: Duration = Duration::from_secs(20);

fn client() -> Client {
    Client::new(&Egress::default()).expect("a client")
}

/// A client that asks `find` for names.
pub(crate) fn looking_up(find: impl Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Client {
    let look_up: LookUp = Arc::new(move |host| {
        let found = find(&host);
        Box::pin(async move { found })
    });
    Client::with_look_up(&Egress::default(), look_up).expect("a client")
}

fn get(url: impl Into<String>) -> Outgoing {
    Outgoing { method: "GET".into(), url: url.into(), written_out: true, headers: Vec::new(), body: None, timeout: LONG }
}

fn post(url: impl Into<String>) -> Outgoing {
    Outgoing { method: "POST".into(), body: Some(Bytes::from_static(b"{\"a\":1}")), ..get(url) }
}

/// DNS as a table; each name gives its answers one after another, the last one for ever.
fn table(names: &[(&str, &[&[&str]])]) -> LookUp {
    let names: BTreeMap<String, Vec<Vec<IpAddr>>> = names
        .iter()
        .map(|(name, answers)| {
            let answers = answers.iter().map(|a| a.iter().map(|ip| ip.parse().expect("an address")).collect()).collect();
            ((*name).to_owned(), answers)
        })
        .collect();
    let names = Arc::new(Mutex::new(names));
    Arc::new(move |host| {
        let mut names = names.lock().expect("no panic while locked");
        let found = match names.get_mut(&host) {
            None => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such name")),
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
        };
        Box::pin(async move { found }) as Looking
    })
}

#[tokio::test]
async fn a_request_goes_out_as_given_and_the_answer_comes_back_whole() {
    let peer = Peer::start(|_, n| answer([200, 404][n], &[("X-Thing", "7")], "hello")).await;
    let client = client();
    let mut request = post(format!("{}/p/a%2Fth?q=1#f", peer.url));
    request.headers = vec![("content-type".into(), "application/json".into()), ("X-Name".into(), "Grüße".into())];
    let said = client.send(request).await.expect("an answer");
    assert_eq!((said.status, said.header("x-thing"), said.body.as_ref()), (200, Some("7"), b"hello".as_slice()));
    // A refusal is an answer too.
    assert_eq!(client.send(get(&peer.url)).await.expect("an answer").status, 404);
    let heard = peer.heard();
    assert_eq!((heard[0].method.as_str(), heard[0].target.as_str()), ("POST", "/p/a%2Fth?q=1"));
    assert_eq!(heard[0].body, b"{\"a\":1}");
    assert_eq!(heard[0].header("content-length"), Some("7"));
    assert_eq!(heard[0].header("x-name"), Some("Grüße"));
    assert_eq!(heard[0].header("user-agent"), Some(concat!("tripline/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(heard[0].header("accept-encoding"), None);
}

#[tokio::test]
async fn a_redirect_is_an_error_that_names_the_host_and_nothing_is_sent_on() {
    let other = Peer::start(|_, _| answer(200, &[], "")).await;
    let there = other.url.clone();
    let peer = Peer::start(move |heard, _| {
        let status = heard.path().trim_start_matches('/').parse().expect("a status");
        answer(status, &[("location", &format!("{there}/stolen?x=1"))], "")
    })
    .await;
    let client = client();
    for status in [301, 302, 303, 307, 308] {
        let mut request = post(format!("{}/{status}", peer.url));
        request.headers.push(("authorization".into(), "Bearer canary".into()));
        let failure = client.send(request).await.expect_err("not followed");
        assert_eq!((failure.class, failure.status), (Class::Refused, Some(status)));
        assert!(failure.message.contains(&format!("to `{}`", other.url)), "{}", failure.message);
        assert!(!failure.message.contains("stolen"), "{}", failure.message);
    }
    assert!(other.heard().is_empty());
}

#[tokio::test]
async fn what_never_left_is_told_from_what_left_without_an_answer() {
    let client = client();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let failure = client.send(post(format!("http://{closed}/x?secret=1"))).await.expect_err("nobody is there");
    assert_eq!(failure.class, Class::Connect, "{failure}");
    assert!(failure.message.contains(&closed.to_string()) && !failure.message.contains("secret"), "{failure}");

    for say in [Say::Reset, Say::Close(Vec::new()), Say::Close(b"HTTP/1.1 2".to_vec()), Say::Bytes(b"SSH-2.0-x\r\n\r\n".to_vec())] {
        let peer = Peer::start(move |_, _| say.clone()).await;
        for request in [post(&peer.url), get(&peer.url)] {
            let failure = client.send(request).await.expect_err("no answer");
            assert_eq!((failure.class, failure.status), (Class::Unknown, None), "{failure}");
        }
        assert_eq!(peer.heard().len(), 2, "nothing is sent twice");
    }
}

#[tokio::test]
async fn time_runs_out_for_silence_endless_heads_and_dripped_bodies() {
    let client = client();
    // Short, yet long enough to connect on a busy machine.
    let short = Duration::from_secs(1);
    for (say, class, status) in [
        (Say::Silence, Class::Unknown, None),
        (Say::Drip(b"HTTP/1.1 200 OK\r\nx: ".to_vec()), Class::Unknown, None),
        (Say::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec()), Class::Invalid, Some(200)),
    ] {
        let peer = Peer::start(move |_, _| say.clone()).await;
        let begun = Moment::now();
        let failure = client.send(Outgoing { timeout: short, ..post(&peer.url) }).await.expect_err("too slow");
        assert_eq!((failure.class, failure.status), (class, status), "{failure}");
        assert!(begun.elapsed() >= short && begun.elapsed() < LONG, "{:?}", begun.elapsed());
    }
    // A connection that is accepted by nobody: the request has not left.
    let looks_for_ever: LookUp = Arc::new(|_| Box::pin(std::future::pending()));
    let client = Client::with_look_up(&Egress::default(), looks_for_ever).expect("a client");
    let failure = client.send(Outgoing { timeout: short, ..post("http://slow.example/") }).await.expect_err("no address");
    assert_eq!(failure.class, Class::Connect, "{failure}");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_no_answer() {
    let client = client();
    for say in [
        Say::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"a\"".to_vec()),
        Say::Close(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n".to_vec()),
    ] {
        let peer = Peer::start(move |_, _| say.clone()).await;
        let failure = client.send(post(&peer.url)).await.expect_err("cut");
        assert_eq!((failure.class, failure.status), (Class::Invalid, Some(200)), "{failure}");
    }
    // A refusal stays what its status says.
    let peer = Peer::start(|_, _| Say::Close(b"HTTP/1.1 503 X\r\nretry-after: 9\r\ncontent-length: 10\r\n\r\n{\"a\"".to_vec())).await;
    let said = client.send(post(&peer.url)).await.expect("an answer");
    assert_eq!((said.status, said.header("retry-after"), said.body.as_ref()), (503, Some("9"), b"{\"a\"".as_slice()));
}

#[tokio::test]
async fn an_endless_answer_is_read_up_to_its_limit() {
    let client = client();
    for (head, ok) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5368709120\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", false),
        ("HTTP/1.1 500 X\r\ncontent-length: 5368709120\r\n\r\n", true),
    ] {
        let peer = Peer::start(move |_, _| Say::Flood(head.as_bytes().to_vec())).await;
        match client.send(get(&peer.url)).await {
            Ok(said) => assert!(ok && said.body.len() <= REFUSAL_MAX, "{head}"),
            Err(failure) => {
                assert!(!ok, "{head}");
                assert_eq!((failure.class, failure.status), (Class::Invalid, Some(200)), "{failure}");
                assert!(failure.message.contains("longer than"), "{failure}");
            }
        }
    }
}

#[tokio::test]
async fn no_more_of_an_answer_is_kept_than_its_caller_needs() {
    let client = client();
    let long = vec![b'x'; 3 << 20];
    let whole = long.clone();
    let peer = Peer::start(move |_, _| answer(200, &[], &whole)).await;
    for (keep, kept) in [(0, 0), (1000, 1000), (2 << 20, 2 << 20), (ANSWER_MAX, long.len())] {
        let (said, length) = client.send_keeping(get(&peer.url), keep).await.expect("an answer");
        assert_eq!((said.body.len(), length), (kept, long.len() as u64), "{keep}");
    }
    let endless = Peer::start(|_, _| Say::Flood(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec())).await;
    let failure = client.send_keeping(get(&endless.url), 10).await.expect_err("endless");
    assert!(failure.message.contains("longer than"), "{failure}");
}

#[tokio::test]
async fn an_encoding_that_nobody_asked_for_is_an_error() {
    let client = client();
    let peer = Peer::start(|heard, _| {
        let (status, encoding) = heard.path()[1..].split_once('/').expect("two parts");
        answer(status.parse().expect("a status"), &[("content-encoding", encoding)], [0x1f, 0x8b, 8, 0])
    })
    .await;
    for encoding in ["gzip", "br", "gzip,identity", "aws-chunked"] {
        let failure = client.send(get(format!("{}/200/{encoding}", peer.url))).await.expect_err("encoded");
        assert_eq!((failure.class, failure.status), (Class::Invalid, Some(200)));
        assert!(failure.message.contains(&format!("unexpected encoding `{encoding}`")), "{failure}");
    }
    assert_eq!(client.send(get(format!("{}/200/Identity", peer.url))).await.expect("plain").body.len(), 4);
    let refused = client.send(get(format!("{}/429/gzip", peer.url))).await.expect("an answer");
    assert_eq!((refused.status, refused.body.len()), (429, 0));
}

#[tokio::test]
async fn headers_that_would_break_out_are_refused_and_not_shown() {
    let peer = Peer::start(|_, _| answer(200, &[], "")).await;
    let client = client();
    for (name, value, says) in [
        ("x-a", "canary\r\nx-b: 1", "invalid header value for `x-a`"),
        ("x-a", "canary\nx-b: 1", "invalid header value for `x-a`"),
        ("x-a", "canary\0", "invalid header value for `x-a`"),
        ("x a", "canary", "invalid header name `x a`"),
        ("x-a\r\n", "canary", "invalid header name `x-a`"),
        ("", "canary", "invalid header name ``"),
        ("Transfer-Encoding", "canary", "`transfer-encoding` is set by the client itself"),
        ("Content-Length", "canary", "`content-length` is set by the client itself"),
    ] {
        let failure = client.send(Outgoing { headers: vec![(name.into(), value.into())], ..post(&peer.url) }).await.expect_err("refused");
        assert_eq!(failure.class, Class::Refused);
        assert!(failure.message.contains(says) && !failure.message.contains("canary"), "{failure}");
    }
    let failure = client.send(Outgoing { method: "GE T".into(), ..post(&peer.url) }).await.expect_err("refused");
    assert_eq!((failure.class, failure.message.as_str()), (Class::Refused, "invalid method `GE T`"));
    for (url, says) in [
        ("ftp://h/x", "neither `http` nor `https`"),
        ("file:///etc/passwd", "neither `http` nor `https`"),
        ("/relative?secret=1", "invalid URL `/relative`"),
        ("http://", "invalid URL"),
        ("http://u:secret@ho st/?secret", "invalid URL `http://ho st/`"),
    ] {
        let failure = client.send(get(url)).await.expect_err("refused");
        assert_eq!(failure.class, Class::Refused, "{url}");
        assert!(failure.message.contains(says) && !failure.message.contains("secret"), "{failure}");
    }
    let failure = client.send(get(format!("http://h/{}", "x".repeat(URL_MAX)))).await.expect_err("refused");
    assert_eq!(failure.class, Class::Refused);
    assert!(peer.heard().is_empty());
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_in_every_spelling() {
    let client = client();
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.01",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "0xa.0.0.1",
        "167772161",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "198.51.100.7",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[fd00::1]",
        "[fe80::1]",
        "[ff02::1]",
    ] {
        let failure = client.send(Outgoing { written_out: false, ..get(format!("http://{host}:9/")) }).await.expect_err(host);
        assert_eq!(failure.class, Class::Refused, "{host}: {failure}");
    }
    for host in
        ["169.254.169.254", "0xa9fea9fe", "2852039166", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[fe80::a9fe:a9fe]", "169.254.1.1"]
    {
        let failure = client.send(Outgoing { written_out: true, ..get(format!("http://{host}:9/")) }).await.expect_err(host);
        assert_eq!(failure.class, Class::Refused, "{host}: {failure}");
        assert!(failure.message.contains("metadata"), "{failure}");
    }
}

#[tokio::test]
async fn names_are_judged_by_what_they_resolve_to() {
    let egress = Egress { allow_hosts: vec!["files.corp".into()], allow_nets: vec!["10.20.0.0/16".parse().unwrap()], ..Egress::default() };
    let dns = table(&[
        ("inner.example", &[&["127.0.0.1"]]),
        ("mixed.example", &[&["8.8.8.8", "127.0.0.1"]]),
        ("mapped.example", &[&["::ffff:10.0.0.1"]]),
        ("meta.example", &[&["169.254.169.254"]]),
        ("none.example", &[&[]]),
        ("files.corp", &[&["127.0.0.1"]]),
    ]);
    let client = Client::with_look_up(&egress, dns).expect("a client");
    let peer = Peer::start(|_, _| answer(200, &[], "in")).await;
    let port = peer.url.rsplit(':').next().unwrap();
    let ask = async |host: &str, written_out: bool| client.send(Outgoing { written_out, ..get(format!("http://{host}:{port}/")) }).await;
    let class = |said: Result<Answer, Failure>| said.map(|a| a.status).map_err(|f| f.class);

    assert_eq!(class(ask("inner.example", true).await), Ok(200));
    // The connection to a private host that a file names is not lent to an event's host of the same name.
    assert_eq!(class(ask("inner.example", false).await), Err(Class::Refused));
    assert_eq!(class(ask("INNER.example", false).await), Err(Class::Refused));
    assert_eq!(class(ask("mixed.example", false).await), Err(Class::Refused));
    assert_eq!(class(ask("mapped.example", false).await), Err(Class::Refused));
    assert_eq!(class(ask("files.corp", false).await), Ok(200));
    for written_out in [true, false] {
        assert_eq!(class(ask("meta.example", written_out).await), Err(Class::Refused));
        assert_eq!(class(ask("none.example", written_out).await), Err(Class::Connect));
        assert_eq!(class(ask("nx.example", written_out).await), Err(Class::Connect));
    }
    let failure = ask("inner.example", false).await.expect_err("private");
    assert!(
        failure.message.contains("`inner.example` is the address `127.0.0.1`") && failure.message.contains("egress.allow"),
        "{failure}"
    );
    let failure = ask("nx.example", true).await.expect_err("unknown");
    assert!(failure.message.contains("cannot find the host `nx.example"), "{failure}");
    assert_eq!(peer.heard().len(), 2);
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let egress = Egress { allow_nets: vec!["127.0.0.1/32".parse().unwrap()], ..Egress::default() };
    let peer = Peer::start(|_, _| answer(200, &[("connection", "close")], "")).await;
    let port = peer.url.rsplit(':').next().unwrap();
    // A name that flips after its first answer: there is one look-up per connection, and each is judged.
    let client = Client::with_look_up(&egress, table(&[("rebound.example", &[&["127.0.0.1"], &["127.0.0.2"]])])).expect("a client");
    let request = Outgoing { written_out: false, ..get(format!("http://rebound.example:{port}/")) };
    assert_eq!(client.send(request.clone()).await.expect("an answer").status, 200);
    assert_eq!(client.send(request).await.expect_err("another address").class, Class::Refused);
    assert_eq!(peer.heard().len(), 1);
}

#[tokio::test]
async fn a_proxy_gets_everything_but_what_policy_forbids() {
    let proxy = Peer::start(|_, _| answer(200, &[], "from the proxy")).await;
    let egress = Egress {
        proxy: Some(proxy.url.replace("127.0.0.1", "proxy.corp").replace("http://", "http://user:canary@")),
        allow_hosts: vec!["only-the-proxy-knows.corp".into()],
        ..Egress::default()
    };
    let dns = table(&[("proxy.corp", &[&["127.0.0.1"]]), ("inner.example", &[&["10.0.0.1"]]), ("public.example", &[&["8.8.8.8"]])]);
    let client = Client::with_look_up(&egress, dns).expect("a client");
    for (host, written_out, expected) in [
        ("orchestrator.corp", true, Ok(200)),
        ("public.example", false, Ok(200)),
        ("only-the-proxy-knows.corp", false, Ok(200)),
        ("inner.example", false, Err(Class::Refused)),
        ("10.0.0.1", false, Err(Class::Refused)),
        ("169.254.169.254", true, Err(Class::Refused)),
        ("nx.example", false, Err(Class::Connect)),
    ] {
        let said = client.send(Outgoing { written_out, ..get(format!("http://{host}/x")) }).await;
        if let Err(failure) = &said {
            assert!(!failure.message.contains("canary"), "{failure}");
        }
        assert_eq!(said.map(|a| a.status).map_err(|f| f.class), expected, "{host}");
    }
    let targets: Vec<String> = proxy.heard().into_iter().map(|h| h.target).collect();
    assert_eq!(targets, ["http://orchestrator.corp/x", "http://public.example/x", "http://only-the-proxy-knows.corp/x"]);
    assert!(proxy.heard()[0].header("proxy-authorization").is_some());
}

#[test]
fn a_client_that_cannot_be_made_says_why() {
    let fails = |egress: &Egress| Client::new(egress).expect_err("no client").0;
    for proxy in ["proxy:3128", "ftp://user:canary@p", "http://", "socks5://p:1", "http://user:canary@ho st"] {
        let message = fails(&Egress { proxy: Some(proxy.into()), ..Egress::default() });
        assert!(
            message.contains("`egress.proxy`") && message.contains("expected `http://host:port`") && !message.contains("canary"),
            "{message}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let ca = |text: &str| {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, text).unwrap();
        fails(&Egress { ca: Some(path), ..Egress::default() })
    };
    assert!(ca("").contains("has no certificate"));
    assert!(ca("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").contains("has no certificate"));
    assert!(ca("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("egress.ca"));
    assert!(fails(&Egress { ca: Some(folder.path().join("none")), ..Egress::default() }).contains("cannot read `egress.ca`"));
}

#[test]
fn what_is_shown_of_a_url_has_no_credentials_and_no_query() {
    for (url, expected) in [
        ("https://u:p@h:444/a/b?secret=1#f", "POST https://h:444/a/b"),
        ("http://H/", "POST http://h/"),
        ("http://u:p@[::1]:5/x?q", "POST http://[::1]:5/x"),
        ("http://u:p@ho st/x?q", "POST http://ho st/x"),
        ("nonsense?q", "POST nonsense"),
    ] {
        assert_eq!(request_line("POST", url), expected);
    }
}
