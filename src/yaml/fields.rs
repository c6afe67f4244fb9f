//! Taking a mapping apart: every key is known, said to be for later, or a fault with a suggestion.

use std::time::Duration;

use super::shape::Shape;
use super::{KeyNode, Node, Yaml};
use crate::fault::{Fault, Faults, Place, nearest};
use crate::time::{parse_duration, parse_size};

/// Keys that the documentation names and this version does not act on: refused with "not in this version".
pub type Later = &'static [&'static str];

/// A mapping whose keys were checked. The typed readers report a wrong type and answer `None`.
pub struct Fields<'a> {
    /// Where the mapping begins.
    pub place: &'a Place,
    entries: &'a [(KeyNode, Node)],
    shape: Option<&'static Shape>,
}

impl<'a> Fields<'a> {
    /// Checks that `node` is a mapping with the keys of `shape` only. `what` names it in messages.
    pub fn read(node: &'a Node, what: &str, shape: &'static Shape, faults: &mut Faults) -> Option<Self> {
        let known: Vec<&str> = shape.names().collect();
        let fields = Self::checked(node, what, (&known, shape.answered), shape.later, faults)?;
        Some(Self { shape: Some(shape), ..fields })
    }

    /// Checks that `node` is a mapping with `known` keys only. `what` names it in messages: `a rule`, `the step`.
    pub fn of(node: &'a Node, what: &str, known: &[&str], later: Later, faults: &mut Faults) -> Option<Self> {
        Self::checked(node, what, (known, &[]), later, faults)
    }

    /// Keys that are `answered` by the caller are passed over here; nobody is told that they may be written.
    fn checked(node: &'a Node, what: &str, (known, answered): (&[&str], &[&str]), later: Later, faults: &mut Faults) -> Option<Self> {
        let Some(entries) = node.as_map() else {
            faults.push(Fault::error("wrong-type", node.place.clone(), format!("{what} is {}; expected a mapping", node.kind())));
            return None;
        };
        for (key, _) in entries {
            let name = key.name.as_str();
            if known.contains(&name) || answered.contains(&name) {
                continue;
            }
            if later.contains(&name) {
                let message = format!("`{name}` of {what} is not in this version");
                faults.push(Fault::error("not-in-this-version", key.place.clone(), message).help("remove it"));
                continue;
            }
            let fault = Fault::error("unknown-key", key.place.clone(), format!("unknown key `{name}` in {what}"));
            faults.push(match nearest(name, known.iter().copied().chain(later.iter().copied())) {
                Some(candidate) => fault.help(format!("did you mean `{candidate}`?")),
                None => fault.help(format!("known are: {}", known.join(", "))),
            });
        }
        Some(Self { place: &node.place, entries, shape: None })
    }

    /// The value of a key; nothing where the key is missing or its value is null.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        debug_assert!(self.shape.is_none_or(|shape| shape.names().any(|known| known == name)), "`{name}` stands in no table of keys");
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node).filter(|n| !matches!(n.value, Yaml::Null))
    }

    /// The place of a key itself.
    #[must_use]
    pub fn key_place(&self, name: &str) -> Option<&'a Place> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(key, _)| &key.place)
    }

    /// The value of a key that must be there.
    pub fn require(&self, name: &str, what: &str, faults: &mut Faults) -> Option<&'a Node> {
        debug_assert!(self.shape.and_then(|shape| shape.key(name)).is_none_or(|key| key.required), "`{name}` is required");
        let found = self.get(name);
        if found.is_none() {
            faults.push(Fault::error("missing-key", self.place.clone(), format!("{what} has no `{name}`")).help(format!("add `{name}:`")));
        }
        found
    }

    /// A string. Numbers and booleans are refused with the advice to quote them.
    pub fn text(&self, name: &str, faults: &mut Faults) -> Option<(&'a str, &'a Place)> {
        let node = self.get(name)?;
        text_of(node, name, faults).map(|text| (text, &node.place))
    }

    /// `true` or `false`.
    pub fn boolean(&self, name: &str, faults: &mut Faults) -> Option<bool> {
        let node = self.get(name)?;
        match node.value {
            Yaml::Bool(b) => Some(b),
            _ => {
                faults.push(Fault::error("wrong-type", node.place.clone(), format!("`{name}` is {}; expected true or false", node.kind())));
                None
            }
        }
    }

    /// A whole number within limits.
    pub fn integer(&self, name: &str, range: std::ops::RangeInclusive<u64>, faults: &mut Faults) -> Option<u64> {
        let node = self.get(name)?;
        let number = match &node.value {
            Yaml::Number(n) => n.as_u64(),
            _ => None,
        };
        match number.filter(|n| range.contains(n)) {
            Some(n) => Some(n),
            None => {
                let message = format!("`{name}` is no whole number from {} to {}", range.start(), range.end());
                faults.push(Fault::error("out-of-range", node.place.clone(), message));
                None
            }
        }
    }

    /// A duration within limits.
    pub fn duration(&self, name: &str, range: std::ops::RangeInclusive<Duration>, faults: &mut Faults) -> Option<Duration> {
        let node = self.get(name)?;
        let text = match &node.value {
            Yaml::Number(n) => n.to_string(),
            _ => text_of(node, name, faults)?.to_owned(),
        };
        match parse_duration(&text) {
            Ok(duration) if range.contains(&duration) => Some(duration),
            Ok(_) => {
                let (low, high) = (crate::time::format_duration(*range.start()), crate::time::format_duration(*range.end()));
                faults.push(Fault::error("out-of-range", node.place.clone(), format!("`{name}` is `{text}`; expected {low} to {high}")));
                None
            }
            Err(message) => {
                faults.push(Fault::error("duration", node.place.clone(), format!("`{name}`: {message}")));
                None
            }
        }
    }

    /// A size in bytes within limits.
    pub fn size(&self, name: &str, range: std::ops::RangeInclusive<u64>, faults: &mut Faults) -> Option<u64> {
        let node = self.get(name)?;
        let text = match &node.value {
            Yaml::Number(n) => n.to_string(),
            _ => text_of(node, name, faults)?.to_owned(),
        };
        match parse_size(&text) {
            Ok(bytes) if range.contains(&bytes) => Some(bytes),
            Ok(_) => {
                let (low, high) = (crate::time::format_size(*range.start()), crate::time::format_size(*range.end()));
                faults.push(Fault::error("out-of-range", node.place.clone(), format!("`{name}` is `{text}`; expected {low} to {high}")));
                None
            }
            Err(message) => {
                faults.push(Fault::error("size", node.place.clone(), format!("`{name}`: {message}")));
                None
            }
        }
    }

    /// One string or a list of strings.
    pub fn texts(&self, name: &str, faults: &mut Faults) -> Option<Vec<(&'a str, &'a Place)>> {
        let node = self.get(name)?;
        let items = match &node.value {
            Yaml::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        Some(items.iter().filter_map(|item| text_of(item, name, faults).map(|text| (text, &item.place))).collect())
    }

    /// All entries, in the order written.
    #[must_use]
    pub fn entries(&self) -> &'a [(KeyNode, Node)] {
        self.entries
    }
}

fn text_of<'a>(node: &'a Node, name: &str, faults: &mut Faults) -> Option<&'a str> {
    if let Yaml::Text(text) = &node.value {
        return Some(text);
    }
    let fault = Fault::error("wrong-type", node.place.clone(), format!("`{name}` is {}; expected a string", node.kind()));
    faults.push(match &node.value {
        Yaml::Number(n) => fault.help(format!("quote it: \"{n}\"")),
        Yaml::Bool(b) => fault.help(format!("quote it: \"{b}\"")),
        _ => fault,
    });
    None
}
