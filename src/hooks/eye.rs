//! What intake and polling tell about one webhook while they work, and what they are told of it. Nothing in it waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Delivered;
use crate::event::EventId;
use crate::time::Timestamp;

/// Changes that are looked out for at once; while that many wait, others are passed over: a sample tells as well.
pub const SIGHTED_MAX: usize = 1_000;

/// A change that polling saw first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Its event.
    pub event: EventId,
    /// When it was polled.
    pub at: Timestamp,
    /// By when the webhook should have brought it.
    pub due: Timestamp,
}

/// Between intake, polling and whoever watches a webhook.
#[derive(Debug, Default)]
pub struct Eye {
    /// When it brought what.
    pub delivered: Delivered,
    sighted: Mutex<VecDeque<Sighted>>,
    blind: AtomicBool,
}

impl Eye {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Sighted>> {
        // Each change of it is one call: a panic elsewhere leaves it whole.
        self.sighted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polling brought events that no webhook had brought; it may take `within` longer.
    pub fn sighted(&self, events: &[EventId], at: Timestamp, within: Duration) {
        if events.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        let room = SIGHTED_MAX.saturating_sub(waiting.len());
        waiting.extend(events.iter().take(room).map(|event| Sighted { event: *event, at, due: at.plus(within) }));
    }

    /// Takes those whose time is up.
    pub fn due(&self, now: Timestamp) -> Vec<Sighted> {
        let mut waiting = self.waiting();
        let (due, rest) = waiting.drain(..).partition(|one| one.due <= now);
        *waiting = rest;
        due.into_iter().collect::<VecDeque<_>>().into()
    }

    /// Whether the webhook is blind: polling then has to be its eyes.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Relaxed)
    }

    /// It is, or is no longer.
    pub fn set_blind(&self, blind: bool) {
        self.blind.store(blind, Ordering::Relaxed);
    }

    /// Goes on where the one before a reload was.
    pub fn adopt(&self, old: &Self) {
        let taken = std::mem::take(&mut *old.waiting());
        self.waiting().extend(taken);
        self.set_blind(old.is_blind());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sighted_is_due_once_and_bounded() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let eye = Eye::default();
        let two = Duration::from_secs(120);
        eye.sighted(&[EventId(1), EventId(2)], at(0), two);
        eye.sighted(&[EventId(3)], at(60), two);
        assert_eq!(eye.due(at(119)), []);
        let ids = |due: Vec<Sighted>| due.into_iter().map(|one| one.event.0).collect::<Vec<_>>();
        assert_eq!(ids(eye.due(at(120))), [1, 2]);
        let next = Eye::default();
        eye.set_blind(true);
        next.adopt(&eye);
        assert_eq!((ids(next.due(at(180))), next.is_blind(), eye.due(at(999)).len()), (vec![3], true, 0));
        let many: Vec<EventId> = (0..5_000).map(EventId).collect();
        next.sighted(&many, at(0), two);
        assert_eq!(next.due(at(999)).len(), SIGHTED_MAX);
    }
}
