//! Rate budgets that many callers share: who may send now, and what a service's answers say about it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Answer;
use crate::clock::Clock;
use crate::runs::{Budget, Who};
use crate::time::Timestamp;

/// The shortest wait before a budget is asked again.
const AGAIN: Duration = Duration::from_millis(10);

/// Budgets over the same requests, and who waits for them. A request leaves when every one of them has room.
#[derive(Debug)]
pub struct SharedBudget {
    budgets: Mutex<Vec<Budget>>,
    actions_waiting: AtomicU32,
}

impl SharedBudget {
    /// Over all these.
    #[must_use]
    pub fn new(budgets: impl IntoIterator<Item = Budget>) -> Self {
        Self { budgets: Mutex::new(budgets.into_iter().collect()), actions_waiting: AtomicU32::new(0) }
    }

    fn budgets(&self) -> MutexGuard<'_, Vec<Budget>> {
        // Each change is one call: a panic elsewhere leaves it whole.
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, who: Who, now: Timestamp) -> Result<(), Timestamp> {
        let actions_wait = self.actions_waiting.load(Ordering::SeqCst) > 0;
        let mut budgets = self.budgets();
        let again = budgets.iter_mut().filter_map(|budget| budget.may(who, actions_wait, now).err()).max();
        match again {
            Some(again) => Err(again),
            None => budgets.iter_mut().try_for_each(|budget| budget.take(who, actions_wait, now)),
        }
    }

    /// Waits until a request may leave.
    ///
    /// # Errors
    /// Not before the deadline; how long it would take.
    pub async fn acquire(&self, who: Who, clock: &Clock, deadline: Instant) -> Result<(), Duration> {
        let mut waiting = None;
        loop {
            let now = clock.now();
            let Err(at) = self.take(who, now) else { return Ok(()) };
            let wait = at.since(now);
            let again = Instant::now() + wait.max(AGAIN);
            if again > deadline {
                return Err(wait);
            }
            if who == Who::Action && waiting.is_none() {
                waiting = Some(Waiting::new(&self.actions_waiting));
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// Learns from an answer: 429 closes it for everybody, and so does what says that nothing remains.
    pub fn learn(&self, answer: &Answer, retry_after: Option<Duration>, clock: &Clock) {
        let now = clock.now();
        if answer.status == 429 {
            self.budgets().iter_mut().for_each(|budget| budget.refused(retry_after, now));
        } else if answer.header("x-ratelimit-remaining").is_some_and(|text| text.trim() == "0") {
            self.budgets().iter_mut().for_each(|budget| budget.exhausted(now));
        }
    }

    /// How many may leave now.
    #[must_use]
    pub fn remaining(&self, clock: &Clock) -> u32 {
        let now = clock.now();
        self.budgets().iter_mut().map(|budget| budget.remaining(now)).min().unwrap_or(u32::MAX)
    }
}

/// Counted among the actions that wait while it lives.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
