//! What goes and what stays when segments are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use proptest::prelude::*;

use super::*;
use crate::fault::SourceText;
use crate::journal::kept::after;
use crate::journal::queue::Op;
use crate::journal::read::Scanned;
use crate::journal::rows::{Row, RowKey};
use crate::journal::scan::segment_path;
use crate::rules::Known;
use crate::runs::{Cause, RunState};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn limits(age: u32, size: u64, dead: u32) -> Retention {
    Retention { age: DAY * age, size, dead: DAY * dead }
}

pub(super) fn retire(journal: &Journal) {
    wait(journal.ask(Op::Retire)).expect("retires");
}

fn texts(text: &str) -> RuleTexts {
    RuleTexts {
        files: vec![Arc::new(SourceText { path: "rules/a.yaml".into(), text: text.to_owned() })],
        known: Known { orchestrators: Vec::new(), sources: Vec::new(), vars: json!({}), ..Known::default() },
    }
}

fn kept(key: &str, value: Option<&str>) -> Kept {
    Kept { space: Space::Cursor, key: key.to_owned(), value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())) }
}

fn settled(state: RunState, at: Timestamp) -> Fact {
    Fact::Settled { state, cause: None, would: Vec::new(), at }
}

fn done(value: serde_json::Value, at: Timestamp) -> Fact {
    Fact::StepDone { step: 0, id: Some("s".to_owned()), kind: "http".into(), value, maybe_twice: false, at }
}

/// Every row that is needed, whole, and the numbers, to be compared record by record.
pub(super) fn rows(journal: &Journal) -> Vec<String> {
    let state = journal.0.shared.read();
    let mut all = vec![format!("{:?}", state.standing.heads)];
    let mut behind = None;
    loop {
        let (page, next) = state.runs_before(behind, EventId(u128::MAX)).expect("reads");
        all.extend(page.into_iter().filter_map(|(id, ..)| state.run_row(id).expect("reads")).map(|row| format!("{row:?}")));
        match next {
            Some(next) => behind = Some(next),
            None => break,
        }
    }
    let kinds = [
        (RowKey::Folded(EventId(0)), RowKey::Folded(EventId(u128::MAX))),
        (RowKey::Carried(EventId(0)), RowKey::Carried(EventId(u128::MAX))),
        (RowKey::Generation(0), RowKey::Generation(u64::MAX)),
    ];
    for (first, end) in kinds {
        let (names, next) = state.names_between(Bound::Included(first), &end).expect("reads");
        assert_eq!(next, None, "few");
        for name in names {
            match &name {
                RowKey::Folded(id) => {
                    all.extend(state.fold_row(*id).expect("reads").map(|row| format!("{name:?} {row:?}")));
                }
                RowKey::Carried(id) => all.extend(state.carried_at(*id).expect("reads").map(|at| format!("{name:?} {at:?}"))),
                RowKey::Generation(n) => all.extend(state.generation_at(*n).expect("reads").map(|at| format!("{name:?} {at:?}"))),
                _ => unreachable!(),
            }
        }
    }
    for (name, row) in state.draining.iter().chain(&state.dirty) {
        if matches!(name, RowKey::Turn(..)) && state.overlay(name) == Some(row) && *row != Row::Gone {
            all.push(format!("{name:?} {row:?}"));
        }
    }
    let stored = state.checkpoints.as_ref().map(|rows| rows.after(b't', None, usize::MAX).expect("reads"));
    for (key, value) in stored.into_iter().flatten() {
        let order = crate::runs::OrderKey(key[1..17].try_into().expect("16 bytes"));
        let name = RowKey::Turn(order, turns::place_of_key(&key));
        if state.overlay(&name).is_none() {
            all.push(format!("{name:?} {:?}", Row::Bytes(value)));
        }
    }
    for space in Space::ALL {
        for (name, _) in after(&state, space, "", None, usize::MAX).expect("reads") {
            all.push(format!("{name} {:?}", state.bytes_row(&RowKey::Kept(space, name.clone())).expect("reads")));
        }
    }
    all.extend(state.sealed.iter().map(|summary| format!("{summary:?}")));
    all
}

pub(super) fn same(found: &[String], expected: &[String], what: &str) {
    let only = |a: &[String], b: &[String]| a.iter().filter(|row| !b.contains(row)).cloned().collect::<Vec<_>>();
    assert_eq!(only(found, expected), only(expected, found), "{what}");
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// How many rows the checkpoints and the memory over them hold in all, needed or not.
fn row_count(journal: &Journal) -> usize {
    let state = journal.0.shared.read();
    let stored = state.checkpoints.as_ref().expect("is there");
    let keys = stored.keys(Bound::Unbounded, vec![0xff], usize::MAX).expect("reads").len();
    keys + state.dirty.values().filter(|row| !matches!(row, Row::Gone)).count()
}

fn segments(dir: &TempDir) -> Vec<u32> {
    scan::segment_numbers(&state(dir).join("journal")).expect("lists")
}

/// Four runs in the first segments: finished, waiting, dead, dead for long; a copy of the waiting one's event.
struct Started {
    events: Vec<EventId>,
    runs: Vec<RunId>,
    waiting: Run,
}

fn start(journal: &Journal) -> Started {
    assert_eq!(wait(journal.rules_loaded(texts("first"))), Ok(1));
    let events: Vec<_> = (0..4).map(|n| accept(journal, delivery(vec![change(n)])).events[0]).collect();
    accept(journal, delivery(vec![change(1)]));
    let runs: Vec<_> = events.iter().map(|event| planned(*event, "rule")).collect();
    wait(journal.plan(Plan { through: events[3], runs: runs.clone() })).expect("kept");
    wait(journal.keep(vec![kept("old", Some("17")), kept("gone", Some("1"))])).expect("kept");
    wait(journal.keep(vec![kept("gone", None)])).expect("kept");
    let long = json!("x".repeat(5_000));
    wait(journal.record(runs[0].id, vec![settled(RunState::Succeeded, at(3))])).expect("kept");
    wait(journal.record(runs[1].id, vec![done(long, at(3)), done(json!({"Id": 1}), at(4))])).expect("kept");
    wait(journal.record(runs[2].id, vec![settled(RunState::Dead, at(3).plus(DAY * 20))])).expect("kept");
    wait(journal.record(runs[3].id, vec![settled(RunState::Dead, at(3))])).expect("kept");
    let waiting = journal.run(runs[1].id).expect("reads").expect("is there");
    Started { events, runs: runs.iter().map(|run| run.id).collect(), waiting }
}

fn fill(journal: &Journal, clock: &Clock, items: std::ops::Range<u32>) {
    for n in items {
        let delivery = Delivery { received: clock.now(), ..delivery(vec![change(n)]) };
        let event = accept(journal, delivery).events[0];
        wait(journal.plan(Plan { through: event, runs: Vec::new() })).expect("kept");
    }
}

#[test]
fn what_is_needed_outlives_its_segment_and_the_rest_goes() {
    let dir = state_dir();
    let clock = Clock::manual(at(0));
    let options = || Options { clock: clock.clone(), ..small(12_000) };
    let (mut journal, _) = Journal::open(&state(&dir), options()).expect("opens");
    journal.retain(limits(30, 16 << 20, 90));
    let begun = start(&journal);
    let copied = journal.event(begun.events[1]).expect("reads").expect("is there");
    assert_eq!(copied.folded.count, 1);
    fill(&journal, &clock, 100..200);
    retire(&journal);
    assert_eq!(segments(&dir)[0], 1, "nothing is old enough");
    // A month later the first segments go. What died three months ago by then has had its time.
    clock.set(at(0).plus(DAY * 100));
    retire(&journal);
    wait(journal.rules_loaded(texts("second"))).expect("kept");
    fill(&journal, &clock, 200..300);
    retire(&journal);
    let left = segments(&dir);
    assert!(left[0] > 2, "{left:?}");
    let check = |journal: &Journal, what: &str| {
        assert_eq!(journal.run(begun.runs[0]).expect("reads"), None, "{what}: finished");
        assert_eq!(journal.run(begun.runs[1]).expect("reads").as_ref(), Some(&begun.waiting), "{what}: waiting");
        assert_eq!(journal.run(begun.runs[2]).expect("reads").expect("is there").state, RunState::Dead, "{what}");
        assert_eq!(journal.run(begun.runs[3]).expect("reads"), None, "{what}: dead for long");
        assert_eq!(journal.event(begun.events[1]).expect("reads").as_ref(), Some(&copied), "{what}");
        assert!(journal.event(begun.events[2]).expect("reads").is_some(), "{what}");
        for gone in [0, 3] {
            assert_eq!(journal.event(begun.events[gone]).expect("reads"), None, "{what}");
        }
        assert_eq!(journal.kept(Space::Cursor, "old").expect("reads"), Some(Bytes::from_static(b"17")), "{what}");
        assert_eq!(journal.kept(Space::Cursor, "gone").expect("reads"), None, "{what}");
        assert_eq!(journal.rule_texts(1).expect("reads"), Some(texts("first")), "{what}: a run needs them");
        let gauges = journal.gauges();
        assert_eq!(gauges.dead, [("rule".into(), 1)], "{what}");
        assert!(gauges.carried > 0 && gauges.carried < gauges.bytes, "{what}: {gauges:?}");
        assert_eq!(gauges.oldest_event, Some(at(0).plus(DAY * 100)), "{what}");
        assert_eq!(gauges.dedup_since, gauges.oldest_event, "{what}: copies are known as far back as events are");
        let due = journal.due(at(1_000_000_000), 99, &|_| false).expect("reads").0;
        assert_eq!(due.iter().map(Run::id).collect::<Vec<_>>(), [begun.runs[1]], "{what}");
        let listed = journal.events(&EventQuery { limit: 999, ..EventQuery::default() }).expect("reads").items;
        assert_eq!(listed.len(), 100, "{what}");
        assert_eq!(journal.runs(&RunQuery { limit: 9, ..RunQuery::default() }).expect("reads").items.len(), 2, "{what}");
    };
    check(&journal, "running");
    let before = rows(&journal);
    for (what, close, lose) in [("killed", false, false), ("closed", true, false), ("rebuilt", false, true), ("rebuilt again", true, true)]
    {
        if close {
            journal.close();
        }
        drop(journal);
        let reader = Reader::new(&state(&dir));
        assert_eq!(reader.run(begun.runs[1]).expect("reads").as_ref(), Some(&begun.waiting), "{what}: without the daemon");
        assert_eq!(reader.run(begun.runs[0]).expect("reads"), None, "{what}: without the daemon");
        assert_eq!(reader.event(begun.events[1]).expect("reads").as_ref(), Some(&*copied), "{what}: without the daemon");
        assert_eq!(reader.event(begun.events[0]).expect("reads"), None, "{what}: without the daemon");
        let found = crate::journal::check(&state(&dir), "boot-1", &|_, _| ()).expect("checks");
        assert!(found.is_good(), "{what}: {found:?}");
        if lose {
            std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
        }
        journal = Journal::open(&state(&dir), options()).expect("opens").0;
        same(&rows(&journal), &before, what);
        check(&journal, what);
    }
    // Copies of what is gone are new; copies of what is there are copies.
    let again = |n| accept(&journal, Delivery { received: clock.now(), ..delivery(vec![change(n)]) });
    assert_eq!((again(0).events.len(), again(250).folded), (1, 1));
    // The waiting run ends, and goes with the segment that it was carried to; so does its event.
    wait(journal.record(begun.runs[1], vec![settled(RunState::Succeeded, clock.now())])).expect("kept");
    journal.retain(limits(30, 16 << 20, 30));
    retire(&journal);
    clock.set(at(0).plus(DAY * 200));
    retire(&journal);
    fill(&journal, &clock, 300..400);
    retire(&journal);
    for run in &begun.runs {
        assert_eq!(journal.run(*run).expect("reads"), None);
    }
    for event in &begun.events {
        assert_eq!(journal.event(*event).expect("reads"), None);
    }
    // They were in force where the first segment that is left begins; when that goes as well, nobody needs them.
    clock.set(at(0).plus(DAY * 300));
    for begin in [400, 500] {
        retire(&journal);
        fill(&journal, &clock, begin..begin + 50);
        clock.set(clock.now().plus(DAY * 40));
    }
    retire(&journal);
    assert_eq!(journal.rule_texts(1).expect("reads"), None, "nobody needs them");
    assert_eq!(journal.rule_texts(2).expect("reads"), Some(texts("second")));
    assert_eq!(journal.kept(Space::Cursor, "old").expect("reads"), Some(Bytes::from_static(b"17")));
    assert_eq!(journal.gauges().dead.iter().map(|(_, count)| count).sum::<u64>(), 0);
}

#[test]
fn what_is_dropped_leaves_disk_memory_and_checkpoints() {
    let dir = state_dir();
    let clock = Clock::manual(at(0));
    let options = || Options { clock: clock.clone(), ..small(20_000) };
    let (journal, _) = Journal::open(&state(&dir), options()).expect("opens");
    journal.retain(limits(30, 100_000, 90));
    let mut highest = (0, 0, 0);
    for round in 0..12 {
        for n in round * 200..(round + 1) * 200 {
            let event = accept(&journal, delivery(vec![change(n)])).events[0];
            let run = planned(event, "rule");
            let id = run.id;
            wait(journal.plan(Plan { through: event, runs: vec![run] })).expect("kept");
            wait(journal.record(id, vec![settled(RunState::Succeeded, at(3))])).expect("kept");
            wait(journal.keep(vec![kept("cursor", Some(&n.to_string()))])).expect("kept");
        }
        retire(&journal);
        wait(journal.ask(Op::Drain)).expect("drains");
        let bytes: u64 = segments(&dir)
            .iter()
            .map(|n| std::fs::metadata(state(&dir).join(format!("journal/{n:010}.seg"))).expect("is there").len())
            .sum();
        let now = (bytes, segments(&dir).len(), row_count(&journal));
        if round < 4 {
            highest = (highest.0.max(now.0), highest.1.max(now.1), highest.2.max(now.2));
        } else {
            assert!(
                now.0 <= highest.0 + 25_000 && now.1 <= highest.1 + 1 && now.2 <= highest.2 * 5 / 4 + 50,
                "{round}: {now:?} {highest:?}"
            );
        }
    }
    assert!(journal.gauges().bytes <= 140_000, "{:?}", journal.gauges());
}

#[test]
fn what_is_needed_does_not_count_and_is_not_written_again_and_again() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(20_000)).expect("opens");
    journal.retain(limits(30, 40_000, 90));
    // Far more than `size`, and all of it waits.
    for n in 0..300 {
        let event = accept(&journal, delivery(vec![change(n)])).events[0];
        wait(journal.plan(Plan { through: event, runs: vec![planned(event, "rule")] })).expect("kept");
    }
    retire(&journal);
    let carried = journal.gauges().carried;
    assert!(carried > 100_000, "{carried}");
    let last = *segments(&dir).last().expect("one");
    for _ in 0..3 {
        retire(&journal);
    }
    assert_eq!(*segments(&dir).last().expect("one"), last, "nothing was written");
    assert_eq!(journal.due(at(100), 999, &|_| false).expect("reads").0.len(), 300);
    for run in journal.due(at(100), 999, &|_| false).expect("reads").0 {
        assert!(journal.event(run.event()).expect("reads").is_some());
    }
}

#[test]
fn nothing_goes_by_age_while_the_clock_is_in_doubt() {
    let dir = state_dir();
    let clock = Clock::manual(at(0));
    let (journal, _) = Journal::open(&state(&dir), Options { clock: clock.clone(), ..small(8_000) }).expect("opens");
    journal.retain(limits(30, 16 << 20, 90));
    let begun = start(&journal);
    fill(&journal, &clock, 100..150);
    retire(&journal);
    let before = segments(&dir);
    clock.jump(at(0).plus(DAY * 3650));
    retire(&journal);
    assert!(journal.gauges().retention_halted);
    // By size it goes on, and no dead run is taken for an old one.
    journal.0.shared.retention().as_mut().expect("given").0.size = 10_000;
    retire(&journal);
    assert!(segments(&dir)[0] > before[0]);
    assert_eq!(journal.gauges().dead, [("rule".into(), 2)]);
    assert!(journal.event(begun.events[3]).expect("reads").is_some());
    journal.0.shared.retention().as_mut().expect("given").0.size = 16 << 20;
    clock.jump(at(60));
    retire(&journal);
    assert!(!journal.gauges().retention_halted, "it came back");
    clock.jump(at(0).plus(DAY * 3650));
    retire(&journal);
    assert!(journal.gauges().retention_halted);
    journal.retain(limits(30, 16 << 20, 90));
    retire(&journal);
    assert!(!journal.gauges().retention_halted, "somebody said that it is right");
    clock.set(clock.now().plus(DAY * 40));
    retire(&journal);
    assert_eq!(journal.gauges().dead.iter().map(|(_, count)| count).sum::<u64>(), 0);
}

#[test]
fn what_polling_brings_from_before_all_that_is_remembered_is_marked_late() {
    let dir = state_dir();
    let clock = Clock::manual(at(0));
    let options = || Options { clock: clock.clone(), ..small(8_000) };
    let (mut journal, _) = Journal::open(&state(&dir), options()).expect("opens");
    let is_late = |journal: &Journal, id: u32, via: Via, happened: Timestamp| {
        let change = Change { time: Some(happened), ..change(id) };
        let accepted = accept(journal, Delivery { via, received: clock.now(), ..delivery(vec![change]) });
        wait(journal.plan(Plan { through: accepted.events[0], runs: Vec::new() })).expect("kept");
        journal.event(accepted.events[0]).expect("reads").expect("is there").late
    };
    assert!(!is_late(&journal, 9_000, Via::Poll, at(0).minus(DAY * 100)), "nothing was let go: no copy of it is unknown");
    journal.retain(limits(30, 20_000, 90));
    for n in 0..100 {
        clock.set(at(i64::from(n)));
        fill(&journal, &clock, n..n + 1);
    }
    retire(&journal);
    assert!(segments(&dir)[0] > 1, "the oldest events are let go");
    for (round, reopened) in [false, true].into_iter().enumerate() {
        if reopened {
            journal.close();
            drop(journal);
            journal = Journal::open(&state(&dir), options()).expect("opens").0;
        }
        let id = |n: u32| 10_000 + 10 * round as u32 + n;
        assert!(is_late(&journal, id(0), Via::Poll, at(1)), "{reopened}: a webhook may have brought it");
        assert!(!is_late(&journal, id(1), Via::Poll, at(99)), "{reopened}: its webhook would be remembered");
        assert!(!is_late(&journal, id(2), Via::Webhook, at(1)), "{reopened}: a webhook that comes late was not handled before");
        assert!(!is_late(&journal, id(3), Via::Backfill, at(1)), "{reopened}: somebody asked for rules to see it");
    }
    // Late events are passed over by the router: no rule is asked.
    let late = accept(&journal, Delivery { received: clock.now(), ..delivery(vec![Change { time: Some(at(1)), ..change(20_000) }]) });
    let unrouted = journal.unrouted(99, 0).expect("reads").events;
    assert!(unrouted.iter().all(|event| event.id != late.events[0] || event.late), "it says so to whoever routes it");
}

#[test]
fn a_segment_that_waits_for_the_router_stays() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(8_000)).expect("opens");
    journal.retain(limits(30, 10_000, 90));
    let events: Vec<_> = (0..100).map(|n| accept(&journal, delivery(vec![change(n)])).events[0]).collect();
    retire(&journal);
    assert_eq!(segments(&dir)[0], 1);
    assert_eq!(journal.unrouted(999, 0).expect("reads").events.len(), 100);
    wait(journal.plan(Plan { through: events[99], runs: Vec::new() })).expect("kept");
    retire(&journal);
    assert!(segments(&dir)[0] > 1);
}

#[test]
fn a_segment_that_outgrew_limits_given_later_goes_without_another_record() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(64 << 20)).expect("opens");
    let long = |n| Delivery { body: Bytes::from(vec![b'x'; 100_000]), ..delivery(vec![change(n)]) };
    let events: Vec<_> = (0..20).map(|n| accept(&journal, long(n)).events[0]).collect();
    wait(journal.plan(Plan { through: events[19], runs: Vec::new() })).expect("kept");
    retire(&journal);
    assert_eq!(segments(&dir), [1], "everything is kept until limits are given");
    journal.retain(limits(30, 1 << 20, 90));
    retire(&journal);
    assert_eq!(segments(&dir), [2]);
}

#[test]
fn the_oldest_segment_that_is_needed_is_missed() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(8_000)).expect("opens");
    journal.retain(limits(30, 20_000, 90));
    fill(&journal, &Clock::manual(at(0)), 0..100);
    retire(&journal);
    journal.close();
    let first = segments(&dir)[0];
    assert!(first > 1);
    drop(Journal::open(&state(&dir), small(8_000)).expect("opens"));
    std::fs::remove_file(state(&dir).join(format!("journal/{first:010}.seg"))).expect("removes");
    std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
    match Journal::open(&state(&dir), small(8_000)) {
        Err(OpenError::Damaged(text)) => assert!(text.contains(&format!("{first:010}.seg")) && text.contains("missing"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many new items, and again one of the last ones.
    Accept(u8, Option<u8>),
    /// Routes up to so many events and plans a run for every second one.
    Plan(u8),
    /// A fact about some run.
    Fact(u8, u8),
    Keep(u8, Option<u16>),
    Rules(u8),
    /// Days pass.
    Pass(u8),
    Retire,
    /// Ends without closing, or closes; with or without its checkpoints; then opens again.
    Reopen(bool, bool),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..12_u8, prop::option::of(any::<u8>())).prop_map(|(new, again)| Step::Accept(new, again)),
        5 => (1..12_u8).prop_map(Step::Plan),
        8 => (any::<u8>(), 0..5_u8).prop_map(|(run, fact)| Step::Fact(run, fact)),
        2 => (0..8_u8, prop::option::of(0..3000_u16)).prop_map(|(key, length)| Step::Keep(key, length)),
        1 => (0..4_u8).prop_map(Step::Rules),
        2 => (1..20_u8).prop_map(Step::Pass),
        4 => Just(Step::Retire),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(close, lose)| Step::Reopen(close, lose)),
        2 => Just(Step::Drain),
    ]
}

fn some_fact(number: u8, run: &Run, now: Timestamp) -> Fact {
    match number {
        0 => Fact::StepDone {
            step: run.steps.len(),
            id: None,
            kind: "http".into(),
            value: json!({"text": "y".repeat(run.steps.len() * 1500)}),
            maybe_twice: false,
            at: now,
        },
        1 => {
            let cause = Cause { code: "gave_up".into(), message: "x".repeat(600) };
            Fact::Waits { state: RunState::Retrying, until: now, cause, at: now }
        }
        2 => settled(RunState::Dead, now),
        3 => Fact::Retried { at: now, due: None },
        _ => settled(RunState::Succeeded, now),
    }
}

/// What must be there.
#[derive(Default)]
struct Model {
    items: u32,
    /// Events with their item and copies.
    events: BTreeMap<EventId, (u32, u64)>,
    runs: BTreeMap<RunId, Run>,
    kept: BTreeMap<String, String>,
    generation: u64,
}

impl Model {
    fn check(&mut self, journal: &Journal, dead: Duration, latest: Timestamp) {
        let oldest = journal.0.shared.read().standing.heads.oldest;
        let listed = journal.events(&EventQuery { limit: usize::MAX, ..EventQuery::default() }).expect("reads").items;
        let found: Vec<_> = listed.iter().map(|event| (event.id, event.folded.count)).collect();
        let left = if oldest == EventId(0) { BTreeMap::new() } else { self.events.split_off(&oldest) };
        let expected: Vec<_> = left.iter().map(|(id, (_, copies))| (*id, *copies)).collect();
        assert_eq!(found, expected, "events from the oldest segment on");
        let gone = std::mem::replace(&mut self.events, left);
        let mut pinned = BTreeMap::new();
        let found = journal.runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items;
        let found: BTreeMap<_, _> = found.into_iter().map(|run| (run.id(), run)).collect();
        for (id, run) in &self.runs {
            let in_time = match run.state {
                state if state.is_finished() => self.events.contains_key(&id.event),
                RunState::Dead => run.updated.plus(dead) > latest || self.events.contains_key(&id.event),
                _ => true,
            };
            if in_time {
                assert_eq!(found.get(id), Some(run));
            }
            if let (true, false, Some(event)) = (in_time, run.state.is_finished(), gone.get(&id.event)) {
                let there = journal.event(id.event).expect("reads").expect("a run that is not finished has its event");
                assert_eq!(there.folded.count, event.1);
                pinned.insert(id.event, *event);
            }
        }
        assert!(found.iter().all(|(id, run)| self.runs.get(id) == Some(run)), "no run is there that should not be");
        self.runs.retain(|id, _| found.contains_key(id));
        self.events.append(&mut pinned);
        let kept: BTreeMap<_, _> = journal
            .kept_after(Space::Cursor, "", None, usize::MAX)
            .expect("reads")
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8(value.to_vec()).expect("text")))
            .collect();
        assert_eq!(kept, self.kept);
        let needed: BTreeSet<_> = self.runs.values().filter(|run| !run.state.is_finished()).map(|run| run.planned.generation).collect();
        for generation in needed.into_iter().chain([self.generation]).filter(|generation| *generation > 0) {
            assert!(journal.rule_texts(generation).expect("reads").is_some(), "generation {generation}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_is_what_the_left_segments_say(steps in prop::collection::vec(step(), 20..120), segment_bytes in 3_000..12_000_u64) {
        let dir = state_dir();
        let clock = Clock::manual(at(0));
        let given = limits(10, 60_000, 25);
        let open = || {
            let options = Options { clock: clock.clone(), ..small(segment_bytes) };
            let journal = Journal::open(&state(&dir), options).expect("opens").0;
            journal.retain(given);
            journal
        };
        let mut journal = open();
        let mut model = Model { generation: 1, ..Model::default() };
        wait(journal.rules_loaded(texts("0"))).expect("kept");
        for step in steps {
            match step {
                Step::Accept(new, again) => {
                    let mut items: Vec<u32> = (0..u32::from(new)).map(|n| model.items + n).collect();
                    model.items += u32::from(new);
                    let oldest = journal.0.shared.read().standing.heads.oldest;
                    let known: Vec<_> = model.events.iter().filter(|(id, _)| **id >= oldest).map(|(id, event)| (*id, event.0)).collect();
                    let copied = again.filter(|_| !known.is_empty()).map(|n| known[usize::from(n) % known.len()]);
                    items.extend(copied.map(|(_, item)| item));
                    let changes = items.iter().map(|item| change(*item)).collect();
                    let accepted = accept(&journal, Delivery { received: clock.now(), ..delivery(changes) });
                    // Segments go between groups: a copy of what has gone meanwhile is an event of its own.
                    let oldest = journal.0.shared.read().standing.heads.oldest;
                    prop_assert!(accepted.folded == 1 || copied.is_none_or(|(id, _)| id < oldest), "a copy of {:?} is known", copied);
                    prop_assert_eq!(accepted.events.len(), items.len() - accepted.folded);
                    if let Some(event) = copied.filter(|_| accepted.folded == 1).and_then(|(id, _)| model.events.get_mut(&id)) {
                        event.1 += 1;
                    }
                    model.events.extend(accepted.events.iter().zip(items).map(|(id, item)| (*id, (item, 0))));
                }
                Step::Plan(count) => {
                    let batch = journal.unrouted(usize::from(count), 0).expect("reads").events;
                    if let Some(last) = batch.last() {
                        let plan = |event: &Arc<Event>| NewRun { generation: model.generation, created: clock.now(), ..planned(event.id, "rule") };
                        let runs: Vec<_> = batch.iter().step_by(2).map(plan).collect();
                        wait(journal.plan(Plan { through: last.id, runs: runs.clone() })).expect("kept");
                        model.runs.extend(runs.into_iter().map(|run| (run.id, Run::new(run))));
                    }
                }
                Step::Fact(run, number) => {
                    let count = model.runs.len().max(1);
                    if let Some(run) = model.runs.values_mut().nth(usize::from(run) % count) {
                        let fact = some_fact(number, run, clock.now());
                        wait(journal.record(run.id(), vec![fact.clone()])).expect("kept");
                        run.apply(&fact);
                    }
                }
                Step::Keep(key, length) => {
                    let (key, value) = (format!("k{key}"), length.map(|length| "v".repeat(usize::from(length))));
                    wait(journal.keep(vec![kept(&key, value.as_deref())])).expect("kept");
                    match value {
                        Some(value) => drop(model.kept.insert(key, value)),
                        None => drop(model.kept.remove(&key)),
                    }
                }
                Step::Rules(text) => model.generation = wait(journal.rules_loaded(texts(&text.to_string()))).expect("kept"),
                Step::Pass(days) => {
                    // By steps that are no jumps, as they are looked at.
                    clock.set(clock.now().plus(DAY * u32::from(days)));
                }
                Step::Retire => {
                    retire(&journal);
                    model.check(&journal, given.dead, clock.now());
                }
                Step::Reopen(close, lose) => {
                    if close {
                        journal.close();
                    }
                    drop(journal);
                    if lose {
                        std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
                    }
                    journal = open();
                }
                Step::Drain => wait(journal.ask(Op::Drain)).expect("drains"),
            }
        }
        // By whatever way it came here: the rest of the hour in which an old journal is left alone passes.
        retire(&journal);
        clock.set(clock.now().plus(Duration::from_secs(7200)));
        retire(&journal);
        model.check(&journal, given.dead, clock.now());
        let before = rows(&journal);
        drop(journal);
        let reader = Reader::new(&state(&dir));
        let runs = reader.runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items;
        prop_assert_eq!(runs, model.runs.values().cloned().collect::<Vec<_>>(), "without the daemon");
        std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
        journal = open();
        same(&rows(&journal), &before, "rebuilt");
        model.check(&journal, given.dead, clock.now());
    }
}

/// Who reads the folder beside a daemon lists the segments first and reads them later; the oldest may be gone by then.
#[test]
fn who_reads_beside_a_daemon_passes_over_segments_that_went_meanwhile() {
    let (dir, events) = mend::filled();
    let every = EventQuery { limit: 999, ..EventQuery::default() };
    let numbers = segments(&dir);
    assert!(numbers.len() > 3, "{numbers:?}");
    let reader = Reader::new(&state(&dir));
    let listed = |segments: &Scanned<'_>| events::list(segments, &every, events::weighed).expect("reads").items;
    let (unread, read) = (Scanned::new(&reader).expect("lists"), Scanned::new(&reader).expect("lists"));
    assert_eq!(listed(&read).len(), events.len());
    for number in &numbers[..2] {
        std::fs::remove_file(segment_path(&state(&dir).join("journal"), *number)).expect("removes");
    }
    let left = reader.events(&every).expect("reads").items;
    assert!(!left.is_empty() && left.len() < events.len());
    assert_eq!(listed(&unread), left);
    assert_eq!(listed(&read), left, "what was read of it before does not count");
    assert_eq!(events::by_id(&unread, events[0]).expect("reads"), None);
    assert_eq!(reader.damage(), [], "what went at the front is no damage");
}

/// The same with a run, one of whose values stayed in the journal.
#[test]
fn who_reads_a_run_that_went_meanwhile_is_told_that_it_is_gone() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(6_000)).expect("opens");
    let event = accept(&journal, delivery(vec![change(1)])).events[0];
    let run = planned(event, "rule");
    wait(journal.plan(Plan { through: event, runs: vec![run.clone()] })).expect("kept");
    wait(journal.record(run.id, vec![done(json!("x".repeat(20_000)), at(4))])).expect("kept");
    journal.close();
    let reader = Reader::new(&state(&dir));
    let rows = reader.fold().expect("reads").runs;
    assert!(reader.whole(rows[&run.id].clone()).expect("reads").is_some());
    for number in segments(&dir) {
        std::fs::remove_file(segment_path(&state(&dir).join("journal"), number)).expect("removes");
    }
    assert_eq!(reader.whole(rows[&run.id].clone()).expect("reads"), None);
}
