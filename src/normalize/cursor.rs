//! How far a change feed has been read, when rows may appear late: Ids are given before their rows can be seen.
//!
//! A row is settled once nothing older can appear before it. Until then the reader begins before it again, and knows what
//! it has taken. Times of the service are only compared with each other, ours only with ours: no clock needs to agree.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::time::Timestamp;

/// How late a row may appear behind those with larger Ids.
pub const OVERLAP: Duration = Duration::from_secs(120);

/// The most rows that are remembered as taken but not settled; with more of them the oldest count as settled.
pub const UNSETTLED_MAX: usize = 4000;

/// Up to where a feed is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedCursor {
    /// Every row up to this Id is taken and settled; `None` before the first one.
    pub after: Option<i64>,
    /// Taken rows behind `after`, with when we saw each first and when it was made (as the service says), in ms.
    taken: BTreeMap<i64, (i64, i64)>,
    /// The newest row by the service's own time, in ms.
    newest: i64,
}

#[derive(Deserialize, Serialize)]
struct Stored {
    after: Option<i64>,
    newest: i64,
    /// Id less the one before, first seen less `newest` …
    taken: Vec<(i64, i64, i64)>,
}

impl FeedCursor {
    /// A feed that is read from behind this Id on.
    #[must_use]
    pub fn at(after: i64) -> Self {
        Self { after: Some(after), ..Self::default() }
    }

    /// A feed that is read from behind this row on, which was made at `made`.
    #[must_use]
    pub fn behind(row: i64, made: Option<Timestamp>) -> Self {
        Self { newest: made.map_or(0, Timestamp::as_millis), ..Self::at(row) }
    }

    /// Reads what [`FeedCursor::to_json`] wrote.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let stored = Stored::deserialize(value).ok()?;
        let mut id = stored.after.unwrap_or(0);
        let taken = stored.taken.into_iter().map(|(step, seen, made)| {
            id += step;
            (id, (stored.newest + seen, stored.newest + made))
        });
        Some(Self { after: stored.after, taken: taken.collect(), newest: stored.newest })
    }

    /// For keeping: short, since neighbours are near each other.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut before = self.after.unwrap_or(0);
        let taken = self.taken.iter().map(|(id, (seen, made))| {
            let step = id - before;
            before = *id;
            (step, seen - self.newest, made - self.newest)
        });
        json!(Stored { after: self.after, newest: self.newest, taken: taken.collect() })
    }

    /// Whether a row has not been taken yet.
    #[must_use]
    pub fn is_new(&self, id: i64) -> bool {
        self.after.is_none_or(|after| id > after) && !self.taken.contains_key(&id)
    }

    /// The largest Id that was taken.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        self.taken.last_key_value().map(|(id, _)| *id).or(self.after)
    }

    /// When the newest row that is known was made, as the service says.
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        Timestamp::from_millis(self.newest)
    }

    /// Takes a row that was made at `made`, as the service says, and is seen `now`.
    pub fn take(&mut self, id: i64, made: Option<Timestamp>, now: Timestamp) {
        let made = made.map_or(self.newest, Timestamp::as_millis);
        self.newest = self.newest.max(made);
        self.taken.entry(id).or_insert((now.as_millis(), made));
    }

    /// Moves over rows that are settled.
    pub fn settle(&mut self, now: Timestamp) {
        let (now, overlap) = (now.as_millis(), OVERLAP.as_millis() as i64);
        while let Some(entry) = self.taken.first_entry() {
            let (seen, made) = *entry.get();
            // A clock of ours that went back makes a row look seen in the future: it is waited for anew, not forever.
            let long_ago = now - seen >= overlap || self.newest - made >= overlap;
            if !long_ago && self.taken.len() <= UNSETTLED_MAX {
                break;
            }
            if let Some((id, _)) = self.taken.pop_first() {
                self.after = Some(id);
            }
        }
        for (seen, _) in self.taken.values_mut() {
            *seen = (*seen).min(now);
        }
    }

    /// How many rows are taken and not settled.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_row_that_appears_late_is_taken_and_none_is_taken_twice() {
        let mut cursor = FeedCursor::default();
        for id in [5, 7, 8] {
            assert!(cursor.is_new(id));
            cursor.take(id, Some(at(0)), at(1));
        }
        cursor.settle(at(30));
        assert_eq!((cursor.after, cursor.last(), cursor.is_new(5), cursor.is_new(6)), (None, Some(8), false, true));
        cursor.take(6, Some(at(0)), at(31));
        cursor.settle(at(130));
        assert_eq!(cursor.after, Some(5), "6 was seen at 31: what is behind it waits with it");
        cursor.settle(at(151));
        assert_eq!((cursor.after, cursor.last(), cursor.unsettled()), (Some(8), Some(8), 0));
        assert!(!cursor.is_new(8));
    }

    #[test]
    fn rows_far_behind_the_newest_are_settled_at_once() {
        let mut cursor = FeedCursor::at(0);
        for id in 1..=1000 {
            cursor.take(id, Some(at(id)), at(5000));
        }
        cursor.settle(at(5000));
        assert_eq!(cursor.after, Some(880));
    }

    #[test]
    fn a_clock_that_goes_back_delays_and_never_stops() {
        let mut cursor = FeedCursor::at(0);
        cursor.take(1, None, at(100_000));
        cursor.settle(at(0));
        assert_eq!(cursor.after, Some(0));
        cursor.settle(at(120));
        assert_eq!(cursor.after, Some(1));
    }

    proptest! {
        #[test]
        fn a_kept_cursor_is_the_same_again(rows in prop::collection::vec((1i64..1_000_000, 0i64..300), 0..200), after in prop::option::of(0i64..10)) {
            let mut cursor = FeedCursor { after, ..FeedCursor::default() };
            for (id, second) in rows {
                if cursor.is_new(id) {
                    cursor.take(id, Some(at(second)), at(second));
                }
            }
            cursor.settle(at(300));
            prop_assert_eq!(FeedCursor::from_json(&cursor.to_json()), Some(cursor));
        }

        #[test]
        fn the_rows_in_memory_are_bounded(count in 0i64..9000) {
            let mut cursor = FeedCursor::at(0);
            for id in 1..=count {
                cursor.take(id, Some(at(0)), at(0));
            }
            cursor.settle(at(0));
            prop_assert!(cursor.unsettled() <= UNSETTLED_MAX);
            prop_assert!(cursor.to_json().to_string().len() < 64 << 10);
        }
    }
}
