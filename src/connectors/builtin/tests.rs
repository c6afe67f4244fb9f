use serde_json::json;

use super::*;
use crate::connectors::{Access, CallResponse, Caller, Meaning};
use crate::fault::Severity;
use crate::time::Timestamp;

fn site(folder: Option<(&str, &str)>) -> OrchestratorSite {
    OrchestratorSite {
        name: "prod".into(),
        url: "https://cloud.uipath.com/acme/Default/orchestrator_/".into(),
        tenant: None,
        folder: folder.map(|(name, value)| (name.to_owned(), value.to_owned())),
    }
}

fn connector(folder: Option<(&str, &str)>) -> Arc<Connector> {
    Arc::clone(Connectors::default().with_orchestrators(&[site(folder)]).get("orchestrator").expect("it is there"))
}

fn config(connector: &Connector) -> Value {
    let value = |value: &Option<ConfigValue>| match value {
        Some(ConfigValue::Plain(value)) => value.clone(),
        _ => Value::Null,
    };
    Value::Object(connector.config.iter().map(|field| (field.name.to_string(), value(&field.value))).collect())
}

fn request(connector: &Connector, operation: &str, with: Value) -> Result<CallRequest, String> {
    let operation = connector.operations.get(operation).expect("an operation");
    let config = config(connector);
    let caller = Caller { run: "r".into(), rule: "r".into(), idempotency_key: Some("k".into()), now: Timestamp::EPOCH };
    let input = operation.input(with.as_object().expect("a mapping"), &config, &At::root("with")).map_err(|fault| fault.to_string())?;
    connector.request(operation, &input, &config, &caller).map_err(|fault| fault.to_string())
}

const HERE: Option<(&str, &str)> = Some(("X-UIPATH-OrganizationUnitId", "7"));

#[test]
fn the_text_of_the_connector_has_no_fault() {
    let source = Arc::new(SourceText { path: "orchestrator.yaml".into(), text: table::text() });
    let (read, faults) = Connectors::load(&[source], None);
    let errors: Vec<String> = faults.iter().filter(|fault| fault.severity == Severity::Error).map(crate::fault::Fault::one_line).collect();
    assert_eq!(errors, Vec::<String>::new());
    let operations = &read.get("orchestrator").expect("read").operations;
    assert!(operations.len() > 55, "{}", operations.len());
    for name in table::OF_THE_TENANT {
        assert!(operations.contains_key(*name), "{name}");
    }
}

#[test]
fn items_are_added_with_the_inputs_and_defaults_that_people_know() {
    let one = connector(HERE);
    let sent = request(&one, "add_queue_item", json!({"queueName": "Invoices", "specificContent": {"Amount": 1}, "organizationUnitId": 9}))
        .unwrap();
    assert_eq!(
        (sent.method, sent.url.as_str()),
        ("POST", "https://cloud.uipath.com/acme/Default/orchestrator_/odata/Queues/UiPathODataSvc.AddQueueItem")
    );
    assert_eq!(sent.content, Content::Json(json!({"itemData": {"Name": "Invoices", "Priority": "Low", "SpecificContent": {"Amount": 1}}})));
    assert_eq!(sent.headers.get("x-uipath-organizationunitid").map(String::as_str), Some("9"));
    assert!(!sent.headers.contains_key("idempotency-key") && !sent.headers.contains_key("x-uipath-tenantname"));
    assert!(request(&one, "add_queue_item", json!({"queueName": "Q", "priority": "Urgent"})).unwrap_err().contains("priority"));
    let meaning = |operation: &str, with: Value, status: u16, body: Value| {
        let operation = one.operations.get(operation).unwrap();
        let access = Access::new("orchestrator".into(), config(&one), std::collections::BTreeMap::new(), Vec::new());
        let input = operation.input(with.as_object().unwrap(), &config(&one), &At::root("with")).unwrap();
        let response = CallResponse::new(status, [], body);
        one.outcome(operation, &input, &access, &response, Timestamp::EPOCH)
    };
    let added = meaning("add_queue_item", json!({"queueName": "Q"}), 201, json!({"Id": 5, "Status": "New", "Key": "k"}));
    assert_eq!(added, Meaning::Value(json!({"itemId": 5, "status": "New", "reference": "", "key": "k"})));
    let row = json!({"value": [{"Id": 5, "Status": "Successful", "Output": {"a": 1}, "Reference": null}]});
    let Meaning::Value(found) = meaning("get_queue_item_result_by_id", json!({"itemId": 5}), 200, row) else {
        panic!(
            "a value: {:?}",
            meaning("get_queue_item_result_by_id", json!({"itemId": 5}), 200, json!({"value": [{"Id": 5, "Status": "New"}]}))
        )
    };
    assert_eq!((&found["itemStatus"], &found["output"]), (&json!("Successful"), &json!({"a": 1})));
    let none = meaning("get_queue_item_result_by_id", json!({"itemId": 5}), 200, json!({"value": []}));
    assert!(matches!(&none, Meaning::Dead(why) if why.contains("no item 5")), "{none:?}");
    let refused = meaning("add_queue_item", json!({"queueName": "Q"}), 404, json!({"message": "no such queue", "errorCode": 1002}));
    assert!(matches!(&refused, Meaning::Refused(Some(why)) if why == "no such queue"), "{refused:?}");
}

#[test]
fn a_folder_is_named_in_each_form_and_asked_for_where_it_is_needed() {
    let (with, without) = (connector(HERE), connector(None));
    let header = |with: &Connector, said: Value| {
        request(with, "get_queues", said)
            .map(|sent| sent.headers.into_iter().find(|(name, _)| name.contains("folder") || name.contains("unit")))
    };
    assert_eq!(header(&with, json!({})), Ok(Some(("x-uipath-organizationunitid".into(), "7".into()))));
    assert_eq!(header(&with, json!({"folder": "AB"})), Ok(Some(("x-uipath-folderpath-encoded".into(), "QQBCAA==".into()))));
    assert_eq!(header(&with, json!({"folderKey": "c0ffee"})), Ok(Some(("x-uipath-folderkey".into(), "c0ffee".into()))));
    assert!(header(&with, json!({"folderKey": "a\r\nX: y"})).is_err());
    assert!(header(&without, json!({})).unwrap_err().contains("1101"));
    assert!(request(&without, "get_folders", json!({})).is_ok());
}

#[test]
fn a_path_that_a_call_names_stays_below_the_api() {
    let one = connector(HERE);
    let sent = request(
        &one,
        "request",
        json!({"method": "PATCH", "path": "/odata/Jobs(5)/X.Y", "query": {"$top": 5, "a": "b c"}, "body": {"x": 1}}),
    )
    .unwrap();
    assert_eq!((sent.method, sent.url.as_str()), ("PATCH", "https://cloud.uipath.com/acme/Default/orchestrator_/odata/Jobs(5)/X.Y"));
    assert_eq!(sent.query, [("$top".to_owned(), "5".to_owned()), ("a".to_owned(), "b c".to_owned())]);
    assert_eq!(sent.content, Content::Json(json!({"x": 1})));
    assert!(!sent.idempotent && request(&one, "request", json!({"path": "/odata/Jobs"})).unwrap().idempotent);
    for path in [
        "odata",
        "//evil.example/x",
        "/a/../b",
        "/a/%2e%2E/b",
        "/a%2f..%2fb",
        "/a?b",
        "/a#b",
        "/a\\b",
        "/a%5c..%5cb",
        "/a b",
        "/a\r\nb",
        "@evil.example",
        "",
    ] {
        assert!(request(&one, "request", json!({ "path": path })).is_err(), "{path}");
    }
}

#[test]
fn connections_of_integration_service_stand_beside_orchestrator() {
    let one = connector(HERE);
    let sent = request(&one, "call_connection", json!({"connectionId": "abc-1", "path": "/accounts", "query": {"pageSize": 5}})).unwrap();
    assert_eq!(sent.url, "https://cloud.uipath.com/acme/Default/elements_/v3/element/instances/abc-1/accounts");
    assert_eq!(sent.headers.get("x-uipath-source").map(String::as_str), Some("Tripline"));
    assert!(request(&one, "call_connection", json!({"connectionId": "../x", "path": "/a"})).is_err());
    let sent = request(&one, "get_connection", json!({"connectionId": "abc/1"})).unwrap();
    assert_eq!(sent.url, "https://cloud.uipath.com/acme/Default/connections_/api/v1/Connections/abc%2F1");
    let operation = one.operations.get("call_connection").unwrap();
    let access = Access::new("orchestrator".into(), config(&one), std::collections::BTreeMap::new(), Vec::new());
    for (code, again) in [(json!("429"), true), (json!(503), true), (json!("404"), false), (json!(401), false)] {
        let body = json!({"requestId": "r", "message": "m", "providerMessage": "too much", "providerErrorCode": code});
        let response = CallResponse::new(400, [], body);
        match one.outcome(operation, &json!({}), &access, &response, Timestamp::EPOCH) {
            Meaning::Retry(why) => assert!(again && why.contains("too much"), "{code}: {why}"),
            Meaning::Dead(why) => assert!(!again && why.contains("too much"), "{code}: {why}"),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn several_orchestrators_have_a_connector_each() {
    let other = OrchestratorSite { name: "test".into(), ..site(None) };
    let both = Connectors::default().with_orchestrators(&[site(None), other]);
    let names: Vec<String> = both.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["orchestrator:prod", "orchestrator:test"]);
    assert!(Connectors::default().with_orchestrators(&[]).is_empty());
}
