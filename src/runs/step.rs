//! A step of a run as far as it got.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lanes::List;
use super::{Attempt, Awaited, AwaitedKey, StepState};
use crate::time::Timestamp;

/// A step of a run, as far as it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its id, or its number from 1.
    pub id: String,
    /// Whether `id` is one that the rule gave: only then `steps.<id>` means it.
    #[serde(default)]
    pub named: bool,
    /// `enqueue`, `http`, …
    pub kind: String,
    /// Where it stands.
    pub state: StepState,
    /// Its value, when done; the condition, when skipped.
    pub value: Value,
    /// The item may be there twice.
    pub maybe_twice: bool,
    /// The last attempts, at most [`crate::runs::ATTEMPTS_KEPT`].
    pub attempts: Vec<Attempt>,
    /// How many attempts are recorded in all, those before a `retry` by a person included.
    #[serde(default)]
    pub total: u64,
    /// When its first attempt since planning or the last `retry` began.
    pub first_attempt: Option<Timestamp>,
    /// The number of its newest attempt; numbers rise over the step's whole life.
    #[serde(default)]
    pub last: u32,
    /// How many attempts there were since then, those that a crash cut off included.
    pub tries: u32,
    /// How many of those count against `attempts` (429 and an open breaker do not).
    pub counted: u32,
    /// While it waits: when that is over, or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Timestamp>,
    /// What it awaits, once that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
    /// When the last event came that told its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub woken: Option<Timestamp>,
    /// The elements of its list, while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<List>,
}

impl StepView {
    pub(super) fn begin(&mut self, number: u32, at: Timestamp) {
        self.first_attempt = self.first_attempt.or(Some(at));
        if number > self.last {
            self.last = number;
            self.tries = self.tries.saturating_add(1);
        }
    }

    /// It is over: neither time nor list matter any more.
    pub(super) fn close(&mut self) {
        self.awaits = None;
        self.awaited = None;
        self.woken = None;
        if let Some(list) = self.list.take() {
            self.total = self.total.saturating_add(list.attempts_in_all());
        }
    }

    /// An event told that something is over: whether this step awaits it.
    pub(super) fn wake(&mut self, key: AwaitedKey, told: Timestamp) -> bool {
        let is_it = !self.state.is_finished() && self.awaited.as_ref().is_some_and(|awaited| awaited.key() == key);
        if is_it {
            self.woken = self.woken.max(Some(told));
        }
        is_it
    }

    /// Attempts, those of the elements of its list included.
    pub(super) fn attempts_in_all(&self) -> u64 {
        self.total + self.list.as_ref().map_or(0, List::attempts_in_all)
    }

    pub(super) fn to_json(&self) -> Value {
        let attempts: Vec<Value> = self.attempts.iter().map(Attempt::to_json).collect();
        let mut value = json!({"id": self.id, "kind": self.kind, "state": self.state, "value": self.value, "attempts": attempts});
        if self.maybe_twice {
            value["maybe_twice"] = json!(true);
        }
        if let Some(until) = &self.awaits {
            value["until"] = json!(until);
        }
        if let Some(awaited) = &self.awaited {
            value["awaits"] = json!(awaited);
        }
        if let Some(list) = &self.list {
            value["elements"] = list.to_json();
        }
        value
    }
}
