use super::*;
use crate::rules::{Part, Request};

const RULE: &str = r#"
rule: r
events: queueItem.added
steps:
  - id: told
    for_each: content.Lines
    as: line
    parallel: 2
    steps:
      - id: answer
        http: {method: POST, url: "https://h/x", body: {no: "${line.No}"}}
  - emit: {type: end, data: {all: "${steps.told}"}}
"#;

fn lanes(run: &Run, rule: &Rule, lines: usize, now: Timestamp) -> (Option<Shape>, Vec<Part>) {
    match decide(run, rule, &event(lines), &json!({}), now) {
        Next::Lanes { shape, parts } => (shape, parts),
        other => panic!("{other:?}"),
    }
}

/// Lets the request of an element end, and folds it in.
fn end(run: &mut Run, rule: &Rule, index: u32, lines: usize, outcome: &Outcome, now: Timestamp) {
    let part = Part::Element { step: 0, index };
    let mut lane = run.lane(part);
    let Next::Perform { step, attempt: number, intent, request } = decide(&lane, rule, &event(lines), &json!({}), now) else { panic!() };
    assert!(matches!(request, Request::Http(_)));
    let intended = Fact::Intended { id: Some("answer".to_owned()), kind: "http".to_owned(), intent: intent.expect("a POST") };
    let class = if let Outcome::Failed(failure) = outcome { Some(failure.class) } else { None };
    lane.apply(&intended);
    let facts = settle(&lane, rule, step, &attempt(number, class, now), outcome, None, now, 0.5);
    facts.iter().for_each(|fact| lane.apply(fact));
    let shape = Shape { step: 0, id: Some("told".to_owned()), kind: "for_each".to_owned(), of: lines as u32, parallel: 2 };
    let all = std::iter::once(intended).chain(facts).collect();
    wrap(&lane, rule, Some(&shape), all).iter().for_each(|fact| run.apply(fact));
}

fn done(value: Value) -> Outcome {
    Outcome::Done { value }
}

fn element(index: u32) -> Part {
    Part::Element { step: 0, index }
}

#[test]
fn as_many_elements_as_allowed_are_worked_on_and_one_that_waits_keeps_its_place() {
    let rule = rule(RULE);
    let mut run = fresh();
    assert_eq!(lanes(&run, &rule, 4, at(0)).1, [element(0), element(1)]);
    end(&mut run, &rule, 1, 4, &done(json!({"ok": 1})), at(1));
    assert_eq!(lanes(&run, &rule, 4, at(1)).1, [element(0), element(2)]);
    end(&mut run, &rule, 0, 4, &Outcome::Failed(failure(Class::Server)), at(2));
    assert_eq!(lanes(&run, &rule, 4, at(2)).1, [element(2)], "the first waits for its next try");
    assert_eq!((run.state, run.next_at), (RunState::Running, Some(at(2))), "there is room for one more");
    end(&mut run, &rule, 2, 4, &Outcome::Failed(failure(Class::Server)), at(2));
    assert_eq!(run.state, RunState::Retrying);
    assert!(matches!(decide(&run, &rule, &event(4), &json!({}), at(2)), Next::Wait(_)));
    let shown = run.to_json();
    let list = &shown["steps"][0]["elements"];
    assert_eq!((&list["count"], &list["done"], &list["open"][1]["element"]), (&json!(4), &json!(1), &json!(3)), "{shown:#}");
    assert_eq!(shown["attempts"], json!(3));
}

#[test]
fn the_value_of_a_list_has_those_of_its_elements_and_long_ones_are_left_out() {
    let rule = rule(RULE);
    let mut run = fresh();
    end(&mut run, &rule, 0, 2, &done(json!({"ok": 1})), at(1));
    end(&mut run, &rule, 1, 2, &done(json!("x".repeat(ELEMENT_VALUE_MAX))), at(1));
    let Next::Record(facts) = decide(&run, &rule, &event(2), &json!({}), at(2)) else { panic!() };
    facts.iter().for_each(|fact| run.apply(fact));
    assert_eq!(run.step_values(), json!({"told": [{"answer": {"ok": 1}}, {"answer": null}]}));
    assert_eq!((run.attempts(), run.next_step()), (2, 1));
}

#[test]
fn others_go_on_when_one_element_fails_and_a_retry_begins_only_that_one_anew() {
    let rule = rule(RULE);
    let mut run = fresh();
    end(&mut run, &rule, 0, 2, &Outcome::Failed(failure(Class::Refused)), at(1));
    assert_eq!(lanes(&run, &rule, 2, at(1)).1, [element(1)]);
    end(&mut run, &rule, 1, 2, &done(json!({"ok": 2})), at(1));
    let Next::Record(facts) = decide(&run, &rule, &event(2), &json!({}), at(2)) else { panic!() };
    facts.iter().for_each(|fact| run.apply(fact));
    let cause = run.cause.clone().expect("a cause");
    assert_eq!((run.state, cause.code.as_str()), (RunState::Dead, "refused"));
    assert!(cause.message.contains("1 of 2 elements failed; element 1"), "{}", cause.message);
    run.apply(&Fact::Retried { at: at(9), due: None });
    assert_eq!(lanes(&run, &rule, 2, at(9)).1, [element(0)]);
    end(&mut run, &rule, 0, 2, &done(json!({"ok": 1})), at(9));
    assert!(
        matches!(decide(&run, &rule, &event(2), &json!({}), at(9)), Next::Record(facts) if matches!(facts[..], [Fact::StepDone { .. }]))
    );
}

#[test]
fn a_long_wait_for_a_job_asks_less_and_less_often_and_ends_at_its_timeout() {
    let rule = rule("rule: r\nevents: queueItem.added\nsteps:\n  - await_job: {id: 5}\n    timeout: 2h\n");
    let mut run = fresh();
    let Next::Record(facts) = decide(&run, &rule, &event(0), &json!({}), at(0)) else { panic!() };
    facts.iter().for_each(|fact| run.apply(fact));
    assert_eq!((run.state, run.steps[0].state), (RunState::Waiting, StepState::Waiting));
    let (mut now, mut asked, mut last) = (at(0), 0, std::time::Duration::ZERO);
    while !run.state.is_settled() {
        let Next::Perform { step, attempt: number, intent: None, .. } = decide(&run, &rule, &event(0), &json!({}), now) else { panic!() };
        let outcome = Outcome::NotYet { stands: "job 5 is Running".to_owned(), awaited: None };
        let facts = settle(&run, &rule, step, &attempt(number, None, now), &outcome, None, now, 0.0);
        facts.iter().for_each(|fact| run.apply(fact));
        asked += 1;
        if let Some(next) = run.next_at {
            assert!(next.since(now) >= last || next == at(7_200), "{:?} after {last:?}", next.since(now));
            last = next.since(now);
            now = next;
        }
    }
    assert!((10..40).contains(&asked), "{asked}");
    let cause = run.cause.expect("a cause");
    assert_eq!((cause.code.as_str(), now), ("timeout", at(7_200)));
    assert!(cause.message.contains("not over after 2h") && cause.message.contains("job 5 is Running"), "{}", cause.message);
}
