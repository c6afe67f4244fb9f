//! Why a rule did not match.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::at::explain as words;
use super::render::event_scope;
use super::{ExpressionFault, Mode, Rule};
use crate::event::{Event, RuleName};
use crate::expr::{EvalError, Expression};
use crate::time::Timestamp;

/// Why a rule did not match, or that it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule's name.
    pub rule: RuleName,
    /// Whether it matched.
    pub matched: bool,
    /// The first condition that failed; `None` when it matched.
    pub because: Option<Because>,
}

/// The first condition that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Because {
    /// Path of the condition: `match.QueueItem.ProcessingException.Type`, `when`, `events`, `sources`, `queues`, `mode`.
    pub path: String,
    /// What the rule asks for.
    pub expected: Value,
    /// What the event has; null where it has nothing.
    pub found: Value,
    /// A named trap that fits, if one does.
    pub hint: Option<String>,
}

/// What `when` says of an event.
pub(super) enum When {
    /// It holds, or there is none.
    Holds,
    /// It does not.
    Not,
    /// A field it needs is missing.
    Missing(EvalError),
    /// It cannot be evaluated for this event.
    Fault(ExpressionFault),
}

impl Rule {
    /// Evaluates `when`.
    pub(super) fn when(&self, event: &Event, vars: &Value, now: Timestamp) -> When {
        let Some(when) = &self.when else { return When::Holds };
        let json = self.when_wants_event.then(|| event.to_json());
        let scope = event_scope(event, json.as_ref(), now).bind("vars", vars).bind("rule", &self.as_value);
        match when.holds(&scope) {
            Ok(true) => When::Holds,
            Ok(false) => When::Not,
            Err(error @ EvalError::Missing { .. }) => When::Missing(error),
            Err(error) => When::Fault(ExpressionFault { place: "when".to_owned(), message: words(error) }),
        }
    }

    /// What `when` says where everything before it holds.
    pub(super) fn when_if_met(&self, event: &Event, vars: &Value, now: Timestamp) -> When {
        let lower = event.event_type().to_ascii_lowercase();
        let fits = self.filter.meets(event, &lower) && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(event.data()));
        if fits { self.when(event, vars, now) } else { When::Not }
    }

    /// The first condition that the event fails.
    pub(super) fn first_failure(&self, event: &Event, vars: &Value, now: Timestamp) -> Option<Because> {
        if self.mode == Mode::Off {
            return Some(Because {
                path: "mode".to_owned(),
                expected: json!(["live", "shadow"]),
                found: json!("off"),
                hint: Some("the rule is switched off".to_owned()),
            });
        }
        self.first_unmet(event, vars, now)
    }

    /// As [`Rule::first_failure`], whatever the mode.
    pub(super) fn first_unmet(&self, event: &Event, vars: &Value, now: Timestamp) -> Option<Because> {
        let of_pattern = || self.pattern.as_ref().and_then(|pattern| pattern.explain(event.data()));
        self.filter.refuses(event).or_else(of_pattern).or_else(|| self.unmet_when(event, vars, now))
    }

    /// The values that `when` saw, by path; false where it names none.
    fn seen(&self, event: &Event, vars: &Value, now: Timestamp) -> Value {
        let Some(when) = &self.when else { return json!(false) };
        let json = self.when_wants_event.then(|| event.to_json());
        let scope = event_scope(event, json.as_ref(), now).bind("vars", vars).bind("rule", &self.as_value);
        let value =
            |path: &String| Expression::compile(path).ok()?.eval(&scope).ok().filter(|value| !value.is_object() && !value.is_array());
        let seen: Map<String, Value> = when.references().into_iter().filter_map(|path| value(&path).map(|v| (path, v))).collect();
        if seen.is_empty() { json!(false) } else { Value::Object(seen) }
    }

    fn unmet_when(&self, event: &Event, vars: &Value, now: Timestamp) -> Option<Because> {
        let text = self.when.as_ref().map(|when| when.text().trim().to_owned());
        let because = |found: Value, hint: Option<String>| Because { path: "when".to_owned(), expected: json!(text), found, hint };
        match self.when(event, vars, now) {
            When::Holds => None,
            When::Fault(fault) => {
                Some(because(Value::Null, Some(format!("{}; such an event gives a run that is dead at once", fault.message))))
            }
            When::Not => Some(because(self.seen(event, vars, now), None)),
            When::Missing(error) => Some(because(Value::Null, Some(words(error)))),
        }
    }
}
