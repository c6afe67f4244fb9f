//! A target's circuit breaker.

use super::{Cause, Failure};
use crate::time::Timestamp;

/// A target's circuit breaker as a value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Breaker {
    /// Failures in a row.
    pub failures: u32,
    /// Open until then, and why.
    pub open: Option<(Timestamp, Cause)>,
}

/// Failures in a row that open a breaker.
pub const BREAKER_FAILURES: u32 = 5;

impl Breaker {
    /// Whether a request may go out now: yes, as the one probe, or not before a moment.
    #[must_use]
    pub fn admits(&self, now: Timestamp) -> Result<(), (Timestamp, Cause)> {
        let _ = now;
        todo!()
    }

    /// Counts an outcome: success closes, configuration refusals open at once, repeated failures open with growing waits.
    pub fn count(&mut self, failure: Option<&Failure>, now: Timestamp) {
        let _ = (failure, now);
        todo!()
    }
}
