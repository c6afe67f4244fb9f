//! The journal against a model of maps, under random operations and ends.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::runs::{Awaited, Cause, RunState};

#[derive(Clone, Debug)]
enum Step {
    /// A delivery with these items; items seen before are copies.
    Accept(Vec<u8>),
    /// Routes up to so many events and plans a run for each.
    Plan(u8),
    /// A fact about some run.
    Fact(u8, u8),
    /// Ends without closing, or closes; then opens again.
    Reopen(bool),
    /// Deletes the checkpoints while it is closed.
    LoseCheckpoints,
    /// Rows are moved to the checkpoints.
    Drain,
    /// A delivery with this item, and the cursor on it.
    Keep(u8),
    /// The clock jumps by so many hours.
    Clock(i32),
    /// Segments that are over the size go.
    Retire,
    /// Some run awaits an item, asked for at this second.
    Await(u8, u8, u8),
    /// An item ends, as an event of this second tells.
    Ends(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0..20_u8, 1..4).prop_map(Step::Accept),
        3 => (1..6_u8).prop_map(Step::Plan),
        6 => (any::<u8>(), 0..5_u8).prop_map(|(run, fact)| Step::Fact(run, fact)),
        1 => any::<bool>().prop_map(Step::Reopen),
        1 => Just(Step::LoseCheckpoints),
        2 => Just(Step::Drain),
        3 => (0..20_u8).prop_map(Step::Keep),
        1 => prop_oneof![Just(-1), Just(1), Just(-25), Just(87_600)].prop_map(Step::Clock),
        2 => Just(Step::Retire),
        4 => (any::<u8>(), 0..4_u8, 0..100_u8).prop_map(|(run, item, second)| Step::Await(run, item, second)),
        3 => (0..4_u8, 0..100_u8).prop_map(|(item, second)| Step::Ends(item, second)),
    ]
}

fn fact(number: u8, run: &Run) -> Fact {
    let cause = Cause { code: "gave_up".into(), message: "x".repeat(usize::from(number) * 400) };
    match number {
        0 => Fact::StepDone {
            step: run.steps.len(),
            id: None,
            kind: "http".into(),
            value: json!({"text": "y".repeat(run.steps.len() * 1500)}),
            maybe_twice: false,
            at: at(3),
        },
        1 => Fact::Waits { state: RunState::Retrying, until: at(100), cause, at: at(4) },
        2 => Fact::Settled { state: RunState::Dead, cause: Some(cause), would: Vec::new(), at: at(5) },
        3 => Fact::Retried { at: at(6), due: None },
        _ => Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: at(7) },
    }
}

/// What a run records that looks at an item and finds it under way.
pub(super) fn awaits(run: &Run, item: u8, asked: Timestamp) -> Vec<Fact> {
    let cause = Cause { code: "waiting".into(), message: "it is New".into() };
    let (until, next) = (at(9_000), at(1));
    vec![
        Fact::Awaits {
            step: run.next_step(),
            id: None,
            kind: "await_item".into(),
            until,
            next,
            value: json!(null),
            cause: cause.clone(),
            at: at(1),
        },
        Fact::NotOver { awaited: Some(Awaited(format!("t|queueItem|{item}"))), asked, until: at(600), cause, at: asked },
    ]
}

/// An item came to its end.
pub(super) fn ended(item: u8) -> Change {
    let event_type = "queueItem.transactionFailed";
    Change { key: Key::exact(format!("t|queueItem|{item}|{event_type}|")), event_type: event_type.into(), ..change(u32::from(item)) }
}

#[derive(Default)]
struct Model {
    /// Items by id of their event, with the number of copies.
    events: BTreeMap<EventId, (u8, u64)>,
    runs: BTreeMap<RunId, Run>,
    routed: Option<EventId>,
    cursor: Option<u8>,
}

impl Model {
    /// What became of a delivery with these items.
    fn accepted(&mut self, items: &[u8], accepted: &Accepted) {
        let mut new = accepted.events.iter();
        for item in items {
            match self.events.values_mut().find(|(known, _)| known == item) {
                Some((_, copies)) => *copies += 1,
                None => {
                    let id = *new.next().expect("an id for what is new");
                    assert!(self.events.keys().all(|known| *known < id), "ids rise");
                    self.events.insert(id, (*item, 0));
                }
            }
        }
        assert_eq!(new.next(), None);
    }

    /// Segments went: events before the oldest that is left, and what is finished of them, are no more.
    fn retired(&mut self, journal: &Journal) {
        let oldest = journal.0.shared.read().standing.heads.oldest;
        self.events.retain(|id, _| *id >= oldest && oldest != EventId(0));
        let found = journal.runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items;
        let found: BTreeSet<_> = found.iter().map(Run::id).collect();
        // A run may begin with a later segment than its event.
        self.runs.retain(|id, run| found.contains(id) || !run.state.is_finished() || self.events.contains_key(&id.event));
    }

    fn check(&self, journal: &Journal) {
        for run in self.runs.values().filter(|run| !run.state.is_finished()) {
            assert!(journal.event(run.event()).expect("reads").is_some(), "what is not finished has its event");
        }
        let (events, runs, unrouted, due) = seen(journal);
        let found: Vec<_> = events.iter().map(|event| (event.id, event.folded.count)).collect();
        let expected: Vec<_> = self.events.iter().map(|(id, (_, copies))| (*id, *copies)).collect();
        assert_eq!(found, expected);
        assert_eq!(runs, self.runs.values().cloned().collect::<Vec<_>>());
        let behind: Vec<_> = self.events.keys().copied().filter(|id| self.routed.is_none_or(|routed| *id > routed)).collect();
        assert_eq!(unrouted, behind);
        assert_eq!(journal.gauges().unrouted, behind.len() as u64);
        let mut open: Vec<_> = self.runs.values().filter(|run| run.next_at.is_some() && !run.state.is_settled()).cloned().collect();
        open.sort_by_key(|run| (run.next_at, run.id()));
        assert_eq!(due, open);
        let dead: u64 = journal.gauges().dead.iter().map(|(_, count)| count).sum();
        assert_eq!(dead, self.runs.values().filter(|run| run.state == RunState::Dead).count() as u64);
        let cursor = journal.kept(Space::Cursor, "queue").expect("reads");
        assert_eq!(cursor, self.cursor.map(|item| Bytes::from(item.to_string())));
        for event in &events {
            assert_eq!(journal.event(event.id).expect("reads").as_deref(), Some(event));
        }
    }
}

/// Cases of the model, unless the variable says otherwise.
#[expect(clippy::disallowed_methods, reason = "the length of a test is asked of whoever starts it")]
fn cases() -> u32 {
    std::env::var("TRIPLINE_MODEL_CASES").map_or(24, |text| text.parse().expect("TRIPLINE_MODEL_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_journal_is_its_model(steps in prop::collection::vec(step(), 1..40), segment_bytes in 3_000..30_000_u64) {
        let dir = state_dir();
        let clock = Clock::manual(at(0));
        let mut now = 0_i64;
        let options = || Options { clock: clock.clone(), ..small(segment_bytes) };
        let open = || {
            let journal = Journal::open(&state(&dir), options()).expect("opens").0;
            // By size only: the clock jumps.
            let days = |days: u64| Duration::from_secs(days * 86_400);
            journal.retain(Retention { age: days(100_000), size: 4 * segment_bytes, dead: days(100_000) });
            journal
        };
        let mut journal = open();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Accept(items) => {
                    let accepted = accept(&journal, delivery(items.iter().map(|item| change(u32::from(*item))).collect()));
                    model.accepted(&items, &accepted);
                }
                Step::Keep(item) => {
                    let value = Some(Bytes::from(item.to_string()));
                    let cursor = Kept { space: Space::Cursor, key: "queue".to_owned(), value };
                    let accepted = wait(journal.accept_keeping(delivery(vec![change(u32::from(item))]), vec![cursor])).expect("kept");
                    model.accepted(&[item], &accepted);
                    model.cursor = Some(item);
                }
                Step::Clock(hours) => {
                    now = now.saturating_add(i64::from(hours) * 3600).clamp(-START / 1000, 4_000_000_000);
                    clock.set(at(now));
                }
                Step::Plan(count) => {
                    let batch = journal.unrouted(usize::from(count), 0).expect("reads").events;
                    if let Some(last) = batch.last() {
                        let runs: Vec<_> = batch.iter().map(|event| planned(event.id, "rule")).collect();
                        wait(journal.plan(Plan { through: last.id, runs: runs.clone() })).expect("kept");
                        model.routed = Some(last.id);
                        for run in runs {
                            model.runs.entry(run.id).or_insert_with(|| Run::new(run));
                        }
                    }
                }
                Step::Fact(run, number) => {
                    let count = model.runs.len().max(1);
                    if let Some(run) = model.runs.values_mut().nth(usize::from(run) % count) {
                        let facts = vec![fact(number, run), fact((number + 1) % 5, run)];
                        wait(journal.record(run.id(), facts.clone())).expect("kept");
                        facts.iter().for_each(|fact| run.apply(fact));
                    }
                }
                Step::Await(run, item, second) => {
                    let count = model.runs.len().max(1);
                    if let Some(run) = model.runs.values_mut().nth(usize::from(run) % count) {
                        let facts = awaits(run, item, at(second.into()));
                        wait(journal.record(run.id(), facts.clone())).expect("kept");
                        facts.iter().for_each(|fact| run.apply(fact));
                    }
                }
                Step::Ends(item, second) => {
                    let told = at(second.into());
                    let accepted = accept(&journal, Delivery { received: told, ..delivery(vec![ended(item)]) });
                    model.accepted(&[item + 100], &accepted);
                    let key = Awaited(format!("t|queueItem|{item}")).key();
                    for run in model.runs.values_mut().filter(|_| !accepted.events.is_empty()) {
                        run.wake(key, told);
                    }
                }
                Step::Reopen(close) => {
                    if close {
                        journal.close();
                    }
                    drop(journal);
                    journal = open();
                }
                Step::LoseCheckpoints => {
                    drop(journal);
                    std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
                    journal = open();
                }
                Step::Retire => {
                    wait(journal.ask(Op::Retire)).expect("retires");
                    model.retired(&journal);
                }
                Step::Drain => {
                    // The writer drains by itself when nobody waits; here it is part of the game.
                    wait(journal.ask(Op::Drain)).expect("drains");
                }
            }
        }
        model.check(&journal);
        let before = seen(&journal);
        drop(journal);
        let reader = Reader::new(&state(&dir));
        prop_assert_eq!(reader.runs(&RunQuery { limit: 999, ..RunQuery::default() }).expect("reads").items, before.1.clone());
        prop_assert_eq!(reader.events(&EventQuery { limit: 999, ..EventQuery::default() }).expect("reads").items, before.0.clone());
        let checked = check(&state(&dir), "boot-1", &|_, _| ()).expect("checks");
        prop_assert!(checked.is_good() && !matches!(checked.checkpoints, Compared::Not(_)), "{:?}", checked);
        std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
        prop_assert_eq!(seen(&open()), before, "rebuilt");
    }
}
