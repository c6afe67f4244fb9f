//! Headers and bodies of attempts stay in the journal: rows refer to them, whatever happens in between.

use super::retention::{limits, retire};
use super::*;
use crate::runs::{Attempt, Message, Recorded};

fn recorded(text: &str) -> Box<Recorded> {
    let message = |text: String| Message { headers: vec![("x".to_owned(), "y".to_owned())], body: Some(text), cut: false };
    Box::new(Recorded { request: message(format!("sent {text}")), response: Some(message(format!("got {text}"))) })
}

fn attempted(step: usize, number: u32) -> Fact {
    let attempt = Attempt {
        number,
        started: at(3),
        ended: at(3),
        request: "POST https://h/p".to_owned(),
        status: Some(503),
        class: None,
        error: None,
        bytes: 5,
        recorded: Some(recorded(&format!("{step}.{number}"))),
    };
    Fact::Attempted { step, id: None, kind: "http".to_owned(), attempt, unknown: false }
}

/// Inside the only element of a list.
fn inside(fact: Fact) -> Fact {
    Fact::Element { step: 1, id: None, kind: "for_each".to_owned(), index: 0, of: 2, parallel: 1, value: None, fact: Box::new(fact) }
}

/// The bodies that were sent, as a run shows them: of its own first step, and of the first step inside its element.
fn sent(run: &Run) -> (Vec<Option<String>>, Vec<Option<String>>) {
    let bodies = |attempts: &[Attempt]| {
        attempts.iter().map(|attempt| attempt.recorded.as_ref().and_then(|recorded| recorded.request.body.clone())).collect()
    };
    let lane =
        run.steps.get(1).and_then(|step| step.list.as_ref()).and_then(|list| list.lanes().next().map(|(_, lane)| lane.steps[0].clone()));
    (bodies(&run.steps[0].attempts), lane.map(|step| bodies(&step.attempts)).unwrap_or_default())
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[test]
fn what_is_recorded_is_there_for_who_asks_for_one_run_and_in_no_row() {
    let dir = state_dir();
    let clock = Clock::manual(at(0));
    let open = || {
        let journal = Journal::open(&state(&dir), Options { clock: clock.clone(), ..small(60_000) }).expect("opens").0;
        journal.retain(limits(10, 60_000_000, 25));
        journal
    };
    let mut journal = open();
    let event = accept(&journal, delivery(vec![change(1)])).events[0];
    let run = planned(event, "rule");
    wait(journal.plan(Plan { through: event, runs: vec![run.clone()] })).expect("kept");
    let done = Fact::StepDone { step: 0, id: None, kind: "http".to_owned(), value: json!("v"), maybe_twice: false, at: at(4) };
    // More than are kept of a step: the first ones are only counted.
    let mut facts: Vec<_> = (1..=12).map(|number| attempted(0, number)).collect();
    facts.extend([done, inside(attempted(0, 1)), inside(attempted(0, 2))]);
    wait(journal.record(run.id, facts)).expect("kept");
    let own: Vec<String> = (3..=12).map(|number| format!("sent 0.{number}")).collect();
    let own = some(&own.iter().map(String::as_str).collect::<Vec<_>>());
    let expected = (own.clone(), some(&["sent 0.1", "sent 0.2"]));
    for lose in [false, true] {
        assert_eq!(sent(&journal.run(run.id).expect("reads").expect("is there")), expected, "{lose}");
        let listed = journal.runs(&RunQuery { limit: 9, ..RunQuery::default() }).expect("reads").items;
        assert!(sent(&listed[0]).0.iter().all(Option::is_none), "lists are without");
        assert_eq!(sent(&Reader::new(&state(&dir)).run(run.id).expect("reads").expect("is there")), expected);
        wait(journal.ask(Op::Drain)).expect("drains");
        let row = journal.0.shared.read().run_row(run.id).expect("reads").expect("is there");
        assert!(!format!("{row:?}").contains("sent"), "{row:?}");
        assert_eq!(row.recorded.len(), 12);
        drop(journal);
        assert!(check(&state(&dir), "boot-1", &|_, _| ()).expect("checks").is_good());
        if lose {
            std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
        }
        journal = open();
    }
    // It outlives its segment: then only the newest attempt of each step has it.
    for _ in 0..3 {
        clock.set(clock.now().plus(Duration::from_secs(12 * 86_400)));
        retire(&journal);
        clock.set(clock.now().plus(Duration::from_secs(7200)));
        retire(&journal);
    }
    let carried = journal.run(run.id).expect("reads").expect("is there");
    let mut newest = vec![None; 9];
    newest.push(Some("sent 0.12".to_owned()));
    assert_eq!(sent(&carried), (newest, vec![None, Some("sent 0.2".to_owned())]));
    // An element that is done takes what it recorded along.
    let over = Fact::Settled { state: crate::runs::RunState::Succeeded, cause: None, would: Vec::new(), at: at(9) };
    let ended = Fact::Element {
        step: 1,
        id: None,
        kind: "for_each".to_owned(),
        index: 0,
        of: 2,
        parallel: 1,
        value: Some(json!(null)),
        fact: Box::new(over),
    };
    wait(journal.record(run.id, vec![ended])).expect("kept");
    assert_eq!(journal.0.shared.read().run_row(run.id).expect("reads").expect("is there").recorded.len(), 1);
    // Stored as it was folded in memory, against what the records are folded to.
    wait(journal.ask(Op::Drain)).expect("drains");
    drop(journal);
    assert!(check(&state(&dir), "boot-1", &|_, _| ()).expect("checks").is_good());
}
