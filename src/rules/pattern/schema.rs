//! Patterns as a JSON Schema, for editors.

use serde_json::{Map, Value, json};

use super::leaf::OPERATORS;
use crate::yaml::shape::reference;

/// The schema of a pattern; stands under the name `pattern`, because patterns hold patterns.
#[must_use]
pub fn schema() -> Value {
    let operators: Map<String, Value> = OPERATORS.iter().map(|name| ((*name).to_owned(), operand(name))).collect();
    let alternative = json!({
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {"type": "object", "properties": operators, "additionalProperties": false, "minProperties": 1, "maxProperties": 1}
        ]
    });
    let leaf = json!({"type": "array", "minItems": 1, "items": alternative});
    json!({
        "description": "Fields of the event's data; each leaf is a list of alternatives.",
        "type": "object",
        "minProperties": 1,
        "properties": {
            "$or": {
                "description": "At least two patterns, of which one must match.",
                "anyOf": [{"type": "array", "minItems": 2, "items": reference("pattern")}, leaf, reference("pattern")]
            }
        },
        "additionalProperties": {"anyOf": [leaf, reference("pattern")]}
    })
}

fn operand(name: &str) -> Value {
    let text = json!({"type": "string"});
    match name {
        "exists" => json!({"type": "boolean"}),
        "numeric" => json!({"type": "array", "minItems": 2, "maxItems": 4, "items": {"type": ["string", "number"]}}),
        "anything-but" => json!({"type": ["string", "number", "array", "object"]}),
        "prefix" | "suffix" => json!({"type": ["string", "object"]}),
        _ => text,
    }
}
