//! What a JSON Schema says of one value: its kinds, its limits, and the properties of an object, one level deep.
//!
//! `allOf` is taken together; of `oneOf` and `anyOf` stays what holds for each variant, and the properties of all. What only
//! the service can check (`not`, `if`, dependent schemas) is left to it. Properties are not descended into, so a schema that
//! refers to itself is no trouble; a circle of references or of `allOf` is named, and the work is bounded.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document::{BadReference, Document, reference};

/// How many schemas are looked at for one value: what stops `allOf` that doubles at every step.
const SCHEMAS_MAX: usize = 2_000;

/// How deep `allOf`, `oneOf`, `anyOf` and references may stand in each other.
const NESTING_MAX: usize = 40;

/// A kind of JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A text.
    Text,
    /// A list.
    List,
    /// An object.
    Object,
}

/// Why a schema cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// A reference that leads nowhere.
    #[error(transparent)]
    Reference(#[from] BadReference),
    /// More than is looked at.
    #[error("the schema is made of more than {SCHEMAS_MAX} others, or they stand in each other more than {NESTING_MAX} deep")]
    TooLarge,
}

impl Trouble {
    /// A stable word for reports.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Reference(bad) => bad.reason(),
            Self::TooLarge => "schema-too-large",
        }
    }
}

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen<'a> {
    /// What it may be, null left out; nothing where the schema does not say.
    pub(super) kinds: BTreeSet<Kind>,
    /// Whether it may be null.
    pub(super) nullable: bool,
    /// `date-time`, `binary`, …
    pub(super) format: Option<&'a str>,
    /// `enum` and `const`.
    pub(super) choices: Option<Vec<&'a Value>>,
    /// Taken when nothing is given.
    pub(super) default: Option<&'a Value>,
    /// The least number.
    pub(super) minimum: Option<&'a Value>,
    /// The greatest number.
    pub(super) maximum: Option<&'a Value>,
    /// The shortest text, in characters.
    pub(super) min_length: Option<u64>,
    /// The longest text, in characters.
    pub(super) max_length: Option<u64>,
    /// A regular expression.
    pub(super) pattern: Option<&'a str>,
    /// A heading.
    pub(super) title: Option<&'a str>,
    /// For people.
    pub(super) description: Option<&'a str>,
    /// An object's properties with their schemas, in their order.
    pub(super) properties: Vec<(&'a str, &'a Value)>,
    /// Which of them must be there.
    pub(super) required: BTreeSet<&'a str>,
    /// Whether an object may have further properties that the schema describes (`additionalProperties` with a schema).
    pub(super) more: bool,
    /// What a list holds.
    pub(super) items: Option<&'a Value>,
    /// Whether only a service answers it: `readOnly`.
    pub(super) read_only: bool,
}

/// Looks at a schema.
///
/// # Errors
/// References that lead nowhere, and schemas beyond the limits.
pub(super) fn look<'a>(document: &'a Document, schema: &'a Value) -> Result<Seen<'a>, Trouble> {
    let looker = Looker { document, left: Cell::new(SCHEMAS_MAX) };
    looker.look(schema, &mut Vec::new())
}

struct Looker<'a> {
    document: &'a Document,
    left: Cell<usize>,
}

impl<'a> Looker<'a> {
    /// `within` are the references that led here.
    fn look(&self, schema: &'a Value, within: &mut Vec<&'a str>) -> Result<Seen<'a>, Trouble> {
        let left = self.left.get().checked_sub(1).ok_or(Trouble::TooLarge)?;
        self.left.set(left);
        if within.len() > NESTING_MAX {
            return Err(Trouble::TooLarge);
        }
        let Some(map) = schema.as_object() else { return Ok(Seen::default()) };
        let mut seen = own(map);
        if let Some(to) = reference(schema) {
            if within.contains(&to) {
                return Err(BadReference::Circle(to.to_owned()).into());
            }
            let target = self.document.at(to)?;
            seen.join(self.deeper(target, to, within)?);
        }
        for part in list(map, "allOf") {
            seen.join(self.deeper(part, "", within)?);
        }
        for word in ["oneOf", "anyOf"] {
            let variants = list(map, word);
            if !variants.is_empty() {
                let looked: Result<Vec<Seen<'a>>, Trouble> = variants.iter().map(|variant| self.deeper(variant, "", within)).collect();
                seen.join(any_of(looked?));
            }
        }
        Ok(seen)
    }

    fn deeper(&self, schema: &'a Value, by: &'a str, within: &mut Vec<&'a str>) -> Result<Seen<'a>, Trouble> {
        within.push(by);
        let seen = self.look(schema, within);
        within.pop();
        seen
    }
}

fn list<'a>(map: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    map.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What the schema says itself, its parts apart.
fn own(map: &Map<String, Value>) -> Seen<'_> {
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let number = |key: &str| map.get(key).filter(|value| value.is_number());
    let truth = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
    let mut seen = Seen {
        nullable: truth("nullable"),
        format: text("format"),
        default: map.get("default").filter(|value| !value.is_null()),
        minimum: number("minimum"),
        maximum: number("maximum"),
        min_length: map.get("minLength").and_then(Value::as_u64),
        max_length: map.get("maxLength").and_then(Value::as_u64),
        pattern: text("pattern"),
        title: text("title"),
        description: text("description"),
        items: map.get("items").filter(|value| value.is_object()),
        more: map.get("additionalProperties").is_some_and(|value| value.as_object().is_some_and(|schema| !schema.is_empty())),
        read_only: truth("readOnly"),
        ..Seen::default()
    };
    let types: Vec<&str> = match map.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for name in types {
        match name {
            "boolean" => drop(seen.kinds.insert(Kind::Boolean)),
            "integer" => drop(seen.kinds.insert(Kind::Integer)),
            "number" => drop(seen.kinds.insert(Kind::Number)),
            "string" => drop(seen.kinds.insert(Kind::Text)),
            "array" => drop(seen.kinds.insert(Kind::List)),
            "object" => drop(seen.kinds.insert(Kind::Object)),
            "null" => seen.nullable = true,
            _ => {}
        }
    }
    let choices = match (map.get("enum").and_then(Value::as_array), map.get("const")) {
        (_, Some(one)) => Some(vec![one]),
        (Some(several), None) => Some(several.iter().collect()),
        (None, None) => None,
    };
    if let Some(choices) = choices {
        seen.nullable |= choices.iter().any(|choice| choice.is_null());
        let choices: Vec<&Value> = choices.into_iter().filter(|choice| !choice.is_null()).collect();
        if seen.kinds.is_empty() {
            seen.kinds = choices.iter().filter_map(|choice| kind_of(choice)).collect();
        }
        seen.choices = Some(choices);
    }
    if let Some(properties) = map.get("properties").and_then(Value::as_object) {
        seen.properties = properties.iter().map(|(name, schema)| (name.as_str(), schema)).collect();
    }
    seen.required = list(map, "required").iter().filter_map(Value::as_str).collect();
    if seen.kinds.is_empty() && (!seen.properties.is_empty() || seen.more) {
        seen.kinds.insert(Kind::Object);
    }
    if seen.kinds.is_empty() && seen.items.is_some() {
        seen.kinds.insert(Kind::List);
    }
    seen
}

fn kind_of(value: &Value) -> Option<Kind> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(Kind::Boolean),
        Value::Number(number) if number.is_f64() => Some(Kind::Number),
        Value::Number(_) => Some(Kind::Integer),
        Value::String(_) => Some(Kind::Text),
        Value::Array(_) => Some(Kind::List),
        Value::Object(_) => Some(Kind::Object),
    }
}

impl<'a> Seen<'a> {
    /// Both hold. What is said here goes before what the other says.
    fn join(&mut self, other: Self) {
        if self.kinds.is_empty() {
            self.kinds = other.kinds;
        } else if !other.kinds.is_empty() {
            let both: BTreeSet<Kind> = self.kinds.intersection(&other.kinds).copied().collect();
            // `integer` is a `number`.
            let whole = self.kinds.union(&other.kinds).any(|kind| *kind == Kind::Integer);
            self.kinds = if both.is_empty() && whole { BTreeSet::from([Kind::Integer]) } else { both };
        }
        self.nullable |= other.nullable;
        self.choices = match (self.choices.take(), other.choices) {
            (Some(own), Some(others)) => Some(own.into_iter().filter(|choice| others.contains(choice)).collect()),
            (own, others) => own.or(others),
        };
        for (name, schema) in other.properties {
            if !self.properties.iter().any(|(known, _)| *known == name) {
                self.properties.push((name, schema));
            }
        }
        self.required.extend(other.required);
        self.more |= other.more;
        self.read_only |= other.read_only;
        self.format = self.format.or(other.format);
        self.default = self.default.or(other.default);
        self.minimum = self.minimum.or(other.minimum);
        self.maximum = self.maximum.or(other.maximum);
        self.min_length = self.min_length.or(other.min_length);
        self.max_length = self.max_length.or(other.max_length);
        self.pattern = self.pattern.or(other.pattern);
        self.title = self.title.or(other.title);
        self.description = self.description.or(other.description);
        self.items = self.items.or(other.items);
    }
}

/// What holds whichever of the variants it is.
fn any_of(variants: Vec<Seen<'_>>) -> Seen<'_> {
    let null_only = |seen: &Seen<'_>| seen.nullable && seen.kinds.is_empty() && seen.properties.is_empty();
    let nullable = variants.iter().any(|seen| seen.nullable);
    let mut rest: Vec<Seen<'_>> = variants.into_iter().filter(|seen| !null_only(seen)).collect();
    if rest.len() == 1 {
        let mut only = rest.remove(0);
        only.nullable |= nullable;
        return only;
    }
    let mut all = Seen { nullable, ..Seen::default() };
    // Where one variant may be anything, nothing is known of the whole.
    if rest.iter().all(|seen| !seen.kinds.is_empty()) {
        all.kinds = rest.iter().flat_map(|seen| seen.kinds.iter().copied()).collect();
    }
    if !rest.is_empty() && rest.iter().all(|seen| seen.choices.is_some()) {
        let mut choices: Vec<&Value> = Vec::new();
        for choice in rest.iter().flat_map(|seen| seen.choices.iter().flatten()) {
            if !choices.contains(choice) {
                choices.push(choice);
            }
        }
        all.choices = Some(choices);
    }
    all.default = rest.iter().find_map(|seen| seen.default);
    all.description = rest.iter().find_map(|seen| seen.description);
    all.required = rest.iter().map(|seen| seen.required.clone()).reduce(|one, other| &one & &other).unwrap_or_default();
    all.items = rest.iter().find_map(|seen| seen.items);
    all.more = rest.iter().any(|seen| seen.more);
    let same_format = rest.windows(2).all(|pair| pair[0].format == pair[1].format);
    all.format = if same_format { rest.first().and_then(|seen| seen.format) } else { None };
    for (name, schema) in rest.into_iter().flat_map(|seen| seen.properties) {
        if !all.properties.iter().any(|(known, _)| *known == name) {
            all.properties.push((name, schema));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::fault::SourceText;

    fn document(schemas: Value) -> Document {
        let text = json!({"openapi": "3.1.0", "components": {"schemas": schemas}}).to_string();
        Document::read(&Arc::new(SourceText { path: PathBuf::from("a.json"), text })).expect("reads")
    }

    fn names<'a>(seen: &Seen<'a>) -> Vec<&'a str> {
        seen.properties.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn parts_are_taken_together() {
        let document = document(json!({
            "Base": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "name": {"type": "string"}}},
            "Pet": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["tag"], "properties": {"tag": {"type": "string"}}}]},
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}},
        }));
        let schema = json!({"$ref": "#/components/schemas/Pet", "description": "a pet"});
        let seen = look(&document, &schema).expect("looks");
        assert_eq!((names(&seen), seen.description), (vec!["id", "name", "tag"], Some("a pet")));
        assert_eq!(seen.required, BTreeSet::from(["id", "tag"]));
        let node = json!({"$ref": "#/components/schemas/Node"});
        assert_eq!(names(&look(&document, &node).expect("looks")), ["next"], "a schema may refer to itself");
    }

    #[test]
    fn variants_leave_what_holds_for_each() {
        let document = document(json!({
            "Cat": {"type": "object", "required": ["kind", "lives"], "properties": {"kind": {}, "lives": {}}},
            "Dog": {"type": "object", "required": ["kind"], "properties": {"kind": {}, "breed": {}}},
        }));
        let schema = json!({"oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]});
        let seen = look(&document, &schema).expect("looks");
        assert_eq!((names(&seen), seen.required), (vec!["kind", "lives", "breed"], BTreeSet::from(["kind"])));
        let kinds = |schema: Value| {
            let seen = look(&document, &schema).expect("looks");
            (seen.kinds.iter().copied().collect::<Vec<_>>(), seen.nullable, seen.choices.map(|choices| choices.len()))
        };
        assert_eq!(kinds(json!({"anyOf": [{"type": "string", "enum": ["a"]}, {"enum": ["b", "a"]}]})), (vec![Kind::Text], false, Some(2)));
        assert_eq!(kinds(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]})), (vec![Kind::Integer], true, None));
        assert_eq!(kinds(json!({"type": ["string", "null"]})), (vec![Kind::Text], true, None));
        assert_eq!(kinds(json!({"type": "string", "nullable": true, "enum": ["a", null]})), (vec![Kind::Text], true, Some(1)));
        assert_eq!(kinds(json!({"oneOf": [{"type": "string"}, {"type": "integer"}]})), (vec![Kind::Integer, Kind::Text], false, None));
        assert_eq!(kinds(json!({"oneOf": [{"type": "string"}, {}]})), (vec![], false, None));
        assert_eq!(kinds(json!({"const": 5})), (vec![Kind::Integer], false, Some(1)));
        assert_eq!(kinds(json!({"allOf": [{"type": "number"}, {"type": "integer"}]})), (vec![Kind::Integer], false, None));
        assert_eq!(kinds(json!(true)), (vec![], false, None));
    }

    #[test]
    fn circles_and_avalanches_end() {
        let round =
            document(json!({"A": {"allOf": [{"$ref": "#/components/schemas/B"}]}, "B": {"allOf": [{"$ref": "#/components/schemas/A"}]}}));
        let schema = json!({"$ref": "#/components/schemas/A"});
        assert_eq!(look(&round, &schema).expect_err("a circle").reason(), "circular-reference");
        let mut doubling = Map::new();
        for n in 0..30 {
            let next = json!({ "$ref": format!("#/components/schemas/S{}", n + 1) });
            doubling.insert(format!("S{n}"), json!({"allOf": [next.clone(), next]}));
        }
        doubling.insert("S30".to_owned(), json!({"type": "string"}));
        let doubling = document(Value::Object(doubling));
        let schema = json!({"$ref": "#/components/schemas/S0"});
        assert_eq!(look(&doubling, &schema), Err(Trouble::TooLarge));
    }
}
