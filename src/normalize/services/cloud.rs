//! CloudEvents 1.0: whole in a body, several in a body, or with their attributes in headers.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ServiceView;
use super::form::owned;
use super::place::{Form, element, object};
use crate::event::{Change, Fields, Key, Problem, Tree};
use crate::headers::{Found, Headers};
use crate::normalize::thing::{NAME_MAX, id_text};
use crate::normalize::{ELEMENTS_MAX, json, key};
use crate::time::Timestamp;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// What every other form of CloudEvents begins with.
const FAMILY: &str = "application/cloudevents";

/// How a delivery carries CloudEvents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Structured,
    Batch,
    Binary,
    /// In a form that is not read, such as Avro.
    Other,
}

/// How a delivery carries CloudEvents, if it does.
pub(super) fn mode(headers: &dyn Headers) -> Option<Mode> {
    let media = headers.text("content-type").unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        STRUCTURED => Some(Mode::Structured),
        BATCH => Some(Mode::Batch),
        other if other.starts_with(FAMILY) => Some(Mode::Other),
        _ => (headers.find("ce-specversion") != Found::Missing).then_some(Mode::Binary),
    }
}

/// Its events with their data. `Err` says why the body cannot be used.
pub(super) fn read<'t>(mode: Mode, body: &'t [u8], view: &ServiceView, headers: &dyn Headers) -> Result<Vec<(Change, Tree<'t>)>, Problem> {
    match mode {
        Mode::Structured => {
            let event = object(body)?;
            let change = of_fields(&event, element(Form::Cloud, 0), view)?;
            Ok(vec![(change, data(event))])
        }
        Mode::Batch => {
            let items = match json::read(body)?.0 {
                Tree::List(items) if items.len() <= ELEMENTS_MAX => items,
                Tree::List(items) => return Err(problem(format!("a batch of {} events; at most {ELEMENTS_MAX} are taken", items.len()))),
                _ => return Err(problem("the body is no array; expected a batch of CloudEvents".to_owned())),
            };
            let one = |(index, item)| match item {
                Tree::Object(event) => of_fields(&event, element(Form::Batch, index), view).map(|change| (change, data(event))),
                _ => Err(problem("it is no object".to_owned())),
            };
            let all = items.into_iter().enumerate().map(|item| (item.0, one(item)));
            all.map(|(index, read)| read.map_err(|why| problem(format!("event {} of the batch: {}", index + 1, why.message)))).collect()
        }
        Mode::Binary => {
            let (form, data) = binary_data(body, headers)?;
            let attribute = |name: &str| headers.text(&format!("ce-{name}")).map(decoded);
            let change = of_attributes(&attribute, element(form, 0), view)?;
            Ok(vec![(change, data)])
        }
        Mode::Other => Err(problem("CloudEvents are read as JSON; this is another form of them".to_owned())),
    }
}

fn problem(message: String) -> Problem {
    Problem { message, line: 0, column: 0 }
}

fn of_fields(event: &Fields<'_>, element: u32, view: &ServiceView) -> Result<Change, Problem> {
    let attribute = |name: &str| event.get(name).and_then(Tree::as_str).map(str::to_owned);
    of_attributes(&attribute, element, view)
}

fn of_attributes(attribute: &dyn Fn(&str) -> Option<String>, element: u32, view: &ServiceView) -> Result<Change, Problem> {
    match attribute("specversion").as_deref() {
        Some("1.0") => {}
        Some(_) => return Err(problem("a CloudEvent of another `specversion`; `1.0` is read".to_owned())),
        None => return Err(problem("a CloudEvent without `specversion`; it is a string, `1.0`".to_owned())),
    }
    let needed = |name: &'static str| {
        attribute(name)
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| problem(format!("a CloudEvent without `{name}`; it is a string that is not empty")))
    };
    let (id, source, event_type) = (needed("id")?, needed("source")?, needed("type")?);
    let part = |text: String| id_text(&Tree::Text(text.into())).unwrap_or_default();
    let key = Key::exact(format!("source:{}|cloudevent|{}|{}|", view.name, part(source), part(id.clone())));
    let subject = attribute("subject").filter(|subject| !subject.trim().is_empty());
    let subject = subject.map(|text| text.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect::<String>());
    Ok(Change {
        time: attribute("time").and_then(|text| Timestamp::parse_lenient(&text)).and_then(Timestamp::sane),
        subject: subject.map(Arc::from),
        service_id: Some(super::printable_id(&id)),
        element,
        ..Change::told(key, view.event_type(&event_type))
    })
}

/// The data of a CloudEvent that is an object.
pub(super) fn data(mut event: Fields<'_>) -> Tree<'_> {
    if let Some(data) = event.take("data") {
        return data;
    }
    let Some(text) = event.take("data_base64") else { return Tree::Null };
    let media = event.get("datacontenttype").and_then(Tree::as_str).unwrap_or_default();
    let decoded = text.as_str().and_then(|text| STANDARD.decode(text).ok());
    match decoded {
        Some(bytes) if is_json(media) => json::read(&bytes).map_or(text, |(read, _)| owned(read)),
        _ => text,
    }
}

/// The data of a CloudEvent whose attributes are headers.
fn binary_data<'t>(body: &'t [u8], headers: &dyn Headers) -> Result<(Form, Tree<'t>), Problem> {
    let media = headers.text("content-type").unwrap_or_default();
    if media.is_empty() && body.is_empty() {
        return Ok((Form::Json, Tree::Null));
    }
    if media.is_empty() || is_json(media) {
        return Ok((Form::Json, json::read(body)?.0));
    }
    Ok(match std::str::from_utf8(body) {
        Ok(text) => (Form::Text, Tree::Text(text.into())),
        Err(_) => (Form::Bytes, Tree::Text(STANDARD.encode(body).into())),
    })
}

fn is_json(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.is_empty() || media.ends_with("/json") || media.ends_with("+json")
}

/// A header's value with its percent-encoding undone, as the HTTP binding of CloudEvents has it.
fn decoded(text: &str) -> String {
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok()).and_then(|two| u8::from_str_radix(two, 16).ok());
        match hex {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The key of a delivery that cannot be read.
pub(super) fn key_of_bytes(view: &ServiceView, body: &[u8], event_type: &str, received: Timestamp) -> Key {
    key::of_bytes(&view.as_source(), &key::HashedBody::new(body), event_type, received)
}
