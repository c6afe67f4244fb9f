//! Any body becomes events.

use super::*;
use crate::event::fuzz::near;
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
    bolero::check!().for_each(|input: &[u8]| {
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
