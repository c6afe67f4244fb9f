//! What a run needs next.

use serde_json::{Value, json};

use super::run::LOOKUPS_NEEDED;
use super::{Cause, Fact, Intent, Run, RunState};
use crate::event::{Event, HOPS_MAX};
use crate::rules::{ExpressionFault, Mode, RenderInput, Rendered, Request, Rule};
use crate::time::Timestamp;

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
    /// Record these facts and ask again.
    Record(Vec<Fact>),
    /// Nothing until then.
    Wait(Timestamp),
    /// Settled already.
    Nothing,
}

/// What is to be done for a run now.
#[must_use]
pub fn decide(run: &Run, rule: &Rule, event: &Event, vars: &Value, now: Timestamp) -> Next {
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
    let steps = run.step_values();
    let input = RenderInput { event, steps: &steps, vars, run: Some(run.rendered_id()), now: run.planned.created };
    let mut facts = Vec::new();
    for (index, step) in rule.steps.iter().enumerate().skip(run.next_step()) {
        match rule.render(index, &input) {
            Ok(Rendered::Skip { because }) => facts.push(Fact::StepSkipped {
                step: index,
                id: step.id.as_deref().map(str::to_owned),
                kind: step.kind().to_owned(),
                because,
                at: now,
            }),
            Ok(Rendered::Request(request)) if facts.is_empty() => return send(run, index, request, now),
            Ok(Rendered::Request(_)) => return Next::Record(facts),
            Err(fault) => {
                facts.push(dead(expression(&fault), now));
                return Next::Record(facts);
            }
        }
    }
    facts.push(Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: now });
    Next::Record(facts)
}

/// Timers are kept to the millisecond, so what is due is judged to the millisecond.
fn is_later(moment: Timestamp, now: Timestamp) -> bool {
    moment.as_millis() > now.as_millis()
}

/// Sends, or looks up first what may have been carried out.
fn send(run: &Run, step: usize, request: Request, now: Timestamp) -> Next {
    if let Some(open) = &run.intent {
        let can_be_looked_up = matches!(request, Request::Enqueue(_) | Request::StartJob(_));
        if can_be_looked_up && open.lookups < LOOKUPS_NEEDED {
            return match open.next_lookup.filter(|next| is_later(*next, now)) {
                Some(next) => Next::Wait(next),
                None => Next::LookUp { step, request, intent: open.clone() },
            };
        }
        if matches!(request, Request::StartJob(_)) {
            return Next::Record(vec![ambiguous("start_job", now)]);
        }
    }
    let attempt = run.unfinished().map_or(0, |view| view.last).saturating_add(1);
    let intent = (!request.is_idempotent()).then_some(Intent { step, attempt, at: now, lookups: 0, next_lookup: None });
    Next::Perform { step, request, attempt, intent }
}

/// The steps begun are those of the rule: the same kinds under the same names.
fn fits(run: &Run, rule: &Rule) -> bool {
    run.steps.len() <= rule.steps.len()
        && run.steps.iter().zip(&rule.steps).enumerate().all(|(i, (begun, step))| begun.kind == step.kind() && begun.id == step.label(i))
}

/// What a shadow run would have done. Values that only a real answer could give are not known: a step that needs one is
/// recorded with what it lacks.
fn shadow(run: &Run, rule: &Rule, event: &Event, vars: &Value, now: Timestamp) -> Fact {
    let mut would = Vec::new();
    let mut steps = json!({});
    let mut guessing = false;
    for (index, step) in rule.steps.iter().enumerate() {
        let input = RenderInput { event, steps: &steps, vars, run: Some(run.rendered_id()), now: run.planned.created };
        match rule.render(index, &input) {
            Ok(Rendered::Skip { .. }) => continue,
            Ok(Rendered::Request(request)) => would.push(request.to_json()),
            Err(fault) if guessing => would.push(json!({step.kind(): {"not_known": fault.to_string()}})),
            Err(fault) => return Fact::Settled { state: RunState::Dead, cause: Some(expression(&fault)), would, at: now },
        }
        if let Some(id) = &step.id {
            steps[id.as_ref()] = json!({});
            guessing = true;
        }
    }
    Fact::Settled { state: RunState::Shadowed, cause: None, would, at: now }
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
    let message = format!("event {} is not in the journal any more: raise `retention.age`, or settle runs sooner", run.event());
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

#[cfg(test)]
mod tests;
