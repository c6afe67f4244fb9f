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
    /// Runs that are not settled.
    pub(super) open: u64,
}

impl Timers {
    /// A run changed from `before` to `after`.
    pub(super) fn change(&mut self, id: RunId, before: Option<&RunHead>, after: &RunHead) {
        if let Some(before) = before {
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
