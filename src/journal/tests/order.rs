//! Runs with the same key, one after another: the fold of the journal against lists in memory, under random ends.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::retention::{limits, retire, rows, same};
use super::*;
use crate::journal::fold::Rows;
use crate::runs::{Cause, OrderKey, Ordered, RunState};

/// What the journal should say: who holds each key, and who waits for it, in the order in which they came.
#[derive(Default)]
struct Model {
    runs: BTreeMap<RunId, Run>,
    holders: BTreeMap<OrderKey, RunId>,
    waiting: BTreeMap<OrderKey, Vec<RunId>>,
}

impl Model {
    /// A run wants the turn.
    fn wants(&mut self, id: RunId) {
        let Some(key) = self.runs[&id].order_key() else { return };
        match self.holders.get(&key) {
            None => drop(self.holders.insert(key, id)),
            Some(holder) if *holder == id => {}
            Some(_) => {
                self.waiting.entry(key).or_default().push(id);
                self.runs.get_mut(&id).expect("a run").block();
            }
        }
    }

    /// A run is over.
    fn leaves(&mut self, id: RunId) {
        let Some(key) = self.runs[&id].order_key() else { return };
        let waiting = self.waiting.entry(key).or_default();
        waiting.retain(|waits| *waits != id);
        if self.holders.get(&key) == Some(&id) {
            self.holders.remove(&key);
            if !waiting.is_empty() {
                let next = waiting.remove(0);
                self.holders.insert(key, next);
                self.runs.get_mut(&next).expect("a run").unblock();
            }
        }
    }

    fn apply(&mut self, id: RunId, fact: &Fact) {
        let run = self.runs.get_mut(&id).expect("a run");
        let before = run.state.is_settled();
        run.apply(fact);
        match (before, run.state.is_settled()) {
            (false, true) => self.leaves(id),
            (true, false) => self.wants(id),
            _ => {}
        }
    }

    fn check(&self, journal: &Journal) {
        let found = journal.runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items;
        let found: BTreeMap<RunId, Run> = found.into_iter().map(|run| (run.id(), run)).collect();
        for (id, run) in &self.runs {
            // Since when it waits is the journal's.
            let same = found.get(id).is_some_and(|found| Run { turn_since: run.turn_since, ..found.clone() } == *run);
            assert!(run.state.is_settled() || same, "{:?}\n is not\n{run:?}", found.get(id));
        }
        let due: BTreeSet<RunId> = journal.due(at(9_000_000_000), usize::MAX, &|_| false).expect("reads").0.iter().map(Run::id).collect();
        let open: BTreeSet<RunId> =
            self.runs.values().filter(|run| !run.state.is_settled() && run.state != RunState::Blocked).map(Run::id).collect();
        assert_eq!(due, open, "what is due has its turn");
        let mut keys = BTreeSet::new();
        assert!(due.iter().filter_map(|id| self.runs[id].order_key()).all(|key| keys.insert(key)), "one at a time of each key");
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// An event comes in and a run is planned; none, or one of few keys.
    Plan(Option<u8>),
    /// A replay of an event that is there.
    Replay(u8),
    Fact(u8, u8),
    /// What is due is settled, as dispatch would.
    Work(u8),
    Pass(u8),
    Retire,
    Reopen(bool, bool),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::option::weighted(0.9, 0..3_u8).prop_map(Step::Plan),
        2 => any::<u8>().prop_map(Step::Replay),
        4 => (any::<u8>(), 0..6_u8).prop_map(|(run, fact)| Step::Fact(run, fact)),
        5 => (0..4_u8).prop_map(Step::Work),
        1 => (1..6_u8).prop_map(Step::Pass),
        1 => Just(Step::Retire),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(close, lose)| Step::Reopen(close, lose)),
        2 => Just(Step::Drain),
    ]
}

fn settled(state: RunState, at: Timestamp) -> Fact {
    let cause = (state != RunState::Succeeded).then(|| Cause { code: "x".to_owned(), message: String::new() });
    Fact::Settled { state, cause, would: Vec::new(), at }
}

fn fact(number: u8, blocked: bool, at: Timestamp) -> Fact {
    let cause = Cause { code: "server".into(), message: "503".into() };
    match number {
        0 => Fact::Waits { state: RunState::Retrying, until: at.plus(Duration::from_secs(5)), cause, at },
        1 => settled(RunState::Dead, at),
        2 => settled(RunState::Succeeded, at),
        3 => Fact::Retried { at, due: None },
        4 => Fact::Discarded { reason: None, blocked, at },
        _ => Fact::StepDone { step: 0, id: None, kind: "http".into(), value: json!("v"), maybe_twice: false, at },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_key_has_one_run_at_a_time_in_the_order_of_events(steps in prop::collection::vec(step(), 20..140), segment_bytes in 3_000..12_000_u64) {
        let dir = state_dir();
        let clock = Clock::manual(at(0));
        let given = limits(10, 60_000, 25);
        let open = || {
            let options = Options { clock: clock.clone(), ..small(segment_bytes) };
            let journal = Journal::open(&state(&dir), options).expect("opens").0;
            journal.retain(given);
            journal
        };
        let (mut journal, mut model, mut items) = (open(), Model::default(), 0);
        for step in steps {
            match step {
                Step::Plan(key) => {
                    items += 1;
                    let event = accept(&journal, Delivery { received: clock.now(), ..delivery(vec![change(items)]) }).events[0];
                    let order = key.map(|key| Ordered::new("rule", &key.to_string()));
                    let run = NewRun { order, created: clock.now(), ..planned(event, "rule") };
                    wait(journal.plan(Plan { through: event, runs: vec![run.clone()] })).expect("kept");
                    model.runs.insert(run.id, Run::new(run.clone()));
                    model.wants(run.id);
                }
                Step::Replay(which) => {
                    let settled: Vec<RunId> = model.runs.values().filter(|run| run.state.is_settled()).map(Run::id).collect();
                    let Some(old) = settled.get(usize::from(which) % settled.len().max(1)) else { continue };
                    let id = RunId { replay: old.replay + 1, ..*old };
                    // Of what retention took, nobody can ask for more.
                    if model.runs.contains_key(&id) || journal.run(*old).expect("reads").is_none() {
                        continue;
                    }
                    let run = NewRun { id, created: clock.now(), ..model.runs[old].planned.clone() };
                    wait(journal.plan(Plan { through: EventId(0), runs: vec![run.clone()] })).expect("kept");
                    model.runs.insert(id, Run::new(run));
                    model.wants(id);
                }
                Step::Fact(run, number) => {
                    let count = model.runs.len().max(1);
                    let Some(id) = model.runs.keys().nth(usize::from(run) % count).copied() else { continue };
                    if journal.run(id).expect("reads").is_some() && (number > 2 || model.runs[&id].state != RunState::Blocked) {
                        let fact = fact(number, model.runs[&id].state == RunState::Blocked, clock.now());
                        // Nobody works on a run that is blocked.
                        if matches!(fact, Fact::StepDone { .. }) && model.runs[&id].state == RunState::Blocked {
                            continue;
                        }
                        wait(journal.record(id, vec![fact.clone()])).expect("kept");
                        model.apply(id, &fact);
                    }
                }
                Step::Work(most) => {
                    for run in journal.due(at(9_000_000_000), usize::from(most), &|_| false).expect("reads").0 {
                        let fact = settled(RunState::Succeeded, clock.now());
                        wait(journal.record(run.id(), vec![fact.clone()])).expect("kept");
                        model.apply(run.id(), &fact);
                    }
                }
                Step::Pass(days) => clock.set(clock.now().plus(Duration::from_secs(86_400 * u64::from(days)))),
                Step::Retire => {
                    retire(&journal);
                    model.check(&journal);
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
        retire(&journal);
        clock.set(clock.now().plus(Duration::from_secs(7200)));
        retire(&journal);
        model.check(&journal);
        let mut before = rows(&journal);
        before.sort();
        let seen = journal.runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items;
        drop(journal);
        let read = Reader::new(&state(&dir)).runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items;
        prop_assert_eq!(read, seen, "without the daemon");
        let checked = check(&state(&dir), "boot-1", &|_, _| ()).expect("checks");
        prop_assert!(checked.is_good(), "{:?}", checked);
        std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
        journal = open();
        let mut after = rows(&journal);
        after.sort();
        same(&after, &before, "rebuilt");
        model.check(&journal);
        // In the end nobody is left behind.
        while let Some(run) = journal.due(at(9_000_000_000), 1, &|_| false).expect("reads").0.first() {
            let fact = settled(RunState::Succeeded, clock.now());
            wait(journal.record(run.id(), vec![fact.clone()])).expect("kept");
            model.apply(run.id(), &fact);
        }
        prop_assert!(model.runs.values().all(|run| run.state.is_settled()));
        let left = rows(&journal).into_iter().filter(|row| row.starts_with("Turn")).count();
        prop_assert_eq!(left, 0, "nothing is kept of a key whose runs are over");
    }
}

#[test]
fn a_hundred_thousand_keys_and_one_long_queue_cost_no_scan() {
    let dir = state_dir();
    let journal = open(&dir);
    let event = accept(&journal, delivery(vec![change(1)])).events[0];
    let order = |key: String| Some(Ordered::new("rule", &key));
    let run = |n: u64, order| NewRun { id: RunId { rule: RuleHash(n), ..RunId::of(event, "rule") }, order, ..planned(event, "rule") };
    for page in 0..100_u64 {
        let runs = (page * 1_000..(page + 1) * 1_000).map(|n| run(n, order(n.to_string()))).collect();
        wait(journal.plan(Plan { through: event, runs })).expect("kept");
    }
    let long = (0..2_000).map(|n| run(1_000_000 + n, order("0".to_owned()))).collect();
    wait(journal.plan(Plan { through: event, runs: long })).expect("kept");
    wait(journal.ask(Op::Drain)).expect("drains");
    let due = |max| journal.due(at(9_000), max, &|_| false).expect("reads").0;
    assert_eq!(journal.0.shared.read().timers.open, 102_000);
    let first = run(0, None).id;
    let of_first = |run: &Run| run.order_key() == Some(OrderKey::of("rule", "0"));
    let blocked = RunQuery { state: Some(RunState::Blocked), limit: usize::MAX, ..RunQuery::default() };
    let blocked = journal.runs(&blocked).expect("reads").items;
    assert!(blocked.len() == 2_000 && blocked.iter().all(of_first), "each key has one; 2,000 wait for the first");
    assert!(due(4_000).iter().all(|run| run.id() == first || !of_first(run)));
    let mut holder = first;
    for _ in 0..500 {
        wait(journal.record(holder, vec![settled(RunState::Succeeded, at(3))])).expect("kept");
        let state = journal.0.shared.read();
        let next = state.holder(OrderKey::of("rule", "0")).expect("reads").expect("the next one");
        assert!(next > holder, "in order");
        holder = next;
    }
    assert_eq!(holder, run(1_000_499, None).id);
}
