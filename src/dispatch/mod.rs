//! Carries out what runs need: takes due runs from the journal, sends their requests, records what came of it.
//!
//! One owner ([`owner`]) waits for what happens next and decides, never waiting itself; requests and records are tasks
//! of its `JoinSet`. What is to be sent and what an answer means is decided in `runs`; how many requests go out, and to
//! whom none goes now, in [`gates`]. Promises: a result is on disk before the next step begins, an intent before a
//! request that is not idempotent leaves; one slow target does not hold the others; a stop abandons nothing silently.

mod attempt;
mod awaits;
mod batch;
mod board;
mod call;
mod emit;
mod gates;
mod gathering;
mod http;
mod kept;
mod labels;
mod orchestrator;
mod owner;
mod paces;
mod targets;
mod wanted;

pub use board::{Board, NotPaused};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::clock::Clock;
use crate::connectors::{Access, ORCHESTRATOR};
use crate::http::client::Client;
use crate::journal::{AppendError, Journal};
use crate::orchestrator::Orchestrator;
use crate::rules::{Rule, RuleSet};

/// The targets; swapped whole by a reload.
#[derive(Debug, Default)]
pub struct Targets {
    /// Orchestrators by name.
    pub orchestrators: BTreeMap<Arc<str>, Orchestrator>,
    /// For `http` steps.
    pub http: Option<Client>,
    /// For `call` steps.
    pub calls: Option<Calls>,
    /// The values that connectors are used with, by their names.
    pub connectors: BTreeMap<Arc<str>, Arc<Access>>,
}

impl Targets {
    /// Has the connectors of orchestrators use the tokens of these.
    pub fn share_tokens(&self) {
        let Some(calls) = &self.calls else { return };
        let named = self.orchestrators.iter().map(|(name, one)| (Arc::from(format!("{ORCHESTRATOR}:{name}")), one.tokens()));
        let only = self.orchestrators.values().next().filter(|_| self.orchestrators.len() == 1);
        calls.share_tokens(named.chain(only.map(|one| (Arc::from(ORCHESTRATOR), one.tokens()))).collect());
    }
}

/// Gives the rules of a generation (a run keeps the generation it was planned with), with that generation's `vars`.
pub trait Generations: Send + Sync + 'static {
    /// `None` when the generation is gone.
    fn generation(&self, number: u64) -> Option<(Arc<RuleSet>, Arc<Value>)>;
}

/// What dispatch works with.
pub struct Dispatch {
    /// Where runs are.
    pub journal: Journal,
    /// Rules by generation.
    pub generations: Arc<dyn Generations>,
    /// Where requests go.
    pub targets: Arc<ArcSwap<Targets>>,
    /// What is held back.
    pub board: Arc<Board>,
    /// The time.
    pub clock: Clock,
    /// How long attempts in flight may go on once stopping began.
    pub grace: Duration,
}

/// A rule of a run with the `vars` of its generation.
pub type RuleOfRun = (Arc<Rule>, Arc<Value>);

/// Runs until `stop`, then lets attempts in flight finish within the grace period.
///
/// # Errors
/// The journal has ended.
pub async fn run(dispatch: Dispatch, stop: CancellationToken) -> Result<(), AppendError> {
    let board = Arc::clone(&dispatch.board);
    let ended = stop.child_token();
    let waking = board.wake_runs(ended.clone());
    let owning = async {
        let result = owner::Owner::new(dispatch, stop).run().await;
        ended.cancel();
        result
    };
    let (owned, woken) = tokio::join!(owning, waking);
    owned.and(woken)
}

#[cfg(test)]
mod tests;
