//! What must be known at once about runs that are not settled, and about dead ones: which are due next, how old the oldest
//! is, how many died per rule. Made from the heads of rows.
//!
//! However many runs wait, only the nearest due times are in memory; the checkpoints have all of them in order
//! ([`tally`](crate::journal::tally)), and the writer reads on there before the nearest ones run out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::event::{RuleName, RunId};
use crate::journal::rows::RunHead;
use crate::journal::tally::{Due, Sum};
use crate::runs::RunState;
use crate::time::Timestamp;

/// Due times in memory when the checkpoints have them too: above this many, the later half is left to them. About 60 bytes each.
pub(super) const AHEAD_MAX: usize = 32_768;
/// Below this many the writer reads on: more than are ever worked on at once, so that there is always one that is not.
const AHEAD_LOW: usize = 8_192;
/// Seconds in which open runs were created; above this many, the earlier half is told apart by the hour only.
const AGES_MAX: usize = 65_536;
/// Seconds of an hour.
const HOUR: i64 = 3_600;

/// The index of runs.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// The nearest due times.
    due: BTreeSet<Due>,
    /// Up to here `due` has all; `None`: it has all there are.
    through: Option<Due>,
    /// Whether later ones may be left to the checkpoints.
    bounded: bool,
    /// How many open runs were created in which second, or, before `by_hour`, hour.
    ages: BTreeMap<i64, u64>,
    by_hour: i64,
    dead: BTreeMap<RuleName, u64>,
    /// How many runs that are not finished need which rule generation.
    generations: BTreeMap<u64, u64>,
    /// Runs that are not settled.
    pub(super) open: u64,
    /// Due runs whose rows do not decode: they hold up no others.
    pub(super) unreadable: Mutex<BTreeSet<RunId>>,
}

impl Timers {
    /// Beside checkpoints, of which nothing was read yet.
    pub(super) fn beside_checkpoints() -> Self {
        Self { through: Some((i64::MIN, [0; 26])), bounded: true, ..Self::default() }
    }

    /// A run changed from `before` to `after`; `None` is no run.
    pub(super) fn change(&mut self, id: RunId, before: Option<&RunHead>, after: Option<&RunHead>) {
        if let Some(before) = before {
            if let Some(due) = before.due {
                self.due.remove(&(due, id.to_bytes()));
            }
            Sum::of(before).for_each(|sum| self.add(sum, -1));
        }
        if let Some(after) = after {
            if let Some(due) = after.due {
                self.insert((due, id.to_bytes()));
            }
            Sum::of(after).for_each(|sum| self.add(sum, 1));
        }
    }

    fn insert(&mut self, due: Due) {
        if self.through.is_some_and(|through| due > through) {
            return;
        }
        self.due.insert(due);
        if self.bounded && self.due.len() > AHEAD_MAX {
            let last = self.due.iter().nth(AHEAD_MAX / 2).copied();
            if let Some(last) = last {
                drop(self.due.split_off(&last));
            }
            self.through = self.due.last().copied();
        }
    }

    /// Behind which due time the checkpoints are to be read on, when it is time.
    pub(super) fn runs_low(&self) -> Option<Due> {
        self.through.filter(|_| self.due.len() < AHEAD_LOW)
    }

    /// Adds what follows, up to `through` all there is.
    pub(super) fn read_on(&mut self, found: Vec<Due>, through: Option<Due>) {
        self.through = through;
        found.into_iter().for_each(|due| self.insert(due));
    }

    /// Counts runs, or counts them no more.
    pub(super) fn add(&mut self, sum: Sum, change: i64) {
        fn counted<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, change: i64) {
            let count = counts.entry(key).or_default();
            *count = count.saturating_add_signed(change);
        }
        match sum {
            Sum::Open => self.open = self.open.saturating_add_signed(change),
            // A rule stays listed with 0 when its last one was taken care of, so that its gauge falls.
            Sum::Dead(rule) => counted(&mut self.dead, rule, change),
            Sum::Needs(generation) => {
                counted(&mut self.generations, generation, change);
                if self.generations.get(&generation) == Some(&0) {
                    self.generations.remove(&generation);
                }
            }
            Sum::Age(second) => {
                let key = if second < self.by_hour { hour(second) } else { second };
                counted(&mut self.ages, key, change);
                if self.ages.get(&key) == Some(&0) {
                    self.ages.remove(&key);
                }
                if self.ages.len() > AGES_MAX {
                    self.put_hours_together();
                }
            }
        }
    }

    /// The earlier half of the seconds becomes hours.
    fn put_hours_together(&mut self) {
        let seconds = self.ages.range(self.by_hour..);
        let half = seconds.clone().count() / 2;
        let Some(middle) = seconds.map(|(second, _)| *second).nth(half) else { return };
        self.by_hour = hour(middle).max(self.by_hour);
        let later = self.ages.split_off(&self.by_hour);
        for (second, count) in std::mem::replace(&mut self.ages, later) {
            *self.ages.entry(hour(second)).or_default() += count;
        }
    }

    /// Whether a run that is not finished was planned with this rule generation.
    pub(super) fn needs(&self, generation: u64) -> bool {
        self.generations.contains_key(&generation)
    }

    /// Ids that are due at `now`, earliest first, without busy ones, at most `max`; and when the next one after them is, or
    /// may be.
    pub(super) fn due(&self, now: Timestamp, max: usize, busy: &dyn Fn(RunId) -> bool) -> (Vec<RunId>, Option<Timestamp>) {
        let mut found = Vec::new();
        for (due, id) in &self.due {
            let time = Timestamp::from_millis(*due);
            let id = RunId::from_bytes(id);
            if busy(id) {
                continue;
            }
            if time > now || found.len() == max {
                return (found, Some(time));
            }
            found.push(id);
        }
        (found, self.through.map(|(due, _)| Timestamp::from_millis(due)))
    }

    /// When the oldest open run was created: to the second; where a great many seconds are to be told apart, to the hour.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.ages.keys().next().map(|second| Timestamp::from_millis(second.saturating_mul(1000)))
    }

    /// Dead runs per rule.
    pub(super) fn dead(&self) -> Vec<(RuleName, u64)> {
        self.dead.iter().map(|(rule, count)| (rule.clone(), *count)).collect()
    }

    /// Whether it is certain that no run is in a state.
    pub(super) fn has_none(&self, state: RunState) -> bool {
        match state {
            RunState::Dead => self.dead.values().all(|count| *count == 0),
            state => !state.is_settled() && self.open == 0,
        }
    }
}

/// The first second of the hour.
fn hour(second: i64) -> i64 {
    second.div_euclid(HOUR) * HOUR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::runs::RunState;

    fn head(state: RunState, due: Option<i64>) -> RunHead {
        RunHead { state, due, created: 5_500, generation: 1, rule: "r".into(), awaited: Vec::new() }
    }

    #[test]
    fn due_runs_come_earliest_first_without_busy_ones() {
        let mut timers = Timers::default();
        let id = |n: u128| RunId::of(EventId(n), "r");
        for n in 0..10 {
            timers.change(id(n), None, Some(&head(RunState::Waiting, Some(100 - n as i64))));
        }
        let now = Timestamp::from_millis(95);
        let (found, next) = timers.due(now, 3, &|busy| busy == id(8));
        assert_eq!(found, [id(9), id(7), id(6)]);
        assert_eq!(next, Some(Timestamp::from_millis(95)), "there is one more due");
        let (found, next) = timers.due(now, 99, &|_| false);
        assert_eq!((found.len(), next), (5, Some(Timestamp::from_millis(96))));
        let all = |_: RunId| true;
        assert_eq!(timers.due(now, 99, &all), (Vec::new(), None));
    }

    #[test]
    fn numbers_follow_each_change() {
        let mut timers = Timers::default();
        let id = RunId::of(EventId(1), "r");
        let steps = [
            (head(RunState::Pending, Some(1)), 1, 0, 1),
            (head(RunState::Paused, None), 1, 0, 0),
            (head(RunState::Dead, None), 0, 1, 0),
            (head(RunState::Pending, Some(9)), 1, 0, 1),
            (head(RunState::Succeeded, None), 0, 0, 0),
        ];
        let mut before: Option<RunHead> = None;
        for (after, open, dead, due) in steps {
            timers.change(id, before.as_ref(), Some(&after));
            assert_eq!(timers.open, open);
            assert_eq!(timers.dead().iter().map(|(_, count)| count).sum::<u64>(), dead);
            assert_eq!(timers.due(Timestamp::from_millis(99), 9, &|_| false).0.len(), due);
            assert_eq!(timers.oldest(), (open > 0).then(|| Timestamp::from_millis(5_000)));
            before = Some(after);
        }
    }

    #[test]
    fn only_the_nearest_are_in_memory_and_none_is_passed_over() {
        let mut timers = Timers::beside_checkpoints();
        let id = |n: u128| RunId::of(EventId(n), "r");
        timers.change(id(0), None, Some(&head(RunState::Waiting, Some(5))));
        assert_eq!(timers.due.len(), 0, "nothing was read of the checkpoints yet");
        assert!(timers.due(Timestamp::from_millis(99), 9, &|_| false).1.is_some(), "there may be one");
        timers.read_on(vec![(5, id(0).to_bytes())], None);
        assert_eq!(timers.due(Timestamp::from_millis(99), 9, &|_| false), (vec![id(0)], None));
        let all = 3 * AHEAD_MAX as u128;
        for n in 1..=all {
            timers.change(id(n), None, Some(&head(RunState::Waiting, Some(1_000_000 - n as i64))));
            assert!(timers.due.len() <= AHEAD_MAX);
        }
        assert_eq!(timers.open, all as u64 + 1, "all are counted");
        let through = timers.through.expect("later ones are left to the checkpoints");
        let next = timers.due(Timestamp::from_millis(2_000_000), usize::MAX, &|_| false).1;
        assert_eq!(next, Some(Timestamp::from_millis(through.0)), "the others come no sooner");
        assert_eq!(timers.runs_low(), None);
        // They are taken away one after the other: it is told in time where to read on.
        let taken: Vec<_> = timers.due(Timestamp::from_millis(2_000_000), usize::MAX, &|_| false).0;
        for id in &taken[..taken.len() - AHEAD_LOW + 1] {
            let due = timers.due.first().expect("one").0;
            timers.change(*id, Some(&head(RunState::Waiting, Some(due))), Some(&head(RunState::Succeeded, None)));
        }
        assert_eq!(timers.runs_low(), Some(through));
    }

    #[test]
    fn many_seconds_are_told_apart_by_the_hour() {
        let mut timers = Timers::default();
        let seconds = 3 * AGES_MAX as i64;
        for second in 0..seconds {
            timers.add(Sum::Age(second), 1);
            assert!(timers.ages.len() <= AGES_MAX + 1);
        }
        assert_eq!(timers.ages.values().sum::<u64>(), seconds as u64);
        for second in 0..seconds {
            let oldest = timers.oldest().expect("one").as_millis() / 1000;
            assert!(oldest <= second && second - oldest < HOUR, "{second}: {oldest}");
            timers.add(Sum::Age(second), -1);
        }
        assert!(timers.ages.is_empty());
    }
}
