//! From a webhook body to canonical changes, and back from a stored body to `data`.
//!
//! Pure: bytes in, values out. Orchestrator's documented shapes from 2018 on (about-webhooks, types-of-events), and those
//! of other services ([`services`]);
//! whatever cannot be used becomes a change of type `tripline.unparsed`, never an error. Knows nothing of signatures,
//! stores or which copies were seen before: it only says, by keys, what would be a copy.

pub mod cursor;
pub mod feed;
#[cfg(test)]
mod fuzz;
pub mod jobs;
mod json;
mod key;
pub mod listed;
mod origin;
pub mod services;
mod split;
pub mod stood;
mod stored;
#[cfg(test)]
mod tests;
mod thing;
mod types;

use std::sync::Arc;

use serde_json::Value;

use crate::event::{Change, Fields, Folder, Problem, SourceName, TYPE_UNPARSED, Tree};
use crate::time::Timestamp;

use key::{Facts, HashedBody};
use split::Delivery;
use thing::Thing;

#[cfg(test)]
pub(crate) use json::reads;
pub use key::named;
pub use split::{ELEMENTS_MAX, SHARED_BYTES_MAX};
pub use stored::Stored;
pub use thing::NAME_MAX;
pub use types::{TYPE_MAX, TYPE_UNKNOWN};

/// The longest `EventId` that is kept as it came, in bytes; a longer one is hashed. Documented are at most 50.
pub const EVENT_ID_MAX: usize = 128;

/// What `normalize` needs to know of the source a body came through.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its name.
    pub name: SourceName,
    /// The canonical URL of its orchestrator, the tenant part of keys; `None` where the source has none (its keys
    /// then stand under its own name).
    pub tenant_url: Option<Arc<str>>,
}

/// What a body was.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// One change per element, at least one.
    pub changes: Vec<Change>,
    /// `EventId`, for telling a re-delivery from a conflict.
    pub delivery_id: Option<Arc<str>>,
}

/// What a body was, read without copying its texts.
#[derive(Clone, Debug)]
pub struct Reading<'t> {
    /// One per element, at least one: the change, whose `data` is left `Null`, and the data itself.
    pub changes: Vec<(Change, Tree<'t>)>,
    /// `EventId`, for telling a re-delivery from a conflict.
    pub delivery_id: Option<Arc<str>>,
}

/// Reads a delivery of Orchestrator, with the data of its changes owned.
#[must_use]
pub fn orchestrator(body: &[u8], source: &SourceView, received: Timestamp) -> Normalized {
    let Reading { changes, delivery_id } = reading(body, source, received);
    let owned = changes.into_iter().map(|(change, data)| Change { data: Arc::new(data.into_value()), ..change });
    Normalized { changes: owned.collect(), delivery_id }
}

/// Reads a delivery of Orchestrator.
#[must_use]
pub fn reading<'t>(body: &'t [u8], source: &SourceView, received: Timestamp) -> Reading<'t> {
    match read_object(body) {
        Ok((object, flaw)) => {
            let delivery = Delivery::of(object);
            changes(delivery, flaw, body, source, received)
        }
        Err(problem) => unparsed(problem, body, source, received),
    }
}

/// Finds the `data` of one element in a stored body again; [`Stored`] does so for many.
#[must_use]
pub fn project(body: &[u8], event_type: &str, element: u32) -> Value {
    Stored::new(body).data(event_type, element)
}

/// Parses a JSON text strictly: duplicate keys are errors, one byte order mark is skipped, depth is bounded.
///
/// # Errors
/// What is wrong with line and column.
pub fn parse_json(text: &[u8]) -> Result<Value, Problem> {
    json::read(text).map(|(tree, _)| tree.into_value())
}

/// The canonical spelling of a type (`queueitems.ADDED` is `queueItem.added`); unknown types stay as they are.
#[must_use]
pub fn canonical_type(written: &str) -> Arc<str> {
    types::canonical(written)
}

/// The types that Orchestrator documents, in their spelling, with `tripline.*` of our own: for `check`.
#[must_use]
pub fn known_types() -> &'static [&'static str] {
    types::known()
}

/// Whether the types of a source of this name would look like Orchestrator's or our own.
#[must_use]
pub fn is_family(name: &str) -> bool {
    types::is_family(name)
}

/// `tl:<run>:<step>:<hops>` in `ParentOperationId`: which of our runs made this item.
#[must_use]
pub fn parse_parent_operation(text: &str) -> Option<crate::event::Origin> {
    origin::parse(text)
}

fn read_object(body: &[u8]) -> Result<(Fields<'_>, Option<Problem>), Problem> {
    match json::read(body)? {
        (Tree::Object(object), flaw) => Ok((object, flaw)),
        (other, _) => Err(json::not_an_object(body, &other)),
    }
}

fn changes<'t>(delivery: Delivery<'t>, flaw: Option<Problem>, body: &[u8], source: &SourceView, received: Timestamp) -> Reading<'t> {
    let envelope = &delivery.envelope;
    let written = envelope.get("Type").and_then(Tree::as_str).unwrap_or_default();
    let event_type = types::from_outside(written);
    let key_type = if types::is_altered(written) {
        Arc::from(format!("sha256:{}", thing::sha256(written.as_bytes())))
    } else {
        Arc::clone(&event_type)
    };
    let delivery_id = delivery_id(envelope);
    let time = ["Timestamp", "EventTime"].into_iter().find_map(|name| key::stamp_of(envelope.get(name)));
    let tenant = envelope.get("TenantId").and_then(thing::id_text).map(Arc::<str>::from);
    let folder = folder(envelope);
    let problem = delivery.too_many.map(too_many).or(flaw);
    let count = delivery.len();
    let body = HashedBody::new(body);
    let data = delivery.into_data();
    let mut changes = Vec::with_capacity(data.len());
    for (index, data) in data.into_iter().enumerate() {
        let facts = Facts {
            source,
            body: &body,
            event_type: &key_type,
            delivery: delivery_id.as_deref(),
            time,
            received,
            element: (index, count),
            row: None,
        };
        let thing = Thing::of(&data);
        let change = Change {
            key: key::of(&data, thing.as_ref(), &facts),
            event_type: Arc::clone(&event_type),
            time,
            observed: None,
            tenant: tenant.clone(),
            folder: folder.clone(),
            subject: thing.and_then(|thing| thing.subject()),
            service_id: delivery_id.clone(),
            element: u32::try_from(index).unwrap_or(u32::MAX),
            origin: origin::of(&data),
            data: Arc::new(Value::Null),
            problem: problem.clone(),
        };
        changes.push((change, data));
    }
    Reading { changes, delivery_id }
}

fn unparsed<'t>(problem: Problem, body: &[u8], source: &SourceView, received: Timestamp) -> Reading<'t> {
    let change = Change {
        problem: Some(problem),
        ..Change::told(key::of_bytes(source, &HashedBody::new(body), TYPE_UNPARSED, received), TYPE_UNPARSED)
    };
    Reading { changes: vec![(change, Tree::Null)], delivery_id: None }
}

/// `EventId` where it is a string that says something. A number, an empty text or nothing is no id; what is too long
/// or unprintable is kept as its hash.
fn delivery_id(envelope: &Fields<'_>) -> Option<Arc<str>> {
    let id = envelope.get("EventId")?.as_str()?.trim();
    if id.is_empty() {
        return None;
    }
    if id.len() > EVENT_ID_MAX || id.contains(|c: char| c.is_control() || c == '|') {
        return Some(Arc::from(format!("sha256:{}", thing::sha256(id.as_bytes()))));
    }
    Some(Arc::from(id))
}

/// The folder: `OrganizationUnitId`, in texts of 2023 `FolderId`; a number, or one written as a string.
fn folder(envelope: &Fields<'_>) -> Option<Folder> {
    let number = |value: &Tree<'_>| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    let id = ["OrganizationUnitId", "FolderId"].into_iter().find_map(|name| envelope.get(name).and_then(number));
    let key = envelope.get("OrganizationUnitKey").and_then(Tree::as_str).filter(|key| !key.is_empty()).map(str::to_owned);
    (id.is_some() || key.is_some()).then_some(Folder { id, key, path: None })
}

fn too_many(elements: usize) -> Problem {
    let message = format!(
        "an array of {elements} elements was not taken apart; at most {ELEMENTS_MAX} elements and {} MiB of shared fields are",
        SHARED_BYTES_MAX >> 20
    );
    Problem { message, line: 0, column: 0 }
}
