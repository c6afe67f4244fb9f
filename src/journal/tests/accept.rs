//! What is a copy, what is a conflict, what is new; ids; lists.

use super::*;
use crate::journal::tellings::TELLINGS_MAX;
use crate::normalize::{SourceView, feed, orchestrator};

/// A webhook's delivery, read as intake reads it.
pub(super) fn hook(body: &str) -> Delivery {
    let view = SourceView { name: "hook".into(), tenant_url: Some("https://o.example/a/t".into()) };
    let normalized = orchestrator(body.as_bytes(), &view, at(0));
    Delivery {
        via: Via::Webhook,
        body: Bytes::copy_from_slice(body.as_bytes()),
        delivery_id: normalized.delivery_id,
        changes: normalized.changes,
        ..delivery(Vec::new())
    }
}

fn added(event_id: &str, folder: u32, item: u32, reference: &str) -> String {
    json!({
        "Type": "queueItem.added", "EventId": event_id, "Timestamp": "2026-11-20T10:00:00Z", "TenantId": 1,
        "OrganizationUnitId": folder, "Queue": {"Id": 1, "Name": "Invoices"},
        "QueueItems": [{"Id": item, "Status": "New", "Reference": reference, "SpecificContent": {"Amount": 5}}],
    })
    .to_string()
}

#[test]
fn copies_fold_and_conflicts_are_kept() {
    #[derive(Debug, PartialEq)]
    enum Is {
        Event,
        Fold,
        Conflict,
        ShownOnly,
    }
    let first = added("e1", 7, 100, "A");
    let cases = [
        ("the same bytes again", first.clone(), Is::Fold),
        ("the same with white space", first.replace(',', " , "), Is::Fold),
        ("the same delivery for another folder", added("e1", 8, 100, "A"), Is::Fold),
        ("another delivery for another folder", added("e2", 8, 100, "A"), Is::Fold),
        ("another item in its own delivery", added("e3", 7, 101, "A"), Is::Event),
        ("the same delivery with another item", added("e1", 7, 102, "A"), Is::Conflict),
        ("the same delivery, the same item, other content", added("e1", 7, 100, "B"), Is::ShownOnly),
        ("no json at all", "{nonsense".to_owned(), Is::Event),
    ];
    for together in [false, true] {
        for (name, body, expected) in &cases {
            let dir = state_dir();
            let journal = open(&dir);
            let (original, second) = if together {
                // In one group: the original is not on disk when the copy is judged.
                wait(async { tokio::join!(journal.accept(hook(&first)), journal.accept(hook(body))) })
            } else {
                wait(async { (journal.accept(hook(&first)).await, journal.accept(hook(body)).await) })
            };
            let (original, second) = (original.expect("kept"), second.expect("kept"));
            let routed = journal.unrouted(9, 0).expect("reads").events.len();
            let found = match (second.events.len(), second.conflict, routed) {
                (0, false, 1) if second.folded == 1 => Is::Fold,
                (1, false, 2) => Is::Event,
                (1, true, 2) => Is::Conflict,
                (1, true, 1) => Is::ShownOnly,
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(&found, expected, "{name}, together: {together}");
            let folded = journal.event(original.events[0]).expect("reads").expect("is there").folded.count;
            assert_eq!(folded, second.folded as u64, "{name}");
            let before = seen(&journal);
            drop(journal);
            let journal = open(&dir);
            assert_eq!(seen(&journal), before, "{name}");
            let third = accept(&journal, hook(body));
            if *expected != Is::Fold && !body.starts_with("{n") {
                assert_eq!((third.events.len(), third.folded), (0, 1), "{name}: the very same once more is a copy");
            }
        }
    }
}

#[test]
fn two_copies_in_one_body_are_one_event() {
    let dir = state_dir();
    let journal = open(&dir);
    let body = json!({
        "Type": "queueItem.added", "EventId": "e", "Timestamp": "2026-11-20T10:00:00Z",
        "Queue": {"Id": 1, "Name": "Invoices"}, "QueueItems": [{"Id": 1}, {"Id": 2}, {"Id": 1}],
    });
    let accepted = accept(&journal, hook(&body.to_string()));
    assert_eq!((accepted.events.len(), accepted.folded, accepted.conflict), (2, 1, false));
    let first = journal.event(accepted.events[0]).expect("reads").expect("is there");
    assert_eq!(first.folded.count, 1);
    drop(first);
    drop(journal);
    let journal = open(&dir);
    let second = journal.event(accepted.events[1]).expect("reads").expect("is there");
    assert_eq!(second.data()["QueueItem"]["Id"], json!(2), "data is found again in the body");
}

#[test]
fn stamps_are_one_change_across_slots_and_only_within_the_tolerance() {
    let dir = state_dir();
    let journal = open(&dir);
    let at_millis = |millis: i64| {
        let mut change = change(1);
        change.key = Key::stamped("t|queueItem|1|queueItem.updated", Some(Timestamp::from_millis(START + millis)));
        delivery(vec![change])
    };
    let mut events = 0;
    // Slots are 5 s wide and begin at a multiple of 5 s; START is one.
    for (millis, new) in [
        (4_900, true),
        (5_100, false),
        (100, false),
        (9_800, false),
        (10_000, true),
        (14_999, false),
        (14_950, false),
        (15_050, true),
        (0, false),
    ] {
        let accepted = accept(&journal, at_millis(millis));
        assert_eq!(accepted.events.len(), usize::from(new), "{millis}");
        events += u64::from(new);
    }
    drop(journal);
    let (journal, report) = Journal::open(&state(&dir), options()).expect("opens");
    assert_eq!(report.events, events);
    assert_eq!(accept(&journal, at_millis(12_000)).folded, 1, "fingerprints are there again");
}

/// An edit as a webhook tells it, with what was set.
fn edit(progress: &str, millis: i64) -> Delivery {
    let body = json!({
        "Type": "queueItem.updated", "EventId": format!("{progress}-{millis}"), "Timestamp": Timestamp::from_millis(START + millis).to_string(),
        "Queue": {"Id": 1, "Name": "Invoices"}, "QueueItems": [{"Id": 7, "Progress": progress}],
    });
    hook(&body.to_string())
}

/// Edits as polling tells them: every row with what was set last.
fn rows(rows: &[(i64, i64)]) -> Delivery {
    let source = SourceView { name: "poll".into(), tenant_url: Some("https://o.example/a/t".into()) };
    let (queue, folder) = (feed::QueueData { data: json!({"Id": 1, "Name": "Invoices"}) }, Folder::default());
    let item = json!({"Id": 7, "Progress": "the last one", "Status": "InProgress"});
    let changes = rows.iter().map(|(id, millis)| {
        let made = Timestamp::from_millis(START + millis).to_string();
        let row = json!({"Id": id, "QueueItemId": 7, "Timestamp": made, "Action": "Edit", "Status": "InProgress", "ReviewStatus": "None"});
        let row = feed::FeedRow::of(&row).expect("a row");
        feed::change(
            "queueItem.updated",
            &row,
            &feed::Sighting { source: &source, item: Some(&item), queue: &queue, folder: &folder, observed: at(0) },
        )
    });
    Delivery { via: Via::Poll, source: "poll".into(), ..delivery(changes.collect()) }
}

#[test]
fn edits_that_are_told_at_once_and_by_later_rows_are_told_once() {
    /// What comes, and how many events it makes.
    type Told = (fn() -> Delivery, usize);
    let cases: &[(&str, &[Told])] = &[
        (
            "webhooks, then rows",
            &[(|| edit("a", 0), 1), (|| edit("b", 1000), 1), (|| rows(&[(4, 10), (5, 1010)]), 0), (|| rows(&[(4, 10), (5, 1010)]), 0)],
        ),
        (
            "rows, then webhooks with their copies",
            &[
                (|| rows(&[(4, 0), (5, 1000)]), 2),
                (|| edit("b", 1010), 0),
                (|| edit("b", 1020), 0),
                (|| edit("a", 10), 0),
                (|| edit("a", 20), 0),
                (|| edit("c", 1030), 1),
                (|| rows(&[(5, 1000), (6, 1040)]), 0),
            ],
        ),
        ("the webhook of the first one was late", &[(|| edit("b", 1000), 1), (|| rows(&[(4, 0), (5, 1000)]), 1), (|| edit("a", 10), 0)]),
        ("over slots", &[(|| edit("a", 4_990), 1), (|| rows(&[(4, 5_010)]), 0), (|| edit("a", 4_000), 0), (|| rows(&[(5, 9_900)]), 1)]),
        ("long after", &[(|| edit("a", 0), 1), (|| rows(&[(4, 5_001)]), 1), (|| edit("a", 5_002), 0), (|| edit("a", 10_100), 1)]),
    ];
    for (name, told) in cases {
        for reopened in [false, true] {
            let dir = state_dir();
            let mut journal = open(&dir);
            for (n, (telling, new)) in told.iter().enumerate() {
                if reopened {
                    // Without its checkpoints all is found in the records again.
                    drop(journal);
                    std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removed");
                    journal = open(&dir);
                }
                assert_eq!(accept(&journal, telling()).events.len(), *new, "{name}, {n}, reopened: {reopened}");
            }
        }
    }
}

#[test]
fn more_edits_of_a_moment_than_are_kept_beside_each_other_stay_events() {
    let dir = state_dir();
    let journal = open(&dir);
    let count = TELLINGS_MAX as i64 + 9;
    for n in 0..count {
        assert_eq!(accept(&journal, edit(&n.to_string(), n)).events.len(), 1, "{n}");
        assert_eq!(accept(&journal, edit(&n.to_string(), n)).folded, 1, "{n}");
    }
    let edits: Vec<(i64, i64)> = (0..count).map(|n| (n, n)).collect();
    assert!(accept(&journal, rows(&edits)).events.len() <= edits.len());
    let again = accept(&journal, rows(&edits));
    assert_eq!((again.events.len(), again.folded), (0, edits.len()), "each row is known");
}

#[test]
fn folds_say_where_they_came_from() {
    let dir = state_dir();
    let journal = open(&dir);
    let id = accept(&journal, delivery(vec![change(1)])).events[0];
    for (source, folder) in [("hook", 8), ("hook", 8), ("poll", 9)] {
        let mut copy = change(1);
        copy.folder = Some(Folder { id: Some(folder), ..Folder::default() });
        accept(&journal, Delivery { source: source.into(), received: at(folder), ..delivery(vec![copy]) });
    }
    let folded = journal.event(id).expect("reads").expect("is there").folded.clone();
    assert_eq!(folded.count, 3);
    let from: Vec<_> = folded.from.iter().map(|f| (&*f.source, f.folder, f.count, f.last)).collect();
    assert_eq!(from, [("hook", Some(8), 2, at(8)), ("poll", Some(9), 1, at(9))]);
    assert_eq!(Reader::new(&state(&dir)).event(id).expect("reads").expect("is there").folded, folded);
}

#[test]
fn ids_rise_when_the_clock_jumps() {
    let dir = state_dir();
    let clock = Clock::manual(at(0));
    let mut last = EventId(0);
    for (round, seconds) in [0, 3600, -3600, 10, -100_000, 3601].into_iter().enumerate() {
        clock.set(at(seconds));
        let options = Options { clock: clock.clone(), ..options() };
        let (journal, _) = Journal::open(&state(&dir), options).expect("opens");
        for n in 0..3 {
            let id = accept(&journal, delivery(vec![change(round as u32 * 10 + n)])).events[0];
            assert!(id > last, "round {round}");
            last = id;
            assert_eq!(*journal.newest().borrow(), id);
        }
    }
}

#[test]
fn lists_page_backwards_and_filter() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(6_000)).expect("opens");
    let mut ids = Vec::new();
    for n in 0..60 {
        let mut one = change(n);
        if n % 3 == 0 {
            one.event_type = "job.completed".into();
        }
        let source = if n % 2 == 0 { "even" } else { "odd" };
        ids.push(accept(&journal, Delivery { received: at(i64::from(n)), source: source.into(), ..delivery(vec![one]) }).events[0]);
    }
    assert!(std::fs::read_dir(state(&dir).join("journal")).expect("lists").count() > 3, "several segments");
    let reader = Reader::new(&state(&dir));
    let check = |query: EventQuery, expected: Vec<usize>, more: bool| {
        for page in [journal.events(&query).expect("reads"), reader.events(&query).expect("reads")] {
            let found: Vec<_> = page.items.iter().map(|event| ids.iter().position(|id| *id == event.id).expect("ours")).collect();
            assert_eq!(found, expected, "{query:?}");
            assert_eq!(page.next.is_some(), more, "{query:?}");
        }
    };
    let query = || EventQuery { limit: 5, ..EventQuery::default() };
    check(query(), (55..60).collect(), true);
    check(EventQuery { before: Some(ids[5]), ..query() }, (0..5).collect(), false);
    check(EventQuery { before: Some(ids[6]), ..query() }, (1..6).collect(), true);
    check(EventQuery { event_type: Some("job.*".into()), ..query() }, vec![45, 48, 51, 54, 57], true);
    check(EventQuery { event_type: Some("job.completed".into()), since: Some(at(50)), ..query() }, vec![51, 54, 57], false);
    check(EventQuery { until: Some(at(3)), ..query() }, vec![0, 1, 2], false);
    check(EventQuery { source: Some("odd".into()), since: Some(at(10)), until: Some(at(15)), ..query() }, vec![11, 13], false);
    check(EventQuery { key: Some("items/41".into()), ..query() }, vec![41], false);
    check(EventQuery { key: Some("|7|".into()), ..query() }, vec![7], false);
    check(EventQuery { source: Some("nobody".into()), ..query() }, vec![], false);
}

#[test]
fn a_page_of_large_items_ends_early_and_the_next_one_goes_on_there() {
    let dir = state_dir();
    let journal = open(&dir);
    let large = || "x".repeat(PAGE_BYTES_MAX / 2 + 1);
    let mut runs = Vec::new();
    for n in 0..3 {
        let event = accept(&journal, delivery(vec![Change { data: Arc::new(json!({"text": large()})), ..change(n) }])).events[0];
        let run = planned(event, "rule");
        runs.push(run.id);
        wait(journal.plan(Plan { through: event, runs: vec![run.clone()] })).expect("kept");
        let done = Fact::StepDone { step: 0, id: None, kind: "http".to_owned(), value: json!(large()), maybe_twice: false, at: at(1) };
        wait(journal.record(run.id, vec![done])).expect("kept");
    }
    let events = |before| EventQuery { limit: 9, before, ..EventQuery::default() };
    let whole = |before| {
        let page = journal.events(&events(before)).expect("reads");
        (page.items.iter().map(|event| event.id).collect::<Vec<_>>(), page.next)
    };
    let texts = |before| {
        let page = journal.event_texts(&events(before), |event| format!("{}{}", event.id, event.change.data)).expect("reads");
        (page.items.iter().map(|text| text[..26].parse().expect("an id")).collect::<Vec<EventId>>(), page.next)
    };
    let ids: Vec<EventId> = runs.iter().map(|run| run.event).collect();
    for (name, list) in [("whole", &whole as &dyn Fn(_) -> _), ("texts", &texts)] {
        assert_eq!(list(None), (ids[1..].to_vec(), Some(ids[1])), "{name}");
        assert_eq!(list(Some(ids[1])), (ids[..1].to_vec(), None), "{name}");
    }
    let list = |before| {
        let query = RunQuery { limit: 9, before, ..RunQuery::default() };
        let page = journal.run_texts(&query, |run| run.to_json().to_string()).expect("reads");
        (page.items.len(), page.next)
    };
    assert_eq!(list(None), (2, Some(runs[1])));
    assert_eq!(list(Some(runs[1])), (1, None));
}

#[test]
fn the_router_gets_events_in_order_once_they_left_the_cache() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(6_000)).expect("opens");
    let ids: Vec<_> = (0..40).map(|n| accept(&journal, delivery(vec![change(n)])).events[0]).collect();
    drop(journal);
    let (journal, _) = Journal::open(&state(&dir), small(6_000)).expect("opens");
    let more: Vec<_> = (40..50).map(|n| accept(&journal, delivery(vec![change(n)])).events[0]).collect();
    let all: Vec<_> = ids.into_iter().chain(more).collect();
    let mut routed = Vec::new();
    loop {
        assert_eq!(journal.gauges().unrouted, (all.len() - routed.len()) as u64);
        let batch = journal.unrouted(7, 0).expect("reads").events;
        let Some(last) = batch.last() else { break };
        wait(journal.plan(Plan { through: last.id, runs: Vec::new() })).expect("kept");
        routed.extend(batch.iter().map(|event| event.id));
    }
    assert_eq!(routed, all);
}
