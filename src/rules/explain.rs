//! Why a rule did not match.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::pattern::short;
use super::render::event_scope;
use super::{ExpressionFault, Mode, Rule};
use crate::event::{Event, RuleName};
use crate::expr::{EvalError, Expression, Scope, explain as words};
use crate::time::Timestamp;

/// Why a rule did not match, or that it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The rule's name.
    pub rule: RuleName,
    /// Whether it matched.
    pub matched: bool,
    /// The first condition that failed; `None` when it matched.
    pub because: Option<Because>,
}

/// The first condition that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Because {
    /// Path of the condition: `match.QueueItem.ProcessingException.Type`, `when`, `events`, `sources`, `queues`, `mode`, `dedupe`, `expires`.
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
    Missing,
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
            Err(EvalError::Missing { .. }) => When::Missing,
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

    fn unmet_when(&self, event: &Event, vars: &Value, now: Timestamp) -> Option<Because> {
        let when = self.when.as_ref()?;
        let json = self.when_wants_event.then(|| event.to_json());
        let scope = event_scope(event, json.as_ref(), now).bind("vars", vars).bind("rule", &self.as_value);
        let answer = when.holds(&scope);
        if answer == Ok(true) {
            return None;
        }
        let part = failing_part(when, &answer, &scope);
        let (found, hint) = match answer {
            Ok(_) => (seen(&part, &scope).unwrap_or(json!(false)), hint(&part, &scope)),
            Err(error @ EvalError::Missing { .. }) => (seen(&part, &scope).unwrap_or(Value::Null), Some(words(error))),
            Err(error) => {
                let hint = format!("{}; such an event gives a run that is dead at once", words(error));
                (seen(&part, &scope).unwrap_or(Value::Null), Some(hint))
            }
        };
        Some(Because { path: "when".to_owned(), expected: json!(part.text().trim()), found, hint })
    }
}

/// Of what `&&` joins the first part that gives the whole its answer.
fn failing_part(when: &Expression, answer: &Result<bool, EvalError>, scope: &Scope<'_>) -> Expression {
    let same = |part: &Expression| match (answer, part.holds(scope)) {
        (Ok(_), found) => found == Ok(false),
        (Err(error), Err(found)) => std::mem::discriminant(error) == std::mem::discriminant(&found),
        (Err(_), Ok(_)) => false,
    };
    let conditions = when.conditions();
    conditions.into_iter().find(|part| same(part)).unwrap_or_else(|| when.clone())
}

/// What a condition saw: the values of its paths, and the sides of a comparison where they are more than a path. Nothing
/// where there are none.
fn seen(part: &Expression, scope: &Scope<'_>) -> Option<Value> {
    let mut seen = Map::new();
    let mut add = |side: &Expression| {
        if !side.references().is_empty()
            && let Ok(value) = side.eval(scope)
        {
            seen.insert(side.text().trim().to_owned(), short(&value));
        }
    };
    if let Some((left, _, right)) = part.comparison() {
        [left, right].iter().for_each(&mut add);
    }
    part.references().iter().filter_map(|path| Expression::compile(path).ok()).for_each(|path| add(&path));
    (!seen.is_empty()).then_some(Value::Object(seen))
}

/// A trap that a comparison of two texts fell into.
fn hint(part: &Expression, scope: &Scope<'_>) -> Option<String> {
    let (left, operator, right) = part.comparison()?;
    let (Ok(Value::String(left)), Ok(Value::String(right))) = (left.eval(scope), right.eval(scope)) else { return None };
    match operator {
        "==" if left.to_lowercase() == right.to_lowercase() => {
            Some("the two differ only in case; compare x.lower() where that does not matter".to_owned())
        }
        "==" if left.trim() == right.trim() => Some("the two differ only in spaces at the ends; compare x.trim()".to_owned()),
        "<" | "<=" | ">" | ">=" if left.parse::<f64>().is_ok() && right.parse::<f64>().is_ok() => {
            Some("both are text and compared by their characters; convert them: double(…)".to_owned())
        }
        _ => None,
    }
}
