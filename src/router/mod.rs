//! From accepted events to planned runs: reads what the journal has not routed, asks the rule set, records the plan.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::journal::{AppendError, Journal};
use crate::rules::RuleSet;

/// The rule set in force and its generation; swapped whole by a reload.
#[derive(Debug)]
pub struct RulesInForce {
    /// The rules.
    pub set: Arc<RuleSet>,
    /// Their generation.
    pub generation: u64,
}

/// Routes until `stop`; ends early only when the journal has ended.
///
/// # Errors
/// The journal has ended.
pub async fn run(journal: Journal, rules: Arc<ArcSwap<RulesInForce>>, clock: Clock, stop: CancellationToken) -> Result<(), AppendError> {
    let _ = (journal, rules, clock, stop);
    todo!()
}
