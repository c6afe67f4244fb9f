//! A JSON value whose strings may hold `${…}`.

use serde_json::{Map, Value};

use super::at::{At, ExpressionFault};
use super::{RESULT_MAX, Scope, Template};
use crate::event::{VALUE_DEPTH_MAX, deeper_than};

/// A value as written.
#[derive(Clone, Debug)]
pub enum Tree {
    /// Nothing in it is to be evaluated.
    Constant(Value),
    /// A string with `${…}`.
    Text(Template),
    /// A list.
    List(Vec<Self>),
    /// A mapping; keys stand as they are.
    Map(Vec<(String, Self)>),
}

impl Tree {
    /// The value, at most [`RESULT_MAX`] bytes of it.
    ///
    /// # Errors
    /// The first part that gives no value, with its place.
    pub fn render(&self, scope: &Scope<'_>, at: &At<'_>) -> Result<Value, ExpressionFault> {
        let mut room = RESULT_MAX;
        let value = self.fill(scope, at, &mut room)?;
        if deeper_than(&value, VALUE_DEPTH_MAX) {
            return Err(at.fault(format!("the value is nested deeper than {VALUE_DEPTH_MAX} levels")));
        }
        Ok(value)
    }

    fn fill(&self, scope: &Scope<'_>, at: &At<'_>, room: &mut usize) -> Result<Value, ExpressionFault> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Text(template) => {
                let value = template.render(scope).map_err(|error| at.failed(error))?;
                *room = room
                    .checked_sub(weight(&value))
                    .ok_or_else(|| at.fault(format!("the value is larger than {RESULT_MAX} bytes with all its parts")))?;
                Ok(value)
            }
            Self::List(items) => {
                let values = items.iter().enumerate().map(|(i, item)| item.fill(scope, &at.index(i), room));
                values.collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Self::Map(entries) => {
                let values = entries.iter().map(|(key, item)| Ok((key.clone(), item.fill(scope, &at.field(key), room)?)));
                values.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
        }
    }

    /// The paths in all its parts.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        match self {
            Self::Constant(_) => Vec::new(),
            Self::Text(template) => template.references(),
            Self::List(items) => items.iter().flat_map(Self::references).collect(),
            Self::Map(entries) => entries.iter().flat_map(|(_, item)| item.references()).collect(),
        }
    }
}

/// Roughly the bytes of a value as JSON; evaluation has bounded it already.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(key, item)| key.len() + 4 + weight(item)).sum::<usize>() + 2,
        _ => 8,
    }
}
