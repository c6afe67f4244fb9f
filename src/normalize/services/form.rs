//! Bodies that are HTML forms: GitHub's other content type, Slack's commands and buttons.

use std::borrow::Cow;

use crate::event::{Fields, Problem, Tree};
use crate::normalize::json;

/// The most fields of a form.
const FIELDS_MAX: usize = 1000;

/// The field that holds JSON where a form is only its wrapping.
const PAYLOAD: &str = "payload";

/// The media type of forms.
pub(super) const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// `payload` where that is an object in JSON, else the fields as texts; a name that comes several times is a list.
pub(super) fn read(body: &[u8]) -> Result<Tree<'_>, Problem> {
    let wrong = |message: String| Problem { message, line: 0, column: 0 };
    let mut fields = Fields::default();
    for (count, (name, value)) in url::form_urlencoded::parse(body).enumerate() {
        if count >= FIELDS_MAX {
            return Err(wrong(format!("the form has more than {FIELDS_MAX} fields")));
        }
        match fields.take(&name) {
            None => fields.push(name, Tree::Text(value)),
            Some(Tree::List(mut list)) => {
                list.push(Tree::Text(value));
                fields.push(name, Tree::List(list));
            }
            Some(first) => fields.push(name, Tree::List(vec![first, Tree::Text(value)])),
        }
    }
    if let Some(Tree::Text(text)) = fields.get(PAYLOAD)
        && text.trim_start().starts_with('{')
    {
        return json::read(text.as_bytes()).map(|(payload, _)| owned(payload));
    }
    if fields.iter().len() == 0 {
        return Err(wrong("the form is empty".to_owned()));
    }
    Ok(Tree::Object(fields))
}

/// The same value, borrowing nothing.
pub(super) fn owned<'t>(tree: Tree<'_>) -> Tree<'t> {
    match tree {
        Tree::Null => Tree::Null,
        Tree::Bool(truth) => Tree::Bool(truth),
        Tree::Number(number) => Tree::Number(number),
        Tree::Text(text) => Tree::Text(Cow::Owned(text.into_owned())),
        Tree::List(items) => Tree::List(items.into_iter().map(owned).collect()),
        Tree::Object(fields) => {
            let mut own = Fields::default();
            fields.into_iter().for_each(|(name, value)| own.push(Cow::Owned(name.into_owned()), owned(value)));
            Tree::Object(own)
        }
    }
}
