use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::event::Key;

const RECEIVED: i64 = 1_780_000_000_000;

fn source() -> SourceView {
    SourceView { name: Arc::from("hook"), tenant_url: Some(Arc::from("https://cloud.example/acme/prod/orchestrator_")) }
}

fn read(body: &Value) -> Normalized {
    read_text(&body.to_string())
}

fn read_text(body: &str) -> Normalized {
    orchestrator(body.as_bytes(), &source(), Timestamp::from_millis(RECEIVED))
}

fn only(body: &Value) -> Change {
    let mut all = read(body).changes;
    assert_eq!(all.len(), 1, "{body}");
    all.remove(0)
}

fn same(a: &Value, b: &Value) -> bool {
    only(a).key.same_change(&only(b).key)
}

/// A delivery about one queue item in the singular shape.
fn item(event_type: &str, fields: Value) -> Value {
    json!({
        "Type": event_type, "EventId": "1", "Timestamp": "2024-03-01T10:00:00.1234567Z", "TenantId": 3, "OrganizationUnitId": 77,
        "UserId": 9, "Queue": {"Id": 40, "Name": "Invoices"}, "QueueItem": fields
    })
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    body.pointer_mut(parent).expect("the parent")[name] = value;
    body
}

#[test]
fn an_array_becomes_one_change_per_element_in_the_singular() {
    let body = json!({
        "Type": "queueItems.added", "EventId": "e1", "Timestamp": "2024-03-01T10:00:00Z", "EventTime": "2024-03-01T10:00:00Z",
        "Queue": {"Id": 40, "Name": "Invoices"},
        "QueueItems": [{"Id": 1, "Status": "New"}, {"Id": 2, "Status": "InProgress"}],
        "TenantId": 3, "OrganizationUnitId": 77, "OrganizationUnitKey": "aa-bb", "EntityKey": "cc", "EventSourceId": 5,
        "Name": "my webhook", "FolderId": 77, "UserId": 9, "UserKey": "dd"
    });
    let read = read(&body);
    assert_eq!(read.delivery_id.as_deref(), Some("e1"));
    assert_eq!(read.changes.len(), 2);
    for (index, change) in read.changes.iter().enumerate() {
        let id = index + 1;
        assert_eq!(&*change.event_type, "queueItem.added");
        assert_eq!(change.element as usize, index);
        assert_eq!(change.tenant.as_deref(), Some("3"));
        assert_eq!(change.folder, Some(Folder { id: Some(77), key: Some("aa-bb".to_owned()), path: None }));
        assert_eq!(change.subject.as_deref(), Some(format!("queues/Invoices/items/{id}").as_str()));
        let status = if id == 1 { "New" } else { "InProgress" };
        assert_eq!(
            *change.data,
            json!({"Queue": {"Id": 40, "Name": "Invoices"}, "QueueItem": {"Id": id, "Status": status}, "UserId": 9, "UserKey": "dd"})
        );
        assert_eq!(change.key.to_string(), format!("https://cloud.example/acme/prod/orchestrator_|queueItem|{id}|queueItem.added|"));
    }
}

#[test]
fn every_family_is_read_in_every_shape() {
    let cases = [
        ("job.created", json!({"StartInfo": {"ReleaseKey": "k"}, "Jobs": [{"Id": 5, "Key": "K-1"}]}), "Job", "jobs/5"),
        ("job.created", json!({"StartInfo": {"ReleaseKey": "k"}, "Jobs": {"Id": 5, "Key": "K-1"}}), "Job", "jobs/5"),
        ("job.stopped", json!({"Jobs": [{"Id": 6}]}), "Job", "jobs/6"),
        ("job.faulted", json!({"Job": {"Id": 7, "Release": {"Name": "Nightly"}}}), "Job", "jobs/7"),
        ("queue.updated", json!({"Queues": [{"Id": 1, "Name": "Pay/ments"}], "FolderKeys": ["x"]}), "Queue", "queues/Pay%2Fments"),
        ("process.created", json!({"Releases": [{"Id": 2, "Name": "Nightly"}]}), "Release", "processes/Nightly"),
        ("robot.created", json!({"Robots": [{"Id": 3, "Name": "R"}]}), "Robot", "robots/3"),
        ("robot.status", json!({"Sessions": [{"State": "Busy", "Robot": {"Id": 4}}]}), "Session", "robots/4"),
        (
            "schedule.failed",
            json!({"ProcessSchedule": {"Id": 8, "Name": "at six"}, "Reason": "no robot"}),
            "ProcessSchedule",
            "schedules/at six",
        ),
        ("task.completed", json!({"Tasks": [{"Id": 9}], "ResultReference": "r"}), "Task", "tasks/9"),
        ("queueItem.retried", json!({"Queue": {"Name": "Q"}, "QueueItems": [{"Id": 10}]}), "QueueItem", "queues/Q/items/10"),
        ("queueItem.transactionStarted", json!({"Queue": {"Name": "Q"}, "QueueItem": {"Id": 11}}), "QueueItem", "queues/Q/items/11"),
        ("queueItem.transactionFailed", json!({"QueueItem": {"Id": 12, "QueueDefinitionId": 4}}), "QueueItem", "queues/4/items/12"),
    ];
    for (event_type, mut body, field, subject) in cases {
        body["Type"] = json!(event_type);
        body["EventId"] = json!("e");
        body["Timestamp"] = json!("2024-03-01T10:00:00Z");
        let change = only(&body);
        assert_eq!(&*change.event_type, event_type);
        assert!(change.data[field].is_object(), "{event_type}: {}", change.data);
        assert_eq!(change.subject.as_deref(), Some(subject), "{event_type}");
        assert!(change.time.is_some());
        let plural = format!("{field}s");
        assert!(change.data.get(&plural).is_none(), "{event_type}: {}", change.data);
        for kept in ["StartInfo", "FolderKeys", "Reason", "ResultReference"] {
            assert_eq!(change.data.get(kept), body.get(kept), "{event_type}: {kept}");
        }
    }
    let custom = only(&json!({"Type": "custom", "EventId": "e", "EventData": {"any": 1}, "Timestamp": "2024-03-01T10:00:00Z"}));
    assert_eq!(*custom.data, json!({"EventData": {"any": 1}}));
    let ping = only(&json!({"Type": "ping", "EventId": "307348658", "Timestamp": "2024-03-01T10:00:00Z"}));
    assert_eq!(*ping.data, json!({}));
    assert_eq!(ping.key.text.rsplit('|').nth(2), Some("307348658"));
}

#[test]
fn an_empty_array_is_one_change_and_elements_may_be_anything() {
    let empty = only(&json!({"Type": "queueItem.added", "EventId": "e", "Queue": {"Name": "Q"}, "QueueItems": []}));
    assert_eq!(*empty.data, json!({"Queue": {"Name": "Q"}}));
    let odd = read(&json!({"Type": "queueItem.added", "EventId": "e", "QueueItems": [5, null, "x", {"Id": 1}]}));
    let data: Vec<_> = odd.changes.iter().map(|change| change.data["QueueItem"].clone()).collect();
    assert_eq!(data, [json!(5), json!(null), json!("x"), json!({"Id": 1})]);
    let keys: HashSet<_> = odd.changes.iter().map(|change| change.key.text.clone()).collect();
    assert_eq!(keys.len(), 4, "elements without ids do not fold");
}

#[test]
fn folder_copies_fold_for_every_type_with_an_id() {
    for (event_type, fields) in [
        ("queueItem.added", json!({"Id": 1, "Status": "New"})),
        ("queueItem.transactionFailed", json!({"Id": 1})),
        ("queueItem.transactionStarted", json!({"Id": 1, "StartProcessing": "2024-03-01T10:00:00.66Z"})),
        ("queueItem.deferred", json!({"Id": 1, "DeferDate": "2024-04-01T00:00:00Z"})),
        ("queueItem.updated", json!({"Id": 1, "Progress": "half"})),
        ("queueItem.reviewStatusChanged", json!({"Id": 1, "ReviewStatus": "Verified"})),
        ("queueItem.quantum", json!({"Id": 1})),
    ] {
        let one = item(event_type, fields);
        let copy = with(with(one.clone(), "/EventId", json!("2")), "/OrganizationUnitId", json!(78));
        let copy = with(copy, "/Timestamp", json!("2024-03-01T10:00:01.9Z"));
        assert!(same(&one, &copy), "{event_type}");
    }
}

#[test]
fn the_same_instant_rounded_differently_is_one_start() {
    let started = |stamp: &str| item("queueItem.transactionStarted", json!({"Id": 1, "StartProcessing": stamp}));
    assert!(same(&started("2024-03-01T10:00:00.6603953Z"), &started("2024-03-01T10:00:00.66Z")));
    assert!(!same(&started("2024-03-01T10:00:00Z"), &started("2024-03-01T10:20:00Z")), "started again after a deferral");
}

#[test]
fn different_changes_never_fold() {
    let added = item("queueItem.added", json!({"Id": 1, "Status": "InProgress", "StartProcessing": "2024-03-01T10:00:00Z"}));
    let started = with(added.clone(), "/Type", json!("queueItem.transactionStarted"));
    assert!(!same(&added, &started), "added as InProgress is not its start");

    let suspended = |resumed: Value| {
        json!({"Type": "job.suspended", "EventId": "1", "Timestamp": "2024-03-01T10:00:00Z",
               "Job": {"Id": 1, "Key": "K", "StartTime": "2024-03-01T09:00:00Z", "ResumeTime": resumed}})
    };
    assert!(!same(&suspended(json!(null)), &suspended(json!("2024-03-01T09:30:00Z"))), "suspended twice");

    let updated = |progress: &str| item("queueItem.updated", json!({"Id": 1, "Progress": progress}));
    assert!(!same(&updated("1 of 3"), &updated("2 of 3")), "two updates of one moment");

    let session = |state: &str| {
        json!({"Type": "robot.status", "EventId": "1", "Timestamp": "2024-03-01T10:00:00Z",
               "Sessions": [{"Id": 5, "State": state, "Robot": {"Id": 4}}]})
    };
    assert!(!same(&session("Busy"), &session("Available")), "a robot that was busy for a moment");

    let unplaced =
        |event: &str| json!({"Type": "job.suspended", "EventId": event, "Timestamp": "0001-01-01T00:00:00", "Job": {"Id": 1, "Key": "K"}});
    assert!(!same(&unplaced("1"), &unplaced("2")), "without any moment the delivery's id tells them apart");
    assert!(same(&unplaced("1"), &unplaced("1")));

    let task = |id: i64| json!({"Type": "task.created", "EventId": "1", "Timestamp": "2024-03-01T10:00:00Z", "Tasks": [{"Id": id}]});
    assert!(!same(&task(1), &task(2)));
}

#[test]
fn a_retry_is_keyed_by_the_attempt_that_was_retried() {
    let old = item("queueItem.retried", json!({"Id": 10, "Status": "Retried", "AncestorId": 9}));
    let new = item("queueItem.retried", json!({"Id": 11, "Status": "New", "AncestorId": 10}));
    let earlier = item("queueItem.retried", json!({"Id": 10, "Status": "New", "AncestorId": 9}));
    assert!(same(&old, &new));
    assert!(!same(&old, &earlier));
    let manual = item("queueItem.retried", json!({"Id": 12, "Status": "New", "ManualAncestorId": 11}));
    assert!(only(&manual).key.text.contains("|queueItem|11|"));
}

#[test]
fn jobs_are_keyed_by_key_type_and_the_moment_they_began() {
    let job = |kind: &str, fields: Value| json!({"Type": kind, "EventId": "1", "Timestamp": "2024-03-01T10:00:00Z", "Job": fields});
    let completed = job("job.completed", json!({"Id": 5, "Key": "ABC", "StartTime": "2024-03-01T09:00:00.4339999Z"}));
    let again = job("job.completed", json!({"Id": 5, "Key": "abc", "StartTime": "2024-03-01T09:00:00.434Z"}));
    assert!(same(&completed, &again));
    let created = only(&job("job.created", json!({"Id": 5, "Key": "abc", "StartTime": null})));
    assert_eq!(created.key.stamp, None);
    let resumed =
        only(&job("job.suspended", json!({"Key": "abc", "StartTime": "2024-03-01T09:00:00Z", "ResumeTime": "2024-03-02T09:00:00Z"})));
    assert_eq!(resumed.key.stamp, Timestamp::parse_lenient("2024-03-02T09:00:00Z"));
}

#[test]
fn without_a_tenant_keys_stand_under_the_source() {
    let body = item("queueItem.added", json!({"Id": 1})).to_string();
    let here = SourceView { name: Arc::from("lab"), tenant_url: None };
    let change = &orchestrator(body.as_bytes(), &here, Timestamp::from_millis(RECEIVED)).changes[0];
    assert_eq!(&*change.key.text, "source:lab|queueItem|1|queueItem.added|");
    let there = SourceView { name: Arc::from("lab2"), tenant_url: None };
    let other = &orchestrator(body.as_bytes(), &there, Timestamp::from_millis(RECEIVED)).changes[0];
    assert!(!change.key.same_change(&other.key));
}

#[test]
fn odd_event_ids_fall_back_to_the_bodys_hash_and_long_ones_are_hashed() {
    for id in [json!(null), json!(""), json!("  "), json!(307348658), json!({"a": 1})] {
        let read = read(&json!({"Type": "custom", "EventId": id, "EventData": {}}));
        assert_eq!(read.delivery_id, None, "{id}");
        let key = &read.changes[0].key;
        assert!(key.text.contains("|body|sha256:"), "{key}");
        assert_eq!(key.stamp, Some(Timestamp::from_millis(RECEIVED)));
        assert_eq!(key.tolerance, crate::event::UNKEYED_TOLERANCE);
    }
    let long = read(&json!({"Type": "custom", "EventId": "x".repeat(10_240), "EventData": {}}));
    let id = long.delivery_id.expect("an id");
    assert!(id.starts_with("sha256:") && id.len() < 80);
    assert!(long.changes[0].key.text.contains(&*id));
    let separator = read(&json!({"Type": "custom", "EventId": "a|b", "EventData": {}}));
    assert!(separator.delivery_id.expect("an id").starts_with("sha256:"));
}

#[test]
fn times_are_sane_or_unknown() {
    for (stamp, sane) in [
        (json!("0001-01-01T00:00:00"), false),
        (json!("0001-01-01T00:00:00Z"), false),
        (json!("9999-12-31T23:59:59.9999999Z"), false),
        (json!("soon"), false),
        (json!(5), false),
        (json!("2024-03-01T10:00:00"), true),
        (json!("2024-03-01T10:00:00+14:00"), true),
        (json!("2016-12-31T23:59:60Z"), true),
        (json!("2024-03-01T10:00:00.1234567Z"), true),
    ] {
        let change = only(&json!({"Type": "ping", "EventId": "1", "Timestamp": stamp}));
        assert_eq!(change.time.is_some(), sane, "{stamp}");
    }
    let late = only(&json!({"Type": "ping", "EventId": "1", "Timestamp": "0001-01-01T00:00:00", "EventTime": "2025-04-01T00:00:00Z"}));
    assert_eq!(late.time, Timestamp::parse_lenient("2025-04-01T00:00:00Z"));
}

#[test]
fn unusable_bodies_are_one_change_with_a_place() {
    let sixteen: Vec<u8> = "{\"Type\":\"ping\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: &[&[u8]] = &[
        b"hello",
        b"",
        b"[]",
        b"5",
        b"null",
        b"\"x\"",
        b"{\"a\":1",
        b"{} {}",
        b"{\"a\":1,\"a\":1}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":\"\xff\"}",
        &sixteen,
    ];
    for body in bodies {
        let read = orchestrator(body, &source(), Timestamp::from_millis(RECEIVED));
        assert_eq!(read.changes.len(), 1);
        let change = &read.changes[0];
        assert_eq!(&*change.event_type, TYPE_UNPARSED);
        assert!(change.data.is_null());
        let problem = change.problem.as_ref().expect("a problem");
        assert!(problem.line >= 1 && problem.column >= 1 && !problem.message.is_empty(), "{problem:?}");
        assert!(project(body, TYPE_UNPARSED, 0).is_null());
    }
    let again = orchestrator(b"hello", &source(), Timestamp::from_millis(RECEIVED + 500_000));
    let later = orchestrator(b"hello", &source(), Timestamp::from_millis(RECEIVED + 700_000));
    let first = orchestrator(b"hello", &source(), Timestamp::from_millis(RECEIVED));
    let key = |read: &Normalized| -> Key { read.changes[0].key.clone() };
    assert!(key(&first).same_change(&key(&again)));
    assert!(!key(&first).same_change(&key(&later)));
}

#[test]
fn an_object_is_kept_whatever_its_fields() {
    let bare = only(&json!({"hello": 1, "Name": "x"}));
    assert_eq!(&*bare.event_type, TYPE_UNKNOWN);
    assert_eq!(*bare.data, json!({"hello": 1, "Name": "x"}), "without an envelope every field is data");
    for odd in [json!({"Type": 5}), json!({"Type": null}), json!({"Type": ""}), json!({"Type": {"a": []}})] {
        assert_eq!(&*only(&odd).event_type, TYPE_UNKNOWN);
    }
    let forged = only(&json!({"Type": "tripline.unparsed", "EventId": "1"}));
    assert_ne!(&*forged.event_type, TYPE_UNPARSED);
    for id in [json!(0), json!(""), json!(null), json!([1]), json!("a|b")] {
        let change = only(&item("queueItem.added", json!({"Id": id})));
        assert!(!change.key.text.contains("a|b"), "{}", change.key);
    }
}

#[test]
fn types_of_any_size_are_told_apart() {
    let long = |end: &str| json!({"Type": format!("{}{end}", "x".repeat(1 << 20)), "EventId": "1", "Timestamp": "2024-03-01T10:00:00Z"});
    let change = only(&long("a"));
    assert_eq!(change.event_type.chars().count(), TYPE_MAX);
    assert!(!same(&long("a"), &long("b")));
    assert_eq!(&*only(&json!({"Type": "a\u{0}\r\nb", "EventId": "1"})).event_type, "a\u{fffd}\u{fffd}\u{fffd}b");
}

#[test]
fn a_rounded_integer_is_kept_and_flagged() {
    let read = read_text(r#"{"Type":"custom","EventId":"1","EventData":{"n":123456789012345678901234567890}}"#);
    let problem = read.changes[0].problem.as_ref().expect("flagged");
    assert!(problem.message.contains("123456789012345678901234567890") && problem.line == 1, "{problem:?}");
    assert!(read.changes[0].data["EventData"]["n"].is_f64());
    assert_eq!(&*read.changes[0].event_type, "custom");
    let exact = read_text(r#"{"Type":"custom","EventId":"1","EventData":{"n":18446744073709551615,"m":9007199254740993}}"#);
    assert_eq!(exact.changes[0].problem, None);
}

#[test]
fn a_body_is_never_blown_up_into_more_than_the_limits() {
    let items = vec!["1"; ELEMENTS_MAX + 1].join(",");
    let many = read_text(&format!(r#"{{"Type":"queueItem.added","EventId":"1","QueueItems":[{items}]}}"#));
    assert_eq!(many.changes.len(), 1);
    assert!(many.changes[0].problem.as_ref().is_some_and(|p| p.message.contains("not taken apart")));
    assert_eq!(many.changes[0].data["QueueItems"].as_array().map(Vec::len), Some(ELEMENTS_MAX + 1));
    let shared = "s".repeat(1 << 20);
    let items = vec!["{}"; 1000].join(",");
    let heavy = read_text(&format!(r#"{{"Type":"queueItem.added","EventId":"1","Queue":"{shared}","QueueItems":[{items}]}}"#));
    assert_eq!(heavy.changes.len(), 1);
}

#[test]
fn strange_names_and_values_stay_data() {
    let content = json!({"a.b": 1, "c[0]": 2, "d e": 3, "@f": 4, "😀": 5, "__proto__": 6, "nul": "\u{0}", "t": "{{x}} ${ENV}"});
    let change = only(&item("queueItem.added", json!({"Id": 1, "SpecificContent": content})));
    assert_eq!(change.data["QueueItem"]["SpecificContent"], content);
    let name = item("queueItem.added", json!({"Id": 1}));
    let change = only(&with(name, "/Queue/Name", json!("../../etc\u{0}")));
    assert_eq!(change.subject.as_deref(), Some("queues/..%2F..%2Fetc%00/items/1"));
}

#[test]
fn names_are_pascal_case_as_orchestrator_writes_them() {
    let camel = only(&json!({"type": "queueItem.added", "eventId": "1", "queueItems": [{"id": 1}]}));
    assert_eq!(&*camel.event_type, TYPE_UNKNOWN);
    assert_eq!(*camel.data, json!({"type": "queueItem.added", "eventId": "1", "queueItems": [{"id": 1}]}));
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let body = item("queueItem.added", json!({"Id": 1})).to_string();
    let (plain, marked) = (read_text(&body), read_text(&format!("\u{feff}{body}")));
    assert_eq!(plain.changes, marked.changes);
    assert_eq!(project(format!("\u{feff}{body}").as_bytes(), "queueItem.added", 0), *plain.changes[0].data);
}

#[test]
fn long_names_are_cut_in_subjects_and_hashed_in_keys() {
    let name = "é".repeat(1000);
    let change = only(&with(item("queueItem.added", json!({"Id": "x".repeat(1000)})), "/Queue/Name", json!(name)));
    let subject = change.subject.expect("a subject");
    assert!(subject.len() < 300 && subject.starts_with("queues/éé"), "{subject}");
    assert!(change.key.text.contains("|queueItem|sha256:"), "{}", change.key);
}

#[test]
fn the_origin_is_read_from_the_item() {
    let run = crate::event::RunId::of(crate::event::EventId(7), "escalate").to_string();
    let change = only(&item("queueItem.added", json!({"Id": 1, "ParentOperationId": format!("tl:{run}:review:3")})));
    let origin = change.origin.expect("an origin");
    assert_eq!((origin.run, origin.step.as_str(), origin.hops), (run, "review", 3));
    assert_eq!(only(&item("queueItem.added", json!({"Id": 1, "ParentOperationId": "someone else's"}))).origin, None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z|/%]{0,6}".prop_map(Value::from),
        Just(json!("2024-03-01T10:00:00Z")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![
            Just("Id"),
            Just("Key"),
            Just("Name"),
            Just("Status"),
            Just("Robot"),
            Just("StartTime"),
            Just("ParentOperationId"),
            Just("x")
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((name, inner), 0..5).prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "Type",
        "EventId",
        "Timestamp",
        "TenantId",
        "OrganizationUnitId",
        "Name",
        "FolderId",
        "UserId",
        "Queue",
        "QueueItem",
        "QueueItems",
        "Job",
        "Jobs",
        "Releases",
        "Robots",
        "Sessions",
        "Tasks",
        "Queues",
        "ProcessSchedule",
        "Reason",
        "EventData",
        "Other",
    ]);
    let kind = prop::sample::select(known_types().to_vec()).prop_map(Value::from);
    (kind, proptest::collection::vec((name, any_json()), 0..8)).prop_map(|(kind, fields)| {
        let mut body: Map<String, Value> = Map::new();
        body.insert("Type".to_owned(), kind);
        body.extend(fields.into_iter().map(|(k, v)| (k.to_owned(), v)));
        Value::Object(body)
    })
}

#[test]
fn a_bar_in_a_type_makes_no_further_part() {
    for body in [
        json!({"Type": "a|b"}),
        json!({"Type": "a|b", "EventId": "1|2"}),
        json!({"Type": "queueItem.added", "QueueItems": [{"Id": "7|8"}]}),
    ] {
        for change in read(&body).changes {
            assert_eq!(change.key.text.split('|').count(), 5, "{}", change.key);
        }
    }
}

proptest! {
    #[test]
    fn stored_bodies_give_the_same_data_again(body in any_body()) {
        let text = body.to_string();
        let read = read_text(&text);
        prop_assert!(!read.changes.is_empty());
        for change in &read.changes {
            prop_assert_eq!(&project(text.as_bytes(), &change.event_type, change.element), &*change.data);
        }
        prop_assert_eq!(project(text.as_bytes(), "x", u32::try_from(read.changes.len()).expect("small")), Value::Null);
    }

    #[test]
    fn the_same_bytes_are_always_the_same_change(body in any_body()) {
        let (one, two) = (read(&body), read(&body));
        for (a, b) in one.changes.iter().zip(&two.changes) {
            prop_assert!(a.key.same_change(&b.key));
        }
    }

    #[test]
    fn keys_have_five_parts(body in any_body()) {
        for change in read(&body).changes {
            prop_assert_eq!(change.key.text.split('|').count(), 5, "{}", change.key);
        }
    }

    #[test]
    fn any_bytes_become_changes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let read = orchestrator(&bytes, &source(), Timestamp::from_millis(RECEIVED));
        prop_assert!(!read.changes.is_empty());
    }
}
