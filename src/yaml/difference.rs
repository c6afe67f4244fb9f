//! How what came differs from what a test in a file expects.

use serde_json::{Value, json};

/// One line per path in which `found` lacks what `wanted` says.
#[must_use]
pub fn differences(wanted: &Value, found: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare(wanted, Some(found), &mut String::new(), &mut lines);
    lines
}

fn compare(wanted: &Value, found: Option<&Value>, path: &mut String, lines: &mut Vec<String>) {
    let length = path.len();
    match (wanted, found) {
        (Value::Object(wanted), Some(Value::Object(found))) => {
            for (key, value) in wanted {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                compare(value, found.get(key), path, lines);
                path.truncate(length);
            }
        }
        (Value::Array(wanted), Some(Value::Array(found))) if wanted.len() == found.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                path.push_str(&format!("[{index}]"));
                compare(wanted, Some(found), path, lines);
                path.truncate(length);
            }
        }
        (Value::Null, None | Some(Value::Null)) => {}
        (Value::Number(a), Some(Value::Number(b))) if a == b || a.as_f64() == b.as_f64() && !(a.is_i64() && b.is_i64()) => {}
        (wanted, Some(found)) if wanted == found => {}
        (wanted, found) => {
            let got = found.map_or_else(|| "nothing".to_owned(), short);
            lines.push(format!("{path}: expected {}, got {got}", short(wanted)));
        }
    }
}

/// A value for a message: JSON, cut where it is long.
#[must_use]
pub fn short(value: &Value) -> String {
    const LENGTH_MAX: usize = 200;
    let text = if *value == json!(null) { "null".to_owned() } else { value.to_string() };
    match text.char_indices().nth(LENGTH_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
