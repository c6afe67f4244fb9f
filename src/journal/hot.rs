//! The newest events in memory, as they were accepted, so that the router need not parse them again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Event, EventId};

/// What the cache may take, as far as it can be told from the length of bodies.
const HOT_BYTES_MAX: usize = 32 << 20;

/// A parsed body takes about this many times its length.
const PARSED_FACTOR: usize = 6;

/// Events in the order of their ids, the oldest leaves first.
#[derive(Default)]
pub(super) struct Hot {
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
}

impl Hot {
    /// Adds the newest event; `body` is its share of the body's bytes.
    pub(super) fn push(&mut self, event: Arc<Event>, body: usize) {
        let cost = body * PARSED_FACTOR + event.change.key.text.len() + 1024;
        self.bytes += cost;
        self.events.push_back((event, cost));
        while self.bytes > HOT_BYTES_MAX
            && let Some((_, cost)) = self.events.pop_front()
        {
            self.bytes -= cost;
        }
    }

    pub(super) fn get(&self, id: EventId) -> Option<Arc<Event>> {
        let at = self.events.binary_search_by(|(event, _)| event.id.cmp(&id)).ok()?;
        self.events.get(at).map(|(event, _)| Arc::clone(event))
    }
}

/// Ids of events that the router has not seen, as ranges: ids of one millisecond follow each other.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Backlog {
    ranges: VecDeque<(u128, u64)>,
    count: u64,
}

impl Backlog {
    /// Adds the newest event.
    pub(super) fn push(&mut self, id: EventId) {
        self.count += 1;
        match self.ranges.back_mut() {
            Some((first, count)) if *first + u128::from(*count) == id.0 => *count += 1,
            _ => self.ranges.push_back((id.0, 1)),
        }
    }

    /// Everything up to `id` was seen.
    pub(super) fn routed(&mut self, id: EventId) {
        while let Some((first, count)) = self.ranges.front_mut()
            && *first <= id.0
        {
            let seen = u64::try_from(id.0 - *first + 1).map_or(*count, |seen| seen.min(*count));
            self.count -= seen;
            if seen == *count {
                self.ranges.pop_front();
            } else {
                *first += u128::from(seen);
                *count -= seen;
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// The oldest ones.
    pub(super) fn first(&self, max: usize) -> Vec<EventId> {
        let all = self.ranges.iter().flat_map(|(first, count)| (0..*count).map(move |n| EventId(first + u128::from(n))));
        all.take(max).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_counts_exactly() {
        let mut backlog = Backlog::default();
        for id in [10, 11, 12, 20, 30, 31] {
            backlog.push(EventId(id));
        }
        assert_eq!((backlog.len(), backlog.ranges.len()), (6, 3));
        backlog.routed(EventId(11));
        assert_eq!(backlog.first(3), [EventId(12), EventId(20), EventId(30)]);
        backlog.routed(EventId(25));
        assert_eq!((backlog.len(), backlog.first(9)), (2, vec![EventId(30), EventId(31)]));
        backlog.routed(EventId(u128::MAX));
        assert_eq!(backlog.len(), 0);
    }
}
