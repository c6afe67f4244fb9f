//! The items of a batch of rows: fetched once, in halves where an answer is too long, and held no longer than needed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::Value;

use super::pass::LIST_TIMEOUT;
use super::place::{FolderError, Place};
use crate::normalize::feed::FeedRow;
use crate::runs::{Class, Failure};
use crate::time::Timestamp;

/// How much of items, in bytes of their texts, is held while further rows of a batch are about them.
const HELD_BYTES_MAX: usize = 8 << 20;

/// An item as it was read.
struct Held {
    /// As a text, which takes a fraction of what the value takes; nothing where the item is gone.
    text: Option<Box<str>>,
    queue: Option<i64>,
    at: Timestamp,
}

/// The items of a batch of rows: each is held until the last row about it is told.
pub(super) struct Items {
    held: BTreeMap<i64, Held>,
    bytes: usize,
    /// Which rows of the batch are about an item, counted from its first one: those that are to be told yet.
    rows: HashMap<i64, VecDeque<u32>>,
}

impl Items {
    pub(super) fn of(rows: &[FeedRow]) -> Self {
        let mut about: HashMap<i64, VecDeque<u32>> = HashMap::new();
        for (number, row) in (0..).zip(rows) {
            about.entry(row.item).or_default().push_back(number);
        }
        Self { held: BTreeMap::new(), bytes: 0, rows: about }
    }

    pub(super) fn has(&self, item: i64) -> bool {
        self.held.contains_key(&item)
    }

    /// The item, and when it was read.
    pub(super) fn get(&self, item: i64) -> (Option<Value>, Timestamp) {
        let Some(held) = self.held.get(&item) else { return (None, Timestamp::EPOCH) };
        (held.text.as_deref().and_then(|text| serde_json::from_str(text).ok()), held.at)
    }

    /// The queue that an item is in, by Id.
    pub(super) fn queue(&self, item: i64) -> Option<i64> {
        self.held.get(&item)?.queue
    }

    fn hold(&mut self, id: i64, item: Option<&Value>, at: Timestamp) {
        self.let_go(id);
        let text = item.map(|item| item.to_string().into_boxed_str());
        self.bytes += text.as_ref().map_or(0, |text| text.len());
        let queue = item.and_then(|item| item.get("QueueDefinitionId")?.as_i64());
        self.held.insert(id, Held { text, queue, at });
    }

    fn let_go(&mut self, id: i64) {
        let gone = self.held.remove(&id).and_then(|held| held.text);
        self.bytes -= gone.map_or(0, |text| text.len());
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
                        self.hold(*id, None, now);
                    }
                    for item in found {
                        if let Some(id) = item.get("Id").and_then(Value::as_i64).filter(|id| part.contains(id)) {
                            self.hold(id, Some(&item), now);
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

    /// Lets go of what no further row is about; with too much held, of what is needed again last: that is fetched again.
    pub(super) fn done_with(&mut self, rows: &[FeedRow]) {
        for row in rows {
            let Some(left) = self.rows.get_mut(&row.item) else { continue };
            left.pop_front();
            if left.is_empty() {
                self.rows.remove(&row.item);
                self.let_go(row.item);
            }
        }
        if self.bytes <= HELD_BYTES_MAX {
            return;
        }
        let next = |id: &i64| self.rows.get(id).and_then(VecDeque::front).copied().unwrap_or(u32::MAX);
        let mut needed: Vec<(u32, i64)> = self.held.keys().map(|id| (next(id), *id)).collect();
        needed.sort_unstable();
        while self.bytes > HELD_BYTES_MAX
            && let Some((_, id)) = needed.pop()
        {
            self.let_go(id);
        }
    }
}

/// Whether an answer was well but could not be read: too long, or cut.
pub(super) fn is_too_long(failure: &Failure) -> bool {
    failure.class == Class::Invalid && failure.status.is_some_and(|status| (200..300).contains(&status))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_needed_again_last_goes_first_where_too_much_is_held() {
        let row =
            |id: i64, item: i64| FeedRow::of(&json!({"Id": id, "QueueItemId": item, "Action": "Edit", "Status": "New"})).expect("a row");
        let mut rows: Vec<FeedRow> = (1..=6).map(|item| row(item, item)).collect();
        rows.extend([5, 3, 1, 2, 4].map(|item| row(10 + item, item)));
        let mut items = Items::of(&rows);
        let item = json!({"QueueDefinitionId": 3, "SpecificContent": "x".repeat(HELD_BYTES_MAX / 4)});
        for id in 1..=6 {
            items.hold(id, Some(&item), Timestamp::EPOCH);
        }
        items.hold(6, None, Timestamp::EPOCH);
        items.done_with(&rows[..6]);
        let held = |items: &Items| (1..=6).filter(|id| items.has(*id)).collect::<Vec<i64>>();
        assert_eq!(held(&items), [1, 3, 5]);
        assert_eq!((items.get(5).0, items.queue(5), items.queue(2)), (Some(item), Some(3), None));
        items.done_with(&rows[6..]);
        assert_eq!((held(&items).len(), items.bytes), (0, 0));
    }
}
