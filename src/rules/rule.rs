//! A rule and its parts, checked.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::Kind;
use super::filter::Filter;
use super::hold::Dedupe;
use super::order::Order;
use super::pattern::Pattern;
use super::waits::AWAIT_DEFAULT;
use super::{Action, Limits, Part, RetryPolicy, TestCase};
use crate::event::RuleName;
use crate::expr::Expression;

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique over all files.
    pub name: RuleName,
    /// For people.
    pub description: Option<String>,
    /// What happens when it matches.
    pub mode: Mode,
    /// How failed steps are tried again, unless a step says otherwise.
    pub retry: RetryPolicy,
    /// Whether headers and bodies of its requests are kept with the attempts.
    pub record: bool,
    /// How many requests it sends.
    pub limits: Limits,
    /// What it does.
    pub steps: Vec<Step>,
    /// What it does when a run ends dead.
    pub on_give_up: Vec<Step>,
    /// Its own tests.
    pub tests: Vec<TestCase>,
    /// The file and line it stands in, for people.
    pub place: String,
    /// What an event must be for it, but for pattern and `when`.
    pub(super) filter: Filter,
    /// The event pattern.
    pub(super) pattern: Option<Pattern>,
    /// What the index gets in its place, where that is more.
    pub(super) indexed: Option<Pattern>,
    /// The condition over pattern.
    pub(super) when: Option<Expression>,
    /// Whether `when` reads `event`, which has to be made for it.
    pub(super) when_wants_event: bool,
    /// Of events with the same key, one runs in a while.
    pub(super) dedupe: Option<Dedupe>,
    /// Events older than this do not run.
    pub(super) expires: Option<Duration>,
    /// Runs with the same key go one after another.
    pub(super) order: Option<Order>,
    /// `rule` in expressions.
    pub(super) as_value: Value,
}

impl Rule {
    /// Whether a later step reads the value of this one.
    #[must_use]
    pub fn needs_value(&self, part: Part, step: usize) -> bool {
        match part {
            Part::Main => self.is_read_later(step),
            Part::Element { step: list, .. } => self.is_read_later(list) || self.part(part).get(step).is_some_and(|own| own.id.is_some()),
            Part::GiveUp => self.on_give_up.get(step).is_some_and(|own| own.id.is_some()),
        }
    }

    fn is_read_later(&self, step: usize) -> bool {
        let Some(id) = self.steps.get(step).and_then(|own| own.id.as_deref()) else { return false };
        let own = format!("steps.{id}");
        let reads = |path: &String| {
            path == "steps" || path.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.steps.iter().skip(step + 1).chain(&self.on_give_up).flat_map(Step::with_inside).any(|later| {
            let condition = later.condition.as_ref().map(Expression::references).unwrap_or_default();
            later.action.references().iter().chain(&condition).any(reads)
        })
    }
}

/// What happens when a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its steps are carried out.
    Live,
    /// The run records what it would do.
    Shadow,
    /// Nothing.
    Off,
}

/// What is done where it is not known whether a request was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is sent again: twice is as good as once, or its key says that it is the same.
    Again,
    /// It is looked up.
    LookUp,
    /// A person is asked: the run is ambiguous.
    Ask,
}

/// One step of a rule.
#[derive(Debug)]
pub struct Step {
    /// By which later steps refer to it.
    pub id: Option<Arc<str>>,
    /// Only carried out when this holds.
    pub condition: Option<Expression>,
    /// In place of the rule's.
    pub retry: Option<RetryPolicy>,
    /// The longest one attempt may take.
    pub timeout: Option<Duration>,
    /// What it does.
    pub action: Action,
    /// Whether it reads `event`, which has to be made for it.
    pub(super) wants_event: bool,
}

impl Rule {
    /// The paths that its condition and its steps refer to.
    pub(super) fn paths(&self) -> Vec<String> {
        let steps = self.steps.iter().flat_map(|step| {
            let condition = step.condition.iter().flat_map(Expression::references);
            condition.chain(step.action.references())
        });
        self.when.iter().flat_map(Expression::references).chain(steps).collect()
    }
}

impl Step {
    /// Its id, or its number from 1: how runs, logs and `ParentOperationId` name it.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        self.id.as_deref().map_or_else(|| (index + 1).to_string(), str::to_owned)
    }

    /// The step's kind as written: `enqueue`, `http`, `for_each`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.action.kind.name()
    }

    /// What is done where it is not known whether its request was carried out.
    #[must_use]
    pub fn in_doubt(&self) -> Doubt {
        match &self.action.kind {
            Kind::Enqueue(_) | Kind::StartJob(_) => Doubt::LookUp,
            Kind::Call(call) if call.operation.idempotent => Doubt::Again,
            Kind::Call(call) if call.operation.lookup.is_some() => Doubt::LookUp,
            Kind::Call(_) => Doubt::Ask,
            _ => Doubt::Again,
        }
    }

    /// Whether it goes on until something that it does not do itself is over; its `timeout` is then for all of that.
    #[must_use]
    pub fn awaits(&self) -> bool {
        match &self.action.kind {
            Kind::AwaitItem(_) | Kind::AwaitJob(_) => true,
            Kind::StartJob(job) => job.wait,
            _ => false,
        }
    }

    /// The longest one attempt may take, where the step says so.
    #[must_use]
    pub fn attempt_timeout(&self) -> Option<Duration> {
        self.timeout.filter(|_| !self.awaits())
    }

    /// For how long it waits for what it awaits.
    #[must_use]
    pub fn await_timeout(&self) -> Duration {
        self.timeout.unwrap_or(AWAIT_DEFAULT)
    }
}
