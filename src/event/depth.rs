//! How deep values may be nested. What is kept of them is wrapped a few levels more, and JSON of more than 127 levels is not
//! read back.

use serde_json::Value;

/// How deep values of steps and of templates may be nested.
pub const VALUE_DEPTH_MAX: usize = 100;

/// Whether lists and mappings stand in each other more than so many times.
#[must_use]
pub fn deeper_than(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return matches!(value, Value::Array(_) | Value::Object(_)) };
    match value {
        Value::Array(items) => items.iter().any(|item| deeper_than(item, left)),
        Value::Object(map) => map.values().any(|value| deeper_than(value, left)),
        _ => false,
    }
}

/// The value with everything below [`VALUE_DEPTH_MAX`] levels as JSON text: nothing of it is lost.
#[must_use]
pub fn flattened(mut value: Value) -> Value {
    if deeper_than(&value, VALUE_DEPTH_MAX) {
        flatten(&mut value, VALUE_DEPTH_MAX);
    }
    value
}

fn flatten(value: &mut Value, levels: usize) {
    let Some(left) = levels.checked_sub(1) else {
        if matches!(value, Value::Array(_) | Value::Object(_)) {
            *value = Value::String(value.to_string());
        }
        return;
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| flatten(item, left)),
        Value::Object(map) => map.values_mut().for_each(|value| flatten(value, left)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner, "b": 2 }) })
    }

    #[test]
    fn what_is_too_deep_becomes_text_and_the_rest_stays() {
        for levels in [0, 1, VALUE_DEPTH_MAX] {
            assert_eq!(flattened(nested(levels)), nested(levels), "{levels}");
        }
        let value = flattened(nested(126));
        assert!(deeper_than(&nested(126), 125) && !deeper_than(&nested(126), 126));
        assert!(!deeper_than(&value, VALUE_DEPTH_MAX));
        let mut inner = &value;
        while let Some(next) = inner.get("a").or_else(|| inner.get(0)) {
            inner = next;
        }
        assert_eq!(inner, &json!(nested(26).to_string()));
    }
}
