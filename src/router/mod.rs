//! From accepted events to planned runs: reads what the journal has not routed, asks the rule set, records the plan.
//!
//! Promises: every event meets the rules in force when it is routed, once; its runs and the position behind it are
//! recorded in one group, so that neither a crash nor a full disk loses or repeats one. Knows nothing of what runs do.

mod chain;
mod replay;

pub use replay::{Asked, NotReplayed, REPLAY_EVENTS_MAX, Replay, again};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::event::{Event, EventId, HOPS_MAX, RunId};
use crate::journal::{AppendError, Journal, Plan};
use crate::metric;
use crate::rules::{Met, RulesInForce};
use crate::runs::{Cause, NewRun, expression};
use crate::time::Timestamp;

/// The most events that are routed in one go; between two goes others get the processor.
const BATCH_MAX: usize = 256;
/// How long to wait before a full or unreadable journal is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Routes until `stop`; ends early only when the journal has ended.
///
/// # Errors
/// The journal has ended.
pub async fn run(journal: Journal, rules: Arc<ArcSwap<RulesInForce>>, clock: Clock, stop: CancellationToken) -> Result<(), AppendError> {
    let mut newest = journal.newest();
    while !stop.is_cancelled() {
        // Marked as seen before reading, so that what arrives meanwhile wakes again.
        newest.borrow_and_update();
        let in_force = rules.load_full();
        let found = match journal.unrouted(BATCH_MAX, in_force.generation) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "cannot read the events to be routed; trying again");
                pause(&stop).await;
                continue;
            }
        };
        let Some(through) = found.through else {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = newest.changed() => {
                    changed.map_err(|_| AppendError::Ended("it was closed".to_owned()))?;
                }
            }
            continue;
        };
        let find = |id: EventId| journal.event(id).ok().flatten();
        let runs = runs_of(&found.events, &in_force, clock.now(), &find);
        record(&journal, Plan { through, runs }, &stop).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Records a plan; while there is no space, again and again. A stop leaves the events unrouted: they are routed at the
/// next start.
async fn record(journal: &Journal, plan: Plan, stop: &CancellationToken) -> Result<(), AppendError> {
    loop {
        match journal.plan(plan.clone()).await {
            Ok(()) => break,
            Err(AppendError::Full(why)) if !stop.is_cancelled() => {
                tracing::warn!(%why, "no space to record planned runs; trying again");
                pause(stop).await;
            }
            Err(AppendError::Full(_)) => return Ok(()),
            Err(ended) => return Err(ended),
        }
    }
    for run in &plan.runs {
        let state = if run.dead.is_some() { "dead" } else { "pending" };
        metrics::counter!(metric::RUNS, "rule" => run.rule.to_string(), "state" => state).increment(1);
        if let Some(cause) = &run.dead {
            tracing::warn!(run = %run.id, rule = %run.rule, cause = %cause.code, "a run is dead from the start");
        }
    }
    Ok(())
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(AGAIN) => {}
    }
}

/// The runs that events ask for, in event order then rule order. `find` reads events for the chain of a loop.
fn runs_of(events: &[Arc<Event>], rules: &RulesInForce, now: Timestamp, find: &dyn Fn(EventId) -> Option<Arc<Event>>) -> Vec<NewRun> {
    let mut runs = Vec::new();
    // An emitter of events that loop is told once per event, however many rules it met.
    let mut chains: HashMap<EventId, Cause> = HashMap::new();
    for event in events {
        for met in rules.set.matching(event, now) {
            let too_long = (event.hops() > HOPS_MAX).then(|| chains.entry(event.id).or_insert_with(|| chain::cause(event, find)).clone());
            runs.push(new_run(event, &met, rules.generation, too_long, now));
        }
    }
    runs
}

fn new_run(event: &Event, met: &Met, generation: u64, too_long: Option<Cause>, now: Timestamp) -> NewRun {
    NewRun {
        id: RunId::of(event.id, &met.rule.name),
        rule: met.rule.name.clone(),
        generation,
        created: now,
        mode: met.rule.mode,
        hops: event.hops(),
        dead: too_long.or_else(|| met.fault.as_ref().map(expression)),
        replay: None,
    }
}

#[cfg(test)]
mod tests;
