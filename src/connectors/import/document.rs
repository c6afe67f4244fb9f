//! An OpenAPI description as a tree: reading it strictly, and following its references.
//!
//! Only references inside the document are followed. A chain of references has a limit, and a circle is named; what a
//! schema says is looked at elsewhere, one level at a time, so that schemas may well refer to themselves.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::event::deeper_than;
use crate::fault::{Fault, Faults, Place, SourceText};
use crate::yaml::{TEXT_MAX, parse};

/// How many references may lead to each other before something else stands there.
const REFERENCES_MAX: usize = 32;

/// The deepest nesting of a description: JSON's is the library's own limit, YAML is held to the same.
const DEPTH_MAX: usize = 127;

/// A description that was read, of a version that is known.
#[derive(Debug)]
pub(super) struct Document {
    root: Value,
    /// As written: `3.0.1`.
    pub(super) version: String,
}

/// Why a reference leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadReference {
    /// Into another document.
    #[error("`{0}` is in another document, which is not fetched; bundle the description into one file first")]
    Remote(String),
    /// To nothing.
    #[error("`{0}` refers to nothing in the description")]
    Missing(String),
    /// Back to where it began, or through too many others.
    #[error("`{0}` refers back to itself")]
    Circle(String),
    /// By a name in place of a path.
    #[error("`{0}` is no path in the description; only references that begin with `#/` are followed")]
    Anchor(String),
}

impl BadReference {
    /// A stable word for reports.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Remote(_) => "remote-reference",
            Self::Missing(_) => "missing-reference",
            Self::Circle(_) => "circular-reference",
            Self::Anchor(_) => "anchor-reference",
        }
    }
}

impl Document {
    /// Reads JSON, or YAML where the text does not begin with a brace.
    ///
    /// # Errors
    /// What is no JSON or YAML, has a key twice, is too large or too deep, or is no OpenAPI 3.0 or 3.1.
    pub(super) fn read(source: &Arc<SourceText>) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
        let whole = place(source, 0, 0);
        if text.len() > TEXT_MAX {
            let message = format!("the description has {} bytes; at most {TEXT_MAX} are read", text.len());
            faults.push(Fault::error("file-too-large", whole, message));
            return Err(faults);
        }
        let root = if text.trim_start().starts_with('{') { json(text, source)? } else { yaml(source)? };
        match version(&root) {
            Ok(version) => Ok(Self { root, version }),
            Err((code, message, help)) => {
                faults.push(Fault::error(code, whole, message).help(help));
                Err(faults)
            }
        }
    }

    /// The whole tree.
    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// What stands there in the end: the value itself, or what its `$ref` leads to.
    ///
    /// # Errors
    /// A reference that leads nowhere.
    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> Result<&'a Value, BadReference> {
        let mut here = value;
        for _ in 0..REFERENCES_MAX {
            match reference(here) {
                None => return Ok(here),
                Some(to) => here = self.at(to)?,
            }
        }
        Err(BadReference::Circle(reference(value).unwrap_or_default().to_owned()))
    }

    /// What one reference leads to.
    ///
    /// # Errors
    /// A reference that leads nowhere.
    pub(super) fn at(&self, to: &str) -> Result<&Value, BadReference> {
        let Some(fragment) = to.strip_prefix('#') else { return Err(BadReference::Remote(to.to_owned())) };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return Err(BadReference::Anchor(to.to_owned()));
        }
        let path = percent_decoded(fragment);
        self.root.pointer(&path).ok_or_else(|| BadReference::Missing(to.to_owned()))
    }
}

/// The `$ref` of a value, where it has one.
pub(super) fn reference(value: &Value) -> Option<&str> {
    value.as_object()?.get("$ref")?.as_str()
}

/// One step further in a JSON pointer, escaped as RFC 6901 has it.
pub(super) fn step(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// `%2F` and the like; what is no escape stays.
fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

type Refusal = (&'static str, String, &'static str);

fn version(root: &Value) -> Result<String, Refusal> {
    let convert = "convert it to OpenAPI 3 first, for instance with `npx swagger2openapi`";
    let give = "give a description that begins with `openapi: 3.0.x` or `openapi: 3.1.x`";
    let Some(map) = root.as_object() else {
        return Err(("no-openapi", "the file is no OpenAPI description: it holds no mapping".to_owned(), give));
    };
    let written = match map.get("openapi") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(("no-openapi", "`openapi` is no version".to_owned(), give)),
        None => match map.get("swagger") {
            Some(_) => return Err(("openapi-version", "Swagger 2.0 is not in this version".to_owned(), convert)),
            None => return Err(("no-openapi", "the file is no OpenAPI description: it has no `openapi`".to_owned(), give)),
        },
    };
    let known =
        ["3.0", "3.1"].iter().any(|known| written == *known || written.strip_prefix(known).is_some_and(|rest| rest.starts_with('.')));
    if known {
        Ok(written)
    } else {
        Err(("openapi-version", format!("OpenAPI `{written}` is not in this version; known are 3.0 and 3.1"), give))
    }
}

fn place(source: &Arc<SourceText>, line: usize, column: usize) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(0);
    Place { source: Arc::clone(source), line: number(line), column: number(column), length: 0 }
}

fn json(text: &str, source: &Arc<SourceText>) -> Result<Value, Faults> {
    serde_json::from_str::<Strict>(text).map(|strict| strict.0).map_err(|error| {
        let message = error.to_string();
        // The place is beside the message; the library appends it.
        let message = message.rfind(" at line ").map_or(message.as_str(), |at| &message[..at]);
        let at = place(source, error.line(), error.column());
        let fault = match (message.contains("recursion"), message.starts_with("duplicate key")) {
            (true, _) => Fault::error("too-deep", at, format!("the description is nested more than {DEPTH_MAX} deep")),
            (_, true) => Fault::error("duplicate-key", at, message).help("keep one of them: which one counts is not defined"),
            _ => Fault::error("json", at, format!("no JSON: {message}")),
        };
        one(fault)
    })
}

fn yaml(source: &Arc<SourceText>) -> Result<Value, Faults> {
    let documents = parse(source)?;
    match documents.as_slice() {
        [only] => {
            let value = only.to_json();
            if deeper_than(&value, DEPTH_MAX) {
                return Err(one(Fault::error(
                    "too-deep",
                    only.place.clone(),
                    format!("the description is nested more than {DEPTH_MAX} deep"),
                )));
            }
            Ok(value)
        }
        [] => Err(one(Fault::error("no-openapi", place(source, 0, 0), "the file is empty"))),
        [_, second, ..] => Err(one(Fault::error("no-openapi", second.place.clone(), "the file holds more than one document"))),
    }
}

fn one(fault: Fault) -> Faults {
    let mut faults = Faults::new();
    faults.push(fault);
    faults
}

/// JSON without a key twice: the second of two equal paths would silently replace the first.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key `{}`", crate::printable::printable(&key))));
            }
            let Strict(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(text: &str) -> Result<Document, Faults> {
        Document::read(&Arc::new(SourceText { path: PathBuf::from("api.json"), text: text.to_owned() }))
    }

    fn refused(text: &str, code: &str, line: u32) {
        let faults = read(text).expect_err(text);
        let fault = faults.iter().next().expect("a fault");
        assert_eq!((fault.code, fault.place.as_ref().map_or(0, |place| place.line)), (code, line), "{}", fault.one_line());
    }

    #[test]
    fn what_is_no_description_is_refused_by_name() {
        refused("", "no-openapi", 0);
        refused("[]", "no-openapi", 0);
        refused("a: 1\n", "no-openapi", 0);
        refused("openapi: {}\n", "no-openapi", 0);
        refused("openapi: 3.0.0\n---\nopenapi: 3.0.0\n", "no-openapi", 3);
        refused("swagger: '2.0'\n", "openapi-version", 0);
        refused("openapi: 4.0.0\n", "openapi-version", 0);
        refused("openapi: 3.10.0\n", "openapi-version", 0);
        refused("{\"openapi\": \"3.0.0\",\n \"paths\": {\"/a\": {}, \"/a\": {}}}", "duplicate-key", 2);
        refused("openapi: 3.0.0\npaths:\n  /a: {}\n  /a: {}\n", "duplicate-key", 4);
        refused("{\"openapi\": \"3.0.0\",\n \"paths\": {", "json", 2);
        let deep = |open: &str, close: &str| format!("{{\"openapi\":\"3.0.0\",\"x\":{}{}}}", open.repeat(9_000), close.repeat(9_000));
        refused(&deep("[", "]"), "too-deep", 1);
        refused(&deep("{\"a\":", "}").replace(":}", ":1}"), "too-deep", 1);
        // The YAML library takes much of a stack without optimisation, and threads of tests have little.
        let deep_yaml = || refused(&format!("openapi: 3.0.0\nx: {}{}\n", "[".repeat(150), "]".repeat(150)), "too-deep", 1);
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(deep_yaml).expect("a thread");
        thread.join().expect("refused");
        for good in ["openapi: 3.0\n", "openapi: 3.1.0\n", "{\"openapi\": \"3.0.3\"}", "\u{feff}{\"openapi\": \"3.0.3\"}"] {
            assert!(read(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn references_are_followed_within_the_document() {
        let text = r##"{"openapi": "3.0.0", "paths": {"/a/{id}": {"get": {"x": 1}}}, "a~b": {"c d": 2},
            "one": {"$ref": "#/two"}, "two": {"$ref": "#/three"}, "three": {"here": true},
            "round": {"$ref": "#/about"}, "about": {"$ref": "#/round"}}"##;
        let document = read(text).expect("reads");
        let to = |target: &str| document.resolve(&serde_json::json!({ "$ref": target })).cloned();
        assert_eq!(to("#/paths/~1a~1{id}/get/x"), Ok(1.into()));
        assert_eq!(to("#/paths/~1a~1%7Bid%7D/get/x"), Ok(1.into()));
        assert_eq!(to("#/a~0b/c%20d"), Ok(2.into()));
        assert_eq!(to("#/one"), Ok(serde_json::json!({"here": true})));
        assert_eq!(to("#/round"), Err(BadReference::Circle("#/round".to_owned())));
        assert_eq!(to("#/none"), Err(BadReference::Missing("#/none".to_owned())));
        assert_eq!(to("#name"), Err(BadReference::Anchor("#name".to_owned())));
        for remote in ["other.yaml#/a", "https://example.com/a.json", "./a.json"] {
            assert_eq!(to(remote), Err(BadReference::Remote(remote.to_owned())));
        }
        assert_eq!(step("#/paths", "/a~b"), "#/paths/~1a~0b");
    }
}
