//! Reading the fields that a call says.

use super::decode::Decoder;
use super::limits::{FIELDS_MAX, LENGTH};
use super::operation::InputField;
use super::operation_read::{DEFAULT, kind, number};
use super::{read, shapes};
use crate::expr::{REGEX_MAX, Tree};
use crate::yaml::{Fields, Node};

/// Reads `input` of an operation.
pub(super) fn input(operation: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Vec<InputField>> {
    let Some(node) = operation.get("input") else { return Some(Vec::new()) };
    let Some(entries) = node.as_map().filter(|entries| entries.len() <= FIELDS_MAX) else {
        let message = format!("`input` is {}; expected a mapping of at most {FIELDS_MAX} fields", node.kind());
        decoder.error("wrong-type", &node.place, message);
        return None;
    };
    let read: Vec<_> = entries
        .iter()
        .map(|(key, value)| {
            let name = read::plain_name(&key.name, "an input", &key.place, decoder.faults);
            let field = field(value, &key.name, decoder)?;
            Some(InputField { name: name?, place: key.place.clone(), ..field })
        })
        .collect();
    read.into_iter().collect()
}

fn field(node: &Node, name: &str, decoder: &mut Decoder<'_>) -> Option<InputField> {
    let fields = Fields::read(node, &format!("input `{name}`"), &shapes::INPUT, decoder.faults)?;
    let kind = kind(&fields, decoder);
    let required = fields.boolean("required", decoder.faults).unwrap_or(false);
    let default = decoder.seeing(DEFAULT, |decoder| fields.get("default").map_or(Some(None), |node| decoder.tree(node).map(Some)));
    let choices = match fields.get("enum") {
        None => Some(Vec::new()),
        Some(node) => match node.as_list() {
            Some(items) if !items.is_empty() => Some(items.iter().map(Node::to_json).collect()),
            _ => {
                decoder.error("wrong-type", &node.place, format!("`enum` is {}; expected a list of values", node.kind()));
                None
            }
        },
    };
    let (min, max) = (number(&fields, "min", decoder), number(&fields, "max", decoder));
    let min_length = fields.integer("min_length", LENGTH, decoder.faults);
    let max_length = fields.integer("max_length", LENGTH, decoder.faults);
    let pattern = match fields.text("pattern", decoder.faults) {
        None => Some(None),
        Some((text, place)) => match regex::RegexBuilder::new(text).size_limit(REGEX_MAX).build() {
            Ok(pattern) => Some(Some(pattern)),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                decoder.error("pattern", place, format!("`pattern` is no regular expression: {why}"));
                None
            }
        },
    };
    let text = |key: &str, decoder: &mut Decoder<'_>| fields.text(key, decoder.faults).map(|(text, _)| text.to_owned());
    let (label, description) = (text("label", decoder), text("description", decoder));
    let primary = fields.boolean("primary", decoder.faults).unwrap_or(false);
    let field = InputField {
        name: name.into(),
        kind: kind?,
        required,
        default: default?,
        choices: choices?,
        min: min?,
        max: max?,
        min_length,
        max_length,
        pattern: pattern?,
        label,
        description,
        primary,
        place: node.place.clone(),
    };
    consistent(&field, &fields, decoder).then_some(field)
}

/// What contradicts itself could never be called.
fn consistent(field: &InputField, fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> bool {
    let place = |key: &str| fields.get(key).map_or(fields.place, |node| &node.place);
    if let (Some(min), Some(max)) =
        (field.min.as_ref().and_then(serde_json::Number::as_f64), field.max.as_ref().and_then(serde_json::Number::as_f64))
        && min > max
    {
        decoder.error("out-of-range", place("min"), format!("`min` ({min}) is more than `max` ({max})"));
        return false;
    }
    if let (Some(min), Some(max)) = (field.min_length, field.max_length)
        && min > max
    {
        decoder.error("out-of-range", place("min_length"), format!("`min_length` ({min}) is more than `max_length` ({max})"));
        return false;
    }
    for choice in &field.choices {
        if let Err(message) = field.accepts(choice) {
            decoder.error("bad-value", place("enum"), format!("a value of `enum` could never be said: {message}"));
            return false;
        }
    }
    if let Some(Tree::Constant(value)) = &field.default
        && let Err(message) = field.accepts(value)
    {
        decoder.error("bad-value", place("default"), format!("`default`: {message}"));
        return false;
    }
    true
}
