//! What other services tell: types, keys, times and data, and that data is found again in the body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::headers::HeaderList;
use crate::normalize::project;

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn view(service: Service) -> ServiceView {
    ServiceView::of("shop".into(), service)
}

/// Reads, checks that every event's data is found again, and gives the changes with their data.
fn told_by(body: &[u8], view: &ServiceView, headers: &[(&str, &str)]) -> Vec<(Change, Value)> {
    let Reading { changes, .. } = read(body, view, &HeaderList::of(headers), now());
    let owned = changes.into_iter().map(|(change, data)| (change, data.into_value()));
    owned.inspect(|(change, data)| assert_eq!(project(body, &change.event_type, change.element), *data, "{}", change.event_type)).collect()
}

fn one(body: &Value, view: &ServiceView, headers: &[(&str, &str)]) -> (Change, Value) {
    let mut all = told_by(body.to_string().as_bytes(), view, headers);
    assert_eq!(all.len(), 1, "{body}");
    all.remove(0)
}

/// Type, key, time and data of one delivery of each service.
#[test]
fn each_service_in_its_own_words() {
    const GITHUB: &[(&str, &str)] = &[("X-GitHub-Event", "issues"), ("X-GitHub-Delivery", "72d3162e-cc78")];
    const SHOPIFY: &[(&str, &str)] = &[
        ("X-Shopify-Topic", "orders/create"),
        ("X-Shopify-Webhook-Id", "b54557e4"),
        ("X-Shopify-Triggered-At", "2023-03-29T18:00:27.877041743Z"),
    ];
    const STANDARD: &[(&str, &str)] = &[("webhook-id", "msg_1"), ("webhook-timestamp", "1700000000")];
    // Service, headers, body; type, id, time.
    type Row<'a> = (Service, &'a [(&'a str, &'a str)], Value, &'a str, &'a str, Option<&'a str>);
    let rows: Vec<Row<'_>> = vec![
        (Service::GitHub, GITHUB, json!({"action": "opened", "issue": {"id": 7}}), "shop.issues.opened", "72d3162e-cc78", None),
        (Service::GitHub, &GITHUB[..1], json!({"zen": "x"}), "shop.issues", "", None),
        (Service::GitHub, &[], json!({}), "shop.unknown", "", None),
        (
            Service::Stripe,
            &[],
            json!({"id": "evt_1", "type": "invoice.paid", "created": 1_326_853_478}),
            "shop.invoice.paid",
            "evt_1",
            Some("2012-01-18T02:24:38Z"),
        ),
        (
            Service::Slack,
            &[],
            json!({"type": "event_callback", "event": {"type": "app_mention"}, "event_id": "Ev08", "event_time": 1_234_567_890}),
            "shop.app_mention",
            "Ev08",
            Some("2009-02-13T23:31:30Z"),
        ),
        (Service::Slack, &[], json!({"type": "app_rate_limited", "minute_rate_limited": 1}), "shop.app_rate_limited", "", None),
        (
            Service::Shopify,
            SHOPIFY,
            json!({"id": 820, "created_at": "2001-01-01T00:00:00Z"}),
            "shop.orders/create",
            "b54557e4",
            Some("2023-03-29T18:00:27.877041743Z"),
        ),
        (
            Service::StandardWebhooks,
            STANDARD,
            json!({"type": "contact.created", "timestamp": "2022-11-03T20:26:10.344522Z", "data": {}}),
            "shop.contact.created",
            "msg_1",
            Some("2022-11-03T20:26:10.344522Z"),
        ),
        (Service::StandardWebhooks, &[("svix-id", "msg_2")], json!({"a": 1}), "shop.unknown", "msg_2", None),
        (Service::CloudElements, &[], json!({"eventId": 12, "notificationId": 9, "message": {}}), "shop.unknown", "12", None),
        (
            Service::Custom,
            &[],
            json!({"type": "x", "id": 5, "time": 1_700_000_000_123_u64}),
            "shop.x",
            "5",
            Some("2023-11-14T22:13:20.123Z"),
        ),
        (Service::Custom, &[], json!({"type": 5, "event_id": "e|1"}), "shop.unknown", "e%7C1", None),
    ];
    for (service, headers, body, event_type, id, time) in rows {
        let (change, data) = one(&body, &view(service), headers);
        assert_eq!(&*change.event_type, event_type, "{body}");
        assert_eq!(data, body);
        assert_eq!(change.time, time.and_then(Timestamp::parse_lenient), "{body}");
        if id.is_empty() {
            assert!(change.key.text.starts_with("source:shop|body|sha256:"), "{}", change.key);
            assert_eq!((change.key.stamp, change.service_id), (Some(now()), None));
        } else {
            assert_eq!((&*change.key.text, change.key.stamp), (&*format!("source:shop|event|{id}||"), None));
            assert!(change.service_id.is_some());
        }
    }
}

#[test]
fn the_elements_of_a_callback_are_events_of_their_own() {
    let body = json!({"eventId": 11_482_026, "instanceId": 1, "notificationId": 4, "response": {"events": [
        {"elementKey": "sfdc", "eventType": "CREATED", "objectType": "contacts", "objectId": "a1", "date": "2015-01-20T15:11:04Z"},
        {"elementKey": "sfdc", "eventType": "UPDATED", "objectType": "contacts", "objectId": "a2"},
        {"objectId": "a3"},
    ]}});
    let read = told_by(body.to_string().as_bytes(), &view(Service::CloudElements), &[]);
    let shown: Vec<_> = read.iter().map(|(change, data)| (&*change.event_type, &*change.key.text, data["objectId"].as_str())).collect();
    assert_eq!(
        shown,
        [
            ("shop.contacts.created", "source:shop|event|11482026|0|", Some("a1")),
            ("shop.contacts.updated", "source:shop|event|11482026|1|", Some("a2")),
            ("shop.unknown", "source:shop|event|11482026|2|", Some("a3")),
        ]
    );
    assert_eq!(read[0].0.time, Timestamp::parse_lenient("2015-01-20T15:11:04Z"));
    // A list that is none stays what it is.
    for events in [json!([]), json!([1]), json!("x"), json!([{}, null])] {
        let body = json!({"eventId": 1, "response": {"events": events}});
        assert_eq!(one(&body, &view(Service::CloudElements), &[]).1, body);
    }
}

#[test]
fn what_the_configuration_says_goes_first() {
    let mut own = view(Service::Stripe);
    own.event = Some(Pick::parse("body.event.kind + '.' + headers['X-Action']").expect("an expression"));
    own.id = Some(Pick::parse("headers.x-request-id").expect("a header"));
    own.time = Some(Pick::parse("body.event.at").expect("a path"));
    let body = json!({"id": "evt_1", "type": "t", "created": 1, "event": {"kind": "order", "at": "2024-01-01T00:00:00Z"}});
    let headers = [("X-Action", "made"), ("X-Request-Id", "r1")];
    let (change, _) = one(&body, &own, &headers);
    assert_eq!((&*change.event_type, &*change.key.text), ("shop.order.made", "source:shop|event|r1||"));
    assert_eq!(change.time, Timestamp::parse_lenient("2024-01-01T00:00:00Z"));
    // What is missing there is not looked for elsewhere.
    let (change, _) = one(&body, &own, &[]);
    assert_eq!(&*change.event_type, "shop.unknown");
    assert!(change.key.text.starts_with("source:shop|body|"));
    for bad in ["", "body.", "data.id", "body ==", "headers"] {
        let parsed = Pick::parse(bad);
        assert!(parsed.is_err() || bad == "headers", "{bad}: {parsed:?}");
    }
}

#[test]
fn forms_are_read_as_their_fields_or_their_payload() {
    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    let read = |body: &str, service, headers: &[(&str, &str)]| {
        let mut all = told_by(body.as_bytes(), &view(service), headers);
        assert_eq!(all.len(), 1);
        all.remove(0)
    };
    let (change, data) = read("command=%2Fgo&text=a+b&x=1&x=2&x=3&trigger_id=t.1", Service::Slack, &[FORM]);
    assert_eq!((&*change.event_type, &*change.key.text), ("shop.slash_command", "source:shop|event|t.1||"));
    assert_eq!(
        data,
        json!({"command": "/go", "text": "a b", "x": ["1", "2", "3"], "trigger_id": "t.1"}).as_object().map_or(Value::Null, |map| {
            // A name that comes again moves to the end.
            let mut map = map.clone();
            let list = map.shift_remove("x");
            let trigger = map.shift_remove("trigger_id");
            map.insert("x".to_owned(), list.unwrap_or_default());
            map.insert("trigger_id".to_owned(), trigger.unwrap_or_default());
            Value::Object(map)
        })
    );
    let payload: String = url::form_urlencoded::byte_serialize(br#"{"action":"opened","n":1}"#).collect();
    let (change, data) = read(&format!("payload={payload}"), Service::GitHub, &[FORM, ("X-GitHub-Event", "issues")]);
    assert_eq!((&*change.event_type, data), ("shop.issues.opened", json!({"action": "opened", "n": 1})));
    let many: String = (0..2000).map(|n| format!("f{n}=1&")).collect();
    for bad in ["", "payload=%7B%22a%22%3A", &many] {
        let (change, data) = read(bad, Service::GitHub, &[FORM]);
        assert_eq!((&*change.event_type, data), (TYPE_UNPARSED, Value::Null));
        assert!(change.problem.is_some());
    }
}

#[test]
fn bodies_that_cannot_be_used_are_kept_as_such() {
    for body in ["", "hello", "[1]", "null", "{\"a\":1,\"a\":2}", "{\"a\":", "\u{feff}\u{feff}{}"] {
        for service in [Service::GitHub, Service::Slack, Service::CloudElements, Service::Custom] {
            let mut all = told_by(body.as_bytes(), &view(service), &[("X-GitHub-Delivery", "1")]);
            let (change, data) = all.remove(0);
            assert_eq!((&*change.event_type, data), (TYPE_UNPARSED, Value::Null), "{body}");
            assert!(change.problem.is_some() && change.key.text.starts_with("source:shop|body|"), "{body}");
        }
    }
    // A rounded integer is said, and the event is what it is.
    let (change, _) = told_by(b"{\"type\":\"x\",\"n\":123456789012345678901234567890}", &view(Service::Custom), &[]).remove(0);
    assert!(change.problem.is_some());
    assert_eq!(&*change.event_type, "shop.x");
}

#[test]
fn types_of_a_source_are_never_taken_for_ours() {
    let ours = ServiceView::of("tripline".into(), Service::Custom);
    assert_eq!(&*one(&json!({"type": "unparsed"}), &ours, &[]).0.event_type, "foreign.tripline.unparsed");
    let long = "x".repeat(10_000);
    let (change, _) = one(&json!({"type": format!(" {long}\n")}), &view(Service::Custom), &[]);
    assert_eq!(change.event_type.len(), "shop.".len() + crate::normalize::TYPE_MAX);
    assert!(crate::normalize::is_family("QueueItem") && crate::normalize::is_family("jobs") && !crate::normalize::is_family("github"));
}

#[test]
fn only_a_question_of_slack_is_answered() {
    let question = br#"{"token":"x","challenge":"3eZbrw1a","type":"url_verification"}"#;
    assert_eq!(challenge(question, Service::Slack).as_deref(), Some("3eZbrw1a"));
    assert_eq!(challenge(question, Service::GitHub), None);
    let long = format!(r#"{{"challenge":"{}","type":"url_verification"}}"#, "x".repeat(2000));
    for body in [
        r#"{"challenge":"x","type":"event_callback"}"#,
        r#"{"type":"url_verification"}"#,
        "x",
        r#"{"challenge":7,"type":"url_verification"}"#,
        &long,
    ] {
        assert_eq!(challenge(body.as_bytes(), Service::Slack), None, "{body}");
    }
}

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json; charset=utf-8");

#[test]
fn cloud_events_are_read_whole_in_batches_and_from_headers() {
    let event = json!({"specversion": "1.0", "id": "A|1", "source": "/a/b", "type": "com.x.made", "time": "2018-04-05T17:31:00Z",
        "subject": "doc/1", "ext": true, "data": {"n": 1}});
    let check = |(change, data): &(Change, Value)| {
        assert_eq!((&*change.event_type, &*change.key.text), ("shop.com.x.made", "source:shop|cloudevent|/a/b|A%7C1|"));
        assert_eq!(change.time, Timestamp::parse_lenient("2018-04-05T17:31:00Z"));
        assert_eq!((change.subject.as_deref(), change.service_id.as_deref(), data), (Some("doc/1"), Some("A|1"), &json!({"n": 1})));
    };
    // Whatever the service is.
    for service in [Service::GitHub, Service::Custom, Service::CloudElements] {
        check(&one(&event, &view(service), &[STRUCTURED]));
    }
    let mut second = event.clone();
    second["id"] = "A2".into();
    second["data"] = Value::Null;
    let batch = json!([event, second]).to_string();
    let media = ("Content-Type", "application/cloudevents-batch+json");
    let all = told_by(batch.as_bytes(), &view(Service::Custom), &[media]);
    check(&all[0]);
    assert_eq!((all.len(), &*all[1].0.key.text, &all[1].1), (2, "source:shop|cloudevent|/a/b|A2|", &Value::Null));
    assert_eq!(told_by(b"[]", &view(Service::Custom), &[media]), []);
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "A%7C1"),
        ("ce-source", "/a/b"),
        ("ce-type", "com.x.made"),
        ("ce-time", "2018-04-05T17:31:00Z"),
        ("ce-subject", "doc/1"),
    ];
    let with = |media: &'static str| attributes.iter().copied().chain([("content-type", media)]).collect::<Vec<_>>();
    check(&told_by(br#"{"n":1}"#, &view(Service::Stripe), &with("application/json"))[0]);
    check(&told_by(br#"{"n":1}"#, &view(Service::Stripe), &with("application/vnd.x+json"))[0]);
    for (body, media, data) in [
        (&b"a text"[..], "text/plain", json!("a text")),
        (b"\xff\x00", "application/octet-stream", json!(STANDARD.encode(b"\xff\x00"))),
        (b"[1,2]", "application/json", json!([1, 2])),
    ] {
        assert_eq!(told_by(body, &view(Service::Custom), &with(media))[0].1, data);
    }
    assert_eq!(told_by(b"", &view(Service::Custom), &attributes)[0].1, Value::Null);
}

#[test]
fn data_in_base64_is_json_where_it_says_so() {
    let read = |media: &str, data: &str| {
        let event = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "datacontenttype": media, "data_base64": data});
        one(&event, &view(Service::Custom), &[STRUCTURED]).1
    };
    let encoded = STANDARD.encode(br#"{"n":1}"#);
    assert_eq!(read("application/json", &encoded), json!({"n": 1}));
    assert_eq!(read("application/xml", &encoded), json!(encoded));
    assert_eq!(read("application/json", "%%"), json!("%%"));
}

#[test]
fn a_cloud_event_that_is_none_is_kept_and_says_why() {
    let rows = [
        (json!({"id": "1", "source": "s", "type": "t"}), "without `specversion`"),
        (json!({"specversion": "0.3", "id": "1", "source": "s", "type": "t"}), "another `specversion`"),
        (json!({"specversion": "1.0", "source": "s", "type": "t"}), "without `id`"),
        (json!({"specversion": "1.0", "id": " ", "source": "s", "type": "t"}), "without `id`"),
        (json!({"specversion": "1.0", "id": 7, "source": "s", "type": "t"}), "without `id`"),
        (json!({"specversion": "1.0", "id": "1", "type": "t"}), "without `source`"),
        (json!({"specversion": "1.0", "id": "1", "source": "s"}), "without `type`"),
        (json!([]), "expected an object"),
    ];
    for (body, why) in rows {
        let (change, _) = one(&body, &view(Service::Custom), &[STRUCTURED]);
        assert_eq!(&*change.event_type, TYPE_UNPARSED);
        let message = change.problem.expect("a problem").message;
        assert!(message.contains(why), "{body}: {message}");
    }
    let batch = json!([{"specversion": "1.0", "id": "1", "source": "s", "type": "t"}, 7]);
    let (change, _) = one(&batch, &view(Service::Custom), &[("content-type", "application/cloudevents-batch+json")]);
    assert!(change.problem.expect("a problem").message.contains("event 2 of the batch"));
    let (change, _) = one(&json!({}), &view(Service::Custom), &[("content-type", "application/cloudevents+avro")]);
    assert!(change.problem.expect("a problem").message.contains("another form"));
}

fn services() -> impl Strategy<Value = Service> {
    prop::sample::select(&Service::ALL[..])
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_none_and_data_is_found_again(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[{}\\[\\]\":,a-z0-9 ]{0,60}".prop_map(String::into_bytes),
            "(payload=|a=)?[%=&+a-zA-Z0-9{}\"]{0,60}".prop_map(String::into_bytes),
        ],
        service in services(),
        media in prop::sample::select(vec!["", "application/json", "application/x-www-form-urlencoded", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain"]),
        binary in any::<bool>(),
    ) {
        let mut headers = vec![("content-type", media)];
        if binary {
            headers.extend([("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "t")]);
        }
        for (change, _) in told_by(&body, &view(service), &headers) {
            prop_assert!(change.event_type.starts_with("shop.") || &*change.event_type == TYPE_UNPARSED);
            prop_assert!(change.key.text.starts_with("source:shop|"));
        }
    }

    #[test]
    fn two_ids_have_two_keys(a in "[a-z|%\\\\/é ]{1,6}", b in "[a-z|%\\\\/é ]{1,6}") {
        prop_assume!(a != b && !a.trim().is_empty() && !b.trim().is_empty());
        let key = |id: &str| one(&json!({"type": "t", "id": id}), &view(Service::Stripe), &[]).0.key;
        prop_assert_ne!(key(&a), key(&b));
    }
}
