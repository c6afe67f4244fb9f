//! From a webhook body to canonical changes, and back from a stored body to `data`.
//!
//! Pure: bytes in, values out. Orchestrator's documented shapes from 2018 on (about-webhooks, types-of-events);
//! whatever cannot be used becomes a change of type `tripline.unparsed`, never an error.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{Change, SourceName};
use crate::time::Timestamp;

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

/// Reads a delivery of Orchestrator.
#[must_use]
pub fn orchestrator(body: &[u8], source: &SourceView, received: Timestamp) -> Normalized {
    let _ = (body, source, received);
    todo!()
}

/// Finds the `data` of one element in a stored body again; the same function that `orchestrator` uses.
/// `Null` for bodies that are no usable object.
#[must_use]
pub fn project(body: &[u8], event_type: &str, element: u32) -> Value {
    let _ = (body, event_type, element);
    todo!()
}

/// Parses a JSON text strictly: duplicate keys are errors, one byte order mark is skipped, depth is bounded.
///
/// # Errors
/// What is wrong with line and column.
pub fn parse_json(text: &[u8]) -> Result<Value, crate::event::Problem> {
    let _ = text;
    todo!()
}

/// The canonical spelling of a type (`queueitems.ADDED` is `queueItem.added`); unknown types stay as they are.
#[must_use]
pub fn canonical_type(written: &str) -> Arc<str> {
    let _ = written;
    todo!()
}

/// The types that Orchestrator documents, in their spelling, with `tripline.*` of our own: for `check`.
#[must_use]
pub fn known_types() -> &'static [&'static str] {
    todo!()
}

/// `tl:<run>:<step>:<hops>` in `ParentOperationId`: which of our runs made this item.
#[must_use]
pub fn parse_parent_operation(text: &str) -> Option<crate::event::Origin> {
    let _ = text;
    todo!()
}
