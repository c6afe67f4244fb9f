//! `limits` of rules: how many requests a rule has out at once, and how many it sends in a time.
//!
//! Like a gate before a target, but the rule's own. Who comes when as many are out as may be stands in a queue; who comes
//! before the next request may leave is told a moment of its own, so that nobody asks again and again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::event::{RuleName, RunId};
use crate::rules::Limits;
use crate::time::Timestamp;

/// Requests may come this much before their even spacing: at a high rate they come in bursts.
const BURST: Duration = Duration::from_secs(1);
/// The shortest and the longest time that a run is put back when as many of its rule stand here as may.
const PUT_BACK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The longest time that a run is put back for the rate; it is told a moment anew then.
const LATER_MAX: Duration = Duration::from_secs(3_600);
/// Rules without anybody are forgotten above this many.
const PACES_MAX: usize = 1_000;

/// What a run may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Send; it holds one of its rule's places until [`Paces::done`].
    Send,
    /// Stand in the queue; [`Paces::pop`] will name it.
    Park,
    /// Come again then.
    Later(Timestamp),
}

#[derive(Debug)]
struct Pace {
    most: Option<u32>,
    out: u32,
    parked: VecDeque<RunId>,
    /// When the next request would leave if all were evenly spaced.
    next: Option<Timestamp>,
    /// The last moment that somebody was told.
    told: Option<Timestamp>,
    /// How long a request takes, a moving average in seconds.
    takes: f64,
    /// Runs that were put back for want of room and did not come again yet.
    put_back: u32,
}

/// The paces of all rules with limits.
#[derive(Debug, Default)]
pub(super) struct Paces(HashMap<RuleName, Pace>);

/// A run that wants to send.
pub(super) struct Asks<'a> {
    pub(super) rule: &'a RuleName,
    pub(super) limits: &'a Limits,
    pub(super) run: RunId,
    /// It was told to come now.
    pub(super) again: bool,
    /// How many more may queue.
    pub(super) room: usize,
    pub(super) now: Timestamp,
}

impl Paces {
    /// A run wants to send. `kept` says when the rule may send next, as of the last end of the daemon.
    pub(super) fn ask(&mut self, asks: &Asks<'_>, kept: impl FnOnce() -> Option<Timestamp>) -> Leave {
        let Asks { rule, limits, run, again, room, now } = *asks;
        if self.0.len() >= PACES_MAX && !self.0.contains_key(rule) {
            self.0.retain(|_, pace| pace.out > 0 || !pace.parked.is_empty() || pace.told.is_some_and(|told| told > now));
        }
        let pace = self.0.entry(rule.clone()).or_insert_with(|| Pace {
            most: None,
            out: 0,
            parked: VecDeque::new(),
            next: kept(),
            told: None,
            takes: 0.0,
            put_back: 0,
        });
        pace.most = limits.concurrency;
        if again {
            pace.put_back = pace.put_back.saturating_sub(1);
        }
        if pace.is_full() {
            if pace.parked.len() < room.max(1) {
                pace.parked.push_back(run);
                return Leave::Park;
            }
            pace.put_back = pace.put_back.saturating_add(1);
            let ahead = pace.parked.len() as f64 + f64::from(pace.put_back);
            let wait = ahead * pace.takes / f64::from(pace.most.unwrap_or(1).max(1)) / 2.0;
            return Leave::Later(now.plus(Duration::from_secs_f64(wait.clamp(PUT_BACK.0.as_secs_f64(), PUT_BACK.1.as_secs_f64()))));
        }
        if let Some(apart) = limits.apart() {
            // Times before a restart, or of an earlier rate, hold nobody longer than the rate says.
            let early = if apart > BURST { Duration::ZERO } else { BURST };
            let next = pace.next.unwrap_or(now).min(now.plus(apart + early));
            let others_first = !again && pace.told.is_some_and(|told| told > now.plus(early));
            if next > now.plus(early) || others_first {
                let turn = pace.told.map_or(next, |told| next.max(told.plus(apart)));
                if turn > now.plus(LATER_MAX) {
                    return Leave::Later(now.plus(LATER_MAX));
                }
                pace.told = Some(turn);
                return Leave::Later(turn);
            }
            pace.next = Some(next.max(now).plus(apart));
        }
        pace.out += 1;
        Leave::Send
    }

    /// When the rule may send next, where that has to outlast a restart.
    pub(super) fn to_keep(&self, rule: &RuleName, limits: &Limits) -> Option<Timestamp> {
        limits.apart().filter(|apart| *apart > BURST).and_then(|_| self.0.get(rule)?.next)
    }

    /// A run gives its place back after that long.
    pub(super) fn done(&mut self, rule: &RuleName, took: Duration) {
        if let Some(pace) = self.0.get_mut(rule) {
            pace.out = pace.out.saturating_sub(1);
            pace.takes = pace.takes.mul_add(0.9, took.as_secs_f64() * 0.1);
        }
    }

    /// The next run that stands before a free place of its rule; it asks again.
    pub(super) fn pop(&mut self, rule: &RuleName) -> Option<RunId> {
        let pace = self.0.get_mut(rule)?;
        if pace.is_full() { None } else { pace.parked.pop_front() }
    }
}

impl Pace {
    fn is_full(&self) -> bool {
        self.most.is_some_and(|most| self.out >= most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::EventId;
    use crate::time::Rate;

    fn run(n: u128) -> RunId {
        RunId::of(EventId(n), "r")
    }

    fn ask(paces: &mut Paces, limits: &Limits, n: u128, again: bool, now: Timestamp) -> Leave {
        paces.ask(&Asks { rule: &"r".into(), limits, run: run(n), again, room: 10, now }, || None)
    }

    fn limits(concurrency: Option<u32>, rate: &str) -> Limits {
        Limits { concurrency, rate: Rate::parse(rate).ok() }
    }

    #[test]
    fn as_many_as_allowed_are_out_at_once_and_the_others_follow_in_order() {
        let (mut paces, limits, rule) = (Paces::default(), limits(Some(2), ""), "r".into());
        let now = Timestamp::from_millis(1_000);
        let leaves: Vec<_> = (0..4).map(|n| ask(&mut paces, &limits, n, false, now)).collect();
        assert_eq!(leaves, [Leave::Send, Leave::Send, Leave::Park, Leave::Park]);
        assert_eq!(paces.pop(&rule), None);
        paces.done(&rule, Duration::from_secs(1));
        assert_eq!(paces.pop(&rule), Some(run(2)));
        assert_eq!(ask(&mut paces, &limits, 2, false, now), Leave::Send);
        assert_eq!(paces.pop(&rule), None, "its place is taken again");
        for n in 10..19 {
            assert_eq!(ask(&mut paces, &limits, n, false, now), Leave::Park);
        }
        assert!(matches!(ask(&mut paces, &limits, 99, false, now), Leave::Later(then) if then >= now.plus(PUT_BACK.0)), "no room");
    }

    #[test]
    fn requests_are_spaced_evenly_and_a_restart_is_no_burst() {
        let limits = limits(None, "30/min");
        let (mut paces, now) = (Paces::default(), Timestamp::from_millis(1_000_000));
        assert_eq!(ask(&mut paces, &limits, 1, false, now), Leave::Send);
        let later = |seconds: u64| Leave::Later(now.plus(Duration::from_secs(seconds)));
        assert_eq!([ask(&mut paces, &limits, 2, false, now), ask(&mut paces, &limits, 3, false, now)], [later(2), later(4)]);
        let kept = paces.to_keep(&"r".into(), &limits).expect("kept");
        let mut restarted = Paces::default();
        let asks = Asks { rule: &"r".into(), limits: &limits, run: run(4), again: false, room: 10, now };
        assert_eq!(restarted.ask(&asks, || Some(kept)), later(2));
        let mut set_back = Paces::default();
        assert_eq!(set_back.ask(&asks, || Some(now.plus(Duration::from_secs(86_400)))), later(2), "a clock that was set holds nobody");
        assert_eq!(ask(&mut paces, &limits, 2, true, now.plus(Duration::from_secs(2))), Leave::Send);
        assert_eq!(ask(&mut paces, &limits, 5, false, now.plus(Duration::from_secs(3))), later(6), "behind the one who was told 4");
        assert_eq!(ask(&mut paces, &limits, 3, true, now.plus(Duration::from_secs(4))), Leave::Send);
        assert_eq!(ask(&mut paces, &limits, 5, true, now.plus(Duration::from_secs(6))), Leave::Send);
    }

    #[test]
    fn a_high_rate_comes_in_bursts_of_a_second() {
        let limits = limits(None, "100/s");
        let (mut paces, now) = (Paces::default(), Timestamp::from_millis(1_000_000));
        let sent = (0..1_000).filter(|n| ask(&mut paces, &limits, *n, false, now) == Leave::Send).count();
        assert_eq!(sent, 101);
    }

    #[test]
    fn a_long_queue_is_told_a_moment_within_the_hour() {
        let limits = limits(None, "1/min");
        let (mut paces, now) = (Paces::default(), Timestamp::from_millis(1_000_000));
        for n in 0..10_000 {
            if let Leave::Later(then) = ask(&mut paces, &limits, n, false, now) {
                assert!(then > now && then <= now.plus(LATER_MAX));
            }
        }
    }

    proptest! {
        /// However they come: everybody sends in the end, each is told few moments, and never more than the rate in any window.
        #[test]
        fn the_rate_is_kept_and_nobody_is_left(
            arrivals in proptest::collection::vec(0_u64..5_000, 1..60),
            per_minute in 5_u32..200,
        ) {
            let limits = Limits { concurrency: None, rate: Some(Rate { count: per_minute, period: Duration::from_secs(60) }) };
            let apart = limits.apart().expect("a rate");
            let start = Timestamp::from_millis(1_000_000);
            let mut due: std::collections::BTreeSet<(Timestamp, u128, u32)> =
                (0..).zip(&arrivals).map(|(n, at)| (start.plus(Duration::from_millis(*at)), n, 0)).collect();
            let mut paces = Paces::default();
            let mut sent: Vec<Timestamp> = Vec::new();
            while let Some((now, n, times)) = due.pop_first() {
                prop_assert!(times < 60, "told again and again");
                match ask(&mut paces, &limits, n, times > 0, now) {
                    Leave::Send => sent.push(now),
                    Leave::Later(then) => {
                        prop_assert!(then > now);
                        due.insert((then, n, times + 1));
                    }
                    Leave::Park => prop_assert!(false, "nothing is full"),
                }
            }
            prop_assert_eq!(sent.len(), arrivals.len());
            let burst = if apart > BURST { Duration::ZERO } else { BURST };
            for (first, then) in sent.iter().enumerate() {
                for (more, later) in sent[first..].iter().enumerate() {
                    let least = apart.saturating_mul(more as u32).saturating_sub(burst);
                    prop_assert!(later.since(*then) >= least, "{} requests within {:?}", more + 1, later.since(*then));
                }
            }
        }
    }
}
