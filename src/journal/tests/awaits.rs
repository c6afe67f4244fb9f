//! Who awaits an item is due when an event tells its end, whatever happens in between.

use super::model::{awaits, ended};
use super::*;
use crate::runs::{Awaited, RunState, WOKEN_MAX};

/// Plans runs of one event, each of which found an item under way.
fn planned_and_waiting(journal: &Journal, items: &[u8]) -> Vec<RunId> {
    let event = accept(journal, delivery(vec![change(1_000)])).events[0];
    let run = |n: usize| NewRun { id: RunId { rule: RuleHash(n as u64), ..RunId::of(event, "rule") }, ..planned(event, "rule") };
    let runs: Vec<_> = (0..items.len()).map(run).collect();
    wait(journal.plan(Plan { through: event, runs: runs.clone() })).expect("kept");
    for (run, item) in runs.iter().zip(items) {
        wait(journal.record(run.id, awaits(&Run::new(run.clone()), *item, at(10)))).expect("kept");
    }
    runs.into_iter().map(|run| run.id).collect()
}

fn tell(journal: &Journal, item: u8, second: i64) -> Accepted {
    accept(journal, Delivery { received: at(second), ..delivery(vec![ended(item)]) })
}

fn due(journal: &Journal, second: i64) -> Vec<RunId> {
    journal.due(at(second), usize::MAX, &|_| false).expect("reads").0.iter().map(Run::id).collect()
}

#[test]
fn an_event_makes_those_due_who_await_what_it_tells_of_and_nobody_else() {
    let dir = state_dir();
    let journal = open(&dir);
    let runs = planned_and_waiting(&journal, &[1, 2, 1]);
    let (due_changed, woken) = (journal.due_changed(), journal.woken());
    assert_eq!(due(&journal, 50), []);
    accept(&journal, delivery(vec![change(1)]));
    tell(&journal, 3, 20);
    assert!(due(&journal, 50).is_empty() && !due_changed.has_changed().expect("open"), "neither its other changes nor other items");
    tell(&journal, 1, 20);
    assert_eq!(due(&journal, 50), [runs[0], runs[2]]);
    assert!(due_changed.has_changed().expect("open") && woken.has_changed().expect("open"), "who carries them out is told");
    // They looked, and it goes on after all: the next attempt of the item is awaited.
    for run in [runs[0], runs[2]] {
        let run = journal.run(run).expect("reads").expect("is there");
        wait(journal.record(run.id(), awaits(&run, 7, at(30)))).expect("kept");
    }
    assert_eq!(due(&journal, 50), [], "an event from before that look told nothing new");
    assert_eq!(tell(&journal, 1, 40).folded, 1);
    assert_eq!(due(&journal, 50), [], "a copy tells nothing new");
    tell(&journal, 7, 40);
    assert_eq!(due(&journal, 50), [runs[0], runs[2]]);
}

#[test]
fn an_event_that_comes_while_somebody_looks_has_it_looked_at_again() {
    let dir = state_dir();
    let journal = open(&dir);
    let runs = planned_and_waiting(&journal, &[1, 1]);
    tell(&journal, 1, 20);
    // One asked before the event came, and the answer may be older; the other one asked behind it.
    for (run, asked) in runs.iter().zip([19, 21]) {
        let run = journal.run(*run).expect("reads").expect("is there");
        wait(journal.record(run.id(), awaits(&run, 1, at(asked)).split_off(1))).expect("kept");
    }
    assert_eq!(due(&journal, 50), [runs[0]]);
}

#[test]
fn who_was_woken_is_due_after_every_end_and_without_checkpoints() {
    for (close, lose, drain) in [(false, false, false), (false, false, true), (true, false, false), (false, true, true)] {
        let dir = state_dir();
        let mut journal = open(&dir);
        let runs = planned_and_waiting(&journal, &[1, 2]);
        if drain {
            wait(journal.ask(Op::Drain)).expect("drains");
        }
        let again = |journal: Journal| {
            if close {
                journal.close();
            }
            drop(journal);
            if lose {
                std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
            }
            open(&dir)
        };
        // Accepted as an event that no rule meets.
        wait(journal.accept_unmet(Delivery { received: at(20), ..delivery(vec![ended(1)]) }, 7)).expect("kept");
        journal = again(journal);
        assert_eq!(due(&journal, 50), [runs[0]], "{close} {lose} {drain}");
        // The index is there again too.
        tell(&journal, 2, 20);
        assert_eq!(due(&journal, 50), runs, "{close} {lose} {drain}");
        drop(journal);
        let read = Reader::new(&state(&dir)).runs(&RunQuery { limit: 9, ..RunQuery::default() }).expect("reads").items;
        assert!(read.iter().all(|run| run.next_at == Some(at(20))), "without the daemon: {read:?}");
        let checked = check(&state(&dir), "boot-1", &|_, _| ()).expect("checks");
        assert!(checked.is_good(), "{checked:?}");
    }
}

#[test]
fn one_event_wakes_so_many_and_the_others_keep_their_time() {
    let dir = state_dir();
    let journal = open(&dir);
    let runs = planned_and_waiting(&journal, &vec![1; WOKEN_MAX + 10]);
    let half = runs.len() / 2;
    // Some are over already, some lie in memory, others in the checkpoints.
    let settled = Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: at(15) };
    wait(journal.ask(Op::Drain)).expect("drains");
    for run in &runs[..5] {
        wait(journal.record(*run, vec![settled.clone()])).expect("kept");
    }
    let again = journal.run(runs[half]).expect("reads").expect("is there");
    wait(journal.record(runs[half], awaits(&again, 1, at(16)).split_off(1))).expect("kept");
    tell(&journal, 1, 20);
    assert_eq!(due(&journal, 50), &runs[5..WOKEN_MAX + 5]);
    drop(journal);
    let checked = check(&state(&dir), "boot-1", &|_, _| ()).expect("checks");
    assert!(checked.is_good(), "{checked:?}");
    let awaits = RunQuery { state: Some(RunState::Waiting), limit: usize::MAX, ..RunQuery::default() };
    let left = Reader::new(&state(&dir)).runs(&awaits).expect("reads").items;
    assert!(left.iter().all(|run| run.awaited().eq([&Awaited("t|queueItem|1".to_owned())])));
}
