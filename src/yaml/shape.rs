//! Shapes of mappings: which keys there are, what each may hold, and a sentence on it.
//!
//! One table serves twice: [`super::Fields::read`] takes mappings apart by it, [`schema`] makes the JSON Schema of it
//! that editors use. So an editor and the parser know the same keys.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::Later;

/// A mapping: its keys and what they hold.
#[derive(Debug)]
pub struct Shape {
    /// Its name among the definitions of a schema.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Further keys that may hold anything.
    pub more: &'static [&'static str],
    /// Keys of later versions.
    pub later: Later,
    /// Keys that are not ours, but get an answer of their own from whoever reads the mapping.
    pub answered: &'static [&'static str],
    /// Exactly one of these is there; says nothing where empty.
    pub one_of: &'static [&'static str],
}

impl Shape {
    /// Without keys; to be completed.
    pub const EMPTY: Self = Self { name: "", about: "", keys: &[], more: &[], later: &[], answered: &[], one_of: &[] };

    /// A key by its name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of all keys that may be written.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.keys.iter().map(|key| key.name).chain(self.more.iter().copied())
    }
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What it may hold.
    pub form: Form,
    /// What it is for.
    pub about: &'static str,
    /// Whether it must be there.
    pub required: bool,
}

/// A key that may be left out.
#[must_use]
pub const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, about, required: false }
}

impl Key {
    /// It must be there.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// What a key may hold.
#[derive(Debug)]
pub enum Form {
    /// Anything.
    Any,
    /// A string.
    Text,
    /// A string, a number, `true` or `false`.
    Scalar,
    /// `true` or `false`.
    Bool,
    /// A whole number within limits.
    Integer(RangeInclusive<u64>),
    /// A number within limits.
    Number(RangeInclusive<f64>),
    /// `90s`, `10m`, `2h`, `30d`.
    Duration,
    /// `64KiB`, `10GiB`.
    Size,
    /// An expression: a string, or a bare `true` or `false`.
    Expression,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A string, of which these are suggestions.
    Suggested(fn() -> Vec<String>),
    /// One of it, or a list.
    OneOrMore(&'static Self),
    /// A list of it.
    List(&'static Self),
    /// A mapping from any names to it.
    Map(&'static Self),
    /// A mapping of this shape.
    Object(&'static Shape),
    /// Any of these.
    AnyOf(&'static [Self]),
    /// Made by a function under this name, for forms that refer to themselves.
    Made(&'static str, fn() -> Value),
}

/// The dialect of the schemas: the newest that all editors know.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// The JSON Schema of documents of this shape.
#[must_use]
pub fn schema(shape: &'static Shape, title: &str) -> Value {
    let mut definitions = BTreeMap::new();
    let Value::Object(body) = object(shape, &mut definitions) else { return Value::Null };
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!(DIALECT));
    schema.insert("title".to_owned(), json!(title));
    schema.extend(body);
    schema.insert("definitions".to_owned(), json!(definitions));
    Value::Object(schema)
}

type Definitions = BTreeMap<&'static str, Value>;

/// Where a definition stands.
#[must_use]
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

fn object(shape: &'static Shape, definitions: &mut Definitions) -> Value {
    let mut properties = Map::new();
    for key in shape.keys {
        let value = form(&key.form, definitions);
        // Beside a reference other words are not read in this dialect.
        let described = match value {
            Value::Object(mut fields) if !fields.contains_key("$ref") => {
                fields.insert("description".to_owned(), json!(key.about));
                Value::Object(fields)
            }
            other => json!({"description": key.about, "allOf": [other]}),
        };
        properties.insert(key.name.to_owned(), described);
    }
    for name in shape.more {
        properties.insert((*name).to_owned(), json!({}));
    }
    let required: Vec<&str> = shape.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut object = Map::new();
    object.insert("description".to_owned(), json!(shape.about));
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("additionalProperties".to_owned(), json!(false));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    if !shape.one_of.is_empty() {
        let each: Vec<Value> = shape.one_of.iter().map(|name| json!({"required": [name]})).collect();
        object.insert("oneOf".to_owned(), json!(each));
    }
    Value::Object(object)
}

fn form(form: &'static Form, definitions: &mut Definitions) -> Value {
    match form {
        Form::Any => json!({}),
        Form::Text => json!({"type": "string"}),
        Form::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Form::Bool => json!({"type": "boolean"}),
        Form::Integer(range) => json!({"type": "integer", "minimum": range.start(), "maximum": range.end()}),
        Form::Number(range) => json!({"type": "number", "minimum": range.start(), "maximum": range.end()}),
        Form::Duration => json!({"type": "string", "pattern": r"^\s*([0-9]+(ms|s|m|h|d))+\s*$"}),
        Form::Size => json!({"type": "string", "pattern": r"^\s*[0-9]+\s*(B|[KMGT]iB|[kKMGT]B)\s*$"}),
        Form::Expression => json!({"type": ["string", "boolean"]}),
        Form::Words(words) => json!({"enum": words}),
        Form::Suggested(names) => json!({"anyOf": [{"enum": names()}, {"type": "string"}]}),
        Form::OneOrMore(inner) => {
            let inner = self::form(inner, definitions);
            json!({"anyOf": [inner, {"type": "array", "items": inner}]})
        }
        Form::List(inner) => json!({"type": "array", "items": self::form(inner, definitions)}),
        Form::Map(inner) => json!({"type": "object", "additionalProperties": self::form(inner, definitions)}),
        Form::AnyOf(forms) => json!({"anyOf": forms.iter().map(|one| self::form(one, definitions)).collect::<Vec<_>>()}),
        Form::Object(shape) => {
            // Entered before it is made, so that a shape may hold itself.
            if !definitions.contains_key(shape.name) {
                definitions.insert(shape.name, Value::Null);
                let made = object(shape, definitions);
                definitions.insert(shape.name, made);
            }
            reference(shape.name)
        }
        Form::Made(name, make) => {
            if !definitions.contains_key(name) {
                definitions.insert(name, make());
            }
            reference(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TREE: Shape = Shape {
        name: "tree",
        about: "A tree.",
        keys: &[
            key("name", Form::Text, "Its name.").required(),
            key("size", Form::Integer(1..=9), "Its size."),
            key("below", Form::OneOrMore(&Form::Object(&TREE)), "What is below."),
        ],
        more: &["note"],
        ..Shape::EMPTY
    };

    #[test]
    fn a_shape_may_hold_itself() {
        let schema = schema(&TREE, "Trees");
        assert_eq!(schema["required"], json!(["name"]));
        assert_eq!(schema["properties"]["size"], json!({"type": "integer", "minimum": 1, "maximum": 9, "description": "Its size."}));
        assert_eq!(schema["properties"]["below"]["anyOf"][0], json!({"$ref": "#/definitions/tree"}));
        assert_eq!(schema["definitions"]["tree"]["properties"]["note"], json!({}));
        assert_eq!(schema["definitions"]["tree"]["additionalProperties"], json!(false));
        assert_eq!(TREE.names().collect::<Vec<_>>(), ["name", "size", "below", "note"]);
    }
}
