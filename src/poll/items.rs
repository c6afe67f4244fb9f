//! The items of a batch of rows: fetched once, in halves where an answer is too long, and held no longer than needed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::pass::LIST_TIMEOUT;
use super::place::{FolderError, Place};
use crate::normalize::feed::FeedRow;
use crate::runs::{Class, Failure};
use crate::time::Timestamp;

/// Items that are held while further rows of a batch are about them.
const ITEMS_HELD_MAX: usize = 1000;

/// An item as it was read, and when; nothing where it is gone.
type Fetched = (Option<Value>, Timestamp);

/// The items of a batch of rows: each is held until the last row about it is told.
pub(super) struct Items {
    held: BTreeMap<i64, Fetched>,
    left: HashMap<i64, usize>,
}

impl Items {
    pub(super) fn of(rows: &[FeedRow]) -> Self {
        let mut left = HashMap::new();
        for row in rows {
            *left.entry(row.item).or_insert(0) += 1;
        }
        Self { held: BTreeMap::new(), left }
    }

    pub(super) fn has(&self, item: i64) -> bool {
        self.held.contains_key(&item)
    }

    pub(super) fn get(&self, item: i64) -> (Option<&Value>, Timestamp) {
        self.held.get(&item).map_or((None, Timestamp::EPOCH), |(item, at)| (item.as_ref(), *at))
    }

    /// Fetches these. An answer that is too long is asked for in halves.
    pub(super) async fn fetch(&mut self, place: &Place<'_>, ids: &BTreeSet<i64>) -> Result<(), FolderError> {
        let mut parts: Vec<Vec<i64>> = if ids.is_empty() { Vec::new() } else { vec![ids.iter().copied().collect()] };
        while let Some(part) = parts.pop() {
            let orchestrator = &place.source.orchestrator;
            match place.ask("QueueItems", orchestrator.items(&place.folder, &part, LIST_TIMEOUT)).await {
                Ok(found) => {
                    let now = place.now();
                    for id in &part {
                        self.held.insert(*id, (None, now));
                    }
                    for item in found {
                        if let Some(id) = item.get("Id").and_then(Value::as_i64).filter(|id| part.contains(id)) {
                            self.held.insert(id, (Some(item), now));
                        }
                    }
                }
                Err(failure) if is_too_long(&failure) && part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right.to_vec(), left.to_vec()]);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }

    /// Lets go of what no further row is about; with too many held, of all: they are fetched again.
    pub(super) fn done_with(&mut self, rows: &[FeedRow]) {
        for row in rows {
            if let Some(left) = self.left.get_mut(&row.item) {
                *left -= 1;
                if *left == 0 {
                    self.held.remove(&row.item);
                }
            }
        }
        if self.held.len() > ITEMS_HELD_MAX {
            self.held.clear();
        }
    }
}

/// Whether an answer was well but could not be read: too long, or cut.
pub(super) fn is_too_long(failure: &Failure) -> bool {
    failure.class == Class::Invalid && failure.status.is_some_and(|status| (200..300).contains(&status))
}
