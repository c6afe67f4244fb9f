//! What is kept in memory of the newest events: where they are, which of them the router has not seen, and those that it
//! read because some rule may want them, so that whoever carries a run out need not read them again.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use crate::event::{Event, EventId};
use crate::journal::format::Position;

/// What the cache may take, as far as it can be told from the length of bodies.
const HOT_BYTES_MAX: usize = 8 << 20;

/// An event takes about this many bytes beside its data.
const EVENT_BYTES: usize = 1024;

/// Of how many events it is known without looking where they are.
const RECENT_MAX: usize = 4096;

/// Where the newest events are, in the order of their ids.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(EventId, Position)>);

impl Recent {
    /// Adds the newest event.
    pub(super) fn push(&mut self, id: EventId, at: Position) {
        if self.0.len() == RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, at));
    }

    pub(super) fn get(&self, id: EventId) -> Option<Position> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.0.get(at).map(|(_, position)| *position)
    }
}

/// Events that were read, in the order of their ids, the oldest leaves first.
#[derive(Default)]
pub(super) struct Hot {
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
}

impl Hot {
    /// Adds an event unless a newer one is there already.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        if self.events.back().is_some_and(|(newest, _)| newest.id >= event.id) {
            return;
        }
        let cost = cost(&event);
        self.bytes += cost;
        self.events.push_back((event, cost));
        while self.bytes > HOT_BYTES_MAX
            && let Some((_, cost)) = self.events.pop_front()
        {
            self.bytes -= cost;
        }
    }

    /// Events before `id` leave.
    pub(super) fn forget_before(&mut self, id: EventId) {
        while let Some((_, cost)) = self.events.front().filter(|(event, _)| event.id < id) {
            self.bytes -= *cost;
            self.events.pop_front();
        }
    }

    pub(super) fn get(&self, id: EventId) -> Option<Arc<Event>> {
        let at = self.events.binary_search_by(|(event, _)| event.id.cmp(&id)).ok()?;
        self.events.get(at).map(|(event, _)| Arc::clone(event))
    }
}

/// About how many bytes an event takes.
pub(super) fn cost(event: &Event) -> usize {
    let raw = event.raw.as_ref().map_or(0, bytes::Bytes::len);
    weight(&event.change.data) + event.change.key.text.len() + raw + EVENT_BYTES
}

/// About how many bytes a value takes.
fn weight(value: &Value) -> usize {
    const NODE: usize = size_of::<Value>();
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(name, value)| name.len() + 3 * NODE + weight(value)).sum(),
        _ => 0,
    }
}

/// Ids of events that the router has not seen, as ranges: ids of one millisecond follow each other.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Backlog {
    ranges: VecDeque<Range>,
    count: u64,
}

/// Ids that follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    first: u128,
    count: u64,
    /// The rule generation that cannot meet them; 0 where nobody knows.
    unmet: u64,
}

impl Backlog {
    /// Adds the newest event; no rule of generation `unmet` can meet it (0: nobody looked).
    pub(super) fn push(&mut self, id: EventId, unmet: u64) {
        self.count += 1;
        match self.ranges.back_mut() {
            Some(range) if range.first + u128::from(range.count) == id.0 && range.unmet == unmet => range.count += 1,
            _ => self.ranges.push_back(Range { first: id.0, count: 1, unmet }),
        }
    }

    /// Everything up to `id` was seen.
    pub(super) fn routed(&mut self, id: EventId) {
        while let Some(range) = self.ranges.front_mut()
            && range.first <= id.0
        {
            let seen = u64::try_from(id.0 - range.first + 1).map_or(range.count, |seen| seen.min(range.count));
            self.count -= seen;
            if seen == range.count {
                self.ranges.pop_front();
            } else {
                range.first += u128::from(seen);
                range.count -= seen;
            }
        }
    }

    /// The oldest one.
    pub(super) fn oldest(&self) -> Option<EventId> {
        self.ranges.front().map(|range| EventId(range.first))
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// The oldest ones that rules of `generation` may meet, at most `max`, and up to where nothing is left out.
    pub(super) fn first(&self, max: usize, generation: u64) -> (Option<EventId>, Vec<EventId>) {
        let (mut through, mut found) = (None, Vec::new());
        for range in &self.ranges {
            let mut seen = range.count;
            if range.unmet == 0 || range.unmet != generation {
                seen = seen.min((max - found.len()) as u64);
                found.extend((0..seen).map(|n| EventId(range.first + u128::from(n))));
            }
            if seen > 0 {
                through = Some(EventId(range.first + u128::from(seen - 1)));
            }
            if seen < range.count {
                break;
            }
        }
        (through, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_counts_exactly() {
        let mut backlog = Backlog::default();
        for id in [10, 11, 12, 20, 30, 31] {
            backlog.push(EventId(id), 0);
        }
        assert_eq!((backlog.len(), backlog.ranges.len()), (6, 3));
        backlog.routed(EventId(11));
        assert_eq!(backlog.first(3, 1), (Some(EventId(30)), vec![EventId(12), EventId(20), EventId(30)]));
        backlog.routed(EventId(25));
        assert_eq!((backlog.len(), backlog.first(9, 1).1), (2, vec![EventId(30), EventId(31)]));
        backlog.routed(EventId(u128::MAX));
        assert_eq!((backlog.len(), backlog.first(9, 1)), (0, (None, Vec::new())));
    }

    #[test]
    fn what_no_rule_of_the_generation_can_meet_is_passed_over_and_nothing_else() {
        let mut backlog = Backlog::default();
        for (id, unmet) in [(1, 5), (2, 5), (3, 0), (4, 6), (5, 5), (6, 5)] {
            backlog.push(EventId(id), unmet);
        }
        let ids = |ids: &[u128]| ids.iter().copied().map(EventId).collect::<Vec<_>>();
        assert_eq!(backlog.first(9, 5), (Some(EventId(6)), ids(&[3, 4])), "those of generation 5 are passed over");
        assert_eq!(backlog.first(9, 6), (Some(EventId(6)), ids(&[1, 2, 3, 5, 6])));
        assert_eq!(backlog.first(9, 0), (Some(EventId(6)), ids(&[1, 2, 3, 4, 5, 6])), "without a generation none is");
        assert_eq!(backlog.first(1, 5), (Some(EventId(3)), ids(&[3])), "not beyond what is left out");
        assert_eq!(backlog.first(1, 6), (Some(EventId(1)), ids(&[1])));
        backlog.routed(EventId(2));
        assert_eq!(backlog.first(9, 5), (Some(EventId(6)), ids(&[3, 4])));
    }

    #[test]
    fn recent_events_are_found_until_newer_ones_push_them_out() {
        let mut recent = Recent::default();
        for n in 0..RECENT_MAX as u32 + 10 {
            recent.push(EventId(u128::from(n)), Position { segment: 1, offset: n });
        }
        assert_eq!(recent.get(EventId(9)), None);
        assert_eq!(recent.get(EventId(10)), Some(Position { segment: 1, offset: 10 }));
    }
}
