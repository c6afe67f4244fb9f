//! What an import did: what it took, and what it left out and why.

use serde_json::{Value, json};

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Why, as a stable word: `cookie-parameter`, `remote-reference`, …
    pub reason: &'static str,
    /// Where it stands in the description, as a JSON pointer: `#/paths/~1pets/get`.
    pub pointer: String,
    /// For people.
    pub message: String,
}

/// An operation that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its name in the connector.
    pub name: String,
    /// In capitals.
    pub method: String,
    /// As the description has it.
    pub path: String,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The version that the description is written in: `3.0.1`.
    pub openapi: String,
    /// The operations of the description.
    pub of: usize,
    /// Those that were asked for.
    pub wanted: usize,
    /// Those that were imported, in the order of the description.
    pub imported: Vec<Imported>,
    /// Operations that were asked for and are held back.
    pub held_back: Vec<Part>,
    /// Parts of imported operations, and of the description, that are left out.
    pub left_out: Vec<Part>,
    /// Variables of the environment that the connector reads secrets from.
    pub variables: Vec<String>,
}

impl Report {
    /// As `--json` prints it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let part = |part: &Part| json!({"reason": part.reason, "pointer": part.pointer, "message": part.message});
        let operation = |one: &Imported| json!({"name": one.name, "method": one.method, "path": one.path});
        json!({
            "openapi": self.openapi,
            "of": self.of,
            "wanted": self.wanted,
            "imported": self.imported.len(),
            "operations": self.imported.iter().map(operation).collect::<Vec<_>>(),
            "held_back": self.held_back.iter().map(part).collect::<Vec<_>>(),
            "left_out": self.left_out.iter().map(part).collect::<Vec<_>>(),
            "variables": self.variables,
        })
    }
}

/// Parts by their reasons, in the order in which the reasons first come.
#[must_use]
pub fn by_reason(parts: &[Part]) -> Vec<(&'static str, Vec<&Part>)> {
    let mut groups: Vec<(&'static str, Vec<&Part>)> = Vec::new();
    for part in parts {
        match groups.iter_mut().find(|(reason, _)| *reason == part.reason) {
            Some((_, group)) => group.push(part),
            None => groups.push((part.reason, vec![part])),
        }
    }
    groups
}
