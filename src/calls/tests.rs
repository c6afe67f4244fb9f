//! Requests of connectors against a scripted peer over loopback.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::config::Egress;
use crate::connectors::auth::{AuthValue, ClientAuth, Encoding, Grant, HmacAlgorithm, HmacAuth, KeyPlace, OAuth2};
use crate::connectors::{Caller, Connectors, Content, Errors, Limits};
use crate::expr::Template;
use crate::fault::{Place, SourceText};
use crate::http::client::tests::peer::{Peer, Say, answer, json as says};
use crate::journal::Options;
use crate::retry::RetryWords;
use crate::time::{Rate, Timestamp};

/// Long enough for a busy machine.
const LONG: Duration = Duration::from_secs(20);
const SECRET: &str = "canary/secret 1";

fn template(text: &str) -> Template {
    Template::parse(text).expect("a template")
}

fn connector(name: &str, auth: Auth) -> Connector {
    let source = Arc::new(SourceText { path: "x.yaml".into(), text: String::new() });
    Connector {
        name: name.into(),
        title: None,
        description: None,
        vendor_docs: None,
        api_version: None,
        icon: None,
        base_url: template("https://h"),
        allow_plaintext: false,
        config: Vec::new(),
        auth,
        headers: Vec::new(),
        query: Vec::new(),
        retry: RetryWords::default(),
        limits: Limits::default(),
        before: Vec::new(),
        after: Vec::new(),
        errors: Errors::default(),
        operations: BTreeMap::new(),
        triggers: BTreeMap::new(),
        tests: Vec::new(),
        place: Place { source, line: 1, column: 1, length: 0 },
    }
}

fn access(values: &[(&'static str, &str)]) -> Access {
    let auth = values.iter().map(|(name, value)| (*name, Secret::new((*value).to_owned()))).collect();
    Access::new("x".into(), json!({}), auth, Vec::new())
}

fn request(url: String) -> CallRequest {
    CallRequest {
        connector: "x".into(),
        operation: "o".into(),
        method: "POST",
        url,
        written_out: true,
        query: vec![("a".into(), "1 2".into())],
        headers: BTreeMap::from([("x-own".into(), "yes".into())]),
        content: Content::Json(json!({"n": 9_007_199_254_740_993_u64})),
        idempotent: false,
    }
}

fn calls() -> Calls {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_500));
    Calls::new(Client::new(&Egress::default()).unwrap(), clock)
}

async fn send(calls: &Calls, connector: &Connector, access: &Access, request: &CallRequest) -> Said {
    let call = Call { connector, access, request, headers: &[], timeout: LONG, who: Who::Action };
    let said = calls.send(call).await;
    for shown in [format!("{:?}", said.trace), said.result.as_ref().err().map(ToString::to_string).unwrap_or_default()] {
        assert!(!shown.contains("canary"), "{shown}");
    }
    said
}

fn text() -> AuthValue {
    AuthValue::Template(template("unused"))
}

fn oauth2(peer: &Peer, grant: Grant) -> Auth {
    Auth::OAuth2(Box::new(OAuth2 {
        grant,
        token_url: template(&format!("{}/token", peer.url)),
        client_id: text(),
        client_secret: Some(text()),
        scope: Some(template("read write")),
        client_auth: ClientAuth::Basic,
        params: vec![("audience".into(), template("api"))],
    }))
}

fn hmac(algorithm: HmacAlgorithm, encoding: Encoding, content: &str) -> Auth {
    Auth::Hmac(Box::new(HmacAuth {
        secret: text(),
        algorithm,
        header: "X-Signature".into(),
        encoding,
        prefix: "v1=".into(),
        content: template(content),
        timestamp_header: Some("X-Stamp".into()),
    }))
}

#[tokio::test]
async fn each_way_of_authorising_sends_what_it_should_and_shows_nothing() {
    let peer = Peer::start(|_, _| says(200, &json!({"id": 9_007_199_254_740_993_u64}))).await;
    let basic = Auth::Basic { username: text(), password: text() };
    let key = |place, name: &str| Auth::ApiKey { place, name: name.into(), value: text() };
    for (auth, values, header, expected) in [
        (Auth::None, &[][..], "authorization", None),
        (Auth::Bearer { secret: text() }, &[("bearer", SECRET)][..], "authorization", Some("Bearer canary/secret 1")),
        (basic, &[("username", "anna"), ("password", SECRET)][..], "authorization", Some("Basic YW5uYTpjYW5hcnkvc2VjcmV0IDE=")),
        (key(KeyPlace::Header, "X-Api-Key"), &[("value", SECRET)][..], "x-api-key", Some(SECRET)),
        (key(KeyPlace::Query, "key"), &[("value", SECRET)][..], "authorization", None),
        // echo -n '{"n":9007199254740993}|POST|/v1/things|a=1%202|1700000000' | openssl dgst -sha256 -hmac 'canary/secret 1'
        (
            hmac(HmacAlgorithm::Sha256, Encoding::Hex, "${request.body}|${request.method}|${request.path}|${request.query}|${timestamp}"),
            &[("secret", SECRET)][..],
            "x-signature",
            Some("v1=HMAC256"),
        ),
    ] {
        let in_query = matches!(&auth, Auth::ApiKey { place: KeyPlace::Query, .. });
        let said = send(&calls(), &connector("x", auth), &access(values), &request(format!("{}/v1/things", peer.url))).await;
        assert_eq!(*said.result.expect("an answer").body(), json!({"id": 9_007_199_254_740_993_u64}));
        assert_eq!((said.trace.status, said.trace.request), (Some(200), format!("POST {}/v1/things", peer.url)));
        let heard = peer.heard().pop().unwrap();
        let expected = expected.map(|text| if text == "v1=HMAC256" { format!("v1={}", by_hand(&heard)) } else { text.to_owned() });
        assert_eq!(heard.header(header).map(str::to_owned), expected);
        assert_eq!((heard.header("x-own"), heard.header("content-type")), (Some("yes"), Some("application/json")));
        assert_eq!(heard.body, br#"{"n":9007199254740993}"#);
        assert_eq!(heard.target, if in_query { "/v1/things?a=1%202&key=canary%2Fsecret%201" } else { "/v1/things?a=1%202" });
    }
}

/// The signature of what was heard, from the bytes as they came.
fn by_hand(heard: &crate::http::client::tests::peer::Heard) -> String {
    use ::hmac::{Hmac, KeyInit, Mac};
    let (path, query) = heard.target.split_once('?').unwrap();
    let text = format!("{}|{}|{path}|{query}|{}", String::from_utf8_lossy(&heard.body), heard.method, heard.header("x-stamp").unwrap());
    assert_eq!(heard.header("x-stamp"), Some("1700000000"));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn signatures_are_those_of_the_rfc() {
    // RFC 2202 and RFC 4231, test case 2.
    for (algorithm, encoding, expected) in [
        (HmacAlgorithm::Sha1, Encoding::Hex, "v1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (HmacAlgorithm::Sha256, Encoding::Hex, "v1=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (HmacAlgorithm::Sha256, Encoding::Base64, "v1=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="),
        (HmacAlgorithm::Sha256, Encoding::Base64Url, "v1=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM"),
        (
            HmacAlgorithm::Sha512,
            Encoding::Hex,
            "v1=164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        let raw = Content::Raw { content_type: "text/plain".into(), bytes: b"what do ya want for nothing?".to_vec() };
        let mut wire = Wire::of(&CallRequest { content: raw, ..request("https://h/p".into()) });
        let connector = connector("x", hmac(algorithm, encoding, "${request.body}"));
        let with = With { bearer: None, now: Timestamp::EPOCH };
        authorize(&mut wire, &connector, &access(&[("secret", "Jefe")]), with).expect("signed");
        let signature = wire.headers.iter().find(|(name, _)| name == "x-signature").map(|(_, value)| value.as_str());
        assert_eq!(signature, Some(expected));
    }
}

#[test]
fn what_cannot_be_authorised_says_why_and_nothing_else() {
    let with = With { bearer: None, now: Timestamp::EPOCH };
    let binary = Content::Raw { content_type: "x/y".into(), bytes: vec![0xff] };
    for (auth, values, content, says) in [
        (Auth::Bearer { secret: text() }, &[][..], Content::Empty, "`auth.bearer` has no value"),
        (
            Auth::Basic { username: text(), password: text() },
            &[("username", "a:canary"), ("password", SECRET)][..],
            Content::Empty,
            "colon",
        ),
        (
            hmac(HmacAlgorithm::Sha256, Encoding::Hex, "${request.body}"),
            &[("secret", SECRET)][..],
            binary.clone(),
            "no text cannot be signed",
        ),
        (hmac(HmacAlgorithm::Sha256, Encoding::Hex, "${request.nothing}"), &[("secret", SECRET)][..], Content::Empty, "missing"),
    ] {
        let mut wire = Wire::of(&CallRequest { content, ..request("https://h/p".into()) });
        let why = authorize(&mut wire, &connector("x", auth), &access(values), with).expect_err(says);
        assert!(why.contains(says) && !why.contains("canary"), "{why}");
    }
    let mut wire = Wire::of(&CallRequest { content: binary, ..request("https://h/p".into()) });
    let path_only = connector("x", hmac(HmacAlgorithm::Sha256, Encoding::Hex, "${request.path}"));
    assert_eq!(authorize(&mut wire, &path_only, &access(&[("secret", SECRET)]), with), Ok(()));
}

#[tokio::test]
async fn a_401_renews_the_token_once_and_only_once() {
    let good = Arc::new(AtomicUsize::new(0));
    let gate = Arc::clone(&good);
    let peer = Peer::start(move |heard, before| match heard.path() {
        "/token" => says(200, &json!({"access_token": format!("canary-token-{before}"), "expires_in": 3600})),
        _ if before >= gate.load(Ordering::SeqCst) => says(200, &json!({"ok": true})),
        _ => says(401, &json!({"message": format!("no {}", heard.header("authorization").unwrap_or_default())})),
    })
    .await;
    let one = connector("x", oauth2(&peer, Grant::ClientCredentials));
    let values = access(&[("client_id", "app"), ("client_secret", SECRET)]);
    let calls = calls();
    let to = request(format!("{}/v1", peer.url));
    assert_eq!(send(&calls, &one, &values, &to).await.result.unwrap().status, 200);
    assert_eq!(send(&calls, &one, &values, &to).await.result.unwrap().status, 200);
    assert_eq!(peer.count("/token"), 1, "one token for both");
    let token = peer.heard().into_iter().find(|heard| heard.path() == "/token").unwrap();
    assert_eq!(String::from_utf8_lossy(&token.body), "grant_type=client_credentials&scope=read%20write&audience=api");
    assert_eq!(token.header("authorization"), Some("Basic YXBwOmNhbmFyeSUyRnNlY3JldCUyMDE="));
    // The token is withdrawn: the next call gets another one and is repeated.
    good.store(peer.heard().len() + 2, Ordering::SeqCst);
    assert_eq!(send(&calls, &one, &values, &to).await.result.unwrap().status, 200);
    assert_eq!(peer.count("/token"), 2);
    // It is no good either: that is the answer.
    good.store(usize::MAX, Ordering::SeqCst);
    let before = peer.heard().len();
    assert_eq!(send(&calls, &one, &values, &to).await.result.unwrap().status, 401);
    assert_eq!(peer.heard().len() - before, 3, "call, token, call");
}

#[tokio::test]
async fn a_refresh_token_that_changes_outlives_a_restart_and_gives_way_to_a_new_one() {
    let peer = Peer::start(|heard, _| {
        let body = String::from_utf8_lossy(&heard.body).into_owned();
        let handed = body.split('&').find_map(|field| field.strip_prefix("refresh_token=")).map(str::to_owned);
        match handed {
            Some(old) => says(200, &json!({"access_token": format!("for-{old}"), "refresh_token": format!("{old}x"), "expires_in": 3600})),
            None => says(200, &json!({"used": heard.header("authorization")})),
        }
    })
    .await;
    let one = connector("x", oauth2(&peer, Grant::RefreshToken(text())));
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { segment_bytes: 64 << 20, clock: Clock::system(), boot_id: "boot-1".to_owned() };
    let open = || Journal::open(&dir.path().join("state"), options()).expect("opens").0;
    let used = async |journal: Option<Journal>, refresh: &'static str| {
        let calls = calls();
        if let Some(journal) = journal {
            calls.keep_in(journal);
        }
        let values = access(&[("client_id", "app"), ("client_secret", SECRET), ("refresh_token", refresh)]);
        send(&calls, &one, &values, &request(format!("{}/v1", peer.url))).await.result.map(|said| said.body()["used"].clone())
    };
    assert_eq!(used(Some(open()), "r-canary-0").await, Ok(json!("Bearer for-r-canary-0")));
    let journal = open();
    let kept = journal.kept(crate::journal::Space::Token, "connector:x").unwrap().expect("kept");
    assert!(!String::from_utf8_lossy(&kept).contains("canary"), "sealed");
    assert_eq!(used(Some(journal), "r-canary-0").await, Ok(json!("Bearer for-r-canary-0x")), "the newest after a restart");
    assert_eq!(used(Some(open()), "r-canary-9").await, Ok(json!("Bearer for-r-canary-9")), "the files name another one");
    let failure = used(None, "r-canary-9").await.expect_err("nowhere to keep it");
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.message.contains("journal"), "{failure}");
}

#[tokio::test]
async fn credentials_stay_on_the_hosts_of_the_files() {
    let peer = Peer::start(|heard, _| match heard.path() {
        "/elsewhere" => answer(302, &[("location", "http://127.0.0.1:1/steal?canary=1")], ""),
        _ => says(200, &json!({})),
    })
    .await;
    let (bearer, values) = (connector("x", Auth::Bearer { secret: text() }), access(&[("bearer", SECRET)]));
    let from_data = CallRequest { written_out: false, ..request(format!("{}/v1", peer.url)) };
    let failure = send(&calls(), &bearer, &values, &from_data).await.result.expect_err("from data");
    assert_eq!(failure.class, Class::Refused);
    assert!(failure.message.contains("comes from data"), "{failure}");
    let plain = request("http://api.example/v1".into());
    let failure = send(&calls(), &bearer, &values, &plain).await.result.expect_err("plain");
    assert!(failure.class == Class::Configuration && failure.message.contains("allow_plaintext"), "{failure}");
    assert!(peer.heard().is_empty(), "nothing was sent");
    let failure = send(&calls(), &bearer, &values, &request(format!("{}/elsewhere", peer.url))).await.result.expect_err("redirect");
    assert!(failure.message.contains("127.0.0.1:1"), "{failure}");
    assert_eq!(peer.heard().len(), 1, "not followed");
}

#[tokio::test]
async fn hosts_from_data_reach_nothing_that_is_not_public() {
    let peer = Peer::start(|_, _| says(200, &json!({}))).await;
    let port = peer.url.rsplit(':').next().unwrap();
    let open = connector("x", Auth::None);
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ] {
        let to = CallRequest { written_out: false, ..request(format!("http://{host}:{port}/x")) };
        let failure = send(&calls(), &open, &access(&[]), &to).await.result.expect_err(host);
        assert_eq!(failure.class, Class::Refused, "{host}: {failure}");
    }
    assert!(peer.heard().is_empty());
    // Metadata services are not called even when the file names them.
    let failure = send(&calls(), &open, &access(&[]), &request("http://169.254.169.254/latest".into())).await.result.expect_err("metadata");
    assert_eq!(failure.class, Class::Refused, "{failure}");
}

#[tokio::test]
async fn a_line_break_is_no_header_of_its_own() {
    let peer = Peer::start(|_, _| says(200, &json!({}))).await;
    let mut evil = request(format!("{}/v1", peer.url));
    evil.headers.insert("x-own".into(), "a\r\nX-Evil: canary".into());
    let failure = send(&calls(), &connector("x", Auth::None), &access(&[]), &evil).await.result.expect_err("refused");
    assert_eq!(failure.class, Class::Refused, "{failure}");
    let key = connector("x", Auth::ApiKey { place: KeyPlace::Header, name: "X-Key".into(), value: text() });
    let values = access(&[("value", "canary\r\nX-Evil: 1")]);
    send(&calls(), &key, &values, &request(format!("{}/v1", peer.url))).await.result.expect_err("refused");
    assert!(peer.heard().is_empty());
}

#[tokio::test]
async fn answers_are_bounded_and_keep_their_numbers() {
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let exact = r#"{"a":9007199254740993,"b":-9223372036854775808,"c":18446744073709551615}"#;
    let texts = [deep, exact.to_owned()];
    let peer = Peer::start(move |heard, _| match heard.path() {
        "/flood" => Say::Flood(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[".to_vec()),
        "/deep" => answer(200, &[("content-type", "application/json")], &texts[0]),
        "/cut" => Say::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"a\": 1".to_vec()),
        "/twice" => answer(200, &[("link", "<a>; rel=x"), ("link", "<b>; rel=next")], ""),
        _ => answer(200, &[("content-type", "application/json")], &texts[1]),
    })
    .await;
    let open = connector("x", Auth::None);
    let get = async |path: &str| send(&calls(), &open, &access(&[]), &request(format!("{}{path}", peer.url))).await.result;
    assert_eq!(get("/exact").await.unwrap().body().to_string(), exact);
    assert!(matches!(get("/deep").await.unwrap().body(), Value::String(_)), "too deep for JSON: a text");
    assert_eq!(get("/flood").await.expect_err("without end").class, Class::Invalid);
    assert!(matches!(get("/cut").await.expect_err("cut").class, Class::Invalid | Class::Unknown));
    let twice = get("/twice").await.unwrap();
    assert_eq!(twice.header("link"), Some("<a>; rel=x, <b>; rel=next"));
}

#[tokio::test]
async fn the_pages_of_a_list_are_gathered_within_bounds() {
    let page = |from: usize| says(200, &json!({"rows": [{"id": from}, {"id": from + 1}], "next": from + 2}));
    let last = says(200, &json!({"rows": [{"id": 4}], "next": null}));
    let busy = answer(429, &[("Retry-After", "1")], "");
    let gathered = async |answers: Vec<Say>, max: u32, bounds: Bounds| {
        let peer = Peer::start(move |_, before| answers[before.min(answers.len() - 1)].clone()).await;
        let text = format!(
            "connector: x\nbase_url: {}\noperations:\n  o: {{method: GET, path: /r, output: {{root: rows}}, paginate: {{cursor: {{param: at, from: \
             response.body.next}}, max: {max}}}}}\n",
            peer.url
        );
        let (all, faults) = Connectors::load(&[Arc::new(SourceText { path: "x.yaml".into(), text })], None);
        let connector = all.get("x").unwrap_or_else(|| panic!("{faults:?}"));
        let (operation, access, input) = (&connector.operations["o"], access(&[]), json!({}));
        let caller = Caller { run: "r".into(), rule: "r".into(), idempotency_key: None, now: Timestamp::EPOCH };
        let request = connector.request(operation, &input, &json!({}), &caller).expect("a request");
        let asked = Asked { connector, operation, access: &access, input: &input, timeout: LONG, who: Who::Action };
        let calls = Calls::new(Client::new(&Egress::default()).unwrap(), Clock::system());
        let (trace, result) = calls.gather(asked, request, bounds).await;
        (trace, result.map_err(|failure| failure.message))
    };
    let ids = |count: usize| (0..count).map(|id| json!({ "id": id })).collect::<Value>();
    let (trace, all) = gathered(vec![page(0), page(2), last.clone()], 100, OF_A_STEP).await;
    assert_eq!((trace.status, all), (Some(200), Ok(ids(5))));
    assert!(trace.bytes > 80, "those of all pages: {}", trace.bytes);
    assert_eq!(gathered(vec![page(0), page(2), last.clone()], 2, OF_A_STEP).await.1, Ok(ids(4)), "as many as `max` says");
    assert_eq!(gathered(vec![page(0), busy, page(2), last], 100, OF_A_STEP).await.1, Ok(ids(5)), "a busy service is waited for");
    let few = gathered(vec![page(0), page(2)], 100, Bounds { rows: 3, ..OF_A_STEP }).await.1.expect_err("too many");
    assert!(few.contains("more than 4 rows") && few.contains("paginate.max"), "{few}");
    let failed = gathered(vec![page(0), says(500, &json!({}))], 100, OF_A_STEP).await;
    assert_eq!((failed.0.status, failed.1.is_err()), (Some(500), true));
    let long = |next: usize| says(200, &json!({"rows": ["x".repeat(700_000)], "next": next}));
    let large = gathered(vec![long(1), long(2)], 100, OF_A_STEP).await.1.expect_err("too large");
    assert!(large.contains("larger than 1048576 bytes"), "{large}");
}

#[tokio::test]
async fn connectors_on_one_host_share_its_budget() {
    let peer = Peer::start(|heard, _| match heard.path() {
        "/busy" => answer(429, &[("retry-after", "17")], ""),
        _ => says(200, &json!({})),
    })
    .await;
    let rate = |count| Limits { rate: Some(Rate { count, period: Duration::from_secs(60) }), concurrency: None };
    let (narrow, wide) = (
        Connector { limits: rate(2), ..connector("narrow", Auth::None) },
        Connector { limits: rate(100), ..connector("wide", Auth::None) },
    );
    let free = connector("free", Auth::None);
    let (calls, values) = (calls(), access(&[]));
    let to = |path: &str| request(format!("{}{path}", peer.url));
    assert!(send(&calls, &wide, &values, &to("/a")).await.result.is_ok());
    assert!(send(&calls, &narrow, &values, &to("/a")).await.result.is_ok());
    let said = send(&calls, &wide, &values, &to("/b")).await;
    assert!(said.result.is_ok(), "two a minute, since the narrow one is known: {said:?}");
    let failure = send(&calls, &free, &values, &to("/a")).await.result.expect_err("the host is used up for everybody");
    assert_eq!((failure.class, failure.retry_after), (Class::Throttled, Some(Duration::from_secs(60))));
    assert_eq!(peer.heard().len(), 3);
    // What a host says counts for everybody, also where nobody has a rate of their own.
    let other = Peer::start(|_, _| answer(429, &[("retry-after", "17")], "")).await;
    let (first, second) = (connector("first", Auth::None), connector("second", Auth::None));
    assert_eq!(send(&calls, &first, &values, &request(format!("{}/busy", other.url))).await.result.unwrap().status, 429);
    let short = Call {
        connector: &second,
        access: &values,
        request: &request(other.url.clone()),
        headers: &[],
        timeout: Duration::from_secs(1),
        who: Who::Action,
    };
    let failure = calls.send(short).await.result.expect_err("not yet");
    assert_eq!((failure.class, failure.retry_after), (Class::Throttled, Some(Duration::from_secs(17))));
    tokio::select! {
        biased;
        said = calls.send(Call { who: Who::Polling, ..short }) => panic!("polling waits for its turn: {said:?}"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(other.heard().len(), 1, "nobody asked again");
}
