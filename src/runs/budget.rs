//! A share of an API's limit, as a value: how many requests of one class may leave in a rolling period.
//!
//! Actions go before polling, and a fifth is kept for polling, so that neither starves the other. What the service says
//! (429, `Retry-After`, nothing remaining) closes the budget for everybody until then. No clock: `now` comes in.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Rate, Timestamp};

/// What part of a budget is kept for polling.
const POLLING_SHARE: u32 = 5;

/// How long nothing leaves after a 429 that names no time.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// The longest that one answer may close the budget.
const CLOSED_MAX: Duration = Duration::from_secs(3600);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A step of a run, or a look-up for one.
    Action,
    /// A source that polls.
    Polling,
}

/// How long nothing leaves where nothing remains of a limit that nobody knows: the next answer says more.
const EXHAUSTED_FOR: Duration = Duration::from_millis(10);

/// The budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// `None`: only what the service says counts.
    rate: Option<Rate>,
    /// What left within the last period, oldest first: at most as many as the rate allows.
    left: VecDeque<(Timestamp, Who)>,
    /// How many of those left for polling.
    polled: u32,
    closed_until: Option<Timestamp>,
    polling: Polling,
}

/// Whether a part is kept for polling.
#[derive(Clone, Copy, Debug)]
enum Polling {
    /// Always.
    Expected,
    /// While somebody polls: the last time that one asked.
    Seen(Option<Timestamp>),
}

impl Budget {
    /// A full one, a part of which is kept for polling.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate: Some(rate), ..Self::unlimited() }
    }

    /// One that only the service's answers close.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { rate: None, left: VecDeque::new(), polled: 0, closed_until: None, polling: Polling::Expected }
    }

    /// A full one, a part of which is kept for polling only while somebody polls.
    #[must_use]
    pub fn for_actions(rate: Rate) -> Self {
        Self { polling: Polling::Seen(None), ..Self::new(rate) }
    }

    /// Takes one, or says when to ask again. `actions_wait` says whether an action is waiting for its turn.
    ///
    /// # Errors
    /// Not now; the time is the earliest at which it may be different.
    pub fn take(&mut self, who: Who, actions_wait: bool, now: Timestamp) -> Result<(), Timestamp> {
        self.may(who, actions_wait, now)?;
        if self.rate.is_some() {
            // In order, also where the clock went back a little.
            let left = (self.left.back().map_or(now, |(last, _)| now.max(*last)), who);
            self.left.push_back(left);
            self.polled += Self::polled(left);
        }
        Ok(())
    }

    /// Whether one could be taken, or when to ask again.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub fn may(&mut self, who: Who, actions_wait: bool, now: Timestamp) -> Result<(), Timestamp> {
        self.forget(now);
        if let (Polling::Seen(last), Who::Polling) = (&mut self.polling, who) {
            *last = Some(now);
        }
        if let Some(until) = self.closed_until {
            return Err(until);
        }
        let Some(rate) = self.rate else { return Ok(()) };
        let reserve = match self.polling {
            Polling::Seen(last) if last.is_none_or(|last| now.since(last) >= rate.period) => 0,
            Polling::Expected | Polling::Seen(_) => (rate.count / POLLING_SHARE).max(1).min(rate.count),
        };
        let allowed = match who {
            // What polling has not used of its part stays free for it; with a rate of one they take turns.
            Who::Action if rate.count > 1 => rate.count - reserve.saturating_sub(self.polled),
            Who::Polling if actions_wait && self.polled >= reserve => 0,
            Who::Action | Who::Polling => rate.count,
        };
        if (self.left.len() as u32) < allowed {
            return Ok(());
        }
        // The next one that leaves the window makes room, or at least a moment to look again.
        Err(self.left.front().map_or(now.plus(Duration::from_secs(1)), |(at, _)| at.plus(rate.period)))
    }

    /// The service refused for want of room.
    pub fn refused(&mut self, retry_after: Option<Duration>, now: Timestamp) {
        let until = now.plus(retry_after.unwrap_or(REFUSED_FOR).min(CLOSED_MAX));
        self.closed_until = Some(self.closed_until.map_or(until, |before| before.max(until)));
    }

    /// The service says that nothing remains (which it does a little early): others use the same limit.
    pub fn exhausted(&mut self, now: Timestamp) {
        self.refused(Some(self.rate.map_or(EXHAUSTED_FOR, |rate| rate.period / 10)), now);
    }

    /// How many may leave now.
    #[must_use]
    pub fn remaining(&mut self, now: Timestamp) -> u32 {
        self.forget(now);
        match self.rate {
            _ if self.closed_until.is_some() => 0,
            Some(rate) => rate.count.saturating_sub(self.left.len() as u32),
            None => u32::MAX,
        }
    }

    fn polled((_, who): (Timestamp, Who)) -> u32 {
        u32::from(who == Who::Polling)
    }

    /// Lets go of what is out of the window; a clock that went back counts as none that passed.
    fn forget(&mut self, now: Timestamp) {
        if let Some(Rate { period, .. }) = self.rate {
            // They are in order, so that each is looked at twice in all, however many there are.
            while self.left.front().is_some_and(|(at, _)| now.since(*at) >= period) {
                self.polled -= self.left.pop_front().map_or(0, Self::polled);
            }
            while self.left.back().is_some_and(|(at, _)| at.since(now) > period) {
                self.polled -= self.left.pop_back().map_or(0, Self::polled);
            }
        }
        self.closed_until = self.closed_until.filter(|until| *until > now && until.since(now) <= CLOSED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    fn budget(count: u32) -> Budget {
        Budget::new(Rate { count, period: Duration::from_secs(60) })
    }

    #[test]
    fn actions_leave_polling_its_fifth_and_go_first() {
        let mut full = budget(10);
        for n in 0..8 {
            assert_eq!(full.take(Who::Action, true, at(n)), Ok(()));
        }
        assert_eq!(full.take(Who::Action, true, at(9)), Err(at(60_000)), "two are kept for polling");
        assert_eq!(full.take(Who::Polling, true, at(10)), Ok(()));
        assert_eq!(full.take(Who::Polling, true, at(11)), Ok(()));
        assert_eq!(full.take(Who::Polling, true, at(12)), Err(at(60_000)));
        assert_eq!(full.take(Who::Action, true, at(60_000)), Ok(()), "the window moves on");
        let mut idle = budget(10);
        for n in 0..10 {
            assert_eq!(idle.take(Who::Polling, false, at(n)), Ok(()), "polling may have all when nobody else wants it");
        }
        let mut polling = budget(10);
        for n in 0..2 {
            assert_eq!(polling.take(Who::Polling, true, at(n)), Ok(()));
        }
        assert!(polling.take(Who::Polling, true, at(3)).is_err(), "an action that waits goes first");
    }

    #[test]
    fn a_part_is_kept_for_polling_while_somebody_polls() {
        let mut one = Budget::for_actions(Rate { count: 10, period: Duration::from_secs(60) });
        for n in 0..10 {
            assert_eq!(one.take(Who::Action, true, at(n)), Ok(()), "nobody polls");
        }
        assert!(one.take(Who::Polling, true, at(59_000)).is_err());
        for n in 0..8 {
            assert_eq!(one.take(Who::Action, true, at(60_010 + n)), Ok(()));
        }
        assert!(one.take(Who::Action, true, at(60_020)).is_err(), "two are kept now");
        assert_eq!(one.take(Who::Polling, true, at(60_021)), Ok(()));
    }

    #[test]
    fn what_the_service_says_closes_it_for_everybody() {
        let mut one = budget(10);
        one.refused(Some(Duration::from_secs(7)), at(0));
        assert_eq!(one.take(Who::Action, false, at(1)), Err(at(7000)));
        assert_eq!(one.remaining(at(1)), 0);
        assert_eq!(one.take(Who::Polling, false, at(7000)), Ok(()));
        one.refused(Some(Duration::from_secs(86_400)), at(8000));
        assert_eq!(one.take(Who::Polling, false, at(9000)), Err(at(8000 + 3_600_000)), "no answer closes it for a day");
        one.exhausted(at(8000));
        // A clock that jumps back by a year does not keep it closed for one.
        assert_eq!(one.take(Who::Polling, false, at(-31_536_000_000)), Ok(()));
    }

    #[test]
    fn without_a_rate_only_the_service_closes_it() {
        let mut one = Budget::unlimited();
        for _ in 0..100_000 {
            assert_eq!(one.take(Who::Action, false, at(0)), Ok(()));
        }
        assert!(one.left.is_empty(), "nothing is remembered of what no rate counts");
        assert_eq!(one.remaining(at(0)), u32::MAX);
        one.exhausted(at(0));
        assert_eq!(one.take(Who::Action, false, at(1)), Err(at(10)));
        one.refused(None, at(5));
        assert_eq!((one.take(Who::Polling, false, at(6)), one.remaining(at(6))), (Err(at(10_005)), 0));
        assert_eq!(one.take(Who::Polling, false, at(10_005)), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_neither_opens_nor_blocks_it() {
        let mut one = budget(2);
        assert_eq!(one.take(Who::Polling, false, at(50_000)), Ok(()));
        assert_eq!(one.take(Who::Polling, false, at(0)), Ok(()), "back within the period");
        assert_eq!(one.take(Who::Polling, false, at(40_000)), Err(at(110_000)));
        assert_eq!(one.take(Who::Polling, false, at(110_000)), Ok(()));
        assert_eq!(one.remaining(at(110_000)), 1);
        assert_eq!(one.take(Who::Polling, false, at(-1_000_000)), Ok(()), "back by more than the period");
        assert_eq!(one.remaining(at(-1_000_000)), 1);
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_rate(count in 1u32..20, asks in prop::collection::vec((0i64..5000, any::<bool>(), any::<bool>()), 1..300)) {
            let mut one = budget(count);
            let (mut now, mut left) = (0, Vec::new());
            for (step, action, wait) in asks {
                now += step;
                let who = if action { Who::Action } else { Who::Polling };
                match one.take(who, wait, at(now)) {
                    Ok(()) => left.push(now),
                    Err(again) => prop_assert!(again > at(now)),
                }
                prop_assert!(left.iter().filter(|when| now - **when < 60_000).count() <= count as usize);
            }
        }
    }
}
