//! The budget of the limited lists, shared by everybody who asks this orchestrator.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::What;
use crate::clock::Clock;
use crate::config::{Edition, OrchestratorConfig};
use crate::http::client::Answer;
use crate::metric::API_BUDGET_REMAINING;
use crate::runs::{Budget, Class, Failure, Who};
use crate::time::Rate;

/// The part of Automation Cloud's 100 requests a minute and tenant that is ours unless the configuration says otherwise.
const CLOUD: Rate = Rate { count: 50, period: Duration::from_secs(60) };

/// The class of the lists of items and jobs, as metrics name it.
const CLASS: &str = "list";

/// The budget and who waits for it.
#[derive(Debug)]
pub struct ListBudget {
    budget: Option<Mutex<Budget>>,
    actions_waiting: AtomicU32,
    orchestrator: String,
}

impl ListBudget {
    /// As configured; the product's own limit otherwise, where it has one.
    pub fn of(config: &OrchestratorConfig) -> Self {
        let rate = config.list_rate.or((config.edition == Edition::Cloud).then_some(CLOUD));
        Self {
            budget: rate.map(|rate| Mutex::new(Budget::new(rate))),
            actions_waiting: AtomicU32::new(0),
            orchestrator: config.name.to_string(),
        }
    }

    /// The budget that a question counts against.
    fn of_question(&self, what: What<'_>) -> Option<MutexGuard<'_, Budget>> {
        let counted = matches!(what, What::ReadItems | What::ReadJobs);
        // Each change is one call: a panic elsewhere leaves it whole.
        self.budget.as_ref().filter(|_| counted).map(|budget| budget.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the question may be asked.
    ///
    /// # Errors
    /// Not before the deadline.
    pub async fn acquire(&self, what: What<'_>, who: Who, clock: &Clock, deadline: Instant) -> Result<(), Failure> {
        let mut waiting = None;
        loop {
            let actions_wait = self.actions_waiting.load(Ordering::SeqCst) > 0;
            let taken = match self.of_question(what) {
                None => return Ok(()),
                Some(mut budget) => {
                    let now = clock.now();
                    let taken = budget.take(who, actions_wait, now).map_err(|again| again.since(now));
                    self.show(&mut budget, clock);
                    taken
                }
            };
            let Err(wait) = taken else { return Ok(()) };
            let again = Instant::now() + wait.max(Duration::from_millis(10));
            if again > deadline {
                let message = format!("the requests to lists that `rate: {{list: …}}` of `{}` allows are used up", self.orchestrator);
                return Err(Failure { class: Class::Throttled, status: None, message, retry_after: Some(wait) });
            }
            if who == Who::Action && waiting.is_none() {
                waiting = Some(Waiting::new(&self.actions_waiting));
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// Learns from an answer.
    pub fn learn(&self, what: What<'_>, answer: &Answer, retry_after: Option<Duration>, clock: &Clock) {
        let Some(mut budget) = self.of_question(what) else { return };
        if answer.status == 429 {
            budget.refused(retry_after, clock.now());
        } else if answer.header("x-ratelimit-remaining").is_some_and(|text| text.trim() == "0") {
            budget.exhausted(clock.now());
        }
        self.show(&mut budget, clock);
    }

    fn show(&self, budget: &mut Budget, clock: &Clock) {
        let remaining = f64::from(budget.remaining(clock.now()));
        metrics::gauge!(API_BUDGET_REMAINING, "orchestrator" => self.orchestrator.clone(), "class" => CLASS).set(remaining);
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
