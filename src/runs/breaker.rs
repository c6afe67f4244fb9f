//! A target's circuit breaker: after failures in a row nothing is sent for a while, then one probe at a time.

use std::time::Duration;

use super::{Cause, Class, Failure};
use crate::time::Timestamp;

/// Failures in a row that open a breaker.
pub const BREAKER_FAILURES: u32 = 5;
/// How long it is open the first time after failures in a row.
const OPEN_FIRST: Duration = Duration::from_secs(5);
/// How long it is open the first time after a refusal that is configuration or authentication: nothing but a person
/// mends those, and more than one try a minute locks accounts.
const OPEN_FIRST_REFUSED: Duration = Duration::from_secs(60);
/// The longest it stays open without a probe.
const OPEN_MAX: Duration = Duration::from_secs(300);
/// The longest that a 429 holds a whole target.
const HOLD_MAX: Duration = Duration::from_secs(900);
/// How long others wait while a probe is under way.
const PROBE_WAIT: Duration = Duration::from_secs(5);
/// A probe whose end nobody reported by then is forgotten.
const PROBE_MAX: Duration = Duration::from_secs(120);

/// What is half open for so long is no use any more: a run that waits for it would have come back several times.
const STALE_AFTER: Duration = Duration::from_secs(3_600);

/// A target's circuit breaker as a value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Breaker {
    /// Failures in a row.
    pub failures: u32,
    /// Open until then, and why. It stays here, half open, until a probe succeeds.
    pub open: Option<(Timestamp, Cause)>,
    /// How often it opened since it was last closed.
    pub openings: u32,
    /// Since when a probe is under way.
    pub probe: Option<Timestamp>,
    /// The target asked for silence until then (429 with `Retry-After`).
    pub held: Option<Timestamp>,
}

impl Breaker {
    /// One that was open when the process ended. It waits no longer than a breaker can at `now`.
    #[must_use]
    pub fn restored(until: Timestamp, cause: Cause, openings: u32, now: Timestamp) -> Self {
        Self { open: Some((until.min(now.plus(OPEN_MAX)), cause)), openings, failures: BREAKER_FAILURES, ..Self::default() }
    }

    /// One whose target had asked for silence when the process ended, no longer than it may ask at `now`.
    #[must_use]
    pub fn held_until(until: Timestamp, now: Timestamp) -> Self {
        Self { held: Some(until.min(now.plus(HOLD_MAX))), ..Self::default() }
    }

    /// Until when nothing is sent because the target asked for that, and why.
    #[must_use]
    pub fn hold(&self) -> Option<(Timestamp, Cause)> {
        let until = self.held?;
        let message = format!("the target asked for no requests before {until}");
        Some((until, Cause { code: Class::Throttled.as_str().to_owned(), message }))
    }

    /// Whether a request may go out now: yes (as the one probe, where it is half open), or not before a moment.
    ///
    /// # Errors
    /// The moment and why.
    pub fn admits(&self, now: Timestamp) -> Result<(), (Timestamp, Cause)> {
        if let Some((until, cause)) = &self.open {
            if now < *until {
                return Err((*until, cause.clone()));
            }
            if self.probe.is_some_and(|since| now < since.plus(PROBE_MAX)) {
                return Err((now.plus(PROBE_WAIT), cause.clone()));
            }
        }
        self.hold().filter(|(until, _)| now < *until).map_or(Ok(()), Err)
    }

    /// A request that it admitted goes out: where it is half open, that is the one probe.
    pub fn begin(&mut self, now: Timestamp) {
        if self.open.is_some() {
            self.probe = Some(now);
        }
    }

    /// Whether its time was over long ago and nobody probed it: nothing waits for it.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let over = |since: Timestamp| since.plus(STALE_AFTER) < now;
        self.open.as_ref().map(|(until, _)| *until).max(self.held).is_some_and(over) && self.probe.is_none_or(over)
    }

    /// Whether requests are held back, a half-open breaker included.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Counts an outcome: success closes, configuration refusals open at once, repeated failures open with growing waits.
    pub fn count(&mut self, failure: Option<&Failure>, now: Timestamp) {
        let Some(failure) = failure else { return self.close(now) };
        // What began before it opened and fails now says nothing new.
        let late = self.open.as_ref().is_some_and(|(until, _)| now < *until);
        match failure.class {
            Class::BreakerOpen => {}
            Class::Throttled => {
                self.probe = None;
                if let Some(told) = failure.retry_after {
                    let until = now.plus(told.min(HOLD_MAX));
                    self.held = Some(self.held.map_or(until, |known| known.max(until)));
                }
            }
            // The target answered what it thinks of one request: it is alive. A refusal of our own says nothing of it.
            Class::Refused | Class::Conflict | Class::Batch | Class::Service if failure.status.is_some() => self.close(now),
            Class::Refused | Class::Conflict | Class::Batch | Class::Service => self.probe = None,
            _ if late => {}
            Class::Auth | Class::Configuration => self.trip(failure, OPEN_FIRST_REFUSED, now),
            Class::Connect | Class::Unknown | Class::Server | Class::Invalid => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= BREAKER_FAILURES || self.open.is_some() {
                    self.trip(failure, OPEN_FIRST, now);
                }
            }
        }
    }

    fn trip(&mut self, failure: &Failure, first: Duration, now: Timestamp) {
        let wait = first.saturating_mul(1 << self.openings.min(10)).min(OPEN_MAX);
        let cause = Cause { code: failure.class.as_str().to_owned(), message: failure.message.clone() };
        self.openings = self.openings.saturating_add(1);
        self.probe = None;
        self.open = Some((now.plus(wait), cause));
    }

    fn close(&mut self, now: Timestamp) {
        *self = Self { held: self.held.filter(|until| now < *until), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH.plus(Duration::from_secs(1_000 + seconds))
    }

    fn failure(class: Class, status: Option<u16>) -> Failure {
        Failure { class, status, message: format!("{class:?}"), retry_after: None }
    }

    fn opened(class: Class, times: u32) -> Breaker {
        let mut breaker = Breaker::default();
        (0..times).for_each(|_| breaker.count(Some(&failure(class, None)), at(0)));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it() {
        for class in [Class::Connect, Class::Unknown, Class::Server, Class::Invalid] {
            assert_eq!(opened(class, BREAKER_FAILURES - 1).admits(at(0)), Ok(()), "{class:?}");
            let (until, cause) = opened(class, BREAKER_FAILURES).admits(at(0)).expect_err("open");
            assert_eq!((until, cause.code.as_str()), (at(5), class.as_str()));
        }
        let mut broken_row = opened(Class::Server, BREAKER_FAILURES - 1);
        broken_row.count(None, at(0));
        broken_row.count(Some(&failure(Class::Server, None)), at(0));
        assert_eq!(broken_row.admits(at(0)), Ok(()));
    }

    #[test]
    fn configuration_and_authentication_open_it_at_once_for_a_minute() {
        for class in [Class::Auth, Class::Configuration] {
            assert_eq!(opened(class, 1).admits(at(0)).map_err(|(until, _)| until), Err(at(60)));
        }
    }

    #[test]
    fn refusals_of_single_requests_and_throttling_leave_it_closed() {
        for class in [Class::Refused, Class::Conflict, Class::Throttled, Class::BreakerOpen] {
            assert!(!opened(class, 50).is_open(), "{class:?}");
        }
    }

    #[test]
    fn one_probe_at_a_time_and_each_failed_one_lengthens_the_wait() {
        let mut breaker = opened(Class::Server, BREAKER_FAILURES);
        let mut now = at(0);
        for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
            let until = now.plus(Duration::from_secs(wait));
            assert_eq!(breaker.admits(until.minus(Duration::from_millis(1))).map_err(|(until, _)| until), Err(until));
            assert_eq!(breaker.admits(until), Ok(()));
            breaker.begin(until);
            assert!(breaker.admits(until).is_err(), "a second probe beside the first");
            breaker.count(Some(&failure(Class::Server, None)), until);
            now = until;
        }
        breaker.begin(now);
        breaker.count(None, now);
        assert_eq!(breaker, Breaker::default(), "a probe that succeeds closes it");
    }

    #[test]
    fn a_probe_that_never_reports_is_forgotten() {
        let mut breaker = opened(Class::Server, BREAKER_FAILURES);
        breaker.begin(at(5));
        assert!(breaker.admits(at(6)).is_err());
        assert_eq!(breaker.admits(at(5).plus(PROBE_MAX)), Ok(()));
    }

    #[test]
    fn late_failures_of_requests_sent_before_it_opened_do_not_lengthen_the_wait() {
        let mut breaker = opened(Class::Server, BREAKER_FAILURES);
        (0..16).for_each(|_| breaker.count(Some(&failure(Class::Server, None)), at(1)));
        assert_eq!(breaker.admits(at(5)), Ok(()));
    }

    #[test]
    fn what_nobody_probes_is_stale_in_the_end() {
        let mut breaker = opened(Class::Configuration, 1);
        assert!(!breaker.is_stale(at(60 + 3_600)) && breaker.is_stale(at(60 + 3_601)));
        breaker.begin(at(3_000));
        assert!(!breaker.is_stale(at(6_000)), "it is being probed");
        assert!(!Breaker::default().is_stale(at(1_000_000)), "there is nothing to forget");
    }

    #[test]
    fn retry_after_holds_the_whole_target() {
        let mut breaker = Breaker::default();
        let told = |seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..failure(Class::Throttled, Some(429)) };
        breaker.count(Some(&told(17)), at(0));
        breaker.count(Some(&told(3)), at(0));
        breaker.count(None, at(1));
        assert_eq!(breaker.admits(at(16)).map_err(|(until, cause)| (until, cause.code)), Err((at(17), "throttled".to_owned())));
        assert_eq!(breaker.admits(at(17)), Ok(()));
        breaker.count(Some(&told(u64::from(u32::MAX))), at(20));
        assert_eq!(breaker.admits(at(20)).map_err(|(until, _)| until), Err(at(20).plus(HOLD_MAX)));
    }
}
