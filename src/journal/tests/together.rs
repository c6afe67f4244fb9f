//! Events that came in one body: it is parsed as often as there are pieces of it to read, not as often as there are events.

use super::accept::hook;
use super::*;
use crate::normalize::reads;

const ITEMS: usize = 1_000;
/// Lists read 64 KiB of records at once, and the events of one body may lie in several of those.
const PIECES: usize = 16;

/// A delivery of many items, about 300 bytes each.
fn many(id: &str) -> Delivery {
    let items: Vec<_> = (0..ITEMS)
        .map(|item| json!({"Id": item, "Status": "New", "Reference": format!("{id}-{item}"), "SpecificContent": {"Text": "x".repeat(200)}}))
        .collect();
    let body = json!({
        "Type": "queueItem.added", "EventId": id, "Timestamp": "2026-11-20T10:00:00Z", "TenantId": 1, "OrganizationUnitId": 7,
        "Queue": {"Id": 1, "Name": "Invoices"}, "QueueItems": items,
    });
    hook(&body.to_string())
}

/// What `read` gives, and how many bodies were parsed meanwhile.
fn counted<T>(read: impl FnOnce() -> T) -> (T, usize) {
    let before = reads();
    let given = read();
    (given, reads() - before)
}

#[test]
fn a_body_of_many_events_is_not_parsed_for_each_of_them() {
    let dir = state_dir();
    let journal = open(&dir);
    let delivery = many("one");
    let wanted: Vec<_> = delivery.changes.iter().map(|change| Arc::clone(&change.data)).collect();
    accept(&journal, delivery);
    accept(&journal, hook(r#"{"Type": "queueItem.added", "EventId": "two", "QueueItems": [{"Id": 5000}]}"#));

    let query = EventQuery { limit: 2 * ITEMS, ..EventQuery::default() };
    let by_source = EventQuery { source: Some("hook".into()), ..query.clone() };
    let of_none = EventQuery { source: Some("other".into()), ..query.clone() };
    let reader = Reader::new(&state(&dir));
    for (what, list) in [
        ("a list", Box::new(|| journal.events(&query).expect("reads").items) as Box<dyn Fn() -> Vec<Event>>),
        ("a list of a source", Box::new(|| journal.events(&by_source).expect("reads").items)),
        ("a list without the daemon", Box::new(|| reader.events(&query).expect("reads").items)),
        (
            "the router",
            Box::new(|| journal.unrouted(2 * ITEMS, 0).expect("reads").events.iter().map(|event| Event::clone(event)).collect()),
        ),
    ] {
        let (events, parsed) = counted(list);
        assert_eq!(events.len(), ITEMS + 1, "{what}");
        assert!(events.iter().zip(&wanted).all(|(event, wanted)| *event.change.data == **wanted), "{what}");
        assert!(parsed <= PIECES, "{what}: {ITEMS} events took {parsed} parsings of their body");
    }
    let (none, parsed) = counted(|| journal.events(&of_none).expect("reads").items);
    assert_eq!((none.len(), parsed), (0, 0), "what is not of the source is not parsed");

    // Page by page nothing is left out or told twice.
    let mut page_query = EventQuery { limit: 70, ..query };
    let mut ids = Vec::new();
    loop {
        let page = journal.events(&page_query).expect("reads");
        ids.splice(0..0, page.items.iter().map(|event| event.id));
        match page.next {
            None => break,
            next => page_query.before = next,
        }
    }
    assert!(ids.len() == ITEMS + 1 && ids.is_sorted(), "{}", ids.len());
    drop(journal);

    // After a start the router reads by ids.
    let journal = open(&dir);
    let (unrouted, parsed) = counted(|| journal.unrouted(2 * ITEMS, 0).expect("reads").events.len());
    assert!(unrouted == ITEMS + 1 && parsed <= PIECES, "{unrouted} events, {parsed} parsings");
}
