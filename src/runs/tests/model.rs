//! A daemon in values, that may die between any two writes, and a world that counts what it is asked to do.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::rules::{JobLookup, Part, Request};

const RULE: &str = r#"
rule: r
events: queueItem.added
retry: {first_wait: 1s, max_wait: 5s, give_up_after: 30d}
steps:
  - id: lines
    enqueue_each: {over: "${content.Lines}", as: line, parallel: 2, queue: Q, content: {No: "${line.No}"}}
  - id: jobs
    for_each: content.Lines
    as: line
    parallel: 3
    steps:
      - id: job
        start_job: {process: P, input: {No: "${line.No}"}, wait: true}
        timeout: 80d
      - http: {method: POST, url: "https://h/x", body: {job: "${steps.job.Id}", of: "${steps.lines[0].Id}"}}
  - wait: 10m
  - id: first
    await_item: {id: "${steps.lines[0].Id}"}
    timeout: 80d
  - id: end
    emit: {type: end, data: {status: "${steps.first.Status}", jobs: "${size(steps.jobs)}"}}
on_give_up:
  - http: {method: POST, url: "https://h/alert", body: {why: "${error.code}"}}
"#;

/// What happens when a request is made.
#[derive(Clone, Copy, Debug)]
enum Luck {
    /// It is done and answered.
    Fine,
    /// It is done; the answer is lost.
    Lost,
    /// It fails before anything is done.
    Fails(Class),
    /// The daemon dies before it leaves.
    DiesBefore,
    /// The daemon dies when it is done, before the answer is recorded.
    DiesAfter,
    /// What is awaited takes longer.
    NotYet,
}

/// What the world was asked to do, by what marks it.
#[derive(Default)]
struct World {
    items: BTreeMap<String, u64>,
    jobs: BTreeMap<String, (u64, Value)>,
    posts: BTreeMap<String, u64>,
    emitted: BTreeMap<String, u64>,
    unique: bool,
}

impl World {
    /// Does it; the answer.
    fn act(&mut self, label: &str, request: &Request) -> Outcome {
        let id = self.items.len() + self.jobs.len() + 1;
        match request {
            Request::Enqueue(item) => {
                let count = self.items.entry(item.reference.clone()).or_default();
                *count += u64::from(*count == 0 || !self.unique);
                Outcome::Done { value: json!({"Id": id, "Reference": item.reference}) }
            }
            Request::StartJob(_) => {
                let job = self.jobs.entry(label.to_owned()).or_insert_with(|| (0, json!({"Id": id, "State": "Pending"})));
                job.0 += 1;
                Outcome::Done { value: job.1.clone() }
            }
            Request::AwaitJob(job) => {
                let JobLookup::Id(id) = job.by else { panic!("by Id") };
                assert!(self.jobs.values().any(|(_, known)| known["Id"] == id), "a job that was never started is awaited");
                Outcome::Done { value: json!({"Id": id, "State": "Successful"}) }
            }
            Request::AwaitItem(_) => Outcome::Done { value: json!({"Status": "Successful"}) },
            Request::Http(_) | Request::Call(_) => {
                *self.posts.entry(label.to_owned()).or_default() += 1;
                Outcome::Done { value: Value::Null }
            }
            Request::Emit(_) => {
                *self.emitted.entry(label.to_owned()).or_default() += 1;
                Outcome::Done { value: json!({"id": "x"}) }
            }
            Request::GetItem(_) | Request::Wait(_) => panic!("never sent: {request:?}"),
        }
    }

    fn look_up(&self, label: &str, request: &Request) -> Outcome {
        match request {
            Request::Enqueue(item) if self.items.contains_key(&item.reference) && !self.unique => {
                Outcome::Found { value: json!({"Id": 1, "Reference": item.reference}) }
            }
            Request::StartJob(_) => match self.jobs.get(label) {
                Some((_, job)) => Outcome::Found { value: job.clone() },
                None => Outcome::NotFound,
            },
            _ => Outcome::NotFound,
        }
    }
}

/// The daemon: what it has written, and what it knows because of that.
struct Daemon {
    written: Vec<Fact>,
    run: Run,
}

impl Daemon {
    fn write(&mut self, facts: Vec<Fact>) {
        for fact in facts {
            self.run.apply(&fact);
            // What is on disk is read back as it was written.
            let stored: Fact = serde_json::from_value(serde_json::to_value(&fact).expect("json")).expect("a fact");
            assert_eq!(stored, fact);
            self.written.push(stored);
        }
    }

    /// kill -9: only what was written is known.
    fn restart(&mut self) {
        let mut run = fresh();
        self.written.iter().for_each(|fact| run.apply(fact));
        assert_eq!(run, self.run, "a restart folds the same run");
        let stored: Run = serde_json::from_value(serde_json::to_value(&run).expect("json")).expect("a run");
        assert_eq!(stored, run, "and its row reads back");
        self.run = run;
    }
}

fn any_luck() -> impl Strategy<Value = Luck> {
    let class = prop::sample::select(vec![Class::Connect, Class::Server, Class::Throttled, Class::BreakerOpen, Class::Unknown]);
    prop_oneof![
        6 => Just(Luck::Fine),
        2 => Just(Luck::Lost),
        2 => class.prop_map(Luck::Fails),
        1 => Just(Luck::Fails(Class::Refused)),
        1 => Just(Luck::DiesBefore),
        2 => Just(Luck::DiesAfter),
        2 => Just(Luck::NotYet),
    ]
}

/// Works on one lane, or the run itself, until it needs time or the daemon died. Whether anything was done.
fn work(daemon: &mut Daemon, world: &mut World, rule: &Rule, event: &Event, now: Timestamp, luck: &mut dyn FnMut() -> (Luck, f64)) -> bool {
    let mut parts = vec![(None, Part::Main)];
    let mut worked = false;
    while let Some((shape, part)) = parts.pop() {
        let run = if part == Part::Main { daemon.run.clone() } else { daemon.run.lane(part) };
        let record = |daemon: &mut Daemon, facts: Vec<Fact>| {
            let mut lane = run.clone();
            facts.iter().for_each(|fact| lane.apply(fact));
            daemon.write(wrap(&lane, rule, Option::as_ref(&shape), facts));
        };
        match decide(&run, rule, event, &json!({}), now) {
            Next::Nothing | Next::Wait(_) => {}
            Next::Record(facts) => {
                record(daemon, facts);
                return true;
            }
            Next::Lanes { shape, parts: lanes } => {
                assert!(lanes.len() <= 3, "more lanes than may be open: {lanes:?}");
                parts.extend(lanes.into_iter().map(|part| (shape.clone(), part)));
            }
            Next::Perform { step, request, attempt: number, intent } => {
                worked = true;
                let own = &rule.part(part)[step];
                let label = rule.label(part, step);
                let (luck, jitter) = luck();
                if matches!(luck, Luck::DiesBefore) && intent.is_none() {
                    daemon.restart();
                    return true;
                }
                if let Some(intent) = intent {
                    let id = own.id.as_deref().map(str::to_owned);
                    record(daemon, vec![Fact::Intended { id, kind: own.kind().to_owned(), intent }]);
                }
                let awaits = matches!(request, Request::AwaitItem(_) | Request::AwaitJob(_));
                let outcome = match luck {
                    Luck::DiesBefore => {
                        daemon.restart();
                        return true;
                    }
                    Luck::Fails(class) => Outcome::Failed(failure(class)),
                    Luck::NotYet if awaits => Outcome::NotYet { stands: "not over".to_owned(), awaited: None },
                    Luck::Fine | Luck::NotYet => world.act(&label, &request),
                    Luck::Lost => {
                        world.act(&label, &request);
                        Outcome::Failed(failure(Class::Unknown))
                    }
                    Luck::DiesAfter => {
                        world.act(&label, &request);
                        daemon.restart();
                        return true;
                    }
                };
                let class = if let Outcome::Failed(failure) = &outcome { Some(failure.class) } else { None };
                let run = if part == Part::Main { daemon.run.clone() } else { daemon.run.lane(part) };
                let unique = matches!(request, Request::Enqueue(_)).then_some(world.unique);
                let facts = settle(&run, rule, step, &attempt(number, class, now), &outcome, unique, now, jitter);
                assert!(!facts.is_empty(), "{outcome:?} does not fit {run:?}");
                let mut lane = run.clone();
                facts.iter().for_each(|fact| lane.apply(fact));
                daemon.write(wrap(&lane, rule, shape.as_ref(), facts));
            }
            Next::LookUp { step, request, intent } => {
                worked = true;
                let outcome = world.look_up(&rule.label(part, step), &request);
                let unique = matches!(request, Request::Enqueue(_)).then_some(world.unique);
                let facts = settle(&run, rule, step, &attempt(intent.attempt, None, now), &outcome, unique, now, luck().1);
                assert!(!facts.is_empty());
                record(daemon, facts);
            }
        }
    }
    worked
}

proptest! {
    /// Whatever fails and whenever the daemon dies: the run settles; jobs are started at most once; what is done is done
    /// at least once, and items once where the queue sees to it; nothing done is done again.
    #[test]
    fn a_daemon_that_dies_at_any_write_does_everything_and_no_job_twice(
        lucks in prop::collection::vec((any_luck(), 0.05_f64..1.0), 1..80),
        unique: bool,
        lines in 0_usize..5,
    ) {
        let (rule, event) = (rule(RULE), event(lines));
        let mut daemon = Daemon { written: Vec::new(), run: fresh() };
        let mut world = World { unique, ..World::default() };
        let mut given = lucks.iter().copied();
        // In the end all goes well: the property is about getting there.
        let mut luck = || given.next().unwrap_or((Luck::Fine, 0.5));
        let mut now = at(0);
        let mut turns = 0;
        while !daemon.run.state.is_settled() {
            turns += 1;
            prop_assert!(turns < 5_000, "{:?}", daemon.run);
            let finished: Vec<StepView> = daemon.run.steps.iter().filter(|view| view.state.is_finished()).cloned().collect();
            if !work(&mut daemon, &mut world, &rule, &event, now, &mut luck) {
                let next = daemon.run.next_at.expect("not settled, so due");
                prop_assert!(next > now, "nothing to do and nothing to wait for: {:?}", daemon.run);
                now = next;
            }
            prop_assert_eq!(&daemon.run.steps[..finished.len()], &finished[..], "finished steps stay");
            now = now.plus(Duration::from_millis(1));
        }
        daemon.restart();
        let run = &daemon.run;
        for (label, (count, _)) in &world.jobs {
            prop_assert!(*count <= 1, "job {} was started {} times", label, count);
        }
        if unique {
            prop_assert!(world.items.values().all(|count| *count == 1), "{:?}", world.items);
        }
        match run.state {
            RunState::Succeeded => {
                prop_assert_eq!(world.items.len(), lines);
                prop_assert_eq!(world.jobs.len(), lines);
                prop_assert_eq!(world.emitted.len(), 1);
                prop_assert_eq!(run.steps[1].value.as_array().map(Vec::len), Some(lines));
                prop_assert!(run.steps[0].value.as_array().is_some_and(|items| items.iter().all(|item| item["Id"].is_number())), "{:?}", run.steps[0].value);
                prop_assert!(now.since(at(0)) >= Duration::from_secs(600), "the wait was kept");
                prop_assert!(!world.posts.contains_key("on_give_up.1"));
            }
            RunState::Dead => {
                let alerts = world.posts.get("on_give_up.1").copied().unwrap_or(0);
                let failed = run.cause.as_ref().is_some_and(|cause| cause.message.contains("`on_give_up` failed"));
                prop_assert!(alerts >= 1 || failed, "dead without a word: {:?}", run.cause);
            }
            RunState::Ambiguous => {}
            other => prop_assert!(false, "settled as {:?}", other),
        }
    }
}
