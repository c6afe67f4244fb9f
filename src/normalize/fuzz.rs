//! Any body becomes events.

use super::*;
use crate::event::fuzz::{near, over_inputs};
use crate::headers::HeaderList;
use crate::normalize::services::{Service, ServiceView};
use crate::time::Timestamp;

const SEEDS: &[&[u8]] = &[
    br#"{"Type":"queueItem.transactionFailed","EventId":"e-1","Timestamp":"2026-03-01T10:00:00.66Z","TenantId":5,"OrganizationUnitId":7,"QueueItems":[{"Id":1,"Status":"Failed","SpecificContent":{"A":1.50},"EndProcessing":null},{"Id":2}],"Queue":{"Id":3,"Name":"Invoices"}}"#,
    br#"{"Type":"job.completed","EventId":"e-2","Jobs":[{"Id":9,"Key":"k","State":"Successful","StartTime":"0001-01-01T00:00:00","Release":{"Name":"P"}}]}"#,
    br#"{"Type":"queueItem.added","QueueItem":{"Id":436141352,"Reference":"A-1","Robot":null},"Queue":{"Id":"4","Name":"Q"},"UserId":1}"#,
    br#"{"Type":"task.created","Tasks":[{"Id":1}],"Timestamp":1700000000}"#,
    b"[1,2]",
    b"\xef\xbb\xbf{\"Type\":\"robot.status\",\"Robots\":{}}",
];

#[test]
fn every_body_becomes_at_least_one_event_that_is_found_again() {
    let source = SourceView { name: "hook".into(), tenant_url: Some("https://o.example/t".into()) };
    let received = Timestamp::from_millis(1_700_000_000_000);
    over_inputs!(|input: &[u8]| {
        let body = near(SEEDS, input);
        let normalized = orchestrator(&body, &source, received);
        assert!(!normalized.changes.is_empty() && normalized.changes.len() <= ELEMENTS_MAX);
        for (index, change) in normalized.changes.iter().enumerate() {
            assert_eq!(change.element as usize, index);
            assert!(change.event_type.len() <= TYPE_MAX && !change.key.text.is_empty());
            assert_eq!(project(&body, &change.event_type, change.element), *change.data, "the data is found again in the body");
        }
        let again = orchestrator(&body, &source, received);
        assert!(again.changes.iter().zip(&normalized.changes).all(|(a, b)| a.key.same_change(&b.key)), "keys are functions of the body");
    });
}

/// Bodies of other services, and headers after a line break: `name: value`.
const SERVICES: &[&[u8]] = &[
    br#"{"action":"opened","issue":{"id":7},"id":"evt_1","type":"invoice.paid","created":1326853478,"data":{"object":{}}}"#,
    br#"{"type":"event_callback","event":{"type":"app_mention"},"event_id":"Ev08","event_time":1234567890}"#,
    br#"{"eventId":5,"instanceId":6,"response":{"events":[{"eventType":"CREATED","objectId":"1"},{"objectType":"c"}]},"notificationId":9}"#,
    br#"[{"specversion":"1.0","id":"1","source":"/a","type":"t.x","time":"2026-03-01T10:00:00Z","data":{"a":1}},{"specversion":"1.0"}]"#,
    b"payload=%7B%22type%22%3A%22block_actions%22%7D&command=%2Fx&trigger_id=1",
];

const HEADERS: &[&[u8]] = &[
    b"x-github-event: issues\nx-github-delivery: 72d3\ncontent-type: application/json",
    b"content-type: application/cloudevents-batch+json\nce-id: 1\nce-type: a",
    b"content-type: application/x-www-form-urlencoded\nx-shopify-topic: orders/create\nwebhook-id: m",
    b"ce-specversion: 1.0\nce-id: 5\nce-source: /s\nce-type: t\nce-time: 2026-01-01T00:00:00Z",
];

#[test]
fn what_other_services_send_becomes_events_that_are_found_again() {
    over_inputs!(|input: &[u8]| {
        let Some((which, rest)) = input.split_first() else { return };
        let (head, body) = rest.split_at(rest.len() / 2);
        let service = Service::ALL[usize::from(*which) % Service::ALL.len()];
        let view = ServiceView::of("shop".into(), service);
        let head = String::from_utf8_lossy(&near(HEADERS, head)).into_owned();
        let headers =
            HeaderList(head.lines().filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
        let body = near(SERVICES, body);
        let reading = services::read(&body, &view, &headers, Timestamp::from_millis(1_700_000_000_000));
        assert!(reading.changes.len() <= ELEMENTS_MAX);
        for (change, data) in reading.changes {
            assert!(change.event_type.len() <= TYPE_MAX && !change.key.text.is_empty());
            assert_eq!(project(&body, &change.event_type, change.element), data.into_value(), "the data is found again in the body");
        }
        drop(services::challenge(&body, service));
    });
}
