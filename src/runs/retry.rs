//! When a failed step is tried again, and what a status means by itself.

use std::time::Duration;

use super::Class;
use crate::rules::RetryPolicy;

/// How much longer than `Retry-After` a wait may get, so that those who were told the same moment do not all come then.
const SPREAD: f64 = 0.25;

impl Class {
    /// What a status means by itself; `None` where nothing failed. A service that says more in its body refines it.
    ///
    /// | status | class | then |
    /// |---|---|---|
    /// | 2xx | none | done |
    /// | 401 | `Auth` | the target's breaker; a fresh token was tried before |
    /// | 403 | `Configuration` | the breaker of that part of the target |
    /// | 408, 425, 5xx | `Server` | again |
    /// | 429 | `Throttled` | again, counted against nothing but `give_up_after` |
    /// | others | `Refused` | dead at once |
    #[must_use]
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            200..=299 => None,
            401 => Some(Self::Auth),
            403 => Some(Self::Configuration),
            408 | 425 | 500..=599 => Some(Self::Server),
            429 => Some(Self::Throttled),
            _ => Some(Self::Refused),
        }
    }
}

/// The wait after the `failures`-th failure (from 1): exponential with full jitter. `Retry-After` is a floor that
/// jitter only lengthens; both end at the policy's `max_wait`, jitter aside. `jitter` is in `0.0..1.0`.
#[must_use]
pub fn wait(policy: &RetryPolicy, failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let longest = policy.max_wait.as_secs_f64();
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    // An overflow is infinite and ends at the longest wait; what is no number (0 × ∞) likewise.
    let ceiling = match policy.first_wait.as_secs_f64() * policy.factor.powi(exponent) {
        seconds if seconds < longest => seconds.max(0.0),
        _ => longest,
    };
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
    match retry_after {
        None => Duration::from_secs_f64(ceiling * jitter),
        Some(told) => {
            let floor = told.min(policy.max_wait);
            floor.max(Duration::from_secs_f64(ceiling * jitter)) + Duration::from_secs_f64(floor.as_secs_f64() * SPREAD * jitter)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy::default();
        for (failures, ceiling) in [(1, 2), (2, 4), (3, 8), (9, 512), (10, 900), (5_000, 900)] {
            assert_eq!(wait(&policy, failures, None, 1.0), seconds(ceiling), "after {failures}");
            assert_eq!(wait(&policy, failures, None, 0.5), seconds(ceiling) / 2, "full jitter after {failures}");
        }
    }

    #[test]
    fn retry_after_is_a_floor_that_jitter_only_lengthens() {
        let policy = RetryPolicy::default();
        assert_eq!(wait(&policy, 1, Some(seconds(17)), 0.0), seconds(17));
        assert!(wait(&policy, 1, Some(seconds(17)), 0.9) > seconds(17));
        assert_eq!(wait(&policy, 9, Some(seconds(17)), 1.0).as_secs(), 516, "a longer backoff stays");
        assert_eq!(wait(&policy, 1, Some(seconds(1_000_000)), 0.0), policy.max_wait, "obeyed up to `max_wait`");
    }

    proptest! {
        #[test]
        fn no_policy_makes_a_wait_without_end(first in 0_u64..1_000_000, factor in 0.0_f64..1e9, most in 0_u64..1_000_000, failures: u32, told: Option<u32>, jitter in 0.0_f64..1.0) {
            let policy = RetryPolicy { first_wait: seconds(first), factor, max_wait: seconds(most), ..RetryPolicy::default() };
            let waited = wait(&policy, failures, told.map(|s| seconds(u64::from(s))), jitter);
            prop_assert!(waited <= policy.max_wait.mul_f64(1.0 + SPREAD) + Duration::from_millis(1));
        }
    }
}
