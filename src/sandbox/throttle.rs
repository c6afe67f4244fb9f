//! The limit of the lists of items and jobs: so many requests in any minute, counted to the millisecond, whoever asks.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::sandbox::call::Answer;
use crate::time::{Rate, Timestamp};

/// What is counted when no limit is set, in milliseconds.
const MINUTE_MS: u128 = 60_000;
/// Orchestrator says that nothing remains a little before that is so.
const EARLY: usize = 10;

/// Requests to the lists of items and jobs.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Throttle {
    /// Those within the last period, oldest first.
    within: VecDeque<Timestamp>,
    total: u64,
    refused: u64,
    /// The most that came within one period.
    busiest: usize,
}

impl Throttle {
    /// Counts a request; with a limit that is used up, the refusal. Else how many more may come.
    pub(in crate::sandbox) fn ask(&mut self, limit: Option<Rate>, now: Timestamp) -> Result<Option<usize>, Answer> {
        let period = limit.map_or(MINUTE_MS, |limit| limit.period.as_millis());
        while self.within.front().is_some_and(|at| now.since(*at).as_millis() >= period) {
            self.within.pop_front();
        }
        self.total += 1;
        let Some(limit) = limit else {
            self.within.push_back(now);
            self.busiest = self.busiest.max(self.within.len());
            return Ok(None);
        };
        let most = limit.count as usize;
        if self.within.len() >= most {
            self.refused += 1;
            let passed = self.within.front().map_or(0, |at| now.since(*at).as_millis());
            let seconds = (period - passed.min(period)).div_ceil(1000).max(1);
            let body = json!({"message": "Too many requests.", "errorCode": 0});
            return Err(Answer::json(429, &body).with("retry-after", seconds.to_string()));
        }
        self.within.push_back(now);
        self.busiest = self.busiest.max(self.within.len());
        let left = most - self.within.len();
        Ok(Some(if left < EARLY.min(most) { 0 } else { left }))
    }

    /// For `/sandbox/state`.
    pub(in crate::sandbox) fn state(&self) -> Value {
        json!({"total": self.total, "refused": self.refused, "busiest_minute": self.busiest})
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_in_any_period_and_the_rest_is_told_when() {
        let at = |ms: i64| Timestamp::from_millis(1_700_000_000_000 + ms);
        let limit = Some(Rate { count: 20, period: Duration::from_secs(60) });
        let mut throttle = Throttle::default();
        for n in 0..20 {
            let left = throttle.ask(limit, at(n * 100)).expect("one of twenty");
            assert_eq!(left, Some(if n < 10 { 19 - n as usize } else { 0 }), "nothing remains is said early");
        }
        let refused = throttle.ask(limit, at(2_500)).expect_err("the limit");
        assert_eq!((refused.status, &refused.headers[0]), (429, &("retry-after", "58".to_owned())));
        assert_eq!(throttle.ask(limit, at(60_000)).ok(), Some(Some(0)), "the first one is out of the window");
        assert!(throttle.ask(limit, at(60_050)).is_err(), "the second one is not");
        assert_eq!(throttle.state(), json!({"total": 23, "refused": 2, "busiest_minute": 20}));
        let mut free = Throttle::default();
        for n in 0..300 {
            assert_eq!(free.ask(None, at(n * 1000)).ok(), Some(None));
        }
        assert_eq!(free.state(), json!({"total": 300, "refused": 0, "busiest_minute": 60}));
    }
}
