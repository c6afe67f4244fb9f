//! Evaluation: a plain path is looked up in the JSON; anything else runs in `cel` over borrowed values.

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::Value;

use super::compile::Code;
use super::functions::{env, timestamp};
use super::result::take;
use super::value::lend;
use super::{EvalError, RESULT_MAX, Scope, budget, failure, stack};

/// The value as JSON.
pub(super) fn value(code: &Code, text: &str, scope: &Scope<'_>) -> Result<Value, EvalError> {
    match code {
        Code::Path(path) => {
            let found = lookup(path, scope)?;
            match found {
                Found::Json(value) if size(value) > RESULT_MAX => {
                    Err(EvalError::Limit { limit: format!("a result of {RESULT_MAX} bytes") })
                }
                Found::Json(value) => Ok(value.clone()),
                Found::Now(stamp) => Ok(Value::String(stamp.to_string())),
            }
        }
        Code::Cel { tree, deep } => in_cel(tree, *deep, text, scope, |value| match take(value) {
            Err(EvalError::Missing { .. }) => Err(EvalError::Missing { path: text.trim().to_owned() }),
            other => other,
        }),
    }
}

/// The value as a condition.
pub(super) fn condition(code: &Code, text: &str, scope: &Scope<'_>) -> Result<bool, EvalError> {
    let no_condition = |kind: &str| EvalError::Type {
        message: format!("the condition is {kind}; expected true or false"),
        help: Some("compare it with something".to_owned()),
    };
    match code {
        Code::Path(path) => match lookup(path, scope)? {
            Found::Json(Value::Bool(holds)) => Ok(*holds),
            Found::Json(Value::Null) => Err(EvalError::Missing { path: path.join(".") }),
            Found::Json(other) => Err(no_condition(kind(other))),
            Found::Now(_) => Err(no_condition("a timestamp")),
        },
        Code::Cel { tree, deep } => in_cel(tree, *deep, text, scope, |value| match value.downcast_ref::<CelBool>() {
            Some(holds) => Ok(*holds.inner()),
            None if value.get_type().name() == "null_type" => Err(EvalError::Missing { path: text.trim().to_owned() }),
            None => Err(no_condition(super::functions::people(value.get_type().name()))),
        }),
    }
}

/// What a JSON value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

enum Found<'a> {
    Json(&'a Value),
    Now(crate::time::Timestamp),
}

fn lookup<'a>(path: &[String], scope: &Scope<'a>) -> Result<Found<'a>, EvalError> {
    let missing = |upto: usize| EvalError::Missing { path: path[..=upto].join(".") };
    let Some(mut value) = scope.get(&path[0]) else {
        return match scope.now {
            Some(now) if path[0] == "now" && path.len() == 1 => Ok(Found::Now(now)),
            Some(_) if path[0] == "now" => Err(EvalError::of_type("`now` has no fields")),
            _ => Err(missing(0)),
        };
    };
    for (at, name) in path.iter().enumerate().skip(1) {
        value = match value {
            Value::Object(map) => map.get(name).ok_or_else(|| missing(at))?,
            Value::Null => return Err(missing(at)),
            // A body that is no object has none of the fields that rules ask for.
            _ if at == 1 => return Err(missing(at)),
            other => {
                let message = format!("`{}` is {}; it has no field `{name}`", path[..at].join("."), kind(other));
                let list = matches!(other, Value::Array(_)).then(|| "take one element with [0], or test them with exists(x, …)".to_owned());
                return Err(EvalError::Type { message, help: list });
            }
        };
    }
    Ok(Found::Json(value))
}

/// Roughly the bytes of a value as JSON, counted no further than [`RESULT_MAX`].
#[must_use]
pub fn size(value: &Value) -> usize {
    let mut total = 0_usize;
    let mut open = vec![value];
    while let Some(next) = open.pop() {
        total = total.saturating_add(match next {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                open.extend(items);
                2
            }
            Value::Object(map) => {
                open.extend(map.values());
                map.keys().map(|key| key.len() + 4).sum::<usize>() + 2
            }
            _ => 8,
        });
        if total > RESULT_MAX {
            break;
        }
    }
    total
}

struct Names<'s, 'a>(&'s Scope<'a>);

impl VariableResolver for Names<'_, '_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        match self.0.get(name) {
            Some(value) => Some(CowVal::Owned(lend(value))),
            None if name == "now" => self.0.now.and_then(timestamp).map(CowVal::Owned),
            None => None,
        }
    }
}

fn in_cel<T: Send>(
    tree: &IdedExpr,
    deep: bool,
    text: &str,
    scope: &Scope<'_>,
    read: impl FnOnce(&dyn Val) -> Result<T, EvalError> + Send,
) -> Result<T, EvalError> {
    let evaluate = || {
        let names = Names(scope);
        let mut context = cel::Context::with_env(std::sync::Arc::clone(env()));
        context.set_variable_resolver(&names);
        budget::open();
        let result = cel::Value::resolve_val(tree, &context);
        let answer = match result {
            Ok(value) => read(value.as_ref()),
            Err(error) => Err(failure::explain(&error, tree, text, scope)),
        };
        match budget::over() {
            Some(limit) => Err(EvalError::Limit { limit: limit.to_owned() }),
            None => answer,
        }
    };
    stack::run(deep, evaluate).unwrap_or_else(|stack::Broken| Err(EvalError::of_type("the expression cannot be evaluated")))
}
