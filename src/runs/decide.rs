//! What a run needs next.

use std::time::Duration;

use serde_json::{Value, json};

use super::lanes::{GiveUp, Shape};
use super::run::LOOKUPS_NEEDED;
use super::{Cause, Fact, Intent, Run, RunState};
use crate::event::{Event, HOPS_MAX};
use crate::rules::{
    AwaitJob, ExpressionFault, GetItem, Guess, ItemLookup, JobLookup, Mode, Part, Rehearsal, RenderInput, Rendered, Request, Rule, Step,
    Within,
};
use crate::time::Timestamp;

/// The cause of a run that waits because a step says so.
pub(super) const WAITING: &str = "waiting";

/// What a run needs next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Send this request. `intent` must be durable before it leaves.
    Perform {
        /// The step's index.
        step: usize,
        /// What to send.
        request: Request,
        /// The attempt's number, from 1.
        attempt: u32,
        /// To be made durable before sending, for what is not idempotent.
        intent: Option<Intent>,
    },
    /// A request left and its outcome is unknown: look it up before anything else.
    LookUp {
        /// The step's index.
        step: usize,
        /// What was sent.
        request: Request,
        /// The open intent.
        intent: Intent,
    },
    /// Work on these lanes of the run; what happens in them is recorded as facts of the run.
    Lanes {
        /// The list whose elements they are; `None` for `on_give_up`.
        shape: Option<Shape>,
        /// Which ones. Those that are worked on already are among them.
        parts: Vec<Part>,
    },
    /// Record these facts and ask again.
    Record(Vec<Fact>),
    /// Nothing until then.
    Wait(Timestamp),
    /// Settled already.
    Nothing,
}

/// What is to be done for a run, or for a lane of one, now.
#[must_use]
pub fn decide(run: &Run, rule: &Rule, event: &Event, vars: &Value, now: Timestamp) -> Next {
    match next(run, rule, event, vars, now) {
        Next::Record(facts) => Next::Record(giving_up(run, rule, facts)),
        other => other,
    }
}

/// A run of a rule with `on_give_up` does not die before that is done.
pub(super) fn giving_up(run: &Run, rule: &Rule, mut facts: Vec<Fact>) -> Vec<Fact> {
    /// Causes that leave no rule to follow, or that more actions would only prolong.
    const AT_ONCE: &[&str] = &["rule_removed", "event_removed", "loop"];
    if rule.on_give_up.is_empty() || run.part() != Part::Main || run.give_up.is_some() || run.planned.mode != Mode::Live {
        return facts;
    }
    if let Some(last) = facts.last_mut()
        && let Fact::Settled { state: RunState::Dead, cause: Some(cause), at, .. } = last
        && !AT_ONCE.contains(&cause.code.as_str())
    {
        *last = Fact::GivesUp { cause: cause.clone(), at: *at };
    }
    facts
}

fn next(run: &Run, rule: &Rule, event: &Event, vars: &Value, now: Timestamp) -> Next {
    if run.state.is_settled() {
        return Next::Nothing;
    }
    if let Some(cause) = &run.planned.dead {
        // Somebody had it tried again. Its rule's generation and its event stand still, so the answer does too.
        return Next::Record(vec![dead(cause.clone(), now)]);
    }
    if let Some(next) = run.next_at.filter(|next| is_later(*next, now)) {
        return Next::Wait(next);
    }
    if run.planned.hops > HOPS_MAX {
        return Next::Record(vec![dead(too_many_hops(run.planned.hops), now)]);
    }
    if !fits(run, rule) {
        return Next::Record(vec![rule_removed(run, now)]);
    }
    if run.planned.mode == Mode::Shadow {
        return Next::Record(vec![shadow(run, rule, event, vars, now)]);
    }
    if let Some(give_up) = &run.give_up {
        return given_up(give_up, now);
    }
    let steps = run.step_values();
    let input = RenderInput { event, steps: &steps, vars, run: Some(run.rendered_id()), now: run.planned.created };
    let within = Within { part: run.part(), error: run.outer.as_ref().and_then(|outer| outer.error.as_ref()) };
    let mut facts = Vec::new();
    for (index, step) in rule.part(run.part()).iter().enumerate().skip(run.next_step()) {
        match rule.render_within(&within, index, &input) {
            Ok(Rendered::Skip { because }) => facts.push(Fact::StepSkipped {
                step: index,
                id: step.id.as_deref().map(str::to_owned),
                kind: step.kind().to_owned(),
                because,
                at: now,
            }),
            Ok(_) if !facts.is_empty() => return Next::Record(facts),
            Ok(Rendered::Request(request)) => return begin(run, index, step, request, now),
            Ok(Rendered::Each { count, parallel }) => return over_list(run, index, step, count, parallel, now),
            Err(fault) => {
                facts.push(dead(expression(&fault), now));
                return Next::Record(facts);
            }
        }
    }
    facts.push(Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: now });
    Next::Record(facts)
}

/// `on_give_up` is carried out, whatever becomes of it, then the run is dead.
fn given_up(give_up: &GiveUp, now: Timestamp) -> Next {
    let mut cause = give_up.cause.clone();
    match give_up.lane.state {
        RunState::Dead | RunState::Ambiguous => {
            let why = give_up.lane.cause.as_ref().map_or("", |cause| cause.message.as_str());
            cause.message = format!("{}; and its `on_give_up` failed: {why}", cause.message);
        }
        state if state.is_settled() => {}
        _ => return Next::Lanes { shape: None, parts: vec![Part::GiveUp] },
    }
    Next::Record(vec![dead(cause, now)])
}

/// A step that is one request, or waits.
fn begin(run: &Run, index: usize, step: &Step, request: Request, now: Timestamp) -> Next {
    let view = run.unfinished();
    let until = view.and_then(|view| view.awaits);
    match (&request, until) {
        (Request::Wait(_), Some(until)) if is_later(until, now) => Next::Wait(until),
        (Request::Wait(_), Some(_)) => Next::Record(waited(run, index, step, now)),
        (Request::Wait(wait), None) => {
            let until = wait.until(now);
            let cause = Cause { code: WAITING.to_owned(), message: format!("waits until {until}") };
            Next::Record(vec![awaits(index, step, until, until, Value::Null, cause, now)])
        }
        (Request::AwaitItem(_) | Request::AwaitJob(_), None) => {
            let until = now.plus(step.await_timeout());
            let cause = Cause { code: WAITING.to_owned(), message: format!("awaits {}", what(&request)) };
            Next::Record(vec![awaits(index, step, until, now, Value::Null, cause, now)])
        }
        (Request::StartJob(job), _) if job.wait => match view.and_then(|view| started(&view.value)) {
            None => send(run, index, request, now),
            Some(by) if until.is_some() => {
                let request = Request::AwaitJob(AwaitJob { target: job.target.clone(), by });
                send(run, index, request, now)
            }
            // A person had a run tried again that has started its job: the same one is awaited.
            Some(_) => {
                let (id, kind) = (step.id.as_deref().map(str::to_owned), step.kind().to_owned());
                let value = view.map_or(&Value::Null, |view| &view.value);
                Next::Record(vec![awaits_job(index, id, kind, step.await_timeout(), value, now)])
            }
        },
        _ => send(run, index, request, now),
    }
}

fn waited(run: &Run, index: usize, step: &Step, now: Timestamp) -> Vec<Fact> {
    let (id, kind) = (step.id.as_deref().map(str::to_owned), step.kind().to_owned());
    let until = run.unfinished().and_then(|view| view.awaits);
    vec![Fact::StepDone { step: index, id, kind, value: json!({ "until": until }), maybe_twice: false, at: now }]
}

fn awaits(index: usize, step: &Step, until: Timestamp, next: Timestamp, value: Value, cause: Cause, now: Timestamp) -> Fact {
    let (id, kind) = (step.id.as_deref().map(str::to_owned), step.kind().to_owned());
    Fact::Awaits { step: index, id, kind, until, next, value, cause, at: now }
}

/// A job was started; its end is awaited.
pub(super) fn awaits_job(step: usize, id: Option<String>, kind: String, timeout: Duration, value: &Value, now: Timestamp) -> Fact {
    let kept = ["Id", "Key", "Reference", "State"].iter().filter_map(|name| Some(((*name).to_owned(), value.get(name)?.clone())));
    let value = Value::Object(kept.collect());
    let message = format!("awaits the end of job {}", value.get("Id").unwrap_or(&Value::Null));
    let cause = Cause { code: WAITING.to_owned(), message };
    Fact::Awaits { step, id, kind, until: now.plus(timeout), next: now, value, cause, at: now }
}

/// The job that was started.
fn started(value: &Value) -> Option<JobLookup> {
    let id = value.get("Id").and_then(Value::as_i64).map(JobLookup::Id);
    id.or_else(|| value.get("Key").and_then(Value::as_str).map(|key| JobLookup::Key(key.to_owned())))
}

/// What is awaited, in words.
fn what(request: &Request) -> String {
    match request {
        Request::AwaitItem(GetItem { by: ItemLookup::Id(id), .. }) => format!("the end of item {id}"),
        Request::AwaitItem(GetItem { by: ItemLookup::Reference { queue, reference }, .. }) => {
            format!("the end of the item with reference `{reference}` in queue `{queue}`")
        }
        Request::AwaitJob(AwaitJob { by: JobLookup::Id(id), .. }) => format!("the end of job {id}"),
        Request::AwaitJob(AwaitJob { by: JobLookup::Key(key), .. }) => format!("the end of job {key}"),
        _ => "its time".to_owned(),
    }
}

/// A step over a list: its elements are lanes. All are carried out, also when one fails; then the run is dead of the
/// first that did.
fn over_list(run: &Run, index: usize, step: &Step, count: u32, parallel: u32, now: Timestamp) -> Next {
    let (id, kind) = (step.id.as_deref().map(str::to_owned), step.kind().to_owned());
    let list = run.unfinished().and_then(|view| view.list.as_ref());
    let Some(list) = list else {
        if count == 0 {
            let value = Value::Array(Vec::new());
            return Next::Record(vec![Fact::StepDone { step: index, id, kind, value, maybe_twice: false, at: now }]);
        }
        let parts = (0..count.min(parallel)).map(|element| Part::Element { step: index, index: element }).collect();
        return Next::Lanes { shape: Some(Shape { step: index, id, kind, of: count, parallel }), parts };
    };
    if list.is_over() {
        let failed: Vec<_> = list.lanes().collect();
        let Some((element, lane)) = failed.first() else {
            let maybe_twice = run.unfinished().is_some_and(|view| view.maybe_twice);
            return Next::Record(vec![Fact::StepDone { step: index, id, kind, value: list.values(), maybe_twice, at: now }]);
        };
        let state = if failed.iter().any(|(_, lane)| lane.state == RunState::Ambiguous) { RunState::Ambiguous } else { RunState::Dead };
        let mut cause = lane.cause.clone().unwrap_or_else(|| Cause { code: "element".to_owned(), message: String::new() });
        let number = u64::from(*element) + 1;
        cause.message = format!("{} of {} elements failed; element {number}: {}", failed.len(), list.of, cause.message);
        return Next::Record(vec![Fact::Settled { state, cause: Some(cause), would: Vec::new(), at: now }]);
    }
    let parts = list.due(now).into_iter().map(|element| Part::Element { step: index, index: element }).collect();
    Next::Lanes { shape: Some(Shape { step: index, id, kind, of: list.of, parallel: list.parallel }), parts }
}

/// Timers are kept to the millisecond, so what is due is judged to the millisecond.
fn is_later(moment: Timestamp, now: Timestamp) -> bool {
    moment.as_millis() > now.as_millis()
}

/// Sends, or looks up first what may have been carried out.
fn send(run: &Run, step: usize, request: Request, now: Timestamp) -> Next {
    if let Some(lost) = run.cut_off(now) {
        return Next::Record(vec![lost]);
    }
    if let Some(open) = &run.intent {
        let can_be_looked_up = match &request {
            Request::Call(call) => call.operation.lookup.is_some(),
            other => matches!(other, Request::Enqueue(_) | Request::StartJob(_)),
        };
        if can_be_looked_up && open.lookups < LOOKUPS_NEEDED {
            return match open.next_lookup.filter(|next| is_later(*next, now)) {
                Some(next) => Next::Wait(next),
                None => Next::LookUp { step, request, intent: open.clone() },
            };
        }
        if matches!(request, Request::StartJob(_)) {
            return Next::Record(vec![ambiguous("start_job", now)]);
        }
        if matches!(&request, Request::Call(call) if call.operation.lookup.is_none() && !call.operation.idempotent) {
            return Next::Record(vec![not_told("no answer was recorded", now)]);
        }
    }
    let attempt = run.unfinished().map_or(0, |view| view.last).saturating_add(1);
    let intent = (!request.is_idempotent()).then_some(Intent { step, attempt, at: now, lookups: 0, next_lookup: None });
    Next::Perform { step, request, attempt, intent }
}

/// The steps begun are those of the rule: the same kinds under the same names.
fn fits(run: &Run, rule: &Rule) -> bool {
    let steps = rule.part(run.part());
    run.steps.len() <= steps.len()
        && run.steps.iter().zip(steps).enumerate().all(|(i, (begun, step))| begun.kind == step.kind() && begun.id == step.label(i))
}

/// What a shadow run would have done. Values that only a real answer could give are not known: a step that needs one is
/// recorded with what it lacks.
fn shadow(run: &Run, rule: &Rule, event: &Event, vars: &Value, now: Timestamp) -> Fact {
    let replies = json!({});
    let rehearsal = Rehearsal { event, replies: &replies, vars, run: run.rendered_id(), now: run.planned.created, guess: Guess::Behind };
    match rule.rehearse(&rehearsal) {
        Ok(would) => Fact::Settled { state: RunState::Shadowed, cause: None, would, at: now },
        Err((would, fault)) => Fact::Settled { state: RunState::Dead, cause: Some(expression(&fault)), would, at: now },
    }
}

fn dead(cause: Cause, now: Timestamp) -> Fact {
    Fact::Settled { state: RunState::Dead, cause: Some(cause), would: Vec::new(), at: now }
}

/// The run is dead because its rule, or the rule's steps as they were, are gone.
#[must_use]
pub fn rule_removed(run: &Run, now: Timestamp) -> Fact {
    let message = format!(
        "rule `{}` of generation {} is gone or has other steps now; a new event meets the rules as they are",
        run.planned.rule, run.planned.generation
    );
    dead(Cause { code: "rule_removed".to_owned(), message }, now)
}

/// The run is dead because its event is not in the journal any more.
#[must_use]
pub fn event_removed(run: &Run, now: Timestamp) -> Fact {
    let message = format!(
        "event {} is not in the journal any more: retention removed it (raise `retention.age`, or settle runs sooner), or it is damaged (see `tripline state check`)",
        run.event()
    );
    dead(Cause { code: "event_removed".to_owned(), message }, now)
}

/// The cause of a run that is dead of an expression.
#[must_use]
pub fn expression(fault: &ExpressionFault) -> Cause {
    Cause { code: "expression".to_owned(), message: fault.to_string() }
}

/// The cause of a run whose event is the last of too long a chain.
#[must_use]
pub fn too_many_hops(hops: u8) -> Cause {
    let message = format!("the event is hop {hops} of a chain that rules caused; at most {HOPS_MAX} are followed");
    Cause { code: "loop".to_owned(), message }
}

/// Whether it was carried out cannot be told: a person decides.
pub(super) fn ambiguous(kind: &str, now: Timestamp) -> Fact {
    let message = format!(
        "the `{kind}` request left and its outcome is unknown: {LOOKUPS_NEEDED} look-ups by reference found nothing; \
         check in Orchestrator, then `tripline runs retry` if it is not there"
    );
    let cause = Cause { code: "unknown_outcome".to_owned(), message };
    Fact::Settled { state: RunState::Ambiguous, cause: Some(cause), would: Vec::new(), at: now }
}

/// A call whose outcome is unknown and that nothing looks up: a person decides.
pub(super) fn not_told(why: &str, now: Timestamp) -> Fact {
    let message = format!(
        "the `call` request left and whether it was carried out is not known ({why}); check in the service, then `tripline runs retry` if it \
         was not, or `tripline runs accept` if it was; a `lookup` in the connector would find out"
    );
    let cause = Cause { code: "unknown_outcome".to_owned(), message };
    Fact::Settled { state: RunState::Ambiguous, cause: Some(cause), would: Vec::new(), at: now }
}

#[cfg(test)]
mod tests;
