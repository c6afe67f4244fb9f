//! The client against a scripted peer over loopback, and against the simulated Orchestrator.

mod sandbox;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant as Moment};

use serde_json::{Map, json};
use tokio::task::JoinSet;

use super::*;
use crate::config::{AuthConfig, Edition, Egress, SecretFrom, SecretRef};
use crate::fault::{Place, SourceText};
use crate::http::client::ATTEMPT_TIMEOUT;
use crate::http::client::tests::peer::{Heard, Peer, Say, answer, json as says};
use crate::rules::{Enqueue, StartJob, Target};
use crate::runs::Class;
use crate::time::Timestamp;

/// Long enough for a busy machine.
const LONG: Duration = Duration::from_secs(20);
const SECRET: &str = "canary/secret 1";
const PARENT: &str = "tl:01A-ff:item:1";

fn secret_ref() -> SecretRef {
    let source = Arc::new(SourceText { path: "tripline.yaml".into(), text: String::new() });
    SecretRef { from: SecretFrom::Env("X".into()), place: Place { source, line: 1, column: 1, length: 0 } }
}

fn client_credentials() -> AuthConfig {
    AuthConfig::ClientCredentials {
        client_id: "app".into(),
        client_secret: secret_ref(),
        scope: "OR.Queues OR.Jobs".into(),
        token_url: None,
    }
}

fn config(base: &str, edition: Edition, auth: AuthConfig) -> OrchestratorConfig {
    OrchestratorConfig {
        name: "prod".into(),
        url: base.to_owned(),
        edition,
        tenant: Some("Default".into()),
        auth,
        folder: Some(FolderRef::Path("Finance".into())),
        list_rate: None,
    }
}

fn orchestrator(config: OrchestratorConfig) -> (Orchestrator, Clock) {
    let clock = Clock::manual(Timestamp::parse_lenient("2026-11-22T10:00:00Z").unwrap());
    let http = Client::new(&Egress::default()).unwrap();
    (Orchestrator::new(config, Secret::new(SECRET.into()), http, clock.clone()), clock)
}

/// One with a fixed token on the cloud: for tests of everything but tokens.
fn plain(peer: &Peer) -> Orchestrator {
    orchestrator(config(&format!("{}/acme/Prod/orchestrator_", peer.url), Edition::Cloud, AuthConfig::Token(secret_ref()))).0
}

fn enqueue() -> Enqueue {
    Enqueue {
        target: Target::default(),
        queue: "Invoices".into(),
        priority: None,
        reference: "O'Brien 1".into(),
        defer: None,
        due: None,
        risk_sla: None,
        content: Map::new(),
        accept_duplicate: true,
    }
}

fn start_job() -> StartJob {
    StartJob {
        target: Target::default(),
        process: "Post".into(),
        input: Map::new(),
        priority: None,
        count: 1,
        runtime: None,
        reference: "r-1".into(),
        wait: false,
    }
}

fn token(n: usize, expires_in: impl serde::Serialize) -> Say {
    says(200, &json!({"access_token": format!("t{n}"), "expires_in": expires_in, "token_type": "Bearer"}))
}

fn is_token(heard: &Heard) -> bool {
    heard.path().ends_with("/connect/token")
}

/// How long to wait for a peer: shorter where it never answers, yet long enough to connect on a busy machine.
fn patience(say: &Say) -> Duration {
    if matches!(say, Say::Silence | Say::Drip(_)) { Duration::from_secs(1) } else { LONG }
}

fn duplicate() -> Say {
    says(409, &json!({"message": "Error creating Transaction. Duplicate Reference.", "errorCode": 1016}))
}

fn list(rows: Value) -> Say {
    says(200, &json!({"@odata.context": "x", "value": rows}))
}

#[tokio::test]
async fn client_credentials_ask_once_and_the_token_goes_with_every_call() {
    let peer = Peer::start(|heard, n| if is_token(heard) { token(n, 3600) } else { says(200, &json!({"Id": 5, "Status": "New"})) }).await;
    let (orchestrator, _) = orchestrator(config(&format!("{}/acme/Prod/orchestrator_", peer.url), Edition::Cloud, client_credentials()));
    for _ in 0..2 {
        let called = orchestrator.item(None, 5, LONG).await;
        assert_eq!(called.result, Ok(Some(json!({"Id": 5, "Status": "New"}))));
        assert_eq!(called.trace.request, format!("GET {}/acme/Prod/orchestrator_/odata/QueueItems(5)", peer.url));
        assert_eq!((called.trace.status, called.trace.bytes), (Some(200), 23));
    }
    let heard = peer.heard();
    assert_eq!(heard.len(), 3);
    assert_eq!(heard[0].target, "/acme/identity_/connect/token");
    assert_eq!(heard[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        String::from_utf8_lossy(&heard[0].body),
        "grant_type=client_credentials&client_id=app&client_secret=canary%2Fsecret%201&scope=OR.Queues%20OR.Jobs"
    );
    for call in &heard[1..] {
        assert_eq!(call.header("authorization"), Some("Bearer t0"));
        assert_eq!(call.header("x-uipath-folderpath-encoded"), Some("RgBpAG4AYQBuAGMAZQA="));
        assert_eq!(call.header("x-uipath-tenantname"), None, "the cloud has it in the URL");
    }
}

#[tokio::test]
async fn each_way_to_authenticate_reaches_its_endpoint() {
    let peer = Peer::start(|heard, _| match heard.path() {
        "/identity_/connect/token" | "/identity/connect/token" | "/own" | "/oauth/token" => token(7, "3600"),
        "/api/Account/Authenticate" => says(200, &json!({"result": "t7", "success": true, "error": null, "__abp": true})),
        _ => says(200, &json!({"Id": 5})),
    })
    .await;
    let own = |auth: AuthConfig| match auth {
        AuthConfig::ClientCredentials { client_id, client_secret, scope, .. } => {
            AuthConfig::ClientCredentials { client_id, client_secret, scope, token_url: Some(format!("{}/own", peer.url)) }
        }
        other => other,
    };
    let user_key =
        AuthConfig::UserKey { client_id: "app".into(), refresh_token: secret_ref(), token_url: Some(format!("{}/oauth/token", peer.url)) };
    let password = AuthConfig::Password { username: "u".into(), password: secret_ref() };
    for (edition, auth, asked, bearer, tenant) in [
        (Edition::Suite, client_credentials(), Some("/identity_/connect/token"), "Bearer t7", Some("Default")),
        (Edition::Standalone, client_credentials(), Some("/identity/connect/token"), "Bearer t7", Some("Default")),
        (Edition::Standalone, own(client_credentials()), Some("/own"), "Bearer t7", Some("Default")),
        (Edition::Cloud, user_key, Some("/oauth/token"), "Bearer t7", Some("Default")),
        (Edition::Standalone, password, Some("/api/Account/Authenticate"), "Bearer t7", Some("Default")),
        (Edition::Cloud, AuthConfig::Token(secret_ref()), None, "Bearer canary/secret 1", None),
    ] {
        let before = peer.heard().len();
        let (orchestrator, _) = orchestrator(config(&peer.url, edition, auth));
        assert_eq!(orchestrator.item(Some(&FolderRef::Id(7)), 5, LONG).await.result, Ok(Some(json!({"Id": 5}))));
        let heard = peer.heard().split_off(before);
        assert_eq!(asked, heard.iter().find(|h| h.method == "POST").map(Heard::path));
        let call = heard.last().unwrap();
        assert_eq!(call.target, "/odata/QueueItems(5)");
        assert_eq!(call.header("authorization"), Some(bearer));
        assert_eq!(call.header("x-uipath-tenantname"), tenant);
        assert_eq!(call.header("x-uipath-organizationunitid"), Some("7"));
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    let peer = Peer::start(|heard, n| if is_token(heard) { token(n, 100) } else { says(200, &json!({"Id": 5})) }).await;
    let (orchestrator, clock) = orchestrator(config(&peer.url, Edition::Standalone, client_credentials()));
    let start = clock.now();
    for (after, tokens) in [(0, 1), (39, 1), (40, 2), (79, 2), (80, 3)] {
        clock.set(start.plus(Duration::from_secs(after)));
        assert!(orchestrator.item(None, 5, LONG).await.result.is_ok());
        assert_eq!(peer.count("/connect/token"), tokens, "after {after} s");
    }
}

#[tokio::test]
async fn a_token_that_is_still_good_serves_while_its_endpoint_fails() {
    let peer = Peer::start(|heard, n| match is_token(heard) {
        true if n == 0 => token(0, 100),
        true => answer(503, &[], ""),
        false => says(200, &json!({"Id": 5})),
    })
    .await;
    let (orchestrator, clock) = orchestrator(config(&peer.url, Edition::Standalone, client_credentials()));
    let start = clock.now();
    for (after, tokens, works) in
        [(0, 1, true), (41, 2, true), (42, 2, true), (51, 3, true), (99, 4, true), (100, 5, false), (100, 6, false)]
    {
        clock.set(start.plus(Duration::from_secs(after)));
        assert_eq!(orchestrator.item(None, 5, LONG).await.result.is_ok(), works, "after {after} s");
        assert_eq!(peer.count("/connect/token"), tokens, "after {after} s");
    }
}

#[tokio::test]
async fn a_401_is_answered_with_one_new_token() {
    let peer = Peer::start(|heard, n| match heard.header("authorization") {
        None => token(n, 3600),
        Some("Bearer t0") => answer(401, &[], ""),
        Some(_) => says(201, &json!({"Id": 5})),
    })
    .await;
    let (orchestrator, _) = orchestrator(config(&peer.url, Edition::Suite, client_credentials()));
    let called = orchestrator.add_queue_item(None, &enqueue(), PARENT, LONG).await;
    assert_eq!(called.result, Ok(Added::New(json!({"Id": 5}))));
    assert_eq!(called.trace.status, Some(201));
    assert_eq!((peer.count("/connect/token"), peer.count("AddQueueItem")), (2, 2));
}

#[tokio::test]
async fn a_second_401_is_the_end() {
    let peer = Peer::start(|heard, n| if is_token(heard) { token(n, 3600) } else { answer(401, &[], "") }).await;
    let (renewable, _) = orchestrator(config(&peer.url, Edition::Suite, client_credentials()));
    let failure = renewable.add_queue_item(None, &enqueue(), PARENT, LONG).await.result.expect_err("no");
    assert_eq!((failure.class, failure.status), (Class::Auth, Some(401)));
    assert_eq!((peer.count("/connect/token"), peer.count("AddQueueItem")), (2, 2));
    // A fixed token has no successor.
    let (fixed, _) = orchestrator(config(&peer.url, Edition::Suite, AuthConfig::Token(secret_ref())));
    assert_eq!(fixed.item(None, 5, LONG).await.result.expect_err("no").class, Class::Auth);
    assert_eq!((peer.count("/connect/token"), peer.count("QueueItems(5)")), (2, 1));
}

#[tokio::test]
async fn many_callers_share_one_renewal() {
    let peer = Peer::start(|heard, n| match heard.header("authorization") {
        None if n == 0 => token(0, 3600),
        None => token(1, 3600),
        Some("Bearer t0") => answer(401, &[], ""),
        Some(_) => says(200, &json!({"Id": 5})),
    })
    .await;
    let (orchestrator, _) = orchestrator(config(&peer.url, Edition::Standalone, client_credentials()));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let orchestrator = orchestrator.clone();
        callers.spawn(async move { orchestrator.item(None, 5, LONG).await.result });
    }
    for result in callers.join_all().await {
        assert_eq!(result, Ok(Some(json!({"Id": 5}))));
    }
    assert_eq!(peer.count("/connect/token"), 2, "one at first, one after the 401s");
}

#[tokio::test]
async fn many_callers_share_one_failure_to_get_a_token() {
    let peer = Peer::start(|_, _| answer(500, &[("retry-after", "9")], "")).await;
    let (orchestrator, _) = orchestrator(config(&peer.url, Edition::Standalone, client_credentials()));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let orchestrator = orchestrator.clone();
        callers.spawn(async move { orchestrator.add_queue_item(None, &enqueue(), PARENT, LONG).await });
    }
    for called in callers.join_all().await {
        let failure = called.result.expect_err("no token");
        // The item's request has not left: its outcome is not unknown.
        assert_eq!((failure.class, failure.retry_after), (Class::Connect, Some(Duration::from_secs(9))));
        assert_eq!(called.trace.request, format!("POST {}/identity/connect/token", peer.url));
        assert_eq!(called.trace.status, Some(500));
    }
    assert_eq!(peer.heard().len(), 1);
    // Who comes later asks again.
    orchestrator.item(None, 5, LONG).await.result.expect_err("no token");
    assert_eq!(peer.heard().len(), 2);
}

#[tokio::test]
async fn a_token_endpoint_in_trouble_leaves_no_outcome_unknown() {
    let page = "<html>Please log in canary/secret 1</html>";
    for (say, class, part) in [
        (says(400, &json!({"error": "invalid_client"})), Class::Auth, "client_secret"),
        (says(400, &json!({"error": "invalid_scope"})), Class::Configuration, "scope"),
        (answer(200, &[("content-type", "text/html")], page), Class::Connect, "text/html"),
        (answer(404, &[("content-type", "text/html")], page), Class::Configuration, "token_url"),
        (answer(302, &[("location", "https://login.example/x?y")], ""), Class::Configuration, "https://login.example"),
        (answer(503, &[], ""), Class::Connect, "503"),
        (answer(429, &[("retry-after", "3")], ""), Class::Throttled, "429"),
        (answer(200, &[], "{\"access_token\": \"eyJ"), Class::Connect, "expected JSON"),
        (answer(200, &[("content-encoding", "gzip")], "x"), Class::Connect, "unexpected encoding"),
        (Say::Reset, Class::Connect, "no answer"),
        (Say::Silence, Class::Connect, "within"),
        (Say::Drip(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_vec()), Class::Connect, "cut off"),
    ] {
        let timeout = patience(&say);
        let peer = Peer::start(move |_, _| say.clone()).await;
        let (orchestrator, _) = orchestrator(config(&peer.url, Edition::Standalone, client_credentials()));
        let failure = orchestrator.add_queue_item(None, &enqueue(), PARENT, timeout).await.result.expect_err("no token");
        assert_eq!(failure.class, class, "{failure}");
        assert!(failure.message.contains(part), "`{part}` in: {failure}");
        assert!(!failure.message.contains("canary"), "{failure}");
        assert_eq!(peer.count("AddQueueItem"), 0);
    }
}

#[tokio::test]
async fn adding_an_item_says_what_became_of_it() {
    let id = json!({"Id": 5});
    for (say, class) in [
        (answer(429, &[("retry-after", "17")], ""), Class::Throttled),
        (answer(503, &[("retry-after", "17")], ""), Class::Server),
        (answer(500, &[], "{\"errorCode\": 0}"), Class::Server),
        (answer(502, &[("content-type", "text/html")], "<html>Bad gateway"), Class::Server),
        (answer(400, &[], "{\"message\": \"invalid\", \"errorCode\": 1000}"), Class::Refused),
        (answer(400, &[], "{\"errorCode\": 1101}"), Class::Configuration),
        (answer(403, &[], ""), Class::Configuration),
        (answer(404, &[], "{\"errorCode\": 1002}"), Class::Configuration),
        (answer(404, &[("content-type", "text/html")], "<html>Not found"), Class::Configuration),
        (answer(409, &[], "{\"errorCode\": 1001}"), Class::Conflict),
        (answer(302, &[("location", "https://login.example/")], ""), Class::Configuration),
        (answer(200, &[("content-type", "text/html")], "<html>Log in"), Class::Auth),
        (answer(201, &[], &id.to_string().as_bytes()[..5]), Class::Unknown),
        // What a success has to tell is not in it.
        (answer(200, &[], "{}"), Class::Unknown),
        (answer(201, &[], "{\"Id\": null}"), Class::Unknown),
        (answer(201, &[], "[]"), Class::Unknown),
        (answer(201, &[], ""), Class::Unknown),
        (Say::Close(b"HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\n{\"Id\"".to_vec()), Class::Unknown),
        (Say::Flood(b"HTTP/1.1 201 Created\r\ncontent-length: 5368709120\r\n\r\n".to_vec()), Class::Unknown),
        (answer(201, &[("content-encoding", "gzip")], "x"), Class::Unknown),
        (Say::Reset, Class::Unknown),
        (Say::Close(Vec::new()), Class::Unknown),
        (Say::Silence, Class::Unknown),
        (Say::Drip(b"HTTP/1.1 201 Created\r\n".to_vec()), Class::Unknown),
        (Say::Drip(b"HTTP/1.1 201 Created\r\ncontent-length: 9999\r\n\r\n".to_vec()), Class::Unknown),
    ] {
        let (timeout, shown) = (patience(&say), format!("{say:?}"));
        let peer = Peer::start(move |_, _| say.clone()).await;
        let begun = Moment::now();
        let called = plain(&peer).add_queue_item(None, &enqueue(), PARENT, timeout).await;
        let failure = called.result.expect_err("a failure");
        assert_eq!(failure.class, class, "{shown}: {failure}");
        assert!(!failure.message.contains("canary"), "{failure}");
        assert_eq!(peer.heard().len(), 1, "sent once: {shown}");
        assert!(begun.elapsed() < LONG);
        assert!(called.trace.request.ends_with("/odata/Queues/UiPathODataSvc.AddQueueItem"));
    }
    let gone = config("http://127.0.0.1:1", Edition::Cloud, AuthConfig::Token(secret_ref()));
    let failure = orchestrator(gone).0.add_queue_item(None, &enqueue(), PARENT, LONG).await.result.expect_err("nobody is there");
    assert_eq!(failure.class, Class::Connect);
}

#[tokio::test]
async fn a_duplicate_is_looked_up_and_owned_by_its_maker() {
    for (parent, ours) in [(json!("tl:01A-ff:item:3"), Some(true)), (json!("tl:01A-ff:other:1"), Some(false)), (json!(null), Some(false))] {
        let item = json!({"Id": 9, "Reference": "O'Brien 1", "ParentOperationId": parent});
        let found = item.clone();
        let peer = Peer::start(move |heard, _| match heard.path().rsplit('/').next() {
            Some("QueueDefinitions") => list(json!([{"Id": 44, "Name": "Invoices", "EnforceUniqueReference": true}])),
            Some("QueueItems") => list(json!([found])),
            _ => duplicate(),
        })
        .await;
        let called = plain(&peer).add_queue_item(None, &enqueue(), PARENT, LONG).await;
        assert_eq!(called.result, Ok(Added::AlreadyThere { item: Some(item), ours }));
        assert_eq!(called.trace.status, Some(409));
        let heard = peer.heard();
        assert_eq!(
            heard[2].target,
            "/acme/Prod/orchestrator_/odata/QueueItems?$filter=QueueDefinitionId%20eq%2044%20and%20Reference%20eq%20%27O%27%27Brien%201%27\
             &$orderby=Id%20desc&$top=1"
        );
        assert!(heard.iter().all(|h| h.header("x-uipath-folderpath-encoded").is_some()));
    }
    // That the look-up fails makes no failure of the add.
    let peer = Peer::start(|heard, _| if heard.method == "POST" { duplicate() } else { answer(500, &[], "") }).await;
    let called = plain(&peer).add_queue_item(None, &enqueue(), PARENT, LONG).await;
    assert_eq!(called.result, Ok(Added::AlreadyThere { item: None, ours: None }));
}

#[tokio::test]
async fn a_success_without_content_is_looked_up() {
    for found in [true, false] {
        let peer = Peer::start(move |heard, _| match heard.path().rsplit('/').next() {
            Some("QueueDefinitions") => list(json!([{"Id": 44, "Name": "Invoices"}])),
            Some("QueueItems") if found => list(json!([{"Id": 9}])),
            Some("QueueItems") => list(json!([])),
            _ => answer(204, &[], ""),
        })
        .await;
        let expected = if found { json!({"Id": 9}) } else { json!({"Reference": "O'Brien 1"}) };
        assert_eq!(plain(&peer).add_queue_item(None, &enqueue(), PARENT, LONG).await.result, Ok(Added::New(expected)));
    }
}

#[tokio::test]
async fn the_parent_goes_to_apis_that_know_it() {
    let sent = |peer: &Peer| -> Vec<bool> {
        peer.heard().iter().filter(|h| h.method == "POST").map(|h| h.json()["itemData"].get("ParentOperationId").is_some()).collect()
    };
    // Standalone: once an answer has told the version, which is asked for first.
    let peer = Peer::start(|_, _| says(201, &json!({"Id": 5}))).await;
    let (standalone, _) = orchestrator(config(&peer.url, Edition::Standalone, AuthConfig::Token(secret_ref())));
    for _ in 0..2 {
        assert!(standalone.add_queue_item(None, &enqueue(), PARENT, LONG).await.result.is_ok());
    }
    assert_eq!(sent(&peer), [true, true]);
    assert_eq!(peer.heard().len(), 3);
    assert_eq!(peer.heard()[1].json()["itemData"]["ParentOperationId"], json!(PARENT));

    for version in ["15.0", "none"] {
        let peer = Peer::start(move |_, _| answer(201, &[("api-supported-versions", version)], "{\"Id\": 5}")).await;
        let (standalone, _) = orchestrator(config(&peer.url, Edition::Standalone, AuthConfig::Token(secret_ref())));
        assert!(standalone.add_queue_item(None, &enqueue(), PARENT, LONG).await.result.is_ok());
        assert_eq!(sent(&peer), [false], "{version}");
    }

    // An older suite refuses it: once more without, and never with it again.
    for refusal in [
        answer(400, &[("api-supported-versions", "1.0, 11.0")], "{\"message\": \"itemData must not be null\"}"),
        answer(400, &[], "{\"message\": \"The property 'ParentOperationId' does not exist on type 'QueueItemDataDto'\"}"),
    ] {
        let peer = Peer::start(move |heard, _| match heard.json()["itemData"].get("ParentOperationId") {
            Some(_) => refusal.clone(),
            None => answer(201, &[], "{\"Id\": 5}"),
        })
        .await;
        let (suite, _) = orchestrator(config(&peer.url, Edition::Suite, AuthConfig::Token(secret_ref())));
        for _ in 0..2 {
            assert_eq!(suite.add_queue_item(None, &enqueue(), PARENT, LONG).await.result, Ok(Added::New(json!({"Id": 5}))));
        }
        assert_eq!(sent(&peer), [true, false, false]);
    }

    // Without it nobody can tell whose a duplicate is.
    let peer = Peer::start(|heard, _| match heard.path().rsplit('/').next() {
        Some("QueueDefinitions") => answer(200, &[], "{\"value\": [{\"Id\": 4, \"Name\": \"Invoices\"}]}"),
        Some("QueueItems") => answer(200, &[], "{\"value\": [{\"Id\": 9}]}"),
        _ => answer(409, &[], "{\"errorCode\": 1016}"),
    })
    .await;
    let (standalone, _) = orchestrator(config(&peer.url, Edition::Standalone, AuthConfig::Token(secret_ref())));
    let called = standalone.add_queue_item(None, &enqueue(), PARENT, LONG).await;
    assert_eq!(called.result, Ok(Added::AlreadyThere { item: Some(json!({"Id": 9})), ours: None }));
}

#[tokio::test]
async fn an_item_is_read_or_is_not_there() {
    let peer = Peer::start(|heard, _| match heard.path().rsplit('/').next() {
        Some("QueueItems(5)") => answer(
            200,
            &[("content-type", "text/json")],
            "\u{feff}{\"Id\":123456789012345678901234567890,\"Status\":\"Quantum\",\"Robot\":null}",
        ),
        Some("QueueItems(6)") => says(404, &json!({"message": "no", "errorCode": 1002})),
        Some("QueueItems(7)") => answer(404, &[("content-type", "text/html")], "<html>"),
        Some("QueueItems(8)") => answer(200, &[], ""),
        _ => answer(200, &[], "{\"Id\""),
    })
    .await;
    let orchestrator = plain(&peer);
    let item = async |id| orchestrator.item(None, id, LONG).await.result;
    // Unknown states and ids beyond any integer come through as they are.
    assert_eq!(item(5).await, Ok(Some(json!({"Id": "123456789012345678901234567890", "Status": "Quantum", "Robot": null}))));
    assert_eq!(item(6).await, Ok(None));
    assert_eq!(item(7).await.expect_err("no").class, Class::Configuration);
    assert_eq!(item(8).await.expect_err("no").class, Class::Invalid);
    assert_eq!(item(i64::MAX).await.expect_err("no").class, Class::Invalid);
    assert!(peer.heard().last().unwrap().path().ends_with("/odata/QueueItems(9223372036854775807)"));
}

#[tokio::test]
async fn queues_are_looked_up_once_in_a_while() {
    let peer = Peer::start(|heard, _| match heard.target.contains("Invoices") {
        true => list(json!([{"Id": 44, "Name": "Invoices", "EnforceUniqueReference": true}])),
        false => list(json!([])),
    })
    .await;
    let (orchestrator, clock) = orchestrator(config(&peer.url, Edition::Cloud, AuthConfig::Token(secret_ref())));
    let info = QueueInfo { id: 44, name: "Invoices".into(), unique: true };
    for _ in 0..3 {
        assert_eq!(orchestrator.queue(None, "Invoices", LONG).await.result, Ok(Some(info.clone())));
    }
    assert_eq!(peer.heard().len(), 1);
    assert_eq!(peer.heard()[0].target, "/odata/QueueDefinitions?$filter=Name%20eq%20%27Invoices%27&$top=1");
    // Another folder is another queue; time makes it new; what is not there is not remembered.
    orchestrator.queue(Some(&FolderRef::Id(1)), "Invoices", LONG).await.result.unwrap();
    assert_eq!(peer.heard().len(), 2);
    clock.set(clock.now().plus(CACHE_FOR));
    orchestrator.queue(None, "Invoices", LONG).await.result.unwrap();
    assert_eq!(peer.heard().len(), 3);
    for _ in 0..2 {
        assert_eq!(orchestrator.queue(None, "Absent", LONG).await.result, Ok(None));
    }
    assert_eq!(peer.heard().len(), 5);
    let failure = orchestrator.item_by_reference(None, "Absent", "r", LONG).await.result.expect_err("no queue");
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.message.contains("`Absent`") && failure.message.contains("`Finance`"), "{failure}");
}

#[tokio::test]
async fn a_list_that_is_none_is_not_an_empty_one() {
    for (say, class) in [
        (answer(200, &[], ""), Class::Invalid),
        (answer(204, &[], ""), Class::Invalid),
        (answer(200, &[], "{}"), Class::Invalid),
        (answer(200, &[], "[]"), Class::Invalid),
        (answer(200, &[], "{\"value\": [{\"Id\""), Class::Invalid),
        (answer(200, &[], "{\"value\": {}}"), Class::Invalid),
        (answer(200, &[("content-type", "text/html")], "<html>Log in"), Class::Auth),
    ] {
        let peer = Peer::start(move |_, _| say.clone()).await;
        assert_eq!(plain(&peer).job_by_reference(None, "r", LONG).await.result.expect_err("no list").class, class);
    }
    let peer = Peer::start(|_, _| list(json!([]))).await;
    assert_eq!(plain(&peer).job_by_reference(None, "r", LONG).await.result, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_request_of_polling_ends_in_its_time_although_its_turn_may_take_longer() {
    let peer = Peer::start(|_, _| Say::Silence).await;
    let client = plain(&peer);
    let mut asked = JoinSet::new();
    asked.spawn(async move { client.items(&FolderRef::Id(1), &[7], 5 * ATTEMPT_TIMEOUT).await.result });
    peer.reached().await;
    let begun = Instant::now();
    let failure = asked.join_next().await.expect("a task").expect("ends").expect_err("silence");
    assert_eq!((failure.class, begun.elapsed().as_secs()), (Class::Unknown, ATTEMPT_TIMEOUT.as_secs()), "{failure}");
}

#[tokio::test]
async fn a_job_is_started_by_the_name_of_its_process() {
    let stale = Arc::new(AtomicUsize::new(0));
    let asked = stale.clone();
    let peer = Peer::start(move |heard, _| match heard.path().rsplit('/').next() {
        Some("Releases") => list(json!([{"Key": format!("key-{}", asked.fetch_add(1, Ordering::SeqCst)), "Name": "Post"}])),
        Some("Jobs") => list(json!([{"Id": 3, "Key": "k3", "Reference": "r-1"}])),
        _ if heard.json()["startInfo"]["ReleaseKey"] == json!("key-1") => says(404, &json!({"errorCode": 1002})),
        _ => says(201, &json!({"value": [{"Id": 1}, {"Id": 2}]})),
    })
    .await;
    let (orchestrator, clock) = orchestrator(config(&peer.url, Edition::Cloud, AuthConfig::Token(secret_ref())));
    let start = async |job: &StartJob| orchestrator.start_job(None, job, PARENT, LONG).await;
    for _ in 0..2 {
        assert_eq!(start(&start_job()).await.result, Ok(json!({"Id": 1})));
    }
    let heard = peer.heard();
    assert_eq!(heard.len(), 3, "the release is looked up once");
    assert_eq!(heard[0].target, "/odata/Releases?$filter=Name%20eq%20%27Post%27&$top=1");
    assert_eq!(
        heard[1].json(),
        json!({"startInfo": {"ReleaseKey": "key-0", "Strategy": "ModernJobsCount", "JobsCount": 1, "Reference": "r-1", "ParentOperationId": PARENT}})
    );
    // A key that is gone is looked up anew the next time.
    clock.set(clock.now().plus(CACHE_FOR));
    assert_eq!(start(&start_job()).await.result.expect_err("gone").class, Class::Configuration);
    assert_eq!(start(&start_job()).await.result, Ok(json!({"Id": 1})));
    assert_eq!(peer.heard().last().unwrap().json()["startInfo"]["ReleaseKey"], json!("key-2"));
    // Too long an input does not leave.
    let before = peer.heard().len();
    let long = StartJob { input: json!({"t": "x".repeat(INPUT_MAX)}).as_object().unwrap().clone(), ..start_job() };
    let failure = start(&long).await.result.expect_err("too long");
    assert_eq!(failure.class, Class::Refused);
    assert!(failure.message.contains("10000"), "{failure}");
    assert_eq!(peer.heard().len(), before);
    // Looked up by its reference, newest first.
    assert_eq!(orchestrator.job_by_reference(None, "r-1", LONG).await.result, Ok(Some(json!({"Id": 3, "Key": "k3", "Reference": "r-1"}))));
    assert_eq!(peer.heard().last().unwrap().target, "/odata/Jobs?$filter=Reference%20eq%20%27r-1%27&$orderby=Id%20desc&$top=1");
}

#[tokio::test]
async fn starting_a_job_says_what_became_of_it() {
    for (say, class) in [
        (answer(409, &[], "{\"errorCode\": \"PendingJobsAlreadyExist\"}"), Some(Class::Conflict)),
        (answer(400, &[], "{\"errorCode\": 1000}"), Some(Class::Refused)),
        (answer(503, &[], ""), Some(Class::Server)),
        (answer(201, &[], "{\"value\": []}"), Some(Class::Unknown)),
        (answer(201, &[], "{\"value\": [{}]}"), Some(Class::Unknown)),
        (answer(201, &[], "{\"value\": [{"), Some(Class::Unknown)),
        (answer(200, &[], "{}"), Some(Class::Unknown)),
        (answer(201, &[], ""), Some(Class::Unknown)),
        (Say::Reset, Some(Class::Unknown)),
        (answer(204, &[], ""), None),
    ] {
        let peer = Peer::start(move |heard, _| match heard.path().rsplit('/').next() {
            Some("Releases") => list(json!([{"Key": "key", "Name": "Post"}])),
            Some("Jobs") => list(json!([{"Id": 3}])),
            _ => say.clone(),
        })
        .await;
        let result = plain(&peer).start_job(None, &start_job(), PARENT, LONG).await.result;
        assert_eq!(result.as_ref().err().map(|f| f.class), class, "{result:?}");
        if class.is_none() {
            assert_eq!(result, Ok(json!({"Id": 3})));
        }
        assert_eq!(peer.count("StartJobs"), 1);
    }
    // Without the release's key the job is not started, which is certain.
    for (say, class) in [
        (answer(503, &[], ""), Class::Connect),
        (answer(200, &[], "{\"value\": [{"), Class::Connect),
        (Say::Reset, Class::Connect),
        (answer(429, &[], ""), Class::Throttled),
        (answer(403, &[], ""), Class::Configuration),
    ] {
        let peer = Peer::start(move |_, _| say.clone()).await;
        let failure = plain(&peer).start_job(None, &start_job(), PARENT, LONG).await.result.expect_err("no release");
        assert_eq!(failure.class, class, "{failure}");
        assert_eq!(peer.count("StartJobs"), 0);
    }
    let peer = Peer::start(|_, _| list(json!([]))).await;
    let failure = plain(&peer).start_job(None, &start_job(), PARENT, LONG).await.result.expect_err("no process");
    assert_eq!(failure.class, Class::Configuration);
    assert!(failure.message.contains("the process `Post`"), "{failure}");
}

#[tokio::test]
async fn no_message_shows_a_secret_that_an_answer_repeats() {
    let peer = Peer::start(|heard, _| match is_token(heard) {
        true => token(77_777, 3600),
        false => answer(400, &[], format!("{{\"message\": \"{} {SECRET}\"}}", heard.header("authorization").unwrap_or_default())),
    })
    .await;
    let (orchestrator, _) = orchestrator(config(&peer.url, Edition::Standalone, client_credentials()));
    let failure = orchestrator.add_queue_item(None, &enqueue(), PARENT, LONG).await.result.expect_err("refused");
    assert_eq!(failure.class, Class::Refused);
    assert!(failure.message.contains("Bearer *** ***"), "{failure}");
    assert!(!format!("{failure:?} {orchestrator:?}").contains("canary"));
    assert!(!format!("{failure:?} {orchestrator:?}").contains("t77777"));
}

#[tokio::test]
async fn a_folder_key_that_no_header_may_carry_is_refused_before_anything_leaves() {
    let peer = Peer::start(|_, _| says(201, &json!({"Id": 5}))).await;
    let folder = FolderRef::Key("a\r\nx-evil: 1".into());
    let failure = plain(&peer).add_queue_item(Some(&folder), &enqueue(), PARENT, LONG).await.result.expect_err("refused");
    assert_eq!(failure.class, Class::Refused);
    assert!(peer.heard().is_empty());
}

#[tokio::test]
async fn a_standalone_that_cannot_tell_its_version_is_not_written_to_in_the_dark() {
    for (say, class, posts) in [
        (answer(503, &[("retry-after", "9")], ""), Some(Class::Connect), 0),
        (Say::Reset, Some(Class::Connect), 0),
        (answer(429, &[], ""), Some(Class::Throttled), 0),
        (answer(401, &[], ""), Some(Class::Auth), 0),
        // May not read queues, but add items.
        (answer(403, &[], ""), None, 1),
        (answer(404, &[], "{\"errorCode\": 1002}"), None, 1),
    ] {
        let shown = format!("{say:?}");
        let peer = Peer::start(move |heard, _| if heard.method == "GET" { say.clone() } else { answer(201, &[], "{\"Id\": 5}") }).await;
        let (standalone, _) = orchestrator(config(&peer.url, Edition::Standalone, AuthConfig::Token(secret_ref())));
        let result = standalone.add_queue_item(None, &enqueue(), PARENT, LONG).await.result;
        assert_eq!(result.err().map(|f| f.class), class, "{shown}");
        assert_eq!(peer.count("AddQueueItem"), posts, "{shown}");
    }
}
