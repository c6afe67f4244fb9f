//! Lanes: sequences of steps inside a run, each with a life of its own.
//!
//! The elements of a list are lanes, and so is `on_give_up`. A lane is worked on as if it were a run ([`Run::lane`]);
//! what happens in it is recorded under its run, wrapped ([`wrap`]), and folded back here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Cause, Fact, Intent, NewRun, Run, RunState, StepView};
use crate::rules::{Part, Rule};
use crate::time::Timestamp;

/// The most bytes (as JSON) that are kept of the value of an element; what does not fit is null.
pub const ELEMENT_VALUE_MAX: usize = 512;

/// A lane as far as it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Where it stands.
    pub state: RunState,
    /// When something is to be done next.
    pub next_at: Option<Timestamp>,
    /// Why it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The steps begun so far.
    pub steps: Vec<StepView>,
    /// A request that left and has no known end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// As in a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Timestamp>,
    /// As in a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Timestamp>,
}

/// An element of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// Its steps are not over, or it failed.
    Open(Box<Lane>),
    /// Its steps are done; what later steps see of it.
    Done(Value),
}

/// The elements of a list, as far as they were begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// How many there are.
    pub of: u32,
    /// How many are worked on at once.
    pub parallel: u32,
    /// Those that were begun, by index.
    pub elements: BTreeMap<u32, Element>,
    /// Attempts of elements that are done.
    #[serde(default)]
    pub attempts: u64,
}

/// A run that ends dead, while its `on_give_up` is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GiveUp {
    /// Why it is dead.
    pub cause: Cause,
    /// The steps.
    pub lane: Lane,
}

/// What a lane knows of the run it is in.
#[derive(Clone, Debug, PartialEq)]
pub struct Outer {
    /// Which part of the rule it is.
    pub part: Part,
    /// The values of the run's own finished steps.
    pub steps: Map<String, Value>,
    /// `error`, in `on_give_up`.
    pub error: Option<Value>,
}

/// A list's step and its shape, for facts of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The step's index.
    pub step: usize,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// `for_each` or `enqueue_each`.
    pub kind: String,
    /// How many elements there are.
    pub of: u32,
    /// How many are worked on at once.
    pub parallel: u32,
}

impl Lane {
    /// One that is due at once.
    pub(super) fn new(at: Timestamp) -> Self {
        Self {
            state: RunState::Pending,
            next_at: Some(at),
            cause: None,
            steps: Vec::new(),
            intent: None,
            held_since: None,
            paused_since: None,
        }
    }

    fn to_run(&self, planned: NewRun, updated: Timestamp, outer: Outer) -> Run {
        Run {
            planned,
            state: self.state,
            updated,
            next_at: self.next_at,
            cause: self.cause.clone(),
            steps: self.steps.clone(),
            intent: self.intent.clone(),
            held_since: self.held_since,
            would: Vec::new(),
            paused_since: self.paused_since,
            deaths: 0,
            turn_since: 0,
            before_block: None,
            notes: Vec::new(),
            give_up: None,
            outer: Some(Box::new(outer)),
        }
    }

    fn of(run: Run) -> Self {
        let Run { state, next_at, cause, steps, intent, held_since, paused_since, .. } = run;
        Self { state, next_at, cause, steps, intent, held_since, paused_since }
    }

    /// Folds a fact in.
    fn apply(&mut self, planned: &NewRun, part: Part, fact: &Fact, at: Timestamp) {
        let mut run = self.to_run(planned.clone(), at, Outer { part, steps: Map::new(), error: None });
        run.apply(fact);
        *self = Self::of(run);
    }

    fn attempts(&self) -> u64 {
        self.steps.iter().map(StepView::attempts_in_all).sum()
    }

    fn to_json(&self) -> Value {
        json!({
            "state": self.state, "next_at": self.next_at, "cause": self.cause.as_ref().map(|cause| &cause.code),
            "message": self.cause.as_ref().map(|cause| &cause.message), "steps": self.steps.iter().map(StepView::to_json).collect::<Vec<_>>(),
        })
    }
}

impl List {
    /// Elements whose steps are not over.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lanes().filter(|(_, lane)| !lane.state.is_settled()).count()
    }

    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.elements.len() as u64 >= u64::from(self.of) && self.open() == 0
    }

    /// Elements that are not done.
    pub fn lanes(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.elements.iter().filter_map(|(index, element)| match element {
            Element::Open(lane) => Some((*index, &**lane)),
            Element::Done(_) => None,
        })
    }

    /// The same, to be changed.
    pub(super) fn open_lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.elements.values_mut().filter_map(|element| match element {
            Element::Open(lane) => Some(&mut **lane),
            Element::Done(_) => None,
        })
    }

    /// The elements to be worked on: those that are due, then further ones up to the limit.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<u32> {
        let due = |lane: &Lane| !lane.state.is_settled() && lane.next_at.is_none_or(|next| next.as_millis() <= now.as_millis());
        let mut found: Vec<u32> = self.lanes().filter(|(_, lane)| due(lane)).map(|(index, _)| index).collect();
        let more = (self.parallel as usize).saturating_sub(self.open());
        found.extend((0..self.of).filter(|index| !self.elements.contains_key(index)).take(more));
        found
    }

    /// The values of all elements in order; those that were not done are null.
    #[must_use]
    pub fn values(&self) -> Value {
        let value = |index: u32| match self.elements.get(&index) {
            Some(Element::Done(value)) => value.clone(),
            Some(Element::Open(_)) | None => Value::Null,
        };
        (0..self.of).map(value).collect()
    }

    /// When the next of them is due; `at` where one can begin at once.
    fn next_at(&self, at: Timestamp) -> Option<(Timestamp, RunState, Option<&Cause>)> {
        let unsettled = self.lanes().filter(|(_, lane)| !lane.state.is_settled());
        let earliest =
            unsettled.filter_map(|(_, lane)| Some((lane.next_at?, lane.state, lane.cause.as_ref()))).min_by_key(|(next, ..)| *next);
        let further = (self.elements.len() as u64) < u64::from(self.of) && self.open() < self.parallel as usize;
        match earliest {
            Some(found) if !further => Some(found),
            _ => Some((at, RunState::Running, None)),
        }
    }

    /// The documented form: how many there are and are done, and those that are not.
    pub(super) fn to_json(&self) -> Value {
        let open = self.lanes().map(|(index, lane)| {
            let mut shown = lane.to_json();
            shown["element"] = json!(u64::from(index) + 1);
            shown
        });
        let done = self.elements.values().filter(|element| matches!(element, Element::Done(_))).count();
        json!({"count": self.of, "done": done, "open": open.collect::<Vec<_>>()})
    }

    /// Attempts of all elements.
    pub(super) fn attempts_in_all(&self) -> u64 {
        self.attempts + self.lanes().map(|(_, lane)| lane.attempts()).sum::<u64>()
    }

    /// A person had the run tried again: what failed begins anew.
    pub(super) fn begin_anew(&mut self, planned: &NewRun, step: usize, at: Timestamp) {
        for (index, element) in &mut self.elements {
            if let Element::Open(lane) = element {
                lane.apply(planned, Part::Element { step, index: *index }, &Fact::Retried { at, due: None }, at);
            }
        }
    }
}

impl GiveUp {
    pub(super) fn to_json(&self) -> Value {
        self.lane.to_json()
    }
}

impl Run {
    /// Which part of its rule this is: of a run the rule's own steps, of a lane what it is for.
    #[must_use]
    pub fn part(&self) -> Part {
        self.outer.as_ref().map_or(Part::Main, |outer| outer.part)
    }

    /// A lane, to be worked on like a run; one that was not begun is due at once.
    #[must_use]
    pub fn lane(&self, part: Part) -> Self {
        let known = match part {
            Part::Main => None,
            Part::GiveUp => self.give_up.as_ref().map(|give_up| &give_up.lane),
            Part::Element { step, index } => {
                let list = self.steps.get(step).and_then(|view| view.list.as_ref());
                list.and_then(|list| match list.elements.get(&index) {
                    Some(Element::Open(lane)) => Some(&**lane),
                    _ => None,
                })
            }
        };
        let error = self.give_up.as_ref().map(|give_up| {
            let step = self.unfinished().map(|view| &view.id);
            json!({"code": give_up.cause.code, "message": give_up.cause.message, "step": step})
        });
        let steps = match self.step_values() {
            Value::Object(steps) => steps,
            _ => Map::new(),
        };
        let lane = known.cloned().unwrap_or_else(|| Lane::new(self.updated));
        lane.to_run(self.planned.clone(), self.updated, Outer { part, steps, error })
    }

    /// Folds in what happened to an element.
    pub(super) fn element(&mut self, shape: &Shape, index: u32, value: Option<&Value>, fact: &Fact, at: Timestamp) {
        if index >= shape.of {
            return;
        }
        let planned = self.planned.clone();
        let Some(view) = self.open_step(shape.step, shape.id.as_deref(), &shape.kind) else { return };
        let list = view.list.get_or_insert_with(|| List { of: shape.of, parallel: shape.parallel, elements: BTreeMap::new(), attempts: 0 });
        let element = list.elements.entry(index).or_insert_with(|| Element::Open(Box::new(Lane::new(at))));
        let Element::Open(lane) = element else { return };
        lane.apply(&planned, Part::Element { step: shape.step, index }, fact, at);
        if lane.state == RunState::Succeeded {
            list.attempts += lane.attempts();
            view.maybe_twice |= lane.steps.iter().any(|step| step.maybe_twice);
            *element = Element::Done(value.cloned().unwrap_or(Value::Null));
        }
        view.state = super::StepState::Running;
        let found = view.list.as_ref().and_then(|list| list.next_at(at));
        let next = found.map(|(next, state, cause)| (next, state, cause.cloned()));
        if let Some((next, state, cause)) = next {
            self.due(state, next, at);
            self.cause = cause;
        }
    }

    /// Folds in what happened to `on_give_up`.
    pub(super) fn in_give_up(&mut self, fact: &Fact, at: Timestamp) {
        let planned = self.planned.clone();
        let Some(give_up) = &mut self.give_up else { return };
        give_up.lane.apply(&planned, Part::GiveUp, fact, at);
        let (state, next) = match give_up.lane.next_at {
            Some(next) => (give_up.lane.state, next),
            None => (RunState::Running, at),
        };
        self.due(state, next, at);
    }
}

/// The facts of a lane as facts of its run. `lane` is the lane with the facts folded in.
#[must_use]
pub fn wrap(lane: &Run, rule: &Rule, shape: Option<&Shape>, facts: Vec<Fact>) -> Vec<Fact> {
    let part = lane.part();
    let wrapped = facts.into_iter().filter_map(|fact| match (part, shape) {
        (Part::Main, _) => Some(fact),
        (Part::GiveUp, _) => Some(Fact::InGiveUp { fact: Box::new(fact) }),
        (Part::Element { step, index }, Some(shape)) => {
            let over = matches!(fact, Fact::Settled { state: RunState::Succeeded, .. });
            let value = over.then(|| {
                let last =
                    lane.steps.iter().rev().find(|view| view.state == super::StepState::Done).map_or(&Value::Null, |view| &view.value);
                bounded(rule.element_value(step, lane.own_values(), last))
            });
            let Shape { step, id, kind, of, parallel } = shape.clone();
            Some(Fact::Element { step, id, kind, index, of, parallel, value, fact: Box::new(fact) })
        }
        (Part::Element { .. }, None) => None,
    });
    wrapped.collect()
}

/// A value of at most [`ELEMENT_VALUE_MAX`] bytes: what does not fit any more is null.
fn bounded(value: Value) -> Value {
    if value.to_string().len() <= ELEMENT_VALUE_MAX {
        return value;
    }
    let Value::Object(map) = value else { return Value::Null };
    let mut room = ELEMENT_VALUE_MAX;
    let kept = map.into_iter().map(|(name, value)| {
        let length = name.len() + value.to_string().len() + 4;
        match room.checked_sub(length) {
            Some(rest) => {
                room = rest;
                (name, value)
            }
            None => (name, Value::Null),
        }
    });
    Value::Object(kept.collect())
}
