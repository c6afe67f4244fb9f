//! JSON as it stands in a body: a tree that borrows its texts, and the view that it shares with owned values.
//!
//! A delivery is taken in without copying its texts; what some rule wants of it is copied out later.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// What a JSON value is; objects show their fields by [`Json::fields`].
#[derive(Clone, Copy, Debug)]
pub enum View<'v, J> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(&'v Number),
    /// A string.
    Text(&'v str),
    /// An array.
    List(&'v [J]),
    /// An object.
    Object,
}

/// A JSON value, owned or borrowed: what patterns look at.
pub trait Json: Sized {
    /// What it is.
    fn view(&self) -> View<'_, Self>;

    /// The fields of an object in their order; nothing for any other value.
    fn fields<'v>(&'v self) -> impl Iterator<Item = (&'v str, &'v Self)>
    where
        Self: 'v;
}

impl Json for Value {
    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Null => View::Null,
            Self::Bool(b) => View::Bool(*b),
            Self::Number(number) => View::Number(number),
            Self::String(text) => View::Text(text),
            Self::Array(items) => View::List(items),
            Self::Object(_) => View::Object,
        }
    }

    fn fields<'v>(&'v self) -> impl Iterator<Item = (&'v str, &'v Self)>
    where
        Self: 'v,
    {
        self.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }
}

/// A JSON value that borrows from the text it was read from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tree<'t> {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Cow<'t, str>),
    /// An array.
    List(Vec<Self>),
    /// An object.
    Object(Fields<'t>),
}

impl Json for Tree<'_> {
    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Null => View::Null,
            Self::Bool(b) => View::Bool(*b),
            Self::Number(number) => View::Number(number),
            Self::Text(text) => View::Text(text),
            Self::List(items) => View::List(items),
            Self::Object(_) => View::Object,
        }
    }

    fn fields<'v>(&'v self) -> impl Iterator<Item = (&'v str, &'v Self)>
    where
        Self: 'v,
    {
        let fields = if let Self::Object(fields) = self { fields.0.as_slice() } else { &[] };
        fields.iter().map(|(name, value)| (&**name, value))
    }
}

impl<'t> Tree<'t> {
    /// A value that is there already, without copying its texts.
    #[must_use]
    pub fn of(value: &'t Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(map) => {
                Self::Object(Fields(map.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), Self::of(value))).collect()))
            }
        }
    }

    /// A field of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        if let Self::Object(fields) = self { fields.get(name) } else { None }
    }

    /// A string's text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A number that is an integer of 64 bits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }

    /// The same value, copied out.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String((**text).to_owned()),
            Self::List(items) => Value::Array(items.iter().map(Tree::to_value).collect()),
            Self::Object(fields) => Value::Object(fields.to_map()),
        }
    }

    /// The same value, owned.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::List(items) => Value::Array(items.into_iter().map(Tree::into_value).collect()),
            Self::Object(fields) => {
                let mut map = Map::with_capacity(fields.0.len());
                map.extend(fields.0.into_iter().map(|(name, value)| (name.into_owned(), value.into_value())));
                Value::Object(map)
            }
        }
    }
}

/// The fields of an object, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields<'t>(Vec<(Cow<'t, str>, Tree<'t>)>);

impl<'t> Fields<'t> {
    /// None yet, with room for `count`.
    #[must_use]
    pub fn with_room(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tree<'t>> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Adds a field at the end; the caller knows that there is none of this name.
    pub fn push(&mut self, name: Cow<'t, str>, value: Tree<'t>) {
        self.0.push((name, value));
    }

    /// Sets a field: in its place, or at the end when there is none of this name.
    pub fn set(&mut self, name: &'t str, value: Tree<'t>) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((Cow::Borrowed(name), value)),
        }
    }

    /// Takes a field out; the others keep their order.
    pub fn take(&mut self, name: &str) -> Option<Tree<'t>> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.remove(at).1)
    }

    /// Removes a field; the others keep their order.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| own != name);
    }

    /// The same fields, copied out.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::with_capacity(self.0.len());
        map.extend(self.0.iter().map(|(name, value)| ((**name).to_owned(), value.to_value())));
        map
    }

    /// The fields.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(Cow<'t, str>, Tree<'t>)> {
        self.0.iter()
    }
}

impl<'t> IntoIterator for Fields<'t> {
    type Item = (Cow<'t, str>, Tree<'t>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_keep_their_order_and_are_set_in_place() {
        let mut fields = Fields::default();
        fields.push("b".into(), Tree::Bool(true));
        fields.push("a".into(), Tree::Null);
        fields.set("b", Tree::Text("x".into()));
        fields.set("c", Tree::List(vec![Tree::Number(1.into())]));
        fields.remove("a");
        let tree = Tree::Object(fields);
        assert_eq!(tree.get("b").and_then(Tree::as_str), Some("x"));
        let copied = tree.to_value();
        let value = tree.into_value();
        assert_eq!(copied.to_string(), value.to_string());
        assert_eq!(value, json!({"b": "x", "c": [1]}));
        assert_eq!(value.to_string(), r#"{"b":"x","c":[1]}"#, "in their order");
    }
}
