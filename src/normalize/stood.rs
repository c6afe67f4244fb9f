//! How an item stood, by the rows of the change feed that said so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::feed::{FeedRow, Status};
use crate::time::Timestamp;

/// What is remembered of an item between rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastState {
    /// Its status.
    #[serde(rename = "s")]
    pub status: Status,
    /// Its review status.
    #[serde(rename = "r")]
    pub review: Arc<str>,
    /// The row that says so.
    #[serde(rename = "n")]
    pub row: i64,
    /// The item's queue, by Id.
    #[serde(rename = "q")]
    pub queue: i64,
    /// When it was seen, in ms.
    #[serde(rename = "t")]
    pub seen: i64,
    /// When a robot took it last, in ms; only where a list said so.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub began: Option<i64>,
    /// How it came to stand so, oldest first: a row may be read again, in another folder that its queue is shared to, or
    /// come late. At most [`PAST_MAX`].
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<Stood>,
}

/// How many turns of an item are remembered.
pub const PAST_MAX: usize = 12;

/// How an item stood from a row on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// The first row that says so.
    #[serde(rename = "n")]
    pub row: i64,
    /// Its status.
    #[serde(rename = "s")]
    pub status: Status,
    /// Its review status.
    #[serde(rename = "r")]
    pub review: Arc<str>,
}

/// What is to be remembered of the item after a row; a row that comes late says nothing about now, but about its time.
#[must_use]
pub fn state_after(row: &FeedRow, before: Option<&LastState>, queue: i64, now: Timestamp) -> LastState {
    let past = past_after(row, before.map_or(&[], |before| &before.past));
    match before {
        Some(before) if before.row >= row.id => LastState { past, ..before.clone() },
        _ => {
            LastState { status: row.status, review: Arc::clone(&row.review), row: row.id, queue, seen: now.as_millis(), began: None, past }
        }
    }
}

/// Rows that change nothing are not remembered.
fn past_after(row: &FeedRow, past: &[Stood]) -> Vec<Stood> {
    let (mut past, place) = (past.to_vec(), past.partition_point(|stood| stood.row < row.id));
    let changes = past[..place].last().is_none_or(|stood| (stood.status, &*stood.review) != (row.status, &*row.review));
    if changes && past.get(place).is_none_or(|stood| stood.row != row.id) {
        past.insert(place, Stood { row: row.id, status: row.status, review: Arc::clone(&row.review) });
        past.drain(..past.len().saturating_sub(PAST_MAX));
    }
    past
}

/// What was known of the item when a row was made: of one that comes late, or again, what is remembered of that time.
#[must_use]
pub fn known_before(row: &FeedRow, state: Option<&LastState>) -> Option<LastState> {
    let state = state?;
    if state.row < row.id {
        return Some(state.clone());
    }
    let stood = state.past.iter().rfind(|stood| stood.row < row.id)?;
    Some(LastState { status: stood.status, review: Arc::clone(&stood.review), row: stood.row, began: None, past: Vec::new(), ..*state })
}
