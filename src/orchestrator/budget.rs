//! The budget of the limited lists, shared by everybody who asks this orchestrator.

use std::time::Duration;

use tokio::time::Instant;

use super::answer::What;
use crate::clock::Clock;
use crate::config::{Edition, OrchestratorConfig};
use crate::http::budget::SharedBudget;
use crate::http::client::Answer;
use crate::metric::API_BUDGET_REMAINING;
use crate::runs::{Budget, Class, Failure, Who};
use crate::time::Rate;

/// The part of Automation Cloud's 100 requests a minute and tenant that is ours unless the configuration says otherwise.
const CLOUD: Rate = Rate { count: 50, period: Duration::from_secs(60) };

/// A period counts as longer by this part of it: requests are counted where they arrive, and to the second, so that those that
/// left a minute apart may arrive within one.
const MARGIN: u32 = 60;

/// The class of the lists of items and jobs, as metrics name it.
const CLASS: &str = "list";

/// The budget and who waits for it.
#[derive(Debug)]
pub struct ListBudget {
    budget: Option<SharedBudget>,
    orchestrator: String,
}

impl ListBudget {
    /// As configured; the product's own limit otherwise, where it has one.
    pub fn of(config: &OrchestratorConfig) -> Self {
        let rate = config.list_rate.or((config.edition == Edition::Cloud).then_some(CLOUD));
        let rate = rate.map(|rate| Rate { period: rate.period + rate.period / MARGIN, ..rate });
        Self { budget: rate.map(|rate| SharedBudget::new([Budget::new(rate)])), orchestrator: config.name.to_string() }
    }

    /// The budget that a question counts against.
    fn of_question(&self, what: What<'_>) -> Option<&SharedBudget> {
        self.budget.as_ref().filter(|_| matches!(what, What::ReadItems | What::ReadJobs))
    }

    /// Waits until the question may be asked.
    ///
    /// # Errors
    /// Not before the deadline.
    pub async fn acquire(&self, what: What<'_>, who: Who, clock: &Clock, deadline: Instant) -> Result<(), Failure> {
        let Some(budget) = self.of_question(what) else { return Ok(()) };
        let acquired = budget.acquire(who, clock, deadline).await;
        self.show(budget, clock);
        acquired.map_err(|wait| {
            let message = format!("the requests to lists that `rate: {{list: …}}` of `{}` allows are used up", self.orchestrator);
            Failure { class: Class::Throttled, status: None, message, retry_after: Some(wait) }
        })
    }

    /// Learns from an answer.
    pub fn learn(&self, what: What<'_>, answer: &Answer, retry_after: Option<Duration>, clock: &Clock) {
        let Some(budget) = self.of_question(what) else { return };
        budget.learn(answer, retry_after, clock);
        self.show(budget, clock);
    }

    fn show(&self, budget: &SharedBudget, clock: &Clock) {
        let remaining = f64::from(budget.remaining(clock));
        metrics::gauge!(API_BUDGET_REMAINING, "orchestrator" => self.orchestrator.clone(), "class" => CLASS).set(remaining);
    }
}
