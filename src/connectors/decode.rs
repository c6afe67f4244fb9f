//! Reading expressions and templates out of connector files: every fault with its place inside the string, every name
//! checked.

use std::sync::Arc;

use super::limits::FIELDS_MAX;
use crate::embedded::{self, Reader};
use crate::expr::{Expression, Template, Tree};
use crate::fault::{Fault, Faults, Place, nearest};
use crate::yaml::Node;

/// What is known while a connector is read.
pub(super) struct Decoder<'a> {
    /// Where faults go.
    pub(super) faults: &'a mut Faults,
    /// Fields of `config`.
    pub(super) config: Vec<Arc<str>>,
    /// Fields of `input`, where an operation is read.
    pub(super) input: Option<Vec<Arc<str>>>,
    /// The names that expressions see here.
    pub(super) names: &'static [&'static str],
}

/// What may stand where nothing is known but how the connector is set.
pub(super) const SETTING: &[&str] = &["config"];
/// What the parts of a request see.
pub(super) const CALL: &[&str] = &["config", "input", "run", "rule", "now"];
/// What hooks over a request see.
pub(super) const REQUEST: &[&str] = &["config", "input", "run", "rule", "now", "request"];
/// What is signed.
pub(super) const SIGNED: &[&str] = &["config", "request", "timestamp"];
/// What hooks over an answer see.
pub(super) const RESPONSE: &[&str] = &["config", "input", "response", "now"];
/// What the fields of an output see.
pub(super) const ENTRY: &[&str] = &["config", "input", "entry", "response", "now"];
/// What a look-up sees.
pub(super) const FOUND: &[&str] = &["config", "input", "value", "now"];
/// What a polling trigger's input sees.
pub(super) const CURSOR: &[&str] = &["config", "cursor", "start", "now"];
/// What tells of a row.
pub(super) const ROW: &[&str] = &["config", "entry", "now"];

impl Decoder<'_> {
    /// Reads something that sees other names.
    pub(super) fn seeing<T>(&mut self, names: &'static [&'static str], read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.names, names);
        let value = read(self);
        self.names = before;
        value
    }

    /// Reports an error.
    pub(super) fn error(&mut self, code: &'static str, place: &Place, message: impl Into<String>) {
        self.faults.error(code, place, message);
    }

    /// Reports an error with its remedy.
    pub(super) fn error_help(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.faults.error_help(code, place, message, help);
    }

    /// Reports a warning with its remedy.
    pub(super) fn warning(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.faults.warning(code, place, message, help);
    }

    /// A bare expression.
    pub(super) fn expression(&mut self, node: &Node, what: &str) -> Option<Expression> {
        embedded::expression(self, node, what)
    }

    /// A text with `${…}` that may be written as a number or true/false too.
    pub(super) fn template(&mut self, node: &Node, what: &str) -> Option<Template> {
        embedded::template(self, node, what)
    }

    /// Any value whose strings may hold `${…}`.
    pub(super) fn tree(&mut self, node: &Node) -> Option<Tree> {
        embedded::tree(self, node)
    }

    /// Names and values; `None` with any fault.
    pub(super) fn trees(&mut self, node: &Node, what: &str) -> Option<Vec<(String, Tree)>> {
        self.entries(node, what, Decoder::tree)
    }

    /// Names and texts; `None` with any fault.
    pub(super) fn templates(&mut self, node: &Node, what: &str) -> Option<Vec<(String, Template)>> {
        self.entries(node, what, |decoder, value| decoder.template(value, what))
    }

    /// The entries of a mapping, each read; `None` with any fault.
    pub(super) fn entries<T>(
        &mut self,
        node: &Node,
        what: &str,
        mut read: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<(String, T)>> {
        let Some(entries) = node.as_map() else {
            self.error("wrong-type", &node.place, format!("`{what}` is {}; expected a mapping", node.kind()));
            return None;
        };
        if entries.len() > FIELDS_MAX {
            self.error("too-many", &node.place, format!("`{what}` has {} entries; at most {FIELDS_MAX} are allowed", entries.len()));
            return None;
        }
        let read: Vec<_> = entries.iter().map(|(key, value)| read(self, value).map(|value| (key.name.clone(), value))).collect();
        read.into_iter().collect()
    }

    /// Headers: their names are checked too, and written in lower case.
    pub(super) fn headers(&mut self, node: &Node) -> Option<Vec<(String, Template)>> {
        /// Headers that belong to the connection, or to us.
        const RESERVED: &[&str] = &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];
        let mut fine = true;
        for (key, _) in node.as_map().unwrap_or_default() {
            if !is_header_name(&key.name) {
                self.error("header-name", &key.place, format!("`{}` is no header name", key.name));
                fine = false;
            } else if RESERVED.contains(&key.name.to_ascii_lowercase().as_str()) {
                self.error("header-name", &key.place, format!("header `{}` is set by tripline itself", key.name));
                fine = false;
            }
        }
        let headers = self.templates(node, "headers")?;
        let mut lower: Vec<(String, Template)> = Vec::with_capacity(headers.len());
        for ((name, value), (key, _)) in headers.into_iter().zip(node.as_map().unwrap_or_default()) {
            let name = name.to_ascii_lowercase();
            if lower.iter().any(|(other, _)| *other == name) {
                self.error("duplicate-header", &key.place, format!("header `{}` is written twice", key.name));
                fine = false;
            }
            lower.push((name, value));
        }
        fine.then_some(lower)
    }
}

impl Reader for Decoder<'_> {
    fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    /// Every path must begin with a known name; fields of `config` and `input` must be there.
    fn names(&mut self, node: &Node, text: &str, references: &[String]) -> bool {
        let mut fine = true;
        for path in references {
            let mut parts = path.split('.');
            let (root, next) = (parts.next().unwrap_or_default(), parts.next());
            let place = || node.place_of(text.find(path.as_str()).map_or(0, |at| text[..at].chars().count()));
            let fields = match root {
                "config" => Some(&self.config),
                "input" => self.input.as_ref(),
                _ => None,
            };
            let fault = if !self.names.contains(&root) {
                let fault = Fault::error("unknown-name", place(), format!("unknown name `{root}`"));
                Some(match nearest(root, self.names.iter().copied()) {
                    Some(near) => fault.help(format!("did you mean `{near}`?")),
                    None => fault.help(format!("known here are: {}", self.names.join(", "))),
                })
            } else if let (Some(fields), Some(next)) = (fields, next)
                && !fields.iter().any(|known| **known == *next)
            {
                let fault = Fault::error("unknown-field", place(), format!("`{root}` has no field `{next}`"));
                let known: Vec<&str> = fields.iter().map(|known| &**known).collect();
                Some(match nearest(next, known.iter().copied()) {
                    Some(near) => fault.help(format!("did you mean `{near}`?")),
                    None if known.is_empty() => fault.help(format!("add `{next}` to `{root}`")),
                    None => fault.help(format!("known are: {}", known.join(", "))),
                })
            } else {
                None
            };
            if let Some(fault) = fault {
                self.faults.push(fault);
                fine = false;
            }
        }
        fine
    }
}

/// Whether a text may be the name of a header.
pub(super) fn is_header_name(name: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(token)
}
