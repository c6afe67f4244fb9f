//! Keys: what makes two deliveries sights of one change, and what keeps two changes apart.
//!
//! ```text
//! <tenant URL | source:NAME> | <kind> | <id> | <type> | <occurrence>   (+ a stamp where a change can happen again)
//! ```
//!
//! Where what a key needs is missing, the delivery's own id stands in, then the body's hash: rather two events for one
//! change than one event for two.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::SourceView;
use super::thing::{Kind, Thing, digest, sha256};
use crate::event::{Apart, Key, Tree, UNKEYED_TOLERANCE};
use crate::time::Timestamp;

/// Fields that an update of a queue item may change: what tells two updates of one moment apart.
const ITEM_VALUES: &[&str] = &["Progress", "Priority", "DueDate", "DeferDate", "RiskSlaDate", "SpecificContent", "Reference"];

/// What a key is made from besides the thing itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub source: &'a SourceView,
    pub body: &'a HashedBody<'a>,
    /// The canonical type, or where that was cut the digest of the whole.
    pub event_type: &'a str,
    /// The delivery's id, if it has a usable one.
    pub delivery: Option<&'a str>,
    /// When it happened, sane.
    pub time: Option<Timestamp>,
    pub received: Timestamp,
    /// Which element of how many.
    pub element: (usize, usize),
    /// The row of a change feed that tells it, where one does: the thing was read later, and may have been changed again.
    pub row: Option<i64>,
}

/// A body whose hash is taken at most once, however many elements ask for it.
#[derive(Debug)]
pub(super) struct HashedBody<'a> {
    bytes: &'a [u8],
    hash: OnceCell<String>,
}

impl<'a> HashedBody<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, hash: OnceCell::new() }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| sha256(self.bytes))
    }
}

/// The key of the change whose data this is.
pub(super) fn of(data: &Tree<'_>, thing: Option<&Thing<'_>>, facts: &Facts<'_>) -> Key {
    let keyed = thing.and_then(|thing| match thing.kind {
        Kind::QueueItem => queue_item(thing, facts),
        Kind::Job => job(thing, facts),
        _ => other(data, thing, facts),
    });
    keyed.or_else(|| by_row(thing?, facts)).unwrap_or_else(|| by_delivery(facts))
}

/// The key of a body that could not be read: its bytes, for a while.
pub(super) fn of_bytes(source: &SourceView, body: &HashedBody<'_>, event_type: &str, received: Timestamp) -> Key {
    let text = format!("{}|body|sha256:{}|{}|", tenant(source), body.hash(), part(event_type));
    Key { text: Arc::from(text), stamp: Some(received), tolerance: UNKEYED_TOLERANCE, apart: Apart::Text }
}

fn queue_item(item: &Thing<'_>, facts: &Facts<'_>) -> Option<Key> {
    let own = item.id()?;
    let field = |name: &str| item.fields.get(name);
    match facts.event_type {
        "queueItem.added"
        | "queueItem.transactionCompleted"
        | "queueItem.transactionFailed"
        | "queueItem.transactionAbandoned"
        | "queueItem.deleted" => Some(exact(item, &own, facts)),
        "queueItem.retried" => Some(exact(item, &retried(item, own), facts)),
        "queueItem.transactionStarted" => repeated(item, &own, "", stamp_of(field("StartProcessing")), facts),
        "queueItem.deferred" => {
            let value = stamp_of(field("DeferDate")).map(|stamp| (stamp.as_millis() / 1000).to_string());
            valued(item, &own, &value.unwrap_or_default(), facts)
        }
        "queueItem.reviewStatusChanged" => {
            let status = field("ReviewStatus").and_then(super::thing::id_text).unwrap_or_default();
            repeated(item, &own, &status, None, facts)
        }
        "queueItem.updated" => {
            let values: Vec<Tree<'_>> = ITEM_VALUES.iter().map(|name| comparable(name, field(name))).collect();
            valued(item, &own, &digest(&values), facts)
        }
        _ => repeated(item, &own, &digest([item.fields]), None, facts),
    }
}

/// A value as two sights of one change agree on it: dates are rounded differently in different answers.
fn comparable<'t>(name: &str, value: Option<&Tree<'t>>) -> Tree<'t> {
    let date = name.ends_with("Date").then(|| stamp_of(value)).flatten();
    date.map_or_else(|| value.cloned().unwrap_or(Tree::Null), |stamp| Tree::Number((stamp.as_millis() / 1000).into()))
}

/// The attempt that was retried. A delivery shows that attempt itself, or the new one with its ancestor.
fn retried(item: &Thing<'_>, own: String) -> String {
    if item.fields.get("Status").and_then(Tree::as_str).is_some_and(|status| status.eq_ignore_ascii_case("Retried")) {
        return own;
    }
    let ancestor = |name: &str| item.fields.get(name).and_then(super::thing::id_text);
    ancestor("AncestorId").or_else(|| ancestor("ManualAncestorId")).unwrap_or(own)
}

fn job(job: &Thing<'_>, facts: &Facts<'_>) -> Option<Key> {
    let id = job.id()?;
    let began = ["ResumeTime", "StartTime"].into_iter().find_map(|name| stamp_of(job.fields.get(name)));
    match (facts.event_type, began) {
        // A job that ends, or is created, does so once: a stamp is only needed where it began.
        ("job.created" | "job.completed" | "job.faulted" | "job.stopped", None) => Some(exact(job, &id, facts)),
        (_, Some(stamp)) => Some(Key::stamped(text(job, &id, "", facts), Some(stamp))),
        (_, None) => repeated(job, &id, "", None, facts),
    }
}

fn other(data: &Tree<'_>, thing: &Thing<'_>, facts: &Facts<'_>) -> Option<Key> {
    let id = thing.id()?;
    let once = facts.event_type.ends_with(".created") || facts.event_type.ends_with(".deleted");
    // Two changes of one thing within the tolerance differ in what they say.
    let value = if once { String::new() } else { digest(std::iter::once(thing.fields).chain(data.get("Reason"))) };
    repeated(thing, &id, &value, None, facts)
}

/// A change that can happen again: told apart by its moment, by the delivery where that is unknown.
fn repeated(thing: &Thing<'_>, id: &str, value: &str, own: Option<Timestamp>, facts: &Facts<'_>) -> Option<Key> {
    let stamp = own.or(facts.time)?;
    Some(Key::stamped(text(thing, id, value, facts), Some(stamp)))
}

/// A change that can happen again and is told apart by what it set; by its row where that is not known any more.
fn valued(thing: &Thing<'_>, id: &str, value: &str, facts: &Facts<'_>) -> Option<Key> {
    let key = match facts.row {
        Some(row) => Key { apart: Apart::Row, ..repeated(thing, id, &row_part(row), None, facts)? },
        None => Key { apart: Apart::Value, ..repeated(thing, id, value, None, facts)? },
    };
    Some(key)
}

/// A change without a moment that a row tells.
fn by_row(thing: &Thing<'_>, facts: &Facts<'_>) -> Option<Key> {
    Some(Key::exact(text(thing, &thing.id()?, &row_part(facts.row?), facts)))
}

/// No digest and no moment looks like this.
fn row_part(row: i64) -> String {
    format!("row {row}")
}

fn exact(thing: &Thing<'_>, id: &str, facts: &Facts<'_>) -> Key {
    Key::exact(text(thing, id, "", facts))
}

fn text(thing: &Thing<'_>, id: &str, occurrence: &str, facts: &Facts<'_>) -> String {
    let (named, event_type, occurrence) = (named(&tenant(facts.source), thing.name, id), part(facts.event_type), part(occurrence));
    // All at once: a text that grows is copied several times.
    [&*named, "|", &*event_type, "|", &*occurrence].concat()
}

/// A thing as keys of changes begin: `https://…|queueItem|436141352`, `https://…|job|<its Key, in lower case>`.
pub fn named(tenant: &str, kind: &str, id: &str) -> String {
    [tenant, "|", kind, "|", &*part(id)].concat()
}

/// A part of a key as it stands in its text: what a body brings must not look like two parts.
fn part(text: &str) -> Cow<'_, str> {
    if text.contains('|') { Cow::Owned(text.replace('|', "%7C")) } else { Cow::Borrowed(text) }
}

fn by_delivery(facts: &Facts<'_>) -> Key {
    let (index, count) = facts.element;
    let element = if count > 1 { index.to_string() } else { String::new() };
    match facts.delivery {
        Some(id) => Key::exact(format!("{}|event|{}|{}|{element}", tenant(facts.source), part(id), part(facts.event_type))),
        None => {
            let key = of_bytes(facts.source, facts.body, facts.event_type, facts.received);
            Key { text: Arc::from(format!("{}{element}", key.text)), ..key }
        }
    }
}

fn tenant(source: &SourceView) -> Cow<'_, str> {
    match &source.tenant_url {
        Some(url) => Cow::Borrowed(url),
        None => Cow::Owned(format!("source:{}", source.name)),
    }
}

/// A sane instant out of a field.
pub(super) fn stamp_of(value: Option<&Tree<'_>>) -> Option<Timestamp> {
    Timestamp::parse_lenient(value?.as_str()?).and_then(Timestamp::sane)
}
