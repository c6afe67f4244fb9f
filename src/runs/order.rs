//! The order of runs with the same key: each key has one run at a time, the others are blocked until their turn.
//!
//! Whose turn it is, is a fold of the journal's records (`journal/order.rs`); here are the words. Knows no store.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Cause, Fact, Run, RunState};
use crate::time::Timestamp;

/// How much of a key is shown, in characters.
const KEY_SHOWN_MAX: usize = 120;
/// For how long it is remembered which event was handled last for a key.
const NEWEST_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The code of the cause of a blocked run.
const ORDERED: &str = "ordered";

/// What stands for a rule and a key: runs with the same one go one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderKey(pub [u8; 16]);

impl OrderKey {
    /// Of a rule's key.
    #[must_use]
    pub fn of(rule: &str, key: &str) -> Self {
        let digest = Sha256::new().chain_update(rule).chain_update([0]).chain_update(key).finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(first)
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<OrderKey> for String {
    fn from(key: OrderKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for OrderKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| text.len() == 32);
        number.map(|number| Self(number.to_be_bytes())).ok_or_else(|| format!("`{text}` is no key of an order"))
    }
}

/// A run's place in an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Those with the same one go one after another.
    pub key: OrderKey,
    /// The key as the rule's `ordered_by` gave it, cut.
    pub shown: String,
}

impl Ordered {
    /// Of a rule's key.
    #[must_use]
    pub fn new(rule: &str, key: &str) -> Self {
        Self { key: OrderKey::of(rule, key), shown: key.chars().take(KEY_SHOWN_MAX).collect() }
    }
}

impl Run {
    /// The key of its order, where its rule has one.
    #[must_use]
    pub fn order_key(&self) -> Option<OrderKey> {
        self.planned.order.as_ref().map(|order| order.key)
    }

    /// Its turn has not come: nothing happens to it until then. When it is due by itself does not change.
    pub(crate) fn block(&mut self) {
        if !self.state.is_settled() && self.state != RunState::Blocked {
            self.before_block = Some(self.state);
            self.state = RunState::Blocked;
        }
    }

    /// Its turn has come: it goes on as it was.
    pub(crate) fn unblock(&mut self) {
        if self.state == RunState::Blocked {
            self.state = self.before_block.take().unwrap_or(RunState::Pending);
        }
    }

    /// Why it is blocked, while it is.
    pub(super) fn block_cause(&self) -> Option<Cause> {
        let order = self.planned.order.as_ref().filter(|_| self.state == RunState::Blocked)?;
        let message = format!("another run of its rule with the key `{}` is not over; runs with one key go one after another", order.shown);
        Some(Cause { code: ORDERED.to_owned(), message })
    }
}

/// The newest event that was handled for a key; kept as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// When the event happened.
    pub time: Timestamp,
    /// Afterwards nobody needs to know.
    pub until: Timestamp,
}

impl Newest {
    /// What is known when an event of `time` was handled at `now`.
    #[must_use]
    pub fn handled(known: Option<Self>, time: Timestamp, now: Timestamp) -> Self {
        Self { time: known.map_or(time, |known| known.time.max(time)), until: now.plus(NEWEST_KEPT) }
    }

    /// What becomes of a run that has not begun, whose event happened at `time`: dropped when that is older.
    #[must_use]
    pub fn drops(&self, time: Option<Timestamp>, now: Timestamp) -> Option<Fact> {
        let time = time.filter(|time| *time < self.time && now < self.until)?;
        let message = format!(
            "its event happened at {time}, and one of {} was handled for its key already: `skip_if_newer` drops older ones",
            self.time
        );
        let cause = Cause { code: "older".to_owned(), message };
        Some(Fact::Settled { state: RunState::Discarded, cause: Some(cause), would: Vec::new(), at: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn keys_of_rules_do_not_meet_and_read_back() {
        assert_ne!(OrderKey::of("r", "A"), OrderKey::of("r", "B"));
        assert_ne!(OrderKey::of("r", "A"), OrderKey::of("rA", ""));
        let order = Ordered::new("r", "A");
        let json = serde_json::to_value(&order).expect("json");
        assert_eq!(json["key"].as_str().map(str::len), Some(32));
        assert_eq!(serde_json::from_value::<Ordered>(json).expect("an order"), order);
        assert!(serde_json::from_str::<OrderKey>("\"+f\"").is_err());
        assert_eq!(Ordered::new("r", &"ä".repeat(500)).shown.chars().count(), KEY_SHOWN_MAX);
    }

    #[test]
    fn an_event_older_than_one_that_was_handled_is_dropped() {
        let newest = Newest::handled(None, at(100), at(200));
        for (time, dropped) in [(None, false), (Some(at(101)), false), (Some(at(100)), false), (Some(at(99)), true)] {
            let fact = newest.drops(time, at(201));
            assert_eq!(fact.is_some(), dropped, "{time:?}");
            if let Some(Fact::Settled { state, cause, .. }) = fact {
                assert_eq!((state, cause.map(|cause| cause.code)), (RunState::Discarded, Some("older".to_owned())));
            }
        }
        assert_eq!(newest.drops(Some(at(99)), newest.until), None, "forgotten");
        assert_eq!(Newest::handled(Some(newest), at(50), at(300)).time, at(100), "it only rises");
    }
}
