//! The coverage ledger: up to when everything of a folder is known, and when it was not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Gaps that are remembered of one folder.
const GAPS_KEPT: usize = 20;

/// A folder counts as known without a gap when it is read again within this and three intervals.
const GAP_MIN: Duration = Duration::from_secs(60);

/// A time that was not covered when it passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gap {
    /// From here …
    pub(super) from: Timestamp,
    /// … to when it was closed.
    pub(super) to: Timestamp,
    /// Why.
    pub(super) cause: String,
    /// Events that only closing it brought.
    pub(super) brought: u64,
    /// Whether it could not be closed: what happened then cannot be brought any more, or not all of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) lost: bool,
}

/// What is known of a folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Everything up to then is known.
    pub(super) known_until: Option<Timestamp>,
    /// Gaps that were closed, oldest first.
    pub(super) gaps: Vec<Gap>,
    /// Why the last try failed, while it does.
    pub(super) failing: Option<String>,
}

impl Ledger {
    /// A pass that began at `begun` read everything; `brought` events were new. True when that is worth keeping at once.
    pub(super) fn read(&mut self, begun: Timestamp, every: Duration, brought: u64) -> bool {
        let before = self.known_until.replace(begun);
        let failing = self.failing.take();
        let Some(from) = before else { return true };
        if begun.since(from) <= GAP_MIN.max(every.saturating_mul(3)) {
            return failing.is_some();
        }
        let cause = failing.unwrap_or_else(|| "the daemon was not running".to_owned());
        self.push(Gap { from, to: begun, cause, brought, lost: false });
        true
    }

    /// What happened in a time cannot be brought. False when that was said already.
    pub(super) fn lost(&mut self, from: Timestamp, to: Timestamp, cause: &str) -> bool {
        let gap = Gap { from, to, cause: cause.to_owned(), brought: 0, lost: true };
        if self.gaps.iter().any(|known| known.lost && (known.from, known.to) == (from, to)) {
            return false;
        }
        self.push(gap);
        true
    }

    fn push(&mut self, gap: Gap) {
        self.gaps.push(gap);
        if self.gaps.len() > GAPS_KEPT {
            self.gaps.remove(0);
        }
    }

    /// A pass failed. True when that is news.
    pub(super) fn failed(&mut self, why: &str) -> bool {
        let news = self.failing.as_deref() != Some(why);
        self.failing = Some(why.to_owned());
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn gaps_are_closed_with_their_cause() {
        let every = Duration::from_secs(10);
        let mut ledger = Ledger::default();
        assert!(ledger.read(at(0), every, 5), "the first one is kept");
        assert!(!ledger.read(at(10), every, 0));
        assert!(ledger.failed("throttled") && !ledger.failed("throttled"));
        assert!(ledger.read(at(30), every, 0), "the end of a failure is kept, but it is no gap");
        assert_eq!(ledger.gaps, []);
        ledger.failed("throttled");
        ledger.read(at(400), every, 7);
        ledger.read(at(4000), every, 1);
        let gap = |from, to, cause: &str, brought| Gap { from: at(from), to: at(to), cause: cause.to_owned(), brought, lost: false };
        assert_eq!(ledger.gaps, [gap(30, 400, "throttled", 7), gap(400, 4000, "the daemon was not running", 1)]);
        for n in 2..100 {
            ledger.read(at(n * 4000), every, 0);
        }
        assert_eq!(ledger.gaps.len(), GAPS_KEPT);
    }

    #[test]
    fn what_is_lost_is_said_once() {
        let mut ledger = Ledger::default();
        assert!(ledger.lost(at(0), at(9), "gone") && !ledger.lost(at(0), at(9), "gone") && ledger.lost(at(0), at(10), "gone"));
        let json = serde_json::to_value(&ledger).expect("json");
        assert_eq!(json["gaps"][0]["lost"], true);
        assert_eq!(serde_json::from_value::<Ledger>(json).expect("a ledger"), ledger);
    }
}
