//! Whether a webhook still sees what happens: what polling saw first must come by webhook as well, within a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

/// So many misses of one type, one after another, and the webhook is blind.
pub const MISSES_BLIND: u32 = 3;

/// Types that Orchestrator is known to send: of others a webhook that is well may stay silent (`job.created` is not sent
/// for jobs that robots start).
const SENT: [&str; 11] = [
    "queueItem.added",
    "queueItem.transactionStarted",
    "queueItem.transactionCompleted",
    "queueItem.transactionFailed",
    "queueItem.transactionAbandoned",
    "queueItem.retried",
    "job.started",
    "job.completed",
    "job.faulted",
    "job.stopped",
    "job.suspended",
];

/// Whether a webhook that asks for this type must have been sent it. Of a new attempt at an item `queueItem.retried` is known to tell;
/// that it is told as added too is not.
#[must_use]
pub fn is_sent(event_type: &str, data: &Value) -> bool {
    let is_retry = || data.pointer("/QueueItem/AncestorId").is_some_and(|ancestor| !ancestor.is_null());
    SENT.contains(&event_type) && !(event_type == "queueItem.added" && is_retry())
}

/// When a webhook last brought an event, by type. Written with each delivery, so it has no lock.
#[derive(Debug, Default)]
pub struct Delivered([AtomicI64; SENT.len()]);

impl Delivered {
    /// A delivery of this type was accepted.
    pub fn note(&self, event_type: &str, now: Timestamp) {
        if let Some(index) = SENT.iter().position(|name| *name == event_type) {
            self.0[index].fetch_max(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// When one of this type last came.
    #[must_use]
    pub fn last(&self, event_type: &str) -> Option<Timestamp> {
        let index = SENT.iter().position(|name| *name == event_type)?;
        Some(self.0[index].load(Ordering::Relaxed)).filter(|millis| *millis > 0).map(Timestamp::from_millis)
    }
}

/// Since when a webhook is blind, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blind {
    /// When it was found out.
    pub since: Timestamp,
    /// The types that did not come.
    pub types: Vec<String>,
}

/// What is known of a webhook's sight. Kept, so that a restart neither forgets nor repeats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// Misses without a delivery in between, by type.
    #[serde(default)]
    pub run: BTreeMap<String, u32>,
    /// Misses of all time.
    #[serde(default)]
    pub missed: u64,
    /// While it is blind.
    #[serde(default)]
    pub blind: Option<Blind>,
}

/// What a look changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing that others must know.
    None,
    /// It is blind from now on.
    Blinded,
    /// It is blind no longer; it was since then.
    Healed(Timestamp),
}

impl Sight {
    /// A change was polled and no webhook brought it in time. `alive` says that the webhook brought another change of this type
    /// meanwhile: one was lost, but the webhook sees.
    pub fn missed(&mut self, event_type: &str, alive: bool, now: Timestamp) -> Turn {
        self.missed = self.missed.saturating_add(1);
        if alive {
            self.run.remove(event_type);
            return Turn::None;
        }
        let run = self.run.entry(event_type.to_owned()).or_insert(0);
        *run = run.saturating_add(1);
        if *run < MISSES_BLIND {
            return Turn::None;
        }
        match &mut self.blind {
            Some(blind) => {
                if !blind.types.iter().any(|known| known == event_type) {
                    blind.types.push(event_type.to_owned());
                }
                Turn::None
            }
            None => {
                // A switched-off webhook misses everything: what else went missing belongs to it.
                self.blind = Some(Blind { since: now, types: self.run.keys().cloned().collect() });
                Turn::Blinded
            }
        }
    }

    /// A webhook brought a change of this type.
    pub fn delivered(&mut self, event_type: &str) -> Turn {
        self.run.remove(event_type);
        match self.blind.take() {
            Some(blind) if blind.types.iter().any(|known| known == event_type) => {
                self.run.clear();
                Turn::Healed(blind.since)
            }
            other => {
                self.blind = other;
                Turn::None
            }
        }
    }

    /// The types that are looked out for while it is blind.
    pub fn awaited(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.blind.iter().flat_map(|blind| blind.types.iter().map(|name| (name.as_str(), blind.since)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FAILED: &str = "queueItem.transactionFailed";
    const ADDED: &str = "queueItem.added";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_run_of_misses_is_blindness_and_a_delivery_heals_it() {
        let mut sight = Sight::default();
        assert_eq!(sight.missed(FAILED, false, at(1)), Turn::None);
        assert_eq!(sight.missed(FAILED, false, at(2)), Turn::None);
        // In between one came.
        assert_eq!(sight.delivered(FAILED), Turn::None);
        assert_eq!(sight.missed(FAILED, false, at(3)), Turn::None);
        assert_eq!(sight.missed(FAILED, false, at(4)), Turn::None);
        assert_eq!(sight.missed(ADDED, false, at(4)), Turn::None);
        assert_eq!(sight.missed(FAILED, false, at(5)), Turn::Blinded);
        assert_eq!(sight.missed(FAILED, false, at(6)), Turn::None, "it is said once");
        assert_eq!(sight.blind, Some(Blind { since: at(5), types: vec![ADDED.to_owned(), FAILED.to_owned()] }));
        let kept = serde_json::to_string(&sight).expect("json");
        let mut sight: Sight = serde_json::from_str(&kept).expect("a sight");
        assert_eq!(sight.delivered(ADDED), Turn::Healed(at(5)));
        assert_eq!((sight.run.len(), sight.missed, sight.delivered(ADDED)), (0, 7, Turn::None));
    }

    #[test]
    fn a_webhook_that_does_not_ask_for_a_type_is_blind_for_it_alone() {
        let mut sight = Sight::default();
        for n in 0..5 {
            sight.missed(FAILED, false, at(n));
            assert_eq!(sight.delivered(ADDED), Turn::None, "what does come heals nothing");
        }
        assert_eq!(sight.awaited().collect::<Vec<_>>(), [(FAILED, at(2))]);
    }

    #[test]
    fn a_loss_now_and_then_is_counted_and_no_blindness() {
        let mut sight = Sight::default();
        for n in 0..100 {
            assert_eq!(sight.missed(FAILED, true, at(n)), Turn::None);
        }
        assert_eq!((sight.missed, sight.blind), (100, None));
    }

    #[test]
    fn deliveries_are_noted_by_type_and_only_those_that_must_come() {
        let delivered = Delivered::default();
        delivered.note(FAILED, at(5));
        delivered.note(FAILED, at(3));
        delivered.note("ping", at(9));
        assert_eq!((delivered.last(FAILED), delivered.last(ADDED), delivered.last("ping")), (Some(at(5)), None, None));
        assert!(!is_sent("job.created", &Value::Null) && is_sent("job.started", &Value::Null));
    }

    #[test]
    fn a_new_attempt_at_an_item_need_not_be_told_as_added() {
        let (first, retry) = (json!({"QueueItem": {"Id": 7, "AncestorId": null}}), json!({"QueueItem": {"Id": 8, "AncestorId": 7}}));
        assert!(is_sent(ADDED, &first) && !is_sent(ADDED, &retry) && is_sent("queueItem.retried", &retry));
    }
}
