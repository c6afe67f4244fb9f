//! Deliveries of other services: what they tell, each in its own words.
//!
//! A type is `<source>.<event>`, a key the source with the service's own id. The data is the body. Whatever the service,
//! CloudEvents are read as such.

mod cloud;
mod form;
mod pick;
mod place;
mod row;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::event::{Change, Key, Problem, SourceName, TYPE_UNPARSED, Tree};
use crate::headers::Headers;
use crate::time::Timestamp;

use super::thing::{self, id_text};
use super::{EVENT_ID_MAX, Reading, SourceView, TYPE_UNKNOWN, key, types};

pub use pick::Pick;
use place::element;
pub(super) use place::{Form, data, place};
pub use row::{RowEvent, RowSight, row_change};

/// The longest text that a handshake may ask back, in bytes.
pub const CHALLENGE_BYTES_MAX: usize = 1024;

/// From here on a number that means a time means milliseconds.
const MILLISECONDS_FROM: f64 = 1e11;

/// Whose words a delivery uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `type` and `timestamp` in the body, `webhook-id` in a header.
    StandardWebhooks,
    /// `X-GitHub-Event`, `X-GitHub-Delivery`, `action`.
    GitHub,
    /// `type`, `id`, `created`.
    Stripe,
    /// `event.type`, `event_id`, `event_time`; commands and buttons as forms.
    Slack,
    /// `X-Shopify-Topic`, `X-Shopify-Webhook-Id`, `X-Shopify-Triggered-At`.
    Shopify,
    /// `response.events`, `eventId`, `notificationId`.
    CloudElements,
    /// `type`, `id` and `time`, unless the configuration says otherwise.
    Custom,
}

impl Service {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] =
        [Self::StandardWebhooks, Self::GitHub, Self::Stripe, Self::Slack, Self::Shopify, Self::CloudElements, Self::Custom];
}

/// What is needed to know of a source of another service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Its name.
    pub name: SourceName,
    /// Whose words it uses.
    pub service: Service,
    /// Where the event's name is, in place of where the service has it.
    pub event: Option<Pick>,
    /// Where the service's id of the event is, likewise.
    pub id: Option<Pick>,
    /// Where the time is at which it happened, likewise.
    pub time: Option<Pick>,
}

impl ServiceView {
    /// A source that uses a service's words as they are.
    #[must_use]
    pub fn of(name: SourceName, service: Service) -> Self {
        Self { name, service, event: None, id: None, time: None }
    }

    /// The header in which the name of an event comes, where it does not come in the body.
    #[must_use]
    pub fn event_header(&self) -> Option<&str> {
        match (&self.event, self.service) {
            (Some(pick), _) => pick.header(),
            (None, Service::GitHub) => Some("x-github-event"),
            (None, Service::Shopify) => Some("x-shopify-topic"),
            (None, _) => None,
        }
    }

    /// The type of an event that the service calls so.
    fn event_type(&self, event: &str) -> Arc<str> {
        types::of_service(&self.name, event)
    }

    fn as_source(&self) -> SourceView {
        SourceView { name: Arc::clone(&self.name), tenant_url: None }
    }
}

/// Reads a delivery of another service. Nothing in it is an error: what cannot be used is a change of type
/// `tripline.unparsed`. An empty batch of CloudEvents tells nothing: there are no changes then.
#[must_use]
pub fn read<'t>(body: &'t [u8], view: &ServiceView, headers: &dyn Headers, received: Timestamp) -> Reading<'t> {
    if let Some(mode) = cloud::mode(headers) {
        return match cloud::read(mode, body, view, headers) {
            Ok(changes) => {
                // The same event in another mode has other bytes and is no other event.
                let delivery_id = match changes.as_slice() {
                    [(only, _)] if mode != cloud::Mode::Batch => Some(Arc::from(format!("{}{mode:?}", only.key.text))),
                    _ => None,
                };
                Reading { changes, delivery_id }
            }
            Err(problem) => unparsed(problem, body, view, received),
        };
    }
    let media = headers.text("content-type").unwrap_or_default();
    let is_form = media.get(..form::MEDIA_TYPE.len()).is_some_and(|head| head.eq_ignore_ascii_case(form::MEDIA_TYPE));
    let read = if is_form { form::read(body).map(|form| (form, None)) } else { place::read_object(body) };
    match read {
        Ok((tree, flaw)) => {
            let mut reading = changes(tree, is_form, body, view, headers, received);
            reading.changes.iter_mut().for_each(|(change, _)| change.problem.clone_from(&flaw));
            reading
        }
        Err(problem) => unparsed(problem, body, view, received),
    }
}

/// The text that a service wants back before it sends anything, where a body is such a question.
#[must_use]
pub fn challenge(body: &[u8], service: Service) -> Option<String> {
    if service != Service::Slack || body.len() > 4 * CHALLENGE_BYTES_MAX {
        return None;
    }
    let question = Tree::Object(place::object(body).ok()?);
    let asks = question.get("type").and_then(Tree::as_str) == Some("url_verification");
    let text = question.get("challenge").and_then(Tree::as_str).filter(|text| text.len() <= CHALLENGE_BYTES_MAX)?;
    asks.then(|| text.to_owned())
}

fn changes<'t>(
    body: Tree<'t>,
    is_form: bool,
    bytes: &'t [u8],
    view: &ServiceView,
    headers: &dyn Headers,
    received: Timestamp,
) -> Reading<'t> {
    let picked = |pick: &Option<Pick>| pick.as_ref().and_then(|pick| pick.of(&body, headers));
    let time = match &view.time {
        Some(_) => picked(&view.time).and_then(|value| moment(&value)),
        None => own_time(&body, view.service, headers),
    };
    let id = match &view.id {
        Some(_) => picked(&view.id).and_then(|value| id_text(&value)),
        None => own_id(&body, view.service, headers),
    };
    let event = match &view.event {
        Some(_) => picked(&view.event).and_then(|value| value.as_str().map(str::to_owned)),
        None => own_event(&body, view.service, headers),
    };
    let whole_form = if is_form { Form::Fields } else { Form::Whole };
    let (form, items) = match (view.service, is_form, body) {
        (Service::CloudElements, false, Tree::Object(fields)) => match place::elements(fields) {
            Ok(items) => (Form::Elements, items),
            Err(fields) => (whole_form, vec![Tree::Object(fields)]),
        },
        (_, _, body) => (whole_form, vec![body]),
    };
    let service_id = id.as_deref().map(printable_id);
    let count = items.len();
    let all = items.into_iter().enumerate().map(|(index, data)| {
        let several = if count > 1 { index.to_string() } else { String::new() };
        let own = if form == Form::Elements { elements_event(&data) } else { None };
        let event_type = view.event_type(own.as_deref().or(event.as_deref()).unwrap_or(TYPE_UNKNOWN));
        let key = match &id {
            Some(id) => Key::exact(format!("source:{}|event|{id}|{several}|", view.name)),
            None => {
                let key = cloud::key_of_bytes(view, bytes, &event_type, received);
                Key { text: Arc::from(format!("{}{several}", key.text)), ..key }
            }
        };
        let own_time = if form == Form::Elements { elements_time(&data) } else { None };
        let change = Change {
            time: own_time.or(time),
            service_id: service_id.clone(),
            element: element(form, index),
            ..Change::told(key, event_type)
        };
        (change, data)
    });
    // The ids of one service say nothing about those of another.
    let delivery_id = id.as_ref().map(|id| Arc::from(format!("source:{}|{id}", view.name)));
    Reading { changes: all.collect(), delivery_id }
}

fn unparsed<'t>(problem: Problem, body: &[u8], view: &ServiceView, received: Timestamp) -> Reading<'t> {
    let key = key::of_bytes(&view.as_source(), &key::HashedBody::new(body), TYPE_UNPARSED, received);
    let change = Change { problem: Some(problem), ..Change::told(key, TYPE_UNPARSED) };
    Reading { changes: vec![(change, Tree::Null)], delivery_id: None }
}

/// An id as it is shown: as it came, its hash where it is too long or unprintable.
fn printable_id(id: &str) -> Arc<str> {
    if id.len() > EVENT_ID_MAX || id.contains(char::is_control) {
        return Arc::from(format!("sha256:{}", thing::sha256(id.as_bytes())));
    }
    Arc::from(id)
}

fn own_event(body: &Tree<'_>, service: Service, headers: &dyn Headers) -> Option<String> {
    let field = |name: &str| body.get(name).and_then(Tree::as_str).map(str::to_owned);
    match service {
        Service::GitHub => {
            let event = headers.text("x-github-event")?;
            Some(field("action").map_or_else(|| event.to_owned(), |action| format!("{event}.{action}")))
        }
        Service::Shopify => headers.text("x-shopify-topic").map(str::to_owned),
        Service::Slack => {
            let event = body.get("event").and_then(|event| event.get("type")).and_then(Tree::as_str).map(str::to_owned);
            event.or_else(|| field("type")).or_else(|| field("command").map(|_| "slash_command".to_owned()))
        }
        Service::StandardWebhooks | Service::Stripe | Service::Custom => field("type"),
        Service::CloudElements => None,
    }
}

fn own_id(body: &Tree<'_>, service: Service, headers: &dyn Headers) -> Option<String> {
    let header = |name: &str| headers.text(name).and_then(|text| id_text(&Tree::Text(text.into())));
    let field = |name: &str| body.get(name).and_then(id_text);
    match service {
        Service::GitHub => header("x-github-delivery"),
        Service::Shopify => header("x-shopify-webhook-id"),
        Service::StandardWebhooks => header("webhook-id").or_else(|| header("svix-id")).or_else(|| field("id")),
        Service::Slack => field("event_id").or_else(|| field("trigger_id")),
        Service::Stripe => field("id"),
        Service::CloudElements => field("eventId").or_else(|| field("notificationId")),
        Service::Custom => field("id").or_else(|| field("event_id")),
    }
}

fn own_time(body: &Tree<'_>, service: Service, headers: &dyn Headers) -> Option<Timestamp> {
    let field = |name: &str| body.get(name).and_then(moment);
    match service {
        Service::StandardWebhooks => field("timestamp"),
        Service::Stripe => field("created"),
        Service::Slack => field("event_time"),
        Service::Shopify => headers.text("x-shopify-triggered-at").and_then(Timestamp::parse_lenient).and_then(Timestamp::sane),
        Service::Custom => field("time").or_else(|| field("timestamp")),
        Service::GitHub | Service::CloudElements => None,
    }
}

/// `contacts.updated`: the object and what happened to it, as Cloud Elements names them.
fn elements_event(element: &Tree<'_>) -> Option<String> {
    let text = |names: [&str; 2]| names.into_iter().find_map(|name| element.get(name)?.as_str()).filter(|text| !text.trim().is_empty());
    let what = text(["eventType", "event_type"])?.to_ascii_lowercase();
    Some(text(["objectType", "event_object_type"]).map_or_else(|| what.clone(), |object| format!("{object}.{what}")))
}

fn elements_time(element: &Tree<'_>) -> Option<Timestamp> {
    ["date", "event_date"].into_iter().find_map(|name| element.get(name).and_then(moment))
}

/// A sane instant: a text, or a number of seconds or milliseconds since 1970.
fn moment(value: &Tree<'_>) -> Option<Timestamp> {
    let number = |number: f64| {
        let millis = if number.abs() >= MILLISECONDS_FROM { number } else { number * 1000.0 };
        // Beyond what an integer holds it is no sane instant.
        (millis.is_finite() && millis.abs() < 1e17).then(|| Timestamp::from_millis(millis as i64))
    };
    let read = match value {
        Tree::Number(own) => own.as_f64().and_then(number),
        Tree::Text(text) => Timestamp::parse_lenient(text).or_else(|| text.trim().parse().ok().and_then(number)),
        _ => None,
    };
    read.and_then(Timestamp::sane)
}
