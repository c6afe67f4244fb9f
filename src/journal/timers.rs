//! What must be known at once about runs that are not settled, and about dead ones: when they are due, how old the
//! oldest is, how many died per rule. Kept in memory, made from the heads of rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{RuleName, RunId};
use crate::journal::rows::RunHead;
use crate::runs::RunState;
use crate::time::Timestamp;

/// The index of runs. About 60 bytes for each run that waits, nothing for the others.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Timers {
    /// Due time in milliseconds and id, packed: the smallest form that sorts.
    due: BTreeSet<(i64, [u8; 26])>,
    /// How many open runs were created in which second.
    ages: BTreeMap<i64, u64>,
    dead: BTreeMap<RuleName, u64>,
    /// How many runs that are not finished need which rule generation.
    generations: BTreeMap<u64, u64>,
    /// Runs that are not settled.
    pub(super) open: u64,
}

impl Timers {
    /// A run changed from `before` to `after`; `None` is no run.
    pub(super) fn change(&mut self, id: RunId, before: Option<&RunHead>, after: Option<&RunHead>) {
        if let Some(before) = before {
            self.need(before, false);
            if let Some(due) = before.due {
                self.due.remove(&(due, id.to_bytes()));
            }
            if before.state == RunState::Dead {
                self.count_dead(&before.rule, false);
            }
            if !before.state.is_settled() {
                self.open -= 1;
                self.age(before.created, false);
            }
        }
        let Some(after) = after else { return };
        self.need(after, true);
        if let Some(due) = after.due {
            self.due.insert((due, id.to_bytes()));
        }
        if after.state == RunState::Dead {
            self.count_dead(&after.rule, true);
        }
        if !after.state.is_settled() {
            self.open += 1;
            self.age(after.created, true);
        }
    }

    fn need(&mut self, head: &RunHead, more: bool) {
        if head.state.is_finished() {
            return;
        }
        let count = self.generations.entry(head.generation).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.generations.remove(&head.generation);
        }
    }

    /// Whether a run that is not finished was planned with this rule generation.
    pub(super) fn needs(&self, generation: u64) -> bool {
        self.generations.contains_key(&generation)
    }

    fn count_dead(&mut self, rule: &RuleName, more: bool) {
        let count = self.dead.entry(rule.clone()).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
    }

    fn age(&mut self, created: i64, more: bool) {
        let second = created.div_euclid(1000);
        let count = self.ages.entry(second).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.ages.remove(&second);
        }
    }

    /// Ids that are due at `now`, earliest first, without busy ones, at most `max`; and when the next one after them is.
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
        (found, None)
    }

    /// When the oldest open run was created, to the second.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.ages.keys().next().map(|second| Timestamp::from_millis(second.saturating_mul(1000)))
    }

    /// Dead runs per rule; a rule stays listed with 0 when its last one was taken care of, so that its gauge falls.
    pub(super) fn dead(&self) -> Vec<(RuleName, u64)> {
        self.dead.iter().map(|(rule, count)| (rule.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;

    fn head(state: RunState, due: Option<i64>) -> RunHead {
        RunHead { state, due, created: 5_500, generation: 1, rule: "r".into() }
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
}
