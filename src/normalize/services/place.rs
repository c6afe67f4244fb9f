//! Where in a stored body the `data` of an event of another service stands: a number that is kept with the event, from
//! which [`crate::normalize::project`] finds the data again.
//!
//! ```text
//! bit 31   1: another service (0: an index into Orchestrator's array)
//! 28..30   what the body is
//! 0..27    index
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{cloud, form};
use crate::event::{Fields, Problem, Tree};
use crate::normalize::json;

/// What a body is, as far as its data goes. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::normalize) enum Form {
    /// An object that is the data.
    Whole = 0,
    /// A form: `payload`'s JSON where it has one, else its fields.
    Fields = 1,
    /// `response.events` of Cloud Elements.
    Elements = 2,
    /// A CloudEvent.
    Cloud = 3,
    /// A list of CloudEvents.
    Batch = 4,
    /// The data of a CloudEvent: JSON.
    Json = 5,
    /// The data of a CloudEvent: text.
    Text = 6,
    /// The data of a CloudEvent: other bytes, as base64.
    Bytes = 7,
}

const SERVICE: u32 = 1 << 31;
const INDEX: u32 = (1 << 28) - 1;
const FORMS: [Form; 8] = [Form::Whole, Form::Fields, Form::Elements, Form::Cloud, Form::Batch, Form::Json, Form::Text, Form::Bytes];

/// The number that is kept.
pub(super) fn element(form: Form, index: usize) -> u32 {
    SERVICE | (u32::from(form as u8) << 28) | u32::try_from(index).unwrap_or(INDEX).min(INDEX)
}

/// What the body of an element of another service is, and its index there; `None` where it is of Orchestrator.
pub(in crate::normalize) fn place(element: u32) -> Option<(Form, usize)> {
    (element & SERVICE != 0).then(|| (FORMS[((element >> 28) & 7) as usize], (element & INDEX) as usize))
}

/// The data of every event in a body; none for one that cannot be read.
pub(in crate::normalize) fn data(body: &[u8], form: Form) -> Vec<Tree<'_>> {
    read(body, form).unwrap_or_default()
}

fn read(body: &[u8], form: Form) -> Result<Vec<Tree<'_>>, Problem> {
    Ok(match form {
        Form::Whole => vec![Tree::Object(object(body)?)],
        Form::Fields => vec![form::read(body)?],
        Form::Elements => elements(object(body)?).unwrap_or_else(|whole| vec![Tree::Object(whole)]),
        Form::Cloud => vec![cloud::data(object(body)?)],
        Form::Batch => match json::read(body)?.0 {
            Tree::List(items) => {
                items.into_iter().map(|item| if let Tree::Object(item) = item { cloud::data(item) } else { Tree::Null }).collect()
            }
            _ => Vec::new(),
        },
        Form::Json => vec![json::read(body)?.0],
        Form::Text => vec![Tree::Text(String::from_utf8_lossy(body))],
        Form::Bytes => vec![Tree::Text(STANDARD.encode(body).into())],
    })
}

/// A body that has to be an object, and which integer in it was rounded, if one was.
pub(super) fn read_object(body: &[u8]) -> Result<(Tree<'_>, Option<Problem>), Problem> {
    let (tree, flaw) = json::read(body)?;
    if matches!(tree, Tree::Object(_)) { Ok((tree, flaw)) } else { Err(json::not_an_object(body, &tree)) }
}

/// The fields of a body that has to be an object.
pub(super) fn object(body: &[u8]) -> Result<Fields<'_>, Problem> {
    match read_object(body)?.0 {
        Tree::Object(fields) => Ok(fields),
        _ => Ok(Fields::default()),
    }
}

/// The objects in `response.events`; the body again where it has none of them, or something else among them.
pub(super) fn elements(mut body: Fields<'_>) -> Result<Vec<Tree<'_>>, Fields<'_>> {
    let is_list = |response: &Tree<'_>| {
        matches!(response.get("events"), Some(Tree::List(items))
            if !items.is_empty() && items.len() <= crate::normalize::ELEMENTS_MAX && items.iter().all(|item| matches!(item, Tree::Object(_))))
    };
    if !body.get("response").is_some_and(is_list) {
        return Err(body);
    }
    match body.take("response") {
        Some(Tree::Object(mut response)) => match response.take("events") {
            Some(Tree::List(items)) => Ok(items),
            _ => Err(body),
        },
        _ => Err(body),
    }
}
