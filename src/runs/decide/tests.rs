use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{EventId, Origin};
use crate::fault::SourceText;
use crate::rules::{Known, RuleSet};
use crate::runs::{Attempt, Class, Failure, NewRun, Outcome, StepState, settle};

const RULE: &str = r#"
rule: escalate
events: queueItem.transactionFailed
retry: {first_wait: 1s, give_up_after: 1h}
steps:
  - if: item.RetryNumber > 1
    http: {method: GET, url: "https://host/ping"}
  - id: item
    enqueue: {queue: Review, reference: "review-${item.Reference}", content: {Amount: "${content.Amount}"}}
  - id: job
    start_job: {process: Notify, input: {Item: "${steps.item.Id}"}}
  - http: {method: POST, url: "https://host/alert", body: {job: "${steps.job.Key}"}}
"#;

fn rules(text: &str) -> Arc<RuleSet> {
    let source = Arc::new(SourceText { path: "rules/x.yaml".into(), text: text.to_owned() });
    let known = Known { orchestrators: vec!["prod".into()], sources: Vec::new(), vars: json!({}), ..Known::default() };
    let (set, faults) = RuleSet::load(&[source], &known, &|_| Err("no samples".to_owned()));
    Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")))
}

fn rule(text: &str) -> Arc<Rule> {
    rules(text).rules()[0].clone()
}

fn event() -> Event {
    let data = json!({"Queue": {"Name": "Invoices"}, "QueueItem": {"Id": 7, "Reference": "A-1", "RetryNumber": 0, "SpecificContent": {"Amount": 12}}});
    Event::from_json(&json!({"type": "queueItem.transactionFailed", "orchestrator": "prod", "data": data})).expect("an event")
}

fn planned() -> NewRun {
    NewRun::plain(EventId(7), "escalate", at(0))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_000_000 + seconds) * 1_000)
}

fn next(run: &Run, rule: &Rule, now: Timestamp) -> Next {
    decide(run, rule, &event(), &json!({}), now)
}

/// Records until something else is asked for.
fn settle_records(run: &mut Run, rule: &Rule, now: Timestamp) -> Next {
    for _ in 0..20 {
        match next(run, rule, now) {
            Next::Record(facts) => facts.iter().for_each(|fact| run.apply(fact)),
            other => return other,
        }
    }
    panic!("facts without end")
}

fn done(run: &mut Run, step: usize, id: &str, kind: &str, value: Value) {
    let id = Some(id.to_owned());
    run.apply(&Fact::StepDone { step, id, kind: kind.to_owned(), value, maybe_twice: false, at: at(1) });
}

#[test]
fn steps_are_asked_for_in_order_and_see_the_values_before_them() {
    let rule = rule(RULE);
    let mut run = Run::new(planned());
    let Next::Record(facts) = next(&run, &rule, at(0)) else { panic!("the first step does not hold") };
    assert!(matches!(&facts[..], [Fact::StepSkipped { step: 0, because, .. }] if because.contains("RetryNumber")), "{facts:?}");
    let Next::Perform { step: 1, request, attempt: 1, intent: Some(intent) } = settle_records(&mut run, &rule, at(0)) else { panic!() };
    assert_eq!(request.to_json()["enqueue"]["reference"], json!("review-A-1"));
    assert_eq!((intent.step, intent.attempt, intent.lookups), (1, 1, 0));
    done(&mut run, 1, "item", "enqueue", json!({"Id": 99}));
    let Next::Perform { step: 2, request: Request::StartJob(job), .. } = next(&run, &rule, at(2)) else { panic!() };
    assert_eq!(Value::Object(job.input), json!({"Item": 99}));
    done(&mut run, 2, "job", "start_job", json!({"Key": "k"}));
    let Next::Perform { step: 3, request: Request::Http(call), intent: Some(_), .. } = next(&run, &rule, at(2)) else { panic!() };
    assert_eq!(call.body, Some(json!({"job": "k"})));
    run.apply(&Fact::StepDone { step: 3, id: None, kind: "http".to_owned(), value: Value::Null, maybe_twice: false, at: at(3) });
    assert_eq!(settle_records(&mut run, &rule, at(3)), Next::Nothing);
    assert_eq!(run.state, RunState::Succeeded);
}

#[test]
fn what_is_not_due_waits() {
    let mut run = Run::new(planned());
    let cause = Cause { code: "server".to_owned(), message: String::new() };
    run.apply(&Fact::Waits { state: RunState::Retrying, until: at(60), cause, at: at(0) });
    assert_eq!(next(&run, &rule(RULE), at(59)), Next::Wait(at(60)));
    assert!(!matches!(next(&run, &rule(RULE), at(60)), Next::Wait(_)));
}

#[test]
fn an_expression_that_fails_is_death_with_the_place() {
    let text = RULE.replace("${content.Amount}", "${content.Nothing}");
    let mut run = Run::new(planned());
    settle_records(&mut run, &rule(&text), at(0));
    let cause = run.cause.clone().expect("a cause");
    assert_eq!((run.state, cause.code.as_str()), (RunState::Dead, "expression"));
    assert!(cause.message.contains("steps[1]") && cause.message.contains("content.Nothing"), "{}", cause.message);
}

#[test]
fn a_run_that_was_dead_from_the_start_dies_again_when_it_is_tried_again() {
    let cause = Cause { code: "loop".to_owned(), message: "round and round".to_owned() };
    let mut run = Run::new(NewRun { dead: Some(cause.clone()), ..planned() });
    assert_eq!(next(&run, &rule(RULE), at(0)), Next::Nothing);
    run.apply(&Fact::Retried { at: at(5), due: None });
    assert_eq!(settle_records(&mut run, &rule(RULE), at(5)), Next::Nothing);
    assert_eq!((run.state, run.cause), (RunState::Dead, Some(cause)));
}

#[test]
fn a_chain_that_is_too_long_ends() {
    for (hops, alive) in [(HOPS_MAX, true), (HOPS_MAX + 1, false)] {
        let mut run = Run::new(NewRun { hops, ..planned() });
        settle_records(&mut run, &rule(RULE), at(0));
        assert_eq!(run.state != RunState::Dead, alive, "{hops}");
    }
}

#[test]
fn a_rule_with_other_steps_is_not_this_runs_rule() {
    let mut run = Run::new(planned());
    settle_records(&mut run, &rule(RULE), at(0));
    done(&mut run, 1, "item", "enqueue", json!({"Id": 99}));
    let other = rule(
        "rule: escalate\nevents: x.y\nsteps:\n  - http: {method: GET, url: 'https://host/'}\n  - http: {method: GET, url: 'https://host/'}\n",
    );
    settle_records(&mut run, &other, at(3));
    assert_eq!((run.state, run.cause.map(|c| c.code)), (RunState::Dead, Some("rule_removed".to_owned())));
}

#[test]
fn an_open_intent_is_looked_up_before_anything_is_sent() {
    let rule = rule(RULE);
    let mut run = Run::new(planned());
    let Next::Perform { step, intent: Some(intent), .. } = settle_records(&mut run, &rule, at(0)) else { panic!() };
    run.apply(&Fact::Intended { id: Some("item".to_owned()), kind: "enqueue".to_owned(), intent: intent.clone() });
    // The daemon ended here.
    assert!(matches!(settle_records(&mut run, &rule, at(1)), Next::LookUp { step: s, intent: open, .. } if s == step && open == intent));
    assert_eq!((run.attempts(), run.steps[step].attempts[0].class), (1, Some(Class::Unknown)), "the attempt is on record");
    run.apply(&Fact::LookedUp { next: at(61), at: at(1) });
    assert_eq!(next(&run, &rule, at(60)), Next::Wait(at(61)));
    assert!(matches!(next(&run, &rule, at(61)), Next::LookUp { .. }));
    run.apply(&Fact::LookedUp { next: at(62), at: at(61) });
    assert!(matches!(next(&run, &rule, at(62)), Next::Perform { attempt: 2, .. }));
}

#[test]
fn an_http_request_with_an_open_intent_is_simply_sent_again() {
    let rule = rule("rule: escalate\nevents: x.y\nsteps:\n  - http: {method: POST, url: 'https://host/'}\n");
    let mut run = Run::new(planned());
    let intent = Intent { step: 0, attempt: 1, at: at(0), lookups: 0, next_lookup: None };
    run.apply(&Fact::Intended { id: None, kind: "http".to_owned(), intent });
    assert!(matches!(settle_records(&mut run, &rule, at(1)), Next::Perform { attempt: 2, .. }));
    assert_eq!(run.attempts(), 1, "the attempt that was cut off is on record");
}

#[test]
fn a_shadow_run_says_what_it_would_do_and_what_it_cannot_know() {
    let mut run = Run::new(NewRun { mode: Mode::Shadow, ..planned() });
    settle_records(&mut run, &rule(RULE), at(0));
    assert_eq!(run.state, RunState::Shadowed);
    assert_eq!(run.would.len(), 3, "{:?}", run.would);
    assert_eq!(run.would[0]["enqueue"]["reference"], json!("review-A-1"));
    assert!(run.would[1]["start_job"]["not_known"].as_str().is_some_and(|why| why.contains("Id")), "{:?}", run.would[1]);
    assert_eq!(run.attempts(), 0);
}

#[test]
fn the_shadow_of_an_expression_that_fails_is_dead_too() {
    let text = RULE.replace("${content.Amount}", "${content.Nothing}");
    let mut run = Run::new(NewRun { mode: Mode::Shadow, ..planned() });
    settle_records(&mut run, &rule(&text), at(0));
    assert_eq!((run.state, run.cause.map(|c| c.code)), (RunState::Dead, Some("expression".to_owned())));
}

#[test]
fn requests_are_the_same_for_every_attempt() {
    let rule = rule(RULE);
    let mut run = Run::new(planned());
    let Next::Perform { request: first, .. } = settle_records(&mut run, &rule, at(0)) else { panic!() };
    let Next::Perform { request: later, .. } = next(&run, &rule, at(100_000)) else { panic!() };
    assert_eq!(first, later);
}

#[derive(Clone, Debug)]
enum Answer {
    Done,
    Failed(Class),
    Found,
    NotFound,
    Crash,
}

fn any_answer() -> impl Strategy<Value = Answer> {
    use Class::{Auth, BreakerOpen, Configuration, Conflict, Connect, Invalid, Refused, Server, Throttled, Unknown};
    let class =
        prop::sample::select(vec![Connect, Unknown, Throttled, Server, Auth, Configuration, Invalid, BreakerOpen, Conflict, Refused]);
    prop_oneof![
        3 => Just(Answer::Done),
        4 => class.prop_map(Answer::Failed),
        1 => Just(Answer::Found),
        3 => Just(Answer::NotFound),
        1 => Just(Answer::Crash),
    ]
}

proptest! {
    /// The whole life of a run: no finished step is asked for again, steps come in order, it settles once.
    #[test]
    fn a_life_of_random_answers_ends_and_repeats_nothing_finished(
        answers in prop::collection::vec((any_answer(), 0.05_f64..1.0, prop::option::of(any::<bool>())), 1..60),
        retry_late: bool,
    ) {
        let rule = rule(RULE);
        let mut event = event();
        event.change.origin = Some(Origin { run: "x".to_owned(), step: "1".to_owned(), hops: 1 });
        let mut run = Run::new(planned());
        let mut now = at(0);
        // Without one good answer a daemon that always crashes would go on for ever, as it should.
        let good = (Answer::Done, 0.5, None);
        let mut answers = answers.iter().chain(std::iter::once(&good)).cycle();
        let mut settled = 0;
        for _ in 0..20_000 {
            let asked = decide(&run, &rule, &event, &json!({}), now);
            let finished = run.steps.iter().filter(|s| s.state.is_finished()).count();
            let mut answer = || answers.next().expect("cycle");
            let facts = match asked {
                Next::Nothing if settled == 1 && retry_late && matches!(run.state, RunState::Dead | RunState::Ambiguous) => {
                    vec![Fact::Retried { at: now, due: None }]
                }
                Next::Nothing => break,
                Next::Wait(until) => {
                    prop_assert!(until > now);
                    now = until;
                    continue;
                }
                Next::Record(facts) => facts,
                Next::Lanes { .. } => panic!("the rule has no lists"),
                Next::Perform { step, attempt, intent, request } => {
                    prop_assert_eq!(step, finished, "asked for {:?}", request);
                    let own = &rule.steps[step];
                    if let Some(intent) = intent {
                        run.apply(&Fact::Intended { id: own.id.as_deref().map(str::to_owned), kind: own.kind().to_owned(), intent });
                    }
                    let (answer, jitter, unique) = answer();
                    let outcome = match answer {
                        Answer::Crash => {
                            now = now.plus(Duration::from_secs(30));
                            continue;
                        }
                        Answer::Failed(class) => Outcome::Failed(Failure { class: *class, status: None, message: "no".to_owned(), retry_after: None }),
                        _ => Outcome::Done { value: json!({"Id": 1, "Key": "k"}) },
                    };
                    let class = if let Outcome::Failed(f) = &outcome { Some(f.class) } else { None };
                    let done = Attempt { number: attempt, started: now, ended: now, request: String::new(), status: None, class, error: None, bytes: 0, recorded: None };
                    settle(&run, &rule, step, &done, &outcome, *unique, now, *jitter)
                }
                Next::LookUp { step, intent, .. } => {
                    prop_assert_eq!(step, finished);
                    let (answer, jitter, unique) = answer();
                    let outcome = match answer {
                        Answer::Crash => {
                            now = now.plus(Duration::from_secs(30));
                            continue;
                        }
                        Answer::Found | Answer::Done => Outcome::Found { value: json!({"Id": 1, "Key": "k"}) },
                        Answer::NotFound => Outcome::NotFound,
                        Answer::Failed(class) => Outcome::NotLookedUp(Failure { class: *class, status: None, message: "no".to_owned(), retry_after: None }),
                    };
                    let look = Attempt { number: intent.attempt, started: now, ended: now, request: String::new(), status: None, class: None, error: None, bytes: 0, recorded: None };
                    settle(&run, &rule, step, &look, &outcome, *unique, now, *jitter)
                }
            };
            prop_assert!(!facts.is_empty());
            settled += facts.iter().filter(|f| matches!(f, Fact::Settled { .. })).count();
            facts.iter().for_each(|fact| run.apply(fact));
            prop_assert_eq!(run.state.is_settled(), run.next_at.is_none(), "neither due nor settled");
            now = now.plus(Duration::from_millis(1));
        }
        prop_assert!(run.state.is_settled(), "{:?}", run.state);
        prop_assert!(settled <= 2);
        let bad: Vec<_> = run.steps.iter().filter(|s| s.state == StepState::Running).collect();
        prop_assert!(bad.is_empty(), "running when settled: {:?}", bad);
    }
}
