//! YAML as people write it in rule and configuration files: a tree in which every key and value knows its place.
//!
//! Strict by choice: duplicate keys are faults, `no`, `on` and `0123` stay strings, aliases are bounded, non-finite
//! numbers are refused. [`Fields`] takes a mapping apart and collects every fault instead of stopping at the first.

mod difference;
mod fields;
#[cfg(test)]
pub(crate) mod fuzz;
mod inside;
mod mask;
mod parse;
mod print;
pub mod secret;
pub mod shape;

use serde_json::{Map, Value};

pub use difference::{differences, short};
pub use fields::{Fields, Later};
pub use mask::{hide, hide_in_faults};
pub use parse::{NODES_MAX, TEXT_MAX, parse};
pub use print::print;

use crate::fault::{Faults, Place};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Yaml,
}

/// A mapping's key and where it stands.
#[derive(Clone, Debug)]
pub struct KeyNode {
    /// The key as text.
    pub name: String,
    /// Where it begins.
    pub place: Place,
}

/// What a YAML node can be.
#[derive(Clone, Debug)]
pub enum Yaml {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`, nothing else.
    Bool(bool),
    /// An integer or a decimal.
    Number(serde_json::Number),
    /// Any other scalar.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written.
    Map(Vec<(KeyNode, Node)>),
}

impl Node {
    /// What it is, for messages: `a list`, `a string`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Yaml::Null => "nothing",
            Yaml::Bool(_) => "true or false",
            Yaml::Number(_) => "a number",
            Yaml::Text(_) => "a string",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a mapping",
        }
    }

    /// The text, when it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, when it is a mapping.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(KeyNode, Self)]> {
        match &self.value {
            Yaml::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The elements, when it is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Yaml::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key of a mapping.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Whether the value is what was written. A whole number that no 64 bits hold is not: a double stands for it, and that is a
    /// fault where the value is sent.
    pub fn exact(&self, faults: &mut Faults) -> bool {
        let Some(digits) = self.lost_digits() else { return true };
        let message = format!("`{digits}` fits no 64-bit number; another one would stand for it");
        faults.error_help("number", &self.place, message, format!("quote it: \"{digits}\" is a text with all its digits"));
        false
    }

    /// The digits of a whole number for which another one stands.
    fn lost_digits(&self) -> Option<&str> {
        let Yaml::Number(number) = &self.value else { return None };
        let nearest = number.as_f64().filter(|_| number.is_f64())?;
        let line = self.place.source.text.lines().nth(self.place.line.checked_sub(1)? as usize)?;
        let (from, _) = line.char_indices().nth(self.place.column.checked_sub(1)? as usize)?;
        let written = line[from..].split([' ', '\t', ',', ']', '}']).next().unwrap_or_default();
        let digits = written.trim_start_matches(['-', '+']);
        let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        (whole && format!("{:.0}", nearest.abs()) != digits).then_some(written)
    }

    /// The tree without its places.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.value {
            Yaml::Null => Value::Null,
            Yaml::Bool(b) => Value::Bool(*b),
            Yaml::Number(n) => Value::Number(n.clone()),
            Yaml::Text(text) => Value::String(text.clone()),
            Yaml::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Yaml::Map(entries) => Value::Object(entries.iter().map(|(k, v)| (k.name.clone(), v.to_json())).collect::<Map<_, _>>()),
        }
    }
}
