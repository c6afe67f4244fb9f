//! Schemas as input fields.

use serde_json::Value;

use super::draft::{Input, InputKind};
use super::report::Part;
use super::schema::{Kind, Seen};
use crate::connectors::limits::LENGTH;

/// The most choices that are written down; a longer list is left to the service.
const CHOICES_MAX: usize = 100;

/// The longest default that is written down, in characters of JSON.
const DEFAULT_MAX: usize = 2_000;

/// The largest a pattern may be when compiled, in bytes: as expressions have it.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// An input field as a schema describes it. What cannot be checked before sending is told to `left_out`.
pub(super) fn input(name: String, required: bool, seen: &Seen<'_>, pointer: &str, left_out: &mut Vec<Part>) -> Input {
    let kind = kind(seen);
    let fits = |value: &&Value| fits(kind, value);
    let choices: Vec<Value> = seen.choices.iter().flatten().filter(|choice| fits(choice)).map(|choice| (*choice).clone()).collect();
    let scalar = !matches!(kind, InputKind::Object | InputKind::List | InputKind::File);
    let choices = if scalar && choices.len() <= CHOICES_MAX { choices } else { Vec::new() };
    let free = choices.is_empty();
    let text = free && matches!(kind, InputKind::Text);
    let number = free && matches!(kind, InputKind::Integer | InputKind::Number);
    let limit = |value: Option<&Value>| value.filter(|value| number && fits(value)).cloned();
    let (min, max) = ordered(limit(seen.minimum), limit(seen.maximum), number_of);
    let length = |value: Option<u64>| value.filter(|value| text && LENGTH.contains(value));
    let (min_length, max_length) = ordered(length(seen.min_length), length(seen.max_length), |length| *length as f64);
    let pattern = seen.pattern.filter(|_| text).and_then(|written| match pattern(written) {
        Ok(pattern) => Some(pattern),
        Err(why) => {
            let message = format!("the pattern of `{name}` is checked by the service only: {why}");
            left_out.push(Part { reason: "pattern", pointer: pointer.to_owned(), message });
            None
        }
    });
    let description = seen.description.or(seen.title).map(str::to_owned);
    let mut input = Input { name, kind, required, choices, default: None, min, max, min_length, max_length, pattern, description };
    let short = |value: &&Value| value.to_string().chars().count() <= DEFAULT_MAX;
    input.default = seen.default.filter(fits).filter(|value| may_be_said(&input, value)).filter(short).cloned();
    // What has a default need not be given.
    input.required &= input.default.is_none();
    input
}

/// Whether a value is within the limits of a field. A default beyond them is a mistake of the description; the service has its own.
fn may_be_said(input: &Input, value: &Value) -> bool {
    let among = input.choices.is_empty() || input.choices.contains(value);
    let number = value.is_number().then(|| number_of(value));
    let numbers = number.is_none_or(|n| !input.min.iter().any(|min| n < number_of(min)) && !input.max.iter().any(|max| n > number_of(max)));
    let Some(text) = value.as_str() else { return among && numbers };
    let length = text.chars().count() as u64;
    let lengths = input.min_length.is_none_or(|min| length >= min) && input.max_length.is_none_or(|max| length <= max);
    let matches = || input.pattern.as_deref().is_none_or(|pattern| regex::Regex::new(pattern).is_ok_and(|known| known.is_match(text)));
    among && lengths && matches()
}

/// Both limits, or none where they contradict each other.
fn ordered<T>(low: Option<T>, high: Option<T>, number: impl Fn(&T) -> f64) -> (Option<T>, Option<T>) {
    match (&low, &high) {
        (Some(a), Some(b)) if number(a) > number(b) => (None, None),
        _ => (low, high),
    }
}

fn number_of(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// The kind of an input field.
pub(super) fn kind(seen: &Seen<'_>) -> InputKind {
    let kinds: Vec<Kind> = seen.kinds.iter().copied().collect();
    match kinds.as_slice() {
        [Kind::Boolean] => InputKind::Boolean,
        [Kind::Integer] => InputKind::Integer,
        [Kind::Number] | [Kind::Integer, Kind::Number] => InputKind::Number,
        [Kind::Text] => match seen.format {
            Some("date-time") if seen.choices.is_none() => InputKind::DateTime,
            Some("binary") => InputKind::File,
            _ => InputKind::Text,
        },
        [Kind::List] => InputKind::List,
        [Kind::Object] => InputKind::Object,
        _ => InputKind::Any,
    }
}

/// Whether a value is one of the kind.
fn fits(kind: InputKind, value: &Value) -> bool {
    match kind {
        InputKind::Any => true,
        InputKind::Text => value.is_string(),
        InputKind::Integer => value.is_i64() || value.is_u64(),
        InputKind::Number => value.is_number(),
        InputKind::Boolean => value.is_boolean(),
        InputKind::Object => value.is_object(),
        InputKind::List => value.is_array(),
        // A moment in a description is an example of its day; a file is none.
        InputKind::DateTime | InputKind::File => false,
    }
}

/// A pattern of ECMA-262, where our regular expressions mean the same by it.
fn pattern(written: &str) -> Result<String, String> {
    // `\d` and `\w` are ASCII there, and `$` is the end of the text.
    match regex::RegexBuilder::new(written).size_limit(PATTERN_BYTES_MAX).build() {
        Ok(_) => Ok(written.to_owned()),
        Err(regex::Error::CompiledTooBig(_)) => Err("it is too large".to_owned()),
        Err(_) => Err(format!("`{}` is no regular expression of ours", crate::printable::printable(&cut(written)))),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= 80 { text.to_owned() } else { text.chars().take(79).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::connectors::import::document::Document;
    use crate::connectors::import::schema::look;
    use crate::fault::SourceText;

    fn of(schema: Value) -> (Input, Vec<Part>) {
        let source = SourceText { path: PathBuf::from("a.json"), text: json!({"openapi": "3.0.0"}).to_string() };
        let document = Document::read(&Arc::new(source)).expect("reads");
        let mut left_out = Vec::new();
        let seen = look(&document, &schema).expect("looks");
        (input("x".to_owned(), true, &seen, "#/x", &mut left_out), left_out)
    }

    #[test]
    fn kinds_limits_and_choices_are_taken() {
        let (size, none) = of(json!({"type": "string", "enum": ["S", "M", 5], "default": "S", "description": "how large"}));
        assert_eq!((size.kind, size.required, size.default, none.len()), (InputKind::Text, false, Some("S".into()), 0));
        assert_eq!((size.choices, size.description.as_deref()), (vec!["S".into(), "M".into()], Some("how large")));
        let (count, _) = of(json!({"type": "integer", "minimum": 1, "maximum": 10, "default": "5"}));
        assert_eq!((count.kind, count.min, count.max, count.default), (InputKind::Integer, Some(1.into()), Some(10.into()), None));
        let (odd, _) = of(json!({"type": "integer", "minimum": 10, "maximum": 1}));
        assert_eq!((odd.min, odd.max), (None, None), "limits that nothing meets");
        for odd in [
            json!({"type": "integer", "minimum": 1, "default": 0}),
            json!({"type": "integer", "maximum": 1, "default": 2}),
            json!({"type": "string", "minLength": 2, "default": ""}),
            json!({"type": "string", "pattern": "^a", "default": "b"}),
            json!({"type": "string", "enum": ["a"], "default": "b"}),
        ] {
            assert_eq!(of(odd.clone()).0.default, None, "could never be said: {odd}");
        }
        let (page, _) = of(json!({"type": "integer", "enum": [6, 2], "maximum": 5}));
        assert_eq!((page.choices.len(), page.max), (2, None), "the choices say it");
        let (long, _) = of(json!({"type": "string", "minLength": 1, "maxLength": 2_147_483_647}));
        assert_eq!((long.min_length, long.max_length), (Some(1), None), "as good as none");
        let (name, _) = of(json!({"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]+$"}));
        assert_eq!((name.min_length, name.max_length, name.pattern.as_deref()), (Some(1), Some(5), Some("^[a-z]+$")));
        for (schema, kind) in [
            (json!({}), InputKind::Any),
            (json!({"type": ["string", "integer"]}), InputKind::Any),
            (json!({"type": "number"}), InputKind::Number),
            (json!({"type": "boolean"}), InputKind::Boolean),
            (json!({"type": "string", "format": "date-time"}), InputKind::DateTime),
            (json!({"type": "string", "format": "binary"}), InputKind::File),
            (json!({"type": "string", "format": "date"}), InputKind::Text),
            (json!({"items": {}}), InputKind::List),
            (json!({"additionalProperties": {"type": "string"}}), InputKind::Object),
        ] {
            assert_eq!(of(schema.clone()).0.kind, kind, "{schema}");
        }
    }

    #[test]
    fn a_pattern_that_is_not_ours_is_told() {
        let (field, left_out) = of(json!({"type": "string", "pattern": "^(?!a)b"}));
        assert_eq!((field.pattern, left_out.len()), (None, 1));
        assert_eq!((left_out[0].reason, left_out[0].pointer.as_str()), ("pattern", "#/x"));
    }
}
