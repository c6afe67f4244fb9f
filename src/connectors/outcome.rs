//! From an answer to what it means: a value, or why there is none.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::call::pruned;
use super::operation::{After, Operation};
use super::request::CallResponse;
use super::{Access, Connector};
use crate::expr::{At, EvalError, Expression, RESULT_MAX, Scope, Template, explain, size};
use crate::time::Timestamp;

/// What an answer means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// It is done; the curated value.
    Value(Value),
    /// The file says that it is to be tried again.
    Retry(String),
    /// The file says that trying again does not help; or the answer has not what the file promises.
    Dead(String),
    /// The status speaks for itself; with what the service says of it, where the file tells where that stands.
    Refused(Option<String>),
}

impl Connector {
    /// What an answer means. Texts are masked.
    #[must_use]
    pub fn outcome(&self, operation: &Operation, input: &Value, access: &Access, response: &CallResponse, now: Timestamp) -> Meaning {
        match self.judged(operation, input, access.config(), response, now) {
            Meaning::Value(value) => Meaning::Value(value),
            Meaning::Retry(message) => Meaning::Retry(access.mask(&message)),
            Meaning::Dead(message) => Meaning::Dead(access.mask(&message)),
            Meaning::Refused(message) => Meaning::Refused(message.map(|message| access.mask(&message))),
        }
    }

    fn judged(&self, operation: &Operation, input: &Value, config: &Value, response: &CallResponse, now: Timestamp) -> Meaning {
        let mut response = Cow::Borrowed(response);
        let errors = [&operation.errors, &self.errors];
        let listed = |pick: fn(&super::Errors) -> &[super::StatusMatch]| {
            // An exact number says more than a class, an operation more than its connector.
            let exact = |m: &super::StatusMatch| matches!(m, super::StatusMatch::One(_));
            let rank = errors.iter().enumerate().flat_map(|(at, errors)| pick(errors).iter().map(move |m| (at, m)));
            rank.filter(|(_, m)| m.covers(response.status)).map(|(at, m)| (!exact(m), at)).min()
        };
        let ranks = [listed(|e| &e.accept), listed(|e| &e.retry), listed(|e| &e.dead)];
        let best = ranks.iter().flatten().min();
        let chosen = ranks.iter().position(|rank| rank.is_some() && rank.as_ref() == best);
        let success = chosen.map_or((200..300).contains(&response.status), |chosen| chosen == 0);
        for hook in self.after.iter().chain(&operation.after) {
            if let Some(meaning) = after(hook, &mut response, success, input, config, now) {
                return meaning;
            }
        }
        if success {
            return value(operation, response.seen(), input, config, now);
        }
        let scope = scope(response.seen(), input, config, now);
        let message = errors.iter().find_map(|errors| text(errors.message.as_ref()?, &scope));
        let told = || message.clone().map_or_else(|| format!("status {}", response.status), |m| format!("status {}: {m}", response.status));
        match chosen {
            Some(1) => Meaning::Retry(told()),
            Some(2) => Meaning::Dead(told()),
            _ => Meaning::Refused(message),
        }
    }

    /// Whether an unknown outcome was a good one: `value` is what the look-up's operation answered. The step's value then.
    ///
    /// # Errors
    /// The condition cannot be judged, with the reason.
    pub fn found(
        &self,
        operation: &Operation,
        value: &Value,
        input: &Value,
        config: &Value,
        now: Timestamp,
    ) -> Result<Option<Value>, String> {
        let Some(lookup) = &operation.lookup else { return Ok(None) };
        let scope = Scope::new().bind("config", config).bind("input", input).bind("value", value).at(now);
        match lookup.found.holds(&scope) {
            Ok(false) | Err(EvalError::Missing { .. }) => Ok(None),
            Err(error) => Err(explain(error)),
            Ok(true) => match &lookup.value {
                None => Ok(Some(value.clone())),
                Some(tree) => tree.render(&scope, &At::root("lookup").field("value")).map(Some).map_err(|fault| fault.to_string()),
            },
        }
    }

    /// The input of the operation that looks up an unknown outcome.
    ///
    /// # Errors
    /// A value that cannot be rendered.
    pub fn lookup_input(
        &self,
        operation: &Operation,
        input: &Value,
        config: &Value,
        now: Timestamp,
    ) -> Result<Map<String, Value>, crate::expr::ExpressionFault> {
        let with = operation.lookup.as_ref().map(|lookup| lookup.with.as_slice()).unwrap_or_default();
        let scope = Scope::new().bind("config", config).bind("input", input).at(now);
        let at = At::root("lookup");
        with.iter().map(|(name, tree)| Ok((name.clone(), tree.render(&scope, &at.field("with").field(name))?))).collect()
    }
}

fn scope<'a>(response: &'a Value, input: &'a Value, config: &'a Value, now: Timestamp) -> Scope<'a> {
    Scope::new().bind("response", response).bind("input", input).bind("config", config).at(now)
}

/// A text, where all of it can be rendered.
fn text(template: &Template, scope: &Scope<'_>) -> Option<String> {
    template.render_text(scope, |_, value| value).ok().filter(|text| !text.trim().is_empty())
}

/// Whether a hook is meant. What is missing in the answer makes it not meant.
fn is_meant(condition: Option<&Expression>, scope: &Scope<'_>, success: bool) -> Result<bool, EvalError> {
    match condition.map(|condition| condition.holds(scope)) {
        None => Ok(true),
        Some(Ok(holds)) => Ok(holds),
        Some(Err(EvalError::Missing { .. })) => Ok(false),
        // The answer of a refusal need not have the shape of a good one.
        Some(Err(EvalError::Type { .. })) if !success => Ok(false),
        Some(Err(error)) => Err(error),
    }
}

fn after(
    hook: &After,
    response: &mut Cow<'_, CallResponse>,
    success: bool,
    input: &Value,
    config: &Value,
    now: Timestamp,
) -> Option<Meaning> {
    let scope = scope(response.seen(), input, config, now);
    match is_meant(hook.condition.as_ref(), &scope, success) {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => return Some(Meaning::Dead(format!("`after` cannot be judged: {}", explain(error)))),
    }
    let told = |template: &Template| text(template, &scope).unwrap_or_else(|| format!("the answer fits `after`: {}", template.text()));
    if let Some(template) = &hook.fail {
        return Some(Meaning::Dead(told(template)));
    }
    if let Some(template) = &hook.retry {
        return Some(Meaning::Retry(told(template)));
    }
    let tree = hook.body.as_ref().filter(|_| success)?;
    match tree.render(&scope, &At::root("after").field("body")) {
        Ok(body) => {
            let changed = response.with_body(pruned(tree, body));
            *response = Cow::Owned(changed);
            None
        }
        Err(fault) => Some(Meaning::Dead(fault.to_string())),
    }
}

/// The curated value of a good answer.
fn value(operation: &Operation, seen: &Value, input: &Value, config: &Value, now: Timestamp) -> Meaning {
    let body = seen.get("body").unwrap_or(&Value::Null);
    let mut root = body;
    for (depth, part) in operation.output.root.iter().enumerate() {
        let next = match root {
            Value::Object(map) => map.get(part),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        match next {
            Some(next) => root = next,
            None => {
                let path = operation.output.root[..=depth].join(".");
                return Meaning::Dead(format!("the answer has no `{path}`, which `output.root` asks for"));
            }
        }
    }
    let curated = match root {
        _ if operation.output.fields.is_empty() => Ok(root.clone()),
        Value::Array(items) => items.iter().map(|item| entry(operation, item, seen, input, config, now)).collect(),
        one => entry(operation, one, seen, input, config, now),
    };
    match curated {
        Ok(value) if size(&value) > RESULT_MAX => {
            Meaning::Dead(format!("the value is larger than {RESULT_MAX} bytes; pick what is needed with `output`"))
        }
        Ok(value) => Meaning::Value(value),
        Err(message) => Meaning::Dead(message),
    }
}

fn entry(operation: &Operation, entry: &Value, seen: &Value, input: &Value, config: &Value, now: Timestamp) -> Result<Value, String> {
    let scope = scope(seen, input, config, now).bind("entry", entry);
    let at = At::root("output");
    let fields = operation.output.fields.iter().map(|(name, tree)| {
        let value = tree.render(&scope, &at.field("fields").field(name)).map_err(|fault| fault.to_string())?;
        Ok((name.clone(), value))
    });
    fields.collect::<Result<Map<_, _>, String>>().map(Value::Object)
}
