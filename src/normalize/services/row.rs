//! A row that a service lists, as an event: what polling a connector's trigger brings.

use std::sync::Arc;

use serde_json::Value;

use super::printable_id;
use crate::event::{Change, Key, Tree};
use crate::normalize::thing::{id_text, sha256};
use crate::normalize::types;
use crate::time::Timestamp;

/// What happened to the thing that a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowEvent {
    /// It was made.
    Created,
    /// It was made before, and is another now.
    Updated,
    /// One of both: the service does not say when it was made.
    Changed,
}

impl RowEvent {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Changed => "changed",
        }
    }
}

/// A row as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct RowSight<'a> {
    /// The source.
    pub source: &'a str,
    /// What identifies the thing.
    pub id: &'a Value,
    /// What differs between two states of it.
    pub version: &'a Value,
    /// When it changed.
    pub time: Option<Timestamp>,
    /// When it was read.
    pub observed: Timestamp,
    /// The row itself.
    pub row: &'a Arc<Value>,
}

/// The event; `None` for a row whose id identifies nothing. A thing is made once, whatever its row says later; a change is
/// known by its version.
#[must_use]
pub fn row_change(event: RowEvent, sight: &RowSight<'_>) -> Option<Change> {
    let id = id_text(&Tree::of(sight.id))?;
    let version = match event {
        RowEvent::Created => String::new(),
        _ => id_text(&Tree::of(sight.version)).unwrap_or_else(|| sha256(sight.version.to_string().as_bytes())),
    };
    let word = event.word();
    let key = Key::exact(format!("source:{}|row|{id}|{version}|{word}", sight.source));
    Some(Change {
        time: sight.time,
        observed: Some(sight.observed),
        service_id: Some(printable_id(&id)),
        data: Arc::clone(sight.row),
        ..Change::told(key, types::of_service(sight.source, word))
    })
}
