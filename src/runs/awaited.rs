//! What a run awaits, and which events tell that it is over.
//!
//! Somebody looks whether an item or job has come to its end; an event only says when to look. So a copy of it, or one
//! that never comes, is harmless. Both sides spell the thing as the keys of events begin.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::decide::WAITING;
use super::lanes::{Lane, List};
use super::{Cause, Run, RunState, StepState, StepView};
use crate::time::Timestamp;

/// The most runs that one event wakes; the others look when their time comes.
pub const WOKEN_MAX: usize = 256;

/// Types of events behind which nothing comes for their item or job. A failed item may be retried: then the next attempt is
/// awaited, which only a look tells.
const ENDS: &[&str] = &[
    "queueItem.transactionCompleted",
    "queueItem.transactionFailed",
    "queueItem.transactionAbandoned",
    "queueItem.deleted",
    "job.completed",
    "job.faulted",
    "job.stopped",
];

/// An item or job: `<tenant URL>|queueItem|<Id>`, `<tenant URL>|job|<Key>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Awaited(pub String);

/// What stands for it in indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AwaitedKey(pub u64);

impl Awaited {
    /// What stands for it in indexes.
    #[must_use]
    pub fn key(&self) -> AwaitedKey {
        AwaitedKey::of(&self.0)
    }
}

impl AwaitedKey {
    fn of(text: &str) -> Self {
        let digest = Sha256::digest(text);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// What an event with this type and key says is over.
    #[must_use]
    pub fn ended_by(event_type: &str, key: &str) -> Option<Self> {
        if !ENDS.contains(&event_type) {
            return None;
        }
        let (end, _) = key.match_indices('|').nth(2)?;
        key.get(..end).map(Self::of)
    }
}

impl Run {
    /// What is awaited was looked at and is not over.
    pub(super) fn not_over(&mut self, awaited: Option<&Awaited>, asked: Timestamp, until: Timestamp, cause: &Cause, at: Timestamp) {
        let Some(view) = self.steps.last_mut().filter(|view| !view.state.is_finished() && view.awaits.is_some()) else { return };
        view.state = StepState::Waiting;
        view.awaited = awaited.cloned();
        // The answer may be older than an event that came while it was asked for.
        let next = if view.woken.is_some_and(|told| told > asked) { at } else { until };
        self.due(RunState::Waiting, next, at);
        self.cause = Some(cause.clone());
    }

    /// Everything that it awaits.
    pub fn awaited(&self) -> impl Iterator<Item = &Awaited> {
        self.views().filter_map(|view| view.awaited.as_ref())
    }

    /// The steps that are under way: its own, and those of its lanes.
    fn views(&self) -> impl Iterator<Item = &StepView> {
        let open = |view: &StepView| !view.state.is_finished();
        let own = self.unfinished().filter(|_| !self.state.is_settled() && self.give_up.is_none());
        let lanes = own.and_then(|view| view.list.as_ref()).into_iter().flat_map(|list| list.lanes().map(|(_, lane)| lane));
        let give_up = self.give_up.iter().filter(|_| !self.state.is_settled()).map(|give_up| &give_up.lane);
        let lanes = lanes.chain(give_up).filter(|lane| !lane.state.is_settled());
        let last = lanes.filter_map(move |lane| lane.steps.last().filter(|view| open(view)));
        own.into_iter().chain(last)
    }

    /// An event that was received at `told` says that something is over: who awaits it looks at once. Whether it does.
    pub fn wake(&mut self, key: AwaitedKey, told: Timestamp) -> bool {
        if self.state.is_settled() {
            return false;
        }
        if let Some(give_up) = &mut self.give_up {
            let woken = give_up.lane.wake(key, told);
            return woken && self.hurry(told);
        }
        let Some(view) = self.steps.last_mut() else { return false };
        let own = view.wake(key, told);
        let lanes = view.list.as_mut().is_some_and(|list| list.wake(key, told));
        let waits = self.cause.as_ref().is_some_and(|cause| cause.code == WAITING);
        // One that was refused keeps its distance.
        if lanes || (own && waits) {
            self.hurry(told);
        }
        own || lanes
    }

    /// What is awaited and is over, as events told a newer sight of the same run. Whether anything is due for it.
    pub fn wake_as(&mut self, newer: &Self) -> bool {
        let told: Vec<_> = newer.views().filter_map(|view| Some((view.awaited.as_ref()?.key(), view.woken?))).collect();
        let known: Vec<_> = self.views().filter_map(|view| Some((view.awaited.as_ref()?.key(), view.woken?))).collect();
        let mut woken = false;
        for (key, told) in told.into_iter().filter(|told| !known.contains(told)) {
            woken |= self.wake(key, told);
        }
        woken
    }

    fn hurry(&mut self, told: Timestamp) -> bool {
        if matches!(self.state, RunState::Running | RunState::Waiting | RunState::Retrying) {
            self.next_at = self.next_at.map(|next| next.min(told));
        }
        true
    }
}

impl List {
    fn wake(&mut self, key: AwaitedKey, told: Timestamp) -> bool {
        let mut woken = false;
        for lane in self.open_lanes() {
            woken |= lane.wake(key, told);
        }
        woken
    }
}

impl Lane {
    fn wake(&mut self, key: AwaitedKey, told: Timestamp) -> bool {
        if self.state.is_settled() || !self.steps.last_mut().is_some_and(|view| view.wake(key, told)) {
            return false;
        }
        if self.state == RunState::Waiting && self.cause.as_ref().is_some_and(|cause| cause.code == WAITING) {
            self.next_at = self.next_at.map(|next| next.min(told));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_the_end_of_the_thing_that_its_key_begins_with() {
        let item = Awaited("https://o.example/t|queueItem|436".to_owned()).key();
        for (event_type, key, expected) in [
            ("queueItem.transactionFailed", "https://o.example/t|queueItem|436|queueItem.transactionFailed|", Some(item)),
            ("queueItem.deleted", "https://o.example/t|queueItem|436|queueItem.deleted|", Some(item)),
            ("queueItem.transactionStarted", "https://o.example/t|queueItem|436|queueItem.transactionStarted|x", None),
            ("queueItem.deleted", "no key", None),
        ] {
            assert_eq!(AwaitedKey::ended_by(event_type, key), expected, "{key}");
        }
        let other = AwaitedKey::ended_by("queueItem.deleted", "https://o.example/t|queueItem|43|queueItem.deleted|");
        assert!(other.is_some_and(|other| other != item));
    }
}
