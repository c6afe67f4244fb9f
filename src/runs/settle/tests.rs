use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::EventId;
use crate::runs::{Intent, NewRun, StepState};

const START: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((START + seconds) * 1_000)
}

fn fresh() -> Run {
    Run::new(NewRun { generation: 3, ..NewRun::plain(EventId(7), "escalate", at(0)) })
}

fn intended(run: &mut Run, kind: &str, now: Timestamp) {
    let attempt = run.unfinished().map_or(0, |view| view.last) + 1;
    let intent = Intent { step: 0, attempt, at: now, lookups: 0, next_lookup: None };
    run.apply(&Fact::Intended { id: None, kind: kind.to_owned(), intent });
}

/// A request leaves, and the daemon ends.
fn cut_off(run: &mut Run, now: Timestamp) {
    intended(run, "enqueue", now);
    let lost = run.cut_off(now).expect("no end is recorded");
    run.apply(&lost);
}

fn failure(class: Class) -> Failure {
    let status = match class {
        Class::Throttled => Some(429),
        Class::Server => Some(503),
        Class::Auth => Some(401),
        Class::Configuration => Some(403),
        Class::Refused | Class::Batch => Some(400),
        Class::Conflict | Class::Service => Some(409),
        Class::Connect | Class::Unknown | Class::Invalid | Class::BreakerOpen => None,
    };
    Failure { class, status, message: format!("the last {}", class.as_str()), retry_after: None }
}

/// What is varied.
#[derive(Clone)]
struct Given {
    kind: &'static str,
    policy: RetryPolicy,
    unique: bool,
    jitter: f64,
}

fn given(kind: &'static str) -> Given {
    Given { kind, policy: RetryPolicy::default(), unique: false, jitter: 0.5 }
}

impl Given {
    /// Judges, folds, and says what was recorded.
    fn judge(&self, run: &mut Run, outcome: &Outcome, now: Timestamp) -> Vec<Fact> {
        let number = run.intent.as_ref().map_or_else(|| run.unfinished().map_or(0, |v| v.last) + 1, |open| open.attempt);
        let failed = match outcome {
            Outcome::Failed(failure) => Some(failure),
            _ => None,
        };
        let attempt = Attempt {
            number,
            started: now,
            ended: now,
            request: "POST https://host/x".to_owned(),
            status: failed.and_then(|f| f.status),
            class: failed.map(|f| f.class),
            error: failed.map(|f| f.message.clone()),
            bytes: 0,
            recorded: None,
        };
        let facts = Case {
            run,
            step: 0,
            id: None,
            kind: self.kind,
            last: true,
            policy: &self.policy,
            attempt: &attempt,
            awaits: None,
            awaiting: false,
            looked_up: matches!(self.kind, "enqueue" | "start_job" | "call with look-up"),
            asked: self.kind == "call",
            unique: self.unique,
            now,
            jitter: self.jitter,
        }
        .judge(outcome);
        facts.iter().for_each(|fact| run.apply(fact));
        facts
    }

    fn fail(&self, run: &mut Run, class: Class, now: Timestamp) {
        if self.kind != "get_item" {
            intended(run, self.kind, now);
        }
        self.judge(run, &Outcome::Failed(failure(class)), now);
    }
}

fn code(run: &Run) -> &str {
    run.cause.as_ref().map_or("", |cause| cause.code.as_str())
}

#[test]
fn each_failure_leads_where_the_table_says() {
    use Class::{Auth, Batch, BreakerOpen, Configuration, Conflict, Connect, Invalid, Refused, Server, Throttled, Unknown};
    use RunState::{Dead, Retrying, Waiting};
    let same_for_all = [
        (Connect, Retrying, "connect"),
        (Throttled, Retrying, "throttled"),
        (Auth, Waiting, "auth"),
        (Configuration, Waiting, "configuration"),
        (BreakerOpen, Waiting, "breaker_open"),
        (Conflict, Retrying, "conflict"),
        (Batch, Retrying, "batch"),
        (Refused, Dead, "refused"),
    ];
    for kind in ["enqueue", "start_job", "http", "get_item", "emit"] {
        for (class, state, why) in same_for_all {
            let mut run = fresh();
            if class == BreakerOpen {
                given(kind).judge(&mut run, &Outcome::Failed(failure(class)), at(1));
            } else {
                given(kind).fail(&mut run, class, at(1));
            }
            assert_eq!((run.state, code(&run)), (state, why), "{kind} {class:?}");
            assert_eq!(run.intent, None, "{kind} {class:?}");
        }
        for class in [Unknown, Server, Invalid] {
            let mut run = fresh();
            given(kind).fail(&mut run, class, at(1));
            let looked_up = matches!(kind, "enqueue" | "start_job");
            assert_eq!(run.state, Retrying, "{kind} {class:?}");
            assert_eq!(run.intent.is_some(), looked_up, "{kind} {class:?}");
            assert_eq!(code(&run), if looked_up { "unknown_outcome" } else { class.as_str() }, "{kind} {class:?}");
        }
    }
}

#[test]
fn too_early_was_not_processed() {
    let mut run = fresh();
    intended(&mut run, "enqueue", at(1));
    let too_early = Failure { status: Some(425), ..failure(Class::Server) };
    given("enqueue").judge(&mut run, &Outcome::Failed(too_early), at(1));
    assert_eq!((run.intent.clone(), code(&run)), (None, "server"));
}

#[test]
fn success_of_the_last_step_settles_in_the_same_breath() {
    let mut run = fresh();
    intended(&mut run, "enqueue", at(1));
    given("enqueue").judge(&mut run, &Outcome::Done { value: json!({"Id": 9}) }, at(2));
    assert_eq!((run.state, run.next_at, run.attempts()), (RunState::Succeeded, None, 1));
    assert_eq!(run.steps[0].state, StepState::Done);
}

#[test]
fn a_queue_that_refuses_duplicates_is_simply_asked_again() {
    let unique = Given { unique: true, ..given("enqueue") };
    let mut run = fresh();
    unique.fail(&mut run, Class::Unknown, at(1));
    assert_eq!(run.intent, None);
    intended(&mut run, "enqueue", at(10));
    unique.judge(&mut run, &Outcome::Done { value: json!({"Id": 9}) }, at(11));
    assert!(!run.steps[0].maybe_twice);
    // After a crash.
    let mut run = fresh();
    cut_off(&mut run, at(1));
    unique.judge(&mut run, &Outcome::NotFound, at(2));
    assert_eq!((run.intent.clone(), run.attempts()), (None, 1), "the attempt that the crash cut off is on record");
    assert_eq!(run.next_at, Some(at(2)));
}

#[test]
fn a_queue_that_only_look_ups_know_to_be_unique_is_not_asked_for_ever() {
    let (unknown, unique) = (given("enqueue"), Given { unique: true, ..given("enqueue") });
    let mut run = fresh();
    let mut now = at(0);
    for _ in 0..2_000 {
        unknown.fail(&mut run, Class::Unknown, now);
        let due = run.next_at.expect("due");
        unique.judge(&mut run, &Outcome::NotFound, due);
        let Some(next) = run.next_at else { break };
        now = next;
    }
    assert_eq!((run.state, code(&run)), (RunState::Dead, "gave_up"));
}

#[test]
fn an_item_is_looked_up_twice_a_minute_apart_then_sent_again_and_flagged() {
    let given = given("enqueue");
    let mut run = fresh();
    given.fail(&mut run, Class::Unknown, at(1));
    given.judge(&mut run, &Outcome::NotFound, at(5));
    let next = run.next_at.expect("due");
    assert!(next >= at(65), "{next}");
    given.judge(&mut run, &Outcome::NotFound, next);
    assert_eq!(run.intent.as_ref().map(|open| open.lookups), Some(2));
    intended(&mut run, "enqueue", next.plus(Duration::from_secs(1)));
    given.judge(&mut run, &Outcome::Done { value: json!({"Id": 9}) }, next.plus(Duration::from_secs(2)));
    assert_eq!((run.state, run.steps[0].maybe_twice), (RunState::Succeeded, true));
}

#[test]
fn an_item_that_a_look_up_finds_is_done_and_not_flagged() {
    let given = given("enqueue");
    let mut run = fresh();
    cut_off(&mut run, at(1));
    given.judge(&mut run, &Outcome::Found { value: json!({"Id": 9}) }, at(5));
    assert_eq!((run.state, run.steps[0].maybe_twice, run.attempts()), (RunState::Succeeded, false, 1));
    assert_eq!(run.steps[0].value, json!({"Id": 9}));
}

#[test]
fn a_job_that_two_look_ups_do_not_find_is_ambiguous() {
    let given = given("start_job");
    let mut run = fresh();
    given.fail(&mut run, Class::Server, at(1));
    given.judge(&mut run, &Outcome::NotFound, at(5));
    assert_eq!(run.state, RunState::Retrying);
    let next = run.next_at.expect("due");
    given.judge(&mut run, &Outcome::NotFound, next);
    assert_eq!((run.state, code(&run)), (RunState::Ambiguous, "unknown_outcome"));
}

#[test]
fn look_ups_that_fail_are_repeated_until_the_step_is_given_up() {
    let given = given("enqueue");
    let mut run = fresh();
    given.fail(&mut run, Class::Unknown, at(0));
    let mut lookups = 0;
    while let Some(next) = run.next_at {
        given.judge(&mut run, &Outcome::NotLookedUp(failure(Class::Connect)), next);
        lookups += 1;
        assert!(lookups < 1_000);
    }
    assert_eq!((run.state, code(&run)), (RunState::Ambiguous, "unknown_outcome"));
    assert!(lookups > 20, "{lookups}");
    assert_eq!(run.updated, at(24 * 3600));
}

#[test]
fn attempts_are_capped_where_written_and_throttling_does_not_count() {
    let capped = Given { policy: RetryPolicy { attempts: Some(3), ..RetryPolicy::default() }, ..given("http") };
    let mut run = fresh();
    for second in 0..50 {
        capped.fail(&mut run, Class::Throttled, at(second));
        capped.judge(&mut run, &Outcome::Failed(failure(Class::BreakerOpen)), at(second));
    }
    assert!(!run.state.is_settled());
    capped.fail(&mut run, Class::Connect, at(60));
    capped.fail(&mut run, Class::Server, at(61));
    assert_eq!(run.state, RunState::Retrying);
    capped.fail(&mut run, Class::Server, at(62));
    assert_eq!((run.state, code(&run)), (RunState::Dead, "gave_up"));
    let message = &run.cause.as_ref().expect("a cause").message;
    assert!(message.contains("`attempts: 3`") && message.contains("the last server"), "{message}");
}

#[test]
fn the_last_wait_ends_when_the_step_is_given_up() {
    for class in [Class::Throttled, Class::Server, Class::Configuration] {
        let given = given("http");
        let mut run = fresh();
        let mut now = at(0);
        while !run.state.is_settled() {
            given.fail(&mut run, class, now);
            now = run.next_at.unwrap_or(now);
        }
        assert_eq!((now, run.state, code(&run)), (at(24 * 3600), RunState::Dead, "gave_up"), "{class:?}");
        assert!(run.cause.as_ref().is_some_and(|c| c.message.contains("give_up_after: 1d")), "{:?}", run.cause);
    }
}

#[test]
fn a_run_that_an_open_breaker_holds_gives_up_in_the_end() {
    let given = given("http");
    let mut run = fresh();
    let held = Failure { retry_after: Some(Duration::from_secs(300)), ..failure(Class::BreakerOpen) };
    let mut now = at(5_000);
    for _ in 0..400 {
        given.judge(&mut run, &Outcome::Failed(held.clone()), now);
        now = run.next_at.unwrap_or(now);
    }
    assert_eq!((run.state, run.attempts(), now), (RunState::Dead, 0, at(5_000 + 24 * 3600)));
    assert!(run.cause.is_some_and(|cause| cause.message.starts_with("gave up without an attempt (")));
}

/// Each is told a turn of its own.
#[test]
fn runs_that_a_breaker_holds_come_back_in_the_order_of_their_turns() {
    for jitter in [0.0, 0.5, 0.99] {
        let mut run = fresh();
        let held = Failure { retry_after: Some(Duration::from_secs(300)), ..failure(Class::BreakerOpen) };
        Given { jitter, ..given("http") }.judge(&mut run, &Outcome::Failed(held), at(7));
        assert_eq!(run.next_at, Some(at(307)));
    }
}

#[test]
fn retry_after_is_obeyed_and_given_up_on_when_it_is_beyond_the_end() {
    let told = Failure { retry_after: Some(Duration::from_secs(17)), ..failure(Class::Throttled) };
    let mut run = fresh();
    given("http").judge(&mut run, &Outcome::Failed(told.clone()), at(0));
    assert!(run.next_at >= Some(at(17)), "{:?}", run.next_at);
    let short = Given { policy: RetryPolicy { give_up_after: Duration::from_secs(10), ..RetryPolicy::default() }, ..given("http") };
    let mut run = fresh();
    short.judge(&mut run, &Outcome::Failed(told), at(0));
    assert_eq!((run.state, code(&run)), (RunState::Dead, "gave_up"));
}

#[test]
fn conflicts_are_tried_again_five_times() {
    let given = given("start_job");
    let mut run = fresh();
    for second in 0..5 {
        given.fail(&mut run, Class::Conflict, at(second));
        assert_eq!(run.state, RunState::Retrying, "{second}");
    }
    given.fail(&mut run, Class::Conflict, at(9));
    assert_eq!((run.state, code(&run)), (RunState::Dead, "gave_up"));
}

#[test]
fn an_attempt_cut_off_by_a_crash_uses_up_the_cap() {
    let capped = Given { policy: RetryPolicy { attempts: Some(1), ..RetryPolicy::default() }, ..given("enqueue") };
    let mut run = fresh();
    cut_off(&mut run, at(0));
    capped.judge(&mut run, &Outcome::NotFound, at(1));
    let next = run.next_at.expect("due");
    capped.judge(&mut run, &Outcome::NotFound, next);
    assert_eq!((run.state, code(&run)), (RunState::Dead, "gave_up"));
}

fn any_class() -> impl Strategy<Value = Class> {
    use Class::{Auth, BreakerOpen, Configuration, Conflict, Connect, Invalid, Refused, Server, Throttled, Unknown};
    prop::sample::select(vec![
        Connect,
        Unknown,
        Throttled,
        Server,
        Auth,
        Configuration,
        Invalid,
        BreakerOpen,
        Conflict,
        Unknown,
        Server,
        Refused,
    ])
}

proptest! {
    /// Whatever answers come, a run is always due or settled, time goes on, and nothing is done twice.
    #[test]
    fn a_run_ends_whatever_the_answers(
        kind in prop::sample::select(vec!["enqueue", "start_job", "http", "get_item", "emit"]),
        unique: bool,
        attempts in prop::option::of(1_u32..6),
        answers in prop::collection::vec((any_class(), 0_u8..20, prop::option::of(0_u64..2_000), 0.05_f64..1.0, any::<bool>()), 1..300),
    ) {
        let policy = RetryPolicy { attempts, ..RetryPolicy::default() };
        let mut run = fresh();
        let mut now = at(0);
        let (mut finished, mut settled) = (0, 0);
        // Without one good answer a daemon that always crashes would go on for ever, as it should.
        let good = (Class::Connect, 0, None, 0.5, false);
        for (class, dice, retry_after, jitter, crash) in answers.iter().chain(std::iter::once(&good)).cycle().take(20_000) {
            let given = Given { kind, policy, unique: unique && kind == "enqueue", jitter: *jitter };
            let failed = Failure { retry_after: retry_after.map(Duration::from_secs), ..failure(*class) };
            let look_up = given.kind != "http" && run.intent.as_ref().is_some_and(|open| open.lookups < LOOKUPS_NEEDED);
            let outcome = match (look_up, dice) {
                (true, 0) => Outcome::Found { value: json!(1) },
                (true, 1..10) => Outcome::NotFound,
                (true, _) => Outcome::NotLookedUp(failed),
                (false, 0) => Outcome::Done { value: json!(1) },
                (false, _) => Outcome::Failed(failed),
            };
            if !look_up && *class != Class::BreakerOpen && matches!(kind, "enqueue" | "start_job" | "http") {
                intended(&mut run, kind, now);
                if *crash && *dice > 10 {
                    now = now.plus(Duration::from_secs(30));
                    continue;
                }
            }
            let facts = given.judge(&mut run, &outcome, now);
            finished += facts.iter().filter(|f| matches!(f, Fact::StepDone { .. })).count();
            settled += facts.iter().filter(|f| matches!(f, Fact::Settled { .. })).count();
            prop_assert!(!facts.is_empty(), "nothing recorded for {outcome:?}");
            prop_assert_eq!(run.state.is_settled(), run.next_at.is_none());
            let Some(next) = run.next_at else { break };
            prop_assert!(next >= now, "{outcome:?} makes it due in the past");
            now = next;
        }
        prop_assert!(run.state.is_settled(), "still {:?} at {now}", run.state);
        prop_assert!(finished <= 1 && settled == 1);
        prop_assert!(run.updated <= at(25 * 3600 + 3600), "{}", run.updated);
    }
}

#[test]
fn a_call_that_nothing_looks_up_is_for_a_person_to_decide() {
    for (class, ambiguous) in [
        (Class::Unknown, true),
        (Class::Invalid, true),
        (Class::Server, false),
        (Class::Service, false),
        (Class::Connect, false),
        (Class::Throttled, false),
    ] {
        let mut run = fresh();
        given("call").fail(&mut run, class, at(1));
        let state = if ambiguous { RunState::Ambiguous } else { RunState::Retrying };
        assert_eq!(run.state, state, "{class:?}");
        assert_eq!(run.intent.is_some(), ambiguous, "{class:?}: its intent stays open only while its outcome is unknown");
        if ambiguous {
            assert!(run.cause.as_ref().is_some_and(|cause| cause.message.contains("check in the service")), "{:?}", run.cause);
        }
    }
    let mut run = fresh();
    given("call with look-up").fail(&mut run, Class::Unknown, at(1));
    assert_eq!((run.state, run.intent.is_some()), (RunState::Retrying, true));
    given("call with look-up").judge(&mut run, &Outcome::Found { value: serde_json::json!({"id": 7}) }, at(70));
    assert_eq!(run.state, RunState::Succeeded);
}
