//! What the configuration says of a body or its headers: `body.id`, `headers.x-event`, or an expression over both.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::event::Tree;
use crate::expr::{Expression, Scope};
use crate::headers::{Headers, is_header_name};

/// Where a value of a delivery is found.
#[derive(Clone, Debug)]
pub struct Pick {
    text: String,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    /// A header, by its name in lower case.
    Header(String),
    /// Names of fields from the body down.
    Path(Vec<String>),
    /// Over `body` and the `headers` that it names.
    Expression(Box<Expression>),
}

impl PartialEq for Pick {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The headers that an expression may ask for are those that the delivery can have; their names are read out of its text.
const QUOTES: [char; 2] = ['"', '\''];

impl Pick {
    /// Reads it as written.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let own = |way| Ok(Self { text: text.to_owned(), way });
        let trimmed = text.trim();
        if let Some(name) = trimmed.strip_prefix("headers.").filter(|name| is_header_name(name) && !name.contains('.')) {
            return own(Way::Header(name.to_ascii_lowercase()));
        }
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        if let Some(path) = trimmed.strip_prefix("body.")
            && path.split('.').all(is_name)
        {
            return own(Way::Path(path.split('.').map(str::to_owned).collect()));
        }
        let expression = Expression::compile(trimmed).map_err(|error| error.to_string())?;
        let references = expression.references();
        let roots = references.iter().filter_map(|path| path.split(['.', '[']).next());
        if let Some(other) = roots.into_iter().find(|name| *name != "body" && *name != "headers") {
            return Err(format!("`{other}` is not known here; `body` and `headers` are"));
        }
        own(Way::Expression(Box::new(expression)))
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The header that it names, where it is nothing else.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        if let Way::Header(name) = &self.way { Some(name) } else { None }
    }

    /// The value in a delivery; nothing where it is missing.
    pub(super) fn of<'v>(&self, body: &'v Tree<'v>, headers: &'v dyn Headers) -> Option<Cow<'v, Tree<'v>>> {
        match &self.way {
            Way::Header(name) => headers.text(name).map(|text| Cow::Owned(Tree::Text(Cow::Borrowed(text)))),
            Way::Path(names) => names.iter().try_fold(body, |value, name| value.get(name)).map(Cow::Borrowed),
            Way::Expression(expression) => {
                let found: Map<String, Value> = quoted(&self.text)
                    .filter_map(|name| Some((name.to_owned(), headers.text(&name.to_ascii_lowercase())?.into())))
                    .collect();
                let (body, headers) = (body.clone().into_value(), Value::Object(found));
                let scope = Scope::new().bind("body", &body).bind("headers", &headers);
                expression.eval(&scope).ok().map(|value| Cow::Owned(super::form::owned(Tree::of(&value))))
            }
        }
    }
}

/// All that stands in quotes and may name a header.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split(QUOTES).skip(1).step_by(2).filter(|name| is_header_name(name))
}
