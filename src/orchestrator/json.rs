//! Orchestrator's JSON as it comes: with a byte order mark, in any casing, numbers as text.

use serde_json::Value;

pub use crate::event::read_json as read;

/// A field of an object whatever its casing: `errorCode`, `ErrorCode`.
pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(name).or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, found)| found)).filter(|v| !v.is_null())
}

/// A text field that says something.
pub fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    field(value, name)?.as_str().filter(|text| !text.trim().is_empty())
}

/// A number that may be written as text.
pub fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_found_in_any_casing() {
        let value = json!({"ErrorCode": "1002", "message": "m", "null": null});
        assert_eq!(field(&value, "errorCode").and_then(integer), Some(1002));
        assert_eq!(text(&value, "Message"), Some("m"));
        assert_eq!(field(&value, "null"), None);
        assert_eq!(field(&json!([1]), "a"), None);
    }
}
