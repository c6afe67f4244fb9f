//! The sandbox driven over HTTP by a client that shares nothing with it.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::sandbox::{Options, run};
use crate::time::Timestamp;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running sandbox and a client for it.
struct Bench {
    base: String,
    client: reqwest::Client,
    _stop: DropGuard,
}

impl Bench {
    async fn start(options: Options) -> Self {
        static PROVIDER: OnceLock<()> = OnceLock::new();
        PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        #[expect(clippy::disallowed_methods, reason = "the guard ends it with the test")]
        tokio::spawn(run(options, listener, stop));
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap();
        Self { base, client, _stop: guard }
    }

    async fn fresh() -> Self {
        Self::start(Options::default()).await
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.raw(method, path, body).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn raw(&self, method: &str, path: &str, body: Option<Value>) -> reqwest::RequestBuilder {
        let request = self
            .client
            .request(method.parse().unwrap(), format!("{}{path}", self.base))
            .header("authorization", "Bearer sandbox-pat")
            .header("x-uipath-organizationunitid", "2");
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }

    async fn add(&self, queue: &str, reference: &str) -> Value {
        let data =
            json!({"itemData": {"Name": queue, "Reference": reference, "SpecificContent": {"InvoiceId": reference, "Amount": 12.5}}});
        let (status, item) = self.post("/odata/Queues/UiPathODataSvc.AddQueueItem", data).await;
        assert_eq!(status, 201, "{item}");
        item
    }

    async fn begin(&self, queue: &str) -> Value {
        let (status, item) = self.post("/odata/Queues/UiPathODataSvc.StartTransaction", json!({"transactionData": {"Name": queue}})).await;
        assert_eq!(status, 200, "{item}");
        item
    }

    async fn end(&self, id: &Value, result: Value) -> u16 {
        self.post(&format!("/odata/Queues({id})/UiPathODataSvc.SetTransactionResult"), json!({"transactionResult": result})).await.0
    }

    async fn items(&self, query: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.raw("GET", "/odata/QueueItems", None).query(query).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// A webhook for all events on a sink of the same sandbox.
    async fn webhook(&self, sink: &str, secret: Option<&str>) -> Value {
        let url = format!("{}/sandbox/sink/{sink}", self.base);
        let body =
            json!({"Name": sink, "Url": url, "Enabled": true, "Secret": secret, "SubscribeToAllEvents": true, "AllowInsecureSsl": false});
        let (status, webhook) = self.post("/odata/Webhooks", body).await;
        assert_eq!(status, 201, "{webhook}");
        webhook
    }

    /// What a sink got, once it is what `enough` wants.
    async fn sink(&self, name: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let seen = async {
            loop {
                let rows = self.get(&format!("/sandbox/sinks/{name}")).await["items"].as_array().unwrap().clone();
                if enough(&rows) {
                    return rows;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the sink gets what it should")
    }

    async fn state(&self, enough: impl Fn(&Value) -> bool) -> Value {
        let seen = async {
            loop {
                let state = self.get("/sandbox/state").await;
                if enough(&state) {
                    return state;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the state becomes what it should")
    }
}

fn kinds(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["body"]["Type"].as_str().unwrap_or("?")).collect()
}

#[tokio::test]
async fn an_item_lives_from_new_to_successful() {
    let bench = Bench::fresh().await;
    let added = bench.add("Payments", "P-1").await;
    assert_eq!(added["Status"], "New");
    assert_eq!(added["SpecificContent"], json!({"InvoiceId": "P-1", "Amount": 12.5}));
    assert_eq!(added["SpecificData"], "{\"DynamicProperties\":{\"InvoiceId\":\"P-1\",\"Amount\":12.5}}");
    let started = bench.begin("Payments").await;
    assert_eq!((&started["Id"], &started["Status"]), (&added["Id"], &json!("InProgress")));
    let id = &added["Id"];
    let (status, _) =
        bench.post(&format!("/odata/QueueItems({id})/UiPathODataSvc.SetTransactionProgress"), json!({"progress": "half"})).await;
    assert_eq!(status, 200);
    assert_eq!(bench.end(id, json!({"IsSuccessful": true, "Output": {"Paid": true}})).await, 200);
    let item = bench.get(&format!("/odata/QueueItems({id})")).await;
    assert_eq!((&item["Status"], &item["Output"], &item["Progress"]), (&json!("Successful"), &json!({"Paid": true}), &json!("half")));
    assert!(item["StartProcessing"].is_string() && item["EndProcessing"].is_string());
    assert_eq!(bench.end(id, json!({"IsSuccessful": true})).await, 409, "a final item stays as it is");
    let (status, _) = bench.post("/odata/Queues/UiPathODataSvc.StartTransaction", json!({"transactionData": {"Name": "Payments"}})).await;
    assert_eq!(status, 204, "nothing is left to do");
    let history =
        bench.get(&format!("/odata/QueueItemEvents/UiPath.Server.Configuration.OData.GetQueueItemEventsHistory(queueItemId={id})")).await;
    let steps: Vec<_> = history["value"].as_array().unwrap().iter().map(|row| (row["Action"].clone(), row["Status"].clone())).collect();
    let expected = [("Create", "New"), ("Status", "InProgress"), ("Edit", "InProgress"), ("Edit", "Successful")];
    assert_eq!(steps, expected.map(|(action, status)| (json!(action), json!(status))));
}

#[tokio::test]
async fn unique_references_are_refused_twice_and_free_after_deletion() {
    let bench = Bench::fresh().await;
    let first = bench.add("Invoices", "A-1").await;
    let twice = json!({"itemData": {"Name": "Invoices", "Reference": "a-1"}});
    let (status, body) = bench.post("/odata/Queues/UiPathODataSvc.AddQueueItem", twice.clone()).await;
    assert_eq!((status, &body["errorCode"]), (409, &json!(1016)));
    assert_eq!(body["message"], "Error creating Transaction. Duplicate Reference.");
    assert_eq!(bench.call("DELETE", &format!("/odata/QueueItems({})", first["Id"]), None).await.0, 204);
    assert_eq!(bench.post("/odata/Queues/UiPathODataSvc.AddQueueItem", twice).await.0, 201);
    bench.add("Open", "same").await;
    bench.add("Open", "same").await;
}

#[tokio::test]
async fn what_cannot_be_added_is_refused_as_documented() {
    let bench = Bench::fresh().await;
    let cases = [
        (json!({"Name": "Nowhere"}), 404, 1002),
        (json!({"Name": "Open", "SpecificContent": {"a": {"nested": 1}}}), 400, 1000),
        (json!({"Name": "Open", "SpecificContent": {"a.b": 1}}), 400, 1000),
        (json!({"Name": "Open", "SpecificContent": {"a": "x".repeat(256_001)}}), 400, 1000),
        (json!({"Name": "Open", "Reference": "r".repeat(129)}), 400, 1000),
        (json!({"Name": "Open", "Priority": "Urgent"}), 400, 1000),
        (json!({"Name": "Open", "DueDate": "soon"}), 400, 1000),
        (json!({"Name": "Invoices"}), 400, 1000),
    ];
    for (data, status, code) in cases {
        let name = data["Name"].clone();
        let (got, body) = bench.post("/odata/Queues/UiPathODataSvc.AddQueueItem", json!({"itemData": data})).await;
        assert_eq!((got, &body["errorCode"]), (status, &json!(code)), "{name}: {body}");
    }
    let hinted =
        json!({"itemData": {"Name": "Open", "Priority": null, "SpecificContent": {"A@odata.type": "#String", "A": "x", "B": null}}});
    let (status, item) = bench.post("/odata/Queues/UiPathODataSvc.AddQueueItem", hinted).await;
    assert_eq!((status, &item["SpecificContent"]), (201, &json!({"A": "x", "B": null})));
}

#[tokio::test]
async fn folders_are_named_in_four_ways() {
    let bench = Bench::fresh().await;
    let (_, made) = bench.post("/sandbox/folders", json!({"path": "Finance/Über"})).await;
    let (status, _) = bench.post("/sandbox/queues", json!({"name": "Deep", "folders": ["Finance/Über"]})).await;
    assert_eq!(status, 201);
    let encoded = |path: &str| {
        let bytes: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let table = [
        ("x-uipath-organizationunitid", made["id"].to_string(), 200, 0),
        ("x-uipath-folderkey", made["key"].as_str().unwrap().to_uppercase(), 200, 0),
        ("x-uipath-folderpath-encoded", encoded("Finance/Über"), 200, 0),
        ("x-uipath-folderpath", "Finance".to_owned(), 200, 0),
        ("x-uipath-organizationunitid", "999".to_owned(), 400, 1100),
        ("x-uipath-folderpath-encoded", "not base64!".to_owned(), 400, 1100),
        ("x-other", "1".to_owned(), 400, 1101),
    ];
    for (name, value, status, code) in table {
        let answer = bench
            .client
            .get(format!("{}/odata/QueueDefinitions", bench.base))
            .header("authorization", "Bearer rt_A-PERSONAL-ONE")
            .header(name, &value)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{name}: {value}");
        assert_eq!(answer.headers()["api-supported-versions"], "20.0");
        assert_eq!(answer.headers()["x-sandbox"], "development and tests only");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["errorCode"].as_i64().unwrap_or(0), code, "{name}: {body}");
    }
}

#[tokio::test]
async fn a_failure_is_retried_with_a_new_item() {
    let bench = Bench::fresh().await;
    bench.webhook("hook", None).await;
    let first = bench.add("Payments", "P-9").await;
    let id = &bench.begin("Payments").await["Id"];
    let why = json!({"IsSuccessful": false, "ProcessingException": {"Reason": "boom", "Type": "ApplicationException"}});
    assert_eq!(bench.end(id, why.clone()).await, 200);
    let old = bench.get(&format!("/odata/QueueItems({id})")).await;
    assert_eq!((&old["Status"], &old["ProcessingException"]["Reason"]), (&json!("Retried"), &json!("boom")));
    let again = bench.begin("Payments").await;
    assert_eq!((&again["AncestorId"], &again["RetryNumber"], &again["Key"]), (id, &json!(1), &first["Key"]));
    assert_ne!(again["UniqueKey"], first["UniqueKey"]);
    assert_eq!(again["Reference"], "P-9", "the retried one frees its reference");
    assert_eq!(bench.end(&again["Id"], why).await, 200);
    let last = bench.get(&format!("/odata/QueueItems({})", again["Id"])).await;
    assert_eq!(last["Status"], "Failed", "the queue allows one retry");
    let mut seen = kinds(&bench.sink("hook", |rows| rows.len() == 7).await).into_iter().map(str::to_owned).collect::<Vec<_>>();
    seen.sort();
    let failed = "queueItem.transactionFailed";
    let started = "queueItem.transactionStarted";
    assert_eq!(seen, ["ping", "queueItem.added", "queueItem.retried", failed, failed, started, started]);
}

#[tokio::test]
async fn business_exceptions_are_not_retried_and_deferred_items_wait() {
    let bench = Bench::fresh().await;
    bench.add("Invoices", "B-1").await;
    let id = bench.begin("Invoices").await["Id"].clone();
    let why = json!({"IsSuccessful": false, "ProcessingException": {"Reason": "no such supplier", "Type": "BusinessException"}});
    assert_eq!(bench.end(&id, why).await, 200);
    assert_eq!(bench.get(&format!("/odata/QueueItems({id})")).await["Status"], "Failed");
    bench.add("Open", "D-1").await;
    let id = bench.begin("Open").await["Id"].clone();
    assert_eq!(bench.end(&id, json!({"IsSuccessful": false, "DeferDate": "2999-01-01T00:00:00Z"})).await, 200);
    assert_eq!(bench.get(&format!("/odata/QueueItems({id})")).await["Status"], "New");
    let (status, _) = bench.post("/odata/Queues/UiPathODataSvc.StartTransaction", json!({"transactionData": {"Name": "Open"}})).await;
    assert_eq!(status, 204);
}

#[tokio::test]
async fn filters_pick_what_they_say() {
    let bench = Bench::start(Options { first_id: Some(100), ..Options::default() }).await;
    for reference in ["A-1", "A-2", "B-1", "O'Neil"] {
        bench.add("Invoices", reference).await;
    }
    bench.add("Open", "A-1").await;
    let started = bench.begin("Invoices").await;
    let ids: Vec<i64> =
        bench.get("/odata/QueueItems").await["value"].as_array().unwrap().iter().map(|i| i["Id"].as_i64().unwrap()).collect();
    let queue = started["QueueDefinitionId"].to_string();
    let key = started["Key"].as_str().unwrap();
    let table = [
        (format!("Id eq {}", ids[1]), "A-2"),
        (format!("Id eq {}L", ids[1]), "A-2"),
        (format!("Id gt {}", ids[2]), "O'Neil A-1"),
        (format!("Id in ({}, {})", ids[0], ids[3]), "A-1 O'Neil"),
        (format!("(QueueDefinitionId eq {queue}) and (Status eq '0')"), "A-2 B-1 O'Neil"),
        ("Status eq 'InProgress'".to_owned(), "A-1"),
        ("Status eq 1 or Reference eq 'B-1'".to_owned(), "A-1 B-1"),
        ("Status ne 'New'".to_owned(), "A-1"),
        ("Status in ('New','InProgress') and QueueDefinition/Name eq 'Open'".to_owned(), "A-1"),
        ("Reference eq 'O''Neil'".to_owned(), "O'Neil"),
        ("Reference eq 'a-1'".to_owned(), "A-1 A-1"),
        ("contains(Reference,'-1') and not (QueueDefinition/Name eq 'Open')".to_owned(), "A-1 B-1"),
        ("startswith(Reference, 'B')".to_owned(), "B-1"),
        (format!("Key eq {key}"), "A-1"),
        ("CreationTime ge 2020-01-01T00:00:00.000Z and StartProcessing ne null".to_owned(), "A-1"),
        ("CreationTime lt 2020-01-01T00:00:00Z".to_owned(), ""),
        ("EndProcessing eq null and Priority eq 'Normal' and Reference eq 'B-1'".to_owned(), "B-1"),
    ];
    for (filter, expected) in table {
        let (status, body) = bench.items(&[("$filter", &filter), ("$count", "true")]).await;
        assert_eq!(status, 200, "{filter}: {body}");
        let found: Vec<&str> = body["value"].as_array().unwrap().iter().map(|i| i["Reference"].as_str().unwrap()).collect();
        assert_eq!(found.join(" "), expected, "{filter}");
        assert_eq!(body["@odata.count"], found.len(), "{filter}");
    }
    for bad in [
        "Id eq",
        "Nonsense eq 1",
        "Status eq 'Quantum'",
        "Id eq 'x'",
        "Id gt 1 and",
        "(Id gt 1",
        "Reference eq 'x",
        "CreationTime gt soon",
        "Id like 1",
    ] {
        let (status, body) = bench.items(&[("$filter", bad)]).await;
        assert_eq!((status, &body["errorCode"]), (400, &json!(1000)), "{bad}: {body}");
    }
}

#[tokio::test]
async fn pages_are_ordered_and_limited() {
    let bench = Bench::fresh().await;
    let items: Vec<Value> =
        (0..120).map(|n| json!({"Reference": format!("R-{n:03}"), "Priority": if n % 2 == 0 { "High" } else { "Low" }})).collect();
    let bulk = json!({"queueName": "Open", "commitType": "ProcessAllIndependently", "queueItems": items});
    let (status, done) = bench.post("/odata/Queues/UiPathODataSvc.BulkAddQueueItems", bulk).await;
    assert_eq!((status, &done["Success"], &done["FailedItems"]), (200, &json!(true), &json!([])));
    let (status, body) = bench.items(&[("$top", "101")]).await;
    assert_eq!(status, 400, "{body}");
    let (_, page) =
        bench.items(&[("$top", "2"), ("$skip", "1"), ("$orderby", "Id desc"), ("$select", "Id,Reference"), ("$count", "true")]).await;
    assert_eq!(page["@odata.count"], 120);
    assert_eq!(page["value"][0].as_object().unwrap().len(), 2);
    assert_eq!(page["value"][0]["Reference"], "R-118");
    let (_, page) = bench.items(&[("$orderby", "Priority asc,Reference desc"), ("$top", "1"), ("$expand", "QueueDefinition,Robot")]).await;
    assert_eq!(page["value"][0]["Reference"], "R-118");
    assert_eq!(page["value"][0]["QueueDefinition"]["Name"], "Open");
    let (_, page) = bench.items(&[]).await;
    assert_eq!(page["value"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn bulk_names_the_places_that_failed() {
    let bench = Bench::fresh().await;
    bench.add("Invoices", "taken").await;
    let rows = json!([{"Reference": "one"}, {"Reference": "taken"}, {"Reference": "two"}]);
    for (commit, left) in [("AllOrNothing", 1), ("StopOnFirstFailure", 2), ("ProcessAllIndependently", 3)] {
        let body = json!({"queueName": "Invoices", "commitType": commit, "queueItems": rows});
        let (status, done) = bench.post("/odata/Queues/UiPathODataSvc.BulkAddQueueItems", body).await;
        assert_eq!((status, &done["Success"]), (200, &json!(false)), "{commit}");
        let failed = done["FailedItems"].as_array().unwrap();
        if commit != "ProcessAllIndependently" {
            assert_eq!((&failed[0]["Ordinal"], &failed[0]["ErrorCode"]), (&json!(2), &json!("DuplicateReference")), "{commit}");
        }
        let count = bench.get("/odata/QueueItems").await["value"].as_array().unwrap().len();
        assert_eq!(count, left, "{commit}");
    }
}

#[tokio::test]
async fn deliveries_are_signed_over_their_bytes() {
    let bench = Bench::fresh().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/x", listener.local_addr().unwrap());
    let receive = async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..read]);
            if seen.ends_with(b"}") {
                break;
            }
        }
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        String::from_utf8(seen).unwrap()
    };
    let secret = "0123456789abcdef-ü";
    let body =
        json!({"Name": "signed", "Url": url, "Enabled": true, "Secret": secret, "SubscribeToAllEvents": true, "AllowInsecureSsl": false});
    let made = bench.post("/odata/Webhooks", body);
    let (request, (status, webhook)) = tokio::join!(tokio::time::timeout(PATIENCE, receive), made);
    assert_eq!((status, &webhook["Secret"]), (201, &json!("**********")), "the secret is masked");
    let request = request.expect("a ping comes at once");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:"))).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    assert_eq!(header("x-uipath-signature"), base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("user-agent"), "UiPath-WebhookService/Webhooks");
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["Type"], "ping");
    assert!(event["EventId"].as_str().unwrap().bytes().all(|b| b.is_ascii_digit()));
    let stamp = event["Timestamp"].as_str().unwrap();
    assert_eq!(stamp.len(), "2026-01-01T00:00:00.1234567Z".len(), "{stamp}");
}

#[tokio::test]
async fn one_failed_delivery_opens_the_breaker_until_its_time_is_over() {
    let clock = Clock::manual(Timestamp::from_millis(1_795_000_000_000));
    let bench = Bench::start(Options { clock: clock.clone(), breaker: Duration::from_secs(30), ..Options::default() }).await;
    bench.webhook("hook", Some("s")).await;
    bench.sink("hook", |rows| rows.len() == 1).await;
    let (status, _) = bench.post("/sandbox/faults", json!({"kind": "500", "match": {"path": "/sandbox/sink/hook"}})).await;
    assert_eq!(status, 201);
    bench.add("Open", "fails").await;
    let state = bench.state(|s| s["webhooks"][0]["breaker"] == "open").await;
    assert_eq!(state["webhooks"][0]["counts"]["failed"], 1);
    bench.add("Open", "skipped").await;
    bench.state(|s| s["webhooks"][0]["counts"]["skipped"] == 1).await;
    clock.set(clock.now().plus(Duration::from_secs(31)));
    bench.add("Open", "comes").await;
    let rows = bench.sink("hook", |rows| rows.len() == 3).await;
    let references: Vec<&Value> = rows[1..].iter().map(|row| &row["body"]["QueueItems"][0]["Reference"]).collect();
    assert_eq!(references, ["fails", "comes"], "what was skipped never comes");
    let state = bench.state(|s| s["webhooks"][0]["counts"]["delivered"] == 2).await;
    assert_eq!(state["webhooks"][0]["breaker"], "closed");
}

#[tokio::test]
async fn a_shared_queue_sends_one_delivery_per_folder() {
    let bench = Bench::fresh().await;
    bench.post("/sandbox/queues", json!({"name": "Shared-Q", "folders": ["Shared", "Finance"]})).await;
    bench.webhook("hook", None).await;
    bench.add("Shared-Q", "s").await;
    let rows = bench.sink("hook", |rows| rows.len() == 3).await;
    let added: Vec<&Value> = rows.iter().map(|row| &row["body"]).filter(|body| body["Type"] == "queueItem.added").collect();
    assert_eq!(added.len(), 2);
    assert_ne!(added[0]["EventId"], added[1]["EventId"]);
    let mut folders: Vec<i64> = added.iter().map(|body| body["OrganizationUnitId"].as_i64().unwrap()).collect();
    folders.sort_unstable();
    assert_eq!(folders, [1, 2]);
}

#[tokio::test]
async fn deliveries_meet_their_faults() {
    let bench = Bench::fresh().await;
    bench.webhook("hook", Some("s")).await;
    bench.sink("hook", |rows| rows.len() == 1).await;
    bench.post("/sandbox/faults", json!({"kind": "webhook_duplicates", "type": "queueItem.added", "copies": 2})).await;
    bench.add("Open", "thrice").await;
    let rows = bench.sink("hook", |rows| rows.len() == 4).await;
    assert!(rows[1..].iter().all(|row| row["body"]["EventId"] == rows[1]["body"]["EventId"]));
    bench.post("/sandbox/faults", json!({"kind": "webhook_loss"})).await;
    bench.add("Open", "lost").await;
    let state = bench.state(|s| s["webhooks"][0]["counts"]["lost"] == 1).await;
    assert_eq!(state["webhooks"][0]["breaker"], "closed");
    bench.post("/sandbox/faults", json!({"kind": "webhook_reorder", "window": 2})).await;
    bench.add("Open", "held").await;
    assert_eq!(bench.get("/sandbox/state").await["waiting"], 1);
    bench.add("Open", "frees").await;
    bench.sink("hook", |rows| rows.len() == 6).await;
}

#[tokio::test]
async fn tokens_come_in_three_ways_and_end() {
    let clock = Clock::manual(Timestamp::from_millis(1_795_000_000_000));
    let bench = Bench::start(Options { clock: clock.clone(), token_lifetime: Duration::from_secs(60), ..Options::default() }).await;
    let url = |path: &str| format!("{}{path}", bench.base);
    let form = [("grant_type", "client_credentials"), ("client_id", "a"), ("client_secret", "b"), ("scope", "OR.Queues")];
    let mut tokens = Vec::new();
    for path in ["/identity_/connect/token", "/identity/connect/token", "/acme/identity_/connect/token"] {
        let body: Value = bench.client.post(url(path)).form(&form).send().await.unwrap().json().await.unwrap();
        assert_eq!((&body["expires_in"], &body["scope"]), (&json!(60), &json!("OR.Queues")));
        tokens.push(body["access_token"].as_str().unwrap().to_owned());
    }
    let basic = bench.client.post(url("/identity_/connect/token")).basic_auth("a", Some("b")).form(&[("grant_type", "client_credentials")]);
    tokens.push(basic.send().await.unwrap().json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned());
    let key = bench.client.post(url("/oauth/token")).json(&json!({"grant_type": "refresh_token", "client_id": "c", "refresh_token": "r"}));
    tokens.push(key.send().await.unwrap().json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned());
    let login = json!({"tenancyName": "Default", "usernameOrEmailAddress": "admin", "password": "p"});
    let login = bench.client.post(url("/api/Account/Authenticate")).json(&login).send().await.unwrap().json::<Value>().await.unwrap();
    tokens.push(login["result"].as_str().unwrap().to_owned());
    let bad = bench.client.post(url("/identity_/connect/token")).form(&[("grant_type", "client_credentials")]).send().await.unwrap();
    assert_eq!((bad.status().as_u16(), bad.json::<Value>().await.unwrap()), (400, json!({"error": "invalid_client"})));
    let ask = async |token: &str| {
        let request = bench.client.get(url("/acme/Default/orchestrator_/odata/Folders")).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    for token in &tokens {
        assert_eq!(ask(token).await, 200);
    }
    assert_eq!(ask("made up").await, 401);
    clock.set(clock.now().plus(Duration::from_secs(61)));
    assert_eq!(ask(&tokens[0]).await, 401, "a token ends with its time");
}

#[tokio::test]
async fn requests_meet_their_faults() {
    let bench = Bench::fresh().await;
    let add = "/odata/Queues/UiPathODataSvc.AddQueueItem";
    let fault = async |spec: Value| assert_eq!(bench.post("/sandbox/faults", spec).await.0, 201);
    let item = |reference: &str| json!({"itemData": {"Name": "Invoices", "Reference": reference}});
    let there = async |reference: &str| {
        let (_, body) = bench.items(&[("$filter", &format!("Reference eq '{reference}'"))]).await;
        body["value"].as_array().unwrap().len()
    };

    fault(json!({"kind": "429", "match": {"path": "AddQueueItem", "method": "POST"}, "retry_after": 7, "after": 1})).await;
    assert_eq!(bench.post(add, item("f-0")).await.0, 201);
    let answer = bench.raw("POST", add, Some(item("f-1"))).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(there("f-1").await, 0);

    fault(json!({"kind": "reset_after_commit", "match": {"path": "AddQueueItem"}})).await;
    assert!(bench.raw("POST", add, Some(item("f-2"))).send().await.is_err());
    assert_eq!(there("f-2").await, 1, "committed all the same");

    fault(json!({"kind": "reset", "match": {"path": "AddQueueItem"}})).await;
    assert!(bench.raw("POST", add, Some(item("f-3"))).send().await.is_err());
    assert_eq!(there("f-3").await, 0);

    fault(json!({"kind": "timeout_after_commit", "match": {"path": "AddQueueItem"}})).await;
    let hanging = bench.raw("POST", add, Some(item("f-4"))).timeout(Duration::from_millis(200)).send().await;
    assert!(hanging.unwrap_err().is_timeout());
    assert_eq!(there("f-4").await, 1);

    fault(json!({"kind": "truncated", "match": {"path": "QueueDefinitions"}})).await;
    let answer = bench.raw("GET", "/odata/QueueDefinitions", None).send().await.unwrap();
    assert!(answer.bytes().await.is_err(), "the answer is shorter than it says");

    fault(json!({"kind": "html", "match": {"path": "Folders"}})).await;
    let answer = bench.raw("GET", "/odata/Folders", None).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));

    fault(json!({"kind": "statuses", "statuses": [503, 503, 200], "match": {"path": "/sandbox/sink/ledger"}, "retry_after": 1})).await;
    for expected in [503, 503, 200, 200] {
        assert_eq!(bench.post("/sandbox/sink/ledger", json!({"n": expected})).await.0, expected);
    }
    let rows = bench.get("/sandbox/sinks/ledger").await;
    let statuses: Vec<&Value> = rows["items"].as_array().unwrap().iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, [503, 503, 200, 200]);

    let log = bench.get("/sandbox/requests?path=AddQueueItem").await;
    let statuses: Vec<&Value> = log["items"].as_array().unwrap().iter().map(|row| &row["status"]).collect();
    assert_eq!(statuses, [&json!(201), &json!(429), &Value::Null, &Value::Null, &Value::Null]);
    for wrong in [json!({"kind": "gremlins"}), json!({"kind": "429", "retry": 1}), json!({"kind": "429", "match": {"pth": "x"}}), json!([])]
    {
        assert_eq!(bench.post("/sandbox/faults", wrong.clone()).await.0, 400, "{wrong}");
    }
    assert_eq!(bench.call("DELETE", "/sandbox/faults", None).await.0, 200);
}

#[tokio::test]
async fn expired_tokens_and_drifting_pages_come_on_request() {
    let bench = Bench::fresh().await;
    for n in 0..6 {
        bench.add("Open", &format!("d-{n}")).await;
    }
    let form = [("grant_type", "client_credentials"), ("client_id", "a"), ("client_secret", "b")];
    let answer = bench.client.post(format!("{}/identity_/connect/token", bench.base)).form(&form).send().await.unwrap();
    let token = answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
    let ask =
        async || bench.client.get(format!("{}/odata/Folders", bench.base)).bearer_auth(&token).send().await.unwrap().status().as_u16();
    assert_eq!(ask().await, 200);
    bench.post("/sandbox/faults", json!({"kind": "expired_tokens"})).await;
    assert_eq!(ask().await, 401);
    bench.post("/sandbox/faults", json!({"kind": "page_drift", "match": {"path": "QueueItems"}})).await;
    let (_, page) = bench.items(&[("$top", "2"), ("$skip", "2"), ("$orderby", "Id asc")]).await;
    assert_eq!(page["value"][0]["Reference"], "d-1", "a row comes twice");
}

#[tokio::test]
async fn jobs_start_and_move_on_with_their_events() {
    let bench = Bench::fresh().await;
    let late = json!({"kind": "503", "match": {"path": "StartJobs"}});
    assert_eq!(crate::sandbox::check_fault(&late), Ok(()));
    assert!(crate::sandbox::check_fault(&json!({"kind": "503", "macth": {}})).is_err());
    bench.webhook("hook", None).await;
    let releases = bench.get("/odata/Releases?$filter=Name%20eq%20'InvoiceProcessing'").await;
    let key = &releases["value"][0]["Key"];
    let start = json!({"startInfo": {"ReleaseKey": key, "Strategy": "ModernJobsCount", "JobsCount": 1, "InputArguments": "{\"a\":1}", "Reference": "tl-1"}});
    let (status, started) = bench.post("/odata/Jobs/UiPath.Server.Configuration.OData.StartJobs", start).await;
    assert_eq!((status, &started["value"][0]["State"]), (201, &json!("Pending")));
    let id = &started["value"][0]["Id"];
    let listed = bench.get("/odata/Jobs?$filter=Reference%20eq%20'tl-1'").await;
    assert_eq!((&listed["value"][0]["Id"], &listed["value"][0]["InputArguments"]), (id, &Value::Null), "lists leave arguments out");
    assert_eq!(bench.get(&format!("/odata/Jobs({id})")).await["InputArguments"], "{\"a\":1}");
    for state in ["Running", "Successful"] {
        assert_eq!(bench.post(&format!("/sandbox/jobs/{id}"), json!({"state": state, "output": {"sum": 3}})).await.0, 200);
    }
    let rows = bench.sink("hook", |rows| rows.len() == 4).await;
    let mut seen = kinds(&rows);
    seen.sort_unstable();
    assert_eq!(seen, ["job.completed", "job.created", "job.started", "ping"]);
    let wrong = json!({"startInfo": {"ReleaseKey": "00000000-0000-0000-0000-000000000000"}});
    assert_eq!(bench.post("/odata/Jobs/UiPath.Server.Configuration.OData.StartJobs", wrong).await.0, 404);
}

#[tokio::test]
async fn webhooks_are_managed_as_documented() {
    let bench = Bench::fresh().await;
    let types = bench.get("/odata/Webhooks/UiPath.Server.Configuration.OData.GetEventTypes").await;
    assert!(types["value"].as_array().unwrap().iter().any(|t| t["Name"] == "queueItem.transactionFailed"));
    let webhook = bench.webhook("hook", Some("s")).await;
    let path = format!("/odata/Webhooks({})", webhook["Id"]);
    let listed = bench.get("/odata/Webhooks?$filter=contains(Url,'/sandbox/sink/hook')").await;
    assert_eq!(listed["value"].as_array().unwrap().len(), 1);
    let same =
        json!({"Name": "hook", "Url": "http://127.0.0.1:9/", "Enabled": true, "SubscribeToAllEvents": true, "AllowInsecureSsl": false});
    assert_eq!(bench.post("/odata/Webhooks", same).await.0, 409);
    let unknown = json!({"Name": "x", "Url": "http://127.0.0.1:9/", "Events": [{"EventType": "queueItem.vanished"}]});
    assert_eq!(bench.post("/odata/Webhooks", unknown).await.0, 400);
    let some = json!({"SubscribeToAllEvents": false, "Events": [{"EventType": "custom"}]});
    assert_eq!(bench.call("PATCH", &path, Some(some)).await.0, 200);
    bench.add("Open", "not asked for").await;
    let (status, sent) = bench.post("/odata/Webhooks/UiPath.Server.Configuration.OData.TriggerCustom", json!({"hello": 1})).await;
    assert_eq!((status, &sent["Type"]), (202, &json!("custom")));
    assert_eq!(bench.post(&format!("{path}/UiPath.Server.Configuration.OData.Ping"), json!({})).await.0, 202);
    let rows = bench.sink("hook", |rows| rows.len() == 4).await;
    let mut seen = kinds(&rows);
    seen.sort_unstable();
    assert_eq!(seen, ["custom", "ping", "ping", "ping"]);
    assert_eq!(bench.call("DELETE", &path, None).await.0, 204);
    assert_eq!(bench.call("GET", &path, None).await.0, 404);
}

#[tokio::test]
async fn the_change_feed_is_read_from_a_cursor() {
    let bench = Bench::fresh().await;
    bench.add("Open", "one").await;
    let first = bench.get("/odata/QueueItemEvents?$orderby=Id%20desc&$top=1").await["value"][0]["Id"].clone();
    bench.add("Open", "two").await;
    bench.begin("Open").await;
    let rest = bench.get(&format!("/odata/QueueItemEvents?$filter=Id%20gt%20{first}&$orderby=Id%20asc&$count=true")).await;
    let rows: Vec<_> = rest["value"].as_array().unwrap().iter().map(|row| (row["Action"].clone(), row["Status"].clone())).collect();
    assert_eq!(rows, [("Create", "New"), ("Status", "InProgress")].map(|(a, s)| (json!(a), json!(s))));
}

#[tokio::test]
async fn tens_of_thousands_of_items_are_found_at_once() {
    let bench = Bench::fresh().await;
    for page in 0..20 {
        let rows: Vec<Value> = (0..1_000).map(|n| json!({"Reference": format!("m-{page}-{n}")})).collect();
        let body = json!({"queueName": "Open", "commitType": "ProcessAllIndependently", "queueItems": rows});
        assert_eq!(bench.post("/odata/Queues/UiPathODataSvc.BulkAddQueueItems", body).await.1["Success"], true);
    }
    let (_, found) = bench.items(&[("$filter", "Reference eq 'm-19-999'"), ("$count", "true")]).await;
    assert_eq!(found["@odata.count"], 1);
    let (_, all) = bench.items(&[("$filter", "Status eq 'New'"), ("$count", "true"), ("$top", "1"), ("$orderby", "Id desc")]).await;
    assert_eq!((&all["@odata.count"], &all["value"][0]["Reference"]), (&json!(20_000), &json!("m-19-999")));
}

proptest::proptest! {
    #[test]
    fn no_filter_panics(text in "[A-Za-z0-9 ()',.:=-]{0,80}|(Id|Status|Reference|CreationTime|Key) (eq|gt|in|ne|like) ['(]?[a-z0-9 ,-]{0,20}[')]?") {
        let item = crate::sandbox::odata::Filter::parse(&text, crate::sandbox::dto::ITEM_COLUMNS);
        if let Ok(filter) = item {
            filter.matches(&json!({"Id": 1, "Status": "New", "Reference": "a", "CreationTime": "2026-01-01T00:00:00Z"}));
        }
    }
}

#[tokio::test]
async fn scopes_are_enforced_where_asked() {
    let bench = Bench::start(Options { enforce_scopes: true, client: Some(("app".into(), "right".into())), ..Options::default() }).await;
    let token = async |secret: &str, scope: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", "app"), ("client_secret", secret), ("scope", scope)];
        let answer = bench.client.post(format!("{}/identity_/connect/token", bench.base)).form(&form).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(token("wrong", "OR.Queues").await.0, 400);
    let (_, token) = token("right", "OR.Queues.Read OR.Jobs").await;
    let ask = async |method: &str, path: &str| {
        let request = bench.client.request(method.parse().unwrap(), format!("{}{path}", bench.base)).bearer_auth(&token);
        request.header("x-uipath-organizationunitid", "2").json(&json!({})).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("GET", "/odata/QueueItems").await, 200);
    assert_eq!(ask("GET", "/odata/Jobs").await, 200);
    assert_eq!(ask("GET", "/odata/Webhooks").await, 403);
    assert_eq!(ask("POST", "/odata/Queues/UiPathODataSvc.AddQueueItem").await, 403, "reading is not writing");
}

#[tokio::test]
async fn abandoned_deleted_and_reviewed_items_send_their_events() {
    let bench = Bench::fresh().await;
    bench.post("/sandbox/queues", json!({"name": "Fragile", "retries": 1, "retry_abandoned": true})).await;
    bench.webhook("hook", None).await;
    bench.add("Fragile", "x").await;
    let id = bench.begin("Fragile").await["Id"].clone();
    assert_eq!(bench.post(&format!("/sandbox/items/{id}/abandon"), json!({})).await.0, 200);
    let again = bench.begin("Fragile").await;
    assert_eq!(again["AncestorId"], id);
    let id = again["Id"].clone();
    let why = json!({"IsSuccessful": false, "ProcessingException": {"Reason": "boom", "Type": "BusinessException"}});
    assert_eq!(bench.end(&id, why).await, 200);
    let review = json!({"status": "Retried", "queueItems": [{"Id": id, "RowVersion": "x"}]});
    let (status, done) = bench.post("/odata/QueueItems/UiPathODataSvc.SetItemReviewStatus", review).await;
    assert_eq!((status, &done["Success"]), (200, &json!(true)));
    let by_hand = bench.begin("Fragile").await;
    assert_eq!((&by_hand["ManualAncestorId"], &by_hand["ManualRetryNumber"]), (&id, &json!(1)));
    let rows = bench.sink("hook", |rows| rows.len() == 10).await;
    let count = |kind: &str| kinds(&rows).iter().filter(|seen| **seen == kind).count();
    assert_eq!(count("queueItem.transactionAbandoned"), 1);
    assert_eq!(count("queueItem.reviewStatusChanged"), 1);
    assert_eq!(count("queueItem.retried"), 2);
}
