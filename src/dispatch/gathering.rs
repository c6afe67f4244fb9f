//! Items for one queue that wait together go out together.
//!
//! Each queue has a gathering. The first item of a quiet queue leaves at once. While a request of the queue is out,
//! further items wait for it; a busy queue (many items in the last second) waits for company a little longer. A full
//! gathering leaves at once. So one item costs nothing, and many cost few requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::gates::Place;
use crate::event::RunId;

/// Items of one request.
pub(super) const TOGETHER_MAX: usize = crate::orchestrator::BULK_MAX;
/// The longest that an item waits for company.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// A queue with so many items in a second is busy.
const BUSY_FROM: u32 = 20;
/// In which items are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Gatherings at once; items of further queues go alone.
const GATHERINGS_MAX: usize = 1_000;

type Name = (Arc<str>, String);

#[derive(Debug)]
struct Gathering {
    waiting: VecDeque<RunId>,
    /// When those that wait leave at the latest.
    leaves: Option<Instant>,
    out: usize,
    window: Instant,
    counted: u32,
    busy: bool,
}

impl Gathering {
    fn count(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.window);
        if elapsed >= WINDOW {
            self.busy = elapsed < 2 * WINDOW && self.counted >= BUSY_FROM;
            self.window = now;
            self.counted = 0;
        }
        self.counted = self.counted.saturating_add(1);
        self.busy |= self.counted >= BUSY_FROM;
    }
}

/// What an item that came does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// It leaves now, alone.
    Alone,
    /// It waits.
    Waits,
    /// It waits, and with it there are enough: they leave now.
    Full,
}

/// The gatherings of all queues.
#[derive(Debug, Default)]
pub(super) struct Gatherings(HashMap<Name, Gathering>);

fn name(place: &Place) -> Name {
    (place.target.clone(), place.part.clone().unwrap_or_default())
}

impl Gatherings {
    /// An item comes to its queue.
    pub(super) fn came(&mut self, place: &Place, run: RunId, now: Instant) -> Came {
        if self.0.len() >= GATHERINGS_MAX && !self.0.contains_key(&name(place)) {
            self.0.retain(|_, one| !one.waiting.is_empty() || one.out > 0);
            if self.0.len() >= GATHERINGS_MAX {
                return Came::Alone;
            }
        }
        let one = self.0.entry(name(place)).or_insert_with(|| Gathering {
            waiting: VecDeque::new(),
            leaves: None,
            out: 0,
            window: now,
            counted: 0,
            busy: false,
        });
        one.count(now);
        if one.waiting.is_empty() && one.out == 0 && !one.busy {
            one.out = 1;
            return Came::Alone;
        }
        one.waiting.push_back(run);
        one.leaves = one.leaves.or(Some(now + LINGER));
        if one.waiting.len() >= TOGETHER_MAX { Came::Full } else { Came::Waits }
    }

    /// Takes those that leave together, at most `most`.
    pub(super) fn take(&mut self, place: &Place, most: usize, now: Instant) -> Vec<RunId> {
        let Some(one) = self.0.get_mut(&name(place)) else { return Vec::new() };
        let most = most.min(one.waiting.len());
        let taken: Vec<RunId> = one.waiting.drain(..most).collect();
        one.leaves = (!one.waiting.is_empty()).then(|| now + LINGER);
        taken
    }

    /// A request of the queue is on its way, but for one that [`Gatherings::came`] let go alone: that is counted already.
    pub(super) fn out(&mut self, place: &Place) {
        if let Some(one) = self.0.get_mut(&name(place)) {
            one.out += 1;
        }
    }

    /// A request of the queue is back: whether those that wait leave now.
    pub(super) fn back(&mut self, place: &Place) -> bool {
        let Some(one) = self.0.get_mut(&name(place)) else { return false };
        one.out = one.out.saturating_sub(1);
        one.out == 0 && !one.waiting.is_empty() && !one.busy
    }

    /// When the first gathering leaves by its time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|one| one.leaves).min()
    }

    /// A run of each gathering whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<RunId> {
        self.0
            .values()
            .filter(|one| one.leaves.is_some_and(|leaves| leaves <= now))
            .filter_map(|one| one.waiting.front().copied())
            .collect()
    }

    /// A run does not wait any more.
    pub(super) fn forget(&mut self, run: RunId) {
        for one in self.0.values_mut() {
            one.waiting.retain(|waiting| *waiting != run);
            one.leaves = one.leaves.filter(|_| !one.waiting.is_empty());
        }
    }

    /// Nobody waits any more: the process stops.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    fn place(queue: &str) -> Place {
        Place { target: Arc::from("prod"), part: Some(queue.to_owned()), permits: 16 }
    }

    fn run(n: usize) -> RunId {
        RunId::of(EventId(n as u128), "r")
    }

    #[test]
    fn a_quiet_queue_makes_nobody_wait() {
        let mut all = Gatherings::default();
        let begin = Instant::now();
        for n in 0..50 {
            let now = begin + Duration::from_millis(n * 400);
            assert_eq!(all.came(&place("Q"), run(n as usize), now), Came::Alone, "{n}");
            assert!(!all.back(&place("Q")));
        }
        assert_eq!(all.next(), None);
    }

    #[test]
    fn what_comes_while_a_request_is_out_leaves_with_its_return() {
        let mut all = Gatherings::default();
        let now = Instant::now();
        assert_eq!(all.came(&place("Q"), run(0), now), Came::Alone);
        for n in 1..10 {
            assert_eq!(all.came(&place("Q"), run(n), now), Came::Waits);
        }
        assert_eq!(all.came(&place("other"), run(99), now), Came::Alone, "another queue is another gathering");
        assert!(all.back(&place("Q")));
        assert_eq!(all.take(&place("Q"), TOGETHER_MAX, now).len(), 9);
        assert_eq!(all.next(), None);
    }

    #[test]
    fn a_busy_queue_waits_for_company_at_most_a_second() {
        let mut all = Gatherings::default();
        let now = Instant::now();
        let mut alone = 0;
        let mut requests = 0;
        for n in 0..1_000 {
            match all.came(&place("Q"), run(n), now) {
                Came::Alone => alone += 1,
                Came::Waits => {}
                Came::Full => {
                    assert_eq!(all.take(&place("Q"), TOGETHER_MAX, now).len(), TOGETHER_MAX);
                    requests += 1;
                }
            }
        }
        assert_eq!((alone, requests), (1, 9));
        assert!(!all.back(&place("Q")), "it waits for more");
        let leaves = all.next().expect("a time");
        assert_eq!(leaves, now + LINGER);
        assert!(all.due(now).is_empty());
        assert_eq!(all.due(leaves).len(), 1);
        assert_eq!(all.take(&place("Q"), TOGETHER_MAX, leaves).len(), 1_000 - alone - 900);
        // Quiet again.
        assert_eq!(all.came(&place("Q"), run(5_000), leaves + 5 * WINDOW), Came::Alone);
    }
}
