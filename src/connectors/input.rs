//! What a call says: filled up with defaults and checked, before anything is sent.

use serde_json::{Map, Number, Value};

use super::operation::{FieldKind, InputField, Operation};
use crate::expr::{At, ExpressionFault, Scope};
use crate::fault::nearest;
use crate::time::Timestamp;

impl Operation {
    /// The input of a call: what is said, with defaults; null for what is neither. `config` is what defaults see.
    ///
    /// # Errors
    /// An unknown or missing field, or a value that its field does not take; the first one, at `at`.
    pub fn input(&self, said: &Map<String, Value>, config: &Value, at: &At<'_>) -> Result<Value, ExpressionFault> {
        self.check_input(said, at)?;
        let mut filled = Map::new();
        let scope = Scope::new().bind("config", config);
        for field in &self.input {
            let at = at.field(&field.name);
            let value = match (said.get(&*field.name), &field.default) {
                // Checked already.
                (Some(value), _) if !value.is_null() => value.clone(),
                (_, Some(default)) => match default.render(&scope, &at)? {
                    Value::Null => Value::Null,
                    value => field.accepts(&value).map(|()| value).map_err(|message| at.fault(message))?,
                },
                _ => Value::Null,
            };
            if value.is_null() && field.required {
                return Err(at.fault(format!("`{}` needs input `{}`", self.name, field.name)));
            }
            filled.insert(field.name.to_string(), value);
        }
        Ok(Value::Object(filled))
    }

    /// Checks what a call says, before defaults are filled in.
    ///
    /// # Errors
    /// As [`Operation::input`].
    pub fn check_input(&self, said: &Map<String, Value>, at: &At<'_>) -> Result<(), ExpressionFault> {
        if let Some(unknown) = said.keys().find(|name| !self.input.iter().any(|field| *field.name == ***name)) {
            return Err(at.fault(self.unknown(unknown)));
        }
        for field in &self.input {
            let at = at.field(&field.name);
            match said.get(&*field.name).filter(|value| !value.is_null()) {
                Some(value) => field.accepts(value).map_err(|message| at.fault(message))?,
                None if field.required && field.default.is_none() => {
                    return Err(at.fault(format!("`{}` needs input `{}`", self.name, field.name)));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// What to say of an input that there is not.
    #[must_use]
    pub fn unknown(&self, name: &str) -> String {
        let known = || self.input.iter().map(|field| &*field.name);
        let help = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.input.is_empty() => "it takes none".to_owned(),
            None => format!("known are: {}", known().collect::<Vec<_>>().join(", ")),
        };
        format!("`{}` has no input `{name}`; {help}", self.name)
    }
}

impl InputField {
    /// Whether a value is one that this field takes.
    ///
    /// # Errors
    /// Why not, in words; the value itself is shown cut.
    pub fn accepts(&self, value: &Value) -> Result<(), String> {
        let name = &self.name;
        if !self.fits(value) {
            let wide = matches!(self.kind, FieldKind::Integer | FieldKind::Number) && is_wide(value);
            let why = if wide { " of at most 64 bits; a field of type `string` takes any" } else { "" };
            return Err(format!("input `{name}` is {}; expected {}{why}", shown(value), expected(self.kind)));
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let known: Vec<String> = self.choices.iter().map(Value::to_string).collect();
            return Err(format!("input `{name}` is {}; expected one of {}", shown(value), known.join(", ")));
        }
        if let Value::Number(number) = value {
            if let Some(min) = self.min.as_ref().filter(|min| less(number, min)) {
                return Err(format!("input `{name}` is {number}; expected at least {min}"));
            }
            if let Some(max) = self.max.as_ref().filter(|max| less(max, number)) {
                return Err(format!("input `{name}` is {number}; expected at most {max}"));
            }
        }
        let length = match value {
            Value::String(text) => Some((text.chars().count() as u64, "characters")),
            Value::Array(items) => Some((items.len() as u64, "elements")),
            _ => None,
        };
        if let Some((length, unit)) = length {
            if let Some(min) = self.min_length.filter(|min| length < *min) {
                return Err(format!("input `{name}` has {length} {unit}; expected at least {min}"));
            }
            if let Some(max) = self.max_length.filter(|max| length > *max) {
                return Err(format!("input `{name}` has {length} {unit}; expected at most {max}"));
            }
        }
        if let (Some(pattern), Value::String(text)) = (&self.pattern, value)
            && !pattern.is_match(text)
        {
            return Err(format!("input `{name}` is {}, which does not match `{}`", shown(value), pattern.as_str()));
        }
        Ok(())
    }

    fn fits(&self, value: &Value) -> bool {
        match self.kind {
            FieldKind::String => value.is_string(),
            FieldKind::Integer => value.is_i64() || value.is_u64(),
            FieldKind::Number => value.is_number(),
            FieldKind::Boolean => value.is_boolean(),
            FieldKind::Object => value.is_object(),
            FieldKind::Array => value.is_array(),
            FieldKind::DateTime => value.as_str().is_some_and(|text| Timestamp::parse_lenient(text).is_some()),
            FieldKind::File => super::file::is_file(value),
            FieldKind::Any => true,
        }
    }
}

/// Whether one number is less than another; whole ones are compared digit by digit.
fn less(one: &Number, other: &Number) -> bool {
    let whole = |number: &Number| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one < other,
        _ => one.as_f64() < other.as_f64(),
    }
}

/// Whether it is a whole number that fits no 64 bits: a text of its digits, as answers have it, or a double near it.
fn is_wide(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() > 18 && text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()),
        other => other.is_f64() && other.as_f64().is_some_and(|n| n.abs() >= 9e18),
    }
}

fn expected(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::String => "a string",
        FieldKind::Integer => "a whole number",
        FieldKind::Number => "a number",
        FieldKind::Boolean => "true or false",
        FieldKind::Object => "a mapping",
        FieldKind::Array => "a list",
        FieldKind::DateTime => "a timestamp or a date",
        FieldKind::File => "a text, or a mapping with `text` or `base64` and perhaps `name` and `content_type`",
        FieldKind::Any => "a value",
    }
}

/// A value for messages, cut.
fn shown(value: &Value) -> String {
    const SHOWN_MAX: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX { text } else { format!("{}…", text.chars().take(SHOWN_MAX).collect::<String>()) }
}
