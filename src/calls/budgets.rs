//! One rate budget for each host: connectors that call the same host share what it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::connectors::{CallRequest, Connector};
use crate::http::budget::SharedBudget;
use crate::runs::Budget;
use crate::time::Rate;

/// How many hosts have a budget of their own. A host behind that, which takes thousands of different ones, is not limited.
const HOSTS_MAX: usize = 1_024;

/// Budgets by host.
#[derive(Debug, Default)]
pub(super) struct Budgets(Mutex<BTreeMap<String, Host>>);

#[derive(Debug)]
struct Host {
    /// As periods and counts, for comparison.
    rates: BTreeSet<(Duration, u32)>,
    budget: Arc<SharedBudget>,
}

impl Budgets {
    /// The budget of a request: that of its host, which keeps the rates of all connectors that call it.
    pub(super) fn of(&self, request: &CallRequest, connector: &Connector) -> Arc<SharedBudget> {
        let host = url::Url::parse(&request.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let rate = connector.limits.rate.map(|rate| (rate.period, rate.count));
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = hosts.get(&host)
            && rate.is_none_or(|rate| found.rates.contains(&rate))
        {
            return Arc::clone(&found.budget);
        }
        let mut rates = hosts.get(&host).map(|found| found.rates.clone()).unwrap_or_default();
        rates.extend(rate);
        let of = |&(period, count): &(Duration, u32)| Budget::for_actions(Rate { count, period });
        let budget =
            Arc::new(if rates.is_empty() { SharedBudget::new([Budget::unlimited()]) } else { SharedBudget::new(rates.iter().map(of)) });
        if hosts.len() < HOSTS_MAX || hosts.contains_key(&host) {
            hosts.insert(host, Host { rates, budget: Arc::clone(&budget) });
        }
        budget
    }
}
