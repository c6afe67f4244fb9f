//! Breakers over restarts: what opens is kept in the journal and put back at the next start.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::journal::{Journal, KEPT_KEY_MAX, Kept, Space};
use crate::runs::{Breaker, Cause, Class};
use crate::time::Timestamp;

/// Breakers that are put back.
const RESTORED_MAX: usize = 10_000;

/// An open breaker as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    /// The target.
    pub(super) target: String,
    /// The part of it, where only that is held back.
    #[serde(default)]
    pub(super) part: Option<String>,
    /// Nothing is sent before.
    pub(super) until: Timestamp,
    /// Why.
    pub(super) cause: Cause,
    /// How often it opened since it was last closed.
    pub(super) openings: u32,
}

impl Open {
    /// Whether the target only asked for silence.
    fn is_hold(&self) -> bool {
        self.cause.code == Class::Throttled.as_str()
    }

    /// Of a breaker, where that is open or holds requests back.
    pub(super) fn of(target: &str, part: Option<&str>, breaker: &Breaker) -> Option<Self> {
        let (until, cause) = breaker.open.clone().or_else(|| breaker.hold())?;
        Some(Self { target: target.to_owned(), part: part.map(str::to_owned), until, cause, openings: breaker.openings })
    }

    /// The breaker again. It waits no longer than it could have at `now`, whatever the clock did meanwhile.
    pub(super) fn breaker(&self, now: Timestamp) -> Breaker {
        if self.is_hold() {
            return Breaker::held_until(self.until, now);
        }
        Breaker::restored(self.until, self.cause.clone(), self.openings, now)
    }

    /// For people and programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "target": self.target, "part": self.part, "until": self.until, "cause": self.cause.code, "message": self.cause.message,
        })
    }
}

/// The name under which the breaker of a target, or of a part of one, is kept; too long ones are not.
pub(super) fn key(target: &str, part: Option<&str>) -> Option<String> {
    let key = format!("{target}\n{}", part.unwrap_or_default()).replace('\0', "");
    (key.len() <= KEPT_KEY_MAX).then_some(key)
}

/// What is to be kept when a breaker opened, stays open longer, or closed.
pub(super) fn kept(target: &str, part: Option<&str>, open: Option<&Open>) -> Option<Kept> {
    let value = match open {
        Some(open) => Some(Bytes::from(serde_json::to_vec(open).ok()?)),
        None => None,
    };
    Some(Kept { space: Space::Breaker, key: key(target, part)?, value })
}

/// The breakers that were open when the process ended.
pub(super) fn restore(journal: &Journal) -> Vec<Open> {
    match journal.kept_after(Space::Breaker, "", None, RESTORED_MAX) {
        Ok(rows) => rows.into_iter().filter_map(|(_, value)| serde_json::from_slice(&value).ok()).collect(),
        Err(error) => {
            tracing::error!(%error, "cannot read which breakers were open; they begin closed");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_open_breaker_is_put_back_as_it_was_and_never_waits_longer_than_it_could() {
        let now = Timestamp::from_millis(1_000_000_000);
        let cause = Cause { code: "server".to_owned(), message: "503".to_owned() };
        let breaker = Breaker { open: Some((now.plus(Duration::from_secs(20)), cause)), openings: 3, ..Breaker::default() };
        let open = Open::of("prod", Some("queue Q"), &breaker).expect("open");
        let bytes = kept("prod", Some("queue Q"), Some(&open)).expect("kept").value.expect("a value");
        let again: Open = serde_json::from_slice(&bytes).expect("read");
        assert_eq!(again, open);
        assert!(again.breaker(now).admits(now).is_err());
        assert_eq!(again.breaker(now).openings, 3);
        assert_eq!(again.breaker(now).admits(now.plus(Duration::from_secs(20))), Ok(()));
        // The clock went back by a day.
        let before = now.minus(Duration::from_secs(86_400));
        assert_eq!(again.breaker(before).admits(before.plus(Duration::from_secs(301))), Ok(()));
        assert_eq!(Open::of("prod", None, &Breaker::default()), None);
        // A target that asked for silence keeps it over a restart, no longer than it may ask.
        let asked = Breaker { held: Some(now.plus(Duration::from_secs(60))), ..Breaker::default() };
        let again = Open::of("prod", None, &asked).expect("held").breaker(now);
        assert_eq!(again, asked);
        assert!(!again.is_open() && again.admits(now).is_err() && again.admits(now.plus(Duration::from_secs(60))).is_ok());
        let long = Breaker { held: Some(now.plus(Duration::from_secs(86_400))), ..Breaker::default() };
        let again = Open::of("prod", None, &long).expect("held").breaker(now);
        assert!(again.admits(now.plus(Duration::from_secs(901))).is_ok(), "a clock that went back holds nobody for a day");
        assert_eq!(key("t", Some(&"x".repeat(600))), None);
    }
}
