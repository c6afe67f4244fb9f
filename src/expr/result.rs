//! The result of an evaluation as JSON.

use cel::common::types::{CelBool, CelBytes, CelDouble, CelInt, CelMap, CelOptional, CelString, CelUInt, Kind};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

use super::functions::{as_text, text_of_time};
use super::{EvalError, RESULT_MAX};

/// The result of an evaluation as JSON, at most [`RESULT_MAX`] bytes of it.
pub(super) fn take(val: &dyn Val) -> Result<Value, EvalError> {
    let mut room = RESULT_MAX;
    to_json(val, &mut room)
}

fn to_json(val: &dyn Val, room: &mut usize) -> Result<Value, EvalError> {
    let mut use_up = |bytes: usize| match room.checked_sub(bytes + 2) {
        Some(left) => {
            *room = left;
            Ok(())
        }
        None => Err(EvalError::Limit { limit: format!("a result of {RESULT_MAX} bytes") }),
    };
    match val.get_type().kind() {
        Kind::String => match val.downcast_ref::<CelString<'_>>() {
            Some(text) => {
                use_up(text.inner().len())?;
                Ok(Value::String(text.inner().to_owned()))
            }
            None => Err(no_json(val)),
        },
        Kind::List => {
            use_up(0)?;
            let mut list = Vec::new();
            let mut items = val.as_iterable().ok_or_else(|| no_json(val))?.iter();
            while let Some(item) = items.next() {
                list.push(to_json(item, room)?);
            }
            Ok(Value::Array(list))
        }
        Kind::Map => {
            use_up(0)?;
            let mut keys = sorted_keys(val).ok_or_else(|| no_json(val))?;
            let indexer = val.as_indexer().ok_or_else(|| no_json(val))?;
            let mut map = Map::new();
            for (text, key) in keys.drain(..) {
                *room = room
                    .checked_sub(text.len() + 2)
                    .ok_or_else(|| EvalError::Limit { limit: format!("a result of {RESULT_MAX} bytes") })?;
                let value = indexer.get(key).map_err(|_| no_json(val))?;
                map.insert(text, to_json(value.as_ref(), room)?);
            }
            Ok(Value::Object(map))
        }
        _ => {
            use_up(8)?;
            scalar(val)
        }
    }
}

/// The keys of a map: a JSON object's as they stand, those of a literal (which has no order) sorted.
fn sorted_keys<'b>(val: &'b dyn Val) -> Option<Vec<(String, &'b (dyn Val + 'b))>> {
    let mut keys = Vec::new();
    let mut all = val.as_iterable()?.iter();
    while let Some(key) = all.next() {
        keys.push((as_text(key)?, key));
    }
    if val.downcast_ref::<CelMap<'_>>().is_some() {
        keys.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Some(keys)
}

fn scalar(val: &dyn Val) -> Result<Value, EvalError> {
    if let Some(b) = val.downcast_ref::<CelBool>() {
        return Ok(Value::Bool(*b.inner()));
    }
    if let Some(int) = val.downcast_ref::<CelInt>() {
        return Ok(Value::from(*int.inner()));
    }
    if let Some(uint) = val.downcast_ref::<CelUInt>() {
        return Ok(Value::from(*uint.inner()));
    }
    if let Some(double) = val.downcast_ref::<CelDouble>() {
        let finite = Number::from_f64(*double.inner()).map(Value::Number);
        return finite.ok_or_else(|| EvalError::of_type("the result is no finite number"));
    }
    if let Some(optional) = val.downcast_ref::<CelOptional<'_>>() {
        return match optional.option() {
            Some(inner) => take(inner),
            None => Err(EvalError::Missing { path: String::new() }),
        };
    }
    match val.get_type().kind() {
        Kind::NullType => Ok(Value::Null),
        Kind::Timestamp | Kind::Duration => text_of_time(val).map(Value::String).ok_or_else(|| no_json(val)),
        _ => Err(no_json(val)),
    }
}

fn no_json(val: &dyn Val) -> EvalError {
    if val.downcast_ref::<CelBytes<'_>>().is_some() {
        return EvalError::Type {
            message: "the result is bytes".to_owned(), help: Some("use base64.encode(…) or string(…)".to_owned())
        };
    }
    EvalError::of_type(format!("the result is a {}, which is no value for JSON", val.get_type().name()))
}
